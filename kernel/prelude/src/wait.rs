//! One wait as the picture and a report show it: from the call that blocks to the moment the task runs on.

use std::marker::PhantomData;

use threadbook_timeline::format::{Kind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};

/// A wait that was begun and must be ended.
#[must_use = "a wait that is not ended is drawn as one that never ended"]
pub struct Wait<'a> {
    reason: Reason,
    object: u32,
    here: Here,
    subject: Option<*const (dyn Subject + 'static)>,
    alive: PhantomData<&'a dyn Subject>,
}

/// What a task waits for, as a report of a deadlock asks it. It is asked by any thread, while the waiting task keeps it alive.
pub trait Subject {
    /// How it is called in words: its kind, and its name or place. `None` for what is no object, such as a task that is joined.
    fn object(&self) -> Option<&Object> {
        None
    }

    /// The tasks that a wait for `reason` cannot end without: each of them must do something first. Empty where any task might do it.
    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        Vec::new()
    }

    /// The tasks that have it now, as a report tells it: fewer than [`holders`](Self::holders) where others stand before this wait in a queue.
    fn owners(&self, reason: Reason) -> Vec<Holder> {
        self.holders(reason)
    }

    /// What a wait for `reason` by task `waiting` is told besides: the classic cause, what to do about it.
    fn advice(&self, _reason: Reason, _waiting: u32) -> Vec<Words> {
        Vec::new()
    }
}

/// A task that has what another one waits for.
#[derive(Debug, Clone, Copy)]
pub struct Holder {
    /// Its id.
    pub task: u32,
    /// Since which line it has it, where that is known.
    pub since: Option<Here>,
}

/// A piece of a sentence whose names and places the reader knows better than who writes it.
#[derive(Debug, Clone)]
pub enum Words {
    /// As they stand.
    Text(String),
    /// The task with this id.
    Task(u32),
    /// The object with this id, and what to call it where nobody knows better.
    Object(u32, String),
    /// A line of the learner's.
    At(Here),
}

impl From<&str> for Words {
    fn from(text: &str) -> Words {
        Words::Text(text.to_owned())
    }
}

impl<'a> Wait<'a> {
    /// Records that the calling task begins to wait. `queue`: how many wait in line, this task with them; for a sleep its microseconds.
    pub fn begin(reason: Reason, object: u32, queue: usize, here: Here) -> Wait<'a> {
        if recorder::recording() != 0 {
            let queue = u32::try_from(queue).unwrap_or(u32::MAX);
            recorder::record(Kind::BlockBegin, object, queue, reason as u32, Some(here));
        }
        Wait {
            reason,
            object,
            here,
            subject: None,
            alive: PhantomData,
        }
    }

    /// A wait that is the runtime's own, and recorded nowhere.
    pub fn unseen(reason: Reason, object: u32, here: Here) -> Wait<'a> {
        Wait {
            reason,
            object,
            here,
            subject: None,
            alive: PhantomData,
        }
    }

    /// Says what can be asked about what the task waits for.
    pub fn about(self, subject: &'a dyn Subject) -> Wait<'a> {
        let subject: *const (dyn Subject + 'a) = subject;
        // SAFETY: the lifetime alone changes. The pointer is used while the wait is, which `'a` outlives.
        let subject: *const (dyn Subject + 'static) = unsafe { std::mem::transmute(subject) };
        Wait {
            subject: Some(subject),
            ..self
        }
    }

    /// Why the task waits.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// For which object, or for a join for which task; else 0.
    pub fn object(&self) -> u32 {
        self.object
    }

    /// Where it was called for.
    pub fn here(&self) -> Here {
        self.here
    }

    /// What can be asked about what the task waits for.
    pub fn subject(&self) -> Option<&dyn Subject> {
        // SAFETY: `about` was given a reference that outlives this wait.
        self.subject.map(|subject| unsafe { &*subject })
    }

    /// Records that the calling task runs on.
    pub fn end(self) {
        if recorder::recording() != 0 {
            let reason = self.reason as u32;
            recorder::record(Kind::BlockEnd, self.object, 0, reason, Some(self.here));
        }
    }
}
