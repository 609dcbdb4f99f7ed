//! `RwLock`, as std has it, poisoning included: many may read at once, or one may write.
//!
//! Who comes has to queue as soon as anybody does, and the lock is handed on in the order of arrival: one that wants to write is not starved by readers
//! that keep coming, nor a reader by writers. std promises no order; this is one of those that it allows. One std lock guards the whole state, since
//! readers that come at once would meet at one number anyway.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LockResult, MutexGuard, PoisonError, TryLockError, TryLockResult};

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token, Wakeup};
use crate::wait::{Holder, Subject, Wait, Words};

/// A lock around a value that many threads may read at once, or one may write.
///
/// The contract of [`std::sync::RwLock`], poisoning included; `new` is no `const fn`, since it records where it was called. Threads get the lock in the
/// order in which they asked for it: a reader that comes while another thread waits to write comes after that one. So a thread that reads already and
/// asks to read again may wait for ever, as std warns too. Taking a free lock and giving it back costs about 25 ns, and 30 ns more while recording.
///
/// ```
/// # use threadbook_prelude::*;
/// let menu = RwLock::new(vec!["rye"]).named("menu");
/// scope(|s| {
///     for name in ["ada", "grace"] {
///         s.spawn_named(name, || assert_eq!(menu.read().unwrap()[0], "rye")); // at the same time
///     }
///     s.spawn_named("linus", || menu.write().unwrap().push("spelt")); // alone
/// });
/// assert_eq!(menu.into_inner().unwrap().len(), 2);
/// ```
pub struct RwLock<T: ?Sized> {
    door: Door,
    value: UnsafeCell<T>,
}

/// Who may use the value, whatever that is.
struct Door {
    object: Object,
    poisoned: AtomicBool,
    state: std::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often the lock was taken, to read or to write.
    turns: u32,
    /// Who has it: nobody, any number that read, or one that writes.
    inside: Vec<Turn>,
    writing: bool,
    /// Who waits. While anybody does, the lock is taken.
    queue: VecDeque<Arc<Waiter>>,
}

/// One that has the lock.
struct Turn {
    number: u32,
    task: u32,
    since: Here,
}

/// The number of a turn that is not recorded.
const UNSEEN: u32 = 0;

/// One that stands in the queue.
struct Waiter {
    token: Token,
    writes: bool,
    here: Here,
    /// The number of its turn, once the lock is its own.
    turn: AtomicU32,
}

