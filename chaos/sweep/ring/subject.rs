//! What a sweep needs of it: who is there before, the victim, and what a survivor finds.

use super::super::case::{Handles, brief};
use super::{
    CAPACITY, CONSUMER, Damage, HOLDS, Is, Opens, PRODUCER, Peer, RECORDS, Spsc, Survivor, TOO_LONG, Victim, payload,
    pop, push, records,
};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::ring::spsc::{Config, Opened, Ring};
use ownerdead::segment::Options;

impl Subject for Spsc {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        // Who opens in the operation comes to a ring that others have brought into its state.
        let all = self.opens.is_some();
        let other = CONSUMER + PRODUCER - self.role;
        if all {
            let both = || {
                let me = brief(self.ring.attach().expect("a free slot"));
                let (mut producer, mut consumer) = (self.producer(&me), self.consumer(&me));
                self.bring(&mut producer, &mut consumer, facts);
                let vacant = |role| {
                    let mine = matches!(self.opens, Some(Opens::Vacant | Opens::Foreign));
                    role == other && self.peer == Peer::Vacant || mine && role != other
                };
                let producer = (!vacant(PRODUCER)).then_some(producer);
                let consumer = (!vacant(CONSUMER)).then_some(consumer);
                (me, producer, consumer)
            };
            if self.opens == Some(Opens::Taken) { cast.stands(both) } else { cast.dies(both) }
        } else if self.peer != Peer::Vacant {
            let one = || {
                let me = brief(self.ring.attach().expect("a free slot"));
                let (mut producer, mut consumer) = (self.producer(&me), self.consumer(&me));
                self.bring(&mut producer, &mut consumer, facts);
                let producer = (other == PRODUCER).then_some(producer);
                let consumer = (other == CONSUMER).then_some(consumer);
                (me, producer, consumer)
            };
            if self.peer == Peer::Stands { cast.stands(one) } else { cast.dies(one) }
        }
        if self.handles == Handles::Inherited {
            let mut inherited = self.seats(facts);
            // The other seat too: a child is to give up neither.
            inherited.producer = inherited.producer.or_else(|| Some(self.producer(&inherited.me)));
            inherited.consumer = inherited.consumer.or_else(|| Some(self.consumer(&inherited.me)));
            facts.word(HOLDS).set(0);
            self.inherited.replace(Some(inherited));
        }
    }

    fn attach(&self, facts: &Facts) -> Victim {
        match self.inherited.take() {
            Some(inherited) => inherited,
            None => self.seats(facts),
        }
    }

    fn operation(&self, victim: &mut Victim, facts: &Facts) {
        (self.operation)(self, victim, facts);
    }

    fn arrive(&self, _: &Facts) -> Survivor {
        Survivor { me: brief(self.ring.attach().expect("a free slot")), producer: None, consumer: None }
    }

    fn recover(&self, survivor: &mut Survivor, facts: &Facts) -> Result<&'static str, Finding> {
        if matches!(self.is, Is::Damaged(_)) {
            // Whether it can be opened depends on the damage: it is to be said, and nobody is to wait or to crash.
            survivor.producer = self.ring.producer(&survivor.me).ok().map(Opened::into_inner);
            survivor.consumer = self.ring.consumer(&survivor.me).ok().map(Opened::into_inner);
            return Ok("damaged");
        }
        let producer = self.take_over(survivor, PRODUCER, facts)?;
        let consumer = self.take_over(survivor, CONSUMER, facts)?;
        Ok(match (producer == Some(true), consumer == Some(true)) {
            (true, true) => "both seats of dead ones",
            (true, false) => "producer died",
            (false, true) => "consumer died",
            (false, false) => "no seat of a dead one",
        })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(consumer) = &mut survivor.consumer else { return Ok(()) };
        if matches!(self.is, Is::Damaged(_)) {
            // What is wrong with the next record is found, if anything is.
            let popped = consumer.try_pop(&mut Vec::new());
            let sound = matches!(self.is, Is::Damaged(Damage::Seats | Damage::Second));
            let fits = popped.is_err() || self.role == PRODUCER || sound;
            return if fits { Ok(()) } else { Err(Finding::other(format!("a damaged ring gave {popped:?}"))) };
        }
        let records = records(facts);
        records.next_reader();
        while pop(consumer, facts)? {}
        records.all_arrived()?;
        match self.wiped() {
            Err(finding) if self.ring.status().wipe => return Err(finding),
            // Or the look at the bytes is at other bytes.
            Ok(()) if !self.ring.status().wipe && records.ended.get() > 0 => {
                return Err(Finding::other("records were written, and the ring's bytes are all zero"));
            }
            _ => {}
        }
        let Some(producer) = &mut survivor.producer else { return Ok(()) };
        // Records that were begun, and never committed, are gone: numbers go on.
        for _ in 0..8 {
            let next = records.last.get().max(records.read.get());
            records.push(next);
            push(producer, facts).map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        Ok(())
    }
}

impl Spsc {
    /// What the victim has when its operation begins.
    fn seats(&self, facts: &Facts) -> Victim {
        let me = match self.opens {
            Some(Opens::Foreign) => {
                let other = Ring::memfd(&Options::new().slots(1), &Config::new(CAPACITY)).expect("a ring");
                brief(other.attach().expect("a free slot"))
            }
            _ => brief(self.ring.attach().expect("a free slot")),
        };
        // In one state what is popped into has to grow.
        let bytes = Vec::with_capacity(if self.is == Is::Warm { 0 } else { CAPACITY });
        let timeout = self.timeout;
        let mut victim = Victim { me, producer: None, consumer: None, bytes, number: 0, payload: payload(0), timeout };
        if self.opens.is_some() {
            if let Is::Damaged(damage) = self.is {
                self.damage(damage);
            }
            records(facts).next_reader();
            return victim;
        }
        let (mut producer, mut consumer) = (None, None);
        if self.peer == Peer::Vacant {
            let (mut both, mut sides) = (self.producer(&victim.me), self.consumer(&victim.me));
            self.bring(&mut both, &mut sides, facts);
            (producer, consumer) = (Some(both), Some(sides));
        } else if self.role == CONSUMER {
            // Another process has read before: a reader begins anew.
            records(facts).next_reader();
        }
        if self.role == PRODUCER {
            drop(consumer);
            victim.producer = producer.or_else(|| Some(self.producer(&victim.me)));
        } else {
            drop(producer);
            victim.consumer = consumer.or_else(|| Some(self.consumer(&victim.me)));
        }
        if let Is::Damaged(damage) = self.is {
            self.damage(damage);
        }
        facts.word(HOLDS).set(self.role);
        victim.number = records(facts).begun.get() + 1;
        victim.payload = payload(victim.number);
        if self.is == Is::TooLarge {
            victim.payload.1 = TOO_LONG;
        }
        victim
    }

    /// What was read, or never committed, is nowhere.
    fn wiped(&self) -> Result<(), Finding> {
        // SAFETY: the bytes of the records, which are mapped; nobody else is at work now.
        let bytes = unsafe { std::slice::from_raw_parts(self.body(RECORDS).cast::<u8>(), CAPACITY) };
        match bytes.iter().position(|&byte| byte != 0) {
            Some(at) => Err(Finding::other(format!("not wiped: byte {at} of the ring is {:#x}", bytes[at]))),
            None => Ok(()),
        }
    }
}
