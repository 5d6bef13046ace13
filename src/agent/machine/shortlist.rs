//! The tools that fit a goal, by the words that the goal shares with their descriptions.
//!
//! The ranking is BM25 over name, description and parameters of each tool, with two signs that are no words: an address in
//! the goal fits a parameter that takes one, and numbers in the goal fit a parameter that takes an expression.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::domain::addresses::{addresses, normal_form};
use crate::domain::ranking;
use crate::domain::tool::{Effect, ToolSpec};

/// Most tools of a shortlist. A small model does worse with each one more.
const MOST: usize = 4;
/// Score of a sign, which is as much as a rare word.
const SIGN: f64 = 2.0;
/// Part of the best score below which a tool does not fit.
const LEAST: f64 = 0.4;

/// Words that hardly any English goal does without.
const ENGLISH: [&str; 18] = [
    "the", "of", "what", "which", "who", "when", "where", "how", "and", "with", "from", "this", "that", "by", "are",
    "my", "for", "about",
];

/// The tools of `tools` that fit `goal`, the best first; none when no word of it fits. Of a goal in another language no word
/// fits the descriptions, so that all are offered.
pub(super) fn of(goal: &str, tools: &[Arc<ToolSpec>]) -> Vec<Arc<ToolSpec>> {
    let described: Vec<String> = tools.iter().map(|tool| text_of(tool)).collect();
    let scores = ranking::scores(goal, described.iter().map(String::as_str));
    let mut ranked: Vec<(f64, &Arc<ToolSpec>)> =
        tools.iter().zip(scores).map(|(tool, score)| (score + signs(goal, tool), tool)).collect();
    ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let best = ranked.first().map_or(0.0, |(score, _)| *score);
    if best == 0.0 && !is_english(goal) {
        return tools.to_vec();
    }
    let fitting = ranked.into_iter().filter(|(score, _)| *score > 0.0 && *score >= best * LEAST);
    fitting.take(MOST).map(|(_, tool)| Arc::clone(tool)).collect()
}

