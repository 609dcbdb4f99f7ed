//! `RwLock`, `Condvar`, `Barrier` and `OnceLock` as plain Rust: nothing is attached, nothing recorded, and they keep the contracts that they name.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::TryLockError;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use common::{in_time, until};
use threadbook_prelude::*;

/// Waits until another thread stands in the queue of a lock that somebody reads: who comes later to read is sent away then.
#[track_caller]
fn until_somebody_waits_to_write<T>(lock: &RwLock<T>) {
    until("somebody waits to write", || lock.try_read().is_err());
}

fn panic_quietly(words: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(words))
}

/// Panics in a thread of its own while it holds what `take` gives.
fn burn<T: ?Sized + Send + Sync + 'static>(lock: &Arc<RwLock<T>>, take: fn(&RwLock<T>)) {
    let theirs = lock.clone();
    assert!(spawn(move || take(&theirs)).join().is_err());
}

// RwLock

#[test]
fn many_read_at_once_and_one_writes_alone() {
    in_time(|| {
        let menu = Arc::new(RwLock::new(0));
        let (reading, writing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let bakers: Vec<_> = (0..8)
            .map(|number| {
                let (menu, reading, writing) = (menu.clone(), reading.clone(), writing.clone());
                spawn(move || {
                    for round in 0..2_000 {
                        if (number + round) % 4 == 0 {
                            let mut value = menu.write().unwrap();
                            assert_eq!(writing.fetch_add(1, Ordering::SeqCst), 0);
                            assert_eq!(reading.load(Ordering::SeqCst), 0);
                            *value += 1;
                            writing.fetch_sub(1, Ordering::SeqCst);
                        } else {
                            let _value = menu.read().unwrap();
                            reading.fetch_add(1, Ordering::SeqCst);
                            assert_eq!(writing.load(Ordering::SeqCst), 0);
                            reading.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        bakers.into_iter().for_each(|baker| baker.join().unwrap());
        assert_eq!(*menu.read().unwrap(), 8 * 500);
    });
}

#[test]
fn readers_meet_inside() {
    in_time(|| {
        let (menu, inside) = (Arc::new(RwLock::new(())), Arc::new(Barrier::new(4)));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (menu, inside) = (menu.clone(), inside.clone());
                spawn(move || {
                    let _menu = menu.read().unwrap();
                    inside.wait(); // or never, if one had to wait for another
                })
            })
            .collect();
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
}

#[test]
fn a_writer_gets_in_while_readers_keep_coming() {
    in_time(|| {
        let menu = Arc::new(RwLock::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (menu, stop) = (menu.clone(), stop.clone());
                // At every moment one of them reads: each asks for the next guard before it lets the last one go, if it can.
                spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let one = menu.read().unwrap();
                        work(Duration::from_micros(100));
                        let other = menu.try_read();
                        drop(one);
                        work(Duration::from_micros(100));
                        drop(other);
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            *menu.write().unwrap() += 1;
        }
        stop.store(true, Ordering::SeqCst);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        assert_eq!(*menu.read().unwrap(), 20);
    });
}

#[test]
fn a_reader_gets_in_while_writers_keep_coming() {
    in_time(|| {
        let menu = Arc::new(RwLock::new(0_u64));
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let (menu, stop) = (menu.clone(), stop.clone());
                spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        *menu.write().unwrap() += 1;
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            drop(menu.read().unwrap());
        }
        stop.store(true, Ordering::SeqCst);
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn one_that_comes_to_read_queues_behind_one_that_waits_to_write() {
    in_time(|| {
        let log = Arc::new(RwLock::new(Vec::new()));
        let reading = log.read().unwrap();
        let theirs = log.clone();
        let writer = spawn(move || theirs.write().unwrap().push("written"));
        until_somebody_waits_to_write(&log);
        assert!(matches!(log.try_read(), Err(TryLockError::WouldBlock)));
        let theirs = log.clone();
        let reader = spawn(move || theirs.read().unwrap().len());
        assert_eq!(reading.len(), 0);
        drop(reading);
        assert_eq!(reader.join().unwrap(), 1, "the writer came first");
        writer.join().unwrap();
    });
}

#[test]
fn try_read_and_try_write_take_what_is_free() {
    let menu = RwLock::new(1);
    let one = menu.try_read().unwrap();
    let other = menu.try_read().unwrap();
    assert!(matches!(menu.try_write(), Err(TryLockError::WouldBlock)));
    drop((one, other));
    let mut changing = menu.try_write().unwrap();
    *changing += 1;
    assert!(matches!(menu.try_read(), Err(TryLockError::WouldBlock)));
    assert!(matches!(menu.try_write(), Err(TryLockError::WouldBlock)));
    drop(changing);
    assert_eq!(*menu.try_read().unwrap(), 2);
}

#[test]
fn nobody_writes_between_a_write_and_its_downgrade() {
    in_time(|| {
        for _ in 0..50 {
            let menu = Arc::new(RwLock::new(1));
            let mut changing = menu.write().unwrap();
            let theirs = menu.clone();
            let writer = spawn(move || {
                let mut value = theirs.write().unwrap();
                assert_eq!(*value, 2);
                *value = 3;
            });
            *changing = 2;
            let looking = RwLockWriteGuard::downgrade(changing);
            assert_eq!(*looking, 2);
            drop(looking);
            writer.join().unwrap();
            assert_eq!(*menu.read().unwrap(), 3);
        }
    });
}

#[test]
fn a_downgrade_lets_those_in_who_wait_to_read() {
    in_time(|| {
        let menu = Arc::new(RwLock::new(1));
        let changing = menu.write().unwrap();
        let (asks, asked) = std::sync::mpsc::channel();
        let theirs = menu.clone();
        let reader = spawn(move || {
            asks.send(()).unwrap();
            *theirs.read().unwrap()
        });
        asked.recv().unwrap();
        let looking = RwLockWriteGuard::downgrade(changing);
        assert_eq!(reader.join().unwrap(), 1);
        drop(looking);
    });
}

#[test]
fn a_panic_poisons_what_is_written_and_not_what_is_read() {
    let menu = Arc::new(RwLock::new(1));
    burn(&menu, |menu| {
        let _looking = menu.read().unwrap();
        panic_quietly("burnt");
    });
    assert!(!menu.is_poisoned());
    burn(&menu, |menu| {
        *menu.write().unwrap() = 2;
        let _looking = RwLockWriteGuard::downgrade(menu.write().unwrap());
        panic_quietly("burnt");
    });
    assert!(!menu.is_poisoned());
    burn(&menu, |menu| {
        let _changing = menu.write().unwrap();
        panic_quietly("burnt");
    });
    assert!(menu.is_poisoned());
    assert_eq!(*menu.read().unwrap_err().into_inner(), 2);
    assert_eq!(*menu.write().unwrap_err().into_inner(), 2);
    assert!(matches!(menu.try_read(), Err(TryLockError::Poisoned(_))));
    assert!(matches!(menu.try_write(), Err(TryLockError::Poisoned(_))));
    assert_eq!(
        format!("{menu:?}"),
        "RwLock { data: 2, poisoned: true, .. }"
    );
    menu.clear_poison();
    let mut menu = Arc::into_inner(menu).expect("the bakers are gone");
    *menu.get_mut().unwrap() += 1;
    assert_eq!(menu.into_inner().unwrap(), 3);
}

#[test]
fn a_poisoned_lock_gives_its_value_in_the_error() {
    let menu = Arc::new(RwLock::new(5));
    burn(&menu, |menu| {
        let _changing = menu.write().unwrap();
        panic_quietly("burnt");
    });
    let mut menu = Arc::into_inner(menu).expect("the baker is gone");
    assert_eq!(*menu.get_mut().unwrap_err().into_inner(), 5);
    assert_eq!(menu.into_inner().unwrap_err().into_inner(), 5);
}

#[test]
fn a_lock_written_while_unwinding_is_not_poisoned() {
    struct Tidy(Arc<RwLock<i32>>);
    impl Drop for Tidy {
        fn drop(&mut self) {
            *self.0.write().unwrap() += 1;
        }
    }
    let menu = Arc::new(RwLock::new(0));
    let tidy = Tidy(menu.clone());
    let baker = spawn(move || {
        let _tidy = tidy;
        panic_quietly("burnt");
    });
    assert!(baker.join().is_err());
    assert_eq!(*menu.read().unwrap(), 1);
}

#[test]
fn read_write_locks_show_themselves_as_those_of_std_do() {
    let menu: RwLock<i32> = 5.into();
    let of_std = std::sync::RwLock::new(5);
    assert_eq!(format!("{menu:?}"), format!("{of_std:?}"));
    {
        let (looking, theirs) = (menu.read().unwrap(), of_std.read().unwrap());
        assert_eq!(
            format!("{menu:?} {looking:?} {looking}"),
            format!("{of_std:?} {theirs:?} {theirs}")
        );
    }
    let (changing, theirs) = (menu.write().unwrap(), of_std.write().unwrap());
    assert_eq!(
        format!("{menu:?} {changing:?} {changing}"),
        format!("{of_std:?} {theirs:?} {theirs}")
    );
    drop(changing);
    assert!(menu.try_write().is_ok(), "what was shown was given back");
    assert_eq!(*RwLock::<String>::default().read().unwrap(), "");
}

#[test]
fn a_read_write_lock_of_an_unsized_value_works() {
    let shelf: Arc<RwLock<[i32]>> = Arc::new(RwLock::new([1, 2, 3]));
    shelf.write().unwrap()[1] = 5;
    assert_eq!(*shelf.read().unwrap(), [1, 5, 3]);
}

// Condvar

#[test]
fn every_notification_lets_one_go_on_and_none_is_lost_on_who_waits() {
    in_time(|| {
        const LOAVES: usize = 5_000;
        let bakery = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = bakery.clone();
        let eaters: Vec<_> = (0..4)
            .map(|_| {
                let (theirs, mut eaten) = (theirs.clone(), 0);
                spawn(move || {
                    let (shelf, filled) = &*theirs;
                    while eaten < LOAVES {
                        let mut loaves = shelf.lock().unwrap();
                        while *loaves == 0 {
                            loaves = filled.wait(loaves).unwrap();
                        }
                        *loaves -= 1;
                        eaten += 1;
                    }
                })
            })
            .collect();
        let (shelf, filled) = &*bakery;
        for _ in 0..4 * LOAVES {
            *shelf.lock().unwrap() += 1;
            filled.notify_one();
        }
        eaters.into_iter().for_each(|eater| eater.join().unwrap());
        assert_eq!(*shelf.lock().unwrap(), 0);
    });
}

/// Three threads that wait, in the order of their numbers, and write them down when they go on.
fn three_that_wait(bakery: &Arc<(Mutex<Vec<i32>>, Condvar)>) -> Vec<JoinHandle<()>> {
    let waiting = |number| {
        let theirs = bakery.clone();
        let (begins, begun) = std::sync::mpsc::channel();
        let one = spawn(move || {
            let (order, changed) = &*theirs;
            let order = order.lock().unwrap();
            begins.send(()).unwrap();
            changed.wait(order).unwrap().push(number);
        });
        begun.recv().unwrap();
        // It had the lock when it said so, and gives it back only when it waits.
        drop(bakery.0.lock().unwrap());
        one
    };
    (1..=3).map(waiting).collect()
}

#[test]
fn who_waits_is_notified_in_the_order_of_arrival() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let waiting = three_that_wait(&bakery);
        let (order, changed) = &*bakery;
        for (at, one) in waiting.into_iter().enumerate() {
            changed.notify_one();
            one.join().unwrap();
            assert_eq!(
                order.lock().unwrap().len(),
                at + 1,
                "one notification, one that goes on"
            );
        }
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
    });
}

#[test]
fn notify_all_lets_all_go_on() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let waiting = three_that_wait(&bakery);
        bakery.1.notify_all();
        waiting.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(bakery.0.lock().unwrap().len(), 3);
    });
}

#[test]
fn a_notification_that_finds_nobody_is_lost() {
    in_time(|| {
        let (shelf, filled) = (Mutex::new(0), Condvar::new());
        filled.notify_one();
        filled.notify_all();
        let (_loaves, result) = filled.wait_timeout(shelf.lock().unwrap(), ms(5)).unwrap();
        assert!(result.timed_out());
    });
}

#[test]
fn the_lock_is_free_during_a_wait_and_held_after_it() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = bakery.clone();
        let (shelf, filled) = &*bakery;
        let loaves = shelf.lock().unwrap();
        let baker = spawn(move || {
            *theirs.0.lock().unwrap() = 1; // not before the wait below
            theirs.1.notify_one();
        });
        let loaves = filled.wait(loaves).unwrap();
        assert_eq!(*loaves, 1);
        assert!(matches!(shelf.try_lock(), Err(TryLockError::WouldBlock)));
        drop(loaves);
        baker.join().unwrap();
    });
}

