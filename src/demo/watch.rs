//! Watches the tasks and schedules of the demo until they have ended, and prints the closing table.

use std::time::{Duration, Instant};

use chrono::DateTime;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::layout::{Cell, Colour, Layout, cut};
use super::schedules::{DemoSchedule, ScheduleState};
use super::tasks::DemoTask;
use crate::api::views::tasks::TaskDetail;
use crate::console::client::Client;
use crate::console::{CliError, output};
use crate::domain::counted::counted;
use crate::domain::task::TaskStatus;

/// Time between two reads of the tasks.
const POLL_INTERVAL: Duration = Duration::from_millis(150);
/// Longest time until all tasks have ended.
const TIME_LIMIT: Duration = Duration::from_mins(5);
/// Longest time for which tasks wait for a model that does not answer.
const MODEL_PATIENCE: Duration = Duration::from_mins(1);
/// Columns of the titles.
const TITLE_WIDTH: usize = 24;

/// The tasks and schedules of the demo.
pub(super) struct DemoItems {
    pub(super) tasks: Vec<DemoTask>,
    pub(super) schedules: Vec<DemoSchedule>,
}

/// The last known state of the tasks and schedules.
pub(super) struct Outcome<'a> {
    tasks: Vec<(&'a DemoTask, TaskDetail)>,
    schedules: Vec<(&'a DemoSchedule, ScheduleState)>,
}

impl Outcome<'_> {
    fn is_over(&self) -> bool {
        self.tasks.iter().all(|(_, task)| is_over(task)) && self.schedules.iter().all(|(_, fired)| fired.is_over())
    }

    /// Whether a task waits for a model that does not answer.
    fn waits_for_model(&self) -> bool {
        self.tasks.iter().any(|(_, task)| task.task.waits.is_some())
    }

    /// What has not ended, and what the first unfinished task last said; `None` when all is over.
    pub(super) fn unfinished(&self) -> Option<String> {
        if self.is_over() {
            return None;
        }
        let open: Vec<&(&DemoTask, TaskDetail)> = self.tasks.iter().filter(|(_, task)| !is_over(task)).collect();
        let Some((shown, task)) = open.first() else { return Some("a schedule did not fire in time".to_owned()) };
        let verb = if open.len() == 1 { "has" } else { "have" };
        let count = format!("{} {verb}", counted(open.len(), "task"));
        let why = describe(task);
        let why = if why.is_empty() { String::new() } else { format!(" ({:?}: {why})", shown.title) };
        Some(format!("{count} not ended in time{why}"))
    }
}

