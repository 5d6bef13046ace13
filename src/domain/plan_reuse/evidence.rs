//! Holds the plans of earlier runs against each other and against a new run.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use super::literals::{self, Value, clock_like_set, filled, is_markable, marked, variables_in, without_marks};
use super::{GivenRun, Moment, PlannedRun, SUCCESSES};
use crate::domain::plan::Plan;
use crate::domain::schedule::firing_context::{FIRE_CAUSE, FIRE_TIME};

/// Fields of a step that say nothing about what it does.
const REMARKS: [&str; 1] = ["estimated_s"];
/// Fields of a step that hold names, in which no value of a variable is looked for.
const NAMES: [&str; 6] = ["id", "tool", "tools", "depends_on", "approval", "capability"];
/// The field whose wording may vary.
const INSTRUCTION: &str = "instruction";

/// The variables of a run by name: its context, and the days that its clock knows.
fn variables_of(context: &BTreeMap<String, String>, moment: &Moment) -> BTreeMap<String, String> {
    let mut variables: BTreeMap<String, String> =
        context.iter().map(|(name, value)| (format!("context.{name}"), value.clone())).collect();
    variables.extend(moment.days().into_iter().map(|(name, day)| (format!("clock.{name}"), day)));
    if let Some(day) = context.get(FIRE_TIME).and_then(|time| time.get(..10)) {
        variables.insert("fire_date".to_owned(), day.to_owned());
    }
    variables
}

/// The values that may stand in texts, the longest first, so that a date within a time is no date.
fn values<'a>(variables: &'a BTreeMap<String, String>, names: &BTreeSet<&'a str>) -> Vec<Value<'a>> {
    let wanted = variables.iter().filter(|(name, _)| names.contains(name.as_str()));
    let mut values: Vec<Value> = wanted.map(|(name, value)| Value { name, value }).collect();
    values.sort_by_key(|known| (std::cmp::Reverse(known.value.len()), known.name));
    values
}

/// Names of the variables that have several values in `runs`, each long enough to be told from other text.
fn varying<'a>(runs: &[&'a BTreeMap<String, String>]) -> BTreeSet<&'a str> {
    let Some(first) = runs.first() else { return BTreeSet::new() };
    let is_varied = |name: &str| runs.iter().any(|run| run.get(name) != first.get(name));
    let is_known = |name: &str| runs.iter().all(|run| run.get(name).is_some_and(|value| is_markable(value)));
    first.keys().map(String::as_str).filter(|name| is_varied(name) && is_known(name)).collect()
}

/// Whether the plans of both are the same but for values of variables, names of steps and the wording of instructions.
pub(super) fn are_alike(one: &PlannedRun, other: &PlannedRun) -> bool {
    let variables = [variables_of(&one.variables, &one.moment), variables_of(&other.variables, &other.moment)];
    let names = varying(&variables.each_ref());
    let [first, second] = variables.each_ref().map(|variables| values(variables, &names));
    let shape = shape(&one.plan, &first);
    shape.is_some()
        && shape == self::shape(&other.plan, &second)
        && marked(&one.goal, &first) == marked(&other.goal, &second)
}

