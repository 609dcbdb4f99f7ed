//! Facts about what tasks did: `observe` and `facts` give them, and each holds on every schedule, so a check may rest on it.
//!
//! A fact counts what is known to have happened before the observed part ended: what its own task did, and what other tasks did of which it waited for the
//! end, for a message or for a `done`. What a task did that nobody waited for may happen later on another day, so it does not count. Which of several
//! tasks came first to a lock is chance too, and so no fact tells it. What depends on chance or on the number of cores is there all the same, visibly
//! apart: under [`Facts::this_run`]. The counting itself is `threadbook_timeline::observed`; here it is asked, and answered in words when there is no answer.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use threadbook_timeline::fold::{LaneEnd, Object, word_for};
use threadbook_timeline::format::{Kind, MAIN_TASK, ObjectKind, Reason};
use threadbook_timeline::observed::{Act, Observation, Observed, Thing, is_sleep, is_wait};

use crate::recorder::observing;
use crate::recorder::{self, Here};
use crate::rt;
use crate::words;

/// How long an observation waits for a task that may be over and has not said so yet: one that sent its last message and is about to end.
const SETTLING: Duration = Duration::from_millis(500);

/// How much time passes between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);

/// Runs `f` and gives its result and the facts about what it did.
///
/// Observed is what the calling task does inside, and all that is done by the tasks that are started there, by those that they start, and so on. Threads of
/// `std::thread` are not seen. Blocks as `f` does, and then until tasks that are about to end have ended, at most half a second.
///
/// Where no kernel records (a cargo project), the process records for itself as long as the call takes. Then each event costs about 20 ns, and reading them
/// some 500 ns each.
///
/// # Panics
/// When `f` does, with its panic. When nothing is recorded and the system gives no memory to record in (38 MB of addresses).
///
/// ```
/// # use threadbook_prelude::*;
/// let (loaves, facts) = observe(|| {
///     let ada = spawn_named("ada", || 1);
///     let grace = spawn_named("grace", || 2);
///     ada.join().unwrap() + grace.join().unwrap()
/// });
/// assert_eq!(loaves, 3);
/// assert!(facts.concurrent("ada", "grace"));
/// assert!(facts.task("ada").finished());
/// ```
#[track_caller]
pub fn observe<T>(f: impl FnOnce() -> T) -> (T, Facts) {
    let (result, facts) = observe_caught(Location::caller(), f);
    match result {
        Ok(value) => (value, facts),
        Err(payload) => resume_unwind(payload),
    }
}

/// Does what [`observe`] does, and gives what `f` panicked with.
pub fn observe_caught<T>(here: Here, f: impl FnOnce() -> T) -> (thread::Result<T>, Facts) {
    let recording = observing::begin();
    let observation = Observation {
        observer: rt::current().id(),
        number: observing::number(),
    };
    let mark = |kind| recorder::record(kind, 0, observation.number, 0, Some(here));
    mark(Kind::ObserveBegin);
    let result = catch_unwind(AssertUnwindSafe(f));
    mark(Kind::ObserveEnd);
    let facts = read(recording, observation);
    observing::end(recording);
    *rt::lock(&LAST) = Some(facts.clone());
    (result, facts)
}

/// The facts of the last observation.
static LAST: Mutex<Option<Facts>> = Mutex::new(None);

/// Gives the facts about this cell so far; when it has neither started a task nor used anything of the prelude's, those about the cell before it.
///
/// Where no kernel records, those of the last [`observe`]; before the first one, none: nothing was seen. Blocks at most half a second, until tasks that
/// are about to end have ended; reading takes some 500 ns an event.
///
/// ```
/// # use threadbook_prelude::*;
/// let ((), seen) = observe(|| spawn_named("ada", || {}).join().unwrap());
/// assert_eq!(facts().tasks().len(), seen.tasks().len());
/// ```
pub fn facts() -> Facts {
    let recording = observing::kernels_recording();
    if recording == 0 {
        return rt::lock(&LAST).clone().unwrap_or_default();
    }
    let observation = Observation {
        observer: if rt::cell() > 0 {
            MAIN_TASK
        } else {
            rt::current().id()
        },
        number: 0,
    };
    let this = read(recording, observation);
    if this.0.observed.is_empty() && recording > 1 {
        return read(recording - 1, observation);
    }
    this
}