// SAFETY: sending the lock sends the value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}
// SAFETY: one at a time gets the value for itself, which is sending it to and fro, or many get it to read, which is sharing it.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// As std: a panic of one that writes poisons the lock, which tells the next.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    /// Makes a lock around `value`, free and not poisoned.
    #[track_caller]
    pub fn new(value: T) -> RwLock<T> {
        let door = Door {
            object: Object::new(ObjectKind::RwLock, 0, Location::caller()),
            poisoned: AtomicBool::new(false),
            state: std::sync::Mutex::default(),
        };
        RwLock {
            door,
            value: UnsafeCell::new(value),
        }
    }

    /// Gives the lock a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new("rye").named("menu");
    /// # drop(menu);
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> RwLock<T> {
        self.door.object.named(name.as_ref());
        self
    }

    /// Takes the lock apart and gives the value. Does not block: nobody else can have it.
    ///
    /// # Errors
    /// When the lock is poisoned; the value is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// assert_eq!(RwLock::new("rye").into_inner().unwrap(), "rye");
    /// ```
    pub fn into_inner(self) -> LockResult<T> {
        let poisoned = self.is_poisoned();
        checked(poisoned, self.value.into_inner())
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Takes the lock to read; it is given back when the guard is dropped.
    ///
    /// Blocks the calling thread while another one writes or waits to, drawn on its lane from the call to the moment it has the lock. Others may read
    /// meanwhile. A thread that writes already waits for itself: that is reported as a deadlock, and unwinds it.
    ///
    /// # Errors
    /// When the lock is poisoned: a thread panicked while it wrote. The guard is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new(5);
    /// let (one, other) = (menu.read().unwrap(), menu.read().unwrap());
    /// assert_eq!(*one + *other, 10);
    /// ```
    #[track_caller]
    pub fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let here = Location::caller();
        rt::point();
        let turn = self.door.enter(false, here);
        self.read_guard(turn, here)
    }

    /// Takes the lock to read, if nobody writes or waits. Does not block.
    ///
    /// # Errors
    /// `WouldBlock` when another thread writes, or waits to; `Poisoned` as for [`read`](Self::read).
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new(5);
    /// let changing = menu.write().unwrap();
    /// assert!(menu.try_read().is_err());
    /// # drop(changing);
    /// ```
    #[track_caller]
    pub fn try_read(&self) -> TryLockResult<RwLockReadGuard<'_, T>> {
        let here = Location::caller();
        rt::point();
        let turn = self.door.try_enter(false, here);
        let turn = turn.ok_or(TryLockError::WouldBlock)?;
        Ok(self.read_guard(turn, here)?)
    }

    /// Takes the lock to write; it is given back when the guard is dropped.
    ///
    /// Blocks the calling thread until all that have the lock or asked for it before gave it back, drawn on its lane from the call to the moment it has
    /// the lock. A thread that reads or writes already waits for itself: that is reported as a deadlock, and unwinds it.
    ///
    /// # Errors
    /// When the lock is poisoned: a thread panicked while it wrote. The guard is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new(5);
    /// *menu.write().unwrap() += 1;
    /// assert_eq!(*menu.read().unwrap(), 6);
    /// ```
    #[track_caller]
    pub fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let here = Location::caller();
        rt::point();
        let turn = self.door.enter(true, here);
        self.write_guard(turn, here)
    }

    /// Takes the lock to write, if it is free. Does not block.
    ///
    /// # Errors
    /// `WouldBlock` when another thread reads or writes; `Poisoned` as for [`write`](Self::write).
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new(5);
    /// let looking = menu.read().unwrap();
    /// assert!(menu.try_write().is_err());
    /// # drop(looking);
    /// ```
    #[track_caller]
    pub fn try_write(&self) -> TryLockResult<RwLockWriteGuard<'_, T>> {
        let here = Location::caller();
        rt::point();
        let turn = self.door.try_enter(true, here);
        let turn = turn.ok_or(TryLockError::WouldBlock)?;
        Ok(self.write_guard(turn, here)?)
    }

    /// Says whether a thread panicked while it wrote. Does not block.
    pub fn is_poisoned(&self) -> bool {
        self.door.poisoned.load(Ordering::Relaxed)
    }

    /// Makes the lock as if nobody had panicked. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = Arc::new(RwLock::new(5));
    /// let theirs = menu.clone();
    /// let baker = spawn(move || {
    ///     let _changing = theirs.write().unwrap();
    ///     std::panic::resume_unwind(Box::new("burnt"));
    /// });
    /// assert!(baker.join().is_err() && menu.is_poisoned());
    /// menu.clear_poison();
    /// assert_eq!(*menu.read().unwrap(), 5);
    /// ```
    pub fn clear_poison(&self) {
        self.door.poisoned.store(false, Ordering::Relaxed);
    }

    /// Gives the value to the one who owns the lock. Does not block: nobody else can have it.
    ///
    /// # Errors
    /// When the lock is poisoned; the value is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let mut menu = RwLock::new(5);
    /// *menu.get_mut().unwrap() += 1;
    /// assert_eq!(menu.into_inner().unwrap(), 6);
    /// ```
    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        let poisoned = self.is_poisoned();
        checked(poisoned, self.value.get_mut())
    }

    /// Makes the guard of the caller, who has the lock to read.
    fn read_guard(&self, turn: u32, here: Here) -> LockResult<RwLockReadGuard<'_, T>> {
        recorder::record(Kind::Acquired, self.door.object.id(), turn, 1, Some(here));
        // SAFETY: an `UnsafeCell` gives no null.
        let value = unsafe { NonNull::new_unchecked(self.value.get()) };
        let guard = RwLockReadGuard {
            value,
            door: &self.door,
            turn,
        };
        checked(self.is_poisoned(), guard)
    }

    /// Makes the guard of the caller, who has the lock to write.
    fn write_guard(&self, turn: u32, here: Here) -> LockResult<RwLockWriteGuard<'_, T>> {
        recorder::record(Kind::Acquired, self.door.object.id(), turn, 0, Some(here));
        let guard = RwLockWriteGuard {
            lock: self,
            turn,
            unwound: rt::unwinding(),
            not_send: PhantomData,
        };
        checked(self.is_poisoned(), guard)
    }
}

