//! `qron agents`: lists the agents of all replicas.

use clap::Args;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};
use crate::domain::counted::counted;

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
                model_state(agent),
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
        let waiting = listing.items.iter().map(|agent| agent.waiting_for_model).max().unwrap_or(0);
        let mut causes: Vec<&str> =
            listing.items.iter().filter_map(|agent| Some(agent.model_away.as_ref()?.cause.as_str())).collect();
        causes.sort_unstable();
        causes.dedup();
        if waiting > 0 || !causes.is_empty() {
            output::note(&waiting_line(waiting, &causes));
        }
        Ok(())
    }
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

/// The state of the agent's model for the column MODEL: `ok`, `none`, or since when it does not answer.
fn model_state(agent: &AgentView) -> String {
    match &agent.model_away {
        None => "ok".to_owned(),
        Some(away) => match &away.since {
            Some(since) => format!("{} away since {}", away.model, output::relative_time(since)),
            None => "none".to_owned(),
        },
    }
}
