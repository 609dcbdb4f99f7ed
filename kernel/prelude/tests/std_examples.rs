//! "Change one `use` line, and a cell is a cargo project": what the documentation of std and crossbeam shows, written anew, compiled and run twice, once
//! with their types and once with ours.
//!
//! Left out is what is not stable, what needs a `const fn` (a lock in a `static`: ours record where they were made), `thread::Builder`, and `select!`.

mod common;

use common::in_time;

/// The same examples in two modules that differ in their `use` lines alone.
macro_rules! with_both {
    (
        $theirs:ident { $($use_theirs:item)* }
        $ours:ident { $($use_ours:item)* }
        $($(#[$doc:meta])* fn $name:ident() $body:block)*
    ) => {
        mod $theirs {
            $(#[allow(unused_imports, reason = "not each example needs all")] $use_theirs)*
            $($(#[$doc])* #[test] fn $name() { super::in_time(|| $body) })*
        }
        mod $ours {
            $(#[allow(unused_imports, reason = "not each example needs all")] $use_ours)*
            $($(#[$doc])* #[test] fn $name() { super::in_time(|| $body) })*
        }
    };
}

with_both! {
    of_std {
        use std::sync::{
            Arc, Barrier, Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
        };
        use std::sync::atomic::Ordering;
        use std::thread::{JoinHandle, Scope, ScopedJoinHandle, scope, sleep, spawn, yield_now};
        use std::time::{Duration, Instant};
    }
    of_std_with_ours {
        use threadbook_prelude::*;
    }

    // std::sync::Mutex

    fn mutex_tells_the_last_of_many() {
        const BAKERS: usize = 7;
        let loaves = Arc::new(Mutex::new(0));
        let (tx, rx) = std::sync::mpsc::channel();
        for _ in 0..BAKERS {
            let (loaves, tx) = (Arc::clone(&loaves), tx.clone());
            spawn(move || {
                let mut loaves = loaves.lock().unwrap();
                *loaves += 1;
                if *loaves == BAKERS {
                    tx.send(*loaves).unwrap();
                }
            });
        }
        assert_eq!(rx.recv().unwrap(), BAKERS);
    }

    fn mutex_is_recovered_after_a_panic() {
        let till = Arc::new(Mutex::new(4_u32));
        let theirs = Arc::clone(&till);
        let _ = spawn(move || -> () {
            let _money: MutexGuard<'_, u32> = theirs.lock().unwrap();
            panic!("with the till open");
        })
        .join();
        let mut money = match till.lock() {
            Ok(money) => money,
            Err(poisoned) => poisoned.into_inner(),
        };
        *money += 1;
        assert_eq!(*money, 5);
    }

    fn mutex_is_given_back_before_the_join() {
        const BAKERS: usize = 3;
        let prices = Arc::new(Mutex::new(vec![1, 2]));
        let total = Arc::new(Mutex::new(0));
        let mut bakers: Vec<JoinHandle<()>> = Vec::with_capacity(BAKERS);
        (0..BAKERS).for_each(|_| {
            let (theirs, sum) = (Arc::clone(&prices), Arc::clone(&total));
            bakers.push(spawn(move || {
                let price = {
                    let mut prices = theirs.lock().unwrap();
                    let price = prices.iter().sum::<i32>();
                    prices.push(price);
                    price
                };
                *sum.lock().unwrap() += price;
            }));
        });
        let mut mine = prices.lock().unwrap();
        let price = mine.iter().sum::<i32>();
        mine.push(price);
        drop(mine);
        *total.lock().unwrap() += price;
        bakers.into_iter().for_each(|baker| baker.join().expect("a baker that does not panic"));
        assert_eq!(*total.lock().unwrap(), 3 + 6 + 12 + 24);
    }

    fn mutex_lock() {
        let till = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&till);
        spawn(move || *theirs.lock().unwrap() = 20).join().expect("no panic");
        assert_eq!(*till.lock().unwrap(), 20);
    }

    fn mutex_try_lock() {
        let till = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&till);
        spawn(move || {
            let mut money = theirs.try_lock();
            if let Ok(ref mut money) = money {
                **money = 20;
            } else {
                unreachable!("nobody else has it");
            }
        })
        .join()
        .expect("no panic");
        assert_eq!(*till.lock().unwrap(), 20);
    }

    fn mutex_clear_poison() {
        let till = Arc::new(Mutex::new(0));
        let theirs = Arc::clone(&till);
        let _ = spawn(move || {
            let _money = theirs.lock().unwrap();
            panic!("with the till open");
        })
        .join();
        assert!(till.is_poisoned());
        let money = till.lock().unwrap_or_else(|mut poisoned| {
            **poisoned.get_mut() = 2;
            till.clear_poison();
            poisoned.into_inner()
        });
        assert!(!till.is_poisoned());
        assert_eq!(*money, 2);
    }

    fn mutex_into_inner_and_get_mut() {
        let mut till = Mutex::new(3);
        *till.get_mut().unwrap() = 11;
        assert_eq!(*till.lock().unwrap(), 11);
        assert_eq!(till.into_inner().unwrap(), 11);
    }

    // std::sync::RwLock

    fn rwlock_readers_are_inside_together() {
        let menu = Arc::new(RwLock::new(8));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let theirs = Arc::clone(&menu);
                spawn(move || {
                    let value: RwLockReadGuard<'_, i32> = theirs.read().unwrap();
                    sleep(Duration::from_millis(5));
                    *value
                })
            })
            .collect();
        sleep(Duration::from_millis(1));
        let mut value = menu.write().unwrap();
        *value += 1;
        assert_eq!(*value, 9);
        drop(value);
        for reader in readers {
            assert!((8..=9).contains(&reader.join().unwrap()));
        }
    }

    fn rwlock_read_while_another_reads() {
        let menu = Arc::new(RwLock::new(3));
        let theirs = Arc::clone(&menu);
        let value = menu.read().unwrap();
        assert_eq!(*value, 3);
        spawn(move || assert!(theirs.read().is_ok())).join().unwrap();
    }

    fn rwlock_try_read() {
        let menu = RwLock::new(3);
        match menu.try_read() {
            Ok(value) => assert_eq!(*value, 3),
            Err(_) => unreachable!(),
        };
    }

    fn rwlock_write_keeps_readers_out() {
        let menu = RwLock::new(3);
        let mut value = menu.write().unwrap();
        *value = 4;
        assert!(menu.try_read().is_err());
    }

    fn rwlock_read_keeps_writers_out() {
        let menu = RwLock::new(3);
        let value = menu.read().unwrap();
        assert_eq!(*value, 3);
        assert!(menu.try_write().is_err());
    }

    fn rwlock_clear_poison() {
        let menu = Arc::new(RwLock::new(0));
        let theirs = Arc::clone(&menu);
        let _ = spawn(move || {
            let _value = theirs.write().unwrap();
            panic!("in the middle of a line");
        })
        .join();
        assert!(menu.is_poisoned());
        let value = menu.write().unwrap_or_else(|mut poisoned| {
            **poisoned.get_mut() = 2;
            menu.clear_poison();
            poisoned.into_inner()
        });
        assert!(!menu.is_poisoned());
        assert_eq!(*value, 2);
    }

    fn rwlock_into_inner_and_get_mut() {
        let mut menu = RwLock::new(String::new());
        {
            let mut text = menu.write().unwrap();
            *text = "rye".to_owned();
        }
        menu.get_mut().unwrap().push_str(" bread");
        assert_eq!(menu.into_inner().unwrap(), "rye bread");
    }

    fn rwlock_downgrade() {
        let menu = RwLock::new(0);
        let mut changing = menu.write().unwrap();
        *changing = 24;
        let looking = RwLockWriteGuard::downgrade(changing);
        assert_eq!(24, *looking);
    }

    fn rwlock_downgrade_lets_no_writer_in_between() {
        let menu = Arc::new(RwLock::new(1));
        let mut changing = menu.write().unwrap();
        let theirs = menu.clone();
        let writer = spawn(move || {
            let mut value = theirs.write().unwrap();
            assert_eq!(*value, 7);
            *value = 8;
        });
        *changing = 7;
        let looking = RwLockWriteGuard::downgrade(changing);
        assert_eq!(*looking, 7);
        drop(looking);
        writer.join().unwrap();
        assert_eq!(*menu.read().unwrap(), 8);
    }

    // std::sync::Condvar

    fn condvar_wait() {
        let oven = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&oven);
        spawn(move || {
            let (is_hot, changed) = &*theirs;
            let mut is_hot = is_hot.lock().unwrap();
            *is_hot = true;
            changed.notify_one();
        });
        let (is_hot, changed) = &*oven;
        let mut is_hot = is_hot.lock().unwrap();
        while !*is_hot {
            is_hot = changed.wait(is_hot).unwrap();
        }
    }

    fn condvar_wait_while() {
        let oven = Arc::new((Mutex::new(true), Condvar::new()));
        let theirs = Arc::clone(&oven);
        spawn(move || {
            let (is_cold, changed) = &*theirs;
            *is_cold.lock().unwrap() = false;
            changed.notify_one();
        });
        let (is_cold, changed) = &*oven;
        let is_cold = changed.wait_while(is_cold.lock().unwrap(), |is_cold| *is_cold).unwrap();
        assert!(!*is_cold);
    }

    fn condvar_wait_timeout() {
        let oven = Arc::new((Mutex::new(false), Condvar::new()));
        let theirs = Arc::clone(&oven);
        spawn(move || {
            let (is_hot, changed) = &*theirs;
            *is_hot.lock().unwrap() = true;
            changed.notify_one();
        });
        let (is_hot, changed) = &*oven;
        let mut is_hot = is_hot.lock().unwrap();
        loop {
            let result: (_, WaitTimeoutResult) = changed.wait_timeout(is_hot, Duration::from_millis(10)).unwrap();
            is_hot = result.0;
            if *is_hot {
                break;
            }
        }
    }

    fn condvar_wait_timeout_ms() {
        let (is_hot, changed) = (Mutex::new(false), Condvar::new());
        #[allow(deprecated, reason = "std has it still")]
        let (is_hot, notified) = changed.wait_timeout_ms(is_hot.lock().unwrap(), 1).unwrap();
        // A wait may end for nothing with std.
        assert!(!*is_hot || notified);
    }

    fn condvar_wait_timeout_while() {
        let oven = Arc::new((Mutex::new(true), Condvar::new()));
        let (is_cold, changed) = &*oven;
        let result = changed
            .wait_timeout_while(is_cold.lock().unwrap(), Duration::from_millis(5), |&mut is_cold| is_cold)
            .unwrap();
        assert!(result.1.timed_out() && *result.0);
        drop(result);
        let theirs = Arc::clone(&oven);
        spawn(move || {
            *theirs.0.lock().unwrap() = false;
            theirs.1.notify_one();
        });
        let result = changed
            .wait_timeout_while(is_cold.lock().unwrap(), Duration::from_secs(30), |&mut is_cold| is_cold)
            .unwrap();
        assert!(!result.1.timed_out());
    }

    fn condvar_notify_all() {
        let oven = Arc::new((Mutex::new(false), Condvar::new()));
        let bakers: Vec<_> = (0..3)
            .map(|_| {
                let theirs = Arc::clone(&oven);
                spawn(move || {
                    let (is_hot, changed) = &*theirs;
                    let mut is_hot = is_hot.lock().unwrap();
                    while !*is_hot {
                        is_hot = changed.wait(is_hot).unwrap();
                    }
                })
            })
            .collect();
        let (is_hot, changed) = &*oven;
        *is_hot.lock().unwrap() = true;
        changed.notify_all();
        bakers.into_iter().for_each(|baker| baker.join().unwrap());
    }

    // std::sync::Barrier

    fn barrier_keeps_the_parts_apart() {
        let count = 5;
        let barrier = Barrier::new(count);
        let lines = Mutex::new(Vec::new());
        let (barrier, lines) = (&barrier, &lines);
        scope(|s| {
            for _ in 0..count {
                s.spawn(move || {
                    lines.lock().unwrap().push("kneaded");
                    barrier.wait();
                    lines.lock().unwrap().push("baked");
                });
            }
        });
        let lines = lines.lock().unwrap();
        assert!(lines[..count].iter().all(|line| *line == "kneaded"));
        assert!(lines[count..].iter().all(|line| *line == "baked"));
    }

    fn barrier_of_one_has_a_leader() {
        let barrier = Barrier::new(1);
        let result = barrier.wait();
        assert!(result.is_leader());
    }

    // std::sync::OnceLock

    fn once_lock_filled_by_another_thread() {
        let recipe = Arc::new(OnceLock::new());
        assert!(recipe.get().is_none());
        let theirs = Arc::clone(&recipe);
        spawn(move || {
            let grams = theirs.get_or_init(|| 500);
            assert_eq!(grams, &500);
        })
        .join()
        .unwrap();
        assert_eq!(recipe.get(), Some(&500));
    }

    fn once_lock_as_a_list_that_only_grows() {
        struct Orders<T> {
            order: OnceLock<T>,
            next: OnceLock<Box<Orders<T>>>,
        }
        impl<T: PartialEq> Orders<T> {
            fn new() -> Orders<T> {
                Orders { order: OnceLock::new(), next: OnceLock::new() }
            }
            fn push(&self, order: T) {
                if let Err(order) = self.order.set(order) {
                    let next = self.next.get_or_init(|| Box::new(Orders::new()));
                    next.push(order);
                }
            }
            fn contains(&self, wanted: &T) -> bool {
                self.order.get().is_some_and(|order| order == wanted)
                    || self.next.get().is_some_and(|next| next.contains(wanted))
            }
        }
        const COUNT: u32 = 200;
        let orders = Orders::new();
        let next = std::sync::atomic::AtomicU32::new(0);
        scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while let number @ 0..COUNT = next.fetch_add(1, Ordering::Relaxed) {
                        orders.push(number);
                    }
                });
            }
        });
        assert!((0..COUNT).all(|number| orders.contains(&number)));
    }

    fn once_lock_wait() {
        let sum = OnceLock::new();
        scope(|s| {
            s.spawn(|| sum.set(3 + 4));
            assert_eq!(sum.wait(), &7);
        });
    }

    fn once_lock_set() {
        let price = OnceLock::new();
        assert!(price.get().is_none());
        scope(|s| drop(s.spawn(|| assert_eq!(price.set(29), Ok(())))));
        assert_eq!(price.set(26), Err(26));
        assert_eq!(price.get(), Some(&29));
    }

    fn once_lock_get_or_init() {
        let price = OnceLock::new();
        assert_eq!(price.get_or_init(|| 29), &29);
        assert_eq!(price.get_or_init(|| unreachable!()), &29);
    }

    fn once_lock_into_inner_and_take() {
        let flour: OnceLock<String> = OnceLock::new();
        assert_eq!(flour.into_inner(), None);
        let mut flour = OnceLock::new();
        flour.set("rye".to_string()).unwrap();
        assert_eq!(flour.take(), Some("rye".to_string()));
        assert_eq!(flour.get(), None);
    }

    fn once_lock_is_compared_by_value() {
        assert_eq!(OnceLock::<()>::new(), OnceLock::default());
        let (one, other) = (OnceLock::from(5), OnceLock::new());
        assert!(one != other);
        other.set(5).unwrap();
        assert!(one == other && one.clone() == other);
    }

    // std::thread

    fn spawn_and_join() {
        let baker: JoinHandle<_> = spawn(|| {
            // bakes
            42
        });
        assert_eq!(baker.join().unwrap(), 42);
        spawn(|| {}).join().expect("a baker that does not panic");
    }

    fn spawn_two_that_talk() {
        let (tx, rx) = std::sync::mpsc::channel();
        let sender = spawn(move || tx.send("two rye".to_owned()).expect("somebody to receive"));
        let receiver = spawn(move || rx.recv().expect("somebody who sent"));
        sender.join().expect("no panic");
        assert_eq!(receiver.join().expect("no panic"), "two rye");
    }

    fn spawn_outlives_who_spawned_it() {
        let (tx, rx) = std::sync::mpsc::channel();
        let master = spawn(|| {
            let _apprentice = spawn(move || {
                sleep(Duration::from_millis(2));
                tx.send("still there").unwrap();
            });
        });
        master.join().expect("no panic");
        assert_eq!(rx.recv(), Ok("still there"));
    }

    fn join_handle_knows_its_thread() {
        let baker = spawn(|| std::thread::current().id());
        let id = baker.thread().id();
        assert_eq!(baker.join().unwrap(), id);
    }

    fn join_handle_is_finished() {
        let baker = spawn(|| ());
        while !baker.is_finished() {
            yield_now();
        }
        baker.join().unwrap();
    }

    fn scope_borrows() {
        let mut loaves = vec![1, 2, 3];
        let mut sold = 0;
        scope(|s| {
            s.spawn(|| assert_eq!(loaves.len(), 3));
            s.spawn(|| sold += loaves[0] + loaves[2]);
        });
        loaves.push(4);
        assert_eq!(sold, loaves.len());
    }

    fn scope_in_which_a_thread_starts_another() {
        fn start<'scope>(s: &'scope Scope<'scope, '_>, flour: &'scope str) -> ScopedJoinHandle<'scope, usize> {
            s.spawn(move || s.spawn(move || flour.len()).join().unwrap())
        }
        let flour = String::from("spelt");
        assert_eq!(scope(|s| start(s, &flour).join().unwrap()), 5);
    }

    fn scoped_join_handle() {
        scope(|s| {
            let baker = s.spawn(|| std::thread::current().id());
            let id = baker.thread().id();
            assert_eq!(baker.join().unwrap(), id);
            let burnt = s.spawn(|| panic!("burnt"));
            assert!(burnt.join().is_err());
        });
    }

    fn sleep_takes_its_time() {
        let pause = Duration::from_millis(10);
        let before = Instant::now();
        sleep(pause);
        yield_now();
        assert!(before.elapsed() >= pause);
    }
}

