//! The recorder: writes what a task did into the trace, 32 bytes at a time, without a lock, an allocation or a system call.
//!
//! Each thread fills its own chunk of the trace and takes the next one when that is full, so an event costs a clock read and four stores. When all chunks
//! have been taken, those of the ring are taken again, the oldest first: what was recorded first and last stays. Everything that must survive this process
//! (chunk allocation, ids, names, sites) lives in the shared memory; what is kept here is only a copy. Knows nothing of threads, locks or channels. Rules:
//! `threadbook_timeline::format`.
//!
//! # Why the memory orderings are strong enough
//! - **An event**: four relaxed stores, then `len` with Release; the reader loads `len` with Acquire, and so sees all of each event that it counts. A thread
//!   that is killed between two stores leaves an event that nobody counts.
//! - **A chunk** has one writer: who exchanged its [`Claim`](threadbook_timeline::format::Claim). The exchange is an Acquire of what the last owner
//!   released, so its events and its `done` come before; the fence behind it and the reader's fence before it looks at the claim again see to it that a
//!   reader that found any store of the new owner finds the claim changed, and leaves the chunk out.
//! - **`recording`** is loaded relaxed: who sees an old number writes into that recording's half, and marks each event with it.
//! - **Ids, `next_turn`, and the room for sites and names** are relaxed: that no number is given twice holds for one atomic by itself, whatever the ordering.
//! - **A site**: relaxed stores, then `ready` with Release, which the reader loads with Acquire. That an index gets into an event before its site is ready is
//!   allowed: the reader leaves out what is not ready. This process never follows an index.
//! - **A name**: relaxed stores, then the length with Release, loaded with Acquire by whoever reads it. This process compares names in the heap, found by
//!   its own table: so that one is Release and Acquire as well.
//! - **`dropped`, `unplaced`** are counts: exact once who counts has ended, which the kernel knows by other means.

mod clock;
mod names;
pub mod observing;
mod sites;
mod trace;

use std::cell::Cell;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use threadbook_timeline::format::{EVENTS_PER_CHUNK, Event, Kind, NameId, Stage};

pub use clock::{now as ticks, ticks_per_second, to_duration as ticks_to_duration};
pub use sites::build_of;
pub use trace::attach;

use trace::{Claimed, Trace};

/// Where in the learner's source something was called.
pub type Here = &'static Location<'static>;

/// What a thread knows of its own place in the trace.
struct Cursor {
    /// The chunk being filled; null when there is none.
    chunk: Cell<*mut u8>,
    /// How many of its events are written.
    len: Cell<usize>,
    /// The recording that the chunk belongs to; 0 before the first.
    recording: Cell<u32>,
    /// What stands in the chunk while it is this thread's.
    claim: Cell<u64>,
    /// How many chunks of the recording this thread asked for before.
    nth: Cell<u32>,
    /// The turn by which it claimed the first of them; `None` before that.
    thread: Cell<Option<u64>>,
    /// For how many events more none is asked for, since there was none.
    pause: Cell<u32>,
    /// The task that runs on this thread; 0 while nobody asked.
    task: Cell<u32>,
    /// The task's name, told again in each recording that it writes to; 0 for none.
    name: Cell<NameId>,
    /// The green worker that this thread is, from 1; 0 for any other thread.
    worker: Cell<u8>,
}

thread_local! {
    // Without a destructor, so that destructors of other thread-locals can still record.
    static CURSOR: Cursor = const {
        Cursor {
            chunk: Cell::new(std::ptr::null_mut()),
            len: Cell::new(0),
            recording: Cell::new(0),
            claim: Cell::new(0),
            nth: Cell::new(0),
            thread: Cell::new(None),
            pause: Cell::new(0),
            task: Cell::new(0),
            name: Cell::new(0),
            worker: Cell::new(0),
        }
    };
}

/// Looks at this thread's own place. Not by `LocalKey::with` itself, which is not inlined around a body of this size, and then all goes through memory.
#[inline(always)]
fn with_cursor<R>(look: impl FnOnce(&Cursor) -> R) -> R {
    let cursor = CURSOR.with(std::ptr::from_ref);
    // SAFETY: the calling thread's own, which has no destructor, so it is there for as long as the thread runs; `look` cannot keep the reference.
    look(unsafe { &*cursor })
}

/// Gives the number of the recording under way, or 0 when nothing is recorded.
#[inline(always)]
pub fn recording() -> u32 {
    trace::current().header().recording.load(Ordering::Relaxed)
}

