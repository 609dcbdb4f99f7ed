//! `threadbook lab`: from whatever the machine has to a lesson that is open in the browser.
//!
//! Each step looks first and does only what is missing, so that a second start takes seconds. The first missing piece that we cannot
//! supply ends the command with the one message that says how to mend it.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::install::{self, DISPLAY_NAME, Installed};
use super::interrupt::Interrupt;
use super::jupyter::Jupyter;
use super::lessons_copy::{self, Copied, Copies, Notebook};
use super::parts::Parts;
use super::python::Python;
use super::steps::{Step, Steps};
use super::system::System;
use super::toolchain;
use super::trouble::Missing;

/// What the learner asked for.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Where the lessons go; `~/threadbook` when not said.
    pub folder: Option<PathBuf>,
    /// Only say the address.
    pub no_browser: bool,
    /// Exactly this port; else the first free one from 8888 on.
    pub port: Option<u16>,
    /// Lessons to bring back to what ships.
    pub reset: Vec<String>,
}

/// Prepares what is missing and opens JupyterLab; returns when it has ended.
///
/// # Errors
/// The first missing piece, as [`Missing`]; an unknown lesson to reset, as [`super::WrongUse`]; JupyterLab's failure.
pub fn lab(system: &System, parts: &dyn Parts, wishes: &Wishes) -> anyhow::Result<()> {
    let to_restore: Vec<Notebook> = wishes
        .reset
        .iter()
        .map(|name| lessons_copy::named(parts.embedded_notebooks(), name))
        .collect::<Result<_, _>>()?;
    refuse_a_taken_port(wishes.port)?;
    let folder = std::path::absolute(
        wishes
            .folder
            .clone()
            .unwrap_or_else(|| usual_folder(&system.home)),
    )?;

    let interrupt = Interrupt::listen()?;
    let mut steps = Steps::new(8);
    let jupyter = {
        let _lock = one_at_a_time(system)?;
        find_the_toolchain(system, &mut steps)?;
        let jupyter = find_or_make_jupyter(system, &interrupt, steps.begin("JupyterLab"))?;
        build_the_prelude(parts, steps.begin("prelude"))?;
        register_the_kernel(system, &jupyter, steps.begin("kernel"))?;
        copy_the_lessons(
            system,
            &jupyter,
            &folder,
            parts.embedded_notebooks(),
            &to_restore,
            steps.begin("lessons"),
        )?;
        jupyter
    };

    let first = parts.embedded_notebooks().first().map(|(name, _)| *name);
    let mut command = system.command(&jupyter.lab);
    command
        .args(arguments(&folder, first, wishes, system.root))
        .current_dir(&folder);
    let browser = if wishes.no_browser {
        "its address is below"
    } else {
        "it opens in the browser"
    };
    steps
        .begin("JupyterLab starts")
        .done(&format!("{browser}; Ctrl-C in this window ends it"));
    serve(&mut command, &interrupt)
}

fn find_the_toolchain(system: &System, steps: &mut Steps) -> Result<(), Missing> {
    let step = steps.begin("Rust toolchain");
    step.done(&toolchain::toolchain(system)?);

    let step = steps.begin("rust-src");
    if toolchain::rust_src(system).is_err() && system.find("rustup").is_some() {
        step.waits_for("rustup adds the sources of Rust's library, a download of about 3 MB");
    }
    step.done(&toolchain::add_rust_src(system)?.display().to_string());

    let step = steps.begin("linker");
    step.done(&toolchain::linker(system)?);
    Ok(())
}

fn find_or_make_jupyter(
    system: &System,
    interrupt: &Interrupt,
    step: Step,
) -> anyhow::Result<Jupyter> {
    let jupyter = match Jupyter::find(system) {
        Some(jupyter) => jupyter,
        None => {
            // Looked for before anything is promised: "making a private one" is no line to stand above "cannot".
            let python = Python::find(system)?;
            step.waits_for("none of version 4 found, making a private one; a download of about 50 MB, a minute or two");
            let made = Jupyter::make_private(system, &python, interrupt, &|progress| {
                step.show(progress);
            });
            if interrupt.came() {
                bail!("broken off; nothing half-made stays behind");
            }
            made?
        }
    };
    step.done(&format!("{} ({})", jupyter.version, jupyter.lab.display()));
    Ok(jupyter)
}

fn build_the_prelude(parts: &dyn Parts, step: Step) -> anyhow::Result<()> {
    if let Some(folder) = parts.prelude_built() {
        step.done(&format!("built before ({})", folder.display()));
        return Ok(());
    }
    step.waits_for("the compiler builds it, once for this toolchain");
    let folder = parts.prebuild_prelude(&|progress| step.show(progress))?;
    step.done(&format!("built ({})", folder.display()));
    Ok(())
}

