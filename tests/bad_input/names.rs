//! Names that no segment can have.

use crate::row::{Got, Row, Section};
use ownerdead::segment::{Kind, Options, Segment};

/// Opening, making and unlinking say the same of such a name.
fn refused(name: &str) -> Got {
    let opened = Segment::open(name, Kind::SPSC).unwrap_err().to_string();
    let made = Segment::create(name, &Options::new(), Kind::SPSC, 1, |_| {}).unwrap_err().to_string();
    let unlinked = Segment::unlink(name).unwrap_err().to_string();
    assert_eq!((&opened, &opened), (&made, &unlinked));
    Got::Error(opened)
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    let long = |_: &_| match refused(&"x".repeat(256)) {
        Got::Error(text) => Got::Error(text.replace(&"x".repeat(256), "xxx...")),
        not_run => not_run,
    };
    Section {
        title: "Names",
        rows: vec![
            row("an empty name", |_| refused("")),
            row("a slash alone", |_| refused("/")),
            row("a name with a slash inside", |_| refused("a/b")),
            row("two slashes in front", |_| refused("//a")),
            row("the name `.`", |_| refused(".")),
            row("the name `..`", |_| refused("/..")),
            row("a name with a zero byte", |_| refused("nul\0")),
            row("a name of 256 bytes", long),
            row("a name that nobody has", |name| Got::error(Segment::open(name.as_str(), Kind::SPSC))),
            row("unlinking a name that nobody has", |name| Got::error(Segment::unlink(name.as_str()))),
        ],
    }
}
