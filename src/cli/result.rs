//! `qron result`: what a task, or the last firing of a schedule, came to.

use clap::Args;
use serde::Serialize;
use serde_json::{Map, Value};

use super::client::Client;
use super::{CliError, ids, markdown, output};
use crate::api::views::Listing;
use crate::api::views::schedules::ScheduleView;
use crate::api::views::steps::StepView;
use crate::api::views::tasks::{TaskDetail, TaskView};
use crate::domain::attempt::StepStatus;
use crate::domain::counted::counted;
use crate::domain::drift;
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;
use crate::domain::tool::as_artifact_output;

/// What the mark `confirmed` says of an answer when it is `false`.
pub(super) const NOT_CONFIRMED: &str = "the model did not say that the goal is reached";
/// What the mark `unchanged` says of an answer.
pub(super) const UNCHANGED: &str =
    "its tools gave what they gave before: the answer is that of the run before, and no model was asked";

/// Fields of a result that are no marks.
const OUTPUT_FIELDS: [&str; 3] = ["output", "reason", "steps"];

#[derive(Debug, Args)]
pub(super) struct ShowResult {
    /// Id of a task, or its beginning as far as it is unique; or id of a schedule, for its last firing that ended
    #[arg(value_name = "ID|SCHEDULE")]
    name: String,
    /// Write JSON: the result with the task, its status, and the outputs of a failed run
    #[arg(long)]
    json: bool,
}

/// What a task came to.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    task: TaskId,
    goal: &'a str,
    status: TaskStatus,
    schedule: Option<&'a str>,
    finished_at: Option<&'a str>,
    /// The result itself; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// What else is known of the result, e.g. `confirmed`.
    #[serde(flatten)]
    marks: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Of a run without a result: the steps that were done, with their outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    partial: Vec<StepView>,
}

impl ShowResult {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let id = task_of(client, self.name.trim()).await?;
        let TaskDetail { task, artifacts, .. } = client.get(&["tasks", &id], &[]).await?;
        let partial = if task.result.is_none() { steps_done(client, &id).await? } else { Vec::new() };
        let outcome = Outcome::of(&task, partial);
        if self.json {
            output::json(&outcome)?;
        } else if output::is_terminal() {
            outcome.print()?;
            if !artifacts.is_empty() {
                output::note(&format!("it has {}: qron artifacts list {id}", counted(artifacts.len(), "artifact")));
            }
        } else {
            outcome.write()?;
            outcome.marks.iter().for_each(|(name, value)| output::note(&mark(name, value)));
        }
        outcome.check()
    }
}

/// The id of the task that `name` means. The id of a schedule goes before the beginning of an id of a task.
async fn task_of(client: &Client, name: &str) -> Result<String, CliError> {
    if let Ok(id @ TaskId::Uuid(_)) = name.parse() {
        return Ok(id.to_string());
    }
    if name.is_empty() {
        return Err(CliError::Usage("the name is empty: give the id of a task or of a schedule".to_owned()));
    }
    match client.find::<ScheduleView>(&["schedules", name]).await? {
        None => ids::task(client, name).await.map_err(|error| match error {
            CliError::Usage(why) if !why.contains('\n') => CliError::Usage(format!(
                "{why}; and there is no schedule {name:?}: \"qron list\" and \"qron schedules list\" show the ids"
            )),
            other => other,
        }),
        Some(ScheduleView { last_ended: Some(ended), .. }) => Ok(ended.task.to_string()),
        Some(ScheduleView { last_task: Some(task), .. }) => Err(CliError::NotYet(format!(
            "no firing of schedule {name} has ended yet; follow its task with: qron show {task} --follow"
        ))),
        Some(_) => Err(CliError::NotYet(format!(
            "schedule {name} has not fired yet: \"qron schedules show {name}\" tells when it does"
        ))),
    }
}

async fn steps_done(client: &Client, id: &str) -> Result<Vec<StepView>, CliError> {
    let steps: Listing<StepView> = client.get(&["tasks", id, "steps"], &[]).await?;
    Ok(steps.items.into_iter().filter(|step| step.status == StepStatus::Done).collect())
}

impl<'a> Outcome<'a> {
    fn of(task: &'a TaskView, partial: Vec<StepView>) -> Self {
        let fields = task.result.as_ref().and_then(Value::as_object);
        // Another client may have written a result of another form.
        let fields = fields.filter(|fields| fields.contains_key("output"));
        let marks = fields.into_iter().flatten().filter(|(name, _)| !OUTPUT_FIELDS.contains(&name.as_str()));
        Self {
            task: task.id,
            goal: &task.goal,
            status: task.status,
            schedule: task.schedule_id.as_deref(),
            finished_at: task.finished_at.as_deref(),
            output: fields.and_then(|fields| fields.get("output")).or(task.result.as_ref()),
            reason: fields.and_then(|fields| fields.get("reason")).and_then(Value::as_str),
            marks: marks.map(|(name, value)| (name.clone(), value.clone())).collect(),
            error: task.error.as_ref().filter(|_| task.status != TaskStatus::Completed).map(ToString::to_string),
            partial,
        }
    }

