//! One task as the runtime knows it: who it is, what it waits for, how it is woken and how it is ended.
//!
//! A task has one wait at a time, and each wait has a number. A [`Token`] names one wait of one task: whoever claims it has the right and the duty to let
//! the task go on. So a token that lies in a queue when its wait is over is worth nothing, and nobody needs to find it there.

use std::cell::{Cell, UnsafeCell};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{self, Thread};

use threadbook_timeline::format::{Cause, Kind, MAIN_TASK};

use super::green::{self, Coroutine};
use super::phases::{CLAIMED, CUT, GAVE_UP, Phases, WAITING, WOKEN};
use super::{Body, census, ending, lock, program};
use crate::recorder;
use crate::wait::Wait;

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// Somebody let the task go on.
    Woken,
    /// Its time ran out.
    TimedOut,
    /// The task is to end: clean up, then call [`unwind`](super::unwind).
    Cut,
}

/// A task: a thread that the prelude started, a green task, or any other thread that used the prelude.
pub struct Task {
    id: u32,
    name: Option<Box<str>>,
    /// The number of the cell that it belongs to; 0 outside of a notebook.
    cell: u32,
    /// The number of the `program` that it belongs to; 0 for none.
    program: AtomicU32,
    /// Its last wait, and how far that has come.
    phases: Phases,
    /// The [`Cause`] for which it is to end; 0 for none.
    cut: AtomicU8,
    /// Whether it unwinds for that cause.
    unwinds: AtomicBool,
    /// Whether it was told to end while it unwound already, from a panic of its own.
    told_in_vain: AtomicBool,
    /// Whether the panic hook told of the panic that unwinds it.
    panic_told: AtomicBool,
    /// Whether it runs in a destructor of a thread-local, behind the task that its thread was started for.
    in_destructors: bool,
    /// What it waits for. Lives on its stack while it waits; looked at when all are asleep, and then nothing moves.
    waits: AtomicPtr<Wait<'static>>,
    /// Its place on the [`ROSTER`]: the part, and the seat there.
    seat: AtomicU64,
    ended: AtomicBool,
    /// The recording that was told its name last; for a green task, whose thread is others' too.
    told: AtomicU32,
    carrier: Carrier,
}

/// What carries a task.
enum Carrier {
    /// A thread of its own, once it runs, and the place at which that runs green tasks while this one waits, or [`green::NONE`].
    Thread(OnceLock<Thread>, AtomicU8),
    Green(Green),
}

/// What a worker keeps of a green task.
pub struct Green {
    /// The worker's place, once the task has begun; before that [`green::NONE`].
    pub worker: AtomicU8,
    /// The task gives the thread up, and is ready all the same.
    pub yields: Cell<bool>,
    /// How far it has come.
    pub stage: UnsafeCell<Stage>,
    /// By which it suspends itself.
    pub yielder: Cell<*const corosensei::Yielder<(), ()>>,
}

/// How far a green task has come.
pub enum Stage {
    /// Nobody has begun it: what it will run.
    New(Arc<dyn Body>),
    /// It runs, or waits.
    Begun(Coroutine),
    /// Nothing of it runs any more.
    Over,
}

// SAFETY: all but `Green` is shared by atomics. What that holds is touched by one thread at a time: before the beginning by who has the task out of a line of
// new ones, which a lock or a thread of its own guards; then by the one worker alone that began it: who has a task's token only hands it to that worker.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

/// All tasks that run or wait, in parts so that tasks that start and end at once do not stand in line.
static ROSTER: [Mutex<Part>; PARTS] = [const { Mutex::new(Part::new()) }; PARTS];
/// In how many parts.
pub const PARTS: usize = 16;

struct Part {
    seats: Vec<Option<Arc<Task>>>,
    free: Vec<u32>,
}

impl Part {
    const fn new() -> Part {
        Part {
            seats: Vec::new(),
            free: Vec::new(),
        }
    }
}

/// The cell that is evaluated; 0 before the first.
static CELL: AtomicU32 = AtomicU32::new(0);
/// The cell that runs; 0 between cells.
static RUNS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The task that runs on this thread: made by `Arc::into_raw`, lent by a worker that keeps it alive, or null. Without a destructor, so that destructors of other thread-locals may wait.
    static CURRENT: Cell<*const Task> = const { Cell::new(std::ptr::null()) };
}

