//! What comes out of the learner's process, gathered: text in few and whole pieces, and a record of how the running cell fares.
//!
//! One thread reads the output channel for the life of the kernel, between cells too. Text is handed on after 20 ms at the latest; a slow
//! notebook slows this thread, the thread the channel, the channel the supervisor, and the supervisor the learner's prints: nothing piles up.

use super::backtrace;
use super::budget::Budget;
use super::channel::{CellEnd, Death, Packet, Receiver};
use super::copies::{self, LostCopy, NoSnapshot, OutOfMemory, Takeover};
use super::deadlock::{self, Report};
use super::late::{self, Cells};
use super::live::Live;
use super::marks::{Check, FailedCheck, Overflow, Panic, begun_cell, question};
use super::naming::Naming;
use super::sources::{Sources, build_number, outdated_library};
use super::stdin::{Asked, Stdin};
use super::streams::Streams;
use super::told::{self, Parts, Told};
use super::untyped;
use super::words;
use crate::cell::{Event, JobId, MimeBundle, StreamName};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How many deadlocks of one cell are kept.
const MOST_DEADLOCKS: usize = 16;

/// Where events go.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// How the cell that runs, or the last that did, has fared so far.
#[derive(Debug, Default)]
pub struct Record {
    /// The worker was told to run it.
    pub begun: bool,
    /// When.
    pub began: Option<Instant>,
    /// When it had run.
    pub ended: Option<Instant>,
    /// It came to its end.
    pub end: Option<CellEnd>,
    /// Panics on the evaluating thread, as the prelude's hook saw them.
    pub panics: Vec<Panic>,
    /// Who called whom at the last of them, innermost first, when the learner wants to know.
    pub frames: Vec<String>,
    /// What a `check!` said that did not pass, and where it stands.
    pub failed_check: Option<FailedCheck>,
    /// The run of the last `check!` that is worth a picture, as the number of its observation.
    pub observation: Option<u32>,
    /// A stack that was too small.
    pub overflow: Option<Overflow>,
    /// It asked for input, and nobody could be asked.
    pub asked_in_vain: bool,
    /// Deadlocks that were found while it ran.
    pub deadlocks: Vec<Report>,
    /// Values that wait for their place: shown as outputs if text follows them, as the cell's result if they are the last.
    pub values: Vec<MimeBundle>,
    /// What its tasks waited for when it was interrupted.
    pub interrupted: Option<Report>,
    /// The worker died.
    pub death: Option<Death>,
    /// It was ended since it took too much memory.
    pub out_of_memory: Option<OutOfMemory>,
    /// A copy went on in its place.
    pub takeover: Option<Takeover>,
    /// A copy was to go on, and died too.
    pub lost_copy: Option<LostCopy>,
    /// No copy was made at its end.
    pub no_snapshot: Option<NoSnapshot>,
    /// Variables for which it did not run, since later cells would not compile.
    pub untyped: Vec<String>,
    /// The last line on standard error that was not empty.
    pub last_error_line: String,
}

/// What the evaluator and the reading thread both touch.
#[derive(Debug, Default)]
pub struct Running {
    /// The cell that the evaluator was given and has not given back.
    given: Option<JobId>,
    job: Option<JobId>,
    /// The job that is under way, or that was last.
    latest: Option<JobId>,
    record: Record,
}

impl Running {
    fn before_it_runs(&self) -> Option<JobId> {
        let has_begun = self.job == self.given && self.record.begun;
        self.given.filter(|_| !has_begun)
    }
}

