//! A channel without its messages' type: who waits for what, what is queued, and what is recorded of that.
//!
//! Nothing here is generic, so that it is compiled once, for speed, into the library: a generic function is compiled into each cell, where every step of it is
//! slow. A message is known by its place: it is moved from the sender's stack to the receiver's, or into the queue and out again, and by its size.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use super::clock::Clock;
use super::line::{Answer, Giver, Lined, Taker, first_claimed};
use super::queue::{self, Queue};
use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token, Wakeup};
use crate::wait::{Subject, Wait, Words};

/// A channel whose messages' type is known to its ends alone.
pub struct RawChannel {
    pub(super) object: Object,
    kind: queue::Kind,
    pub(super) capacity: Option<usize>,
    state: Mutex<State>,
}

pub(super) struct State {
    pub queue: Queue,
    /// How much of the room is kept for arms that were chosen and make their messages now.
    pub kept: usize,
    /// When messages come by themselves.
    pub clock: Option<Clock>,
    /// Whether it stays open without a sender, since it was made with none.
    pub stays_open: bool,
    /// How many messages were sent, and how many of them received: their numbers, since they stay in order.
    pub sent: u32,
    received: u32,
    pub senders: usize,
    pub receivers: usize,
    /// Whether the sender is among them that was made with the channel.
    pub has_first: bool,
    /// Who used an end last, and where: by sending, receiving or cloning. What a report can say of ends that nobody uses any more.
    pub sender_used: (u32, Here),
    pub receiver_used: (u32, Here),
    /// Who waits for a message. While anybody does, the queue is empty.
    pub takers: VecDeque<Lined<Taker>>,
    /// Who waits for room. While anybody does, the queue is full, or will be when those for whom room is kept have sent.
    pub givers: VecDeque<Lined<Giver>>,
    /// The life of this process in which these lines are: who stood in them before a copy took over is lost, with the stack that the waiter lies on.
    life: u32,
}

/// What a call found that does not wait.
pub(super) enum Found<'a> {
    /// The message is where it was wanted.
    Done,
    Disconnected,
    /// Nothing yet. The lock comes back, under which to queue.
    Nothing(MutexGuard<'a, State>),
}

/// How long a call may wait.
#[derive(Clone, Copy)]
pub enum Patience {
    /// Not at all.
    None,
    /// Until then.
    Until(Instant),
    /// As long as it takes.
    Forever,
}

impl Patience {
    /// No longer than `timeout` from now.
    pub fn of(timeout: Duration) -> Patience {
        rt::now()
            .checked_add(timeout)
            .map_or(Patience::Forever, Patience::Until)
    }

    /// When it ends, if it does by itself.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Patience::Until(deadline) => Some(deadline),
            Patience::None | Patience::Forever => None,
        }
    }
}

/// Why nothing was sent or received.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Disconnected,
    /// The call does not wait.
    WouldWait,
    TimedOut,
    /// The task is to end: see [`settled`](Refused::settled).
    Cut,
    /// The receiver that chose the arm was told to end meanwhile. The arm is chosen all the same, so the message goes to whoever comes.
    Again,
}

impl Refused {
    fn after(ended: Ended) -> Refused {
        match ended {
            Ended::Woken => Refused::Disconnected,
            Ended::TimedOut => Refused::TimedOut,
            Ended::Cut => Refused::Cut,
        }
    }

    /// Unwinds a task that was told to end, unless it does already: then the channel is of no more use to it. Called when the message has its owner again.
    #[inline(never)]
    pub fn settled(self) -> Refused {
        match self {
            Refused::Cut => {
                rt::unwind();
                Refused::Disconnected
            }
            why => why,
        }
    }
}

