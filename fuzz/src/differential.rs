//! Our robust mutex and the C library's, on the same script: a `pthread_mutex_t` that is robust, checks for errors and is shared between
//! processes. What they say of each step must be the same.
//!
//! Input: a byte for each step. Its two low bits say which of three people does it (3 is 0 again), the next three what:
//!
//! | number | step | ours | the C library's |
//! |---|---|---|---|
//! | 0, 7 | lock | `lock` | `pthread_mutex_lock` |
//! | 1 | try to lock | `try_lock` | `pthread_mutex_trylock` |
//! | 2 | lock, with a time that is up at once | `lock_timeout` | `pthread_mutex_timedlock` |
//! | 3 | lock, with a short time | `lock_timeout` | `pthread_mutex_timedlock` |
//! | 4 | unlock | the guard is dropped | `pthread_mutex_unlock` |
//! | 5 | mark consistent | `Guard::mark_consistent` | `pthread_mutex_consistent` |
//! | 6 | die | the thread ends, with the lock if it has it | the same |
//!
//! People are threads that live on from input to input; a death costs a new one. To the kernel, and so to both mutexes, the end of a thread is
//! as that of a process, and a forked one would tell the fuzzer nothing of the lines that it runs. One step ends before the next one begins, so that a script
//! always does the same. Who holds the lock is what both have said. Somebody else has it: then `lock` would wait for ever, and becomes a
//! lock with a time that is up at once.
//!
//! Where the two differ by contract:
//!
//! - Unlocking what one does not hold: the C library refuses it (`EPERM`); ours cannot be asked, without a guard. Taken as the same.
//! - Marking what one does not hold: ours cannot be asked; the C library asks for a holder, and does not look whether it is one. Not done.
//! - Marking what is consistent: the C library says `EINVAL`; ours does nothing, and [`Guard::needs_repair`] has said so before. Taken as
//!   the same.
//! - A try to lock what is not recoverable: the C library (glibc 2.36) says `ENOTRECOVERABLE`, but keeps the lock for the caller, so that the next
//!   one hears of `EBUSY`, or waits for ever. It is not asked again: ours must give what POSIX says, `ENOTRECOVERABLE` for all.
//! - A guard that is dropped in a panic tells the next one of a death; the C library knows no panics. Not in a script.
//!
//! What this cannot see is what needs two at a time: a sleeper that nobody wakes, and two holders of a lock.

use ownerdead::lock::{Guard, LockError, LockTimeoutError, RobustMutex, TryLockError};
use ownerdead::owner::Attachment;
use ownerdead::segment::Options;
use std::cell::RefCell;
use std::mem::{MaybeUninit, forget};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many take part.
const PEOPLE: usize = 3;
/// Steps of one input.
const MOST: usize = 64;
/// Deaths of one input.
const DEATHS: usize = 6;
/// Of a lock that is had by another one, and is not given up meanwhile.
const SHORT: Duration = Duration::from_micros(200);
/// A step that takes so long hangs. It decides nothing else.
const HANG: Duration = Duration::from_secs(10);
const PAGE: usize = 4096;

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lock,
    TryLock,
    LockTimeout(Duration),
    Unlock,
    Mark,
    Die,
}

impl Step {
    fn of(byte: u8) -> (usize, Self) {
        let step = match byte >> 2 & 7 {
            1 => Self::TryLock,
            2 => Self::LockTimeout(Duration::ZERO),
            3 => Self::LockTimeout(SHORT),
            4 => Self::Unlock,
            5 => Self::Mark,
            6 => Self::Die,
            _ => Self::Lock,
        };
        (usize::from(byte & 3) % PEOPLE, step)
    }
}

/// What one of the two says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Acquired,
    OwnerDied,
    Busy,
    TimedOut,
    NotRecoverable,
    Mine,
    Unlocked,
    NotHolder,
    Marked,
    NothingToMark,
    Dies,
    /// What neither of them should ever say.
    Other(String),
}

/// Both mutexes.
struct Pair {
    ours: RobustMutex<u64>,
    theirs: Theirs,
}

/// The C library's. Invariant: it points to a mutex that `new` made, which nothing but the C library reads or writes, and which stays where
/// it is until this is dropped.
struct Theirs(NonNull<libc::pthread_mutex_t>);

// SAFETY: a mutex is for threads to share, and by the invariant nobody has a reference to it.
unsafe impl Send for Theirs {}
// SAFETY: as above.
unsafe impl Sync for Theirs {}

