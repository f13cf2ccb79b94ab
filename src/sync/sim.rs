//! The model back end: each operation is a crash point, runs on the scheduler's own type, and is written to the log.

use super::{delay, kernel, log, mutant, rt};

pub(super) mod atomic {
    use super::delay::{self, Holds};
    use super::log::{Order, Value};
    use super::mutant::{self, Part};
    use super::{kernel, rt};
    use core::panic::Location;
    use core::ptr::NonNull;
    use core::sync::atomic::Ordering;

    /// Both orderings of a compare-and-swap of `word`.
    #[track_caller]
    fn orderings<T>(word: &T, operation: &'static str, success: Ordering, failure: Ordering) -> (Ordering, Ordering) {
        let at = Location::caller();
        delay::settle(at, operation, Holds::by(success), core::ptr::from_ref(word).addr());
        (
            mutant::ordering(at, operation, Part::Success, success),
            mutant::ordering(at, operation, Part::Failure, failure),
        )
    }

    /// The ordering of an operation on `word`.
    #[track_caller]
    fn ordering<T>(word: &T, operation: &'static str, order: Ordering) -> Ordering {
        let at = Location::caller();
        delay::settle(at, operation, Holds::by(order), core::ptr::from_ref(word).addr());
        mutant::ordering(at, operation, Part::Order, order)
    }

    macro_rules! atomic {
        ($name:ident, $int:ty) => {
            /// An atomic integer in shared memory; see [`core::sync::atomic`] for each method.
            #[derive(Debug)]
            pub struct $name(rt::$name);

            impl Default for $name {
                #[track_caller]
                fn default() -> Self {
                    Self::new(0)
                }
            }

            #[allow(missing_docs, reason = "std's names, std's meanings")]
            impl $name {
                #[track_caller]
                pub fn new(value: $int) -> Self {
                    Self(rt::$name::new(value))
                }
                #[track_caller]
                pub fn load(&self, order: Ordering) -> $int {
                    let order = ordering(&self.0, "load", order);
                    let read = |value: &$int| Value::Is(u64::from(*value));
                    kernel::operation("load", Order::One(order), read, || self.0.load(order))
                }
                #[track_caller]
                pub fn store(&self, value: $int, order: Ordering) {
                    let order = ordering(&self.0, "store", order);
                    let written = |_: &()| Value::Is(u64::from(value));
                    let place = NonNull::from(&self.0);
                    let store = move || {
                        // SAFETY: done at once, it is `self`; put off, it lies in the shared memory of this execution, which is
                        // kept until its end.
                        unsafe { place.as_ref() }.store(value, order);
                    };
                    let at = Location::caller();
                    kernel::operation("store", Order::One(order), written, || {
                        let put_off = delay::put_off(at, "store", place.addr().get(), value.into(), store);
                        if let Err(store) = put_off {
                            store();
                        }
                    })
                }
                #[track_caller]
                pub fn swap(&self, value: $int, order: Ordering) -> $int {
                    let order = ordering(&self.0, "swap", order);
                    let change = |old: &$int| Value::Changed(u64::from(*old), u64::from(value));
                    kernel::operation("swap", Order::One(order), change, || self.0.swap(value, order))
                }
                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    let (success, failure) = orderings(&self.0, "compare_exchange", success, failure);
                    let seen = |result: &Result<$int, $int>| match *result {
                        Ok(old) => Value::Changed(u64::from(old), u64::from(new)),
                        Err(found) => Value::Differs(u64::from(found), u64::from(current)),
                    };
                    kernel::operation("compare_exchange", Order::Two(success, failure), seen, || {
                        self.exchange(current, new, success, failure)
                    })
                }
                #[track_caller]
                pub fn compare_exchange_weak(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    let (success, failure) = orderings(&self.0, "compare_exchange_weak", success, failure);
                    let seen = |result: &Result<$int, $int>| match *result {
                        Ok(old) => Value::Changed(u64::from(old), u64::from(new)),
                        Err(found) => Value::Differs(u64::from(found), u64::from(current)),
                    };
                    kernel::operation("compare_exchange_weak", Order::Two(success, failure), seen, || {
                        if rt::spuriously() {
                            return Err(self.0.load(failure));
                        }
                        self.exchange(current, new, success, failure)
                    })
                }
                /// The scheduler's compare-and-swap reads the newest value. By C11 one that fails may read any value that a load may.
                #[track_caller]
                fn exchange(
                    &self,
                    current: $int,
                    new: $int,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$int, $int> {
                    if mutant::stale() {
                        // Relaxed, and a fence where it fails: one that succeeds has not acquired by its failure's ordering.
                        let seen = self.0.load(Ordering::Relaxed);
                        if seen != current {
                            if failure != Ordering::Relaxed {
                                rt::fence(Ordering::Acquire);
                            }
                            return Err(seen);
                        }
                    }
                    self.0.compare_exchange(current, new, success, failure)
                }
                #[track_caller]
                pub fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                    let order = ordering(&self.0, "fetch_add", order);
                    let change = |old: &$int| Value::Changed(u64::from(*old), u64::from(old.wrapping_add(value)));
                    kernel::operation("fetch_add", Order::One(order), change, || self.0.fetch_add(value, order))
                }
                #[track_caller]
                pub fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                    let order = ordering(&self.0, "fetch_sub", order);
                    let change = |old: &$int| Value::Changed(u64::from(*old), u64::from(old.wrapping_sub(value)));
                    kernel::operation("fetch_sub", Order::One(order), change, || self.0.fetch_sub(value, order))
                }
                #[track_caller]
                pub fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                    let order = ordering(&self.0, "fetch_and", order);
                    let change = |old: &$int| Value::Changed(u64::from(*old), u64::from(*old & value));
                    kernel::operation("fetch_and", Order::One(order), change, || self.0.fetch_and(value, order))
                }
                #[track_caller]
                pub fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                    let order = ordering(&self.0, "fetch_or", order);
                    let change = |old: &$int| Value::Changed(u64::from(*old), u64::from(*old | value));
                    kernel::operation("fetch_or", Order::One(order), change, || self.0.fetch_or(value, order))
                }
                /// The newest value, for the kernel: a compare-and-swap that never succeeds. It conflicts with every operation on
                /// the word, so the explorer tries it before and after each, and nothing can come between it and the next
                /// operation of the simulated kernel.
                #[track_caller]
                pub(in crate::sync) fn kernel_read(&self) -> $int {
                    const NEVER: $int = <$int>::MAX - 0x0bad;
                    kernel::switching(|| {
                        self.0
                            .compare_exchange(NEVER, NEVER, Ordering::Relaxed, Ordering::Relaxed)
                            .unwrap_or_else(|v| v)
                    })
                }
                /// The kernel's own compare-and-swap, a full barrier.
                #[track_caller]
                #[allow(dead_code, reason = "life words are 64 bits wide")]
                pub(in crate::sync) fn kernel_exchange(&self, current: $int, new: $int) -> Result<$int, $int> {
                    kernel::switching(|| self.0.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire))
                }
            }
        };
    }
    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);

    /// See [`core::sync::atomic::fence`].
    #[track_caller]
    pub fn fence(order: Ordering) {
        let order = ordering(&(), "fence", order);
        kernel::operation("fence", Order::One(order), |()| Value::Nothing, || rt::fence(order))
    }

    /// See [`core::sync::atomic::compiler_fence`]. A model runs the source as written, so it does something only where a
    /// store is delayed.
    #[track_caller]
    pub fn compiler_fence(order: Ordering) {
        let at = Location::caller();
        mutant::came_by(at, "compiler_fence");
        delay::settle(at, "compiler_fence", Holds::by(order), 0);
    }
}

