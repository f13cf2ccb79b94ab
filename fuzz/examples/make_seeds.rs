//! Writes the seed corpora: `cargo run --manifest-path fuzz/Cargo.toml --example make_seeds`.

use ownerdead_fuzz::images;
use std::path::Path;

/// As an argument it lets a thread be started, or a child be forked; as an operation it puts all back.
const RARELY: u8 = 0x46;
/// As an argument it is no change of the memory; as an operation it looks at it.
const NONE: u8 = 72;
/// Where changes of one sort end.
const END: u8 = 0x80;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = corpus.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    let calm: Vec<u8> = (8..32).flat_map(|operation| [operation, 40, operation | 0xe0, 40]).collect();
    let whole = images::with(&[3, END, END], |_, bytes, _, _| bytes).expect("an image");
    // Both take the same input.
    for target in ["segment_open", "inspect"] {
        let write = |name: &str, bytes: &[u8]| write(target, name, bytes);
        write("header", &[&[0], &whole[..4096]].concat())?;
        write("as_is", &[&[0], &whole[..]].concat())?;
        // Every structure: as it is, with all operations on it; with words that say something else; cut, and longer than it says.
        for structure in 0..22 {
            let name = |what: &str| format!("{what}_{structure}");
            write(&name("calm"), &[&[3 + structure, END, END][..], &calm, &calm].concat())?;
            write(&name("cut"), &[3 + structure, END, 4, 0, 9, END])?;
            write(&name("longer"), &[&[3 + structure, END, 5, 0, 9, 1, END][..], &calm].concat())?;
            for (kind, number) in [(0, 100), (6, 0x11), (13, 0x11), (8, 0), (14, 0x11)] {
                for from in 0..2 {
                    let changes: Vec<u8> = (from..24).step_by(2).flat_map(|word| [1, word, kind, number]).collect();
                    let bytes = [&[3 + structure][..], &changes, &[END, END], &calm].concat();
                    write(&format!("words_{structure}_{kind}_{from}"), &bytes)?;
                }
            }
        }
        // What a life word may be.
        for life in 0..8 {
            write(&format!("life_{life}"), &[3, 7, 1, 9, 1, life, END, END, 10, 11, 15, 19])?;
        }
        // Each word of the header, with a checksum that fits and without.
        for (word, way) in (0..8).flat_map(|word| [(word, 0), (word, 66), (word, 67)]) {
            write(&format!("header_{word}_{way}"), &[3, END, way, word, 33, END])?;
        }
    }
    // Every structure of each parser: its operations, undisturbed; and with each word in turn, then all words that mean the same, changed
    // to something that means something in one place or another.
    // For rings and cells a length, an offset; for locks a mark of sleepers alone.
    for (target, structures, words, groups, values) in [
        ("rings_parser", 12, 48, 24, [(0, 100), (1, 31)]),
        ("cells_parser", 3, 48, 8, [(0, 100), (1, 31)]),
        ("locks_parser", 7, 12, 8, [(0x80, 0), (13, 0x11)]),
    ] {
        for structure in 0..structures {
            let operations = (8..32).flat_map(|operation| [operation, 40]);
            let calm: Vec<u8> = operations.clone().chain(operations.rev()).collect();
            write(target, &format!("calm_{structure}"), &[&[structure][..], &calm].concat())?;
            // All of an operation's ways, each with handles of its side, and with what makes it fork.
            for flags in 0..4 {
                let ways = (12..32).flat_map(|operation| [2 * flags, 2 * flags + 1].map(|flags| (operation, flags)));
                let with_handles = |(operation, flags): (u8, u8)| {
                    [10 | (flags & 1) << 5, 11 | (flags & 1) << 5, operation | flags << 5, RARELY]
                };
                let all: Vec<u8> = ways.flat_map(with_handles).collect();
                write(target, &format!("ways_{structure}_{flags}"), &[&[structure][..], &all].concat())?;
            }
            // Until a ring is full, a wait, until it is empty, a wait; and what else waits.
            let full = [&[10, 11][..], &[15, 100].repeat(20), &[145, 100], &[19].repeat(24), &[149]].concat();
            let waits: Vec<u8> = (22..32).flat_map(|operation| [operation | 0x80, 40, operation | 0xc0, 40]).collect();
            write(target, &format!("full_{structure}"), &[&[structure][..], &full, &waits].concat())?;
            // Each side's own operations, with a record to be read.
            for (half, ways) in [[0x40, 0x00], [0xc0, 0x80]].into_iter().enumerate() {
                let each = (22..32).flat_map(|operation| ways.map(|way| [15, 8, operation | way, NONE, NONE, NONE]));
                let all: Vec<u8> = [10, 11, 15, 250].into_iter().chain(each.flatten()).collect();
                write(target, &format!("sides_{structure}_{half}"), &[&[structure][..], &all].concat())?;
            }
            // Handles that are opened when a word has changed, and an operation of each.
            for (kind, number) in [(0, 100), (2, 1)] {
                let each = (0..24).flat_map(|word| [6, 12, 13, 1, word, kind, number, 10, 11, 15, 8, 19]);
                let all: Vec<u8> = [structure, 10, 11].into_iter().chain(each).collect();
                write(target, &format!("opened_{structure}_{kind}"), &all)?;
            }
            // Of rings with claims, in one lap after another: all of them say that this thread writes there, which it does not.
            let claims = target == "rings_parser" && matches!(structure, 2 | 3 | 6 | 7);
            for records in (0..20).step_by(4).filter(|_| claims) {
                let before = [&[structure, 10, 11][..], &[15, 8, 19].repeat(records)].concat();
                write(
                    target,
                    &format!("claimed_{structure}_{records}"),
                    &[&before[..], &[4, 3, 13, 0x21, 19, 21]].concat(),
                )?;
            }
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
    for structure in 0..22 {
        let calm: Vec<u8> = (10..32).flat_map(|operation| [operation, 0, 40]).collect();
        write("hostile", &format!("calm_{structure}"), &[&[structure][..], &calm, &calm].concat())?;
        for (half, ways) in [[0x40, 0x00], [0xc0, 0x80]].into_iter().enumerate() {
            let each = (22..32).flat_map(|operation| ways.map(|way| [15, 0, 8, operation | way, 0, NONE, NONE]));
            let all: Vec<u8> = [10, 0, 11, 0].into_iter().chain(each.flatten()).collect();
            write("hostile", &format!("sides_{structure}_{half}"), &[&[structure][..], &all].concat())?;
        }
        for (when, kind, number) in
            [(3, 0, 100), (9, 5, 0), (128, 1, 31), (192, 0, 100), (193, 13, 0x11), (194, 1, 31), (195, 0, 100)]
        {
            let fire =
                |operation: u8| [6, 12, 0, 13, 0, 10, 0, 11, 0, operation, 1, when, 1, operation, kind, number, 40];
            let all: Vec<u8> = (10..32).flat_map(fire).collect();
            write("hostile", &format!("fire_{structure}_{when}"), &[&[structure][..], &all].concat())?;
        }
    }
    // Names: each structure made, found, opened as another one, and taken away; what is refused; and what is something else.
    for kind in 0..18 {
        let asked = [kind, 0, 0, 0, 2, 5, 0];
        let all = [
            &[0][..],
            &asked,
            &[3, kind, 3, kind + 1, 5],
            &asked,
            &[0],
            &asked,
            &[8, 8, 5],
            &asked,
            &[13, 0, 90, 3, kind],
        ]
        .concat();
        write("names", &format!("each_{kind}"), &all)?;
        let refused = |at: usize, numbers: std::ops::Range<u8>| {
            numbers
                .flat_map(|number| {
                    let mut asked = asked;
                    asked[at] = number;
                    [&[0, asked[0]][..], &asked[1..], &[15, 10], &asked].concat()
                })
                .collect::<Vec<u8>>()
        };
        write("names", &format!("slots_{kind}"), &refused(1, 0..8))?;
        write("names", &format!("mode_{kind}"), &refused(2, 2..4))?;
        write("names", &format!("size_{kind}"), &refused(3, 0..8))?;
        write("names", &format!("large_{kind}"), &refused(3, 8..16))?;
        write("names", &format!("other_{kind}"), &refused(4, 0..10))?;
    }
    for which in 0..10 {
        write("names", &format!("bad_{which}"), &[11, which, 0, 0, 0, 0, 2, 5, 0])?;
    }
    for what in 0..6 {
        let all = [14, what, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 0, 5, 0, 0, 0, 0, 2, 5, 0, 8];
        write("names", &format!("put_{what}"), &all)?;
    }
    for (slots, len) in [(0, 0), (1, 0), (2, 50), (1, 250), (1, 255), (3, 100)] {
        let plain = [12, slots, 0, 2, len, 1, 2, 0, 0, 0, 0, 0, 0];
        write(
            "names",
            &format!("plain_{slots}_{len}"),
            &[&plain[..], &[13, 2, 1, 2, 3, 4, 5, 6, 7, 8, 1, 13, 3, 0], &plain].concat(),
        )?;
    }
    // All operations of each structure, in two configurations; a ring that fills up and wraps.
    let all: Vec<u8> = (0..16).chain(0x90..0xa0).flat_map(|operation| [operation, 40]).collect();
    for structure in 0..13 {
        for how in [0, 0xcf] {
            write("sequences", &format!("all_{structure}_{how}"), &[&[structure, how][..], &all].concat())?;
        }
    }
    let laps: Vec<u8> = (0..40).flat_map(|round| [0, 50 + round, 0, round, 7, 11]).collect();
    for ring in [0, 1, 2, 3, 4, 11] {
        write("sequences", &format!("laps_{ring}"), &[&[ring, 3][..], &laps].concat())?;
    }
    for (name, bytes) in ownerdead_fuzz::differential::seeds() {
        write("mutex_differential", &name, &bytes)?;
    }
    Ok(())
}
