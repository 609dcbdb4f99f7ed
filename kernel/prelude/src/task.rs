//! The body of a task from its start to its end, and what it leaves for whoever joins it. Shared by `spawn` and `scope`.
//!
//! One piece of memory holds all of a task that is of its types: the closure, then the result. What knows neither is done by functions that are compiled
//! into the library: a generic one is compiled into each cell, where every step of it is slow.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use threadbook_timeline::format::{Engine, Kind, Reason};

use crate::joined;
use crate::recorder::{self, Here};
use crate::rt::{self, Body, Carrier, Ended, FromOutside, Token};
use crate::scope::Running;
use crate::wait::{Holder, Subject, Wait};

/// What others know of a task, but for its result.
struct Head {
    task: u32,
    left: Mutex<Left>,
    scope: Option<Arc<Running>>,
}

struct Left {
    ended: bool,
    /// Who joins it: the one handle is used up by that.
    waiting: Option<Token>,
}

impl Subject for Head {
    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        vec![Holder {
            task: self.task,
            since: None,
        }]
    }
}

/// A task's closure until it runs, and then what it leaves behind.
struct Job<F, T> {
    head: Head,
    /// Taken by the task.
    closure: UnsafeCell<Option<F>>,
    /// Put there by the task before it has ended, which is said under the lock of [`Head::left`]; then taken by who joins it.
    result: UnsafeCell<Option<thread::Result<T>>>,
}

// SAFETY: the closure and the result are touched by one thread at a time: see the fields. Both are sent by that.
unsafe impl<F: Send, T: Send> Sync for Job<F, T> {}

impl<F, T> Drop for Job<F, T> {
    fn drop(&mut self) {
        // A panic that nobody joined is the scope's to report.
        if let (Some(Err(payload)), Some(scope)) = (self.result.get_mut(), &self.head.scope) {
            scope.a_task_failed(payload.is::<FromOutside>());
        }
    }
}

/// A job as its task has it.
trait Run: Body {
    fn head(&self) -> &Head;

    /// Calls the closure and keeps its result.
    ///
    /// # Safety
    /// Called once, by the task.
    unsafe fn call(&self);

    /// What it panicked with, if it did.
    ///
    /// # Safety
    /// Called by the task, before it has ended.
    unsafe fn failure(&self) -> Option<&(dyn Any + Send)>;
}

/// A job as its one handle has it.
trait Leaves<T>: Send + Sync {
    fn head(&self) -> &Head;

    /// Takes the result.
    ///
    /// # Safety
    /// The task has ended, and the caller has found that under the lock of [`Head::left`].
    unsafe fn take(&self) -> Option<thread::Result<T>>;
}

impl<F, T> Run for Job<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn head(&self) -> &Head {
        &self.head
    }

    unsafe fn call(&self) {
        // SAFETY: by the caller's promise nobody else touches it.
        let closure = unsafe { (*self.closure.get()).take() };
        let result = catch_unwind(AssertUnwindSafe(|| {
            // It may have been told to end before it began.
            rt::point_of_a_cell();
            closure.expect("a task runs once")()
        }));
        // SAFETY: as above; nobody looks before the task has ended.
        unsafe { *self.result.get() = Some(result) };
    }

    unsafe fn failure(&self) -> Option<&(dyn Any + Send)> {
        // SAFETY: by the caller's promise nobody else touches it.
        match unsafe { &*self.result.get() } {
            Some(Err(payload)) => Some(&**payload),
            _ => None,
        }
    }
}

impl<F, T> Body for Job<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn run(self: Arc<Self>) {
        run(self);
    }
}

impl<F: Send, T: Send> Leaves<T> for Job<F, T> {
    fn head(&self) -> &Head {
        &self.head
    }

    unsafe fn take(&self) -> Option<thread::Result<T>> {
        // SAFETY: the task does not touch it any more, and its one handle asks.
        unsafe { (*self.result.get()).take() }
    }
}

/// A task that was started, seen by who started it.
pub struct Started<T> {
    job: Arc<dyn Leaves<T>>,
    carrier: Carrier,
}

// What a panic may leave half done is behind a lock, or seen by nobody.
impl<T> UnwindSafe for Started<T> {}
impl<T> RefUnwindSafe for Started<T> {}

