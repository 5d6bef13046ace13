//! A number with its noun, in the form that the number asks for.

/// `count` with `noun`, a regular noun in the singular: `1 step`, `2 steps`, `3 memories`.
#[must_use]
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    if count == 1 {
        return format!("1 {noun}");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{count} {stem}ies"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_every_other_number_plural() {
        for (count, noun, expected) in [
            (0_u32, "step", "0 steps"),
            (1, "tool call", "1 tool call"),
            (2, "tool call", "2 tool calls"),
            (1, "memory", "1 memory"),
            (3, "memory", "3 memories"),
            (2, "day", "2 days"),
        ] {
            assert_eq!(counted(count, noun), expected);
        }
        assert_eq!(counted(-1_i64, "byte"), format!("{} bytes", u64::MAX), "it never fails");
    }
}
