//! Reads the wait that a server asks for, in the forms of the providers: headers, fields of the body, sentences.

use chrono::{DateTime, NaiveDateTime};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::domain::time::Timestamp;

/// Longest wait that is accepted: a day, in milliseconds.
pub(super) const MAX_WAIT_MS: u64 = 86_400_000;
/// Words in front of a time in a sentence, lower case.
const BEFORE_A_TIME: [&str; 6] =
    ["try again in ", "retry in ", "try again after ", "retry after ", "again in ", "wait "];
/// Largest plain number that is a number of seconds; larger ones are points in time.
const MAX_SECONDS: f64 = 1e8;
/// Smallest number of milliseconds since the epoch.
const EPOCH_MS: f64 = 1e11;

/// The wait in the headers of a refusal, in milliseconds, at most [`MAX_WAIT_MS`].
pub(super) fn from_headers(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return clamped(ms);
    }
    text(RETRY_AFTER.as_str()).and_then(|value| parse_wait(value, now)).or_else(|| of_resets(headers, now))
}

/// The wait in the body of a refusal, in milliseconds, at most [`MAX_WAIT_MS`].
pub(super) fn from_body(body: &str, now: Timestamp) -> Option<u64> {
    let whole = body.to_ascii_lowercase();
    // As Google writes it, also inside the text of another provider's message.
    let named = [("retrydelay", 1_000.0), ("retry_after_ms", 1.0), ("retry_after", 1_000.0), ("retry-after", 1_000.0)];
    for (name, unit) in named {
        let Some(place) = whole.find(name) else { continue };
        let value =
            whole[place + name.len()..].trim_start_matches(|c: char| !c.is_ascii_digit() && c != '-' && c != ',');
        let value = value.split(['"', '\\', ',', '}', ']']).next().unwrap_or_default().trim();
        if let Some(ms) = period(value).or_else(|| value.parse::<f64>().ok().map(|number| number * unit)) {
            return clamped(ms);
        }
    }
    for before in BEFORE_A_TIME {
        let sentence = whole.split_once(before).map(|(_, rest)| rest).and_then(period);
        if let Some(ms) = sentence {
            return clamped(ms);
        }
    }
    reset_in_body(body, now)
}

/// The time at which the limits are reset that are used up: the latest of them.
fn of_resets(headers: &HeaderMap, now: Timestamp) -> Option<u64> {
    let resets = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str();
        if !name.contains("ratelimit") || !name.contains("reset") {
            return None;
        }
        let remaining = headers.get(name.replace("reset", "remaining")).and_then(|value| value.to_str().ok());
        let is_used_up = remaining.is_none_or(|left| left.trim().parse::<f64>().is_ok_and(|left| left <= 0.0));
        if is_used_up { parse_wait(value.to_str().ok()?.trim(), now) } else { None }
    });
    resets.max()
}

/// The headers of another provider, as a router passes them on in its body.
fn reset_in_body(body: &str, now: Timestamp) -> Option<u64> {
    let body: Value = serde_json::from_str(body).ok()?;
    let headers = body["error"]["metadata"]["headers"].as_object()?;
    let (_, reset) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-ratelimit-reset"))?;
    match reset {
        Value::String(text) => parse_wait(text, now),
        Value::Number(number) => parse_wait(&number.to_string(), now),
        _ => None,
    }
}

/// One time: a number of seconds, a period such as `6m0s`, a date of HTTP or RFC 3339, or a time since the epoch.
fn parse_wait(text: &str, now: Timestamp) -> Option<u64> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number >= EPOCH_MS { number } else { number * 1_000.0 };
        return if number > MAX_SECONDS { until(ms, now) } else { clamped(ms) };
    }
    if let Some(ms) = period(text) {
        return clamped(ms);
    }
    let date = DateTime::parse_from_rfc2822(text).or_else(|_| DateTime::parse_from_rfc3339(text));
    let at = match date {
        Ok(date) => date.timestamp_millis(),
        // The two older forms of a date of HTTP.
        Err(_) => ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())?
            .and_utc()
            .timestamp_millis(),
    };
    Some(u64::try_from(at.saturating_sub(now.as_millis())).unwrap_or(0).min(MAX_WAIT_MS))
}

#[expect(clippy::cast_precision_loss, reason = "times of this age fit into 53 bits")]
fn until(ms: f64, now: Timestamp) -> Option<u64> {
    clamped((ms - now.as_millis() as f64).max(0.0))
}

/// The period that `text` begins with, in milliseconds: `9.816s`, `644ms`, `6m0s`, `1h12m3.5s`, `20 seconds`,
/// `1 minute and 5 seconds`.
fn period(text: &str) -> Option<f64> {
    let mut rest = text.trim_start();
    let mut total: Option<f64> = None;
    loop {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let Ok(value) = digits.trim_end_matches('.').parse::<f64>() else { return total };
        let after = after.trim_start();
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let Some(ms) = unit_ms(&unit.to_ascii_lowercase()) else { return total };
        total = Some(total.unwrap_or(0.0) + value * ms);
        rest = after.trim_start();
        rest = rest.strip_prefix("and ").unwrap_or(rest).trim_start();
    }
}

