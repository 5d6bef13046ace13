//! Where values came from, and which calls may depend on values from outside.
//!
//! A person writes the goal, the instructions of the agent and the plan of a task. What tools bring from outside is
//! *untrusted*, and so is all that a model says once it has seen some of it. A call that depends on untrusted values must not
//! reach a place that such a value chose: see [`Proposal::verdict`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::host::{ANY_HOST, Place, Redirects};
use super::table_source::QUERY_TABLE;
use super::tool::{CREATE_TASK, Effect, ToolSpec};

/// Most bytes of path and query of a request that depends on untrusted values, to a host that nobody named and the data came
/// from. Enough for the next page and for a search; a document that somebody wants to have does not fit.
pub const MAX_ADDED_BYTES: usize = 256;
/// The same, of all requests of one run together.
pub const MAX_ADDED_BYTES_OF_RUN: usize = 1_024;
/// Most sources that are kept apart.
const MAX_SOURCES: usize = 16;
/// Most sources that a sentence names.
const SHOWN_SOURCES: usize = 3;
/// Stands for what is not known apart.
const OTHERS: &str = "other sources";

/// The untrusted sources of a value; none for a value that only people and qron have made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Origins of web servers, such as `https://wiki.example`, and other sources in words.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    sources: BTreeSet<String>,
    /// Places of the web servers among them that no untrusted value chose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    chosen: BTreeSet<String>,
}

impl Provenance {
    /// The provenance of a value that came from `source`, in words.
    #[must_use]
    pub fn of(source: impl Into<String>) -> Self {
        Self { sources: BTreeSet::from([source.into()]), chosen: BTreeSet::new() }
    }

    /// The provenance of what a checkpoint of an older version holds, which does not say where it came from.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of("an earlier part of the run")
    }

    /// The provenance that the result of a call of `tool` has beside that of the call, `call`. `artifacts` tells of those that
    /// hold long outputs of this run.
    #[must_use]
    pub fn of_result(tool: &ToolSpec, arguments: &Value, call: &Self, artifacts: &BTreeMap<String, Self>) -> Self {
        if !tool.untrusted {
            return Self::default();
        }
        if let Some(place) = source_address(tool, arguments).and_then(Place::read) {
            let chosen = if call.is_trusted() { BTreeSet::from([place.to_string()]) } else { BTreeSet::new() };
            return Self { chosen, ..Self::of(format!("{}://{place}", scheme_of(arguments))) };
        }
        let named = |name: &str| artifacts.get(arguments.get(name)?.as_str()?);
        match named("name").or_else(|| named("artifact")) {
            Some(known) if SOURCES.iter().filter(|name| gives(arguments, name)).count() == 1 => known.clone(),
            // A table that stands in the call came from where the call came from.
            None if tool.name == QUERY_TABLE
                && gives(arguments, "table")
                && !OTHER_TABLES.iter().any(|name| gives(arguments, name)) =>
            {
                Self::default()
            }
            _ => Self::of(&tool.name),
        }
    }

    /// Whether only people and qron have made it.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.sources.is_empty()
    }

    /// Adds the sources of `other`.
    pub fn add(&mut self, other: &Self) {
        for source in &other.sources {
            let fits = self.sources.len() < MAX_SOURCES || self.sources.contains(source);
            self.sources.insert(if fits { source.clone() } else { OTHERS.to_owned() });
        }
        for place in &other.chosen {
            if self.chosen.len() < MAX_SOURCES {
                self.chosen.insert(place.clone());
            }
        }
    }

    /// The sources of both.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.add(other);
        self
    }

    /// Whether web servers are the only sources: nothing that is private to this installation is among them.
    fn is_of_the_web(&self) -> bool {
        self.sources.iter().all(|source| source.contains("://"))
    }
}

