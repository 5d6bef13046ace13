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
/// Characters of a token that hardly any text reaches as its average, where a run of one character counts once.
const MOST_CHARACTERS_PER_TOKEN: usize = 6;
/// People and servers choose windows that are multiples of one of these.
const GRAINS: [u64; 2] = [256, 1_000];
/// Two questions are clearly of another length when they differ by this part of the longer one.
const CLEAR_DIFFERENCE: usize = 8;
/// Most bytes of a refused question for each token of the window that is learnt from it.
const LEARNT_BYTES_PER_TOKEN: u64 = 12;
/// The part of a window that is left for the answer when a question is made to fit.
const ANSWER_SHARE: u32 = 4;

/// Characters of a refusal's message in which a window is looked for: servers that repeat the question do so behind their own words.
const MESSAGE_CHARACTERS: usize = 1_000;
/// Words before the number of tokens, in lower case.
const BEFORE: [&str; 7] = [
    "context length is ",
    "context length of only ",
    "context length of ",
    "context window of ",
    "context size of ",
    "tokens allowed (",
    "must be <= ",
];
/// Words after the number of tokens, in lower case.
const AFTER: [&str; 2] = [" maximum context", " maximum"];
/// What stands between the groups of three digits of a number: comma, low line, and blanks of four widths.
const SEPARATORS: [char; 6] = [',', '_', ' ', '\u{a0}', '\u{2009}', '\u{202f}'];

/// The window that a refusal names in its field `n_ctx`, or else in its own message.
pub(super) fn named_in(message: &str, n_ctx: &Value) -> Option<u32> {
    let begin = message.char_indices().nth(MESSAGE_CHARACTERS).map_or(message, |(end, _)| &message[..end]);
    let text = begin.to_ascii_lowercase();
    let after = |word: &&str| text.find(*word).and_then(|at| leading_number(text[at + word.len()..].trim_start()));
    let before = |word: &&str| text.find(*word).and_then(|at| trailing_number(&text[..at]));
    let in_words = || BEFORE.iter().find_map(after).or_else(|| AFTER.iter().find_map(before));
    let named = n_ctx.as_u64().or_else(in_words)?;
    credible(named)
}

/// Whether a window that the refusal of a question of `bytes` names is learnt for all questions to the model.
///
/// This one question is made to fit it in any case: a page of a megabyte is refused just so by a model that reads 4,096 tokens, so that
/// no window is too small for a question. But the words of a refusal may repeat words of the question, which a stranger may have
/// written, and a number may be of something else. A window that is learnt cuts the data of every task for an hour. So it is learnt
/// only from a question with at most twelve bytes for each of its tokens, which is twice what hardly any text has: such a question
/// exceeds the window by little. A server with a smaller window names it to each question that is too long, for the price of a refusal.
pub(super) fn is_learnt_from(bytes: usize, window: u32) -> bool {
    u64::from(window).saturating_mul(LEARNT_BYTES_PER_TOKEN) >= to_u64(bytes)
}

/// A count of tokens that is far too small for the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SmallCount {
    characters: usize,
    tokens: u64,
}

impl SmallCount {
    /// `tokens` that a server counted in a question of `characters`; `None` when the question may well have so few.
    pub(super) fn of(characters: usize, tokens: u64) -> Option<Self> {
        let is_small = to_u64(characters / MOST_CHARACTERS_PER_TOKEN) > tokens;
        is_small.then_some(Self { characters, tokens })
    }

    /// The window at which the server seems to have cut the question. `before` is a count of an earlier question.
    ///
    /// A count alone proves no cut: it may leave out what the server had read before, or the text may have few tokens. A power of
    /// two is believed at once all the same, because most windows are powers of two, hardly any honest count is one (8 of the counts
    /// from 512 to 100,000), and an answer to a question without its goal is worth nothing. Another round number is believed once a
    /// question of clearly another length has the same count: honest counts grow with their questions. Other counts are no windows.
    pub(super) fn window(self, before: Option<Self>) -> Option<u32> {
        let is_round = GRAINS.iter().any(|grain| self.tokens.is_multiple_of(*grain));
        let is_same =
            before.is_some_and(|before| before.tokens == self.tokens && before.differs_clearly(self.characters));
        if self.tokens.is_power_of_two() || is_round && is_same { credible(self.tokens) } else { None }
    }

    fn differs_clearly(self, characters: usize) -> bool {
        self.characters.abs_diff(characters) >= self.characters.max(characters) / CLEAR_DIFFERENCE
    }
}

/// The length of a question, in the body of its request: what a model reads of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PromptSize {
    /// Bytes of the conversation and the tools.
    pub(super) bytes: usize,
    /// Characters of their texts, where a run of one character counts once: tokenisers read an indent or a line of dashes as one
    /// token. Bytes would make texts in Greek or Hindi look two or three times as long as they are.
    pub(super) characters: usize,
}

