//! Files that come with a task: artifacts that it owns from the beginning. Its context names them, so that its model knows them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::hidden::alters_display;

/// The field of the context that names the files, and the first part of a reference to the text of one: `${files.NAME}`.
pub const FILES: &str = "files";
/// The step that artifacts name which were given to their task.
pub const GIVEN: &str = "given";
/// Most files of one task.
pub const MAX_FILES: usize = 100;
/// Longest name, in bytes: it is the name of a file in the folder of the task, too.
const MAX_NAME: usize = 255;

/// A file that came with a task. Other data of a context that are called `files` have other fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// Its name: that of the artifact, and of the file in the folder of the task.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Its media type.
    pub media_type: String,
}

impl TaskFile {
    /// The files that `context` names; none when what stands there is no list of files.
    #[must_use]
    pub fn named_in(context: &Map<String, Value>) -> Vec<Self> {
        let Some(Value::Array(files)) = context.get(FILES).filter(|files| files.is_array()) else { return Vec::new() };
        let read = files.iter().map(|file| serde_json::from_value(file.clone()));
        read.collect::<Result<Vec<Self>, _>>().ok().filter(|files| files.len() <= MAX_FILES).unwrap_or_default()
    }
}

/// The value of the context that names `files`.
#[must_use]
pub fn list_of(files: &[TaskFile]) -> Value {
    json!(files)
}

/// The name of the file that the inside of a reference, such as `files.sales.csv`, may mean.
#[must_use]
pub fn file_in(reference: &str) -> Option<&str> {
    reference.strip_prefix(FILES)?.strip_prefix('.')
}

/// Why a file cannot have this name; `None` when it can.
#[must_use]
pub fn name_fault(name: &str) -> Option<String> {
    let is_plain = |c: char| !alters_display(c) && !matches!(c, '/' | '\\' | '{' | '}');
    if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_plain) && !name.starts_with('.') {
        return None;
    }
    let shown: String = name.chars().take(100).collect();
    Some(format!(
        "{shown:?} is no name for a file of a task: use 1 to {MAX_NAME} bytes without / \\ {{ }}, control characters and \
         those that turn the direction of text, not beginning with a dot"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_files_and_references() {
        for name in ["sales.csv", "گزارش\u{200c}ها.csv", "Umsätze 2026 (1).csv", "a", &"x".repeat(255)] {
            assert_eq!(name_fault(name), None, "{name}");
        }
        for name in
            ["", ".", "..", ".qron-x", "a/b", "a\\b", "a}b", "${a}", "a\nb", "a\u{202e}vsc.exe", &"é".repeat(128)]
        {
            assert!(name_fault(name).is_some_and(|fault| fault.contains("255 bytes")), "{name}");
        }
    }

    #[test]
    fn a_context_names_files_in_one_form_alone() {
        let file = TaskFile { name: "a.csv".into(), bytes: 9, media_type: "text/csv".into() };
        let context = |files: Value| Map::from_iter([(FILES.to_owned(), files)]);
        assert_eq!(TaskFile::named_in(&context(list_of(std::slice::from_ref(&file)))), [file]);
        for other in [json!("a.csv"), json!(["a.csv"]), json!([{"name": "a.csv"}]), json!(3), json!([])] {
            assert_eq!(TaskFile::named_in(&context(other)), []);
        }
        assert_eq!(TaskFile::named_in(&Map::new()), []);
        assert_eq!((file_in("files.a.csv"), file_in("files"), file_in("file.a")), (Some("a.csv"), None, None));
    }
}
