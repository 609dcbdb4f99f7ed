//! What a learner should be told about a cell before it surprises them: by its text alone. Pure.

use super::scoped::bound;
use super::syntax::{Part, parts, rust_begins_at};
use ra_ap_syntax::ast::{self, HasName};
use ra_ap_syntax::{AstNode, SyntaxNode};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// A hint, and what it is about: the same subject is told once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint {
    /// Such as `std Mutex`.
    pub about: String,
    /// In one sentence or two.
    pub text: String,
}

impl Hint {
    /// Whether it may be what a learner needs whose cell does not compile. What a `static` does in later cells is not: the error is about something else.
    pub fn helps_errors(&self) -> bool {
        !self.about.starts_with("static ")
    }
}

/// Names of std's whose like the prelude has, and where it has another name: what to write.
const TRACED: &[(&str, &str)] = &[
    ("std::sync::Mutex", "Mutex"),
    ("std::sync::RwLock", "RwLock"),
    ("std::sync::Condvar", "Condvar"),
    ("std::sync::Barrier", "Barrier"),
    ("std::sync::OnceLock", "OnceLock"),
    ("std::sync::mpsc", "channel()` or `bounded(n)"),
    ("std::thread::sleep", "sleep"),
    ("std::thread", "spawn` or `scope"),
    ("std::sync::atomic::AtomicBool", "AtomicBool"),
    ("std::sync::atomic::AtomicI32", "AtomicI32"),
    ("std::sync::atomic::AtomicI64", "AtomicI64"),
    ("std::sync::atomic::AtomicU32", "AtomicU32"),
    ("std::sync::atomic::AtomicU64", "AtomicU64"),
    ("std::sync::atomic::AtomicUsize", "AtomicUsize"),
    ("std::sync::atomic::AtomicIsize", "AtomicIsize"),
];

/// What of `std::thread` has no like, or is not about threads that wait.
const UNTRACED_OF_THREAD: &[&str] = &[
    "current",
    "available_parallelism",
    "ThreadId",
    "Thread",
    "panicking",
];

/// The prelude's functions, by its own list of exports.
static FUNCTIONS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    include_str!("../../prelude/src/lib.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("pub use "))
        .flat_map(|path| {
            let names = path.trim_end_matches(';').rsplit("::").next();
            names.unwrap_or_default().split(['{', '}', ','])
        })
        .map(str::trim)
        .filter(|name| name.starts_with(char::is_lowercase))
        .collect()
});

/// All hints about a cell.
pub fn hints(text: &str) -> Vec<Hint> {
    let parts = parts(text);
    let mut hints: Vec<Hint> = Vec::new();
    for part in &parts {
        hints.extend(hides_a_name(part));
        hints.extend(is_made_anew(part));
        hints.extend(is_not_traced(&part.node));
    }
    hints.extend(is_a_command_too_late(text));
    let mut told = BTreeSet::new();
    hints.retain(|hint| told.insert(hint.about.clone()));
    hints
}

/// A command below the first line of Rust, which the compiler takes for a mistake in writing.
fn is_a_command_too_late(text: &str) -> Option<Hint> {
    let mut below = text[rust_begins_at(text)..].lines();
    let command = below.find(|line| {
        line.strip_prefix(':')
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
    })?;
    let name = command.split_whitespace().next()?;
    Some(Hint {
        text: format!(
            "hint: commands such as `{name}` stand at the head of a cell, before its first line of Rust: put it there, or into a cell of its own"
        ),
        about: format!("late {name}"),
    })
}

fn hides_a_name(part: &Part) -> Vec<Hint> {
    let mut names: Vec<(String, &str)> = bound(part)
        .into_iter()
        .map(|(name, _)| (name, "variable"))
        .collect();
    if let Some(name) = ast::Fn::cast(part.node.clone()).and_then(|function| function.name()) {
        names.push((name.text().to_string(), "function"));
    }
    names
        .into_iter()
        .filter(|(name, _)| FUNCTIONS.contains(name.as_str()))
        .map(|(name, what)| Hint {
            text: format!(
                "hint: this {what} `{name}` hides the prelude's function `{name}`, in later cells too: give it another name, or call the prelude's by \
                 `threadbook_prelude::{name}(…)`"
            ),
            about: format!("hidden {name}"),
        })
        .collect()
}

/// What is compiled into each cell anew, and so begins anew.
fn is_made_anew(part: &Part) -> Option<Hint> {
    if let Some(item) = ast::Static::cast(part.node.clone()) {
        let name = item.name()?.text().to_string();
        let kind = item.ty()?.syntax().text().to_string();
        let changes = [
            "Atomic", "Mutex", "RwLock", "Cell", "OnceLock", "Lock<", "Condvar",
        ];
        let changes = item.mut_token().is_some() || changes.iter().any(|part| kind.contains(part));
        return changes.then(|| Hint {
            text: format!(
                "note: each cell has its own `{name}`, which begins at its first value: a `static` is compiled into every cell anew. To share it between \
                 cells, keep it in a variable: `let {} = Arc::new(…);`",
                name.to_lowercase()
            ),
            about: format!("static {name}"),
        });
    }
    let call = part.node.descendants().find_map(ast::MacroCall::cast)?;
    // The statement is the call itself, not something that has one inside.
    let whole = part.node.text().to_string();
    let path = call.path()?.syntax().text().to_string();
    let name = path.rsplit("::").next().unwrap_or_default().to_owned();
    let declares = matches!(name.as_str(), "thread_local" | "lazy_static");
    (declares && whole.trim_start().starts_with(&path)).then(|| Hint {
        text: format!(
            "note: what `{name}!` declares here ends with this cell, and no function sees it. To share something between cells, keep it in a variable, \
             such as `let shared = Arc::new(Mutex::new(…));`; for one value per thread, give each its own when it is spawned"
        ),
        about: format!("{name}!"),
    })
}

