//! Who stands in a channel's line: a waiter on the stack of its own task, which costs no memory; or one that others keep too, of a `select!`.

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::rt::Token;

use super::queue::Kind;

/// A receiver that waits. Woken without a message, it looks again: all senders are gone, or an arm that was chosen to send did not.
///
/// Its cells, and the place for the message, are touched by who claimed the token, until that lets the task go on; else by the task itself.
pub(super) struct Taker {
    pub token: Token,
    /// Where the message goes to: lies on the stack of the task.
    to: *mut u8,
    given: Cell<bool>,
    /// The number of the message.
    number: Cell<u32>,
}

/// A sender that waits. Woken without an answer, it is told that all receivers are gone. Its cells, and the message: as for a [`Taker`].
pub(super) struct Giver {
    pub token: Token,
    /// The message, on the stack of the task; null for an arm, which makes it when it is chosen.
    offer: *const u8,
    answer: UnsafeCell<Answer>,
}

// SAFETY: what they hold and point to goes from thread to thread with the claim of the token, and back when the task goes on: both are steps of one atomic
// word (`Token`). A channel can be sent only where its messages can: see `Sender`.
unsafe impl Send for Taker {}
// SAFETY: as above.
unsafe impl Sync for Taker {}
// SAFETY: as above.
unsafe impl Send for Giver {}
// SAFETY: as above.
unsafe impl Sync for Giver {}

/// What a sender was told.
pub(super) enum Answer {
    None,
    /// Its message was taken: when, as which message, and how many were queued after it.
    Taken(u64, u32, u32),
    /// The arm was chosen: room is kept for its message.
    Room,
    /// The arm was chosen: this receiver waits for its message.
    Asked(Arc<Taker>),
}

impl Taker {
    /// A receiver that wants its message at `to`.
    pub fn new(token: Token, to: *mut u8) -> Taker {
        Taker {
            token,
            to,
            given: Cell::new(false),
            number: Cell::new(0),
        }
    }

    /// Moves a message to the receiver, of which `kind` is the type.
    ///
    /// # Safety
    /// The caller has claimed the token, and not let the task go on. There is a message at `from`, which is not used any more afterwards.
    pub unsafe fn give(&self, kind: Kind, from: *const u8, number: u32) {
        self.number.set(number);
        self.given.set(true);
        // SAFETY: by the caller's promise; the task keeps the place as long as it waits.
        unsafe { kind.copy(from, self.to) };
    }

    /// Says which number the message has that was given, if one was; asked once.
    ///
    /// # Safety
    /// The caller is the task that waited, and its wait is over.
    pub unsafe fn was_given(&self) -> Option<u32> {
        self.given.get().then(|| self.number.get())
    }
}

impl Giver {
    /// One that sends the message at `offer`; null for an arm.
    pub fn new(token: Token, offer: *const u8) -> Giver {
        Giver {
            token,
            offer,
            answer: UnsafeCell::new(Answer::None),
        }
    }

    /// Whether it is an arm, which makes its message when it is chosen.
    pub fn is_arm(&self) -> bool {
        self.offer.is_null()
    }

    /// Where its message lies, for who claimed the token.
    pub fn offer(&self) -> *const u8 {
        self.offer
    }

    /// Tells the sender something, once.
    ///
    /// # Safety
    /// The caller has claimed the token, and not let the task go on.
    pub unsafe fn tell(&self, answer: Answer) {
        // SAFETY: by the caller's promise nobody else touches it. Nothing is dropped: it was `None`.
        unsafe { self.answer.get().write(answer) };
    }

    /// What it was told.
    ///
    /// # Safety
    /// The caller is the task that waited, and its wait is over.
    pub unsafe fn answer(&self) -> &Answer {
        // SAFETY: by the caller's promise nobody else touches it.
        unsafe { &*self.answer.get() }
    }
}

/// A waiter in a line, or just taken out of it.
///
/// Alive while it lies in the line, since its task takes it out, under the line's lock, before it goes on unclaimed; and for who claimed its token, until that
/// lets the task go on. Afterwards it is not looked at.
pub(super) struct Lined<W> {
    waiter: NonNull<W>,
    /// Whether this has a count of an `Arc`.
    counted: bool,
}

// SAFETY: a reference, or an `Arc`.
unsafe impl<W: Sync + Send> Send for Lined<W> {}

impl<W> Lined<W> {
    /// One that lies on the stack of the calling task.
    ///
    /// # Safety
    /// It does not move, and lives until it is out of the line and its wait is over.
    pub unsafe fn on_stack(waiter: &W) -> Lined<W> {
        Lined {
            waiter: NonNull::from(waiter),
            counted: false,
        }
    }
}

impl<W> From<Arc<W>> for Lined<W> {
    fn from(waiter: Arc<W>) -> Lined<W> {
        // SAFETY: an `Arc` is not null.
        let waiter = unsafe { NonNull::new_unchecked(Arc::into_raw(waiter).cast_mut()) };
        Lined {
            waiter,
            counted: true,
        }
    }
}

impl<W> Deref for Lined<W> {
    type Target = W;

    fn deref(&self) -> &W {
        // SAFETY: see the type.
        unsafe { self.waiter.as_ref() }
    }
}

impl<W> Drop for Lined<W> {
    fn drop(&mut self) {
        if self.counted {
            // SAFETY: it came from `Arc::into_raw`, and has its count.
            drop(unsafe { Arc::from_raw(self.waiter.as_ptr()) });
        }
    }
}

/// One that waits for something by its token.
pub(super) trait Waits {
    fn token(&self) -> &Token;
}

impl Waits for Taker {
    fn token(&self) -> &Token {
        &self.token
    }
}

impl Waits for Giver {
    fn token(&self) -> &Token {
        &self.token
    }
}

/// Takes the first out of a line whose wait can still be ended.
pub(super) fn first_claimed<W: Waits>(line: &mut VecDeque<Lined<W>>) -> Option<Lined<W>> {
    while let Some(waiter) = line.pop_front() {
        if waiter.token().claim() {
            return Some(waiter);
        }
    }
    None
}
