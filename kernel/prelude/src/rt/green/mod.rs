//! Green tasks: many tasks on few threads, as Go has them. A task that waits gives its thread to another one.
//!
//! A task is a coroutine with a stack of its own. New ones that a thread starts lie in one queue; those that a green task starts in a line of its worker's,
//! from which a worker that has nothing to do takes half. Once started, a task stays on its worker: what it keeps in thread-locals, and guards that must not
//! change threads, stay where they are. Workers sleep when they have nothing to do, and then count as asleep; whoever brings them something takes them out
//! of the count. With `workers(1)` there is no worker: the thread that asked for it runs the tasks itself, whenever it waits, one after the other in the
//! order in which they became ready.
//!
//! Lock order: `NEW`, then a worker's `line`, then its `Inbox`. No generic function names a type of the coroutine crate, so that none is compiled into a
//! cell.

mod stack;
mod worker;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread, ThreadId};

use super::task::{self, Task};
use super::{census, lock};

pub use stack::{STACK_BYTES, is_guard};
pub use worker::{
    Coroutine, host, others_unwind, park, used_record, wait_as_host, yield_as_host, yield_now,
};

/// The most workers: a bit for each in [`New::idle`].
pub const MOST_WORKERS: usize = 63;
/// The first of the places for threads that run tasks themselves, under `workers(1)`. Each such thread has one of its own for as long as it lives: tasks
/// that it has begun stay with it.
pub const HOST: u8 = MOST_WORKERS as u8;
/// No place.
pub const NONE: u8 = u8::MAX;

/// A task that lies in a line: it is to be begun, or to go on. Its place on the roster keeps it alive, which it leaves at its end; and it lies in one line at
/// the most, since whoever puts it there has claimed its wait, or has it from another line. So there is no count to be changed at each of its turns.
#[derive(Clone, Copy)]
struct Entry(NonNull<Task>);

// SAFETY: a task is shared among threads.
unsafe impl Send for Entry {}

impl Entry {
    fn task(&self) -> &Task {
        // SAFETY: see the type.
        unsafe { self.0.as_ref() }
    }

    /// Whether nobody has begun it.
    fn is_new(&self) -> bool {
        // Relaxed: it has been begun by who looks, or has passed a lock since.
        self.task().green().worker.load(Ordering::Relaxed) == NONE
    }
}

/// What all workers share.
struct New {
    queue: VecDeque<Entry>,
    /// The workers that sleep, a bit each.
    idle: u64,
    /// How many threads there are.
    started: usize,
    /// How many may take new tasks; 0: only the host runs them.
    wanted: usize,
    /// The thread that runs them then, and its place.
    host: Option<(ThreadId, u8)>,
}

