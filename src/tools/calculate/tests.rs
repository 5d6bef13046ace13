use proptest::prelude::*;

use super::super::inputs::test_context;
use super::*;

mod dates;

async fn calculate(expression: &str) -> ToolResult {
    Calculate.call(&test_context(), json!({ "expression": expression })).await
}

fn value(expression: &str) -> (String, bool) {
    let answer = evaluate(expression).unwrap_or_else(|reason| panic!("{expression}: {reason}"));
    (answer["value"].as_str().expect("text").to_owned(), answer["exact"].as_bool().expect("a flag"))
}

fn refusal(expression: &str) -> String {
    match evaluate(expression) {
        Err(reason) => reason,
        Ok(answer) => panic!("{expression} gave {answer}"),
    }
}

#[test]
fn what_models_write_has_its_value() {
    for (expression, expected) in [
        ("10!", "3628800"),
        ("factorial(10)", "3628800"),
        ("math.factorial(10)", "3628800"),
        ("factorial of 10", "3628800"),
        ("the factorial of 10", "3628800"),
        ("What is the factorial of 10?", "3628800"),
        ("10 factorial", "3628800"),
        ("factorial of (3 + 2) plus 1", "121"),
        ("2 plus 3 times 4", "14"),
        ("2 to the power of 64", "18446744073709551616"),
        ("2**10", "1024"),
        ("2^10", "1024"),
        ("pow(2, 10)", "1024"),
        ("Math.pow(2,10)", "1024"),
        ("2^3^2", "512"),
        ("-2^2", "-4"),
        ("2^-2", "0.25"),
        ("3 × 4 ÷ 2", "6"),
        ("3 x 4", "12"),
        ("7 − 9", "-2"),
        ("square root of 16", "4"),
        ("sqrt(16)", "4"),
        ("√16 + √(9)", "7"),
        ("sqrt(2.25)", "1.5"),
        ("cbrt(-27)", "-3"),
        ("8^(1/3)", "2"),
        ("0.1 + 0.2", "0.3"),
        ("19.99 * 3", "59.97"),
        ("1.5 + 1", "2.5"),
        ("12% of 80", "9.6"),
        ("12 percent of 80", "9.6"),
        ("80 * 15%", "12"),
        ("5% + 3%", "0.08"),
        ("10 % 3", "1"),
        ("10%3", "1"),
        ("10 mod 3", "1"),
        ("mod(7.5, 2)", "1.5"),
        ("7 // 2", "3"),
        ("7 squared", "49"),
        ("5²+2³", "33"),
        ("-5 - -5", "0"),
        ("sum(1,2,3)", "6"),
        ("sum([1, 2, 3])", "6"),
        ("SUM(1, 2, 3) / 3", "2"),
        ("avg(1, 2, 4, 5)", "3"),
        ("mean([2.5, 3.5])", "3"),
        ("median(3, 1, 2)", "2"),
        ("median(4, 1, 2, 3)", "2.5"),
        ("max(3, 10, 7)", "10"),
        ("min(0.5, 1/3 + 1/6, -2)", "-2"),
        ("max(1,5)", "5"),
        ("max(-1,5)", "5"),
        ("max(-1,-5)", "-1"),
        ("sum(1, 5+2, 5)", "13"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(19.987, 2)", "19.99"),
        ("round(9007199254740993.5)", "9007199254740994"),
        ("floor(-1.5) + ceil(1.2) + trunc(-1.9)", "-1"),
        ("floor(12345678901234567890123 / 10)", "1234567890123456789012"),
        ("abs(-3)", "3"),
        ("gcd(12, 18)", "6"),
        ("lcm(4, 6)", "12"),
        ("comb(5, 2)", "10"),
        ("5 choose 2", "10"),
        ("perm(5, 2)", "20"),
        ("fibonacci(90)", "2880067194370816120"),
        ("1_000_000 + 1", "1000001"),
        ("1e6 * 3", "3000000"),
        ("2 + 2 =", "4"),
        ("1/8", "0.125"),
        ("(1/3) * 3", "1"),
    ] {
        assert_eq!(value(expression), (expected.to_owned(), true), "{expression}");
    }
}

#[test]
fn units_of_one_size_are_converted_exactly() {
    for (expression, expected) in [
        ("5 km to m", "5000 m"),
        ("3 MW to kW", "3000 kW"),
        ("5 mW + 1 W", "1005 mW"),
        ("5 km to miles", "3.10685596118667 mi"),
        ("26.2 miles to km", "42.1648128 km"),
        ("12 in to cm", "30.48 cm"),
        ("6 ft in cm", "182.88 cm"),
        ("90 km/h to m/s", "25 m/s"),
        ("60 km / 2 h", "30 km/h"),
        ("2 m * 300 cm to m^2", "6 m^2"),
        ("1500 MB / 3 MB", "500"),
        ("1 GiB to MiB", "1024 MiB"),
        ("100 Mbit/s * 8 s to MB", "100 MB"),
        ("90 min to hours", "1.5 h"),
        ("20 °C to °F", "68 °F"),
        ("-40 °F to °C", "-40 °C"),
        ("300 K to °C", "26.85 °C"),
        ("max(5 min, 299 s)", "5 min"),
        ("10% of 5 km", "0.5 km"),
    ] {
        assert_eq!(value(expression).0, expected, "{expression}");
    }
    assert!(value("5 km to m").1 && !value("5 km to miles").1);
}

#[test]
fn a_rounded_result_is_not_called_exact() {
    for (expression, start) in [
        ("1/3", "0.33333"),
        ("sqrt(2)", "1.41421356"),
        ("2^0.5", "1.41421356"),
        ("pi", "3.14159265"),
        ("e", "2.718281828"),
        ("ln(10)", "2.302585"),
        ("log10(1000)", "3"),
        ("log2(8)", "3"),
        ("exp(1)", "2.71828"),
        ("sin(30 deg)", "0.5"),
        ("sin(30°)", "0.5"),
        ("cos(pi)", "-1"),
        ("sin(pi)", "0"),
        ("tan(0.5 rad)", "0.546302"),
        ("asin(1) to deg", "90"),
        ("sqrt(2) * sqrt(2)", "2"),
        ("10^30 / 3", "333333333333333333333333333333.33"),
        ("round(sqrt(2), 3) + 1/3", "1.747333"),
    ] {
        let (text, exact) = value(expression);
        assert!(text.starts_with(start) && !exact, "{expression}: {text}, {exact}");
    }
}

#[test]
fn what_has_two_readings_is_refused_with_the_forms_that_have_one() {
    for (expression, advice) in [
        ("1,5 + 1", "1.5 for a decimal point"),
        ("19,99 * 3", "1.5 for a decimal point"),
        ("1,000 * 3", "1000 without separators"),
        ("1.000.000 / 2", "without thousands separators"),
        ("1.000,50 + 1", "1000 without separators"),
        ("1 000 + 1", "without spaces (1000)"),
        ("1'000 + 1", "1000 for 1'000"),
        ("sqrt(2,25)", "1.5 for a decimal point"),
        ("round(2,5)", "1.5 for a decimal point"),
        ("sum(1,200, 3,400)", "1000 without separators"),
        ("sum(1,200,3,400)", "1000 without separators"),
        ("max(1,5, 2,5)", "a space behind each comma"),
        ("sum(1,5+2,5)", "a space behind each comma"),
        ("max(1,5 * 3)", "a space behind each comma"),
        ("max(2*1,5)", "a space behind each comma"),
        ("2(3 + 4)", "write * to multiply"),
        ("(1 + 2)(3 + 4)", "write * to multiply"),
        ("2 pi", "write * to multiply"),
        ("6/2(1+2)", "write * to multiply"),
        ("80 + 12%", "80 * 1.05"),
        ("80 - (5%)", "80 * 1.05"),
        ("sum(80, 5%)", "80 * 1.05"),
        ("5 % -3", "mod(5, 3)"),
        ("10% 3", "mod(10, 3)"),
        ("-7 mod 3", "give numbers above"),
        ("-7 // 2", "floor(a / b)"),
        ("log(100)", "log10(x)"),
        ("sin(30)", "sin(30 deg)"),
        ("square root of 16 plus 9", "sqrt(16) + 9"),
        ("5 KB to bytes", "KiB"),
        ("20 C to F", "°C"),
        ("20 °C + 5 °C", "can be converted"),
        ("2 months to days", "give days"),
        ("3 million * 2", "1e6"),
        ("5k + 1", "1e3"),
        ("3M * 2", "1e6"),
        ("2B + 1", "1e9"),
        ("5 gallons to L", "several sizes"),
        ("$5 + $3", "leave the currency out"),
        ("5 USD to EUR", "exchange rates"),
        ("5 m + 3 s", "measure different things"),
        ("5!!", "(n!)!"),
        ("|-3|", "abs(x)"),
        ("½ + 1", "1/2"),
        ("5 – 3", "write - for minus"),
        ("1 << 4", "power of 2"),
        ("0x10 + 1", "base ten"),
        ("3x", "missing at its end"),
        ("x = 5", "one expression"),
        ("x * 5", "functions are"),
        ("10 = 10", "one expression"),
        ("3 > 2", "comparisons"),
        ("today - 5", "dates"),
        (r"\frac{1}{2}", "LaTeX"),
        ("(x: x x) (x: x x)", "is not understood"),
        ("\"text\"", "texts"),
        ("roll d6", "functions are"),
        ("sqrt(-1)", "no real number"),
        ("0^0", "has no value"),
        ("0^-1", "has no value"),
        ("1 / 0", "divides by zero"),
        ("5 mod 0", "divides by zero"),
        ("ln(0)", "above zero"),
        ("(-8)^(1/3)", "above zero"),
        ("factorial(2.5)", "whole numbers"),
        ("factorial(-1)", "below zero"),
        ("sqrt", "in brackets"),
        ("1 +", "missing"),
        ("(1 + 2", "missing"),
        ("1 + 2)", "not expected"),
        ("sum()", "at least one"),
        ("pow(2)", "two arguments"),
        ("sqrt(10^20 + 1) - 10^10", "cancel out"),
        ("1 / (sqrt(2)^2 - 2)", "may be zero"),
        ("", "empty"),
        (" ", "empty"),
    ] {
        let reason = refusal(expression);
        assert!(reason.contains(advice), "{expression}: {reason}");
    }
}

#[tokio::test]
async fn a_refusal_shows_the_expression() {
    let failure = calculate("1,5 + 1").await.expect_err("refused");
    assert!(failure.message.starts_with("cannot calculate \"1,5 + 1\": a comma has two meanings"), "{failure}");
    let failure = calculate(&"1+".repeat(400)).await.expect_err("too long");
    assert!(failure.message.contains("at most 500"), "{failure}");
}

#[test]
fn what_would_run_away_is_refused_at_once() {
    let started = std::time::Instant::now();
    for expression in [
        "9^9^9^9",
        "10^10^10^10",
        "9999999!",
        "fibonacci(99999999)",
        "2^99999999",
        "sqrt(2^99999999)",
        "99999999 choose 50000000",
        "ln(9^9^9)",
        "(1/3)^9999999",
        "0.1^99999999",
        "10^-999999999",
        "2^(1/999999999)^9999999",
        "3000!^30",
        "sqrt(2)*10^20 - sqrt(2)*10^20",
        "1e18*pi - 1e18*pi",
    ] {
        let reason = refusal(expression);
        assert!(reason.contains("too large") || reason.contains("precisely"), "{expression}: {reason}");
    }
    assert!(refusal("1e999999999").contains("exponent"));
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "took {:?}", started.elapsed());
    assert!(value("3000!").0.len() > 9000);
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    for expression in ["(".repeat(400), "-".repeat(400) + "1", "1".to_owned() + &"^2".repeat(200)] {
        assert!(refusal(&expression).contains("nested too deeply"), "{expression}");
    }
    for expression in ["abs(".repeat(100), "√".repeat(160), "1".to_owned() + &"!".repeat(200)] {
        refusal(&expression);
    }
    assert_eq!(value(&("- ".repeat(40) + "1")).0, "1");
}

