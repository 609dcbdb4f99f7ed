//! Programs: tasks that end together, since the closure that started them returned.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use threadbook_timeline::format::{Cause, Reason};

use super::task::{self, Task, Token};
use super::{block, lock, now};
use crate::recorder::Here;
use crate::wait::Wait;

/// The programs that run: each with the one that it was started in.
static RUNNING: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

/// Keeps others from beginning and ending one.
pub fn hold() -> MutexGuard<'static, Vec<(u32, u32)>> {
    lock(&RUNNING)
}

/// None runs: see [`takeover`](super::takeover).
pub fn begin_anew() {
    lock(&RUNNING).clear();
}

/// A program that runs; the calling task started it and waits for it.
pub struct Program {
    number: u32,
    outside: u32,
}

impl Program {
    /// What the calling task starts from now on belongs to a new program.
    pub fn enter() -> Program {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let mut running = lock(&RUNNING);
        // Never the same again: a task of a program that is over may still be there.
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let outside = task::with_current(|task| task.set_program(number));
        running.push((number, outside));
        Program { number, outside }
    }

    /// Tells its tasks to end, and waits for that; gives those that have not after `grace`.
    pub fn end(self, grace: Duration, here: Here) -> Vec<Arc<Task>> {
        task::with_current(|task| task.set_program(self.outside));
        let deadline = now() + grace;
        let mut pause = Duration::from_micros(20);
        let mut all: Vec<Arc<Task>> = Vec::new();
        // Each look may find a task that one of them started before it ended.
        loop {
            // One that nobody has begun is there as well: it is begun all the same, on a stack of its own, and unwinds at once.
            let running = task::roster();
            all.extend(running.into_iter().filter(|task| self.has(task.program())));
            all.retain(|task| !task.has_ended());
            all.sort_by_key(|task| task.id());
            all.dedup_by_key(|task| task.id());
            all.iter().for_each(|task| task.cut(Cause::Program));
            if all.is_empty() || now() >= deadline {
                lock(&RUNNING).retain(|program| program.0 != self.number);
                return all;
            }
            let wait = Wait::unseen(Reason::Sleep, here);
            block(&Token::new(), &wait, (), Some(now() + pause));
            pause = (pause * 2).min(Duration::from_millis(2));
        }
    }

    /// Whether a program is this one, or was started in it.
    fn has(&self, program: u32) -> bool {
        let running = lock(&RUNNING);
        let mut at = program;
        while at > self.number {
            at = running
                .iter()
                .find(|known| known.0 == at)
                .map_or(0, |known| known.1);
        }
        at == self.number
    }
}
