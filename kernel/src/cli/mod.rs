//! The command line: what can be asked of the binary, and the exit code that answers.
//!
//! Thin: definitions and dispatch. The commands that make something happen are in the files beside, and the parts of the program behind
//! them come in as [`Parts`]. Exit codes: 0 good, 1 the job failed, 2 wrong use.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod doctor;
mod install;
mod interrupt;
mod jupyter;
mod lab;
mod lessons_copy;
mod parts;
mod python;
mod steps;
mod system;
mod toolchain;
mod trouble;

pub use parts::{LessonFolders, Parts};
pub use trouble::{Missing, WrongUse};

use install::{Installed, Place};
use system::System;

/// A Jupyter kernel for learning concurrency in Rust: it draws what every thread did, and whom it waited for.
#[derive(Debug, Parser)]
#[command(
    name = "threadbook",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "Begin with:\n  threadbook lab")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prepare what is missing and open the lessons in JupyterLab
    #[command(
        long_about = "Prepare what is missing and open the lessons in JupyterLab.\n\n\
        Looks for a Rust toolchain, a C compiler and JupyterLab 4; adds rust-src and makes a private JupyterLab when they are missing; \
        builds the prelude once; registers the kernel; copies the lessons. A copy that you have changed is never written over. \
        The first start takes some minutes, later ones take seconds. JupyterLab listens on this machine only; Ctrl-C ends it."
    )]
    #[command(after_long_help = "Examples:\n  \
        threadbook lab                          lessons in ~/threadbook, in the browser\n  \
        threadbook lab course --no-browser      lessons in ./course, only the address\n  \
        threadbook lab --reset 01               lesson 01 as it ships; yours is kept beside it")]
    Lab(LabArguments),
    /// Register the kernel with a Jupyter that is there
    #[command(long_about = "Register the kernel with a Jupyter that is there.\n\n\
        Writes a kernelspec that starts this very binary. `threadbook lab` does it by itself; this is for a Jupyter that you start yourself.")]
    #[command(after_long_help = "Examples:\n  \
        threadbook install                      for every Jupyter of this user\n  \
        threadbook install --sys-prefix         for the active Python environment\n  \
        threadbook install --prefix ~/venv      for the environment in ~/venv")]
    Install(PlaceArguments),
    /// Take the kernel's registration away again
    #[command(long_about = "Take the kernel's registration away again.\n\n\
        Removes only a kernelspec that `threadbook install` or `threadbook lab` wrote. Lessons, the private JupyterLab and \
        what was built stay; the command says where they are.")]
    #[command(after_long_help = "Example:\n  threadbook uninstall --prefix ~/venv")]
    Uninstall(PlaceArguments),
    /// Serve one notebook; Jupyter calls this
    #[command(
        long_about = "Serve one notebook until it is shut down. Jupyter calls this, by the kernelspec; you need it only to look for a fault."
    )]
    #[command(
        after_long_help = "Example:\n  threadbook kernel --connection-file /run/user/1000/jupyter/kernel-1.json"
    )]
    Kernel {
        /// The file in which Jupyter names the sockets and the key
        #[arg(long, value_name = "F")]
        connection_file: PathBuf,
    },
    /// Execute notebooks without a browser and write their outputs
    #[command(
        long_about = "Execute notebooks without a browser and write their outputs.\n\n\
        Each notebook runs in a kernel of its own, in its own folder, and gets its outputs written back. Stops at the first cell that fails \
        without being meant to (tag raises-exception), says which, and ends with exit code 1."
    )]
    #[command(after_long_help = "Example:\n  threadbook run notebooks/*.ipynb --timeout 60")]
    Run {
        /// The notebooks, in this order
        #[arg(required = true, value_name = "NOTEBOOK")]
        notebooks: Vec<PathBuf>,
        /// Longest a cell may run, in seconds
        #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
        timeout: u64,
    },
    /// Build, check, test or list lessons, or begin one
    #[command(
        long_about = "Build, check, test or list lessons, or begin one: lessons/NN_topic.md is the source, notebooks/NN_topic.ipynb is built from it.\n\n\
        Works on the course in the current folder, or in any folder that is named: one that holds lessons/ and notebooks/, or a folder of lessons by itself. \
        The notebooks of such a folder lie beside the lessons, or in ../notebooks when the folder is called lessons."
    )]
    #[command(after_long_help = "Examples:\n  \
        threadbook lessons check                    the course of this checkout\n  \
        threadbook lessons new 13_select ~/course   a lesson of your own, elsewhere\n  \
        threadbook lessons test ~/course --only 13  proves that it holds what it says\n  \
        threadbook lessons build ~/course           makes its notebook")]
    Lessons {
        #[command(subcommand)]
        task: LessonsTask,
    },
    /// Say what is there, what is missing, and what mends it
    #[command(
        long_about = "Say what is there, what is missing, and what mends it.\n\n\
        One line a check: ✓ is there, ✗ stops a lesson from running, ! does not but is worth knowing. Changes nothing. \
        Exit code 0 when a lesson would run now, else 1."
    )]
    #[command(after_long_help = "Example:\n  threadbook doctor")]
    Doctor,
    /// Build the prelude, and end: what `lab` starts, so that it does not itself keep the memory that this takes
    #[command(hide = true)]
    #[command(after_long_help = "Example:\n  threadbook prebuild")]
    Prebuild,
}

