//! Scripts that the simulated kernel and the real one both play: who does what, one step after the other, and what must come
//! of it. In a plain build real processes play them, in a model build simulated ones; both must end as the script says, so
//! both end alike.
//!
//! | line | what it does |
//! |---|---|
//! | `a sets x a\|W` | the 64-bit word `x` has this value: a TID by its process's name, `D` and `W` for OWNER_DIED and WAITERS |
//! | `a links x`, `a links x 2047` | a node for the word comes to the front of its robust list; so many nodes |
//! | `a unlinks x` | the last one of them is taken off |
//! | `a pends x`, `a pends node x` | the pending operation is the word, in no list; is the node that it links, or will link |
//! | `a clears` | no operation is pending |
//! | `b sleeps x=a\|W y.high=0` | one `futex_waitv` on these halves (the low one, if none is named), in this order |
//! | `c wakes x 1` | up to so many sleepers |
//! | `c wakes x and y` | one sleeper of each, with nothing between (`FUTEX_WAKE_OP`) |
//! | `a dies`, `a exits` | by SIGKILL; by `_exit` |
//! | `a ends` | the thread returns, and its process lives on; `a is a thread` was said before |
//! | `a execs` | another program |
//! | `a forks c` | `c` is its child, with all that it inherits |
//! | `x is D\|W` | looks at the word |
//!
//! After `->` comes what a step brings: how many a wake says that it woke; then who is back from its sleep, and how: `by 1`, woken
//! and told that index; `changed`, a word differed. A step without an arrow brings nobody back. After `/` comes what it
//! brings under a kernel that tests the whole pending word, where that is something else.

/// Each script is a test: of the real kernel, or of the simulated one.
macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $text:literal)*) => {
        $($(#[$doc])* #[test] fn $name() { super::run(stringify!($name), $text); })*
    };
}

mod deaths;
mod language;
#[cfg(not(any(loom, shuttle)))]
mod real;
mod sleeps;

#[cfg(any(loom, shuttle))]
use super::kernel::scripts::run;
use super::robust::{List, Node};
use super::shm::Shared;
use super::{atomic::AtomicU64, atomic::Ordering::AcqRel};
use super::{futex, futex::Wait, futex::Woken};
pub(super) use language::{Deed, Script, Step, Value};
#[cfg(not(any(loom, shuttle)))]
use real::run;
use std::fmt::Write as _;

/// What came of a step: how many a wake says that it woke, and who is back from its sleep, by index of the process.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) count: Option<u32>,
    pub(super) back: Vec<(usize, Woken)>,
}

/// Where a script is played.
pub(super) trait Stage {
    /// Lets `actor` do it, waits until everybody is quiet again, and says what came of it.
    fn perform(&mut self, actor: usize, line: usize) -> Came;
    /// What is in a word now.
    fn value(&self, word: usize) -> u64;
    /// What a process has for a TID.
    fn tid(&self, actor: usize) -> u32;
}

/// Plays `script`; `Err` with what was otherwise than the script says, under the kernel of this kind (0, or 1 for the whole-word
/// test).
pub(super) fn play(script: &Script, stage: &mut dyn Stage, kind: usize) -> Result<(), String> {
    let mut told = String::new();
    for (number, line) in script.lines.iter().enumerate() {
        let (found, expected) = match &line.step {
            Step::Does(actor, _) => {
                let came = stage.perform(*actor, number);
                (script.told(came), line.brings[kind].clone())
            }
            Step::Is(word, value) => {
                let expected = value.with(|actor| stage.tid(actor));
                (script.shown(stage.value(*word), stage), script.shown(expected, stage))
            }
        };
        let _ = writeln!(told, "    {:<32} {found}", line.text);
        if found != expected {
            return Err(format!("{}: expected {expected}, found in the last of these lines:\n{told}", script.name));
        }
    }
    Ok(())
}