impl Theirs {
    fn new() -> Self {
        let done = |error: libc::c_int| assert_eq!(error, 0, "{}", std::io::Error::from_raw_os_error(error));
        let place = NonNull::from(Box::leak(Box::new(libc::PTHREAD_MUTEX_INITIALIZER)));
        let mut how = MaybeUninit::uninit();
        let attributes = how.as_mut_ptr();
        // SAFETY: `attributes` is valid to write to, and is made before it is changed and used; nobody else knows of the mutex yet.
        unsafe {
            done(libc::pthread_mutexattr_init(attributes));
            done(libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK));
            done(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST));
            done(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED));
            done(libc::pthread_mutex_init(place.as_ptr(), attributes));
            done(libc::pthread_mutexattr_destroy(attributes));
        }
        Self(place)
    }

    /// `holds`: whether both have said that the caller holds them.
    fn step(&self, step: Step, holds: bool) -> Said {
        let mutex = self.0.as_ptr();
        // SAFETY: of all calls below: by the invariant it is a mutex. No call of them needs the caller to hold it,
        // but `pthread_mutex_consistent`, which is called by a holder alone.
        let error = unsafe {
            match step {
                Step::Lock => libc::pthread_mutex_lock(mutex),
                Step::TryLock => libc::pthread_mutex_trylock(mutex),
                Step::LockTimeout(time) => libc::pthread_mutex_timedlock(mutex, &after(time)),
                Step::Unlock => libc::pthread_mutex_unlock(mutex),
                Step::Mark if holds => libc::pthread_mutex_consistent(mutex),
                Step::Mark => return Said::NotHolder,
                Step::Die => return Said::Dies,
            }
        };
        match (step, error) {
            (Step::Unlock, 0) => Said::Unlocked,
            (Step::Mark, 0) => Said::Marked,
            (_, 0) => Said::Acquired,
            (Step::Unlock, libc::EPERM) => Said::NotHolder,
            (Step::Mark, libc::EINVAL) => Said::NothingToMark,
            (_, libc::EOWNERDEAD) => Said::OwnerDied,
            (Step::TryLock, libc::EBUSY) => Said::Busy,
            (_, libc::ETIMEDOUT) => Said::TimedOut,
            (_, libc::ENOTRECOVERABLE) => Said::NotRecoverable,
            (_, libc::EDEADLK) => Said::Mine,
            (_, other) => Said::Other(std::io::Error::from_raw_os_error(other).to_string()),
        }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // SAFETY: a mutex by the invariant, of which nobody knows any more: who lives has unlocked it, and the kernel looks no more at what
        // the dead had. Its memory was a box's.
        unsafe {
            libc::pthread_mutex_destroy(self.0.as_ptr());
            drop(Box::from_raw(self.0.as_ptr()));
        }
    }
}

/// The time of day that is `time` from now.
fn after(time: Duration) -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    let nanoseconds = now.tv_nsec + libc::c_long::from(time.subsec_nanos() as i32);
    now.tv_sec += time.as_secs() as libc::time_t + nanoseconds / 1_000_000_000;
    now.tv_nsec = nanoseconds % 1_000_000_000;
    now
}

/// Ours. A guard that was had is in `guard`.
fn ours<'a>(mutex: &'a RobustMutex<u64>, me: &'a Attachment, guard: &mut Option<Guard<'a, u64>>, step: Step) -> Said {
    let (had, said) = match step {
        Step::Lock => match mutex.lock(me) {
            Ok(had) => (Some(had), Said::Acquired),
            Err(LockError::OwnerDied(died)) => (Some(died.into_guard()), Said::OwnerDied),
            Err(LockError::NotRecoverable) => (None, Said::NotRecoverable),
            Err(LockError::Deadlock) => (None, Said::Mine),
            Err(error) => (None, Said::Other(error.to_string())),
        },
        Step::TryLock => match mutex.try_lock(me) {
            Ok(had) => (Some(had), Said::Acquired),
            Err(TryLockError::OwnerDied(died)) => (Some(died.into_guard()), Said::OwnerDied),
            Err(TryLockError::NotRecoverable) => (None, Said::NotRecoverable),
            Err(TryLockError::Deadlock) => (None, Said::Mine),
            Err(TryLockError::WouldBlock) => (None, Said::Busy),
            Err(error) => (None, Said::Other(error.to_string())),
        },
        Step::LockTimeout(time) => match mutex.lock_timeout(me, time) {
            Ok(had) => (Some(had), Said::Acquired),
            Err(LockTimeoutError::OwnerDied(died)) => (Some(died.into_guard()), Said::OwnerDied),
            Err(LockTimeoutError::NotRecoverable) => (None, Said::NotRecoverable),
            Err(LockTimeoutError::Deadlock) => (None, Said::Mine),
            Err(LockTimeoutError::TimedOut) => (None, Said::TimedOut),
            Err(error) => (None, Said::Other(error.to_string())),
        },
        Step::Unlock => (None, guard.take().map_or(Said::NotHolder, |_| Said::Unlocked)),
        Step::Mark => {
            let said = guard.as_mut().map_or(Said::NotHolder, |guard| {
                let needed = guard.needs_repair();
                guard.mark_consistent();
                if needed { Said::Marked } else { Said::NothingToMark }
            });
            (None, said)
        }
        Step::Die => (None, Said::Dies),
    };
    if let Some(had) = had {
        // Were there one already, the lock would have been had twice, which the other mutex does not say.
        *guard = Some(had);
    }
    said
}

