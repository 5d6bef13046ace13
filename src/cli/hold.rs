//! Why a task does not go on, for those who add, show or follow it: its time has not come, a pause holds its agents back, its model
//! does not answer, no agent has room, or it waits for a person or for other tasks.

use serde_json::Value;

use super::client::Client;
use super::pause::{details, subject};
use super::{CliError, output};
use crate::api::views::Listing;
use crate::api::views::agents::{AgentView, Health, ModelView};
use crate::api::views::control::PauseView;
use crate::api::views::schedules::ScheduleView;
use crate::api::views::tasks::{TaskView, WaitView};
use crate::clock;
use crate::domain::counted::counted;
use crate::domain::plan::Plan;
use crate::domain::schedule::template::Template;
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
    /// When the task is given up, in RFC 3339, where it waits no longer than that.
    pub(super) given_up: Option<String>,
}

impl Wait {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None, until: None, given_up: None }
    }

    /// The wait in a sentence, with the time of the next try.
    pub(super) fn sentence(&self) -> String {
        let distance =
            self.until.as_deref().map_or_else(String::new, |until| format!(" ({})", output::distance_to(until)));
        let given_up = self.given_up.as_deref().map_or_else(String::new, |at| {
            format!("; it fails if the model has not answered by {}", output::moment(at))
        });
        format!("it {}{distance}{}{given_up}", self.what, self.next_try())
    }

    /// The wait behind the word "waiting".
    pub(super) fn after_waiting(&self) -> String {
        let sentence = self.sentence();
        let rest = sentence.strip_prefix("it waits: ").or_else(|| sentence.strip_prefix("it waits "));
        rest.map(str::to_owned).unwrap_or(sentence)
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
        TaskStatus::Running => match &task.waits {
            Some(waits) => vec![for_model(waits, Fleet::read(client).await?.away_since(&waits.model))],
            None => Vec::new(),
        },
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
    let fleet = Fleet::read(client).await?;
    let required = AgentRequirements::of_task(task);
    waits.extend(fleet.pause_of(&required).map(|pause| Wait::new(format!("waits: {}", paused(pause)))));
    waits.extend(task.waits.iter().map(|waits| for_model(waits, fleet.away_since(&waits.model))));
    if is_ahead && task.waits.is_none() {
        waits.extend(fleet.needs(&required).map(|wait| Wait::new(format!("then {}", wait.what))));
    }
    if waits.is_empty() && !is_ahead {
        waits.extend(fleet.for_agent(&required));
    }
    Ok(waits)
}

/// Tells what the tasks of `schedule` would wait for if it fired now, each wait in a line of its own.
pub(super) async fn note_schedule(client: &Client, schedule: &ScheduleView) -> Result<(), CliError> {
    let fleet = Fleet::read(client).await?;
    let required = AgentRequirements::of_template(&schedule.task);
    let pause = fleet.pause_of(&required).map(|pause| format!("its tasks wait: {}", paused(pause)));
    let needs = fleet.needs(&required).map(|wait| format!("each of its tasks {}", wait.what));
    pause.into_iter().chain(needs).for_each(|wait| output::note(&wait));
    Ok(())
}

/// What a task requires of the agent that runs it.
pub(super) struct AgentRequirements<'a> {
    agent: Option<&'a str>,
    capabilities: &'a [String],
    needs_model: bool,
}

impl<'a> AgentRequirements<'a> {
    fn of_task(task: &'a TaskView) -> Self {
        let needs_model = task.plan.as_ref().is_none_or(Plan::needs_judgement);
        Self { agent: task.agent.as_deref(), capabilities: &task.capabilities, needs_model }
    }

    fn of_template(task: &'a Template) -> Self {
        // The text of a placeholder makes no instruction of a step, nor the other way round.
        let plan = task.plan.clone().map(serde_json::from_value::<Plan>);
        let needs_model = plan.is_none_or(|plan| plan.is_ok_and(|plan| plan.needs_judgement()));
        Self { agent: task.agent.as_deref(), capabilities: &task.capabilities, needs_model }
    }
}

