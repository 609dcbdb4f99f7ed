//! The Markdown of a lesson, cut into cells of prose and of code.
//!
//! Fences are found by a Markdown parser with offsets, never by looking for backticks. A `##` heading begins a cell of its own, so that JupyterLab can
//! fold what stands under it.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::fence::{self, becomes_cell};
use super::parse::{Cell, Role};

/// What a body holds; lines are those of the whole file.
#[derive(Default)]
pub struct Body {
    /// Prose and code, in order.
    pub cells: Vec<Cell>,
    /// Where it links to, each with its line.
    pub links: Vec<(usize, String)>,
    /// The texts of its headings.
    pub headings: Vec<String>,
    /// How many words its prose has, code not counted.
    pub words: usize,
    /// What is wrong, each with its line.
    pub mistakes: Vec<(usize, String)>,
}

/// Reads the part of `text` that begins at `body_at`, the byte after the front matter.
pub fn read(text: &str, body_at: usize) -> Body {
    let mut walk = Walk {
        text,
        body: Body::default(),
        prose_from: body_at,
        heading: String::new(),
        in_heading: false,
        in_fence: false,
        depth: 0,
        folded: Vec::new(),
        fence: None,
    };
    for (event, range) in
        Parser::new_ext(&text[body_at..], Options::ENABLE_TABLES).into_offset_iter()
    {
        walk.step(event, body_at + range.start..body_at + range.end);
    }
    walk.end()
}

/// The line of a byte, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}

/// The mark that should close the fence at `range`, when none does: Markdown lets such a fence swallow the rest of the file without a word.
pub fn unclosed<'a>(text: &'a str, range: &Range<usize>) -> Option<&'a str> {
    let block = text[range.clone()].trim_end();
    let mark = &block[..block.len() - block.trim_start_matches(['`', '~']).len()];
    let closes = |last: &str| last.trim_start_matches(['>', ' ']).starts_with(mark);
    (!block.lines().skip(1).last().is_some_and(closes)).then_some(mark)
}

struct Walk<'a> {
    text: &'a str,
    body: Body,
    /// Where the prose begins that is in no cell yet.
    prose_from: usize,
    /// The text of the last heading.
    heading: String,
    in_heading: bool,
    /// Whether in a fence of any kind.
    in_fence: bool,
    /// How many lists, quotes, headings, … are open.
    depth: usize,
    /// Where each `<details>` that is still open began.
    folded: Vec<usize>,
    /// The fence that is being read, if it becomes a cell: its words after the backticks, and its code so far.
    fence: Option<(String, String)>,
}

impl Walk<'_> {
    fn step(&mut self, event: Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(tag) => {
                self.open(&tag, &range);
                self.depth += 1;
            }
            Event::End(tag) => {
                self.depth -= 1;
                self.close(tag, &range);
            }
            Event::Html(html) | Event::InlineHtml(html) => self.fold(&html, range.start),
            Event::Text(part) | Event::Code(part) => {
                if !self.in_fence {
                    self.body.words += part.split_whitespace().count();
                }
                match &mut self.fence {
                    Some((_, code)) => code.push_str(&part),
                    None if self.in_heading => self.heading.push_str(&part),
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn open(&mut self, tag: &Tag<'_>, range: &Range<usize>) {
        self.in_fence |= matches!(tag, Tag::CodeBlock(_));
        match tag {
            Tag::CodeBlock(CodeBlockKind::Fenced(info)) => self.open_fence(info, range),
            Tag::Heading { level, .. } if self.depth == 0 => {
                if *level == HeadingLevel::H2 && self.folded.is_empty() {
                    self.prose_until(range.start);
                    self.prose_from = range.start;
                }
                self.heading.clear();
                self.in_heading = true;
            }
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                let line = line_of(self.text, range.start);
                self.body.links.push((line, dest_url.to_string()));
            }
            _ => {}
        }
    }

    fn close(&mut self, tag: TagEnd, range: &Range<usize>) {
        match tag {
            TagEnd::Heading(_) => {
                if self.in_heading {
                    self.body.headings.push(self.heading.clone());
                }
                self.in_heading = false;
            }
            TagEnd::CodeBlock => {
                self.in_fence = false;
                if let Some((info, code)) = self.fence.take() {
                    self.prose_until(range.start);
                    self.prose_from = range.end;
                    let line = line_of(self.text, range.start);
                    let role = fence::read(line, &info, &code, &mut self.body.mistakes);
                    self.push(line, fence::source(&code), role);
                }
            }
            _ => {}
        }
    }

    fn open_fence(&mut self, info: &str, range: &Range<usize>) {
        if let Some(mark) = unclosed(self.text, range) {
            self.mistake(
                range.start,
                format!("this fence is not closed; write a line {mark} after its last line"),
            );
        }
        if info.trim().is_empty() {
            self.mistake(
                range.start,
                "a fence without a language; write ```rust for a cell, ```text for anything else",
            );
        }
        if !becomes_cell(info) {
            return;
        }
        if self.depth > 0 {
            self.mistake(
                range.start,
                "a cell inside a list or a quote; begin its fence at the left margin, or write ```rust,ignore",
            );
        } else if let Some(open) = self.folded.last() {
            let open = line_of(self.text, *open);
            self.mistake(
                range.start,
                format!("a cell inside the <details> of line {open}; write ```rust,ignore, or close the <details> before"),
            );
        } else {
            self.fence = Some((info.to_owned(), String::new()));
        }
    }

    fn fold(&mut self, html: &str, at: usize) {
        self.folded.extend(html.matches("<details").map(|_| at));
        for _ in html.matches("</details>") {
            if self.folded.pop().is_none() {
                self.mistake(at, "</details> without a <details> before it");
            }
        }
    }

    fn prose_until(&mut self, end: usize) {
        let raw = &self.text[self.prose_from..end];
        let text = raw.trim();
        if !text.is_empty() {
            let begins = self.prose_from + raw.len() - raw.trim_start().len();
            self.push(line_of(self.text, begins), text.to_owned(), Role::Prose);
        }
    }

    fn push(&mut self, line: usize, text: String, role: Role) {
        let heading = self.heading.clone();
        self.body.cells.push(Cell {
            line,
            text,
            heading,
            role,
        });
    }

    fn mistake(&mut self, at: usize, what: impl Into<String>) {
        self.body
            .mistakes
            .push((line_of(self.text, at), what.into()));
    }

    fn end(mut self) -> Body {
        if let Some(open) = self.folded.first() {
            self.mistake(*open, "<details> is not closed; write </details> after it");
        }
        self.prose_until(self.text.len());
        self.body
    }
}