fn register_the_kernel(system: &System, jupyter: &Jupyter, step: Step) -> anyhow::Result<()> {
    match install::install(system, &jupyter.data_dir(system))? {
        Installed::Already(folder) => step.done(&format!(
            "{DISPLAY_NAME} is registered ({})",
            folder.display()
        )),
        Installed::Written(folder) => step.done(&format!(
            "{DISPLAY_NAME} registered now ({})",
            folder.display()
        )),
    }
    Ok(())
}

fn copy_the_lessons(
    system: &System,
    jupyter: &Jupyter,
    folder: &Path,
    notebooks: &[Notebook],
    to_restore: &[Notebook],
    step: Step,
) -> anyhow::Result<()> {
    let mut copies = Copies::open(folder)?;
    let mut report = Vec::new();
    for &notebook in to_restore {
        report.push((notebook.0, copies.restore(notebook)?));
    }
    let restored: Vec<_> = to_restore.iter().map(|(name, _)| *name).collect();
    let others = copies.bring_up_to_date(notebooks)?;
    report.extend(
        others
            .into_iter()
            .filter(|(name, _)| !restored.contains(name)),
    );
    let outcome = format!("{} in {}", summary(&report), folder.display());
    match sign(system, jupyter, &mut copies) {
        Ok(()) => step.done(&outcome),
        // The lessons work all the same, and each picture shows once its cell is run.
        Err(why) => step.done_but(&format!(
            "{outcome}; not signed, so their pictures show only when run: {why:#}"
        )),
    }
    Ok(())
}

/// Lets Jupyter trust the copies that we wrote: it strips the pictures out of notebooks that it does not trust.
fn sign(system: &System, jupyter: &Jupyter, copies: &mut Copies) -> anyhow::Result<()> {
    let unsigned = copies.unsigned()?;
    if unsigned.is_empty() {
        return Ok(());
    }
    let trust = jupyter
        .sibling(system, "jupyter-trust")
        .context("there is no `jupyter-trust`")?;
    system
        .ask(&trust, &unsigned)
        .map_err(|why| anyhow::anyhow!("`{}` failed: {why}", trust.display()))?;
    copies.remember_signed(&unsigned)
}

/// Says what happened to the copies: how many of each kind, and by name where the learner should know.
fn summary(report: &[(&str, Copied)]) -> String {
    let count =
        |wanted: fn(&Copied) -> bool| report.iter().filter(|(_, copied)| wanted(copied)).count();
    let kinds = [
        ("new", count(|copied| *copied == Copied::New)),
        ("updated", count(|copied| *copied == Copied::Updated)),
        ("as they were", count(|copied| *copied == Copied::Same)),
        (
            "changed by you and kept",
            count(|copied| matches!(copied, Copied::Kept { .. })),
        ),
        (
            "restored",
            count(|copied| matches!(copied, Copied::Restored { .. })),
        ),
    ];
    let mut parts: Vec<String> = kinds
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    for (name, copied) in report {
        match copied {
            Copied::Kept { newer: true } => parts.push(format!(
                "{name} has a newer version: --reset {name} fetches it and keeps yours"
            )),
            Copied::Restored {
                backup: Some(backup),
            } => parts.push(format!("your {name} is now {}", backup.display())),
            _ => {}
        }
    }
    parts.join(", ")
}

/// Jupyter's own options. Loopback only, whatever the learner's configuration says: a kernel runs any code that it is sent.
fn arguments(folder: &Path, first: Option<&str>, wishes: &Wishes, root: bool) -> Vec<String> {
    let mut arguments = vec![
        format!("--ServerApp.root_dir={}", folder.display()),
        "--ServerApp.ip=127.0.0.1".to_owned(),
    ];
    if let Some(first) = first {
        arguments.push(format!("--LabApp.default_url=/lab/tree/{first}"));
    }
    if wishes.no_browser {
        arguments.push("--no-browser".to_owned());
    }
    if let Some(port) = wishes.port {
        // Asked for by number, so the next free one would be the wrong one.
        arguments.extend([
            format!("--ServerApp.port={port}"),
            "--ServerApp.port_retries=0".to_owned(),
        ]);
    }
    if root {
        // Jupyter refuses root otherwise, and in a container there often is nobody else.
        arguments.push("--allow-root".to_owned());
    }
    arguments
}

fn serve(command: &mut Command, interrupt: &Interrupt) -> anyhow::Result<()> {
    // A group of its own: Ctrl-C in the terminal reaches us alone, and we ask JupyterLab to end without its question "Shutdown this server (y/[n])?".
    command.process_group(0);
    let status = interrupt
        .spawn(command)
        .and_then(super::interrupt::Running::wait)
        .context("JupyterLab does not start")?;
    if status.success() || interrupt.came() {
        return Ok(());
    }
    bail!("JupyterLab ended with {status}; what it said last is above")
}

