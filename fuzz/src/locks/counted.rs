//! The semaphore.

use super::{NOW, told};
use crate::memory::Words;
use crate::parser::{Play, Structure, Turn, fixture, options};
use ownerdead::lock::{Permit, Semaphore, TryAcquireError};
use ownerdead::owner::Attachment;
use ownerdead::segment::{Kind, Segment};

const PERMITS: usize = 3;

pub fn all() -> Vec<Box<dyn Play>> {
    vec![fixture(Counted(Semaphore::memfd(&options(), PERMITS).expect("a semaphore")))]
}

struct Counted(Semaphore);

impl Structure for Counted {
    type Handles<'s> = Vec<Permit<'s>>;

    const KIND: Kind = Kind::SEMAPHORE;

    fn segment(&self) -> &Segment {
        self.0.segment()
    }

    fn of(segment: Segment) -> Result<Self, String> {
        Semaphore::from_segment(segment).map(Self).map_err(|error| error.to_string())
    }

    fn visit(&self, me: &Attachment) {
        _ = told(self.0.try_acquire(me));
        assert!(self.0.available() <= self.0.permits());
    }

    /// How many permits, the gate, and each permit's.
    fn words(&self) -> Vec<Words> {
        vec![Words { at: 0, count: 2 + PERMITS, stride: 128 }]
    }

    fn step<'s>(&'s self, me: &'s Attachment, held: &mut Vec<Permit<'s>>, operation: u8, turn: &mut Turn<'_, '_>) {
        match operation {
            0..=7 => held.extend(told(self.0.try_acquire(me))),
            8..=13 => held.extend(told(self.0.acquire_timeout(me, NOW))),
            14..=18 => {
                if !held.is_empty() {
                    drop(held.swap_remove(usize::from(turn.flags) % held.len()));
                }
            }
            _ => assert!(self.0.available() <= self.0.permits()),
        }
        assert!(held.iter().all(|permit| permit.number() < self.0.permits() && !format!("{permit:?}").is_empty()));
    }

    fn honest(&self, me: &Attachment) {
        let held = [(); PERMITS].map(|()| self.0.try_acquire(me).expect("a permit"));
        assert!(held.iter().all(|permit| !permit.from_the_dead()));
        assert_eq!(self.0.try_acquire(me).err(), Some(TryAcquireError::Deadlock));
    }
}
