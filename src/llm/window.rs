//! How much a model reads at once, as its server shows it, and questions that fit.
//!
//! A server that is given more than its context either says so, or cuts the question without a word. The goal stands last
//! and the data before it, so that qron rather cuts the data itself.

use std::borrow::Cow;

use serde_json::Value;

use crate::domain::conversation::{LONGER_CONTEXT, Message};
use crate::domain::data_block;
use crate::domain::failure::Failure;
use crate::domain::json::Size;

/// The windows that are believed, in tokens.
const CREDIBLE: std::ops::RangeInclusive<u64> = 256..=100_000_000;
/// Bytes of a token in a question that is made to fit: fewer than in most texts, so that it does fit.
const BYTES_PER_TOKEN: usize = 3;
/// Bytes of a token that hardly any text reaches as its average.
const MOST_BYTES_PER_TOKEN: usize = 6;
/// Windows of servers are multiples of it; a question of that many tokens which ought to have far more was cut.
const GRAIN: u64 = 256;
/// The part of a window that answers may take.
const ANSWER_SHARE: u32 = 4;

/// Words before the number of tokens, in lower case.
const BEFORE: [&str; 8] = [
    "context length is ",
    "context length of only ",
    "context length of ",
    "context window of ",
    "context size of ",
    "tokens allowed (",
    "must be <= ",
    "\"n_ctx\":",
];
/// Words after the number of tokens, in lower case.
const AFTER: [&str; 2] = [" maximum context", " maximum"];

/// The window that a refusal names.
pub(super) fn named_in(text: &str) -> Option<u32> {
    let text = text.to_ascii_lowercase();
    let after = |word: &&str| text.find(*word).and_then(|at| leading_number(text[at + word.len()..].trim_start()));
    let before = |word: &&str| text.find(*word).and_then(|at| trailing_number(&text[..at]));
    let named = BEFORE.iter().find_map(after).or_else(|| AFTER.iter().find_map(before))?;
    credible(named)
}

/// The window of a server that counted `prompt_tokens` in a question of `bytes`, when it must have cut it: the count is one of a
/// window, and far too small for the text.
pub(super) fn cut_at(bytes: usize, prompt_tokens: u64) -> Option<u32> {
    let is_too_small = || to_u64(bytes) / to_u64(MOST_BYTES_PER_TOKEN) > prompt_tokens;
    if prompt_tokens.is_multiple_of(GRAIN) && is_too_small() { credible(prompt_tokens) } else { None }
}

/// Bytes of the conversation and the tools in the body of a request, which is what a model reads of it.
pub(super) fn prompt_bytes(body: &Value) -> usize {
    Size::of(&body["messages"]).text + Size::of(&body["tools"]).text
}

/// Most tokens of an answer in a window of so many.
pub(super) const fn answer_tokens(window: u32) -> u32 {
    window / ANSWER_SHARE
}

/// The window that is assumed of a server that refused a question of `bytes` as too long, without a number.
pub(super) fn below(bytes: usize) -> u32 {
    let tokens = u32::try_from(bytes / MOST_BYTES_PER_TOKEN).unwrap_or(u32::MAX);
    tokens.max(1)
}

/// `messages`, with shorter data where they are too long for `window`. `other_bytes` is what the model reads besides.
///
/// # Errors
/// When the question cannot fit, however short its data are.
pub(super) fn fitted<'a>(
    model: &str,
    messages: &'a [Message],
    other_bytes: usize,
    window: Option<u32>,
) -> Result<Cow<'a, [Message]>, Failure> {
    let Some(window) = window else { return Ok(Cow::Borrowed(messages)) };
    let room = usize::try_from(window - answer_tokens(window)).unwrap_or(usize::MAX);
    let length = |messages: &[Message]| messages.iter().map(length_of).fold(other_bytes, usize::saturating_add);
    let excess = length(messages).saturating_sub(room.saturating_mul(BYTES_PER_TOKEN));
    if excess == 0 {
        return Ok(Cow::Borrowed(messages));
    }
    let shown = data_block::shortened(messages, excess);
    let bytes = length(&shown);
    if bytes / MOST_BYTES_PER_TOKEN >= room {
        return Err(too_small(model, window, bytes));
    }
    Ok(Cow::Owned(shown))
}

