//! Units whose size is exact and known by one name only, and quantities: numbers with units.

use num_bigint::BigInt;
use num_rational::BigRational;

use super::number::Number;

/// Powers of metre, kilogram, second, kelvin, ampere, bit and degree of angle.
type Dimension = [i32; 7];

/// A unit.
struct Unit {
    /// How it may be written; results show the first.
    names: &'static [&'static str],
    /// How many of the base units it is: a fraction.
    size: (i64, i64),
    dimension: Dimension,
}

const fn unit(names: &'static [&'static str], numerator: i64, denominator: i64, dimension: Dimension) -> Unit {
    Unit { names, size: (numerator, denominator), dimension }
}

const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0];
const AREA: Dimension = [2, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 1, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 0, 1, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 1, 0, 0, 0];
const CURRENT: Dimension = [0, 0, 0, 0, 1, 0, 0];
const DATA: Dimension = [0, 0, 0, 0, 0, 1, 0];
const ANGLE: Dimension = [0, 0, 0, 0, 0, 0, 1];
const SPEED: Dimension = [1, 0, -1, 0, 0, 0, 0];
const FREQUENCY: Dimension = [0, 0, -1, 0, 0, 0, 0];
const FORCE: Dimension = [1, 1, -2, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, 1, -2, 0, 0, 0, 0];
const ENERGY: Dimension = [2, 1, -2, 0, 0, 0, 0];
const POWER: Dimension = [2, 1, -3, 0, 0, 0, 0];
const VOLTAGE: Dimension = [2, 1, -3, 0, -1, 0, 0];

