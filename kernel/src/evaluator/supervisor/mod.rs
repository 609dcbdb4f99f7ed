//! The process between evcxr and the learner's: no learner's code in it, so it can be trusted to answer.
//!
//! evcxr starts it as its child. It forks the worker, owns the worker's three pipes, takes evcxr's lines out of the output and passes the rest to the
//! kernel at once, between cells too. When the worker dies it says how, and has the copy of the last cell's end go on in its place: evcxr then sees a cell
//! that failed, and keeps every variable. It must be reached before any thread exists, since it forks. One thread, one `poll`.
//! Why a process and not a thread in the worker: a copy of the worker is a fork, which has only the thread that forks.

mod fork;
mod memory;
mod snapshots;

use super::channel::{CellEnd, Channel, Death, Packet};
use super::copies::LostCopy;
use super::scan::{COMPLETE, Found, Scanner};
use super::untyped;
use fork::{Forked, Worker};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use snapshots::Snapshots;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// Names the descriptor of the output channel.
pub const OUTPUT_FD: &str = "THREADBOOK_OUTPUT_FD";
/// Names the descriptor of the trace, for the prelude.
pub const TRACE_FD: &str = "THREADBOOK_TRACE_FD";
/// Names the FIFO that is the learner's standard input.
pub const STDIN: &str = "THREADBOOK_STDIN";
/// Names the prelude's shared object.
pub const PRELUDE_SO: &str = "THREADBOOK_PRELUDE_SO";

/// What the kernel sends to end what the cell does, and nothing else.
pub const INTERRUPT: Signal = Signal::SIGUSR1;

/// How long bytes that look like the beginning of a marker wait for the rest of it. A marker is written by one `write`, so that the rest is there already
/// unless our own buffer cut it.
const TOKEN_PATIENCE: Duration = Duration::from_millis(5);
/// How long a cell that was interrupted may take to end by itself, before its process is ended.
const INTERRUPT_PATIENCE: Duration = Duration::from_millis(500);
/// How often the worker's memory is looked at while a cell runs, and between cells. A look costs 20 us.
const MEMORY_LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// How much is read from a pipe at a time: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;
/// How often a pipe is read to have what was in it at a moment: a pipe holds 1 MiB at the most, and somebody may go on filling it.
const MOST_READS: usize = 16;

/// A line that makes evcxr's call fail without an effect: it is no UTF-8.
const FAIL_THE_CALL: &[u8] = b"\xff\xff\n";

/// Forks the worker. Returns in the worker, and there only, with the descriptor that its commands come by; the supervisor ends with the process.
///
/// # Panics
/// When the kernel did not start this process: without its descriptors there is nothing to do.
pub fn fork_worker() -> OwnedFd {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<RawFd>().ok())
    };
    let Some(output_fd) = number(OUTPUT_FD) else {
        eprintln!(
            "threadbook: {OUTPUT_FD} is not set: this process is started by the kernel, not by hand"
        );
        std::process::exit(2);
    };
    // Whoever started JupyterLab may have had signals blocked, and a mask is inherited by all: then an interrupt would never arrive.
    let _ = SigSet::empty().thread_set_mask();
    // SAFETY: the kernel opened this descriptor for this process and nothing else here owns it.
    let output = unsafe { Channel::from_fd(output_fd) };
    // Each copy of the worker becomes a child of this process when the worker is dead.
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call on this process.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
    };
    let prefix = format!("\x1e{} ", uuid::Uuid::new_v4().simple());
    let status = match fork::fork(&output, number(TRACE_FD), &prefix) {
        Ok(Forked::Worker(commands)) => return commands,
        Ok(Forked::Supervisor(worker)) => Supervisor::new(&output, worker, prefix).run(),
        Err(error) => Err(error),
    };
    std::process::exit(status.unwrap_or_else(|error| {
        eprintln!("threadbook: the supervisor failed: {error}");
        1
    }));
}

