//! Completes ids that a person types by their beginning.

use serde::de::DeserializeOwned;

use super::CliError;
use super::client::Client;
use crate::api::views::Listing;
use crate::api::views::dead_letters::DeadLetterView;
use crate::api::views::schedules::ScheduleView;
use crate::api::views::tasks::TaskView;
use crate::domain::id::{IdPrefix, TaskId};

/// Most candidates listed when several ids have the same beginning.
const MAX_CANDIDATES: usize = 5;

/// A resource of the API that is named by the id of a task.
trait Candidate: DeserializeOwned {
    /// Path of its listing in the API.
    const PATH: &'static str;
    /// What it is called.
    const NAME: &'static str;
    /// The command that lists it.
    const LIST_COMMAND: &'static str;

    fn id(&self) -> TaskId;
    /// A line that helps a person to tell it from others.
    fn title(&self) -> String;
}

impl Candidate for TaskView {
    const PATH: &'static str = "tasks";
    const NAME: &'static str = "task";
    const LIST_COMMAND: &'static str = "qron list";

    fn id(&self) -> TaskId {
        self.id
    }

    fn title(&self) -> String {
        format!("{:<17} {}", self.status.as_str(), self.goal)
    }
}

impl Candidate for DeadLetterView {
    const PATH: &'static str = "dead-letters";
    const NAME: &'static str = "dead letter";
    const LIST_COMMAND: &'static str = "qron dead-letters list";

    fn id(&self) -> TaskId {
        self.task_id
    }

    fn title(&self) -> String {
        self.goal.clone()
    }
}

/// The id of the task that `text` names.
///
/// # Errors
/// A usage error for text that is not the beginning of an id or that several ids begin with, and a failure when none does.
pub(super) async fn task(client: &Client, text: &str) -> Result<String, CliError> {
    complete::<TaskView>(client, text).await
}

/// The ids of the tasks that `texts` name, in their order.
///
/// # Errors
/// Those of [`task`], for the first text that is wrong.
pub(super) async fn tasks(client: &Client, texts: &[String]) -> Result<Vec<String>, CliError> {
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        ids.push(task(client, text).await?);
    }
    Ok(ids)
}

/// The id of the task that an option may name.
///
/// # Errors
/// Those of [`task`].
pub(super) async fn optional(client: &Client, text: Option<String>) -> Result<Option<String>, CliError> {
    match text {
        Some(text) => task(client, &text).await.map(Some),
        None => Ok(None),
    }
}

/// The id of the task of the dead letter that `text` names.
///
/// # Errors
/// Those of [`task`].
pub(super) async fn dead_letter(client: &Client, text: &str) -> Result<String, CliError> {
    complete::<DeadLetterView>(client, text).await
}

/// The ids of the tasks of the dead letters that `texts` name.
///
/// # Errors
/// Those of [`task`], for the first text that is wrong.
pub(super) async fn dead_letters(client: &Client, texts: &[String]) -> Result<Vec<String>, CliError> {
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        ids.push(dead_letter(client, text).await?);
    }
    Ok(ids)
}

/// The whole id that begins with `text`.
async fn complete<C: Candidate>(client: &Client, text: &str) -> Result<String, CliError> {
    let text = text.trim();
    match text.parse() {
        Ok(id @ TaskId::Uuid(_)) => return Ok(id.to_string()),
        // Too short to begin a UUID, so it can only be a number.
        Ok(id @ TaskId::Number(_)) if text.len() < IdPrefix::MIN => {
            let id = id.to_string();
            if client.find::<serde::de::IgnoredAny>(&[C::PATH, &id]).await?.is_some() {
                return Ok(id);
            }
            return Err(CliError::Failed(format!(
                "there is no {} {text}, and for the beginning of an id that is too short: type at least {} characters; \"{}\" shows the ids",
                C::NAME,
                IdPrefix::MIN,
                C::LIST_COMMAND
            )));
        }
        _ => {}
    }
    let prefix: Result<IdPrefix, _> = text.parse();
    if let Err(error) = prefix {
        return Err(not_found(client, text, CliError::Usage(error.to_string())).await);
    }
    // One candidate more than is listed shows that there are others.
    let limit = (MAX_CANDIDATES + 1).to_string();
    let found: Listing<C> = client.get(&[C::PATH], &[("id_prefix", text), ("limit", &limit)]).await?;
    // A whole number is an id, whatever else begins with its digits.
    if let Some(exact) = found.items.iter().find(|item| item.id().to_string() == text) {
        return Ok(exact.id().to_string());
    }
    match found.items.as_slice() {
        [one] => Ok(one.id().to_string()),
        [] => {
            let error = CliError::Failed(format!(
                "no {} has an id that begins with {text}: \"{}\" shows the ids",
                C::NAME,
                C::LIST_COMMAND
            ));
            Err(not_found(client, text, error).await)
        }
        several => Err(CliError::Usage(ambiguous(text, several))),
    }
}

/// Why `text` names no task: it is the id of a schedule, or else `error`.
async fn not_found(client: &Client, text: &str, error: CliError) -> CliError {
    if text.is_empty() {
        return error;
    }
    match client.find::<ScheduleView>(&["schedules", text]).await {
        Ok(Some(schedule)) => CliError::Usage(is_schedule(&schedule)),
        _ => error,
    }
}

/// That a schedule stands where a task is wanted, and what to type instead.
fn is_schedule(schedule: &ScheduleView) -> String {
    let id = &schedule.id;
    let newest = match schedule.last_task {
        Some(task) => format!("its newest task is {task}, e.g. \"qron show {task}\""),
        None => "it has made no task yet".to_owned(),
    };
    format!("{id} is a schedule and no task: see it with \"qron schedules show {id}\"; {newest}")
}

fn ambiguous<C: Candidate>(text: &str, several: &[C]) -> String {
    let lines = several.iter().take(MAX_CANDIDATES).map(|item| format!("{}  {}", item.id(), item.title()));
    let more = (several.len() > MAX_CANDIDATES).then(|| "and more".to_owned());
    let lines: Vec<String> = lines.chain(more).collect();
    format!("several {}s have an id that begins with {text}: type more of the id\n{}", C::NAME, lines.join("\n"))
}
