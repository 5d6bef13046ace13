//! The bounds of a task: named once, and checked by every door through which a task comes.
//!
//! A request to the API or the command line, a schedule's template, the tool `create_task` and a point of another client
//! are held to the same bounds, and the store refuses to write what lies outside of them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::{MAX_GOAL_CHARS, MAX_PRIORITY, Task};
use crate::domain::json::{Size, is_deeper};
use crate::domain::plan::MAX_NESTING;

/// Characters of a goal.
pub const GOAL_CHARS: RangeInclusive<usize> = 1..=MAX_GOAL_CHARS;
/// Characters of a goal that a person sends, through the API, the command line or a schedule: shorter than one that a
/// program may write.
pub const REQUEST_GOAL_CHARS: RangeInclusive<usize> = 10..=5_000;
/// Characters of a name: of an agent, a user, a concurrency key, a capability, a tag.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=200;
/// Characters of a unique key.
pub const UNIQUE_KEY_CHARS: RangeInclusive<usize> = 1..=512;
/// Attempts that a task may have.
pub const ATTEMPTS: RangeInclusive<u32> = 1..=1_000;
/// Time limit of one attempt, in seconds: up to 30 days.
pub const TIMEOUT_S: RangeInclusive<u64> = 1..=2_592_000;
/// Priorities, from "can wait" to "urgent".
pub const PRIORITY: RangeInclusive<u8> = 0..=MAX_PRIORITY;
/// Tags that a task may have, and capabilities that it may ask for.
pub const WORDS: RangeInclusive<usize> = 0..=100;
/// Tasks that a task may wait for.
pub const DEPENDENCIES: RangeInclusive<usize> = 0..=10_000;
/// Bytes of a context as JSON.
pub const MAX_CONTEXT_BYTES: usize = 1024 * 1024;
/// Bytes of memory that a context takes: many small values take far more of it than of text, and as much work of the store.
pub const MAX_CONTEXT_MEMORY: usize = 8 * 1024 * 1024;

/// Every bound that `task` exceeds, each with the field, its value and the bound. `goal` is [`GOAL_CHARS`] or
/// [`REQUEST_GOAL_CHARS`]. A task that has ended is a record and has no bounds.
#[must_use]
pub fn faults(task: &Task, goal: &RangeInclusive<usize>) -> Vec<String> {
    if task.status.is_terminal() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    faults.extend(goal_fault(&task.goal, goal));
    faults.extend(priority_fault(task.priority));
    faults.extend(number_fault("max_attempts", &task.max_attempts, &ATTEMPTS, ""));
    faults.extend(number_fault("timeout_s", &task.timeout_s, &TIMEOUT_S, " (30 days)"));
    for (field, count, allowed) in [
        ("tags", task.tags.len(), WORDS),
        ("capabilities", task.capabilities.len(), WORDS),
        ("depends_on", task.depends_on.len(), DEPENDENCIES),
    ] {
        if !allowed.contains(&count) {
            faults.push(format!("{field} has {count} entries; the most is {}", allowed.end()));
        }
    }
    faults.extend(name_faults(task));
    faults.extend(task.plan.as_ref().and_then(|plan| plan.check_size().err()).map(|error| error.to_string()));
    if task.context.values().any(|value| is_deeper(value, MAX_NESTING)) {
        faults.push(format!("context is nested deeper than {MAX_NESTING} levels"));
    } else {
        faults.extend(context_fault(&task.context));
    }
    faults
}

/// What is wrong with the size of a context.
fn context_fault(context: &Map<String, Value>) -> Option<String> {
    let size = context.iter().fold(Size::default(), |sum, (key, value)| sum + Size::of_key(key) + Size::of(value));
    if size.text > MAX_CONTEXT_BYTES {
        return Some(format!("context has {} bytes: use at most {MAX_CONTEXT_BYTES}", size.text));
    }
    (size.memory > MAX_CONTEXT_MEMORY).then(|| {
        format!("the values in context take {} bytes of memory: use at most {MAX_CONTEXT_MEMORY}", size.memory)
    })
}

/// What is wrong with a goal of this length; a blank one has none.
fn goal_fault(goal: &str, allowed: &RangeInclusive<usize>) -> Option<String> {
    let is_blank = goal.trim().is_empty();
    // Bytes bound characters from above and below, so that only very short and very long texts are counted.
    if !is_blank && goal.len() >= allowed.start() * 4 && goal.len() <= *allowed.end() {
        return None;
    }
    let length = if is_blank { 0 } else { goal.chars().count() };
    (!allowed.contains(&length))
        .then(|| format!("the goal has {length} characters: use {} to {}", allowed.start(), allowed.end()))
}

/// What is wrong with this priority.
#[must_use]
pub fn priority_fault(priority: u8) -> Option<String> {
    number_fault("priority", &priority, &PRIORITY, "")
}

fn number_fault<T>(field: &str, value: &T, allowed: &RangeInclusive<T>, note: &str) -> Option<String>
where
    T: PartialOrd + std::fmt::Display,
{
    (!allowed.contains(value))
        .then(|| format!("{field} {value} is out of range: use {} to {}{note}", allowed.start(), allowed.end()))
}

