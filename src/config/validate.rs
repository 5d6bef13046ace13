//! What types cannot say: ranges, relations between settings, shapes of addresses and names.

use std::net::SocketAddr;

use secrecy::{ExposeSecret as _, SecretString};
use tokio_cron_scheduler::Job;

use super::Config;
use crate::domain::host::pattern_fault;
use crate::domain::retry::RetryPolicy;
use crate::domain::tree::MAX_TREE_TASKS;
use crate::telemetry;
use crate::tools::NAMES;
use crate::tools::http::AllowList;
use crate::tools::sql::SqlQuery;

/// Adds every problem of `config` to `problems`.
pub(super) fn check(config: &Config, problems: &mut Vec<String>) {
    let mut checks = Checks(problems);
    store(config, &mut checks);
    runner(config, &mut checks);
    limits(config, &mut checks);
    model(config, &mut checks);
    tools(config, &mut checks);
    api(config, &mut checks);
    tree(config, &mut checks);
    agents(config, &mut checks);
    times(config, &mut checks);
    if let Err(reason) = telemetry::logging::check_filter(&config.log.filter) {
        checks.add(format!(
            "log.filter = {:?} is no filter ({reason}): use a level such as info, or \"info,qron::worker=debug\"",
            config.log.filter
        ));
    }
}

struct Checks<'a>(&'a mut Vec<String>);

impl Checks<'_> {
    fn add(&mut self, problem: String) {
        self.0.push(problem);
    }

    fn unless(&mut self, fine: bool, problem: impl FnOnce() -> String) {
        if !fine {
            self.0.push(problem());
        }
    }

    fn at_least<T: Copy + PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, least: T) {
        self.unless(value >= least, || format!("{key} = {value} is too small: use {least} or more"));
    }

    /// A time that can be added to any other.
    fn at_most(&mut self, key: &str, value: u64, most: u64) {
        self.unless(value <= most, || format!("{key} = {value} is too large: use {most} or less"));
    }

    /// An address that others can reach needs a secret.
    fn guarded(&mut self, section: &str, address: SocketAddr, key: &str, secret: &SecretString) {
        let guarded = address.ip().is_loopback() || !secret.expose_secret().is_empty();
        self.unless(guarded, || {
            format!("{section}.address = \"{address}\" can be reached from other hosts: set {section}.{key}, or use 127.0.0.1")
        });
    }

    /// What goes into a header must fit there.
    fn header(&mut self, key: &str, secret: &SecretString) {
        let fine = secret.expose_secret().chars().all(|c| c.is_ascii_graphic());
        self.unless(fine, || {
            format!("{key} holds a space, a line break or another character that an HTTP header cannot carry: use printable ASCII without spaces")
        });
    }

    /// `example` is a URL that would do.
    fn http_url(&mut self, key: &str, url: &str, example: &str) {
        if url.is_empty() {
            return;
        }
        let parsed = reqwest::Url::parse(url);
        let fine = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        // A URL may hold a password, so it is not repeated.
        self.unless(fine, || {
            format!("{key} is no HTTP URL: use http:// or https://, a host and a port, e.g. {example}")
        });
    }

    fn delays(&mut self, section: &str, policy: &RetryPolicy) {
        self.at_least(&format!("{section}.base_ms"), policy.base_ms, 1);
        self.unless(policy.base_ms <= policy.max_ms, || {
            format!("{section}.base_ms = {} is more than {section}.max_ms = {}: use at most that, or raise {section}.max_ms", policy.base_ms, policy.max_ms)
        });
    }
}

