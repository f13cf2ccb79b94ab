//! Memory runs out. A small /dev/shm is full: making a segment gives the clean error, those that exist work on, and creators that are
//! killed meanwhile leave no room taken. A control group's limit kills a holder: that is told like any death.

use super::holder;
use super::{Pair, ZERO};
use crate::stage::Stage;
use crate::stage::cgroup::{Cgroup, Limit};
use crate::stamps::{Phase, Stamps, shared};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use ownerdead::lock::{LockTimeoutError, RobustMutex};
use ownerdead::owner::Attachment;
use ownerdead::ring::spsc::{Config, PopTimeoutError, Ring, RingError};
use ownerdead::segment::{CreateError, Options, Segment};
use std::io;
use std::time::Duration;

/// Bytes of the small /dev/shm.
const ROOM: usize = 512 << 10;
/// Bytes of the control group: a victim has some hundred thousand of its own.
const LIMIT: u64 = 16 << 20;
/// Rounds with a full /dev/shm for one by the limit, which takes the kernel some milliseconds.
const ROUNDS: u64 = 8;

const COMPLAINTS: [&str; 1] = ["a segment was refused otherwise than for want of room"];

pub fn run(stage: &mut Stage) {
    let mut small = match private_shm() {
        Ok(()) => Some(Small::new(stage)),
        Err(error) => {
            stage.not_run(
                "a full /dev/shm",
                &format!("no file system can be mounted in a namespace of its own: {error}"),
            );
            None
        }
    };
    let group = match Cgroup::new(stage, &Limit::Memory(LIMIT)) {
        Ok(group) => Some(group),
        Err(why) => {
            stage.not_run("a limit on memory", &why);
            None
        }
    };
    let stamps = shared(4);
    if small.is_none() && group.is_none() {
        return;
    }
    for round in 0.. {
        if !stage.goes_on() {
            break;
        }
        if let Some(small) = &mut small {
            small.round(stage, stamps);
        }
        if let Some(group) = &group
            && (small.is_none() || round % ROUNDS == 0)
        {
            by_limit(stage, &stamps[0], group);
        }
    }
}

/// A small /dev/shm that this process and its children alone see, and that is gone with them.
fn private_shm() -> io::Result<()> {
    let (user, group) = (nix::unistd::getuid(), nix::unistd::getgid());
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let mount = |kind: Option<&std::ffi::CStr>, place: &std::ffi::CStr, flags, data: Option<&std::ffi::CStr>| {
        let pointer = |text: Option<&std::ffi::CStr>| text.map_or(std::ptr::null(), |text| text.as_ptr());
        // SAFETY: each pointer is null or a C string that outlives the call.
        let done = unsafe { libc::mount(c"none".as_ptr(), place.as_ptr(), pointer(kind), flags, pointer(data).cast()) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE, None)?;
    let data = std::ffi::CString::new(format!("size={ROOM},mode=1777")).expect("no zero byte");
    mount(Some(c"tmpfs"), c"/dev/shm", 0, Some(&data))
}

/// A small /dev/shm with a mutex in it that is at work.
struct Small {
    mutex: RobustMutex<Pair>,
    me: Attachment,
    /// Blocks that are free with nothing there but the mutex.
    free: u64,
}

impl Small {
    fn new(stage: &mut Stage) -> Self {
        let mutex = RobustMutex::create("/ownerdead-chaos", &Options::new().slots(64), ZERO).expect("room");
        stage.watch(&[("mutex", mutex.segment())]);
        let me = mutex.attach().expect("a free slot");
        Self { mutex, me, free: free() }
    }

    /// A creator fills what is left, again and again, and is killed; a locker works in the full file system, and is killed.
    fn round(&mut self, stage: &mut Stage, stamps: &'static [Stamps]) {
        for stamps in stamps {
            stamps.reset();
        }
        stamps[0].signal.set(0);
        if self.mutex.table().counts().moving > 32 {
            Segment::unlink("/ownerdead-chaos").expect("its name");
            *self = Self::new(stage);
        }
        let (mutex, everybody) = (&self.mutex, &stamps[3]);
        everybody.signal.set(0);
        let mut creator = stage.spawn("creator", &stamps[0], || create(&stamps[0]));
        stage.wait_for("a full /dev/shm", || stamps[0].signal.get() != 0);
        let mut locker = stage.spawn("locker", &stamps[1], || holder::work(mutex, &stamps[1], everybody, 1));
        let before = stamps[1].ended.get();
        stage.wait_for("a locker in a full /dev/shm", || {
            stamps[1].ended.get() > before + 50 || stamps[1].wrong.get() != 0
        });
        stage.pause(Duration::from_micros(300));
        let both = [&mut creator, &mut locker];
        both.iter().for_each(|victim| victim.strike());
        for (victim, stamps) in both.into_iter().zip(stamps) {
            stage.dies(victim, stamps);
        }
        stage.hear(&stamps[0], &COMPLAINTS);
        stage.hear(&stamps[1], &holder::COMPLAINTS);
        if let Err((code, found)) = holder::locked(mutex, &self.me, everybody, 9, 1, |_| {}) {
            stage.finding(&format!("the stage: {}: {found}", holder::COMPLAINTS[code as usize - 1]));
        }
        self.look(stage);
        stage.cases += 1;
    }

    /// What a killed creator has left: whole segments, and no room that is taken by nothing.
    fn look(&self, stage: &mut Stage) {
        for file in std::fs::read_dir("/dev/shm").expect("/dev/shm").flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name == "ownerdead-chaos" {
                continue;
            }
            if let Err(error) = Ring::open(&name) {
                stage.finding(&format!("a killed creator has left {name}, which is no whole segment: {error}"));
            }
            Segment::unlink(&name).expect("a name that was just read");
        }
        let free = free();
        stage.expect(free == self.free, || {
            format!("{free} blocks are free, expected {}: the dead take the rest", self.free)
        });
    }
}

