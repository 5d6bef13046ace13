//! Every metric that qron exports: name, kind, labels and meaning, in one place.
//!
//! Callers write `metrics::TASKS_RETRIED.inc([class.as_str()])`, `metrics::TASKS_CLAIMED.add(won, [])`,
//! `metrics::STORE_SECONDS.record(started.elapsed(), ["claim", outcome(&reply)])`.
//!
//! Labels never hold ids, and take few values: names from the configuration (agents, models, tools), words of the code,
//! classes of failure, statuses, route templates. A name that a model made up is counted as `unknown`.
//! The table in docs/telemetry.md is compared with this one by a test.
#![expect(missing_docs, reason = "the help text of each metric is its documentation")]

pub use super::instrument::{Counter, Gauge, Histogram, Kind, Metric, outcome};

/// Answers of the store and of the API: half a millisecond to ten seconds.
const ANSWER: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Calls of models and tools, and steps made of them: five milliseconds to ten minutes.
const CALL: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 600.0];
/// Whole runs and waits: ten milliseconds to a day.
const LONG: &[f64] =
    &[0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0, 86400.0];
/// Costs of one call in US dollars.
const COST: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

const fn counter<const N: usize>(
    name: &'static str,
    labels: &'static [&'static str; N],
    help: &'static str,
) -> Counter<N> {
    Counter::new(name, labels, help)
}

const fn gauge<const N: usize>(name: &'static str, labels: &'static [&'static str; N], help: &'static str) -> Gauge<N> {
    Gauge::new(name, labels, help)
}

const fn histogram<const N: usize>(
    name: &'static str,
    labels: &'static [&'static str; N],
    buckets: &'static [f64],
    help: &'static str,
) -> Histogram<N> {
    Histogram::new(name, labels, buckets, help)
}

// Tasks.

pub const TASKS_INSERTED: Counter<1> =
    counter("qron_tasks_inserted_total", &["source"], "Tasks inserted through qron, by source: api, tool or schedule.");
pub const TASKS_NOT_CREATED: Counter<1> = counter(
    "qron_tasks_not_created_total",
    &["source"],
    "Inserts answered with a task that was there, because its unique key or id was taken, by source: api, tool or point.",
);
pub const TASKS_ADMITTED: Counter<0> =
    counter("qron_tasks_admitted_total", &[], "Points of other clients that were read and admitted as tasks.");
pub const TASKS_REJECTED: Counter<0> = counter(
    "qron_tasks_rejected_total",
    &[],
    "Points of other clients that could not be read and went to the dead letters.",
);
pub const TASKS_CLAIMED: Counter<0> = counter("qron_tasks_claimed_total", &[], "Tasks won by this replica.");
pub const CLAIM_RACES_LOST: Counter<0> =
    counter("qron_claim_races_lost_total", &[], "Due tasks that another replica claimed first.");
pub const CLAIMS_LOST: Counter<0> = counter(
    "qron_claims_lost_total",
    &[],
    "Runs whose outcome was not recorded because another replica or client had changed the task meanwhile.",
);
pub const TASKS_UNROUTABLE: Counter<0> = counter(
    "qron_tasks_unroutable_total",
    &[],
    "Due tasks left pending because no agent of this replica fits; each task once.",
);
pub const LIMITED: Counter<1> = counter(
    "qron_limited_total",
    &["limit"],
    "Claims handed back because the limit of a key or an agent was reached meanwhile, by limit: key or agent.",
);
pub const LIMITS_REACHED: Gauge<1> = gauge(
    "qron_limits_reached",
    &["limit"],
    "Keys and agents of which this replica starts nothing more for now, by limit: key or agent.",
);
pub const DEPENDENTS_MOVED: Counter<1> = counter(
    "qron_dependents_moved_total",
    &["status"],
    "Tasks that waited for others and were moved on, by what became of them: pending or blocked.",
);
pub const TASKS_COMPLETED: Counter<1> = counter("qron_tasks_completed_total", &["agent"], "Tasks that ended well.");
pub const TASKS_FAILED: Counter<2> =
    counter("qron_tasks_failed_total", &["agent", "class"], "Tasks that ended badly, after their last attempt.");
pub const TASKS_RETRIED: Counter<1> =
    counter("qron_tasks_retried_total", &["class"], "Failed attempts that are followed by another one.");
pub const TASKS_RELEASED: Counter<0> =
    counter("qron_tasks_released_total", &[], "Running tasks handed back unfinished, at no charge.");
