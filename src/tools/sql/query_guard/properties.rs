//! What holds of every query that passes, whatever its text.

use proptest::prelude::*;
use sqlparser::dialect::{Dialect as SqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::super::lists::SQLITE_OPERATORS;
use super::tests::check;
use super::*;

/// Statements that must not pass, however they are written.
const FORBIDDEN: [&str; 22] = [
    "DELETE FROM t",
    "INSERT INTO t VALUES ( 1 )",
    "UPDATE t SET a = 1",
    "DROP TABLE t",
    "SELECT 1 ; DROP TABLE t",
    "WITH x AS ( DELETE FROM t RETURNING * ) SELECT * FROM x",
    "SELECT * INTO x FROM t",
    "SELECT * FROM t FOR UPDATE",
    "COPY t TO PROGRAM 'x'",
    "CALL p ( )",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT pg_sleep ( 1 )",
    "SELECT pg_catalog . pg_read_file ( 'x' )",
    "SELECT * FROM pg_ls_dir ( '.' )",
    "SELECT 'x' :: regclass",
    "SELECT ( 1 + pg_sleep ( 1 ) )",
    "SELECT dblink ( 'x' , 'y' )",
    "SELECT rolpassword FROM pg_authid",
    "PRAGMA query_only = 0",
    "ATTACH DATABASE 'x' AS y",
    "SELECT load_extension ( 'x' )",
];

/// A forbidden statement with other spaces, comments and case.
fn disguised() -> impl Strategy<Value = String> {
    let space =
        prop::sample::select(vec![" ", "\t", "\n", "  ", "/**/", "/* x */", "/* SELECT 1 */", "-- x\n", " \r\n "]);
    let flips = prop::collection::vec(any::<bool>(), 200);
    (prop::sample::select(FORBIDDEN.to_vec()), prop::collection::vec(space, 40), flips).prop_map(
        |(text, spaces, flips)| {
            let mut spaces = spaces.iter().cycle();
            let mut quoted = false;
            text.chars()
                .zip(flips.iter().cycle())
                .map(|(letter, flip)| {
                    quoted ^= letter == '\'';
                    match letter {
                        ' ' if !quoted => (*spaces.next().expect("a space")).to_owned(),
                        letter if *flip && !quoted => letter.to_uppercase().to_string(),
                        letter => letter.to_string(),
                    }
                })
                .collect()
        },
    )
}

/// Text made of what queries are made of, so that much of it can be read.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "WHERE",
        "t",
        "a",
        "t.a",
        "(a).b",
        "1",
        "'x'",
        "$1",
        "?1",
        ",",
        "(",
        ")",
        "*",
        "+",
        "||",
        "=",
        "::",
        "int",
        "regclass",
        "[1]",
        "AND",
        "NOT",
        "IN",
        "LIKE",
        "count(*)",
        "pg_sleep(1)",
        "act()",
        "\"pg_sleep\"(1)",
        "upper(a)",
        "sum(a) OVER ()",
        "FILTER (WHERE a)",
        "JOIN",
        "LATERAL",
        "ON",
        "ORDER BY",
        "LIMIT",
        "UNION",
        "WITH x AS (",
        "INTO",
        "FOR UPDATE",
        ";",
        "DELETE",
        "VALUES",
        "CASE WHEN",
        "THEN",
        "END",
        "AS",
        "pragma_table_info('t')",
        "json_each(a)",
        "--",
        "/*",
        "*/",
        "E'\\''",
        "$$x$$",
        "U&\"x\"",
        "OPERATOR(a.+)",
        "INTERVAL",
        "ARRAY[",
        "]",
        "COLLATE",
        "\"C\"",
        "EXISTS",
    ]);
    prop::collection::vec(piece, 1..25).prop_map(|pieces| format!("SELECT {}", pieces.join(" ")))
}

/// The tokens of `text` without its spaces and comments.
fn tokens(text: &str, dialect: Dialect) -> Vec<Token> {
    let rules: &dyn SqlDialect = match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    let tokens = Tokenizer::new(rules, text).tokenize().expect("tokens");
    tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect()
}

