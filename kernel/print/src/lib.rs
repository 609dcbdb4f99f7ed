//! `print!`, `println!`, `eprint!` and `eprintln!` as cells have them: std's, but what a task prints after the end of its cell is known to be that cell's.
//!
//! A crate of its own, with macros alone, brought in by `#[macro_use] extern crate threadbook_print;`. Macros that come so go before std's and never clash
//! with them, nor with a learner's `use std::println` or a macro of their own; a glob import would (E0659), which is why the prelude has none of them. Of a
//! macro of another crate the compiler shows no line: its messages are those for std's, word for word.
//!
//! What they expand to is `threadbook_prelude::print`.

/// Prints to the notebook, as [`std::print!`] does: to the cell whose task calls it, also when that cell has ended.
///
/// The contract of [`std::print!`].
#[macro_export]
macro_rules! print {
    ($($words:tt)*) => {{
        ::threadbook_prelude::print::stdout(::std::format_args!($($words)*), "");
    }};
}

/// Prints a line to the notebook, as [`std::println!`] does: to the cell whose task calls it, also when that cell has ended.
///
/// The contract of [`std::println!`].
#[macro_export]
macro_rules! println {
    () => {
        ::threadbook_prelude::print::stdout(::std::format_args!(""), "\n")
    };
    ($($words:tt)*) => {{
        ::threadbook_prelude::print::stdout(::std::format_args!($($words)*), "\n");
    }};
}

/// Prints to the notebook, in red, as [`std::eprint!`] does: to the cell whose task calls it, also when that cell has ended.
///
/// The contract of [`std::eprint!`].
#[macro_export]
macro_rules! eprint {
    ($($words:tt)*) => {{
        ::threadbook_prelude::print::stderr(::std::format_args!($($words)*), "");
    }};
}

/// Prints a line to the notebook, in red, as [`std::eprintln!`] does: to the cell whose task calls it, also when that cell has ended.
///
/// The contract of [`std::eprintln!`].
#[macro_export]
macro_rules! eprintln {
    () => {
        ::threadbook_prelude::print::stderr(::std::format_args!(""), "\n")
    };
    ($($words:tt)*) => {{
        ::threadbook_prelude::print::stderr(::std::format_args!($($words)*), "\n");
    }};
}
