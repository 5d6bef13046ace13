//! A store that is killed, and one whose disk is full. It is the embedded one, in a process that serves nothing else.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::checker::{Findings, INTERRUPTED, check};
use crate::stage::{Replica, Stage, Terms, any_below, quantile, skipped, steady_port, stop_all};
use crate::support::eventually;
use crate::support::process::PROGRAM;
use crate::workers::{rate, until_moved_on};

/// A stage whose store the test may kill, and the process that serves it.
pub(crate) async fn serve(terms: Terms, command: Command) -> (Stage, Replica, u16) {
    let port = steady_port();
    let stage = Stage::over(format!("http://127.0.0.1:{port}"), terms).await;
    let server = stage.server(command, port).await;
    (stage, server, port)
}

struct Storm {
    findings: Findings,
    /// From each start of the store until work went on.
    resumed: Vec<Duration>,
    rates: Option<(f64, f64)>,
}

/// Kills the store again and again while tasks are inserted and worked on.
async fn kill_store(tasks: usize, replicas: usize, rounds: usize, measured: Option<usize>) -> Storm {
    // The lease outlives the absence of the store, as the default one does.
    let terms = Terms { lease: Duration::from_secs(10), ..Terms::default() };
    let (stage, server, port) = serve(terms, Command::new(PROGRAM)).await;
    let fleet = stage.replicas(replicas).await;
    let store = stage.store().await;
    let before = match measured {
        Some(count) => Some(rate(&stage, &fleet, &store, count).await),
        None => None,
    };
    let inserter = async {
        for (index, batch) in stage.tasks(tasks).chunks(5).enumerate() {
            // Without trying again: what is not acknowledged may be there or not.
            drop(stage.insert(&fleet[index % replicas], batch).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let killing = async {
        let (mut server, mut resumed) = (server, Vec::new());
        for _ in 0..rounds {
            until_moved_on(&stage, terms.capacity).await;
            tokio::time::sleep(Duration::from_millis(any_below(100))).await;
            server.qron.kill();
            server = stage.server(Command::new(PROGRAM), port).await;
            let listens = Instant::now();
            stage.insist(&fleet[0], &stage.tasks(terms.capacity * 4)).await;
            // More calls than can have been under way while it was gone.
            until_moved_on(&stage, terms.capacity * replicas * 2).await;
            resumed.push(listens.elapsed());
        }
        (server, resumed)
    };
    let ((), (server, resumed)) = tokio::join!(inserter, killing);
    stage.until_all_ended(&store).await;
    let after = match measured {
        Some(count) => Some(rate(&stage, &fleet, &store, count).await),
        None => None,
    };
    stop_all(fleet).await;
    let findings = check(&stage, INTERRUPTED).await;
    server.stop().await;
    Storm { findings, resumed, rates: before.zip(after) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_store_has_all_that_was_acknowledged_and_work_goes_on() {
    let storm = kill_store(200, 2, 3, None).await;
    let slowest = storm.resumed.into_iter().max().expect("rounds");
    // On a machine of its own within five seconds; this bound stands a busy one.
    assert!(slowest < Duration::from_secs(30), "{slowest:?}");
    assert_eq!((storm.findings.unknown, storm.findings.crashes), (0, 0), "no replica was lost: {:?}", storm.findings);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn twenty_kills_of_the_store() {
    let mut storm = kill_store(10_000, 4, 20, Some(1_000)).await;
    let (p50, most) = (quantile(&mut storm.resumed, 0.5), quantile(&mut storm.resumed, 1.0));
    let (before, after) = storm.rates.expect("measured");
    println!("kill -9 of the store, 20 times: {:?}", storm.findings);
    println!("back at work after p50 {p50:?}, at most {most:?} from when it listens");
    println!("{before:.0} tasks/s before, {after:.0} after: {:.0} %", after / before * 100.0);
}

/// Limits how large files of a running process may become, or lifts the limit.
fn limit_files(replica: &Replica, bytes: &str) {
    let pid = replica.qron.pid().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
    assert!(status.expect("prlimit runs").success());
}

/// Fills the disk of the store while tasks are inserted, `rounds` times; gives back how many inserts were refused.
async fn fill_disk(tasks: usize, rounds: usize) -> (Findings, usize) {
    // A file that cannot grow is an error then, as on a full disk, and not the end of the process.
    let program = || {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", PROGRAM]);
        shell
    };
    let (stage, mut server, port) = serve(Terms::default(), program()).await;
    let fleet = vec![stage.replica().await];
    let store = stage.store().await;
    let mut refused = 0;
    for round in 0..rounds {
        stage.load(&fleet[0], tasks).await;
        stage.until_all_ended(&store).await;
        stage.post(&fleet[0], "/pause", &serde_json::json!({})).await;
        stage.load(&fleet[0], tasks).await;

        // Files that are larger cannot grow; some are not yet.
        limit_files(&server, "1024");
        let (mut told, mut row) = (String::new(), 0);
        while row < 5 {
            match stage.insert(&fleet[0], &stage.tasks(20)).await {
                Ok(()) => row = 0,
                Err(error) => {
                    row += 1;
                    refused += 1;
                    told = error;
                }
            }
            assert!(stage.acknowledged() < 100_000, "the disk never filled up");
        }
        assert!(told.starts_with("503") && told.contains("free space"), "{told}");
        // Reads go on, and give what was acknowledged: no more, no less.
        let counts = store.task_counts().await.expect("a read");
        assert_eq!(counts.values().sum::<u64>(), stage.acknowledged() as u64);

        limit_files(&server, "unlimited");
        if round % 2 == 1 {
            // What the disk holds is the same as what the process knew.
            server.qron.kill();
            server = stage.server(program(), port).await;
        }
        stage.insist(&fleet[0], &stage.tasks(20)).await;
        // What starts before its heartbeats are stored again would be cut off with its lease.
        let beats = async || store.replicas().await.ok().and_then(|replicas| Some(replicas.first()?.heartbeat));
        let before = beats().await;
        eventually("its heartbeats are stored again", async || {
            let now = beats().await;
            if now > before { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        })
        .await;
        eventually("it goes on", async || {
            let resumed = stage.try_post(&fleet[0], "/resume", &serde_json::json!({})).await;
            resumed.map(drop)
        })
        .await;
        stage.until_all_ended(&store).await;
    }
    stop_all(fleet).await;
    let findings = check(&stage, INTERRUPTED).await;
    server.stop().await;
    (findings, refused)
}

fn has_prlimit() -> bool {
    let there = Command::new("prlimit").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        skipped("a full disk under the whole program needs prlimit (Debian package util-linux)");
    }
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_inserts_loudly_and_loses_nothing() {
    if !has_prlimit() {
        return;
    }
    let (findings, _) = fill_disk(10, 2).await;
    assert_eq!((findings.unknown, findings.repeats), (0, 0), "nothing was under way: {findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures"]
async fn a_disk_that_fills_up_ten_times() {
    if has_prlimit() {
        let (findings, refused) = fill_disk(500, 10).await;
        println!("full disk, 10 times: {refused} inserts refused, {findings:?}");
    }
}
