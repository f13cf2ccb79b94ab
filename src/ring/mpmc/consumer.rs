//! A consumer's side.

use super::claims::{Side, Watched};
use super::wait::Role;
#[cfg(not(model))]
use super::wait::{side, watch};
use super::{Corrupt, PopError, PopTimeoutError, TryPopError};
use crate::owner::Claim;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::Checksum;
use crate::sync::{payload, thread, time};
use core::time::Duration;

/// A consumer's side. It stays with its thread.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpmc::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    side: Side,
}

/// A record in a slot that this thread has claimed for reading.
#[derive(Clone, Copy, Debug)]
struct Found {
    position: u64,
    kind: u32,
    /// Invariant 1: at most the ring's longest payload.
    len: u32,
}

impl Consumer {
    pub(super) fn new(side: Side) -> Self {
        Self { side }
    }

    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// # Errors
    /// [`TryPopError`]; that the ring is empty, too, if all that is in it waits for a producer that is at work (see
    /// [`Order`](super::Order)).
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        self.side.me.check()?;
        let position = self.side.claim_to_read(None)?.ok_or(TryPopError::Empty)?;
        Ok(self.read(position, payload)?)
    }

    /// The same, sleeping while there is none.
    ///
    /// # Errors
    /// [`PopError`]; never that the producer died, since any may come.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_or_wait(payload, || None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`]; never that the producer died, since any may come.
    pub fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError> {
        self.pop_or_wait(payload, || time::now().checked_add(timeout))
    }

    #[inline]
    fn pop_or_wait(
        &mut self,
        payload: &mut Vec<u8>,
        deadline: impl FnOnce() -> Option<Duration>,
    ) -> Result<u32, PopTimeoutError> {
        match self.try_pop(payload) {
            Ok(kind) => Ok(kind),
            Err(TryPopError::Empty) => self.pop_until(payload, deadline()),
            Err(error) => Err(refused(error)),
        }
    }

    #[cold]
    fn pop_until(&mut self, payload: &mut Vec<u8>, deadline: Option<Duration>) -> Result<u32, PopTimeoutError> {
        let attempt = |watch: Option<&mut Watched>| {
            let position = self.side.claim_to_read(watch)?;
            position.map(|position| self.read(position, payload)).transpose()
        };
        let kind = self.side.until(Role::Consumer, deadline, None, attempt).map_err(PopTimeoutError::Corrupt)?;
        self.side.me.intact()?;
        kind.ok_or(PopTimeoutError::TimedOut)
    }

    /// Claims the next record, to be looked at in place and read off. Dropped before, it is given back.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<Peek<'_>, TryPopError> {
        self.side.me.check()?;
        let position = self.side.claim_to_read(None)?.ok_or(TryPopError::Empty)?;
        let found = self.find(position)?;
        self.side.me.intact()?;
        self.side.me.right_taken();
        Ok(Peek { consumer: self, found, consumed: false })
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.side.me, side(&self.side.ring, Role::Consumer))
    }

    /// Arms a bell of this ring: it rings once there is a record, at once if there is already; another consumer may have it by then. To be called after
    /// this side was told that the ring is empty. Never for a death: any may come.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        let ring = &self.side.ring;
        bell.arm(side(ring, Role::Consumer), watch(ring, Role::Consumer))
    }

    /// Sleeps as a bell's thread does, for models.
    ///
    /// # Errors
    /// [`Corrupt`].
    #[cfg(model)]
    pub fn watch(&self) -> Result<(), Corrupt> {
        self.side.until_there_is(Role::Consumer, None)
    }

    /// Goes, as dropping does.
    pub fn close(self) {}

    /// Reads the record that was claimed, and its slot is free. If it is damaged it stays.
    #[inline]
    fn read(&self, position: u64, payload: &mut Vec<u8>) -> Result<u32, Corrupt> {
        let found = self.find(position)?;
        payload.clear();
        if let Err(corrupt) = self.copy(&found, payload) {
            self.give_back(position);
            return Err(corrupt);
        }
        self.side.done(position);
        Ok(found.kind)
    }

    /// The record that was claimed. If it is damaged it stays.
    #[inline]
    fn find(&self, position: u64) -> Result<Found, Corrupt> {
        // Read once: a peer that breaks the protocol may change it meanwhile.
        let first = self.side.ring.slot(position).first.load();
        let (len, kind) = (first as u32, (first >> 32) as u32);
        if len as usize > self.side.ring.longest_payload() {
            self.give_back(position);
            return Err(too_long(len, self.side.ring.longest_payload()));
        }
        Ok(Found { position, kind, len })
    }

    #[cold]
    fn give_back(&self, position: u64) {
        self.side.release(position, Claim::full(self.side.ring.geometry.lap(position)));
    }

    /// Appends the payload of a record to `payload`, which is empty, and checks its checksum.
    #[inline]
    fn copy(&self, found: &Found, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        payload::append(self.side.ring.payload(found.position), found.len as usize, payload);
        let checked = self.check(found, payload);
        if checked.is_err() {
            payload.clear();
        }
        checked
    }

    #[inline]
    fn check(&self, found: &Found, payload: &[u8]) -> Result<(), Corrupt> {
        self.side.me.intact()?;
        if !self.side.ring.geometry.checksum {
            return Ok(());
        }
        let expected = Checksum::of(found.position, crate::ring::record::head(found.len, found.kind), [], payload);
        let stored = self.side.ring.slot(found.position).checksum.load();
        if stored == expected { Ok(()) } else { Err(wrong_checksum(found.position, stored, expected)) }
    }
}

