//! Web addresses in plain text.

/// Marks that end an address wherever they stand.
const ENDS: [char; 8] = ['<', '>', '"', '`', '|', '\\', '{', '}'];
/// Marks that belong to the sentence when they stand at the end of an address.
const SENTENCE_MARKS: [char; 9] = ['.', ',', ';', ':', '!', '?', '\'', '*', '_'];

/// The addresses in `text` that begin with `http://` or `https://`, without the marks of the sentence around them.
pub fn addresses(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("http").map(|(at, _)| at);
    let mut end = 0;
    starts.filter_map(move |start| {
        // An address in the query of another one is a part of it.
        if start < end {
            return None;
        }
        let rest = &text[start..];
        let scheme = ["http://", "https://"].into_iter().find(|scheme| rest.starts_with(scheme))?;
        let length = rest.find(|c: char| c.is_whitespace() || ENDS.contains(&c)).unwrap_or(rest.len());
        let address = without_marks(&rest[..length]);
        end = start + address.len();
        (address.len() > scheme.len()).then_some(address)
    })
}

/// `text` with a space in the place of each address.
#[must_use]
pub fn without_addresses(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut done = 0;
    for address in addresses(text) {
        let start = address.as_ptr().addr() - text.as_ptr().addr();
        plain.push_str(&text[done..start]);
        plain.push(' ');
        done = start + address.len();
    }
    plain.push_str(&text[done..]);
    plain
}

/// `address` without marks of the sentence and without brackets that it does not open.
fn without_marks(mut address: &str) -> &str {
    let count = |mark: char| address.matches(mark).count();
    // How many more brackets of each kind are closed than opened.
    let (mut round, mut square) = (count(')').saturating_sub(count('(')), count(']').saturating_sub(count('[')));
    loop {
        address = address.trim_end_matches(SENTENCE_MARKS);
        let unopened = match address.as_bytes().last() {
            Some(b')') => &mut round,
            Some(b']') => &mut square,
            _ => return address,
        };
        if *unopened == 0 {
            return address;
        }
        *unopened -= 1;
        address = &address[..address.len() - 1];
    }
}

/// One form for addresses that lead to the same page: scheme and host in lower case, no fragment, no slash at the end.
#[must_use]
pub fn normal_form(address: &str) -> String {
    let address = address.split('#').next().unwrap_or_default();
    let host_end = address.find("://").map_or(0, |at| at + 3);
    let path = address[host_end..].find(['/', '?']).map_or(address.len(), |at| host_end + at);
    let (place, path) = address.split_at(path);
    format!("{}{}", place.to_lowercase(), path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_without_the_marks_around_them() {
        for (text, expected) in [
            ("Read https://x.example/a.", vec!["https://x.example/a"]),
            (
                "(see http://a.example/x?y=1&z=2), then https://b.example!",
                vec!["http://a.example/x?y=1&z=2", "https://b.example"],
            ),
            ("https://en.example/wiki/Rust_(language)", vec!["https://en.example/wiki/Rust_(language)"]),
            (
                "[status](https://x.example/s) and <https://y.example/>",
                vec!["https://x.example/s", "https://y.example/"],
            ),
            ("**https://x.example/é**, \"http://q.example\"", vec!["https://x.example/é", "http://q.example"]),
            (
                "https://a.example/check?url=https://b.example/c",
                vec!["https://a.example/check?url=https://b.example/c"],
            ),
            ("https:// httpx http:/a ftp://a", vec![]),
        ] {
            assert_eq!(addresses(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn the_rest_of_a_text_is_what_stands_around_its_addresses() {
        assert_eq!(without_addresses("At http://127.0.0.1:80/x, 3 of https://y.example/4."), "At  , 3 of  .");
        assert_eq!(without_addresses("none"), "none");
    }

    #[test]
    fn addresses_of_the_same_page_have_one_form() {
        for (one, other) in [
            ("https://GitHub.com", "https://github.com/"),
            ("http://x.example/a/#top", "http://x.example/a"),
            ("HTTP://X.example?q=A", "http://x.example?q=A"),
        ] {
            assert_eq!(normal_form(one), normal_form(other));
        }
        assert_ne!(normal_form("http://x.example/A"), normal_form("http://x.example/a"));
    }

    #[test]
    fn long_texts_take_time_in_proportion_to_their_length() {
        let text = "http".repeat(300_000);
        assert_eq!(addresses(&text).count(), 0);
        let text = "http://a)".repeat(100_000);
        assert_eq!(addresses(&text).count(), 1);
        let text = format!("http://a{}", ")".repeat(1_000_000));
        assert_eq!(addresses(&text).collect::<Vec<_>>(), ["http://a"]);
    }
}
