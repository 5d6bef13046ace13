//! Dependencies between tasks: what happens when one of them fails, and cycles among them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::id::TaskId;

/// Most ids of a cycle that its error names.
const SHOWN: usize = 12;

/// What happens to a task when a task that it depends on ends in another status than completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDependencyFailure {
    /// The task is blocked, and so are the tasks that depend on it.
    #[default]
    Block,
    /// The task runs once all its dependencies have ended, in whatever status.
    Continue,
}

/// The error for a `field` that names task `id`, which does not exist or belongs to another user. The text is the
/// same in both cases, so that it reveals nothing about the tasks of other users.
#[must_use]
pub fn unknown(field: &str, id: TaskId, user: Option<&str>) -> String {
    let for_user = user.map_or_else(String::new, |user| format!(" for user {user:?}"));
    format!("{field} names task {id}, which does not exist{for_user}")
}

/// A cycle of dependencies. Its tasks would never run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tasks wait for each other in a cycle: {}", shown(.0))]
pub struct DependencyCycle(pub Vec<TaskId>);

fn shown(ids: &[TaskId]) -> String {
    let text = |ids: &[TaskId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ");
    if ids.len() <= SHOWN {
        return text(ids);
    }
    let (head, tail) = (&ids[..SHOWN - 1], &ids[ids.len() - 1..]);
    format!("{} -> … ({} tasks) -> {}", text(head), ids.len() - 1, text(tail))
}

/// Waiting tasks and their dependencies. Only dependencies between tasks of the same user count: for a task, the tasks of
/// another user do not exist.
#[derive(Debug, Default)]
pub struct WaitGraph {
    /// A number for each user, so that each task need not hold a copy of the name.
    users: HashMap<Option<String>, usize>,
    tasks: HashMap<TaskId, WaitingTask>,
    dependencies: usize,
}

#[derive(Debug)]
struct WaitingTask {
    user: usize,
    depends_on: Vec<TaskId>,
}

impl WaitGraph {
    /// Adds task `id` of `user`, or replaces it.
    pub fn add(&mut self, id: TaskId, user: Option<&str>, depends_on: Vec<TaskId>) {
        let next = self.users.len();
        let user = *self.users.entry(user.map(str::to_owned)).or_insert(next);
        self.dependencies += depends_on.len();
        if let Some(replaced) = self.tasks.insert(id, WaitingTask { user, depends_on }) {
            self.dependencies -= replaced.depends_on.len();
        }
    }

    /// The number of dependencies, also of those that do not count.
    #[must_use]
    pub fn dependencies(&self) -> usize {
        self.dependencies
    }

    /// Whether `user` has a task in the graph.
    #[must_use]
    pub fn has_user(&self, user: Option<&str>) -> bool {
        self.users.contains_key(&user.map(str::to_owned))
    }

    /// The dependencies that count: each task of the graph with those tasks of the graph and of its user that it waits for.
    #[must_use]
    pub fn edges(&self) -> HashMap<TaskId, Vec<TaskId>> {
        let counts = |user: usize, id: &TaskId| self.tasks.get(id).is_some_and(|task| task.user == user);
        let of = |task: &WaitingTask| task.depends_on.iter().copied().filter(|id| counts(task.user, id)).collect();
        self.tasks.iter().map(|(id, task)| (*id, of(task))).collect()
    }
}

/// Finds a cycle in `waits_for`, which maps each task to its dependencies, and names it from a task back to itself. A
/// task that is no key has no dependencies. The time is proportional to the number of edges.
///
/// # Errors
/// The [`DependencyCycle`].
pub fn check_cycles<S: std::hash::BuildHasher>(
    waits_for: &HashMap<TaskId, Vec<TaskId>, S>,
) -> Result<(), DependencyCycle> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        OnTrail,
        Done,
    }
    let mut marks: HashMap<TaskId, Mark> = HashMap::with_capacity(waits_for.len());
    let mut roots: Vec<TaskId> = waits_for.keys().copied().collect();
    // A fixed order makes the error the same on every try.
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
                    return Err(DependencyCycle(trail[start..].iter().map(|(id, _)| *id).chain([next]).collect()));
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

