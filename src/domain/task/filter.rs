//! Which tasks a listing, a count, a search, a change of many tasks or a command means. [`TaskFilter::parse`] is the only
//! reader of its text, so that the same conditions mean the same wherever they are written.

use serde_json::{Map, Value};

use super::{Task, TaskStatus};
use crate::domain::id::TaskId;
use crate::domain::schedule::zone::Zone;
use crate::domain::time::Timestamp;

/// Conditions that a task meets all of; one that is empty lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Any of these statuses.
    pub statuses: Vec<TaskStatus>,
    /// Exactly this agent.
    pub agent: Option<String>,
    /// Exactly this tag, beside others.
    pub tag: Option<String>,
    /// Exactly this user.
    pub user: Option<String>,
    /// A firing of this schedule.
    pub schedule_id: Option<String>,
    /// Made by this task, or a part of it.
    pub parent: Option<TaskId>,
    /// Exactly this concurrency key.
    pub concurrency_key: Option<String>,
    /// Part of the goal, in any case.
    pub text: Option<String>,
    /// Inserted at that time or earlier.
    pub created_before: Option<Timestamp>,
    /// Of the tree of this task, itself left out. No text says so.
    pub tree_root: Option<TaskId>,
}

/// What is wrong with the text of a filter, a sentence for each fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct InvalidFilter(pub Vec<String>);