/// Watches until every task has ended and every schedule has demonstrated what it is for, or until the time limit.
pub(super) async fn until_ended<'a>(client: &Client, items: &'a DemoItems) -> Result<Outcome<'a>, CliError> {
    let titles = items.tasks.iter().map(|shown| shown.title).chain(items.schedules.iter().map(|shown| shown.title));
    let mut view = ProgressView::new(titles);
    let mut waiting_since: Option<Instant> = None;
    loop {
        let mut outcome = Outcome { tasks: Vec::new(), schedules: Vec::new() };
        for (index, shown) in items.tasks.iter().enumerate() {
            let task: TaskDetail = client.get(&["tasks", &shown.id.to_string()], &[]).await?;
            view.update(index, task.task.status, &describe(&task), is_over(&task))?;
            outcome.tasks.push((shown, task));
        }
        for (index, shown) in items.schedules.iter().enumerate() {
            let fired = shown.fetch(client).await?;
            view.update(items.tasks.len() + index, fired.status(), &fired.describe(), fired.is_over())?;
            outcome.schedules.push((shown, fired));
        }
        waiting_since = waiting_since.or_else(|| Some(Instant::now())).filter(|_| outcome.waits_for_model());
        let is_patient = waiting_since.is_none_or(|since| since.elapsed() <= MODEL_PATIENCE);
        if outcome.is_over() || !is_patient || view.started.elapsed() > TIME_LIMIT {
            view.finish();
            return Ok(outcome);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn is_over(task: &TaskDetail) -> bool {
    task.task.status.is_terminal()
}

/// The progress on standard output: on a terminal a line for each title that is updated in place, else a line for each change.
struct ProgressView {
    started: Instant,
    layout: Layout,
    titles: Vec<&'static str>,
    bars: Option<(MultiProgress, Vec<ProgressBar>)>,
    last: Vec<String>,
}

impl ProgressView {
    fn new(titles: impl Iterator<Item = &'static str>) -> Self {
        let (layout, titles) = (Layout::detect(), titles.collect::<Vec<_>>());
        let bars = output::is_terminal().then(|| {
            let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::stdout());
            let width = layout.title_width(TITLE_WIDTH);
            let bar = |title: &&str| {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(spinner());
                bar.set_prefix(format!("{:<width$}", cut(title, width)));
                bar.enable_steady_tick(POLL_INTERVAL);
                bar
            };
            let bars = titles.iter().map(bar).collect();
            (all, bars)
        });
        Self { started: Instant::now(), layout, last: vec![String::new(); titles.len()], titles, bars }
    }

    fn update(&mut self, index: usize, status: TaskStatus, text: &str, over: bool) -> Result<(), CliError> {
        let state = format!("{status} {text}");
        if self.last[index] == state {
            return Ok(());
        }
        self.last[index] = state;
        let gap = if text.is_empty() { "" } else { "  " };
        let Some((_, bars)) = &self.bars else {
            let (elapsed, title) = (self.started.elapsed().as_secs_f64(), self.titles[index]);
            return output::line(&format!("{elapsed:6.1}s  {title:<TITLE_WIDTH$}  {status}{gap}{text}"));
        };
        // The progress bar cuts the line to the present width of the terminal.
        let cells = [Cell::coloured(status.as_str(), Colour::for_status(status)), Cell::gap(), Cell::new(text)];
        bars[index].set_message(self.layout.line(&cells));
        if over {
            bars[index].finish();
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
    ProgressStyle::with_template("  {spinner} {prefix}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The number of the run, which the closing table counts, and the progress or the last error of a task, in a line.
fn describe(task: &TaskDetail) -> String {
    let runs = task.attempts.len();
    let run = if runs > 1 { format!("run {runs}") } else { String::new() };
    match (task.task.status, &task.progress) {
        (TaskStatus::Running, Some(progress)) if progress.total > 0 => {
            let step = format!("[{}/{}] {}", progress.settled(), progress.total, progress.note);
            if run.is_empty() { step } else { format!("{run} {step}") }
        }
        (TaskStatus::Pending, _) if task.task.waits.is_some() => {
            let cause = task.task.waits.as_ref().map_or("", |waits| waits.cause.as_str());
            format!("waits for the model: {cause}")
        }
        (TaskStatus::Pending, _) if task.task.error.is_some() => {
            let error = task.task.error.as_ref().map_or("", |error| error.message.as_str());
            format!("will be retried: {error}")
        }
        _ => run,
    }
}

/// Prints the closing table. Returns whether every task and schedule ended as intended.
pub(super) fn print_summary(outcome: &Outcome<'_>, scripted: bool) -> Result<bool, CliError> {
    let mut rows = vec![["", "TASK", "STATUS", "RUNS", "TIME", "RESULT"].map(Cell::new).to_vec()];
    let mut all_intended = true;
    let mut row = |intended: bool, title: &str, status: TaskStatus, attempts: &str, time: &str, result: &str| {
        all_intended &= intended;
        let mark = if intended { Cell::new("ok") } else { Cell::coloured("??", Colour::Red) };
        let status = Cell::coloured(status.as_str(), Colour::for_status(status));
        rows.push(vec![mark, Cell::new(title), status, Cell::new(attempts), Cell::new(time), Cell::new(result)]);
    };
    for (shown, task) in &outcome.tasks {
        let (intended, attempts) = (shown.is_as_intended(task, scripted), task.attempts.len().to_string());
        row(intended, shown.title, task.task.status, &attempts, &duration(task), &result(task));
    }
    for (shown, fired) in &outcome.schedules {
        row(fired.is_as_intended(), shown.title, fired.status(), "", "", &fired.describe());
    }
    output::line("")?;
    for line in Layout::detect().table(&rows) {
        // The cells are escaped; the control characters of the colours are not to be escaped.
        output::raw(&format!("{line}\n"))?;
    }
    output::line("")?;
    let artifacts: usize = outcome.tasks.iter().map(|(_, task)| task.artifacts.len()).sum();
    let completed = outcome.tasks.iter().filter(|(_, task)| task.task.status == TaskStatus::Completed).count();
    output::line(&format!("{completed} of {} tasks completed, artifacts saved: {artifacts}", outcome.tasks.len()))?;
    Ok(all_intended)
}

fn result(task: &TaskDetail) -> String {
    match (&task.task.error, &task.task.result) {
        (Some(error), _) => error.message.clone(),
        (None, Some(result)) => output::result_text(result),
        (None, None) => String::new(),
    }
}

/// The time from the insertion of a task to its end.
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
