//! Reading a task from a payload: qron's own form exactly, and what other programs write tolerantly.
//!
//! Tolerance means: names in any case and with or without `_` and `-`, the other names listed below, `null` as absent,
//! numbers as text, lists as comma-separated text, times as RFC 3339, on the wall clock of
//! `scheduler.zone` when they name no offset, or epoch seconds or milliseconds. It does not mean
//! guessing: what cannot be understood is an error that names the field, the value and what is allowed. A point that is
//! already terminal is only kept, never run, so nothing in it but its status can be wrong.
//!
//! | field | also read from |
//! |---|---|
//! | `goal` | `description`, `prompt`, `task` |
//! | `status` | `state` |
//! | `run_at` | `scheduled_at`, `scheduled_for`, `due_at`, `execute_at`, `start_at` |
//! | `agent` | `agent_name` |
//! | `capabilities` | `required_capabilities` |
//! | `depends_on` | `dependencies` |
//! | `unique_key` | `idempotency_key` |
//! | `concurrency_key` | `fairness_key` |
//! | `max_attempts` | `max_retries` (one less) |
//! | `timeout_s` | `timeout_seconds`, `timeout` (seconds) |
//! | `tags` | `labels` |
//! | `user` | `user_id` |
//! | `created_at`, `finished_at` | `created`; `completed_at` |
//! | `result`, `error` | `output`; `error_message` (text is a permanent failure) |
//!
//! A point with more than [`MAX_FIELDS`] fields becomes no task; of it, only fields with exact names are read.
//!
//! `approval` is `required` when a person must agree before the task runs, else `none`.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::RawTask;
use super::codec::FIELDS;
use crate::domain::approval::{Approval, ApprovalPolicy, ask_about_now};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::json;
use crate::domain::number;
use crate::domain::plan::Plan;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{
    Claim, DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, MAX_GOAL_CHARS, MAX_PRIORITY, Task, TaskStatus,
    limits,
};
use crate::domain::time::Timestamp;

/// Priorities out of range but within this are meant as "very" and end at the nearest bound.
const SANE_PRIORITY: RangeInclusive<i64> = -1000..=1000;
/// Most fields of a point that becomes a task. Names are compared in every spelling, so that each costs time.
const MAX_FIELDS: usize = 1_000;
/// Counters that come from elsewhere.
const SANE_COUNT: RangeInclusive<u64> = 0..=1_000_000;

mod fields;
mod hints;
mod lineage;
mod salvage;
mod words;

use salvage::tells_of_an_end;
use words::{refusal, same_name, shown, whole};

/// Names for when a task shall run.
const RUN_AT: [&str; 6] = ["run_at", "scheduled_at", "scheduled_for", "due_at", "execute_at", "start_at"];

impl RawTask {
    /// The task that somebody meant by this point, with `now` for the times they left out. A time without an
    /// offset is on the wall clock of `zone`.
    ///
    /// # Errors
    /// A failure of class invalid that names the field, its value and what is allowed.
    pub fn read(&self, zone: Zone, now: Timestamp) -> Result<Task, Failure> {
        read(self.id, self.payload.clone(), zone, now, Origin::Foreign)
    }
}

/// Who wrote a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This program, so it is read as it stands.
    Own,
    /// Anybody, so it is read tolerantly.
    Foreign,
}

/// Reads a task; `now` stands in for the times that are left out.
pub(super) fn read(
    id: TaskId,
    mut payload: Map<String, Value>,
    zone: Zone,
    now: Timestamp,
    origin: Origin,
) -> Result<Task, Failure> {
    let mut task = {
        let reader = Reader { payload: &payload, own: origin == Origin::Own, kept_as_is: false, zone };
        let status = reader.status()?;
        let reader = Reader { kept_as_is: status.is_terminal(), ..reader };
        reader.task(id, status, now)?
    };
    ask_about_now(&mut task);
    if origin == Origin::Foreign && task.status == TaskStatus::AwaitingApproval {
        // Without a time limit: admission knows the one that is configured.
        task.approvals = vec![Approval::of_task(&task, &ApprovalPolicy { expire_s: 0 }, now)];
    }
    if origin == Origin::Foreign && !task.status.is_terminal() {
        if let Some(refused) = hints::too_many(&payload).or_else(|| hints::recurrence(&payload)) {
            return Err(refused);
        }
        let faults = limits::faults(&task, &limits::GOAL_CHARS);
        if !faults.is_empty() {
            return Err(Failure::invalid(faults.join("; ")));
        }
        if tells_of_an_end(&payload) {
            start_over(&mut task);
        }
    }
    payload.retain(|key, _| !FIELDS.contains(&key.as_str()));
    task.extra = payload;
    Ok(task)
}

