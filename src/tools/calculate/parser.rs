//! The grammar of expressions. What has two readings is refused with the forms that have one; docs/calculate.md lists it.
//!
//! ```text
//! expression = sum [("to" | "in") unit] | date {("+" | "-") span} | "weekday" "(" date ")"
//! sum        = (product | date {("+" | "-") span} "-" date) {("+" | "-") product}
//! date       = [quote] year "-" month "-" day ["T" time [offset]] [quote] | "date" "(" date ")"
//! span       = product with a unit of time | number ("months" | "years")
//! product    = signed {("*" | "/" | "//" | "%" | "mod" | "of" | "choose") signed}
//! signed     = ["-" | "+"] signed | power
//! power      = postfix [("^" | "**") signed]
//! postfix    = primary {"!" | "%" | "²" | "³" | unit}
//! primary    = number | "pi" | "e" | function "(" sum {"," sum} ")" | "(" sum ")" | "√" postfix
//! ```

use num_bigint::BigInt;
use num_rational::BigRational;

use super::functions::{self, call, known};
use super::lexer::{Kind, Token};
use super::number::Number;
use super::units::{self, Quantity, Units};

mod commas;
mod dates;

pub(super) use self::dates::Answer;

/// Deepest nesting.
const MAX_DEPTH: usize = 50;

type Parsed<T> = Result<T, String>;

