//! Listings in the order of a time, and ids by their beginning.

use std::collections::HashSet;

use qron::domain::id::TaskId;
use qron::domain::schedule::zone::Zone;
use qron::domain::task::{Task, TaskStatus};
use qron::store::{Order, PageCursor, TaskFilter};
use serde_json::json;

use super::bed::{Bed, NOW, point};

#[tokio::test]
async fn pages_of_any_size_show_each_task_once_the_latest_first_however_many_share_a_time() {
    let bed = Bed::new().await;
    // Times with one, five and twelve tasks, and one of another schedule.
    let times = [3, 1, 1, 1, 1, 1, 7].into_iter().chain([5; 12]);
    let mine = |(number, at): (u64, i64)| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| {
            task.spec.run_at = NOW.plus_millis(at);
            task.spec.schedule_id = Some("mine".to_owned());
        })
    };
    let tasks: Vec<Task> = (1..).zip(times).map(mine).collect();
    bed.store.insert(&tasks).await.expect("inserted");
    let other = Task::new(TaskId::Number(99), "x", NOW).with(|task| task.spec.schedule_id = Some("other".to_owned()));
    bed.store.insert(&[other]).await.expect("inserted");

    let filter = TaskFilter { schedule_id: Some("mine".to_owned()), ..TaskFilter::default() };
    for limit in [1, 2, 4, 6, 13, 19, 50] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = bed.store.newest(&filter, limit, after).await.expect("a page");
            assert!(page.items.len() <= limit as usize);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = Some(next.parse::<PageCursor>().expect("a place"));
        }
        assert!(seen.is_sorted_by_key(|task| -task.spec.run_at.as_millis()), "{limit} at a time");
        assert_eq!(seen.len(), tasks.len(), "{limit} at a time");
        assert_eq!(seen.iter().map(|task| task.id).collect::<HashSet<_>>().len(), tasks.len(), "{limit} at a time");
    }
    assert!("".parse::<PageCursor>().is_err() && "5:x".parse::<PageCursor>().is_err());
}

#[tokio::test]
async fn a_listing_goes_on_while_tasks_come_and_go() {
    let bed = Bed::new().await;
    let task = |(number, at): (u64, i64)| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| task.spec.run_at = NOW.plus_millis(at))
    };
    let tasks: Vec<Task> = (1..).zip([50, 40, 30, 30, 30, 20, 10]).map(task).collect();
    bed.store.insert(&tasks).await.expect("inserted");
    let ids = |tasks: &[Task]| tasks.iter().map(|task| task.id).collect::<Vec<_>>();
    let all = TaskFilter::default();
    let first = bed.store.newest(&all, 3, None).await.expect("a page");
    assert_eq!(ids(&first.items), [1, 2, 3].map(TaskId::Number));

    // The one that the next page begins with goes, and so does one that was shown; others come before and after it.
    for gone in [4, 2] {
        bed.remove(gone).await;
    }
    bed.store.insert(&[task((8, 60)), task((9, 25))]).await.expect("inserted");
    let after: PageCursor = first.next.expect("more").parse().expect("a place");
    let rest = bed.store.newest(&all, 10, Some(after)).await.expect("a page");
    assert_eq!((ids(&rest.items), rest.next), ([5, 9, 6, 7].map(TaskId::Number).to_vec(), None));
}

#[tokio::test]
async fn what_other_clients_wrote_is_listed_once_it_is_admitted_and_what_cannot_be_read_hides_nothing() {
    let bed = Bed::new().await;
    let task =
        |number, at| Task::new(TaskId::Number(number), "x", NOW).with(|task| task.spec.run_at = NOW.plus_millis(at));
    bed.store.insert(&[task(1, 5), task(2, 5), task(3, -5), task(4, -5)]).await.expect("inserted");
    for hidden in [2, 3] {
        bed.make_unreadable(hidden).await;
    }
    let done = json!({"status": "DONE", "goal": "done"});
    let refused = json!({"goal": "refused", "priority": "often", "due_at": NOW.plus_millis(-1).to_rfc3339()});
    let new = json!({"goal": "new", "run_at": NOW.plus_millis(2).to_rfc3339()});
    bed.upsert(vec![point(5, &done), point(6, &refused), point(7, &new)]).await;
    let listed = async |limit| {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = bed.store.newest(&TaskFilter::default(), limit, after).await.expect("a page");
            seen.extend(page.items.iter().map(|task| task.id));
            let Some(next) = page.next else { return seen };
            after = Some(next.parse::<PageCursor>().expect("a place"));
        }
    };
    for limit in [1, 2, 10] {
        assert_eq!(listed(limit).await, [1, 4].map(TaskId::Number), "{limit} at a time");
    }
    for raw in bed.store.unadmitted(10, None).await.expect("points").items {
        match raw.read(Zone::UTC, NOW) {
            Ok(task) => assert!(bed.store.admit(&task).await.expect("admitted")),
            Err(failure) => assert!(bed.store.reject(&raw, &failure, Zone::UTC, NOW).await.expect("rejected")),
        }
    }
    for limit in [1, 3, 10] {
        assert_eq!(listed(limit).await, [1, 7, 5, 6, 4].map(TaskId::Number), "{limit} at a time");
    }
}

