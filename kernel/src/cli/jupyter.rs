//! A JupyterLab 4: the one on the search path, or a private one that we make.
//!
//! The private one is built where it will stay, since a Python environment holds its own absolute path and cannot be moved afterwards.
//! The file `threadbook-whole` is written into it last: an environment without it is a broken-off attempt, never used and removed at the next one.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::interrupt::Interrupt;
use super::python::Python;
use super::system::System;
use super::trouble::Missing;

/// What the private environment is made of.
const REQUIREMENTS: &str = include_str!("../../assets/requirements.txt");

/// The major version whose pages the lessons are tested on.
const MAJOR: &str = "4.";

/// Written into an environment when it is whole; holds the digest of what it was made of.
const WHOLE: &str = "threadbook-whole";

/// A JupyterLab that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jupyter {
    /// The program `jupyter-lab`.
    pub lab: PathBuf,
    /// As it says itself.
    pub version: String,
    /// The private environment that it is in, if it is ours.
    pub private: Option<PathBuf>,
}

impl Jupyter {
    /// Finds one: in the active environment, on the search path, or the private one. Each candidate is asked, about a second.
    pub fn find(system: &System) -> Option<Self> {
        let active = system
            .python_prefix
            .iter()
            .map(|prefix| prefix.join("bin/jupyter-lab"));
        active
            .filter(|lab| lab.is_file())
            .chain(system.find_all("jupyter-lab"))
            .find_map(|lab| Self::ask(system, lab, None))
            .or_else(|| Self::find_private(system))
    }

    /// Finds the private one, when it is whole, made of what we would make it of now, and works.
    fn find_private(system: &System) -> Option<Self> {
        let venv = private_venv(system);
        let whole = fs::read_to_string(venv.join(WHOLE))
            .is_ok_and(|digest| digest == digest_of(REQUIREMENTS));
        whole.then(|| Self::ask(system, venv.join("bin/jupyter-lab"), Some(venv.clone())))?
    }

    fn ask(system: &System, lab: PathBuf, private: Option<PathBuf>) -> Option<Self> {
        // A version manager's stand-in, a broken environment and JupyterLab 3 all end here.
        let version = system.ask(&lab, ["--version"]).ok()?;
        version.starts_with(MAJOR).then_some(Self {
            lab,
            version,
            private,
        })
    }

    /// Makes the private one. Waits for a download of about 50 MB; `progress` is told what pip is at.
    ///
    /// # Errors
    /// When pip fails (the message holds its last lines), or when the learner breaks it off. Nothing is left behind then.
    pub fn make_private(
        system: &System,
        python: &Python,
        interrupt: &Interrupt,
        progress: &dyn Fn(&str),
    ) -> anyhow::Result<Self> {
        let venv = private_venv(system);
        remove_whatever_is_at(&venv)?;
        let made = build(system, python, &venv, interrupt, progress);
        if made.is_err() {
            remove_whatever_is_at(&venv)?;
        }
        made
    }

    /// Where a kernelspec must lie so that this one finds it.
    pub fn data_dir(&self, system: &System) -> PathBuf {
        match &self.private {
            Some(venv) => venv.join("share/jupyter"),
            None => system.jupyter_data_dir.clone(),
        }
    }

    /// A program of Jupyter's that lies beside `jupyter-lab`, else the first on the search path.
    pub fn sibling(&self, system: &System, program: &str) -> Option<PathBuf> {
        let beside = self.lab.with_file_name(program);
        if beside.is_file() {
            Some(beside)
        } else {
            system.find(program)
        }
    }
}

/// The first thing that a learner sees is the lesson, and not a question about Jupyter's news; and nothing is asked of the network.
const SETTINGS: &str = r#"{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}
"#;

/// Where the private environment is, or will be.
pub fn private_venv(system: &System) -> PathBuf {
    system.data_dir.join("venv")
}

