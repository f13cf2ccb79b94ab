//! Segments in `/dev/shm`.

use ownerdead::lock::{Barrier, Once, OnceCell, RobustMutex, RwLock, Semaphore};
use ownerdead::ring::spsc::{Config, Ring, RingError};
use ownerdead::segment::{CreateError, Kind, OpenError, Options, Segment, UnlinkError};
use serial_test::serial;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;

/// A name of this test's own, unlinked when it goes out of scope.
struct Named(String);

impl Named {
    fn new(what: &str) -> Self {
        Self(format!("ownerdead-test-{}-{what}", std::process::id()))
    }
    fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(&self.0)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
        let _ = std::fs::remove_dir(self.path());
    }
}

const RING: Config = Config::new(4096);

#[test]
fn what_is_created_is_opened_until_it_is_unlinked() {
    let name = Named::new("created");
    let ring = Ring::create(&name.0, &Options::new(), &RING).unwrap();
    let me = ring.attach().unwrap();
    ring.producer(&me).unwrap().into_inner().push(1, b"kept").unwrap();
    drop((ring, me));
    let again = Ring::open(&format!("/{}", name.0)).unwrap();
    let me = again.attach().unwrap();
    let mut bytes = Vec::new();
    assert_eq!(again.consumer(&me).unwrap().into_inner().pop(&mut bytes).unwrap(), 1);
    assert_eq!(bytes, b"kept");
    Segment::unlink(&name.0).unwrap();
    assert!(matches!(Ring::open(&name.0), Err(RingError::Open(OpenError::NotFound { .. }))));
    assert!(matches!(Segment::unlink(&name.0), Err(UnlinkError::NotFound { .. })));
}

#[test]
fn a_name_that_is_taken_is_an_error_and_the_segment_is_unharmed() {
    let name = Named::new("taken");
    let ring = Ring::create(&name.0, &Options::new(), &RING).unwrap();
    let again = Ring::create(&name.0, &Options::new(), &Config::new(8192));
    assert!(matches!(again, Err(RingError::Create(CreateError::Exists { .. }))), "{again:?}");
    assert_eq!(Ring::open(&name.0).unwrap().status().capacity, ring.status().capacity);
}

#[test]
#[serial]
fn the_mode_is_what_was_asked_for_whatever_the_umask() {
    for (umask, mode) in [(0o077, 0o600), (0o777, 0o660), (0, 0o600), (0o022, 0o644)] {
        let name = Named::new("mode");
        // SAFETY: umask has no failure; the test is alone with it (`serial`), and puts it back.
        let before = unsafe { libc::umask(umask) };
        let ring = Ring::create(&name.0, &Options::new().mode(mode), &RING);
        // SAFETY: as above.
        unsafe { libc::umask(before) };
        ring.unwrap();
        let found = std::fs::metadata(name.path()).unwrap().permissions().mode() & 0o7777;
        assert_eq!(found, mode, "umask {umask:o}");
    }
}

#[test]
fn another_kind_is_refused_and_so_is_another_type() {
    let name = Named::new("kind");
    RobustMutex::create(&name.0, &Options::new(), 7u64).unwrap();
    let opened = Ring::open(&name.0);
    assert!(matches!(opened, Err(RingError::Open(OpenError::Kind { .. }))), "{opened:?}");
    // SAFETY: nobody else has the segment.
    let opened = unsafe { RobustMutex::<u32>::open(&name.0) };
    assert!(opened.unwrap_err().to_string().contains("another type"));
    // SAFETY: as above.
    let mutex = unsafe { RobustMutex::<u64>::open(&name.0) }.unwrap();
    let me = mutex.attach().unwrap();
    assert_eq!(*mutex.lock(&me).unwrap(), 7);
}

/// What holds of a structure of any sort: made once, then opened, by those who say so and by those who do not mind; all in one segment.
macro_rules! is_had_by_name {
    ($what:literal, $create:expr, $open:expr, $open_or_create:expr) => {{
        let name = Named::new($what);
        let (name, options) = (name.0.as_str(), Options::new());
        let (made, created) = $open_or_create(name, &options).unwrap();
        assert!(created && $create(name, &options).is_err());
        let (again, created) = $open_or_create(name, &options).unwrap();
        assert!(!created);
        let (opened, clone) = ($open(name).unwrap(), made.clone());
        let _me = made.attach().unwrap();
        let attached = [&made, &again, &opened, &clone].map(|handle| handle.table().counts().attached);
        assert_eq!(attached, [1; 4]);
        Segment::unlink(name).unwrap();
        assert!($open(name).is_err());
        $create(name, &options).unwrap();
        made
    }};
}

#[test]
fn each_lock_is_made_once_and_had_by_its_name() {
    is_had_by_name!("once", Once::create, Once::open, Once::open_or_create);
    // SAFETY: nobody else has the segment.
    let open = |name: &str| unsafe { OnceCell::<u32>::open(name) };
    // SAFETY: as above.
    let either = |name: &str, options: &Options| unsafe { OnceCell::<u32>::open_or_create(name, options) };
    let cell = is_had_by_name!("once-cell", OnceCell::<u32>::create, open, either);
    assert_eq!(cell.get(), None);
    let permits = |name: &str, options: &Options| Semaphore::create(name, options, 3);
    is_had_by_name!("semaphore", permits, Semaphore::open, |name: &str, options: &Options| {
        Semaphore::open_or_create(name, options, 3)
    });
    let parties = |name: &str, options: &Options| Barrier::create(name, options, 3);
    is_had_by_name!("barrier", parties, Barrier::open, |name: &str, options: &Options| {
        Barrier::open_or_create(name, options, 3)
    });
    let lock = |name: &str, options: &Options| RwLock::create(name, options, 7u64);
    // SAFETY: as above.
    let open = |name: &str| unsafe { RwLock::<u64>::open(name) };
    // SAFETY: as above.
    let either = |name: &str, options: &Options| unsafe { RwLock::open_or_create(name, options, 7u64) };
    is_had_by_name!("rwlock", lock, open, either);
}