fn refuse_a_taken_port(port: Option<u16>) -> Result<(), Missing> {
    let Some(port) = port else { return Ok(()) };
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .map(drop)
        .map_err(|error| {
            Missing::new(
                format!("port {port} cannot be had: {error}"),
                "end what uses it, choose another one with --port, or leave --port away",
            )
        })
}

/// Holds the preparing steps for one `lab` at a time: two first starts at once would build into the same folders.
fn one_at_a_time(system: &System) -> anyhow::Result<File> {
    fs::create_dir_all(&system.data_dir)
        .with_context(|| format!("cannot make the folder {}", system.data_dir.display()))?;
    let path = system.data_dir.join("lab.lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("· waiting for another `threadbook lab` to finish its preparations");
            file.lock()
                .with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

/// Where the lessons go when nobody says: `~/threadbook`; beside it when that is a clone of this project, whose files they would lie among.
fn usual_folder(home: &Path) -> PathBuf {
    let folder = home.join("threadbook");
    if folder.join("Cargo.toml").exists() {
        home.join("threadbook-lessons")
    } else {
        folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lessons_never_go_among_the_files_of_a_clone() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(usual_folder(home.path()), home.path().join("threadbook"));
        fs::create_dir(home.path().join("threadbook")).unwrap();
        fs::write(home.path().join("threadbook/Cargo.toml"), "").unwrap();
        assert_eq!(
            usual_folder(home.path()),
            home.path().join("threadbook-lessons")
        );
    }

    #[test]
    fn jupyter_is_bound_to_loopback_and_opens_the_first_lesson() {
        let folder = Path::new("/home/ada/my lessons");
        let base = [
            "--ServerApp.root_dir=/home/ada/my lessons",
            "--ServerApp.ip=127.0.0.1",
        ];
        let wishes = Wishes::default();
        for (name, first, wishes, root, more) in [
            (
                "plain",
                Some("01_a.ipynb"),
                wishes.clone(),
                false,
                vec!["--LabApp.default_url=/lab/tree/01_a.ipynb"],
            ),
            ("no lessons", None, wishes.clone(), false, vec![]),
            ("root", None, wishes.clone(), true, vec!["--allow-root"]),
            (
                "all wishes",
                None,
                Wishes {
                    no_browser: true,
                    port: Some(9000),
                    ..wishes
                },
                false,
                vec![
                    "--no-browser",
                    "--ServerApp.port=9000",
                    "--ServerApp.port_retries=0",
                ],
            ),
        ] {
            let want: Vec<_> = base.into_iter().chain(more).collect();
            assert_eq!(arguments(folder, first, &wishes, root), want, "{name}");
        }
    }

    #[test]
    fn a_taken_port_is_refused_before_anything_is_done() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let missing = refuse_a_taken_port(Some(port)).unwrap_err();
        assert!(
            missing.what.contains(&format!("port {port} cannot be had")),
            "{missing}"
        );
        assert_eq!(refuse_a_taken_port(None), Ok(()));
    }

    #[test]
    fn the_summary_names_what_the_learner_should_know() {
        for (report, want) in [
            (
                vec![("01.ipynb", Copied::New), ("02.ipynb", Copied::New)],
                "2 new",
            ),
            (
                vec![("01.ipynb", Copied::Same), ("02.ipynb", Copied::Updated)],
                "1 updated, 1 as they were",
            ),
            (
                vec![("01.ipynb", Copied::Kept { newer: false })],
                "1 changed by you and kept",
            ),
            (
                vec![("01.ipynb", Copied::Kept { newer: true })],
                "1 changed by you and kept, 01.ipynb has a newer version: --reset 01.ipynb fetches it and keeps yours",
            ),
            (
                vec![(
                    "01.ipynb",
                    Copied::Restored {
                        backup: Some("/l/01.bak-1.ipynb".into()),
                    },
                )],
                "1 restored, your 01.ipynb is now /l/01.bak-1.ipynb",
            ),
        ] {
            assert_eq!(summary(&report), want);
        }
    }

    #[test]
    fn a_second_lab_waits_for_the_first() {
        let machine = super::super::system::fake::Machine::bare();
        let first = one_at_a_time(&machine.system).unwrap();
        let file = File::open(machine.system.data_dir.join("lab.lock")).unwrap();
        assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
        drop(first);
        assert!(file.try_lock().is_ok());
    }

    #[test]
    fn a_jupyterlab_that_fails_is_reported_and_one_that_ends_well_is_not() {
        let serve = |script: &str| {
            serve(
                Command::new("/bin/sh").args(["-c", script]),
                &Interrupt::default(),
            )
        };
        assert!(serve("exit 0").is_ok());
        let error = serve("exit 3").unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }
}