const UNITS: &[Unit] = &[
    unit(&["m", "meter", "meters", "metre", "metres"], 1, 1, LENGTH),
    unit(&["km", "kilometer", "kilometers", "kilometre", "kilometres"], 1000, 1, LENGTH),
    unit(&["cm"], 1, 100, LENGTH),
    unit(&["mm"], 1, 1000, LENGTH),
    unit(&["µm", "μm", "um"], 1, 1_000_000, LENGTH),
    unit(&["nm"], 1, 1_000_000_000, LENGTH),
    unit(&["mi", "mile", "miles"], 1_609_344, 1000, LENGTH),
    unit(&["yd", "yard", "yards"], 9144, 10_000, LENGTH),
    unit(&["ft", "foot", "feet"], 3048, 10_000, LENGTH),
    unit(&["in", "inch", "inches"], 254, 10_000, LENGTH),
    unit(&["nmi"], 1852, 1, LENGTH),
    unit(&["ha", "hectare", "hectares"], 10_000, 1, AREA),
    unit(&["acre", "acres"], 40_468_564_224, 10_000_000, AREA),
    unit(&["L", "l", "liter", "liters", "litre", "litres"], 1, 1000, VOLUME),
    unit(&["dL", "dl"], 1, 10_000, VOLUME),
    unit(&["cL", "cl"], 1, 100_000, VOLUME),
    unit(&["mL", "ml"], 1, 1_000_000, VOLUME),
    unit(&["kg", "kilogram", "kilograms"], 1, 1, MASS),
    unit(&["g", "gram", "grams"], 1, 1000, MASS),
    unit(&["mg"], 1, 1_000_000, MASS),
    unit(&["µg", "μg", "ug"], 1, 1_000_000_000, MASS),
    unit(&["t", "tonne", "tonnes"], 1000, 1, MASS),
    unit(&["lb", "lbs"], 45_359_237, 100_000_000, MASS),
    unit(&["oz"], 45_359_237, 1_600_000_000, MASS),
    unit(&["s", "sec", "second", "seconds"], 1, 1, TIME),
    unit(&["ms", "millisecond", "milliseconds"], 1, 1000, TIME),
    unit(&["µs", "μs", "us", "microsecond", "microseconds"], 1, 1_000_000, TIME),
    unit(&["ns", "nanosecond", "nanoseconds"], 1, 1_000_000_000, TIME),
    unit(&["min", "minute", "minutes"], 60, 1, TIME),
    unit(&["h", "hr", "hrs", "hour", "hours"], 3600, 1, TIME),
    unit(&["d", "day", "days"], 86_400, 1, TIME),
    unit(&["week", "weeks"], 604_800, 1, TIME),
    unit(&["K", "kelvin"], 1, 1, TEMPERATURE),
    unit(&["°C", "degC", "celsius", "Celsius"], 1, 1, TEMPERATURE),
    unit(&["°F", "degF", "fahrenheit", "Fahrenheit"], 5, 9, TEMPERATURE),
    unit(&["A"], 1, 1, CURRENT),
    unit(&["mA"], 1, 1000, CURRENT),
    unit(&["bit", "bits"], 1, 1, DATA),
    unit(&["kbit"], 1000, 1, DATA),
    unit(&["Mbit"], 1_000_000, 1, DATA),
    unit(&["Gbit"], 1_000_000_000, 1, DATA),
    unit(&["B", "byte", "bytes"], 8, 1, DATA),
    unit(&["kB"], 8000, 1, DATA),
    unit(&["MB"], 8_000_000, 1, DATA),
    unit(&["GB"], 8_000_000_000, 1, DATA),
    unit(&["TB"], 8_000_000_000_000, 1, DATA),
    unit(&["KiB"], 8 << 10, 1, DATA),
    unit(&["MiB"], 8 << 20, 1, DATA),
    unit(&["GiB"], 8 << 30, 1, DATA),
    unit(&["TiB"], 8 << 40, 1, DATA),
    unit(&["deg", "°", "degree", "degrees"], 1, 1, ANGLE),
    unit(&["rad", "radian", "radians"], 1, 1, ANGLE),
    unit(&["mph"], 1_609_344, 3_600_000, SPEED),
    unit(&["knot", "knots"], 1852, 3600, SPEED),
    unit(&["Hz"], 1, 1, FREQUENCY),
    unit(&["kHz"], 1000, 1, FREQUENCY),
    unit(&["MHz"], 1_000_000, 1, FREQUENCY),
    unit(&["GHz"], 1_000_000_000, 1, FREQUENCY),
    unit(&["N"], 1, 1, FORCE),
    unit(&["kN"], 1000, 1, FORCE),
    unit(&["Pa"], 1, 1, PRESSURE),
    unit(&["hPa"], 100, 1, PRESSURE),
    unit(&["kPa"], 1000, 1, PRESSURE),
    unit(&["MPa"], 1_000_000, 1, PRESSURE),
    unit(&["bar"], 100_000, 1, PRESSURE),
    unit(&["mbar"], 100, 1, PRESSURE),
    unit(&["J"], 1, 1, ENERGY),
    unit(&["kJ"], 1000, 1, ENERGY),
    unit(&["MJ"], 1_000_000, 1, ENERGY),
    unit(&["Wh"], 3600, 1, ENERGY),
    unit(&["kWh"], 3_600_000, 1, ENERGY),
    unit(&["MWh"], 3_600_000_000, 1, ENERGY),
    unit(&["GWh"], 3_600_000_000_000, 1, ENERGY),
    unit(&["mW"], 1, 1000, POWER),
    unit(&["W"], 1, 1, POWER),
    unit(&["kW"], 1000, 1, POWER),
    unit(&["MW"], 1_000_000, 1, POWER),
    unit(&["GW"], 1_000_000_000, 1, POWER),
    unit(&["V"], 1, 1, VOLTAGE),
    unit(&["mV"], 1, 1000, VOLTAGE),
    unit(&["kV"], 1000, 1, VOLTAGE),
];

/// Names that stand for more than one size, or for one that is not exact, with what to write instead.
const UNSURE: &[(&[&str], &str)] = &[
    (&["C"], "write °C for degrees Celsius"),
    (&["F"], "write °F for degrees Fahrenheit"),
    (&["KB", "Kb", "kb"], "write kB for 1000 bytes, KiB for 1024 bytes, kbit for 1000 bits"),
    (&["Mb", "Gb", "Tb", "Mbps", "Gbps"], "write Mbit or Gbit for bits, MB or GB for bytes"),
    (&["month", "months", "year", "years", "yr", "yrs", "y"], "months and years have no fixed length: give days"),
    (&["ton", "tons"], "a ton has several sizes: write t for 1000 kg, or give lb"),
    (
        &["gallon", "gallons", "gal", "pint", "pints", "quart", "quarts", "cup", "cups", "tbsp", "tsp", "floz"],
        "it has several sizes: give L or mL",
    ),
    (&["cal", "kcal", "calorie", "calories"], "a calorie has several sizes: give J or kJ"),
    (&["hp"], "a horsepower has several sizes: give W or kW"),
    (&["pound", "pounds"], "write lb for the weight; leave currencies out"),
    (&["ounce", "ounces"], "write oz for the weight, mL for a volume"),
    (&["k", "K", "M", "B", "thousand", "million", "billion", "trillion"], "write the digits, or 1e3, 1e6, 1e9"),
    (&["USD", "EUR", "GBP", "JPY", "CHF", "dollars", "dollar", "euros", "euro"], "there are no exchange rates here"),
];

