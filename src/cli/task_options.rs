//! The options that describe a task, shared by `qron add` and `qron schedules`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::CliError;
use super::filter::seconds;
use crate::domain::json;

/// The name of standard input where an option takes a file.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(super) struct TaskOptions {
    /// Priority, 0 (can wait) to 10 (urgent); 5 by default
    #[arg(long)]
    priority: Option<u8>,
    /// Agent that runs it; by default the least loaded one that has the capabilities
    #[arg(long)]
    agent: Option<String>,
    /// Capability that its agent must have; may be repeated
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<String>,
    /// Data for the agent: key=value, or a JSON object; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// Plan to carry out, as a JSON file; "-" reads it from standard input. Needs no model
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Tag to find it by; may be repeated
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// User on whose behalf it runs
    #[arg(long)]
    user: Option<String>,
    /// Tasks with the same key share the capacity fairly with those of other keys, e.g. a customer
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Wait for the approval of a person before it runs: see "qron approvals" and "qron approve"
    #[arg(long)]
    needs_approval: bool,
    /// Time limit of one attempt, in seconds or with a unit, e.g. 10m; 600 by default
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<u64>,
    /// Most attempts; 3 by default
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<u32>,
}

impl TaskOptions {
    /// The given fields of a task as the body of the API.
    pub(super) fn task(self, goal: Option<String>) -> Result<Map<String, Value>, CliError> {
        let (goal_is_stdin, plan_is_stdin) =
            (goal.as_deref() == Some(STDIN), self.plan.as_deref() == Some(Path::new(STDIN)));
        if goal_is_stdin && plan_is_stdin {
            return Err(CliError::Usage(
                "the goal and --plan are both \"-\": only one of them can come from standard input".to_owned(),
            ));
        }
        let goal = if goal_is_stdin { Some(read_stdin("goal")?.trim_end().to_owned()) } else { goal };
        let context = if self.context.is_empty() { None } else { Some(read_context(&self.context)?) };
        Ok(object([
            ("goal", goal.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("agent", self.agent.map(Value::from)),
            ("capabilities", list(self.capabilities)),
            ("context", context),
            ("plan", self.plan.as_deref().map(read_plan).transpose()?),
            ("tags", list(self.tags)),
            ("user", self.user.map(Value::from)),
            ("concurrency_key", self.concurrency_key.map(Value::from)),
            ("approval", self.needs_approval.then(|| Value::from("required"))),
            ("timeout_s", self.timeout.map(Value::from)),
            ("max_attempts", self.max_attempts.map(Value::from)),
        ]))
    }
}

/// An object of the fields that have a value.
pub(super) fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The list; `None` when it is empty.
pub(super) fn list(items: Vec<String>) -> Option<Value> {
    (!items.is_empty()).then(|| Value::from(items))
}

fn read_stdin(what: &str) -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| CliError::Failed(format!("the {what} cannot be read from standard input: {error}")))?;
    Ok(text)
}

fn read_plan(path: &Path) -> Result<Value, CliError> {
    let (text, place) = if path == Path::new(STDIN) {
        (read_stdin("plan")?, "from standard input".to_owned())
    } else {
        let place = path.display().to_string();
        let read = std::fs::read_to_string(path);
        (read.map_err(|error| CliError::Usage(format!("the plan {place} cannot be read: {error}")))?, place)
    };
    let plan: Value =
        json::read(&text).map_err(|error| CliError::Usage(format!("the plan {place} is not valid JSON: {error}")))?;
    if plan.get("plan").is_some() && plan.get("steps").is_none() {
        return Err(CliError::Usage(format!(
            "the plan {place} holds a whole task: give --plan what stands under \"plan\", {{\"steps\": […]}}, or send the \
             whole task over HTTP"
        )));
    }
    Ok(plan)
}

/// Reads `key=value` pairs, whose values are JSON or else text, and whole objects. Of a repeated key the last value holds.
fn read_context(given: &[String]) -> Result<Value, CliError> {
    let mut context = Map::new();
    for text in given {
        if text.trim_start().starts_with('{') {
            let object: Map<String, Value> = json::read(text)
                .and_then(serde_json::from_value)
                .map_err(|error| CliError::Usage(format!("--context {text:?} is not a valid JSON object: {error}")))?;
            context.extend(object);
            continue;
        }
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::Usage(format!(
                "--context {text:?} is neither key=value nor a JSON object: use e.g. --context city=Rome"
            )));
        };
        let value = json::read(value).unwrap_or_else(|_| Value::from(value));
        context.insert(key.to_owned(), value);
    }
    Ok(Value::Object(context))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn context_takes_pairs_and_objects() {
        let given = ["n=3", "name=Ada=x", r#"{"deep": {"a": [1]}}"#].map(str::to_owned);
        let context = read_context(&given).map_err(|_| "fault").expect("valid");
        assert_eq!(context, json!({"n": 3, "name": "Ada=x", "deep": {"a": [1]}}));
        for bad in ["novalue", "=x", "{\"a\""] {
            assert!(matches!(read_context(&[bad.to_owned()]), Err(CliError::Usage(_))), "{bad}");
        }
    }
}
