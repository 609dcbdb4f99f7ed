//! Runs cells: evcxr on a thread of its own, the learner's process behind a supervisor, and what comes out of them as events.
//!
//! The thread starts evcxr, brings the prelude in by a hidden first cell, warms what the first real cell would wait for, and then does one job after the
//! other. Nothing here waits on a guess: a cell is over when its end has come through the output channel.

pub mod channel;
mod context;
mod deadlock;
mod diagnostics;
mod output;
mod scan;
mod source_map;
mod sources;
pub mod supervisor;
mod verdict;

use crate::cell::{Event, Job, JobId, MimeBundle, Outcome, StreamName};
use crate::picture::{Drawn, Pictures};
use crate::prelude_home::{HomeError, PreludeHome, WorkFolder};
use crate::trace::TraceMemory;
use channel::{Channel, Packet, Receiver};
use context::{Context, Failure, WorkerHandle};
pub use context::{is_runtime_child, runtime_hook};
use deadlock::Report;
use nix::sys::signal::{Signal, kill};
pub use output::Events;
use output::{Reader, Record, Shared, Waiting};
pub use sources::CellLine;
use sources::Sources;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The types of the prelude, each of which gets a second, private name in the notebook.
///
/// evcxr keeps a variable's type under the name that rust-analyzer finds shortest. If that were `Mutex`, a learner's `struct Mutex` or
/// `use std::sync::Mutex` would lose every variable of the prelude's type, or stop every later cell from compiling.
const ALIASED: &[&str] = &[
    "Arc",
    "AtomicBool",
    "AtomicI16",
    "AtomicI32",
    "AtomicI64",
    "AtomicI8",
    "AtomicIsize",
    "AtomicU16",
    "AtomicU32",
    "AtomicU64",
    "AtomicU8",
    "AtomicUsize",
    "Barrier",
    "BarrierWaitResult",
    "CellFacts",
    "ChannelFacts",
    "CheckFailed",
    "Condvar",
    "Done",
    "Duration",
    "Facts",
    "Instant",
    "IntoIter",
    "Iter",
    "JoinHandle",
    "LockFacts",
    "Mutex",
    "MutexGuard",
    "OnceLock",
    "Ordering",
    "Racy",
    "Receiver",
    "Region",
    "Run",
    "RwLock",
    "RwLockReadGuard",
    "RwLockWriteGuard",
    "Scope",
    "ScopedJoinHandle",
    "SendTimeoutError",
    "Sender",
    "TaskFacts",
    "TryIter",
    "WaitGroup",
    "WaitGroupFacts",
    "WaitTimeoutResult",
];

/// Why the evaluator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The prelude, or the folder to work in.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A system call.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// evcxr.
    #[error("evcxr did not start: {0}. Run `threadbook doctor` to see what is missing")]
    Evcxr(String),
}

