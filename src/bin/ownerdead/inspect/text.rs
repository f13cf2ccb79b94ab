//! What was seen, for people.

use super::Output;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::HumanBytes;
use ownerdead::inspect::{
    BarrierReport, ChecksumState, CondvarReport, HeaderReport, HolderReport, LockState, MutexReport, OnceReport,
    OnceReportState, ParticipantsReport, RecordReport, Report, RingReport, SeatReport, SeatReportState, SlotReport,
    Thread,
};
use ownerdead::owner::SlotState;
use std::io::{self, Write};

pub fn print(output: &Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let report = &output.report;
    writeln!(out, "{}: {}", output.name.escape_debug(), sentence(report))?;
    for problem in &report.problems {
        writeln!(out, "  problem  {}: found {}, expected {}", problem.field, problem.found, problem.expected)?;
    }
    for note in &report.notes {
        writeln!(out, "  note     {}: {}", note.field, note.says)?;
    }
    let mut facts = facts();
    let file = &output.file;
    let path = output.path.escape_debug();
    let of = format!("mode {}, owner {}:{}, links {}", file.mode, file.uid, file.gid, file.links);
    facts.add_row(["file", &format!("{path}: {}, {of}", bytes(report.length))]);
    if let Some(header) = &report.header {
        facts.add_row(["header", &self::header(header)]);
    }
    if let Some(participants) = &report.participants {
        facts.add_row(["participants", &self::participants(participants)]);
    }
    if let Some(ring) = &report.ring {
        self::ring(&mut facts, ring);
    }
    if let Some(mutex) = &report.mutex {
        self::mutex(&mut facts, mutex);
    }
    condvars(&mut facts, &report.condvars);
    if let Some(once) = &report.once {
        self::once(&mut facts, once);
    }
    if let Some(barrier) = &report.barrier {
        self::barrier(&mut facts, barrier);
    }
    writeln!(out, "{}", facts.trim_fmt())?;
    if let Some(participants) = report.participants.as_ref().filter(|table| !table.slots.is_empty()) {
        writeln!(out, "{}", slots(&participants.slots))?;
    }
    if let Some(listed) = &output.listed_records {
        writeln!(out, "{}", records(listed))?;
        let all = report.ring.as_ref().and_then(|ring| ring.records).map_or(0, |all| all.count + all.padding);
        let left = all.saturating_sub(listed.len() as u64);
        if left > 0 {
            writeln!(out, "and {left} more: --records={all} lists all")?;
        }
    }
    if let Some(dump) = &output.hex {
        writeln!(out, "{}", dump.text())?;
    }
    Ok(())
}

fn facts() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn bytes(count: u64) -> String {
    if count < 1024 { format!("{count} bytes") } else { format!("{count} bytes ({})", HumanBytes(count)) }
}

/// What it is, and whether all is well.
fn sentence(report: &Report) -> String {
    let kind = report.header.as_ref().and_then(|header| header.kind_name);
    let what = kind.unwrap_or("no segment that this program knows");
    match (report.problems.len(), report.notes.len()) {
        (0, 0) => format!("{what}, valid"),
        (0, notes) => format!("{what}, valid; {notes} to note"),
        (problems, 0) => format!("{what}, NOT valid: {problems} found wrong"),
        (problems, notes) => format!("{what}, NOT valid: {problems} found wrong; {notes} to note"),
    }
}

fn header(header: &HeaderReport) -> String {
    let kind = header.kind_name.unwrap_or("unknown");
    let checksum = if header.checksum_valid { "right" } else { "WRONG" };
    format!(
        "magic {}, layout version {}, kind {} ({kind}), {} bytes in all, {} slots at {}, flags {:#x}, body of {} bytes at {}, \
         checksum {} ({checksum})",
        header.magic,
        header.version,
        header.kind,
        header.total,
        header.slots,
        header.slots_offset,
        header.flags,
        header.body_len,
        header.body_offset,
        header.checksum
    )
}

