//! The robust list that the C library registered for this thread, with one more node on it.
//!
//! The kernel walks it when the thread ends. It is the C library's: `pthread_mutex_lock` of a robust mutex pushes at its
//! front and `unlock` takes out of its middle, by the double links. So ours keeps those links as glibc does, at glibc's
//! own distance between a word and its node (`futex_offset`, -32: the word at 0, `prev` at 24, `next` at 32).
//!
//! The word is in shared memory, the links must not be where a peer can write them, so each node has a mapping of its own:
//!
//! ```text
//!   page of the slot (shared)            private page
//!   0 ............... 4080 .... 4096 | 4096 . 4104 . 4112 .......
//!                     ^ life word             ^prev  ^next
//! ```

use super::atomic::AtomicU64;
use crate::sync::robust::WORD_OFFSET;
use crate::sync::shm::Shared;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, compiler_fence};
use std::io;

/// From a word to the `next` link of its node, in bytes.
const WORD_TO_LINK: usize = 32;
/// From a `next` link back to the `prev` link before it, in bytes; also before the list's head, in glibc's descriptor.
const LINK_TO_PREV: usize = 8;
/// Bit 0 of a link marks a priority-inheriting mutex.
const PI: usize = 1;
const PAGE: usize = 4096;

/// `struct robust_list_head` of the kernel's ABI. Links are addresses of `next` links.
#[repr(C)]
struct Head {
    first: usize,
    futex_offset: isize,
    pending: usize,
}

/// The robust list of the calling thread.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Invariant 1: the head that the C library registered for the thread that made this value; it lives as long as the
    /// thread. The pointer makes the type `!Send`, so only that thread uses it.
    head: NonNull<Head>,
}

/// Why the kernel cannot be asked to tell of this thread's death.
#[derive(Debug)]
pub enum NodeError {
    /// The C library has registered no robust list for this thread, or one of another shape. glibc is supported; musl, which
    /// registers late and replaces the list's head, is not.
    UnsupportedLibc {
        /// The offset from a node to its word that was found; `None` if there is no list.
        found: Option<isize>,
    },
    /// The page size is not 4096 bytes.
    PageSize {
        /// The page size found, in bytes.
        found: usize,
    },
    /// A system call failed.
    Os {
        /// Which one.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
}

impl core::fmt::Display for NodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::UnsupportedLibc { found } => {
                write!(f, "the C library's robust list is not glibc's: ")?;
                match found {
                    Some(offset) => write!(f, "found word offset {offset}, expected -32; use a glibc target"),
                    None => write!(f, "found none registered for this thread; use a glibc target"),
                }
            }
            Self::PageSize { found } => write!(f, "found pages of {found} bytes, expected 4096"),
            Self::Os { call, source } => {
                write!(f, "{call} failed: {source}; if a limit or a seccomp filter refuses it, allow it")
            }
        }
    }
}

impl std::error::Error for NodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Os { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The address of the head that is registered for the calling thread; 0 if there is none. It may be anything: the kernel takes a
/// thread's word for it. One system call, `get_robust_list`, which allocates nothing.
pub fn head() -> usize {
    registered().map_or(0, |(head, _)| head.addr())
}

/// The head that is registered for the calling thread, and its length in bytes; `None` if the kernel does not say.
fn registered() -> Option<(*mut Head, usize)> {
    let mut head: *mut Head = core::ptr::null_mut();
    let mut length = 0usize;
    // SAFETY: both are valid to write to; PID 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &mut head, &mut length) };
    (result == 0).then_some((head, length))
}

impl List {
    /// The list of the calling thread. One system call, `get_robust_list`.
    ///
    /// # Errors
    /// [`NodeError`], where there is none or it is not glibc's.
    pub fn current() -> Result<Self, NodeError> {
        // SAFETY: no pointer is involved.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        if page != PAGE {
            return Err(NodeError::PageSize { found: page });
        }
        let Some((head, length)) = registered() else {
            return Err(NodeError::Os { call: "get_robust_list", source: io::Error::last_os_error() });
        };
        // A kernel that was given a head of another length would not have taken it.
        let Some(head) = NonNull::new(head).filter(|_| length == size_of::<Head>()) else {
            return Err(NodeError::UnsupportedLibc { found: None });
        };
        // SAFETY: the kernel was given this head by the thread's C library, which keeps it for the thread's life.
        let offset = unsafe { (*head.as_ptr()).futex_offset };
        if offset != -(WORD_TO_LINK as isize) || cfg!(not(target_env = "gnu")) {
            return Err(NodeError::UnsupportedLibc { found: Some(offset) });
        }
        Ok(Self { head })
    }

