//! `qron list`: tasks in four groups: running, waiting for a person, next, ended.

use clap::Args;
use comfy_table::Table;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::client::Client;
use super::filter::FilterOptions;
use super::hold::{Fleet, Hold};
use super::result::is_unconfirmed;
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::tasks::{TaskCounts, TaskView};
use crate::domain::counted::counted;
use crate::domain::task::{TaskFilter, TaskStatus};

/// Tasks in one page of the API.
const PAGE: usize = 500;
/// Tasks in the smallest page, which a command can hold whatever their results.
const SMALLEST_PAGE: usize = 8;
/// Tasks listed in each group without `--limit`.
const DEFAULT_LIMIT: usize = 10;
/// The same with `--json`.
const DEFAULT_JSON_LIMIT: usize = 50;

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    filter: FilterOptions,
    /// At most this many of each group; without it 10, and 50 with --json
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "all")]
    limit: Option<u32>,
    /// All tasks of each group, skipped ones too
    #[arg(long)]
    all: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// A part of the listing, in an order of its own.
pub(super) struct GroupKind {
    name: &'static str,
    statuses: &'static [TaskStatus],
    /// Value of the parameter `order` of the API.
    order: &'static str,
    /// The time of a task that the column WHEN shows; `None` where it is not known.
    time: fn(&TaskView) -> Option<&str>,
}

pub(super) const RUNNING: GroupKind =
    GroupKind { name: "running", statuses: &[TaskStatus::Running], order: "next", time: |task| Some(&task.updated_at) };
pub(super) const FOR_PEOPLE: GroupKind = GroupKind {
    name: "waiting for a person",
    statuses: &[TaskStatus::AwaitingApproval],
    order: "next",
    time: |task| Some(&task.run_at),
};
pub(super) const NEXT: GroupKind =
    GroupKind { name: "next", statuses: &[TaskStatus::Pending, TaskStatus::Waiting], order: "next", time: next_time };
pub(super) const ENDED: GroupKind = GroupKind {
    name: "ended",
    statuses: &[
        TaskStatus::Completed,
        TaskStatus::Failed,
        TaskStatus::Cancelled,
        TaskStatus::Blocked,
        TaskStatus::Skipped,
    ],
    order: "ended",
    time: |task| task.finished_at.as_deref().or(Some(&task.updated_at)),
};

/// When a task is tried next, as `show` and those who follow it are told: not before its model may be called again, and at no known
/// time where it waits for a model that is not configured.
fn next_time(task: &TaskView) -> Option<&str> {
    task.waits.as_ref().map_or(Some(&task.run_at), |waits| waits.next_try.as_deref())
}

/// Those of [`ENDED`] that were meant to run: a schedule that is faster than its tasks makes very many skipped ones.
const ENDED_BUT_SKIPPED: GroupKind = GroupKind {
    statuses: &[TaskStatus::Completed, TaskStatus::Failed, TaskStatus::Cancelled, TaskStatus::Blocked],
    ..ENDED
};

/// The listed tasks of one kind.
pub(super) struct Group {
    kind: &'static GroupKind,
    pub(super) tasks: Vec<TaskView>,
    /// Tasks of this kind, listed or not.
    pub(super) total: u64,
}

/// The listing as JSON.
#[derive(Serialize)]
struct TaskList {
    items: Vec<TaskView>,
    /// Tasks that match the filter; more than `items` when the limit left some out.
    total: u64,
}

impl List {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let filter = self.filter.read(client).await?;
        let limit = match (self.all, self.limit) {
            (true, _) => usize::MAX,
            (false, Some(limit)) => limit as usize,
            (false, None) if self.json => DEFAULT_JSON_LIMIT,
            (false, None) => DEFAULT_LIMIT,
        };
        let hides_skipped = !self.json && !self.all && filter.statuses.is_empty();
        let ended = if hides_skipped { &ENDED_BUT_SKIPPED } else { &ENDED };
        let skipped = if hides_skipped { count_skipped(client, &filter).await? } else { 0 };
        let groups = groups(client, &[&RUNNING, &FOR_PEOPLE, &NEXT, ended], &filter, limit).await?;
        let total = groups.iter().map(|group| group.total).sum();
        if self.json {
            let items = groups.into_iter().flat_map(|group| group.tasks).collect();
            return output::json(&TaskList { items, total });
        }
        if skipped > 0 {
            let verb = if skipped == 1 { "is" } else { "are" };
            let tasks = counted(skipped, "skipped task");
            output::note(&format!("{tasks} {verb} not shown: see them with --status skipped"));
        }
        if total == 0 && skipped > 0 {
            return Ok(());
        }
        if total == 0
            && let Some(agent) = &filter.agent
            && is_unknown(client, agent).await?
        {
            output::note(&format!(
                "no replica has an agent {agent:?}, and no task names it; see the agents with: qron agents"
            ));
            return Ok(());
        }
        if total == 0
            && let Some(schedule) = &filter.schedule_id
            && client.find::<IgnoredAny>(&["schedules", schedule]).await?.is_none()
        {
            output::note(&format!(
                "there is no schedule {schedule:?}, and no task of one; see the schedules with: qron schedules list"
            ));
            return Ok(());
        }
        if total == 0 {
            output::note(if filter == TaskFilter::default() {
                "there are no tasks yet; add one with: qron add GOAL"
            } else {
                "no task matches the filter; see all of them with: qron list"
            });
            return Ok(());
        }
        let has_next = groups.iter().any(|group| group.tasks.iter().any(|task| task.status == TaskStatus::Pending));
        let fleet = if has_next { Some(Fleet::read(client).await?) } else { None };
        print(&groups, fleet.as_ref())?;
        if !self.all && groups.iter().any(Group::is_cut) {
            output::note(
                "more tasks match: see them with --limit or --all, or narrow the list with a filter such as --status failed",
            );
        }
        Ok(())
    }
}

