//! What once went wrong between the engines, the census and unwinding: each a program of its own, since libtest's threads would mean "no verdict", and some
//! ended the process. What each must do is asserted in it; how many deadlocks it must tell of is counted outside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool as StdBool, AtomicUsize as StdUsize};

use threadbook_prelude::*;

/// Does something when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Longest that one of these programs may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// The name, how many deadlocks are told, and what is run.
type Case = (&'static str, usize, fn());

const CASES: &[Case] = &[
    ("new tasks go to the one worker", 0, || {
        let tasks: Vec<_> = (0..50).map(|_| go(|| work(ms(1)))).collect();
        workers(1);
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }),
    ("new tasks go back to the workers", 0, || {
        let (tx, rx) = channel();
        for number in 0..50 {
            let tx = tx.clone();
            go(move || tx.send(number).unwrap());
        }
        drop(tx);
        workers(1);
        workers(2);
        assert_eq!(rx.iter().count(), 50);
    }),
    (
        "another worker takes what a busy task has started",
        0,
        || {
            workers(2);
            // One alone, and more than one: those lie in the line of a worker that does not come to them.
            for count in [1, 2, 40] {
                let begun = Arc::new(StdUsize::new(0));
                let theirs = begun.clone();
                let parent = go(move || {
                    for _ in 0..count {
                        let begun = theirs.clone();
                        go(move || begun.fetch_add(1, Ordering::SeqCst));
                    }
                    // No call of the prelude's: this worker is kept from all others.
                    while theirs.load(Ordering::SeqCst) < count {
                        std::hint::spin_loop();
                    }
                });
                parent.join().unwrap();
            }
        },
    ),
    (
        "what lies in a worker's line goes to the one worker",
        0,
        || {
            workers(2);
            let (started, rest) = channel();
            let go_on = Arc::new(StdBool::new(false));
            // Both workers are kept busy, the second time by one that has started others.
            let busy: Vec<_> = (0..2)
                .map(|_| {
                    let (started, go_on) = (started.clone(), go_on.clone());
                    go(move || {
                        let here = std::thread::current().id();
                        let tasks: Vec<_> = (0..20)
                            .map(|_| go(move || std::thread::current().id() != here))
                            .collect();
                        started.send(tasks).unwrap();
                        while !go_on.load(Ordering::SeqCst) {
                            std::hint::spin_loop();
                        }
                    })
                })
                .collect();
            let tasks: Vec<_> = (0..2).flat_map(|_| rest.recv().unwrap()).collect();
            workers(1);
            for task in tasks {
                assert!(task.join().unwrap(), "run by a worker that may not");
            }
            go_on.store(true, Ordering::SeqCst);
            workers(2);
            busy.into_iter().for_each(|task| task.join().unwrap());
        },
    ),
    ("who was the one worker is woken by who is", 0, || {
        let (tx, rx) = channel();
        let ada = spawn(move || {
            workers(1);
            workers(2);
            rx.recv().unwrap()
        });
        sleep(ms(20));
        workers(1);
        tx.send(7).unwrap();
        assert_eq!(ada.join().unwrap(), 7);
    }),
    ("a task that has begun goes on nowhere else", 0, || {
        let (tx, rx) = channel();
        let moved = Arc::new(StdBool::new(false));
        let theirs = moved.clone();
        let ada = spawn(move || {
            workers(1);
            go(move || {
                let began_on = std::thread::current().id();
                rx.recv().unwrap();
                theirs.store(std::thread::current().id() != began_on, Ordering::SeqCst);
            });
            yield_now();
            workers(2);
        });
        ada.join().unwrap();
        workers(1);
        tx.send(()).unwrap();
        sleep(ms(50));
        assert!(!moved.load(Ordering::SeqCst));
    }),
    ("the one worker ends, and others take over", 0, || {
        spawn(|| workers(1)).join().unwrap();
        assert_eq!(go(|| 5).join().unwrap(), 5);
    }),
    (
        "a scope is not left when a result's destructor panics",
        0,
        || {
            workers(1);
            let ended = StdBool::new(false);
            scope(|s| {
                s.spawn(|| {
                    sleep(ms(100));
                    ended.store(true, Ordering::SeqCst);
                });
                alone_with_its_result(go, || OnDrop(|| panic!("a bad destructor")));
            });
            assert!(ended.load(Ordering::SeqCst));
            let (_tx, rx) = channel::<()>();
            assert!(rx.recv_timeout(ms(5)).is_err());
        },
    ),
    (
        "a worker outlives a result's destructor that panics",
        1,
        || {
            let reached = Arc::new(StdBool::new(false));
            let theirs = reached.clone();
            alone_with_its_result(go, move || {
                OnDrop(move || {
                    theirs.store(true, Ordering::SeqCst);
                    panic!("a bad destructor")
                })
            });
            while !reached.load(Ordering::SeqCst) {
                yield_now();
            }
            deadlock_of_a_task();
        },
    ),
    ("a result's destructor may be cut off", 1, || {
        let (_tx, rx) = channel::<()>();
        let mut rx = Some(rx);
        program(move || {
            let rx = rx.take().unwrap();
            alone_with_its_result(go, move || OnDrop(move || _ = rx.recv()));
            sleep(ms(20));
        });
        deadlock_of_a_task();
    }),
    (
        "a thread's result may be cut off in its destructor",
        1,
        || {
            let (_tx, rx) = channel::<()>();
            let mut rx = Some(rx);
            program(move || {
                let rx = rx.take().unwrap();
                alone_with_its_result(spawn, move || OnDrop(move || _ = rx.recv()));
                sleep(ms(20));
            });
            deadlock_of_a_task();
        },
    ),
    (
        "what a task that never began has, is dropped on a stack",
        0,
        || {
            let till = Arc::new(Mutex::new(0));
            let theirs = till.clone();
            let holder = spawn(move || {
                let _held = theirs.lock().unwrap();
                sleep(ms(30));
            });
            while till.try_lock().is_ok() {
                yield_now();
            }
            program(|| {
                for _ in 0..20 {
                    let till = till.clone();
                    let takes = OnDrop(move || *till.lock().unwrap() += 1);
                    let yields = OnDrop(yield_now);
                    go(move || {
                        let _both = (takes, yields);
                        work(ms(5));
                    });
                }
            });
            holder.join().unwrap();
        },
    ),
    ("a scope is told once that it waits in vain", 2, || {
        let till = Mutex::new(0);
        let held = till.lock().unwrap();
        let (_tx, rx) = channel::<()>();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            scope(|s| {
                s.spawn(|| {
                    // In a destructor it waits for what this thread has, and gets it when this one unwinds no further than here.
                    let _takes = OnDrop(|| drop(till.try_lock()));
                    let _ = rx.recv();
                });
            });
        }));
        assert!(ended.is_err());
        drop(held);
        deadlock_of_a_task();
    }),
    ("a time limit that is over hides no deadlock", 1, || {
        let (tx, rx) = channel::<()>();
        let (_never, waits) = channel::<()>();
        let task = go(move || {
            rx.recv_timeout(Duration::from_secs(3600)).unwrap();
            let _ = waits.recv();
        });
        tx.send(()).unwrap();
        let joined = catch_unwind(AssertUnwindSafe(|| drop(task.join())));
        assert!(joined.is_err());
    }),
    ("tasks do not unwind because the one worker does", 0, || {
        workers(1);
        let till = Arc::new(Mutex::new(0));
        let theirs = till.clone();
        let mut task = Some(go(move || {
            let _held = theirs.lock().unwrap();
            sleep(ms(5));
        }));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _joins = OnDrop(|| task.take().unwrap().join().unwrap());
            yield_now();
            std::panic::resume_unwind(Box::new("the cell's own"));
        }));
        assert!(panicked.is_err() && !till.is_poisoned());
    }),
    ("a new task finds the worker that sleeps", 0, || {
        workers(2);
        for _ in 0..100 {
            let (tx, rx) = channel();
            let flag = Arc::new(StdBool::new(false));
            let theirs = flag.clone();
            let spins = go(move || {
                rx.recv().unwrap();
                while !theirs.load(Ordering::SeqCst) {
                    std::hint::spin_loop();
                }
            });
            sleep(ms(1));
            tx.send(()).unwrap();
            go(move || flag.store(true, Ordering::SeqCst))
                .join()
                .unwrap();
            spins.join().unwrap();
        }
    }),
    (
        "a join waits for the destructors of thread-locals",
        0,
        || {
            let (tx, rx) = channel();
            let done = Arc::new(StdBool::new(false));
            let theirs = done.clone();
            let ada = spawn(move || {
                at_the_threads_end(move || {
                    rx.recv().unwrap();
                    theirs.store(true, Ordering::SeqCst);
                });
            });
            spawn(move || {
                sleep(ms(20));
                tx.send(()).unwrap();
            });
            ada.join().unwrap();
            assert!(done.load(Ordering::SeqCst));
        },
    ),
    (
        "who joins a thread whose destructor wants his lock is told, and it gets the lock",
        1,
        || {
            let till = Arc::new(Mutex::new(0));
            let theirs = till.clone();
            let joined = catch_unwind(AssertUnwindSafe(|| {
                let _held = till.lock().unwrap();
                let ada = spawn(move || at_the_threads_end(move || *theirs.lock().unwrap() += 1));
                let _ = ada.join();
            }));
            assert!(joined.is_err());
            let since = Instant::now();
            while *till.lock().unwrap() == 0 {
                assert!(since.elapsed() < DEADLINE);
                yield_now();
            }
        },
    ),
    (
        "a join that can never end, since a destructor waits for ever, is told",
        1,
        || {
            let (_tx, rx) = channel::<()>();
            let ada = spawn(move || at_the_threads_end(move || _ = rx.recv()));
            let joined = catch_unwind(AssertUnwindSafe(|| drop(ada.join())));
            assert!(joined.is_err());
        },
    ),
    (
        "who caught a panic does not unwind because another task of the worker does",
        0,
        || {
            // As in a notebook, where a panic is told.
            hooks::threadbook_cell_begin(std::ptr::null_mut());
            workers(1);
            let till = Arc::new(Mutex::new(0));
            let (go_on, waits) = channel::<()>();
            let (open, gate) = channel::<()>();
            let theirs = till.clone();
            let caught = go(move || {
                assert!(catch_unwind(|| panic!("burnt")).is_err());
                let mut held = theirs.lock().unwrap();
                waits.recv().unwrap();
                *held += 1;
                drop(held);
                open.send(()).unwrap();
            });
            let unwinds = go(move || {
                let _in_the_middle = OnDrop(move || {
                    go_on.send(()).unwrap();
                    gate.recv().unwrap();
                });
                std::panic::resume_unwind(Box::new("the task's own"));
            });
            assert!(unwinds.join().is_err());
            caught.join().unwrap();
            assert!(!till.is_poisoned() && *till.lock().unwrap() == 1);
        },
    ),
    (
        "a message that is never made is a deadlock, for one who waits a moment as well",
        1,
        || {
            let (tx, rx) = bounded(0);
            let (_never, nothing) = channel::<i32>();
            let ada = spawn(move || rx.recv_timeout(ms(200)));
            sleep(ms(50));
            let chosen = catch_unwind(AssertUnwindSafe(|| {
                select! { send(tx, nothing.recv().unwrap()) -> _ => {} }
            }));
            assert!(chosen.is_err());
            assert!(ada.join().unwrap().is_err());
        },
    ),
    (
        "a reader behind a writer that was cut reads beside the first",
        0,
        || {
            let menu = Arc::new(RwLock::new(5));
            let first = menu.read().unwrap();
            let (open, gate) = channel::<()>();
            let (tell, told) = std::sync::mpsc::channel();
            let theirs = menu.clone();
            let reader = spawn(move || {
                tell.send(this_thread()).unwrap();
                gate.recv().unwrap();
                *theirs.read().unwrap()
            });
            let reader_thread = told.recv().unwrap();
            let theirs = menu.clone();
            program(move || {
                let writer = theirs.clone();
                spawn(move || *writer.write().unwrap() = 6);
                // Who comes later to read is sent away once it waits.
                while theirs.try_read().is_ok() {
                    yield_now();
                }
                open.send(()).unwrap();
                // It has gone on, and sleeps again: in the line behind the writer.
                while !open.is_empty() || !is_asleep(&reader_thread) {
                    yield_now();
                }
            });
            assert_eq!(reader.join().unwrap(), 5, "the first still reads");
            drop(first);
            assert_eq!(*menu.write().unwrap(), 5);
        },
    ),
    (
        "a host's place comes back, unless a task that it began is there yet",
        0,
        || {
            // As many as half of the places keep theirs, and then more than all come and go.
            let (tx, rx) = channel::<()>();
            let moved = Arc::new(StdBool::new(false));
            for _ in 0..90 {
                let (rx, moved) = (rx.clone(), moved.clone());
                let host = spawn(move || {
                    workers(1);
                    go(move || {
                        let _ = rx.recv();
                        moved.store(true, Ordering::SeqCst);
                    });
                    yield_now();
                });
                host.join().unwrap();
            }
            for _ in 0..300 {
                let host = spawn(|| {
                    workers(1);
                    let me = std::thread::current().id();
                    go(move || std::thread::current().id() == me)
                        .join()
                        .unwrap()
                });
                assert!(host.join().unwrap(), "no place was left");
            }
            // All who wait are let go on, and nobody may carry them.
            drop(tx);
            spawn(|| {
                workers(1);
                for _ in 0..10 {
                    go(|| ()).join().unwrap();
                }
            })
            .join()
            .unwrap();
            assert!(!moved.load(Ordering::SeqCst));
        },
    ),
    (
        "a worker that reports a deadlock is awake for the next wait",
        30,
        || {
            workers(2);
            for _ in 0..30 {
                let (_tx, rx) = channel::<()>();
                let (tell, told) = channel();
                let ovens = WaitGroup::new();
                ovens.add(1);
                for number in 0..300 {
                    let (rx, tell) = (rx.clone(), tell.clone());
                    go(move || {
                        // One comes last, so that its worker finds that all wait.
                        if number == 299 {
                            sleep(ms(5));
                        }
                        let cut = catch_unwind(AssertUnwindSafe(|| _ = rx.recv()));
                        assert!(cut.is_err());
                        tell.send(number).unwrap();
                    });
                }
                drop(tell);
                let cut = catch_unwind(AssertUnwindSafe(|| ovens.wait()));
                assert!(cut.is_err());
                // Main is the first to be let go on, and waits again at once, while the worker lets the others go on.
                assert_eq!(told.iter().count(), 300, "no second report");
            }
        },
    ),
    (
        "a program is over when the last of its tasks is, however many begin meanwhile",
        0,
        || {
            for engine in [go::<fn(), ()>, spawn::<fn(), ()>] {
                program(move || {
                    for _ in 0..50 {
                        engine(|| {
                            let _begins_another = OnDrop(|| _ = go(|| sleep(ms(1000))));
                            sleep(ms(10_000));
                        });
                    }
                    sleep(ms(5));
                });
            }
        },
    ),
];