/// The pauses and the agents of all replicas, as they are now.
pub(super) struct Fleet {
    pub(super) pauses: Vec<PauseView>,
    pub(super) agents: Vec<AgentView>,
}

/// What holds a pending task back, in a word for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Every agent that it may go to is paused.
    Paused,
    /// No replica has an agent that it may go to.
    NoAgent,
}

impl Fleet {
    pub(super) async fn read(client: &Client) -> Result<Self, CliError> {
        let pauses: Listing<PauseView> = client.get(&["pauses"], &[]).await?;
        let agents: Listing<AgentView> = client.get(&["agents"], &[]).await?;
        Ok(Self { pauses: pauses.items, agents: agents.items })
    }

    /// What holds `task` back, while it is pending.
    pub(super) fn hold_of(&self, task: &TaskView) -> Option<Hold> {
        if task.status != TaskStatus::Pending {
            return None;
        }
        let required = AgentRequirements::of_task(task);
        if self.fitting(&required).is_empty() {
            return Some(Hold::NoAgent);
        }
        self.pause_of(&required).map(|_| Hold::Paused)
    }

    /// Since when `model` does not answer a replica, in RFC 3339: the earliest of them all.
    fn away_since(&self, model: &str) -> Option<&str> {
        let away = self.agents.iter().filter_map(|agent| agent.model_away.as_ref());
        // Times of the API sort as text.
        away.filter(|away| away.model == model && !model.is_empty()).filter_map(|away| away.since.as_deref()).min()
    }

    /// The agents that may run a task which wants this.
    fn fitting(&self, required: &AgentRequirements<'_>) -> Vec<&AgentView> {
        let offers = |agent: &AgentView, word: &String| {
            agent.capabilities.iter().any(|offered| offered.eq_ignore_ascii_case(word))
        };
        let may_run = |candidate: &&AgentView| match required.agent {
            Some(name) => candidate.name == name,
            None => required.capabilities.iter().all(|word| offers(candidate, word)),
        };
        self.agents.iter().filter(|candidate| candidate.health != Health::Silent).filter(may_run).collect()
    }

    /// The pause that holds a task back: that of the fleet or of its agent, or those of every agent that it may go to.
    fn pause_of(&self, required: &AgentRequirements<'_>) -> Option<&PauseView> {
        let fitting = self.fitting(required);
        let pause_of =
            |name: &str| self.pauses.iter().find(|pause| pause.agent.as_deref().is_none_or(|paused| paused == name));
        match (required.agent, fitting.first()) {
            (Some(name), _) => pause_of(name),
            (None, Some(first)) if fitting.iter().all(|agent| pause_of(&agent.name).is_some()) => pause_of(&first.name),
            (None, _) => self.pauses.iter().find(|pause| pause.agent.is_none()),
        }
    }

    /// What a task which wants this would wait for if it were due: an agent that no replica has, or a model that none of the agents
    /// it may go to can ask.
    fn needs(&self, required: &AgentRequirements<'_>) -> Option<Wait> {
        let fitting = self.fitting(required);
        if fitting.is_empty() {
            return Some(no_agent(required));
        }
        let away: Vec<&ModelView> = fitting.iter().filter_map(|agent| agent.model_away.as_ref()).collect();
        let is_away = required.needs_model && away.len() == fitting.len();
        // A model that is away comes back sooner than one is configured.
        let first = away.iter().find(|away| !away.model.is_empty()).or(away.first()).filter(|_| is_away)?;
        let times = ModelWaitTimes { task_waits_since: None, model_away_since: first.since.as_deref() };
        Some(Wait::new(for_model_named(&first.model, times, &first.cause)))
    }

    /// Why no agent takes a due task that neither a pause nor a model holds back; `None` when one has room.
    fn for_agent(&self, required: &AgentRequirements<'_>) -> Option<Wait> {
        let fitting = self.fitting(required);
        if fitting.is_empty() {
            return Some(no_agent(required));
        }
        let takes = |agent: &&&AgentView| agent.health == Health::Ok && agent.in_flight < agent.capacity;
        if fitting.iter().find(takes).is_some() {
            return None;
        }
        let states = fitting.iter().map(|agent| match agent.health {
            Health::Draining => format!("agent {} is shutting down", agent.name),
            _ => {
                format!("agent {} runs {} of at most {}", agent.name, agent.in_flight, counted(agent.capacity, "task"))
            }
        });
        let states: Vec<String> = states.collect();
        Some(Wait::new(format!("waits for room: {}; see: qron agents", states.join(", "))))
    }
}

