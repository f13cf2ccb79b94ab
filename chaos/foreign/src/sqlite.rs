//! SQLite with several writers, each a process with a connection of its own: journal mode WAL, whose index all of them map.
//!
//! Its documentation promises that a transaction is there, whole, or not at all, also after the end of a process in the middle of it, and
//! that nothing committed is lost then, whatever `synchronous` says: that is about power, not about processes. So what is asked of it:
//! each worker's rows in two tables are those that it has committed, and at most the one that it was at; they are the same in both; the
//! database is whole; and nobody waits for the dead.

use crate::files::folder;
use ownerdead::harness::kill::{Facts, Finding, Kind, Memory, Subject, Word};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::SeqCst;
use rusqlite::{Connection, ErrorCode, Row, Transaction, TransactionBehavior};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Two facts each.
pub const MOST_WORKERS: usize = Facts::WORDS / 2;
/// Rows of each worker that are kept.
const KEPT: u64 = 20;
/// Longest payload, in bytes: with pages of 512 bytes a row takes some of them.
const LONGEST: u64 = 1500;
/// Between two tries of a call that finds the database locked. SQLite's own handler waits longer each time, and so there would be fewer kills.
const NAP: Duration = Duration::from_micros(200);
/// Tries, in ten seconds and more. Those who have it are alive, and each of their transactions takes milliseconds.
const TRIES: i32 = 50_000;
/// At one turn in so many the whole database is looked through.
const LOOK_THROUGH: u64 = 64;

/// How a transaction is made to be all or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// Changed pages go to a log, and from there into the database.
    Wal,
    /// It is not. SQLite says that a database is likely to go corrupt then, if a process ends in the middle: so it must be seen.
    Off,
}

/// A database for each time that all begins anew.
pub struct Database {
    journal: Journal,
    folder: TempDir,
    /// Which of them it is now; 0 when all begins anew. Under test is none of this: what is lies in files.
    round: Memory,
    /// How many there were.
    rounds: Memory,
}

fn word(memory: &Memory) -> &AtomicU64 {
    // SAFETY: memory of at least a word, aligned, mapped as long as it is borrowed; any bytes are an atomic.
    unsafe { memory.start().cast::<AtomicU64>().as_ref() }
}

/// A worker's connection, and its number.
pub struct Worker {
    connection: Connection,
    number: usize,
    turns: u64,
}

/// What a worker has begun, and what it has committed.
fn begun_and_ended(facts: &Facts, worker: usize) -> [&Word; 2] {
    [facts.word(2 * worker), facts.word(2 * worker + 1)]
}

/// The row `number` of a worker.
fn payload(worker: usize, number: u64) -> Vec<u8> {
    (0..1 + (number * 97 + worker as u64 * 31) % LONGEST).map(|at| (number ^ at ^ worker as u64) as u8).collect()
}

/// What an error says of the database. A call that waits for longer than anybody works waits for the dead.
fn finding(what: &str, error: &rusqlite::Error) -> Finding {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Kind::Stuck,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Kind::Torn,
        _ => Kind::Other,
    };
    Finding::new(kind, format!("{what}: {error}"))
}

/// For `map_err`.
fn in_(what: &'static str) -> impl Fn(rusqlite::Error) -> Finding {
    move |error| finding(what, &error)
}

impl Database {
    pub fn new(journal: Journal) -> io::Result<Self> {
        let database =
            Self { journal, folder: folder("sqlite")?, round: Memory::zeroed(8)?, rounds: Memory::zeroed(8)? };
        database.make(&database.template()).map_err(io::Error::other)?;
        Ok(database)
    }

    fn template(&self) -> PathBuf {
        self.folder.path().join("template")
    }