pub const TASKS_POSTPONED: Counter<0> = counter(
    "qron_tasks_postponed_total",
    &[],
    "Runs that ended because the model was away: the task waits for it, at no charge.",
);
pub const WAITING_FOR_MODEL: Gauge<0> = gauge(
    "qron_tasks_waiting_for_model",
    &[],
    "Due tasks that need a model and name an agent of this replica whose model cannot be asked; all that need one while no \
     agent here has a model that can be asked.",
);
pub const TASKS_RESCUED: Counter<0> =
    counter("qron_tasks_rescued_total", &[], "Tasks taken back from a replica that died.");
pub const TASKS_CANCELLED: Counter<0> = counter("qron_tasks_cancelled_total", &[], "Tasks stopped on request.");
pub const APPROVALS_REQUESTED: Counter<0> =
    counter("qron_approvals_asked_total", &[], "Questions to a person: tasks and calls that wait for approval.");
pub const APPROVALS_DECIDED: Counter<1> =
    counter("qron_approvals_decided_total", &["verdict"], "Answers to such questions: approved, denied or expired.");
pub const DEAD_LETTERED: Counter<1> =
    counter("qron_dead_lettered_total", &["class"], "Tasks that went to the dead letters.");
pub const TASKS_IN_FLIGHT: Gauge<1> =
    gauge("qron_tasks_in_flight", &["agent"], "Tasks that an agent of this replica is carrying out.");
pub const AGENT_CAPACITY: Gauge<1> =
    gauge("qron_agent_capacity", &["agent"], "Tasks that an agent of this replica takes at most.");
pub const AGENT_PAUSED: Gauge<1> = gauge(
    "qron_agent_paused",
    &["agent"],
    "1 while an agent of this replica is paused, by name or with the fleet, else 0.",
);
pub const QUEUE_TASKS: Gauge<1> = gauge(
    "qron_queue_tasks",
    &["status"],
    "Stored tasks by status; each replica sees the same queue, so take the maximum.",
);
pub const OLDEST_DUE_SECONDS: Gauge<0> = gauge(
    "qron_oldest_due_seconds",
    &[],
    "How long the oldest of the 64 due tasks first in line has been waiting; 0 when none is due.",
);
pub const DEAD_LETTERS: Gauge<0> =
    gauge("qron_dead_letters", &[], "Stored dead letters; each replica sees the same ones, so take the maximum.");
pub const QUEUE_WAIT_SECONDS: Histogram<0> =
    histogram("qron_task_queue_wait_seconds", &[], LONG, "Time from becoming due to being claimed.");
pub const RUN_SECONDS: Histogram<2> = histogram(
    "qron_task_run_seconds",
    &["agent", "outcome"],
    LONG,
    "Time of an attempt, by how it ended: completed, failed, retried, postponed, asking, waiting, released, lost or cancelled.",
);
pub const RECOVERY_SECONDS: Histogram<0> = histogram(
    "qron_recovery_seconds",
    &[],
    LONG,
    "Time from the last sign of life of a dead replica until its tasks were back in the queue.",
);

// Schedules.

pub const SCHEDULES: Gauge<1> = gauge(
    "qron_schedules",
    &["state"],
    "Stored schedules: active or paused; each replica sees the same ones, so take the maximum.",
);
pub const FIRINGS: Counter<1> = counter(
    "qron_schedule_firings_total",
    &["outcome"],
    "Firings that became tasks (on_time, caught_up, queued, triggered, backfill) or were skipped (missed, overlapped, \
     replaced, queue_full, removed, invalid).",
);
pub const FIRING_LATENESS_SECONDS: Histogram<0> = histogram(
    "qron_schedule_lateness_seconds",
    &[],
    LONG,
    "Time from a firing until its task was inserted, caught up ones included.",
);

// Scheduler.

pub const DUE_SEARCHES: Counter<1> =
    counter("qron_due_searches_total", &["outcome"], "Searches for due tasks: ok or error.");
pub const DUE_SEARCH_SECONDS: Histogram<0> = histogram(
    "qron_due_search_seconds",
    &[],
    ANSWER,
    "Time of a search for due tasks, without the claims that follow it.",
);
pub const LAST_DUE_SEARCH: Gauge<0> = gauge(
    "qron_last_due_search_timestamp_seconds",
    &[],
    "When the last successful search for due tasks ended, Unix time.",
);
pub const DEPRECATED_SWEEPS: Counter<1> =
    counter("qron_sweeps_total", &["outcome"], "Deprecated since 0.1.0: the former name of qron_due_searches_total.");
