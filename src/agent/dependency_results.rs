//! Results of the tasks that a task depends on, bounded in size, for its run.

use serde_json::{Map, Value, json};

use crate::domain::task::Task;
use crate::store::{Store, StoreError, persist};

/// Most dependencies whose results are read, the first ones.
const MAX_RESULTS: usize = 256;
/// Largest result given whole, in bytes of JSON.
const MAX_BYTES: usize = 16 * 1024;
/// Most bytes of all of them together.
const MAX_TOTAL: usize = 128 * 1024;
/// Longest goal shown, in characters.
const GOAL_CHARS: usize = 200;

/// Goal, status, and result or error of each dependency, by id. A result that is too large is replaced by its size
/// and the place to read it, never cut: a half could be mistaken for the whole. While the store does not answer, this
/// waits.
///
/// # Errors
/// When the store refuses.
pub(super) async fn results(store: &Store, task: &Task) -> Result<Map<String, Value>, StoreError> {
    if task.spec.depends_on.is_empty() {
        return Ok(Map::new());
    }
    let first = &task.spec.depends_on[..task.spec.depends_on.len().min(MAX_RESULTS)];
    let found = persist("read the results that a task depends on", || store.tasks_by_id(first)).await?;
    let mut total = 0;
    let mut results = Map::new();
    for id in first {
        // A task of another user does not exist for this one.
        let Some(dependency) = found.iter().find(|found| found.id == *id && found.spec.user == task.spec.user) else {
            continue;
        };
        results.insert(id.to_string(), shown(dependency, &mut total));
    }
    Ok(results)
}

fn shown(task: &Task, total: &mut usize) -> Value {
    let mut shown = Map::new();
    shown.insert("goal".to_owned(), task.spec.goal.chars().take(GOAL_CHARS).collect::<String>().into());
    shown.insert("status".to_owned(), json!(task.state.status));
    if let Some(result) = &task.state.result {
        let bytes = result.to_string().len();
        if bytes <= MAX_BYTES && *total + bytes <= MAX_TOTAL {
            *total += bytes;
            shown.insert("result".to_owned(), result.clone());
        } else {
            shown.insert("too_large".to_owned(), json!({"bytes": bytes, "see": format!("/api/v1/tasks/{}", task.id)}));
        }
    }
    if let Some(error) = &task.state.error {
        shown.insert("error".to_owned(), error.message.chars().take(1_000).collect::<String>().into());
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::time::Timestamp;

    #[test]
    fn a_result_is_given_whole_or_not_at_all() {
        let task = |size: usize| {
            Task::new(TaskId::Number(7), "g".repeat(500), Timestamp::from_millis(0))
                .with(|task| task.state.result = Some(json!("x".repeat(size))))
        };
        let mut total = 0;
        let small = shown(&task(10), &mut total);
        assert_eq!((&small["result"], small["goal"].as_str().map(str::len)), (&json!("xxxxxxxxxx"), Some(200)));
        let large = shown(&task(20_000), &mut total);
        assert_eq!((large.get("result"), &large["too_large"]["see"]), (None, &json!("/api/v1/tasks/7")));
        let given = (0..20).filter(|_| shown(&task(16_000), &mut total).get("result").is_some()).count();
        assert_eq!(given, 8, "together they are bounded, too");
    }
}
