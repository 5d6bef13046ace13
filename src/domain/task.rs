//! A task and its life. [`Task::apply`] is the only place that knows which change of status is legal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::approval::{self, Approval, Ruling, Subject, Verdict};
use super::dependency::OnDependencyFailure;
use super::failure::{Failure, FailureClass};
use super::id::TaskId;
use super::plan::Plan;
use super::time::Timestamp;
use super::unique::UniqueFor;

/// Priority of a task that names none.
pub const DEFAULT_PRIORITY: u8 = 5;
/// Highest priority.
pub const MAX_PRIORITY: u8 = 10;
/// Attempts of a task that names no number.
pub const DEFAULT_MAX_ATTEMPTS: u32 = 3;
/// Time limit of one attempt, in seconds, of a task that names none.
pub const DEFAULT_TIMEOUT_S: u64 = 600;
/// Longest goal, in characters.
pub const MAX_GOAL_CHARS: usize = 50_000;
/// A task whose process died this often while running it is not run again.
pub const MAX_CRASHES: u32 = 3;

/// Head start in milliseconds that each level of priority is worth in the order of due tasks.
const HEAD_START_MS: i64 = 60_000;

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Waits for other tasks; the scheduler moves it on.
    Waiting,
    /// Ready to be claimed once `run_at` has come.
    Pending,
    /// Claimed by a replica, which alone moves it on; rescued when that replica dies.
    Running,
    /// Waits for a person.
    AwaitingApproval,
    /// Ended well. Terminal.
    Completed,
    /// Ended badly and is in the dead letters. Terminal until requeued.
    Failed,
    /// Stopped by somebody. Terminal until requeued.
    Cancelled,
    /// A task it depends on ended badly. Terminal until requeued.
    Blocked,
    /// A firing that was missed or would have overlapped. Terminal.
    Skipped,
}

impl TaskStatus {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Pending,
        Self::Running,
        Self::AwaitingApproval,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Blocked,
        Self::Skipped,
    ];

    /// The status as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Running => "running",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more happens to the task by itself.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Blocked | Self::Skipped)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Text that names no status.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is not a status: use waiting, pending, running, awaiting_approval, completed, failed, cancelled, blocked or skipped"
)]
pub struct InvalidStatus(pub String);

impl FromStr for TaskStatus {
    type Err = InvalidStatus;

    /// Reads a status in any case, and the words other task systems use for it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = text.trim().to_ascii_lowercase().replace(['-', ' '], "_");
        if let Some(status) = Self::ALL.into_iter().find(|status| status.as_str() == word) {
            return Ok(status);
        }
        match word.as_str() {
            "queued" | "scheduled" | "new" | "todo" | "open" => Ok(Self::Pending),
            "working" | "in_progress" => Ok(Self::Running),
            "done" | "success" | "succeeded" => Ok(Self::Completed),
            "error" => Ok(Self::Failed),
            "canceled" => Ok(Self::Cancelled),
            _ => Err(InvalidStatus(text.to_owned())),
        }
    }
}

/// The right to carry out a task: given to one replica at a time, and the fence of everything it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Unique token of the claim; a batch claimed together shares it.
    pub token: String,
    /// Id of the replica that holds it.
    pub owner: String,
}

/// A task: what shall be done, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Id of the task and of its point.
    pub id: TaskId,
    /// What the agent shall achieve.
    pub goal: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it becomes due.
    pub run_at: Timestamp,
    /// 0 (can wait) to 10 (urgent).
    pub priority: u8,
    /// Agent it must go to; any capable one otherwise.
    pub agent: Option<String>,
    /// What its agent must be able to do.
    pub capabilities: Vec<String>,
    /// Tasks that must have ended before it becomes pending.
    pub depends_on: Vec<TaskId>,
    /// What it does when one of those ends otherwise than completed.
    pub on_dependency_failure: OnDependencyFailure,
    /// Task that made it.
    pub parent: Option<TaskId>,
    /// Key that keeps out others with the same.
    pub unique_key: Option<String>,
    /// How long the key had to be free for it to be inserted.
    pub unique_for: UniqueFor,
    /// Whose share of the capacity it takes, e.g. a customer; limits may apply to it.
    pub concurrency_key: Option<String>,
    /// Schedule whose firing it is.
    pub schedule_id: Option<String>,
    /// Attempts that ended in failure and were charged.
    pub attempt: u32,
    /// Attempts it may have.
    pub max_attempts: u32,
    /// Times its process died while running it.
    pub crashes: u32,
    /// Times it was handed back unfinished and uncharged.
    pub releases: u32,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: u64,
    /// Plan to carry out; made by a model when absent.
    pub plan: Option<Plan>,
    /// Data for the agent.
    pub context: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// On whose behalf it runs.
    pub user: Option<String>,
    /// Who runs it; only while running.
    pub claim: Option<Claim>,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it reached a terminal status.
    pub finished_at: Option<Timestamp>,
    /// What came of it.
    pub result: Option<Value>,
    /// The last failure; cleared when it completes.
    pub error: Option<Failure>,
    /// Somebody asked to stop it while it was running.
    pub cancel_requested: bool,
    /// What people were asked about it, and what they decided.
    pub approvals: Vec<Approval>,
    /// Fields of the point that qron does not know; kept as they are.
    pub extra: Map<String, Value>,
}

