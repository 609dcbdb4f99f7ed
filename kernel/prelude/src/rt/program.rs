//! Programs: tasks that end together, since the closure that started them returned.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use threadbook_timeline::format::{Cause, Reason};

use super::green::{self, Fresh};
use super::task::{self, Task, Token};
use super::{block, lock, now};
use crate::recorder::Here;
use crate::wait::Wait;

/// The programs that run: each with the one that it was started in.
static RUNNING: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

/// A program that runs; the calling task started it and waits for it.
pub struct Program {
    number: u32,
    outside: u32,
}

impl Program {
    /// What the calling task starts from now on belongs to a new program.
    pub fn enter() -> Program {
        let mut running = lock(&RUNNING);
        let number = running.iter().map(|program| program.0).max().unwrap_or(0) + 1;
        let outside = task::with_current(|task| task.set_program(number));
        running.push((number, outside));
        Program { number, outside }
    }

    /// Tells its tasks to end, and waits for that; gives those that have not after `grace`.
    pub fn end(self, grace: Duration, here: Here) -> Vec<Arc<Task>> {
        task::with_current(|task| task.set_program(self.outside));
        let deadline = now() + grace;
        let mut pause = Duration::from_micros(20);
        // Each look may find a task that one of them started before it ended.
        loop {
            for Fresh { task, body } in green::take_not_begun(|task| self.has(task.program())) {
                // Its body sees at once that it is cut, and leaves what a task leaves.
                task.cut(Cause::Program);
                let before = task::carry(&task, 0);
                body();
                task::carry_no_more(before);
            }
            let mut left = task::roster();
            left.retain(|task| self.has(task.program()));
            left.iter().for_each(|task| task.cut(Cause::Program));
            if left.is_empty() || now() >= deadline {
                lock(&RUNNING).retain(|program| program.0 != self.number);
                return left;
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
