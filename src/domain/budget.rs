//! What a run may spend, and what it has spent.

use serde::{Deserialize, Serialize};

use super::conversation::Usage;

/// Upper limits of one run of an agent, all attempts of the task together. Each is looked at before a call is made; calls
/// under way end first, and may go over it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Steps started, replanned ones included.
    pub max_steps: u32,
    /// Calls to the model.
    pub max_model_calls: u32,
    /// Prompt and completion tokens together.
    pub max_tokens: u64,
    /// Cost in US dollars; priced only where the configuration has prices.
    pub max_cost_usd: f64,
    /// New plans made after a failure.
    pub max_replans: u32,
    /// Model turns within one step that needs judgement.
    pub max_turns_per_step: u32,
    /// Time at work, in seconds; waiting between attempts does not count.
    pub max_duration_s: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_steps: 50,
            max_model_calls: 50,
            max_tokens: 500_000,
            max_cost_usd: 5.0,
            max_replans: 2,
            max_turns_per_step: 12,
            max_duration_s: 3_600,
        }
    }
}

/// What a run has spent so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Steps started.
    pub steps: u32,
    /// Calls to the model that were answered or failed.
    pub model_calls: u32,
    /// New plans made after a failure.
    pub replans: u32,
    /// Tokens, as the endpoint counted them.
    pub usage: Usage,
    /// Cost in US dollars.
    pub cost_usd: f64,
    /// Time at work, in milliseconds.
    pub active_ms: u64,
}

impl Budget {
    /// The first limit that `spent` has reached, in words; `None` while there is room for one more call.
    #[must_use]
    pub fn exhausted_by(&self, spent: &Spent) -> Option<String> {
        if spent.model_calls >= self.max_model_calls {
            return Some(format!("max_model_calls of {} reached", self.max_model_calls));
        }
        if spent.usage.total() >= self.max_tokens {
            return Some(format!("max_tokens of {} reached ({} used)", self.max_tokens, spent.usage.total()));
        }
        if spent.cost_usd >= self.max_cost_usd {
            return Some(format!("max_cost_usd of {} reached ({:.4} used)", self.max_cost_usd, spent.cost_usd));
        }
        self.out_of_time(spent)
    }

    /// The limit of time, in words, when `spent` has reached it.
    #[must_use]
    pub fn out_of_time(&self, spent: &Spent) -> Option<String> {
        let max = self.max_duration_s;
        let is_up = spent.active_ms >= max.saturating_mul(1_000);
        is_up.then(|| format!("max_duration_s of {max} reached"))
    }
}