/// What a thread does behind its task.
type Last = Box<dyn FnMut()>;

thread_local! {
    static AT_THE_END: std::cell::RefCell<Vec<OnDrop<Last>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

/// Lets the calling thread do something behind its task, in the destructor of a thread-local.
fn at_the_threads_end(last: impl FnMut() + 'static) {
    let last = OnDrop(Box::new(last) as Last);
    AT_THE_END.with(|at_the_end| at_the_end.borrow_mut().push(last));
}

/// Where the system tells of the calling thread.
fn this_thread() -> std::path::PathBuf {
    std::path::Path::new("/proc").join(std::fs::read_link("/proc/thread-self").unwrap())
}

/// Whether the system says that a thread sleeps.
fn is_asleep(thread: &std::path::Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, fields)| fields.starts_with('S'))
}

/// Starts a task whose handle is gone before it ends: so it is the task that drops its result.
fn alone_with_its_result<T: Send + 'static>(
    start: fn(Box<dyn FnOnce() -> T + Send>) -> JoinHandle<T>,
    body: impl FnOnce() -> T + Send + 'static,
) {
    let (gate, opened) = channel();
    drop(start(Box::new(move || {
        opened.recv().unwrap();
        body()
    })));
    gate.send(()).unwrap();
}

/// A deadlock of main and a green task, which is told and survived.
fn deadlock_of_a_task() {
    let (_tx, rx) = channel::<()>();
    let joined = catch_unwind(AssertUnwindSafe(|| drop(go(move || rx.recv()).join())));
    assert!(joined.is_err());
}

