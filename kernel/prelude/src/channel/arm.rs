//! The arms of a `select!`: one operation on one channel each, that can be tried, queued, and taken out of its line again.
//!
//! An arm knows its channel's type of messages; the [engine](crate::select_macro) knows arms only by the trait. What an arm was given stays in it until the
//! macro takes it out. No arm has a destructor: so what it borrows is free again in the body that is run.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::mpsc::{RecvError, SendError};
use std::time::Instant;

use threadbook_timeline::format::Reason;

use super::{
    Channel, Found, Giver, Offer, Patience, Receiver, Sender, State, Taker, first_claimed,
};
use crate::recorder::{self, Here};
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
    channel: &'a Channel<T>,
    waiting: Slot<Arc<Taker<T>>>,
    result: Slot<Result<T, RecvError>>,
    chosen: Cell<bool>,
}

impl<'a, T> Recv<'a, T> {
    /// Makes the arm. The macro relies on the coercion to this parameter: it may be given a reference to whatever dereferences to a receiver.
    pub fn new(receiver: &'a Receiver<T>) -> Recv<'a, T> {
        Recv {
            channel: &receiver.channel,
            waiting: Slot::empty(),
            result: Slot::empty(),
            chosen: Cell::new(false),
        }
    }

    /// Whether the arm was chosen.
    pub fn is_chosen(&self) -> bool {
        self.chosen.get()
    }

    /// Takes the result out of the chosen arm.
    pub fn result(&self) -> Result<T, RecvError> {
        self.result.take().unwrap_or(Err(RecvError))
    }

    fn choose(&self, result: Result<T, RecvError>) -> bool {
        self.result.put(result);
        self.chosen.set(true);
        true
    }
}

impl<T> Arm for Recv<'_, T> {
    fn begin(&self, here: Here) -> bool {
        match self.channel.take(here) {
            Found::Done(message) => self.choose(Ok(message)),
            Found::Disconnected => self.choose(Err(RecvError)),
            Found::Nothing(_) => false,
        }
    }

    fn queue(&self, token: &Token) -> bool {
        let mut state = self.channel.state();
        let can_give =
            |giver: &Arc<Giver<T>>| self.channel.capacity == Some(0) || !giver.is_later();
        let is_ready = !state.queue.is_empty()
            || state.rang()
            || (state.senders == 0 && !state.stays_open)
            || (state.givers.iter())
                .any(|giver| is_another(&giver.token, token) && can_give(giver));
        if !is_ready {
            let taker = Taker::new(token.clone());
            state.takers.push_back(taker.clone());
            self.waiting.put(taker);
        }
        !is_ready
    }

    fn leave(&self, token: &Token, here: Here) -> bool {
        let Some(taker) = self.waiting.take() else {
            return false;
        };
        self.channel.forget(token);
        match self.channel.given_to(&taker, here) {
            Some(message) => self.choose(Ok(message)),
            None => false,
        }
    }

    fn refuse(&self) {
        self.choose(Err(RecvError));
    }

    fn rings(&self) -> Option<Instant> {
        self.channel.state().rings()
    }

    fn words(&self, waiting: u32) -> Vec<Words> {
        words(self.channel, "a message on ", Reason::Recv, waiting)
    }
}

/// The arm `send(sender, message)`, without the message: it is made when the arm is chosen.
pub struct Send<'a, T> {
    channel: &'a Channel<T>,
    waiting: Slot<Arc<Giver<T>>>,
    permit: Slot<Permit<'a, T>>,
    chosen: Cell<bool>,
}

impl<'a, T> Send<'a, T> {
    /// Makes the arm, as [`Recv::new`] does.
    pub fn new(sender: &'a Sender<T>) -> Send<'a, T> {
        Send {
            channel: &sender.channel,
            waiting: Slot::empty(),
            permit: Slot::empty(),
            chosen: Cell::new(false),
        }
    }

    /// Whether the arm was chosen.
    pub fn is_chosen(&self) -> bool {
        self.chosen.get()
    }

    /// Takes the right and the duty to send out of the chosen arm.
    pub fn permit(&self) -> Permit<'a, T> {
        self.permit.take().expect("a chosen arm, asked once")
    }