/// The plan of `runs`, the newest first, for a run that is given `given`; `None` when anything about it is in doubt.
#[must_use]
pub fn instance(runs: &[PlannedRun], given: &GivenRun) -> Option<Plan> {
    let newest = runs.first().filter(|_| runs.len() >= SUCCESSES)?;
    if runs.iter().any(|run| run.basis != given.basis) || !is_context_known(runs, &given.variables) {
        return None;
    }
    let tables: Vec<BTreeMap<String, String>> =
        runs.iter().map(|run| variables_of(&run.variables, &run.moment)).collect();
    let known = variables_of(&given.variables, &given.moment);
    let all: Vec<&BTreeMap<String, String>> = tables.iter().collect();
    let mut names = varying(&all);
    names.retain(|name| known.get(*name).is_some_and(|value| is_markable(value)));
    let of_newest = values(&tables[0], &names);
    let (goal, shape) = (marked(&newest.goal, &of_newest), self::shape(&newest.plan, &of_newest)?);
    for (run, table) in runs.iter().zip(&tables).skip(1) {
        let values = values(table, &names);
        if marked(&run.goal, &values) != goal || self::shape(&run.plan, &values).as_ref() != Some(&shape) {
            return None;
        }
    }
    let of_given = values(&known, &names);
    if filled(&goal, &of_given).as_deref() != Some(given.goal.as_str()) {
        return None;
    }
    let mut found =
        Literals { values: &of_newest, given: &of_given, marked: vec![goal.clone()], constants: BTreeSet::new() };
    let plan = found.plan(&newest.plan)?;
    let used: BTreeSet<&str> = found.marked.iter().flat_map(|text| variables_in(text)).collect();
    let is_one = |one: &str, other: &str| all.iter().all(|table| table.get(one) == table.get(other));
    let is_ambiguous =
        |one: &&str| names.iter().any(|other| is_one(one, other) && known.get(*one) != known.get(*other));
    if used.iter().any(is_ambiguous) {
        return None;
    }
    let of_goal = clock_like_set(&without_marks(&goal));
    let may_be_of_clock = found.constants.iter().any(|constant| !of_goal.contains(constant));
    (!may_be_of_clock || is_moment_known(runs, &given.moment)).then_some(plan)
}

/// Whether each part of the context has the value that it had in all `runs`, or varied among them: a part that is new here may
/// be what a literal stands for.
fn is_context_known(runs: &[PlannedRun], given: &BTreeMap<String, String>) -> bool {
    let Some(first) = runs.first().map(|run| &run.variables) else { return false };
    let same_names = |run: &PlannedRun| run.variables.keys().eq(given.keys());
    let has_varied = |name: &String| runs.iter().any(|run| run.variables.get(name) != first.get(name));
    // A firing that makes up for another one stands for another time than its clock tells.
    !given.contains_key(FIRE_CAUSE)
        && runs.iter().all(same_names)
        && given.iter().all(|(name, value)| first.get(name) == Some(value) || has_varied(name))
}

/// Whether day, week, month, year, weekday and hour each are what they were in all `runs`, or varied among them.
fn is_moment_known(runs: &[PlannedRun], given: &Moment) -> bool {
    let moments: Vec<[String; 6]> = runs.iter().map(|run| run.moment.components()).collect();
    let given = given.components();
    (0..given.len()).all(|part| {
        let has_varied = moments.iter().any(|moment| moment[part] != moments[0][part]);
        has_varied || moments[0][part] == given[part]
    })
}

/// The plan with marks in its texts, names of steps by their place, and no remarks; `None` for a plan with marks of its own.
fn shape(plan: &Plan, values: &[Value]) -> Option<Json> {
    let places: BTreeMap<&str, String> =
        plan.steps.iter().enumerate().map(|(place, step)| (step.id.as_str(), format!("s{place}"))).collect();
    let place = |id: &str| places.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let text = |text: &str| -> Option<String> {
        let pieces = literals::pieces(text)?.into_iter().map(|(piece, is_reference)| {
            if !is_reference {
                return marked(&piece, values);
            }
            let (id, path) =
                piece.split_once('.').map_or((piece.as_str(), String::new()), |(id, path)| (id, format!(".{path}")));
            format!("${{{}{path}}}", place(id))
        });
        Some(pieces.collect())
    };
    let mut steps = Vec::new();
    for step in &plan.steps {
        let Json::Object(fields) = serde_json::to_value(step).ok()? else { return None };
        let mut shape = Map::new();
        for (name, value) in fields.into_iter().filter(|(name, _)| !REMARKS.contains(&name.as_str())) {
            let value = match (name.as_str(), value) {
                ("id", _) => Json::from(place(&step.id)),
                ("depends_on" | "tools", Json::Array(names)) => {
                    let mut names: Vec<String> = names.iter().filter_map(Json::as_str).map(place).collect();
                    names.sort_unstable();
                    json!(names)
                }
                (INSTRUCTION, Json::String(written)) => signature(&written, values, &place)?,
                (_, value) => mapped(&value, &text)?,
            };
            shape.insert(name, value);
        }
        steps.push(Json::Object(shape));
    }
    Some(json!({"steps": steps, "answer": plan.answer.as_deref().map(place)}))
}

