//! Due tasks and who gets them.

use std::collections::{HashMap, HashSet};

use qron::domain::failure::Failure;
use qron::domain::id::TaskId;
use qron::domain::outage::Postponement;
use qron::domain::schedule::zone::Zone;
use qron::domain::task::{Claim, Task, TaskEvent, TaskStatus};
use qron::store::{AgentLimitTag, AgentSet, DueExclusions};
use serde_json::json;

use super::bed::{Bed, NOW, claim};

#[tokio::test]
async fn due_tasks_come_in_the_order_of_their_rank() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(5).await;
    let urgent = Task::new(TaskId::Number(1), "urgent", NOW).with(|task| task.spec.priority = 10);
    let later = Task::new(TaskId::Number(2), "later", NOW).with(|task| task.spec.run_at = NOW.plus_millis(1));
    let waiting = Task::new(TaskId::Number(3), "waiting", NOW).with(|task| task.state.status = TaskStatus::Waiting);
    bed.store.insert(&[urgent.clone(), later, waiting]).await.expect("inserted");
    let mut expected = vec![urgent.id];
    expected.extend(tasks.iter().map(|task| task.id));
    assert_eq!(bed.due_ids(10, &DueExclusions::default()).await, expected);
    assert_eq!(bed.due_ids(2, &DueExclusions::default()).await, expected[..2]);
    assert_eq!(bed.store.oldest_due(NOW).await.expect("a time"), Some(tasks[0].spec.run_at));
    let due = bed.store.due(NOW, 1, &DueExclusions::default()).await.expect("due").remove(0);
    assert_eq!(due.rank, urgent.spec.rank());
    assert_eq!(Bed::new().await.store.oldest_due(NOW).await.expect("a time"), None);
}

#[tokio::test]
async fn the_next_due_time_is_that_of_a_pending_task_after_now_whatever_has_ended() {
    let bed = Bed::new().await;
    let base = |number: u64, at: i64| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| task.spec.run_at = NOW.plus_millis(at))
    };
    let ended = base(1, 5).with(|task| {
        task.state.status = TaskStatus::Completed;
        task.state.finished_at = Some(NOW);
    });
    // By its head start it comes before what is due, yet it is not due.
    let urgent = base(2, 20).with(|task| task.spec.priority = 10);
    bed.store.insert(&[ended, urgent.clone(), base(3, -5), base(4, 30)]).await.expect("inserted");
    assert!(urgent.spec.rank() < NOW.as_millis());
    assert_eq!(bed.due_ids(10, &DueExclusions::default()).await, [TaskId::Number(3)]);
    assert_eq!(bed.store.oldest_due(NOW).await.expect("a time"), Some(NOW.plus_millis(-5)));
    let next = |now: i64, until: i64| bed.store.next_due(NOW.plus_millis(now), NOW.plus_millis(until));
    assert_eq!(next(0, 100).await.expect("a time"), Some(NOW.plus_millis(20)));
    assert_eq!(next(20, 100).await.expect("a time"), Some(NOW.plus_millis(30)), "after, not at");
    assert_eq!(next(0, 19).await.expect("none"), None);
}

