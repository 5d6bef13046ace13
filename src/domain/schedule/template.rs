//! Template of a schedule's tasks: goal, plan and settings, with placeholders.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::zone::Zone;
use crate::domain::approval::ApprovalRequirement;
use crate::domain::json;
use crate::domain::plan::{MAX_PLAN_BYTES, Plan};
use crate::domain::task::{DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY, DEFAULT_TIMEOUT_S, TaskSpec};
use crate::domain::time::Timestamp;

/// Names of the placeholders: schedule id, time of the firing, its day in the zone, time of the previous firing, and
/// zone.
pub const PLACEHOLDER_NAMES: [&str; 5] = ["schedule", "fire_time", "fire_date", "previous_fire_time", "zone"];

/// Most bytes that the texts of a template may have once their placeholders are replaced: room for the largest plan and as much
/// beside it.
pub const MAX_RENDERED_BYTES: usize = 2 * MAX_PLAN_BYTES;

/// Template of every task of a schedule. In the goal, in tags, in the concurrency key, and in every text of plan and
/// context, `${fire_time}` and the other [`PLACEHOLDER_NAMES`] are replaced when it fires.
///
/// It has no unique key: the overlap policy keeps tasks of a schedule apart, and the id of a firing is unique.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TaskTemplate, description = "Template of every task of a schedule. In the goal, in tags, in the concurrency key, and in every \
    text of plan and context, `${schedule}`, `${fire_time}`, `${fire_date}`, `${previous_fire_time}` and `${zone}` are replaced when it fires.")]
pub struct Template {
    /// Goal of the tasks.
    pub goal: String,
    /// Agent it must go to; any capable one otherwise.
    #[serde(default)]
    pub agent: Option<String>,
    /// Capabilities that its agent must have.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// 0 (can wait) to 10 (urgent).
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// Attempts it may have.
    #[serde(default = "default_max_attempts")]
    pub max_attempts: u32,
    /// Time limit of one attempt, in seconds.
    #[serde(default = "default_timeout_s")]
    pub timeout_s: u64,
    /// Plan to carry out, placeholders and all; made by a model when absent.
    #[serde(default)]
    pub plan: Option<Value>,
    /// Data for the agent.
    #[serde(default)]
    pub context: Map<String, Value>,
    /// Tags to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// On whose behalf it runs.
    #[serde(default)]
    pub user: Option<String>,
    /// Concurrency key of its tasks.
    // Like `approval` it is not written when absent, so that older versions can read the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Whether a person must approve each of its tasks before it runs.
    #[serde(default, skip_serializing_if = "ApprovalRequirement::is_none")]
    pub approval: ApprovalRequirement,
}

/// The plan of a template whose placeholders are replaced; an error about it names its place below `plan`.
#[derive(Deserialize)]
struct WithPlan {
    plan: Option<Plan>,
}

const fn default_priority() -> u8 {
    DEFAULT_PRIORITY
}

const fn default_max_attempts() -> u32 {
    DEFAULT_MAX_ATTEMPTS
}

const fn default_timeout_s() -> u64 {
    DEFAULT_TIMEOUT_S
}

/// Values of the placeholders for one firing.
#[derive(Clone, Debug)]
pub struct Placeholders {
    values: [String; PLACEHOLDER_NAMES.len()],
}

impl Placeholders {
    /// The values for the firing of `schedule` at `at`; the firing before it was at `previous`.
    #[must_use]
    pub fn new(schedule: &str, at: Timestamp, previous: Timestamp, zone: Zone) -> Self {
        Self { values: [schedule.to_owned(), zone.show(at), zone.date(at), zone.show(previous), zone.to_string()] }
    }

