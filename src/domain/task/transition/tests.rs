//! What each event does to tasks of each status, compared with the documented diagram.

use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const LATER: Timestamp = Timestamp::from_millis(2_000_000);

fn task(status: TaskStatus) -> Task {
    Task::new(TaskId::Number(1), "do it", NOW).with(|task| task.state.status = status)
}

fn events() -> Vec<TaskEvent> {
    let claim = Claim { token: "t".into(), owner: "r".into() };
    vec![
        TaskEvent::DependenciesDone,
        TaskEvent::DependencyFailed(TaskId::Number(2)),
        TaskEvent::WaitsInCycle(DependencyCycle(vec![TaskId::Number(1), TaskId::Number(1)])),
        TaskEvent::Claimed(claim),
        TaskEvent::Completed(json!(1)),
        TaskEvent::Failed(Failure::permanent("no")),
        TaskEvent::RetryAt(LATER, Failure::transient("busy")),
        TaskEvent::Released,
        TaskEvent::Postponed(LATER, postponement()),
        TaskEvent::Rescued,
        TaskEvent::CancelRequested,
        TaskEvent::StepWithdrawn,
        TaskEvent::Cancelled,
        TaskEvent::Requeued,
        TaskEvent::ApprovalNeeded(vec![asked("one", Subject::Task)]),
        TaskEvent::TasksAwaited(awaited()),
        TaskEvent::AwaitedTaskEnded,
        TaskEvent::Approved(ruling("one")),
        TaskEvent::Denied(ruling("one")),
        TaskEvent::ApprovalExpired,
        TaskEvent::Reprioritised(9),
        TaskEvent::Snoozed(LATER),
    ]
}

fn postponement() -> Postponement {
    Postponement {
        model: "m".into(),
        since: NOW,
        times: 1,
        last: NOW,
        not_before: None,
        cause: Failure::unavailable("cannot connect"),
    }
}

fn claim() -> Claim {
    Claim { token: "t".into(), owner: "r".into() }
}

fn awaited() -> Awaited {
    Awaited { tasks: vec![TaskId::Number(2)], look_at: LATER }
}

fn ruling(hash: &str) -> Ruling {
    Ruling { hashes: vec![hash.to_owned()], by: Some("ada".into()), note: None }
}

fn asked(hash: &str, subject: Subject) -> Approval {
    Approval::new(hash, subject, NOW, None)
}

fn a_call() -> Subject {
    let extra = serde_json::Map::new();
    Subject::Call { id: "s#1".into(), step: "s".into(), tool: "send".into(), arguments: "{}".into(), extra }
}

/// Tasks of `status` that differ in what decides about the next one.
fn variants(status: TaskStatus) -> Vec<Task> {
    let over = |subject| Approval { expires_at: Some(LATER), ..asked("two", subject) };
    let asks = [
        vec![],
        vec![asked("one", Subject::Task)],
        vec![asked("one", a_call())],
        vec![asked("one", a_call()), asked("two", a_call())],
        vec![over(Subject::Task)],
        vec![over(a_call())],
        vec![over(a_call()), asked("one", a_call())],
    ];
    let with = |approvals: Vec<Approval>| {
        let asking = task(status).with(|task| task.state.approvals = approvals);
        let claimed = asking.clone().with(|task| task.state.claim = Some(claim()));
        let crashing = asking.clone().with(|task| task.state.crashes = MAX_CRASHES - 1);
        [asking.clone().with(|task| task.spec.depends_on = vec![TaskId::Number(2)]), asking, claimed, crashing]
    };
    asks.into_iter().flat_map(with).collect()
}

