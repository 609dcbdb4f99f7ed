//! Each fact is true of one program and false of another, each time, on one core and on two, and while other threads are busy.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool as StdBool;

use threadbook_prelude::*;

/// How often each program is run.
const ROUNDS: usize = 20;
/// Set where busy threads are to compete for the cores.
const LOAD: &str = "THREADBOOK_TEST_LOAD";

type Program = fn();
type Fact = fn(&Facts) -> bool;

// Programs of one small bakery, each a few lines.

fn nobody() {}

fn fan() {
    let bakers: Vec<_> = ["ada", "grace", "barbara"]
        .into_iter()
        .map(|name| spawn_named(name, || work(Duration::from_micros(50))))
        .collect();
    for baker in bakers {
        baker.join().unwrap();
    }
}

fn staircase() {
    for name in ["ada", "grace", "barbara"] {
        spawn_named(name, || work(Duration::from_micros(50)))
            .join()
            .unwrap();
    }
}

fn not_awaited() {
    spawn_named("ada", || sleep(Duration::from_micros(50)));
}

fn burnt() {
    let ada = spawn_named("ada", || std::panic::resume_unwind(Box::new("burnt")));
    assert!(ada.join().is_err());
}

/// Each is known to be over by what it did last, not by a join.
fn one_after_the_other_by_messages() {
    let (tx, rx) = channel();
    for name in ["ada", "grace"] {
        let tx = tx.clone();
        spawn_named(name, move || tx.send(1).unwrap());
        rx.recv().unwrap();
    }
}

fn one_after_the_other_by_groups() {
    for name in ["ada", "grace"] {
        let group = WaitGroup::new();
        group.go_named(name, || work(Duration::from_micros(20)));
        group.wait();
    }
}

/// The senders go on after their last message for some time.
fn messages_and_then_more() {
    let (tx, rx) = channel();
    for name in ["ada", "grace"] {
        let tx = tx.clone();
        spawn_named(name, move || {
            tx.send(1).unwrap();
            yield_now();
        });
        rx.recv().unwrap();
    }
}

fn one_by_one_through_a_lock() {
    let till = Arc::new(Mutex::new(0).named("till"));
    scope(|s| {
        for name in ["ada", "grace"] {
            let till = till.clone();
            s.spawn_named(name, move || *till.lock().unwrap() += 1);
        }
    });
}

fn asleep_with_the_lock() {
    let till = Mutex::new(0).named("till");
    scope(|s| {
        s.spawn_named("ada", || {
            let mut till = till.lock().unwrap();
            sleep(Duration::from_micros(20));
            work(Duration::from_micros(20));
            *till += 1;
        });
        s.spawn_named("grace", || {
            sleep(Duration::from_micros(20));
            *till.lock().unwrap() += 1;
        });
    });
}

fn two_locks(other_order_too: bool) {
    let (till, shelf) = (Mutex::new(0).named("till"), Mutex::new(0).named("shelf"));
    let both = |first: &Mutex<i32>, second: &Mutex<i32>| {
        let _first = first.lock().unwrap();
        let _second = second.lock().unwrap();
    };
    spawn(|| {}).join().unwrap();
    scope(|s| s.spawn_named("ada", || both(&till, &shelf)).join().unwrap());
    scope(|s| {
        let (first, second) = if other_order_too {
            (&shelf, &till)
        } else {
            (&till, &shelf)
        };
        s.spawn_named("grace", || both(first, second))
            .join()
            .unwrap();
    });
}

fn one_order() {
    two_locks(false);
}

fn both_orders() {
    two_locks(true);
}

fn rendezvous() {
    let (tx, rx) = bounded(0);
    let ada = spawn_named("ada", move || {
        for loaf in 0..3 {
            tx.send(loaf).unwrap();
        }
    });
    assert_eq!(rx.iter().count(), 3);
    ada.join().unwrap();
}

/// The senders are known only by their messages.
fn rendezvous_of_three() {
    let (tx, rx) = bounded(0);
    for name in ["ada", "grace", "barbara"] {
        let tx = tx.clone();
        spawn_named(name, move || tx.send(name).unwrap());
    }
    for _ in 0..3 {
        rx.recv().unwrap();
    }
}

fn belt() {
    let (tx, rx) = bounded(2);
    let tx = tx.named("belt");
    let ada = spawn_named("ada", move || {
        for loaf in 0..3 {
            tx.send(loaf).unwrap();
        }
    });
    assert_eq!(rx.iter().count(), 3);
    ada.join().unwrap();
}

fn never_closed() {
    let (tx, rx) = channel();
    tx.send(1).unwrap();
    rx.recv().unwrap();
    std::mem::forget(tx);
}

