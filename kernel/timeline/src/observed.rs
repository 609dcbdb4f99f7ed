//! The observed part of a recording, and what can be said of it that holds on every schedule.
//!
//! The part: what one task, the observer, did between `ObserveBegin` and `ObserveEnd`, and all that was done by the tasks that were made in it. What counts
//! is what is known to have happened before its end, by spawns, joins, messages, wait groups, barriers, and the order within a task; what a task did that
//! nobody waited for may have come later, so it does not count, whether it was recorded or not. A clock per task (how far it knows each other one) tells.
//! Knows nothing of time, and nothing of how a fact is asked for.
//!
//! A barrier orders where it must: when just as many tasks use it as it is for, each of them is there in each of its rounds, on every schedule. Where more
//! do, who meets whom is chance. A condition variable orders nothing: whether a task waits at all, or finds that what it would wait for has happened, is
//! chance, and then nothing was recorded by which to know the order; nor does a `OnceLock`, which is filled by whoever comes first, and where a task that
//! finds it filled records nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::facts::MOST_LANES;
use crate::fold::{
    Known, LaneEnd, State, Timeline, fold_knowing, is_act, running_at_once, word_for,
};
use crate::format::{Cause, Event, Kind, ObjectKind, Reason};
use crate::trace::Trace;

/// How many numbers the clocks of a recording's acts may have together: 64 MB. A larger recording is counted, and its order is not known.
const MOST_CLOCK_WORDS: usize = 16 << 20;

/// Which part of a recording is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The task that observes.
    pub observer: u32,
    /// The number of its `ObserveBegin`; 0 for all that it did.
    pub number: u32,
}

/// Cuts the observed part out of the events of all tasks: the observer's between its two marks, all of the tasks that were made there, and what the objects
/// are that they use, whoever told it.
pub(crate) fn part(tasks: Vec<Vec<Event>>, observation: Observation) -> Vec<Vec<Event>> {
    let Observation { observer, number } = observation;
    let is = |event: &Event, kind| event.kind == kind as u8 && event.seq == number;
    let mut by_task: HashMap<u32, Vec<Event>> = HashMap::new();
    let mut about_objects = Vec::new();
    let mut verdicts = Vec::new();
    for events in tasks {
        let Some(task) = events.first().map(|event| event.task) else {
            continue;
        };
        about_objects.extend(
            events
                .iter()
                .filter(|event| {
                    event.kind == Kind::NewObject as u8 || event.kind == Kind::NameObject as u8
                })
                .copied(),
        );
        verdicts.extend(
            events
                .iter()
                .filter(|event| event.kind == Kind::Deadlocked as u8)
                .copied(),
        );
        by_task.insert(task, events);
    }
    let mut own = by_task.remove(&observer).unwrap_or_default();
    if number != 0 {
        let begin = own
            .iter()
            .position(|event| is(event, Kind::ObserveBegin))
            .unwrap_or(own.len());
        own.drain(..begin);
        if let Some(end) = own.iter().position(|event| is(event, Kind::ObserveEnd)) {
            own.truncate(end + 1);
        }
    }
    let mut kept = vec![own];
    let mut looked_at = 0;
    while let Some(events) = kept.get(looked_at) {
        let made: Vec<u32> = events
            .iter()
            .filter(|event| event.kind == Kind::Spawn as u8)
            .map(|event| event.obj)
            .collect();
        kept.extend(made.iter().filter_map(|task| by_task.remove(task)));
        looked_at += 1;
    }
    let used: HashSet<u32> = kept
        .iter()
        .flatten()
        .filter_map(|event| Some((event, Kind::from_number(event.kind.into())?)))
        .filter_map(|(event, kind)| used_as(kind, event.obj, event.aux).map(|_| event.obj))
        .collect();
    // What an object is stands once in a recording, where it was first used: perhaps outside of this part.
    let mine: HashSet<u32> = kept
        .iter()
        .filter_map(|events| Some(events.first()?.task))
        .collect();
    let told_at = kept[0].first().map_or(0, |event| event.ticks);
    let told = about_objects
        .into_iter()
        .filter(|event| used.contains(&event.obj))
        .filter(|event| {
            let outside_of_own = event.task == observer && !kept[0].contains(event);
            !mine.contains(&event.task) || outside_of_own
        })
        .map(|event| Event {
            task: observer,
            ticks: told_at,
            ..event
        });
    let told: Vec<Event> = told.collect();
    // A deadlock is found by any thread.
    let verdicts = verdicts
        .into_iter()
        .filter(|event| mine.contains(&event.aux) && !mine.contains(&event.task))
        .map(|event| Event {
            task: observer,
            ..event
        });
    let verdicts: Vec<Event> = verdicts.collect();
    if !kept[0].is_empty() {
        kept[0].splice(0..0, told);
        kept[0].extend(verdicts);
    }
    kept
}

/// What an object must be that an event is about; `None` when the event is about a task, or about nothing.
fn used_as(kind: Kind, object: u32, aux: u32) -> Option<ObjectKind> {
    let used_as = match kind {
        Kind::Sent | Kind::Received | Kind::Closed => ObjectKind::Channel,
        Kind::Acquired | Kind::Released => ObjectKind::Mutex,
        Kind::WgAdd | Kind::WgDone | Kind::Passed => ObjectKind::WaitGroup,
        Kind::Load | Kind::Store => ObjectKind::Cell,
        Kind::Notified => ObjectKind::Condvar,
        Kind::Tripped => ObjectKind::Barrier,
        Kind::BlockBegin => match Reason::from_number(aux)? {
            Reason::Send | Reason::Recv => ObjectKind::Channel,
            Reason::Lock => ObjectKind::Mutex,
            Reason::Wait => ObjectKind::WaitGroup,
            Reason::Read | Reason::Write => ObjectKind::RwLock,
            Reason::Notify => ObjectKind::Condvar,
            Reason::Barrier => ObjectKind::Barrier,
            Reason::Once => ObjectKind::Once,
            Reason::Join | Reason::Sleep | Reason::Scope | Reason::Select => return None,
        },
        _ => return None,
    };
    (object != 0).then_some(used_as)
}

/// How far a task knows the others: by position, the number of the last act that is known to have happened.
type Clock = Arc<Vec<u32>>;

/// One thing that a task did.
#[derive(Debug, Clone)]
pub struct Act {
    /// Who: a position among [`Timeline::lanes`].
    pub task: usize,
    /// What.
    pub kind: Kind,
    /// As in the event.
    pub obj: u32,
    /// As in the event.
    pub seq: u32,
    /// As in the event.
    pub aux: u32,
    /// The place among all that the task did, from 1.
    at: u32,
    /// What the task knew then; kept for the kinds of which it is asked.
    knows: Option<Clock>,
}

