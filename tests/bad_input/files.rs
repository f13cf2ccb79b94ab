//! Files: making them, and what may stand in their place.

use crate::environment::{
    NEEDS_NAMESPACE, NEEDS_ROOT, NEEDS_SECCOMP, Refused, become_nobody, make_shm_read_only, private_shm, refuse,
};
use crate::image::descriptor;
use crate::row::{Got, Name, Row, Section};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::Mode;
use ownerdead::lock::{FutexMutex, RobustMutex};
use ownerdead::ring::spsc::{Config, Ring};
use ownerdead::segment::{Kind, Options, Segment};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

const SMALL: Config = Config::new(64);

/// A ring in which a record waits, and that it still comes out: what is done to others in between has not harmed it.
pub fn with_honest_ring(name: &Name, bad: impl FnOnce(&Ring) -> Got) -> Got {
    let ring = Ring::create(name.as_str(), &Options::new().slots(1), &Config::new(1024)).unwrap();
    let me = ring.attach().unwrap();
    let mut producer = ring.producer(&me).unwrap().into_inner();
    let mut consumer = ring.consumer(&me).unwrap().into_inner();
    producer.push(7, b"before").unwrap();
    let got = bad(&ring);
    producer.push(8, b"after").unwrap();
    let mut bytes = Vec::new();
    assert_eq!((consumer.pop(&mut bytes).unwrap(), bytes.as_slice()), (7, &b"before"[..]));
    assert_eq!((consumer.pop(&mut bytes).unwrap(), bytes.as_slice()), (8, &b"after"[..]));
    got
}

/// What is in `/dev/shm` of this row's: under its name, or under a private one of its process.
fn left(name: &Name) -> Vec<String> {
    let private = format!(".ownerdead.{}.", std::process::id());
    let entries = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.filter(|entry| entry.starts_with(name.as_str()) || entry.starts_with(&private)).collect()
}

/// Making it fails, and leaves nothing behind.
fn not_made(name: &Name, options: Options, config: Config) -> Got {
    let got = Got::error(Ring::create(name.as_str(), &options, &config));
    assert_eq!(left(name), [""; 0]);
    got
}

/// In a `/dev/shm` with these options a ring of a mebibyte is not made, and one of 64 bytes is.
fn in_private_shm(name: &Name, options: &std::ffi::CStr, small_fits: bool) -> Got {
    if !private_shm(options) {
        return Got::NotRun(NEEDS_NAMESPACE);
    }
    let got = not_made(name, Options::new(), Config::new(1 << 20));
    let small = Ring::create(name.as_str(), &Options::new().slots(1), &SMALL);
    assert_eq!(small.is_ok(), small_fits, "{small:?}");
    got
}

fn under_limit(name: &Name, resource: Resource, limit: u64, options: Options) -> Got {
    with_honest_ring(name, |_| {
        let other = name.other();
        let (_, hard) = nix::sys::resource::getrlimit(resource).unwrap();
        setrlimit(resource, limit, hard).unwrap();
        let made = Ring::create(other.as_str(), &options, &Config::new(1 << 20));
        let memfd = Ring::memfd(&options, &Config::new(1 << 20)).unwrap_err().to_string();
        setrlimit(resource, hard, hard).unwrap();
        assert_eq!(left(&other), [""; 0]);
        let text = made.unwrap_err().to_string();
        // With a name or without one, but for the name of what failed.
        assert_eq!(text.replace("open /dev/shm with O_TMPFILE", "memfd_create"), memfd);
        Got::Error(text)
    })
}

