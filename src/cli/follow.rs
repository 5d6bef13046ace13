//! Follows a task until it ends: what happens, how far its run is, and what it waits for.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::client::Client;
use super::hold::{self, Wait};
use super::reasons::Reasons;
use super::{CliError, output, print_task};
use crate::api::views::tasks::{EventView, TaskDetail};
use crate::clock;
use crate::domain::task::TaskStatus;

/// Time between two reads of the task.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Time between two looks at what the task waits for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long a follower goes on asking a qron that does not answer: one that is started anew answers soon.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the events of a task as they happen, then the task as it ended. With `json`, prints the ended task alone. Ctrl-C leaves.
pub(super) async fn follow(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let task: TaskDetail = client.get(&["tasks", id], &[]).await?;
    let back = format!("qron show {id} --follow");
    if !json && !task.task.status.is_terminal() {
        output::line(&format!("  Ctrl-C leaves, and the task stays; come back with: {back}"))?;
    }
    let left = async {
        // Without a handler the signal ends the process itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = to_the_end(client, id, task, json) => ended,
        () = left => {
            // Behind the sign of the terminal for the key.
            output::note("");
            output::note(&format!("left task {id}, which goes on; come back with: {back}"));
            Err(CliError::Left)
        }
    }
}

async fn to_the_end(client: &Client, id: &str, mut task: TaskDetail, json: bool) -> Result<(), CliError> {
    let mut screen = Screen::default();
    while !task.task.status.is_terminal() {
        if !json {
            match screen.look(client, &task).await {
                // Whether the task has ended meanwhile is asked below.
                Ok(()) | Err(CliError::Failed(_)) => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        let found = ask_patiently(client, id).await.map_err(|error| unknown_end(error, id))?;
        task = found.ok_or_else(|| CliError::Failed(format!("task {id} was removed while it was followed")))?;
    }
    if json {
        output::json(&task)?;
    } else {
        // Events are written shortly after what they tell of.
        tokio::time::sleep(POLL_INTERVAL).await;
        // A qron that has stopped since leaves the end that is known.
        if let Ok(newer) = client.get(&["tasks", id], &[]).await {
            task = newer;
        }
        screen.end(&task)?;
        print_task::print(&task, &[])?;
    }
    if task.task.status == TaskStatus::Completed { Ok(()) } else { Err(CliError::Reported) }
}

/// The task; asked for again for [`PATIENCE`] when nothing answers.
async fn ask_patiently(client: &Client, id: &str) -> Result<Option<TaskDetail>, CliError> {
    let began = Instant::now();
    loop {
        match client.find(&["tasks", id]).await {
            Err(CliError::Failed(_)) if began.elapsed() < PATIENCE => tokio::time::sleep(POLL_INTERVAL).await,
            found => return found,
        }
    }
}

/// The error of a follower whose qron no longer answers: how the task ends is not known, which is no failure of the task.
fn unknown_end(error: CliError, id: &str) -> CliError {
    match error {
        CliError::Failed(why) => CliError::NotYet(format!(
            "{why}; the task stays, and how it ends is not known here: come back with qron show {id} --follow"
        )),
        other => other,
    }
}

/// What has been printed, and what will be at the next look: the parts of a fleet write their events at their own pace, so that a
/// line is held for one look, in which an earlier event may still come.
#[derive(Default)]
struct Screen {
    printed: HashSet<String>,
    reasons: Reasons,
    /// The place of the newest event that the next look prints.
    held: Option<(String, String)>,
    /// Lines about the state of the task at the last look.
    lines: Vec<String>,
    progress: String,
    looked: Option<Instant>,
    waits: Waits,
}

impl Screen {
    /// Prints what was held, and holds what is new.
    async fn look(&mut self, client: &Client, task: &TaskDetail) -> Result<(), CliError> {
        if let Some(held) = self.held.take() {
            let events = self.take(&task.history, Some(&held));
            events.into_iter().try_for_each(|event| print_task::print_event(event, &mut self.reasons))?;
        }
        std::mem::take(&mut self.lines).iter().try_for_each(|line| output::line(line))?;
        self.held = newest(task);
        let progress = progress_line(task);
        if progress != self.progress && !progress.is_empty() {
            self.lines.push(progress.clone());
        }
        self.progress = progress;
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            self.looked = Some(Instant::now());
            let waits = hold::waits(client, &task.task).await?;
            self.lines.extend(self.waits.news(waits, &clock::now().to_rfc3339()));
        }
        Ok(())
    }

    /// Prints the events that are left.
    fn end(&mut self, task: &TaskDetail) -> Result<(), CliError> {
        let events = self.take(&task.history, None);
        events.into_iter().try_for_each(|event| print_task::print_event(event, &mut self.reasons))
    }

    /// Those of `events` that were not taken yet and came up to `last`, in their order; all of them without `last`.
    fn take<'a>(&mut self, events: &'a [EventView], last: Option<&(String, String)>) -> Vec<&'a EventView> {
        let is_due = |event: &&EventView| last.is_none_or(|(at, id)| key(event) <= (at, id));
        let mut events: Vec<&EventView> = events.iter().filter(is_due).collect();
        events.sort_by(|one, other| key(one).cmp(&key(other)));
        events.retain(|event| self.printed.insert(event.id.clone()));
        events
    }
}

