//! `qron agents`: lists the agents of all replicas.

use clap::Args;

use super::client::Client;
use super::{CliError, list, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};
use crate::api::views::tasks::TaskView;
use crate::domain::counted::counted;
use crate::domain::task::{TaskFilter, TaskStatus};

/// Tasks that are looked at for failures of models, in words of the API.
const LOOKED_AT: &str = "200";
/// Most causes that are told.
const SHOWN_CAUSES: usize = 3;

#[derive(Debug, Args)]
pub(super) struct Agents {
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Agents {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let listing: Listing<AgentView> = client.get(&["agents"], &[]).await?;
        if self.json {
            return output::json(&listing);
        }
        let failing = failing(client).await?;
        let mut table =
            output::rows(&["AGENT", "HEALTH", "MODEL", "LOAD", "SEEN", "CPU", "MEMORY"], &["CAPABILITIES", "REPLICA"]);
        for agent in &listing.items {
            let health = match agent.health {
                Health::Ok => "ok",
                Health::Paused => "paused",
                Health::Draining => "draining",
                Health::Silent => "silent",
            };
            let cells = [
                output::cell(&agent.name, 24),
                health.to_owned(),
                model_state(agent, &failing),
                format!("{}/{}", agent.in_flight, agent.capacity),
                output::relative_time(&agent.updated_at),
                format!("{:.0} %", agent.cpu * 100.0),
                format!("{} MiB", agent.memory_bytes / (1024 * 1024)),
                output::cell(&agent.capabilities.join(", "), 60),
                output::cell(&agent.replica, 60),
            ];
            output::add(&mut table, cells);
        }
        output::show(&table)?;
        // Every replica counts the same tasks of the shared store, so the counts are not added up.
        let counted = listing.items.iter().map(|agent| agent.waiting_for_model).max().unwrap_or(0);
        let waiting = counted.max(failing.len() as u64);
        let of_agents = listing.items.iter().filter_map(|agent| Some(agent.model_away.as_ref()?.cause.as_str()));
        let of_tasks = failing.iter().filter_map(|task| Some(task.waits.as_ref()?.cause.as_str()));
        let mut causes: Vec<&str> = of_agents.collect();
        if causes.is_empty() {
            causes.extend(of_tasks);
        }
        causes.sort_unstable();
        causes.dedup();
        causes.truncate(SHOWN_CAUSES);
        if waiting > 0 || !causes.is_empty() {
            output::note(&waiting_line(waiting, &causes));
        }
        Ok(())
    }
}

/// Tasks that wait for a model which is configured, as far as the first of those that are next tell: a model is called away only
/// after some failures.
async fn failing(client: &Client) -> Result<Vec<TaskView>, CliError> {
    let statuses = vec![TaskStatus::Running, TaskStatus::Pending];
    let conditions = TaskFilter { statuses, ..TaskFilter::default() }.conditions();
    let mut query = list::pairs(&conditions);
    query.extend([("order", "next"), ("limit", LOOKED_AT)]);
    let page: Listing<TaskView> = client.get(&["tasks"], &query).await?;
    let waits = |task: &TaskView| task.waits.as_ref().is_some_and(|waits| !waits.model.is_empty());
    Ok(page.items.into_iter().filter(waits).collect())
}

/// How many tasks wait for a model, and why.
fn waiting_line(waiting: u64, causes: &[&str]) -> String {
    let tasks = match waiting {
        0 => "no task waits".to_owned(),
        1 => "1 task waits".to_owned(),
        _ => format!("{} wait", counted(waiting, "task")),
    };
    let cause = if causes.is_empty() { "it failed, and is asked again".to_owned() } else { causes.join("; ") };
    format!("{tasks} for a model: {cause}")
}

/// The state of the agent's model for the column MODEL: `ok`, `none`, since when it does not answer, or that it failed for a task.
fn model_state(agent: &AgentView, failing: &[TaskView]) -> String {
    let is_of_agent = |task: &&TaskView| match (&task.owner, task.ran_by.as_ref().or(task.agent.as_ref())) {
        (Some(owner), Some(name)) => *owner == agent.replica && *name == agent.name,
        (_, name) => name.is_none_or(|name| *name == agent.name),
    };
    match (&agent.model_away, failing.iter().find(is_of_agent).and_then(|task| task.waits.as_ref())) {
        (None, None) => "ok".to_owned(),
        (None, Some(waits)) => format!("{} failed, is asked again", output::cell(&waits.model, 24)),
        (Some(away), _) => match &away.since {
            Some(since) => format!("{} away since {}", away.model, output::relative_time(since)),
            None => "none".to_owned(),
        },
    }
}
