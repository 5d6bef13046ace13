//! Size of a JSON value as text and in memory, computed without serialising it.

use std::ops::{Add, AddAssign};

use serde_json::{Map, Value};

/// Bytes of one value in memory.
const VALUE_BYTES: usize = size_of::<Value>();
/// Bytes of one field of an object in memory: its key, its value and a hash.
const FIELD_BYTES: usize = VALUE_BYTES + size_of::<String>() + size_of::<u64>();
/// An object has room for up to twice its fields, and for four at least.
const MIN_FIELDS: usize = 2;

/// Size of a value. Additions saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes as JSON text without spaces.
    pub text: usize,
    /// About how many bytes of memory. Many small values take some 80 times the bytes of their text.
    pub memory: usize,
}

impl Size {
    /// The room that plain text of `bytes` bytes takes inside a longer one.
    #[must_use]
    pub const fn of_plain(bytes: usize) -> Self {
        Self { text: bytes, memory: bytes }
    }

    /// The room that `value` takes.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::of_scalar(4),
            Value::Bool(truth) => Self::of_scalar(if *truth { 4 } else { 5 }),
            Value::Number(number) => Self::of_scalar(number.to_string().len()),
            Value::String(text) => Self::of_text(text),
            Value::Array(items) => items.iter().fold(Self::of_array(items.len()), |sum, item| sum + Self::of(item)),
            Value::Object(fields) => {
                let start = Self::of_object(fields);
                fields.iter().fold(start, |sum, (key, field)| sum + Self::of_key(key) + Self::of(field))
            }
        }
    }

    /// The room that a list of `items` items takes without them.
    #[must_use]
    pub(in crate::domain) fn of_array(items: usize) -> Self {
        Self { text: items.saturating_sub(1) + 2, memory: VALUE_BYTES }
    }

    /// The room that an object takes without its keys and the values of its fields.
    #[must_use]
    pub(in crate::domain) fn of_object(fields: &Map<String, Value>) -> Self {
        let room = if fields.is_empty() { 0 } else { 2 * fields.len().max(MIN_FIELDS) };
        Self { text: fields.len().saturating_sub(1) + 2, memory: VALUE_BYTES + room.saturating_mul(FIELD_BYTES) }
    }

    /// The room that a key of an object takes with its colon.
    #[must_use]
    pub(in crate::domain) fn of_key(key: &str) -> Self {
        Self { text: quoted(key) + 1, memory: key.len() }
    }

    fn of_text(text: &str) -> Self {
        Self { text: quoted(text), memory: VALUE_BYTES + text.len() }
    }

    const fn of_scalar(text: usize) -> Self {
        Self { text, memory: VALUE_BYTES }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { text: self.text.saturating_add(other.text), memory: self.memory.saturating_add(other.memory) }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Bytes of `text` as JSON, quotes included.
fn quoted(text: &str) -> usize {
    let escape = |byte: u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + 2 + text.bytes().map(escape).sum::<usize>()
}

/// Bytes of memory that the value which `text` writes takes at least, counted without building it.
#[must_use]
pub fn least_memory(text: &[u8]) -> usize {
    let (mut values, mut fields, mut is_string, mut is_escaped) = (0_usize, 0_usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            // A list of one item has no comma, and so has one of none.
            b',' => values += 1,
            b':' => fields += 1,
            _ => {}
        }
    }
    // A comma between two fields was counted with them.
    values.saturating_sub(fields) * VALUE_BYTES + fields * FIELD_BYTES
}

/// Whether `value` is nested deeper than `levels`.
#[must_use]
pub fn is_deeper(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| is_deeper(item, levels - 1)),
        Value::Object(fields) => levels == 0 || fields.values().any(|field| is_deeper(field, levels - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn small_values_take_more_memory_than_text() {
        let value = Value::Array(vec![json!({"": 0}); 1_000]);
        let size = Size::of(&value);
        assert_eq!(size.text, value.to_string().len());
        assert!(size.memory > 50 * size.text, "{size:?}");
        let text = Size::of(&json!("x".repeat(10_000)));
        assert!(text.memory < text.text + 100, "{text:?}");
    }

    #[test]
    fn the_memory_of_many_small_values_shows_in_their_text() {
        for value in [json!(vec![0; 1_000]), json!(vec![json!({}); 1_000]), json!(vec![json!({"": 0}); 1_000])] {
            let (least, memory) = (least_memory(value.to_string().as_bytes()), Size::of(&value).memory);
            assert!(least <= memory && 10 * least >= memory, "{least} of {memory}");
        }
        assert_eq!(least_memory(br#""a,b:\",c,d""#), 0, "within a text");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\\x00-\\x1f\"\\\\]{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                proptest::collection::btree_map(any::<String>(), inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_size_of_the_text_is_that_of_the_text(value in any_value()) {
            prop_assert_eq!(Size::of(&value).text, value.to_string().len());
        }

        #[test]
        fn memory_is_never_less_than_what_is_counted_in_the_text(value in any_value()) {
            let text = value.to_string();
            prop_assert!(least_memory(text.as_bytes()) <= Size::of(&value).memory);
        }

        #[test]
        fn nesting_is_counted_as_the_text_shows_it(value in any_value(), levels in 0_usize..6) {
            fn depth(value: &Value) -> usize {
                match value {
                    Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                    Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
                    _ => 0,
                }
            }
            prop_assert_eq!(is_deeper(&value, levels), depth(&value) > levels);
        }
    }
}
