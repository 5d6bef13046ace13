//! Commas that may belong to a number or stand between two arguments.

use super::{Kind, Parsed, Parser};

impl Parser<'_> {
    /// Refuses commas between arguments that may as well belong to a number.
    pub(super) fn check_commas(&self, name: &str, commas: &[usize]) -> Parsed<()> {
        let tight: Vec<usize> = commas.iter().copied().filter(|comma| self.is_within_number(*comma)).collect();
        let is_mixed =
            !tight.is_empty() && commas.iter().any(|comma| !tight.contains(comma) && self.spaces_around(*comma).1);
        let Some(first) = tight.first() else { return Ok(()) };
        let groups = tight.iter().any(|comma| self.is_thousands(*comma));
        let in_terms = tight.iter().any(|comma| self.stands_in_term(*comma));
        if !is_mixed && !groups && !in_terms && name != "round" {
            return Ok(());
        }
        let written = &self.text[self.tokens[first - 1].start..self.tokens[first + 1].end];
        Err(format!(
            "{written:?} may be one number or two: write a space behind each comma between arguments, 1.5 for a decimal \
             point, and 1000 without separators"
        ))
    }

    /// Whether the comma stands between two digits, neither number with a point.
    fn is_within_number(&self, comma: usize) -> bool {
        let is_digits = |at: usize| {
            let token = self.tokens.get(at)?;
            let written = &self.text[token.start..token.end];
            written.bytes().all(|byte| byte.is_ascii_digit()).then_some(())
        };
        let around = comma.checked_sub(1).and_then(is_digits).and(is_digits(comma + 1));
        around.is_some() && self.spaces_around(comma) == (false, false)
    }

    /// Whether one of the numbers beside the comma is an operand: `1,5 * 3` is read as 1.5 * 3 by many.
    fn stands_in_term(&self, comma: usize) -> bool {
        let symbol = |at: usize| match self.kind(at) {
            Some(Kind::Symbol(symbol)) => Some(*symbol),
            _ => None,
        };
        let bounds = |symbol: Option<&str>| symbol.is_none_or(|symbol| ["(", ")", ","].contains(&symbol));
        let before = comma.checked_sub(2).and_then(symbol);
        let is_sign = matches!(before, Some("-" | "+")) && bounds(comma.checked_sub(3).and_then(symbol));
        !bounds(symbol(comma + 2)) || !bounds(before) && !is_sign
    }

    fn is_thousands(&self, comma: usize) -> bool {
        let length = |at: usize| self.tokens[at].end - self.tokens[at].start;
        length(comma + 1) == 3 && length(comma - 1) <= 3
    }
}