impl Task {
    /// Makes the record of a task that the calling one starts.
    pub fn child(id: u32, name: Option<&str>) -> Task {
        let (cell, program) = with_current(|parent| (parent.cell, parent.program()));
        let carrier = Carrier::Thread(OnceLock::new(), AtomicU8::new(green::NONE));
        Task::new(id, name, cell, program, carrier)
    }

    /// Makes the record of a green task that the calling one starts, out of that of one that has ended where there is such.
    pub fn green_child(id: u32, name: Option<&str>, body: Arc<dyn Body>) -> Arc<Task> {
        let mut record = green::used_record().unwrap_or_else(|| {
            let green = Green {
                worker: AtomicU8::new(green::NONE),
                yields: Cell::new(false),
                stage: UnsafeCell::new(Stage::Over),
                yielder: Cell::new(std::ptr::null()),
            };
            Arc::new(Task::new(0, None, 0, 0, Carrier::Green(green)))
        });
        let (cell, program) = with_current(|parent| (parent.cell, parent.program()));
        // One by one: to move the whole takes longer than all else here.
        let task = Arc::get_mut(&mut record).expect("a record that nobody else has");
        task.id = id;
        task.name = name.map(Box::from);
        task.cell = cell;
        *task.program.get_mut() = program;
        // The number of the wait goes on: no token of before is one of this task's.
        task.phases.rest();
        *task.cut.get_mut() = 0;
        *task.unwinds.get_mut() = false;
        *task.told_in_vain.get_mut() = false;
        *task.panic_told.get_mut() = false;
        *task.waits.get_mut() = std::ptr::null_mut();
        *task.ended.get_mut() = false;
        // Told at its spawn.
        *task.told.get_mut() = recorder::recording();
        let Carrier::Green(green) = &mut task.carrier else {
            unreachable!("the record of a green task");
        };
        *green.worker.get_mut() = green::NONE;
        green.yields.set(false);
        *green.stage.get_mut() = Stage::New(body);
        record
    }

    fn new(id: u32, name: Option<&str>, cell: u32, program: u32, carrier: Carrier) -> Task {
        Task {
            id,
            name: name.map(Box::from),
            cell,
            program: AtomicU32::new(program),
            phases: Phases::new(),
            cut: AtomicU8::new(0),
            unwinds: AtomicBool::new(false),
            told_in_vain: AtomicBool::new(false),
            panic_told: AtomicBool::new(false),
            in_destructors: false,
            waits: AtomicPtr::new(std::ptr::null_mut()),
            seat: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            told: AtomicU32::new(0),
            carrier,
        }
    }

    /// Whether it is a green task.
    pub fn is_green(&self) -> bool {
        matches!(self.carrier, Carrier::Green(_))
    }

    /// What its worker keeps of it.
    ///
    /// # Panics
    /// When it is no green task.
    pub fn green(&self) -> &Green {
        match &self.carrier {
            Carrier::Green(green) => green,
            Carrier::Thread(..) => panic!("task {} has a thread of its own", self.id),
        }
    }

    /// Says at which place its thread runs green tasks while it waits, from now on; [`green::NONE`] when it no longer does.
    pub fn set_host(&self, place: u8) {
        if let Carrier::Thread(_, host) = &self.carrier {
            host.store(place, Ordering::SeqCst);
            // Who wakes it stores and then looks whether it is a host; it stores that and then looks whether it is woken. One of the two sees the other.
            fence(Ordering::SeqCst);
        }
    }