impl PromptSize {
    pub(super) fn of(body: &Value) -> Self {
        let read = [&body["messages"], &body["tools"]];
        Self {
            bytes: read.iter().map(|value| Size::of(value).text).sum(),
            characters: read.iter().map(|value| characters_in(value)).sum(),
        }
    }
}

fn characters_in(value: &Value) -> usize {
    let characters = |text: &str| {
        let mut before = None;
        text.chars().filter(|character| before.replace(*character) != Some(*character)).count()
    };
    let mut open = vec![value];
    let mut sum = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => sum += characters(text),
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                sum += fields.keys().map(|key| characters(key)).sum::<usize>();
                open.extend(fields.values());
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    sum
}

/// Most tokens of an answer to a question of `prompt_bytes` in a window of so many tokens: all that the question leaves, and the share
/// that [`fitted`] keeps free in any case.
pub(super) fn answer_tokens(window: u32, prompt_bytes: usize) -> u32 {
    let prompt = u32::try_from(prompt_bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
    window.saturating_sub(prompt).max(window / ANSWER_SHARE)
}

/// The window that is assumed of a server that refused a question of `bytes` as too long, without a number.
pub(super) fn below(bytes: usize) -> u32 {
    let tokens = u32::try_from(bytes / MOST_BYTES_PER_TOKEN).unwrap_or(u32::MAX);
    tokens.max(1)
}

/// A question as it fits into a window.
#[derive(Debug)]
pub(super) struct Fitted<'a> {
    pub(super) messages: Cow<'a, [Message]>,
    /// Bytes of the messages and of what the model reads besides.
    pub(super) bytes: usize,
    /// Bytes of data that were left out.
    pub(super) left_out: usize,
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
) -> Result<Fitted<'a>, Failure> {
    let length = |messages: &[Message]| messages.iter().map(length_of).fold(other_bytes, usize::saturating_add);
    let bytes = length(messages);
    let whole = Fitted { messages: Cow::Borrowed(messages), bytes, left_out: 0 };
    let Some(window) = window else { return Ok(whole) };
    let room = usize::try_from(window - window / ANSWER_SHARE).unwrap_or(usize::MAX);
    let excess = bytes.saturating_sub(room.saturating_mul(BYTES_PER_TOKEN));
    if excess == 0 {
        return Ok(whole);
    }
    let (shown, left_out) = data_block::shortened(messages, excess);
    let bytes = length(&shown);
    if bytes / MOST_BYTES_PER_TOKEN >= room {
        return Err(too_small(model, window, bytes));
    }
    Ok(Fitted { messages: Cow::Owned(shown), bytes, left_out })
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

/// The number that `text` begins with, with or without groups of three digits, in thousands where a `k` follows.
fn leading_number(text: &str) -> Option<u64> {
    let (first, mut rest) = text.split_at(digits_at_begin(text));
    let mut digits = first.to_owned();
    let has_groups = first.len() <= 3;
    while let Some(group) = rest.strip_prefix(SEPARATORS).filter(|group| has_groups && digits_at_begin(group) == 3) {
        let (group, behind) = group.split_at(3);
        digits.push_str(group);
        rest = behind;
    }
    let number: u64 = digits.parse().ok()?;
    if rest.starts_with('k') { number.checked_mul(1_000) } else { Some(number) }
}

/// The number that `text` ends with, with or without groups of three digits.
fn trailing_number(text: &str) -> Option<u64> {
    let mut begin = text.len() - digits_at_end(text);
    let mut group = text.len() - begin;
    while group == 3
        && let Some(before) = text[..begin].strip_suffix(SEPARATORS)
        && (1..=3).contains(&digits_at_end(before))
    {
        group = digits_at_end(before);
        begin = before.len() - group;
    }
    leading_number(&text[begin..])
}

