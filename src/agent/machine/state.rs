//! The serialised state of the machine.
//!
//! The setup (goal, tools, limits) is not in here: it comes from the task and the configuration of the process
//! that continues the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::account::StepAccount;
pub(super) use super::act_state::{Act, ActCall, CallStatus};
use super::order_phase::{OrderPhase, Orders};
use super::reused_plan::Reuse;
use crate::domain::budget::Spent;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::number;
use crate::domain::plan::{Outputs, PlanStep};
use crate::domain::provenance::Provenance;
use crate::domain::time::Timestamp;

/// Version of the serialised form. Raised when an older program could misread a newer state or the reverse.
pub(super) const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) version: u32,
    pub(super) phase: Phase,
    /// Steps of the plan in force, and the done steps of earlier plans.
    pub(super) steps: Vec<Step>,
    /// Failed and blocked steps that a new plan replaced.
    pub(super) abandoned: Vec<Step>,
    /// The step of the plan in force whose output is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<String>,
    /// The plan of earlier runs that the run began with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reuse: Option<Reuse>,
    /// What the model said is missing, when it wanted more steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) missing: Option<String>,
    /// The time that the model is told. It stays the same within a run, so that no prompt changes for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<RunClock>,
    /// Whether the model works in turns, without a plan.
    #[serde(default)]
    pub(super) turns: bool,
    /// What the model had seen when it made a plan, by the number of the plan.
    #[serde(default)]
    pub(super) planned_from: BTreeMap<u32, Provenance>,
    /// Where the content of the artifacts came from that hold long outputs of this run, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) artifacts: BTreeMap<String, Provenance>,
    /// Whether something that a model made after it had read something has left the run: what servers answer from then on may
    /// repeat it.
    #[serde(default)]
    pub(super) has_told: bool,
    /// Bytes that requests have taken to hosts which nobody named, beside links.
    #[serde(default)]
    pub(super) added_bytes: usize,
    /// Most bytes of data that were left out of one question about a step or the answer, because the model reads no more at once.
    #[serde(default)]
    pub(super) data_left_out: u64,
    /// Plans made before the one in force.
    #[serde(deserialize_with = "number::count")]
    pub(super) revision: u32,
    pub(super) spent: Spent,
    /// Tokens and cost of the most expensive model call so far.
    #[serde(rename = "dearest")]
    pub(super) costliest: Reservation,
    /// Reservations of the model calls in flight, by call id.
    #[serde(default)]
    pub(super) reserved: BTreeMap<String, Reservation>,
    /// The failure that the run ends with as soon as nothing is in flight.
    pub(super) stopping: Option<Failure>,
    /// How the run ended, in the phase it was in.
    pub(super) ended: Option<Result<Value, Failure>>,
}

/// When a run began or continued, in the words for the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunClock {
    /// The time.
    pub at: Timestamp,
    /// The weekday, date, time and zone, and what is known of the recurrence.
    pub text: String,
}

/// Tokens and cost of a model call, spent or reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Reservation {
    #[serde(deserialize_with = "number::count")]
    pub(super) tokens: u64,
    #[serde(deserialize_with = "number::amount")]
    pub(super) cost_usd: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Phase {
    Planning(OpenQuestion),
    Replanning(OpenQuestion),
    Steps,
    Answering(OpenQuestion),
}

/// A structured question to the model, with its unusable answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenQuestion {
    pub(super) in_flight: bool,
    pub(super) rejected: Vec<Rejected>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Rejected {
    pub(super) reply: String,
    pub(super) error: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) plan: PlanStep,
    /// The plan it belongs to; part of its call ids, because a new plan may use the name of a failed step again.
    #[serde(deserialize_with = "number::count")]
    pub(super) revision: u32,
    /// Whether it has been counted as started; a fresh chance is no further step.
    pub(super) counted: bool,
    /// Tool calls made so far by a step that needs judgement; never goes back, so that call ids are not reused.
    #[serde(deserialize_with = "number::count")]
    pub(super) calls: u32,
    pub(super) status: Status,
    /// The steps that carry out the elements of its list, once the list was read, or that read a long text for it in parts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) elements: Option<Vec<String>>,
    /// The part of a long text that it reads for another step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part>,
    /// The step of whose list it carries out an element, or for which it reads a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) element_of: Option<String>,
    /// Numbers and addresses of its output that stand in nothing that its model was shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ungrounded: Vec<String>,
    /// Whether the links of its output may be followed.
    #[serde(default)]
    pub(super) gives_links: bool,
    /// Where its output, or its failure, came from.
    #[serde(default = "Provenance::unknown")]
    pub(super) provenance: Provenance,
    /// The orders for it, when another agent carries it out.
    #[serde(default, skip_serializing_if = "Orders::is_empty")]
    pub(super) orders: Orders,
    /// What it did and spent, for people.
    #[serde(default, skip_serializing_if = "StepAccount::is_empty")]
    pub(super) account: StepAccount,
}