/// A fraction in lowest terms, calculated without any of the code under test.
type Fraction = (i128, i128);

fn reduced(numerator: i128, denominator: i128) -> Option<Fraction> {
    let (mut a, mut b) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = i128::try_from(a).ok().filter(|divisor| *divisor != 0)?;
    let sign = denominator.signum();
    Some((numerator / divisor * sign, denominator / divisor * sign)).filter(|(n, d)| *d < 1 << 40 && n.abs() < 1 << 60)
}

/// An expression as text, how tightly its outermost operator binds, and its value; `None` when that is not sure.
#[derive(Clone, Debug)]
struct Sample {
    text: String,
    /// 1 sum, 2 product, 3 sign, 4 power, 5 what stands alone.
    binds: u8,
    value: Option<Fraction>,
}

impl Sample {
    fn within(&self, least: u8, brackets: bool) -> String {
        if self.binds < least || brackets { format!("({})", self.text) } else { self.text.clone() }
    }
}

fn leaf() -> impl Strategy<Value = Sample> {
    (0_i128..1000, 0_u32..4).prop_map(|(digits, decimals)| {
        let scale = 10_i128.pow(decimals);
        let width = usize::try_from(decimals).expect("small");
        let text = match decimals {
            0 => digits.to_string(),
            _ => format!("{}.{:0width$}", digits / scale, digits % scale),
        };
        Sample { text, binds: 5, value: reduced(digits, scale) }
    })
}

