//! Programs that come to a deadlock through `RwLock`, `Condvar`, `Barrier` or `OnceLock`: each is told of on standard error, and comes back.
//!
//! "All sleep" is a verdict about a process, and a test harness's own threads would forbid it. So there is none here: this program runs itself once for
//! each case, with the case's name, and looks at what that process did.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};

use threadbook_prelude::*;

/// Names the case that this process is to run.
const CASE: &str = "THREADBOOK_DEADLOCK_CASE";

/// Longest that a case may take.
const DEADLINE: Duration = Duration::from_secs(20);

struct Case {
    name: &'static str,
    /// Comes to a deadlock, once; checks that nothing is spoilt after it.
    run: fn(),
    /// What standard error must say.
    says: &'static [&'static str],
    /// What it must not say.
    not: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "one that reads asks to write",
        run: || {
            let menu = RwLock::new(5).named("menu");
            ends_in_a_deadlock(|| {
                let looking = menu.read().unwrap();
                let _changing = menu.write();
                drop(looking);
            });
            assert!(!menu.is_poisoned());
            assert_eq!(*menu.try_write().unwrap(), 5);
        },
        says: &[
            "deadlock: a task waits for itself",
            "`main` waits to write rw lock `menu` at",
            "deadlocks.rs",
            "which it has itself since",
            "deadlocks.rs",
            ": let go of the guard that you have before you ask for another",
        ],
        not: &[],
    },
    Case {
        name: "one that writes asks to read",
        run: || {
            let menu = RwLock::new(5).named("menu");
            ends_in_a_deadlock(|| {
                let mut changing = menu.write().unwrap();
                *changing = 6;
                let _looking = menu.read();
            });
            assert!(!menu.is_poisoned());
            assert_eq!(*menu.try_write().unwrap(), 6);
        },
        says: &[
            "deadlock: a task waits for itself",
            "`main` waits to read rw lock `menu` at",
            "which it has itself since",
        ],
        not: &["waits to write"],
    },
    Case {
        name: "two read each one and ask to write the other",
        run: || {
            let (menu, prices) = (RwLock::new(1).named("menu"), RwLock::new(2).named("prices"));
            let both = Barrier::new(2);
            let (menu, prices, both) = (&menu, &prices, &both);
            scope(|s| {
                let ada = s.spawn_named("ada", move || {
                    let _looking = menu.read().unwrap();
                    both.wait();
                    *prices.write().unwrap() += 1;
                });
                let grace = s.spawn_named("grace", move || {
                    let _looking = prices.read().unwrap();
                    both.wait();
                    *menu.write().unwrap() += 1;
                });
                assert!(ada.join().is_err() && grace.join().is_err());
            });
            assert!(!menu.is_poisoned() && !prices.is_poisoned());
            assert_eq!(*menu.try_write().unwrap() + *prices.try_write().unwrap(), 3);
        },
        says: &[
            "deadlock: these tasks wait for each other, in a ring",
            "`ada` waits to write rw lock `prices` at",
            "which `grace` has since",
            "`grace` waits to write rw lock `menu` at",
            "which `ada` has since",
        ],
        not: &["itself"],
    },
    Case {
        name: "one reads again while another waits to write",
        run: || {
            let menu = RwLock::new(5).named("menu");
            let menu = &menu;
            ends_in_a_deadlock(|| {
                scope(|s| {
                    let _looking = menu.read().unwrap();
                    s.spawn_named("ada", || *menu.write().unwrap() += 1);
                    while menu.try_read().is_ok() {
                        std::thread::yield_now(); // until ada waits
                    }
                    let _again = menu.read();
                });
            });
            assert!(!menu.is_poisoned());
            assert_eq!(*menu.try_write().unwrap(), 6, "ada went on");
        },
        says: &[
            "deadlock: a task waits for itself",
            "`main` waits to read rw lock `menu` at",
            "which it has itself since",
            "; `ada` waits to write since",
            ", and who asked before comes before: let go of the guard that you have before you ask for another",
        ],
        not: &["`ada` has"],
    },
    Case {
        name: "a ring of a lock and a read-write lock, while others run",
        run: || {
            let (till, menu) = (Mutex::new(1).named("till"), RwLock::new(2).named("menu"));
            let (till, menu, both) = (&till, &menu, &Barrier::new(2));
            let stop = &std::sync::atomic::AtomicBool::new(false);
            scope(|s| {
                s.spawn_named("busy", || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                });
                let ada = s.spawn_named("ada", || {
                    let _money = till.lock().unwrap();
                    both.wait();
                    *menu.write().unwrap() += 1;
                });
                let grace = s.spawn_named("grace", || {
                    let _looking = menu.read().unwrap();
                    both.wait();
                    *till.lock().unwrap() += 1;
                });
                assert!(ada.join().is_err() && grace.join().is_err());
                stop.store(true, Ordering::Relaxed);
            });
            assert!(!till.is_poisoned() && !menu.is_poisoned());
            assert_eq!(*till.lock().unwrap() + *menu.write().unwrap(), 3);
        },
        says: &["deadlock: these tasks wait for each other, in a ring"],
        not: &["busy"],
    },
    Case {
        name: "nobody notifies",
        run: || {
            let (shelf, filled) = (Mutex::new(0), Condvar::new().named("filled"));
            ends_in_a_deadlock(|| {
                let mut loaves = shelf.lock().unwrap();
                while *loaves == 0 {
                    loaves = filled.wait(loaves).unwrap();
                }
            });
            assert!(!shelf.is_poisoned());
            assert_eq!(*shelf.try_lock().unwrap(), 0);
        },
        says: &[
            "deadlock: every task waits, and none is left that could wake another",
            "`main` waits to be notified by condvar `filled` at",
            "; nobody ever notified it, and nobody is left to",
        ],
        not: &[],
    },
    Case {
        name: "a notification came before the wait",
        run: || {
            let bakery = Arc::new((Mutex::new(0), Condvar::new().named("filled")));
            let (shelf, filled) = &*bakery;
            ends_in_a_deadlock(|| {
                let theirs = bakery.clone();
                let baker = spawn_named("ada", move || theirs.1.notify_all());
                baker.join().unwrap();
                // Nobody looks at the shelf first, which is the mistake.
                drop(filled.wait(shelf.lock().unwrap()).unwrap());
            });
            assert!(!shelf.is_poisoned());
            assert!(shelf.try_lock().is_ok());
        },
        says: &[
            "`main` waits to be notified by condvar `filled` at",
            "; it was notified once, by ",
            " at ",
            "deadlocks.rs",
            "a notification is lost on who waits later, so look at the value before you wait",
        ],
        not: &[],
    },
    Case {
        name: "a barrier short of one",
        run: || {
            let kneaded = Barrier::new(3).named("all kneaded");
            let kneaded = &kneaded;
            ends_in_a_deadlock(|| {
                scope(|s| {
                    s.spawn_named("ada", || kneaded.wait());
                    s.spawn_named("grace", || kneaded.wait());
                });
                panic!("the scope is to unwind");
            });
            // Those who were ended count no more: it takes three again.
            scope(|s| {
                let others = [
                    s.spawn(|| kneaded.wait().is_leader()),
                    s.spawn(|| kneaded.wait().is_leader()),
                ];
                let mine = kneaded.wait().is_leader();
                let theirs = others.map(|other| other.join().unwrap());
                assert_eq!(
                    [mine, theirs[0], theirs[1]]
                        .iter()
                        .filter(|led| **led)
                        .count(),
                    1
                );
            });
        },
        says: &[
            "deadlock: every task waits",
            "`main` waits for the threads of its scope",
            "`ada` waits for the others at barrier `all kneaded` at",
            "`grace` waits for the others at barrier `all kneaded` at",
            "; 2 of 3 have come, and nobody else is left to",
        ],
        not: &[],
    },
    Case {
        name: "a once lock that nobody sets",
        run: || {
            let recipe = OnceLock::new().named("recipe");
            let recipe = &recipe;
            ends_in_a_deadlock(|| {
                scope(|s| {
                    s.spawn_named("ada", || *recipe.wait() + 1);
                });
                panic!("the scope is to unwind");
            });
            assert_eq!(recipe.get(), None);
            assert_eq!(recipe.set(5), Ok(()));
            assert_eq!(recipe.wait(), &5);
        },
        says: &[
            "deadlock: every task waits",
            "`ada` waits for another task to fill once lock `recipe` at",
            "; nobody ever set it, and nobody is left to",
        ],
        not: &[],
    },
    Case {
        name: "a once lock whose maker asks for it",
        run: || {
            let recipe = OnceLock::new().named("recipe");
            ends_in_a_deadlock(|| {
                recipe.get_or_init(|| *recipe.get_or_init(|| 5) + 1);
            });
            assert_eq!(recipe.get(), None);
            assert_eq!(recipe.get_or_init(|| 6), &6);
        },
        says: &[
            "deadlock: a task waits for itself",
            "`main` waits for another task to fill once lock `recipe` at",
            ", which it fills itself since",
        ],
        not: &[],
    },
    Case {
        name: "waits in a destructor of one that is ended",
        run: || {
            /// Waits once more for everything while its task unwinds. Whatever it waits for comes, or the call returns without.
            struct Tidy<'a>(
                &'a Barrier,
                &'a (Mutex<i32>, Condvar),
                &'a RwLock<i32>,
                &'a OnceLock<i32>,
            );
            impl Drop for Tidy<'_> {
                fn drop(&mut self) {
                    assert!(!self.0.wait().is_leader());
                    let loaves = self.1.0.lock().unwrap();
                    let mut loaves = self.1.1.wait(loaves).unwrap();
                    *loaves += 1;
                    drop(loaves);
                    *self.2.write().unwrap() += 1;
                    assert_eq!(*self.2.read().unwrap(), 6);
                    assert_eq!(self.3.get_or_init(|| 7), self.3.wait());
                }
            }
            let (kneaded, bakery) = (Barrier::new(2), (Mutex::new(0), Condvar::new()));
            let (menu, recipe) = (RwLock::new(5), OnceLock::new());
            ends_in_a_deadlock(|| {
                let _tidy = Tidy(&kneaded, &bakery, &menu, &recipe);
                kneaded.wait();
            });
            assert!(!bakery.0.is_poisoned() && !menu.is_poisoned());
            assert_eq!(
                (
                    *bakery.0.lock().unwrap(),
                    *menu.read().unwrap(),
                    recipe.get()
                ),
                (1, 6, Some(&7))
            );
        },
        says: &["deadlock: every task waits", "; 1 of 2 has come"],
        not: &[],
    },
    Case {
        name: "one that is ended asks in a destructor for the lock that it has",
        run: || {
            still_waits_after(ms(200));
            let menu = RwLock::new(0).named("menu");
            let _changing = menu.write().unwrap();
            let _tidy = Asks(&menu);
            let _never = menu.write();
        },
        says: &["deadlock: a task waits for itself"],
        not: &["overflow"],
    },
    Case {
        name: "one that panics asks in a destructor for the lock that it has",
        run: || {
            still_waits_after(ms(200));
            let menu = RwLock::new(0).named("menu");
            let _changing = menu.write().unwrap();
            let _tidy = Asks(&menu);
            std::panic::resume_unwind(Box::new("burnt"));
        },
        says: &["deadlock: a task waits for itself"],
        not: &["overflow"],
    },
    Case {
        name: "one that was told to end in a destructor, caught its panic and waits anew",
        run: || {
            let (menu, till) = (RwLock::new(0).named("menu"), Mutex::new(0).named("till"));
            let both = Barrier::new(2);
            let (menu, till, both) = (&menu, &till, &both);
            scope(|s| {
                let ada = s.spawn_named("ada", move || {
                    let burnt = catch_unwind(AssertUnwindSafe(|| {
                        let _money = till.lock().unwrap();
                        let _tidy = Asks(menu);
                        both.wait();
                        std::panic::resume_unwind(Box::new("burnt"));
                    }));
                    assert!(burnt.is_err());
                    *menu.write().unwrap() += 1; // is not ended here: the deadlock is over
                });
                let grace = s.spawn_named("grace", move || {
                    let _changing = menu.write().unwrap();
                    both.wait();
                    drop(till.lock());
                });
                assert!(grace.join().is_err());
                ada.join().unwrap();
            });
            assert!(till.is_poisoned(), "by the panic, not by the deadlock");
            assert!(!menu.is_poisoned());
            assert_eq!(*menu.read().unwrap(), 2);
        },
        says: &["deadlock: these tasks wait for each other, in a ring"],
        not: &[],
    },
];

