//! The toolbox: checks a call that a model requests, and runs the tool.
//!
//! Allow-list, schema, time limit, size limit, metrics: the same for every tool, so that no tool can forget one.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jsonschema::Validator;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::artifacts::{ReadArtifact, SaveArtifact};
use super::calculate::Calculate;
use super::create_task::{CreateTask, KnownTools};
use super::files::{FirstUse, ListFiles, ReadFile, Workspace, WriteFile};
use super::http::{HttpRequest, SystemLookup};
use super::inputs::{blocking, excerpt, refused, store_failure};
use super::sql::{QueryTable, SqlQuery};
use super::state::{GetState, SetState};
use super::vector_search::{self, TextEmbedder, VectorSearch};
use super::{Settings, Tool, ToolContext, ToolboxError};
use crate::clock;
use crate::domain::agent::AgentProfile;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::{TaskId, derived};
use crate::domain::json;
use crate::domain::passages::{self, NOTHING_FITS};
use crate::domain::plan::{Plan, PlanStep};
use crate::domain::plan_faults::{KnownTool, argument_faults, plan_faults};
use crate::domain::time::Timestamp;
use crate::domain::tool::{ToolCall, ToolResult, ToolSpec, artifact_output};
use crate::domain::tree::{Rights, TreeBudget};
use crate::queue::Queue;
use crate::store::Store;
use crate::telemetry::{known_labels, metrics, secrets};

/// Bytes of a large output that stay in the run.
const PREVIEW_BYTES: usize = 2000;
/// Most violations of a schema in one error.
const MAX_VIOLATIONS: usize = 5;

/// The tools of this process. Cheap to clone.
#[derive(Clone)]
pub struct Toolbox {
    tools: Arc<BTreeMap<String, Registered>>,
    known: KnownTools,
    workspace: Workspace,
    store: Store,
    timeout: Duration,
    max_output_bytes: usize,
    tree: TreeBudget,
    orders: Arc<CreateTask>,
    unclaimed_ms: i64,
    writes_to_people: bool,
}

#[derive(Clone)]
struct Registered {
    tool: Arc<dyn Tool>,
    spec: Arc<ToolSpec>,
    schema: Arc<Validator>,
}

impl Registered {
    fn known(&self) -> KnownTool {
        KnownTool { spec: Arc::clone(&self.spec), schema: Arc::clone(&self.schema) }
    }
}

