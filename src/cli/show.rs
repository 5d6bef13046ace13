//! `qron show`: prints a task, and follows it until it ends.

use std::collections::HashSet;
use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::hold::Holds;
use super::{CliError, ids, output, steps};
use crate::api::views::Listing;
use crate::api::views::steps::StepView;
use crate::api::views::tasks::{AttemptView, EventView, TaskDetail};
use crate::domain::failure::Failure;
use crate::domain::task::TaskStatus;

/// Time between two reads of a task that is being followed.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(super) struct Show {
    /// Id of the task, or its beginning as far as it is unique
    id: String,
    /// Watch it until it ends; exit code 1 when it does not complete
    #[arg(long)]
    follow: bool,
    /// Show each step of its newest run whole: arguments, tool calls, times, tokens, output
    #[arg(long, conflicts_with = "follow")]
    steps: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let id = ids::task(client, &self.id).await?;
        if self.follow {
            return follow(client, &id, self.json).await;
        }
        if self.steps {
            return show_steps(client, &id, self.json).await;
        }
        let task: TaskDetail = client.get(&["tasks", &id], &[]).await?;
        if self.json {
            return output::json(&task);
        }
        print(&task)?;
        task.history.iter().try_for_each(print_event)
    }
}

async fn show_steps(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let steps: Listing<StepView> = client.get(&["tasks", id, "steps"], &[]).await?;
    if json {
        return output::json(&steps);
    }
    if steps.items.is_empty() {
        output::note(&format!("no run of task {id} has recorded a step yet"));
    }
    steps::print_whole(&steps.items)
}

/// Prints the events of a task as they happen, then the task as it ended. With `json`, prints the ended task alone.
pub(super) async fn follow(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let mut printed: HashSet<String> = HashSet::new();
    let (mut progress, mut holds) = (String::new(), Holds::default());
    let task = loop {
        let task: TaskDetail = client.get(&["tasks", id], &[]).await?;
        if !json {
            for event in task.history.iter().filter(|event| printed.insert(event.id.clone())) {
                print_event(event)?;
            }
            let now = match progress_line(&task) {
                line if line.is_empty() => holds.line(client, &task).await?,
                line => line,
            };
            if now != progress && !now.is_empty() {
                output::line(&now)?;
            }
            progress = now;
        }
        if task.task.status.is_terminal() {
            break task;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    if json {
        output::json(&task)?;
    } else {
        print(&task)?;
    }
    if task.task.status == TaskStatus::Completed { Ok(()) } else { Err(CliError::Reported) }
}

fn print_event(event: &EventView) -> Result<(), CliError> {
    output::line(&format!("{}  {}", output::time(&event.at), event.message))
}

fn progress_line(task: &TaskDetail) -> String {
    match &task.progress {
        Some(progress)
            if progress.total > 0 && (task.task.status == TaskStatus::Running || !task.task.awaits.is_empty()) =>
        {
            format!("  [{}/{}] {}", progress.settled(), progress.total, progress.note)
        }
        _ => match &task.task.waits {
            // Without the time of the next try, which moves on with each read.
            Some(waits) => format!("  it waits for a model: {}", waits.cause),
            None => String::new(),
        },
    }
}

/// The failure that a task which goes on had last, with the number of the attempt that failed.
fn of_attempt(attempts: &[AttemptView], error: &Failure) -> String {
    let failed = attempts.iter().rev().find(|attempt| attempt.failure.is_some());
    failed.map_or_else(|| error.to_string(), |attempt| format!("attempt {} failed: {error}", attempt.number))
}

fn print(detail: &TaskDetail) -> Result<(), CliError> {
    let task = &detail.task;
    let field = |name: &str, value: &str| output::line(&format!("{name:<11}{value}"));
    field("task", &task.id.to_string())?;
    field("status", task.status.as_str())?;
    field("goal", &task.goal)?;
    if let Some(reason) = &task.unreadable {
        field("unreadable", reason)?;
    }
    if let Some(agent) = detail.attempts.last().map(|attempt| &attempt.agent).or(task.agent.as_ref()) {
        field("agent", agent)?;
    }
    if let Some(tree) = &task.tree {
        field("tree", &tree.text())?;
    }
    if let Some(schedule) = &task.schedule_id {
        field("schedule", schedule)?;
    }
    let (runs, most) = (detail.attempts.len(), task.max_attempts.max(1));
    field("attempts", &format!("{runs} ({} of {most} failed)", task.attempt))?;
    field("run at", &output::time(&task.run_at))?;
    if let Some(finished) = &task.finished_at {
        field("finished", &output::time(finished))?;
    }
    if let Some(progress) = detail.progress.as_ref().filter(|progress| progress.total > 0) {
        field("steps", &progress.describe())?;
    }
    if let Some(end) = &detail.estimated_end {
        field("ends about", &output::time(end))?;
    }
    if let Some(attempt) = detail.attempts.iter().rev().find(|attempt| !attempt.steps.is_empty()) {
        steps::print(&attempt.steps)?;
    }
    if let Some(spent) = detail.attempts.last().map(|attempt| &attempt.spent).filter(|spent| spent.model_calls > 0) {
        let cost = if spent.cost_usd > 0.0 { format!(", ${:.4}", spent.cost_usd) } else { String::new() };
        field("model", &format!("{} calls, {} tokens{cost}", spent.model_calls, spent.usage.total()))?;
    }
    for artifact in &detail.artifacts {
        field("artifact", &format!("{} ({}, {} bytes)", artifact.name, artifact.media_type, artifact.size))?;
    }
    if !task.awaits.is_empty() {
        let tasks: Vec<String> = task.awaits.iter().map(ToString::to_string).collect();
        field("waits for", &tasks.join(", "))?;
    }
    if let Some(waits) = &task.waits {
        field("waiting", &format!("it {}", waits.text))?;
    }
    match &task.error {
        Some(error) if task.status.is_terminal() => field("error", &error.to_string())?,
        Some(error) => field("last error", &of_attempt(&detail.attempts, error))?,
        None => {}
    }
    if task.unchanged {
        field(
            "unchanged",
            "its tools gave what they gave before: the answer is that of the run before, and no model was asked",
        )?;
    }
    if let Some(result) = &task.result {
        output::line("result")?;
        output::result_text(result).lines().try_for_each(|line| output::line(&format!("  {line}")))?;
    }
    Ok(())
}
