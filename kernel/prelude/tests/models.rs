//! The protocol by which tasks are woken and counted, tried on every interleaving of two or three threads: loom runs each model again and again, another
//! order each time. That the orderings are strong enough is argued beside them; these models hold the order of the steps.
//!
//! What is tried is the text of `rt/phases.rs` itself, with loom's atomics in place of std's.

#[path = "../src/rt/phases.rs"]
mod phases;

/// What `phases.rs` gets its atomics from.
mod atomics {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

use std::sync::Arc;

use atomics::{AtomicU64, Ordering};
use loom::thread;
use phases::{CLAIMED, CUT, GAVE_UP, Phases, WAITING, WOKEN};

/// Far from 0, as in the census: one may be taken out a moment before it is in.
const NOBODY: u64 = 1 << 16;

struct Task {
    phases: Phases,
    /// What the waker gives, without an ordering of its own.
    given: AtomicU64,
    /// How many count as asleep.
    asleep: AtomicU64,
    /// The thread that waits.
    thread: thread::Thread,
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task {
            phases: Phases::new(),
            given: AtomicU64::new(0),
            asleep: AtomicU64::new(NOBODY),
            thread: thread::current(),
        })
    }

    /// Tries to end a wait, as a waker does; says whether it was the one.
    fn wake(&self, wait: u64, phase: u64, gives: u64) -> bool {
        self.wake_one(Waits::AsThread, wait, phase, gives)
    }

    fn wake_one(&self, how: Waits, wait: u64, phase: u64, gives: u64) -> bool {
        let claimed = self.phases.step(wait, WAITING, CLAIMED);
        if claimed {
            self.given.store(gives, Ordering::Relaxed);
            if how == Waits::AsGreenTask {
                self.phases.release_uncounted(wait, phase);
            } else {
                self.phases.release(wait, phase, || {
                    self.asleep.fetch_sub(1, Ordering::SeqCst);
                });
            }
            self.thread.unpark();
        }
        claimed
    }

    fn count(&self, wait: u64) {
        if self.phases.count(wait) {
            self.asleep.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Waits until somebody ends the wait; gives how, and what was given. Then it runs, and must not count as asleep.
    fn park(&self) -> (u64, u64) {
        loop {
            if let Some(how) = self.phases.ended() {
                // At once: a stronger load than that of `ended` would stand in for it.
                let given = self.given.load(Ordering::Relaxed);
                assert_eq!(self.asleep.load(Ordering::SeqCst), NOBODY, "it runs");
                return (how, given);
            }
            thread::park();
        }
    }
}

/// How a task waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// On a thread of its own, without a time limit: it is counted.
    AsThread,
    /// On a thread of its own, for a while.
    ForAWhile,
    /// Its worker is handed it by who wakes it, which stands here for the unparking.
    AsGreenTask,
}

/// Runs a model on every interleaving in which a thread is stopped in the middle at most three times: without a bound, three threads take minutes, and
/// what two or three stops do not show has not been seen to need more.
fn on_every_interleaving(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn of_those_who_would_wake_a_task_one_does_and_what_it_gave_is_there() {
    for how in [Waits::AsThread, Waits::ForAWhile, Waits::AsGreenTask] {
        on_every_interleaving(move || {
            let task = Task::new();
            let wait = task.phases.begin();
            let wakers = [(WOKEN, 1), (CUT, 2)].map(|(phase, gives)| {
                let task = task.clone();
                thread::spawn(move || {
                    let woke = task.wake_one(how, wait, phase, gives);
                    woke.then_some((phase, gives))
                })
            });
            if how == Waits::AsThread {
                task.count(wait);
            }
            let ended = task.park();
            let won: Vec<_> = wakers
                .into_iter()
                .filter_map(|waker| waker.join().unwrap())
                .collect();
            assert_eq!(won, [ended]);
        });
    }
}

#[test]
fn a_wait_whose_time_is_over_is_given_up_or_gets_what_it_was_given() {
    on_every_interleaving(|| {
        let task = Task::new();
        let wait = task.phases.begin();
        let theirs = task.clone();
        let waker = thread::spawn(move || theirs.wake(wait, WOKEN, 7));
        // As `rt::park` does at its deadline.
        if task.phases.step(wait, WAITING, GAVE_UP) {
            assert!(!waker.join().unwrap(), "both have it");
            assert_eq!(task.given.load(Ordering::Relaxed), 0);
        } else {
            task.count(wait);
            assert_eq!(task.park(), (WOKEN, 7));
            assert!(waker.join().unwrap());
        }
        assert_eq!(task.asleep.load(Ordering::SeqCst), NOBODY);
    });
}

#[test]
fn a_token_of_a_wait_that_is_over_ends_no_later_one() {
    // Of the same task, and of another one that got its record.
    for used_again in [false, true] {
        on_every_interleaving(move || a_late_token(used_again));
    }
}

fn a_late_token(used_again: bool) {
    let task = Task::new();
    let first = task.phases.begin();
    let theirs = task.clone();
    let late = thread::spawn(move || theirs.wake(first, WOKEN, 1));
    let ended = if task.phases.step(first, WAITING, GAVE_UP) {
        GAVE_UP
    } else {
        task.park().0
    };
    if used_again {
        task.phases.rest();
    }
    let second = task.phases.begin();
    let theirs = task.clone();
    let waker = thread::spawn(move || theirs.wake(second, CUT, 2));
    task.count(second);
    assert_eq!(task.park(), (CUT, 2));
    assert!(waker.join().unwrap());
    assert_eq!(late.join().unwrap(), ended == WOKEN);
}

#[test]
fn nobody_who_was_let_go_on_counts_as_asleep() {
    on_every_interleaving(|| {
        let task = Task::new();
        let wait = task.phases.begin();
        let theirs = task.clone();
        let waker = thread::spawn(move || theirs.wake(wait, WOKEN, 1));
        // As one looks that wants to know whether all sleep.
        let theirs = task.clone();
        let looks = thread::spawn(move || {
            let can_run = theirs.phases.ended().is_some();
            let asleep = theirs.asleep.load(Ordering::SeqCst);
            assert!(!can_run || asleep <= NOBODY, "a deadlock that is none");
        });
        task.count(wait);
        assert_eq!(task.park(), (WOKEN, 1));
        looks.join().unwrap();
        assert!(waker.join().unwrap());
    });
}

#[test]
fn who_waits_for_a_claimed_task_to_be_given_something_can_be_counted() {
    on_every_interleaving(|| {
        let task = Task::new();
        let wait = task.phases.begin();
        assert!(task.phases.step(wait, WAITING, CLAIMED));
        // The one that claimed it waits itself, for ever: the count must come to say so.
        task.count(wait);
        assert_eq!(task.asleep.load(Ordering::SeqCst), NOBODY + 1);
        assert!(!task.phases.is_waiting(wait), "nobody else may wake it");
        assert_eq!(task.phases.waiting(), None);
        task.phases.release(wait, WOKEN, || {
            task.asleep.fetch_sub(1, Ordering::SeqCst);
        });
        assert_eq!(task.park().0, WOKEN);
    });
}
