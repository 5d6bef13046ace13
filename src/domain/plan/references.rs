//! References in the texts of a plan: finding, resolving, and bounding the size of the result.
//!
//! A text comes from models, web pages and other programs, so finding its references takes time proportional to its
//! length. The size of the result is computed before anything is built: see [`MAX_EXPANDED_BYTES`].

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::Range;

use serde_json::Value;

use super::{DEPS, clipped};
use crate::domain::files::file_in;
use crate::domain::json::Size;

/// Most bytes of JSON that the arguments of one step may have once their references are replaced: twice the longest output
/// that a reference reads back.
pub const MAX_EXPANDED_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes of memory of the same arguments: many small values take far more memory than text.
pub const MAX_EXPANDED_MEMORY: usize = 32 * 1024 * 1024;

/// Most fields that an error names.
const SHOWN_FIELDS: usize = 12;

/// Outputs that references can point at.
pub trait Outputs {
    /// The output of `step`; `None` while it has none. Where no step is called `files`, `files.NAME` stands for the text of a
    /// file of the task.
    fn output(&self, step: &str) -> Option<&Value>;
    /// Names of the files of the task, for messages.
    fn files(&self) -> Vec<&str> {
        Vec::new()
    }
}

impl<S: BuildHasher> Outputs for HashMap<String, Value, S> {
    fn output(&self, step: &str) -> Option<&Value> {
        self.get(step)
    }
}

/// Why references cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// A reference whose target has no such field.
    #[error("reference ${{{reference}}} points at nothing: {there}")]
    Nothing {
        /// The reference.
        reference: String,
        /// How far it reaches, and what is there.
        there: String,
    },
    /// The resolved arguments would exceed a limit.
    #[error(
        "the references in {place} grow to {bytes} bytes of JSON, which take {memory} bytes of memory; at most \
         {MAX_EXPANDED_BYTES} and {MAX_EXPANDED_MEMORY} are allowed: refer to less, or have a tool read the artifact"
    )]
    TooLarge {
        /// The argument that grows most, or the whole.
        place: String,
        /// Bytes of JSON that all arguments would have.
        bytes: usize,
        /// Bytes of memory that they would take.
        memory: usize,
    },
}

/// A reference in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    /// The bytes that it covers, braces and all.
    range: Range<usize>,
    /// What stands between the braces: the step, and after dots the fields and array positions below its output.
    inner: &'a str,
}

impl<'a> Reference<'a> {
    pub(super) fn step(&self) -> &'a str {
        step_of(self.inner)
    }
}

fn step_of(inner: &str) -> &str {
    inner.split('.').next().unwrap_or_default()
}

/// The references in a text, in their order. `$${` is an escaped `${`.
pub(super) struct References<'a> {
    text: &'a str,
    /// Position at which the search continues.
    at: usize,
    /// The first closing brace from some place before `at` on. Each is searched for once, however many references open
    /// before it.
    closing: usize,
}

/// The references in `text`.
pub(super) const fn references(text: &str) -> References<'_> {
    References { text, at: 0, closing: 0 }
}

impl<'a> Iterator for References<'a> {
    type Item = Reference<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.text;
        loop {
            let start = self.at + text[self.at..].find("${")?;
            let inner = start + 2;
            if self.closing < inner {
                self.closing = inner + text[inner..].find('}')?;
            }
            self.at = inner;
            if start > 0 && text.as_bytes()[start - 1] == b'$' {
                continue;
            }
            let inner = &text[inner..self.closing];
            if inner.is_empty() || inner.starts_with('.') {
                continue;
            }
            self.at = self.closing + 1;
            return Some(Reference { range: start..self.at, inner });
        }
    }
}

/// Adds every text in `value` to `into`.
pub fn collect_texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => into.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| collect_texts(field, into)),
        _ => {}
    }
}

/// Steps that the references in `value` point at, in their order and each as often as it occurs. A reference to a file has its
/// whole inner part behind the step that it would point at.
#[must_use]
pub fn targets_of(value: &Value) -> Vec<&str> {
    let mut texts = Vec::new();
    collect_texts(value, &mut texts);
    let targets = texts.into_iter().flat_map(references).flat_map(|reference| {
        let file = file_in(reference.inner).map(|_| reference.inner);
        [Some(reference.step()), file].into_iter().flatten()
    });
    targets.filter(|target| *target != DEPS).collect()
}

