//! `Mutex`, as std has it, poisoning included; it records who had it when, and who waited for whom.
//!
//! A lock is free to whoever comes first, as std's is: a woken thread may find it taken again. One that has waited for a millisecond is handed the lock,
//! so that none waits for ever. Waiting threads are woken in the order in which they came.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult};
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

/// A lock around a value: one thread at a time has it.
///
/// The contract of [`std::sync::Mutex`], poisoning included; `new` is no `const fn`, since it records where it was called. Taking a free lock and giving
/// it back costs about 10 ns, and 20 ns more while recording.
///
/// ```
/// # use threadbook_prelude::*;
/// let till = Arc::new(Mutex::new(0).named("till"));
/// let bakers: Vec<_> = (0..4)
///     .map(|_| {
///         let till = till.clone();
///         spawn(move || *till.lock().unwrap() += 3)
///     })
///     .collect();
/// for baker in bakers {
///     baker.join().unwrap();
/// }
/// assert_eq!(*till.lock().unwrap(), 12);
/// ```
pub struct Mutex<T: ?Sized> {
    object: Object,
    state: AtomicU32,
    /// How many wait, for the picture.
    waiting: AtomicU32,
    /// How often the lock was taken; written only by who has it.
    turns: AtomicU32,
    poisoned: AtomicBool,
    /// The task that has the lock, and the line where it took it: for reports. 0 while nobody has it.
    holder: AtomicU32,
    taken_at: AtomicPtr<Location<'static>>,
    queue: std::sync::Mutex<VecDeque<Arc<Waiter>>>,
    value: UnsafeCell<T>,
}

/// One that stands in the queue.
struct Waiter {
    token: Token,
    since: Instant,
    /// Whether the lock is its own already when it is woken.
    handed: AtomicBool,
}

// SAFETY: the lock lets one thread at a time at the value, so sharing the lock is sending the value to and fro.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// As std: a panic while the lock is held poisons it, which tells the next.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    /// Makes a lock around `value`, free and not poisoned.
    #[track_caller]
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            object: Object::new(ObjectKind::Mutex, 0, Location::caller()),
            state: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            poisoned: AtomicBool::new(false),
            holder: AtomicU32::new(0),
            taken_at: AtomicPtr::new(std::ptr::null_mut()),
            queue: std::sync::Mutex::default(),
            value: UnsafeCell::new(value),
        }
    }

    /// Gives the lock a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let till = Mutex::new(0).named("till");
    /// # drop(till);
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> Mutex<T> {
        self.object.named(name.as_ref());
        self
    }

    /// Takes the lock apart and gives the value. Does not block: nobody else can have it.
    ///
    /// # Errors
    /// When the lock is poisoned; the value is in the error.
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.is_poisoned();
        checked(poisoned, self.value.into_inner())
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Takes the lock; it is given back when the guard is dropped.
    ///
    /// Blocks the calling thread until the lock is free, drawn on its lane from the call to the moment it has it. A thread that has it already waits for
    /// itself: that is reported as a deadlock, and unwinds it.
    ///
    /// # Errors
    /// When the lock is poisoned: a thread panicked while it had it. The guard is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let till = Mutex::new(5);
    /// {
    ///     let mut money = till.lock().unwrap();
    ///     *money += 1;
    /// } // given back here
    /// assert_eq!(*till.lock().unwrap(), 6);
    /// ```
    #[track_caller]
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let here = Location::caller();
        rt::point();
        self.take(here);
        self.guard(here, rt::unwinding())
    }

    /// Takes the lock if it is free. Does not block.
    ///
    /// # Errors
    /// `WouldBlock` when it is taken; `Poisoned` as for [`lock`](Self::lock).
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let till = Mutex::new(5);
    /// let taken = till.lock().unwrap();
    /// assert!(till.try_lock().is_err());
    /// # drop(taken);
    /// ```
    #[track_caller]
    pub fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        rt::point();
        if self.try_take() {
            self.guard(Location::caller(), rt::unwinding())
                .map_err(TryLockError::Poisoned)
        } else {
            Err(TryLockError::WouldBlock)
        }
    }

    /// Says whether a thread panicked while it had the lock. Does not block.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Makes the lock as if nobody had panicked. Does not block.
    pub fn clear_poison(&self) {
        self.poisoned.store(false, Ordering::Relaxed);
    }

    /// Gives the value to the one who owns the lock. Does not block: nobody else can have it.
    ///
    /// # Errors
    /// When the lock is poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.is_poisoned();
        checked(poisoned, self.value.get_mut())
    }

    /// Takes the lock, or waits for it.
    #[inline]
    fn take(&self, here: Here) {
        if self
            .state
            .compare_exchange(0, LOCKED, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.lock_slowly(here);
        }
    }

    fn try_take(&self) -> bool {
        self.state.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// Takes the lock after finding it taken.
    #[cold]
    fn lock_slowly(&self, here: Here) {
        let line = self.waiting.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let subject = Watched(&self.object, &self.holder, &self.taken_at);
        let wait = Wait::begin(Reason::Lock, self.object.id(), line, here).about(&subject);
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

    /// Gives back the lock that the caller has.
    #[inline]
    fn unlock(&self) {
        recorder::record(
            Kind::Released,
            self.object.id(),
            self.turns.load(Ordering::Relaxed),
            0,
            None,
        );
        self.holder.store(0, Ordering::Relaxed);
        if self
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.unlock_slowly();
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

    /// Counts the turn of the caller, who has the lock, and makes its guard.
    fn guard(&self, here: Here, unwound: bool) -> LockResult<MutexGuard<'_, T>> {
        let turn = self.turns.load(Ordering::Relaxed).wrapping_add(1);
        self.turns.store(turn, Ordering::Relaxed);
        self.holder
            .store(recorder::current_task(), Ordering::Relaxed);
        self.taken_at
            .store(std::ptr::from_ref(here).cast_mut(), Ordering::Relaxed);
        recorder::record(Kind::Acquired, self.object.id(), turn, 0, Some(here));
        checked(
            self.is_poisoned(),
            MutexGuard {
                mutex: self,
                unwound,
                not_send: PhantomData,
            },
        )
    }
}

/// A lock as a report sees it, whatever it holds.
struct Watched<'a>(&'a Object, &'a AtomicU32, &'a AtomicPtr<Location<'static>>);

impl Subject for Watched<'_> {
    fn object(&self) -> Option<&Object> {
        Some(self.0)
    }

    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        let task = self.1.load(Ordering::Relaxed);
        // SAFETY: null, or a place that the compiler made, in a library that is never unloaded.
        let since = unsafe { self.2.load(Ordering::Relaxed).as_ref() };
        (task != 0)
            .then_some(Holder { task, since })
            .into_iter()
            .collect()
    }
}

