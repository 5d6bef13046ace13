//! Paths as models write them, checked before the file system sees them.

use std::path::Path;

use serde_json::Value;

use super::super::inputs::{argument_fault, excerpt};
use super::workspace::OWN_PREFIX;
use crate::domain::plan::filled;

/// Longest path, in bytes.
const MAX_PATH: usize = 1024;
/// Longest name of a file or folder, in bytes.
const MAX_NAME: usize = 255;

/// Checks a path as a model wrote it, before the file system sees it.
///
/// # Errors
/// The reason, naming the path.
pub(super) fn check_path(path: &str) -> Result<&Path, String> {
    objection(path).map_or_else(|| Ok(Path::new(path)), |reason| Err(format!("path {:?} {reason}", shown(path))))
}

/// Why no task can use the `path` that a plan gives to `tool`, whatever the values of its references.
pub(crate) fn path_fault(tool: &str, arguments: &Value) -> Option<String> {
    let path = arguments.get("path")?.as_str()?;
    let reason = objection(&filled(path, "1"))?;
    Some(argument_fault(tool, "path", format!("{:?} {reason}", shown(path))))
}

fn shown(path: &str) -> String {
    excerpt(path, 200)
}

fn objection(path: &str) -> Option<String> {
    let refuse = |reason: &str| Some(reason.to_owned());
    if path.is_empty() {
        return refuse("is empty");
    }
    if path.len() > MAX_PATH {
        return Some(format!("has {} bytes; at most {MAX_PATH} are allowed", path.len()));
    }
    if path.chars().any(char::is_control) {
        return refuse("holds a control character");
    }
    if path.starts_with('/') || path.contains('\\') {
        return refuse("is absolute or of another system: use names below the folder of the task, separated by /");
    }
    path.split('/').find_map(|name| match name {
        "" => refuse("has an empty name in it"),
        ".." => refuse("leads out of the folder of the task"),
        _ if name.len() > MAX_NAME => refuse("has a name of more than 255 bytes"),
        _ if name.starts_with(OWN_PREFIX) => refuse("is a name that qron keeps for itself"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in ["report.txt", "./a.csv", "data/2026/ä.json", "...", "a b", "..a/b.."] {
            assert_eq!(check_path(path), Ok(Path::new(path)));
        }
    }

    #[test]
    fn a_path_that_could_lead_out_is_refused_by_name() {
        for path in
            ["", "../x", "a/../../x", "/etc/passwd", "//etc", "a//b", "a/", "a\0b", "C:\\x", ".qron-tmp", "a/.."]
        {
            let reason = check_path(path).expect_err(path);
            assert!(reason.contains(&format!("{path:?}")), "{reason}");
        }
        assert!(check_path(&"n".repeat(4096)).expect_err("too long").contains("4096 bytes"));
        assert!(check_path(&"n".repeat(256)).expect_err("too long").contains("255 bytes"));
    }
}
