//! Where an address of this process is in the source.

use addr2line::Loader;
use std::collections::HashMap;

/// Files of code, loaded when first asked for.
#[derive(Default)]
pub struct Places {
    loaders: HashMap<String, Option<Loader>>,
}

/// A function, and the line in it.
pub struct Source {
    pub(crate) function: String,
    /// Into which that one was inlined, if it was.
    pub(crate) called: Option<String>,
    pub(crate) file: String,
    pub(crate) line: u32,
}

impl Places {
    /// `None` if nobody knows: no symbols, no debug information.
    pub(crate) fn source(&mut self, address: u64) -> Option<Source> {
        let (path, base) = module(address)?;
        let loader = self.loaders.entry(path.clone()).or_insert_with(|| Loader::new(path).ok()).as_ref()?;
        let probe = address - base + loader.relative_address_base();
        let mut frames = loader.find_frames(probe).ok()?;
        let mut functions = Vec::new();
        let mut innermost = None;
        while let Ok(Some(frame)) = frames.next() {
            functions.extend(frame.function.and_then(|function| function.demangle().ok().map(String::from)));
            innermost = innermost.or(frame.location);
        }
        if functions.is_empty() {
            functions.extend(loader.find_symbol(probe).map(String::from));
        }
        let file = innermost.as_ref().and_then(|location| location.file).unwrap_or("?").to_owned();
        let line = innermost.and_then(|location| location.line).unwrap_or(0);
        // Of those that were inlined into each other, the one that the line is in, and the one that is called.
        let function = functions.first()?.clone();
        let called = functions.pop().filter(|called| *called != function);
        Some(Source { function, called, file, line })
    }
}

impl core::fmt::Display for Source {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.function)?;
        if let Some(called) = &self.called {
            write!(f, " in {called}")?;
        }
        write!(f, ", {}:{}", self.file, self.line)
    }
}

/// The file that is mapped at `address`, and where its first byte is.
fn module(address: u64) -> Option<(String, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let mut first: HashMap<&str, u64> = HashMap::new();
    for line in maps.lines() {
        let Some((range, path)) = line.split_once(' ').zip(line.split_once('/')).map(|(left, right)| (left.0, right.1))
        else {
            continue;
        };
        let (start, end) = range.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let base = *first.entry(path).or_insert(start);
        if (start..end).contains(&address) {
            return Some((format!("/{path}"), base));
        }
    }
    None
}
