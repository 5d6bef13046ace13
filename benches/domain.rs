//! The pure parts that every task passes through: `cargo bench --bench domain`.

use std::hint::black_box;

use criterion::Criterion;
use qron::domain::agent::{AgentLoad, AgentProfile, route};
use qron::domain::id::TaskId;
use qron::domain::plan::Plan;
use qron::domain::task::{Claim, Task, TaskEvent};
use qron::domain::time::Timestamp;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

fn plan(steps: usize) -> Plan {
    let step = |index: usize| {
        let before = (index > 0).then(|| format!("s{}", index - 1));
        json!({"id": format!("s{index}"), "tool": "calculate", "arguments": {"expression": "1 + 1"},
            "depends_on": before.into_iter().collect::<Vec<_>>()})
    };
    let steps: Vec<_> = (0..steps).map(step).collect();
    serde_json::from_value(json!({ "steps": steps })).expect("a plan")
}

fn transitions(bench: &mut Criterion) {
    let task = Task::new(TaskId::fresh(), "do it", NOW).with(|task| task.spec.plan = Some(plan(8)));
    let claimed = TaskEvent::Claimed(Claim { token: "t".into(), owner: "r".into() });
    bench.bench_function("a task is claimed and completed", |bench| {
        bench.iter(|| {
            let running = black_box(&task).apply(&claimed, NOW).expect("legal");
            running.apply(&TaskEvent::Completed(json!(1)), NOW).expect("legal")
        });
    });
}

fn plans(bench: &mut Criterion) {
    for steps in [1, 8, 50] {
        let plan = plan(steps);
        bench.bench_function(&format!("a plan of {steps} steps is checked"), |bench| {
            bench.iter(|| black_box(&plan).validate(&["calculate"]).expect("valid"));
        });
    }
}

fn routing(bench: &mut Criterion) {
    let agent = |index: usize| -> AgentProfile {
        let words = json!([format!("skill{index}"), "any"]);
        serde_json::from_value(json!({"name": format!("a{index}"), "capabilities": words})).expect("an agent")
    };
    let profiles: Vec<AgentProfile> = (0..32).map(agent).collect();
    let loads: Vec<AgentLoad<'_>> = profiles
        .iter()
        .map(|profile| AgentLoad { profile, in_flight: 1, paused: false, model_room: usize::MAX })
        .collect();
    let wanted = ["skill31".to_owned()];
    bench.bench_function("a task finds its agent among 32", |bench| {
        bench.iter(|| route(None, black_box(&wanted), true, &loads));
    });
}

fn main() {
    let mut bench = Criterion::default().configure_from_args();
    transitions(&mut bench);
    plans(&mut bench);
    routing(&mut bench);
    bench.final_summary();
}
