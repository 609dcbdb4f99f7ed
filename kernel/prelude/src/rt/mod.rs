//! What carries the tasks: the only thing that the primitives know about blocking, waking and starting.
//!
//! [`point`], [`block`], [`wake`], [`now`], [`spawn`]. A primitive queues a [`Token`] under its own lock and blocks on it; who lets it go on takes the token
//! out under that lock, claims it, and wakes it. No primitive knows what carries a task: a thread of the operating system, or another engine that answers
//! the same calls. Below: [`task`] knows each task and its wait ([`phases`]), [`ending`] when nothing of a thread runs any more, [`census`] whether anybody is
//! left awake, [`graph`] who waits for whom, [`report`] what is done about a deadlock.
//!
//! # Why the memory orderings are strong enough
//! - **A wait** is one word ([`phases`]). Who claims it does so by an exchange (AcqRel), who lets the task go on stores to it afterwards (Release or more),
//!   and who goes on has loaded that (Acquire): so it sees what it was given. `tests/models.rs` tries the steps on every interleaving.
//! - **The census** is SeqCst throughout: that a state which is the same at two moments was so in between, and that a thread taken out of the count is so
//!   before it can run, are statements about one order of several atomics and of what the system says.
//! - **Host or thread** ([`task`], `set_host`): who wakes stores the phase and then looks where the task is; who becomes a host stores that and then looks
//!   whether it was woken. Both with SeqCst between store and load, so one of the two sees the other.
//! - **`cut`, `unwinds`, `told_in_vain`, `panic_told`** are relaxed: the task itself sets all but `cut` and is the only one for whom they decide anything.
//!   `cut` is set before its wait is claimed, and so seen when that ends; seen later, it ends the task at its next call.
//! - **`waits`**: Release and Acquire; followed only when all threads are found asleep, or under the lock of the graph.
//! - **A seat on the roster** is relaxed: written under the lock of its part before the task is anybody else's, and read by who ends the task.
//! - **A record that is used again** is its new owner's alone: nobody else has a count of it ([`task`], `green_child`), and the numbers of its waits go on.
//! - **What is looked at without the locks of the green engine** (how many new tasks lie where, who sleeps, who looks for some, `has_mail`) is relaxed, and a
//!   hint. A worker that falls asleep says so and then looks into queue, lines and inbox under their locks; who puts something there does so under the same
//!   lock and then looks who sleeps: so one of the two sees the other.

mod census;
mod ending;
mod graph;
mod green;
mod interrupt;
mod overflow;
mod phases;
mod program;
mod report;
mod starts;
mod takeover;
mod task;

use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use threadbook_timeline::format::{Cause, Kind, Reason};

pub use census::foreign_threads;
use ending::Ending;
pub use interrupt::listen as listen_for_interrupts;
pub use program::Program;
pub use takeover::{Lost, go_on, is_lost, life, take_over, while_held};
pub use task::{Claimed, Ended, Task, Token, cell, current, end_cell, ended_cell};

use crate::recorder::{self, Here};
use crate::wait::Wait;

/// What [`phases`] gets its atomics from; its models give it others.
mod atomics {
    pub use std::sync::atomic::{AtomicU64, Ordering};
}

/// How often a waiting thread looks again before it parks, where another core can wake it meanwhile.
/// A ping-pong between two threads took 4 to 30 us a round with 100 looks, 0.5 to 2.3 us with 400, and no less with 1,500.
const LOOKS: u32 = 400;

/// A claimed task that may go on when this is dropped: after the object's lock, so that it does not run straight into it.
#[must_use = "the task is woken when this is dropped"]
pub struct Wakeup(Option<Claimed>);

impl Drop for Wakeup {
    fn drop(&mut self) {
        if let Some(wait) = self.0.take() {
            wait.wake();
        }
    }
}

/// Marks a place where another task could come first, before a call that may wait. A task that was told to end unwinds here. Not for destructors.
#[inline(always)]
pub fn point() {
    if task::with_current(Task::is_cut) {
        settle();
        if task::with_current(Task::is_cut) {
            unwind();
        }
    }
}

/// A [`point`] that is not inlined: for generic functions, which are compiled into a cell, where all that is inlined is slow.
#[inline(never)]
pub fn point_of_a_cell() {
    point();
}

/// Gives the id of the calling task in the trace.
#[inline(always)]
pub fn me() -> u32 {
    task::with_current(Task::id)
}

