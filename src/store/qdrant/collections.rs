//! The collections and their payload indexes.

/// A collection of qron.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Collection {
    Tasks,
    Attempts,
    DeadLetters,
    Schedules,
    Replicas,
    Events,
    Artifacts,
    Memory,
    State,
    Keys,
}

/// What a field is indexed for.
#[derive(Clone, Copy)]
pub(super) enum Index {
    /// Equality of words.
    Word,
    /// Truth.
    Flag,
    /// Ranges and order of integers.
    Order,
}

impl Collection {
    pub(in crate::store) const ALL: [Self; 10] = [
        Self::Tasks,
        Self::Attempts,
        Self::DeadLetters,
        Self::Schedules,
        Self::Replicas,
        Self::Events,
        Self::Artifacts,
        Self::Memory,
        Self::State,
        Self::Keys,
    ];

    /// Name without the prefix.
    pub(in crate::store) const fn as_str(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Attempts => "attempts",
            Self::DeadLetters => "dead_letters",
            Self::Schedules => "schedules",
            Self::Replicas => "replicas",
            Self::Events => "events",
            Self::Artifacts => "artifacts",
            Self::Memory => "memory",
            Self::State => "state",
            Self::Keys => "keys",
        }
    }

    pub(super) const fn indexes(self) -> &'static [(&'static str, Index)] {
        match self {
            Self::Tasks => &[
                ("status", Index::Word),
                ("admitted", Index::Flag),
                ("run_at", Index::Order),
                ("rank", Index::Order),
                ("finished_at", Index::Order),
                ("claim", Index::Word),
                ("owner", Index::Word),
                ("agent", Index::Word),
                ("needs", Index::Word),
                ("tags", Index::Word),
                ("user", Index::Word),
                ("schedule_id", Index::Word),
                ("depends_on", Index::Word),
                ("awaits", Index::Word),
                ("parent", Index::Word),
                ("tree_root", Index::Word),
                ("concurrency_key", Index::Word),
                ("runs_as", Index::Word),
                ("needs_model", Index::Flag),
            ],
            Self::Attempts => &[("task_id", Index::Word), ("number", Index::Order), ("tree_root", Index::Word)],
            Self::Events => &[("task_id", Index::Word), ("at", Index::Order)],
            Self::Artifacts => &[("task_id", Index::Word)],
            Self::Memory => &[
                ("visible_to", Index::Word),
                ("schedule_id", Index::Word),
                ("goal_hash", Index::Word),
                ("at", Index::Order),
            ],
            Self::Keys => &[("since", Index::Order)],
            Self::State => &[("kind", Index::Word)],
            Self::DeadLetters => &[("buried_at", Index::Order)],
            Self::Schedules | Self::Replicas => &[],
        }
    }
}
