//! The structs of the header. Fields are added at their ends alone; a caller's `size` says how many it knows.

use std::error::Error;
use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

/// `struct ownerdead_place`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Place {
    pub(crate) context: *mut c_void,
    pub(crate) memory: *mut u8,
    pub(crate) length: usize,
    pub(crate) facts: *mut u64,
    pub(crate) worker: u32,
}

pub(crate) type Make = unsafe extern "C" fn(*const Place) -> *mut c_void;
pub(crate) type Judge = unsafe extern "C" fn(*const Place, *mut c_void, *mut c_char, usize) -> c_int;

/// `struct ownerdead_subject`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RawSubject {
    pub(crate) size: usize,
    pub(crate) name: *const c_char,
    pub(crate) context: *mut c_void,
    pub(crate) memory: usize,
    pub(crate) create: Option<unsafe extern "C" fn(*const Place) -> c_int>,
    pub(crate) prepare: Option<unsafe extern "C" fn(*const Place)>,
    pub(crate) attach: Option<Make>,
    pub(crate) operation: Option<unsafe extern "C" fn(*const Place, *mut c_void)>,
    pub(crate) arrive: Option<Make>,
    pub(crate) recover: Option<Judge>,
    pub(crate) judge: Option<Judge>,
}

/// `struct ownerdead_options`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Options {
    pub(crate) size: usize,
    pub(crate) json: *const c_char,
    pub(crate) most_found: u32,
    pub(crate) patience_ms: u32,
    pub(crate) no_second_death: u32,
    pub(crate) survivors: u32,
    pub(crate) processes: u32,
    pub(crate) threads: u32,
    pub(crate) asleep_ms: u32,
    pub(crate) kills: u64,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        // SAFETY: all fields are integers or pointers, for which zeroes are valid.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }
}

/// A struct of the header.
///
/// # Safety
/// All zeroes are a valid value, and the first field is its size.
pub(crate) unsafe trait Versioned: Copy {}

// SAFETY: a size, pointers, integers, and functions of which none is null in an `Option`.
unsafe impl Versioned for RawSubject {}
// SAFETY: a size, a pointer, integers.
unsafe impl Versioned for Options {}

/// Copies a struct that may be of another version: what the caller does not know is 0, and what this library does not know must be.
///
/// # Safety
/// Null, or the start of so many readable bytes as its first field says.
pub(crate) unsafe fn read<T: Versioned>(from: *const T, name: &str) -> Result<Option<T>, Box<dyn Error>> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: the first field is readable in every version.
    let (found, known) = (unsafe { from.cast::<usize>().read() }, size_of::<T>());
    if found < size_of::<usize>() || found > 1 << 16 {
        return Err(format!("found size {found} in {name}, expected {known}: set it to sizeof(struct {name})").into());
    }
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), found) };
    if bytes.iter().skip(known).any(|&byte| byte != 0) {
        return Err(format!(
            "found a {name} of {found} bytes, with more in it than this library's {known} hold: use a newer one"
        )
        .into());
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: not more than fits, from one that does not overlap; zeroes, and what the caller wrote, are a valid value.
    unsafe {
        value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), found.min(known));
        Ok(Some(value.assume_init()))
    }
}