/// Reads the observed part, again and again while something that counts is about to be recorded.
fn read(recording: u32, observation: Observation) -> Facts {
    let since = Instant::now();
    let name = match observation.observer {
        MAIN_TASK => "main".to_owned(),
        _ => rt::current().name().unwrap_or("main").to_owned(),
    };
    loop {
        let trace = observing::read(recording, observation);
        let observed = Observed::new(&trace, observation.observer, &name);
        if observed.is_settled() || since.elapsed() > SETTLING {
            return Facts(Arc::new(Seen {
                observed,
                missing: trace.dropped,
                number: observation.number,
            }));
        }
        // A green task of this worker ends when it is let run, one elsewhere by itself.
        rt::yield_now();
        thread::sleep(BETWEEN_LOOKS);
    }
}

/// What was observed, to be asked for facts. A clone is the same observation.
///
/// Made by [`observe`] and [`facts`]. A question about a task or an object that is not there panics, and says what is there. So does each question when more
/// was recorded than there is room for (some 500,000 events), and a question about an order when there were more than 1,024 tasks.
#[derive(Clone, Default)]
pub struct Facts(Arc<Seen>);

#[derive(Default)]
struct Seen {
    observed: Observed,
    /// How many events found no room.
    missing: u64,
    number: u32,
}

thread_local! {
    /// Whether a question without an answer is told to its caller alone, and not to the panic hook.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Asks facts something; `Err` has the words of a question without an answer, which nobody else hears of.
pub fn ask<T>(question: impl FnOnce() -> T) -> thread::Result<T> {
    let before = QUIET.replace(true);
    let answer = catch_unwind(AssertUnwindSafe(question));
    QUIET.set(before);
    answer
}

/// Whether a panic of this moment is told by who asks, and by nobody else.
pub fn asked_quietly() -> bool {
    QUIET.get()
}

/// There is no answer.
#[track_caller]
fn no_answer(why: String) -> ! {
    if QUIET.get() {
        resume_unwind(Box::new(why));
    }
    panic!("{why}")
}

/// Names, as in a sentence.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "none".to_owned(),
        1..=12 => names.join(", "),
        more => format!("{}, and {} more", names[..12].join(", "), more - 12),
    }
}

impl Facts {
    #[track_caller]
    fn seen(&self) -> &Observed {
        if self.0.missing > 0 {
            no_answer(format!(
                "too much happened to tell: {} events found no room, so facts would be wrong. Observe less at once",
                self.0.missing
            ));
        }
        &self.0.observed
    }

    #[track_caller]
    fn ordered(&self) -> &Observed {
        let seen = self.seen();
        if !seen.ordered {
            no_answer(
                "which task came before which is not known for more than 1,024 tasks, or for so many messages: observe less at once"
                    .to_owned(),
            );
        }
        seen
    }

    fn name(&self, at: usize) -> &str {
        &self.0.observed.timeline.lanes[at].name
    }

    /// The place of a task.
    #[track_caller]
    fn place(&self, name: &str) -> usize {
        let seen = self.seen();
        let made = seen.made();
        let mut found = made.iter().copied().filter(|at| self.name(*at) == name);
        match (found.next(), found.next()) {
            (Some(at), None) => at,
            (Some(_), Some(_)) => no_answer(format!(
                "there are {} tasks called `{name}`: give each its own name, or ask all of them by tasks()",
                2 + found.count()
            )),
            (None, _) => {
                let lanes = &seen.timeline.lanes;
                let observer = lanes.get(seen.observer());
                if observer.is_some_and(|lane| name == "main" || name == lane.name) {
                    return seen.observer();
                }
                let names = listed(made.iter().map(|at| self.name(*at)));
                no_answer(format!(
                    "no task called `{name}` was seen; the tasks that were: {names}"
                ))
            }
        }
    }

    /// Gives the task called `name`, or `main` for the one that observed. Does not block.
    ///
    /// Tasks without a name are called `thread 1`, `thread 2`, … in the order of their start.
    ///
    /// # Panics
    /// When there is none of that name, or more than one; the message names those that there are.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (_, facts) = observe(|| spawn_named("ada", || sleep(ms(1))).join());
    /// assert_eq!(facts.task("ada").slept(), 1);
    /// assert_eq!(facts.task("main").slept(), 0);
    /// ```
    #[track_caller]
    pub fn task(&self, name: impl AsRef<str>) -> TaskFacts {
        TaskFacts {
            at: self.place(name.as_ref()),
            facts: self.clone(),
        }
    }

    /// Gives all tasks that were started, in the order of their start, without the one that observed. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ((), facts) = observe(|| scope(|s| {
    ///     for _ in 0..3 {
    ///         s.spawn(|| work(ms(1)));
    ///     }
    /// }));
    /// assert_eq!(facts.tasks().len(), 3);
    /// ```
    #[track_caller]
    pub fn tasks(&self) -> Vec<TaskFacts> {
        let made = self.seen().made().into_iter();
        made.map(|at| TaskFacts {
            at,
            facts: self.clone(),
        })
        .collect()
    }