fn participants(table: &ParticipantsReport) -> String {
    let counts = [
        (table.attached, "attached"),
        (table.gone, "of them with a TID that does not exist here"),
        (table.dead, "dead (free to take)"),
        (table.free, "free"),
        (table.joining, "moving in, or leaked"),
        (table.leaving, "moving out, or leaked"),
        (table.retired, "retired"),
        (table.damaged, "DAMAGED"),
    ];
    let some: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    some.join(", ")
}

fn ring(facts: &mut Table, ring: &RingReport) {
    let with = |on, what: &'static str| if on { what } else { "no" };
    let settings = format!(
        "{}, {} checksums, {} wiping",
        bytes(ring.capacity),
        with(ring.checksum, "with"),
        with(ring.wipe, "with")
    );
    facts.add_row(["ring", &settings]);
    let used = match (ring.used, ring.fill_percent) {
        (Some(used), Some(percent)) => format!("{used} bytes in use ({percent:.1} %)"),
        _ => "which cannot be".to_owned(),
    };
    let indices = format!("written to {}, read to {}: {used}", ring.write_index, ring.read_index);
    facts.add_row(["indices", &indices]);
    facts.add_row(["producer", &seat(&ring.producer, "its consumer reads")]);
    facts.add_row(["consumer", &seat(&ring.consumer, "its producer writes")]);
    let records = match ring.records {
        None => "unknown".to_owned(),
        Some(records) => {
            let more = [
                (records.padding, "padding"),
                (records.checksums_wrong, "with a WRONG checksum"),
                (records.read_meanwhile, "bytes read by the consumer meanwhile"),
            ];
            let more = more.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {count} {what}"));
            let end = if records.complete { "" } else { "; what follows the damage cannot be told" };
            format!("{}, {} of payload{}{end}", records.count, bytes(records.payload_bytes), more.collect::<String>())
        }
    };
    facts.add_row(["records", &records]);
}

fn seat(seat: &SeatReport, until: &str) -> String {
    let whose = match (seat.state, &seat.holder) {
        (SeatReportState::Vacant, _) => "vacant".to_owned(),
        (SeatReportState::Alive, Some(holder)) => format!("{} holds it", self::holder(holder)),
        (SeatReportState::Dead, Some(holder)) => {
            format!("{} held it; the next one takes it over", self::holder(holder))
        }
        _ => format!("DAMAGED: {}", seat.right),
    };
    let repair = if seat.inherited { ", taken over and not repaired yet" } else { "" };
    let sleeps = if seat.sleeps { format!(", may sleep until {until}") } else { String::new() };
    format!("{whose}{repair}{sleeps}; generation {}, heartbeat {}", seat.generation, seat.heartbeat)
}

fn holder(holder: &HolderReport) -> String {
    let who = match holder.tid {
        Some(tid) => format!("TID {tid}"),
        None => "a dead thread".to_owned(),
    };
    format!("{who} (slot {}, taking {})", holder.slot, holder.incarnation)
}

fn mutex(facts: &mut Table, mutex: &MutexReport) {
    let state = match (mutex.state, &mutex.holder) {
        (LockState::Free, _) => "free".to_owned(),
        (LockState::Suspect, _) => "free, given up in a panic: the next one is told".to_owned(),
        (LockState::NotRecoverable, _) => "not recoverable: nobody can lock it".to_owned(),
        (LockState::Damaged, _) => "DAMAGED".to_owned(),
        (LockState::Held, Some(holder)) => format!("{} holds it", self::holder(holder)),
        (LockState::Held, None) => "locked; a futex mutex does not say by whom".to_owned(),
        (LockState::OwnerDied, holder) => {
            let who = holder.as_ref().map_or("a dead thread".to_owned(), self::holder);
            format!("{who} held it; the next one is told")
        }
    };
    let inherited = if mutex.inherited { ", had it from a dead one and has not repaired yet" } else { "" };
    let waiters = if mutex.waiters { ", others may sleep on it" } else { "" };
    facts.add_row(["lock", &format!("{state}{inherited}{waiters}; word {}", mutex.word)]);
    let name = mutex.type_name.clone().unwrap_or("a type".to_owned());
    let of_type = format!(
        "{name} of {} bytes, aligned to {}, fingerprint {}, at {}",
        mutex.size, mutex.align, mutex.fingerprint, mutex.value_offset
    );
    facts.add_row(["guards", &of_type]);
}

