//! Reads a table from text, with the type of each column.

use std::collections::BTreeSet;

use csv::{ReaderBuilder, StringRecord, Trim};
use rusqlite::types::Value as SqlValue;
use serde_json::{Map, Value, json};

use super::super::inputs::excerpt;
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

/// Longest cell that is shown, in bytes.
const MAX_SHOWN: usize = 60;

/// A column.
pub(super) struct Column {
    pub(super) name: String,
    header: String,
    /// `integer`, `real` or `text`: what most of its cells are. SQLite reads it as the type of the column.
    pub(super) kind: &'static str,
    /// The cells of a column of numbers that are none.
    others: Option<Others>,
}

/// Cells of a column of numbers that are no numbers.
struct Others {
    count: usize,
    /// Row of the first one; 1 is the row below the header.
    row: usize,
    first: String,
}

/// What the text of a cell says.
enum Reading {
    Whole(i64),
    Real(f64),
    /// Digits that are no number: behind zeros, as in 007, or more of them than a number keeps.
    Digits,
    Words,
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
        let text = str::from_utf8(bytes)
            .map_err(|_| Failure::invalid("the table is no text in UTF-8: save it with this encoding"))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.starts_with('[') {
            match read_bytes(text.as_bytes()) {
                Ok(rows) => return Self::of_rows(&rows),
                // A header of CSV may have brackets.
                Err(error) if begins_list(text) => {
                    return Err(Failure::invalid(format!("the table begins as a list in JSON and is none: {error}")));
                }
                Err(_) => {}
            }
        }
        if text.starts_with('{') {
            if let Ok(whole @ Value::Object(_)) = read_bytes(text.as_bytes())
                && text.lines().count() > 1
            {
                return Self::of_rows(&whole);
            }
            let rows = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(number, line)| {
                let fault = |error| Failure::invalid(format!("line {} of the table is no JSON: {error}", number + 1));
                read_bytes(line.as_bytes()).map_err(fault)
            });
            return Self::of_rows(&Value::Array(rows.collect::<Result<_, _>>()?));
        }
        let mut start = text.chars();
        if start.next() == Some('<')
            && start.next().is_some_and(|next| next.is_ascii_alphabetic() || "!?".contains(next))
        {
            let begin = excerpt(text.lines().next().unwrap_or_default(), MAX_SHOWN);
            return Err(Failure::invalid(format!("the table is HTML or XML, and no CSV: it begins with {begin:?}")));
        }
        Self::of_csv(text)
    }

    /// The table of a list of objects. Its columns are their keys.
    pub(super) fn of_rows(rows: &Value) -> Result<Self, Failure> {
        let objects: Option<Vec<&Map<String, Value>>> =
            rows.as_array().and_then(|rows| rows.iter().map(Value::as_object).collect());
        let objects =
            objects.ok_or_else(|| Failure::invalid(format!("the table is no list of objects{}", lists_in(rows))))?;
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
        if headers.len() == 1 && found.is_empty() {
            let line = excerpt(&headers[0], MAX_SHOWN);
            return Err(Failure::invalid(format!("the table is no table but one line without separators: {line:?}")));
        }
        let cell = |text: &str| if text.is_empty() { SqlValue::Null } else { SqlValue::Text(text.to_owned()) };
        let row =
            |record: &StringRecord| (0..headers.len()).map(|at| cell(record.get(at).unwrap_or_default())).collect();
        Self::of(&headers.iter().collect::<Vec<_>>(), found.iter().map(row).collect())
    }

    /// The table of a header and the texts below it.
    pub(super) fn of_cells(cells: Vec<Vec<String>>) -> Result<Self, Failure> {
        let mut rows = cells.into_iter();
        let headers = rows.next().unwrap_or_default();
        check_size("columns", headers.len(), MAX_COLUMNS)?;
        check_size("rows", rows.len(), MAX_TABLE_ROWS)?;
        check_size("cells", headers.len() * rows.len(), MAX_TABLE_ROWS * 20)?;
        let cell = |text: String| if text.is_empty() { SqlValue::Null } else { SqlValue::Text(text) };
        let row = |mut row: Vec<String>| {
            row.resize(headers.len(), String::new());
            row.into_iter().map(cell).collect()
        };
        let rows = rows.map(row).collect();
        Self::of(&headers.iter().map(String::as_str).collect::<Vec<_>>(), rows)
    }

    fn of(headers: &[&str], mut rows: Vec<Vec<SqlValue>>) -> Result<Self, Failure> {
        if headers.is_empty() {
            return Err(Failure::invalid("the table has no columns"));
        }
        let mut taken = BTreeSet::new();
        let column = |(at, header): (usize, &&str)| {
            let name = free(column_name(header, at), &mut taken);
            let (kind, others) = typed(&mut rows, at);
            Column { name, header: (*header).to_owned(), kind, others }
        };
        let columns = headers.iter().enumerate().map(column).collect();
        Ok(Self { columns, rows })
    }

    /// The columns, as the tool answers them.
    pub(super) fn described(&self) -> Value {
        let column = |column: &Column| {
            let mut described = json!({ "name": column.name, "header": column.header, "type": column.kind });
            if let Some(Others { count, row, first }) = &column.others {
                described["not_numbers"] = json!({ "count": count, "row": row, "first": first });
            }
            described
        };
        self.columns.iter().map(column).collect()
    }

    /// Names and types of the columns, for an error.
    pub(super) fn names(&self) -> String {
        let column = |column: &Column| {
            let others = column.others.as_ref().map(|Others { count, row, first }| {
                format!(" but for {count} of its cells, the first of which is {first:?} in row {row}")
            });
            format!("{} ({}{})", column.name, column.kind, others.unwrap_or_default())
        };
        self.columns.iter().map(column).collect::<Vec<_>>().join(", ")
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

/// Whether `text` begins as a list in JSON does, and no header in brackets.
fn begins_list(text: &str) -> bool {
    let first = text[1..].trim_start().chars().next();
    first.is_none_or(|first| "{[]\"-".contains(first) || first.is_ascii_digit())
}

/// The names of the lists in an object that was given in place of one, for an error.
fn lists_in(given: &Value) -> String {
    let fields = given.as_object().into_iter().flatten();
    let lists: Vec<&str> = fields.filter(|(_, value)| value.is_array()).map(|(name, _)| name.as_str()).collect();
    if lists.is_empty() {
        return String::new();
    }
    excerpt(&format!(" but an object with the lists {}: give one of them", lists.join(", ")), 200)
}

/// Types column `at` of `rows`: one of numbers when at least half of the cells that are not empty are numbers, and none has
/// digits that are a name. Its texts that are numbers become numbers, each by itself.
fn typed(rows: &mut [Vec<SqlValue>], at: usize) -> (&'static str, Option<Others>) {
    let (mut numbers, mut words, mut is_whole, mut has_digits) = (0_usize, 0_usize, true, false);
    for cell in rows.iter().filter_map(|row| row.get(at)) {
        match cell {
            SqlValue::Integer(_) => numbers += 1,
            SqlValue::Text(text) if text.trim().is_empty() => {}
            SqlValue::Text(text) => match reading(text) {
                Reading::Whole(_) => numbers += 1,
                Reading::Real(_) => (numbers, is_whole) = (numbers + 1, false),
                Reading::Digits => has_digits = true,
                Reading::Words => words += 1,
            },
            SqlValue::Real(_) => (numbers, is_whole) = (numbers + 1, false),
            _ => {}
        }
    }
    if numbers == 0 || numbers < words || has_digits {
        return ("text", None);
    }
    let mut others: Option<Others> = None;
    for (row, cell) in (1..).zip(rows.iter_mut().filter_map(|row| row.get_mut(at))) {
        let SqlValue::Text(text) = cell else { continue };
        match reading(text) {
            Reading::Whole(whole) => *cell = SqlValue::Integer(whole),
            Reading::Real(real) => *cell = SqlValue::Real(real),
            _ if text.trim().is_empty() => *cell = SqlValue::Null,
            _ => {
                let first = || Others { count: 0, row, first: excerpt(text, MAX_SHOWN) };
                others.get_or_insert_with(first).count += 1;
            }
        }
    }
    (if is_whole { "integer" } else { "real" }, others)
}

fn reading(cell: &str) -> Reading {
    let is_plain = cell.bytes().all(|byte| byte.is_ascii_digit() || b"-.eE+".contains(&byte)) && !cell.starts_with('+');
    let Some(real) = cell.parse::<f64>().ok().filter(|_| is_plain) else { return Reading::Words };
    let digits = cell.trim_start_matches('-');
    if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
        return Reading::Digits;
    }
    if let Ok(whole) = cell.parse() {
        return Reading::Whole(whole);
    }
    // A float holds no more digits.
    let fits = cell.bytes().filter(u8::is_ascii_digit).count() <= 17;
    if fits && real.is_finite() { Reading::Real(real) } else { Reading::Digits }
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
            ("a\n99\n1000\nn/a\n", vec![column("a", "integer")]),
            ("a,b,c\n1,x,1\n2.5,2,007\n?,y,3\n", vec![column("a", "real"), column("b", "text"), column("c", "text")]),
            ("[{\"a\": 99}, {\"a\": \"1000\"}, {\"a\": \"n/a\"}, {\"a\": \"\"}]", vec![column("a", "integer")]),
            ("[id];[Amount]\n1;2\n", vec![column("id", "integer"), column("amount", "integer")]),
            ("a,b\n", vec![column("a", "text"), column("b", "text")]),
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
            ("[{\"a\":1},{\"a\":2}".to_owned(), "begins as a list in JSON"),
            ("[".to_owned(), "begins as a list in JSON"),
            ("{\"rows\": [],\n\"n\": 1}".to_owned(), "an object with the lists rows"),
            ("{\"a\": 1".to_owned(), "line 1 of the table is no JSON"),
            ("\u{feff} <!DOCTYPE html><p>a,b".to_owned(), "HTML or XML"),
            ("<table><tr><td>1,2".to_owned(), "HTML or XML"),
            ("Y2l0eTthbW91bnQK".to_owned(), "one line without separators"),
            (",".repeat(300), "more than 200 columns"),
            ("a\n".to_owned() + &"1\n".repeat(100_001), "more than 100000 rows"),
            ("x".repeat(MAX_BYTES + 1), "bytes"),
        ] {
            let failure = Table::read(text.as_bytes()).err().expect("a failure");
            assert!(failure.message.contains(told), "{failure}");
        }
    }
}
