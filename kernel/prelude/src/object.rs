//! What a channel, a lock and a wait group have in common in the picture: an id, the place where they were made, perhaps a name.
//!
//! Each recording is read on its own, so an object that outlives its cell tells again what it is when a later cell first uses it.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use threadbook_timeline::fold::word_for;
use threadbook_timeline::format::{Kind, ObjectKind};

use crate::recorder::{self, Here};

/// The picture's side of a primitive.
pub struct Object {
    id: u32,
    kind: ObjectKind,
    capacity: u32,
    made: Here,
    /// The last recording that was told about this object.
    told: AtomicU32,
    name: OnceLock<Box<str>>,
}

impl Object {
    /// Makes the object and records it. `capacity`: a channel's, or for how many a barrier is, else 0.
    pub fn new(kind: ObjectKind, capacity: u32, made: Here) -> Object {
        let object = Object {
            id: recorder::new_object(),
            kind,
            capacity,
            made,
            told: AtomicU32::new(0),
            name: OnceLock::new(),
        };
        object.id();
        object
    }

    /// Gives the id for an event that is about to be recorded.
    #[inline]
    pub fn id(&self) -> u32 {
        let recording = recorder::recording();
        if recording != 0 && self.told.load(Ordering::Relaxed) != recording {
            self.tell(recording);
        }
        self.id
    }

    #[cold]
    fn tell(&self, recording: u32) {
        // Swapped, so that of two tasks that come at once only one tells.
        if self.told.swap(recording, Ordering::Relaxed) != recording {
            recorder::record(
                Kind::NewObject,
                self.id,
                self.capacity,
                self.kind as u32,
                Some(self.made),
            );
            self.tell_name();
        }
    }

    fn tell_name(&self) {
        if let Some(name) = self.name.get() {
            recorder::record(Kind::NameObject, self.id, 0, recorder::intern(name), None);
        }
    }

    /// Gives the object its name; the first one stays.
    pub fn named(&self, name: &str) {
        if self.name.set(name.into()).is_ok() && recorder::recording() != 0 {
            self.tell_name();
        }
    }

    /// The name, if it was given one.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(|name| &**name)
    }

    /// What it is, and its name or where it was made.
    pub fn in_words(&self) -> String {
        format!("{} {self}", word_for(self.kind))
    }

    /// Where it was made.
    pub fn made(&self) -> Here {
        self.made
    }
}

impl fmt::Display for Object {
    /// Writes the name, or else where it was made.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "`{name}`"),
            None => write!(f, "made at {}", self.made()),
        }
    }
}
