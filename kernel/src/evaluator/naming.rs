//! What the picture will call the tasks of a cell that still runs, where they have no name of their own: `task 3`, by the order in which they were made.
//!
//! Asked when one of them panics, which is told at once. The recording is read for that, a few times per cell at most.

use crate::picture;
use crate::trace::TraceMemory;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use threadbook_timeline::fold::Known;

/// How often the recording of one cell is read for a name.
const MOST_LOOKS: u32 = 32;

#[derive(Debug, Default)]
struct State {
    /// What pictures of earlier cells called tasks.
    known: Option<Arc<Known>>,
    /// The recording of the cell that runs; 0 between cells.
    recording: u32,
    names: HashMap<u32, String>,
    looks: u32,
}

/// A handle; clones share it.
#[derive(Debug, Clone)]
pub struct Naming {
    trace: Arc<TraceMemory>,
    state: Arc<Mutex<State>>,
}

impl Naming {
    /// Knows no task yet.
    pub fn new(trace: Arc<TraceMemory>) -> Naming {
        let state = Arc::default();
        Naming { trace, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A cell begins, or (`recording` is 0) the time between cells.
    pub fn begin(&self, recording: u32, known: Arc<Known>) {
        *self.lock() = State {
            known: Some(known),
            recording,
            ..State::default()
        };
    }

    /// The cell's own picture is about to be drawn, by which more names become known.
    pub fn pause(&self) {
        *self.lock() = State::default();
    }

    /// The name of a task, as it stands in a sentence; `None` when the picture will not have it, or too many were asked for.
    pub fn name_of(&self, task: u32) -> Option<String> {
        let mut state = self.lock();
        let known = state.known.clone()?;
        if let Some(name) = state.names.get(&task) {
            return Some(name.clone());
        }
        if let Some(name) = known.task(task) {
            return Some(picture::task_in_words(name));
        }
        if state.recording == 0 || state.looks == MOST_LOOKS {
            return None;
        }
        state.looks += 1;
        let trace = self.trace.read(state.recording);
        state.names = picture::names_so_far(&trace, &known).unwrap_or_default();
        state.names.get(&task).cloned()
    }
}
