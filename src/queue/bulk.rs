//! One change of many tasks: of those with these ids, or of all that pass a filter. A refusal does not stop the others.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt as _, stream};

use super::change::decision;
use super::{ChangeError, Person, Queue};
use crate::clock;
use crate::domain::approval::{Approval, ApprovalOutcome, Ruling};
use crate::domain::event::Event;
use crate::domain::failure::FailureClass;
use crate::domain::id::TaskId;
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::store::{Found, SeenLetter, StoreError, TaskFilter, TransitionError};

/// Tasks read at once.
const PAGE: u32 = 500;
/// Tasks changed at once; their changes share writes.
const PARALLEL: usize = 128;
/// Tasks looked up one by one at once.
const LOOK_UPS: usize = 16;
/// Most refusals that a dry run lists: it goes through all tasks in one request.
const LISTED_REFUSALS: usize = 1_000;

/// What to do to which tasks.
#[derive(Debug)]
pub struct BulkRequest {
    /// What is done to each.
    pub change: BulkChange,
    /// Which tasks.
    pub targets: Targets,
    /// Only tells how many it would be.
    pub dry_run: bool,
    /// Who wants it.
    pub person: Person,
}

/// What is done to each task of a bulk request.
#[derive(Debug)]
pub enum BulkChange {
    /// The same event.
    Event(TaskEvent),
    /// A verdict on all that the task asks for when it is read.
    Decide(ApprovalOutcome),
}

/// The tasks of a bulk request.
#[derive(Debug)]
pub enum Targets {
    /// Those with these ids.
    Ids(Vec<TaskId>),
    /// Those that pass a filter, as far as `limit`, from `after` on (`next` of the report before).
    Filter {
        /// Which tasks; its statuses are narrowed to those that the change is possible in.
        filter: Box<TaskFilter>,
        /// Most tasks read, but for a dry run.
        limit: usize,
        /// Where to go on.
        after: Option<String>,
    },
}

/// What became of a bulk request.
#[derive(Debug, Default)]
pub struct BulkReport {
    /// Tasks that it was about.
    pub matched: u64,
    /// Those that were changed, or would be.
    pub done: u64,
    /// Those that were not, with the reason; of a dry run at most the first 1,000.
    pub refused: Vec<Refusal>,
    /// Where the next request goes on; `None` when all are done.
    pub next: Option<String>,
}

/// Why one task of many was not changed.
#[derive(Debug)]
pub struct Refusal {
    /// The task.
    pub task: TaskId,
    /// The reason.
    pub error: ChangeError,
}

impl BulkReport {
    /// Takes in what became of one task.
    ///
    /// # Errors
    /// An outage of the store: what is left would fail the same way.
    fn take<T>(&mut self, task: TaskId, outcome: Result<T, ChangeError>) -> Result<Option<T>, ChangeError> {
        match outcome {
            Ok(done) => {
                self.done += 1;
                Ok(Some(done))
            }
            Err(error) if error.is_outage() => Err(error),
            Err(error) => {
                self.refused.push(Refusal { task, error });
                Ok(None)
            }
        }
    }
}

impl Queue {
    /// Does one thing to many tasks.
    ///
    /// # Errors
    /// [`ChangeError::Store`]; what was done is done.
    pub async fn change_many(&self, request: BulkRequest) -> Result<BulkReport, ChangeError> {
        let BulkRequest { change, targets, dry_run, person } = request;
        let mut bulk =
            Bulk { queue: self, change, person, dry_run, promised: HashMap::new(), report: BulkReport::default() };
        match targets {
            Targets::Ids(ids) => bulk.change_ids(&ids).await?,
            Targets::Filter { filter, limit, after } => bulk.change_filtered(*filter, limit, after).await?,
        }
        Ok(bulk.report)
    }

    /// Has the tasks of these dead letters done again.
    pub async fn requeue_many(&self, ids: &[TaskId], person: &Person) -> BulkReport {
        let mut report = BulkReport { matched: ids.len() as u64, ..BulkReport::default() };
        for id in ids {
            match self.requeue(*id, person).await {
                Ok(_) => report.done += 1,
                Err(error) => report.refused.push(Refusal { task: *id, error }),
            }
        }
        report
    }
}