    /// Names `word` as the operation under way: should the thread end now, the kernel wakes one sleeper of its low half if no
    /// TID is in it, and marks it if this thread's TID is.
    #[inline]
    pub fn set_pending(&self, word: &AtomicU64) {
        self.store_pending(word.address() as usize + WORD_TO_LINK);
    }

    /// No operation is under way.
    #[inline]
    pub fn clear_pending(&self) {
        self.store_pending(0);
    }

    fn store_pending(&self, link: usize) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: invariant 1. Volatile, since the kernel reads it at any moment; the two fences keep the compiler from moving
        // shared stores across it (the processor needs none: this very thread's end comes after its own stores).
        unsafe { (&raw mut (*self.head.as_ptr()).pending).write_volatile(link) };
        compiler_fence(Ordering::SeqCst);
    }
}

/// A life word on this thread's robust list. Dropping it unmaps its pages, so it must have been unlinked.
#[derive(Debug)]
pub struct Node {
    list: List,
    /// Invariant 2: start of a mapping of two pages, the first an alias of the page of the life word, the second private.
    pages: NonNull<u8>,
    /// Keeps the aliased segment from being unmapped first.
    word: Shared<AtomicU64>,
    linked: bool,
}

impl Node {
    /// Makes the private mapping for `word`, which must lie at [`WORD_OFFSET`] of a page of a shared mapping.
    ///
    /// # Errors
    /// [`NodeError::Os`], where a mapping fails: `mremap` refuses a page that is not shared.
    pub fn new(list: &List, word: Shared<AtomicU64>) -> Result<Self, NodeError> {
        let os = |call| NodeError::Os { call, source: io::Error::last_os_error() };
        let address = word.address() as usize;
        if address % PAGE != WORD_OFFSET {
            return Err(NodeError::Os { call: "placing the life word", source: io::ErrorKind::InvalidInput.into() });
        }
        // SAFETY: a new anonymous mapping, at a place that the kernel chooses.
        let pages = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if pages == libc::MAP_FAILED {
            return Err(os("mmap"));
        }
        // SAFETY: with an old size of 0 it maps the (shared) page a second time; the fixed place is the first page of the
        // mapping above, which is ours and which nothing refers to.
        let alias = unsafe {
            libc::mremap(
                (address - WORD_OFFSET) as *mut libc::c_void,
                0,
                PAGE,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                pages,
            )
        };
        if alias == libc::MAP_FAILED {
            let error = os("mremap");
            // SAFETY: the mapping above, which nothing refers to. (A failed mremap may have unmapped its first page already.)
            unsafe { libc::munmap(pages, 2 * PAGE) };
            return Err(error);
        }
        let pages = NonNull::new(pages.cast()).expect("mmap gives no null page");
        Ok(Self { list: *list, pages, word, linked: false })
    }

    /// Address of the node's `next` link, which is what links point to.
    fn link_address(&self) -> usize {
        self.pages.as_ptr() as usize + WORD_OFFSET + WORD_TO_LINK
    }

    /// Whether it is on the list.
    pub fn is_linked(&self) -> bool {
        self.linked
    }

    /// The pending operation while the thread takes its slot: the life word itself, through this node's mapping.
    pub fn set_pending(&self) {
        self.list.store_pending(self.link_address());
    }

