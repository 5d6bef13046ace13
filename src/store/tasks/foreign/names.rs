//! The names under which other programs write the fields of a task.

/// Each field that another client may write, with the names it is read from, its own first. Names are compared without case
/// and separators.
pub(super) const NAMES: &[(&str, &[&str])] = &[
    ("goal", &["goal", "description", "prompt", "task"]),
    ("status", &["status", "state"]),
    ("run_at", &["run_at", "scheduled_at", "scheduled_for", "due_at", "execute_at", "start_at"]),
    ("priority", &["priority"]),
    ("agent", &["agent", "agent_name"]),
    ("capabilities", &["capabilities", "required_capabilities"]),
    ("depends_on", &["depends_on", "dependencies"]),
    ("on_dependency_failure", &["on_dependency_failure"]),
    ("parent", &["parent"]),
    ("unique_key", &["unique_key", "idempotency_key"]),
    ("unique_for", &["unique_for"]),
    ("concurrency_key", &["concurrency_key", "fairness_key"]),
    ("schedule_id", &["schedule_id"]),
    ("max_attempts", &["max_attempts"]),
    ("max_retries", &["max_retries"]),
    ("timeout_s", &["timeout_s", "timeout_seconds", "timeout"]),
    ("plan", &["plan"]),
    ("context", &["context"]),
    ("tags", &["tags", "labels"]),
    ("user", &["user", "user_id"]),
    ("approval", &["approval"]),
    ("created_at", &["created_at", "created"]),
    ("finished_at", &["finished_at", "completed_at"]),
    ("cancel_requested", &["cancel_requested"]),
    ("result", &["result", "output"]),
    ("error", &["error", "error_message"]),
];

/// The names that `field` is read from; `None` when it is read from its own alone.
pub(super) fn names_of(field: &str) -> Option<&'static [&'static str]> {
    NAMES.iter().find(|(name, _)| *name == field).map(|(_, names)| *names)
}
