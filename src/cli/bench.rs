//! `qron bench`: how fast this machine and this store are.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Global, output};
use crate::bench::{self, Options};

#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Tasks to enqueue and drain
    #[arg(long, default_value_t = 100_000, value_name = "NUMBER")]
    tasks: usize,
    /// Tasks in flight at most
    #[arg(long, default_value_t = 256, value_name = "NUMBER")]
    capacity: usize,
    /// Bytes of data that each task carries
    #[arg(long, default_value_t = 500, value_name = "BYTES")]
    payload_bytes: usize,
    /// Tasks per second through the API while latency is measured; 0 skips that measurement
    #[arg(long, default_value_t = 200, value_name = "NUMBER")]
    rate: u32,
    /// Seconds for which latency, and then idleness, is measured; at least 1
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    seconds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the JSON to this file, too
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Bench {
    pub(super) async fn run(self, global: &Global) -> Result<(), CliError> {
        if self.tasks == 0 || self.capacity == 0 {
            return Err(CliError::Usage("--tasks and --capacity must each be 1 or more".to_owned()));
        }
        let config = global.load()?;
        let options = Options {
            tasks: self.tasks,
            capacity: self.capacity,
            payload_bytes: self.payload_bytes,
            rate: self.rate,
            seconds: self.seconds.max(1),
        };
        let report = bench::run(config, options).await.map_err(|error| CliError::Failed(format!("{error:#}")))?;
        if let Some(file) = &self.out {
            let text = serde_json::to_string_pretty(&report).map_err(|error| CliError::Failed(error.to_string()))?;
            std::fs::write(file, text + "\n").map_err(|error| {
                CliError::Failed(format!("the report cannot be written to {}: {error}", file.display()))
            })?;
        }
        if self.json {
            return output::json(&report);
        }
        let mut table = output::table(["measured", "result"]);
        for (name, figures) in report.rows() {
            table.add_row([name.to_owned(), figures]);
        }
        output::show(&table)
    }
}
