//! What is kept beside the tasks: attempts, dead letters, replicas, events, state.

use qron::domain::attempt::{Attempt, AttemptStatus, RunProgress};
use qron::domain::budget::Spent;
use qron::domain::conversation::Usage;
use qron::domain::dead_letter::DeadLetter;
use qron::domain::event::{Event, EventKind, Level};
use qron::domain::failure::Failure;
use qron::domain::id::TaskId;
use qron::domain::replica::{AgentPresence, ModelAway, ReplicaRecord};
use serde_json::{Value, json};

use super::bed::{Bed, NOW};

fn attempt(task: TaskId, number: u32) -> Attempt {
    let claim = format!("claim {number}");
    Attempt {
        id: Attempt::id_for(task, &claim),
        task_id: task,
        number,
        claim,
        replica: "r".into(),
        agent: "a".into(),
        status: AttemptStatus::Running,
        started_at: NOW.plus_millis(i64::from(number)),
        updated_at: NOW,
        finished_at: None,
        progress: RunProgress { done: 1, failed: 1, blocked: 0, total: 3, left_s: Some(9), note: "reading".into() },
        spec: None,
        checkpoint: None,
        result: None,
        failure: None,
        spent: Spent::default(),
        carried: Spent::default(),
        tree_root: None,
    }
}

#[tokio::test]
async fn attempts_are_replaced_whole_and_listed_in_order() {
    let bed = Bed::new().await;
    let (task, other) = (TaskId::fresh(), TaskId::Number(3));
    for number in [2, 3, 1] {
        bed.store.save_attempt(&attempt(task, number)).await.expect("saved");
    }
    bed.store.save_attempt(&attempt(other, 9)).await.expect("saved");
    let ended = Attempt {
        status: AttemptStatus::Failed,
        finished_at: Some(NOW),
        failure: Some(Failure::transient("busy").in_step("s1")),
        result: Some(json!({"x": [1]})),
        ..attempt(task, 2)
    };
    bed.store.save_attempt(&ended).await.expect("saved");
    let attempts = bed.store.attempts(task).await.expect("attempts");
    assert_eq!(attempts, [attempt(task, 1), ended, attempt(task, 3)]);
    assert!(bed.store.attempts(TaskId::fresh()).await.expect("attempts").is_empty());
}

#[tokio::test]
async fn the_agents_of_the_latest_attempts_are_named() {
    let bed = Bed::new().await;
    let (task, other) = (TaskId::fresh(), TaskId::Number(3));
    let by = |agent: &str, task, number| Attempt { agent: agent.into(), ..attempt(task, number) };
    for saved in [by("late", task, 2), by("early", task, 1), by("only", other, 1)] {
        bed.store.save_attempt(&saved).await.expect("saved");
    }
    let agents = bed.store.latest_agents(&[task, other, TaskId::fresh()]).await.expect("agents");
    assert_eq!(agents, [(task, "late".to_owned()), (other, "only".to_owned())].into());
}

/// Each run counts for itself, however often its task is tried and whatever earlier runs had spent.
#[tokio::test]
async fn what_a_tree_has_spent_is_the_sum_of_its_runs() {
    let bed = Bed::new().await;
    let (root, child, other) = (TaskId::fresh(), TaskId::Number(3), TaskId::Number(4));
    let spent = |calls: u32, cost_usd: f64, active_ms: u64| Spent {
        model_calls: calls,
        usage: Usage { prompt_tokens: u64::from(calls) * 10, completion_tokens: 1 },
        cost_usd,
        active_ms,
        ..Spent::default()
    };
    let of = |task: TaskId, number: u32, tree_root: Option<TaskId>, (carried, total): (Spent, Spent)| Attempt {
        carried,
        spent: total,
        tree_root,
        ..attempt(task, number)
    };
    let current = of(child, 3, Some(root), (spent(5, 0.5, 50), spent(9, 0.9, 90)));
    for attempt in [
        of(root, 1, None, (Spent::default(), spent(1, 0.25, 10))),
        of(child, 1, Some(root), (Spent::default(), spent(3, 0.25, 30))),
        of(child, 2, Some(root), (spent(3, 0.25, 30), spent(5, 0.5, 50))),
        current.clone(),
        of(other, 1, Some(TaskId::fresh()), (Spent::default(), spent(70, 7.0, 700))),
        of(other, 2, None, (Spent::default(), spent(70, 7.0, 700))),
    ] {
        bed.store.save_attempt(&attempt).await.expect("saved");
    }
    let elsewhere = bed.store.tree_spent(root, current.id).await.expect("a sum");
    assert_eq!((elsewhere.model_calls, elsewhere.tokens, elsewhere.active_ms), (6, 62, 60));
    assert!((elsewhere.cost_usd - 0.75).abs() < 1e-9, "{elsewhere:?}");
    let all = bed.store.tree_spent(root, uuid::Uuid::nil()).await.expect("a sum");
    assert_eq!((all.model_calls, all.active_ms), (10, 100));
}

