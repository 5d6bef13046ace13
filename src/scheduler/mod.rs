//! Finds what is due and gives it to workers: sweep, admission, dispatch, rescue. Each part has `run_once` and is
//! driven by one loop or one cron job.

use serde::Deserialize;

/// Section `[scheduler]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// When to look for due tasks: cron with a seconds field.
    pub sweep: String,
    /// Due tasks read at once.
    pub window: u32,
    /// Most tasks claimed in one write.
    pub claim_batch: usize,
    /// Points read at once while admitting.
    pub admission_batch: u32,
}
