//! The folder of links, and what the kernel's process has in its environment so that evcxr and rust-analyzer find it.
//!
//! ```text
//! <cache>/threadbook/tools-<pid>-…/
//!     bin/{cargo,rustc,rustup}       links to this program
//!     home/bin/…                     the same once more: rust-analyzer looks into $CARGO_HOME first
//!     home/…                         links to all else that the learner's $CARGO_HOME has
//!     library                        a link to std's sources, once they are there; see `prelude_home`
//!     environment.json               what the kernel was started with, of what is changed here
//!     off                            there after `:fast off`
//!     timing, took, linker/cc        see `timing`
//!     real.json                      where the real tools are, and where their answers are kept
//! ```

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

use super::Tool;
use crate::prelude_home::{PreludeHome, SOURCES, WorkFolder};

/// Names the folder, to this process and to all that it starts but the learner's.
const FOLDER: &str = "THREADBOOK_TOOLS";

/// Set to `off` where the real tools are to be used alone.
const SWITCH: &str = "THREADBOOK_FAST";

/// In the folder where the learner has switched this off.
const OFF: &str = "off";

/// What is changed in the environment of the kernel's process.
const CHANGED: [&str; 4] = ["PATH", "CARGO_HOME", "RUSTC", "RUST_SRC_PATH"];

/// The folder of this process, made by [`Tools::set_up`].
static TOOLS: OnceLock<WorkFolder> = OnceLock::new();

/// The kernel's side of the folder of links.
#[derive(Debug)]
pub struct Tools;

/// Whether the learner wants the real tools alone.
fn is_off() -> bool {
    env::var_os(SWITCH).is_some_and(|value| value == "off")
}

impl Tools {
    /// Makes the folder and puts it into the environment of this process. Takes under a millisecond.
    ///
    /// # Safety
    /// No other thread may exist: they could read the environment meanwhile.
    ///
    /// # Errors
    /// When the folder cannot be made; nothing is changed then.
    pub unsafe fn set_up() -> io::Result<()> {
        if is_off() || TOOLS.get().is_some() {
            return Ok(());
        }
        let folder = PreludeHome::tools_folder().map_err(io::Error::other)?;
        let path = folder.path();
        let program = env::current_exe()?;
        for bin in [path.join("bin"), path.join("home/bin")] {
            fs::create_dir_all(&bin)?;
            for tool in Tool::ALL {
                std::os::unix::fs::symlink(&program, bin.join(tool.name()))?;
            }
        }
        stand_in(&path.join("home"));
        let before: BTreeMap<&str, Option<Vec<u8>>> = CHANGED
            .iter()
            .map(|name| (*name, env::var_os(name).map(OsString::into_vec)))
            .collect();
        fs::write(path.join("environment.json"), serde_json::to_vec(&before)?)?;
        let old = env::var_os("PATH").unwrap_or_default();
        let new = env::join_paths(std::iter::once(path.join("bin")).chain(env::split_paths(&old)))
            .map_err(io::Error::other)?;
        // SAFETY: there is no other thread, as this function asks for.
        unsafe {
            env::set_var(FOLDER, path);
            env::set_var("PATH", new);
            env::set_var("CARGO_HOME", path.join("home"));
            env::set_var("RUSTC", path.join("bin/rustc"));
            env::set_var("RUST_SRC_PATH", path.join("library"));
        }
        let _ = TOOLS.set(folder);
        Ok(())
    }

    /// Says where the real tools are, where their answers are kept, and where std's sources: from now on all of that is used. Does nothing where the folder
    /// was not set up.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn begin(home: &PreludeHome, work: &Path) -> io::Result<()> {
        let Some(folder) = TOOLS.get() else {
            return Ok(());
        };
        let library = folder.path().join("library");
        if home.library().is_dir() && !library.exists() {
            std::os::unix::fs::symlink(home.library(), &library)?;
        }
        let place = Place::read()?;
        let found = |tool| place.real(tool).map(Path::to_owned);
        let (cargo, rustc) = match home.toolchain() {
            Some(toolchain) => (
                Some(toolchain.join("bin/cargo")),
                Some(toolchain.join("bin/rustc")),
            ),
            None => (found(Tool::Cargo), found(Tool::Rustc)),
        };
        let real = Real {
            cargo,
            rustc,
            answers: home.answers(),
            work: work.to_owned(),
            crates: home.crates(),
        };
        let partial = folder.path().join("real.json.part");
        fs::write(&partial, serde_json::to_vec(&real)?)?;
        fs::rename(&partial, folder.path().join("real.json"))
    }

    /// Whether answers and libraries of earlier times are used: not where the folder was not set up, or after [`switch`](Tools::switch).
    pub fn are_used() -> bool {
        TOOLS
            .get()
            .is_some_and(|folder| !folder.path().join(OFF).exists())
    }

    /// Uses what is known from earlier times, or the real tools alone. Does nothing where the folder was not set up.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn switch(on: bool) -> io::Result<()> {
        let Some(folder) = TOOLS.get() else {
            return Ok(());
        };
        let off = folder.path().join(OFF);
        match on {
            true if !off.exists() => Ok(()),
            true => fs::remove_file(off),
            false => fs::write(off, ""),
        }
    }

    pub(super) fn folder() -> Option<&'static Path> {
        TOOLS.get().map(WorkFolder::path)
    }

    /// Removes the folder: the kernel ends.
    pub fn end() {
        if let Some(folder) = TOOLS.get() {
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

/// Makes `home` stand for the learner's `CARGO_HOME`, but for the tools in it: a cargo that is called by its own path (of another toolchain, `:toolchain`)
/// finds there what it has downloaded, and its settings.
fn stand_in(home: &Path) {
    let own = env::var_os("CARGO_HOME").map(PathBuf::from);
    let own = own.or_else(|| dirs::home_dir().map(|home| home.join(".cargo")));
    let entries = own.and_then(|own| fs::read_dir(own).ok());
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name() != "bin" {
            // What is not linked is downloaded again.
            let _ = std::os::unix::fs::symlink(entry.path(), home.join(entry.file_name()));
        }
    }
}

/// What the learner's process has to have in its environment, and what it must not have: as the kernel was started. Empty where nothing was changed.
pub fn environment_of_the_learner() -> Vec<(String, Option<OsString>)> {
    if TOOLS.get().is_none() {
        return Vec::new();
    }
    let Ok(place) = Place::read() else {
        return Vec::new();
    };
    let before = place
        .originals()
        .map(|(name, value)| (name.to_owned(), value.map(OsString::from)));
    before.chain([(FOLDER.to_owned(), None)]).collect()
}

/// Where the real tools are.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Real {
    cargo: Option<PathBuf>,
    rustc: Option<PathBuf>,
    answers: PathBuf,
    work: PathBuf,
    crates: PathBuf,
}

