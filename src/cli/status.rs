//! `qron status`: pauses, agents, running and waiting tasks, next firings.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde::Serialize;

use super::client::Client;
use super::hold::Fleet;
use super::list::{self, FOR_PEOPLE, Group, NEXT, RUNNING};
use super::pause::{details, subject};
use super::schedules::view::paused_since;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};
use crate::api::views::control::PauseView;
use crate::api::views::schedules::ScheduleView;
use crate::api::views::tasks::{TaskCounts, TaskView};
use crate::domain::counted::counted;
use crate::domain::task::{TaskFilter, TaskStatus};

/// Most tasks of each group, and most firings, that are shown.
const SHOWN: usize = 5;
/// Schedules in one page of the API.
const PAGE: &str = "500";

#[derive(Debug, Args)]
pub(super) struct Status {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// The status as JSON.
#[derive(Serialize)]
struct Report {
    pauses: Vec<PauseView>,
    agents: Vec<AgentView>,
    counts: TaskCounts,
    running: Vec<TaskView>,
    awaiting_approval: Vec<TaskView>,
    next: Vec<TaskView>,
    firings: Vec<Firing>,
    paused_schedules: Vec<String>,
}

/// The soonest firings, and the paused schedules.
struct Schedules {
    firings: Vec<Firing>,
    paused: Vec<ScheduleView>,
}

/// The next firing of a schedule.
#[derive(Serialize)]
struct Firing {
    schedule: String,
    at: String,
    local: String,
    goal: String,
}

impl Status {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let fleet = Fleet::read(client).await?;
        let counts: TaskCounts = client.get(&["tasks", "counts"], &[]).await?;
        let kinds = [&RUNNING, &FOR_PEOPLE, &NEXT];
        let groups = list::groups(client, &kinds, &TaskFilter::default(), SHOWN).await?;
        let Schedules { firings, paused } = schedules(client).await?;
        if self.json {
            let mut tasks = groups.into_iter().map(|group| group.tasks);
            let mut group = || tasks.next().unwrap_or_default();
            return output::json(&Report {
                pauses: fleet.pauses,
                agents: fleet.agents,
                counts,
                running: group(),
                awaiting_approval: group(),
                next: group(),
                firings,
                paused_schedules: paused.into_iter().map(|schedule| schedule.id).collect(),
            });
        }
        print_pauses(&fleet.pauses, &paused)?;
        print_field("agents", &fleet_line(&fleet.agents))?;
        print_field("tasks", &counts_line(&counts))?;
        if groups.iter().any(|group| group.total > 0) {
            output::line("")?;
            list::print(&groups, Some(&fleet))?;
            given_up(&groups).iter().try_for_each(|line| output::line(line))?;
        }
        if firings.is_empty() { Ok(()) } else { table(&firings) }
    }
}

/// For each model that shown tasks wait for, until when the first of them does.
fn given_up(groups: &[Group]) -> Vec<String> {
    let mut first: BTreeMap<&str, &str> = BTreeMap::new();
    for waits in groups.iter().flat_map(|group| &group.tasks).filter_map(|task| task.waits.as_ref()) {
        if let Some(until) = waits.until.as_deref() {
            let earliest = first.entry(&waits.model).or_insert(until);
            // Times of the API sort as text.
            *earliest = until.min(*earliest);
        }
    }
    let line = |(model, until): (&&str, &&str)| {
        format!("  a task fails if model {model:?} has not answered by {}", output::moment(until))
    };
    first.iter().map(line).collect()
}

fn print_field(name: &str, value: &str) -> Result<(), CliError> {
    output::line(&format!("{name:<11}{value}"))
}

fn print_pauses(pauses: &[PauseView], schedules: &[ScheduleView]) -> Result<(), CliError> {
    for pause in pauses {
        print_field("paused", &format!("{} since {}", subject(pause.agent.as_deref()), details(pause)))?;
    }
    if !schedules.is_empty() {
        let noun = if schedules.len() == 1 { "schedule" } else { "schedules" };
        let names: Vec<String> =
            schedules.iter().map(|schedule| format!("{}{}", schedule.id, paused_since(schedule))).collect();
        print_field("paused", &format!("{noun} {}", names.join(", ")))?;
    }
    if pauses.is_empty() && schedules.is_empty() { print_field("paused", "nothing") } else { Ok(()) }
}

/// Agents, replicas and capacity of the fleet in a line, with the number of agents whose replica is silent.
fn fleet_line(agents: &[AgentView]) -> String {
    let (alive, silent): (Vec<&AgentView>, Vec<&AgentView>) =
        agents.iter().partition(|agent| agent.health != Health::Silent);
    let names: BTreeSet<&str> = alive.iter().map(|agent| agent.name.as_str()).collect();
    let replicas: BTreeSet<&str> = alive.iter().map(|agent| agent.replica.as_str()).collect();
    let in_flight: usize = alive.iter().map(|agent| agent.in_flight).sum();
    let capacity: usize = alive.iter().map(|agent| agent.capacity).sum();
    let silent = if silent.is_empty() { String::new() } else { format!("; {} silent", silent.len()) };
    let (agents, replicas) = (counted(names.len(), "agent"), counted(replicas.len(), "replica"));
    format!("{agents} in {replicas}, running {in_flight} of at most {}{silent}", counted(capacity, "task"))
}

/// The counts of the statuses that tasks have, in the order of the lifecycle.
fn counts_line(counts: &TaskCounts) -> String {
    let parts = TaskStatus::ALL.iter().filter_map(|status| {
        let count = counts.among(&[*status]);
        (count > 0).then(|| format!("{count} {}", status.as_str().replace('_', " ")))
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "none; add one with: qron add GOAL".to_owned() } else { parts.join(", ") }
}

/// The soonest firings of all schedules, and the paused schedules in the order of their ids.
async fn schedules(client: &Client) -> Result<Schedules, CliError> {
    let (mut firings, mut paused) = (Vec::new(), Vec::new());
    let (mut after, mut held): (Option<String>, usize) = (None, 0);
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Listing<ScheduleView> = client.page(&["schedules"], &query, &mut held).await?;
        for schedule in page.items {
            if schedule.paused {
                paused.push(schedule);
            } else if let Some(next) = schedule.next.into_iter().next() {
                let (at, local) = (next.at, next.local);
                firings.push(Firing { schedule: schedule.id, at, local, goal: schedule.task.goal });
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    // All times are in UTC, so their texts sort as the times do.
    firings.sort_by(|one, other| one.at.cmp(&other.at));
    firings.truncate(SHOWN);
    paused.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(Schedules { firings, paused })
}

fn table(firings: &[Firing]) -> Result<(), CliError> {
    output::line("")?;
    let mut table = output::rows(&["SCHEDULE", "FIRES NEXT"], &["GOAL"]);
    for firing in firings {
        let cells =
            [output::cell(&firing.schedule, 100), output::relative_time(&firing.local), output::cell(&firing.goal, 60)];
        output::add(&mut table, cells);
    }
    output::show(&table)
}