pub fn making() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Making a segment",
        rows: vec![
            row("a name that is taken", |name| {
                with_honest_ring(name, |_| Got::error(Ring::create(name.as_str(), &Options::new(), &SMALL)))
            }),
            row("no slots", |name| not_made(name, Options::new().slots(0), SMALL)),
            row("4095 slots", |name| not_made(name, Options::new().slots(4095), SMALL)),
            row("a mode with a set-user-ID bit", |name| not_made(name, Options::new().mode(0o4600), SMALL)),
            row("a body of 2^64 - 1 bytes", |name| {
                Got::error(Segment::create(name.as_str(), &Options::new(), Kind::SPSC, usize::MAX, |_| {}))
            }),
            row("a ring of 4 GiB in a `/dev/shm` of 64 MiB", |name| {
                if !private_shm(c"size=64m") {
                    return Got::NotRun(NEEDS_NAMESPACE);
                }
                not_made(name, Options::new(), Config::new(1 << 32))
            }),
            row("a full `/dev/shm`", |name| in_private_shm(name, c"size=64k", true)),
            row("a `/dev/shm` with room for no file", |name| in_private_shm(name, c"nr_inodes=1", false)),
            row("a `/dev/shm` that is mounted read-only", |name| {
                if !private_shm(c"size=64k") {
                    return Got::NotRun(NEEDS_NAMESPACE);
                }
                with_honest_ring(name, |_| {
                    // Writable mappings keep a file system from being made read-only, so this is done in another process.
                    Got::Error(crate::row::in_a_process("read-only", || {
                        assert!(private_shm(c"size=64k"), "the first time it was allowed");
                        make_shm_read_only();
                        let other = name.other();
                        Ring::create(other.as_str(), &Options::new(), &SMALL).unwrap_err().to_string()
                    }))
                })
            }),
            row("a `/dev/shm` that another user may not write", |name| {
                if !private_shm(c"size=64k,mode=755") {
                    return Got::NotRun(NEEDS_NAMESPACE);
                }
                if !become_nobody() { Got::NotRun(NEEDS_ROOT) } else { not_made(name, Options::new(), SMALL) }
            }),
            row("more bytes than `RLIMIT_FSIZE` allows", |name| {
                under_limit(name, Resource::RLIMIT_FSIZE, 1 << 20, Options::new().slots(1))
            }),
            row("no descriptor left (`RLIMIT_NOFILE`)", |name| {
                under_limit(name, Resource::RLIMIT_NOFILE, 3, Options::new().slots(1))
            }),
            row("`fallocate` is refused", |name| {
                with_honest_ring(name, |_| {
                    let refused = Refused { number: libc::SYS_fallocate, only: None, with: libc::EPERM };
                    let other = name.other();
                    if refuse(&refused) { not_made(&other, Options::new(), SMALL) } else { Got::NotRun(NEEDS_SECCOMP) }
                })
            }),
            row("`linkat` is refused", |name| {
                with_honest_ring(name, |_| {
                    let refused = Refused { number: libc::SYS_linkat, only: None, with: libc::ENOSYS };
                    let other = name.other();
                    if refuse(&refused) { not_made(&other, Options::new(), SMALL) } else { Got::NotRun(NEEDS_SECCOMP) }
                })
            }),
            row("a name that others keep making and unlinking", |name| {
                // As it looks to one who always comes between the two.
                let refused = Refused { number: libc::SYS_linkat, only: None, with: libc::EEXIST };
                if !refuse(&refused) {
                    return Got::NotRun(NEEDS_SECCOMP);
                }
                Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &SMALL))
            }),
            row("a name that is opened or made where there is no space", |name| {
                if !private_shm(c"size=64k") {
                    return Got::NotRun(NEEDS_NAMESPACE);
                }
                let got = Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &Config::new(1 << 20)));
                assert_eq!(left(name), [""; 0]);
                got
            }),
            row("no address space left (`RLIMIT_AS`)", |name| {
                // 4094 slots are 16 MiB; the process has that much mapped already.
                under_limit(name, Resource::RLIMIT_AS, 1 << 20, Options::new().slots(4094))
            }),
        ],
    }
}

/// Opens the name, at which the row has put something else.
fn opened(name: &Name) -> Got {
    Got::error(Ring::open(name.as_str()))
}

/// Opens a copy of an honest ring's file that is cut to `length` bytes.
fn cut(name: &Name, length: impl FnOnce(u64) -> u64) -> Got {
    with_honest_ring(name, |_| {
        let other = name.other();
        std::fs::copy(name.path(), other.path()).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(other.path()).unwrap();
        file.set_len(length(file.metadata().unwrap().len())).unwrap();
        opened(&other)
    })
}

