//! Writes Markdown from the tags and texts of a page, in one pass.

use std::mem;

use html5gum::StartTag;
use reqwest::Url;

use super::MAX_TEXT;
use super::containers::Containers;
use super::links::{Link, MAX_URL};
use super::table::Table;

/// Most tables within tables.
const MAX_TABLES: usize = 50;
/// Longest alternative text of an image, in bytes.
const MAX_ALT: usize = 200;
/// What a text ends with that was cut.
const CUT: &str = "\n\n[the page goes on]";

/// Elements that stand on lines of their own.
const BLOCKS: &[&[u8]] = &[
    b"address",
    b"article",
    b"aside",
    b"body",
    b"caption",
    b"center",
    b"dd",
    b"details",
    b"dialog",
    b"div",
    b"dl",
    b"dt",
    b"fieldset",
    b"figcaption",
    b"figure",
    b"footer",
    b"form",
    b"head",
    b"header",
    b"hgroup",
    b"html",
    b"legend",
    b"main",
    b"nav",
    b"p",
    b"search",
    b"section",
    b"summary",
];

/// What the text of a page stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Words,
    /// `pre`: white space is kept.
    Code,
    /// The title of the page, which is not part of its body.
    Title,
}

/// The writer of one page.
pub(super) struct Writer {
    /// What links are relative to; without it they are left out.
    base: Option<Url>,
    out: String,
    /// The text of the block that is being read.
    line: String,
    containers: Containers,
    tables: Vec<Table>,
    heading: Option<usize>,
    has_main_heading: bool,
    link: Option<Link>,
    title: String,
    reading: Reading,
    /// Bytes taken in so far.
    written: usize,
    ends_in_list: bool,
    /// The tables in place of their Markdown, when they alone are wanted.
    read: Option<Vec<Vec<Vec<String>>>>,
}

impl Writer {
    /// A writer for the page at `base`.
    pub(super) fn new(base: Url) -> Self {
        Self::with(Some(base), None)
    }

    /// A writer that reads the tables of a page.
    pub(super) fn of_tables() -> Self {
        Self::with(None, Some(Vec::new()))
    }

    fn with(base: Option<Url>, read: Option<Vec<Vec<Vec<String>>>>) -> Self {
        Self {
            base,
            out: String::new(),
            line: String::new(),
            containers: Containers::default(),
            tables: Vec::new(),
            heading: None,
            has_main_heading: false,
            link: None,
            title: String::new(),
            reading: Reading::Words,
            written: 0,
            ends_in_list: false,
            read,
        }
    }

    /// Whether there is a text beside the title.
    pub(super) const fn has_body(&self) -> bool {
        !self.out.is_empty()
    }

    /// Whether the text is as long as it may become.
    pub(super) const fn is_full(&self) -> bool {
        self.written >= MAX_TEXT || self.out.len() >= MAX_TEXT
    }

    /// Ends what the page left open.
    pub(super) fn end(&mut self) {
        if self.is_code() {
            self.end_code();
        }
        while !self.tables.is_empty() {
            self.end_table();
        }
        self.end_block();
    }

    /// The tables.
    pub(super) fn into_tables(self) -> Vec<Vec<Vec<String>>> {
        self.read.unwrap_or_default()
    }

    /// The text, whole. Call [`Self::end`] before.
    pub(super) fn finish(mut self) -> String {
        let is_full = self.is_full();
        let title = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        if !title.is_empty() && !self.has_main_heading {
            self.out = if self.out.is_empty() { format!("# {title}") } else { format!("# {title}\n\n{}", self.out) };
        }
        if is_full || self.out.len() > MAX_TEXT {
            self.out.truncate(self.out.floor_char_boundary(MAX_TEXT));
            self.out.push_str(CUT);
        }
        self.out
    }

    /// Takes in a text between two tags.
    pub(super) fn text(&mut self, text: &str) {
        self.written += text.len();
        match self.reading {
            Reading::Words => self.words(text),
            Reading::Code => self.line.push_str(text),
            Reading::Title => self.title.push_str(text),
        }
    }

