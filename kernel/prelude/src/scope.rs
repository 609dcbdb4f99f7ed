//! `scope`: threads that may borrow, since the scope waits for all of them.
//!
//! The contract and the lifetimes of [`std::thread::scope`]. Its own, since that one's threads cannot be seen from outside.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Result, Thread};

use threadbook_timeline::format::{Engine, Kind, ObjectKind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token};
use crate::task::{self, Started};
use crate::wait::{Holder, Subject, Wait};

/// What a scope knows of its tasks.
pub struct Running {
    object: Object,
    state: Mutex<State>,
    panicked: AtomicBool,
    /// A task was told to end.
    cut: AtomicBool,
}

#[derive(Default)]
struct State {
    /// How many have not come to their end.
    running: usize,
    /// Those that nobody joined yet.
    not_joined: Vec<u32>,
    /// The scope's own task, once it waits.
    waiting: Option<Token>,
    /// It was told to end while it waited.
    cut: bool,
}

impl Subject for Running {
    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        // Those that nobody joined are those that may still run; one that is over waits for nobody.
        let state = rt::lock(&self.state);
        let holder = |&task: &u32| Holder { task, since: None };
        state.not_joined.iter().map(holder).collect()
    }
}

impl Running {
    /// Counts a task that is about to start.
    pub fn enter(&self, task: u32) {
        let mut state = rt::lock(&self.state);
        state.running += 1;
        state.not_joined.push(task);
    }

    /// Counts a task that could not be started as gone.
    pub fn never_started(&self, task: u32) {
        self.was_joined(task);
        // The scope's own task is the one that calls this: nobody waits.
        rt::lock(&self.state).running -= 1;
    }

    /// The last deed of a scoped task: from here on it touches nothing that is borrowed.
    pub fn leave(&self) {
        let mut state = rt::lock(&self.state);
        state.running -= 1;
        let waiting = if state.running == 0 {
            state.waiting.take()
        } else {
            None
        };
        let wakeup = waiting
            .filter(Token::claim)
            .map(|token| rt::wake(&token, self.object.id(), None));
        drop(state);
        drop(wakeup);
    }

    /// Waits until none of the tasks runs.
    fn wait_for_all(&self, here: Here) {
        let mut state = rt::lock(&self.state);
        // Also one that is told to end waits for all of them: they may borrow from it.
        while state.running > 0 {
            let token = Token::new();
            state.waiting = Some(token.clone());
            let wait = Wait::begin(Reason::Scope, self.object.id(), 1, here).about(self);
            let ended = rt::block(&token, &wait, state, None);
            wait.end();
            state = rt::lock(&self.state);
            if ended == Ended::Cut {
                state.cut = true;
            }
        }
        // What the tasks did came before what follows, for each of them, as if it had been joined.
        for task in state.not_joined.drain(..) {
            recorder::record(Kind::Joined, task, 0, 0, Some(here));
        }
    }

    /// Unwinds the scope's own task if it was told to end while it waited.
    fn end_if_cut(&self) {
        let cut = rt::lock(&self.state).cut;
        if cut {
            rt::unwind();
        }
    }

    /// Notes that a task's result was taken.
    pub fn was_joined(&self, task: u32) {
        let mut state = rt::lock(&self.state);
        if let Some(place) = state.not_joined.iter().position(|&other| other == task) {
            state.not_joined.swap_remove(place);
        }
    }

    /// Notes that a task panicked, or was ended from outside, and nobody took that from it.
    pub fn a_task_failed(&self, from_outside: bool) {
        let how = if from_outside {
            &self.cut
        } else {
            &self.panicked
        };
        how.store(true, Ordering::Relaxed);
    }
}

/// Ends the process when it is dropped: while it is there, tasks may still use what the caller has lent them.
struct MustNotBeLeft;