    /// Notes that nothing of it runs any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether nothing of it runs any more.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The id in the trace.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        if self.id == MAIN_TASK {
            return Some("main");
        }
        self.name.as_deref()
    }

    /// The number of its cell.
    pub fn cell(&self) -> u32 {
        self.cell
    }

    /// The number of its `program`.
    pub fn program(&self) -> u32 {
        self.program.load(Ordering::Relaxed)
    }

    /// Makes it part of another program; gives the number of the one that it was part of.
    pub fn set_program(&self, number: u32) -> u32 {
        self.program.swap(number, Ordering::Relaxed)
    }

    /// Whether it unwinds because it was cut.
    pub fn unwinds(&self) -> bool {
        self.unwinds.load(Ordering::Relaxed)
    }

    /// Whether telling it to end would have an effect. It has none on one that was told before and unwinds, and waits in a destructor.
    pub fn can_be_ended(&self) -> bool {
        !self.unwinds() && !self.told_in_vain.load(Ordering::Relaxed) && !self.in_destructors
    }

    /// Whether unwinding it would end the process.
    pub fn must_not_unwind(&self) -> bool {
        self.in_destructors
    }

    /// Notes that it was told to end, and cannot unwind for it, as it unwinds already.
    pub fn is_told_in_vain(&self) {
        self.told_in_vain.store(true, Ordering::Relaxed);
    }

    /// Notes that the panic hook told of its panic.
    pub fn tell_panic(&self) {
        self.panic_told.store(true, Ordering::Relaxed);
    }

    /// Whether the panic hook told of its panic.
    pub fn panic_is_told(&self) -> bool {
        self.panic_told.load(Ordering::Relaxed)
    }

    /// Notes that it does not unwind: the learner caught a panic that was told.
    pub fn does_not_unwind(&self) {
        if self.panic_is_told() {
            self.panic_told.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it was told to end.
    #[inline(always)]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed) != 0
    }

    /// Notes that it is to end.
    pub fn mark_cut(&self, cause: Cause) {
        self.cut.store(cause as u8, Ordering::Relaxed);
    }

    /// Notes that it begins to unwind; gives the cause.
    pub fn begin_to_unwind(&self) -> u8 {
        self.unwinds.store(true, Ordering::Relaxed);
        self.cut.load(Ordering::Relaxed)
    }

    /// Notes that the learner caught what unwound it. A deadlock is over then; what else ends a task goes on ending it.
    pub fn is_caught(&self) {
        self.unwinds.store(false, Ordering::Relaxed);
        self.told_in_vain.store(false, Ordering::Relaxed);
        let deadlock = Cause::Deadlock as u8;
        let _ = self
            .cut
            .compare_exchange(deadlock, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Tells the task to end: at once when it waits, else at its next call that could wait.
    pub fn cut(self: &Arc<Task>, cause: Cause) {
        if let Some(wait) = self.hold_for_cut(cause) {
            wait.cut();
        }
    }

    /// Tells the task to end, and takes from all others the right to end its wait: of several that end together none may go on because another did. Gives
    /// the wait to be [cut](Claimed::cut), where it is in one.
    pub fn hold_for_cut(self: &Arc<Task>, cause: Cause) -> Option<Claimed> {
        self.cut.store(cause as u8, Ordering::Relaxed);
        let token = Token {
            task: self.clone(),
            wait: self.phases.waiting()?,
        };
        token.claim().then(|| token.claimed())
    }

    /// What the task waits for, for as long as nothing moves.
    ///
    /// # Safety
    /// All threads of this process but the calling one sleep, and none is woken while the result is used.
    pub unsafe fn waits_for(&self) -> Option<&Wait<'static>> {
        let is_waiting = self.phases.waiting().is_some();
        // SAFETY: a task that waits has put its wait there and keeps it until it goes on, which by the caller's promise it does not.
        is_waiting
            .then(|| unsafe { self.waits.load(Ordering::Acquire).as_ref() })
            .flatten()
    }

    /// Notes what the task waits for from now on, or that it waits no more.
    pub fn set_wait(&self, wait: Option<&Wait<'_>>) {
        let wait = wait.map_or(std::ptr::null_mut(), |wait| {
            std::ptr::from_ref(wait).cast_mut().cast()
        });
        self.waits.store(wait, Ordering::Release);
    }
}

/// One wait of one task, from its queueing to its waking. Clones are the same wait.
#[derive(Clone)]
pub struct Token {
    task: Arc<Task>,
    /// Its number, as [`Phases::begin`] gave it.
    wait: u64,
}

impl Token {
    /// Makes the token of a wait that the calling task is about to begin.
    pub fn new() -> Token {
        Token::of(current())
    }

    /// The same for a wait whose token stays on the stack of the calling task: that need not be kept alive by it, and so two steps of its count are saved.
    ///
    /// # Safety
    /// The token is not moved to where the task would not keep it alive, and is never dropped. A clone may go anywhere.
    pub unsafe fn on_stack() -> Token {
        // SAFETY: made by `Arc::new`. The count that this takes for its own is never given back, by the caller's promise.
        Token::of(with_current(|task| unsafe { Arc::from_raw(task) }))
    }

    #[inline]
    fn of(task: Arc<Task>) -> Token {
        let wait = task.phases.begin();
        Token { task, wait }
    }

    /// Whose wait it is.
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Wins the right and the duty to let the task go on; false when its time ran out or another won.
    pub fn claim(&self) -> bool {
        self.task.phases.step(self.wait, WAITING, CLAIMED)
    }

    /// Ends the wait because its time ran out; false when somebody claimed it before.
    pub fn give_up(&self) -> bool {
        self.task.phases.step(self.wait, WAITING, GAVE_UP)
    }

    /// Whether nobody let the task go on yet.
    pub fn is_waiting(&self) -> bool {
        self.task.phases.is_waiting(self.wait)
    }

    /// How the wait ended, or `None` while it goes on.
    pub fn ended(&self) -> Option<Ended> {
        match self.task.phases.ended()? {
            CUT => Some(Ended::Cut),
            GAVE_UP => Some(Ended::TimedOut),
            _ => Some(Ended::Woken),
        }
    }

    /// Counts the waiting thread as asleep, also when somebody has claimed the token and is about to let it go on: that one is awake, or is itself in the
    /// count because it waits before it does. Whoever lets the task go on takes it out of the count, perhaps a moment before it is in.
    pub fn count(&self) {
        if self.task.phases.count(self.wait) {
            census::falls_asleep();
        }
    }

    /// Takes the duty to let the claimed task go on, which may be done without the token.
    pub fn claimed(&self) -> Claimed {
        Claimed {
            task: NonNull::from(&*self.task),
            wait: self.wait,
        }
    }

    /// Says whether two tokens are the same wait.
    pub fn is(&self, other: &Token) -> bool {
        Arc::ptr_eq(&self.task, &other.task) && self.wait == other.wait
    }
}

/// A wait that somebody claimed, who has to let the task go on. Until then it waits, and so is alive.
pub struct Claimed {
    task: NonNull<Task>,
    wait: u64,
}

impl Claimed {
    /// Lets the task go on.
    pub fn wake(self) {
        self.release(WOKEN);
    }

    /// Lets the task go on to its end.
    pub fn cut(self) {
        self.release(CUT);
    }

    /// What the task waits for, as far as it has come to wait.
    pub fn wait(&self) -> Option<&Wait<'static>> {
        // SAFETY: it waits until the caller lets it go on, which uses this up. So it is alive, and its wait lies where it has put it.
        unsafe { self.task.as_ref().waits.load(Ordering::Acquire).as_ref() }
    }

    fn release(self, phase: u64) {
        // SAFETY: it waits: nobody but the caller may let it go on, which is not done yet.
        let task = unsafe { self.task.as_ref() };
        match &task.carrier {
            Carrier::Green(green) => {
                // Nobody runs it before it is delivered, to its own worker: see `green::deliver`.
                let worker = green.worker.load(Ordering::Relaxed);
                task.phases.release_uncounted(self.wait, phase);
                green::deliver(worker, self.task);
            }
            Carrier::Thread(thread, host) => {
                // It may end as soon as it may go on, and still has to be woken.
                // SAFETY: the task is alive, and was made by `Arc::new`; the count that is taken here is given back below.
                let _alive = unsafe {
                    Arc::increment_strong_count(self.task.as_ptr());
                    Arc::from_raw(self.task.as_ptr())
                };
                task.phases.release(self.wait, phase, census::wakes_up);
                let place = host.load(Ordering::SeqCst);
                if place != green::NONE {
                    green::rouse_host(place);
                } else if let Some(thread) = thread.get() {
                    // A task that waits runs, so its thread is known.
                    thread.unpark();
                }
            }
        }
    }
}