    /// An empty database. No connection of this process is open after it: one must not be carried across a fork.
    fn make(&self, path: &Path) -> rusqlite::Result<()> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", 512)?;
        if self.journal == Journal::Wal {
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        }
        for table in ["one", "other"] {
            connection.execute_batch(&format!(
                "CREATE TABLE {table} (worker INTEGER, number INTEGER, payload BLOB, PRIMARY KEY (worker, number)) WITHOUT ROWID"
            ))?;
        }
        connection.close().map_err(|(_, error)| error)
    }

    /// The one that all use now: a copy of the empty one. Those before it are taken away, since nobody who used them lives.
    fn path(&self) -> io::Result<PathBuf> {
        let round = match word(&self.round).load(SeqCst) {
            0 => {
                let next = word(&self.rounds).fetch_add(1, SeqCst) + 1;
                word(&self.round).compare_exchange(0, next, SeqCst, SeqCst).map_or_else(|now| now, |_| next)
            }
            now => now,
        };
        let name = format!("{round}.db");
        let path = self.folder.path().join(&name);
        if path.exists() {
            return Ok(path);
        }
        for entry in fs::read_dir(self.folder.path())? {
            let old = entry?.path();
            let of_now = old.file_name().is_some_and(|old| old.to_string_lossy().starts_with(&name));
            if !of_now && old != self.template() {
                // Another one may have been first.
                let _ = fs::remove_file(old);
            }
        }
        // Whole, or not there: who copies it may be killed.
        let copy = self.folder.path().join(format!("{name}-copy-{}", std::process::id()));
        fs::copy(self.template(), &copy)?;
        match fs::hard_link(&copy, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let _ = fs::remove_file(copy);
        Ok(path)
    }

    fn open(&self, number: usize) -> Result<Worker, Finding> {
        let path = self.path().map_err(|error| Finding::other(format!("making a database: {error}")))?;
        let opened = || {
            let connection = Connection::open(&path)?;
            connection.busy_handler(Some(|tries| {
                std::thread::sleep(NAP);
                tries < TRIES
            }))?;
            connection.pragma_update(None, "synchronous", "off")?;
            match self.journal {
                // Often: a checkpoint is a place to die in, too.
                Journal::Wal => connection.pragma_update(None, "wal_autocheckpoint", 20)?,
                Journal::Off => connection.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?,
            }
            Ok(connection)
        };
        Ok(Worker { connection: opened().map_err(in_("opening it"))?, number, turns: 0 })
    }
}

/// In one table, of each worker that has rows: its last one, its first one, and how many there are.
type Rows = BTreeMap<usize, [u64; 3]>;

fn rows(transaction: &Transaction<'_>, table: &str) -> rusqlite::Result<Rows> {
    let sql = format!("SELECT worker, max(number), min(number), count(*) FROM {table} GROUP BY worker");
    let row = |row: &Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?]));
    transaction.prepare_cached(&sql)?.query_map([], row)?.collect()
}

impl Worker {
    /// The rows of all workers, against what they have begun and committed.
    fn look(&mut self, facts: &Facts) -> Result<(), Finding> {
        let committed = (0..MOST_WORKERS).map(|worker| begun_and_ended(facts, worker)[1].get()).collect::<Vec<_>>();
        let transaction = self.connection.transaction().map_err(in_("BEGIN"))?;
        let both = || Ok([rows(&transaction, "one")?, rows(&transaction, "other")?]);
        let [one, other] = both().map_err(in_("SELECT"))?;
        transaction.commit().map_err(in_("COMMIT of a look"))?;
        if one != other {
            return Err(Finding::torn("half a transaction: one table has rows that the other has not"));
        }
        for (worker, committed) in committed.into_iter().enumerate() {
            let [last, first, count] = one.get(&worker).copied().unwrap_or_default();
            let begun = begun_and_ended(facts, worker)[0].get();
            if last < committed {
                return Err(Finding::lost(format!("{} committed rows of a worker", committed - last)));
            }
            if last > begun {
                return Err(Finding::other(format!("{} rows that a worker has not begun", last - begun)));
            }
            // Without numbers that differ each time, so that the same is counted as the same.
            let (from, kept) = (last.saturating_sub(KEPT - 1).max(u64::from(last > 0)), last.min(KEPT));
            if count < kept {
                return Err(Finding::lost("a row is missing among those that are kept"));
            }
            if (first, count) != (from, kept) {
                return Err(Finding::torn("half a transaction: a new row is there, and the oldest one too"));
            }
        }
        match one.keys().find(|&&worker| worker >= MOST_WORKERS) {
            Some(strange) => Err(Finding::other(format!("rows of a worker {strange}, which there is not"))),
            None => Ok(()),
        }
    }

