//! The process between evcxr and the learner's: no learner's code in it, so it can be trusted to answer.
//!
//! evcxr starts it as its child. It forks the worker, owns the worker's three pipes, takes evcxr's lines out of the output and passes the rest to the
//! kernel at once, between cells too, and says how the worker died. It must be reached before any thread exists, since it forks. One thread, one `poll`.
//! Why a process and not a thread in the worker: a fork of the worker, which later takes over from a dead one, copies only the thread that forks.

use super::channel::{CellEnd, Channel, Death, Packet};
use super::scan::{COMPLETE, Found, Scanner};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

/// Names the descriptor of the output channel.
pub const OUTPUT_FD: &str = "THREADBOOK_OUTPUT_FD";
/// Names the descriptor of the trace, for the prelude.
pub const TRACE_FD: &str = "THREADBOOK_TRACE_FD";
/// Names the descriptor that the prelude writes its marks to, in the worker only.
const MARK_FD: &str = "THREADBOOK_MARK_FD";
/// What the prelude's marks begin with, in the worker only.
const MARK_PREFIX: &str = "THREADBOOK_MARK_PREFIX";
/// Names the FIFO that is the learner's standard input.
pub const STDIN: &str = "THREADBOOK_STDIN";
/// Names the prelude's shared object.
pub const PRELUDE_SO: &str = "THREADBOOK_PRELUDE_SO";

/// How long bytes that look like the beginning of a marker wait for the rest of it. A marker is written by one `write`, so that the rest is there already
/// unless our own buffer cut it.
const TOKEN_PATIENCE_MS: u16 = 5;
/// How much is read from a pipe at a time: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

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
    let prefix = format!("\x1e{} ", uuid::Uuid::new_v4().simple());
    match fork_with(&output, number(TRACE_FD), &prefix) {
        Ok(commands) => commands,
        Err(error) => {
            eprintln!("threadbook: the supervisor failed: {error}");
            std::process::exit(1);
        }
    }
}

fn fork_with(output: &Channel, trace: Option<RawFd>, prefix: &str) -> io::Result<OwnedFd> {
    let (commands_read, commands) = nix::unistd::pipe()?;
    let (stdout, stdout_write) = nix::unistd::pipe()?;
    let (stderr, stderr_write) = nix::unistd::pipe()?;
    // SAFETY: no thread has been started in this process, so the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            // A group of its own, so that whatever the learner's code starts can be ended with it.
            nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            drop((commands, stdout, stderr));
            become_worker(
                commands_read,
                stdout_write,
                stderr_write,
                output.raw_fd(),
                trace,
                prefix,
            )
        }
        ForkResult::Parent { child } => {
            drop((commands_read, stdout_write, stderr_write));
            // The child does the same; whoever is first, the group is there when this returns.
            let _ = nix::unistd::setpgid(child, child);
            let prelude = std::env::var_os(PRELUDE_SO).map(PathBuf::from);
            let supervisor = Supervisor {
                output,
                worker: child,
                commands: File::from(commands),
                stdout: File::from(stdout),
                stderr: File::from(stderr),
                scanner: Scanner::new(),
                prefix: prefix.as_bytes().to_vec(),
                prelude,
                hooked: false,
                after_end: None,
            };
            let status = supervisor.run()?;
            std::process::exit(status);
        }
    }
}