/// A shared handle to [`Running`].
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Running>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The evaluator was given a cell.
    pub fn give(&self, job: JobId) {
        self.lock().given = Some(job);
    }

    /// The evaluator gives its cell back.
    pub fn give_back(&self) {
        self.lock().given = None;
    }

    /// Output belongs to this job from now on.
    pub fn begin(&self, job: JobId) {
        let mut running = self.lock();
        running.given = Some(job);
        running.job = Some(job);
        running.latest = Some(job);
        running.record = Record::default();
    }

    /// The job is over; gives its record. Call it when a sync has come back.
    pub fn end(&self) -> Record {
        let mut running = self.lock();
        running.given = None;
        running.job = None;
        std::mem::take(&mut running.record)
    }

    /// Whether the worker runs the learner's code at this moment (and not the compiler).
    pub fn is_in_worker(&self) -> bool {
        let running = self.lock();
        running.job.is_some() && running.record.begun && running.record.end.is_none()
    }

    /// Whether the worker runs this job's code at this moment.
    pub fn is_in_worker_of(&self, job: JobId) -> bool {
        let running = self.lock();
        running.job == Some(job) && running.record.begun && running.record.end.is_none()
    }

    /// The cell that the evaluator has, and of which the worker has not been told: it waits, is read or compiled.
    pub fn before_it_runs(&self) -> Option<JobId> {
        self.lock().before_it_runs()
    }

    /// Does `act` if that cell is `job`, and before it can be another; gives whether it is.
    pub fn if_before_it_runs(&self, job: JobId, act: impl FnOnce()) -> bool {
        let running = self.lock();
        let is_before = running.before_it_runs() == Some(job);
        if is_before {
            act();
        }
        is_before
    }

    /// The variables for which the cell did not run; once. Call it when a sync has come back.
    pub fn take_untyped(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().record.untyped)
    }

    /// Whether the worker has been told to run the cell of the current job.
    pub fn has_begun(&self) -> bool {
        self.lock().record.begun
    }
}

/// The thread that reads the output channel.
pub struct Reader {
    /// The kernel's end of the channel.
    pub receiver: Receiver,
    /// What the evaluator sees of it.
    pub shared: Shared,
    /// What draws the cell while it runs.
    pub live: Live,
    /// Where questions of cells go.
    pub stdin: Stdin,
    /// Where lines of generated files are looked up, and where each new file is entered.
    pub sources: Sources,
    /// The file that evcxr generates.
    pub generated: PathBuf,
    /// Where text and values go.
    pub events: Events,
    /// Told when a sync has come through.
    pub synced: Sender<u64>,
    /// Text that waits for more.
    pub streams: Streams,
    /// Displays that are under way.
    pub parts: Parts,
    /// What the cell whose output comes may still show, and which one it is.
    pub budget: (Budget, Option<JobId>),
    /// How many bytes a cell may show; `u64::MAX`: any number.
    pub limit: Arc<AtomicU64>,
    /// What the picture calls tasks that have no name of their own.
    pub naming: Naming,
    /// The latest cells by the worker's numbers, and what came of their tasks after their ends.
    pub cells: Cells,
}