fn taking_turns() {
    let (to_grace, from_ada) = bounded(0);
    let (to_ada, from_grace) = bounded(0);
    scope(|s| {
        s.spawn_named("ada", move || {
            for _ in 0..3 {
                mark("tick");
                to_grace.send(()).unwrap();
                from_grace.recv().unwrap();
            }
        });
        s.spawn_named("grace", move || {
            for _ in 0..3 {
                from_ada.recv().unwrap();
                mark("tock");
                to_ada.send(()).unwrap();
            }
        });
    });
}

/// Two tasks, and a barrier for two: each round is theirs.
fn turns_at_a_barrier() {
    let door = Barrier::new(2);
    scope(|s| {
        s.spawn(|| {
            for _ in 0..3 {
                mark("tick");
                door.wait();
                door.wait();
            }
        });
        s.spawn(|| {
            for _ in 0..3 {
                door.wait();
                mark("tock");
                door.wait();
            }
        });
    });
}

/// The same, but two more come to the same barrier: who meets whom is chance.
fn turns_at_a_barrier_for_others_too() {
    let door = Barrier::new(2);
    scope(|s| {
        s.spawn(|| {
            mark("tick");
            door.wait();
        });
        s.spawn(|| {
            door.wait();
            mark("tock");
        });
        for _ in 0..2 {
            s.spawn(|| _ = door.wait());
        }
    });
}

fn marks_by_chance() {
    scope(|s| {
        s.spawn_named("ada", || mark("tick"));
        s.spawn_named("grace", || mark("tock"));
    });
}

fn ovens() {
    let ovens = WaitGroup::new().named("ovens");
    for name in ["ada", "grace"] {
        ovens.go_named(name, || work(Duration::from_micros(20)));
    }
    ovens.wait();
}

/// `add` in the task itself: a wait that comes first finds zero.
fn added_late() {
    let ovens = WaitGroup::new().named("ovens");
    let theirs = ovens.clone();
    let ada = spawn_named("ada", move || {
        theirs.add(1);
        theirs.done();
    });
    ovens.wait();
    ada.join().unwrap();
}

fn in_one_step() {
    let sold = AtomicU64::new(0).named("sold");
    scope(|s| {
        for name in ["ada", "grace"] {
            s.spawn_named(name, || sold.fetch_add(1, Ordering::Relaxed));
        }
    });
}

fn in_two_steps() {
    let sold = Racy::new(0_u64).named("sold");
    scope(|s| {
        for name in ["ada", "grace"] {
            s.spawn_named(name, || sold.read_then_write(|loaves| loaves + 1));
        }
    });
}

fn foreman() {
    let ada = spawn_named("ada", fan_of_two);
    ada.join().unwrap();
}

fn fan_of_two() {
    let bakers = ["kid", "lad"].map(|name| spawn_named(name, yield_now));
    bakers.into_iter().for_each(|baker| baker.join().unwrap());
}

/// Ada's last loaf is refused, and nobody waits for what she does then.
fn refused() {
    drop(takes_one());
}

fn refused_and_awaited() {
    takes_one().join().unwrap();
}

fn takes_one() -> JoinHandle<()> {
    let (shelf, counter) = bounded(0);
    let ada = spawn_named("ada", move || {
        shelf.send("rye").unwrap();
        shelf.send("oat").unwrap_err();
    });
    counter.recv().unwrap();
    drop(counter);
    ada
}

