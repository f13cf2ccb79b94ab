//! `pthread_mutex_t` of the C library, robust and shared between processes: `pthread_mutexattr_setrobust(3)`.

use crate::locks::{Lock, named};
use ownerdead::harness::kill::Memory;
use std::io;
use std::mem::MaybeUninit;

/// From the start of the memory to what the mutex guards.
const DATA: usize = 128;

/// A mutex, and two numbers behind it.
pub struct Pthread {
    /// Invariant 1: a robust mutex, shared between processes, was made at its start; two numbers lie at `DATA`.
    memory: Memory,
}

impl Pthread {
    pub fn new() -> io::Result<Self> {
        let memory = Memory::zeroed(4096)?;
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised by the first call, and a page is room for a mutex, aligned.
        let codes = unsafe {
            [
                libc::pthread_mutexattr_init(attributes.as_mut_ptr()),
                libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED),
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST),
                libc::pthread_mutex_init(memory.start().as_ptr().cast(), attributes.as_ptr()),
            ]
        };
        match codes.into_iter().find(|&code| code != 0) {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(Self { memory }),
        }
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.memory.start().as_ptr().cast()
    }

    /// After a lock that came with `code`.
    fn inside<T>(&self, code: i32, inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
        let told = code == libc::EOWNERDEAD;
        // SAFETY: invariant 1; this thread has the lock, and all who touch the numbers take it first.
        let done = inside(unsafe { &mut *self.memory.start().as_ptr().add(DATA).cast() }, told);
        if told {
            // SAFETY: invariant 1; this thread has the lock, and was told of a death.
            check("pthread_mutex_consistent", unsafe { libc::pthread_mutex_consistent(self.mutex()) });
        }
        // SAFETY: invariant 1; this thread has the lock.
        check("pthread_mutex_unlock", unsafe { libc::pthread_mutex_unlock(self.mutex()) });
        done
    }
}

fn check(call: &str, code: i32) {
    assert!(code == 0, "{call}: {}", io::Error::from_raw_os_error(code));
}

impl Lock for Pthread {
    type Me<'s> = ();

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn join(&self) {}

    fn hold<T>(&self, _: &mut (), inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> T {
        // SAFETY: invariant 1.
        let code = unsafe { libc::pthread_mutex_lock(self.mutex()) };
        assert!(code == 0 || code == libc::EOWNERDEAD, "pthread_mutex_lock: {}", io::Error::from_raw_os_error(code));
        self.inside(code, inside)
    }

    fn try_hold<T>(&self, _: &mut (), inside: impl FnOnce(&mut [u64; 2], bool) -> T) -> Result<T, String> {
        // SAFETY: invariant 1.
        match unsafe { libc::pthread_mutex_trylock(self.mutex()) } {
            code @ (0 | libc::EOWNERDEAD) => Ok(self.inside(code, inside)),
            code => Err(format!(
                "pthread_mutex_trylock: {}, and nobody else lives; {}",
                io::Error::from_raw_os_error(code),
                self.word()
            )),
        }
    }

    fn word(&self) -> String {
        // SAFETY: invariant 1; glibc's mutex begins with its lock word, which changes by atomic instructions.
        named(unsafe { self.memory.start().as_ptr().cast::<u32>().read_volatile() })
    }
}