impl TaskFilter {
    /// The names of the conditions, as they are written.
    pub const NAMES: [&'static str; 9] =
        ["status", "agent", "tag", "user", "schedule", "parent", "concurrency_key", "text", "created_before"];

    /// Reads conditions by their names. `status` takes a list, or several separated by commas; a time without an offset is on
    /// the wall clock of `zone`; null is no condition.
    ///
    /// # Errors
    /// Everything that is wrong: names that are not known or there twice, and values that no task can have.
    pub fn parse(conditions: impl IntoIterator<Item = (String, Value)>, zone: Zone) -> Result<Self, InvalidFilter> {
        let mut filter = Self::default();
        let mut faults = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in conditions {
            if seen.contains(&name) {
                faults.push(format!("{name} is there twice: write it once"));
            } else if !value.is_null()
                && let Err(fault) = filter.add(&name, &value, zone)
            {
                faults.push(fault);
            }
            seen.push(name);
        }
        if faults.is_empty() { Ok(filter) } else { Err(InvalidFilter(faults)) }
    }

    fn add(&mut self, name: &str, value: &Value, zone: Zone) -> Result<(), String> {
        let text = || match value {
            Value::String(text) => Ok(Some(text.clone())),
            other => Err(format!("{name}: {other} is not a text")),
        };
        match name {
            "status" => self.statuses = statuses(value)?,
            "agent" => self.agent = text()?,
            "tag" => self.tag = text()?,
            "user" => self.user = text()?,
            "schedule" => self.schedule_id = text()?,
            "parent" => {
                let id = serde_json::from_value(value.clone()).map_err(|error| format!("parent: {error}"))?;
                self.parent = Some(id);
            }
            "concurrency_key" => self.concurrency_key = text()?,
            "text" => self.text = text()?,
            "created_before" => {
                let at = zone.read(value).map_err(|error| format!("created_before: {error}"))?;
                self.created_before = Some(at);
            }
            _ => return Err(format!("no condition is called {name:?}; use {}", Self::NAMES.join(", "))),
        }
        Ok(())
    }

    /// The conditions as text, by their names: what [`TaskFilter::parse`] reads as the same filter, but for `tree_root`.
    #[must_use]
    pub fn conditions(&self) -> Vec<(&'static str, String)> {
        let Self {
            statuses,
            agent,
            tag,
            user,
            schedule_id,
            parent,
            concurrency_key,
            text,
            created_before,
            tree_root: _,
        } = self;
        let words: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
        let values = [
            ("status", (!words.is_empty()).then(|| words.join(","))),
            ("agent", agent.clone()),
            ("tag", tag.clone()),
            ("user", user.clone()),
            ("schedule", schedule_id.clone()),
            ("parent", parent.map(|id| id.to_string())),
            ("concurrency_key", concurrency_key.clone()),
            ("text", text.clone()),
            ("created_before", created_before.map(Timestamp::to_rfc3339)),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// [`TaskFilter::conditions`] as a JSON object.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        self.conditions().into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `task` meets the one condition that no index answers, that on the text of the goal.
    #[must_use]
    pub fn has_text(&self, task: &Task) -> bool {
        self.text.as_ref().is_none_or(|text| task.spec.goal.to_lowercase().contains(&text.to_lowercase()))
    }
}

/// Statuses of a list, or of text that separates them by commas.
fn statuses(value: &Value) -> Result<Vec<TaskStatus>, String> {
    let words: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => {
            let words = items.iter().map(|item| item.as_str().ok_or_else(|| format!("status: {item} is not a text")));
            words.collect::<Result<_, _>>()?
        }
        other => return Err(format!("status: {other} is neither a text nor a list of texts")),
    };
    let words = words.into_iter().flat_map(|text| text.split(',')).filter(|word| !word.trim().is_empty());
    words.map(str::parse).collect::<Result<_, _>>().map_err(|error: super::InvalidStatus| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(conditions: &Value) -> Result<TaskFilter, InvalidFilter> {
        TaskFilter::parse(conditions.as_object().expect("an object").clone(), Zone::UTC)
    }

    #[test]
    fn statuses_are_a_list_or_text_with_commas() {
        let expected = vec![TaskStatus::Failed, TaskStatus::Pending];
        for written in [json!("failed, pending"), json!(["failed", "pending"]), json!(["failed,PENDING", ""])] {
            let filter = parse(&json!({ "status": written })).expect("a filter");
            assert_eq!(filter, TaskFilter { statuses: expected.clone(), ..TaskFilter::default() });
        }
        assert!(parse(&json!({"status": "", "agent": null})).expect("a filter").is_empty());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let written =
            json!({"status": "sideways", "agent": 7, "parent": "../x", "created_before": "soon", "colour": "red"});
        let InvalidFilter(faults) = parse(&written).expect_err("five faults");
        assert_eq!(faults.len(), 5, "{faults:?}");
        for told in
            ["\"sideways\" is not a status", "agent: 7 is not a text", "parent: ", "created_before: ", "\"colour\""]
        {
            assert!(faults.iter().any(|fault| fault.contains(told)), "{told}: {faults:?}");
        }
        let twice = [("tag".to_owned(), json!("a")), ("tag".to_owned(), json!("b"))];
        let refused = TaskFilter::parse(twice, Zone::UTC).expect_err("twice").to_string();
        assert_eq!(refused, "tag is there twice: write it once");
    }

    #[test]
    fn the_text_of_a_goal_is_found_in_any_case() {
        let task = Task::new(TaskId::Number(1), "Write the Übersicht", Timestamp::from_millis(0));
        for (text, found) in [(None, true), (Some("the üBER"), true), (Some("the over"), false)] {
            let filter = TaskFilter { text: text.map(str::to_owned), ..TaskFilter::default() };
            assert_eq!(filter.has_text(&task), found, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_filter(
            statuses in proptest::sample::subsequence(TaskStatus::ALL.to_vec(), 0..4),
            texts in proptest::collection::vec(proptest::option::of("\\PC{0,8}"), 6),
            parent in proptest::option::of(any::<u64>()),
            before in proptest::option::of(0_i64..4_000_000_000_000),
        ) {
            let [agent, tag, user, schedule_id, concurrency_key, text] = texts.try_into().expect("six texts");
            let filter = TaskFilter {
                statuses, agent, tag, user, schedule_id, concurrency_key, text,
                parent: parent.map(TaskId::Number),
                created_before: before.map(Timestamp::from_millis),
                tree_root: None,
            };
            prop_assert!(filter.conditions().iter().all(|(name, _)| TaskFilter::NAMES.contains(name)));
            prop_assert_eq!(TaskFilter::parse(filter.to_json(), Zone::UTC), Ok(filter));
        }
    }
}
