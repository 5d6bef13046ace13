//! The structured questions of a run: plan, replan, answer.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::state::{OpenQuestion, Phase, Rejected, State, Step};
use super::{
    Action, MAX_QUESTION_TRIES, Machine, ModelCall, ModelFailed, WHOLE_GOAL, grounding, plan_check, prompts, schema,
    statement, wire_arguments,
};
use crate::domain::approval::ApprovalRequirement;
use crate::domain::conversation::{Exhausted, LONGER_CONTEXT, Message, ModelReply, ModelRequest};
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::plan::{Plan, PlanStep};
use crate::domain::table_source::move_name;

/// Bytes of an unusable answer that are kept to show it to the model again.
const KEPT_BYTES: usize = 8_000;
/// Bytes that are kept of what the model says is missing.
const MISSING_BYTES: usize = 2_000;

impl Machine {
    fn question(&self) -> Option<(&'static str, &OpenQuestion)> {
        match &self.state.phase {
            Phase::Planning(question) => Some(("plan", question)),
            Phase::Replanning(question) => Some(("replan", question)),
            Phase::Answering(question) => Some(("answer", question)),
            Phase::Steps => None,
        }
    }

    pub(super) fn question_mut(&mut self) -> Option<&mut OpenQuestion> {
        match &mut self.state.phase {
            Phase::Planning(question) | Phase::Replanning(question) | Phase::Answering(question) => Some(question),
            Phase::Steps => None,
        }
    }

    fn question_id(&self) -> Option<String> {
        let (purpose, question) = self.question()?;
        Some(format!("{purpose}~{}#{}", self.state.revision, question.rejected.len() + 1))
    }

    /// Id of the question in flight.
    pub(super) fn question_in_flight(&self) -> Option<String> {
        self.question().filter(|(_, question)| question.in_flight).and_then(|_| self.question_id())
    }

    /// Returns the call for the question of this phase; `None` when that has changed the phase or ended the run.
    pub(super) fn next_question(&mut self) -> Option<Action> {
        let (purpose, question) = self.question()?;
        if question.in_flight {
            return Some(Action::Wait);
        }
        let (messages, schema) = match purpose {
            "plan" => (
                prompts::plan(&self.setup, &self.state, &question.rejected),
                schema::plan(&self.setup.tools, &self.setup.offered),
            ),
            "replan" => (
                prompts::replan(&self.setup, &self.state, &question.rejected),
                schema::plan(&self.setup.tools, &self.setup.offered),
            ),
            _ => (prompts::answer(&self.setup, &self.state, &question.rejected), schema::answer()),
        };
        let id = self.question_id()?;
        // A question has one repair in total, which the model client may have used already.
        let once = !question.rejected.is_empty();
        let request = ModelRequest {
            purpose,
            messages,
            tools: Vec::new(),
            schema: Some(schema),
            max_output_tokens: self.setup.max_output_tokens,
            model: self.setup.model.clone(),
            once,
            waits_since: None,
        };
        let mut call = ModelCall { id, request };
        match self.reserve(&mut call) {
            Ok(true) => {
                self.question_mut()?.in_flight = true;
                Some(Action::CallModel(Box::new(call)))
            }
            Ok(false) if self.wants_tree() => Some(Action::ReadTree),
            Ok(false) => Some(Action::Wait),
            Err(failure) => {
                self.stop(failure);
                None
            }
        }
    }

    /// Takes the answer to the question in flight.
    pub(super) fn question_answered(&mut self, reply: Result<ModelReply, ModelFailed>) {
        if let Some(question) = self.question_mut() {
            question.in_flight = false;
        }
        match reply {
            Err(failed) => self.question_failed(failed),
            Ok(ModelReply { exhausted: Some(exhausted), model, .. }) => {
                if let Err(failure) = self.raise_output_limit(&model, exhausted) {
                    self.stop(failure);
                }
            }
            Ok(reply) => {
                let used = match self.state.phase {
                    Phase::Answering(_) => {
                        schema::read_answer(&reply.content, reply.is_excerpt).map(|declared| self.declare(declared))
                    }
                    _ => self.read_plan(&reply.content).map(|plan| self.adopt(plan, false)),
                };
                match used {
                    Ok(()) => {}
                    Err(error) if reply.truncated => {
                        self.reject(&reply.content, &format!("{error} (it was cut off at the limit of its length)"));
                    }
                    Err(error) => self.reject(&reply.content, &error),
                }
            }
        }
    }

    /// Falls back to what the model answered in place of a plan or an answer, or stops when it gave nothing usable.
    fn question_failed(&mut self, failed: ModelFailed) {
        let ModelFailed { failure, said, was_answered, .. } = failed;
        // A retryable failure, of a fallback model, is left to the retry of the task.
        if !was_answered || failure.class != FailureClass::Permanent {
            self.stop(failure);
            return;
        }
        if matches!(self.state.phase, Phase::Answering(_)) {
            self.answer_with(said.as_deref().unwrap_or_default(), failure);
        } else {
            self.note(EventKind::AnswerRejected, Level::Warn, format!("unusable plan: {failure}"), &[]);
            self.adopt_whole_goal();
        }
    }

