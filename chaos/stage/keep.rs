//! What is kept of a finding: the segments that were at work, byte by byte, and what `inspect` says of them.

use super::Stage;
use nix::errno::Errno;
use nix::unistd::Pid;
use ownerdead::inspect::{Thread, inspect};
use ownerdead::segment::Segment;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A segment that a scenario works with.
pub struct Watched {
    name: &'static str,
    file: OwnedFd,
}

/// Where cargo builds, or the temporary directory where that cannot be known.
pub fn target() -> PathBuf {
    let cargos = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).or_else(|| {
        // target/PROFILE/deps/this
        let exe = std::env::current_exe().ok()?;
        Some(exe.ancestors().nth(3)?.to_owned())
    });
    cargos.unwrap_or_else(std::env::temp_dir).join("ownerdead")
}

impl Stage {
    /// From now on these are the segments at work: the first finding keeps copies of them.
    pub fn watch(&mut self, segments: &[(&'static str, &Segment)]) {
        let copy = |&(name, segment): &(_, &Segment)| Watched {
            name,
            file: segment.as_fd().try_clone_to_owned().expect("a descriptor"),
        };
        self.watched = segments.iter().map(copy).collect();
    }

    /// Keeps them; what to say of it.
    pub(super) fn keep(&self) -> String {
        let folder = target().join("artefacts");
        let mut said = String::new();
        for Watched { name, file } in &self.watched {
            let path = folder.join(format!("{}-{}-{name}.segment", self.name, self.seed));
            let _ = match write(&folder, &path, file) {
                Ok(()) => write!(said, "; look: cargo ownerdead inspect {}", path.display()),
                Err(error) => write!(said, "; segment {name} could not be kept: {error}"),
            };
        }
        said
    }
}

fn write(folder: &Path, path: &Path, file: &OwnedFd) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let file = File::from(file.try_clone()?);
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    std::fs::write(path, &bytes)?;
    // Now, since only now it is known which threads there are.
    let report = inspect(&&bytes[..], thread, |_| ());
    std::fs::write(path.with_extension("inspect.txt"), format!("{report:#?}\n"))
}

/// Whether a thread of this PID namespace has this TID.
pub fn thread(tid: u32) -> Thread {
    match nix::sys::signal::kill(Pid::from_raw(tid as i32), None) {
        Err(Errno::ESRCH) => Thread::Gone,
        _ => Thread::Exists { name: None },
    }
}
