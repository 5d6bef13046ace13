//! Names of months and weekdays in texts.

/// Months, January first, in lower case.
pub const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Weekdays, Monday first, in lower case.
pub const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The usual abbreviation of one of [`MONTHS`] or [`WEEKDAYS`].
#[must_use]
pub fn abbreviated(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

/// Whether `word`, in lower case, names a month or a weekday, whole or abbreviated.
#[must_use]
pub fn names_day_or_month(word: &str) -> bool {
    MONTHS.iter().chain(&WEEKDAYS).any(|name| *name == word || abbreviated(name) == word)
}

/// Whether `word`, in lower case, names a weekday, whole or abbreviated.
#[must_use]
pub fn names_weekday(word: &str) -> bool {
    WEEKDAYS.iter().any(|name| *name == word || abbreviated(name) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_and_weekdays_are_known_whole_and_by_three_letters() {
        for word in ["january", "may", "sep", "dec", "monday", "thu", "sun"] {
            assert!(names_day_or_month(word), "{word}");
        }
        for word in ["", "ja", "sept", "thurs", "marches", "monda"] {
            assert!(!names_day_or_month(word), "{word}");
        }
    }
}
