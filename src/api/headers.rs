//! The one rule for headers that decide something: each is there once and can be read, or the request is wrong. What
//! cannot be read is never taken for what is not there.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::error::Problem;
use crate::tools::http::FROM_AGENT;

/// Says which site a browser's request comes from.
pub(super) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What a browser says for which purpose it asks: `navigate` when a person goes to a page.
pub(super) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// Names a request, so that it can be sent again.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers that decide who may call, or how a request is read.
const DECIDING: [HeaderName; 11] = [
    header::HOST,
    header::ORIGIN,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    SEC_FETCH_SITE,
    SEC_FETCH_MODE,
    IDEMPOTENCY_KEY,
    HeaderName::from_static(FROM_AGENT),
];

/// Refuses a request with a deciding header that is there twice or cannot be read.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    for name in DECIDING {
        let mut values = headers.get_all(&name).iter();
        let Some(first) = values.next() else { continue };
        if values.next().is_some() {
            return Err(Problem::bad_request(format!("the header {name} is there twice: send it once")));
        }
        if first.to_str().is_err() {
            return Err(Problem::bad_request(format!(
                "the header {name} cannot be read: use visible ASCII characters"
            )));
        }
    }
    Ok(())
}

/// The text of a header of a request that passed [`check`].
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Refuses a body that says it has more than `most` bytes, before any of it is read; `limit` names the setting and the way out.
pub(super) fn check_length(headers: &HeaderMap, most: usize, limit: &str) -> Result<(), Problem> {
    let Some(declared) = text(headers, &header::CONTENT_LENGTH) else { return Ok(()) };
    match declared.parse::<u64>() {
        Ok(length) if length <= most as u64 => Ok(()),
        Ok(length) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has {length} bytes; the most is {most} {limit}"),
        )),
        Err(_) => {
            Err(Problem::bad_request(format!("the header content-length is {declared:?}, which is no number of bytes")))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn every_deciding_header_is_there_once_and_readable() {
        for name in DECIDING {
            let with = |values: &[&[u8]]| {
                let mut headers = HeaderMap::new();
                for value in values {
                    headers.append(&name, HeaderValue::from_bytes(value).expect("a value"));
                }
                check(&headers).err().map(|problem| problem.detail)
            };
            assert_eq!(with(&[]), None, "{name}");
            assert_eq!(with(&[b"x"]), None, "{name}");
            for wrong in [&[b"x".as_slice(), b"x"][..], &[b"x", b"y"], &[b"\xff"], &[b"\xffx", b"x"]] {
                let problem = with(wrong).unwrap_or_else(|| panic!("{name}: {wrong:?} passes"));
                assert!(problem.contains(name.as_str()), "{problem}");
            }
        }
    }

    #[test]
    fn a_declared_length_is_held_to_the_limit() {
        for (declared, status) in
            [(None, None), (Some("0"), None), (Some("10"), None), (Some("11"), Some(413)), (Some("1e9"), Some(400))]
        {
            let mut headers = HeaderMap::new();
            if let Some(declared) = declared {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static(declared));
            }
            assert_eq!(check_length(&headers, 10, "").err().map(|problem| problem.status), status, "{declared:?}");
        }
    }
}
