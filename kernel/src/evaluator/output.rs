//! What comes out of the learner's process, gathered: text in few and whole pieces, and a record of how the running cell fares.
//!
//! One thread reads the output channel for the life of the kernel, between cells too. Text is handed on at the latest after [`STREAM_DELAY`]; a slow
//! notebook slows this thread, the thread the channel, the channel the supervisor, and the supervisor the learner's prints: nothing piles up.

use super::backtrace;
use super::budget::Budget;
use super::channel::{CellEnd, Death, Packet, Receiver};
use super::copies::{self, NoSnapshot, OutOfMemory, Takeover};
use super::deadlock::{self, Report};
use super::live::Live;
use super::sources::{Sources, build_number};
use super::stdin::{Asked, Stdin};
use super::told::{self, Parts, Told};
use crate::cell::{Event, JobId, MimeBundle, StreamName};
use serde_json::Value;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest that text waits for more of it. 20 ms: below what the eye notices; a burst of 20,000 prints lasting 1.6 s leaves as 80 messages.
const STREAM_DELAY: Duration = Duration::from_millis(20);
/// Text of this length does not wait.
const STREAM_BYTES: usize = 16 * 1024;

/// How many deadlocks of one cell are kept.
const MOST_DEADLOCKS: usize = 16;

/// How many of the latest cells are known by the worker's own numbers, so that displays of their tasks find them.
const CELLS_KNOWN: usize = 256;

/// Where events go.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// How the cell that runs, or the last that did, has fared so far.
#[derive(Debug, Default)]
pub struct Record {
    /// The worker was told to run it.
    pub begun: bool,
    /// When.
    pub began: Option<Instant>,
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
    /// No copy was made at its end.
    pub no_snapshot: Option<NoSnapshot>,
    /// The last line on standard error that was not empty.
    pub last_error_line: String,
}

/// A panic as the prelude's hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The name of the task.
    pub task: String,
    /// Whether it is the thread that evaluates cells.
    pub is_main: bool,
    /// Its message.
    pub message: String,
    /// Which shared object it happened in, and at which line of the generated file.
    pub build: u32,
    /// Line in the generated file, from 1.
    pub line: u32,
}

impl Panic {
    fn parse(json: &str) -> Option<Panic> {
        let mark: Value = serde_json::from_str(json).ok()?;
        let number = |name: &str| {
            mark[name]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        (mark["mark"] == "panic").then(|| Panic {
            task: mark["task"]
                .as_str()
                .unwrap_or("a thread without a name")
                .to_owned(),
            is_main: mark["main"].as_bool().unwrap_or(false),
            message: mark["message"].as_str().unwrap_or_default().to_owned(),
            build: number("build"),
            line: number("line"),
        })
    }
}

/// How a `check!` came out.
struct Check {
    failure: Option<FailedCheck>,
    observation: Option<u32>,
}

/// A `check!` that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCheck {
    /// What was seen and what was wanted.
    pub message: String,
    /// The shared object and the line that it stands in.
    pub build: u32,
    /// From 1.
    pub line: u32,
}

impl Check {
    fn parse(json: &str) -> Option<Check> {
        let mark: Value = serde_json::from_str(json).ok()?;
        if mark["mark"] != "check" {
            return None;
        }
        let number = |name: &str| {
            mark[name]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        let failed = mark["ok"] == false;
        let failure = failed.then(|| FailedCheck {
            message: mark["message"].as_str().unwrap_or_default().to_owned(),
            build: number("build"),
            line: number("line"),
        });
        let observation = Some(number("observation")).filter(|&run| run != 0);
        Some(Check {
            failure,
            observation,
        })
    }
}

/// A stack that was too small, told by the signal handler that then ended the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// Whose it was.
    pub task: Option<String>,
    /// How large, for a green task; 0 for a thread.
    pub bytes: u64,
}

impl Overflow {
    fn parse(json: &str) -> Option<Overflow> {
        let mark: Value = serde_json::from_str(json).ok()?;
        (mark["mark"] == "overflow").then(|| Overflow {
            task: mark["task"].as_str().map(str::to_owned),
            bytes: mark["bytes"].as_u64().unwrap_or(0),
        })
    }
}

/// What the evaluator and the reading thread both touch.
#[derive(Debug, Default)]
pub struct Running {
    job: Option<JobId>,
    record: Record,
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

    /// Output belongs to this job from now on.
    pub fn begin(&self, job: JobId) {
        *self.lock() = Running {
            job: Some(job),
            record: Record::default(),
        };
    }

    /// The job is over; gives its record. Call it when a sync has come back.
    pub fn end(&self) -> Record {
        std::mem::take(&mut *self.lock()).record
    }

