//! Whether a text is one query that only reads: pure, by parsing it.
//!
//! What runs afterwards is the parsed query written out again, never the text itself: a database that reads some
//! quotation or comment differently from the parser here cannot be made to run what was not checked.
//!
//! A function can be called in many notations. Those that the text alone shows (calls, tables, special syntax) are held
//! to the lists in [`lists`](super::lists) here. Those that the catalogue of the database decides (attributes, operators,
//! casts) are collected in [`CheckedQuery`], and held to the same lists where the catalogue is: SQLite asks for each function
//! that it compiles, and for PostgreSQL the catalogue is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArguments, Ident,
    ObjectName, Query, Select, SetExpr, Statement, TableAlias, TableFactor, Visit, Visitor,
};

use super::super::inputs::excerpt;
use super::lists::{
    CLOSED_TABLES, POSTGRES_FUNCTIONS, POSTGRES_TYPES, SQLITE_FUNCTIONS, SQLITE_TABLE_FUNCTIONS, STANDARD_TYPES,
    is_sqlite_inside,
};

mod names;
mod syntax;

use names::{VALUE_WORDS, catalogue_names, folded, is_array_of_query, last_name, lower, table_key};
use syntax::{first_word, read};

/// Longest query, in bytes.
pub(super) const MAX_QUERY: usize = 20_000;
/// Most functions that a query calls.
const MAX_CALLS: usize = 200;

const UNRELIABLE: &str = "the query cannot be checked reliably; write it in a simpler way";

/// SQL dialect of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// A query that passed.
#[derive(Debug)]
pub(super) struct CheckedQuery {
    /// The query, written out by the parser.
    pub(super) text: String,
    /// Names that the catalogue of the database must be checked for.
    pub(super) named: CatalogueNames,
}

/// Names of a query by which the database may call a function. All are in lower case and without schema.
#[derive(Debug, Default)]
pub(super) struct CatalogueNames {
    /// Functions that are called.
    pub(super) functions: BTreeSet<String>,
    /// Attributes of expressions, `(x).name`: of a value of any type.
    pub(super) attributes: BTreeSet<String>,
    /// Columns of tables, `t.name`, which may be functions of a row.
    pub(super) columns: BTreeSet<String>,
    /// Operators.
    pub(super) operators: BTreeSet<String>,
    /// Types that values are cast to.
    pub(super) types: BTreeSet<String>,
}

/// Checks a query. `more` are functions that are allowed in addition to the list, in lower case.
///
/// # Errors
/// The reason, naming what is not allowed.
pub(super) fn check(text: &str, dialect: Dialect, more: &BTreeSet<String>) -> Result<CheckedQuery, String> {
    if text.len() > MAX_QUERY {
        return Err(format!("the query has {} bytes; at most {MAX_QUERY} are allowed", text.len()));
    }
    if text.contains('\0') {
        return Err("the query holds a NUL character".to_owned());
    }
    let mut statements = read(text, dialect)?;
    let statement = match (statements.pop(), statements.len()) {
        (Some(statement), 0) => statement,
        (None, _) => return Err("the query is empty".to_owned()),
        (_, more) => return Err(format!("{} statements are given; only one is allowed", more + 1)),
    };
    if !matches!(statement, Statement::Query(_)) {
        return Err(format!("only SELECT, VALUES and WITH are allowed, not {}", first_word(&statement.to_string())));
    }
    let mut guard = QueryGuard {
        dialect,
        more,
        statements: 0,
        calls: 0,
        named: CatalogueNames::default(),
        rows: BTreeMap::new(),
        fields: Vec::new(),
    };
    if let ControlFlow::Break(reason) = statement.visit(&mut guard) {
        return Err(reason);
    }
    guard.decide_fields();
    let named = guard.named;
    let written = statement.to_string();
    if read(&written, dialect)? != [statement] {
        return Err(UNRELIABLE.to_owned());
    }
    Ok(CheckedQuery { text: written, named })
}

/// What `change` makes of a checked query. `change` must only make it read less, and call functions that qron registers.
///
/// # Errors
/// Why the query cannot be changed.
pub(super) fn changed(
    checked: CheckedQuery,
    dialect: Dialect,
    change: impl Fn(&mut Statement) -> Result<(), String>,
) -> Result<CheckedQuery, String> {
    let mut statements = read(&checked.text, dialect)?;
    for statement in &mut statements {
        change(statement)?;
    }
    let text = statements.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if read(&text, dialect)? != statements {
        return Err(UNRELIABLE.to_owned());
    }
    Ok(CheckedQuery { text, ..checked })
}

