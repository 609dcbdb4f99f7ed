//! Programs: tasks that end together, since the closure that started them returned.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use threadbook_timeline::format::{Cause, Reason};

use super::task::{self, Claimed, Task, Token};
use super::{block, lock, now};
use crate::recorder::Here;
use crate::wait::Wait;

/// The programs that run: each with the one that it was started in.
static RUNNING: Mutex<Vec<(u32, u32)>> = Mutex::new(Vec::new());

/// The programs that wait for their tasks to end. Locked before [`RUNNING`].
static ENDING: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());

struct Waiting {
    number: u32,
    token: Token,
    /// How many of its tasks have ended since it began to look.
    ended: usize,
    /// How many there were when it had looked; it is woken when so many have ended. Those that it did not see make that too early, and never too late.
    of: usize,
}

/// Keeps others from beginning and ending one.
pub fn hold() -> impl Sized {
    (lock(&ENDING), lock(&RUNNING))
}

/// None runs: see [`takeover`](super::takeover).
pub fn begin_anew() {
    lock(&RUNNING).clear();
    // Not dropped: a token may be the last that has the record of a task whose coroutine must not be unwound.
    std::mem::forget(std::mem::take(&mut *lock(&ENDING)));
}

/// A task of a program has ended, when it is one's: `program` is 0 for none.
pub fn one_has_ended(program: u32) {
    if program != 0 {
        tell_of_one(program);
    }
}

#[cold]
fn tell_of_one(program: u32) {
    let mut ending = lock(&ENDING);
    let mut woken = Vec::new();
    for waiting in ending
        .iter_mut()
        .filter(|waiting| is_in(program, waiting.number))
    {
        waiting.ended += 1;
        if waiting.ended >= waiting.of && waiting.token.claim() {
            woken.push(waiting.token.claimed());
        }
    }
    drop(ending);
    woken.into_iter().for_each(Claimed::wake);
}

/// Whether program `number` is `outer`, or was started in it.
fn is_in(number: u32, outer: u32) -> bool {
    let running = lock(&RUNNING);
    let mut at = number;
    while at > outer {
        at = running
            .iter()
            .find(|known| known.0 == at)
            .map_or(0, |known| known.1);
    }
    at == outer
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
        let mut all: Vec<Arc<Task>> = Vec::new();
        // Each look may find a task that one of them started before it ended.
        loop {
            // Before the look, so that whoever ends after it is counted.
            let token = Token::new();
            lock(&ENDING).push(Waiting {
                number: self.number,
                token: token.clone(),
                ended: 0,
                of: usize::MAX,
            });
            // One that nobody has begun is there as well: it is begun all the same, on a stack of its own, and unwinds at once.
            let running = task::roster();
            all.extend(running.into_iter().filter(|task| self.has(task.program())));
            all.retain(|task| !task.has_ended());
            all.sort_by_key(|task| task.id());
            all.dedup_by_key(|task| task.id());
            all.iter().for_each(|task| task.cut(Cause::Program));
            let mut ending = lock(&ENDING);
            let is_over = all.is_empty() || now() >= deadline;
            let mine = ending
                .iter_mut()
                .find(|waiting| waiting.number == self.number);
            let wait_for_it = match mine {
                Some(mine) => {
                    mine.of = all.len();
                    !is_over && mine.ended < mine.of
                }
                None => false,
            };
            if wait_for_it {
                let wait = Wait::unseen(Reason::Sleep, 0, here);
                block(&token, &wait, ending, Some(deadline));
                ending = lock(&ENDING);
            }
            ending.retain(|waiting| waiting.number != self.number);
            drop(ending);
            // Nobody can have claimed it that did not find it there.
            token.give_up();
            if is_over {
                lock(&RUNNING).retain(|program| program.0 != self.number);
                return all;
            }
        }
    }

    /// Whether a program is this one, or was started in it.
    fn has(&self, program: u32) -> bool {
        is_in(program, self.number)
    }
}
