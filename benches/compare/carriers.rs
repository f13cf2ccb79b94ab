//! What carries messages from one side to the other: our ring, rtrb with the same records in it, a Unix socket.
//!
//! All of them hand each message over as bytes that the receiver owns, and spin where they cannot go on, but for the socket and
//! for [`Manner::Sleep`].

use crate::framing::{Frames, Tail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use ownerdead::ring::spsc::{Config, Consumer, Producer, Ring, TryPopError, TryPushError};
use ownerdead::segment::Options;
use std::fs::File;
use std::hint::spin_loop;
use std::io::{Read, Write};

/// Bytes of the rings. So much stays in the caches of both cores.
pub const CAPACITY: usize = 1 << 16;

/// Messages in a batch.
pub const BATCH: usize = 32;

const KIND: u32 = 1;

/// One way of carrying messages: both ends of it, to be set up in the threads that will use them.
pub struct Carrier {
    pub sender: Box<dyn FnOnce() -> Sender + Send>,
    pub receiver: Box<dyn FnOnce() -> Receiver + Send>,
}

/// How a carrier waits.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    Spin,
    Sleep,
}

/// The sending end.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Sender {
    Ring(Producer, Manner),
    Rtrb(rtrb::Producer<u8>, Frames),
    Socket(File),
}

/// The receiving end.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Receiver {
    Ring(Consumer, Manner),
    Rtrb(rtrb::Consumer<u8>, Frames),
    Socket(File),
}

/// A new ring of ours.
pub fn ring(checksum: bool, manner: Manner) -> Carrier {
    let ring = Ring::memfd(&Options::new().slots(2), &Config::new(CAPACITY).checksum(checksum)).expect("a ring");
    let other = ring.clone();
    Carrier {
        sender: Box::new(move || {
            let me = ring.attach().expect("a free slot");
            Sender::Ring(ring.producer(&me).expect("a vacant seat").into_inner(), manner)
        }),
        receiver: Box::new(move || {
            let me = other.attach().expect("a free slot");
            Receiver::Ring(other.consumer(&me).expect("a vacant seat").into_inner(), manner)
        }),
    }
}

/// A new ring of rtrb's, of bytes, with the records of ours in it.
pub fn rtrb(checksum: bool) -> Carrier {
    let (producer, consumer) = rtrb::RingBuffer::new(CAPACITY);
    Carrier {
        sender: Box::new(move || Sender::Rtrb(producer, Frames::new(checksum))),
        receiver: Box::new(move || Receiver::Rtrb(consumer, Frames::new(checksum))),
    }
}

/// A new pair of Unix sockets that keep messages apart.
pub fn socket() -> Carrier {
    let (one, other) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).expect("a pair of sockets");
    Carrier {
        sender: Box::new(move || Sender::Socket(one.into())),
        receiver: Box::new(move || Receiver::Socket(other.into())),
    }
}

impl Sender {
    /// Sends one message.
    #[inline]
    pub fn send(&mut self, payload: &[u8]) {
        match self {
            Self::Ring(producer, Manner::Spin) => loop {
                match producer.try_push(KIND, payload) {
                    Ok(()) => return,
                    Err(TryPushError::Full) => spin_loop(),
                    Err(error) => panic!("{error}"),
                }
            },
            Self::Ring(producer, Manner::Sleep) => producer.push(KIND, payload).expect("a living consumer"),
            Self::Rtrb(producer, frames) => loop {
                let Ok(mut chunk) = producer.write_chunk_uninit(frames.size(payload.len())) else {
                    spin_loop();
                    continue;
                };
                let (first, second) = chunk.as_mut_slices();
                let mut room = Tail::new(first, second);
                frames.write(&mut room, KIND, payload);
                assert!(room.is_full());
                // SAFETY: all of the chunk was written.
                return unsafe { chunk.commit_all() };
            },
            Self::Socket(socket) => {
                assert_eq!(socket.write(payload).expect("a socket with another end"), payload.len());
            }
        }
    }

