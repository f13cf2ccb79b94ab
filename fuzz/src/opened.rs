//! Any bytes as a segment: it opens or says why not, and what opens can be used without a panic or a fault.
//!
//! The input is that of [`from_input`].

use crate::files::memfd;
use crate::images::from_input;
use ownerdead::lock::{RobustMutex, TryLockError};
use ownerdead::owner::AttachError;
use ownerdead::ring::spsc::Ring;
use ownerdead::segment::{Kind, Segment};

/// Plays an input.
pub fn play(data: &[u8]) {
    let Some(bytes) = from_input(data) else { return };
    ring(&bytes);
    mutex(&bytes);
}

fn ring(bytes: &[u8]) {
    let opened = Segment::from_fd(memfd(bytes), Kind::SPSC);
    let segment = match opened {
        Ok(segment) => segment,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let ring = match Ring::from_segment(segment) {
        Ok(ring) => ring,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let _ = format!("{:?}", ring.status());
    let me = match ring.attach() {
        Ok(me) => me,
        Err(AttachError::TableFull { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    match ring.producer(&me) {
        Ok(producer) => drop(producer.into_inner().try_push(1, b"pushed")),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ring.consumer(&me) {
        Ok(consumer) => drop(consumer.into_inner().try_pop(&mut Vec::new())),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    me.detach().expect("no rights are left");
}

fn mutex(bytes: &[u8]) {
    let segment = match Segment::from_fd(memfd(bytes), Kind::MUTEX) {
        Ok(segment) => segment,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    // SAFETY: nobody else has the file; its bytes stay as they are but for what this thread does.
    let mutex = match unsafe { RobustMutex::<u64>::from_segment(segment) } {
        Ok(mutex) => mutex,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let me = match mutex.attach() {
        Ok(me) => me,
        Err(AttachError::TableFull { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    match mutex.try_lock(&me) {
        Ok(mut guard) => *guard += u64::from(*guard != u64::MAX),
        Err(TryLockError::OwnerDied(died)) => died.into_guard().mark_consistent(),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    me.detach().expect("no rights are left");
}