impl New {
    /// Says which workers sleep.
    fn set_idle(&mut self, idle: u64) {
        self.idle = idle;
        IDLE.store(idle, Ordering::Relaxed);
    }
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
/// [`New::idle`], [`New::started`], and how many workers may take new tasks: looked at without the lock.
static IDLE: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicUsize = AtomicUsize::new(0);
static WANTED: AtomicUsize = AtomicUsize::new(usize::MAX);
/// How many workers look for new tasks, or were woken to.
static SEARCHING: AtomicUsize = AtomicUsize::new(0);

/// Where a worker gets what others have for it, and others what it has for them.
struct Desk {
    inbox: Mutex<Inbox>,
    /// Something lies in the inbox.
    has_mail: AtomicBool,
    /// New tasks that this worker's tasks have started: it puts them in, any worker takes them out.
    line: Mutex<VecDeque<Entry>>,
    /// How many lie in the line (lower half), and how often one was put in (upper half): looked at without the lock.
    in_line: AtomicU64,
}

struct Inbox {
    /// Tasks that are ready again, and new ones for the host.
    ready: Vec<Entry>,
    /// It was woken to look for new tasks.
    to_search: bool,
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
            to_search: false,
            thread: None,
            asleep: false,
            counted: false,
        }),
        has_mail: AtomicBool::new(false),
        line: Mutex::new(VecDeque::new()),
        in_line: AtomicU64::new(0),
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
    // Before the lines are emptied: a worker that puts something in later sees it, by the line's lock.
    WANTED.store(default_or(wanted), Ordering::Relaxed);
    let mut waiting = std::mem::take(&mut new.queue);
    WAITING.store(0, Ordering::Relaxed);
    for desk in &DESKS[..new.started] {
        let mut line = lock(&desk.line);
        waiting.append(&mut line);
        desk.note_line(&line, 0);
    }
    drop(new);
    if let Some((_, place)) = before
        && before != host
    {
        waiting.extend(worker::take_new(place));
    }
    for entry in waiting {
        // A task that no thread can be had for is lost like one of a thread that could not be started.
        let _ = hand_out(entry);
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

/// Keeps others from what lies in the lines and on the desks.
pub fn hold() -> impl Sized {
    let new = lock(&NEW);
    let lines: Vec<_> = DESKS.iter().map(|desk| lock(&desk.line)).collect();
    let inboxes: Vec<_> = DESKS.iter().map(|desk| lock(&desk.inbox)).collect();
    (new, lines, inboxes)
}

/// Keeps others from taking and giving stacks.
pub fn hold_stacks() -> impl Sized {
    stack::hold()
}

/// No worker is there any more, and what was begun is lost, by the calling thread too; what nobody had begun lies in the queue, until [`start_again`]. See
/// [`takeover`](super::takeover).
pub fn begin_anew() {
    let mut new = lock(&NEW);
    new.set_idle(0);
    new.started = 0;
    new.wanted = usize::MAX;
    new.host = None;
    STARTED.store(0, Ordering::Relaxed);
    WANTED.store(usize::MAX, Ordering::Relaxed);
    SEARCHING.store(0, Ordering::Relaxed);
    let mine = host();
    for (desk, place) in DESKS.iter().zip(0..) {
        let mut line = lock(&desk.line);
        new.queue.append(&mut line);
        desk.note_line(&line, 0);
        let mut inbox = lock(&desk.inbox);
        let ready = std::mem::take(&mut inbox.ready);
        new.queue.extend(ready.into_iter().filter(Entry::is_new));
        inbox.to_search = false;
        inbox.asleep = false;
        inbox.counted = false;
        if mine != Some(place) {
            inbox.thread = None;
        }
        desk.has_mail.store(false, Ordering::Relaxed);
    }
    new.queue.extend(worker::begin_anew());
    WAITING.store(new.queue.len(), Ordering::Relaxed);
}

/// The tasks that nobody has begun.
pub fn not_begun() -> HashSet<*const Task> {
    let new = lock(&NEW);
    new.queue
        .iter()
        .map(|entry| entry.0.as_ptr().cast_const())
        .collect()
}

/// Has the tasks that nobody had begun begun by new workers.
pub fn start_again() {
    let waiting = std::mem::take(&mut lock(&NEW).queue);
    WAITING.store(0, Ordering::Relaxed);
    for entry in waiting {
        // As in `change`.
        let _ = hand_out(entry);
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
pub fn start(task: Arc<Task>) -> io::Result<()> {
    let part = worker::number_or(task.id() as usize) % task::PARTS;
    let entry = Entry(task::enroll(task, part));
    hand_out(entry).inspect_err(|_| drop(task::strike(entry.task())))
}

fn hand_out(entry: Entry) -> io::Result<()> {
    if worker::put_in_line(entry) {
        return Ok(());
    }
    let mut new = lock(&NEW);
    if let Some((_, place)) = new.host {
        drop(new);
        worker::new_for_host(place, entry);
        return Ok(());
    }
    new.queue.push_back(entry);
    let queued = new.queue.len();
    WAITING.store(queued, Ordering::Relaxed);
    if SEARCHING.load(Ordering::Relaxed) >= queued {
        // They look into the queue, under its lock, before they sleep.
        return Ok(());
    }
    match wake_or_start(new) {
        Err((mut new, why)) if new.started == 0 => {
            new.queue.pop_back();
            WAITING.store(new.queue.len(), Ordering::Relaxed);
            Err(why)
        }
        // Where there was no thread for a further worker, those that run will come to it.
        _ => Ok(()),
    }
}

/// Has one more worker look for new tasks, if one sleeps or has not been started. Gives the lock back with an error.
fn wake_or_start(new: MutexGuard<'_, New>) -> Result<(), (MutexGuard<'_, New>, io::Error)> {
    let Err(mut new) = wake_one(new) else {
        return Ok(());
    };
    let wanted = default_or(new.wanted);
    if new.started < wanted {
        if let Err(why) = worker::start(new.started) {
            return Err((new, why));
        }
        new.started += 1;
        STARTED.store(new.started, Ordering::Relaxed);
        WANTED.store(wanted, Ordering::Relaxed);
    }
    Ok(())
}

/// Wakes a worker that sleeps and may take new tasks, to look for some. Gives the lock back when there is none.
fn wake_one(mut new: MutexGuard<'_, New>) -> Result<(), MutexGuard<'_, New>> {
    // A shift that is in range: there are at most `MOST_WORKERS`.
    let may_take: u64 = (1 << default_or(new.wanted)) - 1;
    while new.idle & may_take != 0 {
        let worker = (new.idle & may_take).trailing_zeros() as usize;
        let idle = new.idle & !(1 << worker);
        new.set_idle(idle);
        let mut inbox = lock(&DESKS[worker].inbox);
        let roused = inbox.rouse();
        // One that was roused for something else, and has not taken its bit out yet, has that to do: another one takes this.
        if let Some(thread) = roused {
            inbox.to_search = true;
            SEARCHING.fetch_add(1, Ordering::Relaxed);
            drop(inbox);
            drop(new);
            thread.unpark();
            return Ok(());
        }
    }
    Err(new)
}

/// Has another worker look for new tasks, if there are more of them than workers that look for some. Called by a worker.
fn wake_another(new_tasks: usize) {
    let is_there = IDLE.load(Ordering::Relaxed) != 0
        || STARTED.load(Ordering::Relaxed) < WANTED.load(Ordering::Relaxed);
    if is_there && SEARCHING.load(Ordering::Relaxed) < new_tasks {
        // Without a further thread the caller runs them all.
        let _ = wake_or_start(lock(&NEW));
    }
}

impl Desk {
    /// Notes how many lie in the line, whose lock the caller has, and how many of them are there for the first time.
    fn note_line(&self, line: &VecDeque<Entry>, put: u64) {
        let before = self.in_line.load(Ordering::Relaxed);
        let after = ((before >> 32) + put) << 32 | line.len() as u64;
        self.in_line.store(after, Ordering::Relaxed);
    }
}

fn default_or(wanted: usize) -> usize {
    if wanted == usize::MAX {
        default_workers()
    } else {
        wanted
    }
}

/// Hands a task that is ready again to its worker. Called by whoever claimed its wait: so it is delivered once, and is not run before.
pub fn deliver(worker: u8, task: NonNull<Task>) {
    let entry = Entry(task);
    if worker::is_mine(worker) {
        worker::ready_here(entry);
        if worker::is_falling_asleep() {
            // This thread reports a deadlock: it must not count as asleep when the report is over, or the next one to wait would report another.
            drop(lock(&DESKS[usize::from(worker)].inbox).rouse());
        }
        return;
    }
    bring(worker, entry);
}

/// Puts a task into the inbox of another thread, and wakes that.
fn bring(place: u8, entry: Entry) {
    let desk = &DESKS[usize::from(place)];
    let mut inbox = lock(&desk.inbox);
    inbox.ready.push(entry);
    desk.has_mail.store(true, Ordering::Release);
    let roused = inbox.rouse();
    drop(inbox);
    if let Some(thread) = roused {
        thread.unpark();
    }
}

/// The own wait of the thread at this place is over, which runs tasks meanwhile. It looks for that before it sleeps, under the lock of its inbox.
pub fn rouse_host(place: u8) {
    if worker::is_mine(place) && !worker::is_falling_asleep() {
        return;
    }
    let roused = lock(&DESKS[usize::from(place)].inbox).rouse();
    if let Some(thread) = roused {
        // Also when it is the caller, which reports a deadlock: then it does not fall asleep.
        thread.unpark();
    }
}

/// The most tasks that a worker takes at once.
const HANDFUL: usize = 32;

/// Takes the oldest new task out of the queue, for worker `number`, if it may have one; some more go into its own line.
fn next_new(number: usize) -> Option<Entry> {
    if WAITING.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let mut new = lock(&NEW);
    let workers = default_or(new.wanted);
    if number >= workers {
        return None;
    }
    let first = new.queue.pop_front();
    let more = (new.queue.len() / (2 * workers)).min(HANDFUL);
    if more > 0 {
        let mut line = lock(&DESKS[number].line);
        line.extend(new.queue.drain(..more));
        DESKS[number].note_line(&line, more as u64);
    }
    WAITING.store(new.queue.len(), Ordering::Relaxed);
    first
}

/// Takes a new task out of the own line of worker `number`.
fn next_in_line(number: usize) -> Option<Entry> {
    let desk = &DESKS[number];
    // Nobody else puts anything in.
    if desk.in_line.load(Ordering::Relaxed) as u32 == 0 {
        return None;
    }
    let mut line = lock(&desk.line);
    let first = line.pop_front();
    desk.note_line(&line, 0);
    first
}

/// Takes half of the line of worker `from`, for worker `number`: gives the oldest task, and how many there were; the others go into its own line.
fn take_half(from: usize, number: usize) -> Option<(Entry, u32)> {
    // With this lock, so that `change` finds all that are in a line.
    let new = lock(&NEW);
    if number >= default_or(new.wanted) {
        return None;
    }
    let mut theirs = lock(&DESKS[from].line);
    let first = theirs.pop_front()?;
    let more = (theirs.len() / 2).min(HANDFUL);
    if more > 0 {
        // A second line's lock: only under that of `NEW`.
        let mut mine = lock(&DESKS[number].line);
        mine.extend(theirs.drain(..more));
        DESKS[number].note_line(&mine, more as u64);
    }
    DESKS[from].note_line(&theirs, 0);
    Some((first, 1 + more as u32))
}