/// The running evaluator.
#[derive(Debug)]
pub struct Evaluator {
    jobs: mpsc::Sender<Task>,
    shared: Shared,
    worker: Arc<Mutex<Option<WorkerHandle>>>,
    interrupted: Arc<AtomicBool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

enum Task {
    Do(Job),
    Stop,
}

impl Evaluator {
    /// Starts the evaluator on its own thread and returns at once. `events` is called from two threads, and blocks them when it blocks.
    ///
    /// # Errors
    /// When a thread or a pair of sockets cannot be had; all later failures come as [`Event::Broken`].
    pub fn start(events: Events) -> std::io::Result<Evaluator> {
        let (jobs, tasks) = mpsc::channel();
        let shared = Shared::default();
        let worker = Arc::new(Mutex::new(None));
        let interrupted = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("evaluator".into())
            // rust-analyzer and evcxr recurse into what is nested, and the session lets a thousand levels through. Reserved, not taken.
            .stack_size(256 << 20)
            .spawn({
                let (shared, worker, interrupted) = (
                    shared.clone(),
                    Arc::clone(&worker),
                    Arc::clone(&interrupted),
                );
                move || {
                    let began = Instant::now();
                    match Running::start(&events, &shared, &worker, interrupted) {
                        Ok(running) => {
                            events(Event::Ready {
                                seconds: began.elapsed().as_secs_f64(),
                            });
                            running.serve(&tasks);
                        }
                        Err(error) => {
                            tracing::error!(%error, "the evaluator did not start");
                            events(Event::Broken {
                                message: error.to_string(),
                            });
                        }
                    }
                }
            })?;
        Ok(Evaluator {
            jobs,
            shared,
            worker,
            interrupted,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a job.
    pub fn submit(&self, job: Job) {
        // The thread is gone only when it said that it is broken, or at the end.
        let _ = self.jobs.send(Task::Do(job));
    }

    /// Ends what the current cell does: the learner's code with its process, or the compiler with no loss. Without a current cell nothing happens.
    pub fn interrupt(&self) {
        if self.shared.is_in_worker() {
            self.interrupted.store(true, Ordering::SeqCst);
            self.kill_worker();
        } else if self.shared.is_compiling() {
            self.interrupted.store(true, Ordering::SeqCst);
            kill_compilers();
        }
    }

    /// Ends the worker, evcxr and the threads, and removes the work folder. Waits for that: the time of a compilation at most.
    pub fn shutdown(&self) {
        let _ = self.jobs.send(Task::Stop);
        self.interrupted.store(true, Ordering::SeqCst);
        // Whatever it is doing, it is to stop: also the worker's start, or a thread that a cell left behind.
        kill_compilers();
        self.kill_worker();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the evaluator's thread panicked");
        }
    }

    fn kill_worker(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = worker.as_ref().and_then(WorkerHandle::supervisor) {
            // The supervisor ends the worker's whole group, reaps it, and says so.
            let _ = kill(supervisor, Signal::SIGTERM);
        }
    }
}

/// Unpacks and compiles the prelude unless that has been done: what the first start of a kernel would wait for. Gives the prelude's folder.
///
/// # Errors
/// As for starting an evaluator.
pub fn prepare() -> Result<PathBuf, StartError> {
    let home = PreludeHome::locate()?;
    prepare_home(&home)?;
    Ok(home.root().to_owned())
}

fn prepare_home(home: &PreludeHome) -> Result<(), StartError> {
    home.prepare(|folder| {
        let (receiver, sender) = Channel::pair().map_err(system("a pair of sockets"))?;
        let mut context = Context::start(folder, worker_command(folder, &sender, None)?)
            .map_err(StartError::Evcxr)?;
        // Nobody looks at the output of these cells, but somebody must take it out of the way.
        std::thread::spawn(move || {
            let mut receiver = Receiver::new(receiver);
            while let Ok(Some(packet)) = receiver.receive(None) {
                if packet == Packet::Sync(0) {
                    return;
                }
            }
        });
        let done = context
            .run(&first_cell(&home.prelude_crate()))
            .map_err(|failure| {
                StartError::Evcxr(format!(
                    "the first cell, which brings in the prelude, failed: {failure}"
                ))
            });
        drop(context);
        let _ = sender.send(&Packet::Sync(0));
        done.map(drop)
    })
}

/// The command with which evcxr starts the learner's process: this binary, with the ends of the channel and of the trace handed down.
fn worker_command(
    folder: &Path,
    output: &Channel,
    trace: Option<RawFd>,
) -> Result<Command, StartError> {
    let mut command =
        Command::new(std::env::current_exe().map_err(system("the path of this program"))?);
    let output = output.raw_fd();
    command.env(supervisor::OUTPUT_FD, output.to_string());
    if let Some(trace) = trace {
        command.env(supervisor::TRACE_FD, trace.to_string());
    }
    if let Some(prelude) = prelude_in(folder) {
        command.env(supervisor::PRELUDE_SO, prelude);
    }
    let here = std::env::current_dir().map_err(system("the current folder"))?;
    command.current_dir(here);
    let inherited = [Some(output), trace];
    // SAFETY: between fork and exec only `fcntl` is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            for fd in inherited.into_iter().flatten() {
                if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    Ok(command)
}

/// The prelude's shared object in evcxr's folder, once it is compiled: `target/<target>/debug/deps/libthreadbook_prelude.so`.
fn prelude_in(folder: &Path) -> Option<PathBuf> {
    let name = format!(
        "{}threadbook_prelude{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let targets = std::fs::read_dir(folder.join("target")).ok()?;
    targets
        .filter_map(Result::ok)
        .map(|target| target.path().join("debug/deps").join(&name))
        .find(|path| path.exists())
}

/// What every notebook begins with, unseen.
fn first_cell(prelude: &Path) -> String {
    let mut cell = format!(
        ":dep threadbook-prelude = {{ path = \"{}\" }}\nuse threadbook_prelude::*;\n",
        prelude.display()
    );
    for name in ALIASED {
        cell.push_str(&format!("use threadbook_prelude::{name} as __{name};\n"));
    }
    cell
}

/// A cell like a lesson's: it makes rust-analyzer read std, cargo see the prelude, and the worker load it, before a learner waits for that. What it
/// names it also moves away, so that no variable of it is left.
const WARM_CELL: &str = "let threadbook_warm = { let (tx, rx) = channel::<u32>(); let h = spawn(move || tx.send(1).is_ok()); (rx.recv().ok(), h.join().is_ok()) };\n\
                         drop(threadbook_warm.0.map(|n| n + 1).into_iter().collect::<Vec<_>>());";

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// What the evaluator's thread owns.
struct Running {
    /// Before the folder: its worker and cargo must be gone when the folder is removed.
    context: Option<Context>,
    folder: WorkFolder,
    home: PreludeHome,
    trace: TraceMemory,
    sender: Channel,
    synced: mpsc::Receiver<u64>,
    shared: Shared,
    sources: Sources,
    events: Events,
    worker: Arc<Mutex<Option<WorkerHandle>>>,
    interrupted: Arc<AtomicBool>,
    recording: u32,
    pictures: Pictures,
    last_sync: u64,
}

impl Running {
    fn start(
        events: &Events,
        shared: &Shared,
        worker: &Arc<Mutex<Option<WorkerHandle>>>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Running, StartError> {
        let home = PreludeHome::locate()?;
        prepare_home(&home)?;
        let folder = home.work_folder()?;
        let trace = TraceMemory::new().map_err(system("shared memory for the trace"))?;
        let (receiver, sender) = Channel::pair().map_err(system("a pair of sockets"))?;
        let (synced_sender, synced) = mpsc::channel();
        let sources = Sources::default();
        let reader = Reader {
            receiver: Receiver::new(receiver),
            shared: shared.clone(),
            sources: sources.clone(),
            generated: folder.path().join("src/lib.rs"),
            events: Arc::clone(events),
            synced: synced_sender,
            waiting: Waiting::default(),
        };
        std::thread::Builder::new()
            .name("output".into())
            .spawn(move || reader.run())
            .map_err(system("a thread"))?;
        let mut running = Running {
            context: None,
            folder,
            home,
            trace,
            sender,
            synced,
            shared: shared.clone(),
            sources,
            events: Arc::clone(events),
            worker: Arc::clone(worker),
            interrupted,
            recording: 0,
            pictures: Pictures::default(),
            last_sync: 0,
        };
        running.start_context()?;
        Ok(running)
    }

    /// Starts evcxr with the prelude in it, in place of the one there was.
    fn start_context(&mut self) -> Result<(), StartError> {
        self.context = None;
        let command = worker_command(self.folder.path(), &self.sender, Some(self.trace.raw_fd()))?;
        let mut context = Context::start(self.folder.path(), command).map_err(StartError::Evcxr)?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.worker());
        context
            .run(&first_cell(&self.home.prelude_crate()))
            .map_err(|failure| {
                StartError::Evcxr(format!(
                    "the first cell, which brings in the prelude, failed: {failure}"
                ))
            })?;
        if let Err(failure) = context.run(WARM_CELL) {
            // The first cell will wait a little longer, and that is all.
            tracing::warn!(?failure, "the warming cell failed");
        }
        self.context = Some(context);
        self.sync();
        self.shared.end();
        Ok(())
    }

    fn serve(mut self, tasks: &mpsc::Receiver<Task>) {
        while let Ok(Task::Do(job)) = tasks.recv() {
            let event = match job {
                Job::Execute {
                    job,
                    execution_count,
                    code,
                } => {
                    let outcome = self.execute(job, execution_count, &code);
                    Event::Finished { job, outcome }
                }
                Job::Complete { job, code, cursor } => {
                    let answer = self
                        .context
                        .as_mut()
                        .and_then(|context| context.complete(&code, cursor));
                    let (start, end, matches) = answer.unwrap_or((cursor, cursor, Vec::new()));
                    Event::Completed {
                        job,
                        start,
                        end,
                        matches,
                    }
                }
                Job::Inspect { job, code, cursor } => {
                    let answer = self
                        .context
                        .as_mut()
                        .and_then(|context| context.inspect(&code, cursor));
                    let bundle = answer.map(|(plain, html)| {
                        MimeBundle::from_iter([
                            ("text/plain".to_owned(), plain.into()),
                            ("text/html".to_owned(), html.into()),
                        ])
                    });
                    Event::Inspected { job, bundle }
                }
            };
            (self.events)(event);
        }
    }

    fn execute(&mut self, job: JobId, number: u32, code: &str) -> Outcome {
        if self.context.is_none()
            && let Err(error) = self.start_context()
        {
            return Outcome {
                error: Some(verdict::broken(&error.to_string())),
                ..Outcome::default()
            };
        }
        let cell = self.sources.begin(number, code);
        self.recording += 1;
        self.trace.begin(self.recording);
        self.interrupted.store(false, Ordering::SeqCst);
        self.shared.begin(job);
        let mut result = self.run(code);
        if matches!(result, Err(Failure::WorkerDied)) && !self.shared.has_begun() {
            // The process had ended between the cells, and evcxr noticed only now: this cell is not to blame.
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: "the learner's process had ended since the last cell: the variables of earlier cells are lost, functions and types are kept\n".into(),
            });
            result = self.run(code);
        }
        self.sync();
        let mut record = self.shared.end();
        let interrupted = self.interrupted.swap(false, Ordering::SeqCst);
        // Of a check's twenty runs one is shown: the one that failed, or else the last.
        let trace = match record.observation {
            Some(run) => self.trace.read_observed(self.recording, run),
            None => self.trace.read(self.recording),
        };
        let place_of = |site| {
            trace
                .site(site)
                .and_then(|site| self.sources.place(site.build, site.line))
        };
        // Tasks of earlier cells may get stuck while this one runs: it is not to blame.
        let is_old = |report: &mut Report| report.tasks().all(|task| self.pictures.know_task(task));
        let late: Vec<Report> = record.deadlocks.extract_if(.., is_old).collect();
        let drawn = self.pictures.draw(&trace, &place_of, job);
        for report in late {
            let reader = deadlock::Reader {
                task: &|task| drawn.names.task(task),
                object: &|object| drawn.names.object(object),
                place: &|build, line| self.sources.place(build, line),
                cell: Some(number),
            };
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: report.as_text(&reader),
            });
        }
        if let Err(Failure::Crashed(message)) = &result {
            tracing::error!(message, "evcxr panicked; its context is made anew");
            self.context = None;
        }
        self.outcome(job, result, &record, interrupted, &cell, drawn)
    }

