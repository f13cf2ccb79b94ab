//! The records of our ring, for a ring of bytes: length and kind, payload, and CRC-32 of position, both and the payload.
//!
//! The same bytes and the same checksum as in `src/ring/record.rs`, so that rtrb is compared at equal work. The payloads are
//! multiples of 8 bytes, so there is no padding within a record; records wrap, so there is none between them either.

use rtrb::CopyToUninit;
use std::mem::MaybeUninit;

/// Writes or reads records, one after the other.
pub struct Frames {
    checksum: bool,
    /// Bytes before the next one.
    position: u64,
}

/// Room in a ring that may continue at its start, and gets filled.
pub struct Tail<'a> {
    first: &'a mut [MaybeUninit<u8>],
    second: &'a mut [MaybeUninit<u8>],
}

impl<'a> Tail<'a> {
    pub fn new(first: &'a mut [MaybeUninit<u8>], second: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { first, second }
    }

    pub fn is_full(&self) -> bool {
        self.first.is_empty() && self.second.is_empty()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.first.len() {
            let (now, later) = bytes.split_at(self.first.len());
            now.copy_to_uninit(self.first);
            self.first = std::mem::take(&mut self.second);
            return self.put(later);
        }
        let (room, rest) = std::mem::take(&mut self.first).split_at_mut(bytes.len());
        bytes.copy_to_uninit(room);
        self.first = rest;
    }
}

/// Bytes in a ring that may continue at its start.
struct Bytes<'a>((&'a [u8], &'a [u8]));

impl Bytes<'_> {
    /// The next 8 bytes. Records and rings are multiples of that, so they never wrap.
    #[inline]
    fn granule(&mut self) -> u64 {
        if self.0.0.is_empty() {
            self.0 = (self.0.1, &[]);
        }
        let (granule, rest) = self.0.0.split_first_chunk().expect("a whole record");
        self.0.0 = rest;
        u64::from_le_bytes(*granule)
    }

    #[inline]
    fn append_to(&mut self, payload: &mut Vec<u8>, length: usize) {
        let (now, later) = (length.min(self.0.0.len()), length.saturating_sub(self.0.0.len()));
        payload.extend_from_slice(&self.0.0[..now]);
        self.0.0 = &self.0.0[now..];
        if later > 0 {
            payload.extend_from_slice(&self.0.1[..later]);
            self.0 = (&self.0.1[later..], &[]);
        }
    }
}

impl Frames {
    /// Bytes of a record's head.
    pub const HEAD: usize = 8;

    pub fn new(checksum: bool) -> Self {
        Self { checksum, position: 0 }
    }

    /// Bytes of a record, all in.
    #[inline]
    pub fn size(&self, payload: usize) -> usize {
        Self::HEAD + payload + if self.checksum { 8 } else { 0 }
    }

    /// Length of the payload of the record that `slices` begin with.
    #[inline]
    pub fn length(slices: (&[u8], &[u8])) -> usize {
        Bytes(slices).granule() as u32 as usize
    }

    #[inline]
    pub fn write(&mut self, room: &mut Tail<'_>, kind: u32, payload: &[u8]) {
        let head = u64::from(kind) << 32 | payload.len() as u64;
        room.put(&head.to_le_bytes());
        room.put(payload);
        if self.checksum {
            room.put(&self.crc(head.to_le_bytes(), payload).to_le_bytes());
        }
        self.position += self.size(payload.len()) as u64;
    }

    /// Copies the payload of the record that `slices` begin with, and checks it. Bytes of the record.
    #[inline]
    pub fn read(&mut self, slices: (&[u8], &[u8]), payload: &mut Vec<u8>) -> usize {
        let mut bytes = Bytes(slices);
        let head = bytes.granule();
        let length = head as u32 as usize;
        payload.clear();
        bytes.append_to(payload, length);
        if self.checksum {
            assert_eq!(bytes.granule(), self.crc(head.to_le_bytes(), payload), "a wrong checksum");
        }
        let size = self.size(length);
        self.position += size as u64;
        size
    }

    fn crc(&self, head: [u8; 8], payload: &[u8]) -> u64 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.position.to_le_bytes());
        hasher.update(&head);
        hasher.update(payload);
        hasher.finalize().into()
    }
}
