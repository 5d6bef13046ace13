//! Numbers: exact fractions as long as possible, else floats that know how wrong they may be.

use std::cell::Cell;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

/// Largest numerator or denominator, in bits: some 15,000 digits.
const MAX_BITS: u64 = 50_000;
/// Most decimals of an exact result; one with more is given rounded.
const MAX_DECIMALS: u64 = 200;
/// Significant digits of a result that is rounded.
const DIGITS: i32 = 15;
/// Fewest significant digits that an uncertain result must have.
const MIN_DIGITS: i32 = 6;
/// Most significant digits of an uncertain result.
const MAX_DIGITS: i32 = 12;
/// How wrong one operation of floats may be, relative to its result.
const STEP: f64 = 4.0 * f64::EPSILON;

/// Most work of one calculation, as products of the bits of numerators and denominators: ten operations with the longest
/// fractions, which take about a second.
const MAX_WORK: u64 = 10 * MAX_BITS * MAX_BITS;

thread_local! {
    /// Work of the calculation under way on this thread.
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// Begins to count the work of a calculation.
pub(super) fn begin_work() {
    WORK.set(0);
}

pub(super) const TOO_LARGE: &str = "its result is too large: at most 15000 digits are calculated";

/// A real number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    /// Exactly this.
    Exact(BigRational),
    /// At most `error` away from `value`.
    Near { value: f64, error: f64 },
}

/// A number as text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NumberText {
    pub(super) text: String,
    /// Whether the text is the number itself, nothing rounded.
    pub(super) exact: bool,
}

impl Number {
    pub(super) fn whole(number: i64) -> Self {
        Self::Exact(BigRational::from_integer(number.into()))
    }

    pub(super) fn exact(value: BigRational) -> Result<Self, String> {
        let (above, below) = (value.numer().bits(), value.denom().bits());
        if above.max(below) > MAX_BITS {
            return Err(TOO_LARGE.to_owned());
        }
        WORK.set(WORK.get().saturating_add(above.saturating_mul(below)));
        if WORK.get() > MAX_WORK {
            return Err(
                "it takes too long: it calculates again and again with fractions of thousands of digits".to_owned()
            );
        }
        Ok(Self::Exact(value))
    }

    /// A float that a function gave for an argument which may be wrong by `error` as seen in the result.
    pub(super) fn near(value: f64, error: f64) -> Result<Self, String> {
        let error = error + value.abs() * STEP;
        if !value.is_finite() || !error.is_finite() {
            return Err("its result has no value, or one that is too large for a rounded calculation".to_owned());
        }
        Ok(Self::Near { value, error })
    }

    /// Value and error as floats.
    pub(super) fn floats(&self) -> Result<(f64, f64), String> {
        match self {
            Self::Near { value, error } => Ok((*value, *error)),
            Self::Exact(ratio) => {
                let value = ratio.to_f64().filter(|value| value.is_finite()).ok_or(TOO_LARGE)?;
                if value.abs() < f64::MIN_POSITIVE && !ratio.is_zero() {
                    return Err("a number in it is too small for a rounded calculation".to_owned());
                }
                Ok((value, value.abs() * f64::EPSILON))
            }
        }
    }

    pub(super) fn add(&self, other: &Self) -> Result<Self, String> {
        if let (Self::Exact(left), Self::Exact(right)) = (self, other) {
            return Self::exact(left + right);
        }
        let ((a, da), (b, db)) = (self.floats()?, other.floats()?);
        Self::near(a + b, da + db)
    }

    pub(super) fn negated(&self) -> Self {
        match self {
            Self::Exact(ratio) => Self::Exact(-ratio),
            Self::Near { value, error } => Self::Near { value: -value, error: *error },
        }
    }

    pub(super) fn mul(&self, other: &Self) -> Result<Self, String> {
        if let (Self::Exact(left), Self::Exact(right)) = (self, other) {
            return Self::exact(left * right);
        }
        let ((a, da), (b, db)) = (self.floats()?, other.floats()?);
        Self::near(a * b, a.abs() * db + b.abs() * da + da * db)
    }

    pub(super) fn div(&self, other: &Self) -> Result<Self, String> {
        match (self, other) {
            (_, Self::Exact(right)) if right.is_zero() => Err("it divides by zero".to_owned()),
            (Self::Exact(left), Self::Exact(right)) => Self::exact(left / right),
            _ => {
                let ((a, da), (b, db)) = (self.floats()?, other.floats()?);
                if b.abs() <= db {
                    return Err("it divides by what may be zero".to_owned());
                }
                Self::near(a / b, (da + (a / b).abs() * db) / (b.abs() - db))
            }
        }
    }