    /// Whether the worker runs the learner's code at this moment (and not the compiler).
    pub fn is_in_worker(&self) -> bool {
        let running = self.lock();
        running.job.is_some() && running.record.begun && running.record.end.is_none()
    }

    /// Whether a cell's job is under way and the worker has not been told of it yet.
    pub fn is_compiling(&self) -> bool {
        let running = self.lock();
        running.job.is_some() && !running.record.begun
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
    pub waiting: Waiting,
    /// Displays that are under way.
    pub parts: Parts,
    /// What the cell whose output comes may still show, and which one it is.
    pub budget: (Budget, Option<JobId>),
    /// How many bytes a cell may show; `u64::MAX`: any number.
    pub limit: Arc<AtomicU64>,
    /// The latest cells by the worker's numbers, oldest first.
    pub cells: VecDeque<(u64, JobId)>,
}

/// Text that waits for more, and the ends of characters cut in two.
#[derive(Debug, Default)]
pub struct Waiting {
    text: Option<Text>,
    cut: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Text {
    job: Option<JobId>,
    name: StreamName,
    text: String,
    deadline: Instant,
}

impl Reader {
    /// Reads until the channel fails, which is when the kernel ends.
    pub fn run(mut self) {
        loop {
            let patience = self
                .waiting
                .text
                .as_ref()
                .map(|text| text.deadline.saturating_duration_since(Instant::now()));
            // To a socket, a timeout of zero would mean for ever.
            if patience == Some(Duration::ZERO) {
                self.flush();
                continue;
            }
            match self.receiver.receive(patience) {
                Ok(Some(packet)) => self.take(packet),
                Ok(None) => self.flush(),
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
                {
                    let record = &mut self.shared.lock().record;
                    record.begun = true;
                    record.began = Some(Instant::now());
                }
                self.live.begin();
            }
            Packet::Stdout(bytes) => self.text(StreamName::Stdout, &bytes),
            Packet::Stderr(bytes) => self.text(StreamName::Stderr, &bytes),
            Packet::Content(mime, content) => self.value(mime, &content),
            Packet::Mark(json) => self.mark(&json),
            Packet::End(end) => {
                let caught = {
                    let mut running = self.shared.lock();
                    running.record.end = Some(end);
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
                self.shared.lock().record.death = Some(death);
                // The next worker counts its cells, and its messages, from the beginning.
                self.parts.clear();
                self.cells.clear();
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
            let job = self.shared.lock().job;
            self.cells.retain(|known| known.0 != cell);
            if self.cells.len() == CELLS_KNOWN {
                self.cells.pop_front();
            }
            self.cells.extend(job.map(|job| (cell, job)));
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
        } else if let Some(none) = NoSnapshot::parse(json) {
            self.shared.lock().record.no_snapshot = Some(none);
        } else if let Some(out) = OutOfMemory::parse(json) {
            self.shared.lock().record.out_of_memory = Some(out);
        } else {
            tracing::warn!(json, "a mark that is none of the prelude's");
        }
    }

    fn text(&mut self, name: StreamName, bytes: &[u8]) {
        let text = decode(&mut self.waiting.cut[name as usize], bytes, false);
        if name == StreamName::Stderr
            && let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty())
        {
            self.shared.lock().record.last_error_line = line.trim().to_owned();
        }
        self.look_whose_output();
        let shown = self.budget.0.take(&text).to_owned();
        self.push(name, &shown);
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
        if let Some(text) = self.budget.0.account() {
            self.flush();
            (self.events)(Event::Stream {
                job: self.budget.1,
                name: StreamName::Stdout,
                text,
            });
        }
    }

    fn push(&mut self, name: StreamName, text: &str) {
        if text.is_empty() {
            return;
        }
        let (job, values) = {
            let mut running = self.shared.lock();
            (running.job, std::mem::take(&mut running.record.values))
        };
        if !values.is_empty()
            || self
                .waiting
                .text
                .as_ref()
                .is_some_and(|waiting| (waiting.name, waiting.job) != (name, job))
        {
            self.flush();
        }
        self.show(job, values);
        let deadline = Instant::now() + STREAM_DELAY;
        let waiting = self.waiting.text.get_or_insert(Text {
            job,
            name,
            text: String::new(),
            deadline,
        });
        waiting.text.push_str(text);
        if waiting.text.len() >= STREAM_BYTES {
            self.flush();
        }
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
        if let Told::Backtrace { main, text } = told {
            let frames = backtrace::frames(&text);
            if main {
                self.shared.lock().record.frames = frames;
            } else if !frames.is_empty() {
                self.push(
                    StreamName::Stderr,
                    &format!("  in {}\n", frames.join("\n  in ")),
                );
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
        let job_of = |cell: u64| {
            let known = self.cells.iter().find(|known| known.0 == cell);
            known.map_or(running, |known| Some(known.1))
        };
        if let Told::Clear { cell, wait } = told {
            let job = job_of(cell);
            let clear = || (self.events)(Event::ClearOutput { job, wait });
            return if job == running {
                self.live.clear(clear)
            } else {
                clear()
            };
        }
        (self.events)(match told {
            Told::Value(_) | Told::Backtrace { .. } | Told::Clear { .. } => {
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
        self.push(
            StreamName::Stderr,
            &format!(
                "`{}` panicked{place}{more}\n  {}\n",
                panic.task,
                panic.message.replace('\n', "\n  ")
            ),
        );
    }

    /// Hands on what waits, cut characters included.
    fn end_of_text(&mut self) {
        for name in [StreamName::Stdout, StreamName::Stderr] {
            let text = decode(&mut self.waiting.cut[name as usize], b"", true);
            self.push(name, &text);
        }
        self.flush();
    }

    fn flush(&mut self) {
        if let Some(Text {
            job, name, text, ..
        }) = self.waiting.text.take()
        {
            (self.events)(Event::Stream { job, name, text });
        }
    }
}

/// The number by which the worker knows the cell that it begins.
fn begun_cell(json: &str) -> Option<u64> {
    let mark: Value = serde_json::from_str(json).ok()?;
    (mark["mark"] == "begin").then(|| mark["cell"].as_u64())?
}

/// What a cell asks, and whether the answer is not to be shown.
fn question(json: &str) -> Option<(String, bool)> {
    let mark: Value = serde_json::from_str(json).ok()?;
    (mark["mark"] == "input").then(|| {
        let prompt = mark["prompt"].as_str().unwrap_or_default();
        (prompt.to_owned(), mark["password"] == true)
    })
}

/// Whole characters of `bytes`; a character that is cut at the end waits in `cut` for its rest, and bytes that are no UTF-8 become U+FFFD.
fn decode(cut: &mut Vec<u8>, bytes: &[u8], at_end: bool) -> String {
    cut.extend_from_slice(bytes);
    let mut text = String::with_capacity(cut.len());
    let mut rest = &cut[..];
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = b"";
                break;
            }
            Err(error) => {
                let (valid, bad) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                match error.error_len() {
                    None if !at_end => {
                        rest = bad;
                        break;
                    }
                    len => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &bad[len.unwrap_or(bad.len())..];
                    }
                }
            }
        }
    }
    *cut = rest.to_vec();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_however_it_is_cut() {
        let bytes = "ofen: größe 炉 \u{1f35e}!".as_bytes();
        for at in 0..=bytes.len() {
            let mut cut = Vec::new();
            let text =
                decode(&mut cut, &bytes[..at], false) + &decode(&mut cut, &bytes[at..], false);
            assert_eq!(text.as_bytes(), bytes, "cut at {at}");
            assert!(cut.is_empty());
        }
        let mut cut = Vec::new();
        assert_eq!(decode(&mut cut, b"a\xffb\xe7", false), "a\u{fffd}b");
        assert_eq!(decode(&mut cut, b"", true), "\u{fffd}");
    }

    #[test]
    fn marks_that_are_no_panics_are_none() {
        for odd in ["", "{}", "[1]", r#"{"mark":"end"}"#] {
            assert_eq!(Panic::parse(odd), None, "{odd}");
            assert_eq!(Overflow::parse(odd), None, "{odd}");
            assert!(Check::parse(odd).is_none(), "{odd}");
        }
        assert_eq!(
            Overflow::parse(r#"{"mark":"overflow","task":"ada","bytes":262144}"#),
            Some(Overflow {
                task: Some("ada".into()),
                bytes: 262_144
            })
        );
        let failed = r#"{"mark":"check","ok":false,"message":"gave 1","build":7,"line":3}"#;
        assert_eq!(
            Check::parse(failed).and_then(|check| check.failure),
            Some(FailedCheck {
                message: "gave 1".into(),
                build: 7,
                line: 3
            })
        );
        let passed = Check::parse(r#"{"mark":"check","ok":true}"#);
        assert!(passed.is_some_and(|check| check.failure.is_none()));
        let panic = Panic::parse(
            r#"{"mark":"panic","task":"ada","main":false,"message":"burnt","build":7,"line":12,"column":5}"#,
        );
        assert_eq!(
            panic,
            Some(Panic {
                task: "ada".into(),
                is_main: false,
                message: "burnt".into(),
                build: 7,
                line: 12
            })
        );
    }
}
