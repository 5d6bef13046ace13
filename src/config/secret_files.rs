//! Variables whose names end in `_FILE`: they name a file that holds the value, as container platforms mount secrets.

use std::fs::File;
use std::io::{self, Read as _};

use super::layers::{PREFIX, WELL_KNOWN};
use super::shape;

const SUFFIX: &str = "_FILE";
/// Largest file that is taken for a value, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Replaces each variable `NAME_FILE` by `NAME` with the text of the file, space around it removed. An empty variable
/// names no file. Reports a file that cannot be read, and a setting that has both variables.
pub(super) fn read(variables: &[(String, String)], problems: &mut Vec<String>) -> Vec<(String, String)> {
    let given = |name: &str| variables.iter().any(|(other, value)| other == name && !value.trim().is_empty());
    let mut values = Vec::with_capacity(variables.len());
    for (variable, value) in variables {
        let Some(name) = variable.strip_suffix(SUFFIX).filter(|name| is_setting(name)) else {
            values.push((variable.clone(), value.clone()));
            continue;
        };
        let path = value.trim();
        if path.is_empty() {
            continue;
        }
        if given(name) {
            problems.push(format!("variables {name} and {variable} are both set: unset one of them"));
            continue;
        }
        match text_of(path) {
            Ok(text) => values.push((name.to_owned(), text.trim().to_owned())),
            Err(error) => problems.push(format!("file {path} (variable {variable}) cannot be read: {error}")),
        }
    }
    values
}

/// Whether the variable `name` sets something, so that `name` with the suffix is a file and no setting of its own.
fn is_setting(name: &str) -> bool {
    let own = name.strip_prefix(PREFIX).map(str::to_lowercase);
    let is_own = own.is_some_and(|path| shape::is_setting(&path.split("__").collect::<Vec<_>>()));
    is_own || WELL_KNOWN.iter().any(|(known, _)| *known == name)
}

fn text_of(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}
