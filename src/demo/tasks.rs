//! The tasks of the demo, and how each must end.

use qdrant_client::qdrant::{PointStruct, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use crate::api::views::Listing;
use crate::api::views::tasks::{Submitted, TaskDetail};
use crate::console::CliError;
use crate::console::client::Client;
use crate::domain::id::TaskId;
use crate::domain::task::TaskStatus;

/// Beginnings of the goals, by which the scripted model recognises the tasks.
pub(super) const FACTORIAL: &str = "Compute the factorial of 10";
pub(super) const REPORT: &str = "Add up the sales of the regions";
pub(super) const WEATHER: &str = "Ask the four weather stations";
pub(super) const TICKETS: &str = "Ask the box office";
pub(super) const GONE: &str = "Fetch the archive of 1999";
pub(super) const POWER: &str = "What is 2 to the power of 64";

/// A task of the demo.
pub(super) struct DemoTask {
    /// What the task demonstrates.
    pub(super) title: &'static str,
    pub(super) id: TaskId,
    expected: Expected,
}

struct Expected {
    status: TaskStatus,
    /// Number of attempts with the scripted model.
    attempts: usize,
    /// Text that its result or error must contain.
    text: &'static str,
    /// Number of artifacts that it saves.
    artifacts: usize,
}

impl DemoTask {
    /// Whether the task ended as intended. A real model words its results freely, groups digits and may need more attempts; what
    /// it must not miss is the number, and the artifacts.
    pub(super) fn is_as_intended(&self, task: &TaskDetail, scripted: bool) -> bool {
        let outcome = match &task.task.error {
            Some(error) => error.to_string(),
            None => task.task.result.as_ref().map(Value::to_string).unwrap_or_default(),
        };
        let Expected { status, attempts, text, artifacts } = self.expected;
        let is_exact = task.attempts.len() == attempts && outcome.contains(text) && task.artifacts.len() == artifacts;
        let is_right = || states(&outcome, text) && task.artifacts.len() >= artifacts;
        task.task.status == status && if scripted { is_exact } else { is_right() }
    }
}

/// Whether `outcome` states the number that `expected` begins with, however its digits are grouped.
fn states(outcome: &str, expected: &str) -> bool {
    let number: String = expected.chars().take_while(char::is_ascii_digit).collect();
    let is_separator = |c: char| matches!(c, ',' | '_' | '\'' | ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}');
    let chars: Vec<char> = outcome.chars().collect();
    let is_digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    // A separator between a digit and a group of three is no part of the number.
    let groups = |at: usize| {
        at > 0
            && is_digit(at - 1)
            && (1..=3).all(|next| is_digit(at + next))
            && !is_digit(at + 4)
            && is_separator(chars[at])
    };
    let plain: String = (0..chars.len()).filter(|at| !groups(*at)).map(|at| chars[at]).collect();
    plain.split(|c: char| !c.is_ascii_digit()).any(|found| found == number)
}

/// Submits every task: five through the API, one as a raw point.
pub(super) async fn submit(
    client: &Client,
    endpoint: &Endpoint,
    store_url: &str,
    prefix: &str,
) -> Result<Vec<DemoTask>, CliError> {
    let completed = |attempts, text| Expected { status: TaskStatus::Completed, attempts, text, artifacts: 0 };
    let stations = ["north", "east", "south", "west"].map(|name| endpoint.url(&format!("/stations/{name}"))).join(", ");
    let planned = [
        ("one calculation", format!("{FACTORIAL}."), completed(1, "3628800")),
        (
            "three steps, an artifact",
            format!(
                "{REPORT}, 1250, 980 and 1430 euros, write the total into the file report.md, then save its text as the \
                 artifact report.md."
            ),
            Expected { artifacts: 1, ..completed(1, "3660") },
        ),
        (
            "steps side by side",
            format!("{WEATHER} at {stations} and give the average temperature."),
            completed(1, "12 °C"),
        ),
        (
            "fails twice, then works",
            format!("{TICKETS} at {} how many tickets are left.", endpoint.url("/box-office")),
            completed(3, "42"),
        ),
        (
            "fails: dead letters",
            format!("{GONE} from {}.", endpoint.url("/archive/1999.csv")),
            Expected { status: TaskStatus::Failed, ..completed(1, "404") },
        ),
    ];
    let bodies: Vec<Value> =
        planned.iter().map(|(_, goal, _)| json!({ "goal": goal, "max_attempts": 5, "tags": ["demo"] })).collect();
    let submitted: Listing<Submitted> = client.post(&["tasks"], Some(&bodies)).await?;
    let mut shown: Vec<DemoTask> = planned
        .into_iter()
        .zip(submitted.items)
        .map(|((title, _, expected), submitted)| DemoTask { title, id: submitted.task.id, expected })
        .collect();
    let id = insert_point(store_url, prefix).await?;
    shown.push(DemoTask { title: "a raw Qdrant point", id, expected: completed(1, "18446744073709551616") });
    Ok(shown)
}

/// Inserts a task as programs do that know nothing of qron: through a plain Qdrant client, with field names of their own.
async fn insert_point(store_url: &str, prefix: &str) -> Result<TaskId, CliError> {
    let failed = |error: String| CliError::Failed(format!("the raw point of the demo cannot be inserted: {error}"));
    let id = TaskId::fresh();
    let payload = json!({ "description": format!("{POWER}?"), "STATUS": "PENDING", "team": "research" });
    let payload = Payload::try_from(payload).map_err(|error| failed(error.to_string()))?;
    let point = PointStruct::new(id.to_string(), qdrant_client::qdrant::NamedVectors::default(), payload);
    let client =
        Qdrant::from_url(store_url).skip_compatibility_check().build().map_err(|error| failed(error.to_string()))?;
    let upsert = UpsertPointsBuilder::new(format!("{prefix}tasks"), vec![point]).wait(true);
    client.upsert_points(upsert).await.map_err(|error| failed(error.to_string()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_however_a_model_writes_it() {
        for outcome in ["3628800", "It is 3,628,800.", "10! = 3 628 800, as computed", "{\"output\":\"3'628'800\"}"] {
            assert!(states(outcome, "3628800"), "{outcome}");
        }
        assert!(states("the average is 12.0 degrees", "12 °C") && states("status 404", "404"));
        for outcome in ["", "36288000", "3628801", "I cannot tell", "3,628 and 800"] {
            assert!(!states(outcome, "3628800"), "{outcome}");
        }
    }
}
