//! `qron snooze`: makes tasks that have not begun due at another time.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::client::Client;
use super::filter::duration;
use super::select::Selection;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("when").required(true))]
pub(super) struct Snooze {
    #[command(flatten)]
    tasks: Selection,
    /// Until then, RFC 3339 or epoch seconds; a time in the past is at once
    #[arg(long, value_name = "TIME", group = "when")]
    until: Option<String>,
    /// For so long from now, e.g. 30m, 2h, 7d
    #[arg(long = "for", value_name = "LENGTH", value_parser = duration, group = "when")]
    length: Option<Duration>,
}

impl Snooze {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let mut order = json!({ "action": "snooze" });
        match (self.until, self.length) {
            (Some(until), _) => order["until"] = json!(until),
            // The API takes whole seconds; nothing becomes due earlier than was asked for.
            (None, length) => order["for_s"] = json!(length.unwrap_or_default().as_millis().div_ceil(1_000)),
        }
        self.tasks.change(client, order).await
    }
}
