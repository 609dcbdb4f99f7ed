//! What runs green tasks: a worker's thread, or the thread that runs them itself while it waits.
//!
//! All of a worker's own state is a thread-local that nobody else reaches, so switching tasks takes no lock. What others have for a worker lies on its desk.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corosensei::{CoroutineResult, Yielder};
use threadbook_timeline::format::Kind;

use super::stack::{self, GreenStack};
use super::{DESKS, Entry, HOST, MOST_WORKERS, NEW, NONE, SEARCHING, STARTED, WAITING, WANTED};
use super::{bring, next_in_line, next_new, take_half, wake_another};
use crate::hooks;
use crate::recorder;
use crate::rt::task::{self, Ended, Stage, Task, Token};
use crate::rt::{census, lock, many_cores, now, overflow, program, starts, unwinding};

/// A task with a stack of its own, that runs until it suspends itself.
pub type Coroutine = corosensei::Coroutine<(), (), (), GreenStack>;

/// How long a task may keep its worker while others wait for it, before the picture says so.
const HOG: Duration = Duration::from_millis(10);

/// After how many tasks a busy worker looks for new ones: they must not starve behind two that hand a ball to and fro; nor those in the queue behind those
/// in its own line.
const LOOK_FOR_NEW: u32 = 32;

/// How many stacks a worker keeps at hand, and how many it takes or gives at once.
const STACKS: usize = 128;

/// How many records of tasks that have ended a worker keeps.
const RECORDS: usize = 1024;

/// How often an idle worker looks at its desk before it sleeps, where another core can bring it something: about 2 us.
const LOOKS: u32 = 200;

/// What a task takes, on average, that was hardly worth to be fetched by another core: what it does is mostly to wait for memory of the first.
const SHORT: Duration = Duration::from_micros(4);
/// How many looks a worker keeps off others' lines whose last handful from there were [`SHORT`] tasks: about 20 us. Each look at a line takes it from the core
/// that fills it, each task brought over takes some ten lines of memory along, and the worker that has them would have been through with them sooner.
const KEEPS_OFF: u32 = 2_000;

/// How long a worker waits before it looks again whether there is a stack for a new task.
const STARVED: Duration = Duration::from_millis(1);

/// What a thread that runs green tasks keeps for itself.
struct Local {
    /// Its place among the [`DESKS`], or [`NONE`].
    number: Cell<u8>,
    /// Tasks of its own that are ready; a host's new ones too.
    ready: RefCell<VecDeque<Entry>>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    /// How many timers are of waits that have ended.
    stale: Cell<usize>,
    stacks: RefCell<Vec<GreenStack>>,
    /// Tasks that have ended here, to be used again for others.
    records: RefCell<Vec<Arc<Task>>>,
    /// How many of its tasks gave up the thread while they unwound: `thread::panicking` says nothing then.
    unwinding: Cell<usize>,
    /// When the turn began that is under way, in ticks.
    since: Cell<u64>,
    turns: Cell<u32>,
    /// It is counted as asleep and looks whether all are.
    looks: Cell<bool>,
    /// It counts among those that look for new tasks.
    searches: Cell<bool>,
    /// It has timers, or has slept: there may be more to do than the next task.
    looks_first: Cell<bool>,
    /// When it last took tasks out of another's line, and how many.
    took: Cell<Option<(Instant, u32)>>,
    /// How many tasks it has begun that have not ended.
    begun: Cell<usize>,
    /// New tasks for which there was no stack.
    starved: RefCell<VecDeque<Entry>>,
}

struct Timer {
    at: Instant,
    token: Token,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Timer) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            number: Cell::new(NONE),
            ready: RefCell::new(VecDeque::new()),
            timers: RefCell::new(BinaryHeap::new()),
            stale: Cell::new(0),
            stacks: RefCell::new(Vec::new()),
            records: RefCell::new(Vec::new()),
            unwinding: Cell::new(0),
            since: Cell::new(0),
            turns: Cell::new(0),
            looks: Cell::new(false),
            searches: Cell::new(false),
            looks_first: Cell::new(false),
            took: Cell::new(None),
            begun: Cell::new(0),
            starved: RefCell::new(VecDeque::new()),
        }
    };
}

