//! Green tasks: many tasks on few threads, as Go has them. A task that waits gives its thread to another one.
//!
//! A task is a coroutine with a stack of its own. New ones lie in one queue; a worker takes the next when it has nothing that is ready. Once started, a task
//! stays on its worker: what it keeps in thread-locals, and guards that must not change threads, stay where they are. Workers sleep when they have nothing
//! to do, and then count as asleep; whoever brings them something takes them out of the count. With `workers(1)` there is no worker: the thread that asked
//! for it runs the tasks itself, whenever it waits, one after the other in the order in which they became ready.
//!
//! Lock order: `NEW`, then a worker's `Inbox`. No generic function names a type of the coroutine crate, so that none is compiled into a cell.

mod stack;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread, ThreadId};

use super::task::Task;
use super::{census, lock};

pub use stack::{STACK_BYTES, is_guard};
pub use worker::{Coroutine, host, others_unwind, park, wait_as_host, yield_as_host, yield_now};

/// The most workers: a bit for each in [`New::idle`].
pub const MOST_WORKERS: usize = 63;
/// The first of the places for threads that run tasks themselves, under `workers(1)`. Each such thread has one of its own for as long as it lives: tasks
/// that it has begun stay with it.
pub const HOST: u8 = MOST_WORKERS as u8;
/// No place.
pub const NONE: u8 = u8::MAX;

/// A task that has not been started.
pub struct Fresh {
    pub task: Arc<Task>,
    pub body: Box<dyn FnOnce() + Send>,
}

/// What all workers share.
struct New {
    queue: VecDeque<Fresh>,
    /// The workers that sleep, a bit each.
    idle: u64,
    /// How many threads there are.
    started: usize,
    /// How many may take new tasks; 0: only the host runs them.
    wanted: usize,
    /// The thread that runs them then, and its place.
    host: Option<(ThreadId, u8)>,
}

static NEW: Mutex<New> = Mutex::new(New {
    queue: VecDeque::new(),
    idle: 0,
    started: 0,
    wanted: usize::MAX,
    host: None,
});

/// How many lie in the queue: looked at without its lock.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// Where a worker gets what others have for it.
struct Desk {
    inbox: Mutex<Inbox>,
    /// Something lies in the inbox.
    has_mail: AtomicBool,
}

struct Inbox {
    /// Tasks that are ready again.
    ready: Vec<Arc<Task>>,
    /// New tasks for the host.
    fresh: Vec<Fresh>,
    /// The worker's thread; `None` before its start.
    thread: Option<Thread>,
    asleep: bool,
    /// It is counted by the census, since no time limit will wake it.
    counted: bool,
}

static DESKS: [Desk; NONE as usize] = [const {
    Desk {
        inbox: Mutex::new(Inbox {
            ready: Vec::new(),
            fresh: Vec::new(),
            thread: None,
            asleep: false,
            counted: false,
        }),
        has_mail: AtomicBool::new(false),
    }
}; NONE as usize];

impl Inbox {
    /// Takes the worker out of its sleep; gives the thread to wake when it slept.
    fn rouse(&mut self) -> Option<Thread> {
        if !std::mem::take(&mut self.asleep) {
            return None;
        }
        if std::mem::take(&mut self.counted) {
            census::wakes_up();
        }
        self.thread.clone()
    }
}

/// How many workers there are unless the learner says otherwise: as many as cores.
fn default_workers() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| {
        thread::available_parallelism()
            .map_or(1, NonZero::get)
            .clamp(1, MOST_WORKERS)
    })
}

/// Sets how many workers run green tasks, and gives how many it were; 1 makes the calling thread the one that runs them, if no other is. 0: as it is.
pub fn set_workers(count: usize) -> usize {
    let new = lock(&NEW);
    let before = match new.wanted {
        0 => 1,
        wanted => default_or(wanted),
    };
    let me = thread::current().id();
    // What another thread runs stays where it is.
    if count == 0 || new.host.is_some_and(|(host, _)| host != me) {
        return before;
    }
    if count > 1 {
        change(new, count.min(MOST_WORKERS), None);
    } else if let Some(place) = worker::host_place() {
        change(new, 0, Some((me, place)));
    }
    before
}

/// Lets others run new tasks from now on: `wanted` workers, or the host. Those that lie in a line go to them.
fn change(mut new: MutexGuard<'_, New>, wanted: usize, host: Option<(ThreadId, u8)>) {
    let before = std::mem::replace(&mut new.host, host);
    new.wanted = wanted;
    let mut waiting = std::mem::take(&mut new.queue);
    WAITING.store(0, Ordering::Relaxed);
    drop(new);
    if let Some((_, place)) = before
        && before != host
    {
        waiting.extend(worker::take_fresh(place));
    }
    for Fresh { task, body } in waiting {
        // A task that no thread can be had for is lost like one of a thread that could not be started.
        let _ = start(task, body);
    }
}

