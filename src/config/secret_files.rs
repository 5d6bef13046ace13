//! Variables whose names end in `_FILE`: they name a file that holds the value, as container platforms mount secrets.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use super::layer::{PREFIX, WELL_KNOWN};
use super::shape;

/// End of the name of a variable that names the file of a value.
pub(super) const SUFFIX: &str = "_FILE";
/// Largest file that is taken for a value, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// A variable that sets something.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    /// The file that held the value.
    pub(super) file: Option<PathBuf>,
}

/// Replaces each variable `NAME_FILE` by `NAME` with the text of the file, space around it removed. An empty variable
/// names no file. Reports a file that cannot be read, and a setting that has both variables.
pub(super) fn read(variables: &[(String, String)], problems: &mut Vec<String>) -> Vec<Variable> {
    let given = |name: &str| variables.iter().any(|(other, value)| other == name && !value.trim().is_empty());
    let mut values = Vec::with_capacity(variables.len());
    for (variable, value) in variables {
        let Some(name) = variable.strip_suffix(SUFFIX).filter(|name| is_setting(name)) else {
            values.push(Variable { name: variable.clone(), value: value.clone(), file: None });
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
            Ok(text) => {
                let (name, value) = (name.to_owned(), text.trim().to_owned());
                values.push(Variable { name, value, file: Some(path.into()) });
            }
            // The secret itself is easily put where its file should be named.
            Err(_) if !is_path(path) => {
                problems
                    .push(format!("variable {variable} holds no path of a file: use a path that begins with / or ./"));
            }
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

/// Whether `text` looks like a path, so that it may be shown.
fn is_path(text: &str) -> bool {
    ["/", "./", "../", "~"].iter().any(|start| text.starts_with(start))
}

fn text_of(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("the file is longer than {MAX_BYTES} bytes")));
    }
    Ok(text)
}
