//! `qron schedules`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::task_options::{TaskOptions, object};
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::schedules::{BackfilledView, FiringView, SavedView, ScheduleView, TriggeredView};

#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    /// Define a schedule; defining it again as it is changes nothing
    Add(Box<Add>),
    /// List them with their next firing
    List {
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one: times, policies, what has become of its firings
    Show(One),
    /// Hold one: nothing of it fires until it is resumed
    Pause(One),
    /// Let one go on; what it would have fired meanwhile is left out
    Resume(One),
    /// Fire one now
    Trigger {
        /// Id of the schedule
        id: String,
        /// What to do while the task of an earlier firing is alive; as the schedule says otherwise
        #[arg(long)]
        overlap: Option<Overlap>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Make up for the firings of a range that never ran
    Backfill {
        /// Id of the schedule
        id: String,
        /// First time of the range; without an offset in the zone of the schedule
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Last time of the range; now otherwise
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only say how many
        #[arg(long)]
        dry_run: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the next firings of a schedule, or of times that are not stored
    Preview {
        /// Id of the schedule
        #[arg(required_unless_present_any = ["cron", "every", "at"], conflicts_with_all = ["cron", "every", "at"])]
        id: Option<String>,
        #[command(flatten)]
        when: When,
        /// How many
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// From when on; now otherwise
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove one; its tasks stay
    Remove(One),
}

#[derive(Debug, Args)]
pub(super) struct One {
    /// Id of the schedule
    id: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// What fires it.
#[derive(Debug, Args)]
pub(super) struct When {
    /// Cron expression: "30 9 * * MON-FRI", with seconds "0 30 9 * * *", or a name such as @daily
    #[arg(long, value_name = "EXPRESSION", group = "when")]
    cron: Option<String>,
    /// Interval: 90s, 15m, 1h30m, 2d
    #[arg(long, value_name = "LENGTH", group = "when")]
    every: Option<String>,
    /// Once, in RFC 3339, or without an offset in the zone
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
pub(super) enum Overlap {
    /// Skip the new one, and record that
    Skip,
    /// The new one waits until the earlier ones have ended
    Queue,
    /// Run them side by side
    Allow,
    /// Cancel the earlier ones
    CancelPrevious,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CatchUp {
    /// Record missed firings as skipped
    None,
    /// Make up for the latest
    Latest,
    /// Make up for all within the window
    All,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Id of the schedule: letters, digits, _, - and .
    id: String,
    /// What its tasks shall achieve; `${fire_time}`, `${fire_date}`, `${schedule}` and `${zone}` are replaced. "-" reads
    /// it from standard input
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
    /// How far back all missed firings are made up for, e.g. 12h; a day otherwise
    #[arg(long, value_name = "LENGTH")]
    catch_up_window: Option<String>,
    /// Hold it from the start
    #[arg(long)]
    paused: bool,
    /// Put it in the place of another one of this id
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    options: TaskOptions,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// The word of a choice, as the API spells it.
fn word(choice: &impl ValueEnum) -> Option<Value> {
    choice.to_possible_value().map(|value| Value::from(value.get_name().replace('-', "_")))
}

impl When {
    fn body(self) -> Map<String, Value> {
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
    async fn run(self, client: &Client) -> Result<(), CliError> {
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
            ("overlap", self.overlap.as_ref().and_then(word)),
            ("catch_up", self.catch_up.as_ref().and_then(word)),
            ("catch_up_window", self.catch_up_window.map(Value::from)),
            ("paused", self.paused.then_some(Value::Bool(true))),
            ("task", Some(Value::Object(task))),
        ]));
        Ok(body)
    }
}

impl Schedules {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(client).await,
            Self::List { limit, json } => list(client, limit, json).await,
            Self::Show(One { id, json }) => {
                let schedule: ScheduleView = client.get(&["schedules", &id], &[]).await?;
                if json { output::json(&schedule) } else { show(&schedule) }
            }
            Self::Pause(one) => hold(client, &one, "pause", "paused").await,
            Self::Resume(one) => hold(client, &one, "resume", "resumed").await,
            Self::Trigger { id, overlap, json } => trigger(client, &id, overlap, json).await,
            Self::Backfill { id, from, until, dry_run, json } => {
                let body = object([
                    ("from", Some(Value::from(from))),
                    ("until", until.map(Value::from)),
                    ("dry_run", Some(Value::Bool(dry_run))),
                ]);
                let done: BackfilledView = client.post(&["schedules", &id, "backfill"], Some(&body)).await?;
                if json {
                    return output::json(&done);
                }
                let would = if dry_run { "would be " } else { "" };
                output::line(&format!(
                    "{} firings: {} ran before, {would}inserted: {}, {would}queued: {}",
                    done.firings, done.ran_before, done.inserted, done.queued
                ))
            }
            Self::Preview { id, when, count, from, json } => preview(client, id, when, (count, from), json).await,
            Self::Remove(One { id, json }) => {
                client.delete(&["schedules", &id]).await?;
                if json { output::json(&json!({ "removed": id })) } else { output::line(&format!("removed {id}")) }
            }
        }
    }
}

async fn list(client: &Client, limit: u32, json: bool) -> Result<(), CliError> {
    let listing: Listing<ScheduleView> = client.get(&["schedules"], &[("limit", &limit.to_string())]).await?;
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note("no schedules; add one with \"qron schedules add ID GOAL --cron EXPRESSION\"");
        return Ok(());
    }
    let mut table = output::table(["ID", "WHEN", "ZONE", "NEXT", "FIRED", "SKIPPED", "GOAL"]);
    for schedule in &listing.items {
        table.add_row([
            output::cell(&schedule.id, 40),
            output::cell(&when_of(schedule), 30),
            schedule.zone.to_string(),
            next_of(schedule),
            schedule.fired.to_string(),
            schedule.skipped.to_string(),
            output::cell(&schedule.task.goal, 50),
        ]);
    }
    output::show(&table)?;
    if listing.next.is_some() {
        output::note("there are more: use --limit");
    }
    Ok(())
}

fn when_of(schedule: &ScheduleView) -> String {
    match (&schedule.cron, schedule.every, &schedule.at) {
        (Some(cron), ..) => cron.clone(),
        (_, Some(every), _) => format!("every {every} s"),
        (.., Some(at)) => format!("at {}", output::time(at)),
        _ => "-".to_owned(),
    }
}

fn next_of(schedule: &ScheduleView) -> String {
    match schedule.next.first() {
        _ if schedule.paused => "paused".to_owned(),
        Some(firing) => firing.local.clone(),
        None => "never".to_owned(),
    }
}

fn show(schedule: &ScheduleView) -> Result<(), CliError> {
    let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
    field("schedule", &schedule.id)?;
    field("when", &when_of(schedule))?;
    field("zone", &schedule.zone.to_string())?;
    for (name, time) in [("start", &schedule.start), ("end", &schedule.end)] {
        if let Some(time) = time {
            field(name, &output::time(time))?;
        }
    }
    if schedule.jitter > 0 {
        field("jitter", &format!("{} s", schedule.jitter))?;
    }
    field("overlap", &plain(&json!(schedule.overlap)))?;
    field("catch up", &plain(&json!(schedule.catch_up)))?;
    field("goal", &schedule.task.goal)?;
    if let Some(agent) = &schedule.task.agent {
        field("agent", agent)?;
    }
    field("firings", &format!("{} fired, {} skipped", schedule.fired, schedule.skipped))?;
    if let (Some(at), Some(task)) = (&schedule.last_fire, &schedule.last_task) {
        field("last", &format!("{} (task {task})", output::time(at)))?;
    }
    if !schedule.queued.is_empty() {
        field("waiting", &format!("{} firings, from {}", schedule.queued.len(), schedule.queued[0].local))?;
    }
    if schedule.paused {
        return field("next", "paused");
    }
    if schedule.next.is_empty() {
        return field("next", "never");
    }
    schedule.next.iter().try_for_each(|firing| field("next", &firing.local))
}

fn plain(word: &Value) -> String {
    word.as_str().unwrap_or_default().replace('_', " ")
}

async fn hold(client: &Client, one: &One, action: &str, done: &str) -> Result<(), CliError> {
    let schedule: ScheduleView = client.post(&["schedules", &one.id, action], None::<&Value>).await?;
    if one.json {
        return output::json(&schedule);
    }
    output::line(&format!("{done} {}; fires next: {}", schedule.id, next_of(&schedule)))
}

async fn trigger(client: &Client, id: &str, overlap: Option<Overlap>, json: bool) -> Result<(), CliError> {
    let overlap = overlap.as_ref().and_then(word).map(|word| word.as_str().unwrap_or_default().to_owned());
    let query: Vec<(&str, &str)> = overlap.iter().map(|overlap| ("overlap", overlap.as_str())).collect();
    let done: TriggeredView = client.post_with(&["schedules", id, "trigger"], &query).await?;
    if json {
        return output::json(&done);
    }
    match done.task {
        Some(task) => output::line(&format!("fired as task {0}; see \"qron show {0} --follow\"", task.id)),
        None => output::line("it waits until the tasks of earlier firings have ended"),
    }
}

async fn preview(
    client: &Client,
    id: Option<String>,
    when: When,
    (count, from): (u32, Option<String>),
    json: bool,
) -> Result<(), CliError> {
    let count = count.to_string();
    let mut query = vec![("count", count.as_str())];
    query.extend(from.as_deref().map(|from| ("from", from)));
    let listing: Listing<FiringView> = match id {
        Some(id) => client.get(&["schedules", &id, "preview"], &query).await?,
        None => client.post_body(&["schedules", "preview"], &query, &when.body()).await?,
    };
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note("it never fires");
    }
    listing.items.iter().try_for_each(|firing| output::line(&firing.local))
}
