//! An eventfd: a count that the kernel keeps, and that a loop over descriptors can wait for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor that is readable while it is signalled. `eventfd(2)`.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// A new one, not signalled. It does not block, and `exec` closes it.
    ///
    /// # Errors
    /// The error of `eventfd(2)`: too many open files, above all.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just opened it, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes it readable. One that is already is so still.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight bytes that live for the call. It cannot fail but for a count at its end, which is readable too.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it not readable; whether it was.
    pub fn clear(&self) -> bool {
        let mut count = [0; 8];
        // SAFETY: eight bytes that live for the call. It fails if it was not signalled, and then only.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) == 8 }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_readable_from_a_signal_until_it_is_cleared() {
        let event = Event::new().expect("a descriptor");
        assert!(!event.clear());
        event.signal();
        event.signal();
        assert!(event.clear() && !event.clear());
    }
}
