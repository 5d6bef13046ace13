//! Journals with any bytes: opening one neither panics nor gives back more than the file holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qdrant_embedded::fuzzing::journal_records;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(records) = journal_records(bytes) {
        assert!(records.iter().map(Vec::len).sum::<usize>() <= bytes.len());
    }
});
