//! The workers of a campaign: what they do, and what they say of themselves in memory that is not under test.

use super::board::Board;
use super::engine::whereabouts;
use super::{Facts, Finding, Memory, Subject};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::sync::futex::{Word, sleeps, wait, wake};
use crate::sync::thread;
use std::io;

/// 64-bit words of a desk: two cache lines, which no other worker writes to.
const DESK: usize = 16;
const TURNS: usize = 0;
const TID: usize = 1;
const PARKED: usize = 2;
/// Written by the engine.
const STOP: usize = 8;

/// What the processes of a campaign share, and what they do.
#[derive(Debug)]
pub(super) struct Crowd<'c, S> {
    pub(super) subject: &'c S,
    pub(super) facts: &'c Facts,
    /// Workers of a process.
    pub(super) threads: usize,
    desks: Memory,
    boards: Vec<Board>,
}

/// What a process of the crowd does.
pub(super) type Work<S> = fn(&Crowd<'_, S>, usize) -> Result<&'static str, Finding>;

/// In a process of one worker.
pub(super) fn alone<S: Subject>(crowd: &Crowd<'_, S>, process: usize) -> Result<&'static str, Finding> {
    crowd.work(process)
}

/// In a process of several.
pub(super) fn threaded<S: Subject + Sync>(crowd: &Crowd<'_, S>, process: usize) -> Result<&'static str, Finding> {
    let first = process * crowd.threads;
    std::thread::scope(|scope| {
        for worker in first + 1..first + crowd.threads {
            scope.spawn(move || crowd.board(process).end(|| crowd.work(worker)));
        }
        crowd.board(process).end(|| crowd.work(first))
    })
}

impl<'c, S: Subject> Crowd<'c, S> {
    pub(super) fn new(subject: &'c S, facts: &'c Facts, processes: usize, threads: usize) -> io::Result<Self> {
        let boards = (0..processes).map(|_| Board::new()).collect::<io::Result<_>>()?;
        Ok(Self { subject, facts, threads, desks: Memory::zeroed(8 * DESK * processes * threads)?, boards })
    }

    pub(super) fn board(&self, process: usize) -> &Board {
        &self.boards[process]
    }

    pub(super) fn workers(&self, process: usize) -> std::ops::Range<usize> {
        process * self.threads..(process + 1) * self.threads
    }

    fn word(&self, worker: usize, word: usize) -> &AtomicU64 {
        &self.desks.words()[DESK * worker + word]
    }

    /// In a worker: turn after turn, for ever.
    fn work(&self, worker: usize) -> Result<&'static str, Finding> {
        let [turns, parked, stop] = [TURNS, PARKED, STOP].map(|word| self.word(worker, word));
        // Relaxed, and Release further down: read by the engine alone, for which nothing hangs on them.
        self.word(worker, TID).store(thread::id().into(), Relaxed);
        let mut with = self.subject.worker(worker, self.facts);
        loop {
            if stop.load(Relaxed) != 0 {
                parked.store(1, Release);
                while stop.load(Acquire) != 0 {
                    wait(Word::Low(stop), 1, None);
                }
                parked.store(0, Release);
            }
            let inside = turns.load(Relaxed) + 1;
            turns.store(inside, Release);
            self.subject.work(&mut with, self.facts)?;
            turns.store(inside + 1, Release);
        }
    }

    /// In the engine: before a process is started, what its workers said before is wiped.
    pub(super) fn clear(&self, process: usize) {
        for worker in self.workers(process) {
            (0..DESK).for_each(|word| self.word(worker, word).store(0, Relaxed));
        }
    }

    /// Whether it is in a turn; and if it is dead, whether it died in one.
    pub(super) fn inside(&self, worker: usize) -> bool {
        self.word(worker, TURNS).load(Acquire) & 1 != 0
    }

    /// Turns that it has finished.
    pub(super) fn turns(&self, worker: usize) -> u64 {
        self.word(worker, TURNS).load(Acquire) / 2
    }

    /// Whether it stands still outside any turn, since it was told to.
    pub(super) fn parked(&self, worker: usize) -> bool {
        self.word(worker, PARKED).load(Acquire) != 0
    }

    /// Tells it to begin no further turn, or to go on.
    pub(super) fn stop(&self, worker: usize, yes: bool) {
        let stop = self.word(worker, STOP);
        stop.store(yes.into(), Release);
        if !yes {
            wake(Word::Low(stop), 1);
        }
    }

    fn folder(&self, worker: usize, pid: libc::pid_t) -> String {
        format!("/proc/{pid}/task/{}", self.word(worker, TID).load(Acquire))
    }

    /// How often it has slept, or was held up, so far; `None` if it does not sleep in a futex call now.
    pub(super) fn asleep(&self, worker: usize, pid: libc::pid_t) -> Option<[u64; 2]> {
        let folder = self.folder(worker, pid);
        if !sleeps(&folder) {
            return None;
        }
        let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
        let count = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some([count("voluntary_ctxt_switches:")?, count("nonvoluntary_ctxt_switches:")?])
    }

    /// For a report: where each of these workers is.
    pub(super) fn whereabouts(&self, workers: impl Iterator<Item = (usize, libc::pid_t)>) -> Vec<String> {
        let one = |(worker, pid)| {
            let state = match (self.parked(worker), self.inside(worker)) {
                (true, _) => "stands still outside",
                (_, true) => "in an operation",
                (_, false) => "outside",
            };
            let turns = self.turns(worker);
            format!("worker {worker}: {state}, {turns} finished; {}", whereabouts(&self.folder(worker, pid)))
        };
        workers.map(one).collect()
    }
}
