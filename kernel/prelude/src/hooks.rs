//! What the kernel calls in the learner's process around each cell, and what is told about a panic.
//!
//! The worker's loop loads this library and calls the two functions by name. They tell the kernel what they know in marks: one line of JSON, written
//! with one system call to the descriptor in `THREADBOOK_MARK_FD`, behind the text in `THREADBOOK_MARK_PREFIX` where the kernel gave one. Nothing here
//! unwinds into the loop.

use std::backtrace::Backtrace;
use std::cell::Cell;
use std::ffi::c_void;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::os::fd::RawFd;
use std::panic::{PanicHookInfo, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use threadbook_timeline::format::{Kind, MAIN_TASK};

use crate::check::CheckFailed;
use crate::facts;
use crate::joined;
use crate::json;
use crate::recorder;
use crate::rt::{self, Lost, Task};
use crate::snapshot::{self, Left, TakenOver};
use crate::wait::Words;
use crate::words;

const MARK_FD: &str = "THREADBOOK_MARK_FD";
const MARK_PREFIX: &str = "THREADBOOK_MARK_PREFIX";

/// How long a mark may be in bytes. A pipe takes up to 4096 at once without another writer's bytes in between.
const LONGEST_MARK: usize = 3500;
/// How long a message may be in a mark as it stands there, escapes and all.
const LONGEST_MESSAGE: usize = 2800;

/// How long the message of a check may be in a mark, which holds its call and the words of a fact besides.
const LONGEST_CHECK: usize = 2000;

thread_local! {
    /// How often the evaluating thread panicked in this cell.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

thread_local! {
    /// The learner's line that the panic which comes now is about, where that is not the one that the library's code stands in.
    static BLAMED: Cell<Option<recorder::Here>> = const { Cell::new(None) };
}

/// Panics with `message`, said of `place`: for what is found by a destructor, which no caller's line reaches.
pub fn panic_at(place: recorder::Here, message: &str) -> ! {
    if !in_a_kernel() {
        panic!("{message} (at {place})");
    }
    /// The learner's own hook may not ask, and the next panic is about another line.
    struct Blames;
    impl Drop for Blames {
        fn drop(&mut self) {
            BLAMED.set(None);
        }
    }
    let _until_told = Blames;
    BLAMED.set(Some(place));
    panic!("{message}");
}

/// Begins a cell: attaches the trace, makes the calling thread the main task, sets the panic hook, records the cell's begin.
///
/// Gives back what it was given: evcxr's store of variables. The hook is set anew each time, so that one that the learner set lasts for its cell.
#[unsafe(no_mangle)]
pub extern "C" fn threadbook_cell_begin(store: *mut c_void) -> *mut c_void {
    let begun = catch_unwind(|| {
        recorder::become_task(MAIN_TASK, None);
        rt::begin_cell();
        recorder::recalibrate();
        set_hook();
        PANICS.set(0);
        joined::forget();
        if let Some(socket) = snapshot::socket_to_supervisor() {
            rt::listen_for_interrupts(socket);
        }
        // By this number the kernel finds the cell of a task that outlives it.
        write_mark(|line| write!(line, r#"{{"mark":"begin","cell":{}}}"#, rt::cell()));
        recorder::record(Kind::CellBegin, 0, 0, 0, None);
        recorder::record(Kind::NameTask, MAIN_TASK, 0, recorder::intern("main"), None);
    });
    // What went wrong was told by the panic hook; the cell runs without being recorded rather than not at all.
    drop(begun);
    store
}

/// Ends a cell: records its end, writes out what it printed without a new line, leaves a copy of the process, and tells the kernel that all is out.
///
/// Gives back what it was given: also in the copy, when that takes over, which is then told instead.
#[unsafe(no_mangle)]
pub extern "C" fn threadbook_cell_end(store: *mut c_void) -> *mut c_void {
    let ended = catch_unwind(|| {
        recorder::record(Kind::CellEnd, 0, 0, 0, None);
        let mut stdout = std::io::stdout().lock();
        // Under the lock: see `print`.
        rt::end_cell();
        // Nobody may be reading; the mark below then fails in the same way.
        let _ = stdout.flush();
    });
    drop(ended);
    match catch_unwind(snapshot::leave_one) {
        Ok(Left::TookOver(taken_over)) => {
            tell_takeover(&taken_over);
            return store;
        }
        Ok(Left::TooLarge(bytes)) => tell_no_snapshot(bytes, None),
        Ok(Left::Failed(why)) => tell_no_snapshot(0, Some(&why)),
        // What went wrong was told by the panic hook.
        Ok(Left::One | Left::NotWanted) | Err(_) => {}
    }
    write_mark(|line| write!(line, r#"{{"mark":"end","panics":{}}}"#, PANICS.get()));
    store
}

/// Tells that this process is a copy that took over, and what is not in it.
fn tell_takeover(taken_over: &TakenOver) {
    let Lost { names, unnamed } = &taken_over.tasks;
    write_mark(|line| {
        let (threads, sockets) = (taken_over.threads, taken_over.sockets);
        write!(
            line,
            r#"{{"mark":"takeover","unnamed":{unnamed},"threads":{threads},"sockets":{sockets},"named":{},"tasks":["#,
            names.len()
        )?;
        for (at, name) in names.iter().take(MOST_LOST_NAMES).enumerate() {
            if at > 0 {
                line.write_str(",")?;
            }
            line.write_json(name, 80)?;
        }
        line.write_str("]}")
    });
}

/// How many names of lost tasks are told; the number of all of them is, too.
const MOST_LOST_NAMES: usize = 24;

/// Tells that there is no copy of the process as it is now: it is too large, or `why`.
fn tell_no_snapshot(bytes: u64, why: Option<&std::io::Error>) {
    write_mark(|line| {
        let most = snapshot::MOST_BYTES;
        write!(
            line,
            r#"{{"mark":"no snapshot","bytes":{bytes},"most":{most},"why":"#
        )?;
        match why {
            Some(why) => line.write_json(&why.to_string(), 400)?,
            None => line.write_str("null")?,
        }
        line.write_str("}")
    });
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send>;

fn set_hook() {
    static BEFORE: OnceLock<Hook> = OnceLock::new();
    // The one that was there first is kept; a later one is ours or the learner's, and ends here.
    let last = std::panic::take_hook();
    let before = BEFORE.get_or_init(|| last);
    std::panic::set_hook(Box::new(|panic| {
        // A question to facts that had no answer: who asked says so.
        if facts::asked_quietly() {
            return;
        }
        note(panic);
        if mark_target().is_none() {
            before(panic);
        }
    }));
}

/// Records a panic and tells the kernel; with the backtrace only where the learner asked for it: it takes milliseconds.
fn note(panic: &PanicHookInfo<'_>) {
    let failed_check = panic.payload().downcast_ref::<CheckFailed>();
    let failed_check = failed_check.map(ToString::to_string);
    let message = failed_check
        .as_deref()
        .or(panic.payload_as_str())
        .unwrap_or("a panic without words");
    let is_main = recorder::current_task() == MAIN_TASK;
    if is_main {
        PANICS.set(PANICS.get().saturating_add(1));
    }
    // The place of a panic is a constant of the library that panicked, though its type does not say so.
    // SAFETY: `Location`s are made by the compiler alone, as statics; libraries of cells are never unloaded.
    let place: Option<recorder::Here> = panic
        .location()
        .map(|place| unsafe { &*std::ptr::from_ref(place).cast() });
    let place = BLAMED.take().or(place);
    let told = joined::in_words(message, place);
    let message = told.as_deref().unwrap_or(message);
    let remark = recorder::intern_remark(&words::plain(message));
    recorder::record(Kind::Panic, 0, 0, remark, place);
    rt::current().tell_panic();
    write_mark(|line| {
        // Not the name of the thread: that of a green task is a worker's, which carries others too.
        let current = rt::current();
        line.write_str(r#"{"mark":"panic","task":"#)?;
        match current.name() {
            Some(name) => line.write_json(name, 200)?,
            None => line.write_str("null")?,
        }
        let (id, cell) = (current.id(), current.cell());
        write!(
            line,
            r#","id":{id},"main":{is_main},"cell":{cell},"message":"#
        )?;
        line.write_json(message, LONGEST_MESSAGE)?;
        if let Some(place) = place {
            let (build, row, column) = (recorder::build_of(place), place.line(), place.column());
            write!(line, r#","build":{build},"line":{row},"column":{column}"#)?;
        }
        line.write_str("}")
    });
    // A green task's stack is too small for it, and has the runtime below its first frame.
    if wants_backtrace() && !rt::current().is_green() {
        let cell = rt::current().cell();
        let mut told = format!(r#"{{"kind":"backtrace","main":{is_main},"cell":{cell},"text":"#);
        json::push_string(&mut told, &Backtrace::force_capture().to_string());
        told.push('}');
        tell_long(&told);
    }
}

/// Whether the learner has said `:backtrace full`, which the kernel puts into the environment.
fn wants_backtrace() -> bool {
    in_a_kernel() && std::env::var_os("THREADBOOK_BACKTRACE").is_some_and(|wanted| wanted == "full")
}

/// A sentence of a report.
pub type Sentence = Vec<Words>;

/// How long the sentences of a report may be together, so that it fits into a mark.
const LONGEST_SENTENCES: usize = 2400;

/// Makes ready what a signal handler may use.
pub fn prepare() {
    let _ = mark_target();
}

/// Tells that a task needs a larger stack than it has: `bytes`, or 0 where that is the thread's own business. Called by a signal handler.
pub fn tell_overflow(task: Option<&Task>, bytes: usize) {
    let mut line = Line {
        bytes: [0; LONGEST_MARK],
        len: 0,
    };
    let name = task.and_then(Task::name);
    let written = match mark_target() {
        Some((_, prefix)) => line
            .write_str(prefix)
            .and_then(|()| line.write_str(r#"{"mark":"overflow","task":"#))
            .and_then(|()| match name {
                Some(name) => line.write_json(name, 200),
                None => line.write_str("null"),
            })
            .and_then(|()| writeln!(line, r#","bytes":{bytes}}}"#)),
        None => writeln!(
            line,
            "threadbook: `{}` has overflowed its stack",
            name.unwrap_or("a task without a name")
        ),
    };
    if written.is_ok() {
        line.send(mark_target().map_or(2, |target| target.0));
    }
}

/// Tells of a deadlock: to the kernel by a mark, elsewhere on standard error. `stuck`: how many tasks are in it; `names`: those that have one.
pub fn tell_deadlock(ring: bool, sentences: &[Sentence], stuck: usize, names: &[(u32, &str)]) {
    if mark_target().is_none() {
        let heading = match (ring, stuck) {
            (true, 1) => "deadlock: a task waits for itself",
            (true, _) => "deadlock: these tasks wait for each other, in a ring",
            (false, _) => "deadlock: every task waits, and none is left that could wake another",
        };
        let name = |task: u32| {
            names
                .iter()
                .find(|known| known.0 == task)
                .map(|known| known.1)
        };
        let told: Vec<String> = sentences
            .iter()
            .map(|sentence| plain(sentence, &name))
            .collect();
        say(&format!("{heading}\n  {}", told.join("\n  ")));
        return;
    }
    write_mark(|line| {
        write!(line, r#"{{"mark":"deadlock","ring":{ring},"#)?;
        line.write_report(sentences, stuck, names)
    });
}

/// Tells the kernel what the tasks of a cell waited for that was interrupted: `stuck` of them did.
pub fn tell_interrupt(sentences: &[Sentence], stuck: usize, names: &[(u32, &str)]) {
    write_mark(|line| {
        line.write_str(r#"{"mark":"interrupted","#)?;
        line.write_report(sentences, stuck, names)
    });
}

/// Writes a line to standard error. Not by `eprintln!`: a task that waits may have locked that, and a closed one would be a panic in the middle of a report.
pub fn say(text: &str) {
    let mut rest = text.as_bytes().to_vec();
    rest.push(b'\n');
    while !rest.is_empty() {
        // SAFETY: the bytes are there to be read.
        let written = unsafe { libc::write(2, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(0) => return,
            Ok(written) => _ = rest.drain(..written.min(rest.len())),
            Err(_) => {
                let why = std::io::Error::last_os_error().kind();
                if why != std::io::ErrorKind::Interrupted {
                    return;
                }
            }
        }
    }
}

/// A sentence for people who have the source files.
fn plain<'a>(sentence: &Sentence, name: &impl Fn(u32) -> Option<&'a str>) -> String {
    let word = |word: &Words| match word {
        Words::Text(text) => text.clone(),
        Words::Task(task) => match name(*task) {
            Some(name) => format!("`{name}`"),
            None => format!("task {task}"),
        },
        Words::Object(_, called) => called.clone(),
        Words::At(here) => here.to_string(),
    };
    sentence.iter().map(word).collect()
}

/// How a check came out.
pub struct Checked<'a> {
    /// Whether all was as wanted.
    pub ok: bool,
    /// The call, as it was written.
    pub call: &'a str,
    /// The run that was not, or else how many there were.
    pub run: u32,
    /// How many runs there are at most.
    pub of: u32,
    /// What was wrong: `result`, `fact`, `panic` or `deadlock`; empty when nothing was.
    pub why: &'static str,
    /// The words of the fact that did not hold.
    pub fact: Option<&'static str>,
    /// What was seen and what was wanted, in words.
    pub message: &'a str,
    /// The number of the run's `ObserveBegin`.
    pub observation: u32,
    /// Where the check stands.
    pub here: recorder::Here,
}

/// Tells the kernel how a check came out. Elsewhere it does nothing.
pub fn tell_check(checked: &Checked<'_>) {
    write_mark(|line| {
        write!(line, r#"{{"mark":"check","ok":{},"call":"#, checked.ok)?;
        line.write_json(checked.call, 400)?;
        write!(
            line,
            r#","run":{},"of":{},"observation":{}"#,
            checked.run, checked.of, checked.observation
        )?;
        if !checked.ok {
            write!(line, r#","why":"{}","fact":"#, checked.why)?;
            match checked.fact {
                Some(fact) => line.write_json(fact, 400)?,
                None => line.write_str("null")?,
            }
            line.write_str(r#","message":"#)?;
            line.write_json(checked.message, LONGEST_CHECK)?;
        }
        let (build, row) = (recorder::build_of(checked.here), checked.here.line());
        write!(line, r#","build":{build},"line":{row}}}"#)
    });
}

/// Whether a kernel reads marks.
pub fn in_a_kernel() -> bool {
    mark_target().is_some()
}

/// Where marks go: the descriptor, and what stands before each; `None` outside of a kernel.
fn mark_target() -> Option<&'static (RawFd, String)> {
    static TARGET: OnceLock<Option<(RawFd, String)>> = OnceLock::new();
    let read = || {
        let fd = std::env::var(MARK_FD).ok()?.parse().ok()?;
        // The programs that a cell starts have no marks to make.
        // SAFETY: sets a flag of a descriptor; where it is not open, nothing happens.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        Some((fd, std::env::var(MARK_PREFIX).unwrap_or_default()))
    };
    TARGET.get_or_init(read).as_ref()
}

/// Writes a mark whose JSON `fill` writes.
fn write_mark(fill: impl FnOnce(&mut Line) -> fmt::Result) {
    let Some((fd, prefix)) = mark_target() else {
        return;
    };
    let mut line = Line {
        bytes: [0; LONGEST_MARK],
        len: 0,
    };
    let filled = line
        .write_str(prefix)
        .and_then(|()| fill(&mut line))
        .and_then(|()| line.write_str("\n"));
    if filled.is_err() {
        // Longer than a mark may be, which only a prefix of thousands of bytes can cause: half a mark would be worse than none.
        return;
    }
    line.send(*fd);
}

/// How much of a long message one of its marks carries, in bytes.
const PART: usize = 3000;

/// Tells the kernel something longer than a mark: `message`, which holds no new line, goes in as many marks as it needs. It stands behind all that was
/// printed before, and what other threads print meanwhile may stand between its marks, but never inside one. Elsewhere nothing happens.
///
/// Blocks as a print does, while the kernel does not read.
pub fn tell_long(message: &str) {
    static LAST: AtomicU64 = AtomicU64::new(0);
    if mark_target().is_none() {
        return;
    }
    debug_assert!(!message.contains('\n'), "a mark is one line");
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    // What was printed before is out before; nobody may be reading, and then the marks fail in the same way.
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.flush();
    let mut rest = message;
    loop {
        let mut end = rest.len().min(PART);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, later) = rest.split_at(end);
        let last = later.is_empty();
        write_mark(|line| {
            write!(
                line,
                r#"{{"mark":"part","of":{number},"last":{last}}} {part}"#
            )
        });
        if last {
            return;
        }
        rest = later;
    }
}

/// Tells the kernel that this task waits for an answer to `prompt`, after what was printed before. Elsewhere nothing happens.
pub fn tell_question(prompt: &str, hidden: bool) {
    let _ = std::io::stdout().flush();
    write_mark(|line| {
        line.write_str(r#"{"mark":"input","prompt":"#)?;
        line.write_json(prompt, LONGEST_MESSAGE)?;
        write!(line, r#","password":{hidden}}}"#)
    });
}

/// A mark while it is written: on the stack, since a panic may come from a lack of memory.
struct Line {
    bytes: [u8; LONGEST_MARK],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let place = self
            .bytes
            .get_mut(self.len..self.len + text.len())
            .ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl Line {
    /// Writes the line to a descriptor with one system call.
    fn send(&self, fd: RawFd) {
        loop {
            // SAFETY: the first `len` bytes of the line are there to be read.
            let written = unsafe { libc::write(fd, self.bytes.as_ptr().cast(), self.len) };
            if written >= 0
                || std::io::Error::last_os_error().kind() != std::io::ErrorKind::Interrupted
            {
                return;
            }
        }
    }

    /// Writes the last fields of a report: as many sentences as fit.
    fn write_report(
        &mut self,
        sentences: &[Sentence],
        stuck: usize,
        names: &[(u32, &str)],
    ) -> fmt::Result {
        write!(self, r#""stuck":{stuck},"sentences":["#)?;
        let begin = self.len;
        for (at, sentence) in sentences.iter().enumerate() {
            let before = self.len;
            if at > 0 {
                self.write_str(",")?;
            }
            let written = self.write_sentence(sentence, names);
            if written.is_err() || self.len - begin > LONGEST_SENTENCES {
                // The rest is counted by `stuck`; a report of one sentence always fits.
                self.len = before;
                break;
            }
        }
        self.write_str("]}")
    }

    /// Writes a sentence as a JSON array: text as strings, `{"task":5,"name":"ada"}`, `{"object":7,"name":"`till`"}`, `{"build":3,"line":9}`.
    fn write_sentence(&mut self, sentence: &Sentence, names: &[(u32, &str)]) -> fmt::Result {
        self.write_str("[")?;
        for (at, word) in sentence.iter().enumerate() {
            if at > 0 {
                self.write_str(",")?;
            }
            match word {
                Words::Text(text) => self.write_json(text, 400)?,
                Words::Task(task) => {
                    write!(self, r#"{{"task":{task}"#)?;
                    if let Some((_, name)) = names.iter().find(|known| known.0 == *task) {
                        self.write_str(r#","name":"#)?;
                        self.write_json(name, 80)?;
                    }
                    self.write_str("}")?;
                }
                Words::Object(object, called) => {
                    write!(self, r#"{{"object":{object},"name":"#)?;
                    self.write_json(called, 80)?;
                    self.write_str("}")?;
                }
                Words::At(here) => {
                    let (build, line) = (recorder::build_of(here), here.line());
                    write!(self, r#"{{"build":{build},"line":{line}}}"#)?;
                }
            }
        }
        self.write_str("]")
    }

    /// Writes a JSON string, cut off with an ellipsis where it would become longer than `longest` bytes.
    fn write_json(&mut self, text: &str, longest: usize) -> fmt::Result {
        self.write_str("\"")?;
        let end = self.len + longest;
        for char in text.chars() {
            // No character becomes longer than the six bytes of an escape.
            if self.len + 6 > end {
                self.write_str("…")?;
                break;
            }
            json::write_char(self, char)?;
        }
        self.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str, longest: usize) -> String {
        let mut line = Line {
            bytes: [0; LONGEST_MARK],
            len: 0,
        };
        line.write_json(text, longest).expect("shorter than a mark");
        String::from_utf8(line.bytes[..line.len].to_vec()).expect("whole characters")
    }

    #[test]
    fn strings_are_escaped_and_cut_between_characters() {
        for (text, longest, want) in [
            ("", 6, r#""""#),
            ("burnt", 20, r#""burnt""#),
            ("a \"b\" \\ c", 30, r#""a \"b\" \\ c""#),
            (
                "two\nlines\tand\u{1b}[31m",
                40,
                r#""two\nlines\tand\u001b[31m""#,
            ),
            ("\u{7f}", 6, r#""\u007f""#),
            ("öööööööööö", 20, r#""öööööööö…""#),
        ] {
            assert_eq!(json(text, longest), want, "{text:?}");
        }
        assert!(json(&"\u{1}".repeat(5000), LONGEST_MESSAGE).len() <= LONGEST_MESSAGE + 5);
    }
}