    /// Writes the result alone to standard output, for programs.
    fn write(&self) -> Result<(), CliError> {
        match self.output {
            Some(Value::String(text)) => output::text(text),
            Some(value) => output::json(value),
            None => Ok(()),
        }
    }

    /// Writes the result for people, below a head of a few lines.
    fn print(&self) -> Result<(), CliError> {
        let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
        let ended = self.finished_at.map(|at| format!(", {}", output::relative_time(at))).unwrap_or_default();
        field("task", &format!("{} ({}{ended})", self.task, self.status))?;
        field("goal", &output::cell(self.goal, 120))?;
        if let Some(schedule) = self.schedule {
            field("schedule", schedule)?;
        }
        for (name, value) in &self.marks {
            field("note", &mark(name, value))?;
        }
        output::raw("\n")?;
        match self.output {
            Some(Value::String(text)) => markdown::print(text),
            Some(value) => output::json(value),
            None => self.print_partial(),
        }
    }

    fn print_partial(&self) -> Result<(), CliError> {
        if self.partial.is_empty() {
            return output::line("there is no result, and no step was done");
        }
        output::line("there is no result; these steps were done:")?;
        for step in &self.partial {
            output::raw("\n")?;
            output::line(&format!("{}: {}", step.id, step.tool.as_deref().unwrap_or("instruction")))?;
            match &step.output {
                Some(Value::String(text)) => output::text(text)?,
                Some(value) => output::json(value)?,
                None => {}
            }
        }
        output::raw("\n")
    }

    /// Success when there is a result, with a hint where it is only a part.
    fn check(&self) -> Result<(), CliError> {
        let id = self.task;
        if let Some(output) = self.output {
            if let Some(artifact) = as_artifact_output(output) {
                output::note(&format!("the whole of it is an artifact: qron artifacts get {id} {}", artifact.name));
            }
            return if self.status == TaskStatus::Completed { Ok(()) } else { Err(self.failure()) };
        }
        if self.status == TaskStatus::Completed {
            output::note(&format!("task {id} completed without a result"));
            return Ok(());
        }
        Err(self.failure())
    }

    fn failure(&self) -> CliError {
        let (id, status) = (self.task, self.status);
        if !status.is_terminal() {
            return CliError::NotYet(format!(
                "task {id} is {status} and has no result yet: follow it with qron show {id} --follow"
            ));
        }
        let why = self.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        let done = match self.partial.len() {
            0 => String::new(),
            1 => format!("; 1 step was done, its output: qron result {id} --json"),
            steps => format!("; {} were done, their outputs: qron result {id} --json", counted(steps, "step")),
        };
        CliError::Failed(format!("task {id} has no result, it ended as {status}{why}{done}"))
    }
}

/// Whether a result is marked as one of which the model did not say that it reaches the goal.
pub(super) fn is_unconfirmed(result: Option<&Value>) -> bool {
    result.and_then(|result| result.get("confirmed")) == Some(&Value::Bool(false))
}

/// A mark of a result in words.
fn mark(name: &str, value: &Value) -> String {
    match (name, value) {
        ("ungrounded", Value::Array(stated)) => format!("check what stands in no output: {}", listed(stated)),
        (drift::MARK, Value::Object(suspect)) => {
            let reasons = suspect.get("reasons").and_then(Value::as_array).map(|reasons| listed(reasons));
            format!("suspect, unlike the earlier results of its schedule: {}", reasons.unwrap_or_default())
        }
        ("data_left_out", bytes) => {
            format!("{bytes} bytes of data were left out of a question, because the model reads no more at once")
        }
        ("confirmed", Value::Bool(false)) => format!("not confirmed: {NOT_CONFIRMED}"),
        ("unchanged", Value::Bool(true)) => format!("unchanged: {UNCHANGED}"),
        (_, Value::String(text)) => format!("{}: {text}", name.replace('_', " ")),
        (_, Value::Array(items)) => format!("{}: {}", name.replace('_', " "), listed(items)),
        (_, value) => format!("{}: {value}", name.replace('_', " ")),
    }
}

fn listed(items: &[Value]) -> String {
    let texts = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
    texts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_are_told_in_words() {
        assert!(mark("confirmed", &json!(false)).starts_with("not confirmed"));
        assert_eq!(mark("ungrounded", &json!(["41", "http://x"])), "check what stands in no output: 41, http://x");
        assert_eq!(
            mark("suspect", &json!({"reasons": ["it is much shorter"], "in_a_row": 1})),
            "suspect, unlike the earlier results of its schedule: it is much shorter"
        );
        assert_eq!(
            mark("data_left_out", &json!(51_200)),
            "51200 bytes of data were left out of a question, because the model reads no more at once"
        );
        assert_eq!(mark("unconfirmed_numbers", &json!(["41", 7])), "unconfirmed numbers: 41, 7");
        assert_eq!(mark("steps_failed", &json!(2)), "steps failed: 2");
    }
}