#[derive(Debug, Args)]
struct LabArguments {
    /// Where your copies of the lessons are, or shall be [default: ~/threadbook]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Say the address instead of opening a browser
    #[arg(long)]
    no_browser: bool,
    /// Exactly this port [default: the first free one from 8888 on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Bring a lesson back to what ships, by number or name; a copy that you changed is kept as NAME.bak-N.ipynb
    #[arg(long, value_name = "NAME")]
    reset: Vec<String>,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct PlaceArguments {
    /// For every Jupyter of this user (what is meant when nothing is said)
    #[arg(long)]
    user: bool,
    /// For the active Python environment (VIRTUAL_ENV, CONDA_PREFIX), else for the one of `python3`
    #[arg(long)]
    sys_prefix: bool,
    /// For the environment in this folder
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl From<PlaceArguments> for Place {
    fn from(arguments: PlaceArguments) -> Self {
        match arguments.prefix {
            Some(prefix) => Self::Prefix(prefix),
            None if arguments.sys_prefix => Self::SysPrefix,
            None => Self::User,
        }
    }
}

#[derive(Debug, Subcommand)]
enum LessonsTask {
    /// Build the notebooks and execute them through the real kernel
    #[command(after_long_help = "Examples:\n  \
        threadbook lessons build --only 07\n  \
        threadbook lessons build --for nbgrader course    the instructor's form, in course/source; nothing is executed")]
    Build {
        #[command(flatten)]
        what: BuildArguments,
        /// For another tool than Jupyter: its name, `nbgrader`, and the folder of its course
        #[arg(long = "for", num_args = 2, value_names = ["TOOL", "OUT"])]
        form: Vec<String>,
    },
    /// Check form, minutes, links and proofs, and that the notebooks are fresh; executes nothing
    #[command(after_long_help = "Example:\n  threadbook lessons check")]
    Check(FolderArguments),
    /// Prove in kernels that every claim, check and wrong solution is as the lessons say
    #[command(
        long_about = "Prove in kernels that every claim, check and wrong solution is as the lessons say.\n\n\
        Each demo is run many times in a row, and once in another order; each exercise must fail unsolved, pass with each right solution of its proof, \
        and fail with each wrong one by its words. All of it on one core and on two. Takes about a minute for a lesson."
    )]
    #[command(after_long_help = "Examples:\n  \
        threadbook lessons test                 all lessons\n  \
        threadbook lessons test --only 07       one of them\n  \
        threadbook lessons test --runs 3        quicker, and sees less")]
    Test {
        #[command(flatten)]
        what: BuildArguments,
        /// How often each demo is run in a row
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..))]
        runs: u32,
    },
    /// Begin a lesson: a small one that passes, to be written over
    #[command(after_long_help = "Examples:\n  \
        threadbook lessons new 13_select             in this course\n  \
        threadbook lessons new select ~/course       the next number, elsewhere")]
    New {
        /// Its file's name without the ending, such as 13_select; without a number it gets the next one
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        folders: FolderArguments,
    },
    /// List number, title and minutes
    #[command(after_long_help = "Example:\n  threadbook lessons list")]
    List(FolderArguments),
}

#[derive(Debug, Args)]
struct FolderArguments {
    /// The course: a folder that holds lessons/ and notebooks/, or a folder of NN_topic.md
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where NN_topic.ipynb are, if not beside [default: DIR/notebooks, or where the lessons are]
    #[arg(long, value_name = "DIR")]
    notebooks: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct BuildArguments {
    #[command(flatten)]
    folders: FolderArguments,
    /// Only this lesson, by number or name; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

impl From<FolderArguments> for LessonFolders {
    fn from(arguments: FolderArguments) -> Self {
        Self::of(&arguments.folder, arguments.notebooks)
    }
}

/// Reads the command line, does what it says, and gives the exit code.
///
/// Errors are printed on stderr: what happened, and where there is one, the command that mends it.
pub fn main(parts: &dyn Parts) -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version end here too, with code 0. If even this cannot be printed, nobody is there to tell.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let prepares = matches!(command_line.command, Command::Lab(_));
    match dispatch(command_line.command, parts) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("threadbook: {error:#}");
            if prepares && error.is::<Missing>() {
                eprintln!("  then start again; what is done already stays done");
            }
            exit_code_of(&error)
        }
    }
}

