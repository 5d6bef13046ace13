//! From the text of a query to its statements, within bounds on how deep their tree can be.

use sqlparser::ast::Statement;
use sqlparser::dialect::{Dialect as SqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, Tokenizer};

use super::super::super::inputs::excerpt;
use super::Dialect;

/// Deepest nesting of a query.
const MAX_DEPTH: usize = 40;
/// Most operators and keywords of a query: each makes the tree deeper by one at most, as in `1 + 1 + 1`.
pub(super) const MAX_OPERATORS: usize = 1_500;

/// The statements of a query, as far as the parser can be trusted with it.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(text: &str, dialect: Dialect) -> Result<Vec<Statement>, String> {
    let rules: &dyn SqlDialect = match dialect {
        Dialect::Postgres => &PostgreSqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    let unreadable = |error: String| format!("the query cannot be read: {}", excerpt(&error, 300));
    let tokens = Tokenizer::new(rules, text).tokenize_with_location().map_err(|error| unreadable(error.to_string()))?;
    let operators = tokens.iter().filter(|token| deepens(&token.token)).count();
    if operators > MAX_OPERATORS {
        return Err(format!("the query has {operators} operators and keywords; at most {MAX_OPERATORS} are allowed"));
    }
    if names_sort_operator(tokens.iter().map(|token| &token.token)) {
        return Err("ORDER BY … USING is not allowed: write ASC or DESC".to_owned());
    }
    Parser::new(rules)
        .with_recursion_limit(MAX_DEPTH)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| unreadable(error.to_string()))
}

/// Whether a query sorts by an operator that it names. The visitor does not meet such operators. A join, the other place
/// for USING, has a list in parentheses there.
fn names_sort_operator<'a>(tokens: impl Iterator<Item = &'a Token>) -> bool {
    let mut tokens = tokens.filter(|token| !matches!(token, Token::Whitespace(_))).peekable();
    while let Some(token) = tokens.next() {
        let is_using = matches!(token, Token::Word(word) if word.keyword == Keyword::USING);
        if is_using && !matches!(tokens.peek(), Some(Token::LParen)) {
            return true;
        }
    }
    false
}

/// Whether the tree of a query may be deeper for this token: neither a name, a value, a comma nor a parenthesis.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::Period
        | Token::Whitespace(_)
        // How deep these nest is limited by the parser.
        | Token::LParen
        | Token::RParen
        | Token::LBracket
        | Token::RBracket
        | Token::EOF => false,
        _ => true,
    }
}

/// The first word of a statement, for an error.
pub(super) fn first_word(text: &str) -> String {
    excerpt(text.split_whitespace().next().unwrap_or(""), 30)
}