    /// Adds `text` to the line, with one space where it has any number of white space.
    fn words(&mut self, text: &str) {
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim_end();
            self.line.push_str(word);
            if word.len() < part.len() && !self.line.is_empty() && !self.line.ends_with([' ', '\n']) {
                self.line.push(' ');
            }
        }
    }

    /// Takes in a start tag.
    pub(super) fn open(&mut self, tag: &StartTag<()>) {
        self.written += 1;
        let name: &[u8] = &tag.name;
        match name {
            b"title" if self.reading == Reading::Words && self.title.is_empty() => self.reading = Reading::Title,
            b"base" => self.base_from(tag),
            b"a" => self.open_link(tag),
            b"br" => self.line_break(),
            b"img" => self.image(tag),
            b"math" => self.words(&attribute(tag, b"alttext")),
            b"sup" => self.line.push('^'),
            b"del" | b"s" | b"strike" => self.line.push_str("~~"),
            b"code" | b"kbd" | b"samp" | b"tt" if !self.is_code() => self.line.push('`'),
            b"hr" => {
                self.end_block();
                self.block("---");
            }
            b"pre" => {
                self.end_block();
                if !self.is_in_cell() {
                    self.reading = Reading::Code;
                }
            }
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => {
                self.end_block();
                self.heading = Some(usize::from(name[1] - b'0'));
            }
            b"ul" | b"ol" | b"menu" | b"blockquote" | b"li" => self.open_container(tag),
            b"table" => self.open_table(),
            b"tr" | b"td" | b"th" => self.open_part_of_table(tag),
            _ if BLOCKS.contains(&name) => self.end_block(),
            _ => {}
        }
    }

    /// Takes in an end tag.
    pub(super) fn close(&mut self, name: &[u8]) {
        match name {
            b"title" if self.reading == Reading::Title => self.reading = Reading::Words,
            b"a" => self.close_link(),
            b"sup" if self.line.ends_with('^') => {
                self.line.pop();
            }
            b"del" | b"s" | b"strike" => self.line.push_str("~~"),
            b"code" | b"kbd" | b"samp" | b"tt" if !self.is_code() => {
                if !self.line.ends_with('`') || self.line.ends_with("``") {
                    self.line.push('`');
                } else {
                    self.line.pop();
                }
            }
            b"pre" => self.end_code(),
            b"ul" | b"ol" | b"menu" | b"blockquote" | b"li" => self.close_container(name),
            b"table" if !self.tables.is_empty() => self.end_table(),
            b"td" | b"th" => self.end_cell(),
            b"tr" => self.end_row(),
            b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" => self.end_block(),
            _ if BLOCKS.contains(&name) => self.end_block(),
            _ => {}
        }
    }

    fn is_code(&self) -> bool {
        self.reading == Reading::Code
    }

    fn is_in_cell(&self) -> bool {
        self.tables.last().is_some_and(Table::is_in_cell)
    }

    fn base_from(&mut self, tag: &StartTag<()>) {
        let base = self.base.as_ref().and_then(|base| base.join(attribute(tag, b"href").trim()).ok());
        let is_usable = |base: &Url| matches!(base.scheme(), "http" | "https") && base.as_str().len() <= MAX_URL;
        if let Some(base) = base.filter(is_usable) {
            self.base = Some(base);
        }
    }

    fn open_link(&mut self, tag: &StartTag<()>) {
        self.close_link();
        if self.is_code() {
            return;
        }
        let Some(base) = &self.base else { return };
        let label =
            [&b"aria-label"[..], b"title"].map(|key| attribute(tag, key)).into_iter().find(|text| !text.is_empty());
        let href = attribute(tag, b"href");
        self.link = Link::read(&href, base, label.unwrap_or_default(), self.line.len());
    }

    /// Writes the link that is open around its text.
    fn close_link(&mut self) {
        let Some(link) = self.link.take() else { return };
        let before = self.line.len();
        link.write(&mut self.line);
        self.written += self.line.len().saturating_sub(before);
    }

    fn line_break(&mut self) {
        if self.is_code() {
            self.line.push('\n');
            return;
        }
        self.line.truncate(self.line.trim_end_matches(' ').len());
        if !self.line.is_empty() && !self.line.ends_with('\n') {
            self.line.push('\n');
        }
    }

    fn image(&mut self, tag: &StartTag<()>) {
        let alt = attribute(tag, b"alt");
        let alt = alt[..alt.floor_char_boundary(MAX_ALT)].trim();
        if alt.is_empty() || self.is_code() {
            return;
        }
        self.written += alt.len();
        self.words(&if self.link.is_some() { alt.to_owned() } else { format!("[image: {alt}]") });
    }

    /// Ends the block that is being read. Inside a cell it is a line of the cell.
    fn end_block(&mut self) {
        if self.is_in_cell() {
            self.line_break();
            return;
        }
        if self.is_code() {
            if !self.line.ends_with('\n') {
                self.line.push('\n');
            }
            return;
        }
        if let Some(link) = self.link.take() {
            // The link of several blocks is written once, around the first that has text.
            let before = self.line.len();
            if link.write(&mut self.line) {
                self.written += self.line.len().saturating_sub(before);
            } else {
                self.link = Some(link.moved_to_next_line());
            }
        }
        let line = mem::take(&mut self.line);
        let (text, heading) = (line.trim(), self.heading.take());
        if text.is_empty() {
            return;
        }
        if let Some(level) = heading {
            self.has_main_heading |= level == 1;
            self.block(&format!("{} {}", "#".repeat(level), text.replace('\n', " ")));
        } else {
            self.block(text);
        }
    }

    fn end_code(&mut self) {
        if !self.is_code() {
            return self.end_block();
        }
        self.reading = Reading::Words;
        let line = mem::take(&mut self.line);
        let code = line.trim_matches('\n').trim_end();
        if code.is_empty() {
            return;
        }
        let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or_default();
        let fence = "`".repeat(longest.clamp(2, 20) + 1);
        self.block(&format!("{fence}\n{code}\n{fence}"));
    }

    /// Writes a block of one or more lines, behind the indents of the containers that are open.
    fn block(&mut self, text: &str) {
        let is_in_list = self.containers.are_items();
        if !self.out.is_empty() {
            self.out.push_str(if is_in_list && self.ends_in_list { "\n" } else { "\n\n" });
        }
        self.ends_in_list = is_in_list;
        for (number, part) in text.split('\n').enumerate() {
            if number > 0 {
                self.out.push('\n');
            }
            let start = self.out.len();
            self.containers.indent(&mut self.out);
            self.written += self.out.len() - start;
            self.out.push_str(part.trim_end());
        }
    }

    fn open_container(&mut self, tag: &StartTag<()>) {
        self.end_block();
        let start = attribute(tag, b"start").trim().parse().unwrap_or(1);
        let is_in_cell = self.is_in_cell();
        self.containers.open(&tag.name, start, is_in_cell);
    }

    fn close_container(&mut self, name: &[u8]) {
        self.end_block();
        self.containers.close(name);
    }

    fn open_table(&mut self) {
        if let Some(outer) = self.tables.last_mut().filter(|outer| !outer.is_layout) {
            let cells = outer.take_as_layout();
            for cell in &cells {
                self.block(cell);
            }
        }
        self.end_block();
        if self.tables.len() < MAX_TABLES {
            self.tables.push(Table::default());
        }
    }

    fn open_part_of_table(&mut self, tag: &StartTag<()>) {
        if tag.name == b"tr" {
            self.end_row();
        } else {
            self.end_cell();
        }
        if !self.is_in_cell() {
            self.end_block();
        }
        let span = |key: &[u8]| attribute(tag, key).trim().parse().unwrap_or(1);
        let Some(table) = self.tables.last_mut().filter(|table| !table.is_layout) else { return };
        if tag.name == b"tr" {
            table.begin_row();
        } else {
            table.begin_cell(span(b"colspan"), span(b"rowspan"));
            self.written += 1;
        }
    }

    fn end_cell(&mut self) {
        if !self.is_in_cell() {
            return self.end_block();
        }
        self.close_link();
        self.heading = None;
        self.containers.forget_unshown();
        let text = mem::take(&mut self.line);
        if let Some(table) = self.tables.last_mut() {
            table.end_cell(&text);
        }
    }

    fn end_row(&mut self) {
        self.end_cell();
        if let Some(table) = self.tables.last_mut() {
            table.end_row();
        }
    }

    fn end_table(&mut self) {
        self.end_row();
        let Some(table) = self.tables.pop() else { return };
        if let Some(read) = &mut self.read {
            read.extend(table.into_rows());
            return;
        }
        let text = table.markdown();
        if !text.is_empty() {
            self.block(&text);
        }
    }
}

/// The value of an attribute; empty when it is absent.
fn attribute(tag: &StartTag<()>, key: &[u8]) -> String {
    tag.attributes.get(key).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}
