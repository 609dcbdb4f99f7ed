//! evcxr, and the only file that names it: what a cell comes back with, in our own types.
//!
//! Blocks while it compiles and while the learner's code runs. evcxr may panic, and starts a new worker by itself when the old one is gone: both are
//! told apart here.

use super::diagnostics::{CellSpan, Diagnostic};
use super::guarded::guarded;
use crate::cell::{Completion, Completions, MimeBundle};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

/// Whether this process was started by evcxr, as its child or as a wrapper around rustc.
pub fn is_runtime_child() -> bool {
    std::env::var_os("EVCXR_IS_RUNTIME").is_some()
}

/// Becomes what evcxr started this process as. Returns when evcxr did not start it. Must be reached while the process has one thread.
pub fn runtime_hook() {
    evcxr::runtime_hook();
}

/// Why a cell has no value.
#[derive(Debug)]
pub enum Failure {
    /// It does not compile.
    Compile(Vec<Diagnostic>),
    /// evcxr refuses it, or a command failed: its own words.
    Refused(String),
    /// The learner's process is dead; evcxr has started another.
    WorkerDied,
    /// evcxr, or rust-analyzer inside it, panicked: the context may be half changed.
    Crashed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Compile(errors) => {
                let said: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
                write!(f, "it does not compile: {}", said.join("; "))
            }
            Failure::Refused(message) => f.write_str(message),
            Failure::WorkerDied => f.write_str("its process died"),
            Failure::Crashed(message) => write!(f, "evcxr panicked: {message}"),
        }
    }
}

