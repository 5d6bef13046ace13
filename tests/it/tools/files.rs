//! The file tools on a real file system.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use qron::domain::failure::FailureClass;
use qron::domain::id::TaskId;
use qron::domain::time::Timestamp;
use qron::tools::files::{ListFiles, ReadFile, Workspace, WriteFile};
use qron::tools::{Tool, ToolContext};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{answer, context, refusal};

struct Place {
    root: TempDir,
}

impl Place {
    /// A workspace with the folder of task 7, a secret beside it, and a task whose name starts alike.
    fn new() -> Self {
        let place = Self { root: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(place.folder()).expect("a folder");
        fs::create_dir_all(place.root.path().join("workspace/7-evil")).expect("a folder");
        fs::write(place.secret(), "secret").expect("a secret");
        fs::write(place.root.path().join("workspace/7-evil/x"), "secret").expect("a secret");
        place
    }

    fn workspace(&self) -> Workspace {
        self.workspace_of("this store")
    }

    fn workspace_of(&self, store: &str) -> Workspace {
        Workspace::new(self.root.path().join("workspace"), 10_000, store)
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("workspace/7")
    }

    fn secret(&self) -> PathBuf {
        self.root.path().join("secret")
    }

    fn read(&self) -> ReadFile {
        ReadFile::new(self.workspace())
    }

    fn write(&self) -> WriteFile {
        WriteFile::new(self.workspace())
    }

    async fn list(&self) -> Value {
        answer(&ListFiles::new(self.workspace()), &context(), json!({})).await.expect("a listing")
    }
}

async fn write(place: &Place, arguments: Value) -> Value {
    answer(&place.write(), &context(), arguments).await.expect("written")
}

async fn content(place: &Place, path: &str) -> String {
    let read = answer(&place.read(), &context(), json!({ "path": path })).await.expect("read");
    read["content"].as_str().expect("content").to_owned()
}

fn special_files(folder: &Path, secret: &Path) -> Vec<&'static str> {
    symlink(secret, folder.join("link")).expect("a link");
    symlink("../../secret", folder.join("relative")).expect("a link");
    symlink("../7-evil/x", folder.join("sibling")).expect("a link");
    symlink("/proc/self/environ", folder.join("environ")).expect("a link");
    symlink("/dev/zero", folder.join("zero")).expect("a link");
    symlink("/etc", folder.join("etc")).expect("a link");
    fs::hard_link(secret, folder.join("hard")).expect("a hard link");
    let made = std::process::Command::new("mkfifo").arg(folder.join("fifo")).status().expect("mkfifo");
    assert!(made.success());
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("a socket"));
    vec!["link", "relative", "sibling", "environ", "zero", "etc/passwd", "hard", "fifo", "socket"]
}

#[tokio::test]
async fn what_is_written_is_read_and_listed() {
    let place = Place::new();
    let written = write(&place, json!({ "path": "out/report.md", "content": "ä" })).await;
    assert_eq!(written, json!({ "path": "out/report.md", "bytes": 2 }));
    write(&place, json!({ "path": "b", "content": "iVD/", "encoding": "base64" })).await;
    assert_eq!(content(&place, "out/report.md").await, "ä");
    let bytes = answer(&place.read(), &context(), json!({ "path": "./b" })).await.expect("read");
    assert_eq!((&bytes["encoding"], &bytes["content"], &bytes["bytes"]), (&json!("base64"), &json!("iVD/"), &json!(3)));
    let expected = json!({ "truncated": false, "files": [
        { "path": "b", "kind": "file", "bytes": 3 },
        { "path": "out", "kind": "folder", "bytes": 0 },
        { "path": "out/report.md", "kind": "file", "bytes": 2 },
    ] });
    assert_eq!(place.list().await, expected);
    let other = ToolContext { task_id: "8".parse().expect("an id"), ..context() };
    let elsewhere = place.read().call(&other, json!({ "path": "b" })).await.expect_err("another task's folder");
    assert_eq!(elsewhere.class, FailureClass::Invalid);
}

