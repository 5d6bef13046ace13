//! Plans in any JSON: reading and checking one neither panics nor depends on the order of its checks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qron::domain::plan::{MAX_STEPS, Plan};

fuzz_target!(|bytes: &[u8]| {
    let Ok(plan) = serde_json::from_slice::<Plan>(bytes) else { return };
    if plan.validate(&["calculate", "t"]).is_ok() {
        assert!(plan.check_size().is_ok() && plan.steps.len() <= MAX_STEPS);
        let written = serde_json::to_value(&plan).expect("JSON");
        assert_eq!(serde_json::from_value::<Plan>(written).expect("the same plan"), plan);
    }
});