/// The failure of a question of `bytes` that is larger than the window.
pub(super) fn too_small(model: &str, window: u32, bytes: usize) -> Failure {
    Failure::permanent(format!(
        "model {model:?} reads {window} tokens at once, with its answer, and the question has {bytes} bytes without the data \
         that could be left out: {LONGER_CONTEXT}, or give the task a shorter goal and the agent fewer tools"
    ))
}

fn length_of(message: &Message) -> usize {
    match message {
        Message::Assistant { content, tool_calls, .. } => {
            content.len()
                + tool_calls.iter().map(|call| call.tool.len() + Size::of(&call.arguments).text).sum::<usize>()
        }
        other => other.content().len(),
    }
}

fn credible(tokens: u64) -> Option<u32> {
    u32::try_from(tokens).ok().filter(|tokens| CREDIBLE.contains(&u64::from(*tokens)))
}

fn leading_number(text: &str) -> Option<u64> {
    text[..text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())].parse().ok()
}

fn trailing_number(text: &str) -> Option<u64> {
    text[text.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1)..].parse().ok()
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_read_from_the_words_of_servers() {
        for (text, window) in [
            ("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens", Some(4096)),
            ("Requested tokens (5000) exceed context window of 2048", Some(2048)),
            (
                r#"{"error":{"code":400,"type":"exceed_context_size_error","n_prompt_tokens":5000,"n_ctx":4096}}"#,
                Some(4096),
            ),
            (r#"{"error":{"n_ctx": 8192}}"#, Some(8192)),
            ("prompt is too long: 213462 tokens > 200000 maximum", Some(200_000)),
            ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", Some(32_768)),
            ("The input token count (5000) exceeds the maximum number of tokens allowed (4096).", Some(4096)),
            ("`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000", Some(4097)),
            ("the model is loaded with context length of only 4096 tokens", Some(4096)),
            ("maximum context length is 0 tokens", None),
            ("maximum context length is 99999999999999999999999 tokens", None),
            ("the prompt is too long", None),
            ("", None),
        ] {
            assert_eq!(named_in(text), window, "{text}");
        }
    }

    #[test]
    fn a_count_far_too_small_that_is_a_window_tells_of_a_cut() {
        for (bytes, tokens, window) in [
            (60_000, 4096, Some(4096)),
            (60_000, 2048, Some(2048)),
            (16_000, 4096, None),
            (60_000, 4100, None),
            (60_000, 0, None),
            (1_000, 0, None),
            (usize::MAX, 4096, Some(4096)),
        ] {
            assert_eq!(cut_at(bytes, tokens), window, "{bytes} {tokens}");
        }
    }

    #[test]
    fn data_are_cut_to_fit_and_a_goal_is_not() {
        let user = |content: String| vec![Message::User { content }];
        let question = user(format!("{}<goal>g</goal>", data_block::block("page", &"x".repeat(90_000))));
        let shown = fitted("m", &question, 1_000, Some(4096)).expect("fits");
        let bytes = shown[0].content().len();
        assert!(
            bytes <= 3072 * 3 - 1_000 && bytes > 7_500 && shown[0].content().ends_with("<goal>g</goal>"),
            "{bytes}"
        );
        assert_eq!(*fitted("m", &question, 0, None).expect("no window is known"), *question);
        let failure = fitted("m", &user("g".repeat(30_000)), 0, Some(4096)).expect_err("too long");
        assert!(failure.message.contains("reads 4096 tokens at once"), "{failure}");
    }
}