impl Drop for MustNotBeLeft {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// The place where threads can be started that borrow what lives outside of the call of [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    running: Arc<Running>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, which can start threads that borrow; waits for all of them and gives what `f` returned.
///
/// Blocks the calling thread after `f` until the last thread that was started on the scope has ended, drawn as a wait.
///
/// The contract of [`std::thread::scope`].
///
/// # Panics
/// When a thread panicked that nobody joined. When `f` panics, with its panic; both after all threads have ended.
///
/// ```
/// # use threadbook_prelude::*;
/// let mut loaves = vec![1, 2, 3];
/// let mut sold = 0;
/// scope(|s| {
///     s.spawn(|| loaves.push(4));
///     s.spawn_named("grace", || sold = 2);
/// });
/// assert_eq!((loaves.len(), sold), (4, 2));
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let here = Location::caller();
    let object = Object::new(ObjectKind::Scope, 0, here);
    let running = Arc::new(Running {
        object,
        state: Mutex::new(State::default()),
        panicked: AtomicBool::new(false),
        cut: AtomicBool::new(false),
    });
    let scope = Scope {
        running: running.clone(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let must_not_be_left = MustNotBeLeft;
    running.wait_for_all(here);
    std::mem::forget(must_not_be_left);
    running.end_if_cut();
    match result {
        Err(payload) => resume_unwind(payload),
        // A second panic while one unwinds would end the process.
        Ok(_) if running.panicked.load(Ordering::Relaxed) && !rt::unwinding() => {
            panic!("a scoped thread panicked")
        }
        Ok(value) => {
            if running.cut.load(Ordering::Relaxed) {
                // What it waited for is not done and will not be: a deadlock took its tasks, and takes it too.
                rt::end_as_well();
            }
            value
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a thread that may borrow and that ends before the scope does.
    ///
    /// Does not block. The contract of [`std::thread::Scope::spawn`].
    ///
    /// # Panics
    /// When the system gives no further thread.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let flour = String::from("rye");
    /// let length = scope(|s| s.spawn(|| flour.len()).join().unwrap());
    /// assert_eq!(length, 3);
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(Engine::Thread, None, Location::caller(), f)
    }

    /// Starts a thread as [`spawn`](Self::spawn) does, and calls it `name`.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (till, cake) = (Mutex::new(0), 4);
    /// scope(|s| {
    ///     for name in ["ada", "grace"] {
    ///         s.spawn_named(name, || *till.lock().unwrap() += cake);
    ///     }
    /// });
    /// assert_eq!(till.into_inner().unwrap(), 8);
    /// ```
    #[track_caller]
    pub fn spawn_named<F, T>(
        &'scope self,
        name: impl AsRef<str>,
        f: F,
    ) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(Engine::Thread, Some(name.as_ref()), Location::caller(), f)
    }

    /// Starts a green task that may borrow and that ends before the scope does.
    ///
    /// Does not block. As [`go`](crate::go) else.
    ///
    /// # Panics
    /// When there is no worker yet, and the system gives no thread for one.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let sold = Mutex::new(0);
    /// scope(|s| {
    ///     for _ in 0..100 {
    ///         s.go(|| *sold.lock().unwrap() += 1);
    ///     }
    /// });
    /// assert_eq!(sold.into_inner().unwrap(), 100);
    /// ```
    #[track_caller]
    pub fn go<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(Engine::Green, None, Location::caller(), f)
    }

    /// Starts a green task as [`go`](Self::go) does, and calls it `name`.
    #[track_caller]
    pub fn go_named<F, T>(&'scope self, name: impl AsRef<str>, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(Engine::Green, Some(name.as_ref()), Location::caller(), f)
    }

    fn start<F, T>(
        &'scope self,
        engine: Engine,
        name: Option<&str>,
        here: Here,
        f: F,
    ) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: `scope` waits on `running`, even when its closure panics, before anything of `'scope` ends.
        let started = unsafe { task::start(engine, name, Some(&self.running), here, f) };
        ScopedJoinHandle {
            started,
            scope: PhantomData,
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("running", &rt::lock(&self.running.state).running)
            .finish_non_exhaustive()
    }
}

/// The right to wait for a scoped thread's end and to have its result. Dropping it leaves the waiting to the scope.
///
/// The contract of [`std::thread::ScopedJoinHandle`].
pub struct ScopedJoinHandle<'scope, T> {
    started: Started<T>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the thread's end and gives what it returned.
    ///
    /// Blocks the calling thread, drawn on its lane. Returns at once when the other has ended already.
    ///
    /// # Errors
    /// When the thread panicked: what it panicked with. The scope does not panic for it then.
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.started.join(Location::caller())
    }

    /// Says whether the thread has come to its end. Does not block.
    pub fn is_finished(&self) -> bool {
        self.started.is_finished()
    }

    /// Gives the thread: its name, its id, `unpark`.
    pub fn thread(&self) -> &Thread {
        self.started.thread()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoinHandle")
            .field("name", &self.started.thread_name())
            .field("finished", &self.is_finished())
            .finish()
    }
}
