//! Reading one field of a point: a time, a text, a list, a number.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::words::whole;
use super::{Read, Reader, SANE_COUNT};
use crate::domain::failure::Failure;
use crate::domain::id::TaskId;
use crate::domain::number;
use crate::domain::time::{TIME_FORMS, Timestamp};

impl Reader<'_> {
    pub(super) fn time(&self, field: &'static str) -> Read<Timestamp> {
        let Some((key, value)) = self.find(field) else { return Ok(None) };
        let read = if self.own { Timestamp::of_stored(value) } else { self.zone.read(value).ok() };
        match read {
            Some(at) => Ok(Some(at)),
            None => self.refuse(key, value, TIME_FORMS),
        }
    }

    pub(super) fn text(&self, field: &'static str) -> Read<String> {
        let Some((key, value)) = self.find(field) else { return Ok(None) };
        match value {
            Value::String(text) if self.own => Ok(Some(text.clone())),
            Value::String(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)),
            Value::Number(number) => Ok(Some(number.to_string())),
            _ => self.refuse(key, value, "a text"),
        }
    }

    pub(super) fn words(&self, field: &'static str) -> Result<Vec<String>, Failure> {
        let Some((key, value)) = self.find(field) else { return Ok(Vec::new()) };
        let read = match value {
            Value::Array(items) => {
                let words = items.iter().map(|item| self.word(item));
                // A list that another client made of parts may hold empty ones.
                words.filter(|word| self.own || word.as_deref() != Some("")).collect()
            }
            Value::String(text) => {
                Some(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            _ => None,
        };
        match read {
            Some(words) => Ok(words),
            None => self.refuse(key, value, "a list of words").map(Option::unwrap_or_default),
        }
    }

    pub(super) fn word(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) if self.own => Some(text.clone()),
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    pub(super) fn ids(&self, field: &'static str) -> Result<Vec<TaskId>, Failure> {
        let Some((key, value)) = self.find(field) else { return Ok(Vec::new()) };
        let id = |value: &Value| match value {
            Value::String(text) => text.trim().parse().ok(),
            Value::Number(number) => number.as_u64().map(TaskId::Number),
            _ => None,
        };
        let read: Option<Vec<TaskId>> = match value {
            Value::Array(items) => items.iter().map(id).collect(),
            Value::String(text) if text.trim().is_empty() => Some(Vec::new()),
            other => id(other).map(|id| vec![id]),
        };
        match read {
            Some(ids) => Ok(ids),
            None => self
                .refuse(key, value, "a list of task ids, each a UUID or an unsigned number")
                .map(Option::unwrap_or_default),
        }
    }

    /// A value that reads as it stands or as nothing.
    pub(super) fn one_of<T: DeserializeOwned + Default>(
        &self,
        field: &'static str,
        allowed: &str,
    ) -> Result<T, Failure> {
        let Some((key, value)) = self.find(field) else { return Ok(T::default()) };
        let plain = match value {
            Value::String(text) if !self.own => Value::from(text.trim().to_ascii_lowercase()),
            other => other.clone(),
        };
        match serde_json::from_value(plain) {
            Ok(read) => Ok(read),
            Err(_) => self.refuse(key, value, allowed).map(Option::unwrap_or_default),
        }
    }

    pub(super) fn object(&self, field: &'static str) -> Result<Map<String, Value>, Failure> {
        match self.find(field) {
            None => Ok(Map::new()),
            Some((_, Value::Object(fields))) => Ok(fields.clone()),
            Some((key, value)) => self.refuse(key, value, "an object").map(Option::unwrap_or_default),
        }
    }

    pub(super) fn truth(&self, field: &'static str) -> Result<bool, Failure> {
        let Some((key, value)) = self.find(field) else { return Ok(false) };
        let word = value.as_str().map(|text| text.trim().to_ascii_lowercase());
        match (value, word.as_deref()) {
            (Value::Bool(truth), _) => Ok(*truth),
            (_, Some("true" | "yes")) => Ok(true),
            (_, Some("false" | "no" | "")) => Ok(false),
            _ => self.refuse(key, value, "true or false").map(Option::unwrap_or_default),
        }
    }

    /// A whole number. `allowed` is what the refusal of anything else tells; a number beyond it is the caller's to judge. What
    /// qron has stored was within its limits when it came, or counts what happened since: it is read in whichever form.
    pub(super) fn whole(&self, field: &'static str, allowed: &RangeInclusive<u64>) -> Read<u64> {
        let Some((key, value)) = self.find(field) else { return Ok(None) };
        // No count is negative: another client wrote it.
        if self.own && number::number_of(value).is_some_and(|number| number >= 0.0) {
            return Ok(number::count_of(value));
        }
        match whole(value).and_then(|number| u64::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => self.refuse_number(key, value, allowed),
        }
    }

    fn refuse_number<T>(&self, key: &str, value: &Value, allowed: &RangeInclusive<u64>) -> Read<T> {
        self.refuse(key, value, &format!("a whole number from {} to {}", allowed.start(), allowed.end()))
    }

    /// How often something happened; never when the point does not tell.
    pub(super) fn count(&self, field: &'static str) -> Result<u32, Failure> {
        let read = match self.find(field).zip(self.whole(field, &SANE_COUNT)?) {
            Some(((key, value), number)) if !self.own && !SANE_COUNT.contains(&number) => {
                self.refuse_number(key, value, &SANE_COUNT)?
            }
            found => found.map(|(_, number)| number),
        };
        Ok(read.map_or(0, |number| u32::try_from(number).unwrap_or(u32::MAX)))
    }
}