/// The folder, as a tool finds it.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    originals: BTreeMap<String, Option<OsString>>,
    real: Option<Real>,
    found: BTreeMap<&'static str, PathBuf>,
}

impl Place {
    pub(super) fn is_set_up() -> bool {
        env::var_os(FOLDER).is_some()
    }

    pub(super) fn read() -> io::Result<Place> {
        let folder = PathBuf::from(
            env::var_os(FOLDER).ok_or_else(|| io::Error::other(format!("{FOLDER} is not set")))?,
        );
        let before: BTreeMap<String, Option<Vec<u8>>> =
            serde_json::from_slice(&fs::read(folder.join("environment.json"))?)?;
        let originals: BTreeMap<String, Option<OsString>> = before
            .into_iter()
            .map(|(name, value)| (name, value.map(OsString::from_vec)))
            .collect();
        let real: Option<Real> = fs::read(folder.join("real.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let path = originals.get("PATH").cloned().flatten().unwrap_or_default();
        let mut found = BTreeMap::new();
        for tool in Tool::ALL {
            let own = real.as_ref().and_then(|real| match tool {
                Tool::Cargo => real.cargo.clone(),
                Tool::Rustc => real.rustc.clone(),
                Tool::Rustup | Tool::Linker => None,
            });
            let on_path = || {
                env::split_paths(&path)
                    .map(|folder| folder.join(tool.name()))
                    .find(|path| path.is_file())
            };
            if let Some(path) = own.filter(|path| path.is_file()).or_else(on_path) {
                found.insert(tool.name(), path);
            }
        }
        Ok(Place {
            folder,
            originals,
            real,
            found,
        })
    }

    /// The real tool.
    pub(super) fn real(&self, tool: Tool) -> Option<&Path> {
        self.found.get(tool.name()).map(PathBuf::as_path)
    }

    /// Whether only real tools are to be used.
    pub(super) fn is_off(&self) -> bool {
        self.folder.join(OFF).exists()
    }

    /// This program under the tool's name.
    pub(super) fn link(&self, tool: Tool) -> PathBuf {
        self.folder.join("bin").join(tool.name())
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// std's sources as rust-analyzer is given them.
    pub(super) fn library(&self) -> PathBuf {
        self.folder.join("library")
    }

    /// std's sources as the toolchain has them.
    pub(super) fn real_library(&self) -> Option<PathBuf> {
        let toolchain = self.real(Tool::Rustc)?.parent()?.parent()?;
        Some(toolchain.join(SOURCES)).filter(|folder| folder.is_dir())
    }

    /// What the kernel was started with, of what is changed.
    pub(super) fn originals(&self) -> impl Iterator<Item = (&str, Option<&std::ffi::OsStr>)> {
        self.originals
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Where answers are kept; `None` before the kernel has said so.
    pub(super) fn answers(&self) -> Option<&Path> {
        self.real.as_ref().map(|real| real.answers.as_path())
    }

    /// The folder in which evcxr works.
    pub(super) fn work(&self) -> Option<&Path> {
        self.real.as_ref().map(|real| real.work.as_path())
    }

    /// The folder of our own crates.
    pub(super) fn crates(&self) -> Option<&Path> {
        self.real.as_ref().map(|real| real.crates.as_path())
    }

    /// The same text without what is this kernel's alone, so that another kernel's is equal.
    pub(super) fn without_own(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for (own, name) in self.own() {
            text = replaced(&text, own.as_os_str().as_bytes(), name);
        }
        text
    }

    /// What [`without_own`](Place::without_own) took away, put in again.
    pub(super) fn with_own(&self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for (own, name) in self.own() {
            text = replaced(&text, name, own.as_os_str().as_bytes());
        }
        text
    }

    fn own(&self) -> impl Iterator<Item = (&Path, &'static [u8])> {
        let work = self.work().map(|work| (work, &b"@THREADBOOK-WORK@"[..]));
        work.into_iter()
            .chain([(self.folder.as_path(), &b"@THREADBOOK-TOOLS@"[..])])
    }
}

fn replaced(text: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while !what.is_empty()
        && let Some(at) = rest.windows(what.len()).position(|window| window == what)
    {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_replaced() {
        for (text, want) in [
            ("", ""),
            ("/w", "W"),
            ("a /w/b /w", "a W/b W"),
            ("/v", "/v"),
        ] {
            assert_eq!(
                replaced(text.as_bytes(), b"/w", b"W"),
                want.as_bytes(),
                "{text}"
            );
        }
        assert_eq!(replaced(b"ab", b"", b"x"), b"ab");
    }
}
