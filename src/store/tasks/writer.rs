//! The group commit: changes of tasks that arrive while a request is under way go out together in the next.
//!
//! A change alone is sent at once; when many came before it, it waits a moment for more. A few requests may be under way
//! at a time, so that nothing waits for a whole one before it is even sent. Each change is fenced by a filter, so that it does nothing when the task is no
//! longer what its caller believed; since Qdrant does not tell how many points a filter found, each leaves a proof in
//! the point that is read back afterwards, one request for the whole batch.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use qdrant_client::qdrant::points_update_operation::{Operation, SetPayload};
use qdrant_client::qdrant::{Condition, Filter, PointsSelector, PointsUpdateOperation, points_selector};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::fields::{ADMITTED, SETTLED_BY};
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Inner, Part};
use crate::store::qdrant::values::{any_word, from_payload, point_id, task_id, to_payload, weight};
use crate::store::{Store, StoreError};

/// Changes that may wait for the writer before callers do.
pub(in crate::store) const QUEUE: usize = 1024;
/// Most changes in one request.
const MAX_BATCH: usize = 256;
/// Most requests under way.
const MAX_REQUESTS: usize = 2;
/// How long changes gather for the next request while one is under way, or when the last one carried many.
const GATHER: Duration = Duration::from_millis(4);
/// Most bytes of changes in one request, unless a single one is larger.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Changes in one request from which on more are worth waiting for.
const MANY: usize = 16;
/// Changes from which on their proofs are counted before they are read one by one.
const WORTH_COUNTING: usize = 16;
/// Most different proofs that are counted.
const MAX_MARKS: usize = 8;
/// How often the outcome of a batch is asked for, and the pause between.
const READ_TRIES: u32 = 3;
const READ_PAUSE: Duration = Duration::from_millis(50);
/// When a change was made: changes of one claim that differ in nothing else are written as one, with the latest times.
const TIMES: [&str; 2] = ["updated_at", "finished_at"];
/// What is read back.
const PROOF_FIELDS: &[&str] = &["status", "claim", "updated_at", "cancel_requested", ADMITTED, SETTLED_BY];

/// What must still be true of a task for a change to apply.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fence {
    /// It runs under the claim with this token.
    Held(String),
    /// The same, and nobody wants it stopped.
    Undisturbed(String),
    /// It has this status and has not changed since.
    Unchanged(TaskStatus, Timestamp),
    /// It has not been admitted.
    Unadmitted,
    /// No replica holds it.
    Unheld,
}

/// How the point shows that the change was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It carries this mark.
    Mark(String),
    /// The task is asked to stop while it runs under the claim with this token.
    CancelRequested(String),
}

/// A conditional change of one task.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(in crate::store) id: TaskId,
    pub(super) fence: Fence,
    /// Fields to write; `null` removes one.
    pub(in crate::store) patch: Map<String, Value>,
    pub(super) proof: Proof,
}

/// A change and who waits for its outcome.
pub(in crate::store) struct Job {
    change: Change,
    reply: oneshot::Sender<Result<bool, StoreError>>,
}

