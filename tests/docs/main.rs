//! What the pages say holds: links, commands, settings, examples.

mod examples;
mod limits;
mod openapi;
mod operations;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use qron::config::DEFAULT_TOML;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for folder in ["", "docs", "docs/decisions"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() > 8, "the pages have moved: {pages:?}");
    pages
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            if target.starts_with("http") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            assert!(file.exists(), "{}: {target} is not there", page.display());
            if !fragment.is_empty() {
                let linked = fs::read_to_string(&file).expect("a page");
                let found =
                    linked.lines().filter_map(|line| line.split_once("# ")).any(|(_, title)| anchor(title) == fragment);
                assert!(found, "{}: {target} names no heading", page.display());
            }
        }
    }
}

#[test]
fn every_decision_is_listed() {
    let list = read("docs/decisions.md");
    for entry in fs::read_dir(root().join("docs/decisions")).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_string_lossy();
        assert!(list.contains(&format!("(decisions/{name})")), "docs/decisions.md does not list {name}");
    }
}

#[test]
fn every_section_of_the_configuration_is_explained() {
    let page = read("docs/configuration.md");
    let sections = DEFAULT_TOML.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    let explained: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `[")?.split_once("]`").map(|(name, _)| name)).collect();
    let there: BTreeSet<&str> =
        sections.map(|name| if name.starts_with("agents.") { "agents" } else { name }).collect();
    assert_eq!(explained, there);
}

#[test]
fn every_file_named_in_backquotes_is_there() {
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "crates/", "fuzz/", "tests/", "docs/", "deploy/", "config/", "grafana/"]
                .iter()
                .any(|start| word.starts_with(start));
            if is_path && !word.contains(['*', ' ', '…']) {
                assert!(root().join(word).exists(), "{}: {word} is not there", page.display());
            }
        }
    }
}

#[test]
fn every_command_that_is_shown_exists() {
    let mut commands = BTreeSet::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut in_block = false;
        for line in text.lines() {
            in_block ^= line.starts_with("```");
            // In a block of shell commands, and between backquotes.
            let shown = line.strip_prefix("qron ").filter(|_| in_block).into_iter();
            let quoted = line.split('`').skip(1).step_by(2).filter_map(|word| word.strip_prefix("qron "));
            for command in shown.chain(quoted) {
                let words = command.split_whitespace().take_while(|word| {
                    word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') && !word.starts_with('-')
                });
                commands.insert(words.map(str::to_owned).collect::<Vec<_>>());
            }
        }
    }
    assert!(commands.len() > 8, "commands are not found any more: {commands:?}");
    for words in commands.iter().filter(|words| words.first().is_some_and(|word| word != "help")) {
        let output = Command::new(env!("CARGO_BIN_EXE_qron")).args(words).arg("--help").output().expect("qron runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "qron {}: {said}", words.join(" "));
    }
}
