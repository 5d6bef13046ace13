//! Steps that are carried out once for each element of a list.

use serde_json::Value;

use super::references::{is_one_reference, referenced, references, with_references};
use super::{PlanError, PlanStep};

/// First part of a reference to the element, in a step with `each`: `${item}`, `${item.name}`.
pub const ITEM: &str = "item";

impl PlanStep {
    /// # Errors
    /// What is wrong with `each`.
    pub(super) fn check_each(&self) -> Result<(), PlanError> {
        let Some(list) = &self.each else { return Ok(()) };
        if !is_one_reference(list) || names_item(list) {
            return Err(PlanError::BadEach(self.id.clone()));
        }
        let refers = self.texts().into_iter().any(names_item);
        if refers { Ok(()) } else { Err(PlanError::NoItem(self.id.clone())) }
    }

    /// What stands between the braces of `each`.
    #[must_use]
    pub fn list(&self) -> Option<&str> {
        referenced(self.each.as_deref()?).first().copied()
    }

    /// The step, called `id`, that carries out element number `index` of the list, counted from 0: each reference to the
    /// element becomes one into the list.
    #[must_use]
    pub fn for_element(&self, id: String, index: usize) -> Self {
        let list = self.list().unwrap_or_default();
        let in_list = |inner: &str| match inner.strip_prefix(ITEM) {
            Some(rest) if rest.is_empty() || rest.starts_with('.') => format!("${{{list}.{index}{rest}}}"),
            _ => format!("${{{inner}}}"),
        };
        let written = |text: &str| with_references(text, "$${", in_list);
        Self {
            id,
            each: None,
            arguments: with_texts(&self.arguments, &written),
            instruction: self.instruction.as_deref().map(written),
            ..self.clone()
        }
    }
}

fn names_item(text: &str) -> bool {
    references(text).any(|reference| reference.step() == ITEM)
}

/// `value` with each text replaced by what `written` makes of it.
fn with_texts(value: &Value, written: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(written(text)),
        Value::Array(items) => Value::Array(items.iter().map(|item| with_texts(item, written)).collect()),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), with_texts(field, written))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::plan::Plan;

    fn step(value: Value) -> PlanStep {
        serde_json::from_value(value).expect("a step")
    }

    #[test]
    fn the_element_becomes_a_reference_into_the_list() {
        let look = step(json!({"id": "look", "tool": "http_request", "each": "${page.rows}", "depends_on": ["first"],
            "arguments": {"url": "https://a.example/${item.id}?of=${other.n}", "headers": [{"x": "${item}"}], "n": 1,
            "literal": "$${item} ${items}"}}));
        assert_eq!(look.dependencies(), ["first", "other", "items", "page"]);
        let third = look.for_element("look-3".to_owned(), 2);
        let expected = json!({"url": "https://a.example/${page.rows.2.id}?of=${other.n}",
            "headers": [{"x": "${page.rows.2}"}], "n": 1, "literal": "$${item} ${items}"});
        assert_eq!((third.id.as_str(), third.each.as_ref(), &third.arguments), ("look-3", None, &expected));
        let read = step(json!({"id": "read", "instruction": "Is ${item.name} green?", "each": "${list}"}));
        let first = read.for_element("read-1".to_owned(), 0);
        assert_eq!(first.instruction.as_deref(), Some("Is ${list.0.name} green?"));
    }

    #[test]
    fn each_is_one_reference_and_the_step_refers_to_the_element() {
        let list = json!({"id": "list", "tool": "t"});
        let fault = |each: &str, instruction: &str, id: &str| {
            let plan = json!({"steps": [list, {"id": id, "instruction": instruction, "each": each}]});
            let plan: Plan = serde_json::from_value(plan).expect("a plan");
            plan.validate(&["t"]).map_err(|error| error.to_string())
        };
        assert_eq!(fault("${list.rows}", "Read ${item}", "s"), Ok(()));
        for bad in ["list", "", "${list} ${list}", "x${list}", "${item}"] {
            let error = fault(bad, "Read ${item}", "s").expect_err("a fault");
            assert!(error.contains("must be one reference") && error.contains("${page.rows}"), "{error}");
        }
        let error = fault("${list}", "Read it", "s").expect_err("a fault");
        assert!(error.contains("write ${item}"), "{error}");
        assert!(fault("${gone}", "Read ${item}", "s").expect_err("a fault").contains("unknown step \"gone\""));
        let error = fault("${list}", "Read ${item}", "item").expect_err("a fault");
        assert!(error.contains("refers to the element"), "{error}");
    }
}
