//! Cuts texts of servers and models to what an error may hold.

/// Longest part of a server's message that is passed on, in characters.
pub(super) const MESSAGE_CHARS: usize = 300;

/// `text` on one line, cut to `limit` characters.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let line: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = line.join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