fn exit_code_of(error: &anyhow::Error) -> ExitCode {
    if error.is::<WrongUse>() {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

fn dispatch(command: Command, parts: &dyn Parts) -> anyhow::Result<bool> {
    match command {
        Command::Lab(arguments) => {
            let wishes = lab::Wishes {
                folder: arguments.folder,
                no_browser: arguments.no_browser,
                port: arguments.port,
                reset: arguments.reset,
            };
            lab::lab(&System::here()?, parts, &wishes).map(|()| true)
        }
        Command::Install(place) => install_at(&System::here()?, &place.into()).map(|()| true),
        Command::Uninstall(place) => {
            uninstall_at(&System::here()?, parts, &place.into()).map(|()| true)
        }
        Command::Kernel { connection_file } => parts.kernel_main(&connection_file).map(|()| true),
        Command::Run { notebooks, timeout } => {
            parts.run_notebooks(&notebooks, Duration::from_secs(timeout))
        }
        Command::Lessons { task } => match task {
            LessonsTask::Build { what, form } => match form.as_slice() {
                [] => parts.lessons_build(&what.folders.into(), &what.only),
                [tool, out] if tool == "nbgrader" => {
                    parts.lessons_for_nbgrader(&what.folders.into(), &what.only, Path::new(out))
                }
                [tool, ..] => Err(WrongUse(format!(
                    "lessons cannot be built for `{tool}`; there is nbgrader"
                ))
                .into()),
            },
            LessonsTask::Check(folders) => parts.lessons_check(&folders.into()),
            LessonsTask::Test { what, runs } => {
                parts.lessons_test(&what.folders.into(), &what.only, runs)
            }
            LessonsTask::New { name, folders } => {
                parts.lessons_new(&folders.into(), &name).map(|()| true)
            }
            LessonsTask::List(folders) => parts.lessons_list(&folders.into()).map(|()| true),
        },
        Command::Doctor => doctor::doctor(&System::here()?, parts),
        Command::Prebuild => parts.prebuild_prelude_here().map(|()| true),
    }
}

fn install_at(system: &System, place: &Place) -> anyhow::Result<()> {
    match install::install(system, &place.data_dir(system)?)? {
        Installed::Already(folder) => say(&format!("already registered in {}", folder.display())),
        Installed::Written(folder) => say(&format!("registered in {}", folder.display())),
    }
}

fn uninstall_at(system: &System, parts: &dyn Parts, place: &Place) -> anyhow::Result<()> {
    let data_dir = place.data_dir(system)?;
    match install::uninstall(&data_dir)? {
        Some(folder) => say(&format!("removed {}", folder.display()))?,
        None => say(&format!(
            "not registered in {}",
            install::folder_in(&data_dir).display()
        ))?,
    }
    for folder in [system.data_dir.clone(), parts.cache_dir()]
        .iter()
        .filter(|folder| folder.exists())
    {
        say(&format!(
            "still there, yours to delete: {}",
            folder.display()
        ))?;
    }
    Ok(())
}

/// Writes one line to stdout. A reader that has gone away, such as `head`, has read enough.
fn say(line: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory;

    use super::*;

    /// Parts that are asked for their folders and nothing else.
    pub struct FakeParts {
        folder: PathBuf,
        /// Where the prelude lies, when it is built.
        pub built: Option<PathBuf>,
    }

    impl FakeParts {
        pub fn in_folder(folder: &Path) -> Self {
            Self {
                folder: folder.to_owned(),
                built: None,
            }
        }
    }

    impl Parts for FakeParts {
        fn prebuild_prelude(&self, _: &dyn Fn(&str)) -> anyhow::Result<PathBuf> {
            Ok(self.folder.join("prelude"))
        }
        fn prebuild_prelude_here(&self) -> anyhow::Result<()> {
            Ok(())
        }
        fn prelude_built(&self) -> Option<PathBuf> {
            self.built.clone()
        }
        fn kernel_main(&self, connection_file: &Path) -> anyhow::Result<()> {
            Err(WrongUse(format!(
                "connection file {}: field `key`: missing",
                connection_file.display()
            ))
            .into())
        }
        fn run_notebooks(
            &self,
            notebooks: &[PathBuf],
            cell_timeout: Duration,
        ) -> anyhow::Result<bool> {
            Ok(notebooks.len() == 1 && cell_timeout == Duration::from_secs(120))
        }
        fn lessons_build(&self, folders: &LessonFolders, only: &[String]) -> anyhow::Result<bool> {
            Ok(folders.notebooks == Path::new("out") && only.is_empty())
        }
        fn lessons_for_nbgrader(
            &self,
            folders: &LessonFolders,
            only: &[String],
            out: &Path,
        ) -> anyhow::Result<bool> {
            Ok(folders.lessons == Path::new("lessons")
                && only.is_empty()
                && out == Path::new("course"))
        }
        fn lessons_check(&self, folders: &LessonFolders) -> anyhow::Result<bool> {
            Ok(folders.lessons == Path::new("lessons")
                && folders.notebooks == Path::new("notebooks"))
        }
        fn lessons_test(
            &self,
            folders: &LessonFolders,
            only: &[String],
            runs: u32,
        ) -> anyhow::Result<bool> {
            Ok(folders.lessons == Path::new("elsewhere") && only == ["07"] && runs == 20)
        }
        fn lessons_new(&self, _: &LessonFolders, name: &str) -> anyhow::Result<()> {
            Err(WrongUse(format!("`{name}` is no name")).into())
        }
        fn lessons_list(&self, _: &LessonFolders) -> anyhow::Result<()> {
            anyhow::bail!("cannot read lessons")
        }
        fn embedded_notebooks(&self) -> &[(&'static str, &'static [u8])] {
            &[]
        }
        fn cache_dir(&self) -> PathBuf {
            self.folder.join("cache")
        }
        fn log_file(&self) -> PathBuf {
            self.folder.join("cache/kernel.log")
        }
    }

    #[test]
    fn the_definitions_are_sound_and_every_command_gives_an_example() {
        let mut definition = CommandLine::command();
        definition.clone().debug_assert();
        for command in definition
            .get_subcommands_mut()
            .filter(|command| command.get_name() != "help")
        {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }

    #[test]
    fn a_course_is_found_by_its_folders() {
        let root = tempfile::tempdir().unwrap();
        let course = root.path().join("course");
        std::fs::create_dir_all(course.join("lessons")).unwrap();
        std::fs::create_dir(root.path().join("plain")).unwrap();
        let plain = root.path().join("plain");
        for (folder, notebooks, want) in [
            (
                course.clone(),
                None,
                (course.join("lessons"), course.join("notebooks")),
            ),
            (
                course.join("lessons"),
                None,
                (course.join("lessons"), course.join("lessons/../notebooks")),
            ),
            (plain.clone(), None, (plain.clone(), plain.clone())),
            (
                plain.clone(),
                Some(PathBuf::from("out")),
                (plain.clone(), PathBuf::from("out")),
            ),
        ] {
            let found = LessonFolders::of(&folder, notebooks);
            assert_eq!(
                (found.lessons, found.notebooks),
                want,
                "{}",
                folder.display()
            );
        }
    }

    #[test]
    fn exit_codes_tell_success_failure_and_wrong_use_apart() {
        let folder = tempfile::tempdir().unwrap();
        let parts = FakeParts::in_folder(folder.path());
        let code = |words: &[&str]| -> u8 {
            let words = std::iter::once("threadbook").chain(words.iter().copied());
            match CommandLine::try_parse_from(words) {
                Err(error) => u8::try_from(error.exit_code()).unwrap(),
                Ok(command_line) => match dispatch(command_line.command, &parts) {
                    Ok(good) => u8::from(!good),
                    Err(error) => 1 + u8::from(exit_code_of(&error) == ExitCode::from(2)),
                },
            }
        };
        for (words, want) in [
            (&["--help"][..], 0),
            (&["--version"], 0),
            (&["lab", "--help"], 0),
            (&["run", "a.ipynb"], 0),
            (&["run", "a.ipynb", "b.ipynb"], 1),
            (&["lessons", "check"], 0),
            (&["lessons", "build", "--notebooks", "out"], 0),
            (&["lessons", "build", "--for", "nbgrader", "course"], 0),
            (&["lessons", "build", "--for", "nbgrader"], 2),
            (&["lessons", "build", "--for", "abacus", "course"], 2),
            (&["lessons", "test", "elsewhere", "--only", "07"], 0),
            (&["lessons", "test", "--runs", "1"], 2),
            (&["lessons", "new", "!"], 2),
            (&["lessons", "list"], 1),
            (&[], 2),
            (&["run"], 2),
            (&["run", "a.ipynb", "--timeout", "0"], 2),
            (&["lab", "--port", "0"], 2),
            (&["lab", "--reset", "no such lesson"], 2),
            (&["install", "--user", "--sys-prefix"], 2),
            (&["kernel"], 2),
            (&["kernel", "--connection-file", "bad.json"], 2),
            (&["lessons"], 2),
            (&["dance"], 2),
        ] {
            assert_eq!(code(words), want, "{words:?}");
        }
    }
}
