//! What the ring is like when an operation begins, and how it comes to be so.

use super::{
    AS_LONG_AS_CAN_BE, Broadcast, CAPACITY, ENTRIES, LENGTH, READER, READERS, SHORT, SLOTS, TOO_LONG, WRITER, pushes,
    try_push,
};
use ownerdead::harness::kill::Facts;
use ownerdead::ring::broadcast::{Consumer, Producer};

/// Offset of the ring's body in its segment: see `segment`.
const BODY: usize = 4096 * (1 + SLOTS as usize);
/// Offsets in the body: see `ring::broadcast`.
const TAIL: usize = 128;
const OLDEST: usize = 136;
const WRITER_SEAT: usize = 256;
const GATES: [usize; 2] = [384, 512];
const PLACES: usize = 4096;
const PLACE: usize = 128;
const PLACE_SEAT: usize = 16;
const INDEX: usize = 8192;
const RECORDS: usize = 12288;
/// No count of records, and no position.
const FAR: u64 = 1 << 62;

/// What the ring is like when the operation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// As it was made.
    Fresh,
    /// Some records are in it, and some were read.
    Warm,
    /// The next record does not fit before the end.
    AtTheEnd,
    /// The reader, which has read nothing, holds the writer up; in a lossy ring it is lapped.
    Behind,
    /// The next record overwrites the first one, which the reader has yet to read; in a lossless ring it has no room.
    Full,
    /// The next record of a lossy ring is overwritten by a long one's payload, and its entry of the index is not.
    Overwritten,
    /// The reader holds the writer up, and another one has read all.
    Two,
    /// All was read.
    Empty,
    /// The other side has slept.
    Slept,
    /// The victim's side has slept, and the ring is as full, or empty, as it was.
    Asked,
    /// The records are as long as can be.
    Long,
    /// The next record is as long as can be, and starts at the ring's beginning: all that is there is in its way.
    LongAtTheEnd,
    /// The victim's record has no payload.
    NoPayload,
    /// The payload fits in no ring of this size.
    TooLarge,
    Damaged(Damage),
}

/// What somebody has done to the ring who does not follow the protocol. Each is to be told, or waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Fewer records are committed than were.
    WentBack,
    /// More than a ring can ever hold.
    TooFar,
    /// More than fit in a lossless ring behind its reader.
    Apart,
    /// Where the next record begins is no multiple of 8.
    Odd,
    /// Behind all records.
    Entry,
    /// At the ring's last granule, where none fits.
    LastGranule,
    /// A record is longer than may be.
    TooLong,
    Payload,
    Oldest,
    /// The reader has read more than was written.
    ReadAhead,
    /// It reads what has gone: so its place looks, should it have stopped while it took it.
    ReadLongAgo,
    /// All seats are of a slot that is not there.
    Seats,
    /// All seats are nobody's for ever.
    LostSeats,
    /// Gates are not 0: nobody can sleep on them.
    Gates,
}

/// Where the other side is, or, if the victim opens, those who have all seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// In the victim.
    Here,
    /// It has given its seat up.
    Gone,
    Stands,
    Dead,
}

/// How the victim finds what it opens in the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opens {
    /// As the others have left it.
    Found,
    /// The victim is attached to another segment.
    Foreign,
}

