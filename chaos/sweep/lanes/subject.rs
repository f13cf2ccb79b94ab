//! What a sweep needs of it: who is there before, the victim, and what a survivor finds.

use super::super::case::{Handles, brief};
use super::{CONSUMER, HOLDS, Is, Lanes, MINE, Opens, Other, PRODUCER, Survivor, Victim, WHOSE, pop, push, records};
use ownerdead::harness::kill::{Cast, Facts, Finding, Memory, Subject};
use ownerdead::harness::oracle::Records;
use ownerdead::owner::SeatState;
use ownerdead::ring::mpsc::lanes::{Opened, SeatError};

impl Subject for Lanes {
    type Victim<'s> = Victim;
    type Survivor<'s> = Survivor;

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn prepare<'s>(&'s self, cast: &mut Cast<'s>, facts: &Facts) {
        if self.opens.is_some() || self.other != Other::Gone {
            let all = || {
                let me = brief(self.ring.attach().expect("a free slot"));
                let (mut mine, mut others) = (self.producer(&me), self.others(&me));
                let mut consumer = self.consumer(&me);
                self.bring(&mut mine, &mut others, &mut consumer, facts);
                // The seat that the victim has, or opens, is free, unless all are taken.
                let taken = self.opens == Some(Opens::Taken);
                let alone = others.is_empty() && self.opens.is_none() && self.role == CONSUMER;
                let mine = (taken || alone || self.opens.is_some() && self.role == CONSUMER).then_some(mine);
                let others = (self.role == CONSUMER || self.opens.is_some()).then_some(others);
                let dies = self.other == Other::Dead && self.opens.is_some();
                let consumer = (taken || dies || self.role == PRODUCER).then_some(consumer);
                (me, mine, others, consumer)
            };
            match self.other {
                Other::Gone => drop(all()),
                Other::Stands => cast.stands(all),
                Other::Dead => cast.dies(all),
            }
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
        self.inherited.take().unwrap_or_else(|| self.seats(facts))
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
        let status = self.ring.status();
        let is_dead = |state| matches!(state, SeatState::Dead(_));
        let dead = status.lanes.iter().any(|lane| is_dead(lane.producer.state));
        if facts.word(HOLDS).get() == PRODUCER && !dead {
            return Err(Finding::lost("no lane is a dead one's, though its producer died with it"));
        }
        let lives = |state| matches!(state, SeatState::Alive(_));
        let none = status.lanes.iter().all(|lane| lives(lane.producer.state));
        match self.ring.producer(&survivor.me) {
            Ok(opened) if opened.owner_died() == dead => survivor.producer = Some(opened.into_inner()),
            Ok(opened) => {
                let died = opened.owner_died();
                return Err(Finding::other(format!("a lane of a dead one: {dead}; opened as one: {died}")));
            }
            Err(SeatError::Busy { .. }) if none => {}
            Err(error) => return Err(Finding::stuck(format!("a lane: {error}"))),
        }
        let seat = status.consumer.state;
        match self.ring.consumer(&survivor.me) {
            Ok(opened) if opened.owner_died() == is_dead(seat) && !lives(seat) => {
                survivor.consumer = Some(opened.into_inner());
            }
            Ok(_) => return Err(Finding::other(format!("the consumer's seat was {seat:?}, and opened otherwise"))),
            Err(SeatError::Busy { .. }) if lives(seat) => {}
            Err(error) => return Err(Finding::stuck(format!("the consumer's seat: {error}"))),
        }
        Ok(match (dead, is_dead(seat)) {
            (true, true) => "a lane and the consumer's seat of dead ones",
            (true, false) => "producer died",
            (false, true) => "consumer died",
            (false, false) => "no seat of a dead one",
        })
    }

    fn judge(&self, survivor: &mut Survivor, facts: &Facts) -> Result<(), Finding> {
        let Some(consumer) = &mut survivor.consumer else { return Ok(()) };
        if matches!(self.is, Is::Damaged(_)) {
            let _ = consumer.try_pop(&mut Vec::new());
            return Ok(());
        }
        let of = WHOSE.map(|whose| records(facts, whose));
        of.iter().for_each(Records::next_reader);
        while pop(consumer, facts)? {}
        for records in &of {
            records.all_arrived()?;
        }
        let Some(producer) = &mut survivor.producer else { return Ok(()) };
        // Records that were begun, and never committed, are gone: numbers go on.
        for _ in 0..4 {
            of[0].push(of[0].last.get().max(of[0].read.get()));
            push(producer, MINE, facts)
                .map_err(|error| Finding::stuck(format!("a push after the recovery: {error}")))?;
            if !pop(consumer, facts)? {
                return Err(Finding::lost("a record that was pushed after the recovery"));
            }
        }
        Ok(())
    }
}
