//! The lock under `Mutex`, without a value: who has it, who waits for it, and what is recorded of that.
//!
//! Nothing here is generic, so that it is compiled once, for speed, into the library: a generic function is compiled into each cell, where every step of
//! it is slow. A lock is free to whoever comes first, as std's is: a woken thread may find it taken again. One that has waited for a millisecond is handed
//! the lock, so that none waits for ever. Waiting threads are woken in the order in which they came.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token};
use crate::wait::{Holder, Subject, Wait};

/// Somebody has the lock.
const LOCKED: u32 = 1;
/// Somebody stands in the queue.
const QUEUED: u32 = 2;

/// How often a thread looks at a taken lock before it queues: about 1 us, as long as a short critical section.
const LOOKS: u32 = 50;

/// How long a thread may wait before the lock is handed to it. Handing over costs each time a switch of threads, so it is the exception.
const PATIENCE: Duration = Duration::from_millis(1);

/// A lock around nothing.
pub struct RawMutex {
    object: Object,
    state: AtomicU32,
    /// How many wait, for the picture.
    waiting: AtomicU32,
    /// How often the lock was taken while that was recorded; written only by who has it.
    turns: AtomicU32,
    poisoned: AtomicBool,
    /// The task that has the lock, and the line where it took it: for reports. 0 while nobody has it.
    holder: AtomicU32,
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
            state: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            poisoned: AtomicBool::new(false),
            holder: AtomicU32::new(0),
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
        rt::point();
        self.lock_again(here);
        Taken {
            poisoned: self.is_poisoned(),
            unwound: rt::unwinding(),
        }
    }

    /// Takes the lock for one that gave it back for a while. There is no point in it at which a task could be ended.
    pub fn lock_again(&self, here: Here) {
        if self
            .state
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slowly(here);
        }
        self.begin_turn(here);
    }

    /// Takes the lock if it is free.
    #[inline(never)]
    pub fn try_lock(&self, here: Here) -> Option<Taken> {
        rt::point();
        if !self.try_take() {
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
        if !unwound && rt::unwinding() && !rt::cut() {
            self.poisoned.store(true, Ordering::Relaxed);
        }
        self.unlock_for_a_while();
    }

    /// Gives back the lock that the caller has and is going to take again.
    pub fn unlock_for_a_while(&self) {
        if recorder::recording() != 0 {
            let turn = self.turns.load(Ordering::Relaxed);
            recorder::record(Kind::Released, self.object.id(), turn, 0, None);
        }
        self.holder.store(0, Ordering::Relaxed);
        self.give_back();
    }

    /// Takes the lock if it is free, unseen: to show what it holds is no turn of the program. [`give_back`](Self::give_back) ends it.
    pub fn try_take(&self) -> bool {
        self.state.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// Ends what [`try_take`](Self::try_take) began.
    #[inline]
    pub fn give_back(&self) {
        if self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
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
    #[inline]
    fn begin_turn(&self, here: Here) {
        self.holder
            .store(recorder::current_task(), Ordering::Relaxed);
        self.taken_at
            .store(std::ptr::from_ref(here).cast_mut(), Ordering::Relaxed);
        if recorder::recording() != 0 {
            let turn = self.turns.load(Ordering::Relaxed).wrapping_add(1);
            self.turns.store(turn, Ordering::Relaxed);
            recorder::record(Kind::Acquired, self.object.id(), turn, 0, Some(here));
        }
    }

    /// Takes the lock after finding it taken.
    #[cold]
    fn lock_slowly(&self, here: Here) {
        let line = self.waiting.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let wait = Wait::begin(Reason::Lock, self.object.id(), line, here).about(self);
        if !self.take_by_looking() && !self.take_by_queueing(&wait) {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            wait.end();
            rt::unwind();
            // It unwinds already, and a destructor that asks for a lock gets it or waits.
            return self.lock_slowly(here);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        wait.end();
    }

    fn take_by_looking(&self) -> bool {
        if rt::many_cores() {
            for _ in 0..LOOKS {
                if self.state.load(Ordering::Relaxed) & LOCKED == 0 && self.try_take() {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }

    /// Waits in the queue until it has the lock; false when the task is to end instead.
    fn take_by_queueing(&self, wait: &Wait<'_>) -> bool {
        let since = rt::now();
        let mut woken_before = false;
        loop {
            let mut queue = rt::lock(&self.queue);
            // From here on whoever gives the lock back looks into the queue, for which it waits for this guard.
            let before = self.state.fetch_or(LOCKED | QUEUED, Ordering::Acquire);
            if before & LOCKED == 0 {
                if queue.is_empty() {
                    self.state.fetch_and(!QUEUED, Ordering::Relaxed);
                }
                return true;
            }
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
            if waiter.handed.load(Ordering::Relaxed) || self.try_take() {
                return true;
            }
            woken_before = true;
        }
    }

    #[cold]
    fn unlock_slowly(&self) {
        let mut queue = rt::lock(&self.queue);
        let next = std::iter::from_fn(|| queue.pop_front()).find(|waiter| waiter.token.claim());
        let mut done_with = if queue.is_empty() {
            LOCKED | QUEUED
        } else {
            LOCKED
        };
        if let Some(next) = &next
            && rt::now().saturating_duration_since(next.since) > PATIENCE
        {
            next.handed.store(true, Ordering::Relaxed);
            done_with &= !LOCKED;
        }
        let wakeup = next.map(|next| rt::wake(&next.token, self.object.id(), None));
        self.state.fetch_and(!done_with, Ordering::Release);
        drop(queue);
        drop(wakeup);
    }
}

impl Subject for RawMutex {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        let task = self.holder.load(Ordering::Relaxed);
        // SAFETY: null, or a place that the compiler made, in a library that is never unloaded.
        let since = unsafe { self.taken_at.load(Ordering::Relaxed).as_ref() };
        (task != 0)
            .then_some(Holder { task, since })
            .into_iter()
            .collect()
    }
}
