//! Queries in any text: what passes the guard is written out as a query that passes it again, unchanged.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qron::tools::fuzzing::checked_sql;

fuzz_target!(|text: &str| {
    for postgres in [true, false] {
        if let Ok(written) = checked_sql(text, postgres) {
            assert_eq!(checked_sql(&written, postgres).as_ref(), Ok(&written));
        }
    }
});
