//! How much one request may ask for, and how deep what it says may nest. A request beyond is refused before the engine
//! sees it: the engine recurses over paths and reserves room for whatever it is asked for.

use super::Converted;
use crate::server::error::Fault;

/// Parts of a key path such as `a.b[].c`, which has four: far more than any payload has levels.
pub(crate) const PATH_PARTS: usize = 32;
/// Length of a key path, in bytes.
pub(crate) const PATH_BYTES: usize = 1_024;
/// Key paths that one request may list, e.g. to select what it returns.
pub(crate) const PATHS: usize = 1_000;
/// Points, or ids of points, that one request may name.
pub(crate) const POINTS: usize = 100_000;
/// Points in one answer. Longer answers come in pages.
pub(crate) const RESULTS: usize = 100_000;
/// Operations of one batch of writes.
pub(crate) const OPERATIONS: usize = 10_000;
/// Queries of one batch.
pub(crate) const QUERIES: usize = 100;
/// Levels of prefetches below a query.
pub(crate) const PREFETCH_DEPTH: usize = 8;
/// Prefetches of one query, on all levels.
pub(crate) const PREFETCHES: usize = 64;
/// Points and vectors that one query may give as examples.
pub(crate) const EXAMPLES: usize = 1_000;
/// Vectors that the points of one collection may have.
pub(crate) const VECTORS: usize = 64;

/// Refuses more than `most` of `what`.
pub(crate) fn at_most(what: &str, count: usize, most: usize) -> Converted<()> {
    if count > most {
        return Err(Fault::bad(format!("the request has {count} {what}; the most is {most}: send several requests")));
    }
    Ok(())
}

/// Refuses key paths that are too long or have too many parts.
pub(crate) fn check_path(text: &str) -> Converted<()> {
    if text.len() > PATH_BYTES {
        return Err(Fault::bad(format!("a key path has {} bytes; the most is {PATH_BYTES}", text.len())));
    }
    let parts = parts(text);
    if parts > PATH_PARTS {
        return Err(Fault::bad(format!("key path '{text}' has {parts} parts; the most is {PATH_PARTS}")));
    }
    Ok(())
}

/// Keys, indexes and wildcards of a path. What stands in quotes is one key.
fn parts(text: &str) -> usize {
    let mut is_quoted = false;
    let separators = text.bytes().filter(|byte| {
        is_quoted ^= *byte == b'"';
        !is_quoted && matches!(byte, b'.' | b'[')
    });
    separators.count() + 1
}

/// Refuses a limit of `limit` when there are so many results to give.
pub(crate) fn check_results(limit: usize, available: usize) -> Converted<()> {
    let results = limit.min(available);
    if results > RESULTS {
        return Err(Fault::bad(format!(
            "limit asks for {results} points; the most in one answer is {RESULTS}: set a smaller limit and read page by page"
        )));
    }
    Ok(())
}

/// Refuses an ordered answer of so many points.
pub(crate) fn check_ordered(found: usize) -> Converted<()> {
    if found > RESULTS {
        return Err(Fault::bad(format!(
            "limit asks for more points than one ordered answer may have, which is {RESULTS}: set limit to {RESULTS} or less, and \
             read on with the last value as order_by.start_from"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_counted_in_parts() {
        for (text, expected) in [
            ("a", 1),
            ("a.b", 2),
            ("a.b[].c", 4),
            ("a[0][1]", 3),
            (r#""a.b.c""#, 1),
            (r#"a."b.c"[]."d""#, 4),
            (r#"a."b.c"#, 2),
            ("", 1),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
        assert_eq!(check_path(&vec!["a"; PATH_PARTS].join(".")), Ok(()));
        for text in [
            vec!["a"; PATH_PARTS + 1].join("."),
            vec!["a"; 10_000].join("."),
            format!("a{}", "[]".repeat(PATH_PARTS)),
            format!("a{}", "[0]".repeat(10_000)),
            ".".repeat(100_000),
            "x".repeat(PATH_BYTES + 1),
        ] {
            assert!(check_path(&text).is_err(), "{text:.80}");
        }
    }

    #[test]
    fn a_large_limit_is_fine_where_there_is_little() {
        assert_eq!(check_results(usize::MAX, RESULTS), Ok(()));
        assert_eq!(check_results(RESULTS, usize::MAX), Ok(()));
        assert!(check_results(RESULTS + 1, RESULTS + 1).is_err());
    }
}
