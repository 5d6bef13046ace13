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

/// Separates the parts that an id is derived from.
const SEPARATOR: char = '\u{1f}';

/// A UUIDv5 derived from `parts`, the first of which is not empty. Equal parts give equal ids on every replica;
/// different parts give different ids, whatever characters they hold.
#[must_use]
pub fn derived(parts: &[&str]) -> Uuid {
    if parts.iter().all(|part| !part.contains(SEPARATOR)) {
        return Uuid::new_v5(&NAMESPACE, parts.join("\u{1f}").as_bytes());
    }
    // A part from outside may hold the separator, so each part is written with its length. No text of the branch
    // above begins like this.
    let with_lengths = parts.iter().map(|part| format!("{SEPARATOR}{}{SEPARATOR}{part}", part.len()));
    let text = with_lengths.collect::<Vec<String>>().concat();
    Uuid::new_v5(&NAMESPACE, text.as_bytes())
}

/// Joins `name` and `key`, both from outside, into one text that no other pair makes. A name without `:` and `%`
/// stays as it is.
#[must_use]
pub fn joined(name: &str, key: &str) -> String {
    format!("{}:{key}", name.replace('%', "%25").replace(':', "%3A"))
}

impl TaskId {
    /// A new id, ordered by creation time (UUIDv7).
    #[must_use]
    pub fn fresh() -> Self {
        Self::Uuid(Uuid::now_v7())
    }
}

/// The beginning of the ids of tasks: at least [`IdPrefix::MIN`] hexadecimal digits of a UUID, with or without its
/// hyphens. Digits alone are the number of a task, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefix {
    first: Uuid,
    last: Uuid,
    number: Option<u64>,
}

impl IdPrefix {
    /// Fewest digits. Fewer would let a typing error name a task.
    pub const MIN: usize = 4;

    /// The smallest UUID with this prefix.
    #[must_use]
    pub const fn first(&self) -> TaskId {
        TaskId::Uuid(self.first)
    }

    /// Whether `id` is a UUID with this prefix.
    #[must_use]
    pub fn matches(&self, id: TaskId) -> bool {
        matches!(id, TaskId::Uuid(uuid) if (self.first..=self.last).contains(&uuid))
    }

    /// The numeric id with exactly these digits, when the prefix has only digits.
    #[must_use]
    pub fn number(&self) -> Option<TaskId> {
        self.number.map(TaskId::Number)
    }
}

/// Text that is not the beginning of a task id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not the beginning of a task id: use 4 or more of its hexadecimal digits, or the whole id")]
pub struct InvalidIdPrefix(pub String);

impl FromStr for IdPrefix {
    type Err = InvalidIdPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const DIGITS: usize = 32;
        let invalid = || InvalidIdPrefix(text.to_owned());
        let digits: String = text.chars().filter(|letter| *letter != '-').collect();
        let is_hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hexadecimal || !(Self::MIN..=DIGITS).contains(&digits.len()) {
            return Err(invalid());
        }
        let padded = |filler: char| {
            let digits: String = digits.chars().chain(std::iter::repeat(filler)).take(DIGITS).collect();
            Uuid::try_parse(&digits).map_err(|_| invalid())
        };
        Ok(Self { first: padded('0')?, last: padded('f')?, number: text.parse().ok() })
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
    fn a_prefix_matches_the_ids_that_begin_with_it() {
        let id: TaskId = "550e8400-e29b-41d4-a716-446655440000".parse().expect("an id");
        for text in ["550e", "550E84", "550e8400-e29b", "550e8400-", "550e8400-e29b-41d4-a716-446655440000"] {
            assert!(text.parse::<IdPrefix>().expect("a prefix").matches(id), "{text}");
        }
        for text in ["550f", "550e8400-e29c", "4466"] {
            assert!(!text.parse::<IdPrefix>().expect("a prefix").matches(id), "{text}");
        }
        for text in ["", "550", "5-5-0", "not-an-id", "../7f", &"5".repeat(33)] {
            assert_eq!(text.parse::<IdPrefix>(), Err(InvalidIdPrefix(text.to_owned())));
        }
        assert_eq!("1234".parse::<IdPrefix>().expect("a prefix").number(), Some(TaskId::Number(1234)));
        assert_eq!("123a".parse::<IdPrefix>().expect("a prefix").number(), None);
    }

    #[test]
    fn derived_ids_depend_on_every_part() {
        assert_eq!(derived(&["a", "b"]), derived(&["a", "b"]));
        assert_ne!(derived(&["a", "b"]), derived(&["ab"]));
        // Ids that are stored stay the same.
        assert_eq!(derived(&["unique", "daily"]).to_string(), "d7d03f30-8876-5a79-99df-d9040f08ac45");
    }

    /// Texts of what joins them, and little else.
    fn awkward() -> impl proptest::strategy::Strategy<Value = String> {
        proptest::string::string_regex("(\u{1f}|:|%|%3A|%25|a|1|2){0,5}").expect("an expression")
    }

    proptest::proptest! {
        #[test]
        fn other_parts_give_other_ids(
            one in proptest::collection::vec(awkward(), 0..4),
            other in proptest::collection::vec(awkward(), 0..4),
        ) {
            let id = |parts: &[String]| {
                let parts: Vec<&str> = ["kind"].into_iter().chain(parts.iter().map(String::as_str)).collect();
                derived(&parts)
            };
            proptest::prop_assert_eq!(one == other, id(&one) == id(&other));
        }

        #[test]
        fn other_names_and_keys_make_other_texts(one in [awkward(), awkward()], other in [awkward(), awkward()]) {
            let text = |[name, key]: &[String; 2]| joined(name, key);
            proptest::prop_assert_eq!(one == other, text(&one) == text(&other));
        }
    }

    #[test]
    fn users_whose_names_hold_the_separator_have_keys_of_their_own() {
        assert_ne!(joined("org", "alice:daily"), joined("org:alice", "daily"));
        assert_eq!(joined("org", "alice:daily"), "org:alice:daily");
        assert_eq!(joined("org:alice", "daily"), "org%3Aalice:daily");
        assert_ne!(joined("org%3Aalice", "daily"), joined("org:alice", "daily"));
    }
}
