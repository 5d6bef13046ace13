//! A schedule: what fires it, what task each firing becomes, and what happens to firings that overlap or were missed.
//!
//! Pure. `timing` computes firings, `due` decides what becomes of those that have come, `template` makes the tasks.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::approval::ApprovalPolicy;
use super::failure::{Failure, FailureClass};
use super::id::{TaskId, derived};
use super::number;
use super::task::{SpecLimits, Task, TaskStatus};
use super::time::Timestamp;
use due::{FiringCause, FiringStart};
pub use progress::{AnnouncedFiring, QueuedFiring, ScheduleProgress};
use template::{Placeholders, Template};
use timing::{InvalidTiming, Recurrence, Timing};
use zone::Zone;

pub mod cron;
pub mod due;
pub mod duration;
mod progress;
pub mod template;
pub mod timing;
pub mod zone;

/// Longest id of a schedule, in characters.
pub const MAX_ID_CHARS: usize = 100;
/// Longest jitter, in milliseconds: a day.
pub const MAX_JITTER_MS: u64 = 86_400_000;
/// How far back missed firings are caught up with when nothing else is said, in milliseconds: a day.
pub const DEFAULT_WINDOW_MS: u64 = 86_400_000;
/// Key of a task's context that holds the time of its firing.
pub const FIRE_TIME: &str = "fire_time";
/// Key of a task's context that holds how it makes up for the past: [`CAUGHT_UP`] or [`BACKFILL`].
pub const FIRE_CAUSE: &str = "fire_cause";
/// Under [`FIRE_CAUSE`]: its firing was missed.
pub const CAUGHT_UP: &str = "caught_up";
/// Under [`FIRE_CAUSE`]: somebody asked for it afterwards.
pub const BACKFILL: &str = "backfill";

/// What a firing does while the task of an earlier one is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped, and recorded as skipped. One that is on time waits for those that make up for the past.
    #[default]
    Skip,
    /// It waits until the earlier ones have ended.
    Queue,
    /// It runs beside them.
    Allow,
    /// The earlier ones are cancelled; it starts when they have ended.
    CancelPrevious,
}

/// What becomes of firings that nobody was there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They are recorded as skipped.
    None,
    /// The latest fires, if it is within the window, and unless one that is not late fires with it; the others are
    /// recorded as skipped.
    #[default]
    Latest,
    /// Those within the window fire, oldest first; the others are recorded as skipped.
    All,
}

/// What somebody defined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// What fires it.
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
    /// What a firing does while the task of an earlier one is alive.
    #[serde(default)]
    pub overlap: Overlap,
    /// What becomes of missed firings.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// How far back missed firings are caught up with, in milliseconds. See [`Definition::window_ms`].
    #[serde(default)]
    #[serde(deserialize_with = "number::optional_count")]
    pub catch_up_window_ms: Option<u64>,
    /// What its tasks are like.
    pub task: Template,
}

impl Definition {
    /// How far back missed firings are caught up with, in milliseconds: [`DEFAULT_WINDOW_MS`] if all are and nothing
    /// else is said; `None` where there is no bound, or nothing is caught up with.
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
    /// Chosen by whoever made it: letters, digits, `_`, `-` and `.`.
    pub id: String,
    /// What somebody defined.
    #[serde(flatten)]
    pub definition: Definition,
    /// Whether it is held.
    #[serde(default)]
    pub paused: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by somebody.
    pub updated_at: Timestamp,
    /// How far it is.
    #[serde(flatten)]
    pub progress: ScheduleProgress,
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

/// Id of the task that the firing of `schedule` at `at` becomes, on whichever replica it fires.
#[must_use]
pub fn firing_id(schedule: &str, at: Timestamp) -> TaskId {
    TaskId::Uuid(derived(&["firing", schedule, &at.as_millis().to_string()]))
}

/// Id of the task that a firing becomes that somebody asked for afterwards; `again` counts how often before, since one
/// that was cancelled may be asked for once more.
#[must_use]
pub fn backfill_id(schedule: &str, at: Timestamp, again: usize) -> TaskId {
    let (at, again) = (at.as_millis().to_string(), again.to_string());
    let parts = ["backfill", schedule, &at, &again];
    TaskId::Uuid(derived(if again == "0" { &parts[..3] } else { &parts }))
}

/// Id of what is recorded about a range of firings.
#[must_use]
pub fn range_id(schedule: &str, from: Timestamp, until: Timestamp) -> Uuid {
    derived(&["firings", schedule, &from.as_millis().to_string(), &until.as_millis().to_string()])
}

/// The time of the firing that `task` came from.
#[must_use]
pub fn fire_time(task: &Task) -> Option<Timestamp> {
    task.context.get(FIRE_TIME).and_then(|time| Timestamp::read(time).ok())
}

impl Schedule {
    /// A new schedule. What it would have fired before `now` is not its business.
    #[must_use]
    pub fn new(id: impl Into<String>, definition: Definition, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            definition,
            paused: false,
            created_at: now,
            updated_at: now,
            progress: ScheduleProgress { cursor: now, ..ScheduleProgress::default() },
            version: String::new(),
        }
    }

