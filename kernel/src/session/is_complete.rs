//! Whether a console should run what was typed, or give another line for it.
//!
//! Asks rust-analyzer's parser, and never the compiler: the answer must come while a key is being pressed.

use ra_ap_syntax::{NodeOrToken, SyntaxError, SyntaxKind, SyntaxToken, T};

use super::parsing::parsed;

const INDENT: &str = "    ";
/// Deeper than this, the next line is not indented further.
const DEEPEST_INDENT: usize = 20;

/// The answer to an `is_complete_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// It can run.
    Complete,
    /// More is to come.
    Incomplete {
        /// What the next line begins with.
        indent: String,
    },
    /// No further line can mend it.
    Invalid,
    /// It is too long to say, or the parser gave up.
    Unknown,
}

impl Completeness {
    /// Judges the text of a cell. Blocks for as long as two readings by the parser take.
    pub fn of(code: &str) -> Completeness {
        let rust = without_commands(code);
        let seen = parsed(rust, |file| {
            let tokens = file
                .syntax_node()
                .descendants_with_tokens()
                .filter_map(NodeOrToken::into_token);
            let tokens: Vec<SyntaxToken> = tokens.collect();
            let significant = tokens.iter().rev().find(|token| !token.kind().is_trivia());
            Seen {
                depth: open_delimiters(&tokens),
                ends_open: tokens
                    .last()
                    .is_some_and(|last| is_open(last, &file.errors())),
                end: significant.map_or(0, |token| usize::from(token.text_range().end())),
            }
        });
        let Some(seen) = seen else {
            return Completeness::Unknown;
        };
        let Some(depth) = seen.depth else {
            return Completeness::Invalid;
        };
        let next_line = || Completeness::Incomplete {
            indent: INDENT.repeat(depth.min(DEEPEST_INDENT)),
        };
        if seen.ends_open {
            // Inside a string every space counts.
            return Completeness::Incomplete {
                indent: String::new(),
            };
        }
        if depth > 0 {
            return next_line();
        }

        // Cells hold statements, which only a function may hold in a file.
        let opening = "fn cell() {\n";
        let end = opening.len() + seen.end;
        let errors = parsed(&format!("{opening}{rust}\n}}"), |file| {
            let starts = file
                .errors()
                .into_iter()
                .map(|error| usize::from(error.range().start()));
            starts.collect::<Vec<usize>>()
        });
        match errors {
            None => Completeness::Unknown,
            Some(errors) if errors.is_empty() => Completeness::Complete,
            Some(errors) if errors.iter().all(|&start| start >= end) => next_line(),
            Some(_) => Completeness::Invalid,
        }
    }
}

/// What the parser makes of a cell that it reads as a file.
struct Seen {
    /// How many delimiters are open at the end; `None` when one closes what was never opened.
    depth: Option<usize>,
    /// Whether it ends in a comment or a string that lacks its end.
    ends_open: bool,
    /// Where its last word ends.
    end: usize,
}

/// Skips the lines at the beginning that are commands, such as `:dep rand`, `!ls` and `%hint`: each is complete in itself.
pub fn without_commands(code: &str) -> &str {
    let mut rest = code;
    while rest.trim_start().starts_with([':', '!', '%']) {
        rest = rest
            .trim_start()
            .split_once('\n')
            .map_or("", |(_, rest)| rest);
    }
    rest
}

/// Counts the delimiters that are open at the end; `None` when one closes what was never opened.
fn open_delimiters(tokens: &[SyntaxToken]) -> Option<usize> {
    let mut closing = Vec::new();
    for token in tokens {
        match token.kind() {
            T!['{'] => closing.push(T!['}']),
            T!['('] => closing.push(T![')']),
            T!['['] => closing.push(T![']']),
            kind @ (T!['}'] | T![')'] | T![']']) if closing.pop() != Some(kind) => return None,
            _ => {}
        }
    }
    Some(closing.len())
}

/// Whether the last token is a comment or a string that lacks its end. (A character in quotes that lacks it is a mistake: it cannot go on.)
fn is_open(last: &SyntaxToken, errors: &[SyntaxError]) -> bool {
    use SyntaxKind::{BYTE_STRING, C_STRING, COMMENT, STRING};
    let may_go_on = matches!(last.kind(), COMMENT | STRING | BYTE_STRING | C_STRING);
    may_go_on
        && errors
            .iter()
            .any(|error| error.range().end() >= last.text_range().start() && lacks_end(error))
}

/// Whether the parser's complaint is that an end is missing. It says so in words only; raw strings have words of their own.
fn lacks_end(error: &SyntaxError) -> bool {
    let text = error.to_string();
    text.starts_with("Missing trailing") || text == "Invalid raw string literal"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_judged_as_a_reader_would() {
        let more = |levels| Completeness::Incomplete {
            indent: INDENT.repeat(levels),
        };
        let cases = [
            ("", Completeness::Complete),
            ("   \n", Completeness::Complete),
            ("1 + 1", Completeness::Complete),
            ("let a = 1;\na", Completeness::Complete),
            (
                "use std::thread;\nthread::spawn(|| 1).join()",
                Completeness::Complete,
            ),
            ("struct Oven { warm: bool }", Completeness::Complete),
            (
                "for i in 0..3 { println!(\"{i}\"); }",
                Completeness::Complete,
            ),
            ("// a comment only", Completeness::Complete),
            ("let s = \"}\"; /* { */ '{'", Completeness::Complete),
            (":dep rand = \"0.9\"", Completeness::Complete),
            (":help", Completeness::Complete),
            ("!ls (", Completeness::Complete),
            (":dep rand\nlet a =", more(0)),
            ("fn bake() {", more(1)),
            ("fn bake() {\n    if true {\n", more(2)),
            ("spawn(move || {\n    for _ in 0..3 {\n    }", more(2)),
            ("println!(", more(1)),
            ("let a = [1,", more(1)),
            ("let a =", more(0)),
            ("let a = 1", more(0)),
            ("1 +", more(0)),
            ("1 + // and", more(0)),
            ("fn bake()", more(0)),
            ("#[derive(Debug)]", more(0)),
            ("let s = \"one", more(0)),
            ("{ let s = r#\"one\"", more(0)),
            ("/* one /* two */", more(0)),
            (")", Completeness::Invalid),
            ("let a = (1];", Completeness::Invalid),
            ("let = 3;", Completeness::Invalid),
            ("fn 3() {}", Completeness::Invalid),
            ("let a = 'x", Completeness::Invalid),
            ("}{", Completeness::Invalid),
            (&"(".repeat(900), more(DEEPEST_INDENT)),
            (&"1+".repeat(450), more(0)),
            (&"(".repeat(60_000), Completeness::Unknown),
            (&" ".repeat(1_000_000), Completeness::Unknown),
        ];
        for (code, want) in cases {
            assert_eq!(Completeness::of(code), want, "{code:?}");
        }
    }
}