fn store(config: &Config, checks: &mut Checks<'_>) {
    let store = &config.store;
    checks.http_url("store.url", &store.url, "http://127.0.0.1:6334");
    checks.header("store.api_key", &store.api_key);
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    checks.unless(store.prefix.len() <= 64 && store.prefix.chars().all(named), || {
        format!("store.prefix = {:?} is not allowed: use up to 64 letters, digits, _ and -", store.prefix)
    });
    checks.at_least("store.timeout_ms", store.timeout_ms, 1);
    checks.at_least("store.replication_factor", store.replication_factor, 1);
    checks.unless(cfg!(feature = "embedded") || !store.url.is_empty(), || {
        "store.url is empty, and this build of qron has no embedded store: set store.url (QRON__STORE__URL) to the gRPC port \
         of a Qdrant server, or use a build with the feature \"embedded\""
            .to_owned()
    });
    let embedded = &config.embedded;
    checks.unless(!embedded.data_dir.as_os_str().is_empty(), || {
        "embedded.data_dir is empty: name a folder for the data".to_owned()
    });
    checks.guarded("embedded", embedded.address, "api_key", &embedded.api_key);
    checks.header("embedded.api_key", &embedded.api_key);
    let artifacts = &config.artifacts;
    checks.at_least("artifacts.max_bytes", artifacts.max_bytes, 1);
}

fn runner(config: &Config, checks: &mut Checks<'_>) {
    let scheduler = &config.scheduler;
    if let Err(reason) = scheduler.zone.check() {
        checks.add(format!("scheduler.zone: {reason}"));
    }
    checks.unless(Job::new(scheduler.sweep.as_str(), |_, _| {}).is_ok(), || {
        format!(
            "scheduler.sweep = {:?} is no cron expression: use six fields, seconds first, e.g. \"0 * * * * *\" for every minute",
            scheduler.sweep
        )
    });
    checks.at_least("scheduler.missed_after_ms", scheduler.missed_after_ms, 1_000);
    let worker = &config.worker;
    checks.at_least("worker.heartbeat_ms", worker.heartbeat_ms, 1);
    checks.unless(worker.heartbeat_ms.saturating_mul(3) <= worker.lease_ms, || {
        format!(
            "worker.heartbeat_ms = {} is too long for worker.lease_ms = {}: use {} or less, a third of it",
            worker.heartbeat_ms,
            worker.lease_ms,
            worker.lease_ms / 3
        )
    });
    checks.delays("retry", &config.retry);
}

/// Ten years: times that are longer mean "for ever", and their sums may not exist.
const LONGEST_S: u64 = 315_360_000;

fn times(config: &Config, checks: &mut Checks<'_>) {
    let Config { store, scheduler, worker, retry, model, tools, .. } = config;
    for (key, ms) in [
        ("store.timeout_ms", store.timeout_ms),
        ("scheduler.missed_after_ms", scheduler.missed_after_ms),
        ("worker.lease_ms", worker.lease_ms),
        ("worker.heartbeat_ms", worker.heartbeat_ms),
        ("retry.max_ms", retry.max_ms),
        ("retry.max_retry_after_ms", retry.max_retry_after_ms),
        ("model.timeout_ms", model.timeout_ms),
        ("model.circuit_open_ms", model.circuit_open_ms),
        ("model.retry.max_ms", model.retry.max_ms),
        ("model.retry.max_retry_after_ms", model.retry.max_retry_after_ms),
        ("tools.timeout_ms", tools.timeout_ms),
        ("tools.http.timeout_ms", tools.http.timeout_ms),
    ] {
        checks.at_most(key, ms, LONGEST_S * 1_000);
    }
    for (key, seconds) in [
        ("worker.grace_s", worker.grace_s),
        ("approvals.expire_s", config.approvals.expire_s),
        ("retention.every_s", config.retention.every_s),
        ("model.patience_s", model.patience_s),
        ("api.head_timeout_s", config.api.head_timeout_s),
    ] {
        checks.at_most(key, seconds, LONGEST_S);
    }
    for (name, database) in &tools.sql {
        checks.at_most(&format!("tools.sql.{name}.timeout_ms"), database.timeout_ms, LONGEST_S * 1_000);
    }
    for (name, agent) in &config.agents {
        checks.at_most(&format!("agents.{name}.budget.max_duration_s"), agent.budget.max_duration_s, LONGEST_S);
    }
}