/// Makes the calling thread the only worker, and gives what to [restore]; `None` when it is that already, or another is.
pub fn become_only() -> Option<usize> {
    let new = lock(&NEW);
    if new.host.is_some() {
        return None;
    }
    let place = worker::host_place()?;
    let before = new.wanted;
    change(new, 0, Some((thread::current().id(), place)));
    Some(before)
}

/// Ends what [`become_only`] began.
pub fn restore(wanted: usize) {
    let new = lock(&NEW);
    if new
        .host
        .is_some_and(|(host, _)| host == thread::current().id())
    {
        change(new, wanted, None);
    }
}

/// Goes back to as many workers as there are cores.
pub fn reset_workers() {
    change(lock(&NEW), usize::MAX, None);
}

/// The thread at this place ends: if it is the one that runs the tasks, workers do from now on.
fn host_ends(place: u8) {
    let new = lock(&NEW);
    if new.host.is_some_and(|(_, host)| host == place) {
        change(new, usize::MAX, None);
    }
}

/// Hands a new task to whoever runs tasks.
///
/// # Errors
/// When there is no worker, and the system gives no thread for one.
pub fn start(task: Arc<Task>, body: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let fresh = Fresh { task, body };
    let mut new = lock(&NEW);
    if let Some((_, place)) = new.host {
        drop(new);
        worker::fresh_for_host(place, fresh);
        return Ok(());
    }
    new.queue.push_back(fresh);
    WAITING.store(new.queue.len(), Ordering::Relaxed);
    let wanted = default_or(new.wanted);
    // A shift that is in range: there are at most `MOST_WORKERS`.
    let may_take: u64 = (1 << wanted) - 1;
    while new.idle & may_take != 0 {
        let worker = (new.idle & may_take).trailing_zeros() as usize;
        new.idle &= !(1 << worker);
        let roused = lock(&DESKS[worker].inbox).rouse();
        // One that was roused for something else, and has not taken its bit out yet, has that to do: another one takes this.
        if let Some(thread) = roused {
            drop(new);
            thread.unpark();
            return Ok(());
        }
    }
    if new.started >= wanted {
        return Ok(());
    }
    let number = new.started;
    match worker::start(number) {
        Ok(()) => new.started += 1,
        Err(why) if new.started == 0 => {
            new.queue.pop_back();
            WAITING.store(new.queue.len(), Ordering::Relaxed);
            return Err(why);
        }
        // Those that run will come to it.
        Err(_) => {}
    }
    Ok(())
}

fn default_or(wanted: usize) -> usize {
    if wanted == usize::MAX {
        default_workers()
    } else {
        wanted
    }
}

/// Hands a task that is ready again to its worker. Called by whoever claimed its token.
pub fn deliver(worker: u8, task: Arc<Task>) {
    if worker::is_mine(worker) {
        worker::ready_here(task);
        if worker::is_falling_asleep() {
            // This thread reports a deadlock: it must not count as asleep when the report is over, or the next one to wait would report another.
            drop(lock(&DESKS[usize::from(worker)].inbox).rouse());
        }
        return;
    }
    let desk = &DESKS[usize::from(worker)];
    let mut inbox = lock(&desk.inbox);
    inbox.ready.push(task);
    desk.has_mail.store(true, Ordering::Release);
    let roused = inbox.rouse();
    drop(inbox);
    if let Some(thread) = roused {
        thread.unpark();
    }
}

/// Takes the new tasks out of the lines that are `wanted` and that nobody has begun.
pub fn take_not_begun(wanted: impl Fn(&Task) -> bool) -> Vec<Fresh> {
    let mut new = lock(&NEW);
    let (mut taken, kept) = std::mem::take(&mut new.queue)
        .into_iter()
        .partition::<Vec<_>, _>(|fresh| wanted(&fresh.task));
    new.queue = kept.into();
    WAITING.store(new.queue.len(), Ordering::Relaxed);
    let host = new.host;
    drop(new);
    if let Some((_, place)) = host {
        let mut inbox = lock(&DESKS[usize::from(place)].inbox);
        taken.extend(inbox.fresh.extract_if(.., |fresh| wanted(&fresh.task)));
    }
    taken.extend(worker::take_not_begun_here(wanted));
    taken
}

/// Takes the oldest new task, for worker `number`, if it may have one.
fn next_new(number: usize) -> Option<Fresh> {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let mut new = lock(&NEW);
    if number >= default_or(new.wanted) {
        return None;
    }
    let fresh = new.queue.pop_front();
    WAITING.store(new.queue.len(), Ordering::Relaxed);
    fresh
}
