//! What happened in an execution, and how a person reads it: a line for each operation.
//!
//! An event is written for each operation of millions of executions, and read in one of them; so it holds names and numbers,
//! and nothing is made into text before somebody asks.

use core::fmt;
use core::panic::Location;
use core::sync::atomic::Ordering;
use std::panic::resume_unwind;

/// What an operation was asked to order.
#[derive(Clone, Copy)]
pub(super) enum Order {
    /// It is no atomic operation.
    None,
    /// A load, a store, a read-modify-write, a fence.
    One(Ordering),
    /// A compare-and-swap: if it succeeds, and if it fails.
    Two(Ordering, Ordering),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::One(order) => write!(f, "{order:?}"),
            Self::Two(success, failure) => write!(f, "{success:?}/{failure:?}"),
        }
    }
}

/// What an operation found or left.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Nothing that is worth a word.
    Nothing,
    /// It was read, written, or is how many.
    Is(u64),
    /// It was the first, and is now the second.
    Changed(u64, u64),
    /// A compare-and-swap that failed: it found the first, and wanted the second.
    Differs(u64, u64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => Ok(()),
            Self::Is(value) => write!(f, "{value:#x}"),
            Self::Changed(old, new) => write!(f, "{old:#x} -> {new:#x}"),
            Self::Differs(found, wanted) if found == wanted => write!(f, "failed: {found:#x}, for no reason"),
            Self::Differs(found, wanted) => write!(f, "failed: {found:#x}, not {wanted:#x}"),
        }
    }
}

/// One line of the log.
pub(super) struct Event {
    pub(super) process: usize,
    pub(super) life: u32,
    pub(super) what: &'static str,
    pub(super) order: Order,
    pub(super) value: Value,
    pub(super) at: &'static Location<'static>,
}

/// A place in the source, without the ways in and out of folders that `#[path]` leaves in the names of files.
pub(super) fn place(at: &Location<'_>) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in at.file().split('/') {
        match parts.last() {
            Some(&last) if part == ".." && !matches!(last, ".." | "") => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    format!("{}:{}:{}", parts.join("/"), at.line(), at.column())
}

/// A process in one of its lives, as `OWNERDEAD_KILL` writes it.
pub(super) fn in_life(name: &str, life: u32) -> String {
    if life > 0 { format!("{name}#{life}") } else { name.to_owned() }
}

/// All of `log`, in order, as a table.
pub(super) fn table(log: &[Event], name: impl Fn(usize) -> &'static str) -> String {
    let head = ["step", "process", "operation", "ordering", "value", "source"].map(str::to_owned);
    let rows = log.iter().enumerate().map(|(step, event)| {
        let process = in_life(name(event.process), event.life);
        let (what, order, value) = (event.what.to_owned(), event.order.to_string(), event.value.to_string());
        [step.to_string(), process, what, order, value, place(event.at)]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let [step, rest @ .., source] = row;
        text += &format!("{step:>0$}", widths[0]);
        for (cell, width) in rest.iter().zip(&widths[1..]) {
            text += &format!("  {cell:<width$}");
        }
        text += &format!("  {source}\n");
    }
    text
}

/// A number for each event at which another process went on than before, and for each death: by who it was, and where both were.
pub(super) fn novelties(log: &[Event]) -> Vec<u32> {
    const KILLED: &str = "KILLED";
    let place = |event: &Event| {
        let life = event.process as u32 * 2 + event.life;
        (event.at.line().wrapping_mul(0x9e37_79b1) ^ life.wrapping_mul(0x85eb_ca6b)).rotate_left(11)
    };
    let mixed = |one: &Event, other: &Event| (place(one) ^ place(other).rotate_left(16)).wrapping_mul(0xc2b2_ae35) >> 8;
    let pairs = log.windows(2).filter_map(|pair| match pair {
        [one, other] if one.process != other.process || other.what == KILLED => Some(mixed(one, other)),
        _ => None,
    });
    pairs.collect()
}

/// How a replay tells one step from another: not by value, ordering or line, which a change of the code may well change.
pub(super) fn step(process: &str, life: u32, what: &str) -> String {
    format!("{} {what}", in_life(process, life))
}

/// The payload of a panic: this execution is not the one that was to be replayed. It bypasses the panic hook.
pub(crate) struct Misfit(pub(crate) String);

/// Ends a replay whose step is another than it was. What comes after the last step that is known is not judged.
pub(super) fn check(expected: &[String], number: usize, process: &str, life: u32, what: &str) {
    let now = step(process, life, what);
    if let Some(then) = expected.get(number)
        && *then != now
    {
        resume_unwind(Box::new(Misfit(format!("step {number} was `{then}`, and is `{now}` now"))));
    }
}
