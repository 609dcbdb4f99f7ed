//! The arms of a `select!`: one operation on one channel each, that can be tried, queued, and taken out of its line again.
//!
//! An arm knows its channel's type of messages; the [engine](crate::select_macro) knows arms only by the trait. What an arm was given stays in it until the
//! macro takes it out. No arm has a destructor: so what it borrows is free again in the body that is run. What is not of the type is done by [`RawRecv`],
//! [`RawSend`] and [`RawPermit`], which are compiled into the library and not into each cell.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::Arc;
use std::sync::mpsc::{RecvError, SendError};
use std::time::Instant;

use threadbook_timeline::format::Reason;

use super::line::{Answer, Giver, Lined, Taker, first_claimed};
use super::raw::{Found, Patience, RawChannel, Refused, State};
use super::{Receiver, Sender};
use crate::recorder::Here;
use crate::rt::{self, Token, Wakeup};
use crate::wait::{Subject as _, Words};

/// What the engine does with an arm.
pub trait Arm {
    /// Completes the operation, or begins to, if it is ready; says whether it was. No token of the calling task may be queued anywhere.
    fn begin(&self, here: Here) -> bool;

    /// Queues the token, unless the operation is ready; says whether it queued it.
    fn queue(&self, token: &Token) -> bool;

    /// Takes the token out of its line, if it is there yet; says whether this is the arm that was chosen by who claimed it.
    fn leave(&self, token: &Token, here: Here) -> bool;

    /// Ends the operation without its having happened: for a task that unwinds and cannot wait.
    fn refuse(&self);

    /// When the operation may be ready by itself.
    fn rings(&self) -> Option<Instant>;

    /// What a report to task `waiting` says of it.
    fn words(&self, waiting: u32) -> Vec<Words>;
}

/// Something that has to be taken out: it has no destructor.
struct Slot<V>(Cell<ManuallyDrop<Option<V>>>);

impl<V> Slot<V> {
    fn empty() -> Slot<V> {
        Slot(Cell::new(ManuallyDrop::new(None)))
    }

    fn put(&self, value: V) {
        let before = self.0.replace(ManuallyDrop::new(Some(value)));
        drop(ManuallyDrop::into_inner(before));
    }

    fn take(&self) -> Option<V> {
        ManuallyDrop::into_inner(self.0.replace(ManuallyDrop::new(None)))
    }
}

/// The arm `recv(receiver)`.
pub struct Recv<'a, T> {
    raw: RawRecv<'a>,
    /// Where the message is put: the arm does not move after it is made, or else is not used before.
    message: UnsafeCell<MaybeUninit<T>>,
}

impl<'a, T> Recv<'a, T> {
    /// Makes the arm. The macro relies on the coercion to this parameter: it may be given a reference to whatever dereferences to a receiver.
    pub fn new(receiver: &'a Receiver<T>) -> Recv<'a, T> {
        Recv {
            raw: RawRecv {
                channel: &receiver.channel,
                waiting: Slot::empty(),
                outcome: Cell::new(Outcome::None),
            },
            message: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// Whether the arm was chosen.
    pub fn is_chosen(&self) -> bool {
        self.raw.outcome.get() != Outcome::None
    }

    /// Takes the result out of the chosen arm.
    pub fn result(&self) -> Result<T, RecvError> {
        match self.raw.outcome.replace(Outcome::Gone) {
            // SAFETY: the message is there, and is not looked at again.
            Outcome::Message => Ok(unsafe { (*self.message.get()).assume_init_read() }),
            _ => Err(RecvError),
        }
    }

    fn place(&self) -> *mut u8 {
        self.message.get().cast()
    }
}

impl<T> Arm for Recv<'_, T> {
    fn begin(&self, here: Here) -> bool {
        // SAFETY: a place for a message of the channel's type.
        unsafe { self.raw.begin(self.place(), here) }
    }

    fn queue(&self, token: &Token) -> bool {
        // SAFETY: as above; the engine takes the token out of the line before the arm goes away.
        unsafe { self.raw.queue(token, self.place()) }
    }

    fn leave(&self, token: &Token, here: Here) -> bool {
        self.raw.leave(token, here)
    }

    fn refuse(&self) {
        self.raw.outcome.set(Outcome::Gone);
    }

    fn rings(&self) -> Option<Instant> {
        self.raw.channel.state().rings()
    }

    fn words(&self, waiting: u32) -> Vec<Words> {
        words(self.raw.channel, "a message on ", Reason::Recv, waiting)
    }
}

/// What became of a receiving arm.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It was not chosen.
    None,
    /// A message is there.
    Message,
    /// None will come, or it was taken out.
    Gone,
}

/// A [`Recv`] but for the place of its message.
struct RawRecv<'a> {
    channel: &'a RawChannel,
    waiting: Slot<Arc<Taker>>,
    outcome: Cell<Outcome>,
}

