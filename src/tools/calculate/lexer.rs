//! Reads an expression as tokens, and refuses notations with more than one meaning.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Pow;

use super::moment::Moment;

/// Largest power of ten in a number such as `1e300`.
const MAX_EXPONENT: i32 = 4_000;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A number, exactly as written.
    Number(BigRational),
    /// A name: of a function, a constant, a unit, or an operation in words.
    Word(String),
    /// A day or a time, with or without quotes around it.
    Date(Moment),
    /// An operator or a bracket.
    Symbol(&'static str),
}

/// A token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// First byte in the expression.
    pub(super) start: usize,
    /// First byte behind it.
    pub(super) end: usize,
}

/// Symbols in the order in which they are tried, each with its canonical form.
const SYMBOLS: &[(&str, &str)] = &[
    ("**", "^"),
    ("//", "//"),
    ("^", "^"),
    ("+", "+"),
    ("-", "-"),
    ("\u{2212}", "-"),
    ("*", "*"),
    ("×", "*"),
    ("·", "*"),
    ("⋅", "*"),
    ("/", "/"),
    ("÷", "/"),
    ("%", "%"),
    ("!", "!"),
    ("(", "("),
    (")", ")"),
    ("[", "["),
    ("]", "]"),
    (",", ","),
    ("²", "²"),
    ("³", "³"),
    ("√", "√"),
];

/// Notations that are refused, with what to write instead.
const REFUSED: &[(&str, &str)] = &[
    ("<<", "there are no shifts: multiply by a power of 2"),
    (">>", "there are no shifts: divide by a power of 2"),
    ("$", "leave the currency out: 5 for $5"),
    ("€", "leave the currency out: 5 for 5 €"),
    ("£", "leave the currency out: 5 for £5"),
    ("¥", "leave the currency out: 5 for ¥5"),
    ("–", "write - for minus"),
    ("—", "write - for minus"),
    ("|", "write abs(x) for |x|"),
    ("{", "write ( ) for brackets"),
    ("}", "write ( ) for brackets"),
    ("\\", "LaTeX is not understood: write a / b, sqrt(x), a * b"),
    ("=", "names, equations and comparisons are not calculated: give one expression"),
    ("<", "comparisons are not calculated"),
    (">", "comparisons are not calculated"),
    ("~", "write - for minus"),
    (";", "separate arguments with a comma and a space, and give one expression"),
    (":", "times, ratios and definitions are not calculated: write a / b for a ratio"),
    ("\"", "texts are not calculated, and dates are written '2026-12-25' or '2026-12-25T10:00'"),
    ("'", "texts and thousands separators are not calculated: write 1000 for 1'000, and dates as '2026-12-25'"),
    ("\u{2019}", "write large numbers without separators: 1000"),
    ("½", "write 1/2"),
    ("¼", "write 1/4"),
    ("¾", "write 3/4"),
    (".", "methods and properties are not understood: date('2026-12-25') - date('2026-03-01') is a number of days"),
    ("&", "bits are not calculated"),
    ("#", "comments are not understood"),
    ("@", "it has no meaning here"),
    ("?", "it has no meaning here"),
];

/// The tokens of `text`.
///
/// # Errors
/// What cannot be read, with the nearest form that can.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first == ' ' || first == '\t' {
            at += first.len_utf8();
            continue;
        }
        let rest = &text[at..];
        let starts_number =
            first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit()));
        let (kind, length) = if let Some((date, length)) = date(rest) {
            (Kind::Date(date), length)
        } else if starts_number {
            check_order(rest)?;
            let length = number_length(rest);
            (Kind::Number(number(&rest[..length])?), length)
        } else if is_letter(first) {
            word(rest)
        } else {
            symbol(rest)?
        };
        found.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    Ok(found)
}

/// The date that `rest` begins with, with its quotes, and its length.
fn date(rest: &str) -> Option<(Moment, usize)> {
    let Some(quote) = rest.chars().next().filter(|first| ['"', '\''].contains(first)) else {
        return Moment::bare(rest);
    };
    let (inner, _) = rest[1..].split_once(quote)?;
    Moment::read(inner).map(|date| (date, inner.len() + 2))
}

/// Refuses what may be a date and is none that is surely understood: day and month in either order, without its zeros,
/// or of no calendar.
fn check_order(rest: &str) -> Result<(), String> {
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '/' | '.' | '-'))).unwrap_or(rest.len());
    let written = &rest[..end];
    let is_short = |part: &str| (1..=2).contains(&part.len());
    let is_year = |part: &str| part.len() == 4 && ["19", "20", "21"].iter().any(|century| part.starts_with(century));
    for separator in ['/', '.', '-'] {
        let mut parts = written.split(separator);
        let (Some(first), Some(second), Some(third), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if is_short(first) && is_short(second) && is_year(third) && separator != '-' {
            return Err(format!("{written:?} may be a date with its day or its month first: write it as 2026-12-25"));
        }
        if is_year(first) && is_short(second) && is_short(third) {
            return Err(format!(
                "{written:?} may be a date, and is none of the calendar: write it as 2026-12-25, or with spaces for numbers"
            ));
        }
    }
    Ok(())
}