impl Door {
    fn state(&self) -> MutexGuard<'_, State> {
        rt::lock(&self.state)
    }

    /// Takes the lock for the caller, or waits for it; gives the number of its turn.
    fn enter(&self, writes: bool, here: Here) -> u32 {
        loop {
            let mut state = self.state();
            if state.admits(writes) {
                return state.admit(writes, recorder::current_task(), here);
            }
            if let Some(turn) = self.queue_up(state, writes, here) {
                return turn;
            }
            // It unwinds already, and a destructor that asks for a lock gets it or waits.
        }
    }

    fn try_enter(&self, writes: bool, here: Here) -> Option<u32> {
        let mut state = self.state();
        state
            .admits(writes)
            .then(|| state.admit(writes, recorder::current_task(), here))
    }

    /// Waits in the queue for a turn; none for one that is to end and unwinds already.
    #[cold]
    fn queue_up(&self, mut state: MutexGuard<'_, State>, writes: bool, here: Here) -> Option<u32> {
        let waiter = Arc::new(Waiter {
            token: Token::new(),
            writes,
            here,
            turn: AtomicU32::new(0),
        });
        state.queue.push_back(waiter.clone());
        let reason = if writes { Reason::Write } else { Reason::Read };
        let watched = Watched(self, &waiter);
        let wait = Wait::begin(reason, self.object.id(), state.queue.len(), here).about(&watched);
        let ended = rt::block(&waiter.token, &wait, state, None);
        if ended == Ended::Cut {
            self.step_out(&waiter);
        }
        wait.end();
        if ended == Ended::Cut {
            rt::unwind();
            return None;
        }
        Some(waiter.turn.load(Ordering::Relaxed))
    }

    /// Takes one out of the queue that is to end, and lets those in who had to wait for it alone.
    fn step_out(&self, waiter: &Arc<Waiter>) {
        let mut state = self.state();
        state.queue.retain(|other| !Arc::ptr_eq(other, waiter));
        self.hand_on(state);
    }

    /// Takes the lock from one that has it.
    fn leave(&self, turn: u32, shared: bool) {
        let object = self.object.id();
        recorder::record(Kind::Released, object, turn, shared.into(), None);
        let Some(mut state) = rt::lock_unless_lost(&self.state) else {
            return;
        };
        state.leave(|inside| inside.number == turn);
        self.hand_on(state);
    }

    /// Lets the caller in to read without a turn, so that the numbers in a trace have no gaps; false when it would have to wait.
    fn peep_in(&self, here: Here) -> bool {
        let mut state = self.state();
        let may = state.admits(false);
        if may {
            state.seat(UNSEEN, recorder::current_task(), here);
        }
        may
    }

    fn peep_out(&self) {
        let me = recorder::current_task();
        let Some(mut state) = rt::lock_unless_lost(&self.state) else {
            return;
        };
        state.leave(|inside| inside.number == UNSEEN && inside.task == me);
        self.hand_on(state);
    }

    /// Gives the lock to those who may have it now, and lets them go on.
    fn hand_on(&self, mut state: MutexGuard<'_, State>) {
        let wakeups = state.hand_on(self.object.id());
        drop(state);
        drop(wakeups);
    }

    /// Makes the one that writes one that reads, with a turn of its own.
    fn downgrade(&self, turn: u32, here: Here) -> u32 {
        let object = self.object.id();
        recorder::record(Kind::Released, object, turn, 0, None);
        let mut state = self.state();
        state.inside.clear();
        let turn = state.admit(false, recorder::current_task(), here);
        self.hand_on(state);
        turn
    }
}