impl RawChannel {
    /// Makes a channel for messages of a type, whose receiver and `senders` senders the caller makes.
    pub fn new(
        kind: queue::Kind,
        capacity: Option<usize>,
        senders: usize,
        clock: Option<Clock>,
        made: Here,
    ) -> Arc<RawChannel> {
        let shown = capacity.map_or(u32::MAX, |capacity| {
            u32::try_from(capacity).unwrap_or(u32::MAX - 1)
        });
        let state = State {
            queue: Queue::new(kind),
            kept: 0,
            clock,
            stays_open: senders == 0,
            sent: 0,
            received: 0,
            senders,
            receivers: 1,
            has_first: senders > 0,
            sender_used: (recorder::current_task(), made),
            receiver_used: (recorder::current_task(), made),
            takers: VecDeque::new(),
            givers: VecDeque::new(),
            life: rt::life(),
        };
        let object = Object::new(ObjectKind::Channel, shown, made);
        Arc::new(RawChannel {
            object,
            kind,
            capacity,
            state: Mutex::new(state),
        })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        let mut state = rt::lock(&self.state);
        if state.life != rt::life() {
            state.forget_the_lost();
        }
        state
    }

    /// The same for the destructor of an end. `None`: the channel was lost with a task that was using it.
    fn state_unless_lost(&self) -> Option<MutexGuard<'_, State>> {
        let mut state = rt::lock_unless_lost(&self.state)?;
        if state.life != rt::life() {
            state.forget_the_lost();
        }
        Some(state)
    }

    /// Sends the message at `message`, which belongs to the channel if it was sent, and else to the caller as before. Comes behind an [`rt::point`].
    ///
    /// # Safety
    /// It is of the channel's type.
    #[inline(never)]
    pub unsafe fn send(
        &self,
        message: *const u8,
        patience: Patience,
        here: Here,
    ) -> Result<(), Refused> {
        let mut state = self.state();
        state.sender_used = (rt::me(), here);
        if state.receivers == 0 {
            self.tell_refused(Reason::Send, here);
            return Err(Refused::Disconnected);
        }
        if let Some(taker) = first_claimed(&mut state.takers) {
            // SAFETY: claimed; the message by the caller's promise.
            let wakeup = unsafe { self.hand_over(&mut state, message, &taker, here) };
            drop(state);
            drop(wakeup);
            return Ok(());
        }
        if self.has_room(&state) {
            // SAFETY: by the caller's promise.
            unsafe { self.put(&mut state, message, here) };
            return Ok(());
        }
        if let Patience::None = patience {
            return Err(Refused::WouldWait);
        }
        // SAFETY: it stays here, and is forgotten. No other answer than `Taken`, which needs no drop, is given to one that is no arm.
        let token = unsafe { Token::on_stack() };
        let giver = ManuallyDrop::new(Giver::new(token, message));
        // SAFETY: it is taken out of the line before this call ends: by who claims it, or below.
        state.givers.push_back(unsafe { Lined::on_stack(&giver) });
        let wait =
            Wait::begin(Reason::Send, self.object.id(), state.givers.len(), here).about(self);
        let ended = rt::block(&giver.token, &wait, state, patience.deadline());
        if ended != Ended::Woken {
            self.state()
                .givers
                .retain(|other| !other.token.is(&giver.token));
        }
        // SAFETY: the wait is this task's, and over.
        let Answer::Taken(ticks, number, queued) = *(unsafe { giver.answer() }) else {
            wait.end();
            if ended == Ended::Woken {
                self.tell_refused(Reason::Send, here);
            }
            return Err(Refused::after(ended));
        };
        // Recorded at the time at which the receiver took it, which lies inside the wait: the arrow leaves before it arrives.
        if ticks != 0 {
            let object = self.object.id();
            recorder::record_at(ticks, Kind::Sent, object, number, queued, Some(here));
        }
        wait.end();
        Ok(())
    }

    /// Whether a message may be queued.
    pub fn has_room(&self, state: &State) -> bool {
        self.capacity
            .is_none_or(|capacity| state.queue.len() + state.kept < capacity)
    }

    /// Whether there is no room, a message that came by the clock counted.
    pub fn is_full(&self) -> bool {
        let state = self.state();
        let queued = state.queue.len() + usize::from(state.rang());
        self.capacity
            .is_some_and(|capacity| queued + state.kept >= capacity)
    }

    /// Moves a message to a receiver that waits.
    ///
    /// # Safety
    /// The caller has claimed its token. The message is of the channel's type, and not used any more afterwards.
    pub unsafe fn hand_over(
        &self,
        state: &mut State,
        message: *const u8,
        taker: &Taker,
        here: Here,
    ) -> Wakeup {
        state.sent = state.sent.wrapping_add(1);
        state.received = state.sent;
        self.tell(Kind::Sent, state.sent, 0, here);
        // SAFETY: by the caller's promise; let go on afterwards.
        unsafe { taker.give(self.kind, message, state.sent) };
        rt::wake(&taker.token, self.object.id(), Some(here))
    }

    /// Queues a message, for which there is room.
    ///
    /// # Safety
    /// It is of the channel's type, and not used any more afterwards.
    pub unsafe fn put(&self, state: &mut State, message: *const u8, here: Here) {
        // SAFETY: by the caller's promise.
        unsafe { state.queue.push(message) };
        state.sent = state.sent.wrapping_add(1);
        self.tell(Kind::Sent, state.sent, state.queued(), here);
    }

    /// Records that message `number` was sent or received, while so many were queued.
    #[inline]
    fn tell(&self, kind: Kind, number: u32, queued: u32, here: Here) {
        if recorder::recording() != 0 {
            recorder::record(kind, self.object.id(), number, queued, Some(here));
        }
    }

    /// Records that nobody is at the other end: what the task does after that, it does after something that is known of it.
    #[cold]
    pub fn tell_refused(&self, reason: Reason, here: Here) {
        let sends = u32::from(reason == Reason::Send);
        self.tell(Kind::Refused, 0, sends, here);
    }

    /// Receives a message, and puts it at `to`.
    ///
    /// # Safety
    /// There is room for one of the channel's type.
    #[inline(never)]
    pub unsafe fn recv(&self, to: *mut u8, patience: Patience, here: Here) -> Result<(), Refused> {
        rt::point();
        loop {
            // SAFETY: by the caller's promise.
            let mut state = match unsafe { self.take(to, here) } {
                Found::Done => return Ok(()),
                Found::Disconnected => {
                    self.tell_refused(Reason::Recv, here);
                    return Err(Refused::Disconnected);
                }
                Found::Nothing(state) => state,
            };
            if let Patience::None = patience {
                return Err(Refused::WouldWait);
            }
            // SAFETY: it stays here, and is forgotten.
            let token = unsafe { Token::on_stack() };
            let taker = ManuallyDrop::new(Taker::new(token, to));
            // SAFETY: it is taken out of the line before this turn of the loop ends: by who claims it, or below.
            state.takers.push_back(unsafe { Lined::on_stack(&taker) });
            let rings = state.rings();
            let by_clock = rings
                .is_some_and(|rings| patience.deadline().is_none_or(|deadline| rings <= deadline));
            let deadline = if by_clock { rings } else { patience.deadline() };
            let wait =
                Wait::begin(Reason::Recv, self.object.id(), state.takers.len(), here).about(self);
            let ended = rt::block(&taker.token, &wait, state, deadline);
            if ended != Ended::Woken {
                self.forget(&taker.token);
            }
            wait.end();
            if self.was_given(&taker, here) {
                return Ok(());
            }
            match ended {
                Ended::Woken => {}
                Ended::TimedOut if by_clock => {}
                ended => return Err(Refused::after(ended).settled()),
            }
        }
    }

    /// Receives what is there, or from an arm that waits to send, and puts it at `to`. Waits only for the latter, while it makes its message.
    ///
    /// # Safety
    /// There is room for a message of the channel's type.
    pub unsafe fn take(&self, to: *mut u8, here: Here) -> Found<'_> {
        loop {
            let mut state = self.state();
            state.receiver_used = (rt::me(), here);
            state.ring();
            // SAFETY: by the caller's promise.
            if unsafe { state.queue.pop(to) } {
                state.received = state.received.wrapping_add(1);
                self.tell(Kind::Received, state.received, state.queued(), here);
                let wakeup = self.let_one_in(&mut state, Some(here));
                drop(state);
                drop(wakeup);
                return Found::Done;
            }
            let Some(giver) = self.claim_giver(&mut state) else {
                return if state.senders == 0 && !state.stays_open {
                    Found::Disconnected
                } else {
                    Found::Nothing(state)
                };
            };
            if giver.is_arm() {
                match self.ask(state, &giver, to, here) {
                    Ok(()) => return Found::Done,
                    Err(Ended::Cut) => return Found::Disconnected,
                    Err(_) => continue,
                }
            }
            // SAFETY: claimed, and let go on below; the room by the caller's promise.
            unsafe {
                self.kind.copy(giver.offer(), to);
                state.tell_taken(&giver, 0);
            }
            state.received = state.sent;
            self.tell(Kind::Received, state.received, 0, here);
            let wakeup = rt::wake(&giver.token, self.object.id(), Some(here));
            drop(state);
            drop(wakeup);
            return Found::Done;
        }
    }

    /// Claims the sender that waited longest and can send without room.
    fn claim_giver(&self, state: &mut State) -> Option<Lined<Giver>> {
        if self.capacity == Some(0) {
            return first_claimed(&mut state.givers);
        }
        // Nothing is queued, and all room is kept for arms that were chosen. Another arm would need room of its own.
        let with_message = |giver: &Lined<Giver>| !giver.is_arm() && giver.token.claim();
        let at = state.givers.iter().position(with_message)?;
        state.givers.remove(at)
    }

    /// Lets a claimed arm know that it is chosen, and waits for the message that it makes. Gives how the wait ended when none came.
    fn ask(
        &self,
        state: MutexGuard<'_, State>,
        giver: &Giver,
        to: *mut u8,
        here: Here,
    ) -> Result<(), Ended> {
        let taker = Arc::new(Taker::new(Token::new(), to));
        // SAFETY: claimed by the caller, and let go on below.
        unsafe { giver.tell(Answer::Asked(taker.clone())) };
        let wait = Wait::begin(Reason::Recv, self.object.id(), 1, here).about(self);
        let wakeup = rt::wake(&giver.token, self.object.id(), Some(here));
        drop(state);
        drop(wakeup);
        let ended = rt::block(&taker.token, &wait, (), None);
        wait.end();
        if self.was_given(&taker, here) {
            return Ok(());
        }
        if ended == Ended::Cut {
            rt::unwind();
        }
        Err(ended)
    }

    /// Whether the calling task, which made this, was given a message while it waited, which is over.
    pub fn was_given(&self, taker: &Taker, here: Here) -> bool {
        // SAFETY: as the comment says.
        let Some(number) = (unsafe { taker.was_given() }) else {
            return false;
        };
        self.tell(Kind::Received, number, 0, here);
        true
    }

    /// Takes a receiver that waits no more out of the line.
    pub fn forget(&self, token: &Token) {
        self.state().takers.retain(|other| !other.token.is(token));
    }

    /// Lets the sender that waited longest use the room that somebody just made: moves its message there, or keeps the room for an arm.
    pub fn let_one_in(&self, state: &mut State, here: Option<Here>) -> Option<Wakeup> {
        let giver = first_claimed(&mut state.givers)?;
        if giver.is_arm() {
            state.kept += 1;
            // SAFETY: claimed, and let go on below.
            unsafe { giver.tell(Answer::Room) };
        } else {
            // SAFETY: claimed, and let go on below; its message is of the channel's type, and is told to be taken.
            unsafe {
                state.queue.push(giver.offer());
                state.tell_taken(&giver, state.queued());
            }
        }
        Some(rt::wake(&giver.token, self.object.id(), here))
    }

    /// There is one more sender, made by the calling task.
    #[inline(never)]
    pub fn one_more_sender(&self, here: Here) {
        let mut state = self.state();
        state.senders += 1;
        state.sender_used = (rt::me(), here);
    }

    /// There is one more receiver, made by the calling task.
    #[inline(never)]
    pub fn one_more_receiver(&self, here: Here) {
        let mut state = self.state();
        state.receivers += 1;
        state.receiver_used = (rt::me(), here);
    }

    /// A sender is dropped. `first`: the one that was made with the channel.
    #[inline(never)]
    pub fn one_sender_less(&self, first: bool) {
        let Some(mut state) = self.state_unless_lost() else {
            return;
        };
        state.senders -= 1;
        state.has_first &= !first;
        if state.senders == 0 {
            let takers = std::mem::take(&mut state.takers);
            let wakeups = self.close(0, takers.iter().map(|taker| &taker.token));
            drop(state);
            drop(wakeups);
        }
    }

    /// A receiver is dropped.
    #[inline(never)]
    pub fn one_receiver_less(&self) {
        let Some(mut state) = self.state_unless_lost() else {
            return;
        };
        state.receivers -= 1;
        if state.receivers == 0 {
            let givers = std::mem::take(&mut state.givers);
            let unread = std::mem::replace(&mut state.queue, Queue::new(self.kind));
            let wakeups = self.close(1, givers.iter().map(|giver| &giver.token));
            drop(state);
            drop(wakeups);
            // Last: the messages' own destructors may use this channel.
            drop(unread);
        }
    }

    /// Records that one kind of end is gone for good, and lets those go on who wait for it. `who`: 0 for senders, 1 for receivers.
    fn close<'a>(&self, who: u32, waiting: impl Iterator<Item = &'a Token>) -> Vec<Wakeup> {
        recorder::record(Kind::Closed, self.object.id(), 0, who, None);
        waiting
            .filter(|token| token.claim())
            .map(|token| rt::wake(token, self.object.id(), None))
            .collect()
    }
}