#[cold]
fn too_long(len: u32, longest: usize) -> Corrupt {
    Corrupt { field: "the length of a record", found: len.into(), expected: format!("at most {longest}") }
}

#[cold]
fn wrong_checksum(position: u64, stored: u64, expected: u64) -> Corrupt {
    Corrupt {
        field: "the checksum of a record",
        found: stored,
        expected: format!("{expected:#x} at position {position:#x}"),
    }
}

#[cold]
fn refused(error: TryPopError) -> PopTimeoutError {
    match error {
        TryPopError::Empty => unreachable!("an empty ring is waited for"),
        TryPopError::Lapped { lost } => PopTimeoutError::Lapped { lost },
        TryPopError::Forked => PopTimeoutError::Forked,
        TryPopError::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
    }
}

/// A record in the ring, claimed: no other consumer gets it. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropping it gives the record back unread"]
pub struct Peek<'c> {
    consumer: &'c mut Consumer,
    found: Found,
    consumed: bool,
}

impl Peek<'_> {
    /// Its kind.
    pub fn kind(&self) -> u32 {
        self.found.kind
    }

    /// Bytes of its payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.found.len as usize
    }

    /// Copies its payload (what `payload` held is replaced).
    ///
    /// # Errors
    /// [`Corrupt`], if the checksum is wrong; `payload` is empty then.
    pub fn copy_to(&self, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        payload.clear();
        self.consumer.copy(&self.found, payload)
    }

    /// Its payload, in place, after a look at its checksum.
    ///
    /// # Errors
    /// [`Corrupt`], if the checksum is wrong.
    ///
    /// # Safety
    /// Every process that can write the segment follows the ring's protocol: then nobody writes the record before it is
    /// committed as read. See `docs/trust.md`.
    #[cfg(not(model))]
    pub unsafe fn as_bytes(&self) -> Result<&[u8], Corrupt> {
        // SAFETY: the slot's payload has at least `len` bytes (invariant 1 of `Found`), and by the caller's promise nobody writes it.
        let bytes =
            unsafe { crate::sync::cell::bytes(self.consumer.side.ring.payload(self.found.position), self.len()) };
        self.consumer.check(&self.found, bytes)?;
        Ok(bytes)
    }

    /// Commits it as read. In a child that was forked since it does nothing: the record is its parent's.
    pub fn consume(mut self) {
        let side = &self.consumer.side;
        if side.me.is_current() {
            side.done(self.found.position);
            side.me.right_given_up();
            self.consumed = true;
        }
    }
}

impl Drop for Peek<'_> {
    fn drop(&mut self) {
        let side = &self.consumer.side;
        if self.consumed || thread::dying() || !side.me.is_current() {
            return;
        }
        self.consumer.give_back(self.found.position);
        side.me.right_given_up();
    }
}
