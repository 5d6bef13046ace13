//! References in any text, against any output, which is the last line: what is counted before it is built is what is built.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use qron::domain::json::Size;
use qron::domain::plan::{
    MAX_EXPANDED_BYTES, has_references, is_one_reference, referenced, resolve, target, targets_of,
};
use serde_json::{Value, json};

fuzz_target!(|texts: &str| {
    let (text, output) = texts.rsplit_once('\n').unwrap_or((texts, ""));
    let output = serde_json::from_str::<Value>(output).unwrap_or_else(|_| Value::String(output.to_owned()));
    let outputs = HashMap::from([("a".to_owned(), output.clone()), ("b".to_owned(), json!({ "c": [output] }))]);
    let value = json!({ "x": [text] });
    let found = referenced(text);
    assert_eq!(has_references(text), !found.is_empty());
    assert!(!is_one_reference(text) || found.len() == 1);
    assert!(targets_of(&value).len() <= text.len() / 4);
    match resolve(&value, &outputs) {
        // Escapes make text longer.
        Ok(built) => assert!(Size::of(&built).text <= 6 * MAX_EXPANDED_BYTES),
        Err(_) => assert!(!found.is_empty()),
    }
    for reference in found {
        let _ = target(reference, &outputs);
    }
});
