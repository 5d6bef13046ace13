//! Text without its escapes, with the place of each byte in the original.

use std::ops::Range;

/// Most layers of escapes that are removed.
const LAYERS: usize = 4;

/// Whether `text` holds anything that [`Decoded`] takes away.
pub(super) fn may_be_encoded(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'%' | b'\\' | b'&' | b'\n' | b'\r'))
}

/// A text, and its decoding layer by layer.
pub(super) struct Decoded {
    layer: Layer,
    done: usize,
}

/// A text, and the place of each of its bytes in the original.
pub(super) struct Layer {
    text: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Layer {
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The place in the original of the bytes in `range`.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        let at = |index: usize| self.places.get(index);
        let start = at(range.start).map_or(0, |place| place.start);
        let end = range.end.checked_sub(1).and_then(at).map_or(start, |place| place.end);
        start..end
    }
}

impl Decoded {
    pub(super) fn of(text: &[u8]) -> Self {
        let places = (0..text.len()).map(|at| at..at + 1).collect();
        Self { layer: Layer { text: text.to_vec(), places }, done: 0 }
    }

    /// The text with one more layer of escapes taken away; `None` when there is none left.
    pub(super) fn next_layer(&mut self) -> Option<&Layer> {
        if self.done == LAYERS || !may_be_encoded(&self.layer.text) {
            return None;
        }
        let Layer { text, places } = &self.layer;
        let mut next = Layer { text: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len()) };
        let mut at = 0;
        let mut is_changed = false;
        while at < text.len() {
            let (letter, length) = unit(&text[at..]);
            let place = places[at].start..places[at + length - 1].end;
            is_changed |= length > 1 || letter.is_none();
            match letter {
                Some(Unescaped::Byte(byte)) => next.push(byte, place),
                Some(Unescaped::Char(letter)) => {
                    let mut bytes = [0; 4];
                    letter.encode_utf8(&mut bytes).bytes().for_each(|byte| next.push(byte, place.clone()));
                }
                None => {}
            }
            at += length;
        }
        self.done += 1;
        self.layer = next;
        is_changed.then_some(&self.layer)
    }
}

impl Layer {
    fn push(&mut self, byte: u8, place: Range<usize>) {
        self.text.push(byte);
        self.places.push(place);
    }
}

/// Decoded form of an escape.
enum Unescaped {
    Byte(u8),
    Char(char),
}

/// What the beginning of `text` stands for, `None` for nothing, and how many bytes long it is.
fn unit(text: &[u8]) -> (Option<Unescaped>, usize) {
    match text[0] {
        b'\n' | b'\r' => (None, 1),
        b'%' => hex(text.get(1..3)).map_or((Some(Unescaped::Byte(b'%')), 1), |code| (byte(code), 3)),
        b'\\' => backslash(text),
        b'&' => reference(text).map_or((Some(Unescaped::Byte(b'&')), 1), |(code, length)| {
            (char::from_u32(code).map(Unescaped::Char), length)
        }),
        byte => (Some(Unescaped::Byte(byte)), 1),
    }
}

/// A byte that is written as its code.
fn byte(code: u32) -> Option<Unescaped> {
    u8::try_from(code).ok().map(Unescaped::Byte)
}

/// An escape of JSON or of a programming language.
fn backslash(text: &[u8]) -> (Option<Unescaped>, usize) {
    let plain = (Some(Unescaped::Byte(b'\\')), 1);
    match text.get(1) {
        // A code below 256 is a letter here, and not a byte of one.
        Some(b'u') => hex(text.get(2..6)).map_or(plain, |code| (char::from_u32(code).map(Unescaped::Char), 6)),
        Some(b'x') => hex(text.get(2..4)).map_or(plain, |code| (byte(code), 4)),
        Some(b'n' | b'r') => (None, 2),
        Some(letter @ (b'\\' | b'/' | b'"' | b'\'')) => (Some(Unescaped::Byte(*letter)), 2),
        _ => plain,
    }
}

/// A character reference of HTML: its code and its length.
fn reference(text: &[u8]) -> Option<(u32, usize)> {
    /// The longest one, `&#x10FFFF;`, and some zeros.
    const LONGEST: usize = 14;
    let end = text.iter().take(LONGEST).position(|byte| *byte == b';')?;
    let name = str::from_utf8(&text[1..end]).ok()?;
    let code = match name {
        "amp" => u32::from('&'),
        "lt" => u32::from('<'),
        "gt" => u32::from('>'),
        "quot" => u32::from('"'),
        "apos" => u32::from('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            }
        }
    };
    Some((code, end + 1))
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok())
}