fn build(
    system: &System,
    python: &Python,
    venv: &Path,
    interrupt: &Interrupt,
    progress: &dyn Fn(&str),
) -> anyhow::Result<Jupyter> {
    fs::create_dir_all(&system.data_dir)
        .with_context(|| format!("cannot make the folder {}", system.data_dir.display()))?;
    progress("making a private Python environment");
    let mut command = system.command(&python.program);
    command.args(["-m", "venv"]).arg(venv);
    run(&mut command, interrupt, &|_| {}).map_err(|last_lines| {
        Missing::new(
            format!(
                "{python} cannot make an environment in {}:\n{last_lines}",
                venv.display()
            ),
            "look at the lines above; the disk may be full, or Python's `venv` broken",
        )
    })?;

    let requirements = venv.join("threadbook-requirements.txt");
    fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("cannot write {}", requirements.display()))?;
    let mut command = system.command(venv.join("bin/python"));
    command
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar",
            "off",
            "--requirement",
        ])
        .arg(&requirements);
    run(&mut command, interrupt, &|line| progress(&short(line))).map_err(|last_lines| {
        Missing::new(
            format!("pip could not install JupyterLab; its last lines:\n{last_lines}"),
            "check the network (a first start downloads about 50 MB), \
             or install JupyterLab 4 yourself, so that `jupyter-lab` is on the PATH",
        )
    })?;

    let settings = venv.join("share/jupyter/lab/settings");
    fs::create_dir_all(&settings)
        .and_then(|()| fs::write(settings.join("overrides.json"), SETTINGS))
        .with_context(|| format!("cannot write into {}", settings.display()))?;

    let lab = venv.join("bin/jupyter-lab");
    let jupyter = Jupyter::ask(system, lab.clone(), Some(venv.to_owned())).with_context(|| {
        format!(
            "pip installed JupyterLab, but `{} --version` does not say {MAJOR}x",
            lab.display()
        )
    })?;
    fs::write(venv.join(WHOLE), digest_of(REQUIREMENTS))
        .with_context(|| format!("cannot write into {}", venv.display()))?;
    Ok(jupyter)
}

/// Runs a command to its end and shows its lines to `progress` as they come. `Err`: its last lines.
fn run(
    command: &mut std::process::Command,
    interrupt: &Interrupt,
    progress: &dyn Fn(&str),
) -> Result<(), String> {
    const KEPT_LINES: usize = 8;
    // One pipe for both, so that the last lines stay in the order in which they were written.
    let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let to_stderr = writer
        .try_clone()
        .map_err(|error| format!("no pipe: {error}"))?;
    command
        .stdout(Stdio::from(writer))
        .stderr(Stdio::from(to_stderr));
    let child = interrupt
        .spawn(command)
        .map_err(|error| format!("it does not start: {error}"))?;
    // The command holds our ends of the pipe open; without this the reader would never see its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut last_lines = VecDeque::new();
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&line);
        // pip says this for every pin that is meant for another Python; the lines that explain a failure would be pushed out.
        if line.starts_with("Ignoring ") {
            continue;
        }
        last_lines.push_back(format!("    {line}"));
        if last_lines.len() > KEPT_LINES {
            last_lines.pop_front();
        }
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            last_lines.push_back(format!("    ({status})"));
            Err(Vec::from(last_lines).join("\n"))
        }
        Err(error) => Err(format!("its end cannot be waited for: {error}")),
    }
}

/// Shortens pip's line to what a learner wants to know: `Collecting jinja2>=3 (from …)` is `collecting jinja2>=3`.
fn short(line: &str) -> String {
    let mut words = line.split_whitespace();
    match words.next() {
        Some(verb @ ("Collecting" | "Downloading")) => {
            let what = words.next().unwrap_or("");
            let name = what.rsplit('/').next().unwrap_or(what);
            format!("{} {name}", verb.to_lowercase())
        }
        Some("Installing") => "installing what was downloaded".to_owned(),
        _ => "pip is at work".to_owned(),
    }
}

fn remove_whatever_is_at(venv: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(venv) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| {
                format!(
                    "cannot remove {}; remove it by hand and start again",
                    venv.display()
                )
            })
        }
        _ => Ok(()),
    }
}

