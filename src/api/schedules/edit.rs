//! A partial edit: what a schedule is defined by, with changes.

use serde_json::{Map, Value, json};

use crate::api::views::schedules::ScheduleView;
use crate::domain::schedule::Schedule;

/// A schedule is fired by one of these.
const FIRED_BY: [&str; 3] = ["cron", "every", "at"];
/// What else it is defined by.
const DEFINED_BY: [&str; 8] = ["zone", "start", "end", "jitter", "overlap", "catch_up", "catch_up_window", "task"];

/// The body that defines `schedule` with `changes`. What they do not name stays, and null takes away. Another word for
/// what fires it takes the place of the one before, and a window goes with the policy that it was meant for.
pub(super) fn edited(schedule: Schedule, mut changes: Map<String, Value>) -> Value {
    let shown = json!(ScheduleView::new(schedule, 0));
    let fields = FIRED_BY.iter().chain(&DEFINED_BY);
    let mut body: Map<String, Value> = fields.map(|field| ((*field).to_owned(), shown[*field].clone())).collect();
    if FIRED_BY.iter().any(|word| changes.get(*word).is_some_and(|value| !value.is_null())) {
        body.retain(|field, _| !FIRED_BY.contains(&field.as_str()));
    }
    if changes.contains_key("catch_up") {
        body.remove("catch_up_window");
    }
    match (body.get_mut("task"), changes.remove("task")) {
        (Some(Value::Object(task)), Some(Value::Object(changes))) => {
            // It is not shown where there is none.
            task.entry("approval").or_insert_with(|| "none".into());
            change(task, changes);
        }
        (_, Some(other)) => changes.extend([("task".to_owned(), other)]),
        (_, None) => {}
    }
    change(&mut body, changes);
    Value::Object(body)
}

fn change(fields: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (field, value) in changes {
        // A null for what is not there stays, so that a name that nobody knows is refused.
        if value.is_null() && fields.remove(&field).is_some() {
            continue;
        }
        fields.insert(field, value);
    }
}