/// Something that happens to a task.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskEvent {
    /// Every task it depends on is completed, or has ended and it goes on whatever came of them.
    DependenciesDone,
    /// A task it depends on ended otherwise.
    DependencyFailed(TaskId),
    /// A replica won the right to run it.
    Claimed(Claim),
    /// It ended well.
    Completed(Value),
    /// It ended badly and is not tried again.
    Failed(Failure),
    /// An attempt failed; the next one starts at the given time.
    RetryAt(Timestamp, Failure),
    /// Its replica hands it back unfinished, at no charge.
    Released,
    /// Its replica died while running it.
    Rescued,
    /// Somebody asks to stop it.
    CancelRequested,
    /// The replica that ran it has stopped it.
    Cancelled,
    /// Somebody wants it done again, from a clean slate.
    Requeued,
    /// Its run can go on only after a person has decided on these calls.
    ApprovalNeeded(Vec<Approval>),
    /// Somebody agreed to what it asks.
    Approved(Ruling),
    /// Somebody refused what it asks.
    Denied(Ruling),
    /// Nobody decided in time.
    ApprovalExpired,
    /// Somebody gave it another priority.
    Reprioritised(u8),
    /// Somebody moved the time at which it becomes due.
    Snoozed(Timestamp),
}

impl TaskEvent {
    /// The name of the event in the history.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DependenciesDone => "dependencies_done",
            Self::DependencyFailed(_) => "dependency_failed",
            Self::Claimed(_) => "claimed",
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::RetryAt(..) => "retry_scheduled",
            Self::Released => "released",
            Self::Rescued => "rescued",
            Self::CancelRequested => "cancel_requested",
            Self::Cancelled => "cancelled",
            Self::Requeued => "requeued",
            Self::ApprovalNeeded(_) => "approval_needed",
            Self::Approved(_) => "approved",
            Self::Denied(_) => "denied",
            Self::ApprovalExpired => "approval_expired",
            Self::Reprioritised(_) => "reprioritised",
            Self::Snoozed(_) => "snoozed",
        }
    }
}

/// A change that a task in this status does not allow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("task {id} is {status}: {event} does not apply to it")]
pub struct IllegalTransition {
    /// The task.
    pub id: TaskId,
    /// Its status.
    pub status: TaskStatus,
    /// Name of the event.
    pub event: &'static str,
}