/// Makes a task that had ended, and that another client wants done again, begin from a clean slate. Its runs keep their
/// numbers.
fn start_over(task: &mut Task) {
    task.releases = task.earlier_runs();
    task.attempt = 0;
    task.crashes = 0;
    task.cancel_requested = false;
}

struct Reader<'a> {
    payload: &'a Map<String, Value>,
    own: bool,
    /// Zone of times without an offset.
    zone: Zone,
    /// Whether the task is terminal, so that what cannot be read is left out instead of refused.
    kept_as_is: bool,
}

type Read<T> = Result<Option<T>, Failure>;

impl<'a> Reader<'a> {
    fn task(&self, id: TaskId, mut status: TaskStatus, now: Timestamp) -> Result<Task, Failure> {
        let depends_on = self.ids(&["depends_on", "dependencies"])?;
        if !self.own && status == TaskStatus::Pending && !depends_on.is_empty() {
            status = TaskStatus::Waiting;
        }
        if !self.own && matches!(status, TaskStatus::Pending | TaskStatus::Waiting) && self.wants_approval()? {
            status = TaskStatus::AwaitingApproval;
        }
        let created_at = self.time(&["created_at", "created"])?.unwrap_or(now);
        let updated_at = match self.time(&["updated_at"])? {
            Some(at) if self.own || self.kept_as_is => at,
            _ => now,
        };
        let finished_at = self.time(&["finished_at", "completed_at"])?;
        Ok(Task {
            goal: self.goal()?,
            status,
            run_at: self.time(&RUN_AT)?.unwrap_or(now),
            priority: self.priority()?,
            agent: self.text(&["agent", "agent_name"])?,
            capabilities: self.words(&["capabilities", "required_capabilities"])?,
            depends_on,
            on_dependency_failure: self.one_of("on_dependency_failure", "block or continue")?,
            parent: self.ids(&["parent"])?.pop(),
            lineage: self.lineage()?,
            unique_key: self.text(&["unique_key", "idempotency_key"])?,
            unique_for: self.one_of("unique_for", "alive, forever, or a period such as 90s, 15m, 12h or 7d")?,
            concurrency_key: self.text(&["concurrency_key", "fairness_key"])?,
            schedule_id: self.text(&["schedule_id"])?,
            attempt: self.count(&["attempt"], &SANE_COUNT, 0)?,
            max_attempts: self.max_attempts()?,
            crashes: self.count(&["crashes"], &SANE_COUNT, 0)?,
            releases: self.count(&["releases"], &SANE_COUNT, 0)?,
            timeout_s: self.timeout_s()?,
            plan: self.plan()?,
            context: self.object("context")?,
            tags: self.words(&["tags", "labels"])?,
            user: self.text(&["user", "user_id"])?,
            claim: self.claim(status),
            created_at,
            updated_at,
            finished_at: if status.is_terminal() { finished_at.or(Some(updated_at)) } else { None },
            result: self.find(&["result", "output"]).map(|(_, value)| value.clone()),
            error: self.error(),
            cancel_requested: self.truth(&["cancel_requested"])?,
            approvals: self.approvals()?,
            ..Task::new(id, "", now)
        })
    }

    /// The first of `names` that is there and not null, exactly so or, for foreign points, spelled otherwise.
    fn find(&self, names: &[&str]) -> Option<(&'a str, &'a Value)> {
        let present = |(key, value): (&'a String, &'a Value)| (!value.is_null()).then_some((key.as_str(), value));
        if self.own {
            return names.first().and_then(|name| self.payload.get_key_value(*name)).and_then(present);
        }
        if self.payload.len() > MAX_FIELDS {
            return names.iter().find_map(|name| self.payload.get_key_value(*name).and_then(present));
        }
        names.iter().find_map(|name| {
            let exact = self.payload.get_key_value(*name).and_then(present);
            exact.or_else(|| self.payload.iter().filter(|(key, _)| same_name(key, name)).find_map(present))
        })
    }

    /// What becomes of a value that cannot be understood.
    fn refuse<T>(&self, key: &str, value: &Value, allowed: &str) -> Read<T> {
        if self.kept_as_is {
            return Ok(None);
        }
        Err(refusal(key, value, allowed))
    }

    fn status(&self) -> Result<TaskStatus, Failure> {
        let Some((key, value)) = self.find(&["status", "state"]) else { return Ok(TaskStatus::Pending) };
        let read = match value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        read.ok_or_else(|| refusal(key, value, &TaskStatus::ALL.map(TaskStatus::as_str).join(", ")))
    }