/// Gives the time for [`record_at`], in ticks; 0 while nothing is recorded, since to look costs 8 ns.
#[inline]
pub fn ticks_if_recording() -> u64 {
    if recording() == 0 { 0 } else { clock::now() }
}

/// Records that the running task did something, now. Costs about 14 ns, 10 of them the clock; 2 ns while nothing is recorded.
#[inline(never)]
pub fn record(kind: Kind, obj: u32, seq: u32, aux: u32, here: Option<Here>) {
    let trace = trace::current();
    let recording = trace.header().recording.load(Ordering::Relaxed);
    if recording != 0 {
        write(trace, recording, clock::now, kind, obj, seq, aux, here);
    }
}

/// Records what another task did for the running one, at the time it did it: for a send that the receiver completed.
#[inline(never)]
pub fn record_at(ticks: u64, kind: Kind, obj: u32, seq: u32, aux: u32, here: Option<Here>) {
    let trace = trace::current();
    let recording = trace.header().recording.load(Ordering::Relaxed);
    // Begun since: then the time was not looked at.
    if recording != 0 && ticks != 0 {
        write(trace, recording, || ticks, kind, obj, seq, aux, here);
    }
}

#[inline(always)]
#[allow(
    clippy::too_many_arguments,
    reason = "the fields of one event, kept in registers"
)]
fn write(
    trace: Trace,
    recording: u32,
    ticks: impl FnOnce() -> u64,
    kind: Kind,
    obj: u32,
    seq: u32,
    aux: u32,
    here: Option<Here>,
) {
    with_cursor(|cursor| {
        if cursor.recording.get() != recording || cursor.len.get() == EVENTS_PER_CHUNK {
            take_chunk(trace, cursor, recording);
        }
        if cursor.chunk.get().is_null() {
            return count_unplaced(trace, recording);
        }
        let event = Event {
            ticks: ticks(),
            task: cursor.task.get(),
            obj,
            seq,
            aux,
            site: here.map_or(0, |here| sites::intern(&trace, here)),
            cpu: clock::cpu(),
            kind: kind as u8,
            recording: recording as u8,
            worker: cursor.worker.get(),
            reserved: 0,
        };
        put(cursor, event);
    });
}

/// Writes an event behind the last one of this thread's chunk, which has room for it, and publishes it.
#[inline(always)]
fn put(cursor: &Cursor, event: Event) {
    let len = cursor.len.get();
    // SAFETY: the chunk is one that `take_chunk` got from the trace for this thread, and `len` is below `EVENTS_PER_CHUNK`: checked by `write`, and
    // true for `take_chunk`, which starts at 0.
    unsafe { trace::put_event(cursor.chunk.get(), len, event) };
    cursor.len.set(len + 1);
}

/// Counts an event for which there was no chunk, so that the picture can say how much it does not show.
#[cold]
fn count_unplaced(trace: Trace, recording: u32) {
    let half = recording as usize & 1;
    trace.header().unplaced[half].fetch_add(1, Ordering::Relaxed);
    trace.header().dropped[half].fetch_add(1, Ordering::Relaxed);
}

/// Gives this thread an empty chunk of `recording`, or none when other threads have all of them.
#[cold]
#[inline(never)]
fn take_chunk(trace: Trace, cursor: &Cursor, recording: u32) {
    if cursor.task.get() == 0 {
        adopt(cursor);
    }
    let carries = cursor.worker.get() != 0;
    let first = cursor.recording.get() != recording;
    if first {
        // What it has of another recording stays as it is: that is over, and being drawn.
        cursor.recording.set(recording);
        cursor.nth.set(0);
        cursor.thread.set(None);
        cursor.pause.set(0);
    } else if !cursor.chunk.get().is_null() {
        trace.release_chunk(cursor.chunk.get(), cursor.claim.get(), Stage::Full);
    }
    cursor.chunk.set(std::ptr::null_mut());
    // At its end, so that the next event comes by here as well.
    cursor.len.set(EVENTS_PER_CHUNK);
    if let Some(left) = cursor.pause.get().checked_sub(1) {
        cursor.pause.set(left);
        return;
    }
    let nth = cursor.nth.get();
    cursor.nth.set(nth.wrapping_add(1));
    let Some(claimed) = trace.claim_chunk(recording, cursor.thread.get(), nth) else {
        // To look at all of them takes as long as to record a thousand events: not for each one.
        cursor.pause.set(EVENTS_PER_CHUNK as u32);
        return;
    };
    let Claimed {
        chunk,
        claim,
        thread,
    } = claimed;
    cursor.chunk.set(chunk);
    cursor.claim.set(claim);
    cursor.thread.set(Some(thread));
    cursor.len.set(0);
    // A recording is read on its own: a task of an earlier cell says its name again in each one.
    if first && cursor.name.get() != 0 && !carries {
        let event = Event {
            ticks: clock::now(),
            task: cursor.task.get(),
            obj: cursor.task.get(),
            aux: cursor.name.get(),
            cpu: clock::cpu(),
            kind: Kind::NameTask as u8,
            recording: recording as u8,
            ..Event::default()
        };
        put(cursor, event);
    }
}

