//! Thoughts that a model writes into its answer, and the frames that its server leaves around it.
//!
//! Thoughts are no part of an answer. What is cut: blocks between tags, closed or not; everything before a closing tag
//! whose opening one the prompt template has eaten; the channels of gpt-oss other than the final one. Tags inside code
//! and inside JSON values are text that an answer talks about, and stay.

use std::borrow::Cow;

use super::structured::{first_value, places};

/// Names of tags around thoughts.
const NAMES: [&str; 13] = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflection",
    "scratchpad",
    "mm:think",
    "seed:think",
    "antthinking",
    "longcat_think",
    "inner_monologue",
    "internal_monologue",
];
/// Other marks around thoughts, opening and closing.
const MARKS: [(&str, &str); 7] = [
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|thinking|>", "<|/thinking|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
];
/// Frames around a whole answer.
const FRAMES: [(&str, &str); 5] = [
    ("<answer>", "</answer>"),
    ("<final_answer>", "</final_answer>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
];
/// Tokens that some servers leave at the beginning of an answer.
const STARTS: [&str; 3] = ["<|im_start|>assistant", "<|start|>assistant", "<|assistant|>"];
/// Tokens that they leave at its end.
const ENDS: [&str; 11] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<end_of_turn>",
    "<|im_sep|>",
    "<｜end▁of▁sentence｜>",
];
/// Longest header of a channel that is read, in bytes.
const HEADER_BYTES: usize = 200;
/// Longest code within a line, in bytes.
const INLINE_CODE_BYTES: usize = 4 << 10;
/// Most backticks of a fence. A fence is searched for its end to the end of the text, once for each length at most.
const FENCE_TICKS: std::ops::RangeInclusive<usize> = 3..=16;
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";

/// `text` without thoughts and frames, trimmed; empty when there is nothing else.
pub(super) fn cut(text: &str) -> String {
    let text = text.trim();
    let said = final_channel(text).map_or_else(|| without_blocks(text), Cow::into_owned);
    unframed(&said).to_owned()
}

/// The answer in the channels of gpt-oss, or `None` when `text` has none: the final channel, or else a tool call as
/// it was written, or else nothing.
fn final_channel(text: &str) -> Option<Cow<'_, str>> {
    if text.starts_with(['{', '[', '`']) {
        return None;
    }
    // The marks are special tokens, which some servers drop and then join what stood between them.
    if let Some(thoughts) = text.strip_prefix("analysis") {
        if let Some((_, answer)) = text.rsplit_once("assistantfinal") {
            return Some(answer.into());
        }
        if let Some(at) = text.find("assistantcommentary to=") {
            return Some(text[at..].into());
        }
        let called = text.rsplit_once("assistant to=").and_then(|(_, call)| call.split_once("commentary"));
        if let Some((tool, call)) = called.filter(|(tool, _)| !tool.trim().contains(char::is_whitespace)) {
            return Some(format!("assistantcommentary to={} {call}", tool.trim()).into());
        }
        return thoughts.starts_with(char::is_uppercase).then_some("".into());
    }
    let starts = text.starts_with(CHANNEL) || text.starts_with("<|start|>");
    let is_called = text.contains(CHANNEL) && recipient(text).is_some();
    if !(starts || is_called || text.contains("<|start|>assistant<|channel|>")) {
        return None;
    }
    let header = |at: usize| {
        let rest = &text[at + CHANNEL.len()..];
        rest[..rest.floor_char_boundary(HEADER_BYTES)].split(MESSAGE).next().unwrap_or_default().trim_start()
    };
    let places: Vec<usize> = text.match_indices(CHANNEL).map(|(at, _)| at).collect();
    if let Some(at) = places.iter().rev().find(|at| header(**at).starts_with("final")) {
        let body = text[*at..].split_once(MESSAGE).map_or("", |(_, body)| body);
        let ends = ["<|return|>", "<|end|>", "<|start|>", "<|call|>"];
        let end = ends.iter().filter_map(|end| body.find(end)).min().unwrap_or(body.len());
        return Some(body[..end].into());
    }
    let call = places.iter().rev().find_map(|at| {
        let call = &text[*at..];
        if header(*at).contains("to=") {
            return Some(call.into());
        }
        // The tool may be named in front of the channel.
        let near = &text[text.floor_char_boundary(at.saturating_sub(HEADER_BYTES))..*at];
        let before = near.rfind("<|start|>").map_or(near, |start| &near[start..]);
        let tool = recipient(before.strip_prefix("<|start|>assistant").unwrap_or(before))?;
        let rest = call[CHANNEL.len()..].trim_start();
        Some(format!("{CHANNEL}commentary to={tool} {}", rest.strip_prefix("commentary").unwrap_or(rest)).into())
    });
    Some(call.unwrap_or_default())
}

