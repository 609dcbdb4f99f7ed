//! Threads that are inside std's own code around a start or an end, and the gate that keeps them out of it while the process is copied.
//!
//! std keeps a table of all threads' stacks, under a lock that it takes when a thread begins and when it ends, and gives nobody. A copy of the process made
//! while another thread has it would wait at its next start of a thread for ever. So starts are counted from the call to the first line of what runs there,
//! and ends from the last line to the first destructor of a thread-local; both wait while the gate is closed, and who copies waits until none is inside.
//! Only for threads that the prelude starts: of others nobody knows when they begin.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many threads are inside.
static INSIDE: AtomicU32 = AtomicU32::new(0);
/// The gate is closed. SeqCst with [`INSIDE`]: who enters counts itself and then looks here, who closes does so and then looks there; one sees the other.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// How long those inside are waited for. They run no code of the learner's, and are through in some 30 us unless they lose their core. After that the copy
/// is made all the same: that one of them has the lock at that very moment is unlikely, and no copy at all would be a certain loss.
const LONGEST: Duration = Duration::from_millis(100);
/// How often a thread at the gate looks, which is closed for as long as a fork takes.
const LOOK: Duration = Duration::from_micros(50);

/// A thread is inside as long as this is there.
#[must_use = "it counts for as long as it is there"]
pub struct Inside(());

impl Inside {
    /// Goes in. Waits while the gate is closed.
    pub fn enter() -> Inside {
        loop {
            INSIDE.fetch_add(1, Ordering::SeqCst);
            let inside = Inside(());
            if !CLOSED.load(Ordering::SeqCst) {
                return inside;
            }
            drop(inside);
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

thread_local! {
    /// In a thread whose body is over. Touched last of all, so that its destructor is the first that runs.
    static ENDS: Cell<Option<Inside>> = const { Cell::new(None) };
}

/// The body of the calling thread is over: the last that it does.
pub fn end() {
    let _ = ENDS.try_with(|ends| ends.set(Some(Inside::enter())));
}

/// The gate, closed. It opens when this is dropped, in the copy too.
pub struct Gate {
    /// Whether nobody is inside; else the time ran out.
    #[cfg_attr(not(test), allow(dead_code, reason = "what comes next is the same"))]
    is_clear: bool,
}

/// Closes the gate and waits until nobody is inside. Take all locks before that anybody may hold who comes to the gate.
pub fn close() -> Gate {
    CLOSED.store(true, Ordering::SeqCst);
    let mut gate = Gate { is_clear: false };
    let until = Instant::now() + LONGEST;
    loop {
        gate.is_clear = INSIDE.load(Ordering::SeqCst) == 0;
        if gate.is_clear || Instant::now() >= until {
            return gate;
        }
        thread::yield_now();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        CLOSED.store(false, Ordering::SeqCst);
    }
}

/// The calling thread is the only one of this process: see [`takeover`](super::takeover).
pub fn begin_anew() {
    INSIDE.store(0, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// The gate is the process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    #[test]
    fn nobody_is_inside_while_the_gate_is_closed() {
        let _one = ONE_AT_A_TIME.lock();
        let (inside, done) = (AtomicU32::new(0), AtomicBool::new(false));
        let mut clear = 0;
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while !done.load(Ordering::SeqCst) {
                        let counted = Inside::enter();
                        inside.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(counted);
                    }
                });
            }
            // Not for ever: another test's thread may be inside and without a core.
            for _ in 0..2_000 {
                let gate = close();
                if gate.is_clear {
                    clear += 1;
                    for _ in 0..100 {
                        if inside.load(Ordering::SeqCst) != 0 {
                            done.store(true, Ordering::SeqCst);
                            panic!("a thread went in through the closed gate");
                        }
                    }
                }
            }
            done.store(true, Ordering::SeqCst);
        });
        assert!(clear > 0, "it was never clear");
    }

    #[test]
    fn a_thread_that_starts_waits_until_the_gate_is_open() {
        let _one = ONE_AT_A_TIME.lock();
        let opened = AtomicBool::new(false);
        thread::scope(|s| {
            let gate = close();
            let starts = s.spawn(|| {
                let _inside = Inside::enter();
                opened.load(Ordering::SeqCst)
            });
            opened.store(true, Ordering::SeqCst);
            drop(gate);
            assert!(starts.join().unwrap(), "it did not wait");
        });
    }
}
