//! Selects that nobody can end are a deadlock, told in words and unwound.
//!
//! A program of its own and not libtest's, whose threads would mean that no verdict is ever given. It starts itself again and reads what that one tells.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use threadbook_prelude::*;

/// Set in the process whose tasks wait for ever.
const ALONE: &str = "THREADBOOK_TEST_ALONE";

fn unwinds(what: &str, wait: impl FnOnce()) {
    assert!(
        catch_unwind(AssertUnwindSafe(wait)).is_err(),
        "{what}: not unwound"
    );
    eprintln!("{what}: goes on");
}

fn deadlocks() {
    // Two selects, of a thread and of the cell.
    let (order_tx, orders) = channel::<i32>();
    let order_tx = order_tx.named("orders");
    let (_bread_tx, bread) = bounded::<i32>(0);
    let baker = spawn_named("ada", move || {
        select! {
            recv(orders) -> _ => unreachable!(),
            recv(never::<()>()) -> _ => unreachable!(),
        }
    });
    unwinds("two selects", || {
        select! {
            recv(bread) -> _ => unreachable!(),
        }
    });
    assert!(baker.join().is_err());
    drop(order_tx);

    // Both ends of a rendezvous in one select, which does not meet itself; the second time as a green task.
    let (tx, rx) = bounded(0);
    unwinds("one select", || {
        select! {
            send(tx, 1) -> _ => unreachable!(),
            recv(rx) -> _ => unreachable!(),
        }
    });
    let green = go(move || {
        select! {
            send(tx, 1) -> _ => unreachable!(),
            recv(rx) -> _ => unreachable!(),
        }
    });
    unwinds("a green task's select", || drop(green.join()));

    // An arm that was chosen and cannot make its message, and who waits for that.
    let (tx, rx) = bounded(0);
    let (_other_tx, other) = bounded::<i32>(0);
    let seller = spawn_named("grace", move || {
        select! {
            send(tx, other.recv().unwrap()) -> _ => unreachable!(),
        }
    });
    unwinds("a message that is never made", || {
        let _ = rx.recv();
        // The sender went without sending: it is gone now, which ends the wait of who was not unwound with it.
        panic!("received nothing");
    });
    assert!(seller.join().is_err());

    // A time limit is no deadlock.
    let (_tx, rx) = channel::<i32>();
    select! { recv(rx) -> _ => unreachable!(), default(ms(20)) => {} }
    select! { recv(rx) -> _ => unreachable!(), recv(after(ms(20))) -> _ => {} }
    eprintln!("all is over");
}

fn main() {
    if std::env::var_os(ALONE).is_some() {
        deadlocks();
        return;
    }
    let alone = Command::new(std::env::current_exe().expect("this program"))
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("a program of its own");
    let told = String::from_utf8_lossy(&alone.stderr);
    assert!(alone.status.success(), "{told}");
    for words in [
        "`ada` waits for the first of several channels at ",
        "; a message on channel `orders`, where 1 sender is alive, the one that came with the channel at ",
        ", where no message will come any more, since nobody sends to it",
        "; room in channel made at ",
        ", where 1 receiver is alive, last used by this task itself at ",
        "two selects: goes on",
        "one select: goes on",
        "a green task's select: goes on",
        "a message that is never made: goes on",
        "all is over",
    ] {
        assert!(told.contains(words), "no {words:?} in\n{told}");
    }
    println!("deadlocks of selects are told and unwound: ok");
}