#[tokio::test]
async fn escalation_every_path_out_of_the_folder_is_refused_and_audited() {
    let place = Place::new();
    let mut paths: Vec<String> = [
        "../secret",
        "../../secret",
        "/etc/passwd",
        "//etc/passwd",
        "../7-evil/x",
        "a/../../7-evil/x",
        "a//b",
        "a\0b",
        "/proc/self/environ",
        "..\\secret",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push("n".repeat(4096));
    paths.extend(special_files(&place.folder(), &place.secret()).into_iter().map(str::to_owned));
    for path in paths {
        let named = format!("{:?}", &path[..path.len().min(100)]);
        let named = named.trim_matches('"');
        let reason = refusal(&place.read(), json!({ "path": path })).await;
        assert!(reason.contains(named), "{path}: {reason}");
        let reason = refusal(&place.write(), json!({ "path": path, "content": "x" })).await;
        assert!(reason.contains(named.rsplit('/').next().unwrap_or("")), "{path}: {reason}");
        let reason = refusal(&place.write(), json!({ "path": path, "content": "x", "mode": "append" })).await;
        assert!(reason.contains("path"), "{path}: {reason}");
    }
    assert_eq!(fs::read_to_string(place.secret()).expect("the secret"), "secret");
    assert_eq!(fs::read_to_string(place.root.path().join("workspace/7-evil/x")).expect("the secret"), "secret");
    let listed = place.list().await.to_string();
    assert!(!listed.contains("passwd"), "links are not followed: {listed}");
}

#[tokio::test]
async fn a_folder_of_the_task_that_is_a_link_is_refused() {
    let place = Place::new();
    fs::remove_dir(place.folder()).expect("removed");
    symlink("/etc", place.folder()).expect("a link");
    let failure = place.read().call(&context(), json!({ "path": "passwd" })).await.expect_err("a link");
    assert!(failure.message.contains("folder of the task"), "{failure}");
}

#[test]
fn a_link_swapped_in_mid_call_gives_nothing_away() {
    let place = Place::new();
    let (folder, secret) = (place.folder(), place.secret());
    fs::create_dir(folder.join("d")).expect("a folder");
    fs::write(folder.join("d/secret"), "harmless").expect("a file");
    let outside = secret.parent().expect("a folder").to_owned();
    let (reads, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    // Each state lasts for a whole read at least; the change itself happens in the middle of one.
    let seen = || {
        let before = reads.load(Ordering::SeqCst);
        while reads.load(Ordering::SeqCst) < before + 2 {
            std::thread::yield_now();
        }
    };
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                seen();
                fs::rename(folder.join("d"), folder.join("aside")).expect("renamed");
                symlink(&outside, folder.join("d")).expect("a link");
                seen();
                fs::remove_file(folder.join("d")).expect("removed");
                fs::rename(folder.join("aside"), folder.join("d")).expect("renamed");
            }
            done.store(true, Ordering::SeqCst);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (tool, mut found) = (place.read(), Vec::new());
        while !done.load(Ordering::SeqCst) {
            found.push(runtime.block_on(tool.call(&context(), json!({ "path": "d/secret" }))));
            reads.fetch_add(1, Ordering::SeqCst);
        }
        found
    });
    let (read, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    assert!(read.iter().flatten().all(|file| file["content"] == "harmless"), "the secret got out");
    assert!(read.len() >= 200 && refused.len() >= 200, "{} read, {} refused", read.len(), refused.len());
}

#[tokio::test]
async fn sizes_are_bounded_both_ways() {
    let place = Place::new();
    let long = "x".repeat(10_001);
    let reason = refusal(&place.write(), json!({ "path": "big", "content": long })).await;
    assert!(reason.contains("10001 bytes"), "{reason}");
    fs::write(place.folder().join("big"), &long).expect("a file");
    let reason = refusal(&place.read(), json!({ "path": "big" })).await;
    assert!(reason.contains("\"big\" is larger than 10000 bytes"), "{reason}");
    write(&place, json!({ "path": "log", "content": "x".repeat(9_999) })).await;
    let reason = refusal(&place.write(), json!({ "path": "log", "content": "yy", "mode": "append" })).await;
    assert!(reason.contains("\"log\""), "{reason}");
    assert_eq!(content(&place, "log").await.len(), 9_999, "a refused write changes nothing");
}