#[test]
fn wait_while_looks_before_it_waits_and_after_each_notification() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(0), Condvar::new()));
        let (shelf, filled) = &*bakery;
        let loaves = filled
            .wait_while(shelf.lock().unwrap(), |loaves| *loaves > 0)
            .unwrap();
        drop(loaves);
        let theirs = bakery.clone();
        let baker = spawn(move || {
            for _ in 0..10 {
                *theirs.0.lock().unwrap() += 1;
                theirs.1.notify_one();
            }
        });
        let loaves = filled
            .wait_while(shelf.lock().unwrap(), |loaves| *loaves < 10)
            .unwrap();
        assert_eq!(*loaves, 10);
        drop(loaves);
        baker.join().unwrap();
    });
}

#[test]
fn timed_waits_end_by_time_or_by_notification_and_say_which() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(0), Condvar::new()));
        let (shelf, filled) = &*bakery;
        let before = Instant::now();
        let (loaves, result) = filled.wait_timeout(shelf.lock().unwrap(), ms(10)).unwrap();
        assert!(result.timed_out() && before.elapsed() >= ms(10));
        let (loaves, result) = filled
            .wait_timeout_while(loaves, ms(10), |loaves| *loaves == 0)
            .unwrap();
        assert!(result.timed_out());
        let (loaves, result) = filled
            .wait_timeout_while(loaves, Duration::ZERO, |loaves| *loaves > 0)
            .unwrap();
        assert!(!result.timed_out(), "the condition counts, not the time");
        let theirs = bakery.clone();
        let baker = spawn(move || {
            *theirs.0.lock().unwrap() = 1;
            theirs.1.notify_one();
        });
        let (loaves, result) = filled
            .wait_timeout_while(loaves, Duration::MAX, |loaves| *loaves == 0)
            .unwrap();
        assert_eq!((*loaves, result.timed_out()), (1, false));
        drop(loaves);
        baker.join().unwrap();
        #[allow(deprecated, reason = "std has it")]
        let (_loaves, notified) = filled.wait_timeout_ms(shelf.lock().unwrap(), 1).unwrap();
        assert!(!notified);
    });
}

