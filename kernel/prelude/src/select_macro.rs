//! `select!`: the first of several channel operations that is ready.
//!
//! The macro makes an [`Arm`] of each operation, calls one of the three functions below, and runs the body of the arm that was chosen, in place. The
//! functions try each arm once. If none is ready, they queue one `Token` with all of them: whoever claims it chose the arm in whose line it stood, and
//! says so there. One channel is locked at a time.
//!
//! The contract of crossbeam's `select!`; the order at random is Go's too. Public for the macro alone.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::panic::Location;
use std::time::Duration;

use threadbook_timeline::format::Reason;

use crate::channel::Patience;
pub use crate::channel::arm::{Arm, Permit, Recv, Send};
use crate::recorder::Here;
use crate::rt::{self, Ended, Token};
use crate::wait::{Subject, Wait, Words};

/// Waits for the first of several channel operations, and runs the arm of that one.
///
/// An operation is ready when it need not wait: a message is there, or room, or the other side waits already; also when all ends on the other side are gone,
/// and then its result is an error. Of several that are ready one is chosen at random, each as likely as the others. Blocks the calling thread until then,
/// drawn on its lane, unless there is a `default`.
///
/// | arm | is run with |
/// |---|---|
/// | `recv(receiver) -> result => ..` | what [`recv`](crate::Receiver::recv) gives |
/// | `send(sender, message) -> result => ..` | what [`send`](crate::Sender::send) gives |
/// | `default => ..` | nothing, when no operation is ready |
/// | `default(timeout) => ..` | nothing, when none was ready for so long |
///
/// The value of the whole is the value of the arm that ran. Arms are no closures: `break`, `continue`, `return` and `?` work in them. A comma may be left out
/// after a block. Each receiver and sender is evaluated once, before anything else; a message only when its arm is chosen, so that otherwise it is still
/// yours. In a rendezvous the receiver waits meanwhile. A `select!` does not receive from itself. The contract of crossbeam's macro.
///
/// ```
/// # use threadbook_prelude::*;
/// let (ada, from_ada) = bounded(0);
/// let (grace, from_grace) = bounded(0);
/// spawn_named("ada", move || ada.send("rye"));
/// spawn_named("grace", move || grace.send("spelt"));
/// for _ in 0..2 {
///     let (baker, loaf) = select! {
///         recv(from_ada) -> loaf => ("ada", loaf),
///         recv(from_grace) -> loaf => ("grace", loaf),
///     };
///     println!("{baker} brings {loaf:?}"); // in either order; or that she is gone
/// }
/// ```
///
/// A message that is not sent is kept for the next round:
///
/// ```
/// # use threadbook_prelude::*;
/// let (shelf, till) = bounded(1);
/// let (close, closing) = channel::<()>();
/// let mut basket = vec!["rye", "spelt", "oat"];
/// close.send(()).unwrap();
/// while !basket.is_empty() {
///     select! {
///         send(shelf, basket.remove(0)) -> sent => sent.unwrap(),
///         recv(closing) -> _ => break,
///     }
/// }
/// assert_eq!(basket.len() + till.len(), 3);
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => {
        { $crate::__select!(@read [] [] $($arms)*) }
    };
}