impl State {
    /// Whether one that comes now may have the lock at once.
    fn admits(&self, writes: bool) -> bool {
        self.queue.is_empty() && self.has_room(writes)
    }

    fn has_room(&self, writes: bool) -> bool {
        self.inside.is_empty() || !writes && !self.writing
    }

    /// Gives the lock to a task, and gives the number of that turn.
    fn admit(&mut self, writes: bool, task: u32, since: Here) -> u32 {
        // Past `UNSEEN` when it wraps.
        self.turns = self.turns.checked_add(1).unwrap_or(UNSEEN + 1);
        self.writing = writes;
        self.seat(self.turns, task, since);
        self.turns
    }

    fn seat(&mut self, number: u32, task: u32, since: Here) {
        self.inside.push(Turn {
            number,
            task,
            since,
        });
    }

    fn leave(&mut self, is_it: impl Fn(&Turn) -> bool) {
        if let Some(at) = self.inside.iter().position(is_it) {
            self.inside.swap_remove(at);
        }
        self.writing = false;
    }

    /// Gives the lock to those who stand first in the queue, as far as it has room for them.
    fn hand_on(&mut self, object: u32) -> Vec<Wakeup> {
        let mut wakeups = Vec::new();
        while let Some(first) = self.queue.front()
            && self.has_room(first.writes)
        {
            let first = self.queue.pop_front().expect("looked at above");
            // One that cannot be claimed is told to end, and not in need of the lock.
            if first.token.claim() {
                let task = first.token.task().id();
                let turn = self.admit(first.writes, task, first.here);
                first.turn.store(turn, Ordering::Relaxed);
                wakeups.push(rt::wake(&first.token, object, None));
            }
        }
        wakeups
    }
}

/// A lock as a report sees it from one place in its queue.
struct Watched<'a>(&'a Door, &'a Arc<Waiter>);

impl Watched<'_> {
    /// Looks at who has the lock and who stands before this one in the queue; not at all when it has been let in.
    fn look<R>(&self, look: impl FnOnce(&[Turn], &[&Waiter]) -> R) -> Option<R> {
        let state = self.0.state();
        let place = state
            .queue
            .iter()
            .position(|other| Arc::ptr_eq(other, self.1))?;
        let before: Vec<&Waiter> = state.queue.iter().take(place).map(|one| &**one).collect();
        Some(look(&state.inside, &before))
    }
}

impl Subject for Watched<'_> {
    fn object(&self) -> Option<&Object> {
        Some(&self.0.object)
    }

    /// All that are inside, since one that waits to read waits for a writer: inside, or before it in the queue, and then that one waits for them. Of those
    /// before it in the queue one that reads needs only those gone that write, since others would be let in together with it.
    fn holders(&self, reason: Reason) -> Vec<Holder> {
        let reads = reason == Reason::Read;
        let writing = self.0.state().writing;
        let before = |inside: &[Turn], before: &[&Waiter]| {
            // One that was told to end, and has not stepped out of the queue yet, holds nobody up any more.
            let stands = |waiter: &&&Waiter| waiter.token.is_waiting() && (!reads || waiter.writes);
            let before: Vec<_> = before.iter().filter(stands).collect();
            if reads && !writing && before.is_empty() {
                return Vec::new();
            }
            let before = before.into_iter();
            let waiting = before.map(|waiter| Holder {
                task: waiter.token.task().id(),
                since: None,
            });
            inside.iter().map(Holder::from).chain(waiting).collect()
        };
        self.look(before).unwrap_or_default()
    }

    fn owners(&self, _reason: Reason) -> Vec<Holder> {
        self.look(|inside, _| inside.iter().map(Holder::from).collect())
            .unwrap_or_default()
    }

    fn advice(&self, _reason: Reason, waiting: u32) -> Vec<Words> {
        let tell = |inside: &[Turn], before: &[&Waiter]| {
            let mut words = Vec::new();
            if let Some(writer) = before.iter().find(|waiter| waiter.writes) {
                words.extend([
                    "; ".into(),
                    Words::Task(writer.token.task().id()),
                    " waits to write since ".into(),
                    Words::At(writer.here),
                    ", and who asked before comes before".into(),
                ]);
            }
            if inside.iter().any(|turn| turn.task == waiting) {
                words.push(": let go of the guard that you have before you ask for another".into());
            }
            words
        };
        self.look(tell).unwrap_or_default()
    }
}