/// The diagram of docs/lifecycle.md and the code say the same.
#[test]
fn the_documented_diagram_is_the_code() {
    let mut drawn: Vec<String> = include_str!("../../../../docs/lifecycle.md")
        .lines()
        .filter_map(|line| line.trim().split_once(" --> "))
        .filter(|(from, _)| *from != "[*]")
        .filter_map(|(from, rest)| rest.split_once(": ").map(|(to, event)| (from, to, event)))
        .flat_map(|(from, to, events)| events.split(", ").map(move |event| format!("{from} {event} {to}")))
        .collect();
    let mut coded = Vec::new();
    for status in TaskStatus::ALL {
        for event in events() {
            for before in variants(status) {
                if let Ok(after) = before.apply(&event, LATER) {
                    coded.push(format!("{status} {} {}", event.name(), after.state.status));
                }
            }
        }
    }
    drawn.sort();
    coded.sort();
    coded.dedup();
    assert_eq!(drawn, coded);
}

#[test]
fn only_a_running_task_holds_a_claim_and_only_a_terminal_one_is_finished() {
    for status in TaskStatus::ALL {
        for event in events() {
            let mut before = task(status);
            if status == TaskStatus::Running {
                before.state.claim = Some(Claim { token: "t".into(), owner: "r".into() });
            }
            let Ok(after) = before.apply(&event, LATER) else { continue };
            assert_eq!(
                after.state.claim.is_some(),
                after.state.status == TaskStatus::Running,
                "{status} {}",
                event.name()
            );
            assert_eq!(
                after.state.finished_at.is_some(),
                after.state.status.is_terminal(),
                "{status} {}",
                event.name()
            );
            assert_eq!(after.state.updated_at, LATER);
        }
    }
}

#[test]
fn a_run_that_waits_for_tasks_keeps_them_in_mind_until_it_goes_on() {
    let running = task(TaskStatus::Running).with(|task| {
        task.state.claim = Some(Claim { token: "t".into(), owner: "r".into() });
        task.spec.depends_on = vec![TaskId::Number(9)];
    });
    let waiting = running.apply(&TaskEvent::TasksAwaited(awaited()), LATER).expect("legal");
    assert_eq!((waiting.state.awaits.clone(), waiting.state.releases), (Some(awaited()), 1));
    // An older version takes it for a task whose dependencies are done.
    for event in [TaskEvent::AwaitedTaskEnded, TaskEvent::DependenciesDone] {
        let on = waiting.apply(&event, LATER).expect("legal");
        assert_eq!((on.state.status, on.state.awaits, on.state.attempt), (TaskStatus::Pending, None, 0));
    }
    let cancelled = waiting.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    assert_eq!((cancelled.state.status, cancelled.state.awaits), (TaskStatus::Cancelled, None));
}

#[test]
fn a_task_goes_on_once_all_its_calls_are_decided() {
    let mut waiting = task(TaskStatus::AwaitingApproval).with(|task| task.state.releases = 1);
    waiting.state.approvals = vec![asked("one", a_call()), asked("two", a_call())];
    let half = waiting.apply(&TaskEvent::Approved(ruling("one")), LATER).expect("legal");
    assert_eq!(half.state.status, TaskStatus::AwaitingApproval);
    assert!(half.apply(&TaskEvent::Approved(ruling("one")), LATER).is_err(), "decided once");
    assert!(half.apply(&TaskEvent::Approved(ruling("three")), LATER).is_err(), "not asked");
    let whole = half.apply(&TaskEvent::Denied(ruling("two")), LATER).expect("legal");
    assert_eq!(whole.state.status, TaskStatus::Pending);
    let verdicts: Vec<_> = whole.state.approvals.iter().filter_map(|a| Some(a.decision.as_ref()?.verdict)).collect();
    assert_eq!(verdicts, [ApprovalOutcome::Approved, ApprovalOutcome::Denied]);
}

#[test]
fn doing_a_task_again_does_not_get_around_its_approval() {
    let mut denied = task(TaskStatus::AwaitingApproval);
    denied.state.approvals = vec![asked("one", Subject::Task)];
    let denied = denied.apply(&TaskEvent::Denied(ruling("one")), LATER).expect("legal");
    assert_eq!(denied.state.status, TaskStatus::Cancelled);
    let again = denied.apply(&TaskEvent::Requeued, LATER).expect("legal");
    assert_eq!(again.state.status, TaskStatus::AwaitingApproval);
    let approved = again.apply(&TaskEvent::Approved(ruling("one")), LATER).expect("asked anew");
    let failed = approved.with(|task| task.state.status = TaskStatus::Failed);
    assert_eq!(failed.apply(&TaskEvent::Requeued, LATER).expect("legal").state.status, TaskStatus::Pending);
}

