//! Dates in expressions.

use super::{refusal, value};

#[test]
fn dates_are_added_to_and_subtracted() {
    for (expression, expected) in [
        ("date('2026-12-25') - date('2026-03-01')", "299"),
        ("date(\"2026-12-25\") - date(\"2026-03-01\")", "299"),
        ("date(2026, 12, 25) - date(2026, 3, 1)", "299"),
        ("'2026-12-25' - '2026-03-01'", "299"),
        ("2026-12-25 - 2026-03-01", "299"),
        ("2026-12-25-2026-03-01", "299"),
        ("days_between(\"2026-03-01\",\"2026-12-25\")", "299"),
        ("days_between(2026-12-25, 2026-03-01)", "-299"),
        ("(date('2026-12-25') - date('2026-03-01')) / 7", "42.7142857142857"),
        ("2026-12-25 - 2026-03-01 + 1", "300"),
        ("2026-03-15 - 2026-03-01 in weeks", "2 week"),
        ("(2026-03-15 - 2026-03-01) to hours", "336 h"),
        ("round((2026-12-25 - 1990-05-17) / 365.25, 1)", "36.6"),
        ("2028-03-01 - 2028-02-01", "29"),
        ("2026-12-25 + 30 days", "2027-01-24"),
        ("date('2026-12-25') + 2 * 3 weeks", "2027-02-05"),
        ("2026-12-25 - 3 months", "2026-09-25"),
        ("2026-12-25 + 1 year - 1 day", "2027-12-24"),
        ("2026-01-01 + 90 d - 2026-01-01", "90"),
        ("2026-12-25", "2026-12-25"),
        ("weekday('2026-12-25')", "Friday"),
        ("weekday(2026-12-25 + 3 days)", "Monday"),
        ("year('2026-12-25') + month(2026-12-25) + day('2026-12-25')", "2063"),
        ("2026-12-25T10:30 - 2026-12-24T09:00", "25.5 h"),
        ("2026-12-25T10:00+01:00 - 2026-12-25T10:00Z", "-1 h"),
        ("'2026-12-25 10:30' + 90 min", "2026-12-25T12:00:00"),
        ("2026-10-25T10:00:00+02:00 + 1 month", "2026-11-25T10:00:00+02:00"),
        // No dates.
        ("1000-10-10", "980"),
        ("2026 - 12 - 25", "1989"),
        ("2026-12-250", "1764"),
        ("2026 / 12 / 5", "33.7666666666667"),
    ] {
        assert_eq!(value(expression).0, expected, "{expression}");
    }
}

#[test]
fn what_may_be_no_date_or_another_one_is_refused_with_the_form_that_is_sure() {
    for (expression, advice) in [
        ("today() - date('2026-12-25')", "no clock"),
        ("2026-12-25 to days", "a date is not converted"),
        ("date('2026-12-25') * 2", "not expected"),
        ("2026-12-25 + 30", "30 days"),
        ("2026-12-25 + 2026-03-01", "two dates cannot be added"),
        ("5 * date('2026-12-25')", "no number"),
        ("2026-01-31 + 1 month", "2026-02 has no day 31"),
        ("2026-12-25 + 1.5 months", "whole numbers"),
        ("2026-12-25 + 5 hours", "2026-12-25T00:00"),
        ("2026-12-25 + 5 km", "measure different things"),
        ("2026-02-30 + 1 day", "none of the calendar"),
        ("2026-12-5", "write it as 2026-12-25"),
        ("2026/12/25", "write it as 2026-12-25"),
        ("'2026-02-30' + 1 day", "dates as '2026-12-25'"),
        ("date(2026, 2, 30)", "there is no day"),
        ("date('25.12.2026')", "2026-12-25"),
        ("12/25/2026 - 03/01/2026", "day or its month first"),
        ("25.12.2026", "day or its month first"),
        ("December 25, 2026", "write dates as"),
        ("new Date('2026-12-25').getTime()", "methods"),
        ("new Date('2026-12-25')", "write dates as"),
        ("(date('2026-12-25') - date('2026-03-01')).days", "methods"),
        ("datediff('2026-12-25', '2026-03-01')", "days_between"),
        ("weekday('2026-12-25') + 1", "not expected"),
        ("1 + weekday('2026-12-25')", "stands alone"),
        ("2026-12-25T10:00 - 2026-12-25", "one is a day"),
        ("2026-12-25T10:00Z - 2026-12-25T10:00", "has an offset"),
        ("9999-12-31 + 1 day", "measure different things"),
        ("'9999-12-31' + 1 day", "years 1 to 9999"),
        ("'2026-12-25' + 99999999999 weeks", "years 1 to 9999"),
    ] {
        let reason = refusal(expression);
        assert!(reason.contains(advice), "{expression}: {reason}");
    }
}
