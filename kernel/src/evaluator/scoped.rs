//! Cells with variables that evcxr cannot keep: guards, references, closures. They run all the same, and those variables end with their cell.
//!
//! evcxr moves every variable of a cell into a store for the next cell, which takes nothing that borrows or has no name for its type, and refuses the cell.
//! Here the cell is put differently: from the statement on that makes such a variable all goes into a block, out of which the other variables are handed.
//! The statements keep their text, so that lines of errors are found. Pure.

use super::diagnostics::Diagnostic;
use super::syntax::{Part, parts};
use ra_ap_syntax::AstNode;
use ra_ap_syntax::ast::{self, HasName};
use serde_json::Value;
use std::collections::BTreeSet;

/// The variable that a refusal of evcxr's is about.
pub fn refused_variable(message: &str) -> Option<&str> {
    let about = message
        .strip_prefix("Couldn't automatically determine type of variable `")
        .or_else(|| {
            let kept_out = ["is a closure", "cannot be persisted", "can't be persisted"];
            message
                .strip_prefix("The variable `")
                .filter(|_| kept_out.iter().any(|words| message.contains(words)))
        })?;
    about.split_once('`').map(|(name, _)| name)
}

/// The variables whose closures borrow what the cell makes (E0373), where the compiler points at a closure that a top-level `let` names. A closure that is
/// given to something else, such as a thread, is another matter: there the compiler is right.
pub fn closures_at(text: &str, errors: &[Diagnostic]) -> Vec<String> {
    let starts: Vec<usize> = errors
        .iter()
        .filter(|error| error.code.as_deref() == Some("E0373"))
        .flat_map(|error| error.spans.iter().filter(|span| span.is_primary))
        .filter_map(|span| byte_at(text, span.start))
        .collect();
    parts(text)
        .iter()
        .filter(|part| starts.iter().any(|start| part.range.contains(start)))
        .filter(|part| names_a_closure(part))
        .flat_map(bound)
        .map(|(name, _)| name)
        .collect()
}

/// The variables whose values never come, such as that of `let x = loop {…};`. evcxr cannot write their type `!` on the stable compiler, and of the refusal
/// that it gets passes on the warnings alone, one of which points at what comes to no end; else, of warnings alone, closures and then all variables.
pub fn endless_at(text: &str, errors: &[Diagnostic]) -> Vec<String> {
    if errors.is_empty() || errors.iter().any(|error| error.json["level"] != "warning") {
        return Vec::new();
    }
    // evcxr finds no places for warnings with more than one, but the compiler gives the lines themselves, which nobody changes.
    let lines: Vec<&str> = errors
        .iter()
        .filter(|error| error.code.as_deref() == Some("unreachable_code"))
        .filter_map(|error| error.json["spans"].as_array())
        .flatten()
        .filter(|span| span["is_primary"] != true)
        .filter_map(|span| as_it_was_written(span)["text"][0]["text"].as_str())
        .map(str::trim)
        .collect();
    let has = |part: &Part| {
        let mut own = text[part.range.clone()].lines().map(str::trim);
        own.any(|line| !line.is_empty() && lines.contains(&line))
    };
    let parts = parts(text);
    let made = |wanted: &dyn Fn(&Part) -> bool| -> Vec<String> {
        let parts = parts.iter().filter(|part| wanted(part));
        parts.flat_map(bound).map(|(name, _)| name).collect()
    };
    // Where evcxr refuses a variable and the compiler warns of something in an earlier cell's function, it passes on those warnings and not the refusal.
    [made(&has), made(&names_a_closure), made(&|_| true)]
        .into_iter()
        .find(|names| !names.is_empty())
        .unwrap_or_default()
}

/// Whether a part is a `let` of a closure.
fn names_a_closure(part: &Part) -> bool {
    ast::LetStmt::cast(part.node.clone())
        .and_then(|statement| statement.initializer())
        .is_some_and(|value| ast::ClosureExpr::can_cast(value.syntax().kind()))
}

/// Of a place inside a macro such as `panic!`, the place where it is called.
fn as_it_was_written(span: &Value) -> &Value {
    std::iter::successors(Some(span), |span| {
        Some(&span["expansion"]["span"]).filter(|call| !call.is_null())
    })
    .last()
    .unwrap_or(span)
}

/// The byte at a line and a column, both from 1.
fn byte_at(text: &str, (line, column): (usize, usize)) -> Option<usize> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.checked_sub(1)?)
        .map(str::len)
        .sum();
    let before = text.get(start..)?.chars().take(column.checked_sub(1)?);
    Some(start + before.map(char::len_utf8).sum::<usize>())
}

