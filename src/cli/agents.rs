//! `qron agents`.

use clap::Args;

use super::client::Client;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};

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
                model(agent),
                format!("{}/{}", agent.in_flight, agent.capacity),
                output::moment(&agent.updated_at),
                format!("{:.0} %", agent.cpu * 100.0),
                format!("{} MiB", agent.memory_bytes / (1024 * 1024)),
                output::cell(&agent.capabilities.join(", "), 60),
                output::cell(&agent.replica, 60),
            ];
            output::add(&mut table, cells);
        }
        output::show(&table)?;
        // Replicas of one store count the same tasks.
        let waiting = listing.items.iter().map(|agent| agent.waiting_for_model).max().unwrap_or(0);
        let mut causes: Vec<&str> =
            listing.items.iter().filter_map(|agent| Some(agent.model_away.as_ref()?.cause.as_str())).collect();
        causes.sort_unstable();
        causes.dedup();
        if !causes.is_empty() {
            output::note(&format!("{waiting} due tasks need a model: {}", causes.join("; ")));
        }
        Ok(())
    }
}

/// Whether the agent can ask a model, in a few words.
fn model(agent: &AgentView) -> String {
    match &agent.model_away {
        None => "ok".to_owned(),
        Some(away) => match &away.since {
            Some(since) => format!("{} away since {}", away.model, output::moment(since)),
            None => "none".to_owned(),
        },
    }
}
