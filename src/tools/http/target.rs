//! Rules about the target of a request: pure checks of URLs, headers and redirects.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::super::ToolContext;
use super::network::{AllowList, plain_host};
use super::resolver::vet;
use crate::domain::plan::{filled, has_references};

/// Longest URL, in bytes.
const MAX_URL: usize = 8192;
/// Most request headers.
const MAX_HEADERS: usize = 50;
/// Longest value of a request header, in bytes.
const MAX_HEADER_VALUE: usize = 8192;

/// Names under which clouds answer with credentials.
const METADATA_HOSTS: &[&str] = &["metadata.google.internal", "metadata.goog", "metadata", "instance-data"];

/// Headers that the client must set itself, because they decide how the message is framed, routed or decoded.
const RESERVED: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "accept-encoding",
    "idempotency-key",
    super::FROM_AGENT,
    "proxy-authorization",
    "proxy-connection",
];

const SEVERAL: &str = "url holds several addresses: make one call for each";

/// Headers that go along when a redirect leaves the origin; any other could be a credential.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-language",
    "user-agent",
    "content-type",
    "content-language",
    "cache-control",
    "idempotency-key",
];

/// The origin of `url` for messages: no path, query or credentials, which may be secret.
pub(super) fn shown(url: &Url) -> String {
    match url.port() {
        Some(port) => format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or("")),
        None => format!("{}://{}", url.scheme(), url.host_str().unwrap_or("")),
    }
}

/// Reads and vets a URL that the model wrote.
///
/// # Errors
/// The reason, naming scheme and host at most.
pub(super) fn read_url(text: &str, allow: &AllowList) -> Result<Url, String> {
    let url = read_form(text)?;
    check_address(&url, allow)?;
    Ok(url)
}

/// Why no configuration lets the URL be called that a plan gives, whatever the values of its references; `None` while that is open.
pub(in crate::tools) fn impossible(text: &str) -> Option<String> {
    if !has_references(text) {
        return read_form(text).err();
    }
    if text.len() <= MAX_URL && is_several(&filled(text, "1")) {
        return Some(SEVERAL.to_owned());
    }
    let is_scheme_known = text.split("${").next().is_some_and(|known| known.contains("://"));
    let url = Url::parse(&filled(text, "1")).ok().filter(|_| is_scheme_known)?;
    check_form(&url).err()
}

/// Whether `text` lists several addresses. One address may hold others in its query, and more than a scheme in its path.
fn is_several(text: &str) -> bool {
    let begins = |text: &str| {
        let is_scheme =
            |scheme: &&str| text.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
        ["http://", "https://"].iter().any(is_scheme)
    };
    let address = &text[..text.find(['?', '#']).unwrap_or(text.len())];
    let is_list = |(at, sign): (usize, char)| begins(text[at + sign.len_utf8()..].trim_start());
    begins(text.trim_start())
        && address.char_indices().filter(|(_, c)| c.is_whitespace() || ",;".contains(*c)).any(is_list)
}

fn read_form(text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("the URL has {} bytes; at most {MAX_URL} are allowed", text.len()));
    }
    if is_several(text) {
        return Err(SEVERAL.to_owned());
    }
    let url = Url::parse(text)
        .map_err(|error| format!("the URL cannot be read ({error}): write it whole, e.g. https://example.com/page"))?;
    check_form(&url)?;
    Ok(url)
}

/// Checks what no configuration changes.
fn check_form(url: &Url) -> Result<(), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("scheme {:?} is not allowed; use http or https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("the URL of {} carries credentials; use a header", shown(url)));
    }
    let host = url.host_str().ok_or("the URL has no host")?;
    if METADATA_HOSTS.contains(&plain_host(host).as_str()) {
        return Err(format!("host {host:?} is a metadata service"));
    }
    Ok(())
}

/// Vets a URL, typed or redirected to.
pub(super) fn check_url(url: &Url, allow: &AllowList) -> Result<(), String> {
    check_form(url)?;
    check_address(url, allow)
}