/// Where some agents have a model, tasks that need one and are for the others do not fill the window.
#[tokio::test]
async fn tasks_for_a_model_of_an_agent_without_one_are_left_out_and_counted() {
    let bed = Bed::new().await;
    let thinking = |number: u64, agent: Option<&str>, capabilities: &[&str]| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| {
            task.spec.agent = agent.map(str::to_owned);
            task.spec.capabilities = capabilities.iter().map(ToString::to_string).collect();
        })
    };
    let steps = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"expression": "1"}}]});
    let planned =
        |task: Task| task.with(|task| task.spec.plan = Some(serde_json::from_value(steps.clone()).expect("a plan")));
    let tasks = [
        thinking(1, Some("away"), &[]),
        planned(thinking(2, Some("away"), &[])),
        thinking(3, Some("fine"), &[]),
        thinking(4, None, &[]),
        thinking(5, None, &["Deep", "sql"]),
        planned(thinking(6, None, &["deep"])),
        thinking(7, None, &["sql"]),
    ];
    bed.store.insert(&tasks).await.expect("inserted");
    let left = async |agents: &[&str], capabilities: &[&str]| {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let (agents_without_model, capabilities_without_model) = (words(agents), words(capabilities));
        let closed = DueExclusions { agents_without_model, capabilities_without_model, ..DueExclusions::default() };
        let mut ids = bed.due_ids(10, &closed).await;
        ids.sort();
        ids
    };
    assert_eq!(left(&["away", "gone"], &[]).await, [2, 3, 4, 5, 6, 7].map(TaskId::Number));
    assert_eq!(left(&[], &["dEEp"]).await, [1, 2, 3, 4, 6, 7].map(TaskId::Number));
    assert_eq!(left(&["away"], &["deep"]).await, [2, 3, 4, 6, 7].map(TaskId::Number));
    let put_off = thinking(8, Some("fine"), &[]).with(|task| {
        task.spec.run_at = NOW.plus_millis(4_000);
        let cause = Failure::unavailable("refused");
        task.state.postponed =
            Some(Postponement { model: "m".into(), since: NOW, times: 1, last: NOW, not_before: None, cause });
    });
    let later = thinking(9, Some("fine"), &[]).with(|task| task.spec.run_at = NOW.plus_millis(4_000));
    bed.store.insert(&[put_off, later]).await.expect("inserted");
    let count = async |ms: i64, away: &AgentSet, failing: &AgentSet| {
        bed.store.waiting_for_model(NOW, NOW.plus_millis(ms), away, failing).await.expect("a count")
    };
    let of = |names: &[&str]| AgentSet::Named(names.iter().map(ToString::to_string).collect());
    assert_eq!((count(0, &of(&["away"]), &of(&[])).await, count(0, &of(&["gone"]), &of(&[])).await), (1, 0));
    assert_eq!((count(0, &AgentSet::All, &of(&[])).await, count(0, &AgentSet::All, &AgentSet::All).await), (5, 5));
    assert_eq!(
        (count(5_000, &AgentSet::All, &AgentSet::All).await, count(5_000, &of(&[]), &AgentSet::All).await),
        (6, 1)
    );
    assert_eq!((count(5_000, &of(&[]), &of(&["fine"])).await, count(5_000, &of(&[]), &of(&["away"])).await), (1, 0));
    assert_eq!(count(5_000, &of(&[]), &of(&[])).await, 0);
}

#[tokio::test]
async fn what_nobody_can_take_now_does_not_hide_the_rest() {
    let bed = Bed::new().await;
    let base = |number: u64| Task::new(TaskId::Number(number), "x", NOW);
    let tasks = [
        base(1).with(|task| task.spec.agent = Some("full".into())),
        base(2).with(|task| task.spec.capabilities = vec!["Fly".into(), "sql".into()]),
        base(3).with(|task| task.spec.capabilities = vec!["sql".into()]),
        // Named agents take what they are given, whatever it asks for.
        base(4).with(|task| {
            task.spec.agent = Some("free".into());
            task.spec.capabilities = vec!["fly".into()];
        }),
        base(5),
        base(6).with(|task| task.spec.capabilities = vec!["big data lake".into(), "x".into()]),
    ];
    bed.store.insert(&tasks).await.expect("inserted");
    let closed = DueExclusions {
        agents: vec!["full".into(), "gone".into()],
        capabilities: vec!["fly".into()],
        ..DueExclusions::default()
    };
    let mut ids = bed.due_ids(10, &closed).await;
    ids.sort();
    assert_eq!(ids, [3, 4, 5, 6].map(TaskId::Number));
    let closed = DueExclusions {
        combinations: vec![
            vec!["SQL".into(), "fly".into()],
            vec!["sql".into(), "x".into()],
            vec!["big data".into(), "x".into()],
        ],
        ..DueExclusions::default()
    };
    let mut ids = bed.due_ids(10, &closed).await;
    ids.sort();
    assert_eq!(ids, [1, 3, 4, 5, 6].map(TaskId::Number), "only what asks for all words of one");
    let due = bed.store.due(NOW, 10, &DueExclusions::default()).await.expect("due");
    let second = due.iter().find(|task| task.id == TaskId::Number(2)).expect("due");
    assert_eq!(second.capabilities, ["Fly", "sql"]);
    assert_eq!(due.iter().find(|task| task.id == TaskId::Number(1)).expect("due").agent.as_deref(), Some("full"));
}

#[tokio::test]
async fn tasks_are_counted_for_the_agent_of_that_name_alone() {
    let bed = Bed::new().await;
    let id = bed.insert_due(1).await[0].id;
    bed.store.claim_as(&[id], &claim("one"), AgentLimitTag::Agent("big clerk two"), NOW).await.expect("claimed");
    assert_eq!(bed.store.running_as("big clerk two").await.expect("a count"), 1);
    assert_eq!(bed.store.running_as("big clerk").await.expect("a count"), 0);
}

