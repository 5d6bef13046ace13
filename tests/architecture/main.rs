//! Which module may import which: docs/architecture.md, enforced.

mod cycles;
mod queue;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import, besides itself, `clock` and `telemetry`.
const RULES: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("telemetry", &["domain"]),
    ("store", &["domain"]),
    ("background", &[]),
    ("llm", &["domain"]),
    ("queue", &["domain", "store"]),
    ("tools", &["domain", "queue", "store"]),
    ("agent::machine", &["domain"]),
    ("agent", &["agent::machine", "domain", "llm", "store", "tools"]),
    ("worker", &["agent", "domain", "queue", "store"]),
    ("schedules", &["background", "domain", "queue", "store"]),
    ("scheduler", &["agent", "background", "domain", "queue", "schedules", "store", "worker"]),
    ("config", &["agent", "api", "domain", "llm", "scheduler", "store", "tools", "worker"]),
    ("api", &["agent", "domain", "llm", "queue", "scheduler", "schedules", "store", "tools"]),
    ("console", &["api", "app", "config", "domain"]),
    ("cli", &["api", "app", "bench", "config", "console", "demo", "domain"]),
    ("bench", &["agent", "app", "config", "domain", "queue", "scheduler", "store", "tools"]),
    ("demo", &["api", "app", "config", "console", "domain", "llm"]),
    ("app", &["agent", "api", "config", "domain", "llm", "queue", "scheduler", "store", "tools"]),
];

/// Those that may not even ask for the time or count something.
const PURE: [&str; 2] = ["domain", "agent::machine"];

/// Crates, and parts of the standard library, that have a home: the modules that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("qdrant_client", &["bench", "demo", "store"]),
    ("qdrant_edge", &[]),
    ("qdrant_embedded", &["api", "app", "config", "store"]),
    ("async_openai", &["llm"]),
    ("backoff", &["domain"]),
    ("tokio_cron_scheduler", &["config", "scheduler"]),
    ("rusqlite", &["tools"]),
    ("tokio_postgres", &["tools"]),
    // It describes a type as serde writes it.
    ("utoipa", &["api", "domain", "scheduler"]),
    ("utoipa_axum", &["api"]),
];

/// What the pure modules `domain` and `agent::machine` may not name: runtimes, networks, files.
const IMPURE: [&str; 8] = ["tokio", "reqwest", "tonic", "axum", "std::fs", "std::net", "std::env", "std::process"];

fn may_import(module: &str, target: &str) -> bool {
    let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == module) else { return false };
    let shared = ["clock", "telemetry"].contains(&target) && !PURE.contains(&module);
    module == target || shared || allowed.contains(&target)
}

/// The module that a path below the crate's root belongs to, as the rules name it.
fn module_of(segments: &[String]) -> Option<String> {
    match segments {
        [first, second, ..] if first == "agent" && second == "machine" => Some("agent::machine".to_owned()),
        [first, ..] => Some(first.clone()),
        [] => None,
    }
}

/// The source without comments and the unit tests at its end; those in a file of their own are checked there.
fn code_of(source: &str) -> String {
    source
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line.split(" // ").next().unwrap_or_default(), "\n"])
        .collect()
}

/// Whether the code names `path` as a path of its own: `backoff::` and not `crate::backoff::`, nor within a text.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(&format!("{path}::")).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let is_text = code[..at].lines().next_back().is_some_and(|line| line.matches('"').count() % 2 == 1);
        !is_text && !before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':')
    })
}

/// Modules imported by `source`, the file of the module `here`: in `use` and in paths, its unit tests left out.
fn imports(here: &[String], source: &str) -> BTreeSet<String> {
    paths(here, source).iter().filter_map(|path| module_of(path)).collect()
}

/// The paths below the crate's root that `source`, the file of the module `here`, names.
fn paths(here: &[String], source: &str) -> BTreeSet<Vec<String>> {
    let code = code_of(source);
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let inside_word =
            code[..start].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_');
        // `super::super::x` is read from its first `super`.
        if inside_word || code[..start].ends_with("super::") {
            continue;
        }
        for path in tree(&code[start..]) {
            found.insert(absolute(here, &path));
        }
    }
    found
}

/// The paths that start here, groups spread out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn tree(text: &str) -> Vec<Vec<String>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return branches(group).into_iter().flat_map(tree).collect();
    }
    let end = text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len());
    let (segment, rest) = text.split_at(end);
    if segment.is_empty() {
        return vec![Vec::new()];
    }
    match rest.strip_prefix("::") {
        None => vec![vec![segment.to_owned()]],
        Some(rest) => tree(rest)
            .into_iter()
            .map(|mut path| {
                path.insert(0, segment.to_owned());
                path
            })
            .collect(),
    }
}

/// The items of a group whose opening brace is left out.
fn branches(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0_u32, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => {
                items.push(&group[start..at]);
                break;
            }
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items
}

fn absolute(here: &[String], path: &[String]) -> Vec<String> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    let kept = if path.first().is_some_and(|first| first == "crate") { 0 } else { here.len().saturating_sub(supers) };
    here[..kept].iter().chain(&path[supers.max(1)..]).cloned().collect()
}

/// `src/agent/machine/run.rs` is the module `agent::machine::run`, `src/agent/mod.rs` is `agent`.
fn path_of(file: &Path) -> Vec<String> {
    let mut segments: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    segments
}

