//! A copy of this process, left behind at the end of each cell, to go on from if a later cell ends the process.
//!
//! The copy is a fork: it shares memory until one of the two writes to it, and costs a millisecond or so. It waits, and does nothing else, on a socket whose
//! other end the supervisor has: a byte means that this process is dead and the copy takes over, by returning from the very call that made it, into
//! the worker's loop; the end of the stream means that a newer copy is there, or that nobody needs any.
//!
//! Only Linux: elsewhere a fork of a process with threads is not to be relied on. Knows nothing of cells; the supervisor tells the kernel.

use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use crate::recorder;
use crate::rt::{self, Lost};

/// The variable that names the socket to the supervisor, by which copies are announced.
const SNAPSHOTS_FD: &str = "THREADBOOK_SNAPSHOTS_FD";

/// How much memory a process may have of its own and still leave a copy, in bytes. Making one takes 0.2 ms and 0.03 ms for each MiB; while it is there,
/// each page that is written to is copied first: 0.6 ms for each MiB, so 80 ms at the most in a cell that writes to all of it.
pub const MOST_BYTES: u64 = 128 << 20;

/// What came of [`leave_one`].
pub enum Left {
    /// A copy waits.
    One,
    /// None: there is no supervisor that wants one.
    NotWanted,
    /// None: the process has so many bytes of its own.
    TooLarge(u64),
    /// None, and why.
    Failed(io::Error),
    /// This is the copy, and it takes over from a process that is dead.
    TookOver(TakenOver),
}

/// What of a dead process is not in its copy.
pub struct TakenOver {
    /// The prelude's tasks.
    pub tasks: Lost,
    /// How many threads besides, that the prelude did not start.
    pub threads: u64,
    /// How many sockets and pipes.
    pub sockets: usize,
}

/// Leaves a copy of this process, in place of the one before. Returns twice if that is needed: see [`Left::TookOver`].
///
/// Call it from the thread that evaluates cells: no other one is in the copy. Costs about a millisecond, and one more for each 100 MB.
#[cfg(target_os = "linux")]
pub fn leave_one() -> Left {
    let Some(supervisor) = socket_to_supervisor() else {
        return Left::NotWanted;
    };
    if !recorder::snapshots_are_wanted() {
        return Left::NotWanted;
    }
    watch_exits();
    match own_bytes() {
        Ok(bytes) if bytes > MOST_BYTES => return Left::TooLarge(bytes),
        Ok(_) => {}
        Err(error) => return Left::Failed(error),
    }
    fork_into(supervisor).unwrap_or_else(Left::Failed)
}

/// Leaves no copy: this system has no way to make one.
#[cfg(not(target_os = "linux"))]
pub fn leave_one() -> Left {
    Left::NotWanted
}

/// The socket to the supervisor, in a process that has one.
pub fn socket_to_supervisor() -> Option<RawFd> {
    static SOCKET: OnceLock<Option<RawFd>> = OnceLock::new();
    *SOCKET.get_or_init(|| std::env::var(SNAPSHOTS_FD).ok()?.parse().ok())
}

/// How much memory this process has of its own: resident, and neither a file's nor shared. proc_pid_statm(5).
#[cfg(target_os = "linux")]
fn own_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let mut pages = statm
        .split(' ')
        .skip(1)
        .map_while(|pages| pages.parse::<u64>().ok());
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    // SAFETY: asks the system for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(resident.saturating_sub(shared) * u64::try_from(page).unwrap_or(4096))
}

/// Some thread of this process has called `exit`.
#[cfg(target_os = "linux")]
static EXITS: AtomicBool = AtomicBool::new(false);

/// Has [`EXITS`] set when the process begins to end by a call of `exit`. std notes there which thread does, and has all others that call it wait for the
/// end: in a copy that was made then they would wait for ever.
#[cfg(target_os = "linux")]
fn watch_exits() {
    extern "C" fn exits() {
        EXITS.store(true, Ordering::SeqCst);
    }
    static WATCHED: OnceLock<()> = OnceLock::new();
    // SAFETY: the handler stores to a static of a library that is never unloaded.
    WATCHED.get_or_init(|| _ = unsafe { libc::atexit(exits) });
}

/// Another thread has called `exit`: waits for the end, which comes in the middle of this cell then, as it does for all others. The end itself is what ends
/// the sleep, as soon as it comes; nothing else could tell of it. Not for ever: what the learner's code does at an exit may wait for this thread.
#[cfg(target_os = "linux")]
fn wait_for_the_end() {
    std::thread::sleep(LONGEST_EXIT);
}