/// An expression that is being read.
pub(super) struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// The value of `text`, whose tokens are `tokens`.
    ///
    /// # Errors
    /// What is not understood, with the nearest form that is.
    pub(super) fn value(text: &'a str, tokens: &'a [Token]) -> Parsed<Answer> {
        if tokens.is_empty() {
            return Err("it is empty".to_owned());
        }
        let mut parser = Self { text, tokens, at: 0, depth: 0 };
        let mut answer = match parser.date_answer()? {
            Some(answer) => answer,
            None => Answer::Number(parser.sum()?),
        };
        if parser.takes_conversion() {
            let Answer::Number(value) = answer else {
                return Err("a date is not converted: subtract another date, as in 2026-12-25 - 2026-03-01".to_owned());
            };
            answer = Answer::Number(value.converted(&parser.target()?)?);
        }
        if parser.at < tokens.len() {
            return Err(parser.unexpected());
        }
        Ok(answer)
    }

    fn peek(&self) -> Option<&'a Kind> {
        self.kind(self.at)
    }

    fn kind(&self, at: usize) -> Option<&'a Kind> {
        self.tokens.get(at).map(|token| &token.kind)
    }

    fn symbol(&self) -> &'static str {
        match self.peek() {
            Some(Kind::Symbol(symbol)) => symbol,
            _ => "",
        }
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.symbol() == symbol;
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.take(symbol) { Ok(()) } else { Err(format!("{symbol:?} is missing; {}", self.unexpected())) }
    }

    /// Takes the words of `phrase` when they come next.
    fn take_words(&mut self, phrase: &[&str]) -> bool {
        let is = |(offset, expected): (usize, &&str)| matches!(self.kind(self.at + offset), Some(Kind::Word(word)) if word.eq_ignore_ascii_case(expected));
        let found = phrase.iter().enumerate().all(is);
        self.at += if found { phrase.len() } else { 0 };
        found
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn sum(&mut self) -> Parsed<Quantity> {
        let first = if self.date_comes() { self.date_difference()? } else { self.product()? };
        self.sum_from(first)
    }

    /// The sum that begins with `value`.
    fn sum_from(&mut self, mut value: Quantity) -> Parsed<Quantity> {
        loop {
            if self.take("+") || self.take_words(&["plus"]) {
                value = value.add(&self.product()?)?;
            } else if self.take("-") || self.take_words(&["minus"]) {
                value = value.add(&self.product()?.negated())?;
            } else {
                return Ok(value);
            }
        }
    }

    fn product(&mut self) -> Parsed<Quantity> {
        let mut value = self.signed()?;
        loop {
            let times = ["times", "x"].iter().any(|word| self.take_words(&[word]));
            if times || self.take("*") || self.take_words(&["multiplied", "by"]) {
                value = value.mul(&self.signed()?)?;
            } else if self.take("/") || self.take_words(&["divided", "by"]) {
                value = value.div(&self.signed()?)?;
            } else if self.take("//") {
                value = functions::whole_division(&value, &self.signed()?)?;
            } else if self.take("%") || self.take_words(&["mod"]) || self.take_words(&["modulo"]) {
                value = functions::modulo(&value, &self.signed()?)?;
            } else if self.take_words(&["choose"]) {
                value = functions::selections("comb", &value, &self.signed()?)?;
            } else if value.is_percentage && self.take_words(&["of"]) {
                value = value.mul(&self.signed()?)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Parsed<Quantity> {
        self.nested(|parser| {
            if parser.take("-") || parser.take_words(&["negative"]) {
                return Ok(parser.signed()?.negated());
            }
            if parser.take("+") {
                return parser.signed();
            }
            parser.power()
        })
    }

    fn power(&mut self) -> Parsed<Quantity> {
        let base = self.postfix()?;
        if self.take("^") || self.take_words(&["to", "the", "power", "of"]) {
            return base.pow(&self.signed()?);
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Parsed<Quantity> {
        let mut value = self.primary()?;
        loop {
            let before = self.at;
            value = if self.take("!") || (!self.names_function() && self.take_words(&["factorial"])) {
                functions::factorial(&value)?
            } else if self.take("²") || self.take_words(&["squared"]) {
                value.pow(&Quantity::plain(Number::whole(2)))?
            } else if self.take("³") || self.take_words(&["cubed"]) {
                value.pow(&Quantity::plain(Number::whole(3)))?
            } else if self.takes_percent()? {
                let hundredth = Number::Exact(BigRational::new(BigInt::from(1), BigInt::from(100)));
                let number = value.unitless("a percentage")?.mul(&hundredth)?;
                Quantity { number, is_percentage: true, ..value }
            } else if value.units.is_none() && self.unit_comes() {
                let units = self.units()?;
                Quantity { units, ..value }
            } else {
                value
            };
            if self.at == before {
                return Ok(value);
            }
        }
    }

    /// Takes a `%` that makes a percentage, and leaves one that stands for the rest of a division.
    fn takes_percent(&mut self) -> Parsed<bool> {
        if self.take_words(&["percent"]) || self.take_words(&["per", "cent"]) {
            return Ok(true);
        }
        if self.symbol() != "%" {
            return Ok(false);
        }
        let (spaced_before, spaced_after) = self.spaces_around(self.at);
        let starts_operand = match self.kind(self.at + 1) {
            Some(Kind::Number(_) | Kind::Date(_)) => true,
            Some(Kind::Word(word)) => known(word).is_some() || constant(word).is_some(),
            Some(Kind::Symbol(symbol)) if matches!(*symbol, "+" | "-") => {
                if spaced_before || !spaced_after {
                    return Err("\"%\" before a sign has two meanings: write 5% - 3, or mod(5, 3)".to_owned());
                }
                false
            }
            Some(Kind::Symbol(symbol)) => matches!(*symbol, "(" | "√"),
            None => false,
        };
        if starts_operand && spaced_before != spaced_after {
            return Err("\"%\" has two meanings there: write 10% * 3 for a part, or mod(10, 3) for the rest".to_owned());
        }
        if !starts_operand {
            self.at += 1;
        }
        Ok(!starts_operand)
    }

    fn spaces_around(&self, at: usize) -> (bool, bool) {
        let token = &self.tokens[at];
        let before = at.checked_sub(1).map(|before| self.tokens[before].end < token.start);
        let after = self.tokens.get(at + 1).map(|after| token.end < after.start);
        (before.unwrap_or(false), after.unwrap_or(false))
    }

    fn primary(&mut self) -> Parsed<Quantity> {
        if self.date_comes() {
            return Err(dates::NO_NUMBER.to_owned());
        }
        match self.peek() {
            Some(Kind::Number(number)) => {
                self.at += 1;
                Ok(Quantity::plain(Number::exact(number.clone())?))
            }
            Some(Kind::Symbol("(")) => {
                self.at += 1;
                let value = self.nested(Self::sum)?;
                self.expect(")")?;
                Ok(value)
            }
            Some(Kind::Symbol("√")) => {
                self.at += 1;
                let value = self.nested(Self::postfix)?;
                functions::root(&value, 2)
            }
            Some(Kind::Word(word)) => self.word(word),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &'a str) -> Parsed<Quantity> {
        for (phrase, degree) in [(["square", "root", "of"], 2), (["cube", "root", "of"], 3)] {
            if self.take_words(&phrase) {
                let operand = self.operand_of("root")?;
                return functions::root(&operand, degree);
            }
        }
        if self.take_words(&["factorial", "of"]) {
            let operand = self.operand_of("factorial")?;
            return functions::factorial(&operand);
        }
        self.at += 1;
        if let Some(number) = self.date_number(word)? {
            return Ok(number);
        }
        if let Some(name) = known(word).filter(|_| self.symbol() == "(") {
            let arguments = self.arguments(name)?;
            return call(name, &arguments);
        }
        if let Some(value) = constant(word) {
            return value;
        }
        self.at -= 1;
        Err(unknown(word))
    }

    /// What follows "factorial of": a bracket, or a number with nothing behind it that could belong to it.
    fn operand_of(&mut self, what: &str) -> Parsed<Quantity> {
        let is_bracket = self.symbol() == "(";
        let value = self.nested(Self::primary)?;
        let is_end = matches!(self.peek(), None | Some(Kind::Symbol(")" | "," | "]")));
        if is_bracket || is_end {
            return Ok(value);
        }
        Err(format!("what the {what} is taken of has two readings: write it as a function, as in sqrt(16) + 9"))
    }

    /// The arguments of a call, with its brackets.
    fn arguments(&mut self, name: &str) -> Parsed<Vec<Quantity>> {
        self.expect("(")?;
        let is_list = functions::takes_list(name) && self.take("[");
        let mut values = Vec::new();
        let mut commas = Vec::new();
        let close = if is_list { "]" } else { ")" };
        while !self.take(close) {
            if !values.is_empty() {
                commas.push(self.at);
                self.expect(",")?;
            }
            values.push(self.nested(Self::sum)?);
        }
        if is_list {
            self.expect(")")?;
        }
        self.check_commas(name, &commas)?;
        Ok(values)
    }

    /// Whether the word that comes next is a function with its bracket.
    fn names_function(&self) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if known(word).is_some())
            && self.kind(self.at + 1) == Some(&Kind::Symbol("("))
    }

    /// Whether a unit comes next; a word that begins a call or a conversion is none.
    fn unit_comes(&self) -> bool {
        let Some(Kind::Word(word)) = self.peek() else { return false };
        // Thousands and billions are written so, too.
        let follows_number = self.at > 0 && matches!(self.kind(self.at - 1), Some(Kind::Number(_)));
        if ["K", "B"].contains(&word.as_str()) && follows_number && !self.spaces_around(self.at).0 {
            return false;
        }
        let next = self.kind(self.at + 1);
        let converts = word == "in" && matches!(next, Some(Kind::Word(next)) if Units::named(next).is_some());
        !converts && next != Some(&Kind::Symbol("(")) && Units::named(word).is_some()
    }

    /// A unit, or a product of units such as `km/h` or `m^2`.
    fn units(&mut self) -> Parsed<Units> {
        let mut units = self.unit()?;
        loop {
            let before = self.at;
            let divides = self.take("/") || self.take_words(&["per"]);
            if !(divides || self.take("*")) {
                return Ok(units);
            }
            if !self.unit_comes() {
                self.at = before;
                return Ok(units);
            }
            let next = self.unit()?;
            units = units.times(&if divides { next.inverse() } else { next });
        }
    }

    fn unit(&mut self) -> Parsed<Units> {
        let Some(Kind::Word(word)) = self.peek() else { return Err(self.unexpected()) };
        let unit = Units::named(word).ok_or_else(|| unknown(word))?;
        self.at += 1;
        let power = if self.take("²") {
            2
        } else if self.take("³") {
            3
        } else if self.take("^") {
            let sign = if self.take("-") { -1 } else { 1 };
            let Some(Kind::Number(power)) = self.peek() else { return Err(self.unexpected()) };
            self.at += 1;
            let power = i32::try_from(power.to_integer()).ok().filter(|_| power.is_integer());
            sign * power.filter(|power| (1..=9).contains(power)).ok_or("a unit has a whole power from 1 to 9")?
        } else {
            1
        };
        unit.pow(power).ok_or_else(|| "a unit has a whole power from 1 to 9".to_owned())
    }

    fn takes_conversion(&mut self) -> bool {
        let found = self.peek().is_some_and(is_conversion);
        self.at += usize::from(found);
        found
    }

    fn target(&mut self) -> Parsed<Units> {
        match self.peek() {
            Some(Kind::Word(word)) if !self.unit_comes() => Err(unknown(word)),
            Some(_) => self.units(),
            None => Err("the unit to convert to is missing".to_owned()),
        }
    }

    /// Why what stands here cannot stand here.
    fn unexpected(&self) -> String {
        let Some(token) = self.tokens.get(self.at) else { return "something is missing at its end".to_owned() };
        let written = &self.text[token.start..token.end];
        let before = self.at.checked_sub(1).and_then(|before| self.kind(before));
        let after_value =
            matches!(before, Some(Kind::Number(_) | Kind::Word(_) | Kind::Symbol(")" | "!" | "%" | "²" | "³")));
        match &token.kind {
            Kind::Symbol(",") => {
                "a comma has two meanings outside the arguments of a function: write 1.5 for a decimal \
                                  point, and 1000 without separators"
                    .to_owned()
            }
            Kind::Number(_) if matches!(before, Some(Kind::Number(_))) => {
                format!("{written:?} follows another number: write large numbers without spaces (1000), or an operator")
            }
            Kind::Word(word) if after_value && known(word).is_none() && constant(word).is_none() => unknown(word),
            Kind::Number(_) | Kind::Word(_) | Kind::Symbol("(" | "√") if after_value => {
                format!("{written:?} follows a value without an operator: write * to multiply")
            }
            Kind::Symbol("[" | "]") => "lists can be given to sum, avg, min, max and their like only".to_owned(),
            _ => format!("{written:?} is not expected there"),
        }
    }
}

fn is_conversion(kind: &Kind) -> bool {
    matches!(kind, Kind::Word(word) if ["to", "in", "into", "as"].contains(&word.as_str()))
}

fn constant(word: &str) -> Option<Parsed<Quantity>> {
    let (value, has_pi) = match word {
        "pi" | "PI" | "Pi" | "π" => (std::f64::consts::PI, true),
        "e" => (std::f64::consts::E, false),
        _ => return None,
    };
    Some(Number::near(value, 0.0).map(|number| Quantity { has_pi, ..Quantity::plain(number) }))
}

fn unknown(word: &str) -> String {
    if let Some(advice) = units::advice(word).or_else(|| functions::advice(word)) {
        return format!("{word:?} is not understood: {advice}");
    }
    if let Some(name) = known(word) {
        return format!("{word:?} needs its arguments in brackets: {name}(…)");
    }
    let is_hex = word.starts_with(['x', 'b', 'o']) && word[1..].chars().all(|digit| digit.is_ascii_hexdigit());
    if is_hex && word.len() > 1 {
        return format!("{word:?} is not understood: write numbers in base ten, and * to multiply");
    }
    format!(
        "{word:?} is not understood; functions are: {}; of dates: date('2026-12-25') - date('2026-03-01'), \
         days_between(a, b), weekday(a), 2026-12-25 + 3 weeks",
        functions::NAMES
    )
}
