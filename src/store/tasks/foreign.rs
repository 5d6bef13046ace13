//! Reading a task from a payload: qron's own form exactly, and what other programs write tolerantly.
//!
//! Tolerance means: names in any case and with or without `_` and `-`, the other names listed below, `null` as absent,
//! numbers as text, lists as comma-separated text, times as RFC 3339, on the wall clock of
//! `scheduler.zone` when they name no offset, or epoch seconds or milliseconds. It does not mean
//! guessing: what cannot be understood is an error that names the field, the value and what is allowed, and so is what exceeds
//! [`SpecLimits::FOREIGN`]. A point that is already terminal is only kept, never run, so nothing in it but its status can be
//! wrong.
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
use std::slice;

use serde_json::{Map, Value};

use super::fields::FIELDS;
use crate::domain::approval::{Approval, ApprovalPolicy, ApprovalRequirement, Subject};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::json;
use crate::domain::number;
use crate::domain::plan::Plan;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::{
    Claim, DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, InvalidSpec, MAX_PRIORITY, SpecLimits, Task,
    TaskSpec, TaskState, TaskStatus, rebind_open_question,
};
use crate::domain::time::Timestamp;
use crate::store::RawTask;

/// Priorities out of range but within this are meant as "very" and end at the nearest bound.
const SANE_PRIORITY: RangeInclusive<i64> = -1000..=1000;
/// Most fields of a point that becomes a task. Names are compared in every spelling, so that each costs time.
const MAX_FIELDS: usize = 1_000;
/// Counters that come from elsewhere.
const SANE_COUNT: RangeInclusive<u64> = 0..=1_000_000;
/// The time limit of approvals that a point asks for: none, since admission knows the one that is configured.
const UNLIMITED: ApprovalPolicy = ApprovalPolicy { expire_s: 0 };

mod fields;
mod hints;
mod lineage;
mod names;
mod salvage;
mod words;

use names::names_of;
use salvage::tells_of_an_end;
use words::{refusal, same_name, shown, whole};

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
pub(in crate::store) fn read(
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
        let spec = reader.spec(status, now)?;
        if origin == Origin::Foreign && !status.is_terminal() {
            reader.check(&spec)?;
        }
        reader.task(id, status, spec, now)?
    };
    rebind_open_question(&mut task);
    if origin == Origin::Foreign && task.state.status == TaskStatus::AwaitingApproval {
        task.state.approvals = vec![Approval::of_task(&task, &UNLIMITED, now)];
    }
    if task.state.approvals.iter().any(|approval| approval.subject == Subject::Task) {
        task.spec.approval = ApprovalRequirement::Required;
    }
    if origin == Origin::Foreign && !task.state.status.is_terminal() && tells_of_an_end(&payload) {
        start_over(&mut task.state);
    }
    payload.retain(|key, _| !FIELDS.contains(&key.as_str()));
    task.state.extra = payload;
    Ok(task)
}

