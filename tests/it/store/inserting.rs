//! Inserting and reading.

use qron::domain::id::TaskId;
use qron::domain::task::{Task, TaskStatus};
use qron::store::{Inserted, StoreError, TaskFilter};
use serde_json::{Map, Value, json};

use super::bed::{Bed, NOW};

fn keyed(key: &str, goal: &str) -> Task {
    Task::new(TaskId::fresh(), goal, NOW).with(|task| task.spec.unique_key = Some(key.to_owned()))
}

#[tokio::test]
async fn a_task_comes_back_whole() {
    let bed = Bed::new().await;
    let plan = json!({"steps": [{"id": "s1", "tool": "calculate", "arguments": {"x": [1, 2.5, "ü", null, true]}}]});
    let task = Task::new(TaskId::Number(u64::MAX), "do it: äöü ✓", NOW).with(|task| {
        task.spec.priority = 9;
        task.spec.agent = Some("writer".into());
        task.spec.capabilities = vec!["SQL".into()];
        task.spec.depends_on = vec![TaskId::Number(7)];
        task.spec.plan = Some(serde_json::from_value(plan).expect("a plan"));
        task.spec.context =
            json!({"a": {"b": [1, -2, 3.25]}, "big": 9_007_199_254_740_993_i64}).as_object().expect("a map").clone();
        task.spec.tags = vec!["x".into(), "y z".into()];
        task.state.extra = json!({"mine": {"deep": [[1]]}}).as_object().expect("a map").clone();
    });
    let inserted = bed.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
    assert_eq!(inserted, [Inserted { id: task.id, created: true }]);
    assert_eq!(bed.task(task.id).await, task);
    assert_eq!(bed.store.task(TaskId::Number(4)).await.expect("readable"), None);
}

