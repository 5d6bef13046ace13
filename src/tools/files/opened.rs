//! The folders that the configuration opens to the file tools by name, beside the folder of each task.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::Deserialize;

/// Section `[tools.files.folders.NAME]`: a folder of the person who runs qron. Every task whose agent has the file tools may
/// read it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Whether tasks may write in it, too.
    #[serde(default)]
    pub write: bool,
}

/// All of them, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenedFolders(Arc<BTreeMap<String, OpenedFolder>>);

impl OpenedFolders {
    pub(super) fn new(folders: &BTreeMap<String, OpenedFolder>) -> Self {
        Self(Arc::new(folders.clone()))
    }

    /// The folder that the first name of `path` leads into, and the rest of the path.
    pub(super) fn split<'a>(&'a self, path: &'a Path) -> Option<(&'a str, &'a OpenedFolder, &'a Path)> {
        let mut components = path.components().skip_while(|component| *component == Component::CurDir);
        let first = components.next()?.as_os_str().to_str()?;
        let (name, folder) = self.0.get_key_value(first)?;
        let rest = path.strip_prefix(".").unwrap_or(path).strip_prefix(name).unwrap_or(path);
        Some((name, folder, rest))
    }

    /// The names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The end of an error about a file `path` that the folder of a task lacks: where the same name lies in a folder that is open,
    /// else which folders are open. Empty without folders. It looks at the folders, which may block; it follows no link out of one.
    pub(super) fn hint(&self, path: &str) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        let path = path.trim_start_matches("./");
        let has_it = |(_, folder): &(&String, &OpenedFolder)| {
            let found =
                Dir::open_ambient_dir(&folder.path, ambient_authority()).and_then(|dir| dir.symlink_metadata(path));
            found.is_ok_and(|found| found.is_file())
        };
        if let Some((name, _)) = self.0.iter().find(has_it) {
            return format!("; did you mean {:?}?", format!("{name}/{path}"));
        }
        let names: Vec<String> = self.names().map(|name| format!("{name}/")).collect();
        format!("; a file of an open folder is named with it: {}", names.join(", "))
    }

    /// A sentence for the description of a tool; with `to_write`, of the folders that are open for writing alone. Empty without
    /// folders.
    pub(super) fn sentence(&self, to_write: bool) -> String {
        let open = self.0.iter().filter(|(_, folder)| folder.write || !to_write);
        let names: Vec<String> = open.map(|(name, _)| format!("{name}/")).collect();
        if names.is_empty() {
            return String::new();
        }
        format!(" Folders of people that are open, too: {}.", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> OpenedFolders {
        let folder = |write| OpenedFolder { path: "/srv".into(), write };
        OpenedFolders::new(&BTreeMap::from([("in".into(), folder(false)), ("out".into(), folder(true))]))
    }

    #[test]
    fn the_first_name_leads_into_a_folder() {
        let folders = folders();
        let found = |path| folders.split(Path::new(path)).map(|(name, _, rest)| (name, rest.to_str().expect("text")));
        assert_eq!(found("in/a/b.csv"), Some(("in", "a/b.csv")));
        assert_eq!(found("./out/a"), Some(("out", "a")));
        assert_eq!(found("in"), Some(("in", "")));
        for own in ["inner/a", "a/in/b", "", ".", "IN/a"] {
            assert_eq!(found(own), None, "{own}");
        }
    }

    #[test]
    fn tools_name_the_folders_that_serve_them() {
        assert_eq!(folders().sentence(false), " Folders of people that are open, too: in/, out/.");
        assert_eq!(folders().sentence(true), " Folders of people that are open, too: out/.");
        assert_eq!(OpenedFolders::default().sentence(false), "");
        assert_eq!(OpenedFolders::default().hint("a.csv"), "");
        assert_eq!(folders().hint("a.csv"), "; a file of an open folder is named with it: in/, out/");
    }
}
