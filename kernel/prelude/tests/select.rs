//! `select!` as plain Rust: every kind of arm, crossbeam's contract, and nothing lost or doubled under load.

mod common;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};

use common::{DEADLINE, in_time};
use threadbook_prelude::*;

/// Panics, and does not let the compiler know: what comes after it would be unreachable.
fn burnt() -> i32 {
    if std::hint::black_box(true) {
        std::panic::resume_unwind(Box::new("burnt"));
    }
    0
}

/// Starts a task on one engine or the other.
fn begin<T: Send + 'static>(
    green: bool,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    if green { go(body) } else { spawn(body) }
}

/// Long enough that another thread waits by then; no test depends on it for more than what it tries.
fn a_moment() {
    std::thread::sleep(ms(5));
}

#[test]
fn the_operation_that_is_ready_is_chosen() {
    let (one_tx, one_rx) = channel();
    let (two_tx, two_rx) = channel();
    one_tx.send(1).unwrap();
    select! {
        recv(one_rx) -> v => assert_eq!(v, Ok(1)),
        recv(two_rx) -> _ => unreachable!(),
    }
    two_tx.send("two").unwrap();
    select! {
        recv(one_rx) -> _ => unreachable!(),
        recv(two_rx) -> v => assert_eq!(v, Ok("two")),
    }
    let (full_tx, full_rx) = bounded(1);
    full_tx.send(0).unwrap();
    let (free_tx, free_rx) = bounded(1);
    select! {
        send(full_tx, 1) -> _ => unreachable!(),
        send(free_tx, 2_u8) -> sent => assert_eq!(sent, Ok(())),
    }
    assert_eq!((full_rx.len(), free_rx.recv()), (1, Ok(2)));
}

#[test]
fn the_default_is_chosen_when_nothing_is_ready() {
    let (tx, rx) = channel::<i32>();
    let (meet_tx, meet_rx) = bounded::<i32>(0);
    let chosen = select! {
        recv(rx) -> _ => "recv",
        recv(meet_rx) -> _ => "meet",
        send(meet_tx, 1) -> _ => "send",
        default => "default",
    };
    assert_eq!(chosen, "default", "a select does not meet itself");
    tx.send(1).unwrap();
    let chosen = select! {
        default => 0,
        recv(rx) -> v => v.unwrap(),
    };
    assert_eq!(chosen, 1);
    assert_eq!(select! { default => 7 }, 7);
    assert_eq!(select! { default() => 8, }, 8);
}

#[test]
fn a_timeout_is_waited_for_and_no_longer_than_needed() {
    in_time(|| {
        let (tx, rx) = bounded::<i32>(0);
        let start = Instant::now();
        let chosen = select! {
            recv(rx) -> _ => "recv",
            send(tx, 1) -> _ => "send",
            default(ms(20)) => "timeout",
        };
        assert_eq!(chosen, "timeout", "a select does not meet itself");
        assert!(start.elapsed() >= ms(20), "{:?}", start.elapsed());

        let start = Instant::now();
        assert_eq!(select! { default(ms(5)) => 5 }, 5);
        assert!(start.elapsed() >= ms(5));
        assert_eq!(
            select! { recv(rx) -> _ => 1, default(Duration::ZERO) => 2 },
            2
        );

        let baker = spawn(move || {
            a_moment();
            tx.send(3)
        });
        let start = Instant::now();
        let chosen = select! {
            recv(rx) -> v => v.unwrap(),
            default(Duration::MAX) => unreachable!(),
        };
        assert_eq!(chosen, 3);
        assert!(start.elapsed() < DEADLINE);
        baker.join().unwrap().unwrap();
    });
}

