//! Claims under way: several at a time, so that freed capacity does not wait for the claim before it.
//!
//! A task that one claim is after is not given to the next; who wins it is decided in the store alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::limits::{Enforcer, LimitScope};
use crate::background::guarded;
use crate::domain::id::TaskId;
use crate::domain::task::{Claim, Task};
use crate::domain::time::Timestamp;
use crate::store::{AgentLimitTag, StoreError};
use crate::worker::STORE_RETRY;
use crate::worker::context::ReplicaContext;
use crate::worker::slots::Slot;

/// Most claims under way.
const MAX_CLAIMS: usize = 3;
/// Tries of a claim that the store refuses rather than leaves unanswered.
const REFUSED_TRIES: u32 = 3;

/// The claims of one replica.
pub(super) struct Claims {
    context: Arc<ReplicaContext>,
    limits: Arc<Enforcer>,
    under_way: JoinSet<Claimed>,
    /// What they are after.
    wanted: HashSet<TaskId>,
}

/// What became of a claim. What it won has been started.
#[derive(Debug)]
pub(super) struct Claimed {
    ids: Vec<TaskId>,
    /// Tasks won; [`None`] when that is not known, or a part of it.
    pub(super) won: Option<usize>,
}

impl Claimed {
    /// Tasks it was after.
    pub(super) const fn tried(&self) -> usize {
        self.ids.len()
    }
}

impl Claims {
    pub(super) fn new(context: Arc<ReplicaContext>, limits: Arc<Enforcer>) -> Self {
        Self { context, limits, under_way: JoinSet::new(), wanted: HashSet::new() }
    }

    /// What claims under way are after.
    pub(super) const fn wanted(&self) -> &HashSet<TaskId> {
        &self.wanted
    }

    /// Whether any is under way.
    pub(super) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Whether one more may begin.
    pub(super) fn have_room(&self) -> bool {
        self.under_way.len() < MAX_CLAIMS
    }

    /// Begins to claim tasks that have a slot.
    pub(super) fn begin(&mut self, picks: Vec<(TaskId, Slot)>, now: Timestamp) {
        let ids: Vec<TaskId> = picks.iter().map(|(id, _)| *id).collect();
        self.wanted.extend(&ids);
        let (context, limits) = (Arc::clone(&self.context), Arc::clone(&self.limits));
        let under: Vec<LimitScope> = if limits.is_empty() {
            Vec::new()
        } else {
            let names: Vec<_> = picks.iter().map(|(_, slot)| (slot.key(), slot.profile().name.as_str())).collect();
            limits.begin(&names)
        };
        self.under_way.spawn(async move {
            let won = guarded("claim", claim_all(&context, &limits, picks, now)).await;
            limits.done(&under);
            if won.is_none() {
                context.unsettled.store(true, Ordering::Release);
            }
            Claimed { ids, won: won.and_then(Result::ok) }
        });
    }

    /// The next claim that ends; `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Claimed> {
        let claimed = self.under_way.join_next().await?.ok()?;
        for id in &claimed.ids {
            self.wanted.remove(id);
        }
        Some(claimed)
    }
}

/// Claims and starts; those of each agent with a limit by a claim of their own, which says as whom they run.
async fn claim_all(
    context: &Arc<ReplicaContext>,
    limits: &Enforcer,
    picks: Vec<(TaskId, Slot)>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    if !limits.counts_agents() {
        return claim(context, limits, AgentLimitTag::Untracked, picks, now).await;
    }
    let mut groups: HashMap<Option<String>, Vec<(TaskId, Slot)>> = HashMap::new();
    for (id, slot) in picks {
        let agent = limits.limited(&slot.profile().name).map(str::to_owned);
        groups.entry(agent).or_default().push((id, slot));
    }
    let mut started = Ok(0);
    for (agent, picks) in groups {
        let runs_as = agent.as_deref().map_or(AgentLimitTag::Unlimited, AgentLimitTag::Agent);
        let more = claim(context, limits, runs_as, picks, now).await;
        // A claim that failed does not stop the others, but is told.
        started = started.and_then(|started| more.map(|more| started + more));
    }
    started
}

/// Claims what has a slot and starts what it won; gives back how many it won.
async fn claim(
    context: &Arc<ReplicaContext>,
    limits: &Enforcer,
    runs_as: AgentLimitTag<'_>,
    picks: Vec<(TaskId, Slot)>,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let ids: Vec<TaskId> = picks.iter().map(|(id, _)| *id).collect();
    let claim = Claim { token: Uuid::now_v7().to_string(), owner: context.queue.replica_id().to_owned() };
    let won = claim_until_known(context, &ids, &claim, runs_as, now).await?;
    let mut slots: HashMap<TaskId, Slot> = picks.into_iter().collect();
    let mut held = Vec::with_capacity(won.len());
    for task in won {
        if let Some(slot) = slots.remove(&task.id) {
            held.push((task, slot));
        } else {
            tracing::error!(task = %task.id, "the store returned a task that the claim did not name");
        }
    }
    // What others won needs no place here any longer.
    drop(slots);
    let count = held.len();
    let admitted = if limits.is_empty() {
        held
    } else {
        // The most urgent start, if not all may.
        held.sort_by_key(|(task, _)| (task.spec.rank(), task.id));
        limits.admit(context, held).await
    };
    for (task, slot) in admitted {
        context.queue.record_start(&task, &slot.profile().name);
        context.start(task, slot);
    }
    Ok(count)
}

/// Repeats a claim until it is known what was won: a claim that took effect without an answer would leave tasks
/// running in name only. The same token makes the repetition harmless.
async fn claim_until_known(
    context: &ReplicaContext,
    ids: &[TaskId],
    claim: &Claim,
    runs_as: AgentLimitTag<'_>,
    now: Timestamp,
) -> Result<Vec<Task>, StoreError> {
    let mut tries = 0;
    loop {
        let error = match context.queue.claim(ids, claim, runs_as, now).await {
            Ok(won) => return Ok(won),
            Err(error) => error,
        };
        tries += 1;
        let give_up = context.cut.is_cancelled() || (!error.is_transient() && tries >= REFUSED_TRIES);
        if give_up {
            tracing::error!(%error, "the store did not say which tasks a claim won: they are rescued when their lease expires");
            context.unsettled.store(true, Ordering::Release);
            return Err(error);
        }
        let wait = Duration::from_millis(STORE_RETRY.delay(tries));
        tracing::warn!(%error, tries, "the store did not answer a claim; repeating it in {wait:?}");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = context.cut.cancelled() => {}
        }
    }
}
