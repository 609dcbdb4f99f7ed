//! What the tests need from outside the checkout: parts of the Rust toolchain, Debian packages, Python packages, npm packages.
//!
//! Each is looked for first, and fetched only when it is missing; what cannot be had is said together with what would mend it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::Log;
use crate::place::Place;

/// For fetching from a package registry over a slow line.
const FETCH: Duration = Duration::from_secs(20 * 60);
/// For a command that only looks.
const LOOK: Duration = Duration::from_secs(60);

/// rustfmt, clippy, and the sources of std, without which rust-analyzer infers no types.
pub fn rust_components(log: &mut Log) -> Result<(), String> {
    let sysroot = log.must(Command::new("rustc").args(["--print", "sysroot"]), LOOK)?;
    let library =
        Path::new(sysroot.lines().last().unwrap_or("")).join("lib/rustlib/src/rust/library");
    let mut missing = Vec::new();
    if !library.is_dir() {
        missing.push("rust-src");
    }
    for (component, program) in [("rustfmt", "rustfmt"), ("clippy", "clippy-driver")] {
        // Asked for its version, since rustup puts a program of that name there for a component that is missing as well.
        let found = log.run(Command::new(program).arg("--version"), LOOK);
        if !found.is_ok_and(|said| said.status.success()) {
            missing.push(component);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if on_path("rustup").is_none() {
        return Err(format!(
            "the Rust toolchain has no {}, and there is no rustup to add it; install them with the package manager that Rust came from",
            missing.join(", ")
        ));
    }
    log.must(
        Command::new("rustup")
            .args(["component", "add"])
            .args(&missing),
        FETCH,
    )?;
    Ok(())
}

/// A virtual environment with what `tests/e2e/requirements.txt` pins; the one of an earlier run when that file is as it was.
pub fn python(place: &Place, log: &mut Log) -> Result<(), String> {
    let requirements = place.root.join("tests/e2e/requirements.txt");
    let wanted = fs::read(&requirements)
        .map_err(|e| format!("cannot read {}: {e}", requirements.display()))?;
    let venv = place.venv();
    let python = venv.join("bin/python");
    // Written last: it is there only when the environment is whole.
    let mark = venv.join("installed-requirements.txt");
    if fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        let import = log.run(
            Command::new(&python).args(["-c", "import jupyter_client, nbclient, pytest"]),
            LOOK,
        );
        if import.is_ok_and(|said| said.status.success()) {
            return log.note("the environment of an earlier run is as it should be");
        }
    }
    place.fresh("venv")?;
    let make = |log: &mut Log| {
        log.run(
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
            FETCH,
        )
    };
    let made = if on_path("python3").is_some() {
        make(log)?.status.success()
    } else {
        false
    };
    if !made {
        // Debian's python3 comes without `ensurepip`, or there is no Python at all.
        debian_packages(&["python3-venv"], log)
            .map_err(|what| format!("python3 cannot make a virtual environment, and {what}"))?;
        place.fresh("venv")?;
        if !make(log)?.status.success() {
            return Err(
                "python3 cannot make a virtual environment; its own words stand above".into(),
            );
        }
    }
    log.must(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--disable-pip-version-check",
                "--no-input",
                "--progress-bar",
                "off",
                "-r",
            ])
            .arg(&requirements),
        FETCH,
    )?;
    fs::write(&mark, wanted).map_err(|e| format!("cannot write {}: {e}", mark.display()))
}

/// The browser: `CHROMIUM` when that is set, else one on PATH, else Debian's package.
pub fn chromium(log: &mut Log) -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("CHROMIUM").map(PathBuf::from) {
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!(
                "CHROMIUM names {}, which is not a file",
                path.display()
            ))
        };
    }
    let find = || {
        ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find_map(on_path)
    };
    if let Some(path) = find() {
        return Ok(path);
    }
    debian_packages(&["chromium"], log).map_err(|what| {
        format!("no Chromium on PATH, and {what}; or set CHROMIUM to a browser's path")
    })?;
    find().ok_or_else(|| "Debian's chromium is installed, but it is not on PATH".into())
}

/// A copy of `tests/browser` with its npm packages: those of an earlier run when the lock file is as it was.
pub fn browser_folder(place: &Place, log: &mut Log) -> Result<PathBuf, String> {
    if on_path("node").is_none() || on_path("npm").is_none() {
        debian_packages(&["nodejs", "npm"], log)
            .map_err(|what| format!("the browser test needs node and npm, and {what}"))?;
    }
    let source = place.root.join("tests/browser");
    let folder = place.made.join("browser");
    let lock = fs::read(source.join("package-lock.json"))
        .map_err(|e| format!("cannot read tests/browser/package-lock.json: {e}"))?;
    let mark = folder.join("installed-package-lock.json");
    let whole = fs::read(&mark).is_ok_and(|installed| installed == lock);
    if !whole {
        place.fresh("browser")?;
    }
    let said = |e: std::io::Error| format!("cannot copy tests/browser: {e}");
    for entry in fs::read_dir(&source).map_err(said)? {
        let entry = entry.map_err(said)?;
        if entry.file_type().map_err(said)?.is_file() {
            fs::copy(entry.path(), folder.join(entry.file_name())).map_err(said)?;
        }
    }
    if !whole {
        log.must(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(&folder),
            FETCH,
        )?;
        fs::write(&mark, lock).map_err(|e| format!("cannot write {}: {e}", mark.display()))?;
    }
    Ok(folder)
}

/// Installs packages of Debian. `Err`: "they cannot be had: why; what to do".
fn debian_packages(packages: &[&str], log: &mut Log) -> Result<(), String> {
    let by_hand = format!("run `sudo apt-get install {}`", packages.join(" "));
    if on_path("apt-get").is_none() {
        return Err(format!(
            "there is no apt-get to install {} with; install it by hand",
            packages.join(" ")
        ));
    }
    let id = log.must(Command::new("id").arg("-u"), LOOK)?;
    if id.trim() != "0" {
        return Err(format!("only root can install it; {by_hand}"));
    }
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    log.must(&mut apt(&["update"]), FETCH)
        .map_err(|what| format!("{what}; {by_hand}"))?;
    log.must(apt(&["install", "-y"]).args(packages), FETCH)
        .map_err(|what| format!("{what}; {by_hand}"))?;
    Ok(())
}

fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