const NAME: &str = "THREADBOOK_ENGINES";

fn main() {
    if let Ok(name) = std::env::var(NAME) {
        let case = CASES.iter().find(|case| case.0 == name);
        (case.expect("one of the cases").2)();
        eprintln!("came to its end");
        return;
    }
    let mut failed = 0;
    for (name, deadlocks, _) in CASES {
        match run(name, *deadlocks) {
            Ok(()) => println!("test {name} ... ok"),
            Err(why) => {
                failed += 1;
                println!("test {name} ... FAILED: {why}");
            }
        }
    }
    let passed = CASES.len() - failed;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    assert!(failed == 0);
}

fn run(name: &str, deadlocks: usize) -> Result<(), String> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(NAME, name)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let pipe = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || std::io::read_to_string(pipe).unwrap_or_default());
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child of ours") {
            Some(status) => break Some(status),
            None if begin.elapsed() > DEADLINE => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    let said = reader.join().expect("it reads");
    let told = said
        .lines()
        .filter(|line| line.starts_with("deadlock:"))
        .count();
    let said: String = said.chars().take(2000).collect();
    match status {
        None => Err(format!("not done after {DEADLINE:?}\n{said}")),
        Some(status) if !status.success() => Err(format!("{status}\n{said}")),
        Some(_) if told != deadlocks => Err(format!("{told} deadlocks, not {deadlocks}\n{said}")),
        Some(_) => Ok(()),
    }
}