/// A macro that declares something, at the end of a cell, is made a statement: as the cell's value it does not compile.
pub fn with_declarations_as_statements(text: &str) -> Option<String> {
    let last = parts(text).pop()?;
    let call = last.node.descendants().find_map(ast::MacroCall::cast)?;
    let path = call.path()?.syntax().text().to_string();
    let declares = matches!(path.rsplit("::").next()?, "thread_local" | "lazy_static");
    let is_whole = last.node.text().to_string().trim_start().starts_with(&path);
    (declares && is_whole).then(|| format!("{text}\n;"))
}

/// The cell with `ends`, which are variables of its own, ending with it. `None` when no top-level `let` makes one of them.
pub fn rewrite(text: &str, ends: &BTreeSet<String>) -> Option<String> {
    let parts = parts(text);
    let cut = parts
        .iter()
        .position(|part| bound(part).iter().any(|(name, _)| ends.contains(name)))?;
    let (_, tail) = parts.split_at(cut);
    let (items, statements): (Vec<&Part>, Vec<&Part>) =
        tail.iter().partition(|part| part.is_item());
    let mut kept: Vec<(String, bool)> = Vec::new();
    for (name, is_mut) in statements.iter().flat_map(|part| bound(part)) {
        // The last of several variables of one name is the one that later cells see.
        kept.retain(|known| known.0 != name);
        if !ends.contains(&name) {
            kept.push((name, is_mut));
        }
    }
    let mut cell = text[..tail.first()?.range.start].to_owned();
    for item in items {
        cell.push_str(&text[item.range.clone()]);
        cell.push('\n');
    }
    let names = |with_mut: bool| -> String {
        kept.iter()
            .map(|(name, is_mut)| match with_mut && *is_mut {
                true => format!("mut {name}, "),
                false => format!("{name}, "),
            })
            .collect()
    };
    if !kept.is_empty() {
        cell.push_str(&format!("let ({}) = ", names(true)));
    }
    cell.push_str("{\n");
    for (at, statement) in statements.iter().enumerate() {
        let words = &text[statement.range.clone()];
        let is_value = at + 1 == statements.len() && ast::Expr::can_cast(statement.node.kind());
        match is_value && !kept.is_empty() {
            // Shown here, since the block has another value to give.
            true => cell.push_str(&format!("(\n{words}\n).evcxr_display();")),
            false => cell.push_str(words),
        }
        cell.push('\n');
    }
    if kept.is_empty() {
        cell.push('}');
    } else {
        cell.push_str(&format!("({})\n}};", names(false)));
    }
    Some(cell)
}

/// The variables that a `let` makes, and whether they are `mut`.
pub fn bound(part: &Part) -> Vec<(String, bool)> {
    let pattern = ast::LetStmt::cast(part.node.clone()).and_then(|statement| statement.pat());
    pattern
        .iter()
        .flat_map(|pattern| pattern.syntax().descendants())
        .filter_map(ast::IdentPat::cast)
        .filter_map(|pattern| {
            let name = pattern.name()?.text().to_string();
            // `let None = x else …` names a variant.
            (!name.starts_with(char::is_uppercase)).then(|| (name, pattern.mut_token().is_some()))
        })
        .collect()
}

