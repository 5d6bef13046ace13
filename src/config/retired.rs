//! Settings of earlier versions that are constants now. A configuration that still names one works: the setting is left out,
//! and a warning says what holds instead.

use figment::value::{Dict, Value};

use super::layer::Layer;

/// The key of each, and what holds instead.
const RETIRED: [(&str, &str); 7] = [
    ("scheduler.window", "a search reads 64 due tasks or more, as many as there is room for"),
    ("scheduler.claim_batch", "one write claims at most 256 tasks"),
    ("scheduler.admission_batch", "256 points of other clients are read at once"),
    ("worker.cancel_poll_ms", "requests to cancel are looked for each second"),
    ("model.connect_timeout_ms", "a connection to the model may take 5 seconds"),
    (
        "model.read_timeout_ms",
        "a model may be silent for 60 seconds in the middle of an answer; model.timeout_ms bounds the call",
    ),
    ("tools.http.max_redirects", "http_request follows at most 5 redirects"),
];

/// Takes the retired settings out of `layer` and returns a warning for each.
pub(super) fn take_out(layer: &mut Layer) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, instead) in RETIRED {
        let path: Vec<&str> = key.split('.').collect();
        if remove(&mut layer.values, &path) {
            warnings.push(format!("{key} ({}) is no longer a setting: {instead}; remove it", layer.source));
        }
    }
    warnings
}

fn remove(values: &mut Dict, path: &[&str]) -> bool {
    match path {
        [] => false,
        [key] => values.remove(*key).is_some(),
        [section, rest @ ..] => match values.get_mut(*section) {
            Some(Value::Dict(_, section)) => remove(section, rest),
            _ => false,
        },
    }
}
