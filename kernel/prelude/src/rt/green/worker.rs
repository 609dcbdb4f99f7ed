//! What runs green tasks: a worker's thread, or the thread that runs them itself while it waits.
//!
//! All of a worker's own state is a thread-local that nobody else reaches, so switching tasks takes no lock. What others have for a worker lies on its desk.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corosensei::{CoroutineResult, Yielder};
use threadbook_timeline::format::Kind;

use super::stack::{self, GreenStack};
use super::{DESKS, Fresh, HOST, NEW, NONE, WAITING, next_new};
use crate::hooks;
use crate::recorder;
use crate::rt::task::{self, Ended, Task, Token};
use crate::rt::{census, lock, many_cores, now, overflow, unwinding};

/// A task with a stack of its own, that runs until it suspends itself.
pub type Coroutine = corosensei::Coroutine<(), (), (), GreenStack>;

/// How long a task may keep its worker while others wait for it, before the picture says so.
const HOG: Duration = Duration::from_millis(10);

/// After how many tasks a busy worker looks for new ones: they must not starve behind two that hand a ball to and fro.
const LOOK_FOR_NEW: u32 = 32;

/// How many stacks a worker keeps at hand, and how many it takes or gives at once.
const STACKS: usize = 128;

/// How often an idle worker looks at its desk before it sleeps, where another core can bring it something: about 2 us.
const LOOKS: u32 = 200;

/// How long a worker waits before it looks again whether there is a stack for a new task.
const STARVED: Duration = Duration::from_millis(1);

/// What a thread that runs green tasks keeps for itself.
struct Local {
    /// Its place among the [`DESKS`], or [`NONE`].
    number: Cell<u8>,
    ready: RefCell<VecDeque<Next>>,
    timers: RefCell<BinaryHeap<Reverse<Timer>>>,
    /// How many timers are of waits that have ended.
    stale: Cell<usize>,
    stacks: RefCell<Vec<GreenStack>>,
    /// How many of its tasks gave up the thread while they unwound: `thread::panicking` says nothing then.
    unwinding: Cell<usize>,
    /// When the turn began that is under way, in ticks.
    since: Cell<u64>,
    turns: Cell<u32>,
    /// It is counted as asleep and looks whether all are.
    looks: Cell<bool>,
    /// The task that gives the thread up is ready all the same.
    yields: Cell<bool>,
    /// How many tasks it has begun that have not ended.
    begun: Cell<usize>,
    /// New tasks for which there was no stack.
    starved: RefCell<VecDeque<Fresh>>,
}