impl RawRecv<'_> {
    fn choose(&self, outcome: Outcome) -> bool {
        self.outcome.set(outcome);
        true
    }

    /// # Safety
    /// There is room for a message of the channel's type at `to`.
    unsafe fn begin(&self, to: *mut u8, here: Here) -> bool {
        // SAFETY: by the caller's promise.
        match unsafe { self.channel.take(to, here) } {
            Found::Done => self.choose(Outcome::Message),
            Found::Disconnected => {
                self.channel.tell_refused(Reason::Recv, here);
                self.choose(Outcome::Gone)
            }
            Found::Nothing(_) => false,
        }
    }

    /// # Safety
    /// There is room for a message of the channel's type at `to`, until the arm has left the line.
    unsafe fn queue(&self, token: &Token, to: *mut u8) -> bool {
        let mut state = self.channel.state();
        let can_give = |giver: &Lined<Giver>| self.channel.capacity == Some(0) || !giver.is_arm();
        let is_ready = !state.queue.is_empty()
            || state.rang()
            || (state.senders == 0 && !state.stays_open)
            || (state.givers.iter())
                .any(|giver| is_another(&giver.token, token) && can_give(giver));
        if !is_ready {
            let taker = Arc::new(Taker::new(token.clone(), to));
            state.takers.push_back(taker.clone().into());
            self.waiting.put(taker);
        }
        !is_ready
    }

    fn leave(&self, token: &Token, here: Here) -> bool {
        let Some(taker) = self.waiting.take() else {
            return false;
        };
        self.channel.forget(token);
        self.channel.was_given(&taker, here) && self.choose(Outcome::Message)
    }
}

/// The arm `send(sender, message)`, without the message: it is made when the arm is chosen.
pub struct Send<'a, T> {
    raw: RawSend<'a>,
    messages: PhantomData<fn(T)>,
}

impl<'a, T> Send<'a, T> {
    /// Makes the arm, as [`Recv::new`] does.
    pub fn new(sender: &'a Sender<T>) -> Send<'a, T> {
        Send {
            raw: RawSend {
                channel: &sender.channel,
                waiting: Slot::empty(),
                permit: Slot::empty(),
                chosen: Cell::new(false),
            },
            messages: PhantomData,
        }
    }

    /// Whether the arm was chosen.
    pub fn is_chosen(&self) -> bool {
        self.raw.chosen.get()
    }

    /// Takes the right and the duty to send out of the chosen arm.
    pub fn permit(&self) -> Permit<'a, T> {
        Permit {
            raw: self.raw.permit.take().expect("a chosen arm, asked once"),
            messages: PhantomData,
        }
    }
}

impl<T> Arm for Send<'_, T> {
    fn begin(&self, here: Here) -> bool {
        self.raw.begin(here)
    }

    fn queue(&self, token: &Token) -> bool {
        self.raw.queue(token)
    }

    fn leave(&self, token: &Token, here: Here) -> bool {
        self.raw.leave(token, here)
    }

    fn refuse(&self) {
        self.raw.choose(Chosen::Refused, None);
    }

    fn rings(&self) -> Option<Instant> {
        None
    }

    fn words(&self, waiting: u32) -> Vec<Words> {
        words(self.raw.channel, "room in ", Reason::Send, waiting)
    }
}

/// A [`Send`] for messages of whatever type.
struct RawSend<'a> {
    channel: &'a RawChannel,
    waiting: Slot<Arc<Giver>>,
    permit: Slot<RawPermit<'a>>,
    chosen: Cell<bool>,
}

impl RawSend<'_> {
    fn choose(&self, why: Chosen, here: Option<Here>) -> bool {
        self.permit.put(RawPermit {
            channel: self.channel,
            why,
            here,
        });
        self.chosen.set(true);
        true
    }

    fn begin(&self, here: Here) -> bool {
        let mut state = self.channel.state();
        state.sender_used = (rt::me(), here);
        let why = if state.receivers == 0 {
            Chosen::Refused
        } else if self.channel.has_room(&state) {
            state.kept += 1;
            Chosen::Room
        } else if self.channel.capacity == Some(0) {
            // Claimed and not woken: it sleeps on until the message is there.
            match first_claimed(&mut state.takers) {
                Some(taker) => Chosen::Met(taker),
                None => return false,
            }
        } else {
            return false;
        };
        drop(state);
        self.choose(why, Some(here))
    }

    fn queue(&self, token: &Token) -> bool {
        let mut state = self.channel.state();
        let is_ready = state.receivers == 0
            || self.channel.has_room(&state)
            || (self.channel.capacity == Some(0)
                && (state.takers.iter()).any(|taker| is_another(&taker.token, token)));
        if !is_ready {
            let giver = Arc::new(Giver::new(token.clone(), std::ptr::null()));
            state.givers.push_back(giver.clone().into());
            self.waiting.put(giver);
        }
        !is_ready
    }

    fn leave(&self, token: &Token, here: Here) -> bool {
        let Some(giver) = self.waiting.take() else {
            return false;
        };
        let mut state = self.channel.state();
        state.givers.retain(|other| !other.token.is(token));
        drop(state);
        // SAFETY: the wait is this task's, and over: the engine leaves the lines after it.
        match unsafe { giver.answer() } {
            Answer::Room => self.choose(Chosen::Room, Some(here)),
            Answer::Asked(taker) => self.choose(Chosen::Asked(taker.clone()), Some(here)),
            Answer::None | Answer::Taken(..) => false,
        }
    }
}

