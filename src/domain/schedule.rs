//! A schedule: what fires it, what task each firing becomes, and what happens to firings that overlap or were missed.
//!
//! Pure. `timing` computes firings, `due` decides about firings whose time has come, `template` creates the tasks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::approval::ApprovalPolicy;
use super::failure::{Failure, FailureClass};
use super::id::{TaskId, derived};
use super::number;
use super::plan_reuse::PlanDecision;
use super::task::{SpecLimits, Task, TaskSpec, TaskState, TaskStatus};
use super::time::Timestamp;
use due::{FiringCause, FiringStart};
pub use firing_context::{BACKFILL, CAUGHT_UP, FIRE_CAUSE, FIRE_TIME};
pub use progress::{AnnouncedFiring, QueuedFiring, ScheduleProgress};
use template::{Placeholders, Template};
use timing::{InvalidTiming, Recurrence, Timing};
use zone::Zone;

pub mod cron;
pub mod due;
pub mod duration;
pub mod firing_context;
mod progress;
pub mod template;
pub mod timing;
pub mod zone;

/// Longest id of a schedule, in characters.
pub const MAX_ID_CHARS: usize = 100;
/// Longest jitter, in milliseconds: a day.
pub const MAX_JITTER_MS: u64 = 86_400_000;
/// Default catch-up window, in milliseconds: a day.
pub const DEFAULT_WINDOW_MS: u64 = 86_400_000;

/// Overlap policy: what happens to a firing while the task of an earlier firing is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The firing is skipped and recorded. A firing that is on time waits, instead, for tasks that make up for missed
    /// firings.
    #[default]
    Skip,
    /// It waits until the earlier ones have ended.
    Queue,
    /// It runs beside them.
    Allow,
    /// The earlier ones are cancelled; it starts when they have ended.
    CancelPrevious,
}

/// Catch-up policy: what happens to firings that were missed because no replica was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are recorded as skipped.
    None,
    /// The latest missed firing fires, unless it is older than the window or a firing that is on time fires with it;
    /// the others are recorded as skipped.
    #[default]
    Latest,
    /// Those within the window fire, oldest first; the others are recorded as skipped.
    All,
}

/// Its definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// How it recurs.
    pub spec: Recurrence,
    /// Zone of its wall clock.
    pub zone: Zone,
    /// No firing before this.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// No firing after this.
    #[serde(default)]
    pub end: Option<Timestamp>,
    /// Each task becomes due up to this much after its firing, in milliseconds; how much is derived from the firing.
    #[serde(default)]
    #[serde(deserialize_with = "number::count")]
    pub jitter_ms: u64,
    /// Overlap policy: what happens to a firing while the task of an earlier firing is alive.
    #[serde(default)]
    pub overlap: Overlap,
    /// Catch-up policy for missed firings.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Catch-up window, in milliseconds. See [`Definition::window_ms`].
    #[serde(default)]
    #[serde(deserialize_with = "number::optional_count")]
    pub catch_up_window_ms: Option<u64>,
    /// Template of its tasks.
    pub task: Template,
}

impl Definition {
    /// The catch-up window in milliseconds: the configured one, or [`DEFAULT_WINDOW_MS`] for [`CatchUp::All`]. `None`
    /// when there is no bound, or nothing is caught up with.
    #[must_use]
    pub fn window_ms(&self) -> Option<u64> {
        match self.catch_up {
            CatchUp::None => None,
            CatchUp::Latest => self.catch_up_window_ms,
            CatchUp::All => Some(self.catch_up_window_ms.unwrap_or(DEFAULT_WINDOW_MS)),
        }
    }

    /// When it fires, if it was created at `created_at`.
    ///
    /// # Errors
    /// [`InvalidTiming`].
    pub fn timing(&self, created_at: Timestamp) -> Result<Timing, InvalidTiming> {
        Timing::new(&self.spec, self.zone, (self.start, self.end), created_at)
    }