/// Walks a query and stops at the first thing that is not allowed.
struct QueryGuard<'a> {
    dialect: Dialect,
    more: &'a BTreeSet<String>,
    statements: usize,
    calls: usize,
    named: CatalogueNames,
    /// Names that functions in FROM have, with the columns that are given by name.
    rows: BTreeMap<String, BTreeSet<String>>,
    /// Names behind another one, with that one.
    fields: Vec<(String, Ident)>,
}

impl QueryGuard<'_> {
    /// Notes what a function in FROM is called. A row of a function that answers plain values is that value, so that
    /// `g.name` may call a function of any type.
    fn rows_of(&mut self, name: Option<&Ident>, alias: Option<&TableAlias>) {
        let Some(known) = alias.map(|alias| &alias.name).or(name) else { return };
        let columns: BTreeSet<String> =
            alias.into_iter().flat_map(|alias| &alias.columns).map(|column| folded(&column.name)).collect();
        // Another function of that name elsewhere in the query may have other columns.
        self.rows
            .entry(table_key(known))
            .and_modify(|old| old.retain(|name| columns.contains(name)))
            .or_insert(columns);
    }

    /// Takes for attributes what stands behind the name of a function in FROM and is none of its named columns.
    fn decide_fields(&mut self) {
        for (table, name) in &self.fields {
            if self.rows.get(table).is_some_and(|columns| !columns.contains(&folded(name))) {
                self.named.attributes.insert(lower(name));
            }
        }
    }

    fn function(&mut self, name: &ObjectName, is_table: bool) -> ControlFlow<String> {
        self.calls += 1;
        if self.calls > MAX_CALLS {
            return ControlFlow::Break(format!("the query calls more than {MAX_CALLS} functions"));
        }
        let plain = last_name(name);
        let allowed = plain.filter(|plain| match self.dialect {
            Dialect::Postgres => POSTGRES_FUNCTIONS.contains(plain) || self.more.contains(plain),
            Dialect::Sqlite if is_table => SQLITE_TABLE_FUNCTIONS.contains(plain),
            Dialect::Sqlite => SQLITE_FUNCTIONS.contains(plain),
        });
        let Some(allowed) = allowed else {
            return ControlFlow::Break(format!("function {} is not allowed", excerpt(&name.to_string(), 100)));
        };
        self.named.functions.insert(allowed);
        ControlFlow::Continue(())
    }

    fn call(&mut self, function: &Function) -> ControlFlow<String> {
        if function.uses_odbc_syntax || !matches!(function.parameters, FunctionArguments::None) {
            return ControlFlow::Break("only plain SQL is allowed".to_owned());
        }
        self.function(&function.name, false)
    }

    fn access(&mut self, access: &AccessExpr) -> ControlFlow<String> {
        match access {
            AccessExpr::Dot(Expr::Identifier(name)) => {
                self.named.attributes.insert(lower(name));
                ControlFlow::Continue(())
            }
            // Visited as an expression.
            AccessExpr::Dot(Expr::Function(_)) | AccessExpr::Subscript(_) => ControlFlow::Continue(()),
            AccessExpr::Dot(other) => {
                ControlFlow::Break(format!("the attribute {} is not allowed", excerpt(&other.to_string(), 100)))
            }
        }
    }

    fn operator(&mut self, operator: &str) {
        let plain = operator.strip_prefix("OPERATOR(").and_then(|rest| rest.strip_suffix(')')).unwrap_or(operator);
        let plain = plain.rsplit('.').next().unwrap_or(plain);
        if !plain.chars().any(char::is_alphanumeric) {
            self.named.operators.insert(plain.to_owned());
        }
    }

    /// A type that a value is cast to: one of the lists, or one that the catalogue is checked for.
    fn data_type(&mut self, data_type: &DataType) -> ControlFlow<String> {
        if self.dialect == Dialect::Sqlite {
            // A type in SQLite is no more than an affinity.
            return ControlFlow::Continue(());
        }
        let name = match data_type {
            DataType::Array(
                ArrayElemTypeDef::AngleBracket(inner)
                | ArrayElemTypeDef::SquareBracket(inner, _)
                | ArrayElemTypeDef::Parenthesis(inner)
                | ArrayElemTypeDef::Qualified(inner, _),
            ) => return self.data_type(inner),
            DataType::Custom(name, _) => last_name(name),
            other => {
                let written = other.to_string().to_lowercase();
                let word = written.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
                if STANDARD_TYPES.contains(word) {
                    self.named.types.insert(word.to_owned());
                    self.named.types.extend(catalogue_names(word).iter().map(|name| (*name).to_owned()));
                    return ControlFlow::Continue(());
                }
                Some(word.to_owned())
            }
        };
        let name = name.filter(|name| {
            // The catalogue's own type names are all known; other names are checked against the catalogue.
            let is_closed = name.starts_with("reg") || name.starts_with("pg_") || name == "xml";
            POSTGRES_TYPES.contains(name) || !is_closed
        });
        let Some(name) = name else {
            return ControlFlow::Break(format!("type {} is not allowed", excerpt(&data_type.to_string(), 100)));
        };
        self.named.types.insert(name);
        ControlFlow::Continue(())
    }

    /// Notes by what names `expression` itself may call a function; what it is made of is visited apart.
    fn expression(&mut self, expression: &Expr) -> ControlFlow<String> {
        match expression {
            Expr::Function(function) if self.dialect == Dialect::Postgres && is_array_of_query(function) => {}
            Expr::Function(function) => return self.call(function),
            Expr::Like { .. } | Expr::ILike { .. } if self.dialect == Dialect::Postgres => {}
            Expr::CompoundFieldAccess { access_chain, .. } => {
                return access_chain.iter().try_for_each(|access| self.access(access));
            }
            Expr::CompoundIdentifier(parts) => {
                self.named.columns.extend(parts.iter().skip(1).map(lower));
                let pairs = parts.iter().zip(parts.iter().skip(1));
                self.fields.extend(pairs.map(|(table, name)| (table_key(table), name.clone())));
            }
            Expr::BinaryOp { op, .. } | Expr::AnyOp { compare_op: op, .. } | Expr::AllOp { compare_op: op, .. } => {
                match op {
                    BinaryOperator::PGCustomBinaryOperator(parts) => {
                        self.operator(parts.last().map_or("", String::as_str));
                    }
                    BinaryOperator::Regexp => return ControlFlow::Break("REGEXP is not allowed".to_owned()),
                    op => self.operator(&op.to_string()),
                }
            }
            Expr::UnaryOp { op, .. } => self.operator(&op.to_string()),
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, data_type, format: None, .. } => {
                return self.data_type(data_type);
            }
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => return self.data_type(&typed.data_type),
            Expr::Identifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsJson { .. }
            | Expr::IsNormalized { .. }
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { any: false, .. }
            | Expr::ILike { any: false, .. }
            | Expr::SimilarTo { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => {}
            other => {
                return ControlFlow::Break(format!(
                    "the notation {} is not allowed: only plain SQL is",
                    excerpt(&other.to_string(), 60)
                ));
            }
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for QueryGuard<'_> {
    type Break = String;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<String> {
        self.statements += 1;
        if self.statements > 1 {
            return ControlFlow::Break(format!("{} inside a query is not allowed", first_word(&statement.to_string())));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("FOR UPDATE and FOR SHARE are not allowed".to_owned());
        }
        if query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return ControlFlow::Break("only plain SQL is allowed".to_owned());
        }
        reads(&query.body)
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        if select.into.is_some() {
            return ControlFlow::Break("SELECT INTO is not allowed".to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<String> {
        let last = relation.0.last().and_then(|part| part.as_ident()).map(lower);
        let is_closed = |table: &str| match self.dialect {
            Dialect::Postgres => CLOSED_TABLES.contains(table),
            Dialect::Sqlite => is_sqlite_inside(table),
        };
        if last.is_none_or(|last| is_closed(&last)) {
            return ControlFlow::Break(format!("table {} is not allowed", excerpt(&relation.to_string(), 100)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table { name, alias, args: Some(_), .. } | TableFactor::Function { name, alias, .. } => {
                self.rows_of(name.0.last().and_then(|part| part.as_ident()), alias.as_ref());
                self.function(name, true)
            }
            TableFactor::Table { name, alias, .. } => {
                if let Some(word) = name.0.last().and_then(|part| part.as_ident())
                    && VALUE_WORDS.contains(&lower(word).as_str())
                {
                    self.rows_of(Some(word), alias.as_ref());
                }
                ControlFlow::Continue(())
            }
            TableFactor::UNNEST { alias, .. } => {
                self.rows_of(Some(&Ident::new("unnest")), alias.as_ref());
                ControlFlow::Continue(())
            }
            TableFactor::TableFunction { alias, .. } => {
                self.rows_of(None, alias.as_ref());
                ControlFlow::Continue(())
            }
            TableFactor::Derived { .. } | TableFactor::NestedJoin { .. } => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("{} is not allowed", excerpt(&other.to_string(), 60))),
        }
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<String> {
        self.expression(expression)
    }
}

fn reads(body: &SetExpr) -> ControlFlow<String> {
    match body {
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        SetExpr::SetOperation { left, right, .. } => {
            reads(left)?;
            reads(right)
        }
        other => ControlFlow::Break(format!("{} inside a query is not allowed", first_word(&other.to_string()))),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
