//! The bell of a ring's side: its thread is a process of its own, which sleeps at the ring in that side's place.

use ownerdead::harness::model::World;
use ownerdead::owner::Attachment;
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Release;
use ownerdead::sync::futex::{ALL, Word, wake};
use std::rc::Rc;

/// What its thread looks at beside the ring: no longer 0 once the bell is dropped.
#[derive(Clone, Default)]
pub struct Bell(Rc<AtomicU64>);

impl Bell {
    /// For its thread.
    pub fn until(&self) -> &AtomicU64 {
        &self.0
    }

    /// What dropping it does. It has no `Drop`: one that outlives its process must stay as it is.
    pub fn stop(&self) {
        self.0.store(1, Release);
        wake(Word::Low(&self.0), ALL);
    }
}

/// Its thread, before others at this ring come: `watch` sleeps, until there is something or the bell is dropped.
pub fn add_bell(
    world: &mut World,
    name: &'static str,
    attach: impl FnOnce() -> Attachment,
    watch: impl FnOnce(&Attachment, &AtomicU64) + 'static,
) -> Bell {
    let bell = Bell::default();
    let until = bell.clone();
    world.process_after(name, attach, move |me| {
        watch(&me, until.until());
        me
    });
    bell
}
