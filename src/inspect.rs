//! What the bytes of a segment say, right or wrong, dead or alive: the heart of `ownerdead inspect`.
//!
//! **What it guarantees.** It only reads, through [`Image`], and makes no system call of its own. Any bytes will do: it does not
//! panic, and does not stop at the first thing that is wrong. Its time is bounded by the number of bytes, its memory by the
//! number of slots, and a thousand keys of a board.
//!
//! **What it finds.** A [`Problem`] is what nobody writes who follows the protocol: a peer that meets it may refuse the segment.
//! A [`Note`] is what is allowed and somebody should know: a slot between two states, a TID that does not exist. Deaths are
//! neither: they are what the segment is for.
//!
//! **What it cannot do.** Read all at one moment. The segment may be at work: each word is read by itself, in an order that makes
//! sense of what honest peers do meanwhile. A reader that copies a word while it changes (as `pread` may) can see a mixture, so
//! look twice before you believe in a problem of a segment that is at work.
//!
//! ```
//! use ownerdead::inspect::{Thread, inspect};
//!
//! let report = inspect(&&b"no segment"[..], |_| Thread::Unknown, |_| ());
//! assert_eq!(report.problems[0].field, "length");
//! ```

pub use crate::cell::image::{CellReport, EntryReport, ValueState, WriterState};
pub use crate::lock::barrier::image::{BarrierReport, PartyReport};
pub use crate::lock::condvar::image::CondvarReport;
pub use crate::lock::image::{LockState, MutexReport};
pub use crate::lock::once::image::{OnceReport, OnceReportState};
pub use crate::lock::rwlock::image::RwLockReport;
pub use crate::lock::semaphore::image::{PermitReport, SemaphoreReport};
pub use crate::ring::broadcast::image::{BroadcastReport, ReaderReport};
pub use crate::ring::mpmc::image::{ClaimCounts, ClaimReport, MpmcReport};
pub use crate::ring::mpsc::claims::image::{ClaimsReport, WriterReport};
pub use crate::ring::mpsc::lanes::image::{LaneReport, LanesReport};
pub use crate::ring::mpsc::locked::image::{LockedReport, TurnReport};
pub use crate::ring::spsc::image::{
    ChecksumState, RecordReport, RecordsReport, RingReport, SeatReport, SeatReportState,
};
pub use crate::segment::image::{
    HeaderReport, HolderReport, Image, Note, ParticipantsReport, Problem, SlotReport, Thread, Word,
};

use crate::segment::Kind;
use crate::segment::image::{Look, header, participants};

/// A segment.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// Bytes that there are.
    pub length: u64,
    /// The header, if there are enough bytes for one.
    pub header: Option<HeaderReport>,
    /// The participants' table, if the header says where it is.
    pub participants: Option<ParticipantsReport>,
    /// The ring, if it is one.
    pub ring: Option<RingReport>,
    /// The MPSC ring of lanes, if it is one.
    pub lanes: Option<LanesReport>,
    /// The MPSC ring of claims, if it is one.
    pub claims: Option<ClaimsReport>,
    /// The MPSC ring whose producers take turns, if it is one.
    pub locked: Option<LockedReport>,
    /// The mutex, if it is one.
    pub mutex: Option<MutexReport>,
    /// The cells, if it is a sequence lock, a snapshot or a board.
    pub cells: Option<CellReport>,
    /// The broadcast ring, if it is one.
    pub broadcast: Option<BroadcastReport>,
    /// The MPMC ring, if it is one.
    pub mpmc: Option<MpmcReport>,
    /// The reader-writer lock, if it is one.
    pub rwlock: Option<RwLockReport>,
    /// The semaphore, if it is one.
    pub semaphore: Option<SemaphoreReport>,
    /// The condition variables of the mutex, if it is a robust one.
    pub condvars: Vec<CondvarReport>,
    /// The once-initialisation, if it is one.
    pub once: Option<OnceReport>,
    /// The barrier, if it is one.
    pub barrier: Option<BarrierReport>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What somebody should know.
    pub notes: Vec<Note>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// Drops the problems that `earlier`, a look at the same segment, did not have: what was seen once only may have been a
    /// mixture of two values, in a segment that is at work. Damage stays.
    pub fn keep_confirmed(&mut self, earlier: &Report) {
        self.problems.retain(|problem| earlier.problems.iter().any(|other| other.field == problem.field));
    }
}

/// Looks at a segment. `threads` says whether a TID exists; `records` is given each record of a ring between its indices.
pub fn inspect(
    image: &dyn Image,
    mut threads: impl FnMut(u32) -> Thread,
    mut records: impl FnMut(&RecordReport),
) -> Report {
    let mut look = Look::new(image);
    let (header, layout) = header(&mut look);
    let (mut table, mut ring, mut lanes, mut mutex) = (None, None, None, None);
    let (mut cells, mut claims, mut locked) = (None, None, None);
    let (mut broadcast, mut mpmc) = (None, None);
    let (mut rwlock, mut semaphore) = (None, None);
    let (mut condvars, mut once, mut barrier) = (Vec::new(), None, None);
    if let Some(layout) = layout {
        table = Some(participants(&mut look, &layout, &mut threads));
        match layout.kind() {
            Kind::SPSC => ring = crate::ring::spsc::image::ring(&mut look, &layout, &mut records),
            Kind::MPSC_LANES => lanes = crate::ring::mpsc::lanes::image::ring(&mut look, &layout, &mut records),
            Kind::MPSC_CLAIMS => claims = crate::ring::mpsc::claims::image::ring(&mut look, &layout, &mut records),
            Kind::MPSC_LOCKED => locked = crate::ring::mpsc::locked::image::ring(&mut look, &layout, &mut records),
            Kind::MUTEX | Kind::FUTEX_MUTEX => {
                mutex = crate::lock::image::mutex(&mut look, &layout);
                if layout.kind() == Kind::MUTEX {
                    condvars = crate::lock::condvar::image::condvars(&mut look, &layout);
                }
            }
            Kind::ONCE => once = crate::lock::once::image::once(&mut look, &layout),
            Kind::BARRIER => barrier = crate::lock::barrier::image::barrier(&mut look, &layout),
            Kind::SEQLOCK | Kind::SNAPSHOT | Kind::BOARD => cells = crate::cell::image::cells(&mut look, &layout),
            Kind::BROADCAST => broadcast = crate::ring::broadcast::image::ring(&mut look, &layout),
            Kind::MPMC => mpmc = crate::ring::mpmc::image::ring(&mut look, &layout, &mut records),
            Kind::RWLOCK => rwlock = crate::lock::rwlock::image::rwlock(&mut look, &layout),
            Kind::SEMAPHORE => semaphore = crate::lock::semaphore::image::semaphore(&mut look, &layout),
            Kind(_) => {}
        }
    }
    look.end();
    let (length, problems, notes) = (look.length(), look.problems, look.notes);
    Report {
        length,
        header,
        participants: table,
        ring,
        lanes,
        claims,
        locked,
        mutex,
        condvars,
        once,
        barrier,
        cells,
        broadcast,
        mpmc,
        rwlock,
        semaphore,
        problems,
        notes,
    }
}
