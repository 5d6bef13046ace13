//! Folders that the configuration opens to the file tools.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use qron::tools::files::{ListFiles, ReadFile, Workspace, WriteFile};
use qron::tools::{OpenedFolder, Tool as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{answer, context, refusal};

struct Folders {
    root: TempDir,
    workspace: Workspace,
}

impl Folders {
    /// A workspace, the folder "invoices" to read and the folder "outbox" to write in, and a secret beside them.
    fn new() -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let path = |name: &str| root.path().join(name);
        for folder in ["invoices/2026", "outbox"] {
            fs::create_dir_all(path(folder)).expect("a folder");
        }
        fs::write(path("invoices/2026/may.csv"), "sum\n12\n").expect("a file");
        fs::write(path("secret"), "secret").expect("a secret");
        let folders = BTreeMap::from([
            ("invoices".to_owned(), OpenedFolder { path: path("invoices"), write: false }),
            ("outbox".to_owned(), OpenedFolder { path: path("outbox"), write: true }),
        ]);
        let workspace = Workspace::new(path("workspace"), 10_000, "this store").with_opened(&folders);
        Self { root, workspace }
    }

    async fn read(&self, path: &str) -> Result<String, String> {
        let read = answer(&ReadFile::new(self.workspace.clone()), &context(), json!({ "path": path })).await;
        read.map(|read| read["content"].as_str().expect("text").to_owned()).map_err(|failure| failure.message)
    }

    async fn write(&self, arguments: Value) -> Result<Value, String> {
        let written = answer(&WriteFile::new(self.workspace.clone()), &context(), arguments).await;
        written.map_err(|failure| failure.message)
    }

    async fn list(&self, arguments: Value) -> Vec<(String, String)> {
        let listed = answer(&ListFiles::new(self.workspace.clone()), &context(), arguments).await.expect("a listing");
        let text = |entry: &Value, key: &str| entry[key].as_str().expect("text").to_owned();
        let files = listed["files"].as_array().expect("files");
        files.iter().map(|entry| (text(entry, "path"), text(entry, "kind"))).collect()
    }
}

#[tokio::test]
async fn a_named_folder_is_listed_read_and_written_as_far_as_it_is_open() {
    let folders = Folders::new();
    let entry = |path: &str, kind: &str| (path.to_owned(), kind.to_owned());
    assert_eq!(folders.read("invoices/2026/may.csv").await, Ok("sum\n12\n".to_owned()));
    folders.write(json!({ "path": "own.txt", "content": "mine" })).await.expect("the folder of the task is as before");
    let whole = [entry("invoices", "folder"), entry("outbox", "folder"), entry("own.txt", "file")];
    assert_eq!(folders.list(json!({})).await, whole);
    let invoices = [entry("invoices/2026", "folder"), entry("invoices/2026/may.csv", "file")];
    assert_eq!(folders.list(json!({ "path": "invoices" })).await, invoices);
    assert_eq!(folders.list(json!({ "path": "./invoices/2026" })).await, [entry("./invoices/2026/may.csv", "file")]);

    let written = folders.write(json!({ "path": "outbox/new/a.md", "content": "sent" })).await.expect("written");
    assert_eq!(written, json!({ "path": "outbox/new/a.md", "bytes": 4 }));
    let append = json!({ "path": "outbox/new/a.md", "content": "!", "mode": "append" });
    folders.write(append.clone()).await.expect("appended");
    folders.write(append).await.expect("the repeat of one call");
    assert_eq!(fs::read_to_string(folders.root.path().join("outbox/new/a.md")).expect("a file"), "sent!");
    let left: Vec<_> = fs::read_dir(folders.root.path().join("outbox/new")).expect("a folder").collect();
    assert_eq!(left.len(), 1, "no note of the tools stays in a folder of people: {left:?}");

    let refused = folders.write(json!({ "path": "invoices/x", "content": "x" })).await.expect_err("read only");
    for part in ["\"invoices/x\"", "open for reading alone", "tools.files.folders.invoices.write"] {
        assert!(refused.contains(part), "{part:?} is missing in {refused}");
    }
    let missing = folders.read("invoices/june.csv").await.expect_err("there is none");
    assert!(missing.contains("\"june.csv\"") && missing.contains("folder \"invoices\""), "{missing}");
}

#[tokio::test]
async fn nothing_leads_out_of_a_named_folder() {
    let folders = Folders::new();
    let invoices = folders.root.path().join("invoices");
    symlink("../secret", invoices.join("link")).expect("a link");
    symlink("/etc", invoices.join("etc")).expect("a link");
    fs::hard_link(invoices.join("2026/may.csv"), invoices.join("copy.csv")).expect("a hard link");
    let read = ReadFile::new(folders.workspace.clone());
    for path in ["invoices/link", "invoices/etc/passwd", "invoices/../secret", "invoices/2026/../../secret"] {
        let reason = refusal(&read, json!({ "path": path })).await;
        assert!(reason.contains("leads out of"), "{path}: {reason}");
    }
    assert_eq!(folders.read("invoices/copy.csv").await, Ok("sum\n12\n".to_owned()), "a person's own second name");
    let write = WriteFile::new(folders.workspace.clone());
    let reason = refusal(&write, json!({ "path": "outbox/../secret", "content": "x" })).await;
    assert!(reason.contains("leads out of"), "{reason}");
}

#[tokio::test]
async fn a_model_learns_which_folders_are_open() {
    let folders = Folders::new();
    let read = ReadFile::new(folders.workspace.clone()).spec().description;
    let write = WriteFile::new(folders.workspace.clone()).spec().description;
    assert!(read.contains("invoices/") && read.contains("outbox/"), "{read}");
    assert!(!write.contains("invoices/") && write.contains("outbox/"), "{write}");
}