impl fmt::Display for Provenance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<&str> = self.sources.iter().take(SHOWN_SOURCES).map(String::as_str).collect();
        formatter.write_str(&shown.join(", "))?;
        match self.sources.len().saturating_sub(SHOWN_SOURCES) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

/// The address that a call requests.
fn address_in(arguments: &Value) -> Option<&str> {
    let text = |name: &str| arguments.get(name)?.as_str().filter(|text| !text.is_empty());
    // Where a tool takes a table, models write its address in place of it.
    text("url").or_else(|| text("table").filter(|table| table.contains("://") && !table.contains(char::is_whitespace)))
}

/// The address that the result of a call of `tool` came from: that of a request, or of a table that lies nowhere else. Others read
/// what they read, whatever address stands beside it.
fn source_address<'a>(tool: &ToolSpec, arguments: &'a Value) -> Option<&'a str> {
    let elsewhere = || SOURCES.iter().filter(|name| gives(arguments, name)).count() > 1;
    let requests = tool.effect == Effect::External || tool.name == QUERY_TABLE && !elsewhere();
    address_in(arguments).filter(|_| requests)
}

/// Arguments that say what is read.
const SOURCES: [&str; 5] = ["url", "table", "path", "artifact", "name"];
/// Arguments that say where a table lies.
const OTHER_TABLES: [&str; 3] = ["path", "artifact", "url"];

/// Whether the argument `name` has a value: models give an empty one for what they leave out.
fn gives(arguments: &Value, name: &str) -> bool {
    match arguments.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

/// What people have written: places that stand in it may be reached with untrusted values.
#[derive(Clone, Debug, Default)]
pub struct PeoplesWords<'a> {
    /// Goal, instructions, context and plan.
    pub texts: Vec<&'a str>,
    /// Hosts that the agent may reach.
    pub egress: &'a [String],
}

impl PeoplesWords<'_> {
    /// Whether a person named `place`.
    #[must_use]
    pub fn name(&self, place: &Place) -> bool {
        place.is_listed(&self.named_hosts()) || self.texts.iter().any(|text| place.is_named_in(text))
    }

    /// Whether `address` stands in them as it is.
    fn wrote(&self, address: &str) -> bool {
        self.texts.iter().any(|text| text.contains(address))
    }

    /// The patterns of `egress` that name hosts: all of them is none in particular.
    #[must_use]
    pub fn named_hosts(&self) -> Vec<String> {
        self.egress.iter().filter(|pattern| *pattern != ANY_HOST).cloned().collect()
    }
}

/// A call that somebody wants to make.
#[derive(Clone, Copy, Debug)]
pub struct Proposal<'a> {
    /// The tool.
    pub tool: &'a ToolSpec,
    /// Its arguments.
    pub arguments: &'a Value,
    /// What they depend on.
    pub provenance: &'a Provenance,
    /// Whether it is a step of a plan that a person wrote.
    pub is_given: bool,
    /// The address as it was written before any untrusted value was there, with references.
    pub written: Option<&'a str>,
    /// What [`Proposal::adds`] told of the earlier calls of the run, together.
    pub added_before: usize,
}

/// What policy says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be made.
    Allowed,
    /// A person must approve it, for this reason.
    NeedsApproval(String),
    /// It is not made, for this reason, unless a person approves each call of the tool anyway.
    Refused(String),
}

/// What a call does, as far as policy looks at it.
enum Deed {
    /// Nothing outside qron.
    Local,
    /// Requests something from a place.
    Read(Place),
    /// Changes something, in this place if that is known.
    Change(Option<Place>),
    /// Makes a task.
    Delegate,
}

