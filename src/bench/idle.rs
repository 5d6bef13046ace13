//! Measures the cost of waiting: a runner over many tasks that are not due.

use std::time::{Duration, Instant};

use super::report::Idle;
use super::{BenchEnv, Options, elapsed, now, percentile, queue};
use crate::domain::time::Timestamp;
use crate::store::DueExclusions;

/// Number of timed scans for due tasks.
const SCANS: usize = 200;
/// Most tasks that a scan returns.
const SCAN_LIMIT: u32 = 256;
/// Time until the waiting tasks become due, in milliseconds.
const DUE_IN_MS: i64 = 7 * 24 * 3_600_000;

/// Inserts as many tasks again, due next week, lets a runner wait for them, and times scans as if they were due.
pub(super) async fn measure(env: &BenchEnv, options: &Options) -> anyhow::Result<Idle> {
    let due_at = now().plus_millis(DUE_IN_MS);
    let waiting: Vec<_> = queue::milestones(options.tasks, options.payload_bytes)
        .map(|mut task| {
            task.spec.run_at = due_at;
            task
        })
        .collect();
    for batch in waiting.chunks(queue::BATCH) {
        env.store.insert_fresh(batch).await?;
    }
    let runner = env.runner().await?;
    // The work of starting is not measured.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, began) = (cpu_s(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let share = cpu.zip(cpu_s()).map(|(before, after)| (after - before) / elapsed(began));
    runner.shutdown().await;
    let (scans, searches) = (scan(env, due_at).await?, search(env).await?);
    Ok(Idle {
        pending: options.tasks,
        cpu_share_of_a_core: share,
        due_scan_p50_ms: percentile(&scans, 0.5),
        due_scan_p99_ms: percentile(&scans, 0.99),
        search_p50_ms: percentile(&searches, 0.5),
        search_p99_ms: percentile(&searches, 0.99),
    })
}

/// Times of scans that return as many tasks as they may, in milliseconds, sorted.
async fn scan(env: &BenchEnv, at: Timestamp) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(SCANS);
    for _ in 0..SCANS {
        let began = Instant::now();
        env.store.due(at, SCAN_LIMIT, &DueExclusions::default()).await?;
        times.push(elapsed(began) * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Times of searches that find no due task and read when the next one becomes due, in milliseconds, sorted.
async fn search(env: &BenchEnv) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::with_capacity(SCANS);
    for _ in 0..SCANS {
        let (began, now) = (Instant::now(), now());
        let due = env.store.due(now, SCAN_LIMIT, &DueExclusions::default()).await?;
        anyhow::ensure!(
            due.is_empty(),
            "{} tasks of the benchmark are due, although all of them are due next week: is the clock of this machine right?",
            due.len()
        );
        env.store.next_due(now, now.plus_millis(2 * DUE_IN_MS)).await?;
        times.push(elapsed(began) * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// Processor time of this process so far, in seconds; `None` where the system has no `/proc`.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15, in ticks of 1/100 s; the name in field 2 may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// The peak of resident memory of this process, in bytes; `None` where the system has no `/proc`.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024)
}
