//! Output of the commands: text for people, JSON for programs. Strangers may have written what is shown, so no part of it
//! reaches the terminal as a control sequence.
#![expect(clippy::print_stderr, reason = "the one place that speaks to standard error")]

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::CliError;
use super::escape::escape_in_json;
pub(crate) use super::escape::{escape, escape_all, escape_text};
use crate::clock;
use crate::domain::id::TaskId;
use crate::domain::time::Timestamp;
use crate::telemetry::secrets;

/// Columns of tables when neither a terminal nor `COLUMNS` says how many there are.
const DEFAULT_WIDTH: u16 = 160;
/// A smaller reported width counts as unknown.
const MIN_WIDTH: u16 = 40;
/// Columns from which on tables show their optional columns.
pub(crate) const WIDE_FROM: u16 = 120;
/// Columns from which on tables show whole times.
pub(crate) const WHOLE_TIMES_FROM: u16 = 160;

/// A character that no cell holds: [`cell`] writes control characters out.
const NO_BREAK: char = '\0';

/// Writes a line to standard output; control characters in it are escaped.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    raw(&format!("{}\n", escape(text)))
}

/// Writes a line that a person decides on to standard output: every character in it that is not seen is written out.
pub(crate) fn exact_line(text: &str) -> Result<(), CliError> {
    raw(&format!("{}\n", escape_all(text)))
}

/// Writes text to standard output unescaped: the caller has made it or escaped it.
pub(crate) fn raw(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

fn unwritten(error: &io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::Closed,
        _ => CliError::Failed(format!("the output cannot be written: {error}")),
    }
}

/// Writes bytes to standard output as they are.
pub(crate) fn bytes(content: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(content).and_then(|()| stdout.flush()).map_err(|error| unwritten(&error))
}

/// Writes a whole text to standard output, tabs and all, with its last line ended; other control characters are escaped.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    raw(&format!("{}{end}", escape_text(text)))
}

/// Writes JSON to standard output.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    raw(&format!("{}\n", escape_in_json(&text)))
}

/// Writes an error to standard error, its further lines indented.
pub(crate) fn print_error(message: &str) {
    let message = with_times(&secrets::redact(message));
    for (index, text) in message.lines().enumerate() {
        eprintln!("{}{}", if index == 0 { "error: " } else { "       " }, escape(text));
    }
}

/// Writes to standard error why a change of `task` was refused. The id is put before reasons that do not hold it.
pub(crate) fn refusal(task: TaskId, reason: &str) {
    let task = task.to_string();
    if reason.contains(&task) { print_error(reason) } else { print_error(&format!("task {task}: {reason}")) }
}

/// Writes a hint to standard error, so that standard output holds results alone.
pub(crate) fn note(message: &str) {
    eprintln!("{}", escape(&with_times(&secrets::redact(message))));
}

/// Writes to standard error which thread panicked and where, with secrets redacted. The hook for panics.
pub(crate) fn print_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let trace = Backtrace::capture();
    let trace = if trace.status() == BacktraceStatus::Captured { format!("\n{trace}") } else { String::new() };
    let thread = std::thread::current();
    let message = format!("thread {:?} {panic}{trace}", thread.name().unwrap_or("without a name"));
    for text in secrets::redact(&message).lines() {
        // A panic within the hook would end the process, and standard error is the last place to report a failure.
        drop(writeln!(io::stderr(), "{}", escape(text)));
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table without rules. A cell that is too wide wraps.
pub(crate) fn table<const N: usize>(headers: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headers);
    table.set_width(width());
    table
}

/// A table with one line for each row of [`add`]: the columns `whole`, such as ids, are never cut, and the columns `cut`
/// share the rest of the width.
pub(crate) fn rows(whole: &[&str], cut: &[&str]) -> Table {
    one_line_rows(&[whole, cut].concat(), |column| column < whole.len(), width())
}

/// The same in `width` columns, with whole columns on both sides of `cut`, which has all the width that they leave.
pub(crate) fn rows_around(before: &[&str], cut: &str, after: &[&str], width: u16) -> Table {
    one_line_rows(&[before, &[cut], after].concat(), |column| column != before.len(), width)
}

fn one_line_rows(headers: &[&str], is_whole: impl Fn(usize) -> bool, width: u16) -> Table {
    let mut table = table([]);
    table.set_width(width);
    let mut header = Row::from(headers);
    header.max_height(1);
    table.set_header(header).set_truncation_indicator("…");
    for (place, column) in table.column_iter_mut().enumerate() {
        if is_whole(place) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        } else {
            // A row has one line, so a break between words would hide all behind it.
            column.set_delimiter(NO_BREAK);
        }
    }
    table
}

