//! The primitives as plain Rust: nothing is attached, nothing recorded, and they keep the contracts that they name.

mod common;

use std::sync::TryLockError;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{RecvTimeoutError, SendError, TryRecvError, TrySendError};

use common::{in_time, until};
use threadbook_prelude::*;

fn burnt<T>(result: &std::thread::Result<T>) -> Option<&str> {
    result.as_ref().err()?.downcast_ref::<&str>().copied()
}

fn panic_quietly(words: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(words))
}

#[test]
fn every_message_arrives_once_and_each_sender_keeps_its_order() {
    const SENDERS: usize = 4;
    const EACH: usize = 2_000;
    for capacity in [None, Some(0), Some(1), Some(7), Some(128)] {
        in_time(move || {
            let (tx, rx) = capacity.map_or_else(channel, bounded);
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let tx = tx.clone();
                    spawn(move || (0..EACH).for_each(|number| tx.send((sender, number)).unwrap()))
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..3)
                .map(|_| {
                    let rx = rx.clone();
                    spawn(move || rx.into_iter().collect::<Vec<_>>())
                })
                .collect();
            drop(rx);
            let received: Vec<Vec<(usize, usize)>> = receivers
                .into_iter()
                .map(|receiver| receiver.join().unwrap())
                .collect();
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            for messages in &received {
                for sender in 0..SENDERS {
                    let numbers: Vec<_> = messages
                        .iter()
                        .filter(|message| message.0 == sender)
                        .map(|message| message.1)
                        .collect();
                    assert!(numbers.is_sorted(), "{capacity:?}: {numbers:?}");
                }
            }
            let mut all = received.concat();
            all.sort_unstable();
            let want: Vec<_> = (0..SENDERS)
                .flat_map(|sender| (0..EACH).map(move |number| (sender, number)))
                .collect();
            assert_eq!(all, want, "{capacity:?}");
        });
    }
}

#[test]
fn timeouts_lose_and_double_nothing() {
    in_time(|| {
        for capacity in [0, 1, 3] {
            let (tx, rx) = bounded::<usize>(capacity);
            let brief = Duration::from_micros(30);
            let senders: Vec<_> = (0..3)
                .map(|sender| {
                    let tx = tx.clone();
                    spawn(move || {
                        let mut sent = Vec::new();
                        for number in 0..500 {
                            if tx.send_timeout(sender * 1000 + number, brief).is_ok() {
                                sent.push(sender * 1000 + number);
                            }
                        }
                        sent
                    })
                })
                .collect();
            drop(tx);
            let receivers: Vec<_> = (0..2)
                .map(|_| {
                    let rx = rx.clone();
                    spawn(move || {
                        let mut received = Vec::new();
                        loop {
                            match rx.recv_timeout(brief) {
                                Ok(message) => received.push(message),
                                Err(RecvTimeoutError::Timeout) => {}
                                Err(RecvTimeoutError::Disconnected) => return received,
                            }
                        }
                    })
                })
                .collect();
            let mut sent: Vec<_> = senders
                .into_iter()
                .flat_map(|sender| sender.join().unwrap())
                .collect();
            let mut received: Vec<_> = receivers
                .into_iter()
                .flat_map(|receiver| receiver.join().unwrap())
                .collect();
            sent.sort_unstable();
            received.sort_unstable();
            assert_eq!(sent, received, "capacity {capacity}");
        }
    });
}

#[test]
fn a_rendezvous_waits_for_the_receiver() {
    in_time(|| {
        let (tx, rx) = bounded(0);
        assert_eq!(tx.try_send(1), Err(TrySendError::Full(1)));
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!((tx.len(), tx.capacity(), tx.is_empty()), (0, Some(0), true));
        let taken = Arc::new(AtomicUsize::new(0));
        let seen = taken.clone();
        let sender = spawn(move || {
            tx.send(2).unwrap();
            seen.load(Ordering::SeqCst)
        });
        sleep(ms(5)); // No test of time: `send` may not return before the next line, however long that takes.
        taken.store(1, Ordering::SeqCst);
        assert_eq!(rx.recv(), Ok(2));
        assert_eq!(
            sender.join().unwrap(),
            1,
            "the send returned before the receive began"
        );
    });
}

