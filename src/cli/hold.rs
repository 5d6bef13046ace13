//! Why a task does not go on, for those who add, show or follow it: its time has not come, a pause holds its agents back, its model
//! does not answer, no agent has room, or it waits for a person or for other tasks.

use serde_json::Value;

use super::client::Client;
use super::pause::{details, subject};
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};
use crate::api::views::control::PauseView;
use crate::api::views::tasks::{TaskView, WaitView};
use crate::clock;
use crate::domain::counted::counted;
use crate::domain::task::TaskStatus;
use crate::domain::time::Timestamp;

/// Most tasks that a wait for other tasks names.
const SHOWN_TASKS: usize = 5;
/// Most tasks that are looked up for it.
const LOOKED_UP: usize = 20;

/// Something that a task waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// The wait, in words that follow the subject "it", with what a person can do about it.
    pub(super) what: String,
    /// When the task is tried next, in RFC 3339, where that is known.
    pub(super) next: Option<String>,
    /// The time that `what` ends with, in RFC 3339, where it ends with one.
    pub(super) until: Option<String>,
}

impl Wait {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, until: None }
    }

    /// The wait in a sentence, with the time of the next try.
    pub(super) fn sentence(&self) -> String {
        let distance =
            self.until.as_deref().map_or_else(String::new, |until| format!(" ({})", output::distance_to(until)));
        format!("it {}{distance}{}", self.what, self.next_try())
    }

    /// The end of a sentence about the time of the next try; empty when it is not known, or comes at once.
    pub(super) fn next_try(&self) -> String {
        let next = self.next.as_deref().filter(|next| is_ahead(next));
        next.map_or_else(String::new, |next| format!("; the next try is {}", output::moment(next)))
    }
}

/// All that `task` waits for now; nothing for a task that has ended, or goes on.
pub(super) async fn waits(client: &Client, task: &TaskView) -> Result<Vec<Wait>, CliError> {
    let id = task.id;
    Ok(match task.status {
        TaskStatus::Pending => pending(client, task).await?,
        TaskStatus::Running => task.waits.iter().map(for_model).collect(),
        TaskStatus::AwaitingApproval => {
            let since = output::time(&task.updated_at);
            vec![Wait::new(format!(
                "waits for the decision of a person since {since}; see the question with: qron approvals; decide with: \
                 qron approve {id}, or qron approve {id} --deny"
            ))]
        }
        TaskStatus::Waiting => for_tasks(client, task).await?.into_iter().collect(),
        _ => Vec::new(),
    })
}

/// Tells what `task` waits for, each wait in a line of its own.
pub(super) async fn note(client: &Client, task: &TaskView) -> Result<(), CliError> {
    waits(client, task).await?.iter().for_each(|wait| output::note(&wait.sentence()));
    Ok(())
}

async fn pending(client: &Client, task: &TaskView) -> Result<Vec<Wait>, CliError> {
    let mut waits = Vec::new();
    let is_ahead = is_ahead(&task.run_at);
    if is_ahead && task.waits.is_none() {
        let at = output::time(&task.run_at);
        let (next, most) = (task.attempt.saturating_add(1), task.max_attempts.max(1));
        let what = match task.attempt {
            0 => format!("is due at {at}"),
            _ => format!("is tried again, as attempt {next} of {most}, at {at}"),
        };
        waits.push(Wait { until: Some(task.run_at.clone()), ..Wait::new(what) });
    }
    let pauses: Listing<PauseView> = client.get(&["pauses"], &[]).await?;
    let agents: Listing<AgentView> = client.get(&["agents"], &[]).await?;
    let pause = pause_of(task.agent.as_deref(), &task.capabilities, &pauses.items, &agents.items);
    waits.extend(pause.map(|pause| Wait::new(format!("waits: {}", paused(pause)))));
    waits.extend(task.waits.iter().map(for_model));
    if waits.is_empty() && !is_ahead {
        waits.extend(for_agent(task, &agents.items));
    }
    Ok(waits)
}

/// A sentence about the pause that holds the tasks of a schedule or of a request back; `None` without one.
pub(super) async fn pause_note(
    client: &Client,
    agent: Option<&str>,
    capabilities: &[String],
) -> Result<Option<String>, CliError> {
    let pauses: Listing<PauseView> = client.get(&["pauses"], &[]).await?;
    if pauses.items.is_empty() {
        return Ok(None);
    }
    let agents: Listing<AgentView> = client.get(&["agents"], &[]).await?;
    Ok(pause_of(agent, capabilities, &pauses.items, &agents.items).map(paused))
}