    pub(super) fn pow(&self, exponent: &Self) -> Result<Self, String> {
        if let (Self::Exact(base), Self::Exact(power)) = (self, exponent) {
            if power.is_integer() {
                return whole_power(base, power.numer());
            }
            if let Some(root) = exact_root(base, power) {
                return whole_power(&root, power.numer());
            }
        }
        let ((a, da), (b, db)) = (self.floats()?, exponent.floats()?);
        if a - da <= 0.0 {
            return Err("a power with a fraction as exponent needs a base above zero".to_owned());
        }
        let value = a.powf(b);
        let relative = (b.abs() * da / (a - da)) + (a.ln().abs() + 1.0) * db;
        Self::near(value, value * (relative.exp() - 1.0) * 2.0 + value * STEP * (b * a.ln()).abs())
    }

    /// The sign of `self - other`; `None` when the uncertainty leaves it open.
    pub(super) fn compare(&self, other: &Self) -> Result<Option<std::cmp::Ordering>, String> {
        if let (Self::Exact(left), Self::Exact(right)) = (self, other) {
            return Ok(Some(order(left, right)));
        }
        let ((a, da), (b, db)) = (self.floats()?, other.floats()?);
        Ok(if (a - b).abs() <= da + db { None } else { a.partial_cmp(&b) })
    }

    pub(super) fn is_negative(&self) -> bool {
        match self {
            Self::Exact(ratio) => ratio.is_negative(),
            Self::Near { value, .. } => *value < 0.0,
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Self::Exact(ratio) if ratio.is_zero())
    }

    /// `rounding` of the number; refused when its uncertainty leaves two answers.
    pub(super) fn rounded(&self, rounding: fn(&BigRational) -> BigRational) -> Result<Self, String> {
        match self {
            Self::Exact(ratio) => Self::exact(rounding(ratio)),
            Self::Near { value, error } => {
                let end = |at: f64| BigRational::from_float(at).map(|at| rounding(&at)).ok_or(TOO_LARGE);
                let (low, high) = (end(value - error)?, end(value + error)?);
                if !is_same(&low, &high) {
                    return Err("it rounds a number that is too close to the border between two results".to_owned());
                }
                Self::exact(low)
            }
        }
    }

    /// The number as text.
    pub(super) fn written(&self) -> Result<NumberText, String> {
        match self {
            Self::Exact(ratio) => Ok(written_exact(ratio)),
            Self::Near { value, error } => written_near(*value, *error),
        }
    }
}

fn whole_power(base: &BigRational, power: &BigInt) -> Result<Number, String> {
    if base.is_zero() && !power.is_positive() {
        return Err("zero to the power of zero, or of less, has no value".to_owned());
    }
    if base.abs().is_one() {
        let is_even = (power % BigInt::from(2)).is_zero();
        return Ok(Number::Exact(if is_even { base.abs() } else { base.clone() }));
    }
    let bits = base.numer().bits().max(base.denom().bits()).saturating_sub(1).max(1);
    let fits = |power: i32| u64::from(power.unsigned_abs()).saturating_mul(bits) <= MAX_BITS;
    match power.to_i32().filter(|power| fits(*power)) {
        _ if base.is_zero() => Ok(Number::whole(0)),
        Some(power) => Number::exact(Pow::pow(base, power)),
        None => Err(TOO_LARGE.to_owned()),
    }
}

/// The root of `base` that a fractional `power` requires.
fn exact_root(base: &BigRational, power: &BigRational) -> Option<BigRational> {
    let degree = power.denom().to_u32().filter(|degree| *degree <= 64)?;
    if base.is_negative() {
        return None;
    }
    let root = BigRational::new(base.numer().nth_root(degree), base.denom().nth_root(degree));
    is_same(&Pow::pow(&root, degree), base).then_some(root)
}

/// The order of two fractions. That of the library calls itself once for each term of their continued fractions, which
/// overflows the stack when they have thousands.
fn order(left: &BigRational, right: &BigRational) -> std::cmp::Ordering {
    (left.numer() * right.denom()).cmp(&(right.numer() * left.denom()))
}

/// Whether two fractions in lowest terms are equal; see [`order`].
fn is_same(left: &BigRational, right: &BigRational) -> bool {
    left.numer() == right.numer() && left.denom() == right.denom()
}

/// How many decimals it takes to write `1 / denominator` in full; `None` when no number suffices, or too many.
fn decimals(denominator: &BigInt) -> Option<u64> {
    let twos = denominator.trailing_zeros().unwrap_or(0);
    let mut rest = denominator >> twos;
    let five = BigInt::from(5);
    let mut fives = 0;
    while (&rest % &five).is_zero() && fives <= MAX_DECIMALS {
        rest /= &five;
        fives += 1;
    }
    (rest.is_one() && twos.max(fives) <= MAX_DECIMALS).then_some(twos.max(fives))
}

