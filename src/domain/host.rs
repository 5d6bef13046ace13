//! Hosts: of addresses, in the words of people, and in lists of the configuration.

use std::collections::HashSet;
use std::fmt;

use ::url::Url;

/// Wildcard for all hosts.
pub const ANY_HOST: &str = "*";
/// Longest word that may be an address, in bytes.
const MAX_WORD: usize = 8_192;
/// Endings of domains that are also those of files: `README.md` in a goal is no host, `https://readme.md` is.
const FILE_ENDINGS: [&str; 10] = ["md", "sh", "py", "rs", "pl", "zip", "mov", "ps", "cc", "so"];
/// Most places that are found in texts.
const MAX_NAMED: usize = 200;
/// Most words of texts that are read as addresses.
const MAX_WORDS_READ: usize = 10_000;
/// Longest host that is shown, in characters.
const SHOWN_CHARS: usize = 100;

/// Where an address leads: a host in lower case, without the dot of the root and without `www.`, and a port. The usual ports of
/// HTTP and HTTPS are one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: Option<u16>,
}

impl Place {
    /// Where `url` leads; `None` when it names no host.
    #[must_use]
    pub fn of(url: &Url) -> Option<Self> {
        let host = plain(url.host_str()?);
        let rest = host.strip_prefix("www.").filter(|rest| rest.contains('.'));
        let host = rest.unwrap_or(&host).to_owned();
        Some(Self { host, port: url.port().filter(|port| ![80, 443].contains(port)) })
    }