impl Toolbox {
    /// All built-in tools. They read `store`, and insert tasks through `queue`.
    ///
    /// # Errors
    /// Names the setting that cannot be used (a workspace that is no folder, a bad network, a bad database URL).
    pub fn new(settings: &Settings, store: &Store, queue: &Queue) -> Result<Self, ToolboxError> {
        if settings.workspace.exists() && !settings.workspace.is_dir() {
            let reason = format!("{} is no folder", settings.workspace.display());
            return Err(ToolboxError::new("workspace", reason));
        }
        let workspace = Workspace::new(&settings.workspace, settings.files.max_bytes, store.identity())
            .with_opened(&settings.files.folders);
        let known = KnownTools::default();
        let http = Arc::new(HttpRequest::new(&settings.http, Arc::new(SystemLookup))?);
        let orders = Arc::new(CreateTask::new(store.clone(), queue.clone(), Arc::clone(&known), settings));
        let tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(Calculate),
            Arc::clone(&http) as Arc<dyn Tool>,
            Arc::new(ListFiles::new(workspace.clone())),
            Arc::new(ReadFile::new(workspace.clone())),
            Arc::new(WriteFile::new(workspace.clone())),
            Arc::new(GetState::new(store.clone())),
            Arc::new(SetState::new(store.clone())),
            Arc::new(SaveArtifact::new(store.clone())),
            Arc::new(ReadArtifact::new(store.clone(), settings.max_output_bytes)),
            Arc::new(VectorSearch::new(store.clone(), None)),
            Arc::clone(&orders) as Arc<dyn Tool>,
            Arc::new(SqlQuery::new(&settings.sql)?),
            Arc::new(QueryTable::new(store.clone(), workspace.clone(), http)),
        ];
        let empty = Self {
            tools: Arc::default(),
            known,
            workspace,
            store: store.clone(),
            timeout: Duration::from_millis(settings.timeout_ms),
            max_output_bytes: settings.max_output_bytes,
            tree: settings.tree.clone(),
            orders,
            unclaimed_ms: settings.unclaimed_ms,
            writes_to_people: settings.files.folders.values().any(|folder| folder.write),
        };
        tools.into_iter().try_fold(empty, Self::with)
    }

    /// The same toolbox with one tool more.
    ///
    /// # Errors
    /// When a tool of that name exists, or one of its schemas is invalid: no tool can replace another one.
    pub fn with(mut self, tool: Arc<dyn Tool>) -> Result<Self, ToolboxError> {
        let spec = tool.spec();
        let name = spec.name.clone();
        let schema = jsonschema::validator_for(&spec.parameters)
            .map_err(|error| ToolboxError::new(&name, format!("its schema is not valid: {error}")))?;
        jsonschema::validator_for(&spec.output)
            .map_err(|error| ToolboxError::new(&name, format!("the schema of its output is not valid: {error}")))?;
        let registered = Registered { tool, spec: Arc::new(spec), schema: Arc::new(schema) };
        if self.tools.contains_key(&name) {
            return Err(ToolboxError::new(name, "there are two tools of this name"));
        }
        known_labels::begin_tool(&name);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), registered.known());
        Arc::make_mut(&mut self.tools).insert(name, registered);
        Ok(self)
    }

    /// The same toolbox with a `vector_search` that takes texts.
    ///
    /// # Errors
    /// Never, unless the tool's own schema is invalid.
    pub fn with_embedder(mut self, embedder: Arc<dyn TextEmbedder>) -> Result<Self, ToolboxError> {
        Arc::make_mut(&mut self.tools).remove(vector_search::NAME);
        let tool = VectorSearch::new(self.store.clone(), Some(embedder));
        self.with(Arc::new(tool))
    }

    /// Every tool of this process, by name.
    pub fn all(&self) -> impl Iterator<Item = &ToolSpec> {
        self.tools.values().map(|registered| registered.spec.as_ref())
    }

    pub(super) const fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// What makes the tasks of steps.
    pub(super) const fn orders(&self) -> &Arc<CreateTask> {
        &self.orders
    }

    /// Whether tasks may write into a folder that the configuration opens.
    pub(crate) const fn writes_to_people(&self) -> bool {
        self.writes_to_people
    }

    pub(super) const fn unclaimed_ms(&self) -> i64 {
        self.unclaimed_ms
    }

    /// Limits of a task and its descendants together.
    #[must_use]
    pub const fn tree_budget(&self) -> &TreeBudget {
        &self.tree
    }

    /// The tools that `profile` may use, by name.
    #[must_use]
    pub fn specs(&self, profile: &AgentProfile) -> Vec<Arc<ToolSpec>> {
        let allowed = self.tools.values().filter(|registered| profile.allows(&registered.spec.name));
        allowed.map(|registered| Arc::clone(&registered.spec)).collect()
    }

    /// The tools that `profile` may use and a model can: without those that nothing is configured for.
    #[must_use]
    pub fn usable_specs(&self, profile: &AgentProfile) -> Vec<Arc<ToolSpec>> {
        let usable = self.tools.values().filter(|registered| registered.tool.is_usable());
        let allowed = usable.filter(|registered| profile.allows(&registered.spec.name));
        allowed.map(|registered| Arc::clone(&registered.spec)).collect()
    }

    /// Everything that is wrong with a given plan, which may use the tools that `is_allowed` names. What only the tools
    /// themselves can tell, which may take a while, is checked until `until`.
    pub fn plan_faults(&self, plan: &Plan, is_allowed: impl Fn(&str) -> bool, until: Instant) -> Vec<String> {
        let allowed: Vec<&Registered> = self.tools.values().filter(|tool| is_allowed(&tool.spec.name)).collect();
        let known: Vec<KnownTool> = allowed.iter().map(|tool| tool.known()).collect();
        let mut faults = plan_faults(plan, &known);
        if plan.check_size().is_err() {
            return faults;
        }
        let call = |step: &PlanStep| {
            let tool = allowed.iter().find(|tool| step.tool.as_ref() == Some(&tool.spec.name))?;
            // The tools read only arguments that fit their schemas.
            let fault = tool.tool.fault(&step.arguments).filter(|_| argument_faults(step, &tool.spec).is_empty())?;
            Some(format!("step {:?}: {fault}", step.id))
        };
        faults.extend(plan.steps.iter().take_while(|_| Instant::now() < until).filter_map(call));
        faults
    }

    /// Calls a tool for an agent: allow-list, schema, time limit, size limit, metrics. Never panics.
    ///
    /// Cancel-safe: when dropped, the call is aborted at its next await.
    ///
    /// # Errors
    /// Permanent for a tool that does not exist or is not allowed, invalid for arguments that break the schema, timeout
    /// after `tools.timeout_ms`; otherwise what the tool says.
    pub async fn call(&self, profile: &AgentProfile, context: &ToolContext, call: &ToolCall) -> ToolResult {
        let started = Instant::now();
        let registered = self.tools.get(&call.tool);
        // Names that a model made up would be labels without end.
        let label = registered.map_or("unknown", |registered| registered.spec.name.as_str()).to_owned();
        let outcome = match registered {
            Some(registered) if profile.allows(&call.tool) => {
                let rights = Rights::of(profile).and(&context.rights);
                let context = ToolContext { rights, ..context.clone() };
                self.run(registered, &context, call).await
            }
            _ => Err(self.not_allowed(profile, context, &call.tool)),
        };
        let outcome = without_secrets(outcome);
        let result = outcome.as_ref().map_or_else(|failure| failure.class.as_str(), |_| "ok");
        metrics::TOOL_CALLS.inc([label.as_str(), result]);
        metrics::TOOL_CALL_SECONDS.record(started.elapsed(), [label.as_str()]);
        outcome
    }

    fn not_allowed(&self, profile: &AgentProfile, context: &ToolContext, tool: &str) -> Failure {
        let allowed: Vec<&str> = self.tools.keys().map(String::as_str).filter(|name| profile.allows(name)).collect();
        let name = excerpt(tool, 100);
        let reason = format!("agent {:?} may not use tool {name:?}; it may use: {}", profile.name, allowed.join(", "));
        refused(&name, context, reason)
    }

    async fn run(&self, registered: &Registered, context: &ToolContext, call: &ToolCall) -> ToolResult {
        let arguments = registered.tool.prepare(call.arguments.clone());
        check_arguments(registered, &arguments)?;
        let (tool, context_of_call) = (Arc::clone(&registered.tool), context.clone());
        // A task of its own, so that a panic ends the call and not the worker.
        let running = AbortOnDropHandle::new(tokio::spawn(
            async move { tool.call(&context_of_call, arguments).await }.in_current_span(),
        ));
        let name = &registered.spec.name;
        let output = match tokio::time::timeout(self.timeout, running).await {
            Ok(Ok(outcome)) => outcome?,
            Ok(Err(error)) if error.is_panic() => {
                tracing::error!(tool = %name, task = %context.task_id, "tool panicked");
                return Err(Failure::permanent(format!("tool {name} panicked; this is a fault of the tool")));
            }
            Ok(Err(_)) => return Err(Failure::new(FailureClass::Cancelled, format!("tool {name} was stopped"))),
            Err(_) => {
                let limit = self.timeout.as_millis();
                return Err(Failure::timeout(format!("tool {name} did not end within {limit} ms")));
            }
        };
        // Redacted before it is shortened, because half a secret is not recognised.
        self.shorten(name, context, without_secrets(Ok(output))?).await
    }

    /// Puts an output that is too long for the run into an artifact, and refers to it.
    pub(super) async fn shorten(&self, tool: &str, context: &ToolContext, output: Value) -> ToolResult {
        let text = output.to_string();
        if text.len() <= self.max_output_bytes {
            return Ok(output);
        }
        // The same name for a repeated call, so that it replaces what the first one wrote.
        let name = format!("{tool}-{}.json", derived(&["output", &context.idempotency_key]).simple());
        self.store
            .save_artifact(context.task_id, &context.step, &name, "application/json", text.as_bytes(), clock::now())
            .await
            .map_err(|error| store_failure(&error))?;
        let (bytes, goal, most) = (text.len(), context.goal.clone(), PREVIEW_BYTES.min(self.max_output_bytes));
        let preview = blocking(move || {
            Ok(passages::of_value(&output, &goal, most.saturating_sub(NOTHING_FITS.len() + 1)).marked())
        })
        .await?;
        Ok(artifact_output(&name, bytes, &preview))
    }

    /// The tasks of this store that have a folder in the workspace of this replica.
    ///
    /// # Errors
    /// When the workspace cannot be read.
    pub async fn folders(&self) -> Result<Vec<TaskId>, Failure> {
        let workspace = self.workspace.clone();
        blocking(move || workspace.tasks().map_err(|error| workspace_failure(&error))).await
    }

    /// Removes the folders of `tasks`, as far as they have any here.
    ///
    /// # Errors
    /// When one cannot be removed; the others are.
    pub async fn remove_folders(&self, tasks: Vec<TaskId>) -> Result<(), Failure> {
        let workspace = self.workspace.clone();
        blocking(move || {
            let remove = |failed, task| workspace.remove(task).err().or(failed);
            tasks.into_iter().fold(None, remove).map_or(Ok(()), |error| Err(workspace_failure(&error)))
        })
        .await
    }

    /// Makes the first file tool that a run of `task` calls remove a folder that is older than `created`, the time at which
    /// the task was created. Call it for runs that have started no step yet, and drop what it gives back when the run ends.
    pub fn begin_folder(&self, task: TaskId, created: Timestamp) -> FirstUse {
        self.workspace.begin(task, created)
    }

    /// Loads the output of a tool that became the artifact `name` of `task`, or the text of a file of that name.
    ///
    /// # Errors
    /// When the artifact is gone, cannot be read, or is a file that is no text.
    pub async fn content(&self, task: TaskId, name: &str, is_file: bool) -> ToolResult {
        if is_file {
            let bytes = self.file(task, name).await?;
            return String::from_utf8(bytes).map(Value::from).map_err(|_| {
                Failure::invalid(format!(
                    "the file {name:?} is no text in UTF-8, and ${{files.{name}}} stands for a text: give its name to a tool \
                     instead"
                ))
            });
        }
        let found = self.store.artifact(task, name).await.map_err(|error| store_failure(&error))?;
        let (_, bytes) = found.ok_or_else(|| {
            Failure::invalid(format!(
                "the output that became artifact {name:?} is no longer there; it must be made again"
            ))
        })?;
        json::read_bytes(&bytes)
            .map_err(|error| Failure::invalid(format!("artifact {name:?} holds no output of a tool: {error}")))
    }
}

/// An outcome without the secrets of this process, which files, databases and servers repeat.
fn without_secrets(mut outcome: ToolResult) -> ToolResult {
    let redactor = secrets::redactor();
    match &mut outcome {
        Ok(output) => redactor.redact_value(output),
        Err(failure) => failure.message = redactor.redact(&failure.message).into_owned(),
    }
    outcome
}

fn workspace_failure(error: &std::io::Error) -> Failure {
    Failure::transient(format!("the folders of tasks (tools.workspace): {error}"))
}

/// Holds arguments against the schema. Values are left out of the message: they may be long or secret.
fn check_arguments(registered: &Registered, arguments: &Value) -> Result<(), Failure> {
    let violations: Vec<String> = registered
        .schema
        .iter_errors(arguments)
        .take(MAX_VIOLATIONS)
        .map(|error| match error.instance_path().as_str() {
            "" => error.masked().to_string(),
            path => format!("{path}: {}", error.masked()),
        })
        .collect();
    if violations.is_empty() {
        return Ok(());
    }
    let message = excerpt(&violations.join("; "), 1000);
    Err(Failure::invalid(format!("bad arguments for {}: {message}", registered.spec.name)))
}
