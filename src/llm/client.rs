//! One exchange with one model: within the rate limits, counted, and tried again where that can help.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_openai::Client;
use async_openai::traits::RequestOptionsBuilder as _;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::blame::Blame;
use super::circuit::Circuit;
use super::errors::CallError;
use super::in_flight::Repeats;
use super::memory_budget::with_resources;
use super::model::{Model, RequestFeatures, Signals};
use super::negotiation::Negotiation;
use super::rate_limits::RateLimits;
use super::transport::{Endpoint, Transport};
use super::window::{PromptSize, is_learnt_from};
use super::wire::Dialect;
use super::{Settings, reading, streamed};
use crate::clock;
use crate::domain::conversation::{Usage, estimated_tokens};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::json::Size;
use crate::domain::number;
use crate::domain::outage::Access;
use crate::domain::retry::RetryDecision;
use crate::domain::time::Timestamp;
use crate::telemetry::large::beside_other_work;
use crate::telemetry::metrics;

/// Header that names the use of a request, for proxies that route or account by it.
const PURPOSE: &str = "x-qron-purpose";

/// The state that the clones of [`Models`](super::Models) share.
pub(super) struct ModelClient {
    pub(super) client: Client<Endpoint>,
    pub(super) settings: Settings,
    is_openai: bool,
    limits: RateLimits,
    /// Models by name: the configured ones, and those that agents name.
    models: Mutex<HashMap<String, Arc<Model>>>,
    /// Changes when a model may have become usable or unusable.
    pub(super) changed: watch::Sender<u64>,
    /// Changes when a call taught something about a model.
    pub(super) lessons: watch::Sender<u64>,
}

/// Tokens and cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExchangeCost {
    pub(super) usage: Usage,
    pub(super) cost_usd: f64,
}

/// Deadline for the tries and repairs of one request; waiting for qron's own limits extends it, and so do calls that are
/// asked again because they were queued.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after_ms(ms: u64) -> Self {
        Self(Instant::now() + Duration::from_millis(ms))
    }

    /// Whether an action that starts after `wait` starts in time.
    pub(super) fn allows(self, wait: Duration) -> bool {
        Instant::now() + wait < self.0
    }
}

/// One kind of exchange: chat or embeddings. It builds the request and reads the answer.
pub(super) trait Exchange {
    type Answer;
    /// Whether it goes to the embeddings of the endpoint, else to chat completions.
    const EMBEDDING: bool;
    /// The metric label, and the value of the header.
    fn purpose(&self) -> &'static str;
    /// Most tokens of the answer, for the rate limit.
    fn answer_tokens(&self) -> u64;
    /// Since when the task waits for the model, when an earlier try failed.
    fn waits_since(&self) -> Option<Timestamp> {
        None
    }
    fn body(&self, model: &Model, dialect: Dialect) -> (Value, RequestFeatures);
    /// Reads the answer to a request with the features `sent`.
    fn read(&self, body: &Value, sent: RequestFeatures) -> Result<Self::Answer, &'static str>;
}

impl ModelClient {
    pub(super) fn new(settings: &Settings, endpoint: Endpoint) -> Result<Self, Failure> {
        let transport = Transport::new(settings, &endpoint)?;
        let is_openai = endpoint.is_openai;
        // The service replaces the client's own way to send, and with it a layer of retries that knows no limits.
        let client = Client::build(transport.client(), endpoint).with_http_service(transport);
        let limits = RateLimits::new(settings.requests_per_minute, settings.tokens_per_minute);
        Ok(Self {
            client,
            settings: settings.clone(),
            is_openai,
            limits,
            models: Mutex::default(),
            changed: watch::Sender::new(0),
            lessons: watch::Sender::new(0),
        })
    }

