//! Finding due tasks, claiming them exactly once, and taking them back from the dead.

use qdrant_client::qdrant::{
    Condition, Direction, Filter, OrderByBuilder, PointId, Range, RetrievedPoint, ScrollPointsBuilder, start_from,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::codec;
use super::fields::{ADMITTED, NEEDS_MODEL, POSTPONED, RUNS_AS, SETTLED_BY};
use super::writer::set_payload;
use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::task::{Claim, MAX_CRASHES, Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::Part;
use crate::store::qdrant::values::{any_word, bound, exactly, from_payload, point_id, task_id};
use crate::store::{AgentLimitTag, DueExclusions, DueTask, Rescue, Store, StoreError};

/// Most ids in one filter.
const CHUNK: usize = 512;
/// Due tasks among which the oldest is looked for.
const FIRST_IN_LINE: u32 = 64;
/// Tasks of a dead replica that are taken back in one batch.
const RESCUE_PAGE: u32 = 512;
/// Most tasks one replica is asked to stop at a time.
const MAX_CANCELS: usize = 10_000;

impl Store {
    /// Due tasks in the order of their rank, at most `limit`, without those that `closed` excludes.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn due(&self, now: Timestamp, limit: u32, closed: &DueExclusions) -> Result<Vec<DueTask>, StoreError> {
        let mut must_not = Vec::new();
        if !closed.agents.is_empty() {
            must_not.push(Condition::matches("agent", closed.agents.clone()));
        }
        if !closed.capabilities.is_empty() {
            must_not.push(Condition::matches("needs", lowercase(&closed.capabilities)));
        }
        must_not.extend(closed.combinations.iter().map(|words| {
            let needs = |word: &String| exactly("needs", word.to_lowercase());
            Condition::from(Filter::must(words.iter().map(needs)))
        }));
        if !closed.keys.is_empty() {
            must_not.push(Condition::matches("concurrency_key", closed.keys.clone()));
        }
        if closed.needs_model {
            must_not.push(Condition::matches(NEEDS_MODEL, true));
        }
        must_not.extend(without_model(closed));
        let mut must = is_due(now);
        if closed.keyless {
            must.push(any_word("concurrency_key"));
        }
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(Filter { must, must_not, ..Filter::default() })
            .order_by(OrderByBuilder::new("rank").direction(Direction::Asc.into()))
            .limit(limit)
            .with_payload(
                Part::Only(&["rank", "agent", "capabilities", "concurrency_key", "crashes", NEEDS_MODEL]).selector(),
            );
        let page = self.inner.scroll("due", request).await?;
        Ok(page.result.into_iter().filter_map(due_task).collect())
    }

    /// When the task that has been due longest became due, among those that are first in line; `None` when nothing is due.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn oldest_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        // Finished tasks keep their `run_at`, and its order leads past all of them; they have no rank.
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(Filter::must(is_due(now)))
            .order_by(OrderByBuilder::new("rank").direction(Direction::Asc.into()))
            .limit(FIRST_IN_LINE)
            .with_payload(Part::Only(&["run_at"]).selector());
        let page = self.inner.scroll("oldest_due", request).await?;
        let due_since = page.result.iter().filter_map(|point| point.payload.get("run_at")?.as_integer());
        Ok(due_since.min().map(Timestamp::from_millis))
    }

    /// When the next task becomes due after `now`, if that is before `until`.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn next_due(&self, now: Timestamp, until: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let mut filter = Filter::must(is_due(until));
        filter.must.push(Condition::range("run_at", Range { gt: Some(bound(now)), ..Range::default() }));
        let request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
            .filter(filter)
            // From here on, or the server would look at every task that was ever due first.
            .order_by(
                OrderByBuilder::new("run_at")
                    .direction(Direction::Asc.into())
                    .start_from(start_from::Value::Integer(now.as_millis())),
            )
            .limit(1)
            .with_payload(Part::Only(&["run_at"]).selector());
        let page = self.inner.scroll("next_due", request).await?;
        let run_at = page.result.first().and_then(|point| point.payload.get("run_at")?.as_integer());
        Ok(run_at.map(Timestamp::from_millis))
    }

    /// Claims those of `ids` that are still due, in one conditional write for up to 512 of them, and gives back
    /// what was won, running.
    ///
    /// Calling again with the same claim after a failure also gives back what the first call won.
    ///
    /// # Errors
    /// A failure of the store, after which [`Store::held`] tells what was won after all.
    pub async fn claim(&self, ids: &[TaskId], claim: &Claim, now: Timestamp) -> Result<Vec<Task>, StoreError> {
        self.claim_as(ids, claim, AgentLimitTag::Untracked, now).await
    }

    /// [`Store::claim`] that also says as which agent the tasks run, for [`Store::running_as`].
    ///
    /// # Errors
    /// As for [`Store::claim`].
    pub async fn claim_as(
        &self,
        ids: &[TaskId],
        claim: &Claim,
        runs_as: AgentLimitTag<'_>,
        now: Timestamp,
    ) -> Result<Vec<Task>, StoreError> {
        let Ok(limit) = u32::try_from(ids.len()) else {
            return Err(StoreError::Refused { operation: "claim", reason: format!("{} ids are too many", ids.len()) });
        };
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut patch = moved(&blank(TaskStatus::Pending, now), &TaskEvent::Claimed(claim.clone()), now)?;
        match runs_as {
            AgentLimitTag::Untracked => None,
            AgentLimitTag::Unlimited => patch.insert(RUNS_AS.to_owned(), Value::Null),
            AgentLimitTag::Agent(name) => patch.insert(RUNS_AS.to_owned(), json!(name)),
        };
        let mut written = Ok(());
        for chunk in ids.chunks(CHUNK) {
            let mut filter = Filter::must([
                Condition::has_id(chunk.iter().copied().map(point_id)),
                Condition::matches("status", TaskStatus::Pending.as_str().to_owned()),
                Condition::matches(ADMITTED, true),
                // It may have been put off since it was seen.
                Condition::range("run_at", Range { lte: Some(bound(now)), ..Range::default() }),
            ]);
            // Another client made it pending while it runs: admission looks whether the run goes on.
            filter.must_not.push(any_word("claim"));
            let operation = set_payload(patch.clone(), filter);
            written = self.inner.update_batch("claim", Collection::Tasks, vec![operation]).await;
            if written.is_err() {
                break;
            }
        }
        let won = self.claimed(claim, limit, now).await;
        match (written, won) {
            // What is not yet seen to be won may be won all the same.
            (Err(error), Ok(won)) if won.is_empty() || error.is_transient() => Err(error),
            (_, won) => won,
        }
    }

    async fn claimed(&self, claim: &Claim, limit: u32, now: Timestamp) -> Result<Vec<Task>, StoreError> {
        let request = |part: Part| {
            ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
                .filter(Filter::must(under(&claim.token)))
                .limit(limit)
                .with_payload(part.selector())
        };
        let (mut won, mut unreadable) = (Vec::new(), Vec::new());
        let points = match self.inner.scroll("claim_outcome", request(Part::All)).await {
            Err(error) if error.is_undecodable() => {
                let page = self.inner.scroll("claim_outcome", request(Part::Nothing)).await?;
                let ids = page.result.into_iter().filter_map(|point| point.id).collect();
                let (points, others) = self.split_undecodable("claim_outcome", ids).await?;
                unreadable = others;
                points
            }
            answer => answer?.result,
        };
        for point in points {
            let Some(id) = task_id(point.id.as_ref()) else { continue };
            match codec::decode(id, from_payload(point.payload), self.inner.zone, now) {
                Ok(task) => won.push(task),
                Err(error) => {
                    tracing::warn!(%error, "claimed a task that cannot be read; it goes through admission again");
                    unreadable.push(point_id(id));
                }
            }
        }
        self.readmit(unreadable, under(&claim.token)).await?;
        Ok(won)
    }

    /// Reads points one by one; gives back those that can be read, and the ids of the others.
    async fn split_undecodable(
        &self,
        operation: &'static str,
        mut ids: Vec<PointId>,
    ) -> Result<(Vec<RetrievedPoint>, Vec<PointId>), StoreError> {
        let points = self.get_decodable(operation, Collection::Tasks, ids.clone()).await?;
        ids.retain(|id| points.iter().all(|point| point.id.as_ref() != Some(id)));
        Ok((points, ids))
    }

    /// Hands tasks that say they are admitted, yet cannot be read, back to admission, which tells people why: those of
    /// `ids` of which `must` still holds.
    async fn readmit(&self, ids: Vec<PointId>, must: Vec<Condition>) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut filter = Filter::must(must);
        filter.must.push(Condition::has_id(ids));
        let patch = json!({"status": TaskStatus::Pending, "claim": null, "owner": null, ADMITTED: false});
        let Value::Object(patch) = patch else { return Ok(()) };
        self.inner.update_batch("readmit", Collection::Tasks, vec![set_payload(patch, filter)]).await
    }

    /// Tasks that run under a claim of `owner`, at most `limit`. One that its owner does not know of was won by a
    /// claim whose answer got lost, and should be released.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn held(&self, owner: &str, limit: usize) -> Result<Vec<Task>, StoreError> {
        let filter = Filter::must(of_owner(owner));
        let read = |part| self.inner.scroll_all("held", Collection::Tasks, filter.clone(), part, limit);
        let points = match read(Part::All).await {
            Err(error) if error.is_undecodable() => {
                let points = read(Part::Nothing).await?;
                self.get_decodable("held", Collection::Tasks, points.into_iter().filter_map(|point| point.id)).await?
            }
            answer => answer?,
        };
        Ok(self.inner.readable_tasks(points))
    }

    /// Tasks that `owner` runs and somebody wants stopped.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn cancel_requests(&self, owner: &str) -> Result<Vec<TaskId>, StoreError> {
        let mut filter = Filter::must(of_owner(owner));
        filter.must.push(Condition::matches("cancel_requested", true));
        let points =
            self.inner.scroll_all("cancel_requests", Collection::Tasks, filter, Part::Nothing, MAX_CANCELS).await?;
        Ok(points.iter().filter_map(|point| task_id(point.id.as_ref())).collect())
    }

    /// Takes every running task from the dead replica `owner`: back to pending, or ended when it died too often.
    /// Several replicas may do so at once; each task is counted by the one that moved it.
    ///
    /// # Errors
    /// A failure of the store; what was moved until then stays moved, and the rest is found by the next call.
    pub async fn rescue(&self, owner: &str, now: Timestamp) -> Result<Rescue, StoreError> {
        let mut rescue = Rescue::default();
        let mut after: Option<PointId> = None;
        loop {
            let mut request = ScrollPointsBuilder::new(self.inner.name(Collection::Tasks))
                .filter(Filter::must(of_owner(owner)))
                .limit(RESCUE_PAGE)
                .with_payload(false);
            if let Some(offset) = after {
                request = request.offset(offset);
            }
            let page = self.inner.scroll("rescue_scan", request).await?;
            let ids: Vec<PointId> = page.result.into_iter().filter_map(|point| point.id).collect();
            if !ids.is_empty() {
                self.rescue_page(owner, ids, now, &mut rescue).await?;
            }
            after = page.next_page_offset;
            if after.is_none() {
                return Ok(rescue);
            }
        }
    }

    async fn rescue_page(
        &self,
        owner: &str,
        ids: Vec<PointId>,
        now: Timestamp,
        rescue: &mut Rescue,
    ) -> Result<(), StoreError> {
        let mark = Uuid::new_v4().simple().to_string();
        let mut operations = Vec::new();
        for crashes in (0..MAX_CRASHES).rev() {
            let mut filter = Filter::must(of_owner(owner));
            filter.must.push(Condition::has_id(ids.iter().cloned()));
            let at_least =
                |count: u32| Condition::range("crashes", Range { gte: Some(count.into()), ..Range::default() });
            // No number at all counts as none, and one beyond what there can be like the last.
            if crashes > 0 {
                filter.must.push(at_least(crashes));
            }
            if crashes + 1 < MAX_CRASHES {
                filter.must_not.push(at_least(crashes + 1));
            }
            let running = blank(TaskStatus::Running, now).with(|task| task.state.crashes = crashes);
            let mut patch = moved(&running, &TaskEvent::Rescued, now)?;
            let cleared = ["claim", "owner", POSTPONED].map(|key| (key, Value::Null));
            patch.extend(cleared.into_iter().chain([(SETTLED_BY, json!(mark))]).map(named));
            operations.push(set_payload(patch, filter));
        }
        self.inner.update_batch("rescue", Collection::Tasks, operations).await?;
        let outcome =
            self.inner.get("rescue_outcome", Collection::Tasks, ids, Part::Only(&["status", SETTLED_BY])).await?;
        let mut poisoned = Vec::new();
        for point in outcome {
            let text = |key: &str| point.payload.get(key).and_then(|value| value.as_str()).map(String::as_str);
            if text(SETTLED_BY) != Some(&mark) {
                continue;
            }
            match text("status") {
                Some("failed") => poisoned.extend(point.id),
                _ => rescue.returned += 1,
            }
        }
        if !poisoned.is_empty() {
            let points = match self.inner.get("rescue_poisoned", Collection::Tasks, poisoned.clone(), Part::All).await {
                Err(error) if error.is_undecodable() => {
                    let (points, unreadable) = self.split_undecodable("rescue_poisoned", poisoned).await?;
                    rescue.returned += unreadable.len() as u64;
                    self.readmit(unreadable, vec![Condition::matches(SETTLED_BY, mark)]).await?;
                    points
                }
                answer => answer?,
            };
            rescue.poisoned.extend(self.inner.readable_tasks(points));
        }
        Ok(())
    }
}

