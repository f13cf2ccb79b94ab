//! What the kernel would read, and mark, if the thread ended now: its robust list.
//!
//! Source of the algorithm: `exit_robust_list` and `handle_futex_death` of Linux, `kernel/futex/core.c`.

use super::Memory;
use crate::sync::robust::{OWNER_DIED, TID_MASK, WAITERS, head};

/// The kernel looks at no more entries.
const MOST: usize = 2048;
/// Bit 0 of a link marks a priority-inheriting mutex.
const PI: u64 = 1;
/// Words of `struct robust_list_head`: first link, offset from a link to its word, pending link.
const HEAD: usize = 3;
/// Text of `/proc/self/maps`, in bytes, that is looked at.
const MAPS: usize = 1 << 18;

/// A word that the walk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// In the memory under test, at this offset in bytes.
    At(usize),
    /// In other memory, which is marked too, and does not matter here.
    Elsewhere,
    /// Where nothing can be read or written, or not aligned: the walk ends here.
    Fault,
}

const ELSEWHERE: u64 = u64::MAX;
const FAULT: u64 = u64::MAX - 1;

impl Entry {
    fn pack(self) -> u64 {
        match self {
            Self::At(offset) => offset as u64,
            Self::Elsewhere => ELSEWHERE,
            Self::Fault => FAULT,
        }
    }

    pub(super) fn unpack(value: u64) -> Self {
        match value {
            ELSEWHERE => Self::Elsewhere,
            FAULT => Self::Fault,
            offset => Self::At(offset as usize),
        }
    }
}

/// The exit walk of a thread, at some moment: the entries in the order in which the kernel comes to them. The pending one, if
/// there is one, is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walk(pub(super) Vec<Entry>);

impl Walk {
    /// Marks the words of thread `tid` in `image`, as the kernel does. (It wakes nobody: in a sweep nobody sleeps.)
    pub(super) fn apply(&self, image: &mut [u64], tid: u32) {
        for entry in &self.0 {
            match *entry {
                Entry::At(offset) => {
                    let (word, shift) = (&mut image[offset / 8], 8 * (offset % 8));
                    let value = (*word >> shift) as u32;
                    if value & TID_MASK == tid {
                        let marked = value & WAITERS | OWNER_DIED;
                        *word = *word & !(0xffff_ffff << shift) | u64::from(marked) << shift;
                    }
                }
                Entry::Elsewhere => {}
                Entry::Fault => return,
            }
        }
    }
}

/// Reads the walk of the calling thread, after any instruction of it: so it allocates nothing, and takes no pointer's word.
pub(super) struct Walker {
    /// `/proc/self/mem`, which says by an error what a pointer would by a fault.
    file: libc::c_int,
    id: (u64, u64),
    length: usize,
    /// What was read: the head, then the links; FAULT where one could not be followed. Now, and when it had changed last.
    raw: Vec<u64>,
    last: Vec<u64>,
    maps: Vec<u8>,
    packed: Vec<u64>,
}

impl Walker {
    pub(super) fn new(memory: &Memory) -> Self {
        let room = || Vec::with_capacity(MOST + HEAD + 1);
        let (id, length) = (memory.id(), memory.len());
        Self { file: -1, id, length, raw: room(), last: room(), maps: Vec::with_capacity(MAPS), packed: room() }
    }

