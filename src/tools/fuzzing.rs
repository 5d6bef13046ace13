//! Entries to private parsers for the fuzz targets in `fuzz/`; not part of the program.

use std::net::IpAddr;

use super::{http, sql};

/// The query that the guard lets pass for `text`, as the guard writes it out; for SQLite unless `postgres`.
///
/// # Errors
/// Why it does not let it pass.
pub fn checked_sql(text: &str, postgres: bool) -> Result<String, String> {
    sql::checked(text, postgres)
}

/// The literal address that a URL names, when it may be reached without an entry of the allow-list; `None` for a
/// refused URL, and for a name.
#[must_use]
pub fn open_address(text: &str) -> Option<IpAddr> {
    http::open_address(text)
}
