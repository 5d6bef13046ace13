//! What is known of one model: whether it is in order, and how it wants to be asked.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use tokio::sync::watch;

use super::circuit::Circuit;
use super::wire::{Dialect, LimitField};
use super::{Settings, StructuredOutput};

/// Questions in a row answered in prose after which a model is taken for one that ignores `response_format`.
const IGNORED: u8 = 3;

pub(super) struct Model {
    pub(super) name: String,
    pub(super) circuit: Circuit,
    pub(super) structured_output: StructuredOutput,
    schema_in_prompt: AtomicBool,
    schemas_ignored: AtomicU8,
    /// Position in `limit_fields`.
    limit_field: AtomicU8,
    limit_fields: [LimitField; 3],
}

/// What a request had that a model may refuse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) schema: bool,
    pub(super) limit_field: Option<LimitField>,
}

impl Model {
    pub(super) fn new(name: &str, settings: &Settings, is_openai: bool, changed: watch::Sender<u64>) -> Self {
        use LimitField::{MaxCompletionTokens, MaxTokens, None};
        Self {
            name: name.to_owned(),
            circuit: Circuit::new(name, settings.circuit_failures, settings.circuit_open_ms, changed),
            structured_output: settings.structured_output,
            schema_in_prompt: AtomicBool::new(settings.structured_output == StructuredOutput::Never),
            schemas_ignored: AtomicU8::new(0),
            limit_field: AtomicU8::new(0),
            limit_fields: if is_openai {
                [MaxCompletionTokens, MaxTokens, None]
            } else {
                [MaxTokens, MaxCompletionTokens, None]
            },
        }
    }

    /// How to ask it, as far as is known.
    pub(super) fn dialect(&self) -> Dialect {
        let position = usize::from(self.limit_field.load(Ordering::Relaxed)).min(self.limit_fields.len() - 1);
        Dialect {
            native_schema: !self.schema_in_prompt.load(Ordering::Relaxed),
            limit_field: self.limit_fields[position],
        }
    }

    /// It does not know `response_format`.
    pub(super) fn refuse_schema(&self) {
        self.schema_in_prompt.store(true, Ordering::Relaxed);
    }

    /// It does not know `field`; true when there is another way to ask.
    pub(super) fn refuse_limit_field(&self, field: LimitField) -> bool {
        let Some(position) = self.limit_fields.iter().position(|known| *known == field) else { return false };
        let next = u8::try_from(position + 1).unwrap_or(u8::MAX);
        self.limit_field.fetch_max(next, Ordering::Relaxed);
        position + 1 < self.limit_fields.len()
    }

    /// It answered by the schema without being told twice.
    pub(super) fn followed_schema(&self) {
        self.schemas_ignored.store(0, Ordering::Relaxed);
    }

    /// It answered in prose when a schema was asked for.
    pub(super) fn ignored_schema(&self) {
        let ignored = self.schemas_ignored.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if ignored >= IGNORED && self.structured_output == StructuredOutput::Auto {
            self.refuse_schema();
        }
    }
}