impl Store {
    /// Applies a change with the next batch. `Ok(false)` when its fence did not hold.
    pub(super) async fn commit(&self, change: Change) -> Result<bool, StoreError> {
        let (reply, outcome) = oneshot::channel();
        let gone = || StoreError::Unavailable { url: self.inner.url.clone(), reason: "qron is shutting down".into() };
        self.writer.send(Job { change, reply }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

/// Commits what comes through `queue` until every sender is gone.
pub(in crate::store) async fn run(inner: Arc<Inner>, mut queue: mpsc::Receiver<Job>) {
    let mut waiting = VecDeque::new();
    // Tasks of requests under way.
    let mut busy = HashSet::new();
    let mut under_way = FuturesUnordered::new();
    let mut gathered = Instant::now();
    let mut last = 0;
    loop {
        let is_alone = under_way.is_empty() && last < MANY;
        let is_due = is_alone || waiting.len() >= MAX_BATCH || Instant::now() >= gathered;
        if is_due && under_way.len() < MAX_REQUESTS {
            let batch = next_batch(&mut waiting, &busy);
            if !batch.is_empty() {
                busy.extend(batch.iter().map(|job| job.change.id));
                last = batch.len();
                under_way.push(inner.commit(batch));
            }
        }
        let is_gathering = !waiting.is_empty() && under_way.len() < MAX_REQUESTS && Instant::now() < gathered;
        tokio::select! {
            job = queue.recv(), if waiting.len() < QUEUE => match job {
                Some(job) => {
                    if waiting.is_empty() {
                        gathered = Instant::now() + GATHER;
                    }
                    waiting.push_back(job);
                    while waiting.len() < QUEUE && let Ok(job) = queue.try_recv() {
                        waiting.push_back(job);
                    }
                }
                None if waiting.is_empty() && under_way.is_empty() => return,
                // The channel is closed, which `recv` goes on to say at once.
                None => if let Some(done) = under_way.next().await { release(&mut busy, &done) },
            },
            Some(done) = under_way.next(), if !under_way.is_empty() => release(&mut busy, &done),
            () = tokio::time::sleep_until(gathered), if is_gathering => {}
        }
    }
}

fn release(busy: &mut HashSet<TaskId>, done: &[TaskId]) {
    for id in done {
        busy.remove(id);
    }
}

/// Takes what goes out together: at most one change of each task, because a later one would wipe out the proof of an
/// earlier one, and none of a task that is `busy`.
fn next_batch(waiting: &mut VecDeque<Job>, busy: &HashSet<TaskId>) -> Vec<Job> {
    let (mut batch, mut tasks, mut bytes) = (Vec::new(), HashSet::new(), 0);
    let mut later = VecDeque::new();
    while let Some(job) = waiting.pop_front() {
        if busy.contains(&job.change.id) {
            later.push_back(job);
            continue;
        }
        bytes += job.change.patch.values().map(weight).sum::<usize>();
        if batch.len() == MAX_BATCH || (bytes > MAX_BYTES && !batch.is_empty()) {
            later.push_back(job);
            break;
        }
        if tasks.insert(job.change.id) { batch.push(job) } else { later.push_back(job) }
    }
    later.append(waiting);
    *waiting = later;
    batch
}

impl Inner {
    /// Writes a batch, answers those who wait for it, and gives back its tasks.
    async fn commit(&self, batch: Vec<Job>) -> Vec<TaskId> {
        let changes: Vec<&Change> = batch.iter().map(|job| &job.change).collect();
        let outcomes = match self.apply(&changes).await {
            // One bad change refuses the request and leaves those behind it undone: find it by sending each alone.
            outcomes if batch.len() > 1 && outcomes.iter().any(is_refused) => {
                let mut alone = Vec::with_capacity(batch.len());
                for (change, outcome) in changes.into_iter().zip(outcomes) {
                    alone.push(if is_refused(&outcome) { self.apply_one(change).await } else { outcome });
                }
                alone
            }
            outcomes => outcomes,
        };
        let answer = |(job, outcome): (Job, _)| {
            // A caller that has gone away does not need to know.
            job.reply.send(outcome).ok();
            job.change.id
        };
        batch.into_iter().zip(outcomes).map(answer).collect()
    }

    async fn apply_one(&self, change: &Change) -> Result<bool, StoreError> {
        self.apply(&[change]).await.pop().unwrap_or(Ok(false))
    }

    /// Writes changes of different tasks and finds out what became of each.
    async fn apply(&self, changes: &[&Change]) -> Vec<Result<bool, StoreError>> {
        let written = self.update_batch("transition", Collection::Tasks, operations(changes)).await;
        if written.is_ok() && self.all_carry_their_marks(changes).await {
            return changes.iter().map(|_| Ok(true)).collect();
        }
        let seen = match self.read_back(changes).await {
            Ok(seen) => seen,
            Err(error) => return changes.iter().map(|_| Err(error.clone())).collect(),
        };
        let outcome = |change: &&Change| {
            let point = seen.get(&change.id);
            match &written {
                _ if point.is_some_and(|point| change.proof.is_in(point)) => Ok(true),
                // It may be applied yet, unless the fence is down already: fences never come up again.
                Err(error) if point.is_some_and(|point| change.fence.holds(point)) => Err(error.clone()),
                _ => Ok(false),
            }
        };
        changes.iter().map(outcome).collect()
    }

    /// Whether every change is proven by one number. False when some are not, or it is not worth asking.
    async fn all_carry_their_marks(&self, changes: &[&Change]) -> bool {
        let mut marks: HashMap<&str, Vec<TaskId>> = HashMap::new();
        for change in changes {
            let Proof::Mark(mark) = &change.proof else { return false };
            marks.entry(mark).or_default().push(change.id);
        }
        if marks.len() > MAX_MARKS || changes.len() < WORTH_COUNTING {
            return false;
        }
        let carries = |(mark, ids): (&str, Vec<TaskId>)| {
            let ids = Condition::has_id(ids.into_iter().map(point_id));
            Condition::from(Filter::must([ids, Condition::matches(SETTLED_BY, mark.to_owned())]))
        };
        let filter = Filter::should(marks.into_iter().map(carries));
        let count = self.count("transition_count", Collection::Tasks, Some(filter), true).await;
        // Where it cannot be counted the read-back says what is wrong.
        count.is_ok_and(|count| usize::try_from(count) == Ok(changes.len()))
    }

    async fn read_back(&self, changes: &[&Change]) -> Result<HashMap<TaskId, Map<String, Value>>, StoreError> {
        let mut tries = 1;
        loop {
            let ids = changes.iter().map(|change| point_id(change.id)).collect();
            match self.get("transition_outcome", Collection::Tasks, ids, Part::Only(PROOF_FIELDS)).await {
                Ok(points) => {
                    let seen = points
                        .into_iter()
                        .filter_map(|point| Some((task_id(point.id.as_ref())?, from_payload(point.payload))));
                    return Ok(seen.collect());
                }
                Err(error) if tries == READ_TRIES || !error.is_transient() => return Err(error),
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

fn is_refused(outcome: &Result<bool, StoreError>) -> bool {
    matches!(outcome, Err(error) if !error.is_transient())
}

impl Fence {
    /// The filter that lets through those of `ids` for which the fence holds, evaluated as the change is applied.
    fn filter(&self, ids: &[TaskId]) -> Filter {
        let mut must = vec![Condition::has_id(ids.iter().copied().map(point_id))];
        let mut must_not = Vec::new();
        match self {
            Self::Held(token) | Self::Undisturbed(token) => {
                must.push(Condition::matches("claim", token.clone()));
                must.push(Condition::matches("status", TaskStatus::Running.as_str().to_owned()));
                if matches!(self, Self::Undisturbed(_)) {
                    must_not.push(Condition::matches("cancel_requested", true));
                }
            }
            Self::Unchanged(status, at) => {
                must.push(Condition::matches("status", status.as_str().to_owned()));
                must.push(Condition::matches("updated_at", at.as_millis()));
            }
            Self::Unadmitted => must_not.push(Condition::matches(ADMITTED, true)),
            Self::Unheld => must_not.push(any_word("claim")),
        }
        Filter { must, must_not, ..Filter::default() }
    }

    fn holds(&self, point: &Map<String, Value>) -> bool {
        let is = |key: &str, value: Value| point.get(key) == Some(&value);
        match self {
            Self::Held(token) => {
                is("claim", token.as_str().into()) && is("status", TaskStatus::Running.as_str().into())
            }
            Self::Undisturbed(token) => Self::Held(token.clone()).holds(point) && !is("cancel_requested", true.into()),
            Self::Unchanged(status, at) => {
                is("status", status.as_str().into()) && is("updated_at", at.as_millis().into())
            }
            Self::Unadmitted => !is(ADMITTED, true.into()),
            Self::Unheld => !point.get("claim").is_some_and(Value::is_string),
        }
    }
}

impl Proof {
    fn is_in(&self, point: &Map<String, Value>) -> bool {
        let text = |key: &str| point.get(key).and_then(Value::as_str);
        match self {
            Self::Mark(mark) => text(SETTLED_BY) == Some(mark),
            Self::CancelRequested(token) => {
                point.get("cancel_requested") == Some(&Value::Bool(true)) && text("claim") == Some(token)
            }
        }
    }
}

/// One operation for all tasks that get the same patch behind the same fence: the server syncs its log for each.
fn operations(changes: &[&Change]) -> Vec<PointsUpdateOperation> {
    let mut places = HashMap::new();
    let mut groups: Vec<(&Change, Vec<TaskId>)> = Vec::new();
    for change in changes {
        let place = *places.entry(change.shared()).or_insert_with(|| {
            groups.push((change, Vec::new()));
            groups.len() - 1
        });
        let (latest, ids) = &mut groups[place];
        ids.push(change.id);
        if change.made_at() > latest.made_at() {
            *latest = change;
        }
    }
    groups.into_iter().map(|(change, ids)| set_payload(change.patch.clone(), change.fence.filter(&ids))).collect()
}

impl Change {
    /// What tasks must have in common to be changed by one operation. The times of a task that nobody holds tell its
    /// changes apart, so they count; what holds a claim is fenced by that.
    fn shared(&self) -> (&Fence, Vec<(&String, &Value)>) {
        let is_held = matches!(self.fence, Fence::Held(_) | Fence::Undisturbed(_));
        let counts = |key: &str| !(is_held && TIMES.contains(&key));
        (&self.fence, self.patch.iter().filter(|(key, _)| counts(key)).collect())
    }

    fn made_at(&self) -> Option<i64> {
        self.patch.get("updated_at").and_then(Value::as_i64)
    }
}

/// Merges `patch` into the points that `filter` lets through.
pub(in crate::store) fn set_payload(patch: Map<String, Value>, filter: Filter) -> PointsUpdateOperation {
    let selector = points_selector::PointsSelectorOneOf::Filter(filter);
    PointsUpdateOperation {
        operation: Some(Operation::SetPayload(SetPayload {
            payload: to_payload(patch),
            points_selector: Some(PointsSelector { points_selector_one_of: Some(selector) }),
            shard_key_selector: None,
            key: None,
        })),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(id: u64, patch: &Value) -> Job {
        let Value::Object(patch) = patch.clone() else { panic!("not an object") };
        let change =
            Change { id: TaskId::Number(id), fence: Fence::Held("t".into()), patch, proof: Proof::Mark("m".into()) };
        Job { change, reply: oneshot::channel().0 }
    }

    fn ids(batch: &[Job]) -> Vec<TaskId> {
        batch.iter().map(|job| job.change.id).collect()
    }

    #[test]
    fn a_second_change_of_a_task_waits_for_the_next_batch() {
        let none = HashSet::new();
        let mut waiting: VecDeque<Job> = [1, 2, 1, 3, 1].map(|id| job(id, &json!({}))).into();
        assert_eq!(ids(&next_batch(&mut waiting, &none)), [1, 2, 3].map(TaskId::Number));
        assert_eq!(ids(&next_batch(&mut waiting, &none)), [TaskId::Number(1)]);
        assert_eq!(ids(&next_batch(&mut waiting, &none)), [TaskId::Number(1)]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn a_change_of_a_task_that_is_being_written_waits() {
        let busy = HashSet::from([TaskId::Number(1)]);
        let mut waiting: VecDeque<Job> = [1, 2, 1].map(|id| job(id, &json!({}))).into();
        assert_eq!(ids(&next_batch(&mut waiting, &busy)), [TaskId::Number(2)]);
        assert!(next_batch(&mut waiting, &busy).is_empty());
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes() {
        let mut waiting: VecDeque<Job> = (0..300).map(|id| job(id, &json!({}))).collect();
        assert_eq!(next_batch(&mut waiting, &HashSet::new()).len(), MAX_BATCH);
        assert_eq!(waiting.len(), 300 - MAX_BATCH);
        let large = json!({"result": "x".repeat(MAX_BYTES / 2)});
        let mut waiting: VecDeque<Job> = (0..3).map(|id| job(id, &large)).collect();
        assert_eq!(ids(&next_batch(&mut waiting, &HashSet::new())), [TaskId::Number(0)]);
        assert_eq!(ids(&next_batch(&mut waiting, &HashSet::new())), [TaskId::Number(1)]);
    }

    #[test]
    fn equal_patches_are_one_operation() {
        let jobs = [job(1, &json!({"a": 1})), job(2, &json!({"a": 2})), job(3, &json!({"a": 1}))];
        let changes: Vec<&Change> = jobs.iter().map(|job| &job.change).collect();
        assert_eq!(operations(&changes).len(), 2);
    }

    #[test]
    fn changes_of_one_claim_that_differ_in_time_are_one_operation_at_the_latest() {
        let jobs = [5, 9, 7].map(|at| job(at, &json!({"updated_at": at, "finished_at": at, "status": "completed"})));
        let changes: Vec<&Change> = jobs.iter().map(|job| &job.change).collect();
        let operations = operations(&changes);
        let Some(Operation::SetPayload(change)) = operations[0].operation.clone() else { panic!("{operations:?}") };
        assert_eq!(operations.len(), 1);
        assert_eq!(from_payload(change.payload)["finished_at"], 9);

        let unheld = jobs.map(|job| Change { fence: Fence::Unadmitted, ..job.change });
        assert_eq!(super::operations(&unheld.iter().collect::<Vec<_>>()).len(), 3);
    }
}
