//! Reads JSON from outside without losing digits.
//!
//! JSON numbers have no maximum; program types have. A whole number that does not fit into 64 bits with a sign, and
//! any number too large for a float, is read as the text of its digits. Decimals become floats with about 16
//! significant digits.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
pub use size::{Size, is_deeper, least_memory};
pub use typed::{field_names, from_value, located};

mod size;
mod typed;

/// The value that `text` writes; numbers that would lose digits become text.
///
/// # Errors
/// When `text` is no JSON.
pub fn read(text: &str) -> Result<Value, serde_json::Error> {
    let quoted = keep_digits(text)?;
    serde_json::from_str(&quoted)
}

/// As [`read`], for bytes.
///
/// # Errors
/// When they are no JSON in UTF-8.
pub fn read_bytes(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    match str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(_) => serde_json::from_slice(bytes),
    }
}

/// `text` with numbers that would lose digits put into quotes; the same text when there are none, or it is no JSON.
///
/// # Errors
/// When `text` holds such a number and is no JSON.
pub fn keep_digits(text: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    let bytes = text.as_bytes();
    let mut quoted = String::new();
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'-' | b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|byte| is_of_number(**byte)).count();
                let number = &text[at..end];
                if loses_digits(number) {
                    quoted.push_str(&text[done..at]);
                    quoted.extend(["\"", number, "\""]);
                    done = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Ok(Cow::Borrowed(text));
    }
    // Quoting could turn invalid text into JSON, such as a number in the place of a key.
    serde_json::from_str::<IgnoredAny>(text)?;
    quoted.push_str(&text[done..]);
    Ok(Cow::Owned(quoted))
}

/// Whether a store or a program in between would change the whole number `number`.
#[must_use]
pub fn is_too_large(number: &serde_json::Number) -> bool {
    number.is_u64() && !number.is_i64()
}

/// Any JSON value, provided that no object in it has a key twice: two programs that read it might take different ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self, A::Error> {
        let mut keys: HashSet<String> = HashSet::new();
        while let Some(key) = fields.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("the key {key:?} appears twice: remove one of them")));
            }
            keys.insert(key);
            fields.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// First byte behind the string that begins at `start`.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn loses_digits(number: &str) -> bool {
    if number.contains(['.', 'e', 'E']) {
        return number.parse::<f64>().is_ok_and(f64::is_infinite);
    }
    // Shorter ones always fit.
    number.len() >= 19 && number.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn whole_numbers_keep_their_digits() {
        let wide = "1".repeat(400);
        for (text, expected) in [
            ("9223372036854775807", json!(i64::MAX)),
            ("-9223372036854775808", json!(i64::MIN)),
            ("9223372036854775808", json!("9223372036854775808")),
            ("18446744073709551615", json!("18446744073709551615")),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775809", json!("-9223372036854775809")),
            (wide.as_str(), json!(wide)),
            ("[1, 36893488147419103232,2]", json!([1, "36893488147419103232", 2])),
            (r#"{"a":{"id":12345678901234567890}}"#, json!({"a": {"id": "12345678901234567890"}})),
            (
                r#""12345678901234567890 \" 12345678901234567890""#,
                json!("12345678901234567890 \" 12345678901234567890"),
            ),
            (r#"{"12345678901234567890": "\\"}"#, json!({"12345678901234567890": "\\"})),
            ("1e400", json!("1e400")),
            ("[-1.5E+999]", json!(["-1.5E+999"])),
            ("1e308", json!(1e308)),
            ("1e-400", json!(0.0)),
            ("12345678901234567890.5", json!(12_345_678_901_234_567_890.5)),
            ("0", json!(0)),
        ] {
            assert_eq!(read(text).expect(text), expected, "{text}");
            assert_eq!(read_bytes(text.as_bytes()).expect(text), expected, "{text}");
        }
    }

    #[test]
    fn quotes_make_no_json_of_what_is_none() {
        for text in [
            "{12345678901234567890: 1}",
            "012345678901234567890",
            "12345678901234567890abc",
            "--12345678901234567890",
            "[12345678901234567890",
            "12345678901234567890\"",
            "1e400e1",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_found_at_any_depth() {
        for text in ["1", "null", r#"{"a": 1, "b": {"a": [1.5, -2, true, "x"]}}"#, r#"[{"a": 1}, {"a": 2}]"#] {
            assert_eq!(serde_json::from_str::<DistinctKeys>(text).expect(text), DistinctKeys, "{text}");
        }
        for text in [
            r#"{"a": 1, "a": 1}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"b": {"a": 1, "c": 2, "a": 3}}"#,
            r#"[1, [{"a": {}, "a": []}]]"#,
        ] {
            let error = serde_json::from_str::<DistinctKeys>(text).expect_err(text);
            assert!(error.is_data() && error.to_string().contains("\"a\" appears twice"), "{error}");
        }
    }

    proptest! {
        /// What has no such numbers is read as everywhere else, and nothing breaks the reader.
        #[test]
        fn everything_else_is_read_as_usual(text in r#"[\[\]{}",:a-e0-9.\\-]{0,40}"#) {
            let usual = serde_json::from_str::<Value>(&text);
            match (read(&text), usual) {
                (Ok(read), Ok(usual)) => prop_assert_eq!(read.to_string().replace('"', ""), usual.to_string().replace('"', "")),
                (Ok(read), Err(_)) => prop_assert!(read.to_string().contains('"'), "{}", read),
                (Err(_), Ok(usual)) => prop_assert!(false, "{}", usual),
                (Err(_), Err(_)) => {}
            }
        }

        #[test]
        fn a_number_of_any_length_comes_back(digits in "-?[1-9][0-9]{0,60}") {
            let read = read(&format!("{{\"n\": {digits}}}")).expect("JSON");
            let shown = read["n"].as_str().map_or_else(|| read["n"].to_string(), str::to_owned);
            prop_assert_eq!(shown, digits);
        }
    }
}