    /// Takes plain text as the answer when all steps of the last plan are done, which shows that there is a result;
    /// otherwise ends with `failure`.
    fn answer_with(&mut self, said: &str, failure: Failure) {
        let State { steps, revision, .. } = &self.state;
        let is_done =
            steps.iter().any(|step| step.revision == *revision) && steps.iter().all(|step| step.output().is_some());
        let Some(stated) = statement::stated(said).filter(|_| is_done) else {
            self.stop(failure);
            return;
        };
        let message = "the model gave its answer as text and did not confirm that the goal was reached";
        let result = json!({"output": stated, "reason": message, "confirmed": false});
        self.note(EventKind::AnswerUnconfirmed, Level::Warn, message.to_owned(), &[]);
        self.end_with(result, &[]);
    }

    /// Raises the token limit of answers after a model used it up before its first word.
    ///
    /// # Errors
    /// When the limit cannot be raised.
    pub(super) fn raise_output_limit(&mut self, model: &str, exhausted: Exhausted) -> Result<(), Failure> {
        let Exhausted { limit, next, window } = exhausted;
        let Some(next) = next else {
            let way_out = match window {
                Some(window) => format!("it reads {window} tokens at once, its answer included: {LONGER_CONTEXT}"),
                None => "raise model.max_output_tokens_ceiling (and the budget's max_tokens when that left it no more)"
                    .to_owned(),
            };
            return Err(Failure::permanent(format!(
                "model {model:?} used all {limit} tokens of its answer for thinking, before the first word; {way_out}, or let it \
                 think less"
            )));
        };
        self.setup.max_output_tokens = self.setup.max_output_tokens.max(next);
        let message = format!(
            "{model} used all {limit} tokens of its answer for thinking, before the first word; it may use {next} now"
        );
        let data = [("model", json!(model)), ("limit", json!(limit)), ("next", json!(next))];
        self.note(EventKind::OutputLimitRaised, Level::Warn, message, &data);
        Ok(())
    }