/// The tool that gpt-oss names at the begin of `header`, in front of the channel.
fn recipient(header: &str) -> Option<&str> {
    let named = header.trim_start().strip_prefix("to=")?;
    let end = named.find(|c: char| c == '<' || c.is_whitespace()).unwrap_or(named.len());
    let is_header = named[end..].trim_start().starts_with(CHANNEL) || named[end..].trim().is_empty();
    (end > 0 && is_header).then_some(&named[..end])
}

fn without_blocks(text: &str) -> String {
    let mut kept = String::new();
    let (mut from, mut at, mut values) = (0, 0, 0);
    let mut open = false;
    while let Some(next) = text[at..].find(['<', '[', '◁', '`', '{']) {
        at += next;
        let rest = &text[at..];
        if let Some((length, opens)) = tag(rest) {
            match (open, opens) {
                (false, true) => kept.push_str(&text[from..at]),
                // The begin of the thoughts is not in the text: all so far was one.
                (false, false) => kept.clear(),
                (true, _) => {}
            }
            open = opens;
            at += length;
            from = at;
            continue;
        }
        at += if rest.starts_with('`') {
            if open { named_tag(rest) } else { code(text, at) }
        } else if rest.starts_with(['{', '[']) && !open && values < places(text) {
            values += 1;
            first_value(rest).map_or(1, |(_, length)| text.ceil_char_boundary(at + length.max(1)) - at)
        } else {
            text.ceil_char_boundary(at + 1) - at
        };
    }
    if !open {
        kept.push_str(&text[from..]);
    }
    kept.trim().to_owned()
}

/// The tag around thoughts that `text` begins with: its length, and whether it opens.
fn tag(text: &str) -> Option<(usize, bool)> {
    for (opening, closing) in MARKS {
        for (mark, opens) in [(opening, true), (closing, false)] {
            if text.starts_with(mark) {
                return Some((mark.len(), opens));
            }
        }
    }
    let inner = text.strip_prefix('<')?;
    let end = inner.as_bytes().iter().take(64).position(|byte| *byte == b'>')?;
    let inner = inner.get(..end)?.trim();
    let (inner, opens) = inner.strip_prefix('/').map_or((inner, true), |inner| (inner, false));
    let name = inner.split_whitespace().next().unwrap_or_default();
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)).then_some((end + 2, opens))
}

/// Length of the tag in backticks that thoughts begin with here, or of the backticks: a draft is often left open, so other
/// code in thoughts protects nothing.
fn named_tag(text: &str) -> usize {
    let (fence, rest) = text.split_at(ticks(text));
    let length = tag(rest).map(|(length, _)| length).filter(|length| rest[*length..].starts_with(fence));
    length.filter(|_| fence.len() < 3).map_or(fence.len(), |length| length + 2 * fence.len())
}

/// Length of the code that begins with a backtick at `at`, or of its backticks when nothing closes it.
pub(super) fn code(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let ticks = ticks(rest);
    if !is_fence(text, at) {
        return inline_code(rest);
    }
    let fence = &rest[..ticks];
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        length += line.len();
        let is_fence = line.trim_start().starts_with(fence);
        match (length == line.len(), is_fence, line.trim() == fence) {
            (false, true, true) => return length,
            // Another fence opens before this one has closed.
            (false, true, false) => return ticks,
            _ => {}
        }
    }
    ticks
}

/// Whether the backticks at `at` are a fence: three to sixteen at the begin of a line.
pub(super) fn is_fence(text: &str, at: usize) -> bool {
    let before = text[..at].trim_end_matches([' ', '\t']);
    FENCE_TICKS.contains(&ticks(&text[at..])) && (before.is_empty() || before.ends_with('\n'))
}