/// Reads the arms of a `select!` one after the other and wraps the rest into each.
///
/// `@read [arms so far] [default so far] the rest`: cuts off one arm. `@arm`: evaluates what the arm names. An arm so far is
/// `(variable [how to take its result] pattern {body})`; the default is the function that waits, its timeout if any, and the body.
#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    (@read [] []) => {
        compile_error!("`select!` needs an arm: `recv(receiver) -> result => ..`, `send(sender, message) -> result => ..` or `default => ..`")
    };
    (@read $arms:tt []) => {
        $crate::__select!(@run $arms [select () { unreachable!("an operation was chosen") }])
    };
    (@read $arms:tt $default:tt) => {
        $crate::__select!(@run $arms $default)
    };
    (@read $arms:tt $default:tt
        $kind:ident $(($($of:tt)*))? $(-> $result:pat)? => $body:expr $(, $($rest:tt)*)?
    ) => {
        $crate::__select!(@arm $kind [$(($($of)*))?] [$($result)?] { $body } $arms $default [$($($rest)*)?])
    };
    (@read $arms:tt $default:tt
        $kind:ident $(($($of:tt)*))? $(-> $result:pat)? => $body:block $($rest:tt)*
    ) => {
        $crate::__select!(@arm $kind [$(($($of)*))?] [$($result)?] { $body } $arms $default [$($rest)*])
    };
    (@read $arms:tt $default:tt $($rest:tt)*) => {
        compile_error!(concat!(
            "an arm of `select!` is `recv(receiver) -> result => ..`, `send(sender, message) -> result => ..`, `default => ..` or `default(timeout) => ..`, \
             with a comma behind it unless its body is a block; found `",
            stringify!($($rest)*),
            "`"
        ))
    };

    (@arm recv [($receiver:expr $(,)?)] [$result:pat] $body:tt [$($arms:tt)*] $default:tt [$($rest:tt)*]) => {
        match $receiver {
            ref receiver => {
                let arm = $crate::select_macro::Recv::new(receiver);
                $crate::__select!(@read [$($arms)* (arm [arm.result()] $result $body)] $default $($rest)*)
            }
        }
    };
    (@arm send [($sender:expr, $message:expr $(,)?)] [$result:pat] $body:tt [$($arms:tt)*] $default:tt [$($rest:tt)*]) => {
        match $sender {
            ref sender => {
                let arm = $crate::select_macro::Send::new(sender);
                $crate::__select!(@read [$($arms)* (arm [arm.permit().send($message)] $result $body)] $default $($rest)*)
            }
        }
    };
    (@arm default [$(())?] [] $body:tt $arms:tt [] [$($rest:tt)*]) => {
        $crate::__select!(@read $arms [try_select () $body] $($rest)*)
    };
    (@arm default [($timeout:expr $(,)?)] [] $body:tt $arms:tt [] [$($rest:tt)*]) => {
        $crate::__select!(@read $arms [select_timeout ($timeout) $body] $($rest)*)
    };
    (@arm default $of:tt [] $body:tt $arms:tt [$($default:tt)+] $rest:tt) => {
        compile_error!("`select!` has two `default` arms")
    };
    (@arm default $of:tt [$result:pat] $($more:tt)*) => {
        compile_error!("a `default` arm of `select!` has no result: `default => ..` or `default(timeout) => ..`")
    };
    (@arm recv $of:tt [] $($more:tt)*) => {
        compile_error!("a `recv` arm of `select!` names its result: `recv(receiver) -> result => ..`")
    };
    (@arm send $of:tt [] $($more:tt)*) => {
        compile_error!("a `send` arm of `select!` names its result: `send(sender, message) -> result => ..`")
    };
    (@arm recv [$($of:tt)*] $($more:tt)*) => {
        compile_error!(concat!("a `recv` arm of `select!` is `recv(receiver) -> result => ..`; found `recv", stringify!($($of)*), "`"))
    };
    (@arm send [$($of:tt)*] $($more:tt)*) => {
        compile_error!(concat!("a `send` arm of `select!` is `send(sender, message) -> result => ..`; found `send", stringify!($($of)*), "`"))
    };
    (@arm default [$($of:tt)*] $($more:tt)*) => {
        compile_error!(concat!("a `default` arm of `select!` is `default => ..` or `default(timeout) => ..`; found `default", stringify!($($of)*), "`"))
    };
    (@arm $kind:ident $($more:tt)*) => {
        compile_error!(concat!("an arm of `select!` begins with `recv`, `send` or `default`; found `", stringify!($kind), "`"))
    };

    (@run
        [$(($arm:ident [$($take:tt)*] $result:tt $body:tt))*]
        [$wait:ident ($($timeout:expr)?) $otherwise:tt]
    ) => {{
        $crate::select_macro::$wait([$(&$arm),*] $(, $timeout)?);
        match () {
            $(
                () if $arm.is_chosen() => {
                    let $result = $($take)*;
                    $body
                }
            )*
            () => $otherwise
        }
    }};
}

/// Waits until one of the arms is chosen.
#[track_caller]
pub fn select<const N: usize>(arms: [&dyn Arm; N]) {
    let mut order = arms;
    let chosen = run(&arms, &mut order, Patience::Forever, Location::caller());
    if let (false, Some(arm)) = (chosen, arms.first()) {
        arm.refuse();
    }
}

/// Chooses one of the arms if one is ready.
#[track_caller]
pub fn try_select<const N: usize>(arms: [&dyn Arm; N]) {
    let mut order = arms;
    run(&arms, &mut order, Patience::None, Location::caller());
}

