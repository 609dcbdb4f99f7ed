//! The Rust side of the machine: is there a toolchain that can compile a cell?
//!
//! Each check is cheap enough to be made at every start, and either says what it found or what is missing and how to mend it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::system::{Package, System, answer_of};
use super::trouble::Missing;

/// The oldest compiler that cells and prelude build with: the one that this package declares.
///
/// Not the one that built this binary: prelude and cells are both compiled on the learner's machine, by the compiler found there.
const OLDEST_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// As <https://rustup.rs> says.
const INSTALL_RUST: &str = "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh";

const RUST_SRC: Package = Package {
    apt: "rust-src",
    dnf: "rust-src",
    pacman: "rust-src",
    zypper: "rust-src",
    apk: "rust-src",
    otherwise: INSTALL_RUST,
};

const C_COMPILER: Package = Package {
    apt: "build-essential",
    dnf: "gcc",
    pacman: "base-devel",
    zypper: "gcc",
    apk: "build-base",
    otherwise: if cfg!(target_os = "macos") {
        "xcode-select --install"
    } else {
        "install a C compiler, so that `cc` is on the PATH"
    },
};

/// Finds `cargo` and a `rustc` that is new enough; says which.
///
/// # Errors
/// When one of them is missing, does not run, or is too old.
pub fn toolchain(system: &System) -> Result<String, Missing> {
    let mut versions = Vec::new();
    for program in ["rustc", "cargo"] {
        let file = system.find(program).ok_or_else(|| {
            Missing::new(
                format!("no Rust: `{program}` is not on the PATH"),
                INSTALL_RUST,
            )
        })?;
        let version = system.ask(&file, ["--version"]).map_err(|why| {
            // rustup's own words ("no default toolchain") say the cure as well; it only needs a toolchain.
            let mend = if system.find("rustup").is_some() {
                "rustup default stable"
            } else {
                INSTALL_RUST
            };
            Missing::new(format!("`{}` does not work: {why}", file.display()), mend)
        })?;
        versions.push(version);
    }
    let rustc = &versions[0];
    // A version that cannot be read is none, and `None` is less than any.
    if version_of(rustc) < version_of(OLDEST_RUST) {
        let mend = if system.find("rustup").is_some() {
            "rustup update stable"
        } else {
            INSTALL_RUST
        };
        return Err(Missing::new(
            format!("Rust {OLDEST_RUST} or later is needed, this is `{rustc}`"),
            mend,
        ));
    }
    Ok(rustc.clone())
}

/// Finds the sources of Rust's library, which completion and hover read.
///
/// # Errors
/// When they are not there. With `rustup` on the PATH, [`add_rust_src`] mends it.
pub fn rust_src(system: &System) -> Result<PathBuf, Missing> {
    let sysroot = system.ask("rustc", ["--print", "sysroot"]).map_err(|why| {
        Missing::new(
            format!("`rustc --print sysroot` fails: {why}"),
            INSTALL_RUST,
        )
    })?;
    let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    if library.is_dir() {
        return Ok(library);
    }
    let mend = if system.find("rustup").is_some() {
        "rustup component add rust-src".to_owned()
    } else {
        system.install_command(&RUST_SRC)
    };
    Err(Missing::new(
        format!(
            "no sources of Rust's library (rust-src) in {}",
            library.display()
        ),
        mend,
    ))
}

/// Lets `rustup` add the sources of Rust's library. Waits for a download of about 3 MB.
///
/// # Errors
/// When there is no `rustup`, or it fails; the message says why.
pub fn add_rust_src(system: &System) -> Result<PathBuf, Missing> {
    let missing = match rust_src(system) {
        Ok(library) => return Ok(library),
        Err(missing) => missing,
    };
    let Some(rustup) = system.find("rustup") else {
        return Err(missing);
    };
    system
        .ask(rustup, ["component", "add", "rust-src"])
        .map_err(|why| {
            Missing::new(
                format!("`rustup component add rust-src` failed: {why}"),
                "check the network, then: rustup component add rust-src",
            )
        })?;
    rust_src(system)
}

/// Links an empty program, as every cell will be linked; says by which linker. About 0.2 s.
///
/// # Errors
/// When there is no `cc`, or when it cannot link: a compiler without the C library's development files is seen here.
pub fn linker(system: &System) -> Result<String, Missing> {
    let mend = system.install_command(&C_COMPILER);
    let cc = system.find("cc").ok_or_else(|| {
        Missing::new("no C compiler to link with: `cc` is not on the PATH", &mend)
    })?;
    let version = system
        .ask(&cc, ["--version"])
        .map_err(|why| Missing::new(format!("`{}` does not work: {why}", cc.display()), &mend))?;
    link_an_empty_program(system)
        .map_err(|why| Missing::new(format!("linking an empty program fails: {why}"), &mend))?;
    Ok(version.lines().next().unwrap_or("cc").to_owned())
}