#[test]
fn only_failures_are_charged() {
    let running = task(TaskStatus::Running);
    let charged = |event| running.apply(&event, LATER).expect("legal").state.attempt;
    assert_eq!(charged(TaskEvent::Released), 0);
    assert_eq!(charged(TaskEvent::Postponed(LATER, postponement())), 0);
    assert_eq!(charged(TaskEvent::Rescued), 0);
    assert_eq!(charged(TaskEvent::Completed(json!(null))), 0);
    assert_eq!(charged(TaskEvent::RetryAt(LATER, Failure::transient("x"))), 1);
    assert_eq!(charged(TaskEvent::Failed(Failure::permanent("x"))), 1);
}

#[test]
fn a_task_says_why_it_waits_for_its_model_until_it_goes_on() {
    let waiting = task(TaskStatus::Running).apply(&TaskEvent::Postponed(LATER, postponement()), NOW).expect("legal");
    assert_eq!((waiting.state.status, waiting.spec.run_at, waiting.state.releases), (TaskStatus::Pending, LATER, 1));
    assert_eq!((&waiting.state.postponed, &waiting.state.error), (&Some(postponement()), &None));
    let claim = Claim { token: "t".into(), owner: "r".into() };
    let running = waiting.apply(&TaskEvent::Claimed(claim), LATER).expect("legal");
    assert!(running.state.postponed.is_some(), "a try says nothing yet");
    for event in [
        TaskEvent::Completed(json!(1)),
        TaskEvent::Failed(Failure::permanent("no")),
        TaskEvent::RetryAt(LATER, Failure::transient("busy")),
        TaskEvent::Cancelled,
        TaskEvent::ApprovalNeeded(vec![asked("one", Subject::Task)]),
        TaskEvent::Released,
        TaskEvent::Rescued,
    ] {
        assert_eq!(running.apply(&event, LATER).expect("legal").state.postponed, None, "{}", event.name());
    }
    let failed = task(TaskStatus::Failed).with(|task| task.state.postponed = Some(postponement()));
    assert_eq!(failed.apply(&TaskEvent::Requeued, LATER).expect("legal").state.postponed, None);
}

#[test]
fn the_third_crash_ends_a_task() {
    let poisonous = task(TaskStatus::Running).with(|task| task.state.crashes = 2);
    let after = poisonous.apply(&TaskEvent::Rescued, LATER).expect("legal");
    assert_eq!(after.state.status, TaskStatus::Failed);
    assert_eq!(after.state.error.expect("a reason").class, FailureClass::Crashed);
}

/// The next run goes on from the checkpoint with the highest number: a number that came again would lead it back.
#[test]
fn no_run_has_the_number_of_an_earlier_one() {
    let mut dice = 1_u64;
    let (mut current, mut last, mut requeued) = (task(TaskStatus::Pending), 0, 0);
    for _ in 0..50_000 {
        // Knuth's linear congruential generator.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let events = events();
        let event = &events[usize::try_from(dice >> 33).expect("31 bits") % events.len()];
        let Ok(next) = current.apply(event, LATER) else { continue };
        match event {
            TaskEvent::Claimed(_) => {
                assert!(
                    next.state.earlier_runs() + 1 > last,
                    "run {last} is followed by {}",
                    next.state.earlier_runs() + 1
                );
                last = next.state.earlier_runs() + 1;
            }
            TaskEvent::Requeued => requeued += 1,
            _ => {}
        }
        let is_over = matches!(next.state.status, TaskStatus::Completed);
        (current, last) = if is_over { (task(TaskStatus::Pending), 0) } else { (next, last) };
    }
    assert!(requeued > 100, "requeued {requeued} times");
}