#[tokio::test]
async fn what_is_next_begins_with_the_soonest_and_what_ended_with_the_latest() {
    let bed = Bed::new().await;
    let due = |number, at: i64| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| task.spec.run_at = NOW.plus_millis(at))
    };
    let ended = |number, at: i64, end: i64| {
        due(number, at).with(|task| {
            task.state.status = TaskStatus::Completed;
            task.state.finished_at = Some(NOW.plus_millis(end));
        })
    };
    // Next year, five at one time, and one that ended although it was due next year.
    let mut tasks = vec![due(1, 31_536_000_000), due(2, 2_000), due(3, 1_000)];
    tasks.extend((10..15).map(|number| due(number, 5_000)));
    tasks.extend([ended(20, -9_000, 50), ended(21, 31_536_000_000, 70), ended(22, -1_000, 60), ended(23, -1, 60)]);
    tasks.push(due(4, 6_000).with(|task| task.spec.priority = 10));
    bed.store.insert(&tasks).await.expect("inserted");
    for (order, expected) in [(Order::Next, vec![4, 3, 2, 10, 11, 12, 13, 14, 1]), (Order::Ended, vec![21, 22, 23, 20])]
    {
        for limit in [1, 2, 3, 7, 50] {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let page = bed.store.ordered(&TaskFilter::default(), order, limit, after).await.expect("a page");
                seen.extend(page.items.iter().map(|task| task.id));
                let Some(next) = page.next else { break };
                after = Some(next.parse::<PageCursor>().expect("a place"));
            }
            let expected: Vec<TaskId> = expected.iter().copied().map(TaskId::Number).collect();
            assert_eq!(seen, expected, "{order:?}, {limit} at a time");
        }
    }
}

#[tokio::test]
async fn ids_are_found_by_their_beginning_among_any_number() {
    let bed = Bed::new().await;
    let id = |text: &str| -> TaskId { text.parse().expect("an id") };
    let named = |text: &str| Task::new(id(text), "x", NOW);
    let ids = [
        "01990000-0000-7000-8000-000000000001",
        "01990000-0000-7000-8000-000000000002",
        "0199ffff-0000-7000-8000-000000000003",
        "ffffffff-ffff-4fff-bfff-ffffffffffff",
        "1234",
        "12340000-0000-4000-8000-000000000004",
    ];
    bed.store.insert(&ids.map(named)).await.expect("inserted");
    bed.insert_due(600).await;
    let found = async |prefix: &str| -> Vec<String> {
        let prefix = prefix.parse().expect("a prefix");
        let ids = bed.store.task_ids_by_prefix(prefix, 10).await.expect("ids");
        ids.iter().map(ToString::to_string).collect()
    };
    assert_eq!(found("01990000").await, ids[..2]);
    assert_eq!(found("0199F").await, ids[2..3]);
    assert_eq!(found("01990000-0000-7000-8000-000000000002").await, ids[1..2]);
    assert_eq!(found("ffff").await, ids[3..4]);
    assert_eq!(found("1234").await, ids[4..6], "a number and the beginning of another id");
    assert_eq!(found("123400").await, ids[5..6]);
    assert_eq!(found("eeee").await, [""; 0]);
}

#[tokio::test]
async fn a_filter_of_several_words_means_all_of_them_and_nothing_else() {
    let bed = Bed::new().await;
    let named = |number, name: &str| {
        Task::new(TaskId::Number(number), "x", NOW).with(|task| {
            task.spec.tags = vec![name.to_owned()];
            task.spec.user = Some(name.to_owned());
            task.spec.concurrency_key = Some(name.to_owned());
        })
    };
    bed.store.insert(&[named(1, "big corp"), named(2, "big corp 2"), named(3, "a big corp")]).await.expect("inserted");
    let name = Some("big corp".to_owned());
    for filter in [
        TaskFilter { tag: name.clone(), ..TaskFilter::default() },
        TaskFilter { user: name.clone(), ..TaskFilter::default() },
        TaskFilter { concurrency_key: name.clone(), ..TaskFilter::default() },
    ] {
        let found = bed.store.newest(&filter, 10, None).await.expect("a page").items;
        assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), [TaskId::Number(1)], "{filter:?}");
    }
}
