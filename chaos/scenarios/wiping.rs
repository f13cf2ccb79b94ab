//! A consumer is killed while it zeroes what it has read, and the next one while it finishes that, for `kill_during_recovery`.

use super::recovery::kill_at_work;
use super::{kind, number, payload};
use crate::stage::{Aim, Stage, Trigger};
use crate::stamps::{Phase, Stamps, shared};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, Producer, Ring, TryPopError};
use ownerdead::segment::Options;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

const CAPACITY: usize = 256 << 10;
/// Records of a round: more than half a ring.
const RECORDS: u64 = 1_500;
const COMPLAINTS: [&str; 1] = ["a dead consumer's seat could not be opened, or what it had could not be discarded"];

pub struct Wiping {
    ring: Ring,
    me: Attachment,
    producer: Producer,
    next: u64,
    aims: [Aim; 2],
    stamps: &'static Stamps,
}

impl Wiping {
    pub fn new() -> Self {
        let ring = Ring::memfd(&Options::new().slots(64), &Config::new(CAPACITY).wipe(true)).expect("a ring");
        let me = ring.attach().expect("a free slot");
        let producer = ring.producer(&me).expect("a vacant seat").into_inner();
        Self { ring, me, producer, next: 1, aims: [Aim::new(), Aim::new()], stamps: &shared(1)[0] }
    }

    pub fn round(&mut self, stage: &mut Stage) {
        if self.ring.segment().table().counts().moving > 32 {
            *self = Self::new();
        }
        stage.watch(&[("ring", self.ring.segment())]);
        let first = self.next;
        for _ in 0..RECORDS {
            if let Err(error) = self.producer.try_push(kind(self.next), payload(self.next)) {
                return stage.finding(&format!("in a ring that was read to its end: {error}"));
            }
            self.next += 1;
        }
        for turn in 0..2 {
            let (ring, stamps) = (&self.ring, self.stamps);
            stamps.reset();
            stamps.signal.set(0);
            let mut victim = stage.spawn("consumer that zeroes", stamps, || discard(ring, stamps));
            kill_at_work(stage, &mut victim, &mut self.aims[turn], stamps);
            stage.hear(stamps, &COMPLAINTS);
        }
        self.look(stage, first);
        stage.cases += 1;
    }

    /// All of the round's records are there, or none; and when they are read nothing is left of them.
    fn look(&self, stage: &mut Stage, first: u64) {
        let mut consumer = match self.ring.consumer(&self.me) {
            Ok(opened) => opened.into_inner(),
            Err(error) => return stage.finding(&format!("after two deaths in zeroing: {error}")),
        };
        let (mut bytes, mut due) = (Vec::new(), first);
        loop {
            match consumer.try_pop(&mut bytes) {
                Ok(kind) => {
                    let found = number(kind, due);
                    stage.expect(found == due && bytes == payload(found), || {
                        format!("after two deaths in zeroing record {found} came where {due} was due, or torn")
                    });
                    due = found + 1;
                }
                Err(TryPopError::Empty) => break,
                Err(error) => return stage.finding(&format!("after two deaths in zeroing: {error}")),
            }
        }
        stage.expect(due == first || due == self.next, || {
            format!("{} records came after two deaths in zeroing, expected all {RECORDS} or none", due - first)
        });
        drop(consumer);
        let file = File::from(self.ring.segment().as_fd().try_clone_to_owned().expect("a descriptor"));
        // The records are the segment's end.
        let mut left = vec![0; CAPACITY];
        let length = file.metadata().expect("a memfd").len();
        file.read_exact_at(&mut left, length - CAPACITY as u64).expect("all of it");
        let count = left.iter().filter(|&&byte| byte != 0).count();
        stage.expect(count == 0, || format!("{count} bytes of what was read are left in a ring with wipe"));
    }
}

fn discard(ring: &Ring, stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let me = ring.attach().expect("a free slot");
    stamps.enter(Phase::Outside);
    let mut trigger = Trigger::new();
    stamps.signal.set(super::recovery::READY);
    trigger.wait_to_begin(stamps);
    stamps.enter(Phase::Repairing);
    let discarded = ring.consumer(&me).map(|opened| {
        let mut consumer = opened.into_inner();
        let discarded = consumer.discard().is_ok();
        std::mem::forget(consumer);
        discarded
    });
    if discarded != Ok(true) {
        stamps.complain(1, 0, 1);
    }
    stamps.signal.set(super::recovery::DONE);
    stamps.enter(Phase::Outside);
    loop {
        std::hint::spin_loop();
    }
}
