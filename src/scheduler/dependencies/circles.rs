//! Finds waiting tasks that wait for each other, and blocks them.
//!
//! A circle is refused where it is inserted. But its tasks may have been inserted at the same moment by several replicas,
//! or been written as waiting by another client; then all of them wait for ever. The look at all waiting tasks finds these.

use std::collections::{HashMap, HashSet};

use super::{Dependencies, PAGE};
use crate::domain::dependency::find_cycles;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::StoreError;

/// Most edges among which circles are looked for, about 50 MB of memory. A look after others have ended meets those
/// beyond.
const MAX_EDGES: usize = 1_000_000;

/// What waiting tasks wait for, collected page by page.
#[derive(Default)]
pub(super) struct Edges {
    waits_for: HashMap<TaskId, Vec<TaskId>>,
    count: usize,
}

impl Edges {
    /// Takes in waiting tasks, as far as there is room.
    pub(super) fn note(&mut self, tasks: &[Task]) {
        for task in tasks {
            if self.count + task.spec.depends_on.len() > MAX_EDGES {
                return;
            }
            self.count += task.spec.depends_on.len();
            self.waits_for.insert(task.id, task.spec.depends_on.clone());
        }
    }
}

impl Dependencies {
    /// Blocks the tasks that wait for each other, as the edges of the look at all tell.
    pub(super) async fn break_circles(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let edges = std::mem::take(&mut self.edges);
        for (_, members) in find_cycles(&edges.waits_for) {
            // What was met page by page may have changed since.
            let mut tasks = Vec::with_capacity(members.len());
            for page in members.chunks(PAGE as usize) {
                tasks.extend(self.queue.store().tasks_by_id(page).await?);
            }
            tasks.retain(|task| task.state.status == TaskStatus::Waiting);
            let waits_for: HashMap<_, _> = tasks.iter().map(|task| (task.id, task.spec.depends_on.clone())).collect();
            for (circle, members) in find_cycles(&waits_for) {
                let members: HashSet<TaskId> = members.into_iter().collect();
                let blocked = tasks.iter().filter(|task| members.contains(&task.id)).cloned().collect();
                self.move_on(blocked, &TaskEvent::WaitsInCircle(circle), now).await?;
            }
        }
        Ok(())
    }
}