fn no_agent(required: &AgentRequirements<'_>) -> Wait {
    let wanted = match required.agent {
        Some(name) => format!("agent {name}, which no replica that answers has"),
        None if required.capabilities.is_empty() => "an agent: no replica answers".to_owned(),
        None => format!(
            "an agent with the capabilities {}, which no replica that answers has",
            required.capabilities.join(", ")
        ),
    };
    Wait::new(format!("waits for {wanted}; see: qron agents"))
}

fn paused(pause: &PauseView) -> String {
    let agent = pause.agent.as_deref();
    let resume = agent.map_or_else(|| "qron resume".to_owned(), |agent| format!("qron resume --agent {agent}"));
    format!("{} is paused since {}; end the pause with: {resume}", subject(agent), details(pause))
}

fn for_model(waits: &WaitView, away: Option<&str>) -> Wait {
    let what = for_model_named(
        &waits.model,
        ModelWaitTimes { task_waits_since: Some(&waits.since), model_away_since: away },
        &waits.cause,
    );
    Wait { next: waits.next_try.clone(), given_up: waits.until.clone(), ..Wait::new(what) }
}

/// Since when a task waits for a model, and since when that model is away, in RFC 3339; `None` where that is not known.
#[derive(Clone, Copy)]
struct ModelWaitTimes<'a> {
    task_waits_since: Option<&'a str>,
    model_away_since: Option<&'a str>,
}

/// The wait for a model, which has no name where none is configured, in words that follow the subject.
fn for_model_named(model: &str, times: ModelWaitTimes<'_>, cause: &str) -> String {
    let wait = times.task_waits_since.map(|wait| format!(" since {}", output::time(wait)));
    let away = times.model_away_since.map(|away| format!(" (the model is away since {})", output::time(away)));
    let since = [wait, away].into_iter().flatten().collect::<String>();
    if model.is_empty() {
        return format!(
            "waits for a model{since}, however long that takes: {cause}; it goes on by itself once a qron of this store has one: \
             see \"qron agents\""
        );
    }
    format!(
        "waits for model {model:?}{since}: {cause}; see \"qron agents\", and start the model or mend its settings: the task then \
         goes on by itself"
    )
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

/// Whether the time of the API lies ahead.
pub(super) fn is_ahead(rfc3339: &str) -> bool {
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
            let fleet = Fleet { pauses, agents: agents.to_vec() };
            let said = fleet.pause_of(&AgentRequirements::of_task(&task)).map(paused).unwrap_or_default();
            let hold = fleet.hold_of(&task);
            let is_known = !task.capabilities.contains(&"none".to_owned());
            let expected_hold =
                if is_known { (!expected.is_empty()).then_some(Hold::Paused) } else { Some(Hold::NoAgent) };
            assert_eq!(hold, expected_hold, "{expected}");
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
            let fleet = Fleet { pauses: Vec::new(), agents: agents.to_vec() };
            let said = fleet.for_agent(&AgentRequirements::of_task(&task)).map(|wait| wait.what).unwrap_or_default();
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
            until: next.map(str::to_owned).filter(|_| !model.is_empty()),
            times: 1,
            cause: "connection refused".to_owned(),
            text: String::new(),
        };
        let said = for_model(&view("m", Some(&next)), Some("2026-01-31T08:00:00Z")).sentence();
        for part in [
            "it waits for model \"m\" since 2026-01-31 09:00:00Z (the model is away since 2026-01-31 08:00:00Z): connection refused",
            "qron agents",
            "goes on by itself; the next try is ",
            "(in 1h); it fails if the model has not answered by 20",
        ] {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
        let said = for_model(&view("", None), None).sentence();
        assert!(said.starts_with("it waits for a model since") && said.contains("however long that takes"), "{said}");
        assert!(!said.contains("next try") && !said.contains("it fails"), "{said}");
    }
}
