//! The works, done by the prelude.

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;

use threadbook_prelude::*;
use threadbook_timeline::format::Kind;

use crate::run::{
    BURST, LOCKS, MESSAGES, PARKED, ROUND_TRIPS, TASKS, THREADS, YIELDS, median, per_time, resident,
};

pub fn event() -> f64 {
    let here = std::panic::Location::caller();
    per_time(BURST, || {
        for _ in 0..BURST {
            recorder::record(Kind::Yield, black_box(7), 0, 0, Some(here));
        }
    })
}

pub fn mutex() -> f64 {
    let till = Mutex::new(0_usize);
    per_time(BURST, || {
        for _ in 0..BURST {
            *black_box(&till).lock().unwrap() += 1;
        }
    })
}

/// Starts a task on one of the engines.
type Start = fn(Box<dyn FnOnce() + Send>) -> JoinHandle<()>;

fn as_task(body: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
    go(body)
}

fn as_thread(body: Box<dyn FnOnce() + Send>) -> JoinHandle<()> {
    spawn(body)
}

fn join_all(tasks: impl IntoIterator<Item = JoinHandle<()>>) {
    for task in tasks {
        task.join().unwrap();
    }
}

pub fn mutex_4() -> f64 {
    by_four(as_task)
}

pub fn mutex_4_threads() -> f64 {
    by_four(as_thread)
}

fn by_four(start: Start) -> f64 {
    let till = Arc::new(Mutex::new(0_usize));
    per_time(LOCKS, || {
        let tasks = [(); 4].map(|()| {
            let till = till.clone();
            start(Box::new(move || {
                for _ in 0..LOCKS / 4 {
                    *till.lock().unwrap() += 1;
                }
            }))
        });
        join_all(tasks);
    })
}

/// Measures from inside of a green task, as Go does: its main is one among the others.
fn in_a_task(measure: impl FnOnce() -> f64 + Send + 'static) -> f64 {
    go(measure).join().unwrap()
}

pub fn spawn_many() -> f64 {
    in_a_task(|| {
        let ovens = WaitGroup::new();
        per_time(TASKS, || {
            for _ in 0..TASKS {
                ovens.go(|| ());
            }
            ovens.wait();
        })
    })
}

pub fn spawn_one() -> f64 {
    in_a_task(|| {
        let ovens = WaitGroup::new();
        per_time(TASKS, || {
            for _ in 0..TASKS {
                ovens.go(|| ());
                ovens.wait();
            }
        })
    })
}

pub fn spawn_thread() -> f64 {
    per_time(THREADS, || {
        for _ in 0..THREADS {
            spawn(|| ()).join().unwrap();
        }
    })
}

pub fn rendezvous() -> f64 {
    ball(as_task)
}

pub fn rendezvous_1() -> f64 {
    workers(1);
    ball(as_task)
}

pub fn rendezvous_threads() -> f64 {
    ball(as_thread)
}

fn ball(start: Start) -> f64 {
    per_time(ROUND_TRIPS, || {
        let (there, there_end) = bounded::<usize>(0);
        let (back, back_end) = bounded::<usize>(0);
        let ada = start(Box::new(move || {
            for ball in 0..ROUND_TRIPS {
                there.send(ball).unwrap();
                back_end.recv().unwrap();
            }
        }));
        let grace = start(Box::new(move || {
            for ball in there_end {
                back.send(ball).unwrap();
            }
        }));
        join_all([ada, grace]);
    })
}

pub fn bounded_1_1() -> f64 {
    messages(1, as_task)
}

pub fn bounded_1_1_one_worker() -> f64 {
    workers(1);
    messages(1, as_task)
}

pub fn bounded_1_1_threads() -> f64 {
    messages(1, as_thread)
}

pub fn bounded_4_4() -> f64 {
    messages(4, as_task)
}

pub fn bounded_4_4_threads() -> f64 {
    messages(4, as_thread)
}

fn messages(pairs: usize, start: Start) -> f64 {
    per_time(MESSAGES, || {
        let (tx, rx) = bounded::<usize>(128);
        let senders = (0..pairs).map(|_| {
            let tx = tx.clone();
            start(Box::new(move || {
                for message in 0..MESSAGES / pairs {
                    tx.send(message).unwrap();
                }
            }))
        });
        let receivers = (0..pairs).map(|_| {
            let rx = rx.clone();
            start(Box::new(move || {
                for message in rx {
                    black_box(message);
                }
            }))
        });
        let all: Vec<_> = senders.chain(receivers).collect();
        drop((tx, rx));
        join_all(all);
    })
}

pub fn switch() -> f64 {
    workers(1);
    per_time(YIELDS, || {
        let tasks = [(); 2].map(|()| {
            go(|| {
                for _ in 0..YIELDS / 2 {
                    yield_now();
                }
            })
        });
        join_all(tasks);
    })
}

pub fn parked() -> f64 {
    static THERE: AtomicUsize = AtomicUsize::new(0);
    let (tx, rx) = channel::<()>();
    // The workers and their own memory are there before.
    go(|| ()).join().unwrap();
    let before = resident();
    for _ in 0..PARKED {
        let rx = rx.clone();
        drop(go(move || {
            THERE.fetch_add(1, Ordering::Relaxed);
            assert!(rx.recv().is_err());
        }));
    }
    while THERE.load(Ordering::Relaxed) < PARKED {
        std::thread::yield_now();
    }
    let bytes = resident() - before;
    drop(tx);
    bytes as f64 / PARKED as f64
}

pub fn deadlock_median() -> f64 {
    median(&mut deadlocks())
}

pub fn deadlock_p99() -> f64 {
    let mut took = deadlocks();
    took.sort_by(f64::total_cmp);
    took[took.len() * 99 / 100]
}

/// Of 200 deadlocks the nanoseconds from the moment at which the last task begins to wait to the one at which all have been let go on: two threads, two
/// green tasks and the main one wait for messages that nobody is left to send.
fn deadlocks() -> Vec<f64> {
    let deadlock = || {
        let (tx, rx) = channel::<()>();
        let wait = |rx: Receiver<()>| {
            let begun = Instant::now();
            let ended = catch_unwind(AssertUnwindSafe(|| rx.recv()));
            assert!(ended.is_err(), "let go on by a report");
            (begun, Instant::now())
        };
        let (rx_1, rx_2, rx_3, rx_4) = (rx.clone(), rx.clone(), rx.clone(), rx.clone());
        let others = [
            spawn(move || wait(rx_1)),
            spawn(move || wait(rx_2)),
            go(move || wait(rx_3)),
            go(move || wait(rx_4)),
        ];
        let mine = wait(rx);
        let mut waits = vec![mine];
        waits.extend(others.map(|other| other.join().unwrap()));
        drop(tx);
        let last_begun = waits.iter().map(|wait| wait.0).max().expect("five waits");
        let last_ended = waits.iter().map(|wait| wait.1).max().expect("five waits");
        last_ended.duration_since(last_begun).as_nanos() as f64
    };
    crate::trace::next_recording();
    (0..220).map(|_| deadlock()).skip(20).collect()
}
