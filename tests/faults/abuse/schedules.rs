//! Schedules whose firings are many, far apart or nowhere.

use serde_json::{Value, json};

use super::support::{Bed, short};

const HOSTILE: [(&str, &str); 9] = [
    ("* * * * * * 1970-2020,2030", "UTC"),
    ("* * * * * * 1970", "America/New_York"),
    ("* * * * * * 2030-4999", "UTC"),
    ("* * * 1 1 * 1971-2025", "Europe/Berlin"),
    ("0 0 30 2 *", "UTC"),
    ("0 0 31 * +SUN#1", "UTC"),
    ("0 0 0 29 2 +MON 2027-4999/2,4996", "UTC"),
    ("* * * 29-31 2 * 1970-4999", "Pacific/Apia"),
    ("* 0-22 * * * * 1970-2020", "Australia/Lord_Howe"),
];

fn schedule(id: &str, cron: &str, zone: &str) -> Value {
    let plan = json!([{ "id": "a", "tool": "calculate", "arguments": { "expression": "1 + 1" } }]);
    let task = json!({ "goal": "fire at ${fire_time} after ${previous_fire_time}", "plan": plan });
    json!({ "id": id, "cron": cron, "zone": zone, "task": task, "catch_up": "all", "catch_up_window": "24h" })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_expression_takes_time_or_memory_without_end() {
    let bed = Bed::start("schedules").await;
    bed.watched(async {
        for (index, (cron, zone)) in HOSTILE.into_iter().enumerate() {
            let id = format!("h{index}");
            let body = schedule(&id, cron, zone);
            let preview = json!({ "cron": cron, "zone": zone, "count": 100 });
            bed.post("schedules/preview", &preview).await;
            let (status, answer) = bed.post("schedules", &body).await;
            let is_over = answer.to_string().contains("would never fire, because it has no time from now on");
            assert!(status.is_success() || is_over, "{cron}: {status} {}", short(&answer));
            if is_over {
                continue;
            }
            let (status, answer) = bed.post(&format!("schedules/{id}/trigger"), &json!({})).await;
            assert!(status.is_success(), "{cron}: {status} {}", short(&answer));
            let range = json!({ "from": "1970-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z" });
            bed.post(&format!("schedules/{id}/backfill"), &range).await;
            bed.get(&format!("schedules/{id}")).await;
            bed.get(&format!("schedules/{id}/preview")).await;
        }
    })
    .await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_placeholders_grow_to_is_bounded() {
    let bed = Bed::start("placeholders").await;
    bed.watched(async {
        let id = "s".repeat(100);
        let mut body = schedule(&id, "0 0 * * *", "UTC");
        body["task"]["context"] = json!({ "x": "${schedule}".repeat(150_000) });
        let (status, answer) = bed.post("schedules", &body).await;
        assert!(
            status.is_client_error() && answer.to_string().contains("placeholders"),
            "{status}: {}",
            short(&answer)
        );
    })
    .await;
    bed.finish().await;
}
