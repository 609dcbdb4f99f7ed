//! The learner's process: how it is forked off, and what it becomes before its loop runs.

use super::super::channel::Channel;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, Pid};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// Names the descriptor that the prelude writes its marks to.
const MARK_FD: &str = "THREADBOOK_MARK_FD";
/// What the prelude's marks begin with.
const MARK_PREFIX: &str = "THREADBOOK_MARK_PREFIX";
/// Names the socket by which the prelude announces copies of the process, and is told of an interrupt.
const SNAPSHOTS_FD: &str = "THREADBOOK_SNAPSHOTS_FD";
/// Names the descriptor that the loop's commands come by. Nobody asks: a copy of the process keeps those open that are named so.
const COMMANDS_FD: &str = "THREADBOOK_COMMANDS_FD";

/// The supervisor's side of a worker.
pub struct Worker {
    /// Also the number of its process group.
    pub pid: Pid,
    /// Lines for the worker's loop.
    pub commands: File,
    /// The other end of `commands`: what a dead worker has not read is taken out here.
    pub unread: File,
    /// Its standard output.
    pub stdout: File,
    /// Its standard error.
    pub stderr: File,
    /// The prelude's socket: announcements of copies come by it, numbers of cells that are to be interrupted go.
    pub snapshots: OwnedFd,
    /// The prelude's end of that: what a dead worker has not read is taken out here.
    pub unread_snapshots: OwnedFd,
}

/// What a process is after the fork.
pub enum Forked {
    /// The worker, and the descriptor that its commands come by, which is out of the way of the low numbers that a program may close or count on.
    Worker(OwnedFd),
    /// The one that forked it.
    Supervisor(Worker),
}

/// Forks the worker. Call it before any thread exists.
///
/// # Errors
/// When the system has no further process, or no descriptors.
pub fn fork(output: &Channel, trace: Option<RawFd>, mark_prefix: &str) -> io::Result<Forked> {
    let (unread, commands) = nix::unistd::pipe()?;
    let (stdout, stdout_write) = nix::unistd::pipe()?;
    let (stderr, stderr_write) = nix::unistd::pipe()?;
    let (snapshots, theirs) = socketpair(AddressFamily::Unix, PACKETS, None, SockFlag::empty())?;
    // SAFETY: no thread has been started in this process, so the child may run any code.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Child => {
            // A group of its own, so that whatever the learner's code starts can be ended with it.
            nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            drop((commands, stdout, stderr, snapshots));
            let stdin = learners_stdin()?;
            for (from, to) in [(stdin, 0), (stdout_write, 1), (stderr_write, 2)] {
                put(from, to);
            }
            // SAFETY: the channel's descriptor is the supervisor's; in this process its owner never runs again.
            unsafe { libc::close(output.raw_fd()) };
            let commands = become_worker(unread, theirs, trace, mark_prefix)?;
            Ok(Forked::Worker(commands))
        }
        ForkResult::Parent { child } => {
            drop((stdout_write, stderr_write));
            // The child does the same; whoever is first, the group is there when this returns.
            let _ = nix::unistd::setpgid(child, child);
            Ok(Forked::Supervisor(Worker {
                pid: child,
                commands: File::from(commands),
                unread: File::from(unread),
                stdout: File::from(stdout),
                stderr: File::from(stderr),
                snapshots,
                unread_snapshots: theirs,
            }))
        }
    }
}

/// Packets that keep their bounds, and an end when the other side is gone. macOS has no such sockets between processes; it makes no copies either.
#[cfg(target_os = "linux")]
const PACKETS: SockType = SockType::SeqPacket;
#[cfg(not(target_os = "linux"))]
const PACKETS: SockType = SockType::Datagram;

/// Makes one of the standard streams of a descriptor.
fn put(from: OwnedFd, to: RawFd) {
    let from = from.into_raw_fd();
    // SAFETY: both numbers are open descriptors of this process, and the standard ones are owned by nobody.
    unsafe {
        libc::dup2(from, to);
        libc::close(from);
    }
}

/// What the learner's code reads from: the kernel's FIFO, or nothing where there is none.
fn learners_stdin() -> io::Result<OwnedFd> {
    let Some(path) = std::env::var_os(super::STDIN) else {
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

/// Tells the prelude what it needs by the environment, and sees to it that the process dies with the supervisor, and before any other when the machine
/// runs out of memory. Gives the descriptor of its commands.
fn become_worker(
    commands: OwnedFd,
    snapshots: OwnedFd,
    trace: Option<RawFd>,
    mark_prefix: &str,
) -> io::Result<OwnedFd> {
    let apart = |fd: RawFd| {
        // Where no program that counts descriptors from 3 would look.
        // SAFETY: makes a second number of an open descriptor.
        match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 100) } {
            -1 => Err(io::Error::last_os_error()),
            apart => Ok(apart),
        }
    };
    // The prelude's marks go through the same pipe as what the learner prints, so that their order is the pipe's.
    let mark = apart(1)?;
    let socket = apart(snapshots.as_raw_fd())?;
    let high = apart(commands.as_raw_fd())?;
    drop((snapshots, commands));
    // SAFETY: no other thread exists that could read or write the environment; the trace's descriptor was handed down for this process.
    unsafe {
        std::env::set_var(MARK_FD, mark.to_string());
        std::env::set_var(MARK_PREFIX, mark_prefix);
        std::env::set_var(SNAPSHOTS_FD, socket.to_string());
        std::env::set_var(COMMANDS_FD, high.to_string());
        std::env::remove_var(super::OUTPUT_FD);
        std::env::remove_var(super::PRELUDE_SO);
        std::env::remove_var(super::STDIN);
        // evcxr forces backtraces, which name the runtime's frames and none of the learner's.
        std::env::remove_var("RUST_BACKTRACE");
        if let Some(trace) = trace {
            libc::fcntl(trace, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a plain system call on this process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // The kernel is to survive it, to say what happened. Where it is not allowed, nothing is lost.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    }
    // SAFETY: opened above, and owned here alone.
    Ok(unsafe { OwnedFd::from_raw_fd(high) })
}
