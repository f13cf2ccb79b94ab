//! A header that another hand has written. An open handle goes by its private copy, and does not notice.

use crate::files::with_honest_ring;
use crate::image::Image;
use crate::row::{Got, Name, Row, Section};
use ownerdead::ring::spsc::Ring;

/// Opens a ring in whose header the word at `at` bytes was changed, and the checksum made to fit.
fn with_word(name: &Name, at: u64, value: impl FnOnce(u64) -> u64) -> Got {
    with_honest_ring(name, |ring| {
        let image = Image::of(ring.segment());
        image.poke(at, value(image.peek(at)));
        image.sign_header();
        let spoiled = image.bytes();
        let got = Got::error(Ring::open(name.as_str()));
        assert!(image.bytes() == spoiled, "opening it changed something");
        got
    })
}

fn low(value: u32) -> impl FnOnce(u64) -> u64 {
    move |word| word & !0xffff_ffff | u64::from(value)
}

fn high(value: u32) -> impl FnOnce(u64) -> u64 {
    move |word| word & 0xffff_ffff | u64::from(value) << 32
}

pub fn section() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "A damaged header",
        rows: vec![
            row("a wrong magic", |name| with_word(name, 0, |_| u64::from_le_bytes(*b"NOSEGMNT"))),
            row("an older layout version", |name| with_word(name, 8, low(0))),
            row("a newer layout version", |name| with_word(name, 8, low(2))),
            row("an unknown kind", |name| with_word(name, 8, high(77))),
            row("a total length beyond the file", |name| with_word(name, 16, |total| total + 4096)),
            row("no slots in the header", |name| with_word(name, 24, low(0))),
            row("4095 slots in the header", |name| with_word(name, 24, low(4095))),
            row("more slots than the file has room for", |name| with_word(name, 24, low(4094))),
            row("flags that mean nothing", |name| with_word(name, 24, high(1))),
            row("slots that begin elsewhere", |name| with_word(name, 32, |_| 0)),
            row("a body that begins elsewhere", |name| with_word(name, 40, |_| 4096)),
            row("a body longer than a file can be", |name| with_word(name, 48, |_| u64::MAX)),
            row("a body longer than the file", |name| with_word(name, 48, |_| 1 << 40)),
            row("a wrong checksum", |name| {
                with_honest_ring(name, |ring| {
                    let image = Image::of(ring.segment());
                    image.poke(56, image.peek(56) ^ 1);
                    Got::error(Ring::open(name.as_str()))
                })
            }),
            row("a header of zeroes", |name| {
                with_honest_ring(name, |ring| {
                    Image::of(ring.segment()).restore(&[0; 4096], 0);
                    Got::error(Ring::open(name.as_str()))
                })
            }),
        ],
    }
}
