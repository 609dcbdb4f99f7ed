//! The lock under `Mutex`, without a value: who has it, who waits for it, and what is recorded of that.
//!
//! Nothing here is generic, so that it is compiled once, for speed, into the library: a generic function is compiled into each cell, where every step of
//! it is slow. A lock is free to whoever comes first, as std's is: a woken thread may find it taken again. One that has waited for a millisecond is handed
//! the lock, so that none waits for ever. Waiting threads are woken in the order in which they came.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token};
use crate::wait::{Holder, Subject, Wait};

/// Somebody has the lock.
const LOCKED: u64 = 1;
/// Somebody stands in the queue.
const QUEUED: u64 = 2;
/// Above these two: the id of the task that has the lock; 0 while nobody has it, and for one that only looks. In the same word, so that to take the lock
/// and to say who has it is one step: a report never sees a holder of before.
const HOLDER: u32 = 32;

/// The state of a lock that task `me` has, and for which nobody queues.
const fn held_by(me: u32) -> u64 {
    LOCKED | (me as u64) << HOLDER
}

/// How long a thread may wait before the lock is handed to it. Handing over costs each time a switch of threads, so it is the exception.
const PATIENCE: Duration = Duration::from_millis(1);

/// A lock around nothing.
pub struct RawMutex {
    object: Object,
    /// [`LOCKED`], [`QUEUED`] and, from [`HOLDER`] on, whose it is.
    state: AtomicU64,
    /// How many wait, for the picture.
    waiting: AtomicU32,
    /// How often the lock was taken while that was recorded; written only by who has it.
    turns: AtomicU32,
    poisoned: AtomicBool,
    /// The line where it was taken last: for reports.
    taken_at: AtomicPtr<Location<'static>>,
    queue: std::sync::Mutex<VecDeque<Arc<Waiter>>>,
}

/// One that stands in the queue.
struct Waiter {
    token: Token,
    since: Instant,
    /// Whether the lock is its own already when it is woken.
    handed: AtomicBool,
}

/// How a lock was found by who took it.
#[derive(Clone, Copy)]
pub struct Taken {
    /// It was poisoned.
    pub poisoned: bool,
    /// Who took it unwound already: then its panic did not happen while it had the lock.
    pub unwound: bool,
}

impl RawMutex {
    /// Makes a free lock.
    pub fn new(made: Here) -> RawMutex {
        RawMutex {
            object: Object::new(ObjectKind::Mutex, 0, made),
            state: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            poisoned: AtomicBool::new(false),
            taken_at: AtomicPtr::new(std::ptr::null_mut()),
            queue: std::sync::Mutex::default(),
        }
    }

    /// Its side of the picture.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// Takes the lock; blocks until it is free.
    #[inline(never)]
    pub fn lock(&self, here: Here) -> Taken {
        // What else may be the case is looked into elsewhere: so this needs no stack.
        let me = rt::me_if_calm();
        if me == 0 || !self.take_free(me) {
            return self.lock_with_care(here);
        }
        self.begin_turn(here);
        Taken {
            poisoned: self.is_poisoned(),
            unwound: false,
        }
    }

    #[inline(never)]
    fn lock_with_care(&self, here: Here) -> Taken {
        rt::point();
        self.lock_again(here);
        Taken {
            poisoned: self.is_poisoned(),
            unwound: rt::unwinding(),
        }
    }

    /// Takes the lock for task `me` if it is free and nobody queues.
    #[inline(always)]
    fn take_free(&self, me: u32) -> bool {
        self.state
            .compare_exchange(0, held_by(me), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Takes the lock for one that gave it back for a while. There is no point in it at which a task could be ended.
    pub fn lock_again(&self, here: Here) {
        let me = rt::me();
        if !self.take_free(me) {
            self.lock_slowly(me, here);
        }
        self.begin_turn(here);
    }

    /// Takes the lock if it is free.
    #[inline(never)]
    pub fn try_lock(&self, here: Here) -> Option<Taken> {
        rt::point();
        if !self.take(rt::me()) {
            return None;
        }
        self.begin_turn(here);
        Some(Taken {
            poisoned: self.is_poisoned(),
            unwound: rt::unwinding(),
        })
    }

    /// Gives back the lock that the caller has; it is poisoned if the caller has begun to unwind since.
    #[inline(never)]
    pub fn unlock(&self, unwound: bool) {
        if std::thread::panicking() {
            self.poison_if_begun(unwound);
        }
        self.unlock_for_a_while();
    }

    #[cold]
    #[inline(never)]
    fn poison_if_begun(&self, unwound: bool) {
        if !unwound && rt::unwinding() && !rt::cut() {
            self.poisoned.store(true, Ordering::Relaxed);
        }
    }

    /// Gives back the lock that the caller has and is going to take again.
    #[inline]
    pub fn unlock_for_a_while(&self) {
        let recording = recorder::recording();
        if recording != 0 {
            self.tell_release();
        }
        self.give_back();
    }

    #[inline(never)]
    fn tell_release(&self) {
        let turn = self.turns.load(Ordering::Relaxed);
        recorder::record(Kind::Released, self.object.id(), turn, 0, None);
    }

    /// Takes the lock if it is free, unseen: to show what it holds is no turn of the program. [`give_back`](Self::give_back) ends it.
    pub fn try_take(&self) -> bool {
        self.take(0)
    }

    /// Takes the lock for task `me` if it is free.
    fn take(&self, me: u32) -> bool {
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (state & LOCKED == 0).then_some(state | held_by(me))
            })
            .is_ok()
    }

