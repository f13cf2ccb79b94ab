//! Attaching to a segment, and leaving it.

use super::right::{Holder, Life};
use super::table::{Slot, Table};
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::backing::{Backing, Truncated};
use crate::sync::futex::{ALL, Word, wake};
use crate::sync::robust::{List, Node, NodeError};
use crate::sync::{Waiting, thread};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use std::rc::Rc;

/// A thread's membership in a segment: its slot, and its promise that the kernel tells of its death.
///
/// Cloning gives another handle to the same membership. It stays with its thread (neither `Send` nor `Sync`):
///
/// ```compile_fail
/// fn sends<T: Send>() {}
/// sends::<ownerdead::owner::Attachment>();
/// ```
///
/// When the last handle is dropped the thread leaves, unless it still holds a right: then the slot stays its own until the
/// thread ends, and the kernel tells the others then.
#[derive(Clone, Debug)]
pub struct Attachment {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    id: Holder,
    list: List,
    node: RefCell<Node>,
    epoch: thread::Epoch,
    backing: Backing,
    /// Rights that this membership holds; with any left it must not leave.
    rights: Cell<usize>,
    waiting: Cell<Waiting>,
}

/// FNV-1a, 64 bits, by words.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// Looks at the table before it counts as full though it keeps changing: only a peer that plays with it makes so many.
const MOST_ROUNDS: usize = 1_000;

/// Why a thread could not attach.
#[derive(Debug)]
pub enum AttachError {
    /// Every slot is taken.
    TableFull {
        /// How many slots there are.
        slots: usize,
        /// How many of them are between two states: their threads are moving in or out, or died while they did.
        moving: usize,
    },
    /// The kernel cannot be asked to tell of this thread's death.
    Unsupported(NodeError),
    /// The page that tells a forked child from its parent could not be made.
    Fork(std::io::Error),
    /// The segment's file was truncated.
    Truncated(Truncated),
}

impl core::fmt::Display for AttachError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TableFull { slots, moving } => write!(
                f,
                "all {slots} slots of the segment are taken ({moving} of them by threads that are, or died while, moving in or \
                 out): create it with more slots, or let a thread detach"
            ),
            Self::Unsupported(error) => write!(f, "the kernel cannot tell of this thread's death: {error}"),
            Self::Fork(error) => {
                write!(f, "madvise(MADV_WIPEONFORK) failed: {error}; it needs Linux 4.14, and to be allowed")
            }
            Self::Truncated(truncated) => truncated.fmt(f),
        }
    }
}

impl std::error::Error for AttachError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::TableFull { .. } => None,
            Self::Unsupported(error) => Some(error),
            Self::Fork(error) => Some(error),
            Self::Truncated(truncated) => Some(truncated),
        }
    }
}

/// Why a thread could not detach.
#[derive(Debug)]
pub enum DetachError {
    /// It still holds rights (locks, seats), or other handles to this membership exist. The attachment is given back.
    LiveRights {
        /// The attachment.
        attachment: Attachment,
        /// Rights held.
        rights: usize,
        /// Other handles, those inside producers and consumers included.
        handles: usize,
    },
    /// This is a forked child: the membership is its parent's.
    Forked,
}

impl core::fmt::Display for DetachError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::LiveRights { rights, handles, .. } => write!(
                f,
                "the thread still holds {rights} rights and {handles} other handles to this membership: unlock, close or drop \
                 them first"
            ),
            Self::Forked => write!(f, "this is a forked child, and the membership is its parent's: attach anew"),
        }
    }
}

impl std::error::Error for DetachError {}

/// Why a thread can do nothing by its membership any more.
pub(crate) enum Unusable {
    /// This is a forked child, and it is its parent's.
    Forked,
    /// The segment's file was truncated.
    Truncated(Truncated),
}