/// Whether a token is that of another wait, which goes on.
fn is_another(other: &Token, own: &Token) -> bool {
    !other.is(own) && other.is_waiting()
}

fn words(channel: &RawChannel, what: &str, reason: Reason, waiting: u32) -> Vec<Words> {
    let mut words = vec![Words::from(what)];
    if let Some(object) = channel.object() {
        words.push(Words::Object(object.id(), object.in_words()));
    }
    words.push(", where ".into());
    let made = channel.object.made();
    words.extend(channel.state().who_is_alive(reason, made, waiting));
    words
}

/// A sending arm that was chosen: what was given to it is kept until it sends, and given back when its message is never made.
pub struct Permit<'a, T> {
    raw: RawPermit<'a>,
    messages: PhantomData<fn(T)>,
}

impl<T> Permit<'_, T> {
    /// Sends the message. Does not wait: what it needs is there.
    pub fn send(self, message: T) -> Result<(), SendError<T>> {
        let (channel, here) = (self.raw.channel, self.raw.here);
        let message = ManuallyDrop::new(message);
        // SAFETY: of the channel's type. It is used no more if it was sent, and else is the caller's as before.
        match unsafe { self.raw.send((&raw const message).cast()) } {
            Ok(()) => Ok(()),
            Err(why) => {
                let message = ManuallyDrop::into_inner(message);
                match (why, here) {
                    (Refused::Again, Some(here)) => {
                        let sent = super::send(channel, message, Patience::Forever, here);
                        sent.map_err(|(message, _)| SendError(message))
                    }
                    _ => Err(SendError(message)),
                }
            }
        }
    }
}

/// A [`Permit`] for a message of whatever type.
struct RawPermit<'a> {
    channel: &'a RawChannel,
    why: Chosen,
    here: Option<Here>,
}

/// Why a sending arm was chosen.
enum Chosen {
    /// All receivers are gone.
    Refused,
    /// Room is kept for its message.
    Room,
    /// A receiver waited, and is claimed.
    Met(Lined<Taker>),
    /// A receiver chose it, and waits.
    Asked(Arc<Taker>),
}

impl RawPermit<'_> {
    /// Sends the message at `message`, as [`RawChannel::send`] does, but never waits.
    ///
    /// # Safety
    /// As there.
    unsafe fn send(mut self, message: *const u8) -> Result<(), Refused> {
        let channel = self.channel;
        let Some(here) = self.here else {
            return Err(Refused::Disconnected);
        };
        let mut state = channel.state();
        state.sender_used = (rt::me(), here);
        let wakeups = match std::mem::replace(&mut self.why, Chosen::Refused) {
            Chosen::Refused => {
                channel.tell_refused(Reason::Send, here);
                return Err(Refused::Disconnected);
            }
            Chosen::Room => {
                state.kept -= 1;
                if state.receivers == 0 {
                    channel.tell_refused(Reason::Send, here);
                    return Err(Refused::Disconnected);
                }
                match first_claimed(&mut state.takers) {
                    Some(taker) => [
                        // SAFETY: claimed; the message by the caller's promise.
                        Some(unsafe { channel.hand_over(&mut state, message, &taker, here) }),
                        channel.let_one_in(&mut state, Some(here)),
                    ],
                    None => {
                        // SAFETY: by the caller's promise.
                        unsafe { channel.put(&mut state, message, here) };
                        [None, None]
                    }
                }
            }
            Chosen::Asked(taker) if !taker.token.claim() => {
                return Err(Refused::Again);
            }
            Chosen::Met(taker) => {
                // SAFETY: claimed; the message by the caller's promise.
                let wakeup = unsafe { channel.hand_over(&mut state, message, &taker, here) };
                [Some(wakeup), None]
            }
            Chosen::Asked(taker) => {
                // SAFETY: as above.
                let wakeup = unsafe { channel.hand_over(&mut state, message, &taker, here) };
                [Some(wakeup), None]
            }
        };
        drop(state);
        drop(wakeups);
        Ok(())
    }

    /// Gives back what was given, since the message is not made: who waits for it looks again.
    fn give_back(&self, state: &mut State) -> Option<Wakeup> {
        let wake = |taker: &Taker| rt::wake(&taker.token, self.channel.object.id(), None);
        match &self.why {
            Chosen::Refused => None,
            Chosen::Room => {
                state.kept -= 1;
                self.channel.let_one_in(state, None)
            }
            Chosen::Met(taker) => Some(wake(taker)),
            Chosen::Asked(taker) => taker.token.claim().then(|| wake(taker)),
        }
    }
}

impl Drop for RawPermit<'_> {
    fn drop(&mut self) {
        if let Chosen::Refused = self.why {
            return;
        }
        let mut state = self.channel.state();
        let wakeup = self.give_back(&mut state);
        drop(state);
        drop(wakeup);
    }
}
