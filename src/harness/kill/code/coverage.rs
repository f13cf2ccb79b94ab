//! How much of the code a sweep has died in, and why not in the rest.

use super::region::Region;
use super::{Address, Branch, Functions, Source, Unreached};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Why instructions are not covered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is proved from the code.
    Proved(Unreached),
    /// The file of reasons says so.
    Given(Rc<str>),
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Proved(unreached) => unreached.fmt(f),
            Self::Given(text) => f.write_str(text),
        }
    }
}

/// Instructions of a line that no process died before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// The line.
    pub source: Rc<Source>,
    /// How many of its instructions.
    pub instructions: u64,
    /// The first of them.
    pub first: Address,
    /// Why; none if there is no reason.
    pub reason: Option<Reason>,
    /// Where there is none: the way there from covered code, or one of them.
    pub branch: Option<Rc<Branch>>,
}

/// What a sweep has covered of the instructions that are ours. Padding does not count.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Instructions of ours before which a process died.
    pub covered: u64,
    /// All instructions of ours.
    pub total: u64,
    /// Instructions before which a process died, and which are of others.
    pub outside_executed: u64,
    /// The rest, in the order of branches, files and lines.
    pub uncovered: Vec<Uncovered>,
    /// Reasons that fit nothing that needs one.
    pub unused: Vec<ReasonLine>,
    /// Reasons that explain more instructions than they may, and how many.
    pub exceeded: Vec<(ReasonLine, u64)>,
    /// Executed, and yet proved unreachable: a process has panicked, or the proof is wrong.
    pub disproved: Vec<(Address, Unreached)>,
    /// Executed inside a function of the closure, and yet no instruction of it: the decoding is wrong.
    pub undecoded: Vec<Address>,
}

impl Coverage {
    /// Instructions that are not covered, and have no reason.
    pub fn unexplained(&self) -> u64 {
        let without = self.uncovered.iter().filter(|uncovered| uncovered.reason.is_none());
        without.map(|uncovered| uncovered.instructions).sum()
    }

    /// Whether all is covered or has its reason, no reason is left over or explains too much, and nothing contradicts what is known
    /// of the code.
    pub fn passed(&self) -> bool {
        let reasons = self.unexplained() == 0 && self.unused.is_empty() && self.exceeded.is_empty();
        reasons && self.disproved.is_empty() && self.undecoded.is_empty()
    }
}

/// A line of the file of reasons.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReasonLine {
    /// Its number, from 1.
    pub number: usize,
    /// The source file, or the folder, that it is about, relative to the checkout.
    pub file: PathBuf,
    /// What the line of source contains.
    pub contains: String,
    /// The reason.
    pub reason: Rc<str>,
    /// The most instructions that it may explain; more would be others than it was written for.
    pub most: Option<u64>,
    /// Not every compiler makes code of the line that needs it: so it may explain nothing, but the line must be there.
    pub some_compilers: bool,
}

/// Why a file of reasons cannot be used.
#[derive(Debug)]
pub enum ReasonsError {
    /// It, or a source file, cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// A line is not of three parts.
    Parts {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        number: usize,
        /// What stands there.
        found: String,
    },
}

impl core::fmt::Display for ReasonsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}: it must be in the checkout", path.display()),
            Self::Parts { path, number, found } => write!(
                f,
                "{}:{number}: found `{found}`, expected three parts between tabs: file, text that the line of source contains, reason",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ReasonsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            Self::Parts { .. } => None,
        }
    }
}

/// Begins a reason that not every compiler needs.
const SOME_COMPILERS: &str = "~ ";
/// Begins one that explains no more instructions than the number that follows.
const AT_MOST: &str = "at most ";

/// Why code is not covered: `file<TAB>text that the line contains<TAB>reason`, one to a line; `#` begins a comment.
///
/// The line of source is that of a branch which is not taken, or of the first instruction that it goes to: then the reason is one for all
/// that is come by in no other way. Or it is any line whose instructions are not covered: then for these. Of what is inlined, a reason
/// may name the innermost line of each file. The file may be a folder. `\n` in the text is the end of a line: the reason is for the line
/// that has the last part, and stands behind the others. A reason that begins with `~ ` is one that not every compiler needs: it is not
/// left over as long as there is such a line. After that, `at most 12: ` says how many instructions it may explain.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    checkout: PathBuf,
    lines: Vec<ReasonLine>,
    /// What was read of source files, once for all that are clones of one another.
    files: Rc<RefCell<BTreeMap<PathBuf, FileReasons>>>,
}

/// The reason, by its index, for each line of a source file that has one.
type FileReasons = Rc<BTreeMap<u32, usize>>;

impl Reasons {
    /// Of the file at `path`, relative to the `checkout` as the source files in it are.
    ///
    /// # Errors
    /// [`ReasonsError`].
    pub fn read(checkout: &Path, path: &Path) -> Result<Self, ReasonsError> {
        let text = read(&checkout.join(path))?;
        Self::parse(checkout, path, &text)
    }

