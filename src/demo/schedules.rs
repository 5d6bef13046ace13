//! The schedules of the demo: the first fires every five seconds, the second every morning.

use serde_json::{Value, json};

use crate::api::views::schedules::{SavedView, ScheduleView};
use crate::console::client::Client;
use crate::console::{CliError, output};
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;

/// Id of the schedule that fires.
const TICK: &str = "tick";
/// Id of the schedule that only waits.
const MORNING: &str = "morning";

/// A schedule of the demo.
pub(super) struct DemoSchedule {
    /// What the schedule demonstrates.
    pub(super) title: &'static str,
    id: &'static str,
    /// The latest firing that had ended before, and how many there were: kept data may be of an earlier demo.
    before: (Option<TaskId>, u64),
}

/// The state of a schedule of the demo.
pub(super) struct ScheduleState {
    pub(super) view: ScheduleView,
    /// Firings before this demo.
    fired_before: u64,
}

/// Defines both schedules through the API. The task of the first has a plan, so that its firings need no model.
pub(super) async fn define(client: &Client) -> Result<Vec<DemoSchedule>, CliError> {
    let seconds =
        json!({ "steps": [{ "id": "seconds", "tool": "calculate", "arguments": { "expression": "24 * 60 * 60" } }] });
    let definitions = [
        (
            ("a schedule that fires", TICK),
            json!({
                "cron": "*/5 * * * * *",
                "task": { "goal": "How many seconds has a day?", "plan": seconds, "tags": ["demo"] },
            }),
        ),
        (
            ("a schedule that waits", MORNING),
            json!({
                "cron": "0 7 * * *",
                "task": { "goal": "Read the news of the night and tell what is new.", "tags": ["demo"] },
            }),
        ),
    ];
    let mut scheduled = Vec::with_capacity(definitions.len());
    for ((title, id), definition) in definitions {
        let before: Option<ScheduleView> = client.find(&["schedules", id]).await?;
        let saved: SavedView = client.put(&["schedules", id], &definition).await?;
        if saved.schedule.paused {
            let _: ScheduleView = client.post(&["schedules", id, "resume"], None::<&Value>).await?;
        }
        let before = before.map_or((None, 0), |before| (before.last_ended.map(|ended| ended.task), before.fired));
        scheduled.push(DemoSchedule { title, id, before });
    }
    Ok(scheduled)
}

/// Pauses both schedules: kept data shows them, and starts no work by itself when it is opened again.
pub(super) async fn pause(client: &Client) -> Result<(), CliError> {
    for id in [TICK, MORNING] {
        // The person who looks around may have removed it.
        if client.find::<ScheduleView>(&["schedules", id]).await?.is_some() {
            let _: ScheduleView = client.post(&["schedules", id, "pause"], None::<&Value>).await?;
        }
    }
    Ok(())
}

/// How a person has the schedules of kept data fire again.
pub(super) fn hint() -> String {
    format!(
        "Its schedules are paused; \"qron schedules list\" shows them, and \"qron schedules resume {TICK}\" has one fire again"
    )
}

impl DemoSchedule {
    pub(super) async fn fetch(&self, client: &Client) -> Result<ScheduleState, CliError> {
        let (ended_before, fired_before) = self.before;
        let mut view: ScheduleView = client.get(&["schedules", self.id], &[]).await?;
        view.last_ended = view.last_ended.filter(|ended| Some(ended.task) != ended_before);
        Ok(ScheduleState { view, fired_before })
    }
}

impl ScheduleState {
    /// Whether the schedule has demonstrated what it is for: the first has a firing that ended, the second only waits.
    pub(super) fn is_over(&self) -> bool {
        self.only_waits() || self.view.last_ended.is_some()
    }

    pub(super) fn is_as_intended(&self) -> bool {
        self.only_waits() || self.view.last_ended.as_ref().is_some_and(|ended| ended.status == TaskStatus::Completed)
    }

    /// The status of the latest firing that ended; waiting for the schedule that only waits.
    pub(super) fn status(&self) -> TaskStatus {
        if self.only_waits() {
            return TaskStatus::Waiting;
        }
        self.view.last_ended.as_ref().map_or(TaskStatus::Pending, |ended| ended.status)
    }

    /// How often it has fired, and when it fires next. A schedule that has fired does so again soon, so the day is left out.
    pub(super) fn describe(&self) -> String {
        let next = self.view.next.first().map_or_else(String::new, |next| output::time(&next.at));
        let time_of_day = next.split_once(' ').map_or(next.as_str(), |(_, time)| time);
        match self.view.fired.saturating_sub(self.fired_before) {
            0 => format!("next {next}"),
            1 => format!("fired once, next {time_of_day}"),
            fired => format!("fired {fired} times, next {time_of_day}"),
        }
    }

    fn only_waits(&self) -> bool {
        self.view.id == MORNING
    }
}