    fn run(&mut self, code: &str) -> Result<MimeBundle, Failure> {
        match &mut self.context {
            Some(context) => context.run(code),
            None => Err(Failure::Refused(
                "evcxr is not running: restart the kernel".into(),
            )),
        }
    }

    fn outcome(
        &self,
        job: JobId,
        result: Result<MimeBundle, Failure>,
        record: &Record,
        interrupted: bool,
        cell: &Arc<source_map::Cell>,
        drawn: Drawn,
    ) -> Outcome {
        let mut values = record.values.clone();
        let error = match &result {
            Ok(_) => verdict::of_a_cell_that_ran(record, &self.sources, cell.number, &drawn.names),
            Err(Failure::Compile(_)) if interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Refused(_)) if interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Compile(diagnostics)) => {
                let generated = self
                    .context
                    .as_ref()
                    .map(Context::generated_source)
                    .unwrap_or_default();
                let map = self.sources.map_of(&generated);
                Some(diagnostics::error(diagnostics, &map, &generated, cell))
            }
            Err(Failure::Refused(message)) => Some(verdict::refused(message)),
            Err(Failure::WorkerDied) => Some(verdict::of_a_dead_worker(
                record.death,
                record.overflow.as_ref(),
                interrupted,
            )),
            Err(Failure::Crashed(message)) => Some(verdict::broken(message)),
        };
        if let Ok(bundle) = result
            && !bundle.is_empty()
        {
            // Commands stand at the head of a cell, before its code.
            values.insert(0, bundle);
        }
        let shown = if error.is_none() { values.pop() } else { None };
        for bundle in values {
            (self.events)(Event::Display {
                job: Some(job),
                bundle,
            });
        }
        Outcome {
            picture: drawn.picture,
            result: shown,
            error,
        }
    }

    /// Waits until everything that was put into the channel before has been seen.
    fn sync(&mut self) {
        self.last_sync += 1;
        if self.sender.send(&Packet::Sync(self.last_sync)).is_err() {
            return;
        }
        while let Ok(ticket) = self.synced.recv() {
            if ticket == self.last_sync {
                return;
            }
        }
    }
}

