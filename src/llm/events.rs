//! Reads server-sent events from bytes as they arrive: pure, linear, and bounded.
//!
//! More tolerant than the standard: events need no empty line between them when each is one JSON object, and the last line
//! needs no end.

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The data of an event.
    Data {
        text: String,
        /// Whether the event is named `error`.
        is_error: bool,
    },
    /// Only a sign of life: a comment.
    Sign,
}

impl Event {
    /// Bytes of its data.
    pub(super) fn bytes(&self) -> usize {
        if let Self::Data { text, .. } = self { text.len() } else { 0 }
    }
}

/// A line or the data of one event is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Reads events, of which none is longer than a limit.
pub(super) struct EventReader {
    max_bytes: usize,
    line: Vec<u8>,
    data: Option<String>,
    is_error: bool,
    is_after_return: bool,
    is_first_line: bool,
}

/// Most bytes of the buffer for lines that is kept for the next ones.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Names of the fields of an event, with their colon; a comment has none.
const FIELDS: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether an answer that begins with `bytes` comes as events; `None` while that cannot be told. Servers and proxies name the
/// wrong content type, so the bytes decide.
pub(super) fn are_events(bytes: &[u8]) -> Option<bool> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii_start();
    if bytes.is_empty() {
        return None;
    }
    if FIELDS.iter().any(|field| bytes.starts_with(field)) {
        return Some(true);
    }
    if FIELDS.iter().any(|field| field.starts_with(bytes)) { None } else { Some(false) }
}

impl EventReader {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self { max_bytes, line: Vec::new(), data: None, is_error: false, is_after_return: false, is_first_line: true }
    }

    /// Whether the bytes so far end in the middle of a line.
    pub(super) const fn is_within_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Bytes that it holds of what is not complete.
    pub(super) fn held_bytes(&self) -> usize {
        self.line.capacity() + self.data.as_ref().map_or(0, String::capacity)
    }

    /// Reads more bytes; appends what they complete to `events`, neighbouring signs of life as one.
    ///
    /// # Errors
    /// When a line or an event is too long.
    pub(super) fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.is_after_return) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + part.len() > self.max_bytes {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            let Some(end) = end else { return Ok(()) };
            self.is_after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_line(events)?;
        }
        Ok(())
    }

    /// The events that the end of the bytes completes.
    pub(super) fn end(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if self.end_line(&mut events).is_ok() {
            self.dispatch(&mut events);
        }
        events
    }

    fn end_line(&mut self, events: &mut Vec<Event>) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        let mut text = line.as_slice();
        if std::mem::take(&mut self.is_first_line) {
            text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        }
        let colon = text.iter().position(|byte| *byte == b':');
        let (field, value) = colon.map_or((text, &[][..]), |colon| (&text[..colon], &text[colon + 1..]));
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"" if colon.is_none() => self.dispatch(events),
            b"" if events.last() != Some(&Event::Sign) => events.push(Event::Sign),
            b"data" => {
                let begins_anew = value.starts_with(b"{") || value.starts_with(b"[DONE]");
                if begins_anew && self.data.as_ref().is_some_and(|data| data.starts_with('{')) {
                    self.dispatch(events);
                }
                let value = String::from_utf8_lossy(value);
                match &mut self.data {
                    Some(data) if data.len() + value.len() >= self.max_bytes => return Err(TooLong),
                    Some(data) => data.extend(["\n", &*value]),
                    None => self.data = Some(value.into_owned()),
                }
            }
            b"event" => self.is_error = value.trim_ascii() == b"error",
            _ => {}
        }
        // The buffer is used again.
        if line.capacity() <= MAX_KEPT_BYTES {
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn dispatch(&mut self, events: &mut Vec<Event>) {
        let is_error = std::mem::take(&mut self.is_error);
        if let Some(text) = self.data.take() {
            events.push(Event::Data { text, is_error });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> Event {
        Event::Data { text: text.to_owned(), is_error: false }
    }

    /// The events in `text`, read in pieces of `bytes` bytes.
    fn read(text: &str, bytes: usize) -> Vec<Event> {
        let (mut reader, mut events) = (EventReader::new(1_000), Vec::new());
        for piece in text.as_bytes().chunks(bytes) {
            reader.push(piece, &mut events).expect("short enough");
        }
        events.extend(reader.end());
        events.dedup_by(|next, event| *next == Event::Sign && *event == Event::Sign);
        events
    }

    #[test]
    fn events_are_read_wherever_the_bytes_are_cut() {
        let error = Event::Data { text: "{\"error\":1}".to_owned(), is_error: true };
        for (text, events) in [
            ("data: {\"a\":1}\n\ndata: [DONE]\n\n", vec![data("{\"a\":1}"), data("[DONE]")]),
            ("data:{\"a\":1}\r\n\r\ndata:[DONE]\r\n\r\n", vec![data("{\"a\":1}"), data("[DONE]")]),
            ("data: a\r\rdata: b\r\r", vec![data("a"), data("b")]),
            ("\u{feff}data: ä €\n\n", vec![data("ä €")]),
            ("data: {\ndata:  \"a\": 1\ndata: }\n\n", vec![data("{\n \"a\": 1\n}")]),
            (
                "data: {\"a\":1}\ndata: {\"a\":2}\ndata: [DONE]",
                vec![data("{\"a\":1}"), data("{\"a\":2}"), data("[DONE]")],
            ),
            (": ping\n\n: ping\n\ndata: x\n\n:\n", vec![Event::Sign, data("x"), Event::Sign]),
            ("event: error\ndata: {\"error\":1}\n\ndata: x\n\n", vec![error, data("x")]),
            ("id: 5\nretry: 7\nnonsense\nevent: message\ndata: x\n\n", vec![data("x")]),
            ("\n\n\n", vec![]),
            ("data\n\ndata:\n\n", vec![data(""), data("")]),
        ] {
            for bytes in [1, 2, 3, 7, 1_000] {
                assert_eq!(read(text, bytes), events, "{text:?} in pieces of {bytes}");
            }
        }
    }

    #[test]
    fn a_line_and_an_event_have_a_longest_length() {
        let (mut reader, mut events) = (EventReader::new(100), Vec::new());
        assert_eq!(reader.push(&[b'x'; 100], &mut events), Ok(()));
        assert!(reader.is_within_line());
        assert_eq!(reader.push(b"x", &mut events), Err(TooLong));
        let mut reader = EventReader::new(100);
        let lines = "data: 0123456789\n".repeat(20);
        assert_eq!(reader.push(lines.as_bytes(), &mut events), Err(TooLong));
        assert_eq!(EventReader::new(100).push(": ping\n".repeat(1_000).as_bytes(), &mut events), Ok(()));
        assert_eq!(events, [Event::Sign], "many comments take no room");
    }

    #[test]
    fn the_first_bytes_tell_events_from_other_answers() {
        for (bytes, are) in [
            (&b""[..], None),
            (b" \r\n", None),
            (b"dat", None),
            (b"\n\ndata", None),
            (b"data:", Some(true)),
            (b": OPENROUTER PROCESSING", Some(true)),
            (b"\xef\xbb\xbfevent: x", Some(true)),
            (b"{", Some(false)),
            (b" [", Some(false)),
            (b"<html>", Some(false)),
            (b"date", Some(false)),
        ] {
            assert_eq!(are_events(bytes), are, "{bytes:?}");
        }
    }
}