fn checked<G>(poisoned: bool, given: G) -> LockResult<G> {
    if poisoned {
        Err(PoisonError::new(given))
    } else {
        Ok(given)
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    #[track_caller]
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    /// Shows the value, or `<locked>`, as std does. Looks without a trace: showing a lock is no turn of the program.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mutex");
        if self.try_take() {
            let look = Look(self);
            // SAFETY: the lock was just taken, and is given back after `value` is shown.
            let value = unsafe { &*look.0.value.get() };
            shown.field("data", &value);
        } else {
            shown.field("data", &format_args!("<locked>"));
        }
        shown
            .field("poisoned", &self.is_poisoned())
            .finish_non_exhaustive()
    }
}

/// A turn that is not recorded, given back also when the value's `Debug` panics.
struct Look<'a, T: ?Sized>(&'a Mutex<T>);

impl<T: ?Sized> Drop for Look<'_, T> {
    fn drop(&mut self) {
        if self
            .0
            .state
            .compare_exchange(LOCKED, 0, Ordering::Release, Ordering::Relaxed)
            .is_err()
        {
            self.0.unlock_slowly();
        }
    }
}

/// The right to use what a [`Mutex`] holds, until this is dropped.
///
/// The contract of [`std::sync::MutexGuard`]; it stays in its thread.
#[must_use = "the lock is given back as soon as the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// Whether the thread unwound already when it took the lock: then its panic did not happen here.
    unwound: bool,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives no more than a shared value.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard has the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: whoever has a guard has the lock, alone.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// Gives the lock back for as long as its holder waits for something else. No method, as it would hide one of the value's.
    pub(crate) fn pause(guard: MutexGuard<'a, T>) -> Paused<'a, T> {
        let (mutex, unwound) = (guard.mutex, guard.unwound);
        std::mem::forget(guard);
        mutex.unlock();
        Paused { mutex, unwound }
    }
}

/// A lock that a guard gave back for a while; made by [`MutexGuard::pause`]. Dropped, it is never taken again.
pub(crate) struct Paused<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    unwound: bool,
}

impl<'a, T: ?Sized> Paused<'a, T> {
    /// Takes the lock again, which may have to be waited for.
    pub(crate) fn resume(self, here: Here) -> LockResult<MutexGuard<'a, T>> {
        self.mutex.take(here);
        self.mutex.guard(here, self.unwound)
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if !self.unwound && rt::unwinding() && !rt::cut() {
            self.mutex.poisoned.store(true, Ordering::Relaxed);
        }
        self.mutex.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
