//! The consumer's side: a reader for each lane, and the lowest number first.

use super::wait::{Stop, until_some, until_taken};
#[cfg(not(model))]
use super::wait::{side, watch_some, watch_taken};
use super::{Corrupt, NUMBER, PopError, PopTimeoutError, Ring, TryPopError, WaitPeerError};
use crate::owner::Attachment;
#[cfg(not(model))]
use crate::ring::bell::{Bell, BellError, BellUseError};
use crate::ring::record::GRANULE;
use crate::ring::spsc::{Found, Reader, Role, pop_refused};
use crate::sync::{thread, time};
use core::time::Duration;

/// The consumer's seat. It stays with its thread; dropping it gives the seat up.
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::ring::mpsc::lanes::Consumer>();
/// ```
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    me: Attachment,
    /// Invariant 1: one for each lane.
    lanes: Vec<Lane>,
    /// Room for the records of a batch, kept from one to the next. Its content means nothing.
    scratch: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) reader: Reader,
    /// Up to where records were given away: the read index, but in a batch.
    next: u64,
    /// The record there, if it is known that there is one.
    head: Option<Head>,
}

/// A record that can be delivered.
#[derive(Clone, Copy, Debug)]
struct Head {
    found: Found,
    /// Of its arrival. Read once.
    number: u64,
}

impl Lane {
    /// Looks for the next record, unless it is known; whether there is one.
    #[inline]
    fn look(&mut self) -> Result<bool, TryPopError> {
        if self.head.is_some() {
            return Ok(true);
        }
        let found = match self.reader.find(self.next) {
            Ok(found) => found,
            Err(TryPopError::Empty) => return Ok(false),
            Err(error) => return Err(error),
        };
        if (found.len as usize) < NUMBER {
            return Err(no_number(&found).into());
        }
        let number = self.reader.ring.granule(found.start + GRANULE).load();
        self.head = Some(Head { found, number });
        Ok(true)
    }

    /// Appends the payload of the next record, which is known, to `payload`; the record.
    fn copy(&self, payload: &mut Vec<u8>) -> Result<Found, Corrupt> {
        let Head { found, number } = self.head.expect("a record that was found");
        self.reader.copy(&found, [number], payload)?;
        Ok(found)
    }

    /// The next record is given away.
    fn pass(&mut self, found: &Found) {
        (self.next, self.head) = (found.end, None);
    }

    /// Commits as read what was given away.
    fn commit(&mut self) {
        if self.next != self.reader.head {
            self.reader.commit(self.next);
        }
    }

    /// Takes back what was given away.
    fn rewind(&mut self) {
        if self.next != self.reader.head {
            (self.next, self.head) = (self.reader.head, None);
        }
    }
}

impl Consumer {
    pub(super) fn new(ring: Ring, me: Attachment) -> Result<Self, Corrupt> {
        let lane = |ring: &crate::ring::spsc::Ring| {
            let reader = Reader::new(ring.clone(), me.clone())?;
            Ok(Lane { next: reader.head, reader, head: None })
        };
        // Not before all is checked: dropping a consumer gives the seat up, and so does the caller where there is none.
        let lanes = ring.lanes.iter().map(lane).collect::<Result<_, Corrupt>>()?;
        Ok(Self { ring, me, lanes, scratch: Vec::new() })
    }

    /// Copies the next record into `payload` (what it held is replaced), commits it as read, and gives its kind.
    ///
    /// The next one is that of the lowest number among those which are first in their lanes. All lanes were looked at since it was known,
    /// and so each record whose push had returned before its own began has been seen, and has a lower number.
    ///
    /// # Errors
    /// [`TryPopError`], and the record, if there is one, stays.
    #[inline]
    pub fn try_pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, TryPopError> {
        let lane = self.first()?;
        let lane = &mut self.lanes[lane];
        payload.clear();
        let found = lane.copy(payload)?;
        lane.pass(&found);
        lane.commit();
        Ok(found.kind)
    }

    /// The same, sleeping while all lanes are empty, and a producer lives or nobody has ever died with a lane.
    ///
    /// # Errors
    /// [`PopError`], and the record, if there is one, stays. `ProducerDied` if no producer lives, and a dead one's lane waits for the
    /// next.
    pub fn pop(&mut self, payload: &mut Vec<u8>) -> Result<u32, PopError> {
        Ok(self.pop_until(payload, None)?)
    }