impl Subject for RawChannel {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn advice(&self, reason: Reason, waiting: u32) -> Vec<Words> {
        let state = self.state();
        let sends = reason == Reason::Send;
        let mut words = vec![Words::from("; ")];
        words.extend(state.who_is_alive(reason, self.object.made(), waiting));
        words.extend(if sends {
            Some(Words::from(", and nobody receives"))
        } else if state.stays_open {
            None
        } else if state.has_first {
            Some(
                ": drop it before this wait, if this task has it, so that the channel can end"
                    .into(),
            )
        } else {
            Some(": who is done with it must drop it, so that the channel can end".into())
        });
        words
    }
}

impl State {
    /// A copy of the process took over: nobody is here who stood in a line. What lies on a lost stack is not looked at.
    #[cold]
    fn forget_the_lost(&mut self) {
        self.takers.clear();
        self.givers.clear();
        self.kept = 0;
        self.life = rt::life();
    }

    /// Who could end a wait for `reason`: how many ends, what they are, who used one last and where.
    fn others(&self, reason: Reason) -> (usize, &'static str, (u32, Here)) {
        match reason {
            Reason::Send => (self.receivers, "receiver", self.receiver_used),
            _ => (self.senders, "sender", self.sender_used),
        }
    }

    /// The same in words, for a report to task `waiting`; `made`: where the channel was.
    pub fn who_is_alive(&self, reason: Reason, made: Here, waiting: u32) -> Vec<Words> {
        if self.stays_open && reason != Reason::Send {
            return vec!["no message will come any more, since nobody sends to it".into()];
        }
        let (count, end, (user, place)) = self.others(reason);
        let has = if count == 1 { " is" } else { "s are" };
        let mut words = vec![Words::Text(format!("{count} {end}{has} alive"))];
        let with_first = reason != Reason::Send && self.has_first;
        if with_first {
            let among = if count == 1 { "" } else { "among them " };
            words.push(Words::Text(format!(
                ", {among}the one that came with the channel at "
            )));
            words.push(Words::At(made));
        }
        // That one may be with anybody; who used one last says something of it only when that was the waiting task itself.
        let used_here = user == waiting && !std::ptr::eq(place, made);
        if !with_first || count > 1 || used_here {
            words.push(", last used by ".into());
            words.push(if user == waiting {
                "this task itself".into()
            } else {
                Words::Task(user)
            });
            words.push(" at ".into());
            words.push(Words::At(place));
        }
        words
    }

    fn queued(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap_or(u32::MAX)
    }

    /// Tells a sender that its message was taken, which gets the next number. `queued`: how many are queued with it then.
    ///
    /// # Safety
    /// The caller has claimed its token, and lets it go on later.
    unsafe fn tell_taken(&mut self, giver: &Giver, queued: u32) {
        self.sent = self.sent.wrapping_add(1);
        let taken = Answer::Taken(recorder::ticks_if_recording(), self.sent, queued);
        // SAFETY: by the caller's promise.
        unsafe { giver.tell(taken) };
    }
}