/// The names before parentheses in `text`, found without parsing it. Keywords are among them.
fn names_before_parentheses(text: &str, dialect: Dialect) -> Vec<String> {
    // Words that an expression or a table may follow. After others, a name with parentheses is an alias with its columns.
    const OPENING: &str = "SELECT DISTINCT FROM JOIN LATERAL ON WHERE AND OR NOT IN LIKE BY HAVING LIMIT OFFSET WHEN THEN ELSE \
        CASE FILTER VALUES UNION";
    let is = |token: &Token, words: &str| {
        let Token::Word(word) = token else { return false };
        word.quote_style.is_none() && words.split_whitespace().any(|known| word.value.eq_ignore_ascii_case(known))
    };
    let name = |four: &[Token]| match four {
        // A type may have parentheses as well.
        [_, Token::DoubleColon | Token::RParen, ..] => None,
        // A keyword or a string is the name of a table here, which the database refuses, and its alias follows.
        [place, Token::Word(_) | Token::SingleQuotedString(_), ..]
            if *place == Token::Comma || is(place, "FROM JOIN LATERAL") =>
        {
            None
        }
        [_, before @ Token::Word(_), ..] if !is(before, OPENING) => None,
        [_, _, Token::Word(word), Token::LParen] => Some(word.value.to_lowercase()),
        _ => None,
    };
    let tokens: Vec<Token> = std::iter::once(Token::EOF).chain(tokens(text, dialect)).collect();
    let named = tokens.windows(4).enumerate().filter_map(|(at, four)| Some((at, name(four)?)));
    named.filter(|(at, _)| !is_type_of_text(&tokens[at + 3..])).map(|(_, name)| name).collect()
}

/// Whether a text, or the length of an array, follows the parentheses that `tokens` begins with: then they belong to a type.
/// PostgreSQL takes no subscript behind a call.
fn is_type_of_text(tokens: &[Token]) -> bool {
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => {
                return matches!(
                    token,
                    Token::LBracket
                        | Token::SingleQuotedString(_)
                        | Token::EscapedStringLiteral(_)
                        | Token::DollarQuotedString(_)
                );
            }
        }
    }
    false
}

fn holds(text: &str, dialect: Dialect) {
    // Words of the grammar that stand before a parenthesis.
    const GRAMMAR: &str = "all and any array as between by case char cube distinct else end except exists filter from group \
        having in intersect interval is join lateral left like ilike limit not offset on or over partition right rollup select sets \
        some then time timestamp union using values varchar when where with within x t a operator decimal numeric c";
    let Ok(checked) = check(text, dialect) else { return };
    let again = check(&checked.text, dialect).expect("what is written out passes too");
    assert_eq!(again.text, checked.text, "{text}");
    assert_eq!(again.named.functions, checked.named.functions);
    for name in names_before_parentheses(&checked.text, dialect) {
        let is_listed = match dialect {
            Dialect::Postgres => POSTGRES_FUNCTIONS.contains(&name),
            Dialect::Sqlite => SQLITE_FUNCTIONS.contains(&name) || SQLITE_OPERATORS.contains(&name),
        };
        assert!(is_listed || GRAMMAR.split_whitespace().any(|word| word == name), "{name} in {}", checked.text);
    }
    assert!(!tokens(&checked.text, dialect).contains(&Token::SemiColon), "{}", checked.text);
}

#[test]
fn neither_an_alias_with_columns_nor_a_type_is_a_call() {
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        holds("SELECT FROM 'x' pragma_table_info('t') END", dialect);
        holds("SELECT FROM t act(a)", dialect);
        holds("SELECT pragma_table_info('t') [1] E'\\'' , int AND SELECT --", dialect);
        holds("SELECT pragma_table_info('t') [1] \"C\" int", dialect);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics_and_what_passes_calls_listed_functions_alone(text in prop_oneof![3 => pieces(), 1 => ".{0,200}"]) {
        holds(&text, Dialect::Postgres);
        holds(&text, Dialect::Sqlite);
    }

    #[test]
    fn what_is_forbidden_stays_so_however_it_is_written(text in disguised()) {
        prop_assert!(check(&text, Dialect::Postgres).is_err(), "{}", text);
        // What is PostgreSQL's alone, SQLite does not know either, but its parser reads the cast.
        prop_assert!(check(&text, Dialect::Sqlite).is_err() || text.to_lowercase().contains("regclass")
            || text.to_lowercase().contains("pg_authid"), "{}", text);
    }
}