#[test]
fn a_run_that_was_cancelled_counts_and_one_that_never_began_does_not() {
    let (pending, running) = (task(TaskStatus::Pending), task(TaskStatus::Running));
    let again = |cancelled: Task| cancelled.apply(&TaskEvent::Requeued, LATER).expect("legal").state.earlier_runs();
    assert_eq!(again(pending.apply(&TaskEvent::CancelRequested, LATER).expect("legal")), 0);
    assert_eq!(again(running.apply(&TaskEvent::Cancelled, LATER).expect("legal")), 1);
}

#[test]
fn what_never_ran_waits_for_its_dependencies_after_it_was_requeued_and_approved() {
    let asking = task(TaskStatus::AwaitingApproval).with(|task| {
        task.spec.depends_on = vec![TaskId::Number(2)];
        task.state.approvals = vec![asked("one", Subject::Task)];
    });
    let approved = |task: &Task| task.apply(&TaskEvent::Approved(ruling("one")), LATER).expect("legal");
    let denied = asking.apply(&TaskEvent::Denied(ruling("one")), LATER).expect("legal");
    let cancelled = asking.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    for ended in [denied, cancelled] {
        let again = ended.apply(&TaskEvent::Requeued, LATER).expect("legal");
        assert_eq!(
            (again.state.status, approved(&again).state.status),
            (TaskStatus::AwaitingApproval, TaskStatus::Waiting)
        );
    }
}

#[test]
fn a_step_remembers_that_its_parent_withdrew_it_until_it_is_requeued() {
    let running = task(TaskStatus::Running).with(|task| task.state.claim = Some(claim()));
    let stopped = |first: &[TaskEvent]| {
        let asked = first.iter().fold(running.clone(), |task, event| task.apply(event, LATER).expect("legal"));
        assert!(asked.state.cancel_requested);
        asked.apply(&TaskEvent::Cancelled, LATER).expect("legal")
    };
    assert!(stopped(&[TaskEvent::StepWithdrawn]).state.withdrawn);
    assert!(stopped(&[TaskEvent::StepWithdrawn, TaskEvent::CancelRequested]).state.withdrawn);
    assert!(!stopped(&[TaskEvent::CancelRequested]).state.withdrawn, "a person cancelled it");
    let pending = task(TaskStatus::Pending);
    let withdrawn = pending.apply(&TaskEvent::StepWithdrawn, LATER).expect("legal");
    assert_eq!((withdrawn.state.status, withdrawn.state.withdrawn), (TaskStatus::Cancelled, true));
    assert!(!withdrawn.apply(&TaskEvent::Requeued, LATER).expect("legal").state.withdrawn);
}

#[test]
fn what_is_cancelled_before_its_time_keeps_its_time_when_it_is_requeued() {
    let again = |ended: &Task, now: Timestamp| ended.apply(&TaskEvent::Requeued, now).expect("legal").spec.run_at;
    let far = LATER.plus_millis(86_400_000);
    let dated = task(TaskStatus::Pending).with(|task| task.spec.run_at = far);
    let cancelled = dated.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    assert_eq!(again(&cancelled, LATER), far);
    let after = far.plus_millis(1);
    assert_eq!(again(&cancelled, after), after, "its time has passed");
    // The time of another try is none of its own.
    let failure = Failure::permanent("it broke");
    let tried = task(TaskStatus::Running).apply(&TaskEvent::RetryAt(far, failure.clone()), LATER).expect("legal");
    let cancelled = tried.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    assert_eq!(again(&cancelled, LATER), LATER);
    let running = task(TaskStatus::Running).with(|task| task.spec.run_at = far);
    assert_eq!(again(&running.apply(&TaskEvent::Failed(failure), LATER).expect("legal"), LATER), LATER);
}

#[test]
fn what_no_replica_runs_is_cancelled_at_once() {
    let elsewhere = task(TaskStatus::Running);
    let cancelled = elsewhere.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    assert_eq!(cancelled.state.status, TaskStatus::Cancelled);
    let held = elsewhere.with(|task| task.state.claim = Some(claim()));
    let asked = held.apply(&TaskEvent::CancelRequested, LATER).expect("legal");
    assert!(asked.state.status == TaskStatus::Running && asked.state.cancel_requested);
}
