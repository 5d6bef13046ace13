//! The tasks of the demo while they run, and how they ended.

use std::time::{Duration, Instant};

use chrono::DateTime;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::tasks::Shown;
use crate::api::views::tasks::TaskDetail;
use crate::cli::client::Client;
use crate::cli::{CliError, output, show};
use crate::domain::task::TaskStatus;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(150);
/// When the demo stops to wait.
const PATIENCE: Duration = Duration::from_mins(5);
/// Width of the titles.
const TITLE: usize = 42;

/// A task and how it ended, or how far it came.
pub(super) struct Ended<'a> {
    shown: &'a Shown,
    task: TaskDetail,
}

/// Watches until every task has ended, or patience has.
pub(super) async fn until_ended<'a>(client: &Client, tasks: &'a [Shown]) -> Result<Vec<Ended<'a>>, CliError> {
    let mut screen = Screen::new(tasks);
    loop {
        let mut ended = Vec::with_capacity(tasks.len());
        for shown in tasks {
            let task: TaskDetail = client.get(&["tasks", &shown.id.to_string()], &[]).await?;
            screen.update(ended.len(), shown, &task)?;
            ended.push(Ended { shown, task });
        }
        if ended.iter().all(|ended| is_over(&ended.task)) || screen.started.elapsed() > PATIENCE {
            screen.finish();
            return Ok(ended);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_over(task: &TaskDetail) -> bool {
    task.task.status.is_terminal()
}

/// One moving line for each task on a terminal, else a plain line for each change.
struct Screen {
    started: Instant,
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    last: Vec<String>,
}

impl Screen {
    fn new(tasks: &[Shown]) -> Self {
        let bars = output::is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::stdout());
            let bar = |shown: &Shown| {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(spinner());
                bar.set_prefix(format!("{:<TITLE$}", shown.title));
                bar.enable_steady_tick(LOOK);
                bar
            };
            let bars = tasks.iter().map(bar).collect();
            (all, bars)
        });
        Self { started: Instant::now(), bars, last: vec![String::new(); tasks.len()] }
    }

    fn update(&mut self, index: usize, shown: &Shown, task: &TaskDetail) -> Result<(), CliError> {
        let state = describe(task);
        if self.last[index] == state {
            return Ok(());
        }
        self.last[index].clone_from(&state);
        let Some((_, bars)) = &self.bars else {
            let elapsed = self.started.elapsed().as_secs_f64();
            return output::line(&format!("{elapsed:6.1}s  {:<TITLE$}  {state}", shown.title));
        };
        let bar = &bars[index];
        bar.set_message(output::cell(&state, 90));
        if is_over(task) {
            bar.finish();
        }
        Ok(())
    }

    fn finish(&self) {
        if let Some((_, bars)) = &self.bars {
            bars.iter().for_each(ProgressBar::abandon);
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {prefix}  {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// Where a task stands, in a line.
fn describe(task: &TaskDetail) -> String {
    let attempt = if task.attempts.len() > 1 { format!(", attempt {}", task.attempts.len()) } else { String::new() };
    match (task.task.status, &task.progress) {
        (TaskStatus::Running, Some(progress)) if progress.total > 0 => {
            format!("running{attempt} [{}/{}] {}", progress.done, progress.total, progress.note)
        }
        (TaskStatus::Pending, _) if task.task.error.is_some() => {
            let error = task.task.error.as_ref().map_or("", |error| error.message.as_str());
            format!("will be tried again: {error}")
        }
        (status, _) => format!("{status}{attempt}"),
    }
}

/// Writes the closing table; `false` when a task did not end as intended.
pub(super) fn summary(ended: &[Ended<'_>], scripted: bool) -> Result<bool, CliError> {
    let mut table = output::table(["", "TASK", "STATUS", "ATTEMPTS", "TIME", "RESULT"]);
    let mut all = true;
    for Ended { shown, task } in ended {
        let intended = shown.is_as_intended(task, scripted);
        all &= intended;
        table.add_row([
            if intended { "ok" } else { "??" }.to_owned(),
            shown.title.to_owned(),
            task.task.status.to_string(),
            task.attempts.len().to_string(),
            duration(task),
            output::cell(&outcome(task), 60),
        ]);
    }
    output::line("")?;
    output::show(&table)?;
    output::line("")?;
    let artifacts: usize = ended.iter().map(|ended| ended.task.artifacts.len()).sum();
    let completed = ended.iter().filter(|ended| ended.task.task.status == TaskStatus::Completed).count();
    output::line(&format!("{completed} of {} tasks completed, artifacts saved: {artifacts}", ended.len()))?;
    Ok(all)
}

fn outcome(task: &TaskDetail) -> String {
    match (&task.task.error, &task.task.result) {
        (Some(error), _) => error.message.clone(),
        (None, Some(result)) => show::result_text(result),
        (None, None) => String::new(),
    }
}

/// From insertion to end.
fn duration(task: &TaskDetail) -> String {
    let read = |text: &str| DateTime::parse_from_rfc3339(text).ok();
    let begin = read(&task.task.created_at);
    let end = task.task.finished_at.as_deref().and_then(read);
    match (begin, end) {
        (Some(begin), Some(end)) => {
            let ms = u32::try_from((end - begin).num_milliseconds()).unwrap_or_default();
            format!("{:.1} s", f64::from(ms) / 1000.0)
        }
        _ => "-".to_owned(),
    }
}