fn binary(operator: u8, spaces: bool, brackets: bool, left: &Sample, right: &Sample) -> Sample {
    let both = left.value.zip(right.value);
    let (symbol, binds, value) = match operator {
        0 => ("+", 1, both.and_then(|((a, b), (c, d))| reduced(a * d + c * b, b * d))),
        1 => ("-", 1, both.and_then(|((a, b), (c, d))| reduced(a * d - c * b, b * d))),
        2 => ("*", 2, both.and_then(|((a, b), (c, d))| reduced(a * c, b * d))),
        3 => ("×", 2, both.and_then(|((a, b), (c, d))| reduced(a * c, b * d))),
        4 => ("÷", 2, both.filter(|(_, (c, _))| *c != 0).and_then(|((a, b), (c, d))| reduced(a * d, b * c))),
        _ => ("/", 2, both.filter(|(_, (c, _))| *c != 0).and_then(|((a, b), (c, d))| reduced(a * d, b * c))),
    };
    let gap = if spaces { " " } else { "" };
    let (first, second) = (left.within(binds, brackets), right.within(binds + 1, brackets));
    Sample { text: format!("{first}{gap}{symbol}{gap}{second}"), binds, value }
}

fn list(function: u8, items: &[Sample]) -> Sample {
    let values: Option<Vec<Fraction>> = items.iter().map(|item| item.value).collect();
    let less = |(a, b): &Fraction, (c, d): &Fraction| a * d < c * b;
    let add = |sum: Fraction, (c, d): &Fraction| reduced(sum.0 * d + c * sum.1, sum.1 * d);
    let total = |values: &[Fraction]| values.iter().try_fold((0, 1), add);
    let (name, value) = match function {
        0 => ("sum", values.as_deref().and_then(total)),
        1 => ("max", values.and_then(|all| all.into_iter().reduce(|a, b| if less(&a, &b) { b } else { a }))),
        2 => ("min", values.and_then(|all| all.into_iter().reduce(|a, b| if less(&b, &a) { b } else { a }))),
        _ => {
            let count = i128::try_from(items.len()).expect("few");
            ("avg", values.as_deref().and_then(total).and_then(|(a, b)| reduced(a, b * count)))
        }
    };
    let texts: Vec<&str> = items.iter().map(|item| item.text.as_str()).collect();
    Sample { text: format!("{name}({})", texts.join(", ")), binds: 5, value }
}