/// Waits until one of the arms is chosen, but no longer than `timeout`.
#[track_caller]
pub fn select_timeout<const N: usize>(arms: [&dyn Arm; N], timeout: Duration) {
    let mut order = arms;
    let patience = Patience::of(timeout);
    run(&arms, &mut order, patience, Location::caller());
}

/// Chooses one of the arms, and says whether it did. `order`: the same arms again.
///
/// It does not when the time is over, or when the task unwinds and may not wait.
fn run(arms: &[&dyn Arm], order: &mut [&dyn Arm], patience: Patience, here: Here) -> bool {
    rt::point();
    loop {
        shuffle(order);
        if order.iter().any(|arm| arm.begin(here)) {
            return true;
        }
        if let Patience::None = patience {
            return false;
        }
        let all = All(arms);
        let token = Token::new();
        // Begun before the first line that the token stands in: somebody there may end it at once.
        let wait = Wait::begin(Reason::Select, 0, 0, here).about(&all);
        let mut queued = 0;
        let mut found_ready = false;
        for arm in order.iter() {
            if !token.is_waiting() {
                break;
            }
            if !arm.queue(&token) {
                found_ready = true;
                break;
            }
            queued += 1;
        }
        let mut timed_out = false;
        let mut cut = false;
        // When an arm became ready meanwhile, the wait is given up, unless another arm was chosen before that: then what it was given must be taken.
        if !(found_ready && token.give_up()) {
            let rings = arms.iter().filter_map(|arm| arm.rings()).min();
            let over = patience.deadline();
            let by_clock = rings.is_some_and(|rings| over.is_none_or(|deadline| rings <= deadline));
            let deadline = if by_clock { rings } else { over };
            let ended = rt::block(&token, &wait, (), deadline);
            timed_out = ended == Ended::TimedOut && !by_clock;
            cut = ended == Ended::Cut;
        }
        wait.end();
        let mut chosen = false;
        for arm in &order[..queued] {
            chosen |= arm.leave(&token, here);
        }
        if cut {
            rt::unwind();
        }
        if chosen || timed_out || cut {
            return chosen;
        }
        // An end is gone for good, a clock rang, or who chose an arm thought better of it.
    }
}

/// What a task waits for that waits for several channels.
struct All<'a>(&'a [&'a dyn Arm]);

/// How many arms a report tells about.
const TOLD: usize = 4;

impl Subject for All<'_> {
    fn advice(&self, _reason: Reason, waiting: u32) -> Vec<Words> {
        let mut words = Vec::new();
        for arm in self.0.iter().take(TOLD) {
            words.push("; ".into());
            words.extend(arm.words(waiting));
        }
        let more = self.0.len().saturating_sub(TOLD);
        if more > 0 {
            words.push(Words::Text(format!("; and {more} more")));
        }
        words
    }
}

/// Brings the arms into an order at random, each order as likely as the others.
fn shuffle(arms: &mut [&dyn Arm]) {
    for at in (1..arms.len()).rev() {
        // The upper half times a small number, divided by all there are: even to one in a billion, and no division.
        let among = at as u64 + 1;
        let with = ((random() >> 32) * among) >> 32;
        arms.swap(at, with as usize);
    }
}

/// Gives a number at random: Marsaglia's xorshift with a multiplication behind it, one state per thread.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    let mut state = STATE.get();
    if state == 0 {
        // std's seed for hash tables, different for each thread and each process.
        state = RandomState::new().hash_one(0) | 1;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    STATE.set(state);
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::never;

    #[test]
    fn each_order_is_as_likely_as_the_others() {
        let receivers = [never::<()>(), never(), never()];
        let arms: Vec<Recv<'_, ()>> = receivers.iter().map(Recv::new).collect();
        let place = |arm: &dyn Arm| {
            let arm = std::ptr::from_ref(arm).cast::<Recv<'_, ()>>();
            arms.iter().position(|other| std::ptr::eq(other, arm))
        };
        let mut seen = std::collections::HashMap::new();
        const TIMES: usize = 60_000;
        for _ in 0..TIMES {
            let mut order: Vec<&dyn Arm> = arms.iter().map(|arm| arm as &dyn Arm).collect();
            shuffle(&mut order);
            let order: Vec<_> = order.into_iter().map(place).collect();
            *seen.entry(order).or_insert(0_usize) += 1;
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
        let even = TIMES / 6;
        assert!(
            seen.values().all(|times| times.abs_diff(even) < even / 10),
            "{seen:?}"
        );
    }
}
