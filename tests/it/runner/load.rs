//! Capacity under backlog: never exceeded, and hardly ever idle.

use std::time::{Duration, Instant};

use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::{Scenario, Script, ScriptedModel};
use qron::scheduler::Runner;
use serde_json::json;

use crate::support::world::{World, agent, planned, sum};

const TASKS: usize = 300;
const CAPACITY: usize = 100;
/// What each call takes.
const LATENCY: Duration = Duration::from_secs(1);
/// Time between two looks at the load.
const LOOK: Duration = Duration::from_millis(20);

/// How a race went.
struct Race {
    /// Its time as a multiple of the ideal: every place taken all the time, and no time but that of the calls.
    multiple: f64,
    /// Part of the capacity that was taken while tasks waited for it, from the first moment of full load on.
    used: f64,
}

/// Runs tasks of so many calls until all are completed.
async fn race(world: &World, runner: &Runner, tasks: &[Task], calls: u32) -> Race {
    let began = Instant::now();
    world.insert(tasks).await;
    let mut loads = Vec::new();
    let look = async {
        loop {
            let counts = world.store.task_counts().await.expect("counts");
            if counts.get(&TaskStatus::Pending).is_some_and(|pending| *pending > 0) {
                loads.push(runner.loads()[0].in_flight);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        () = look => {}
        () = world.until_count(TaskStatus::Completed, tasks.len() as u64) => {}
    }
    let took = began.elapsed();
    let full = loads.iter().position(|load| *load == CAPACITY).expect("full load");
    let loads: Vec<f64> = loads[full..].iter().map(|load| f64::from(u32::try_from(*load).expect("small"))).collect();
    let mean = loads.iter().sum::<f64>() / f64::from(u32::try_from(loads.len()).expect("small"));
    let rounds = u32::try_from(tasks.len().div_ceil(CAPACITY)).expect("small");
    Race {
        multiple: took.as_secs_f64() / (LATENCY * calls * rounds).as_secs_f64(),
        used: mean / f64::from(u32::try_from(CAPACITY).expect("small")),
    }
}

/// Whatever else this machine does meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn capacity_is_never_exceeded_and_is_used_under_backlog() {
    let world = World::new(&[]).await;
    let tasks: Vec<Task> =
        (0..TASKS).map(|_| planned("take a second", &json!([world.web.step("s1", "slow/page")]))).collect();
    let runner = world.runner_of("r1", vec![agent("a", &[], CAPACITY)]).await;
    race(&world, &runner, &tasks, 1).await;
    runner.shutdown().await;
    let (peak, busy) = world.web.occupation();
    assert!(peak <= CAPACITY, "{peak} at once");
    assert!(busy >= LATENCY * u32::try_from(TASKS).expect("small"), "only {busy:?} of work was done");
    assert!(peak > CAPACITY / 2, "only {peak} at once");
}

/// The bounds that are promised, on a machine that does nothing else:
/// `cargo test --release --test it -- --ignored --nocapture a_backlog_of_model_calls`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time and memory, so it needs a machine and a process of its own"]
async fn a_backlog_of_model_calls_takes_hardly_longer_than_it_must() {
    let step = json!({"id": "s1", "tool": "calculate", "arguments": "{\"expression\": \"10!\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": 1});
    let script = Script::new(vec![
        Scenario::on("").purpose("plan").json(json!({"analysis": "clear", "steps": [step]})),
        Scenario::on("").purpose("answer").json(json!({"success": true, "answer": "3628800", "reason": "seen"})),
    ]);
    let latency = u64::try_from(LATENCY.as_millis()).expect("small");
    let model = ScriptedModel::start(script.latency_ms(latency).without_bodies()).await.expect("a model");
    let world = World::new(&[("MODEL__BASE_URL", &model.base_url()), ("MODEL__API_KEY", "none")]).await;
    let tasks: Vec<Task> =
        (0..TASKS).map(|_| sum("what is the factorial of ten").with(|task| task.spec.plan = None)).collect();
    let runner = world.runner_of("r1", vec![agent("a", &[], CAPACITY)]).await;
    let Race { multiple, used } = race(&world, &runner, &tasks, 2).await;
    runner.shutdown().await;
    let rss = peak_rss();
    let peak = model.in_flight_peak();
    eprintln!(
        "{multiple:.3} times the ideal, {used:.3} of the capacity used, {peak} calls at once, peak RSS {rss} MiB"
    );
    assert_eq!(peak, CAPACITY);
    assert!(multiple < 1.15 && used > 0.95 && rss < 300);
}

/// Everything at once: 250 tasks tell of 40 steps each, three times a step.
#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_many_tasks_that_run_at_once_has_no_gaps() {
    const BURST: usize = 250;
    const STEPS: usize = 40;
    let step = |n| json!({"id": format!("s{n}"), "tool": "calculate", "arguments": {"expression": "1 + 1"}});
    let steps: Vec<_> = (0..STEPS).map(step).collect();
    let tasks: Vec<Task> = (0..BURST).map(|_| planned("tell a lot", &json!(steps))).collect();
    let world = World::new(&[]).await;
    let runner = world.runner_of("r1", vec![agent("a", &[], BURST)]).await;
    let began = Instant::now();
    world.insert(&tasks).await;
    world.until_count(TaskStatus::Completed, BURST as u64).await;
    let took = began.elapsed();
    runner.shutdown().await;
    let mut told = 0;
    for task in &tasks {
        let history = world.history(task.id).await.len();
        // More, when the machine was so slow that the replica handed a task back.
        assert!(history >= 3 * STEPS + 2, "{history} events of task {}", task.id);
        told += history;
    }
    eprintln!("{told} events; completed after {took:?}, all told after {:?}", began.elapsed());
}

