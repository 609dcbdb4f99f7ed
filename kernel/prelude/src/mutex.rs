//! `Mutex`, as std has it, poisoning included; it records who had it when, and who waited for whom. The lock itself is `raw_mutex`; here is the value.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult};

use crate::raw_mutex::RawMutex;
use crate::recorder::Here;

/// A lock around a value: one thread at a time has it.
///
/// The contract of [`std::sync::Mutex`], poisoning included; `new` is no `const fn`, since it records where it was called. Taking a free lock and giving
/// it back costs about 7 ns, and 26 ns more while recording.
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
    raw: RawMutex,
    value: UnsafeCell<T>,
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
            raw: RawMutex::new(Location::caller()),
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
        self.raw.object().named(name.as_ref());
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
        let taken = self.raw.lock(Location::caller());
        checked(taken.poisoned, self.guard(taken.unwound))
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
        let Some(taken) = self.raw.try_lock(Location::caller()) else {
            return Err(TryLockError::WouldBlock);
        };
        checked(taken.poisoned, self.guard(taken.unwound)).map_err(TryLockError::Poisoned)
    }

    /// Says whether a thread panicked while it had the lock. Does not block.
    pub fn is_poisoned(&self) -> bool {
        self.raw.is_poisoned()
    }

    /// Makes the lock as if nobody had panicked. Does not block.
    pub fn clear_poison(&self) {
        self.raw.clear_poison();
    }

    /// Gives the value to the one who owns the lock. Does not block: nobody else can have it.
    ///
    /// # Errors
    /// When the lock is poisoned; the value is in the error.
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.is_poisoned();
        checked(poisoned, self.value.get_mut())
    }

    /// The guard of one who has the lock.
    fn guard(&self, unwound: bool) -> MutexGuard<'_, T> {
        MutexGuard {
            mutex: self,
            unwound,
            not_send: PhantomData,
        }
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
        if self.raw.try_take() {
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
        self.0.raw.give_back();
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
    /// As std's: an error of the compiler's names that then, and no pointer.
    not_send: PhantomData<std::sync::MutexGuard<'static, ()>>,
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
        mutex.raw.unlock_for_a_while();
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
        self.mutex.raw.lock_again(here);
        let guard = self.mutex.guard(self.unwound);
        checked(self.mutex.is_poisoned(), guard)
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.mutex.raw.unlock(self.unwound);
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
