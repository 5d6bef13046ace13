//! Decides which parts of a page are no text for readers: scripts, what is hidden, navigation.

use html5gum::StartTag;

/// Elements whose content is never text.
const NO_TEXT: &[&[u8]] =
    &[b"script", b"style", b"template", b"noscript", b"iframe", b"svg", b"math", b"object", b"select", b"datalist"];
/// Elements that always have an end tag, so that leaving one out cannot swallow what follows it.
const CLOSED: &[&[u8]] = &[
    b"a", b"article", b"aside", b"button", b"dialog", b"div", b"footer", b"form", b"header", b"nav", b"ol", b"section",
    b"span", b"table", b"ul",
];
/// Elements without text that end where the main part of a page begins, when they were never closed.
const LEFT_OPEN: &[&[u8]] = &[b"svg", b"math", b"object", b"select", b"datalist"];
/// Roles of navigation.
const MENUS: &[&[u8]] = &[b"navigation", b"menu", b"menubar", b"search"];
/// Elements that end navigation which was never closed.
const MAIN: &[&[u8]] = &[b"main", b"article", b"h1"];

/// Follows the tags of a page, and says what is left out.
#[derive(Default)]
pub(super) struct Skipper {
    /// The element that is being left out, and how many of its name are open.
    within: Option<(Vec<u8>, usize)>,
    keeps_navigation: bool,
}

impl Skipper {
    /// Leaves out what is never text, and nothing else.
    pub(super) fn scripts_alone() -> Self {
        Self { keeps_navigation: true, ..Self::default() }
    }

    /// Whether nothing is left out at the moment.
    pub(super) const fn is_idle(&self) -> bool {
        self.within.is_none()
    }

    /// Whether the element that `tag` begins is kept.
    pub(super) fn open(&mut self, tag: &StartTag<()>) -> bool {
        let name: &[u8] = &tag.name;
        if let Some((within, depth)) = &mut self.within {
            if within == name && !tag.self_closing {
                *depth += 1;
            }
            let may_end = CLOSED.contains(&within.as_slice()) || LEFT_OPEN.contains(&within.as_slice());
            let ends = may_end && MAIN.contains(&name);
            if !ends {
                return false;
            }
            self.within = None;
        }
        let is_left_out = NO_TEXT.contains(&name) || (!self.keeps_navigation && is_aside(tag));
        if is_left_out && !tag.self_closing {
            self.within = Some((name.to_vec(), 1));
        }
        // The writer has a use for what a formula says in words.
        !is_left_out || name == b"math"
    }

    /// Whether the end of the element `name` is kept.
    pub(super) fn close(&mut self, name: &[u8]) -> bool {
        let Some((within, depth)) = &mut self.within else { return true };
        if within == name {
            *depth -= 1;
            if *depth == 0 {
                self.within = None;
            }
        }
        false
    }
}

/// Whether an element is navigation, or hidden.
fn is_aside(tag: &StartTag<()>) -> bool {
    let name: &[u8] = &tag.name;
    if !CLOSED.contains(&name) {
        return false;
    }
    let value = |key: &[u8]| tag.attributes.get(key).map(|value| value.to_ascii_lowercase());
    let is_unseen = value(b"style").is_some_and(|style| {
        let style: Vec<u8> = style.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
        style.windows(12).any(|window| window == b"display:none")
    });
    name == b"nav"
        || is_unseen
        || tag.attributes.contains_key(&b"hidden"[..])
        || value(b"aria-hidden").is_some_and(|value| value == b"true")
        || value(b"role").is_some_and(|role| MENUS.contains(&role.as_slice()))
}
