//! `qron schedules add`, and the options that say when a schedule fires.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

use super::view::next_of;
use crate::api::views::schedules::SavedView;
use crate::cli::client::Client;
use crate::cli::task_options::{TaskOptions, object};
use crate::cli::{CliError, output};

/// What fires it.
#[derive(Debug, Args)]
pub(in crate::cli) struct When {
    /// Cron expression: "30 9 * * MON-FRI", with seconds "0 30 9 * * *", or a name such as @daily
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    cron: Option<String>,
    /// Interval: 90s, 15m, 1h30m, 2d
    #[arg(long, value_name = "LENGTH", group = "when")]
    every: Option<String>,
    /// Once, at this time: RFC 3339, or without an offset on the clock of the zone
    #[arg(long, value_name = "TIME", group = "when")]
    at: Option<String>,
    /// Zone of the wall clock by its IANA name, e.g. Europe/Berlin; UTC otherwise
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
    /// Skip the new one, and record that
    Skip,
    /// The new one waits until the earlier ones have ended
    Queue,
    /// Run them side by side
    Allow,
    /// Cancel the earlier ones, and start when they have ended
    CancelPrevious,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(in crate::cli) enum CatchUp {
    /// Record missed firings as skipped
    None,
    /// Make up for the latest
    Latest,
    /// Make up for all within the window
    All,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Add {
    /// Id of the schedule: letters, digits, dots, _ and -
    id: String,
    /// What its tasks shall achieve; `${fire_time}`, `${fire_date}`, `${previous_fire_time}`, `${schedule}` and `${zone}`
    /// are replaced. "-" reads it from standard input
    goal: String,
    #[command(flatten)]
    when: When,
    /// Tasks become due up to this much after their firing, e.g. 30s
    #[arg(long, value_name = "LENGTH")]
    jitter: Option<String>,
    /// What a firing does while the task of an earlier one is alive; skip otherwise
    #[arg(long)]
    overlap: Option<Overlap>,
    /// What becomes of firings that were missed, e.g. while the laptop slept; latest otherwise
    #[arg(long)]
    catch_up: Option<CatchUp>,
    /// How far back missed firings are made up for, e.g. 12h; otherwise a day with --catch-up all, and without bound
    /// with latest
    #[arg(long, value_name = "LENGTH")]
    catch_up_window: Option<String>,
    /// Hold it from the start
    #[arg(long)]
    paused: bool,
    /// Take the place of the schedule that has this id, if there is one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    options: TaskOptions,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// A choice as the API spells it.
pub(super) fn word(choice: &impl ValueEnum) -> Option<String> {
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

impl Add {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (id, json, replace) = (self.id.clone(), self.json, self.replace);
        let mut body = self.body()?;
        let saved: SavedView = if replace {
            client.put(&["schedules", &id], &body).await?
        } else {
            body.insert("id".to_owned(), Value::from(id));
            client.post(&["schedules"], Some(&body)).await?
        };
        if json {
            return output::json(&saved);
        }
        let said = match (saved.created, replace) {
            (true, _) => "added",
            (false, true) => "in place:",
            (false, false) => "already there:",
        };
        let schedule = &saved.schedule;
        output::line(&format!("{said} {}; fires next {}", schedule.id, next_of(schedule)))
    }

    fn body(self) -> Result<Map<String, Value>, CliError> {
        let task = self.options.task(self.goal)?;
        let mut body = self.when.body();
        body.extend(object([
            ("jitter", self.jitter.map(Value::from)),
            ("overlap", self.overlap.as_ref().and_then(word).map(Value::from)),
            ("catch_up", self.catch_up.as_ref().and_then(word).map(Value::from)),
            ("catch_up_window", self.catch_up_window.map(Value::from)),
            ("paused", self.paused.then_some(Value::Bool(true))),
            ("task", Some(Value::Object(task))),
        ]));
        Ok(body)
    }
}
