//! Subjects, and what a campaign must say of each.

use ownerdead::harness::kill::{
    Campaign, CampaignReport, Facts, Finding, Kind, Memory, Subject, Survivors, kill_limit,
};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::SeqCst;
use ownerdead::sync::futex::{Word, wait, wake};
use ownerdead::sync::time::now;
use rustix::thread::futex;
use std::time::Duration;

pub const ALL: [(&str, fn()); 9] = [
    ("a_clean_subject_passes_with_one_several_and_all_killed", clean),
    ("threads_die_with_their_process_and_the_others_go_on", threads),
    ("who_sleeps_for_ever_in_a_dead_ones_place_is_stuck", stuck),
    ("who_spins_for_ever_is_stuck_when_its_time_is_over", spins),
    ("who_naps_again_and_again_is_not_asleep_for_ever", naps),
    ("a_worker_that_panics_is_found_with_its_text", crashes),
    ("what_the_judge_finds_comes_with_the_image_that_the_dead_left", torn),
    ("equal_seeds_decide_alike_whatever_is_found", seeds),
    ("the_limit_of_the_machine_is_above_the_rate_of_a_campaign", limit),
];

/// What a worker does in a turn.
#[derive(Clone, Copy, PartialEq)]
enum Turn {
    /// Two counters, the second after the first: torn, should it die in between, which recovery may repair.
    Counts { repaired: bool },
    /// A lock that a dead one keeps: the others sleep.
    Locks,
    /// The same, and the others spin.
    Spins,
    /// Naps of 50 ms, 6 of them.
    Naps,
    /// Panics at its 100th turn.
    Panics,
}

struct Counter {
    turn: Turn,
    memory: Memory,
}

impl Counter {
    fn new(turn: Turn) -> Self {
        Self { turn, memory: Memory::zeroed(4096).expect("a page") }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < 512);
        // SAFETY: a page of zeroes or of atomics, mapped for as long as `self` lives; the word is in it.
        unsafe { self.memory.start().cast::<AtomicU64>().add(index).as_ref() }
    }
}

impl Subject for Counter {
    type Victim<'s> = usize;
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn attach(&self, _: &Facts) -> usize {
        0
    }

    fn worker(&self, number: usize, _: &Facts) -> usize {
        number
    }

    fn operation(&self, number: &mut usize, _: &Facts) {
        match self.turn {
            Turn::Counts { .. } => {
                self.word(2 * *number).fetch_add(1, SeqCst);
                self.word(2 * *number + 1).fetch_add(1, SeqCst);
            }
            Turn::Locks | Turn::Spins => {
                while self.word(0).compare_exchange(0, 1, SeqCst, SeqCst).is_err() {
                    if self.turn == Turn::Locks {
                        sleep(self.word(0));
                    }
                }
                self.word(1).fetch_add(1, SeqCst);
                self.word(0).store(0, SeqCst);
                wake(Word::Low(self.word(0)), 1);
            }
            Turn::Naps => {
                for _ in 0..6 {
                    wait(Word::Low(self.word(0)), 0, Some(now() + Duration::from_millis(50)));
                }
            }
            Turn::Panics => {
                let turns = self.word(*number).fetch_add(1, SeqCst);
                assert!(turns < 100, "the hundredth turn");
            }
        }
    }

    fn arrive(&self, _: &Facts) {}

    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        if self.word(500).swap(1, SeqCst) != 0 {
            return Err(Finding::other("the structure was not put back after the last round"));
        }
        for pair in 0..8 {
            let [first, second] = [2 * pair, 2 * pair + 1].map(|index| self.word(index));
            match self.turn {
                Turn::Counts { repaired: true } => second.store(first.load(SeqCst), SeqCst),
                Turn::Counts { repaired: false } if first.load(SeqCst) != second.load(SeqCst) => {
                    return Err(Finding::torn("the two are not the same"));
                }
                _ => {}
            }
        }
        Ok("recovered")
    }

    fn explain(&self, _: &Facts) -> String {
        format!("the lock is {}", self.word(0).load(SeqCst))
    }
}

/// Sleeps while the lock is taken, without a time-out: `ownerdead::sync::futex` has one.
fn sleep(word: &AtomicU64) {
    let low = std::ptr::from_ref(word).cast();
    // SAFETY: little-endian, so it is the low half of a living atomic.
    let _ = futex::wait(unsafe { &*low }, futex::Flags::empty(), 1, None);
}

fn campaign(subject: &Counter) -> Campaign<'_, Counter> {
    Campaign::new("test", subject).seed(11).kills(300)
}