#[test]
fn ends_that_are_alone_are_ready_with_an_error() {
    let (tx, rx) = channel::<i32>();
    let (other_tx, other_rx) = bounded::<String>(0);
    drop(tx);
    select! {
        recv(rx) -> v => assert_eq!(v, Err(RecvError)),
        recv(other_rx) -> _ => unreachable!(),
        default => unreachable!(),
    }
    drop(other_rx);
    select! {
        send(other_tx, String::from("rye")) -> sent => assert_eq!(sent, Err(SendError("rye".into()))),
        default(ms(100)) => unreachable!(),
    }
    // What is queued comes first.
    let (tx, rx) = channel();
    tx.send(1).unwrap();
    drop(tx);
    assert_eq!(select! { recv(rx) -> v => v }, Ok(1));
    assert_eq!(select! { recv(rx) -> v => v }, Err(RecvError));
}

#[test]
fn the_last_end_that_goes_ends_the_wait() {
    in_time(|| {
        let (tx, rx) = channel::<i32>();
        let (_other_tx, other_rx) = channel::<i32>();
        let leaving = spawn(move || {
            a_moment();
            drop(tx);
        });
        select! {
            recv(rx) -> v => assert_eq!(v, Err(RecvError)),
            recv(other_rx) -> _ => unreachable!(),
        }
        leaving.join().unwrap();
        for capacity in [0, 1] {
            let (tx, rx) = bounded(capacity);
            (0..capacity).for_each(|_| tx.send(0).unwrap());
            let leaving = spawn(move || {
                a_moment();
                drop(rx);
            });
            select! {
                send(tx, 1) -> sent => assert_eq!(sent, Err(SendError(1))),
                recv(other_rx) -> _ => unreachable!(),
            }
            leaving.join().unwrap();
        }
    });
}

#[test]
fn a_waiting_select_is_let_go_on_by_any_of_its_channels() {
    in_time(|| {
        for capacity in [Some(0), Some(1), None] {
            for which in 0..4 {
                let (one_tx, one_rx) = capacity.map_or_else(channel, bounded);
                let (two_tx, two_rx) = capacity.map_or_else(channel, bounded);
                let (three_tx, three_rx) = bounded(0);
                let (four_tx, four_rx) = bounded(1);
                four_tx.send("first").unwrap();
                let other = spawn(move || {
                    a_moment();
                    match which {
                        0 => one_tx.send(1).unwrap(),
                        1 => two_tx.send("two").unwrap(),
                        2 => assert_eq!(three_rx.recv(), Ok(3)),
                        _ => {
                            assert_eq!(four_rx.recv(), Ok("first"));
                            assert_eq!(four_rx.recv(), Ok("four"));
                        }
                    }
                    // Kept until here: an end that is gone makes its arm ready.
                    (one_tx, two_tx, three_rx, four_rx)
                });
                let chosen = select! {
                    recv(one_rx) -> v => { assert_eq!(v, Ok(1)); 0 }
                    recv(two_rx) -> v => { assert_eq!(v, Ok("two")); 1 }
                    send(three_tx, 3) -> sent => { sent.unwrap(); 2 }
                    send(four_tx, "four") -> sent => { sent.unwrap(); 3 }
                };
                assert_eq!(chosen, which, "{capacity:?}");
                other.join().unwrap();
                assert_eq!(one_rx.try_recv(), Err(TryRecvError::Disconnected));
            }
        }
    });
}

#[test]
fn arms_that_are_ready_are_chosen_evenly() {
    const TIMES: usize = 10_000;
    let (one_tx, one_rx) = channel();
    let (two_tx, two_rx) = bounded(TIMES);
    let (three_tx, three_rx) = bounded(TIMES);
    for _ in 0..TIMES {
        one_tx.send(()).unwrap();
        two_tx.send(()).unwrap();
    }
    let mut chosen = [0; 2];
    for _ in 0..TIMES {
        select! {
            recv(one_rx) -> _ => chosen[0] += 1,
            recv(two_rx) -> _ => chosen[1] += 1,
        }
    }
    assert!(
        chosen.iter().all(|times| *times > TIMES * 3 / 10),
        "{chosen:?}"
    );
    // One of three is not ready: the other two are as likely as before.
    let mut chosen = [0; 2];
    for _ in 0..TIMES {
        select! {
            recv(never::<()>()) -> _ => unreachable!(),
            send(one_tx, ()) -> _ => chosen[0] += 1,
            send(three_tx, ()) -> _ => chosen[1] += 1,
        }
    }
    assert!(
        chosen.iter().all(|times| *times > TIMES * 4 / 10),
        "{chosen:?}"
    );
    drop(three_rx);
}

