//! Lengths of time as people write them: `90`, `90s`, `15m`, `1h30m`, `2d`, `1w`.

/// Longest length, in milliseconds: ten years.
const MAX_MS: u64 = 10 * 366 * 86_400_000;

/// Text that is no length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time: use seconds, or 90s, 15m, 1h30m, 2d, 1w, up to ten years")]
pub struct InvalidDuration(pub String);

/// The length that `text` says, in milliseconds; a number alone is seconds.
///
/// # Errors
/// [`InvalidDuration`].
pub fn parse_duration_ms(text: &str) -> Result<u64, InvalidDuration> {
    let wrong = || InvalidDuration(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let after = &rest[digits..];
        let letters = after.find(|letter: char| !letter.is_ascii_lowercase()).unwrap_or(after.len());
        let unit = match &after[..letters] {
            "s" => 1_000,
            "" if digits == text.trim().len() => 1_000,
            "ms" => 1,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        rest = &after[letters..];
    }
    if total <= MAX_MS { Ok(total) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_people_write_them() {
        for (text, ms) in [
            ("90", 90_000),
            ("90s", 90_000),
            (" 15m ", 900_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("250ms", 250),
            ("0", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "m", "5x", "1h 30m", "-5s", "1.5h", "9999999999999999999", "11000d", "5 m", "1h30"] {
            assert_eq!(parse_duration_ms(text), Err(InvalidDuration(text.to_owned())), "{text}");
        }
    }
}