pub(super) mod cell {
    use super::delay::{self, Holds};
    use super::log::{Order, Value};
    use super::{kernel, mutant, rt};
    use core::panic::Location;
    use core::ptr::NonNull;
    use core::sync::atomic::Ordering;

    /// Eight bytes of payload; each copy is a crash point, and loom reports races, unless it may be overwritten while it is read.
    #[derive(Debug)]
    pub struct Granule(Place);

    #[derive(Debug)]
    enum Place {
        Guarded(rt::GranuleCell),
        Overwritable(rt::AtomicU64),
    }

    impl Place {
        #[track_caller]
        fn load(&self) -> u64 {
            match self {
                Self::Guarded(cell) => cell.load(),
                Self::Overwritable(word) => word.load(Ordering::Relaxed),
            }
        }
        #[track_caller]
        fn store(&self, value: u64) {
            match self {
                Self::Guarded(cell) => cell.store(value),
                Self::Overwritable(word) => word.store(value, Ordering::Relaxed),
            }
        }
    }

    impl Default for Granule {
        fn default() -> Self {
            Self::new(0)
        }
    }

    impl Granule {
        /// A granule that holds `value`.
        #[track_caller]
        pub fn new(value: u64) -> Self {
            Self(Place::Guarded(rt::GranuleCell::new(value)))
        }
        /// A granule that may be written while it is read; the reader finds that out afterwards.
        #[track_caller]
        pub fn overwritable(value: u64) -> Self {
            Self(Place::Overwritable(rt::AtomicU64::new(value)))
        }
        /// Copies it out.
        #[track_caller]
        pub fn load(&self) -> u64 {
            let at = Location::caller();
            mutant::came_by(at, "payload load");
            delay::settle(at, "payload load", Holds::Nothing, NonNull::from(&self.0).addr().get());
            kernel::operation("payload load", Order::None, |value| Value::Is(*value), || self.0.load())
        }
        /// Copies into it.
        #[track_caller]
        pub fn store(&self, value: u64) {
            let (at, place) = (Location::caller(), NonNull::from(&self.0));
            mutant::came_by(at, "payload store");
            delay::settle(at, "payload store", Holds::Nothing, place.addr().get());
            let store = move || {
                // SAFETY: done at once, it is `self`; put off, it lies in the shared memory of this execution, which is kept until
                // its end.
                unsafe { place.as_ref() }.store(value);
            };
            let written = |_: &()| Value::Is(value);
            kernel::operation("payload store", Order::None, written, || {
                if let Err(store) = delay::put_off(at, "payload store", place.addr().get(), value, store) {
                    store();
                }
            })
        }
    }