impl Act {
    /// Whether this happened before `later`, on every schedule. `false` when that is not known.
    fn is_before(&self, later: &Act) -> bool {
        if self.task == later.task {
            return self.at < later.at;
        }
        let known = later
            .knows
            .as_ref()
            .and_then(|knows| knows.get(self.task))
            .copied();
        known.unwrap_or(0) >= self.at
    }
}

/// A task while its acts are read, and what is kept of it.
#[derive(Debug, Clone, Default)]
struct Progress {
    acts: u32,
    knows: Clock,
    /// What it knew when it was made.
    began_knowing: Clock,
    /// Its last act that is no mere consequence, as in [`is_act`].
    last: (u32, Option<Kind>),
    exited: bool,
    /// The cause for which it was ended from outside.
    cut: Option<u32>,
    /// What it waits for, and whether somebody let it go on.
    waits: Option<(Option<Reason>, bool)>,
    /// What it waited for last.
    last_wait: Option<(Reason, u32)>,
}

impl Progress {
    fn learn(&mut self, clock: &[u32]) {
        let news = clock
            .iter()
            .enumerate()
            .any(|(at, &theirs)| theirs > self.knows.get(at).copied().unwrap_or(0));
        if news {
            let ours = Arc::make_mut(&mut self.knows);
            ours.resize(ours.len().max(clock.len()), 0);
            for (our, &their) in ours.iter_mut().zip(clock) {
                *our = their.max(*our);
            }
        }
    }

    fn learn_of(&mut self, task: usize, acts: u32) {
        if acts > self.knows.get(task).copied().unwrap_or(0) {
            let ours = Arc::make_mut(&mut self.knows);
            ours.resize(ours.len().max(task + 1), 0);
            ours[task] = acts;
        }
    }
}

/// What a task tells with a message, a `done` or its end.
struct Told {
    task: usize,
    acts: u32,
    knows: Clock,
}

/// A lock, a channel, a wait group or a cell of the observed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// The id in the trace.
    pub id: u32,
    /// What it is.
    pub kind: ObjectKind,
    /// The name given to it, or one like `lock 1`.
    pub name: String,
    /// A channel's: how many messages have room, `None` without a bound.
    pub capacity: Option<usize>,
}

/// The observed part of a recording, folded and ordered.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its lanes.
    pub timeline: Timeline,
    /// Whether it is known what happened before what: not for more than 1,024 tasks.
    pub ordered: bool,
    /// The texts of marks, by the acts' `aux`.
    texts: HashMap<u32, String>,
    things: Vec<Thing>,
    acts: Vec<Act>,
    tasks: Vec<Progress>,
    /// The observer's place among the lanes.
    observer: usize,
}

impl Observed {
    /// Folds a trace that holds the observed part alone. `name`: what to call the observer.
    pub fn new(trace: &Trace, observer: u32, name: &str) -> Observed {
        let mut known = Known::default();
        known.name_task(observer, name);
        let mut timeline = fold_knowing(trace, &known);
        timeline.max_running = running_at_once(&timeline.lanes, timeline.end, observer).most;
        let lanes: HashMap<u32, usize> = timeline
            .lanes
            .iter()
            .enumerate()
            .map(|(at, lane)| (lane.task, at))
            .collect();
        let asked = |event: &&Event| {
            Kind::from_number(event.kind.into()).is_some_and(|kind| is_asked(kind, event.aux))
        };
        let clocks = trace.events.iter().filter(asked).count() * lanes.len();
        let mut observed = Observed {
            things: things(trace, &timeline),
            ordered: lanes.len() <= MOST_LANES && clocks <= MOST_CLOCK_WORDS,
            observer: lanes.get(&observer).copied().unwrap_or(0),
            tasks: vec![Progress::default(); lanes.len()],
            timeline,
            ..Observed::default()
        };
        observed.read(trace, &lanes, &HashSet::new());
        // What a wait tells that could have come before an `add` is chance: it is read again without that.
        let groups = observed
            .things
            .iter()
            .filter(|thing| thing.kind == ObjectKind::WaitGroup);
        let racing: HashSet<u32> = groups
            .map(|group| group.id)
            .filter(|group| observed.adds_race(*group))
            .collect();
        if !racing.is_empty() {
            observed.acts.clear();
            observed.tasks = vec![Progress::default(); lanes.len()];
            observed.read(trace, &lanes, &racing);
        }
        observed
    }

