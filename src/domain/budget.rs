//! What a task may spend, and what it has spent.

use serde::{Deserialize, Serialize};

use super::conversation::Usage;
use super::failure::{BudgetLimit, Failure};
use super::number;

/// Upper limits of one task, all its attempts together. No call starts that might exceed a limit; calls that are
/// under way end first.
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
    /// Working time, in seconds. Waiting between attempts does not count.
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

/// Price of a model in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// For tokens of the prompt.
    pub prompt: f64,
    /// For tokens of the answer.
    pub completion: f64,
}

impl Price {
    /// What `usage` costs, in US dollars.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "token counts fit into 53 bits")]
    pub fn of(&self, usage: Usage) -> f64 {
        (usage.prompt_tokens as f64 * self.prompt + usage.completion_tokens as f64 * self.completion) / 1e6
    }
}

/// What a task has spent so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Spent {
    /// Steps started.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub steps: u32,
    /// Calls to the model that were answered or failed.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub model_calls: u32,
    /// New plans made after a failure.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub replans: u32,
    /// Tokens, as the endpoint counted them.
    #[schema(required)]
    pub usage: Usage,
    /// Cost in US dollars.
    #[serde(deserialize_with = "number::amount")]
    #[schema(required)]
    pub cost_usd: f64,
    /// Time at work, in milliseconds.
    #[serde(deserialize_with = "number::count")]
    #[schema(required)]
    pub active_ms: u64,
}

impl Budget {
    /// The first limit that `spent` has reached; `None` while there is room for one more call.
    #[must_use]
    pub fn exhausted_by(&self, spent: &Spent) -> Option<Failure> {
        let over = |limit, message| Some(Failure::over_budget(limit, message));
        if spent.model_calls >= self.max_model_calls {
            return over(
                BudgetLimit::ModelCalls,
                format!("max_model_calls of {} reached: raise it in the budget of the agent", self.max_model_calls),
            );
        }
        let tokens = spent.usage.total();
        if tokens >= self.max_tokens {
            return over(
                BudgetLimit::Tokens,
                format!(
                    "max_tokens of {} reached ({tokens} used): raise it in the budget of the agent",
                    self.max_tokens
                ),
            );
        }
        if spent.cost_usd >= self.max_cost_usd {
            let message = format!(
                "max_cost_usd of {} reached ({:.4} used): raise it in the budget of the agent",
                self.max_cost_usd, spent.cost_usd
            );
            return over(BudgetLimit::Cost, message);
        }
        self.out_of_time(spent)
    }

    /// The limit of time, when `spent` has reached it.
    #[must_use]
    pub fn out_of_time(&self, spent: &Spent) -> Option<Failure> {
        let max = self.max_duration_s;
        let is_up = spent.active_ms >= max.saturating_mul(1_000);
        is_up.then(|| Failure::over_budget(BudgetLimit::Time, format!("the run has worked for {max} s, the most that max_duration_s of its budget allows: raise it, or split the task")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureClass;

    #[test]
    fn a_limit_that_is_reached_is_named_by_more_than_its_message() {
        let budget = Budget { max_model_calls: 2, max_tokens: 10, max_cost_usd: 0.5, ..Budget::default() };
        let within = Spent { model_calls: 1, cost_usd: 0.4, ..Spent::default() };
        assert_eq!(budget.exhausted_by(&within), None);
        let usage = Usage { prompt_tokens: 6, completion_tokens: 4 };
        for (spent, limit) in [
            (Spent { model_calls: 2, ..within.clone() }, BudgetLimit::ModelCalls),
            (Spent { usage, ..within.clone() }, BudgetLimit::Tokens),
            (Spent { cost_usd: 0.5, ..within.clone() }, BudgetLimit::Cost),
            (Spent { active_ms: budget.max_duration_s * 1_000, ..within.clone() }, BudgetLimit::Time),
        ] {
            let failure = budget.exhausted_by(&spent).expect("a limit");
            assert_eq!((failure.class, failure.budget), (FailureClass::BudgetExceeded, Some(limit)), "{failure}");
        }
    }

    #[test]
    fn the_limit_is_stored_with_the_failure_and_older_failures_are_read() {
        let failure = Failure::over_budget(BudgetLimit::ModelCalls, "no more");
        let stored = serde_json::to_value(&failure).expect("JSON");
        assert_eq!(stored["budget"], failure.budget.expect("a limit").as_str());
        assert_eq!(serde_json::from_value::<Failure>(stored).expect("readable"), failure);
        let older = serde_json::json!({"class": "budget_exceeded", "message": "max_steps of 3 reached"});
        assert_eq!(serde_json::from_value::<Failure>(older).expect("readable").budget, None);
    }
}