fn check_address(url: &Url, allow: &AllowList) -> Result<(), String> {
    let host = url.host_str().ok_or("the URL has no host")?;
    // Some resolvers do not know these names, which always mean this host (RFC 6761).
    if plain_host(host) == "localhost" || plain_host(host).ends_with(".localhost") {
        vet(allow, host, Ipv4Addr::LOCALHOST.into()).map_err(|closed| closed.to_string())?;
    }
    // Literal addresses are connected to without asking the resolver. The parser has already turned every spelling of
    // an IPv4 address (127.1, 0x7f000001, 2130706433, 0177.0.0.1) into the usual one.
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        vet(allow, host, address).map_err(|closed| closed.to_string())?;
    }
    Ok(())
}

/// Checks that the agent may reach the host of `url`.
///
/// # Errors
/// The reason, with the hosts that it may reach.
pub(super) fn check_host(context: &ToolContext, url: &Url) -> Result<(), String> {
    let host = url.host_str().ok_or("the URL has no host")?;
    if context.rights.allows_host(host) {
        return Ok(());
    }
    let hosts = context.rights.egress.join(", ");
    Err(format!("host {host:?} is none that the agent may reach; egress of the agent has: {hosts}"))
}

/// Checks a redirect to `url` of a request to `from`.
///
/// # Errors
/// The reason.
pub(super) fn check_redirect(context: &ToolContext, from: &str, url: &Url) -> Result<(), String> {
    check_host(context, url).map_err(|reason| format!("{from} redirects: {reason}"))?;
    if context.redirects.as_ref().is_none_or(|redirects| redirects.allow(url)) {
        return Ok(());
    }
    Err(format!(
        "{from} redirects to {}, and the request depends on data that was read: name the host in egress of the agent",
        shown(url)
    ))
}

/// The request headers that the model sets.
///
/// # Errors
/// The reason, naming the header; never its value.
pub(super) fn read_headers<'a>(
    headers: impl ExactSizeIterator<Item = (&'a String, &'a String)>,
) -> Result<HeaderMap, String> {
    if headers.len() > MAX_HEADERS {
        return Err(format!("{} headers; at most {MAX_HEADERS} are allowed", headers.len()));
    }
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let header: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
        if RESERVED.contains(&header.as_str()) {
            return Err(format!("header {name:?} is set by qron and cannot be given"));
        }
        if value.len() > MAX_HEADER_VALUE {
            return Err(format!("header {name:?} has more than {MAX_HEADER_VALUE} bytes"));
        }
        let mut value: HeaderValue = value.parse().map_err(|_| format!("header {name:?} has no valid value"))?;
        value.set_sensitive(true);
        map.insert(header, value);
    }
    Ok(map)
}

/// A request, as redirects change it.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Vec<u8>>,
}

