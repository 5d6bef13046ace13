//! The names of the fields of a task's point.

/// Every field that qron itself writes into a task's point. All others belong to the program that inserted it.
pub(super) const FIELDS: &[&str] = &[
    "goal",
    "status",
    "run_at",
    "rank",
    "priority",
    "agent",
    "capabilities",
    "needs",
    "depends_on",
    "on_dependency_failure",
    "parent",
    TREE_ROOT,
    TREE_GENERATION,
    TREE_RIGHTS,
    TREE_HANDOVER,
    TREE_STEP,
    "unique_key",
    "unique_for",
    "concurrency_key",
    "schedule_id",
    "attempt",
    "max_attempts",
    "crashes",
    "releases",
    "timeout_s",
    "plan",
    "context",
    "tags",
    "user",
    "claim",
    "owner",
    "created_at",
    "updated_at",
    "finished_at",
    "result",
    "error",
    POSTPONED,
    NEEDS_MODEL,
    AWAITS,
    LOOK_AT,
    "cancel_requested",
    STEP_WITHDRAWN,
    "approval",
    "approvals",
    RUNS_AS,
    ADMITTED,
    SETTLED_BY,
    INSERTED_BY,
];

/// The first task of the tree that a task belongs to which another task made.
pub(in crate::store) const TREE_ROOT: &str = "tree_root";
/// Generations of tasks above it.
pub(super) const TREE_GENERATION: &str = "tree_generation";
/// What it may do at most.
pub(super) const TREE_RIGHTS: &str = "tree_rights";
/// What the task that made it handed over to it.
pub(super) const TREE_HANDOVER: &str = "tree_handover";
/// Where the step came from that it carries out.
pub(super) const TREE_STEP: &str = "tree_step";
/// Set once the task whose step it carries out has stopped it.
pub(super) const STEP_WITHDRAWN: &str = "step_withdrawn";
/// Agent that a limit counts the task for while it runs; written by claims of such agents alone.
pub(in crate::store) const RUNS_AS: &str = "runs_as";
/// Why the task waits for its model.
pub(super) const POSTPONED: &str = "postponed";
/// How often it was put off for the sake of its model; 1 or more while it waits for it.
pub(super) const PUT_OFF: &str = "postponed.times";
/// The tasks that carry out steps of it and that it waits for.
pub(in crate::store) const AWAITS: &str = "awaits";
/// When it looks at those, although none has ended.
pub(super) const LOOK_AT: &str = "awaits_until";
/// Set on tasks whose run asks a model, so that a replica without one leaves them out of its scans.
pub(super) const NEEDS_MODEL: &str = "needs_model";
/// Set once a point is known to be a task in qron's own form.
pub(in crate::store) const ADMITTED: &str = "admitted";
/// Who made the last change that is not a claim; the writer reads it back to learn whether it won.
pub(super) const SETTLED_BY: &str = "settled_by";
/// Which insert made the point, where that may be asked.
pub(super) const INSERTED_BY: &str = "inserted_by";
