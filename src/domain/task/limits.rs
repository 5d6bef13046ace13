//! The limits of an order, named once for each door through which a task comes.

use std::ops::RangeInclusive;

use super::MAX_PRIORITY;
use crate::domain::plan::MAX_NESTING;

/// What [`TaskSpec::validate`](super::TaskSpec::validate) allows. A door that is stricter than another says so here, and
/// nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecLimits {
    /// Characters of the goal.
    pub goal_chars: RangeInclusive<usize>,
    /// Characters of a name: agent, user, concurrency key, each capability and each tag.
    pub name_chars: RangeInclusive<usize>,
    /// Characters of the unique key.
    pub unique_key_chars: RangeInclusive<usize>,
    /// Place in the order, from "can wait" to "urgent".
    pub priority: RangeInclusive<u8>,
    /// Attempts that the task may have.
    pub max_attempts: RangeInclusive<u32>,
    /// Time limit of one attempt, in seconds.
    pub timeout_s: RangeInclusive<u64>,
    /// Most tags.
    pub max_tags: usize,
    /// Most capabilities.
    pub max_capabilities: usize,
    /// Most tasks to wait for.
    pub max_dependencies: usize,
    /// Most levels of lists and objects inside each value of the context.
    pub max_context_levels: usize,
    /// Most bytes of the context as JSON.
    pub max_context_bytes: usize,
    /// Most bytes of memory of the context: many small values take far more memory than text, and as much work of the store.
    pub max_context_memory: usize,
}

impl SpecLimits {
    /// What the store writes at all: no other limits are wider.
    pub const STORED: Self = Self {
        goal_chars: 1..=50_000,
        name_chars: 1..=200,
        unique_key_chars: 1..=512,
        priority: 0..=MAX_PRIORITY,
        max_attempts: 1..=1_000,
        timeout_s: 1..=2_592_000,
        max_tags: 100,
        max_capabilities: 100,
        max_dependencies: 10_000,
        max_context_levels: MAX_NESTING,
        max_context_bytes: 1024 * 1024,
        max_context_memory: 8 * 1024 * 1024,
    };

    /// What a person orders, through the API, the command line or the template of a schedule.
    pub const API: Self = Self { goal_chars: 10..=5_000, ..Self::STORED };

    /// What an agent orders with the tool `create_task`: within the limits of the API, and with less data and shorter lists,
    /// which are as much as a model writes with care.
    pub const TOOL: Self = Self {
        unique_key_chars: 1..=256,
        max_capabilities: 20,
        max_dependencies: 100,
        max_context_bytes: 64 * 1024,
        ..Self::API
    };

    /// A firing of a schedule. Its template passed [`SpecLimits::API`] when it was defined, and placeholders make it longer.
    pub const FIRING: Self = Self::STORED;

    /// A point of another client, which is read as tolerantly as it can be stored.
    pub const FOREIGN: Self = Self::STORED;
}

impl Default for SpecLimits {
    fn default() -> Self {
        Self::API
    }
}
