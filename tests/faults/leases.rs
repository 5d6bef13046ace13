//! A dead replica's task behind very many that cannot be taken back.

use std::time::Duration;

use qdrant_client::qdrant::{PointStruct, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use qron::clock;
use qron::domain::id::TaskId;
use qron::domain::replica::ReplicaRecord;
use qron::domain::task::{Claim, Task, TaskStatus};
use serde_json::json;

use crate::stage::{Stage, Terms, stop_all};
use crate::support::eventually;

/// Claims of a replica that lives, and points that nobody can read; together one more than the matrix asks for.
const HELD: u64 = 5_001;
const UNREADABLE: u64 = 5_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_claims_that_cannot_be_rescued_do_not_hide_one_that_can() {
    let stage = Stage::new(Terms { lease: Duration::from_secs(2), ..Terms::default() }).await;
    let store = stage.store().await;
    let client = Qdrant::from_url(&stage.url).skip_compatibility_check().build().expect("a client");
    // Numbers come before UUIDs in every scan.
    let point = |id: u64| {
        let payload = if id < HELD {
            json!({
                "goal": "held by the living", "status": "running", "admitted": true, "run_at": 0, "claim": "of the living",
                "owner": "living", "crashes": 0, "created_at": 0, "updated_at": 0,
            })
        } else {
            json!({"goal": {"not": "text"}, "status": "running", "admitted": true, "claim": 7, "owner": ["nobody"]})
        };
        PointStruct::new(
            id,
            qdrant_client::qdrant::NamedVectors::default(),
            Payload::try_from(payload).expect("a payload"),
        )
    };
    let points: Vec<PointStruct> = (0..HELD + UNREADABLE).map(point).collect();
    for batch in points.chunks(1_000) {
        let request = UpsertPointsBuilder::new(format!("{}tasks", stage.prefix), batch.to_vec()).wait(true);
        client.upsert_points(request).await.expect("stored");
    }
    let task = Task::new(TaskId::fresh(), "left by the dead", clock::now())
        .with(|task| task.spec.agent = Some("nobody".to_owned()));
    store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    let claim = Claim { token: "of the dead".to_owned(), owner: "dead".to_owned() };
    assert_eq!(store.claim(&[task.id], &claim, clock::now()).await.expect("claimed").len(), 1);

    let mut living: ReplicaRecord = serde_json::from_value(json!({
        "id": "living", "host": "here", "version": "1", "started_at": 0, "updated_at": 0, "heartbeat": 0,
        "draining": false, "agents": [], "cpu": 0.0, "memory_bytes": 0,
    }))
    .expect("a replica");
    let heart = async {
        loop {
            living.heartbeat += 1;
            store.beat(&living).await.expect("beaten");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    let rescued = async {
        let fleet = vec![stage.replica().await];
        eventually("it is rescued", async || {
            let task = store.task(task.id).await.map_err(|error| error.to_string())?.ok_or("gone")?;
            if task.state.status == TaskStatus::Pending && task.state.crashes == 1 {
                Ok(())
            } else {
                Err(task.state.status.to_string())
            }
        })
        .await;
        stop_all(fleet).await;
    };
    tokio::select! {
        () = heart => {}
        () = rescued => {}
    }
    assert_eq!(store.held("living", 10_000).await.expect("readable").len() as u64, HELD, "what lives is left alone");
}
