//! A copy of this process goes on in its place: what of the runtime is held while the copy is made, and begun anew when the copy takes over.
//!
//! A copy has the one thread that made it. All other threads are gone from it, in the middle of whatever they did. So the runtime's own locks are held
//! while it is made, and none of them is ever found locked by a thread that is not there; tasks that ran elsewhere are *lost*: nobody wakes them, and who
//! joins them gets an error; workers, watcher and census begin anew. Of the primitives' own locks, too many to hold, see [`lock`](super::lock).

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{census, graph, green, lock, program, report, starts, task};

/// How often this process took over from another: 0 for one that began by itself.
static LIFE: AtomicU32 = AtomicU32::new(0);

/// The tasks that ran when the copy was made and are not in it.
static LOST: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// What was lost.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The names of tasks that have one.
    pub names: Vec<String>,
    /// How many have none.
    pub unnamed: usize,
}

/// Runs `copy` while no other thread is inside the runtime, nor inside std's code around a thread's start and end.
///
/// In the order in which they are taken one inside the other elsewhere: a waiting task looks at the graph, and reports; a task that is delivered goes from
/// the line of the new ones to a desk; a program asks for its number in any of them; the roster and the free stacks are the innermost.
pub fn while_held<R>(copy: impl FnOnce() -> R) -> R {
    let _watcher = census::hold();
    let _edges = graph::hold();
    let _report = report::hold();
    let _lines = green::hold();
    let _programs = program::hold();
    let _roster = task::hold();
    let _stacks = green::hold_stacks();
    let _lost = lock(&LOST);
    // Last: who starts a thread may hold any of the others.
    let _gate = starts::close();
    copy()
}

/// Makes the calling thread the only one of this process, which it is: the copy takes over.
pub fn take_over() -> Lost {
    LIFE.fetch_add(1, Ordering::Relaxed);
    starts::begin_anew();
    census::begin_anew();
    graph::begin_anew();
    program::begin_anew();
    green::begin_anew();
    let mut lost = Lost::default();
    let mut ids = lock(&LOST);
    for task in task::lose_others() {
        match task.name() {
            Some(name) => lost.names.push(name.to_owned()),
            None => lost.unnamed += 1,
        }
        ids.insert(task.id());
        std::mem::forget(task);
    }
    lost
}

/// Has the tasks that nobody had begun begun by new workers. After [`take_over`], and after the next copy is made, which would not have the workers.
pub fn go_on() {
    green::start_again();
}

/// How often this process took over from another.
pub fn life() -> u32 {
    LIFE.load(Ordering::Relaxed)
}

/// Whether a task ran in a process that this one took over from, and is not here.
pub fn is_lost(task: u32) -> bool {
    life() != 0 && lock(&LOST).contains(&task)
}