/// What a person is told.
enum Told {
    /// To take part with this pair, from now on.
    Begin(Arc<Pair>),
    Step(Step, Ask),
    /// To leave both as they should be left.
    End,
}

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    Both,
    /// Ours alone, of a mutex that is not recoverable: somebody has tried to lock it.
    Ours,
}

/// One of the threads.
struct Person {
    tell: Sender<Told>,
    said: Receiver<[Said; 2]>,
    thread: JoinHandle<Option<Left>>,
    /// It takes part.
    begun: bool,
}

impl Person {
    fn new() -> Self {
        let ((tell, told), (say, said)) = (channel(), channel());
        Self { tell, said, thread: std::thread::spawn(move || lives(&told, &say)), begun: false }
    }

    fn tell(&self, told: Told) {
        self.tell.send(told).expect("it listens until it dies");
    }

    /// What both mutexes say; none if one of them has said nothing for so long.
    fn said(&self) -> Option<[Said; 2]> {
        self.said.recv_timeout(HANG).ok()
    }
}

/// What is to be said of a mutex that is not recoverable.
fn of_no_use(step: Step) -> Said {
    match step {
        Step::Lock | Step::TryLock | Step::LockTimeout(_) => Said::NotRecoverable,
        Step::Unlock | Step::Mark => Said::NotHolder,
        Step::Die => Said::Dies,
    }
}

/// The life of a person. What its death leaves mapped, if it dies with the lock.
fn lives(told: &Receiver<Told>, say: &Sender<[Said; 2]>) -> Option<Left> {
    while let Ok(Told::Begin(pair)) = told.recv() {
        let me = pair.ours.attach().expect("a slot for each, and for each that dies");
        let left = Left::by_this_thread();
        if takes_part(&pair, &me, told, say) {
            // With the lock it cannot leave, and the end of its thread will tell. Without, it leaves.
            return (me.rights() > 0).then_some(left);
        }
        drop((me, pair));
        // After all is given back.
        let _ = say.send([Said::Unlocked, Said::Unlocked]);
    }
    None
}

/// The two pages by which the kernel marks the dead one's slot: see `os_robust` in the library. They stay mapped when a thread ends with a
/// right, for which a process that lives on after that has no use; a fuzzer would run out of mappings.
struct Left(usize);

impl Left {
    /// Of the thread that has just attached: its node is the first one of its robust list, and so the next one of a mutex that it locks now.
    fn by_this_thread() -> Self {
        let mutex = Theirs::new();
        assert_eq!(mutex.step(Step::Lock, false), Said::Acquired);
        // SAFETY: a mutex of glibc has five words, of which the last one is the link to the next node. This thread holds it, and alone changes
        // the links of its list.
        let link = unsafe { mutex.0.as_ptr().cast::<usize>().add(4).read_volatile() };
        assert_eq!(mutex.step(Step::Unlock, true), Said::Unlocked);
        assert_eq!(link % PAGE, 16, "the link of a node of ours is at the start of its second page, behind `prev`");
        Self(link - 16 - PAGE)
    }

    /// Once the thread has ended.
    fn unmap(self) {
        // SAFETY: the two pages of a node that was dropped without unmapping them, since it was on the list. The kernel has walked that before
        // it said that the thread has ended, and nobody else knows of them.
        let error = unsafe { libc::munmap(self.0 as *mut libc::c_void, 2 * PAGE) };
        assert_eq!(error, 0, "munmap: {}", std::io::Error::last_os_error());
    }
}

/// Until the script ends, or until it dies: then true.
fn takes_part(pair: &Pair, me: &Attachment, told: &Receiver<Told>, say: &Sender<[Said; 2]>) -> bool {
    let mut guard = None;
    while let Ok(Told::Step(step, ask)) = told.recv() {
        let holds = guard.is_some();
        let ours = ours(&pair.ours, me, &mut guard, step);
        let said = [ours, if ask == Ask::Both { pair.theirs.step(step, holds) } else { of_no_use(step) }];
        if step == Step::Die {
            forget(guard);
            return true;
        }
        if say.send(said).is_err() {
            break;
        }
    }
    if guard.is_some() {
        pair.theirs.step(Step::Unlock, true);
    }
    false
}

thread_local! {
    static IDLE: RefCell<Vec<Person>> = const { RefCell::new(Vec::new()) };
}

