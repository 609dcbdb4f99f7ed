//! Why a cell is red, in the learner's words: what happened, where, and what to do next.

use super::channel::Death;
use super::output::Record;
use super::sources::Sources;
use crate::cell::CellError;
use nix::sys::signal::Signal;

const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";
const LOST: &str = "the variables of earlier cells are lost with the process; functions and types are kept: run the cells that make the variables again";

/// The error of a cell that was compiled and ran to its end, or `None` when it is a good one.
pub fn of_a_cell_that_ran(record: &Record, sources: &Sources) -> Option<CellError> {
    let end = record.end?;
    if end.panicked {
        let panic = record.panics.last();
        let message = panic.map_or("panicked", |panic| panic.message.as_str());
        let mut traceback = vec![format!("{RED}Panic{PLAIN}: {message}")];
        if let Some(place) = panic.and_then(|panic| sources.place(panic.build, panic.line)) {
            traceback.push(format!("  --> cell [{}] line {}", place.cell, place.line));
            traceback.push(format!("  | {}", place.text));
        }
        return Some(CellError {
            ename: "Panic".into(),
            evalue: first_line(message),
            traceback,
        });
    }
    if end.question_mark {
        let message = if record.last_error_line.is_empty() {
            "the `?` operator ended the cell".to_owned()
        } else {
            record.last_error_line.clone()
        };
        let traceback = vec![
            format!("{RED}Error{PLAIN}: {message}"),
            "  `?` ended the cell here: the rest of it did not run".into(),
        ];
        return Some(CellError {
            ename: "Error".into(),
            evalue: message,
            traceback,
        });
    }
    None
}

/// The error of a cell whose process died.
pub fn of_a_dead_worker(death: Option<Death>, interrupted: bool) -> CellError {
    if interrupted {
        return error(
            "Interrupted",
            "interrupted: the learner's process was ended",
            LOST,
        );
    }
    match death {
        Some(Death::Exit(code)) => error(
            "Exit",
            &format!("the cell ended its process with exit status {code}"),
            LOST,
        ),
        Some(Death::Signal(signal)) => {
            let name = Signal::try_from(signal).map_or_else(
                |_| format!("signal {signal}"),
                |signal| signal.as_str().to_owned(),
            );
            let why = match signal {
                libc::SIGABRT => {
                    "it called abort, overflowed its stack, or panicked while it was panicking"
                }
                libc::SIGSEGV | libc::SIGBUS => {
                    "it touched memory that is not its own, or overflowed its stack"
                }
                libc::SIGKILL => "somebody ended it, or the machine ran out of memory",
                _ => "it did not handle that signal",
            };
            error(
                "Signal",
                &format!("the cell's process was ended by {name}: {why}"),
                LOST,
            )
        }
        None => error(
            "Signal",
            "the cell's process is gone, and nobody saw how",
            LOST,
        ),
    }
}

/// The error of a cell whose compilation was interrupted.
pub fn interrupted_compiler() -> CellError {
    error(
        "Interrupted",
        "interrupted while it was being compiled",
        "nothing ran, and nothing is lost",
    )
}

/// The error of a cell that evcxr refuses, or of a command that failed.
pub fn refused(message: &str) -> CellError {
    CellError {
        ename: "Refused".into(),
        evalue: first_line(message),
        traceback: vec![format!("{RED}Refused{PLAIN}: {message}")],
    }
}

/// The error of a cell when evcxr itself broke.
pub fn broken(message: &str) -> CellError {
    error(
        "Kernel",
        &format!("evcxr failed: {}", first_line(message)),
        "it is started anew with the next cell; the variables, functions and types of earlier cells are lost: run their cells again",
    )
}

fn error(ename: &str, evalue: &str, next: &str) -> CellError {
    CellError {
        ename: ename.into(),
        evalue: evalue.into(),
        traceback: vec![
            format!("{RED}{ename}{PLAIN}: {evalue}"),
            format!("  {next}"),
        ],
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