    /// Where the address `text` leads, by the parser that makes the requests; `None` for what is no address.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Self::of(&Url::parse(text).ok()?)
    }

    /// Whether a person who wrote `text` named this place: by an address, or by its host alone.
    #[must_use]
    pub fn is_named_in(&self, text: &str) -> bool {
        // Reading each word of a long text as an address would take a while.
        let may_be = |word: &&str| {
            if word.is_ascii() { word.to_ascii_lowercase().contains(&self.host) } else { self.host.contains("xn--") }
        };
        words(text).filter(may_be).any(|word| Self::of_word(word).as_ref() == Some(self))
    }

    /// The place that a word of a person names: by an address, or by its host alone.
    fn of_word(word: &str) -> Option<Self> {
        if word.contains("://") {
            return Self::read(word);
        }
        let is_file = word.rsplit_once('.').is_some_and(|(_, ending)| FILE_ENDINGS.contains(&&*ending.to_lowercase()));
        if is_file { None } else { Self::read(&format!("http://{word}")) }
    }

    /// The address of the place, without path; whoever writes it names the place.
    #[must_use]
    pub fn address(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("http://{}{port}", self.host)
    }

    /// Whether one of `patterns` matches its host.
    #[must_use]
    pub fn is_listed(&self, patterns: &[String]) -> bool {
        is_listed(patterns, &self.host)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) => write!(formatter, "{}…", &self.host[..end])?,
            None => formatter.write_str(&self.host)?,
        }
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// The places that `texts` name by an address, or by a host with a dot or a port: each once, in their order, at most
/// [`MAX_NAMED`]. Any other word may be meant as a host, too, and is none here.
#[must_use]
pub fn named_in<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Place> {
    let may_be = |word: &&str| word.contains(['.', ':']);
    let mut seen = HashSet::new();
    let mut places: Vec<Place> = Vec::new();
    let fresh = texts.into_iter().flat_map(words).filter(may_be).filter(|word| seen.insert(*word));
    for place in fresh.take(MAX_WORDS_READ).filter_map(Place::of_word) {
        if places.len() >= MAX_NAMED {
            break;
        }
        // An address of version 6 is named in `egress` alone.
        if !place.host.contains(':') && !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Where a request may be redirected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirects {
    /// These places.
    pub places: Vec<Place>,
    /// Hosts that one of these patterns matches.
    pub patterns: Vec<String>,
}

impl Redirects {
    /// Whether `url` is among them.
    #[must_use]
    pub fn allow(&self, url: &Url) -> bool {
        Place::of(url).is_some_and(|place| self.places.contains(&place) || place.is_listed(&self.patterns))
    }
}

/// The words of `text` that may be a host or an address.
fn words(text: &str) -> impl Iterator<Item = &str> {
    // A reference to an output names nothing, whatever its fields are called.
    let pieces = text.split("${").enumerate().map(|(place, piece)| match piece.split_once('}') {
        Some((_, behind)) if place > 0 => behind,
        _ => piece,
    });
    let is_end = |letter: char| letter.is_whitespace() || "\"'`<>()[]{}|*=,;$“”„«»‘’".contains(letter);
    let words =
        pieces.flat_map(move |piece| piece.split(is_end)).map(|word| word.trim_end_matches(['.', ':', '!', '?']));
    words.filter(|word| !word.is_empty() && word.len() <= MAX_WORD)
}

/// A host as it is compared.
fn plain(host: &str) -> String {
    let host = host.strip_suffix('.').unwrap_or(host);
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

/// Whether one of `patterns` matches `host`: `*` matches all, `*.example.org` what is below `example.org`, and any other pattern
/// the host of its name.
#[must_use]
pub fn is_listed(patterns: &[String], host: &str) -> bool {
    let host = plain(host);
    patterns.iter().any(|pattern| covers(&plain(pattern), &host))
}

fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(below) => below.is_empty() || host.len() > below.len() && host.ends_with(below),
        None => pattern == host || Some(pattern) == host.strip_prefix("www."),
    }
}

/// What is wrong with `pattern` as a pattern of hosts; `None` when it is one.
#[must_use]
pub fn pattern_fault(pattern: &str) -> Option<String> {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    let is_host = |name: &str| {
        let place = Url::parse(&format!("http://{name}/")).ok();
        place.is_some_and(|url| url.host_str().is_some_and(|host| plain(host) == plain(name)) && url.path() == "/")
    };
    let bracketed = format!("[{}]", plain(name));
    let is_name = !name.contains('*') && (is_host(name) || is_host(&bracketed) && !name.contains('['));
    if pattern == ANY_HOST || is_name {
        return None;
    }
    Some(format!(
        "{pattern:?} is no host: write a name without scheme, port and path, such as api.github.com, *.example.org for all below \
         example.org, or * for all"
    ))
}

/// The patterns of hosts that both lists match.
#[must_use]
pub fn common(one: &[String], other: &[String]) -> Vec<String> {
    let within = |patterns: &[String], outer: &[String]| -> Vec<String> {
        patterns.iter().filter(|pattern| is_listed(outer, pattern)).cloned().collect()
    };
    let mut both = within(one, other);
    for pattern in within(other, one) {
        if !both.contains(&pattern) {
            both.push(pattern);
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        Place::read(url).expect(url)
    }

    fn list(patterns: &[&str]) -> Vec<String> {
        patterns.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_person_names_a_place_by_its_address_or_its_host() {
        let there = place("https://www.Status.example./x?y");
        for text in [
            "Read https://status.example/page, then sum it up.",
            "post it to status.example.",
            "mirror of [status](http://status.example:80/a)",
            "host=www.status.example",
            "“STATUS.example”",
            "write to team@status.example",
        ] {
            assert!(there.is_named_in(text), "{text}");
        }
        for text in [
            "",
            "status",
            "https://evil-status.example/",
            "a.status.example",
            "status.example.evil.org",
            "https://status.example@evil.org/",
            "http://status.example:8080/",
            "https://evil.org/status.example",
            "https://evil.org/?to=xstatus.example",
            "https://${status.example}/",
        ] {
            assert!(!there.is_named_in(text), "{text}");
        }
        assert!(place("http://127.0.0.1:81/x").is_named_in("see http://127.0.0.1:81/"));
        assert!(!place("http://127.0.0.1:82/x").is_named_in("see http://127.0.0.1:81/"));
        assert!(place("https://api.example/1").is_named_in("https://api.example/${row.id}"));
        assert!(!place("https://readme.md/").is_named_in("read README.md"));
        assert!(place("https://readme.md/").is_named_in("read https://readme.md"));
        assert!(place("https://xn--mnchen-3ya.example/").is_named_in("Termine auf https://münchen.example/heute"));
        assert!(place("http://named.example\\@evil.example/").is_named_in("named.example"), "as the client reads it");
    }

    #[test]
    fn the_places_of_a_text_are_found_and_their_addresses_name_them() {
        let text = "Read https://wiki.example/a?b, README.md and https://readme.md/x; then post to api.example:8443, \
                    www.api.example:8443, http://intranet/${row.host.example} and tell intranet2 or [::1].";
        let found = named_in([text, "wiki.example"]);
        let addresses: Vec<String> = found.iter().map(Place::address).collect();
        assert_eq!(
            addresses,
            ["http://wiki.example", "http://readme.md", "http://api.example:8443", "http://intranet"]
        );
        for (place, address) in found.iter().zip(&addresses) {
            assert!(place.is_named_in(address) && place.is_named_in(text), "{address}");
        }
        let many: Vec<String> = (0..100_000).map(|number| format!("h{number}.example")).collect();
        assert_eq!(named_in([many.join(" ").as_str()]).len(), MAX_NAMED);
    }

    #[test]
    fn patterns_match_hosts_and_nothing_that_only_looks_like_them() {
        let patterns = list(&["api.github.com", "*.Example.org", "::1"]);
        for host in ["api.github.com", "API.github.com.", "a.example.org", "a.b.example.org", "[::1]"] {
            assert!(is_listed(&patterns, host), "{host}");
        }
        for host in ["github.com", "xapi.github.com", "example.org", "evilexample.org", "api.github.com.evil.org", ""] {
            assert!(!is_listed(&patterns, host), "{host}");
        }
        assert!(is_listed(&list(&["*"]), "anything") && !is_listed(&[], "anything"));
    }

    #[test]
    fn what_is_no_host_is_named_with_the_way_out() {
        for pattern in
            ["api.github.com", "*.example.org", "*", "localhost", "10.0.0.1", "::1", "[::1]", "a-b_c.example"]
        {
            assert_eq!(pattern_fault(pattern), None, "{pattern}");
        }
        for pattern in
            ["", "https://a.example", "a.example/x", "a.example:80", "a b", "**", "*a.example", "a.*.org", "u@a"]
        {
            assert!(pattern_fault(pattern).is_some_and(|fault| fault.contains("*.example.org")), "{pattern}");
        }
    }

    #[test]
    fn what_both_lists_match_is_never_more_than_either() {
        let (all, api, below) = (list(&["*"]), list(&["api.example.org", "b.example"]), list(&["*.example.org"]));
        assert_eq!(common(&all, &all), all);
        assert_eq!((common(&all, &api), common(&api, &all)), (api.clone(), api.clone()));
        assert_eq!(
            (common(&api, &below), common(&below, &api)),
            (list(&["api.example.org"]), list(&["api.example.org"]))
        );
        assert_eq!(common(&below, &list(&["*.a.example.org"])), ["*.a.example.org"]);
        assert_eq!(common(&api, &list(&["c.example"])), list(&[]));
    }
}