/// Plays a script.
///
/// # Panics
/// The two mutexes do not say the same, or a step does not end.
pub fn mutex_differential(bytes: &[u8]) {
    // Taken: in a panic they end, and are not used again.
    let mut people = IDLE.take();
    people.resize_with(PEOPLE, Person::new);
    let ours = RobustMutex::memfd(&Options::new().slots((PEOPLE + DEATHS) as u32), 0).expect("a mutex");
    let pair = Arc::new(Pair { ours, theirs: Theirs::new() });
    let (mut holder, mut deaths, mut ask) = (None, 0, Ask::Both);
    let mut story = String::new();
    for (who, mut step) in bytes.iter().take(MOST).map(|&byte| Step::of(byte)) {
        if step == Step::Die {
            deaths += 1;
            if deaths > DEATHS {
                continue;
            }
        }
        if step == Step::Lock && holder.is_some_and(|holder| holder != who) {
            step = Step::LockTimeout(Duration::ZERO);
        }
        let person = &mut people[who];
        if !person.begun {
            person.begun = true;
            person.tell(Told::Begin(pair.clone()));
        }
        person.tell(Told::Step(step, ask));
        story += &format!(" {who}:{step:?}");
        if step == Step::Die {
            // Once it is joined the kernel has marked what it had: it does so before it says that the thread is gone.
            let left = std::mem::replace(person, Person::new()).thread.join().expect("it dies without a panic");
            left.into_iter().for_each(Left::unmap);
            holder = holder.filter(|&holder| holder != who);
            continue;
        }
        let Some([ours, theirs]) = person.said() else { panic!("the last step hangs, or panicked:{story}") };
        assert_eq!(ours, theirs, "ours, and the C library's, of the last step:{story}");
        match ours {
            Said::Acquired | Said::OwnerDied => holder = Some(who),
            Said::Unlocked => holder = None,
            Said::NotRecoverable if step == Step::TryLock => ask = Ask::Ours,
            _ => {}
        }
    }
    for person in people.iter_mut().filter(|person| person.begun) {
        person.tell(Told::End);
        assert!(person.said().is_some(), "the end hangs, or panicked:{story}");
        person.begun = false;
    }
    IDLE.set(people);
}

/// Scripts to begin with, with names: each way to lock, where the lock is free, held by the caller or another one, left by the dead, or not
/// recoverable.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let [lock, unlock, mark, die] = [0, 4, 5, 6].map(|step: u8| move |who: u8| step << 2 | who);
    let mut seeds = Vec::new();
    for way in 0..4u8 {
        let had = |who: u8| way << 2 | who;
        let mut seed = |name: &str, script: &[u8]| seeds.push((format!("{name}_{way}"), script.to_vec()));
        seed("in_turn", &[had(0), unlock(0), had(1), mark(1), unlock(1), unlock(1), had(2), unlock(0), unlock(2)]);
        seed("held", &[had(0), had(1), had(0), unlock(1), mark(1), had(2), unlock(0), had(2), unlock(2)]);
        seed("repaired", &[lock(0), die(0), had(1), had(1), had(2), mark(1), mark(1), unlock(1), had(0), unlock(0)]);
        seed("not_repaired", &[lock(0), die(0), had(1), unlock(1), had(2), had(1), mark(1), unlock(1), had(0)]);
        seed(
            "dies_twice",
            &[had(0), die(0), had(1), die(1), had(2), mark(2), die(2), had(0), mark(0), unlock(0), had(1)],
        );
        seed(
            "dies_without",
            &[had(0), die(1), had(2), unlock(0), die(0), had(2), unlock(2), die(2), had(1), unlock(1)],
        );
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_mutexes_say_the_same_in_all_seeds() {
        seeds().iter().for_each(|(_, script)| mutex_differential(script));
    }

    /// Why the C library is not asked again. Should this fail, its defect is gone, and [`Ask`] can go.
    #[test]
    fn glibc_keeps_a_mutex_for_who_tries_to_lock_what_is_not_recoverable() {
        let theirs = Theirs::new();
        let by_another = |steps: &[Step]| {
            let steps = || steps.iter().map(|&step| theirs.step(step, true)).collect::<Vec<_>>();
            std::thread::scope(|scope| scope.spawn(steps).join().expect("no panic"))
        };
        by_another(&[Step::Lock]);
        assert_eq!(by_another(&[Step::Lock, Step::Unlock]), [Said::OwnerDied, Said::Unlocked]);
        assert_eq!(by_another(&[Step::Lock, Step::Lock]), [Said::NotRecoverable, Said::NotRecoverable]);
        assert_eq!(by_another(&[Step::TryLock]), [Said::NotRecoverable]);
        // Its thread has ended.
        let said = by_another(&[Step::TryLock, Step::LockTimeout(SHORT)]);
        assert_eq!(said, [Said::Busy, Said::TimedOut]);
    }
}