    /// Sends messages of `size` bytes that lie one after the other, as few commits as there is room for.
    pub fn send_batch(&mut self, mut payloads: &[u8], size: usize) {
        while !payloads.is_empty() {
            let sent = match self {
                Self::Ring(producer, _) => {
                    match producer.push_batch(payloads.chunks_exact(size).map(|payload| (KIND, payload))) {
                        Ok(sent) => sent,
                        Err(TryPushError::Full) => 0,
                        Err(error) => panic!("{error}"),
                    }
                }
                Self::Rtrb(producer, frames) => {
                    let (all, frame) = (payloads.len() / size, frames.size(size));
                    // As many as there is room for, but looking at the receiver's index only if all do not fit without.
                    let count = if producer.write_chunk_uninit(all * frame).is_ok() {
                        all
                    } else {
                        (producer.slots() / frame).min(all)
                    };
                    let mut chunk = producer.write_chunk_uninit(count * frame).expect("so many slots are free");
                    let (first, second) = chunk.as_mut_slices();
                    let mut room = Tail::new(first, second);
                    for payload in payloads.chunks_exact(size).take(count) {
                        frames.write(&mut room, KIND, payload);
                    }
                    assert!(room.is_full());
                    // SAFETY: all of the chunk was written.
                    unsafe { chunk.commit_all() };
                    count
                }
                Self::Socket(_) => unreachable!("sockets have no batches"),
            };
            if sent == 0 {
                spin_loop();
            }
            payloads = &payloads[sent * size..];
        }
    }
}

impl Receiver {
    /// Receives one message into `payload`, replacing what it held.
    #[inline]
    pub fn receive(&mut self, payload: &mut Vec<u8>) {
        match self {
            Self::Ring(consumer, Manner::Spin) => loop {
                match consumer.try_pop(payload) {
                    Ok(_) => return,
                    Err(TryPopError::Empty) => spin_loop(),
                    Err(error) => panic!("{error}"),
                }
            },
            Self::Ring(consumer, Manner::Sleep) => {
                consumer.pop(payload).expect("a living producer");
            }
            Self::Rtrb(consumer, frames) => {
                // The length first, then all of it.
                let length = loop {
                    match consumer.read_chunk(Frames::HEAD) {
                        Ok(chunk) => break Frames::length(chunk.as_slices()),
                        Err(_) => spin_loop(),
                    }
                };
                let chunk = consumer.read_chunk(frames.size(length)).expect("frames are committed whole");
                frames.read(chunk.as_slices(), payload);
                chunk.commit_all();
            }
            Self::Socket(socket) => {
                payload.resize(payload.capacity(), 0);
                let length = socket.read(payload).expect("a socket with another end");
                payload.truncate(length);
            }
        }
    }

    /// Gives the messages that are there to `take`, ours up to [`BATCH`], waiting for the first, and commits them together.
    pub fn receive_batch(&mut self, payload: &mut Vec<u8>, mut take: impl FnMut(&[u8])) -> usize {
        loop {
            let count = match self {
                Self::Ring(consumer, _) => match consumer.pop_batch(BATCH, |_, payload| take(payload)) {
                    Ok(count) => count,
                    Err(TryPopError::Empty) => 0,
                    Err(error) => panic!("{error}"),
                },
                Self::Rtrb(consumer, frames) => {
                    let chunk = consumer.read_chunk(consumer.slots()).expect("so many are there");
                    let (mut slices, mut used, mut count) = (chunk.as_slices(), 0, 0);
                    while slices.0.len() + slices.1.len() > 0 {
                        let size = frames.read(slices, payload);
                        take(payload);
                        slices = after(slices, size);
                        used += size;
                        count += 1;
                    }
                    chunk.commit(used);
                    count
                }
                Self::Socket(_) => unreachable!("sockets have no batches"),
            };
            if count > 0 {
                return count;
            }
            spin_loop();
        }
    }
}

/// Two slices without their first `count` bytes.
fn after<'a>((first, second): (&'a [u8], &'a [u8]), count: usize) -> (&'a [u8], &'a [u8]) {
    match first.get(count..) {
        Some(rest) => (rest, second),
        None => (&second[count - first.len()..], &[]),
    }
}
