//! Reads a table from text, with the type of each column.

use std::collections::BTreeSet;

use csv::{ReaderBuilder, StringRecord, Trim};
use rusqlite::types::Value as SqlValue;
use serde_json::{Map, Value, json};

use crate::domain::failure::Failure;
use crate::domain::json::read_bytes;

/// Largest table, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Most rows of a table.
const MAX_TABLE_ROWS: usize = 100_000;
/// Most columns of a table.
const MAX_COLUMNS: usize = 200;
/// Longest name of a column, in bytes.
const MAX_NAME: usize = 60;
/// Names that SQL reads otherwise.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "as",
    "between",
    "by",
    "case",
    "check",
    "column",
    "cross",
    "current",
    "default",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "from",
    "full",
    "group",
    "having",
    "in",
    "index",
    "inner",
    "into",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "natural",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "primary",
    "references",
    "right",
    "select",
    "set",
    "table",
    "then",
    "to",
    "union",
    "unique",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// A column.
pub(super) struct Column {
    pub(super) name: String,
    header: String,
    kind: &'static str,
}

/// A table.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<SqlValue>>,
}

impl Table {
    /// Reads CSV, JSON lines, or a JSON list.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Failure> {
        check_size("bytes", bytes.len(), MAX_BYTES)?;
        let text = str::from_utf8(bytes).map_err(|_| Failure::invalid("the table is no text in UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('[')
            && let Ok(rows) = read_bytes(text.as_bytes())
        {
            return Self::of_rows(&rows);
        }
        if text.starts_with('{') {
            let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(number, line)| {
                let fault = |error| Failure::invalid(format!("line {} of the table is no JSON: {error}", number + 1));
                read_bytes(line.as_bytes()).map_err(fault)
            });
            return Self::of_rows(&Value::Array(rows.collect::<Result<_, _>>()?));
        }
        Self::of_csv(text)
    }

    /// The table of a list of objects. Its columns are their keys.
    pub(super) fn of_rows(rows: &Value) -> Result<Self, Failure> {
        let objects: Option<Vec<&Map<String, Value>>> =
            rows.as_array().and_then(|rows| rows.iter().map(Value::as_object).collect());
        let objects = objects.ok_or_else(|| Failure::invalid("the table is no list of objects"))?;
        check_size("rows", objects.len(), MAX_TABLE_ROWS)?;
        let mut headers: Vec<&str> = Vec::new();
        let mut known = BTreeSet::new();
        for key in objects.iter().flat_map(|object| object.keys()) {
            if known.insert(key.as_str()) {
                headers.push(key);
                check_size("columns", headers.len(), MAX_COLUMNS)?;
            }
        }
        check_size("cells", headers.len() * objects.len(), MAX_TABLE_ROWS * 20)?;
        let cell = |value: Option<&Value>| match value {
            None | Some(Value::Null) => SqlValue::Null,
            Some(Value::String(text)) => SqlValue::Text(text.clone()),
            Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => SqlValue::Integer(whole),
                (None, Some(real)) => SqlValue::Real(real),
                (None, None) => SqlValue::Text(number.to_string()),
            },
            Some(other) => SqlValue::Text(other.to_string()),
        };
        let rows =
            objects.iter().map(|object| headers.iter().map(|header| cell(object.get(*header))).collect()).collect();
        Self::of(&headers, rows)
    }

    fn of_csv(text: &str) -> Result<Self, Failure> {
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter(text))
            .has_headers(false)
            .flexible(true)
            .trim(Trim::All)
            .from_reader(text.as_bytes());
        let mut records = reader.records();
        let fault = |error: csv::Error| Failure::invalid(format!("the table is no CSV: {error}"));
        let headers = records.next().ok_or_else(|| Failure::invalid("the table is empty"))?.map_err(fault)?;
        check_size("columns", headers.len(), MAX_COLUMNS)?;
        let mut found: Vec<StringRecord> = Vec::new();
        for record in records {
            let record = record.map_err(fault)?;
            let line = record.position().map_or(0, csv::Position::line);
            if record.len() > headers.len() {
                return Err(Failure::invalid(format!(
                    "line {line} of the table has {} cells, and its header has {}: quote cells that hold the separator",
                    record.len(),
                    headers.len()
                )));
            }
            found.push(record);
            check_size("rows", found.len(), MAX_TABLE_ROWS)?;
        }
        check_size("cells", headers.len() * found.len(), MAX_TABLE_ROWS * 20)?;
        let kinds: Vec<&str> =
            (0..headers.len()).map(|at| kind_of(found.iter().filter_map(|record| record.get(at)))).collect();
        let typed = |text: &str, kind: &str| match kind {
            _ if text.is_empty() => SqlValue::Null,
            "integer" => text.parse().map_or_else(|_| SqlValue::Text(text.to_owned()), SqlValue::Integer),
            "real" => text.parse().map_or_else(|_| SqlValue::Text(text.to_owned()), SqlValue::Real),
            _ => SqlValue::Text(text.to_owned()),
        };
        let row = |record: &StringRecord| {
            kinds.iter().enumerate().map(|(at, kind)| typed(record.get(at).unwrap_or_default(), kind)).collect()
        };
        Self::of(&headers.iter().collect::<Vec<_>>(), found.iter().map(row).collect())
    }

    fn of(headers: &[&str], rows: Vec<Vec<SqlValue>>) -> Result<Self, Failure> {
        if headers.is_empty() {
            return Err(Failure::invalid("the table has no columns"));
        }
        let mut taken = BTreeSet::new();
        let column = |(at, header): (usize, &&str)| {
            let name = free(column_name(header, at), &mut taken);
            let cells: Vec<&SqlValue> =
                rows.iter().filter_map(|row| row.get(at)).filter(|cell| **cell != SqlValue::Null).collect();
            let is_whole = cells.iter().all(|cell| matches!(cell, SqlValue::Integer(_)));
            let is_number = cells.iter().all(|cell| matches!(cell, SqlValue::Integer(_) | SqlValue::Real(_)));
            let kind = match (cells.is_empty(), is_whole, is_number) {
                (false, true, _) => "integer",
                (false, false, true) => "real",
                _ => "text",
            };
            Column { name, header: (*header).to_owned(), kind }
        };
        Ok(Self { columns: headers.iter().enumerate().map(column).collect(), rows })
    }

    /// The columns, as the tool answers them.
    pub(super) fn described(&self) -> Value {
        let column = |column: &Column| json!({ "name": column.name, "header": column.header, "type": column.kind });
        self.columns.iter().map(column).collect()
    }

    /// Names and types of the columns, for an error.
    pub(super) fn names(&self) -> String {
        self.columns.iter().map(|column| format!("{} ({})", column.name, column.kind)).collect::<Vec<_>>().join(", ")
    }
}

