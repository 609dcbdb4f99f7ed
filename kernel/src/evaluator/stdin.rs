//! Standard input of the learner's process: whoever reads there is answered by the person in front of the notebook.
//!
//! Descriptor 0 of the worker is a FIFO in the kernel's work folder. While a cell runs, the kernel holds its writing end, so that a read waits; between
//! cells nobody does, so that a read finds the end. That somebody waits in a read, the system knows: `/proc/<pid>/task/<tid>/syscall` names the system
//! call of a thread that waits, and its descriptor. A thread of the kernel looks there while a cell runs. No guess is in it: a thread that waits to read
//! from an empty FIFO has asked. `input()` does not wait to be seen; it says by a mark that it asks, and with what words.

use super::channel::{Channel, Packet};
use super::context::WorkerHandle;
use crate::cell::{Event, JobId};
use nix::sys::stat::Mode;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often is looked whether a cell waits for input. A look at a process of four threads takes some 60 us.
const PAUSE: Duration = Duration::from_millis(50);
/// Of a core, what looking may cost: one part in so many, also with thousands of threads.
const SHARE: u32 = 50;

/// The kernel's end of the worker's standard input. Clones are the same.
#[derive(Debug, Clone)]
pub struct Stdin {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Keeps the FIFO's content while no worker has it open; reads what a cell left unread.
    reader: File,
    cell: Option<Cell>,
    ends: bool,
}

#[derive(Debug)]
struct Cell {
    job: JobId,
    /// Whether the client that sent the cell can ask a person.
    may_ask: bool,
    /// The writing end; `None`: readers find the end of the file.
    writer: Option<File>,
    /// A question is out.
    asked: bool,
    /// What of an answer the FIFO had no room for.
    rest: Vec<u8>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// It goes to the person.
    Ask(Box<Event>),
    /// Nobody can be asked: the reader finds the end of the file.
    Nobody,
    /// It is out already, or no cell runs.
    Nothing,
}

impl Stdin {
    /// Makes the FIFO at `path`.
    ///
    /// # Errors
    /// When the folder does not take one.
    pub fn new(path: PathBuf) -> io::Result<Stdin> {
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        Ok(Stdin {
            inner: Arc::new(Inner {
                path,
                state: Mutex::new(State {
                    reader,
                    cell: None,
                    ends: false,
                }),
                changed: Condvar::new(),
            }),
        })
    }

