//! What came of firings.

use std::collections::HashMap;

use futures_util::future::try_join_all;

use super::runner::PARALLEL;
use super::service::{ScheduleError, ScheduleService};
use crate::domain::id::TaskId;
use crate::domain::schedule::Schedule;
use crate::domain::task::{Task, TaskStatus};
use crate::store::{StoreError, TaskFilter};

impl ScheduleService {
    /// The task of the latest firing that has run and ended, of each of `schedules` that has one, by id of the schedule.
    /// Mostly it is the latest of all, so that one request tells it of all of them.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub async fn last_ended(&self, schedules: &[Schedule]) -> Result<HashMap<String, Task>, ScheduleError> {
        let latest: Vec<TaskId> = schedules.iter().filter_map(|schedule| schedule.progress.last_task).collect();
        let latest = self.queue.store().tasks_by_id(&latest).await?;
        let ended = latest.into_iter().filter(|task| task.state.status.is_terminal());
        let mut ended: HashMap<String, Task> =
            ended.filter_map(|task| Some((task.spec.schedule_id.clone()?, task))).collect();
        let fired = schedules.iter().filter(|schedule| schedule.progress.last_task.is_some());
        let open: Vec<&str> = fired.map(|schedule| &*schedule.id).filter(|id| !ended.contains_key(*id)).collect();
        for ids in open.chunks(PARALLEL) {
            let found = try_join_all(ids.iter().map(|id| self.newest_ended(id))).await?;
            let found = ids.iter().zip(found).filter_map(|(id, task)| Some(((*id).to_owned(), task?)));
            ended.extend(found);
        }
        Ok(ended)
    }

    async fn newest_ended(&self, schedule: &str) -> Result<Option<Task>, StoreError> {
        let ran = TaskStatus::ALL.into_iter().filter(|status| status.is_terminal() && *status != TaskStatus::Skipped);
        let filter =
            TaskFilter { statuses: ran.collect(), schedule_id: Some(schedule.to_owned()), ..TaskFilter::default() };
        Ok(self.queue.store().newest(&filter, 1, None).await?.items.pop())
    }
}
