//! The header: untrusted bytes in, a validated private copy out.

use super::error::OpenError;
use crate::owner::MAX_SLOTS;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::Relaxed;

pub(super) const PAGE: usize = 4096;
/// The header in 64-bit words.
pub(super) const WORDS: usize = 8;
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"OWNRDEAD");
pub(super) const VERSION: u32 = 1;

/// What structure a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(pub u32);

impl Kind {
    /// A [`RobustMutex`](crate::lock::RobustMutex).
    pub const MUTEX: Self = Self(1);
    /// A [`spsc::Ring`](crate::ring::spsc::Ring).
    pub const SPSC: Self = Self(2);
    /// A [`FutexMutex`](crate::lock::FutexMutex).
    pub const FUTEX_MUTEX: Self = Self(3);
    /// A [`RwLock`](crate::lock::RwLock).
    pub const RWLOCK: Self = Self(4);
    /// A [`Semaphore`](crate::lock::Semaphore).
    pub const SEMAPHORE: Self = Self(5);
    /// A [`SeqLock`](crate::cell::SeqLock).
    pub const SEQLOCK: Self = Self(9);
    /// A [`Snapshot`](crate::cell::Snapshot).
    pub const SNAPSHOT: Self = Self(10);
    /// A [`Board`](crate::cell::Board).
    pub const BOARD: Self = Self(11);

    /// A [`broadcast::Ring`](crate::ring::broadcast::Ring).
    pub const BROADCAST: Self = Self(16);

    /// A [`mpsc::lanes::Ring`](crate::ring::mpsc::lanes::Ring).
    pub const MPSC_LANES: Self = Self(12);

    /// A [`mpsc::claims::Ring`](crate::ring::mpsc::claims::Ring).
    pub const MPSC_CLAIMS: Self = Self(14);

    /// A [`mpsc::locked::Ring`](crate::ring::mpsc::locked::Ring).
    pub const MPSC_LOCKED: Self = Self(13);

    /// An [`mpmc::Ring`](crate::ring::mpmc::Ring).
    pub const MPMC: Self = Self(15);

    /// A [`Once`](crate::lock::Once) or a [`OnceCell`](crate::lock::OnceCell).
    pub const ONCE: Self = Self(7);
    /// A [`Barrier`](crate::lock::Barrier).
    pub const BARRIER: Self = Self(8);

    /// All that this version knows.
    pub const ALL: [Self; 15] = [
        Self::MUTEX,
        Self::SPSC,
        Self::FUTEX_MUTEX,
        Self::RWLOCK,
        Self::SEMAPHORE,
        Self::SEQLOCK,
        Self::SNAPSHOT,
        Self::BOARD,
        Self::MPSC_LANES,
        Self::BROADCAST,
        Self::MPMC,
        Self::MPSC_CLAIMS,
        Self::ONCE,
        Self::BARRIER,
        Self::MPSC_LOCKED,
    ];

    /// What it is called, if this version knows it.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::MUTEX => Some("robust mutex"),
            Self::SPSC => Some("SPSC ring"),
            Self::FUTEX_MUTEX => Some("futex mutex"),
            Self::RWLOCK => Some("reader-writer lock"),
            Self::SEMAPHORE => Some("semaphore"),
            Self::SEQLOCK => Some("sequence lock"),
            Self::SNAPSHOT => Some("snapshot"),
            Self::BOARD => Some("board"),
            Self::BROADCAST => Some("broadcast ring"),
            Self::MPSC_LANES => Some("MPSC ring, lanes"),
            Self::MPMC => Some("MPMC ring"),
            Self::MPSC_CLAIMS => Some("MPSC ring, claims"),
            Self::ONCE => Some("once"),
            Self::BARRIER => Some("barrier"),
            Self::MPSC_LOCKED => Some("MPSC ring, locked"),
            Self(_) => None,
        }
    }
}

impl core::fmt::Display for Kind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({})", self.0, self.name().unwrap_or("unknown"))
    }
}

/// Word by word: magic; version, kind; total; slots, flags; slots offset; body offset; body length; checksum of those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    /// Length of the whole object, in bytes.
    pub(super) total: u64,
    pub(super) slots: u32,
    pub(super) slots_offset: u64,
    pub(super) body_offset: u64,
    pub(super) body_len: u64,
}

impl Header {
    /// `None` if it would be larger than a file can be.
    pub(super) fn new(kind: Kind, slots: u32, body_len: usize) -> Option<Self> {
        let page = PAGE as u64;
        let body_offset = page + u64::from(slots) * page;
        let total = body_offset.checked_add(u64::try_from(body_len).ok()?)?.checked_next_multiple_of(page)?;
        let largest = i64::MAX as u64;
        (total <= largest).then_some(Self {
            kind,
            total,
            slots,
            slots_offset: page,
            body_offset,
            body_len: body_len as u64,
        })
    }

