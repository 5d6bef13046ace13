//! Lays out the lines of the demo. On a terminal they are cut to its width and status words are coloured; elsewhere they are
//! whole and plain.

use std::env;

use crate::console::output;
use crate::domain::task::TaskStatus;

/// A smaller reported width counts as unknown.
const MIN_WIDTH: usize = 40;
/// Columns between two cells.
const GAP: &str = "  ";

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Columns of the terminal; `None` when lines are not cut.
    width: Option<usize>,
    colour: bool,
}

/// Colours of ECMA-48.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Colour {
    /// The colour of a status word.
    pub(super) const fn for_status(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Completed => Self::Green,
            TaskStatus::Failed | TaskStatus::Blocked | TaskStatus::Cancelled => Self::Red,
            TaskStatus::Running => Self::Cyan,
            TaskStatus::Waiting | TaskStatus::Pending | TaskStatus::AwaitingApproval | TaskStatus::Skipped => {
                Self::Yellow
            }
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Cyan => 36,
        }
    }
}

/// Text of one colour within a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// Text on one line, with control characters written out.
    pub(super) fn new(text: &str) -> Self {
        Self { text: output::cell(text, usize::MAX), colour: None }
    }

    /// Space between two cells of a line.
    pub(super) fn gap() -> Self {
        Self { text: GAP.to_owned(), colour: None }
    }

    pub(super) fn coloured(text: &str, colour: Colour) -> Self {
        Self { colour: Some(colour), ..Self::new(text) }
    }
}

impl Layout {
    /// The layout for the standard output of this process and the variables `NO_COLOR` and `TERM`.
    pub(super) fn detect() -> Self {
        if !output::is_terminal() {
            return Self { width: None, colour: false };
        }
        let width = comfy_table::Table::new().width().map(usize::from).filter(|width| *width >= MIN_WIDTH);
        let refuses = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { width, colour: !refuses("NO_COLOR") && !is_dumb }
    }

    /// The cells on one line, cut to the width of the terminal.
    pub(super) fn line(self, cells: &[Cell]) -> String {
        let mut left = self.width.unwrap_or(usize::MAX);
        let mut line = String::new();
        for cell in cells {
            let text = cut(&cell.text, left);
            left -= width_of(&text);
            match cell.colour.filter(|_| self.colour && !text.trim().is_empty()) {
                Some(colour) => line.extend([format!("\u{1b}[{}m", colour.code()).as_str(), &text, "\u{1b}[0m"]),
                None => line.push_str(&text),
            }
        }
        line
    }

    /// Rows of equally many cells, each column as wide as its widest cell; the last one takes the rest of the line.
    pub(super) fn table(self, rows: &[Vec<Cell>]) -> Vec<String> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| width_of(&cell.text)).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        let line = |row: &Vec<Cell>| {
            let padded = row.iter().enumerate().map(|(column, cell)| {
                let is_last = column + 1 == row.len();
                let padding = if is_last { 0 } else { widths[column] - width_of(&cell.text) };
                let gap = if is_last { "" } else { GAP };
                Cell { text: format!("{}{}{gap}", cell.text, " ".repeat(padding)), colour: cell.colour }
            });
            self.line(&padded.collect::<Vec<_>>()).trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }

    /// Columns for the title of a progress line: `most`, or half of a narrow terminal.
    pub(super) fn title_width(self, most: usize) -> usize {
        self.width.map_or(most, |width| most.min(width / 2))
    }
}

/// `text`, cut to `most` columns; a cut text ends in `…`.
pub(super) fn cut(text: &str, most: usize) -> String {
    if width_of(text) <= most {
        return text.to_owned();
    }
    let mut left = most.saturating_sub(1);
    let fits = |c: &char| {
        let width = columns(*c);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if most > 0 {
        short.push('…');
    }
    short
}

fn width_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// Columns of a character: two for those of East Asia and for pictures, none for marks that join the one before.
const fn columns(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Layout = Layout { width: Some(40), colour: false };
    const COLOUR: Layout = Layout { colour: true, ..PLAIN };
    const PIPE: Layout = Layout { width: None, colour: false };

    fn rows() -> Vec<Vec<Cell>> {
        let row = |status: Cell, text: &str| {
            vec![Cell::new("ok"), Cell::new("a title of some length"), status, Cell::new(text)]
        };
        vec![
            row(Cell::coloured("completed", Colour::Green), "short"),
            row(Cell::coloured("failed", Colour::Red), "an error that is much longer than any terminal is wide"),
            row(Cell::coloured("failed", Colour::Red), "日本語のとても長い説明がここにあります"),
            row(Cell::coloured("failed", Colour::Red), "two\nlines \u{1b}[2J"),
        ]
    }

    #[test]
    fn a_line_is_never_wider_than_the_terminal_nor_broken() {
        for width in [40, 41, 42, 60, 80, 120] {
            for line in (Layout { width: Some(width), ..PLAIN }).table(&rows()) {
                assert!(width_of(&line) <= width, "{width}: {line:?}");
                assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
            }
        }
        let cut = PLAIN.table(&rows());
        assert_eq!(cut[0], "ok  a title of some length  completed  …");
        assert!(PIPE.table(&rows())[1].ends_with("wide"), "without a terminal nothing is cut");
    }

    #[test]
    fn only_the_word_is_coloured_and_only_where_colours_are_wanted() {
        let wide = Layout { width: Some(120), ..COLOUR };
        let lines = wide.table(&rows());
        assert!(lines[0].starts_with("ok  a title of some length  \u{1b}[32mcompleted"), "{:?}", lines[0]);
        assert!(lines[1].contains("\u{1b}[31mfailed") && lines[1].ends_with("wide"), "{:?}", lines[1]);
        assert!(lines.iter().all(|line| line.matches("\u{1b}[0m").count() == 1), "{lines:?}");
        assert!(PIPE.table(&rows()).iter().all(|line| !line.contains('\u{1b}')));
        // Codes take no columns, and are closed where the line is cut within the word.
        let narrow = COLOUR.line(&[Cell::new(&"x".repeat(35)), Cell::coloured("completed", Colour::Green)]);
        assert_eq!(narrow, format!("{}\u{1b}[32mcomp…\u{1b}[0m", "x".repeat(35)));
    }

    #[test]
    fn a_status_and_its_story_stand_apart() {
        let cells = [Cell::coloured("completed", Colour::Green), Cell::gap(), Cell::new("attempt 3")];
        assert_eq!(PLAIN.line(&cells), "completed  attempt 3");
        assert_eq!(COLOUR.line(&cells), "\u{1b}[32mcompleted\u{1b}[0m  attempt 3");
    }

    #[test]
    fn a_cut_text_has_the_width_it_may_have() {
        for (text, most, cut_text) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
            ("e\u{301}abc", 3, "e\u{301}a…"),
        ] {
            assert_eq!(cut(text, most), cut_text, "{text} {most}");
        }
    }
}
