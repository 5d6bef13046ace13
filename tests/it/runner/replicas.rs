//! Several replicas over one store: nothing is done twice, and the dead leave nothing behind.

use std::sync::mpsc;

use qron::clock;
use qron::config::Config;
use qron::domain::agent::AgentProfile;
use qron::domain::attempt::AttemptStatus;
use qron::domain::failure::FailureClass;
use qron::domain::task::{MAX_CRASHES, Task, TaskStatus};
use qron::llm::scripted::{Fault, Scenario, Script, ScriptedModel};
use qron::telemetry::exporter;
use serde_json::json;

use crate::support::eventually;
use crate::support::world::{World, agent, planned, sum};

const SHORT_LEASE: [(&str, &str); 2] = [("WORKER__LEASE_MS", "1500"), ("WORKER__HEARTBEAT_MS", "300")];

/// A runner that dies without a word: everything it has runs on a runtime of its own, which ends at once.
struct Doomed {
    runtime: Option<tokio::runtime::Runtime>,
}

impl Doomed {
    fn start(name: &str, agents: Vec<AgentProfile>, config: Config) -> Self {
        let name = name.to_owned();
        let (started, ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let world = World::over(config).await;
                world.runner_of(&name, agents).await;
            });
            started.send(runtime).expect("the test waits");
        });
        let runtime = ready.recv().expect("it starts");
        thread.join().expect("it started");
        Self { runtime: Some(runtime) }
    }

    fn kill(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A model that carries out steps as `acting` says, and then declares success.
async fn model_of(acting: Vec<Scenario>) -> ScriptedModel {
    let success = json!({"success": true, "answer": "done", "reason": "all steps are done"});
    let answer = Scenario::on("").purpose("answer").json(success);
    let acting = acting.into_iter().map(|scenario| scenario.purpose("act"));
    ScriptedModel::start(Script::new([answer].into_iter().chain(acting).collect())).await.expect("a model")
}

/// A model that never answers the first `hangs` calls, and then says that it is done.
async fn forgetful_model(hangs: u32) -> ScriptedModel {
    model_of(vec![Scenario::on("").fault(Fault::Hang, hangs).text("done")]).await
}

/// A task whose first step is done once, and whose second one needs the model.
fn two_steps(world: &World) -> Task {
    let act = json!({"id": "s2", "instruction": "say that you are done", "depends_on": ["s1"]});
    planned("two steps", &json!([world.web.step("s1", "open/first"), act]))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_do_nothing_twice() {
    let world = World::new(&[("SCHEDULER__WINDOW", "64")]).await;
    let tasks: Vec<Task> =
        (0..300).map(|index| planned("visit", &json!([world.web.step("s1", &format!("open/{index}"))]))).collect();
    world.insert(&tasks).await;
    let first = world.runner_of("r1", vec![agent("a", &[], 16)]).await;
    let second = world.runner_of("r2", vec![agent("a", &[], 16)]).await;
    world.until_count(TaskStatus::Completed, 300).await;
    first.shutdown().await;
    second.shutdown().await;
    let mut by_replica = std::collections::BTreeMap::new();
    for (index, task) in tasks.iter().enumerate() {
        assert_eq!(world.web.visits(&format!("open/{index}")), 1, "task {index}");
        let attempts = world.store.attempts(task.id).await.expect("readable");
        assert_eq!(attempts.len(), 1, "task {index}");
        *by_replica.entry(attempts[0].replica.clone()).or_insert(0) += 1;
    }
    assert_eq!(by_replica.len(), 2, "{by_replica:?}");
}

/// Whoever inserts wakes one replica, and the sweep never comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_learns_of_and_only_another_can_do_starts_there() {
    let world = World::new(&SHORT_LEASE).await;
    let other = |task: Task| task.with(|task| task.spec.agent = Some("other".into()));
    let told = world.runner_of("told", vec![agent("one", &[], 1)]).await;
    let able = world.runner_of("able", vec![agent("other", &[], 1)]).await;
    for _ in 0..3 {
        let inserted = other(sum("inserted through a replica that has no agent for it"));
        world.store.insert(std::slice::from_ref(&inserted)).await.expect("inserted");
        told.queue().wake();
        world.until(inserted.id, TaskStatus::Completed).await;
        let first = sum("done by the one").with(|task| task.spec.agent = Some("one".into()));
        let second = other(sum("done by the other")).with(|task| {
            task.spec.depends_on = vec![first.id];
            task.state.status = TaskStatus::Waiting;
        });
        let third = other(sum("due in a moment")).with(|task| task.spec.run_at = qron::clock::now().plus_millis(300));
        world.store.insert(&[first, second.clone(), third.clone()]).await.expect("inserted");
        told.queue().wake();
        world.until(second.id, TaskStatus::Completed).await;
        world.until(third.id, TaskStatus::Completed).await;
    }
    for runner in [told, able] {
        runner.shutdown().await;
    }
}

/// Whoever inserts wakes one replica, and the sweep never comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_replica_takes_what_a_full_one_has_no_room_for() {
    let world = World::new(&SHORT_LEASE).await;
    let long =
        planned("long", &json!([world.web.step("s1", "held/long")])).with(|task| task.spec.agent = Some("one".into()));
    world.insert(std::slice::from_ref(&long)).await;
    let full = world.runner_of("full", vec![agent("one", &[], 1)]).await;
    world.web.until_visited("held/long", 1).await;
    let idle = world.runner_of("idle", vec![agent("other", &[], 1)]).await;
    for _ in 0..2 {
        let task = sum("announced to the full one");
        world.store.insert(std::slice::from_ref(&task)).await.expect("inserted");
        full.queue().wake();
        world.until(task.id, TaskStatus::Completed).await;
    }
    world.web.release("long");
    world.until(long.id, TaskStatus::Completed).await;
    for runner in [full, idle] {
        runner.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tasks_of_a_dead_replica_go_on_elsewhere_from_their_checkpoint() {
    let model = forgetful_model(1).await;
    let url = model.base_url();
    let world = World::new(&[SHORT_LEASE[0], SHORT_LEASE[1], ("MODEL__BASE_URL", &url)]).await;
    let task = two_steps(&world);
    // Before the start: as another process it has a wake of its own, and its first sweep finds the task.
    world.insert(std::slice::from_ref(&task)).await;
    let doomed = Doomed::start("doomed", world.agents(), world.config.clone());
    let idle = world.runner_of("idle", Vec::new()).await;
    eventually("the first step is recorded and the model is asked for the second", async || {
        let attempts = world.store.attempts(task.id).await.map_err(|error| error.to_string())?;
        let done = attempts.iter().any(|attempt| attempt.progress.done == 1);
        let asked = model.in_flight();
        if done && asked == 1 { Ok(()) } else { Err(format!("recorded: {done}, {asked} asked")) }
    })
    .await;
    doomed.kill();
    let heir = world.runner("heir").await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!((done.state.crashes, done.state.attempt), (1, 0));
    assert_eq!(world.web.visits("open/first"), 1, "the recorded step is not repeated");
    for runner in [idle, heir] {
        runner.shutdown().await;
    }
    let attempts = world.store.attempts(task.id).await.expect("readable");
    let replicas: Vec<&str> = attempts.iter().map(|attempt| attempt.replica.as_str()).collect();
    assert_eq!(replicas, ["doomed", "heir"]);
    assert!(world.store.replicas().await.expect("readable").is_empty(), "the dead have no record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_takes_its_process_down_three_times_is_given_up() {
    let model = forgetful_model(100).await;
    let url = model.base_url();
    let world = World::new(&[SHORT_LEASE[0], SHORT_LEASE[1], ("MODEL__BASE_URL", &url)]).await;
    let task = planned("one step", &json!([{"id": "s1", "instruction": "say that you are done"}]));
    world.insert(std::slice::from_ref(&task)).await;
    let observer = world.runner_of("observer", Vec::new()).await;
    for crash in 1..=3_u32 {
        let doomed = Doomed::start(&format!("doomed{crash}"), world.agents(), world.config.clone());
        eventually("the model is asked", async || {
            if model.requests().len() >= crash as usize { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        doomed.kill();
        eventually("it is taken back", async || {
            let task = world.task(task.id).await;
            if task.state.crashes == crash {
                Ok(())
            } else {
                Err(format!("{} {}", task.state.status, task.state.crashes))
            }
        })
        .await;
    }
    let failed = world.until(task.id, TaskStatus::Failed).await;
    assert_eq!(failed.state.error.expect("a reason").class, FailureClass::Crashed);
    let letter = eventually("it is a dead letter", async || {
        world.store.dead_letter(task.id).await.map_err(|error| error.to_string())?.ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!((letter.attempts, letter.failure.class), (3, FailureClass::Crashed));
    observer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_took_its_process_down_counts_as_failed() {
    exporter::install(clock::now()).expect("the only recorder");
    let world = World::new(&SHORT_LEASE).await;
    let deadly = planned("is there when it dies", &json!([world.web.step("s1", "held/deadly")])).with(|task| {
        task.spec.agent = Some("perilous".to_owned());
        task.state.crashes = MAX_CRASHES - 1;
    });
    world.insert(std::slice::from_ref(&deadly)).await;
    let doomed = Doomed::start("doomed", vec![agent("perilous", &[], 1)], world.config.clone());
    world.web.until_visited("held/deadly", 1).await;
    doomed.kill();
    let heir = world.runner_of("heir", Vec::new()).await;
    world.until(deadly.id, TaskStatus::Failed).await;
    let series = "qron_tasks_failed_total{agent=\"perilous\",class=\"crashed\"} 1";
    eventually("it is counted", async || {
        let text = exporter::render();
        let failed = || text.lines().filter(|line| line.starts_with("qron_tasks_failed_total")).collect::<Vec<_>>();
        if text.lines().any(|line| line == series) { Ok(()) } else { Err(format!("{:?}", failed())) }
    })
    .await;
    heir.shutdown().await;
}

/// One of them may be deadly: it must not take the others along.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_one_more_crash_would_end_run_one_at_a_time_beside_the_others() {
    let world = World::new(&[]).await;
    let suspect = |index: usize| {
        planned("was there twice", &json!([world.web.step("s1", &format!("held/{index}"))]))
            .with(|task| task.state.crashes = MAX_CRASHES - 1)
    };
    let suspects: Vec<Task> = (0..3).map(suspect).collect();
    world.insert(&suspects).await;
    let runner = world.runner_of("r1", vec![agent("one", &[], 4)]).await;
    let page = |index: usize| format!("held/{index}");
    for round in 1..=suspects.len() {
        let at_work = eventually("the next one runs", async || {
            let visited = |index: &usize| world.web.visits(&page(*index)) == 1;
            let running = (0..suspects.len()).filter(visited).count();
            if running < round { Err(format!("{running} of {round} have been started")) } else { Ok(running) }
        })
        .await;
        assert_eq!(at_work, round, "no two of them at once");
        let other = sum("beside it");
        world.insert(std::slice::from_ref(&other)).await;
        world.until(other.id, TaskStatus::Completed).await;
        // The outcome of the one before may still be on its way.
        world.until_count(TaskStatus::Running, 1).await;
        for index in (0..suspects.len()).filter(|index| world.web.visits(&page(*index)) == 1) {
            world.web.release(&index.to_string());
        }
    }
    world.until_count(TaskStatus::Completed, 6).await;
    runner.shutdown().await;
    let mut waited = 0;
    for task in &suspects {
        waited += usize::from(world.history(task.id).await.contains(&"kept_apart".to_owned()));
    }
    assert_eq!(waited, 2, "it is told why they waited");
}

/// A task that moves on between crashes is not what takes the process down, however often it is hit.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_moves_on_survives_any_number_of_crashes() {
    const STEPS: usize = 5;
    // Each step but the first hangs once, so each life of the task does one step and hangs in the next.
    let first = Scenario::on("").contains("<step id=\"s1\">").text("done");
    let model = model_of(vec![first, Scenario::on("").fault(Fault::Hang, 1).text("done")]).await;
    let url = model.base_url();
    let world = World::new(&[SHORT_LEASE[0], SHORT_LEASE[1], ("MODEL__BASE_URL", &url)]).await;
    let step = |index: usize| {
        let before: Vec<String> = (1..index).map(|index| format!("s{index}")).collect();
        json!({"id": format!("s{index}"), "instruction": "say that you are done", "depends_on": before})
    };
    let task = planned("five steps", &(1..=STEPS).map(step).collect());
    world.insert(std::slice::from_ref(&task)).await;
    for life in 1..STEPS {
        let doomed = Doomed::start(&format!("doomed{life}"), world.agents(), world.config.clone());
        eventually("a step is recorded and the model is asked for the next one", async || {
            let attempts = world.store.attempts(task.id).await.map_err(|error| error.to_string())?;
            let done = attempts.iter().map(|attempt| attempt.progress.done as usize).max().unwrap_or(0);
            let asked = model.requests().len();
            if done == life && asked == 2 * life { Ok(()) } else { Err(format!("{done} done, {asked} asked")) }
        })
        .await;
        doomed.kill();
        let heir = world.runner_of("heir", Vec::new()).await;
        assert_eq!(heir.rescue_now(&format!("doomed{life}")).await.expect("rescued"), 1);
        heir.shutdown().await;
    }
    let last = world.runner("last").await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!((done.state.attempt, done.state.crashes), (0, 2));
    last.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_task_goes_on_elsewhere_from_its_checkpoint() {
    let model = forgetful_model(1).await;
    let url = model.base_url();
    let world = World::new(&[("WORKER__GRACE_S", "0"), ("MODEL__BASE_URL", &url)]).await;
    let first = world.runner("first").await;
    let task = two_steps(&world);
    world.insert(std::slice::from_ref(&task)).await;
    eventually("the model is asked", async || if model.in_flight() == 1 { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
    first.shutdown().await;
    let second = world.runner("second").await;
    let done = world.until(task.id, TaskStatus::Completed).await;
    assert_eq!((done.state.attempt, done.state.releases, done.state.crashes), (0, 1, 0));
    assert_eq!(world.web.visits("open/first"), 1, "the recorded step is not repeated");
    second.shutdown().await;
    let statuses: Vec<_> =
        world.store.attempts(task.id).await.expect("readable").into_iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [AttemptStatus::Released, AttemptStatus::Completed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proven_death_of_a_replica_needs_no_lease() {
    let model = forgetful_model(1).await;
    let url = model.base_url();
    let world = World::new(&[("WORKER__LEASE_MS", "3600000"), ("MODEL__BASE_URL", &url)]).await;
    let task = two_steps(&world);
    world.insert(std::slice::from_ref(&task)).await;
    let doomed = Doomed::start("doomed", world.agents(), world.config.clone());
    eventually("the model is asked", async || if model.in_flight() == 1 { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
    doomed.kill();
    let heir = world.runner("heir").await;
    assert_eq!(heir.rescue_now("doomed").await.expect("rescued"), 1);
    world.until(task.id, TaskStatus::Completed).await;
    heir.shutdown().await;
}

/// Its own tasks are handed back by a replica that finds them in the store but does not run them.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_nobody_answers_for_is_given_back() {
    let world = World::new(&SHORT_LEASE).await;
    let lost_here = sum("claimed by r1, which does not know");
    let lost_elsewhere = sum("claimed by a replica without a record");
    world.insert(&[lost_here.clone(), lost_elsewhere.clone()]).await;
    for (task, owner) in [(&lost_here, "r1"), (&lost_elsewhere, "nobody")] {
        let claim = qron::domain::task::Claim { token: format!("token of {owner}"), owner: owner.to_owned() };
        let won = world.store.claim(&[task.id], &claim, qron::clock::now()).await.expect("claimed");
        assert_eq!(won.len(), 1);
    }
    let runner = world.runner("r1").await;
    assert_eq!(world.until(lost_here.id, TaskStatus::Completed).await.state.releases, 1);
    assert_eq!(world.until(lost_elsewhere.id, TaskStatus::Completed).await.state.crashes, 1);
    runner.shutdown().await;
}
