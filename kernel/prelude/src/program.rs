//! `program`: a closure run as if it were a whole program, which takes with it what it started.

use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};

use crate::hooks;
use crate::rt;

/// How long tasks that were told to end may take to do so: one that computes comes to no call of this crate meanwhile.
const GRACE: std::time::Duration = std::time::Duration::from_millis(100);

/// Runs `f` as Go runs `main`: when it returns, the threads and tasks that it started are cut off, wherever they are.
///
/// In a cell, unlike in a `main`, threads outlive the closure that started them; this shows what would become of them. Blocks until `f` returns, and then
/// up to 100 ms until all have ended. A task is cut off where it waits, or at its next call of this crate: it unwinds, so its destructors run, which they
/// would not in a process that ends. One that reaches no such call runs on, and is named on standard error.
///
/// In a cargo project the same is `fn main`.
///
/// # Panics
/// When `f` does, with its panic.
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, rx) = channel();
/// program(|| {
///     go(move || {
///         sleep(ms(60_000)); // too long for this program
///         tx.send("bread").unwrap();
///     });
/// });
/// assert!(rx.recv().is_err()); // nobody is left who could send
/// ```
#[track_caller]
pub fn program<T>(f: impl FnOnce() -> T) -> T {
    let here = Location::caller();
    let inside = rt::Program::enter();
    let result = catch_unwind(AssertUnwindSafe(f));
    for task in inside.end(GRACE, here) {
        let name = task
            .name()
            .map_or_else(|| format!("task {}", task.id()), |name| format!("`{name}`"));
        hooks::say(&format!(
            "{name} runs on although its program has returned: for {} ms it reached no call of the prelude at which it could be cut off",
            GRACE.as_millis()
        ));
    }
    result.unwrap_or_else(|panic| resume_unwind(panic))
}