/// As many as a slow model can keep waiting, each with a connection of its own (`ulimit -n 20000`):
/// `cargo test --release --test it -- --ignored --nocapture five_thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures memory, so it needs a machine and a process of its own"]
async fn five_thousand_tasks_wait_for_a_slow_model_and_no_heartbeat_is_late() {
    const WAITING: usize = 5_000;
    let step = json!({"id": "s1", "tool": "calculate", "arguments": "{\"expression\": \"10!\"}", "instruction": null,
        "depends_on": [], "capability": null, "estimated_s": 1});
    let script = Script::new(vec![
        Scenario::on("").purpose("plan").json(json!({"analysis": "clear", "steps": [step]})),
        Scenario::on("").purpose("answer").json(json!({"success": true, "answer": "done", "reason": "seen"})),
    ]);
    let slow = script.latency_ms(20_000).without_bodies();
    let model = ScriptedModel::start(slow).await.expect("a model");
    let settings = [("MODEL__BASE_URL", model.base_url()), ("MODEL__API_KEY", "none".to_owned())];
    let world = World::new(&settings.each_ref().map(|(key, value)| (*key, value.as_str()))).await;
    let tasks: Vec<Task> =
        (0..WAITING).map(|_| sum("wait for a slow model").with(|task| task.spec.plan = None)).collect();
    let runner = world.runner_of("r1", vec![agent("a", &[], WAITING)]).await;
    let (mut peak, mut late) = (0, 0);
    world.insert(&tasks).await;
    let look = async {
        loop {
            peak = peak.max(runner.loads()[0].in_flight);
            late += usize::from(!runner.is_confirmed());
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended = async {
        loop {
            let counts = world.store.task_counts().await.expect("counts");
            let count = |status| counts.get(&status).copied().unwrap_or(0);
            let (completed, failed) = (count(TaskStatus::Completed), count(TaskStatus::Failed));
            if completed + failed == WAITING as u64 {
                return failed;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let failed = tokio::select! {
        () = look => 0,
        failed = ended => failed,
    };
    runner.shutdown().await;
    let rss = peak_rss();
    // Both ends of every call are in this process, with the store.
    eprintln!("{peak} tasks in flight, peak RSS {rss} MiB, the lease was uncertain at {late} looks");
    assert_eq!((peak, late, failed), (WAITING, 0, 0));
    assert!(rss < 2_048);
}

/// The most memory this process has had, store and model server included, in MiB.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}