/// Whether neither a replica nor a task knows an agent of this name.
async fn is_unknown(client: &Client, agent: &str) -> Result<bool, CliError> {
    if Fleet::read(client).await?.agents.iter().any(|known| known.name == agent) {
        return Ok(false);
    }
    let filter = TaskFilter { agent: Some(agent.to_owned()), ..TaskFilter::default() };
    let counts: TaskCounts = client.get(&["tasks", "counts"], &pairs(&filter.conditions())).await?;
    Ok(counts.among(&TaskStatus::ALL) == 0)
}

async fn count_skipped(client: &Client, filter: &TaskFilter) -> Result<u64, CliError> {
    let counts: TaskCounts = client.get(&["tasks", "counts"], &pairs(&filter.conditions())).await?;
    Ok(counts.among(&[TaskStatus::Skipped]))
}

/// The tasks of each kind that pass the filter, at most `limit` of each.
pub(super) async fn groups(
    client: &Client,
    kinds: &[&'static GroupKind],
    filter: &TaskFilter,
    limit: usize,
) -> Result<Vec<Group>, CliError> {
    let wanted = &filter.statuses;
    let counts: TaskCounts = client.get(&["tasks", "counts"], &pairs(&filter.conditions())).await?;
    let mut groups = Vec::new();
    for kind in kinds {
        let statuses = kind.statuses.iter().copied().filter(|status| wanted.is_empty() || wanted.contains(status));
        let filter = TaskFilter { statuses: statuses.collect(), ..filter.clone() };
        let total = counts.among(&filter.statuses);
        let tasks = if total == 0 { Vec::new() } else { collect(client, kind, &filter, limit).await? };
        // Tasks that came meanwhile were not counted.
        groups.push(Group { kind, total: total.max(tasks.len() as u64), tasks });
    }
    Ok(groups)
}

/// The conditions as parameters of a request.
pub(super) fn pairs<'a>(conditions: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    conditions.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

async fn collect(
    client: &Client,
    kind: &GroupKind,
    filter: &TaskFilter,
    limit: usize,
) -> Result<Vec<TaskView>, CliError> {
    let conditions = filter.conditions();
    let mut tasks = Vec::new();
    let (mut after, mut most, mut held): (Option<String>, usize, usize) = (None, PAGE, 0);
    loop {
        let size = (limit - tasks.len()).min(most);
        let size_text = size.to_string();
        let mut query = pairs(&conditions);
        query.extend([("order", kind.order), ("limit", &size_text)]);
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Listing<TaskView> = match client.page(&["tasks"], &query, &mut held).await {
            // Tasks come with their results, each of which may take megabytes.
            Err(CliError::TooLarge(_)) if size > SMALLEST_PAGE => {
                most = (size / 8).max(SMALLEST_PAGE);
                continue;
            }
            page => page?,
        };
        tasks.extend(page.items);
        after = page.next;
        if after.is_none() || tasks.len() >= limit {
            // What answers may send more than it was asked for.
            tasks.truncate(limit);
            return Ok(tasks);
        }
    }
}

impl Group {
    /// Whether the limit left tasks out.
    pub(super) fn is_cut(&self) -> bool {
        self.total > self.tasks.len() as u64
    }

    fn title(&self) -> String {
        let count = if self.is_cut() {
            format!("{} of {}", self.tasks.len(), self.total)
        } else {
            self.tasks.len().to_string()
        };
        format!("{}: {count}", self.kind.name)
    }
}

/// The status of a task for its column, with what holds it back or that its model did not confirm its answer; a narrow table tells
/// only that, in a word or two.
fn status_cell(task: &TaskView, hold: Option<Hold>, is_wide: bool) -> String {
    let word = match hold {
        Some(Hold::Paused) => "paused",
        Some(Hold::NoAgent) => "no agent",
        None => "",
    };
    match &task.waits {
        _ if task.unreadable.is_some() => "unreadable".to_owned(),
        _ if hold.is_some() && !is_wide => word.to_owned(),
        _ if hold.is_some() => format!("{}, {word}", task.status),
        Some(waits) if !is_wide && waits.model.is_empty() => "no model".to_owned(),
        Some(_) if !is_wide => "model away".to_owned(),
        Some(waits) if waits.model.is_empty() => format!("{}, no model", task.status),
        Some(waits) => format!("{}, {} away", task.status, output::cell(&waits.model, 24)),
        None if is_unconfirmed(task.result.as_ref()) && !is_wide => "unconfirmed".to_owned(),
        None if is_unconfirmed(task.result.as_ref()) => format!("{}, unconfirmed", task.status),
        None => task.status.to_string(),
    }
}

/// Prints the groups that hold tasks, in one table with a title above each group; `fleet` tells what holds pending ones back.
pub(super) fn print(groups: &[Group], fleet: Option<&Fleet>) -> Result<(), CliError> {
    let table = table(groups, fleet, output::width());
    let mut lines = output::lines(&table);
    output::raw(&lines.next().unwrap_or_default())?;
    for group in groups.iter().filter(|group| group.total > 0) {
        output::line(&group.title())?;
        lines.by_ref().take(group.tasks.len()).try_for_each(|line| output::raw(&line))?;
    }
    Ok(())
}

/// The tasks of the groups in a table of `width` columns: the goal has all the room that the others leave.
fn table(groups: &[Group], fleet: Option<&Fleet>, width: u16) -> Table {
    let is_wide = width >= output::WIDE_FROM;
    let (whole, after): (&[&str], &[&str]) = if is_wide {
        (&["ID", "STATUS", "WHEN"], &["AGENT", "FAILED ATTEMPTS"])
    } else {
        (&["ID", "STATUS", "WHEN"], &[])
    };
    let mut table = output::rows_around(whole, "GOAL", after, width);
    for task in groups.iter().flat_map(|group| group.tasks.iter().map(|task| (group.kind, task))) {
        let (kind, task) = task;
        let hold = fleet.and_then(|fleet| fleet.hold_of(task));
        // The next try of its model is no time at which a task goes on that something else holds back.
        let time = (kind.time)(task).filter(|_| hold.is_none() || task.waits.is_none());
        let cells = [
            task.id.to_string(),
            status_cell(task, hold, width >= output::WHOLE_TIMES_FROM),
            time.map_or_else(|| "-".to_owned(), |at| output::relative_time_within(at, width)),
            output::cell(&task.goal, width.into()),
            output::cell(task.ran_by.as_deref().or(task.agent.as_deref()).unwrap_or("-"), 24),
            format!("{} of {}", task.attempt, task.max_attempts.max(1)),
        ];
        output::add(&mut table, cells.into_iter().take(whole.len() + 1 + after.len()));
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::task::Task;

    /// The cell of the goal in a table of `width` columns, and the longest line.
    fn goal_at(width: u16, status: TaskStatus, goal: &str, waits: bool) -> (String, usize) {
        let mut task = TaskView::from(Task::new(TaskId::fresh(), goal, crate::clock::now()));
        task.status = status;
        task.agent = Some("generalist".to_owned());
        if waits {
            task.waits = serde_json::from_value(json!({
                "model": "qwen2.5-coder-1.5b", "since": "2026-01-31T09:00:00Z", "next_try": null, "times": 1,
                "cause": "x", "text": "x"
            }))
            .ok();
        }
        let table = table(&[Group { kind: &NEXT, tasks: vec![task], total: 1 }], None, width);
        let lines: Vec<String> = output::lines(&table).collect();
        let at = lines[0].find("GOAL").expect("a header");
        let end = lines[0].find("AGENT").unwrap_or(lines[0].len().max(width.into()));
        let goal: String = lines[1].chars().skip(at).take(end - at).collect();
        (goal.trim().to_owned(), lines.iter().map(|line| line.trim_end().chars().count()).max().unwrap_or_default())
    }

    #[test]
    fn the_goal_has_the_room_that_the_other_columns_leave() {
        let goal = "Read https://example.org/a-page-whose-address-is-longer-than-a-column and tell what is new in it, then \
                    keep a table of it and compare it with the one of last week";
        for (width, status, waits, least) in [
            (80, TaskStatus::Pending, false, 20),
            (80, TaskStatus::Pending, true, 18),
            (80, TaskStatus::AwaitingApproval, false, 11),
            (100, TaskStatus::Pending, true, 38),
            (120, TaskStatus::Pending, true, 26),
            (200, TaskStatus::Pending, true, 60),
        ] {
            let (shown, longest) = goal_at(width, status, goal, waits);
            assert!(shown.chars().count() >= least, "{width} {status}: {shown:?}");
            assert!(longest <= width.into(), "{width}: {longest}");
            assert!(shown.ends_with('…') && goal.starts_with(shown.trim_end_matches('…')), "{shown:?}");
        }
        let (short, _) = goal_at(80, TaskStatus::Pending, "Compute it", false);
        assert_eq!(short, "Compute it");
    }
}
