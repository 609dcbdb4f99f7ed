//! `threadbook doctor`: one line for each thing that a lesson needs, and what to do where it is not there.
//!
//! Looks only; changes nothing and asks no network. ✓ is there, ✗ stops a lesson from running now, ! does not but is worth knowing.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::install;
use super::jupyter::Jupyter;
use super::parts::Parts;
use super::python::Python;
use super::system::System;
use super::toolchain;
use super::trouble::Missing;
use crate::evaluator::can_be_seen;

/// What a first start takes on disk, generously: JupyterLab 0.25 GB, the prelude and the cells' builds 1 GB.
const NEEDED_DISK_BYTES: u64 = 2_000_000_000;

/// How one check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There.
    Good,
    /// Not as it should be, but a lesson runs.
    Warning,
    /// A lesson does not run.
    Bad,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it came out.
    pub verdict: Verdict,
    /// What was looked at.
    pub subject: &'static str,
    /// What was seen.
    pub seen: String,
    /// What mends it, where something is to mend.
    pub mend: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Good => '✓',
            Verdict::Warning => '!',
            Verdict::Bad => '✗',
        };
        write!(f, "{mark} {}: {}", self.subject, self.seen)?;
        match &self.mend {
            Some(mend) => write!(f, "; to mend it: {mend}"),
            None => Ok(()),
        }
    }
}

fn good(subject: &'static str, seen: impl Into<String>) -> Finding {
    Finding {
        verdict: Verdict::Good,
        subject,
        seen: seen.into(),
        mend: None,
    }
}

fn not_good(verdict: Verdict, subject: &'static str, missing: Missing) -> Finding {
    Finding {
        verdict,
        subject,
        seen: missing.what,
        mend: Some(missing.mend),
    }
}

/// Looks at everything that a lesson needs. Takes about two seconds: programs are asked for their versions.
pub fn examine(system: &System, parts: &dyn Parts) -> Vec<Finding> {
    let found = |subject, result: Result<String, Missing>| match result {
        Ok(seen) => good(subject, seen),
        Err(missing) => not_good(Verdict::Bad, subject, missing),
    };
    let lab_does_it = system.own_command("lab");
    let jupyter = Jupyter::find(system);
    let prelude = parts.prelude_built();
    let rust_src = toolchain::rust_src(system);
    let all_on_disk = jupyter.is_some() && prelude.is_some() && rust_src.is_ok();
    vec![
        found("Rust toolchain", toolchain::toolchain(system)),
        found(
            "rust-src",
            rust_src.map(|library| library.display().to_string()),
        ),
        found("linker", toolchain::linker(system)),
        python(system, jupyter.is_some()),
        jupyter_lab(jupyter.as_ref(), &lab_does_it),
        kernelspec(system, jupyter.as_ref()),
        match &prelude {
            Some(folder) => good("prelude", format!("built ({})", folder.display())),
            None => not_good(
                Verdict::Bad,
                "prelude",
                Missing::new("not built for this toolchain yet", &lab_does_it),
            ),
        },
        disk("disk for data", &system.data_dir, all_on_disk),
        disk("disk for cache", &parts.cache_dir(), all_on_disk),
        writable("cache folder", &parts.cache_dir()),
        writable("log file", &parts.log_file()),
        connection_files(&system.jupyter_runtime_dir),
        input_of_cells(),
        if all_on_disk {
            good(
                "without a network",
                "lessons run; only `:dep` of a new crate needs one",
            )
        } else {
            let missing = Missing::new(
                "something above is still to be fetched or built",
                format!("{lab_does_it}, once, with a network"),
            );
            not_good(Verdict::Warning, "without a network", missing)
        },
    ]
}

/// Says the report on stdout; `true` when nothing stops a lesson from running.
pub fn doctor(system: &System, parts: &dyn Parts) -> anyhow::Result<bool> {
    let findings = examine(system, parts);
    for finding in &findings {
        super::say(&finding.to_string())?;
    }
    Ok(findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Bad))
}

/// Python makes the private JupyterLab; where there is a JupyterLab, it has done its work.
fn python(system: &System, jupyter_is_there: bool) -> Finding {
    const SUBJECT: &str = "Python with venv and ensurepip";
    match Python::find(system) {
        Ok(python) => good(SUBJECT, python.to_string()),
        Err(missing) if jupyter_is_there => not_good(Verdict::Warning, SUBJECT, missing),
        Err(missing) => not_good(Verdict::Bad, SUBJECT, missing),
    }
}

fn jupyter_lab(jupyter: Option<&Jupyter>, lab_does_it: &str) -> Finding {
    match jupyter {
        Some(Jupyter {
            lab,
            version,
            private,
        }) => {
            let whose = if private.is_some() { ", private" } else { "" };
            good(
                "JupyterLab",
                format!("{version} ({}{whose})", lab.display()),
            )
        }
        None => not_good(
            Verdict::Bad,
            "JupyterLab",
            Missing::new(
                "none of version 4 found",
                format!("{lab_does_it} (it makes a private one)"),
            ),
        ),
    }
}

