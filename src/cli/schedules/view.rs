//! Prints schedules for people.

use std::sync::Once;

use serde_json::{Value, json};

use super::plan;
use crate::api::views::schedule_plan::SchedulePlanView;
use crate::api::views::schedules::{EndedView, ScheduleView};
use crate::cli::{CliError, output, print_task};
use crate::clock;
use crate::domain::counted::counted;
use crate::domain::time::Timestamp;

/// Prints a table with a line for each schedule.
pub(super) fn table(schedules: &[ScheduleView]) -> Result<(), CliError> {
    let mut table = output::rows(&["ID", "NEXT"], &["WHEN", "ZONE", "LAST", "FIRED", "SKIPPED", "GOAL"]);
    for schedule in schedules {
        let cells = [
            output::cell(&schedule.id, 100),
            next_firing(schedule),
            output::cell(&timing(schedule), 30),
            schedule.zone.to_string(),
            schedule.last_ended.as_ref().map_or_else(|| "-".to_owned(), |last| ended(schedule, last)),
            schedule.fired.to_string(),
            schedule.skipped.to_string(),
            output::cell(&schedule.task.goal, 50),
        ];
        output::add(&mut table, cells);
    }
    output::show(&table)
}

/// A time of the API on the clock of the schedule, as its firings are.
fn local(schedule: &ScheduleView, rfc3339: &str) -> String {
    static ZONES: Once = Once::new();
    ZONES.call_once(clock::zones::install);
    let read = Timestamp::read(&Value::from(rfc3339));
    output::time(&read.map_or_else(|_| rfc3339.to_owned(), |at| schedule.zone.show(at)))
}

fn timing(schedule: &ScheduleView) -> String {
    match (&schedule.cron, schedule.every, &schedule.at) {
        (Some(cron), ..) => cron.clone(),
        (_, Some(every), _) => format!("every {}", output::exact_length(every)),
        (.., Some(at)) => format!("at {}", local(schedule, at)),
        _ => "-".to_owned(),
    }
}

/// When a schedule fires next, for its column.
fn next_firing(schedule: &ScheduleView) -> String {
    match schedule.next.first() {
        _ if schedule.paused => "paused".to_owned(),
        Some(firing) => output::relative_time(&firing.local),
        None => "never".to_owned(),
    }
}

/// A sentence about what was done to a schedule and when it fires next.
pub(super) fn describe_change(schedule: &ScheduleView, done: &str) -> String {
    let id = &schedule.id;
    let next = match schedule.next.first() {
        _ if schedule.paused => format!("it is paused (resume it with: qron schedules resume {id})"),
        Some(firing) => format!("it fires next at {} ({})", output::time(&firing.local), schedule.zone),
        None => "it will not fire again".to_owned(),
    };
    format!("schedule {id} {done}; {next}")
}

fn ended(schedule: &ScheduleView, last: &EndedView) -> String {
    let at = last.at.as_ref().map_or_else(String::new, |at| format!(", {}", local(schedule, at)));
    let suspect = if last.suspect.is_some() { " (suspect)" } else { "" };
    format!("{}{suspect}{at}", last.status)
}

/// Prints a schedule with all its fields.
pub(super) fn show(schedule: &ScheduleView, plan: &SchedulePlanView) -> Result<(), CliError> {
    let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
    field("schedule", &schedule.id)?;
    field("when", &timing(schedule))?;
    field("zone", &schedule.zone.to_string())?;
    for (name, time) in [("start", &schedule.start), ("end", &schedule.end)] {
        if let Some(time) = time {
            field(name, &local(schedule, time))?;
        }
    }
    if schedule.jitter > 0 {
        field("jitter", &output::exact_length(schedule.jitter))?;
    }
    field("overlap", &plain(&json!(schedule.overlap)))?;
    let window = schedule
        .catch_up_window
        .map_or_else(String::new, |window| format!(", as far back as {}", output::exact_length(window)));
    field("catch up", &format!("{}{window}", plain(&json!(schedule.catch_up))))?;
    field("goal", &schedule.task.goal)?;
    if let Some(agent) = &schedule.task.agent {
        field("agent", agent)?;
    }
    field("plan", &format!("{}; see: qron schedules plan {}", plan::summary(plan), schedule.id))?;
    field("firings", &format!("{} fired, {} skipped", schedule.fired, schedule.skipped))?;
    if let (Some(at), Some(task)) = (&schedule.last_fire, &schedule.last_task) {
        field("last", &format!("{} (task {task})", local(schedule, at)))?;
    }
    if let Some(last) = &schedule.last_ended {
        let error = last.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        field("ended", &format!("{} (task {}){error}", ended(schedule, last), last.task))?;
    }
    if let Some(suspect) = schedule.last_ended.as_ref().and_then(|last| last.suspect.as_ref()) {
        field("suspect", &print_task::suspect_words(suspect))?;
    }
    if !schedule.queued.is_empty() {
        field(
            "waiting",
            &format!("{}, from {}", counted(schedule.queued.len(), "firing"), output::time(&schedule.queued[0].local)),
        )?;
    }
    if schedule.paused {
        return field("next", &format!("paused{}", paused_since(schedule)));
    }
    if schedule.next.is_empty() {
        return field("next", "never");
    }
    schedule.next.iter().try_for_each(|firing| field("next", &output::time(&firing.local)))
}

fn plain(word: &Value) -> String {
    word.as_str().unwrap_or_default().replace('_', " ")
}

/// Since when a schedule is paused, behind the word "paused"; empty when that is not known.
pub(in crate::cli) fn paused_since(schedule: &ScheduleView) -> String {
    schedule.paused_since.as_deref().map_or_else(String::new, |since| format!(" since {}", local(schedule, since)))
}