    /// Reads the acts, and what their tasks knew. `racing`: the wait groups that tell nothing.
    fn read(&mut self, trace: &Trace, lanes: &HashMap<u32, usize>, racing: &HashSet<u32>) {
        let rendezvous: HashSet<u32> = self
            .things
            .iter()
            .filter(|thing| thing.capacity == Some(0))
            .map(|thing| thing.id)
            .collect();
        let of_kind = |kind| {
            trace
                .events
                .iter()
                .filter(move |event| event.kind == kind as u8)
        };
        let takers: HashMap<(u32, u32), usize> = of_kind(Kind::Received)
            .filter(|event| rendezvous.contains(&event.obj))
            .filter_map(|event| Some(((event.obj, event.seq), *lanes.get(&event.task)?)))
            .collect();
        let barriers = self.barriers(trace, lanes);
        // By barrier and task, in which round it is; by barrier and round, what those knew who have come.
        let mut rounds: HashMap<(u32, usize), u32> = HashMap::new();
        let mut met: HashMap<(u32, u32), Progress> = HashMap::new();
        let mut sent: HashMap<(u32, u32), Told> = HashMap::new();
        let mut groups: HashMap<u32, Progress> = HashMap::new();
        let mut exits: HashMap<u32, Told> = HashMap::new();
        for event in &trace.events {
            let Some(kind) = Kind::from_number(event.kind.into()) else {
                continue;
            };
            let Some(&task) = lanes.get(&event.task) else {
                continue;
            };
            let me = &mut self.tasks[task];
            me.acts += 1;
            let at = me.acts;
            if is_act(kind) {
                me.last = (at, Some(kind));
            }
            match kind {
                Kind::BlockBegin => {
                    let reason = Reason::from_number(event.aux);
                    me.waits = Some((reason, false));
                    me.last_wait = reason.map(|reason| (reason, event.obj));
                }
                Kind::BlockEnd => me.waits = None,
                Kind::Exit => me.exited = true,
                Kind::Cut => me.cut = Some(event.aux),
                Kind::Mark => {
                    let text = trace.name(event.aux).unwrap_or_default();
                    self.texts
                        .entry(event.aux)
                        .or_insert_with(|| text.to_owned());
                }
                Kind::Wake => {
                    if let Some(&woken) = lanes.get(&event.aux)
                        && let Some((_, woken)) = &mut self.tasks[woken].waits
                    {
                        *woken = true;
                    }
                }
                _ => {}
            }
            // A wait is asked what was known when it began.
            let before = (kind == Kind::Passed).then(|| self.tasks[task].knows.clone());
            if self.ordered {
                let tasks = &mut self.tasks;
                let told = |tasks: &[Progress]| Told {
                    task,
                    acts: at,
                    knows: tasks[task].knows.clone(),
                };
                let hear = |tasks: &mut [Progress], told: &Told| {
                    tasks[task].learn(&told.knows);
                    tasks[task].learn_of(told.task, told.acts);
                };
                match kind {
                    Kind::Spawn => {
                        if let Some(&child) = lanes.get(&event.obj)
                            && child != task
                            && tasks[child].acts == 0
                        {
                            tasks[child].knows = tasks[task].knows.clone();
                            tasks[child].learn_of(task, at);
                            tasks[child].began_knowing = tasks[child].knows.clone();
                        }
                    }
                    Kind::Sent => {
                        // Without room, a send ends only when its receiver has come to its call.
                        if let Some(&taker) = takers.get(&(event.obj, event.seq))
                            && taker != task
                        {
                            let (knows, acts) = (tasks[taker].knows.clone(), tasks[taker].acts);
                            tasks[task].learn(&knows);
                            tasks[task].learn_of(taker, acts);
                        }
                        sent.insert((event.obj, event.seq), told(tasks));
                    }
                    Kind::Received => {
                        if let Some(told) = sent.remove(&(event.obj, event.seq)) {
                            hear(tasks, &told);
                        }
                    }
                    Kind::WgDone if !racing.contains(&event.obj) => {
                        let group = groups.entry(event.obj).or_default();
                        group.learn(&tasks[task].knows);
                        group.learn_of(task, at);
                    }
                    Kind::Passed => {
                        if let Some(group) = groups.get(&event.obj) {
                            tasks[task].learn(&group.knows);
                        }
                    }
                    Kind::BlockEnd if event.aux == Reason::Wait as u32 => {
                        if let Some(group) = groups.get(&event.obj) {
                            tasks[task].learn(&group.knows);
                        }
                    }
                    Kind::BlockBegin | Kind::Tripped | Kind::BlockEnd
                        if barriers.contains_key(&event.obj)
                            && is_at_a_barrier(kind, event.aux) =>
                    {
                        let round = rounds.entry((event.obj, task)).or_default();
                        if kind != Kind::BlockEnd {
                            *round += 1;
                            let all = met.entry((event.obj, *round)).or_default();
                            all.learn(&tasks[task].knows);
                            all.learn_of(task, at);
                        }
                        // A wait in a round that never came to its end was cut off.
                        if kind != Kind::BlockBegin
                            && *round <= barriers[&event.obj]
                            && let Some(all) = met.get(&(event.obj, *round))
                        {
                            tasks[task].learn(&all.knows);
                        }
                    }
                    Kind::Exit => _ = exits.insert(event.task, told(tasks)),
                    Kind::Joined => {
                        if let Some(told) = exits.get(&event.obj) {
                            hear(tasks, told);
                        }
                    }
                    _ => {}
                }
            }
            let keep = self.ordered && is_asked(kind, event.aux);
            self.acts.push(Act {
                task,
                kind,
                obj: event.obj,
                seq: event.seq,
                aux: event.aux,
                at,
                knows: keep.then(|| before.unwrap_or_else(|| self.tasks[task].knows.clone())),
            });
        }
    }

    /// The barriers at which all who come meet in each round, whatever the scheduler does, with how many rounds came to their end: used by as many tasks as
    /// they are for, from their first round on, while nobody is left who could come as well.
    fn barriers(&self, trace: &Trace, lanes: &HashMap<u32, usize>) -> HashMap<u32, u32> {
        let mut sizes: HashMap<u32, u32> = HashMap::new();
        let mut arrivals: HashMap<u32, BTreeMap<usize, u32>> = HashMap::new();
        let mut trips: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        let mut odd: HashSet<u32> = HashSet::new();
        let mut over: HashSet<usize> = HashSet::from([self.observer]);
        for event in &trace.events {
            let (Some(kind), Some(&task)) =
                (Kind::from_number(event.kind.into()), lanes.get(&event.task))
            else {
                continue;
            };
            match kind {
                Kind::NewObject if event.aux == ObjectKind::Barrier as u32 => {
                    sizes.insert(event.obj, event.seq.max(1));
                }
                Kind::Exit => _ = over.insert(task),
                Kind::BlockBegin | Kind::Tripped if is_at_a_barrier(kind, event.aux) => {
                    let of_task = arrivals.entry(event.obj).or_default();
                    let round = of_task.entry(task).or_default();
                    *round += 1;
                    // Each task's own count must agree with the barrier's, or the rounds were not all theirs.
                    if kind == Kind::Tripped
                        && (event.seq != *round
                            || !trips.entry(event.obj).or_default().insert(event.seq))
                    {
                        odd.insert(event.obj);
                    }
                }
                _ => {}
            }
        }
        let rounds = |object: &u32| trips.get(object).map_or(0, BTreeSet::len) as u32;
        let meets = |(object, come): &(u32, BTreeMap<usize, u32>)| {
            !odd.contains(object)
                && sizes.get(object).copied() == u32::try_from(come.len()).ok()
                && come.values().all(|came| *came >= rounds(object))
                && (0..self.tasks.len())
                    .all(|task| over.contains(&task) || come.contains_key(&task))
        };
        arrivals
            .into_iter()
            .filter(meets)
            .map(|(object, _)| (object, rounds(&object)))
            .collect()
    }

    /// Whether nothing is about to be recorded that would count: a task whose message or `done` was its last act so far may be over without having said so,
    /// and one whose message was taken while it waited has yet to say that it sent it.
    pub fn is_settled(&self) -> bool {
        let told_last = |task: &Progress| {
            matches!(
                task.last.1,
                Some(Kind::Sent | Kind::WgDone | Kind::Notified | Kind::Tripped)
            )
        };
        self.tasks
            .iter()
            .enumerate()
            .filter(|(at, task)| *at != self.observer && !task.exited)
            .all(|(_, task)| match task.waits {
                Some((reason, woken)) => {
                    !(woken && matches!(reason, Some(Reason::Send | Reason::Select)))
                }
                None => !told_last(task),
            })
    }

    /// Whether anything is known to have been done: a task was made, an object was used.
    pub fn is_empty(&self) -> bool {
        self.timeline.lanes.len() <= 1 && self.things.is_empty()
    }

    /// The observer's place among the lanes.
    pub fn observer(&self) -> usize {
        self.observer
    }

