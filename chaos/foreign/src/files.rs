//! Where structures lie that are files.

use std::io;
use tempfile::TempDir;

/// A folder beside this program, so below the target directory, that is gone with the value.
pub fn folder(name: &str) -> io::Result<TempDir> {
    let program = std::env::current_exe()?;
    let parent = program.parent().ok_or(io::ErrorKind::NotFound)?;
    tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(parent)
}