/// The inner parts of the references in `text`, such as `s1.rows.0`, each once.
#[must_use]
pub fn referenced(text: &str) -> Vec<&str> {
    let mut seen = HashSet::new();
    references(text).map(|reference| reference.inner).filter(|inner| seen.insert(*inner)).collect()
}

/// Whether `text` has a reference.
#[must_use]
pub fn has_references(text: &str) -> bool {
    references(text).next().is_some()
}

/// `text` with `stand_in` in the place of each reference, for checks that no value of a reference can change.
#[must_use]
pub fn filled(text: &str, stand_in: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut from = 0;
    for reference in references(text) {
        whole.push_str(&text[from..reference.range.start]);
        whole.push_str(stand_in);
        from = reference.range.end;
    }
    whole.push_str(&text[from..]);
    whole
}

/// Whether `text` is one reference and nothing else, which stands for any value.
#[must_use]
pub fn is_one_reference(text: &str) -> bool {
    references(text).next().is_some_and(|reference| reference.range == (0..text.len()))
}

/// The value that the reference `${inner}` points at in `outputs`.
#[must_use]
pub fn target<'a>(inner: &str, outputs: &'a impl Outputs) -> Option<&'a Value> {
    let mut path = inner.split('.');
    let Some(output) = path.next().and_then(|step| outputs.output(step)) else {
        // The name of a file may have dots.
        return file_in(inner).and_then(|_| outputs.output(inner));
    };
    path.try_fold(output, |value, key| match value {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Checks that every reference in `text` points at something in `outputs`.
///
/// # Errors
/// [`Unresolved::Nothing`] names the first that does not.
pub fn check_targets(text: &str, outputs: &impl Outputs) -> Result<(), Unresolved> {
    let lost = references(text).find(|reference| target(reference.inner, outputs).is_none());
    lost.map_or(Ok(()), |reference| Err(nothing_at(reference.inner, outputs)))
}

fn nothing_at(inner: &str, outputs: &impl Outputs) -> Unresolved {
    Unresolved::Nothing { reference: clipped(inner), there: reach(inner, outputs) }
}

/// How far the reference `inner` reaches in `outputs`, and what is there instead of the next field.
fn reach(inner: &str, outputs: &impl Outputs) -> String {
    let ends = inner.char_indices().filter(|(_, letter)| *letter == '.').map(|(at, _)| at);
    let reached = ends.filter_map(|end| Some((&inner[..end], target(&inner[..end], outputs)?))).last();
    let Some((path, value)) = reached else {
        let files = outputs.files();
        return match file_in(inner) {
            Some(_) if !files.is_empty() => format!("the files of the task are {}", clipped(&files.join(", "))),
            _ => "there is no such output".to_owned(),
        };
    };
    let path = clipped(path);
    match value {
        Value::Object(fields) if fields.is_empty() => format!("${{{path}}} is an empty object"),
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().take(SHOWN_FIELDS).map(|name| clipped(name)).collect();
            let more = if fields.len() > SHOWN_FIELDS { ", …" } else { "" };
            format!("${{{path}}} has {}{more}", names.join(", "))
        }
        Value::Array(items) => format!("${{{path}}} is a list of {}, counted from 0", items.len()),
        Value::String(_) => format!("${{{path}}} is a text"),
        other => format!("${{{path}}} is {other}"),
    }
}

/// `value` with every reference replaced by what it points at in `outputs`.
///
/// A text that is one reference and nothing else becomes the value itself; inside longer text, texts are
/// put in as they are and everything else as JSON.
///
/// # Errors
/// [`Unresolved`]: a reference that points at nothing, or more than [`MAX_EXPANDED_BYTES`] or [`MAX_EXPANDED_MEMORY`], which is
/// found before anything is built.
pub fn resolve(value: &Value, outputs: &impl Outputs) -> Result<Value, Unresolved> {
    let mut growth = Growth { outputs, known: HashMap::new() };
    let (size, place) = growth.of_arguments(value)?;
    if size.text > MAX_EXPANDED_BYTES || size.memory > MAX_EXPANDED_MEMORY {
        let place = place.map_or_else(|| "the text".to_owned(), |name| format!("argument {:?}", clipped(name)));
        return Err(Unresolved::TooLarge { place, bytes: size.text, memory: size.memory });
    }
    replaced(value, outputs)
}

/// Counts what references grow to.
struct Growth<'a, O> {
    outputs: &'a O,
    /// Sizes that were computed, by the address of the value: a plan may refer to one value a thousand times.
    known: HashMap<usize, Size>,
}