    /// The places of the tasks that were made, in the order of the lanes.
    pub fn made(&self) -> Vec<usize> {
        let spawned: HashSet<u32> = self
            .acts()
            .filter(|act| act.kind == Kind::Spawn)
            .map(|act| act.obj)
            .collect();
        let lanes = self.timeline.lanes.iter().enumerate();
        lanes
            .filter(|(at, lane)| *at != self.observer && spawned.contains(&lane.task))
            .map(|(at, _)| at)
            .collect()
    }

    /// What was made or used, in the order of first mention.
    pub fn things(&self) -> Vec<&Thing> {
        let mentioned: HashSet<u32> = self
            .acts()
            .filter(|act| {
                act.kind == Kind::NewObject || used_as(act.kind, act.obj, act.aux).is_some()
            })
            .map(|act| act.obj)
            .collect();
        self.things
            .iter()
            .filter(|thing| mentioned.contains(&thing.id))
            .collect()
    }

    /// The acts that count, in the order of the recording: of each task in its own order.
    pub fn acts(&self) -> impl Iterator<Item = &Act> {
        self.acts.iter().filter(|act| self.counts(act))
    }

    fn counts(&self, act: &Act) -> bool {
        !self.ordered || act.task == self.observer || self.known_at_the_end(act.task) >= act.at
    }

    /// How far the observer knows a task at its end.
    fn known_at_the_end(&self, task: usize) -> u32 {
        let observer = self.tasks.get(self.observer);
        observer
            .and_then(|observer| observer.knows.get(task))
            .copied()
            .unwrap_or(0)
    }

    /// Whether the task at this position came to its end, by returning, before the observed part did.
    pub fn finished(&self, task: usize) -> bool {
        self.over(task) && !self.was_cut(task) && self.timeline.lanes[task].end == LaneEnd::Done
    }

    /// Whether the task was ended from outside.
    pub fn was_cut(&self, task: usize) -> bool {
        self.tasks[task].cut.is_some()
    }

    /// The tasks that were ended because they waited in vain: by their place, for what reason, and for which object (for a join: which task).
    pub fn deadlocked(&self) -> Vec<(usize, Reason, u32)> {
        let found: HashSet<u32> = self
            .acts
            .iter()
            .filter(|act| act.kind == Kind::Deadlocked)
            .map(|act| act.aux)
            .collect();
        let is_in = |at: usize| found.contains(&self.timeline.lanes[at].task);
        let tasks = self.tasks.iter().enumerate();
        // Who reports may stand outside of what is observed; then those that were ended for it tell. Else a scope that ended with its tasks is none of them.
        tasks
            .filter(|(at, task)| {
                is_in(*at) || (found.is_empty() && task.cut == Some(Cause::Deadlock as u32))
            })
            .filter_map(|(at, task)| task.last_wait.map(|(reason, object)| (at, reason, object)))
            .collect()
    }

    fn over(&self, task: usize) -> bool {
        let progress = &self.tasks[task];
        progress.exited && (!self.ordered || self.known_at_the_end(task) >= progress.last.0)
    }

    /// Whether each task was over before the next began, on every schedule. `false` for the observer, which is not over.
    pub fn in_order(&self, tasks: &[usize]) -> bool {
        tasks.windows(2).all(|pair| {
            let (before, after) = (&self.tasks[pair[0]], &self.tasks[pair[1]]);
            let known = after.began_knowing.get(pair[0]).copied().unwrap_or(0);
            before.exited && known >= before.last.0
        })
    }

    /// Whether two tasks could have run at the same time, whatever the scheduler did.
    pub fn concurrent(&self, a: usize, b: usize) -> bool {
        self.ordered && a != b && !self.in_order(&[a, b]) && !self.in_order(&[b, a])
    }

    /// Whether each task that made others made all of them before it first waited for one. `false` when none was made.
    pub fn spawned_before_first_wait(&self) -> bool {
        let mut waited = HashSet::new();
        let mut spawned = false;
        let mut senders = HashMap::new();
        for act in self.acts() {
            match act.kind {
                Kind::Spawn if waited.contains(&act.task) => return false,
                Kind::Spawn => spawned = true,
                Kind::Sent => _ = senders.insert((act.obj, act.seq), act.task),
                // A message of one that it made is as good as a join.
                Kind::Received => {
                    if let Some(&sender) = senders.get(&(act.obj, act.seq))
                        && self.descends(sender, act.task)
                    {
                        waited.insert(act.task);
                    }
                }
                Kind::Joined | Kind::Passed => _ = waited.insert(act.task),
                Kind::BlockBegin if waits_for_a_task(act.aux) => _ = waited.insert(act.task),
                _ => {}
            }
        }
        spawned
    }

    /// Whether a task was made by another one, or by one that that one made.
    fn descends(&self, task: usize, from: usize) -> bool {
        let lanes = &self.timeline.lanes;
        let ancestor = lanes[from].task;
        let mut parent = lanes[task].parent;
        // As often as there can be generations: a trace that was scribbled on has rings.
        for _ in 0..MOST_LANES {
            match parent {
                Some(id) if id == ancestor => return true,
                Some(id) => parent = self.timeline.lane(id).and_then(|lane| lane.parent),
                None => return false,
            }
        }
        false
    }

    /// Whether marks `first` and `second` were made in turns, beginning with `first`, each before the next on every schedule.
    pub fn alternated(&self, first: &str, second: &str) -> bool {
        let is = |act: &&Act, text: &str| self.text(act) == Some(text);
        let marks: Vec<&Act> = self
            .acts()
            .filter(|act| is(act, first) || is(act, second))
            .collect();
        let chain = marks.windows(2).all(|pair| pair[0].is_before(pair[1]));
        let turns = marks
            .iter()
            .enumerate()
            .all(|(at, act)| is(act, if at % 2 == 0 { first } else { second }));
        marks.len() >= 2 && chain && turns
    }

    /// The text of a mark.
    pub fn text(&self, act: &Act) -> Option<&str> {
        (act.kind == Kind::Mark)
            .then(|| self.texts.get(&act.aux).map(String::as_str))
            .flatten()
    }

    /// The acts on an object that count.
    pub fn on(&self, object: u32) -> impl Iterator<Item = &Act> {
        self.acts()
            .filter(move |act| act.obj == object && used_as(act.kind, act.obj, act.aux).is_some())
    }

    /// Whether all senders of a channel are gone. Whoever drops the last one need not be waited for: who receives to the end knows it all the same.
    pub fn is_closed(&self, channel: u32) -> bool {
        let closed = |act: &Act| act.kind == Kind::Closed && act.obj == channel && act.aux == 0;
        self.acts.iter().any(closed)
    }

