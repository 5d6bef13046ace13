//! Prints a task and its events.

use std::collections::BTreeMap;

use super::hold::Wait;
use super::reasons::Reasons;
use super::result::{NOT_CONFIRMED, UNCHANGED, is_unconfirmed};
use super::{CliError, output, steps};
use crate::api::views::suspect::SuspectView;
use crate::api::views::tasks::{EventView, TaskDetail, TaskView};
use crate::domain::attempt::AttemptStatus;
use crate::domain::counted::counted;
use crate::domain::task::TaskStatus;

/// Prints an event, without a reason that an earlier one said.
pub(super) fn print_event(event: &EventView, reasons: &mut Reasons) -> Result<(), CliError> {
    output::line(&format!("{}  {}", output::time(&event.at), output::with_times(&reasons.once(&event.message))))
}

/// Which attempt the task is at, of how many, and how many of them failed.
fn attempts(task: &TaskView, ends: &[AttemptStatus]) -> String {
    let (failed, most) = (task.attempt, task.max_attempts.max(1));
    let runs = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    if runs == 0 && failed == 0 {
        return format!("none counted yet, of at most {most}");
    }
    let is_over = task.status.is_terminal() && task.status != TaskStatus::Completed;
    let current = if is_over { failed.max(1) } else { failed.saturating_add(1) };
    let is_next = if task.status == TaskStatus::Pending { " is next" } else { "" };
    let failures = if failed > 0 { format!("; {failed} failed") } else { String::new() };
    format!("{current} of {most}{is_next}{failures}{}", uncharged(task, ends))
}