/// Ends the compilers that evcxr started: cargo and rustc below this process. evcxr then says that the compilation failed, and has changed nothing.
fn kill_compilers() {
    let me = std::process::id();
    for (pid, parent, name) in processes() {
        let is_mine = parent == me
            || processes()
                .iter()
                .any(|(other, grandparent, _)| *other == parent && *grandparent == me);
        if is_mine && (name == "cargo" || name == "rustc") {
            let _ = kill(
                nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)),
                Signal::SIGKILL,
            );
        }
    }
}

/// Process, parent and name of all that can be seen. Only Linux has `/proc`; elsewhere an interrupt waits for the compiler.
fn processes() -> Vec<(u32, u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent, name.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_prelude_has_a_private_name() {
        let source = include_str!("../../prelude/src/lib.rs");
        let exports = source.lines().filter(|line| line.starts_with("pub use "));
        assert!(
            exports.clone().all(|line| line.ends_with(';')),
            "an export of several lines is not read here: make it two"
        );
        let exported = exports
            .filter_map(|line| line.strip_prefix("pub use "))
            .flat_map(|path| {
                path.trim_end_matches(';')
                    .rsplit("::")
                    .next()
                    .unwrap_or_default()
                    .split(['{', '}', ','])
            })
            .map(str::trim)
            // A trait is no type of a variable.
            .filter(|name| name.starts_with(char::is_uppercase) && *name != "EvcxrDisplay");
        let mut exported: Vec<&str> = exported.collect();
        exported.sort_unstable();
        assert_eq!(exported, ALIASED);
    }
}
