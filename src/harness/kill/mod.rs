//! The kill engine: what is left in shared memory when a process dies at any machine instruction of an operation.
//!
//! What is killed is a [`Subject`]: how a structure is made, who works with it, the operation to die in, what a survivor does
//! then, and what must hold. The code under test is not changed and has no hook; it may be Rust or, through `ownerdead.h`, C.
//!
//! | method | how | what for |
//! |---|---|---|
//! | [`Sweep`], by image | the victim single-steps itself; each new state of the memory, and of what the kernel's exit walk would read, is kept; the walk is applied to a copy, and survivors recover it | every instruction of every operation, each time |
//! | [`Sweep`], by planted death | a breakpoint at the instruction; the victim really dies there, and the kernel walks | keeps the first one honest: both must leave the same bytes at every instruction |
//! | [`Campaign`] | several processes at work, SIGKILL at seeded instants | blocking calls, system calls, peers that live through it |
//!
//! With the feature `symbols`, `code` says in which functions and lines the deaths were, and which instructions a sweep has left out.
//!
//! **What a sweep cannot see.** Its peers stand still while the victim works, but for what [`meanwhile`] has them do when it looks
//! at the clock: interleavings belong to models and campaigns. Of what the kernel does for a dead process it knows the exit walk of
//! the robust list alone; other things that end with a process (file locks, sockets) are gone before the survivor looks, since the
//! victim of a recording has ended too. Memory is what the processor has executed, in order: another processor's view of it belongs
//! to models. The instructions inside the kernel are one step. Time stands still but for its own calls: see [`Subject`]. x86-64 only.

mod board;
mod campaign;
mod cast;
mod clock;
#[cfg(feature = "symbols")]
pub mod code;
mod crowd;
mod engine;
mod facts;
mod instants;
mod lodger;
mod maps;
mod memory;
mod next;
mod nursery;
mod plant;
mod record;
mod round;
mod stacks;
mod step;
mod subject;
mod sweep;
mod tally;
mod trampoline;
mod walk;

pub use crate::harness::finding::Kind;
pub use crate::harness::oracle::Word;
pub use campaign::{Campaign, CampaignReport, Lapse, Survivors, kill_limit};
pub use cast::Cast;
pub use clock::meanwhile;
pub use engine::EngineError;
pub use facts::Facts;
pub use instants::{Decision, Decisions};
pub use memory::Memory;
pub use subject::{Finding, Subject};
pub use sweep::{Death, Found, Method, Place, Sweep, SweepReport};
