//! The table of metrics, what is exported, and what is documented are the same.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use qron::domain::approval::ApprovalOutcome;
use qron::domain::event::EventKind;
use qron::domain::failure::{BudgetLimit, FailureClass};
use qron::domain::schedule::due::SkipReason;
use qron::domain::time::Timestamp;
use qron::telemetry::metrics::{ALL, API_REQUESTS, Kind, Metric, RUN_SECONDS};
use qron::telemetry::{exporter, known_labels};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Words that would make a label grow without bound.
const UNBOUNDED: [&str; 9] = ["id", "task", "claim", "replica", "user", "goal", "error", "message", "path"];

fn touch(metric: &Metric) {
    let labels: Vec<metrics::Label> = metric.labels.iter().map(|name| metrics::Label::new(*name, "x")).collect();
    match metric.kind {
        Kind::Counter => metrics::counter!(metric.name, labels).increment(1),
        Kind::Gauge => metrics::gauge!(metric.name, labels).increment(0.0),
        Kind::Histogram => metrics::histogram!(metric.name, labels).record(0.3),
    }
}

#[test]
fn every_metric_is_exported_with_its_kind_labels_and_meaning() {
    exporter::install(START).expect("the only recorder");
    exporter::install(START).expect("again is harmless");
    ALL.iter().for_each(touch);
    let text = exporter::render();
    for metric in ALL {
        let name = metric.name;
        assert!(text.contains(&format!("# HELP {name} {}\n", metric.help)), "{name} has no help in:\n{text}");
        assert!(text.contains(&format!("# TYPE {name} {}\n", metric.kind.as_str())), "{name} is of another kind");
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("{label}=\"x\"")).collect();
        let mut series = name.to_owned();
        if metric.kind == Kind::Histogram {
            series.push_str("_count");
        }
        if !labels.is_empty() {
            write!(series, "{{{}}}", labels.join(",")).expect("a string");
        }
        assert!(text.lines().any(|line| line.starts_with(&format!("{series} "))), "no {series} in:\n{text}");
    }
}

#[test]
fn what_is_exported_is_in_the_table() {
    exporter::install(START).expect("the only recorder");
    let known: HashSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    for line in exporter::render().lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap_or_default();
        assert!(known.contains(name), "{name} is exported but not in metrics::ALL");
    }
}

#[test]
fn a_counter_is_seen_at_zero_before_anything_happened() {
    exporter::install(START).expect("the only recorder");
    let text = exporter::render();
    for series in [
        "qron_tasks_rescued_total ",
        "qron_dead_lettered_total{class=\"timeout\"} ",
        "qron_recovery_seconds_bucket{le=\"60\"} ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(series)), "no {series}in:\n{text}");
    }
    assert!(text.contains("qron_start_timestamp_seconds 1767225600\n"), "{text}");
}

/// `increase()` sees a first failure only when it has seen the zero before it.
#[test]
fn every_counter_with_labels_is_at_zero_before_anything_happened() {
    exporter::install(START).expect("the only recorder");
    known_labels::begin_agent("a1");
    known_labels::begin_model("m1");
    known_labels::begin_tool("t1");
    let text = exporter::render();
    // The status codes of a route are known when it has answered.
    let counters = ALL.iter().filter(|metric| metric.kind == Kind::Counter && metric.name != API_REQUESTS.row().name);
    for name in counters.map(|metric| metric.name) {
        let is_zero = |line: &str| line.starts_with(&format!("{name}{{")) && line.ends_with(" 0");
        let is_plain = text.lines().any(|line| line.starts_with(&format!("{name} ")));
        assert!(is_plain || text.lines().any(is_zero), "no {name} at zero in:\n{text}");
    }
    for class in FailureClass::ALL {
        for series in [
            format!("qron_tasks_failed_total{{agent=\"a1\",class=\"{class}\"}} 0"),
            format!("qron_tasks_retried_total{{class=\"{class}\"}} 0"),
            format!("qron_model_calls_total{{model=\"m1\",purpose=\"replan\",outcome=\"{class}\"}} 0"),
            format!("qron_model_retries_total{{model=\"m1\",class=\"{class}\"}} 0"),
            format!("qron_tool_calls_total{{tool=\"t1\",outcome=\"{class}\"}} 0"),
            format!("qron_agent_steps_total{{kind=\"act\",outcome=\"{class}\"}} 0"),
        ] {
            assert!(text.lines().any(|line| line == series), "no {series} in:\n{text}");
        }
    }
    for series in [
        "qron_tasks_completed_total{agent=\"a1\"} 0",
        "qron_schedule_firings_total{outcome=\"missed\"} 0",
        "qron_approvals_decided_total{verdict=\"expired\"} 0",
        "qron_pruned_total{what=\"dead_letters\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "no {series} in:\n{text}");
    }
}

