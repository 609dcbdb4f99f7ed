//! A call that would never end is reported by its check, and the next check runs as if nothing had been. A program of its own, as `stress` is.

use std::panic::{AssertUnwindSafe, catch_unwind};

use threadbook_prelude::*;

/// `tx` is dropped too late.
fn leaked_sender() -> u32 {
    let (tx, rx) = channel();
    let tx = tx.named("orders");
    go_named("ada", {
        let tx = tx.clone();
        move || tx.send(1).unwrap()
    });
    rx.iter().sum()
}

/// One `done` too few.
fn forgotten_done() -> u32 {
    let ovens = WaitGroup::new().named("ovens");
    ovens.add(2);
    let theirs = ovens.clone();
    spawn_named("ada", move || theirs.done());
    ovens.wait();
    1
}

/// The one that waits in vain is joined.
fn nobody_receives() -> u32 {
    let (tx, rx) = bounded(0);
    let tx = tx.named("orders");
    let ada = go_named("ada", move || tx.send(1).unwrap());
    ada.join().unwrap();
    rx.recv().unwrap()
}

fn right() -> u32 {
    let ada = go_named("ada", || 1);
    ada.join().unwrap()
}

fn main() {
    for count in [2, 1] {
        workers(count);
        for (name, call, want) in [
            (
                "leaked sender",
                leaked_sender as fn() -> u32,
                &["`main` waited for channel `orders`"][..],
            ),
            (
                "forgotten done",
                forgotten_done,
                &["`main` waited for wait group `ovens`"],
            ),
            (
                "nobody receives",
                nobody_receives,
                &[
                    "`main` waited for `ada` to end",
                    "`ada` waited for channel `orders`",
                ],
            ),
        ] {
            let red = catch_unwind(AssertUnwindSafe(|| check!(call() => 1)));
            let red = red.expect_err("never ends");
            let failure = red.downcast_ref::<CheckFailed>().expect("says why");
            let words = failure.to_string();
            for want in want {
                assert!(
                    words.starts_with("`call()` came to a deadlock: ") && words.contains(want),
                    "{name}, workers({count}): {words}"
                );
            }
            check!(right() => 1, "one task": |f| f.all_finished());
        }
    }
    println!("deadlocks of checked calls were reported");
}
