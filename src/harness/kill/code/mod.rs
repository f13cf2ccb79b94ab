//! What the addresses of instructions mean, and how much of the code a sweep has died in. Feature `symbols`.
//!
//! A sweep runs in a small process, and reports addresses of its own. [`Modules`] makes an [`Address`] of each there, which holds in
//! every process; it reads no file. [`Code`] reads the files, symbols and debug information, in another process: the cost of a fork
//! grows with the memory of the one that forks.
//!
//! ```text
//! stage   Modules::find    0x55d2f3a6b1c4 -> /path/of/the/executable+0x161c4
//! outer   Code::lookup     function, file, line, column; through inlined functions, innermost first
//!         Code::closure    roots -> every instruction that an operation has, by direct calls        -> Functions
//!         Functions::coverage   which of them a sweep died before, and why not before the others  -> Coverage
//!         Code::kill_map   deaths by line of source                                                -> KillLine
//! ```
//!
//! **What the closure does not know**: functions that are called through pointers from tables in data (trait objects); give what a
//! sweep executed as roots too, and they are followed from there. Functions of other modules: calls are followed in one module.
//!
//! What is proved of an instruction (that it lies on the path to a panic, say) rests on control flow alone: where a jump's targets are
//! not known, it may go anywhere in its function.

mod body;
mod closure;
mod coverage;
mod flow;
mod image;
mod kill_map;
mod lines;
mod modules;
mod name;
mod region;

pub use closure::{Functions, Instruction, Source, Unreached};
pub use coverage::{Coverage, Reason, ReasonLine, Reasons, ReasonsError, Uncovered};
pub use kill_map::KillLine;
pub use modules::{Address, AddressError, Modules};
pub use region::Branch;

use image::Image;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// Why code cannot be read.
#[derive(Debug)]
pub enum CodeError {
    /// A module's file cannot be read.
    Read {
        /// The file.
        module: String,
        /// The error.
        source: io::Error,
    },
    /// A module's file is not what it should be.
    Parse {
        /// The file.
        module: String,
        /// Which part of it, and what was found there.
        text: String,
    },
    /// A root is in no function that the module's symbols or its exception tables know.
    NoFunction {
        /// Where.
        address: Address,
    },
}

impl core::fmt::Display for CodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Read { module, source } => {
                write!(f, "{module}: {source}: it must be there as it was when the sweep ran")
            }
            Self::Parse { module, text } => write!(f, "{module}: {text}, expected an ELF file for x86-64 Linux"),
            Self::NoFunction { address } => write!(
                f,
                "{address}: found no function there, in the symbols or the exception tables: do not strip the module"
            ),
        }
    }
}

impl std::error::Error for CodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A function that an instruction is part of, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function, its generic arguments as `<..>`; `libc.so.6+0x1234` where its name is not known. With line tables alone, as in
    /// this project's release profile, an inlined function has the last part of its name.
    pub function: Rc<str>,
    /// Its source, relative to the checkout if it lies there.
    pub file: Option<Rc<Path>>,
    /// From 1; none where the compiler names none.
    pub line: Option<u32>,
    /// From 1; none where the compiler names none.
    pub column: Option<u32>,
}

/// The code of modules: read when it is first asked for.
#[derive(Debug)]
pub struct Code {
    checkout: PathBuf,
    images: RefCell<BTreeMap<Arc<str>, Rc<Image>>>,
}

impl Code {
    /// Source files below `checkout` are named relative to it: `env!("CARGO_MANIFEST_DIR")`, for tests.
    pub fn new(checkout: impl Into<PathBuf>) -> Self {
        Self { checkout: checkout.into(), images: RefCell::default() }
    }

    /// What is at an address: the innermost inlined function first, the one whose instruction it is last. At least one.
    ///
    /// # Errors
    /// [`CodeError::Read`], [`CodeError::Parse`].
    pub fn lookup(&self, address: &Address) -> Result<Vec<Frame>, CodeError> {
        self.image(address.module())?.frames(address, &self.checkout)
    }

    fn image(&self, module: &Arc<str>) -> Result<Rc<Image>, CodeError> {
        if let Some(image) = self.images.borrow().get(module) {
            return Ok(image.clone());
        }
        let image = Rc::new(Image::open(module)?);
        self.images.borrow_mut().insert(module.clone(), image.clone());
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(always)]
    fn inlined(value: u64) -> u64 {
        std::hint::black_box(value).rotate_left(7)
    }

    #[inline(never)]
    fn known(value: u64) -> u64 {
        inlined(value) + 1
    }

    fn code() -> Code {
        Code::new(env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn a_function_is_found_by_its_address_with_file_and_line() {
        known(1);
        let address = Modules::of_this_process().unwrap().find_function(known as *const ()).unwrap();
        let frames = code().lookup(&address).unwrap();
        let outermost = frames.last().unwrap();
        assert!(outermost.function.ends_with("code::tests::known"), "{frames:?}");
        assert_eq!(outermost.file.as_deref(), Some(Path::new(file!())), "{frames:?}");
        assert!(outermost.line.is_some_and(|line| line.abs_diff(line!()) < 40), "{frames:?}");
    }

    #[test]
    fn code_without_debug_information_is_named_by_its_symbol() {
        let address = Modules::of_this_process().unwrap().find_function(libc::getpid as *const ()).unwrap();
        let frames = code().lookup(&address).unwrap();
        assert_eq!(&*frames[0].function, "getpid");
        assert!(address.short().starts_with("libc.so.6+0x"), "{}", address.short());
    }

    #[test]
    fn a_file_that_is_gone_is_an_error_that_names_it() {
        let error = code().lookup(&Address::new("/nowhere/at all", 0)).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/at all: "), "{error}");
    }
}
