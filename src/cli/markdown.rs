//! Markdown on a terminal: headings and strong words in bold, everything else as it is written.

use std::fmt::Write as _;

use super::{CliError, output};

const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// Writes `text` to the terminal; `NO_COLOR` and a terminal of the kind `dumb` leave it as it is written.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let is_set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if is_set("NO_COLOR").is_some() || is_set("TERM").is_none_or(|kind| kind == "dumb") {
        return output::text(text);
    }
    output::raw(&rendered(&output::escape_text(text)))
}

/// `text`, which holds no control sequence, with those for bold. Code keeps its signs.
fn rendered(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 64);
    let mut in_code = false;
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        let written = match heading(line) {
            _ if in_code || is_fence => writeln!(shown, "{line}"),
            Some(heading) => writeln!(shown, "{BOLD}{heading}{PLAIN}"),
            None => writeln!(shown, "{}", with_strong(line)),
        };
        // Writing to a string cannot fail.
        written.unwrap_or_default();
    }
    shown
}

/// The words of a heading.
fn heading(line: &str) -> Option<&str> {
    let words = line.trim_start_matches('#');
    let level = line.len() - words.len();
    ((1..=6).contains(&level) && words.starts_with(' ')).then(|| words.trim())
}

/// `line` with `**words**` in bold. Without a closing sign they stay as they are.
fn with_strong(line: &str) -> String {
    let (mut shown, mut rest) = (String::new(), line);
    while let Some((before, after)) = rest.split_once("**") {
        let Some((strong, behind)) = after.split_once("**").filter(|(strong, _)| is_strong(before, strong)) else {
            break;
        };
        shown.extend([before, BOLD, strong, PLAIN]);
        rest = behind;
    }
    shown + rest
}

/// Whether `strong` are words to stress, and not a power such as 2**3, or code.
fn is_strong(before: &str, strong: &str) -> bool {
    let is_code = before.matches('`').count() % 2 == 1;
    !is_code && !strong.is_empty() && strong == strong.trim() && !before.ends_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_strong_words_are_bold_and_the_rest_is_as_written() {
        for (written, shown) in [
            ("# Title", "\u{1b}[1mTitle\u{1b}[0m\n"),
            ("#tag", "#tag\n"),
            ("- a **b c** d", "- a \u{1b}[1mb c\u{1b}[0m d\n"),
            ("2**3 and 4**5", "2**3 and 4**5\n"),
            ("`**x**` ** y", "`**x**` ** y\n"),
            ("```\n# no title\n**code**\n```\n**end**", "```\n# no title\n**code**\n```\n\u{1b}[1mend\u{1b}[0m\n"),
            ("", ""),
        ] {
            assert_eq!(rendered(written), shown, "{written}");
        }
    }
}
