//! Segments by name: what is asked for is made, found or taken away, or an error says why not; and nothing stays in `/dev/shm`.
//!
//! The input is operations on two names: a byte that chooses it and the name, then what it takes. Beside the files a plain model says which name is
//! free, which holds what, and so which calls must succeed and which must not.

use crate::input::Input;
use crate::parser::says;
use ownerdead::cell::{Board, SeqLock, Snapshot, board, snapshot};
use ownerdead::lock::{Barrier, FutexMutex, Once, OnceCell, RobustMutex, RwLock, Semaphore};
use ownerdead::ring::mpsc::{claims, lanes, locked};
use ownerdead::ring::{broadcast, mpmc, spsc};
use ownerdead::segment::{Body, Kind, Options, Segment};
use ownerdead::sync::atomic::AtomicU64;
use ownerdead::sync::atomic::Ordering::Relaxed;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Operations of one input.
const MOST: usize = 24;
/// Bytes of the largest file that is made: what is larger is refused, and its space is not taken.
const LARGEST: u64 = 1 << 20;
/// Structures, and types of values.
const KINDS: usize = 18;

/// What is asked for, beside the structure.
enum How<'n> {
    Create(&'n str),
    Open(&'n str),
    OpenOrCreate(&'n str),
    Memfd,
}

/// What lies under a name.
#[derive(Clone, PartialEq)]
enum Lies {
    Nothing,
    /// What of [`KINDS`], and as what it was asked for.
    Segment(usize, Vec<u8>),
    /// A file that was changed, or something that is no file.
    Other,
}

/// A name that nobody else has, and what lies there. It is gone when this is.
struct Place {
    name: String,
    lies: Lies,
}

fn name(process: u32, which: usize) -> String {
    format!("/ownerdead-fuzz-{process}-{which}")
}

/// Takes away what a process has left that was killed.
#[allow(dead_code, reason = "for those who play inputs in processes")]
pub fn clear_after(process: u32) {
    for which in [0, 1] {
        Place { name: name(process, which), lies: Lies::Nothing }.clear();
    }
}

impl Place {
    /// What a killed process of the same PID has left is taken away.
    fn new(which: usize) -> Self {
        let mut place = Self { name: name(std::process::id(), which), lies: Lies::Nothing };
        place.clear();
        place
    }
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.name))
    }
    fn clear(&mut self) {
        let path = self.path();
        _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        self.lies = Lies::Nothing;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Plays an input.
pub fn play(data: &[u8]) {
    let mut input = Input::new(data);
    let mut places = [0, 1].map(Place::new);
    for _ in 0..MOST {
        let Some(byte) = input.next() else { break };
        let place = &mut places[usize::from(byte >> 7)];
        match byte & 0x0f {
            0..=2 => create(place, &mut input),
            3 | 4 => open(place, &mut input),
            5..=7 => open_or_create(place, &mut input),
            8 | 9 => unlink(place),
            10 => without_name(&mut input),
            11 => bad_name(&mut input),
            12 => plain(place, &mut input),
            13 => change(place, &mut input),
            14 => put(place, &mut input),
            _ => place.clear(),
        }
        assert_eq!(place.path().symlink_metadata().is_ok(), place.lies != Lies::Nothing, "what lies under a name");
        let private = format!("/dev/shm/.ownerdead.{}.0", std::process::id());
        assert!(!PathBuf::from(private).exists(), "a private file was left");
    }
}

fn create(place: &mut Place, input: &mut Input<'_>) {
    let (kind, asked) = asked(input);
    match made(kind, &How::Create(&place.name), &asked) {
        Ok(_) => {
            assert!(place.lies == Lies::Nothing, "a name that was taken is given anew");
            place.lies = Lies::Segment(kind, asked);
        }
        Err(error) => assert!(!error.contains("exists: open it") || place.lies != Lies::Nothing, "{error}"),
    }
}

fn open(place: &mut Place, input: &mut Input<'_>) {
    let kind = input.below(KINDS);
    let opened = made(kind, &How::Open(&place.name), &[]);
    match (&place.lies, opened) {
        (Lies::Nothing, opened) => assert!(opened.expect_err("there is none").contains("there is no segment")),
        (Lies::Segment(is, _), Ok(_)) => assert_eq!(*is, kind, "opened as another one"),
        (Lies::Segment(is, _), Err(error)) => assert_ne!(*is, kind, "{error}"),
        (Lies::Other, Ok(_) | Err(_)) => {}
    }
}

fn open_or_create(place: &mut Place, input: &mut Input<'_>) {
    let (kind, asked) = asked(input);
    match (&place.lies, made(kind, &How::OpenOrCreate(&place.name), &asked)) {
        (Lies::Nothing, Ok(created)) => {
            assert!(created, "there was none");
            place.lies = Lies::Segment(kind, asked);
        }
        (Lies::Segment(is, _), Ok(created)) => assert_eq!((*is, false), (kind, created), "opened as another one"),
        (Lies::Segment(is, as_what), Err(error)) => assert!((is, as_what) != (&kind, &asked), "{error}"),
        (Lies::Nothing | Lies::Other, _) => {}
    }
}

fn unlink(place: &mut Place) {
    let is_directory = place.path().is_dir();
    match Segment::unlink(&place.name) {
        Ok(()) => {
            assert!(place.lies != Lies::Nothing && !is_directory);
            place.lies = Lies::Nothing;
        }
        Err(error) => {
            assert!(place.lies == Lies::Nothing || is_directory, "{error}");
            says(&error, if is_directory { "unlink" } else { "no segment" });
        }
    }
}

/// A structure that needs no name; and that the same words make it again.
fn without_name(input: &mut Input<'_>) {
    let (kind, asked) = asked(input);
    let again = made(kind, &How::Memfd, &asked);
    assert_eq!(made(kind, &How::Memfd, &asked), again);
}

fn bad_name(input: &mut Input<'_>) {
    let names = ["", "/", ".", "/..", "//twice", "a/b", "zero\0byte"].map(str::to_owned);
    let name = names.get(input.below(10)).cloned().unwrap_or_else(|| "n".repeat(256 + input.below(256)));
    let (kind, asked) = asked(input);
    for how in [How::Create(&name), How::Open(&name), How::OpenOrCreate(&name)] {
        // What is asked for may be refused first.
        let error = made(kind, &how, &asked).expect_err("it is no name");
        assert!(!matches!(how, How::Open(_)) || error.contains("is no name for a segment"), "{error}");
    }
    says(&Segment::unlink(&name).expect_err("it is no name"), "is no name for a segment");
}

/// A segment of any kind and length, whose body is looked at where it is and where it is not.
fn plain(place: &mut Place, input: &mut Input<'_>) {
    let (options, kind) = (options(&mut Input::new(input.take(2))), Kind(input.byte().into()));
    let len = match input.byte() {
        big @ 250.. => usize::MAX >> ((big - 250) * 8),
        small => usize::from(small) * 40,
    };
    let word = input.word();
    let init = |body: &Body| {
        if let Ok(place) = body.place::<AtomicU64>(0) {
            place.store(word, Relaxed);
        }
        _ = body.slice::<AtomicU64>(word as usize, len).map_err(|error| error.to_string());
    };
    let created = limited(|| Segment::create(&place.name, &options, kind, len, init));
    let segment = match created {
        Ok(segment) => segment,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert!(place.lies == Lies::Nothing);
    place.lies = Lies::Other;
    assert_eq!(segment.body_len(), len);
    let again = Segment::open(&place.name, kind).expect("it was made");
    let at = |segment: &Segment, offset| segment.body::<AtomicU64>(offset).ok().map(|it| it.load(Relaxed));
    assert_eq!(at(&again, 0), (len >= 8).then_some(word));
    let outside = (word % 1024) as usize;
    match segment.body::<AtomicU64>(outside) {
        Ok(_) => assert!(outside.is_multiple_of(8) && outside + 8 <= len),
        Err(error) => {
            assert!(!outside.is_multiple_of(8) || outside + 8 > len, "{error}");
            says(&error, "do not lie in its body");
        }
    }
    let (slots, me) = (segment.table().slots(), segment.attach().expect("a free slot"));
    // One more than fit.
    let mut all = vec![me];
    while all.len() <= slots.min(8) {
        match segment.attach() {
            Ok(me) => all.push(me),
            Err(error) => {
                says(&error, "all");
                break;
            }
        }
    }
    assert!(all.len() == slots || slots > 8);
    all.into_iter().for_each(|me| me.detach().expect("no rights"));
}

/// What lies there is cut, made longer, or written to; or nobody may read it.
fn change(place: &mut Place, input: &mut Input<'_>) {
    if !place.path().is_file() {
        return;
    }
    let Ok(file) = File::options().read(true).write(true).open(place.path()) else { return };
    let length = file.metadata().expect("a file").len();
    match input.below(4) {
        0 => file.set_len(length * input.byte() as u64 / 256).expect("a file"),
        1 => file.set_len(length + input.byte() as u64).expect("a file"),
        2 => {
            let bytes = input.word().to_le_bytes();
            std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 8 * input.below(8) as u64).expect("a file");
        }
        _ => {
            let mode = [0, 0o444, 0o222, 0o600][input.below(4)];
            fs::set_permissions(place.path(), PermissionsExt::from_mode(mode)).expect("a file");
        }
    }
    if place.lies != Lies::Nothing {
        place.lies = Lies::Other;
    }
}

/// Something that is no segment.
fn put(place: &mut Place, input: &mut Input<'_>) {
    place.clear();
    let path = place.path();
    match input.below(6) {
        0 => fs::create_dir(&path).expect("a directory"),
        1 => std::os::unix::fs::symlink("nothing", &path).expect("a link"),
        2 => drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket")),
        3 => {
            let name = std::ffi::CString::new(path.to_str().expect("UTF-8")).expect("no zero byte");
            // SAFETY: the name is a C string.
            assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        }
        4 => fs::write(&path, input.take(64)).expect("a file"),
        _ => fs::write(&path, input.take(8).repeat(1024)).expect("a file"),
    }
    place.lies = Lies::Other;
    // By its descriptor too, if it can be had.
    if let Ok(file) = File::options().read(true).write(input.byte().is_multiple_of(2)).open("/dev/null") {
        says(&Segment::from_fd(file.into(), Kind::SPSC).expect_err("a device"), "a device");
    }
    says(
        &Segment::from_fd(File::open("/dev/shm").expect("a folder").into(), Kind::SPSC).expect_err("a folder"),
        "a directory",
    );
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    says(&Segment::from_fd(socket.into(), Kind::SPSC).expect_err("a socket"), "a socket");
    if path.metadata().is_ok_and(|is| is.is_file() && is.len() >= 4096)
        && let Ok(file) = File::open(&path)
    {
        says(&Segment::from_fd(file.into(), Kind::SPSC).expect_err("for reading only"), "expected to read and write");
    }
    let pipe = std::io::pipe().expect("a pipe");
    says(&Segment::from_fd(pipe.0.into(), Kind::SPSC).expect_err("a pipe"), "a fifo");
}

/// A structure, and what is asked of it: the bytes that say so.
fn asked(input: &mut Input<'_>) -> (usize, Vec<u8>) {
    (input.below(KINDS), input.take(6).to_vec())
}

fn options(input: &mut Input<'_>) -> Options {
    let slots = [1, 2, 6, 3, 0, 4094, 4095, u32::MAX][input.below(8)];
    Options::default().slots(slots).mode([0o600, 0o600, 0o666, 0o4600][input.below(4)])
}

/// A number that is allowed somewhere, or nowhere.
fn number(input: &mut Input<'_>) -> usize {
    let numbers = [64, 1, 2, 0, 3, 8, 100, 256, 1024, 4096, 33, 257, 1 << 20, 1 << 33, usize::MAX / 2 + 1, usize::MAX];
    numbers[input.below(16)]
}

/// While no file may be larger than [`LARGEST`].
fn limited<R>(make: impl FnOnce() -> R) -> R {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: all that the calls get are valid places.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &mut before), 0);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &libc::rlimit { rlim_cur: LARGEST, ..before }), 0);
    }
    let made = make();
    // SAFETY: as above.
    unsafe { assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &before), 0) };
    made
}

