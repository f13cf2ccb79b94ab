//! Records of directories, merged: one for each check.

use ownerdead::harness::record::Record;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// One for each kind and name, in that order.
    pub records: Vec<Record>,
    /// What could not be read, or counts twice: a report with such a thing does not pass.
    pub problems: Vec<String>,
    /// Files that were read.
    pub files: usize,
}

/// Reads all records in and below `directories`.
pub fn read(directories: &[PathBuf]) -> Read {
    let (mut read, mut merged) = (Read::default(), BTreeMap::new());
    for directory in directories {
        let mut files = Vec::new();
        if let Err(error) = find(directory, &mut files) {
            read.problems.push(format!("{}: it cannot be read: {error}", directory.display()));
        }
        // In one order on every machine.
        files.sort();
        for file in files {
            match Record::read(&file) {
                Ok(record) => {
                    read.files += 1;
                    take_in(&mut merged, record, &file, &mut read.problems);
                }
                Err(error) => read.problems.push(format!("{}: {error}", file.display())),
            }
        }
    }
    read.records = merged.into_values().collect();
    read
}

type Merged = BTreeMap<(ownerdead::harness::record::Kind, String), Record>;

fn take_in(merged: &mut Merged, record: Record, file: &Path, problems: &mut Vec<String>) {
    match merged.get_mut(&(record.kind, record.name.clone())) {
        None => {
            merged.insert((record.kind, record.name.clone()), record);
        }
        Some(sum) => {
            if let Err(error) = sum.merge(record) {
                problems.push(format!("{}: {error}", file.display()));
            }
        }
    }
}

/// Files of records: what is hidden is still being written.
fn find(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            find(&path, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
}
