//! A ring in step with a plain queue: the body of the property test, driven by coverage.
//!
//! Input: a byte for the configuration (bit 0 checksum, bit 1 wipe, bit 2 near position 2^32), then operations of one byte, some with a length after it.
#![no_main]

#[path = "../../tests/properties/ring.rs"]
mod ring;

use libfuzzer_sys::fuzz_target;
use ring::{Config, Operation, Pair};

fuzz_target!(|data: &[u8]| {
    let Some((&how, rest)) = data.split_first() else { return };
    let start = if how & 4 != 0 { (1 << 32) - 64 } else { 0 };
    let mut pair = Pair::new(&Config { checksum: how & 1 != 0, wipe: how & 2 != 0 }, start);
    let mut bytes = rest.iter().copied();
    // A death is a process, which costs more than all the rest.
    let (mut steps, mut deaths) = (0, 0);
    while steps < 100
        && let Some(operation) = operation(&mut bytes, deaths < 1)
    {
        steps += 1;
        deaths += usize::from(matches!(operation, Operation::DieAs { .. }));
        pair.step(&operation);
    }
    pair.finish();
});

fn operation(bytes: &mut impl Iterator<Item = u8>, may_die: bool) -> Option<Operation> {
    let code = bytes.next()?;
    let flag = code & 0x80 != 0;
    let mut len = || usize::from(bytes.next().unwrap_or(0)) % 140;
    Some(match code & 0x0f {
        0..=3 => Operation::Push(len()),
        4 => Operation::PushBatch((0..usize::from(code >> 4 & 7)).map(|_| len()).collect()),
        5 | 6 => Operation::Reserve { len: len(), commit: flag },
        7..=10 => Operation::Pop,
        11 => Operation::PopBatch(usize::from(code >> 4 & 7)),
        12 => Operation::Peek { consume: flag },
        13 => Operation::Discard,
        14 if may_die => Operation::DieAs { producer: flag },
        _ => Operation::Reopen { producer: flag },
    })
}
