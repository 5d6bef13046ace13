//! Runs in turns: the form of work for small models, which write no good plans.
//!
//! There is no plan. The model gets the few tools that fit the goal, and each answer is one JSON object of a schema that is a
//! union of the calls of these tools and of the end. What a small model does wrong again and again is closed to it: after a
//! call that it has made before, and after two failures in a row, only the end is open.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::prompts::{data_of, turns as prompts};
use super::state::{Status, Step};
use super::statement::Lack;
use super::{Machine, ModelCall, Setup, grounding, shortlist, statement, wire_arguments};
use crate::domain::addresses::normal_form;
use crate::domain::conversation::{Message, ModelReply, ModelRequest, RequestedCall};
use crate::domain::event::{EventKind, Level};
use crate::domain::failure::{BudgetLimit, Failure};
use crate::domain::id::derived;
use crate::domain::table_source::{names_file_of, names_no_table};
use crate::domain::tool::{Effect, ToolSpec};
use decision::{Decision, read_decision};
use doubt::Doubt;
use offer::{Offer, open_ends, turn_schema};

mod decision;
mod doubt;
mod offer;

/// Failed turns in a row after which the work can only be ended.
const MAX_FAILURES: u32 = 2;
/// Failed turns in a row after which a model that calls tools although only the end is open is given up.
const MAX_REFUSALS: u32 = 4;
/// Times that a model is told that numbers of its answer stand nowhere.
const MAX_INVENTED: u32 = 2;

/// Bytes that the model is shown of an answer that is no decision.
const SAID_BYTES: usize = 1_000;
/// The tool that calculates.
const CALCULATE: &str = "calculate";
/// Arguments of tools that keep something: a number in them must come from somewhere.
const KEPT_ARGUMENTS: [&str; 2] = ["value", "content"];

impl Machine {
    /// Whether the model works in turns.
    pub(super) const fn takes_turns(&self) -> bool {
        self.state.turns
    }

    /// The tools that fit a step of a run in turns.
    pub(super) fn fitting_tools(&self, step: &Step, allowed: Vec<Arc<ToolSpec>>) -> Vec<Arc<ToolSpec>> {
        if step.plan.tools.is_some() {
            return allowed;
        }
        // The instruction for the whole goal says nothing of its own.
        let instruction = step.plan.instruction.as_deref().filter(|_| !self.is_answer(step)).unwrap_or_default();
        let mut fitting = shortlist::of(&format!("{}\n{instruction}", self.setup.goal), &allowed);
        let works_out = matches!(&step.status, Status::Acting(act) if act.doors.invented > 0);
        let calculator = allowed.into_iter().find(|tool| works_out && tool.name == CALCULATE);
        fitting.extend(calculator.filter(|_| !fitting.iter().any(|tool| tool.name == CALCULATE)));
        fitting
    }