    /// Whether each message of a channel was received before the next was sent, on every schedule. `false` with fewer than two messages.
    pub fn alternates(&self, channel: u32) -> bool {
        let by_number = |kind: Kind| -> BTreeMap<u32, &Act> {
            self.on(channel)
                .filter(|act| act.kind == kind)
                .map(|act| (act.seq, act))
                .collect()
        };
        let (sent, received) = (by_number(Kind::Sent), by_number(Kind::Received));
        let mut pairs = sent.values().zip(sent.values().skip(1));
        sent.len() >= 2
            && pairs.all(|(this, next)| {
                received
                    .get(&this.seq)
                    .is_some_and(|taken| taken.is_before(next))
            })
    }

    /// The most messages that a channel could hold at once, on the schedule that is worst for it: with that much room no send ever waits.
    pub fn could_queue(&self, channel: u32) -> usize {
        let of = |kind| by_task_of(self.on(channel).filter(|act| act.kind == kind));
        let (sent, received) = (of(Kind::Sent), of(Kind::Received));
        let queued_with = |this: &Act| {
            // What a task does after `this` comes last in its own order, and what it did before comes first.
            let perhaps_before = sent
                .values()
                .map(|acts| acts.partition_point(|other| !this.is_before(other)));
            let taken = received
                .values()
                .map(|acts| acts.partition_point(|other| other.is_before(this)));
            perhaps_before
                .sum::<usize>()
                .saturating_sub(taken.sum::<usize>())
        };
        sent.values()
            .flatten()
            .map(|this| queued_with(this))
            .max()
            .unwrap_or(0)
    }

    /// The tasks that did something of a kind while they had a lock.
    pub fn while_holding(&self, lock: u32, did: impl Fn(&Act) -> bool) -> Vec<usize> {
        let mut holds: HashMap<usize, u32> = HashMap::new();
        let mut who = BTreeSet::new();
        for act in self.acts() {
            let held = holds.entry(act.task).or_default();
            match act.kind {
                Kind::Acquired if act.obj == lock => *held += 1,
                Kind::Released if act.obj == lock => *held = held.saturating_sub(1),
                _ if *held > 0 && did(act) => _ = who.insert(act.task),
                _ => {}
            }
        }
        who.into_iter().collect()
    }

    /// Whether no two locks were asked for in both orders, and none by who had it: what makes a ring of waits impossible.
    pub fn locks_in_one_order(&self) -> bool {
        let mut holds: HashMap<usize, Vec<u32>> = HashMap::new();
        let mut then: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        // All that was recorded: a task that waits for ever has shown its order too.
        for act in &self.acts {
            let held = holds.entry(act.task).or_default();
            let asks = act.kind == Kind::BlockBegin && asks_for_a_lock(act.aux);
            if asks || act.kind == Kind::Acquired {
                for &first in held.iter() {
                    then.entry(first).or_default().insert(act.obj);
                }
            }
            match act.kind {
                Kind::Acquired => held.push(act.obj),
                Kind::Released => {
                    if let Some(at) = held.iter().rposition(|&lock| lock == act.obj) {
                        held.remove(at);
                    }
                }
                _ => {}
            }
        }
        // Locks after which nothing else was taken are taken away until nothing changes: what is left goes round.
        while let Some(last) = then
            .iter()
            .find(|(_, after)| after.iter().all(|lock| !then.contains_key(lock)))
            .map(|(&lock, _)| lock)
        {
            then.remove(&last);
        }
        then.is_empty()
    }

    /// The most tasks that had a lock at once, those that only read counted as one.
    pub fn max_holders(&self, lock: u32) -> usize {
        let (mut writers, mut readers, mut most) = (0_usize, 0_usize, 0);
        for act in self.acts.iter().filter(|act| act.obj == lock) {
            let reads = act.aux == 1;
            let count = if reads { &mut readers } else { &mut writers };
            match act.kind {
                Kind::Acquired => *count += 1,
                Kind::Released => *count = count.saturating_sub(1),
                _ => {}
            }
            most = most.max(writers + usize::from(readers > 0));
        }
        most
    }

    /// How much was added to a wait group.
    pub fn added(&self, group: u32) -> usize {
        let adds = self.adds(group);
        let counted = adds.iter().filter(|(add, _)| self.counts(add));
        counted.map(|(_, n)| n).sum()
    }

    /// Each `add` of a wait group, and how much it added.
    fn adds(&self, group: u32) -> Vec<(&Act, usize)> {
        let mut changes: Vec<&Act> = self
            .acts
            .iter()
            .filter(|act| act.obj == group)
            .filter(|act| matches!(act.kind, Kind::WgAdd | Kind::WgDone | Kind::Passed))
            .collect();
        // By the group's own count of changes.
        changes.sort_by_key(|act| act.seq);
        // A group that was used before has a value already.
        let mut value = match changes.first() {
            Some(act) if act.kind == Kind::WgDone => act.aux.saturating_add(1),
            Some(act) if act.kind == Kind::WgAdd && act.seq > 1 => act.aux.saturating_sub(1),
            _ => 0,
        };
        let mut adds = Vec::new();
        for act in changes {
            if act.kind == Kind::WgAdd {
                adds.push((act, act.aux.saturating_sub(value) as usize));
            }
            value = act.aux;
        }
        adds
    }

    /// Whether no wait for a wait group could have missed an `add`, on any schedule. `false` without either.
    pub fn added_in_time(&self, group: u32) -> bool {
        let waits = self.on(group).any(is_wait);
        waits && self.added(group) > 0 && !self.adds_race(group)
    }

    /// Whether a wait could have found zero, on some schedule, before an `add` that it did not come after.
    fn adds_race(&self, group: u32) -> bool {
        let on_it = || self.acts.iter().filter(|act| act.obj == group);
        let adds = self.adds(group);
        let dones = by_task_of(on_it().filter(|act| act.kind == Kind::WgDone));
        let races = |wait: &Act| {
            let known = adds.iter().filter(|(add, _)| add.is_before(wait));
            let before: usize = known.map(|(_, n)| n).sum();
            let mut open = adds
                .iter()
                .filter(|(add, _)| !add.is_before(wait) && !wait.is_before(add));
            // Such an `add` is in time when something that was added before cannot be done yet.
            open.any(|(add, _)| {
                let perhaps_done = dones
                    .values()
                    .map(|acts| acts.partition_point(|done| !add.is_before(done)));
                before <= perhaps_done.sum()
            })
        };
        on_it().filter(|act| is_wait(act)).any(races)
    }

    /// How many messages were queued at most on any channel, in this run.
    pub fn max_queued(&self) -> usize {
        let sent = self.acts.iter().filter(|act| act.kind == Kind::Sent);
        sent.map(|act| act.aux as usize).max().unwrap_or(0)
    }