#[tokio::test]
async fn a_repeated_write_happens_once() {
    let place = Place::new();
    let append = |text: &str| json!({ "path": "log", "content": text, "mode": "append" });
    for _ in 0..3 {
        write(&place, append("one\n")).await;
    }
    let next = ToolContext { idempotency_key: "7/s1/2".to_owned(), ..context() };
    answer(&place.write(), &next, append("two\n")).await.expect("appended");
    write(&place, append("one\n")).await;
    assert_eq!(content(&place, "log").await, "one\ntwo\n");
    let create = json!({ "path": "new", "content": "x", "mode": "create" });
    for _ in 0..2 {
        write(&place, create.clone()).await;
    }
    let other = json!({ "path": "new", "content": "y", "mode": "create" });
    let failure = place.write().call(&context(), other).await.expect_err("it exists");
    assert!(failure.message.contains("\"new\" exists"), "{failure}");
    assert_eq!(place.list().await["files"].as_array().map(Vec::len), Some(2), "the tools' own files are not listed");
}

#[tokio::test]
async fn parallel_steps_that_append_lose_nothing() {
    let place = Place::new();
    let tool = place.write();
    let appended = (0..20).map(|number| {
        let context = ToolContext { idempotency_key: format!("7/s{number}/1"), ..context() };
        let tool = &tool;
        async move {
            tool.call(&context, json!({ "path": "log", "content": format!("{number}\n"), "mode": "append" })).await
        }
    });
    for outcome in futures_util::future::join_all(appended).await {
        outcome.expect("appended");
    }
    let mut lines: Vec<u32> =
        content(&place, "log").await.lines().map(|line| line.parse().expect("a number")).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn only_folders_that_this_store_made_are_removed() {
    let place = Place::new();
    let root = place.root.path().join("workspace");
    let (this, other) = (place.workspace(), place.workspace_of("another store"));
    let uuid = "00000000-0000-4000-8000-000000000001";
    let ids = |names: &[&str]| names.iter().map(|name| name.parse().expect("an id")).collect::<Vec<TaskId>>();
    for (workspace, names) in [(&this, ["2", uuid]), (&other, ["3", "4"])] {
        for task_id in ids(&names) {
            let write = WriteFile::new(workspace.clone());
            let context = ToolContext { task_id, ..context() };
            write.call(&context, json!({ "path": "notes", "content": "x" })).await.expect("written");
        }
    }
    // Folders of people: one without a marker, one whose marker is of no store, one that is not named like a task.
    for name in ["2024", "5", "lost+found"] {
        fs::create_dir_all(root.join(name).join("below")).expect("a folder");
    }
    fs::write(root.join(".qron/5"), "").expect("a marker");
    let listed = |workspace: &Workspace| {
        let mut tasks = workspace.tasks().expect("readable");
        tasks.sort();
        tasks
    };
    assert_eq!(listed(&this), ids(&["2", uuid]));
    assert_eq!(listed(&other), ids(&["3", "4"]));
    for task in ids(&["2", uuid, "3", "4", "5", "7", "2024"]) {
        this.remove(task).expect("done");
    }
    assert!(!root.join("2").exists() && !root.join(uuid).exists());
    for name in ["3/notes", "4/notes", "5/below", "7", "2024/below", "lost+found/below"] {
        assert!(root.join(name).exists(), "{name}");
    }
    assert!(listed(&this).is_empty());
    // A folder that somebody removed by hand leaves its marker for the next round.
    fs::remove_dir_all(root.join("3")).expect("removed");
    other.remove(ids(&["3"])[0]).expect("done");
    assert_eq!(listed(&other), ids(&["4"]));
}

#[tokio::test]
async fn the_folder_of_another_store_is_refused_and_its_marker_out_of_reach() {
    let place = Place::new();
    let marker = place.root.path().join("workspace/.qron/9");
    let context = ToolContext { task_id: "9".parse().expect("an id"), ..context() };
    place.write().call(&context, json!({ "path": "notes", "content": "x" })).await.expect("written");
    assert_eq!(fs::read_to_string(&marker).expect("a marker"), "this store");
    let other = place.workspace_of("another store");
    let (path, text) = (json!({ "path": "notes" }), json!({ "path": "notes", "content": "y" }));
    for outcome in [
        ReadFile::new(other.clone()).call(&context, path).await,
        WriteFile::new(other.clone()).call(&context, text).await,
        ListFiles::new(other).call(&context, json!({})).await,
    ] {
        let failure = outcome.expect_err("of another store");
        assert!(failure.message.contains("workspace/9 belongs to another store"), "{failure}");
        assert!(failure.message.contains("tools.workspace"), "{failure}");
    }
    for path in ["../.qron/9", "../.qron/7", ".qron-x", "./../.qron/9"] {
        refusal(&place.read(), json!({ "path": path })).await;
        refusal(&place.write(), json!({ "path": path, "content": "another store" })).await;
    }
    let listed = ListFiles::new(place.workspace()).call(&context, json!({})).await.expect("a listing");
    assert_eq!(listed["files"], json!([{ "path": "notes", "kind": "file", "bytes": 1 }]));
    assert_eq!(fs::read_to_string(&marker).expect("a marker"), "this store");
}

#[tokio::test]
async fn the_first_use_of_a_run_clears_what_an_earlier_task_left() {
    let place = Place::new();
    let later = Timestamp::from_millis(i64::MAX);
    let at = |id: &str| ToolContext { task_id: id.parse().expect("an id"), ..context() };
    let list = async |workspace: Workspace, id: &str| {
        let listed = ListFiles::new(workspace).call(&at(id), json!({})).await.expect("a listing");
        listed["files"].as_array().expect("files").len()
    };
    let workspace = place.workspace();
    let write = async |id: &str, path: &str| {
        let arguments = json!({ "path": path, "content": "x" });
        WriteFile::new(workspace.clone()).call(&at(id), arguments).await.expect("written");
    };
    fs::create_dir_all(place.root.path().join("workspace/8/of-a-person")).expect("a folder");
    write("9", "left").await;
    let runs = ["8", "9"].map(|id| workspace.begin(at(id).task_id, later));
    assert_eq!(list(workspace.clone(), "8").await, 1, "a folder without a marker is left as it is");
    assert_eq!(list(workspace.clone(), "9").await, 0);
    write("9", "new").await;
    assert_eq!(list(workspace.clone(), "9").await, 1, "later uses find what the run wrote");
    drop(runs);
    let run = workspace.begin(at("9").task_id, later);
    assert_eq!(list(workspace.clone(), "9").await, 1, "a later run of the same task goes on with what is there");
    drop(run);
    // A client may say of a new task that it was created long ago, and clocks differ.
    for created in [0, 1, i64::MAX - 1] {
        let run = workspace.begin(at("9").task_id, Timestamp::from_millis(created));
        assert_eq!(list(workspace.clone(), "9").await, 0, "another task of the same id, created at {created}");
        write("9", "of this one").await;
        assert_eq!(list(workspace.clone(), "9").await, 1);
        drop(run);
    }
    workspace.remove(at("9").task_id).expect("removed");
    let left = fs::read_dir(place.root.path().join("workspace/.qron")).expect("a folder").count();
    assert_eq!(left, 0, "marker and note go with the folder");
}

/// Versions before this one noted no time of creation.
#[tokio::test]
async fn a_folder_without_a_note_is_of_the_task_that_was_there_before_it() {
    for (created, files) in [(0, 1), (i64::MAX, 0)] {
        let place = Place::new();
        let context = ToolContext { task_id: "9".parse().expect("an id"), ..context() };
        place.write().call(&context, json!({ "path": "notes", "content": "x" })).await.expect("written");
        assert!(!place.root.path().join("workspace/.qron/9.created").exists());
        let workspace = place.workspace();
        let run = workspace.begin(context.task_id, Timestamp::from_millis(created));
        let listed = ListFiles::new(workspace.clone()).call(&context, json!({})).await.expect("a listing");
        assert_eq!(listed["files"].as_array().map(Vec::len), Some(files), "created at {created}");
        drop(run);
    }
}
