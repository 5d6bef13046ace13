//! What must hold after every storm, whatever it was: nothing acknowledged is lost, each task has one outcome and one
//! attempt that counts, indexes agree with points, and no effect is had twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use qdrant_client::Qdrant;
use qdrant_client::qdrant::{Condition, CountPointsBuilder, Filter, PointId, ScrollPointsBuilder, Value};
use qron::domain::id::TaskId;
use qron::domain::task::TaskStatus;

use crate::effects::Call;
use crate::stage::{Interruption, Stage};

/// What the tasks of the storm may have come to.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    /// Processes may have been interrupted in the middle of a call that must not be repeated: its task then fails, and
    /// says that nobody knows what came of the call. As many as were in hand at the interruptions.
    pub(crate) unknown: bool,
    /// This many took their process down again and again, and were given up for it.
    pub(crate) poisonous: usize,
}

/// Nobody was interrupted in the middle of anything.
pub(crate) const UNHARMED: Allowed = Allowed { unknown: false, poisonous: 0 };
/// Somebody was.
pub(crate) const INTERRUPTED: Allowed = Allowed { unknown: true, poisonous: 0 };

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) acknowledged: usize,
    pub(crate) completed: usize,
    /// Failed, because a call that must not be repeated was cut off.
    pub(crate) unknown: usize,
    /// Given up, because they took their process down.
    pub(crate) given_up: usize,
    /// Calls that may be repeated, and were.
    pub(crate) repeats: usize,
    /// Most tasks that were in hand at the interruptions.
    pub(crate) in_hand: usize,
    /// Times that tasks were handed back, and taken back from the dead.
    pub(crate) releases: i64,
    pub(crate) crashes: i64,
}

struct Point {
    id: TaskId,
    payload: HashMap<String, Value>,
}

impl Point {
    fn text(&self, key: &str) -> &str {
        self.payload.get(key).and_then(|value| value.as_str()).map_or("", String::as_str)
    }

    fn number(&self, key: &str) -> i64 {
        self.payload.get(key).and_then(Value::as_integer).unwrap_or(0)
    }
}

/// Compares what was acknowledged with what is there. Every task must have ended.
pub(crate) async fn check(stage: &Stage, allowed: Allowed) -> Findings {
    let client = Qdrant::from_url(&stage.url)
        .skip_compatibility_check()
        .timeout(std::time::Duration::from_mins(1))
        .build()
        .expect("a client");
    let collection = |name: &str| format!("{}{name}", stage.prefix);
    let tasks = scroll(&client, &collection("tasks")).await;
    let attempts = scroll(&client, &collection("attempts")).await;
    let letters: BTreeSet<TaskId> =
        scroll(&client, &collection("dead_letters")).await.into_iter().map(|point| point.id).collect();
    let (sent, acknowledged, interruptions) = {
        let ledger = stage.ledger.lock().expect("not poisoned");
        (ledger.sent.clone(), ledger.acknowledged.clone(), ledger.interruptions.clone())
    };
    let mut faults = Vec::new();
    let mut findings = Findings {
        acknowledged: acknowledged.len(),
        in_hand: interruptions.iter().map(|one| one.in_hand).sum(),
        ..Findings::default()
    };

    let there: BTreeSet<TaskId> = tasks.iter().map(|task| task.id).collect();
    faults.extend(acknowledged.difference(&there).map(|id| format!("{id} was acknowledged and is lost")));
    faults.extend(there.iter().filter(|id| !sent.contains_key(id)).map(|id| format!("{id} was never sent")));
    if there.len() != tasks.len() {
        faults.push(format!("a scroll gave {} points and {} ids", tasks.len(), there.len()));
    }

    let mut completed_attempts: BTreeMap<&str, usize> = BTreeMap::new();
    for attempt in attempts.iter().filter(|attempt| attempt.text("status") == "completed") {
        *completed_attempts.entry(attempt.text("task_id")).or_default() += 1;
    }
    let steps = stage.effects.by_step();
    let mut by_status: BTreeMap<&str, u64> = BTreeMap::new();
    for task in &tasks {
        let (id, status) = (task.id, task.text("status"));
        *by_status.entry(status).or_default() += 1;
        findings.releases += task.number("releases");
        findings.crashes += task.number("crashes");
        let ended_well = completed_attempts.get(id.to_string().as_str()).copied().unwrap_or(0);
        match status {
            "completed" => {
                findings.completed += 1;
                if ended_well != 1 {
                    faults.push(format!("{id} is completed and has {ended_well} attempts that are"));
                }
                if task.number("attempt") != 0 {
                    faults.push(format!("{id} was charged {} attempts", task.number("attempt")));
                }
            }
            "failed" => {
                let error = task.payload.get("error").map(ToString::to_string).unwrap_or_default();
                if allowed.unknown && error.contains("outcome unknown") {
                    findings.unknown += 1;
                } else if findings.given_up < allowed.poisonous && error.contains("crashed") {
                    findings.given_up += 1;
                } else {
                    faults.push(format!("{id} failed: {error}"));
                }
                if ended_well != 0 {
                    faults.push(format!("{id} failed and has {ended_well} completed attempts"));
                }
            }
            other => faults.push(format!("{id} is {other}")),
        }
        if letters.contains(&id) != (status == "failed") {
            faults.push(format!("{id} is {status}; dead letter: {}", letters.contains(&id)));
        }
        if !task.text("claim").is_empty() {
            faults.push(format!("{id} has ended and is still claimed"));
        }
        let Some(number) = sent.get(&id) else { continue };
        check_effects(*number, status, &steps, &mut faults);
    }
    findings.repeats = check_repeats(&steps, &interruptions, &mut faults);
    if findings.completed + findings.unknown + findings.given_up < findings.acknowledged {
        faults.push(format!("fewer ended than were acknowledged: {findings:?}"));
    }
    if findings.unknown + findings.repeats > findings.in_hand {
        faults.push(format!("more was repeated or unknown than was in hand: {findings:?}"));
    }

    for status in TaskStatus::ALL {
        let filter = Filter::must([Condition::matches("status", status.as_str().to_owned())]);
        let request = CountPointsBuilder::new(collection("tasks")).filter(filter).exact(true);
        let count = client.count(request).await.expect("a count").result.expect("a count").count;
        let scrolled = by_status.get(status.as_str()).copied().unwrap_or(0);
        if count != scrolled {
            faults.push(format!("by index {count} tasks are {status}, by scroll {scrolled}"));
        }
    }
    faults.truncate(20);
    assert!(faults.is_empty(), "{findings:?}\n{}", faults.join("\n"));
    findings
}