    fn declare(&mut self, declared: schema::Declared) {
        let schema::Declared { outcome, answer, reason } = declared;
        if outcome == schema::Outcome::Done {
            let ungrounded = self.ungrounded_in(&answer);
            self.end_with(json!({"output": answer, "reason": reason}), &ungrounded);
            return;
        }
        let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason };
        if self.runs_reused_plan() {
            self.state.missing = Some(prompts::clipped(&reason, MISSING_BYTES).to_owned());
            self.replace_reused_plan();
            return;
        }
        if outcome == schema::Outcome::More && self.can_replan() {
            self.state.spent.replans = self.state.spent.replans.saturating_add(1);
            self.state.missing = Some(prompts::clipped(&reason, MISSING_BYTES).to_owned());
            self.state.phase = Phase::Replanning(OpenQuestion::default());
            return;
        }
        self.end(Err(Failure::permanent(format!("the agent declared failure: {reason}"))));
    }

    /// Numbers and addresses of the last answer that stand in no output and in nothing that the model was shown, and those that a
    /// step had brought up.
    fn ungrounded_in(&self, answer: &Value) -> Vec<String> {
        let written = answer.as_str().map_or_else(|| answer.to_string(), str::to_owned);
        let shown = prompts::answer(&self.setup, &self.state, &[]);
        // The model is not shown what another step has used.
        let outputs: Vec<String> = self.state.steps.iter().filter_map(Step::output).map(Value::to_string).collect();
        let sources: Vec<&str> = shown.iter().map(Message::content).chain(outputs.iter().map(String::as_str)).collect();
        let mut ungrounded = grounding::unknown_in(&written, &sources, &BTreeSet::new());
        let of_steps = self.state.steps.iter().flat_map(|step| &step.ungrounded);
        ungrounded.extend(of_steps.filter(|number| grounding::states(&written, number)).cloned());
        ungrounded.dedup();
        ungrounded
    }

    /// Keeps how many bytes of data a question about a step or the answer lacked, for the mark of the result. What the question for
    /// a plan lacked shows in the plan.
    pub(super) fn keep_data_left_out(&mut self, bytes: u64) {
        if matches!(self.state.phase, Phase::Steps | Phase::Answering(_)) {
            self.state.data_left_out = self.state.data_left_out.max(bytes);
        }
    }

    /// Ends the run well, and marks what of its result stands in no output, and how much data the model was not shown.
    pub(super) fn end_with(&mut self, mut result: Value, ungrounded: &[String]) {
        if !ungrounded.is_empty() {
            let message = format!("the result states what stands in no output: {}", ungrounded.join(", "));
            self.note(EventKind::AnswerUngrounded, Level::Warn, message, &[("ungrounded", json!(ungrounded))]);
            result["ungrounded"] = json!(ungrounded);
        }
        if self.state.data_left_out > 0 {
            result["data_left_out"] = json!(self.state.data_left_out);
        }
        self.end(Ok(result));
    }

    /// Returns the answer to the model with what is wrong, or falls back after [`MAX_QUESTION_TRIES`] tries.
    fn reject(&mut self, reply: &str, error: &str) {
        let message = format!("unusable answer: {error}");
        self.note(EventKind::AnswerRejected, Level::Warn, message, &[]);
        let Some(question) = self.question_mut() else { return };
        let reply = prompts::clipped(reply, KEPT_BYTES).to_owned();
        question.rejected.push(Rejected { reply, error: prompts::clipped(error, KEPT_BYTES).to_owned() });
        if question.rejected.len() < MAX_QUESTION_TRIES {
            return;
        }
        if matches!(self.state.phase, Phase::Answering(_)) {
            // Another attempt would send the same question about the same outputs.
            self.stop(Failure::permanent(format!(
                "the model gave no usable answer in {MAX_QUESTION_TRIES} tries: {error}"
            )));
        } else {
            self.adopt_whole_goal();
        }
    }

    fn adopt_whole_goal(&mut self) {
        let fallback = Plan { steps: vec![self.whole_goal_step()], answer: None };
        self.adopt(fallback, true);
    }

    /// The fallback plan: one instruction step for the whole goal.
    pub(super) fn whole_goal_step(&self) -> PlanStep {
        let mut id = "goal".to_owned();
        let known = self.state.abandoned.iter().chain(&self.state.steps).map(|step| step.plan.id.as_str());
        // Steps that another plan replaced are shown beside it.
        while known.clone().any(|name| name == id) {
            id.push_str("-again");
        }
        let done = self.state.steps.iter().filter(|step| step.output().is_some());
        PlanStep {
            id,
            tool: None,
            arguments: Value::Null,
            instruction: Some(WHOLE_GOAL.to_owned()),
            tools: None,
            each: None,
            depends_on: done.map(|step| step.plan.id.clone()).collect(),
            capability: None,
            priority: None,
            estimated_s: None,
            approval: ApprovalRequirement::None,
        }
    }

    /// Reads and validates a plan. Its steps may refer to done steps of earlier plans.
    fn read_plan(&self, text: &str) -> Result<Plan, String> {
        let mut plan = schema::read_plan(text)?;
        plan_check::correct_tool_names(&mut plan.steps, &self.tool_names());
        for step in &mut plan.steps {
            self.keep_known_capability(step);
            if let Some(tool) = step.tool.as_deref().and_then(|name| self.tool(name)) {
                wire_arguments::read_back(&mut step.arguments, &tool.parameters);
                move_name(&tool.name, &mut step.arguments);
            }
        }
        let is_replan = matches!(self.state.phase, Phase::Replanning(_));
        if plan.steps.is_empty() {
            return if is_replan { Ok(plan) } else { Err("the plan has no steps".to_owned()) };
        }
        // A done step is checked by its name alone, because its tools may no longer exist.
        let done = self.state.steps.iter().filter(|step| step.output().is_some()).map(|step| PlanStep {
            tool: None,
            arguments: Value::Null,
            instruction: Some(String::new()),
            tools: None,
            each: None,
            depends_on: Vec::new(),
            ..step.plan.clone()
        });
        let whole = Plan { steps: done.chain(plan.steps.iter().cloned()).collect(), answer: None };
        plan_check::check(&whole, &plan.steps, &self.state, &self.setup.tools, &self.files)?;
        self.check_size(plan.steps.len())?;
        // A name that means nothing costs the question for the answer, and no repair.
        plan.answer = plan.answer.filter(|answer| whole.steps.iter().any(|step| step.id == *answer));
        Ok(plan)
    }

    /// Puts a plan in force.
    fn adopt(&mut self, plan: Plan, fallback: bool) {
        let Plan { steps, answer } = plan;
        let is_replan = matches!(self.state.phase, Phase::Replanning(_));
        let seen = self.provenance_of_plan();
        if is_replan {
            self.state.revision = self.state.revision.saturating_add(1);
            let (done, given_up): (Vec<Step>, Vec<Step>) =
                std::mem::take(&mut self.state.steps).into_iter().partition(|step| step.output().is_some());
            self.state.steps = done;
            self.state.abandoned.extend(given_up);
        }
        let kind = if is_replan { EventKind::Replanned } else { EventKind::Planned };
        let names: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        let message = match (names.len(), fallback) {
            (_, true) => "no usable plan was made; the whole goal is one step".to_owned(),
            (0, false) => "nothing more to do".to_owned(),
            _ => format!("steps: {}", names.join(", ")),
        };
        let seconds: u64 = steps.iter().filter_map(|step| step.estimated_s).map(u64::from).sum();
        let data = [
            ("steps", json!(names)),
            ("fallback", json!(fallback)),
            ("origin", json!("model")),
            ("estimated_s", json!(seconds)),
        ];
        let revision = self.state.revision;
        self.state.planned_from.insert(revision, seen);
        self.note(kind, if fallback { Level::Warn } else { Level::Info }, message, &data);
        self.planned = Some(!fallback);
        self.state.answer = answer;
        self.state.missing = None;
        self.state.steps.extend(steps.into_iter().map(|step| Step::new(step, revision)));
        self.state.phase = Phase::Steps;
    }
}