    /// The same for up to `timeout`.
    ///
    /// # Errors
    /// [`PopTimeoutError`], and the record, if there is one, stays.
    pub fn pop_timeout(&mut self, payload: &mut Vec<u8>, timeout: Duration) -> Result<u32, PopTimeoutError> {
        match self.try_pop(payload) {
            Ok(kind) => Ok(kind),
            Err(TryPopError::Empty) => self.pop_until(payload, time::now().checked_add(timeout)),
            Err(error) => Err(pop_refused(error)),
        }
    }

    fn pop_until(&mut self, payload: &mut Vec<u8>, deadline: Option<Duration>) -> Result<u32, PopTimeoutError> {
        loop {
            match self.try_pop(payload) {
                Ok(kind) => return Ok(kind),
                Err(TryPopError::Empty) => {}
                Err(error) => return Err(pop_refused(error)),
            }
            let tail = |lane: usize| self.lanes[lane].reader.tail;
            until_some(&self.ring, &self.me, tail, deadline, None).map_err(|stop| match stop {
                Stop::HolderDied => PopTimeoutError::ProducerDied,
                Stop::TimedOut => PopTimeoutError::TimedOut,
                Stop::Corrupt(corrupt) => PopTimeoutError::Corrupt(corrupt),
            })?;
        }
    }

    /// Gives up to `max` records to `take`, in order, and commits them as read, each lane's together: should this thread die before, all
    /// of them are delivered again; while it commits, those of some lanes. Says how many.
    ///
    /// # Errors
    /// [`TryPopError`] if there was not even one.
    pub fn pop_batch(&mut self, max: usize, mut take: impl FnMut(u32, &[u8])) -> Result<usize, TryPopError> {
        let (mut count, mut payload) = (0, core::mem::take(&mut self.scratch));
        let mut batch = Batch(self);
        let stopped = loop {
            if count == max {
                break None;
            }
            payload.clear();
            let Batch(consumer) = &mut batch;
            match consumer.first().and_then(|lane| Ok((lane, consumer.lanes[lane].copy(&mut payload)?))) {
                Ok((lane, found)) => {
                    take(found.kind, &payload);
                    consumer.lanes[lane].pass(&found);
                    count += 1;
                }
                Err(error) => break Some(error),
            }
        };
        let Batch(consumer) = &mut batch;
        if !consumer.ring.geometry.wipe {
            // What is wiped in the ring is not kept here either.
            consumer.scratch = payload;
        }
        // `take` may have forked: then the records are the parent's to commit.
        consumer.me.check()?;
        consumer.lanes.iter_mut().for_each(Lane::commit);
        match stopped {
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    /// Looks at the next record without reading it off.
    ///
    /// # Errors
    /// [`TryPopError`].
    pub fn peek(&mut self) -> Result<Peek<'_>, TryPopError> {
        let lane = self.first()?;
        self.me.intact()?;
        let lane = &mut self.lanes[lane];
        let head = lane.head.expect("a record that was found");
        Ok(Peek { lane, head })
    }

    /// Commits all records that are there as read, without reading them; says how many bytes of the lanes they took. In a ring with
    /// wipe they are zeroed.
    ///
    /// # Errors
    /// [`TryPopError`], but never that it is empty.
    pub fn discard(&mut self) -> Result<u64, TryPopError> {
        self.me.check()?;
        let mut dropped = 0;
        for lane in &mut self.lanes {
            lane.reader.refresh()?;
            dropped += lane.reader.tail - lane.reader.head;
            (lane.next, lane.head) = (lane.reader.tail, None);
            lane.commit();
        }
        self.me.intact()?;
        Ok(dropped)
    }

    /// Tells monitors that this side is alive though there is nothing to read.
    pub fn beat(&mut self) {
        self.ring.lanes[0].control.head.beat();
    }

    /// How often this seat was taken over from the dead.
    pub fn generation(&self) -> u64 {
        self.ring.lanes[0].seat(Role::Consumer).generation()
    }

    /// Sleeps until somebody alive has a lane, for up to `timeout` if there is one.
    ///
    /// # Errors
    /// [`WaitPeerError`].
    pub fn wait_producer(&self, timeout: Option<Duration>) -> Result<(), WaitPeerError> {
        self.me.check()?;
        let deadline = timeout.and_then(|timeout| time::now().checked_add(timeout));
        until_taken(&self.ring, &self.me, deadline)?;
        Ok(self.me.intact()?)
    }

    /// A bell for this side, silent until it is armed.
    ///
    /// # Errors
    /// [`BellError`].
    #[cfg(not(model))]
    pub fn bell(&self) -> Result<Bell, BellError> {
        Bell::new(&self.me, side(&self.ring))
    }

    /// Arms a bell of this ring: it rings once there is more than this side has seen, at once if there is already, or no producer lives
    /// and one has died. To be called after this side was told that the ring is empty.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm(&self, bell: &Bell) -> Result<(), BellUseError> {
        let seen = self.lanes.iter().map(|lane| lane.next).collect();
        bell.arm(side(&self.ring), watch_some(&self.ring, seen))
    }

