//! Turns a response into a result for the model, or a failure of the right class.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde_json::{Map, Value, json};

use super::super::inputs::excerpt;
use super::page::{self, decode};
use super::target::shown;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::json::read_bytes;
use crate::domain::time::Timestamp;
use crate::domain::tool::ToolResult;

/// Response headers that are worth their tokens.
const USEFUL: &[&str] = &[
    "content-type",
    "content-length",
    "content-language",
    "last-modified",
    "etag",
    "location",
    "link",
    "retry-after",
    "x-total-count",
];
/// Bytes of an error body that are returned to the agent.
const ERROR_BODY: usize = 500;
/// Longest response header that is returned, in bytes.
const HEADER_VALUE: usize = 1000;

/// Longest HTML page that is given as it is beside its text, in bytes: it costs little.
const SHORT_PAGE: usize = 4096;

/// A response with its body.
pub(super) struct Answered {
    /// The URL that was answered, after redirects.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the call asks for the HTML of a page in place of its text.
    pub(super) raw: bool,
}

/// The outcome of a request that was answered. Blocks for as long as a page takes to read.
///
/// 2xx and 3xx are results. 429, and 503 with Retry-After, are rate limits; 408, 425 and 5xx are transient, apart from
/// 501 and 505; every other status is a failure for good, with the beginning of the body as its explanation.
pub(super) fn outcome(answered: Answered, now: Timestamp) -> ToolResult {
    let status = answered.status;
    if status.as_u16() < 400 {
        return Ok(result(answered));
    }
    let (shown, explanation) = (shown(&answered.url), explanation(&answered));
    let message = format!("{shown} answered {}{explanation}", status.as_u16());
    let headers = &answered.headers;
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| retry_after_ms(value.to_str().ok()?, now));
    Err(match status.as_u16() {
        429 => Failure::new(FailureClass::RateLimited, message).retry_after(retry_after),
        503 if retry_after.is_some() => Failure::new(FailureClass::RateLimited, message).retry_after(retry_after),
        501 | 505 => Failure::permanent(message),
        408 | 425 | 500.. => Failure::transient(message),
        _ => Failure::permanent(message),
    })
}

/// How the body of a failure begins, behind a colon.
fn explanation(answered: &Answered) -> String {
    let (content_type, media_type) = types(&answered.headers);
    let text = decode(content_type, &answered.body);
    let text = if page::is_html(&media_type, &answered.body) { page::text(&text, &answered.url) } else { text };
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {}", excerpt(text, ERROR_BODY)) }
}

/// The content type as it was sent, and the media type in it, in lower case.
fn types(headers: &HeaderMap) -> (&str, String) {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    (content_type, content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
}

fn result(answered: Answered) -> Value {
    let Answered { url, status, headers, body, raw } = answered;
    let useful: Map<String, Value> = USEFUL
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), excerpt(headers.get(*name)?.to_str().ok()?, HEADER_VALUE).into())))
        .collect();
    let (content_type, media_type) = types(&headers);
    let mut answer = json!({ "status": status.as_u16(), "headers": useful });
    let claims_json = media_type == "application/json" || media_type.ends_with("+json");
    if claims_json && let Ok(value) = read_bytes(&body) {
        answer["body"] = value;
        return answer;
    }
    if page::is_html(&media_type, &body) {
        let html = decode(content_type, &body);
        if raw || html.len() <= SHORT_PAGE {
            answer["body"] = html.as_str().into();
        }
        if !raw {
            answer["text"] = page::text(&html, &url).into();
        }
        return answer;
    }
    // Bytes of unknown kind whose charset is named are text.
    if media_type.starts_with("text/") || media_type.ends_with("xml") || page::names_charset(content_type) {
        answer["body"] = decode(content_type, &body).into();
        return answer;
    }
    match String::from_utf8(body) {
        Ok(text) => answer["body"] = text.into(),
        Err(error) => {
            answer["body"] = BASE64_STANDARD.encode(error.as_bytes()).into();
            answer["encoding"] = "base64".into();
        }
    }
    answer
}

