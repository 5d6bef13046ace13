//! The lists and quotes that are open, and how they indent lines.

/// Deepest nesting that is shown.
const MAX_DEPTH: usize = 12;

/// A list or quote that is open.
enum Container {
    Quote,
    /// A list: the number of its next item, when it counts them.
    List(Option<u64>),
    /// An item: how far its text is indented, and its marker until it is written.
    Item(usize, Option<String>),
}

/// The containers that are open, the outermost first.
#[derive(Default)]
pub(super) struct Containers {
    open: Vec<Container>,
    /// Lists and quotes beyond the deepest that is shown, and those in cells of tables.
    unshown: usize,
}

impl Containers {
    /// Whether an item of a list is open.
    pub(super) fn are_items(&self) -> bool {
        self.open.iter().any(|container| matches!(container, Container::Item(..)))
    }

    /// Writes what the containers put before a line.
    pub(super) fn indent(&mut self, out: &mut String) {
        for container in &mut self.open {
            match container {
                Container::Quote => out.push_str("> "),
                Container::List(_) => {}
                Container::Item(indent, marker) => match marker.take() {
                    Some(marker) => out.push_str(&marker),
                    None => out.extend(std::iter::repeat_n(' ', *indent)),
                },
            }
        }
    }

    /// Opens the element `name`. Numbers of an ordered list begin with `start`.
    pub(super) fn open(&mut self, name: &[u8], start: u64, is_in_cell: bool) {
        if name == b"li" {
            self.leave_item();
        }
        if is_in_cell || self.open.len() >= MAX_DEPTH {
            self.unshown += usize::from(name != b"li");
            return;
        }
        let container = match name {
            b"blockquote" => Container::Quote,
            b"ol" => Container::List(Some(start)),
            b"li" => self.next_item(),
            _ => Container::List(None),
        };
        self.open.push(container);
    }

    /// The next item of the list that is open; with a bullet when none is.
    fn next_item(&mut self) -> Container {
        let marker = match self.open.last_mut() {
            Some(Container::List(Some(number))) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".to_owned(),
        };
        Container::Item(marker.len(), Some(marker))
    }

    /// Closes the element `name`, and what is open within it.
    pub(super) fn close(&mut self, name: &[u8]) {
        if name == b"li" {
            return self.leave_item();
        }
        if self.unshown > 0 {
            self.unshown -= 1;
            return;
        }
        let is_quote = name == b"blockquote";
        let found = self.open.iter().rposition(|container| match container {
            Container::Quote => is_quote,
            Container::List(_) => !is_quote,
            Container::Item(..) => false,
        });
        if let Some(at) = found {
            self.open.truncate(at);
        }
    }

    /// Ends the item of the innermost list, when one is open.
    fn leave_item(&mut self) {
        if self.unshown > 0 {
            return;
        }
        let list = self.open.iter().rposition(|container| matches!(container, Container::List(_)));
        let item = self.open.iter().rposition(|container| matches!(container, Container::Item(..)));
        if let Some(item) = item.filter(|item| list.is_none_or(|list| list < *item)) {
            self.open.truncate(item);
        }
    }

    /// Forgets the lists that a cell of a table did not close.
    pub(super) const fn forget_unshown(&mut self) {
        self.unshown = 0;
    }
}
