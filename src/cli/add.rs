//! `qron add`.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value};

use super::client::Client;
use super::{CliError, output, show};
use crate::api::views::tasks::Submitted;

#[derive(Debug, Args)]
pub(super) struct Add {
    /// What shall be achieved, 10 to 5,000 characters; "-" reads it from standard input
    goal: String,
    /// When, in RFC 3339, e.g. 2026-01-31T09:00:00Z; at once otherwise
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// 0 (can wait) to 10 (urgent); 5 otherwise
    #[arg(long)]
    priority: Option<u8>,
    /// Agent that shall do it; the least loaded capable one otherwise
    #[arg(long)]
    agent: Option<String>,
    /// What its agent must be able to do; may be repeated
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<String>,
    /// Data for the agent: key=value, or a JSON object; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    context: Vec<String>,
    /// Plan to carry out, as a JSON file; "-" reads it from standard input. Needs no model
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Tasks that must be completed first; may be repeated
    #[arg(long = "after", value_name = "ID")]
    depends_on: Vec<String>,
    /// What to do when one of those fails: block it, or continue
    #[arg(long, value_name = "WHAT", value_parser = ["block", "continue"])]
    on_dependency_failure: Option<String>,
    /// Task that it is a part of: see "qron show" of that one
    #[arg(long, value_name = "ID")]
    parent: Option<String>,
    /// Key that keeps out others: adding it again gives back the first one
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// How long the key keeps others out: alive (until the task has ended), forever, or a period such as 15m
    #[arg(long, value_name = "PERIOD", requires = "unique_key")]
    unique_for: Option<String>,
    /// Whose share of the capacity it takes, e.g. a customer
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Word to find it by; may be repeated
    #[arg(long = "tag", value_name = "WORD")]
    tags: Vec<String>,
    /// On whose behalf it runs
    #[arg(long)]
    user: Option<String>,
    /// Let it wait until a person has agreed: qron approvals, qron approve
    #[arg(long)]
    needs_approval: bool,
    /// Time limit of one attempt, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Attempts it may have
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<u32>,
    /// Watch it until it ends; exit code 1 when it does not complete
    #[arg(long)]
    follow: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    pub(super) async fn run(self, client: &Client) -> Result<(), CliError> {
        let (follow, json) = (self.follow, self.json);
        let submitted: Submitted = client.post(&["tasks"], Some(&self.body()?)).await?;
        let id = submitted.task.id.to_string();
        if follow {
            if !json {
                output::line(&format!("{} {id}", if submitted.created { "added" } else { "already there:" }))?;
            }
            return show::follow(client, &id, json).await;
        }
        if json {
            return output::json(&submitted);
        }
        let status = submitted.task.status;
        let said = if submitted.created { "added" } else { "already there:" };
        output::line(&format!("{said} {id} ({status}); see \"qron show {id} --follow\""))
    }

    fn body(self) -> Result<Value, CliError> {
        let plan_from_stdin = self.plan.as_deref() == Some(Path::new("-"));
        if self.goal == "-" && plan_from_stdin {
            return Err(CliError::Usage("only one of goal and --plan can come from standard input".to_owned()));
        }
        let goal = if self.goal == "-" { read_stdin("goal")?.trim_end().to_owned() } else { self.goal };
        let plan = match &self.plan {
            None => None,
            Some(path) => Some(read_plan(path)?),
        };
        let context = if self.context.is_empty() { None } else { Some(read_context(&self.context)?) };
        let list = |items: Vec<String>| (!items.is_empty()).then(|| Value::from(items));
        let fields = [
            ("goal", Some(Value::from(goal))),
            ("run_at", self.at.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("agent", self.agent.map(Value::from)),
            ("capabilities", list(self.capabilities)),
            ("context", context),
            ("plan", plan),
            ("depends_on", list(self.depends_on)),
            ("on_dependency_failure", self.on_dependency_failure.map(Value::from)),
            ("parent", self.parent.map(Value::from)),
            ("unique_key", self.unique_key.map(Value::from)),
            ("unique_for", self.unique_for.map(Value::from)),
            ("concurrency_key", self.concurrency_key.map(Value::from)),
            ("tags", list(self.tags)),
            ("user", self.user.map(Value::from)),
            ("approval", self.needs_approval.then(|| Value::from("required"))),
            ("timeout_s", self.timeout.map(Value::from)),
            ("max_attempts", self.max_attempts.map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(Value::Object(given.collect()))
    }
}

pub(super) fn read_stdin(what: &str) -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| CliError::Failed(format!("the {what} cannot be read from standard input: {error}")))?;
    Ok(text)
}

pub(super) fn read_plan(path: &Path) -> Result<Value, CliError> {
    let text = if path == Path::new("-") {
        read_stdin("plan")?
    } else {
        std::fs::read_to_string(path)
            .map_err(|error| CliError::Usage(format!("plan {} cannot be read: {error}", path.display())))?
    };
    serde_json::from_str(&text).map_err(|error| CliError::Usage(format!("plan {} is no JSON: {error}", path.display())))
}

/// `key=value`, whose value is JSON where it reads as such and text otherwise, or whole objects; later ones win.
pub(super) fn read_context(given: &[String]) -> Result<Value, CliError> {
    let mut context = Map::new();
    for text in given {
        if text.trim_start().starts_with('{') {
            let object: Map<String, Value> = serde_json::from_str(text)
                .map_err(|error| CliError::Usage(format!("--context {text:?} is no JSON object: {error}")))?;
            context.extend(object);
            continue;
        }
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(CliError::Usage(format!("--context {text:?} is neither key=value nor a JSON object")));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
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