/// How many runs count as no attempt and how they ended, behind the rest of the sentence.
fn uncharged(task: &TaskView, ends: &[AttemptStatus]) -> String {
    let mut left = ends.to_vec();
    let mut take = |is_meant: &[AttemptStatus]| {
        let place = is_meant.iter().find_map(|meant| left.iter().rposition(|end| end == meant));
        place.map(|place| left.remove(place));
    };
    if matches!(task.status, TaskStatus::Running | TaskStatus::Completed) {
        take(&[if task.status == TaskStatus::Running { AttemptStatus::Running } else { AttemptStatus::Completed }]);
    }
    // The latest failures count: those before were forgiven when the task was retried. A run whose process died may count, too.
    for _ in 0..task.attempt {
        take(&[AttemptStatus::Failed, AttemptStatus::Running, AttemptStatus::Lost]);
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for end in &left {
        *reasons.entry(end_of(*end)).or_default() += 1;
    }
    let was = |count: usize, reason: &str| match (reason.strip_prefix("was "), count) {
        (Some(rest), 2..) => format!("were {rest}"),
        _ => reason.to_owned(),
    };
    let each: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {}", was(*count, reason))).collect();
    match (left.len(), reasons.first_key_value()) {
        (1, Some((reason, _))) => format!("; 1 run does not count, because it {reason}"),
        (runs, Some((reason, count))) if each.len() == 1 => {
            format!("; {runs} runs do not count, because they {}", was(*count, reason))
        }
        (runs, Some(_)) => format!("; {runs} runs do not count: {}", each.join(", ")),
        (_, None) => String::new(),
    }
}

/// How a run ended that counts as no attempt, behind its subject.
const fn end_of(end: AttemptStatus) -> &'static str {
    match end {
        AttemptStatus::Postponed => "was put off",
        AttemptStatus::Released => "was handed back",
        AttemptStatus::Cancelled => "was cancelled",
        AttemptStatus::AwaitingApproval => "was stopped to ask a person",
        AttemptStatus::AwaitingTasks => "was stopped to wait for other tasks",
        AttemptStatus::Lost => "was taken over by another replica",
        AttemptStatus::Running => "was cut off",
        AttemptStatus::Completed => "completed before the task was tried again",
        AttemptStatus::Failed => "failed before the task was tried again",
    }
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
    let ends: Vec<AttemptStatus> = detail.attempts.iter().map(|attempt| attempt.status).collect();
    field("attempt", &attempts(task, &ends))?;
    match task.waits.as_ref().and_then(|waits| waits.next_try.as_ref()).filter(|_| task.status == TaskStatus::Pending) {
        Some(next) => field("next try", &output::time(next))?,
        None => field("run at", &output::time(&task.run_at))?,
    }
    if let Some(finished) = &task.finished_at {
        field("finished", &output::time(finished))?;
    }
    let shown = detail.attempts.iter().rev().find(|attempt| !attempt.steps.is_empty());
    let newest = detail.progress.as_ref().filter(|progress| progress.total > 0);
    if let Some(progress) = newest.cloned().or_else(|| shown.map(|attempt| steps::counts(&attempt.steps))) {
        field("steps", &progress.describe())?;
    }
    if let Some(end) = &detail.estimated_end {
        field("ends about", &output::time(end))?;
    }
    if let Some(attempt) = shown {
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
    waits.iter().try_for_each(|wait| field("waiting", &wait.after_waiting()))?;
    match &task.error {
        Some(error) if task.status.is_terminal() => field("error", &error.to_string())?,
        Some(error) if task.attempt > 0 => {
            field("last error", &format!("attempt {} failed: {error}", task.attempt))?;
        }
        Some(error) => field("last error", &error.to_string())?,
        None => {}
    }
    if task.unchanged {
        field("unchanged", UNCHANGED)?;
    }
    if is_unconfirmed(task.result.as_ref()) {
        field("confirmed", &format!("no: {NOT_CONFIRMED}"))?;
    }
    if let Some(suspect) = &task.suspect {
        field("suspect", &suspect_words(suspect))?;
    }
    if let Some(result) = &task.result {
        output::line("result")?;
        output::result_text(result).lines().try_for_each(|line| output::line(&format!("  {line}")))?;
    }
    Ok(())
}

/// Why a result is suspect, in a sentence.
pub(super) fn suspect_words(suspect: &SuspectView) -> String {
    let reasons = suspect.reasons.join("; ");
    match suspect.in_a_row {
        0 | 1 => format!("unlike the earlier results of its schedule: {reasons}"),
        several => format!("{several} results in a row are unlike those before them: {reasons}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::domain::id::TaskId;
    use crate::domain::task::Task;

    #[test]
    fn attempts_are_counted_in_one_way() {
        use AttemptStatus::{AwaitingApproval, Postponed, Released};
        use TaskStatus::{Cancelled, Completed, Failed, Pending, Running};
        let (failed_run, running_run, done) = (AttemptStatus::Failed, AttemptStatus::Running, AttemptStatus::Completed);
        for (status, failed, runs, expected) in [
            (Pending, 0, vec![], "none counted yet, of at most 3"),
            (Running, 0, vec![running_run], "1 of 3"),
            (Pending, 1, vec![failed_run], "2 of 3 is next; 1 failed"),
            (Running, 1, vec![failed_run, running_run], "2 of 3; 1 failed"),
            (Completed, 2, vec![failed_run, failed_run, done], "3 of 3; 2 failed"),
            (Failed, 3, vec![failed_run; 3], "3 of 3; 3 failed"),
            (Pending, 0, vec![Postponed], "1 of 3 is next; 1 run does not count, because it was put off"),
            (
                Running,
                1,
                vec![Postponed, Released, failed_run, running_run],
                "2 of 3; 1 failed; 2 runs do not count: 1 was handed back, 1 was put off",
            ),
            (
                Pending,
                0,
                vec![failed_run],
                "1 of 3 is next; 1 run does not count, because it failed before the task was tried again",
            ),
            (
                Pending,
                0,
                vec![failed_run, failed_run, AttemptStatus::Cancelled],
                "1 of 3 is next; 3 runs do not count: 2 failed before the task was tried again, 1 was cancelled",
            ),
            (
                Failed,
                1,
                vec![failed_run, failed_run],
                "1 of 3; 1 failed; 1 run does not count, because it failed before the task was tried again",
            ),
            (Running, 0, vec![running_run, running_run], "1 of 3; 1 run does not count, because it was cut off"),
            (Running, 1, vec![running_run, running_run], "2 of 3; 1 failed"),
            (Pending, 0, vec![Postponed, Postponed], "1 of 3 is next; 2 runs do not count, because they were put off"),
            (Cancelled, 0, vec![AttemptStatus::Cancelled], "1 of 3; 1 run does not count, because it was cancelled"),
            (
                Completed,
                0,
                vec![AwaitingApproval, done],
                "1 of 3; 1 run does not count, because it was stopped to ask a person",
            ),
        ] {
            let mut task = TaskView::from(Task::new(TaskId::fresh(), "a goal", clock::now()));
            (task.status, task.attempt, task.max_attempts) = (status, failed, 3);
            assert_eq!(attempts(&task, &runs), expected, "{status} {failed} {runs:?}");
        }
    }
}
