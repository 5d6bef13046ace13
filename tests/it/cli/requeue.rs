//! Dead letters of points that nobody could read, when a person has them done again.

use std::time::{Duration, Instant};

use qdrant_client::qdrant::{NamedVectors, PointId, PointStruct, SetPayloadPointsBuilder, UpsertPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use serde_json::{Value, json};

use super::program::Server;
use crate::support::process::steady_port;

fn client(port: u16) -> Qdrant {
    let url = format!("http://127.0.0.1:{port}");
    Qdrant::from_url(&url).skip_compatibility_check().build().expect("a client")
}

fn payload(value: Value) -> Payload {
    Payload::try_from(value).expect("an object")
}

#[test]
fn a_point_that_still_cannot_be_read_is_not_requeued_and_a_corrected_one_keeps_its_time() {
    let port = steady_port();
    let address = format!("127.0.0.1:{port}");
    let server = Server::with(&[
        ("QRON__EMBEDDED__ADDRESS", &address),
        ("QRON__EMBEDDED__NEXT_FREE_PORT", "false"),
        ("QRON__SCHEDULER__SWEEP", "*/2 * * * * *"),
    ]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let plan = json!({"steps": [{"id": "a", "tool": "calculate", "arguments": {"expression": "6 * 7"}}]});
    runtime.block_on(async {
        let point = |id: u64, fields: Value| PointStruct::new(id, NamedVectors::default(), payload(fields));
        let points = vec![
            point(71, json!({"goal": "six times seven", "run_at": "next tuesday", "plan": plan})),
            point(72, json!({"goal": "six times seven", "scheduled_at": "soon", "plan": plan})),
            point(73, json!({"plan": plan, "created_at": 1_700_000_000_000_u64})),
            point(74, json!({"Due-At": "2031-01-01T00:00:00Z", "plan": plan})),
        ];
        client(port).upsert_points(UpsertPointsBuilder::new("qron_tasks", points).wait(true)).await.expect("inserted");
    });
    let began = Instant::now();
    while server.run(&["dead-letters", "list", "--json"]).ok().json()["items"].as_array().map_or(0, Vec::len) < 4 {
        assert!(began.elapsed() < Duration::from_secs(100), "the points are not refused");
    }
    for (id, named) in [("71", "next tuesday"), ("72", "soon"), ("73", "goal"), ("74", "goal")] {
        for arguments in [&["dead-letters", "requeue", id][..], &["retry", id]] {
            let said = server.run(arguments);
            assert_ne!(said.code, Some(0), "{said:?}");
            for part in [named, "still cannot be read", "correct the point"] {
                assert!(said.err.contains(part), "{part:?} is missing in {said:?}");
            }
            assert!(!said.out.contains("1 requeued"), "{said:?}");
        }
        let shown = server.run(&["show", id, "--json"]).ok().json();
        assert_eq!((&shown["status"], &shown["attempts"]), (&json!("failed"), &json!([])), "{shown}");
        server.run(&["dead-letters", "show", id]).ok();
    }
    let said = server.run(&["dead-letters", "requeue", "--all", "--yes"]);
    assert!(said.code == Some(1) && said.out.contains("0 requeued"), "{said:?}");
    assert_eq!(said.err.matches("still cannot be read").count(), 4, "{said:?}");
    let ids = json!({"action": "retry", "ids": ["71", "72", "73", "74"]});
    // A filter finds points that tell when they were made.
    let filtered = json!({"action": "retry", "filter": {"status": ["failed"]}});
    for (mut order, matched) in [(ids, 4), (filtered, 1)] {
        for dry_run in [true, false] {
            order["dry_run"] = json!(dry_run);
            let report = server.post("tasks/bulk", &order);
            assert_eq!((&report["matched"], &report["done"]), (&json!(matched), &json!(0)), "{report}");
            assert_eq!(report["refused"].as_array().map(Vec::len), Some(matched), "{report}");
        }
    }

    let corrections = [
        (71, json!({"run_at": "2036-01-01T00:00:00Z"})),
        (72, json!({"scheduled_at": "2036-01-01T00:00:00Z"})),
        (74, json!({"goal": "six times seven", "Due-At": "2036-01-01T00:00:00Z"})),
    ];
    runtime.block_on(async {
        for (id, corrected) in corrections {
            let ids: Vec<PointId> = vec![id.into()];
            let request =
                SetPayloadPointsBuilder::new("qron_tasks", payload(corrected)).points_selector(ids).wait(true);
            client(port).set_payload(request).await.expect("corrected");
        }
    });
    assert!(server.run(&["dead-letters", "requeue", "71"]).ok().out.contains("1 requeued"));
    for id in ["72", "74"] {
        let said = server.run(&["retry", id]).ok();
        assert!(said.out.contains("pending, due 2036-01-01 00:00:00Z"), "{said:?}");
    }
    let began = Instant::now();
    for id in ["71", "72", "74"] {
        loop {
            let shown = server.run(&["show", id, "--json"]).ok().json();
            let is_admitted = shown["history"]
                .as_array()
                .is_some_and(|events| events.iter().any(|event| event["kind"] == "admitted"));
            if shown["status"] == "pending" && shown["run_at"] == "2036-01-01T00:00:00.000Z" && is_admitted {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(100), "{shown}");
        }
    }
}