impl Task {
    /// Whether there is nothing to run: its plan has no steps. It completes as soon as it is claimed, e.g. once all that it
    /// depends on is done, and leaves no trace but its own times and result.
    #[must_use]
    pub fn is_milestone(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.steps.is_empty())
    }

    /// A task for `goal`, due at once, with defaults everywhere else.
    #[must_use]
    pub fn new(id: TaskId, goal: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            goal: goal.into(),
            status: TaskStatus::Pending,
            run_at: now,
            priority: DEFAULT_PRIORITY,
            agent: None,
            capabilities: Vec::new(),
            depends_on: Vec::new(),
            on_dependency_failure: OnDependencyFailure::default(),
            parent: None,
            unique_key: None,
            unique_for: UniqueFor::default(),
            concurrency_key: None,
            schedule_id: None,
            attempt: 0,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            crashes: 0,
            releases: 0,
            timeout_s: DEFAULT_TIMEOUT_S,
            plan: None,
            context: Map::new(),
            tags: Vec::new(),
            user: None,
            claim: None,
            created_at: now,
            updated_at: now,
            finished_at: None,
            result: None,
            error: None,
            cancel_requested: false,
            approvals: Vec::new(),
            extra: Map::new(),
        }
    }

    /// Place in the order of due tasks, in milliseconds: `run_at` minus a head start of a minute for each
    /// level of priority. Urgent tasks go first, and old ones still advance past newer urgent ones.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.run_at.as_millis().saturating_sub(i64::from(self.priority) * HEAD_START_MS)
    }

    /// How often it was started before, charged or not. Zero means that there is no checkpoint to look for.
    #[must_use]
    pub const fn earlier_runs(&self) -> u32 {
        self.attempt.saturating_add(self.crashes).saturating_add(self.releases)
    }

    /// The task after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] when its status does not allow the event; the task is unchanged.
    pub fn apply(&self, event: &TaskEvent, now: Timestamp) -> Result<Self, IllegalTransition> {
        use TaskStatus::{AwaitingApproval, Blocked, Cancelled, Completed, Failed, Pending, Running, Waiting};

        let mut next = Self { updated_at: now, ..self.clone() };
        match (self.status, event) {
            (Waiting, TaskEvent::DependenciesDone) => next.status = Pending,
            (Waiting, TaskEvent::DependencyFailed(dependency)) => {
                next.error =
                    Some(Failure::permanent(format!("task {dependency}, which it depends on, did not complete")));
                next.finish(Blocked, now);
            }
            (Pending, TaskEvent::Claimed(claim)) => {
                next.status = Running;
                next.claim = Some(claim.clone());
            }
            (Running, TaskEvent::Completed(result)) => {
                next.result = Some(result.clone());
                next.error = None;
                next.finish(Completed, now);
            }
            (Running, TaskEvent::Failed(failure)) => {
                next.attempt += 1;
                next.error = Some(failure.clone());
                next.finish(Failed, now);
            }
            (Running, TaskEvent::RetryAt(at, failure)) => {
                next.attempt += 1;
                next.error = Some(failure.clone());
                next.run_at = *at;
                next.hand_back();
            }
            (Running, TaskEvent::Released) => {
                next.releases += 1;
                next.hand_back();
            }
            (Running, TaskEvent::Rescued) if self.crashes + 1 >= MAX_CRASHES => {
                next.crashes += 1;
                next.error = Some(Failure::new(
                    FailureClass::Crashed,
                    format!("the process that ran it died {} times", next.crashes),
                ));
                next.finish(Failed, now);
            }
            (Running, TaskEvent::Rescued) => {
                next.crashes += 1;
                next.hand_back();
            }
            (Running, TaskEvent::CancelRequested) => next.cancel_requested = true,
            (Waiting | Pending | AwaitingApproval, TaskEvent::CancelRequested) | (Running, TaskEvent::Cancelled) => {
                next.error = Some(Failure::new(FailureClass::Cancelled, "cancelled on request"));
                next.finish(Cancelled, now);
            }
            (Failed | Cancelled | Blocked, TaskEvent::Requeued) => next.start_over(now),
            (Running, TaskEvent::ApprovalNeeded(asked)) => {
                // Counted, so that the next run looks for the checkpoint of this one.
                next.releases += 1;
                next.hand_back();
                next.approvals.retain(|known| asked.iter().all(|new| new.hash != known.hash));
                next.approvals.extend(asked.iter().cloned());
                next.status = AwaitingApproval;
            }
            (AwaitingApproval, TaskEvent::Approved(ruling))
                if approval::rule(&mut next.approvals, ruling, Verdict::Approved, now) =>
            {
                next.after_decision(now);
            }
            (AwaitingApproval, TaskEvent::Denied(ruling))
                if approval::rule(&mut next.approvals, ruling, Verdict::Denied, now) =>
            {
                next.after_decision(now);
            }
            (AwaitingApproval, TaskEvent::ApprovalExpired) if approval::expire(&mut next.approvals, now) => {
                next.after_decision(now);
            }
            (Waiting | Pending | AwaitingApproval, TaskEvent::Reprioritised(priority)) => {
                next.priority = (*priority).min(MAX_PRIORITY);
            }
            (Waiting | Pending | AwaitingApproval, TaskEvent::Snoozed(until)) => next.run_at = *until,
            _ => return Err(IllegalTransition { id: self.id, status: self.status, event: event.name() }),
        }
        Ok(next)
    }

    fn finish(&mut self, status: TaskStatus, now: Timestamp) {
        self.status = status;
        self.claim = None;
        self.finished_at = Some(now);
    }

    fn hand_back(&mut self) {
        self.status = TaskStatus::Pending;
        self.claim = None;
    }

    /// Goes on once everything is decided: refused calls are told to the run, a refused task ends.
    fn after_decision(&mut self, now: Timestamp) {
        let mut of_task = self.approvals.iter().filter(|approval| approval.subject == Subject::Task);
        if let Some(refusal) = of_task.find_map(Approval::refusal) {
            self.error = Some(Failure::new(FailureClass::Cancelled, refusal.message));
            self.finish(TaskStatus::Cancelled, now);
        } else if self.approvals.iter().all(|approval| !approval.is_open()) {
            let is_new = self.earlier_runs() == 0;
            self.status = if is_new && !self.depends_on.is_empty() { TaskStatus::Waiting } else { TaskStatus::Pending };
        }
    }

    fn start_over(&mut self, now: Timestamp) {
        let asks = approval::start_over(&mut self.approvals, now);
        // One that never ran may have been ahead of what it depends on.
        let never_ran = self.status != TaskStatus::Failed;
        self.status = match (asks, never_ran && !self.depends_on.is_empty()) {
            (true, _) => TaskStatus::AwaitingApproval,
            (false, true) => TaskStatus::Waiting,
            (false, false) => TaskStatus::Pending,
        };
        self.run_at = now;
        self.attempt = 0;
        self.crashes = 0;
        // Counted, so that the next run looks for the checkpoint of the last one.
        self.releases += 1;
        self.finished_at = None;
        self.cancel_requested = false;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const LATER: Timestamp = Timestamp::from_millis(2_000_000);

    fn task(status: TaskStatus) -> Task {
        Task { status, ..Task::new(TaskId::Number(1), "do it", NOW) }
    }

    fn events() -> Vec<TaskEvent> {
        let claim = Claim { token: "t".into(), owner: "r".into() };
        vec![
            TaskEvent::DependenciesDone,
            TaskEvent::DependencyFailed(TaskId::Number(2)),
            TaskEvent::Claimed(claim),
            TaskEvent::Completed(json!(1)),
            TaskEvent::Failed(Failure::permanent("no")),
            TaskEvent::RetryAt(LATER, Failure::transient("busy")),
            TaskEvent::Released,
            TaskEvent::Rescued,
            TaskEvent::CancelRequested,
            TaskEvent::Cancelled,
            TaskEvent::Requeued,
            TaskEvent::ApprovalNeeded(vec![asked("one", Subject::Task)]),
            TaskEvent::Approved(ruling("one")),
            TaskEvent::Denied(ruling("one")),
            TaskEvent::ApprovalExpired,
            TaskEvent::Reprioritised(9),
            TaskEvent::Snoozed(LATER),
        ]
    }

    fn ruling(hash: &str) -> Ruling {
        Ruling { hashes: vec![hash.to_owned()], by: Some("ada".into()), note: None }
    }

    fn asked(hash: &str, subject: Subject) -> Approval {
        Approval { hash: hash.to_owned(), subject, asked_at: NOW, expires_at: None, decision: None }
    }

    fn a_call() -> Subject {
        Subject::Call { id: "s#1".into(), step: "s".into(), tool: "send".into(), arguments: "{}".into() }
    }

    /// Tasks of `status` that differ in what decides about the next one.
    fn variants(status: TaskStatus) -> Vec<Task> {
        let over = |subject| Approval { expires_at: Some(LATER), ..asked("two", subject) };
        let asks = [
            vec![],
            vec![asked("one", Subject::Task)],
            vec![asked("one", a_call())],
            vec![asked("one", a_call()), asked("two", a_call())],
            vec![over(Subject::Task)],
            vec![over(a_call())],
            vec![over(a_call()), asked("one", a_call())],
        ];
        let with = |approvals: Vec<Approval>| {
            let asking = Task { approvals, ..task(status) };
            let crashing = Task { crashes: MAX_CRASHES - 1, ..asking.clone() };
            [Task { depends_on: vec![TaskId::Number(2)], ..asking.clone() }, asking, crashing]
        };
        asks.into_iter().flat_map(with).collect()
    }

    /// The diagram of docs/lifecycle.md and the code say the same.
    #[test]
    fn the_documented_diagram_is_the_code() {
        let mut drawn: Vec<String> = include_str!("../../docs/lifecycle.md")
            .lines()
            .filter_map(|line| line.trim().split_once(" --> "))
            .filter(|(from, _)| *from != "[*]")
            .filter_map(|(from, rest)| rest.split_once(": ").map(|(to, event)| (from, to, event)))
            .flat_map(|(from, to, events)| events.split(", ").map(move |event| format!("{from} {event} {to}")))
            .collect();
        let mut coded = Vec::new();
        for status in TaskStatus::ALL {
            for event in events() {
                for before in variants(status) {
                    if let Ok(after) = before.apply(&event, LATER) {
                        coded.push(format!("{status} {} {}", event.name(), after.status));
                    }
                }
            }
        }
        drawn.sort();
        coded.sort();
        coded.dedup();
        assert_eq!(drawn, coded);
    }

    #[test]
    fn only_a_running_task_holds_a_claim_and_only_a_terminal_one_is_finished() {
        for status in TaskStatus::ALL {
            for event in events() {
                let mut before = task(status);
                if status == TaskStatus::Running {
                    before.claim = Some(Claim { token: "t".into(), owner: "r".into() });
                }
                let Ok(after) = before.apply(&event, LATER) else { continue };
                assert_eq!(after.claim.is_some(), after.status == TaskStatus::Running, "{status} {}", event.name());
                assert_eq!(after.finished_at.is_some(), after.status.is_terminal(), "{status} {}", event.name());
                assert_eq!(after.updated_at, LATER);
            }
        }
    }

    #[test]
    fn a_task_goes_on_once_all_its_calls_are_decided() {
        let mut waiting = Task { releases: 1, ..task(TaskStatus::AwaitingApproval) };
        waiting.approvals = vec![asked("one", a_call()), asked("two", a_call())];
        let half = waiting.apply(&TaskEvent::Approved(ruling("one")), LATER).expect("legal");
        assert_eq!(half.status, TaskStatus::AwaitingApproval);
        assert!(half.apply(&TaskEvent::Approved(ruling("one")), LATER).is_err(), "decided once");
        assert!(half.apply(&TaskEvent::Approved(ruling("three")), LATER).is_err(), "not asked");
        let whole = half.apply(&TaskEvent::Denied(ruling("two")), LATER).expect("legal");
        assert_eq!(whole.status, TaskStatus::Pending);
        let verdicts: Vec<_> = whole.approvals.iter().filter_map(|a| Some(a.decision.as_ref()?.verdict)).collect();
        assert_eq!(verdicts, [Verdict::Approved, Verdict::Denied]);
    }

    #[test]
    fn doing_a_task_again_does_not_get_around_its_approval() {
        let mut denied = task(TaskStatus::AwaitingApproval);
        denied.approvals = vec![asked("one", Subject::Task)];
        let denied = denied.apply(&TaskEvent::Denied(ruling("one")), LATER).expect("legal");
        assert_eq!(denied.status, TaskStatus::Cancelled);
        let again = denied.apply(&TaskEvent::Requeued, LATER).expect("legal");
        assert_eq!(again.status, TaskStatus::AwaitingApproval);
        let approved = again.apply(&TaskEvent::Approved(ruling("one")), LATER).expect("asked anew");
        let failed = Task { status: TaskStatus::Failed, ..approved };
        assert_eq!(failed.apply(&TaskEvent::Requeued, LATER).expect("legal").status, TaskStatus::Pending);
    }

    #[test]
    fn only_failures_are_charged() {
        let running = task(TaskStatus::Running);
        let charged = |event| running.apply(&event, LATER).expect("legal").attempt;
        assert_eq!(charged(TaskEvent::Released), 0);
        assert_eq!(charged(TaskEvent::Rescued), 0);
        assert_eq!(charged(TaskEvent::Completed(json!(null))), 0);
        assert_eq!(charged(TaskEvent::RetryAt(LATER, Failure::transient("x"))), 1);
        assert_eq!(charged(TaskEvent::Failed(Failure::permanent("x"))), 1);
    }

    #[test]
    fn the_third_crash_ends_a_task() {
        let poisonous = Task { crashes: 2, ..task(TaskStatus::Running) };
        let after = poisonous.apply(&TaskEvent::Rescued, LATER).expect("legal");
        assert_eq!(after.status, TaskStatus::Failed);
        assert_eq!(after.error.expect("a reason").class, FailureClass::Crashed);
    }

    #[test]
    fn urgency_is_a_head_start_not_a_right_of_way() {
        let urgent_now = Task { priority: 10, ..Task::new(TaskId::Number(1), "urgent", LATER) };
        let old = Task { priority: 0, ..Task::new(TaskId::Number(2), "old", LATER.plus_millis(-11 * 60_000)) };
        let recent = Task { priority: 0, ..Task::new(TaskId::Number(3), "recent", LATER.plus_millis(-60_000)) };
        assert!(old.rank() < urgent_now.rank());
        assert!(urgent_now.rank() < recent.rank());
    }

    #[test]
    fn words_of_other_systems_are_understood() {
        for (text, status) in [
            ("PENDING", TaskStatus::Pending),
            (" In-Progress ", TaskStatus::Running),
            ("working", TaskStatus::Running),
            ("Done", TaskStatus::Completed),
            ("awaiting approval", TaskStatus::AwaitingApproval),
        ] {
            assert_eq!(text.parse(), Ok(status));
        }
        assert_eq!("whatever".parse::<TaskStatus>(), Err(InvalidStatus("whatever".into())));
    }
}
