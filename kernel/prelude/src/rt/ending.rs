//! The end of a thread: behind its task the destructors of its thread-locals run, which are the learner's too and may wait as a task does.
//!
//! Who joins the thread waits for them, by a wait as any other, so that a lock that one side has and the other wants is found. What tells of their end is a
//! thread-local as well: the first one of its thread, whose destructor runs last.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use threadbook_timeline::format::Reason;

use super::task::{Ended, Token};
use super::{block, lock, unwind};
use crate::recorder::Here;
use crate::wait::{Holder, Subject, Wait};

/// A thread that ends, seen by who joins it.
pub struct Ending {
    task: u32,
    state: Mutex<State>,
}

struct State {
    over: bool,
    /// The one that joins it.
    waits: Option<Token>,
}

thread_local! {
    /// In each thread that the prelude started.
    static LAST: RefCell<Option<Announces>> = const { RefCell::new(None) };
    /// Whether this thread's task has ended, and only destructors are left. Without one of its own.
    static OVER: Cell<bool> = const { Cell::new(false) };
}

/// Tells that its thread is over, when this is dropped.
struct Announces(Arc<Ending>);

impl Drop for Announces {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.over = true;
        let waits = state.waits.take().filter(Token::claim);
        drop(state);
        if let Some(token) = waits {
            token.claimed().wake();
        }
    }
}

impl Ending {
    /// The end of the thread of task `task`.
    pub fn of(task: u32) -> Arc<Ending> {
        let state = Mutex::new(State {
            over: false,
            waits: None,
        });
        Arc::new(Ending { task, state })
    }

    /// Says that the calling thread is the one: the first that it does, before any thread-local of the learner's is there.
    pub fn begin(self: Arc<Ending>) {
        LAST.with(|last| *last.borrow_mut() = Some(Announces(self)));
    }

    /// Waits until the last destructor has run; `false` when the calling task is ended meanwhile, and unwinds already.
    pub fn wait(&self, here: Here) -> bool {
        let mut state = lock(&self.state);
        if state.over {
            return true;
        }
        let token = Token::new();
        state.waits = Some(token.clone());
        let wait = Wait::unseen(Reason::Join, self.task, here).about(self);
        let ended = block(&token, &wait, state, None);
        if ended == Ended::Cut {
            unwind();
        }
        ended != Ended::Cut
    }
}

impl Subject for Ending {
    /// What runs in a destructor goes by the task's number.
    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        vec![Holder {
            task: self.task,
            since: None,
        }]
    }
}

/// The calling thread's task has ended.
pub fn task_is_over() {
    OVER.set(true);
}

/// Whether the calling thread runs nothing any more but destructors of thread-locals: a panic out of one would end the process.
pub fn only_destructors() -> bool {
    OVER.get()
}
