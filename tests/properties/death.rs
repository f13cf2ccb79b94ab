//! A death in the middle of a sequence.

/// Runs `act` in a forked child, which then ends with all that it has. What `act` says, less than 64.
///
/// A process, not a thread: so nothing is left in the memory of the one that goes on, which a fuzzer may do a million times.
pub fn dies(act: impl FnOnce() -> u8) -> u8 {
    // SAFETY: the child runs `act` and ends by `_exit`; it takes no lock that another thread of the parent may hold, but the
    // allocator's, which glibc makes usable in a child.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).unwrap_or(u8::MAX);
        // SAFETY: ends the child, without the parent's destructors.
        unsafe { libc::_exit(said.into()) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place to write to.
    while unsafe { libc::waitpid(child, &mut status, 0) } != child {
        // A fuzzer has an alarm clock.
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "waitpid: {error}");
    }
    let said = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { i32::MAX };
    assert!(said < 64, "the one that was to die has failed before, status {status:#x}");
    said as u8
}
