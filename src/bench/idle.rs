//! What waiting costs: a runner over many tasks that are not due.

use std::time::{Duration, Instant};

use super::report::Idle;
use super::{Options, Place, elapsed, now, percentile, queue};
use crate::domain::time::Timestamp;
use crate::store::Closed;

/// Scans for due tasks that are timed.
const SCANS: usize = 200;
/// Due tasks in one scan.
const SCAN: u32 = 256;
/// When the waiting tasks are due.
const LATER_MS: i64 = 7 * 24 * 3_600_000;

/// Inserts as many tasks again, due next week, lets a runner wait for them, and times scans as if they were due.
pub(super) async fn measure(place: &Place, options: &Options) -> anyhow::Result<Idle> {
    let later = now().plus_millis(LATER_MS);
    let waiting: Vec<_> = queue::milestones(options.tasks, options.payload_bytes)
        .map(|mut task| {
            task.run_at = later;
            task
        })
        .collect();
    for batch in waiting.chunks(queue::BATCH) {
        place.store.insert_fresh(batch).await?;
    }
    let runner = place.runner().await?;
    // What starting costs is not what waiting costs.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, began) = (cpu_s(), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let share = cpu.zip(cpu_s()).map(|(before, after)| (after - before) / elapsed(began));
    runner.shutdown().await;
    let (scans, searches) = (scan(place, later).await?, search(place).await?);
    Ok(Idle {
        pending: options.tasks,
        cpu_share_of_a_core: share,
        due_scan_p50_ms: percentile(&scans, 0.5),
        due_scan_p99_ms: percentile(&scans, 0.99),
        search_p50_ms: percentile(&searches, 0.5),
        search_p99_ms: percentile(&searches, 0.99),
    })
}

/// How long scans that find as much as they may take, in milliseconds, sorted.
async fn scan(place: &Place, at: Timestamp) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::with_capacity(SCANS);
    for _ in 0..SCANS {
        let began = Instant::now();
        place.store.due(at, SCAN, &Closed::default()).await?;
        took.push(elapsed(began) * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// How long a search takes that finds nothing due and looks when something will be, in milliseconds, sorted.
async fn search(place: &Place) -> anyhow::Result<Vec<f64>> {
    let mut took = Vec::with_capacity(SCANS);
    for _ in 0..SCANS {
        let (began, now) = (Instant::now(), now());
        let due = place.store.due(now, SCAN, &Closed::default()).await?;
        anyhow::ensure!(due.is_empty(), "{} tasks are due, but none should be", due.len());
        place.store.next_due(now, now.plus_millis(2 * LATER_MS)).await?;
        took.push(elapsed(began) * 1_000.0);
    }
    took.sort_by(f64::total_cmp);
    Ok(took)
}

/// Processor time of this process so far, in seconds; `None` where the system does not tell.
fn cpu_s() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Fields 14 and 15, in ticks of 1/100 s; the name in field 2 may hold spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / 100.0)
}

/// The most memory this process has had, in bytes; `None` where the system does not tell.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024)
}