fn check_size(what: &str, size: usize, most: usize) -> Result<(), Failure> {
    if size <= most {
        return Ok(());
    }
    Err(Failure::invalid(format!("the table has more than {most} {what}: give a part of it")))
}

/// The sign between the cells of the first line: the most frequent one outside of quotes, a comma when there is none.
fn delimiter(text: &str) -> u8 {
    let mut is_quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in text.bytes() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' if !is_quoted => break,
            _ if !is_quoted => counts.iter_mut().filter(|(sign, _)| *sign == byte).for_each(|(_, count)| *count += 1),
            _ => {}
        }
    }
    counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(sign, _)| *sign)
}

/// The type that all cells of a column have which are not empty. Digits behind zeros are no number: 007 is a name.
fn kind_of<'a>(cells: impl Iterator<Item = &'a str> + Clone) -> &'static str {
    let mut cells = cells.filter(|cell| !cell.is_empty()).peekable();
    let has_zeros = |cell: &str| {
        let digits = cell.trim_start_matches('-');
        digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.")
    };
    let is_plain = |cell: &str| {
        cell.bytes().all(|byte| byte.is_ascii_digit() || b"-.eE+".contains(&byte)) && !cell.starts_with('+')
    };
    if cells.peek().is_none() {
        return "text";
    }
    if cells.clone().all(|cell| is_plain(cell) && !has_zeros(cell) && cell.parse::<i64>().is_ok()) {
        return "integer";
    }
    // A float holds no more digits.
    let fits = |cell: &str| cell.bytes().filter(u8::is_ascii_digit).count() <= 17;
    let is_real =
        |cell: &str| is_plain(cell) && fits(cell) && !has_zeros(cell) && cell.parse::<f64>().is_ok_and(f64::is_finite);
    if cells.all(is_real) { "real" } else { "text" }
}

/// A header as a name: lower case, with `_` for what is no letter or digit.
fn column_name(header: &str, at: usize) -> String {
    let letters: String = header.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let name = letters.split_whitespace().collect::<Vec<_>>().join("_");
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    match name.chars().next() {
        None => format!("column_{}", at + 1),
        Some(first) if first.is_numeric() => format!("c_{name}"),
        Some(_) if RESERVED.contains(&name) => format!("{name}_"),
        Some(_) => name.to_owned(),
    }
}

/// `name`, with a number behind it when it is taken.
fn free(name: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(name);
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Vec<(String, &'static str)> {
        let table = Table::read(text.as_bytes()).unwrap_or_else(|failure| panic!("{text}: {failure}"));
        table.columns.into_iter().map(|column| (column.name, column.kind)).collect()
    }

    fn column(name: &str, kind: &'static str) -> (String, &'static str) {
        (name.to_owned(), kind)
    }

    #[test]
    fn columns_have_names_and_types() {
        for (text, expected) in [
            ("a,B c,2x\n1,1.5,x", vec![column("a", "integer"), column("b_c", "real"), column("c_2x", "text")]),
            ("a;b\n1,5;2", vec![column("a", "text"), column("b", "integer")]),
            ("\u{feff}a\tb\n1e3\t-2\n", vec![column("a", "real"), column("b", "integer")]),
            ("a,a,,order\n,,,", ["a", "a_2", "column_3", "order_"].map(|name| column(name, "text")).to_vec()),
            ("\"a;b;c\",d\n007,1\n", vec![column("a_b_c", "text"), column("d", "integer")]),
            ("{\"a\": 1}\n\n{\"b\": [1], \"a\": 2.5}", vec![column("a", "real"), column("b", "text")]),
            ("[{\"a\": null}, {\"a\": true}]", vec![column("a", "text")]),
            ("Größe,€\n1,2", vec![column("größe", "integer"), column("column_2", "integer")]),
            ("a\ninf\n", vec![column("a", "text")]),
            ("a\n99999999999999999999\n", vec![column("a", "text")]),
        ] {
            assert_eq!(columns(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (text, told) in [
            (String::new(), "empty"),
            ("a,b\n1,2,3\n".to_owned(), "line 2 of the table has 3 cells"),
            ("{\"a\": 1}\n{oops".to_owned(), "line 2 of the table is no JSON"),
            ("[1, 2]".to_owned(), "no list of objects"),
            (",".repeat(300), "more than 200 columns"),
            ("a\n".to_owned() + &"1\n".repeat(100_001), "more than 100000 rows"),
            ("x".repeat(MAX_BYTES + 1), "bytes"),
        ] {
            let failure = Table::read(text.as_bytes()).err().expect("a failure");
            assert!(failure.message.contains(told), "{failure}");
        }
    }
}