impl Reader {
    /// Reads until the channel fails, which is when the kernel ends.
    pub fn run(mut self) {
        loop {
            let now = Instant::now();
            let patience = self.streams.patience(now);
            // To a socket, a timeout of zero would mean for ever.
            if patience == Some(Duration::ZERO) {
                let due = self.streams.due(now);
                self.send(due);
                continue;
            }
            match self.receiver.receive(patience) {
                Ok(Some(packet)) => self.take(packet),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the output channel failed");
                    return;
                }
            }
        }
    }

    fn take(&mut self, packet: Packet) {
        match packet {
            Packet::Begin(path) => {
                let generated = std::fs::read_to_string(&self.generated).unwrap_or_default();
                self.sources.enter(build_number(&path), &generated);
                // What came between the cells stands before what is late now.
                self.flush();
                {
                    let record = &mut self.shared.lock().record;
                    record.begun = true;
                    record.began = Some(Instant::now());
                }
                self.live.begin();
                if let Some(outdated) = outdated_library(&path) {
                    let _ = std::fs::remove_file(outdated);
                }
            }
            Packet::Stdout(bytes) => self.text(StreamName::Stdout, &bytes),
            Packet::Stderr(bytes) => self.text(StreamName::Stderr, &bytes),
            Packet::Content(mime, content) => self.value(mime, &content),
            Packet::Mark(json) => self.mark(&json),
            Packet::End(end) => {
                let caught = {
                    let mut running = self.shared.lock();
                    running.record.end = Some(end);
                    running.record.ended = Some(Instant::now());
                    if end.panicked {
                        Vec::new()
                    } else {
                        std::mem::take(&mut running.record.panics)
                    }
                };
                for panic in caught {
                    self.announce(&panic, ", which the cell caught");
                }
            }
            Packet::Died(death) => {
                {
                    let record = &mut self.shared.lock().record;
                    record.death = Some(death);
                    // That was of the process which is dead now: what goes on after this one has yet to be told.
                    record.takeover = None;
                }
                // The next worker counts its cells, and its messages, from the beginning.
                self.parts.clear();
                self.cells.forget_numbers();
            }
            Packet::Sync(ticket) => {
                self.end_of_text();
                self.say_what_was_hidden();
                // The evaluator may be gone already, when the kernel ends.
                let _ = self.synced.send(ticket);
            }
        }
    }

    fn mark(&mut self, json: &str) {
        if json.starts_with(told::PART) {
            if let Some(told) = self.parts.take(json) {
                self.told(told);
            }
        } else if let Some(cell) = begun_cell(json) {
            if let Some(job) = self.shared.lock().job {
                self.cells.begin(cell, job);
            }
        } else if let Some((prompt, password)) = question(json) {
            self.flush();
            match self.stdin.ask(&prompt, password) {
                Asked::Ask(event) => (self.events)(*event),
                Asked::Nobody => self.shared.lock().record.asked_in_vain = true,
                Asked::Nothing => {}
            }
        } else if let Some(panic) = Panic::parse(json) {
            if panic.is_main {
                self.shared.lock().record.panics.push(panic);
            } else {
                self.announce(&panic, "");
            }
        } else if let Some(report) = Report::parse(json) {
            self.deadlock(report);
        } else if let Some(check) = Check::parse(json) {
            let record = &mut self.shared.lock().record;
            record.observation = check.observation;
            record.failed_check = check.failure;
        } else if let Some(overflow) = Overflow::parse(json) {
            self.shared.lock().record.overflow = Some(overflow);
        } else if let Some(report) = Report::parse_interrupt(json) {
            self.shared.lock().record.interrupted = Some(report);
        } else if let Some(takeover) = Takeover::parse(json) {
            self.takeover(takeover);
        } else if let Some(variables) = untyped::parse(json) {
            self.shared.lock().record.untyped = variables;
        } else if let Some(lost) = LostCopy::parse(json) {
            self.shared.lock().record.lost_copy = Some(lost);
        } else if let Some(none) = NoSnapshot::parse(json) {
            self.shared.lock().record.no_snapshot = Some(none);
        } else if let Some(out) = OutOfMemory::parse(json) {
            self.shared.lock().record.out_of_memory = Some(out);
        } else {
            tracing::warn!(json, "a mark that is none of the prelude's");
        }
    }

    fn text(&mut self, name: StreamName, bytes: &[u8]) {
        let text = self.streams.decode(name, bytes);
        if name == StreamName::Stderr
            && let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty())
        {
            self.shared.lock().record.last_error_line = line.trim().to_owned();
        }
        self.take_text(name, &text);
    }

    /// Shows text of the cell that runs; between cells, of the latest.
    fn take_text(&mut self, name: StreamName, text: &str) {
        self.look_whose_output();
        let shown = self.budget.0.take(text).to_owned();
        self.push(name, &shown);
    }

    /// The job of a task's cell, if that is over and its output can still go there.
    fn late_job(&self, cell: u64) -> Option<JobId> {
        let job = self.cells.job(cell)?;
        (self.shared.lock().job != Some(job)).then_some(job)
    }

    /// Shows text of a task's: below its cell, whichever runs now. One whose cell nobody knows prints where the latest is.
    fn text_of_a_task(&mut self, cell: u64, name: StreamName, text: &str) {
        let Some(job) = self.late_job(cell) else {
            return self.take_text(name, text);
        };
        let limit = self.limit.load(Ordering::Relaxed);
        let shown = self.cells.late_budget(job, limit).take(text).to_owned();
        self.push_late(job, name, &shown);
    }

    fn push_late(&mut self, job: JobId, name: StreamName, text: &str) {
        if text.is_empty() {
            return;
        }
        self.say_that_it_is_late(Some(job), job);
        let leaves = self.streams.push(Some(job), name, text, Instant::now());
        self.send(leaves);
    }

    /// Says below a cell, once, that what follows came after its end. `job`: as whose output it is shown.
    fn say_that_it_is_late(&mut self, job: Option<JobId>, whose: JobId) {
        if self.cells.is_first_late(whose) {
            self.flush();
            (self.events)(Event::Display {
                job,
                bundle: late::note(),
                id: None,
            });
        }
    }

    /// Each cell begins with a whole budget. What comes between cells is the last one's.
    fn look_whose_output(&mut self) {
        let job = self.shared.lock().job;
        if job.is_some() && job != self.budget.1 {
            self.say_what_was_hidden();
            let limit = self.limit.load(Ordering::Relaxed);
            self.budget = (Budget::new((limit != u64::MAX).then_some(limit)), job);
        }
    }

    fn say_what_was_hidden(&mut self) {
        let late = self.cells.accounts();
        let accounts = self.budget.0.account().map(|text| (self.budget.1, text));
        for (job, text) in accounts.into_iter().chain(late) {
            self.flush();
            (self.events)(Event::Stream {
                job,
                name: StreamName::Stdout,
                text,
            });
        }
    }

    fn push(&mut self, name: StreamName, text: &str) {
        if text.is_empty() {
            return;
        }
        let (job, latest, values) = {
            let mut running = self.shared.lock();
            let values = std::mem::take(&mut running.record.values);
            (running.job, running.latest, values)
        };
        if !values.is_empty() {
            self.flush();
        }
        self.show(job, values);
        if let (None, Some(latest)) = (job, latest) {
            self.say_that_it_is_late(None, latest);
        }
        let leaves = self.streams.push(job, name, text, Instant::now());
        self.send(leaves);
    }

    /// Values after which something else came: outputs like any other.
    fn show(&self, job: Option<JobId>, values: Vec<MimeBundle>) {
        for bundle in values {
            (self.events)(Event::Display {
                job,
                bundle,
                id: None,
            });
        }
    }

    fn told(&mut self, told: Told) {
        if let Told::Print { cell, name, text } = told {
            return self.text_of_a_task(cell, name, &text);
        }
        // Half a character of another thread's print goes on waiting for its rest.
        self.flush();
        self.look_whose_output();
        // The value is the last word of a cell that printed too much, and is shown all the same.
        let fits = match &told {
            Told::Value(_) => self.budget.0.would_take_alone(told.bytes()),
            _ => self.budget.0.takes(told.bytes()),
        };
        if !fits {
            return;
        }
        if let Told::Backtrace { main, cell, text } = told {
            let frames = backtrace::frames(&text);
            if main {
                self.shared.lock().record.frames = frames;
            } else if !frames.is_empty() {
                let frames = format!("  in {}\n", frames.join("\n  in "));
                self.text_of_a_task(cell, StreamName::Stderr, &frames);
            }
            return;
        }
        let (running, values) = {
            let mut running = self.shared.lock();
            if let Told::Value(bundle) = told {
                return running.record.values.push(bundle);
            }
            (running.job, std::mem::take(&mut running.record.values))
        };
        self.show(running, values);
        // A task that outlives its cell shows things there; one that nobody knows shows them where the latest cell is.
        if let Told::Display { cell, .. } = told
            && let Some(job) = self.late_job(cell)
        {
            self.say_that_it_is_late(Some(job), job);
        }
        let job_of = |cell: u64| self.cells.job(cell).or(running);
        if let Told::Clear { cell, wait } = told {
            let job = job_of(cell);
            let clear = || (self.events)(Event::ClearOutput { job, wait });
            if job == running {
                self.live.clear(clear);
            } else {
                clear();
            }
            return;
        }
        (self.events)(match told {
            Told::Value(_) | Told::Backtrace { .. } | Told::Print { .. } | Told::Clear { .. } => {
                unreachable!("done above")
            }
            Told::Display { cell, id, bundle } => Event::Display {
                job: job_of(cell),
                bundle,
                id: Some(id),
            },
            Told::Update { cell, id, bundle } => Event::Update {
                job: job_of(cell),
                id,
                bundle,
            },
        });
    }

    fn value(&mut self, mime: String, content: &[u8]) {
        self.flush();
        let content = String::from_utf8_lossy(content).into_owned();
        let mut running = self.shared.lock();
        match running.record.values.last_mut() {
            // A second form of the same value, as `evcxr_display` gives them one after the other.
            Some(bundle) if !bundle.contains_key(&mime) => {
                bundle.insert(mime, content.into());
            }
            _ => running
                .record
                .values
                .push(MimeBundle::from_iter([(mime, content.into())])),
        }
    }

    /// Keeps a deadlock for the cell that runs. One of tasks that outlived their cells is told as text: no cell is to blame.
    fn deadlock(&mut self, report: Report) {
        {
            let mut running = self.shared.lock();
            if running.job.is_some() && running.record.begun && running.record.end.is_none() {
                let deadlocks = &mut running.record.deadlocks;
                if deadlocks.len() < MOST_DEADLOCKS {
                    deadlocks.push(report);
                }
                return;
            }
        }
        let told = {
            let reader = deadlock::Reader {
                task: &|_| None,
                object: &|_| None,
                place: &|build, line| self.sources.place(build, line),
                cell: None,
            };
            report.as_text(&reader)
        };
        self.push(StreamName::Stderr, &told);
    }

    /// Keeps a takeover for the cell whose process died. Where none runs it is told as text.
    fn takeover(&mut self, takeover: Takeover) {
        let (how, out_of_memory) = {
            let record = &mut self.shared.lock().record;
            if record.begun && record.end.is_none() {
                record.takeover = Some(takeover);
                return;
            }
            (
                record.death.take().map(copies::how),
                record.out_of_memory.take(),
            )
        };
        let how = how.unwrap_or_else(|| "ended".into());
        let why = out_of_memory.map_or(String::new(), |out| format!(" ({})", out.told()));
        let lost = takeover
            .lost()
            .map_or(String::new(), |lost| format!("; {lost}"));
        self.push(
            StreamName::Stderr,
            &format!("the process of the cells {how}{why}; a copy goes on, with all variables as they were at the end of the last cell{lost}\n"),
        );
    }

    fn announce(&mut self, panic: &Panic, more: &str) {
        let place = match self.sources.place(panic.build, panic.line) {
            Some(place) => format!(
                " at cell [{}] line {}: `{}`",
                place.cell, place.line, place.text
            ),
            None => String::new(),
        };
        let name = |task| self.naming.name_of(task);
        let who = match &panic.task {
            Some(given) => format!("`{given}`"),
            None => name(panic.id).unwrap_or_else(|| "a task without a name".into()),
        };
        let message = words::tell(&panic.message, &name, &|_| None);
        let said = format!(
            "{who} panicked{place}{more}\n  {}\n",
            message.replace('\n', "\n  ")
        );
        match self.late_job(panic.cell) {
            Some(job) => self.push_late(job, StreamName::Stderr, &said),
            None => self.push(StreamName::Stderr, &said),
        }
    }

    /// Hands on what waits, cut characters included.
    fn end_of_text(&mut self) {
        for name in [StreamName::Stdout, StreamName::Stderr] {
            let text = self.streams.give_up_cut(name);
            self.push(name, &text);
        }
        self.flush();
    }

    fn flush(&mut self) {
        let all = self.streams.all();
        self.send(all);
    }

    fn send(&self, events: Vec<Event>) {
        events.into_iter().for_each(|event| (self.events)(event));
    }
}