    /// Whether both fire at the same times.
    #[must_use]
    pub fn fires_like(&self, other: &Self) -> bool {
        (&self.spec, self.zone, self.start, self.end) == (&other.spec, other.zone, other.start, other.end)
    }
}

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Chosen by its creator: letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// The definition of a schedule.
    #[serde(flatten)]
    pub definition: Definition,
    /// Whether it is paused.
    #[serde(default)]
    pub paused: bool,
    /// Since when it is paused, where that is known. Written also when absent, so that it takes the place of an earlier time.
    #[serde(default)]
    pub paused_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub updated_at: Timestamp,
    /// Its cursor, its waiting firings and its counts.
    #[serde(flatten)]
    pub progress: ScheduleProgress,
    /// What a person decided about the plan that its runs begin with.
    #[serde(default, skip_serializing_if = "PlanDecision::is_empty")]
    pub plan_decision: PlanDecision,
    /// Changes with every write; the fence of the next one.
    #[serde(default)]
    pub version: String,
}

/// Text that cannot be the id of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the id of a schedule: use 1 to {MAX_ID_CHARS} letters, digits, _, - and ., and not \"preview\""
)]
pub struct InvalidScheduleId(pub String);

/// Checks the id of a schedule.
///
/// # Errors
/// [`InvalidScheduleId`].
pub fn check_id(id: &str) -> Result<(), InvalidScheduleId> {
    let fine = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let dots = id.chars().all(|letter| letter == '.');
    // "preview" is a path of the API.
    if id.is_empty() || id.len() > MAX_ID_CHARS || !id.chars().all(fine) || dots || id == "preview" {
        return Err(InvalidScheduleId(id.to_owned()));
    }
    Ok(())
}

/// Id of the task of the firing of `schedule` at `at`: the same on every replica.
#[must_use]
pub fn firing_id(schedule: &str, at: Timestamp) -> TaskId {
    TaskId::Uuid(derived(&["firing", schedule, &at.as_millis().to_string()]))
}

/// Id of the task of a firing that a backfill requests. `again` counts the earlier requests for the same firing,
/// because a cancelled one may be requested again.
#[must_use]
pub fn backfill_id(schedule: &str, at: Timestamp, again: usize) -> TaskId {
    let (at, again) = (at.as_millis().to_string(), again.to_string());
    let parts = ["backfill", schedule, &at, &again];
    TaskId::Uuid(derived(if again == "0" { &parts[..3] } else { &parts }))
}

/// Id of the summary event about a range of skipped firings.
#[must_use]
pub fn range_id(schedule: &str, from: Timestamp, until: Timestamp) -> Uuid {
    derived(&["firings", schedule, &from.as_millis().to_string(), &until.as_millis().to_string()])
}

/// The time of the firing that `task` came from.
#[must_use]
pub fn fire_time(task: &Task) -> Option<Timestamp> {
    task.spec.context.get(FIRE_TIME).and_then(|time| Timestamp::read(time).ok())
}

