//! Runs cells: evcxr on a thread of its own, the learner's process behind a supervisor, and what comes out of them as events.
//!
//! The thread starts evcxr, brings the prelude in by a hidden first cell, warms what the first real cell would wait for, and then does one job after the
//! other. Nothing here waits on a guess: a cell is over when its end has come through the output channel.

mod backtrace;
mod budget;
pub mod channel;
mod commands;
mod compiling;
mod context;
mod copies;
mod deadlock;
mod diagnostics;
mod exercises;
mod hints;
mod late;
mod live;
mod marks;
mod output;
mod scan;
mod scoped;
mod source_map;
mod sources;
mod stdin;
mod streams;
pub mod supervisor;
mod syntax;
mod told;
mod verdict;
mod warnings;
pub mod worker;

use crate::cell::{Event, Job, JobId, MimeBundle, Outcome, StreamName};
use crate::course::Course;
use crate::picture::{Drawn, Form, Of, Pictures};
use crate::prelude_home::{HomeError, PreludeHome, WorkFolder};
use crate::trace::TraceMemory;
use budget::Budget;
use channel::{Channel, Packet, Receiver};
use commands::{Backtrace, Command as Ours, Timeline};
use context::{Context, Failure, WorkerHandle};
pub use context::{is_runtime_child, runtime_hook};
use deadlock::Report;
use live::{Live, Watched};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
pub use output::Events;
use output::{Reader, Record, Shared};
pub use sources::CellLine;
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use stdin::Stdin;
pub use stdin::can_be_seen;

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
    "DisplayHandle",
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
    "ProgressBar",
    "ProgressIter",
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
    #[error("evcxr did not start: {0}. Run `{program} doctor` to see what is missing", program = this_program())]
    Evcxr(String),
}

/// The path of this program, which need not be on `PATH` where whoever reads this has a shell.
fn this_program() -> String {
    std::env::current_exe().map_or("threadbook".into(), |path| path.display().to_string())
}

