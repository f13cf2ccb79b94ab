//! Memory orderings weakened, stores delayed and compiler fences taken away at run time, by call site, in a model: does some check
//! need each of them?
//!
//! | variable | what it changes |
//! |---|---|
//! | `OWNERDEAD_WEAKEN=SITE/PART=ORDERING` | one ordering; PART is `order`, or `success` or `failure` of a compare-and-swap |
//! | `OWNERDEAD_DELAY=SITE` | a store sinks as far as a compiler may let it: see [`super::delay`] |
//! | `OWNERDEAD_STALE=1` | a compare-and-swap that fails may give an older value, as C11 lets it |
//! | `OWNERDEAD_UNFENCE=SITE` | what is there holds no store back any more: a compiler fence, or a call to the robust list |
//!
//! SITE is `FILE:LINE:COLUMN`. `OWNERDEAD_SITES=FILE` appends a line for each operation that each sweep came by, tab separated:
//! `sweep test site operation part ordering`; and for what would hold a delayed store back, `sweep test site operation held site`, the
//! last being that of the store; and for where processes died, `sweep test site - died times`. `ci/orderings.sh` puts all this together.
//! `OWNERDEAD_DEATHS=FILE` appends the lines of deaths alone, which costs nothing.

use core::cell::{Cell, RefCell};
use core::panic::Location;
use core::sync::atomic::Ordering;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::OnceLock;

/// Which of an operation's orderings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Order,
    Success,
    Failure,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// What the environment asks for.
struct Asked {
    weaken: Option<Weaken>,
    delay: Option<String>,
    unfence: Option<String>,
    sites: Option<String>,
    deaths: Option<String>,
    stale: bool,
}

struct Weaken {
    site: String,
    part: String,
    to: Ordering,
}

fn asked() -> &'static Asked {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    ASKED.get_or_init(|| Asked {
        weaken: std::env::var("OWNERDEAD_WEAKEN").ok().map(|text| {
            Weaken::parse(&text).unwrap_or_else(|| {
                panic!(
                    "OWNERDEAD_WEAKEN={text:?}: expected FILE:LINE:COLUMN/PART=ORDERING, as src/a.rs:1:2/order=Relaxed"
                )
            })
        }),
        delay: site("OWNERDEAD_DELAY"),
        unfence: site("OWNERDEAD_UNFENCE"),
        sites: std::env::var("OWNERDEAD_SITES").ok().filter(|file| !file.is_empty()),
        deaths: std::env::var("OWNERDEAD_DEATHS").ok(),
        stale: match std::env::var("OWNERDEAD_STALE").as_deref() {
            Err(_) | Ok("0" | "") => false,
            Ok("1") => true,
            Ok(other) => panic!("OWNERDEAD_STALE={other:?}: expected 1 or 0"),
        },
    })
}

/// The site that a variable names.
fn site(name: &str) -> Option<String> {
    let text = std::env::var(name).ok()?;
    let mut parts = text.rsplitn(3, ':');
    let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
    let well = number(parts.next()) && number(parts.next()) && parts.next().is_some_and(|file| !file.is_empty());
    assert!(well, "{name}={text:?}: expected FILE:LINE:COLUMN, as src/a.rs:1:2");
    Some(text)
}

impl Weaken {
    fn parse(text: &str) -> Option<Self> {
        let (place, to) = text.rsplit_once('=')?;
        let (site, part) = place.rsplit_once('/')?;
        let to = [Ordering::Relaxed, Ordering::Acquire, Ordering::Release, Ordering::AcqRel]
            .into_iter()
            .find(|order| format!("{order:?}") == to)?;
        ["order", "success", "failure"].contains(&part).then(|| Self { site: site.into(), part: part.into(), to })
    }
}

