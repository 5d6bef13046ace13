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

/// A length of time such as `90s`, `30m`, `2h` or `7d`. On the command line a number alone is none, unless it is 0: some would take
/// it for minutes.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let number = text.trim();
    if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) && number.bytes().any(|byte| byte != b'0')
    {
        return Err(format!("{number:?} has no unit: write e.g. {number}s, {number}m, {number}h or {number}d"));
    }
    parse_duration_ms(text).map(Duration::from_millis).map_err(|_| {
        format!("{text:?} is not a length of time: use a number and its unit, e.g. 90s, 15m, 1h30m, 2d or 1w, up to ten years")
    })
}

/// A length of time as it was written, for the API.
pub(super) fn length(text: &str) -> Result<String, String> {
    duration(text).map(|_| text.to_owned())
}

/// How long a task holds a unique key, as it was written.
pub(super) fn period_of_key(text: &str) -> Result<String, String> {
    if ["alive", "forever"].contains(&text.trim()) { Ok(text.to_owned()) } else { length(text) }
}

/// A time limit in whole seconds: a length of time, or a number of seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.trim().parse() {
        return Ok(seconds);
    }
    let length = duration(text)?;
    if length.subsec_nanos() > 0 {
        Err(format!("{text:?} is no whole number of seconds"))
    } else {
        Ok(length.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        for (text, expected) in [("5s", 5), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800), ("0", 0), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(expected)), "{text}");
            assert_eq!(length(text), Ok(text.to_owned()));
        }
        for text in ["5", "90", " 10 ", "007"] {
            let error = duration(text).expect_err(text);
            assert!(error.contains("has no unit") && error.contains(&format!("{}m", text.trim())), "{error}");
        }
        for text in ["", "soon", "5x", "-5s"] {
            assert!(duration(text).expect_err(text).contains("90s, 15m, 1h30m"), "{text}");
        }
        assert_eq!((seconds("30"), seconds("10m")), (Ok(30), Ok(600)));
        assert!(seconds("1500ms").is_err() && seconds("soon").is_err());
        assert!(period_of_key("forever").is_ok() && period_of_key("15").is_err() && period_of_key("15m").is_ok());
    }
}
