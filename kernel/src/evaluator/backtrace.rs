//! Who called whom when a cell panicked, without the frames of what runs cells. Pure.

/// Frames of std's between the panic and who panicked.
const PANICS: &[&str] = &[
    "rust_begin_unwind",
    "begin_panic",
    "panicking::",
    "unwrap_failed",
    "expect_failed",
    "assert_failed",
];
/// Where the learner's frames end: evcxr's function, and what carries tasks.
const RUNS_IT: &[&str] = &[
    "run_user_code",
    "__rust_begin_short_backtrace",
    "threadbook_prelude::task",
    "threadbook_prelude::rt",
];
/// Frames that say nothing.
const DULL: &[&str] = &[
    "core::ops::function",
    "std::panic::catch_unwind",
    "std::panicking",
    "alloc::boxed",
    "<unknown>",
    "<core::panic::unwind_safe",
    "__rust_try",
];

/// The learner's frames of a backtrace as std writes it, innermost first: names without hashes.
pub fn frames(backtrace: &str) -> Vec<String> {
    let names: Vec<&str> = backtrace
        .lines()
        .filter_map(|line| {
            let (number, name) = line.trim_start().split_once(": ")?;
            number.parse::<u32>().ok().map(|_| name.trim())
        })
        .collect();
    let has = |name: &str, words: &[&str]| words.iter().any(|word| name.contains(word));
    let end = names
        .iter()
        .position(|name| has(name, RUNS_IT))
        .unwrap_or(names.len());
    let begin = names[..end]
        .iter()
        .rposition(|name| has(name, PANICS) && !name.contains("catch_unwind"))
        .map_or(0, |at| at + 1);
    let mut frames: Vec<String> = names[begin..end]
        .iter()
        .filter(|name| !DULL.iter().any(|dull| name.starts_with(dull)))
        .map(|name| readable(name))
        .collect();
    frames.dedup();
    frames
}

/// `ctx::bake::{{closure}}::h0123456789abcdef` is `bake, in a closure`.
fn readable(name: &str) -> String {
    let name = match name.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.chars().all(|c| c.is_ascii_hexdigit()) => {
            name
        }
        _ => name,
    };
    let name = name.replace("ctx::", "");
    match name.split_once("::{{closure}}") {
        Some((function, _)) => format!("{function}, in a closure"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learners_frames_are_left() {
        let backtrace = "   0: std::backtrace_rs::backtrace::libunwind::trace\n             at /rustc/x/lib.rs:117:9\n   1: threadbook_prelude::hooks::note\n   \
            2: std::panicking::panic_with_hook\n   3: __rustc::rust_begin_unwind\n   4: core::panicking::panic_fmt\n   5: core::option::expect_failed\n   \
            6: ctx::bake::h0123456789abcdef\n   7: ctx::shop::{{closure}}::h0123456789abcdef\n   8: core::ops::function::FnOnce::call_once\n   9: ctx::shop\n  \
            10: run_user_code_3\n  11: threadbook::main\n";
        assert_eq!(frames(backtrace), ["bake", "shop, in a closure", "shop"]);
        assert_eq!(frames(""), Vec::<String>::new());
        assert_eq!(frames("nonsense\n 1 : x\n"), Vec::<String>::new());
    }
}
