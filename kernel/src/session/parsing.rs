//! Rust-analyzer's parser, for text that anybody may have written.
//!
//! The parser recurses into what is nested, and so does the tree that it makes when it is dropped, on a thread of rust-analyzer's own with an ordinary stack:
//! a hundred thousand opening parentheses, or as many `+`, end the process. So how deep a text can nest is estimated from its tokens first, which takes no
//! recursion, and what is too deep is not parsed: here, nor by evcxr.

use std::thread;

use ra_ap_parser::LexedStr;
use ra_ap_syntax::{Edition, Parse, SourceFile, SyntaxKind, T};

/// The longest text that is parsed here, in bytes.
pub const LONGEST: usize = 256 << 10;

/// How deep a text may nest, by the estimate of [`depth`]. What people write stays below a hundred.
pub const DEEPEST: usize = 1_000;

/// Up to this length the stack that the caller has is enough, in bytes of text.
const SHORT: usize = 1 << 10;

/// Room for [`DEEPEST`] levels. Measured: one takes 0.9 KiB in a release build, 3 in a debug one.
const STACK: usize = 64 << 20;

/// Parses `text` as a file and gives what `look` makes of it. `None` when the text is longer than [`LONGEST`] or deeper than [`DEEPEST`], or the parser
/// gave up.
///
/// Blocks for about 30 ns a byte, and 50 us more when the text is longer than a kilobyte.
pub fn parsed<T: Send>(text: &str, look: impl FnOnce(&Parse<SourceFile>) -> T + Send) -> Option<T> {
    if text.len() > LONGEST || depth(text) > DEEPEST {
        return None;
    }
    let parse = move || {
        // The parser panics when it takes too many steps without getting on.
        let looked =
            std::panic::AssertUnwindSafe(|| look(&SourceFile::parse(text, Edition::CURRENT)));
        std::panic::catch_unwind(looked).ok()
    };
    if text.len() <= SHORT {
        return parse();
    }
    thread::scope(|scope| {
        // Reserved, not taken: of a stack only the pages that are touched become memory.
        let started = thread::Builder::new()
            .name("parser".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, parse);
        started.ok()?.join().ok()?
    })
}

/// How deep the syntax tree of `text` can be, at most and up to a small factor; from its tokens alone, in one pass.
///
/// Every level of the grammar takes a token: an opening delimiter, an operator, an `else`. So no place is deeper than the number of tokens of its
/// statement before it, in each of the delimiters that are open there. A `;`, a `,` and the end of a block before another statement begin anew; but not
/// for `<`, which opens without being a delimiter.
pub fn depth(text: &str) -> usize {
    let lexed = LexedStr::new(Edition::CURRENT, text);
    // Of each open delimiter: what closes it (no token is `EOF`), its tokens since the statement began, and its `<` among those.
    let mut open = vec![(SyntaxKind::EOF, 0_usize, 0_usize)];
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let mut after_block = false;
    for token in 0..lexed.len() {
        let kind = lexed.kind(token);
        if kind.is_trivia() {
            continue;
        }
        let top = open.last_mut().expect("the outermost is never closed");
        let begins = kind == SyntaxKind::IDENT
            || (kind.is_keyword(Edition::CURRENT) && !matches!(kind, T![else] | T![as]));
        if after_block && (begins || kind == T![#]) {
            depth -= top.1 + top.2;
            (top.1, top.2) = (0, 0);
        }
        after_block = false;
        match kind {
            T![;] => {
                depth -= top.1 + top.2;
                (top.1, top.2) = (0, 0);
            }
            T![,] => {
                depth -= top.1;
                top.1 = 0;
            }
            T![<] => {
                top.2 += 1;
                depth += 1;
            }
            closing if closing == top.0 => {
                depth -= top.1 + top.2;
                open.pop();
                after_block = closing == T!['}'];
            }
            _ => {
                top.1 += 1;
                depth += 1;
                match kind {
                    T!['('] => open.push((T![')'], 0, 0)),
                    T!['['] => open.push((T![']'], 0, 0)),
                    T!['{'] => open.push((T!['}'], 0, 0)),
                    _ => {}
                }
            }
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [&str; 34] = [
        "(",
        "[",
        "{",
        "!",
        "-",
        "&",
        "1+",
        "if a {} else ",
        "a(",
        "|| ",
        "a.b",
        "<T",
        "x:",
        "&&",
        "match a {b=>",
        "fn f(){",
        "a=",
        "*",
        "::a",
        "#[",
        "\"",
        "r#",
        "/*",
        "a as b ",
        "..",
        "return ",
        "A<",
        "A<B, ",
        "mod a{",
        "(]",
        "(}",
        "A<[u8;",
        "|a, ",
        "{} + ",
    ];

    #[test]
    fn no_nesting_ends_the_process() {
        for piece in PIECES {
            for length in [SHORT, 8 << 10, LONGEST] {
                for before in [
                    "",
                    "let a = ",
                    "fn f() { ",
                    "type A = ",
                    "fn f() { let a = ",
                ] {
                    let mut text = before.to_owned();
                    text.push_str(&piece.repeat((length - before.len() - 4) / piece.len()));
                    text.push_str("1; }");
                    // Whatever it makes of it, it comes back.
                    parsed(&text, |file| file.errors().len());
                }
            }
        }
        assert_eq!(parsed(&" ".repeat(LONGEST + 1), |_| ()), None);
        assert_eq!(parsed("fn f() {}", |file| file.errors().len()), Some(0));
    }

    #[test]
    fn the_estimate_is_no_less_than_the_tree_is_deep() {
        for piece in PIECES {
            for before in [
                "",
                "let a = ",
                "fn f() { ",
                "type A = ",
                "fn f() { let a = ",
            ] {
                let text = format!("{before}{}1;}}", piece.repeat(100));
                let levels = parsed(&text, |file| {
                    let nodes = file.syntax_node().descendants();
                    nodes.map(|node| node.ancestors().count()).max()
                });
                let levels = levels.flatten().expect("it is short");
                let estimate = depth(&text);
                assert!(
                    levels <= 6 * estimate + 20,
                    "{text}: {levels} levels, {estimate} estimated"
                );
            }
        }
    }

    #[test]
    fn what_people_write_is_not_deep() {
        let lessons = [
            include_str!("mod.rs"),
            include_str!("../evaluator/mod.rs"),
            include_str!("../render/scene/lanes.rs"),
        ];
        for text in lessons {
            assert!(depth(text) < DEEPEST / 4, "{}", depth(text));
        }
        assert!(depth(&"let a = vec![1, 2, 3];\n".repeat(10_000)) < 20);
        assert!(depth(&format!("[{}]", "1, ".repeat(50_000))) < 20);
        assert!(depth(&"fn bake() {}\n".repeat(10_000)) < 20);
    }
}
