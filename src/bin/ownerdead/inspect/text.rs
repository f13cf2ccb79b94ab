//! What was seen, for people.

use super::Output;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use indicatif::HumanBytes;
use ownerdead::inspect::{
    BarrierReport, BroadcastReport, CellReport, ChecksumState, ClaimReport, ClaimsReport, CondvarReport, EntryReport,
    HeaderReport, HolderReport, LanesReport, LockState, LockedReport, MpmcReport, MutexReport, OnceReport,
    OnceReportState, ParticipantsReport, RecordReport, RecordsReport, Report, RingReport, RwLockReport, SeatReport,
    SeatReportState, SemaphoreReport, SlotReport, Thread, ValueState, WriterState,
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
    if let Some(lanes) = &report.lanes {
        self::lanes(&mut facts, lanes);
    }
    if let Some(ring) = &report.claims {
        self::claims(&mut facts, ring);
    }
    if let Some(ring) = &report.locked {
        self::locked(&mut facts, ring);
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
    if let Some(cells) = &report.cells {
        self::cells(&mut facts, cells);
    }
    if let Some(ring) = &report.broadcast {
        self::broadcast(&mut facts, ring);
    }
    if let Some(ring) = &report.mpmc {
        self::mpmc(&mut facts, ring);
    }
    if let Some(rwlock) = &report.rwlock {
        self::rwlock(&mut facts, rwlock);
    }
    if let Some(semaphore) = &report.semaphore {
        self::semaphore(&mut facts, semaphore);
    }
    writeln!(out, "{}", facts.trim_fmt())?;
    if let Some(participants) = report.participants.as_ref().filter(|table| !table.slots.is_empty()) {
        writeln!(out, "{}", slots(&participants.slots))?;
    }
    if let Some(listed) = &output.listed_records {
        writeln!(out, "{}", records(listed))?;
        let of_lanes = report.lanes.iter().flat_map(|ring| &ring.lanes).filter_map(|lane| lane.records);
        let of_mpmc = report.mpmc.as_ref().and_then(|ring| ring.records);
        let of_claims = report.claims.as_ref().and_then(|ring| ring.records);
        let of_locked = report.locked.as_ref().and_then(|ring| ring.records);
        let of_ring = report.ring.as_ref().and_then(|ring| ring.records);
        let found = of_ring.into_iter().chain(of_lanes).chain(of_mpmc).chain(of_claims).chain(of_locked);
        let all: u64 = found.map(|all| all.count + all.padding).sum();
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
    facts.add_row(["indices", &indices(ring.write_index, ring.read_index, ring.used, ring.capacity)]);
    facts.add_row(["producer", &seat(&ring.producer, "its consumer reads")]);
    facts.add_row(["consumer", &seat(&ring.consumer, "its producer writes")]);
    facts.add_row(["records", &counts(ring.records)]);
}

fn lanes(facts: &mut Table, ring: &LanesReport) {
    let with = |on, what: &'static str| if on { what } else { "no" };
    let settings = format!(
        "{} lanes of {}, {} checksums, {} wiping; {} arrivals",
        ring.count,
        bytes(ring.capacity),
        with(ring.checksum, "with"),
        with(ring.wipe, "with"),
        ring.arrivals
    );
    facts.add_row(["ring", &settings]);
    facts.add_row(["consumer", &seat(&ring.consumer, "a producer writes")]);
    for (index, lane) in ring.lanes.iter().enumerate() {
        let says = indices(lane.write_index, lane.read_index, lane.used, ring.capacity);
        facts.add_row([format!("lane {index}"), says]);
        facts.add_row(["  producer", &seat(&lane.producer, "the consumer reads")]);
        facts.add_row(["  records", &counts(lane.records)]);
    }
}

fn claims(facts: &mut Table, ring: &ClaimsReport) {
    let checksums = if ring.checksum { "with" } else { "no" };
    let of = format!("{} in blocks of {}, {checksums} checksums", bytes(ring.capacity), bytes(ring.block));
    facts.add_row(["ring", &of]);
    let mut positions = format!("claimed to {}, read to {}", ring.write_index, ring.read_index);
    if ring.unfreed > 0 {
        positions += &format!(" and {} more, which are not free yet", bytes(ring.unfreed));
    }
    if ring.producers_sleep {
        positions += "; a producer may sleep until there is room";
    }
    facts.add_row(["positions", &positions]);
    facts.add_row(["consumer", &seat(&ring.consumer, "a producer writes")]);
    let writing = format!("{} being written, {} of dead ones, to be skipped", ring.writing, ring.dead);
    facts.add_row(["claims", &writing]);
    for writer in &ring.writers {
        let (whose, no_more) = (holder(&writer.holder), if writer.holder.alive { "" } else { " no more" });
        let says = format!("{whose} writes it{no_more}, {}", bytes(writer.size));
        facts.add_row([&format!("  at {}", writer.position), &says]);
    }
    facts.add_row(["records", &counts(ring.records)]);
}

fn locked(facts: &mut Table, ring: &LockedReport) {
    let with = |on, what: &'static str| if on { what } else { "no" };
    let (checksums, wiping) = (with(ring.checksum, "with"), with(ring.wipe, "with"));
    facts.add_row(["ring", &format!("{}, {checksums} checksums, {wiping} wiping", bytes(ring.capacity))]);
    facts.add_row(["indices", &indices(ring.write_index, ring.read_index, ring.used, ring.capacity)]);
    let turn = &ring.turn;
    let whose = match (turn.state, &turn.holder) {
        (SeatReportState::Vacant, _) => "nobody's".to_owned(),
        (SeatReportState::Alive, Some(holder)) => format!("{} has it", self::holder(holder)),
        (SeatReportState::Dead, Some(holder)) => format!("{} had it; the next one goes on", self::holder(holder)),
        _ => format!("DAMAGED: {}", turn.word),
    };
    let waiters = if turn.waiters { ", others may sleep until it ends" } else { "" };
    let room = if ring.producers_sleep { "; a producer may sleep until there is room" } else { "" };
    let counts = format!("{} taken from the dead, heartbeat {}", turn.takeovers, turn.heartbeat);
    facts.add_row(["turn", &format!("{whose}{waiters}{room}; {counts}")]);
    facts.add_row(["consumer", &seat(&ring.consumer, "a producer writes")]);
    facts.add_row(["records", &self::counts(ring.records)]);
}

fn indices(written: u64, read: u64, used: Option<u64>, capacity: u64) -> String {
    let used = used.map_or("which cannot be".to_owned(), |used| {
        format!("{used} bytes in use ({:.1} %)", used as f64 * 100.0 / capacity as f64)
    });
    format!("written to {written}, read to {read}: {used}")
}

fn counts(records: Option<RecordsReport>) -> String {
    match records {
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
    }
}

fn broadcast(facts: &mut Table, ring: &BroadcastReport) {
    let mode = if ring.lossless { "lossless" } else { "lossy" };
    let checksums = if ring.checksum { "with" } else { "no" };
    let of = format!("{}, {checksums} checksums, {} entries of the index", bytes(ring.capacity), ring.entries);
    facts.add_row(["ring", &format!("{mode}, {of}, {} places for readers", ring.places)]);
    let records = format!("{} written", ring.written);
    let oldest = if ring.lossless { String::new() } else { format!(", the oldest that is there is {}", ring.oldest) };
    facts.add_row(["records", &format!("{records}{oldest}")]);
    facts.add_row(["writer", &seat(&ring.writer, "a reader reads")]);
    for reader in &ring.readers {
        let said = format!("{}; {} behind it", seat(&reader.seat, "the writer writes"), reader.read);
        facts.add_row([&format!("reader {}", reader.place), &said]);
    }
}

fn mpmc(facts: &mut Table, ring: &MpmcReport) {
    let order = if ring.round { "round" } else { "strict" };
    let fate = if ring.drops { "dropped" } else { "delivered again" };
    let checksums = if ring.checksum { "with" } else { "no" };
    let of = format!("{} slots of {}, {checksums} checksums, {order} order", ring.slots, bytes(ring.payload));
    facts.add_row(["ring", &format!("{of}; what a dead consumer was reading is {fate}")]);
    facts.add_row(["positions", &format!("claimed to {}, done with to {}", ring.write_index, ring.read_index)]);
    let states = ring.states;
    let counts = [
        (states.full, "full"),
        (states.writing, "being written"),
        (states.reading, "being read"),
        (states.dead, "of dead ones, to be recovered by who comes by"),
        (states.damaged, "DAMAGED"),
        (states.free, "free"),
    ];
    let some: Vec<_> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    facts.add_row(["slots", &some.join(", ")]);
    for claim in &ring.claims {
        facts.add_row([&format!("slot {}", claim.index), &self::claim(claim)]);
    }
    facts.add_row(["records", &self::counts(ring.records)]);
}

fn claim(claim: &ClaimReport) -> String {
    let what = if claim.reads { "reads" } else { "writes" };
    let whose = match &claim.holder {
        Some(holder) if holder.alive => format!("{} {what} it", self::holder(holder)),
        Some(holder) => format!("{} {what} it no more", self::holder(holder)),
        None => format!("DAMAGED: {}", claim.word),
    };
    if claim.waiters { format!("{whose}, others may sleep until that is done") } else { whose }
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
    let state = lock_state(mutex.state, mutex.holder.as_ref());
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

fn cells(facts: &mut Table, cells: &CellReport) {
    let name = cells.type_name.clone().unwrap_or("a type".to_owned());
    let of_type =
        format!("{name} of {} bytes, aligned to {}, fingerprint {}", cells.size, cells.align, cells.fingerprint);
    facts.add_row(["values", &of_type]);
    let of_keys = format!("{}, {} of them in use, with {} buffers each", cells.keys, cells.in_use, cells.buffers);
    facts.add_row(["keys", &of_keys]);
    for entry in &cells.entries {
        facts.add_row([&format!("key {}", entry.key), &self::entry(entry)]);
    }
    let left = cells.in_use - cells.entries.len() as u64;
    if left > 0 {
        facts.add_row(["", &format!("and {left} more keys in use")]);
    }
}

fn entry(entry: &EntryReport) -> String {
    let value = match entry.progress {
        ValueState::Whole => "whole",
        ValueState::Writing => "being written",
        ValueState::Torn => "its writer died mid-write",
    };
    let writer = match (entry.writer, &entry.holder) {
        (WriterState::Vacant, _) => "nobody has the seat".to_owned(),
        (WriterState::Damaged, _) => "the seat is DAMAGED".to_owned(),
        (WriterState::Dead, Some(holder)) => format!("{} had the seat: the next one is told", self::holder(holder)),
        (_, Some(holder)) => format!("{} has the seat", self::holder(holder)),
        (_, None) => "somebody has the seat".to_owned(),
    };
    let waiters = if entry.waiters { ", others may sleep on it" } else { "" };
    format!(
        "value {} at {}, {value}; {writer}, generation {}{waiters}",
        entry.sequence, entry.buffer_offset, entry.generation
    )
}

fn rwlock(facts: &mut Table, lock: &RwLockReport) {
    let state = match (lock.waiting, &lock.writer) {
        (true, Some(writer)) => format!("{} waits for readers to leave", holder(writer)),
        (_, writer) => lock_state(lock.state, writer.as_ref()),
    };
    let inherited = if lock.inherited { ", had it from a dead one and has not repaired yet" } else { "" };
    let waiters = if lock.waiters { ", others may sleep on it" } else { "" };
    facts.add_row(["writer", &format!("{state}{inherited}{waiters}; word {}", lock.word)]);
    let readers: Vec<_> = lock.readers.iter().map(holder).collect();
    let readers = if readers.is_empty() { "none".to_owned() } else { readers.join("; ") };
    facts.add_row(["readers", &readers]);
    let name = lock.type_name.clone().unwrap_or("a type".to_owned());
    let of_type = format!(
        "{name} of {} bytes, aligned to {}, fingerprint {}, at {}",
        lock.size, lock.align, lock.fingerprint, lock.value_offset
    );
    facts.add_row(["guards", &of_type]);
}

fn semaphore(facts: &mut Table, semaphore: &SemaphoreReport) {
    let SemaphoreReport { permits, held } = semaphore;
    let taken = held.iter().filter(|permit| permit.holder.as_ref().is_none_or(|holder| holder.alive)).count();
    facts.add_row(["permits", &format!("{permits}, of which {taken} are taken")]);
    for permit in held {
        let state = match &permit.holder {
            Some(holder) if holder.alive => format!("{} has it", self::holder(holder)),
            Some(holder) => format!("{} had it: it can be had", self::holder(holder)),
            None => "DAMAGED".to_owned(),
        };
        let waiters = if permit.waiters { ", others may sleep on it" } else { "" };
        facts.add_row([&format!("permit {}", permit.number), &format!("{state}{waiters}; word {}", permit.word)]);
    }
}

fn lock_state(state: LockState, holder: Option<&HolderReport>) -> String {
    match (state, holder) {
        (LockState::Free, _) => "free".to_owned(),
        (LockState::Suspect, _) => "free, given up in a panic: the next one is told".to_owned(),
        (LockState::NotRecoverable, _) => "not recoverable: nobody can lock it".to_owned(),
        (LockState::Damaged, _) => "DAMAGED".to_owned(),
        (LockState::Held, Some(holder)) => format!("{} holds it", self::holder(holder)),
        (LockState::Held, None) => "locked; a futex mutex does not say by whom".to_owned(),
        (LockState::OwnerDied, holder) => {
            let who = holder.map_or("a dead thread".to_owned(), self::holder);
            format!("{who} held it; the next one is told")
        }
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
