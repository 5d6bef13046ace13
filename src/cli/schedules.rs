//! `qron schedules`: defines, shows and steers recurring tasks.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::Client;
use super::task_options::object;
use super::{CliError, hold, output};
use crate::api::views::Listing;
use crate::api::views::schedules::{
    BackfilledView, FiringView, ScheduleListing, ScheduleView, TriggeredView, UnreadableView,
};
use crate::domain::counted::counted;
use definition::{Add, Edit, Overlap, When};
use plan::SchedulePlan;

mod definition;
mod plan;
pub(super) mod view;

#[derive(Debug, Subcommand)]
pub(super) enum Schedules {
    /// Define a schedule; defining it again with the same settings changes nothing
    #[command(after_help = super::time_help())]
    Add(Box<Add>),
    /// Change the settings of a schedule that options name, and keep the others
    #[command(after_help = super::time_help())]
    Edit(Box<Edit>),
    /// List schedules with their next firing and what came of the last
    List {
        /// At most this many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a schedule: times, policies, counts of its firings
    Show(ScheduleId),
    /// Pause a schedule: it fires nothing until it is resumed
    Pause(ScheduleId),
    /// Resume a schedule; firings that fell into the pause are skipped
    Resume(ScheduleId),
    /// Fire a schedule now; its other firings stay as they are
    Trigger {
        /// Id of the schedule
        id: String,
        /// What to do while the task of an earlier firing has not ended; the policy of the schedule by default
        #[arg(long)]
        overlap: Option<Overlap>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Run firings of the past that never ran
    #[command(after_help = super::time_help())]
    Backfill {
        /// Id of the schedule
        id: String,
        /// First time of the range
        #[arg(long, value_name = "TIME")]
        from: String,
        /// Last time of the range; now by default
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Show how many firings would run, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the next firings of a schedule, or of times that no schedule has yet
    #[command(after_help = super::time_help(), override_usage = "qron schedules preview [OPTIONS] <ID>\n       qron schedules preview [OPTIONS] <--cron <EXPRESSION>|--every <LENGTH>|--at <TIME>>")]
    Preview {
        /// Id of the schedule; without one, give --cron, --every or --at
        #[arg(
            required_unless_present_any = ["cron", "every", "at"],
            conflicts_with_all = ["cron", "every", "at", "zone", "start", "end"]
        )]
        id: Option<String>,
        #[command(flatten)]
        when: When,
        /// Number of firings
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Time of the first firing at the earliest; now by default
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the plan that firings begin with in place of asking a model for one; pin it, or forget it
    Plan(SchedulePlan),
    /// Remove a schedule; its tasks stay
    Remove(ScheduleId),
}

#[derive(Debug, Args)]
pub(super) struct ScheduleId {
    /// Id of the schedule
    id: String,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Schedules {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(client).await,
            Self::Edit(edit) => edit.run(client).await,
            Self::List { limit, json } => list(client, limit, json).await,
            Self::Show(ScheduleId { id, json }) => {
                let schedule: ScheduleView = client.get(&["schedules", &id], &[]).await?;
                if json {
                    return output::json(&schedule);
                }
                view::show(&schedule, &client.get(&["schedules", &id, "plan"], &[]).await?)?;
                hold::note_schedule(client, &schedule).await
            }
            Self::Pause(id) => id.change(client, "pause").await,
            Self::Resume(id) => id.change(client, "resume").await,
            Self::Trigger { id, overlap, json } => trigger(client, &id, overlap, json).await,
            Self::Backfill { id, from, until, dry_run, json } => {
                let range = object([
                    ("from", Some(Value::from(from))),
                    ("until", until.map(Value::from)),
                    ("dry_run", Some(Value::Bool(dry_run))),
                ]);
                backfill(client, &id, &range, json).await
            }
            Self::Preview { id, when, count, from, json } => preview(client, id, when, (count, from), json).await,
            Self::Plan(plan) => plan.run(client).await,
            Self::Remove(ScheduleId { id, json }) => {
                client.delete(&["schedules", &id]).await?;
                if json {
                    output::json(&json!({ "removed": id }))
                } else {
                    output::line(&format!("schedule {id} was removed; its tasks stay"))
                }
            }
        }
    }
}

async fn list(client: &Client, limit: u32, json: bool) -> Result<(), CliError> {
    let mut page: ScheduleListing = client.get(&["schedules"], &[("limit", &limit.to_string())]).await?;
    page.listing.items.truncate(limit as usize);
    page.listing.items.sort_by(|one, other| one.id.cmp(&other.id));
    if json {
        return output::json(&page);
    }
    let ScheduleListing { listing, unreadable } = page;
    for UnreadableView { id, reason } in &unreadable {
        output::note(&format!("schedule {id} does not fire, because this qron cannot read it: {reason}"));
    }
    if listing.items.is_empty() && !unreadable.is_empty() {
        return Ok(());
    }
    if listing.items.is_empty() {
        output::note("there are no schedules; add one with: qron schedules add ID GOAL --cron EXPRESSION");
        return Ok(());
    }
    view::table(&listing.items)?;
    if listing.next.is_some() {
        output::note(&format!("these are {}; see more with --limit", counted(limit, "schedule")));
    }
    Ok(())
}

impl ScheduleId {
    /// Pauses or resumes the schedule.
    async fn change(self, client: &Client, action: &str) -> Result<(), CliError> {
        let before: Option<ScheduleView> = client.find(&["schedules", &self.id]).await?;
        let schedule: ScheduleView = client.post(&["schedules", &self.id, action], None::<&Value>).await?;
        if self.json {
            return output::json(&schedule);
        }
        let is_same = before.is_some_and(|before| before.paused == schedule.paused);
        if schedule.paused {
            let id = &schedule.id;
            let done = if is_same { "was paused already; nothing was changed" } else { "is paused" };
            return output::line(&format!("schedule {id} {done} (resume it with: qron schedules resume {id})"));
        }
        let done = if is_same { "was not paused; nothing was changed" } else { "was resumed" };
        output::line(&view::describe_change(&schedule, done))?;
        hold::note_schedule(client, &schedule).await
    }
}

async fn trigger(client: &Client, id: &str, overlap: Option<Overlap>, json: bool) -> Result<(), CliError> {
    let overlap = overlap.as_ref().and_then(definition::api_word);
    let query: Vec<(&str, &str)> = overlap.iter().map(|overlap| ("overlap", overlap.as_str())).collect();
    let done: TriggeredView = client.post_with(&["schedules", id, "trigger"], &query).await?;
    if json {
        return output::json(&done);
    }
    match done.task {
        Some(task) => {
            output::line(&format!("schedule {id} fired as task {0}; follow it with: qron show {0} --follow", task.id))?;
            hold::note(client, &task).await
        }
        None => output::line(&format!(
            "the new firing of schedule {id} waits until the tasks of earlier firings have ended"
        )),
    }
}

async fn backfill(client: &Client, id: &str, range: &Map<String, Value>, json: bool) -> Result<(), CliError> {
    let done: BackfilledView = client.post(&["schedules", id, "backfill"], Some(range)).await?;
    if json {
        return output::json(&done);
    }
    let verb = if done.dry_run { "would be" } else { "were" };
    output::line(&format!(
        "{} of schedule {id} in this range: {} had run before, {} {verb} added as tasks, {} {verb} queued behind earlier ones",
        counted(done.firings, "firing"),
        done.ran_before,
        done.inserted,
        done.queued
    ))
}

async fn preview(
    client: &Client,
    id: Option<String>,
    when: When,
    (count, from): (u32, Option<String>),
    json: bool,
) -> Result<(), CliError> {
    let (most, count) = (count as usize, count.to_string());
    let mut query = vec![("count", count.as_str())];
    query.extend(from.as_deref().map(|from| ("from", from)));
    let mut listing: Listing<FiringView> = match &id {
        Some(id) => client.get(&["schedules", id, "preview"], &query).await?,
        None => client.post_body(&["schedules", "preview"], &query, &when.body()).await?,
    };
    listing.items.truncate(most);
    if json {
        return output::json(&listing);
    }
    if listing.items.is_empty() {
        output::note("this schedule fires no more");
    }
    let schedule: Option<ScheduleView> = match &id {
        Some(id) => client.find(&["schedules", id]).await?,
        None => None,
    };
    if let Some(schedule) = schedule.filter(|schedule| schedule.paused) {
        let (id, since) = (&schedule.id, view::paused_since(&schedule));
        output::note(&format!(
            "schedule {id} is paused{since}: it fires at none of these times before it is resumed with: qron schedules resume {id}"
        ));
    }
    listing.items.iter().try_for_each(|firing| output::line(&output::time(&firing.local)))
}
