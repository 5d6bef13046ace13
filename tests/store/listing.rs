//! Listings with the latest first.

use std::collections::HashSet;

use qron::domain::id::TaskId;
use qron::domain::task::Task;
use qron::store::{Place, TaskFilter};

use crate::bed::{Bed, NOW};

#[tokio::test]
async fn pages_of_any_size_show_each_task_once_the_latest_first_however_many_share_a_time() {
    let bed = Bed::new().await;
    // Times with one, five and twelve tasks, and one of another schedule.
    let times = [3, 1, 1, 1, 1, 1, 7].into_iter().chain([5; 12]);
    let mine = |(number, at): (u64, i64)| Task {
        run_at: NOW.plus_millis(at),
        schedule_id: Some("mine".to_owned()),
        ..Task::new(TaskId::Number(number), "x", NOW)
    };
    let tasks: Vec<Task> = (1..).zip(times).map(mine).collect();
    bed.store.insert(&tasks).await.expect("inserted");
    let other = Task { schedule_id: Some("other".to_owned()), ..Task::new(TaskId::Number(99), "x", NOW) };
    bed.store.insert(&[other]).await.expect("inserted");

    let filter = TaskFilter { schedule_id: Some("mine".to_owned()), ..TaskFilter::default() };
    for limit in [1, 2, 4, 6, 13, 19, 50] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = bed.store.newest(&filter, limit, after).await.expect("a page");
            assert!(page.items.len() <= limit as usize);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = Some(next.parse::<Place>().expect("a place"));
        }
        assert!(seen.is_sorted_by_key(|task| -task.run_at.as_millis()), "{limit} at a time");
        assert_eq!(seen.len(), tasks.len(), "{limit} at a time");
        assert_eq!(seen.iter().map(|task| task.id).collect::<HashSet<_>>().len(), tasks.len(), "{limit} at a time");
    }
    assert!("".parse::<Place>().is_err() && "5:x".parse::<Place>().is_err());
}
