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
    // Every structure of each parser: its operations, undisturbed; and with each word in turn, then all words that mean the same, changed
    // to something that means something in one place or another.
    // For rings and cells a length, an offset; for locks a mark of sleepers alone.
    for (target, structures, words, groups, values) in [
        ("rings_parser", 12, 48, 24, [(0, 100), (1, 31)]),
        ("cells_parser", 3, 48, 8, [(0, 100), (1, 31)]),
        ("locks_parser", 8, 12, 8, [(0x80, 0), (13, 0x11)]),
    ] {
        for structure in 0..structures {
            let operations = (8..32).flat_map(|operation| [operation, 40]);
            let calm: Vec<u8> = operations.clone().chain(operations.rev()).collect();
            write(target, &format!("calm_{structure}"), &[&[structure][..], &calm].concat())?;
            // A side's handles; on memory that is whole, a change; an operation of each side.
            let changes = |way, count, kind, number| {
                let change = move |which| [6, way, which, kind, number, 19, 15, 20];
                [structure, 10, 11].into_iter().chain((0..count).flat_map(change)).collect::<Vec<u8>>()
            };
            for (kind, number) in values {
                write(target, &format!("words_{structure}_{kind}"), &changes(1, words, kind, number))?;
            }
            for (kind, number) in [(1, 31), (13, 0x43)] {
                write(target, &format!("groups_{structure}_{kind}"), &changes(4, groups, kind, number))?;
            }
        }
    }
    // Every structure: its operations without a peer; and each, with new handles and on memory that is whole, with one that changes a word after so
    // many accesses, or a word that is accessed again.
    for structure in 0..23 {
        let calm: Vec<u8> = (10..32).flat_map(|operation| [operation, 0, 40]).collect();
        write("hostile", &format!("calm_{structure}"), &[&[structure][..], &calm, &calm].concat())?;
        for (when, kind, number) in
            [(3, 0, 100), (9, 5, 0), (128, 1, 31), (192, 0, 100), (193, 13, 0x11), (194, 1, 31), (195, 0, 100)]
        {
            let fire =
                |operation: u8| [6, 12, 0, 13, 0, 10, 0, 11, 0, operation, 1, when, 1, operation, kind, number, 40];
            let all: Vec<u8> = (10..32).flat_map(fire).collect();
            write("hostile", &format!("fire_{structure}_{when}"), &[&[structure][..], &all].concat())?;
        }
    }
    // All operations of each structure, in two configurations; a ring that fills up and wraps.
    let all: Vec<u8> = (0..16).chain(0x90..0xa0).flat_map(|operation| [operation, 40]).collect();
    for structure in 0..12 {
        for how in [0, 0xcf] {
            write("sequences", &format!("all_{structure}_{how}"), &[&[structure, how][..], &all].concat())?;
        }
    }
    let laps: Vec<u8> = (0..40).flat_map(|round| [0, 50 + round, 0, round, 7, 11]).collect();
    for ring in 0..5 {
        write("sequences", &format!("laps_{ring}"), &[&[ring, 3][..], &laps].concat())?;
    }
    for (name, bytes) in ownerdead_fuzz::differential::seeds() {
        write("mutex_differential", &name, &bytes)?;
    }
    Ok(())
}
