//! Dashboards, rules and deployment files say what the program does.

mod dashboards;
mod files;
mod image;
mod rules;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use qron::telemetry::metrics::{ALL, Kind, Metric};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files of a folder whose names end so, in order.
fn files_in(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap_or_else(|error| panic!("{folder}: {error}"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} holds no *{ending}");
    files
}

/// Names of the series that `/metrics` shows, with the metric each belongs to.
fn series() -> HashMap<String, &'static Metric> {
    let mut names = HashMap::new();
    for metric in ALL {
        if metric.kind == Kind::Histogram {
            for suffix in ["_bucket", "_sum", "_count"] {
                names.insert(format!("{}{suffix}", metric.name), metric);
            }
        } else {
            names.insert(metric.name.to_owned(), metric);
        }
    }
    names
}

/// Names of metrics in a query, each with where it ends. Names of recorded series hold a colon and are left out.
fn names_in(query: &str) -> Vec<(&str, usize)> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let bytes = query.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + bytes[at..].iter().take_while(|byte| is_part(**byte)).count();
        let word = &query[at..end];
        if word.starts_with("qron_") && !word.contains(':') {
            found.push((word, end));
        }
        at = end.max(at + 1);
    }
    found
}

/// What is wrong with the names and labels of a query.
fn problems_of(query: &str) -> Vec<String> {
    let known = series();
    let mut problems = Vec::new();
    let mut grouped: Vec<&str> = vec!["instance", "job", "le"];
    for (name, end) in names_in(query) {
        let Some(metric) = known.get(name) else {
            problems.push(format!("{name} is not exported"));
            continue;
        };
        grouped.extend(metric.labels);
        let matchers = query[end..].strip_prefix('{').and_then(|rest| rest.split('}').next()).unwrap_or_default();
        for matcher in matchers.split(',').filter(|matcher| !matcher.trim().is_empty()) {
            let label = matcher.trim().split(['=', '!']).next().unwrap_or_default();
            if !["instance", "job", "le"].contains(&label) && !metric.labels.contains(&label) {
                problems.push(format!("{name} has no label {label}"));
            }
        }
    }
    for clause in ["by (", "without ("] {
        for (at, _) in query.match_indices(clause) {
            let labels = query[at + clause.len()..].split(')').next().unwrap_or_default();
            let unknown = labels.split(',').map(str::trim).filter(|label| !grouped.contains(label));
            problems.extend(unknown.map(|label| format!("{clause}…): none of the metrics has a label {label}")));
        }
    }
    problems
}

#[test]
fn wrong_names_and_labels_are_found() {
    assert_eq!(problems_of("rate(qron_tasks_claimed_total[5m])"), [""; 0]);
    assert_eq!(problems_of("sum by (le) (rate(qron_due_search_seconds_bucket{job=~\"$job\"}[5m]))"), [""; 0]);
    for query in [
        "qron_tasks_claimed",
        "qron_due_search_seconds",
        "rate(qron_tasks_claimed_total_bucket[5m])",
        "qron_tasks_retried_total{agent=\"x\"}",
        "sum by (agent) (qron_tasks_retried_total)",
    ] {
        assert_eq!(problems_of(query).len(), 1, "{query}");
    }
}