/// What a worker does next.
enum Next {
    GoOn(Arc<Task>),
    Begin(Fresh),
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
            unwinding: Cell::new(0),
            since: Cell::new(0),
            turns: Cell::new(0),
            looks: Cell::new(false),
            yields: Cell::new(false),
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
    let started = thread::Builder::new()
        .name(format!("threadbook-worker-{}", number + 1))
        .spawn(move || {
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
        let mut new = take_fresh(number);
        for next in std::mem::take(self.ready.get_mut()) {
            match next {
                Next::Begin(fresh) => new.push(fresh),
                // Its coroutine must not be reached from elsewhere, and who waits for it waits in vain.
                Next::GoOn(task) => std::mem::forget(task),
            }
        }
        for Fresh { task, body } in new {
            let _ = super::start(task, body);
        }
        if self.begun.get() == 0 {
            lock(&DESKS[usize::from(number)].inbox).thread = None;
            TAKEN[usize::from(number - HOST)].store(false, Ordering::Release);
        }
    }
}

/// Takes the new tasks that a host has not come to.
pub fn take_fresh(place: u8) -> Vec<Fresh> {
    let mut fresh: Vec<Fresh> = std::mem::take(&mut lock(&DESKS[usize::from(place)].inbox).fresh);
    if is_mine(place) {
        fresh.extend(take_not_begun_here(|_| true));
    }
    fresh
}

/// Takes the new tasks out of the host's line that are `wanted`, if the calling thread is the host.
pub fn take_not_begun_here(wanted: impl Fn(&Task) -> bool) -> Vec<Fresh> {
    local(|local| {
        let mut taken = Vec::new();
        let mut ready = local.ready.borrow_mut();
        for next in std::mem::take(&mut *ready) {
            match next {
                Next::Begin(fresh) if wanted(&fresh.task) => taken.push(fresh),
                next => ready.push_back(next),
            }
        }
        taken
    })
    .unwrap_or_default()
}

/// Gives the host at `place` a new task.
pub fn fresh_for_host(place: u8, fresh: Fresh) {
    if is_mine(place) {
        local(|local| local.ready.borrow_mut().push_back(Next::Begin(fresh)));
        return;
    }
    let desk = &DESKS[usize::from(place)];
    let mut inbox = lock(&desk.inbox);
    inbox.fresh.push(fresh);
    desk.has_mail.store(true, Ordering::Release);
    let roused = inbox.rouse();
    drop(inbox);
    if let Some(thread) = roused {
        thread.unpark();
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

/// A task of this worker is ready again.
pub fn ready_here(task: Arc<Task>) {
    local(|local| local.ready.borrow_mut().push_back(Next::GoOn(task)));
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
pub fn park(token: &Token, deadline: Option<Instant>) -> Ended {
    if let Some(at) = deadline {
        local(|local| {
            let timer = Timer {
                at,
                token: token.clone(),
            };
            local.timers.borrow_mut().push(Reverse(timer));
        });
    }
    suspend(token.task());
    let ended = token.ended().unwrap_or(Ended::Woken);
    if deadline.is_some() && ended != Ended::TimedOut {
        local(Local::forget_a_timer);
    }
    ended
}

/// Lets the others that are ready run before the running task goes on.
pub fn yield_now() {
    local(|local| local.yields.set(true));
    task::with_current(suspend);
}

/// Gives the worker to another task until this one is ready again.
fn suspend(task: &Task) {
    let _mine = Unwinding::note();
    // SAFETY: the running task suspends itself; its coroutine set the yielder at its start, and lives on the stack that this runs on.
    unsafe { (*task.green().yielder.get()).suspend(()) };
}

/// While this is there, `thread::panicking` speaks of a task of this thread that does not run: it gave the thread up in the middle of its unwinding.
struct Unwinding(bool);

impl Unwinding {
    /// Notes it if the calling task unwinds, and is about to let others run on its thread.
    fn note() -> Unwinding {
        let unwinds = unwinding();
        if unwinds {
            local(|local| local.unwinding.set(local.unwinding.get() + 1));
        }
        Unwinding(unwinds)
    }
}

impl Drop for Unwinding {
    fn drop(&mut self) {
        if self.0 {
            local(|local| local.unwinding.set(local.unwinding.get() - 1));
        }
    }
}

/// Waits as the thread that runs the tasks itself: runs them until the token is woken or `deadline` has passed.
pub fn wait_as_host(token: &Token, deadline: Option<Instant>) -> Ended {
    local(|local| local.since.set(recorder::ticks_if_recording()));
    let _mine = Unwinding::note();
    loop {
        if let Some(ended) = token.ended() {
            return ended;
        }
        if let Some(at) = deadline
            && now() >= at
            && token.give_up()
        {
            return Ended::TimedOut;
        }
        let ran = local(|local| {
            local.wake_at(deadline);
            local.run_one(&|_| token.ended().is_some());
        });
        if ran.is_none() {
            thread::yield_now();
        }
    }
}

/// Lets every task run once that is ready now, as the thread that runs them itself.
pub fn yield_as_host() {
    let _mine = Unwinding::note();
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
    fn wake_at(&self, deadline: Option<Instant>) {
        let _ = WAKE_AT.try_with(|at| at.set(deadline));
    }

    /// Runs the next task until it gives the thread up; sleeps when there is none, until there is or `done` says so.
    fn run_one(&self, done: &dyn Fn(&Local) -> bool) {
        self.take_mail();
        self.fire_timers();
        let turn = self.turns.get().wrapping_add(1);
        self.turns.set(turn);
        let is_host = self.number.get() >= HOST;
        let mut next = None;
        if turn.is_multiple_of(LOOK_FOR_NEW) && !is_host {
            next = next_new(usize::from(self.number.get())).map(Next::Begin);
        }
        next = next.or_else(|| self.ready.borrow_mut().pop_front());
        if next.is_none() && !is_host {
            next = next_new(usize::from(self.number.get())).map(Next::Begin);
        }
        if next.is_none() && !self.starved.borrow().is_empty() {
            // Where there was no stack there may be one now. In between it sleeps for a while.
            self.idle(done);
            next = self.starved.borrow_mut().pop_front().map(Next::Begin);
            if next.is_none() {
                return;
            }
        }
        match next {
            Some(next) => self.run(next),
            None => self.idle(done),
        }
    }

    fn take_mail(&self) {
        let desk = &DESKS[usize::from(self.number.get())];
        if desk.has_mail.load(Ordering::Acquire) {
            self.empty(&mut lock(&desk.inbox));
        }
    }

    fn empty(&self, inbox: &mut super::Inbox) {
        let mut ready = self.ready.borrow_mut();
        ready.extend(inbox.ready.drain(..).map(Next::GoOn));
        ready.extend(inbox.fresh.drain(..).map(Next::Begin));
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
                self.ready
                    .borrow_mut()
                    .push_back(Next::GoOn(timer.token.task().clone()));
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

    /// Runs a task until it suspends itself or ends.
    fn run(&self, next: Next) {
        let task = match next {
            Next::GoOn(task) => {
                // The host's own wait is over: it sees that by itself.
                if !task.is_green() {
                    return;
                }
                task
            }
            Next::Begin(fresh) => match self.begin(fresh) {
                Some(task) => task,
                None => return,
            },
        };
        let number = self.number.get();
        let before = task::carry(&task, if number >= HOST { u8::MAX } else { number + 1 });
        // SAFETY: a started task's coroutine is there until it ends, and is reached by its own worker alone, which is this thread.
        let coroutine = unsafe { &mut *task.green().coroutine.get() };
        let result = coroutine
            .as_mut()
            .expect("a task that is ready has begun and not ended")
            .resume(());
        // One look at the clock for each turn: the next one begins where this one ended.
        let now = recorder::ticks_if_recording();
        let since = self.since.replace(now);
        let passed = now.wrapping_sub(since);
        if now != 0
            && since != 0
            && passed > hog_ticks()
            && (WAITING.load(Ordering::Relaxed) > 0 || self.others_wait())
        {
            let micros = recorder::ticks_to_duration(passed).as_micros();
            let micros = u32::try_from(micros).unwrap_or(u32::MAX);
            recorder::record(Kind::Hogged, 0, micros, 0, None);
        }
        task::carry_no_more(before);
        match result {
            CoroutineResult::Yield(()) => {
                if self.yields.replace(false) {
                    self.ready.borrow_mut().push_back(Next::GoOn(task));
                }
            }
            CoroutineResult::Return(()) => {
                if let Some(coroutine) = coroutine.take() {
                    self.keep(coroutine.into_stack());
                }
                self.begun.set(self.begun.get() - 1);
                task::strike(&task);
                task.end();
            }
        }
    }

    /// Whether another task than the one that runs waits for the thread.
    fn others_wait(&self) -> bool {
        !self.ready.borrow().is_empty()
            || DESKS[usize::from(self.number.get())]
                .has_mail
                .load(Ordering::Relaxed)
    }

    /// Gives a new task a stack and puts it on the roster. `None` when there is no memory for one: then it is put back, to be begun when others have ended.
    fn begin(&self, fresh: Fresh) -> Option<Arc<Task>> {
        let mut stacks = self.stacks.borrow_mut();
        if stacks.is_empty()
            && let Err(why) = stack::take(&mut stacks, STACKS)
        {
            drop(stacks);
            self.no_stack(fresh, &why);
            return None;
        }
        let stack = stacks.pop()?;
        drop(stacks);
        let Fresh { task, body } = fresh;
        let green = task.green();
        green.worker.store(self.number.get(), Ordering::Relaxed);
        let its_task = Arc::as_ptr(&task);
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            // SAFETY: the worker keeps the task alive while its coroutine runs.
            unsafe { &*its_task }.green().yielder.set(yielder);
            body();
        });
        // SAFETY: the task has not begun, so nobody else knows where it runs.
        unsafe { *green.coroutine.get() = Some(coroutine) };
        task::enroll(&task, usize::from(self.number.get()) % task::PARTS);
        self.begun.set(self.begun.get() + 1);
        Some(task)
    }

    #[cold]
    fn no_stack(&self, fresh: Fresh, why: &io::Error) {
        static TOLD: AtomicBool = AtomicBool::new(false);
        if !TOLD.swap(true, Ordering::Relaxed) {
            hooks::say(&format!(
                "threadbook: no stack for a further task ({why}); tasks begin when others have ended"
            ));
        }
        self.starved.borrow_mut().push_back(fresh);
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
        let number = usize::from(self.number.get());
        let desk = &DESKS[number];
        if many_cores() {
            for _ in 0..LOOKS {
                if desk.has_mail.load(Ordering::Relaxed)
                    || WAITING.load(Ordering::Relaxed) > 0
                    || done(self)
                {
                    break;
                }
                std::hint::spin_loop();
            }
        }
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
            if !is_host && !new.queue.is_empty() && number < super::default_or(new.wanted) {
                return;
            }
            let mut inbox = lock(&desk.inbox);
            if !inbox.ready.is_empty() || !inbox.fresh.is_empty() || done(self) {
                self.empty(&mut inbox);
                return;
            }
            inbox.asleep = true;
            inbox.counted = until.is_none();
            if inbox.counted {
                census::falls_asleep();
            }
            if !is_host {
                new.idle |= 1 << number;
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
            lock(&NEW).idle &= !(1 << number);
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