/// Starts a task.
///
/// # Safety
/// What `f` and its result borrow must outlive the task: either they are `'static`, or the caller waits on `scope` before the borrows end. The task
/// touches neither after its last call on `scope`.
pub unsafe fn start<'env, F, T>(
    engine: Engine,
    name: Option<&str>,
    scope: Option<&Arc<Running>>,
    here: Here,
    f: F,
) -> Started<T>
where
    F: FnOnce() -> T + Send + 'env,
    T: Send + 'env,
{
    let job = Arc::new(Job {
        head: head(engine, name, scope, here),
        closure: UnsafeCell::new(Some(f)),
        result: UnsafeCell::new(None),
    });
    let theirs: Arc<dyn Run + 'env> = job.clone();
    let mine: Arc<dyn Leaves<T> + 'env> = job;
    // SAFETY: only the lifetime changes; by the caller's promise nothing borrowed is used after it ends.
    let theirs: Arc<dyn Run> = unsafe { std::mem::transmute::<Arc<dyn Run + 'env>, _>(theirs) };
    // SAFETY: as above.
    let mine: Arc<dyn Leaves<T>> =
        unsafe { std::mem::transmute::<Arc<dyn Leaves<T> + 'env>, _>(mine) };
    Started {
        carrier: launch(engine, name, theirs),
        job: mine,
    }
}

/// The head of a new task.
#[inline(never)]
fn head(engine: Engine, name: Option<&str>, scope: Option<&Arc<Running>>, here: Here) -> Head {
    let task = recorder::new_task();
    if recorder::recording() != 0 {
        recorder::record(Kind::Spawn, task, 0, engine as u32, Some(here));
        if let Some(name) = name {
            recorder::record(Kind::NameTask, task, 0, recorder::intern(name), None);
        }
    }
    Head {
        task,
        left: Mutex::new(Left {
            ended: false,
            waiting: None,
        }),
        scope: scope.cloned(),
    }
}

/// Has a job run by a task of its own.
#[inline(never)]
fn launch(engine: Engine, name: Option<&str>, job: Arc<dyn Run>) -> Carrier {
    let (task, scope) = (job.head().task, job.head().scope.clone());
    if let Some(scope) = &scope {
        scope.enter(task);
    }
    let started = match engine {
        Engine::Thread => rt::spawn(task, name, job),
        Engine::Green => rt::go(task, name, job),
    };
    started.unwrap_or_else(|why| {
        if let Some(scope) = scope {
            scope.never_started(task);
        }
        panic!(
            "the system gave no further thread ({why}): join some of those that run before you spawn more"
        );
    })
}

/// Runs a job as the calling task.
#[inline(never)]
fn run(job: Arc<dyn Run + '_>) {
    if recorder::recording() != 0 {
        recorder::record(Kind::Start, 0, 0, 0, None);
    }
    // SAFETY: this is the task, which runs once.
    let failure = unsafe {
        job.call();
        job.failure()
    };
    if let Some(payload) = failure
        && !payload.is::<FromOutside>()
        && !rt::current().panic_is_told()
    {
        // The learner's own hook ran, or none (`resume_unwind`).
        let words = recorder::intern_remark(message_of(payload));
        recorder::record(Kind::Panic, 0, 0, words, None);
    }
    end(job);
}

/// The last lines of every task: lets who joins it go on, and leaves its scope.
fn end(job: Arc<dyn Run + '_>) {
    let head = job.head();
    let scope = head.scope.clone();
    let mut left = rt::lock(&head.left);
    left.ended = true;
    let wakeup = left
        .waiting
        .take()
        .filter(Token::claim)
        .map(|token| rt::wake(&token, head.task, None));
    // Under the lock, so that nobody has joined a task that has not ended in the trace.
    if recorder::recording() != 0 {
        recorder::record(Kind::Exit, 0, 0, 0, None);
    }
    drop(left);
    drop(wakeup);
    // Before the scope is left: a result that nobody wants may borrow from it.
    // The result's destructor is the learner's: whatever comes out of it ends here, or a scope would be left before its tasks.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(job))) {
        std::mem::forget(payload);
    }
    if let Some(scope) = scope {
        scope.leave();
    }
}

impl<T> Started<T> {
    /// Waits for the task's end and gives its result.
    pub fn join(self, here: Here) -> thread::Result<T> {
        let Started { job, carrier } = self;
        if is_lost(job.head()) {
            return Err(Box::new("lost: it ran in a process that has ended"));
        }
        if !await_end(job.head(), here) {
            // In a destructor of a task that unwinds: it may not wait, and gets what a task leaves that has not come to its end.
            return Err(Box::new("not awaited: the task that joins it was ended"));
        }
        // SAFETY: it has ended, as was found under the lock.
        let result = unsafe { job.take() };
        note_join(job.head(), here);
        if let Some(Err(payload)) = &result {
            note_failure(job.head(), &**payload, here);
        }
        // The last few microseconds of its thread: so that a loop of spawn and join never has two.
        carrier.join(here);
        result.expect("a task that ended left a result, and only its one handle takes it")
    }

    /// Says whether the task came to its end.
    pub fn is_finished(&self) -> bool {
        rt::lock(&self.job.head().left).ended || rt::is_lost(self.job.head().task)
    }

    /// The thread that carries it.
    ///
    /// # Panics
    /// When it is a green task, which has none of its own.
    pub fn thread(&self) -> &thread::Thread {
        self.carrier.thread().expect(
            "a green task has no thread of its own: workers carry it with others; a thread comes from spawn()",
        )
    }

    /// Its name, if it has a thread and that has one.
    pub fn thread_name(&self) -> Option<&str> {
        self.carrier.thread().and_then(thread::Thread::name)
    }
}

/// Whether a task ran in a process that this one took over from, and had not ended.
#[inline(never)]
fn is_lost(head: &Head) -> bool {
    rt::is_lost(head.task) && !rt::lock(&head.left).ended
}

/// Waits for a task's end. False when the calling task may not wait, as it unwinds already and was told to end.
#[inline(never)]
fn await_end(head: &Head, here: Here) -> bool {
    rt::point();
    let mut left = rt::lock(&head.left);
    if left.ended {
        return true;
    }
    let token = Token::new();
    left.waiting = Some(token.clone());
    let wait = Wait::begin(Reason::Join, head.task, 1, here).about(head);
    let ended = rt::block(&token, &wait, left, None);
    wait.end();
    if ended == Ended::Cut {
        rt::unwind();
        return false;
    }
    true
}

/// The calling task has the result of another one.
#[inline(never)]
fn note_join(head: &Head, here: Here) {
    recorder::record(Kind::Joined, head.task, 0, 0, Some(here));
    if let Some(scope) = &head.scope {
        scope.was_joined(head.task);
    }
}

/// The calling task has learnt that another one panicked.
#[cold]
#[inline(never)]
fn note_failure(head: &Head, payload: &(dyn Any + Send), here: Here) {
    if !payload.is::<FromOutside>() {
        joined::note(head.task, payload, here);
    }
}

/// Gives the words of a panic, where it has some.
pub fn message_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic without words"
    }
}
