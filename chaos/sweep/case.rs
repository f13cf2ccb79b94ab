//! One sweep: a structure, in a state, and an operation.

use ownerdead::harness::kill::{EngineError, Facts, Subject, Sweep, SweepReport, Word};
use ownerdead::owner::Attachment;
use ownerdead::sync::Waiting;

/// Words of the facts, by their indices.
pub struct FactsOf<const N: usize>(pub [usize; N]);

impl<const N: usize> FactsOf<N> {
    pub fn words<'f>(&self, facts: &'f Facts) -> [&'f Word; N] {
        self.0.map(|index| facts.word(index))
    }
}

/// Who waits in a sweep looks twice before it sleeps: a third look would be the second one's instructions again.
pub const LOOKS: Waiting = Waiting::SpinThenSleep { looks: 2 };

/// The same, that waits so.
pub fn brief(me: Attachment) -> Attachment {
    me.set_waiting(LOOKS);
    me
}

/// How far a sweep looks.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Survivors die too.
    pub second_deaths: bool,
    /// Deaths that are planted in an operation, at most.
    pub most_planted: usize,
}

impl Reach {
    const FULL: Self = Self { second_deaths: true, most_planted: 4000 };
    const QUICK: Self = Self { second_deaths: false, most_planted: 50 };

    /// As `OWNERDEAD_SWEEP_REACH` says.
    pub fn from_environment() -> Result<Self, String> {
        match std::env::var("OWNERDEAD_SWEEP_REACH").as_deref() {
            Ok("full") => Ok(Self::FULL),
            Ok("quick") => Ok(Self::QUICK),
            Ok(other) => Err(format!("OWNERDEAD_SWEEP_REACH={other:?}: expected full or quick")),
            Err(_) if cfg!(debug_assertions) => Ok(Self::QUICK),
            Err(_) => Ok(Self::FULL),
        }
    }

    pub fn is_full(self) -> bool {
        self.second_deaths
    }

    pub fn as_str(self) -> &'static str {
        if self.is_full() { "full" } else { "quick" }
    }
}

/// A sweep that is not made yet.
pub struct Case {
    /// `structure.operation.state`.
    pub name: String,
    /// Address of the operation's function.
    pub operation: usize,
    /// Survivors may die too.
    second_deaths: bool,
    /// Deaths that are planted, at most, if the reach does not say fewer.
    most_planted: usize,
    run: Run,
}

/// A report; or, of a sweep that is known to find something, what else it found.
type Outcome = Result<Result<SweepReport, String>, EngineError>;
type Run = Box<dyn Fn(&str, Reach) -> Outcome>;

/// Which process the victim's handles were made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handles {
    /// In the victim.
    Own,
    /// In the process that it was forked from, which lives, and stands still.
    Inherited,
}

/// Leaves the first sweeps of each structure, of two operations, and those of the engine itself.
pub fn some_of_each(cases: &mut Vec<Case>) {
    let mut seen = std::collections::BTreeMap::<String, std::collections::BTreeSet<usize>>::new();
    cases.retain(|case| {
        let structure = case.name.split('.').next().unwrap_or_default().to_owned();
        let operations = seen.entry(structure).or_default();
        case.operation == 0 || operations.len() < 2 && operations.insert(case.operation)
    });
}

impl Case {
    pub fn new<S: Subject>(name: String, operation: usize, make: impl Fn() -> S + 'static) -> Self {
        let run = move |name: &str, reach: Reach| {
            let (subject, most) = (make(), reach.most_planted);
            Sweep::new(name, &subject).second_deaths(reach.second_deaths).most_planted(most).run().map(Ok)
        };
        Self { name, operation, second_deaths: true, most_planted: usize::MAX, run: Box::new(run) }
    }

    /// Survivors do not die: they find what those of another sweep do, and their deaths would be the same.
    pub fn first_deaths_alone(mut self) -> Self {
        self.second_deaths = false;
        self
    }

    /// Real deaths are as in other sweeps of the same operation, so few of them are planted.
    pub fn few_planted(mut self) -> Self {
        self.most_planted = Reach::QUICK.most_planted;
        self
    }

    /// The operation changes nothing in this state, so that deaths differ even less.
    pub fn hardly_planted(mut self) -> Self {
        self.most_planted = 10;
        self
    }

    /// One of the engine itself, which says by its own measure whether it did right.
    pub fn check(name: String, run: impl Fn(&str) -> Outcome + 'static) -> Self {
        let run = Box::new(move |name: &str, _| run(name));
        Self { name, operation: 0, second_deaths: true, most_planted: usize::MAX, run }
    }

    /// Runs it, in a process of one thread.
    pub fn run(&self, reach: Reach) -> Outcome {
        let second_deaths = reach.second_deaths && self.second_deaths;
        let most_planted = reach.most_planted.min(self.most_planted);
        (self.run)(&self.name, Reach { second_deaths, most_planted })
    }
}

/// Defines operations of a subject: functions of their own, so that their instructions are.
macro_rules! operations {
    (of $subject_type:ty; $($name:ident($subject:ident, $victim:ident, $facts:ident) $body:block)+) => {$(
        #[inline(never)]
        fn $name($subject: &$subject_type, $victim: &mut Victim, $facts: &Facts) $body
    )+};
}
pub(crate) use operations;
