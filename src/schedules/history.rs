//! Firings in metrics, history and log.

use std::time::Duration;

use super::runner::ScheduleRunner;
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::schedule::due::{FiringCause, FiringPlan, SkipSummary};
use crate::domain::schedule::{Schedule, range_id};
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::queue::Submitted;
use crate::telemetry::{log_lines, metrics};

impl ScheduleRunner {
    /// Counts and records what came of a firing plan, whose tasks, those of its starts before those of its skips, were `submitted`:
    /// the replica that inserted a firing records it.
    pub(super) fn record(&self, schedule: &Schedule, plan: &FiringPlan, submitted: &Submitted, now: Timestamp) {
        let (history, count, tasks) = (self.queue.history(), plan.starts.len(), &submitted.tasks);
        let new = |place: usize| submitted.inserted.get(place).is_some_and(|one| one.created);
        for (place, start) in plan.starts.iter().enumerate().filter(|(place, _)| new(*place)) {
            let task = &tasks[place];
            if task.state.status == TaskStatus::Skipped {
                let reason = task.state.error.as_ref().map_or_else(String::new, ToString::to_string);
                metrics::FIRINGS.inc(["invalid"]);
                log_lines::firings_skipped(&schedule.id, 1, &reason);
                history.note(about(schedule, EventKind::FiringSkipped, reason, now).level(Level::Error).task(task.id));
                continue;
            }
            metrics::FIRINGS.inc([outcome(start.cause)]);
            log_lines::schedule_fired(&schedule.id, task.id, outcome(start.cause));
            if matches!(start.cause, FiringCause::OnTime | FiringCause::CaughtUp) {
                metrics::FIRING_LATENESS_SECONDS.record(Duration::from_millis(now.millis_since(start.at)), []);
            }
            let message = format!("fired by schedule {} for {}", schedule.id, schedule.definition.zone.show(start.at));
            history.note(about(schedule, EventKind::Fired, message, now).task(task.id));
        }
        for (place, skip) in plan.skips.iter().enumerate().filter(|(place, _)| new(count + *place)) {
            metrics::FIRINGS.inc([skip.reason.as_str()]);
            log_lines::firing_skipped(&schedule.id, skip.reason.as_str());
            let event = about(schedule, EventKind::FiringSkipped, skip.reason.explain(), now).level(Level::Warn);
            history.note(event.task(tasks[count + place].id));
        }
    }
}

const fn outcome(cause: FiringCause) -> &'static str {
    match cause {
        FiringCause::OnTime => "on_time",
        FiringCause::CaughtUp => "caught_up",
        FiringCause::Queued => "queued",
        FiringCause::Triggered => "triggered",
        FiringCause::Backfill => "backfill",
    }
}

/// An event about `schedule`.
pub(super) fn about(schedule: &Schedule, kind: EventKind, message: impl Into<String>, now: Timestamp) -> Event {
    Event::new(kind, message, now).with("schedule", schedule.id.clone())
}

/// One record for firings that are too many for one each. Its id is derived, so that replicas write it once.
pub(super) fn summary_event(schedule: &Schedule, summary: SkipSummary, now: Timestamp) -> Event {
    let zone = schedule.definition.zone;
    let (from, until) = (zone.show(summary.from), zone.show(summary.until));
    let more = if summary.more { "more than " } else { "" };
    let message = format!(
        "{more}{} firings of schedule {} were missed after {from} and before {until}",
        summary.count, schedule.id
    );
    let event = about(schedule, EventKind::FiringsMissed, message, now).level(Level::Warn);
    let event = event.with("from", from).with("until", until).with("count", summary.count).with("more", summary.more);
    Event { id: range_id(&schedule.id, summary.from, summary.until), ..event }
}
