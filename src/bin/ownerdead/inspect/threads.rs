//! Whether a TID of a life word exists here.

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use ownerdead::inspect::Thread;
use std::fs;

/// Whether this PID namespace has a thread of that TID.
pub fn look(tid: u32) -> Thread {
    // 0 and what does not fit mean something else to kill.
    let Some(pid) = i32::try_from(tid).ok().filter(|&tid| tid > 0) else { return Thread::Unknown };
    match kill(Pid::from_raw(pid), None) {
        Err(Errno::ESRCH) => return Thread::Gone,
        // EPERM: it exists, and is somebody else's.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(_) => return Thread::Unknown,
    }
    let Ok(stat) = fs::read(format!("/proc/{tid}/stat")) else { return Thread::Exists { name: None } };
    match parse(&String::from_utf8_lossy(&stat)) {
        // The kernel marks the life words of a thread before it makes a zombie of it: this one's is not told any more.
        Some((_, 'Z' | 'X')) => Thread::Gone,
        Some((name, _)) => Thread::Exists { name: Some(name.to_owned()) },
        None => Thread::Exists { name: None },
    }
}

/// Name and state in a line of `/proc/TID/stat`: `7 (name) S ...`. The name may have brackets and blanks of its own.
fn parse(stat: &str) -> Option<(&str, char)> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    Some((name, after.trim_start().chars().next()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_thread_that_leads_no_process_exists_until_it_ends() {
        let tid = || nix::unistd::gettid().as_raw().unsigned_abs();
        let (of_thread, sent) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        // It owns `end`: should this panic, the thread ends too.
        std::thread::scope(move |scope| {
            let thread = std::thread::Builder::new().name("a ) (thread".to_owned());
            let work = move || {
                of_thread.send(tid()).unwrap();
                ended.recv().unwrap();
            };
            let thread = thread.spawn_scoped(scope, work).unwrap();
            let its = sent.recv().unwrap();
            assert_ne!(its, tid());
            assert_eq!(look(its), Thread::Exists { name: Some("a ) (thread".to_owned()) });
            end.send(()).unwrap();
            thread.join().unwrap();
        });
        // No TID is larger than 2^22.
        assert_eq!(look(1 << 29), Thread::Gone);
    }

    #[test]
    fn a_zombie_is_gone() {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        let path = format!("/proc/{}/stat", child.id());
        // It ends by itself; it is a zombie from then until it is waited for.
        while parse(&fs::read_to_string(&path).unwrap()).unwrap().1 != 'Z' {
            std::thread::yield_now();
        }
        assert_eq!(look(child.id()), Thread::Gone);
        child.wait().unwrap();
    }
}
