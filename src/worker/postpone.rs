//! Tasks whose model is away: what becomes of a run that ended for want of it, and how the agents of this replica say so.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::ReplicaContext;
use crate::clock;
use crate::domain::agent::{AgentLoad, AgentProfile};
use crate::domain::failure::Failure;
use crate::domain::outage::{Access, Interrupted, Outage, Postponement};
use crate::domain::replica::{AgentPresence, ModelAway};
use crate::domain::task::{Task, TaskEvent, TaskStatus};
use crate::domain::time::Timestamp;
use crate::store::{AgentSet, StoreError};
use crate::telemetry::metrics;

impl ReplicaContext {
    /// What becomes of `task`, whose run as `profile` ended with `failure` because the model is away: it waits at no charge,
    /// or fails for good once it has waited longer than the configured patience.
    pub(super) fn put_off(&self, task: &Task, profile: &AgentProfile, failure: &Failure, now: Timestamp) -> TaskEvent {
        let outage = match self.agent.access(profile) {
            Access::Absent => {
                Some(Outage { model: String::new(), since: now, cause: failure.clone(), is_recent: true })
            }
            _ => self.agent.outage(profile),
        };
        let earlier = task.state.postponed.as_ref();
        let mut wait =
            Interrupted { failure, due: task.spec.run_at.max(task.state.created_at), earlier, outage: outage.as_ref() }
                .postponement(now);
        if let Some(failure) = self.agent.patience_s().and_then(|patience| wait.out_of_patience(patience, now)) {
            return TaskEvent::Failed(failure);
        }
        let delay = wait.delay_ms(failure.retry_after_ms, self.retry.max_retry_after_ms);
        let until = after(now, delay);
        // The failure of this run may have opened the circuit, which keeps the task waiting for longer than its own delay.
        if let Access::Away(left) = self.agent.access(profile) {
            wait.not_before = Some(after(now, u64::try_from(left.as_millis()).unwrap_or(u64::MAX)));
        }
        TaskEvent::Postponed(until, wait)
    }

