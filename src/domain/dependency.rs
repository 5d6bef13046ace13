//! Tasks that wait for others: what happens when one of those fails, and circles among them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::id::TaskId;

/// Most ids of a circle that its error names.
const SHOWN: usize = 12;

/// What a task does when one that it depends on ends otherwise than completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDependencyFailure {
    /// It is blocked, and so are those that depend on it.
    #[default]
    Block,
    /// It runs once all of them have ended, however.
    Continue,
}

/// Tasks that wait for each other, so that none would ever run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tasks wait for each other in a circle: {}", shown(.0))]
pub struct Circle(pub Vec<TaskId>);

fn shown(ids: &[TaskId]) -> String {
    let text = |ids: &[TaskId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ");
    if ids.len() <= SHOWN {
        return text(ids);
    }
    let (head, tail) = (&ids[..SHOWN - 1], &ids[ids.len() - 1..]);
    format!("{} -> … ({} tasks) -> {}", text(head), ids.len() - 1, text(tail))
}

/// Finds a circle among `waits_for` (task to those it waits for), named from a task back to itself. What is not a key
/// waits for nothing. Takes time in proportion to the number of edges.
///
/// # Errors
/// The [`Circle`].
pub fn check_circles<S: std::hash::BuildHasher>(waits_for: &HashMap<TaskId, Vec<TaskId>, S>) -> Result<(), Circle> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        OnTrail,
        Done,
    }
    let mut marks: HashMap<TaskId, Mark> = HashMap::with_capacity(waits_for.len());
    let mut roots: Vec<TaskId> = waits_for.keys().copied().collect();
    // The same circle is told on every try.
    roots.sort_unstable();
    for root in roots {
        if marks.contains_key(&root) {
            continue;
        }
        // The trail, and how many edges of each task on it have been followed. Not recursive: chains are long.
        let mut trail: Vec<(TaskId, usize)> = vec![(root, 0)];
        marks.insert(root, Mark::OnTrail);
        while let Some((here, followed)) = trail.last_mut() {
            let here = *here;
            let next = waits_for.get(&here).and_then(|edges| edges.get(*followed)).copied();
            *followed += 1;
            let Some(next) = next else {
                marks.insert(here, Mark::Done);
                trail.pop();
                continue;
            };
            match marks.get(&next) {
                Some(Mark::OnTrail) => {
                    let start = trail.iter().position(|(id, _)| *id == next).unwrap_or_default();
                    return Err(Circle(trail[start..].iter().map(|(id, _)| *id).chain([next]).collect()));
                }
                None if waits_for.contains_key(&next) => {
                    marks.insert(next, Mark::OnTrail);
                    trail.push((next, 0));
                }
                Some(Mark::Done) | None => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u64, &[u64])]) -> HashMap<TaskId, Vec<TaskId>> {
        let ids = |ids: &[u64]| ids.iter().copied().map(TaskId::Number).collect();
        edges.iter().map(|(id, needs)| (TaskId::Number(*id), ids(needs))).collect()
    }

    #[test]
    fn a_circle_is_named_from_a_task_back_to_itself() {
        assert_eq!(check_circles(&graph(&[(1, &[2, 3]), (2, &[3, 9]), (3, &[9])])), Ok(()));
        let error = check_circles(&graph(&[(1, &[2]), (2, &[5, 3]), (3, &[2]), (4, &[1])])).expect_err("a circle");
        assert_eq!(error.to_string(), "tasks wait for each other in a circle: 2 -> 3 -> 2");
        let error = check_circles(&graph(&[(7, &[7])])).expect_err("a circle");
        assert_eq!(error.0, [7, 7].map(TaskId::Number));
    }

    #[test]
    fn long_chains_are_followed_and_long_circles_shortened() {
        let mut chain: HashMap<_, _> =
            (1..100_000).map(|id| (TaskId::Number(id), vec![TaskId::Number(id + 1)])).collect();
        assert_eq!(check_circles(&chain), Ok(()));
        chain.insert(TaskId::Number(100_000), vec![TaskId::Number(1)]);
        let text = check_circles(&chain).expect_err("a circle").to_string();
        assert!(text.len() < 300 && text.contains("(100000 tasks) -> 1"), "{text}");
    }
}
