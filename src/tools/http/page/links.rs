//! The link that is open while its text is read.

use reqwest::Url;

/// Longest URL that is kept, in bytes. Longer ones carry data, not an address.
pub(super) const MAX_URL: usize = 2000;

/// A link, from its start tag on.
pub(super) struct Link {
    /// Where its text begins in the line.
    start: usize,
    /// Absolute URL.
    url: String,
    /// What stands for its text when it has none.
    label: String,
}

impl Link {
    /// The link to `href` on a page whose links are relative to `base`; `None` for one that leads nowhere a reader could go.
    pub(super) fn read(href: &str, base: &Url, label: String, start: usize) -> Option<Self> {
        let href = href.trim();
        if href.is_empty() || href.starts_with('#') || href.len() > MAX_URL {
            return None;
        }
        let url = base.join(href).ok()?;
        if !matches!(url.scheme(), "http" | "https" | "mailto" | "tel") {
            return None;
        }
        // Round brackets would end the link early.
        let url = String::from(url).replace('(', "%28").replace(')', "%29");
        (url.len() <= MAX_URL).then_some(Self { start, url, label })
    }

    /// The link, whose text begins with the next line.
    pub(super) fn moved_to_next_line(self) -> Self {
        Self { start: 0, ..self }
    }

    /// Writes the link around its text, which is the end of `line`; `false` when there is no text yet.
    pub(super) fn write(&self, line: &mut String) -> bool {
        let start = line.floor_char_boundary(self.start.min(line.len()));
        let text = line[start..].trim().to_owned();
        let text = if text.is_empty() { self.label.trim() } else { &text };
        if text.is_empty() {
            return false;
        }
        let written = if text == self.url { text.to_owned() } else { format!("[{text}]({})", self.url) };
        let before = &line[start..];
        let lead = &before[..before.len() - before.trim_start().len()];
        let trail = if before.trim().is_empty() { "" } else { &before[before.trim_end().len()..] };
        let written = format!("{lead}{written}{trail}");
        line.truncate(start);
        line.push_str(&written);
        true
    }
}