/// What the learner is told of variables that ended with their cell.
pub fn note(ends: &BTreeSet<String>) -> String {
    let names: Vec<String> = ends.iter().map(|name| format!("`{name}`")).collect();
    let (verb, it) = match names.len() {
        1 => (
            "ends",
            "it borrows from another variable or has no type that could be named, as a closure has none",
        ),
        _ => (
            "end",
            "they borrow from other variables or have no types that could be named, as closures have none",
        ),
    };
    format!(
        "note: {} {verb} with this cell, later cells do not see {}: {it}",
        names.join(", "),
        if names.len() == 1 { "it" } else { "them" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn refusals_are_understood() {
        for (message, want) in [
            (
                "The variable `g` contains a reference with a non-static lifetime so\ncan't be persisted. You can",
                Some("g"),
            ),
            (
                "The variable `double` is a closure, which cannot be persisted.\nYou can",
                Some("double"),
            ),
            (
                "Couldn't automatically determine type of variable `it`.\nPlease",
                Some("it"),
            ),
            (
                "The variable `i` has type `impl Iterator` which cannot be persisted.",
                Some("i"),
            ),
            ("mismatched types", None),
            ("The variable `x` is fine", None),
        ] {
            assert_eq!(refused_variable(message), want);
        }
    }

    #[test]
    fn a_closure_with_a_name_is_found_and_one_without_is_left_alone() {
        let error = |line, column| Diagnostic {
            json: Value::Null,
            message: "closure may outlive".into(),
            code: Some("E0373".into()),
            hint: None,
            spans: vec![crate::evaluator::diagnostics::CellSpan {
                start: (line, column),
                end: (line, column + 2),
                label: String::new(),
                is_primary: true,
            }],
        };
        let cell = "let ä = 1;\nlet both = |n: i32| n + ä;\nlet h = spawn(|| ä);";
        assert_eq!(closures_at(cell, &[error(2, 12)]), ["both"]);
        assert_eq!(closures_at(cell, &[error(3, 15)]), Vec::<String>::new());
        assert_eq!(closures_at(cell, &[error(9, 9)]), Vec::<String>::new());
    }

    #[test]
    fn a_value_that_never_comes_is_found_by_the_warning_that_is_left() {
        let of = |level: &str, code: &str| Diagnostic {
            json: serde_json::json!({ "level": level, "spans": [
                { "is_primary": true, "text": [{ "text": "evcxr_variable_store.put_variable::<!>(stringify!(x), x);" }] },
                { "is_primary": false, "text": [{ "text": "  let x = loop {" }, { "text": "};" }] },
            ]}),
            message: "unreachable statement".into(),
            code: Some(code.into()),
            hint: None,
            spans: Vec::new(),
        };
        let cell = "let a = 1;\nlet x = loop {\n};";
        let inside = |message: Diagnostic| {
            let mut message = message;
            let call = message.json["spans"][1].take();
            message.json["spans"][1] = serde_json::json!({ "is_primary": false, "text": [{ "text": "$crate::panic" }],
                "expansion": { "span": { "text": [], "expansion": { "span": call } } } });
            message
        };
        let warning = || of("warning", "unreachable_code");
        assert_eq!(endless_at(cell, &[warning()]), ["x"]);
        assert_eq!(endless_at(cell, &[inside(warning())]), ["x"]);
        let of_another = of("warning", "unused_variables");
        let closure = "let a = 1;\nlet f = |n| n + a;\nf(2)";
        assert_eq!(
            endless_at(closure, std::slice::from_ref(&of_another)),
            ["f"]
        );
        assert_eq!(endless_at("let a = f();", &[of_another]), ["a"]);
        let others = [vec![], vec![warning(), of("error", "E0308")]];
        for other in others {
            assert_eq!(endless_at(cell, &other), Vec::<String>::new());
        }
    }

    #[test]
    fn a_declaring_macro_at_the_end_is_made_a_statement() {
        let statement = |text| with_declarations_as_statements(text);
        let declares = "let a = 1;\nthread_local! { static X: u8 = 1; }";
        assert_eq!(statement(declares), Some(format!("{declares}\n;")));
        for other in ["println!(\"thread_local\")", "f(thread_local!(x))", "1", ""] {
            assert_eq!(statement(other), None, "{other}");
        }
    }

    #[test]
    fn cells_are_put_differently_from_the_first_such_variable_on() {
        for (name, cell, ends, want) in [
            (
                "nothing else to keep, and a value",
                "let m = 1;\nlet g = &m;\n*g",
                &["g"][..],
                "let m = 1;\n{\nlet g = &m;\n*g\n}",
            ),
            (
                "others are handed out, the last of a name with its `mut`",
                "let g = f();\nlet (a, b) = g();\nlet mut a = a;\nfn h() {}\na += 1;\na",
                &["g"],
                "fn h() {}\nlet (b, mut a, ) = {\nlet g = f();\nlet (a, b) = g();\nlet mut a = a;\na += 1;\n(\na\n).evcxr_display();\n(b, a, )\n};",
            ),
            (
                "one that is hidden by another which ends too",
                "let a = 1;\nlet a = &a;",
                &["a"],
                "{\nlet a = 1;\nlet a = &a;\n}",
            ),
            (
                "commands stay at the head",
                ":dep x = \"1\"\nlet g = || 1;",
                &["g"],
                ":dep x = \"1\"\n{\nlet g = || 1;\n}",
            ),
        ] {
            assert_eq!(rewrite(cell, &set(ends)).as_deref(), Some(want), "{name}");
        }
        assert_eq!(rewrite("let a = 1;", &set(&["b"])), None);
        assert_eq!(
            rewrite("let None = x else { return };", &set(&["None"])),
            None
        );
    }
}
