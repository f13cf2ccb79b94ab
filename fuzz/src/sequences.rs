//! Each structure in step with a plain model: the bodies of the property tests, driven by coverage.
//!
//! Input: a byte for the structure, a byte for its configuration and for whether anybody dies (bit 6), then operations of one byte, some with a
//! number after it. The low four bits say which; the high ones are its argument.
#[path = "../../tests/properties/broadcast.rs"]
mod broadcast;
#[path = "../../tests/properties/cell.rs"]
mod cell;
#[path = "../../tests/properties/claims.rs"]
mod claims;
#[path = "../../tests/properties/death.rs"]
pub mod death;
#[path = "../../tests/properties/lanes.rs"]
mod lanes;
#[path = "../../tests/properties/locked.rs"]
mod locked;
#[path = "../../tests/properties/locks.rs"]
mod locks;
#[path = "../../tests/properties/mpmc.rs"]
mod mpmc;
#[path = "../../tests/properties/mutex.rs"]
mod mutex;
#[path = "../../tests/properties/ring.rs"]
mod ring;
#[path = "../../tests/properties/waits.rs"]
#[allow(dead_code, reason = "threads are not for a fuzzer")]
mod waits;

use crate::input::Input;

/// Operations of one input.
const MOST: usize = 100;
/// Deaths of one input, if it has any. A death is a process, which costs ten times what all the rest does.
const DEATHS: usize = 2;

/// Plays an input.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let (which, how) = (input.byte(), input.byte());
    let [checksum, flag, other, another] = [1, 2, 4, 8].map(|bit| how & bit != 0);
    let deaths = if how & 0x40 != 0 { DEATHS } else { 0 };
    match which % 13 {
        0 => {
            let start = if other { (1 << 32) - 64 } else { 0 };
            let mut pair = ring::Pair::new(&ring::Config { checksum, wipe: flag }, start);
            each(&mut input, deaths, ring_operation, |operation| pair.step(&operation));
            pair.finish();
        }
        1 => {
            let mut pair = mpmc::Pair::new(flag, checksum, other, another);
            each(&mut input, deaths, mpmc_operation, |operation| pair.step(&operation));
            pair.finish();
        }
        2 => {
            let mut pair = lanes::Pair::new(checksum, flag);
            each(&mut input, deaths, lanes_operation, |operation| pair.step(&operation));
            pair.finish();
        }
        3 => {
            let mut pair = claims::Pair::new([16, 64, 256, 64][usize::from(how >> 1 & 3)], checksum);
            each(&mut input, deaths, claims_operation, |operation| pair.step(&operation));
            pair.finish();
        }
        4 => {
            let mut crowd = broadcast::Crowd::new(flag, checksum, [2, 4, 8, 32][usize::from(how >> 2 & 3)]);
            each(&mut input, deaths, broadcast_operation, |operation| crowd.step(&operation));
            crowd.finish();
        }
        5 => cell::board(2 + u64::from(how % 3), &all(&mut input, deaths, cell_operation)),
        6 => cell::sequence_lock(&all(&mut input, deaths, cell_operation)),
        7 => mutex::robust(&all(&mut input, deaths, mutex_operation)),
        8 => mutex::futex(&all(&mut input, deaths, mutex_operation)),
        9 => locks::reader_writer(&all(&mut input, deaths, reader_or_writer)),
        10 => locks::semaphore(1 + usize::from(how % 3), &all(&mut input, deaths, permit)),
        11 => {
            let mut pair = locked::Pair::new(checksum, flag);
            each(&mut input, deaths, locked_operation, |operation| pair.step(&operation));
            pair.finish();
        }
        _ if how & 0x80 == 0 => waits::barrier(1 + usize::from(how % 3), &all(&mut input, deaths, party)),
        _ => waits::once(&all(&mut input, deaths, attempt)),
    }
}

/// An operation's byte.
#[derive(Clone, Copy)]
struct Code(u8);

impl Code {
    fn which(self) -> u8 {
        self.0 & 0x0f
    }
    fn flag(self) -> bool {
        self.0 & 0x80 != 0
    }
    /// A number less than `end`, which is at most 8, beside the flag.
    fn below(self, end: usize) -> usize {
        usize::from(self.0 >> 4 & 7) % end
    }
}

/// Of each operation of the input, in order; of up to `most` deaths. `make` says whether it is one.
fn each<O>(
    input: &mut Input<'_>,
    most: usize,
    make: impl Fn(Code, &mut Input<'_>) -> (O, bool),
    mut run: impl FnMut(O),
) {
    let mut deaths = 0;
    for _ in 0..MOST {
        let Some(code) = input.next() else { return };
        let (operation, death) = make(Code(code), input);
        deaths += usize::from(death);
        if !death || deaths <= most {
            run(operation);
        }
    }
}

fn all<O>(input: &mut Input<'_>, deaths: usize, make: impl Fn(Code, &mut Input<'_>) -> (O, bool)) -> Vec<O> {
    let mut all = Vec::new();
    each(input, deaths, make, |operation| all.push(operation));
    all
}

fn ring_operation(code: Code, input: &mut Input<'_>) -> (ring::Operation, bool) {
    use ring::Operation::*;
    let (flag, mut len) = (code.flag(), || input.below(140));
    match code.which() {
        0..=3 => (Push(len()), false),
        4 => (PushBatch((0..code.below(8)).map(|_| len()).collect()), false),
        5 | 6 => (Reserve { len: len(), commit: flag }, false),
        7..=10 => (Pop, false),
        11 => (PopBatch(code.below(8)), false),
        12 => (Peek { consume: flag }, false),
        13 => (Discard, false),
        14 => (DieAs { producer: flag }, true),
        _ => (Reopen { producer: flag }, false),
    }
}