/// Gives the task that runs on this thread; a thread that has none becomes one.
pub fn current() -> Arc<Task> {
    with_current(|task| {
        let task: *const Task = task;
        // SAFETY: `CURRENT` came from `Arc::into_raw` and has a count of its own.
        unsafe {
            Arc::increment_strong_count(task);
            Arc::from_raw(task)
        }
    })
}

/// Looks at the task that runs on this thread; a thread that has none becomes one.
#[inline(always)]
pub fn with_current<R>(look: impl FnOnce(&Task) -> R) -> R {
    let mut task = CURRENT.get();
    if task.is_null() {
        task = adopt();
    }
    // SAFETY: not null, and kept alive by the count that `CURRENT` has until it is changed, which `look` does not do.
    look(unsafe { &*task })
}

/// Gives the id of the task that runs on this thread; 0 when there is none, or it was told to end.
#[inline(always)]
pub fn id_unless_cut() -> u32 {
    // SAFETY: null, or kept alive as in `with_current`.
    match unsafe { CURRENT.get().as_ref() } {
        Some(task) if !task.is_cut() => task.id,
        _ => 0,
    }
}

/// Looks at the task that runs on this thread, where there is one. Takes no lock and makes nothing: for a signal handler.
pub fn with_current_or_none(look: impl FnOnce(Option<&Task>)) {
    let task = CURRENT.try_with(Cell::get).unwrap_or(std::ptr::null());
    // SAFETY: null, or kept alive as in `with_current`.
    look(unsafe { task.as_ref() });
}

