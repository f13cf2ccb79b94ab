//! A ring in an epoll loop: `cargo run --example epoll`.
//!
//! A child pushes numbers, with pauses, and is killed in between. The parent sleeps in `epoll_wait(2)`, on a bell of its consumer,
//! and could have sockets and timers there too.

#[cfg(model)]
fn main() {}

#[cfg(not(model))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    real::main()
}

#[cfg(not(model))]
mod real {
    use ownerdead::ring::Rang;
    use ownerdead::ring::spsc::{Config, Ring, TryPopError};
    use ownerdead::segment::Options;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// Pushes numbers until it is killed.
    fn produce(ring: &Ring) -> Result<(), Box<dyn std::error::Error>> {
        let me = ring.attach()?;
        let mut producer = ring.producer(&me)?.into_inner();
        for number in 0u32.. {
            producer.push(number, &number.to_le_bytes())?;
            // So that there is something to wait for.
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub fn main() -> Result<(), Box<dyn std::error::Error>> {
        let ring = Ring::memfd(&Options::new(), &Config::new(4096))?;
        // SAFETY: this process has one thread yet.
        let child = match unsafe { nix::unistd::fork() }? {
            nix::unistd::ForkResult::Child => {
                let ended = produce(&ring);
                eprintln!("the child ended: {ended:?}");
                std::process::exit(1);
            }
            nix::unistd::ForkResult::Parent { child } => child,
        };

        let me = ring.attach()?;
        let mut consumer = ring.consumer(&me)?.into_inner();
        let bell = consumer.bell()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, bell.as_fd(), EventData::new_u64(0), EventFlags::IN)?;

        let (mut payload, mut records, mut wakes) = (Vec::new(), 0, 0);
        let mut events = Vec::with_capacity(4);
        loop {
            // All that there is; then the bell is armed, which rings at once should there be more already.
            let error = loop {
                match consumer.try_pop(&mut payload) {
                    Ok(_) => records += 1,
                    Err(error) => break error,
                }
            };
            if error != TryPopError::Empty {
                return Err(error.into());
            }
            if records == 20 {
                nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL)?;
            }
            consumer.arm(&bell)?;
            epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
            events.clear();
            wakes += 1;
            match bell.take()? {
                Some(Rang::PeerDied) => break,
                Some(Rang::Corrupt(corrupt)) => return Err(corrupt.into()),
                _ => {}
            }
        }
        nix::sys::wait::waitpid(child, None)?;
        println!("{records} records, {wakes} wakes; then the producer was killed, and the bell rang for that");
        Ok(())
    }
}
