//! What is mapped where.

use std::ffi::{CStr, OsStr, c_int, c_void};
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The kernel's own code in a process: it has no file.
pub(super) const VDSO: &str = "[vdso]";

/// Where an instruction lies, in whatever process. As text `module+0xoffset`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    module: Arc<str>,
    offset: u64,
}

impl Address {
    /// Of the file `module`; `offset` is an address as the file has it, before it is loaded.
    pub fn new(module: impl Into<Arc<str>>, offset: u64) -> Self {
        Self { module: module.into(), offset }
    }

    /// The path of the file, or `[vdso]`.
    pub fn module(&self) -> &Arc<str> {
        &self.module
    }

    /// In bytes, from where the file's own addresses begin.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// With the name of the file alone.
    pub fn short(&self) -> String {
        let file = Path::new(&*self.module).file_name().and_then(OsStr::to_str).unwrap_or(&self.module);
        format!("{file}+{:#x}", self.offset)
    }
}

impl core::fmt::Display for Address {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}+{:#x}", self.module, self.offset)
    }
}

/// A text that is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    /// The text.
    pub found: String,
}

impl core::fmt::Display for AddressError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "found `{}`, expected an address as `/path/of/the/file+0x1234`", self.found)
    }
}

impl std::error::Error for AddressError {}

impl core::str::FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = text.rsplit_once("+0x").filter(|(module, _)| !module.is_empty()).and_then(|(module, offset)| {
            let offset = u64::from_str_radix(offset, 16).ok()?;
            Some(Self::new(module, offset))
        });
        parsed.ok_or_else(|| AddressError { found: text.into() })
    }
}

/// What is mapped in this process: its executable, its shared objects, the vDSO. A few kilobytes; no file is read.
#[derive(Clone, Debug)]
pub struct Modules {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug)]
struct Segment {
    mapped: Range<u64>,
    /// What is added to a file's own addresses when it is loaded. 0 for an executable that is not position-independent.
    bias: u64,
    module: Arc<str>,
}

impl Modules {
    /// As they are now.
    ///
    /// # Errors
    /// Of reading the link `/proc/self/exe`.
    pub fn of_this_process() -> io::Result<Self> {
        let executable: Arc<str> = std::fs::read_link("/proc/self/exe")?.to_string_lossy().into();
        let mut found = Found { executable, segments: Vec::new() };
        // SAFETY: the callback takes what it is given here, which lives during the call, and nobody else has.
        unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
        let mut segments = found.segments;
        segments.sort_by_key(|segment| segment.mapped.start);
        Ok(Self { segments })
    }

    /// Where `address`, of this process, lies; none if in no module.
    pub fn find(&self, address: u64) -> Option<Address> {
        let behind = self.segments.partition_point(|segment| segment.mapped.start <= address);
        let segment = &self.segments[behind.checked_sub(1)?];
        segment.mapped.contains(&address).then(|| Address::new(segment.module.clone(), address - segment.bias))
    }

    /// Where the instructions of `function` begin, given as a pointer to it.
    pub fn find_function(&self, function: *const ()) -> Option<Address> {
        self.find(function as u64)
    }
}

struct Found {
    executable: Arc<str>,
    segments: Vec<Segment>,
}

/// # Safety
/// `info` is the C library's, and `found` points to a [`Found`] that nobody else has.
unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: the caller's promise.
    let (info, found) = unsafe { (&*info, &mut *found.cast::<Found>()) };
    // SAFETY: so many headers are there, and the name ends with 0; both live as long as the module is loaded.
    let (headers, name) =
        unsafe { (std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()), CStr::from_ptr(info.dlpi_name)) };
    // SAFETY: no pointers.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let mapped = |header: &libc::Elf64_Phdr| {
        let start = info.dlpi_addr.wrapping_add(header.p_vaddr);
        start..start.saturating_add(header.p_memsz)
    };
    let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let module: Arc<str> = if loaded().any(|header| mapped(header).contains(&vdso)) {
        VDSO.into()
    } else if name.is_empty() {
        found.executable.clone()
    } else {
        Path::new(OsStr::from_bytes(name.to_bytes())).to_string_lossy().into()
    };
    for header in loaded() {
        found.segments.push(Segment { mapped: mapped(header), bias: info.dlpi_addr, module: module.clone() });
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["/a+0x1/b c+0x12ab", "[vdso]+0x0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "+0x1", "/a", "/a+12", "/a+0xfg"] {
            assert_eq!(text.parse::<Address>(), Err(AddressError { found: text.into() }));
        }
    }

    #[test]
    fn an_address_in_no_module_is_not_found() {
        let modules = Modules::of_this_process().unwrap();
        assert_eq!(modules.find(0), None);
        assert_eq!(modules.find(u64::MAX), None);
        let heap = Box::new(0u8);
        assert_eq!(modules.find(&raw const *heap as u64), None);
    }
}