/// [`me`], where nothing panics and a [`point`] would do nothing; else 0.
#[inline(always)]
pub fn me_if_calm() -> u32 {
    if thread::panicking() {
        return 0;
    }
    task::id_unless_cut()
}

/// Sees whether the learner caught what unwound the calling task.
#[cold]
fn settle() {
    task::with_current(|task| {
        if !task.can_be_ended() && !unwinding() {
            task.is_caught();
        }
    });
}

/// What a task unwinds with that was told to end.
pub struct FromOutside;

/// Unwinds the calling task, which was told to end. Returns when it unwinds already: then the call gives what it can, an error or nothing.
#[cold]
pub fn unwind() {
    if unwinding() || task::with_current(Task::must_not_unwind) {
        task::with_current(Task::is_told_in_vain);
        return;
    }
    let cause = task::with_current(Task::begin_to_unwind);
    recorder::record(Kind::Cut, 0, 0, cause.into(), None);
    // Without the panic hook: it is no panic of the learner's, and was told in other words.
    resume_unwind(Box::new(FromOutside));
}

/// Begins a cell: the calling thread is its main task, and there are as many workers as cores.
pub fn begin_cell() {
    green::reset_workers();
    task::begin_cell();
    overflow::watch();
    // For as long as the thread lives: that of the cells never ends.
    static FOR_CELLS: OnceLock<()> = OnceLock::new();
    FOR_CELLS.get_or_init(|| std::mem::forget(overflow::Alternate::new()));
}

/// Ends the calling task because of others that were: unwinds it, unless it unwinds already.
#[cold]
pub fn end_as_well() {
    task::with_current(|task| task.mark_cut(Cause::Deadlock));
    unwind();
}

/// Gives the time by which waits end.
pub fn now() -> Instant {
    Instant::now()
}

/// Blocks the calling task until its token is woken, until `deadline`, or until it is told to end.
///
/// `guard` is the lock under which the token was queued; it is dropped as soon as a waker could not be missed. `wait` is what is shown and reported of it.
/// A task that unwinds because it was told to end waits only for what it cannot go on without: locks, a value that a call gives a reference to, and the
/// tasks of a scope.
pub fn block<G>(token: &Token, wait: &Wait<'_>, guard: G, deadline: Option<Instant>) -> Ended {
    let task = &**token.task();
    let must_wait = matches!(
        wait.reason(),
        Reason::Lock | Reason::Read | Reason::Write | Reason::Once | Reason::Scope
    );
    if !task.can_be_ended() {
        settle();
    }
    if task.unwinds() && !must_wait && token.give_up() {
        drop(guard);
        return Ended::Cut;
    }
    task.set_wait(Some(wait));
    let is_green = task.is_green();
    let host = if is_green { None } else { green::host() };
    if let Some(place) = host {
        task.set_host(place);
    } else if !is_green && deadline.is_none() {
        // A worker, or a host, is counted when none of its tasks can run.
        token.count();
    }
    drop(guard);
    let only_some_can_wake = must_wait || wait.reason() == Reason::Join;
    if only_some_can_wake {
        graph::enter(token, wait);
    }
    let ended = if is_green {
        green::park(token, deadline)
    } else if host.is_some() {
        let ended = green::wait_as_host(token, deadline);
        task.set_host(green::NONE);
        ended
    } else {
        if deadline.is_none() {
            census::look();
        }
        park(token, deadline)
    };
    if only_some_can_wake {
        graph::leave(task);
    }
    task.set_wait(None);
    ended
}