pub const DEPRECATED_SWEEP_SECONDS: Histogram<0> =
    histogram("qron_sweep_seconds", &[], ANSWER, "Deprecated since 0.1.0: the former name of qron_due_search_seconds.");
pub const DEPRECATED_LAST_SWEEP: Gauge<0> = gauge(
    "qron_last_sweep_timestamp_seconds",
    &[],
    "Deprecated since 0.1.0: the former name of qron_last_due_search_timestamp_seconds.",
);
pub const HEARTBEATS: Counter<1> =
    counter("qron_heartbeats_total", &["outcome"], "Heartbeats of this replica: ok or error.");
pub const REPLICAS: Gauge<0> = gauge("qron_replicas", &[], "Replicas alive, as this one sees it, itself included.");
pub const PRUNED: Counter<1> = counter(
    "qron_pruned_total",
    &["what"],
    "What retention removed: tasks, attempts, events, artifacts, memories, dead_letters.",
);
pub const LAST_PRUNE: Gauge<0> = gauge(
    "qron_last_prune_timestamp_seconds",
    &[],
    "When the last round of retention of this replica ended, Unix time.",
);
pub const EVENTS_DROPPED: Counter<0> =
    counter("qron_events_dropped_total", &[], "Events of the history that could not be stored.");

// Agents.

pub const AGENT_STEPS: Counter<2> = counter(
    "qron_agent_steps_total",
    &["kind", "outcome"],
    "Steps by kind (tool or act) and outcome: ok or the class of the failure.",
);
pub const AGENT_STEP_SECONDS: Histogram<1> =
    histogram("qron_agent_step_seconds", &["kind"], CALL, "Time of a step by kind: tool or act.");
pub const AGENT_REPLANS: Counter<0> = counter("qron_agent_replans_total", &[], "Plans made anew after a failure.");
pub const RUN_PLANS: Counter<1> = counter(
    "qron_agent_run_plans_total",
    &["origin"],
    "Runs that ended, by where their first plan came from: task, model (also turns), reused from earlier runs, or replaced (reused, and made anew).",
);
pub const ANSWERS_UNCHANGED: Counter<0> = counter(
    "qron_agent_answers_unchanged_total",
    &[],
    "Answers taken over from the run before, without a model, because all tools gave what they gave then.",
);
pub const RESULTS_SUSPECT: Counter<1> = counter(
    "qron_results_suspect_total",
    &["agent"],
    "Results of schedules that are unlike the earlier results of their schedule.",
);
pub const BUDGET_STOPS: Counter<1> = counter(
    "qron_agent_budget_stops_total",
    &["budget"],
    "Runs ended by a budget: steps, model_calls, tokens, cost, turns, time, or tree (that of all descendants).",
);
pub const MEMORY_RECALLS: Counter<1> =
    counter("qron_memory_recalls_total", &["outcome"], "Searches for similar past tasks: found, none or error.");

pub const MEMORY_WRITES: Counter<1> =
    counter("qron_memory_writes_total", &["outcome"], "Finished tasks written to memory: ok or error.");

// Models.

pub const MODEL_CALLS: Counter<3> = counter(
    "qron_model_calls_total",
    &["model", "purpose", "outcome"],
    "Tries of model calls by purpose (plan, act, replan, answer, embed) and outcome: ok or the class of the failure.",
);
pub const MODEL_CALL_SECONDS: Histogram<2> =
    histogram("qron_model_call_seconds", &["model", "purpose"], CALL, "Time of a try of a model call.");
pub const MODEL_TOKENS: Counter<2> =
    counter("qron_model_tokens_total", &["model", "kind"], "Tokens as the endpoint counts them: prompt or completion.");
pub const MODEL_COST_USD: Histogram<1> = histogram(
    "qron_model_cost_usd",
    &["model"],
    COST,
    "Cost of a model call in US dollars, where prices are configured; the sum is what was spent.",
);
pub const MODEL_RETRIES: Counter<2> = counter(
    "qron_model_retries_total",
    &["model", "class"],
    "Tries of model calls that failed and are followed by another one, at this model or the next.",
);
pub const MODEL_CIRCUIT_OPEN: Gauge<1> =
    gauge("qron_model_circuit_open", &["model"], "1 while a model is left alone after failures, else 0.");
pub const MODEL_IN_FLIGHT_LIMIT: Gauge<1> = gauge(
    "qron_model_in_flight_limit",
    &["model"],
    "Calls that this replica gives a model at once, learnt from calls that waited for each other up to their time limit; 0 \
     for no limit.",
);
pub const MODEL_CALLS_WAITING: Gauge<1> = gauge(
    "qron_model_calls_waiting",
    &["model"],
    "Calls that wait for their turn because a model is given only so many at once.",
);

