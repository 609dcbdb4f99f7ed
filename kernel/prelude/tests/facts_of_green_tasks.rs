//! Facts hold of green tasks as of threads: with one worker, which is the observing thread itself, and with two. One test, since `workers` is for all.

use threadbook_prelude::*;

const ROUNDS: usize = 100;

fn fan() {
    let bakers = ["ada", "grace"].map(|name| go_named(name, yield_now));
    bakers.into_iter().for_each(|baker| baker.join().unwrap());
}

fn staircase() {
    for name in ["ada", "grace"] {
        go_named(name, yield_now).join().unwrap();
    }
}

/// Nobody joins: each is known to be over by its `done`.
fn ovens() {
    let ovens = WaitGroup::new().named("ovens");
    for name in ["ada", "grace"] {
        ovens.go_named(name, yield_now);
    }
    ovens.wait();
}

/// Nobody joins: each is known to be over by its message.
fn fan_in() {
    let (tx, rx) = bounded(0);
    for name in ["ada", "grace"] {
        let tx = tx.clone();
        go_named(name, move || tx.send(name).unwrap());
    }
    drop(tx);
    assert_eq!(rx.iter().count(), 2);
}

fn through_a_lock() {
    let till = Arc::new(Mutex::new(0).named("till"));
    let bakers = ["ada", "grace"].map(|name| {
        let till = till.clone();
        go_named(name, move || {
            let mut till = till.lock().unwrap();
            yield_now();
            *till += 1;
        })
    });
    bakers.into_iter().for_each(|baker| baker.join().unwrap());
}

fn left_behind() {
    go_named("ada", || sleep(ms(1)));
    go_named("grace", yield_now).join().unwrap();
}

fn cut_off() {
    program(|| {
        go_named("ada", || sleep(ms(60_000)));
        go_named("grace", yield_now).join().unwrap();
    });
}

/// One keeps its worker from the other, and its last act is a message.
fn a_hog() {
    let (tx, rx) = channel();
    for name in ["ada", "grace"] {
        let tx = tx.clone();
        go_named(name, move || {
            work(ms(15));
            tx.send(name).unwrap();
        });
    }
    rx.iter().take(2).for_each(drop);
}

type Claim = fn(&Facts) -> bool;

/// Programs, and what is true of each.
const PROGRAMS: &[(&str, fn(), Claim)] = &[
    ("fan", fan, |f| {
        f.concurrent("ada", "grace") && f.spawned_before_first_wait() && f.all_finished()
    }),
    ("staircase", staircase, |f| {
        f.order(&["ada", "grace"]) && !f.spawned_before_first_wait() && f.all_finished()
    }),
    ("ovens", ovens, |f| {
        let ovens = f.only_wait_group();
        f.all_concurrent() && f.all_finished() && ovens.added_in_time() && ovens.done() == 2
    }),
    ("fan in", fan_in, |f| {
        let channel = f.only_channel();
        f.all_concurrent() && f.all_finished() && channel.sent() == 2 && channel.closed()
    }),
    ("through a lock", through_a_lock, |f| {
        f.only_lock().taken_by() == ["ada", "grace"] && f.task("ada").yielded() == 1
    }),
    ("left behind", left_behind, |f| {
        !f.task("ada").finished() && f.task("grace").finished()
    }),
    ("cut off", cut_off, |f| {
        !f.task("ada").finished() && f.task("grace").finished()
    }),
];

#[test]
fn facts_hold_of_green_tasks() {
    for count in [1, 2, 1] {
        workers(count);
        for round in 0..ROUNDS {
            for (name, program, claim) in PROGRAMS {
                let ((), facts) = observe(program);
                assert!(
                    claim(&facts),
                    "{name}, workers({count}), round {round}: {facts:#?}"
                );
            }
        }
        check!(fan() => (), "side by side": |f| f.concurrent("ada", "grace"));
    }
    workers(1);
    for _ in 0..3 {
        let ((), facts) = observe(a_hog);
        assert!(facts.all_finished() && facts.all_concurrent(), "{facts:#?}");
        assert_eq!(facts.this_run().hogs()[..1], ["ada"]);
    }
    // The observer may be one of them.
    workers(2);
    for round in 0..ROUNDS {
        for (name, program, claim) in PROGRAMS {
            let (_, facts) = go_named("observer", move || observe(program))
                .join()
                .unwrap();
            assert!(
                claim(&facts),
                "{name}, observed by a task, round {round}: {facts:#?}"
            );
            assert_eq!(facts.task("observer").started_by(), None);
        }
    }
}
