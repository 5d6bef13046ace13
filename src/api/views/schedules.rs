//! Schedules in answers of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Listing;
use super::suspect::SuspectView;
use super::tasks::TaskView;
use crate::domain::id::TaskId;
use crate::domain::schedule::template::Template;
use crate::domain::schedule::timing::{Recurrence, Timing};
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::{CatchUp, Overlap, Schedule};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::schedules::backfill::Backfilled;
use crate::store::UnreadableSchedule;

/// A schedule. The fields of its definition have the names that the request to define it has.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    /// Its id.
    pub id: String,
    /// Cron expression that fires it.
    pub cron: Option<String>,
    /// Interval that fires it, in seconds.
    pub every: Option<u64>,
    /// When it fires, once.
    pub at: Option<String>,
    /// Zone of its wall clock.
    pub zone: Zone,
    /// No firing before this.
    pub start: Option<String>,
    /// No firing after this.
    pub end: Option<String>,
    /// Tasks become due up to this much after their firing, in seconds.
    pub jitter: u64,
    /// What a firing does while the task of an earlier one is alive.
    pub overlap: Overlap,
    /// Policy for missed firings.
    pub catch_up: CatchUp,
    /// How far back missed firings run, in seconds; absent without a bound, or when none runs.
    pub catch_up_window: Option<u64>,
    /// The task that a firing creates.
    pub task: Template,
    /// Whether it is paused.
    pub paused: bool,
    /// Since when it is paused; absent when it is not, or when an older version paused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<String>,
    /// When it was created.
    pub created_at: String,
    /// When its definition last changed, or it was paused or resumed.
    pub updated_at: String,
    /// Its next firings; none when it is paused, or will not fire again.
    pub next: Vec<FiringView>,
    /// Firings that wait for the end of earlier ones.
    pub queued: Vec<FiringView>,
    /// Firings that became tasks which run.
    pub fired: u64,
    /// Firings that were skipped.
    pub skipped: u64,
    /// The latest firing that became a task.
    pub last_fire: Option<String>,
    /// That task.
    pub last_task: Option<TaskId>,
    /// The latest firing whose task has ended; only where a schedule is shown or listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ended: Option<EndedView>,
    /// Whether its last two results or more are suspect: each is unlike those before it.
    #[serde(default)]
    pub degraded: bool,
}

impl ScheduleView {
    /// `schedule` with its next `count` firings.
    pub(in crate::api) fn new(schedule: Schedule, count: usize) -> Self {
        let Schedule { definition, progress, .. } = schedule.clone();
        let (zone, window_ms) = (definition.zone, definition.window_ms());
        let timing = schedule.timing().ok().filter(|_| !schedule.paused);
        let next = timing.map_or_else(Vec::new, |timing| upcoming(&timing, zone, progress.cursor, count));
        let (mut cron, mut every, mut at) = (None, None, None);
        match definition.spec {
            Recurrence::Cron(text) => cron = Some(text),
            Recurrence::EveryMs(ms) => every = Some(ms / 1000),
            Recurrence::At(time) => at = Some(time.to_rfc3339()),
        }
        Self {
            id: schedule.id,
            cron,
            every,
            at,
            zone,
            start: definition.start.map(Timestamp::to_rfc3339),
            end: definition.end.map(Timestamp::to_rfc3339),
            jitter: definition.jitter_ms / 1000,
            overlap: definition.overlap,
            catch_up: definition.catch_up,
            catch_up_window: window_ms.map(|window| window / 1000),
            task: definition.task,
            paused: schedule.paused,
            paused_since: schedule.paused_since.filter(|_| schedule.paused).map(Timestamp::to_rfc3339),
            created_at: schedule.created_at.to_rfc3339(),
            updated_at: schedule.updated_at.to_rfc3339(),
            next,
            queued: progress.queue.iter().map(|waiting| FiringView::new(waiting.at, zone)).collect(),
            fired: progress.fired,
            skipped: progress.skipped,
            last_fire: progress.last_fire.map(Timestamp::to_rfc3339),
            last_task: progress.last_task,
            last_ended: None,
            degraded: false,
        }
    }