/// Looks at the calling thread's own state. `None` while its thread-locals are destroyed: it runs no tasks any more.
fn local<R>(look: impl FnOnce(&Local) -> R) -> Option<R> {
    LOCAL.try_with(look).ok()
}

/// Starts the thread of worker `number`.
pub fn start(number: usize) -> io::Result<()> {
    census::thread_begins();
    let starts = starts::Inside::enter();
    let started = thread::Builder::new()
        .name(format!("threadbook-worker-{}", number + 1))
        .spawn(move || {
            drop(starts);
            overflow::watch();
            let _alternate = overflow::Alternate::new();
            lock(&DESKS[number].inbox).thread = Some(thread::current());
            LOCAL.with(|local| {
                local.number.set(number as u8);
                loop {
                    local.run_one(&|_| false);
                }
            });
        });
    if started.is_err() {
        census::thread_ends();
    }
    started.map(drop)
}

/// Which of the places for hosts belong to a thread, or to the tasks that one has left behind.
static TAKEN: [AtomicBool; (NONE - HOST) as usize] =
    [const { AtomicBool::new(false) }; (NONE - HOST) as usize];

/// The calling thread runs no tasks, and nobody but it has a place. Gives the new ones that it had. See [`takeover`](crate::rt::takeover).
pub fn begin_anew() -> Vec<Entry> {
    let mine = host();
    for (taken, place) in TAKEN.iter().zip(HOST..) {
        taken.store(Some(place) == mine, Ordering::Relaxed);
    }
    local(|local| {
        // Not dropped: a timer may be the last that has the record of a task whose coroutine must not be unwound.
        std::mem::forget(local.timers.take());
        local.stale.set(0);
        local.begun.set(0);
        let mut new: Vec<Entry> = local.ready.take().into();
        new.extend(local.starved.take());
        new.retain(Entry::is_new);
        new
    })
    .unwrap_or_default()
}

/// Gives the calling thread's place as one that runs tasks itself, its own from the first time on. `None` when all are taken, or it is a worker.
pub fn host_place() -> Option<u8> {
    overflow::watch();
    local(|local| {
        let mut number = local.number.get();
        if number == NONE {
            let free = TAKEN
                .iter()
                .position(|taken| !taken.swap(true, Ordering::AcqRel))?;
            number = HOST + free as u8;
            lock(&DESKS[usize::from(number)].inbox).thread = Some(thread::current());
            local.number.set(number);
        }
        (number >= HOST).then_some(number)
    })
    .flatten()
}

impl Drop for Local {
    /// A thread ends that ran tasks itself. Those that it has begun can go on nowhere else, and keep its place; the others are for the workers.
    fn drop(&mut self) {
        stack::give(self.stacks.get_mut().drain(..));
        let number = self.number.get();
        if !(HOST..NONE).contains(&number) {
            return;
        }
        super::host_ends(number);
        let mut new = take_new(number);
        // Those that it has begun stay where they are: a coroutine must not be reached from elsewhere, and who waits for one waits in vain.
        new.extend(self.ready.get_mut().drain(..).filter(Entry::is_new));
        for entry in new {
            let _ = super::hand_out(entry);
        }
        if self.begun.get() == 0 {
            lock(&DESKS[usize::from(number)].inbox).thread = None;
            TAKEN[usize::from(number - HOST)].store(false, Ordering::Release);
        }
    }
}

/// Takes the new tasks that a host has not come to.
pub fn take_new(place: u8) -> Vec<Entry> {
    let mut inbox = lock(&DESKS[usize::from(place)].inbox);
    let mut new: Vec<Entry> = inbox.ready.extract_if(.., |entry| entry.is_new()).collect();
    drop(inbox);
    if is_mine(place) {
        local(|local| {
            let mut ready = local.ready.borrow_mut();
            let (not_begun, begun): (Vec<_>, Vec<_>) = ready.drain(..).partition(Entry::is_new);
            ready.extend(begun);
            new.extend(not_begun);
        });
    }
    new
}

