//! Numbers that the store cannot hold exactly, that no program can count to, or that other programs turned into floats or text:
//! what was stored with one is read, within bounds.

use qdrant_client::Payload;
use qdrant_client::qdrant::{Condition, Filter, SetPayloadPointsBuilder};
use qron::domain::attempt::{Attempt, AttemptStatus, RunProgress};
use qron::domain::budget::Spent;
use qron::domain::conversation::Usage;
use qron::domain::dead_letter::DeadLetter;
use qron::domain::failure::{Failure, MAX_RETRY_AFTER_MS};
use qron::domain::id::TaskId;
use qron::domain::number::{MAX_COUNT, number_of};
use qron::domain::task::{Task, TaskStatus};
use qron::domain::time::Timestamp;
use serde_json::{Value, json};

use super::bed::{Bed, NOW, claim, point};

/// Numbers as servers, models and other clients write them.
fn wild() -> Vec<Value> {
    vec![
        json!(u64::MAX),
        json!(1_u64 << 63),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(-1),
        json!(1e18),
        json!(1e300),
        json!(-1e300),
        json!(9_223_372_036_854_775_808.0),
        json!("18446744073709551615"),
        json!("1e999"),
        json!(0.5),
    ]
}

fn attempt(spent: Spent) -> Attempt {
    Attempt {
        id: Attempt::id_for(TaskId::Number(1), "t"),
        task_id: TaskId::Number(1),
        number: 1,
        claim: "t".into(),
        replica: "r".into(),
        agent: "a".into(),
        status: AttemptStatus::Failed,
        started_at: NOW,
        updated_at: NOW,
        finished_at: Some(NOW),
        progress: RunProgress::default(),
        spec: None,
        checkpoint: Some(json!({"spent": u64::MAX, "cost": 1e300})),
        result: Some(json!({"n": u64::MAX})),
        failure: Some(Failure::transient("busy").retry_after(Some(u64::MAX))),
        spent,
        carried: Spent::default(),
        tree_root: None,
    }
}

/// Sets a field, which may lie within others, of the only point of a collection.
async fn overwrite(bed: &Bed, collection: &str, path: &[&str], value: &Value) {
    let [outer @ .., last] = path else { panic!("a path") };
    let payload = Payload::try_from(json!({ *last: value })).expect("an object");
    let mut request = SetPayloadPointsBuilder::new(bed.collection(collection), payload)
        .points_selector(Filter::must_not([Condition::has_id([u64::MAX])]))
        .wait(true);
    if !outer.is_empty() {
        request = request.key(outer.join("."));
    }
    bed.client.set_payload(request).await.expect("set");
}

#[tokio::test]
async fn an_attempt_and_a_dead_letter_with_the_largest_numbers_come_back() {
    let bed = Bed::new().await;
    let usage = Usage { prompt_tokens: u64::MAX, completion_tokens: 1 << 63 };
    let spent =
        Spent { usage, cost_usd: 1e300, active_ms: u64::MAX, steps: u32::MAX, model_calls: u32::MAX, replans: 7 };
    bed.store.save_attempt(&attempt(spent)).await.expect("saved");
    let read = bed.store.attempts(TaskId::Number(1)).await.expect("readable").remove(0);
    assert_eq!(read.spent.usage, Usage { prompt_tokens: MAX_COUNT, completion_tokens: MAX_COUNT });
    assert_eq!((read.spent.active_ms, read.spent.steps, read.spent.replans), (MAX_COUNT, u32::MAX, 7));
    assert!(read.spent.cost_usd.is_finite() && read.spent.cost_usd > 1e15);
    assert_eq!(read.failure.and_then(|failure| failure.retry_after_ms), Some(MAX_RETRY_AFTER_MS));
    let last = bed.store.last_checkpoint(TaskId::Number(1)).await.expect("readable").expect("there");
    assert_eq!(last.checkpoint, Some(json!({"spent": u64::MAX, "cost": 1e300})), "kept as text, it loses nothing");

    let mut failure = Failure::transient("busy");
    failure.retry_after_ms = Some(u64::MAX);
    let letter = DeadLetter {
        task_id: TaskId::Number(1),
        goal: "g".into(),
        agent: None,
        failure: failure.clone(),
        attempts: u32::MAX,
        earlier_failures: vec![failure],
        payload: json!({"n": u64::MAX, "f": 1e300}).as_object().cloned().expect("an object"),
        buried_at: Timestamp::from_millis(i64::MAX),
    };
    bed.store.bury(&letter).await.expect("buried");
    let read = bed.store.dead_letter(TaskId::Number(1)).await.expect("readable").expect("there");
    assert_eq!((read.failure.retry_after_ms, read.attempts), (Some(MAX_RETRY_AFTER_MS), u32::MAX));
    assert_eq!(read.earlier_failures[0].retry_after_ms, Some(MAX_RETRY_AFTER_MS));
    assert_eq!(read.buried_at.to_rfc3339(), "9999-12-31T23:59:59.999Z");
    assert_eq!(read.payload["n"], "18446744073709551615", "every digit is kept");
}

