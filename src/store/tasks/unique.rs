//! Unique keys: which task holds a key, settled among any number of replicas and clients by conditional writes alone.
//!
//! A key owns one small point, at an id derived from the key. It names its *holder*: the id of the task that has the
//! key, or is about to be written with it. Whoever inserts a task with a key
//!
//! 1. reads the key and its holder;
//! 2. when the holder keeps others out ([`UniqueFor::holds`]), answers with the holder and writes nothing;
//! 3. when there is no key yet, proposes its own task as holder, insert-only; when the holder no longer keeps others
//!    out, proposes it by a write that applies only while the key carries the version that was read;
//! 4. reads the key again, and
//! 5. writes its task, insert-only, *at the id of the holder it read*.
//!
//! Why it is right:
//!
//! - Of several proposals for one version one applies, since each writes a new version. Those that lost start again.
//! - A task with the key is only ever written at an id that its writer read as holder. So for two of them to be alive
//!   there must have been two holders, and the second replaced the first only after a task was seen at the first one's
//!   id that did not keep it out. A task that has ended stays so, but for a requeue, which is why a requeue takes the
//!   key anew first ([`Store::retake_key`]).
//! - A crash between 3 and 5 leaves a holder without a task. The next insert with the key finds it and writes its own
//!   task at that very id: should the first writer only have been slow, one of two insert-only writes of one point
//!   wins, and the other says "not created" and names that point. Nothing has to be cleaned up, and the same request
//!   made again ends in the same task.
//! - A task that was pruned also leaves a holder without a task. After [`ABANDONED_MS`] such a holder is replaced rather
//!   than helped, so that ids are not used again. That a writer is slower than this between its reading of the key and
//!   its write, while every request has a time limit, is taken to be impossible.
//!
//! A point that another Qdrant client wrote is there before anybody asks for its key. Its admission takes the key for it
//! by the same proposals, with its own id as holder; one that does not get the key never runs ([`Store::take_key`]).
//!
//! Ids are read, never indexes: what an index has not seen yet does no harm here.

use std::collections::{HashMap, HashSet};

use qdrant_client::Payload;
use qdrant_client::qdrant::{
    Condition, DeletePointsBuilder, Filter, NamedVectors, PointId, PointStruct, PointsUpdateOperation, Range,
    RetrievedPoint, ScrollPointsBuilder, UpdateMode, Value as QdrantValue,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::writer::set_payload;
use crate::domain::id::{TaskId, derived};
use crate::domain::task::{Task, TaskStatus};
use crate::domain::time::Timestamp;
use crate::domain::unique::UniqueFor;
use crate::store::qdrant::collections::Collection;
use crate::store::qdrant::requests::{Part, strong};
use crate::store::qdrant::values::{bound, point_id, task_id, to_payload};
use crate::store::{Inserted, Store, StoreError};

mod retaking;

/// After how long a holder without a task counts as gone, in milliseconds; far longer than a request may take, and than
/// clocks of hosts differ.
const ABANDONED_MS: u64 = 3_600_000;
/// Keys looked at in one request.
const BATCH: usize = 512;
/// How often the keys of one insert are tried. Every try that fails is one in which somebody else got further.
const TRIES: usize = 16;

/// A key as it is stored.
#[derive(Clone, Debug)]
struct Hold {
    holder: TaskId,
    /// Changes with every write of the key.
    version: String,
    /// When the holder was named.
    since: Timestamp,
    /// Until when it is kept for the holder, whatever its task looks like.
    kept_until: Option<Timestamp>,
}

/// What an insert with a key comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placement {
    /// Another task keeps it out.
    Taken(TaskId),
    /// It is to be written at this id.
    Write(TaskId),
}

/// Who has the key of a task that is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOf {
    /// The task itself.
    Itself,
    /// Another task, which keeps it out.
    Other(TaskId),
    /// Nobody can say yet: somebody was about to insert a task with it a short while ago.
    Unsettled,
}

/// What is known of the task of a holder.
#[derive(Clone, Copy, Debug)]
struct Holder {
    status: TaskStatus,
    /// `None` for a point that is yet to be admitted.
    created_at: Option<Timestamp>,
}

enum Verdict {
    Settled(Placement),
    Propose,
}