/// A bulk request under way.
struct Bulk<'a> {
    queue: &'a Queue,
    change: BulkChange,
    person: Person,
    dry_run: bool,
    /// Unique keys that tasks of a dry run would take, each with its task.
    promised: HashMap<String, TaskId>,
    report: BulkReport,
}

impl Bulk<'_> {
    async fn change_ids(&mut self, ids: &[TaskId]) -> Result<(), ChangeError> {
        let mut tasks = Vec::with_capacity(ids.len());
        let store = self.queue.store();
        let found = stream::iter(ids.to_vec()).map(|id| async move { (id, store.find(id).await) });
        let found: Vec<_> = found.buffered(LOOK_UPS).collect().await;
        for (id, found) in found {
            match found? {
                Some(Found { task, unreadable: None }) => tasks.push(task),
                Some(found) => self.change_unreadable(found).await?,
                None => self.report.refused.push(Refusal { task: id, error: ChangeError::Missing(id) }),
            }
        }
        self.change_all(tasks, clock::now()).await
    }

    /// Stops a point that cannot be read as a task, which is all that can be done to it.
    async fn change_unreadable(&mut self, found: Found) -> Result<(), ChangeError> {
        let id = found.task.id;
        self.report.matched += 1;
        let outcome = match &self.change {
            BulkChange::Event(TaskEvent::CancelRequested) if self.dry_run => Ok(()),
            BulkChange::Event(TaskEvent::CancelRequested) => {
                self.queue.cancel_unreadable(found, &self.person).await.map(drop)
            }
            _ => Err(ChangeError::Unreadable { id, reason: found.unreadable.unwrap_or_default() }),
        };
        self.report.take(id, outcome).map(drop)
    }

    /// Works through all tasks that pass `filter`, as far as `limit`; a dry run counts them all.
    async fn change_filtered(
        &mut self,
        mut filter: TaskFilter,
        limit: usize,
        mut after: Option<String>,
    ) -> Result<(), ChangeError> {
        let wanted = std::mem::take(&mut filter.statuses);
        filter.statuses = self.change.statuses(clock::now());
        filter.statuses.retain(|status| wanted.is_empty() || wanted.contains(status));
        if filter.statuses.is_empty() {
            return Ok(());
        }
        // Whether a task can be requeued depends on its point and its unique key as well.
        let by_status_alone =
            filter.text.is_none() && matches!(self.change, BulkChange::Event(_)) && !self.change.is_requeue();
        if self.dry_run && by_status_alone {
            self.report.matched = self.queue.store().count_tasks(&filter).await?;
            self.report.done = self.report.matched;
            return Ok(());
        }
        let mut left = if self.dry_run { usize::MAX } else { limit };
        // Tasks without the text count as read, so that one request does not go through all there are.
        let without_text = TaskFilter { text: None, ..filter.clone() };
        loop {
            let size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let page = self.queue.store().tasks(&without_text, size, after.as_deref()).await?;
            left = left.saturating_sub(page.items.len());
            let selected = page.items.into_iter().filter(|task| filter.has_text(task)).collect();
            self.change_all(selected, clock::now()).await?;
            after = page.next;
            if after.is_none() || left == 0 {
                self.report.next = after;
                return Ok(());
            }
        }
    }

    /// Changes these tasks, or tells what would become of them.
    async fn change_all(&mut self, tasks: Vec<Task>, now: Timestamp) -> Result<(), ChangeError> {
        self.report.matched += tasks.len() as u64;
        let tasks = self.without_refused(tasks).await?;
        if self.dry_run {
            return self.foretell(tasks, now).await;
        }
        let letters = self.letters_of(&tasks).await?;
        let (queue, change, person) = (self.queue, &self.change, &self.person);
        let outcomes = stream::iter(tasks).map(|task| async move {
            let (id, event) = (task.id, change.event_for(&task, person, now));
            (id, queue.change_known(task, &event, person).await)
        });
        let outcomes: Vec<_> = outcomes.buffer_unordered(PARALLEL).collect().await;
        let mut changed = HashSet::new();
        let mut events: Vec<Event> = Vec::new();
        let mut outage = None;
        for (id, outcome) in outcomes {
            match self.report.take(id, outcome) {
                Ok(Some((_, entry))) => {
                    changed.insert(id);
                    events.extend(entry);
                }
                Ok(None) => {}
                Err(error) => outage = Some(error),
            }
        }
        // What was changed before the outage counts.
        let requeued: Vec<SeenLetter> = letters.into_iter().filter(|letter| changed.contains(&letter.task)).collect();
        if outage.is_none() && !requeued.is_empty() {
            self.queue.store().purge_seen_letters(&requeued).await?;
        }
        self.queue.history().record(&events).await;
        outage.map_or(Ok(()), Err)
    }

    /// Tells what would become of these tasks.
    async fn foretell(&mut self, tasks: Vec<Task>, now: Timestamp) -> Result<(), ChangeError> {
        let is_requeue = self.change.is_requeue();
        let keyless =
            if is_requeue { self.queue.store().tasks_without_key(&tasks, now).await? } else { HashMap::new() };
        for task in tasks {
            let event = self.change.event_for(&task, &self.person, now);
            let mut outcome = task.apply(&event, now).map(drop).map_err(ChangeError::Illegal);
            if is_requeue && outcome.is_ok() {
                outcome = self.promise_key(&task, keyless.get(&task.id).copied());
            }
            self.report.take(task.id, outcome)?;
        }
        self.report.refused.truncate(LISTED_REFUSALS);
        Ok(())
    }

    /// Gives the unique key of `task` to it, unless `holder` or an earlier task of this dry run has it.
    fn promise_key(&mut self, task: &Task, holder: Option<TaskId>) -> Result<(), ChangeError> {
        let Some(key) = task.spec.unique_key.clone().filter(|_| task.spec.unique_for == UniqueFor::Alive) else {
            return Ok(());
        };
        if let Some(holder) = holder.or_else(|| self.promised.get(&key).copied()) {
            return Err(TransitionError::KeyTaken { id: task.id, key, holder }.into());
        }
        self.promised.insert(key, task.id);
        Ok(())
    }

    /// Those of `tasks` that are not only refused again when they are requeued.
    async fn without_refused(&mut self, tasks: Vec<Task>) -> Result<Vec<Task>, ChangeError> {
        if !self.change.is_requeue() {
            return Ok(tasks);
        }
        let queue = self.queue;
        let checked = stream::iter(tasks).map(|task| async move {
            let was_invalid = task.state.error.as_ref().is_some_and(|error| error.class == FailureClass::Invalid);
            let refused = if was_invalid { queue.still_refused(task.id).await } else { Ok(None) };
            (task, refused)
        });
        let checked: Vec<_> = checked.buffered(LOOK_UPS).collect().await;
        let mut left = Vec::with_capacity(checked.len());
        for (task, refused) in checked {
            match refused? {
                Some(reason) => {
                    let error = ChangeError::StillRefused { id: task.id, reason };
                    self.report.refused.push(Refusal { task: task.id, error });
                }
                None => left.push(task),
            }
        }
        Ok(left)
    }

    /// The letters of tasks that are requeued, seen before: a task may fail again at once, and its new letter stays.
    async fn letters_of(&self, tasks: &[Task]) -> Result<Vec<SeenLetter>, StoreError> {
        if !self.change.is_requeue() {
            return Ok(Vec::new());
        }
        self.queue.store().seen_letters(&tasks.iter().map(|task| task.id).collect::<Vec<_>>()).await
    }
}

impl BulkChange {
    const fn is_requeue(&self) -> bool {
        matches!(self, Self::Event(TaskEvent::Requeued))
    }

    /// What happens to `task`.
    fn event_for(&self, task: &Task, person: &Person, now: Timestamp) -> TaskEvent {
        match self {
            Self::Event(event) => event.clone(),
            Self::Decide(verdict) => {
                let open =
                    task.state.approvals.iter().filter(|approval| approval.is_open() && !approval.has_expired(now));
                let hashes = open.map(|approval: &Approval| approval.hash.clone()).collect();
                let ruling = Ruling { hashes, by: person.by.clone(), note: person.note.clone() };
                decision(ruling, *verdict)
            }
        }
    }

    /// The statuses in which a task can be changed so.
    fn statuses(&self, now: Timestamp) -> Vec<TaskStatus> {
        let allows = |status: &TaskStatus| match self {
            Self::Event(event) => {
                let task = Task::new(TaskId::Number(0), "", now).with(|task| task.state.status = *status);
                task.apply(event, now).is_ok()
            }
            Self::Decide(_) => *status == TaskStatus::AwaitingApproval,
        };
        TaskStatus::ALL.into_iter().filter(allows).collect()
    }
}
