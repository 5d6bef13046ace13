//! Entries to private parsers for the fuzz targets in `fuzz/`; not part of the program.

use std::io;

use crate::journal::{FILE, Journal, sealed};

/// The records that count in a journal with these bytes, read twice, and once more after another record was appended.
///
/// # Errors
/// When it is no journal.
///
/// # Panics
/// When a journal that was cleared is not empty.
pub fn journal_records(bytes: &[u8]) -> io::Result<[Vec<Vec<u8>>; 3]> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join(FILE), bytes)?;
    let (_, first) = Journal::open(folder.path(), None)?;
    let (mut journal, second) = Journal::open(folder.path(), None)?;
    journal.append(b"appended")?;
    let (_, third) = Journal::open(folder.path(), None)?;
    journal.clear()?;
    assert_eq!((journal.bytes(), Journal::open(folder.path(), None)?.1.len()), (0, 0));
    Ok([first, second, third])
}

/// A journal of these bytes, with right checksums.
#[must_use]
pub fn sealed_journal(bytes: &[u8]) -> Vec<u8> {
    sealed(bytes)
}
