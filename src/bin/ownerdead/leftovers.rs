//! Segments that tests left in /dev/shm because they were killed in the middle.

use nix::unistd::geteuid;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

const SHM: &str = "/dev/shm";
/// How the names of segments of the checks begin; `ci/leftovers.sh` knows them too.
const PREFIXES: [&str; 2] = ["ownerdead", ".ownerdead"];

/// Segments of the checks, ours and not another user's.
pub fn segments() -> BTreeSet<PathBuf> {
    let me = geteuid().as_raw();
    let entries = fs::read_dir(SHM).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        let name = entry.file_name();
        let named = PREFIXES.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()));
        named && entry.metadata().is_ok_and(|found| found.uid() == me && found.is_file())
    });
    ours.map(|entry| entry.path()).collect()
}

/// Removes what came since `before`, and is in use by nobody; says how many.
pub fn remove(before: &BTreeSet<PathBuf>) -> usize {
    let new = segments().into_iter().filter(|path| !before.contains(path) && !in_use(path));
    new.filter(|path| fs::remove_file(path).is_ok()).count()
}

/// Whether a process has it mapped or open. Another checkout's checks may run at the same time.
fn in_use(path: &Path) -> bool {
    let path_text = path.to_string_lossy();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.map(|entry| entry.path()).any(|process| {
        let mapped = fs::read_to_string(process.join("maps"))
            .is_ok_and(|maps| maps.lines().any(|line| line.ends_with(path_text.as_ref())));
        let mut open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        mapped || open.any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
    })
}
