//! The query of a table: what it may call the table, and where it must find numbers.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Ident, ObjectName, ObjectNamePart, Query, Statement, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use sqlparser::dialect::SQLiteDialect;
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::super::inputs::excerpt;
use super::figures;
use super::query_guard::{self, CheckedQuery, Dialect};

/// Name of the table.
const DATA: &str = "data";

/// What a query may call its table, in lower case.
#[derive(Debug, Default)]
pub(super) struct TableNames {
    names: BTreeSet<String>,
    /// Whether the table has a name of its own. When it has none, the only name in the query means it.
    is_named: bool,
}

impl TableNames {
    /// The names of a table at `place`, the name of a file or an artifact or an address: with its ending and without.
    pub(super) fn of(place: Option<&str>) -> Self {
        let mut names: BTreeSet<String> = [DATA, "table", "main.data"].map(str::to_owned).into();
        if let Some(place) = place {
            let path = place.split(['?', '#']).next().unwrap_or_default();
            let file = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
            let last_stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
            let spelled = |name: &str| name.replace(|c: char| !c.is_alphanumeric(), "_");
            let plain = [file, stem, last_stem].map(spelled);
            let given = [place, path, file, stem, last_stem].map(str::to_owned);
            names.extend(given.into_iter().chain(plain).map(|name| name.to_lowercase()));
        }
        Self { names, is_named: place.is_some() }
    }
}

/// Checks the query of a table that it may call by `names`.
///
/// # Errors
/// The reason, naming what is not allowed.
pub(super) fn check(text: &str, names: &TableNames) -> Result<CheckedQuery, String> {
    let text = with_name(text);
    let checked = query_guard::check(&text, Dialect::Sqlite, &BTreeSet::new())?;
    query_guard::changed(checked, Dialect::Sqlite, |statement| {
        rename(statement, names)?;
        figures::guard(statement);
        Ok(())
    })
}

/// `text` with the name of the table where it has the word `table`, which is no name in SQL.
fn with_name(text: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&SQLiteDialect {}, text).tokenize_with_location() else { return text.to_owned() };
    let tokens: Vec<_> = tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let keyword = |at: usize| match tokens.get(at).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    };
    let is_name = |at: &usize| {
        let is_behind =
            at.checked_sub(1).and_then(keyword).is_some_and(|word| [Keyword::FROM, Keyword::JOIN].contains(&word));
        let is_call = tokens.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        is_behind && keyword(*at) == Some(Keyword::TABLE) && !is_call
    };
    let mut named = text.to_owned();
    for at in (0..tokens.len()).filter(is_name).collect::<Vec<_>>().into_iter().rev() {
        let Some(start) = offset(text, tokens[at].span.start) else { continue };
        let end = start + "table".len();
        if named.get(start..end).is_some_and(|word| word.eq_ignore_ascii_case("table")) {
            named.replace_range(start..end, DATA);
        }
    }
    named
}

/// Where in `text` a location is, in bytes.
fn offset(text: &str, location: Location) -> Option<usize> {
    let (line, column) = (usize::try_from(location.line).ok()?, usize::try_from(location.column).ok()?);
    let line = text
        .split_inclusive('\n')
        .take(line)
        .collect::<Vec<_>>()
        .split_last()
        .map(|(last, before)| (before.iter().map(|line| line.len()).sum::<usize>(), *last));
    let (start, line) = line?;
    let (within, _) = line.char_indices().nth(column.checked_sub(1)?)?;
    Some(start + within)
}

/// Calls the table by its name where the query has another one for it.
///
/// # Errors
/// The names that mean no table.
fn rename(statement: &mut Statement, names: &TableNames) -> Result<(), String> {
    let mut found = Found::default();
    let ControlFlow::Continue(()) = statement.visit(&mut found);
    let is_unknown = |name: &&String| !names.names.contains(*name) && !found.own.contains(*name);
    let unknown: Vec<&String> = found.tables.iter().filter(is_unknown).collect();
    let others = found.tables.iter().filter(|name| names.names.contains(*name)).count();
    let meant = match unknown.as_slice() {
        [] => None,
        [only] if !names.is_named && others == 0 => Some((*only).clone()),
        unknown => {
            let shown: Vec<&str> = unknown.iter().map(|name| name.as_str()).collect();
            return Err(format!(
                "there is no table {}: the only table is called {DATA}, as in SELECT count(*) FROM {DATA}",
                excerpt(&shown.join(", "), 200)
            ));
        }
    };
    let is_table =
        |name: &str| (names.names.contains(name) && !found.own.contains(name)) || meant.as_deref() == Some(name);
    let ControlFlow::Continue(()) = statement.visit(&mut Renamer { is_table });
    Ok(())
}

/// The tables that a query names, and the names that it gives itself in WITH; in lower case.
#[derive(Default)]
struct Found {
    tables: BTreeSet<String>,
    own: BTreeSet<String>,
}

