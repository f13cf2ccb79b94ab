//! Rings of ours of any topology, and what a user would take instead for the same work.
//!
//! Rivals carry messages of one size by value. Those of threads cannot cross processes; of the others there is a deque in shared
//! memory, under a mutex of the C library's.

use crate::carriers::{Carrier, Receives, Sends};
use crate::shared::{init_robust, mapped};
use crossbeam_channel::{TryRecvError, TrySendError, bounded};
use crossbeam_queue::ArrayQueue;
use heapless::Deque;
use ownerdead::ring::{Consume, Produce, Topology, TryPopError, TryPushError};
use std::collections::VecDeque;
use std::hint::spin_loop;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

/// Messages that fit into a queue.
pub const PLACES: usize = 1024;

const KIND: u32 = 1;

/// Something that takes messages, or says that there is no room.
pub trait Put: 'static {
    fn try_put(&mut self, payload: &[u8]) -> bool;
}

/// Something that gives messages, or says that there is none.
pub trait Take: 'static {
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool;
}

/// An end that spins until it can go on.
pub struct Spinning<E>(pub E);

impl<E: Put> Sends for Spinning<E> {
    #[inline]
    fn send(&mut self, payload: &[u8]) {
        while !self.0.try_put(payload) {
            spin_loop();
        }
    }
}

impl<E: Take> Receives for Spinning<E> {
    #[inline]
    fn receive(&mut self, payload: &mut Vec<u8>) {
        while !self.0.try_take(payload) {
            spin_loop();
        }
    }
}

/// A side of a ring of ours.
pub struct Ours<S>(S);

