//! Whether what a mapping maps is still there.
//!
//! A file that is mapped can be made shorter by whoever may write it, and to touch what is gone is SIGBUS. Each mapping is
//! listed here for as long as it lives. Where the process has asked for it ([`catch`]), the handler of that signal finds the mapping
//! that was touched, marks it as gone, and puts private, zeroed memory in place of all of it. So the access goes on, reads zero, and
//! whoever asks next is told. From then on this process has nothing in common with its peers there.
//!
//! In a model nothing is ever gone: there are no signals.

#[cfg(not(any(loom, shuttle)))]
use super::backend;
use core::fmt;
#[cfg(not(any(loom, shuttle)))]
use std::io;

#[cfg(not(any(loom, shuttle)))]
pub(crate) use backend::backing::Listed;

/// The file behind a mapping was truncated, and this process is cut off from the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// Where in the mapping, in bytes, the access lay that found nothing. The file ends there or before.
    pub offset: u64,
}

impl Truncated {
    /// What an error that tells of a damaged field calls it; [`Self::offset`] is what was found there.
    pub(crate) const FIELD: &str = "an offset that the segment's file no longer has";
    /// What was expected.
    pub(crate) const EXPECTED: &str =
        "none (somebody has truncated the file, and this process is cut off from the segment)";
}

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the segment is damaged: {} is {:#x}, expected {}; make it anew",
            Self::FIELD,
            self.offset,
            Self::EXPECTED
        )
    }
}

impl std::error::Error for Truncated {}

/// Says of one mapping whether it is still there. To be asked only by who keeps that mapping: else it may speak of a later one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backing {
    #[cfg(not(any(loom, shuttle)))]
    listed: &'static backend::backing::Entry,
}

impl Backing {
    /// Of memory that is not a file's.
    pub(crate) const fn always() -> Self {
        Self {
            #[cfg(not(any(loom, shuttle)))]
            listed: &backend::backing::ALWAYS,
        }
    }

    /// Whether all that was read through the mapping until now was its file's.
    ///
    /// # Errors
    /// [`Truncated`], if some of it may not have been.
    #[inline(always)]
    pub(crate) fn check(self) -> Result<(), Truncated> {
        #[cfg(not(any(loom, shuttle)))]
        if self.listed.is_gone() {
            return Err(self.listed.truncated());
        }
        Ok(())
    }

    /// The same, for who goes on by itself.
    #[inline(always)]
    pub(crate) fn is_gone(self) -> bool {
        self.check().is_err()
    }
}

#[cfg(not(any(loom, shuttle)))]
impl From<&Listed> for Backing {
    fn from(listed: &Listed) -> Self {
        Self { listed: listed.entry() }
    }
}

/// Installs the handler, once for the process. See [`crate::segment::catch_truncation`].
///
/// # Errors
/// That of `sigaction(2)`.
#[cfg(not(any(loom, shuttle)))]
pub fn catch() -> io::Result<()> {
    backend::backing::catch()
}
