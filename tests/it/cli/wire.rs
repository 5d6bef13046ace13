//! What a command makes of the answers of a server that is no qron, or a hostile one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};

use super::program::{Said, Server, command};

/// A server that answers each request, by its first line, with what `answer` writes. Ends with the test process.
fn server(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = vec![0; 65_536];
            let Ok(length) = stream.read(&mut head) else { continue };
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            answer(head.lines().next().unwrap_or_default(), &mut stream);
        }
    });
    url
}

/// Writes an answer that ends with the connection.
fn write(stream: &mut TcpStream, head: &str, body: &str) {
    // A client that has gone away has read enough.
    drop(stream.write_all(format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}").as_bytes()));
}

fn said(url: &str, arguments: &[&str]) -> Said {
    let mut command = command(arguments);
    command.env("QRON_URL", url).env("QRON__API__TOKEN", "a-token-of-sixteen-letters").env("COLUMNS", "200");
    command.output().expect("runs").into()
}

#[test]
fn a_redirect_is_followed_by_no_request_and_told_with_its_target() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    other.set_nonblocking(true).expect("set");
    let target = format!("http://{}/api/v1/tasks", other.local_addr().expect("an address"));
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let head = format!("{status}\r\nlocation: {target}\r\ncontent-length: 0");
        let url = server(move |_, stream| write(stream, &head, ""));
        for arguments in [&["list"][..], &["cancel", "7"], &["artifacts", "get", "7", "x"]] {
            let said = said(&url, arguments);
            assert_eq!(said.code, Some(1), "{said:?}");
            for part in ["leads to", &target[..target.len() - "/api/v1/tasks".len()], "--url", &url] {
                assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
            }
        }
    }
    let asked = other.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(asked, Err(ErrorKind::WouldBlock), "its token stays here");
}

#[test]
fn an_answer_without_an_end_is_refused() {
    let url = server(|_, stream| {
        write(stream, "200 OK\r\ncontent-type: application/json", "[\"");
        let piece = vec![b'x'; 1024 * 1024];
        while stream.write_all(&piece).is_ok() {}
    });
    for arguments in [&["list"][..], &["agents", "--json"]] {
        let said = said(&url, arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("larger than 64 MiB") && said.err.contains("--limit"), "{said:?}");
    }
}

#[test]
fn an_artifact_is_written_as_it_comes_and_what_is_cut_off_leaves_no_file() {
    let url = server(|line, stream| {
        let length = if line.contains("short") { "content-length: 9999\r\n" } else { "" };
        write(stream, &format!("200 OK\r\n{length}content-type: text/plain"), &"x".repeat(3_000));
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let get = |name: &str| {
        let path = file(name).to_string_lossy().into_owned();
        said(&url, &["artifacts", "get", "00000000-0000-4000-8000-000000000000", name, "--output", &path])
    };
    assert!(get("whole").ok().err.contains("wrote 3000 bytes"));
    assert_eq!(std::fs::read(file("whole")).expect("read").len(), 3_000);
    let cut = get("short");
    assert!(cut.code == Some(1) && !file("short").exists(), "{cut:?}");
}

#[test]
fn times_of_a_server_cannot_act_on_the_terminal_and_no_more_is_listed_than_was_asked_for() {
    let qron = Server::start();
    qron.post("tasks", &json!({"id": "7", "goal": "a goal of another decade", "run_at": "2036-01-01T00:00:00Z"}));
    qron.run(&["cancel", "7"]).ok();
    let (_, page) = qron.get("tasks", &[]);
    let (_, mut agents) = qron.get("agents", &[]);
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}";
    let mut task = page["items"][0].clone();
    for field in ["finished_at", "updated_at", "run_at"] {
        task[field] = json!(hostile);
    }
    agents["items"][0]["updated_at"] = json!(hostile);
    let artifact = json!({"name": "x", "ref": "/x", "media_type": "text/plain", "size": 1, "sha256": "0", "step": "s",
        "created_at": hostile});
    let url = server(move |line, stream| {
        let body: Value = match line {
            _ if line.contains("/counts") => json!({"total": 30, "counts": {"cancelled": 30}}),
            _ if line.contains("/agents") => agents.clone(),
            _ if line.contains("/pauses") => json!({"items": []}),
            _ if line.contains("/artifacts") => json!({"items": [artifact.clone()]}),
            _ if line.contains("/tasks/7 ") => task.clone(),
            _ => json!({"items": vec![task.clone(); 30], "next": "7"}),
        };
        write(stream, "200 OK\r\ncontent-type: application/json", &body.to_string());
    });
    let listed = said(&url, &["list", "--limit", "2"]).ok();
    assert_eq!(listed.out.matches("a goal of another decade").count(), 2, "{listed:?}");
    for said in [listed, said(&url, &["agents"]).ok(), said(&url, &["artifacts", "list", "7"]).ok()] {
        assert!(!said.out.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said:?}");
        assert!(said.out.contains("\\u{1b}"), "{said:?}");
    }
}
