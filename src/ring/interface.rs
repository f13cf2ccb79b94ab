//! One interface for all topologies: who changes the topology changes a type.
//!
//! ```
//! use ownerdead::ring::{Consume, Produce, Topology, spsc};
//! use ownerdead::segment::Options;
//!
//! /// Sends a greeting through whatever ring it is given.
//! fn greet<R: Topology>(ring: &R) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let me = ring.attach()?;
//!     let mut producer = ring.producer(&me)?.into_inner();
//!     let mut consumer = ring.consumer(&me)?.into_inner();
//!     producer.push(1, b"hello")?;
//!     let mut payload = Vec::new();
//!     consumer.pop(&mut payload)?;
//!     Ok(payload)
//! }
//!
//! let ring = spsc::Ring::memfd(&Options::new(), &spsc::Config::new(4096))?;
//! assert_eq!(greet(&ring)?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(not(model))]
use super::{Bell, BellError, BellUseError};
use super::{Opened, PopError, PopTimeoutError, PushError, PushTimeoutError, SeatError, TryPopError, TryPushError};
use crate::owner::{AttachError, Attachment};
use core::time::Duration;

/// A ring of any topology. What its sides promise, and what a death does, is said by each.
pub trait Topology {
    /// Who puts records in.
    type Producer: Produce;
    /// Who takes records out.
    type Consumer: Consume;

    /// Makes the calling thread a participant of the ring's segment. To be done once a thread.
    ///
    /// # Errors
    /// [`AttachError`].
    fn attach(&self) -> Result<Attachment, AttachError>;

    /// Opens a producer's side; if that is a seat which a dead one had, it is taken over.
    ///
    /// # Errors
    /// [`SeatError`].
    fn producer(&self, me: &Attachment) -> Result<Opened<Self::Producer>, SeatError>;

    /// Opens a consumer's side; if that is a seat which a dead one had, it is taken over.
    ///
    /// # Errors
    /// [`SeatError`].
    fn consumer(&self, me: &Attachment) -> Result<Opened<Self::Consumer>, SeatError>;

    /// Bytes that the longest payload may have.
    fn longest_payload(&self) -> usize;

    /// How full it is.
    fn statistics(&self) -> Statistics;
}

/// What a ring's counts are counts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, heads and padding included.
    Bytes,
    /// Records.
    Records,
}

/// How full a ring is. Both positions were read at moments of their own, so the difference may be off by what was done meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Of what.
    pub unit: Unit,
    /// How much it holds.
    pub capacity: u64,
    /// How much was put in since the ring's birth.
    pub written: u64,
    /// How much of that was taken out, by the slowest reader where there are several.
    pub read: u64,
}

/// A side that puts records in.
pub trait Produce {
    /// Room for a record that is filled in place.
    type Reservation<'p>: Commit
    where
        Self: 'p;

    /// Appends a record, if there is room. `kind` is the caller's.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), TryPushError>;