fn paused(pause: &PauseView) -> String {
    let agent = pause.agent.as_deref();
    let resume = agent.map_or_else(|| "qron resume".to_owned(), |agent| format!("qron resume --agent {agent}"));
    format!("{} is paused since {}; end the pause with: {resume}", subject(agent), details(pause))
}

fn for_model(waits: &WaitView) -> Wait {
    let WaitView { model, cause, .. } = waits;
    let since = output::time(&waits.since);
    let what = if model.is_empty() {
        format!(
            "waits for a model since {since}: {cause}; it goes on by itself once a qron of this store has one: see \"qron agents\""
        )
    } else {
        format!(
            "waits for model {model:?} since {since}: {cause}; see \"qron agents\", and start the model or mend its settings: \
             the task then goes on by itself"
        )
    };
    Wait { next: waits.next_try.clone(), ..Wait::new(what) }
}

/// The tasks that `task` waits for and that have not ended.
async fn for_tasks(client: &Client, task: &TaskView) -> Result<Option<Wait>, CliError> {
    let (ids, why) = if task.awaits.is_empty() {
        (&task.depends_on, "that must end first")
    } else {
        (&task.awaits, "that carry out its steps")
    };
    let mut open = Vec::new();
    for id in ids.iter().take(LOOKED_UP) {
        let found: Option<TaskView> = client.find(&["tasks", &id.to_string()]).await?;
        open.extend(found.filter(|found| !found.status.is_terminal()).map(|found| format!("{id} ({})", found.status)));
    }
    let count = open.len() + ids.len().saturating_sub(LOOKED_UP);
    if count == 0 {
        return Ok(None);
    }
    open.truncate(SHOWN_TASKS);
    let more = if count > open.len() { format!(" and {} more", count - open.len()) } else { String::new() };
    Ok(Some(Wait::new(format!("waits for {} {why}: {}{more}", counted(count, "task"), open.join(", ")))))
}

/// The agents that may run a task with this `agent` and these `capabilities`.
fn fitting<'a>(agent: Option<&str>, capabilities: &[String], agents: &'a [AgentView]) -> Vec<&'a AgentView> {
    let offers =
        |agent: &AgentView, wanted: &String| agent.capabilities.iter().any(|word| word.eq_ignore_ascii_case(wanted));
    let may_run = |candidate: &&AgentView| match agent {
        Some(name) => candidate.name == name,
        None => capabilities.iter().all(|wanted| offers(candidate, wanted)),
    };
    agents.iter().filter(|candidate| candidate.health != Health::Silent).filter(may_run).collect()
}

/// The pause that holds a task back: that of the fleet or of its agent, or those of every agent that it may go to.
fn pause_of<'a>(
    agent: Option<&str>,
    capabilities: &[String],
    pauses: &'a [PauseView],
    agents: &[AgentView],
) -> Option<&'a PauseView> {
    let fitting = fitting(agent, capabilities, agents);
    let pause_of = |name: &str| pauses.iter().find(|pause| pause.agent.as_deref().is_none_or(|paused| paused == name));
    match (agent, fitting.first()) {
        (Some(name), _) => pause_of(name),
        (None, Some(first)) if fitting.iter().all(|agent| pause_of(&agent.name).is_some()) => pause_of(&first.name),
        (None, _) => pauses.iter().find(|pause| pause.agent.is_none()),
    }
}

/// Why no agent takes a due task that neither a pause nor a model holds back; `None` when one has room.
fn for_agent(task: &TaskView, agents: &[AgentView]) -> Option<Wait> {
    let fitting = fitting(task.agent.as_deref(), &task.capabilities, agents);
    if fitting.is_empty() {
        let wanted = match &task.agent {
            Some(name) => format!("agent {name}, which no replica that answers has"),
            None if task.capabilities.is_empty() => "an agent: no replica answers".to_owned(),
            None => format!(
                "an agent with the capabilities {}, which no replica that answers has",
                task.capabilities.join(", ")
            ),
        };
        return Some(Wait::new(format!("waits for {wanted}; see: qron agents")));
    }
    let takes = |agent: &&&AgentView| agent.health == Health::Ok && agent.in_flight < agent.capacity;
    if fitting.iter().find(takes).is_some() {
        return None;
    }
    let states = fitting.iter().map(|agent| match agent.health {
        Health::Draining => format!("agent {} is shutting down", agent.name),
        _ => format!("agent {} runs {} of at most {}", agent.name, agent.in_flight, counted(agent.capacity, "task")),
    });
    let states: Vec<String> = states.collect();
    Some(Wait::new(format!("waits for room: {}; see: qron agents", states.join(", "))))
}