/// Gives the host at `place` a new task.
pub fn new_for_host(place: u8, entry: Entry) {
    if is_mine(place) {
        ready_here(entry);
    } else {
        bring(place, entry);
    }
}

/// Gives the record of a green task that has ended on this thread, and that nobody looks at any more.
pub fn used_record() -> Option<Arc<Task>> {
    let record = local(|local| local.records.borrow_mut().pop()).flatten()?;
    // Somebody may have it yet: a list of all tasks, or the timer of a wait that is over. When nobody has, nobody can get it any more.
    (Arc::strong_count(&record) == 1).then_some(record)
}

/// Puts a new task into the line of the calling worker; says whether it did. It does not where the caller is none, or may not run new tasks.
pub fn put_in_line(entry: Entry) -> bool {
    let number = number_or(usize::from(NONE));
    if number >= usize::from(HOST) {
        return false;
    }
    let desk = &DESKS[number];
    let mut line = lock(&desk.line);
    if number >= WANTED.load(Ordering::Relaxed) {
        return false;
    }
    line.push_back(entry);
    desk.note_line(&line, 1);
    let new_tasks = line.len();
    drop(line);
    // One that falls asleep says so first and then takes this lock to look into the line: it finds the task, or is seen here.
    wake_another(new_tasks);
    true
}

/// The number of the calling thread's place among the desks; `other` where it has none.
pub fn number_or(other: usize) -> usize {
    match local(|local| local.number.get()) {
        None | Some(NONE) => other,
        Some(number) => usize::from(number),
    }
}

/// Whether the calling thread is worker `number`.
pub fn is_mine(number: u8) -> bool {
    local(|local| local.number.get() == number) == Some(true)
}

/// The place of the calling thread, if it runs green tasks while it waits.
pub fn host() -> Option<u8> {
    let number = local(|local| local.number.get()).unwrap_or(NONE);
    (HOST..NONE).contains(&number).then_some(number)
}

/// A task of this worker is ready.
pub fn ready_here(entry: Entry) {
    local(|local| local.ready.borrow_mut().push_back(entry));
}

/// Whether the calling thread counts as asleep already, and looks whether all are.
pub fn is_falling_asleep() -> bool {
    local(|local| local.looks.get()) == Some(true)
}

/// Whether a task of this thread gave it up while it unwound, so that `thread::panicking` speaks of that one too.
pub fn others_unwind() -> bool {
    local(|local| local.unwinding.get() > 0) == Some(true)
}

/// Waits as a green task: gives the worker to another one until the token is woken, its time runs out, or the task is told to end.
#[inline(always)]
pub fn park(token: &Token, deadline: Option<Instant>) -> Ended {
    if let Some(at) = deadline {
        set_timer(token, at);
    }
    suspend(token.task());
    let ended = token.ended().unwrap_or(Ended::Woken);
    if deadline.is_some() && ended != Ended::TimedOut {
        local(Local::forget_a_timer);
    }
    ended
}

fn set_timer(token: &Token, at: Instant) {
    local(|local| {
        let timer = Timer {
            at,
            token: token.clone(),
        };
        local.timers.borrow_mut().push(Reverse(timer));
        local.looks_first.set(true);
    });
}

/// Lets the others that are ready run before `task` goes on, which is the running one.
#[inline(always)]
pub fn yield_now(task: &Task) {
    task.green().yields.set(true);
    suspend(task);
}

/// Gives the worker to another task until this one is ready again.
///
/// Inlined, as is all that stands between it and what the learner calls, and as `run` is on the other side: each function that returns after a switch returns
/// to where the processor does not expect it, since it knows only the calls of before. That costs 5 ns each.
#[inline(always)]
fn suspend(task: &Task) {
    let _mine = Unwinding::note(task);
    // SAFETY: the running task suspends itself; its coroutine set the yielder at its start, and lives on the stack that this runs on.
    unsafe { (*task.green().yielder.get()).suspend(()) };
}