impl Attachment {
    /// Takes a slot of `table` for the calling thread.
    ///
    /// # Errors
    /// [`AttachError`].
    pub fn attach(table: &Table) -> Result<Self, AttachError> {
        let epoch = thread::epoch().map_err(AttachError::Fork)?;
        table.backing().check().map_err(AttachError::Truncated)?;
        let list = List::current().map_err(AttachError::Unsupported)?;
        // Full is what two looks in a row agree on, each slot's newest value read: then no slot was free in between. One look
        // alone could meet each slot at a moment when it was taken, though never all at once.
        let mut last_look = None;
        for round in 0..MOST_ROUNDS {
            let mut look = FNV_BASIS;
            for index in 0..table.slots() {
                let slot = table.at(index);
                // Relaxed, here and in every change of a life word: each is a read-modify-write, so it stays in the release sequence
                // of the kernel's mark, which is what `dead` acquires; nothing else is published by it.
                let life = if round == 0 { slot.life().load(Relaxed) } else { slot.life().fetch_or(0, Relaxed) };
                look = (look ^ life).wrapping_mul(FNV_PRIME);
                if !Life(life).can_be_taken() {
                    continue;
                }
                // Before the slot is taken, so that a failure leaks nothing.
                let mut node = Node::new(&list, table.life(index)).map_err(AttachError::Unsupported)?;
                if let Some(id) = take(slot, index, &mut node, &list) {
                    let inner = Inner {
                        table: table.clone(),
                        id,
                        list,
                        node: RefCell::new(node),
                        epoch,
                        backing: table.backing(),
                        rights: Cell::new(0),
                        waiting: Cell::new(Waiting::default()),
                    };
                    return Ok(Self { inner: Rc::new(inner) });
                }
                look = look.wrapping_add(1);
            }
            if round > 0 && last_look.replace(look) == Some(look) {
                break;
            }
        }
        Err(AttachError::TableFull { slots: table.slots(), moving: table.counts().moving })
    }

    /// Leaves the segment.
    ///
    /// # Errors
    /// [`DetachError`], and nothing has changed.
    pub fn detach(self) -> Result<(), DetachError> {
        if !self.is_current() {
            return Err(DetachError::Forked);
        }
        let (rights, handles) = (self.inner.rights.get(), Rc::strong_count(&self.inner) - 1);
        if rights > 0 || handles > 0 {
            return Err(DetachError::LiveRights { attachment: self, rights, handles });
        }
        drop(self);
        Ok(())
    }

    /// Who this is to others.
    pub fn id(&self) -> Holder {
        self.inner.id
    }

    /// The table that this is a membership of.
    pub fn table(&self) -> &Table {
        &self.inner.table
    }

    /// Whether the process that attached is the one that runs. A forked child is not its parent: it holds nothing.
    #[inline(always)]
    pub fn is_current(&self) -> bool {
        self.inner.epoch.is_current()
    }

    /// To be asked by each operation when it begins: whether it can be done at all.
    #[inline(always)]
    pub(crate) fn check(&self) -> Result<(), Unusable> {
        if !self.is_current() {
            return Err(Unusable::Forked);
        }
        self.intact().map_err(Unusable::Truncated)
    }

    /// To be asked by each operation that gives what it has read, or a right, before it does: whether that was read of the segment, and
    /// not of what stands in its place since its file was truncated.
    #[inline(always)]
    pub(crate) fn intact(&self) -> Result<(), Truncated> {
        let intact = self.inner.backing.check();
        if intact.is_err() {
            self.renounce();
        }
        intact
    }

    /// Whether there is nothing to wait for any more: its peers cannot be heard. To be asked between two sleeps.
    #[inline(always)]
    pub(crate) fn is_cut_off(&self) -> bool {
        self.inner.backing.is_gone()
    }

    /// Takes the life word off the thread's robust list: it lies in a page that is gone, at which the kernel's walk would stop, and others
    /// would not hear of this thread's death either.
    #[cold]
    fn renounce(&self) {
        if let Ok(mut linked) = self.inner.node.try_borrow_mut()
            && linked.is_linked()
        {
            linked.unlink();
        }
    }

