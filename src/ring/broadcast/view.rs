//! A look at a record in the ring, without references into it.

use super::Corrupt;
use super::consumer::{Consumer, Found};
use crate::ring::record::GRANULE;

/// The next record, still in the ring. In a lossy ring its writer may overwrite it while it is looked at: what was read counts
/// only if [`Self::is_intact`] or [`Self::finish`] says so afterwards.
#[derive(Debug)]
pub struct View<'c> {
    pub(super) consumer: &'c mut Consumer,
    pub(super) found: Found,
}

/// The writer of a lossy ring has overwritten the record, or is about to: the next read tells how many were lost. Or this is a child
/// that was forked since the look: the record is its parent's, and the next read says so. Or the segment's file was truncated, and the next read
/// says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overwritten;

impl core::fmt::Display for Overwritten {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the record was overwritten while it was looked at: drop what was read of it, and read on")
    }
}

impl std::error::Error for Overwritten {}

/// Why a record could not be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewError {
    /// It was overwritten meanwhile.
    Overwritten,
    /// The ring is damaged.
    Corrupt(Corrupt),
}

impl core::fmt::Display for ViewError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Overwritten => Overwritten.fmt(f),
            Self::Corrupt(corrupt) => corrupt.fmt(f),
        }
    }
}

impl std::error::Error for ViewError {}

impl View<'_> {
    /// Its kind.
    pub fn kind(&self) -> u32 {
        self.found.kind
    }

    /// Bytes of its payload.
    #[allow(clippy::len_without_is_empty, reason = "an empty payload is a payload")]
    pub fn len(&self) -> usize {
        self.found.len as usize
    }

    /// Eight bytes of its payload, from byte `8 * index` on, zero-padded; `None` behind its end. Without a look at the checksum.
    pub fn granule(&self, index: usize) -> Option<[u8; 8]> {
        let payload = &self.consumer.ring.record(self.found.start, self.found.size)[1..];
        let granules = self.len().div_ceil(GRANULE as usize);
        (index < granules).then(|| payload[index].load().to_le_bytes())
    }

    /// Copies its payload (what `payload` held is replaced).
    ///
    /// # Errors
    /// [`ViewError`], and `payload` is empty.
    pub fn copy_to(&self, payload: &mut Vec<u8>) -> Result<(), ViewError> {
        payload.clear();
        let copied = self.consumer.copy(&self.found, payload);
        let copied =
            self.is_intact().map_err(|Overwritten| ViewError::Overwritten).and(copied.map_err(ViewError::Corrupt));
        if copied.is_err() {
            payload.clear();
        }
        copied
    }

    /// Whether all that was read of it until now is as it was written.
    ///
    /// # Errors
    /// [`Overwritten`], if it may not be.
    pub fn is_intact(&self) -> Result<(), Overwritten> {
        if self.consumer.is_intact() { Ok(()) } else { Err(Overwritten) }
    }

    /// The same, and commits it as read.
    ///
    /// # Errors
    /// [`Overwritten`], and nothing is committed; the next read tells how many records were lost, this one among them.
    pub fn finish(self) -> Result<(), Overwritten> {
        self.is_intact()?;
        self.consumer.pass();
        Ok(())
    }
}
