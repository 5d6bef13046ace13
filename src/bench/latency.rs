//! Measures the time from a request to the API to the start of the run, on an idle runner.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::report::Latency;
use super::{BenchEnv, Options, now, percentile};
use crate::app::App;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;

/// Longest wait for a task to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Submits tasks of one small step at a steady rate, and compares the time of each request with the start of the run.
/// Both times are read from the clock of this machine, in whole milliseconds.
pub(super) async fn measure(env: &BenchEnv, options: &Options) -> anyhow::Result<Latency> {
    let app = App::start(env.config.clone()).await?;
    let answer = submit_all(env, options, &app.api_url()).await;
    app.shutdown().await?;
    let mut waits = answer?;
    waits.sort_by(f64::total_cmp);
    Ok(Latency {
        tasks: waits.len(),
        p50_ms: percentile(&waits, 0.5),
        p95_ms: percentile(&waits, 0.95),
        p99_ms: percentile(&waits, 0.99),
    })
}

async fn submit_all(env: &BenchEnv, options: &Options, api: &str) -> anyhow::Result<Vec<f64>> {
    let (client, url) = (reqwest::Client::new(), format!("{api}/api/v1/tasks"));
    let mut tick = tokio::time::interval(Duration::from_secs(1) / options.rate);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = JoinSet::new();
    for _ in 0..u64::from(options.rate) * options.seconds {
        tick.tick().await;
        let (client, url, token) = (client.clone(), url.clone(), env.config.api.token.clone());
        sent.spawn(async move { submit(&client, &url, &token).await });
    }
    let mut waits = Vec::new();
    for (id, at) in sent.join_all().await.into_iter().collect::<anyhow::Result<Vec<_>>>()? {
        let started = tokio::time::timeout(START_LIMIT, start_of(env, id))
            .await
            .with_context(|| format!("task {id} did not start within {} s", START_LIMIT.as_secs()))??;
        waits.push(Duration::from_millis(started.millis_since(at)).as_secs_f64() * 1_000.0);
    }
    Ok(waits)
}

async fn submit(
    client: &reqwest::Client,
    url: &str,
    token: &secrecy::SecretString,
) -> anyhow::Result<(TaskId, Timestamp)> {
    use secrecy::ExposeSecret as _;
    let steps = json!([{"id": "s1", "tool": "calculate", "arguments": {"expression": "1 + 1"}}]);
    let body = json!({"goal": "measure the latency", "plan": {"steps": steps}});
    let at = now();
    let mut request = client.post(url).json(&body);
    if !token.expose_secret().is_empty() {
        request = request.bearer_auth(token.expose_secret());
    }
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    let id = answer["id"].as_str().context("the answer of the API has no id of the new task")?;
    Ok((
        id.parse()
            .map_err(|error| anyhow::anyhow!("the answer of the API has an invalid id of the new task: {error}"))?,
        at,
    ))
}

async fn start_of(env: &BenchEnv, id: TaskId) -> anyhow::Result<Timestamp> {
    loop {
        if let Some(attempt) = env.store.attempts(id).await?.first() {
            return Ok(attempt.started_at);
        }
        tokio::time::sleep(super::POLL_INTERVAL).await;
    }
}