impl<O: Outputs> Growth<'_, O> {
    /// The size of `value` with its references replaced, and its largest field.
    fn of_arguments<'v>(&mut self, value: &'v Value) -> Result<(Size, Option<&'v str>), Unresolved> {
        let Value::Object(fields) = value else { return Ok((self.of(value)?, None)) };
        let (mut sum, mut largest) = (Size::of_object(fields), None);
        for (key, field) in fields {
            let size = self.of(field)?;
            sum += Size::of_key(key) + size;
            largest = largest.max(Some((size.text, key.as_str())));
        }
        Ok((sum, largest.map(|(_, key)| key)))
    }

    fn of(&mut self, value: &Value) -> Result<Size, Unresolved> {
        match value {
            Value::String(text) => self.of_text(text, value),
            Value::Array(items) => items.iter().try_fold(Size::of_array(items.len()), |sum, item| {
                let size = self.of(item)?;
                Ok(sum + size)
            }),
            Value::Object(_) => Ok(self.of_arguments(value)?.0),
            other => Ok(Size::of(other)),
        }
    }

    /// The size of `text`, which is that of `written` when it holds no reference.
    fn of_text(&mut self, text: &str, written: &Value) -> Result<Size, Unresolved> {
        let mut size = Size::of(written);
        for reference in references(text) {
            let target =
                target(reference.inner, self.outputs).ok_or_else(|| nothing_at(reference.inner, self.outputs))?;
            if reference.range == (0..text.len()) {
                return Ok(self.of_target(target));
            }
            size += match target {
                Value::String(inner) => Size::of_plain(inner.len()),
                other => Size::of_plain(self.of_target(other).text),
            };
        }
        Ok(size)
    }

    fn of_target(&mut self, target: &Value) -> Size {
        *self.known.entry(std::ptr::from_ref(target).addr()).or_insert_with(|| Size::of(target))
    }
}

fn replaced(value: &Value, outputs: &impl Outputs) -> Result<Value, Unresolved> {
    Ok(match value {
        Value::String(text) => replaced_text(text, outputs)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| replaced(item, outputs)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, field)| Ok((key.clone(), replaced(field, outputs)?))).collect::<Result<_, _>>()?,
        ),
        other => other.clone(),
    })
}

fn replaced_text(text: &str, outputs: &impl Outputs) -> Result<Value, Unresolved> {
    let mut resolved = String::new();
    let mut done = 0;
    for Reference { range, inner } in references(text) {
        let target = target(inner, outputs).ok_or_else(|| nothing_at(inner, outputs))?;
        if range == (0..text.len()) {
            return Ok(target.clone());
        }
        resolved.push_str(&unescaped(&text[done..range.start]));
        match target {
            Value::String(inner) => resolved.push_str(inner),
            other => resolved.push_str(&other.to_string()),
        }
        done = range.end;
    }
    resolved.push_str(&unescaped(&text[done..]));
    Ok(Value::String(resolved))
}

/// Replaces each `$${` in `text` by `escaped`, and each reference by the result of `named`, which gets the part
/// between the braces.
#[must_use]
pub fn with_references(text: &str, escaped: &str, named: impl Fn(&str) -> String) -> String {
    let mut written = String::with_capacity(text.len());
    let mut done = 0;
    for Reference { range, inner } in references(text) {
        written.push_str(&text[done..range.start].replace("$${", escaped));
        written.push_str(&named(inner));
        done = range.end;
    }
    written.push_str(&text[done..].replace("$${", escaped));
    written
}

/// `text` with `${` for each escaped one.
#[must_use]
pub fn unescaped(text: &str) -> String {
    text.replace("$${", "${")
}

#[cfg(test)]
mod tests;
