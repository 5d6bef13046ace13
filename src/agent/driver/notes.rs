//! What the driver records and counts of a run.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Driver;
use crate::agent::machine::{ModelFailed, Note};
use crate::clock;
use crate::domain::conversation::{LONGER_CONTEXT, ModelReply};
use crate::domain::event::{Event, EventKind, Level};
use crate::domain::tool::{ToolCall, ToolResult};
use crate::telemetry::metrics;

impl Driver<'_> {
    pub(super) fn record_model_call(&self, purpose: &'static str, reply: &Result<ModelReply, ModelFailed>) {
        let event =
            |message: String| Event::new(EventKind::ModelCalled, message, clock::now()).with("purpose", purpose);
        self.recorder.note(match reply {
            Ok(reply) => event(format!("{} answered ({purpose})", reply.model))
                .with("model", reply.model.as_str())
                .with("prompt_tokens", reply.usage.prompt_tokens)
                .with("completion_tokens", reply.usage.completion_tokens),
            Err(failed) => event(format!("the model failed ({purpose}): {}", failed.failure))
                .level(Level::Warn)
                .with("class", failed.failure.class.as_str()),
        });
        if let Ok(ModelReply { model, data_left_out: bytes @ 1.., .. }) = reply {
            let message = format!(
                "{model} was not shown {bytes} bytes of data ({purpose}), because it reads no more at once; {LONGER_CONTEXT}"
            );
            let event = Event::new(EventKind::DataLeftOut, message, clock::now()).level(Level::Warn);
            self.recorder.note(event.with("purpose", purpose).with("bytes", *bytes).with("model", model.as_str()));
        }
    }

    pub(super) fn record_tool_call(&self, call: &ToolCall, result: &ToolResult) {
        let event = |message: String| {
            let event = Event::new(EventKind::ToolCalled, message, clock::now());
            event.with("step", call.step.as_str()).with("call", call.id.as_str()).with("tool", call.tool.as_str())
        };
        self.recorder.note(match result {
            Ok(_) => event(format!("{} returned (step {})", call.tool, call.step)),
            Err(failure) => event(format!("{} failed (step {}): {failure}", call.tool, call.step))
                .level(Level::Warn)
                .with("class", failure.class.as_str()),
        });
    }

    /// Records and counts the notes of the machine.
    pub(super) fn record_notes(&mut self) {
        for note in self.machine.take_notes() {
            let took = self.count(&note);
            let mut event = Event::new(note.kind, note.message, clock::now()).level(note.level);
            for (key, value) in note.data {
                event = event.with(key, value);
            }
            if let Some(ms) = took {
                event = event.with("ms", json!(ms));
            }
            self.recorder.note(event);
        }
    }

    /// Counts `note`; returns the duration of a step that ended, in milliseconds.
    fn count(&mut self, note: &Note) -> Option<u64> {
        let text = |key: &str| note.data.get(key).and_then(Value::as_str).unwrap_or_default();
        let outcome = match note.kind {
            EventKind::StepStarted => {
                self.started.insert(text("step").to_owned(), Instant::now());
                return None;
            }
            EventKind::Replanned => {
                metrics::AGENT_REPLANS.inc([]);
                return None;
            }
            EventKind::StepFinished => "ok",
            EventKind::StepFailed => text("class"),
            _ => return None,
        };
        metrics::AGENT_STEPS.inc([text("kind"), outcome]);
        let took = self.started.remove(text("step"))?.elapsed();
        metrics::AGENT_STEP_SECONDS.record(took, [text("kind")]);
        u64::try_from(took.as_millis()).ok()
    }
}