#[test]
fn a_waiting_partner_makes_the_try_forms_succeed() {
    in_time(|| {
        let (tx, rx) = bounded(0);
        let receiver = spawn(move || rx.recv());
        until("a receiver to wait", || tx.try_send(7).is_ok());
        assert_eq!(receiver.join().unwrap(), Ok(7));

        let (tx, rx) = bounded(0);
        let sender = spawn(move || tx.send(8));
        let got = Arc::new(Mutex::new(None));
        until("a sender to wait", || {
            *got.lock().unwrap() = rx.try_recv().ok();
            got.lock().unwrap().is_some()
        });
        assert_eq!(*got.lock().unwrap(), Some(8));
        assert_eq!(sender.join().unwrap(), Ok(()));
    });
}

#[test]
fn a_deadline_that_has_passed_takes_what_is_there_and_waits_for_nothing() {
    in_time(|| {
        let past = Instant::now();
        let (tx, rx) = bounded(1);
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Timeout));
        assert_eq!(tx.send_deadline(1, past), Ok(()), "there is room");
        assert_eq!(
            tx.send_deadline(2, past),
            Err(SendTimeoutError::Timeout(2)),
            "the message comes back"
        );
        assert_eq!(rx.recv_deadline(past), Ok(1));
        drop(tx);
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn what_rang_by_the_clock_fills_its_channel() {
    in_time(|| {
        let alarm = after(ms(1));
        until("it to ring", || alarm.is_full());
        assert_eq!(alarm.len(), 1);
        alarm.recv().unwrap();
        assert!(!alarm.is_full());
    });
}

#[test]
fn ends_that_are_gone_are_told() {
    in_time(|| {
        let (tx, rx) = channel();
        tx.clone().send(1).unwrap();
        drop(tx);
        assert_eq!(rx.try_recv(), Ok(1), "what was queued is still there");
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert!(rx.recv().is_err());
        assert_eq!(rx.recv_timeout(ms(1)), Err(RecvTimeoutError::Disconnected));

        let (tx, rx) = bounded(1);
        drop(rx.clone());
        tx.send(1).unwrap();
        drop(rx);
        assert_eq!(tx.send(2), Err(SendError(2)));
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
        assert_eq!(
            tx.send_timeout(4, ms(1)),
            Err(SendTimeoutError::Disconnected(4))
        );
    });
}

#[test]
fn those_who_wait_are_told_when_the_other_end_goes() {
    in_time(|| {
        let (tx, rx) = bounded::<i32>(0);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let rx = rx.clone();
                spawn(move || rx.recv().is_err())
            })
            .collect();
        drop((rx, tx));
        assert!(
            receivers
                .into_iter()
                .all(|receiver| receiver.join().unwrap())
        );

        let (tx, rx) = bounded(0);
        let senders: Vec<_> = (0..3)
            .map(|number| {
                let tx = tx.clone();
                spawn(move || tx.send(number) == Err(SendError(number)))
            })
            .collect();
        drop((tx, rx));
        assert!(senders.into_iter().all(|sender| sender.join().unwrap()));
    });
}

#[test]
fn unread_messages_are_dropped_with_the_last_receiver() {
    let message = Arc::new(());
    let (tx, rx) = channel();
    tx.send(message.clone()).unwrap();
    drop(rx);
    assert_eq!(Arc::strong_count(&message), 1);
    assert!(tx.send(message).is_err());
}

#[test]
fn a_timeout_without_end_is_no_overflow() {
    in_time(|| {
        let (tx, rx) = bounded(0);
        let receiver = spawn(move || rx.recv_timeout(Duration::MAX));
        tx.send_timeout(5, Duration::MAX).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(5));
    });
}

