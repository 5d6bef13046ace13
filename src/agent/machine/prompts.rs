//! Every prompt to the model, in one place.
//!
//! Content from outside (outputs of tools, memories, the data of a task) stands in marked data blocks that it cannot
//! close, after a statement that data is not instruction. The goal has a block of its own.
//!
//! What is the same for every task comes first, so that endpoints can cache it; the clock and the goal come last, because a
//! short context is cut at its beginning.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::Setup;
use super::state::{Part, Rejected, State, Step};
use crate::domain::conversation::Message;
use crate::domain::failure::Failure;
use crate::domain::files::TaskFile;
use crate::domain::handover::{MAX_HANDOVER_BYTES, PARENT};
use crate::domain::memory::MAX_EXPERIENCE_BYTES;
use crate::domain::plan::unescaped;
use crate::domain::tool::{FAIL_STEP, ToolSpec};
use blocks::{BLOCK_BYTES, data_block, disarmed, share};

pub(super) use blocks::clipped;
pub(super) use data::{data_of, text_of, too_long};

mod blocks;
mod data;
mod system;
pub(super) mod turns;

/// Most bytes of the block with the handover of the parent: the longest handover, with room for escapes.
const HANDOVER_BYTES: usize = 2 * MAX_HANDOVER_BYTES;
/// Most bytes of an unusable answer that is shown to the model again.
const REJECTED_BYTES: usize = 8_000;

/// What came with the goal: data, in its blocks.
fn given(setup: &Setup) -> String {
    let mut text = String::new();
    if !setup.context.is_empty() {
        text.push_str("Data that came with the goal:\n");
        text.push_str(&data_block("context", &Value::Object(setup.context.clone()), BLOCK_BYTES));
        text.push_str("\n\n");
    }
    if !TaskFile::named_in(&setup.context).is_empty() {
        text.push_str(FILES_OF_TASK);
    }
    // The handover has a block of its own, because the goal refers to it and no other value may crowd it out.
    if let Some(values) = setup.dependencies.get(PARENT) {
        text.push_str("What the task that made this one handed over; refer to it as ${deps.parent.NAME}:\n");
        text.push_str(&data_block("parent", values, HANDOVER_BYTES));
        text.push_str("\n\n");
    }
    let others: Map<String, Value> = setup
        .dependencies
        .iter()
        .filter(|(id, _)| *id != PARENT)
        .map(|(id, came)| (id.clone(), came.clone()))
        .collect();
    if !others.is_empty() {
        text.push_str("What came of the tasks that this one waited for; refer to it as ${deps.ID.result}:\n");
        text.push_str(&data_block("dependencies", &Value::Object(others), BLOCK_BYTES));
        text.push_str("\n\n");
    }
    text
}

const FILES_OF_TASK: &str = "The files above are artifacts of the task: ${files.NAME} stands for the text of one, and read_artifact \
    (name) and query_table (path) take its name. So does read_file (path), unless the file is large.\n\n";

/// The clock and the goal, the last words of a question.
fn clock_and_goal(setup: &Setup, state: &State) -> String {
    format!("{}{}", clock(state), goal(setup))
}

fn clock(state: &State) -> String {
    let clock = state.clock.as_ref().map(|clock| format!("<clock>\n{}\n</clock>\n\n", disarmed(&clock.text)));
    clock.unwrap_or_default()
}

fn goal(setup: &Setup) -> String {
    format!("<goal>\n{}\n</goal>", disarmed(&setup.goal))
}

/// The question for a first plan.
pub(super) fn plan(setup: &Setup, state: &State, rejected: &[Rejected]) -> Vec<Message> {
    let user = format!(
        "{}{}{}\n\nMake a plan that reaches this goal.",
        experience(setup),
        given(setup),
        clock_and_goal(setup, state)
    );
    let mut messages = vec![system::planning(setup), Message::User { content: user }];
    messages.extend(repairs(rejected));
    messages
}

/// The question for a new plan, after failures or when something is missing.
pub(super) fn replan(setup: &Setup, state: &State, rejected: &[Rejected]) -> Vec<Message> {
    let done: Vec<&Step> = state.steps.iter().filter(|step| step.output().is_some()).collect();
    let missing = state.missing.as_deref().map(|missing| format!("What is missing: {}\n\n", disarmed(missing)));
    let user = format!(
        "{}{}A plan for the goal below did not reach it. What happened so far:\n{}\n\n{}{}{}\n\nMake a new plan for what is \
         left to do. Steps that are done stay done: do not repeat them; refer to their outputs as ${{id}}. Give new steps \
         other ids. Avoid what failed. If nothing more can or need be done, give no steps.",
        experience(setup),
        given(setup),
        history(state),
        outputs(&done),
        missing.unwrap_or_default(),
        clock_and_goal(setup, state),
    );
    let mut messages = vec![system::planning(setup), Message::User { content: user }];
    messages.extend(repairs(rejected));
    messages
}

/// The question for the final answer. It shows the outputs that no other step has used.
pub(super) fn answer(setup: &Setup, state: &State, rejected: &[Rejected]) -> Vec<Message> {
    let done = || state.steps.iter().filter(|step| step.output().is_some());
    let consumed: HashSet<&str> = done().flat_map(|step| step.plan.dependencies()).collect();
    let shown: Vec<&Step> = done().filter(|step| !consumed.contains(step.plan.id.as_str())).collect();
    let user = format!(
        "{}What was done:\n{}\n\n{}{}\n\nDeclare how it ended. outcome: \"done\" when the goal was reached, \"more\" when \
         further steps can reach it, \"impossible\" when none can; judged by the outputs alone. answer: the result for the \
         author of the goal, in the language of the goal, the conclusion first, without preamble. reason: why the outcome is \
         what it is, and with \"more\" what is missing. Do not claim anything that the outputs do not show. Answer with JSON \
         only.",
        given(setup),
        history(state),
        outputs(&shown),
        clock_and_goal(setup, state),
    );
    let mut messages = vec![system::answering(setup), Message::User { content: user }];
    messages.extend(repairs(rejected));
    messages
}

