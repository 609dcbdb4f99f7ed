//! A cell's text cut into its top-level statements and items, by the parser that evcxr uses. Pure.

use ra_ap_syntax::ast::{self, HasModuleItem};
use ra_ap_syntax::{AstNode, Edition, SourceFile, SyntaxKind, SyntaxNode};
use std::ops::Range;

/// A statement, an item, or the expression at the end.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its bytes in the cell.
    pub range: Range<usize>,
    /// What it is. Its own offsets are those of another text.
    pub node: SyntaxNode,
}

impl Part {
    /// Whether it is a function, type, `impl`, …: what evcxr puts outside of the generated function, and into every later file too.
    pub fn is_item(&self) -> bool {
        ast::Item::can_cast(self.node.kind())
    }
}

/// The top-level parts of a cell, in order.
pub fn parts(text: &str) -> Vec<Part> {
    const BEFORE: &str = "fn f(){";
    let start = rust_begins_at(text);
    let parsed = SourceFile::parse(
        &format!("{BEFORE}{}\n}}", &text[start..]),
        Edition::Edition2024,
    )
    .tree();
    let body = parsed.items().find_map(|item| match item {
        ast::Item::Fn(function) => function.body()?.stmt_list(),
        _ => None,
    });
    body.iter()
        .flat_map(|body| body.syntax().children())
        .filter(|node| node.kind() != SyntaxKind::COMMENT)
        .filter_map(|node| {
            let range = node.text_range();
            let at = |offset: usize| (offset + start).checked_sub(BEFORE.len());
            let range = at(range.start().into())?..at(range.end().into())?.min(text.len());
            (range.start < range.end).then_some(Part { range, node })
        })
        .collect()
}

/// Where the commands (`:dep …`, `!…`), comments and blank lines at a cell's head end and Rust begins: evcxr's own rule.
pub fn rust_begins_at(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !(is_command(line) || line.starts_with("//") || line.trim().is_empty()) {
            break;
        }
        at += line.len();
    }
    at
}

/// Whether a line at a cell's head is a command.
pub fn is_command(line: &str) -> bool {
    line.starts_with('!') || line.trim_start_matches(' ').starts_with(':')
}