/// While this is there, `thread::panicking` speaks of a task of this thread that does not run: it gave the thread up in the middle of its unwinding.
struct Unwinding(bool);

impl Unwinding {
    /// Notes it if the calling task unwinds, and is about to let others run on its thread.
    #[inline(always)]
    fn note(task: &Task) -> Unwinding {
        if !thread::panicking() {
            // Known for certain now, and asked when another one of this thread is in the middle of its unwinding.
            task.does_not_unwind();
            return Unwinding(false);
        }
        let unwinds = unwinding();
        if unwinds {
            local(|local| local.unwinding.set(local.unwinding.get() + 1));
        }
        Unwinding(unwinds)
    }
}

impl Drop for Unwinding {
    #[inline(always)]
    fn drop(&mut self) {
        if self.0 {
            local(|local| local.unwinding.set(local.unwinding.get() - 1));
        }
    }
}

/// Waits as the thread that runs the tasks itself: runs them until the token is woken or `deadline` has passed.
pub fn wait_as_host(token: &Token, deadline: Option<Instant>) -> Ended {
    let _mine = task::with_current(Unwinding::note);
    let until = Cell::new(deadline);
    let over = || {
        if let Some(ended) = token.ended() {
            return Some(ended);
        }
        if let Some(at) = until.get()
            && now() >= at
        {
            if token.give_up() {
                return Some(Ended::TimedOut);
            }
            // Claimed at the last moment: what is given must be taken, however long that takes.
            until.set(None);
            let _ = WAKE_AT.try_with(|at| at.set(None));
        }
        None
    };
    let _ = WAKE_AT.try_with(|at| at.set(deadline));
    let ran = local(|local| {
        local.since.set(recorder::ticks_if_recording());
        loop {
            if let Some(ended) = over() {
                return ended;
            }
            local.run_one(&|_| token.ended().is_some());
        }
    });
    ran.unwrap_or_else(|| {
        loop {
            if let Some(ended) = over() {
                return ended;
            }
            thread::yield_now();
        }
    })
}

/// Lets every task run once that is ready now, as the thread that runs them itself.
pub fn yield_as_host() {
    let _mine = task::with_current(Unwinding::note);
    local(|local| {
        local.since.set(recorder::ticks_if_recording());
        local.take_mail();
        let ready = local.ready.borrow().len();
        for _ in 0..ready {
            let Some(next) = local.ready.borrow_mut().pop_front() else {
                return;
            };
            local.run(next);
        }
    });
}