impl From<&Turn> for Holder {
    fn from(turn: &Turn) -> Holder {
        Holder {
            task: turn.task,
            since: Some(turn.since),
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

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    #[track_caller]
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    /// Shows the value, or `<locked>`, as std does. Looks without a trace: showing a lock is no turn of the program.
    #[track_caller]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        if self.door.peep_in(Location::caller()) {
            let _look = Look(&self.door);
            // SAFETY: the lock was just taken to read, and is given back after `value` is shown.
            let value = unsafe { &*self.value.get() };
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
struct Look<'a>(&'a Door);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.peep_out();
    }
}

/// The right to read what a [`RwLock`] holds, until this is dropped. Others may have it at the same time.
///
/// The contract of [`std::sync::RwLockReadGuard`]; it stays in its thread.
#[must_use = "the lock is given back as soon as the guard is dropped"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    /// A pointer and no reference, since it must not promise anything any more while `drop` gives the lock back; it keeps the guard in its thread too.
    value: NonNull<T>,
    door: &'a Door,
    turn: u32,
}

// SAFETY: a shared guard gives no more than a shared value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard to read has the lock, and nobody writes meanwhile.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    fn drop(&mut self) {
        self.door.leave(self.turn, true);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to use what a [`RwLock`] holds, alone, until this is dropped.
///
/// The contract of [`std::sync::RwLockWriteGuard`]; it stays in its thread.
#[must_use = "the lock is given back as soon as the guard is dropped"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    turn: u32,
    /// Whether the thread unwound already when it took the lock: then its panic did not happen here.
    unwound: bool,
    /// As for a [`MutexGuard`](crate::MutexGuard).
    not_send: PhantomData<std::sync::RwLockWriteGuard<'static, ()>>,
}

// SAFETY: a shared guard gives no more than a shared value.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Makes a guard that writes one that reads, without giving the lock to anybody in between. Does not block.
    ///
    /// Others that wait to read are let in as far as nobody that waits to write stands before them. The contract of
    /// [`std::sync::RwLockWriteGuard::downgrade`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let menu = RwLock::new(5);
    /// let mut changing = menu.write().unwrap();
    /// *changing += 1;
    /// let looking = RwLockWriteGuard::downgrade(changing);
    /// assert_eq!(*looking, *menu.read().unwrap()); // others may read too
    /// assert!(menu.try_write().is_err());
    /// # drop(looking);
    /// ```
    #[track_caller]
    pub fn downgrade(s: Self) -> RwLockReadGuard<'a, T> {
        let here = Location::caller();
        let (lock, turn) = (s.lock, s.turn);
        // Its destructor would give the lock back.
        std::mem::forget(s);
        let turn = lock.door.downgrade(turn, here);
        lock.read_guard(turn, here)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: whoever has a guard to write has the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: whoever has a guard to write has the lock, alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    fn drop(&mut self) {
        if !self.unwound && rt::unwinding() && !rt::cut() {
            self.lock.door.poisoned.store(true, Ordering::Relaxed);
        }
        self.lock.door.leave(self.turn, false);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