/// The parameters of a tool without those that a goal hardly ever needs: optional ones with a default or a list of values, or
/// of a form of their own. They stay when the goal names one of them or one of its values, such as POST.
pub(super) fn parameters(tool: &ToolSpec, goal: &str) -> Value {
    let mut parameters = tool.parameters.clone();
    let required: Vec<String> = parameters["required"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    let Some(properties) = parameters["properties"].as_object_mut() else { return parameters };
    let plain = goal.split_whitespace().filter(|word| !word.contains("://"));
    let words: HashSet<&str> =
        plain.flat_map(|word| word.split(|c: char| !(c.is_alphanumeric() || c == '_'))).collect();
    let is_named = |name: &str, schema: &Value| {
        let mut values = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.contains(name) || values.any(|value| words.contains(value))
    };
    let is_rare = |name: &String, schema: &Value| !required.contains(name) && is_special(schema);
    if properties.iter().any(|(name, schema)| is_rare(name, schema) && is_named(name, schema)) {
        return parameters;
    }
    properties.retain(|name, schema| !is_rare(name, schema));
    parameters
}

/// Whether a parameter has a default or a list of values, holds an object, or holds any value.
fn is_special(schema: &Value) -> bool {
    let takes_many = schema["type"].as_array().is_some_and(|kinds| kinds.len() > 3);
    schema.get("default").is_some() || schema.get("enum").is_some() || schema["type"] == "object" || takes_many
}

fn text_of(tool: &ToolSpec) -> String {
    let mut text = format!("{} {} {}", tool.name, tool.name, tool.description);
    for (name, schema) in tool.parameters["properties"].as_object().into_iter().flatten() {
        text.push(' ');
        text.push_str(name);
        text.push(' ');
        text.push_str(schema["description"].as_str().unwrap_or_default());
    }
    text
}

/// The tools of which one must answer before the goal can be reached: those that get a page, when the goal names an address
/// that nobody has `answered`; else one that the goal names and that changes something, when none of those has.
pub(super) fn owed(goal: &str, tools: &[Arc<ToolSpec>], answered: &BTreeSet<String>) -> Vec<Arc<ToolSpec>> {
    let has_open_page = !unread(goal, answered).is_empty();
    let gets = |tool: &&Arc<ToolSpec>| has_open_page && requires(tool, "url");
    let changes = |tool: &&Arc<ToolSpec>| is_named(goal, tool) && tool.effect != Effect::Read;
    let owed: Vec<Arc<ToolSpec>> = tools.iter().filter(gets).cloned().collect();
    if !owed.is_empty() {
        return owed;
    }
    let owed: Vec<Arc<ToolSpec>> = tools.iter().filter(changes).cloned().collect();
    if owed.iter().any(|tool| answered.contains(&tool.name)) { Vec::new() } else { owed }
}

/// The addresses in `goal` that nobody has `answered`, each once, as they stand there.
pub(super) fn unread(goal: &str, answered: &BTreeSet<String>) -> Vec<String> {
    let mut seen = answered.clone();
    addresses(goal).filter(|address| seen.insert(normal_form(address))).map(str::to_owned).collect()
}

/// Whether a goal of several words is in English, as far as its small words tell.
fn is_english(goal: &str) -> bool {
    let words: Vec<String> =
        goal.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    words.len() < 4 || words.iter().any(|word| ENGLISH.contains(&word.as_str()))
}

/// Whether the goal has all words of the tool's name, in any form: save and artifact, or write and file.
fn is_named(goal: &str, tool: &ToolSpec) -> bool {
    let said: HashSet<String> = ranking::words(goal).collect();
    let mut name = ranking::words(&tool.name).peekable();
    name.peek().is_some() && tool.name.contains('_') && name.all(|word| said.contains(&word))
}

fn requires(tool: &ToolSpec, parameter: &str) -> bool {
    tool.parameters["required"].as_array().is_some_and(|names| names.iter().any(|name| name == parameter))
}

fn takes(tool: &ToolSpec, parameter: &str) -> bool {
    !tool.parameters["properties"][parameter].is_null()
}

/// What in a goal is no word and fits a kind of parameter all the same.
fn signs(goal: &str, tool: &ToolSpec) -> f64 {
    let has_address = goal.contains("://");
    let numbers =
        goal.split_whitespace().filter(|word| !word.contains("://") && word.contains(|c: char| c.is_ascii_digit()));
    let computes = numbers.count() > 0;
    let fits = [has_address && requires(tool, "url"), computes && takes(tool, "expression")];
    fits.into_iter().filter(|fits| *fits).map(|_| SIGN).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::json;

    use super::*;
    use crate::domain::tool::Effect;

    fn tool(name: &str, description: &str, parameters: &[&str]) -> Arc<ToolSpec> {
        let properties: serde_json::Map<String, serde_json::Value> =
            parameters.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
        Arc::new(ToolSpec {
            name: name.to_owned(),
            description: description.to_owned(),
            parameters: json!({"type": "object", "properties": properties, "required": parameters}),
            output: json!(true),
            effect: Effect::Read,
            idempotent: true,
            untrusted: false,
        })
    }

    fn names(goal: &str) -> Vec<String> {
        let tools = [
            tool("calculate", "Computes an expression exactly: sums, powers, percentages, units.", &["expression"]),
            tool("http_request", "Sends an HTTP request and answers the page.", &["url", "method"]),
            tool("read_file", "Reads a file of the task.", &["path"]),
            tool("write_file", "Writes text into a file of the task.", &["path", "content"]),
            tool("save_artifact", "Keeps a text or a report as an artifact.", &["name", "content"]),
            tool("get_state", "Reads a value that an earlier task has remembered.", &["key"]),
        ];
        of(goal, &tools).iter().map(|tool| tool.name.clone()).collect()
    }

    #[test]
    fn the_tools_that_fit_come_first_and_the_others_not_at_all() {
        assert_eq!(names("Compute the sum of 17 and 25").first().map(String::as_str), Some("calculate"));
        assert_eq!(names("Which services at http://127.0.0.1:1/status are not green?")[0], "http_request");
        assert!(names("Write a report and keep it as an artifact").contains(&"save_artifact".to_owned()));
        assert_eq!(names("Sing a song"), Vec::<String>::new());
        assert_eq!(names("Lies die Datei und nenne den Umsatz").len(), 6, "no word fits, and all are offered");
        assert_eq!(names("Sum it up and keep it as an artifact: report.md")[0], "save_artifact");
        assert!(
            names("Read the file a.txt, write its 3 lines into b.txt, compute, request the page, save").len() <= MOST
        );
    }

    #[test]
    fn rare_parameters_are_offered_when_the_goal_names_one() {
        let parameters_of = |goal: &str| {
            let schema = json!({"type": "object", "required": ["url"], "properties": {
                "url": {"type": "string"}, "method": {"type": "string", "enum": ["GET", "POST"], "default": "GET"},
                "headers": {"type": "object"}, "body": {"type": "string"}, "raw": {"type": "boolean", "default": false}}});
            let tool = ToolSpec { parameters: schema, ..(*tool("t", "", &[])).clone() };
            let offered = parameters(&tool, goal);
            offered["properties"].as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>())
        };
        assert_eq!(parameters_of("Read http://x/ and sum up"), Some(vec!["url".to_owned(), "body".to_owned()]));
        assert_eq!(parameters_of("POST 1 to http://x/").map(|names| names.len()), Some(5));
        assert_eq!(parameters_of("send the headers a: b").map(|names| names.len()), Some(5));
    }

    /// Of the queries of the Berkeley Function Calling Leaderboard that come with several functions, how many keep the right one.
    /// `QRON_TEST_BFCL` names its folder `data`, of the package `bfcl-eval` on `PyPI`.
    #[test]
    #[ignore = "wants QRON_TEST_BFCL, and prints figures"]
    fn the_right_function_is_on_the_shortlist() {
        let folder = std::path::PathBuf::from(std::env::var("QRON_TEST_BFCL").expect("QRON_TEST_BFCL"));
        let lines = |path: &str| -> Vec<Value> {
            let text = std::fs::read_to_string(folder.join(path)).expect("a file");
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        let asked = lines("BFCL_v4_live_multiple.json");
        let right: HashMap<String, String> = lines("possible_answer/BFCL_v4_live_multiple.json")
            .iter()
            .filter_map(|line| {
                let name = line["ground_truth"][0].as_object()?.keys().next()?;
                Some((line["id"].as_str()?.to_owned(), name.clone()))
            })
            .collect();
        let everything: Vec<Arc<ToolSpec>> = {
            let mut all: HashMap<String, Arc<ToolSpec>> = HashMap::new();
            for line in &asked {
                all.extend(functions(line).into_iter().map(|tool| (tool.name.clone(), tool)));
            }
            all.into_values().collect()
        };
        let (mut own, mut all, mut count, mut offered) = (0, 0, 0, 0);
        for line in &asked {
            let Some(name) = right.get(line["id"].as_str().expect("an id")) else { continue };
            let query =
                line["question"][0].as_array().and_then(|turns| turns.last()?["content"].as_str()).expect("a query");
            count += 1;
            let kept = of(query, &functions(line));
            offered += kept.len();
            own += usize::from(kept.iter().any(|tool| tool.name == *name));
            all += usize::from(of(query, &everything).iter().any(|tool| tool.name == *name));
        }
        println!(
            "{count} queries, {} functions: recall among a query's own {own}, among all {all}; {offered} offered",
            everything.len()
        );
        assert!(own * 100 >= count * 80, "{own} of {count}");
    }

    fn functions(line: &Value) -> Vec<Arc<ToolSpec>> {
        let functions = line["function"].as_array().expect("functions").iter();
        let spec = |function: &Value| {
            let text = |name: &str| function[name].as_str().unwrap_or_default().to_owned();
            ToolSpec {
                parameters: function["parameters"].clone(),
                ..(*tool(&text("name"), &text("description"), &[])).clone()
            }
        };
        functions.map(|function| Arc::new(spec(function))).collect()
    }
}
