//! The learner's process before there is one: the prelude compiled, and the command that starts it.

use super::channel::{Channel, Packet, Receiver};
use super::context::Context;
use super::first_cell::first_cell;
use super::supervisor;
use crate::prelude_home::{HomeError, PreludeHome};
use crate::tools;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why the evaluator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The prelude, or the folder to work in.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A system call.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// evcxr.
    #[error("evcxr did not start: {0}. Run `{program} doctor` to see what is missing", program = this_program())]
    Evcxr(String),
}

/// The path of this program, which need not be on `PATH` where whoever reads this has a shell.
fn this_program() -> String {
    std::env::current_exe().map_or("threadbook".into(), |path| path.display().to_string())
}

/// Unpacks and compiles the prelude unless that has been done: what the first start of a kernel would wait for. Gives the prelude's folder.
///
/// # Errors
/// As for starting an evaluator.
pub fn prepare() -> Result<PathBuf, StartError> {
    let home = PreludeHome::locate()?;
    prepare_home(&home)?;
    Ok(home.root().to_owned())
}

pub(super) fn prepare_home(home: &PreludeHome) -> Result<(), StartError> {
    home.prepare(|folder| {
        let (receiver, sender) = Channel::pair().map_err(system("a pair of sockets"))?;
        let mut command = worker_command(folder, &sender, None, None)?;
        if let Some(libraries) = libraries_of_rust() {
            command.env(LIBRARY_PATH, libraries);
        }
        let mut context = Context::start(folder, command).map_err(StartError::Evcxr)?;
        // Nobody looks at the output of these cells, but somebody must take it out of the way.
        std::thread::spawn(move || {
            let mut receiver = Receiver::new(receiver);
            while let Ok(Some(packet)) = receiver.receive(None) {
                if packet == Packet::Sync(0) {
                    return;
                }
            }
        });
        let done = context.run(&first_cell(home)).map_err(|failure| {
            StartError::Evcxr(format!(
                "the first cell, which brings in the prelude, failed: {failure}"
            ))
        });
        // Has cargo compile our crates for checks as well: the first cell that names what is not there would wait for that, in each kernel. Fails, as it shall.
        let _ = context.run("let threadbook_check = threadbook_nowhere;");
        drop(context);
        let _ = sender.send(&Packet::Sync(0));
        done.map(drop)
    })
}

/// Where the system's loader looks for libraries besides.
const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// The folder of libstd, before those that the loader looks into already. A cell's library finds libstd by a path relative to the folder that rustc wrote it
/// to, and is loaded from another one. Later the prelude has brought libstd along; the first cell of all, which compiles the prelude, has not: below one
/// home with the toolchain it would not be found.
fn libraries_of_rust() -> Option<std::ffi::OsString> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir"])
        .output()
        .ok()?;
    let folder = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
    let others = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&others))).ok()
}

/// The command with which evcxr starts the learner's process: this binary, with the ends of the channel and of the trace handed down.
pub(super) fn worker_command(
    folder: &Path,
    output: &Channel,
    trace: Option<RawFd>,
    stdin: Option<&Path>,
) -> Result<Command, StartError> {
    let mut command =
        Command::new(std::env::current_exe().map_err(system("the path of this program"))?);
    let output = output.raw_fd();
    for (name, value) in tools::environment_of_the_learner() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env(supervisor::OUTPUT_FD, output.to_string());
    if let Some(trace) = trace {
        command.env(supervisor::TRACE_FD, trace.to_string());
    }
    if let Some(stdin) = stdin {
        command.env(supervisor::STDIN, stdin);
    }
    if let Some(prelude) = prelude_in(folder) {
        command.env(supervisor::PRELUDE_SO, prelude);
    }
    let here = std::env::current_dir().map_err(system("the current folder"))?;
    command.current_dir(here);
    let inherited = [Some(output), trace];
    // SAFETY: between fork and exec only `fcntl` is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for fd in inherited.into_iter().flatten() {
                if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(command)
}

/// The prelude's shared object in evcxr's folder, once it is compiled: `target/<target>/debug/deps/libthreadbook_prelude.so`.
fn prelude_in(folder: &Path) -> Option<PathBuf> {
    let name = format!(
        "{}threadbook_prelude{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let targets = std::fs::read_dir(folder.join("target")).ok()?;
    targets
        .filter_map(Result::ok)
        .map(|target| target.path().join("debug/deps").join(&name))
        .find(|path| path.exists())
}

pub(super) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}