/// Makes this process the worker: it prints into the supervisor's pipes, reads from the kernel's FIFO, and dies with the supervisor. Gives the descriptor
/// of its commands, which is out of the way of the low numbers that a program may close or count on.
fn become_worker(
    commands: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    output_fd: RawFd,
    trace: Option<RawFd>,
    prefix: &str,
) -> io::Result<OwnedFd> {
    let stdin = learners_stdin()?;
    for (from, to) in [(stdin, 0), (stdout, 1), (stderr, 2)] {
        let from = from.into_raw_fd();
        // SAFETY: both numbers are open descriptors of this process, and the standard ones are owned by nobody.
        unsafe {
            libc::dup2(from, to);
            libc::close(from);
        }
    }
    // SAFETY: the channel's descriptor is the supervisor's; in this process its owner never runs again.
    unsafe { libc::close(output_fd) };
    // The prelude's marks go through the same pipe as what the learner prints, so that their order is the pipe's.
    // SAFETY: descriptor 1 was opened above; no other thread exists that could read or write the environment.
    unsafe {
        let mark = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 100);
        if mark < 0 {
            return Err(io::Error::last_os_error());
        }
        std::env::set_var(MARK_FD, mark.to_string());
        std::env::set_var(MARK_PREFIX, prefix);
        std::env::remove_var(OUTPUT_FD);
        std::env::remove_var(PRELUDE_SO);
        std::env::remove_var(STDIN);
        // evcxr forces backtraces, which name the runtime's frames and none of the learner's.
        std::env::remove_var("RUST_BACKTRACE");
        if let Some(trace) = trace {
            libc::fcntl(trace, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call on this process.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    // SAFETY: gives a new descriptor, which is owned here alone.
    unsafe {
        let high = libc::fcntl(commands.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 100);
        if high < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(high))
    }
}

/// What the learner's code reads from: the kernel's FIFO, or nothing where there is none.
fn learners_stdin() -> io::Result<OwnedFd> {
    let Some(path) = std::env::var_os(STDIN) else {
        return Ok(File::open("/dev/null")?.into());
    };
    // Opening must not wait for a writer, and reading must.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    // SAFETY: sets the flags of a descriptor of ours.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, 0) };
    Ok(file.into())
}

/// A pipe's writing end, for the handlers of signals.
static SIGNALLED: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_signal(signal: i32) {
    let byte = [if signal == libc::SIGTERM {
        TERMINATE
    } else {
        CHILD_DIED
    }];
    // SAFETY: `write` is async-signal-safe; the descriptor stays open as long as the process.
    unsafe { libc::write(SIGNALLED.load(Ordering::Relaxed), byte.as_ptr().cast(), 1) };
}

const CHILD_DIED: u8 = b'c';
/// The kernel wants the learner's code to end: an interrupt, or its own end.
const TERMINATE: u8 = b't';

struct Supervisor<'a> {
    output: &'a Channel,
    worker: Pid,
    commands: File,
    stdout: File,
    stderr: File,
    scanner: Scanner,
    prefix: Vec<u8>,
    prelude: Option<PathBuf>,
    /// Whether the prelude's hooks run around cells.
    hooked: bool,
    /// What evcxr is told when the end hook, too, has come back.
    after_end: Option<String>,
}

