//! What is not caught: faults in other mappings. And which files need no catching.

use super::*;

/// A mapping of this test's own, whose file is truncated.
fn foreign() -> *const u8 {
    let fd = nix::sys::memfd::memfd_create(c"foreign", nix::sys::memfd::MFdFlags::empty()).unwrap();
    let file = File::from(fd);
    file.set_len(4096).unwrap();
    // SAFETY: a new mapping, at a place that the kernel chooses.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(place, libc::MAP_FAILED);
    file.set_len(0).unwrap();
    place.cast()
}

fn ends_by(body: impl FnOnce(), by: Signal) {
    let mut child = spawn(|| {
        // SAFETY: no core file of a process that is meant to end so.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        body();
    });
    let end = child.end();
    assert!(matches!(end, WaitStatus::Signaled(_, signal, _) if signal == by), "{end:?}");
}

#[test]
fn another_sigbus_ends_the_process_as_without_the_handler() {
    let touch = || {
        // SAFETY: mapped, and not there: that is what this is about.
        unsafe { foreign().read_volatile() };
    };
    ends_by(touch, Signal::SIGBUS);
    ends_by(
        || {
            catch_truncation().unwrap();
            touch();
        },
        Signal::SIGBUS,
    );
    ends_by(
        || {
            // std's own handler takes itself away, and lets one that was sent pass.
            // SAFETY: the default.
            unsafe { nix::sys::signal::signal(Signal::SIGBUS, nix::sys::signal::SigHandler::SigDfl) }.unwrap();
            catch_truncation().unwrap();
            nix::sys::signal::raise(Signal::SIGBUS).unwrap();
        },
        Signal::SIGBUS,
    );
    // Where nobody has asked for it, a truncated segment does, too.
    ends_by(
        || {
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            cut(ring.segment(), 0);
            let _ = ring.status();
        },
        Signal::SIGBUS,
    );
    // And one whose mapping is gone is no longer ours.
    ends_by(
        || {
            catch_truncation().unwrap();
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            drop(ring);
            touch();
        },
        Signal::SIGBUS,
    );
}

extern "C" fn ends_with_42(_signal: i32) {
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(42) };
}

extern "C" fn ends_with_43(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel's; then the end of the child.
    unsafe { libc::_exit(if (*info).si_code == libc::BUS_ADRERR { 43 } else { 1 }) };
}

#[test]
fn another_sigbus_goes_to_the_handler_that_was_there() {
    for (handler, flags, code) in
        [(ends_with_42 as *const () as usize, 0, 42), (ends_with_43 as *const () as usize, libc::SA_SIGINFO, 43)]
    {
        let mut child = spawn(|| {
            // SAFETY: an all-zero sigaction is a valid one, and the handler is of the kind that its flags say.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                (action.sa_sigaction, action.sa_flags) = (handler, flags);
                assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
            }
            catch_truncation().unwrap();
            let ring = named(|name| spsc::Ring::create(name, &Options::new(), &spsc::Config::new(1024)).unwrap());
            cut(ring.segment(), 0);
            let _ = ring.status();
            assert!(told(&ring.segment().is_whole().unwrap_err()));
            // SAFETY: mapped, and not there.
            unsafe { foreign().read_volatile() };
        });
        assert_eq!(child.end(), WaitStatus::Exited(child.pid, code));
    }
}

#[test]
fn a_memfd_that_can_be_made_shorter_is_refused() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let ring = spsc::Ring::memfd(&Options::new(), &spsc::Config::new(1024)).unwrap();
    let length = file(ring.segment()).metadata().unwrap().len();
    let mut bytes = vec![0; length as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file(ring.segment()), &mut bytes, 0).unwrap();
    let copy = |flags| {
        let fd = memfd_create(c"copy", flags).unwrap();
        std::fs::write(format!("/proc/self/fd/{}", fd.as_raw_fd()), &bytes).unwrap();
        fd
    };
    let unsealed = copy(MFdFlags::MFD_ALLOW_SEALING);
    // SAFETY: a descriptor that was just made by `dup`.
    let same = unsafe { std::os::fd::OwnedFd::from_raw_fd(libc::dup(unsealed.as_raw_fd())) };
    let opened = Segment::from_fd(unsealed, Kind::SPSC);
    assert!(matches!(opened, Err(OpenError::NotSealed { found: 0 })), "{opened:?}");
    // SAFETY: no pointers.
    assert_eq!(unsafe { libc::fcntl(same.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) }, 0);
    Segment::from_fd(same, Kind::SPSC).unwrap();
    // One that nobody can seal is as a file in /dev/shm is.
    Segment::from_fd(copy(MFdFlags::empty()), Kind::SPSC).unwrap();
}
