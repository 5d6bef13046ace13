//! URLs in any text: no URL that passes names an address that is closed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qron::tools::fuzzing::open_address;

fuzz_target!(|text: &str| {
    if let Some(address) = open_address(text) {
        assert!(qron::tools::http::closed_by_nature(address).is_none(), "{text} leads to {address}");
    }
});
