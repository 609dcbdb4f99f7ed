//! Rust's own words: keywords, and what every file of Rust has in scope.

use std::sync::OnceLock;

use super::Entry;

const KEYWORDS: &str = "as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while";

/// Name, kind, declaration, documentation.
const IN_SCOPE: &[(&str, &str, &str, &str)] = &[
    (
        "println",
        "macro",
        "macro println!",
        "Prints a line, with its end, to the cell's output.",
    ),
    (
        "print",
        "macro",
        "macro print!",
        "Prints to the cell's output, without an end of line.",
    ),
    (
        "eprintln",
        "macro",
        "macro eprintln!",
        "Prints a line to standard error.",
    ),
    (
        "eprint",
        "macro",
        "macro eprint!",
        "Prints to standard error, without an end of line.",
    ),
    (
        "format",
        "macro",
        "macro format!",
        "Makes a `String` from a pattern and values.",
    ),
    (
        "vec",
        "macro",
        "macro vec!",
        "Makes a `Vec` with the given elements.",
    ),
    (
        "panic",
        "macro",
        "macro panic!",
        "Panics: unwinds the current thread.",
    ),
    (
        "assert",
        "macro",
        "macro assert!",
        "Panics unless the condition is true.",
    ),
    (
        "assert_eq",
        "macro",
        "macro assert_eq!",
        "Panics unless both are equal.",
    ),
    (
        "assert_ne",
        "macro",
        "macro assert_ne!",
        "Panics if both are equal.",
    ),
    (
        "dbg",
        "macro",
        "macro dbg!",
        "Prints an expression with its value and its line, and gives the value.",
    ),
    (
        "matches",
        "macro",
        "macro matches!",
        "Whether a value fits a pattern.",
    ),
    (
        "todo",
        "macro",
        "macro todo!",
        "Marks what is not written yet: panics.",
    ),
    (
        "unreachable",
        "macro",
        "macro unreachable!",
        "Marks what cannot be reached: panics.",
    ),
    (
        "write",
        "macro",
        "macro write!",
        "Writes formatted text into something.",
    ),
    (
        "thread_local",
        "macro",
        "macro thread_local!",
        "Declares a variable that each thread has for itself.",
    ),
    (
        "Option",
        "enum",
        "enum Option<T>",
        "A value, `Some`, or none, `None`.",
    ),
    ("Some", "enum", "Option::Some(T)", "There is a value."),
    ("None", "enum", "Option::None", "There is no value."),
    (
        "Result",
        "enum",
        "enum Result<T, E>",
        "Success, `Ok`, or failure, `Err`.",
    ),
    ("Ok", "enum", "Result::Ok(T)", "It succeeded."),
    ("Err", "enum", "Result::Err(E)", "It failed."),
    (
        "String",
        "struct",
        "struct String",
        "Text that can grow, in UTF-8.",
    ),
    ("Vec", "struct", "struct Vec<T>", "A list that can grow."),
    (
        "Box",
        "struct",
        "struct Box<T>",
        "A value of its own on the heap.",
    ),
    (
        "Default",
        "interface",
        "trait Default",
        "Has a value to begin with.",
    ),
    (
        "Clone",
        "interface",
        "trait Clone",
        "Can be copied by a call.",
    ),
    ("Copy", "interface", "trait Copy", "Is copied by moving it."),
    (
        "Send",
        "interface",
        "trait Send",
        "May go to another thread.",
    ),
    (
        "Sync",
        "interface",
        "trait Sync",
        "May be shared between threads by reference.",
    ),
    (
        "Drop",
        "interface",
        "trait Drop",
        "Does something when it goes out of scope.",
    ),
    (
        "Iterator",
        "interface",
        "trait Iterator",
        "Gives one value after the other.",
    ),
    (
        "Fn",
        "interface",
        "trait Fn",
        "Can be called again and again, at the same time too.",
    ),
    (
        "FnMut",
        "interface",
        "trait FnMut",
        "Can be called again and again.",
    ),
    ("FnOnce", "interface", "trait FnOnce", "Can be called once."),
    (
        "drop",
        "function",
        "fn drop<T>(value: T)",
        "Ends a value here rather than at the end of its scope.",
    ),
    ("std", "module", "mod std", "Rust's standard library."),
    ("bool", "class", "bool", "A primitive type."),
    ("char", "class", "char", "A primitive type."),
    ("str", "class", "str", "A primitive type."),
    ("i8", "class", "i8", "A primitive type."),
    ("i16", "class", "i16", "A primitive type."),
    ("i32", "class", "i32", "A primitive type."),
    ("i64", "class", "i64", "A primitive type."),
    ("i128", "class", "i128", "A primitive type."),
    ("isize", "class", "isize", "A primitive type."),
    ("u8", "class", "u8", "A primitive type."),
    ("u16", "class", "u16", "A primitive type."),
    ("u32", "class", "u32", "A primitive type."),
    ("u64", "class", "u64", "A primitive type."),
    ("u128", "class", "u128", "A primitive type."),
    ("usize", "class", "usize", "A primitive type."),
    ("f32", "class", "f32", "A primitive type."),
    ("f64", "class", "f64", "A primitive type."),
];

/// All of them.
pub fn all() -> &'static [Entry] {
    static ALL: OnceLock<Vec<Entry>> = OnceLock::new();
    ALL.get_or_init(|| {
        let entry = |name: &str, kind, label: &str, doc: &str| Entry {
            name: name.to_owned(),
            kind,
            label: label.to_owned(),
            doc: doc.to_owned(),
            source: String::new(),
            owner: None,
            words: vec![name.to_owned()],
        };
        let keywords = KEYWORDS
            .split(' ')
            .map(|name| entry(name, "keyword", name, "A keyword of Rust."));
        keywords
            .chain(
                IN_SCOPE
                    .iter()
                    .map(|(name, kind, label, doc)| entry(name, kind, label, doc)),
            )
            .collect()
    })
}