impl Outgoing {
    /// The request of a redirect (RFC 9110, section 15.4); `None` when the answer is none.
    ///
    /// # Errors
    /// The reason why it must not be followed.
    pub(super) fn redirected(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        allow: &AllowList,
    ) -> Result<Option<Self>, String> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = headers.get(LOCATION) else { return Ok(None) };
        let location = location.to_str().map_err(|_| "the redirect has an unreadable location".to_owned())?;
        let url = self.url.join(location).map_err(|error| format!("the redirect leads nowhere: {error}"))?;
        check_url(&url, allow).map_err(|reason| format!("{} redirects: {reason}", shown(&self.url)))?;
        let mut next = Self { url, ..self.clone() };
        let becomes_get = match status.as_u16() {
            303 => self.method != Method::HEAD,
            301 | 302 => self.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = None;
            for name in ["content-type", "content-language", "content-encoding", "content-location"] {
                next.headers.remove(name);
            }
        }
        if next.url.origin() != self.url.origin() {
            let foreign: Vec<HeaderName> =
                next.headers.keys().filter(|name| !HARMLESS.contains(&name.as_str())).cloned().collect();
            for name in foreign {
                next.headers.remove(name);
            }
        }
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_a_closed_address_is_refused() {
        let allow = AllowList::default();
        for (url, named) in [
            ("http://127.1/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://１２７.0.0.1/", "127.0.0.1"),
            ("http://0.0.0.0/", "0.0.0.0"),
            ("http://0/", "0.0.0.0"),
            ("http://[::1]/", "::1"),
            ("http://[::]/", "::"),
            ("http://[::ffff:169.254.169.254]/", "::ffff:169.254.169.254"),
            ("http://[::127.0.0.1]/", "::7f00:1"),
            ("http://[64:ff9b::169.254.169.254]/", "64:ff9b::a9fe:a9fe"),
            ("http://[2002:7f00:1::]/", "2002:7f00:1::"),
            ("http://[fe80::1]/", "fe80::1"),
            ("http://[fd00::1]/", "fd00::1"),
            ("http://[fd00:ec2::254]/", "fd00:ec2::254"),
            ("http://100.100.100.200/", "100.100.100.200"),
            ("http://100.64.0.1/", "100.64.0.1"),
            ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
            ("http://metadata.google.internal/", "metadata.google.internal"),
            ("http://METADATA.google.internal./", "metadata.google.internal."),
            ("http://user@example.com/", "example.com"),
            ("http://user:secret@example.com/", "example.com"),
            ("https://example.com@127.0.0.1/", "127.0.0.1"),
            ("file:///etc/passwd", "file"),
            ("gopher://example.com/", "gopher"),
            ("ftp://example.com/", "ftp"),
            ("javascript:alert(1)", "javascript"),
        ] {
            let reason = read_url(url, &allow).expect_err(url);
            assert!(reason.contains(named), "{url}: {reason}");
            assert!(!reason.contains("secret"), "{reason}");
        }
        for url in ["http://example.com/", "https://8.8.8.8/", "http://[2606:4700::1111]:8080/x?y#z"] {
            assert!(read_url(url, &allow).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_list_of_addresses_is_refused_and_an_address_that_holds_others_is_not() {
        let allow = AllowList::default();
        for url in [
            "https://a.example,https://b.example",
            "https://a.example/x; HTTP://b.example/y",
            "http://a.example/x https://b.example",
            "https://a.example/x,\nhttps://b.example/y?z=1",
        ] {
            assert!(read_url(url, &allow).expect_err(url).contains("several addresses"));
            assert!(impossible(url).expect(url).contains("several addresses"));
        }
        assert!(impossible("https://a.example/${x.id},https://b.example").expect("a list").contains("several"));
        for url in [
            "https://a.example/check?urls=https://b.example,https://c.example",
            "https://a.example/a;httponly",
            "https://a.example/httpd,http2",
            "https://a.example/#x,https://b.example",
            "https://a.example/https://b.example/x",
        ] {
            assert!(read_url(url, &allow).is_ok(), "{url}");
            assert_eq!(impossible(url), None);
        }
        assert_eq!(impossible("https://a.example/check?urls=${x.url},https://b.example"), None);
    }

    #[test]
    fn a_header_that_frames_the_message_is_refused_by_name() {
        let read = |name: &str, value: &str| {
            let headers = std::collections::BTreeMap::from([(name.to_owned(), value.to_owned())]);
            read_headers(headers.iter())
        };
        for name in ["Host", "content-length", "Transfer-Encoding", "Accept-Encoding", "Proxy-Authorization", "a b"] {
            assert!(read(name, "x").expect_err(name).contains(name));
        }
        let error = read("X-Key", "secret\r\nEvil: 1").expect_err("a line break");
        assert!(error.contains("X-Key") && !error.contains("secret"), "{error}");
        assert!(read("Authorization", "Bearer x").is_ok());
    }

    fn outgoing(method: Method) -> Outgoing {
        let headers = [("authorization", "a"), ("cookie", "c"), ("x-api-key", "k"), ("accept", "*/*")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Outgoing {
            method,
            url: "https://a.example/x".parse().expect("a URL"),
            headers: read_headers(headers.iter().map(|(name, value)| (name, value))).expect("headers"),
            body: Some(b"body".to_vec()),
        }
    }

    fn redirect(from: &Outgoing, status: u16, to: &'static str) -> Result<Option<Outgoing>, String> {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(to))]);
        from.redirected(StatusCode::from_u16(status).expect("a status"), &headers, &AllowList::default())
    }

    #[test]
    fn methods_change_as_the_standard_says() {
        for (method, status, after, keeps_body) in [
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::PUT, 302, Method::PUT, true),
            (Method::DELETE, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, true),
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
        ] {
            let next = redirect(&outgoing(method.clone()), status, "/y").expect("allowed").expect("a redirect");
            assert_eq!((next.method, next.body.is_some()), (after, keeps_body), "{method} {status}");
            assert_eq!(next.url.as_str(), "https://a.example/y");
            assert_eq!(next.headers.len(), 4);
        }
        assert!(redirect(&outgoing(Method::GET), 200, "/y").expect("fine").is_none());
    }

    #[test]
    fn credentials_stay_at_their_origin() {
        for to in ["https://b.example/", "http://a.example/", "https://a.example:444/", "//b.example/"] {
            let next = redirect(&outgoing(Method::GET), 302, to).expect("allowed").expect("a redirect");
            assert_eq!(next.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"], "{to}");
        }
    }

    #[test]
    fn a_redirect_is_vetted_like_any_url() {
        for to in
            ["http://169.254.169.254/", "file:///etc/passwd", "http://[::1]/", "http://u:p@b.example/", "//127.1/x"]
        {
            let reason = redirect(&outgoing(Method::GET), 302, to).expect_err(to);
            assert!(reason.starts_with("https://a.example redirects: "), "{reason}");
        }
    }

    /// The parts of an IPv4 address in the spellings that parsers of URLs take: decimal, octal or hexadecimal, and the last
    /// part for all that are left out.
    fn spelled(address: Ipv4Addr, parts: usize, bases: &[u8]) -> String {
        let bytes = address.octets();
        let last = bytes[parts - 1..].iter().fold(0_u32, |number, byte| (number << 8) | u32::from(*byte));
        let numbers = bytes[..parts - 1].iter().map(|byte| u32::from(*byte)).chain([last]);
        let written = numbers.zip(bases).map(|(number, base)| match base % 4 {
            0 => format!("0{number:o}"),
            1 => format!("0x{number:x}"),
            2 => format!("0X{number:X}"),
            _ => number.to_string(),
        });
        written.collect::<Vec<_>>().join(".")
    }

    proptest! {
        #[test]
        fn an_address_is_open_in_any_spelling_or_in_none(
            bits in prop_oneof![
                any::<u32>(),
                // Around the ranges that are closed.
                proptest::sample::select(vec![
                    0x7f00_0000_u32, 0x0a00_0000, 0xa9fe_a9fe, 0x6440_0000, 0xc0a8_0000, 0xac10_0000, 0xe000_0000, 0,
                ]).prop_flat_map(|base| (0_u32..0x20_0000).prop_map(move |offset| base.wrapping_add(offset).wrapping_sub(0x1000))),
            ],
            parts in 1_usize..=4,
            bases in proptest::collection::vec(any::<u8>(), 4),
        ) {
            let address = Ipv4Addr::from_bits(bits);
            let is_open = crate::tools::http::closed_by_nature(address.into()).is_none();
            let [a, b, c, d] = address.octets();
            for host in [
                spelled(address, parts, &bases),
                format!("{}.", spelled(address, parts, &bases)),
                format!("[::ffff:{address}]"),
                format!("[64:ff9b::{a:02x}{b:02x}:{c:02x}{d:02x}]"),
            ] {
                let read = read_url(&format!("http://{host}/x"), &AllowList::default());
                let is_ipv6 = host.starts_with('[');
                prop_assert!(read.is_ok() == is_open || is_ipv6 && read.is_err(), "{host}: {read:?}");
            }
        }

        #[test]
        fn no_url_breaks_the_reader_or_leads_to_a_closed_address(
            text in "https?://([0-9a-fA-Fx.:@\\[\\]%/\\\\?#-]{0,30}|\\PC{0,20})|\\PC{0,30}"
        ) {
            if let Ok(url) = read_url(&text, &AllowList::default()) {
                prop_assert!(url.username().is_empty() && url.password().is_none());
                let host = url.host_str().expect("a host");
                if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
                    prop_assert!(crate::tools::http::closed_by_nature(address).is_none(), "{text}");
                }
            }
        }
    }
}