    /// Splits `text` into its own pieces and the values of its placeholders, in one pass, so that a value that looks
    /// like a placeholder stays as it is.
    fn pieces<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        let mut at = 0;
        let mut from = 0;
        let mut value: Option<&str> = None;
        std::iter::from_fn(move || {
            if let Some(value) = value.take() {
                return Some(value);
            }
            while let Some(start) = text[at..].find("${").map(|start| at + start) {
                at = start + 2;
                let is_escaped = text[..start].ends_with('$');
                let known = PLACEHOLDER_NAMES
                    .iter()
                    .zip(&self.values)
                    .find(|(name, _)| text[at..].strip_prefix(**name).is_some_and(|after| after.starts_with('}')));
                if let Some((name, known)) = known.filter(|_| !is_escaped) {
                    let before = &text[from..start];
                    at += name.len() + 1;
                    from = at;
                    value = Some(known.as_str());
                    return Some(before);
                }
            }
            at = text.len();
            let rest = &text[from..];
            from = at;
            (!rest.is_empty()).then_some(rest)
        })
    }

    fn render(&self, text: &str) -> String {
        self.pieces(text).collect()
    }

    /// Bytes of `text` with its placeholders replaced.
    fn rendered_bytes(&self, text: &str) -> usize {
        self.pieces(text).map(str::len).sum()
    }

    /// Bytes of all texts in `value` with their placeholders replaced.
    fn rendered_bytes_of_value(&self, value: &Value) -> usize {
        match value {
            Value::String(text) => self.rendered_bytes(text),
            Value::Array(items) => items.iter().map(|item| self.rendered_bytes_of_value(item)).sum(),
            Value::Object(fields) => fields.values().map(|field| self.rendered_bytes_of_value(field)).sum(),
            _ => 0,
        }
    }

    fn render_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.render(text)),
            Value::Array(items) => items.iter().map(|item| self.render_value(item)).collect(),
            Value::Object(fields) => fields.iter().map(|(key, item)| (key.clone(), self.render_value(item))).collect(),
            other => other.clone(),
        }
    }
}

impl Template {
    /// The template with every placeholder replaced.
    ///
    /// # Errors
    /// When the texts would exceed [`MAX_RENDERED_BYTES`]; nothing is replaced then.
    pub fn render(&self, placeholders: &Placeholders) -> Result<Self, String> {
        let texts = self.tags.iter().chain(&self.concurrency_key).chain([&self.goal]);
        let values = self.plan.iter().chain(self.context.values());
        let bytes = texts.map(|text| placeholders.rendered_bytes(text)).sum::<usize>()
            + values.map(|value| placeholders.rendered_bytes_of_value(value)).sum::<usize>();
        if bytes > MAX_RENDERED_BYTES {
            return Err(format!(
                "task: its texts have {bytes} bytes once the placeholders are replaced; at most {MAX_RENDERED_BYTES} are allowed"
            ));
        }
        Ok(Self {
            goal: placeholders.render(&self.goal),
            plan: self.plan.as_ref().map(|plan| placeholders.render_value(plan)),
            context: self.context.iter().map(|(key, value)| (key.clone(), placeholders.render_value(value))).collect(),
            tags: self.tags.iter().map(|tag| placeholders.render(tag)).collect(),
            concurrency_key: self.concurrency_key.as_ref().map(|key| placeholders.render(key)),
            ..self.clone()
        })
    }

    /// Goal and tags with every placeholder replaced, for the record of a skipped firing.
    #[must_use]
    pub fn record(&self, placeholders: &Placeholders) -> (String, Vec<String>) {
        let fits = |text: &String| placeholders.rendered_bytes(text) <= MAX_RENDERED_BYTES;
        let put = |text: &String| if fits(text) { placeholders.render(text) } else { text.clone() };
        (put(&self.goal), self.tags.iter().map(put).collect())
    }

    /// The order of one task, due at `run_at`; the placeholders must have been replaced.
    ///
    /// # Errors
    /// What is wrong with the plan, after its place.
    pub fn into_spec(self, run_at: Timestamp) -> Result<TaskSpec, String> {
        let Self {
            goal,
            agent,
            capabilities,
            priority,
            max_attempts,
            timeout_s,
            plan,
            context,
            tags,
            user,
            concurrency_key,
            approval,
        } = self;
        let WithPlan { plan } = json::from_value(serde_json::json!({ "plan": plan }))?;
        Ok(TaskSpec {
            priority,
            agent,
            capabilities,
            concurrency_key,
            max_attempts,
            timeout_s,
            plan,
            context,
            tags,
            user,
            approval,
            // No template has the fields that belong to a single task.
            ..TaskSpec::new(goal, run_at)
        })
    }

