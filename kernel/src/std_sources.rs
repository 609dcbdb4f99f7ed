//! std's sources as rust-analyzer is given them: what they declare, and what is said of it.
//!
//! Of std rust-analyzer is asked what a variable's type is, what could stand at a cursor, and what a name means. The bodies of functions, and attributes that
//! speak to the compiler alone, are most of the tokens. Parsing them takes time and memory, and more so where a macro declares the same methods for
//! each of twelve numbers: there the examples of a documentation go as well, and its first paragraph stays. Works on tokens, so that what is in macros is
//! shortened like everything else. Pure.

use ra_ap_parser::{Edition, LexedStr, SyntaxKind, T};

/// What stands in the place of a body: it has every type.
const BODY: &str = "{ loop {} }";

/// Attributes that say nothing of what a name means. `unstable` is none of them: what it is on is not offered.
const IDLE: [&str; 12] = [
    "allow",
    "cold",
    "inline",
    "must_use",
    "optimize",
    "rustc_allow_const_fn_unstable",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_inherit_overflow_checks",
    "rustc_no_implicit_autorefs",
    "stable",
    "track_caller",
];

/// The text with the body of each function replaced, and without what else rust-analyzer has no use for. Lines are not kept.
pub fn declarations(text: &str) -> String {
    let lexed = LexedStr::new(Edition::Edition2024, text);
    let mut out = String::with_capacity(text.len());
    let mut end_of_macro = 0;
    let mut end_of_call = 0;
    // Whether the first paragraph of the documentation that was read last is over.
    let mut is_told = false;
    let mut at = 0;
    while at < lexed.len() {
        let kind = lexed.kind(at);
        if kind == SyntaxKind::IDENT && lexed.text(at) == "macro_rules" {
            end_of_macro = end_of_macro.max(macro_end(&lexed, at).unwrap_or(0));
        }
        if kind == SyntaxKind::IDENT {
            end_of_call = end_of_call.max(call_end(&lexed, at).unwrap_or(0));
        }
        // What a macro is called with must stay as its patterns have it.
        let in_call = at < end_of_call;
        let in_macro = at < end_of_macro && !in_call;
        if kind == T![fn]
            && let Some((open, close)) = body(&lexed, at)
        {
            out.push_str(&text[lexed.text_start(at)..lexed.text_start(open)]);
            out.push_str(BODY);
            is_told = false;
            at = close + 1;
            continue;
        }
        if kind == T![#]
            && !in_call
            && let Some(close) = idle_attribute(&lexed, at)
        {
            at = close + 1;
            continue;
        }
        if kind == SyntaxKind::COMMENT && in_macro {
            is_told |= lexed.text(at) == "///";
            if is_told {
                at += 1;
                continue;
            }
        } else if kind != SyntaxKind::WHITESPACE {
            is_told = false;
        }
        out.push_str(lexed.text(at));
        at += 1;
    }
    out
}

/// The end of an attribute that can go.
fn idle_attribute(lexed: &LexedStr<'_>, hash: usize) -> Option<usize> {
    let open = next(lexed, hash).filter(|at| lexed.kind(*at) == T!['['])?;
    let name = next(lexed, open)?;
    let said = |at: usize, kind, text: &str| {
        next(lexed, at).filter(|at| lexed.kind(*at) == kind && lexed.text(*at) == text)
    };
    // Put together by a macro: an example for each of the numbers.
    let is_example = || {
        let equals = said(name, T![=], "=")?;
        said(equals, SyntaxKind::IDENT, "concat")
    };
    let goes = match lexed.text(name) {
        "doc" => is_example().is_some(),
        other => IDLE.contains(&other),
    };
    if goes { closing(lexed, open) } else { None }
}

/// The end of what a macro is called with, if this is its name.
fn call_end(lexed: &LexedStr<'_>, name: usize) -> Option<usize> {
    let bang = next(lexed, name).filter(|at| lexed.kind(*at) == T![!])?;
    let open = next(lexed, bang)?;
    matches!(lexed.kind(open), T!['('] | T!['['] | T!['{']).then(|| closing(lexed, open))?
}

/// The end of the macro that is defined here.
fn macro_end(lexed: &LexedStr<'_>, at: usize) -> Option<usize> {
    let bang = next(lexed, at).filter(|at| lexed.kind(*at) == T![!])?;
    let open = next(lexed, next(lexed, bang)?)?;
    closing(lexed, open)
}

/// The bracket that closes this one.
fn closing(lexed: &LexedStr<'_>, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for at in open..lexed.len() {
        match lexed.kind(at) {
            T!['('] | T!['['] | T!['{'] => depth += 1,
            T![')'] | T![']'] | T!['}'] => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// The braces of the body of the function whose `fn` this is: `None` for a type, a declaration, or what only looks like a function.
fn body(lexed: &LexedStr<'_>, function: usize) -> Option<(usize, usize)> {
    let mut at = next(lexed, function)?;
    // In a macro the name may be a parameter of it.
    if !matches!(lexed.kind(at), SyntaxKind::IDENT | T![$]) {
        return None;
    }
    if lexed.kind(at) == T![$]
        && let Some(brace) = next(lexed, at).filter(|at| lexed.kind(*at) == T!['{'])
    {
        // A name that is put together: `${concat(..)}`.
        at = closing(lexed, brace)?;
    }
    let mut depth = 0_usize;
    let open = loop {
        match lexed.kind(at) {
            T!['('] | T!['['] => depth += 1,
            // The end of what the function stands in: it was a pattern of a macro.
            T![')'] | T![']'] => depth = depth.checked_sub(1)?,
            T!['}'] | T![;] if depth == 0 => return None,
            T!['{'] if depth == 0 => break at,
            _ => {}
        }
        at = next(lexed, at)?;
    };
    Some((open, closing(lexed, open)?))
}

/// The next token that is no space and no comment.
fn next(lexed: &LexedStr<'_>, at: usize) -> Option<usize> {
    (at + 1..lexed.len()).find(|at| {
        !matches!(
            lexed.kind(*at),
            SyntaxKind::WHITESPACE | SyntaxKind::COMMENT
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_go_and_declarations_stay() {
        for (name, text, want) in [
            (
                "a function",
                "/// Doc.\npub const fn f(x: [u8; 3]) -> u8 { x[0] }\nstruct S;",
                "/// Doc.\npub const fn f(x: [u8; 3]) -> u8 { loop {} }\nstruct S;",
            ),
            (
                "nested braces",
                "fn f() { if a { b } else { c } } fn g() {}",
                "fn f() { loop {} } fn g() { loop {} }",
            ),
            (
                "where",
                "fn f<T>(t: T) -> T where T: Fn(u8) -> u8 { t }",
                "fn f<T>(t: T) -> T where T: Fn(u8) -> u8 { loop {} }",
            ),
            (
                "a trait's declaration",
                "trait T { fn f(&self); fn g(&self) { 1; } }",
                "trait T { fn f(&self); fn g(&self) { loop {} } }",
            ),
            (
                "a type",
                "type F = fn(u8) -> u8; static X: S = S { f: 1 };",
                "type F = fn(u8) -> u8; static X: S = S { f: 1 };",
            ),
            (
                "a bound",
                "fn f(g: impl Fn(u8), h: fn() -> u8) {g(1)}",
                "fn f(g: impl Fn(u8), h: fn() -> u8) { loop {} }",
            ),
            (
                "a macro's function",
                "macro_rules! m { ($n:ident) => { pub fn $n(self) -> $T { self + 1 } } }",
                "macro_rules! m { ($n:ident) => { pub fn $n(self) -> $T { loop {} } } }",
            ),
            (
                "a macro's pattern",
                "macro_rules! m { (fn $n:ident) => { struct $n {} } }",
                "macro_rules! m { (fn $n:ident) => { struct $n {} } }",
            ),
            (
                "in a string",
                "const S: &str = \"fn f() { x }\"; // fn g() { y }",
                "const S: &str = \"fn f() { x }\"; // fn g() { y }",
            ),
            ("without an end", "fn f() { {", "fn f() { {"),
            (
                "an idle attribute",
                "#[inline]#[must_use = \"x\"]#[unstable(feature = \"f\")]fn f();",
                "#[unstable(feature = \"f\")]fn f();",
            ),
            (
                "a hidden one",
                "#[doc(hidden)] #[doc = \"x\"] #[doc = concat!(\"a\", \"]\")] struct S;",
                "#[doc(hidden)] #[doc = \"x\"]  struct S;",
            ),
            (
                "documentation",
                "/// One.\n///\n/// Two.\nstruct S;",
                "/// One.\n///\n/// Two.\nstruct S;",
            ),
            (
                "what a macro is called with",
                "m!(@impls #[stable(x)], u8); m! { #[stable(x)] /// One.\n///\n/// Two.\nfn f() { 1 } }",
                "m!(@impls #[stable(x)], u8); m! { #[stable(x)] /// One.\n///\n/// Two.\nfn f() { loop {} } }",
            ),
            (
                "a call in a macro",
                "macro_rules! m { () => { #[stable] n!(#[stable], 1); #[stable] struct S; } }",
                "macro_rules! m { () => {  n!(#[stable], 1);  struct S; } }",
            ),
            (
                "documentation in a macro",
                "macro_rules! m { () => { /// One.\n/// More.\n///\n/// Two.\nfn f() {}/// Three.\nfn g() {} } }",
                "macro_rules! m { () => { /// One.\n/// More.\n\n\nfn f() { loop {} }/// Three.\nfn g() { loop {} } } }",
            ),
            ("nothing", "", ""),
        ] {
            assert_eq!(declarations(text), want, "{name}");
        }
    }
}