/// Says that the calling thread's task is over: its chunk, full or not, may be claimed again once it has been among the last for long enough. What the
/// thread's destructors still record goes into a new one.
pub fn leave() {
    with_cursor(|cursor| {
        if !cursor.chunk.get().is_null() {
            let trace = trace::current();
            trace.release_chunk(cursor.chunk.get(), cursor.claim.get(), Stage::Left);
            cursor.chunk.set(std::ptr::null_mut());
            cursor.len.set(EVENTS_PER_CHUNK);
        }
    });
}

/// Makes a task of a thread that the prelude did not start, such as one of `std::thread`.
fn adopt(cursor: &Cursor) {
    cursor.task.set(new_task());
    if let Some(name) = std::thread::current().name() {
        cursor.name.set(intern(name));
    }
}

/// Gives the id of the task that runs on this thread; a thread that has none becomes one.
#[inline]
pub fn current_task() -> u32 {
    with_cursor(|cursor| {
        if cursor.task.get() == 0 {
            adopt(cursor);
        }
        cursor.task.get()
    })
}

/// Says which task runs on this thread from now on, and what it is called (`None`: nothing in particular).
pub fn become_task(task: u32, name: Option<&str>) {
    with_cursor(|cursor| {
        cursor.task.set(task);
        cursor.name.set(name.map_or(0, intern));
    });
}

/// Says that this thread is worker `worker` (from 1; 0: none) and carries `task` from now on; gives the task that it carried before.
///
/// The task's name is told by who switches: a worker has many tasks in one recording.
#[inline]
pub fn switch_to(task: u32, worker: u8) -> u32 {
    with_cursor(|cursor| {
        cursor.worker.set(worker);
        cursor.task.replace(task)
    })
}

/// Gives a task id that no other task of this trace has.
pub fn new_task() -> u32 {
    trace::current()
        .header()
        .next_task
        .fetch_add(1, Ordering::Relaxed)
}

/// Gives an object id that no other object of this trace has.
pub fn new_object() -> u32 {
    trace::current()
        .header()
        .next_object
        .fetch_add(1, Ordering::Relaxed)
}

/// Gives the id of a name, the same for the same text; 0 when nothing is attached or the heap of names is full.
pub fn intern(text: &str) -> NameId {
    names::intern(&trace::current(), text, names::Use::Name)
}

/// Gives the id of a remark: as [`intern`], but leaves the last quarter of the heap to names of tasks and objects, so that a loop that makes a million
/// different remarks costs a notebook no names.
pub fn intern_remark(text: &str) -> NameId {
    names::intern(&trace::current(), text, names::Use::Remark)
}

/// Whether the kernel wants a copy of this process at the end of each cell.
pub fn snapshots_are_wanted() -> bool {
    let header = trace::current().header();
    header.no_snapshots.load(Ordering::Relaxed) == 0
}

/// A copy of this process takes over: what the dead one recorded since is not written over, and the reader is told.
pub fn begin_anew() {
    with_cursor(|cursor| {
        // The chunk is the dead one's, who may have been done with it after the copy was made: it is neither written to nor given back.
        cursor.chunk.set(std::ptr::null_mut());
        cursor.len.set(EVENTS_PER_CHUNK);
        cursor.recording.set(0);
    });
    let header = trace::current().header();
    header.generation.fetch_add(1, Ordering::Relaxed);
}

/// Measures the clock again over all the time since the process attached itself: the longer, the more exact.
pub fn recalibrate() {
    let trace = trace::current();
    if trace.is_read() {
        publish_rate(&trace.header().ticks_per_second);
    }
}

fn publish_rate(ticks_per_second: &AtomicU64) {
    ticks_per_second.store(clock::ticks_per_second(), Ordering::Relaxed);
}