    /// The step of the plan that has the name of a placeholder, so that `${…}` could mean either.
    #[must_use]
    pub fn ambiguous_step(&self) -> Option<&str> {
        let steps = self.plan.as_ref()?.get("steps")?.as_array()?;
        steps.iter().filter_map(|step| step.get("id")?.as_str()).find(|id| PLACEHOLDER_NAMES.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::task::SpecLimits;

    #[test]
    fn placeholders_are_replaced_wherever_there_is_text() {
        let template: Template = serde_json::from_value(json!({
            "goal": "report of ${fire_date} (${schedule}), not $${fire_date} nor ${other}",
            "plan": {"steps": [{"id": "a", "tool": "t", "arguments": {"at": ["${fire_time}"], "b": "${a.value}"}}]},
            "context": {"zone": "${zone}", "since": "${previous_fire_time}", "n": 1},
            "tags": ["${schedule}"],
            "concurrency_key": "reports in ${zone}",
        }))
        .expect("a template");
        let at = Timestamp::from_millis(1_785_567_600_000);
        let (before, zone) = (at.plus_millis(-86_400_000), "Europe/Berlin".parse().expect("a zone"));
        let rendered = template.render(&Placeholders::new("${zone}", at, before, zone)).expect("small");
        assert_eq!(rendered.goal, "report of 2026-08-01 (${zone}), not $${fire_date} nor ${other}");
        assert_eq!(
            Value::Object(rendered.context.clone()),
            json!({"zone": "Europe/Berlin", "since": "2026-07-31T09:00:00+02:00", "n": 1})
        );
        assert_eq!(rendered.tags, ["${zone}"]);
        let arguments = &rendered.plan.as_ref().expect("a plan")["steps"][0]["arguments"];
        assert_eq!(*arguments, json!({"at": ["2026-08-01T09:00:00+02:00"], "b": "${a.value}"}));
        let spec = rendered.into_spec(at).expect("an order");
        assert_eq!(spec.plan.expect("a plan").steps.len(), 1);
        assert_eq!((spec.run_at, spec.concurrency_key.as_deref()), (at, Some("reports in Europe/Berlin")));
    }

    #[test]
    fn what_placeholders_grow_to_is_bounded_before_they_are_replaced() {
        let at = Timestamp::from_millis(0);
        let placeholders = Placeholders::new(&"s".repeat(100), at, at, Zone::UTC);
        for (field, value) in [
            ("goal", json!("${schedule}".repeat(11_000))),
            ("plan", json!({"steps": [{"id": "a", "tool": "t", "arguments": {"x": ["${schedule}".repeat(11_000)]}}]})),
            ("context", json!({"x": vec!["${schedule}"; 11_000]})),
            ("tags", json!(vec!["${schedule}"; 11_000])),
        ] {
            let mut body = json!({"goal": "x"});
            body[field] = value;
            let template: Template = serde_json::from_value(body).expect("a template");
            let refused = template.render(&placeholders).expect_err(field);
            assert!(refused.contains("at most 1048576"), "{refused}");
        }
    }

    #[test]
    fn what_exceeds_a_bound_makes_no_task() {
        for (field, value, expected) in [
            ("timeout_s", json!(2_592_001), "timeout_s 2592001"),
            ("max_attempts", json!(0), "max_attempts 0"),
            ("priority", json!(11), "priority 11"),
            ("tags", json!(["x".repeat(201)]), "tags"),
            ("goal", json!(""), "goal"),
        ] {
            let mut body = json!({"goal": "x"});
            body[field] = value;
            let template: Template = serde_json::from_value(body).expect("a template");
            let spec = template.into_spec(Timestamp::from_millis(0)).expect("an order");
            let refused = spec.validate(&SpecLimits::FIRING).expect_err(field).to_string();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_plan_that_cannot_be_read_is_told_with_its_place() {
        let body = json!({"goal": "x", "plan": {"steps": [{"id": "a", "tool": 7}]}});
        let template: Template = serde_json::from_value(body).expect("a template");
        let refused = template.into_spec(Timestamp::from_millis(0)).expect_err("no plan");
        assert!(refused.starts_with("plan.steps[0].tool: invalid type"), "{refused}");
    }

    #[test]
    fn a_step_must_not_be_called_like_a_placeholder() {
        let template = |id: &str| -> Template {
            serde_json::from_value(json!({"goal": "x", "plan": {"steps": [{"id": id}]}})).expect("a template")
        };
        assert_eq!(template("zone").ambiguous_step(), Some("zone"));
        assert_eq!(template("zones").ambiguous_step(), None);
    }

    proptest! {
        #[test]
        fn what_is_counted_is_what_is_built(pieces in proptest::collection::vec(
            proptest::sample::select(vec!["${", "$", "}", "${zone}", "$${zone}", "${fire_time}", "zone", "x", "é", "${schedule}"]), 0..10)
        ) {
            let at = Timestamp::from_millis(0);
            let placeholders = Placeholders::new("${zone}", at, at, Zone::UTC);
            let text = pieces.concat();
            let built = placeholders.render(&text);
            prop_assert_eq!(built.len(), placeholders.rendered_bytes(&text));
            if !text.contains("${") {
                prop_assert_eq!(built, text);
            }
        }
    }
}
