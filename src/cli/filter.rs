//! The options that say which tasks a command means, beside their ids.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::{CliError, ids};
use crate::clock;
use crate::domain::schedule::duration::parse_duration_ms;
use crate::domain::schedule::zone::Zone;
use crate::domain::task::TaskFilter;

/// The conditions of a filter as options.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct FilterOptions {
    /// Tasks of this status, e.g. pending or failed; may be repeated, or several separated by commas
    #[arg(long, help_heading = "Filter")]
    status: Vec<String>,
    /// Tasks for this agent
    #[arg(long, help_heading = "Filter")]
    agent: Option<String>,
    /// Tasks with this tag
    #[arg(long, help_heading = "Filter")]
    tag: Option<String>,
    /// Tasks of this user
    #[arg(long, help_heading = "Filter")]
    user: Option<String>,
    /// Firings of this schedule
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    schedule: Option<String>,
    /// Tasks that this task made
    #[arg(long, value_name = "ID", help_heading = "Filter")]
    parent: Option<String>,
    /// Tasks with this concurrency key
    #[arg(long, value_name = "KEY", help_heading = "Filter")]
    concurrency_key: Option<String>,
    /// Tasks whose goal contains this, in any case
    #[arg(long, help_heading = "Filter")]
    text: Option<String>,
    /// Tasks inserted longer ago than this, e.g. 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = duration, help_heading = "Filter")]
    older_than: Option<Duration>,
}

impl FilterOptions {
    /// Whether no option was given.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The filter. The beginning of a parent's id is looked up.
    ///
    /// # Errors
    /// A usage error for a value that no task can have, and the failure of the look-up.
    pub(super) async fn read(self, client: &Client) -> Result<TaskFilter, CliError> {
        let Self { status, agent, tag, user, schedule, parent, concurrency_key, text, older_than } = self;
        let parent = ids::optional(client, parent).await?;
        let created_before = older_than.map(|age| {
            let ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            clock::now().plus_millis(-ms).to_rfc3339()
        });
        let conditions = [
            ("status", json!(status)),
            ("agent", json!(agent)),
            ("tag", json!(tag)),
            ("user", json!(user)),
            ("schedule", json!(schedule)),
            ("parent", json!(parent)),
            ("concurrency_key", json!(concurrency_key)),
            ("text", json!(text)),
            ("created_before", json!(created_before)),
        ];
        let conditions = conditions.into_iter().map(|(name, value): (&str, Value)| (name.to_owned(), value));
        TaskFilter::parse(conditions, Zone::UTC).map_err(|error| CliError::Usage(error.to_string()))
    }
}

/// A length of time such as `90s`, `30m`, `2h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration_ms(text).map(Duration::from_millis).map_err(|error| error.to_string())
}