#[test]
fn names_that_none_can_have_are_refused() {
    for name in ["", "/", "a/b", "/a/b", "//a", ".", "..", "nul\0", &"x".repeat(256)] {
        assert!(matches!(Segment::open(name, Kind::SPSC), Err(OpenError::BadName(_))), "{name:?}");
        assert!(matches!(Segment::unlink(name), Err(UnlinkError::BadName(_))), "{name:?}");
        let created = Segment::create(name, &Options::new(), Kind::SPSC, 1, |_| {});
        assert!(matches!(created, Err(CreateError::BadName(_))), "{name:?}");
    }
}

#[test]
fn what_is_no_segment_is_refused() {
    let directory = Named::new("directory");
    std::fs::create_dir(directory.path()).unwrap();
    let fifo = Named::new("fifo");
    nix::unistd::mkfifo(&fifo.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in [&directory, &fifo] {
        let opened = Segment::open(&name.0, Kind::SPSC);
        assert!(matches!(opened, Err(OpenError::NotARegularFile { .. })), "{opened:?}");
    }
    let empty = Named::new("empty");
    std::fs::write(empty.path(), b"").unwrap();
    assert!(matches!(Segment::open(&empty.0, Kind::SPSC), Err(OpenError::TooShort { .. })));
    let text = Named::new("text");
    std::fs::write(text.path(), "no segment ".repeat(1000)).unwrap();
    let error = Segment::open(&text.0, Kind::SPSC).unwrap_err().to_string();
    assert!(error.contains("the magic"), "{error}");
}

#[test]
fn a_segment_that_was_cut_short_is_refused() {
    let name = Named::new("cut");
    let ring = Ring::create(&name.0, &Options::new(), &RING).unwrap();
    let whole = std::fs::metadata(name.path()).unwrap().len();
    drop(ring);
    for length in [whole - 1, whole / 2, 4096, 100] {
        std::fs::OpenOptions::new().write(true).open(name.path()).unwrap().set_len(length).unwrap();
        let opened = Ring::open(&name.0);
        assert!(matches!(opened, Err(RingError::Open(OpenError::TooShort { .. }))), "{length}: {opened:?}");
    }
}

#[test]
fn options_that_are_not_allowed_are_refused_and_leave_nothing() {
    let name = Named::new("options");
    for options in [Options::new().slots(0), Options::new().slots(4095), Options::new().mode(0o4600)] {
        assert!(Ring::create(&name.0, &options, &RING).is_err());
    }
    for capacity in [0, 32, 100, 1 << 33] {
        let created = Ring::create(&name.0, &Options::new(), &Config::new(capacity));
        assert!(matches!(created, Err(RingError::Config { .. })), "{created:?}");
    }
    // More than /dev/shm can hold: the space is asked for at birth.
    let created = Segment::create(&name.0, &Options::new(), Kind::SPSC, 1 << 50, |_| {});
    assert!(matches!(created, Err(CreateError::NoSpace { .. })), "{created:?}");
    let created = Segment::create(&name.0, &Options::new(), Kind::SPSC, usize::MAX, |_| {});
    assert!(matches!(created, Err(CreateError::TooLarge { .. })), "{created:?}");
    assert!(!name.path().exists());
}

#[test]
fn of_many_that_open_or_create_one_creates() {
    let name = Named::new("race");
    for round in 0..20 {
        let (sender, created) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (sender, name) = (sender.clone(), name.0.clone());
                scope.spawn(move || {
                    sender.send(Ring::open_or_create(&name, &Options::new(), &RING).unwrap().1).unwrap();
                });
            }
        });
        drop(sender);
        assert_eq!(created.iter().filter(|&created| created).count(), 1, "round {round}");
        Segment::unlink(&name.0).unwrap();
    }
}

#[test]
fn nobody_opens_a_half_made_segment() {
    let name = Named::new("whole");
    std::thread::scope(|scope| {
        let (done, stop) = mpsc::channel::<()>();
        scope.spawn(|| {
            for _ in 0..500 {
                Ring::create(&name.0, &Options::new(), &RING).unwrap();
                Segment::unlink(&name.0).unwrap();
            }
            drop(done);
        });
        while !matches!(stop.try_recv(), Err(mpsc::TryRecvError::Disconnected)) {
            match Ring::open(&name.0) {
                Ok(ring) => assert_eq!(ring.status().capacity, 4096),
                Err(RingError::Open(OpenError::NotFound { .. })) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn an_existing_ring_of_another_shape_is_refused() {
    let name = Named::new("shape");
    Ring::create(&name.0, &Options::new(), &RING).unwrap();
    let other = Ring::open_or_create(&name.0, &Options::new(), &Config::new(8192));
    assert!(matches!(other, Err(RingError::Differs { field: "capacity", .. })), "{other:?}");
    let other = Ring::open_or_create(&name.0, &Options::new(), &RING.checksum(false));
    assert!(matches!(other, Err(RingError::Differs { .. })), "{other:?}");
}