fn digits_at_begin(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn digits_at_end(text: &str) -> usize {
    text.bytes().rev().take_while(u8::is_ascii_digit).count()
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
            ("This model's maximum context length is 4096 tokens, 512 of them for the answer", Some(4096)),
            ("Requested tokens (5000) exceed context window of 2048", Some(2048)),
            ("prompt is too long: 213462 tokens > 200000 maximum", Some(200_000)),
            ("prompt is too long: 213,462 tokens > 200,000 maximum", Some(200_000)),
            ("prompt is too long: 5000 200 000 maximum", Some(200_000)),
            ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", Some(32_768)),
            ("The input token count (5000) exceeds the maximum number of tokens allowed (4096).", Some(4096)),
            ("`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000", Some(4097)),
            ("the model is loaded with context length of only 4096 tokens", Some(4096)),
            ("maximum context length of 400,000 tokens", Some(400_000)),
            ("maximum context length of 1,048,576 tokens", Some(1_048_576)),
            ("maximum context length is 1_048_576", Some(1_048_576)),
            ("maximum context length is 128 000 tokens", Some(128_000)),
            ("maximum context length is 128\u{202f}000 tokens", Some(128_000)),
            ("maximum context length is 8192 512 tokens", Some(8192)),
            ("maximum context length is 512, 4096 with another model", Some(512)),
            ("maximum context length is 128k tokens", Some(128_000)),
            ("maximum context length is 0 tokens", None),
            ("maximum context length is 99999999999999999999999 tokens", None),
            ("maximum context length is 9,999,999,999,999,999,999,999 tokens", None),
            ("maximum context length is , tokens", None),
            ("the prompt is too long", None),
            ("", None),
        ] {
            assert_eq!(named_in(text, &Value::Null), window, "{text}");
        }
        assert_eq!(named_in("the request exceeds the available context size", &8192.into()), Some(8192));
        let repeated = |begin: usize| format!("prompt is too long: {} context length is 300 tokens", "é".repeat(begin));
        assert_eq!(named_in(&repeated(100), &Value::Null), Some(300));
        assert_eq!(named_in(&repeated(1_000), &Value::Null), None, "the question, not the server");
    }

    #[test]
    fn a_window_is_learnt_from_a_question_that_exceeds_it_by_little() {
        for (bytes, window, is_learnt) in
            [(3_600, 300, true), (3_601, 300, false), (60_000, 4096, false), (40_000, 4096, true), (0, 300, true)]
        {
            assert_eq!(is_learnt_from(bytes, window), is_learnt, "{bytes} {window}");
        }
    }

    #[test]
    fn a_power_of_two_tells_of_a_cut_at_once_and_another_round_count_when_two_questions_have_it() {
        let counted = |characters: usize, tokens: u64| SmallCount::of(characters, tokens);
        for (characters, tokens, before, window) in [
            (60_000, 4096, None, Some(4096)),
            (60_000, 2048, None, Some(2048)),
            (16_000, 4096, None, None),
            (60_000, 5_120, None, None),
            (60_000, 5_120, counted(80_000, 5_120), Some(5_120)),
            (80_000, 10_000, counted(120_000, 10_000), Some(10_000)),
            (60_000, 5_120, counted(62_000, 5_120), None),
            (60_000, 5_120, counted(80_000, 6_144), None),
            (60_000, 5_121, counted(80_000, 5_121), None),
            (60_000, 0, counted(80_000, 0), None),
            (60_000, 1, None, None),
            (usize::MAX, 4096, None, Some(4096)),
        ] {
            let found = counted(characters, tokens).and_then(|count| count.window(before));
            assert_eq!(found, window, "{characters} {tokens} {before:?}");
        }
    }

    #[test]
    fn a_question_is_as_long_as_its_characters_without_runs() {
        let characters =
            |text: &str| PromptSize::of(&serde_json::json!({"messages": [{"k": text}], "model": "m"})).characters - 1;
        for (text, expected) in
            [("", 0), ("abcabc", 6), ("aab", 2), ("        x\n\n\n--------", 4), ("Привет", 6), ("नमस्ते", 6)]
        {
            assert_eq!(characters(text), expected, "{text}");
        }
        let body = serde_json::json!({"messages": [{"k": "abc"}], "tools": [{"name": "xyz"}]});
        assert_eq!(PromptSize::of(&body).characters, 4 + 7);
    }

    #[test]
    fn data_are_cut_to_fit_and_a_goal_is_not() {
        let user = |content: String| vec![Message::User { content }];
        let question = user(format!("{}<goal>g</goal>", data_block::block("page", &"x".repeat(90_000))));
        let shown = fitted("m", &question, 1_000, Some(4096)).expect("fits");
        let bytes = shown.messages[0].content().len();
        assert!(
            bytes <= 3072 * 3 - 1_000 && bytes > 7_500 && shown.messages[0].content().ends_with("<goal>g</goal>"),
            "{bytes}"
        );
        assert_eq!(shown.bytes, bytes + 1_000);
        assert!((81_000..82_500).contains(&shown.left_out), "{}", shown.left_out);
        assert_eq!(*fitted("m", &question, 0, None).expect("no window is known").messages, *question);
        let failure = fitted("m", &user("g".repeat(30_000)), 0, Some(4096)).expect_err("too long");
        assert!(failure.message.contains("reads 4096 tokens at once"), "{failure}");
    }

    #[test]
    fn an_answer_may_take_what_the_question_leaves_and_a_quarter_in_any_case() {
        for (prompt_bytes, tokens) in
            [(0, 4096), (300, 3996), (9_216, 1_024), (9_000, 1_096), (60_000, 1_024), (usize::MAX, 1_024)]
        {
            assert_eq!(answer_tokens(4096, prompt_bytes), tokens, "{prompt_bytes}");
        }
    }
}