fn limits(config: &Config, checks: &mut Checks<'_>) {
    let (keys, agents) = (&config.limits.keys, &config.limits.agents);
    for name in agents.keys().filter(|name| !config.agents.contains_key(*name)) {
        let known: Vec<&str> = config.agents.keys().map(String::as_str).collect();
        checks.add(format!(
            "limits.agents.{name} names an agent that does not exist; the agents are: {}",
            known.join(", ")
        ));
    }
    let all = keys.iter().map(|limit| ("keys", limit)).chain(agents.iter().map(|limit| ("agents", limit)));
    for (section, (name, limit)) in all {
        let section = format!("limits.{section}.{name:?}");
        checks.at_least(&format!("{section}.max_running"), limit.max_running.unwrap_or(1), 1);
        checks.at_least(&format!("{section}.starts"), limit.starts.unwrap_or(1), 1);
        checks.at_least(&format!("{section}.per_s"), limit.per_s, 1);
    }
    for (name, limit) in &config.limits.users {
        checks.at_least(&format!("limits.users.{name:?}.max_queued"), limit.max_queued.unwrap_or(1), 1);
    }
}

fn tree(config: &Config, checks: &mut Checks<'_>) {
    let tree = &config.tree;
    for (key, value) in [
        ("max_tasks", tree.max_tasks),
        ("max_model_calls", tree.max_model_calls),
        ("max_tokens", tree.max_tokens),
        ("max_duration_s", tree.max_duration_s),
    ] {
        checks.at_least(&format!("tree.{key}"), value, 1);
    }
    checks.unless(tree.max_tasks <= MAX_TREE_TASKS, || {
        format!("tree.max_tasks = {} is too large: the most is {MAX_TREE_TASKS}", tree.max_tasks)
    });
    let cost = tree.max_cost_usd;
    checks.unless(cost.is_finite() && cost >= 0.0, || {
        format!("tree.max_cost_usd = {cost} is out of range: use zero or more")
    });
}

/// A warning for each limit of an agent that no task of a tree can use up, because the tree has a smaller one.
pub(super) fn beyond_tree(config: &Config) -> Vec<String> {
    let tree = &config.tree;
    let mut warnings = Vec::new();
    for (name, agent) in &config.agents {
        let budget = &agent.budget;
        let limits = [
            ("max_model_calls", f64::from(budget.max_model_calls), as_number(tree.max_model_calls)),
            ("max_tokens", as_number(budget.max_tokens), as_number(tree.max_tokens)),
            ("max_cost_usd", budget.max_cost_usd, tree.max_cost_usd),
            ("max_duration_s", as_number(budget.max_duration_s), as_number(tree.max_duration_s)),
        ];
        for (key, of_agent, of_tree) in limits.into_iter().filter(|(_, of_agent, of_tree)| of_agent > of_tree) {
            warnings.push(format!(
                "agents.{name}.budget.{key} = {of_agent} is more than tree.{key} = {of_tree}: a task that makes tasks, or was \
                 made by one, ends at the smaller one; raise tree.{key}, or lower the budget"
            ));
        }
    }
    warnings
}

#[expect(clippy::cast_precision_loss, reason = "only compared and shown")]
const fn as_number(limit: u64) -> f64 {
    limit as f64
}

fn model(config: &Config, checks: &mut Checks<'_>) {
    let model = &config.model;
    checks.http_url("model.base_url", &model.base_url, "http://127.0.0.1:11434/v1");
    checks.header("model.api_key", &model.api_key);
    model.problems().into_iter().for_each(|problem| checks.add(problem));
    checks.delays("model.retry", &model.retry);
    let embeddings = &config.embeddings;
    checks.unless((1..=65_536).contains(&embeddings.dimensions), || {
        format!("embeddings.dimensions = {} is out of range: use 1 to 65536", embeddings.dimensions)
    });
    checks.unless(embeddings.model.is_empty() || config.has_model(), || {
        "embeddings.model needs an endpoint: set model.base_url or model.api_key (OPENAI_BASE_URL, OPENAI_API_KEY)"
            .to_owned()
    });
}