    /// Whether the model of step `index` may calculate, and has not.
    fn may_calculate(&self, index: usize) -> bool {
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return false };
        let is_allowed = step.plan.tools.as_ref().is_none_or(|tools| tools.iter().any(|tool| tool == CALCULATE));
        is_allowed && act.doors.calculation.is_none() && self.tool(CALCULATE).is_some()
    }

    fn is_answer(&self, step: &Step) -> bool {
        self.state.answer.as_deref() == Some(step.plan.id.as_str())
    }

    /// The tools of which one must answer before the step can be done; a step of a plan owes nothing.
    fn owed_by(&self, step: &Step, tools: &[Arc<ToolSpec>]) -> Vec<Arc<ToolSpec>> {
        let Status::Acting(act) = &step.status else { return Vec::new() };
        let is_whole = self.is_answer(step) && self.state.steps.len() == 1;
        if is_whole { shortlist::owed(&self.setup.goal, tools, &act.doors.answered) } else { Vec::new() }
    }

    /// The model call of the next turn of step `index`.
    pub(super) fn json_turn(&self, index: usize, id: String, data: &str) -> Option<ModelCall> {
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return None };
        let offer = self.offer(index, act.turns)?;
        let tools = self.tools_of(step);
        let mut messages = prompts::opening(&self.setup, &self.state, &step.plan, &tools, data);
        messages.extend(act.messages.iter().cloned());
        let request = ModelRequest {
            purpose: "act",
            messages,
            tools: Vec::new(),
            schema: Some(turn_schema(&offer, &self.setup.goal)),
            max_output_tokens: self.setup.max_output_tokens,
            model: self.setup.model.clone(),
            once: false,
            waits_since: None,
        };
        Some(ModelCall { id, request })
    }

    /// What is open to the model of step `index` after `turns` turns.
    fn offer(&self, index: usize, turns: u32) -> Option<Offer> {
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return None };
        let tools = self.tools_of(step);
        let is_last = turns.saturating_add(1) >= self.setup.budget.max_turns_per_step;
        let owed = self.owed_by(step, &tools);
        let is_closed = act.doors.failures >= MAX_FAILURES || act.doors.has_repeated || is_last;
        // Before all pages are there, nothing can be done with them.
        let unread =
            if owed.is_empty() { Vec::new() } else { shortlist::unread(&self.setup.goal, &act.doors.answered) };
        let gets_page = !unread.is_empty() && act.doors.failures == 0;
        let fitting = tools.iter().map(|tool| tool.name.clone()).collect();
        let open = match (is_closed, gets_page) {
            (true, _) => Vec::new(),
            (false, true) => owed.clone(),
            (false, false) if act.doors.must_calculate => {
                tools.into_iter().filter(|tool| tool.name == CALCULATE).collect()
            }
            (false, false) => tools,
        };
        let ends = open_ends(step, &open, !owed.is_empty());
        let urls = if gets_page { unread } else { Vec::new() };
        Some(Offer { tools: open, urls, fitting, ends, owed: owed.iter().map(|tool| tool.name.clone()).collect() })
    }

    /// Takes the model's decision.
    pub(super) fn json_turn_answered(&mut self, index: usize, mut reply: ModelReply) {
        let Status::Acting(act) = &self.state.steps[index].status else { return };
        let Some(offer) = self.offer(index, act.turns.saturating_sub(1)) else { return };
        if let Status::Acting(act) = &mut self.state.steps[index].status {
            (act.doors.must_call, act.doors.must_calculate) = (false, false);
        }
        let decision = match read_decision(&reply.content) {
            Ok(decision) => decision,
            Err(mistake) => {
                let said = format!("This cannot be used: {mistake}. Answer with one JSON object.");
                self.say(index, reply, said, &mistake);
                return;
            }
        };
        // The schema says the same, but not every endpoint holds its model to it.
        if let Some(closed) = offer.refuses(&decision) {
            self.refuse(index, reply, &decision, &offer, closed);
            return;
        }
        match decision {
            Decision::Call { tool, mut arguments } => {
                if let Some(spec) = self.tool(&tool) {
                    wire_arguments::read_back(&mut arguments, &spec.parameters);
                }
                self.name_table(index, &tool, &mut arguments);
                reply.tool_calls = vec![RequestedCall { tool, arguments, ..RequestedCall::default() }];
                self.queue_calls(index, reply);
            }
            Decision::Impossible(why) => {
                let Status::Acting(act) = &mut self.state.steps[index].status else { return };
                if !statement::denies(&why) && !std::mem::replace(&mut act.doors.was_doubted, true) {
                    self.say(index, reply, prompts::RESULT_OR_NOT.to_owned(), "it does not say what stands in the way");
                    return;
                }
                self.give_up(index, &format!("the agent could not do the step: {why}"));
            }
            Decision::Done(answer) => match self.doubt(index, &answer) {
                Some(doubt) => self.doubted(index, reply, &answer, doubt),
                None => self.finish_acting(index, &answer),
            },
        }
    }

    /// Completes a query that names no table, or only the file at the last address that answered, by that address: small models leave
    /// the rest out.
    fn name_table(&self, index: usize, tool: &str, arguments: &mut Value) {
        let Status::Acting(act) = &self.state.steps[index].status else { return };
        let names = |address: &&String| names_no_table(tool, arguments) || names_file_of(address, tool, arguments);
        if let Some(address) = act.doors.last_address.as_ref().filter(names) {
            let Some(fields) = arguments.as_object_mut() else { return };
            fields.retain(|name, _| name != "table" && name != "path");
            fields.insert("url".to_owned(), json!(address));
        }
    }

    /// Tells the model what is open, as long as that may help.
    fn refuse(&mut self, index: usize, reply: ModelReply, decision: &Decision, offer: &Offer, closed: String) {
        let Status::Acting(act) = &self.state.steps[index].status else { return };
        let has_calls = !offer.tools.is_empty();
        match decision {
            Decision::Done(_) | Decision::Impossible(_) if !has_calls => {
                let missing = offer.owed.join(" or ");
                self.give_up(
                    index,
                    &format!("the model ended the work, but {missing} has not done what the goal asks for"),
                );
            }
            Decision::Call { tool, .. } if !has_calls && act.doors.failures >= MAX_REFUSALS => {
                self.give_up(index, &format!("the model went on calling {tool:?} when it could only end the work"));
            }
            _ => {
                let why = match decision {
                    Decision::Call { .. } => "it calls a tool that is not open in this turn",
                    Decision::Done(_) | Decision::Impossible(_) => "it ends the work in a turn in which it may not",
                };
                self.say(index, reply, closed, why);
            }
        }
    }

    /// Fails a step. When its last call may succeed later, so may the step.
    fn give_up(&mut self, index: usize, why: &str) {
        let Status::Acting(act) = &self.state.steps[index].status else { return };
        let failure = match &act.doors.may_pass {
            None => Failure::permanent(why),
            Some(cause) => {
                let message = format!("{why}; a call that may succeed later failed: {}", cause.message);
                Failure { retry_after_ms: cause.retry_after_ms, ..Failure::new(cause.class, message) }
            }
        };
        self.fail(index, failure);
    }

    fn doubted(&mut self, index: usize, reply: ModelReply, answer: &str, doubt: Doubt) {
        let may_calculate = self.may_calculate(index);
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        let (said, why) = match doubt {
            Doubt::Words(words) => {
                act.doors.was_doubted = true;
                (prompts::doubtful(&words), "it reads like a failure".to_owned())
            }
            Doubt::Lacks(Lack { what, .. }) if !act.doors.was_told_missing => {
                act.doors.was_told_missing = true;
                (prompts::lacks(what), format!("it lacks {what}"))
            }
            Doubt::Lacks(Lack { what, is_certain }) => {
                let why = format!("the goal asks for {what}, and the answer names none, also after the model was told");
                if is_certain {
                    self.give_up(index, &format!("{why}: {answer:?}"));
                } else {
                    self.finish_unconfirmed(index, answer, why);
                }
                return;
            }
            Doubt::Calculated { invented, calculation } => {
                let why = format!(
                    "the model's own words state {}, which stands nowhere; the result is its calculation instead",
                    invented.join(", ")
                );
                self.finish_unconfirmed(index, &calculation, why);
                return;
            }
            Doubt::Numbers(numbers) if act.doors.invented == 0 && may_calculate => {
                act.doors.invented = 1;
                (act.doors.must_call, act.doors.must_calculate) = (true, true);
                // This call is a new one, whatever was called before.
                (act.doors.has_repeated, act.doors.failures) = (false, 0);
                let why = "a number in it stands in no result of a tool, nor in the goal".to_owned();
                (prompts::worked_out(&numbers), why)
            }
            Doubt::Numbers(numbers) => {
                act.doors.invented = act.doors.invented.saturating_add(1);
                let stays_open = !act.doors.has_repeated && act.doors.failures.saturating_add(1) < MAX_FAILURES;
                // What it has found out stands beside what it made up, or waits to be said.
                let is_calculated =
                    act.doors.calculation.as_deref().is_some_and(|made| grounding::uses_all(made, &self.setup.goal));
                let has_result = is_calculated || grounding::states_one_of(answer, &act.doors.shown);
                act.doors.must_call = act.doors.invented == 1 && stays_open && !has_result;
                let said = prompts::ungrounded(&numbers, act.doors.must_call, act.doors.last_result.as_deref());
                (said, "a number in it stands in no result of a tool, nor in the goal".to_owned())
            }
            Doubt::Invented(numbers) => {
                let why = format!(
                    "the model answered {answer:?}, and {} stands in no result of a tool, nor in the goal, also after it was told: it should have called a tool that gives it",
                    numbers.join(", ")
                );
                self.give_up(index, &why);
                return;
            }
        };
        self.say(index, reply, said, &why);
    }

    /// Takes `answer`, and says why it may not be what the goal asks for.
    fn finish_unconfirmed(&mut self, index: usize, answer: &str, why: String) {
        self.note(EventKind::AnswerUnconfirmed, Level::Warn, why.clone(), &[]);
        self.state.steps[index].unconfirmed = Some(why);
        self.finish_acting(index, answer);
    }

    /// Why an answer that is said to be the result may be none. Small models report failures as results, and make numbers
    /// up. Asked again, they mend that. Words they may mean, which is asked once; a number that stands nowhere is never
    /// taken.
    fn doubt(&self, index: usize, answer: &str) -> Option<Doubt> {
        let step = &self.state.steps[index];
        let Status::Acting(act) = &step.status else { return None };
        if let Some(words) = statement::failure_in(answer).filter(|_| !act.doors.was_doubted) {
            return Some(Doubt::Words(words));
        }
        if let Some(lack) = statement::lack_of(&self.setup.goal, answer) {
            return Some(Doubt::Lacks(lack));
        }
        let given = self.given_texts(index);
        let invented = grounding::ungrounded(answer, given.iter().map(String::as_str), &act.doors.shown);
        if invented.is_empty() || self.tools_of(step).is_empty() {
            return None;
        }
        let answers = |calculation: &&String| grounding::uses_all(calculation, &self.setup.goal);
        if let Some(calculation) = act.doors.calculation.as_ref().filter(|_| act.doors.invented > 0).filter(answers) {
            return Some(Doubt::Calculated { invented, calculation: calculation.clone() });
        }
        let is_told = act.doors.invented >= MAX_INVENTED;
        Some(if is_told { Doubt::Invented(invented) } else { Doubt::Numbers(invented) })
    }

    /// What the model was given with the goal and step `index`, as texts.
    pub(super) fn given_texts(&self, index: usize) -> Vec<String> {
        let step = &self.state.steps[index];
        let plan = &step.plan;
        let clock = self.state.clock.as_ref().map(|clock| clock.text.clone());
        let Setup { goal, role, instructions, context, dependencies, .. } = &self.setup;
        let values = [context, dependencies].map(|values| Value::Object(values.clone()).to_string());
        let own = [goal, role, instructions].map(Clone::clone);
        let data = data_of(&self.state, step, &self.targets(), &self.artifacts(), self.setup.data_bytes);
        clock.into_iter().chain(own).chain([data]).chain(plan.instruction.clone()).chain(values).collect()
    }

    /// Takes note of a tool that answered, and of the numbers that its result shows.
    pub(super) fn note_shown(&mut self, index: usize, tool: String, arguments: &Value, shown: &str) {
        let given = self.given_texts(index);
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        act.doors.succeeded.insert(call_id(&tool, arguments));
        if let Some(url) = arguments.get("url").and_then(Value::as_str) {
            act.doors.answered.insert(normal_form(url));
            act.doors.last_address = Some(url.to_owned());
        }
        act.doors.may_pass = None;
        act.doors.last_result = prompts::short_result(shown);
        act.doors.calculation = act.doors.last_result.as_deref().and_then(|result| calculation(arguments, result));
        act.doors.answered.insert(tool);
        let arguments = arguments.to_string();
        let numbers = grounding::shown_by(shown, &arguments, given.iter().map(String::as_str), &act.doors.shown);
        act.doors.shown.extend(numbers);
    }

    /// Takes note of a call that failed: one that may succeed later can be made again.
    pub(super) fn note_failed(&mut self, index: usize, tool: &str, arguments: &Value, failure: &Failure) {
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        let may_pass = failure.class.is_retryable();
        act.doors.may_pass = may_pass.then(|| failure.clone());
        if may_pass {
            act.doors.made.remove(&call_id(tool, arguments));
        }
    }

    /// Answers the model's turn with words of the program; it counts as a failed one, and the last turn fails the step. `why` the
    /// answer cannot be used is told to people, in words of the program alone.
    fn say(&mut self, index: usize, reply: ModelReply, said: String, why: &str) {
        let origin = reply.origin();
        let answer = Message::Assistant { content: reply.content, tool_calls: Vec::new(), origin };
        self.say_to(index, answer, said, why);
    }

    /// Tells the model that what it `said` twice in one turn is no decision, and `why`.
    pub(super) fn unusable_turn(&mut self, index: usize, mut said: String, why: &str) {
        said.truncate(said.floor_char_boundary(SAID_BYTES));
        let answer = Message::Assistant { content: said, tool_calls: Vec::new(), origin: None };
        self.say_to(index, answer, prompts::NO_DECISION.to_owned(), why);
    }

    fn say_to(&mut self, index: usize, answer: Message, said: String, why: &str) {
        self.note(EventKind::AnswerRejected, Level::Warn, format!("unusable answer: {why}"), &[]);
        let Status::Acting(act) = &mut self.state.steps[index].status else { return };
        act.messages.push(answer);
        act.messages.push(Message::User { content: said });
        act.doors.failures = act.doors.failures.saturating_add(1);
        let max = self.setup.budget.max_turns_per_step;
        if act.turns >= max {
            // The other answers were calls.
            let used = match self.state.steps[index].calls.min(max) {
                0 => "none".to_owned(),
                used => used.to_string(),
            };
            let reason = format!(
                "the step has no result after {max} model turns (max_turns_per_step): {used} of the answers could be used; the last \
                 answer could not be used: {why}; split the step, use another model, or raise this budget of the agent"
            );
            self.fail(index, Failure::over_budget(BudgetLimit::Turns, reason));
        }
    }

    /// What is said in place of a call: that it was made before, or that it computes with numbers that stand nowhere, or keeps such.
    pub(super) fn refuses(&mut self, index: usize, tool: &str, arguments: &Value) -> Option<String> {
        if !self.takes_turns() {
            return None;
        }
        if self.is_made_before(index, tool, arguments) {
            let Status::Acting(act) = &mut self.state.steps[index].status else { return None };
            act.doors.has_repeated = act.doors.succeeded.contains(&call_id(tool, arguments));
            return Some(if act.doors.has_repeated {
                prompts::made_before(act.doors.last_result.as_deref())
            } else {
                prompts::FAILED_BEFORE.to_owned()
            });
        }
        let Status::Acting(act) = &self.state.steps[index].status else { return None };
        let given = self.given_texts(index);
        let given = || given.iter().map(String::as_str);
        if let Some(expression) = arguments.get("expression").and_then(Value::as_str) {
            let brought = grounding::brought_along(expression, given(), &act.doors.shown);
            return (!brought.is_empty()).then(|| prompts::invented_arguments(&brought));
        }
        if !self.tool(tool).is_some_and(|tool| tool.effect == Effect::Write) {
            return None;
        }
        let kept = KEPT_ARGUMENTS.iter().filter_map(|name| arguments.get(name)).map(Value::to_string);
        let invented: Vec<String> =
            kept.flat_map(|kept| grounding::ungrounded(&kept, given(), &act.doors.shown)).collect();
        (!invented.is_empty()).then(|| prompts::invented_content(&invented))
    }

    /// Whether the step has made the same call before; remembers it.
    fn is_made_before(&mut self, index: usize, tool: &str, arguments: &Value) -> bool {
        let Status::Acting(act) = &mut self.state.steps[index].status else { return false };
        let is_new = act.doors.made.insert(call_id(tool, arguments));
        act.doors.has_repeated = false;
        !is_new
    }
}

/// What a call calculated, with its result: `2 * 3 = 6`.
fn calculation(arguments: &Value, result: &str) -> Option<String> {
    let expression = arguments.get("expression")?.as_str()?;
    let result: Value = serde_json::from_str(result).ok()?;
    Some(format!("{} = {}", expression.trim(), result["value"].as_str()?))
}

fn call_id(tool: &str, arguments: &Value) -> Uuid {
    derived(&[tool, &arguments.to_string()])
}
