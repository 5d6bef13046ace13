//! Measures the queue: inserts tasks in bulk, then drains them with a runner.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use super::report::{Drain, Throughput};
use super::{BenchEnv, Options, POLL_INTERVAL, elapsed, now, per_second};
use crate::domain::id::TaskId;
use crate::domain::plan::Plan;
use crate::domain::task::{Task, TaskStatus};
use crate::telemetry::exporter;

/// Tasks in one insert.
pub(super) const BATCH: usize = 512;
/// Concurrent inserts.
const PARALLEL: usize = 4;

/// Tasks with empty plans, due now, with `payload_bytes` of data each.
pub(super) fn milestones(count: usize, payload_bytes: usize) -> impl Iterator<Item = Task> {
    let (begun, filler) = (now(), "x".repeat(payload_bytes));
    (0..count).map(move |_| {
        let mut task = Task::new(TaskId::fresh(), "measure the queue", begun);
        task.spec.plan = Some(Plan::default());
        task.spec.context.insert("filler".to_owned(), Value::String(filler.clone()));
        task
    })
}

/// Measures the durable insert of every task.
pub(super) async fn enqueue(env: &BenchEnv, options: &Options) -> anyhow::Result<Throughput> {
    let took = insert(env, options).await?;
    Ok(Throughput { seconds: took.as_secs_f64(), tasks_per_s: per_second(options.tasks, took) })
}

/// Inserts every task durably and returns how long that took.
pub(super) async fn insert(env: &BenchEnv, options: &Options) -> anyhow::Result<Duration> {
    let tasks: Vec<Task> = milestones(options.tasks, options.payload_bytes).collect();
    let began = Instant::now();
    stream::iter(tasks.chunks(BATCH))
        .map(|batch| env.store.insert_fresh(batch))
        .buffer_unordered(PARALLEL)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    Ok(began.elapsed())
}

/// Measures a runner until it has durably completed all enqueued tasks.
pub(super) async fn drain(env: &BenchEnv, options: &Options) -> anyhow::Result<Drain> {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let count = options.tasks.max(1) as f64;
    let expected = completed(env).await? + u64::try_from(options.tasks)?;
    let before = Counters::read();
    let began = Instant::now();
    let runner = env.runner().await?;
    // The metrics count what the store has confirmed, so this loop reads them and sends the store no requests.
    loop {
        let done = Counters::read().completed - before.completed;
        if done >= count {
            break;
        }
        // Reading the metrics takes time, too, so the loop reads them seldom while many tasks are left.
        let took = elapsed(began);
        let left = took * (count - done) / done.max(1.0);
        tokio::time::sleep(Duration::from_secs_f64((left / 2.0).min(took / 4.0)).max(POLL_INTERVAL)).await;
    }
    let took = began.elapsed();
    runner.shutdown().await;
    let after = Counters::read();
    let stored = completed(env).await?;
    anyhow::ensure!(
        stored >= expected,
        "the runner reported more completions than the store holds: {stored} tasks are completed there, not {expected}"
    );
    let calls = (after.store_calls - before.store_calls) / count;
    Ok(Drain {
        throughput: Throughput { seconds: took.as_secs_f64(), tasks_per_s: per_second(options.tasks, took) },
        conflicts: after.races_lost - before.races_lost,
        store_calls_per_task: calls,
    })
}

async fn completed(env: &BenchEnv) -> anyhow::Result<u64> {
    Ok(env.store.task_counts().await?.get(&TaskStatus::Completed).copied().unwrap_or_default())
}

/// Metrics of this process at one moment.
struct Counters {
    completed: f64,
    store_calls: f64,
    races_lost: f64,
}

impl Counters {
    fn read() -> Self {
        let text = exporter::render();
        Self {
            completed: sum(&text, "qron_tasks_completed_total"),
            store_calls: sum(&text, "qron_store_operation_seconds_count"),
            races_lost: sum(&text, "qron_claim_races_lost_total"),
        }
    }
}

/// The sum over all labels of a metric in the text format of Prometheus.
fn sum(text: &str, name: &str) -> f64 {
    let rows = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' ')));
    rows.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_of_a_metric_are_summed_up_and_its_neighbours_left_out() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\na_total 7\n";
        assert!((sum(text, "a") - 5.0).abs() < f64::EPSILON);
        assert!((sum(text, "a_total") - 7.0).abs() < f64::EPSILON);
    }
}