/// Waits on a thread of its own: looks for a while, then sleeps.
fn park(token: &Token, deadline: Option<Instant>) -> Ended {
    if many_cores() {
        for _ in 0..LOOKS {
            if let Some(ended) = token.ended() {
                return ended;
            }
            std::hint::spin_loop();
        }
    }
    let mut claimed = false;
    loop {
        if let Some(ended) = token.ended() {
            return ended;
        }
        let Some(deadline) = deadline.filter(|_| !claimed) else {
            thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(now());
        if !left.is_zero() {
            thread::park_timeout(left);
        } else if token.give_up() {
            return Ended::TimedOut;
        } else {
            // Claimed at the last moment: what is given must be taken. Who claimed it may be making it just now, which can take long, or never end.
            claimed = true;
            token.count();
            census::look();
        }
    }
}

/// Lets a task go on whose token the caller claimed, by what it did to `object`. Called under the object's lock; takes effect when the result is dropped.
pub fn wake(token: &Token, object: u32, here: Option<Here>) -> Wakeup {
    if recorder::recording() != 0 {
        recorder::record(Kind::Wake, object, 0, token.task().id(), here);
    }
    Wakeup(Some(token.claimed()))
}

/// What a task does.
pub trait Body: Send + Sync {
    /// Does it; called once.
    fn run(self: Arc<Self>);
}

/// What carries a started task.
pub enum Carrier {
    /// A thread of its own.
    Thread(OwnThread),
    /// A worker, with others.
    Green,
}

impl Carrier {
    /// Waits until nothing of the task runs any more, its thread-locals' destructors included.
    pub fn join(self, here: Here) {
        if let Carrier::Thread(thread) = self {
            thread.join(here);
        }
    }

    /// The thread, of a task that has one.
    pub fn thread(&self) -> Option<&Thread> {
        match self {
            Carrier::Thread(thread) => Some(thread.handle.thread()),
            Carrier::Green => None,
        }
    }
}

/// A task's own thread. One that ran in a process that this one took over from is never touched: the system's library has forgotten it.
pub struct OwnThread {
    handle: ManuallyDrop<thread::JoinHandle<()>>,
    ending: Arc<Ending>,
    life: u32,
}

impl OwnThread {
    fn new(handle: thread::JoinHandle<()>, ending: Arc<Ending>) -> OwnThread {
        OwnThread {
            handle: ManuallyDrop::new(handle),
            ending,
            life: life(),
        }
    }

    /// Whether it is one of this process.
    fn is_here(&self) -> bool {
        self.life == life()
    }

    fn join(mut self, here: Here) {
        // Where it is not, nobody will ever tell of its end.
        if self.is_here() && self.ending.clone().wait(here) {
            // A few microseconds in which no code of the learner's runs. The body catches its own panics; one out of a destructor aborts.
            let _ = self.take().map(thread::JoinHandle::join);
        }
    }

    /// Takes the handle out, once, if the thread is one of this process.
    fn take(&mut self) -> Option<thread::JoinHandle<()>> {
        let is_here = std::mem::replace(&mut self.life, u32::MAX) == life();
        // SAFETY: no process lives so often, so the next call does not come here, nor does anything else take it.
        is_here.then(|| unsafe { ManuallyDrop::take(&mut self.handle) })
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Starts a task on a thread of its own, known to the trace as `id`, that runs `body`.
///
/// # Errors
/// When the system gives no further thread.
pub fn spawn(id: u32, name: Option<&str>, body: Arc<dyn Body>) -> io::Result<Carrier> {
    let mut builder = thread::Builder::new();
    if let Some(name) = name {
        // The system's names end at a zero byte, and std refuses them with a panic.
        builder = builder.name(name.replace('\0', " "));
    }
    let child = task::enrolled(Task::child(id, name));
    census::thread_begins();
    let theirs = child.clone();
    let ending = Ending::of(id);
    let its_end = ending.clone();
    let starts = starts::Inside::enter();
    let started = builder.spawn(move || {
        drop(starts);
        its_end.begin();
        let _alternate = overflow::Alternate::new();
        recorder::become_task(id, theirs.name());
        task::begin(&theirs);
        // Also when something unwinds out of the body, which would otherwise count as a thread that is there.
        let _over = Over;
        body.run();
    });
    if started.is_err() {
        census::thread_ends();
        drop(task::strike(&child));
    }
    started.map(|handle| Carrier::Thread(OwnThread::new(handle, ending)))
}

/// The task of a thread has ended, when this is dropped.
struct Over;

impl Drop for Over {
    fn drop(&mut self) {
        task::leave();
        recorder::leave();
        ending::task_is_over();
        census::thread_ends();
        starts::end();
    }
}

/// Starts a green task, known to the trace as `id`, that runs `body`.
///
/// # Errors
/// When there is no worker yet, and the system gives no thread for one.
pub fn go(id: u32, name: Option<&str>, body: Arc<dyn Body>) -> io::Result<Carrier> {
    green::start(Task::green_child(id, name, body))?;
    Ok(Carrier::Green)
}

/// Lets others go first.
#[inline(always)]
pub fn yield_now() {
    let was_green = task::with_current(|task| {
        if task.is_green() {
            green::yield_now(task);
        }
        task.is_green()
    });
    if was_green {
        return;
    }
    if green::host().is_some() {
        green::yield_as_host();
    } else {
        thread::yield_now();
    }
}

/// Sets how many workers run green tasks, and gives how many it were. 1: the calling thread runs them itself while it waits. 0: as it is.
///
/// A green task changes nothing by it: it has no thread to give, and cannot know who waits for it.
pub fn set_workers(count: usize) -> usize {
    let is_green = task::with_current(Task::is_green);
    green::set_workers(if is_green { 0 } else { count })
}

/// For as long as this is there the calling thread is the one worker, unless it is a green task's or another thread is that already.
pub struct Alone(Option<usize>);

impl Alone {
    /// Makes the calling thread the one worker.
    pub fn begin() -> Alone {
        if task::with_current(Task::is_green) {
            return Alone(None);
        }
        Alone(green::become_only())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            green::restore(before);
        }
    }
}

/// Says whether the calling task unwinds, from a panic or because it was told to end. Kept here since tasks that share a thread must not share this.
///
/// Exact, but for one case: while another task of the same worker is suspended in the middle of its unwinding, one that panics and catches that counts as
/// unwinding until it next gives the worker up with none in the middle. std has no count of panics by which to tell.
pub fn unwinding() -> bool {
    thread::panicking()
        && (!green::others_unwind()
            || task::with_current(|task| task.unwinds() || task.panic_is_told()))
}

/// Says whether the calling task unwinds because it was told to end: no fault of its own, so nothing that it held is spoilt.
pub fn cut() -> bool {
    task::with_current(Task::unwinds)
}

/// Says whether somebody else can run while the calling thread spins. On one core spinning only keeps the waker from its work.
pub fn many_cores() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get) > 1)
}

