//! What the cells' own `print!` and its kin do (crate `threadbook-print`): what std's do, but for a task whose cell has ended.
//!
//! Such a task's text goes to the kernel as a message that names its cell, in its place among all that is printed; so it stands below the cell that started
//! the task, and not in the middle of another one's output. All else is std's: the same lock, the same buffer, the same bytes. A thread that the prelude
//! does not know, and what is written to [`std::io::stdout`] by other means, belongs to no cell.

use std::fmt::{self, Write as _};

use crate::hooks;
use crate::json;
use crate::rt;

/// Prints `text` and `end`, as `std::print!` does. Blocks as that does, while another has the lock or nobody reads.
///
/// # Panics
/// As `std::print!`: when nobody will ever read.
pub fn stdout(text: fmt::Arguments<'_>, end: &str) {
    // Held while the task's cell is looked at, and by who ends the cell: no byte of a task comes out behind the end of its cell unnamed.
    let _held = std::io::stdout().lock();
    match late() {
        Some(cell) => tell(cell, "stdout", text, end),
        // The lock is one that its holder may take again. By std's own macro, which knows of tests that capture what is printed.
        None if end.is_empty() => std::print!("{text}"),
        None => std::print!("{text}{end}"),
    }
}

/// [`stdout`], but to standard error.
///
/// # Panics
/// As `std::eprint!`.
pub fn stderr(text: fmt::Arguments<'_>, end: &str) {
    match (late(), text.as_str()) {
        (Some(cell), _) => tell(cell, "stderr", text, end),
        // Not buffered: in one write, so that a line stays whole beside what another process writes.
        (None, Some(text)) if !end.is_empty() => std::eprint!("{}", [text, end].concat()),
        (None, _) => std::eprint!("{text}{end}"),
    }
}

/// The cell of the calling task, if that has ended and a kernel wants to know.
fn late() -> Option<u32> {
    rt::ended_cell().filter(|_| hooks::in_a_kernel())
}

#[cold]
fn tell(cell: u32, name: &str, text: fmt::Arguments<'_>, end: &str) {
    let mut whole = String::new();
    let written = write!(whole, "{text}{end}");
    assert!(
        written.is_ok(),
        "failed printing to {name}: formatter error"
    );
    let mut told = format!(r#"{{"kind":"print","cell":{cell},"name":"{name}","text":"#);
    json::push_string(&mut told, &whole);
    told.push('}');
    hooks::tell_long(&told);
}
