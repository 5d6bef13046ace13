//! The functions of an expression.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Pow, Signed, ToPrimitive, Zero};

use super::number::{Number, TOO_LARGE};
use super::units::{Quantity, Units, convert};

/// Largest number whose factorial is calculated.
const MAX_FACTORIAL: u32 = 3_000;
/// Largest position in the sequence of Fibonacci.
const MAX_FIBONACCI: u32 = 20_000;
/// Most decimals to round to.
const MAX_PLACES: i32 = 30;

/// Names of all functions, for errors and documentation.
pub(super) const NAMES: &str = "sqrt, cbrt, abs, round, floor, ceil, trunc, min, max, sum, product, avg, median, pow, \
    mod, factorial, gcd, lcm, comb, perm, fibonacci, exp, ln, log2, log10, sin, cos, tan, asin, acos, atan";

/// The one name of a function that may be written in several ways; `None` for what is no function.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "avg" | "average" | "mean" => "avg",
        "prod" | "product" => "product",
        "ceil" | "ceiling" => "ceil",
        "trunc" | "int" => "trunc",
        "pow" | "power" => "pow",
        "mod" | "fmod" => "mod",
        "factorial" | "fact" => "factorial",
        "comb" | "choose" | "binomial" | "binom" | "ncr" | "combinations" => "comb",
        "perm" | "npr" | "permutations" => "perm",
        "fibonacci" | "fib" => "fibonacci",
        other => NAMES.split(", ").find(|known| *known == other)?,
    })
}

/// What to write for a function that is refused because its name means several things.
pub(super) fn advice(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "log" => Some("write ln(x) for the natural logarithm, log10(x) or log2(x)"),
        "len" | "count" => Some("count by yourself, or use avg and sum"),
        "stdev" | "std" | "var" | "variance" => {
            Some("a sample and a population differ here: write it with sum, sqrt and the count")
        }
        "radians" | "degrees" => Some("write the unit: sin(30 deg), (pi rad) to deg"),
        "today" | "now" | "curdate" | "current_date" | "yesterday" | "tomorrow" => {
            Some("there is no clock here, so write dates out, as in date('2026-12-25') - date('2026-03-01')")
        }
        "date" | "datetime" | "new" | "timedelta" | "parse_date" | "to_date" | "strptime" | "timestamp" => {
            Some("write dates as 2026-12-25 or date('2026-12-25'), and 2026-12-25 + 3 weeks")
        }
        "datediff" | "date_diff" | "days" | "dateadd" | "date_add" | "add_days" | "timedelta_days" => {
            Some("write days_between('2026-03-01', '2026-12-25'), or 2026-12-25 + 30 days")
        }
        "weekday" | "day_of_week" | "dayofweek" | "dayname" => {
            Some("the weekday is a name, so it stands alone: weekday('2026-12-25')")
        }
        "jan" | "feb" | "mar" | "apr" | "jun" | "jul" | "aug" | "sep" | "oct" | "nov" | "dec" | "january"
        | "february" | "march" | "april" | "june" | "july" | "august" | "september" | "october" | "november"
        | "december" => Some("write dates as 2026-12-25"),
        _ => None,
    }
}

/// Whether a function takes any number of arguments, a list among them.
pub(super) fn takes_list(name: &str) -> bool {
    matches!(name, "min" | "max" | "sum" | "product" | "avg" | "median" | "gcd" | "lcm")
}

/// The value of the function called `name`, one of those that [`known`] gives.
///
/// # Errors
/// What is wrong with the arguments.
pub(super) fn call(name: &str, arguments: &[Quantity]) -> Result<Quantity, String> {
    if takes_list(name) {
        return call_list(name, arguments);
    }
    match (name, arguments) {
        ("round", [value, places]) => rounded(name, value, places.unitless("the number of decimals")?),
        ("round" | "floor" | "ceil" | "trunc", [value]) => rounded(name, value, &Number::whole(0)),
        ("abs", [value]) => Ok(if value.number.is_negative() { value.negated() } else { value.clone() }),
        ("pow", [base, exponent]) => base.pow(exponent),
        ("mod", [left, right]) => modulo(left, right),
        ("sqrt", [value]) => root(value, 2),
        ("cbrt", [value]) => root(value, 3),
        ("factorial", [value]) => factorial(value),
        ("fibonacci", [value]) => fibonacci(value),
        ("comb" | "perm", [total, chosen]) => selections(name, total, chosen),
        ("sin" | "cos" | "tan", [value]) => trigonometric(name, value),
        ("asin" | "acos" | "atan", [value]) => inverse_trigonometric(name, value),
        ("exp" | "ln" | "log2" | "log10", [value]) => exponential(name, value),
        ("pow" | "mod" | "comb" | "perm", _) => Err(arity(name, "two arguments", arguments.len())),
        ("round", _) => Err(arity(name, "one or two arguments", arguments.len())),
        _ => Err(arity(name, "one argument", arguments.len())),
    }
}