/// How long what is done at an exit is waited for.
#[cfg(target_os = "linux")]
const LONGEST_EXIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Forks, and waits in the copy. One that is called leaves a copy of its own before it goes on: the next cell, too, may end the process.
#[cfg(target_os = "linux")]
fn fork_into(supervisor: RawFd) -> io::Result<Left> {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    let threads = rt::foreign_threads();
    // Read before the fork: a lost thread may have locked the environment for ever.
    static OURS: OnceLock<Vec<RawFd>> = OnceLock::new();
    let ours = OURS.get_or_init(our_sockets);
    // Held, so that no lost thread has them in the copy: a print there would wait for ever.
    let mut stdout = io::stdout().lock();
    let stderr = io::stderr().lock();
    // What was printed and not written would be written by both.
    let _ = stdout.flush();
    let mut taken_over: Option<TakenOver> = None;
    let announced = loop {
        let (theirs, mine) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => break Err(error),
        };
        // SAFETY: the copy has this thread alone. The system's library sees to its own locks (fork(3), the allocator's among them); those of the runtime
        // and of the standard streams are held by this thread; those of the primitives are never waited for without end (`rt::lock`). Until it takes
        // over, the copy calls only what is needed to close descriptors and to wait.
        let pid = rt::while_held(|| unsafe { libc::fork() });
        if pid == -1 {
            break Err(io::Error::last_os_error());
        }
        if pid > 0 {
            if EXITS.load(Ordering::SeqCst) {
                // It may have been made in the middle of that, and ends with its socket.
                break Err(io::Error::other("the process is ending"));
            }
            break announce(supervisor, pid, theirs.as_raw_fd());
        }
        drop(theirs);
        // A group of its own: what ends the process and all that it started must not end the copy.
        // SAFETY: a plain system call on this process.
        unsafe { libc::setpgid(0, 0) };
        let is_first = taken_over.is_none();
        let sockets = if is_first {
            let_go_of_sockets(mine.as_raw_fd(), ours)
        } else {
            0
        };
        if !is_called(&mine) {
            // SAFETY: ends the process at once: nothing of what the learner's code registered for an exit may run, as it runs in the original.
            unsafe { libc::_exit(0) };
        }
        // Dies with the supervisor, as the process did that it was copied from.
        // SAFETY: a plain system call on this process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        prove_that_threads_start();
        recorder::begin_anew();
        taken_over = Some(TakenOver {
            tasks: rt::take_over(),
            threads: if is_first { threads } else { 0 },
            sockets,
        });
    };
    drop((stdout, stderr));
    if EXITS.load(Ordering::SeqCst) {
        wait_for_the_end();
    }
    match (taken_over, announced) {
        (Some(taken_over), _) => {
            rt::go_on();
            Ok(Left::TookOver(taken_over))
        }
        (None, announced) => announced.map(|()| Left::One),
    }
}

