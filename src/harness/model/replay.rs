//! Replay files: one execution that violated something, in enough detail to run exactly it again.
//!
//! Lines of `key value`, up to `steps N`; then one step on each of `N` lines; then a check sum of all that is before it.

use crate::sync::rt;
use std::path::{Path, PathBuf};

const VERSION: &str = "ownerdead replay 1";

/// What a replay file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replay {
    pub(super) sweep: String,
    /// The test that the sweep is in.
    pub(super) test: String,
    pub(super) back_end: String,
    /// The deaths, as `OWNERDEAD_KILL` has them.
    pub(super) kill: String,
    pub(super) seed: u64,
    /// What was violated, in one line.
    pub(super) violated: String,
    /// As the back end has it.
    pub(super) schedule: String,
    /// What the processes did, by which it is seen whether the schedule still fits.
    pub(super) steps: Vec<String>,
}

impl Replay {
    /// The file that `OWNERDEAD_REPLAY` names, if it is this sweep's. `None` if it is that of another sweep of the same test.
    ///
    /// # Panics
    /// If it cannot be read, is damaged, or is for another sweep or another back end.
    pub(super) fn asked(sweep: &str) -> Option<Asked> {
        let path = std::env::var_os("OWNERDEAD_REPLAY")?;
        let path = Path::new(&path);
        let fail = |what: String| -> ! { panic!("OWNERDEAD_REPLAY={}: {what}", path.display()) };
        let text = std::fs::read(path).unwrap_or_else(|error| fail(error.to_string()));
        let replay = Self::parse(&text).unwrap_or_else(|what| fail(what));
        if replay.back_end != rt::NAME {
            let (then, now) = (&replay.back_end, rt::NAME);
            fail(format!("found a schedule of {then}, expected one of {now}: build with RUSTFLAGS=\"--cfg {then}\""));
        }
        if replay.sweep == sweep {
            return Some(Asked::This(replay));
        }
        if replay.test == test_name() {
            return Some(Asked::Another(replay.sweep));
        }
        let Self { sweep: then, test, .. } = replay;
        fail(format!("found the sweep `{then}` of the test `{test}`, expected the sweep `{sweep}`"))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = core::str::from_utf8(bytes).map_err(|error| format!("damaged: not UTF-8: {error}"))?;
        let first = text.lines().next().unwrap_or("");
        if first != VERSION {
            let found: String = first.chars().take(60).collect();
            return Err(format!("expected a first line `{VERSION}`, found `{found}`"));
        }
        let body = text.trim_end_matches('\n').rfind('\n').map_or("", |end| &text[..=end]);
        let last = text[body.len()..].trim_end_matches('\n');
        let sum = crc32fast::hash(body.as_bytes());
        let Some(said) = last.strip_prefix("sum ").and_then(|sum| u32::from_str_radix(sum, 16).ok()) else {
            let found: String = last.chars().take(60).collect();
            return Err(format!("damaged: expected a last line `sum ...`, found `{found}`: is its end missing?"));
        };
        if said != sum {
            return Err(format!("damaged: its check sum is {said:08x}, expected {sum:08x} for what it holds"));
        }
        let mut lines = body.lines().skip(1);
        let mut field = |key: &str| {
            let line = lines.next().unwrap_or("");
            let value =
                line.strip_prefix(key).and_then(|rest| rest.strip_prefix(' ').or(rest.is_empty().then_some("")));
            value.map(str::to_owned).ok_or_else(|| format!("damaged: expected a line `{key} ...`, found `{line}`"))
        };
        let (sweep, test, back_end) = (field("sweep")?, field("test")?, field("back-end")?);
        let (kill, seed, violated, schedule) = (field("kill")?, field("seed")?, field("violated")?, field("schedule")?);
        let count = field("steps")?;
        let seed = seed.parse().map_err(|_| format!("damaged: expected a number after `seed`, found `{seed}`"))?;
        let steps: Vec<_> = lines.map(str::to_owned).collect();
        if count != steps.len().to_string() {
            return Err(format!("damaged: it says {count} steps, and holds {}", steps.len()));
        }
        Ok(Self { sweep, test, back_end, kill, seed, violated, schedule, steps })
    }

    pub(super) fn to_text(&self) -> String {
        let Self { sweep, test, back_end, kill, seed, violated, schedule, steps } = self;
        let (violated, schedule) = (one_line(violated), one_line(schedule));
        let mut text = format!(
            "{VERSION}\nsweep {sweep}\ntest {test}\nback-end {back_end}\nkill {kill}\nseed {seed}\n\
             violated {violated}\nschedule {schedule}\nsteps {}\n",
            steps.len()
        );
        for step in steps {
            text += &format!("{step}\n");
        }
        let sum = crc32fast::hash(text.as_bytes());
        text + &format!("sum {sum:08x}\n")
    }