    pub(super) fn words(&self) -> [u64; WORDS] {
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let mut words = [
            MAGIC,
            pair(VERSION, self.kind.0),
            self.total,
            pair(self.slots, 0),
            self.slots_offset,
            self.body_offset,
            self.body_len,
            0,
        ];
        words[WORDS - 1] = checksum(&words);
        words
    }

    /// Writes it. Relaxed: nobody sees the segment before it has a name.
    pub(super) fn write(&self, place: &[AtomicU64]) {
        for (place, word) in place.iter().zip(self.words()) {
            place.store(word, Relaxed);
        }
    }

    /// Reads the header once, and checks every field against what it must be in an object of `length` bytes.
    pub(super) fn read(place: &[AtomicU64], length: u64, kind: Kind) -> Result<Self, OpenError> {
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip(place) {
            // Relaxed: an honest creator wrote it before the segment had a name; a peer may scribble, so it is read once.
            *word = place.load(Relaxed);
        }
        Self::parse(&words, length, kind)
    }

    fn parse(words: &[u64; WORDS], length: u64, kind: Kind) -> Result<Self, OpenError> {
        let field = |field, found, expected: u64| {
            if found == expected {
                Ok(())
            } else {
                Err(OpenError::Field { field, found, expected: format!("{expected:#x}") })
            }
        };
        field("the magic", words[0], MAGIC)?;
        let version = words[1] as u32;
        if version != VERSION {
            return Err(OpenError::Version { found: version, supported: VERSION });
        }
        let found_kind = Kind((words[1] >> 32) as u32);
        if found_kind != kind {
            return Err(OpenError::Kind { found: found_kind, expected: kind });
        }
        let slots = words[3] as u32;
        if !(1..=MAX_SLOTS as u32).contains(&slots) {
            let expected = format!("1 to {MAX_SLOTS}");
            return Err(OpenError::Field { field: "the number of slots", found: slots.into(), expected });
        }
        field("the word of flags", words[3] >> 32, 0)?;
        let body_len = usize::try_from(words[6]).ok();
        let Some(should) = body_len.and_then(|body_len| Self::new(found_kind, slots, body_len)) else {
            let expected = format!("at most the {length} bytes of the object");
            return Err(OpenError::Field { field: "the body length", found: words[6], expected });
        };
        // Everything else follows from the slots and the body's length.
        field("the offset of the slots", words[4], should.slots_offset)?;
        field("the offset of the body", words[5], should.body_offset)?;
        field("the total length", words[2], should.total)?;
        if length < should.total {
            return Err(OpenError::TooShort { found: length, expected: should.total });
        }
        field("the checksum of the header", words[7], checksum(words))?;
        Ok(should)
    }
}

pub(super) fn checksum(words: &[u64; WORDS]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    for word in &words[..WORDS - 1] {
        hasher.update(&word.to_le_bytes());
    }
    hasher.finalize().into()
}

#[cfg(all(test, not(model)))]
mod tests {
    use super::*;

    fn valid() -> ([u64; WORDS], u64) {
        let header = Header::new(Kind::SPSC, 3, 5000).unwrap();
        (header.words(), header.total)
    }

    #[test]
    fn a_header_that_was_written_is_read() {
        let (words, total) = valid();
        let header = Header::parse(&words, total, Kind::SPSC).unwrap();
        assert_eq!((header.slots, header.body_offset, header.body_len, header.total), (3, 16384, 5000, 24576));
    }

    #[test]
    fn each_bit_of_the_header_counts() {
        let (words, total) = valid();
        for bit in 0..WORDS * 64 {
            let mut damaged = words;
            damaged[bit / 64] ^= 1 << (bit % 64);
            let error = Header::parse(&damaged, total, Kind::SPSC).expect_err("one bit differs");
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn each_field_has_its_own_error_even_with_a_right_checksum() {
        let (words, total) = valid();
        let with = |word: usize, value: u64| {
            let mut damaged = words;
            damaged[word] = value;
            damaged[7] = checksum(&damaged);
            Header::parse(&damaged, total, Kind::SPSC).unwrap_err().to_string()
        };
        for (word, value, says) in [
            (0, 0, "the magic"),
            (1, 2 << 32, "version 0"),
            (1, 2 << 32 | 2, "version 2"),
            (1, 1 << 32 | 1, "kind"),
            (2, total + 4096, "the total length"),
            (3, 0, "the number of slots"),
            (3, 4095, "the number of slots"),
            (3, 1 << 32 | 3, "the word of flags"),
            (4, 0, "the offset of the slots"),
            (5, 4096, "the offset of the body"),
            (6, u64::MAX, "the body length"),
            (6, 1 << 40, "the total length"),
        ] {
            let error = with(word, value);
            assert!(error.contains(says), "word {word} = {value:#x}: {error}");
        }
        let mut damaged = words;
        damaged[7] ^= 1;
        assert!(Header::parse(&damaged, total, Kind::SPSC).unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn an_object_shorter_than_its_header_says_is_refused() {
        let (words, total) = valid();
        for length in 0..total {
            assert!(matches!(Header::parse(&words, length, Kind::SPSC), Err(OpenError::TooShort { .. })), "{length}");
        }
    }
}
