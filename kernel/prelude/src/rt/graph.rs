//! Who waits for whom, among tasks whose wait only certain others can end: a ring of them is a deadlock, whatever the rest of the program does.
//!
//! A task enters when it waits for a lock or for a task's end, and looks for a way from the holders back to itself. Exact: nobody enters while it looks,
//! so each member of the ring that it finds was waiting before and still is; each could only be let go on by the next one; and the last of them is the
//! one that looks. A task that was let go on and has not left yet is told by its token.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use super::lock;
use super::report;
use super::task::{Task, Token};
use crate::wait::Wait;

static EDGES: Mutex<Option<HashMap<u32, Edge>>> = Mutex::new(None);

struct Edge {
    token: Token,
    /// Lives on the stack of the task that waits, which leaves before it goes on.
    wait: *const Wait<'static>,
}

// SAFETY: the pointer is followed under the lock of `EDGES` alone, and the task takes its edge out under that lock before the wait ends.
unsafe impl Send for Edge {}

/// Keeps others from entering and leaving.
pub fn hold() -> MutexGuard<'static, Option<impl Sized>> {
    lock(&EDGES)
}

/// Nobody waits: see [`takeover`](super::takeover).
pub fn begin_anew() {
    // Not dropped: they are of tasks that are lost.
    std::mem::forget(lock(&EDGES).take());
}

/// Enters a wait of the calling task; reports a ring that it closes. Called without any lock of a primitive.
pub fn enter(token: &Token, wait: &Wait<'_>) {
    let me = token.task().id();
    let mut edges = lock(&EDGES);
    let edges = edges.get_or_insert_default();
    edges.insert(
        me,
        Edge {
            token: token.clone(),
            wait: std::ptr::from_ref(wait).cast(),
        },
    );
    if let Some(ring) = ring_of(edges, me) {
        let members: Vec<(Token, &Wait<'static>)> = ring
            .iter()
            .filter_map(|task| edges.get(task))
            // SAFETY: under the lock; see `Edge`.
            .map(|edge| (edge.token.clone(), unsafe { &*edge.wait }))
            .collect();
        report::ring(&members);
    }
}

/// The calling task goes on, or is about to.
pub fn leave(task: &Task) {
    if let Some(edges) = lock(&EDGES).as_mut() {
        edges.remove(&task.id());
    }
}

/// How far a ring is looked for. A longer one is found when everything else has come to a stop.
const FARTHEST: usize = 1000;

/// The tasks of a chain of waits that leads from `me` back to `me`, in its order.
fn ring_of(edges: &HashMap<u32, Edge>, me: u32) -> Option<Vec<u32>> {
    // By task: from whom it was reached first.
    let mut reached = HashMap::from([(me, me)]);
    let mut look_at = vec![me];
    while let Some(task) = look_at.pop() {
        let Some(edge) = edges.get(&task).filter(|edge| edge.token.is_waiting()) else {
            continue;
        };
        // SAFETY: under the lock; see `Edge`.
        let wait = unsafe { &*edge.wait };
        let Some(subject) = wait.subject() else {
            continue;
        };
        for holder in subject.holders(wait.reason()) {
            if holder.task == me {
                let mut ring = vec![task];
                while let Some(&before) = ring.last().and_then(|last| reached.get(last))
                    && ring.last() != Some(&me)
                {
                    ring.push(before);
                }
                ring.reverse();
                return Some(ring);
            }
            if reached.len() < FARTHEST && !reached.contains_key(&holder.task) {
                reached.insert(holder.task, task);
                look_at.push(holder.task);
            }
        }
    }
    None
}
