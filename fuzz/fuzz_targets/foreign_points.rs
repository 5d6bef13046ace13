//! Points of other clients with any payload: reading one neither panics nor makes a task beyond the bounds that could run.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qron::domain::id::TaskId;
use qron::domain::schedule::zone::Zone;
use qron::domain::task::SpecLimits;
use qron::domain::time::Timestamp;
use qron::store::RawTask;
use serde_json::{Map, Value};

fuzz_target!(|bytes: &[u8]| {
    let Ok(payload) = serde_json::from_slice::<Map<String, Value>>(bytes) else { return };
    let raw = RawTask { id: TaskId::Number(1), payload };
    let _ = raw.hints();
    let _ = raw.goal();
    if let Ok(task) = raw.read(Zone::UTC, Timestamp::from_millis(1_767_225_600_000)) {
        // A task that has ended is only kept.
        assert!(task.state.status.is_terminal() || task.validate(&SpecLimits::FOREIGN).is_ok());
    }
});
