//! `calculate`: exact arithmetic, units and percentages, by `fend`. Bounded in time and input, without state or chance.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inputs::{blocking, object, parse};
use super::{Tool, ToolContext};
use crate::domain::failure::Failure;
use crate::domain::tool::{Effect, ToolResult, ToolSpec};

/// Longest expression, in bytes.
const MAX_INPUT: usize = 500;
/// Deepest nesting of brackets.
const MAX_DEPTH: usize = 50;
/// Most operators in a row; the parser of `fend` recurses on each.
const MAX_RUN: usize = 50;
/// Time limit of one calculation. Also bounds its memory, because numbers need time to grow.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Stack of the thread that calculates: `fend` recurses on its input.
const STACK_BYTES: usize = 32 * 1024 * 1024;

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
                "Calculates an expression exactly: + - * / ^ ! %, brackets, functions (sqrt, ln, sin, …), units \
                          (\"5 km to miles\"). Use it for every number that matters. Answers {\"value\": text, \
                          \"exact\": whether nothing was rounded}."
                    .into(),
            parameters: object(
                &json!({
                    "expression": {
                        "type": "string", "minLength": 1, "maxLength": MAX_INPUT,
                        "description": "for example \"10!\", \"factorial of 10\", \"(3 + 4) * 2^10\", \"12% of 80\""
                    },
                }),
                &["expression"],
            ),
            effect: Effect::Read,
            idempotent: true,
        }
    }

    async fn call(&self, _context: &ToolContext, arguments: Value) -> ToolResult {
        let Arguments { expression } = parse(arguments)?;
        check(&expression)?;
        let phrase = normalise(&expression);
        blocking(move || on_large_stack(&expression, &phrase)).await
    }
}

/// Refuses what `fend` would recurse on without end: definitions of functions, and deep nesting.
fn check(expression: &str) -> Result<(), Failure> {
    let refuse = |reason: &str| Err(Failure::invalid(format!("cannot calculate {expression:?}: {reason}")));
    if expression.len() > MAX_INPUT {
        return Err(Failure::invalid(format!(
            "the expression has {} bytes; at most {MAX_INPUT} are allowed",
            expression.len()
        )));
    }
    if expression.contains(['\\', 'λ', ':', '=', ';', '"', '\'', '@', '#', '\n']) {
        return refuse("definitions, texts and comments are not arithmetic");
    }
    if expression.contains("<<") || expression.contains(">>") {
        return refuse("shifts are not interruptible; multiply by a power of 2");
    }
    let (mut depth, mut run) = (0_usize, 0_usize);
    for character in expression.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        run = match character {
            ' ' => run,
            '+' | '-' | '\u{2212}' | '^' | '!' | '*' | '/' | '~' => run + 1,
            _ => 0,
        };
        if depth > MAX_DEPTH || run > MAX_RUN {
            return refuse("it is nested too deeply");
        }
    }
    Ok(())
}

/// Rewrites the phrases that people and models use for operations into operators. Leaves everything else as it is,
/// the case of letters too: mW and MW are different units.
fn normalise(expression: &str) -> String {
    let mut text = expression.trim().trim_end_matches(['?', '.']).trim_end().to_owned();
    for opening in ["what is ", "what's ", "calculate ", "compute ", "evaluate ", "the "] {
        if find(&text, opening) == Some(0) {
            text = text[opening.len()..].trim_start().to_owned();
        }
    }
    for (words, before, after) in
        [("factorial of ", "((", ")!)"), ("square root of ", "sqrt(", ")"), ("cube root of ", "cbrt(", ")")]
    {
        while let Some(start) = find(&text, words) {
            let rest = &text[start + words.len()..];
            let (operand, rest) = rest.split_at(operand_end(rest));
            text = format!("{}{before}{operand}{after}{rest}", &text[..start]);
        }
    }
    for (words, operator) in PHRASES {
        while let Some(start) = find(&text, words) {
            text.replace_range(start..start + words.len(), operator);
        }
    }
    text
}

/// Where `words` (lower case, ASCII) first appear in `text`, in any case.
fn find(text: &str, words: &str) -> Option<usize> {
    text.to_ascii_lowercase().find(words)
}

const PHRASES: &[(&str, &str)] = &[
    (" to the power of ", "^"),
    (" multiplied by ", " * "),
    (" divided by ", " / "),
    (" factorial", "!"),
    (" squared", "^2"),
    (" cubed", "^3"),
    (" plus ", " + "),
    (" minus ", " - "),
    (" times ", " * "),
    (" percent of ", "% of "),
];

/// Where the operand that `text` starts with ends: a bracketed expression, or a number.
fn operand_end(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            ')' => depth -= 1,
            _ if depth == 0 && !character.is_ascii_digit() && !matches!(character, '.' | ',' | '_') => return at,
            _ => {}
        }
    }
    text.len()
}