#[test]
fn one_whose_time_ran_out_takes_no_notification_with_it() {
    in_time(|| {
        for _ in 0..200 {
            let bakery = Arc::new((Mutex::new(false), Condvar::new()));
            let theirs = bakery.clone();
            let hasty = spawn(move || {
                let (_, result) = theirs
                    .1
                    .wait_timeout(theirs.0.lock().unwrap(), Duration::from_micros(50))
                    .unwrap();
                result.timed_out()
            });
            let theirs = bakery.clone();
            let patient = spawn(move || {
                let is_done = theirs.0.lock().unwrap();
                drop(theirs.1.wait_while(is_done, |is_done| !*is_done).unwrap());
            });
            *bakery.0.lock().unwrap() = true;
            bakery.1.notify_one();
            // Whoever took it: if the patient one did not, the hasty one was notified, and passes it on as programs do.
            if !hasty.join().unwrap() {
                bakery.1.notify_one();
            }
            patient.join().unwrap();
        }
    });
}

#[test]
fn a_lock_poisoned_during_a_wait_is_reported_after_it() {
    in_time(|| {
        let bakery = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = bakery.clone();
        let (shelf, filled) = &*bakery;
        let loaves = shelf.lock().unwrap();
        let baker = spawn(move || {
            let _loaves = theirs.0.lock().unwrap();
            theirs.1.notify_one();
            panic_quietly("burnt");
        });
        let loaves = filled.wait(loaves).unwrap_err().into_inner();
        drop(loaves);
        assert!(baker.join().is_err());
        let (loaves, result) = filled
            .wait_timeout(shelf.lock().unwrap_err().into_inner(), ms(1))
            .unwrap_err()
            .into_inner();
        assert!(result.timed_out());
        drop(loaves);
        shelf.clear_poison();
        assert!(shelf.lock().is_ok());
    });
}