/// Makes a task that had ended, and that another client wants done again, begin from a clean slate. Its runs keep their
/// numbers.
fn start_over(state: &mut TaskState) {
    state.releases = state.earlier_runs();
    state.attempt = 0;
    state.crashes = 0;
    state.cancel_requested = false;
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
    /// What the point orders, which is `status` by its own word.
    fn spec(&self, status: TaskStatus, now: Timestamp) -> Result<TaskSpec, Failure> {
        // A point that is already more than ordered has its approvals, or needs none.
        let may_ask = !self.own && matches!(status, TaskStatus::Pending | TaskStatus::Waiting);
        Ok(TaskSpec {
            goal: self.goal()?,
            run_at: self.time("run_at")?.unwrap_or(now),
            priority: self.priority()?,
            agent: self.text("agent")?,
            capabilities: self.words("capabilities")?,
            depends_on: self.ids("depends_on")?,
            on_dependency_failure: self.one_of("on_dependency_failure", "block or continue")?,
            parent: self.ids("parent")?.pop(),
            lineage: self.lineage()?,
            unique_key: self.text("unique_key")?,
            unique_for: self.one_of("unique_for", "alive, forever, or a period such as 90s, 15m, 12h or 7d")?,
            concurrency_key: self.text("concurrency_key")?,
            schedule_id: self.text("schedule_id")?,
            max_attempts: self.max_attempts()?,
            timeout_s: self.timeout_s()?,
            plan: self.plan()?,
            context: self.object("context")?,
            tags: self.words("tags")?,
            user: self.text("user")?,
            approval: if may_ask && self.wants_approval()? {
                ApprovalRequirement::Required
            } else {
                ApprovalRequirement::None
            },
        })
    }

    /// Refuses an order that another client cannot have meant as a task, or that exceeds a limit.
    fn check(&self, spec: &TaskSpec) -> Result<(), Failure> {
        if let Some(refused) = hints::too_many(self.payload).or_else(|| hints::recurrence(self.payload)) {
            return Err(refused);
        }
        spec.validate(&SpecLimits::FOREIGN).map_err(|InvalidSpec(faults)| {
            let sentences = faults.iter().map(|fault| {
                let (key, text) = (self.find(fault.field).map_or(fault.field, |(key, _)| key), fault.to_string());
                if text.starts_with(&format!("{key}: ")) { text } else { format!("{key}: {text}") }
            });
            Failure::invalid(sentences.collect::<Vec<_>>().join("; "))
        })
    }

    /// The task that carries out `spec`, with what the point tells of its state.
    fn task(&self, id: TaskId, mut status: TaskStatus, spec: TaskSpec, now: Timestamp) -> Result<Task, Failure> {
        if !self.own && status == TaskStatus::Pending && !spec.depends_on.is_empty() {
            status = TaskStatus::Waiting;
        }
        if spec.approval == ApprovalRequirement::Required {
            status = TaskStatus::AwaitingApproval;
        }
        let created_at = self.time("created_at")?.unwrap_or(now);
        let updated_at = match self.time("updated_at")? {
            Some(at) if self.own || self.kept_as_is => at,
            _ => now,
        };
        let finished_at = self.time("finished_at")?;
        let state = TaskState {
            status,
            attempt: self.count("attempt")?,
            crashes: self.count("crashes")?,
            releases: self.count("releases")?,
            claim: self.claim(status),
            created_at,
            updated_at,
            finished_at: if status.is_terminal() { finished_at.or(Some(updated_at)) } else { None },
            result: self.find("result").map(|(_, value)| value.clone()),
            error: self.error(),
            cancel_requested: self.truth("cancel_requested")?,
            approvals: self.approvals()?,
            // `read` keeps the unknown fields, and `decode` reads what only qron writes.
            postponed: None,
            awaits: None,
            withdrawn: false,
            extra: Map::new(),
        };
        Ok(Task { id, spec, state })
    }

    /// The value of `field` and the name it is written under, unless it is null: its own name, or in foreign points another
    /// one or another spelling.
    fn find(&self, field: &'static str) -> Option<(&'a str, &'a Value)> {
        let present = |(key, value): (&'a String, &'a Value)| (!value.is_null()).then_some((key.as_str(), value));
        if self.own {
            return self.payload.get_key_value(field).and_then(present);
        }
        let names = names_of(field).unwrap_or(slice::from_ref(&field));
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
        let Some((key, value)) = self.find("status") else { return Ok(TaskStatus::Pending) };
        let read = match value {
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        read.ok_or_else(|| refusal(key, value, &TaskStatus::ALL.map(TaskStatus::as_str).join(", ")))
    }

    fn goal(&self) -> Result<String, Failure> {
        let Some((key, value)) = self.find("goal") else {
            if self.kept_as_is {
                return Ok(String::new());
            }
            let names = names_of("goal").unwrap_or_default().join(", ");
            return Err(Failure::invalid(format!("goal: missing: write a text under one of the names {names}")));
        };
        match value {
            Value::String(text) => Ok(text.clone()),
            _ => self.refuse(key, value, "a text").map(Option::unwrap_or_default),
        }
    }

    fn priority(&self) -> Result<u8, Failure> {
        let Some((key, value)) = self.find("priority") else { return Ok(DEFAULT_PRIORITY) };
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
        let allowed = SpecLimits::FOREIGN.timeout_s;
        let read = self.whole("timeout_s", &allowed)?;
        Ok(self.kept(read, &allowed, DEFAULT_TIMEOUT_S))
    }

    fn max_attempts(&self) -> Result<u32, Failure> {
        let allowed = SpecLimits::FOREIGN.max_attempts;
        let (least, most) = (u64::from(*allowed.start()), u64::from(*allowed.end()));
        let mut read = self.whole("max_attempts", &(least..=most))?;
        if self.find("max_attempts").is_none() && !self.own {
            read = self.whole("max_retries", &(least - 1..=most - 1))?.map(|retries| retries.saturating_add(1));
        }
        let read = read.map(|attempts| u32::try_from(attempts).unwrap_or(u32::MAX));
        if self.own {
            return Ok(read.unwrap_or(DEFAULT_MAX_ATTEMPTS));
        }
        Ok(self.kept(read, &allowed, DEFAULT_MAX_ATTEMPTS))
    }

    /// What is made of a number that was read. One that exceeds `allowed` is left for [`TaskSpec::validate`] to refuse, but
    /// where nothing is refused: another client may have marked its point as read before, and a point that has ended may
    /// be run again.
    fn kept<T: Copy + PartialOrd>(&self, read: Option<T>, allowed: &RangeInclusive<T>, default: T) -> T {
        match read {
            Some(number) if self.own && number > *allowed.end() => *allowed.end(),
            Some(number) if self.kept_as_is && !self.own && !allowed.contains(&number) => default,
            other => other.unwrap_or(default),
        }
    }

    fn plan(&self) -> Read<Plan> {
        let Some((key, value)) = self.find("plan") else { return Ok(None) };
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
        let Some((key, value)) = self.find("approval") else { return Ok(false) };
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
        match self.find("error")?.1 {
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(Failure::permanent(text.clone())),
            value => Some(serde_json::from_value(value.clone()).unwrap_or_else(|_| Failure::permanent(shown(value)))),
        }
    }
}

#[cfg(test)]
mod tests;