impl Broadcast {
    /// Brings the ring into its state, with all seats open: what handles know is part of the state.
    pub fn bring(&self, writer: &mut Producer, reader: &mut Consumer, facts: &Facts) {
        let mut bytes = Vec::with_capacity(CAPACITY);
        let one = |writer: &mut Producer| try_push(writer, facts).expect("room");
        let mut both = |writer: &mut Producer, reader: &mut Consumer| {
            one(writer);
            reader.try_pop(&mut bytes).expect("a record");
        };
        let of_length = |writer: &mut Producer, length: usize| {
            pushes(writer, facts, |writer, kind| writer.try_push(kind, &[0xff; TOO_LONG][..length])).expect("room");
        };
        let fill = |writer: &mut Producer| {
            if self.lossless {
                while try_push(writer, facts).is_ok() {}
            } else {
                (0..9).for_each(|_| one(writer));
            }
        };
        match self.is {
            Is::Fresh => {}
            Is::Empty | Is::Damaged(Damage::Gates | Damage::Seats) if self.role == READER => both(writer, reader),
            Is::Damaged(Damage::ReadLongAgo) => {
                (0..ENTRIES + 1).for_each(|_| both(writer, reader));
                fill(writer);
            }
            Is::Damaged(_) if self.role == WRITER && self.opens.is_none() => fill(writer),
            Is::Warm | Is::NoPayload | Is::TooLarge | Is::Empty | Is::Damaged(_) => {
                both(writer, reader);
                one(writer);
            }
            // A record takes 40 bytes: six fit before the end.
            Is::AtTheEnd => (0..6).for_each(|_| both(writer, reader)),
            Is::Overwritten => {
                (0..2).for_each(|_| both(writer, reader));
                (0..4).for_each(|_| one(writer));
                of_length(writer, AS_LONG_AS_CAN_BE);
            }
            Is::Full => (0..6).for_each(|_| one(writer)),
            Is::Behind => fill(writer),
            Is::Two => {
                both(writer, reader);
                fill(writer);
                while reader.try_pop(&mut bytes).is_ok() {}
            }
            Is::Slept | Is::Asked if (self.role == READER) == (self.is == Is::Asked) => {
                reader.pop_timeout(&mut bytes, SHORT).expect_err("an empty ring");
            }
            Is::Slept | Is::Asked => {
                fill(writer);
                writer.push_timeout(0, &[0; LENGTH], SHORT).expect_err("a full ring");
            }
            Is::Long => of_length(writer, AS_LONG_AS_CAN_BE),
            // Seven of 16 bytes, and one of 24: that is more than half, and yet none is behind what is overwritten.
            Is::LongAtTheEnd => {
                (0..7).for_each(|_| of_length(writer, 0));
                of_length(writer, 8);
            }
        }
    }

    fn body(&self, offset: usize) -> *mut u64 {
        let start = BODY + offset;
        assert!(start.is_multiple_of(8) && start + 8 <= self.memory.len(), "a word of the memory: {start}");
        // SAFETY: in bounds of the mapping, as was just seen.
        unsafe { self.memory.start().as_ptr().add(start).cast() }
    }

    fn seats_are(&self, right: u64) {
        let places = (0..READERS).map(|place| PLACES + place * PLACE + PLACE_SEAT);
        // SAFETY: words of the mapping; nobody else is at work.
        places.chain([WRITER_SEAT]).for_each(|seat| unsafe { *self.body(seat) = right });
    }

    /// Damages the ring, when both sides have come to know what they know.
    pub fn damage(&self, damage: Damage) {
        let status = self.ring.status();
        let (written, read) = (status.written, status.readers[0].read);
        // The record that the operation looks at first.
        let record = match self.role {
            WRITER if self.opens.is_some() => written,
            WRITER if !self.lossless => status.oldest,
            _ => read,
        };
        // SAFETY: words of the mapping; nobody else is at work.
        unsafe {
            let (tail, position) = (self.body(TAIL), self.body(PLACES));
            assert_eq!([*tail >> 1, *position >> 1, *self.body(OLDEST)], [written, read, status.oldest]);
            let entry = self.body(INDEX + (record % ENTRIES * 8) as usize);
            let first = self.body(RECORDS + *entry as usize % CAPACITY);
            match damage {
                Damage::WentBack => *tail = 0,
                Damage::TooFar => *tail = FAR << 1,
                Damage::Apart => *tail = (written + 100) << 1,
                Damage::Odd => *entry |= 4,
                Damage::Entry => *entry = FAR,
                Damage::LastGranule => *entry = CAPACITY as u64 - 8,
                Damage::TooLong => *first = (*first & !0xffff_ffff) | 200,
                Damage::Payload => *first.add(1) ^= 1,
                Damage::Oldest => *self.body(OLDEST) = FAR,
                Damage::ReadAhead => *position = (written + 5) << 1,
                Damage::ReadLongAgo => *position = 0,
                Damage::Seats => self.seats_are(1 << 32 | 1 << 29 | 77),
                Damage::LostSeats => self.seats_are(1 << 29 | 0xffe),
                Damage::Gates => GATES.iter().for_each(|&gate| *self.body(gate) = 1),
            }
        }
    }
}