/// The running evaluator.
#[derive(Debug)]
pub struct Evaluator {
    jobs: mpsc::Sender<Task>,
    shared: Shared,
    worker: Arc<Mutex<Option<WorkerHandle>>>,
    interrupted: Arc<AtomicBool>,
    /// Set once the evaluator's thread has made it.
    stdin: Arc<OnceLock<Stdin>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

enum Task {
    Do(Job),
    Stop,
}

impl Evaluator {
    /// Starts the evaluator on its own thread and returns at once. `events` is called from two threads, and blocks them when it blocks. `course`: what is
    /// known of the exercises that cells may be about.
    ///
    /// # Errors
    /// When a thread or a pair of sockets cannot be had; all later failures come as [`Event::Broken`].
    pub fn start(events: Events, course: Course) -> std::io::Result<Evaluator> {
        let (jobs, tasks) = mpsc::channel();
        let shared = Shared::default();
        let worker = Arc::new(Mutex::new(None));
        let interrupted = Arc::new(AtomicBool::new(false));
        let stdin = Arc::new(OnceLock::new());
        let thread = std::thread::Builder::new()
            .name("evaluator".into())
            // rust-analyzer and evcxr recurse into what is nested, and the session lets a thousand levels through. Reserved, not taken.
            .stack_size(256 << 20)
            .spawn({
                let (shared, worker, interrupted, stdin) = (
                    shared.clone(),
                    Arc::clone(&worker),
                    Arc::clone(&interrupted),
                    Arc::clone(&stdin),
                );
                move || {
                    let began = Instant::now();
                    match Running::start(&events, &shared, &worker, interrupted, course) {
                        Ok(running) => {
                            let _ = stdin.set(running.stdin.clone());
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
            stdin,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a job.
    pub fn submit(&self, job: Job) {
        // The thread is gone only when it said that it is broken, or at the end.
        let _ = self.jobs.send(Task::Do(job));
    }

    /// A person's answer to the cell that asked.
    pub fn answer(&self, text: &str) {
        if let Some(stdin) = self.stdin.get() {
            stdin.answer(text);
        }
    }

    /// Ends what the current cell does. Its tasks unwind from the prelude's calls, and variables and threads of earlier cells stay; where that does not end
    /// it, its process is ended, and a copy goes on; a compiler is ended with no loss. Without a current cell nothing happens.
    pub fn interrupt(&self) {
        if self.shared.is_in_worker() {
            self.interrupted.store(true, Ordering::SeqCst);
            self.signal_supervisor(supervisor::INTERRUPT);
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
        // The supervisor ends the worker's whole group, reaps it, and says so.
        self.signal_supervisor(Signal::SIGTERM);
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

    fn signal_supervisor(&self, signal: Signal) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(supervisor) = worker.as_ref().and_then(WorkerHandle::supervisor) {
            let _ = kill(supervisor, signal);
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
        let mut command = worker_command(folder, &sender, None, None)?;
        if let Some(libraries) = libraries_of_rust() {
            command.env(LIBRARY_PATH, libraries);
        }
        let mut context = Context::start(folder, command).map_err(StartError::Evcxr)?;
        // Nobody looks at the output of these cells, but somebody must take it out of the way.
        std::thread::spawn(move || {
            let mut receiver = Receiver::new(receiver);
            while let Ok(Some(packet)) = receiver.receive(None) {
                if packet == Packet::Sync(0) {
                    return;
                }
            }
        });
        let done = context.run(&first_cell(home)).map_err(|failure| {
            StartError::Evcxr(format!(
                "the first cell, which brings in the prelude, failed: {failure}"
            ))
        });
        drop(context);
        let _ = sender.send(&Packet::Sync(0));
        done.map(drop)
    })
}

/// Where the system's loader looks for libraries besides.
const LIBRARY_PATH: &str = if cfg!(target_os = "macos") {
    "DYLD_LIBRARY_PATH"
} else {
    "LD_LIBRARY_PATH"
};

/// The folder of libstd, before those that the loader looks into already. A cell's library finds libstd by a path relative to the folder that rustc wrote it
/// to, and is loaded from another one. Later the prelude has brought libstd along; the first cell of all, which compiles the prelude, has not: below one
/// home with the toolchain it would not be found.
fn libraries_of_rust() -> Option<std::ffi::OsString> {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir"])
        .output()
        .ok()?;
    let folder = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
    let others = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&others))).ok()
}

/// The command with which evcxr starts the learner's process: this binary, with the ends of the channel and of the trace handed down.
fn worker_command(
    folder: &Path,
    output: &Channel,
    trace: Option<RawFd>,
    stdin: Option<&Path>,
) -> Result<Command, StartError> {
    let mut command =
        Command::new(std::env::current_exe().map_err(system("the path of this program"))?);
    let output = output.raw_fd();
    command.env(supervisor::OUTPUT_FD, output.to_string());
    if let Some(trace) = trace {
        command.env(supervisor::TRACE_FD, trace.to_string());
    }
    if let Some(stdin) = stdin {
        command.env(supervisor::STDIN, stdin);
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
fn first_cell(home: &PreludeHome) -> String {
    let mut cell = format!(
        ":dep threadbook-prelude = {{ path = \"{}\" }}\n:dep threadbook-print = {{ path = \"{}\" }}\n\
         #[macro_use]\nextern crate threadbook_print;\nuse threadbook_prelude::*;\n",
        home.prelude_crate().display(),
        home.print_crate().display(),
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

/// What a cell that mentions `stdin` is told where `/proc` does not say who waits in a read.
const READS_ARE_NOT_SEEN: &str = "this system does not tell the kernel that a cell waits for input (/proc/<pid>/syscall cannot be read): \
    a plain `read_line` waits until it is interrupted; `input(\"…\")` and `password(\"…\")` ask\n";

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

/// What the evaluator's thread owns.
struct Running {
    /// Before the folder: its worker and cargo must be gone when the folder is removed.
    context: Option<Context>,
    folder: WorkFolder,
    home: PreludeHome,
    trace: Arc<TraceMemory>,
    sender: Channel,
    synced: mpsc::Receiver<u64>,
    shared: Shared,
    stdin: Stdin,
    sources: Sources,
    events: Events,
    worker: Arc<Mutex<Option<WorkerHandle>>>,
    interrupted: Arc<AtomicBool>,
    recording: u32,
    pictures: Pictures,
    /// What draws a cell while it runs.
    live: Live,
    last_sync: u64,
    /// The learner was told that there is no copy of the process.
    told_no_snapshot: bool,
    /// What the learner has set in the environment of workers, and whether this one has yet to be told.
    environment: BTreeMap<String, String>,
    worker_is_new: bool,
    /// How many bytes a cell may show; `u64::MAX`: any number. The reader of the output looks here.
    output_limit: Arc<AtomicU64>,
    shows_warnings: bool,
    /// What hints were about that were given.
    hinted: BTreeSet<String>,
    course: Course,
}

/// How a cell has run.
#[derive(Debug, Default)]
struct Ran {
    /// What came out of its process.
    record: Record,
    /// It was interrupted.
    interrupted: bool,
    /// Variables of earlier cells that are not there any more.
    moved: Vec<String>,
}

/// What a cell shows besides what it printed.
#[derive(Default)]
struct Extras {
    /// The answers of commands.
    answers: Vec<MimeBundle>,
    /// Hints, notes and warnings, each some lines.
    notes: Vec<String>,
    /// The text that a command put in the place of the cell's.
    cell: Option<String>,
    /// What a command could not do, though the cell itself is good.
    failed: Option<String>,
}

impl Running {
    fn start(
        events: &Events,
        shared: &Shared,
        worker: &Arc<Mutex<Option<WorkerHandle>>>,
        interrupted: Arc<AtomicBool>,
        course: Course,
    ) -> Result<Running, StartError> {
        let home = PreludeHome::locate()?;
        prepare_home(&home)?;
        let folder = home.work_folder()?;
        let trace = Arc::new(TraceMemory::new().map_err(system("shared memory for the trace"))?);
        let (receiver, sender) = Channel::pair().map_err(system("a pair of sockets"))?;
        let stdin = Stdin::new(folder.path().join("stdin"))
            .map_err(system("a FIFO in the kernel's folder"))?;
        let watcher = sender
            .try_clone()
            .map_err(system("a second handle of a socket"))?;
        std::thread::Builder::new()
            .name("stdin".into())
            .spawn({
                let (stdin, worker) = (stdin.clone(), Arc::clone(worker));
                move || stdin.watch(&worker, &watcher)
            })
            .map_err(system("a thread"))?;
        let output_limit = Arc::new(AtomicU64::new(budget::AT_FIRST));
        let (synced_sender, synced) = mpsc::channel();
        let sources = Sources::default();
        let live = Live::start(Arc::clone(&trace), sources.clone(), Arc::clone(events))
            .map_err(system("a thread"))?;
        let reader = Reader {
            receiver: Receiver::new(receiver),
            shared: shared.clone(),
            live: live.clone(),
            stdin: stdin.clone(),
            sources: sources.clone(),
            generated: folder.path().join("src/lib.rs"),
            events: Arc::clone(events),
            synced: synced_sender,
            streams: streams::Streams::default(),
            parts: told::Parts::default(),
            budget: (Budget::new(None), None),
            limit: Arc::clone(&output_limit),
            cells: Default::default(),
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
            stdin,
            sources,
            events: Arc::clone(events),
            worker: Arc::clone(worker),
            interrupted,
            recording: 0,
            pictures: Pictures::default(),
            live,
            last_sync: 0,
            told_no_snapshot: false,
            environment: BTreeMap::new(),
            worker_is_new: true,
            output_limit,
            shows_warnings: true,
            hinted: BTreeSet::new(),
            course,
        };
        running.start_context()?;
        Ok(running)
    }

    /// Starts evcxr with the prelude in it, in place of the one there was.
    fn start_context(&mut self) -> Result<(), StartError> {
        self.context = None;
        let command = worker_command(
            self.folder.path(),
            &self.sender,
            Some(self.trace.raw_fd()),
            Some(self.stdin.path()),
        )?;
        let mut context = Context::start(self.folder.path(), command).map_err(StartError::Evcxr)?;
        *self.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.worker());
        context.run(&first_cell(&self.home)).map_err(|failure| {
            StartError::Evcxr(format!(
                "the first cell, which brings in the prelude, failed: {failure}"
            ))
        })?;
        if let Err(failure) = context.run(WARM_CELL) {
            // The first cell will wait a little longer, and that is all.
            tracing::warn!(?failure, "the warming cell failed");
        }
        self.context = Some(context);
        self.worker_is_new = true;
        self.sync();
        self.shared.end();
        Ok(())
    }

    /// Tells a new worker what the learner has set for all of them.
    fn set_up_worker(&mut self) {
        if std::mem::take(&mut self.worker_is_new) && !self.environment.is_empty() {
            let code: String = self
                .environment
                .iter()
                .map(|(key, value)| {
                    format!("unsafe {{ std::env::set_var({key:?}, {value:?}); }}\n")
                })
                .collect();
            self.run_hidden(&code);
        }
    }

    /// Runs code of ours between cells. A failure costs the learner what they asked for, and is in the log.
    fn run_hidden(&mut self, code: &str) {
        if let Err(failure) = self.run(code) {
            tracing::warn!(%failure, code, "a hidden cell failed");
        }
        self.sync();
    }

    /// Does a command of ours; gives what it answers.
    fn command(
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

    fn set_environment(&mut self, key: String, value: String) {
        self.environment.insert(key, value);
        self.worker_is_new = true;
        self.set_up_worker();
    }

    /// The process between, while there is one.
    fn supervisor(&self) -> Option<Pid> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().and_then(WorkerHandle::supervisor)
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

    fn serve(mut self, tasks: &mpsc::Receiver<Task>) {
        while let Ok(Task::Do(job)) = tasks.recv() {
            let event = match job {
                Job::Execute {
                    job,
                    execution_count,
                    code,
                    allow_stdin,
                } => {
                    self.stdin.begin(job, allow_stdin);
                    let outcome = self.execute(job, execution_count, &code, allow_stdin);
                    self.stdin.end();
                    Event::Finished { job, outcome }
                }
                Job::Complete { job, code, cursor } => {
                    let ours = commands::complete(&code, cursor);
                    let answer = self
                        .context
                        .as_mut()
                        .and_then(|context| context.complete(&code, cursor));
                    let (mut start, end, mut matches) =
                        answer.unwrap_or((cursor, cursor, Vec::new()));
                    if let Some((begins, ours)) = ours {
                        // Behind a command's name only we know what may stand.
                        matches.retain(|theirs| start == begins && !ours.contains(theirs));
                        matches.extend(ours);
                        matches.sort_by(|a, b| a.text.cmp(&b.text));
                        start = begins;
                    }
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

    /// Runs a cell. `learner`: whether a person sent it, who can be asked, and not a program that runs notebooks.
    fn execute(&mut self, job: JobId, number: u32, code: &str, learner: bool) -> Outcome {
        if self.context.is_none()
            && let Err(error) = self.start_context()
        {
            return Outcome {
                error: Some(verdict::broken(&error.to_string())),
                ..Outcome::default()
            };
        }
        let split = match commands::split(code) {
            Ok(split) => split,
            Err(why) => {
                return Outcome {
                    error: Some(verdict::refused(&why)),
                    ..Outcome::default()
                };
            }
        };
        let mut extras = Extras::default();
        self.set_up_worker();
        self.course.begin(split.mark.as_ref());
        // These are about the picture of this cell, when it draws one.
        let mut about_the_picture = Vec::new();
        for command in split.ours {
            if let Ours::Timeline(about @ (Timeline::Save(_) | Timeline::Explain)) = &command {
                about_the_picture.push(about.clone());
            }
            match self.command(command, &mut extras) {
                Ok(answer) => extras.answers.extend(answer),
                Err(error) => {
                    self.context = None;
                    return Outcome {
                        error: Some(verdict::broken(&error.to_string())),
                        ..Outcome::default()
                    };
                }
            }
        }
        // What an exercise begins with runs in the place of what it is to replace.
        let replaced = extras.cell.clone();
        let (code, rest) = match &replaced {
            Some(first) => (first.as_str(), first.as_str()),
            None => (code, split.rest.as_str()),
        };
        for hint in hints::hints(rest) {
            if self.hinted.insert(hint.about) {
                extras.notes.push(hint.text);
            }
        }
        let cell = self.sources.begin(number, code);
        self.recording += 1;
        self.trace.begin(self.recording);
        self.interrupted.store(false, Ordering::SeqCst);
        self.shared.begin(job);
        self.say_if_reads_are_not_seen(job, code);
        let variables = self.context.as_ref().map(Context::variables);
        let progress = split
            .has_dep
            .then(|| compiling::Progress::begin(job, &self.events));
        let code = rest;
        if self.pictures.live && self.pictures.form != Form::Off {
            self.live.arm(Watched {
                job,
                number,
                recording: self.recording,
                so_far: self.pictures.so_far(),
            });
        }
        let (mut result, mut ends) = self.run_whatever_it_keeps(code);
        if matches!(result, Err(Failure::WorkerDied)) && !self.shared.has_begun() {
            // The process had ended between the cells, and evcxr noticed only now: this cell is not to blame.
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: "the learner's process had ended since the last cell: the variables of earlier cells are lost, functions and types are kept\n".into(),
            });
            self.worker_is_new = true;
            self.set_up_worker();
            self.shared.begin(job);
            (result, ends) = self.run_whatever_it_keeps(code);
        }
        drop(progress);
        self.worker_is_new |= matches!(result, Err(Failure::WorkerDied));
        if result.is_ok() && !ends.is_empty() {
            extras.notes.push(scoped::note(&ends));
        }
        self.sync();
        let mut record = self.shared.end();
        if record.takeover.is_some() && matches!(result, Err(Failure::Refused(_))) {
            // The supervisor made evcxr's call fail, so that evcxr keeps what the copy has.
            result = Err(Failure::WorkerDied);
        }
        self.note_copies(job, &record, result.is_ok());
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
        let of = Of {
            job,
            number,
            // A process that died has no last event: what it did then lasted until its end.
            ran: record.death.and(record.began).map(|began| began.elapsed()),
        };
        let shown = self.live.end();
        let mut drawn = self.pictures.draw(&trace, &place_of, of, shown.is_some());
        if let Some(id) = shown
            && let Some(bundle) = drawn.picture.take()
        {
            let job = Some(job);
            (self.events)(Event::Update { job, id, bundle });
        }
        for about in about_the_picture {
            match self.about_the_picture(&about) {
                Ok(answer) => extras.answers.push(answer),
                Err(why) => extras.failed = Some(why),
            }
        }
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
        let left = self.context.as_ref().map(Context::variables);
        let moved = match (variables, left) {
            (Some(before), Some(after)) => before
                .into_iter()
                .filter(|name| !after.contains(name))
                .collect(),
            _ => Vec::new(),
        };
        let ran = Ran {
            record,
            interrupted,
            moved,
        };
        let mark = split.mark.as_ref().filter(|mark| mark.is_check);
        let judged = mark.map(|mark| exercises::Judged {
            number: &mark.number,
            text: code,
            learner,
        });
        self.outcome(job, result, &ran, &cell, drawn, extras, judged)
    }

    /// A cell that reads standard input would wait without a question where the system does not tell that it does: says so before it runs, once.
    fn say_if_reads_are_not_seen(&mut self, job: JobId, code: &str) {
        let Some(supervisor) = self.supervisor().filter(|_| code.contains("stdin")) else {
            return;
        };
        if !can_be_seen(supervisor.as_raw()) && self.hinted.insert("reads are not seen".into()) {
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: READS_ARE_NOT_SEEN.into(),
            });
        }
    }

    /// Answers what is asked of this cell's picture, or else of the last one.
    fn about_the_picture(&self, asked: &Timeline) -> Result<MimeBundle, String> {
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

    /// Tells what a cell that ran should know of the copies of its process: that it runs in one, or that there is none, once.
    fn note_copies(&mut self, job: JobId, record: &Record, ran: bool) {
        let say = |text| {
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text,
            });
        };
        if ran && let Some(takeover) = &record.takeover {
            let how = record.death.map_or("ended".into(), copies::how);
            let lost = takeover
                .lost()
                .map_or(String::new(), |lost| format!("; {lost}"));
            say(format!(
                "the process of the cells {how} before this one ran; a copy of it ran this cell, with all variables{lost}\n"
            ));
        }
        if let Some(none) = &record.no_snapshot
            && !self.told_no_snapshot
        {
            say(none.note());
        }
        if record.end.is_some() {
            self.told_no_snapshot = record.no_snapshot.is_some();
        }
    }

    /// Runs a cell also when it makes variables that evcxr cannot keep; gives those that ended with it.
    fn run_whatever_it_keeps(
        &mut self,
        text: &str,
    ) -> (Result<MimeBundle, Failure>, BTreeSet<String>) {
        let statements = scoped::with_declarations_as_statements(text);
        let text = statements.as_deref().unwrap_or(text);
        let mut ends = BTreeSet::new();
        let mut code = text.to_owned();
        loop {
            // A cell of commands of ours alone has nothing left.
            let result = match code.trim() {
                "" => Ok(MimeBundle::default()),
                _ => self.run(&code),
            };
            let refused: Vec<String> = match &result {
                Err(Failure::Refused(message)) => scoped::refused_variable(message)
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                Err(Failure::Compile(errors)) => errors
                    .iter()
                    .filter_map(|error| scoped::refused_variable(&error.message))
                    .map(str::to_owned)
                    .chain(scoped::closures_at(&code, errors))
                    .collect(),
                _ => Vec::new(),
            };
            let before = ends.len();
            ends.extend(refused);
            // Each round adds a variable of the cell's, so it ends.
            if ends.len() == before || self.interrupted.load(Ordering::SeqCst) {
                return (result, ends);
            }
            match scoped::rewrite(text, &ends) {
                Some(rewritten) => code = rewritten,
                None => return (result, ends),
            }
        }
    }

    fn run(&mut self, code: &str) -> Result<MimeBundle, Failure> {
        match &mut self.context {
            Some(context) => context.run(code),
            None => Err(Failure::Refused(
                "evcxr is not running: restart the kernel".into(),
            )),
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "all that is known of a cell at its end, each thing used once"
    )]
    fn outcome(
        &mut self,
        job: JobId,
        result: Result<MimeBundle, Failure>,
        ran: &Ran,
        cell: &Arc<source_map::Cell>,
        drawn: Drawn,
        mut extras: Extras,
        judged: Option<exercises::Judged<'_>>,
    ) -> Outcome {
        let Ran {
            record,
            interrupted,
            ..
        } = ran;
        let mut values = record.values.clone();
        let error = match &result {
            Ok(_) => verdict::of_a_cell_that_ran(ran, &self.sources, cell.number, &drawn.names),
            Err(Failure::Compile(_)) if *interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Refused(_)) if *interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Compile(diagnostics)) => {
                let (generated, map) = self.generated();
                Some(diagnostics::error(diagnostics, &map, &generated, cell))
            }
            Err(Failure::Refused(message)) => Some(verdict::refused(message)),
            Err(Failure::WorkerDied) => Some(verdict::of_a_dead_worker(ran)),
            Err(Failure::Crashed(message)) => Some(verdict::broken(message)),
        };
        if let Ok(bundle) = result
            && !bundle.is_empty()
        {
            // Commands stand at the head of a cell, before its code.
            extras.answers.push(bundle);
        }
        values.splice(0..0, extras.answers);
        let mut error = match (error, extras.failed) {
            (None, Some(why)) => Some(verdict::refused(&why)),
            (error, why) => {
                extras.notes.extend(why);
                error
            }
        };
        if let Some(judged) = judged {
            let note = self.judge(&judged, record, &mut error);
            extras.notes.extend(note);
        }
        if error.is_none() && record.begun && self.shows_warnings {
            extras.notes.extend(self.warnings(cell));
        }
        let shown = if error.is_none() { values.pop() } else { None };
        for bundle in values {
            (self.events)(Event::Display {
                job: Some(job),
                bundle,
                id: None,
            });
        }
        if !extras.notes.is_empty() {
            let notes = extras.notes.join("\n");
            (self.events)(Event::Display {
                job: Some(job),
                bundle: MimeBundle::from_iter([("text/plain".to_owned(), notes.into())]),
                id: None,
            });
        }
        Outcome {
            picture: drawn.picture,
            result: shown,
            error,
            cell: extras.cell,
        }
    }

    /// What the compiler warned of in a cell that was compiled.
    fn warnings(&self, cell: &Arc<source_map::Cell>) -> Vec<String> {
        let Some(json) = warnings::of_the_last_build(self.folder.path()) else {
            return Vec::new();
        };
        let (generated, map) = self.generated();
        warnings::brief(diagnostics::warnings(&json, &map, &generated, cell))
    }

    /// The file that was compiled last, and what in it is of which cell.
    fn generated(&self) -> (String, source_map::SourceMap) {
        let generated = self.context.as_ref().map(Context::generated_source);
        let generated = generated.unwrap_or_default();
        let map = self.sources.map_of(&generated);
        (generated, map)
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

impl Drop for Running {
    fn drop(&mut self) {
        self.stdin.close();
        self.live.close();
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
                Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)),
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