fn unary(function: u8, inner: &Sample) -> Sample {
    let call = |name: &str| format!("{name}({})", inner.text);
    let floor = |(a, b): Fraction| (a.div_euclid(b), 1);
    match function {
        0 => {
            Sample { text: format!("-{}", inner.within(3, false)), binds: 3, value: inner.value.map(|(a, b)| (-a, b)) }
        }
        1 => Sample { text: call("abs"), binds: 5, value: inner.value.map(|(a, b)| (a.abs(), b)) },
        2 => Sample { text: call("floor"), binds: 5, value: inner.value.map(floor) },
        3 => Sample {
            text: call("round"),
            binds: 5,
            value: inner.value.map(|(a, b)| (a.signum() * ((2 * a.abs() + b) / (2 * b)), 1)),
        },
        4 => Sample {
            text: format!("{}^2", inner.within(5, false)),
            binds: 4,
            value: inner.value.and_then(|(a, b)| reduced(a.checked_mul(a)?, b.checked_mul(b)?)),
        },
        _ => Sample {
            text: format!("{}**3", inner.within(5, false)),
            binds: 4,
            value: inner
                .value
                .and_then(|(a, b)| reduced(a.checked_mul(a)?.checked_mul(a)?, b.checked_mul(b)?.checked_mul(b)?)),
        },
    }
}