fn judge(hold: &Hold, holder: Option<&Holder>, wanted: UniqueFor, now: Timestamp) -> Verdict {
    if hold.kept_until.is_some_and(|until| until > now) {
        return Verdict::Settled(Placement::Taken(hold.holder));
    }
    match holder {
        Some(holder) if wanted.holds(holder.status, holder.created_at.unwrap_or(hold.since), now) => {
            Verdict::Settled(Placement::Taken(hold.holder))
        }
        None if now.millis_since(hold.since) < ABANDONED_MS => Verdict::Settled(Placement::Write(hold.holder)),
        _ => Verdict::Propose,
    }
}

/// Where the tasks of one insert go.
pub(super) struct Placements {
    /// For each task, in order: its id, and whether it is to be written.
    pub(in crate::store) ids: Vec<(TaskId, bool)>,
    /// Ids that the caller chose and that became others, because a key led elsewhere.
    pub(super) renamed: HashMap<TaskId, TaskId>,
}

impl Store {
    /// Finds out which of `tasks` are to be written, and at which ids. Asks nothing when none has a key.
    pub(super) async fn places(&self, tasks: &[Task], now: Timestamp) -> Result<Placements, StoreError> {
        let mut first_with: HashMap<&str, usize> = HashMap::new();
        for (index, task) in tasks.iter().enumerate() {
            if let Some(key) = &task.spec.unique_key {
                first_with.entry(key).or_insert(index);
            }
        }
        let mut places =
            Placements { ids: tasks.iter().map(|task| (task.id, true)).collect(), renamed: HashMap::new() };
        if first_with.is_empty() {
            return Ok(places);
        }
        let mut firsts: Vec<usize> = first_with.values().copied().collect();
        firsts.sort_unstable();
        let mut settled: HashMap<usize, Placement> = HashMap::new();
        for batch in firsts.chunks(BATCH) {
            settled.extend(self.settle(tasks, batch, now).await?);
        }
        for (index, task) in tasks.iter().enumerate() {
            let Some(first) = task.spec.unique_key.as_deref().and_then(|key| first_with.get(key)) else { continue };
            let (id, write) = match settled.get(first) {
                Some(Placement::Write(id)) => (*id, index == *first),
                Some(Placement::Taken(id)) => (*id, false),
                None => continue,
            };
            places.ids[index] = (id, write);
            if id != task.id {
                places.renamed.insert(task.id, id);
            }
        }
        Ok(places)
    }