fn kernelspec(system: &System, jupyter: Option<&Jupyter>) -> Finding {
    const SUBJECT: &str = "kernelspec";
    let mut data_dirs = vec![system.jupyter_data_dir.clone()];
    data_dirs.extend(
        system
            .python_prefix
            .iter()
            .map(|prefix| prefix.join("share/jupyter")),
    );
    // The one that our JupyterLab looks into first has the last word.
    data_dirs.extend(jupyter.map(|jupyter| jupyter.data_dir(system)));
    let registered = data_dirs.iter().rev().find_map(|data_dir| {
        let folder = install::folder_in(data_dir);
        install::registered_binary(&folder).map(|binary| (folder, binary))
    });
    let (what, verdict) = match registered {
        Some((folder, binary)) if binary == system.exe => {
            return good(SUBJECT, folder.display().to_string());
        }
        Some((folder, binary)) if binary.exists() => {
            let what = format!(
                "{} starts another binary, {}",
                folder.display(),
                binary.display()
            );
            (what, Verdict::Warning)
        }
        Some((folder, binary)) => {
            let what = format!(
                "{} starts {}, which is gone",
                folder.display(),
                binary.display()
            );
            (what, Verdict::Bad)
        }
        None => ("not registered".to_owned(), Verdict::Bad),
    };
    not_good(
        verdict,
        SUBJECT,
        Missing::new(
            what,
            format!(
                "{}, or {}",
                system.own_command("lab"),
                system.own_command("install")
            ),
        ),
    )
}

/// What there is already needs no more space: then a full disk is only worth knowing.
fn disk(subject: &'static str, folder: &Path, all_on_disk: bool) -> Finding {
    let existing = nearest_existing(folder);
    let free_bytes = match nix::sys::statvfs::statvfs(existing) {
        #[allow(
            clippy::useless_conversion,
            reason = "the types of these two differ between platforms"
        )]
        Ok(volume) => {
            u64::from(volume.blocks_available()).saturating_mul(u64::from(volume.fragment_size()))
        }
        Err(error) => {
            let what = format!(
                "the free space at {} cannot be told: {error}",
                existing.display()
            );
            return not_good(
                Verdict::Warning,
                subject,
                Missing::new(what, "see that 2 GB are free"),
            );
        }
    };
    let seen = format!(
        "{}.{} GB free at {}",
        free_bytes / 1_000_000_000,
        free_bytes / 100_000_000 % 10,
        folder.display()
    );
    let verdict = match (free_bytes >= NEEDED_DISK_BYTES, all_on_disk) {
        (true, _) => return good(subject, seen),
        (false, true) => Verdict::Warning,
        (false, false) => Verdict::Bad,
    };
    not_good(verdict, subject, Missing::new(seen, "free 2 GB there"))
}

/// The key in a connection file lets whoever reads it run code as this user.
fn connection_files(folder: &Path) -> Finding {
    const SUBJECT: &str = "connection files";
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let is_open = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_one = name.starts_with("kernel-") && name.ends_with(".json");
        is_one
            && std::fs::metadata(path)
                .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    };
    let mut open: Vec<PathBuf> = files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_open)
        .collect();
    open.sort();
    match &open[..] {
        [] => good(
            SUBJECT,
            format!("nobody else can read those in {}", folder.display()),
        ),
        [first, ..] => {
            let what = format!(
                "others can use {}{}, and with the key in it run code as you",
                first.display(),
                match open.len() {
                    1 => String::new(),
                    files => format!(" and {} more", files - 1),
                }
            );
            let mend = format!("chmod 600 {}", folder.join("kernel-*.json").display());
            not_good(Verdict::Warning, SUBJECT, Missing::new(what, mend))
        }
    }
}

/// `read_line` in a cell asks in the notebook only where the system tells that a process of ours waits in a read. Asked of one that does nothing else.
fn input_of_cells() -> Finding {
    const SUBJECT: &str = "input of cells";
    let started = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let Ok(mut reader) = started else {
        return good(SUBJECT, "not looked at: there is no `cat` to look at");
    };
    let is_seen = i32::try_from(reader.id()).is_ok_and(can_be_seen);
    drop(reader.stdin.take());
    let _ = reader.wait();
    if is_seen {
        return good(SUBJECT, "a cell that reads asks in the notebook");
    }
    let seen = "/proc/<pid>/syscall cannot be read, so a cell's plain `read_line` waits until it is interrupted";
    let mend = "use `input(\"…\")` in cells, or run where /proc is Linux's own and processes may look at their children (ptrace)";
    not_good(Verdict::Warning, SUBJECT, Missing::new(seen, mend))
}

fn writable(subject: &'static str, path: &Path) -> Finding {
    let shown = path.display().to_string();
    // A file that is made and gone again: permissions alone do not tell of a volume that is mounted read-only.
    let folder = nearest_existing(if path.is_file() {
        path.parent().unwrap_or(path)
    } else {
        path
    });
    match tempfile::tempfile_in(folder) {
        Ok(_) => good(subject, shown),
        Err(error) => {
            let what = format!("{shown} cannot be written: {error}");
            not_good(
                Verdict::Bad,
                subject,
                Missing::new(what, format!("make {} yours to write", folder.display())),
            )
        }
    }
}

