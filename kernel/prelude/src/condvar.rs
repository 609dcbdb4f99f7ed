//! `Condvar`, as std has it, for our [`Mutex`](crate::Mutex): wait until another thread says that something changed.
//!
//! Who waits is let go on in the order of arrival, and only by a notification: no wait ends for nothing, though std's contract allows it, except in a
//! thread that unwinds already. The caller queues before it gives the lock back, so that whoever changes something under the lock finds it there.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::{LockResult, Mutex, PoisonError};
use std::time::{Duration, Instant};

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use crate::mutex::MutexGuard;
use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token};
use crate::wait::{Subject, Wait, Words};

/// How long a wait lasts in a thread that is ended from outside and unwinds. It may not last until a notification, which may never come; if it lasted no
/// time at all, a destructor that waits in a loop would keep a core busy.
const LAST_WAIT: Duration = Duration::from_millis(1);

/// A place to wait until another thread says that something changed. What changed is looked at under a [`Mutex`](crate::Mutex).
///
/// The contract of [`std::sync::Condvar`]; `new` is no `const fn`, since it records where it was called. A notification that finds nobody waiting is
/// lost: so look at the value first, and again after each wait, or use [`wait_while`](Self::wait_while).
///
/// ```
/// # use threadbook_prelude::*;
/// let (shelf, filled) = (Mutex::new(0).named("shelf"), Condvar::new().named("filled"));
/// scope(|s| {
///     s.spawn_named("ada", || {
///         *shelf.lock().unwrap() += 1;
///         filled.notify_one();
///     });
///     s.spawn_named("grace", || {
///         let mut loaves = shelf.lock().unwrap();
///         while *loaves == 0 {
///             loaves = filled.wait(loaves).unwrap(); // the lock is free meanwhile
///         }
///         *loaves -= 1;
///     });
/// });
/// assert_eq!(*shelf.lock().unwrap(), 0);
/// ```
pub struct Condvar {
    object: Object,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Token>,
    /// How often it was notified, and the last time by whom and where: what a report can say of a notification that came too early.
    notified: u32,
    last: Option<(u32, Here)>,
}

impl Subject for Condvar {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn advice(&self, _reason: Reason, waiting: u32) -> Vec<Words> {
        let state = rt::lock(&self.state);
        let (notified, last) = (state.notified, state.last);
        drop(state);
        let Some((task, place)) = last else {
            return vec!["; nobody ever notified it, and nobody is left to".into()];
        };
        let mut words = vec![match notified {
            1 => "; it was notified once, by ".into(),
            _ => Words::Text(format!("; it was notified {notified} times, last by ")),
        }];
        words.push(if task == waiting {
            "this task itself".into()
        } else {
            Words::Task(task)
        });
        words.extend([
            " at ".into(),
            Words::At(place),
            ", and nobody is left to do it again: a notification is lost on who waits later, so look at the value before you wait".into(),
        ]);
        words
    }
}