    /// Rights that this membership holds now.
    pub fn rights(&self) -> usize {
        self.inner.rights.get()
    }

    /// How this thread waits, in each blocking call of each structure that it takes part in by this membership.
    ///
    /// ```
    /// use ownerdead::lock::RobustMutex;
    /// use ownerdead::segment::Options;
    /// use ownerdead::sync::Waiting;
    ///
    /// let mutex = RobustMutex::memfd(&Options::new(), 0u64)?;
    /// let me = mutex.attach()?;
    /// me.set_waiting(Waiting::Spin); // this thread has a processor for itself
    /// *mutex.lock(&me).expect("nobody died") += 1;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_waiting(&self, waiting: Waiting) {
        self.inner.waiting.set(waiting);
    }

    /// How this thread waits.
    pub fn waiting(&self) -> Waiting {
        self.inner.waiting.get()
    }

    /// To be called before a peer is asked for a wake: looks for as long as this thread wants to before it sleeps, and not past
    /// `deadline`. `still` is whether there is anything to wait for, and whether who should end it lives.
    pub(crate) fn spin(&self, deadline: Option<Duration>, mut still: impl FnMut() -> bool) {
        self.waiting().spin(deadline, || !self.is_cut_off() && still());
    }

    pub(crate) fn list(&self) -> &List {
        &self.inner.list
    }

    /// A right was taken.
    #[inline(always)]
    pub(crate) fn right_taken(&self) {
        self.inner.rights.set(self.inner.rights.get() + 1);
    }

    /// A right was given up.
    #[inline(always)]
    pub(crate) fn right_given_up(&self) {
        self.inner.rights.set(self.inner.rights.get() - 1);
    }
}

/// Moves into `slot`, unless somebody else just has. The state JOINING is no TID: a thread that loses the race for the slot,
/// and dies, cannot mark the winner, which may have the same TID in another PID namespace.
fn take(slot: &Slot, index: usize, node: &mut Node, list: &List) -> Option<Holder> {
    let mut life = Life(slot.life().load(Relaxed));
    loop {
        if !life.can_be_taken() {
            return None;
        }
        match slot.life().compare_exchange(life.0, life.joining().0, Relaxed, Relaxed) {
            Ok(_) => break,
            Err(seen) => life = Life(seen),
        }
    }
    node.set_pending();
    let mut life = life.joining();
    let tid = thread::id();
    while let Err(seen) = slot.life().compare_exchange(life.0, life.lived_by(tid).0, Relaxed, Relaxed) {
        // Only WAITERS can have been added.
        life = Life(seen);
    }
    if life.has_waiters() {
        // Those who sleep on the slot's former thread: the one whom the kernel woke may have died before it woke the others.
        wake(Word::Low(slot.life()), ALL);
    }
    node.link();
    list.clear_pending();
    Some(Holder { slot: index as u32, incarnation: life.incarnation() })
}

impl Drop for Inner {
    fn drop(&mut self) {
        if thread::dying() || !self.epoch.is_current() || self.rights.get() > 0 {
            // Dying: the kernel does it. A child: not ours. Live rights: the thread's end must still be told.
            return;
        }
        let node = self.node.get_mut();
        let slot = self.table.at(self.id.slot as usize);
        // LEAVING first, then unlink: with a TID in it, the word must be on the list.
        change(slot, Life::leaving);
        if node.is_linked() {
            node.unlink();
        }
        change(slot, Life::left);
    }
}

/// Changes a life word, and wakes all who sleep on it if some do.
fn change(slot: &Slot, to: impl Fn(Life) -> Life) {
    let mut life = Life(slot.life().load(Relaxed));
    while let Err(seen) = slot.life().compare_exchange(life.0, to(life).0, Relaxed, Relaxed) {
        life = Life(seen);
    }
    if life.has_waiters() {
        wake(Word::Low(slot.life()), ALL);
    }
}