with_both! {
    of_std_mpsc {
        use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, SyncSender as BoundedSender, channel, sync_channel as bounded};
        use std::thread::{sleep, spawn};
        use std::time::Duration;
    }
    of_std_mpsc_with_ours {
        use std::sync::mpsc::{RecvError, RecvTimeoutError};
        use threadbook_prelude::{Sender as BoundedSender, *};
    }

    fn channel_first_now_then_later() {
        let (tx, rx) = channel();
        spawn(move || {
            tx.send("rye").unwrap();
            sleep(Duration::from_millis(5));
            tx.send("spelt").unwrap();
        });
        assert_eq!(rx.recv().unwrap(), "rye");
        assert_eq!(rx.recv().unwrap(), "spelt");
    }

    fn channel_is_iterated() {
        let (tx, rx) = channel();
        spawn(move || (1..=3_u8).for_each(|loaf| tx.send(loaf).unwrap()));
        let mut loaves = Vec::new();
        for loaf in rx.iter() {
            loaves.push(loaf);
        }
        assert_eq!(loaves, [1, 2, 3]);
        let (tx, rx) = channel();
        spawn(move || (1..=3_u8).for_each(|loaf| tx.send(loaf).unwrap()));
        let mut loaves = Vec::new();
        for loaf in rx {
            loaves.push(loaf);
        }
        assert_eq!(loaves, [1, 2, 3]);
    }

    fn channel_try_iter() {
        let (tx, rx) = channel();
        assert!(rx.try_iter().next().is_none());
        spawn(move || (1..=3).for_each(|loaf| tx.send(loaf).unwrap())).join().unwrap();
        assert_eq!(rx.try_iter().sum::<i32>(), 6);
    }

    fn channel_with_two_senders() {
        let (tx, rx) = channel();
        let other = tx.clone();
        spawn(move || tx.send(1).unwrap());
        spawn(move || other.send(2).unwrap());
        assert_eq!(3, rx.recv().unwrap() + rx.recv().unwrap());
    }

    fn channel_ends() {
        let (tx, rx) = channel();
        spawn(move || {
            tx.send(1_u8).unwrap();
            drop(tx);
        })
        .join()
        .unwrap();
        assert_eq!(Ok(1), rx.recv());
        assert_eq!(Err(RecvError), rx.recv());
        let (tx, rx) = channel();
        tx.send(1).unwrap();
        drop(rx);
        assert_eq!(tx.send(1).unwrap_err().0, 1);
        let (_, rx): (_, Receiver<i32>) = channel();
        assert!(rx.try_recv().is_err());
    }

    fn channel_recv_timeout() {
        let (tx, rx) = channel();
        assert_eq!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvTimeoutError::Timeout));
        spawn(move || tx.send('a').unwrap());
        assert_eq!(rx.recv_timeout(Duration::from_secs(30)), Ok('a'));
    }

    fn bounded_waits_when_full() {
        let (tx, rx) = bounded(2);
        let other: BoundedSender<i32> = tx.clone();
        spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
        });
        spawn(move || other.send(3).unwrap());
        let mut orders: Vec<_> = (0..3).map(|_| rx.recv().unwrap()).collect();
        orders.sort_unstable();
        assert_eq!(orders, [1, 2, 3]);
    }

    fn bounded_by_none_is_a_rendezvous() {
        let (tx, rx) = bounded(0);
        spawn(move || tx.send(1).unwrap());
        assert_eq!(1, rx.recv().unwrap());
    }

    fn bounded_try_send() {
        let (tx, rx) = bounded(1);
        let other = tx.clone();
        let patient = spawn(move || {
            tx.send(1).unwrap();
            tx.send(2).unwrap();
        });
        let hasty = spawn(move || {
            let _ = other.try_send(3);
        });
        let orders = [rx.recv().unwrap(), rx.recv().unwrap()];
        assert!(orders.contains(&1), "{orders:?}");
        let _ = rx.try_recv();
        patient.join().unwrap();
        hasty.join().unwrap();
    }
}

