//! Asks PostgreSQL's catalogue which functions a query would call by the names that it uses.
//!
//! The parser tells neither an attribute from a call, `(x).f` from `f(x)`, nor which function an operator or a cast is.
//! The catalogue does. A name of the list stands for the function that came with the server, or that a superuser installed in C;
//! another function of that name, in SQL or a procedural language, may do anything.

use std::collections::BTreeSet;

use tokio_postgres::Transaction;

use super::super::lists::{HARMLESS_VOLATILE, IMPLIED_OPERATORS, POSTGRES_FUNCTIONS, POSTGRES_TYPES};
use super::super::query_guard::CatalogueNames;

/// Whether the function `p`, with language `l`, may act: it is volatile, or it is written in SQL or a procedural language
/// and neither allowed by the configuration ($2) nor a part of an extension. An aggregate acts as the functions do that make it.
const ACTS: &str = "(\
    (p.provolatile = 'v' AND NOT (p.proname = ANY($1) AND n.nspname = 'pg_catalog')) \
    OR (l.lanname NOT IN ('internal', 'c') AND n.nspname <> 'pg_catalog' AND NOT lower(p.proname) = ANY($2) \
        AND NOT (p.provolatile <> 'v' AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' \
            AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid))) \
    OR EXISTS (SELECT FROM pg_catalog.pg_aggregate a \
        JOIN pg_catalog.pg_proc q ON q.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggmtransfn, a.aggmfinalfn) \
        JOIN pg_catalog.pg_language m ON m.oid = q.prolang \
        WHERE a.aggfnoid = p.oid AND m.lanname NOT IN ('internal', 'c') AND NOT lower(p.proname) = ANY($2)))";

/// Whether the function `p` came with an extension, which only an administrator installs.
const IS_OF_EXTENSION: &str = "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' \
    AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid)";

/// The function `p` with its schema `n` and its language `l`.
const FUNCTION: &str = "pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    JOIN pg_catalog.pg_language l ON l.oid = p.prolang";

/// Why a query that uses the names in `named` is refused; `None` when it is not. `more` are functions that the configuration
/// allows.
pub(super) async fn refusal(
    transaction: &Transaction<'_>,
    named: &CatalogueNames,
    more: &BTreeSet<String>,
) -> Result<Option<String>, tokio_postgres::Error> {
    let harmless: Vec<&str> = HARMLESS_VOLATILE.iter().collect();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut known: Vec<&str> = POSTGRES_FUNCTIONS.iter().collect();
    known.extend(&more);
    let known_types: Vec<&str> = POSTGRES_TYPES.iter().collect();
    let implied: Vec<&str> = IMPLIED_OPERATORS.iter().collect();
    let operators: Vec<&str> = named.operators.iter().map(String::as_str).collect();
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<String>>();
    let (functions, attributes) = (list(&named.functions), list(&named.attributes));
    let (columns, types) = (list(&named.columns), list(&named.types));
    let found = transaction
        .query_opt(
            &question(),
            &[&harmless, &more, &functions, &known, &attributes, &columns, &operators, &types, &known_types, &implied],
        )
        .await?;
    found.map(|row| row.try_get(0)).transpose()
}

/// The types that a query casts to, with those that the server casts to on the way: the elements of an array, and the type
/// under a domain. Each row is cast to JSON.
const NAMED_TYPES: &str = "WITH RECURSIVE named(oid) AS (\
    SELECT t.oid FROM pg_catalog.pg_type t WHERE lower(t.typname) = ANY($8) OR lower(t.typname) = ANY($5) \
    UNION SELECT inner_type.oid FROM named \
    JOIN pg_catalog.pg_type t ON t.oid = named.oid \
    JOIN pg_catalog.pg_type inner_type ON inner_type.oid <> 0 AND inner_type.oid IN (t.typelem, t.typbasetype))";

fn question() -> String {
    let signature =
        "n.nspname || '.' || p.proname || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')'";
    let takes_one = "p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1";
    format!(
        "{NAMED_TYPES} SELECT reason FROM (\
         SELECT 'function ' || p.proname || ' is not allowed: ' || {signature} || CASE WHEN p.provolatile = 'v' \
           THEN ' is volatile' ELSE ' is not one of the built-in functions; it can be allowed by the setting functions' END \
           AS reason FROM {FUNCTION} WHERE lower(p.proname) = ANY($3) AND {ACTS} \
         UNION ALL \
         SELECT 'the attribute ' || p.proname || ' is not allowed: it may call ' || {signature} FROM {FUNCTION} \
           WHERE lower(p.proname) = ANY($5) AND {takes_one} AND (NOT (lower(p.proname) = ANY($4) OR \
           (n.nspname = 'pg_catalog' AND p.proname = ANY($9))) OR {ACTS}) \
         UNION ALL \
         SELECT 'the column ' || p.proname || ' is not allowed: it may call ' || {signature} FROM {FUNCTION} \
           JOIN pg_catalog.pg_type t ON t.oid = p.proargtypes[0] \
           WHERE lower(p.proname) = ANY($6) AND {takes_one} AND (t.typtype IN ('c', 'd') \
           OR t.typname IN ('record', 'any', 'anyelement', 'anycompatible', 'anynonarray', 'anycompatiblenonarray')) \
           AND (NOT lower(p.proname) = ANY($4) OR {ACTS}) \
         UNION ALL \
         SELECT 'operator ' || o.oprname || ' is not allowed: it calls ' || {signature} FROM pg_catalog.pg_operator o \
           JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
           JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE (o.oprname = ANY($7) \
           OR (o.oprname = ANY($10) AND NOT {IS_OF_EXTENSION})) AND {ACTS} \
         UNION ALL \
         SELECT 'type ' || t.typname || ' is not allowed: ' || CASE t.typtype WHEN 'd' THEN 'it is a domain with a check' \
           WHEN 'c' THEN 'it is a row' ELSE 'casts to it run code' END \
           FROM named JOIN pg_catalog.pg_type t ON t.oid = named.oid \
           JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
           LEFT JOIN pg_catalog.pg_proc p ON p.oid = t.typinput LEFT JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
           WHERE CASE WHEN n.nspname = 'pg_catalog' \
             THEN NOT t.typname = ANY($9) AND NOT t.typname IN ('bit', 'bool', 'char', 'point', 'path', 'box', 'circle', \
             'line', 'lseg', 'polygon') ELSE t.typtype = 'c' OR l.lanname NOT IN ('internal', 'c') OR (t.typtype = 'd' \
             AND EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c')) END \
         UNION ALL \
         SELECT 'the query is not allowed: a cast to ' || t.typname || ' calls ' || {signature} \
           FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type t ON t.oid = c.casttarget \
           JOIN pg_catalog.pg_proc p ON p.oid = c.castfunc JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
           JOIN pg_catalog.pg_language l ON l.oid = p.prolang WHERE ((c.castcontext = 'i' AND NOT {IS_OF_EXTENSION}) \
           OR t.oid IN (SELECT oid FROM named) OR t.oid = 'pg_catalog.json'::pg_catalog.regtype) AND {ACTS}\
         ) AS reasons LIMIT 1"
    )
}
