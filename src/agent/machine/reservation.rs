//! Reserves tokens and cost for model calls, so that they stay within the limits together.
//!
//! A reservation lasts until the call is answered. It covers the prompt, by its size, and the longest answer, or as
//! much as the costliest call so far. A call that does not fit beside the others waits for them. A call that does not
//! fit alone is limited to an answer that the rest pays for, and is not made when that is next to nothing.

use super::state::{Reservation, State};
use super::tree::TreeState;
use super::{Machine, ModelCall, ModelFailed, Setup};
use crate::domain::budget::Price;
use crate::domain::conversation::Usage;
use crate::domain::failure::{BudgetLimit, Failure, FailureClass};

/// Fewest tokens that are worth an answer, unless the configured limit is lower.
const MIN_ANSWER_TOKENS: u64 = 256;

impl ModelFailed {
    /// Whether the model was in an outage and the call cost nothing, so that the run is unchanged.
    #[must_use]
    pub const fn was_away(&self) -> bool {
        matches!(self.failure.class, FailureClass::Unavailable) && self.usage.total() == 0
    }
}

/// Model calls of one run at a time when other tasks spend from the same tree: each may go over the budget of the tree by what is in
/// flight, because no run sees the calls of the others.
const MAX_CALLS_IN_TREE: usize = 2;

impl Machine {
    /// Reserves what `call` may cost, and limits its answer to what is left. `Ok(false)` when it must wait for the
    /// calls in flight, or for the account of its tree.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(super) fn reserve(&mut self, call: &mut ModelCall) -> Result<bool, Failure> {
        self.check_model()?;
        let Setup { budget, price, max_output_tokens, .. } = &self.setup;
        let State { spent, costliest, reserved, .. } = &mut self.state;
        if let Some(failure) = budget.exhausted_by(spent) {
            return Err(failure);
        }
        if let TreeState::Unread { is_wanted } = &mut self.tree {
            *is_wanted = true;
            return Ok(false);
        }
        let account = self.tree.known();
        if let Some(tree) = account {
            if let Some(failure) = tree.exhausted_by(spent, 0) {
                return Err(failure);
            }
            let is_busy = reserved.len() >= MAX_CALLS_IN_TREE;
            if is_busy || tree.exhausted_by(spent, reserved.len() as u64).is_some() {
                return Ok(false);
            }
        }
        let longest = u64::from(*max_output_tokens);
        let prompt = call.request.prompt_tokens();
        let taken = |completion_tokens| {
            let usage = Usage { prompt_tokens: prompt, completion_tokens };
            Reservation { tokens: usage.total(), cost_usd: price.of(usage) }
        };
        let mut free = Reservation {
            tokens: budget.max_tokens.saturating_sub(spent.usage.total()),
            cost_usd: budget.max_cost_usd - spent.cost_usd,
        };
        let of_tree = account.map_or((u64::MAX, f64::INFINITY), |tree| tree.left(spent));
        let is_of_tree = (of_tree.0 < free.tokens, of_tree.1 < free.cost_usd);
        free = Reservation { tokens: free.tokens.min(of_tree.0), cost_usd: free.cost_usd.min(of_tree.1) };
        for aside in reserved.values().map(|aside| aside.at_least(costliest)) {
            free.tokens = free.tokens.saturating_sub(aside.tokens);
            free.cost_usd -= aside.cost_usd;
        }
        let mut wanted = taken(longest);
        if !reserved.is_empty() {
            wanted = wanted.at_least(costliest);
            let calls = u32::try_from(reserved.len()).unwrap_or(u32::MAX).saturating_add(spent.model_calls);
            let fits = wanted.tokens <= free.tokens && wanted.cost_usd <= free.cost_usd;
            if !fits || calls >= budget.max_model_calls {
                return Ok(false);
            }
        } else if wanted.tokens > free.tokens || wanted.cost_usd > free.cost_usd {
            let by_tokens = free.tokens.saturating_sub(prompt);
            let by_cost = affordable(*price, free.cost_usd - taken(0).cost_usd);
            let answer = by_tokens.min(by_cost).min(longest);
            if answer < MIN_ANSWER_TOKENS.min(longest) {
                let is_by_tokens = by_tokens <= by_cost;
                let tree = account.filter(|_| if is_by_tokens { is_of_tree.0 } else { is_of_tree.1 });
                let (limit, name) = match (tree, is_by_tokens) {
                    (Some(tree), true) => (BudgetLimit::Tree, format!("tree.max_tokens of {}", tree.budget.max_tokens)),
                    (Some(tree), false) => {
                        (BudgetLimit::Tree, format!("tree.max_cost_usd of {}", tree.budget.max_cost_usd))
                    }
                    (None, true) => (BudgetLimit::Tokens, format!("max_tokens of {}", budget.max_tokens)),
                    (None, false) => (BudgetLimit::Cost, format!("max_cost_usd of {}", budget.max_cost_usd)),
                };
                let name =
                    tree.map_or(name.clone(), |tree| format!("{name}, for task {} and its descendants,", tree.root));
                let message = format!(
                    "{name} leaves too little for the next model call, whose prompt takes about {prompt} tokens ({} \
                     tokens and {:.4} US dollars are spent)",
                    spent.usage.total(),
                    spent.cost_usd
                );
                return Err(Failure::over_budget(limit, message));
            }
            call.request.max_output_tokens = u32::try_from(answer).unwrap_or(u32::MAX);
            call.request.once = true;
            wanted = taken(answer);
        }
        reserved.insert(call.id.clone(), wanted);
        Ok(true)
    }
}

impl Reservation {
    fn at_least(self, other: &Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), cost_usd: self.cost_usd.max(other.cost_usd) }
    }
}

/// Tokens of an answer that `usd` pays for; 0 when the prompt alone costs more.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no number of tokens becomes none, or the greatest"
)]
fn affordable(price: Price, usd: f64) -> u64 {
    if usd < 0.0 {
        0
    } else if price.completion > 0.0 {
        (usd * 1e6 / price.completion).floor() as u64
    } else {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_money_bounds_an_answer_unless_answers_are_free() {
        let price = Price { prompt: 1.0, completion: 2.0 };
        assert_eq!(affordable(price, 1.0), 500_000);
        assert_eq!((affordable(price, 0.0), affordable(price, -0.1)), (0, 0));
        let free = Price { completion: 0.0, ..price };
        assert_eq!((affordable(free, 0.0), affordable(free, 1.0)), (u64::MAX, u64::MAX));
        assert_eq!(affordable(free, -0.1), 0, "the prompt is not");
    }
}
