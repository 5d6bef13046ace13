//! Journals with any bytes, and with right checksums: opening one neither panics nor gives back more than the file holds, and
//! what is appended comes back behind what was there.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qdrant_embedded::fuzzing::{journal_records, sealed_journal};

fuzz_target!(|bytes: &[u8]| {
    for bytes in [bytes.to_vec(), sealed_journal(bytes)] {
        let Ok([first, second, mut third]) = journal_records(&bytes) else { continue };
        assert!(first.iter().map(Vec::len).sum::<usize>() <= bytes.len());
        assert_eq!(first, second);
        let appended = first.len();
        assert!(third.len() > appended && third[appended] == b"appended");
        third.truncate(appended);
        assert_eq!(first, third);
    }
});