/// How long a thread pauses before each look at a lock that another has, before it waits in earnest: about 1 us together, as long as a short critical section,
/// and growing, since each look takes the line of memory from who has the lock. None where only one thread can run.
pub fn pauses() -> impl Iterator<Item = u32> {
    let looks: &[u32] = if many_cores() {
        &[2, 6, 12, 30, 30]
    } else {
        &[]
    };
    looks.iter().copied()
}

/// Lets so many of the processor's pauses pass.
pub fn pause(times: u32) {
    for _ in 0..times {
        std::hint::spin_loop();
    }
}

/// Locks a part of a primitive. No code of the learner's runs under these locks, so none is ever poisoned for a reason.
#[inline]
pub fn lock<T: ?Sized>(part: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    lock_unless_lost(part).unwrap_or_else(|| {
        panic!("a task that was lost with an earlier process was using this: make it anew, by running its cell again")
    })
}

/// [`lock`] for a destructor, which must not panic: `None` when a task that was lost with an earlier process has it locked for ever.
#[inline]
pub fn lock_unless_lost<T: ?Sized>(part: &std::sync::Mutex<T>) -> Option<MutexGuard<'_, T>> {
    try_to_lock(part).or_else(|| wait_to_lock(part))
}

/// Locks a part that nobody has.
#[inline]
fn try_to_lock<T: ?Sized>(part: &std::sync::Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match part.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// How long a part of a primitive may be locked by somebody who is there: some hundred times as long as a thread that lost its core waits for it.
const LONGEST_HELD: Duration = Duration::from_secs(2);

/// Waits for a part that somebody has. `None` in a copy of a process where nobody there can have it.
#[cold]
fn wait_to_lock<T: ?Sized>(part: &std::sync::Mutex<T>) -> Option<MutexGuard<'_, T>> {
    /// The part that was found to be lost last: who drops many ends of a channel waits once.
    static LOST: AtomicUsize = AtomicUsize::new(0);
    for pauses in pauses() {
        pause(pauses);
        if let Some(guard) = try_to_lock(part) {
            return Some(guard);
        }
    }
    if life() == 0 {
        return Some(part.lock().unwrap_or_else(PoisonError::into_inner));
    }
    // A thread that is not in this copy may have been in the middle of a call, and then nobody will ever unlock this.
    let address = std::ptr::from_ref(part).addr();
    let patience = if LOST.load(Ordering::Relaxed) == address {
        Duration::ZERO
    } else {
        LONGEST_HELD
    };
    let until = now() + patience;
    loop {
        if let Some(guard) = try_to_lock(part) {
            return Some(guard);
        }
        if now() >= until {
            LOST.store(address, Ordering::Relaxed);
            return None;
        }
        thread::sleep(Duration::from_micros(50));
    }
}
