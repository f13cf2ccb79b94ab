//! Executions whose violation is told of by us, or was before: their panics say nothing by themselves.

use core::cell::{Cell, RefCell};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where the last panic was of which nothing was said.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Ends the silence, however `f` ends.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        QUIET.set(false);
    }
}

/// Where the last panic was of which nothing was said.
pub(super) fn place() -> String {
    PLACE.take().unwrap_or_default()
}

/// Runs `f`; a panic of this thread says nothing meanwhile. Those of other threads (other tests) do.
pub(super) fn quietly<R>(f: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if QUIET.get() {
                PLACE.set(panic.location().map(ToString::to_string));
            } else {
                others(panic);
            }
        }));
    });
    QUIET.set(true);
    let _loud = Loud;
    f()
}
