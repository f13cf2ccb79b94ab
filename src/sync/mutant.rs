//! Orderings weakened at run time, by call site, in a model: does some check need each of them?
//!
//! `OWNERDEAD_WEAKEN=FILE:LINE:COLUMN/PART=ORDERING` weakens one ordering; PART is `order`, or `success` or `failure` of a
//! compare-and-swap. `OWNERDEAD_SITES=FILE` appends a line for each ordering that each sweep came by, tab separated:
//! `sweep test site operation part ordering`. `ci/orderings.sh` puts the two together.

use core::cell::RefCell;
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
    sites: Option<String>,
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
        sites: std::env::var("OWNERDEAD_SITES").ok(),
    })
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

type Site = (&'static str, u32, u32, &'static str, Part, &'static str);

thread_local! {
    /// What this thread's sweep came by.
    static SITES: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) };
}

/// The ordering to use at `at` in place of `order`.
pub(super) fn ordering(
    at: &'static Location<'static>,
    operation: &'static str,
    part: Part,
    order: Ordering,
) -> Ordering {
    let asked = asked();
    if asked.sites.is_some() {
        let name = match order {
            Ordering::Relaxed => "Relaxed",
            Ordering::Acquire => "Acquire",
            Ordering::Release => "Release",
            Ordering::AcqRel => "AcqRel",
            _ => "SeqCst",
        };
        SITES.with_borrow_mut(|sites| sites.insert((at.file(), at.line(), at.column(), operation, part, name)));
    }
    match &asked.weaken {
        Some(weaken) if weaken.part == part.name() && weaken.site == at.to_string() => weaken.to,
        _ => order,
    }
}

/// Writes down what the sweep `name` of this thread came by, if that was asked for.
pub(crate) fn finish_sweep(name: &str) {
    let Some(path) = &asked().sites else { return };
    let test = std::thread::current().name().unwrap_or("").to_owned();
    let mut text = String::new();
    for (file, line, column, operation, part, order) in SITES.take() {
        text += &format!("{name}\t{test}\t{file}:{line}:{column}\t{operation}\t{}\t{order}\n", part.name());
    }
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write: several sweeps append to the same file.
    file.and_then(|mut file| file.write_all(text.as_bytes())).unwrap_or_else(|error| panic!("{path}: {error}"));
}
