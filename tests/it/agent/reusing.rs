//! Runs of a schedule that begin with the plan of earlier ones, and runs that ask no model at all.

use qron::agent::{Checkpoint, Outcome};
use qron::clock;
use qron::domain::failure::Failure;
use qron::domain::plan_reuse::PlanDecision;
use qron::domain::schedule::zone::Zone;
use qron::domain::schedule::{Definition, Schedule};
use qron::domain::task::{Task, TaskStatus};
use qron::llm::scripted::Scenario;
use serde_json::{Value, json};

use super::bed::{Bed, Traces, judged, success, task, written};

const GOAL: &str = "Read the board and say how it is";

/// A plan whose step `s` answers.
fn plan_with(steps: &[Value]) -> Value {
    json!({"analysis": "clear", "steps": steps, "answer": "s"})
}

fn reading() -> Value {
    plan_with(&[written("a", "board", &json!({}), &[]), judged("s", "Say how it is: ${a.state}", &[])])
}

/// A model that reads the board and says what it shows.
fn reader() -> Vec<Scenario> {
    vec![
        Scenario::on("the board").purpose("plan").json(reading()),
        Scenario::on("the board")
            .purpose("replan")
            .json(plan_with(&[written("b", "board", &json!({}), &[]), judged("s", "Say how it is now: ${b}", &[])])),
        Scenario::on("the board").purpose("act").contains("is red").text("It is red."),
        Scenario::on("the board").purpose("act").text("All is green."),
        Scenario::on("the board").purpose("answer").json(success("All is green.")),
    ]
}

fn firing(goal: &str) -> Task {
    task(goal).with(|task| {
        task.spec.schedule_id = Some("board".to_owned());
        task.spec.context.insert("schedule".to_owned(), json!("board"));
        // To the millisecond, because no two firings have one time.
        task.spec.context.insert("fire_time".to_owned(), json!(clock::now().to_rfc3339()));
    })
}

/// Runs a firing and keeps its result, as a worker does; returns what it answered, the purposes of its model calls and its events.
async fn fire(bed: &Bed, goal: &str) -> (Value, Vec<String>, Vec<String>) {
    let (before, firing) = (bed.model.requests().len(), firing(goal));
    let (outcome, traces) = bed.run(&firing).await;
    let result = keep(bed, &firing, &outcome).await;
    let asked = bed.model.requests()[before..].iter().map(|request| request.purpose.clone()).collect();
    (result, asked, traces.kinds())
}

async fn keep(bed: &Bed, firing: &Task, outcome: &Outcome) -> Value {
    let result = outcome.result.clone().expect("a success");
    let ended = firing.clone().with(|task| {
        (task.state.status, task.state.result) = (TaskStatus::Completed, Some(result.clone()));
    });
    bed.store.insert(&[ended]).await.expect("inserted");
    result
}

#[tokio::test]
async fn the_third_run_makes_no_plan_and_one_with_unchanged_inputs_asks_no_model() {
    let bed = Bed::new(reader()).await;
    for _ in 0..2 {
        let (result, asked, _) = fire(&bed, GOAL).await;
        assert_eq!(
            (result["output"].clone(), asked),
            (json!("All is green."), vec!["plan".to_owned(), "act".to_owned()])
        );
    }
    let (result, asked, kinds) = fire(&bed, GOAL).await;
    assert_eq!(asked, Vec::<String>::new(), "{kinds:?}");
    assert_eq!((&result["output"], &result["unchanged"]), (&json!("All is green."), &json!(true)));
    assert!(kinds.contains(&"unchanged".to_owned()) && kinds.contains(&"planned".to_owned()), "{kinds:?}");

    bed.board.shows(Ok(json!({"state": "one is red"})));
    let (result, asked, _) = fire(&bed, GOAL).await;
    assert_eq!(
        (result["output"].clone(), asked),
        (json!("It is red."), vec!["act".to_owned()]),
        "only the board has changed"
    );
    assert_eq!(result.get("unchanged"), None);
    let (result, asked, _) = fire(&bed, GOAL).await;
    assert_eq!((result["output"].clone(), asked.len()), (json!("It is red."), 0), "and has not changed since");
    bed.board.shows(Ok(json!({"state": "all is green"})));
    let (result, asked, _) = fire(&bed, GOAL).await;
    assert_eq!(
        (result["output"].clone(), asked),
        (json!("All is green."), vec!["act".to_owned()]),
        "the last run counts"
    );
}

/// A bed with an adopted plan.
async fn adopted(scenarios: Vec<Scenario>) -> Bed {
    let bed = Bed::new(scenarios).await;
    for _ in 0..2 {
        fire(&bed, GOAL).await;
    }
    bed
}

#[tokio::test]
async fn a_plan_that_has_gone_stale_is_made_anew_in_the_same_run_and_set_aside() {
    for stale in [Err(Failure::permanent("answered 404")), Ok(json!({"status": "one is red"}))] {
        let bed = adopted(reader()).await;
        let is_gone = stale.is_err();
        bed.board.shows(stale);
        let firing = firing(GOAL);
        let before = bed.model.requests().len();
        if is_gone {
            // The page is there again under the new plan.
            let (outcome, _) = bed.run(&firing).await;
            let failure = outcome.result.expect_err("the board stays away");
            assert!(failure.message.contains("404"), "{failure}");
        } else {
            let (outcome, _) = bed.run(&firing).await;
            assert_eq!(keep(&bed, &firing, &outcome).await["output"], json!("It is red."));
        }
        let asked: Vec<String> = bed.model.requests()[before..].iter().map(|request| request.purpose.clone()).collect();
        assert_eq!(asked[0], "replan", "{asked:?}");
        bed.board.shows(Ok(json!({"state": "all is green"})));
        let (_, asked, _) = fire(&bed, GOAL).await;
        assert_eq!(asked, ["plan", "act"], "it is set aside");
    }
}

