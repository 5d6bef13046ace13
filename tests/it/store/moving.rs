//! Transitions: fenced, grouped, and told apart when they race.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusBuilder;
use qdrant_client::qdrant::DeletePointsBuilder;
use qron::domain::approval::{Approval, Subject};
use qron::domain::failure::Failure;
use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskEvent, TaskStatus};
use qron::store::{DueExclusions, TransitionError};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bed::{Bed, NOW, claim};

#[tokio::test]
async fn every_way_out_of_a_run_is_recorded() {
    let bed = Bed::new().await;
    for (event, status) in [
        (TaskEvent::Completed(json!({"answer": [1, {"x": 2.5}], "text": "ü"})), TaskStatus::Completed),
        (TaskEvent::Failed(Failure::permanent("no")), TaskStatus::Failed),
        (TaskEvent::RetryAt(NOW.plus_millis(500), Failure::transient("busy")), TaskStatus::Pending),
        (TaskEvent::Released, TaskStatus::Pending),
        (TaskEvent::Cancelled, TaskStatus::Cancelled),
    ] {
        let running = bed.running(event.name()).await;
        let after = bed.store.transition(&running, &event, NOW.plus_millis(9)).await.expect("moved");
        assert_eq!(after.state.status, status);
        let stored = bed.task(running.id).await;
        assert_eq!(stored, after, "{}", event.name());
        let payload = bed.payload(running.id).await;
        assert!(!payload.contains_key("claim") && !payload.contains_key("owner"), "{payload:?}");
        assert_eq!(payload.contains_key("rank"), !status.is_terminal(), "{payload:?}");
    }
}