fn link_an_empty_program(system: &System) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    let source = folder.path().join("empty.rs");
    std::fs::write(&source, "fn main() {}\n")
        .map_err(|error| format!("no temporary file: {error}"))?;
    let output = system
        .command("rustc")
        .args(["--edition", "2024", "-o"])
        .arg(folder.path().join("empty"))
        .arg(&source)
        .stdout(Stdio::null())
        .output();
    // The last line of rustc is "aborting due to …"; the first one names the linker's trouble.
    match &output {
        Ok(output) if !output.status.success() => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Err(stderr
                .lines()
                .find(|line| line.contains("error"))
                .unwrap_or("rustc said nothing")
                .to_owned())
        }
        _ => answer_of(output).map(drop),
    }
}

/// Reads `1.95.0` out of `rustc 1.95.0 (59807616e 2026-04-14)`, and `1.95` out of `1.95`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let number = text
        .split(' ')
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::*;

    const GOOD: &str = "echo 'rustc 1.95.0 (59807616e 2026-04-14)'";

    #[test]
    fn every_missing_piece_of_the_toolchain_names_its_cure() {
        for (name, machine, what, mend) in [
            (
                "nothing",
                Machine::bare(),
                "`rustc` is not on the PATH",
                "sh.rustup.rs",
            ),
            (
                "no cargo",
                Machine::bare().program("rustc", GOOD),
                "`cargo` is not on the PATH",
                "sh.rustup.rs",
            ),
            (
                "rustup without a toolchain",
                Machine::bare().program("rustup", "exit 0").program(
                    "rustc",
                    "echo 'error: no default is configured' >&2; exit 1",
                ),
                "no default is configured",
                "rustup default stable",
            ),
            (
                "too old, with rustup",
                Machine::bare()
                    .program("rustup", "exit 0")
                    .program("rustc", "echo 'rustc 1.63.0 (x)'")
                    .program("cargo", "echo cargo"),
                "this is `rustc 1.63.0 (x)`",
                "rustup update stable",
            ),
            (
                "too old, from a distribution",
                Machine::bare()
                    .program("rustc", "echo 'rustc 1.63.0'")
                    .program("cargo", "echo cargo"),
                "Rust 1.95 or later",
                "sh.rustup.rs",
            ),
        ] {
            let missing = toolchain(&machine.system).unwrap_err();
            assert!(missing.what.contains(what), "{name}: {missing}");
            assert!(missing.mend.contains(mend), "{name}: {missing}");
        }
        let machine = Machine::bare()
            .program("rustc", GOOD)
            .program("cargo", "echo cargo");
        assert_eq!(
            toolchain(&machine.system).unwrap(),
            "rustc 1.95.0 (59807616e 2026-04-14)"
        );
    }

    /// A `rustc` whose sysroot is `$root`, beside the folder of programs.
    const ROOTED: &str = "echo \"${0%/bin/rustc}/root\"";

    #[test]
    fn missing_rust_src_is_added_by_rustup_or_else_named() {
        let machine = Machine::bare()
            .program("rustc", ROOTED)
            .program("apt-get", "exit 0")
            .program("sudo", "exit 0");
        assert_eq!(
            add_rust_src(&machine.system).unwrap_err().mend,
            "sudo apt install rust-src"
        );

        let adds = "[ \"$*\" = 'component add rust-src' ] && /bin/mkdir -p \"${0%/bin/rustup}/root/lib/rustlib/src/rust/library\"";
        let machine = machine.program("rustup", adds);
        assert_eq!(
            rust_src(&machine.system).unwrap_err().mend,
            "rustup component add rust-src"
        );
        assert!(add_rust_src(&machine.system).unwrap().is_dir());
        assert!(rust_src(&machine.system).is_ok());

        let machine = Machine::bare()
            .program("rustc", ROOTED)
            .program("rustup", "echo 'error: could not download' >&2; exit 1");
        let missing = add_rust_src(&machine.system).unwrap_err();
        assert!(
            missing.what.contains("could not download") && missing.mend.contains("network"),
            "{missing}"
        );
    }

    #[test]
    fn a_linker_that_cannot_link_is_seen() {
        let refusing = "echo 'error: linking with `cc` failed' >&2; echo 'error: aborting due to 1 previous error' >&2; exit 1";
        for (name, machine, want) in [
            ("no cc", Machine::bare(), "`cc` is not on the PATH"),
            (
                "broken cc",
                Machine::bare().program("cc", "echo 'no backend' >&2; exit 1"),
                "no backend",
            ),
            (
                "no C library",
                Machine::bare()
                    .program("cc", "echo 'cc 12'")
                    .program("rustc", refusing),
                "linking with `cc` failed",
            ),
        ] {
            let missing = linker(
                &machine
                    .program("apt-get", "exit 0")
                    .program("sudo", "exit 0")
                    .system,
            )
            .unwrap_err();
            assert!(missing.what.contains(want), "{name}: {missing}");
            assert_eq!(missing.mend, "sudo apt install build-essential", "{name}");
        }
        let machine = Machine::bare()
            .program("cc", "echo 'cc 12'; echo more")
            .program("rustc", "exit 0");
        assert_eq!(linker(&machine.system).unwrap(), "cc 12");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (text, want) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some((1, 95))),
            ("rustc 1.100.0-nightly", Some((1, 100))),
            ("1.95", Some((1, 95))),
            ("rustc", None),
            ("rustc 1", None),
        ] {
            assert_eq!(version_of(text), want, "{text}");
        }
        assert!(version_of("1.100") > version_of("1.95"));
    }
}