    /// Takes the unique key of `task`, whose point another client has written, for it, and tells who has the key then.
    /// A task without a key has it. While a process that took the key may still write its own task at an id of its own,
    /// which is for an hour at most, nothing is settled.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn take_key(&self, task: &Task, now: Timestamp) -> Result<KeyOf, StoreError> {
        if task.spec.unique_key.is_none() {
            return Ok(KeyOf::Itself);
        }
        let settled = self.settle(std::slice::from_ref(task), &[0], now).await?;
        Ok(match settled.get(&0) {
            Some(Placement::Taken(id) | Placement::Write(id)) if *id == task.id => KeyOf::Itself,
            Some(Placement::Taken(id)) => KeyOf::Other(*id),
            Some(Placement::Write(_)) | None => KeyOf::Unsettled,
        })
    }

    async fn settle(
        &self,
        tasks: &[Task],
        batch: &[usize],
        now: Timestamp,
    ) -> Result<HashMap<usize, Placement>, StoreError> {
        let mut settled = HashMap::new();
        let mut open: Vec<usize> = batch.to_vec();
        for _ in 0..TRIES {
            let holds = self.holds(open.iter().filter_map(|index| tasks[*index].spec.unique_key.as_deref())).await?;
            let holders = self.holders(holds.values().map(|hold| hold.holder)).await?;
            let version = Uuid::new_v4().simple().to_string();
            let (mut fresh, mut replaced) = (Vec::new(), Vec::new());
            let mut proposed = HashSet::new();
            for index in &open {
                let task = &tasks[*index];
                let Some(key) = task.spec.unique_key.as_deref() else { continue };
                let id = point_of(key);
                let Some(hold) = holds.get(&id) else {
                    fresh.push(new_key(key, task.id, &version, now));
                    proposed.insert(*index);
                    continue;
                };
                match judge(hold, holders.get(&hold.holder), task.spec.unique_for, now) {
                    Verdict::Settled(place) => {
                        settled.insert(*index, place);
                    }
                    Verdict::Propose => {
                        replaced.push(replacement(id, hold, task.id, &version, now, None));
                        proposed.insert(*index);
                    }
                }
            }
            if !fresh.is_empty() {
                self.inner.upsert("take_key", Collection::Keys, fresh, UpdateMode::InsertOnly).await?;
            }
            if !replaced.is_empty() {
                self.inner.update_batch("take_key", Collection::Keys, replaced).await?;
            }
            open.retain(|index| proposed.contains(index));
            if open.is_empty() {
                return Ok(settled);
            }
            let after = self.holds(open.iter().filter_map(|index| tasks[*index].spec.unique_key.as_deref())).await?;
            open.retain(|index| {
                let key = tasks[*index].spec.unique_key.as_deref().unwrap_or_default();
                match after.get(&point_of(key)) {
                    Some(hold) if hold.version == version => {
                        settled.insert(*index, Placement::Write(hold.holder));
                        false
                    }
                    _ => true,
                }
            });
            if open.is_empty() {
                return Ok(settled);
            }
        }
        let key = tasks[open[0]].spec.unique_key.as_deref().unwrap_or_default();
        Err(StoreError::Unavailable {
            url: self.inner.url.clone(),
            reason: format!("too many others insert tasks with the unique key {key:?} at this moment"),
        })
    }

    async fn holds<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<HashMap<Uuid, Hold>, StoreError> {
        let ids = keys.map(|key| point_of(key).into()).collect();
        let points = self.inner.get("keys", Collection::Keys, ids, Part::All).await?;
        Ok(points.iter().filter_map(hold).collect())
    }

    async fn holders(&self, ids: impl Iterator<Item = TaskId>) -> Result<HashMap<TaskId, Holder>, StoreError> {
        let ids: Vec<_> = ids.map(point_id).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let part = Part::Only(&["status", "created_at"]);
        let points = self.inner.get("key_holders", Collection::Tasks, ids, part).await?;
        let read = |point: RetrievedPoint| {
            let text = point.payload.get("status").and_then(|value| value.as_str()).map_or("", String::as_str);
            let created_at = point.payload.get("created_at").and_then(QdrantValue::as_integer);
            // What does not read as a status is a point of somebody else's that is yet to be admitted: it is alive.
            let status = text.parse().unwrap_or(TaskStatus::Pending);
            let created_at = created_at.map(Timestamp::from_millis);
            Some((task_id(point.id.as_ref())?, Holder { status, created_at }))
        };
        Ok(points.into_iter().filter_map(read).collect())
    }

    /// The task that holds each of `keys`, in their order. Asked in one request.
    pub(super) async fn holders_of(&self, keys: &[String]) -> Result<Vec<Option<TaskId>>, StoreError> {
        let ids = keys.iter().map(|key| point_of(key).into()).collect();
        let points = self.inner.get("key_holders", Collection::Keys, ids, Part::Only(&["holder"])).await?;
        let holder = |point: &RetrievedPoint| {
            Some((task_id(point.id.as_ref())?, point.payload.get("holder")?.as_str()?.parse().ok()?))
        };
        let holders: HashMap<TaskId, TaskId> = points.iter().filter_map(holder).collect();
        Ok(keys.iter().map(|key| holders.get(&TaskId::Uuid(point_of(key))).copied()).collect())
    }

    /// Makes `to` the holder of `key` in the place of `from`; does nothing when another task has the key.
    pub(super) async fn pass_key(&self, key: &str, from: TaskId, to: TaskId, now: Timestamp) -> Result<(), StoreError> {
        let holds = self.holds([key].into_iter()).await?;
        let Some((id, hold)) = holds.into_iter().find(|(_, hold)| hold.holder == from) else { return Ok(()) };
        let version = Uuid::new_v4().simple().to_string();
        let operation = replacement(id, &hold, to, &version, now, None);
        self.inner.update_batch("pass_key", Collection::Keys, vec![operation]).await
    }

    /// Gives back `key` of `holder`, whose task was not inserted; does nothing when another task has the key.
    pub(super) async fn release_key(&self, key: &str, holder: TaskId) -> Result<(), StoreError> {
        let holds = self.holds([key].into_iter()).await?;
        let Some((id, hold)) = holds.into_iter().find(|(_, hold)| hold.holder == holder) else { return Ok(()) };
        let filter = Filter::must([Condition::has_id([id]), Condition::matches("version", hold.version.clone())]);
        self.inner.delete_where("release_key", Collection::Keys, filter).await
    }

    /// Removes keys whose task has been pruned; gives back how many. A key taken anew meanwhile stays.
    ///
    /// # Errors
    /// A failure of the store; calling again is safe.
    pub async fn prune_keys(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = bound(now.plus_millis(-i64::try_from(ABANDONED_MS).unwrap_or(i64::MAX)));
        let (mut pruned, mut after) = (0, None);
        loop {
            let mut request = ScrollPointsBuilder::new(self.inner.name(Collection::Keys))
                .filter(Filter::must([Condition::range("since", Range { lte: Some(before), ..Range::default() })]))
                .limit(u32::try_from(BATCH).unwrap_or(u32::MAX))
                .with_payload(true);
            if let Some(offset) = after {
                request = request.offset::<PointId>(offset);
            }
            let page = self.inner.scroll("prune_keys", request).await?;
            let holds: Vec<(Uuid, Hold)> = page.result.iter().filter_map(hold).collect();
            let holders = self.holders(holds.iter().map(|(_, hold)| hold.holder)).await?;
            for (id, hold) in holds.iter().filter(|(_, hold)| !holders.contains_key(&hold.holder)) {
                let filter =
                    Filter::must([Condition::has_id([*id]), Condition::matches("version", hold.version.clone())]);
                let request = DeletePointsBuilder::new(self.inner.name(Collection::Keys))
                    .points(filter)
                    .wait(true)
                    .ordering(strong());
                self.inner.call("prune_keys", self.inner.client.delete_points(request)).await?;
                pruned += 1;
            }
            after = page.next_page_offset;
            if after.is_none() {
                return Ok(pruned);
            }
        }
    }
}

