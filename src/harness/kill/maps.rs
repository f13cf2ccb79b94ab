//! What a process has mapped, and which pages are its own.

use super::Memory;
use super::step::PAGE;
use crate::sync::atomic::Ordering::Relaxed;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Text of `/proc`, in memory that all processes share, and of which no allocator knows: its length in a word, and the bytes.
pub(super) struct Text(Memory);

impl Text {
    const BYTES: usize = 1 << 18;

    pub(super) fn new() -> io::Result<Self> {
        Memory::zeroed(8 + Self::BYTES).map(Self)
    }

    fn bytes(&self) -> *mut u8 {
        // SAFETY: within the mapping, which has a word and `BYTES`.
        unsafe { self.0.start().as_ptr().add(8) }
    }

    /// Reads a file, without an allocator.
    pub(super) fn read(&self, path: &CStr) -> io::Result<()> {
        // SAFETY: a string that ends with 0.
        let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if file < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut length = 0;
        let result = loop {
            let left = Self::BYTES - length;
            // SAFETY: so many bytes are behind `length`.
            match unsafe { libc::read(file, self.bytes().add(length).cast(), left) } {
                0 if left > 0 => break Ok(()),
                count if count > 0 => length += count as usize,
                0 => break Err(io::Error::other("more mappings than there is room for")),
                _ => break Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: opened above.
        unsafe { libc::close(file) };
        self.0.words()[0].store(length as u64, Relaxed);
        result
    }

    pub(super) fn get(&self) -> &[u8] {
        // SAFETY: `read` has written so many bytes, no more than there are; nobody reads anew while they are borrowed.
        unsafe { std::slice::from_raw_parts(self.bytes(), self.0.words()[0].load(Relaxed) as usize) }
    }

    pub(super) fn mappings(&self) -> impl Iterator<Item = Mapping<'_>> {
        self.get().split(|&byte| byte == b'\n').filter_map(Mapping::parse)
    }
}

/// A line of `/proc/self/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'t> {
    pub(super) range: Range<u64>,
    rights: &'t [u8],
    /// Of the kernel's heap.
    pub(super) heap: bool,
}

impl<'t> Mapping<'t> {
    /// `start-end rwxp offset device inode name`
    fn parse(line: &'t [u8]) -> Option<Self> {
        let hex = |text: &[u8]| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
        let (range, rest) = line.split_at(line.iter().position(|&byte| byte == b' ')?);
        let dash = range.iter().position(|&byte| byte == b'-')?;
        let range = hex(&range[..dash])?..hex(&range[dash + 1..])?;
        Some(Self { range, rights: rest.get(1..5)?, heap: line.ends_with(b"[heap]") })
    }

    /// Of this process alone, and written to as data.
    pub(super) fn is_private_data(&self) -> bool {
        self.rights.starts_with(b"rw-p")
    }

    /// Code that has become writable is where breakpoints are.
    pub(super) fn has_rights_of(&self, before: &Self) -> bool {
        self.rights == before.rights || self.rights == b"rwxp" && before.rights == b"r-xp"
    }
}

/// `ranges` without `holes`, both in order.
pub(super) fn without(range: Range<u64>, holes: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let (mut pieces, mut from) = (Vec::new(), range.start);
    for hole in holes.filter(|hole| hole.start < range.end && hole.end > range.start) {
        if hole.start > from {
            pieces.push(from..hole.start);
        }
        from = from.max(hole.end);
    }
    if from < range.end {
        pieces.push(from..range.end);
    }
    pieces
}

/// Pages of private data in `before` that this process, a forked child, has for itself, but for those in `own`.
pub(super) fn own_pages(before: &[Mapping<'_>], own: &Range<u64>) -> io::Result<Vec<u64>> {
    const SWAPPED: u64 = 1 << 62;
    const PRESENT: u64 = 1 << 63;
    /// No other process has it.
    const EXCLUSIVE: u64 = 1 << 56;
    let (file, mut pages) = (File::open("/proc/self/pagemap")?, Vec::new());
    for mapping in before.iter().filter(|mapping| mapping.is_private_data()) {
        for piece in without(mapping.range.clone(), std::iter::once(own.clone())) {
            let first = piece.start / PAGE as u64;
            let mut entries = vec![0; 8 * (piece.end / PAGE as u64 - first) as usize];
            file.read_exact_at(&mut entries, 8 * first)?;
            let entries = entries.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("8 bytes")));
            let is_own = |entry: u64| entry & SWAPPED != 0 || entry & (PRESENT | EXCLUSIVE) == PRESENT | EXCLUSIVE;
            pages
                .extend((first..).zip(entries).filter(|&(_, entry)| is_own(entry)).map(|(page, _)| page * PAGE as u64));
        }
    }
    Ok(pages)
}