    /// Of `text`, which is the file at `path`.
    ///
    /// # Errors
    /// [`ReasonsError::Parts`].
    pub fn parse(checkout: &Path, path: &Path, text: &str) -> Result<Self, ReasonsError> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let line = |(index, line): (usize, &str)| match line.splitn(3, '\t').collect::<Vec<_>>()[..] {
            [file, contains, text] if ![file, contains, text.trim()].contains(&"") => {
                let (some_compilers, text) = match text.strip_prefix(SOME_COMPILERS) {
                    Some(text) => (true, text),
                    None => (false, text),
                };
                let limit = text.strip_prefix(AT_MOST).and_then(|text| text.split_once(": "));
                let limit = limit.and_then(|(most, text)| Some((most.parse().ok()?, text)));
                let (most, reason) = limit.map_or((None, text), |(most, text)| (Some(most), text));
                let (file, contains, reason) = (file.into(), contains.into(), reason.into());
                Ok(ReasonLine { number: index + 1, file, contains, reason, most, some_compilers })
            }
            _ => Err(ReasonsError::Parts { path: path.into(), number: index + 1, found: line.into() }),
        };
        let lines = lines.map(line).collect::<Result<_, _>>()?;
        Ok(Self { checkout: checkout.into(), lines, files: Rc::default() })
    }

    /// The reason for a line of source, or for one that it is inlined into: its index.
    pub(super) fn find(&self, source: &Source) -> Result<Option<usize>, ReasonsError> {
        for (file, line) in source.lines() {
            if let Some(&reason) = self.of_file(file)?.get(&line) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    fn given(&self, index: usize) -> Reason {
        Reason::Given(self.lines[index].reason.clone())
    }

    /// Whether a line of source that was looked at, or of the file that it is about, fits.
    fn is_there(&self, index: usize) -> Result<bool, ReasonsError> {
        let line = &self.lines[index];
        if self.checkout.join(&line.file).is_file() {
            self.of_file(&line.file)?;
        }
        Ok(self.files.borrow().values().any(|lines| lines.values().any(|&found| found == index)))
    }

    /// The lines of a source file that have a reason.
    fn of_file(&self, file: &Path) -> Result<FileReasons, ReasonsError> {
        if let Some(known) = self.files.borrow().get(file) {
            return Ok(known.clone());
        }
        let read: FileReasons = self.read_file(file)?.into();
        self.files.borrow_mut().insert(file.to_path_buf(), read.clone());
        Ok(read)
    }

    fn read_file(&self, file: &Path) -> Result<BTreeMap<u32, usize>, ReasonsError> {
        if !self.lines.iter().any(|line| file.starts_with(&line.file)) {
            return Ok(BTreeMap::new());
        }
        let text = read(&self.checkout.join(file))?;
        let text: Vec<&str> = text.lines().collect();
        let fits = |line: &ReasonLine, index: usize| {
            let parts: Vec<&str> = line.contains.split("\\n").collect();
            let before = (index + 1).checked_sub(parts.len());
            before.is_some_and(|first| text[first..].iter().zip(&parts).all(|(text, part)| text.contains(part)))
                && file.starts_with(&line.file)
        };
        let reason = |index: usize| self.lines.iter().position(|line| fits(line, index));
        Ok((1..).zip(0..text.len()).filter_map(|(number, index)| Some((number, reason(index)?))).collect())
    }
}

fn read(path: &Path) -> Result<String, ReasonsError> {
    std::fs::read_to_string(path).map_err(|source| ReasonsError::Read { path: path.into(), source })
}

impl Functions {
    /// What is covered if a process died before each of `executed`.
    ///
    /// # Errors
    /// [`ReasonsError::Read`] for a source file that a reason is about.
    pub fn coverage(&self, executed: &BTreeSet<Address>, reasons: &Reasons) -> Result<Coverage, ReasonsError> {
        let mut coverage = Coverage::default();
        let regions = self.regions(executed, reasons)?;
        let mut used = regions.used.clone();
        let mut uncovered: BTreeMap<_, (&Rc<Source>, u64, &Address)> = BTreeMap::new();
        let mut explained: BTreeMap<usize, u64> = BTreeMap::new();
        for (address, instruction) in &self.instructions {
            let executed = executed.contains(address);
            coverage.disproved.extend(instruction.unreached.filter(|_| executed).map(|proof| (address.clone(), proof)));
            let Some(source) = instruction.source.as_ref().filter(|_| !instruction.padding) else { continue };
            coverage.total += 1;
            if executed {
                coverage.covered += 1;
                continue;
            }
            let (reason, branch) = match (instruction.unreached, regions.of(address)) {
                (Some(unreached), _) => (Some(Reason::Proved(unreached)), None),
                (None, Region::Explained(index)) => {
                    *explained.entry(index).or_default() += 1;
                    (Some(reasons.given(index)), None)
                }
                (None, region) => {
                    let found = reasons.find(source)?;
                    used.extend(found);
                    found.into_iter().for_each(|index| *explained.entry(index).or_default() += 1);
                    let branch = if let Region::Behind(branch) = region { Some(branch) } else { None };
                    (found.map(|index| reasons.given(index)), branch.filter(|_| found.is_none()))
                }
            };
            let key = (branch, &source.file, source.line, &source.function, reason);
            uncovered.entry(key).or_insert((source, 0, address)).1 += 1;
        }
        for ((branch, .., reason), (source, instructions, first)) in uncovered {
            let (source, first) = (source.clone(), first.clone());
            coverage.uncovered.push(Uncovered { source, instructions, first, reason, branch });
        }
        for (index, count) in explained {
            let line = &reasons.lines[index];
            if line.most.is_some_and(|most| count > most) {
                coverage.exceeded.push((line.clone(), count));
            }
        }
        for (index, line) in reasons.lines.iter().enumerate().filter(|(index, _)| !used.contains(index)) {
            if !line.some_compilers || !reasons.is_there(index)? {
                coverage.unused.push(line.clone());
            }
        }
        for address in executed.iter().filter(|&address| !self.instructions.contains_key(address)) {
            match self.surround(address) {
                true => coverage.undecoded.push(address.clone()),
                false => coverage.outside_executed += 1,
            }
        }
        Ok(coverage)
    }
}