/// A part of a long text that an instruction refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// What stands between the braces of the reference.
    pub(super) reference: String,
    /// Which part it is, counted from 1.
    pub(super) number: usize,
    /// How many there are.
    pub(super) total: usize,
    /// Its first byte in the text.
    pub(super) from: usize,
    /// The byte behind its last one.
    pub(super) to: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Pending,
    /// A step with `each`, whose list is about to be read.
    Listing,
    /// A step with a tool: `started` while its call is in flight, `tries` counts the calls that returned.
    Calling {
        started: bool,
        #[serde(deserialize_with = "number::count")]
        tries: u32,
    },
    Acting(Act),
    /// A step that another agent carries out.
    Ordered(OrderPhase),
    Done {
        output: Value,
    },
    Failed {
        failure: Failure,
        /// The conversation of the step, to continue after a retryable failure.
        act: Option<Act>,
    },
    Blocked {
        by: String,
    },
}

impl State {
    pub(super) fn new(phase: Phase) -> Self {
        Self {
            version: VERSION,
            phase,
            steps: Vec::new(),
            abandoned: Vec::new(),
            answer: None,
            reuse: None,
            missing: None,
            clock: None,
            turns: false,
            planned_from: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            has_told: false,
            added_bytes: 0,
            data_left_out: 0,
            revision: 0,
            spent: Spent::default(),
            costliest: Reservation::default(),
            reserved: BTreeMap::new(),
            stopping: None,
            ended: None,
        }
    }

    pub(super) fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.plan.id == id)
    }

    /// Model calls in flight.
    pub(super) fn model_calls_in_flight(&self) -> u32 {
        let structured = match &self.phase {
            Phase::Planning(question) | Phase::Replanning(question) | Phase::Answering(question) => {
                u32::from(question.in_flight)
            }
            Phase::Steps => 0,
        };
        let acting = self.steps.iter().filter(|step| matches!(&step.status, Status::Acting(act) if act.in_flight));
        structured + u32::try_from(acting.count()).unwrap_or(u32::MAX)
    }

    /// Whether any call is in flight.
    pub(super) fn is_busy(&self) -> bool {
        self.model_calls_in_flight() > 0 || self.steps.iter().any(Step::has_tool_in_flight)
    }

    /// Failures of the plan in force, in its order.
    pub(super) fn failures(&self) -> Vec<Failure> {
        self.steps.iter().filter_map(|step| step.failure().cloned()).collect()
    }
}

impl Outputs for State {
    /// Outputs of the done steps, as the state holds them.
    fn output(&self, step: &str) -> Option<&Value> {
        self.step(step).and_then(Step::output)
    }
}

impl Step {
    pub(super) fn new(plan: PlanStep, revision: u32) -> Self {
        Self {
            plan,
            revision,
            counted: false,
            calls: 0,
            status: Status::Pending,
            elements: None,
            part: None,
            element_of: None,
            ungrounded: Vec::new(),
            gives_links: false,
            provenance: Provenance::default(),
            orders: Orders::default(),
            account: StepAccount::default(),
        }
    }

    /// Id of its call number `ordinal`: the same in every process and attempt.
    pub(super) fn call_id(&self, ordinal: u32) -> String {
        match self.revision {
            0 => format!("{}#{ordinal}", self.plan.id),
            revision => format!("{}~{revision}#{ordinal}", self.plan.id),
        }
    }

    /// `tool` or `act`.
    pub(super) const fn kind(&self) -> &'static str {
        if self.plan.tool.is_some() { "tool" } else { "act" }
    }

    pub(super) const fn output(&self) -> Option<&Value> {
        match &self.status {
            Status::Done { output } => Some(output),
            _ => None,
        }
    }

    pub(super) const fn failure(&self) -> Option<&Failure> {
        match &self.status {
            Status::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.status, Status::Done { .. } | Status::Failed { .. } | Status::Blocked { .. })
    }

    fn has_tool_in_flight(&self) -> bool {
        match &self.status {
            Status::Calling { started, .. } => *started,
            Status::Ordered(phase) => *phase == OrderPhase::InFlight,
            Status::Acting(act) => act.calls.iter().any(|call| call.status == CallStatus::Started),
            _ => false,
        }
    }

    /// The step in one line, for people, models and memory.
    pub(super) fn outline(&self) -> String {
        let id = &self.plan.id;
        let what = self.plan.tool.as_deref().or(self.plan.instruction.as_deref()).unwrap_or_default();
        let what: String = what.chars().take(200).collect();
        match &self.status {
            Status::Done { .. } => format!("{id}: {what}: done"),
            Status::Failed { failure, .. } => format!("{id}: {what}: FAILED: {failure}"),
            Status::Blocked { by } => format!("{id}: {what}: not run, because {by} failed"),
            Status::Pending | Status::Listing | Status::Calling { .. } | Status::Acting(_) | Status::Ordered(_) => {
                format!("{id}: {what}: not finished")
            }
        }
    }
}

/// The failure of a call with an unknown outcome that must not be repeated.
pub(super) fn unknown_outcome(tool: &str, why: &str) -> Failure {
    Failure::new(
        FailureClass::Permanent,
        format!(
            "outcome unknown: {why}, so the call of {tool} may or may not have taken effect, and it is not safe to \
             repeat; check what it did before doing it again"
        ),
    )
}

/// The failure of a call of `tool` as far as its outcome is known. A call that timed out or crashed may have taken
/// effect: when it must not be repeated, its outcome is unknown.
pub(super) fn as_known(failure: &Failure, tool: &str, is_repeatable: bool) -> Failure {
    match failure.class {
        FailureClass::Timeout | FailureClass::Crashed if !is_repeatable => unknown_outcome(tool, &failure.message),
        _ => failure.clone(),
    }
}