/// A fact, a program of which it is true, and one of which it is false.
const FACTS: &[(&str, Fact, Program, Program)] = &[
    ("three tasks", |f| f.tasks().len() == 3, fan, nobody),
    (
        "tasks of tasks",
        |f| f.tasks().len() == 3,
        foreman,
        not_awaited,
    ),
    (
        "started by",
        |f| f.task("kid").started_by() == Some("ada"),
        foreman,
        fan_of_two,
    ),
    ("spawned", |f| f.task("ada").spawned() == 2, foreman, fan),
    ("finished", |f| f.task("ada").finished(), fan, not_awaited),
    (
        "finished by a message",
        |f| f.task("grace").finished(),
        one_after_the_other_by_messages,
        messages_and_then_more,
    ),
    (
        "finished by a rendezvous",
        |f| f.all_finished(),
        rendezvous_of_three,
        burnt,
    ),
    (
        "finished when refused",
        |f| f.task("ada").finished(),
        refused_and_awaited,
        refused,
    ),
    ("all finished", |f| f.all_finished(), ovens, not_awaited),
    (
        "panicked",
        |f| f.task("ada").panicked() == Some("burnt"),
        burnt,
        fan,
    ),
    (
        "slept",
        |f| f.slept() == 2,
        asleep_with_the_lock,
        not_awaited,
    ),
    ("sent by a task", |f| f.task("ada").sent() == 3, belt, fan),
    (
        "received by a task",
        |f| f.task("main").received() == 3,
        belt,
        fan,
    ),
    ("worked", |f| f.task("ada").worked() == 1, fan, belt),
    (
        "yielded",
        |f| f.task("lad").yielded() == 1,
        foreman,
        |/* with names */| {
        spawn_named("lad", || {}).join().unwrap();
    },
    ),
    (
        "a task's locks",
        |f| f.task("ada").locks_taken() == 2,
        one_order,
        one_by_one_through_a_lock,
    ),
    (
        "a task's sleep",
        |f| f.task("ada").slept() == 1,
        asleep_with_the_lock,
        fan,
    ),
    (
        "a task's marks",
        |f| f.task("ada").marks() == ["tick", "tick", "tick"],
        taking_turns,
        marks_by_chance,
    ),
    (
        "waited for",
        |f| f.task("main").waited_for() == ["ada", "grace", "barbara"],
        fan,
        foreman,
    ),
    (
        "concurrent",
        |f| f.concurrent("ada", "grace"),
        fan,
        staircase,
    ),
    (
        "concurrent, with a lock",
        |f| f.concurrent("ada", "grace"),
        one_by_one_through_a_lock,
        one_after_the_other_by_messages,
    ),
    ("all concurrent", |f| f.all_concurrent(), fan, staircase),
    (
        "in order",
        |f| f.order(&["ada", "grace", "barbara"]),
        staircase,
        fan,
    ),
    (
        "in order by messages",
        |f| f.order(&["ada", "grace"]),
        one_after_the_other_by_messages,
        messages_and_then_more,
    ),
    (
        "in order by groups",
        |f| f.order(&["ada", "grace"]),
        one_after_the_other_by_groups,
        ovens,
    ),
    (
        "first all are started",
        |f| f.spawned_before_first_wait(),
        fan,
        staircase,
    ),
    (
        "first all are started, by the foreman",
        |f| f.spawned_before_first_wait(),
        foreman,
        one_after_the_other_by_messages,
    ),
    (
        "alternated",
        |f| f.alternated("tick", "tock"),
        taking_turns,
        marks_by_chance,
    ),
    (
        "alternated, by a barrier",
        |f| f.alternated("tick", "tock"),
        turns_at_a_barrier,
        turns_at_a_barrier_for_others_too,
    ),
    (
        "locks in one order",
        |f| f.locks_in_one_order(),
        one_order,
        both_orders,
    ),
    ("two locks", |f| f.locks().len() == 2, one_order, fan),
    (
        "a lock by its name",
        |f| f.lock("shelf").times() == 2,
        one_order,
        |/* one of another use */| {
        drop(Mutex::new(0).named("shelf").lock());
    },
    ),
    (
        "taken by",
        |f| f.only_lock().taken_by() == ["ada", "grace"],
        one_by_one_through_a_lock,
        || {
            drop(Mutex::new(0).lock());
        },
    ),
    (
        "times",
        |f| f.only_lock().times() == 2,
        one_by_one_through_a_lock,
        || {
            drop(Mutex::new(0).lock());
        },
    ),
    (
        "times by one",
        |f| f.only_lock().times_by("grace") == 1,
        one_by_one_through_a_lock,
        || {
            spawn_named("grace", || drop(Mutex::new(0))).join().unwrap();
        },
    ),
    (
        "one holder",
        |f| f.only_lock().max_holders() == 1,
        one_by_one_through_a_lock,
        || drop(Mutex::new(0)),
    ),
    (
        "slept with the lock",
        |f| f.only_lock().slept_with() == ["ada"],
        asleep_with_the_lock,
        one_by_one_through_a_lock,
    ),
    (
        "worked with the lock",
        |f| f.only_lock().worked_with() == ["ada"],
        asleep_with_the_lock,
        one_by_one_through_a_lock,
    ),
    (
        "capacity",
        |f| f.only_channel().capacity() == Some(2),
        belt,
        rendezvous,
    ),
    (
        "no bound",
        |f| f.only_channel().capacity().is_none(),
        never_closed,
        belt,
    ),
    (
        "sent",
        |f| f.only_channel().sent() == 3,
        rendezvous_of_three,
        never_closed,
    ),
    (
        "received",
        |f| f.only_channel().received() == 3,
        rendezvous,
        never_closed,
    ),
    (
        "sent by",
        |f| f.channel("belt").sent_by("ada") == 3,
        belt,
        || {
            let (tx, rx) = channel();
            spawn_named("ada", || {}).join().unwrap();
            tx.named("belt").send(1).unwrap();
            rx.recv().unwrap();
        },
    ),
    (
        "senders",
        |f| f.only_channel().senders() == ["ada", "grace", "barbara"],
        rendezvous_of_three,
        belt,
    ),
    ("closed", |f| f.only_channel().closed(), belt, never_closed),
    (
        "a channel alternates",
        |f| f.only_channel().alternates(),
        rendezvous,
        belt,
    ),
    (
        "could queue",
        |f| f.only_channel().could_queue() == 3,
        belt,
        rendezvous,
    ),
    (
        "could queue in a rendezvous",
        |f| f.only_channel().could_queue() == 1,
        rendezvous,
        belt,
    ),
    (
        "added",
        |f| f.only_wait_group().added() == 2,
        ovens,
        added_late,
    ),
    (
        "done",
        |f| f.wait_group("ovens").done() == 2,
        ovens,
        added_late,
    ),
    (
        "waits",
        |f| f.only_wait_group().waits() == 1,
        ovens,
        || drop(WaitGroup::new()),
    ),
    (
        "added in time",
        |f| f.only_wait_group().added_in_time(),
        ovens,
        added_late,
    ),
    (
        "written by",
        |f| f.only_cell().written_by() == ["ada", "grace"],
        in_one_step,
        || {
            AtomicBool::new(false).store(true, Ordering::Relaxed);
        },
    ),
    (
        "loads",
        |f| f.cell("sold").loads() == 2,
        in_two_steps,
        || {
            AtomicI8::new(0).named("sold").load(Ordering::Relaxed);
        },
    ),
    (
        "stores",
        |f| f.only_cell().stores() == 2,
        in_two_steps,
        || {
            AtomicI8::new(0).load(Ordering::Relaxed);
        },
    ),
    (
        "in one step",
        |f| f.only_cell().changed_in_one_step(),
        in_one_step,
        in_two_steps,
    ),
];