#[test]
fn a_message_is_made_only_when_its_arm_is_chosen() {
    in_time(|| {
        let made = AtomicUsize::new(0);
        let make = || made.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = bounded(0);
        select! { send(tx, make()) -> _ => unreachable!(), default => {} }
        select! { send(tx, make()) -> _ => unreachable!(), default(ms(1)) => {} }
        assert_eq!(made.load(Ordering::Relaxed), 0);
        drop(rx);

        // So it is not moved either, and can be tried again.
        let loaf = String::from("rye");
        let (full_tx, full_rx) = bounded(1);
        full_tx.send(String::from("first")).unwrap();
        let loaf = select! {
            send(full_tx, loaf) -> _ => unreachable!(),
            default => loaf,
        };
        full_rx.recv().unwrap();
        select! {
            send(full_tx, loaf) -> sent => sent.unwrap(),
            default => panic!("kept {loaf}"),
        }
        assert_eq!(full_rx.recv().unwrap(), "rye");
        // And made as often as it is chosen, also when it had to wait.
        let (tx, rx) = bounded(0);
        let till = spawn(move || rx.iter().collect::<Vec<usize>>());
        for _ in 0..3 {
            select! { send(tx, make()) -> sent => sent.unwrap() }
        }
        drop(tx);
        assert_eq!(till.join().unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_message_that_is_not_made_after_all_leaves_nothing_behind() {
    in_time(|| {
        for capacity in [Some(0), Some(1), None] {
            // By a panic, by `?`, by `break`: where the arm is ready, and where the receiver comes later.
            for how in 0..3 {
                for waits in [false, true] {
                    let (tx, rx) = capacity.map_or_else(channel, bounded);
                    if capacity == Some(1) && waits {
                        tx.send(0).unwrap();
                    }
                    let theirs = tx.clone();
                    let first = spawn(move || {
                        if !waits {
                            a_moment();
                        }
                        let fails = || -> Result<(), ()> {
                            match how {
                                0 => {
                                    select! { send(theirs, burnt()) -> _ => unreachable!() }
                                }
                                1 => {
                                    select! { send(theirs, Err(())?) -> _ => unreachable!() }
                                }
                                _ => loop {
                                    select! { send(theirs, if std::hint::black_box(true) { break } else { 0 }) -> _ => {} }
                                },
                            }
                            Ok(())
                        };
                        catch_unwind(AssertUnwindSafe(fails)).is_err()
                    });
                    if waits {
                        a_moment();
                        if capacity == Some(0) {
                            // Chosen, and left with nothing: so nobody is there who sends.
                            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
                        }
                    }
                    let second = spawn(move || {
                        a_moment();
                        tx.send(9).unwrap();
                    });
                    let received: Vec<i32> = rx.iter().collect();
                    assert_eq!(
                        received.last(),
                        Some(&9),
                        "{capacity:?} {how} {waits}: {received:?}"
                    );
                    assert_eq!(
                        received.len(),
                        1 + usize::from(capacity == Some(1) && waits)
                    );
                    assert_eq!(first.join().unwrap(), how == 0);
                    second.join().unwrap();
                }
            }
        }
    });
}

#[test]
fn room_that_an_arm_gives_back_goes_to_the_next() {
    in_time(|| {
        let (tx, rx) = bounded(1);
        let (go, may_go) = channel::<()>();
        let theirs = tx.clone();
        let arm = spawn(move || {
            catch_unwind(AssertUnwindSafe(|| {
                select! {
                    send(theirs, { may_go.recv().unwrap_err(); burnt() }) -> _ => unreachable!(),
                }
            }))
            .is_err()
        });
        while tx.try_send(1).is_ok() {
            rx.recv().unwrap();
            yield_now();
        }
        // All room is kept for the arm: nothing is there, and there is no room.
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        select! { send(tx, 2) -> _ => unreachable!(), default => {} }
        let other = spawn(move || {
            select! { send(tx, 3) -> sent => sent.unwrap() }
        });
        a_moment();
        drop(go);
        assert!(arm.join().unwrap());
        assert_eq!(rx.recv(), Ok(3));
        other.join().unwrap();
    });
}

#[test]
fn two_selects_meet_at_a_rendezvous() {
    const TIMES: usize = 5_000;
    in_time(|| {
        let (there_tx, there_rx) = bounded(0);
        let (back_tx, back_rx) = bounded(0);
        // Each would send on one and receive on the other: they meet in one of the two, and both know in which.
        let other = spawn(move || {
            let mut log = Vec::new();
            for number in 0..TIMES {
                select! {
                    recv(there_rx) -> v => log.push((true, v.unwrap())),
                    send(back_tx, number) -> sent => { sent.unwrap(); log.push((false, number)) }
                }
            }
            log
        });
        let mut log = Vec::new();
        for number in 0..TIMES {
            select! {
                send(there_tx, number) -> sent => { sent.unwrap(); log.push((true, number)) }
                recv(back_rx) -> v => log.push((false, v.unwrap())),
            }
        }
        assert_eq!(other.join().unwrap(), log);
    });
}

#[test]
fn both_ends_in_one_select_meet_others_and_not_themselves() {
    const EACH: usize = 2_000;
    in_time(|| {
        let (tx, rx) = bounded(0);
        let sent = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..4)
            .map(|me| {
                let (tx, rx, sent, received) =
                    (tx.clone(), rx.clone(), sent.clone(), received.clone());
                spawn(move || {
                    let done = || sent.load(Ordering::Relaxed) + received.load(Ordering::Relaxed);
                    while done() < 4 * EACH {
                        select! {
                            send(tx, me) -> r => {
                                r.unwrap();
                                sent.fetch_add(1, Ordering::Relaxed);
                            }
                            recv(rx) -> from => {
                                assert_ne!(from, Ok(me), "it met itself");
                                received.fetch_add(1, Ordering::Relaxed);
                            }
                            // The last may find nobody left.
                            default(ms(2)) => {}
                        }
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
        let (sent, received) = (
            sent.load(Ordering::Relaxed),
            received.load(Ordering::Relaxed),
        );
        assert_eq!(sent, received);
        assert!(sent >= 2 * EACH, "{sent}");
    });
}

#[test]
fn every_message_arrives_once_through_selects_on_both_sides() {
    const EACH: usize = 1_500;
    const SENDERS: usize = 4;
    in_time(|| {
        for same in [
            Some(Some(0)),
            Some(Some(1)),
            Some(Some(4)),
            Some(None),
            None,
        ] {
            let capacities = match same {
                Some(capacity) => [capacity; 4],
                None => [Some(0), Some(1), Some(4), None],
            };
            let ends = capacities.map(|capacity| capacity.map_or_else(channel, bounded));
            let [one, two, three, four] = ends;
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    let (one, two) = (one.0.clone(), two.0.clone());
                    let (three, four) = (three.0.clone(), four.0.clone());
                    spawn(move || {
                        let mut number = 0;
                        while number < EACH {
                            let loaf = Box::new(sender * EACH + number);
                            select! {
                                send(one, loaf) -> sent => sent.unwrap(),
                                send(two, loaf) -> sent => sent.unwrap(),
                                send(three, loaf) -> sent => sent.unwrap(),
                                send(four, loaf) -> sent => sent.unwrap(),
                                default(Duration::from_micros(20 * (sender as u64 + 1))) => continue,
                            }
                            number += 1;
                        }
                    })
                })
                .collect();
            // Those who do not select are served too.
            let plain_sender = {
                let (one, two) = (one.0.clone(), two.0.clone());
                spawn(move || {
                    for number in 0..EACH {
                        let loaf = Box::new(SENDERS * EACH + number);
                        let tx = if number % 2 == 0 { &one } else { &two };
                        tx.send(loaf).unwrap();
                    }
                })
            };
            let receivers: Vec<_> = (0..3)
                .map(|receiver| {
                    let (mut one, mut two) = (one.1.clone(), two.1.clone());
                    let (mut three, mut four) = (three.1.clone(), four.1.clone());
                    spawn(move || {
                        let mut received = Vec::new();
                        let mut open = 4;
                        while open > 0 {
                            let message = select! {
                                recv(one) -> v => v.map_err(|_| one = never()),
                                recv(two) -> v => v.map_err(|_| two = never()),
                                recv(three) -> v => v.map_err(|_| three = never()),
                                recv(four) -> v => v.map_err(|_| four = never()),
                                default(Duration::from_micros(30 * (receiver + 1))) => continue,
                            };
                            match message {
                                Ok(loaf) => received.push(*loaf),
                                Err(()) => open -= 1,
                            }
                        }
                        received
                    })
                })
                .collect();
            let plain_receiver = {
                let rx = one.1.clone();
                spawn(move || rx.iter().map(|loaf| *loaf).collect::<Vec<_>>())
            };
            drop((one, two, three, four));
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            plain_sender.join().unwrap();
            let mut all: Vec<usize> = plain_receiver.join().unwrap();
            for receiver in receivers {
                all.extend(receiver.join().unwrap());
            }
            all.sort_unstable();
            assert!(
                all.iter().copied().eq(0..(SENDERS + 1) * EACH),
                "{same:?}: {} of {}, {} different",
                all.len(),
                (SENDERS + 1) * EACH,
                all.iter().collect::<HashSet<_>>().len()
            );
        }
    });
}

#[test]
fn selects_of_threads_and_green_tasks_lose_and_double_nothing() {
    const EACH: usize = 3_000;
    in_time(|| {
        for (capacity, green) in [
            (Some(0), 0),
            (Some(1), 0),
            (None, 0),
            (Some(0), 3),
            (Some(1), 3),
            (Some(0), 2),
            (None, 1),
        ] {
            let (one_tx, one_rx) = capacity.map_or_else(channel, bounded);
            let (two_tx, two_rx) = capacity.map_or_else(channel, bounded);
            let senders: Vec<_> = (0..3)
                .map(|sender| {
                    let (one, two) = (one_tx.clone(), two_tx.clone());
                    begin(sender < green, move || {
                        for number in 0..EACH {
                            let number = sender * EACH + number;
                            select! {
                                send(one, number) -> sent => sent.unwrap(),
                                send(two, number) -> sent => sent.unwrap(),
                            }
                        }
                    })
                })
                .collect();
            let receivers: Vec<_> = (0..3)
                .map(|receiver| {
                    let (one, two) = (one_rx.clone(), two_rx.clone());
                    begin(receiver < green, move || {
                        let next = || select! { recv(one) -> v => v, recv(two) -> v => v };
                        (0..EACH).map(|_| next().unwrap()).collect::<Vec<_>>()
                    })
                })
                .collect();
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            let mut all: Vec<usize> = receivers
                .into_iter()
                .flat_map(|receiver| receiver.join().unwrap())
                .collect();
            all.sort_unstable();
            assert!(
                all.into_iter().eq(0..3 * EACH),
                "{capacity:?}, {green} of 3 green"
            );
        }
    });
}

#[test]
fn break_continue_return_and_question_mark_work_in_arms() {
    fn first_even(rx: &Receiver<i32>) -> Option<i32> {
        loop {
            select! {
                recv(rx) -> v => match v {
                    Ok(v) if v % 2 == 1 => continue,
                    Ok(v) => return Some(v),
                    Err(_) => break,
                },
                default => break,
            }
        }
        None
    }
    fn sum(rx: &Receiver<i32>) -> Result<i32, RecvError> {
        let mut sum = 0;
        loop {
            sum += select! {
                recv(rx) -> v => v?,
                default => return Ok(sum),
            };
        }
    }
    let (tx, rx) = channel();
    [1, 3, 4, 5, 6]
        .into_iter()
        .for_each(|v| tx.send(v).unwrap());
    assert_eq!(first_even(&rx), Some(4));
    assert_eq!(sum(&rx), Ok(11));
    assert_eq!(first_even(&rx), None);
    drop(tx);
    assert_eq!(sum(&rx), Err(RecvError));
    let (tx, rx) = channel();
    tx.send(7).unwrap();
    drop(tx);
    let mut rounds = 0;
    'search: while rounds < 5 {
        rounds += 1;
        loop {
            select! {
                recv(rx) -> v => match v {
                    Ok(7) => continue 'search,
                    Ok(_) => {}
                    Err(_) => break 'search,
                },
                default => unreachable!(),
            }
        }
    }
    assert_eq!(rounds, 2);
}

#[test]
fn an_arm_has_a_value_a_pattern_and_its_types() {
    let (tx, rx) = channel();
    tx.send((1, "rye")).unwrap();
    let value: Result<Box<dyn std::fmt::Debug>, RecvError> = select! {
        recv(rx) -> v => v.map(|(number, name)| Box::new((name, number)) as _),
        default => Err(RecvError),
    };
    assert_eq!(format!("{:?}", value.unwrap()), r#"("rye", 1)"#);
    tx.send((2, "oat")).unwrap();
    let name: String = select! {
        recv(&rx) -> mut v => { v.as_mut().unwrap().0 += 1; format!("{v:?}") }
        default => "none".into()
    };
    assert_eq!(name, r#"Ok((3, "oat"))"#);
    // The type of a message can come from its arm alone, and is coerced as an argument is.
    let (tx, rx) = bounded::<Box<dyn Fn() -> i32 + Send>>(1);
    select! { send(&tx, Box::new(|| 7)) -> sent => assert!(sent.is_ok()) }
    assert_eq!(rx.recv().unwrap()(), 7);
    let (tx, rx) = channel();
    select! { send(tx, 5_u8) -> _ => {} }
    select! { recv(rx) -> v => assert_eq!(v, Ok(5)) }
    // Messages may borrow.
    let words = String::from("rye oat");
    let (tx, rx) = channel();
    for word in words.split(' ') {
        select! { send(tx, word) -> sent => sent.unwrap() }
    }
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["rye", "oat"]);
}

#[test]
fn ends_are_evaluated_once_and_may_be_anything_that_refers_to_one() {
    let asked = AtomicUsize::new(0);
    let (tx, rx) = channel();
    let shared = Arc::new(rx);
    let get = || {
        asked.fetch_add(1, Ordering::Relaxed);
        shared.clone()
    };
    for number in 0..3 {
        tx.send(number).unwrap();
        select! {
            recv(get()) -> v => assert_eq!(v, Ok(number)),
            send(a_meeting().0, 1) -> _ => unreachable!(),
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let boxed = Box::new((tx, shared));
    select! { send(boxed.0, 1) -> sent => sent.unwrap() }
    select! { recv(boxed.1) -> v => assert!(v.is_ok()), }
    let many: Vec<_> = (0..3).map(|_| channel::<i32>()).collect();
    many[1].0.send(1).unwrap();
    select! {
        recv(many[0].1) -> _ => unreachable!(),
        recv(many[1].1) -> v => assert_eq!(v, Ok(1)),
        recv(many[2].1) -> _ => unreachable!(),
    }

    fn a_meeting() -> (Sender<i32>, Receiver<i32>) {
        bounded(0)
    }
}

#[test]
fn an_arm_may_end_or_replace_its_own_channel() {
    let (tx, mut rx) = channel::<i32>();
    tx.send(1).unwrap();
    select! {
        recv(rx) -> _ => rx = never(),
        default => unreachable!(),
    }
    assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
    let (tx, rx) = channel::<i32>();
    select! {
        send(tx, 1) -> sent => { sent.unwrap(); drop(tx) }
        recv(rx) -> _ => { drop((tx, rx)); return }
    }
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn arms_are_told_apart_with_and_without_commas_and_in_macros() {
    let (tx, rx) = channel::<i32>();
    (0..8).for_each(|v| tx.send(v).unwrap());
    let mut got = Vec::new();
    select! { recv(rx) -> v => got.push(v) }
    select! { recv(rx) -> v => got.push(v), }
    select! { recv(rx) -> v => { got.push(v); } }
    select! { recv(rx) -> v => { got.push(v); }, }
    select! {
        recv(rx,) -> v => { got.push(v); }
        default => {}
    }
    select! {
        recv(rx) -> v => { got.push(v); },
        default => {},
    }
    select! {
        recv(rx) -> v => if v.is_ok() { got.push(v) } else { unreachable!() },
        default(ms(1),) => {}
    }
    macro_rules! next {
        ($rx:expr, $v:pat => $body:expr) => {
            select! { recv($rx) -> $v => $body, default(ms(1)) => unreachable!() }
        };
    }
    next!(&rx, v => got.push(v));
    assert!(got.into_iter().flatten().eq(0..8));
}

#[test]
fn a_select_may_stand_in_an_arm_of_another() {
    let (tx, rx) = channel();
    tx.send(1).unwrap();
    let value = select! {
        recv(rx) -> outer => select! {
            recv(rx) -> _ => unreachable!(),
            send(tx, 2) -> _ => select! {
                recv(rx) -> inner => (outer, inner),
            },
        },
    };
    assert_eq!(value, (Ok(1), Ok(2)));
}

#[test]
fn the_same_operation_may_stand_in_several_arms() {
    in_time(|| {
        let (tx, rx) = bounded(0);
        let baker = spawn(move || (0..100).for_each(|v| tx.send(v).unwrap()));
        let mut got = Vec::new();
        loop {
            let v = select! {
                recv(rx) -> v => v,
                recv(rx) -> v => v,
                recv(rx) -> v => v,
            };
            match v {
                Ok(v) => got.push(v),
                Err(_) => break,
            }
        }
        assert!(got.into_iter().eq(0..100));
        baker.join().unwrap();
        let (tx, rx) = bounded(0);
        let till = spawn(move || rx.iter().collect::<Vec<_>>());
        for v in 0..100 {
            select! {
                send(tx, v) -> sent => sent.unwrap(),
                send(tx, v) -> sent => sent.unwrap(),
            }
        }
        drop(tx);
        assert!(till.join().unwrap().into_iter().eq(0..100));
    });
}

#[test]
fn there_may_be_many_arms() {
    let (tx, rx) = channel();
    tx.send(1).unwrap();
    let none = never::<i32>();
    macro_rules! eightfold {
        ($($more:tt)*) => {
            select! {
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v, recv(none) -> v => v,
                $($more)*
            }
        };
    }
    assert_eq!(eightfold! { recv(rx) -> v => v }, Ok(1));
}

#[test]
fn names_of_the_learner_do_not_meet_those_of_the_macro() {
    let (sender, receiver) = channel();
    let arm = 5;
    let sent = select! { send(sender, arm) -> result => result };
    assert_eq!(sent, Ok(()));
    let arm = select! { recv(receiver) -> arm => arm };
    assert_eq!(arm, Ok(5));
}

#[test]
fn after_comes_once_and_tick_again_and_again() {
    in_time(|| {
        let start = Instant::now();
        let alarm = after(ms(10));
        assert_eq!((alarm.len(), alarm.capacity()), (0, Some(1)));
        assert_eq!(alarm.try_recv(), Err(TryRecvError::Empty));
        let when = alarm.recv().unwrap();
        assert!(start.elapsed() >= ms(10) && when >= start + ms(10));
        assert!(when <= start + start.elapsed());
        assert_eq!(alarm.try_recv(), Err(TryRecvError::Empty), "once");
        assert_eq!(alarm.recv_timeout(ms(2)), Err(RecvTimeoutError::Timeout));
        assert!(after(Duration::MAX).is_empty());

        let start = Instant::now();
        let bell = tick(ms(5));
        assert_eq!(bell.recv_timeout(ms(1)), Err(RecvTimeoutError::Timeout));
        let times: Vec<Instant> = bell.iter().take(3).collect();
        assert!(times.is_sorted() && start.elapsed() >= ms(15));
        sleep(ms(20));
        assert_eq!(bell.len(), 1, "what was missed is not made up for");
        assert!(bell.try_recv().is_ok());
        assert_eq!(bell.try_recv(), Err(TryRecvError::Empty));

        assert_eq!(never::<i32>().try_recv(), Err(TryRecvError::Empty));
        assert_eq!(
            never::<i32>().recv_timeout(ms(1)),
            Err(RecvTimeoutError::Timeout)
        );
    });
}

#[test]
fn one_alarm_wakes_one_of_those_who_share_it() {
    in_time(|| {
        let alarm = after(ms(5));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let alarm = alarm.clone();
                spawn(move || alarm.recv_timeout(ms(40)).is_ok())
            })
            .collect();
        let woken = waiting.into_iter().map(|one| one.join().unwrap());
        assert_eq!(woken.filter(|woken| *woken).count(), 1);
    });
}

#[test]
fn clocks_end_the_wait_of_a_select() {
    in_time(|| {
        let (_tx, rx) = channel::<i32>();
        let start = Instant::now();
        let chosen = select! {
            recv(rx) -> _ => "message",
            recv(after(ms(40))) -> _ => "late",
            recv(after(ms(10))) -> at => { assert!(at.unwrap() >= start + ms(10)); "early" }
            default(Duration::from_secs(50)) => "timeout",
        };
        assert_eq!(chosen, "early");
        assert!(start.elapsed() >= ms(10));
        // The usual loop: beats until it is over.
        let (bell, over) = (tick(ms(3)), after(ms(20)));
        let mut beats = 0;
        loop {
            select! {
                recv(bell) -> _ => beats += 1,
                recv(over) -> _ => break,
            }
        }
        assert!((1..=6).contains(&beats), "{beats}");
        let chosen = select! {
            recv(after(ms(50))) -> _ => "clock",
            default(ms(1)) => "timeout",
        };
        assert_eq!(chosen, "timeout");
    });
}

/// Crossbeam's example: each leaves its name or hears another's, and at most one is left over.
#[test]
fn people_match_up_in_pairs() {
    in_time(|| {
        let people = ["ada", "grace", "mary", "edith", "joan"];
        let (tx, rx) = bounded(1);
        scope(|s| {
            for name in people {
                let (tx, rx) = (tx.clone(), rx.clone());
                s.spawn(move || {
                    select! {
                        recv(rx) -> other => assert_ne!(other, Ok(name)),
                        send(tx, name) -> sent => sent.unwrap(),
                    }
                });
            }
        });
        assert_eq!(rx.try_iter().count(), 1);
    });
}

/// Go's example: a generator that is told to stop.
#[test]
fn fibonacci_until_told_to_quit() {
    in_time(|| {
        let (numbers_tx, numbers) = bounded(0);
        let (quit, quitting) = bounded(0);
        let generator = spawn(move || {
            let (mut x, mut y) = (0_u64, 1);
            loop {
                select! {
                    send(numbers_tx, x) -> sent => {
                        sent.unwrap();
                        (x, y) = (y, x + y);
                    }
                    recv(quitting) -> _ => return x,
                }
            }
        });
        let first: Vec<u64> = numbers.iter().take(10).collect();
        quit.send(()).unwrap();
        assert_eq!(first, [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]);
        assert_eq!(generator.join().unwrap(), 55);
    });
}