    /// Where the worker opens it.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A cell is about to run. What an earlier one left unread is gone.
    pub fn begin(&self, job: JobId, may_ask: bool) {
        let mut state = self.inner.lock();
        let mut left = [0; 4096];
        while state.reader.read(&mut left).is_ok_and(|len| len > 0) {}
        let writer = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.inner.path);
        if let Err(error) = &writer {
            tracing::warn!(%error, "cells find their standard input at its end");
        }
        state.cell = Some(Cell {
            job,
            may_ask,
            writer: writer.ok(),
            asked: false,
            rest: Vec::new(),
        });
        self.inner.changed.notify_all();
    }

    /// The cell is over: who still reads finds the end.
    pub fn end(&self) {
        self.inner.lock().cell = None;
    }

    /// Somebody asks: `input()`, or a read that waits.
    pub fn ask(&self, prompt: &str, password: bool) -> Asked {
        let mut state = self.inner.lock();
        match &mut state.cell {
            Some(cell) if cell.asked => Asked::Nothing,
            Some(cell) if cell.may_ask => {
                cell.asked = true;
                Asked::Ask(Box::new(Event::InputRequest {
                    job: cell.job,
                    prompt: prompt.to_owned(),
                    password,
                }))
            }
            Some(cell) => {
                cell.writer = None;
                Asked::Nobody
            }
            None => Asked::Nothing,
        }
    }

    /// The person's answer, without its new line. An answer to no question is nothing.
    pub fn answer(&self, text: &str) {
        let mut state = self.inner.lock();
        if let Some(cell) = state.cell.as_mut().filter(|cell| cell.asked) {
            cell.asked = false;
            cell.rest.extend_from_slice(text.as_bytes());
            cell.rest.push(b'\n');
            cell.write();
        }
    }

    /// Ends the thread that looks.
    pub fn close(&self) {
        self.inner.lock().ends = true;
        self.inner.changed.notify_all();
    }

    /// Looks, while a cell runs, whether its process waits to read, and says so by a mark of its own in `channel`: behind what was printed before.
    /// Returns after [`close`](Stdin::close). Where the system does not let us look, such a read waits for an interrupt, and `input()` works.
    pub fn watch(&self, worker: &Mutex<Option<WorkerHandle>>, channel: &Channel) {
        let mut pause = PAUSE;
        loop {
            let mut state = self.inner.lock();
            while state.cell.is_none() && !state.ends {
                state = self.wait(state);
            }
            if state.ends {
                return;
            }
            drop(state);
            std::thread::sleep(pause);
            {
                let mut state = self.inner.lock();
                let Some(cell) = &mut state.cell else {
                    continue;
                };
                cell.write();
                if cell.asked || cell.writer.is_none() || !cell.rest.is_empty() {
                    continue;
                }
            }
            let supervisor = worker
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .and_then(WorkerHandle::supervisor);
            let Some(supervisor) = supervisor else {
                continue;
            };
            let began = Instant::now();
            let waits = somebody_reads(supervisor.as_raw(), &self.inner.path);
            pause = PAUSE.max(began.elapsed() * SHARE);
            // An answer that was written before the look has woken who waited: what waits now, with nothing to read, has asked anew.
            if waits && self.is_empty() {
                let mark = json!({"mark": "input", "prompt": "", "password": false});
                if channel.send(&Packet::Mark(mark.to_string())).is_err() {
                    return;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        let state = self.inner.lock();
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open, and the call writes one integer.
        let asked = unsafe { libc::ioctl(state.reader.as_raw_fd(), libc::FIONREAD, &mut bytes) };
        asked == 0 && bytes == 0
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.inner
            .changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cell {
    /// Writes what there is room for. The rest waits for the next look.
    fn write(&mut self) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        while !self.rest.is_empty() {
            match writer.write(&self.rest) {
                Ok(len) => _ = self.rest.drain(..len),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Whether a thread of `process`, or of a process below it, waits in a read of the file at `path`.
fn somebody_reads(process: i32, path: &Path) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else {
        return false;
    };
    tasks.filter_map(Result::ok).any(|task| {
        let task = task.path();
        let text = |name| std::fs::read_to_string(task.join(name)).unwrap_or_default();
        let reads = read_fd(&text("syscall")).is_some_and(|fd| {
            std::fs::read_link(format!("/proc/{process}/fd/{fd}")).is_ok_and(|file| file == path)
        });
        reads
            || text("children")
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
                .any(|child| somebody_reads(child, path))
    })
}

/// Whether it can be seen in what call a process that this one started waits. Not without Linux's `/proc`, nor where a system keeps that to itself, as some
/// containers do.
pub fn can_be_seen(process: i32) -> bool {
    can_be_seen_in(Path::new("/proc"), process)
}

/// The same where `/proc` is elsewhere.
fn can_be_seen_in(proc: &Path, process: i32) -> bool {
    let file = proc.join(process.to_string()).join("syscall");
    std::fs::read_to_string(file).is_ok_and(|text| !text.is_empty())
}

/// The descriptor of the `read` that a thread waits in, by what `/proc` says of its system call: its number, its arguments, two addresses.
fn read_fd(syscall: &str) -> Option<u64> {
    let mut words = syscall.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let fd = words.next()?.strip_prefix("0x")?;
    is_read(number).then(|| u64::from_str_radix(fd, 16).ok())?
}

#[cfg(target_os = "linux")]
fn is_read(number: i64) -> bool {
    [libc::SYS_read, libc::SYS_readv].contains(&number)
}

/// Where there is no `/proc` there is nothing to be seen.
#[cfg(not(target_os = "linux"))]
fn is_read(_number: i64) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_of_a_read_is_found() {
        let read = libc::SYS_read;
        for (syscall, want) in [
            (
                format!("{read} 0x0 0x7ffd 0x400 0x0 0x0 0x0 0x7ffe 0x7f17"),
                Some(0),
            ),
            (
                format!("{read} 0x1f 0x7ffd 0x400 0x0 0x0 0x0 0x7ffe 0x7f17"),
                Some(31),
            ),
            (format!("{} 0x0 0x7ffd 0x400", libc::SYS_write), None),
            ("running".to_owned(), None),
            ("-1 0x7ffe 0x7f17".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(read_fd(&syscall), want, "{syscall}");
        }
    }

    #[test]
    fn a_question_is_asked_once_and_its_answer_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let stdin = Stdin::new(folder.path().join("stdin")).expect("a FIFO");
        assert_eq!(stdin.ask("", false), Asked::Nothing, "no cell runs");
        stdin.answer("unasked");
        stdin.begin(5, true);
        let question = Event::InputRequest {
            job: 5,
            prompt: "name? ".into(),
            password: true,
        };
        assert_eq!(stdin.ask("name? ", true), Asked::Ask(Box::new(question)));
        assert_eq!(stdin.ask("", false), Asked::Nothing, "one at a time");
        let mut worker = File::open(stdin.path()).expect("the worker's end");
        stdin.answer("Ada");
        assert!(!stdin.is_empty());
        let mut read = [0; 9];
        assert_eq!(worker.read(&mut read).expect("an answer"), 4);
        assert_eq!(&read[..4], b"Ada\n");
        assert!(stdin.is_empty());
        stdin.ask("", false);
        stdin.answer("left unread");
        stdin.end();
        stdin.begin(6, false);
        assert!(stdin.is_empty());
        assert_eq!(stdin.ask("", false), Asked::Nobody);
        assert_eq!(worker.read(&mut read).expect("the end"), 0);
        stdin.begin(7, true);
        stdin.ask("", false);
        stdin.answer(&"long".repeat(50_000));
        let mut got = 0;
        while got < 200_001 {
            let mut part = [0; 4096];
            got += worker.read(&mut part).expect("a part of it");
            stdin.inner.lock().cell.as_mut().expect("a cell").write();
        }
        assert_eq!(got, 200_001);
    }

    #[test]
    fn whether_a_process_can_be_looked_at_is_known() {
        assert!(can_be_seen(std::process::id() as i32));
        assert!(!can_be_seen(-1), "there is none");
        let proc = tempfile::tempdir().expect("a folder");
        let of = |process: i32, text: Option<&str>| {
            let folder = proc.path().join(process.to_string());
            std::fs::create_dir(&folder).expect("a folder");
            if let Some(text) = text {
                std::fs::write(folder.join("syscall"), text).expect("a file");
            }
            can_be_seen_in(proc.path(), process)
        };
        assert!(of(1, Some("running")));
        assert!(!of(2, Some("")), "kept to itself");
        assert!(!of(3, None), "a kernel that has no such file");
        let folder = proc.path().join("4/syscall");
        std::fs::create_dir_all(folder).expect("a folder");
        assert!(!can_be_seen_in(proc.path(), 4), "reading it is refused");
    }

    #[test]
    fn a_reader_is_seen_wherever_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let stdin = Stdin::new(folder.path().join("stdin")).expect("a FIFO");
        stdin.begin(1, true);
        let me = std::process::id() as i32;
        assert!(!somebody_reads(me, stdin.path()));
        let path = stdin.path().to_owned();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            File::open(path)
                .and_then(|mut file| file.read_to_string(&mut text))
                .map(|_| text)
        });
        while !somebody_reads(me, stdin.path()) {
            std::thread::yield_now();
        }
        stdin.end();
        assert_eq!(reader.join().expect("no panic").expect("read"), "");
        assert!(!somebody_reads(me, stdin.path()));
    }
}
