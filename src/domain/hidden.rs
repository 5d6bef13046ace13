//! Characters that people do not see, or that change how they see others.

/// Whether `c` can change what is shown elsewhere: a control character, a line break of Unicode, or one that turns the direction of
/// text.
#[must_use]
pub fn alters_display(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Whether `c` takes no room, or looks like a space and is none, so that two texts can look the same and differ in it; all characters
/// that [`alters_display`] names included.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    alters_display(c)
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
                | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
                | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Whether `c` chooses among the forms of the character before it, and is not seen itself.
#[must_use]
pub fn selects_form(c: char) -> bool {
    matches!(c, '\u{180b}'..='\u{180d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_spaces_and_emoji_are_seen() {
        for c in ['a', 'é', '漢', ' ', '\u{a0}', '😀', 'ß', '\u{301}'] {
            assert!(!is_hidden(c) && !selects_form(c), "{c:?}");
        }
        for c in ['\n', '\u{1b}', '\u{9b}', '\u{202e}', '\u{61c}', '\u{200f}', '\u{2066}'] {
            assert!(alters_display(c) && is_hidden(c), "{c:?}");
        }
        for c in
            ['\u{200b}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{e0041}', '\u{ad}', '\u{34f}', '\u{115f}', '\u{1160}']
        {
            assert!(is_hidden(c) && !alters_display(c), "{c:?}");
        }
        for c in ['\u{3164}', '\u{ffa0}', '\u{180e}', '\u{fff9}', '\u{fffb}', '\u{200c}'] {
            assert!(is_hidden(c), "{c:?}");
        }
        assert!(selects_form('\u{fe0f}') && selects_form('\u{e0101}'));
    }
}
