//! Plays a script on the simulated kernel, under every schedule within a bound. Virtual time makes the steps follow one another: it
//! moves on only when nobody can run, so whoever sleeps until the next instant is back when all others are quiet.

use super::{Body, queue, reset, run_again, switching, take_off, transcript, with};
use super::{Kill, State, Variant, When, add_process, finish, futex_wait, futex_wake, live, now, read};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use crate::sync::futex::{Wait, Woken, Word};
use crate::sync::rt;
use crate::sync::scripts::{Actor, Came, Deed, Script, Stage, Step, play, waits};
use crate::sync::shm::Shared;
use core::cell::RefCell;
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// TIDs of the actors begin here. The stage is a process too.
const FIRST_TID: u32 = 1000;
/// Schedules that shuttle samples; and for loom, pre-emptions.
const RUNS: usize = 100;
const PREEMPTIONS: usize = 1;
const BUDGET: Duration = Duration::from_secs(60);

/// The test of a script, on each kind of kernel.
pub(in crate::sync) fn run(name: &'static str, text: &'static str) {
    for variant in [Variant::OwnerTest, Variant::WholeWordTest] {
        let script = Arc::new(Script::new(name, text));
        let limits = rt::Limits::new(PREEMPTIONS, RUNS, 0x0dead, Instant::now() + BUDGET);
        let explored = catch_unwind(AssertUnwindSafe(|| rt::explore(limits, Arc::new(move || once(&script, variant)))));
        match explored {
            Ok(Ok(executions)) => println!("{name}: {executions} executions with {variant:?}"),
            Ok(Err(_)) => panic!("{name}: INCOMPLETE: {BUDGET:?} were not enough"),
            Err(payload) => {
                eprintln!("{}", transcript());
                resume_unwind(payload);
            }
        }
    }
}

/// One execution.
fn once(script: &Arc<Script>, variant: Variant) {
    reset(variant);
    // The main thread plays the stage, so four others fit into loom.
    let stage = add_process("stage", FIRST_TID - 1);
    let common = Rc::new(Common {
        words: script.words.iter().map(|_| Shared::new(AtomicU64::new(0))).collect(),
        turns: script.actors.iter().map(|_| Shared::new(AtomicU64::new(0))).collect(),
        news: RefCell::default(),
    });
    let threads: Vec<_> = (0..script.actors.len())
        .map(|actor| {
            let process = add_process(script.actors[actor].name, FIRST_TID + actor as u32);
            let (script, common) = (Arc::clone(script), Rc::clone(&common));
            let body: Body = Box::new(move || act(actor, &script, &common));
            switching(|| {
                rt::spawn(move || {
                    live(process, body, None, None);
                })
            })
        })
        .collect();
    let idle = Shared::new(AtomicU64::new(0));
    let mut played = Simulated { script: Arc::clone(script), common, idle };
    let body: Body = Box::new(move || {
        let script = Arc::clone(&played.script);
        played.until_all_are_quiet();
        if let Err(wrong) = play(&script, &mut played, variant as usize) {
            panic!("on the simulated kernel, {variant:?}: {wrong}");
        }
        (0..script.actors.len()).for_each(kill);
        Box::new(())
    });
    live(stage, body, None, None);
    for thread in threads {
        switching(|| thread.join()).expect("a violation ends the whole execution");
    }
    finish();
}

struct Common {
    words: Vec<Shared<AtomicU64>>,
    /// For each actor: the step to take, plus one.
    turns: Vec<Shared<AtomicU64>>,
    news: RefCell<Came>,
}

struct Simulated {
    script: Arc<Script>,
    common: Rc<Common>,
    idle: Shared<AtomicU64>,
}

impl Simulated {
    fn until_all_are_quiet(&self) {
        let wait = Wait { word: Word::Low(&self.idle), expected: 0 };
        assert_eq!(futex_wait(&[wait], 0, Some(now() + Duration::from_nanos(1))), Woken::TimedOut);
    }
}

impl Stage for Simulated {
    fn perform(&mut self, actor: usize, line: usize) -> Came {
        let Step::Does(_, deed) = &self.script.lines[line].step else { unreachable!("asked to do nothing") };
        if matches!(deed, Deed::Dies | Deed::Exits | Deed::Ends | Deed::Execs) {
            if matches!(deed, Deed::Execs) && self.script.actors[actor].thread {
                // It gets the TID of its process's first thread.
                with(|kernel| kernel.processes[process(actor)].tid += 500);
            }
            kill(actor);
        } else {
            let turn = &self.common.turns[actor];
            turn.store(line as u64 + 1, Release);
            futex_wake(Word::Low(turn), 1);
        }
        self.until_all_are_quiet();
        self.common.news.take()
    }

    fn value(&self, word: usize) -> u64 {
        self.common.words[word].kernel_read()
    }

    fn tid(&self, actor: usize) -> u32 {
        tid(actor)
    }
}

fn tid(actor: usize) -> u32 {
    FIRST_TID + actor as u32
}

/// Index of an actor's process: the stage is the first.
fn process(actor: usize) -> usize {
    actor + 1
}

/// Does what it is told, until it is killed.
fn act(me: usize, script: &Script, common: &Common) -> ! {
    // A dead one's nodes stay where they are.
    let mut actor = core::mem::ManuallyDrop::new(Actor::new());
    let mut last = 0;
    loop {
        let turn = common.turns[me].load(Acquire);
        if turn == last {
            futex_wait(&[Wait { word: Word::Low(&common.turns[me]), expected: last as u32 }], 0, None);
            continue;
        }
        last = turn;
        let Step::Does(_, deed) = &script.lines[turn as usize - 1].step else { unreachable!("asked to do nothing") };
        match deed {
            Deed::Sleeps(sleep) => {
                let woken = futex_wait(&waits(sleep, &common.words, tid), 0, None);
                common.news.borrow_mut().back.push((me, woken));
            }
            Deed::WakesBoth(first, second) => {
                let woken = wake_both(&common.words[*first], &common.words[*second]);
                common.news.borrow_mut().count = Some(woken);
            }
            // The child was there from the start; it has no list, as every new process.
            Deed::Forks(_) => {}
            deed => common.news.borrow_mut().count = actor.act(deed, &common.words, tid),
        }
    }
}

/// Kills an actor, which sleeps: they all do, when a step is over. Or it is dead.
fn kill(actor: usize) {
    let index = process(actor);
    let asleep = with(|kernel| {
        let process = &kernel.processes[index];
        let kill = Kill { process: index, life: process.life, when: When::Asleep(process.sleeps.wrapping_sub(1)) };
        let asleep = process.state == State::Asleep;
        kernel.kills.extend(asleep.then_some(kill));
        asleep
    });
    if asleep {
        run_again(index);
    }
}

/// `FUTEX_WAKE_OP`: one of each, with nothing between.
#[track_caller]
fn wake_both(first: &AtomicU64, second: &AtomicU64) -> u32 {
    read(Word::Low(first));
    let queues = [first, second].map(|word| queue(Word::Low(word)));
    let woken = with(|kernel| queues.map(|queue| take_off(kernel, queue, 1)).concat());
    woken.iter().for_each(|&process| run_again(process));
    woken.len() as u32
}
