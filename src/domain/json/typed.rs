//! JSON values as types of Rust: errors that name the place, and the names of a type's fields.

use serde::de::value::Error as NoValue;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

/// Reads `value`.
///
/// # Errors
/// What is wrong, after the place that is wrong, such as `plan.steps[0].tool`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| located(&error))
}

/// The error after its place, if it has one.
#[must_use]
pub fn located(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let place = error.path().to_string();
    // "?" is a place that was not reached, because the text ends.
    if place == "." || place == "?" { error.inner().to_string() } else { format!("{place}: {}", error.inner()) }
}

/// Every name that a field of the struct `T` is read from, other names included, so that no list repeats them.
#[must_use]
pub fn field_names<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut names = FieldNames(&[]);
    // No value is read: the names are all that is asked for.
    drop(T::deserialize(&mut names));
    names.0
}

/// Keeps the names of the struct that is asked for, and has no value for it.
struct FieldNames(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut FieldNames {
    type Error = NoValue;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NoValue> {
        self.0 = fields;
        Err(NoValue::custom("only the names of the fields are read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoValue> {
        Err(NoValue::custom("only a struct has fields"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Order {
        #[serde(alias = "prompt")]
        goal: String,
        #[serde(default)]
        tags: Vec<String>,
    }

    #[test]
    fn names_of_fields_are_those_that_are_read() {
        assert_eq!(field_names::<Order>(), ["goal", "prompt", "tags"]);
        assert!(field_names::<String>().is_empty());
    }

    #[test]
    fn an_error_names_its_place() {
        let order: Order = from_value(json!({"prompt": "x"})).expect("an order");
        assert_eq!((order.goal.as_str(), order.tags.len()), ("x", 0));
        let error = from_value::<Order>(json!({"goal": "x", "tags": ["a", 1]})).expect_err("a number");
        assert!(error.starts_with("tags[1]: invalid type"), "{error}");
        assert!(from_value::<Order>(json!({})).expect_err("nothing").starts_with("missing field"));
    }
}