fn unit_ms(unit: &str) -> Option<f64> {
    match unit {
        "ms" | "millis" | "millisecond" | "milliseconds" => Some(1.0),
        "s" | "sec" | "secs" | "second" | "seconds" => Some(1_000.0),
        "m" | "min" | "mins" | "minute" | "minutes" => Some(60_000.0),
        "h" | "hr" | "hrs" | "hour" | "hours" => Some(3_600_000.0),
        "d" | "day" | "days" => Some(86_400_000.0),
        _ => None,
    }
}

/// Whole milliseconds, at most [`MAX_WAIT_MS`]; `None` for a number that is no wait.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "between zero and a day"
)]
fn clamped(ms: f64) -> Option<u64> {
    (ms.is_finite() && ms >= 0.0).then(|| ms.ceil().min(MAX_WAIT_MS as f64) as u64)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_445_412_480_000);

    fn headers(given: &[(&'static str, &str)]) -> Option<u64> {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        };
        from_headers(&given.iter().map(pair).collect(), NOW)
    }

    #[test]
    fn retry_after_is_read_in_every_form() {
        for (name, value, ms) in [
            ("retry-after", "7", 7_000),
            ("retry-after", "0.5", 500),
            ("retry-after", "20s", 20_000),
            ("retry-after-ms", "250", 250),
            ("retry-after-ms", "249.4", 250),
            // 2015-10-21T07:28:00Z is NOW.
            ("retry-after", "Wed, 21 Oct 2015 07:28:30 GMT", 30_000),
            ("retry-after", "Wednesday, 21-Oct-15 07:28:30 GMT", 30_000),
            ("retry-after", "Wed Oct 21 07:28:30 2015", 30_000),
            ("retry-after", "2015-10-21T07:28:30Z", 30_000),
            ("retry-after", "Wed, 21 Oct 2015 07:00:00 GMT", 0),
            ("retry-after", "Wed, 21 Oct 2195 07:28:00 GMT", MAX_WAIT_MS),
            ("retry-after", "1e7", MAX_WAIT_MS),
            ("retry-after", "1000000000000000000", MAX_WAIT_MS),
            ("retry-after-ms", "18446744073709551616", MAX_WAIT_MS),
            ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", MAX_WAIT_MS),
            ("retry-after", "9999-12-31T23:59:59Z", MAX_WAIT_MS),
        ] {
            assert_eq!(headers(&[(name, value)]), Some(ms), "{name}: {value}");
        }
        let endless = format!("1{}", "0".repeat(400));
        for nonsense in ["soon", "-1", "-1e18", "NaN", "inf", "1e400", &endless, ""] {
            assert_eq!(headers(&[("retry-after", nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn of_the_limits_that_are_used_up_the_last_reset_counts() {
        let openai = [
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1h"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ];
        assert_eq!(headers(&openai), Some(360_000));
        assert_eq!(
            headers(&[("x-ratelimit-reset-requests", "12ms"), ("x-ratelimit-reset-tokens", "2m59.56s")]),
            Some(179_560)
        );
        assert_eq!(headers(&[("anthropic-ratelimit-requests-reset", "2015-10-21T07:29:00Z")]), Some(60_000));
        assert_eq!(headers(&[("x-ratelimit-reset", "1445412490000")]), Some(10_000));
        assert_eq!(headers(&[("x-ratelimit-reset", "1445412490")]), Some(10_000));
        assert_eq!(headers(&[("ratelimit-reset", "30")]), Some(30_000));
        let both = [("retry-after", "2"), ("x-ratelimit-reset-tokens", "6m0s")];
        assert_eq!(headers(&both), Some(2_000), "what is asked for before what can be guessed");
    }

    #[test]
    fn times_in_bodies_are_found() {
        let message = |text: &str| json!({"error": {"message": text}}).to_string();
        let retry_info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"});
        let google =
            json!([{"error": {"code": 429, "message": "You exceeded your current quota", "details": [retry_info]}}]);
        for (body, ms) in [
            (google.to_string(), 26_000),
            (message(&google.to_string()), 26_000),
            (message("Quota exceeded. Please retry in 45.578569677s."), 45_579),
            (message("Rate limit reached for gpt-4: Limit 10000, Used 8554. Please try again in 9.816s. Visit"), 9_816),
            (message("Please try again in 644ms."), 644),
            (message("Please try again in 6m0s."), 360_000),
            (message("Please try again in 1h12m3.5s."), 4_323_500),
            (message("Please retry after 20 seconds."), 20_000),
            (message("Try again in 1 minute and 5 seconds"), 65_000),
            (json!({"error": {"message": "slow", "retry_after": 3}}).to_string(), 3_000),
            (json!({"error": {"message": "slow", "retry_after_ms": 1500}}).to_string(), 1_500),
            (message("try again in 400 days"), MAX_WAIT_MS),
            (json!({"error": {"metadata": {"headers": {"X-RateLimit-Reset": "1445412490000"}}}}).to_string(), 10_000),
        ] {
            assert_eq!(from_body(&body, NOW), Some(ms), "{body}");
        }
        for body in ["", "busy", "please try again in a moment", "wait and see", r#"{"retryDelay": null}"#] {
            assert_eq!(from_body(body, NOW), None, "{body}");
        }
    }
}