    /// The same schedule with another definition. When that fires at other times, it holds from `now` on.
    #[must_use]
    pub fn redefined(&self, definition: Definition, paused: bool, now: Timestamp) -> Self {
        let mut next = Self { updated_at: now, paused, ..self.clone() };
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

    /// How long after the firing at `at` its task becomes due, in milliseconds: derived from both, so that every
    /// replica says the same.
    #[must_use]
    pub fn jitter_ms(&self, at: Timestamp) -> i64 {
        let TaskId::Uuid(id) = firing_id(&self.id, at) else { return 0 };
        let spread = u128::from(self.definition.jitter_ms.min(MAX_JITTER_MS)) + 1;
        i64::try_from(id.as_u128() % spread).unwrap_or(0)
    }

    /// The task that a firing becomes. Its context tells the agent which firing it is: by its time in any case, since
    /// that is how its place among the others is known, by the cause where it makes up for the past, and by the
    /// schedule unless the template says something else under that name. Where a person must agree first, `approvals`
    /// says for how long they may.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn task(&self, start: FiringStart, approvals: &ApprovalPolicy, now: Timestamp) -> Result<Task, String> {
        let FiringStart { at, id, cause } = start;
        // Whoever asks for a firing wants it now. One of long ago must not go before everything that is urgent now.
        let run_at = if cause.is_manual() { now } else { at.plus_millis(self.jitter_ms(at)).max(now) };
        let mut spec = self.definition.task.render(&self.placeholders(at))?.into_spec(run_at)?;
        spec.validate(&SpecLimits::FIRING).map_err(|invalid| invalid.to_string())?;
        spec.schedule_id = Some(self.id.clone());
        spec.context.entry("schedule").or_insert_with(|| Value::from(self.id.clone()));
        spec.context.insert(FIRE_TIME.to_owned(), Value::from(zone_exact(self.definition.zone, at)));
        match cause {
            FiringCause::CaughtUp => spec.context.insert(FIRE_CAUSE.to_owned(), Value::from(CAUGHT_UP)),
            FiringCause::Backfill => spec.context.insert(FIRE_CAUSE.to_owned(), Value::from(BACKFILL)),
            // Other firings go by it, so that it is not for the template to say.
            FiringCause::OnTime | FiringCause::Queued | FiringCause::Triggered => spec.context.remove(FIRE_CAUSE),
        };
        Ok(spec.into_task(id, approvals, now))
    }

    /// What the placeholders stand for in the task of the firing at `at`. The one before it is that of the times of the
    /// schedule, whether or not it ran; before the first one is the beginning of the schedule.
    fn placeholders(&self, at: Timestamp) -> Placeholders {
        let previous = self.timing().ok().and_then(|timing| timing.previous(at));
        let beginning = self.definition.start.unwrap_or(self.created_at).min(at);
        Placeholders::new(&self.id, at, previous.unwrap_or(beginning), self.definition.zone)
    }

    /// The record of a firing that does not run, with the reason.
    #[must_use]
    pub fn skipped_task(&self, id: TaskId, at: Timestamp, reason: &str, now: Timestamp) -> Task {
        let (goal, tags) = self.definition.task.record(&self.placeholders(at));
        let mut task = Task { tags, ..Task::new(id, goal, now) };
        task.status = TaskStatus::Skipped;
        task.run_at = at;
        task.finished_at = Some(now);
        task.schedule_id = Some(self.id.clone());
        task.error = Some(Failure::new(FailureClass::Cancelled, reason));
        task.context.insert(FIRE_TIME.to_owned(), Value::from(zone_exact(self.definition.zone, at)));
        task
    }
}

/// Firings are on whole seconds, but for those that intervals or people make.
fn zone_exact(zone: Zone, at: Timestamp) -> String {
    if at.as_millis() % 1000 == 0 { zone.show(at) } else { at.to_rfc3339() }
}