// Tools.

pub const TOOL_CALLS: Counter<2> =
    counter("qron_tool_calls_total", &["tool", "outcome"], "Tool calls by outcome: ok or the class of the failure.");
pub const TOOL_CALL_SECONDS: Histogram<1> =
    histogram("qron_tool_call_seconds", &["tool"], CALL, "Time of a tool call.");

// Store and API.

pub const STORE_SECONDS: Histogram<2> = histogram(
    "qron_store_operation_seconds",
    &["operation", "outcome"],
    ANSWER,
    "Time of an operation of the store, as the caller sees it: ok or error.",
);
pub const API_REQUESTS: Counter<3> =
    counter("qron_api_requests_total", &["method", "route", "status"], "Requests to the API by route and status code.");
pub const API_REQUEST_SECONDS: Histogram<2> =
    histogram("qron_api_request_seconds", &["method", "route"], ANSWER, "Time to answer a request to the API.");

// Process.

pub const START_TIME: Gauge<0> = gauge("qron_start_timestamp_seconds", &[], "When this replica started, Unix time.");
pub const MEMORY_BYTES: Gauge<0> = gauge("qron_resident_memory_bytes", &[], "Resident memory of this replica.");
pub const BUILD_INFO: Gauge<1> = gauge("qron_build_info", &["version"], "1; the version is in the label.");

/// All of them.
pub const ALL: &[Metric] = &[
    TASKS_INSERTED.row(),
    TASKS_NOT_CREATED.row(),
    TASKS_ADMITTED.row(),
    TASKS_REJECTED.row(),
    TASKS_CLAIMED.row(),
    CLAIM_RACES_LOST.row(),
    CLAIMS_LOST.row(),
    TASKS_UNROUTABLE.row(),
    LIMITED.row(),
    LIMITS_REACHED.row(),
    DEPENDENTS_MOVED.row(),
    TASKS_COMPLETED.row(),
    TASKS_FAILED.row(),
    TASKS_RETRIED.row(),
    TASKS_RELEASED.row(),
    TASKS_POSTPONED.row(),
    WAITING_FOR_MODEL.row(),
    TASKS_RESCUED.row(),
    TASKS_CANCELLED.row(),
    APPROVALS_REQUESTED.row(),
    APPROVALS_DECIDED.row(),
    DEAD_LETTERED.row(),
    TASKS_IN_FLIGHT.row(),
    AGENT_CAPACITY.row(),
    AGENT_PAUSED.row(),
    QUEUE_TASKS.row(),
    OLDEST_DUE_SECONDS.row(),
    DEAD_LETTERS.row(),
    QUEUE_WAIT_SECONDS.row(),
    RUN_SECONDS.row(),
    RECOVERY_SECONDS.row(),
    SCHEDULES.row(),
    FIRINGS.row(),
    FIRING_LATENESS_SECONDS.row(),
    DUE_SEARCHES.row(),
    DUE_SEARCH_SECONDS.row(),
    LAST_DUE_SEARCH.row(),
    DEPRECATED_SWEEPS.row(),
    DEPRECATED_SWEEP_SECONDS.row(),
    DEPRECATED_LAST_SWEEP.row(),
    HEARTBEATS.row(),
    REPLICAS.row(),
    PRUNED.row(),
    LAST_PRUNE.row(),
    EVENTS_DROPPED.row(),
    AGENT_STEPS.row(),
    AGENT_STEP_SECONDS.row(),
    AGENT_REPLANS.row(),
    RUN_PLANS.row(),
    ANSWERS_UNCHANGED.row(),
    RESULTS_SUSPECT.row(),
    BUDGET_STOPS.row(),
    MEMORY_RECALLS.row(),
    MEMORY_WRITES.row(),
    MODEL_CALLS.row(),
    MODEL_CALL_SECONDS.row(),
    MODEL_TOKENS.row(),
    MODEL_COST_USD.row(),
    MODEL_RETRIES.row(),
    MODEL_CIRCUIT_OPEN.row(),
    MODEL_IN_FLIGHT_LIMIT.row(),
    MODEL_CALLS_WAITING.row(),
    TOOL_CALLS.row(),
    TOOL_CALL_SECONDS.row(),
    STORE_SECONDS.row(),
    API_REQUESTS.row(),
    API_REQUEST_SECONDS.row(),
    START_TIME.row(),
    MEMORY_BYTES.row(),
    BUILD_INFO.row(),
];
