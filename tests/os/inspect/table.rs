//! The participants' table.

use super::{bytes, fields, look, look_at, noted, set, word};
use crate::process::{Gate, for_ever, spawn};
use ownerdead::inspect::{Thread, inspect};
use ownerdead::owner::SlotState;
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::Options;

fn ring(slots: u32) -> Ring {
    Ring::memfd(&Options::new().slots(slots), &Config::new(4096)).unwrap()
}

const LIFE: usize = 4096 + 4080;
const JOINING: u64 = 1 << 29 | 1;
const LEAVING: u64 = 1 << 29 | 2;

#[test]
fn attached_and_dead_threads_are_told_apart() {
    let ring = ring(4);
    let me = ring.attach().unwrap();
    let attached = Gate::new();
    let mut victim = spawn(|| {
        let _me = ring.attach().unwrap();
        attached.open();
        for_ever();
    });
    attached.wait();
    let table = look_at(ring.segment()).participants.unwrap();
    assert_eq!((table.attached, table.free, table.dead), (2, 2, 0));
    victim.kill();
    let report = look_at(ring.segment());
    assert!(report.is_valid());
    let table = report.participants.unwrap();
    assert_eq!((table.attached, table.free, table.dead), (1, 2, 1));
    assert_eq!(table.slots.len(), 2);
    let (mine, its) = (&table.slots[0], &table.slots[1]);
    assert_eq!((mine.slot, mine.state, mine.incarnation), (me.id().slot, SlotState::Attached, 1));
    assert_eq!(mine.tid, Some(ownerdead::sync::thread::id()));
    assert_eq!((its.state, its.tid, its.incarnation), (SlotState::Dead, None, 1));
}

#[test]
fn a_full_table_is_noted() {
    let ring = ring(2);
    let one = ring.attach().unwrap();
    assert_eq!(noted(&look_at(ring.segment())), [""; 0]);
    let two = ring.attach().unwrap();
    let report = look_at(ring.segment());
    assert_eq!((fields(&report), noted(&report)), (vec![], vec!["participants"]));
    drop((one, two));
    assert_eq!(noted(&look_at(ring.segment())), [""; 0]);
}

#[test]
fn leaked_slots_are_counted_and_noted() {
    let ring = ring(3);
    let mut image = bytes(ring.segment());
    set(&mut image, LIFE, 1 << 32 | JOINING);
    set(&mut image, LIFE + 4096, 1 << 32 | LEAVING);
    let report = look(&image.as_slice());
    assert_eq!((fields(&report), noted(&report)), (vec![], vec!["slot[0].life", "slot[1].life"]));
    let table = report.participants.unwrap();
    assert_eq!((table.joining, table.leaving, table.free), (1, 1, 1));
    assert!(report.notes.iter().all(|note| note.says.contains("leaked")));
}

#[test]
fn a_tid_that_does_not_exist_is_noted() {
    let ring = ring(3);
    let _me = ring.attach().unwrap();
    let mut image = bytes(ring.segment());
    set(&mut image, LIFE + 4096, 1 << 32 | 4711);
    let mine = ownerdead::sync::thread::id();
    let exists = |tid| if tid == mine { Thread::Exists { name: None } } else { Thread::Gone };
    let report = inspect(&image.as_slice(), exists, |_| ());
    assert_eq!((fields(&report), noted(&report)), (vec![], vec!["slot[1].life"]));
    assert!(report.notes[0].says.contains("no thread 4711"), "{:?}", report.notes);
    let table = report.participants.unwrap();
    assert_eq!((table.attached, table.gone), (2, 1));
}

#[test]
fn a_retired_slot_is_noted_and_a_damaged_one_is_a_problem() {
    let ring = ring(4);
    let mut image = bytes(ring.segment());
    set(&mut image, LIFE, u64::from(u32::MAX) << 32);
    set(&mut image, LIFE + 4096, 1 << 29 | 7);
    set(&mut image, LIFE + 2 * 4096, 4711);
    set(&mut image, 4096 + 3 * 4096, 5);
    let report = look(&image.as_slice());
    assert_eq!(fields(&report), ["slot[1].life", "slot[2].life", "slot[3].gate"]);
    assert_eq!(noted(&report), ["slot[0].life"]);
    let table = report.participants.unwrap();
    assert_eq!((table.retired, table.damaged, table.free), (1, 2, 1));
    assert_eq!(word(&image, LIFE), u64::from(u32::MAX) << 32);
}