fn mpmc_operation(code: Code, input: &mut Input<'_>) -> (mpmc::Operation, bool) {
    use mpmc::Operation::*;
    let (side, flag) = (code.below(2), code.flag());
    match code.which() {
        0..=4 => (Push { side, len: input.below(80) }, false),
        5..=7 => (Reserve { side, len: input.below(80), commit: flag }, false),
        8..=11 => (Pop { side }, false),
        12..=14 => (Peek { side, consume: flag }, false),
        _ => (Die { writing: flag, count: 1 + code.below(3) }, true),
    }
}

fn lanes_operation(code: Code, input: &mut Input<'_>) -> (lanes::Operation, bool) {
    use lanes::Operation::*;
    let (lane, flag, mut len) = (code.below(3), code.flag(), || input.below(120));
    let operation = match code.which() {
        0..=3 => Push { lane, len: len() },
        4 => PushBatch { lane, lens: (0..len() % 5).map(|_| len()).collect() },
        5 | 6 => Reserve { lane, len: len(), commit: flag },
        7..=10 => Pop,
        11 => PopBatch(code.below(5)),
        12 => Peek { consume: flag },
        13 => Discard,
        14 => ReopenProducer(lane),
        _ => ReopenConsumer,
    };
    (operation, false)
}

fn claims_operation(code: Code, input: &mut Input<'_>) -> (claims::Operation, bool) {
    use claims::Operation::*;
    let (side, flag, mut len) = (code.below(2), code.flag(), || input.below(256) + 4);
    match code.which() {
        0..=3 => (Push { side, len: len() - 4 }, false),
        4 => (Push { side, len: len() }, false),
        5 | 6 => (Reserve { side, len: len(), commit: flag }, false),
        7..=10 => (Pop, false),
        11 => (PopBatch(code.below(5)), false),
        12 => (Peek { consume: flag }, false),
        13 => (ReopenConsumer, false),
        14 => (DieWriting(1 + code.below(3)), true),
        _ => (DieReading(code.below(3)), true),
    }
}

fn locked_operation(code: Code, input: &mut Input<'_>) -> (locked::Operation, bool) {
    use locked::Operation::*;
    let (side, flag, count, mut len) = (code.below(2), code.flag(), code.below(5), || input.below(140));
    match code.which() {
        0..=2 => (Push { side, len: len() }, false),
        3 => (PushBatch { side, len: len(), count }, false),
        4 => (PanicInBatch { side, len: len(), count }, false),
        5 | 6 => (Reserve { side, len: len(), commit: flag }, false),
        7 => (PushBesideReservation, false),
        8 | 9 => (Pop, false),
        10 => (PopBatch(count), false),
        11 => (Peek { consume: flag }, false),
        12 => (Discard, false),
        13 => (ReopenConsumer, false),
        14 => (DieWriting(len()), true),
        _ => (DieReading(count), true),
    }
}

fn broadcast_operation(code: Code, input: &mut Input<'_>) -> (broadcast::Operation, bool) {
    use broadcast::{Operation::*, PLACES};
    let (reader, flag, mut len) = (code.below(PLACES), code.flag(), || input.below(140));
    match code.which() {
        0..=3 => (Push(len()), false),
        4 => (Reserve { len: len(), commit: flag }, false),
        5..=8 => (Pop(reader), false),
        9 => (View { reader, finish: flag }, false),
        10 => (Discard(reader), false),
        11 | 12 => (Join(reader), false),
        13 => (Leave(reader), false),
        14 => (Reopen, false),
        _ => (DieAs { writer: flag }, true),
    }
}

fn cell_operation(code: Code, _input: &mut Input<'_>) -> (cell::Operation, bool) {
    use cell::Operation::*;
    let key = code.below(cell::KEYS);
    match code.which() {
        0..=3 => (Open(key), false),
        4..=9 => (Write(key), false),
        10..=12 => (Close(key), false),
        13 => (Die(key), true),
        _ => (DieWriting(key), true),
    }
}

fn mutex_operation(code: Code, _input: &mut Input<'_>) -> (mutex::Operation, bool) {
    use mutex::Operation::*;
    match code.which() {
        0..=6 => (Lock { who: code.below(mutex::PEOPLE), repair: code.flag() }, false),
        7..=13 => (Unlock, false),
        _ => (DieHolding, true),
    }
}

fn reader_or_writer(code: Code, _input: &mut Input<'_>) -> (locks::Act, bool) {
    use locks::Act::*;
    let (who, flag) = (code.below(locks::PEOPLE), code.flag());
    match code.which() {
        0..=3 => (Read(who), false),
        4..=7 => (Write { who, repair: flag }, false),
        8..=12 => (Leave(who), false),
        13 => (Panic, false),
        _ => (Die { writing: flag }, true),
    }
}

fn permit(code: Code, _input: &mut Input<'_>) -> ((usize, u8), bool) {
    let what = code.which() % 8;
    ((code.below(locks::PEOPLE), what), what == 7)
}

fn party(code: Code, _input: &mut Input<'_>) -> (waits::Act, bool) {
    use waits::Act::*;
    let who = code.below(waits::PEOPLE);
    match code.which() {
        0..=2 => (Join(who), false),
        3..=10 => (Wait(who), false),
        11 | 12 => (Reset(who), false),
        13 => (Leave(who), false),
        _ => (Die { waits: code.flag() }, true),
    }
}

fn attempt(code: Code, _input: &mut Input<'_>) -> (waits::Try, bool) {
    use waits::Try::*;
    match code.which() {
        0..=4 => (Panic, false),
        5..=7 => (Call, false),
        _ => (Die, true),
    }
}