with_both! {
    of_crossbeam {
        use crossbeam_channel::{Receiver, Sender, bounded, unbounded as channel};
        use crossbeam_channel::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
        use std::thread::{scope, sleep, spawn};
        use std::time::{Duration, Instant};
    }
    of_crossbeam_with_ours {
        use threadbook_prelude::*;
        use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError, TrySendError};
    }

    fn a_message_goes_through() {
        let (tx, rx) = channel();
        tx.send("rye").unwrap();
        assert_eq!(rx.recv(), Ok("rye"));
    }

    fn bounded_takes_what_it_has_room_for() {
        let (tx, rx) = bounded(4);
        for number in 0..4 {
            tx.send(number).unwrap();
        }
        assert_eq!(tx.try_send(4), Err(TrySendError::Full(4)));
        assert_eq!(rx.len(), 4);
    }

    fn without_a_bound_there_is_room_for_all() {
        let (tx, rx) = channel();
        for number in 0..1_000 {
            tx.send(number).unwrap();
        }
        assert_eq!(rx.len(), 1_000);
    }

    fn a_rendezvous() {
        let (tx, rx) = bounded(0);
        spawn(move || tx.send("rye").unwrap());
        assert_eq!(rx.recv(), Ok("rye"));
    }

    fn both_ends_are_cloned() {
        let (tx, rx) = bounded(0);
        let (their_tx, their_rx) = (tx.clone(), rx.clone());
        spawn(move || {
            their_rx.recv().unwrap();
            their_tx.send(2).unwrap();
        });
        tx.send(1).unwrap();
        assert_eq!(rx.recv().unwrap(), 2);
    }

    fn clones_are_the_same_channel() {
        let (tx, rx) = channel();
        let (tx2, rx2) = (tx.clone(), rx.clone());
        let (tx3, rx3) = (tx2.clone(), rx2.clone());
        tx.send(10).unwrap();
        tx2.send(20).unwrap();
        tx3.send(30).unwrap();
        assert_eq!((rx3.recv(), rx.recv(), rx2.recv()), (Ok(10), Ok(20), Ok(30)));
    }

    fn both_ends_are_borrowed() {
        let (tx, rx) = bounded(0);
        scope(|s| {
            s.spawn(|| {
                rx.recv().unwrap();
                tx.send(2).unwrap();
            });
            tx.send(1).unwrap();
            assert_eq!(rx.recv(), Ok(2));
        });
    }

    fn what_was_sent_arrives_after_the_last_sender_is_gone() {
        let (tx, rx) = channel();
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        drop(tx);
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        assert!(rx.is_empty());
        assert_eq!(rx.recv(), Err(RecvError));
    }

    fn try_recv_does_not_wait() {
        let (tx, rx) = bounded(1);
        tx.send("rye").unwrap();
        assert_eq!(rx.try_recv(), Ok("rye"));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    }

    fn iter_waits_for_the_end_and_try_iter_for_nothing() {
        let (tx, rx) = channel();
        spawn(move || {
            for number in 1..=3 {
                tx.send(number).unwrap();
            }
            drop(tx);
        });
        assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2, 3]);
        let (tx, rx) = channel();
        tx.send(1).unwrap();
        tx.send(2).unwrap();
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1, 2]);
        drop(tx);
        let (tx, rx) = channel();
        spawn(move || (1..=3).for_each(|number| tx.send(number).unwrap()));
        assert_eq!(rx.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    fn a_result_comes_from_another_thread() {
        fn loaves(of_flour: u32) -> u32 {
            if of_flour <= 1 { of_flour } else { loaves(of_flour - 1) + loaves(of_flour - 2) }
        }
        let (tx, rx) = channel();
        spawn(move || tx.send(loaves(12)).unwrap());
        assert_eq!(rx.recv().unwrap(), 144);
    }

    fn send_waits_for_room() {
        let (tx, rx) = bounded(1);
        tx.send(1).unwrap();
        let baker = spawn(move || tx.send(2).unwrap());
        sleep(Duration::from_millis(2));
        assert_eq!((rx.recv(), rx.recv()), (Ok(1), Ok(2)));
        baker.join().unwrap();
    }

    fn send_fails_when_nobody_receives_any_more() {
        let (tx, rx) = bounded(1);
        assert_eq!(tx.send(1), Ok(()));
        spawn(move || {
            assert_eq!(rx.recv(), Ok(1));
            sleep(Duration::from_millis(2));
            drop(rx);
        });
        assert_eq!(tx.send(2), Ok(()));
        assert_eq!(tx.send(3), Err(SendError(3)));
    }

    fn try_send() {
        let (tx, rx) = bounded(1);
        assert_eq!(tx.try_send(1), Ok(()));
        assert_eq!(tx.try_send(2), Err(TrySendError::Full(2)));
        drop(rx);
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    }

    fn send_timeout() {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.send_timeout(1, Duration::from_millis(2)), Err(SendTimeoutError::Timeout(1)));
        spawn(move || {
            assert_eq!(rx.recv(), Ok(2));
            drop(rx);
        });
        assert_eq!(tx.send_timeout(2, Duration::from_secs(30)), Ok(()));
        assert_eq!(tx.send_timeout(3, Duration::from_secs(30)), Err(SendTimeoutError::Disconnected(3)));
    }

    fn recv_timeout() {
        let (tx, rx) = channel();
        assert_eq!(rx.recv_timeout(Duration::from_millis(2)), Err(RecvTimeoutError::Timeout));
        spawn(move || {
            tx.send(5).unwrap();
            drop(tx);
        });
        assert_eq!(rx.recv_timeout(Duration::from_secs(30)), Ok(5));
        assert_eq!(rx.recv_timeout(Duration::from_secs(30)), Err(RecvTimeoutError::Disconnected));
    }

    fn the_length_and_the_room_of_a_channel() {
        let (tx, rx) = channel();
        assert!(tx.is_empty() && rx.is_empty());
        tx.send(0).unwrap();
        tx.send(1).unwrap();
        assert!(!tx.is_empty() && !rx.is_empty());
        assert_eq!((tx.len(), rx.len()), (2, 2));
        assert_eq!((tx.capacity(), rx.capacity()), (None, None));
        for room in [5, 0] {
            let (tx, rx): (Sender<i32>, Receiver<i32>) = bounded(room);
            assert_eq!((tx.capacity(), rx.capacity()), (Some(room), Some(room)));
        }
    }

    fn a_full_channel_says_so() {
        let (tx, rx) = bounded(1);
        assert!(!tx.is_full() && !rx.is_full());
        tx.send(0).unwrap();
        assert!(tx.is_full() && rx.is_full());
        let (tx, rx): (Sender<i32>, Receiver<i32>) = bounded(0);
        assert!(tx.is_full() && rx.is_full() && tx.is_empty() && rx.is_empty());
        let (tx, rx): (Sender<i32>, Receiver<i32>) = channel();
        assert!(!tx.is_full() && !rx.is_full());
    }

    fn two_ends_say_whether_they_belong_together() {
        let (tx, rx) = channel::<usize>();
        let (another_tx, another_rx) = channel::<usize>();
        assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
        assert!(!tx.same_channel(&another_tx) && !rx.same_channel(&another_rx));
    }

    fn send_deadline() {
        let (tx, rx) = bounded(0);
        let soon = Instant::now() + Duration::from_millis(2);
        assert_eq!(tx.send_deadline(1, soon), Err(SendTimeoutError::Timeout(1)));
        let receiver = spawn(move || {
            assert_eq!(rx.recv(), Ok(2));
            drop(rx);
        });
        let later = Instant::now() + Duration::from_secs(30);
        assert_eq!(tx.send_deadline(2, later), Ok(()));
        receiver.join().unwrap();
        assert_eq!(tx.send_deadline(3, later), Err(SendTimeoutError::Disconnected(3)));
    }

    fn recv_deadline() {
        let (tx, rx) = channel();
        let soon = Instant::now() + Duration::from_millis(2);
        assert_eq!(rx.recv_deadline(soon), Err(RecvTimeoutError::Timeout));
        spawn(move || {
            tx.send(5).unwrap();
            drop(tx);
        });
        let later = Instant::now() + Duration::from_secs(30);
        assert_eq!(rx.recv_deadline(later), Ok(5));
        assert_eq!(rx.recv_deadline(later), Err(RecvTimeoutError::Disconnected));
    }
}
