//! Points that other Qdrant clients insert.

use qdrant_client::qdrant::{GetPointsBuilder, NamedVectors, PointStruct, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use qron::domain::id::TaskId;
use qron::domain::task::TaskStatus;
use serde_json::{Value, json};

use crate::support;
use crate::support::world::{EVERY_SECOND, World};

struct Foreigner {
    client: Qdrant,
    collection: String,
}

impl Foreigner {
    fn of(world: &World) -> Self {
        let client = Qdrant::from_url(&support::qdrant_url()).skip_compatibility_check().build().expect("a client");
        Self { client, collection: format!("{}tasks", world.config.store.prefix) }
    }

    async fn insert(&self, id: u64, payload: Value) {
        let payload = Payload::try_from(payload).expect("an object");
        let point = PointStruct::new(id, NamedVectors::default(), payload);
        let request = UpsertPointsBuilder::new(&self.collection, vec![point]).wait(true);
        self.client.upsert_points(request).await.expect("inserted");
    }

    async fn payload(&self, id: u64) -> Value {
        let request = GetPointsBuilder::new(&self.collection, vec![id.into()]).with_payload(true);
        let mut points = self.client.get_points(request).await.expect("readable").result;
        serde_json::to_value(points.remove(0).payload).expect("JSON")
    }
}

fn plan() -> Value {
    json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "10!"}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn points_of_any_client_are_carried_out_and_keep_what_is_theirs() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let foreigner = Foreigner::of(&world);
    let runner = world.runner("r1").await;
    // Those at the start find nothing yet: a later sweep has to.
    runner.has_run("sweep").await;
    foreigner.insert(1, json!({"goal": "factorial of 10", "plan": plan()})).await;
    foreigner
        .insert(
            2,
            json!({
                "description": "factorial of 10", "STATUS": "PENDING", "run_at": "2026-01-01T09:00:00+02:00",
                "plan": plan(), "ticket": {"number": 7}, "labels": ["mine"],
            }),
        )
        .await;
    for id in [1, 2] {
        let done = world.until(TaskId::Number(id), TaskStatus::Completed).await;
        assert!(done.state.result.expect("a result").to_string().contains("3628800"));
    }
    let payload = foreigner.payload(2).await;
    assert_eq!(payload["ticket"], json!({"number": 7}));
    assert_eq!(payload["labels"], json!(["mine"]));
    assert_eq!(payload["status"], "completed");
    runner.shutdown().await;
    assert_eq!(world.history(TaskId::Number(2)).await.first().map(String::as_str), Some("admitted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_no_task_is_a_dead_letter_and_holds_up_nobody() {
    let world = World::new(&[("SCHEDULER__SWEEP", EVERY_SECOND), ("SCHEDULER__ADMISSION_BATCH", "3")]).await;
    let foreigner = Foreigner::of(&world);
    for id in 1..=10 {
        foreigner.insert(id, json!({"goal": "when?", "run_at": "the day after tomorrow", "note": id})).await;
    }
    foreigner.insert(11, json!({"note": "no goal at all"})).await;
    foreigner.insert(12, json!({"goal": "factorial of 10", "plan": plan()})).await;
    let runner = world.runner("r1").await;
    world.until(TaskId::Number(12), TaskStatus::Completed).await;
    for id in 1..=11 {
        let rejected = world.until(TaskId::Number(id), TaskStatus::Failed).await;
        let letter = world.store.dead_letter(rejected.id).await.expect("readable").expect("a dead letter");
        let named = if id == 11 { "goal" } else { "the day after tomorrow" };
        assert!(letter.failure.message.contains(named), "{}", letter.failure);
        assert_eq!(letter.goal, if id == 11 { "" } else { "when?" });
        assert!(letter.payload.contains_key("note"));
    }
    assert_eq!(world.store.dead_letter_count().await.expect("readable"), 11);
    runner.shutdown().await;
}

/// It is left as it is, and met again by the next sweep: nothing of it is lost, and no letter says that it failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_can_neither_be_admitted_nor_rejected_is_met_again() {
    let (world, gate) = World::gated(&[("SCHEDULER__SWEEP", EVERY_SECOND)]).await;
    let refused = gate.refuse("UpdateBatch", "tasks", &[]);
    Foreigner::of(&world).insert(1, json!({"goal": "factorial of 10", "plan": plan()})).await;
    let runner = world.runner("r1").await;
    runner.has_run("sweep").await;
    // The admission and the rejection, by one sweep, and again by the next.
    refused.met(4).await;
    drop(refused);
    let done = world.until(TaskId::Number(1), TaskStatus::Completed).await;
    assert_eq!(world.store.dead_letter(done.id).await.expect("readable"), None);
    runner.shutdown().await;
}

/// A flood of points must not keep the first of them waiting until the last is admitted.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_admitted_runs_while_others_are_still_to_be_admitted() {
    const POINTS: u64 = 2_000;
    let world = World::new(&[("SCHEDULER__ADMISSION_BATCH", "10")]).await;
    let foreigner = Foreigner::of(&world);
    let payload = Payload::try_from(json!({"goal": "factorial of 10", "plan": plan()})).expect("an object");
    let points =
        (1..=POINTS).map(|id| PointStruct::new(id, NamedVectors::default(), payload.clone())).collect::<Vec<_>>();
    let request = UpsertPointsBuilder::new(&foreigner.collection, points).wait(true);
    foreigner.client.upsert_points(request).await.expect("inserted");
    let runner = world.runner("r1").await;
    world.until(TaskId::Number(1), TaskStatus::Completed).await;
    let left = world.store.unadmitted(1, None).await.expect("readable").items;
    assert_eq!(left.len(), 1, "all {POINTS} were admitted before the first one ran");
    runner.shutdown().await;
}