    fn goal(&self) -> Result<String, Failure> {
        let allowed = format!("a text of 1 to {MAX_GOAL_CHARS} characters");
        let Some((key, value)) = self.find(&["goal", "description", "prompt", "task"]) else {
            if self.kept_as_is {
                return Ok(String::new());
            }
            return Err(Failure::invalid(format!(
                "goal: missing: use {allowed}, named goal, description, prompt or task"
            )));
        };
        let read = match value {
            Value::String(text) if self.kept_as_is => Ok(Some(text.clone())),
            Value::String(text) if text.trim().is_empty() => self.refuse(key, value, &allowed),
            // Bytes bound characters from above, so that only long texts are counted.
            Value::String(text) if text.len() > MAX_GOAL_CHARS && text.chars().count() > MAX_GOAL_CHARS => {
                self.refuse(key, value, &allowed)
            }
            Value::String(text) => Ok(Some(text.clone())),
            _ => self.refuse(key, value, &allowed),
        };
        read.map(Option::unwrap_or_default)
    }

    fn priority(&self) -> Result<u8, Failure> {
        let Some((key, value)) = self.find(&["priority"]) else { return Ok(DEFAULT_PRIORITY) };
        let word = value.as_str().map(|text| text.trim().to_ascii_lowercase());
        let number = match word.as_deref() {
            Some("lowest") => Some(0),
            Some("low") => Some(2),
            Some("normal" | "medium" | "default") => Some(i64::from(DEFAULT_PRIORITY)),
            Some("high") => Some(8),
            Some("urgent" | "critical" | "highest") => Some(i64::from(MAX_PRIORITY)),
            _ if self.own => number::count_of(value).and_then(|number| i64::try_from(number).ok()),
            _ => whole(value).filter(|number| SANE_PRIORITY.contains(number)),
        };
        let read = match number {
            Some(number) => Ok(u8::try_from(number.clamp(0, i64::from(MAX_PRIORITY))).ok()),
            None => self.refuse(key, value, "0 to 10, or low, normal, high or urgent"),
        };
        read.map(|priority| priority.unwrap_or(DEFAULT_PRIORITY))
    }

    fn timeout_s(&self) -> Result<u64, Failure> {
        let read = self.whole(&["timeout_s", "timeout_seconds", "timeout"], limits::TIMEOUT_S)?;
        // Another client may have marked its point as read before.
        Ok(read.map_or(DEFAULT_TIMEOUT_S, |seconds| seconds.min(*limits::TIMEOUT_S.end())))
    }

    fn max_attempts(&self) -> Result<u32, Failure> {
        if self.find(&["max_attempts"]).is_none() && !self.own {
            let retries = self.whole(&["max_retries"], 0..=u64::from(*limits::ATTEMPTS.end()) - 1)?;
            if let Some(attempts) = retries.and_then(|retries| u32::try_from(retries + 1).ok()) {
                return Ok(attempts);
            }
        }
        let allowed = u64::from(*limits::ATTEMPTS.start())..=u64::from(*limits::ATTEMPTS.end());
        self.count(&["max_attempts"], &allowed, DEFAULT_MAX_ATTEMPTS)
    }

    fn plan(&self) -> Read<Plan> {
        let Some((key, value)) = self.find(&["plan"]) else { return Ok(None) };
        let read = match value {
            Value::String(text) => json::read(text).and_then(serde_json::from_value),
            other => serde_json::from_value(other.clone()),
        };
        match read {
            Ok(plan) => Ok(Some(plan)),
            Err(_) if self.kept_as_is => Ok(None),
            Err(error) => Err(Failure::invalid(format!("{key}: not a plan: {error}"))),
        }
    }

    fn wants_approval(&self) -> Result<bool, Failure> {
        let Some((key, value)) = self.find(&["approval"]) else { return Ok(false) };
        match value.as_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("required") => Ok(true),
            Some("none" | "") => Ok(false),
            _ => Err(refusal(key, value, "required or none")),
        }
    }

    /// What was decided counts only where qron itself wrote it down.
    fn approvals(&self) -> Result<Vec<Approval>, Failure> {
        match self.payload.get("approvals").filter(|value| self.own && !value.is_null()) {
            None => Ok(Vec::new()),
            Some(value) => serde_json::from_value(value.clone())
                .or_else(|error| if self.kept_as_is { Ok(Vec::new()) } else { Err(error) })
                .map_err(|error| Failure::invalid(format!("approvals: cannot be read: {error}"))),
        }
    }

    /// A claim makes sense only on a running task. One that runs without is carried out by somebody else's program.
    fn claim(&self, status: TaskStatus) -> Option<Claim> {
        if status != TaskStatus::Running {
            return None;
        }
        let text = |key: &str| self.payload.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Claim { token: text("claim")?, owner: text("owner")? })
    }

    /// A failure in qron's form, or what somebody else says went wrong.
    fn error(&self) -> Option<Failure> {
        match self.find(&["error", "error_message"])?.1 {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(Failure::permanent(text.clone())),
            value => Some(serde_json::from_value(value.clone()).unwrap_or_else(|_| Failure::permanent(shown(value)))),
        }
    }
}

#[cfg(test)]
mod tests;