thread_local! {
    /// Until when the host may sleep, for its own wait.
    static WAKE_AT: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Local {
    /// Runs the next task until it gives the thread up; sleeps when there is none, until there is or `done` says so.
    #[inline(always)]
    fn run_one(&self, done: &dyn Fn(&Local) -> bool) {
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        // Mostly there is nothing to do but the next task.
        if !turn.is_multiple_of(LOOK_FOR_NEW) && !self.looks_first.get() && !self.has_mail() {
            let next = self.ready.borrow_mut().pop_front();
            if let Some(entry) = next {
                return self.run(entry);
            }
        }
        if let Some(entry) = self.look_for_one(turn, done) {
            self.run(entry);
        }
    }

    fn has_mail(&self) -> bool {
        DESKS[usize::from(self.number.get())]
            .has_mail
            .load(Ordering::Relaxed)
    }

    /// Gives the next task after a look at all that may be to be done besides. Sleeps when there is none, and then may give none.
    #[inline(never)]
    fn look_for_one(&self, turn: u32, done: &dyn Fn(&Local) -> bool) -> Option<Entry> {
        self.take_mail();
        self.fire_timers();
        let number = usize::from(self.number.get());
        let is_host = number >= usize::from(HOST);
        let mut next = None;
        if turn.is_multiple_of(LOOK_FOR_NEW) && !is_host {
            next = if turn.is_multiple_of(2 * LOOK_FOR_NEW) {
                next_new(number)
            } else {
                next_in_line(number)
            };
        }
        next = next.or_else(|| self.ready.borrow_mut().pop_front());
        if next.is_none() && !is_host {
            next = next_in_line(number).or_else(|| next_new(number));
        }
        if next.is_none() && !self.starved.borrow().is_empty() {
            // Where there was no stack there may be one now. In between it sleeps for a while.
            self.idle(done);
            self.search_no_more();
            return self.starved.borrow_mut().pop_front();
        }
        self.looks_first.set(!self.timers.borrow().is_empty());
        if next.is_none() {
            self.idle(done);
        } else if self.searches.get() {
            self.search_no_more();
            // There may be as much for another one.
            wake_another(WAITING.load(Ordering::Relaxed));
        }
        next
    }

    /// Whether it is a worker and may take new tasks from others.
    fn may_begin_new(&self) -> bool {
        let number = usize::from(self.number.get());
        number < usize::from(HOST) && number < WANTED.load(Ordering::Relaxed)
    }

    fn search_no_more(&self) {
        if self.searches.replace(false) {
            SEARCHING.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Looks for a while whether there is something to do, before this thread sleeps; says whether there is.
    fn search(&self, done: &dyn Fn(&Local) -> bool) -> bool {
        let number = usize::from(self.number.get());
        let desk = &DESKS[number];
        let mut seen_before = [0; MOST_WORKERS];
        let keeps_off = self
            .took
            .take()
            .is_some_and(|(at, tasks)| at.elapsed() < SHORT * tasks);
        let first = if keeps_off { KEEPS_OFF } else { 0 };
        for look in 0..first + LOOKS {
            if desk.has_mail.load(Ordering::Relaxed) || done(self) {
                return true;
            }
            if !self.may_begin_new() || look < first {
                std::hint::spin_loop();
                continue;
            }
            let look = look - first;
            if WAITING.load(Ordering::Relaxed) > 0 {
                return true;
            }
            let workers = STARTED.load(Ordering::Relaxed);
            for (other, seen) in seen_before[..workers].iter_mut().enumerate() {
                let in_line = DESKS[other].in_line.load(Ordering::Relaxed);
                // One alone is left to the worker that has it, which is about to begin it: unless it lies there for long.
                let is_left_alone = in_line as u32 == 1 && (look < LOOKS / 2 || in_line != *seen);
                *seen = in_line;
                if in_line as u32 > 0
                    && !is_left_alone
                    && other != number
                    && let Some((entry, tasks)) = take_half(other, number)
                {
                    self.took.set(Some((now(), tasks)));
                    self.ready.borrow_mut().push_back(entry);
                    return true;
                }
            }
            std::hint::spin_loop();
        }
        false
    }

    fn take_mail(&self) {
        let desk = &DESKS[usize::from(self.number.get())];
        if desk.has_mail.load(Ordering::Acquire) {
            self.empty(&mut lock(&desk.inbox));
        }
    }

    fn empty(&self, inbox: &mut super::Inbox) {
        self.ready.borrow_mut().extend(inbox.ready.drain(..));
        DESKS[usize::from(self.number.get())]
            .has_mail
            .store(false, Ordering::Relaxed);
    }

    /// Tasks whose time has run out are ready.
    fn fire_timers(&self) {
        let mut timers = self.timers.borrow_mut();
        if timers.is_empty() {
            return;
        }
        let now = now();
        while timers.peek().is_some_and(|Reverse(timer)| timer.at <= now) {
            let Some(Reverse(timer)) = timers.pop() else {
                return;
            };
            if timer.token.give_up() {
                let task = NonNull::from(&**timer.token.task());
                self.ready.borrow_mut().push_back(Entry(task));
            } else {
                self.stale.set(self.stale.get().saturating_sub(1));
            }
        }
    }

    /// A wait with a time limit ended before it. Its timer is thrown away with others when they are many.
    fn forget_a_timer(&self) {
        let stale = self.stale.get() + 1;
        self.stale.set(stale);
        let mut timers = self.timers.borrow_mut();
        if stale > 64 && stale > timers.len() / 2 {
            timers.retain(|Reverse(timer)| timer.token.is_waiting());
            self.stale.set(0);
        }
    }

    /// Throws away the next timers, as long as they are of waits that have ended: no time limit of theirs will wake anybody.
    fn drop_stale_timers(&self) {
        let mut timers = self.timers.borrow_mut();
        while timers
            .peek()
            .is_some_and(|Reverse(timer)| !timer.token.is_waiting())
        {
            timers.pop();
            self.stale.set(self.stale.get().saturating_sub(1));
        }
    }

    /// Runs a task until it suspends itself or ends. Inlined into the loops of those who call it: see [`suspend`].
    #[inline(always)]
    fn run(&self, entry: Entry) {
        let task = entry.task();
        let green = task.green();
        // SAFETY: this worker has the task out of a line; see `Task`.
        let mut stage = unsafe { &mut *green.stage.get() };
        if let Stage::New(_) = stage {
            if !self.begin(entry) {
                return;
            }
            // SAFETY: as above.
            stage = unsafe { &mut *green.stage.get() };
        }
        let number = self.number.get();
        let before = task::carry(task, if number >= HOST { u8::MAX } else { number + 1 });
        let Stage::Begun(coroutine) = stage else {
            unreachable!("a task that is ready has begun and not ended");
        };
        let result = coroutine.resume(());
        // One look at the clock for each turn: the next one begins where this one ended.
        let now = recorder::ticks_if_recording();
        let since = self.since.replace(now);
        if now != 0 && since != 0 {
            self.tell_if_it_hogged(now.wrapping_sub(since));
        }
        task::carry_no_more(before);
        match result {
            CoroutineResult::Yield(()) => {
                if green.yields.replace(false) {
                    self.ready.borrow_mut().push_back(entry);
                }
            }
            CoroutineResult::Return(()) => self.end(task),
        }
    }

    /// Records it if the task that runs kept the thread for so many ticks that others had to wait for long.
    #[inline(never)]
    fn tell_if_it_hogged(&self, ticks: u64) {
        if ticks > hog_ticks() && (WAITING.load(Ordering::Relaxed) > 0 || self.others_wait()) {
            let micros = recorder::ticks_to_duration(ticks).as_micros();
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            recorder::record(Kind::Hogged, 0, micros, 0, None);
        }
    }

    /// A task has come to its end.
    #[inline(never)]
    fn end(&self, task: &Task) {
        // SAFETY: as in `run`, where the coroutine is not used any more.
        let stage = std::mem::replace(unsafe { &mut *task.green().stage.get() }, Stage::Over);
        if let Stage::Begun(coroutine) = stage {
            self.keep(coroutine.into_stack());
        }
        self.begun.set(self.begun.get() - 1);
        if let Some(task) = task::strike(task) {
            task.end();
            program::one_has_ended(task.program());
            let mut records = self.records.borrow_mut();
            if records.len() < RECORDS {
                records.push(task);
            }
        }
    }

    /// Whether another task than the one that runs waits for the thread.
    fn others_wait(&self) -> bool {
        let desk = &DESKS[usize::from(self.number.get())];
        !self.ready.borrow().is_empty()
            || desk.has_mail.load(Ordering::Relaxed)
            || desk.in_line.load(Ordering::Relaxed) as u32 > 0
    }

    /// Gives a new task a stack. False when there is no memory for one: then it is put back, to be begun when others have ended.
    #[inline(never)]
    fn begin(&self, entry: Entry) -> bool {
        let mut stacks = self.stacks.borrow_mut();
        if stacks.is_empty()
            && let Err(why) = stack::take(&mut stacks, STACKS)
        {
            drop(stacks);
            self.no_stack(entry, &why);
            return false;
        }
        let Some(stack) = stacks.pop() else {
            return false;
        };
        drop(stacks);
        let green = entry.task().green();
        green.worker.store(self.number.get(), Ordering::Relaxed);
        // SAFETY: as in `run`.
        let stage = unsafe { &mut *green.stage.get() };
        let Stage::New(body) = std::mem::replace(stage, Stage::Over) else {
            unreachable!("a task is begun once");
        };
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            entry.task().green().yielder.set(yielder);
            body.run();
        });
        *stage = Stage::Begun(coroutine);
        self.begun.set(self.begun.get() + 1);
        true
    }

    #[cold]
    fn no_stack(&self, entry: Entry, why: &io::Error) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Ordering::Relaxed) {
            hooks::say(&format!(
                "threadbook: no stack for a further task ({why}); tasks begin when others have ended"
            ));
        }
        self.starved.borrow_mut().push_back(entry);
    }

    fn keep(&self, stack: GreenStack) {
        let mut stacks = self.stacks.borrow_mut();
        stacks.push(stack);
        if stacks.len() >= 2 * STACKS {
            stack::give(stacks.drain(..STACKS));
        }
    }

    /// Sleeps until there is something to do, or until a timer's time.
    fn idle(&self, done: &dyn Fn(&Local) -> bool) {
        self.looks_first.set(true);
        let number = usize::from(self.number.get());
        let desk = &DESKS[number];
        if many_cores() {
            if !self.searches.get() && self.may_begin_new() {
                self.searches.set(true);
                SEARCHING.fetch_add(1, Ordering::Relaxed);
            }
            if self.search(done) {
                return;
            }
        }
        self.search_no_more();
        let is_host = number >= usize::from(HOST);
        self.drop_stale_timers();
        let mut until = self.timers.borrow().peek().map(|Reverse(timer)| timer.at);
        if !self.starved.borrow().is_empty() {
            let at = now() + STARVED;
            until = Some(until.map_or(at, |other| other.min(at)));
        }
        if is_host && let Some(at) = WAKE_AT.try_with(Cell::get).ok().flatten() {
            until = Some(until.map_or(at, |other| other.min(at)));
        }
        {
            let mut new = lock(&NEW);
            if !is_host {
                // Said first, then looked: see `put_in_line`.
                let idle = new.idle | 1 << number;
                new.set_idle(idle);
            }
            let has_line = |desk: &super::Desk| !lock(&desk.line).is_empty();
            let for_me = !is_host
                && number < super::default_or(new.wanted)
                && (!new.queue.is_empty() || DESKS[..new.started].iter().any(has_line));
            let mut inbox = lock(&desk.inbox);
            if for_me || !inbox.ready.is_empty() || done(self) {
                self.empty(&mut inbox);
                if !is_host {
                    let idle = new.idle & !(1 << number);
                    new.set_idle(idle);
                }
                return;
            }
            inbox.asleep = true;
            inbox.counted = until.is_none();
            if inbox.counted {
                census::falls_asleep();
            }
        }
        if until.is_none() {
            self.looks.set(true);
            census::look();
            self.looks.set(false);
        }
        loop {
            // A report by this very thread puts its own tasks among the ready ones.
            if !self.ready.borrow().is_empty() || done(self) {
                drop(lock(&desk.inbox).rouse());
                break;
            }
            match until {
                None => thread::park(),
                Some(at) => thread::park_timeout(at.saturating_duration_since(now())),
            }
            let mut inbox = lock(&desk.inbox);
            let on_time = until.is_some_and(|at| now() >= at);
            if !inbox.asleep || on_time {
                drop(inbox.rouse());
                break;
            }
        }
        if !is_host {
            let mut new = lock(&NEW);
            let idle = new.idle & !(1 << number);
            new.set_idle(idle);
            drop(new);
            if std::mem::take(&mut lock(&desk.inbox).to_search) {
                // Counted by who woke it.
                self.searches.set(true);
            }
        }
        self.since.set(recorder::ticks_if_recording());
    }
}

/// [`HOG`] in ticks.
fn hog_ticks() -> u64 {
    use std::sync::atomic::AtomicU64;
    static TICKS: AtomicU64 = AtomicU64::new(0);
    let known = TICKS.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let ticks = (HOG.as_nanos() * u128::from(recorder::ticks_per_second()) / 1_000_000_000) as u64;
    TICKS.store(ticks.max(1), Ordering::Relaxed);
    ticks
}
