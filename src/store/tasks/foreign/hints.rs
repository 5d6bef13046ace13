//! What the writer of a point may have meant by a field that qron does not know.

use serde_json::{Map, Value};

use super::names::NAMES;
use super::words::{refusal_of, same_name, shown};
use super::{MAX_FIELDS, RawTask};
use crate::domain::failure::Failure;
use crate::domain::schedule::cron::CronExpression;
use crate::domain::schedule::duration::parse_duration_ms;
use crate::domain::spelling::nearest;
use crate::store::tasks::fields::FIELDS;

/// Names under which other programs write that something recurs.
const RECURRENCE: [&str; 6] = ["cron", "crontab", "schedule", "every", "interval", "repeat"];

impl RawTask {
    /// What to tell whoever wrote the point: of each field that is not known and nearly is, and of those that would make it
    /// recur. Empty for most points, and for those with more than [`MAX_FIELDS`] fields, which become no task.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        if self.payload.len() > MAX_FIELDS {
            return Vec::new();
        }
        self.payload.iter().filter(|(_, value)| !value.is_null()).filter_map(|(key, value)| hint(key, value)).collect()
    }
}

fn hint(key: &str, value: &Value) -> Option<String> {
    if FIELDS.contains(&key) || names().any(|name| same_name(key, name)) {
        return None;
    }
    if RECURRENCE.iter().any(|name| same_name(key, name)) {
        let value = shown(value);
        return Some(format!(
            "field {key:?} ({value}) has no effect: a task runs once; what recurs is made with \"qron schedules add\""
        ));
    }
    // A date is no state.
    let meant = nearest(key, names().filter(|name| *name != "state"))?;
    Some(format!("field {key:?} is not known and has no effect: did you mean {meant:?}?"))
}

/// The failure of a point with more fields than one may have.
pub(super) fn too_many(payload: &Map<String, Value>) -> Option<Failure> {
    let fields = payload.len();
    let message = || Failure::invalid(format!("the point has {fields} fields: use at most {MAX_FIELDS}"));
    (fields > MAX_FIELDS).then(message)
}

/// The failure of a point whose writer wants it to recur: it would run once, at the wrong time. `None` for fields of such a
/// name that say something else.
pub(super) fn recurrence(payload: &Map<String, Value>) -> Option<Failure> {
    payload.iter().find_map(|(key, value)| {
        let name = RECURRENCE.iter().find(|name| same_name(key, name))?;
        let is_meant = match (*name, value) {
            (_, Value::Null) => false,
            ("cron" | "crontab", _) | ("every", Value::Number(_)) => true,
            ("schedule", Value::String(text)) => CronExpression::parse(text).is_ok(),
            ("every" | "interval" | "repeat", Value::String(text)) => {
                parse_duration_ms(text).is_ok() || CronExpression::parse(text).is_ok()
            }
            _ => false,
        };
        let instead = "a point is a task, which runs once: make a schedule with \"qron schedules add\", or leave the \
                       field out and write run_at";
        is_meant.then(|| refusal_of(key, value, instead))
    })
}

/// The names of everything that an order says, in any of their forms.
fn names() -> impl Iterator<Item = &'static str> {
    let ordered = NAMES.iter().filter(|(field, _)| !["result", "error"].contains(field));
    ordered.flat_map(|(_, names)| names.iter().copied())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::schedule::zone::Zone;
    use crate::domain::time::Timestamp;

    fn raw(field: &str, value: Value) -> RawTask {
        let payload = Map::from_iter([("goal".to_owned(), json!("do it")), (field.to_owned(), value)]);
        RawTask { id: TaskId::Number(1), payload }
    }

    #[test]
    fn a_point_with_very_many_fields_is_refused_at_once() {
        let mut point = raw("priority", json!(7));
        let now = Timestamp::from_millis(1_767_225_600_000);
        for number in 0..60_000 {
            point.payload.insert(format!("Run-Attt {number}"), json!(1));
        }
        let began = std::time::Instant::now();
        let failure = point.read(Zone::UTC, now).expect_err("too many");
        assert!(failure.message.contains("60002 fields: use at most 1000"), "{failure}");
        assert_eq!((point.hints(), point.goal().as_str()), (Vec::new(), "do it"));
        assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn near_misses_of_known_fields_are_told() {
        for (field, meant) in [
            ("run_att", "run_at"),
            ("runt_a", "run_at"),
            ("Run-Att", "run_at"),
            ("run.at", "run_at"),
            ("priorty", "priority"),
            ("pirority", "priority"),
            ("dependson_", "depends_on"),
            ("depend_on", "depends_on"),
            ("maxattempt", "max_attempts"),
            ("time_outs", "timeout_s"),
            ("capabilites", "capabilities"),
            ("tagss", "tags"),
            ("tag", "tags"),
            ("contxt", "context"),
            ("unique_ky", "unique_key"),
            ("aproval", "approval"),
        ] {
            let hints = raw(field, json!(1)).hints();
            let same = names().any(|name| same_name(field, name));
            assert!(same || hints.len() == 1 && hints[0].contains(&format!("{meant:?}")), "{field}: {hints:?}");
            assert!(same || hints[0].contains(field), "{hints:?}");
        }
    }

    #[test]
    fn fields_of_other_programs_are_theirs() {
        for field in [
            "goal",
            "RUN_AT",
            "maxRetries",
            "colour",
            "note",
            "ticket",
            "customer",
            "source",
            "embedding",
            "text",
            "id",
        ] {
            assert_eq!(raw(field, json!("x")).hints(), Vec::<String>::new(), "{field}");
        }
        assert_eq!(raw("run_att", Value::Null).hints(), Vec::<String>::new());
    }

    #[test]
    fn a_point_that_shall_recur_is_refused_and_what_only_sounds_so_is_told() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (field, value) in [
            ("cron", json!("0 9 * * *")),
            ("Cron", json!("at nine")),
            ("crontab", json!("@daily")),
            ("schedule", json!("*/5 * * * *")),
            ("every", json!("15m")),
            ("every", json!(60)),
            ("interval", json!("1h")),
            ("repeat", json!("@hourly")),
        ] {
            let failure = raw(field, value.clone()).read(Zone::UTC, now).expect_err(field);
            assert!(failure.message.starts_with(&format!("{field}: ")), "{failure}");
            assert!(failure.message.contains("qron schedules add"), "{failure}");
        }
        for (field, value) in
            [("schedule", json!("monthly report")), ("interval", json!([1, 2])), ("every", json!("one"))]
        {
            let point = raw(field, value);
            assert!(point.read(Zone::UTC, now).is_ok(), "{field}");
            assert!(point.hints()[0].contains("qron schedules add"), "{field}");
        }
    }
}