#[tokio::test]
async fn a_claim_gives_back_what_it_won_and_nothing_else() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(3).await;
    let ids: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    let first = bed.store.claim(&ids[..2], &claim("one"), NOW).await.expect("claimed");
    assert_eq!(first.len(), 2);
    for task in &first {
        let before = tasks.iter().find(|before| before.id == task.id).expect("one of them");
        let expected = before.apply(&TaskEvent::Claimed(claim("one")), NOW).expect("legal");
        assert_eq!(*task, expected);
        assert_eq!(bed.task(task.id).await, expected);
    }
    let rest = bed.store.claim(&[ids[0], ids[1], ids[2], TaskId::fresh()], &claim("two"), NOW).await.expect("claimed");
    assert_eq!(rest.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[2]]);
    assert!(bed.due_ids(10, &DueExclusions::default()).await.is_empty());
    assert!(bed.store.claim(&[], &claim("three"), NOW).await.expect("claimed").is_empty());
    // The same claim again, as after a lost answer.
    assert_eq!(bed.store.claim(&ids[..2], &claim("one"), NOW).await.expect("claimed").len(), 2);
    assert_eq!(bed.store.held("replica", 10).await.expect("held").len(), 3);
    assert!(bed.store.held("somebody", 10).await.expect("held").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_claimers_share_two_thousand_tasks_without_taking_one_twice() {
    let bed = Bed::new().await;
    bed.insert_due(2000).await;
    let claimers = (0..8).map(|number| {
        let store = bed.store.clone();
        tokio::spawn(async move {
            let mut won = Vec::new();
            for round in 0.. {
                let due = store.due(NOW, 256, &DueExclusions::default()).await.expect("due");
                if due.is_empty() {
                    break;
                }
                // Each takes every eighth, so that they overlap and still get on.
                let ids: Vec<TaskId> = due.iter().skip(number % 4).step_by(3).map(|task| task.id).collect();
                let claim = Claim { token: format!("{number}/{round}"), owner: format!("replica {number}") };
                won.extend(store.claim(&ids, &claim, NOW).await.expect("claimed").into_iter().map(|task| task.id));
                if ids.is_empty() {
                    let all: Vec<TaskId> = due.iter().map(|task| task.id).collect();
                    won.extend(store.claim(&all, &claim, NOW).await.expect("claimed").into_iter().map(|task| task.id));
                }
            }
            won
        })
    });
    let mut all = Vec::new();
    for claimer in futures_util::future::join_all(claimers).await {
        all.extend(claimer.expect("no panic"));
    }
    assert_eq!(all.len(), 2000);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2000);
    assert_eq!(bed.store.task_counts().await.expect("counts"), HashMap::from([(TaskStatus::Running, 2000)]));
}

#[tokio::test]
async fn a_task_that_lies_about_its_form_goes_back_to_admission_and_blocks_nobody() {
    let bed = Bed::new().await;
    let good = bed.insert_due(1).await.remove(0);
    let payload = json!({"goal": 5, "status": "pending", "run_at": 0, "rank": 0, "admitted": true});
    let payload = qdrant_client::Payload::try_from(payload).expect("a payload");
    let vectors = qdrant_client::qdrant::NamedVectors::default();
    bed.upsert(vec![qdrant_client::qdrant::PointStruct::new(5, vectors, payload)]).await;
    let ids = bed.due_ids(10, &DueExclusions::default()).await;
    assert_eq!(ids, [TaskId::Number(5), good.id]);
    let won = bed.store.claim(&ids, &claim("t"), NOW).await.expect("claimed");
    assert_eq!(won.iter().map(|task| task.id).collect::<Vec<_>>(), [good.id]);
    assert!(bed.due_ids(10, &DueExclusions::default()).await.is_empty());
    let raw = bed.store.unadmitted(10, None).await.expect("points").items;
    assert_eq!(raw.iter().map(|raw| raw.id).collect::<Vec<_>>(), [TaskId::Number(5)]);
    assert!(raw[0].read(Zone::UTC, NOW).expect_err("unreadable").message.starts_with("goal: 5"));
}

#[tokio::test]
async fn who_is_asked_to_stop_is_told_by_owner() {
    let bed = Bed::new().await;
    let (one, other) = (bed.running("one").await, bed.running("other").await);
    bed.store.transition(&one, &TaskEvent::CancelRequested, NOW.plus_millis(5)).await.expect("requested");
    assert_eq!(bed.store.cancel_requests("replica").await.expect("requests"), [one.id]);
    assert!(bed.store.cancel_requests("somebody").await.expect("requests").is_empty());
    assert!(!bed.task(other.id).await.state.cancel_requested);
}