    /// The view with what came of its last firing that ended.
    pub(in crate::api) fn ended(self, last: Option<Task>) -> Self {
        let last_ended = last.map(EndedView::from);
        let suspect = last_ended.as_ref().and_then(|last| last.suspect.as_ref());
        Self { degraded: suspect.is_some_and(|suspect| suspect.in_a_row >= 2), last_ended, ..self }
    }
}

/// A page of schedules.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = ScheduleList)]
pub struct ScheduleListing {
    /// The schedules that can be read.
    #[serde(flatten)]
    pub listing: Listing<ScheduleView>,
    /// Those of the page that cannot, and do not fire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<UnreadableView>,
}

/// A stored schedule that cannot be read.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = UnreadableSchedule)]
pub struct UnreadableView {
    /// Its id.
    pub id: String,
    /// Why it cannot be read.
    pub reason: String,
}

impl From<UnreadableSchedule> for UnreadableView {
    fn from(UnreadableSchedule { id, reason }: UnreadableSchedule) -> Self {
        Self { id, reason }
    }
}

/// A firing whose task has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EndedFiring)]
pub struct EndedView {
    /// Its task.
    pub task: TaskId,
    /// Status in which the task ended.
    pub status: TaskStatus,
    /// When it ended.
    pub at: Option<String>,
    /// The failure, when it ended badly.
    pub error: Option<String>,
    /// Why its result is suspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<SuspectView>,
}

impl From<Task> for EndedView {
    fn from(task: Task) -> Self {
        Self {
            task: task.id,
            status: task.state.status,
            at: task.state.finished_at.map(Timestamp::to_rfc3339),
            error: task.state.error.map(|error| error.to_string()),
            suspect: SuspectView::of(task.state.result.as_ref()),
        }
    }
}

/// A firing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Firing)]
pub struct FiringView {
    /// Time in UTC.
    pub at: String,
    /// Time in the zone of the schedule.
    pub local: String,
}

impl FiringView {
    fn new(at: Timestamp, zone: Zone) -> Self {
        Self { at: at.to_rfc3339(), local: zone.show(at) }
    }
}

/// The `count` firings after `after`.
pub(in crate::api) fn upcoming(timing: &Timing, zone: Zone, after: Timestamp, count: usize) -> Vec<FiringView> {
    timing.upcoming(after).take(count).map(|at| FiringView::new(at, zone)).collect()
}

/// A schedule that was defined.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = SavedSchedule)]
pub struct SavedView {
    /// Whether it is new.
    pub created: bool,
    /// The schedule.
    #[serde(flatten)]
    pub schedule: ScheduleView,
}

/// A schedule that was triggered: a task, or a firing that waits.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TriggeredSchedule)]
pub struct TriggeredView {
    /// The new task; absent when the firing waits.
    pub task: Option<TaskView>,
    /// The firing that waits for the end of earlier ones.
    pub queued: Option<FiringView>,
}

impl TriggeredView {
    pub(in crate::api) fn waiting(at: Timestamp) -> Self {
        Self { task: None, queued: Some(FiringView::new(at, Zone::UTC)) }
    }
}

/// Outcome of a backfill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Backfill)]
pub struct BackfilledView {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Firings in the range.
    pub firings: usize,
    /// Firings that had run before, or were running.
    pub ran_before: usize,
    /// Firings that became tasks.
    pub inserted: usize,
    /// Firings that wait for the end of earlier ones.
    pub queued: usize,
}

impl BackfilledView {
    pub(in crate::api) const fn new(done: Backfilled, dry_run: bool) -> Self {
        Self {
            dry_run,
            firings: done.firings,
            ran_before: done.ran_before,
            inserted: done.inserted,
            queued: done.queued,
        }
    }
}
