//! Ctrl-C, and being told to end: nothing half-made stays behind, and JupyterLab ends its kernels before we go.
//!
//! The signals are blocked in every thread and waited for in one. While a program of ours runs, the signal is handed to it as SIGTERM, and the
//! command that waits for the program tidies up; at any other time there is nothing to tidy, and the process ends at once.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// What a signal would find running.
#[derive(Debug, Default)]
struct Shared {
    running: Mutex<Option<Pid>>,
    interrupted: AtomicBool,
}

/// Knows which program a signal must reach. A default one listens to no signal.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    shared: Arc<Shared>,
}

impl Interrupt {
    /// Takes Ctrl-C, SIGTERM and SIGHUP over, for the rest of the process.
    ///
    /// Call it before any other thread starts: only threads that start later inherit the blocked signals. Programs inherit them too, so those
    /// started by [`spawn`](Self::spawn) have them opened again: a JupyterLab that cannot hear SIGTERM would never end.
    ///
    /// # Errors
    /// When the signals cannot be blocked.
    pub fn listen() -> anyhow::Result<Self> {
        let interrupt = Self::default();
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let shared = Arc::clone(&interrupt.shared);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                while let Ok(signal) = signals.wait() {
                    shared.pass_on(signal);
                }
            })?;
        Ok(interrupt)
    }

    /// Starts a program that a signal shall reach, until it is waited for.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Running> {
        // Held while the program starts, so that a signal finds either nothing or the program, never one that it does not know yet.
        let mut running = self
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: between fork and exec only the signal mask is set, which is async-signal-safe.
        unsafe {
            command.pre_exec(|| Ok(SigSet::empty().thread_set_mask()?));
        }
        let child = command.spawn()?;
        *running = Some(pid_of(&child));
        Ok(Running {
            child,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Whether a signal came while a program of ours ran.
    pub fn came(&self) -> bool {
        self.shared.interrupted.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn pass_on(&self, signal: Signal) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match *running {
            Some(pid) => {
                self.interrupted.store(true, Ordering::SeqCst);
                // Refused only when it has just ended by itself, which is what was wanted.
                let _ = kill(pid, Signal::SIGTERM);
            }
            None => {
                eprintln!("\nthreadbook: ended by {signal}");
                std::process::exit(1);
            }
        }
    }
}

/// A program that a signal reaches.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shared: Arc<Shared>,
}

impl Running {
    /// Waits until it ends.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        wait_without_reaping(pid_of(&self.child));
        // Forgotten before it is reaped: a process id may be given to a stranger afterwards.
        *self
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        self.child.wait()
    }
}

/// Blocks until the program has ended, and leaves it to be reaped. An error here only means that the wait after it does the waiting.
fn wait_without_reaping(pid: Pid) {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    while let Err(Errno::EINTR) = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
    {
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("the system's process ids are positive i32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_can_hear_the_signals_that_we_block() {
        use std::os::unix::process::ExitStatusExt;
        // On a thread of its own, whose mask dies with it.
        let ended = std::thread::spawn(|| {
            let mut blocked = SigSet::empty();
            blocked.add(Signal::SIGTERM);
            blocked.thread_block().unwrap();
            let interrupt = Interrupt::default();
            let running = interrupt
                .spawn(Command::new("/bin/sh").args(["-c", "exec sleep 600"]))
                .unwrap();
            interrupt.shared.pass_on(Signal::SIGINT);
            running.wait().unwrap().signal()
        });
        assert_eq!(ended.join().unwrap(), Some(Signal::SIGTERM as i32));
    }

    #[test]
    fn a_signal_reaches_the_program_that_runs_as_sigterm() {
        use std::os::unix::process::ExitStatusExt;
        let interrupt = Interrupt::default();
        let running = interrupt
            .spawn(Command::new("/bin/sh").args(["-c", "exec sleep 600"]))
            .unwrap();
        interrupt.shared.pass_on(Signal::SIGINT);
        assert_eq!(
            running.wait().unwrap().signal(),
            Some(Signal::SIGTERM as i32)
        );
        assert!(interrupt.came());
        assert_eq!(*interrupt.shared.running.lock().unwrap(), None);
    }

    #[test]
    fn a_program_that_ends_by_itself_was_not_interrupted() {
        let interrupt = Interrupt::default();
        let running = interrupt
            .spawn(Command::new("/bin/sh").args(["-c", "exit 3"]))
            .unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(3));
        assert!(!interrupt.came());
    }
}
