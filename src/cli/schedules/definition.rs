//! `qron schedules add` and `qron schedules edit`: the options that define a schedule.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::view::describe_change;
use crate::api::views::schedules::{SavedView, ScheduleView};
use crate::cli::client::Client;
use crate::cli::filter::length;
use crate::cli::task_options::{TaskOptions, object};
use crate::cli::{CliError, hold, output};
use crate::domain::json::field_names;
use crate::domain::schedule::template::Template;

/// When a schedule fires.
#[derive(Debug, Args)]
pub(in crate::cli) struct When {
    /// Cron expression: "30 9 * * MON-FRI", with seconds "0 30 9 * * *", or a name such as @daily
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    cron: Option<String>,
    /// Interval: 90s, 15m, 1h30m, 2d
    #[arg(long, value_name = "LENGTH", group = "when", value_parser = length)]
    every: Option<String>,
    /// Once, at this time
    #[arg(long, value_name = "TIME", group = "when")]
    at: Option<String>,
    /// Time zone by its IANA name, e.g. Europe/Berlin; that of the setting scheduler.zone by default
    #[arg(long)]
    zone: Option<String>,
    /// No firing before this
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// No firing after this
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum Overlap {
    /// Record the new firing as skipped, and run nothing for it
    Skip,
    /// Start the new task when the earlier ones have ended
    Queue,
    /// Start the new task at once, beside the earlier ones
    Allow,
    /// Cancel the earlier ones, and start the new task when they have ended
    CancelPrevious,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum CatchUp {
    /// Record missed firings as skipped
    None,
    /// Run the latest missed firing
    Latest,
    /// Run all missed firings within the window
    All,
}

/// Policies for firings that are late, missed or overlap.
#[derive(Debug, Args)]
pub(in crate::cli) struct Policies {
    /// Tasks become due up to this much after their firing, e.g. 30s
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    jitter: Option<String>,
    /// What a firing does while the task of an earlier one has not ended; skip by default
    #[arg(long)]
    overlap: Option<Overlap>,
    /// What to do about firings that were missed, e.g. while the laptop slept; latest by default
    #[arg(long)]
    catch_up: Option<CatchUp>,
    /// How far back missed firings are run, e.g. 12h; by default a day with --catch-up all, and without bound with latest
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    catch_up_window: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// Id of the schedule: letters, digits, dots, _ and -
    id: String,
    /// What its tasks must achieve; `${fire_time}`, `${fire_date}`, `${previous_fire_time}`, `${schedule}` and `${zone}`
    /// are replaced. "-" reads it from standard input
    goal: String,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    policies: Policies,
    /// Create it paused
    #[arg(long)]
    paused: bool,
    /// Replace the schedule that has this id, if there is one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    options: TaskOptions,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// The word of the API for a choice.
pub(super) fn api_word(choice: &impl ValueEnum) -> Option<String> {
    choice.to_possible_value().map(|value| value.get_name().replace('-', "_"))
}

impl When {
    pub(super) fn body(self) -> Map<String, Value> {
        object([
            ("cron", self.cron.map(Value::from)),
            ("every", self.every.map(Value::from)),
            ("at", self.at.map(Value::from)),
            ("zone", self.zone.map(Value::from)),
            ("start", self.start.map(Value::from)),
            ("end", self.end.map(Value::from)),
        ])
    }
}

impl Policies {
    fn body(self) -> Map<String, Value> {
        object([
            ("jitter", self.jitter.map(Value::from)),
            ("overlap", self.overlap.as_ref().and_then(api_word).map(Value::from)),
            ("catch_up", self.catch_up.as_ref().and_then(api_word).map(Value::from)),
            ("catch_up_window", self.catch_up_window.map(Value::from)),
        ])
    }
}

impl Add {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (id, json, replace) = (self.id.clone(), self.json, self.replace);
        let mut body = self.body()?;
        let before: Option<ScheduleView> = if replace { client.find(&["schedules", &id]).await? } else { None };
        let saved: SavedView = if replace {
            client.put(&["schedules", &id], &body).await?
        } else {
            body.insert("id".to_owned(), Value::from(id));
            client.post(&["schedules"], Some(&body)).await?
        };
        if json {
            return output::json(&saved);
        }
        let is_same = before.is_some_and(|before| is_unchanged(&before, &saved.schedule));
        let outcome = match (saved.created, replace) {
            (true, _) => "was added",
            (false, true) if is_same => HAD_SETTINGS,
            (false, true) => "now has these settings",
            (false, false) => "exists with the same settings; nothing was changed",
        };
        output::line(&describe_change(&saved.schedule, outcome))?;
        hold::note_schedule(client, &saved.schedule).await
    }

    fn body(self) -> Result<Map<String, Value>, CliError> {
        let task = self.options.task(Some(self.goal))?;
        let mut body = self.when.body();
        body.extend(self.policies.body());
        body.extend(object([
            ("paused", self.paused.then_some(Value::Bool(true))),
            ("task", Some(Value::Object(task))),
        ]));
        Ok(body)
    }
}

/// What is said of a schedule that was to get the settings that it has.
const HAD_SETTINGS: &str = "had these settings already; nothing was changed";

/// Whether a request left a schedule as it was. Its time of change moves with its definition and its pauses alone.
fn is_unchanged(before: &ScheduleView, after: &ScheduleView) -> bool {
    before.created_at == after.created_at && before.updated_at == after.updated_at
}

/// Fields of a schedule that `--unset` removes.
const SCHEDULE_FIELDS: [&str; 7] = ["zone", "start", "end", "jitter", "overlap", "catch_up", "catch_up_window"];

/// Every field of a template but the goal, without which there is none.
fn task_fields() -> impl Iterator<Item = &'static str> {
    field_names::<Template>().iter().copied().filter(|field| *field != "goal")
}

fn unsettable_fields() -> PossibleValuesParser {
    PossibleValuesParser::new(SCHEDULE_FIELDS.iter().copied().chain(task_fields()))
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Edit {
    /// Id of the schedule
    id: String,
    /// What its tasks must achieve; "-" reads it from standard input
    #[arg(long)]
    goal: Option<String>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    policies: Policies,
    #[command(flatten)]
    options: TaskOptions,
    /// Remove this setting, or set it back to its default; may be repeated
    #[arg(long, value_name = "FIELD", value_parser = unsettable_fields())]
    unset: Vec<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Edit {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (id, json) = (self.id.clone(), self.json);
        let changes = self.changes()?;
        let before: Option<ScheduleView> = client.find(&["schedules", &id]).await?;
        let schedule: ScheduleView = client.patch(&["schedules", &id], &changes).await?;
        if json {
            return output::json(&schedule);
        }
        let is_same = before.is_some_and(|before| is_unchanged(&before, &schedule));
        output::line(&describe_change(&schedule, if is_same { HAD_SETTINGS } else { "was changed" }))?;
        hold::note_schedule(client, &schedule).await
    }

    fn changes(self) -> Result<Map<String, Value>, CliError> {
        let mut task = self.options.task(self.goal)?;
        let mut changes = self.when.body();
        changes.extend(self.policies.body());
        for field in self.unset {
            let place = if task_fields().any(|name| name == field) { &mut task } else { &mut changes };
            place.insert(field, Value::Null);
        }
        if !task.is_empty() {
            changes.insert("task".to_owned(), Value::Object(task));
        }
        if changes.is_empty() {
            return Err(CliError::Usage(
                "no setting to change is given: use e.g. --cron, --goal or --unset".to_owned(),
            ));
        }
        Ok(changes)
    }
}