fn free() -> u64 {
    // SAFETY: an all-zero statvfs is a valid one.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a C string, and a place to write to.
    assert_eq!(unsafe { libc::statvfs(c"/dev/shm".as_ptr(), &mut found) }, 0, "statvfs");
    found.f_bfree
}

/// The victim: makes segments of all sizes until there is no more room, takes some away, and goes on so.
fn create(stamps: &Stamps) {
    stamps.enter(Phase::Attaching);
    let name = |number: u32| format!("/ownerdead-chaos-{number}");
    for turn in 0.. {
        for number in 0..64u32 {
            let options = Options::new().slots(1 + number % 3);
            stamps.enter(Phase::Opening);
            match Ring::create(&name(number), &options, &Config::new(4096 << (number % 4))) {
                Ok(ring) => match ring.attach() {
                    Ok(_) => {}
                    Err(_) => return stamps.complain(1, number.into(), 1),
                },
                Err(RingError::Create(CreateError::NoSpace { .. } | CreateError::NoMoreFiles)) => break,
                Err(RingError::Create(CreateError::Exists { .. })) => {}
                Err(_) => return stamps.complain(1, number.into(), 0),
            }
            stamps.ended.add(1);
        }
        stamps.signal.set(1);
        for number in (turn % 2..64).step_by(2) {
            let _ = Segment::unlink(&name(number));
        }
    }
}

/// A holder and producer takes memory until its control group's limit kills it.
fn by_limit(stage: &mut Stage, stamps: &'static Stamps, group: &Cgroup) {
    let options = Options::new().slots(4);
    let mutex = RobustMutex::memfd(&options, ZERO).expect("a mutex");
    let ring = Ring::memfd(&options, &Config::new(4096)).expect("a ring");
    let me = [mutex.attach(), ring.attach()].map(|me| me.expect("a free slot"));
    let mut consumer = ring.consumer(&me[1]).expect("a vacant seat").into_inner();
    stamps.reset();
    let mut victim = stage.spawn("process over its limit", stamps, || {
        group.enter();
        stamps.enter(Phase::Attaching);
        let me = [mutex.attach(), ring.attach()].map(|me| me.expect("a free slot"));
        let _guard = mutex.lock(&me[0]).expect("a free lock");
        let mut producer = ring.producer(&me[1]).expect("a vacant seat").into_inner();
        producer.push(1, b"kept").expect("room");
        stamps.enter(Phase::Holding);
        take_memory();
    });
    match stage.end_of(&mut victim, "a process over its limit") {
        // Nobody else sends it.
        Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => stage.killed(stamps),
        Some(other) => stage.finding(&format!("a limit on memory was to kill it: {other:?}")),
        None => return,
    }
    match mutex.lock_timeout(&me[0], crate::stage::hang()) {
        Err(LockTimeoutError::OwnerDied(died)) => died.into_guard().mark_consistent(),
        Ok(_) => stage.finding("a holder died of a limit on memory, and the next one was not told"),
        Err(error) => stage.finding(&format!("after a holder's death of a limit on memory: {error}")),
    }
    let mut bytes = Vec::new();
    let popped = [0, 1].map(|_| consumer.pop_timeout(&mut bytes, crate::stage::hang()));
    stage.expect(popped == [Ok(1), Err(PopTimeoutError::ProducerDied)], || {
        format!("after a producer's death of a limit on memory: {popped:?}, expected a record and ProducerDied")
    });
    stage.cases += 1;
}

/// Ten times the limit.
fn take_memory() {
    let length = 10 * LIMIT as usize;
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping, at a place that the kernel chooses.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), length, read_write, private, -1, 0) };
    assert_ne!(place, libc::MAP_FAILED);
    for page in (0..length).step_by(4096) {
        // SAFETY: in bounds of the mapping above, which is this process's own.
        unsafe { place.cast::<u8>().add(page).write_volatile(1) };
    }
}
