//! The parts of `cargo verify`, in the order in which they run: what is quick or needs the network first, so that it fails early.
//!
//! All that compiles does so with `--release`, since evcxr and the rust-analyzer inside it take minutes: `build` and `unit`
//! share one build of the dependencies, `clippy` and `doc` share another that stops at metadata. Cargo has no way to make those
//! two one: a checked crate is another unit than a built one. Running clippy's driver inside `cargo build` would, but then
//! `target/release/threadbook` would be what clippy's driver made.

use std::time::Duration;

use crate::command::Log;
use crate::place::Place;
use crate::system;
use crate::tally::Tally;

/// One part. What it needs stands before it.
pub struct Part {
    pub name: &'static str,
    pub does: &'static str,
    pub needs: &'static [&'static str],
    pub run: fn(&Place, &mut Log) -> Result<Tally, String>,
}

/// For a command that compiles everything: about 7 minutes on two cores when they are free.
const COMPILE: Duration = Duration::from_secs(35 * 60);
/// For a suite of tests. Each wait inside has a deadline of its own, much shorter, which says more.
const TESTS: Duration = Duration::from_secs(25 * 60);

pub const PARTS: &[Part] = &[
    Part {
        name: "tools",
        does: "rustfmt, clippy and rust-src are there, or are added by rustup",
        needs: &[],
        run: |_, log| system::rust_components(log).map(|()| Tally::PASSED),
    },
    Part {
        name: "fmt",
        does: "cargo fmt --check",
        needs: &["tools"],
        run: |place, log| passes(place, log, &["fmt", "--all", "--check"]),
    },
    Part {
        name: "python",
        does: "a virtual environment with the pinned Jupyter clients",
        needs: &[],
        run: |place, log| system::python(place, log).map(|()| Tally::PASSED),
    },
    Part {
        name: "chromium",
        does: "Chromium, and the pinned npm packages that drive it",
        needs: &[],
        run: |place, log| {
            system::chromium(log)?;
            system::browser_folder(place, log)?;
            Ok(Tally::PASSED)
        },
    },
    Part {
        name: "clippy",
        does: "clippy over everything; a warning fails",
        needs: &["tools"],
        run: |place, log| {
            let words = [
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            passes(place, log, &words)
        },
    },
    Part {
        name: "doc",
        does: "rustdoc; a warning fails",
        needs: &[],
        run: |place, log| {
            let mut command = place.cargo(&["doc", "--release", "--no-deps", "--workspace"]);
            log.must(command.env("RUSTDOCFLAGS", "-Dwarnings"), COMPILE)?;
            Ok(Tally::PASSED)
        },
    },
    Part {
        name: "build",
        does: "the kernel, target/release/threadbook",
        needs: &[],
        run: |place, log| passes(place, log, &["build", "--release", "--bin", "threadbook"]),
    },
    Part {
        name: "unit",
        does: "unit tests and doc tests of every crate",
        needs: &[],
        run: |place, log| {
            let mut command = place.cargo(&["test", "--release", "--workspace", "--no-fail-fast"]);
            // Random programs of the prelude: a minute of them. For ten, set it yourself and run that test alone.
            command.env("THREADBOOK_STRESS_SECONDS", "60");
            let said = log.run(&mut command, COMPILE)?;
            counted(Tally::of_cargo(&said.output), said.status.success())
        },
    },
    Part {
        name: "e2e",
        does: "the built kernel with real clients: notebooks, messages, bad input, commands",
        needs: &["python", "tools", "build"],
        run: |place, log| {
            let home = place.fresh("e2e")?;
            let mut command = place.test_command(place.venv().join("bin/python"), &home)?;
            command
                .args([
                    "-m",
                    "pytest",
                    "-q",
                    "--durations=15",
                    "-p",
                    "no:cacheprovider",
                    "--basetemp",
                ])
                .arg(home.join("tmp"))
                .arg(place.root.join("tests/e2e"));
            let said = log.run(&mut command, TESTS)?;
            counted(Tally::of_pytest(&said.output), said.status.success())
        },
    },
    Part {
        name: "bench",
        does: "the short form of `cargo bench --bench cells`, printed; no figure passes or fails",
        needs: &["tools", "build"],
        run: |place, log| {
            let home = place.fresh("bench")?;
            let mut command = place.test_command("cargo", &home)?;
            command.args(["bench", "--bench", "cells", "--", "--short"]);
            let said = log.run(&mut command, COMPILE)?;
            if !said.status.success() {
                return Err(format!("the bench ended with {}", said.status));
            }
            let table: Vec<&str> = said
                .output
                .lines()
                .filter(|line| line.starts_with('|') || line.starts_with("threadbook "))
                .collect();
            println!("\n{}", table.join("\n"));
            Ok(Tally::PASSED)
        },
    },
    Part {
        name: "lessons",
        does: "every lesson is proven: its claims, checks and wrong solutions, on one core and on two",
        needs: &["tools", "build"],
        run: |place, log| {
            let home = place.fresh("lessons")?;
            let mut command = place.test_command(place.binary(), &home)?;
            // Two runs in a row and one in another order: the twenty that a lesson is written with take a minute each.
            command
                .args(["lessons", "test", "--runs", "2"])
                .arg(&place.root);
            log.must(&mut command, TESTS)?;
            Ok(Tally::PASSED)
        },
    },
    Part {
        name: "browser",
        does: "JupyterLab in Chromium: a learner opens a lesson, runs it, changes it",
        needs: &["python", "chromium", "tools", "build"],
        run: |place, log| {
            let home = place.fresh("browser-home")?;
            let folder = place.made.join("browser");
            let mut command = place.test_command("node", &home)?;
            command
                .args(["--test", "--test-reporter=tap", "lesson.test.mjs"])
                .current_dir(&folder)
                .env("CHROMIUM", system::chromium(log)?)
                .env("THREADBOOK_HOME", &home);
            let said = log.run(&mut command, TESTS)?;
            counted(Tally::of_tap(&said.output), said.status.success())
        },
    },
];

fn passes(place: &Place, log: &mut Log, words: &[&str]) -> Result<Tally, String> {
    log.must(&mut place.cargo(words), COMPILE)?;
    Ok(Tally::PASSED)
}

/// What a suite said against how it ended: one that ends badly has failed, whatever its counts, and one that ran nothing has too.
fn counted(tally: Tally, success: bool) -> Result<Tally, String> {
    match (tally, success) {
        (
            Tally {
                passed: 0,
                failed: 0,
            },
            true,
        ) => Err("it ran no test at all".into()),
        (Tally { failed: 0, passed }, false) => Ok(Tally { passed, failed: 1 }),
        (tally, _) => Ok(tally),
    }
}
