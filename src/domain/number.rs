//! Counts and amounts from outside: read in any form and size, and cut to what the store holds exactly.
//!
//! The store holds whole numbers up to 2^63, and other programs may turn them into floats or text. Such a number is
//! read all the same, so that one odd number does not make a whole record unreadable.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Largest count: 2^53, up to which floats represent every whole number.
pub const MAX_COUNT: u64 = 1 << 53;
/// Largest amount that is kept, for the same reason.
const MAX_AMOUNT: f64 = 9_007_199_254_740_992.0;

/// A type of counts.
pub trait Count {
    /// `count`, or the largest of this type.
    fn clamped(count: u64) -> Self;
}

impl Count for u64 {
    fn clamped(count: u64) -> Self {
        count.min(MAX_COUNT)
    }
}

impl Count for u32 {
    fn clamped(count: u64) -> Self {
        Self::try_from(count).unwrap_or(Self::MAX)
    }
}

impl Count for usize {
    fn clamped(count: u64) -> Self {
        Self::try_from(count.min(MAX_COUNT)).unwrap_or(Self::MAX)
    }
}

/// The number that `value` is or spells; `None` for anything else, and for NaN.
#[must_use]
pub fn number_of(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| !number.is_nan())
}

/// The count that `value` is or spells: a negative number is 0, a fraction is cut off, and a number above
/// [`MAX_COUNT`] is cut to it.
#[must_use]
pub fn count_of(value: &Value) -> Option<u64> {
    if let Some(count) = value.as_u64() {
        return Some(count.min(MAX_COUNT));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range, as clamped")]
    number_of(value).map(|number| number.clamp(0.0, MAX_AMOUNT) as u64)
}

/// Reads a count.
///
/// # Errors
/// When there is no number.
pub fn count<'de, D: Deserializer<'de>, T: Count>(deserializer: D) -> Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    count_of(&value)
        .map(T::clamped)
        .ok_or_else(|| D::Error::custom(format!("{} is not a whole number", excerpt(&value))))
}

/// Reads a count or nothing.
///
/// # Errors
/// When there is something that is no number.
pub fn optional_count<'de, D: Deserializer<'de>, T: Count>(deserializer: D) -> Result<Option<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value => match count_of(&value) {
            Some(count) => Ok(Some(T::clamped(count))),
            None => Err(D::Error::custom(format!("{} is not a whole number", excerpt(&value)))),
        },
    }
}

/// Reads an amount, such as a cost: a negative number is 0, and a number that is too large is cut. `null` stands for
/// infinity, which JSON cannot express.
///
/// # Errors
/// When there is no number.
pub fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(MAX_AMOUNT),
        value => match number_of(&value) {
            Some(number) => Ok(number.clamp(0.0, MAX_AMOUNT)),
            None => Err(D::Error::custom(format!("{} is not a number", excerpt(&value)))),
        },
    }
}

/// The sum of two amounts, cut to the largest. A negative amount or NaN counts as 0.
#[must_use]
pub fn sum(one: f64, other: f64) -> f64 {
    let known = |amount: f64| if amount > 0.0 { amount.min(MAX_AMOUNT) } else { 0.0 };
    (known(one) + known(other)).min(MAX_AMOUNT)
}

/// `value` as an error repeats it.
fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Record {
        #[serde(deserialize_with = "count")]
        wide: u64,
        #[serde(deserialize_with = "count")]
        small: u32,
        #[serde(deserialize_with = "optional_count")]
        maybe: Option<u64>,
        #[serde(deserialize_with = "amount")]
        cost: f64,
    }

    #[test]
    fn any_number_is_read_and_kept_within_bounds() {
        for (value, wide, small, cost) in [
            (json!(0), 0, 0, 0.0),
            (json!(7), 7, 7, 7.0),
            (json!("7"), 7, 7, 7.0),
            (json!(" 7.9 "), 7, 7, 7.9),
            (json!(-7), 0, 0, 0.0),
            (json!(-0.0), 0, 0, 0.0),
            (json!(5_000_000_000_u64), 5_000_000_000, u32::MAX, 5e9),
            (json!(i64::MAX), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!(i64::MIN), 0, 0, 0.0),
            (json!(9_223_372_036_854_775_808_u64), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!(u64::MAX), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!(1e300), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!(-1e300), 0, 0, 0.0),
            (json!("18446744073709551616"), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!("1e999"), MAX_COUNT, u32::MAX, MAX_AMOUNT),
            (json!("-inf"), 0, 0, 0.0),
        ] {
            let all = json!({"wide": value, "small": value, "maybe": value, "cost": value});
            let read: Record = serde_json::from_value(all).expect("readable");
            assert_eq!(read, Record { wide, small, maybe: Some(wide), cost }, "{value}");
        }
        for value in [json!("many"), json!("NaN"), json!(""), json!([1]), json!({}), json!(true)] {
            for field in ["wide", "small", "maybe", "cost"] {
                let read = serde_json::from_value::<Record>(json!({ field: value }));
                assert!(read.is_err_and(|error| error.to_string().contains("is no")), "{field}: {value}");
            }
        }
        assert_eq!(serde_json::from_value::<Record>(json!({"maybe": null})).expect("readable"), Record::default());
    }

    #[test]
    fn sums_stay_amounts() {
        for (one, other, expected) in [
            (1.5, 2.0, 3.5),
            (1.5, f64::NAN, 1.5),
            (f64::NAN, f64::NAN, 0.0),
            (1.5, -3.0, 1.5),
            (f64::INFINITY, 1.0, MAX_AMOUNT),
            (1e300, 1e300, MAX_AMOUNT),
            (f64::NEG_INFINITY, 1.0, 1.0),
        ] {
            assert!((sum(one, other) - expected).abs() < f64::EPSILON, "{one} + {other}");
        }
    }
}