/// Threads that take what they can get of the cores, until dropped.
struct Busy(Arc<StdBool>);

impl Busy {
    fn begin() -> Busy {
        let stop = Arc::new(StdBool::new(false));
        for _ in 0..2 {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        Busy(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn seen(program: Program) -> Facts {
    observe(program).1
}

#[test]
fn each_fact_is_true_of_one_program_and_false_of_another() {
    let _busy = std::env::var_os(LOAD).map(|_| Busy::begin());
    for round in 0..ROUNDS {
        for (name, fact, of_this, not_of_that) in FACTS {
            let this = seen(*of_this);
            assert!(fact(&this), "{name}, round {round}: {this:#?}");
            let that = seen(*not_of_that);
            // One that is asked of what is not there has no answer, and is not true.
            let answer = catch_unwind(AssertUnwindSafe(|| fact(&that)));
            assert!(
                !answer.unwrap_or(false),
                "not {name}, round {round}: {that:#?}"
            );
            let nothing = catch_unwind(|| fact(&Facts::default()));
            assert!(!nothing.unwrap_or(false), "{name}, of nothing");
        }
    }
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, for which zeros are a value, and the call may fill it.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(
            libc::sched_getaffinity(0, size_of_val(&set), &raw mut set),
            0
        );
        set
    };
    // SAFETY: all numbers are below the size of the set.
    let is_in = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_in).collect()
}

#[test]
fn facts_hold_on_one_core_and_on_two_and_under_load() {
    let cores = cores();
    let first = cores[0].to_string();
    let two = match cores.get(1) {
        Some(second) => format!("{first},{second}"),
        None => first.clone(),
    };
    for (cores, load) in [(&first, false), (&first, true), (&two, false), (&two, true)] {
        let mut again = Command::new("taskset");
        again
            .args(["-c", cores])
            .arg(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "each_fact_is_true_of_one_program_and_false_of_another",
            ])
            .stdin(Stdio::null());
        if load {
            again.env(LOAD, "1");
        }
        let output = match again.output() {
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("not tried on fewer cores: there is no taskset here");
                return;
            }
            output => output.expect("this program, again"),
        };
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "on cores {cores}, load {load}: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// What a question panics with.
fn answer(question: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(question)).expect_err("has no answer");
    let words = payload.downcast_ref::<String>().expect("says why");
    words.clone()
}

#[test]
fn a_question_without_an_answer_says_what_is_there() {
    let (fan, belt, locks) = (seen(fan), seen(belt), seen(one_order));
    let twins = seen(|| {
        for _ in 0..2 {
            spawn_named("ada", || {}).join().unwrap();
        }
    });
    for (name, got, want) in [
        (
            "no such task",
            answer(|| drop(fan.task("alan"))),
            "no task called `alan` was seen; the tasks that were: `ada`, `grace`, `barbara`",
        ),
        (
            "twins",
            answer(|| drop(twins.task("ada"))),
            "there are 2 tasks called `ada`: give each its own name",
        ),
        (
            "no task at all",
            answer(|| drop(Facts::default().task("ada"))),
            "the tasks that were: none",
        ),
        (
            "order of one",
            answer(|| _ = fan.order(&["ada"])),
            "name at least two",
        ),
        (
            "no lock",
            answer(|| drop(belt.only_lock())),
            "no lock was used; what was used: channel `belt`",
        ),
        (
            "nothing shared",
            answer(|| drop(fan.only_channel())),
            "no channel was used; nothing that tasks share was used",
        ),
        (
            "two locks",
            answer(|| drop(locks.only_lock())),
            "2 locks were used, and this looks for one; each lock that was used: `till`, `shelf`",
        ),
        (
            "another lock",
            answer(|| drop(locks.lock("oven"))),
            "no lock called `oven` was used; each lock that was used: `till`, `shelf`",
        ),
        (
            "no order without locks",
            answer(|| _ = fan.locks_in_one_order()),
            "no lock was used",
        ),
    ] {
        assert!(got.contains(want), "{name}: {got}");
    }
}

#[test]
fn what_is_chance_is_told_apart() {
    let facts = seen(belt);
    let run = facts.this_run();
    assert!(run.max_queued() <= 2, "{run:?}");
    let waits = run.waits("ada");
    assert_eq!(waits == 0, run.waited("ada").is_zero());
    let alone = seen(|| {
        spawn_named("ada", || work(ms(2))).join().unwrap();
    });
    assert_eq!(alone.this_run().max_running(), 1);
    assert!(alone.this_run().waited("main") > Duration::ZERO);
}

#[test]
fn one_observation_lies_in_another_and_beside_others() {
    let (inner, outer) = observe(|| {
        spawn_named("before", || {}).join().unwrap();
        let ((), inner) = observe(fan);
        spawn_named("after", || {}).join().unwrap();
        inner
    });
    assert_eq!(inner.tasks().len(), 3);
    assert_eq!(outer.tasks().len(), 5);
    assert!(outer.order(&["before", "ada", "after"]));
    let beside: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(|| (0..50).all(|_| seen(staircase).tasks().len() == 3)))
        .collect();
    assert!(beside.into_iter().all(|thread| thread.join().unwrap()));
    assert_eq!(seen(nobody).tasks().len(), 0);
}