    /// Appends a record, and waits for room.
    ///
    /// # Errors
    /// [`PushError`], and nothing was changed.
    fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), PushError>;

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PushTimeoutError`], and nothing was changed.
    fn push_timeout(&mut self, kind: u32, payload: &[u8], timeout: Duration) -> Result<(), PushTimeoutError>;

    /// Reserves room for a record of `len` bytes, all zero. Dropped uncommitted, it never was.
    ///
    /// # Errors
    /// [`TryPushError`], and nothing was changed.
    fn reserve(&mut self, kind: u32, len: usize) -> Result<Self::Reservation<'_>, TryPushError>;

    /// A bell for this side: a descriptor that becomes readable once it is armed and there may be room. Silent until then.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    fn bell(&self) -> Result<Bell, BellError>;

    /// Arms a bell of this side, after it was told that the ring is full: it rings once that may be over, or the peer that it waits for
    /// dies. Then it is to be tried again: another producer may have been faster.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    fn arm(&self, bell: &Bell) -> Result<(), BellUseError>;
}

/// Room for a record, not committed yet.
pub trait Commit {
    /// Copies `bytes` into the payload at `offset`. Says how many fit: fewer than `bytes.len()` only at the payload's end.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> usize;

    /// Commits the record.
    ///
    /// # Errors
    /// [`TryPushError::Forked`], in a child that was forked meanwhile.
    fn commit(self) -> Result<(), TryPushError>;
}

/// A side that takes records out.
pub trait Consume {
    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`].
    fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError>;

    /// The same, and waits for one.
    ///
    /// # Errors
    /// [`PopError`].
    fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError>;

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`].
    fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError>;

    /// A bell for this side: a descriptor that becomes readable once it is armed and there may be a record. Silent until then.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    fn bell(&self) -> Result<Bell, BellError>;

    /// Arms a bell of this side, after it was told that the ring is empty: it rings once that may be over, or the peer that it waits for
    /// dies. Then it is to be tried again: another consumer may have been faster.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    fn arm(&self, bell: &Bell) -> Result<(), BellUseError>;
}

/// Implements the interface for a ring whose sides have methods of the same names.
macro_rules! interface {
    ($ring:ty, $producer:ty, $reservation:ident, $consumer:ty) => {
        impl $crate::ring::Topology for $ring {
            type Producer = $producer;
            type Consumer = $consumer;
            fn attach(&self) -> Result<$crate::owner::Attachment, $crate::owner::AttachError> {
                self.attach()
            }
            fn producer(
                &self,
                me: &$crate::owner::Attachment,
            ) -> Result<$crate::ring::Opened<$producer>, $crate::ring::SeatError> {
                self.producer(me)
            }
            fn consumer(
                &self,
                me: &$crate::owner::Attachment,
            ) -> Result<$crate::ring::Opened<$consumer>, $crate::ring::SeatError> {
                self.consumer(me)
            }
            fn longest_payload(&self) -> usize {
                self.longest_payload()
            }
            fn statistics(&self) -> $crate::ring::Statistics {
                self.statistics()
            }
        }
        impl $crate::ring::Produce for $producer {
            type Reservation<'p> = $reservation<'p>;
            #[inline]
            fn try_push(&mut self, kind: u32, payload: &[u8]) -> Result<(), $crate::ring::TryPushError> {
                self.try_push(kind, payload)
            }
            fn push(&mut self, kind: u32, payload: &[u8]) -> Result<(), $crate::ring::PushError> {
                self.push(kind, payload)
            }
            fn push_timeout(
                &mut self,
                kind: u32,
                payload: &[u8],
                timeout: core::time::Duration,
            ) -> Result<(), $crate::ring::PushTimeoutError> {
                self.push_timeout(kind, payload, timeout)
            }
            fn reserve(&mut self, kind: u32, len: usize) -> Result<$reservation<'_>, $crate::ring::TryPushError> {
                self.reserve(kind, len)
            }
            #[cfg(not(model))]
            fn bell(&self) -> Result<$crate::ring::Bell, $crate::ring::BellError> {
                self.bell()
            }
            #[cfg(not(model))]
            fn arm(&self, bell: &$crate::ring::Bell) -> Result<(), $crate::ring::BellUseError> {
                self.arm(bell)
            }
        }
        impl $crate::ring::Commit for $reservation<'_> {
            fn write(&mut self, offset: usize, bytes: &[u8]) -> usize {
                self.write(offset, bytes)
            }
            fn commit(self) -> Result<(), $crate::ring::TryPushError> {
                self.commit()
            }
        }
        impl $crate::ring::Consume for $consumer {
            #[inline]
            fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, $crate::ring::TryPopError> {
                self.try_pop(payload)
            }
            fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, $crate::ring::PopError> {
                self.pop(payload)
            }
            fn pop_timeout(
                &mut self,
                payload: &mut Vec<u8>,
                timeout: core::time::Duration,
            ) -> Result<u32, $crate::ring::PopTimeoutError> {
                self.pop_timeout(payload, timeout)
            }
            #[cfg(not(model))]
            fn bell(&self) -> Result<$crate::ring::Bell, $crate::ring::BellError> {
                self.bell()
            }
            #[cfg(not(model))]
            fn arm(&self, bell: &$crate::ring::Bell) -> Result<(), $crate::ring::BellUseError> {
                self.arm(bell)
            }
        }
    };
}
pub(crate) use interface;