    /// Says whether tasks were started and each of them came to its end, by returning, before the observed part did. Does not block.
    #[track_caller]
    pub fn all_finished(&self) -> bool {
        let tasks = self.tasks();
        !tasks.is_empty() && tasks.iter().all(TaskFacts::finished)
    }

    /// Says whether two tasks could have run at the same time, on every schedule: neither was over before the other began. Does not block.
    ///
    /// Whether they did, on two cores or in turns on one, is chance.
    ///
    /// # Panics
    /// When a task is not there.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ((), staircase) = observe(|| {
    ///     spawn_named("ada", || work(ms(1))).join().unwrap();
    ///     spawn_named("grace", || work(ms(1))).join().unwrap();
    /// });
    /// assert!(!staircase.concurrent("ada", "grace"));
    /// assert!(staircase.order(&["ada", "grace"]));
    /// ```
    #[track_caller]
    pub fn concurrent(&self, a: impl AsRef<str>, b: impl AsRef<str>) -> bool {
        let (a, b) = (self.place(a.as_ref()), self.place(b.as_ref()));
        self.ordered().concurrent(a, b)
    }

    /// Says whether there are two tasks or more, each of which could have run at the same time as each other one. Does not block.
    #[track_caller]
    pub fn all_concurrent(&self) -> bool {
        let seen = self.ordered();
        let made = seen.made();
        let with_later =
            |(at, a): (usize, &usize)| made[at + 1..].iter().all(|b| seen.concurrent(*a, *b));
        made.len() >= 2 && made.iter().enumerate().all(with_later)
    }

    /// Says whether each of these tasks was over before the next one began, on every schedule: since something waited for it. Does not block.
    ///
    /// "Over" means: it had done all that it did, and at most gave locks back after that.
    ///
    /// # Panics
    /// When fewer than two are named, or one is not there.
    #[track_caller]
    pub fn order(&self, names: &[impl AsRef<str>]) -> bool {
        if names.len() < 2 {
            no_answer("an order takes two tasks: name at least two".to_owned());
        }
        let places: Vec<usize> = names.iter().map(|name| self.place(name.as_ref())).collect();
        self.ordered().in_order(&places)
    }

    /// Says whether tasks were started, and by each task that started some, all of them before it first waited for one. Does not block.
    ///
    /// Waiting is a join, the end of a scope, a `wait` on a wait group, and receiving what such a task sent; also where it came at once.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ((), fan) = observe(|| {
    ///     let bakers: Vec<_> = (0..3).map(|_| spawn(|| work(ms(1)))).collect();
    ///     bakers.into_iter().for_each(|baker| baker.join().unwrap());
    /// });
    /// let ((), staircase) = observe(|| (0..3).for_each(|_| spawn(|| work(ms(1))).join().unwrap()));
    /// assert!(fan.spawned_before_first_wait());
    /// assert!(!staircase.spawned_before_first_wait());
    /// ```
    #[track_caller]
    pub fn spawned_before_first_wait(&self) -> bool {
        self.seen().spawned_before_first_wait()
    }

    /// Says whether the marks `first` and `second` (see [`mark`](crate::mark)) were made in turns, `first` before `second`, on every schedule. Does not block.
    ///
    /// `false` with fewer than two marks, and where it was so by chance: something must make each one wait for the other. A message does, a join, a wait
    /// group, and a barrier that just as many tasks use as it is for. A lock does not, nor a condition variable: who comes first is chance there.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ((), facts) = observe(|| {
    ///     mark("tick");
    ///     mark("tock");
    /// });
    /// assert!(facts.alternated("tick", "tock"));
    /// ```
    #[track_caller]
    pub fn alternated(&self, first: impl AsRef<str>, second: impl AsRef<str>) -> bool {
        self.ordered().alternated(first.as_ref(), second.as_ref())
    }

    /// Gives how often `sleep` was called, by all tasks together. Does not block.
    #[track_caller]
    pub fn slept(&self) -> usize {
        self.seen().acts().filter(|act| is_sleep(act)).count()
    }

    /// Says whether a task was ended since it waited in vain: it was part of a deadlock. Does not block.
    #[track_caller]
    pub fn deadlocked(&self) -> bool {
        !self.seen().deadlocked().is_empty()
    }