/// Length of the code within a line that `text` begins with, or of its backticks when nothing near closes it. The search
/// is short, so that a text of nothing but backticks costs little.
pub(super) fn inline_code(text: &str) -> usize {
    let ticks = ticks(text);
    let (fence, rest) = text.split_at(ticks);
    let near = &rest[..rest.floor_char_boundary(INLINE_CODE_BYTES)];
    let end = near.find(fence).filter(|end| !near[..*end].contains('\n'));
    end.map_or(ticks, |end| ticks + end + ticks)
}

/// How many backticks `text` begins with.
pub(super) fn ticks(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b'`').count()
}

/// `text` without the tokens that frame an answer.
fn unframed(text: &str) -> &str {
    let mut text = text.trim();
    loop {
        let before = text.len();
        for start in STARTS {
            text = text.strip_prefix(start).unwrap_or(text).trim_start();
        }
        for end in ENDS {
            text = text.strip_suffix(end).unwrap_or(text).trim_end();
        }
        for (opening, closing) in FRAMES {
            let inner = text.strip_prefix(opening).and_then(|rest| rest.strip_suffix(closing));
            text = inner.filter(|inner| !inner.contains(opening)).unwrap_or(text).trim();
        }
        if text.len() == before {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAFT: &str = r#"maybe {"success": true, "answer": "41", "reason": "a guess"}"#;
    const RIGHT: &str = r#"{"success": true, "answer": "42", "reason": "sure"}"#;

    #[test]
    fn thoughts_in_every_form_are_cut() {
        for said in [
            format!("<think>{DRAFT}</think>{RIGHT}"),
            format!("{DRAFT}\n</think>\n\n{RIGHT}"),
            format!("<think>\n{DRAFT}\n</think>\n<think>more: {DRAFT}</think>\n{RIGHT}"),
            format!("<think>a <think> in a thought {DRAFT}</think> still {DRAFT}</think>{RIGHT}"),
            format!("<Thinking>{DRAFT}</THINKING>{RIGHT}"),
            format!("<reasoning effort=\"high\">{DRAFT}</reasoning>{RIGHT}"),
            format!("<thought>{DRAFT}</thought >{RIGHT}"),
            format!("<mm:think>{DRAFT}</mm:think>{RIGHT}"),
            format!("<seed:think>{DRAFT}</seed:think>{RIGHT}"),
            format!("[THINK]{DRAFT}[/THINK]{RIGHT}"),
            format!("◁think▷{DRAFT}◁/think▷{RIGHT}"),
            format!("<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>{RIGHT}<|end_of_solution|>"),
            format!("<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{RIGHT}<|END_RESPONSE|>"),
            format!("<|channel>thought\n{DRAFT}<channel|>{RIGHT}"),
            format!("<think>{DRAFT}</think><answer>{RIGHT}</answer><|im_end|>"),
            format!(
                "<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{RIGHT}<|return|>"
            ),
            format!(
                "<|start|>assistant<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>{RIGHT}"
            ),
            format!("analysisWe need to answer. {DRAFT}assistantfinal{RIGHT}"),
            format!("<think>the form is ```json\n{DRAFT}\n</think>\n{RIGHT}"),
            format!("so ```json\n{DRAFT}\n```\n</think>\n{RIGHT}"),
            format!("{RIGHT}<|eot_id|>"),
            format!("{RIGHT}\n<think>Did I get it right? {DRAFT}"),
        ] {
            assert_eq!(cut(&said), RIGHT, "{said}");
        }
    }

    #[test]
    fn words_before_thoughts_stay() {
        assert_eq!(cut("Well. <think>hm</think>It is 42."), "Well. It is 42.");
        assert_eq!(cut("It is 42. <think>really?"), "It is 42.");
    }

    #[test]
    fn thoughts_alone_are_nothing() {
        for said in [
            "<think>I wonder".to_owned(),
            format!("<think>{DRAFT}"),
            format!("<think>{DRAFT}</think>"),
            format!("{DRAFT}</think>"),
            format!("<think>{DRAFT}</think>  <think>and"),
            format!("<|channel|>analysis<|message|>{DRAFT}"),
            format!("<|channel|>analysis<|message|>{DRAFT}<|end|>"),
            "analysisWe must look it up.".to_owned(),
            "[THINK]so".to_owned(),
            "<think></think><|im_end|>".to_owned(),
        ] {
            assert_eq!(cut(&said), "", "{said}");
        }
    }

    #[test]
    fn an_answer_that_talks_about_tags_stays_whole() {
        for said in [
            r#"{"success": true, "answer": "Models write <think> and </think> around thoughts.", "reason": "r"}"#,
            "Thoughts stand in `<think>`; `</think>` ends them.",
            "Such a text looks like this:\n```\n<think>hm</think>42\n```\nand that is all.",
            "```xml\n<reasoning>\n```",
            r#"Here it is: {"tag": "</think>"} as asked."#,
            "{\"answer\": \"<think> opens\",}",
            "[\"</think>\", \"[THINK]\"]",
            "1 < 2 and <b>bold</b> and <thinker> stay, as does a [link](x) and an `open tick",
            "analysis of the data: all is well",
            "<response>an XML answer</response>",
        ] {
            assert_eq!(cut(said), said);
        }
    }

    #[test]
    fn a_backtick_in_thoughts_protects_nothing() {
        for said in [
            "<think>use ` here</think>It is `42`.",
            "<think>use `` here</think>It is `42`.",
            "<think>`a` and ` here</think>It is `42`.",
            "<think>one `\n</think>It is `42`.",
            "[THINK]the tag `x[/THINK]It is `42`.",
            "<think>the tag `</think>` ends it</think>It is `42`.",
            "<think>\n```\nopen</think>It is `42`.",
        ] {
            assert_eq!(cut(said), "It is `42`.", "{said}");
        }
    }

    #[test]
    fn a_call_in_a_channel_keeps_the_name_of_its_tool() {
        for said in [
            "<|start|>assistant to=functions.x <|channel|>commentary json<|message|>{\"a\": 1}<|call|>",
            "<|start|>assistant to=functions.x<|channel|>commentary <|constrain|>json<|message|>{\"a\": 1}<|call|>",
            "to=functions.x<|channel|>commentary json<|message|>{\"a\": 1}",
            "<|channel|>analysis<|message|>hm to=functions.y<|end|><|start|>assistant to=functions.x <|channel|>commentary json<|message|>{\"a\": 1}",
            "<|channel|>commentary to=functions.x <|constrain|>json<|message|>{\"a\": 1}<|call|>",
            "analysisWe call it.assistant to=functions.xcommentary json{\"a\": 1}",
            "analysisWe call it.assistantcommentary to=functions.x json{\"a\": 1}",
        ] {
            let call = cut(said);
            let found = crate::llm::textual::calls(&call, &[]).unwrap_or_else(|| panic!("no call in {call}"));
            assert_eq!(found.calls.len(), 1, "{call}");
            let call = found.calls[0].clone().requested(&[]);
            assert_eq!((call.tool.as_str(), call.arguments), ("functions.x", serde_json::json!({ "a": 1 })), "{said}");
            assert_eq!(found.preface, "", "{said}");
        }
    }

    #[test]
    fn a_large_text_of_backticks_is_read_to_its_end() {
        let runs: String = (1..90).rev().map(|length| "`".repeat(length) + "a").collect();
        for (piece, bytes) in [("`a`", 4 << 20), ("``a`", 1 << 18), ("` ", 1 << 18), ("<`", 1 << 18), (&runs, 1 << 18)]
        {
            let text = piece.repeat(bytes / piece.len());
            assert_eq!(cut(&text), text.trim(), "{}", &piece[..1]);
            assert!(!crate::llm::textual::looks_like_call(&text), "{}", &piece[..1]);
        }
    }

    #[test]
    fn hostile_text_costs_no_time() {
        for piece in ["{", "[", "<", "`", "<think>", "</think>", "{\"a\":", "```\n", "<|channel|>"] {
            let began = std::time::Instant::now();
            cut(&piece.repeat(100_000));
            assert!(began.elapsed().as_secs() < 5, "{piece}");
        }
    }
}