    fn choose(&self, why: Chosen<T>, here: Option<Here>) -> bool {
        self.permit.put(Permit {
            channel: self.channel,
            why,
            here,
        });
        self.chosen.set(true);
        true
    }
}

impl<T> Arm for Send<'_, T> {
    fn begin(&self, here: Here) -> bool {
        let mut state = self.channel.state();
        state.sender_used = (recorder::current_task(), here);
        let why = if state.receivers == 0 {
            Chosen::Refused
        } else if self.channel.has_room(&state) {
            state.kept += 1;
            Chosen::Room
        } else if self.channel.capacity == Some(0) {
            // Claimed and not woken: it sleeps on until the message is there.
            match first_claimed(&mut state.takers, |taker| &taker.token) {
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
            let giver = Giver::new(token.clone(), Offer::Later);
            state.givers.push_back(giver.clone());
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
        let offer = std::mem::replace(&mut *rt::lock(&giver.offer), Offer::Later);
        match offer {
            Offer::Room => self.choose(Chosen::Room, Some(here)),
            Offer::Asked(taker) => self.choose(Chosen::Asked(taker), Some(here)),
            _ => false,
        }
    }

    fn refuse(&self) {
        self.choose(Chosen::Refused, None);
    }

    fn rings(&self) -> Option<Instant> {
        None
    }

    fn words(&self, waiting: u32) -> Vec<Words> {
        words(self.channel, "room in ", Reason::Send, waiting)
    }
}

/// Whether a token is that of another wait, which goes on.
fn is_another(other: &Token, own: &Token) -> bool {
    !other.is(own) && other.is_waiting()
}

fn words<T>(channel: &Channel<T>, what: &str, reason: Reason, waiting: u32) -> Vec<Words> {
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
    channel: &'a Channel<T>,
    why: Chosen<T>,
    here: Option<Here>,
}

/// Why a sending arm was chosen.
enum Chosen<T> {
    /// All receivers are gone.
    Refused,
    /// Room is kept for its message.
    Room,
    /// A receiver waited, and is claimed.
    Met(Arc<Taker<T>>),
    /// A receiver chose it, and waits.
    Asked(Arc<Taker<T>>),
}

impl<T> Permit<'_, T> {
    /// Sends the message. Does not wait: what it needs is there.
    pub fn send(mut self, message: T) -> Result<(), SendError<T>> {
        let channel = self.channel;
        let Some(here) = self.here else {
            return Err(SendError(message));
        };
        let mut state = channel.state();
        state.sender_used = (recorder::current_task(), here);
        match std::mem::replace(&mut self.why, Chosen::Refused) {
            Chosen::Refused => Err(SendError(message)),
            Chosen::Room => {
                state.kept -= 1;
                if state.receivers == 0 {
                    return Err(SendError(message));
                }
                let wakeups = match first_claimed(&mut state.takers, |taker| &taker.token) {
                    Some(taker) => [
                        Some(channel.hand_over(&mut state, message, &taker, here)),
                        channel.let_one_in(&mut state, Some(here)),
                    ],
                    None => {
                        channel.put(&mut state, message, here);
                        [None, None]
                    }
                };
                drop(state);
                drop(wakeups);
                Ok(())
            }
            Chosen::Asked(taker) if !taker.token.claim() => {
                drop(state);
                // It was told to end meanwhile. The arm is chosen all the same, so the message goes to whoever comes.
                let sent = channel.send(message, Patience::Forever, here);
                sent.map_err(|(message, _)| SendError(message))
            }
            Chosen::Met(taker) | Chosen::Asked(taker) => {
                let wakeup = channel.hand_over(&mut state, message, &taker, here);
                drop(state);
                drop(wakeup);
                Ok(())
            }
        }
    }

    /// Gives back what was given, since the message is not made: who waits for it looks again.
    fn give_back(&self, state: &mut State<T>) -> Option<Wakeup> {
        let wake = |taker: &Taker<T>| rt::wake(&taker.token, self.channel.object.id(), None);
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

impl<T> Drop for Permit<'_, T> {
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