const fn is_letter(character: char) -> bool {
    character.is_ascii_alphabetic() || matches!(character, 'π' | 'µ' | 'μ' | '°' | '_')
}

fn symbol(rest: &str) -> Result<(Kind, usize), String> {
    if let Some((written, why)) = REFUSED.iter().find(|(written, _)| rest.starts_with(written)) {
        return Err(format!("{written:?} is not understood: {why}"));
    }
    let found = SYMBOLS.iter().find(|(written, _)| rest.starts_with(written));
    let (written, symbol) = found.ok_or_else(|| {
        let character = rest.chars().next().unwrap_or_default();
        format!("the character {character:?} is not understood")
    })?;
    if *symbol == "!" && rest[1..].trim_start().starts_with('!') {
        return Err("\"!!\" is not understood: write (n!)! for the factorial of a factorial".to_owned());
    }
    Ok((Kind::Symbol(symbol), written.len()))
}

/// A word. The prefix of a library, as in `math.sqrt`, is not part of its name.
fn word(rest: &str) -> (Kind, usize) {
    let end_of = |text: &str| {
        text.find(|character: char| !(is_letter(character) || character.is_ascii_digit())).unwrap_or(text.len())
    };
    let end = end_of(rest);
    let inner = rest[end..].strip_prefix('.').filter(|inner| inner.starts_with(is_letter));
    match inner {
        Some(inner) if rest[..end].eq_ignore_ascii_case("math") => {
            let length = end_of(inner);
            (Kind::Word(inner[..length].to_owned()), end + 1 + length)
        }
        _ => (Kind::Word(rest[..end].to_owned()), end),
    }
}

/// How many bytes belong to the number that `rest` starts with: digits, points, and an exponent.
fn number_length(rest: &str) -> usize {
    let is_part = |character: char| character.is_ascii_digit() || character == '.' || character == '_';
    let mut length = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
    let exponent = rest[length..].strip_prefix(['e', 'E']);
    if let Some(exponent) = exponent {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let digits = exponent[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    length
}

fn number(written: &str) -> Result<BigRational, String> {
    let refuse = |why: &str| Err(format!("the number {written:?} is not understood: {why}"));
    let (mantissa, exponent) = match written.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().unwrap_or(i32::MAX)),
        None => (written, 0),
    };
    if mantissa.matches('.').count() > 1 {
        return refuse("write it without thousands separators, with one point for decimals");
    }
    if mantissa.ends_with('.') {
        return refuse("write digits behind the point");
    }
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if decimals.contains('_') || !is_well_grouped(whole) {
        return refuse("write it without separators");
    }
    if exponent.unsigned_abs() > MAX_EXPONENT.unsigned_abs() {
        return refuse(&format!("its exponent is beyond {MAX_EXPONENT}"));
    }
    let digits = format!("{}{decimals}", whole.replace('_', ""));
    let Some(digits) = BigInt::parse_bytes(digits.as_bytes(), 10) else { return refuse("it has no digits") };
    let decimals = i32::try_from(decimals.len()).unwrap_or(i32::MAX);
    let ten = BigRational::from_integer(BigInt::from(10));
    Ok(BigRational::from_integer(digits) * Pow::pow(&ten, exponent.saturating_sub(decimals)))
}

/// Whether every underscore of `whole` sets off three digits, as in `1_000_000`.
fn is_well_grouped(whole: &str) -> bool {
    let mut groups = whole.split('_');
    let first = groups.next().unwrap_or_default();
    let mut rest = groups.peekable();
    rest.peek().is_none() || ((1..=3).contains(&first.len()) && rest.all(|group| group.len() == 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(written: &str) -> BigRational {
        match tokens(written).expect(written).as_slice() {
            [Token { kind: Kind::Number(number), .. }] => number.clone(),
            other => panic!("{written}: {other:?}"),
        }
    }

    #[test]
    fn numbers_are_read_exactly() {
        let ratio = |numerator: i64, denominator: i64| BigRational::new(numerator.into(), denominator.into());
        for (written, expected) in [
            ("0", ratio(0, 1)),
            ("1.5", ratio(3, 2)),
            (".25", ratio(1, 4)),
            ("1e3", ratio(1000, 1)),
            ("1.5E-3", ratio(3, 2000)),
            ("2e+2", ratio(200, 1)),
            ("1_000_000", ratio(1_000_000, 1)),
            ("007", ratio(7, 1)),
        ] {
            assert_eq!(value(written), expected, "{written}");
        }
    }

    #[test]
    fn numbers_with_two_readings_are_refused() {
        for written in ["1.000.000", "1.", "1_00", "1_0000", "1.5_0", "1e99999", "12_", "1..2", "1.2.3"] {
            let error = tokens(written).expect_err(written);
            assert!(error.contains("is not understood"), "{written}: {error}");
        }
    }
}