/// A value that the code counts by and the list of known values lacks would not begin at zero.
#[test]
fn the_known_values_are_those_of_the_code() {
    let known = include_str!("../../src/telemetry/known_labels.rs");
    let verdicts =
        [ApprovalOutcome::Approved, ApprovalOutcome::Denied, ApprovalOutcome::Expired].map(ApprovalOutcome::as_str);
    let reasons =
        [SkipReason::Missed, SkipReason::Overlap, SkipReason::Replaced, SkipReason::QueueFull, SkipReason::Removed]
            .map(SkipReason::as_str);
    let budgets = [
        BudgetLimit::Steps,
        BudgetLimit::ModelCalls,
        BudgetLimit::Tokens,
        BudgetLimit::Cost,
        BudgetLimit::Turns,
        BudgetLimit::Time,
        BudgetLimit::Tree,
    ]
    .map(BudgetLimit::as_str);
    for word in verdicts.into_iter().chain(reasons).chain(budgets) {
        assert!(known.contains(&format!("\"{word}\"")), "known_labels.rs lacks {word}");
    }
}

#[test]
fn a_deprecated_metric_names_the_one_that_takes_its_place() {
    let names: HashSet<&str> = ALL.iter().filter(|metric| !metric.is_deprecated()).map(|metric| metric.name).collect();
    let deprecated: Vec<&Metric> = ALL.iter().filter(|metric| metric.is_deprecated()).collect();
    assert_eq!(deprecated.len(), 3, "{deprecated:?}");
    for metric in deprecated {
        let successor = metric.help.trim_end_matches('.').rsplit(' ').next().unwrap_or_default();
        assert!(names.contains(successor), "{}: {}", metric.name, metric.help);
    }
}

#[test]
fn a_histogram_with_labels_can_be_begun_empty() {
    exporter::install(START).expect("the only recorder");
    RUN_SECONDS.begin(["begun", "failed"]);
    let text = exporter::render();
    let count = "qron_task_run_seconds_count{agent=\"begun\",outcome=\"failed\"} 0\n";
    assert!(text.contains(count), "no {count} in:\n{text}");
}

#[test]
fn names_follow_the_rules_of_prometheus() {
    let mut seen = HashSet::new();
    for metric in ALL {
        let name = metric.name;
        assert!(seen.insert(name), "{name} is declared twice");
        assert!(name.starts_with("qron_"), "{name} lacks the prefix");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name} is not snake_case");
        assert_eq!(
            name.ends_with("_total"),
            metric.kind == Kind::Counter,
            "{name}: _total is for counters, all of them"
        );
        for unit in ["_ms", "_millis", "_minutes", "_kb", "_mb", "_percent"] {
            assert!(!name.contains(unit), "{name}: {unit} is no base unit");
        }
        if metric.kind == Kind::Histogram {
            assert!(name.ends_with("_seconds") || name.ends_with("_usd"), "{name} does not say its unit");
            assert!(metric.buckets.is_sorted_by(|lower, upper| lower < upper), "{name}: buckets are not in order");
        }
        assert_eq!(metric.kind == Kind::Histogram, !metric.buckets.is_empty(), "{name}: buckets are for histograms");
        for label in metric.labels {
            assert!(!UNBOUNDED.contains(label) && !label.ends_with("_id"), "{name}: {label} has no bound");
            assert!(!["le", "quantile"].contains(label), "{name}: {label} is reserved");
        }
        assert!(metric.help.ends_with('.') && !metric.help.contains(['|', '\\', '\n']), "{name}: {}", metric.help);
    }
}

#[test]
fn every_declared_metric_is_in_the_table() {
    let source = include_str!("../../src/telemetry/metrics.rs");
    let declared: HashSet<&str> = source.split('"').filter(|word| word.starts_with("qron_")).collect();
    let listed: HashSet<&str> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(declared, listed, "a constant is missing from metrics::ALL");
}

#[test]
fn the_documented_events_are_the_recorded_ones() {
    let mut expected = "| event | meaning |\n|---|---|\n".to_owned();
    for kind in EventKind::ALL {
        writeln!(expected, "| `{kind}` | {} |", kind.meaning()).expect("a string");
    }
    let page = include_str!("../../docs/telemetry.md");
    assert!(page.contains(&format!("{expected}\n")), "docs/telemetry.md should hold exactly this table:\n\n{expected}");
}

/// A kind of event that the program never records is a promise that it does not keep.
#[test]
fn every_kind_of_event_is_recorded_somewhere() {
    let mut code = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    for kind in EventKind::ALL {
        assert!(code.contains(&format!("EventKind::{kind:?}")), "the program never records EventKind::{kind:?}");
    }
}

/// A metric that nobody records is a promise that the program does not keep.
#[test]
fn every_metric_is_recorded_somewhere() {
    let mut code = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let declared = include_str!("../../src/telemetry/metrics.rs");
    let constants = declared.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next());
    for constant in constants.filter(|constant| *constant != "ALL") {
        assert!(code.contains(&format!("metrics::{constant}.")), "nobody records metrics::{constant}");
    }
}

fn gather(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            gather(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("a source file"));
        }
    }
}

#[test]
fn the_documented_table_is_the_exported_one() {
    let mut expected = "| name | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in ALL {
        let labels = if metric.labels.is_empty() { "–".to_owned() } else { metric.labels.join(", ") };
        let kind = metric.kind.as_str();
        writeln!(expected, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help).expect("a string");
    }
    let page = include_str!("../../docs/telemetry.md");
    let documented: String = page
        .split_inclusive('\n')
        .filter(|line| {
            line.starts_with("| name |") || line.starts_with("|---|---|---|---|") || line.starts_with("| `qron_")
        })
        .collect();
    assert!(documented == expected, "docs/telemetry.md should hold exactly this table:\n\n{expected}");
}
