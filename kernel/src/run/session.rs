//! A kernel that runs cell after cell for a program of ours, on cores that it is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time;

use super::client::{Kernel, Program};
use super::{Outputs, bring_up_to_date, remove_transient};

/// What tests run is nobody's history, and no progress of the user's.
const FOR_TESTS: [(&str, &str); 2] = [
    ("THREADBOOK_HISTORY", "off"),
    ("THREADBOOK_PROGRESS", "off"),
];

/// Longest time that the first cell of a kernel may take.
const FIRST_CELL: Duration = Duration::from_secs(300);

/// The numbers of the cores that this process may use; none where the system lets nobody choose.
///
/// # Errors
/// When the system does not tell.
pub fn usable_cores() -> anyhow::Result<Vec<usize>> {
    cores::usable()
}

/// A kernel in a folder, and its processes kept to some of the cores. All are gone when this is dropped.
pub struct Session {
    // Before the runtime, which its sockets need.
    kernel: Option<Kernel>,
    runtime: Runtime,
    folder: PathBuf,
    cores: Vec<usize>,
}

impl Session {
    /// Starts a kernel. Blocks until it has run a first cell: a second or two, and a minute where the prelude is not built yet.
    ///
    /// # Errors
    /// When the kernel does not start, or the cores are not ours to use.
    pub fn start(folder: &Path, cores: &[usize]) -> anyhow::Result<Session> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut session = Session {
            kernel: None,
            runtime,
            folder: folder.to_owned(),
            cores: cores.to_vec(),
        };
        session.restart()?;
        Ok(session)
    }

    /// Ends the kernel and starts another one.
    ///
    /// # Errors
    /// As [`start`](Session::start).
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.end();
        let program = Program::of_ours()?;
        let started = cores::limited_to(&self.cores, || {
            self.runtime
                .block_on(Kernel::start(&program, &self.folder, &FOR_TESTS))
        });
        self.kernel = Some(started?);
        // The first cell of a kernel waits for evcxr to start: no cell of anybody's shall pay for that with its patience.
        self.run("()", FIRST_CELL)?
            .with_context(|| format!("the kernel ran no cell within {FIRST_CELL:?}"))?;
        Ok(())
    }

    /// Runs a cell; its outputs as a notebook has them, or `None` when it did not end within `patience`.
    ///
    /// # Errors
    /// When the kernel has ended.
    pub fn run(&mut self, code: &str, patience: Duration) -> anyhow::Result<Option<Vec<Value>>> {
        let kernel = self.kernel.as_mut().context("no kernel is running")?;
        let mut outputs = Outputs::default();
        // Made inside: a timer belongs to the runtime that it is made in.
        let ended = self.runtime.block_on(async {
            let executed = kernel.execute(code, |msg_type, content| outputs.add(msg_type, content));
            time::timeout(patience, executed).await
        });
        match ended {
            Err(_) => return Ok(None),
            Ok(reply) => reply?,
        };
        let mut cell = [serde_json::json!({"outputs": outputs.list})];
        // A cell that ran for long has its picture in the place of those that were shown meanwhile.
        bring_up_to_date(&mut cell, &outputs.updates);
        remove_transient(&mut cell);
        match cell[0]["outputs"].take() {
            Value::Array(outputs) => Ok(Some(outputs)),
            _ => Ok(Some(Vec::new())),
        }
    }

    fn end(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            self.runtime.block_on(kernel.end(false));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(target_os = "linux")]
mod cores {
    use anyhow::Context;
    use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    /// The calling thread.
    const THIS: Pid = Pid::from_raw(0);

    pub fn usable() -> anyhow::Result<Vec<usize>> {
        let set = sched_getaffinity(THIS).context("cannot ask which cores may be used")?;
        Ok((0..CpuSet::count())
            .filter(|core| set.is_set(*core).unwrap_or(false))
            .collect())
    }

    /// Calls `start` with this thread kept to `cores`, if any are named: a process has the cores of the thread that starts it.
    pub fn limited_to<T>(
        cores: &[usize],
        start: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        if cores.is_empty() {
            return start();
        }
        let before = sched_getaffinity(THIS)?;
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core)?;
        }
        sched_setaffinity(THIS, &set)
            .with_context(|| format!("cannot keep the kernel to the cores {cores:?}"))?;
        let started = start();
        sched_setaffinity(THIS, &before)?;
        started
    }
}

#[cfg(not(target_os = "linux"))]
mod cores {
    #[expect(
        clippy::unnecessary_wraps,
        reason = "as on Linux, where the system may not tell"
    )]
    pub fn usable() -> anyhow::Result<Vec<usize>> {
        Ok(Vec::new())
    }

    pub fn limited_to<T>(
        _: &[usize],
        start: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        start()
    }
}
