//! Unique keys: how long a key keeps other tasks out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::task::status::TaskStatus;
use super::time::Timestamp;

/// Longest period of a key, in seconds: ten years.
const MAX_SECONDS: u64 = 10 * 366 * 86_400;

/// How long the task that holds a unique key keeps other tasks with the key from being inserted. Written as
/// `"alive"`, `"forever"`, or a period: a number of seconds, or text such as `"90s"`, `"15m"`, `"12h"`, `"7d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UniqueFor {
    /// Until the task has ended, in whatever status.
    #[default]
    Alive,
    /// For this many seconds from its insertion, whatever happens to the task.
    Seconds(u64),
    /// As long as the task is stored.
    Forever,
}

impl UniqueFor {
    /// Whether a task with this `status`, inserted at `created_at`, keeps out a new task.
    #[must_use]
    pub fn holds(self, status: TaskStatus, created_at: Timestamp, now: Timestamp) -> bool {
        match self {
            Self::Alive => !status.is_terminal(),
            // The difference saturates to zero when the clock of the writer is ahead: the task counts as new.
            Self::Seconds(period) => now.millis_since(created_at) < period.saturating_mul(1_000),
            Self::Forever => true,
        }
    }
}

/// Text that is no such period.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not allowed: use alive, forever, or a period such as 90s, 15m, 12h, 7d or a number of seconds")]
pub struct InvalidPeriod(pub String);

impl FromStr for UniqueFor {
    type Err = InvalidPeriod;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidPeriod(text.to_owned());
        let word = text.trim().to_ascii_lowercase();
        match word.as_str() {
            "alive" => return Ok(Self::Alive),
            "forever" => return Ok(Self::Forever),
            _ => {}
        }
        let digits = word.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let unit = match &word[digits.len()..] {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(invalid()),
        };
        let number: u64 = digits.parse().map_err(|_| invalid())?;
        match number.checked_mul(unit) {
            Some(seconds @ 1..=MAX_SECONDS) => Ok(Self::Seconds(seconds)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for UniqueFor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive => formatter.write_str("alive"),
            Self::Forever => formatter.write_str("forever"),
            Self::Seconds(seconds) => write!(formatter, "{seconds}"),
        }
    }
}

impl Serialize for UniqueFor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            word => serializer.collect_str(word),
        }
    }
}

impl<'de> Deserialize<'de> for UniqueFor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u64),
            Text(String),
        }
        let text = match Given::deserialize(deserializer)? {
            Given::Number(number) => number.to_string(),
            Given::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn periods_are_read_and_written() {
        for (text, read) in [
            ("alive", UniqueFor::Alive),
            ("Forever", UniqueFor::Forever),
            ("90", UniqueFor::Seconds(90)),
            ("90s", UniqueFor::Seconds(90)),
            ("15m", UniqueFor::Seconds(900)),
            ("2h", UniqueFor::Seconds(7_200)),
            ("7d", UniqueFor::Seconds(604_800)),
        ] {
            assert_eq!(text.parse(), Ok(read), "{text}");
            let json = serde_json::to_value(read).expect("writable");
            assert_eq!(serde_json::from_value::<UniqueFor>(json).expect("readable"), read);
        }
        for bad in ["", "0", "0s", "-1", "1.5", "1w", "h", "99999999999d", "week"] {
            assert_eq!(bad.parse::<UniqueFor>(), Err(InvalidPeriod(bad.to_owned())), "{bad}");
        }
    }

    #[test]
    fn a_key_is_held_for_its_period() {
        let (open, ended) = (TaskStatus::Waiting, TaskStatus::Completed);
        let ago = |ms: i64| NOW.plus_millis(-ms);
        assert!(UniqueFor::Alive.holds(open, ago(1_000_000), NOW));
        assert!(!UniqueFor::Alive.holds(ended, NOW, NOW));
        for status in [open, ended] {
            assert!(UniqueFor::Seconds(60).holds(status, ago(59_999), NOW));
            assert!(!UniqueFor::Seconds(60).holds(status, ago(60_000), NOW));
            assert!(UniqueFor::Seconds(60).holds(status, NOW.plus_millis(5_000), NOW), "from a clock ahead of ours");
            assert!(UniqueFor::Forever.holds(status, ago(1_000_000), NOW));
        }
    }
}
