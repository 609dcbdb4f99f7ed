//! Green tasks keep what they promise: order under one worker, waits that give the worker away, panics that stay inside, stacks that are guarded.

use std::cell::{Cell, RefCell};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::{MutexGuard as Turn, PoisonError};

use threadbook_prelude::*;

/// The number of workers is one for the whole process, and a test's thread that is the one worker takes what it has begun with it: tests take turns.
fn turn() -> Turn<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `f` with one worker, the calling thread, and gives the number back.
fn alone<T>(f: impl FnOnce() -> T) -> T {
    let before = workers(1);
    let result = f();
    workers(before);
    result
}

/// What several tasks wrote, in their order.
#[derive(Clone, Default)]
struct Board(Arc<std::sync::Mutex<Vec<String>>>);

impl Board {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    fn all(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

#[test]
fn one_worker_gives_the_same_order_every_time() {
    let _turn = turn();
    let program = || {
        let board = Board::default();
        alone(|| {
            let (tx, rx) = bounded(1);
            for name in ["a", "b", "c"] {
                let (board, tx) = (board.clone(), tx.clone());
                go(move || {
                    for number in 0..3 {
                        tx.send(number).unwrap();
                        board.note(format!("{name}{number}"));
                    }
                });
            }
            drop(tx);
            let till = board.clone();
            go(move || rx.iter().for_each(|number| till.note(format!("={number}"))))
                .join()
                .unwrap();
        });
        board.all()
    };
    let first = program();
    assert_eq!(first.split(' ').count(), 18, "{first}");
    for _ in 0..20 {
        assert_eq!(program(), first);
    }
}

#[test]
fn tasks_of_one_worker_run_only_while_the_cell_waits() {
    let _turn = turn();
    let board = Board::default();
    alone(|| {
        let theirs = board.clone();
        let baker = go(move || theirs.note("bakes"));
        board.note("ordered");
        work(ms(1));
        board.note("waits");
        baker.join().unwrap();
        board.note("eats");
    });
    assert_eq!(board.all(), "ordered waits bakes eats");
}

#[test]
fn yielding_lets_the_others_go_first() {
    let _turn = turn();
    let board = Board::default();
    alone(|| {
        for name in ["a", "b"] {
            let board = board.clone();
            go(move || {
                for step in 0..3 {
                    board.note(format!("{name}{step}"));
                    yield_now();
                }
            });
        }
        for _ in 0..2 {
            yield_now();
            board.note("main");
        }
        // Those that are not done go on with the workers of later, or while this thread waits.
        sleep(ms(1));
    });
    assert_eq!(board.all(), "a0 b0 main a1 b1 main a2 b2");
}

#[test]
fn a_wait_gives_the_worker_to_another_task() {
    let _turn = turn();
    let before = workers(2);
    // More tasks that wait than there are workers, each for the next one: only if a wait gives the worker away does the last one come to run.
    let gates: Vec<_> = (0..50).map(|_| channel::<()>()).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = gates.into_iter().unzip();
    let mut tasks = Vec::new();
    for (at, receiver) in receivers.into_iter().enumerate() {
        let next = senders.get(at + 1).cloned();
        tasks.push(go(move || {
            receiver.recv().unwrap();
            if let Some(next) = next {
                next.send(()).unwrap();
            }
        }));
    }
    senders[0].send(()).unwrap();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    workers(before);
}

#[test]
fn sleeping_tasks_sleep_at_the_same_time() {
    let _turn = turn();
    let begin = Instant::now();
    let tasks: Vec<_> = (0..200).map(|_| go(|| sleep(ms(50)))).collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    let took = begin.elapsed();
    assert!(took >= ms(50), "{took:?}");
    // One after the other on a few workers they would take seconds.
    assert!(took < ms(50 * 200 / 4), "{took:?}");
}

#[test]
fn a_panic_stays_inside_its_task() {
    let _turn = turn();
    for _ in 0..200 {
        let burnt = go_named("ada", || -> u32 {
            std::panic::resume_unwind(Box::new("burnt"))
        });
        let fine = go(|| 7);
        assert_eq!(
            burnt.join().unwrap_err().downcast_ref::<&str>(),
            Some(&"burnt")
        );
        assert_eq!(fine.join().unwrap(), 7);
    }
}

#[test]
fn a_task_that_waits_while_it_unwinds_spoils_nothing_for_others() {
    let _turn = turn();
    struct Slow(Receiver<()>);
    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }
    alone(|| {
        let (tx, rx) = channel();
        let burnt = go(move || {
            let _slow = Slow(rx);
            std::panic::resume_unwind(Box::new("burnt"))
        });
        let till = Arc::new(Mutex::new(1));
        let theirs = till.clone();
        let fine = go(move || {
            // While the other one is in the middle of its unwinding, on this very thread.
            *theirs.lock().unwrap() += 1;
            tx.send(()).unwrap();
        });
        fine.join().unwrap();
        assert!(burnt.join().is_err());
        assert_eq!(
            *till
                .lock()
                .expect("not poisoned by a panic of another task"),
            2
        );
    });
}

#[test]
fn a_poisoned_lock_is_poisoned_by_a_green_task_too() {
    let _turn = turn();
    let till = Arc::new(Mutex::new(0));
    let theirs = till.clone();
    let burnt = go(move || {
        let _held = theirs.lock().unwrap();
        panic!("the till is on fire");
    });
    assert!(burnt.join().is_err());
    assert!(till.is_poisoned());
}

#[test]
fn what_a_task_keeps_in_its_thread_stays_there() {
    thread_local! { static OVEN: Cell<usize> = const { Cell::new(0) }; }
    let _turn = turn();
    let before = workers(2);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            go(|| {
                let (mine, guard) = (std::thread::current().id(), RefCell::new(1));
                let _held = guard.borrow_mut();
                for _ in 0..20 {
                    OVEN.set(OVEN.get() + 1);
                    if OVEN.get().is_multiple_of(3) {
                        sleep(Duration::from_micros(20));
                    } else {
                        yield_now();
                    }
                    assert_eq!(std::thread::current().id(), mine, "a started task stays");
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    workers(before);
}

#[test]
fn a_hundred_thousand_tasks_wait_at_once() {
    const TASKS: usize = 100_000;
    let _turn = turn();
    let (gate, ready, sum) = (
        WaitGroup::new(),
        WaitGroup::new(),
        Arc::new(AtomicUsize::new(0)),
    );
    gate.add(1);
    ready.add(TASKS);
    let done = WaitGroup::new();
    for number in 0..TASKS {
        let (gate, ready, sum) = (gate.clone(), ready.clone(), sum.clone());
        done.go(move || {
            ready.done();
            gate.wait();
            sum.fetch_add(number, Ordering::Relaxed);
        });
    }
    ready.wait();
    gate.done();
    done.wait();
    assert_eq!(sum.load(Ordering::Relaxed), TASKS * (TASKS - 1) / 2);
}

#[test]
fn scoped_tasks_borrow() {
    let _turn = turn();
    let (mut loaves, till) = (vec![3, 1, 2], Mutex::new(0));
    scope(|s| {
        s.go(|| loaves.sort_unstable());
        for price in [2, 3] {
            let till = &till;
            s.go_named("ada", move || *till.lock().unwrap() += price);
        }
    });
    assert_eq!((loaves, till.into_inner().unwrap()), (vec![1, 2, 3], 5));
}

#[test]
fn a_program_takes_what_it_started_with_it() {
    let _turn = turn();
    for before in [workers(0), 1] {
        workers(before);
        struct Told(Arc<AtomicUsize>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (ended, went_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (tx, rx) = channel::<u32>();
        let result = program(|| {
            let start = |wait: fn()| {
                let (told, went_on) = (Told(ended.clone()), went_on.clone());
                move || {
                    let _told = told;
                    wait();
                    went_on.fetch_add(1, Ordering::SeqCst);
                }
            };
            go(start(|| sleep(ms(60_000))));
            go(start(|| {
                let (_kept, never) = channel::<u32>();
                let _ = never.recv();
            }));
            spawn(start(|| sleep(ms(60_000))));
            spawn(start(|| {
                loop {
                    yield_now();
                }
            }));
            // One that starts another while it is cut off.
            let tx = tx.clone();
            go(move || {
                let _tx = tx;
                let inner = go(|| sleep(ms(60_000)));
                let _ = inner.join();
            });
            yield_now();
            42
        });
        assert_eq!(result, 42);
        assert_eq!(ended.load(Ordering::SeqCst), 4, "all unwound");
        assert_eq!(went_on.load(Ordering::SeqCst), 0, "none went on");
        drop(tx);
        assert!(rx.recv().is_err(), "and gave back what they had");
    }
    workers(0);
    workers(
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .max(2),
    );
}

#[test]
fn a_program_that_panics_is_over_too() {
    let _turn = turn();
    let (tx, rx) = channel::<u32>();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        program(|| {
            go(move || {
                sleep(ms(60_000));
                drop(tx);
            });
            std::panic::resume_unwind(Box::new("burnt"));
        });
    }));
    assert_eq!(result.unwrap_err().downcast_ref::<&str>(), Some(&"burnt"));
    assert!(rx.recv().is_err());
}

/// What this test program does when it is started as a child: to overflow a stack ends the process.
#[test]
fn child_overflows() {
    #[inline(never)]
    #[allow(unconditional_recursion, reason = "that is the point")]
    fn knead(dough: u64) -> u64 {
        let table = std::hint::black_box([dough; 64]);
        knead(dough + 1) + table[dough as usize % 64]
    }
    match std::env::var("THREADBOOK_OVERFLOW").as_deref() {
        Ok("go") => _ = go_named("ada", || knead(0)).join(),
        Ok("host") => {
            workers(1);
            _ = go_named("grace", || knead(0)).join();
        }
        _ => {}
    }
}

#[test]
fn a_task_that_overflows_its_stack_is_named() {
    let _turn = turn();
    for (how, name) in [("go", "ada"), ("host", "grace")] {
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["child_overflows", "--exact", "--nocapture"])
            .env("THREADBOOK_OVERFLOW", how)
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(
            said.contains(&format!("`{name}` has overflowed its stack")),
            "{said}"
        );
    }
}
