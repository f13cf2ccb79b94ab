//! Writes the seed corpora: `cargo run --manifest-path fuzz/Cargo.toml --example make_seeds`.

use ownerdead_fuzz::{image, valid_mutex, valid_ring};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    let (ring, mutex) = (image(valid_ring().segment()), image(valid_mutex().segment()));
    let as_is = |bytes: &[u8]| [&[0], bytes].concat();
    // Both take the same input.
    for target in ["segment_open", "inspect"] {
        let write = |name: &str, bytes: &[u8]| write(target, name, bytes);
        write("header", &as_is(&ring[..4096]))?;
        write("mutex", &as_is(&mutex))?;
        // A valid ring, unchanged; with another capacity, and with indices that do not fit.
        let change = |word: u16, value: u64| [&word.to_le_bytes()[..], &value.to_le_bytes()].concat();
        write("valid_ring", &[3])?;
        write("valid_mutex", &[4])?;
        let body = (ownerdead_fuzz::BODY / 8) as u16;
        write("capacity", &[&[3][..], &change(body, 1 << 40)].concat())?;
        write("tail", &[&[3][..], &change(body + 16, 1 << 20)].concat())?;
        write("seat", &[&[3][..], &change(body + 48, 0x1_2000_0001)].concat())?;
    }
    // Open both seats, push and pop in every way.
    let pairs: Vec<u8> = (10..16).flat_map(|operation| [operation, 5, operation, 90]).collect();
    write("ring_parser", "pairs", &[&[3, 5][..], &pairs].concat())?;
    write("ring_parser", "close_and_open", &[3, 10, 4, 7, 4, 10, 9, 5, 10, 2, 8, 6, 11, 1])?;
    // A length, an index, a seat.
    let poke = |operation: u8, word: u8, value: u64| [&[operation, word][..], &value.to_le_bytes()].concat();
    write("ring_parser", "length", &[&poke(1, 0, 0xffff)[..], &[5, 10, 12]].concat())?;
    write("ring_parser", "padding", &[&poke(1, 0, 0xffff_ffff)[..], &[5, 10, 12]].concat())?;
    write("ring_parser", "tail", &[&poke(0, 16, 1 << 30)[..], &[5, 10, 3, 10, 1]].concat())?;
    write("ring_parser", "seat", &[&poke(0, 48, 0x1_2000_0001)[..], &[3, 10, 1, 5, 10, 14, 0]].concat())?;
    // All operations, on each kind of ring; a ring that fills up and wraps.
    let all: Vec<u8> = (0..16).chain(0x80..0x90).flat_map(|operation| [operation, 40]).collect();
    for kind in 0..4 {
        write("ring_sequence", &format!("all_{kind}"), &[&[kind][..], &all].concat())?;
    }
    let laps: Vec<u8> = (0..40).flat_map(|round| [0, 50 + round, 0, round, 7, 11]).collect();
    write("ring_sequence", "laps", &[&[3][..], &laps].concat())
}
