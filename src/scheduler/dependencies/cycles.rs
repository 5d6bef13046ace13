//! Finds waiting tasks that wait for each other in a cycle, and blocks them.
//!
//! A cycle is refused where it is inserted. But several replicas may insert its tasks at the same moment, and another
//! client may write them as waiting; then all of them would wait for ever. The look at all waiting tasks finds them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::{Dependencies, PAGE};
use crate::domain::dependency::{DependencyCycle, WaitGraph, find_cycles};
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Most dependencies among which cycles are searched, about 50 MB of memory. A look after others have ended meets those
/// beyond.
const MAX_DEPENDENCIES: usize = 1_000_000;

/// Cycles with their members.
type Cycles = Vec<(DependencyCycle, Vec<TaskId>)>;

/// Collects waiting tasks page by page, and searches them for cycles unless they are the same as in a search that found
/// none.
#[derive(Default)]
pub(super) struct CycleSearch {
    graph: WaitGraph,
    hasher: RandomState,
    /// The sum of a hash of each collected task: the same for the same tasks, in whatever order they came.
    fingerprint: u64,
    /// The fingerprint of the last tasks that had no cycle.
    without_cycles: Option<u64>,
}

impl CycleSearch {
    /// Forgets the collected tasks.
    pub(super) fn restart(&mut self) {
        self.graph = WaitGraph::default();
        self.fingerprint = 0;
    }

    /// Collects waiting tasks, as far as there is room.
    pub(super) fn collect(&mut self, tasks: &[Task]) {
        for task in tasks {
            if self.graph.dependencies() + task.spec.depends_on.len() > MAX_DEPENDENCIES {
                return;
            }
            let hash = self.hasher.hash_one((task.id, &task.spec.user, &task.spec.depends_on));
            self.fingerprint = self.fingerprint.wrapping_add(hash);
            self.graph.add(task.id, task.spec.user.as_deref(), task.spec.depends_on.clone());
        }
    }

    /// The collected tasks, which are forgotten; `None` when a search of the same tasks found no cycle.
    fn take(&mut self) -> Option<WaitGraph> {
        let graph = std::mem::take(&mut self.graph);
        (self.without_cycles != Some(self.fingerprint)).then_some(graph)
    }

    /// Records whether the tasks that were taken last have a cycle.
    fn record(&mut self, found: &Cycles) {
        self.without_cycles = found.is_empty().then_some(self.fingerprint);
    }
}

/// Searches on a thread for blocking work: a million dependencies take about a second. `None` when the search failed,
/// which the log tells.
async fn search(graph: WaitGraph) -> Option<Cycles> {
    let searched = tokio::task::spawn_blocking(move || find_cycles(&graph.edges())).await;
    searched.inspect_err(|error| tracing::error!(%error, "the search for cycles of waiting tasks failed")).ok()
}

impl Dependencies {
    /// Blocks the tasks that wait for each other, among those that the look at all has collected.
    pub(super) async fn break_cycles(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(graph) = self.cycles.take() else { return Ok(()) };
        let Some(found) = search(graph).await else { return Ok(()) };
        self.cycles.record(&found);
        for (_, members) in found {
            // What was met page by page may have changed since.
            let mut tasks = HashMap::with_capacity(members.len());
            for page in members.chunks(PAGE as usize) {
                let waiting = self.queue.store().tasks_by_id(page).await?;
                let waiting = waiting.into_iter().filter(|task| task.state.status == TaskStatus::Waiting);
                tasks.extend(waiting.map(|task| (task.id, task)));
            }
            let mut graph = WaitGraph::default();
            for task in tasks.values() {
                graph.add(task.id, task.spec.user.as_deref(), task.spec.depends_on.clone());
            }
            for (cycle, members) in search(graph).await.unwrap_or_default() {
                let blocked = members.iter().filter_map(|id| tasks.remove(id)).collect();
                self.move_on(blocked, &TaskEvent::WaitsInCycle(cycle), now).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(id: u64, user: Option<&str>, on: u64) -> Task {
        Task::new(TaskId::Number(id), "wait", Timestamp::default()).with(|task| {
            task.spec.user = user.map(str::to_owned);
            task.spec.depends_on = vec![TaskId::Number(on)];
        })
    }

    #[test]
    fn the_same_tasks_are_searched_once_unless_they_had_a_cycle() {
        let mut search = CycleSearch::default();
        let mut is_due = |tasks: &[Task], found: &Cycles| {
            search.restart();
            tasks.chunks(1).for_each(|page| search.collect(page));
            let is_due = search.take().is_some();
            if is_due {
                search.record(found);
            }
            is_due
        };
        let none = Cycles::new();
        let cycle = vec![(DependencyCycle(vec![TaskId::Number(1)]), vec![TaskId::Number(1)])];
        let [one, two] = [waiting(1, None, 2), waiting(2, None, 3)];
        assert!(is_due(&[one.clone(), two.clone()], &none));
        assert!(!is_due(&[two.clone(), one.clone()], &none), "the order of the pages does not matter");
        for changed in [waiting(2, Some("alice"), 3), waiting(2, None, 4), waiting(5, None, 3)] {
            assert!(is_due(&[one.clone(), changed.clone()], &none), "{changed:?}");
            assert!(!is_due(&[one.clone(), changed], &none));
        }
        assert!(is_due(std::slice::from_ref(&one), &cycle));
        assert!(is_due(std::slice::from_ref(&one), &cycle), "its tasks may not have been blocked");
    }
}
