//! `calculate`: arithmetic with a grammar of its own, exact as long as it can be, and refused where it has two readings.
//!
//! Numbers are exact fractions. Functions such as sines give floats that carry how wrong they may be. Time and memory are
//! bounded by the length of the input and the size of numbers; there is no state and no chance.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use self::parser::{Answer, Parser};
use super::inputs::{blocking, object, parse};
use super::{Tool, ToolContext};
use crate::domain::failure::Failure;
use crate::domain::plan::has_references;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

mod functions;
mod lexer;
mod moment;
mod number;
mod parser;
#[cfg(test)]
mod tests;
mod units;

/// Longest expression, in bytes.
const MAX_INPUT: usize = 500;

/// The tool `calculate`.
#[derive(Debug)]
pub struct Calculate;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    expression: String,
}

#[async_trait]
impl Tool for Calculate {
    fn spec(&self) -> ToolSpec {
        ToolSpec {
            name: "calculate".into(),
            description:
                "Calculates an expression exactly, to add, subtract, multiply, double, halve, divide or compare: + - * / // ^ ** ! %, \"12% of 80\", brackets, functions (sqrt, \
                          round(x, 2), min, max, sum, avg, factorial, mod, ln, sin(30 deg), …), units (\"5 km to \
                          miles\"), dates (\"date('2026-12-25') - date('2026-03-01')\" is a number of days, \"2026-12-25 + 3 \
                          weeks\", \"weekday('2026-12-25')\"). Decimals have a point (1.5), large numbers no separators (1000). Use it for every \
                          number that matters. Answers {\"value\": text, \"exact\": whether nothing was rounded}."
                    .into(),
            parameters: object(
                &json!({
                    "expression": {
                        "type": "string", "minLength": 1, "maxLength": MAX_INPUT,
                        "description": "for example \"factorial(10)\", \"(3 + 4) * 2^10\", \"12% of 80\", \"sum(1, 2, 3)\""
                    },
                }),
                &["expression"],
            ),
            output: object(
                &json!({ "value": { "type": "string" }, "exact": { "type": "boolean" } }),
                &["value", "exact"],
            ),
            effect: Effect::Read,
            idempotent: true,
            untrusted: false,
        }
    }

    fn fault(&self, arguments: &Value) -> Option<String> {
        let expression =
            arguments["expression"].as_str().filter(|text| !has_references(text) && text.len() <= MAX_INPUT)?;
        let reason = evaluate(expression).err()?;
        Some(cannot_calculate(expression, &reason))
    }

    async fn call(&self, _context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { expression } = parse(arguments)?;
        if expression.len() > MAX_INPUT {
            let length = expression.len();
            return Err(Failure::invalid(format!(
                "the expression has {length} bytes; at most {MAX_INPUT} are allowed"
            )));
        }
        blocking(move || {
            evaluate(&expression).map_err(|reason| Failure::invalid(cannot_calculate(&expression, &reason)))
        })
        .await
    }
}

fn cannot_calculate(expression: &str, reason: &str) -> String {
    format!("cannot calculate {expression:?}: {reason}")
}

/// The value of `expression`, as the tool answers it.
fn evaluate(expression: &str) -> Result<Value, String> {
    number::begin_work();
    let text = bare(expression);
    let tokens = lexer::tokens(text)?;
    let quantity = match Parser::value(text, &tokens)? {
        Answer::Text(text) => return Ok(json!({ "value": text, "exact": true })),
        Answer::Number(quantity) => quantity,
    };
    let written = quantity.number.written()?;
    let value =
        if quantity.units.is_none() { written.text } else { format!("{} {}", written.text, quantity.units.written()) };
    Ok(json!({ "value": value, "exact": written.exact }))
}

/// `expression` without the words of a question around it, and without the end of its sentence.
fn bare(expression: &str) -> &str {
    let mut text = expression.trim().trim_end_matches([' ', '?', '=']).trim_end();
    if let Some(sentence) = text.strip_suffix('.') {
        text = sentence.trim_end();
    }
    for opening in ["what is ", "what's ", "calculate ", "compute ", "evaluate ", "the "] {
        let matches = text.get(..opening.len()).is_some_and(|start| start.eq_ignore_ascii_case(opening));
        if matches {
            text = text[opening.len()..].trim_start();
        }
    }
    text
}
