//! References of plans: in what time they are found, and what they grow to.

use qron::domain::id::TaskId;
use serde_json::{Value, json};

use super::support::{Bed, short, task};

fn step(id: &str, tool: &str, arguments: &Value) -> Value {
    json!({ "id": id, "tool": tool, "arguments": arguments })
}

fn one(text: String) -> Value {
    json!([step("a", "calculate", &json!({ "expression": Value::String(text) }))])
}

/// A text that takes half a minute where each reference is searched for its end anew.
fn opening() -> String {
    "${.".repeat(400_000) + "}"
}

/// A step whose output has some 15 kB, and steps that repeat it `times` times each.
fn growing(steps: usize, times: usize) -> Value {
    let large = step("g", "calculate", &json!({ "expression": "2^49000" }));
    let uses = |index: usize| {
        let content = "${g.value}".repeat(times);
        step(&format!("s{index}"), "save_artifact", &json!({ "name": format!("a{index}"), "content": content }))
    };
    std::iter::once(large).chain((0..steps).map(uses)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_full_of_references_cost_nothing() {
    let bed = Bed::start("openings").await;
    bed.watched(async {
        let body = task(&one(opening()));
        let posts = (0..4).map(|_| bed.post("tasks", &body));
        for (status, answer) in futures_util::future::join_all(posts).await {
            assert!(status.is_client_error(), "{status}: {}", short(&answer));
            assert!(answer.to_string().contains("at most 524288"), "{}", short(&answer));
        }
        for (text, told) in [
            ("${a}".repeat(130_000), "references"),
            ("${g}".repeat(401), "references"),
            ("${".repeat(200_000) + "x}", "unknown step"),
        ] {
            let (status, answer) = bed.post("tasks", &task(&one(text))).await;
            assert!(status.is_client_error() && answer.to_string().contains(told), "{status}: {}", short(&answer));
        }
        for number in 1..=4 {
            bed.upsert(TaskId::Number(number), json!({ "goal": "a point", "plan": one(opening()) })).await;
        }
        for number in 1..=4 {
            let letter = bed.dead_letter(TaskId::Number(number)).await;
            assert!(letter.contains("at most 524288"), "{}", letter.chars().take(500).collect::<String>());
        }
    })
    .await;
    bed.finish().await;
}

/// As a version of the program would have stored it that knew no bounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_stored_plan_beyond_the_bounds_fails_for_good() {
    let bed = Bed::start("stored").await;
    bed.watched(async {
        let plan = json!({ "steps": [
            step("g", "calculate", &json!({ "expression": "2^49000" })),
            step("s", "save_artifact", &json!({ "name": "a", "content": "${g}".repeat(130_000) })),
        ] });
        let now = 1_767_225_600_000_i64;
        let payload = json!({
            "goal": "kill the process at each restart", "status": "pending", "run_at": now, "rank": now, "priority": 5,
            "max_attempts": 3, "timeout_s": 600, "created_at": now, "updated_at": now, "admitted": true, "plan": plan,
        });
        bed.upsert(TaskId::Number(7), payload).await;
        let ended = bed.ended(TaskId::Number(7)).await;
        assert_eq!(ended["status"], "failed");
        assert!(ended["error"].to_string().contains("references"), "{}", ended["error"]);
    })
    .await;
    bed.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_references_grow_to_is_bounded_before_it_is_built() {
    let bed = Bed::start("growing").await;
    bed.watched(async {
        for (plan, status, told) in [
            (growing(1, 390), "failed", "argument \"content\" grow to"),
            // Each within the bound, and together far more than runs at once.
            (growing(14, 270), "completed", ""),
        ] {
            let (answered, made) = bed.post("tasks", &task(&plan)).await;
            assert!(answered.is_success(), "{answered}: {}", short(&made));
            let ended = bed.ended(made["id"].as_str().expect("an id").parse().expect("an id")).await;
            assert_eq!(ended["status"], status, "{}", short(&ended));
            let error = ended["error"]["message"].as_str().unwrap_or_default();
            assert!(error.contains(told) && (told.is_empty() || error.contains("at most 4194304")), "{error}");
        }
    })
    .await;
    bed.finish().await;
}