    pub(super) fn model(&self, name: &str) -> Arc<Model> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let model = models.entry(name.to_owned());
        Arc::clone(model.or_insert_with(|| {
            let signals = Signals { changed: self.changed.clone(), lessons: self.lessons.clone() };
            Arc::new(Model::new(name, &self.settings, self.is_openai, signals))
        }))
    }

    /// Every model that was asked for so far.
    pub(super) fn all(&self) -> Vec<Arc<Model>> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.values().cloned().collect()
    }

    /// Sends one exchange to one model until it is answered or its tries are used up.
    pub(super) async fn call<E: Exchange + Sync>(
        &self,
        model: &Model,
        exchange: &E,
        spent: &mut ExchangeCost,
        deadline: &mut Deadline,
    ) -> Result<E::Answer, FailedExchange>
    where
        E::Answer: Send,
    {
        let time_limit = Duration::from_millis(self.settings.timeout_ms);
        let mut tried = 0;
        let mut repeats = Repeats::default();
        let mut first: Option<Failure> = None;
        let mut blame_tracker = BlameTracker::new(exchange.waits_since());
        let mut negotiation = Negotiation::new(model);
        loop {
            let blocked = |first: Option<Failure>, left| {
                FailedExchange::new(first.unwrap_or_else(|| circuit_open(model)).retry_after(ms(left)))
            };
            if let Access::Away(left) = model.circuit.access() {
                return Err(blocked(first, left));
            }
            let (body, features) = exchange.body(model, negotiation.dialect());
            let bytes = body.to_string().len();
            let prompt = PromptSize::of(&body);
            let estimate = estimated_tokens(bytes).saturating_add(exchange.answer_tokens());
            let began = Instant::now();
            self.limits.wait(estimate).await;
            let place = model.in_flight.enter().await;
            deadline.0 += began.elapsed();
            // What others found out while this call waited counts for it, too.
            let permit = match model.circuit.enter() {
                Ok(permit) => permit,
                Err(left) => {
                    self.limits.settle(estimate, 0);
                    return Err(blocked(first, left));
                }
            };

            let (result, held) = with_resources(self.send(model, exchange, body)).await;
            let mut used = Usage::default();
            let took = place.sent_at().elapsed();
            let first_piece = result.as_ref().ok().and_then(streamed::first_piece);
            if let Ok(body) = &result {
                // An answer that comes takes its time.
                deadline.0 += took.saturating_sub(first_piece.unwrap_or(took));
                used = reading::read_usage(body, bytes);
                self.account(model, used, spent);
            }
            self.limits.settle(estimate, used.total());
            let counted = result.as_ref().ok().and_then(reading::counted_prompt_tokens);
            let cut = counted.and_then(|tokens| model.cut_at(prompt.characters, tokens));
            let read = result.and_then(|body| {
                if let Some(window) = cut {
                    return Err(CallError::Cut(window));
                }
                beside_other_work(Size::of(&body).text, || exchange.read(&body, features)).map_err(CallError::Shape)
            });
            drop(held);
            let label = read.as_ref().err().map_or("ok", |error| error.failure(&model.name).class.as_str());
            metrics::MODEL_CALLS.inc([&model.name, exchange.purpose(), label]);
            let (error, failure) = match read {
                Ok(answer) => {
                    permit.succeed();
                    place.answered(first_piece.unwrap_or(took), time_limit);
                    negotiation.succeeded(model, features, first_piece.is_some());
                    return Ok(answer);
                }
                Err(error) => {
                    let failure = error.failure(&model.name);
                    (error, failure)
                }
            };
            let window = error.window();
            let is_named = matches!(error, CallError::Refused(_));
            if let Some(window) = window.filter(|window| !is_named || is_learnt_from(prompt.bytes, *window)) {
                model.learn_window(window);
            }
            if negotiation.adapt(model, &error, features) {
                tracing::info!(model = %model.name, %error, dialect = ?negotiation.dialect(), "trying again in another dialect");
                metrics::MODEL_RETRIES.inc([&model.name, failure.class.as_str()]);
                continue;
            }
            let expiry = matches!(error, CallError::TimedOut(_)).then(|| place.expired(time_limit));
            if expiry.is_some_and(|expiry| repeats.allow(expiry)) {
                tracing::info!(model = %model.name, purpose = exchange.purpose(), "the call waited behind others and is asked again in its turn");
                metrics::MODEL_RETRIES.inc([&model.name, failure.class.as_str()]);
                blame_tracker.was_overtaken |= expiry.is_some_and(|expiry| expiry.was_overtaken);
                deadline.0 += place.sent_at().elapsed();
                continue;
            }
            tried += 1;
            let delay = match self.settings.retry.judge(&failure, tried, self.settings.tries) {
                RetryDecision::RetryIn(ms) => Some(Duration::from_millis(ms)).filter(|delay| deadline.allows(*delay)),
                RetryDecision::GiveUp => None,
            };
            let blame = blame_tracker.blame(&error, &model.circuit, place.sent_at());
            drop(place);
            let reported = if blame == Blame::Question { failure.clone() } else { unavailable(&failure) };
            match blame {
                Blame::Outage => permit.fail(delay.is_none(), &reported),
                Blame::RateLimit if delay.is_none() => permit.rest(&reported),
                Blame::Question if error.may_be_outage() => permit.suspect(&unavailable(&failure)),
                Blame::Question if error.is_answered() => permit.succeed(),
                Blame::RateLimit | Blame::Question => drop(permit),
            }
            let Some(delay) = delay else {
                let too_long = error.is_too_long().then_some(TooLong { bytes: prompt.bytes, window });
                return Err(FailedExchange {
                    is_bad_key: is_bad_key(&error),
                    too_long,
                    ..FailedExchange::new(reported)
                });
            };
            tracing::info!(model = %model.name, purpose = exchange.purpose(), %failure, ?delay, "trying again");
            metrics::MODEL_RETRIES.inc([&model.name, failure.class.as_str()]);
            first.get_or_insert(reported);
            negotiation.failed(model, &error, features);
            tokio::time::sleep(delay).await;
        }
    }

    async fn send<E: Exchange>(&self, model: &Model, exchange: &E, body: Value) -> Result<Value, CallError> {
        let purpose = exchange.purpose();
        let began = Instant::now();
        let result: Result<Value, _> = if E::EMBEDDING {
            self.client.embeddings().header(PURPOSE, purpose)?.create_byot(body).await
        } else {
            self.client.chat().header(PURPOSE, purpose)?.create_byot(body).await
        };
        metrics::MODEL_CALL_SECONDS.record(began.elapsed(), [&model.name, purpose]);
        result.map_err(CallError::from)
    }

    fn account(&self, model: &Model, used: Usage, spent: &mut ExchangeCost) {
        metrics::MODEL_TOKENS.add(used.prompt_tokens, [&model.name, "prompt"]);
        metrics::MODEL_TOKENS.add(used.completion_tokens, [&model.name, "completion"]);
        spent.usage += used;
        let Some(price) = self.settings.prices.get(&model.name) else { return };
        let cost = price.of(used);
        spent.cost_usd = number::sum(spent.cost_usd, cost);
        metrics::MODEL_COST_USD.record_f64(cost, [&model.name]);
    }
}