fn arity(name: &str, takes: &str, given: usize) -> String {
    format!("{name} takes {takes}, not {given}; write 1.5 for a decimal point, and 1000 without separators")
}

fn call_list(name: &str, arguments: &[Quantity]) -> Result<Quantity, String> {
    let (first, rest) = arguments.split_first().ok_or_else(|| format!("{name} needs at least one argument"))?;
    let fold = |with: fn(&Quantity, &Quantity) -> Result<Quantity, String>| {
        rest.iter().try_fold(first.clone(), |left, right| with(&left, right))
    };
    match name {
        "sum" => fold(Quantity::add),
        "product" => fold(Quantity::mul),
        "avg" => {
            let count = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
            fold(Quantity::add)?.div(&Quantity::plain(Number::whole(count)))
        }
        "min" => fold(|left, right| if is_less(right, left)? { Ok(right.clone()) } else { Ok(left.clone()) }),
        "max" => fold(|left, right| if is_less(left, right)? { Ok(right.clone()) } else { Ok(left.clone()) }),
        "median" => median(arguments),
        _ => {
            let numbers = arguments.iter().map(|number| whole(name, number)).collect::<Result<Vec<_>, _>>()?;
            let start = numbers[0].abs();
            let result = numbers[1..].iter().try_fold(start, |left, right| match name {
                "gcd" => Ok(gcd(&left, right)),
                _ if left.is_zero() || right.is_zero() => Ok(BigInt::zero()),
                _ => Ok::<_, String>((&left / gcd(&left, right) * right).abs()),
            })?;
            Ok(Quantity::plain(Number::exact(BigRational::from_integer(result))?))
        }
    }
}

fn is_less(left: &Quantity, right: &Quantity) -> Result<bool, String> {
    let right = convert(&right.number, &right.units, &left.units)?;
    let order = left.number.compare(&right)?;
    order.map(std::cmp::Ordering::is_lt).ok_or_else(|| "two rounded numbers are too close to compare".to_owned())
}

fn median(arguments: &[Quantity]) -> Result<Quantity, String> {
    let mut sorted: Vec<&Quantity> = Vec::new();
    for argument in arguments {
        let mut at = sorted.len();
        while at > 0 && is_less(argument, sorted[at - 1])? {
            at -= 1;
        }
        sorted.insert(at, argument);
    }
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return Ok(sorted[middle].clone());
    }
    sorted[middle - 1].add(sorted[middle])?.div(&Quantity::plain(Number::whole(2)))
}

fn gcd(left: &BigInt, right: &BigInt) -> BigInt {
    let (mut left, mut right) = (left.abs(), right.abs());
    while !right.is_zero() {
        (left, right) = (right.clone(), left % right);
    }
    left
}

fn whole(name: &str, value: &Quantity) -> Result<BigInt, String> {
    match value.unitless(name)? {
        Number::Exact(ratio) if ratio.is_integer() => Ok(ratio.to_integer()),
        _ => Err(format!("{name} takes whole numbers")),
    }
}

fn small(name: &str, value: &Quantity, most: u32) -> Result<u32, String> {
    let number = whole(name, value)?;
    if number.is_negative() {
        return Err(format!("{name} takes no number below zero"));
    }
    number.to_u32().filter(|number| *number <= most).ok_or_else(|| format!("{TOO_LARGE}; {name} takes at most {most}"))
}

/// Halves are rounded away from zero.
fn rounded(name: &str, value: &Quantity, places: &Number) -> Result<Quantity, String> {
    let places = match places {
        Number::Exact(places) if places.is_integer() => places.to_integer().to_i32(),
        _ => None,
    };
    let places = places
        .filter(|places| (0..=MAX_PLACES).contains(places))
        .ok_or_else(|| format!("round takes a whole number of decimals, 0 to {MAX_PLACES}"))?;
    let scale = Number::Exact(BigRational::from_integer(Pow::pow(&BigInt::from(10), places.unsigned_abs())));
    let rounding = match name {
        "floor" => BigRational::floor,
        "ceil" => BigRational::ceil,
        "trunc" => BigRational::trunc,
        _ => BigRational::round,
    };
    let number = value.number.mul(&scale)?.rounded(rounding)?.div(&scale)?;
    Ok(Quantity { number, is_percentage: false, ..value.clone() })
}

/// The rest of a division, for numbers of which none is below zero: there, all languages agree.
pub(super) fn modulo(left: &Quantity, right: &Quantity) -> Result<Quantity, String> {
    if left.number.is_negative() || right.number.is_negative() {
        return Err("mod has several meanings for numbers below zero; give numbers above".to_owned());
    }
    let divisor = Quantity { number: convert(&right.number, &right.units, &left.units)?, ..left.clone() };
    let times = left.div(&divisor)?;
    let whole = Quantity { number: times.number.rounded(BigRational::floor)?, ..times };
    left.add(&divisor.mul(&whole)?.negated()).map(|rest| Quantity { is_percentage: false, ..rest })
}

