//! What the tests of the tools share.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use qron::domain::agent::AgentProfile;
use qron::domain::failure::Failure;
use qron::domain::id::TaskId;
use qron::domain::tool::{ToolCall, ToolResult, ToolSpec, as_artifact_output};
use qron::domain::tree::{Rights, TreeBudget};
use qron::store::{self, Store};
use qron::tools::{FileSettings, HttpSettings, Settings, Tool, ToolContext};
use serde_json::{Value, json};

use crate::support::{qdrant_url, unique_prefix};

pub(crate) fn context() -> ToolContext {
    ToolContext {
        task_id: TaskId::Number(7),
        user: None,
        goal: String::new(),
        step: "s1".to_owned(),
        idempotency_key: "7/s1/1".to_owned(),
        rights: Rights::default(),
        redirects: None,
        handed_over: None,
    }
}

pub(crate) fn agent(tools: &Value) -> AgentProfile {
    serde_json::from_value(json!({ "name": "tester", "tools": tools })).expect("a profile")
}

pub(crate) fn call_of(tool: &str, arguments: Value) -> ToolCall {
    ToolCall { id: "c1".to_owned(), step: "s1".to_owned(), tool: tool.to_owned(), arguments }
}

pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        zone: qron::domain::schedule::zone::Zone::UTC,
        tree: TreeBudget { max_tasks: 1_000, ..TreeBudget::default() },
        approvals: qron::domain::approval::ApprovalPolicy::default(),
        workspace: folder.join("workspace"),
        timeout_ms: 10_000,
        max_output_bytes: 4096,
        unclaimed_ms: 60_000,
        http: HttpSettings { allow: Vec::new(), max_response_bytes: 100_000, max_redirects: 3, timeout_ms: 5_000 },
        files: FileSettings { max_bytes: 100_000, folders: std::collections::BTreeMap::new() },
        sql: std::collections::BTreeMap::new(),
    }
}

pub(crate) async fn connect(folder: &Path) -> (Store, String) {
    let prefix = unique_prefix();
    let settings = store::Settings {
        url: qdrant_url(),
        api_key: String::new().into(),
        prefix: prefix.clone(),
        timeout_ms: 20_000,
        replication_factor: 1,
        zone: qron::domain::schedule::zone::Zone::UTC,
    };
    let artifacts =
        store::ArtifactSettings { inline_bytes: 1000, folder: folder.join("artifacts"), max_bytes: 1_000_000 };
    (Store::connect(&settings, &artifacts, None).await.expect("a store"), prefix)
}

/// What `tool` answers to `arguments`, held against the schema of its output.
pub(crate) async fn answer(tool: &dyn Tool, context: &ToolContext, arguments: Value) -> ToolResult {
    promised(&tool.spec(), tool.call(context, arguments).await)
}

/// `outcome`, after a check that an output is what `spec` promises, or refers to the artifact that holds it.
pub(crate) fn promised(spec: &ToolSpec, outcome: ToolResult) -> ToolResult {
    if let Ok(output) = &outcome
        && as_artifact_output(output).is_none()
    {
        let schema = jsonschema::validator_for(&spec.output).expect("a schema");
        let faults: Vec<String> = schema.iter_errors(output).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{} answered {output}: {}", spec.name, faults.join("; "));
    }
    outcome
}

/// What a refused call says. Its line in the audit log is asserted, too.
pub(crate) async fn refusal(tool: &dyn Tool, arguments: Value) -> String {
    let audit = Audit::shared();
    let outcome = tool.call(&context(), arguments.clone()).await;
    let failure: Failure = outcome.expect_err(&arguments.to_string());
    let reason = failure.message.strip_prefix("refused: ");
    let reason = reason.unwrap_or_else(|| panic!("{arguments}: {failure}"));
    assert!(audit.holds(&[&format!("tool={:?}", tool.spec().name), reason]), "{arguments} is not audited");
    failure.message
}

/// The audit log of this process. One for all tests: a subscriber of one thread misses events while others come and go.
#[derive(Clone, Default)]
pub(crate) struct Audit(Arc<Mutex<Vec<u8>>>);

impl Audit {
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Audit> = OnceLock::new();
        SHARED.get_or_init(|| {
            let audit = Self::default();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter("qron::audit=info")
                .with_ansi(false)
                .with_writer(audit.clone())
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("nobody else logs");
            audit
        })
    }

    /// Whether one line of the audit log holds all of `texts`.
    pub(crate) fn holds(&self, texts: &[&str]) -> bool {
        let log = String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        log.lines().any(|line| line.contains("qron::audit") && texts.iter().all(|text| line.contains(text)))
    }
}

impl Write for Audit {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Audit {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