/// Waits until the supervisor says that this copy takes over; false when it is not needed any more.
#[cfg(target_os = "linux")]
fn is_called(mut mine: &std::os::unix::net::UnixStream) -> bool {
    use std::io::Read as _;
    loop {
        match mine.read(&mut [0]) {
            Ok(len) => return len == 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// The project's own descriptors, as the environment names them.
#[cfg(target_os = "linux")]
fn our_sockets() -> Vec<RawFd> {
    // Not `vars`, which panics where the learner has set one that is no UTF-8.
    std::env::vars_os()
        .filter_map(|(name, fd)| Some((name.into_string().ok()?, fd.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("THREADBOOK_") && name.ends_with("_FD"))
        .filter_map(|(_, fd)| fd.parse().ok())
        .collect()
}

/// How long a copy that takes over may take to start a thread.
#[cfg(target_os = "linux")]
const LONGEST_START: std::time::Duration = std::time::Duration::from_secs(2);

/// Starts a thread and joins it, in a copy that takes over. A lost thread may have held a lock of std's or of the system's library around that for ever, which
/// nobody else can see: then this process would hang in the first cell that needs a thread. Better it ends at once, and the kernel goes on without it.
#[cfg(target_os = "linux")]
fn prove_that_threads_start() {
    within(LONGEST_START, || {
        // An error is an answer, too: no room for a further thread now.
        if let Ok(thread) = std::thread::Builder::new().spawn(|| ()) {
            let _ = thread.join();
        }
    });
}

/// Calls `f`, and ends this process if that takes longer than `limit`.
///
/// By a timer of the system's that sends `SIGKILL`: a thread could not be started to watch, and of the other signals the learner's code may have changed
/// what they do.
#[cfg(target_os = "linux")]
fn within(limit: std::time::Duration, f: impl FnOnce()) {
    // SAFETY: a `sigevent`, a `timer_t` and an `itimerspec` are numbers and addresses, for which zeros are a value. What is set here is what timer_create(2)
    // asks for, and the timer is deleted when it was made.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = std::mem::zeroed();
        if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
            return f();
        }
        let mut when: libc::itimerspec = std::mem::zeroed();
        when.it_value.tv_sec = libc::time_t::try_from(limit.as_secs()).unwrap_or(2);
        when.it_value.tv_nsec = libc::c_long::from(limit.subsec_nanos().cast_signed());
        libc::timer_settime(timer, 0, &raw const when, std::ptr::null_mut());
        f();
        libc::timer_delete(timer);
    }
}

/// Puts a dead end in the place of each socket and pipe that the copy inherited, but the project's own, and gives their number. Otherwise a peer would wait
/// for the end of a stream that this copy keeps open, and a port would stay taken. In their place, since who has their numbers will close them.
#[cfg(target_os = "linux")]
fn let_go_of_sockets(mine: RawFd, ours: &[RawFd]) -> usize {
    use std::os::fd::AsRawFd as _;
    // Before the list: its own descriptor is in it, and free for others when it has been read.
    let Ok((dead, end)) = std::os::unix::net::UnixStream::pair() else {
        return 0;
    };
    drop(end);
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return 0;
    };
    let open: Vec<RawFd> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2 && *fd != mine && *fd != dead.as_raw_fd() && !ours.contains(fd))
        .collect();
    let mut count = 0;
    for fd in open {
        // SAFETY: a `stat` is plain numbers, for which zeros are a value; the call fills it, or says that the descriptor is not open.
        let kind = unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            (libc::fstat(fd, &raw mut stat) == 0).then_some(stat.st_mode & libc::S_IFMT)
        };
        if matches!(kind, Some(libc::S_IFSOCK | libc::S_IFIFO)) {
            // SAFETY: puts another open file behind a descriptor that is open; who owns it owns this one from now on.
            unsafe { libc::dup3(dead.as_raw_fd(), fd, libc::O_CLOEXEC) };
            count += 1;
        }
    }
    count
}

/// Tells the supervisor of a copy: its process, and the socket on which it waits.
#[cfg(target_os = "linux")]
fn announce(supervisor: RawFd, pid: libc::pid_t, socket: RawFd) -> io::Result<()> {
    let bytes = pid.to_ne_bytes();
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // Aligned as a header of a control message must be.
    let mut control = [0_u64; 4];
    // SAFETY: a `msghdr` is numbers and addresses, for which zeros are a value; those set here point to what lives until the call is over. There is room
    // for one descriptor: `CMSG_SPACE(4)` is 24.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
        libc::CMSG_DATA(head)
            .cast::<RawFd>()
            .write_unaligned(socket);
        loop {
            if libc::sendmsg(supervisor, &raw const message, libc::MSG_NOSIGNAL) >= 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// How a copy of this process ends that calls `f`.
    fn fate(f: impl FnOnce()) -> libc::c_int {
        // SAFETY: the copy calls what `f` does, which takes no lock and makes nothing, and then ends at once.
        unsafe {
            let pid = libc::fork();
            assert!(pid >= 0, "no copy can be made");
            if pid == 0 {
                f();
                libc::_exit(7);
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            status
        }
    }

    #[test]
    fn a_copy_whose_threads_do_not_start_ends_and_any_other_goes_on() {
        let hangs = fate(|| {
            within(Duration::from_millis(50), || {
                loop {
                    std::thread::park();
                }
            });
        });
        assert!(libc::WIFSIGNALED(hangs) && libc::WTERMSIG(hangs) == libc::SIGKILL);
        let pause = libc::timespec {
            tv_sec: 0,
            tv_nsec: 150_000_000,
        };
        let goes_on = fate(|| {
            within(Duration::from_millis(50), || ());
            // Three times as long as the limit was: the timer is gone, or it would end this sleep and all.
            // SAFETY: reads `pause`, and writes nothing.
            unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
        });
        assert!(libc::WIFEXITED(goes_on) && libc::WEXITSTATUS(goes_on) == 7);
        within(LONGEST_START, || ());
        prove_that_threads_start();
    }
}