fn expression() -> impl Strategy<Value = Sample> {
    leaf().prop_recursive(5, 24, 4, |inner| {
        prop_oneof![
            4 => (0_u8..6, any::<bool>(), any::<bool>(), inner.clone(), inner.clone())
                .prop_map(|(operator, spaces, brackets, left, right)| binary(operator, spaces, brackets, &left, &right)),
            1 => (0_u8..6, inner.clone()).prop_map(|(function, inner)| unary(function, &inner)),
            1 => (0_u8..4, prop::collection::vec(inner, 1..4)).prop_map(|(function, items)| list(function, &items)),
        ]
    })
}

/// `text` as a fraction.
fn read(text: &str) -> Option<Fraction> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    reduced(sign * format!("{whole}{decimals}").parse::<i128>().ok()?, scale)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_value_is_that_of_a_reference(sample in expression()) {
        prop_assume!(sample.text.len() <= MAX_INPUT);
        let Some((numerator, denominator)) = sample.value else { return Ok(()) };
        let answer = evaluate(&sample.text).map_err(|reason| TestCaseError::fail(format!("{}: {reason}", sample.text)))?;
        let text = answer["value"].as_str().expect("text");
        if answer["exact"] == json!(true) {
            if let Some(exact) = read(text) {
                prop_assert_eq!(exact, (numerator, denominator), "{}", sample.text);
            }
        } else {
            let is_finite = { let mut rest = denominator; for prime in [2, 5] { while rest % prime == 0 { rest /= prime; } } rest == 1 };
            prop_assert!(!is_finite, "{} = {text} is exact", sample.text);
            #[expect(clippy::cast_precision_loss, reason = "compared as floats")]
            let expected = numerator as f64 / denominator as f64;
            let found: f64 = text.parse().expect("a number");
            prop_assert!((found - expected).abs() <= 1e-13 * expected.abs(), "{} = {text}, not {expected}", sample.text);
        }
    }

    /// A number with a separator in it never counts as another number.
    #[test]
    fn separators_within_numbers_are_never_read(
        left in 1_u32..999, right in 0_u32..999, separator in prop::sample::select(vec![",", " ", "'", "\u{a0}", "\u{202f}", "."]),
        tail in prop::sample::select(vec!["", " + 1", " * 3", "%", "!", " to km"]),
    ) {
        let expression = format!("{left}{separator}{right:03}{separator}{right:03}{tail}");
        prop_assert!(evaluate(&expression).is_err(), "{}", expression);
    }

    /// Whatever is given, it is calculated or refused, and never breaks down.
    #[test]
    fn nothing_breaks_it(expression in "([0-9.,+*/^!%() a-zTZ:'√²°\\[\\]-]|2026-12-25|date\\(| days){0,60}") {
        drop(evaluate(&expression));
    }
}
