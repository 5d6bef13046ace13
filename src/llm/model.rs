//! One model: its circuit, the dialect of its requests, and the length of its answers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::circuit::Circuit;
use super::in_flight::InFlightLimit;
use super::learnt::LearntRecord;
use super::size::is_small;
use super::window::SmallCount;
use super::wire::{Dialect, LimitField, SchemaForm, StreamForm};
use super::{Settings, StructuredOutput};
use crate::telemetry::known_labels;

/// Answers in prose in a row after which a model counts as one that ignores `response_format`.
const MAX_IGNORED_SCHEMAS: u8 = 3;
/// Answers in pieces that failed, each followed by a whole answer at the next try, after which a model counts as one that cannot
/// stream. One may be a coincidence.
const MIN_FAILED_STREAMS: u8 = 2;
/// How long a dialect is used that was learnt from failures which may have had another cause.
const DOUBT_TIME: Duration = Duration::from_hours(1);
/// Plans that cannot be used, without one that can, after which a model works in turns. A few goals that make a good model fail
/// must not change how it works on all others.
const MAX_UNUSABLE_PLANS: u32 = 8;
/// Least tokens that a model must read at once to work by plans: rules, tools and data of a plan have several thousand.
const LEAST_WINDOW_OF_PLANS: u32 = 8_192;
/// Factor by which the token limit of answers grows.
const GROWTH: u32 = 4;

pub(super) struct Model {
    pub(super) name: String,
    pub(super) circuit: Circuit,
    pub(super) in_flight: InFlightLimit,
    pub(super) structured_output: StructuredOutput,
    /// Further fields of the body of its chat requests.
    pub(super) extra_body: Map<String, Value>,
    limit_fields: [LimitField; 3],
    ceiling: u32,
    /// What is assumed before the first call.
    assumed: LearntRecord,
    lessons: watch::Sender<u64>,
    learnt: Mutex<LearntTraits>,
}

/// Counters that models change.
pub(super) struct Signals {
    /// Changes when the model may have become usable or unusable.
    pub(super) changed: watch::Sender<u64>,
    /// Changes when a call taught something about the model.
    pub(super) lessons: watch::Sender<u64>,
}

struct LearntTraits {
    dialect: Dialect,
    /// A dialect that seems to work instead, and since when.
    doubtful: Option<(Dialect, Instant)>,
    schemas_ignored: u8,
    /// Whether an answer came in pieces since the start.
    has_streamed: bool,
    /// Answers that came whole at the second try after one in pieces had failed.
    streams_failed: u8,
    output_limit: u32,
    plans: PlanRecord,
    /// How many tokens it reads at once, and since when that is known.
    window: Option<(u32, Instant)>,
    /// The last count of tokens that was far too small for its question.
    small_count: Option<SmallCount>,
}

/// What became of the plans of a model.
#[derive(Clone, Copy, Debug, Default)]
struct PlanRecord {
    has_usable: bool,
    unusable: u32,
    /// When the last unusable one was made.
    last: Option<Instant>,
}

impl PlanRecord {
    /// Whether no plan of many was usable of late. After a while the model may try again.
    fn are_hopeless(self) -> bool {
        let is_recent = self.last.is_some_and(|last| last.elapsed() < DOUBT_TIME);
        !self.has_usable && self.unusable >= MAX_UNUSABLE_PLANS && is_recent
    }
}

/// Features of a request that a model may refuse.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own that a request has or has not")]
pub(super) struct RequestFeatures {
    /// A schema, in any form other than in the prompt.
    pub(super) schema: bool,
    /// A schema with unions that has a form without.
    pub(super) unions: bool,
    pub(super) tools: bool,
    pub(super) tools_in_prompt: bool,
    pub(super) system: bool,
    /// Fields of earlier answers that qron sends back unread.
    pub(super) fields: bool,
    pub(super) limit_field: Option<LimitField>,
    /// The wish for an answer in pieces.
    pub(super) stream: bool,
}

