//! Names in a query: what two of them have in common, and which of them are no names.

use sqlparser::ast::{Function, FunctionArguments, Ident, ObjectName};

/// What PostgreSQL's catalogue calls the types whose names begin with `word`, where it is something else.
pub(super) fn catalogue_names(word: &str) -> &'static [&'static str] {
    match word {
        "bigint" => &["int8"],
        "bit" => &["varbit"],
        "boolean" => &["bool"],
        "char" | "character" => &["bpchar", "varchar"],
        "dec" | "decimal" => &["numeric"],
        "double" => &["float8"],
        "float" | "real" => &["float4", "float8"],
        "int" | "integer" => &["int4"],
        "smallint" => &["int2"],
        "time" => &["timetz"],
        "timestamp" => &["timestamptz"],
        _ => &[],
    }
}

/// Whether this is `ARRAY(SELECT …)`, which the parser takes for a call.
pub(super) fn is_array_of_query(function: &Function) -> bool {
    let is_array = match function.name.0.as_slice() {
        [part] => {
            part.as_ident().is_some_and(|name| name.quote_style.is_none() && name.value.eq_ignore_ascii_case("array"))
        }
        _ => false,
    };
    is_array
        && matches!(function.args, FunctionArguments::Subquery(_))
        && matches!(function.parameters, FunctionArguments::None)
        && !function.uses_odbc_syntax
        && function.filter.is_none()
        && function.null_treatment.is_none()
        && function.over.is_none()
        && function.within_group.is_empty()
}

/// As the catalogue does it with collation C.
pub(super) fn lower(name: &Ident) -> String {
    name.value.to_ascii_lowercase()
}

/// A name as PostgreSQL reads it.
pub(super) fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { lower(name) }
}

/// What two names have in common that PostgreSQL may take for the same: it cuts names at 63 bytes.
pub(super) fn table_key(name: &Ident) -> String {
    let mut end = name.value.len().min(63);
    while !name.value.is_char_boundary(end) {
        end -= 1;
    }
    name.value.get(..end).unwrap_or_default().to_lowercase()
}

/// Words that are a function in FROM without parentheses.
pub(super) const VALUE_WORDS: [&str; 12] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "system_user",
    "user",
];

/// The last part of a name, in lower case; `None` when it has characters that no name of the lists has.
pub(super) fn last_name(name: &ObjectName) -> Option<String> {
    let plain = lower(name.0.last()?.as_ident()?);
    plain.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_').then_some(plain)
}
