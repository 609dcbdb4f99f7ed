//! Who sleeps: one number that says whether anybody is left who could wake another.
//!
//! Every thread that waits without a time limit is counted, by itself, when it begins to wait, and taken out by whoever lets it go on, before it runs. So
//! while a waking is under way its waker is awake, and the count never says more than is true. When it equals the number of threads that the process has,
//! all of them sleep and none will ever wake: exact, with no watchdog's guess in it. A thread that sleeps elsewhere (a lock of std's, a read, a timed
//! wait) is not counted, and its being there means no verdict.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread::{self, Thread};
use std::time::Duration;

use super::{lock, report, starts};

/// How often it changed (upper half), and how many sleep (lower half, from [`NOBODY`]): one word, so that "the same at two moments" means "all the time".
static STATE: AtomicU64 = AtomicU64::new(NOBODY);
/// Far from 0, since a sleeper may be taken out a moment before it is in.
const NOBODY: u64 = 1 << 16;
const CHANGE: u64 = 1 << 32;

/// How many threads the prelude knows: those that it started, and the one that began. No verdict is looked for while fewer sleep.
static KNOWN: AtomicU64 = AtomicU64::new(1);

/// How many threads of the process are none that could ever wake another: the watcher, and the one that hears of interrupts.
static HELPERS: AtomicU64 = AtomicU64::new(0);

/// A thread is about to be started.
pub fn thread_begins() {
    KNOWN.fetch_add(1, Ordering::Relaxed);
}

/// A thread of the prelude's has run its task, or was not started after all.
pub fn thread_ends() {
    KNOWN.fetch_sub(1, Ordering::SeqCst);
    // All that are left may be asleep already.
    if may_all_sleep() {
        watch();
    }
}

/// The calling thread begins a wait that only another can end.
pub fn falls_asleep() {
    STATE.fetch_add(CHANGE + 1, Ordering::SeqCst);
}

/// The caller lets a counted thread go on.
pub fn wakes_up() {
    STATE.fetch_add(CHANGE - 1, Ordering::SeqCst);
}

fn asleep(state: u64) -> u64 {
    (state & (CHANGE - 1)).saturating_sub(NOBODY)
}

fn may_all_sleep() -> bool {
    asleep(STATE.load(Ordering::SeqCst)) >= KNOWN.load(Ordering::SeqCst)
}

/// Looks whether all sleep, and if so reports it. Called by a thread that has just been counted, and holds no lock of a primitive.
#[inline]
pub fn look() {
    if may_all_sleep() {
        look_closely();
    }
}

#[cold]
fn look_closely() {
    match verdict() {
        Some(true) => report::all_asleep(),
        Some(false) => {}
        // A thread that the prelude does not know is there; when it is gone, nobody else may be left to notice.
        None => watch(),
    }
}

/// Whether all threads of this process sleep, as far as that can be known.
pub fn all_sleep() -> bool {
    verdict() == Some(true)
}

/// Whether all threads of this process sleep: `None` when as many sleep as the prelude knows, and there are others.
fn verdict() -> Option<bool> {
    let before = STATE.load(Ordering::SeqCst);
    if asleep(before) < KNOWN.load(Ordering::SeqCst) {
        return Some(false);
    }
    // Before the threads: a helper that comes in between must be too many, and not too few.
    let helpers = HELPERS.load(Ordering::SeqCst);
    let threads = threads_of_this_process()?.saturating_sub(helpers);
    if STATE.load(Ordering::SeqCst) != before {
        return Some(false);
    }
    if asleep(before) < threads {
        return None;
    }
    Some(true)
}

/// Has it looked at again and again until somebody is awake or all are asleep: by one thread, started when it is first needed.
fn watch() {
    let mut watcher = lock(&WATCHER);
    if watcher.is_none() {
        let builder = thread::Builder::new()
            .name("threadbook-watch".into())
            .stack_size(256 * 1024);
        let starts = starts::Inside::enter();
        let watches = move || {
            drop(starts);
            keep_watch();
        };
        let started = builder.spawn(watches).ok();
        *watcher = started.map(|handle| handle.thread().clone());
    }
    if let Some(watcher) = &*watcher {
        WATCH.store(true, Ordering::SeqCst);
        watcher.unpark();
    }
}

/// The thread that watches, once there is one.
static WATCHER: Mutex<Option<Thread>> = Mutex::new(None);

/// Keeps others from starting the watcher.
pub fn hold() -> MutexGuard<'static, Option<Thread>> {
    lock(&WATCHER)
}

/// The calling thread is the only one of this process, and awake: see [`takeover`](super::takeover).
pub fn begin_anew() {
    STATE.store(NOBODY, Ordering::SeqCst);
    KNOWN.store(1, Ordering::SeqCst);
    HELPERS.store(0, Ordering::SeqCst);
    WATCH.store(false, Ordering::SeqCst);
    *lock(&WATCHER) = None;
}

/// How many threads of this process the prelude neither started nor was begun by; 0 where that cannot be known.
pub fn foreign_threads() -> u64 {
    let known = KNOWN.load(Ordering::SeqCst) + HELPERS.load(Ordering::SeqCst);
    threads_of_this_process().map_or(0, |all| all.saturating_sub(known))
}

/// Whether the watcher is asked to look.
static WATCH: AtomicBool = AtomicBool::new(false);

/// The calling thread is one that will never wake another. By itself: a helper that is counted and not there yet would make one too few of the others.
pub fn helper_begins() {
    HELPERS.fetch_add(1, Ordering::SeqCst);
}

fn keep_watch() {
    helper_begins();
    let mut pause = SHORTEST_PAUSE;
    loop {
        if !WATCH.swap(false, Ordering::SeqCst) {
            pause = SHORTEST_PAUSE;
            thread::park();
            continue;
        }
        match verdict() {
            Some(true) => report::all_asleep(),
            Some(false) => {}
            None => {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                WATCH.store(true, Ordering::SeqCst);
            }
        }
    }
}

/// The watcher's pauses: a thread that ends is gone within 50 us or so; one that is busy elsewhere may be for long, and a look costs some 10 us.
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How many threads this process has; `None` where that cannot be known, and then there is no verdict.
#[cfg(target_os = "linux")]
fn threads_of_this_process() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold anything, parentheses too. Field 20, counted from 1, is `num_threads` (proc_pid_stat(5)).
    let fields = stat.rsplit_once(") ")?.1;
    fields.split(' ').nth(17)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn threads_of_this_process() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_system_says_how_many_threads_there_are() {
        let before = threads_of_this_process().expect("on Linux");
        assert!(before >= 2, "the test's own thread and the one that began");
    }

    #[test]
    fn one_that_is_taken_out_before_it_is_in_is_no_sleeper() {
        assert_eq!(asleep(NOBODY.wrapping_add(CHANGE - 1)), 0);
        assert_eq!(asleep(NOBODY + CHANGE + 1 + CHANGE + 1), 2);
    }
}
