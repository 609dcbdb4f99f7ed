//! An interrupt of the cell that runs: its tasks unwind from whatever they wait for, or at their next call that could wait. Nobody else's tasks do.
//!
//! The supervisor sends the number of the cell by a socket, and a thread that does nothing else reads it. A cell that comes to no call of the prelude's
//! goes on; the supervisor ends its process after a while.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use threadbook_timeline::format::Cause;

use super::task;
use super::{census, lock, report, starts, takeover};
use crate::hooks;
use crate::wait::Words;

/// The life of this process in which the thread was started, from 1; 0 for none.
static LISTENS: AtomicU32 = AtomicU32::new(0);

/// Has interrupts that come by `socket` carried out. Starts a thread at the first call, and again when a copy of this process has taken over.
pub fn listen(socket: RawFd) {
    let life = takeover::life() + 1;
    if LISTENS.swap(life, Ordering::Relaxed) == life {
        return;
    }
    let builder = thread::Builder::new()
        .name("threadbook-interrupt".into())
        .stack_size(256 * 1024);
    let (begun, begins) = mpsc::channel();
    let starts = starts::Inside::enter();
    let started = builder.spawn(move || {
        drop(starts);
        census::helper_begins();
        let _ = begun.send(());
        while let Some(cell) = next(socket) {
            interrupt(cell);
        }
    });
    // Without the thread an interrupt ends the process, and costs the threads of earlier cells.
    if started.is_ok() {
        // Until it is counted, it would be taken for one of the learner's.
        let _ = begins.recv();
    }
}

/// The number of the next cell to be interrupted. Blocks; `None` when the supervisor is gone.
fn next(socket: RawFd) -> Option<u32> {
    loop {
        let mut number = [0; 4];
        // SAFETY: there is room for as many bytes.
        let len = unsafe { libc::recv(socket, number.as_mut_ptr().cast(), number.len(), 0) };
        match len {
            4 => return Some(u32::from_ne_bytes(number)),
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            len if len <= 0 => return None,
            _ => {}
        }
    }
}

/// Ends the tasks of a cell, if it is the one that runs, and tells what each of them waited for.
fn interrupt(cell: u32) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one_at_a_time = lock(&ONE_AT_A_TIME);
    if task::cell() != cell {
        // It has ended meanwhile.
        return;
    }
    let tasks = task::roster();
    let tasks = tasks
        .iter()
        .filter(|task| task.cell() == cell && task.can_be_ended());
    // All are held before any is let go on: one that another's unwinding would have woken is told of as it was. One that nobody has begun unwinds as soon as
    // it is.
    let (mut held, mut running) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.hold_for_cut(Cause::Interrupt) {
            Some(wait) => held.push((task.clone(), wait)),
            None => running.push(task.id()),
        }
    }
    let stuck: Vec<_> = held
        .iter()
        .filter_map(|(task, claimed)| Some((task.clone(), claimed.wait()?)))
        .collect();
    let mut sentences = report::sentences(&stuck);
    let count = stuck.len() + running.len();
    let room = report::TOLD.saturating_sub(sentences.len());
    let more = running.into_iter().take(room);
    sentences.extend(more.map(|task| vec![Words::Task(task), " was running".into()]));
    report::with_names(|names| hooks::tell_interrupt(&sentences, count, names));
    held.into_iter().for_each(|(_, wait)| wait.cut());
}
