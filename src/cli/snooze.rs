//! `qron snooze`: changes when tasks that have not begun become due.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::client::Client;
use super::filter::duration;
use super::select::Selection;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("when").required(true), after_help = super::time_help())]
pub(super) struct Snooze {
    #[command(flatten)]
    tasks: Selection,
    /// New time at which they become due; a past time means at once
    #[arg(long, value_name = "TIME", group = "when")]
    until: Option<String>,
    /// New time at which they become due, counted from now: e.g. 30m, 2h, 7d
    #[arg(long = "for", value_name = "LENGTH", value_parser = duration, group = "when")]
    length: Option<Duration>,
}

impl Snooze {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let mut order = json!({ "action": "snooze" });
        match (self.until, self.length) {
            (Some(until), _) => order["until"] = json!(until),
            // The API takes whole seconds: rounded up, so that no task becomes due before the requested time.
            (None, length) => order["for_s"] = json!(length.unwrap_or_default().as_millis().div_ceil(1_000)),
        }
        self.tasks.change(client, order).await
    }
}
