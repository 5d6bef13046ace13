//! From the body of a definition to a schedule's definition, with everything that is wrong with it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::api::schemas::{AnySchema, LengthInput, TimeInput};
use crate::domain::schedule::duration::parse_duration_ms;
use crate::domain::schedule::template::{Placeholders, Template};
use crate::domain::schedule::timing::Recurrence;
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::{CatchUp, DEFAULT_WINDOW_MS, Definition, MAX_JITTER_MS, Overlap};
use crate::domain::task::TaskSpec;
use crate::domain::time::Timestamp;

/// The definition of a schedule. It needs exactly one of `cron`, `every` and `at`, which says when it fires.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScheduleDefinition, examples(json!({
    "cron": "0 9 * * MON-FRI", "zone": "Europe/Berlin", "task": {"goal": "Read the error log of ${fire_date} and tell me what is new"}
})))]
pub(in crate::api) struct Body {
    /// Id of the schedule, at most 100 characters; one is made up without it.
    #[schema(max_length = 100)]
    pub(super) id: Option<String>,
    /// Cron expression that fires it: `minute hour day-of-month month day-of-week`; seconds may stand before them, and a year after.
    cron: Option<String>,
    /// Interval that fires it.
    #[schema(value_type = Option<LengthInput>)]
    every: Option<Value>,
    /// Time at which it fires once.
    #[schema(value_type = Option<TimeInput>)]
    at: Option<Value>,
    /// Zone of its wall clock, by IANA name; `scheduler.zone` of the configuration without it.
    zone: Option<String>,
    /// No firing is before this time.
    #[schema(value_type = Option<TimeInput>)]
    start: Option<Value>,
    /// No firing is after this time.
    #[schema(value_type = Option<TimeInput>)]
    end: Option<Value>,
    /// Tasks become due up to this much after their firing, at most 24 hours.
    #[schema(value_type = Option<LengthInput>)]
    jitter: Option<Value>,
    /// What a firing does while the task of an earlier firing has not ended.
    #[serde(default)]
    overlap: Overlap,
    /// What becomes of firings that were missed.
    #[serde(default)]
    catch_up: CatchUp,
    /// How far back missed firings run. Without it the latest runs however old it is, and all run that are at most a day old.
    #[schema(value_type = Option<LengthInput>)]
    catch_up_window: Option<Value>,
    /// Whether it is paused; unchanged without it.
    pub(super) paused: Option<bool>,
    /// The task that a firing creates. Required, but for a preview.
    task: Option<Template>,
}

/// Changes of a schedule: the fields of its definition that change, each as in a definition, or null to remove it.
pub(in crate::api) struct ScheduleChanges;

impl PartialSchema for ScheduleChanges {
    fn schema() -> AnySchema {
        let mut changes = Body::schema();
        if let RefOr::T(Schema::Object(fields)) = &mut changes {
            fields.description = Some(
                "Changes of a schedule: the fields of its definition that change. Null removes a field. `task` has the fields of the \
                 template that change."
                    .to_owned(),
            );
            fields.required.clear();
            fields.examples = vec![json!({"every": "15m", "end": null, "task": {"tags": ["news"]}})];
            for property in fields.properties.values_mut() {
                *property = nullable(property.clone());
            }
            let task = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::Object, Type::Null]));
            let task = task.description(Some("Fields of the template of its tasks that change; null removes a field."));
            fields.properties.insert("task".to_owned(), task.into());
        }
        changes
    }
}

/// `schema`, or null.
fn nullable(schema: AnySchema) -> AnySchema {
    match schema {
        reference @ RefOr::Ref(_) => {
            OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(reference).into()
        }
        described @ RefOr::T(_) => described,
    }
}

impl ToSchema for ScheduleChanges {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ScheduleChanges")
    }

    fn schemas(schemas: &mut Vec<(String, AnySchema)>) {
        Body::schemas(schemas);
    }
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
