//! Removes known secrets from text, in whatever encoding a server, a tool or a model returns them.
//!
//! It finds the secret itself, its Base64 form (both alphabets, with any text around it), its hexadecimal digits, its
//! reversed letters, and all of these under any mixture of percent-encoding, JSON and HTML escapes up to four times,
//! or broken into lines. It does not find secrets that are compressed, encrypted, or sent in parts.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, MatchKind};
use serde_json::{Map, Value};

use super::json::read_bytes;
use forms::{Form, forms_of};

mod forms;
mod plain;

/// Shortest text that counts as a secret, in bytes. A shorter one is a placeholder, and part of ordinary words.
const MIN_BYTES: usize = 8;
/// Bytes of a secret that are searched for: more than any header carries.
const MAX_BYTES: usize = 4_096;
/// Keys of local servers that want none, as their pages and client libraries name them, and passwords of examples.
const PLACEHOLDERS: [&str; 23] = [
    "anything",
    "api_key",
    "api-key",
    "apikey",
    "changeit",
    "changeme",
    "fake-key",
    "dummy-key",
    "dummy_key",
    "lm-studio",
    "llama.cpp",
    "llama-cpp",
    "localhost",
    "no-key-required",
    "not-needed",
    "not-required",
    "password",
    "placeholder",
    "postgres",
    "postgresql",
    "readonly",
    "sk-no-key-required",
    "your-api-key",
];

/// A text that must not be shown, with the name that is shown in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    name: String,
    value: String,
}

impl Secret {
    /// The secret `value`, shown as `[name]`. `None` when it is too short or a placeholder: such a word is part of ordinary text.
    pub fn new(name: impl Into<String>, value: &str) -> Option<Self> {
        let value = value.trim();
        is_secret(value).then(|| Self { name: name.into(), value: value.to_owned() })
    }

    /// Name shown in place of the secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether ordinary text cannot contain the secret by chance, as it does words, field names and plain numbers.
    /// Removing such a word from data would damage the data and would confirm a guess that it is a secret.
    #[must_use]
    pub fn is_unmistakable(&self) -> bool {
        let any = |of: fn(char) -> bool| self.value.chars().any(of);
        let digits = any(|letter| letter.is_ascii_digit());
        let kinds = [any(char::is_lowercase), any(char::is_uppercase), digits, any(|letter| !letter.is_alphanumeric())];
        let kinds = kinds.into_iter().filter(|kind| *kind).count();
        kinds >= 3 || (kinds == 2 && digits && self.value.len() >= 12) || self.value.len() >= 24
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Secret({})", self.name)
    }
}

/// Whether `text` must not be shown.
fn is_secret(text: &str) -> bool {
    let is_placeholder = PLACEHOLDERS.contains(&text.to_ascii_lowercase().as_str());
    text.len() >= MIN_BYTES && !is_placeholder && text.chars().any(|letter| !text.starts_with(letter))
}

/// Finds secrets in text and replaces each by its name in brackets. Without secrets it costs nothing.
#[derive(Debug, Default)]
pub struct Redactor(Option<SecretSearch>);

#[derive(Debug)]
struct SecretSearch {
    patterns: AhoCorasick,
    /// The secret and the encoding of each pattern.
    forms: Vec<Form>,
    /// Replacement of each secret.
    names: Vec<String>,
    /// Bytes of the shortest pattern: a shorter text holds none, since decoding never makes it longer.
    shortest: usize,
    /// Bytes of text that are decoded at once, and how many of them belong to the next piece as well.
    piece: usize,
    overlap: usize,
}

/// A secret that was found: where, and which.
struct SecretMatch {
    place: Range<usize>,
    secret: usize,
}