impl Model {
    pub(super) fn new(name: &str, settings: &Settings, is_openai: bool, signals: Signals) -> Self {
        use LimitField::{MaxCompletionTokens, MaxTokens, None as Nothing};
        let limit_fields = if is_openai {
            [MaxCompletionTokens, MaxTokens, Nothing]
        } else {
            [MaxTokens, MaxCompletionTokens, Nothing]
        };
        known_labels::begin_model(name);
        let in_prompt = settings.structured_output == StructuredOutput::Never;
        let dialect = Dialect {
            schema: if in_prompt { SchemaForm::Prompt } else { SchemaForm::JsonSchema },
            plain_schemas: false,
            limit_field: limit_fields[0],
            tools_in_prompt: false,
            system_in_user: false,
            without_fields: false,
            stream: StreamForm::WithUsage,
        };
        Self {
            name: name.to_owned(),
            circuit: Circuit::new(name, settings.circuit_failures, settings.circuit_open_ms, signals.changed),
            in_flight: InFlightLimit::new(name),
            structured_output: settings.structured_output,
            extra_body: settings.extra_body.get(name).cloned().unwrap_or_default(),
            limit_fields,
            ceiling: settings.max_output_tokens_ceiling.max(settings.max_output_tokens),
            assumed: LearntRecord { dialect, output_limit: settings.max_output_tokens },
            lessons: signals.lessons,
            learnt: Mutex::new(LearntTraits {
                dialect,
                doubtful: None,
                schemas_ignored: 0,
                has_streamed: false,
                streams_failed: 0,
                output_limit: settings.max_output_tokens,
                plans: PlanRecord::default(),
                window: None,
                small_count: None,
            }),
        }
    }

    fn learnt(&self) -> MutexGuard<'_, LearntTraits> {
        // Each change is one assignment, so a panic leaves nothing half done.
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dialect for the model, and whether it is certain.
    pub(super) fn dialect(&self) -> (Dialect, bool) {
        let learnt = self.learnt();
        match learnt.doubtful {
            Some((dialect, since)) if since.elapsed() < DOUBT_TIME => (dialect, false),
            _ => (learnt.dialect, true),
        }
    }

    /// Learns a dialect that the model answered to. `is_certain` is false when an earlier refusal may have had
    /// another cause than the dialect.
    pub(super) fn learn(&self, dialect: Dialect, is_certain: bool) {
        let mut learnt = self.learnt();
        if is_certain {
            (learnt.dialect, learnt.doubtful) = (dialect, None);
            self.signal_lesson();
        } else {
            learnt.doubtful = Some((dialect, Instant::now()));
        }
    }

    fn signal_lesson(&self) {
        self.lessons.send_modify(|lessons| *lessons = lessons.wrapping_add(1));
    }

    /// What is known for certain; `None` while it is what was assumed.
    pub(super) fn record(&self) -> Option<LearntRecord> {
        let learnt = self.learnt();
        let record = LearntRecord { dialect: learnt.dialect, output_limit: learnt.output_limit };
        (record != self.assumed).then_some(record)
    }

    /// Takes over the record of an earlier process, as far as the settings allow.
    pub(super) fn restore(&self, record: LearntRecord) {
        let LearntRecord { dialect: assumed, output_limit: least } = self.assumed;
        let mut learnt = self.learnt();
        learnt.dialect = match self.structured_output {
            StructuredOutput::Auto => record.dialect,
            _ => Dialect { schema: assumed.schema, plain_schemas: assumed.plain_schemas, ..record.dialect },
        };
        learnt.output_limit = record.output_limit.clamp(least, self.ceiling);
    }

    /// The field for the token limit to try after `field`; `None` when there is no other.
    pub(super) fn limit_field_after(&self, field: LimitField) -> Option<LimitField> {
        let position = self.limit_fields.iter().position(|known| *known == field)?;
        self.limit_fields.get(position + 1).copied()
    }

    /// Records that the model followed the schema at the first try.
    pub(super) fn followed_schema(&self) {
        self.learnt().schemas_ignored = 0;
    }

    /// Records that the model answered in prose although a schema was requested.
    pub(super) fn ignored_schema(&self) {
        let mut learnt = self.learnt();
        learnt.schemas_ignored = learnt.schemas_ignored.saturating_add(1);
        if learnt.schemas_ignored >= MAX_IGNORED_SCHEMAS && self.structured_output == StructuredOutput::Auto {
            learnt.dialect.schema = SchemaForm::Prompt;
            self.signal_lesson();
            if let Some((doubtful, _)) = &mut learnt.doubtful {
                doubtful.schema = SchemaForm::Prompt;
            }
        }
    }

