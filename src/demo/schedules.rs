//! The schedules of the demo: one fires every few seconds, one waits for the morning.

use serde_json::json;

use crate::api::views::schedules::{SavedView, ScheduleView};
use crate::cli::client::Client;
use crate::cli::{CliError, output};
use crate::domain::task::TaskStatus;

/// Id of the schedule that fires.
const TICK: &str = "tick";
/// Id of the schedule that waits.
const MORNING: &str = "morning";

/// A schedule of the demo.
pub(super) struct Scheduled {
    /// What it shows, in a few words.
    pub(super) title: &'static str,
    id: &'static str,
}

/// How far a schedule has come.
pub(super) struct Fired {
    pub(super) view: ScheduleView,
}

/// Defines both through the API. The firing one carries a plan, so that it costs no model.
pub(super) async fn define(client: &Client) -> Result<Vec<Scheduled>, CliError> {
    let seconds =
        json!({ "steps": [{ "id": "seconds", "tool": "calculate", "arguments": { "expression": "24 * 60 * 60" } }] });
    let definitions = [
        (
            Scheduled { title: "a schedule that fires", id: TICK },
            json!({
                "cron": "*/5 * * * * *",
                "task": { "goal": "How many seconds has a day?", "plan": seconds, "tags": ["demo"] },
            }),
        ),
        (
            Scheduled { title: "a schedule that waits", id: MORNING },
            json!({
                "cron": "0 7 * * *",
                "task": { "goal": "Read the news of the night and tell what is new.", "tags": ["demo"] },
            }),
        ),
    ];
    let mut scheduled = Vec::with_capacity(definitions.len());
    for (schedule, definition) in definitions {
        let _: SavedView = client.put(&["schedules", schedule.id], &definition).await?;
        scheduled.push(schedule);
    }
    Ok(scheduled)
}

/// Removes both, so that data that is kept starts no work by itself.
pub(super) async fn remove(client: &Client) -> Result<(), CliError> {
    for id in [TICK, MORNING] {
        client.delete(&["schedules", id]).await?;
    }
    Ok(())
}

impl Scheduled {
    pub(super) async fn look(&self, client: &Client) -> Result<Fired, CliError> {
        Ok(Fired { view: client.get(&["schedules", self.id], &[]).await? })
    }
}

impl Fired {
    /// Whether it has shown what it is there for: a firing has ended, or it waits.
    pub(super) fn is_shown(&self) -> bool {
        self.waits() || self.view.last_ended.is_some()
    }

    pub(super) fn is_as_intended(&self) -> bool {
        self.waits() || self.view.last_ended.as_ref().is_some_and(|ended| ended.status == TaskStatus::Completed)
    }

    /// The status in a word.
    pub(super) fn status(&self) -> TaskStatus {
        if self.waits() {
            return TaskStatus::Waiting;
        }
        self.view.last_ended.as_ref().map_or(TaskStatus::Pending, |ended| ended.status)
    }

    /// What has become of it, in a few words. One that has fired fires again soon, so the day is left out.
    pub(super) fn story(&self) -> String {
        let next = self.view.next.first().map_or_else(String::new, |next| output::time(&next.at));
        let time_of_day = next.split_once(' ').map_or(next.as_str(), |(_, time)| time);
        match self.view.fired {
            0 => format!("next {next}"),
            1 => format!("fired once, next {time_of_day}"),
            fired => format!("fired {fired} times, next {time_of_day}"),
        }
    }

    fn waits(&self) -> bool {
        self.view.id == MORNING
    }
}