/// Decides whether a failure is the fault of the request or of the model, by what else the model answers.
struct BlameTracker {
    /// Whether the model has answered a call before this one that was sent later, in an earlier try.
    was_overtaken: bool,
    /// When the request failed first, in this run or an earlier one of its task.
    failed: Option<Timestamp>,
    /// Whether an earlier failure was the fault of the request.
    is_proven: bool,
}

impl BlameTracker {
    fn new(failed: Option<Timestamp>) -> Self {
        Self { was_overtaken: false, failed, is_proven: false }
    }

    /// Attributes `error`, the failure of a try that began at `began`. What the model answered before that try is no sign:
    /// the request may have waited for its turn meanwhile.
    fn blame(&mut self, error: &CallError, circuit: &Circuit, began: Instant) -> Blame {
        let fails_alone = self.failed.is_some_and(|failed| circuit.answers_others_since(failed));
        self.is_proven |= fails_alone && error.may_be_outage();
        self.failed.get_or_insert_with(clock::now);
        error.blame(circuit.has_answered_since(began) || self.was_overtaken, self.is_proven)
    }
}

/// Why one model gave no answer.
#[derive(Debug)]
pub(super) struct FailedExchange {
    pub(super) failure: Failure,
    /// Whether the endpoint rejected the key, so that no other model can help.
    pub(super) is_bad_key: bool,
    /// Set when the question is longer than the model can read.
    pub(super) too_long: Option<TooLong>,
}

/// A question that is longer than the model can read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLong {
    /// Bytes of the question.
    pub(super) bytes: usize,
    /// How many tokens the model reads at once, as far as its server told.
    pub(super) window: Option<u32>,
}

impl FailedExchange {
    pub(super) fn new(failure: Failure) -> Self {
        Self { failure, is_bad_key: false, too_long: None }
    }
}

/// The failure while the circuit is open: the failure that the outage began with.
fn circuit_open(model: &Model) -> Failure {
    let cause = model.circuit.outage().map(|outage| outage.cause);
    cause.unwrap_or_else(|| {
        Failure::unavailable(format!(
            "model {:?} has just failed, and one other call is checking whether it answers again",
            model.name
        ))
    })
}

/// The same failure, attributed to the model instead of the request.
fn unavailable(failure: &Failure) -> Failure {
    Failure { class: FailureClass::Unavailable, ..failure.clone() }
}

fn ms(wait: Duration) -> Option<u64> {
    u64::try_from(wait.as_millis()).ok()
}

fn is_bad_key(error: &CallError) -> bool {
    matches!(error, CallError::Refused(refusal) if refusal.status == 401)
}