/// What to write instead of a word that stands where a unit could.
pub(super) fn advice(word: &str) -> Option<&'static str> {
    UNSURE.iter().find(|(names, _)| names.contains(&word)).map(|(_, advice)| *advice)
}

/// A product of powers of units, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Units(Vec<(usize, i32)>);

impl Units {
    /// The unit called `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let index = UNITS.iter().position(|unit| unit.names.contains(&name))?;
        Some(Self(vec![(index, 1)]))
    }

    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pow(&self, power: i32) -> Option<Self> {
        let raised = self.0.iter().map(|(unit, have)| Some((*unit, have.checked_mul(power)?)));
        raised.filter(|raised| raised.is_none_or(|(_, power)| power != 0)).collect::<Option<_>>().map(Self)
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let mut product = self.0.clone();
        for (unit, power) in &other.0 {
            match product.iter_mut().find(|(known, _)| known == unit) {
                Some((_, known)) => *known += power,
                None => product.push((*unit, *power)),
            }
        }
        product.retain(|(_, power)| *power != 0);
        Self(product)
    }

    pub(super) fn inverse(&self) -> Self {
        Self(self.0.iter().map(|(unit, power)| (*unit, -power)).collect())
    }

    fn dimension(&self) -> Dimension {
        let mut sum = Dimension::default();
        for (unit, power) in &self.0 {
            for (total, one) in sum.iter_mut().zip(UNITS[*unit].dimension) {
                *total += one * power;
            }
        }
        sum
    }

    /// Whether it measures an angle.
    pub(super) fn is_angle(&self) -> bool {
        self.dimension() == ANGLE
    }

    /// Whether its zero is not the zero of what it measures, as of °C: it can be converted, and nothing else.
    pub(super) fn has_own_zero(&self) -> bool {
        self.0.iter().any(|(unit, _)| zero(*unit).is_some())
    }

    /// How many base units it is.
    fn size(&self) -> Result<Number, String> {
        self.0.iter().try_fold(Number::whole(1), |size, (unit, power)| {
            let (numerator, denominator) = UNITS[*unit].size;
            let one = Number::Exact(BigRational::new(numerator.into(), denominator.into()));
            let one = if UNITS[*unit].names[0] == "rad" { Number::near(1.0_f64.to_degrees(), 0.0)? } else { one };
            size.mul(&one.pow(&Number::whole((*power).into()))?)
        })
    }

    /// Text such as `km/h` or `m^2`.
    pub(super) fn written(&self) -> String {
        let part = |(unit, power): &(usize, i32)| match power.abs() {
            1 => UNITS[*unit].names[0].to_owned(),
            power => format!("{}^{power}", UNITS[*unit].names[0]),
        };
        let (above, below): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, power)| *power > 0);
        let above = above.iter().map(part).collect::<Vec<_>>().join("*");
        let below = below.iter().map(part);
        below.fold(if above.is_empty() { "1".to_owned() } else { above }, |text, part| format!("{text}/{part}"))
    }
}

/// Where a temperature scale has its zero, in its own degrees above absolute zero.
fn zero(unit: usize) -> Option<BigRational> {
    let hundredths = match UNITS[unit].names[0] {
        "°C" => 27_315,
        "°F" => 45_967,
        _ => return None,
    };
    Some(BigRational::new(BigInt::from(hundredths), BigInt::from(100)))
}

