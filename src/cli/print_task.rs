//! Prints a task and its events.

use super::hold::Wait;
use super::reasons::Reasons;
use super::{CliError, output, steps};
use crate::api::views::tasks::{EventView, TaskDetail, TaskView};
use crate::domain::counted::counted;
use crate::domain::task::TaskStatus;

/// Prints an event, without a reason that an earlier one said.
pub(super) fn print_event(event: &EventView, reasons: &mut Reasons) -> Result<(), CliError> {
    output::line(&format!("{}  {}", output::time(&event.at), output::with_times(&reasons.once(&event.message))))
}

/// Which attempt the task is at, of how many, and how many of them failed.
fn attempts(task: &TaskView, runs: usize) -> String {
    let (failed, most) = (task.attempt, task.max_attempts.max(1));
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    if runs == 0 && failed == 0 {
        return format!("none counted yet, of at most {most}");
    }
    let is_over = task.status.is_terminal() && task.status != TaskStatus::Completed;
    let current = if is_over { failed.max(1) } else { failed.saturating_add(1) };
    let is_next = if task.status == TaskStatus::Pending { " is next" } else { "" };
    let failures = if failed > 0 { format!("; {failed} failed") } else { String::new() };
    let counted_runs =
        if matches!(task.status, TaskStatus::Running | TaskStatus::Completed) { current } else { failed };
    let uncharged = match runs.saturating_sub(counted_runs) {
        0 => String::new(),
        1 => "; 1 run does not count, because it was put off or handed back".to_owned(),
        more => format!("; {more} runs do not count, because they were put off or handed back"),
    };
    format!("{current} of {most}{is_next}{failures}{uncharged}")
}

/// Prints a task with what it waits for.
pub(super) fn print(detail: &TaskDetail, waits: &[Wait]) -> Result<(), CliError> {
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
    field("attempt", &attempts(task, detail.attempts.len()))?;
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
        field(
            "model",
            &format!("{}, {}{cost}", counted(spent.model_calls, "call"), counted(spent.usage.total(), "token")),
        )?;
    }
    for artifact in &detail.artifacts {
        field("artifact", &format!("{} ({}, {})", artifact.name, artifact.media_type, counted(artifact.size, "byte")))?;
    }
    waits.iter().try_for_each(|wait| field("waiting", &wait.sentence()))?;
    match &task.error {
        Some(error) if task.status.is_terminal() => field("error", &error.to_string())?,
        Some(error) if task.attempt > 0 => {
            field("last error", &format!("attempt {} failed: {error}", task.attempt))?;
        }
        Some(error) => field("last error", &error.to_string())?,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::domain::id::TaskId;
    use crate::domain::task::Task;

    #[test]
    fn attempts_are_counted_in_one_way() {
        use TaskStatus::{Completed, Failed, Pending, Running};
        for (status, failed, runs, expected) in [
            (Pending, 0, 0, "none counted yet, of at most 3"),
            (Running, 0, 1, "1 of 3"),
            (Pending, 1, 1, "2 of 3 is next; 1 failed"),
            (Running, 1, 2, "2 of 3; 1 failed"),
            (Completed, 2, 3, "3 of 3; 2 failed"),
            (Failed, 3, 3, "3 of 3; 3 failed"),
            (Pending, 0, 1, "1 of 3 is next; 1 run does not count, because it was put off or handed back"),
            (Running, 1, 4, "2 of 3; 1 failed; 2 runs do not count, because they were put off or handed back"),
        ] {
            let mut task = TaskView::from(Task::new(TaskId::fresh(), "a goal", clock::now()));
            (task.status, task.attempt, task.max_attempts) = (status, failed, 3);
            assert_eq!(attempts(&task, runs), expected, "{status} {failed} {runs}");
        }
    }
}