/// The whole part of a division, as `//` gives it.
pub(super) fn whole_division(left: &Quantity, right: &Quantity) -> Result<Quantity, String> {
    if left.number.is_negative() || right.number.is_negative() {
        return Err("// has several meanings for numbers below zero; write floor(a / b) or trunc(a / b)".to_owned());
    }
    rounded("floor", &left.div(right)?, &Number::whole(0))
}

pub(super) fn root(value: &Quantity, degree: i64) -> Result<Quantity, String> {
    let number = value.unitless("a root")?;
    if number.is_zero() {
        return Ok(value.clone());
    }
    if number.is_negative() && degree == 2 {
        return Err("the square root of a number below zero is no real number".to_owned());
    }
    let exponent = Quantity::plain(Number::whole(1)).div(&Quantity::plain(Number::whole(degree)))?;
    if number.is_negative() {
        return Ok(value.negated().pow(&exponent)?.negated());
    }
    value.pow(&exponent)
}

pub(super) fn factorial(value: &Quantity) -> Result<Quantity, String> {
    let most = small("factorial", value, MAX_FACTORIAL)?;
    let product = (2..=most).fold(BigInt::from(1), |product, factor| product * factor);
    Ok(Quantity::plain(Number::exact(BigRational::from_integer(product))?))
}

fn fibonacci(value: &Quantity) -> Result<Quantity, String> {
    let position = small("fibonacci", value, MAX_FIBONACCI)?;
    let (mut this, mut next) = (BigInt::from(0), BigInt::from(1));
    for _ in 0..position {
        (this, next) = (next.clone(), this + next);
    }
    Ok(Quantity::plain(Number::exact(BigRational::from_integer(this))?))
}

/// Ways to choose, with order (`perm`) or without (`comb`).
pub(super) fn selections(name: &str, total: &Quantity, chosen: &Quantity) -> Result<Quantity, String> {
    let (total, chosen) = (small(name, total, u32::MAX)?, small(name, chosen, u32::MAX)?);
    if chosen > total {
        return Ok(Quantity::plain(Number::whole(0)));
    }
    let factors = if name == "comb" { chosen.min(total - chosen) } else { chosen };
    if factors > MAX_FACTORIAL {
        return Err(TOO_LARGE.to_owned());
    }
    let mut result = BigInt::from(1);
    for step in 0..factors {
        result *= total - step;
        if name == "comb" {
            result /= step + 1;
        }
    }
    Ok(Quantity::plain(Number::exact(BigRational::from_integer(result))?))
}

/// An angle in radians, with its error.
fn angle(name: &str, value: &Quantity) -> Result<(f64, f64), String> {
    let radians = Units::named("rad").unwrap_or_default();
    if value.units.is_angle() {
        return convert(&value.number, &value.units, &radians)?.floats();
    }
    let number = value.unitless(name)?;
    if value.has_pi || number.is_zero() {
        return number.floats();
    }
    Err(format!("{name} needs the unit of its angle: {name}(30 deg) or {name}(0.5 rad)"))
}

fn trigonometric(name: &str, value: &Quantity) -> Result<Quantity, String> {
    let (radians, error) = angle(name, value)?;
    if radians.abs() > 1e6 {
        return Err(format!("{name} takes angles up to a million radians"));
    }
    let (result, slope) = match name {
        "sin" => (radians.sin(), 1.0),
        "cos" => (radians.cos(), 1.0),
        _ => (radians.tan(), 1.0 + radians.tan().powi(2)),
    };
    if slope * error > 1e-6 {
        return Err(format!("{name} has no value there"));
    }
    Ok(Quantity::plain(Number::near(result, slope * error + f64::EPSILON)?))
}

fn inverse_trigonometric(name: &str, value: &Quantity) -> Result<Quantity, String> {
    let (ratio, error) = value.unitless(name)?.floats()?;
    if name != "atan" && ratio.abs() > 1.0 {
        return Err(format!("{name} takes numbers from -1 to 1"));
    }
    let (result, slope) = match name {
        "asin" => (ratio.asin(), 1.0 / (1.0 - ratio * ratio).max(f64::EPSILON).sqrt()),
        "acos" => (ratio.acos(), 1.0 / (1.0 - ratio * ratio).max(f64::EPSILON).sqrt()),
        _ => (ratio.atan(), 1.0),
    };
    let units = Units::named("rad").unwrap_or_default();
    Ok(Quantity { units, ..Quantity::plain(Number::near(result, slope * error)?) })
}

fn exponential(name: &str, value: &Quantity) -> Result<Quantity, String> {
    let (number, error) = value.unitless(name)?.floats()?;
    if name == "exp" {
        let result = number.exp();
        return Ok(Quantity::plain(Number::near(result, result * (2.0 * error + f64::EPSILON))?));
    }
    if number - error <= 0.0 {
        return Err(format!("{name} takes numbers above zero"));
    }
    let (result, base) = match name {
        "ln" => (number.ln(), 1.0),
        "log2" => (number.log2(), std::f64::consts::LN_2),
        _ => (number.log10(), std::f64::consts::LN_10),
    };
    Ok(Quantity::plain(Number::near(result, error / (number - error) / base)?))
}
