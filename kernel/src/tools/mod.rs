//! Rust's tools as evcxr and rust-analyzer find them: this program under the names `cargo`, `rustc` and `rustup`.
//!
//! A start asks the tools some 45 questions, one after the other and most of them through rustup's proxies, and each cell asks cargo to ask rustc. What
//! does not change from one time to the next is answered from a record (`answers`), a cell is compiled by the very call that cargo made for the one
//! before (`replay`), and everything else is done by the real tool, with the environment that the kernel was started with (`place`).
//!
//! The names lead here by a folder of links that is first on PATH, in the kernel's own process alone. A folder that cannot be made, or a file that is not
//! there, costs the speed and nothing else.

mod answers;
mod cell_source;
mod kept;
mod place;
mod replay;
mod timing;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};

pub use cell_source::{Moved, moved};
pub use kept::function_in;
pub use place::{Tools, environment_of_the_learner};
pub use replay::MESSAGES;
pub use timing::Step;

use place::Place;

/// A tool under whose name this program can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Rust's package manager.
    Cargo,
    /// The compiler.
    Rustc,
    /// What chooses among toolchains.
    Rustup,
    /// What makes a library of a cell's machine code. Only rustc is told of it, and only to learn how long it takes.
    Linker,
}

impl Tool {
    const ALL: [Tool; 3] = [Tool::Cargo, Tool::Rustc, Tool::Rustup];

    fn name(self) -> &'static str {
        match self {
            Tool::Cargo => "cargo",
            Tool::Rustc => "rustc",
            Tool::Rustup => "rustup",
            Tool::Linker => "cc",
        }
    }

    fn of(called_as: &OsStr) -> Option<Tool> {
        let name = Path::new(called_as).file_name()?;
        Tool::ALL.into_iter().find(|tool| name == tool.name())
    }
}

/// Which tool this process was called as; `None` when it was called by its own name, or nobody set the folder of links up.
pub fn called_as() -> Option<Tool> {
    let path = timing::called_by()?;
    if timing::is_linker(&path) {
        return Some(Tool::Linker);
    }
    let tool = Tool::of(path.as_os_str())?;
    Place::is_set_up().then_some(tool)
}

/// Does what this tool is asked to. Must be reached while the process has one thread.
pub fn main(tool: Tool) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if tool == Tool::Linker {
        return timing::link(&arguments);
    }
    let place = match Place::read() {
        Ok(place) => place,
        Err(why) => {
            eprintln!(
                "threadbook: {} cannot be found: {why}; restart the kernel",
                tool.name()
            );
            return ExitCode::FAILURE;
        }
    };
    if tool == Tool::Rustup && arguments.len() == 2 && arguments[0] == "which" {
        let wanted = Tool::of(&arguments[1]).filter(|tool| place.real(*tool).is_some());
        if let Some(wanted) = wanted {
            println!("{}", place.link(wanted).display());
            return ExitCode::SUCCESS;
        }
    }
    if place.is_off() {
        replay::forget(&place);
    } else {
        if let Some(code) = answers::answer(&place, tool, &arguments) {
            return code;
        }
        match tool {
            Tool::Cargo => {
                let what = arguments.first().and_then(|word| word.to_str());
                let by = |done: &Option<replay::Built>| done.as_ref().map(|built| built.by);
                let build = || replay::build(&place, &arguments);
                if let Some(built) = timing::timed(&place, what.unwrap_or_default(), by, build) {
                    return built.code;
                }
            }
            Tool::Rustc => replay::note_call(&arguments),
            Tool::Rustup | Tool::Linker => {}
        }
    }
    let Some(mut real) = command(&place, tool, &arguments) else {
        eprintln!("threadbook: there is no {} on PATH", tool.name());
        return ExitCode::from(127);
    };
    let what = arguments.first().and_then(|word| word.to_str());
    if let (Tool::Cargo, Some(what @ ("build" | "check"))) = (tool, what)
        && timing::is_wanted(&place)
    {
        let status = timing::timed(&place, what, |_| Some("cargo"), || real.status());
        return status.map_or(ExitCode::FAILURE, code_of);
    }
    let why = real.exec();
    eprintln!(
        "threadbook: {} did not start: {why}",
        real.get_program().display()
    );
    ExitCode::FAILURE
}

/// How this process ends when what it stands for ended so.
fn code_of(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The real tool with these arguments, in the environment that the kernel was started with, but for what the caller added.
fn command(place: &Place, tool: Tool, arguments: &[OsString]) -> Option<Command> {
    let mut real = Command::new(place.real(tool)?);
    real.args(arguments);
    for (name, value) in place.originals() {
        match value {
            Some(value) => real.env(name, value),
            None => real.env_remove(name),
        };
    }
    if tool == Tool::Cargo {
        // cargo asks the compiler much, and calls it: both is seen here.
        let own = place.originals().find(|(name, _)| *name == "RUSTC");
        if own.is_none_or(|(_, value)| value.is_none()) {
            real.env("RUSTC", place.link(Tool::Rustc));
        }
    }
    Some(real)
}
