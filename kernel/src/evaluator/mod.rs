//! Runs cells: evcxr on a thread of its own, the learner's process behind a supervisor, and what comes out of them as events.
//!
//! The thread starts evcxr, brings the prelude in by a hidden first cell, warms what the first real cell would wait for, and then does one job after the
//! other. Nothing here waits on a guess: a cell is over when its end has come through the output channel.

mod backtrace;
mod budget;
pub mod channel;
mod commands;
mod compilers;
mod compiling;
mod context;
mod copies;
mod deadlock;
mod diagnostics;
mod dropped;
mod execute;
mod exercises;
mod first_cell;
mod guarded;
mod hints;
mod late;
mod live;
mod marks;
mod naming;
mod ours;
mod outcome;
mod output;
mod running;
mod scan;
mod scoped;
mod source_map;
mod sources;
mod starting;
mod stdin;
mod streams;
pub mod supervisor;
mod syntax;
mod timing;
mod told;
mod untyped;
mod verdict;
mod warnings;
mod words;
pub mod worker;

use crate::cell::{Completions, Event, Job, JobId, MimeBundle, Outcome};
use crate::course::Course;
use crate::picture::Pictures;
use crate::prelude_home::{PreludeHome, WorkFolder};
use crate::trace::TraceMemory;
use channel::{Channel, Packet};
use compilers::kill_compilers;
use context::{Context, WorkerHandle};
pub use context::{is_runtime_child, runtime_hook};
use guarded::guarded;
use live::Live;
use naming::Naming;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
pub use output::Events;
use output::Shared;
pub use sources::CellLine;
use sources::Sources;
pub use starting::{StartError, prepare};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use stdin::Stdin;
pub use stdin::can_be_seen;

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
        if let Job::Execute { job, .. } = job {
            self.shared.give(job);
        }
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
        } else if let Some(job) = self.shared.before_it_runs() {
            let (shared, worker) = (self.shared.clone(), Arc::clone(&self.worker));
            let interrupted = Arc::clone(&self.interrupted);
            let ended = std::thread::Builder::new()
                .name("interrupt".into())
                .spawn(move || end_before_it_runs(job, &shared, &worker, &interrupted));
            if let Err(error) = ended {
                tracing::warn!(%error, "an interrupt reaches only the compiler that runs now");
                kill_compilers(|| true);
            }
        }
    }

    /// Ends the worker, evcxr and the threads, and removes the work folder. Waits for that: the time of a compilation at most.
    pub fn shutdown(&self) {
        let _ = self.jobs.send(Task::Stop);
        self.interrupted.store(true, Ordering::SeqCst);
        // Whatever it is doing, it is to stop: also the worker's start, or a thread that a cell left behind.
        kill_compilers(|| true);
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
        signal_supervisor(&self.worker, signal);
    }
}

fn signal_supervisor(worker: &Mutex<Option<WorkerHandle>>, signal: Signal) {
    let worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(supervisor) = worker.as_ref().and_then(WorkerHandle::supervisor) {
        let _ = kill(supervisor, signal);
    }
}

/// Ends a cell that was interrupted before its code runs. At that moment evcxr may be between two compilers, or rust-analyzer at work, which nothing can
/// stop: so whatever compiler it starts is ended until the cell is over, and if it comes to run all the same, it is interrupted there.
fn end_before_it_runs(
    job: JobId,
    shared: &Shared,
    worker: &Mutex<Option<WorkerHandle>>,
    interrupted: &AtomicBool,
) {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(50);
    let is_before = || shared.before_it_runs() == Some(job);
    let mut pause = FIRST;
    // Each time, since the cell forgets older interrupts when it begins.
    while shared.if_before_it_runs(job, || interrupted.store(true, Ordering::SeqCst)) {
        kill_compilers(is_before);
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
    if shared.is_in_worker_of(job) {
        interrupted.store(true, Ordering::SeqCst);
        signal_supervisor(worker, supervisor::INTERRUPT);
    }
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
    /// What tasks without a name are called while a cell runs.
    naming: Naming,
    last_sync: u64,
    /// The learner was told that there is no copy of the process.
    told_no_snapshot: bool,
    /// What the learner has set in the environment of workers, and whether this one has yet to be told.
    environment: BTreeMap<String, String>,
    worker_is_new: bool,
    /// How many bytes a cell may show; `u64::MAX`: any number. The reader of the output looks here.
    output_limit: Arc<AtomicU64>,
    shows_warnings: bool,
    /// Whether cells tell how long their steps took.
    times: bool,
    /// What hints were about that were given.
    hinted: BTreeSet<String>,
    course: Course,
}

impl Running {
    /// The process between, while there is one.
    fn supervisor(&self) -> Option<Pid> {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().and_then(WorkerHandle::supervisor)
    }

    fn serve(mut self, tasks: &mpsc::Receiver<Task>) {
        while let Ok(Task::Do(job)) = tasks.recv() {
            let event = guarded(|| self.event_of(&job)).unwrap_or_else(|why| {
                tracing::error!(why, ?job, "the evaluator panicked");
                self.give_up(&job, &why)
            });
            if let Event::Finished { .. } = event {
                self.shared.give_back();
            }
            (self.events)(event);
        }
    }

    /// Does a job.
    fn event_of(&mut self, job: &Job) -> Event {
        match *job {
            Job::Execute {
                job,
                execution_count,
                ref code,
                allow_stdin,
            } => {
                self.stdin.begin(job, allow_stdin);
                let outcome = self.execute(job, execution_count, code, allow_stdin);
                self.stdin.end();
                Event::Finished { job, outcome }
            }
            Job::Complete {
                job,
                ref code,
                cursor,
            } => {
                let ours = commands::complete(code, cursor);
                let mut found = self
                    .context
                    .as_mut()
                    .and_then(|context| context.complete(code, cursor));
                if let Some((begins, ours)) = ours {
                    let found = found.get_or_insert(Completions {
                        start: cursor,
                        end: cursor,
                        matches: Vec::new(),
                    });
                    // Behind a command's name only we know what may stand.
                    let start = found.start;
                    found
                        .matches
                        .retain(|theirs| start == begins && !ours.contains(theirs));
                    found.matches.extend(ours);
                    found.matches.sort_by(|a, b| a.text.cmp(&b.text));
                    found.start = begins;
                }
                Event::Completed { job, found }
            }
            Job::Inspect {
                job,
                ref code,
                cursor,
            } => {
                let answer = self
                    .context
                    .as_mut()
                    .and_then(|context| context.inspect(code, cursor));
                let bundle = answer.map(|(plain, html)| {
                    MimeBundle::from_iter([
                        ("text/plain".to_owned(), plain.into()),
                        ("text/html".to_owned(), html.into()),
                    ])
                });
                Event::Inspected { job, bundle }
            }
        }
    }

    /// Ends a job in whose middle our own code panicked. evcxr's panics do not come here: they are caught where it is called, and its context is made anew.
    fn give_up(&mut self, job: &Job, why: &str) -> Event {
        match *job {
            Job::Execute { job, .. } => {
                self.stdin.end();
                self.sync();
                self.live.end();
                self.shared.end();
                self.interrupted.store(false, Ordering::SeqCst);
                let outcome = Outcome {
                    error: Some(verdict::gave_up(why)),
                    ..Outcome::default()
                };
                Event::Finished { job, outcome }
            }
            Job::Complete { job, .. } => Event::Completed { job, found: None },
            Job::Inspect { job, .. } => Event::Inspected { job, bundle: None },
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

impl Drop for Running {
    fn drop(&mut self) {
        self.stdin.close();
        self.live.close();
    }
}
