//! Why a task that is being followed has not begun: its time has not come, or a pause holds its agents back.

use std::time::{Duration, Instant};

use chrono::DateTime;

use super::client::Client;
use super::pause::{details, subject};
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health};
use crate::api::views::control::PauseView;
use crate::api::views::tasks::{TaskDetail, TaskView};
use crate::clock;
use crate::domain::task::TaskStatus;

/// Time between two looks at pauses and agents.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What holds a followed task back, looked up now and then.
#[derive(Default)]
pub(super) struct Holds {
    looked: Option<Instant>,
    line: String,
}

impl Holds {
    /// The line that says why `task` has not begun; empty when it has, or nothing is known to hold it back.
    pub(super) async fn line(&mut self, client: &Client, task: &TaskDetail) -> Result<String, CliError> {
        let task = &task.task;
        if task.status != TaskStatus::Pending {
            *self = Self::default();
            return Ok(String::new());
        }
        let due = DateTime::parse_from_rfc3339(&task.run_at).map(|due| due.timestamp_millis());
        if due.is_ok_and(|due| due > clock::now().as_millis()) {
            return Ok(format!("  it is due at {}", output::time(&task.run_at)));
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            let pauses: Listing<PauseView> = client.get(&["pauses"], &[]).await?;
            let agents: Listing<AgentView> = client.get(&["agents"], &[]).await?;
            self.line = reason(task, &pauses.items, &agents.items);
            self.looked = Some(Instant::now());
        }
        Ok(self.line.clone())
    }
}

/// The pause that holds `task` back: that of the fleet or of its agent, or those of every agent that it may go to.
fn reason(task: &TaskView, pauses: &[PauseView], agents: &[AgentView]) -> String {
    let offers =
        |agent: &AgentView, wanted: &String| agent.capabilities.iter().any(|word| word.eq_ignore_ascii_case(wanted));
    let may_run = |agent: &&AgentView| match &task.agent {
        Some(name) => agent.name == *name,
        None => task.capabilities.iter().all(|wanted| offers(agent, wanted)),
    };
    let fitting: Vec<&AgentView> =
        agents.iter().filter(|agent| agent.health != Health::Silent).filter(may_run).collect();
    let pause_of = |name: &str| pauses.iter().find(|pause| pause.agent.as_deref().is_none_or(|paused| paused == name));
    let held = match (&task.agent, fitting.first()) {
        (Some(name), _) => pause_of(name),
        (None, Some(first)) if fitting.iter().all(|agent| pause_of(&agent.name).is_some()) => pause_of(&first.name),
        (None, _) => pauses.iter().find(|pause| pause.agent.is_none()),
    };
    let Some(pause) = held else { return String::new() };
    let agent = pause.agent.as_deref();
    let resume = agent.map_or_else(|| "qron resume".to_owned(), |agent| format!("qron resume --agent {agent}"));
    format!("  it waits: {} is paused since {}; end the pause with: {resume}", subject(agent), details(pause))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::approval::ApprovalPolicy;
    use crate::domain::id::TaskId;
    use crate::domain::task::TaskSpec;

    #[test]
    fn a_task_waits_while_every_agent_that_could_run_it_is_paused() {
        let task = |agent: Option<&str>, words: &[&str]| TaskView {
            agent: agent.map(str::to_owned),
            capabilities: words.iter().map(|word| (*word).to_owned()).collect(),
            ..TaskView::from(TaskSpec::new("a goal", clock::now()).into_task(
                TaskId::fresh(),
                &ApprovalPolicy::default(),
                clock::now(),
            ))
        };
        let agent = |name: &str, words: &[&str]| -> AgentView {
            serde_json::from_value(json!({
                "name": name, "capabilities": words, "in_flight": 0, "capacity": 1, "health": "ok", "replica": "r",
                "host": "h", "version": "1", "started_at": "", "updated_at": "", "cpu": 0.0, "memory_bytes": 0
            }))
            .expect("an agent")
        };
        let pause = |agent: Option<&str>| PauseView {
            agent: agent.map(str::to_owned),
            by: None,
            note: Some("holiday".to_owned()),
            since: "2026-01-31T09:00:00Z".to_owned(),
        };
        let agents = [agent("writer", &["text"]), agent("analyst", &["sql", "text"])];
        for (task, pauses, expected) in [
            (task(Some("writer"), &[]), vec![pause(Some("writer"))], "qron resume --agent writer"),
            (task(Some("analyst"), &[]), vec![pause(Some("writer"))], ""),
            (task(None, &["text"]), vec![pause(Some("writer"))], ""),
            (task(None, &["SQL"]), vec![pause(Some("analyst"))], "agent analyst is paused"),
            (task(None, &[]), vec![pause(Some("writer")), pause(Some("analyst"))], ": holiday; end the pause"),
            (task(None, &["none"]), vec![pause(None)], "the whole fleet is paused"),
        ] {
            let said = reason(&task, &pauses, &agents);
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
        }
    }
}
