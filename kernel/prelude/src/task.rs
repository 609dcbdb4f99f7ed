//! The body of a task from its start to its end, and what it leaves for whoever joins it. Shared by `spawn` and `scope`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use threadbook_timeline::format::{Engine, Kind, Reason};

use crate::recorder::{self, Here};
use crate::rt::{self, Carrier, Ended, FromOutside, Token};
use crate::scope::Running;
use crate::wait::{Holder, Subject, Wait};

/// What a task leaves behind.
struct Packet<T> {
    task: u32,
    left: Mutex<Left<T>>,
    scope: Option<Arc<Running>>,
}

struct Left<T> {
    result: Option<thread::Result<T>>,
    ended: bool,
    waiting: Vec<Token>,
}

impl<T> Drop for Packet<T> {
    fn drop(&mut self) {
        // A panic that nobody joined is the scope's to report.
        let left = self
            .left
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let (Some(Err(payload)), Some(scope)) = (&left.result, &self.scope) {
            scope.a_task_failed(payload.is::<FromOutside>());
        }
    }
}

impl<T> Subject for Packet<T> {
    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        vec![Holder {
            task: self.task,
            since: None,
        }]
    }
}

/// A task that was started, seen by who started it.
pub struct Started<T> {
    packet: Arc<Packet<T>>,
    carrier: Carrier,
}

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
    let task = recorder::new_task();
    recorder::record(Kind::Spawn, task, 0, engine as u32, Some(here));
    if let Some(name) = name {
        recorder::record(Kind::NameTask, task, 0, recorder::intern(name), None);
    }
    let left = Mutex::new(Left {
        result: None,
        ended: false,
        waiting: Vec::new(),
    });
    let packet = Arc::new(Packet {
        task,
        left,
        scope: scope.cloned(),
    });
    if let Some(scope) = scope {
        scope.enter(task);
    }
    let (theirs, leaving) = (packet.clone(), scope.cloned());
    let body: Box<dyn FnOnce() + Send + 'env> = Box::new(move || {
        recorder::record(Kind::Start, 0, 0, 0, None);
        let result = catch_unwind(AssertUnwindSafe(|| {
            // It may have been told to end before it began.
            rt::point();
            f()
        }));
        if let Err(payload) = &result
            && !payload.is::<FromOutside>()
            && !rt::current().panic_is_told()
        {
            // The learner's own hook ran, or none (`resume_unwind`).
            recorder::record(
                Kind::Panic,
                0,
                0,
                recorder::intern_remark(message_of(&**payload)),
                None,
            );
        }
        end(theirs, leaving, result);
    });
    // SAFETY: only the lifetime changes; by the caller's promise nothing borrowed is used after it ends.
    let body: Box<dyn FnOnce() + Send + 'static> = unsafe { std::mem::transmute(body) };
    let started = match engine {
        Engine::Thread => rt::spawn(task, name, body),
        Engine::Green => rt::go(task, name, body),
    };
    match started {
        Ok(carrier) => Started { packet, carrier },
        Err(why) => {
            if let Some(scope) = scope {
                scope.never_started(task);
            }
            panic!(
                "the system gave no further thread ({why}): join some of those that run before you spawn more"
            );
        }
    }
}

/// The last lines of every task: stores the result, lets those who join go on, and leaves its scope.
fn end<T>(packet: Arc<Packet<T>>, scope: Option<Arc<Running>>, result: thread::Result<T>) {
    let task = packet.task;
    let mut left = rt::lock(&packet.left);
    left.result = Some(result);
    left.ended = true;
    let wakeups: Vec<_> = left
        .waiting
        .drain(..)
        .filter(Token::claim)
        .map(|token| rt::wake(&token, task, None))
        .collect();
    // Under the lock, so that nobody has joined a task that has not ended in the trace.
    recorder::record(Kind::Exit, 0, 0, 0, None);
    drop(left);
    drop(wakeups);
    // Before the scope is left: a result that nobody wants may borrow from it.
    // The result's destructor is the learner's: whatever comes out of it ends here, or a scope would be left before its tasks.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(packet))) {
        std::mem::forget(payload);
    }
    if let Some(scope) = scope {
        scope.leave();
    }
}

impl<T> Started<T> {
    /// Waits for the task's end and gives its result.
    pub fn join(self, here: Here) -> thread::Result<T> {
        rt::point();
        let Started { packet, carrier } = self;
        let mut left = rt::lock(&packet.left);
        if !left.ended {
            let token = Token::new();
            left.waiting.push(token.clone());
            let wait =
                Wait::begin(Reason::Join, packet.task, left.waiting.len(), here).about(&*packet);
            let ended = rt::block(&token, &wait, left, None);
            wait.end();
            if ended == Ended::Cut {
                rt::unwind();
                // In a destructor of a task that unwinds: it may not wait, and gets what a task leaves that has not come to its end.
                return Err(Box::new("not awaited: the task that joins it was ended"));
            }
            left = rt::lock(&packet.left);
        }
        recorder::record(Kind::Joined, packet.task, 0, 0, Some(here));
        let result = left.result.take();
        drop(left);
        if let Some(scope) = &packet.scope {
            scope.was_joined(packet.task);
        }
        // The last few microseconds of its thread: so that a loop of spawn and join never has two.
        carrier.join();
        result.expect("a task that ended left a result, and only its one handle takes it")
    }

    /// Says whether the task came to its end.
    pub fn is_finished(&self) -> bool {
        rt::lock(&self.packet.left).ended
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