    /// One more row, in both tables; the oldest one goes.
    fn insert(&mut self, facts: &Facts) -> Result<(), Finding> {
        let number = self.number;
        let [begun, ended] = begun_and_ended(facts, number);
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(in_("BEGIN IMMEDIATE"))?;
        let last = rows(&transaction, "one").map_err(in_("SELECT"))?.get(&number).map_or(0, |[last, ..]| *last);
        for table in ["one", "other"] {
            let sql = format!("SELECT payload FROM {table} WHERE worker = ? AND number = ?");
            let written = |transaction: &Transaction<'_>| -> rusqlite::Result<Vec<u8>> {
                transaction.prepare_cached(&sql)?.query_one((number, last), |row| row.get(0))
            };
            if last > 0 && written(&transaction).map_err(in_("SELECT of a payload"))? != payload(number, last) {
                return Err(Finding::torn("a row is not as it was written"));
            }
        }
        let next = last + 1;
        begun.set(next);
        let changed = || {
            for table in ["one", "other"] {
                let insert = format!("INSERT INTO {table} VALUES (?, ?, ?)");
                transaction.prepare_cached(&insert)?.execute((number, next, payload(number, next)))?;
                let delete = format!("DELETE FROM {table} WHERE worker = ? AND number <= ?");
                transaction.prepare_cached(&delete)?.execute((number, next.saturating_sub(KEPT)))?;
            }
            Ok(())
        };
        changed().map_err(in_("INSERT and DELETE"))?;
        transaction.commit().map_err(in_("COMMIT"))?;
        ended.set(next);
        Ok(())
    }

    /// The whole database, as SQLite sees it.
    fn look_through(&self) -> Result<(), Finding> {
        let said = self.connection.query_one("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match said.map_err(in_("PRAGMA integrity_check"))? {
            said if said == "ok" => Ok(()),
            // What it says differs each time.
            _ => Err(Finding::torn("PRAGMA integrity_check finds the database damaged")),
        }
    }
}

impl Subject for Database {
    type Victim<'s> = Result<Worker, Finding>;
    type Survivor<'s> = Result<Worker, Finding>;

    fn memory(&self) -> &Memory {
        &self.round
    }

    fn attach(&self, facts: &Facts) -> Self::Victim<'_> {
        self.worker(0, facts)
    }

    fn operation(&self, worker: &mut Self::Victim<'_>, facts: &Facts) {
        self.work(worker, facts).expect("nobody has died");
    }

    fn arrive(&self, _: &Facts) -> Self::Survivor<'_> {
        self.open(0)
    }

    fn recover(&self, survivor: &mut Self::Survivor<'_>, facts: &Facts) -> Result<&'static str, Finding> {
        let survivor = survivor.as_mut().map_err(|finding| finding.clone())?;
        survivor.look_through()?;
        survivor.look(facts)?;
        survivor.insert(facts)?;
        Ok("whole, and one more row")
    }

    fn worker(&self, number: usize, _: &Facts) -> Self::Victim<'_> {
        self.open(number)
    }

    fn work(&self, worker: &mut Self::Victim<'_>, facts: &Facts) -> Result<(), Finding> {
        let worker = worker.as_mut().map_err(|finding| finding.clone())?;
        worker.turns += 1;
        if worker.turns % LOOK_THROUGH == 0 {
            worker.look_through()?;
        }
        worker.look(facts)?;
        worker.insert(facts)
    }

    fn explain(&self, _: &Facts) -> String {
        let log = word(&self.round).load(SeqCst);
        let log = fs::metadata(self.folder.path().join(format!("{log}.db-wal"))).map_or(0, |log| log.len());
        format!("the log is {}", if log == 0 { "empty" } else { "not empty" })
    }
}
