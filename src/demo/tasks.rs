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
    /// Text that its result or error must contain with the scripted model.
    text: &'static str,
    /// Number of artifacts that it saves.
    artifacts: usize,
}

impl DemoTask {
    /// Whether the task ended as intended. A real model words its results freely and may need more attempts.
    pub(super) fn is_as_intended(&self, task: &TaskDetail, scripted: bool) -> bool {
        let outcome = match &task.task.error {
            Some(error) => error.to_string(),
            None => task.task.result.as_ref().map(Value::to_string).unwrap_or_default(),
        };
        let Expected { status, attempts, text, artifacts } = self.expected;
        let is_exact = task.attempts.len() == attempts && outcome.contains(text) && task.artifacts.len() == artifacts;
        task.task.status == status && (!scripted || is_exact)
    }
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