    /// The agents with their load, and how many tasks that need a model each may take now.
    pub(crate) fn loads<'a>(&'a self, in_flight: &[usize]) -> Vec<AgentLoad<'a>> {
        let mut loads = self.slots.loads(in_flight);
        for load in &mut loads {
            load.model_room = match self.agent.access(load.profile) {
                Access::Usable => usize::MAX,
                Access::Probe => 1,
                Access::Away(_) | Access::Absent => 0,
            };
        }
        loads
    }

    /// The agents of this replica, for people and other replicas.
    pub(crate) fn presence(&self) -> Vec<AgentPresence> {
        let with_model = |(profile, mut presence): (&Arc<AgentProfile>, AgentPresence)| {
            presence.model_away = self.model_away(profile);
            presence
        };
        self.slots.profiles().iter().zip(self.slots.presence()).map(with_model).collect()
    }

    /// How many tasks wait for a model, counted in the store unless every model answers.
    ///
    /// # Errors
    /// A failure of the store.
    pub(crate) async fn count_waiting(&self) -> Result<u64, StoreError> {
        let profiles = self.slots.profiles();
        let those = |is_meant: &dyn Fn(&AgentProfile) -> bool| {
            let names: Vec<String> =
                profiles.iter().filter(|profile| is_meant(profile)).map(|profile| profile.name.clone()).collect();
            // The other agents take what names none; what names one that is away waits for it.
            if !names.is_empty() && names.len() == profiles.len() { AgentSet::All } else { AgentSet::Named(names) }
        };
        let away = those(&|profile| self.model_away(profile).is_some());
        // A task waits as soon as its own run has failed, before enough have failed to leave the model alone.
        let failing = those(&|profile| self.model_away(profile).is_some() || self.agent.outage(profile).is_some());
        let now = clock::now();
        let longest = self.retry.max_retry_after_ms.saturating_add(LONGEST_JITTER_MS);
        let until = now.plus_millis(i64::try_from(longest).unwrap_or(i64::MAX));
        let waiting = self.queue.store().waiting_for_model(now, until, &away, &failing).await?;
        self.waiting.store(waiting, Ordering::Release);
        metrics::WAITING_FOR_MODEL.set(waiting, []);
        Ok(waiting)
    }

    /// Whether a model of this replica has failed since it answered last.
    pub(super) fn has_outage(&self) -> bool {
        self.slots.profiles().iter().any(|profile| self.agent.outage(profile).is_some())
    }

    /// Why `profile` takes no task that needs a model; `None` when it does.
    fn model_away(&self, profile: &AgentProfile) -> Option<ModelAway> {
        match self.agent.access(profile) {
            Access::Usable => None,
            Access::Absent => Some(ModelAway { model: String::new(), since: None, cause: NO_MODEL.to_owned() }),
            Access::Probe | Access::Away(_) => {
                let outage = self.agent.outage(profile)?;
                Some(ModelAway { model: outage.model, since: Some(outage.since), cause: outage.cause.message })
            }
        }
    }

    /// Why a due task waits for its model, and when it is tried next, also when it was never tried: what is stored with it,
    /// else what is known here of the models of the agents it may go to. No next try is known without a model, nor for a run of
    /// this replica whose calls fail now, which goes on trying.
    pub(crate) fn waits_for_model(&self, task: &Task, now: Timestamp) -> Option<(Postponement, Option<Timestamp>)> {
        if self.runs_here(task) {
            return self.failing_run(task, now).map(|wait| (wait, None));
        }
        if task.state.status != TaskStatus::Pending || !task.spec.needs_model() {
            return None;
        }
        let profiles = self.profiles_for(task);
        let access = profiles.iter().map(|profile| self.agent.access(profile)).reduce(Access::or);
        let next = match access {
            Some(Access::Absent) => None,
            Some(Access::Away(left)) => {
                Some(task.spec.run_at.max(after(now, u64::try_from(left.as_millis()).unwrap_or(u64::MAX))))
            }
            Some(Access::Probe | Access::Usable) | None => Some(task.spec.run_at.max(now)),
        };
        let stored = task.state.postponed.as_ref();
        // What a process met before this one began says nothing about the model now.
        let is_known = |wait: &&Postponement| {
            wait.last >= self.started_at || profiles.iter().any(|profile| self.agent.outage(profile).is_some())
        };
        if let Some(wait) = stored.filter(is_known) {
            let told = wait.next_try(task.spec.run_at);
            // What was told when the task was put off stands unless its model is tried at another time since.
            let stands =
                |next: &Timestamp| told > now && told.millis_since(*next).max(next.millis_since(told)) < SAME_TRY_MS;
            return Some((wait.clone(), next.map(|next| if stands(&next) { told } else { next })));
        }
        let is_away = matches!(access, Some(Access::Away(_) | Access::Absent | Access::Probe));
        if (task.spec.run_at > now && stored.is_none()) || !is_away {
            return None;
        }
        let away = profiles.iter().find_map(|profile| self.model_away(profile))?;
        let since = away.since.unwrap_or(task.spec.run_at);
        Some((untried(task, away.model, since, Failure::unavailable(away.cause), now), next))
    }

    /// The agents of this replica that `task` may go to.
    fn profiles_for(&self, task: &Task) -> Vec<&Arc<AgentProfile>> {
        let fits = |profile: &&Arc<AgentProfile>| match &task.spec.agent {
            Some(name) => profile.name == *name,
            None => profile.offers(&task.spec.capabilities),
        };
        self.slots.profiles().iter().filter(fits).collect()
    }

    fn runs_here(&self, task: &Task) -> bool {
        let claim = task.state.claim.as_ref().filter(|_| task.state.status == TaskStatus::Running);
        claim.is_some_and(|claim| claim.owner == self.queue.replica_id())
    }

    /// Why a run of this replica waits: no model that its agents may ask has answered since it failed.
    fn failing_run(&self, task: &Task, now: Timestamp) -> Option<Postponement> {
        if !task.spec.needs_model() {
            return None;
        }
        let profiles = self.profiles_for(task);
        let outage =
            profiles.first().and_then(|profile| self.agent.outage(profile)).filter(|outage| outage.is_recent)?;
        let fail = profiles.iter().all(|profile| self.agent.all_fail(profile));
        fail.then(|| match &task.state.postponed {
            Some(earlier) => earlier.clone(),
            None => untried(task, outage.model, outage.since, outage.cause, now),
        })
    }
}

/// The wait of a task that no run has ended for yet.
fn untried(task: &Task, model: String, since: Timestamp, cause: Failure, now: Timestamp) -> Postponement {
    let since = since.max(task.spec.run_at).max(task.state.created_at).min(now);
    Postponement { model, since, times: 0, last: now, not_before: None, cause }
}

/// The moment `ms` milliseconds after `now`.
fn after(now: Timestamp, ms: u64) -> Timestamp {
    now.plus_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// Longest random part of a postponement, in milliseconds, with time to claim the task.
const LONGEST_JITTER_MS: u64 = 10_000;

/// Two times of a next try that are less than this apart, in milliseconds, are one: both are read off a clock, one after the other.
const SAME_TRY_MS: u64 = 1_000;

const NO_MODEL: &str = "no model is configured here: set model.base_url or model.api_key";