impl Proposal<'_> {
    fn deed(&self) -> Deed {
        let Self { tool, arguments, .. } = self;
        if tool.name == CREATE_TASK {
            return Deed::Delegate;
        }
        let address = address_in(arguments);
        let place = address.and_then(Place::read);
        match tool.effect {
            // The tool refuses what is no address.
            _ if address.is_some() && place.is_none() => Deed::Local,
            Effect::External if !self.only_reads() => Deed::Change(place),
            Effect::External | Effect::Read => place.map_or(Deed::Local, Deed::Read),
            Effect::Write => Deed::Local,
        }
    }

    /// Whether a call of a tool with external effects asks for something, and sends nothing along.
    fn only_reads(&self) -> bool {
        let default = self.tool.parameters.pointer("/properties/method/default");
        let method = self.arguments.get("method").or(default).and_then(Value::as_str);
        let sends = ["body", "json"].iter().any(|name| self.arguments.get(name).is_some_and(|value| !value.is_null()));
        !sends && method.is_some_and(|method| ["GET", "HEAD", "OPTIONS"].contains(&method))
    }

    /// What policy says of the call. Without untrusted values, and within qron, everything is allowed. Otherwise:
    ///
    /// - a place that `people` named may be read and changed;
    /// - another change, and a task, needs approval, unless it is a step of a person's plan that leaves the place to no value;
    /// - another place may be read when the step wrote its host before there were untrusted values. While the web is the
    ///   only source, it may also be read when the data came from there and the request adds little, or when the address
    ///   stands as a link in what was read, as `is_link` says, both without headers: then nothing private can be in the request,
    ///   nor in the choice between two of them.
    #[must_use]
    pub fn verdict(&self, people: &PeoplesWords<'_>, is_link: &dyn Fn(&str) -> bool) -> Verdict {
        let Self { tool, provenance, is_given, .. } = *self;
        if provenance.is_trusted() {
            return Verdict::Allowed;
        }
        match self.deed() {
            Deed::Local => Verdict::Allowed,
            Deed::Delegate | Deed::Change(None) if is_given => Verdict::Allowed,
            Deed::Delegate => Verdict::NeedsApproval(format!("what the new task says comes from {provenance}")),
            Deed::Change(None) => {
                let name = &tool.name;
                Verdict::NeedsApproval(format!(
                    "its arguments come from {provenance}, and {name} can change something outside of qron"
                ))
            }
            Deed::Read(place) | Deed::Change(Some(place)) if people.name(&place) => Verdict::Allowed,
            Deed::Change(Some(place)) => Verdict::NeedsApproval(unnamed(provenance, &place)),
            Deed::Read(place) if self.may_read(&place, is_link) => Verdict::Allowed,
            Deed::Read(place) => Verdict::Refused(unnamed(provenance, &place) + &self.spent_up(&place)),
        }
    }

    /// The end of a refusal of a place that was read before, when the request adds too much; else empty.
    fn spent_up(&self, place: &Place) -> String {
        let Some(address) = address_in(self.arguments) else { return String::new() };
        let (added, before) = (added_by(address), self.added_before);
        if !self.provenance.chosen.contains(&place.to_string()) || self.adds_headers() {
            return String::new();
        }
        if added > MAX_ADDED_BYTES {
            return format!("; its path and query have {added} bytes, of at most {MAX_ADDED_BYTES} for such a host");
        }
        if before.saturating_add(added) <= MAX_ADDED_BYTES_OF_RUN {
            return String::new();
        }
        let of_run = MAX_ADDED_BYTES_OF_RUN;
        match before {
            usize::MAX => format!(
                "; an older version did not note how much of the {of_run} bytes for such hosts this run has sent"
            ),
            before => format!(
                "; this run has sent {before} of the {of_run} bytes that it may send to such hosts, and this call adds {added}"
            ),
        }
    }

    fn may_read(&self, place: &Place, is_link: &dyn Fn(&str) -> bool) -> bool {
        if self.written.is_some_and(|written| place.is_named_in(written)) {
            return true;
        }
        let Some(address) = address_in(self.arguments).filter(|_| self.provenance.is_of_the_web()) else {
            return false;
        };
        if self.adds_headers() {
            return false;
        }
        let came_from_there = self.provenance.chosen.contains(&place.to_string());
        let added = added_by(address);
        let is_little = added <= MAX_ADDED_BYTES && self.added_before.saturating_add(added) <= MAX_ADDED_BYTES_OF_RUN;
        came_from_there && is_little || is_link(address)
    }

    /// Bytes of path and query that the call takes to a host which nobody named, and which are no link: see [`MAX_ADDED_BYTES`].
    #[must_use]
    pub fn adds(&self, people: &PeoplesWords<'_>, is_link: &dyn Fn(&str) -> bool) -> usize {
        let Deed::Read(place) = self.deed() else { return 0 };
        let address = address_in(self.arguments).unwrap_or_default();
        let is_named = people.name(&place) || self.written.is_some_and(|written| place.is_named_in(written));
        if self.provenance.is_trusted() || is_named || is_link(address) { 0 } else { added_by(address) }
    }

    /// Whether the answer to the call may give links, which are followed to hosts that nobody named. A server may repeat what it
    /// is asked, in any encoding; so the request must hold nothing that a model put into it once it had read something. `is_link`
    /// says whether an address is such a link itself.
    #[must_use]
    pub fn gives_links(&self, people: &PeoplesWords<'_>, is_link: &dyn Fn(&str) -> bool) -> bool {
        if self.provenance.is_trusted() {
            return true;
        }
        let address = address_in(self.arguments).unwrap_or_default();
        matches!(self.deed(), Deed::Read(_)) && !self.adds_headers() && (people.wrote(address) || is_link(address))
    }

    /// Whether the call takes something out of the run that a model composed once it had read something: a server, or a task, may
    /// show it to others. `is_link` as for [`Proposal::gives_links`].
    #[must_use]
    pub fn tells(&self, people: &PeoplesWords<'_>, is_link: &dyn Fn(&str) -> bool) -> bool {
        !self.provenance.is_trusted() && !matches!(self.deed(), Deed::Local) && !self.gives_links(people, is_link)
    }

    /// Whether a request carries headers: whatever is in them goes to its place, and some of them along its redirects.
    fn adds_headers(&self) -> bool {
        gives(self.arguments, "headers")
    }

    /// Where the call may be redirected to; `None` for anywhere. A redirect of a named server must not take untrusted values to a
    /// place that nobody named. A link is followed wherever it leads, since nothing was added to it.
    #[must_use]
    pub fn redirects(&self, people: &PeoplesWords<'_>, is_link: &dyn Fn(&str) -> bool) -> Option<Redirects> {
        if self.provenance.is_trusted() {
            return None;
        }
        let (place, reads) = match self.deed() {
            Deed::Read(place) => (place, true),
            Deed::Change(Some(place)) => (place, false),
            Deed::Local | Deed::Change(None) | Deed::Delegate => return None,
        };
        let address = address_in(self.arguments).unwrap_or_default();
        if reads && self.provenance.is_of_the_web() && !self.adds_headers() && !people.name(&place) && is_link(address)
        {
            return None;
        }
        Some(Redirects { places: vec![place], patterns: people.named_hosts() })
    }
}

/// Scheme of the address that a call requests.
fn scheme_of(arguments: &Value) -> &'static str {
    let is_secure = address_in(arguments)
        .and_then(|address| address.get(..6))
        .is_some_and(|begin| begin.eq_ignore_ascii_case("https:"));
    if is_secure { "https" } else { "http" }
}

/// Bytes of an address behind its host.
fn added_by(address: &str) -> usize {
    let behind = address.split_once("://").map_or(address, |(_, behind)| behind);
    behind.find(['/', '?', '#', '\\']).map_or(0, |at| behind.len() - at)
}

fn unnamed(provenance: &Provenance, place: &Place) -> String {
    format!("its arguments come from {provenance}, and nobody named the host {place}")
}

#[cfg(test)]
mod tests;