    /// Says whether a deadlock between locks is impossible: no task that had one asked for another in one order, and some task in the other. Does not block.
    ///
    /// Also asking for a lock that the task has itself is such an order; `try_lock` counts when it succeeds.
    ///
    /// # Panics
    /// When no lock was used.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (till, shelf) = (Mutex::new(0), Mutex::new(0));
    /// let ((), facts) = observe(|| {
    ///     drop((till.lock(), shelf.lock()));
    ///     drop((shelf.lock(), till.lock())); // a second task would deadlock here some day
    /// });
    /// assert!(!facts.locks_in_one_order());
    /// ```
    #[track_caller]
    pub fn locks_in_one_order(&self) -> bool {
        if self.things(LOCKS).is_empty() {
            self.no_thing(LOCKS, "no lock was used");
        }
        self.seen().locks_in_one_order()
    }

    #[track_caller]
    fn things(&self, kinds: &[ObjectKind]) -> Vec<Thing> {
        let things = self.seen().things().into_iter();
        things
            .filter(|thing| kinds.contains(&thing.kind))
            .cloned()
            .collect()
    }

    #[track_caller]
    fn no_thing(&self, kinds: &[ObjectKind], begin: &str) -> ! {
        let of_kind = self.things(kinds);
        let word = word_for(kinds[0]);
        let seen = if of_kind.is_empty() {
            let others: Vec<String> = self
                .seen()
                .things()
                .iter()
                .map(|thing| self.thing_in_words(thing.id))
                .collect();
            if others.is_empty() {
                "nothing that tasks share was used".to_owned()
            } else {
                format!("what was used: {}", others.join(", "))
            }
        } else {
            let names = listed(of_kind.iter().map(|thing| thing.name.as_str()));
            format!("each {word} that was used: {names}")
        };
        no_answer(format!("{begin}; {seen}"))
    }

    #[track_caller]
    fn only(&self, kinds: &[ObjectKind]) -> ThingFacts {
        let mut things = self.things(kinds);
        let word = word_for(kinds[0]);
        match things.len() {
            1 => ThingFacts {
                thing: things.remove(0),
                facts: self.clone(),
            },
            0 => self.no_thing(kinds, &format!("no {word} was used")),
            many => self.no_thing(
                kinds,
                &format!("{many} {word}s were used, and this looks for one"),
            ),
        }
    }

    #[track_caller]
    fn named(&self, kinds: &[ObjectKind], name: &str) -> ThingFacts {
        let mut things = self.things(kinds);
        things.retain(|thing| thing.name == name);
        let word = word_for(kinds[0]);
        match things.len() {
            1 => ThingFacts {
                thing: things.remove(0),
                facts: self.clone(),
            },
            0 => self.no_thing(kinds, &format!("no {word} called `{name}` was used")),
            many => self.no_thing(
                kinds,
                &format!("{many} times a {word} is called `{name}`: give each its own name"),
            ),
        }
    }

    /// Gives what depends on chance, or on the number of cores, and may be otherwise in the next run. No check may rest on it.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (_, facts) = observe(|| spawn_named("ada", || work(ms(1))).join());
    /// assert_eq!(facts.this_run().max_running(), 1);
    /// ```
    #[track_caller]
    pub fn this_run(&self) -> Run {
        self.seen();
        Run(self.clone())
    }

    /// The number of the observation in the trace; 0 for a whole cell.
    pub(crate) fn number(&self) -> u32 {
        self.0.number
    }

    /// What was seen, in words for a message to the kernel: how each task ended, and what was used.
    pub(crate) fn in_words(&self) -> String {
        let seen = &self.0.observed;
        let made = seen.made();
        let tasks = made.iter().map(|&at| TaskFacts {
            at,
            facts: self.clone(),
        });
        let tasks: Vec<String> = tasks.take(12).map(|task| format!("{task:?}")).collect();
        let things = seen.things().into_iter().take(12);
        let things: Vec<String> = things
            .map(|thing| self.thing_for_the_kernel(thing.id))
            .collect();
        let tasks = match made.len() {
            0 => "no task was started".to_owned(),
            1..=12 => tasks.join(", "),
            more => format!("{}, and {} more tasks", tasks.join(", "), more - 12),
        };
        if things.is_empty() {
            tasks
        } else {
            format!("{tasks}; {}", things.join(", "))
        }
    }

    /// What people call an object.
    fn thing_in_words(&self, id: u32) -> String {
        let object = self.0.observed.timeline.object(id);
        object.map(Object::in_words).unwrap_or_default()
    }

    /// The same for a message to the kernel, which may know for which variable it was made.
    fn thing_for_the_kernel(&self, id: u32) -> String {
        let object = self.0.observed.timeline.object(id);
        object.map(for_the_kernel).unwrap_or_default()
    }