impl Schedule {
    /// A new schedule. Firings before `now` do not count as missed.
    #[must_use]
    pub fn new(id: impl Into<String>, definition: Definition, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            definition,
            paused: false,
            paused_since: None,
            created_at: now,
            updated_at: now,
            progress: ScheduleProgress { cursor: now, ..ScheduleProgress::default() },
            plan_decision: PlanDecision::default(),
            version: String::new(),
        }
    }

    /// The same schedule with another definition. When the new definition fires at other times, it applies from `now`
    /// on.
    #[must_use]
    pub fn redefined(&self, definition: Definition, paused: bool, now: Timestamp) -> Self {
        let paused_since = if self.paused { self.paused_since } else { Some(now) }.filter(|_| paused);
        let mut next = Self { updated_at: now, paused, paused_since, ..self.clone() };
        let resumed = self.paused && !paused;
        if resumed || !definition.fires_like(&self.definition) {
            next.progress.cursor = now;
        }
        next.definition = definition;
        next
    }

    /// When it fires.
    ///
    /// # Errors
    /// [`InvalidTiming`] when the definition was made by something that knows more.
    pub fn timing(&self) -> Result<Timing, InvalidTiming> {
        self.definition.timing(self.created_at)
    }

    /// Jitter of the firing at `at`, in milliseconds: derived from schedule and firing, so that every replica
    /// computes the same.
    #[must_use]
    pub fn jitter_ms(&self, at: Timestamp) -> i64 {
        let TaskId::Uuid(id) = firing_id(&self.id, at) else { return 0 };
        let spread = u128::from(self.definition.jitter_ms.min(MAX_JITTER_MS)) + 1;
        i64::try_from(id.as_u128() % spread).unwrap_or(0)
    }

    /// The task of a firing. Its context names the firing for the agent: always the time, the cause when it makes up
    /// for a missed firing, and the schedule unless the template sets that key. `approvals` sets the time to decide
    /// when the template requires an approval.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn task(&self, start: FiringStart, approvals: &ApprovalPolicy, now: Timestamp) -> Result<Task, String> {
        let FiringStart { at, id, cause } = start;
        // A manual firing is due now. The time of a past firing would place it before everything that is urgent.
        let run_at = if cause.is_manual() { now } else { at.plus_millis(self.jitter_ms(at)).max(now) };
        let mut spec = self.definition.task.render(&self.placeholders(at))?.into_spec(run_at)?;
        spec.validate(&SpecLimits::FIRING).map_err(|invalid| invalid.to_string())?;
        spec.schedule_id = Some(self.id.clone());
        spec.context.entry("schedule").or_insert_with(|| Value::from(self.id.clone()));
        spec.context.insert(FIRE_TIME.to_owned(), Value::from(zone_exact(self.definition.zone, at)));
        match cause {
            FiringCause::CaughtUp => spec.context.insert(FIRE_CAUSE.to_owned(), Value::from(CAUGHT_UP)),
            FiringCause::Backfill => spec.context.insert(FIRE_CAUSE.to_owned(), Value::from(BACKFILL)),
            // Later firings rely on this key, so the template cannot set it.
            FiringCause::OnTime | FiringCause::Queued | FiringCause::Triggered => spec.context.remove(FIRE_CAUSE),
        };
        Ok(spec.into_task(id, approvals, now))
    }

    /// Values of the placeholders for the firing at `at`. The previous firing is computed from the schedule, whether
    /// or not it ran; before the first one it is the start of the schedule.
    fn placeholders(&self, at: Timestamp) -> Placeholders {
        let previous = self.timing().ok().and_then(|timing| timing.previous(at));
        let beginning = self.definition.start.unwrap_or(self.created_at).min(at);
        Placeholders::new(&self.id, at, previous.unwrap_or(beginning), self.definition.zone)
    }

    /// The record of a firing that does not run, with the reason.
    #[must_use]
    pub fn skipped_task(&self, id: TaskId, at: Timestamp, reason: &str, now: Timestamp) -> Task {
        let (goal, tags) = self.definition.task.record(&self.placeholders(at));
        let mut spec = TaskSpec { tags, schedule_id: Some(self.id.clone()), ..TaskSpec::new(goal, at) };
        spec.context.insert(FIRE_TIME.to_owned(), Value::from(zone_exact(self.definition.zone, at)));
        let error = Some(Failure::new(FailureClass::Cancelled, reason));
        let state = TaskState { finished_at: Some(now), error, ..TaskState::new(TaskStatus::Skipped, now) };
        Task { id, spec, state }
    }
}

/// Shows milliseconds only when there are any: firings of intervals and manual firings may have them.
fn zone_exact(zone: Zone, at: Timestamp) -> String {
    if at.as_millis() % 1000 == 0 { zone.show(at) } else { at.to_rfc3339() }
}
