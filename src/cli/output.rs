//! Text for people and JSON for programs. Whatever is shown may have been written by anybody, so nothing in it
//! reaches the terminal as a control sequence.
#![expect(clippy::print_stderr, reason = "the one place that speaks to standard error")]

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::CliError;

/// Width of tables where there is no terminal to ask.
const WIDTH: u16 = 160;
/// Narrower ones are not believed.
const MIN_WIDTH: u16 = 40;

/// Writes a line; control characters in it are escaped.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    raw(&format!("{}\n", escape(text)))
}

/// Writes text that the program itself made.
pub(crate) fn raw(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Failed(format!("the output cannot be written: {error}")),
    })
}

/// Writes JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    raw(&format!("{}\n", escape_in_json(&text)))
}

/// Says on standard error what went wrong.
pub(crate) fn complain(message: &str) {
    for (index, text) in message.lines().enumerate() {
        eprintln!("{}{}", if index == 0 { "error: " } else { "       " }, escape(text));
    }
}

/// Says something on standard error.
pub(crate) fn note(message: &str) {
    eprintln!("{}", escape(message));
}

/// Whether standard output is a terminal that takes colours and moving lines.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table without lines.
pub(crate) fn table<const N: usize>(headers: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headers);
    // Some terminals do not know their width.
    if !is_terminal() || table.width().is_none_or(|width| width < MIN_WIDTH) {
        table.set_width(WIDTH);
    }
    table
}

/// Writes a table whose cells are all made with [`cell`].
pub(crate) fn show(table: &Table) -> Result<(), CliError> {
    for row in table.lines() {
        raw(&format!("{}\n", row.trim_end()))?;
    }
    Ok(())
}

/// Text for a cell: one line, safe, at most `width` characters.
pub(crate) fn cell(text: &str, width: usize) -> String {
    let first = text.trim().replace(['\n', '\r', '\t'], " ");
    let safe = escape(&first);
    if safe.chars().count() <= width {
        return safe;
    }
    let mut short: String = safe.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Whether `c` could change what a terminal shows elsewhere: control characters, and those that turn the direction of
/// text around.
fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// `text` with everything that a terminal could act on written out.
pub(crate) fn escape(text: &str) -> String {
    if !text.chars().any(is_dangerous) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if is_dangerous(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
        safe
    })
}

/// JSON escapes most control characters itself; the others occur only inside its texts.
fn escape_in_json(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        if c != '\n' && is_dangerous(c) {
            // Writing to a string cannot fail, and all of these lie in the first plane.
            write!(safe, "\\u{:04x}", u32::from(c)).unwrap_or_default();
        } else {
            safe.push(c);
        }
        safe
    })
}

/// A time of the API for people: whole seconds are enough, and its zone stays.
pub(crate) fn time(rfc3339: &str) -> String {
    let text = rfc3339.replacen('T', " ", 1);
    match text.split_once('.') {
        Some((seconds, rest)) => seconds.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_as_a_control_sequence() {
        let hostile = "a\u{1b}[2Jb\u{9b}31m\r\u{202e}c\u{7}";
        let safe = escape(hostile);
        assert!(!safe.chars().any(is_dangerous), "{safe:?}");
        assert!(safe.starts_with("a\\u{1b}[2Jb"));
        let json = escape_in_json(&serde_json::json!({ "x": hostile }).to_string());
        assert!(!json.chars().any(is_dangerous), "{json:?}");
        let read: serde_json::Value = serde_json::from_str(&json).expect("still JSON");
        assert_eq!(read["x"], hostile);
    }

    #[test]
    fn a_time_keeps_its_zone_and_loses_its_fraction() {
        assert_eq!(time("2026-11-21T17:35:05.123Z"), "2026-11-21 17:35:05Z");
        assert_eq!(time("2026-11-21T17:35:05+02:00"), "2026-11-21 17:35:05+02:00");
    }

    #[test]
    fn a_cell_is_one_short_line() {
        assert_eq!(cell("a\nb", 10), "a b");
        assert_eq!(cell("abcdef", 4), "abc…");
    }
}