#[tokio::test]
async fn what_dead_attempts_left_open_is_marked_as_lost() {
    let bed = Bed::new().await;
    let task = TaskId::fresh();
    let with = |number, status| Attempt { status, ..attempt(task, number) };
    let checkpoint = Some(json!({"at": "s2"}));
    let cut_off = Attempt { checkpoint: checkpoint.clone(), ..with(2, AttemptStatus::Completed) };
    let current = with(4, AttemptStatus::Running);
    for attempt in [&with(1, AttemptStatus::Running), &cut_off, &with(3, AttemptStatus::Failed), &current] {
        bed.store.save_attempt(attempt).await.expect("saved");
    }
    bed.store.lose_attempts_before(&current).await.expect("marked");
    let attempts = bed.store.attempts(task).await.expect("attempts");
    let statuses: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    let expected = [AttemptStatus::Lost, AttemptStatus::Lost, AttemptStatus::Failed, AttemptStatus::Running];
    assert_eq!(statuses, expected);
    let last = bed.store.last_checkpoint(task).await.expect("readable").expect("a checkpoint");
    assert_eq!(last.checkpoint, checkpoint, "the next run continues from it all the same");
}

#[tokio::test]
async fn the_newest_checkpoint_comes_back_exactly() {
    let bed = Bed::new().await;
    let task = TaskId::fresh();
    let deep = (0..45).fold(json!(1), |inner, _| json!({"next": [inner]}));
    let checkpoint = json!({"big": u64::MAX, "small": 1e-320, "null": null, "z": 1, "a": 2, "deep": deep});
    bed.store.save_attempt(&Attempt { checkpoint: Some(json!("old")), ..attempt(task, 1) }).await.expect("saved");
    let second = Attempt { checkpoint: Some(checkpoint), ..attempt(task, 2) };
    bed.store.save_attempt(&second).await.expect("saved");
    bed.store.save_attempt(&attempt(task, 3)).await.expect("saved");
    bed.store
        .save_attempt(&Attempt { checkpoint: Some(json!("other")), ..attempt(TaskId::fresh(), 9) })
        .await
        .expect("saved");
    let found = bed.store.last_checkpoint(task).await.expect("readable").expect("there");
    assert_eq!(found, second);
    // Output of a hostile tool, nested deeper than JSON parsers go, must not make the rest unreadable.
    let deep = (0..300).fold(json!(1), |inner, _| json!([inner]));
    let checkpoint = Some(json!({"step": "s1", "output": deep}));
    bed.store.save_attempt(&Attempt { checkpoint, ..attempt(task, 4) }).await.expect("saved");
    let found = bed.store.last_checkpoint(task).await.expect("readable").expect("there");
    assert_eq!(found.checkpoint.expect("a checkpoint")["step"], json!("s1"));
    assert_eq!(bed.store.last_checkpoint(TaskId::fresh()).await.expect("readable"), None);
    assert!(bed.store.attempts(task).await.expect("attempts").iter().all(|attempt| attempt.checkpoint.is_none()));
}

fn letter(id: u64) -> DeadLetter {
    DeadLetter {
        task_id: TaskId::Number(id),
        goal: "do it".into(),
        agent: Some("a".into()),
        failure: Failure::permanent("no"),
        attempts: 3,
        earlier_failures: vec![Failure::transient("busy")],
        payload: json!({"goal": "do it", "mine": {"x": 1}}).as_object().expect("a map").clone(),
        buried_at: NOW,
    }
}

#[tokio::test]
async fn dead_letters_are_found_counted_and_purged() {
    let bed = Bed::new().await;
    for id in 1..=5 {
        // The last three at one time.
        let buried_at = NOW.plus_millis(i64::try_from(id.min(3)).expect("small"));
        bed.store.bury(&DeadLetter { buried_at, ..letter(id) }).await.expect("buried");
    }
    let newer = DeadLetter { attempts: 4, buried_at: NOW.plus_millis(2), ..letter(2) };
    bed.store.bury(&newer).await.expect("buried");
    assert_eq!(bed.store.dead_letter(TaskId::Number(2)).await.expect("readable"), Some(newer));
    assert_eq!(bed.store.dead_letter(TaskId::Number(9)).await.expect("readable"), None);
    assert_eq!(bed.store.dead_letter_count().await.expect("counted"), 5);
    for limit in 1..=6 {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = bed.store.dead_letters(limit, after).await.expect("a page");
            ids.extend(page.items.into_iter().map(|letter| letter.task_id));
            let Some(next) = page.next else { break };
            after = Some(next.parse().expect("a place"));
        }
        assert_eq!(ids, [3, 4, 5, 2, 1].map(TaskId::Number), "{limit} in a page");
    }
    let mut ids = bed.store.dead_letter_ids().await.expect("readable");
    ids.sort();
    assert_eq!(ids, [1, 2, 3, 4, 5].map(TaskId::Number));
    assert_eq!(bed.store.purge_dead_letters(&[1, 2, 99].map(TaskId::Number)).await.expect("purged"), 2);
    assert_eq!(bed.store.dead_letter_count().await.expect("counted"), 3);
}