/// What of an instruction must be the same however it is worded: its references, variables, numbers and names of days.
fn signature(written: &str, values: &[Value], place: &dyn Fn(&str) -> String) -> Option<Json> {
    let (mut references, mut variables, mut tokens) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (piece, is_reference) in literals::pieces(written)? {
        if is_reference {
            let (id, path) = piece.split_once('.').unwrap_or((&piece, ""));
            references.insert(format!("{}.{path}", place(id)));
        } else {
            let marked = marked(&piece, values);
            variables.extend(variables_in(&marked).map(str::to_owned));
            tokens.extend(clock_like_set(&without_marks(&marked)));
        }
    }
    Some(json!([references, variables, tokens]))
}

/// `value` with each text in it replaced.
fn mapped(value: &Json, text: &dyn Fn(&str) -> Option<String>) -> Option<Json> {
    Some(match value {
        Json::String(written) => Json::String(text(written)?),
        Json::Array(items) => Json::Array(items.iter().map(|item| mapped(item, text)).collect::<Option<_>>()?),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| Some((name.clone(), mapped(field, text)?)));
            Json::Object(fields.collect::<Option<_>>()?)
        }
        other => other.clone(),
    })
}

/// Fills the values of a new run into the literals of a plan, and takes down what they hold beside these.
struct Literals<'a> {
    values: &'a [Value<'a>],
    given: &'a [Value<'a>],
    /// The texts with their marks.
    marked: Vec<String>,
    /// Numbers and names of days that are the same in every run.
    constants: BTreeSet<String>,
}

impl Literals<'_> {
    fn plan(&mut self, plan: &Plan) -> Option<Plan> {
        let mut written = serde_json::to_value(plan).ok()?;
        for step in written.get_mut("steps")?.as_array_mut()? {
            for (name, value) in step.as_object_mut()? {
                if !NAMES.contains(&name.as_str()) && !REMARKS.contains(&name.as_str()) {
                    self.fill(value)?;
                }
            }
        }
        serde_json::from_value(written).ok()
    }

    fn fill(&mut self, value: &mut Json) -> Option<()> {
        match value {
            Json::String(text) => *text = self.text(text)?,
            Json::Array(items) => items.iter_mut().try_for_each(|item| self.fill(item))?,
            Json::Object(fields) => {
                fields.keys().for_each(|name| self.constants.extend(clock_like_set(name)));
                fields.values_mut().try_for_each(|field| self.fill(field))?;
            }
            Json::Number(number) => self.constants.extend(clock_like_set(&number.to_string())),
            Json::Null | Json::Bool(_) => {}
        }
        Some(())
    }

    fn text(&mut self, text: &str) -> Option<String> {
        let mut filled_in = String::with_capacity(text.len());
        for (piece, is_reference) in literals::pieces(text)? {
            if is_reference {
                filled_in.extend(["${", piece.as_str(), "}"]);
                let names = piece.split('.').skip(1).filter(|name| !is_index(name));
                names.for_each(|name| self.constants.extend(clock_like_set(name)));
                continue;
            }
            let marked = marked(&piece, self.values);
            filled_in.push_str(&filled(&marked, self.given)?);
            self.constants.extend(clock_like_set(&without_marks(&marked)));
            self.marked.push(marked);
        }
        Some(filled_in)
    }
}

/// Whether a part of a path counts the elements of a list. A longer number may be a day or a year.
fn is_index(name: &str) -> bool {
    name.len() == 1 && name.bytes().all(|byte| byte.is_ascii_digit())
}