impl VisitorMut for Found {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        self.own.extend(named.map(|named| named.alias.name.value.to_lowercase()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table { name, args: None, .. } = factor {
            self.tables.extend(written(name));
        }
        ControlFlow::Continue(())
    }
}

struct Renamer<F> {
    is_table: F,
}

impl<F: Fn(&str) -> bool> VisitorMut for Renamer<F> {
    type Break = std::convert::Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        if written(name).is_none_or(|written| written == DATA || !(self.is_table)(&written)) {
            return ControlFlow::Continue(());
        }
        // Columns may be written with the name that the query has for the table.
        let first = name.0.first().and_then(ObjectNamePart::as_ident).map(|ident| ident.value.clone());
        let first = first.filter(|first| first != "main");
        if let (None, Some(first)) = (&alias, first) {
            let name = Ident::with_quote('"', first);
            *alias = Some(TableAlias { explicit: true, name, columns: Vec::new(), at: None });
        }
        *name = ObjectName::from(vec![Ident::new(DATA)]);
        ControlFlow::Continue(())
    }
}

/// The name of a table as a query writes it, without quotes, in lower case; `None` for tables of SQLite itself.
fn written(name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<&str>> = name.0.iter().map(|part| Some(part.as_ident()?.value.as_str())).collect();
    parts.map(|parts| parts.join(".").to_lowercase()).filter(|name| !name.starts_with("sqlite_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_out(query: &str, place: Option<&str>) -> Result<String, String> {
        check(query, &TableNames::of(place)).map(|checked| checked.text)
    }

    #[test]
    fn the_names_that_mean_the_table_are_understood() {
        let path = Some("in/Sales-2026.v2.csv");
        for (query, place) in [
            ("SELECT a FROM data", None),
            ("SELECT a FROM table", None),
            ("SELECT a\nFROM Table t", None),
            ("SELECT 'FROM table', a FROM table WHERE b = 'ä' AND a IN (SELECT a FROM table)", None),
            ("SELECT a FROM sales JOIN sales s2 ON sales.a = s2.a", None),
            ("SELECT a FROM \"Sales-2026.v2.csv\"", path),
            ("SELECT a FROM 'sales-2026.v2'", path),
            ("SELECT a FROM sales_2026", path),
            ("SELECT x.a FROM `sales-2026` AS x", path),
            ("SELECT sales.a FROM sales.csv", Some("https://a.example/b/sales.csv?x=1")),
            ("SELECT sales.a FROM sales", Some("https://a.example/b/sales.csv?x=1")),
            ("SELECT a FROM \"https://a.example/b/sales.csv?x=1\"", Some("https://a.example/b/sales.csv?x=1")),
            ("WITH t AS (SELECT a FROM data) SELECT a FROM t", path),
            ("WITH sales AS (SELECT a FROM data) SELECT a FROM sales", Some("sales.csv")),
            ("SELECT name FROM sqlite_master", path),
            ("SELECT a, value FROM data, json_each(b)", path),
        ] {
            let written = written_out(query, place).unwrap_or_else(|reason| panic!("{query}: {reason}"));
            assert!(!written.to_lowercase().contains("from table where"), "{written}");
        }
        assert_eq!(
            written_out("SELECT sales.a FROM sales.csv", Some("sales.csv")).as_deref(),
            Ok("SELECT sales.a FROM data AS \"sales\"")
        );
        for (query, place) in [
            ("SELECT a FROM customers", Some("sales.csv")),
            ("SELECT a FROM sales, customers", None),
            ("SELECT a FROM data, customers", None),
        ] {
            let reason = written_out(query, place).expect_err(query);
            assert!(reason.contains("customers") && reason.contains("the only table is called data"), "{reason}");
        }
    }

    #[test]
    fn values_are_looked_at_where_a_query_calculates_or_compares() {
        for (query, expected) in [
            ("SELECT sum(a) FROM data", "SELECT sum(qron_number(a, 'a')) AS \"sum(a)\" FROM data"),
            ("SELECT a + 1 + 2 FROM data", "SELECT qron_number(a, 'a') + 1 + 2 AS \"a + 1 + 2\" FROM data"),
            ("SELECT b FROM data WHERE a > 5", "SELECT b FROM data WHERE qron_compared('>', a, 5)"),
            ("SELECT b FROM data WHERE a NOT BETWEEN 1 AND 5", "SELECT b FROM data WHERE (NOT qron_between(a, 1, 5))"),
            ("SELECT max(a) AS m FROM data", "SELECT max(qron_one_kind(1, a, 'a')) AS m FROM data"),
            (
                "SELECT b, a FROM data ORDER BY 2 DESC LIMIT 1",
                "SELECT b, a FROM data ORDER BY qron_one_kind(1, a, 'a') DESC LIMIT 1",
            ),
            ("SELECT b FROM data ORDER BY a", "SELECT b FROM data ORDER BY a"),
            (
                "SELECT CAST(a AS REAL) FROM data",
                "SELECT CAST(qron_castable(a, 'a') AS REAL) AS \"CAST(a AS REAL)\" FROM data",
            ),
            ("SELECT b FROM data WHERE b LIKE 'x%' AND a = 1", "SELECT b FROM data WHERE b LIKE 'x%' AND a = 1"),
        ] {
            assert_eq!(written_out(query, None).as_deref(), Ok(expected), "{query}");
        }
        assert!(written_out("SELECT qron_number(a, 'a') FROM data", None).is_err());
    }
}
