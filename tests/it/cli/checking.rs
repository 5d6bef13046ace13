//! `qron config check` refuses what a start refuses, and a start says the same.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use super::program::{Said, command, plan_file};

/// The user that owns no file, for tests that root runs.
const NOBODY: u32 = 65_534;

/// What the check and a start in `folder` say to these variables; both must refuse them.
#[track_caller]
fn refused(folder: &Path, variables: &[(&str, &str)]) -> String {
    let said = [&["config", "check", "--no-model"][..], &["run", "--no-model"]].map(|arguments| {
        let mut command = command(arguments);
        command
            .current_dir(folder)
            .env("QRON__API__ADDRESS", "127.0.0.1:0")
            .env("QRON__EMBEDDED__ADDRESS", "127.0.0.1:0");
        command.env("QRON__LOG__FILTER", "off").envs(variables.iter().copied());
        if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            command.uid(NOBODY).gid(NOBODY);
        }
        let said = Said::from(command.output().expect("runs"));
        assert_eq!(said.code, Some(2), "{arguments:?} {variables:?}: {said:?}");
        said.err
    });
    assert_eq!(said[0], said[1], "the check and the start say the same");
    said[0].clone()
}

fn opened() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    set_mode(folder.path(), 0o777);
    folder
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set");
}

#[test]
fn settings_of_tools_that_cannot_be_used_are_refused() {
    let folder = opened();
    for (variable, value, parts) in [
        (
            "QRON__TOOLS__HTTP__ALLOW",
            "http://intranet,10.0.0.0/33,ok.example",
            &["tools.http.allow", "\"http://intranet\" is neither", "\"10.0.0.0/33\" is neither", "10.1.0.0/16"][..],
        ),
        ("QRON__TOOLS__SQL__X__URL", "sqlite://", &["tools.sql.x.url", "sqlite:///data/sales.db"]),
        ("QRON__TOOLS__SQL__X__URL", "postgres://h:port/d", &["tools.sql.x.url", "postgres://"]),
    ] {
        let said = refused(folder.path(), &[(variable, value)]);
        for part in parts.iter().chain([&variable]) {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
    }
    let with_url = |key: &'static str, value: &'static str, url: &'static str| {
        refused(folder.path(), &[("QRON__TOOLS__SQL__X__URL", url), (key, value)])
    };
    let said = with_url("QRON__TOOLS__SQL__X__MAX_CONNECTIONS", "101", "sqlite:///x.db");
    assert!(said.contains("tools.sql.x.max_connections = 101 (") && said.contains("1 to 100"), "{said}");
    let said = with_url("QRON__TOOLS__SQL__X__FUNCTIONS", "a.b(c)", "postgres://h/d");
    assert!(said.contains("tools.sql.x.functions") && said.contains("\"a.b(c)\""), "{said}");
    let said = refused(folder.path(), &[("OPENAI_BASE_URL", "http://user:secret-word@h/v1")]);
    assert!(
        said.contains("model.base_url") && said.contains("model.api_key") && !said.contains("secret-word"),
        "{said}"
    );
}

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let folder = opened();
    let (file, closed) = (folder.path().join("file"), folder.path().join("closed"));
    std::fs::write(&file, "x").expect("written");
    std::fs::create_dir(&closed).expect("made");
    set_mode(&closed, 0o555);
    let text = |path: &Path| path.to_string_lossy().into_owned();
    for (variable, key) in [
        ("QRON__TOOLS__WORKSPACE", "tools.workspace"),
        ("QRON__ARTIFACTS__FOLDER", "artifacts.folder"),
        ("QRON__EMBEDDED__DATA_DIR", "embedded.data_dir"),
    ] {
        for (path, rule) in [
            (file.clone(), "is a file"),
            (file.join("below"), "is a file"),
            (closed.clone(), "may not write"),
            (closed.join("a/b"), "may not write"),
        ] {
            let said = refused(folder.path(), &[(variable, &text(&path))]);
            for part in [key, &text(&path), rule, "name another folder"] {
                assert!(said.contains(part), "{part:?} is missing in {said}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    set_mode(&closed, 0o755);
}

#[test]
fn folders_that_cannot_be_opened_to_tasks_are_refused() {
    let folder = opened();
    let below = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(below("file"), "x").expect("written");
    for name in ["read-only", "workspace/inside"] {
        std::fs::create_dir_all(below(name)).expect("made");
    }
    set_mode(Path::new(&below("read-only")), 0o555);
    set_mode(Path::new(&below("workspace")), 0o777);
    let with = |path: &str, write: &str, workspace: &str| {
        let key = "QRON__TOOLS__FILES__FOLDERS__MINE";
        let path_key = format!("{key}__PATH");
        let write_key = format!("{key}__WRITE");
        refused(folder.path(), &[(&path_key, path), (&write_key, write), ("QRON__TOOLS__WORKSPACE", &below(workspace))])
    };
    for (path, write, rule) in [
        (below("file"), "false", "is no folder"),
        (below("missing"), "false", "does not exist"),
        (below("read-only"), "true", "is closed to the user"),
        (below("workspace/inside"), "false", "tools.workspace"),
        (below(""), "false", "embedded.data_dir"),
    ] {
        let said = with(&path, write, "workspace");
        for part in ["tools.files.folders.mine.path", rule, "name another folder"] {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
    }
    let said = refused(folder.path(), &[("QRON__TOOLS__FILES__FOLDERS__A.B__PATH", "/tmp")]);
    assert!(said.contains("tools.files.folders"), "{said}");
    std::fs::create_dir_all(below("shared/kept")).expect("made");
    set_mode(Path::new(&below("shared")), 0o777);
    let key = |name: &str| format!("QRON__TOOLS__FILES__FOLDERS__{name}");
    let said = refused(
        folder.path(),
        &[
            (&format!("{}__PATH", key("OUT")), &below("shared")),
            (&format!("{}__WRITE", key("OUT")), "true"),
            (&format!("{}__PATH", key("KEPT")), &below("shared/kept")),
        ],
    );
    assert!(
        said.contains("tools.files.folders.kept is for reading alone, but it lies in tools.files.folders.out"),
        "{said}"
    );
    set_mode(Path::new(&below("read-only")), 0o755);
}

#[test]
fn lists_that_are_cut_off_or_half_quoted_are_refused() {
    let folder = opened();
    for value in [r#"["a", "b"#, r#"["a" "b"]"#, r#"["a, b]"#, r#"a", "b"]"#, r#"["a", 3]"#, "[", r#""a,b"#] {
        let said = refused(folder.path(), &[("QRON__MODEL__MODELS", value)]);
        for part in ["model.models", "QRON__MODEL__MODELS", r#"["a", "b"]"#] {
            assert!(said.contains(part), "{value}: {part:?} is missing in {said}");
        }
    }
    for (variable, value) in [
        ("QRON__MODEL__PRICES", "{ x = { prompt = 1 "),
        ("QRON__LIMITS__USERS", "{ ann = { max_queued = 5 }"),
        ("QRON__TOOLS__SQL__X", "{ url = \"sqlite:///secret-word.db\""),
    ] {
        let said = refused(folder.path(), &[(variable, value)]);
        assert!(said.contains(variable) && said.contains("{ key = value }") && !said.contains("secret-word"), "{said}");
    }
    let file = plan_file("[model]\nmodels = '[\"a\", \"b'\n");
    let said = refused(folder.path(), &[("QRON_CONFIG", &readable(&file))]);
    assert!(said.contains("model.models"), "{said}");
}

fn readable(file: &tempfile::NamedTempFile) -> String {
    set_mode(file.path(), 0o644);
    file.path().to_string_lossy().into_owned()
}

#[test]
fn usable_folders_and_quoted_lists_pass_and_nothing_is_created() {
    let folder = opened();
    let said = command(&["config", "check", "--no-model"])
        .current_dir(folder.path())
        .env("QRON__TOOLS__WORKSPACE", "deep/below/workspace")
        .env("QRON__MODEL__MODELS", r#""a", "b""#)
        .output()
        .expect("runs");
    Said::from(said).ok();
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