pub(super) fn is_due(now: Timestamp) -> Vec<Condition> {
    let by_now = || Range { lte: Some(bound(now)), ..Range::default() };
    vec![
        Condition::matches("status", TaskStatus::Pending.as_str().to_owned()),
        Condition::matches(ADMITTED, true),
        Condition::range("run_at", by_now()),
        // Follows from the one before, yet says how few tasks are meant: finished ones keep their `run_at`, pending ones
        // may be due in a year, and the server chooses by such numbers whether it walks past all of them.
        Condition::range("rank", by_now()),
    ]
}

/// Tasks that need a model and that only agents without one may take.
fn without_model(closed: &DueExclusions) -> Option<Condition> {
    let mut should = Vec::new();
    if !closed.agents_without_model.is_empty() {
        should.push(Condition::matches("agent", closed.agents_without_model.clone()));
    }
    if !closed.capabilities_without_model.is_empty() {
        should.push(Condition::matches("needs", lowercase(&closed.capabilities_without_model)));
    }
    let must = vec![Condition::matches(NEEDS_MODEL, true)];
    (!should.is_empty()).then(|| Filter { must, should, ..Filter::default() }.into())
}

fn lowercase(words: &[String]) -> Vec<String> {
    words.iter().map(|word| word.to_lowercase()).collect()
}