thread_local! {
    /// In a thread that the prelude did not start, or whose task has ended: takes what it was made off the roster when the thread ends.
    static ADOPTED: Adopted = const { Adopted };
}

struct Adopted;

impl Drop for Adopted {
    fn drop(&mut self) {
        leave();
        recorder::leave();
    }
}

/// Makes a task of a thread that the prelude did not start, until that ends. What destructors of thread-locals do after that makes one that stays on the
/// roster: a few hundred bytes.
#[cold]
fn adopt() -> *const Task {
    let id = recorder::current_task();
    let thread = thread::current();
    let name = thread.name().map(String::from);
    let cell = CELL.load(Ordering::Relaxed);
    let carrier = Carrier::Thread(thread.into(), AtomicU8::new(green::NONE));
    begin(&enrolled(Task {
        in_destructors: ending::only_destructors(),
        ..Task::new(id, name.as_deref(), cell, 0, carrier)
    }));
    // Touched, so that its destructor is known to the system. An error says that it ran already.
    let _ = ADOPTED.try_with(|_| ());
    CURRENT.get()
}

/// Puts a task that gets a thread of its own on the roster, before that runs: a program that ends must know of it.
pub fn enrolled(task: Task) -> Arc<Task> {
    let task = Arc::new(task);
    enroll(task.clone(), task.id as usize % PARTS);
    task
}

/// Makes `task`, which is on the roster, the one that runs on this thread, until [`leave`].
pub fn begin(task: &Arc<Task>) {
    leave();
    if let Carrier::Thread(thread, _) = &task.carrier {
        thread.get_or_init(thread::current);
    }
    CURRENT.set(Arc::into_raw(task.clone()));
}

/// The task that runs on this thread has ended.
pub fn leave() {
    let task = CURRENT.replace(std::ptr::null());
    if !task.is_null() {
        // SAFETY: `CURRENT` came from `Arc::into_raw`, and no longer has it.
        let task = unsafe { Arc::from_raw(task) };
        drop(strike(&task));
        task.end();
        program::one_has_ended(task.program());
    }
}

/// Puts a task on the roster, which keeps it alive, and gives where it lies.
pub fn enroll(task: Arc<Task>, part: usize) -> NonNull<Task> {
    let mut there = lock(&ROSTER[part]);
    let seat = match there.free.pop() {
        Some(seat) => seat,
        None => {
            there.seats.push(None);
            there.seats.len() as u32 - 1
        }
    };
    task.seat
        .store((part as u64) << 32 | u64::from(seat), Ordering::Relaxed);
    let place = NonNull::from(&*task);
    there.seats[seat as usize] = Some(task);
    place
}

/// Takes a task off the roster, and gives what kept it alive there: the caller may have it dropped, where no lock is held.
#[must_use = "it may be the last that keeps the task"]
pub fn strike(task: &Task) -> Option<Arc<Task>> {
    let place = task.seat.load(Ordering::Relaxed);
    let (part, seat) = ((place >> 32) as usize, place as u32);
    let mut there = lock(&ROSTER[part]);
    there.free.push(seat);
    there.seats[seat as usize].take()
}