/// All tasks of `waits_for` that are part of a cycle, in groups of tasks that wait for each other, each with one
/// cycle of the group. A task that is no key has no dependencies. The time is proportional to the number of edges.
#[must_use]
pub fn find_cycles<S: std::hash::BuildHasher>(
    waits_for: &HashMap<TaskId, Vec<TaskId>, S>,
) -> Vec<(DependencyCycle, Vec<TaskId>)> {
    let edges_within = |group: &[TaskId]| -> HashMap<TaskId, Vec<TaskId>> {
        let members: HashSet<TaskId> = group.iter().copied().collect();
        let within = |id: &TaskId| waits_for[id].iter().copied().filter(|to| members.contains(to)).collect();
        group.iter().map(|id| (*id, within(id))).collect()
    };
    let mut found = Vec::new();
    for mut group in groups(waits_for) {
        group.sort_unstable();
        if let Err(cycle) = check_cycles(&edges_within(&group)) {
            found.push((cycle, group));
        }
    }
    found
}

/// The strongly connected parts of a graph, by Tarjan's algorithm; not recursive, since chains are long.
fn groups<S: std::hash::BuildHasher>(waits_for: &HashMap<TaskId, Vec<TaskId>, S>) -> Vec<Vec<TaskId>> {
    /// When a task was met, and the earliest one on the stack that it leads back to.
    struct Met {
        at: usize,
        earliest: usize,
        on_stack: bool,
    }
    let mut met: HashMap<TaskId, Met> = HashMap::with_capacity(waits_for.len());
    let (mut stack, mut groups) = (Vec::new(), Vec::new());
    let mut roots: Vec<TaskId> = waits_for.keys().copied().collect();
    roots.sort_unstable();
    for root in roots {
        if met.contains_key(&root) {
            continue;
        }
        // The trail, and how many edges of each task on it have been followed.
        let mut trail: Vec<(TaskId, usize)> = Vec::new();
        let mut enter = vec![root];
        loop {
            if let Some(id) = enter.pop() {
                let at = met.len();
                met.insert(id, Met { at, earliest: at, on_stack: true });
                stack.push(id);
                trail.push((id, 0));
            }
            let Some((here, followed)) = trail.last_mut() else { break };
            let here = *here;
            let next = waits_for.get(&here).and_then(|edges| edges.get(*followed)).copied();
            *followed += 1;
            if let Some(next) = next {
                match met.get(&next) {
                    Some(seen) if seen.on_stack => {
                        let at = seen.at;
                        if let Some(here) = met.get_mut(&here) {
                            here.earliest = here.earliest.min(at);
                        }
                    }
                    None if waits_for.contains_key(&next) => enter.push(next),
                    Some(_) | None => {}
                }
                continue;
            }
            trail.pop();
            let Some(Met { at, earliest, .. }) = met.get(&here) else { continue };
            let (at, earliest) = (*at, *earliest);
            if let Some(above) = trail.last().and_then(|(above, _)| met.get_mut(above)) {
                above.earliest = above.earliest.min(earliest);
            }
            if at == earliest {
                let start = stack.iter().rposition(|id| *id == here).unwrap_or_default();
                let group = stack.split_off(start);
                for id in &group {
                    if let Some(member) = met.get_mut(id) {
                        member.on_stack = false;
                    }
                }
                groups.push(group);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(u64, &[u64])]) -> HashMap<TaskId, Vec<TaskId>> {
        let ids = |ids: &[u64]| ids.iter().copied().map(TaskId::Number).collect();
        edges.iter().map(|(id, needs)| (TaskId::Number(*id), ids(needs))).collect()
    }

    #[test]
    fn a_cycle_is_named_from_a_task_back_to_itself() {
        assert_eq!(check_cycles(&graph(&[(1, &[2, 3]), (2, &[3, 9]), (3, &[9])])), Ok(()));
        let error = check_cycles(&graph(&[(1, &[2]), (2, &[5, 3]), (3, &[2]), (4, &[1])])).expect_err("a cycle");
        assert_eq!(error.to_string(), "tasks wait for each other in a cycle: 2 -> 3 -> 2");
        let error = check_cycles(&graph(&[(7, &[7])])).expect_err("a cycle");
        assert_eq!(error.0, [7, 7].map(TaskId::Number));
    }

    #[test]
    fn long_chains_are_followed_and_long_cycles_shortened() {
        let mut chain: HashMap<_, _> =
            (1..100_000).map(|id| (TaskId::Number(id), vec![TaskId::Number(id + 1)])).collect();
        assert_eq!(check_cycles(&chain), Ok(()));
        chain.insert(TaskId::Number(100_000), vec![TaskId::Number(1)]);
        let text = check_cycles(&chain).expect_err("a cycle").to_string();
        assert!(text.len() < 300 && text.contains("(100000 tasks) -> 1"), "{text}");
    }

    fn found(edges: &[(u64, &[u64])]) -> Vec<(String, Vec<TaskId>)> {
        let mut found: Vec<_> =
            find_cycles(&graph(edges)).into_iter().map(|(cycle, members)| (shown(&cycle.0), members)).collect();
        found.sort();
        found
    }

    #[test]
    fn every_task_of_every_cycle_is_found_and_no_other() {
        let ids = |ids: &[u64]| ids.iter().copied().map(TaskId::Number).collect::<Vec<_>>();
        assert_eq!(found(&[(1, &[2, 3]), (2, &[3, 9]), (3, &[9])]), []);
        assert_eq!(found(&[(7, &[7])]), [("7 -> 7".to_owned(), ids(&[7]))]);
        let two = found(&[(1, &[2]), (2, &[1]), (3, &[1, 4]), (4, &[5]), (5, &[6, 4]), (6, &[4]), (8, &[3]), (9, &[])]);
        let expected = [("1 -> 2 -> 1".to_owned(), ids(&[1, 2])), ("4 -> 5 -> 6 -> 4".to_owned(), ids(&[4, 5, 6]))];
        assert_eq!(two, expected);
    }

    #[test]
    fn cycles_of_large_graphs_are_found() {
        let mut long: HashMap<_, _> =
            (0..200_000).map(|id| (TaskId::Number(id), vec![TaskId::Number((id + 1) % 200_000)])).collect();
        assert_eq!(find_cycles(&long).iter().map(|(_, members)| members.len()).collect::<Vec<_>>(), [200_000]);
        long.remove(&TaskId::Number(0));
        assert!(find_cycles(&long).is_empty());
        // All of one side wait for all of the other.
        let wide: HashMap<_, _> =
            (0..1_000).map(|id| (TaskId::Number(id), (1_000..2_000).map(TaskId::Number).collect())).collect();
        assert!(find_cycles(&wide).is_empty());
    }

    #[test]
    fn dependencies_on_tasks_of_other_users_do_not_count() {
        let ids = |ids: &[u64]| ids.iter().copied().map(TaskId::Number).collect::<Vec<_>>();
        let mut graph = WaitGraph::default();
        for (id, user, needs) in [
            (1, Some("alice"), &[2][..]),
            (2, Some("bob"), &[1, 3]),
            (3, Some("bob"), &[2, 9]),
            (4, None, &[5, 1]),
            (5, None, &[4]),
        ] {
            graph.add(TaskId::Number(id), user, ids(needs));
        }
        let edges = graph.edges();
        assert_eq!(edges, self::graph(&[(1, &[]), (2, &[3]), (3, &[2]), (4, &[5]), (5, &[4])]));
        assert_eq!(graph.dependencies(), 8);
        graph.add(TaskId::Number(2), Some("alice"), ids(&[1]));
        assert_eq!(graph.edges()[&TaskId::Number(1)], ids(&[2]));
        assert_eq!(graph.dependencies(), 7);
        let has = [Some("alice"), Some("bob"), None, Some("")].map(|user| graph.has_user(user));
        assert_eq!(has, [true, true, true, false]);
    }

    proptest::proptest! {
        #[test]
        fn a_task_is_in_a_cycle_when_it_leads_back_to_itself(edges in proptest::collection::vec((0_u64..12, 0_u64..12), 0..30)) {
            let mut waits_for: HashMap<TaskId, Vec<TaskId>> = HashMap::new();
            for (from, to) in edges {
                waits_for.entry(TaskId::Number(from)).or_default().push(TaskId::Number(to));
            }
            let leads_back = |start: TaskId| {
                let mut seen = HashSet::new();
                let mut ahead = waits_for[&start].clone();
                while let Some(id) = ahead.pop() {
                    if seen.insert(id) {
                        ahead.extend(waits_for.get(&id).into_iter().flatten());
                    }
                }
                seen.contains(&start)
            };
            let expected: std::collections::BTreeSet<TaskId> =
                waits_for.keys().copied().filter(|id| leads_back(*id)).collect();
            let all: std::collections::BTreeSet<TaskId> =
                find_cycles(&waits_for).into_iter().flat_map(|(_, members)| members).collect();
            proptest::prop_assert_eq!(all, expected);
        }
    }
}
