//! A table that is being read, and its Markdown.

use std::collections::BTreeMap;
use std::mem;

/// Most columns that one cell spans.
const MAX_COLUMN_SPAN: usize = 20;
/// Most rows that one cell spans.
const MAX_ROW_SPAN: usize = 1000;
/// Longest text that is repeated in the rows that its cell spans, in bytes; longer ones are marked.
const MAX_REPEATED: usize = 200;
/// What stands for a text that is too long to be repeated.
const DITTO: &str = "(as above)";
/// Memory that repeated cells of one table take together, in bytes.
const MAX_REPETITION: usize = 1024 * 1024;

/// A table, from its start tag on.
#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    row: Option<Vec<String>>,
    /// Columns and rows that the open cell spans.
    cell: Option<(usize, usize)>,
    /// Cells of earlier rows that reach into the rows to come, by column: how many rows more, and their text.
    carried: BTreeMap<usize, (usize, String)>,
    repeated: usize,
    /// It holds another table, so it arranges the page, and its cells are blocks.
    pub(super) is_layout: bool,
}

impl Table {
    /// Whether text belongs to a cell.
    pub(super) const fn is_in_cell(&self) -> bool {
        self.cell.is_some() && !self.is_layout
    }

    /// Begins a row, and ends the one before it.
    pub(super) fn begin_row(&mut self) {
        self.end_row();
        self.row = Some(Vec::new());
    }

    /// Begins a cell that spans this many columns and rows.
    pub(super) fn begin_cell(&mut self, columns: usize, rows: usize) {
        if self.row.is_none() {
            self.row = Some(Vec::new());
        }
        self.fill_carried();
        self.cell = Some((columns.clamp(1, MAX_COLUMN_SPAN), rows.clamp(1, MAX_ROW_SPAN)));
    }

    /// Ends the cell, whose text is `text`; nothing when none is open.
    pub(super) fn end_cell(&mut self, text: &str) {
        let (Some((columns, rows)), Some(row)) = (self.cell.take(), &mut self.row) else { return };
        let text = text.trim().replace('\n', "<br>").replace('|', "\\|");
        for column in 0..columns {
            if rows > 1 {
                self.carried.insert(row.len(), (rows - 1, if column == 0 { text.clone() } else { String::new() }));
            }
            row.push(if column == 0 { text.clone() } else { String::new() });
        }
    }

    /// Puts the cells that reach down from earlier rows where they belong in this one.
    fn fill_carried(&mut self) {
        let Some(row) = &mut self.row else { return };
        while let Some((left, text)) = self.carried.get_mut(&row.len()) {
            let (column, text) = (row.len(), if text.len() > MAX_REPEATED { DITTO } else { text.as_str() });
            self.repeated += size_of::<String>() + text.len();
            row.push(text.to_owned());
            *left -= 1;
            if *left == 0 {
                self.carried.remove(&column);
            }
            if self.repeated > MAX_REPETITION {
                self.carried.clear();
            }
        }
    }

    /// Ends the row; one without any text is dropped.
    pub(super) fn end_row(&mut self) {
        self.fill_carried();
        if let Some(row) = self.row.take().filter(|row| row.iter().any(|cell| !cell.is_empty())) {
            self.rows.push(row);
        }
    }

    /// The texts of all cells read so far, row by row, when it turns out that the table arranges the page.
    pub(super) fn take_as_layout(&mut self) -> Vec<String> {
        self.is_layout = true;
        self.carried.clear();
        let open = self.row.take().into_iter();
        let cells = mem::take(&mut self.rows).into_iter().chain(open).flatten();
        cells.filter(|cell| !cell.is_empty()).map(|cell| unescaped(&cell)).collect()
    }

    /// The texts of its cells, row by row; `None` where rows or columns are missing.
    pub(super) fn into_rows(mut self) -> Option<Vec<Vec<String>>> {
        self.end_row();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let is_table = columns >= 2 && self.rows.len() >= 2;
        let rows = self.rows.into_iter().map(|row| row.iter().map(|cell| unescaped(cell)).collect());
        is_table.then(|| rows.collect())
    }

    /// Its Markdown: a table, or the texts of its cells as lines where rows or columns are missing.
    pub(super) fn markdown(mut self) -> String {
        self.end_row();
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        if columns < 2 || self.rows.len() < 2 {
            let cells = self.rows.iter().flatten().filter(|cell| !cell.is_empty());
            return cells.map(|cell| unescaped(cell)).collect::<Vec<_>>().join("\n");
        }
        let mut lines: Vec<String> = self.rows.iter().map(|row| format!("| {} |", row.join(" | "))).collect();
        lines.insert(1, format!("|{}", "---|".repeat(self.rows[0].len())));
        lines.join("\n")
    }
}

/// The text of a cell outside of a table.
fn unescaped(cell: &str) -> String {
    cell.replace("\\|", "|").replace("<br>", "\n")
}