/// Whether the time of the API lies ahead.
fn is_ahead(rfc3339: &str) -> bool {
    Timestamp::read(&Value::from(rfc3339)).is_ok_and(|at| at > clock::now())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::approval::ApprovalPolicy;
    use crate::domain::id::TaskId;
    use crate::domain::task::TaskSpec;

    fn task(agent: Option<&str>, words: &[&str]) -> TaskView {
        let task = TaskSpec::new("a goal", clock::now());
        TaskView {
            agent: agent.map(str::to_owned),
            capabilities: words.iter().map(|word| (*word).to_owned()).collect(),
            ..TaskView::from(task.into_task(TaskId::fresh(), &ApprovalPolicy::default(), clock::now()))
        }
    }

    fn agent(name: &str, words: &[&str], (in_flight, capacity): (usize, usize), health: &str) -> AgentView {
        serde_json::from_value(json!({
            "name": name, "capabilities": words, "in_flight": in_flight, "capacity": capacity, "health": health,
            "replica": "r", "host": "h", "version": "1", "started_at": "", "updated_at": "", "cpu": 0.0, "memory_bytes": 0
        }))
        .expect("an agent")
    }

    #[test]
    fn a_task_waits_while_every_agent_that_could_run_it_is_paused() {
        let pause = |agent: Option<&str>| PauseView {
            agent: agent.map(str::to_owned),
            by: None,
            note: Some("holiday".to_owned()),
            since: "2026-01-31T09:00:00Z".to_owned(),
        };
        let agents = [agent("writer", &["text"], (0, 1), "ok"), agent("analyst", &["sql", "text"], (0, 1), "ok")];
        for (task, pauses, expected) in [
            (task(Some("writer"), &[]), vec![pause(Some("writer"))], "qron resume --agent writer"),
            (task(Some("analyst"), &[]), vec![pause(Some("writer"))], ""),
            (task(None, &["text"]), vec![pause(Some("writer"))], ""),
            (task(None, &["SQL"]), vec![pause(Some("analyst"))], "agent analyst is paused"),
            (task(None, &[]), vec![pause(Some("writer")), pause(Some("analyst"))], ": holiday; end the pause"),
            (task(None, &["none"]), vec![pause(None)], "the whole fleet is paused"),
        ] {
            let said = pause_of(task.agent.as_deref(), &task.capabilities, &pauses, &agents).map(paused);
            let said = said.unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
        }
    }

    #[test]
    fn a_due_task_waits_for_an_agent_that_fits_and_has_room() {
        let agents = [
            agent("writer", &["text"], (4, 4), "ok"),
            agent("analyst", &["sql"], (1, 4), "ok"),
            agent("clerk", &["files"], (0, 4), "draining"),
            agent("ghost", &["haunting"], (0, 4), "silent"),
        ];
        for (task, expected) in [
            (task(Some("writer"), &[]), "waits for room: agent writer runs 4 of at most 4 tasks"),
            (task(None, &["files"]), "agent clerk is shutting down"),
            (task(None, &["haunting", "more"]), "an agent with the capabilities haunting, more, which no replica"),
            (task(Some("nobody"), &[]), "agent nobody, which no replica that answers has"),
            (task(None, &["sql"]), ""),
            (task(None, &[]), ""),
        ] {
            let said = for_agent(&task, &agents).map(|wait| wait.what).unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
        }
    }

    #[test]
    fn what_a_time_is_away_is_no_part_of_the_wait() {
        let until = clock::now().plus_millis(7_300_000).to_rfc3339();
        let wait = Wait { until: Some(until), ..Wait::new("is due at 2026-01-31 09:00:00Z") };
        assert_eq!(wait.sentence(), "it is due at 2026-01-31 09:00:00Z (in 2h)");
        assert!(!wait.what.contains("in 2h"), "a follower would be told of it again and again");
    }

    #[test]
    fn a_wait_for_a_model_names_it_its_cause_the_next_try_and_the_way_out() {
        let next = clock::now().plus_millis(3_600_000).to_rfc3339();
        let view = |model: &str, next: Option<&str>| WaitView {
            model: model.to_owned(),
            since: "2026-01-31T09:00:00.123Z".to_owned(),
            next_try: next.map(str::to_owned),
            times: 1,
            cause: "connection refused".to_owned(),
            text: String::new(),
        };
        let said = for_model(&view("m", Some(&next))).sentence();
        for part in [
            "it waits for model \"m\" since 2026-01-31 09:00:00Z: connection refused",
            "qron agents",
            "goes on by itself; the next try is ",
            "m)",
        ] {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
        let said = for_model(&view("", None)).sentence();
        assert!(said.starts_with("it waits for a model since") && !said.contains("next try"), "{said}");
    }
}
