//! What the page about operations says can be done as it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::examples::Qron;
use crate::read;

#[test]
fn a_copy_of_the_folder_of_a_stopped_qron_is_a_backup() {
    let mut qron = Qron::start();
    let plan = json!({ "steps": [{ "id": "a", "tool": "calculate", "arguments": { "expression": "6 * 7" } }] });
    let body = json!({ "goal": "Compute the answer to everything", "plan": plan }).to_string();
    let submitted = qron.ask("POST", "/api/v1/tasks", &body);
    let path = format!("/api/v1/tasks/{}", submitted["id"].as_str().expect("an id"));
    let schedule = json!({ "id": "morning", "cron": "0 7 * * *", "task": { "goal": "Read what is new" } }).to_string();
    qron.ask("POST", "/api/v1/schedules", &schedule);
    let result = qron.until(&path, |task| (task["status"] == "completed").then(|| task["result"].clone()));
    qron.terminate();

    let backup = tempfile::tempdir().expect("a folder");
    let copied = Command::new("cp").arg("-a").arg(qron.folder().join("qron-data")).arg(backup.path()).status();
    assert!(copied.expect("cp runs").success());
    fs::remove_dir_all(qron.folder().join("qron-data")).expect("lost");
    drop(qron);

    let restored = Qron::start_in(backup);
    assert_eq!(restored.ask("GET", &path, "")["result"], result);
    assert_eq!(restored.ask("GET", "/api/v1/schedules/morning", "")["id"], "morning");
}

#[test]
fn the_folders_of_the_page_are_those_of_the_defaults() {
    let page = read("docs/operations.md");
    let config = qron::config::Config::load_with(None, []).expect("the defaults");
    for (setting, folder) in [
        ("embedded.data_dir", &config.embedded.data_dir.join("qdrant")),
        ("artifacts.folder", &config.artifacts.folder),
        ("tools.workspace", &config.tools.workspace),
    ] {
        let row = page.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{setting}`")));
        let row = row.unwrap_or_else(|| panic!("no row about {setting}"));
        assert!(row.contains(&format!("`{}`", folder.display())), "{row}");
    }
}

#[test]
fn the_unit_of_a_person_starts_what_cargo_installs_and_gives_tasks_their_grace() {
    let unit = read("deploy/qron.user.service");
    for line in [
        "ExecStart=%h/.cargo/bin/qron run",
        "KillSignal=SIGTERM",
        "RestartPreventExitStatus=2",
        "WantedBy=default.target",
    ] {
        assert!(unit.lines().any(|found| found == line), "the unit lacks {line}");
    }
    let agent = read("deploy/qron.launchd.plist");
    let grace = qron::config::Config::load_with(None, []).expect("the defaults").worker.grace_s;
    let limits = [
        unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")?.parse::<u64>().ok()),
        agent.split("<key>ExitTimeOut</key><integer>").nth(1).and_then(|rest| rest.split('<').next()?.parse().ok()),
    ];
    assert!(limits.iter().all(|limit| limit.is_some_and(|limit| limit > grace)), "{limits:?}");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/qron.service").exists());
}