fn violations(file: &Path, source: &str) -> Vec<String> {
    let here = path_of(file);
    let Some(module) = module_of(&here) else { return Vec::new() };
    let code = code_of(source);
    let siblings = imports(&here, source).into_iter().filter(|target| !may_import(&module, target));
    let guests = HOMES
        .iter()
        .filter(|(name, homes)| names(&code, name) && !homes.contains(&module.as_str()))
        .map(|(name, _)| (*name).to_owned());
    let pure = ["domain", "agent::machine"].contains(&module.as_str());
    let effects = IMPURE.iter().filter(|name| pure && names(&code, name)).map(|name| (*name).to_owned());
    siblings
        .chain(guests)
        .chain(effects)
        .map(|target| format!("src/{}: {module} must not import {target}", file.display()))
        .collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The source files below `folder` of the repository, by their path below it, with their text; the roots of crates left out.
fn files_below(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources have moved: {files:?}");
    let below = files.into_iter().map(|file| (file.strip_prefix(&root).expect("below").to_owned(), file));
    below
        .filter(|(below, _)| !["lib.rs", "main.rs"].iter().any(|name| below == Path::new(name)))
        .map(|(below, file)| (below, fs::read_to_string(file).expect("a source file")))
        .collect()
}

#[test]
fn every_module_imports_only_what_it_may() {
    let found: Vec<String> = files_below("src").iter().flat_map(|(file, source)| violations(file, source)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Ways to add a handler to a router without its description.
const UNDESCRIBED: [&str; 5] = [".route(", ".route_service(", ".nest_service(", ".fallback_service(", "axum::routing"];

#[test]
fn every_route_of_the_api_is_made_with_its_description() {
    let files = files_below("src").into_iter().filter(|(file, _)| file.starts_with("api"));
    for (file, source) in files {
        let code = code_of(&source);
        let found = UNDESCRIBED.iter().find(|way| code.contains(**way));
        assert_eq!(found, None, "src/{}: add the handler in api/document.rs with routes!", file.display());
    }
}

#[test]
fn every_allowance_is_used() {
    let mut used = BTreeSet::new();
    for (file, source) in files_below("src") {
        let here = path_of(&file);
        let from = module_of(&here).expect("a module");
        used.extend(imports(&here, &source).into_iter().map(|target| (from.clone(), target)));
    }
    let allowed = RULES.iter().flat_map(|(module, allowed)| allowed.iter().map(move |target| (*module, *target)));
    let unused: Vec<String> = allowed
        .filter(|(module, target)| !used.contains(&((*module).to_owned(), (*target).to_owned())))
        .map(|(module, target)| format!("{module} may import {target}, and does not: remove it from RULES"))
        .collect();
    assert!(unused.is_empty(), "\n{}\n", unused.join("\n"));
}

#[test]
fn every_module_of_the_crate_has_a_rule() {
    let lib = include_str!("../../src/lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let ruled: BTreeSet<&str> = RULES.iter().map(|(name, _)| *name).filter(|name| !name.contains("::")).collect();
    assert_eq!(modules.collect::<BTreeSet<_>>(), ruled);
}

#[test]
fn the_documented_table_is_the_enforced_one() {
    let mut expected = "| module | may import |\n|---|---|\n".to_owned();
    for (module, allowed) in RULES {
        let allowed: Vec<String> = allowed.iter().map(|name| format!("`{name}`")).collect();
        let allowed = if allowed.is_empty() { "–".to_owned() } else { allowed.join(", ") };
        writeln!(expected, "| `{module}` | {allowed} |").expect("a string");
    }
    let page = include_str!("../../docs/architecture.md");
    assert!(page.contains(&expected), "docs/architecture.md should hold exactly this table:\n\n{expected}");
}

#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    for source in [
        "use crate::store::Store;",
        "use crate::{domain::task::Task, store::Store};",
        "use crate::{\n    domain::{self, task::Task},\n    store,\n};",
        "pub(crate) use crate::store;",
        "fn f() -> crate::store::Store { todo!() }",
        "use super::super::store::Store;",
        "use super::{super::store::Store};",
        "/// Fine.\nuse crate::domain::task::Task; // crate::clock\nuse crate::store::Store;",
        "#[cfg(test)]\nmod tests;\nuse crate::store::Store;",
    ] {
        let found = violations(Path::new("llm/client.rs"), source);
        assert_eq!(found, ["src/llm/client.rs: llm must not import store"], "{source}");
    }
    assert_eq!(violations(Path::new("llm/mod.rs"), "use super::store;").len(), 1);
}

#[test]
fn the_machine_may_not_reach_for_the_driver_around_it() {
    let file = Path::new("agent/machine.rs");
    assert!(violations(file, "use crate::domain::task::Task;").is_empty());
    assert!(violations(Path::new("agent/machine/state.rs"), "use super::Machine;").is_empty());
    for source in ["use super::Recorder;", "use crate::agent::Recorder;", "let now = crate::clock::now();"] {
        assert_eq!(violations(file, source).len(), 1, "{source}");
    }
}

#[test]
fn a_crate_away_from_its_home_is_found() {
    assert_eq!(violations(Path::new("worker/mod.rs"), "use qdrant_client::Qdrant;").len(), 1);
    assert_eq!(violations(Path::new("domain/time.rs"), "use std::fs::File;\nuse std::fmt;").len(), 1);
    assert!(violations(Path::new("store/mod.rs"), "use qdrant_client::Qdrant;").is_empty());
    assert!(violations(Path::new("worker/mod.rs"), "use self::backoff::Delay;\nlet x = my_backoff::y();").is_empty());
}

#[test]
fn comments_unit_tests_and_own_paths_are_not_imports() {
    for source in [
        "//! Unlike [`crate::store`].",
        "/// See [`crate::store::Store`].\nfn f() {}",
        "use crate::domain::task::Task;\n\n#[cfg(test)]\nmod tests {\n    use crate::store::Store;\n}",
        "use crate::llm::scripted::Server;\nuse super::Settings;\nuse crate::clock;",
    ] {
        assert!(violations(Path::new("llm/client.rs"), source).is_empty(), "{source}");
    }
}
