//! Identity of a task: a Qdrant point id.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Id of a task, which is the id of its point: a UUID, or an unsigned number when the inserter chose one.
///
/// Written as text everywhere outside the store; digits alone are a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskId {
    /// A numeric point id.
    Number(u64),
    /// A UUID point id; qron itself makes these.
    Uuid(Uuid),
}

/// Namespace of the ids that qron derives from text, so that the same text always names the same point.
const NAMESPACE: Uuid = Uuid::from_u128(0x71726f6e_0000_5000_8000_7461736b6964);

/// A UUIDv5 derived from `parts`; equal parts give equal ids on every replica.
#[must_use]
pub fn derived(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&NAMESPACE, parts.join("\u{1f}").as_bytes())
}

impl TaskId {
    /// A new id, ordered by creation time (UUIDv7).
    #[must_use]
    pub fn fresh() -> Self {
        Self::Uuid(Uuid::now_v7())
    }
}

/// Text that is no task id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a task id: use a UUID or an unsigned number")]
pub struct InvalidTaskId(pub String);

impl FromStr for TaskId {
    type Err = InvalidTaskId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Number).map_err(|_| InvalidTaskId(text.to_owned()));
        }
        Uuid::parse_str(text).map(Self::Uuid).map_err(|_| InvalidTaskId(text.to_owned()))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Uuid(uuid) => write!(formatter, "{uuid}"),
        }
    }
}

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["7", "18446744073709551615", "550e8400-e29b-41d4-a716-446655440000"] {
            assert_eq!(text.parse::<TaskId>().expect("an id").to_string(), text);
        }
        for text in ["", "abc", "-1", "../7", "18446744073709551616"] {
            assert_eq!(text.parse::<TaskId>(), Err(InvalidTaskId(text.to_owned())));
        }
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        assert_eq!(derived(&["a", "b"]), derived(&["a", "b"]));
        assert_ne!(derived(&["a", "b"]), derived(&["ab"]));
    }
}