/// Adds a row that takes one line. Its cells are escaped, whoever wrote them.
pub(crate) fn add(table: &mut Table, cells: impl IntoIterator<Item = String>) {
    let mut row = Row::from(cells.into_iter().map(|cell| escape(&cell)));
    row.max_height(1);
    table.add_row(row);
}

/// Columns of tables: those of the terminal, else of the variable `COLUMNS`.
pub(crate) fn width() -> u16 {
    let terminal = if is_terminal() { Table::new().width() } else { None };
    let variable = || std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    // Some terminals report a width of zero.
    terminal.or_else(variable).filter(|width| *width >= MIN_WIDTH).unwrap_or(DEFAULT_WIDTH)
}

/// Writes a table to standard output. Its cells come from [`cell`], which escapes them.
pub(crate) fn show(table: &Table) -> Result<(), CliError> {
    lines(table).try_for_each(|line| raw(&line))
}

/// The lines of a table: its header, then its rows. Its cells come from [`cell`].
pub(crate) fn lines(table: &Table) -> impl Iterator<Item = String> {
    table.lines().map(|line| format!("{}\n", line.trim_end()))
}

/// `text` for a cell of a table: on one line, escaped, cut to `width` characters.
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

/// Most characters that a time takes; one that a server made up may be longer.
const TIME_WIDTH: usize = 40;

/// A time of the API for people: whole seconds, with its zone. What is no time is escaped and cut.
pub(crate) fn time(rfc3339: &str) -> String {
    let text = rfc3339.replacen('T', " ", 1);
    let text = match text.split_once('.') {
        Some((seconds, rest)) => seconds.to_owned() + rest.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => text,
    };
    cell(&text.strip_suffix("+00:00").map(|wall| format!("{wall}Z")).unwrap_or(text), TIME_WIDTH)
}

/// `text` with each time that qron wrote into it as [`time`] writes it. Those of others, and of examples, have no milliseconds.
pub(crate) fn with_times(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('T') {
        let found = at.checked_sub(DATE.len()).and_then(|begin| Some((begin, length_of_time(rest.get(begin..)?)?)));
        let Some((begin, length)) = found else {
            shown.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        };
        shown.push_str(&rest[..begin]);
        shown.push_str(&time(&rest[begin..begin + length]));
        rest = &rest[begin + length..];
    }
    shown.push_str(rest);
    shown
}

const DATE: &str = "0000-00-00";
const CLOCK: &str = "0000-00-00T00:00:00";

/// The length of the time in UTC, as the API writes it, that `text` begins with.
fn length_of_time(text: &str) -> Option<usize> {
    let head = text.get(..CLOCK.len())?;
    let fits = |(one, form): (u8, u8)| if form == b'0' { one.is_ascii_digit() } else { one == form };
    if !head.bytes().zip(CLOCK.bytes()).all(fits) {
        return None;
    }
    let rest = text[CLOCK.len()..].strip_prefix('.')?;
    let end = CLOCK.len() + 1 + rest.bytes().take_while(u8::is_ascii_digit).count();
    text[end..].starts_with('Z').then_some(end + 1)
}

/// A time of the API, and how far away it is: `2026-01-31 09:00:00Z (in 5m)`.
pub(crate) fn moment(rfc3339: &str) -> String {
    format!("{} ({})", time(rfc3339), distance_to(rfc3339))
}

/// How far away a time of the API is: `in 5m`.
pub(crate) fn distance_to(rfc3339: &str) -> String {
    Timestamp::read(&Value::from(rfc3339)).map_or_else(|_| time(rfc3339), |at| distance(at, clock::now()))
}

/// A time of the API as a distance from now, such as "in 5m" or "2h ago"; a very wide table shows the time, too.
pub(crate) fn relative_time(rfc3339: &str) -> String {
    relative_time_within(rfc3339, width())
}

/// The same for a table of `width` columns.
pub(crate) fn relative_time_within(rfc3339: &str, width: u16) -> String {
    let Ok(at) = Timestamp::read(&Value::from(rfc3339)) else { return time(rfc3339) };
    let distance = distance(at, clock::now());
    if width >= WHOLE_TIMES_FROM { format!("{} ({distance})", time(rfc3339)) } else { distance }
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let (later, earlier) = (at.millis_since(now), now.millis_since(at));
    match later.max(earlier).saturating_add(500) / 1_000 {
        0 => "now".to_owned(),
        seconds if later > 0 => format!("in {}", length(seconds)),
        seconds => format!("{} ago", length(seconds)),
    }
}