fn under(token: &str) -> Vec<Condition> {
    vec![
        Condition::matches("claim", token.to_owned()),
        Condition::matches("status", TaskStatus::Running.as_str().to_owned()),
    ]
}

fn of_owner(owner: &str) -> Vec<Condition> {
    vec![
        Condition::matches("owner", owner.to_owned()),
        Condition::matches("status", TaskStatus::Running.as_str().to_owned()),
    ]
}

/// A task that stands for any other in this status, to learn from the rules what an event writes into all of them.
fn blank(status: TaskStatus, now: Timestamp) -> Task {
    // Its own `updated_at` must differ from `now`, or the difference would leave it out.
    Task::new(TaskId::Number(0), "", now.plus_millis(-1)).with(|task| task.state.status = status)
}

fn moved(task: &Task, event: &TaskEvent, now: Timestamp) -> Result<Map<String, Value>, StoreError> {
    let next = task
        .apply(event, now)
        .map_err(|error| StoreError::Refused { operation: "move tasks", reason: error.to_string() })?;
    Ok(codec::patch(task, &next))
}

fn named((key, value): (&str, Value)) -> (String, Value) {
    (key.to_owned(), value)
}

fn due_task(point: RetrievedPoint) -> Option<DueTask> {
    let id = task_id(point.id.as_ref())?;
    let payload = from_payload(point.payload);
    let words = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    Some(DueTask {
        id,
        rank: Timestamp::of_stored(payload.get("rank")?)?.as_millis(),
        agent: payload.get("agent").and_then(Value::as_str).map(str::to_owned),
        capabilities: payload.get("capabilities").map(words).unwrap_or_default(),
        key: payload.get("concurrency_key").and_then(Value::as_str).map(str::to_owned),
        is_suspect: payload
            .get("crashes")
            .and_then(number::count_of)
            .is_some_and(|crashes| crashes + 1 >= MAX_CRASHES.into()),
        needs_model: payload.get(NEEDS_MODEL) == Some(&Value::Bool(true)),
    })
}