/// Asks for the lock in its destructor, and adds one.
struct Asks<'a>(&'a RwLock<i32>);

impl Drop for Asks<'_> {
    fn drop(&mut self) {
        *self.0.write().unwrap() += 1;
    }
}

/// Ends the process as if it had come back, after a time in which a report that came again and again would have come often. What waits in a destructor for
/// itself can neither be unwound nor let on: it waits, as with std.
fn still_waits_after(time: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(time);
        println!("came back");
        std::process::exit(0);
    });
}

/// Runs what comes to a deadlock: it unwinds, without a word of the panic hook.
#[track_caller]
fn ends_in_a_deadlock(run: impl FnOnce()) {
    let ended = catch_unwind(AssertUnwindSafe(run));
    let payload = ended.expect_err("it unwinds");
    assert!(
        !payload.is::<&str>() && !payload.is::<String>(),
        "no panic of its own"
    );
    // Whoever was cut with it may be on its way out still; a caught deadlock is over, and this task may wait again.
    yield_now();
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE) {
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        (case.run)();
        println!("came back");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for case in CASES {
        let result = try_case(case);
        println!(
            "test {} ... {}",
            case.name,
            if result.is_ok() { "ok" } else { "FAILED" }
        );
        if let Err(why) = result {
            println!("{why}");
            failed += 1;
        }
    }
    println!(
        "\ntest result: {} passed; {failed} failed",
        CASES.len() - failed
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Runs a case in a process of its own and looks at what that did.
fn try_case(case: &Case) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|why| format!("this program: {why}"))?;
    let mut child = Command::new(program)
        .env(CASE, case.name)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| format!("a process: {why}"))?;
    let start = Instant::now();
    let in_time = loop {
        match child.try_wait().map_err(|why| why.to_string())? {
            Some(_) => break true,
            None if start.elapsed() > DEADLINE => break child.kill().is_err(),
            None => std::thread::sleep(ms(2)),
        }
    };
    let output = child.wait_with_output().map_err(|why| why.to_string())?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let told = || {
        format!(
            "{}\nstandard output:\n{out}\nstandard error:\n{err}",
            output.status
        )
    };
    if !in_time {
        return Err(format!("still running after {DEADLINE:?}: {}", told()));
    }
    if !output.status.success() || out != "came back\n" {
        return Err(format!("did not come back: {}", told()));
    }
    if let Some(part) = case.says.iter().find(|part| !err.contains(**part)) {
        return Err(format!("`{part}` is not said: {}", told()));
    }
    if let Some(part) = case.not.iter().find(|part| err.contains(**part)) {
        return Err(format!("`{part}` is said: {}", told()));
    }
    if err.contains("panicked") || err.matches("deadlock: ").count() != 1 {
        return Err(format!(
            "one deadlock and no panic are to be told: {}",
            told()
        ));
    }
    Ok(())
}
