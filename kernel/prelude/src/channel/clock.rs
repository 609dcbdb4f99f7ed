//! Channels whose messages come by themselves: once, again and again, or never.
//!
//! Nobody sends, and no thread stands behind them: who receives looks at the time. Such a channel is never disconnected.

use std::panic::Location;
use std::time::{Duration, Instant};

use super::Receiver;
use super::queue::Kind;
use super::raw::{RawChannel, State};
use crate::rt;

/// When the next message comes.
///
/// It is the instant at which it was due: a channel that has a clock is one of instants.
pub(super) struct Clock {
    due: Instant,
    every: Option<Duration>,
}

impl State {
    /// When the next message comes by itself, if one does.
    pub(super) fn rings(&self) -> Option<Instant> {
        self.clock.as_ref().map(|clock| clock.due)
    }

    /// Whether a message came by itself that nobody took.
    pub(super) fn rang(&self) -> bool {
        self.rings().is_some_and(|due| due <= rt::now())
    }

    /// Queues the message that came by itself, for a caller that takes it now.
    #[inline]
    pub(super) fn ring(&mut self) {
        if self.clock.is_some() {
            self.ring_if_due();
        }
    }

    #[cold]
    fn ring_if_due(&mut self) {
        let now = rt::now();
        let Some(clock) = self.clock.as_mut().filter(|clock| clock.due <= now) else {
            return;
        };
        // SAFETY: of the channel's type: see `Clock`. An instant may be copied.
        unsafe { self.queue.push((&raw const clock.due).cast()) };
        self.sent = self.sent.wrapping_add(1);
        // From now, not from when it was due: who comes late finds one message, not all that were missed.
        match clock.every.and_then(|every| now.checked_add(every)) {
            Some(next) => clock.due = next,
            None => self.clock = None,
        }
    }
}

/// Makes a receiver that gets one message when `duration` is over: the instant at which it was due.
///
/// The time runs from this call. Afterwards nothing comes any more, and the channel is not disconnected either. Waiting for it counts as sleeping, not as
/// a deadlock. The contract of crossbeam's `after`.
///
/// ```
/// # use threadbook_prelude::*;
/// let (orders, kitchen) = channel::<&str>();
/// select! {
///     recv(kitchen) -> order => println!("bake {order:?}"),
///     recv(after(ms(2))) -> _ => println!("nobody came"),
/// }
/// # drop(orders);
/// ```
#[track_caller]
pub fn after(duration: Duration) -> Receiver<Instant> {
    clock(duration, None, Location::caller())
}

/// Makes a receiver that gets a message each time that `duration` is over: the instant at which it was due.
///
/// Who comes late finds one message, not all that were missed; the next is due `duration` after it was taken. The contract of crossbeam's `tick`.
///
/// ```
/// # use threadbook_prelude::*;
/// let start = Instant::now();
/// let bell = tick(ms(2));
/// for _ in 0..3 {
///     bell.recv().unwrap();
/// }
/// assert!(start.elapsed() >= ms(6));
/// ```
#[track_caller]
pub fn tick(duration: Duration) -> Receiver<Instant> {
    clock(duration, Some(duration), Location::caller())
}

/// Makes a receiver that never gets a message and is never disconnected: an arm of a `select!` that is switched off.
///
/// The contract of crossbeam's `never`, and what a nil channel is for in Go.
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, mut orders) = channel();
/// spawn_named("ada", move || tx.send("rye").unwrap());
/// loop {
///     select! {
///         recv(orders) -> order => match order {
///             Ok(order) => println!("bake {order}"),
///             Err(_) => orders = never(), // or this arm would be ready for ever
///         },
///         default(ms(20)) => break,
///     }
/// }
/// ```
#[track_caller]
pub fn never<T>() -> Receiver<T> {
    let kind = Kind::of::<T>();
    Receiver::of(RawChannel::new(kind, Some(0), 0, None, Location::caller()))
}

fn clock(
    duration: Duration,
    every: Option<Duration>,
    made: crate::recorder::Here,
) -> Receiver<Instant> {
    // Too far away to be told: never.
    let clock = rt::now()
        .checked_add(duration)
        .map(|due| Clock { due, every });
    Receiver::of(RawChannel::new(
        Kind::of::<Instant>(),
        Some(1),
        0,
        clock,
        made,
    ))
}
