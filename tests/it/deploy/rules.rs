//! The rules of Prometheus. What they do is shown by promtool; what they name is checked here.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::process::Command;

use super::{files_in, problems_of, read, root};

const ALERTS: &str = "deploy/prometheus/rules/alerts.yml";
const RECORDING: &str = "deploy/prometheus/rules/recording.yml";
const CASES: &str = "deploy/prometheus/tests/alerts.yml";

/// The rules of a file, each with its text, by name.
fn rules(path: &str, key: &str) -> BTreeMap<String, String> {
    let text = read(path);
    let separator = format!("\n      - {key}: ");
    text.split(&separator)
        .skip(1)
        .map(|rule| {
            let (name, body) = rule.split_once('\n').expect("a name and a body");
            (name.to_owned(), body.to_owned())
        })
        .collect()
}

/// The value of a key of a rule, on one line or as a block.
fn value<'a>(rule: &'a str, key: &str) -> &'a str {
    let start = rule.find(&format!("{key}: ")).unwrap_or_else(|| panic!("no {key} in\n{rule}")) + key.len() + 2;
    let rest = &rule[start..];
    let end = if rest.starts_with('|') {
        ["\n        for:", "\n        labels:", "\n\n"].iter().filter_map(|end| rest.find(end)).min()
    } else {
        rest.find('\n')
    };
    rest[..end.unwrap_or(rest.len())].trim_start_matches('|').trim().trim_matches('"')
}

#[test]
fn every_rule_names_exported_metrics_and_their_labels() {
    for (path, key) in [(ALERTS, "alert"), (RECORDING, "record")] {
        let rules = rules(path, key);
        assert!(rules.len() > 8, "{path} has lost its rules");
        for (name, rule) in rules {
            assert_eq!(problems_of(value(&rule, "expr")), [""; 0], "{name}");
        }
    }
}

#[test]
fn recorded_series_are_named_after_level_metric_and_operations_and_alerts_use_only_those() {
    let recorded: HashSet<String> = rules(RECORDING, "record").into_keys().collect();
    for name in &recorded {
        assert_eq!(name.matches(':').count(), 2, "{name}");
    }
    for (alert, rule) in rules(ALERTS, "alert") {
        for word in value(&rule, "expr").split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter)) {
            assert!(!word.contains(":qron_") || recorded.contains(word), "{alert}: nobody records {word}");
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_what_to_do() {
    let runbook = read("docs/runbook.md");
    for (alert, rule) in rules(ALERTS, "alert") {
        assert!(alert.starts_with("Qron"), "{alert}");
        assert!(["critical", "warning"].contains(&value(&rule, "severity")), "{alert}");
        assert!(!value(&rule, "summary").is_empty() && !value(&rule, "description").is_empty(), "{alert}");
        assert_eq!(value(&rule, "runbook_url"), format!("docs/runbook.md#{}", alert.to_lowercase()));
        assert!(runbook.lines().any(|line| line == format!("## {alert}")), "docs/runbook.md has no chapter {alert}");
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_keeps_quiet() {
    let cases = read(CASES);
    for alert in rules(ALERTS, "alert").into_keys() {
        for (kind, expected) in [("fires", "exp_alerts:\n"), ("keeps quiet", "exp_alerts: []\n")] {
            let case = cases.split("  - name: ").find(|case| case.starts_with(&format!("{alert} {kind}\n")));
            let case = case.unwrap_or_else(|| panic!("{CASES} has no case: {alert} {kind}"));
            assert!(case.contains(&format!("alertname: {alert}\n")), "{alert} {kind}");
            assert!(case.contains(expected), "{alert} {kind}: expects something else");
        }
    }
}

#[test]
fn promtool_agrees() {
    let runs: [(&[&str], &str); 3] = [
        (&["check", "config", "--syntax-only"], "deploy/prometheus/prometheus.yml"),
        (&["check", "rules"], "deploy/prometheus/rules"),
        (&["test", "rules"], "deploy/prometheus/tests"),
    ];
    for (arguments, path) in runs {
        let files = if root().join(path).is_file() { vec![root().join(path)] } else { files_in(path, ".yml") };
        let output = match Command::new("promtool").args(arguments).args(files).output() {
            Ok(output) => output,
            Err(error) => {
                // Written past the capture of the test harness: a check that did not run has to be seen.
                writeln!(
                    io::stderr(),
                    "SKIPPED: promtool cannot be run ({error}); Debian has it in the package prometheus"
                )
                .expect("standard error");
                return;
            }
        };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    }
}
