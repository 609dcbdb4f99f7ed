//! What evcxr would drop or cut off without a word, found before it runs: a cell is red instead. Pure.
//!
//! evcxr cuts a cell into statements by a parser that mends what it reads, and puts code of its own behind them. So a cell that closes a brace too many at
//! its head is no cell to it, a `let` without a pattern is left out, one without a value takes what evcxr puts behind it for its value, and a `return`
//! leaves before the cell's variables are kept, which ends the process in each later cell.

use super::diagnostics::{CellSpan, Diagnostic};
use super::scoped::bound;
use super::syntax::{Part, parts, rust_begins_at};
use ra_ap_parser::LexedStr;
use ra_ap_syntax::ast::{self, AstNode, HasName};
use ra_ap_syntax::{Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxNode, T};
use std::ops::Range;

/// What is said of a `return` in a cell that makes variables.
const NO_FUNCTION: &str = "a cell is no function: put these lines into one and call it, or end the cell by a panic or an error, as in \
    `let Some(n) = found else { panic!(\"nothing\") };` and `let n = found.ok_or(\"nothing\")?;`";

/// Why `text` must not be given to evcxr, with the place; `None` when it may.
pub fn refusal(text: &str) -> Option<Diagnostic> {
    let parts = parts(text);
    let (message, place, hint) = of_a_cell_without_parts(text, &parts)
        .or_else(|| parts.iter().find_map(of_a_part))
        .or_else(|| of_the_end(text, &parts))
        .or_else(|| of_a_return(&parts))?;
    let span = CellSpan {
        start: line_and_column(text, place.start),
        end: line_and_column(text, place.end),
        label: String::new(),
        is_primary: true,
    };
    Some(Diagnostic {
        json: serde_json::Value::Null,
        message,
        code: None,
        hint,
        spans: vec![span],
    })
}

