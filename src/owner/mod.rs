//! Who is alive, and who holds what.
//!
//! **What it guarantees.** A right names its holder, and [`Table::dead`] says in one load whether that holder is gone. It is
//! never said of a thread that still runs or is merely stopped; once said, it stays so. A dead holder has stopped writing.
//!
//! **What survives a death.** A thread that ends in any way (SIGKILL, exit, exec, a panic that ends it) has its life word
//! marked by the kernel, which wakes one sleeper; that one wakes the others. A death inside [`Attachment::attach`] or
//! [`Attachment::detach`] may leak one slot, and nothing else.
//!
//! **What it cannot do.** It needs glibc's robust list and 4 KiB pages. A core dump is written before the kernel marks the
//! word. If the thread's robust list is broken by somebody else (a robust mutex unmapped while held, or more than 2048
//! entries in front of ours), the kernel stops before it reaches ours and the death is not noticed. Nor is an `exec` by a thread
//! that is not its process's first: the kernel gives it the first one's TID, and then looks for that in its life word.
//!
//! ```text
//! life word   63 ........ 32 31      30         29 ............ 0
//!             incarnation    WAITERS OWNER_DIED TID, or JOINING / LEAVING, or 0: free or dead
//! right       63 ........ 32 31      30         29   28 .. 12   11 .. 0
//!             incarnation    WAITERS INHERITED  HELD tag        slot     all 0: free
//! claim       63 ........ 32 31      30         29   28 .. 12   11 .. 0
//!             incarnation    WAITERS FILLED     HELD lap        slot     all 0: free, lap 0
//!             lap, high bits WAITERS FILLED     HELD low bits   NOBODY   free or full
//! ```
//!
//! The low half of each is a futex. The high half of a life word grows by one each time its slot is taken, in the same
//! compare-and-swap, so `{slot, incarnation}` names one thread for ever.

mod attachment;
mod claim;
#[cfg(not(model))]
mod image;
mod right;
mod seat;
mod seat_wait;
mod table;
mod wait;

pub(crate) use attachment::Unusable;
pub use attachment::{AttachError, Attachment, DetachError};
pub use claim::{Claim, ClaimFound, ClaimState};
#[cfg(not(model))]
pub use image::{LifeFound, SlotState};
#[cfg(not(model))]
pub(crate) use right::RightState;
pub use right::{Holder, MAX_SLOTS, Right};
#[cfg(not(model))]
pub(crate) use seat::generation;
pub use seat::{Opened, SeatFound, SeatState, SeatWords, Taken};
#[cfg(model)]
pub(crate) use seat_wait::but_for_deaths;
pub(crate) use seat_wait::{AtSeat, SLEEPER, Stop, ask};
pub use table::{Counts, Slot, Table};
pub(crate) use wait::Interrupt;
pub(crate) use wait::{
    TimedOut, finish_waiting, sleep_on_holder, sleep_on_holders, wait_for_holder, wake_those_who_wait_for_the_dead,
    watch_life,
};