/// Nothing has to be read afterwards, so there is no moment in which a crash would leave it waiting.
#[tokio::test]
async fn what_somebody_wants_stopped_is_not_put_off() {
    let bed = Bed::new().await;
    let question = Approval::new("h", Subject::Task, NOW, None);
    for event in [
        TaskEvent::RetryAt(NOW.plus_millis(500), Failure::transient("busy")),
        TaskEvent::ApprovalNeeded(vec![question]),
    ] {
        let running = bed.running(event.name()).await;
        let wanted = bed.store.transition(&running, &TaskEvent::CancelRequested, NOW.plus_millis(1)).await;
        let put_off = bed.store.transition(&running, &event, NOW.plus_millis(2)).await;
        assert!(matches!(put_off, Err(TransitionError::Lost(_))), "{put_off:?}");
        assert_eq!(bed.task(running.id).await, wanted.expect("asked"));
        let cancelled = bed.store.transition(&running, &TaskEvent::Cancelled, NOW.plus_millis(3)).await;
        assert_eq!(cancelled.expect("its claim holds").state.status, TaskStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_requeued_task_is_due_again() {
    let bed = Bed::new().await;
    let running = bed.running("t").await;
    let (event, before) = (TaskEvent::Failed(Failure::permanent("no")), NOW.plus_millis(-1));
    let failed = bed.store.transition(&running, &event, before).await.expect("moved");
    assert!(bed.due_ids(5, &DueExclusions::default()).await.is_empty());
    let requeued = bed.store.transition(&failed, &TaskEvent::Requeued, NOW).await.expect("moved");
    assert_eq!(bed.task(running.id).await, requeued);
    assert_eq!(bed.due_ids(5, &DueExclusions::default()).await, [running.id]);
}

#[tokio::test]
async fn a_stale_claim_changes_nothing() {
    let bed = Bed::new().await;
    let stale = bed.running("first").await;
    bed.store.transition(&stale, &TaskEvent::Released, NOW.plus_millis(1)).await.expect("released");
    let current = bed.store.claim(&[stale.id], &claim("second"), NOW).await.expect("claimed").remove(0);
    for event in [
        TaskEvent::Completed(json!("stale")),
        TaskEvent::Failed(Failure::permanent("stale")),
        TaskEvent::CancelRequested,
        TaskEvent::Cancelled,
    ] {
        let error = bed.store.transition(&stale, &event, NOW.plus_millis(2)).await.expect_err("lost");
        assert!(matches!(error, TransitionError::Lost(id) if id == stale.id), "{error}");
    }
    assert_eq!(bed.task(stale.id).await, current);
}

#[tokio::test]
async fn what_the_rules_forbid_is_not_written() {
    let bed = Bed::new().await;
    let task = bed.insert_due(1).await.remove(0);
    let error = bed.store.transition(&task, &TaskEvent::Completed(json!(1)), NOW).await.expect_err("illegal");
    assert!(matches!(error, TransitionError::Illegal(_)), "{error}");
    assert_eq!(bed.task(task.id).await, task);
}

#[tokio::test]
async fn a_task_that_is_gone_stays_gone() {
    let bed = Bed::new().await;
    let running = bed.running("t").await;
    let TaskId::Uuid(id) = running.id else { panic!("a uuid") };
    let request = DeletePointsBuilder::new(bed.collection("tasks"))
        .points(vec![qdrant_client::qdrant::PointId::from(id)])
        .wait(true);
    bed.client.delete_points(request).await.expect("deleted");
    let error = bed.store.transition(&running, &TaskEvent::Completed(json!(1)), NOW).await.expect_err("lost");
    assert!(matches!(error, TransitionError::Lost(_)), "{error}");
    assert_eq!(bed.store.task(running.id).await.expect("readable"), None);
}

#[tokio::test]
async fn of_two_that_move_a_task_without_a_claim_one_wins() {
    let bed = Bed::new().await;
    let other = bed.another().await;
    for round in 0..20 {
        let task = Task::new(TaskId::Number(round), "x", NOW).with(|task| task.state.status = TaskStatus::Waiting);
        bed.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
        // Even in the same millisecond.
        let at = NOW.plus_millis(3);
        let (one, two) = tokio::join!(
            bed.store.transition(&task, &TaskEvent::DependenciesDone, at),
            other.transition(&task, &TaskEvent::DependenciesDone, at),
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let three = bed.store.transition(&task, &TaskEvent::CancelRequested, at).await;
        assert!(matches!(three, Err(TransitionError::Lost(_))), "{three:?}");
        assert_eq!(bed.task(task.id).await.state.status, TaskStatus::Pending);
    }
}

#[tokio::test]
async fn asking_again_after_a_lost_answer_tells_the_first_outcome() {
    let bed = Bed::new().await;
    let running = bed.running("t").await;
    let event = TaskEvent::Completed(json!("done"));
    let first = bed.store.transition(&running, &event, NOW.plus_millis(1)).await.expect("moved");
    bed.store.transition(&running, &event, NOW.plus_millis(1)).await.expect("known to be moved");
    // But it does not turn into another outcome.
    let failed = bed.store.transition(&running, &TaskEvent::Failed(Failure::permanent("no")), NOW).await;
    assert!(matches!(failed, Err(TransitionError::Lost(_))), "{failed:?}");
    assert_eq!(bed.task(running.id).await, first);
}

#[tokio::test]
async fn two_changes_of_one_task_at_once_happen_one_after_the_other() {
    let bed = Bed::new().await;
    let running = bed.running("t").await;
    let done = TaskEvent::Completed(json!(1));
    let (asked, cancelled, completed) = tokio::join!(
        bed.store.transition(&running, &TaskEvent::CancelRequested, NOW.plus_millis(1)),
        bed.store.transition(&running, &TaskEvent::Cancelled, NOW.plus_millis(2)),
        bed.store.transition(&running, &done, NOW.plus_millis(3)),
    );
    asked.expect("asked while it ran");
    cancelled.expect("the first of the two outcomes");
    assert!(matches!(completed, Err(TransitionError::Lost(_))), "{completed:?}");
    let stored = bed.task(running.id).await;
    assert_eq!((stored.state.status, stored.state.cancel_requested), (TaskStatus::Cancelled, true));
}

#[tokio::test]
async fn a_deep_result_is_kept_as_text_and_disturbs_no_other() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(3).await;
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    let deep = (0..200).fold(json!("core"), |inner, _| json!([inner]));
    let outcomes = running.iter().enumerate().map(|(index, task)| {
        let result = if index == 1 { deep.clone() } else { json!(index) };
        let store = bed.store.clone();
        async move { store.transition(task, &TaskEvent::Completed(result), NOW).await }
    });
    for outcome in futures_util::future::join_all(outcomes).await {
        outcome.expect("moved");
    }
    let stored = bed.task(running[1].id).await.state.result.expect("a result").to_string();
    assert!(stored.contains("core"));
    assert_eq!(bed.task(running[2].id).await.state.result, Some(json!(2)));
}

/// Requests of `operation` so far, by the metric that every request is recorded in.
fn requests(rendered: &str, operation: &str) -> u64 {
    let labels = format!("operation=\"{operation}\"");
    let lines = rendered.lines().filter(|line| line.starts_with("qron_store_operation_seconds_count"));
    let counts =
        lines.filter(|line| line.contains(&labels)).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

/// On one thread, so that the recorder of this test sees this test only.
#[tokio::test]
async fn a_hundred_transitions_of_one_moment_share_a_few_requests() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let recorder = Arc::new(recorder);
    let _guard = metrics::set_default_local_recorder(&*recorder);
    let bed = Bed::new().await;
    let tasks = bed.insert_due(100).await;
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let running = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    let outcomes = running.iter().map(|task| {
        let event = TaskEvent::Completed(Value::from(task.spec.goal.clone()));
        let store = bed.store.clone();
        async move { store.transition(task, &event, NOW.plus_millis(1)).await }
    });
    for outcome in futures_util::future::join_all(outcomes).await {
        outcome.expect("moved");
    }
    let seen = metrics.render();
    let (writes, reads) =
        (requests(&seen, "transition"), requests(&seen, "transition_outcome") + requests(&seen, "transition_count"));
    assert!((1..=10).contains(&writes), "{writes} writes");
    assert_eq!(reads, writes);
    for task in &running {
        assert_eq!(bed.task(task.id).await.state.result, Some(Value::from(task.spec.goal.clone())));
    }
    let lone = bed.running(&Uuid::new_v4().to_string()).await;
    bed.store.transition(&lone, &TaskEvent::Completed(json!(1)), NOW).await.expect("moved");
    assert_eq!(requests(&metrics.render(), "transition"), writes + 1);
}
