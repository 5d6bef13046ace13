//! The text of an HTML page as Markdown, for models: links, lists and tables are kept, scripts, styles, hidden parts and
//! navigation are left out.
//!
//! Pages are hostile. They are read token by token, without a tree and without recursion: time grows with the size of the
//! page, and the text has at most [`MAX_TEXT`] bytes.

use encoding_rs::{Encoding, WINDOWS_1252};
use html5gum::emitters::default::DefaultEmitter;
use html5gum::{Token, Tokenizer};
use reqwest::Url;

use self::skip::Skipper;
use self::writer::Writer;

mod containers;
mod links;
mod skip;
mod table;
#[cfg(test)]
mod tests;
mod writer;

/// Longest text of a page, in bytes; what is behind it is cut.
const MAX_TEXT: usize = 1024 * 1024;
/// Bytes of a page in which its own statement of its charset is looked for, as browsers do.
const CHARSET_BYTES: usize = 1024;

/// Whether an answer is an HTML page: by its media type, or by its first bytes when it names none.
pub(super) fn is_html(media_type: &str, body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let begins = |with: &str| start.get(..with.len()).is_some_and(|bytes| bytes.eq_ignore_ascii_case(with.as_bytes()));
    match media_type {
        "text/html" | "application/xhtml+xml" => true,
        "" => begins("<!doctype html") || begins("<html"),
        _ => false,
    }
}

/// The text of `html`, which came from `url`.
pub(super) fn text(html: &str, url: &Url) -> String {
    let writer = written(html, Writer::new(url.clone()), Skipper::default());
    if writer.has_body() {
        return writer.finish();
    }
    // A page that is nothing but navigation or hidden parts, which a script shows, or that never closes them.
    written(html, Writer::new(url.clone()), Skipper::scripts_alone()).finish()
}

/// The tables of `html` that have two rows and columns at least: the texts of their cells, without links.
pub(super) fn tables(html: &str) -> Vec<Vec<Vec<String>>> {
    written(html, Writer::of_tables(), Skipper::default()).into_tables()
}

fn written(html: &str, mut writer: Writer, mut skipper: Skipper) -> Writer {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    for Ok(token) in Tokenizer::new_with_emitter(html, emitter) {
        let is_kept = match &token {
            Token::StartTag(tag) => skipper.open(tag),
            Token::EndTag(tag) => skipper.close(&tag.name),
            Token::String(_) => skipper.is_idle(),
            _ => false,
        };
        if !is_kept {
            continue;
        }
        match token {
            Token::StartTag(tag) => writer.open(&tag),
            Token::EndTag(tag) => writer.close(&tag.name),
            Token::String(text) => writer.text(&String::from_utf8_lossy(&text)),
            _ => {}
        }
        if writer.is_full() {
            break;
        }
    }
    writer.end();
    writer
}

/// `bytes` as text in the charset that the byte order mark, the header or the page names; else as UTF-8, or as
/// Windows-1252 where they are no UTF-8, as browsers read old pages.
pub(super) fn decode(content_type: &str, bytes: &[u8]) -> String {
    let named = charset(content_type.as_bytes()).or_else(|| charset(&bytes[..bytes.len().min(CHARSET_BYTES)]));
    let encoding = Encoding::for_bom(bytes).map(|(encoding, _)| encoding).or(named);
    // What is valid UTF-8 is UTF-8, whatever a page says, but for charsets that look like ASCII.
    let is_plain = encoding.is_none_or(Encoding::is_ascii_compatible);
    if let (true, Ok(text)) = (is_plain, str::from_utf8(bytes)) {
        return text.trim_start_matches('\u{feff}').to_owned();
    }
    encoding.filter(|encoding| *encoding != encoding_rs::UTF_8).unwrap_or(WINDOWS_1252).decode(bytes).0.into_owned()
}

/// Whether a content type names a charset that is known.
pub(super) fn names_charset(content_type: &str) -> bool {
    charset(content_type.as_bytes()).is_some()
}

/// The encoding behind the first `charset=` of `text`.
fn charset(text: &[u8]) -> Option<&'static Encoding> {
    const KEY: &[u8] = b"charset=";
    let at = text.windows(KEY.len()).position(|window| window.eq_ignore_ascii_case(KEY))?;
    let label = text[at + KEY.len()..].trim_ascii_start();
    let label = label.strip_prefix(b"\"").or_else(|| label.strip_prefix(b"'")).unwrap_or(label);
    let length = label.iter().position(|byte| b"\"'; >/".contains(byte)).unwrap_or(label.len());
    Encoding::for_label(&label[..length])
}