/// A task that completed has had its effect once; a task that did not has not had it twice.
fn check_effects(number: usize, status: &str, steps: &BTreeMap<(usize, String), Vec<Call>>, faults: &mut Vec<String>) {
    let of_task = steps.range((number, String::new())..(number + 1, String::new()));
    let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
    let mut is_empty = true;
    for ((_, step), calls) in of_task {
        is_empty = false;
        for key in calls.iter().filter_map(|call| call.key.as_deref()) {
            *effects.entry(key).or_default() += 1;
        }
        if step == "act" && calls.len() != 1 {
            faults.push(format!("task number {number} acted {} times", calls.len()));
        }
    }
    faults.extend(
        effects.iter().filter(|(_, count)| **count > 1).map(|(key, count)| format!("{count} effects with key {key}")),
    );
    if is_empty {
        faults.push(format!("task number {number} is {status} and did nothing"));
    }
}

/// Between two calls of one step somebody must have been interrupted; gives back how many calls were repeated.
fn check_repeats(
    steps: &BTreeMap<(usize, String), Vec<Call>>,
    interruptions: &[Interruption],
    faults: &mut Vec<String>,
) -> usize {
    let mut repeats = 0;
    for ((task, step), calls) in steps {
        for pair in calls.windows(2) {
            repeats += 1;
            let between = |one: &Interruption| pair[0].began <= one.until && one.from <= pair[1].began;
            if !interruptions.iter().any(between) {
                let apart = pair[1].began - pair[0].began;
                faults.push(format!("{step} of task number {task} was called again after {apart:?} for no reason"));
            }
        }
    }
    repeats
}

/// Every point of a collection, without any filter.
async fn scroll(client: &Qdrant, collection: &str) -> Vec<Point> {
    let mut points = Vec::new();
    let mut after: Option<PointId> = None;
    loop {
        let mut request = ScrollPointsBuilder::new(collection).limit(1_000).with_payload(true);
        if let Some(offset) = after {
            request = request.offset(offset);
        }
        let page = client.scroll(request).await.expect("a page");
        points.extend(
            page.result
                .into_iter()
                .map(|point| Point { id: read_id(point.id.as_ref().expect("an id")), payload: point.payload }),
        );
        after = page.next_page_offset;
        if after.is_none() {
            return points;
        }
    }
}

fn read_id(id: &PointId) -> TaskId {
    use qdrant_client::qdrant::point_id::PointIdOptions;
    match id.point_id_options.as_ref().expect("an id") {
        PointIdOptions::Num(number) => TaskId::Number(*number),
        PointIdOptions::Uuid(text) => text.parse().expect("a UUID"),
    }
}
