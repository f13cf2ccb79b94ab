//! Runs one child at a time, in a process group of its own, so that nothing of it outlives this program.
//!
//! The terminal's Ctrl-C does not reach that group, so SIGINT, SIGTERM and SIGHUP are taken here and passed on.

use nix::{
    errno::Errno,
    sys::{
        prctl::set_child_subreaper,
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid, waitpid},
    },
    unistd::Pid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// Between two looks at what the child has reported so far.
const TICK: Duration = Duration::from_millis(100);
/// What a child that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(2);

enum Event {
    /// The child is dead, and not yet reaped.
    Exited,
    Interrupted,
}

/// How a child ended.
pub enum End {
    Exited(ExitStatus),
    /// It ran into the limit and was killed.
    TimedOut,
    /// Somebody wants this program to end; the child was killed.
    Interrupted,
}

/// Starts children and hears signals.
pub struct Runner {
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Runner {
    pub fn new() -> io::Result<Runner> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let (sender, events) = channel();
        let interrupted = sender.clone();
        thread::spawn(move || {
            for _ in signals.forever() {
                let _ = interrupted.send(Event::Interrupted);
            }
        });
        Ok(Runner { sender, events })
    }

    /// Runs `command` with its output in `log`, calling `tick` about ten times a second.
    pub fn run(
        &self,
        mut command: Command,
        log: File,
        limit: Option<Duration>,
        mut tick: impl FnMut(),
    ) -> io::Result<End> {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let deadline = limit.map(|limit| Instant::now() + limit);
        let group = Group::start(command, self.sender.clone())?;
        loop {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Exited) => {
                    tick();
                    return group.reap().map(End::Exited);
                }
                Ok(Event::Interrupted) => {
                    self.end(group, GRACE)?;
                    return Ok(End::Interrupted);
                }
                Err(RecvTimeoutError::Timeout) => tick(),
                Err(RecvTimeoutError::Disconnected) => unreachable!("this end holds a sender"),
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.end(group, GRACE)?;
                tick();
                return Ok(End::TimedOut);
            }
        }
    }

    /// Asks the group to end, kills what is left of it, and waits until all of it is gone.
    fn end(&self, group: Group, grace: Duration) -> io::Result<()> {
        // From here on, whoever in the group loses its parent becomes ours to wait for.
        set_child_subreaper(true)?;
        group.signal(Signal::SIGTERM);
        // A stopped process would sleep through the SIGTERM.
        group.signal(Signal::SIGCONT);
        // A second Ctrl-C cuts this short.
        if !matches!(self.events.recv_timeout(grace), Ok(Event::Exited)) {
            group.signal(Signal::SIGKILL);
            while !matches!(self.events.recv(), Ok(Event::Exited) | Err(_)) {}
        }
        let everybody = Pid::from_raw(-group.pid().as_raw());
        group.reap()?;
        while !matches!(waitpid(everybody, None), Err(error) if error != Errno::EINTR) {}
        set_child_subreaper(false)?;
        Ok(())
    }
}

/// A child and all that it started, unless that moved to another group.
struct Group {
    child: Child,
}

impl Group {
    fn start(mut command: Command, events: Sender<Event>) -> io::Result<Group> {
        let child = command.spawn()?;
        let group = Group { child };
        let pid = group.pid();
        thread::spawn(move || {
            // Not reaped here: while the child is a zombie, its group's number belongs to nobody else.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), flags) == Err(Errno::EINTR) {}
            let _ = events.send(Event::Exited);
        });
        Ok(group)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn signal(&self, signal: Signal) {
        // It can only fail when the group is empty.
        let _ = killpg(self.pid(), signal);
    }

    /// After `Event::Exited`: kills what the child left running, then reaps it.
    fn reap(mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.child.wait()
    }
}
