//! Only `queue` changes tasks.

use std::path::Path;

use super::{code_of, files_below, path_of};

/// Methods of the store that insert or change tasks and their dead letters: only `queue` calls them.
const STORE_WRITES: [&str; 17] = [
    "admit",
    "bury",
    "cancel_unreadable",
    "claim",
    "claim_as",
    "give_back",
    "insert",
    "insert_fresh",
    "pass_place",
    "purge_dead_letters",
    "purge_seen_letters",
    "reject",
    "rescue",
    "skip",
    "take_place",
    "transition",
    "transition_all",
];

/// Metrics that tell of changes of tasks: only `queue` counts them.
const TASK_METRICS: [&str; 8] = [
    "TASKS_",
    "APPROVALS_",
    "DEAD_LETTERED",
    "LIMITED.",
    "DEPENDENTS_MOVED",
    "CLAIMS_LOST",
    "CLAIM_RACES_LOST",
    "QUEUE_WAIT",
];

/// Metrics of that kind which are no counts of changes: gauges, and the series that a replica begins at zero.
const OTHER_METRICS: [&str; 2] = ["TASKS_IN_FLIGHT", "TASKS_COMPLETED.add(0"];

/// What a file outside of `queue` does with tasks that only `queue` may do. `bench` measures the store below the queue.
fn changes_of_tasks(file: &Path, source: &str) -> Vec<String> {
    let exempt = ["queue", "store", "domain", "telemetry", "bench"];
    let module = path_of(file).first().cloned().unwrap_or_default();
    if exempt.contains(&module.as_str()) {
        return Vec::new();
    }
    let code: String = code_of(source).split_whitespace().collect();
    let writes = STORE_WRITES.iter().filter(|name| {
        [format!("store.{name}("), format!("store().{name}(")].iter().any(|call| code.contains(call.as_str()))
    });
    let metrics = TASK_METRICS.iter().filter(|name| {
        let prefix = format!("metrics::{name}");
        code.match_indices(&prefix).any(|(at, _)| {
            let rest = &code[at + "metrics::".len()..];
            !OTHER_METRICS.iter().any(|other| rest.starts_with(other))
        })
    });
    let applies = code.contains(".apply(&").then_some(&"Task::apply");
    let found = writes.chain(metrics).chain(applies);
    found.map(|what| format!("src/{}: {what} is for queue alone", file.display())).collect()
}

#[test]
fn tasks_are_inserted_and_changed_through_the_queue_alone() {
    let found: Vec<String> =
        files_below("src").iter().flat_map(|(file, source)| changes_of_tasks(file, source)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_change_of_a_task_beside_the_queue_is_found() {
    let file = Path::new("api/tasks.rs");
    for source in [
        "let task = parts.store.transition(&task, &event, now).await?;",
        "parts\n    .store\n    .insert_fresh(&tasks)",
        "queue.store().bury(&letter)",
        "metrics::TASKS_CANCELLED.inc([]);",
        "let next = task.apply(&event, now)?;",
    ] {
        assert_eq!(changes_of_tasks(file, source).len(), 1, "{source}");
    }
    for source in ["parts.queue.purge_dead_letters(&ids)", "metrics::TASKS_IN_FLIGHT.set(0, [])", "// store.insert(&x)"]
    {
        assert!(changes_of_tasks(file, source).is_empty(), "{source}");
    }
    assert!(changes_of_tasks(Path::new("queue/change.rs"), "store.transition(&task)").is_empty());
}