    /// Who waited for what in a deadlock, in words for a message to the kernel; empty when there was none.
    pub(crate) fn deadlock_in_words(&self) -> String {
        let seen = &self.0.observed;
        let told = seen.deadlocked().into_iter().map(|(task, reason, object)| {
            let lanes = &seen.timeline.lanes;
            let wanted = if reason == Reason::Join {
                let lane = lanes.iter().find(|lane| lane.task == object);
                lane.map(|lane| format!("`{}` to end", lane.name))
            } else {
                let thing = seen.timeline.object(object);
                thing.map(|thing| match thing.kind {
                    ObjectKind::Scope => "the threads of its scope".to_owned(),
                    _ => for_the_kernel(thing),
                })
            };
            let wanted = wanted.unwrap_or_else(|| "other tasks".to_owned());
            format!("`{}` waited for {wanted}", self.name(task))
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// What people call an object, in a message to the kernel.
fn for_the_kernel(object: &Object) -> String {
    match object.named {
        true => object.in_words(),
        false => words::object(object.id, &object.in_words()),
    }
}

impl fmt::Debug for Facts {
    /// Shows what was seen: tasks and how they ended, and what they shared.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = &self.0.observed;
        let tasks = seen.made().into_iter().map(|at| TaskFacts {
            at,
            facts: self.clone(),
        });
        let things = seen.things().into_iter();
        let things = things.map(|thing| format!("{} {}", word_for(thing.kind), thing.name));
        f.debug_struct("Facts")
            .field("tasks", &tasks.collect::<Vec<_>>())
            .field("shared", &things.collect::<Vec<_>>())
            .finish()
    }
}

/// What is known of one task: made by [`Facts::task`] and [`Facts::tasks`].
///
/// All counts are of what it did before the observed part ended, on every schedule. With several receivers on one channel it is chance which of them gets how
/// many messages, and so are their [`received`](Self::received) and what follows from it.
#[derive(Clone)]
pub struct TaskFacts {
    facts: Facts,
    at: usize,
}

impl TaskFacts {
    fn acts(&self) -> impl Iterator<Item = &Act> {
        let at = self.at;
        let acts = self.facts.0.observed.acts();
        acts.filter(move |act| act.task == at)
    }

    fn count(&self, kind: Kind) -> usize {
        self.acts().filter(|act| act.kind == kind).count()
    }

    /// Gives its name, or one like `thread 1`.
    pub fn name(&self) -> &str {
        self.facts.name(self.at)
    }

    /// Gives the name of the task that started it; `None` for the one that observed.
    pub fn started_by(&self) -> Option<&str> {
        let timeline = &self.facts.0.observed.timeline;
        let parent = timeline.lanes[self.at].parent?;
        timeline.lane(parent).map(|lane| lane.name.as_str())
    }

    /// Says whether it came to its end, by returning, before the observed part did: something waited for it. `false` for the task that observed.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ((), facts) = observe(|| drop(spawn_named("ada", || {})));
    /// assert!(!facts.task("ada").finished()); // nobody waited
    /// ```
    pub fn finished(&self) -> bool {
        let seen = &self.facts.0.observed;
        self.at != seen.observer() && seen.finished(self.at)
    }

    /// Gives what it panicked with, as far as that happened before the observed part ended; `None` when it did not.
    pub fn panicked(&self) -> Option<&str> {
        let lane = &self.facts.0.observed.timeline.lanes[self.at];
        match &lane.end {
            LaneEnd::Panicked(message) if self.count(Kind::Panic) > 0 => Some(message),
            _ => None,
        }
    }

    /// Says whether it was ended from outside: by a deadlock, by the end of its `program`, by an interrupt.
    pub fn was_cut(&self) -> bool {
        self.facts.0.observed.was_cut(self.at)
    }

    /// Gives how many tasks it started.
    pub fn spawned(&self) -> usize {
        self.count(Kind::Spawn)
    }

    /// Gives how many messages it sent, on all channels.
    pub fn sent(&self) -> usize {
        self.count(Kind::Sent)
    }

    /// Gives how many messages it received, on all channels.
    pub fn received(&self) -> usize {
        self.count(Kind::Received)
    }

    /// Gives how often it took a lock.
    pub fn locks_taken(&self) -> usize {
        self.count(Kind::Acquired)
    }

    /// Gives how often it called `sleep`.
    pub fn slept(&self) -> usize {
        self.acts().filter(|act| is_sleep(act)).count()
    }

    /// Gives how often it called `work`.
    pub fn worked(&self) -> usize {
        self.count(Kind::WorkBegin)
    }

    /// Gives how often it called `yield_now`.
    pub fn yielded(&self) -> usize {
        self.count(Kind::Yield)
    }

    /// Gives the texts of its marks, in their order.
    pub fn marks(&self) -> Vec<String> {
        let seen = &self.facts.0.observed;
        let texts = self.acts().filter_map(|act| seen.text(act));
        texts.map(str::to_owned).collect()
    }

    /// Gives what it waited for, or would have had to if it had come sooner: the tasks that it joined, the wait groups that it waited on, the channels from
    /// which it received, each once, in the order of the first time. Whether it had to wait is chance: see [`Run::waited`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let (_, facts) = observe(|| spawn_named("ada", || {}).join());
    /// assert_eq!(facts.task("main").waited_for(), ["ada"]);
    /// ```
    pub fn waited_for(&self) -> Vec<String> {
        let timeline = &self.facts.0.observed.timeline;
        let mut names: Vec<String> = Vec::new();
        for act in self.acts() {
            let name = if act.kind == Kind::Joined {
                timeline.lane(act.obj).map(|lane| &lane.name)
            } else if act.kind == Kind::Received || is_wait(act) {
                timeline.object(act.obj).map(|object| &object.name)
            } else {
                None
            };
            if let Some(name) = name.filter(|name| !names.contains(name)) {
                names.push(name.clone());
            }
        }
        names
    }
}

impl fmt::Debug for TaskFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.finished() {
            "finished"
        } else if self.panicked().is_some() {
            "panicked"
        } else if self.was_cut() {
            "ended from outside"
        } else {
            "not awaited"
        };
        write!(f, "{} ({end})", self.name())
    }
}

const LOCKS: &[ObjectKind] = &[ObjectKind::Mutex, ObjectKind::RwLock];
const CHANNELS: &[ObjectKind] = &[ObjectKind::Channel];
const GROUPS: &[ObjectKind] = &[ObjectKind::WaitGroup];
const CELLS: &[ObjectKind] = &[ObjectKind::Cell];

/// One object, and what was observed.
#[derive(Clone)]
struct ThingFacts {
    facts: Facts,
    thing: Thing,
}

impl ThingFacts {
    fn seen(&self) -> &Observed {
        &self.facts.0.observed
    }

