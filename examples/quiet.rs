//! Uncontended operations between two marks on standard output, for `ci/strace.sh`: no system call may stand between them.

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    real::main()
}

#[cfg(not(model))]
mod real {
    use ownerdead::lock::{FutexMutex, RobustMutex};
    use ownerdead::ring::spsc::{Config, Ring};
    use ownerdead::segment::Options;
    use std::io::Write;

    fn quietly(name: &str, mut operation: impl FnMut()) {
        let mut out = std::io::stdout().lock();
        // Whatever is set up on first use is set up here.
        operation();
        writeln!(out, "begin {name}").and_then(|()| out.flush()).expect("standard output");
        for _ in 0..1000 {
            operation();
        }
        writeln!(out, "end {name}").and_then(|()| out.flush()).expect("standard output");
    }

    pub fn main() -> Result<(), Box<dyn std::error::Error>> {
        let mutex = RobustMutex::memfd(&Options::new(), 0u64)?;
        let me = mutex.attach()?;
        quietly("robust lock and unlock", || *mutex.lock(&me).expect("nobody else") += 1);
        let mutex = FutexMutex::memfd(&Options::new(), 0u64)?;
        quietly("futex lock and unlock", || *mutex.lock() += 1);

        let ring = Ring::memfd(&Options::new(), &Config::new(1 << 20))?;
        let me = ring.attach()?;
        let mut producer = ring.producer(&me)?.into_inner();
        let mut consumer = ring.consumer(&me)?.into_inner();
        let mut record = Vec::with_capacity(64);
        quietly("push", || producer.push(1, b"sixteen bytes...").expect("room"));
        quietly("pop", || {
            consumer.pop(&mut record).expect("a record");
        });
        Ok(())
    }
}