/// Opens an honest ring of this mode as another user.
fn as_nobody(name: &Name, mode: u32) -> Got {
    with_honest_ring(name, |_| {
        std::fs::set_permissions(name.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        if !become_nobody() {
            return Got::NotRun(NEEDS_ROOT);
        }
        // What this user makes itself it may open.
        let mine = format!("{}-mine", name.as_str());
        let (_, created) = Ring::open_or_create(&mine, &Options::new(), &SMALL).unwrap();
        assert!(created && Ring::open(&mine).is_ok());
        Segment::unlink(&mine).unwrap();
        opened(name)
    })
}

/// Opens an honest ring where a limit is in the way.
fn open_under(name: &Name, resource: Resource, limit: u64) -> Got {
    with_honest_ring(name, |_| {
        let (_, hard) = nix::sys::resource::getrlimit(resource).unwrap();
        setrlimit(resource, limit, hard).unwrap();
        let got = opened(name);
        setrlimit(resource, hard, hard).unwrap();
        assert!(Ring::open(name.as_str()).is_ok());
        got
    })
}

fn descriptor_is_refused(name: &Name, file: impl FnOnce(&Ring) -> OwnedFd) -> Got {
    with_honest_ring(name, |ring| Got::error(Segment::from_fd(file(ring), Kind::SPSC)))
}

pub fn opening() -> Section {
    let row = |input, run| Row { input, run };
    Section {
        title: "Opening what is no segment, or may not be opened",
        rows: vec![
            row("a directory", |name| {
                std::fs::create_dir(name.path()).unwrap();
                opened(name)
            }),
            row("a fifo", |name| {
                nix::unistd::mkfifo(&name.path(), Mode::S_IRWXU).unwrap();
                assert!(std::fs::metadata(name.path()).unwrap().file_type().is_fifo());
                opened(name)
            }),
            row("a socket", |name| {
                let _listener = std::os::unix::net::UnixListener::bind(name.path()).unwrap();
                opened(name)
            }),
            row("a symbolic link to a ring", |name| {
                with_honest_ring(name, |_| {
                    let other = name.other();
                    std::os::unix::fs::symlink(name.path(), other.path()).unwrap();
                    opened(&other)
                })
            }),
            row("a symbolic link to nothing, opened or made", |name| {
                std::os::unix::fs::symlink("nothing", name.path()).unwrap();
                Got::error(Ring::open_or_create(name.as_str(), &Options::new(), &SMALL))
            }),
            row("a descriptor of a device", |name| {
                descriptor_is_refused(name, |_| {
                    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap().into()
                })
            }),
            row("a descriptor of a directory", |name| {
                descriptor_is_refused(name, |_| std::fs::File::open("/dev/shm").unwrap().into())
            }),
            row("a descriptor of a pipe", |name| descriptor_is_refused(name, |_| std::io::pipe().unwrap().0.into())),
            row("a descriptor of a socket", |name| {
                descriptor_is_refused(name, |_| std::os::unix::net::UnixDatagram::unbound().unwrap().into())
            }),
            row("an empty file", |name| {
                std::fs::write(name.path(), b"").unwrap();
                opened(name)
            }),
            row("a file of 100 bytes", |name| cut(name, |_| 100)),
            row("a ring cut to its header", |name| cut(name, |_| 4096)),
            row("a ring that lacks its last byte", |name| cut(name, |whole| whole - 1)),
            row("a text file", |name| {
                std::fs::write(name.path(), "no segment ".repeat(1000)).unwrap();
                opened(name)
            }),
            row("another user's ring, mode 0600", |name| as_nobody(name, 0o600)),
            row("another user's ring that may be read only, mode 0644", |name| as_nobody(name, 0o644)),
            row("a descriptor that is open for reading only", |name| {
                descriptor_is_refused(name, |_| std::fs::File::open(name.path()).unwrap().into())
            }),
            row("a memfd that is sealed against writing", |name| {
                with_honest_ring(name, |ring| {
                    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
                    use nix::sys::memfd::{MFdFlags, memfd_create};
                    let file = memfd_create(c"ownerdead-bad", MFdFlags::MFD_ALLOW_SEALING).unwrap();
                    let bytes = crate::image::Image::of(ring.segment()).bytes();
                    std::os::unix::fs::FileExt::write_all_at(
                        &std::fs::File::from(file.try_clone().unwrap()),
                        &bytes,
                        0,
                    )
                    .unwrap();
                    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
                    Got::error(Segment::from_fd(file, Kind::SPSC))
                })
            }),
            row("a memfd that its maker has not sealed", |name| {
                with_honest_ring(name, |ring| {
                    use nix::sys::memfd::{MFdFlags, memfd_create};
                    let file = memfd_create(c"ownerdead-bad", MFdFlags::MFD_ALLOW_SEALING).unwrap();
                    let bytes = crate::image::Image::of(ring.segment()).bytes();
                    let copy = std::fs::File::from(file.try_clone().unwrap());
                    std::os::unix::fs::FileExt::write_all_at(&copy, &bytes, 0).unwrap();
                    Got::error(Segment::from_fd(file, Kind::SPSC))
                })
            }),
            row("a ring in a `/dev/shm` that is mounted read-only", |name| {
                if !private_shm(c"size=64k") {
                    return Got::NotRun(NEEDS_NAMESPACE);
                }
                drop(Ring::create(name.as_str(), &Options::new().slots(1), &SMALL).unwrap());
                make_shm_read_only();
                opened(name)
            }),
            row("no descriptor left to open with (`RLIMIT_NOFILE`)", |name| {
                open_under(name, Resource::RLIMIT_NOFILE, 3)
            }),
            row("no address space left to map with (`RLIMIT_AS`)", |name| {
                open_under(name, Resource::RLIMIT_AS, 1 << 20)
            }),
            row("unlinking a directory", |name| {
                std::fs::create_dir(name.path()).unwrap();
                let got = Got::error(Segment::unlink(name.as_str()));
                assert!(name.path().exists());
                got
            }),
            row("a robust mutex, opened as a ring", |name| {
                let mutex = RobustMutex::create(name.as_str(), &Options::new(), 7u64).unwrap();
                let got = opened(name);
                let me = mutex.attach().unwrap();
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                got
            }),
            row("a ring, opened as a robust mutex", |name| {
                with_honest_ring(name, |_| {
                    // SAFETY: this process alone has the segment, and it goes by the protocol.
                    Got::error(unsafe { RobustMutex::<u64>::open(name.as_str()) })
                })
            }),
            row("a futex mutex, opened as a robust one", |name| {
                let mutex = FutexMutex::create(name.as_str(), &Options::new(), 7u64).unwrap();
                // SAFETY: as above.
                let got = Got::error(unsafe { RobustMutex::<u64>::open(name.as_str()) });
                assert_eq!(*mutex.try_lock().unwrap(), 7);
                got
            }),
            row("a robust mutex that guards a `u64`, opened for a `u32`", |name| {
                let mutex = RobustMutex::create(name.as_str(), &Options::new(), 7u64).unwrap();
                // SAFETY: as above.
                let got = Got::error(unsafe { RobustMutex::<u32>::open(name.as_str()) });
                let me = mutex.attach().unwrap();
                assert_eq!(*mutex.lock(&me).unwrap(), 7);
                got
            }),
            row("a futex mutex that guards a `u64`, opened for a `[u64; 2]`", |name| {
                let mutex = FutexMutex::create(name.as_str(), &Options::new(), 7u64).unwrap();
                // SAFETY: as above.
                let got = Got::error(unsafe { FutexMutex::<[u64; 2]>::open(name.as_str()) });
                assert_eq!(*mutex.try_lock().unwrap(), 7);
                got
            }),
        ],
    }
}

/// On a file system that cannot make files without a name, one with a private name is linked and removed.
#[test]
#[serial_test::serial(dev_shm)]
fn without_o_tmpfile_a_ring_is_made_all_the_same_and_leaves_nothing_private() {
    let name = Name::new();
    let said = crate::row::in_a_process("no O_TMPFILE", || {
        let number = libc::SYS_openat;
        let only = Some((2, libc::O_TMPFILE as u32));
        if !refuse(&Refused { number, only, with: libc::EOPNOTSUPP }) {
            return NEEDS_SECCOMP.to_owned();
        }
        // The filter is in place: the standard library is refused too.
        use std::os::unix::fs::OpenOptionsExt;
        let refused = std::fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open("/dev/shm");
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        // What a killed process of the same PID may have left is passed over, and is not ours to remove.
        let stale = Name::of(format!(".ownerdead.{}.0", std::process::id()));
        std::fs::write(stale.path(), b"").unwrap();
        let got = with_honest_ring(&name, |ring| {
            assert_eq!(std::fs::metadata(name.path()).unwrap().nlink(), 1);
            assert_eq!(Ring::open(name.as_str()).unwrap().status().capacity, ring.status().capacity);
            Got::error(Ring::create(name.as_str(), &Options::new(), &SMALL))
        });
        std::fs::remove_file(stale.path()).unwrap();
        assert_eq!(left(&name), [name.as_str()]);
        drop(descriptor(Ring::open(name.as_str()).unwrap().segment()));
        match got {
            Got::Error(text) => text,
            Got::NotRun(reason) => reason.to_owned(),
        }
    });
    if said == NEEDS_SECCOMP {
        return crate::row::not_run("without O_TMPFILE", NEEDS_SECCOMP);
    }
    assert!(said.contains("exists: open it, or unlink it first"), "{said}");
}