#[test]
fn a_panic_goes_through_an_observation() {
    let payload = catch_unwind(|| observe(|| std::panic::resume_unwind(Box::new("burnt"))));
    assert_eq!(payload.unwrap_err().downcast_ref(), Some(&"burnt"));
}

#[test]
fn the_object_of_an_earlier_line_is_known_by_its_name() {
    let till = Arc::new(Mutex::new(0).named("till"));
    let group = WaitGroup::new().named("ovens");
    group.add(5);
    let (tx, rx) = bounded(7);
    let tx = tx.named("orders");
    let ((), facts) = observe(|| {
        *till.lock().unwrap() += 1;
        tx.send(1).unwrap();
        rx.recv().unwrap();
        group.add(1);
    });
    assert_eq!(facts.only_lock().name(), "till");
    assert_eq!(facts.channel("orders").capacity(), Some(7));
    assert_eq!(facts.wait_group("ovens").added(), 1);
}

#[test]
fn a_thousand_tasks_are_counted_and_two_thousand_not_ordered() {
    let many = |n: usize| {
        observe(|| {
            let mut bakers = Vec::new();
            for _ in 0..n {
                bakers.push(spawn(|| {}));
                if bakers.len() == 50 {
                    bakers.drain(..).for_each(|baker| baker.join().unwrap());
                }
            }
            bakers.into_iter().for_each(|baker| baker.join().unwrap());
        })
        .1
    };
    let thousand = many(1000);
    assert!(thousand.tasks().len() == 1000 && thousand.all_finished());
    assert!(
        thousand.order(&["thread 1", "thread 1000"]) && thousand.concurrent("thread 1", "thread 2")
    );
    let more = many(2000);
    assert!(more.tasks().len() == 2000 && more.all_finished());
    let why = answer(|| _ = more.concurrent("thread 1", "thread 2"));
    assert!(why.contains("for more than 1,024 tasks"), "{why}");
}