fn is_not_traced(node: &SyntaxNode) -> Vec<Hint> {
    let mut paths = Vec::new();
    for node in node.descendants() {
        if let Some(tree) = ast::UseTree::cast(node.clone()) {
            if tree.use_tree_list().is_none() {
                paths.push(whole_path(&tree));
            }
        } else if let Some(path) = ast::Path::cast(node) {
            let is_whole = path.syntax().parent().is_some_and(|parent| {
                !ast::Path::can_cast(parent.kind()) && !ast::UseTree::can_cast(parent.kind())
            });
            if is_whole {
                let path = path.syntax().text().to_string();
                // Without the types that it is given.
                let name = path.split('<').next().unwrap_or_default();
                paths.push(name.trim_end_matches("::").to_owned());
            }
        }
    }
    let hint = |path: &String| {
        let (name, instead) = TRACED.iter().find(|(name, _)| {
            path.strip_prefix(*name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        })?;
        let last = path.rsplit("::").next().unwrap_or_default();
        if *name == "std::thread" && UNTRACED_OF_THREAD.contains(&last) {
            return None;
        }
        Some(Hint {
            text: format!(
                "hint: what `{name}` does is not in the picture, and no deadlock of it is reported. The prelude has `{instead}`, which is used in the same way: \
                 leave the `use` or the path out"
            ),
            about: (*name).to_owned(),
        })
    };
    paths.iter().filter_map(hint).collect()
}

/// The path of a leaf of a `use`, with those of the trees around it.
fn whole_path(leaf: &ast::UseTree) -> String {
    let mut path: Vec<String> = leaf
        .syntax()
        .ancestors()
        .filter_map(ast::UseTree::cast)
        .filter_map(|tree| Some(tree.path()?.syntax().text().to_string()))
        .filter(|path| path != "self")
        .collect();
    path.reverse();
    path.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(cell: &str) -> Vec<String> {
        hints(cell).into_iter().map(|hint| hint.about).collect()
    }

    #[test]
    fn each_surprise_has_its_hint() {
        for (cell, want) in [
            ("use std::sync::Mutex;", &["std::sync::Mutex"][..]),
            (
                "use std::{sync::{Arc, mpsc::{self, Sender}, Mutex as M}, thread};",
                &["std::sync::mpsc", "std::sync::Mutex", "std::thread"],
            ),
            (
                "let a = std::sync::Mutex::new(1);\nlet b = std::sync::Mutex::new(2);",
                &["std::sync::Mutex"],
            ),
            (
                "fn f(m: &std::sync::RwLock<u8>) { std::thread::spawn(|| ()); }",
                &["std::sync::RwLock", "std::thread"],
            ),
            ("std::thread::current().id();", &[]),
            ("std::thread::sleep(d);", &["std::thread::sleep"]),
            ("use std::sync::Arc; use std::sync::atomic::Ordering;", &[]),
            ("let work = 3;", &["hidden work"]),
            (
                "let (a, mut go) = (1, 2);\nfn sleep() {}",
                &["hidden go", "hidden sleep"],
            ),
            ("fn f() { let work = 3; }", &[]),
            (
                "static COUNT: AtomicU32 = AtomicU32::new(0);",
                &["static COUNT"],
            ),
            ("static mut N: u32 = 0;", &["static N"]),
            ("static NAMES: &[&str] = &[\"ada\"];", &[]),
            (
                "thread_local! { static X: Cell<u8> = Cell::new(1); }",
                &["thread_local!"],
            ),
            (
                "lazy_static::lazy_static! { static ref X: u8 = 1; }",
                &["lazy_static!"],
            ),
            ("println!(\"thread_local!\");", &[]),
            (":vars\nlet a = 1;\n:vars", &["late :vars"]),
            (":vars\nlet a\n:: b = 1;\n: 3", &[]),
            ("let broken = ", &[]),
            ("", &[]),
        ] {
            assert_eq!(about(cell), want, "{cell}");
        }
    }

    #[test]
    fn what_a_static_does_later_is_no_help_in_an_error() {
        let helps = |cell| hints(cell).iter().all(Hint::helps_errors);
        assert!(!helps("static mut N: u32 = 0;\nN += 1;"));
        assert!(helps(
            "lazy_static! { static ref X: u8 = 1; }\nlet work = 3;"
        ));
    }

    #[test]
    fn the_preludes_functions_are_known() {
        for name in [
            "spawn", "work", "go", "display", "progress", "input", "channel",
        ] {
            assert!(FUNCTIONS.contains(name), "{name}");
        }
        assert!(!FUNCTIONS.contains("Mutex"));
    }
}