/// The place of the newest event that belongs before what `task` says: the state is there before the event that tells of it.
fn newest(task: &TaskDetail) -> Option<(String, String)> {
    let events = task.history.iter().map(|event| (event.at.clone(), event.id.clone()));
    let states = task.attempts.iter().map(|attempt| &attempt.updated_at).chain([&task.task.updated_at]);
    events.chain(states.map(|at| (at.clone(), LAST_ID.to_owned()))).max()
}

/// Greater than the id of every event.
const LAST_ID: &str = "~";

/// What events are ordered by: times of the API, and the ids of one moment, sort as text.
fn key(event: &EventView) -> (&String, &String) {
    (&event.at, &event.id)
}

/// The waits that were told last.
#[derive(Default)]
struct Waits {
    told: Vec<Wait>,
}

impl Waits {
    /// Lines about those of `waits` that are new, or whose next try was told for a time that has passed at `now`.
    fn news(&mut self, waits: Vec<Wait>, now: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut told = Vec::new();
        for wait in waits {
            let before = self.told.iter().find(|before| before.what == wait.what);
            // A time that a look finds in the past stands for "at once".
            let is_ahead = |next: &String| next.as_str() > now;
            let stands = before.is_some_and(|before| {
                before.next.as_ref().is_some_and(is_ahead) || !wait.next.as_ref().is_some_and(is_ahead)
            });
            if stands {
                told.extend(before.cloned());
                continue;
            }
            lines.push(match before {
                Some(_) => format!("  it still waits{}", wait.next_try()),
                None => format!("  {}", wait.sentence()),
            });
            told.push(wait);
        }
        self.told = told;
        lines
    }
}

/// How far the run is; what it begins with, while no step is known.
fn progress_line(detail: &TaskDetail) -> String {
    let task = &detail.task;
    let is_running = task.status == TaskStatus::Running;
    if !is_running && task.awaits.is_empty() {
        return String::new();
    }
    match &detail.progress {
        Some(progress) if progress.total > 0 => {
            let part = |count: u32, word: &str| if count == 0 { String::new() } else { format!(", {count} {word}") };
            let (failed, blocked) = (part(progress.failed, "failed"), part(progress.blocked, "blocked"));
            format!("  [{}/{}{failed}{blocked}] {}", progress.done, progress.total, progress.note)
        }
        Some(progress) if is_running && !progress.note.is_empty() => format!("  {}", progress.note),
        _ if is_running && task.plan.is_none() => "  planning: a model is asked for the steps".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_written_late_comes_in_its_place() {
        let event = |at: u32| EventView {
            id: format!("{at}"),
            at: format!("2026-01-31T09:00:0{at}.000Z"),
            kind: String::new(),
            level: crate::domain::event::Level::Info,
            message: String::new(),
            agent: None,
            replica: None,
            data: serde_json::Map::new(),
        };
        let last = |at: u32| (event(at).at, event(at).id);
        let mut screen = Screen::default();
        let mut taken = |events: &[EventView], last: Option<(String, String)>| -> Vec<String> {
            screen.take(events, last.as_ref()).into_iter().map(|event| event.id.clone()).collect()
        };
        // The look before saw the second alone.
        assert_eq!(taken(&[event(1), event(2), event(3)], Some(last(2))), ["1", "2"]);
        assert_eq!(taken(&[event(1), event(2), event(3), event(4)], Some(last(3))), ["3"]);
        assert_eq!(taken(&[event(1), event(2), event(3), event(5), event(4)], None), ["4", "5"]);
    }

    #[test]
    fn a_wait_is_told_when_it_changes_and_when_its_next_try_has_passed() {
        let wait = |what: &str, next: Option<&str>| Wait { next: next.map(str::to_owned), ..Wait::new(what) };
        let mut waits = Waits::default();
        let mut lines = |all: Vec<Wait>, now: &str| waits.news(all, now).len();
        let model = |next| vec![wait("waits for a model", Some(next))];
        assert_eq!(lines(model("T20"), "T10"), 1);
        assert_eq!(lines(model("T21"), "T11"), 0, "its next try moves with each look");
        assert_eq!(lines(model("T19"), "T21"), 0, "it is tried now");
        assert_eq!(lines(model("T50"), "T22"), 1, "it has failed again");
        let pause = wait("waits: the whole fleet is paused", None);
        assert_eq!(lines(vec![pause.clone(), model("T50").remove(0)], "T23"), 1);
        assert_eq!(lines(vec![pause], "T24"), 0);
        assert_eq!(lines(Vec::new(), "T25"), 0);
        assert_eq!(lines(model("T50"), "T26"), 1, "once more");
    }
}