/// A line of [`Asked::sites`], less the sweep and its test: site, operation, part, and ordering or the site that was held.
type Line = (&'static str, u32, u32, &'static str, &'static str, String);

thread_local! {
    /// What this thread's sweep came by.
    static LINES: RefCell<BTreeSet<Line>> = const { RefCell::new(BTreeSet::new()) };
    /// The operation whose stores this thread's sweep delays, wherever they are; and that which does not hold them back.
    static EVERYWHERE: Cell<[Option<&'static str>; 2]> = const { Cell::new([None; 2]) };
    /// How many stores of this thread's sweep were put off.
    static PUT_OFF: Cell<u64> = const { Cell::new(0) };
    /// See [`stale`].
    static STALE: Cell<bool> = const { Cell::new(false) };
}

fn note(at: &'static Location<'static>, operation: &'static str, part: &'static str, what: impl FnOnce() -> String) {
    if asked().sites.is_some() {
        LINES.with_borrow_mut(|lines| lines.insert((at.file(), at.line(), at.column(), operation, part, what())));
    }
}

fn is(site: Option<&String>, at: &'static Location<'static>) -> bool {
    // Most models are not changed at all.
    site.is_some_and(|site| *site == at.to_string())
}

/// The ordering to use at `at` in place of `order`.
pub(super) fn ordering(
    at: &'static Location<'static>,
    operation: &'static str,
    part: Part,
    order: Ordering,
) -> Ordering {
    note(at, operation, part.name(), || format!("{order:?}"));
    match &asked().weaken {
        Some(weaken) if weaken.part == part.name() && weaken.site == at.to_string() => weaken.to,
        _ => order,
    }
}

/// An operation without an ordering.
pub(super) fn came_by(at: &'static Location<'static>, operation: &'static str) {
    note(at, operation, "-", || "-".into());
}

/// Whether the store at `at` is delayed.
pub(super) fn delays(at: &'static Location<'static>, operation: &'static str) -> bool {
    EVERYWHERE.get()[0] == Some(operation) || is(asked().delay.as_ref(), at)
}

/// A store was put off.
pub(super) fn put_off() {
    PUT_OFF.set(PUT_OFF.get() + 1);
}

/// How many stores of this thread's sweep were put off, if any were to be.
pub(crate) fn stores_put_off() -> Option<u64> {
    (EVERYWHERE.get()[0].is_some() || asked().delay.is_some()).then(|| PUT_OFF.get())
}

/// Whether what is at `at` holds delayed stores back, which it does by its nature.
pub(super) fn holds(at: &'static Location<'static>, operation: &'static str) -> bool {
    EVERYWHERE.get()[1] != Some(operation) && !is(asked().unfence.as_ref(), at)
}

/// Whether it is written down what a sweep comes by.
pub(super) fn are_noted() -> bool {
    asked().sites.is_some()
}

/// What is at `at` would hold back the store at `store`, had that been delayed.
pub(super) fn held(at: &'static Location<'static>, operation: &'static str, store: &'static Location<'static>) {
    note(at, operation, "held", || store.to_string());
}

/// From here on this thread's sweep delays all stores of operation `delayed`, and no operation `unfenced` holds them back.
pub(crate) fn everywhere(delayed: Option<&'static str>, unfenced: Option<&'static str>) {
    EVERYWHERE.set([delayed, unfenced]);
    PUT_OFF.set(0);
}

/// From here on a compare-and-swap of this thread's sweep that fails may give an older value.
pub(crate) fn let_failures_be_stale(stale: bool) {
    STALE.set(stale);
}

/// Whether a compare-and-swap that fails may give an older value.
pub(super) fn stale() -> bool {
    STALE.get() || asked().stale
}

/// Writes down what the sweep `name` of this thread came by, if that was asked for. `died`: how often processes died where.
pub(crate) fn finish_sweep<'a>(name: &str, died: impl IntoIterator<Item = (&'a String, &'a u64)>) {
    everywhere(None, None);
    let_failures_be_stale(false);
    let test = std::thread::current().name().unwrap_or("").to_owned();
    let deaths: String =
        died.into_iter().map(|(site, count)| format!("{name}\t{test}\t{site}\t-\tdied\t{count}\n")).collect();
    if let Some(path) = &asked().deaths {
        append(path, &deaths);
    }
    let Some(path) = &asked().sites else { return };
    let mut text = String::new();
    for (file, line, column, operation, part, what) in LINES.take() {
        text += &format!("{name}\t{test}\t{file}:{line}:{column}\t{operation}\t{part}\t{what}\n");
    }
    append(path, &(text + &deaths));
}

fn append(path: &str, text: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write: several sweeps append to the same file.
    file.and_then(|mut file| file.write_all(text.as_bytes())).unwrap_or_else(|error| panic!("{path}: {error}"));
}
