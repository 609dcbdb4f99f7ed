//! The shared memory that the learner's process records its events in: a memfd, handed down, never a file.
//!
//! Not a file in a shared-memory mount: containers give those 64 MB, and what is beyond ends in SIGBUS.

use memmap2::MmapMut;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::Ordering;
use threadbook_timeline::format::{MAIN_TASK, TRACE_BYTES};
use threadbook_timeline::memory::Memory;
use threadbook_timeline::observed::Observation;
use threadbook_timeline::trace::Trace;

/// A trace and its descriptor.
#[derive(Debug)]
pub struct TraceMemory {
    fd: OwnedFd,
    memory: Memory,
    /// Keeps `memory` mapped; never touched by itself.
    _map: MmapMut,
}

impl TraceMemory {
    /// Makes an empty trace. Reserves address space; pages come into being as events are written.
    ///
    /// # Errors
    /// When the system has no memory to give.
    pub fn new() -> io::Result<TraceMemory> {
        let fd = anonymous_file()?;
        nix::unistd::ftruncate(&fd, TRACE_BYTES as i64)?;
        // SAFETY: the file is ours, without a name, and as long as the mapping. The worker writes to it at any time, so it is only ever looked at
        // through `Memory`, which reads it by atomics.
        let mut map = unsafe { MmapMut::map_mut(&fd) }?;
        // SAFETY: the mapping is that long and lives as long as this value does.
        let memory = unsafe { Memory::new(map.as_mut_ptr(), map.len()) }
            .ok_or(io::ErrorKind::InvalidInput)?;
        memory.format();
        Ok(TraceMemory {
            fd,
            memory,
            _map: map,
        })
    }

    /// From now on events belong to recording `number`, which must not be 0.
    pub fn begin(&self, number: u32) {
        self.memory.begin(number);
    }

    /// What was recorded so far.
    pub fn read(&self, number: u32) -> Trace {
        self.memory.read(number)
    }

    /// How many events were recorded so far that are still there: by this it is seen whether more has happened. Cheap, and as good as the memory is.
    pub fn count(&self, number: u32) -> u64 {
        self.memory.count(number)
    }

    /// What one observation of the evaluating task saw, and nothing else.
    pub fn read_observed(&self, number: u32, observation: u32) -> Trace {
        let observer = MAIN_TASK;
        self.memory.read_part(
            number,
            Observation {
                observer,
                number: observation,
            },
        )
    }

    /// Says whether the process that records is to leave a copy of itself at the end of each cell, as it does at first.
    pub fn set_snapshots(&self, wanted: bool) {
        let none = &self.memory.header().no_snapshots;
        none.store(u32::from(!wanted), Ordering::Relaxed);
    }

    /// Whether it is to.
    pub fn has_snapshots(&self) -> bool {
        self.memory.header().no_snapshots.load(Ordering::Relaxed) == 0
    }

    /// The descriptor, to be inherited.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(target_os = "linux")]
fn anonymous_file() -> io::Result<OwnedFd> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    Ok(memfd_create(c"threadbook-trace", MFdFlags::MFD_CLOEXEC)?)
}

/// Where there is no memfd, a file that has no name any more.
#[cfg(not(target_os = "linux"))]
fn anonymous_file() -> io::Result<OwnedFd> {
    Ok(tempfile::tempfile()?.into())
}
