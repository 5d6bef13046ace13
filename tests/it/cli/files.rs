//! Files that a task gets with `qron add --file`.

use serde_json::json;

use super::program::{Server, plan_file};

const SALES: &str = "city;amount\nRome;40\nOslo;2\n";
const PLAN: &str = r#"{"steps": [
    {"id": "sum", "tool": "query_table", "arguments": {"query": "SELECT sum(amount) AS total FROM data", "path": "sales.csv"}},
    {"id": "same", "tool": "query_table", "arguments": {"query": "SELECT count(*) AS n FROM data", "table": "${files.sales.csv}"}},
    {"id": "read", "tool": "read_artifact", "arguments": {"name": "sales.csv"}},
    {"id": "file", "tool": "read_file", "arguments": {"path": "notes"}},
    {"id": "keep", "tool": "save_artifact",
        "arguments": {"name": "out.txt", "content": "${sum.rows.0.total} in ${same.rows.0.n} rows\n${read.content}${file.content}"}}
], "answer": "keep"}"#;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content) in [("sales 2026.csv", SALES.as_bytes()), ("notes", b"noted"), ("raw.bin", b"\0\xff")] {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    folder
}

#[test]
fn files_are_there_for_references_tools_and_people() {
    let (server, folder, plan) = (Server::start(), folder(), plan_file(PLAN));
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (plan, sales) = (plan.path().to_string_lossy().into_owned(), format!("sales.csv={}", path("sales 2026.csv")));
    let add = ["add", "sum up what was sold", "--plan", &plan, "--file", &sales, "--file", &path("notes"), "--json"];
    let added = server.run(&add).ok().json();
    let id = added["id"].as_str().expect("an id").to_owned();
    assert_eq!(added["context"]["files"][0], json!({"name": "sales.csv", "bytes": 27, "media_type": "text/csv"}));
    let followed = server.run(&["show", &id, "--follow"]).ok();
    assert!(followed.out.contains("completed"), "{followed:?}");
    let out = server.run(&["artifacts", "get", &id, "out.txt"]).ok().out;
    assert_eq!(out, format!("42 in 2 rows\n{SALES}noted"));
    let listed = server.run(&["artifacts", "list", &id, "--json"]).ok().json();
    let made: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|one| (one["name"].as_str().unwrap_or_default(), one["step"].as_str().unwrap_or_default()))
        .collect();
    assert_eq!(made, [("notes", "given"), ("out.txt", "keep"), ("sales.csv", "given")]);
    assert_eq!(server.run(&["artifacts", "get", &id, "sales.csv"]).ok().out, SALES);
}

#[test]
fn a_file_that_is_no_text_is_no_reference() {
    let (server, folder) = (Server::start(), folder());
    let plan = plan_file(
        r#"{"steps": [{"id": "s", "tool": "set_state", "arguments": {"key": "k", "value": "${files.raw.bin}"}}]}"#,
    );
    let (plan, raw) = (plan.path().to_string_lossy().into_owned(), folder.path().join("raw.bin"));
    let raw = raw.to_string_lossy().into_owned();
    let said = server.run(&[
        "add",
        "keep what is no text",
        "--plan",
        &plan,
        "--file",
        &raw,
        "--max-attempts",
        "1",
        "--follow",
    ]);
    assert!(said.code == Some(1) && said.out.contains("\"raw.bin\" is no text in UTF-8"), "{said:?}");
}

#[test]
fn wrong_files_are_refused_and_nothing_is_stored() {
    let (server, folder) = (Server::with(&[("QRON__ARTIFACTS__MAX_BYTES", "100000")]), folder());
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("large"), vec![b'x'; 100_001]).expect("written");
    let plan = plan_file(
        r#"{"steps": [{"id": "s", "tool": "set_state", "arguments": {"key": "k", "value": "${files.nots}"}}]}"#,
    );
    let plan = plan.path().to_string_lossy().into_owned();
    let (notes, hidden) = (path("notes"), format!("a/b={}", path("notes")));
    for (arguments, parts) in [
        (&["--file", "/nowhere.csv"][..], &["/nowhere.csv"][..]),
        (&["--file", &hidden], &["\"a/b\"", "255 bytes", "NAME=PATH"]),
        (&["--file", &notes, "--file", &notes], &["two files", "\"notes\""]),
        (&["--file", &path("large")], &["100001", "100000", "artifacts.max_bytes"]),
        (&["--file", &notes, "--context", "files=3"], &["files", "context"]),
        (&["--file", &notes, "--plan", &plan], &["${files.nots}", "has notes", "qron add --file"]),
        (&["--plan", &plan], &["${files.nots}", "has no files"]),
    ] {
        let said = server.run(&[&["add", "a goal that is long enough"], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        for part in parts {
            assert!(said.err.contains(part), "{part:?} is missing in {}", said.err);
        }
    }
    assert_eq!(server.run(&["list", "--json"]).ok().json()["items"], json!([]));
}