    /// Gives back the lock that the caller has.
    #[inline(always)]
    pub fn give_back(&self) {
        // While the caller has it, others change `QUEUED` alone.
        let state = self.state.load(Ordering::Relaxed);
        if state & QUEUED != 0
            || self
                .state
                .compare_exchange(state, 0, Ordering::Release, Ordering::Relaxed)
                .is_err()
        {
            self.unlock_slowly();
        }
    }

    /// Whether somebody panicked while it had the lock.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Makes it as if nobody had panicked.
    pub fn clear_poison(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }

    /// Notes and records that the caller has the lock.
    #[inline(always)]
    fn begin_turn(&self, here: Here) {
        let place = std::ptr::from_ref(here).cast_mut();
        self.taken_at.store(place, Ordering::Relaxed);
        if recorder::recording() != 0 {
            self.tell_turn(here);
        }
    }

    #[inline(never)]
    fn tell_turn(&self, here: Here) {
        let turn = self.turns.load(Ordering::Relaxed).wrapping_add(1);
        self.turns.store(turn, Ordering::Relaxed);
        recorder::record(Kind::Acquired, self.object.id(), turn, 0, Some(here));
    }

    /// Takes the lock after finding it taken.
    #[cold]
    fn lock_slowly(&self, me: u32, here: Here) {
        let line = self.waiting.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let wait = Wait::begin(Reason::Lock, self.object.id(), line, here).about(self);
        if !self.take_by_looking(me) && !self.take_by_queueing(me, &wait) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            wait.end();
            rt::unwind();
            // It unwinds already, and a destructor that asks for a lock gets it or waits.
            return self.lock_slowly(me, here);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        wait.end();
    }

    fn take_by_looking(&self, me: u32) -> bool {
        for pauses in rt::pauses() {
            rt::pause(pauses);
            if self.state.load(Ordering::Relaxed) & LOCKED == 0 && self.take(me) {
                return true;
            }
        }
        false
    }

    /// Waits in the queue until it has the lock; false when the task is to end instead.
    fn take_by_queueing(&self, me: u32, wait: &Wait<'_>) -> bool {
        let since = rt::now();
        let mut woken_before = false;
        loop {
            let mut queue = rt::lock(&self.queue);
            // From here on whoever gives the lock back looks into the queue, for which it waits for this guard.
            let before = self.state.fetch_or(QUEUED, Ordering::Relaxed);
            if before & LOCKED == 0 && self.take(me) {
                if queue.is_empty() {
                    self.state.fetch_and(!QUEUED, Ordering::Relaxed);
                }
                return true;
            }
            // Taken, or taken again in between by one that came later: it finds `QUEUED` when it gives the lock back.
            let waiter = Arc::new(Waiter {
                token: Token::new(),
                since,
                handed: AtomicBool::new(false),
            });
            // One that was woken in vain keeps its place.
            if woken_before {
                queue.push_front(waiter.clone());
            } else {
                queue.push_back(waiter.clone());
            }
            if rt::block(&waiter.token, wait, queue, None) == Ended::Cut {
                rt::lock(&self.queue).retain(|other| !Arc::ptr_eq(other, &waiter));
                return false;
            }
            if waiter.handed.load(Ordering::Relaxed) || self.take(me) {
                return true;
            }
            woken_before = true;
        }
    }

    #[cold]
    #[inline(never)]
    fn unlock_slowly(&self) {
        let Some(mut queue) = rt::lock_unless_lost(&self.queue) else {
            // Who stood in the queue is lost, and so is the queue: who comes now finds the lock free, or fails there.
            self.state.store(QUEUED, Ordering::Release);
            return;
        };
        let next = std::iter::from_fn(|| queue.pop_front()).find(|waiter| waiter.token.claim());
        let still_queued = if queue.is_empty() { 0 } else { QUEUED };
        let handed_to = next
            .as_ref()
            .filter(|next| rt::now().saturating_duration_since(next.since) > PATIENCE);
        let after = match handed_to {
            Some(next) => {
                next.handed.store(true, Ordering::Relaxed);
                held_by(next.token.task().id()) | still_queued
            }
            None => still_queued,
        };
        let wakeup = next.map(|next| rt::wake(&next.token, self.object.id(), None));
        // Nobody else changes the word now: it is locked, and `QUEUED` changes under the queue's lock alone.
        self.state.store(after, Ordering::Release);
        drop(queue);
        drop(wakeup);
    }
}

impl Subject for RawMutex {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        let task = (self.state.load(Ordering::Relaxed) >> HOLDER) as u32;
        // SAFETY: null, or a place that the compiler made, in a library that is never unloaded.
        let since = unsafe { self.taken_at.load(Ordering::Relaxed).as_ref() };
        (task != 0)
            .then_some(Holder { task, since })
            .into_iter()
            .collect()
    }
}