impl Supervisor<'_> {
    /// Runs until evcxr closes its pipe or the worker is dead. Gives the status to exit with.
    fn run(mut self) -> io::Result<i32> {
        let (signals, signals_write) = nix::unistd::pipe()?;
        SIGNALLED.store(signals_write.into_raw_fd(), Ordering::Relaxed);
        let action = SigAction::new(
            SigHandler::Handler(note_signal),
            SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP,
            SigSet::empty(),
        );
        for signal in [Signal::SIGCHLD, Signal::SIGTERM] {
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
            if let Some(death) = self.death()? {
                return self.report(death);
            }
            let timeout = if self.scanner.is_waiting() {
                PollTimeout::from(TOKEN_PATIENCE_MS)
            } else {
                PollTimeout::NONE
            };
            let mut fds = [
                PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stderr.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            let ready = match poll(&mut fds, timeout) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let [stdout_ready, stderr_ready, evcxr_ready, signalled] =
                fds.map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
            if ready == 0 {
                let found = self.scanner.give_up(false);
                self.tell(found)?;
            }
            // Standard error first: a message belongs before the end of the cell that wrote it, and the end comes on standard output.
            if stderr_ready {
                self.pump_stderr()?;
            }
            if stdout_ready {
                let bytes = read_some(&self.stdout)?;
                let found = self.scanner.take(&bytes);
                self.tell(found)?;
            }
            if evcxr_ready {
                let bytes = read_some(stdin.as_fd())?;
                if bytes.is_empty() {
                    self.kill_worker();
                    // Reaped here: in a container there may be nobody else to do it.
                    let _ = waitpid(self.worker, None);
                    return Ok(0);
                }
                for line in from_evcxr.take(&bytes) {
                    self.command(&line)?;
                }
            }
            if signalled && read_some(&signals)?.contains(&TERMINATE) {
                self.kill_worker();
            }
        }
    }

    /// Ends the worker and what it has started. That it is dead comes by SIGCHLD.
    fn kill_worker(&self) {
        let _ = nix::sys::signal::killpg(self.worker, Signal::SIGKILL);
    }

    /// Passes a line of evcxr's on to the worker, with the prelude's hooks around a cell.
    fn command(&mut self, line: &str) -> io::Result<()> {
        let Some(path) = line
            .strip_prefix("LOAD_AND_RUN ")
            .and_then(|rest| rest.split(' ').next())
        else {
            return self.tell_worker(&format!("{line}\n"));
        };
        self.output.send(&Packet::Begin(path.to_owned()))?;
        match self
            .prelude
            .as_deref()
            .filter(|prelude| Path::exists(prelude))
        {
            Some(prelude) => {
                self.scanner.expect_cell(&self.prefix);
                self.hooked = true;
                let prelude = prelude.display();
                self.tell_worker(&format!(
                    "LOAD_AND_RUN {prelude} threadbook_cell_begin\n{line}\nLOAD_AND_RUN {prelude} threadbook_cell_end\n"
                ))
            }
            None => self.tell_worker(&format!("{line}\n")),
        }
    }

    /// Writes lines to the worker, in one piece: it may run the first of them, and be dead, before another piece comes. That it is dead is told by SIGCHLD.
    fn tell_worker(&mut self, lines: &str) -> io::Result<()> {
        match self.commands.write_all(lines.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
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
                    self.after_end = Some(lines);
                }
                // With hooks around each cell, a completion that no end mark announced is a line that the learner printed between cells.
                Found::Complete if self.hooked && self.after_end.is_none() => {
                    self.output.send(&Packet::Stdout(COMPLETE.into()))?;
                }
                Found::Complete => {
                    let lines = self.after_end.take().unwrap_or_else(|| COMPLETE.to_owned());
                    let mut evcxr = io::stdout().lock();
                    evcxr.write_all(lines.as_bytes())?;
                    evcxr.flush()?;
                }
            }
        }
        Ok(())
    }

    /// Passes on what standard error holds now, without waiting.
    fn pump_stderr(&self) -> io::Result<()> {
        while is_readable(&self.stderr)? {
            let bytes = read_some(&self.stderr)?;
            if bytes.is_empty() {
                break;
            }
            self.output.send(&Packet::Stderr(bytes))?;
        }
        Ok(())
    }

    /// How the worker died, if it did. Other children are grandchildren that lost their parent elsewhere, and are only reaped.
    fn death(&self) -> io::Result<Option<Death>> {
        loop {
            return Ok(match waitpid(self.worker, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, code)) => Some(Death::Exit(code)),
                Ok(WaitStatus::Signaled(_, signal, _)) => Some(Death::Signal(signal as i32)),
                Ok(_) => None,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            });
        }
    }

    /// Passes on the last words of the dead worker, and how it died.
    fn report(&mut self, death: Death) -> io::Result<i32> {
        // What it started goes with it: a program that lives on would hold its pipes, and print under other cells.
        self.kill_worker();
        self.pump_stderr()?;
        while is_readable(&self.stdout)? {
            let bytes = read_some(&self.stdout)?;
            if bytes.is_empty() {
                break;
            }
            let found = self.scanner.take(&bytes);
            self.tell(found)?;
        }
        let found = self.scanner.give_up(true);
        self.tell(found)?;
        self.output.send(&Packet::Died(death))?;
        Ok(match death {
            Death::Exit(code) => code,
            Death::Signal(signal) => 128 + signal,
        })
    }
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