#[test]
fn a_lock_has_one_owner_at_a_time() {
    in_time(|| {
        const THREADS: usize = 8;
        const EACH: usize = 5_000;
        let till = Arc::new(Mutex::new(0));
        let inside = Arc::new(AtomicUsize::new(0));
        let bakers: Vec<_> = (0..THREADS)
            .map(|_| {
                let (till, inside) = (till.clone(), inside.clone());
                spawn(move || {
                    for _ in 0..EACH {
                        let mut money = till.lock().unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two are inside");
                        *money += 1;
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        bakers.into_iter().for_each(|baker| baker.join().unwrap());
        assert_eq!(*till.lock().unwrap(), THREADS * EACH);
    });
}

#[test]
fn one_that_waits_for_a_lock_gets_it_from_one_that_never_lets_go_for_long() {
    in_time(|| {
        let till = Arc::new(Mutex::new(0));
        let (greedy, stop) = (till.clone(), Arc::new(AtomicUsize::new(0)));
        let stopped = stop.clone();
        let hog = spawn(move || {
            while stopped.load(Ordering::SeqCst) == 0 {
                let _money = greedy.lock().unwrap();
                work(Duration::from_micros(200));
            }
        });
        for _ in 0..5 {
            *till.lock().unwrap() += 1;
        }
        stop.store(1, Ordering::SeqCst);
        hog.join().unwrap();
        assert_eq!(*till.lock().unwrap(), 5);
    });
}

#[test]
fn a_panic_poisons_the_lock_that_is_held() {
    let till = Arc::new(Mutex::new(1));
    let theirs = till.clone();
    let baker = spawn(move || {
        let mut money = theirs.lock().unwrap();
        *money = 2;
        panic_quietly("burnt");
    });
    assert_eq!(burnt(&baker.join()), Some("burnt"));
    assert!(till.is_poisoned());
    assert_eq!(*till.lock().unwrap_err().into_inner(), 2);
    assert!(matches!(till.try_lock(), Err(TryLockError::Poisoned(_))));
    assert_eq!(format!("{till:?}"), "Mutex { data: 2, poisoned: true, .. }");
    till.clear_poison();
    assert_eq!(*till.lock().unwrap(), 2);
    let mut till = Arc::into_inner(till).expect("the baker is gone");
    *till.get_mut().unwrap() += 1;
    assert_eq!(till.into_inner().unwrap(), 3);
}

#[test]
fn a_lock_taken_while_unwinding_is_not_poisoned() {
    struct Tidy(Arc<Mutex<i32>>);
    impl Drop for Tidy {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let till = Arc::new(Mutex::new(0));
    let tidy = Tidy(till.clone());
    let baker = spawn(move || {
        let _tidy = tidy;
        panic_quietly("burnt");
    });
    assert!(baker.join().is_err());
    assert_eq!(*till.lock().unwrap(), 1);
}

#[test]
fn locks_show_themselves_as_those_of_std_do() {
    let till: Mutex<i32> = 5.into();
    assert_eq!(
        format!("{till:?}"),
        format!("{:?}", std::sync::Mutex::new(5))
    );
    let money = till.lock().unwrap();
    assert_eq!(format!("{money:?} {money}"), "5 5");
    assert_eq!(
        format!("{till:?}"),
        "Mutex { data: <locked>, poisoned: false, .. }"
    );
    assert!(matches!(till.try_lock(), Err(TryLockError::WouldBlock)));
    drop(money);
    assert!(till.try_lock().is_ok());
    assert_eq!(*Mutex::<String>::default().lock().unwrap(), "");
}

#[test]
fn a_lock_of_an_unsized_value_works() {
    let shelf: Arc<Mutex<[i32]>> = Arc::new(Mutex::new([1, 2, 3]));
    shelf.lock().unwrap()[1] = 5;
    assert_eq!(*shelf.lock().unwrap(), [1, 5, 3]);
}

#[test]
fn wait_returns_after_the_last_done() {
    in_time(|| {
        for _ in 0..200 {
            let (ovens, finished) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
            ovens.add(3);
            for _ in 0..3 {
                let (ovens, finished) = (ovens.clone(), finished.clone());
                spawn(move || {
                    finished.fetch_add(1, Ordering::SeqCst);
                    ovens.done();
                });
            }
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let (ovens, finished) = (ovens.clone(), finished.clone());
                    spawn(move || {
                        ovens.wait();
                        finished.load(Ordering::SeqCst)
                    })
                })
                .collect();
            for one in waiting {
                assert_eq!(one.join().unwrap(), 3);
            }
        }
    });
}

#[test]
fn a_wait_group_counts_adds_and_not_clones() {
    let ovens = WaitGroup::default();
    let more = [ovens.clone(), ovens.clone()];
    ovens.wait();
    assert_eq!(ovens.count(), 0);
    more[0].add(2);
    assert_eq!(ovens.count(), 2);
    drop(more);
    assert_eq!(format!("{ovens:?}"), "WaitGroup { count: 2, .. }");
    ovens.done();
    drop(ovens.defer_done());
    ovens.wait();
    ovens.add(1); // a new round
    assert_eq!(ovens.count(), 1);
}

#[test]
fn a_wait_group_below_zero_says_what_was_called_how_often() {
    let ovens = WaitGroup::new().named("ovens");
    let theirs = ovens.clone();
    let quiet = std::panic::catch_unwind(move || {
        theirs.add(2);
        theirs.done();
        theirs.done();
        theirs.done();
    });
    let payload = quiet.unwrap_err();
    let words = payload
        .downcast_ref::<String>()
        .expect("a panic with words");
    for part in [
        "`ovens`",
        "below zero",
        "done() came 3 times",
        "add() counted 2",
        "primitives.rs",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert_eq!(ovens.count(), 0);
}

#[test]
fn a_second_done_while_unwinding_does_not_end_the_process() {
    let baker = spawn(|| {
        let ovens = WaitGroup::new();
        let _one_too_many = ovens.defer_done();
        panic_quietly("burnt");
    });
    assert_eq!(burnt(&baker.join()), Some("burnt"));
}

#[test]
fn blocking_calls_while_unwinding_work_and_do_not_panic_again() {
    struct Tidy;
    impl Drop for Tidy {
        fn drop(&mut self) {
            let (tx, rx) = bounded::<i32>(0);
            let partner = spawn(move || tx.send(1));
            assert_eq!(rx.recv(), Ok(1));
            assert!(rx.recv().is_err());
            partner.join().unwrap().unwrap();
            let ovens = WaitGroup::new();
            ovens.go(|| ());
            ovens.wait();
            sleep(Duration::ZERO);
            // A scope with a panic of its own: reported by nobody, since one is on its way already.
            scope(|s| drop(s.spawn(|| panic_quietly("second"))));
        }
    }
    let baker = in_time(|| {
        spawn(|| {
            let _tidy = Tidy;
            panic_quietly("burnt");
        })
        .join()
    });
    assert_eq!(burnt(&baker), Some("burnt"));
}

#[test]
fn go_counts_and_a_panic_counts_as_done() {
    in_time(|| {
        let (ovens, baked) = (WaitGroup::new(), Arc::new(AtomicUsize::new(0)));
        for number in 0..10 {
            let baked = baked.clone();
            ovens.go_named(format!("baker {number}"), move || {
                if number == 3 {
                    panic_quietly("burnt");
                }
                baked.fetch_add(1, Ordering::SeqCst);
            });
        }
        ovens.wait();
        assert_eq!(baked.load(Ordering::SeqCst), 9);
    });
}

#[test]
fn join_gives_the_result_or_the_panic() {
    in_time(|| {
        let baker = spawn_named("ada\0l", || std::thread::current().name().map(String::from));
        assert_eq!(baker.thread().name(), Some("ada l"));
        assert_eq!(
            baker.join().unwrap().as_deref(),
            Some("ada l"),
            "a zero byte in a name is no reason to panic"
        );
        assert_eq!(
            burnt(&spawn(|| panic_quietly("burnt")).join()),
            Some("burnt")
        );
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let baker = spawn(move || may_go.recv().is_ok());
        assert!(!baker.is_finished());
        go.send(()).unwrap();
        until("the baker to finish", || baker.is_finished());
        assert!(format!("{baker:?}").contains("finished: true"));
        assert!(baker.join().unwrap());
    });
}

#[test]
fn a_thousand_threads_come_and_go() {
    in_time(|| {
        let till = Arc::new(Mutex::new(0));
        let bakers: Vec<_> = (0..1000)
            .map(|_| {
                let till = till.clone();
                spawn(move || *till.lock().unwrap() += 1)
            })
            .collect();
        bakers.into_iter().for_each(|baker| baker.join().unwrap());
        assert_eq!(*till.lock().unwrap(), 1000);
    });
}

#[test]
fn a_scope_waits_for_threads_that_borrow() {
    in_time(|| {
        for _ in 0..100 {
            let mut loaves = [0; 8];
            let sum = scope(|s| {
                for (number, loaf) in loaves.iter_mut().enumerate() {
                    s.spawn_named("baker", move || *loaf = number);
                }
                // A handle that is used, and a thread that starts another one.
                let inner = s.spawn(|| s.spawn(|| 5).join().unwrap());
                inner.join().unwrap()
            });
            assert_eq!((loaves.iter().sum::<usize>(), sum), (28, 5));
        }
    });
}

#[test]
fn a_scope_drops_results_that_nobody_took_before_it_ends() {
    struct Counted<'a>(&'a AtomicUsize);
    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    in_time(|| {
        for _ in 0..200 {
            let dropped = AtomicUsize::new(0);
            scope(|s| {
                let kept = s.spawn(|| Counted(&dropped));
                s.spawn(|| Counted(&dropped));
                assert!(format!("{s:?} {kept:?}").starts_with("Scope { running: "));
            });
            assert_eq!(dropped.load(Ordering::SeqCst), 2);
        }
    });
}

#[test]
fn a_scope_reports_panics_as_that_of_std_does() {
    let words = |run: fn()| {
        let payload = in_time(move || std::panic::catch_unwind(run)).expect_err("a panic");
        payload
            .downcast_ref::<&str>()
            .map(|words| (*words).to_string())
    };
    assert_eq!(
        words(|| scope(|s| drop(s.spawn(|| panic_quietly("burnt"))))).as_deref(),
        Some("a scoped thread panicked")
    );
    assert_eq!(
        words(|| scope(|_| panic_quietly("the closure's own"))).as_deref(),
        Some("the closure's own")
    );
    // Joined: then it is the joiner's.
    in_time(|| {
        scope(|s| {
            assert_eq!(
                burnt(&s.spawn(|| panic_quietly("burnt")).join()),
                Some("burnt")
            );
        });
    });
}

#[test]
fn work_of_two_threads_is_processor_time() {
    in_time(|| {
        let start = Instant::now();
        scope(|s| {
            s.spawn(|| work(ms(10)));
            s.spawn(|| work(ms(10)));
        });
        assert!(start.elapsed() >= ms(10), "{:?}", start.elapsed());
    });
}

#[test]
fn types_are_sent_and_shared_as_their_models_are() {
    fn both<T: Send + Sync>() {}
    fn shared<T: Sync>() {}
    both::<Sender<std::cell::Cell<i32>>>();
    both::<Receiver<std::cell::Cell<i32>>>();
    both::<Mutex<std::cell::Cell<i32>>>();
    both::<WaitGroup>();
    both::<Done>();
    both::<JoinHandle<i32>>();
    shared::<MutexGuard<'static, i32>>();
    shared::<Scope<'static, 'static>>();
}
