//! Who else on this machine may read what the program writes, whatever umask it was started with.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::running::{Running, under_umask};

/// A plan that writes a file in a new folder, appends to it, and saves an artifact that becomes a file.
fn plan() -> serde_json::Value {
    json!({"steps": [
        {"id": "w", "tool": "write_file", "arguments": {"path": "deep/er/report.txt", "content": "secret"}},
        {"id": "a", "tool": "write_file", "arguments": {"path": "deep/er/report.txt", "content": "more", "mode": "append"}, "depends_on": ["w"]},
        {"id": "s", "tool": "save_artifact", "arguments": {"name": "big", "content": "x".repeat(5_000)}},
    ]})
}

/// Everything below `folder`, itself included, with its mode.
fn modes(folder: &Path) -> Vec<(PathBuf, u32)> {
    let metadata = fs::symlink_metadata(folder).expect("a file");
    let mut found = vec![(folder.to_owned(), metadata.mode() & 0o7777)];
    if metadata.is_dir() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            found.extend(modes(&entry.path()));
        }
    }
    found
}

#[track_caller]
fn assert_modes(folder: &Path, folder_mode: u32, file_mode: u32) {
    let found = modes(folder);
    assert!(found.iter().any(|(path, _)| path.is_file()), "no file in {}", folder.display());
    for (path, mode) in found {
        let expected = if path.is_dir() { folder_mode } else { file_mode };
        assert_eq!(format!("{mode:04o}"), format!("{expected:04o}"), "{}", path.display());
    }
}

#[tokio::test]
async fn all_that_is_written_is_for_its_user_alone_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("sub/data");
        let running =
            Running::start(under_umask(umask), folder.path(), &[("QRON__ARTIFACTS__INLINE_BYTES", "100")]).await;
        running.completed(&plan()).await;
        for part in ["qdrant", "workspace", "artifacts"] {
            assert!(modes(&data.join(part)).len() > 2, "{part}");
        }
        assert_modes(&data, 0o700, 0o600);
        running.terminate().await;
        assert_modes(&data, 0o700, 0o600);
    }
}

#[tokio::test]
async fn what_an_earlier_version_left_open_is_closed_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("sub/data");
    let variables = [("QRON__ARTIFACTS__INLINE_BYTES", "100")];
    let running = Running::start(under_umask("022"), folder.path(), &variables).await;
    running.completed(&plan()).await;
    running.terminate().await;
    for (path, _) in modes(&data) {
        let mode = if path.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    }
    let running = Running::start(under_umask("022"), folder.path(), &variables).await;
    assert_modes(&data.join("qdrant"), 0o700, 0o600);
    for path in ["", "workspace", "workspace/.qron", "artifacts", "replica"] {
        let mode = fs::metadata(data.join(path)).expect("there").mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{path}: {mode:o}");
    }
    let tasks =
        ["workspace", "artifacts"].into_iter().flat_map(|part| fs::read_dir(data.join(part)).expect("a folder"));
    for task in tasks.flatten() {
        assert_eq!(task.metadata().expect("there").mode() & 0o077, 0, "{}", task.path().display());
    }
    running.terminate().await;
}

/// A folder that a person made for the replicas of several users stays theirs, and closed to all others.
#[tokio::test]
async fn a_folder_that_a_group_shares_stays_shared() {
    for umask in ["000", "077"] {
        let folder = tempfile::tempdir().expect("a folder");
        let [work, artifacts] = ["work", "artifacts"].map(|name| folder.path().join(name));
        for path in [&work, &artifacts] {
            fs::create_dir(path).expect("made");
            fs::set_permissions(path, Permissions::from_mode(0o2775)).expect("set");
        }
        let [work_path, artifacts_path] = [&work, &artifacts].map(|path| path.to_string_lossy().into_owned());
        let variables = [
            ("QRON__ARTIFACTS__INLINE_BYTES", "100"),
            ("QRON__TOOLS__WORKSPACE", work_path.as_str()),
            ("QRON__ARTIFACTS__FOLDER", artifacts_path.as_str()),
        ];
        let running = Running::start(under_umask(umask), folder.path(), &variables).await;
        running.completed(&plan()).await;
        running.terminate().await;
        for path in [&work, &artifacts] {
            assert_eq!(fs::metadata(path).expect("there").mode() & 0o7777, 0o2775, "the person's own folder");
            for entry in fs::read_dir(path).expect("a folder").flatten() {
                assert_modes(&entry.path(), 0o2770, 0o660);
            }
        }
        assert_modes(&folder.path().join("sub/data"), 0o700, 0o600);
    }
}

/// What others keep in the same folder is not touched.
#[tokio::test]
async fn a_data_folder_with_files_of_others_keeps_its_mode_and_theirs() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("sub/data");
    fs::create_dir_all(&data).expect("made");
    fs::write(data.join("thesis.txt"), "mine").expect("written");
    for (path, mode) in [(data.clone(), 0o755), (data.join("thesis.txt"), 0o644)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
    }
    let running = Running::start(under_umask("022"), folder.path(), &[]).await;
    running.completed(&plan()).await;
    running.terminate().await;
    assert_eq!(fs::metadata(&data).expect("there").mode() & 0o777, 0o755);
    assert_eq!(fs::metadata(data.join("thesis.txt")).expect("there").mode() & 0o777, 0o644);
    for part in ["qdrant", "workspace", "replica"] {
        assert_modes(&data.join(part), 0o700, 0o600);
    }
}

#[tokio::test]
async fn the_start_says_who_can_reach_it_without_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = Running::start(under_umask("022"), folder.path(), &[]).await;
    let said = running.said();
    for part in ["every user and program of this machine", "QRON__API__TOKEN", "QRON__EMBEDDED__API_KEY"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
    running.terminate().await;
    let keys = [("QRON__API__TOKEN", "token-0123456789"), ("QRON__EMBEDDED__API_KEY", "key-0123456789")];
    let running = Running::start(under_umask("022"), folder.path(), &keys).await;
    assert!(!running.said()[said.len()..].contains("every user"), "{}", running.said());
    running.terminate().await;
}