/// A length of time, rounded to the nearest of the largest unit that it holds twice or more; in a larger one where that is as exact.
fn length(seconds: u64) -> String {
    const UNITS: [(u64, char); 5] = [(365 * 86_400, 'y'), (86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let unit = UNITS.into_iter().map(|(unit, _)| unit).find(|unit| seconds >= 2 * unit).unwrap_or(1);
    let rounded = seconds.saturating_add(unit / 2) / unit * unit;
    let shown = UNITS.into_iter().find(|(unit, _)| rounded.is_multiple_of(*unit) && rounded > 0);
    shown.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", rounded / unit))
}

/// A length of time in the largest unit that divides it.
pub(crate) fn exact_length(seconds: u64) -> String {
    const UNITS: [(u64, char); 3] = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let unit = UNITS.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{seconds}s"), |(unit, name)| format!("{}{name}", seconds / unit))
}

/// The output of a result as text, without the reason that the model gave for it.
pub(crate) fn result_text(result: &Value) -> String {
    let output = result.get("output").unwrap_or(result);
    match output {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => pretty(output),
        other => other.to_string(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_zone_and_loses_its_fraction() {
        assert_eq!(time("2026-11-21T17:35:05.123Z"), "2026-11-21 17:35:05Z");
        assert_eq!(time("2026-11-21T17:35:05+02:00"), "2026-11-21 17:35:05+02:00");
        assert_eq!(time("2026-11-21T17:35:05+00:00"), "2026-11-21 17:35:05Z", "one form for UTC");
        for no_time in ["\u{1b}]0;owned\u{7}", "x\u{202e}", "2026-11-21T17:35:05\u{1b}[2J"] {
            for shown in [time(no_time), moment(no_time), relative_time(no_time), distance_to(no_time)] {
                assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
            }
        }
        assert!(time(&"9".repeat(100_000)).chars().count() <= TIME_WIDTH);
    }

    #[test]
    fn times_in_a_text_have_the_form_of_the_others() {
        for (text, expected) in [
            ("next try 2026-01-31T09:00:00.123Z: T of 2026", "next try 2026-01-31 09:00:00Z: T of 2026"),
            ("2026-01-31T09:00:00.000Z", "2026-01-31 09:00:00Z"),
            ("use RFC 3339 (2026-01-31T09:00:00Z)", "use RFC 3339 (2026-01-31T09:00:00Z)"),
            ("for 2026-01-31T09:00:00+02:00, äT2026-01-31T", "for 2026-01-31T09:00:00+02:00, äT2026-01-31T"),
            ("äääääT", "äääääT"),
            ("", ""),
        ] {
            assert_eq!(with_times(text), expected);
        }
    }

    #[test]
    fn a_distance_has_one_unit_and_a_direction() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for (seconds, expected) in [
            (0, "now"),
            (1, "in 1s"),
            (-59, "59s ago"),
            (119, "in 119s"),
            (120, "in 2m"),
            (-7_200, "2h ago"),
            (86_399, "in 1d"),
            (3_590, "in 1h"),
            (5_399, "in 90m"),
            (172_799, "in 2d"),
            (172_800, "in 2d"),
            (-2 * 86_400 - 43_199, "2d ago"),
            (-2 * 86_400 - 43_200, "3d ago"),
            (-400 * 86_400, "400d ago"),
            (10 * 365 * 86_400, "in 10y"),
        ] {
            assert_eq!(distance(now.plus_millis(seconds * 1_000), now), expected);
        }
        assert_eq!(distance(now.plus_millis(499), now), "now");
        assert_eq!(distance(now.plus_millis(86_399_600), now), "in 1d", "right after a wait of a day began");
    }

    #[test]
    fn an_exact_length_leaves_nothing_over() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (90, "90s"), (5_400, "90m"), (10_800, "3h"), (172_800, "2d")]
        {
            assert_eq!(exact_length(seconds), expected);
        }
    }

    #[test]
    fn a_row_is_one_line_and_keeps_what_is_whole() {
        let id = "550e8400-e29b-41d4-a716-446655440000";
        for width in [40, 60, 80, 160] {
            let mut table = rows(&["ID", "STATUS"], &["GOAL", "REASON"]);
            table.set_width(width);
            for goal in ["short", &"word ".repeat(50), &"x".repeat(200), "字".repeat(90).as_str()] {
                add(&mut table, [id.to_owned(), "completed".to_owned(), goal.to_owned(), "why".to_owned()]);
            }
            let lines: Vec<String> = table.lines().collect();
            assert_eq!(lines.len(), 5, "{width}: {lines:#?}");
            assert!(lines[1..].iter().all(|line| line.contains(id) && line.contains("completed")), "{lines:#?}");
            assert!(width < 60 || lines.iter().all(|line| line.chars().count() <= width.into()), "{lines:#?}");
            assert!(width < 160 || lines[2].contains("word word word"), "cut between letters, not words: {lines:#?}");
        }
    }

    #[test]
    fn a_cell_is_one_short_line() {
        assert_eq!(cell("a\nb", 10), "a b");
        assert_eq!(cell("abcdef", 4), "abc…");
    }
}