fn name_faults(task: &Task) -> impl Iterator<Item = String> {
    let named = [
        ("agent", &task.agent, NAME_CHARS),
        ("unique_key", &task.unique_key, UNIQUE_KEY_CHARS),
        ("concurrency_key", &task.concurrency_key, NAME_CHARS),
        ("user", &task.user, NAME_CHARS),
    ];
    let named = named.into_iter().filter_map(|(field, text, allowed)| Some((field, text.as_deref()?, allowed)));
    let words = task.capabilities.iter().map(|word| ("capabilities", word.as_str(), NAME_CHARS));
    let tags = task.tags.iter().map(|tag| ("tags", tag.as_str(), NAME_CHARS));
    named.chain(words).chain(tags).filter_map(|(field, text, allowed)| {
        let length = text.chars().count();
        (text.trim().is_empty() || !allowed.contains(&length))
            .then(|| format!("{field}: a text of {length} characters; use {} to {}", allowed.start(), allowed.end()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::task::TaskStatus;
    use crate::domain::time::Timestamp;

    fn task() -> Task {
        Task::new(TaskId::Number(1), "a goal that is long enough", Timestamp::from_millis(0))
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn each_bound_is_named_with_field_value_and_bound() {
        let text = |length: usize| Some("x".repeat(length));
        let plan =
            |levels| serde_json::from_value(json!([{"id": "a", "tool": "t", "arguments": {"x": nested(levels)}}]));
        let of = |value: Value| Map::from_iter([("x".to_owned(), value)]);
        let context = |levels| of(nested(levels));
        let cases = vec![
            (
                Task { goal: " ".into(), ..task() },
                Task { goal: "x".repeat(10), ..task() },
                "0 characters: use 10 to 5000",
            ),
            (Task { goal: "x".repeat(5_001), ..task() }, Task { goal: "ä".repeat(5_000), ..task() }, "5001 characters"),
            (
                Task { priority: 11, ..task() },
                Task { priority: 10, ..task() },
                "priority 11 is out of range: use 0 to 10",
            ),
            (Task { max_attempts: 0, ..task() }, Task { max_attempts: 1, ..task() }, "max_attempts 0 is out of range"),
            (Task { max_attempts: 1_001, ..task() }, Task { max_attempts: 1_000, ..task() }, "use 1 to 1000"),
            (Task { timeout_s: 0, ..task() }, Task { timeout_s: 1, ..task() }, "timeout_s 0 is out of range"),
            (
                Task { timeout_s: 2_592_001, ..task() },
                Task { timeout_s: 2_592_000, ..task() },
                "timeout_s 2592001 is out of range: use 1 to 2592000 (30 days)",
            ),
            (
                Task { agent: text(201), ..task() },
                Task { agent: text(200), ..task() },
                "agent: a text of 201 characters",
            ),
            (Task { user: text(0), ..task() }, Task { user: text(1), ..task() }, "user: a text of 0 characters"),
            (Task { unique_key: text(513), ..task() }, Task { unique_key: text(512), ..task() }, "use 1 to 512"),
            (Task { concurrency_key: text(201), ..task() }, task(), "concurrency_key"),
            (
                Task { tags: vec!["x".into(); 101], ..task() },
                Task { tags: vec!["x".into(); 100], ..task() },
                "tags has 101 entries; the most is 100",
            ),
            (Task { capabilities: vec!["x".into(); 101], ..task() }, task(), "capabilities has 101 entries"),
            (
                Task { depends_on: vec![TaskId::Number(2); 10_001], ..task() },
                Task { depends_on: vec![TaskId::Number(2); 10_000], ..task() },
                "depends_on has 10001 entries",
            ),
            (Task { tags: vec![" ".into()], ..task() }, Task { tags: vec!["x".into()], ..task() }, "tags"),
            (Task { capabilities: vec!["x".repeat(201)], ..task() }, task(), "capabilities"),
            (
                Task { context: context(17), ..task() },
                Task { context: context(16), ..task() },
                "context is nested deeper",
            ),
            (
                Task { context: of("x".repeat(MAX_CONTEXT_BYTES).into()), ..task() },
                Task { context: of("x".repeat(MAX_CONTEXT_BYTES - 10).into()), ..task() },
                "context has 1048582 bytes: use at most 1048576",
            ),
            (
                Task { context: of(vec![1; 300_000].into()), ..task() },
                Task { context: of(vec![1; 100_000].into()), ..task() },
                "bytes of memory: use at most 8388608",
            ),
            (
                Task { plan: plan(13).ok(), ..task() },
                Task { plan: plan(12).ok(), ..task() },
                "plan is nested deeper than 16 levels",
            ),
        ];
        for (outside, within, told) in cases {
            let found = faults(&outside, &REQUEST_GOAL_CHARS);
            assert!(found.len() == 1 && found[0].contains(told), "{found:?} does not say {told:?}");
            assert_eq!(faults(&within, &REQUEST_GOAL_CHARS), Vec::<String>::new(), "{told}");
        }
    }

    #[test]
    fn programs_may_write_longer_and_shorter_goals_than_people() {
        for (length, faulty) in [(0, true), (1, false), (50_000, false), (50_001, true)] {
            let found = faults(&Task { goal: "ö".repeat(length), ..task() }, &GOAL_CHARS);
            assert_eq!(!found.is_empty(), faulty, "{length}: {found:?}");
        }
    }

    #[test]
    fn what_has_ended_is_a_record() {
        let record = Task { status: TaskStatus::Skipped, goal: String::new(), timeout_s: 0, ..task() };
        assert_eq!(faults(&record, &GOAL_CHARS), Vec::<String>::new());
    }
}