impl Redactor {
    /// A redactor of `secrets`.
    ///
    /// # Errors
    /// When they are too many to be searched for.
    pub fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        if secrets.is_empty() {
            return Ok(Self(None));
        }
        let (mut texts, mut forms) = (Vec::new(), Vec::new());
        for (index, secret) in secrets.iter().enumerate() {
            let bytes = secret.value.as_bytes();
            for (text, form) in forms_of(&bytes[..bytes.len().min(MAX_BYTES)], index) {
                texts.push(text);
                forms.push(form);
            }
        }
        let shortest = texts.iter().map(Vec::len).min().unwrap_or_default();
        let longest = texts.iter().map(Vec::len).max().unwrap_or_default();
        // Each text of each record is searched, so that speed is worth the memory: a megabyte or so for each secret.
        let kind = Some(AhoCorasickKind::DFA);
        let patterns = AhoCorasick::builder().kind(kind).match_kind(MatchKind::LeftmostLongest).build(texts)?;
        // Each letter may be written with 6 characters, and backslashes are doubled with each escape.
        let overlap = longest.saturating_mul(24).max(1_024);
        let names = secrets.iter().map(|secret| format!("[{}]", secret.name)).collect();
        let piece = overlap.saturating_mul(4).max(64 * 1_024);
        Ok(Self(Some(SecretSearch { patterns, forms, names, shortest, piece, overlap })))
    }

    /// `text` without the secrets.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// `bytes` without the secrets.
    #[must_use]
    pub fn redact_bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(search) = self.0.as_ref().filter(|search| bytes.len() >= search.shortest) else {
            return Cow::Borrowed(bytes);
        };
        let found = search.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut redacted = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for SecretMatch { place, secret } in found {
            redacted.extend_from_slice(&bytes[done..place.start]);
            redacted.extend_from_slice(search.names[secret].as_bytes());
            done = place.end;
        }
        redacted.extend_from_slice(&bytes[done..]);
        Cow::Owned(redacted)
    }

    /// JSON text without the secrets in its strings, and still JSON: numbers stay as they are. What is no JSON is redacted as
    /// bytes.
    #[must_use]
    pub fn redact_json<'a>(&self, json: &'a [u8]) -> Cow<'a, [u8]> {
        let Cow::Owned(redacted) = self.redact_bytes(json) else { return Cow::Borrowed(json) };
        let Ok(mut value) = read_bytes(json) else { return Cow::Owned(redacted) };
        self.redact_value(&mut value);
        Cow::Owned(value.to_string().into_bytes())
    }

    /// Takes the secrets out of every string and every name of a field in `value`.
    pub fn redact_value(&self, value: &mut Value) {
        if self.0.is_none() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(fields) => self.redact_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Takes the secrets out of the values of `fields`, whose names the program itself gives and needs.
    pub fn redact_values(&self, fields: &mut Map<String, Value>) {
        if self.0.is_some() {
            fields.values_mut().for_each(|value| self.redact_value(value));
        }
    }

    /// Takes the secrets out of every string and every name of a field in `fields`.
    fn redact_fields(&self, fields: &mut Map<String, Value>) {
        self.redact_values(fields);
        let names: Vec<String> =
            fields.keys().filter(|name| matches!(self.redact(name), Cow::Owned(_))).cloned().collect();
        for name in names {
            if let Some(value) = fields.remove(&name) {
                fields.insert(self.redact(&name).into_owned(), value);
            }
        }
    }
}

impl SecretSearch {
    /// Where secrets are in `text`, in order, without overlaps.
    fn find(&self, text: &[u8]) -> Vec<SecretMatch> {
        let mut found: Vec<SecretMatch> = Vec::new();
        for hit in self.patterns.find_iter(text) {
            found.push(self.found(text, hit.pattern().as_usize(), hit.start()..hit.end()));
        }
        if plain::may_be_encoded(text) {
            self.find_encoded(text, &mut found);
        }
        found.sort_by_key(|found| (found.place.start, std::cmp::Reverse(found.place.end)));
        let mut merged: Vec<SecretMatch> = Vec::with_capacity(found.len());
        for next in found {
            match merged.last_mut() {
                Some(last) if next.place.start < last.place.end => last.place.end = last.place.end.max(next.place.end),
                _ => merged.push(next),
            }
        }
        merged
    }

    fn find_encoded(&self, text: &[u8], found: &mut Vec<SecretMatch>) {
        let mut start = 0;
        loop {
            let end = text.len().min(start + self.piece);
            let mut decoded = plain::Decoded::of(&text[start..end]);
            while let Some(layer) = decoded.next_layer() {
                for hit in self.patterns.find_iter(layer.text()) {
                    let place = layer.place(hit.start()..hit.end());
                    let place = start + place.start..start + place.end;
                    found.push(self.found(text, hit.pattern().as_usize(), place));
                }
            }
            if end == text.len() {
                return;
            }
            start = end - self.overlap;
        }
    }

    /// The pattern `pattern` at `place`, with what around it must go too.
    fn found(&self, text: &[u8], pattern: usize, mut place: Range<usize>) -> SecretMatch {
        let form = self.forms[pattern];
        if form.is_base64 {
            // The letters at both ends hold a few bits of the secret.
            let is_letter = |at: usize| text.get(at).is_some_and(|byte| forms::is_base64(*byte));
            if place.start > 0 && is_letter(place.start - 1) {
                place.start -= 1;
            }
            if is_letter(place.end) {
                place.end += 1;
            }
            place.end += text[place.end..].iter().take(2).take_while(|byte| **byte == b'=').count();
        }
        // A backslash that escaped the first letter would escape the name in its place.
        place.start -= text[..place.start].iter().rev().take_while(|byte| **byte == b'\\').count();
        SecretMatch { place, secret: form.secret }
    }
}

#[cfg(test)]
mod tests;