#[tokio::test]
async fn another_goal_agent_model_or_tool_makes_a_new_plan() {
    let mut bed = adopted(reader()).await;
    assert_eq!(fire(&bed, GOAL).await.1.len(), 0);
    assert_eq!(fire(&bed, "Read the board and say how it is, in a word").await.1, ["plan", "act"]);
    bed.profile.tools = vec!["board".to_owned()];
    assert_eq!(fire(&bed, GOAL).await.1, ["plan", "act"], "other tools");
    let tools = std::mem::replace(&mut bed.profile.tools, vec!["*".to_owned()]);
    assert_eq!(tools, ["board"]);
    bed.profile.model = Some("gpt-6".to_owned());
    assert_eq!(fire(&bed, GOAL).await.1, ["plan", "act"], "another model");
    bed.profile.model = None;
    bed.profile.instructions = "Be brief.".to_owned();
    assert_eq!(fire(&bed, GOAL).await.1, ["plan", "act"], "other instructions");
}

#[tokio::test]
async fn an_answer_that_wants_more_makes_a_new_plan() {
    let only_tools = json!({"analysis": "clear", "steps": [written("a", "board", &json!({}), &[])], "answer": null});
    let more = json!({"outcome": "more", "answer": "", "reason": "the details are missing"});
    let bed = adopted(vec![
        Scenario::on("the board").purpose("plan").json(only_tools),
        Scenario::on("the board").purpose("replan").json(plan_with(&[judged("s", "Say it is red: ${a}", &[])])),
        Scenario::on("the board").purpose("act").text("It is red."),
        Scenario::on("the board").purpose("answer").contains("is red").json(more),
        Scenario::on("the board").purpose("answer").json(success("All is green.")),
    ])
    .await;
    assert_eq!(fire(&bed, GOAL).await.1.len(), 0);
    bed.board.shows(Ok(json!({"state": "one is red"})));
    let (result, asked, _) = fire(&bed, GOAL).await;
    assert_eq!(
        (result["output"].clone(), asked),
        (json!("It is red."), vec!["answer".into(), "replan".into(), "act".into()])
    );
}

#[tokio::test]
async fn an_answer_that_depends_on_the_clock_is_never_taken_over() {
    let today = Zone::default().date(clock::now());
    for (goal, answer) in [
        ("Read the board and say how it is", format!("On {today} all is green.")),
        ("Read the board and say how it is today", "All is green.".to_owned()),
        ("Read the board and say how it is", "7 days are left.".to_owned()),
    ] {
        let bed = Bed::new(vec![
            Scenario::on("the board").purpose("plan").json(reading()),
            Scenario::on("the board").purpose("act").text(answer.clone()),
        ])
        .await;
        for _ in 0..2 {
            fire(&bed, goal).await;
        }
        let (result, asked, _) = fire(&bed, goal).await;
        assert_eq!((result["output"].clone(), asked), (json!(answer), vec!["act".to_owned()]));
    }
}

#[tokio::test]
async fn another_replica_and_a_restart_know_the_plan() {
    let bed = Bed::new(reader()).await;
    fire(&bed, GOAL).await;
    let other = bed.beside(reader()).await;
    fire(&other, GOAL).await;
    assert_eq!(fire(&bed, GOAL).await.1.len(), 0);
    assert_eq!(fire(&other, GOAL).await.1.len(), 0);

    // A run that begins with the plan goes on in another process.
    bed.board.shows(Ok(json!({"state": "one is red"})));
    let firing = firing(GOAL);
    let (_, traces) = bed.run(&firing).await;
    let Checkpoint { state, .. } = traces.checkpoints.lock().expect("checkpoints").first().cloned().expect("one");
    let last = bed.beside(reader()).await;
    let traces = Traces::default();
    let outcome = last.agent.run(&firing, &last.profile, Some(state), &traces).await;
    assert_eq!(outcome.result.expect("a success")["output"], json!("It is red."));
    let asked: Vec<String> = last.model.requests().iter().map(|request| request.purpose.clone()).collect();
    assert_eq!(asked, ["act"]);
}

#[tokio::test]
async fn a_reused_plan_needs_the_approvals_that_a_plan_of_a_model_needs() {
    let mut bed = adopted(reader()).await;
    bed.profile.needs_approval = vec!["board".to_owned()];
    let (outcome, _) = bed.run(&firing(GOAL)).await;
    assert_eq!(outcome.approvals_requested.len(), 1);
}

#[tokio::test]
async fn people_pin_and_forget_a_plan() {
    let bed = adopted(reader()).await;
    let definition = json!({"spec": {"every_ms": 60_000}, "zone": "UTC", "task": {"goal": GOAL}});
    let definition: Definition = serde_json::from_value(definition).expect("a definition");
    let schedule = Schedule::new("board", definition, clock::now());
    let stored = bed.store.insert_schedule(&schedule).await.expect("stored").expect("new");
    assert_eq!(fire(&bed, GOAL).await.1.len(), 0);
    let forgotten = Schedule { plan_decision: PlanDecision::forget(clock::now()), ..stored.clone() };
    bed.store.replace_schedule(&stored, &forgotten).await.expect("stored").expect("unchanged");
    assert_eq!(fire(&bed, GOAL).await.1, ["plan", "act"]);
    assert_eq!(fire(&bed, GOAL).await.1, ["plan", "act"]);
    assert_eq!(fire(&bed, GOAL).await.1.len(), 0);
}