    /// Puts the word at the front of the list: from here on the kernel marks it when the thread ends.
    pub fn link(&mut self) {
        debug_assert!(!self.linked);
        let (head, link) = (self.list.head.as_ptr(), self.link_address());
        // SAFETY: `head` by invariant 1. `link` and the `prev` before it are in our private page (invariant 2). The first link
        // is the head itself or a node that the C library or we put there and keep valid while linked; the C library's own
        // code writes the same `prev` when it pushes. Only this thread changes this list. Volatile and fenced, since the kernel
        // may walk the list after any instruction: the node is complete before the head names it.
        unsafe {
            let first = (&raw const (*head).first).read_volatile();
            (link as *mut usize).write_volatile(first);
            ((link - LINK_TO_PREV) as *mut usize).write_volatile(head as usize);
            (((first & !PI) - LINK_TO_PREV) as *mut usize).write_volatile(link);
            compiler_fence(Ordering::SeqCst);
            (&raw mut (*head).first).write_volatile(link);
        }
        compiler_fence(Ordering::SeqCst);
        self.linked = true;
    }

    /// Takes the word off the list.
    pub fn unlink(&mut self) {
        debug_assert!(self.linked);
        let link = self.link_address();
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as in `link`; our node is on the list, so its neighbours are the head or live nodes, and the C library keeps
        // our `prev` and `next` right when it pushes before us or takes a neighbour out.
        unsafe {
            let next = (link as *const usize).read_volatile();
            let prev = ((link - LINK_TO_PREV) as *const usize).read_volatile();
            (((next & !PI) - LINK_TO_PREV) as *mut usize).write_volatile(prev);
            ((prev & !PI) as *mut usize).write_volatile(next);
        }
        compiler_fence(Ordering::SeqCst);
        self.linked = false;
    }

    /// The life word.
    pub fn word(&self) -> &AtomicU64 {
        &self.word
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.linked {
            // The thread still owes its death notice to its peers: the mapping stays until the thread ends.
            return;
        }
        // SAFETY: invariant 2; nothing else refers to the mapping, since the node is not linked.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), 2 * PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `List::current` says in a thread for which this head is registered, as its C library would have done.
    fn with_head(head: *mut Head) -> Result<List, NodeError> {
        let glibcs = List::current().expect("a glibc thread").head;
        let register = |head: *mut Head| {
            // SAFETY: the head is null, or valid until the thread's own is registered again, below.
            assert_eq!(unsafe { libc::syscall(libc::SYS_set_robust_list, head, size_of::<Head>()) }, 0);
        };
        register(head);
        let found = List::current();
        register(glibcs.as_ptr());
        found
    }

    /// The text is part of `docs/errors.md`.
    fn is_documented(error: &NodeError) {
        assert!(include_str!("../../docs/errors.md").contains(&error.to_string()), "{error}");
    }

    #[test]
    fn a_robust_list_as_musl_registers_it_is_refused() {
        // musl's word lies 28 bytes before the link; its empty list points at itself, as glibc's does.
        let mut head = Head { first: 0, futex_offset: -28, pending: 0 };
        head.first = &raw const head as usize;
        let error = with_head(&mut head).expect_err("musl's list");
        assert!(matches!(error, NodeError::UnsupportedLibc { found: Some(-28) }), "{error}");
        is_documented(&error);
    }

    #[test]
    fn a_thread_whose_c_library_has_registered_no_list_yet_is_refused() {
        let error = with_head(core::ptr::null_mut()).expect_err("no list");
        assert!(matches!(error, NodeError::UnsupportedLibc { found: None }), "{error}");
        is_documented(&error);
    }

    #[test]
    fn a_list_as_glibc_registers_it_is_taken() {
        let mut head = Head { first: 0, futex_offset: -32, pending: 0 };
        head.first = &raw const head as usize;
        let list = with_head(&mut head).expect("glibc's shape");
        assert_eq!(list.head.as_ptr(), &raw mut head);
    }

    #[test]
    fn a_word_that_is_not_at_its_place_in_a_shared_page_is_refused() {
        let list = List::current().unwrap();
        let error = Node::new(&list, Shared::new(AtomicU64::new(0))).unwrap_err();
        assert!(matches!(error, NodeError::Os { .. }), "{error}");
    }
}
