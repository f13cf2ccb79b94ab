//! A module's debug information: inlined functions and lines of source.

use super::image::Elf;
use super::{Frame, name};
use addr2line::Context;
use gimli::{EndianRcSlice, LittleEndian};
use object::{Object, ObjectSection};
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

/// Lines and inlined functions, by address. Nothing is found where a module has none.
pub(super) struct Lines {
    context: Context<EndianRcSlice<LittleEndian>>,
    names: RefCell<HashMap<String, Rc<str>>>,
    files: RefCell<HashMap<String, Rc<Path>>>,
}

impl core::fmt::Debug for Lines {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    /// Of a module; the error says what is wrong with it.
    pub(super) fn new(file: &Elf<'_>) -> Result<Self, String> {
        let section = |id: gimli::SectionId| {
            let data =
                file.section_by_name(id.name()).map_or(Ok(Default::default()), |found| found.uncompressed_data());
            let data = data.map_err(|error| format!("{}: {error}", id.name()))?;
            Ok::<_, String>(EndianRcSlice::new(Rc::from(&*data), LittleEndian))
        };
        let context = Context::from_dwarf(gimli::Dwarf::load(section)?).map_err(|error| error.to_string())?;
        Ok(Self { context, names: RefCell::default(), files: RefCell::default() })
    }

    /// What is at `offset`, innermost first. `symbol` is the function that is not inlined: line tables alone say of it, as of those
    /// that are inlined, no more than the last part of its name.
    pub(super) fn frames(&self, offset: u64, symbol: &Rc<str>, checkout: &Path) -> Result<Vec<Frame>, gimli::Error> {
        let mut found = Vec::new();
        let mut frames = self.context.find_frames(offset).skip_all_loads()?;
        while let Some(frame) = frames.next()? {
            let function = match &frame.function {
                Some(function) => self.name(&function.raw_name()?),
                None => symbol.clone(),
            };
            let location = frame.location.as_ref();
            found.push(Frame {
                function,
                file: location.and_then(|location| location.file).map(|file| self.file(file, checkout)),
                line: location.and_then(|location| location.line),
                column: location.and_then(|location| location.column).filter(|&column| column != 0),
            });
        }
        match found.last_mut() {
            Some(outermost) => outermost.function = symbol.clone(),
            None => found.push(Frame { function: symbol.clone(), file: None, line: None, column: None }),
        }
        Ok(found)
    }

    /// As a person reads it. Kept: there are few, and they are asked for at each instruction.
    pub(super) fn name(&self, symbol: &str) -> Rc<str> {
        if let Some(known) = self.names.borrow().get(symbol) {
            return known.clone();
        }
        let name: Rc<str> = name::readable(symbol).into();
        self.names.borrow_mut().insert(symbol.into(), name.clone());
        name
    }

    fn file(&self, file: &str, checkout: &Path) -> Rc<Path> {
        if let Some(known) = self.files.borrow().get(file) {
            return known.clone();
        }
        let path = Path::new(file);
        let short: Rc<Path> = path.strip_prefix(checkout).unwrap_or(path).into();
        self.files.borrow_mut().insert(file.into(), short.clone());
        short
    }
}