#[tokio::test]
async fn nothing_is_inserted_twice() {
    let bed = Bed::new().await;
    let tasks =
        [keyed("a", "first"), keyed("b", "other"), keyed("a", "second"), Task::new(TaskId::Number(1), "n", NOW)];
    let inserted = bed.store.insert(&tasks).await.expect("inserted");
    assert_eq!(inserted.iter().map(|one| one.created).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(inserted[0].id, inserted[2].id);
    assert_eq!(inserted[0].id, tasks[0].id);
    let again = bed.store.insert(&tasks).await.expect("inserted");
    assert!(again.iter().all(|one| !one.created));
    assert_eq!(bed.task(inserted[0].id).await.spec.goal, "first");
    assert!(bed.store.insert(&[]).await.expect("inserted").is_empty());
}

#[tokio::test]
async fn tasks_with_fresh_ids_are_new_unless_their_key_is_taken() {
    let bed = Bed::new().await;
    bed.store.insert(&[keyed("a", "first")]).await.expect("inserted");
    let plain = Task::new(TaskId::fresh(), "plain", NOW);
    let tasks = [plain.clone(), keyed("a", "second"), keyed("b", "other"), keyed("b", "again")];
    let inserted = bed.store.insert_fresh(&tasks).await.expect("inserted");
    assert_eq!(inserted.iter().map(|one| one.created).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!(bed.task(inserted[1].id).await.spec.goal, "first");
    assert_eq!(bed.task(inserted[3].id).await.spec.goal, "other");
    assert_eq!(bed.task(plain.id).await, plain);
    assert_eq!(bed.payload(plain.id).await.get("inserted_by"), None, "nobody asks who inserted it");
}

#[tokio::test]
async fn of_two_processes_that_race_for_a_key_one_creates_it() {
    let bed = Bed::new().await;
    let other = bed.another().await;
    for round in 0..20 {
        let key = format!("key {round}");
        let (mine, theirs) = ([keyed(&key, "mine")], [keyed(&key, "theirs")]);
        let (one, two) = tokio::join!(bed.store.insert(&mine), other.insert(&theirs));
        let (one, two) = (one.expect("inserted")[0], two.expect("inserted")[0]);
        assert_eq!(one.id, two.id);
        assert!(one.created != two.created, "{one:?} {two:?}");
        let expected = if one.created { "mine" } else { "theirs" };
        assert_eq!(bed.task(one.id).await.spec.goal, expected);
    }
}

#[tokio::test]
async fn a_large_batch_is_inserted_in_order_and_listed_in_pages() {
    let bed = Bed::new().await;
    let tasks = bed.insert_due(1300).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = bed.store.tasks(&TaskFilter::default(), 500, after.as_deref()).await.expect("a page");
        assert!(page.items.len() <= 500);
        seen.extend(page.items.into_iter().map(|task| task.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<TaskId> = tasks.iter().map(|task| task.id).collect();
    expected.sort();
    assert_eq!(seen, expected);
    let counts = bed.store.task_counts().await.expect("counts");
    assert_eq!(counts.get(&TaskStatus::Pending), Some(&1300));
}

#[tokio::test]
async fn listings_filter_by_what_is_asked() {
    let bed = Bed::new().await;
    let base = |number: u64| Task::new(TaskId::Number(number), "x", NOW);
    let tasks = [
        base(1).with(|task| {
            task.spec.agent = Some("a".into());
            task.spec.tags = vec!["t".into(), "s".into()];
        }),
        base(2).with(|task| {
            task.spec.user = Some("u".into());
            task.spec.tags = vec!["t".into()];
        }),
        base(3).with(|task| task.spec.schedule_id = Some("daily".into())),
        base(4).with(|task| {
            task.state.status = TaskStatus::Waiting;
            task.spec.depends_on = vec![TaskId::Number(1)];
        }),
    ];
    bed.store.insert(&tasks).await.expect("inserted");
    let ids = async |filter: TaskFilter| -> Vec<TaskId> {
        let page = bed.store.tasks(&filter, 10, None).await.expect("a page");
        page.items.into_iter().map(|task| task.id).collect()
    };
    let numbers = |numbers: &[u64]| numbers.iter().copied().map(TaskId::Number).collect::<Vec<_>>();
    assert_eq!(ids(TaskFilter::default()).await, numbers(&[1, 2, 3, 4]));
    assert_eq!(ids(TaskFilter { agent: Some("a".into()), ..TaskFilter::default() }).await, numbers(&[1]));
    assert_eq!(ids(TaskFilter { tag: Some("t".into()), ..TaskFilter::default() }).await, numbers(&[1, 2]));
    assert_eq!(ids(TaskFilter { user: Some("u".into()), ..TaskFilter::default() }).await, numbers(&[2]));
    assert_eq!(ids(TaskFilter { schedule_id: Some("daily".into()), ..TaskFilter::default() }).await, numbers(&[3]));
    let statuses = vec![TaskStatus::Waiting, TaskStatus::Failed];
    assert_eq!(ids(TaskFilter { statuses, ..TaskFilter::default() }).await, numbers(&[4]));
    assert_eq!(bed.store.waiting(10, None).await.expect("a page").items, tasks[3..]);
    let error = bed.store.tasks(&TaskFilter::default(), 10, Some("../1")).await.expect_err("no page");
    assert!(error.to_string().contains("../1"), "{error}");
}

#[tokio::test]
async fn data_that_would_not_come_back_is_refused_before_anything_is_written() {
    let bed = Bed::new().await;
    let deep = (0..60).fold(json!(1), |inner, _| json!([inner]));
    let context = json!({"deep": deep}).as_object().expect("a map").clone();
    let tasks = [
        Task::new(TaskId::Number(1), "fine", NOW),
        Task::new(TaskId::Number(2), "deep", NOW).with(|task| task.spec.context = context),
    ];
    let error = bed.store.insert(&tasks).await.expect_err("refused");
    assert!(matches!(error, StoreError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("context") && error.to_string().contains('2'), "{error}");
    assert_eq!(bed.store.task(TaskId::Number(1)).await.expect("readable"), None);
}

#[tokio::test]
async fn a_context_of_a_megabyte_is_stored_with_others_in_one_call() {
    let bed = Bed::new().await;
    let context = Map::from_iter([("text".to_owned(), Value::from("x".repeat(1024 * 1024 - 100)))]);
    let large =
        |number| Task::new(TaskId::Number(number), "read it", NOW).with(|task| task.spec.context = context.clone());
    let tasks: Vec<Task> = (1..=20).map(large).collect();
    assert!(bed.store.insert(&tasks).await.expect("inserted").iter().all(|one| one.created));
    assert_eq!(bed.task(TaskId::Number(20)).await, tasks[19]);
}

/// What is written must be readable: the last door before the store holds everybody to the bounds.
#[tokio::test]
async fn what_exceeds_a_bound_is_refused_before_anything_is_written() {
    let bed = Bed::new().await;
    let fine = Task::new(TaskId::Number(1), "fine", NOW);
    for (bad, told) in [
        (
            fine.clone().with(|task| task.spec.timeout_s = 31_536_000),
            "timeout_s 31536000 is out of range: use 1 to 2592000",
        ),
        (fine.clone().with(|task| task.spec.max_attempts = 0), "max_attempts 0"),
        (
            fine.clone().with(|task| task.spec.goal = "x".repeat(1024 * 1024)),
            "the goal has 1048576 characters: use 1 to 50000",
        ),
        (fine.clone().with(|task| task.spec.goal = " ".into()), "the goal has 0 characters"),
        (fine.clone().with(|task| task.spec.user = Some(String::new())), "user: a text of 0 characters"),
    ] {
        let tasks = [fine.clone(), Task { id: TaskId::Number(2), ..bad }];
        let error = bed.store.insert(&tasks).await.expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(bed.store.task(fine.id).await.expect("readable"), None, "{told}");
    }
}