/// `number` of `from` as a number of `to`.
///
/// # Errors
/// When they measure different things.
pub(super) fn convert(number: &Number, from: &Units, to: &Units) -> Result<Number, String> {
    if from == to {
        return Ok(number.clone());
    }
    if from.dimension() != to.dimension() {
        let name = |units: &Units| if units.is_none() { "a plain number".to_owned() } else { units.written() };
        return Err(format!("{} and {} measure different things", name(from), name(to)));
    }
    let (before, after) = match (from.0.as_slice(), to.0.as_slice()) {
        ([(from, 1)], [(to, 1)]) => (zero(*from), zero(*to)),
        _ if from.has_own_zero() || to.has_own_zero() => {
            return Err("°C and °F can be converted as they are, and not as part of another unit".to_owned());
        }
        _ => (None, None),
    };
    let absolute = before.map_or_else(|| Ok(number.clone()), |zero| number.add(&Number::Exact(zero)))?;
    let converted = absolute.mul(&from.size()?)?.div(&to.size()?)?;
    after.map_or_else(|| Ok(converted.clone()), |zero| converted.add(&Number::Exact(-zero)))
}

/// A number with a unit, and what its writer must have meant by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) number: Number,
    pub(super) units: Units,
    /// Whether it was written as a percentage: added to another number, it has two meanings.
    pub(super) is_percentage: bool,
    /// Whether it was made from π: an angle without a unit is then in radians.
    pub(super) has_pi: bool,
}

impl Quantity {
    pub(super) fn plain(number: Number) -> Self {
        Self { number, units: Units::default(), is_percentage: false, has_pi: false }
    }

    /// The number alone.
    ///
    /// # Errors
    /// When it has a unit.
    pub(super) fn unitless(&self, what: &str) -> Result<&Number, String> {
        if self.units.is_none() {
            return Ok(&self.number);
        }
        Err(format!("{what} takes plain numbers, not {}", self.units.written()))
    }

    fn without_own_zero(&self) -> Result<(), String> {
        if self.units.has_own_zero() {
            return Err("temperatures in °C and °F can be converted (20 °C to °F), not calculated with".to_owned());
        }
        Ok(())
    }

    pub(super) fn add(&self, other: &Self) -> Result<Self, String> {
        self.without_own_zero()?;
        other.without_own_zero()?;
        if self.is_percentage != other.is_percentage {
            let meanings = "80 + 5% may be 80.05 or 84: write 80 * 1.05, or 80 + 0.05";
            return Err(format!("a percentage is added to a number, or taken from one; {meanings}"));
        }
        let right = convert(&other.number, &other.units, &self.units)?;
        Ok(Self { number: self.number.add(&right)?, has_pi: self.has_pi || other.has_pi, ..self.clone() })
    }

    pub(super) fn negated(&self) -> Self {
        Self { number: self.number.negated(), ..self.clone() }
    }

    pub(super) fn mul(&self, other: &Self) -> Result<Self, String> {
        self.combined(other, &other.units, self.number.mul(&other.number)?)
    }

    pub(super) fn div(&self, other: &Self) -> Result<Self, String> {
        self.combined(other, &other.units.inverse(), self.number.div(&other.number)?)
    }

    fn combined(&self, other: &Self, others: &Units, number: Number) -> Result<Self, String> {
        self.without_own_zero()?;
        other.without_own_zero()?;
        let units = self.units.times(others);
        let has_pi = self.has_pi || other.has_pi;
        let quantity = Self { number, units, is_percentage: false, has_pi };
        if quantity.units.is_none() || quantity.units.dimension() != Dimension::default() {
            return Ok(quantity);
        }
        let plain = Units::default();
        Ok(Self { number: convert(&quantity.number, &quantity.units, &plain)?, units: plain, ..quantity })
    }

    pub(super) fn pow(&self, exponent: &Self) -> Result<Self, String> {
        self.without_own_zero()?;
        let power = exponent.unitless("an exponent")?;
        let units = if self.units.is_none() {
            Units::default()
        } else {
            let whole = match power {
                Number::Exact(ratio) if ratio.is_integer() => i32::try_from(ratio.to_integer()).ok(),
                _ => None,
            };
            let small = whole.filter(|power| power.abs() <= 9);
            small.and_then(|power| self.units.pow(power)).ok_or("a unit can be raised to a whole power up to 9 only")?
        };
        let has_pi = self.has_pi || exponent.has_pi;
        Ok(Self { number: self.number.pow(power)?, units, is_percentage: false, has_pi })
    }

    pub(super) fn converted(&self, to: &Units) -> Result<Self, String> {
        Ok(Self { number: convert(&self.number, &self.units, to)?, units: to.clone(), ..self.clone() })
    }
}
