//! Writes out what a terminal obeys and what people do not see, as the codes of the characters.

use crate::domain::hidden::{is_hidden, selects_form};

/// `text` with every character written as its code that a terminal obeys or that is not seen. Those stay without which some texts are
/// written wrongly: between the parts of an emoji, and between letters of scripts that join them.
pub(crate) fn escape(text: &str) -> String {
    written_out(text, is_part, in_text)
}

/// The same without the exceptions, for what a person decides on: every character that is not seen is written out.
pub(crate) fn escape_all(text: &str) -> String {
    written_out(text, |_, _, _| false, in_text)
}

/// `text` with its line ends and tabs, and every other hidden character written as its code.
pub(crate) fn escape_text(text: &str) -> String {
    let pieces = text.split_inclusive(['\n', '\t']).map(|piece| match piece.char_indices().next_back() {
        Some((end, last @ ('\n' | '\t'))) => {
            // Lines of other systems end with both.
            let body = if last == '\n' { piece[..end].trim_end_matches('\r') } else { &piece[..end] };
            format!("{}{last}", escape(body))
        }
        _ => escape(piece),
    });
    pieces.collect()
}

/// `text`, which is JSON, with the hidden characters escaped that JSON leaves as they are. They occur only within its strings.
pub(super) fn escape_in_json(text: &str) -> String {
    let is_kept = |before, c, after| c == '\n' || is_part(before, c, after);
    written_out(text, is_kept, |c| {
        let mut halves = [0; 2];
        c.encode_utf16(&mut halves).iter().map(|half| format!("\\u{half:04x}")).collect::<Vec<_>>().concat()
    })
}

fn in_text(c: char) -> String {
    c.escape_default().collect()
}

/// `text` with each covert character as `code` writes it, unless `is_kept` keeps it between its two neighbours.
fn written_out(
    text: &str,
    is_kept: impl Fn(Option<char>, char, Option<char>) -> bool,
    code: impl Fn(char) -> String,
) -> String {
    if !text.contains(is_covert) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len());
    let (mut before, mut rest) = (None, text.chars().peekable());
    while let Some(c) = rest.next() {
        if is_covert(c) && !is_kept(before, c, rest.peek().copied()) {
            safe.push_str(&code(c));
        } else {
            safe.push(c);
        }
        before = Some(c);
    }
    safe
}

fn is_covert(c: char) -> bool {
    is_hidden(c) || selects_form(c)
}

/// Whether `c` belongs to what stands around it: it joins two emoji or two letters, or chooses the form of a character that is seen.
fn is_part(before: Option<char>, c: char, after: Option<char>) -> bool {
    let Some(before) = before else { return false };
    match c {
        '\u{200d}' if before == '\u{fe0f}' || is_emoji(before) => after.is_some_and(is_emoji),
        '\u{200c}' | '\u{200d}' => joins_letters(before) && !is_covert(before),
        c if selects_form(c) => !is_covert(before) && !before.is_whitespace(),
        _ => false,
    }
}

/// Whether `c` is in a block of emoji.
const fn is_emoji(c: char) -> bool {
    matches!(
        c,
        '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
            | '\u{1f000}'..='\u{1faff}'
    )
}

/// Whether `c` is of a script whose letters join: Arabic and its relatives, and those of India and Sri Lanka.
const fn joins_letters(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{dff}')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_control_sequence() {
        let hostile = "a\u{1b}[2Jb\u{9b}31m\r\u{202e}c\u{7}\u{e0041}d\u{200b}";
        let safe = escape(hostile);
        assert!(!safe.contains(is_covert), "{safe:?}");
        assert!(safe.starts_with("a\\u{1b}[2Jb"));
        let json = escape_in_json(&serde_json::json!({ "x": hostile }).to_string());
        assert!(!json.contains(is_covert), "{json:?}");
        let read: Value = serde_json::from_str(&json).expect("still JSON");
        assert_eq!(read["x"], hostile);
    }

    #[test]
    fn a_text_keeps_its_lines_and_tabs() {
        assert_eq!(escape_text("a\tb\r\nc\u{1b}[2J\u{202e}\n\n\td"), "a\tb\nc\\u{1b}[2J\\u{202e}\n\n\td");
        assert_eq!(escape_text(""), "");
    }

    #[test]
    fn what_is_not_seen_is_written_out_but_within_emoji_and_joined_letters() {
        for kept in
            ["👩\u{200d}👩\u{200d}👧", "❤\u{fe0f}\u{200d}🔥", "☺\u{fe0f} ok", "می\u{200c}خواهم", "क\u{94d}\u{200d}ष"]
        {
            assert_eq!(escape(kept), kept);
            assert!(!escape_all(kept).contains(is_covert), "{kept}");
        }
        for (text, shown) in [
            ("pay\u{200d}pal", "pay\\u{200d}pal"),
            ("👩\u{200d}x", "👩\\u{200d}x"),
            ("a\u{200b}b\u{2060}c\u{feff}", "a\\u{200b}b\\u{2060}c\\u{feff}"),
            ("a\u{fe0f}\u{fe01}", "a\u{fe0f}\\u{fe01}"),
            ("\u{fe0f}a", "\\u{fe0f}a"),
            ("\u{e0061}\u{ad}\u{3164}", "\\u{e0061}\\u{ad}\\u{3164}"),
        ] {
            let safe = escape(text);
            assert_eq!((safe.as_str(), escape(&safe)), (shown, shown.to_owned()), "and again, unchanged");
        }
    }
}
