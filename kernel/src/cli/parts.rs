//! What the commands need from the rest of the program, and no more than that.
//!
//! A trait, so that the commands are tested without a compiler, a socket or a lesson behind them.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The parts behind the commands.
pub trait Parts {
    /// Unpacks the prelude's sources and builds them for the toolchain at hand, unless that was done before; gives their folder.
    ///
    /// Blocks for half a minute or so the first time. `progress` is told, in a few words, what is being waited for.
    ///
    /// # Errors
    /// When the sources cannot be written or the build fails; the message holds the compiler's own words.
    fn prebuild_prelude(&self, progress: &dyn Fn(&str)) -> anyhow::Result<PathBuf>;

    /// Does it in this process, which is then 400 MB larger: evcxr and its rust-analyzer have run in it. For a process that ends afterwards.
    ///
    /// # Errors
    /// As above.
    fn prebuild_prelude_here(&self) -> anyhow::Result<()>;

    /// Gives the folder of the prelude when it is already built for the toolchain at hand. Builds nothing, asks no network.
    fn prelude_built(&self) -> Option<PathBuf>;

    /// Serves one notebook until it is shut down.
    ///
    /// # Errors
    /// A connection file that cannot be used is a [`super::WrongUse`]; anything else means that serving failed.
    fn kernel_main(&self, connection_file: &Path) -> anyhow::Result<()>;

    /// Executes notebooks through the real kernel and writes their outputs back. `false`: a cell failed unexpectedly, and was named on stderr.
    ///
    /// # Errors
    /// When a notebook cannot be read or written, or the kernel does not start.
    fn run_notebooks(&self, notebooks: &[PathBuf], cell_timeout: Duration) -> anyhow::Result<bool>;

    /// Builds `notebooks/*.ipynb` from `lessons/*.md` and executes them: those that `only` names, or all. `false`: mistakes were found, and named on stderr.
    ///
    /// # Errors
    /// When a folder cannot be read or written, or `only` names no lesson.
    fn lessons_build(&self, folders: &LessonFolders, only: &[String]) -> anyhow::Result<bool>;

    /// Writes the lessons that have exercises into a folder in the instructor's form of nbgrader. `false`: mistakes were found, and named on stderr.
    ///
    /// # Errors
    /// When a folder cannot be read or written.
    fn lessons_for_nbgrader(
        &self,
        folders: &LessonFolders,
        only: &[String],
        out: &Path,
    ) -> anyhow::Result<bool>;

    /// Checks the lessons, and that their notebooks are fresh. `false`: mistakes were found, and named on stderr.
    ///
    /// # Errors
    /// When a folder cannot be read.
    fn lessons_check(&self, folders: &LessonFolders) -> anyhow::Result<bool>;

    /// Proves the lessons in kernels: each demo `runs` times in a row, on one core and on two. `false`: mistakes were found, and named on stderr.
    ///
    /// # Errors
    /// When a kernel does not start, or `only` names no lesson.
    fn lessons_test(
        &self,
        folders: &LessonFolders,
        only: &[String],
        runs: u32,
    ) -> anyhow::Result<bool>;

    /// Writes a lesson to begin with, and its proof; says where.
    ///
    /// # Errors
    /// When the name is none for a lesson, is taken, or a file cannot be written.
    fn lessons_new(&self, folders: &LessonFolders, name: &str) -> anyhow::Result<()>;

    /// Prints a line per lesson on stdout: number, title, minutes.
    ///
    /// # Errors
    /// When the folder cannot be read or a lesson is malformed.
    fn lessons_list(&self, folders: &LessonFolders) -> anyhow::Result<()>;

    /// Gives the lessons' notebooks that travel in the binary, with their outputs, in order: file name and content.
    fn embedded_notebooks(&self) -> &[(&'static str, &'static [u8])];

    /// Gives the folder below which everything lies that can be built again.
    fn cache_dir(&self) -> PathBuf;

    /// Gives the file that the kernel logs into.
    fn log_file(&self) -> PathBuf;
}

/// Where the sources of lessons lie, and where their notebooks go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LessonFolders {
    /// Holds `NN_topic.md`.
    pub lessons: PathBuf,
    /// Holds `NN_topic.ipynb`.
    pub notebooks: PathBuf,
}

impl LessonFolders {
    /// The folders of a course that lies in `folder`: in its folders `lessons` and `notebooks`, if it has the first. Otherwise `folder` holds the lessons
    /// themselves, and their notebooks lie in `notebooks` beside it when it is called `lessons`, and else in it too, each beside its source.
    pub fn of(folder: &Path, notebooks: Option<PathBuf>) -> LessonFolders {
        let inside = folder.join("lessons");
        let called_lessons = folder
            .canonicalize()
            .is_ok_and(|folder| folder.ends_with("lessons"));
        let (lessons, beside) = if inside.is_dir() {
            (inside, folder.join("notebooks"))
        } else if called_lessons {
            (folder.to_owned(), folder.join("../notebooks"))
        } else {
            (folder.to_owned(), folder.to_owned())
        };
        let plain = |path: PathBuf| match path.strip_prefix("./") {
            Ok(rest) => rest.to_owned(),
            Err(_) => path,
        };
        LessonFolders {
            lessons: plain(lessons),
            notebooks: notebooks.unwrap_or_else(|| plain(beside)),
        }
    }
}
