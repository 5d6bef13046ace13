//! `qron pause` and `qron resume`: whether the fleet or an agent claims tasks.

use clap::Args;
use serde_json::json;

use super::client::Client;
use super::{CliError, output, user};
use crate::api::views::control::{PauseView, Paused, Resumed};
use crate::domain::pause::PauseOutcome;

#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Pause this agent, in all replicas; the whole fleet otherwise
    #[arg(long)]
    agent: Option<String>,
    /// Names of agents without their option, to say how they are named
    #[arg(value_name = "AGENT", hide = true)]
    unnamed: Vec<String>,
    /// Why; replaces the note of an existing pause
    #[arg(long)]
    note: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Resume {
    /// End the pause of this agent; that of the whole fleet otherwise
    #[arg(long)]
    agent: Option<String>,
    /// Names of agents without their option, to say how they are named
    #[arg(value_name = "AGENT", hide = true)]
    unnamed: Vec<String>,
    /// Why, for the history
    #[arg(long)]
    note: Option<String>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Pause {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        refuse_unnamed(&self.unnamed, "pause")?;
        let body = json!({ "agent": self.agent, "note": self.note, "by": user::user() });
        let paused: Paused = client.post(&["pause"], Some(&body)).await?;
        if self.json {
            return output::json(&paused);
        }
        let subject = subject(self.agent.as_deref());
        let pause = paused.pauses.items.iter().find(|pause| pause.agent == self.agent);
        let since = pause.map_or_else(String::new, |pause| format!(" since {}", details(pause)));
        output::line(&match paused.outcome {
            PauseOutcome::Paused => format!("{subject} is paused: it claims no more tasks, and running tasks go on"),
            PauseOutcome::AlreadyPaused => format!("{subject} has been paused{since}; nothing was changed"),
            PauseOutcome::NoteChanged => format!("{subject} has been paused{since}; its note was changed"),
        })?;
        table(&paused.pauses.items)
    }
}

impl Resume {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        refuse_unnamed(&self.unnamed, "resume")?;
        let body = json!({ "agent": self.agent, "note": self.note, "by": user::user() });
        let resumed: Resumed = client.post(&["resume"], Some(&body)).await?;
        if self.json {
            return output::json(&resumed);
        }
        let subject = subject(self.agent.as_deref());
        output::line(&if resumed.was_paused {
            format!("{subject} is resumed: it claims tasks again")
        } else {
            format!("{subject} was not paused; nothing was changed")
        })?;
        if resumed.pauses.items.is_empty() {
            return output::line("no pause is in effect");
        }
        output::line("pauses still in effect:")?;
        table(&resumed.pauses.items)
    }
}

/// Refuses words that follow `command` without an option: the command is about the whole fleet unless an option names an agent.
fn refuse_unnamed(words: &[String], command: &str) -> Result<(), CliError> {
    let Some(first) = words.first() else { return Ok(()) };
    Err(CliError::Usage(format!(
        "{first:?} stands alone: name an agent with \"qron {command} --agent {first}\", or the whole fleet with \"qron {command}\""
    )))
}

/// What a pause is about, in words.
pub(super) fn subject(agent: Option<&str>) -> String {
    agent.map_or_else(|| "the whole fleet".to_owned(), |agent| format!("agent {agent}"))
}

/// Since when a pause is in effect, who set it, and its note.
pub(super) fn details(pause: &PauseView) -> String {
    let by = pause.by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let note = pause.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    format!("{}{by}{note}", output::time(&pause.since))
}

fn table(pauses: &[PauseView]) -> Result<(), CliError> {
    let mut table = output::rows(&["PAUSED", "SINCE"], &["BY", "WHY"]);
    for pause in pauses {
        let cells = [
            output::cell(pause.agent.as_deref().unwrap_or("the whole fleet"), 40),
            output::relative_time(&pause.since),
            output::cell(pause.by.as_deref().unwrap_or("-"), 24),
            output::cell(pause.note.as_deref().unwrap_or("-"), 60),
        ];
        output::add(&mut table, cells);
    }
    output::show(&table)
}