/// Gives all tasks that run or wait, in the order of their ids.
pub fn roster() -> Vec<Arc<Task>> {
    let tasks =
        |part: &Mutex<Part>| -> Vec<_> { lock(part).seats.iter().flatten().cloned().collect() };
    let mut all: Vec<_> = ROSTER.iter().flat_map(tasks).collect();
    all.sort_by_key(|task| task.id);
    all
}

/// Keeps others from entering and leaving the roster.
pub fn hold() -> Vec<MutexGuard<'static, impl Sized>> {
    ROSTER.iter().map(lock).collect()
}

/// Takes all tasks off the roster but the calling thread's own and those that nobody has begun, and gives them: nothing of them runs any more, and nobody
/// can claim a wait of theirs. See [`takeover`](super::takeover).
pub fn lose_others() -> Vec<Arc<Task>> {
    let me = CURRENT.get();
    let not_begun = green::not_begun();
    let mut lost = roster();
    lost.retain(|task| {
        let task = Arc::as_ptr(task);
        task != me && !not_begun.contains(&task)
    });
    for task in &lost {
        task.set_wait(None);
        task.phases.rest();
        // Not dropped, here or by the caller: what it has on its stack may be in the middle of a change.
        std::mem::forget(strike(task));
        task.end();
    }
    lost
}

/// Gives the number of the cell that is evaluated.
pub fn cell() -> u32 {
    CELL.load(Ordering::Relaxed)
}

/// Begins a cell: the calling thread is its main task.
pub fn begin_cell() {
    let cell = CELL.fetch_add(1, Ordering::Relaxed) + 1;
    begin(&enrolled(Task::new(
        MAIN_TASK,
        None,
        cell,
        0,
        Carrier::Thread(OnceLock::new(), AtomicU8::new(green::NONE)),
    )));
    RUNS.store(cell, Ordering::Relaxed);
}

/// The cell that runs is over: what its tasks do from now on they do after it.
pub fn end_cell() {
    RUNS.store(0, Ordering::Relaxed);
}

/// The cell of the calling task, if it has ended. `None` for the main task, and for a thread that no cell is known to have started.
pub fn ended_cell() -> Option<u32> {
    // SAFETY: null, or kept alive as in `with_current`.
    let task = unsafe { CURRENT.get().as_ref() }?;
    let is_late = task.cell != RUNS.load(Ordering::Relaxed) && task.cell != 0;
    (is_late && task.id != MAIN_TASK).then_some(task.cell)
}

/// What a thread was before it carried a green task.
pub struct Before {
    task: *const Task,
    in_trace: u32,
}

/// Makes a green task the one that runs on this thread, which is worker `number` (from 1) in the trace.
#[inline]
pub fn carry(task: &Task, number: u8) -> Before {
    let before = Before {
        task: CURRENT.replace(std::ptr::from_ref(task)),
        in_trace: recorder::switch_to(task.id, number),
    };
    let recording = recorder::recording();
    if recording != 0 && task.told.load(Ordering::Relaxed) != recording {
        tell_name(task, recording);
    }
    before
}

#[cold]
fn tell_name(task: &Task, recording: u32) {
    task.told.store(recording, Ordering::Relaxed);
    if let Some(name) = &task.name {
        recorder::record(Kind::NameTask, task.id, 0, recorder::intern(name), None);
    }
}

/// The green task gives this thread up.
#[allow(
    clippy::needless_pass_by_value,
    reason = "what was before comes back once"
)]
pub fn carry_no_more(before: Before) {
    CURRENT.set(before.task);
    recorder::switch_to(before.in_trace, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_of_std_is_on_the_roster_as_long_as_it_lives() {
        let there = |id: u32| roster().iter().any(|task| task.id() == id);
        let (tell, told) = std::sync::mpsc::channel();
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            tell.send(current().id()).expect("told");
            gate.recv().expect("opened");
        });
        let id = told.recv().expect("told");
        assert!(there(id));
        open.send(()).expect("waits");
        // The system waits for its thread-locals as well.
        thread.join().expect("it only waits");
        assert!(!there(id));
    }
}