    /// Whether an answer of it has come in pieces since the start, so that a failure has another cause.
    pub(super) fn has_streamed(&self) -> bool {
        self.learnt().has_streamed
    }

    /// Records that an answer came in pieces.
    pub(super) fn streamed(&self) {
        self.learnt().has_streamed = true;
    }

    /// Records that an answer came whole after one in pieces had failed; returns whether that has happened too often for a
    /// coincidence.
    pub(super) fn streamed_badly(&self) -> bool {
        let mut learnt = self.learnt();
        learnt.streams_failed = learnt.streams_failed.saturating_add(1);
        learnt.streams_failed >= MIN_FAILED_STREAMS
    }

    /// Whether it works better in turns: it is small by its name, it reads too little at once for a plan, or none of its plans
    /// could be used.
    pub(super) fn takes_turns(&self) -> bool {
        let is_narrow = || self.window().is_some_and(|window| window < LEAST_WINDOW_OF_PLANS);
        is_small(&self.name) || is_narrow() || self.learnt().plans.are_hopeless()
    }

    /// How many tokens it reads at once, when its server has shown that within the last hour: the server may be started again
    /// with more.
    pub(super) fn window(&self) -> Option<u32> {
        self.learnt().window.filter(|(_, since)| since.elapsed() < DOUBT_TIME).map(|(window, _)| window)
    }

    /// Learns how many tokens it reads at once.
    pub(super) fn learn_window(&self, window: u32) {
        let known = self.learnt().window.replace((window, Instant::now()));
        if known.is_none_or(|(known, _)| known != window) {
            tracing::warn!(model = %self.name, tokens = window, "the model reads no more than this at once: long data are cut for it");
        }
    }

    /// Takes in how many tokens its server counted in a question of `characters`, and returns the window at which the server seems to
    /// have cut the question. A count above the window that is known shows that the server reads more by now.
    pub(super) fn cut_at(&self, characters: usize, tokens: u64) -> Option<u32> {
        let mut learnt = self.learnt();
        if let Some((window, _)) = learnt.window.take_if(|(window, _)| tokens > u64::from(*window)) {
            tracing::info!(model = %self.name, window, tokens, "the model has read more at once than was known: data are not cut any more");
        }
        let count = SmallCount::of(characters, tokens)?;
        let before = learnt.small_count.replace(count);
        count.window(before)
    }

    /// Records whether its plan could be used.
    pub(super) fn record_plan(&self, is_usable: bool) {
        let plans = &mut self.learnt().plans;
        if is_usable {
            plans.has_usable = true;
        } else {
            (plans.unusable, plans.last) = (plans.unusable.saturating_add(1), Some(Instant::now()));
        }
    }

    /// Most tokens of its answers, as far as is known.
    pub(super) fn output_limit(&self) -> u32 {
        self.learnt().output_limit
    }

    /// The highest limit of its answers.
    pub(super) const fn ceiling(&self) -> u32 {
        self.ceiling
    }

    /// Records that the model used up `limit` tokens before its first word; returns the limit for further requests,
    /// if there is a higher one.
    pub(super) fn raise_output_limit(&self, limit: u32) -> Option<u32> {
        let mut learnt = self.learnt();
        // Another request may have raised it already.
        if learnt.output_limit <= limit {
            learnt.output_limit = limit.saturating_mul(GROWTH).min(self.ceiling).max(learnt.output_limit);
            self.signal_lesson();
        }
        (learnt.output_limit > limit).then_some(learnt.output_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_model_without_a_usable_plan_works_in_turns_for_a_while() {
        let mut record = PlanRecord { unusable: MAX_UNUSABLE_PLANS - 1, last: Some(Instant::now()), has_usable: false };
        assert!(!record.are_hopeless());
        record.unusable += 1;
        assert!(record.are_hopeless());
        assert!(!PlanRecord { has_usable: true, ..record }.are_hopeless());
        tokio::time::advance(DOUBT_TIME).await;
        assert!(!record.are_hopeless());
    }
}