/// A task that is requeued may fail again before the letter of its last failure is removed.
#[tokio::test]
async fn a_letter_that_replaced_the_one_that_was_seen_stays() {
    let bed = Bed::new().await;
    let ids = [1, 2, 3, 99].map(TaskId::Number);
    for id in 1..=4 {
        bed.store.bury(&letter(id)).await.expect("buried");
    }
    let seen = bed.store.seen_letters(&ids).await.expect("readable");
    assert_eq!(seen.len(), 3);
    let fresh = DeadLetter { buried_at: NOW.plus_millis(1), ..letter(2) };
    bed.store.bury(&fresh).await.expect("buried");
    bed.store.purge_seen_letters(&seen).await.expect("purged");
    let left = bed.store.dead_letters(10, None).await.expect("a page").items;
    assert_eq!(left, [fresh, letter(4)]);
    let seen = bed.store.seen_letters(&ids).await.expect("readable");
    bed.store.purge_seen_letters(&seen).await.expect("purged");
    assert_eq!(bed.store.dead_letter_count().await.expect("counted"), 1);
}

#[tokio::test]
async fn replicas_are_seen_as_they_last_said() {
    let bed = Bed::new().await;
    let replica = |id: &str, heartbeat: u64| ReplicaRecord {
        id: id.to_owned(),
        host: "h".into(),
        version: "1".into(),
        started_at: NOW,
        updated_at: NOW,
        heartbeat,
        draining: false,
        nudges: heartbeat,
        waiting_for_model: 7,
        agents: vec![AgentPresence {
            name: "a".into(),
            capabilities: vec!["sql".into()],
            in_flight: 1,
            capacity: 2,
            paused: true,
            model_away: Some(ModelAway { model: "m".into(), since: Some(NOW), cause: "cannot connect".into() }),
        }],
        cpu: 2.0,
        memory_bytes: 1 << 33,
    };
    for heartbeat in 1..=3 {
        bed.store.beat(&replica("one", heartbeat)).await.expect("beaten");
    }
    bed.store.beat(&ReplicaRecord { cpu: f64::NAN, ..replica("two", 1) }).await.expect("beaten");
    let mut seen = bed.store.replicas().await.expect("replicas");
    seen.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(seen, [replica("one", 3), ReplicaRecord { cpu: 0.0, ..replica("two", 1) }]);
    bed.store.remove_replica("one").await.expect("removed");
    bed.store.remove_replica("nobody").await.expect("removed");
    assert_eq!(bed.store.replicas().await.expect("replicas").len(), 1);
}

#[tokio::test]
async fn the_newest_events_come_oldest_first() {
    let bed = Bed::new().await;
    let task = TaskId::fresh();
    let events: Vec<Event> = (0..600)
        .map(|index| {
            let event = Event::new(EventKind::StepStarted, format!("event {index}"), NOW.plus_millis(index));
            let event = event.level(Level::Warn).with("n", index);
            if index % 2 == 0 { event.task(task) } else { event.agent("a") }
        })
        .collect();
    bed.store.record(&events).await.expect("recorded");
    bed.store.record(&events[..10]).await.expect("recorded again");
    bed.store.record(&[]).await.expect("nothing");
    assert_eq!(bed.store.events(None, 3).await.expect("events"), events[597..]);
    let of_task: Vec<Event> = events.iter().step_by(2).skip(295).cloned().collect();
    assert_eq!(bed.store.events(Some(task), 5).await.expect("events"), of_task);
    assert_eq!(bed.store.events(None, 1000).await.expect("events").len(), 600);
}

#[tokio::test]
async fn shared_state_comes_back_exactly_until_it_expires() {
    let bed = Bed::new().await;
    let value = json!({"big": u64::MAX, "list": [null, 1.5, {"z": 1, "a": []}], "text": ""});
    let later = NOW.plus_millis(1000);
    bed.store.set_state("s", "k", &value, Some(later)).await.expect("set");
    bed.store.set_state("s", "forever", &Value::Null, None).await.expect("set");
    let get = async |scope: &str, key: &str, now| bed.store.state(scope, key, now).await.expect("readable");
    assert_eq!(get("s", "k", NOW).await, Some(value));
    assert_eq!(get("s", "k", later).await, None);
    assert_eq!(get("other", "k", NOW).await, None);
    assert_eq!(get("s", "forever", later).await, Some(Value::Null));
    bed.store.set_state("s", "k", &json!(2), None).await.expect("set");
    assert_eq!(get("s", "k", later).await, Some(json!(2)));
    // Scope and key cannot be shifted into one another.
    bed.store.set_state("a\u{1f}b", "c", &json!("secret"), None).await.expect("set");
    assert_eq!(get("a", "b\u{1f}c", NOW).await, None);
}