/// Calculates in a thread of its own, so that no expression can overflow the stack of the program.
fn on_large_stack(expression: &str, phrase: &str) -> ToolResult {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("calculate".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || evaluate(expression, phrase))
            .map_err(|error| Failure::transient(format!("no thread to calculate in: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(Failure::invalid(format!("cannot calculate {expression:?}"))))
    })
}

fn evaluate(expression: &str, phrase: &str) -> ToolResult {
    struct Deadline(Instant);
    impl fend_core::Interrupt for Deadline {
        fn should_interrupt(&self) -> bool {
            Instant::now() >= self.0
        }
    }
    let deadline = Deadline(Instant::now() + TIME_LIMIT);
    let result = fend_core::evaluate_with_interrupt(phrase, &mut fend_core::Context::new(), &deadline);
    let text = match &result {
        Ok(result) => result.get_main_result().trim(),
        Err(_) if Instant::now() >= deadline.0 => {
            return Err(Failure::invalid(format!(
                "cannot calculate {expression:?} within {} s: its result is too large",
                TIME_LIMIT.as_secs()
            )));
        }
        Err(error) => return Err(Failure::invalid(format!("cannot calculate {expression:?}: {error}"))),
    };
    if text.is_empty() {
        return Err(Failure::invalid(format!("cannot calculate {expression:?}: it has no value")));
    }
    Ok(match text.strip_prefix("approx. ") {
        Some(rounded) => json!({ "value": rounded, "exact": false }),
        None => json!({ "value": text, "exact": true }),
    })
}

#[cfg(test)]
mod tests {
    use super::super::inputs::test_context;
    use super::*;

    async fn calculate(expression: &str) -> ToolResult {
        Calculate.call(&test_context(), json!({ "expression": expression })).await
    }

    #[tokio::test]
    async fn results_are_exact_and_say_so() {
        for (expression, value) in [
            ("10!", "3628800"),
            ("factorial of 10", "3628800"),
            ("the factorial of 10", "3628800"),
            ("What is the factorial of 10?", "3628800"),
            ("10 factorial", "3628800"),
            ("factorial of (3 + 2) plus 1", "121"),
            ("2 plus 3 times 4", "14"),
            ("2 to the power of 64", "18446744073709551616"),
            ("square root of 16", "4"),
            ("0.1 + 0.2", "0.3"),
            ("12% of 80", "9.6"),
            ("12 percent of 80", "9.6"),
            ("1,000 * 3", "3000"),
            ("7 squared", "49"),
            ("5 km to m", "5000 m"),
            ("3 MW to kW", "3000 kW"),
            ("-5 - -5", "0"),
        ] {
            assert_eq!(calculate(expression).await, Ok(json!({ "value": value, "exact": true })), "{expression}");
        }
    }

    #[tokio::test]
    async fn a_rounded_result_is_not_called_exact() {
        let third = calculate("1/3").await.expect("a value");
        assert_eq!(third["exact"], false);
        assert!(third["value"].as_str().expect("text").starts_with("0.333"), "{third}");
    }

    #[tokio::test]
    async fn what_would_run_away_is_stopped_in_time() {
        let expressions = [
            "9^9^9^9",
            "10^10^10^10",
            "9999999!",
            "fibonacci(99999999)",
            "2^99999999",
            "sqrt(2^99999999)",
            "99999999 choose 50000000",
            "ln(9^9^9)",
            "(1/3)^9999999",
            "0.1^99999999",
            "(2^9999999) to base 2",
            "10^-999999999",
            "1e999999999",
            "2^(1/999999999)^9999999",
        ];
        let started = Instant::now();
        let outcomes = futures_util::future::join_all(expressions.map(calculate)).await;
        assert!(started.elapsed() < TIME_LIMIT * 10, "took {:?}", started.elapsed());
        for (expression, outcome) in expressions.iter().zip(outcomes).take(9) {
            let failure = outcome.expect_err(expression);
            assert!(failure.message.contains(&format!("{expression:?} within 2 s")), "{failure}");
        }
    }

    #[tokio::test]
    async fn what_is_no_arithmetic_is_refused_by_name() {
        for expression in [
            "(x: x x) (x: x x)",
            r"(\x.x x) (\x.x x)",
            "(x => x x) (x => x x)",
            "x = 5",
            "roll d6",
            "5 USD to EUR",
            "1 +",
            "1 / 0",
            "1 << 99999999999",
            "today",
            "\"text\"",
            " ",
        ] {
            let failure = calculate(expression).await.expect_err(expression);
            assert!(failure.message.contains(&format!("{expression:?}")), "{failure}");
        }
        let failure = calculate(&"1+".repeat(400)).await.expect_err("too long");
        assert!(failure.message.contains("at most 500"), "{failure}");
    }

    #[tokio::test]
    async fn deep_nesting_does_not_overflow_the_stack() {
        for expression in ["(".repeat(400), "-".repeat(400) + "1", "1".to_owned() + &"!".repeat(200)] {
            let failure = calculate(&expression).await.expect_err(&expression);
            assert!(failure.message.contains("nested too deeply"), "{failure}");
        }
        for expression in ["1".to_owned() + &"^2".repeat(200), "- ".repeat(40) + "1", "sqrt ".repeat(95) + "1"] {
            // Any outcome will do, as long as the process lives to tell it.
            drop(calculate(&expression).await);
        }
    }
}
