//! What every notebook begins with, unseen: the prelude's names, and a cell that warms what the first real one would wait for.

use crate::prelude_home::PreludeHome;

/// The types of the prelude, each of which gets a second, private name in the notebook.
///
/// evcxr keeps a variable's type under the name that rust-analyzer finds shortest. If that were `Mutex`, a learner's `struct Mutex` or
/// `use std::sync::Mutex` would lose every variable of the prelude's type, or stop every later cell from compiling.
const ALIASED: &[&str] = &[
    "Arc",
    "AtomicBool",
    "AtomicI16",
    "AtomicI32",
    "AtomicI64",
    "AtomicI8",
    "AtomicIsize",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicU8",
    "AtomicUsize",
    "Barrier",
    "BarrierWaitResult",
    "CellFacts",
    "ChannelFacts",
    "CheckFailed",
    "Condvar",
    "DisplayHandle",
    "Done",
    "Duration",
    "Facts",
    "Instant",
    "IntoIter",
    "Iter",
    "JoinHandle",
    "LockFacts",
    "Mutex",
    "MutexGuard",
    "OnceLock",
    "Ordering",
    "ProgressBar",
    "ProgressIter",
    "Racy",
    "Receiver",
    "Region",
    "Run",
    "RwLock",
    "RwLockReadGuard",
    "RwLockWriteGuard",
    "Scope",
    "ScopedJoinHandle",
    "SendTimeoutError",
    "Sender",
    "TaskFacts",
    "TryIter",
    "WaitGroup",
    "WaitGroupFacts",
    "WaitTimeoutResult",
];

/// What every notebook begins with, unseen.
pub(super) fn first_cell(home: &PreludeHome) -> String {
    let mut cell = format!(
        ":dep threadbook-prelude = {{ path = \"{}\" }}\n:dep threadbook-print = {{ path = \"{}\" }}\n\
         #[macro_use]\nextern crate threadbook_print;\nuse threadbook_prelude::*;\n",
        home.prelude_crate().display(),
        home.print_crate().display(),
    );
    for name in ALIASED {
        cell.push_str(&format!("use threadbook_prelude::{name} as __{name};\n"));
    }
    cell
}

/// A cell like a lesson's: it makes rust-analyzer read std, cargo see the prelude, and the worker load it, before a learner waits for that. What it
/// names it also moves away, so that no variable of it is left.
pub(super) const WARM_CELL: &str = "let threadbook_warm = { let (tx, rx) = channel::<u32>(); let h = spawn(move || tx.send(1).is_ok()); (rx.recv().ok(), h.join().is_ok()) };\n\
                         drop(threadbook_warm.0.map(|n| n + 1).into_iter().collect::<Vec<_>>());";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_prelude_has_a_private_name() {
        let source = include_str!("../../prelude/src/lib.rs");
        let exports = source.lines().filter(|line| line.starts_with("pub use "));
        assert!(
            exports.clone().all(|line| line.ends_with(';')),
            "an export of several lines is not read here: make it two"
        );
        let exported = exports
            .filter_map(|line| line.strip_prefix("pub use "))
            .flat_map(|path| {
                path.trim_end_matches(';')
                    .rsplit("::")
                    .next()
                    .unwrap_or_default()
                    .split(['{', '}', ','])
            })
            .map(str::trim)
            // A trait is no type of a variable.
            .filter(|name| name.starts_with(char::is_uppercase) && *name != "EvcxrDisplay");
        let mut exported: Vec<&str> = exported.collect();
        exported.sort_unstable();
        assert_eq!(exported, ALIASED);
    }
}