/// One who does deeds, on whichever kernel.
pub(super) struct Actor {
    /// Got when it is first needed: a forked child has none.
    list: Option<List>,
    /// Each with its word.
    nodes: Vec<(usize, Node)>,
}

impl Actor {
    pub(super) fn new() -> Self {
        Self { list: None, nodes: Vec::new() }
    }

    fn list(&mut self) -> List {
        *self.list.get_or_insert_with(|| List::current().expect("a robust list"))
    }

    fn add_node(&mut self, word: usize, words: &[Shared<AtomicU64>]) {
        let node = Node::new(&self.list(), words[word].clone()).expect("a node");
        self.nodes.push((word, node));
    }

    /// The last node of `word`, as it is on the list or not.
    fn node(&mut self, word: usize, linked: bool) -> Option<&mut Node> {
        let found = self.nodes.iter_mut().rev().find(|(of, node)| *of == word && node.is_linked() == linked);
        found.map(|(_, node)| node)
    }

    /// Links nodes, sets words, and so on; what ends a process or makes one is for its stage. What a wake says.
    pub(super) fn act(&mut self, deed: &Deed, words: &[Shared<AtomicU64>], tid: impl Fn(usize) -> u32) -> Option<u32> {
        match *deed {
            // A swap, not a store: two stores that nothing orders, as loom sees it, could come in either order.
            Deed::Sets(word, ref value) => {
                words[word].swap(value.with(tid), AcqRel);
            }
            Deed::Links(word, times) => {
                for _ in 0..times {
                    if self.node(word, false).is_none() {
                        self.add_node(word, words);
                    }
                    self.node(word, false).expect("one was added").link();
                }
            }
            Deed::Unlinks(word) => self.node(word, true).expect("a linked node").unlink(),
            Deed::Pends(word) => self.list().set_pending(&words[word]),
            Deed::PendsNode(word) => {
                if !self.nodes.iter().any(|(of, _)| *of == word) {
                    self.add_node(word, words);
                }
                let (_, node) = self.nodes.iter().rev().find(|(of, _)| *of == word).expect("one was added");
                node.set_pending();
            }
            Deed::Clears => self.list().clear_pending(),
            Deed::Wakes(word, high, count) => return Some(futex::wake(half(&words[word], high), count)),
            _ => unreachable!("for the stage: {deed:?}"),
        }
        None
    }
}

/// A half of a word, to sleep on.
fn half(word: &AtomicU64, high: bool) -> futex::Word<'_> {
    if high { futex::Word::High(word) } else { futex::Word::Low(word) }
}

/// What a sleep names.
pub(super) fn waits<'a>(
    sleep: &[(usize, bool, Value)],
    words: &'a [Shared<AtomicU64>],
    tid: impl Fn(usize) -> u32,
) -> Vec<Wait<'a>> {
    let wait = |&(word, high, ref value): &(usize, bool, Value)| Wait {
        word: half(&words[word], high),
        expected: value.with(&tid) as u32,
    };
    sleep.iter().map(wait).collect()
}

// That a script can fail, on either kernel.

#[test]
#[should_panic(expected = "expected a, found in the last")]
fn a_word_that_is_not_as_its_script_says_fails_it() {
    run("wrong", "a sets x a\n a links x\n a dies\n x is a");
}

#[test]
#[should_panic(expected = "expected nobody, found in the last")]
fn a_sleeper_that_is_back_and_should_not_be_fails_it() {
    run("wrong", "a pends x\n b sleeps x=0\n a dies\n x is 0");
}

#[test]
#[should_panic(expected = "expected c by 0, found in the last")]
fn a_sleeper_that_is_not_back_and_should_be_fails_it() {
    run("wrong", "a pends x\n b sleeps x=0\n c sleeps x=0\n a dies -> c by 0\n x is 0");
}

#[test]
#[should_panic(expected = "what is in `y` at the end?")]
fn a_script_that_does_not_look_at_a_word_in_the_end_is_none() {
    run("wrong", "a sets x 1\n a sets y 1\n x is 1");
}