fn run(campaign: Campaign<'_, Counter>) -> CampaignReport {
    campaign.run().expect("it runs here")
}

fn clean() {
    for survivors in [Survivors::GoOn, Survivors::Finish, Survivors::WithOthers] {
        let subject = Counter::new(Turn::Counts { repaired: true });
        let report = run(campaign(&subject).processes(4).survivors(survivors));
        assert!(report.passed(), "{report}");
        assert!(report.kills >= 300 && report.groups > 0 && report.kills > report.decisions, "{report}");
        assert!(report.met["recovered"] == report.groups && report.inside > report.dead / 2, "{report}");
        assert!(!report.recovery.is_empty() && report.turns > report.kills, "{report}");
    }
}

fn threads() {
    let subject = Counter::new(Turn::Counts { repaired: true });
    let report = run(campaign(&subject).processes(2).threads(3).survivors(Survivors::Finish));
    assert!(report.passed() && report.dead == 3 * report.kills, "{report}");
}

fn one_lapse(report: &CampaignReport, kind: Kind, text: &str) {
    assert_eq!(report.found.len(), 1, "{report}");
    let lapse = &report.found[0];
    assert!(lapse.finding.kind == kind && lapse.finding.text.contains(text), "{report}");
    assert_eq!(report.count(kind), lapse.count);
}

fn stuck() {
    let subject = Counter::new(Turn::Locks);
    let report = run(campaign(&subject).asleep(Duration::from_millis(200)).group_every(1000).most_found(1));
    one_lapse(&report, Kind::Stuck, "nobody is awake who could wake them; the lock is 1");
    let sleepers = report.found[0].whereabouts.iter().filter(|line| line.contains("in an operation")).count();
    assert!(sleepers > 0 && report.incomplete.is_some() && !report.passed(), "{report}");
    // Nobody dies, and all is well.
    let report = run(campaign(&subject).asleep(Duration::from_millis(200)).control(true));
    assert!(report.passed() && report.kills == 0 && report.decisions == 300, "{report}");
}

fn spins() {
    let subject = Counter::new(Turn::Spins);
    // Who spins is not asleep, so only the bound says that it is stuck. One alone may have a processor for itself, and is not
    // scheduled again either.
    let report =
        run(campaign(&subject).processes(2).asleep(Duration::ZERO).bound(Duration::from_secs(2)).most_found(1));
    one_lapse(&report, Kind::Stuck, "no turn finished in 2s; the lock is 1");
}

fn naps() {
    let subject = Counter::new(Turn::Naps);
    let report = run(campaign(&subject).processes(2).kills(3).asleep(Duration::from_millis(150)));
    assert!(report.passed(), "{report}");
}

fn crashes() {
    let subject = Counter::new(Turn::Panics);
    let report = run(campaign(&subject).spread(Duration::from_millis(20)).most_found(1));
    one_lapse(&report, Kind::Crashed, "panicked: the hundredth turn");
    // Also where no kill comes by it: who waits for its next turn looks.
    let report = run(campaign(&subject).control(true).most_found(1));
    one_lapse(&report, Kind::Crashed, "panicked: the hundredth turn");
}

fn torn() {
    let subject = Counter::new(Turn::Counts { repaired: false });
    let report = run(campaign(&subject).processes(1).kills(20_000).most_found(1));
    one_lapse(&report, Kind::Torn, "the two are not the same");
    let word = |index: usize| report.found[0].image[8 * index..8 * index + 8].to_vec();
    assert_ne!(word(0), word(1), "the image is what the dead one left");
}

fn seeds() {
    let decided = |turn, seed| {
        let subject = Counter::new(turn);
        let report = run(campaign(&subject).processes(4).kills(60).most_found(1000).seed(seed));
        (report.decisions, report.kills)
    };
    let clean = decided(Turn::Counts { repaired: true }, 5);
    assert_eq!(clean, decided(Turn::Counts { repaired: true }, 5));
    // Findings do not change what is decided: the same decisions come to the same kills.
    assert_eq!(clean, decided(Turn::Counts { repaired: false }, 5));
    let others: Vec<_> = (6..12).map(|seed| decided(Turn::Counts { repaired: true }, seed)).collect();
    assert!(others.iter().any(|&other| other != clean), "{clean:?}, {others:?}");
}

fn limit() {
    let rate = kill_limit(Duration::from_millis(300)).expect("it runs here");
    let subject = Counter::new(Turn::Counts { repaired: true });
    let report = run(campaign(&subject).processes(1));
    assert!(rate > report.rate(), "{rate} and {}", report.rate());
}