    /// The tasks that kept their worker too long from others, in this run.
    pub fn hogs(&self) -> Vec<usize> {
        let hogged = self.acts.iter().filter(|act| act.kind == Kind::Hogged);
        let hogs: BTreeSet<usize> = hogged.map(|act| act.task).collect();
        hogs.into_iter().collect()
    }

    /// How often a task waited in this run, and how long together; sleeping is not waiting.
    pub fn waited(&self, task: usize) -> (usize, Duration) {
        let end = self.timeline.end;
        let waits = self.timeline.lanes[task]
            .spans
            .iter()
            .filter(|span| matches!(span.state, State::Blocked { .. }));
        waits.fold((0, Duration::ZERO), |(times, long), span| {
            let nanos = span.until(end).0.saturating_sub(span.from.0);
            (times + 1, long + Duration::from_nanos(nanos))
        })
    }
}

/// Acts by their task, each task's in its order.
fn by_task_of<'a>(acts: impl Iterator<Item = &'a Act>) -> BTreeMap<usize, Vec<&'a Act>> {
    let mut tasks: BTreeMap<usize, Vec<&Act>> = BTreeMap::new();
    for act in acts {
        tasks.entry(act.task).or_default().push(act);
    }
    tasks
}

/// Whether an act is a call of `wait` on a wait group.
pub fn is_wait(act: &Act) -> bool {
    act.kind == Kind::Passed || act.kind == Kind::BlockBegin && act.aux == Reason::Wait as u32
}

/// Whether an act is a call of `sleep`.
pub fn is_sleep(act: &Act) -> bool {
    act.kind == Kind::BlockBegin && act.aux == Reason::Sleep as u32
}

/// The acts that are asked what came before them.
fn is_asked(kind: Kind, aux: u32) -> bool {
    match kind {
        Kind::Sent | Kind::Received | Kind::Mark => true,
        Kind::WgAdd | Kind::WgDone | Kind::Passed => true,
        Kind::BlockBegin => aux == Reason::Wait as u32,
        _ => false,
    }
}

/// Whether an event of these kinds is of a task that comes to a barrier, or leaves it.
fn is_at_a_barrier(kind: Kind, aux: u32) -> bool {
    kind == Kind::Tripped || aux == Reason::Barrier as u32
}

fn waits_for_a_task(reason: u32) -> bool {
    matches!(
        Reason::from_number(reason),
        Some(Reason::Join | Reason::Scope | Reason::Wait)
    )
}

fn asks_for_a_lock(reason: u32) -> bool {
    matches!(
        Reason::from_number(reason),
        Some(Reason::Lock | Reason::Read | Reason::Write)
    )
}

