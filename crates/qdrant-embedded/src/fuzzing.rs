//! Entries to private parsers for the fuzz targets in `fuzz/`; not part of the program.

use std::io;

use crate::journal::{FILE, Journal};

/// The records that count in a journal with these bytes.
///
/// # Errors
/// When it is no journal.
pub fn journal_records(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join(FILE), bytes)?;
    Journal::open(folder.path(), None).map(|(_, records)| records)
}
