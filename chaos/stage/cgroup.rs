//! Control groups of a scenario's own, of version 1 or 2: for a limit on memory, or a share of the processor.

use super::Stage;
use super::janitor::{Janitor, Waste};
use std::fs::{read_to_string, write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A control group below that of the stage, or beside it. Dropping it removes it.
pub struct Cgroup {
    folder: PathBuf,
    _janitor: Janitor,
}

/// A limit: the files that set it, under either version.
pub enum Limit {
    /// Bytes of memory, swapped ones included.
    Memory(u64),
    /// Time on processors in each tenth of a second.
    Cpu(Duration),
}

impl Limit {
    fn controller(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Cpu(_) => "cpu",
        }
    }

    /// File and content. Those after the first may be missing.
    fn files(&self, version: u32) -> Vec<(&'static str, String)> {
        match (self, version) {
            (Self::Memory(bytes), 1) => {
                vec![("memory.limit_in_bytes", bytes.to_string()), ("memory.memsw.limit_in_bytes", bytes.to_string())]
            }
            (Self::Memory(bytes), _) => vec![("memory.max", bytes.to_string()), ("memory.swap.max", "0".to_owned())],
            (Self::Cpu(share), 1) => vec![("cpu.cfs_quota_us", share.as_micros().to_string())],
            (Self::Cpu(share), _) => vec![("cpu.max", format!("{} 100000", share.as_micros()))],
        }
    }
}

/// A control group, as the kernel tells where it is.
struct Place {
    version: u32,
    folder: PathBuf,
}

impl Cgroup {
    /// A group with a limit.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn new(stage: &mut Stage, limit: &Limit) -> Result<Self, String> {
        let controller = limit.controller();
        let mut why = format!("no cgroup hierarchy with the controller {controller} is mounted");
        for Place { version, folder } in places(controller) {
            let folder = folder.join(format!("ownerdead-chaos-{}", std::process::id()));
            let group = Self { _janitor: stage.clean_up_after(Waste::Cgroup(folder.clone())), folder };
            match group.limit(version, limit) {
                Ok(()) => return Ok(group),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn limit(&self, version: u32, limit: &Limit) -> Result<(), String> {
        let shown = self.folder.display();
        std::fs::create_dir(&self.folder).map_err(|error| format!("cannot make the cgroup {shown}: {error}"))?;
        for (index, (file, value)) in limit.files(version).iter().enumerate() {
            let path = self.folder.join(file);
            if index > 0 && !path.exists() {
                continue;
            }
            write(&path, value).map_err(|error| format!("cannot write {value} to {}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// In a victim: goes there.
    pub fn enter(&self) {
        write(self.folder.join("cgroup.procs"), "0").expect("a cgroup that takes its maker's children");
    }
}

/// Where a group with this controller may be made: below the stage's own; where version 2 does not allow that, beside it.
fn places(controller: &str) -> Vec<Place> {
    let (own, mounts) = (read_to_string("/proc/self/cgroup"), read_to_string("/proc/self/mountinfo"));
    let (own, mounts) = (own.unwrap_or_default(), mounts.unwrap_or_default());
    let mut places = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let version = if number == "0" { 2 } else { 1 };
        if version == 1 && !controllers.split(',').any(|known| known == controller) {
            continue;
        }
        let Some(folder) = mounted(&mounts, version, controller, path) else { continue };
        if version == 1 {
            places.push(Place { version, folder });
            continue;
        }
        for folder in folder.ancestors().take(2) {
            let given = read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
            if given.split_whitespace().any(|known| known == controller) {
                places.push(Place { version, folder: folder.to_owned() });
            }
        }
    }
    places
}

/// The folder of the group `path`, in a hierarchy of this version with this controller.
fn mounted(mounts: &str, version: u32, controller: &str, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
        let (root, point, kind) = (before.next()?, before.next()?, after.next()?);
        let options = after.nth(1)?;
        let fits = match version {
            1 => kind == "cgroup" && options.split(',').any(|option| option == controller),
            _ => kind == "cgroup2",
        };
        let below = Path::new(path).strip_prefix(root).ok()?;
        fits.then(|| Path::new(point).join(below))
    })
}