    fn acts(&self, kind: Kind) -> impl Iterator<Item = &Act> {
        let acts = self.seen().on(self.thing.id);
        acts.filter(move |act| act.kind == kind)
    }

    fn by(&self, kind: Kind, at: usize) -> usize {
        self.acts(kind).filter(|act| act.task == at).count()
    }

    /// The names of the tasks that did something of a kind, in the order of their start.
    fn who(&self, kind: Kind) -> Vec<String> {
        let mut places: Vec<usize> = self.acts(kind).map(|act| act.task).collect();
        places.sort_unstable();
        places.dedup();
        self.names(places)
    }

    fn names(&self, places: Vec<usize>) -> Vec<String> {
        let names = places.into_iter().map(|at| self.facts.name(at).to_owned());
        names.collect()
    }
}

macro_rules! facts_of {
    ($facts:ident, $kinds:ident, $only:ident, $named:ident, $all:ident, $word:literal) => {
        impl Facts {
            #[doc = concat!("Gives the only ", $word, " that was made or used. Does not block.")]
            ///
            /// # Panics
            /// When there is none, or more than one; the message names what there is.
            #[track_caller]
            pub fn $only(&self) -> $facts {
                $facts(self.only($kinds))
            }

            #[doc = concat!("Gives the ", $word, " called `name`. Does not block.")]
            ///
            /// # Panics
            /// When there is none of that name, or more than one; the message names what there is.
            #[track_caller]
            pub fn $named(&self, name: impl AsRef<str>) -> $facts {
                $facts(self.named($kinds, name.as_ref()))
            }

            #[doc = concat!("Gives each ", $word, " that was made or used, in the order of first use. Does not block.")]
            #[track_caller]
            pub fn $all(&self) -> Vec<$facts> {
                let things = self.things($kinds).into_iter();
                things
                    .map(|thing| {
                        $facts(ThingFacts {
                            facts: self.clone(),
                            thing,
                        })
                    })
                    .collect()
            }
        }

        impl $facts {
            #[doc = concat!("Gives the name, or one like `", $word, " 1`.")]
            pub fn name(&self) -> &str {
                &self.0.thing.name
            }
        }

        impl fmt::Debug for $facts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.name())
            }
        }
    };
}