    /// Arms a bell of this ring: it rings once somebody alive has a lane.
    ///
    /// # Errors
    /// [`BellUseError`].
    #[cfg(not(model))]
    pub fn arm_for_producer(&self, bell: &Bell) -> Result<(), BellUseError> {
        bell.arm(side(&self.ring), watch_taken(&self.ring))
    }

    /// Gives the seat up, as dropping does.
    pub fn close(self) {}

    /// The lane of the record that is delivered next.
    #[inline]
    fn first(&mut self) -> Result<usize, TryPopError> {
        self.me.check()?;
        let mut first = self.lowest();
        // Each round but the last finds a lower number, so there are no more than lanes, and two.
        loop {
            for lane in &mut self.lanes {
                lane.look()?;
            }
            let lowest = self.lowest();
            if lowest == first {
                return lowest.ok_or(TryPopError::Empty);
            }
            first = lowest;
        }
    }

    /// The lane with the lowest number, of those that are known.
    fn lowest(&self) -> Option<usize> {
        let numbers = self.lanes.iter().enumerate().filter_map(|(lane, of)| Some((of.head?.number, lane)));
        numbers.min().map(|(_, lane)| lane)
    }
}

/// A batch: what it gave away and did not commit, since its taker has panicked, is taken back.
struct Batch<'c>(&'c mut Consumer);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.lanes.iter_mut().for_each(Lane::rewind);
    }
}

#[cold]
fn no_number(found: &Found) -> Corrupt {
    Corrupt {
        field: "the length of a record",
        found: found.len.into(),
        expected: format!("at least {NUMBER} bytes, for the number of its arrival, at position {:#x}", found.start),
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if thread::dying() || !self.me.is_current() {
            return;
        }
        let lane = &self.ring.lanes[0];
        lane.seat(Role::Consumer).give_up(&self.me, lane.gate(Role::Consumer));
    }
}

/// The next record, still in the ring.
#[derive(Debug)]
pub struct Peek<'c> {
    lane: &'c mut Lane,
    head: Head,
}

impl Peek<'_> {
    /// Its kind.
    pub fn kind(&self) -> u32 {
        self.head.found.kind
    }

    /// Bytes of its payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.head.found.len as usize - NUMBER
    }

    /// Copies its payload (what `payload` held is replaced).
    ///
    /// # Errors
    /// [`Corrupt`], if the checksum is wrong; `payload` is empty then.
    pub fn copy_to(&self, payload: &mut Vec<u8>) -> Result<(), Corrupt> {
        payload.clear();
        self.lane.copy(payload).map(|_| ())
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
        let (reader, Head { found, number }) = (&self.lane.reader, &self.head);
        let record = &reader.ring.record(found.start, found.end - found.start)[2..];
        // SAFETY: `find` saw that the record lies within the ring, and by the caller's promise nobody writes it.
        let bytes = unsafe { crate::sync::cell::bytes(record, self.len()) };
        reader.check(found, [*number], bytes)?;
        Ok(bytes)
    }

    /// Commits it as read. In a child that was forked since it does nothing: the record is its parent's to consume.
    pub fn consume(self) {
        if self.lane.reader.me.is_current() {
            self.lane.pass(&self.head.found);
            self.lane.commit();
        }
    }
}
