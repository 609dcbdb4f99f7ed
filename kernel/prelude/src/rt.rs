//! What carries the tasks: the only thing that the primitives know about blocking, waking and starting.
//!
//! Five things: [`point`], [`block`], [`wake`], [`now`], [`spawn`]. A primitive queues a [`Token`] under its own lock and blocks on it; who lets it go on
//! takes the token out under that lock, claims it, and wakes it. There is one engine today, threads of the operating system; another one answers the same
//! five calls, and no primitive changes.

use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use threadbook_timeline::format::Kind;

use crate::recorder::{self, Here};

/// How often a waiting thread looks again before it parks, where another core can wake it meanwhile.
/// A ping-pong between two threads took 4 to 30 us a round with 100 looks, 0.5 to 2.3 us with 400, and no less with 1,500.
const LOOKS: u32 = 400;

/// Nobody let the task go on yet.
const WAITING: u32 = 0;
/// Somebody is about to wake it and nobody else may.
const CLAIMED: u32 = 1;
/// It may go on.
const WOKEN: u32 = 2;
/// It waited long enough and nobody may wake it.
const GAVE_UP: u32 = 3;

/// One wait of one task, from its queueing to its waking. Clones are the same wait.
#[derive(Clone)]
pub struct Token(Arc<Inner>);

struct Inner {
    task: u32,
    thread: Thread,
    state: AtomicU32,
}

impl Token {
    /// Makes the token of a wait that the calling task is about to begin.
    pub fn new() -> Token {
        Token(Arc::new(Inner {
            task: recorder::current_task(),
            thread: thread::current(),
            state: AtomicU32::new(WAITING),
        }))
    }

    /// Wins the right and the duty to wake the task; false when its time ran out or another won.
    pub fn claim(&self) -> bool {
        self.0
            .state
            .compare_exchange(WAITING, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Says whether two tokens are the same wait.
    pub fn is(&self, other: &Token) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A claimed task that may go on when this is dropped: after the object's lock, so that it does not run straight into it.
#[must_use = "the task is woken when this is dropped"]
pub struct Wakeup(Token);

impl Drop for Wakeup {
    fn drop(&mut self) {
        let inner = &*self.0.0;
        // Release: what the waker gave is seen by who goes on.
        inner.state.store(WOKEN, Ordering::Release);
        inner.thread.unpark();
    }
}

/// Marks a place where another task could come first. Threads are switched by the system, so nothing happens here.
#[inline(always)]
pub fn point() {}

/// Gives the time by which waits end.
pub fn now() -> Instant {
    Instant::now()
}

/// Blocks the calling task until its token is woken, or until `deadline`; says whether it was woken.
///
/// `guard` is the lock under which the token was queued; it is dropped as soon as a waker could not be missed.
pub fn block<G>(token: &Token, guard: G, deadline: Option<Instant>) -> bool {
    drop(guard);
    let state = &token.0.state;
    if many_cores() {
        for _ in 0..LOOKS {
            if state.load(Ordering::Acquire) == WOKEN {
                return true;
            }
            std::hint::spin_loop();
        }
    }
    while state.load(Ordering::Acquire) != WOKEN {
        let Some(deadline) = deadline else {
            thread::park();
            continue;
        };
        let left = deadline.saturating_duration_since(now());
        if !left.is_zero() {
            thread::park_timeout(left);
        } else if state
            .compare_exchange(WAITING, GAVE_UP, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            return false;
        } else {
            // Claimed at the last moment: what was given must be taken, and the waker is between two of its lines.
            thread::yield_now();
        }
    }
    true
}

/// Lets a task go on whose token the caller claimed, by what it did to `object`. Called under the object's lock; takes effect when the result is dropped.
pub fn wake(token: &Token, object: u32, here: Option<Here>) -> Wakeup {
    recorder::record(Kind::Wake, object, 0, token.0.task, here);
    Wakeup(token.clone())
}

/// What carries a started task.
pub struct Carrier(thread::JoinHandle<()>);

impl Carrier {
    /// Waits until nothing of the task runs any more, its thread-locals' destructors included.
    pub fn join(self) {
        // The body catches its own panics. What can still panic is a destructor of a thread-local, and that aborts.
        let _ = self.0.join();
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }
}

/// Starts a task that runs `body`.
pub fn spawn(name: Option<&str>, body: Box<dyn FnOnce() + Send>) -> io::Result<Carrier> {
    let mut builder = thread::Builder::new();
    if let Some(name) = name {
        // The system's names end at a zero byte, and std refuses them with a panic.
        builder = builder.name(name.replace('\0', " "));
    }
    builder.spawn(body).map(Carrier)
}

/// Says whether the calling task unwinds from a panic. Kept here since tasks that share a thread must not share this.
pub fn unwinding() -> bool {
    thread::panicking()
}

/// Says whether somebody else can run while the calling thread spins. On one core spinning only keeps the waker from its work.
pub fn many_cores() -> bool {
    static MANY: OnceLock<bool> = OnceLock::new();
    *MANY.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get) > 1)
}

/// Locks a part of a primitive. No code of the learner's runs under these locks, so none is ever poisoned for a reason.
pub fn lock<T: ?Sized>(part: &std::sync::Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}
