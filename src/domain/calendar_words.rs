//! Names of months and weekdays in texts.

/// Names of months and weekdays, lower case, with their abbreviations.
const DAYS_AND_MONTHS: [&str; 37] = [
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
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
];

/// Whether `word`, in lower case, names a month or a weekday.
#[must_use]
pub fn names_day_or_month(word: &str) -> bool {
    DAYS_AND_MONTHS.contains(&word)
}