/// Those that were ever used.
fn condvars(facts: &mut Table, condvars: &[CondvarReport]) {
    for (number, condvar) in condvars.iter().enumerate() {
        let &CondvarReport { notifications, waiters, watchers, owed } = condvar;
        if notifications == 0 && !waiters && !watchers && !owed {
            continue;
        }
        let sleepers = if waiters || watchers { ", some may wait" } else { "" };
        let owed = if owed { ", all are to be woken" } else { "" };
        facts.add_row([&format!("condvar {number}"), &format!("{notifications} notifications{sleepers}{owed}")]);
    }
}

fn once(facts: &mut Table, once: &OnceReport) {
    let who = once.holder.as_ref().map_or("nobody".to_owned(), self::holder);
    let state = match once.state {
        OnceReportState::Vacant => "not initialised".to_owned(),
        OnceReportState::Tried => format!("{who} initialises it"),
        OnceReportState::Died => format!("{who} died initialising it; the next one tries again"),
        OnceReportState::Done => "initialised".to_owned(),
        OnceReportState::Damaged => "DAMAGED".to_owned(),
    };
    let failed = if once.failed > 0 { format!(", {} tries have failed", once.failed) } else { String::new() };
    let waiters = if once.waiters { ", others may sleep on it" } else { "" };
    facts.add_row(["once", &format!("{state}{failed}{waiters}; word {}", once.word)]);
}

fn barrier(facts: &mut Table, barrier: &BarrierReport) {
    let broken = barrier.broken_by.map_or(String::new(), |seat| format!(", broken by the death in seat {seat}"));
    let owed = if barrier.owed { ", all are to be woken" } else { "" };
    facts
        .add_row(["barrier", &format!("{} phases completed{broken}{owed}; word {}", barrier.completed, barrier.phase)]);
    for (number, party) in barrier.parties.iter().enumerate() {
        let who = party.holder.as_ref().map_or("vacant".to_owned(), self::holder);
        let arrived = if party.arrived { ", has arrived" } else { "" };
        facts.add_row([&format!("seat {number}"), &format!("{who}{arrived}; right {}", party.right)]);
    }
}

fn table<const N: usize>(names: [&str; N], numbers: std::ops::Range<usize>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(names);
    for column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn slots(slots: &[SlotReport]) -> Table {
    let mut table = table(["slot", "taking", "TID", "state", "thread", "sleepers", "life word"], 0..3);
    for slot in slots {
        let state = match slot.state {
            SlotState::Free => "free",
            SlotState::Joining => "moving in, or leaked",
            SlotState::Attached => "attached",
            SlotState::Leaving => "moving out, or leaked",
            SlotState::Dead => "dead",
            SlotState::Retired => "retired",
            SlotState::Damaged => "DAMAGED",
        };
        let thread = match &slot.thread {
            Some(Thread::Exists { name: Some(name) }) => name.escape_debug().to_string(),
            Some(Thread::Exists { name: None }) => "exists".to_owned(),
            Some(Thread::Gone) => "no such TID here".to_owned(),
            Some(Thread::Unknown) => "unknown".to_owned(),
            None => String::new(),
        };
        table.add_row([
            slot.slot.to_string(),
            slot.incarnation.to_string(),
            slot.tid.map_or(String::new(), |tid| tid.to_string()),
            state.to_owned(),
            thread,
            if slot.waiters { "perhaps" } else { "no" }.to_owned(),
            slot.life.to_string(),
        ]);
    }
    table
}

fn records(records: &[RecordReport]) -> Table {
    let mut table = table(["position", "offset", "size", "kind", "length", "checksum"], 0..5);
    for record in records {
        let checksum = match record.checksum {
            ChecksumState::Ok => "right",
            ChecksumState::Wrong => "WRONG",
            ChecksumState::None if record.padding => "padding",
            ChecksumState::None => "none",
        };
        let of_record = |number: u32| if record.padding { String::new() } else { number.to_string() };
        table.add_row([
            record.position.to_string(),
            record.offset.to_string(),
            record.size.to_string(),
            of_record(record.kind),
            of_record(record.length),
            checksum.to_owned(),
        ]);
    }
    table
}