/// The opening of a step that needs judgement, with its `data`.
pub(super) fn act(setup: &Setup, state: &State, step: &Step, data: &str) -> Vec<Message> {
    let Step { plan, part, .. } = step;
    let instruction = plan.instruction.as_deref().unwrap_or_default();
    let answers = if state.answer.as_deref() == Some(plan.id.as_str()) { ANSWERING_STEP } else { "" };
    let duty = part.as_ref().map_or_else(|| "The step to carry out now:".to_owned(), note_taking);
    let user = format!(
        "{}{data}{}\n\n{duty}\n<step id=\"{}\">\n{}\n</step>{answers}",
        given(setup),
        clock_and_goal(setup, state),
        plan.id,
        disarmed(&unescaped(instruction)),
    );
    vec![system::acting(setup), Message::User { content: user }]
}

/// What is asked of a step that reads one part of a long text.
fn note_taking(part: &Part) -> String {
    format!(
        "${{{}}} is too long to be read at once, and you have part {} of {}. Others read the other parts, and somebody carries \
         out the step below with the notes of all. Write the notes for this part and nothing else: every fact, number, name and \
         address in it that the step needs, as it stands there, in at most 200 words. Write \"nothing\" when it holds none. The \
         step:",
        part.reference, part.number, part.total
    )
}

const ANSWERING_STEP: &str = "\n\nThe output of this step is the result that the author of the goal gets: write it in the \
    language of the goal, the conclusion first, without preamble, and claim nothing that the data do not show. When the goal is \
    not reached, do not write a result: say so with fail_step.";

/// The tool by which the model declares that a step cannot be done.
pub(super) fn fail_step_tool() -> ToolSpec {
    ToolSpec {
        name: FAIL_STEP.to_owned(),
        description: "Declare that this step cannot be done, and why.".to_owned(),
        parameters: serde_json::json!({
            "type": "object",
            "properties": {"reason": {"type": "string", "description": "what stands in the way"}},
            "required": ["reason"],
            "additionalProperties": false,
        }),
        output: Value::Bool(true),
        effect: crate::domain::tool::Effect::Read,
        idempotent: true,
        untrusted: false,
    }
}

/// Output of a tool, for the conversation with the model.
pub(super) fn tool_output(tool: &str, output: &Value) -> String {
    data_block(tool, output, BLOCK_BYTES)
}

/// A failed tool call, as the model sees it.
pub(super) fn tool_failure(tool: &str, failure: &Failure) -> String {
    format!("The call failed.\n{}", data_block(tool, &Value::String(failure.to_string()), BLOCK_BYTES))
}

/// A call of a tool that does not exist or is not allowed.
pub(super) fn unknown_tool(tool: &str, known: &[&str]) -> String {
    let tool: String = tool.chars().take(100).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("There is no tool {tool:?} for you. Tools you can call: {known}.")
}

pub(super) fn bad_arguments(tool: &str) -> String {
    format!("The arguments of {tool} must be a JSON object. Nothing was called.")
}

pub(super) fn too_many_calls(limit: usize) -> String {
    format!("Not called: at most {limit} tools can be called in one turn.")
}

pub(super) const REPEATED_CALL: &str = "You have made the same call with the same arguments and got the same result several times. \
    Doing it again fails the step: do something else, or give the answer of the step, or call fail_step.";
pub(super) const EMPTY_TURN: &str =
    "Your answer was empty. Call a tool, give the output of the step, or call fail_step with the reason.";
pub(super) const CUT_TURN: &str = "Your answer was cut off at the limit of its length. Give a shorter one.";

fn experience(setup: &Setup) -> String {
    if setup.experience.is_empty() {
        return String::new();
    }
    let block = data_block("earlier-runs", &Value::String(setup.experience.clone()), 2 * MAX_EXPERIENCE_BYTES);
    format!("What earlier runs tell about what works and what fails:\n{block}\n\n")
}

fn history(state: &State) -> String {
    let lines: Vec<String> = state.abandoned.iter().chain(&state.steps).map(Step::outline).collect();
    data_block("steps", &Value::String(lines.join("\n")), BLOCK_BYTES)
}

fn outputs(done: &[&Step]) -> String {
    if done.is_empty() {
        return String::new();
    }
    let limit = share(done.len());
    let blocks: Vec<String> = done
        .iter()
        .filter_map(|step| Some(data_block(&format!("${{{}}}", step.plan.id), step.output()?, limit)))
        .collect();
    format!("Outputs of the done steps:\n{}\n\n", blocks.join("\n"))
}

fn repairs(rejected: &[Rejected]) -> impl Iterator<Item = Message> {
    rejected.iter().flat_map(|rejected| {
        let reply = clipped(&rejected.reply, REJECTED_BYTES);
        let reply = if reply.is_empty() { "(no usable answer)" } else { reply };
        [
            Message::assistant(reply),
            Message::User {
                content: format!("This cannot be used: {}. Answer again, with JSON only.", rejected.error),
            },
        ]
    })
}