type Refusal = (String, Range<usize>, Option<&'static str>);

/// Text in which the parser finds no statement, and which is not blank.
fn of_a_cell_without_parts(text: &str, parts: &[Part]) -> Option<Refusal> {
    if !parts.is_empty() {
        return None;
    }
    // Also in what looks like a comment's line: one that begins there may not end.
    let lexed = LexedStr::new(Edition::CURRENT, text);
    if let Some((token, why)) = lexed.errors().next()
        && lexed.kind(token) == SyntaxKind::COMMENT
    {
        return Some((
            why.to_owned(),
            first_line_of(text, lexed.text_range(token)),
            None,
        ));
    }
    let start = rust_begins_at(text);
    let lexed = LexedStr::new(Edition::CURRENT, &text[start..]);
    let token = (0..lexed.len()).find(|&token| !lexed.kind(token).is_trivia())?;
    let range = lexed.text_range(token);
    let message = match lexed.kind(token) {
        T!['}'] => "this `}` closes nothing".to_owned(),
        T![;] => return None,
        _ => format!("no statement begins with `{}`", lexed.text(token)),
    };
    Some((message, start + range.start..start + range.end, None))
}

/// A statement that evcxr leaves out.
fn of_a_part(part: &Part) -> Option<Refusal> {
    let message = if let Some(statement) = ast::LetStmt::cast(part.node.clone()) {
        if statement.pat().is_some() {
            return None;
        }
        "expected the name of a variable, or a pattern, after `let`"
    } else if let Some(item) = ast::ExternCrate::cast(part.node.clone()) {
        if item.name_ref().is_some() || item.rename().is_some_and(|rename| rename.name().is_some())
        {
            return None;
        }
        "expected the name of a crate after `extern crate`"
    } else {
        return None;
    };
    Some((message.to_owned(), part.range.clone(), None))
}

/// A `let` at the cell's end that lacks its own end. A missing semicolon is left to the compiler, who sees it.
fn of_the_end(text: &str, parts: &[Part]) -> Option<Refusal> {
    let last = parts.last()?;
    ast::LetStmt::can_cast(last.node.kind()).then_some(())?;
    let alone = format!("fn f(){{{}\n}}", &text[last.range.clone()]);
    let end = "fn f(){".len() + text[last.range.clone()].trim_end().len();
    let file = SourceFile::parse(&alone, Edition::CURRENT);
    let error = file
        .errors()
        .into_iter()
        .find(|error| usize::from(error.range().start()) >= end)?;
    let expected = error.to_string();
    if expected.contains("SEMICOLON") {
        return None;
    }
    let message = format!("the cell ends in the middle of this `let`: {expected}");
    Some((message, first_line_of(text, last.range.clone()), None))
}

/// A `return` that would leave the cell, which makes variables.
fn of_a_return(parts: &[Part]) -> Option<Refusal> {
    let (name, _) = parts.iter().flat_map(bound).next()?;
    parts
        .iter()
        .filter(|part| !part.is_item())
        .find_map(|part| {
            let place = leaves_the_cell(&part.node)?;
            // The nodes' offsets are those of the text that the part was cut from.
            let start =
                part.range.start + place.start - usize::from(part.node.text_range().start());
            let message =
                format!("this `return` leaves the cell before `{name}` is kept for later cells");
            Some((message, start..start + place.len(), Some(NO_FUNCTION)))
        })
}

/// The bytes of a `return` in `node` that is of no function, closure or future in it.
fn leaves_the_cell(node: &SyntaxNode) -> Option<Range<usize>> {
    for child in node.children_with_tokens() {
        let found = match child {
            NodeOrToken::Token(token) if token.kind() == T![return] => {
                let range = token.text_range();
                Some(range.start().into()..range.end().into())
            }
            NodeOrToken::Token(_) => None,
            NodeOrToken::Node(child) if is_left_by_its_own_returns(&child) => None,
            NodeOrToken::Node(child) => leaves_the_cell(&child),
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Whether a `return` in a node is its own. What a macro is called with is tokens alone: one that has a closure or a function among them may be.
fn is_left_by_its_own_returns(node: &SyntaxNode) -> bool {
    let is_async =
        |block: ast::BlockExpr| block.async_token().is_some() || block.const_token().is_some();
    let of_its_own = |kind| matches!(kind, T![|] | T![||] | T![fn] | T![async]);
    ast::ClosureExpr::can_cast(node.kind())
        || ast::Item::can_cast(node.kind()) && !ast::MacroCall::can_cast(node.kind())
        || ast::BlockExpr::cast(node.clone()).is_some_and(is_async)
        || ast::TokenTree::can_cast(node.kind())
            && node
                .descendants_with_tokens()
                .any(|part| of_its_own(part.kind()))
}

/// The part of a range that lies on its first line.
fn first_line_of(text: &str, range: Range<usize>) -> Range<usize> {
    let first = text[range.clone()].lines().next().unwrap_or_default();
    range.start..range.start + first.len()
}

/// Both from 1, the column in characters.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte];
    let line = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_dropped_or_cut_off_is_told_with_its_place() {
        for (cell, words, start) in [
            ("}}}}", "this `}` closes nothing", (1, 1)),
            ("};let a = 1;{", "this `}` closes nothing", (1, 1)),
            (
                ":dep x = \"1\"\n\n  } fn g() {",
                "this `}` closes nothing",
                (3, 3),
            ),
            ("/* ä\nlet a = 1;", "comment", (1, 1)),
            ("let", "after `let`", (1, 1)),
            ("let ä = 1; let = 2;", "after `let`", (1, 12)),
            ("let a = 1;\nlet\n\n", "after `let`", (2, 1)),
            ("extern crate", "name of a crate", (1, 1)),
            (
                "let a = 1;\nlet x =\n\n",
                "in the middle of this `let`",
                (2, 1),
            ),
            ("let f = ||", "in the middle of this `let`", (1, 1)),
            (
                "let Some(n) = x else { return };",
                "before `n` is kept",
                (1, 24),
            ),
            (
                "let é = 1;\nif é > 0 { return; }",
                "before `é` is kept",
                (2, 12),
            ),
            (
                "let a = 1; println!(\"{}\", match a { 1 => return, n => n });",
                "before `a`",
                (1, 42),
            ),
        ] {
            let found = refusal(cell);
            let found = found
                .as_ref()
                .map(|found| (&found.message, found.spans[0].start));
            assert!(
                found.is_some_and(|(message, at)| message.contains(words) && at == start),
                "{cell}: {found:?}"
            );
        }
    }

    #[test]
    fn what_evcxr_understands_is_left_to_it() {
        for cell in [
            "",
            "\n\n",
            "// alone",
            "/* whole */",
            ";",
            ":dep x = \"1\"",
            "let a = 1",
            "let a = 1;",
            "let x: u8 = \"a\"",
            "let a;",
            "1 +",
            "fn f(",
            "if a { return; } println!(\"x\");",
            "let f = |n| { return n; };",
            "let a = 1; fn f() -> u8 { return 1; }",
            "let h = spawn(move || { for n in 0.. { return n; } 1 });",
            "let h = async { return 1; };",
            "let h = vec![spawn(|| { return 1; })];",
            "extern crate self as me;",
            "let Some(n) = x else { panic!() };",
        ] {
            let found = refusal(cell).map(|found| found.message);
            assert_eq!(found, None, "{cell}");
        }
    }
}