#[test]
fn a_condition_variable_works_while_unwinding_and_poisons_nothing() {
    struct Tidy(Arc<(Mutex<bool>, Condvar)>);
    impl Drop for Tidy {
        fn drop(&mut self) {
            let theirs = self.0.clone();
            let partner = spawn(move || {
                *theirs.0.lock().unwrap() = true;
                theirs.1.notify_all();
            });
            let is_open = self.0.0.lock().unwrap();
            drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
            partner.join().unwrap();
        }
    }
    let door = Arc::new((Mutex::new(false), Condvar::new()));
    let tidy = Tidy(door.clone());
    let baker = in_time(|| {
        spawn(move || {
            let _tidy = tidy;
            panic_quietly("burnt");
        })
        .join()
    });
    assert!(baker.is_err());
    assert!(*door.0.lock().unwrap());
}

// Barrier

#[test]
fn nobody_passes_a_barrier_before_all_have_come_and_each_round_has_one_leader() {
    in_time(|| {
        const THREADS: usize = 4;
        const ROUNDS: usize = 500;
        let (barrier, come) = (
            Arc::new(Barrier::new(THREADS)),
            Arc::new(AtomicUsize::new(0)),
        );
        let bakers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (barrier, come) = (barrier.clone(), come.clone());
                spawn(move || {
                    let mut led = 0;
                    for round in 0..ROUNDS {
                        come.fetch_add(1, Ordering::SeqCst);
                        led += usize::from(barrier.wait().is_leader());
                        let now = come.load(Ordering::SeqCst);
                        assert!(now >= (round + 1) * THREADS, "{now} in round {round}");
                        // Nobody can be more than one round ahead.
                        assert!(now <= (round + 2) * THREADS, "{now} in round {round}");
                    }
                    led
                })
            })
            .collect();
        let led: usize = bakers.into_iter().map(|baker| baker.join().unwrap()).sum();
        assert_eq!(led, ROUNDS);
    });
}

