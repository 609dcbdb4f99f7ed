//! Where things are: the checkout, what verify makes under `target/verify`, and the environment that the tests run in.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folders of one checkout.
pub struct Place {
    /// The repository's root.
    pub root: PathBuf,
    /// `target/verify`: all that verify makes, but for `outside`.
    pub made: PathBuf,
    /// The kernel's data and cache. evcxr refuses to work in a folder that lies under any Cargo.toml, so this one is not under
    /// the checkout; it is kept from run to run, so that the prelude is built once.
    pub outside: PathBuf,
}

impl Place {
    /// Finds the checkout that holds the current folder and makes the folders. `Err` says what is in the way.
    pub fn prepare() -> Result<Place, String> {
        let here =
            env::current_dir().map_err(|e| format!("cannot find the current folder: {e}"))?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("tests/verify/Cargo.toml").is_file())
            .ok_or_else(|| {
                format!(
                    "{} is not in a checkout of Threadbook; change into one",
                    here.display()
                )
            })?
            .to_path_buf();
        // A target folder given by the environment is followed: the built binary and ours lie together.
        let target = env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), |dir| root.join(dir));
        let made = target.join("verify");
        let outside =
            env::temp_dir().join(format!("threadbook-verify-{:016x}", fingerprint(&root)));
        let place = Place {
            root,
            made,
            outside,
        };
        for folder in [place.made.join("logs"), place.artefacts()] {
            make(&folder)?;
        }
        place.make_outside()?;
        Ok(place)
    }

    fn make_outside(&self) -> Result<(), String> {
        if let Some(above) = self
            .outside
            .ancestors()
            .find(|folder| folder.join("Cargo.toml").exists())
        {
            return Err(format!(
                "the folder for temporary files lies under {}/Cargo.toml, and the kernel cannot work there; set TMPDIR to another folder",
                above.display()
            ));
        }
        make(&self.outside)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, PermissionsExt};
            let said = |e: std::io::Error| format!("cannot use {}: {e}", self.outside.display());
            // The name can be guessed and others may write beside it: what somebody else made there is not for us to run.
            let owner = fs::symlink_metadata(&self.outside).map_err(said)?;
            let ours = fs::metadata(self.made.join("logs")).map_err(said)?;
            if !owner.is_dir() || owner.uid() != ours.uid() {
                return Err(format!(
                    "{} belongs to somebody else; remove it, or set TMPDIR to another folder",
                    self.outside.display()
                ));
            }
            fs::set_permissions(&self.outside, fs::Permissions::from_mode(0o700)).map_err(said)?;
        }
        Ok(())
    }

    /// The log of a part.
    pub fn log(&self, part: &str) -> PathBuf {
        self.made.join("logs").join(format!("{part}.log"))
    }

    /// Where tests leave what a person may want to look at.
    pub fn artefacts(&self) -> PathBuf {
        self.made.join("artefacts")
    }

    /// The Python environment of the tests.
    pub fn venv(&self) -> PathBuf {
        self.made.join("venv")
    }

    /// The built kernel.
    pub fn binary(&self) -> PathBuf {
        let release = self.made.with_file_name("release");
        release.join(format!("threadbook{}", env::consts::EXE_SUFFIX))
    }

    /// An empty folder under `target/verify`; what an earlier run left there is removed.
    pub fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.made.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .map_err(|e| format!("cannot remove {}: {e}", folder.display()))?;
        }
        make(&folder)?;
        Ok(folder)
    }

    /// A cargo command in the checkout.
    pub fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command.args(words).current_dir(&self.root);
        without_cargo_traces(&mut command);
        command
    }

    /// A command that runs tests: it sees the built kernel and the Python environment, and a Jupyter and a kernel that have
    /// no files of this user's. `home` is a fresh folder for theirs.
    pub fn test_command(
        &self,
        program: impl Into<OsString>,
        home: &Path,
    ) -> Result<Command, String> {
        let mut command = Command::new(program.into());
        without_cargo_traces(&mut command);
        let bin = self.venv().join("bin");
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(bin).chain(env::split_paths(&path)))
            .map_err(|e| format!("the checkout's path cannot stand in PATH: {e}"))?;
        command
            .current_dir(&self.root)
            .env("PATH", path)
            .env("VIRTUAL_ENV", self.venv())
            .env("THREADBOOK_BIN", self.binary())
            .env("THREADBOOK_ARTEFACTS", self.artefacts())
            .env("XDG_CACHE_HOME", self.outside.join("cache"))
            .env("XDG_DATA_HOME", self.outside.join("data"))
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("JUPYTER_DATA_DIR", home.join("jupyter-data"))
            .env("JUPYTER_CONFIG_DIR", home.join("jupyter-config"))
            .env("JUPYTER_RUNTIME_DIR", home.join("jupyter-runtime"))
            .env("IPYTHONDIR", home.join("ipython"))
            .env("JUPYTER_PLATFORM_DIRS", "0")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_COLOR", "1")
            .env_remove("JUPYTER_PATH")
            .env_remove("JUPYTER_CONFIG_PATH")
            .env_remove("PYTHONPATH")
            .env_remove("PYTHONHOME");
        for name in ["cache", "data"] {
            make(&self.outside.join(name))?;
        }
        for name in [
            "config",
            "jupyter-data",
            "jupyter-config",
            "jupyter-runtime",
            "ipython",
        ] {
            make(&home.join(name))?;
        }
        Ok(command)
    }
}

/// `cargo run` leaves words about this package in our environment, and its library folders. The tests must not find the
/// kernel's libraries by those: a learner's shell has none of them.
fn without_cargo_traces(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if text == "CARGO"
            || text == "CARGO_CRATE_NAME"
            || text == "CARGO_BIN_NAME"
            || text == "CARGO_PRIMARY_PACKAGE"
            || text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(&name);
        }
    }
    for name in ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"] {
        if let Some(paths) = env::var_os(name) {
            let kept: Vec<PathBuf> = env::split_paths(&paths)
                .filter(|path| {
                    !path
                        .components()
                        .any(|part| part.as_os_str() == "release" || part.as_os_str() == "rustlib")
                })
                .filter(|path| {
                    !path.ends_with("lib")
                        || !path
                            .components()
                            .any(|part| part.as_os_str() == "toolchains")
                })
                .collect();
            match env::join_paths(&kept) {
                Ok(joined) if !kept.is_empty() => command.env(name, joined),
                _ => command.env_remove(name),
            };
        }
    }
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder)
        .map_err(|e| format!("cannot make the folder {}: {e}", folder.display()))
}

/// A number for a path, the same in every run (FNV-1a; std's own hashers do not promise that).
fn fingerprint(path: &Path) -> u64 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
}
