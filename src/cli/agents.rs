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
        let mut table = output::table(["AGENT", "HEALTH", "LOAD", "REPLICA", "SEEN", "CPU", "MEMORY", "CAPABILITIES"]);
        for agent in &listing.items {
            let health = match agent.health {
                Health::Ok => "ok",
                Health::Paused => "paused",
                Health::Draining => "draining",
                Health::Silent => "silent",
            };
            table.add_row([
                output::cell(&agent.name, 24),
                health.to_owned(),
                format!("{}/{}", agent.in_flight, agent.capacity),
                output::cell(&agent.replica, 60),
                output::time(&agent.updated_at),
                format!("{:.0} %", agent.cpu * 100.0),
                format!("{} MiB", agent.memory_bytes / (1024 * 1024)),
                output::cell(&agent.capabilities.join(", "), 60),
            ]);
        }
        output::show(&table)
    }
}
