//! Does the commands that are ours, and answers them.

use super::commands::{self, Backtrace, Command as Ours, Timeline};
use super::context::Failure;
use super::first_cell::first_cell;
use super::outcome::Extras;
use super::starting::StartError;
use super::{Running, budget};
use crate::cell::MimeBundle;
use crate::tools::Tools;
use nix::sys::signal::{Signal, kill};
use std::sync::atomic::Ordering;

impl Running {
    /// Does a command of ours; gives what it answers.
    pub(super) fn command(
        &mut self,
        command: Ours,
        extras: &mut Extras,
    ) -> Result<Option<MimeBundle>, StartError> {
        let said = match command {
            Ours::Course(ask) => {
                let answer = self.course.answer(&ask);
                extras.cell = answer.cell.or(extras.cell.take());
                return Ok(Some(answer.shown));
            }
            Ours::Help => {
                let evcxrs = self.run(":help").ok();
                let evcxrs = evcxrs.as_ref().and_then(|help| help["text/plain"].as_str());
                return Ok(Some(commands::help(evcxrs.unwrap_or_default())));
            }
            Ours::Quit => commands::HOW_TO_QUIT.to_owned(),
            Ours::Env(key, value) => {
                let said = format!("{key}={value}, for this process and those that follow it");
                self.set_environment(key, value);
                said
            }
            Ours::Clear => {
                if let Err(failure) = self.run(":clear") {
                    return Err(StartError::Evcxr(failure.to_string()));
                }
                let first_cell = first_cell(&self.home);
                if let Err(failure) = self.run(&first_cell) {
                    return Err(StartError::Evcxr(failure.to_string()));
                }
                self.sync();
                self.worker_is_new = true;
                "all variables, functions, types and dependencies are forgotten; the prelude is there".to_owned()
            }
            Ours::Restart => {
                self.restart_worker();
                "a new process for the cells: variables are gone, functions, types and dependencies are kept".to_owned()
            }
            Ours::Backtrace(how) => {
                let (word, said) = match how {
                    Backtrace::Full => ("full", "a panic tells who called whom"),
                    Backtrace::Short => ("short", "a panic tells its place"),
                };
                self.set_environment("THREADBOOK_BACKTRACE".to_owned(), word.to_owned());
                said.to_owned()
            }
            Ours::OutputLimit(wanted) => {
                if let Some(limit) = wanted {
                    self.output_limit
                        .store(limit.unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                match self.output_limit.load(Ordering::Relaxed) {
                    u64::MAX => "a cell may show as much as it likes".to_owned(),
                    limit => format!("a cell may show {}", budget::in_words(limit)),
                }
            }
            Ours::Fast(wanted) => {
                let switched = wanted.map_or(Ok(()), Tools::switch);
                match (switched, Tools::are_used()) {
                    (Err(why), _) => format!("that could not be changed: {why}"),
                    (_, true) => "a cell is compiled as the one before it was, or taken as it was compiled before".to_owned(),
                    (_, false) => "cargo builds each cell".to_owned(),
                }
            }
            Ours::Timing(None) => {
                extras.times = true;
                return Ok(None);
            }
            Ours::Timing(Some(wanted)) => {
                self.times = wanted;
                extras.times = wanted;
                match wanted {
                    true => "each cell tells how long its steps took".to_owned(),
                    false => "cells do not tell how long their steps took".to_owned(),
                }
            }
            Ours::Snapshots(wanted) => {
                if let Some(wanted) = wanted {
                    self.trace.set_snapshots(wanted);
                }
                match self.trace.has_snapshots() {
                    true => "a copy of the process is left at the end of each cell: a cell that ends the process costs no variable".to_owned(),
                    false => "no copy of the process is left: a cell that ends the process costs all variables".to_owned(),
                }
            }
            Ours::Timeline(wanted) => {
                match wanted {
                    Timeline::Form(form) => self.pictures.form = form,
                    Timeline::Live(live) => self.pictures.live = live,
                    Timeline::Say => {}
                    Timeline::Save(_) | Timeline::Explain => return Ok(None),
                }
                self.pictures.said()
            }
            Ours::Warnings(wanted) => {
                self.shows_warnings = wanted.unwrap_or(self.shows_warnings);
                match self.shows_warnings {
                    true => "the compiler's warnings are shown".to_owned(),
                    false => "the compiler's warnings are not shown".to_owned(),
                }
            }
        };
        Ok(Some(MimeBundle::from_iter([(
            "text/plain".to_owned(),
            said.into(),
        )])))
    }

    /// Answers what is asked of this cell's picture, or else of the last one.
    pub(super) fn about_the_picture(&self, asked: &Timeline) -> Result<MimeBundle, String> {
        let said = match asked {
            Timeline::Explain => {
                let none = "there is no picture yet: run a cell that starts threads or waits, then ask what it shows";
                return self.pictures.explain().ok_or_else(|| none.to_owned());
            }
            Timeline::Save(name) => {
                let here = std::env::current_dir()
                    .map_err(|error| format!("the current folder is not to be had: {error}"))?;
                self.pictures
                    .save(name, &here)
                    .map_err(|error| error.to_string())?
            }
            Timeline::Say | Timeline::Form(_) | Timeline::Live(_) => self.pictures.said(),
        };
        let said = ("text/plain".to_owned(), said.into());
        Ok(MimeBundle::from_iter([said]))
    }

    fn set_environment(&mut self, key: String, value: String) {
        self.environment.insert(key, value);
        self.worker_is_new = true;
        self.set_up_worker();
    }

    /// Ends the worker, and lets evcxr find that out by itself: then it forgets the variables, which its own `:restart` does not.
    fn restart_worker(&mut self) {
        if let Some(supervisor) = self.supervisor() {
            let _ = kill(supervisor, Signal::SIGTERM);
        }
        match self.run("();") {
            Err(Failure::WorkerDied) => {}
            other => tracing::warn!(?other, "the worker was to end, and did not"),
        }
        self.sync();
        self.worker_is_new = true;
    }
}