/// Whatever another program makes of a number, it hides no record.
#[tokio::test]
async fn records_with_wild_numbers_are_read() {
    let bed = Bed::new().await;
    bed.store.save_attempt(&attempt(Spent::default())).await.expect("saved");
    for value in wild() {
        for path in [
            &["started_at"][..],
            &["updated_at"],
            &["finished_at"],
            &["progress", "done"],
            &["progress", "total"],
            &["failure", "retry_after_ms"],
            &["spent", "steps"],
            &["spent", "cost_usd"],
            &["spent", "active_ms"],
            &["spent", "usage", "prompt_tokens"],
        ] {
            overwrite(&bed, "attempts", path, &value).await;
            let read = bed.store.last_checkpoint(TaskId::Number(1)).await;
            assert!(read.as_ref().is_ok_and(Option::is_some), "{path:?} = {value}: {read:?}");
        }
        let read = bed.store.attempts(TaskId::Number(1)).await.expect("readable");
        assert_eq!(read.len(), 1, "{value}");
        assert!(read[0].spent.cost_usd >= 0.0 && read[0].spent.usage.prompt_tokens <= MAX_COUNT, "{value}: {read:?}");
        assert!(read[0].failure.as_ref().and_then(|failure| failure.retry_after_ms) <= Some(MAX_RETRY_AFTER_MS));
    }
}

/// Points of other clients, be they marked as read already: a task, a dead letter with the reason, or a record, but nothing
/// that ends the program, or that no search ever finds.
#[tokio::test]
async fn tasks_with_wild_numbers_are_tasks_within_bounds_or_refused_by_name() {
    let bed = Bed::new().await;
    let fields =
        ["attempt", "max_attempts", "crashes", "releases", "timeout_s", "priority", "run_at", "rank", "created_at"];
    let mut id = 0;
    for value in wild() {
        for field in fields {
            for admitted in [true, false] {
                id += 1;
                let mut payload = json!({"goal": "count beyond all bounds", "status": "pending", "admitted": admitted,
                    "run_at": NOW.as_millis(), "rank": NOW.as_millis(), "max_attempts": 3, "timeout_s": 60});
                payload[field] = value.clone();
                bed.upsert(vec![point(id, &payload)]).await;
                match bed.store.task(TaskId::Number(id)).await {
                    Ok(task) => within_bounds(&task.expect("there"), &format!("{field} = {value}")),
                    Err(error) => {
                        let is_refused = !admitted || number_of(&value).is_some_and(|number| number < 0.0);
                        assert!(is_refused && error.to_string().contains(field), "{field} = {value}: {error}");
                    }
                }
            }
        }
    }
}

fn within_bounds(task: &Task, what: &str) {
    assert!(
        (1..=2_592_000).contains(&task.spec.timeout_s) || task.spec.timeout_s == 0,
        "{what}: {}",
        task.spec.timeout_s
    );
    assert!(task.spec.priority <= 10, "{what}");
    assert!(task.spec.run_at.as_millis() < 253_402_300_800_000, "{what}: {}", task.spec.run_at);
    // Neither the rank nor a change overflows.
    assert!(task.spec.rank() < 253_402_300_800_000, "{what}");
    let running = task.apply(&qron::domain::task::TaskEvent::Claimed(claim("t")), NOW);
    assert!(running.is_ok_and(|running| running.state.status == TaskStatus::Running), "{what}");
}