    /// Opens this process's memory: a forked child is another one.
    ///
    /// # Errors
    /// Of `open`.
    pub(super) fn open(&mut self) -> std::io::Result<()> {
        // SAFETY: a string that ends with 0.
        self.file = unsafe { libc::open(c"/proc/self/mem".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if self.file < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The entries, packed, if they are others than the last time.
    pub(super) fn changed(&mut self) -> Option<&[u64]> {
        self.read();
        if self.raw == self.last && !self.last.is_empty() {
            return None;
        }
        core::mem::swap(&mut self.raw, &mut self.last);
        self.translate();
        Some(&self.packed)
    }

    /// 64-bit words of this process; `None` if there are none.
    fn load<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0u64; N];
        // SAFETY: so many bytes to write to.
        let read = unsafe { libc::pread64(self.file, (&raw mut words).cast(), 8 * N, address as i64) };
        (read == 8 * N as isize).then_some(words)
    }

    /// Into `raw`: the head's three words, and the links of the list.
    fn read(&mut self) {
        self.raw.clear();
        let head = head() as u64;
        // Where there is none the kernel gives up too.
        let Some(words) = self.load::<HEAD>(head) else { return };
        self.raw.extend_from_slice(&words);
        let mut link = self.raw[0];
        for _ in 0..MOST {
            if link & !PI == head {
                break;
            }
            self.raw.push(link);
            match self.load(link & !PI) {
                Some([next]) => link = next,
                None => return self.raw.push(FAULT),
            }
        }
    }

    /// From `last` into `packed`.
    fn translate(&mut self) {
        self.packed.clear();
        self.read_maps();
        let Some(&[_, offset, pending]) = self.last.first_chunk() else { return };
        let word = |link: u64| (link & !PI).wrapping_add(offset);
        for index in HEAD..self.last.len() {
            let link = self.last[index];
            if link == FAULT {
                self.packed.push(FAULT);
                return;
            }
            // One that is pending too is marked as that.
            if link & !PI != pending & !PI {
                self.packed.push(self.place(word(link)).pack());
            }
        }
        if pending != 0 {
            self.packed.push(self.place(word(pending)).pack());
        }
    }

    fn read_maps(&mut self) {
        self.maps.clear();
        // SAFETY: a string that ends with 0.
        let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        while self.maps.len() < MAPS {
            let room = self.maps.spare_capacity_mut();
            // SAFETY: the room is there to be written to.
            let read = unsafe { libc::read(file, room.as_mut_ptr().cast(), room.len()) };
            let Some(read) = usize::try_from(read).ok().filter(|&read| read > 0) else { break };
            // SAFETY: the kernel has written so many bytes there.
            unsafe { self.maps.set_len(self.maps.len() + read) };
        }
        // SAFETY: opened above, and nobody else's.
        unsafe { libc::close(file) };
    }

    /// Where the futex word at `address` lies.
    fn place(&self, address: u64) -> Entry {
        if !address.is_multiple_of(4) {
            return Entry::Fault;
        }
        for line in self.maps.split(|&byte| byte == b'\n') {
            let Some(mapping) = Mapping::parse(line) else { continue };
            if !(mapping.start..mapping.end).contains(&address) {
                continue;
            }
            if !mapping.writable {
                return Entry::Fault;
            }
            let offset = (address - mapping.start + mapping.offset) as usize;
            let ours = mapping.id == self.id && offset + 4 <= self.length;
            return if ours { Entry::At(offset) } else { Entry::Elsewhere };
        }
        Entry::Fault
    }
}

/// A line of `/proc/self/maps`.
struct Mapping {
    start: u64,
    end: u64,
    writable: bool,
    offset: u64,
    /// Device and inode.
    id: (u64, u64),
}

impl Mapping {
    fn parse(line: &[u8]) -> Option<Self> {
        // start-end rwxp offset major:minor inode path
        let mut fields = line.split(|&byte| byte == b' ').filter(|field| !field.is_empty());
        let (start, end) = pair(fields.next()?, b'-')?;
        let writable = fields.next()?.get(1) == Some(&b'w');
        let offset = number(fields.next()?, 16)?;
        let (major, minor) = pair(fields.next()?, b':')?;
        let inode = number(fields.next()?, 10)?;
        Some(Self { start, end, writable, offset, id: (libc::makedev(major as u32, minor as u32), inode) })
    }
}

fn pair(text: &[u8], by: u8) -> Option<(u64, u64)> {
    let at = text.iter().position(|&byte| byte == by)?;
    Some((number(&text[..at], 16)?, number(&text[at + 1..], 16)?))
}

fn number(text: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(core::str::from_utf8(text).ok()?, radix).ok()
}

impl Drop for Walker {
    fn drop(&mut self) {
        if self.file >= 0 {
            // SAFETY: opened in `open`, and nobody else's.
            unsafe { libc::close(self.file) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TID: u32 = 4711;

    #[test]
    fn words_of_the_dead_are_marked_and_keep_their_waiters() {
        let word = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let mut image = [word(TID, TID | WAITERS), word(TID + 1, 0), word(TID, 7)];
        // In any halves; the second word is another one's.
        Walk([0, 4, 8, 16].map(Entry::At).to_vec()).apply(&mut image, TID);
        assert_eq!(image, [word(OWNER_DIED, OWNER_DIED | WAITERS), word(TID + 1, 0), word(OWNER_DIED, 7)]);
    }

    #[test]
    fn a_walk_goes_past_other_memory_and_ends_at_a_fault() {
        let mut image = [u64::from(TID); 2];
        Walk(vec![Entry::Elsewhere, Entry::At(0), Entry::Fault, Entry::At(8)]).apply(&mut image, TID);
        assert_eq!(image, [u64::from(OWNER_DIED), u64::from(TID)]);
    }

    #[test]
    fn entries_come_out_as_they_went_in() {
        for entry in [Entry::At(0), Entry::At(4092), Entry::Elsewhere, Entry::Fault] {
            assert_eq!(Entry::unpack(entry.pack()), entry);
        }
    }

    #[test]
    fn a_mapping_is_read_from_its_line() {
        let line = b"7f1c0000-7f1c2000 rw-s 00001000 00:1b 42        /dev/shm/a name";
        let mapping = Mapping::parse(line).expect("a mapping");
        assert_eq!((mapping.start, mapping.end, mapping.offset), (0x7f1c_0000, 0x7f1c_2000, 0x1000));
        assert_eq!((mapping.writable, mapping.id), (true, (libc::makedev(0, 0x1b), 42)));
        assert!(Mapping::parse(b"").is_none());
    }

    #[test]
    fn this_threads_list_is_read_once_and_then_is_as_it_was() {
        let memory = Memory::zeroed(8).expect("memory");
        let mut walker = Walker::new(&memory);
        walker.open().expect("this process's memory");
        assert_eq!(walker.changed(), Some(&[][..]), "no robust mutex is held");
        assert_eq!(walker.changed(), None);
    }
}