/// One evcxr with its worker.
pub struct Context {
    evcxr: evcxr::CommandContext,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// Starts evcxr in `folder`, with `worker` as the command for the learner's process.
    ///
    /// Takes two to four seconds: tool runs, rust-analyzer reading std, one compilation. Changes the current folder of this process for that time, since
    /// evcxr takes its settings from an `evcxr.toml` there: a notebook's folder must not change the kernel.
    ///
    /// # Errors
    /// With evcxr's own words when it cannot start.
    pub fn start(folder: &Path, worker: Command) -> Result<Context, String> {
        let settings: toml::Table = [
            (
                "tmpdir".to_owned(),
                folder.to_string_lossy().into_owned().into(),
            ),
            // Cells are compiled for a quick answer; the prelude and all other crates for speed, by the profile above this folder.
            ("opt_level".to_owned(), "0".into()),
        ]
        .into_iter()
        .collect();
        let settings = toml::Table::from_iter([("evcxr".to_owned(), settings.into())]);
        std::fs::write(folder.join("evcxr.toml"), settings.to_string())
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let here =
            std::env::current_dir().map_err(|error| format!("the current folder: {error}"))?;
        std::env::set_current_dir(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let started = guarded(|| evcxr::EvalContext::with_subprocess_command(worker));
        std::env::set_current_dir(&here).map_err(|error| format!("{}: {error}", here.display()))?;
        let (context, outputs) = started?.map_err(|error| error.to_string())?;
        // Whatever the learner prints comes by the output channel. What is left here is evcxr's and the supervisor's own.
        for (name, lines) in [("stdout", outputs.stdout), ("stderr", outputs.stderr)] {
            std::thread::spawn(move || {
                lines
                    .iter()
                    .for_each(|line| tracing::info!(target: "evcxr", name, line));
            });
        }
        Ok(Context {
            evcxr: evcxr::CommandContext::with_eval_context(context),
        })
    }

    /// Runs a cell, commands included. Gives what evcxr itself has to show: the answers of its commands.
    ///
    /// # Errors
    /// See [`Failure`]. A panic of the learner's is no error here.
    pub fn run(&mut self, code: &str) -> Result<MimeBundle, Failure> {
        match guarded(|| self.evcxr.execute(code)) {
            Err(message) => Err(Failure::Crashed(message)),
            Ok(Ok(outputs)) => Ok(outputs
                .content_by_mime_type
                .into_iter()
                .map(|(mime, content)| (mime, content.into()))
                .collect()),
            Ok(Err(evcxr::Error::CompilationErrors(errors))) => {
                let errors = self.with_lost_errors(code, errors);
                Err(Failure::Compile(errors.iter().map(diagnostic).collect()))
            }
            Ok(Err(evcxr::Error::SubprocessTerminated(_))) => Err(Failure::WorkerDied),
            Ok(Err(evcxr::Error::TypeRedefinedVariablesLost(names))) => {
                Err(Failure::Refused(format!(
                    "the types of these variables were redefined, so they are lost: {}",
                    names.join(", ")
                )))
            }
            Ok(Err(evcxr::Error::Message(message))) => Err(Failure::Refused(message)),
        }
    }

    /// evcxr puts a cell's last expression into code of its own. Where an error lies there, and a note on it in the learner's code, evcxr 0.22 keeps the
    /// note ("function defined here") and drops the error. It gives the error when it is to check the same cell with that expression as a statement;
    /// a check runs nothing.
    fn with_lost_errors(
        &mut self,
        code: &str,
        errors: Vec<evcxr::CompilationError>,
    ) -> Vec<evcxr::CompilationError> {
        let level = |error: &evcxr::CompilationError, wanted: &[&str]| {
            error.json["level"]
                .as_str()
                .is_some_and(|level| wanted.contains(&level))
        };
        if !errors.iter().any(|error| level(error, &["note", "help"])) {
            return errors;
        }
        let as_statement = format!("{code}\n;");
        match guarded(|| self.evcxr.check(&as_statement)) {
            Ok(Ok(whole)) if whole.iter().any(|error| level(error, &["error"])) => whole,
            _ => errors,
        }
    }

    /// The file that was compiled last.
    pub fn generated_source(&self) -> String {
        self.evcxr.last_source().unwrap_or_default()
    }

    /// The names of the variables that the next cell finds.
    pub fn variables(&self) -> Vec<String> {
        let variables = self.evcxr.variables_and_types();
        variables.map(|(name, _)| name.to_owned()).collect()
    }

    /// What could stand at byte `cursor`. `None` where evcxr or rust-analyzer fails: its search for whole expressions panics now and then.
    pub fn complete(&mut self, code: &str, cursor: usize) -> Option<Completions> {
        let completions = guarded(|| self.evcxr.completions(code, cursor))
            .ok()?
            .ok()?;
        let matches = completions
            .completions
            .into_iter()
            .map(|completion| Completion {
                text: completion.code,
                kind: completion.kind.to_owned(),
                label: completion.label,
            })
            .collect();
        Some(Completions {
            start: completions.start_offset,
            end: completions.end_offset,
            matches,
        })
    }

    /// What the name that ends at byte `cursor` is, as plain text and as HTML.
    pub fn inspect(&mut self, code: &str, cursor: usize) -> Option<(String, String)> {
        let (plain, html) = guarded(|| self.evcxr.hover_at(code, cursor)).ok()?.ok()?;
        (plain != "No documentation found").then_some((plain, html))
    }

    /// A handle to the worker's supervisor, valid across restarts.
    pub fn worker(&self) -> WorkerHandle {
        WorkerHandle {
            supervisor: self.evcxr.process_handle(),
        }
    }
}

/// A handle to end whatever the learner's code is doing, from another thread.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    supervisor: Arc<Mutex<Child>>,
}

impl WorkerHandle {
    /// The supervisor's process id. `None` while evcxr waits for the process to end: it holds the lock then.
    pub fn supervisor(&self) -> Option<Pid> {
        let id = self.supervisor.try_lock().ok()?.id();
        i32::try_from(id).ok().map(Pid::from_raw)
    }
}

fn diagnostic(error: &evcxr::CompilationError) -> Diagnostic {
    let spans = error.spanned_messages().iter().filter_map(|message| {
        let span = message.span.as_ref()?;
        Some(CellSpan {
            start: (span.start_line, span.start_column),
            end: (span.end_line, span.end_column),
            label: message.label.clone(),
            is_primary: message.is_primary,
        })
    });
    Diagnostic {
        json: error.json.clone(),
        message: error.message(),
        code: error.code().map(str::to_owned),
        hint: error.evcxr_extra_hint(),
        spans: spans.collect(),
    }
}
