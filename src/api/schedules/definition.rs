//! From the body of a definition to a schedule's definition, with everything that is wrong with it.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::schedule::duration::parse_duration_ms;
use crate::domain::schedule::template::{Placeholders, Template};
use crate::domain::schedule::timing::Recurrence;
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::{CatchUp, DEFAULT_WINDOW_MS, Definition, MAX_JITTER_MS, Overlap};
use crate::domain::task::TaskSpec;
use crate::domain::time::Timestamp;

/// The body of a definition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Body {
    pub(super) id: Option<String>,
    cron: Option<String>,
    every: Option<Value>,
    at: Option<Value>,
    zone: Option<String>,
    start: Option<Value>,
    end: Option<Value>,
    jitter: Option<Value>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    catch_up: CatchUp,
    catch_up_window: Option<Value>,
    pub(super) paused: Option<bool>,
    task: Option<Template>,
}

/// What a body says about times.
pub(super) struct Times {
    pub(super) spec: Recurrence,
    pub(super) zone: Zone,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

impl Body {
    /// When it fires, in the zone `otherwise` unless it names one; what is wrong with that goes to `errors`.
    pub(super) fn times(&self, otherwise: Zone, errors: &mut Vec<String>) -> Option<Times> {
        let zone = match self.zone.as_deref().map_or(Ok(otherwise), str::parse) {
            Ok(zone) => zone,
            Err(error) => {
                errors.push(format!("zone: {error}"));
                return None;
            }
        };
        let mut time = |name: &str, value: &Option<Value>| match value.as_ref().map(|value| zone.read(value)) {
            Some(Err(error)) => {
                errors.push(format!("{name}: {error}"));
                None
            }
            other => other.and_then(Result::ok),
        };
        let (start, end) = (time("start", &self.start), time("end", &self.end));
        let at = time("at", &self.at);
        let spec = match (&self.cron, &self.every, &self.at) {
            (Some(cron), None, None) => Some(Recurrence::Cron(cron.trim().to_owned())),
            (None, Some(every), None) => length("every", every, errors).map(Recurrence::EveryMs),
            (None, None, Some(_)) => at.map(Recurrence::At),
            _ => {
                errors
                    .push("the schedule needs exactly one of cron, every and at, which says when it fires".to_owned());
                None
            }
        };
        spec.map(|spec| Times { spec, zone, start, end })
    }

    /// The definition, in the zone `otherwise` unless it names one, and what it would order now.
    pub(super) fn read(self, id: &str, otherwise: Zone, now: Timestamp) -> Result<(Definition, TaskSpec), Vec<String>> {
        let mut errors = Vec::new();
        let times = self.times(otherwise, &mut errors);
        let jitter_ms = self.jitter.as_ref().and_then(|jitter| length("jitter", jitter, &mut errors)).unwrap_or(0);
        if jitter_ms > MAX_JITTER_MS {
            errors.push(format!("jitter: {} s is more than a day: use at most 24h", jitter_ms / 1000));
        }
        let window = self.catch_up_window.as_ref().and_then(|window| length("catch_up_window", window, &mut errors));
        if self.catch_up == CatchUp::None && self.catch_up_window.is_some() {
            errors.push(
                "catch_up_window has no effect with catch_up = none, which runs no missed firing: leave it out"
                    .to_owned(),
            );
        }
        let Some(task) = self.task else {
            errors.push("task is missing: say what its tasks are like, e.g. {\"goal\": \"…\"}".to_owned());
            return Err(errors);
        };
        if let Some(step) = task.ambiguous_step() {
            errors.push(format!("task: a step must not be called {step:?}, since ${{{step}}} is a placeholder"));
        }
        let Some(Times { spec, zone, start, end }) = times.filter(|_| errors.is_empty()) else { return Err(errors) };
        let rendered = task.render(&Placeholders::new(id, now, now, zone)).map_err(|error| vec![error])?;
        let mut order = rendered.into_spec(now).map_err(|error| vec![format!("task: {error}")])?;
        // A goal is as long as what it says.
        order.goal = order.goal.trim().to_owned();
        let definition = Definition {
            spec,
            zone,
            start,
            end,
            jitter_ms,
            overlap: self.overlap,
            catch_up: self.catch_up,
            catch_up_window_ms: window.or((self.catch_up == CatchUp::All).then_some(DEFAULT_WINDOW_MS)),
            task,
        };
        definition.timing(now).map_err(|error| vec![error.to_string()])?;
        Ok((definition, order))
    }
}

/// A length of time: seconds as a number, or text such as "15m". Whole seconds.
fn length(name: &str, value: &Value, errors: &mut Vec<String>) -> Option<u64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match parse_duration_ms(&text) {
        Ok(ms) if ms % 1000 == 0 => return Some(ms),
        Ok(_) => errors.push(format!("{name}: {text:?} is no number of whole seconds")),
        Err(error) => errors.push(format!("{name}: {error}")),
    }
    None
}