impl<P: Produce + 'static> Put for Ours<P> {
    #[inline]
    fn try_put(&mut self, payload: &[u8]) -> bool {
        match self.0.try_push(KIND, payload) {
            Ok(()) => true,
            Err(TryPushError::Full) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<C: Consume + 'static> Take for Ours<C> {
    #[inline]
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool {
        match self.0.try_pop(payload) {
            Ok(_) => true,
            Err(TryPopError::Empty) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What has a sending and a receiving end, of which each process or thread takes its own.
pub trait Queue: Clone + Send + 'static {
    type Put: Put;
    type Take: Take;

    fn sender(&self) -> Self::Put;
    fn receiver(&self) -> Self::Take;

    /// Both, for one thread.
    fn both(&self) -> (Self::Put, Self::Take) {
        (self.sender(), self.receiver())
    }
}

/// A carrier of it, from one side to the other.
pub fn carrier<Q: Queue>(queue: Q) -> Carrier<Spinning<Q::Put>, Spinning<Q::Take>> {
    let other = queue.clone();
    Carrier {
        sender: Box::new(move || Spinning(queue.sender())),
        receiver: Box::new(move || Spinning(other.receiver())),
    }
}

impl<R> Queue for R
where
    R: Topology + Clone + Send + 'static,
    R::Producer: 'static,
    R::Consumer: 'static,
{
    type Put = Ours<R::Producer>;
    type Take = Ours<R::Consumer>;

    fn sender(&self) -> Self::Put {
        let me = self.attach().expect("a free slot");
        Ours(self.producer(&me).expect("a free seat").into_inner())
    }

    fn receiver(&self) -> Self::Take {
        let me = self.attach().expect("a free slot");
        Ours(self.consumer(&me).expect("a free seat").into_inner())
    }

    fn both(&self) -> (Self::Put, Self::Take) {
        let me = self.attach().expect("a free slot");
        let producer = self.producer(&me).expect("a free seat").into_inner();
        let consumer = self.consumer(&me).expect("a free seat").into_inner();
        (Ours(producer), Ours(consumer))
    }
}

/// A queue of somebody else's: each thread has all of it.
#[derive(Clone)]
pub struct Theirs<E>(E);

impl<E: Put + Take + Clone + Send> Queue for Theirs<E> {
    type Put = E;
    type Take = E;

    fn sender(&self) -> E {
        self.0.clone()
    }

    fn receiver(&self) -> E {
        self.0.clone()
    }
}

fn message<const N: usize>(payload: &[u8]) -> [u8; N] {
    payload.try_into().expect("messages have one size")
}

fn give(payload: &mut Vec<u8>, message: &[u8]) {
    payload.clear();
    payload.extend_from_slice(message);
}

/// crossbeam's bounded queue.
pub fn array_queue<const N: usize>() -> Theirs<Arc<ArrayQueue<[u8; N]>>> {
    Theirs(Arc::new(ArrayQueue::new(PLACES)))
}

impl<const N: usize> Put for Arc<ArrayQueue<[u8; N]>> {
    #[inline]
    fn try_put(&mut self, payload: &[u8]) -> bool {
        self.push(message(payload)).is_ok()
    }
}

impl<const N: usize> Take for Arc<ArrayQueue<[u8; N]>> {
    #[inline]
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool {
        self.pop().map(|message| give(payload, &message)).is_some()
    }
}

/// Both ends of a channel of crossbeam's, so that neither finds the other gone.
#[derive(Clone)]
pub struct Channel<const N: usize>(crossbeam_channel::Sender<[u8; N]>, crossbeam_channel::Receiver<[u8; N]>);

/// crossbeam's bounded channel.
pub fn channel<const N: usize>() -> Theirs<Channel<N>> {
    let (sender, receiver) = bounded(PLACES);
    Theirs(Channel(sender, receiver))
}

impl<const N: usize> Put for Channel<N> {
    #[inline]
    fn try_put(&mut self, payload: &[u8]) -> bool {
        match self.0.try_send(message(payload)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<const N: usize> Take for Channel<N> {
    #[inline]
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool {
        match self.1.try_recv() {
            Ok(message) => {
                give(payload, &message);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

type Guarded<const N: usize> = Arc<Mutex<VecDeque<[u8; N]>>>;

/// A mutex around a `VecDeque`, between threads.
pub fn vec_deque<const N: usize>() -> Theirs<Guarded<N>> {
    Theirs(Arc::new(Mutex::new(VecDeque::with_capacity(PLACES))))
}

impl<const N: usize> Put for Guarded<N> {
    #[inline]
    fn try_put(&mut self, payload: &[u8]) -> bool {
        let mut queue = self.lock().expect("nobody panicked");
        let room = queue.len() < PLACES;
        if room {
            queue.push_back(message(payload));
        }
        room
    }
}

impl<const N: usize> Take for Guarded<N> {
    #[inline]
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool {
        let taken = self.lock().expect("nobody panicked").pop_front();
        taken.map(|message| give(payload, &message)).is_some()
    }
}

/// A deque in shared memory, and a robust, process-shared mutex of the C library's that guards it.
#[repr(C)]
struct Place<const N: usize> {
    mutex: libc::pthread_mutex_t,
    deque: Deque<[u8; N], PLACES>,
}

/// A place that processes share. Invariant 1: a mapping of a whole [`Place`], both fields initialised, that is never unmapped.
#[derive(Clone, Copy)]
pub struct SharedDeque<const N: usize>(NonNull<Place<N>>);

// SAFETY: the deque is touched by who has the mutex alone, and holds no pointers; the mutex is any thread's to use (invariant 1).
unsafe impl<const N: usize> Send for SharedDeque<N> {}

/// A mutex around a deque, between processes: what one would write oneself.
pub fn shared_deque<const N: usize>() -> Theirs<SharedDeque<N>> {
    let place = mapped::<Place<N>>();
    // SAFETY: the mapping is long enough and starts on a page, nobody else has it yet, and it is never unmapped.
    unsafe {
        init_robust(&raw mut (*place.as_ptr()).mutex);
        (&raw mut (*place.as_ptr()).deque).write(Deque::new());
    }
    Theirs(SharedDeque(place))
}

impl<const N: usize> SharedDeque<N> {
    #[inline]
    fn locked<T>(&self, work: impl FnOnce(&mut Deque<[u8; N], PLACES>) -> T) -> T {
        let place = self.0.as_ptr();
        // SAFETY: invariant 1.
        assert_eq!(unsafe { libc::pthread_mutex_lock(&raw mut (*place).mutex) }, 0, "nobody died");
        // SAFETY: invariant 1; this thread has the mutex, and the reference is gone before the unlock.
        let result = work(unsafe { &mut (*place).deque });
        // SAFETY: as for the lock.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(&raw mut (*place).mutex) }, 0);
        result
    }
}

impl<const N: usize> Put for SharedDeque<N> {
    #[inline]
    fn try_put(&mut self, payload: &[u8]) -> bool {
        self.locked(|deque| deque.push_back(message(payload)).is_ok())
    }
}

impl<const N: usize> Take for SharedDeque<N> {
    #[inline]
    fn try_take(&mut self, payload: &mut Vec<u8>) -> bool {
        let taken = self.locked(Deque::pop_front);
        taken.map(|message| give(payload, &message)).is_some()
    }
}