/// What is known of one lock, a `Mutex` or a `RwLock`: made by [`Facts::only_lock`], [`Facts::lock`] and [`Facts::locks`].
///
/// ```
/// # use threadbook_prelude::*;
/// let till = Mutex::new(0).named("till");
/// let ((), facts) = observe(|| scope(|s| {
///     for name in ["ada", "grace"] {
///         s.spawn_named(name, || *till.lock().unwrap() += 1);
///     }
/// }));
/// let lock = facts.only_lock();
/// assert_eq!((lock.name(), lock.times()), ("till", 2));
/// assert_eq!(lock.taken_by(), ["ada", "grace"]);
/// assert!(lock.slept_with().is_empty());
/// ```
#[derive(Clone)]
pub struct LockFacts(ThingFacts);
facts_of!(LockFacts, LOCKS, only_lock, lock, locks, "lock");

impl LockFacts {
    /// Gives the names of the tasks that took it, in the order of their start.
    pub fn taken_by(&self) -> Vec<String> {
        self.0.who(Kind::Acquired)
    }

    /// Gives how often it was taken.
    pub fn times(&self) -> usize {
        self.0.acts(Kind::Acquired).count()
    }

    /// Gives how often task `name` took it.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn times_by(&self, name: impl AsRef<str>) -> usize {
        let at = self.0.facts.place(name.as_ref());
        self.0.by(Kind::Acquired, at)
    }

    /// Gives how many tasks had it at once at most, those that only read counted as one: 1 for a lock that was taken, whatever happens.
    pub fn max_holders(&self) -> usize {
        self.0.seen().max_holders(self.0.thing.id)
    }

    /// Gives the names of the tasks that called `sleep` while they had it, in the order of their start.
    pub fn slept_with(&self) -> Vec<String> {
        let places = self.0.seen().while_holding(self.0.thing.id, is_sleep);
        self.0.names(places)
    }

    /// Gives the names of the tasks that called `work` while they had it, in the order of their start.
    pub fn worked_with(&self) -> Vec<String> {
        let works = |act: &Act| act.kind == Kind::WorkBegin;
        let places = self.0.seen().while_holding(self.0.thing.id, works);
        self.0.names(places)
    }
}

/// What is known of one channel: made by [`Facts::only_channel`], [`Facts::channel`] and [`Facts::channels`].
///
/// ```
/// # use threadbook_prelude::*;
/// let (_, facts) = observe(|| {
///     let (tx, rx) = bounded(2);
///     spawn_named("ada", move || (0..3).for_each(|loaf| tx.send(loaf).unwrap()));
///     rx.iter().count()
/// });
/// let channel = facts.only_channel();
/// assert_eq!((channel.capacity(), channel.sent(), channel.received()), (Some(2), 3, 3));
/// assert_eq!(channel.senders(), ["ada"]);
/// assert_eq!(channel.could_queue(), 3); // with room for 3, ada would never wait
/// assert!(channel.closed());
/// ```
#[derive(Clone)]
pub struct ChannelFacts(ThingFacts);
facts_of!(
    ChannelFacts,
    CHANNELS,
    only_channel,
    channel,
    channels,
    "channel"
);

impl ChannelFacts {
    /// Gives how many messages have room, or `None` without a bound.
    pub fn capacity(&self) -> Option<usize> {
        self.0.thing.capacity
    }

    /// Gives how many messages were sent.
    pub fn sent(&self) -> usize {
        self.0.acts(Kind::Sent).count()
    }

    /// Gives how many messages were received.
    pub fn received(&self) -> usize {
        self.0.acts(Kind::Received).count()
    }

    /// Gives how many messages task `name` sent.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn sent_by(&self, name: impl AsRef<str>) -> usize {
        let at = self.0.facts.place(name.as_ref());
        self.0.by(Kind::Sent, at)
    }

    /// Gives the names of the tasks that sent, in the order of their start.
    pub fn senders(&self) -> Vec<String> {
        self.0.who(Kind::Sent)
    }

    /// Says whether all its senders were gone by the end: who receives is told that nothing more comes.
    pub fn closed(&self) -> bool {
        self.0.seen().is_closed(self.0.thing.id)
    }

    /// Says whether each message was received before the next was sent, on every schedule: the channel has no room, or answers are waited for.
    ///
    /// `false` with fewer than two messages, and where it was so by chance.
    #[track_caller]
    pub fn alternates(&self) -> bool {
        self.0.facts.ordered().alternates(self.0.thing.id)
    }

    /// Gives how many messages could be in it at once, on the schedule that is worst for it. With that much room no send ever waits, and with less one may.
    #[track_caller]
    pub fn could_queue(&self) -> usize {
        self.0.facts.ordered().could_queue(self.0.thing.id)
    }
}

