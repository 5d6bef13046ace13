//! What a scan of the queue found. What a claim leaves of it is there for the next ones, which then need no scan of their
//! own: only for a moment, and only while it says what a new scan would. That a task is still due, the claim decides.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::id::TaskId;
use crate::store::{DueExclusions, DueTask};

/// How long a scan is used. What is more urgent and inserted meanwhile waits for its turn this long at most.
const MAX_AGE: Duration = Duration::from_millis(100);

/// Due tasks to choose from.
#[derive(Debug)]
pub(super) struct Scan {
    /// In the order of the queue.
    pub(super) due: Vec<DueTask>,
    /// What was left out.
    pub(super) closed: DueExclusions,
    /// Most tasks it could find; 0 for the rest of an earlier one.
    pub(super) limit: u32,
    /// Whether these are all that are due.
    pub(super) all_seen: bool,
    /// When it began.
    pub(super) made_at: Instant,
}

impl Scan {
    /// Leaves out what claims are `after`.
    pub(super) fn without(mut self, after: &HashSet<TaskId>) -> Self {
        self.due.retain(|task| !after.contains(&task.id));
        self
    }

    /// The scan for the next claim: if it is young, left out what is `closed` now, and has enough for `wanted` tasks.
    pub(super) fn go_on(self, wanted: usize, closed: &DueExclusions) -> Option<Self> {
        let is_of_use = self.made_at.elapsed() < MAX_AGE && self.closed == *closed && self.due.len() >= wanted;
        // More may be due by now.
        is_of_use.then_some(Self { all_seen: false, limit: 0, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> Scan {
        let task = |id| DueTask {
            id: TaskId::Number(id),
            rank: 0,
            agent: None,
            capabilities: Vec::new(),
            key: None,
            is_suspect: false,
            needs_model: false,
        };
        let due = (1..=5).map(task).collect();
        let scan = Scan { due, closed: DueExclusions::default(), limit: 64, all_seen: true, made_at: Instant::now() };
        scan.without(&[1, 2].map(TaskId::Number).into())
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_claim_is_after_is_left_in_order() {
        let rest = scan().go_on(3, &DueExclusions::default());
        let ids = |scan: Scan| scan.due.iter().map(|task| task.id).collect::<Vec<_>>();
        assert!(rest.as_ref().is_some_and(|rest| !rest.all_seen), "others may be due by now");
        assert_eq!(rest.map(ids), Some([3, 4, 5].map(TaskId::Number).to_vec()));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_of_no_use_when_old_too_small_or_without_what_is_open_now() {
        assert!(scan().go_on(4, &DueExclusions::default()).is_none());
        assert!(scan().go_on(1, &DueExclusions { keyless: true, ..DueExclusions::default() }).is_none());
        let old = scan();
        tokio::time::advance(MAX_AGE).await;
        assert!(old.go_on(1, &DueExclusions::default()).is_none());
    }
}