fn point_of(key: &str) -> Uuid {
    derived(&["unique", key])
}

fn new_key(key: &str, holder: TaskId, version: &str, now: Timestamp) -> PointStruct {
    let payload = json!({"key": key, "holder": holder, "version": version, "since": now});
    let Value::Object(payload) = payload else { return PointStruct::default() };
    PointStruct::new(point_of(key), NamedVectors::default(), Payload::from(to_payload(payload)))
}

fn replacement(
    id: Uuid,
    hold: &Hold,
    holder: TaskId,
    version: &str,
    now: Timestamp,
    kept_until: Option<Timestamp>,
) -> PointsUpdateOperation {
    let filter = Filter::must([Condition::has_id([id]), Condition::matches("version", hold.version.clone())]);
    let patch = json!({"holder": holder, "version": version, "since": now, "kept_until": kept_until});
    let patch = if let Value::Object(patch) = patch { patch } else { Map::new() };
    set_payload(patch, filter)
}

fn hold(point: &RetrievedPoint) -> Option<(Uuid, Hold)> {
    let TaskId::Uuid(id) = task_id(point.id.as_ref())? else { return None };
    let text = |key: &str| point.payload.get(key).and_then(|value| value.as_str());
    let time = |key: &str| point.payload.get(key)?.as_integer().map(Timestamp::from_millis);
    let hold = Hold {
        holder: text("holder")?.parse().ok()?,
        version: text("version")?.clone(),
        since: time("since")?,
        kept_until: time("kept_until"),
    };
    Some((id, hold))
}

/// What became of a task whose place is known.
pub(super) fn inserted(places: &Placements, created: &HashSet<TaskId>) -> Vec<Inserted> {
    let mut left = created.clone();
    // Of several with one id in one call, the first made it.
    places.ids.iter().map(|(id, write)| Inserted { id: *id, created: *write && left.remove(id) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(100_000_000);

    fn judged(age_ms: i64, kept: bool, holder: Option<TaskStatus>) -> Option<Placement> {
        let since = NOW.plus_millis(-age_ms);
        let kept_until = kept.then(|| NOW.plus_millis(1));
        let hold = Hold { holder: TaskId::Number(1), version: "v".into(), since, kept_until };
        let holder = holder.map(|status| Holder { status, created_at: Some(since) });
        match judge(&hold, holder.as_ref(), UniqueFor::Alive, NOW) {
            Verdict::Settled(place) => Some(place),
            Verdict::Propose => None,
        }
    }

    #[test]
    fn a_holder_keeps_others_out_until_it_has_ended() {
        let first = TaskId::Number(1);
        assert_eq!(judged(0, false, Some(TaskStatus::Running)), Some(Placement::Taken(first)));
        assert_eq!(judged(0, false, Some(TaskStatus::Failed)), None);
        assert_eq!(judged(0, true, Some(TaskStatus::Failed)), Some(Placement::Taken(first)), "a requeue is under way");
    }

    #[test]
    fn a_holder_without_a_task_is_helped_at_first_and_replaced_later() {
        assert_eq!(judged(3_599_999, false, None), Some(Placement::Write(TaskId::Number(1))));
        assert_eq!(judged(3_600_000, false, None), None);
    }
}