/// The folder itself, or the nearest one above it that is there.
fn nearest_existing(folder: &Path) -> &Path {
    folder
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::super::tests::FakeParts;
    use super::*;

    fn line(findings: &[Finding], subject: &str) -> String {
        findings
            .iter()
            .find(|finding| finding.subject == subject)
            .expect(subject)
            .to_string()
    }

    #[test]
    fn on_a_bare_machine_every_line_says_what_to_do() {
        let mut machine = Machine::bare()
            .program("apt-get", "exit 0")
            .program("sudo", "exit 0")
            .program("threadbook", "exit 0");
        machine.system.exe = machine.folder.path().join("bin/threadbook");
        let findings = examine(
            &machine.system,
            &FakeParts::in_folder(machine.folder.path()),
        );
        for (subject, want) in [
            (
                "Rust toolchain",
                "✗ Rust toolchain: no Rust: `rustc` is not on the PATH; to mend it: curl ",
            ),
            (
                "linker",
                "✗ linker: no C compiler to link with: `cc` is not on the PATH; to mend it: sudo apt install build-essential",
            ),
            (
                "Python with venv and ensurepip",
                "✗ Python with venv and ensurepip: no Python 3.9 or later: no `python3` on the PATH works; to mend it: sudo apt install python3 python3-venv",
            ),
            (
                "JupyterLab",
                "✗ JupyterLab: none of version 4 found; to mend it: threadbook lab",
            ),
            (
                "kernelspec",
                "✗ kernelspec: not registered; to mend it: threadbook lab, or threadbook install",
            ),
            (
                "prelude",
                "✗ prelude: not built for this toolchain yet; to mend it: threadbook lab",
            ),
            (
                "without a network",
                "! without a network: something above is still to be fetched or built; to mend it: threadbook lab, once",
            ),
            ("log file", "✓ log file: "),
        ] {
            let line = line(&findings, subject);
            assert!(line.starts_with(want), "{line}");
        }
    }

    /// A machine on which a lesson runs.
    fn whole_machine() -> (Machine, FakeParts) {
        let machine = Machine::bare()
            .program(
                "rustc",
                "[ \"$1\" = --print ] && echo \"${0%/bin/rustc}/root\" || echo 'rustc 1.95.0'",
            )
            .program("cargo", "echo cargo")
            .program("cc", "echo cc 12")
            .program("jupyter-lab", "echo 4.6.6");
        let root = machine.folder.path();
        std::fs::create_dir_all(root.join("root/lib/rustlib/src/rust/library")).unwrap();
        let mut parts = FakeParts::in_folder(root);
        parts.built = Some(root.join("prelude"));
        std::fs::write(&machine.system.exe, "").unwrap();
        install::install(&machine.system, &machine.system.jupyter_data_dir).unwrap();
        (machine, parts)
    }

    #[test]
    fn nothing_is_bad_on_a_whole_machine_even_without_python() {
        let (machine, parts) = whole_machine();
        let findings = examine(&machine.system, &parts);
        let bad: Vec<_> = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Bad)
            .collect();
        assert!(bad.is_empty(), "{bad:?}");
        assert!(line(&findings, "Python with venv and ensurepip").starts_with("! "));
        assert!(line(&findings, "without a network").starts_with("✓ "));
    }

    #[test]
    fn a_kernelspec_of_another_binary_is_seen() {
        let (mut machine, parts) = whole_machine();
        let registered = std::mem::replace(&mut machine.system.exe, "/new/threadbook".into());
        let at = |machine: &Machine| line(&examine(&machine.system, &parts), "kernelspec");
        assert!(
            at(&machine).starts_with("! kernelspec: "),
            "{}",
            at(&machine)
        );
        assert!(
            at(&machine).contains("starts another binary"),
            "{}",
            at(&machine)
        );
        std::fs::remove_file(registered).unwrap();
        assert!(
            at(&machine).starts_with("✗ kernelspec: "),
            "{}",
            at(&machine)
        );
        assert!(at(&machine).contains("which is gone"), "{}", at(&machine));
    }

    #[test]
    fn a_connection_file_that_others_can_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let look = || connection_files(folder.path()).to_string();
        assert!(
            look().starts_with("✓ connection files: nobody else"),
            "{}",
            look()
        );
        for (name, mode) in [
            ("kernel-1.json", 0o600),
            ("kernel-2.json", 0o640),
            ("kernel-3.json", 0o602),
            ("other.json", 0o666),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let said = look();
        assert!(
            said.starts_with("! ")
                && said.contains("kernel-2.json and 1 more")
                && said.contains("chmod 600"),
            "{said}"
        );
        assert!(
            connection_files(Path::new("/nowhere"))
                .to_string()
                .starts_with("✓")
        );
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        // Not even root writes into /proc.
        let finding = writable("log file", Path::new("/proc/none/kernel.log"));
        assert_eq!(finding.verdict, Verdict::Bad);
        assert!(
            finding
                .seen
                .starts_with("/proc/none/kernel.log cannot be written"),
            "{finding}"
        );
    }
}