fn tools(config: &Config, checks: &mut Checks<'_>) {
    let tools = &config.tools;
    checks.at_least("tools.timeout_ms", tools.timeout_ms, 1);
    checks.at_least("tools.max_output_bytes", tools.max_output_bytes, 256);
    checks.at_least("tools.http.timeout_ms", tools.http.timeout_ms, 1);
    checks.at_least("tools.http.max_response_bytes", tools.http.max_response_bytes, 1);
    checks.at_least("tools.files.max_bytes", tools.files.max_bytes, 1);
    for (name, folder) in &tools.files.folders {
        checks.unless(is_short_name(name), || {
            format!(
                "tools.files.folders.{name:?} is not allowed as the name of a folder: use 1 to 64 letters, digits, _ and -"
            )
        });
        checks.unless(!folder.path.as_os_str().is_empty(), || {
            format!("tools.files.folders.{name}.path is empty: name the folder")
        });
    }
    for entry in &tools.http.allow {
        if let Err(reason) = AllowList::parse(std::slice::from_ref(entry)) {
            checks.add(format!("tools.http.allow: {reason}"));
        }
    }
    for (name, database) in &tools.sql {
        for problem in SqlQuery::problems(name, database) {
            checks.add(problem.to_string());
        }
        checks.at_least(&format!("tools.sql.{name}.max_rows"), database.max_rows, 1);
        checks.at_least(&format!("tools.sql.{name}.timeout_ms"), database.timeout_ms, 1);
    }
}

fn is_short_name(name: &str) -> bool {
    let may_be_in = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(may_be_in)
}

fn api(config: &Config, checks: &mut Checks<'_>) {
    let api = &config.api;
    checks.guarded("api", api.address, "token", &api.token);
    checks.header("api.token", &api.token);
    checks.at_least("api.max_body_bytes", api.max_body_bytes, 1024);
    checks.at_least("api.head_timeout_s", api.head_timeout_s, 1);
}

fn agents(config: &Config, checks: &mut Checks<'_>) {
    for (name, agent) in &config.agents {
        let section = format!("agents.{name}");
        checks.unless(is_short_name(name), || {
            format!("agents.{name:?} is not allowed as the name of an agent: use 1 to 64 letters, digits, _ and -")
        });
        checks.at_least(&format!("{section}.capacity"), agent.capacity, 1);
        checks.unless(
            agent
                .capabilities
                .iter()
                .chain(&agent.tools)
                .chain(&agent.needs_approval)
                .all(|word| !word.trim().is_empty()),
            || format!("{section} has an empty text in capabilities, tools or needs_approval: remove it"),
        );
        // One with a typo would silently be taken away, or be free to use.
        for (key, tools) in [("tools", &agent.tools), ("needs_approval", &agent.needs_approval)] {
            for tool in tools {
                checks.unless(tool == "*" || NAMES.contains(&tool.as_str()), || {
                    format!("{section}.{key} names the unknown tool {tool:?}; the tools are: {}", NAMES.join(", "))
                });
            }
        }
        for other in agent.delegates_to.iter().filter(|other| *other != "*" && !config.agents.contains_key(*other)) {
            let known: Vec<&str> = config.agents.keys().map(String::as_str).collect();
            checks.add(format!(
                "{section}.delegates_to names the unknown agent {other:?}; the agents are: {}",
                known.join(", ")
            ));
        }
        for fault in agent.egress.iter().filter_map(|pattern| pattern_fault(pattern)) {
            checks.add(format!("{section}.egress: {fault}"));
        }
        checks.unless(agent.model.as_ref().is_none_or(|model| !model.trim().is_empty()), || {
            format!("{section}.model is empty: leave it out to use model.models")
        });
        let cost = agent.budget.max_cost_usd;
        checks.unless(cost.is_finite() && cost >= 0.0, || {
            format!("{section}.budget.max_cost_usd = {cost} is out of range: use zero or more")
        });
        for (key, value) in [
            ("max_steps", u64::from(agent.budget.max_steps)),
            ("max_model_calls", u64::from(agent.budget.max_model_calls)),
            ("max_tokens", agent.budget.max_tokens),
            ("max_turns_per_step", u64::from(agent.budget.max_turns_per_step)),
            ("max_duration_s", agent.budget.max_duration_s),
        ] {
            checks.at_least(&format!("{section}.budget.{key}"), value, 1);
        }
    }
}