fn written_exact(ratio: &BigRational) -> NumberText {
    if let Some(places) = decimals(ratio.denom()) {
        return NumberText { text: fixed(ratio, places), exact: true };
    }
    // The power of ten of the first digit, or one less.
    let digits = |number: &BigInt| i64::try_from(number.magnitude().to_string().len()).unwrap_or(i64::MAX);
    let leading = digits(ratio.numer()) - digits(ratio.denom());
    let places = (i64::from(DIGITS) - leading).max(2);
    NumberText { text: fixed(ratio, u64::try_from(places).unwrap_or(2)), exact: false }
}

fn written_near(value: f64, error: f64) -> Result<NumberText, String> {
    if value.abs() <= error && error < 1e-12 {
        return Ok(NumberText { text: "0".to_owned(), exact: false });
    }
    let cancels_out = "its result cannot be calculated precisely enough, because almost equal numbers cancel out";
    if value.abs() <= error {
        return Err(cancels_out.to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "logarithms of floats are below 400")]
    let floor_log = |number: f64| number.log10().floor() as i32;
    let known = floor_log(value.abs()) - floor_log(error.max(value.abs() * f64::EPSILON)) - 1;
    if known < MIN_DIGITS {
        return Err(cancels_out.to_owned());
    }
    let places = known.min(MAX_DIGITS) - 1 - floor_log(value.abs());
    let ratio = BigRational::from_float(value).ok_or(TOO_LARGE)?;
    let text = if let Ok(places) = u64::try_from(places) {
        fixed(&ratio, places)
    } else {
        let unit = Pow::pow(&BigRational::from_integer(10.into()), places.unsigned_abs());
        fixed(&((ratio / &unit).round() * unit), 0)
    };
    Ok(NumberText { text, exact: false })
}

/// `ratio` with at most `places` decimals, without zeros at its end.
fn fixed(ratio: &BigRational, places: u64) -> String {
    let places = usize::try_from(places).unwrap_or(usize::MAX);
    let scale = Pow::pow(&BigInt::from(10), places);
    let scaled = (ratio * BigRational::from_integer(scale)).round().to_integer();
    let digits = format!("{:0>width$}", scaled.magnitude().to_string(), width = places + 1);
    let (whole, decimals) = digits.split_at(digits.len() - places);
    let decimals = decimals.trim_end_matches('0');
    let sign = if scaled.is_negative() { "-" } else { "" };
    let point = if decimals.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{decimals}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(numerator: i64, denominator: i64) -> BigRational {
        BigRational::new(numerator.into(), denominator.into())
    }

    #[test]
    fn fractions_are_written_in_full_or_called_rounded() {
        for (numerator, denominator, text, exact) in [
            (3, 4, "0.75", true),
            (-1, 8, "-0.125", true),
            (1, 3, "0.333333333333333", false),
            (-2, 3, "-0.666666666666667", false),
            (1_000_000, 3, "333333.333333333", false),
            (1, 3_000_000, "0.000000333333333333333", false),
            (0, 1, "0", true),
            (1200, 1, "1200", true),
        ] {
            let written = written_exact(&ratio(numerator, denominator));
            assert_eq!(written.exact, exact, "{numerator}/{denominator}");
            assert!(written.text.starts_with(&text[..text.len() - 1]), "{} is not {text}", written.text);
        }
    }

    #[test]
    fn fractions_of_thousands_of_terms_are_compared() {
        let mut pair = (BigInt::from(1), BigInt::from(1));
        for _ in 0..20_000 {
            pair = (pair.1.clone(), pair.0 + pair.1);
        }
        let (small, large) = pair;
        let sum = &small + &large;
        let one = BigRational::new(sum, large.clone());
        let other = BigRational::new(large, small);
        assert!(order(&one, &other) != std::cmp::Ordering::Equal && !is_same(&one, &other));
        assert_eq!(order(&one, &one.clone()), std::cmp::Ordering::Equal);
        assert!(exact_root(&one, &BigRational::new(1.into(), 2.into())).is_none());
        assert_eq!(order(&ratio(-1, 2), &ratio(1, 3)), std::cmp::Ordering::Less);
    }

    #[test]
    fn what_cancels_out_is_refused() {
        let root = Number::exact(ratio(1_000_001, 1)).and_then(|number| number.pow(&Number::Exact(ratio(1, 2))));
        let difference = root.and_then(|root| root.add(&Number::whole(-1000))).expect("a number");
        let written = difference.written().expect("enough digits");
        assert_eq!((written.text.as_str(), written.exact), ("0.0005", false));
        let far = Number::exact(ratio(10, 1)).and_then(|ten| ten.pow(&Number::whole(20))).expect("a number");
        let root = far.add(&Number::whole(1)).and_then(|number| number.pow(&Number::Exact(ratio(1, 2))));
        let difference = root.and_then(|root| root.add(&Number::whole(-10_000_000_000))).expect("a number");
        assert!(difference.written().expect_err("nothing is known").contains("cancel out"));
    }
}