    /// Whether an execution that failed with `message` after `steps` is the one that was written down. If not, why.
    pub(super) fn is_same(&self, message: &str, steps: usize) -> Result<(), String> {
        if one_line(message) == one_line(&self.violated) || steps >= self.steps.len() {
            return Ok(());
        }
        Err(format!("it ended after {steps} of {} steps with: {}", self.steps.len(), one_line(message)))
    }
}

/// What `OWNERDEAD_REPLAY` asks for.
pub(super) enum Asked {
    This(Replay),
    /// Another sweep of the same test.
    Another(String),
}

pub(super) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The test that runs.
pub(super) fn test_name() -> String {
    std::thread::current().name().unwrap_or("").to_owned()
}

/// Where the replay file of a sweep goes: below cargo's target directory. The folder is made.
pub(super) fn file(sweep: &str) -> std::io::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).or_else(|| {
        // cargo marks its target directory; a member of a workspace has none of its own.
        let exe = std::env::current_exe().ok()?;
        exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()).map(Path::to_owned)
    });
    let target = target.unwrap_or_else(|| "target".into());
    // As a person at the root would type it.
    let here = std::env::current_dir().unwrap_or_default();
    let folder = target.strip_prefix(&here).unwrap_or(&target).join("ownerdead/replay");
    std::fs::create_dir_all(&folder)?;
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    Ok(folder.join(format!("{}.{}", sweep.chars().map(plain).collect::<String>(), rt::NAME)))
}

/// The command that runs this test again, with `environment` set.
pub(super) fn command(environment: &[(&str, &str)]) -> String {
    let mut text = String::new();
    // Where they are set they decide where the build is, and what is changed in it.
    let kept = ["CARGO_TARGET_DIR", "OWNERDEAD_WEAKEN", "OWNERDEAD_DELAY", "OWNERDEAD_UNFENCE", "OWNERDEAD_STALE"];
    let kept = kept.map(|name| (name, std::env::var(name).unwrap_or_default()));
    let kept = kept.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, value.as_str()));
    for (name, value) in environment.iter().copied().chain(kept) {
        text += &format!("{name}={} ", quoted(value));
    }
    text + &format!(
        "RUSTFLAGS=\"--cfg {}\" cargo test --release {}-- --exact --nocapture {}",
        rt::NAME,
        binary().map(|name| format!("{name} ")).unwrap_or_default(),
        quoted(&test_name())
    )
}

/// How cargo names the binary that runs.
fn binary() -> Option<String> {
    let exe = std::env::current_exe().ok()?;
    let stem = exe.file_stem()?.to_str()?;
    // The file is NAME-HASH.
    let (name, _) = stem.rsplit_once('-')?;
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default().replace('-', "_");
    Some(if name == package { "--lib".into() } else { format!("--test {name}") })
}

fn quoted(text: &str) -> String {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c)) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay() -> Replay {
        Replay {
            sweep: "s".into(),
            test: "t".into(),
            back_end: "loom".into(),
            kill: String::new(),
            seed: 7,
            violated: "two are inside".into(),
            schedule: "0*3 1*2 |".into(),
            steps: vec!["a load".into(), "b#1 store".into()],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Replay::parse(replay().to_text().as_bytes()), Ok(replay()));
    }

    #[test]
    fn every_changed_byte_and_every_missing_end_is_seen() {
        let text = replay().to_text();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            // All but the newline that ends the file.
            assert!(Replay::parse(&bytes).is_err() || at + 1 == text.len(), "byte {at}");
            assert!(Replay::parse(&text.as_bytes()[..at]).is_err() || at + 1 == text.len(), "cut at {at}");
        }
    }

    #[test]
    fn an_error_says_what_was_found_and_what_was_expected() {
        let error = |text: &str| Replay::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error("nonsense\n"), "expected a first line `ownerdead replay 1`, found `nonsense`");
        let newer = replay().to_text().replace("replay 1", "replay 2");
        assert_eq!(error(&newer), "expected a first line `ownerdead replay 1`, found `ownerdead replay 2`");
        let changed = replay().to_text().replace("a load", "a lode");
        assert!(error(&changed).starts_with("damaged: its check sum is "), "{}", error(&changed));
        let cut = replay().to_text().replace("b#1 store\n", "");
        let cut = cut.rsplit_once("sum ").unwrap().0;
        assert!(error(cut).contains("is its end missing?"), "{}", error(cut));
    }
}