#[test]
fn a_barrier_for_one_or_none_stops_nobody() {
    for size in [0, 1] {
        let barrier = Barrier::new(size);
        assert!(barrier.wait().is_leader() && barrier.wait().is_leader());
    }
    assert_eq!(
        format!("{:?} {:?}", Barrier::new(1), Barrier::new(1).wait()),
        format!(
            "{:?} {:?}",
            std::sync::Barrier::new(1),
            std::sync::Barrier::new(1).wait()
        ),
    );
    assert_eq!(
        format!("{:?}", Condvar::default()),
        format!("{:?}", std::sync::Condvar::default())
    );
}

// OnceLock

#[test]
fn of_many_that_come_at_once_one_makes_the_value() {
    in_time(|| {
        for _ in 0..100 {
            let (recipe, made) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
            let bakers: Vec<_> = (0..4)
                .map(|number| {
                    let (recipe, made) = (recipe.clone(), made.clone());
                    spawn(move || {
                        *recipe.get_or_init(|| {
                            made.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            number
                        })
                    })
                })
                .collect();
            let values: Vec<i32> = bakers
                .into_iter()
                .map(|baker| baker.join().unwrap())
                .collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
            assert_eq!(made.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn who_comes_while_the_value_is_made_waits_for_it() {
    in_time(|| {
        let recipe = Arc::new(OnceLock::new());
        let theirs = recipe.clone();
        let (begins, begun) = std::sync::mpsc::channel();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let maker = spawn(move || {
            *theirs.get_or_init(|| {
                begins.send(()).unwrap();
                may_go.recv().unwrap();
                "rye"
            })
        });
        begun.recv().unwrap();
        assert_eq!(recipe.get(), None);
        assert_eq!(format!("{recipe:?}"), "OnceLock(<uninit>)");
        let theirs = recipe.clone();
        let asks = spawn(move || *theirs.wait());
        let theirs = recipe.clone();
        let sets = spawn(move || theirs.set("spelt"));
        let theirs = recipe.clone();
        let makes = spawn(move || *theirs.get_or_init(|| "oats"));
        go.send(()).unwrap();
        assert_eq!(maker.join().unwrap(), "rye");
        assert_eq!(asks.join().unwrap(), "rye");
        assert_eq!(sets.join().unwrap(), Err("spelt"));
        assert_eq!(makes.join().unwrap(), "rye");
    });
}

#[test]
fn a_panic_of_the_maker_lets_the_next_one_try() {
    in_time(|| {
        let recipe = Arc::new(OnceLock::new());
        let theirs = recipe.clone();
        let waits = spawn(move || *theirs.wait());
        let (begins, begun) = std::sync::mpsc::channel();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let theirs = recipe.clone();
        let first = spawn(move || {
            theirs.get_or_init(|| {
                begins.send(()).unwrap();
                may_go.recv().unwrap();
                panic_quietly("burnt")
            });
        });
        begun.recv().unwrap();
        let theirs = recipe.clone();
        let second = spawn(move || *theirs.get_or_init(|| 5));
        go.send(()).unwrap();
        assert!(first.join().is_err());
        assert_eq!(second.join().unwrap(), 5);
        assert_eq!(waits.join().unwrap(), 5, "a wait outlasts one that failed");
    });
}

#[test]
fn a_panic_of_the_only_maker_leaves_it_empty() {
    let recipe = OnceLock::new();
    let made = catch_unwind(AssertUnwindSafe(|| {
        recipe.get_or_init(|| panic_quietly("burnt"))
    }));
    assert!(made.is_err());
    assert_eq!(recipe.get(), None);
    assert_eq!(recipe.set(5), Ok(()));
    assert_eq!(recipe.wait(), &5);
}

#[test]
fn once_locks_are_copied_compared_and_shown_as_those_of_std_are() {
    let mut recipe = OnceLock::from(String::from("rye"));
    let copy = recipe.clone();
    assert_eq!(recipe, copy);
    assert_ne!(recipe, OnceLock::default());
    assert_eq!(
        format!("{recipe:?} {:?}", OnceLock::<i32>::new()),
        format!(
            "{:?} {:?}",
            std::sync::OnceLock::from("rye"),
            std::sync::OnceLock::<i32>::new()
        ),
    );
    recipe.get_mut().unwrap().push('!');
    assert_eq!(recipe.take().as_deref(), Some("rye!"));
    assert_eq!(recipe.take(), None);
    assert_eq!(recipe.get_mut(), None);
    assert_eq!(recipe.set(String::from("oats")), Ok(()));
    assert_eq!(recipe.into_inner().as_deref(), Some("oats"));
    assert_eq!(copy.into_inner().as_deref(), Some("rye"));
}

// Green tasks

#[test]
fn green_tasks_wait_for_all_of_them_without_keeping_their_workers() {
    const TASKS: usize = 200;
    in_time(|| {
        let (menu, started) = (RwLock::new(0), Barrier::new(TASKS));
        let (shelf, filled) = (Mutex::new(0), Condvar::new());
        let (recipe, led) = (OnceLock::new(), AtomicUsize::new(0));
        scope(|s| {
            for number in 0..TASKS {
                let (menu, started, shelf, filled) = (&menu, &started, &shelf, &filled);
                let (recipe, led) = (&recipe, &led);
                s.go(move || {
                    // Far more of them than workers wait here at the same time.
                    led.fetch_add(usize::from(started.wait().is_leader()), Ordering::SeqCst);
                    let made = *recipe.get_or_init(|| {
                        yield_now();
                        number
                    });
                    assert_eq!(recipe.wait(), &made);
                    for _ in 0..10 {
                        *menu.write().unwrap() += 1;
                        let _looking = menu.read().unwrap();
                        yield_now();
                    }
                    let mut loaves = shelf.lock().unwrap();
                    *loaves += 1;
                    filled.notify_all();
                    drop(filled.wait_while(loaves, |loaves| *loaves < TASKS).unwrap());
                });
            }
        });
        assert_eq!(led.into_inner(), 1);
        assert_eq!(menu.into_inner().unwrap(), 10 * TASKS);
        assert_eq!(shelf.into_inner().unwrap(), TASKS);
    });
}

// Types

#[test]
fn types_are_sent_and_shared_as_their_models_are() {
    use std::panic::{RefUnwindSafe, UnwindSafe};

    fn both<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    fn shared<T: Sync>() {}
    fn survives<T: UnwindSafe + RefUnwindSafe>() {}
    both::<RwLock<i32>>();
    sent::<RwLock<std::cell::Cell<i32>>>();
    shared::<RwLockReadGuard<'static, i32>>();
    shared::<RwLockWriteGuard<'static, i32>>();
    both::<Condvar>();
    both::<WaitTimeoutResult>();
    both::<Barrier>();
    both::<BarrierWaitResult>();
    both::<OnceLock<i32>>();
    sent::<OnceLock<std::cell::Cell<i32>>>();
    survives::<RwLock<std::cell::Cell<i32>>>();
    survives::<Condvar>();
    survives::<Barrier>();
    survives::<OnceLock<i32>>();
}

/// A guard that reads may stand for one of a shorter-lived value, as std's may. That this compiles is the test.
#[allow(dead_code, reason = "checked by the compiler")]
fn a_read_guard_is_covariant<'a, 'short>(
    guard: RwLockReadGuard<'a, &'static str>,
) -> RwLockReadGuard<'a, &'short str> {
    guard
}

/// A `OnceLock` may borrow from what is dropped before it, as std's may. That this compiles is the test.
#[test]
fn a_once_lock_may_outlive_what_it_borrows() {
    let lock = OnceLock::new();
    {
        let text = String::from("rye");
        let _ = lock.set(&text);
    }
}
