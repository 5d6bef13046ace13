//! Dates in expressions: a day or time, what is added to it, and how far it is from another one.

use num_bigint::BigInt;
use num_traits::ToPrimitive as _;

use super::super::moment::{Distance, Moment, Span};
use super::super::number::Number;
use super::super::units::{Quantity, Units, convert};
use super::{Kind, Parsed, Parser, is_conversion};

/// What an expression has for its value.
pub(in super::super) enum Answer {
    Number(Quantity),
    /// A day, a time, or the name of a weekday.
    Text(String),
}

/// A sum that may be a date.
enum Sum {
    Number(Quantity),
    Date(Moment),
}

/// Why a date cannot stand where a number is expected.
pub(super) const NO_NUMBER: &str =
    "a date is no number: subtract another date, as in date('2026-12-25') - date('2026-03-01')";
/// Functions that give a number of dates.
const NUMBERS: [&str; 4] = ["days_between", "year", "month", "day"];
/// Functions that give the name of a weekday.
const WEEKDAYS: [&str; 4] = ["weekday", "day_of_week", "dayofweek", "dayname"];

impl Parser<'_> {
    /// The whole expression, when it begins with a date or is the weekday of one; `None` for any other.
    pub(super) fn date_answer(&mut self) -> Parsed<Option<Answer>> {
        if self.calls(&WEEKDAYS) {
            self.at += 2;
            let date = self.date_argument()?;
            self.expect(")")?;
            return Ok(Some(Answer::Text(date.weekday())));
        }
        if !self.date_comes() {
            return Ok(None);
        }
        Ok(Some(match self.date_sum()? {
            Sum::Number(number) => Answer::Number(self.sum_from(number)?),
            Sum::Date(date) => Answer::Text(date.written()),
        }))
    }

    /// Whether a date comes next.
    pub(super) fn date_comes(&self) -> bool {
        matches!(self.peek(), Some(Kind::Date(_))) || self.calls(&["date", "datetime"])
    }

    /// How many days lie between the dates of a difference, as the beginning of a sum.
    pub(super) fn date_difference(&mut self) -> Parsed<Quantity> {
        match self.date_sum()? {
            Sum::Number(number) => Ok(number),
            Sum::Date(_) => Err(NO_NUMBER.to_owned()),
        }
    }

    /// The number that the function `word` gives of dates; `None` for another function.
    pub(super) fn date_number(&mut self, word: &str) -> Parsed<Option<Quantity>> {
        let Some(name) = NUMBERS.iter().find(|name| word.eq_ignore_ascii_case(name)) else { return Ok(None) };
        if self.symbol() != "(" {
            return Ok(None);
        }
        self.at += 1;
        let first = self.date_argument()?;
        let number = match *name {
            "days_between" => {
                self.expect(",")?;
                let last = self.date_argument()?;
                (last.day() - first.day()).num_days()
            }
            "year" => first.day().format("%Y").to_string().parse().unwrap_or_default(),
            "month" => first.day().format("%m").to_string().parse().unwrap_or_default(),
            _ => first.day().format("%d").to_string().parse().unwrap_or_default(),
        };
        self.expect(")")?;
        Ok(Some(Quantity::plain(Number::whole(number))))
    }

    /// Whether a call of one of the functions `names` comes next.
    fn calls(&self, names: &[&str]) -> bool {
        matches!(self.peek(), Some(Kind::Word(word)) if names.iter().any(|name| word.eq_ignore_ascii_case(name)))
            && self.kind(self.at + 1) == Some(&Kind::Symbol("("))
    }

    fn date_argument(&mut self) -> Parsed<Moment> {
        if !self.date_comes() {
            return Err(format!("a date is written 2026-12-25 or date('2026-12-25'); {}", self.unexpected()));
        }
        match self.nested(Self::date_sum)? {
            Sum::Date(date) => Ok(date),
            Sum::Number(_) => Err("a date is expected, not the number of days between two".to_owned()),
        }
    }

    /// A date, and what is added to it or taken from it.
    fn date_sum(&mut self) -> Parsed<Sum> {
        let mut date = self.date()?;
        loop {
            let adds = self.take("+") || self.take_words(&["plus"]);
            if !(adds || self.take("-") || self.take_words(&["minus"])) {
                return Ok(Sum::Date(date));
            }
            if self.date_comes() {
                if adds {
                    return Err("two dates cannot be added".to_owned());
                }
                let earlier = self.date()?;
                return self.distance(date, earlier).map(Sum::Number);
            }
            date = date.plus(&self.span(if adds { 1 } else { -1 })?)?;
        }
    }

    /// A number of days when both are days; else a number of hours with its unit.
    fn distance(&self, late: Moment, early: Moment) -> Parsed<Quantity> {
        let unit = |name: &str| Units::named(name).unwrap_or_default();
        match late.since(early)? {
            Distance::Days(days) => {
                // What is calculated with days without a unit is meant so: days / 7 are weeks.
                let units = if self.is_converted() { unit("d") } else { Units::default() };
                Ok(Quantity { units, ..Quantity::plain(Number::whole(days)) })
            }
            Distance::Seconds(seconds) => {
                let hours = seconds / BigInt::from(3600);
                Ok(Quantity { units: unit("h"), ..Quantity::plain(Number::exact(hours)?) })
            }
        }
    }

    /// Whether a conversion follows, behind brackets that end.
    fn is_converted(&self) -> bool {
        let mut next = self.at;
        while self.kind(next) == Some(&Kind::Symbol(")")) {
            next += 1;
        }
        self.kind(next).is_some_and(is_conversion)
    }

    /// A date: an ISO text, or a call of `date`.
    fn date(&mut self) -> Parsed<Moment> {
        if let Some(Kind::Date(date)) = self.peek() {
            self.at += 1;
            return Ok(*date);
        }
        self.at += 2;
        if let Some(Kind::Date(date)) = self.peek() {
            self.at += 1;
            self.expect(")")?;
            return Ok(*date);
        }
        let year = self.part_of_date()?;
        self.expect(",")?;
        let month = self.part_of_date()?;
        self.expect(",")?;
        let day = self.part_of_date()?;
        self.expect(")")?;
        Moment::of_parts(year, month, day).ok_or_else(|| format!("there is no day {year}-{month}-{day}"))
    }

    fn part_of_date(&mut self) -> Parsed<u32> {
        let number = match self.peek() {
            Some(Kind::Number(number)) if number.is_integer() => number.to_integer().to_u32(),
            _ => None,
        };
        let number = number.ok_or("a date is written date('2026-12-25') or date(2026, 12, 25)")?;
        self.at += 1;
        Ok(number)
    }

    /// What is added to a date: months, years, or a time with its unit.
    fn span(&mut self, sign: i64) -> Parsed<Span> {
        if let (Some(Kind::Number(number)), Some(Kind::Word(word))) = (self.peek(), self.kind(self.at + 1)) {
            let months = match word.to_ascii_lowercase().as_str() {
                "month" | "months" => Some(1),
                "year" | "years" => Some(12),
                _ => None,
            };
            if let Some(months) = months {
                self.at += 2;
                let count =
                    Some(number).filter(|number| number.is_integer()).and_then(|whole| whole.to_integer().to_i64());
                let count =
                    count.filter(|count| count.abs() < 200_000).ok_or("months and years are added as whole numbers")?;
                return Ok(Span::Months(sign * months * count));
            }
        }
        let span = self.product()?;
        let seconds = Units::named("s").unwrap_or_default();
        if span.units.is_none() {
            return Err("what is added to a date needs its unit: write 30 days, 2 weeks or 3 months".to_owned());
        }
        match convert(&span.number, &span.units, &seconds)? {
            Number::Exact(number) => Ok(Span::Seconds(number * BigInt::from(sign))),
            Number::Near { .. } => Err("what is added to a date must be exact".to_owned()),
        }
    }
}