/// What was made or used, in the order of first mention, named as the timeline names it.
fn things(trace: &Trace, timeline: &Timeline) -> Vec<Thing> {
    let mut seen = HashSet::new();
    let mut things: Vec<Thing> = Vec::new();
    let mut capacities = HashMap::new();
    for event in &trace.events {
        if event.kind == Kind::NewObject as u8 {
            capacities.insert(event.obj, event.seq);
        }
        let kind = match Kind::from_number(event.kind.into()) {
            Some(Kind::NewObject) => ObjectKind::from_number(event.aux),
            Some(kind) => used_as(kind, event.obj, event.aux),
            None => None,
        };
        let id = event.obj;
        if let Some(kind) = kind.filter(|kind| *kind != ObjectKind::Scope)
            && seen.insert(id)
        {
            let name = timeline
                .object(id)
                .map_or(word_for(kind).to_owned(), |object| object.name.clone());
            things.push(Thing {
                id,
                kind,
                name,
                capacity: None,
            });
        }
    }
    for thing in &mut things {
        thing.capacity = match capacities.get(&thing.id) {
            Some(&capacity) if thing.kind == ObjectKind::Channel && capacity != u32::MAX => {
                Some(capacity as usize)
            }
            _ => None,
        };
    }
    things
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MAIN_TASK;
    use crate::script::{Random, trace};
    use crate::trace::{by_task, merged};

    fn order(script: &str) -> (bool, bool, bool) {
        let observed = observed(script);
        let (a, b) = (observed.place("a"), observed.place("b"));
        (
            observed.in_order(&[a, b]),
            observed.in_order(&[b, a]),
            observed.concurrent(a, b),
        )
    }

    #[test]
    fn one_is_over_before_the_other_or_they_are_concurrent() {
        for (name, script, want) in [
            (
                "two",
                "main spawn a; main spawn b; a exit; b exit",
                (false, false, true),
            ),
            (
                "joined between",
                "main spawn a; a exit; main joined a; main spawn b; b exit",
                (true, false, false),
            ),
            (
                "over by chance",
                "main spawn a; a exit; main spawn b; b exit",
                (false, false, true),
            ),
            (
                "by a lock, which is chance",
                "main spawn a; a take m; a release m; a exit; main take m; main release m; main spawn b; b exit",
                (false, false, true),
            ),
            (
                "its last act was a message",
                "main spawn a; a send c; a exit; main got c; main spawn b; b exit",
                (true, false, false),
            ),
            (
                "it went on after its message",
                "main spawn a; a send c; a mark more; a exit; main got c; main spawn b; b exit",
                (false, false, true),
            ),
            (
                "a wait group",
                "main spawn a; main add w; main wait w; a done w; a exit; main on; main spawn b; b exit",
                (true, false, false),
            ),
            (
                "a wait group that may have been zero",
                "main spawn a; a add w; a done w; a exit; main pass w; main spawn b; b exit",
                (false, false, true),
            ),
        ] {
            assert_eq!(order(script), want, "{name}");
        }
    }

    /// The part that main observes: between `observe` and `observed` where the script has them, else all.
    fn observed(script: &str) -> Observed {
        let trace = trace(script);
        let number = u32::from(script.contains("observe"));
        let observation = Observation {
            observer: MAIN_TASK,
            number,
        };
        let events = merged(&part(by_task(vec![trace.events.clone()]), observation));
        Observed::new(&Trace { events, ..trace }, MAIN_TASK, "main")
    }

    impl Observed {
        fn place(&self, name: &str) -> usize {
            let mut lanes = self.timeline.lanes.iter();
            lanes
                .position(|lane| lane.name == name)
                .unwrap_or_else(|| panic!("no task {name}"))
        }

        fn thing(&self, name: &str) -> &Thing {
            let things = self.things();
            let found = things.into_iter().find(|thing| thing.name == name);
            found.unwrap_or_else(|| panic!("no object {name}"))
        }
    }

    fn names(observed: &Observed) -> Vec<&str> {
        let lanes = &observed.timeline.lanes;
        let made = observed.made().into_iter();
        made.map(|at| lanes[at].name.as_str()).collect()
    }

    #[test]
    fn the_part_is_the_observers_and_that_of_whom_it_made() {
        let observed = observed(
            "main make channel _pipe =1; main make lock till; main make lock other; main spawn late; late take till; late release till; \
             main take other; main release other; main observe; main spawn ada; ada go kid; kid take till; kid release till; kid exit; \
             ada joined kid; ada exit; main joined ada; main observed; main spawn after; after exit; main joined after",
        );
        assert_eq!(names(&observed), ["ada", "kid"]);
        let things: Vec<&str> = observed.things().iter().map(|thing| &*thing.name).collect();
        assert_eq!(things, ["till"], "named outside of the part, used in it");
        assert_eq!(observed.on(observed.thing("till").id).count(), 2);
    }

    #[test]
    fn only_what_happened_before_the_end_counts() {
        for (name, script, finished, sent) in [
            (
                "joined",
                "main spawn a; a send c; a exit; main joined a",
                true,
                1,
            ),
            ("not awaited", "main spawn a; a send c; a exit", false, 0),
            (
                "its message was",
                "main spawn a; a send c; a send c; main got c; a exit",
                false,
                1,
            ),
            (
                "its last act was a message",
                "main spawn a; a send c; a exit; main got c",
                true,
                1,
            ),
            (
                "a group",
                "main spawn a; main add w; a send c; a done w; a exit; main pass w",
                true,
                1,
            ),
            (
                "it kept its worker to the end",
                "main spawn a; a send c; a exit; a hogged; main got c",
                true,
                1,
            ),
            (
                "by way of another",
                "main spawn a; main spawn b; a send c; a exit; b joined a; b exit; main joined b",
                true,
                1,
            ),
            (
                "a group to which it was added late",
                "main spawn a; a add w; a send c; a done w; a exit; main pass w",
                false,
                0,
            ),
            (
                "it panicked",
                "main spawn a; a send c; a panic oh; a exit; main joined a",
                false,
                1,
            ),
            (
                "it is about to end",
                "main spawn a; a send c; main got c",
                false,
                1,
            ),
        ] {
            let observed = observed(script);
            let a = observed.place("a");
            assert_eq!(observed.finished(a), finished, "{name}");
            let count = observed.acts().filter(|act| act.kind == Kind::Sent).count();
            assert_eq!(count, sent, "{name}");
            let waits_for_its_end = name == "it is about to end";
            assert_eq!(observed.is_settled(), !waits_for_its_end, "{name}");
        }
    }

    #[test]
    fn one_that_is_about_to_say_that_it_sent_is_waited_for() {
        for (script, settled) in [
            ("main spawn a; a full c", true),
            ("main spawn a; a full c; main got c", false),
            ("main spawn a; a full c; main got c; a send c; a work", true),
            ("main spawn a; a recv c; main send c", true),
        ] {
            assert_eq!(observed(script).is_settled(), settled, "{script}");
        }
    }

    #[test]
    fn a_deadlock_is_known_by_whoever_tells_of_it() {
        for (name, script, want) in [
            (
                "none",
                "main spawn a; main observe; main take m; main observed",
                &[][..],
            ),
            (
                "told by another",
                "main spawn watch; main observe; main spawn a; a take m; a want m; watch deadlock a; main observed",
                &["a"],
            ),
            (
                "told by its own end",
                "main observe; main spawn a; a take m; a want m; a cut; a exit; main joined a; main observed",
                &["a"],
            ),
            (
                "ended for another cause",
                "main observe; main spawn a; a take m; a want m; a cut =2; a exit; main joined a; main observed",
                &[],
            ),
            (
                "of others",
                "main spawn b; b take m; b want m; main observe; main spawn a; a deadlock b; main observed",
                &[],
            ),
        ] {
            let observed = observed(script);
            let lanes = &observed.timeline.lanes;
            let deadlocked = observed.deadlocked().into_iter();
            let names: Vec<&str> = deadlocked.map(|(at, ..)| lanes[at].name.as_str()).collect();
            assert_eq!(names, want, "{name}");
            assert!(lanes.iter().all(|lane| lane.name != "watch"), "{name}");
        }
    }

    #[test]
    fn all_are_spawned_before_the_first_is_awaited() {
        for (script, want) in [
            ("main end", false),
            ("main spawn a; main spawn b; main joined a", true),
            ("main spawn a; a exit; main joined a; main spawn b", false),
            (
                "main spawn a; main join a; a exit; main on; main spawn b",
                false,
            ),
            ("main spawn a; a send c; main got c; main spawn b", false),
            ("main send c; main got c; main spawn a; main spawn b", true),
            (
                "main spawn m; main send c; m got c; m spawn a; m spawn b; a exit; m joined a; m exit; main joined m",
                true,
            ),
            (
                "main spawn m; m spawn a; a exit; m joined a; m spawn b; m exit; main joined m",
                false,
            ),
        ] {
            assert_eq!(
                observed(script).spawned_before_first_wait(),
                want,
                "{script}"
            );
        }
    }

    #[test]
    fn marks_alternate_only_when_something_orders_them() {
        let turns = "main spawn a; main spawn b; a mark tick; a send c; b got c; b mark tock; b send d; a got d; a mark tick; a send c; \
                     b got c; b mark tock; a exit; main joined a; b exit; main joined b";
        assert!(observed(turns).alternated("tick", "tock"));
        assert!(!observed(turns).alternated("tock", "tick"));
        assert!(!observed(turns).alternated("tick", "tack"));
        let by_chance = "main spawn a; main spawn b; a mark tick; b mark tock; a mark tick; b mark tock; a exit; b exit; main joined a; main joined b";
        assert!(!observed(by_chance).alternated("tick", "tock"));
    }

    #[test]
    fn a_barrier_orders_those_who_must_meet_there() {
        let meets = "main make barrier door =2; main spawn a; main spawn b; a mark tick; a meet door; b trip door; a on; b mark tock; \
                     b meet door; a trip door; b on; a mark tick; a meet door; b trip door; b mark tock; a on;";
        let joined = " a exit; main joined a; b exit; main joined b";
        for (name, script, want) in [
            ("two, and it is for two", format!("{meets}{joined}"), true),
            ("as it is", format!("{meets}{joined}").replace("=2", "=3"), false),
            (
                "another one came once, and waits for ever",
                format!("main spawn c; {meets} c meet door; {joined}"),
                false,
            ),
            (
                "another one is left, and may come",
                format!("main spawn c; c work; {meets}{joined}"),
                false,
            ),
            (
                "another one is over, and did not come",
                format!("main spawn c; c work; c worked; c exit; {meets}{joined}"),
                true,
            ),
            (
                "made before, with a round that was not seen",
                format!("main make barrier door =2; x trip door; main observe; {meets}{joined}; main observed"),
                false,
            ),
            (
                "they did not meet",
                "main make barrier door =2; main spawn a; main spawn b; a mark tick; b mark tock; a mark tick; b mark tock;".to_owned() + joined,
                false,
            ),
        ] {
            assert_eq!(observed(&script).alternated("tick", "tock"), want, "{name}");
        }
        // What was done before the observer came there counts, though nobody joined who did it.
        let with_main = "main make barrier door =2; main spawn a; a send c; a meet door; main trip door; a on; a send c";
        assert_eq!(
            observed(with_main)
                .acts()
                .filter(|act| act.kind == Kind::Sent)
                .count(),
            1
        );
        // One that was cut off there knows nothing of a round that never came to its end.
        let cut = "main make barrier door =2; main spawn a; main meet door; a mark tick; main on; main cut; main mark tock; a exit";
        assert!(!observed(cut).alternated("tick", "tock"));
    }

    #[test]
    fn a_condvar_and_a_once_lock_order_nothing() {
        let by_condvar = "main spawn a; main spawn b; b await oven; a mark tick; a notify oven =1; b on; b mark tock; a exit; b exit; main joined a; main joined b";
        assert!(!observed(by_condvar).alternated("tick", "tock"));
        let by_once = "main spawn a; main spawn b; b lack list; a mark tick; a fill list; b on; b mark tock; a exit; b exit; main joined a; main joined b";
        assert!(!observed(by_once).alternated("tick", "tock"));
    }

    #[test]
    fn a_channel_alternates_and_fills_as_far_as_it_must() {
        for (name, script, alternates, could_queue) in [
            ("unused", "main make channel c", false, 0),
            ("one message", "main send c; main got c", false, 1),
            (
                "own messages",
                "main send c; main got c; main send c; main got c",
                true,
                1,
            ),
            (
                "two at once",
                "main send c; main send c; main got c; main got c",
                false,
                2,
            ),
            (
                "by chance",
                "main spawn a; a send c; main got c; a send c; main got c",
                false,
                2,
            ),
            (
                "with an answer",
                "main spawn a; a send c; main got c; main send d; a got d; a send c; main got c",
                true,
                1,
            ),
            (
                "three senders",
                "main spawn a; main spawn b; a send c; b send c; main got c; main got c",
                false,
                2,
            ),
            (
                "a rendezvous",
                "main make channel c =0; main spawn a; main recv c; a send c; main got c; main recv c; a send c; main got c",
                true,
                1,
            ),
        ] {
            let observed = observed(script);
            let channel = observed.thing("c").id;
            assert_eq!(observed.alternates(channel), alternates, "{name}");
            assert_eq!(observed.could_queue(channel), could_queue, "{name}");
        }
    }

    #[test]
    fn what_is_done_with_a_lock_is_known_by_task() {
        let observed = observed(
            "main spawn a; main spawn b; a take m; a sleep; a on; a release m; a exit; b take m; b release m; b sleep; b on; b work; b worked; b exit; \
             main joined a; main joined b",
        );
        let lock = observed.thing("m").id;
        assert_eq!(
            observed.while_holding(lock, is_sleep),
            [observed.place("a")]
        );
        let works = |act: &Act| act.kind == Kind::WorkBegin;
        assert_eq!(observed.while_holding(lock, works), []);
        assert_eq!(observed.max_holders(lock), 1);
    }

    #[test]
    fn locks_are_taken_in_one_order_or_go_round() {
        for (script, want) in [
            (
                "a take m; a take n; a release n; a release m; b take m; b take n",
                true,
            ),
            (
                "a take m; a take n; a release n; a release m; b take n; b take m",
                false,
            ),
            ("a take m; b take n; a want n; b want m", false),
            ("a take m; a want m", false),
            (
                "a take m; a take n; a release m; a take o; a release o; b take o; b take m",
                false,
            ),
            (
                "a take m; a release m; a take n; a release n; b take n; b release n; b take m",
                true,
            ),
        ] {
            let made = format!("main spawn a; main spawn b; {script}");
            assert_eq!(observed(&made).locks_in_one_order(), want, "{script}");
        }
    }

    #[test]
    fn adds_are_in_time_or_race_with_the_wait() {
        for (name, script, before, added) in [
            ("no wait", "main add w", false, 1),
            (
                "before",
                "main spawn a; main add w =2; a done w; a done w; main pass w",
                true,
                2,
            ),
            (
                "in the task",
                "main spawn a; a add w; a done w; a exit; main pass w; main joined a",
                false,
                1,
            ),
            (
                "in the task, later",
                "main spawn a; main pass w; a add w; a done w; a exit; main joined a",
                false,
                1,
            ),
            (
                "by one that is counted itself",
                "main spawn a; main add w; a add w; a spawn b; b done w; a done w; main pass w",
                true,
                2,
            ),
            (
                "by one of two that are counted at once",
                "main add w =2; main spawn a; main spawn b; a add w; b done w; a done w; a done w; main pass w",
                true,
                3,
            ),
            (
                "by one whose count may be gone",
                "main spawn a; main spawn b; main add w; b done w; a add w; a done w; main pass w; a exit; b exit; main joined a; main joined b",
                false,
                2,
            ),
            (
                "a second round",
                "main add w; main done w; main pass w; main add w =3; main done w; main pass w",
                true,
                4,
            ),
        ] {
            let observed = observed(script);
            let group = observed.thing("w").id;
            assert_eq!(observed.added_in_time(group), before, "{name}");
            assert_eq!(observed.added(group), added, "{name}");
        }
    }

    #[test]
    fn every_list_is_observed_without_panic() {
        let mut random = Random::new(11);
        for _ in 0..2000 {
            let mut events = Vec::new();
            for ticks in 0..random.below(60) {
                let mut small = || random.below(6) as u32;
                let (task, obj, seq, aux) = (small(), small(), small(), small() * 2);
                let kind = random.below(42) as u8;
                events.push(Event {
                    ticks,
                    task,
                    obj,
                    seq,
                    aux,
                    kind,
                    ..Event::default()
                });
            }
            for number in [0, 1] {
                let observation = Observation {
                    observer: 1,
                    number,
                };
                let events = merged(&part(by_task(vec![events.clone()]), observation));
                let trace = Trace {
                    events,
                    ..Trace::default()
                };
                let observed = Observed::new(&trace, 1, "main");
                observed.is_settled();
                observed.spawned_before_first_wait();
                observed.locks_in_one_order();
                for at in observed.made() {
                    observed.finished(at);
                    observed.waited(at);
                }
                for thing in observed.things() {
                    observed.alternates(thing.id);
                    observed.could_queue(thing.id);
                    observed.max_holders(thing.id);
                    observed.added(thing.id);
                    observed.added_in_time(thing.id);
                }
            }
        }
    }
}