/// Retry-After, as seconds or as a date (RFC 9110, section 10.2.3), in milliseconds from `now`.
fn retry_after_ms(text: &str, now: Timestamp) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(seconds.saturating_mul(1000));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()).millis_since(now))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &[u8]) -> ToolResult {
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).expect("a status");
        let url = Url::parse("http://x/a/b?c").expect("a URL");
        outcome(Answered { url, status, headers: headers.collect(), body: body.to_vec(), raw: false }, NOW)
    }

    #[test]
    fn bodies_are_json_text_or_flagged_bytes() {
        let json = answer(200, &[("content-type", "application/json; charset=utf-8"), ("server", "x")], b"{\"a\":1}");
        let expected = json!({
            "status": 200, "headers": { "content-type": "application/json; charset=utf-8" }, "body": { "a": 1 },
        });
        assert_eq!(json, Ok(expected));
        let body = |headers, body| answer(200, headers, body).expect("a result")["body"].clone();
        assert_eq!(body(&[("content-type", "application/json")], b"{oops"), "{oops");
        let large =
            br#"{"id": 18446744073709551616, "low": -9223372036854775809, "far": 1e400, "fits": 9223372036854775807}"#;
        let kept = json!({
            "id": "18446744073709551616", "low": "-9223372036854775809", "far": "1e400", "fits": i64::MAX,
        });
        assert_eq!(body(&[("content-type", "application/json")], large), kept, "numbers keep their digits");
        assert_eq!(body(&[], "plain ä".as_bytes()), "plain ä");
        assert_eq!(body(&[("content-type", "text/html; charset=ISO-8859-1")], b"\xe4"), "ä");
        let csv = [("content-type", "application/octet-stream; charset=ISO-8859-1")];
        assert_eq!(answer(200, &csv, b"stra\xdfe;1\x80").expect("a result")["body"], "straße;1€");
        let image = answer(200, &[("content-type", "image/png")], b"\x89PNG\xff").expect("a result");
        assert_eq!((&image["encoding"], &image["body"]), (&json!("base64"), &json!("iVBOR/8=")));
    }

    #[test]
    fn a_page_is_given_as_text_and_its_html_when_it_is_short_or_asked_for() {
        const HTML: &[(&str, &str)] = &[("content-type", "text/html; charset=windows-1251")];
        let page = answer(200, HTML, b"<title>t</title><p>\xcf\xf0\xe8\xe2\xe5\xf2 <a href=c>d</a>").expect("a result");
        assert_eq!(page["text"], "# t\n\nПривет [d](http://x/a/c)");
        assert_eq!(page["body"], "<title>t</title><p>Привет <a href=c>d</a>");
        let long = format!("<p>one{}<p>two", " ".repeat(SHORT_PAGE));
        let page = answer(200, HTML, long.as_bytes()).expect("a result");
        assert_eq!(page, json!({ "status": 200, "headers": page["headers"], "text": "one\n\ntwo" }));
        let failure =
            answer(404, HTML, b"<head><style>p{}</style></head><h1>No such page</h1>").expect_err("a failure");
        assert_eq!(failure.message, "http://x answered 404: # No such page");
    }

    #[test]
    fn statuses_become_the_right_class() {
        use FailureClass::{Permanent, RateLimited, Transient};
        for (status, headers, class, wait) in [
            (429, &[("retry-after", "7")][..], RateLimited, Some(7000)),
            (429, &[], RateLimited, None),
            (503, &[("retry-after", "Sun, 06 Nov 1994 08:49:39 GMT")], RateLimited, Some(2000)),
            (503, &[], Transient, None),
            (500, &[], Transient, None),
            (408, &[], Transient, None),
            (501, &[], Permanent, None),
            (404, &[], Permanent, None),
            (400, &[("retry-after", "7")], Permanent, None),
        ] {
            let failure = answer(status, headers, b" why ").expect_err("a failure");
            assert_eq!((failure.class, failure.retry_after_ms), (class, wait), "{status}");
            assert_eq!(failure.message, format!("http://x answered {status}: why"));
        }
    }
}
