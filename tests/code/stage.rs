//! A process with one thread, for the engine.

use crate::known::{self, Case};
use ownerdead::harness::kill::code::{Address, Modules};
use ownerdead::harness::kill::{Facts, Finding, Memory, Subject, Sweep};
use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

/// What a stage said.
pub struct Steps {
    /// Where the function begins.
    pub root: Address,
    /// Every instruction that was executed, those around the function too.
    pub executed: BTreeSet<Address>,
}

struct Calls {
    case: &'static Case,
    memory: Memory,
}

impl Subject for Calls {
    type Victim<'s> = ();
    type Survivor<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn attach(&self, _: &Facts) {}

    #[inline(never)]
    fn operation(&self, (): &mut (), facts: &Facts) {
        for &input in self.case.inputs {
            facts.word(0).set((self.case.function)(input));
        }
    }

    fn arrive(&self, _: &Facts) {}

    fn recover(&self, (): &mut (), _: &Facts) -> Result<&'static str, Finding> {
        Ok("nothing to recover")
    }
}

/// Single-steps a case, and says what was executed.
pub fn run(case: &str) -> ExitCode {
    let case = known::case(case);
    let calls = Calls { case, memory: Memory::zeroed(4096).expect("memory") };
    let report = Sweep::new(case.name, &calls).second_deaths(false).planted(false).run().expect("the engine works");
    assert!(report.passed(), "{report:?}");
    let modules = Modules::of_this_process().expect("/proc/self/exe");
    println!("{}", modules.find_function(case.function as *const ()).expect("a function of this executable"));
    for (address, _) in report.places.keys() {
        println!("{}", modules.find(*address).expect("an address in a module"));
    }
    ExitCode::SUCCESS
}

impl Steps {
    pub fn of(case: &str) -> Self {
        let mut command = Command::new("/proc/self/exe");
        let output = command.env("OWNERDEAD_STAGE", case).output().expect("this executable");
        let said = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{case}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        let mut lines = said.lines().map(|line| line.parse::<Address>().expect("an address"));
        Self { root: lines.next().expect("a root"), executed: lines.collect() }
    }
}
