//! A structure of one's own under the kill engine: a mailbox for one letter, in a version that survives the death of its writer at
//! any instruction, and in one that does not.
//!
//! ```sh
//! cargo run --release --example sweep            # right: nothing is found
//! cargo run --release --example sweep -- wrong   # the flag before the letter: torn, and the line is named
//! ```

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    use ownerdead::harness::kill::Sweep;
    use ownerdead::harness::kill::code::{Code, Modules};
    use std::process::ExitCode;

    let mailbox = mailbox::Mailbox::new(std::env::args().nth(1).as_deref() == Some("wrong"))?;
    // This process has one thread: it may fork.
    let report = Sweep::new("mailbox", &mailbox).run()?;
    println!("{report}");
    // Symbols are read after the sweep: what a process has in memory is what its forks cost.
    let (modules, code) = (Modules::of_this_process()?, Code::new(env!("CARGO_MANIFEST_DIR")));
    for found in &report.found {
        let Some(address) = modules.find(found.death.first.1) else { continue };
        for frame in code.lookup(&address)? {
            let file = frame.file.as_deref().unwrap_or("?".as_ref()).display();
            println!("  {} {file}:{}", frame.function, frame.line.unwrap_or(0));
        }
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(model))]
mod mailbox {
    use ownerdead::harness::kill::{Facts, Finding, Memory, Subject};
    use ownerdead::sync::atomic::AtomicU64;
    use ownerdead::sync::atomic::Ordering::{Acquire, Relaxed, Release};
    use std::io;

    /// How many letters are in the box; the letter.
    pub struct Mailbox {
        memory: Memory,
        wrong: bool,
    }

    const LETTER: u64 = 0xabcd;

    impl Mailbox {
        pub fn new(wrong: bool) -> io::Result<Self> {
            Ok(Self { memory: Memory::zeroed(16)?, wrong })
        }

        fn words(&self) -> &[AtomicU64; 2] {
            // SAFETY: the memory has more than sixteen bytes, is page-aligned and lives as long as `self`; any bytes are atomics.
            unsafe { &*self.memory.start().as_ptr().cast() }
        }

        fn put(&self, letter: u64) {
            let [full, body] = self.words();
            if self.wrong {
                full.store(1, Release);
                body.store(letter, Relaxed);
            } else {
                body.store(letter, Relaxed);
                full.store(1, Release);
            }
        }

        fn take(&self) -> Option<u64> {
            let [full, body] = self.words();
            (full.load(Acquire) == 1).then(|| body.load(Relaxed))
        }
    }

    /// The word of the facts: 1 when `put` has returned.
    const PUT: usize = 0;

    impl Subject for Mailbox {
        type Victim<'s> = ();
        type Survivor<'s> = ();

        fn memory(&self) -> &Memory {
            &self.memory
        }
        fn attach(&self, _: &Facts) {}
        #[inline(never)]
        fn operation(&self, (): &mut (), facts: &Facts) {
            self.put(LETTER);
            facts.word(PUT).set(1);
        }
        fn arrive(&self, _: &Facts) {}
        fn recover(&self, (): &mut (), facts: &Facts) -> Result<&'static str, Finding> {
            match self.take() {
                Some(LETTER) => Ok("a letter"),
                Some(other) => Err(Finding::torn(format!("the letter is {other:#x}, expected {LETTER:#x}"))),
                None if facts.word(PUT).get() == 1 => Err(Finding::lost("a letter that was put")),
                None => Ok("no letter"),
            }
        }
    }
}