/// What is known of one wait group: made by [`Facts::only_wait_group`], [`Facts::wait_group`] and [`Facts::wait_groups`].
///
/// ```
/// # use threadbook_prelude::*;
/// let ((), facts) = observe(|| {
///     let ovens = WaitGroup::new();
///     ovens.go_named("ada", || work(ms(1)));
///     ovens.go_named("grace", || work(ms(1)));
///     ovens.wait();
/// });
/// let ovens = facts.only_wait_group();
/// assert_eq!((ovens.added(), ovens.done(), ovens.waits()), (2, 2, 1));
/// assert!(ovens.added_in_time());
/// ```
#[derive(Clone)]
pub struct WaitGroupFacts(ThingFacts);
facts_of!(
    WaitGroupFacts,
    GROUPS,
    only_wait_group,
    wait_group,
    wait_groups,
    "wait group"
);

impl WaitGroupFacts {
    /// Gives how much was added.
    pub fn added(&self) -> usize {
        self.0.seen().added(self.0.thing.id)
    }

    /// Gives how often `done` was called.
    pub fn done(&self) -> usize {
        self.0.acts(Kind::WgDone).count()
    }

    /// Gives how often `wait` was called.
    pub fn waits(&self) -> usize {
        let acts = self.0.seen().on(self.0.thing.id);
        acts.filter(|act| is_wait(act)).count()
    }

    /// Says whether no `wait` could have found zero too early, on any schedule: each `add` came before it, or while something added before was not done.
    ///
    /// `false` where nothing was added, or nobody waited.
    #[track_caller]
    pub fn added_in_time(&self) -> bool {
        self.0.facts.ordered().added_in_time(self.0.thing.id)
    }
}

/// What is known of one cell, an atomic or a `Racy`: made by [`Facts::only_cell`], [`Facts::cell`] and [`Facts::cells`].
///
/// ```
/// # use threadbook_prelude::*;
/// let sold = AtomicU64::new(0).named("sold");
/// let ((), facts) = observe(|| scope(|s| {
///     for name in ["ada", "grace"] {
///         s.spawn_named(name, || sold.fetch_add(1, Ordering::Relaxed));
///     }
/// }));
/// assert_eq!(facts.only_cell().written_by(), ["ada", "grace"]);
/// assert!(facts.only_cell().changed_in_one_step());
/// ```
#[derive(Clone)]
pub struct CellFacts(ThingFacts);
facts_of!(CellFacts, CELLS, only_cell, cell, cells, "cell");

impl CellFacts {
    /// Gives how often it was read, what reads and writes in one step included.
    pub fn loads(&self) -> usize {
        self.0.acts(Kind::Load).count()
    }

    /// Gives how often it was written, what reads and writes in one step included.
    pub fn stores(&self) -> usize {
        self.0.acts(Kind::Store).count()
    }

    /// Gives the names of the tasks that wrote it, in the order of their start.
    pub fn written_by(&self) -> Vec<String> {
        self.0.who(Kind::Store)
    }

    /// Says whether it was written, and each time in one step with reading it, so that no update can be lost.
    pub fn changed_in_one_step(&self) -> bool {
        self.stores() > 0 && self.0.acts(Kind::Store).all(|act| act.seq == 1)
    }
}

/// What was so in this run, and may be otherwise in the next: made by [`Facts::this_run`].
#[derive(Clone)]
pub struct Run(Facts);

impl Run {
    fn seen(&self) -> &Observed {
        &self.0.0.observed
    }

    /// Gives how many tasks were seen running at the same time, those on one core counted once, without the one that observed.
    pub fn max_running(&self) -> usize {
        self.seen().timeline.max_running
    }

    /// Gives how long a task waited for others, all together; sleeping is not waiting.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn waited(&self, name: impl AsRef<str>) -> Duration {
        self.seen().waited(self.0.place(name.as_ref())).1
    }

    /// Gives how often a task waited for others.
    ///
    /// # Panics
    /// When there is no such task.
    #[track_caller]
    pub fn waits(&self, name: impl AsRef<str>) -> usize {
        self.seen().waited(self.0.place(name.as_ref())).0
    }

    /// Gives the names of the green tasks that kept their worker for more than 10 ms while others waited for it, in the order of their start.
    pub fn hogs(&self) -> Vec<String> {
        let hogs = self.seen().hogs().into_iter();
        hogs.map(|at| self.0.name(at).to_owned()).collect()
    }

    /// Gives how many messages were queued at most, on any channel.
    pub fn max_queued(&self) -> usize {
        self.seen().max_queued()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("max_running", &self.max_running())
            .field("max_queued", &self.max_queued())
            .finish()
    }
}