    // SAFETY: model threads are coroutines on one OS thread, and loom reports accesses that would race.
    unsafe impl Sync for Granule {}
    // SAFETY: it owns a plain integer.
    unsafe impl Send for Granule {}

    /// A value in shared memory that a lock protects; each time it is reached for is a crash point, and loom reports races.
    #[derive(Debug)]
    pub struct SharedCell<T>(rt::Cell<T>);

    impl<T> SharedCell<T> {
        /// A cell that holds `value`.
        #[track_caller]
        pub fn new(value: T) -> Self {
            Self(rt::Cell::new(value))
        }
        /// For reading.
        #[track_caller]
        pub fn get(&self) -> *const T {
            mutant::came_by(Location::caller(), "guarded read");
            kernel::operation("guarded read", Order::None, |_| Value::Nothing, || self.0.read())
        }
        /// For writing.
        #[track_caller]
        pub fn get_mut(&self) -> *mut T {
            mutant::came_by(Location::caller(), "guarded write");
            kernel::operation("guarded write", Order::None, |_| Value::Nothing, || self.0.write())
        }
    }

    // SAFETY: as for Granule; whoever dereferences the pointers holds the lock.
    unsafe impl<T: Send> Sync for SharedCell<T> {}
    // SAFETY: it owns a `T`.
    unsafe impl<T: Send> Send for SharedCell<T> {}
}

pub(super) mod futex {
    pub(in crate::sync) use super::kernel::{futex_wait as wait_any, futex_wake as wake};
}

pub(super) mod robust {
    use super::kernel;
    use crate::sync::atomic::AtomicU64;
    use crate::sync::shm::Shared;

    /// The robust list of the calling simulated process.
    #[derive(Clone, Copy, Debug)]
    pub struct List(());

    /// Why the kernel cannot be asked to tell of this thread's death. The simulated one always can.
    #[derive(Debug)]
    pub enum NodeError {}

    impl core::fmt::Display for NodeError {
        fn fmt(&self, _: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            match *self {}
        }
    }
    impl std::error::Error for NodeError {}

    impl List {
        /// The list of the calling process.
        ///
        /// # Errors
        /// None in a model.
        pub fn current() -> Result<Self, NodeError> {
            Ok(Self(()))
        }
        /// Names `word` as the operation under way.
        #[track_caller]
        pub fn set_pending(&self, word: &AtomicU64) {
            kernel::set_pending(Some(kernel::Pending { word: word.into(), node: false }));
        }
        /// No operation is under way.
        #[track_caller]
        pub fn clear_pending(&self) {
            kernel::set_pending(None);
        }
    }

    /// A life word that can be on the list.
    #[derive(Debug)]
    pub struct Node {
        word: Shared<AtomicU64>,
        linked: bool,
    }

    impl Node {
        /// A node for `word`.
        ///
        /// # Errors
        /// None in a model.
        pub fn new(_list: &List, word: Shared<AtomicU64>) -> Result<Self, NodeError> {
            Ok(Self { word, linked: false })
        }
        /// Whether it is on the list.
        pub fn is_linked(&self) -> bool {
            self.linked
        }
        /// The pending operation while the process takes its slot.
        #[track_caller]
        pub fn set_pending(&self) {
            kernel::set_pending(Some(kernel::Pending { word: (&*self.word).into(), node: true }));
        }
        /// Puts the word at the front of the list.
        #[track_caller]
        pub fn link(&mut self) {
            kernel::link(&self.word);
            self.linked = true;
        }
        /// Takes the word off the list.
        #[track_caller]
        pub fn unlink(&mut self) {
            kernel::unlink(&self.word);
            self.linked = false;
        }
        /// The life word.
        pub fn word(&self) -> &AtomicU64 {
            &self.word
        }
    }
}

pub(super) mod thread {
    use super::kernel;

    pub use kernel::{dying, tid as id};

    /// Which process this is. No model forks.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Epoch(());

    impl Epoch {
        /// Always.
        pub fn is_current(self) -> bool {
            true
        }
    }

    /// The epoch of the calling process.
    ///
    /// # Errors
    /// None in a model.
    pub fn epoch() -> std::io::Result<Epoch> {
        Ok(Epoch(()))
    }
}

pub(super) mod time {
    pub use super::kernel::now;
}