fn digest_of(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::*;

    /// Name, version and marker of each requirement; fails on a line that is not an exact pin.
    fn requirements() -> Vec<(&'static str, &'static str, &'static str)> {
        REQUIREMENTS
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (pin, marker) = line.split_once(" ; ").expect(line);
                let (name, version) = pin.split_once("==").expect(line);
                assert!(
                    version.chars().all(|c| c.is_ascii_digit() || c == '.'),
                    "{line}"
                );
                (name, version, marker)
            })
            .collect()
    }

    #[test]
    fn the_requirements_pin_each_package_once_for_each_python() {
        let (new, old): (Vec<_>, Vec<_>) = requirements()
            .into_iter()
            .partition(|(_, _, marker)| *marker == "python_version >= \"3.10\"");
        assert!(
            old.iter()
                .all(|(_, _, marker)| *marker == "python_version < \"3.10\""),
            "{old:?}"
        );
        let names =
            |pins: &[(&'static str, _, _)]| pins.iter().map(|pin| pin.0).collect::<Vec<_>>();
        assert_eq!(names(&new), names(&old));
        for pins in [new, old] {
            assert_eq!(pins[0].0, "jupyterlab");
            assert!(pins[0].1.starts_with(MAJOR), "{pins:?}");
        }
    }

    #[test]
    fn only_a_working_jupyterlab_4_is_taken() {
        for (body, want) in [
            ("echo 4.6.6", Some("4.6.6")),
            ("echo 3.6.8", None),
            (
                "echo 'pyenv: jupyter-lab: command not found' >&2; exit 127",
                None,
            ),
        ] {
            let machine = Machine::bare().program("jupyter-lab", body);
            let found = Jupyter::find(&machine.system);
            assert_eq!(
                found.as_ref().map(|jupyter| jupyter.version.as_str()),
                want,
                "{body}"
            );
            assert!(found.is_none_or(|jupyter| jupyter.private.is_none()));
        }
    }

    /// A Python that makes environments, whose own Python (`$pip` is its script) stands for pip.
    fn machine_with_pip(pip: &str) -> Machine {
        let venv = format!(
            "[ \"$1\" = -c ] && echo '3 11 1 1' && exit 0\n\
             /bin/mkdir -p \"$3/bin\"\n/bin/cat > \"$3/bin/python\" <<'END'\n#!/bin/sh\n{pip}\nEND\n/bin/chmod 755 \"$3/bin/python\""
        );
        Machine::bare().program("python3", &venv)
    }

    #[test]
    fn a_private_jupyterlab_is_made_once_and_found_again() {
        let machine = machine_with_pip(
            "echo 'Collecting jupyterlab==4.6.6 (from -r x)'\n\
             printf '#!/bin/sh\\necho 4.6.6\\n' > \"${0%python}jupyter-lab\"; /bin/chmod 755 \"${0%python}jupyter-lab\"",
        );
        let (system, interrupt) = (&machine.system, Interrupt::default());
        assert_eq!(Jupyter::find(system), None);
        let seen = std::cell::RefCell::new(Vec::new());
        let python = Python::find(system).unwrap();
        let made = Jupyter::make_private(system, &python, &interrupt, &|text| {
            seen.borrow_mut().push(text.to_owned());
        })
        .unwrap();
        assert_eq!(made.version, "4.6.6");
        assert_eq!(
            made.data_dir(system),
            system.data_dir.join("venv/share/jupyter")
        );
        assert_eq!(
            *seen.borrow(),
            [
                "making a private Python environment",
                "collecting jupyterlab==4.6.6"
            ]
        );
        assert_eq!(Jupyter::find(system), Some(made));

        // A broken-off attempt, or one of other versions, is not taken for whole.
        fs::write(system.data_dir.join("venv").join(WHOLE), "another digest").unwrap();
        assert_eq!(Jupyter::find(system), None);
    }

    #[test]
    fn a_failing_pip_leaves_nothing_behind_and_its_last_lines_are_shown() {
        let machine = machine_with_pip(
            "for n in 1 2 3 4 5 6 7 8 9; do echo \"Ignoring p$n: markers do not match\"; done\n\
             echo 'ERROR: No matching distribution found' >&2; exit 1",
        );
        let (system, interrupt) = (&machine.system, Interrupt::default());
        let python = Python::find(system).unwrap();
        let error = Jupyter::make_private(system, &python, &interrupt, &|_| {}).unwrap_err();
        let missing = error
            .downcast_ref::<Missing>()
            .expect("a missing piece, with its cure");
        assert!(
            missing.what.contains("No matching distribution"),
            "{missing}"
        );
        assert!(!missing.what.contains("Ignoring"), "{missing}");
        assert!(missing.mend.contains("network"), "{missing}");
        assert!(!private_venv(&machine.system).exists());
    }

    #[test]
    fn pip_s_lines_are_told_in_few_words() {
        for (line, want) in [
            (
                "Collecting jinja2>=3.0.3 (from jupyterlab==4.6.6->-r x)",
                "collecting jinja2>=3.0.3",
            ),
            (
                "  Downloading https://host/a/jinja2-3.1-py3-none-any.whl (134 kB)",
                "downloading jinja2-3.1-py3-none-any.whl",
            ),
            (
                "Installing collected packages: a, b",
                "installing what was downloaded",
            ),
            ("Requirement already satisfied: x", "pip is at work"),
            ("", "pip is at work"),
        ] {
            assert_eq!(short(line), want, "{line}");
        }
    }
}