/// A pipe's writing end, for the handlers of signals.
static SIGNALLED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_signal(signal: i32) {
    let byte = [match signal {
        libc::SIGTERM => TERMINATE,
        libc::SIGCHLD => CHILD_DIED,
        _ => INTERRUPTED,
    }];
    // SAFETY: `write` is async-signal-safe; the descriptor stays open as long as the process.
    unsafe { libc::write(SIGNALLED.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
}

const CHILD_DIED: u8 = b'c';
/// The kernel wants the cell to end.
const INTERRUPTED: u8 = b'i';
/// The kernel wants all to end.
const TERMINATE: u8 = b't';

/// The cell that evcxr waits for.
struct Cell {
    /// The lines that run it.
    commands: String,
    /// When its process is ended, if it has not ended before.
    ends_by: Option<Instant>,
    /// What evcxr is told when the end hook, too, has come back.
    after_end: Option<String>,
}

struct Supervisor<'a> {
    output: &'a Channel,
    worker: Worker,
    scanner: Scanner,
    prefix: Vec<u8>,
    prelude: Option<PathBuf>,
    snapshots: Snapshots,
    /// The cell that evcxr waits for.
    cell: Option<Cell>,
    /// How many cells the prelude has begun in this worker, and in those that it is a copy of.
    cells: u32,
    /// How many they were when the last copy was made.
    cells_of_copy: u32,
    /// A copy was called and has not come back into the worker's loop; evcxr has to wait.
    taking_over: bool,
    /// The kernel wants all to end.
    ending: bool,
    memory_limit: Option<u64>,
    look_at_memory: Instant,
}

impl Supervisor<'_> {
    fn new(output: &Channel, worker: Worker, prefix: String) -> Supervisor<'_> {
        Supervisor {
            output,
            worker,
            scanner: Scanner::new(),
            prefix: prefix.into_bytes(),
            prelude: std::env::var_os(PRELUDE_SO).map(PathBuf::from),
            snapshots: Snapshots::default(),
            cell: None,
            cells: 0,
            cells_of_copy: 0,
            taking_over: false,
            ending: false,
            memory_limit: memory::limit(),
            look_at_memory: Instant::now(),
        }
    }

    /// Runs until evcxr closes its pipe or the worker is dead and no copy takes over. Gives the status to exit with.
    fn run(mut self) -> io::Result<i32> {
        let (signals, signals_write) = nix::unistd::pipe()?;
        SIGNALLED.store(signals_write.into_raw_fd(), Ordering::Relaxed);
        let action = SigAction::new(
            SigHandler::Handler(note_signal),
            SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP,
            SigSet::empty(),
        );
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, INTERRUPT] {
            // SAFETY: the handler only writes to a pipe.
            unsafe { sigaction(signal, &action) }?;
        }
        // A learner's interrupt from a terminal is the kernel's business.
        // SAFETY: ignoring a signal runs no code.
        unsafe {
            sigaction(
                Signal::SIGINT,
                &SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty()),
            )
        }?;
        let mut from_evcxr = Lines::default();
        let stdin = io::stdin();
        loop {
            // Also before the first wait: the worker may have died before the handler was there.
            if let Some(death) = self.death()?
                && !self.go_on_after(death)?
            {
                return Ok(match death {
                    Death::Exit(code) => code,
                    Death::Signal(signal) => 128 + signal,
                });
            }
            // evcxr's next line waits while a copy takes over.
            let evcxr = if self.taking_over {
                PollFlags::empty()
            } else {
                PollFlags::POLLIN
            };
            let mut fds = [
                PollFd::new(self.worker.stdout.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.worker.stderr.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdin.as_fd(), evcxr),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.worker.snapshots.as_fd(), PollFlags::POLLIN),
            ];
            let ready = match poll(&mut fds, self.patience()) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let [
                stdout_ready,
                stderr_ready,
                evcxr_ready,
                signalled,
                announced,
            ] = fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            if ready == 0 && self.scanner.is_waiting() {
                let found = self.scanner.give_up(false);
                self.tell(found)?;
            }
            self.end_what_is_overdue()?;
            if announced {
                self.snapshots.receive(self.worker.snapshots.as_fd())?;
            }
            // Standard error first: a message belongs before the end of the cell that wrote it, and the end comes on standard output.
            if stderr_ready {
                self.pump_stderr()?;
            }
            if stdout_ready {
                let bytes = read_some(&self.worker.stdout)?;
                let found = self.scanner.take(&bytes);
                self.tell(found)?;
            }
            if evcxr_ready && !self.taking_over {
                let bytes = read_some(stdin.as_fd())?;
                if bytes.is_empty() {
                    self.kill_worker();
                    // Reaped here: in a container there may be nobody else to do it.
                    let _ = waitpid(self.worker.pid, None);
                    return Ok(0);
                }
                for line in from_evcxr.take(&bytes) {
                    self.command(&line)?;
                }
            }
            if signalled {
                let bytes = read_some(&signals)?;
                if bytes.contains(&TERMINATE) {
                    self.ending = true;
                    self.kill_worker();
                } else if bytes.contains(&INTERRUPTED) {
                    self.interrupt();
                }
            }
        }
    }

    /// How long nothing need be looked at.
    fn patience(&self) -> PollTimeout {
        let token = self.scanner.is_waiting().then_some(TOKEN_PATIENCE);
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let overdue = self.cell.as_ref().and_then(|cell| cell.ends_by).map(until);
        let memory = self.memory_limit.map(|_| until(self.look_at_memory));
        let shortest = [token, overdue, memory].into_iter().flatten().min();
        match shortest {
            // Rounded up, or the last fraction of a millisecond would be a busy loop.
            Some(patience) => PollTimeout::try_from(patience + Duration::from_micros(999))
                .unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        }
    }

    /// Ends the worker and what it has started. That it is dead comes by SIGCHLD.
    fn kill_worker(&self) {
        let _ = nix::sys::signal::killpg(self.worker.pid, Signal::SIGKILL);
    }

    /// The kernel wants the cell to end: by itself if its tasks come to a call of the prelude's soon, else with its process. At once, when asked twice.
    fn interrupt(&mut self) {
        let Some(cell) = self.cell.as_mut().filter(|cell| cell.after_end.is_none()) else {
            return;
        };
        let number = self.cells.to_ne_bytes();
        let socket = self.worker.snapshots.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let is_told = cell.ends_by.is_none() && send(socket, &number, flags).is_ok();
        let patience = if is_told {
            INTERRUPT_PATIENCE
        } else {
            Duration::ZERO
        };
        cell.ends_by = Some(Instant::now() + patience);
    }

    /// Ends the worker when its cell was interrupted and goes on, or when it has taken too much memory.
    fn end_what_is_overdue(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if let Some(cell) = &mut self.cell
            && cell.after_end.is_none()
            && cell.ends_by.is_some_and(|at| at <= now)
        {
            // Once: what comes next is its death.
            cell.ends_by = None;
            self.kill_worker();
        }
        if let Some(limit) = self.memory_limit
            && self.look_at_memory <= now
        {
            self.look_at_memory = now + MEMORY_LOOKS[usize::from(self.cell.is_none())];
            let used = memory::used(self.worker.pid);
            if used > limit {
                let mark = format!(r#"{{"mark":"memory","used":{used},"limit":{limit}}}"#);
                self.output.send(&Packet::Mark(mark))?;
                self.kill_worker();
            }
        }
        Ok(())
    }

    /// Passes a line of evcxr's on to the worker, with the prelude's hooks around a cell.
    fn command(&mut self, line: &str) -> io::Result<()> {
        let Some(path) = line
            .strip_prefix("LOAD_AND_RUN ")
            .and_then(|rest| rest.split(' ').next())
        else {
            return writeln!(self.worker.commands, "{line}");
        };
        let generated = untyped::generated_for(Path::new(path))
            .and_then(|generated| std::fs::read_to_string(generated).ok());
        let untyped = untyped::variables(&generated.unwrap_or_default());
        if !untyped.is_empty() {
            self.output.send(&Packet::Mark(untyped::mark(&untyped)))?;
            return tell_evcxr(FAIL_THE_CALL);
        }
        self.output.send(&Packet::Begin(path.to_owned()))?;
        let prelude = self
            .prelude
            .as_deref()
            .filter(|prelude| Path::exists(prelude));
        let commands = match prelude {
            Some(prelude) => {
                let prelude = prelude.display();
                format!(
                    "LOAD_AND_RUN {prelude} threadbook_cell_begin\n{line}\nLOAD_AND_RUN {prelude} threadbook_cell_end\n"
                )
            }
            None => format!("{line}\n"),
        };
        if prelude.is_some() {
            self.scanner.expect_cell(&self.prefix);
            self.cells += 1;
        }
        self.look_at_memory = Instant::now() + MEMORY_LOOKS[0];
        self.worker.commands.write_all(commands.as_bytes())?;
        self.cell = Some(Cell {
            commands,
            ends_by: None,
            after_end: None,
        });
        Ok(())
    }

    /// Tells the kernel, and evcxr, what was found in the worker's output.
    fn tell(&mut self, found: Vec<Found>) -> io::Result<()> {
        for found in found {
            match found {
                Found::Text(bytes) => self.output.send(&Packet::Stdout(bytes))?,
                Found::Content(mime, content) => {
                    self.output.send(&Packet::Content(mime, content))?;
                }
                Found::Mark(json) => self.output.send(&Packet::Mark(json))?,
                Found::End {
                    panicked,
                    question_mark,
                    changed_types,
                } => {
                    self.pump_stderr()?;
                    // Announced before the end was written.
                    self.snapshots.receive(self.worker.snapshots.as_fd())?;
                    self.snapshots.cell_ended();
                    self.cells_of_copy = self.cells;
                    self.output.send(&Packet::End(CellEnd {
                        panicked,
                        question_mark,
                    }))?;
                    let mut lines = String::new();
                    if panicked {
                        lines.push_str("EVCXR_PANIC_NOTIFICATION\n");
                    }
                    if question_mark {
                        lines.push_str("EVCXR_ERROR_OCCURRED\n");
                    }
                    for name in changed_types {
                        lines.push_str(&format!("EVCXR_VARIABLE_CHANGED_TYPE:{name}\n"));
                    }
                    lines.push_str(COMPLETE);
                    if let Some(cell) = &mut self.cell {
                        cell.after_end = Some(lines);
                    }
                }
                Found::Ready => self.taken_over()?,
                Found::Complete => self.complete()?,
            }
        }
        Ok(())
    }

    /// evcxr's runtime has said that it has finished with a shared object.
    fn complete(&mut self) -> io::Result<()> {
        let is_hooked = self.scanner.is_marked();
        match &mut self.cell {
            // With hooks around each cell, a completion that no end mark announced is a line that the learner printed between cells.
            None
            | Some(Cell {
                after_end: None, ..
            }) if is_hooked => self.output.send(&Packet::Stdout(COMPLETE.into())),
            _ => {
                let cell = self.cell.take();
                let lines = cell.and_then(|cell| cell.after_end);
                tell_evcxr(lines.as_deref().unwrap_or(COMPLETE).as_bytes())
            }
        }
    }

    /// The worker is dead. Passes on its last words and how it died, ends what it has started, and calls its copy; false when there is none.
    fn go_on_after(&mut self, death: Death) -> io::Result<bool> {
        self.kill_worker();
        self.pump_stderr()?;
        for _ in 0..MOST_READS {
            let bytes = read_if_there(&self.worker.stdout)?;
            if bytes.is_empty() {
                break;
            }
            let found = self.scanner.take(&bytes);
            self.tell(found)?;
        }
        self.snapshots.receive(self.worker.snapshots.as_fd())?;
        let found = self.scanner.give_up(true);
        self.tell(found)?;
        self.output.send(&if self.taking_over {
            // How the cell's own process died is known already, and it is what the learner's code did.
            Packet::Mark(LostCopy::mark(death))
        } else {
            Packet::Died(death)
        })?;
        if self.ending {
            return Ok(false);
        }
        let Some(copy) = self.snapshots.call() else {
            return Ok(false);
        };
        self.worker.pid = copy;
        // What the dead one was told and has not read is not for the copy.
        while !read_if_there(&self.worker.unread)?.is_empty() {}
        let unread = self.worker.unread_snapshots.as_raw_fd();
        while recv(unread, &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok_and(|len| len > 0) {}
        self.cells = self.cells_of_copy;
        self.taking_over = true;
        if self.scanner.expect_takeover()
            && let Some(cell) = &mut self.cell
        {
            // It had not come to the learner's code: the copy runs it.
            cell.after_end = None;
            cell.ends_by = None;
        } else if let Some(cell) = &mut self.cell {
            cell.commands.clear();
        }
        Ok(true)
    }

    /// The copy is in the worker's loop, as its original was at the end of the last cell.
    fn taken_over(&mut self) -> io::Result<()> {
        self.taking_over = false;
        // The copy has left one of its own.
        self.snapshots.receive(self.worker.snapshots.as_fd())?;
        self.snapshots.cell_ended();
        match self.cell.take() {
            None => Ok(()),
            // The cell had ended, and evcxr had not been told.
            Some(Cell {
                after_end: Some(lines),
                ..
            }) => tell_evcxr(lines.as_bytes()),
            Some(Cell { commands, .. }) if commands.is_empty() => tell_evcxr(FAIL_THE_CALL),
            Some(cell) => {
                self.scanner.expect_cell(&self.prefix);
                self.cells += 1;
                self.worker.commands.write_all(cell.commands.as_bytes())?;
                self.cell = Some(cell);
                Ok(())
            }
        }
    }

    /// Passes on what standard error holds now, without waiting.
    fn pump_stderr(&self) -> io::Result<()> {
        for _ in 0..MOST_READS {
            let bytes = read_if_there(&self.worker.stderr)?;
            if bytes.is_empty() {
                break;
            }
            self.output.send(&Packet::Stderr(bytes))?;
        }
        Ok(())
    }

    /// How the worker died, if it did. Other children are grandchildren that lost their parent, and are only reaped.
    fn death(&self) -> io::Result<Option<Death>> {
        loop {
            return Ok(match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.worker.pid => {
                    Some(Death::Exit(code))
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.worker.pid => {
                    Some(Death::Signal(signal as i32))
                }
                Ok(WaitStatus::StillAlive) => None,
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                // No child at all: then the worker is gone too, and somebody else has seen how.
                Err(nix::errno::Errno::ECHILD) => Some(Death::Signal(libc::SIGKILL)),
                Err(error) => return Err(error.into()),
            });
        }
    }
}

fn tell_evcxr(lines: &[u8]) -> io::Result<()> {
    let mut evcxr = io::stdout().lock();
    evcxr.write_all(lines)?;
    evcxr.flush()
}

/// Bytes in, whole lines out.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|&byte| byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        String::from_utf8_lossy(&whole)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn is_readable(file: &File) -> io::Result<bool> {
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(ready) => return Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads what is there, at most [`READ_BYTES`]. Does not block; empty when nothing is, or at the end.
fn read_if_there(file: &File) -> io::Result<Vec<u8>> {
    if is_readable(file)? {
        read_some(file)
    } else {
        Ok(Vec::new())
    }
}

/// Reads what is there, at most [`READ_BYTES`]. Blocks when there is nothing; empty at the end.
fn read_some(source: impl AsFd) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match nix::unistd::read(source.as_fd(), &mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