/// One way to have each structure.
macro_rules! have {
    ($how:expr, $options:expr, $structure:ty, $open:ident $(, $argument:expr)*) => {{
        let segment = |made: $structure| made.segment().clone();
        match $how {
            How::Create(name) => <$structure>::create(name, $options $(, $argument)*).map(|made| (segment(made), true)),
            How::Memfd => <$structure>::memfd($options $(, $argument)*).map(|made| (segment(made), true)),
            How::Open(name) => $open!(<$structure>::open(name)).map(|made| (segment(made), false)),
            How::OpenOrCreate(name) => {
                $open!(<$structure>::open_or_create(name, $options $(, $argument)*)).map(|(made, new)| (segment(made), new))
            }
        }
        .map_err(|error| error.to_string())
    }};
}

macro_rules! copied {
    ($call:expr) => {
        $call
    };
}

macro_rules! shared {
    ($call:expr) => {
        // SAFETY: no reference to what is guarded is ever made.
        unsafe { $call }
    };
}

/// Has a structure in one of the ways, by the bytes that say what is asked for. Whether it was made.
fn made(kind: usize, how: &How<'_>, asked: &[u8]) -> Result<bool, String> {
    let mut input = Input::new(asked);
    let options = &options(&mut input);
    let (how_many, other, flags) = (number(&mut input), number(&mut input), input.byte());
    let [checksum, wipe] = [1, 2].map(|bit| flags & bit != 0);
    let buffers = 1 + u64::from(flags >> 2 & 7);
    let order = [mpmc::Order::Strict, mpmc::Order::Round][usize::from(flags >> 2 & 1)];
    let on_death = [mpmc::OnDeath::Redeliver, mpmc::OnDeath::Drop][usize::from(flags >> 3 & 1)];
    let had: Result<(Segment, bool), String> = limited(|| match kind {
        0 => have!(how, options, spsc::Ring, copied, &spsc::Config::new(how_many).checksum(checksum).wipe(wipe)),
        1 => {
            have!(how, options, lanes::Ring, copied, &lanes::Config::new(how_many, other).checksum(checksum).wipe(wipe))
        }
        2 => have!(how, options, claims::Ring, copied, &claims::Config::new(how_many).block(other).checksum(checksum)),
        3 => have!(how, options, locked::Ring, copied, &locked::Config::new(how_many).checksum(checksum).wipe(wipe)),
        4 => {
            let config = if wipe {
                broadcast::Config::lossy(how_many, other)
            } else {
                broadcast::Config::lossless(how_many, other)
            };
            have!(how, options, broadcast::Ring, copied, &config.checksum(checksum).entries(usize::from(flags >> 2)))
        }
        5 => {
            let config = mpmc::Config::new(how_many, other).checksum(checksum).order(order).on_death(on_death);
            have!(how, options, mpmc::Ring, copied, &config)
        }
        6 => have!(how, options, SeqLock<[u64; 3]>, copied, [7; 3]),
        7 => have!(how, options, SeqLock<u8>, copied, 7),
        8 => have!(how, options, Snapshot<[u64; 3]>, copied, &snapshot::Config::new().buffers(buffers), [7; 3]),
        9 => have!(how, options, Board<u64>, copied, &board::Config::new(how_many as u64).buffers(buffers)),
        10 => have!(how, options, RobustMutex<u64>, shared, 7),
        11 => have!(how, options, RobustMutex<[u8; 3]>, shared, [7; 3]),
        12 => have!(how, options, FutexMutex<u64>, shared, 7),
        13 => have!(how, options, RwLock<u64>, shared, 7),
        14 => have!(how, options, Semaphore, copied, how_many),
        15 => have!(how, options, Once, copied),
        16 => have!(how, options, OnceCell<u64>, shared),
        _ => have!(how, options, Barrier, copied, how_many),
    });
    match had {
        Ok((segment, made)) => {
            // Its descriptor is another way to the same segment.
            let file = segment.as_fd().try_clone_to_owned().expect("a descriptor");
            assert!(Segment::from_fd(file, Kind(u32::MAX)).is_err());
            Ok(made)
        }
        Err(error) => {
            assert!(!error.is_empty());
            Err(error)
        }
    }
}