impl Condvar {
    /// Makes a condition variable for which nobody waits.
    #[track_caller]
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "`Default` is there, and has its own `track_caller`"
    )]
    pub fn new() -> Condvar {
        Condvar {
            object: Object::new(ObjectKind::Condvar, 0, Location::caller()),
            state: Mutex::default(),
        }
    }

    /// Gives the condition variable a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let filled = Condvar::new().named("filled");
    /// # filled.notify_one();
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> Condvar {
        self.object.named(name.as_ref());
        self
    }

    /// Gives the lock back, waits until it is notified, and takes the lock again.
    ///
    /// Blocks the calling thread, drawn on its lane up to the notification that let it go on, and then as any wait for the lock. Whoever notifies after
    /// the lock was given back finds this thread waiting. The contract of [`std::sync::Condvar::wait`].
    ///
    /// # Errors
    /// When the lock is poisoned as it is taken again; the guard is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (open, changed) = (Mutex::new(false), Condvar::new());
    /// scope(|s| {
    ///     s.spawn(|| {
    ///         *open.lock().unwrap() = true;
    ///         changed.notify_all();
    ///     });
    ///     let mut is_open = open.lock().unwrap();
    ///     while !*is_open {
    ///         is_open = changed.wait(is_open).unwrap();
    ///     }
    /// });
    /// ```
    #[track_caller]
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let (guard, _) = self.block(guard, None, Location::caller());
        guard
    }

    /// Waits as [`wait`](Self::wait) does, again and again for as long as `condition` says so; not at all when it does not say so at first.
    ///
    /// The contract of [`std::sync::Condvar::wait_while`].
    ///
    /// # Errors
    /// When the lock is poisoned as it is taken again; the guard is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (shelf, filled) = (Mutex::new(0), Condvar::new());
    /// scope(|s| {
    ///     s.spawn(|| {
    ///         for _ in 0..3 {
    ///             *shelf.lock().unwrap() += 1;
    ///             filled.notify_one();
    ///         }
    ///     });
    ///     let loaves = filled.wait_while(shelf.lock().unwrap(), |loaves| *loaves < 3).unwrap();
    ///     assert_eq!(*loaves, 3);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> LockResult<MutexGuard<'a, T>>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits as [`wait`](Self::wait) does, at most for `ms` milliseconds; true when it was notified in time.
    ///
    /// # Errors
    /// When the lock is poisoned as it is taken again; guard and answer are in the error.
    ///
    /// ```
    /// # #![allow(deprecated)]
    /// # use threadbook_prelude::*;
    /// let (shelf, filled) = (Mutex::new(0), Condvar::new());
    /// let (_loaves, notified) = filled.wait_timeout_ms(shelf.lock().unwrap(), 1).unwrap();
    /// assert!(!notified);
    /// ```
    #[track_caller]
    #[deprecated(since = "0.1.0", note = "as in std: replaced by `wait_timeout`")]
    pub fn wait_timeout_ms<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        ms: u32,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        match self.wait_timeout(guard, Duration::from_millis(ms.into())) {
            Ok((guard, result)) => Ok((guard, !result.timed_out())),
            Err(poisoned) => {
                let (guard, result) = poisoned.into_inner();
                Err(PoisonError::new((guard, !result.timed_out())))
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does, but for a notification no longer than `dur`; for the lock it waits as long as that takes.
    ///
    /// The contract of [`std::sync::Condvar::wait_timeout`].
    ///
    /// # Errors
    /// When the lock is poisoned as it is taken again; guard and answer are in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (shelf, filled) = (Mutex::new(0), Condvar::new());
    /// let (loaves, result) = filled.wait_timeout(shelf.lock().unwrap(), ms(1)).unwrap();
    /// assert!(result.timed_out() && *loaves == 0);
    /// ```
    #[track_caller]
    pub fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        dur: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
        // Later than the clock can say is never.
        let deadline = rt::now().checked_add(dur);
        let (guard, ended) = self.block(guard, deadline, Location::caller());
        let result = WaitTimeoutResult(ended == Ended::TimedOut);
        match guard {
            Ok(guard) => Ok((guard, result)),
            Err(poisoned) => Err(PoisonError::new((poisoned.into_inner(), result))),
        }
    }

    /// Waits as [`wait_while`](Self::wait_while) does, but no longer than `dur` in all.
    ///
    /// It has timed out when `condition` still holds at the end. The contract of [`std::sync::Condvar::wait_timeout_while`].
    ///
    /// # Errors
    /// When the lock is poisoned as it is taken again; guard and answer are in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (shelf, filled) = (Mutex::new(0), Condvar::new());
    /// let is_empty = |loaves: &mut i32| *loaves == 0;
    /// let (_, result) = filled.wait_timeout_while(shelf.lock().unwrap(), ms(1), is_empty).unwrap();
    /// assert!(result.timed_out());
    /// ```
    #[track_caller]
    pub fn wait_timeout_while<'a, T, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        dur: Duration,
        mut condition: F,
    ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)>
    where
        F: FnMut(&mut T) -> bool,
    {
        let start = rt::now();
        loop {
            if !condition(&mut *guard) {
                return Ok((guard, WaitTimeoutResult(false)));
            }
            let Some(left) = dur.checked_sub(rt::now().saturating_duration_since(start)) else {
                return Ok((guard, WaitTimeoutResult(true)));
            };
            guard = self.wait_timeout(guard, left)?.0;
        }
    }

    /// Lets the thread go on that has waited longest; nobody, when nobody waits. Does not block.
    ///
    /// The lock need not be held; what changed must have been changed under it. The contract of [`std::sync::Condvar::notify_one`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// Condvar::new().notify_one(); // is lost
    /// ```
    #[track_caller]
    pub fn notify_one(&self) {
        self.notify(1, Location::caller());
    }

    /// Lets all go on who wait. Does not block.
    ///
    /// Each takes the lock again, one after the other. The contract of [`std::sync::Condvar::notify_all`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// Condvar::new().notify_all(); // is lost
    /// ```
    #[track_caller]
    pub fn notify_all(&self) {
        self.notify(usize::MAX, Location::caller());
    }

    fn notify(&self, at_most: usize, here: Here) {
        rt::point();
        let object = self.object.id();
        let mut state = rt::lock(&self.state);
        let mut chosen = Vec::new();
        while chosen.len() < at_most
            && let Some(token) = state.waiting.pop_front()
        {
            // One that cannot be claimed has waited long enough, and this notification is for the next.
            if token.claim() {
                chosen.push(token);
            }
        }
        state.notified = state.notified.wrapping_add(1);
        state.last = Some((recorder::current_task(), here));
        let count = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
        recorder::record(Kind::Notified, object, state.notified, count, Some(here));
        let wakeups: Vec<_> = chosen
            .iter()
            .map(|token| rt::wake(token, object, Some(here)))
            .collect();
        drop(state);
        drop(wakeups);
    }

    /// Waits between giving the lock back and taking it again; says how the wait for a notification ended.
    fn block<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
        here: Here,
    ) -> (LockResult<MutexGuard<'a, T>>, Ended) {
        rt::point();
        let mut state = rt::lock(&self.state);
        let token = Token::new();
        state.waiting.push_back(token.clone());
        let line = state.waiting.len();
        let paused = MutexGuard::pause(guard);
        let wait = Wait::begin(Reason::Notify, self.object.id(), line, here).about(self);
        let ended = rt::block(&token, &wait, state, deadline);
        if ended != Ended::Woken {
            rt::lock(&self.state)
                .waiting
                .retain(|other| !other.is(&token));
        }
        if ended == Ended::Cut && rt::unwinding() {
            std::thread::sleep(LAST_WAIT);
            // Who would notify may be a green task behind this one.
            rt::yield_now();
        }
        wait.end();
        if ended == Ended::Cut {
            rt::unwind();
        }
        (paused.resume(here), ended)
    }
}

impl Default for Condvar {
    #[track_caller]
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

/// Whether a wait with a time limit ended because its time ran out; given by [`Condvar::wait_timeout`].
///
/// The contract of [`std::sync::WaitTimeoutResult`], which nobody but std can make.
#[derive(Debug, PartialEq, Eq, Copy, Clone)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Says whether the time ran out before a notification came.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (shelf, filled) = (Mutex::new(0), Condvar::new());
    /// let (_, result) = filled.wait_timeout(shelf.lock().unwrap(), ms(1)).unwrap();
    /// assert!(result.timed_out());
    /// ```
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.0
    }
}
