//! Section `[scheduler]` of the configuration, and the sizes that no configuration needs to change.

use serde::Deserialize;

use crate::domain::schedule::zone::Zone;

/// Section `[scheduler]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When to look for due tasks: cron with a seconds field.
    pub sweep: String,
    /// Due tasks read at once at least: [`WINDOW`]. Not part of the configuration; tests make it small.
    #[serde(skip, default = "window")]
    pub window: u32,
    /// Most tasks claimed in one write: [`CLAIM_BATCH`]. Not part of the configuration; tests make it small.
    #[serde(skip, default = "claim_batch")]
    pub claim_batch: usize,
    /// Points read at once while admitting: [`ADMISSION_BATCH`]. Not part of the configuration; tests make it small.
    #[serde(skip, default = "admission_batch")]
    pub admission_batch: u32,
    /// A firing of a schedule that is later than this counts as missed, in milliseconds.
    pub missed_after_ms: u64,
    /// Zone of schedules that name none, and of times without an offset.
    pub zone: Zone,
}

/// Due tasks read at once at least. A search reads more by itself when there is room for more tasks, or when other replicas
/// claim the same ones, so that no fleet needs another value.
const WINDOW: u32 = 64;
/// Most tasks claimed in one write: a larger write takes the store longer than two of this size.
const CLAIM_BATCH: usize = 256;
/// Points of other clients read at once while admitting: few enough that the first of them run while others are admitted.
const ADMISSION_BATCH: u32 = 256;

const fn window() -> u32 {
    WINDOW
}

const fn claim_batch() -> usize {
    CLAIM_BATCH
}

const fn admission_batch() -> u32 {
    ADMISSION_BATCH
}
