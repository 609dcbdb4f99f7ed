//! Events into lanes, spans, edges and objects: what happened, ready to be drawn or asked about.
//!
//! Total: any list of events folds, also one cut off anywhere, since a wait without an end is what a deadlock, a kill and a cell that still runs look
//! like. Pure: no clock, no randomness. One file because the rules for the kinds of event belong side by side. Knows nothing of pixels.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::facts::Ended;
use crate::format::{Cause, Engine, Event, Kind, MAIN_TASK, ObjectKind, Reason};
use crate::trace::Trace;

/// Nanoseconds since the first event of a recording.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// One recording, folded.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    /// A lane per task: `main` first, the others in the order in which they were made or first seen.
    pub lanes: Vec<Lane>,
    /// What let what happen, in the order of the effects.
    pub edges: Vec<Edge>,
    /// What was shared, in the order of first use.
    pub objects: Vec<Object>,
    /// Tasks that were found to wait for each other.
    pub rings: Vec<Ring>,
    /// Who ran when on which worker, by the worker's number. Empty without green tasks.
    pub workers: Vec<WorkerLane>,
    /// When the first event was: 0.
    pub start: Nanos,
    /// When the last event was.
    pub end: Nanos,
    /// How many events are missing.
    pub dropped: u64,
    /// Since when, and until when, some are missing; `None` when all are there. What is told of this time is true, and not all that was.
    pub gap: Option<(Nanos, Nanos)>,
    /// How many tasks, `main` left out, were seen running at the same time, those on one core counted once.
    pub max_running: usize,
    /// By lane: the tasks that were over before it began.
    pub(crate) before: Vec<Ended>,
    /// By task: the place of its lane. A recording may have a hundred thousand.
    lane_places: HashMap<u32, usize>,
    /// By id: the place of the object.
    object_places: HashMap<u32, usize>,
}

/// What one task did.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// The id in the trace.
    pub task: u32,
    /// `main`, the name given to it, or `thread 2`: the second of this recording without a name.
    pub name: String,
    /// Who made it; `None` for `main` and for a task of an earlier recording.
    pub parent: Option<u32>,
    /// What carries it.
    pub engine: Engine,
    /// When it was made; 0 for a task of an earlier recording.
    pub spawned: Nanos,
    /// When it first ran; `None` when it did not, or in an earlier recording.
    pub started: Option<Nanos>,
    /// When it came to its end.
    pub ended: Option<Nanos>,
    /// How.
    pub end: LaneEnd,
    /// What it did, without overlaps, by time. Only the last one may be open.
    pub spans: Vec<Span>,
    /// The locks it had.
    pub holds: Vec<Hold>,
    /// Its remarks.
    pub marks: Vec<Mark>,
    /// Its regions, by their beginning.
    pub regions: Vec<Region>,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneEnd {
    /// Its function returned.
    Done,
    /// It panicked with this message.
    Panicked(String),
    /// It was ended from outside.
    Cut(Cause),
    /// Not at all, as far as this recording goes.
    Alive,
    /// That is not known: what it did last is missing.
    Unknown,
}

/// A stretch of time in which a task did one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Since when.
    pub from: Nanos,
    /// Until when; `None`: it was still so at the end.
    pub until: Option<Nanos>,
    /// What it did.
    pub state: State,
    /// Where in the source that began.
    pub site: Option<u16>,
    /// The core, when it was one and the same at both ends.
    pub cpu: Option<u16>,
    /// For a wait: who ended it.
    pub woken_by: Option<u32>,
    /// For a wait: when it was ended. The task goes on some time later, being ready until then.
    pub woken_at: Option<Nanos>,
    /// For a wait: it was found to be in vain.
    pub deadlocked: Option<Deadlock>,
    /// The worker that the green task had meanwhile.
    pub worker: Option<u8>,
    /// For how long the task kept that worker from the other tasks, when that was too long.
    pub hogged: Option<Nanos>,
}

/// Why a wait is in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadlock {
    /// All tasks wait, and none is left that could wake another.
    AllAsleep,
    /// The task is one of a ring, in which each waits for the next.
    Ring,
}

/// Tasks each of which waits for the next one, and the last one for the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ring {
    /// When that was found.
    pub at: Nanos,
    /// The tasks, the one with the lowest id first; a single one waits for itself.
    pub tasks: Vec<u32>,
}

/// What a worker of the green tasks did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLane {
    /// Its number, from 1.
    pub worker: u8,
    /// Which task it carried when: by time, without overlaps.
    pub slices: Vec<Slice>,
}

/// A stretch for which a worker carried one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// The task.
    pub task: u32,
    /// Since when.
    pub from: Nanos,
    /// Until when; `None`: still at the end.
    pub until: Option<Nanos>,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or could at once: only a compute span knows of losing its core.
    Running,
    /// It could go on, and does not yet.
    Ready,
    /// It waits.
    Blocked {
        /// For what.
        reason: Reason,
        /// The object, for [`Reason::Join`] the task, or 0.
        object: u32,
    },
    /// It waits for time to pass.
    Sleeping,
    /// It computes (`work`).
    Computing,
    /// Nobody knows: what it did then is missing.
    Unknown,
}

/// The time between getting a lock and giving it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The lock.
    pub object: u32,
    /// Since when.
    pub from: Nanos,
    /// Until when; `None`: still at the end. Where what the task did next is missing, until there: it had the lock for at least so long.
    pub until: Option<Nanos>,
    /// Where it was taken.
    pub site: Option<u16>,
    /// Whether others may have had it too, to read.
    pub shared: bool,
}

/// A remark of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Nanos,
    /// What it said.
    pub text: String,
}

/// A stretch that a task gave a name to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Since when.
    pub from: Nanos,
    /// Until when; `None`: still at the end.
    pub until: Option<Nanos>,
    /// Its name.
    pub text: String,
}

/// Something that one task did and that let another one do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// What.
    pub kind: EdgeKind,
    /// Who did it.
    pub from: u32,
    /// When.
    pub left: Nanos,
    /// Who could do something by it.
    pub to: u32,
    /// When it did.
    pub reached: Nanos,
    /// By what object; for spawn and join the task that was made or ended.
    pub object: u32,
    /// The number of the message, or of the acquisition; else 0.
    pub seq: u32,
    /// Whether it ended a wait: those edges say most.
    pub ended_wait: bool,
}

/// What an edge stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EdgeKind {
    /// A task made another one.
    Spawn,
    /// A message was sent, and received.
    Message,
    /// A lock was given back, and taken by another task.
    Lock,
    /// A wait group came to zero, and a wait for that ended.
    Wait,
    /// A task ended, and another one had waited for that.
    Join,
    /// A condition variable was notified, and a wait for that ended.
    Notify,
    /// A task was the last to come to a barrier, and a wait there ended.
    Barrier,
    /// A task filled a once lock, and a wait for that ended.
    Once,
}

/// Something shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The id in the trace.
    pub id: u32,
    /// What it is.
    pub kind: ObjectKind,
    /// The name given to it, or one like `lock 1`.
    pub name: String,
    /// Whether the learner gave that name.
    pub named: bool,
    /// Where it was made, when that was in this recording.
    pub made_at: Option<u16>,
    /// What can be counted on it, at each change: messages in a channel, a wait group's counter, a lock's holder (a task, 0 for none), how many have a
    /// read-write lock, a cell's value.
    pub counter: Vec<(Nanos, u32)>,
    /// For a channel: who sent to it last.
    pub sent_by: Option<Use>,
    /// For a channel: who received from it last.
    pub received_by: Option<Use>,
}

/// Who used something, and where in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The task.
    pub task: u32,
    /// When.
    pub at: Nanos,
    /// Where.
    pub site: Option<u16>,
}

/// Names from earlier recordings, for tasks and objects that live longer than one.
#[derive(Debug, Clone, Default)]
pub struct Known {
    tasks: HashMap<u32, String>,
    objects: HashMap<u32, (ObjectKind, Option<String>)>,
}

impl Known {
    /// Takes over what a task is called.
    pub fn name_task(&mut self, task: u32, name: &str) {
        self.tasks.insert(task, name.to_owned());
    }

    /// Tells whether a task is one of an earlier recording.
    pub fn has_task(&self, task: u32) -> bool {
        task != MAIN_TASK && self.tasks.contains_key(&task)
    }

    /// Takes over what a timeline has names for.
    pub fn learn(&mut self, timeline: &Timeline) {
        for lane in &timeline.lanes {
            self.tasks.insert(lane.task, lane.name.clone());
        }
        for object in &timeline.objects {
            self.objects.insert(
                object.id,
                (object.kind, object.named.then(|| object.name.clone())),
            );
        }
    }
}

impl Timeline {
    /// Gives the lane of a task.
    pub fn lane(&self, task: u32) -> Option<&Lane> {
        self.lanes.get(*self.lane_places.get(&task)?)
    }

    /// The tasks that outlive their cell. Empty as long as it runs, and when its process ended before it did: then none of them is alive.
    pub fn left_alive(&self) -> impl Iterator<Item = &Lane> {
        let is_over = self
            .lane(MAIN_TASK)
            .is_some_and(|main| main.ended.is_some());
        let alive = move |lane: &&Lane| is_over && lane.end == LaneEnd::Alive;
        self.lanes.iter().filter(alive)
    }

    /// Gives an object.
    pub fn object(&self, id: u32) -> Option<&Object> {
        self.objects.get(*self.object_places.get(&id)?)
    }
}

impl Object {
    /// What people call it: lock `till`, but plain channel 1, which is no name from the program.
    pub fn in_words(&self) -> String {
        if self.named {
            format!("{} `{}`", word_for(self.kind), self.name)
        } else {
            self.name.clone()
        }
    }
}

impl Span {
    /// Gives the end of the span, `end` being the end of the recording.
    pub fn until(&self, end: Nanos) -> Nanos {
        self.until.unwrap_or(end).max(self.from)
    }
}

/// Folds a recording that stands for itself.
pub fn fold(trace: &Trace) -> Timeline {
    fold_knowing(trace, &Known::default())
}

/// Folds a recording in which tasks and objects of earlier ones may play a part.
pub fn fold_knowing(trace: &Trace, known: &Known) -> Timeline {
    let origin = trace.events.first().map_or(0, |event| event.ticks);
    let since_origin = |ticks: u64| nanos(ticks.saturating_sub(origin), trace.ticks_per_second);
    let mut fold = Fold {
        trace,
        known,
        origin,
        gap: trace
            .gap
            .map(|gap| (since_origin(gap.from), since_origin(gap.until))),
        last_acts: last_acts(&trace.events),
        ..Fold::new(trace, known)
    };
    for (index, event) in trace.events.iter().enumerate() {
        fold.event(index, event);
    }
    fold.finish()
}

/// A task while its events are read.
struct Task {
    lane: Lane,
    open: Option<Span>,
    regions: Vec<usize>,
    panicked: Option<String>,
    cut: Option<Cause>,
    /// Since when it lets others go first.
    yielded: Option<Nanos>,
    gone: bool,
    /// Who ended its last wait, until an edge has told that.
    just_woken_by: Option<u32>,
    ended: Ended,
    started_knowing: Ended,
}

impl Task {
    /// How it ended, if it did not end well: what came last counts.
    fn how_it_ended(&mut self) -> Option<LaneEnd> {
        let panicked = self.panicked.take().map(LaneEnd::Panicked);
        panicked.or(self.cut.take().map(LaneEnd::Cut))
    }
}

/// Where an event happened.
#[derive(Clone, Copy, Default)]
struct Where {
    site: Option<u16>,
    cpu: Option<u16>,
    worker: Option<u8>,
}

/// The releases of a lock that somebody may have it by.
#[derive(Default)]
struct Released {
    /// The last one by a holder that had it alone.
    alone: Option<(u32, Nanos)>,
    /// The last one of all, the number of that acquisition, and whether it was shared.
    last: Option<((u32, Nanos), u32, bool)>,
    /// How many have the lock now.
    holders: u32,
}

struct Fold<'a> {
    trace: &'a Trace,
    known: &'a Known,
    origin: u64,
    gap: Option<(Nanos, Nanos)>,
    last_acts: HashMap<u32, usize>,
    tasks: Vec<Task>,
    position: HashMap<u32, usize>,
    given_names: HashMap<u32, String>,
    objects: Vec<Object>,
    object_position: HashMap<u32, usize>,
    edges: Vec<Edge>,
    joined: HashSet<(u32, u32)>,
    sent: HashMap<(u32, u32), (u32, Nanos, Ended)>,
    locks: HashMap<u32, Released>,
    exits: HashMap<u32, (Nanos, Ended)>,
    groups: HashMap<u32, Ended>,
    /// By scope: how many tasks there were when it was opened.
    scopes: HashMap<u32, usize>,
    /// Wakes of tasks that have no lane yet: they waited since before this recording.
    early_wakes: HashMap<u32, (u32, Nanos)>,
    /// Those of them that were found to wait in vain, with the object.
    early_deadlocks: HashMap<u32, (u32, Deadlock)>,
    rings: Vec<Ring>,
    /// The task that tells of the last ring, and may have more to tell of it.
    tells_ring: Option<u32>,
    now: Nanos,
}

impl<'a> Fold<'a> {
    fn new(trace: &'a Trace, known: &'a Known) -> Fold<'a> {
        Fold {
            trace,
            known,
            origin: 0,
            gap: None,
            last_acts: HashMap::new(),
            tasks: Vec::new(),
            position: HashMap::new(),
            given_names: HashMap::new(),
            objects: Vec::new(),
            object_position: HashMap::new(),
            edges: Vec::new(),
            joined: HashSet::new(),
            sent: HashMap::new(),
            locks: HashMap::new(),
            exits: HashMap::new(),
            groups: HashMap::new(),
            scopes: HashMap::new(),
            early_wakes: HashMap::new(),
            early_deadlocks: HashMap::new(),
            rings: Vec::new(),
            tells_ring: None,
            now: Nanos(0),
        }
    }

    fn event(&mut self, index: usize, event: &Event) {
        let Some(kind) = Kind::from_number(event.kind.into()) else {
            return;
        };
        // Ticks do not go back in a merged trace; one made by hand gets the same treatment.
        self.now = self.now.max(nanos(
            event.ticks.saturating_sub(self.origin),
            self.trace.ticks_per_second,
        ));
        let now = self.now;
        let place = Where {
            site: (event.site > 0).then_some(event.site),
            cpu: (event.cpu != u16::MAX).then_some(event.cpu),
            worker: (event.worker > 0).then_some(event.worker),
        };
        if event.task == 0 {
            return;
        }
        if kind != Kind::Deadlocked && self.tells_ring == Some(event.task) {
            self.tells_ring = None;
        }
        match kind {
            // Nobody gets a lane by these: the thread that looks for deadlocks is no task of the learner's, and an old thread says its name before it goes on.
            Kind::Deadlocked => return self.deadlocked(event),
            Kind::NameTask => return self.name_task(event),
            Kind::NewObject => return self.new_object(event, place.site),
            Kind::NameObject => return self.name_object(event),
            Kind::Gap => return self.loses_sight(event.task),
            _ => {}
        }
        let at = self.task_doing(event.task, kind, event, place);
        if self.tasks[at].gone {
            return;
        }
        if self.gap.is_some() {
            self.is_seen_again(at, kind, place);
        }
        match kind {
            Kind::CellBegin => self.tasks[at].lane.started = Some(now),
            Kind::Start => {
                self.tasks[at].lane.started = Some(now);
                self.change(at, State::Running, place);
            }
            Kind::Spawn => self.spawn(at, event, place.site),
            Kind::CellEnd | Kind::Exit => self.exit(at, place.cpu),
            Kind::Panic => {
                let message = self.text(event.aux);
                self.tasks[at].panicked = Some(message);
                self.tasks[at].cut = None;
            }
            Kind::Cut => {
                if let Some(cause) = Cause::from_number(event.aux) {
                    self.tasks[at].panicked = None;
                    self.tasks[at].cut = Some(cause);
                }
            }
            Kind::BlockBegin => {
                let Some(reason) = Reason::from_number(event.aux) else {
                    return;
                };
                if let Some(kind) = object_of(reason) {
                    self.object(event.obj, kind);
                }
                if reason == Reason::Sleep {
                    self.runs_on(at);
                }
                self.tasks[at].just_woken_by = None;
                self.change(at, waiting(reason, event.obj), place);
            }
            Kind::BlockEnd => self.go_on(at, event, place),
            Kind::Wake => {
                let by = event.task;
                match self.position.get(&event.aux).copied() {
                    Some(woken) => self.wake(woken, by),
                    None => _ = self.early_wakes.entry(event.aux).or_insert((by, now)),
                }
            }
            Kind::Sent => {
                let known = self.published(at, index);
                self.sent
                    .insert((event.obj, event.seq), (event.task, now, known));
                let channel = self.object(event.obj, ObjectKind::Channel);
                channel.counter.push((now, event.aux));
                channel.sent_by = Some(used(event, now, place));
            }
            Kind::Received => {
                let channel = self.object(event.obj, ObjectKind::Channel);
                channel.counter.push((now, event.aux));
                channel.received_by = Some(used(event, now, place));
                if let Some((from, left, known)) = self.sent.remove(&(event.obj, event.seq)) {
                    self.tasks[at].ended.join(&known);
                    self.edge(EdgeKind::Message, (from, left), at, event.obj, event.seq);
                }
            }
            Kind::Closed => _ = self.object(event.obj, ObjectKind::Channel),
            Kind::Acquired => self.acquired(at, event, place.site),
            Kind::Released => self.released(at, event),
            Kind::WgAdd | Kind::WgDone => {
                self.object(event.obj, ObjectKind::WaitGroup)
                    .counter
                    .push((now, event.aux));
                if kind == Kind::WgDone {
                    let known = self.published(at, index);
                    self.groups.entry(event.obj).or_default().join(&known);
                }
            }
            Kind::Passed => {
                self.object(event.obj, ObjectKind::WaitGroup);
                if let Some(known) = self.groups.get(&event.obj) {
                    self.tasks[at].ended.join(known);
                }
            }
            Kind::Joined => self.join(at, event.obj),
            Kind::WorkBegin => {
                self.runs_on(at);
                self.change(at, State::Computing, place);
            }
            Kind::WorkEnd => self.change(at, State::Running, place),
            Kind::OffCore => self.off_core(at, event.seq, place.cpu),
            Kind::Mark => {
                let text = self.text(event.aux);
                self.tasks[at].lane.marks.push(Mark { at: now, text });
            }
            Kind::RegionBegin => {
                let text = self.text(event.aux);
                let task = &mut self.tasks[at];
                task.regions.push(task.lane.regions.len());
                task.lane.regions.push(Region {
                    from: now,
                    until: None,
                    text,
                });
            }
            Kind::RegionEnd => {
                let task = &mut self.tasks[at];
                if let Some(region) = task.regions.pop() {
                    task.lane.regions[region].until = Some(now);
                }
            }
            Kind::Yield => self.yields(at, place),
            Kind::Resumed => self.resumed(at, place),
            Kind::Hogged => self.hogged(at, event.seq),
            Kind::Load => _ = self.object(event.obj, ObjectKind::Cell),
            Kind::Store => {
                let cell = self.object(event.obj, ObjectKind::Cell);
                cell.counter.push((now, event.aux));
            }
            // Who goes on by them is told by the wakes.
            Kind::Notified => _ = self.object(event.obj, ObjectKind::Condvar),
            Kind::Tripped => _ = self.object(event.obj, ObjectKind::Barrier),
            Kind::ObserveBegin | Kind::ObserveEnd => {}
            Kind::Deadlocked
            | Kind::NameTask
            | Kind::NewObject
            | Kind::NameObject
            | Kind::Gap
            | Kind::Refused => {}
        }
    }

    /// What the task did from now on is missing. It may have ended its wait, given its locks back, left its regions, and come to its end.
    fn loses_sight(&mut self, task: u32) {
        let Some(&at) = self.position.get(&task) else {
            return;
        };
        if self.tasks[at].gone {
            return;
        }
        self.change(at, State::Unknown, Where::default());
        let (now, task) = (self.now, &mut self.tasks[at]);
        task.just_woken_by = None;
        for hold in task
            .lane
            .holds
            .iter_mut()
            .filter(|hold| hold.until.is_none())
        {
            hold.until = Some(now);
        }
        for region in task.regions.drain(..) {
            task.lane.regions[region].until = Some(now);
        }
    }

    /// A task of which something may be missing does something.
    fn is_seen_again(&mut self, at: usize, kind: Kind, place: Where) {
        let never_seen = self.never_seen(at) && kind != Kind::Start;
        if let Some(open) = &mut self.tasks[at].open {
            if never_seen {
                open.state = State::Unknown;
            }
            if open.state == State::Unknown {
                self.change(
                    at,
                    State::Running,
                    Where {
                        site: None,
                        ..place
                    },
                );
            }
        }
    }

    /// Whether the task was made before the gap's end, and nothing that it did is known: it may have begun all the same.
    fn never_seen(&self, at: usize) -> bool {
        let lane = &self.tasks[at].lane;
        self.gap.is_some_and(|(_, until)| lane.spawned < until)
            && lane.started.is_none()
            && lane.spans.is_empty()
            && self.tasks[at]
                .open
                .as_ref()
                .is_some_and(|open| open.state == State::Ready)
    }

    /// Whether something that the reader has not seen may have happened between `since` and now.
    fn is_unsure_since(&self, since: Nanos) -> bool {
        self.gap
            .is_some_and(|(from, until)| since < until && self.now > from)
    }

    fn name_task(&mut self, event: &Event) {
        let name = self.text(event.aux);
        if let Some(&named) = self.position.get(&event.obj) {
            self.tasks[named].lane.name.clone_from(&name);
        }
        self.given_names.insert(event.obj, name);
    }

    fn new_object(&mut self, event: &Event, site: Option<u16>) {
        let Some(kind) = ObjectKind::from_number(event.aux) else {
            return;
        };
        if kind == ObjectKind::Scope {
            self.scopes.insert(event.obj, self.tasks.len());
        }
        let object = self.object(event.obj, kind);
        object.made_at = site;
        object.kind = kind;
    }

    fn name_object(&mut self, event: &Event) {
        let name = self.text(event.aux);
        if let Some(&position) = self.object_position.get(&event.obj) {
            self.objects[position].name = name;
            self.objects[position].named = true;
        }
    }

    fn deadlocked(&mut self, event: &Event) {
        let (task, object) = (event.aux, event.obj);
        let how = if event.seq == 1 {
            self.one_of_a_ring(event.task, task);
            Deadlock::Ring
        } else {
            Deadlock::AllAsleep
        };
        match self.position.get(&task) {
            Some(&at) => self.waits_in_vain(at, object, how),
            None => _ = self.early_deadlocks.insert(task, (object, how)),
        }
    }

    /// A ring is told task by task, in its order, and by one who does nothing else meanwhile.
    fn one_of_a_ring(&mut self, teller: u32, task: u32) {
        match self.rings.last_mut() {
            Some(ring) if self.tells_ring == Some(teller) && ring.tasks.first() != Some(&task) => {
                ring.tasks.push(task);
            }
            _ => self.rings.push(Ring {
                at: self.now,
                tasks: vec![task],
            }),
        }
        self.tells_ring = Some(teller);
    }

    fn waits_in_vain(&mut self, at: usize, awaited: u32, how: Deadlock) {
        let task = &mut self.tasks[at];
        // By the clock of another core it may have been cut already. What it did since is little: it only unwinds.
        let spans = task.lane.spans.iter_mut().rev().take(8);
        let mut waits = task.open.iter_mut().chain(spans).filter(|span| {
            span.woken_by.is_none()
                && matches!(span.state, State::Blocked { object, .. } if object == awaited)
        });
        if let Some(wait) = waits.next() {
            wait.deadlocked = Some(how);
        }
    }

    /// The task does what hardly any destructor does: the learner caught what was to end it.
    fn runs_on(&mut self, at: usize) {
        self.tasks[at].panicked = None;
        self.tasks[at].cut = None;
    }

    fn acquired(&mut self, at: usize, event: &Event, site: Option<u16>) {
        let (now, shared) = (self.now, event.aux == 1);
        let lock = self.locks.entry(event.obj).or_default();
        lock.holders = lock.holders.saturating_add(1);
        let holders = lock.holders;
        // Who reads could do so since nobody has it alone any more; who has it alone, since the last one of all gave it back.
        let (by, is_next) = match (shared, lock.last) {
            (true, _) => (lock.alone, false),
            (false, Some((by, seq, was_shared))) => {
                lock.alone = None;
                lock.last = None;
                let is_next = seq.checked_add(1) == Some(event.seq);
                ((was_shared || is_next).then_some(by), is_next)
            }
            (false, None) => (None, false),
        };
        // Others may have had it in between.
        let by = by.filter(|by| is_next || !self.is_unsure_since(by.1));
        self.lock_counts(event, shared, event.task, holders);
        self.tasks[at].lane.holds.push(Hold {
            object: event.obj,
            from: now,
            until: None,
            site,
            shared,
        });
        if let Some((from, left)) = by
            && from != event.task
        {
            self.edge(EdgeKind::Lock, (from, left), at, event.obj, event.seq);
        }
    }

    fn released(&mut self, at: usize, event: &Event) {
        let (now, shared) = (self.now, event.aux == 1);
        let lock = self.locks.entry(event.obj).or_default();
        lock.holders = lock.holders.saturating_sub(1);
        let holders = lock.holders;
        if !shared {
            lock.alone = Some((event.task, now));
        }
        lock.last = Some(((event.task, now), event.seq, shared));
        self.lock_counts(event, shared, 0, holders);
        // From the back: a lock is mostly given back by who took it last.
        let held = |hold: &&mut Hold| hold.object == event.obj && hold.until.is_none();
        let holds = &mut self.tasks[at].lane.holds;
        if let Some(hold) = holds.iter_mut().rev().take(64).find(held) {
            hold.until = Some(now);
        }
    }

    /// Notes who has a mutex now, or how many a read-write lock.
    fn lock_counts(&mut self, event: &Event, shared: bool, holder: u32, holders: u32) {
        let now = self.now;
        let kind = if shared {
            ObjectKind::RwLock
        } else {
            ObjectKind::Mutex
        };
        let uncounted = self.is_unsure_since(Nanos(0));
        let object = self.object(event.obj, kind);
        let count = match object.kind {
            // Who takes it and gives it back can be counted only as long as all are seen.
            ObjectKind::RwLock if uncounted => return,
            ObjectKind::RwLock => holders,
            _ => holder,
        };
        object.counter.push((now, count));
    }

    /// A green task is ready until it is resumed. A thread is not told from one that runs, unless it says later that it was off.
    fn yields(&mut self, at: usize, place: Where) {
        self.runs_on(at);
        if place.worker.is_some() {
            self.close(at, self.now, place.cpu);
            let ready = span(State::Ready, self.now, Where::default());
            self.tasks[at].open = Some(ready);
        }
        self.tasks[at].yielded = Some(self.now);
    }

    fn resumed(&mut self, at: usize, place: Where) {
        // Without a `Yield` that was seen it runs as before.
        let Some(since) = self.tasks[at].yielded.take() else {
            return;
        };
        self.was_ready(at, since, None);
        self.change(at, State::Running, place);
    }

    fn hogged(&mut self, at: usize, micros: u32) {
        let task = &mut self.tasks[at];
        let runs = |span: &&mut Span| matches!(span.state, State::Running | State::Computing);
        let spans = task.lane.spans.iter_mut().rev().take(8);
        if let Some(span) = task.open.iter_mut().chain(spans).find(runs) {
            let long = Nanos(u64::from(micros) * 1000);
            span.hogged = span.hogged.max(Some(long));
        }
    }

    /// The position of a task that does something, with a lane of its own from now on.
    fn task_doing(&mut self, task: u32, kind: Kind, event: &Event, place: Where) -> usize {
        if let Some(&at) = self.position.get(&task) {
            return at;
        }
        let at = self.new_task(task, None, Nanos(0), Engine::Thread, Ended::default());
        if let Some((from, _)) = self.gap.filter(|(from, _)| self.now > *from) {
            // Made in the gap, or in an earlier recording: what is known of it begins here.
            let lane = &mut self.tasks[at].lane;
            lane.spawned = from;
            if kind == Kind::Start {
                lane.spawned = self.now;
            } else {
                self.tasks[at].open = Some(span(State::Unknown, from, Where::default()));
            }
            return at;
        }
        match kind {
            // It waits since an earlier recording, and goes on in this one.
            Kind::BlockEnd => {
                let state = Reason::from_number(event.aux)
                    .map_or(State::Ready, |reason| waiting(reason, event.obj));
                self.tasks[at].open = Some(Span {
                    from: Nanos(0),
                    ..span(state, self.now, Where::default())
                });
                if let Some((object, how)) = self.early_deadlocks.remove(&task) {
                    self.waits_in_vain(at, object, how);
                }
                if let Some((by, when)) = self.early_wakes.remove(&task) {
                    let now = std::mem::replace(&mut self.now, when);
                    self.wake(at, by);
                    self.now = now;
                }
            }
            Kind::Start => self.tasks[at].lane.spawned = self.now,
            _ => {
                let running = Where {
                    worker: place.worker,
                    ..Where::default()
                };
                self.change(at, State::Running, running);
            }
        }
        at
    }

    fn new_task(
        &mut self,
        task: u32,
        parent: Option<u32>,
        spawned: Nanos,
        engine: Engine,
        ended: Ended,
    ) -> usize {
        let name = match self
            .given_names
            .get(&task)
            .or_else(|| self.known.tasks.get(&task))
        {
            _ if task == MAIN_TASK => "main".into(),
            Some(name) => name.clone(),
            None => String::new(),
        };
        let lane = Lane {
            task,
            name,
            parent,
            engine,
            spawned,
            started: None,
            ended: None,
            end: LaneEnd::Alive,
            spans: Vec::new(),
            holds: Vec::new(),
            marks: Vec::new(),
            regions: Vec::new(),
        };
        self.position.insert(task, self.tasks.len());
        self.tasks.push(Task {
            lane,
            open: None,
            regions: Vec::new(),
            panicked: None,
            cut: None,
            yielded: None,
            gone: false,
            just_woken_by: None,
            started_knowing: ended.clone(),
            ended,
        });
        self.tasks.len() - 1
    }

    fn spawn(&mut self, at: usize, event: &Event, site: Option<u16>) {
        self.runs_on(at);
        if event.obj == 0 || self.position.contains_key(&event.obj) {
            return;
        }
        let engine = Engine::from_number(event.aux).unwrap_or(Engine::Thread);
        let ended = self.tasks[at].ended.clone();
        let child = self.new_task(event.obj, Some(event.task), self.now, engine, ended);
        let made = Where {
            site,
            ..Where::default()
        };
        self.change(child, State::Ready, made);
        self.edge(EdgeKind::Spawn, (event.task, self.now), child, event.obj, 0);
    }

    fn exit(&mut self, at: usize, cpu: Option<u16>) {
        self.close(at, self.now, cpu);
        let (now, task) = (self.now, &mut self.tasks[at]);
        task.gone = true;
        task.lane.ended = Some(now);
        task.lane.end = task.how_it_ended().unwrap_or(LaneEnd::Done);
        for region in task.regions.drain(..) {
            task.lane.regions[region].until = Some(now);
        }
        let ended = task.ended.with(at);
        self.exits.insert(task.lane.task, (now, ended));
    }

    /// What others may learn from what a task does by event `index`: also that it is over, when it did nothing more that counts.
    fn published(&self, at: usize, index: usize) -> Ended {
        let task = &self.tasks[at];
        if self.last_acts.get(&task.lane.task) == Some(&index) {
            task.ended.with(at)
        } else {
            task.ended.clone()
        }
    }

    fn wake(&mut self, woken: usize, by: u32) {
        let now = self.now;
        let task = &mut self.tasks[woken];
        if let Some(span) = &mut task.open
            && matches!(span.state, State::Blocked { .. } | State::Sleeping)
            && span.woken_by.is_none()
        {
            span.woken_by = Some(by);
            span.woken_at = Some(now);
            self.close(woken, now, None);
            self.change(woken, State::Ready, Where::default());
            self.tasks[woken].just_woken_by = Some(by);
        }
    }

    fn go_on(&mut self, at: usize, event: &Event, place: Where) {
        self.change(at, State::Running, place);
        let Some(reason) = Reason::from_number(event.aux) else {
            return;
        };
        let by = self.tasks[at].just_woken_by;
        match reason {
            Reason::Wait => {
                if let Some(known) = self.groups.get(&event.obj) {
                    self.tasks[at].ended.join(known);
                }
                self.woken_edge(EdgeKind::Wait, by, at, event.obj);
            }
            Reason::Notify => self.woken_edge(EdgeKind::Notify, by, at, event.obj),
            Reason::Barrier => self.woken_edge(EdgeKind::Barrier, by, at, event.obj),
            Reason::Once => self.woken_edge(EdgeKind::Once, by, at, event.obj),
            Reason::Scope => {
                // Whoever this task made since the scope was opened, and who is over, is over for it.
                let first = self
                    .scopes
                    .get(&event.obj)
                    .copied()
                    .unwrap_or(self.tasks.len());
                let parent = Some(self.tasks[at].lane.task);
                // As many as a scope may reasonably have: a trace that was scribbled on could ask for all tasks again and again.
                let children = self.tasks[first..]
                    .iter()
                    .take(4096)
                    .filter(|child| child.lane.parent == parent && child.gone);
                for child in children.map(|child| child.lane.task).collect::<Vec<_>>() {
                    self.join(at, child);
                }
                if let Some(by) = by {
                    self.join(at, by);
                }
            }
            _ => {}
        }
    }

    /// Draws the edge of a wait that `by` ended, if anybody did.
    fn woken_edge(&mut self, kind: EdgeKind, by: Option<u32>, at: usize, object: u32) {
        // Looked for only when there was a wake, which is then near the end.
        let spans = &self.tasks[at].lane.spans;
        if let Some(by) = by
            && let Some(left) = spans.iter().rev().find_map(|span| span.woken_at)
        {
            self.edge(kind, (by, left), at, object, 0);
        }
    }

    fn join(&mut self, at: usize, child: u32) {
        let Some((left, known)) = self.exits.get(&child).cloned() else {
            return;
        };
        self.tasks[at].ended.join(&known);
        if self.joined.insert((child, self.tasks[at].lane.task)) {
            self.edge(EdgeKind::Join, (child, left), at, child, 0);
        }
    }

    fn off_core(&mut self, at: usize, micros: u32, cpu: Option<u16>) {
        let now = self.now;
        let Some(open) = self.tasks[at].open.clone() else {
            return;
        };
        if matches!(
            open.state,
            State::Blocked { .. } | State::Sleeping | State::Unknown
        ) {
            return;
        }
        let since = Nanos(now.0.saturating_sub(u64::from(micros) * 1000));
        self.was_ready(at, since, open.worker);
        // Which core it lost is not known: `cpu` is the one that it came back to.
        let back = Where {
            site: open.site,
            cpu,
            worker: open.worker,
        };
        self.tasks[at].open = Some(span(open.state, now, back));
    }

    /// The task, which ran as far as was known, was ready since then; `worker` is the one that it kept, if any. Leaves nothing open.
    fn was_ready(&mut self, at: usize, since: Nanos, worker: Option<u8>) {
        let Some(open) = &self.tasks[at].open else {
            return;
        };
        if open.state == State::Ready {
            return self.close(at, self.now, None);
        }
        let since = since.max(open.from);
        let until = self.now;
        self.close(at, since, open.cpu);
        let place = Where {
            worker,
            ..Where::default()
        };
        self.tasks[at].open = Some(span(State::Ready, since, place));
        self.close(at, until, None);
    }

    fn change(&mut self, at: usize, state: State, place: Where) {
        self.close(at, self.now, place.cpu);
        self.tasks[at].yielded = None;
        let runs = matches!(state, State::Running | State::Computing);
        let place = Where {
            worker: place.worker.filter(|_| runs),
            ..place
        };
        self.tasks[at].open = Some(span(state, self.now, place));
    }

    /// Ends what the task does. Spans without length are kept only where they say something: waits.
    fn close(&mut self, at: usize, until: Nanos, cpu: Option<u16>) {
        let task = &mut self.tasks[at];
        if let Some(span) = task.open.take() {
            let waits = matches!(span.state, State::Blocked { .. } | State::Sleeping);
            if until > span.from || waits {
                let cpu = if cpu == span.cpu { cpu } else { None };
                task.lane.spans.push(Span {
                    until: Some(until),
                    cpu,
                    ..span
                });
            }
        }
    }

    fn edge(
        &mut self,
        kind: EdgeKind,
        (from, left): (u32, Nanos),
        to: usize,
        object: u32,
        seq: u32,
    ) {
        let reached = self.now;
        let task = &mut self.tasks[to];
        let ended_wait = kind != EdgeKind::Spawn && task.just_woken_by == Some(from);
        if ended_wait {
            task.just_woken_by = None;
        }
        self.edges.push(Edge {
            kind,
            from,
            left,
            to: task.lane.task,
            reached,
            object,
            seq,
            ended_wait,
        });
    }

    fn object(&mut self, id: u32, kind: ObjectKind) -> &mut Object {
        let position = *self.object_position.entry(id).or_insert_with(|| {
            let (kind, name) = self.known.objects.get(&id).cloned().unwrap_or((kind, None));
            let named = name.is_some();
            let name = name.unwrap_or_default();
            self.objects.push(Object {
                id,
                kind,
                name,
                named,
                made_at: None,
                counter: Vec::new(),
                sent_by: None,
                received_by: None,
            });
            self.objects.len() - 1
        });
        &mut self.objects[position]
    }

    fn text(&self, id: u32) -> String {
        self.trace.name(id).unwrap_or_default().to_owned()
    }

    fn finish(mut self) -> Timeline {
        let mut unnamed = [0; 2];
        for at in 0..self.tasks.len() {
            if self.never_seen(at)
                && let Some(open) = &mut self.tasks[at].open
            {
                open.state = State::Unknown;
            }
        }
        for task in &mut self.tasks {
            if let Some(open) = task.open.take() {
                if open.state == State::Unknown {
                    task.lane.end = LaneEnd::Unknown;
                }
                task.lane.spans.push(open);
            }
            if let Some(end) = task.how_it_ended() {
                task.lane.end = end;
            }
            if task.lane.name.is_empty() {
                let (word, count) = match task.lane.engine {
                    Engine::Thread => ("thread", &mut unnamed[0]),
                    Engine::Green => ("task", &mut unnamed[1]),
                };
                *count += 1;
                task.lane.name = format!("{word} {count}");
            }
        }
        let mut numbers: HashMap<ObjectKind, u32> = HashMap::new();
        for object in self.objects.iter_mut().filter(|object| !object.named) {
            let number = numbers.entry(object.kind).or_default();
            *number += 1;
            object.name = format!("{} {number}", word_for(object.kind));
        }
        // Who of a ring closed it is chance; who was made first is not.
        for ring in &mut self.rings {
            let first = (0..ring.tasks.len()).min_by_key(|at| ring.tasks[*at]);
            ring.tasks.rotate_left(first.unwrap_or(0));
        }
        // `main` on top, also when a thread of an earlier cell did something first.
        self.tasks.sort_by_key(|task| task.lane.task != MAIN_TASK);
        let order: Vec<usize> = self
            .tasks
            .iter()
            .map(|task| self.position[&task.lane.task])
            .collect();
        let before = self
            .tasks
            .iter()
            .map(|task| task.started_knowing.reordered(&order))
            .collect();
        let lanes: Vec<Lane> = self.tasks.into_iter().map(|task| task.lane).collect();
        let place = |(place, lane): (usize, &Lane)| (lane.task, place);
        let lane_places = lanes.iter().enumerate().map(place).collect();
        Timeline {
            max_running: max_running_without(&lanes, self.now, MAIN_TASK),
            workers: workers(&lanes),
            lanes,
            edges: self.edges,
            objects: self.objects,
            rings: self.rings,
            start: Nanos(0),
            end: self.now,
            dropped: self.trace.dropped,
            // A recording that goes on in the gap knows no end of it.
            gap: self
                .gap
                .map(|(from, until)| (from.min(self.now), until.min(self.now))),
            before,
            lane_places,
            object_places: self.object_position,
        }
    }
}

/// Gives the word for a kind of object.
pub fn word_for(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Channel => "channel",
        ObjectKind::Mutex => "lock",
        ObjectKind::WaitGroup => "wait group",
        ObjectKind::Cell => "cell",
        ObjectKind::Scope => "scope",
        ObjectKind::RwLock => "rw lock",
        ObjectKind::Condvar => "condvar",
        ObjectKind::Barrier => "barrier",
        ObjectKind::Once => "once lock",
    }
}

fn object_of(reason: Reason) -> Option<ObjectKind> {
    match reason {
        Reason::Send | Reason::Recv => Some(ObjectKind::Channel),
        Reason::Lock => Some(ObjectKind::Mutex),
        Reason::Wait => Some(ObjectKind::WaitGroup),
        Reason::Scope => Some(ObjectKind::Scope),
        Reason::Read | Reason::Write => Some(ObjectKind::RwLock),
        Reason::Notify => Some(ObjectKind::Condvar),
        Reason::Barrier => Some(ObjectKind::Barrier),
        Reason::Once => Some(ObjectKind::Once),
        Reason::Join | Reason::Sleep | Reason::Select => None,
    }
}

fn waiting(reason: Reason, object: u32) -> State {
    if reason == Reason::Sleep {
        State::Sleeping
    } else {
        State::Blocked { reason, object }
    }
}

fn used(event: &Event, at: Nanos, place: Where) -> Use {
    Use {
        task: event.task,
        at,
        site: place.site,
    }
}

fn span(state: State, from: Nanos, place: Where) -> Span {
    Span {
        from,
        until: None,
        state,
        site: place.site,
        cpu: place.cpu,
        woken_by: None,
        woken_at: None,
        deadlocked: None,
        worker: place.worker,
        hogged: None,
    }
}

fn nanos(ticks: u64, ticks_per_second: u64) -> Nanos {
    let per_second = if ticks_per_second == 0 {
        1_000_000_000
    } else {
        ticks_per_second
    };
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
    Nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// By task that came to its end: the last event by which it did something itself. Giving a lock back, waking, closing and ending are consequences.
fn last_acts(events: &[Event]) -> HashMap<u32, usize> {
    let mut last = HashMap::new();
    let mut over = HashSet::new();
    for (index, event) in events.iter().enumerate() {
        match Kind::from_number(event.kind.into()) {
            Some(Kind::Exit) => _ = over.insert(event.task),
            Some(kind) if is_act(kind) => _ = last.insert(event.task, index),
            _ => {}
        }
    }
    last.retain(|task, _| over.contains(task));
    last
}

/// Whether an event of this kind is something that its task did itself, and not a consequence of that.
pub(crate) fn is_act(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Wake
            | Kind::Released
            | Kind::Closed
            | Kind::RegionEnd
            | Kind::BlockEnd
            | Kind::NameTask
            | Kind::Hogged
            | Kind::Deadlocked
            | Kind::Cut
            | Kind::Resumed
            | Kind::ObserveBegin
            | Kind::ObserveEnd
            | Kind::Exit
            | Kind::Gap
    )
}

/// Which worker carried whom when, as the spans say. A worker that carries another task has let the one before go, whatever that one says.
fn workers(lanes: &[Lane]) -> Vec<WorkerLane> {
    let mut by_worker: BTreeMap<u8, Vec<Slice>> = BTreeMap::new();
    for lane in lanes {
        for span in &lane.spans {
            if let Some(worker) = span.worker {
                by_worker.entry(worker).or_default().push(Slice {
                    task: lane.task,
                    from: span.from,
                    until: span.until,
                });
            }
        }
    }
    let lane = |(worker, mut all): (u8, Vec<Slice>)| {
        all.sort_by_key(|slice| slice.from);
        let mut slices: Vec<Slice> = Vec::new();
        for slice in all {
            if let Some(last) = slices.last_mut() {
                if last.task == slice.task && last.until == Some(slice.from) {
                    last.until = slice.until;
                    continue;
                }
                if last.until.is_none_or(|until| until > slice.from) {
                    last.until = Some(slice.from);
                }
            }
            slices.push(slice);
        }
        slices.retain(|slice| slice.until != Some(slice.from));
        WorkerLane { worker, slices }
    };
    by_worker.into_iter().map(lane).collect()
}

/// How many tasks were seen running at once, `left_out` not counted.
pub(crate) fn max_running_without(lanes: &[Lane], end: Nanos, left_out: u32) -> usize {
    let mut changes: Vec<(Nanos, bool, Option<u16>)> = Vec::new();
    for lane in lanes.iter().filter(|lane| lane.task != left_out) {
        for span in &lane.spans {
            if matches!(span.state, State::Running | State::Computing)
                && span.until(end) > span.from
            {
                // An open span has one end only: its core may have changed since.
                let cpu = span.cpu.filter(|_| span.until.is_some());
                changes.push((span.from, true, cpu));
                changes.push((span.until(end), false, cpu));
            }
        }
    }
    changes.sort_unstable();
    let (mut anywhere, mut most) = (0_usize, 0);
    let mut by_cpu: HashMap<u16, usize> = HashMap::new();
    for (_, begins, cpu) in changes {
        match (cpu, begins) {
            (None, true) => anywhere += 1,
            (None, false) => anywhere -= 1,
            (Some(cpu), true) => *by_cpu.entry(cpu).or_default() += 1,
            (Some(cpu), false) => {
                let running = by_cpu.entry(cpu).or_default();
                *running -= 1;
                if *running == 0 {
                    by_cpu.remove(&cpu);
                }
            }
        }
        most = most.max(anywhere + by_cpu.len());
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Random, trace};

    fn edges(script: &str) -> Vec<String> {
        let timeline = fold(&trace(script));
        let name = |task| timeline.lane(task).map_or("?", |lane| lane.name.as_str());
        let edge = |edge: &Edge| {
            format!(
                "{:?} {} {}{}",
                edge.kind,
                name(edge.from),
                name(edge.to),
                if edge.ended_wait { " !" } else { "" }
            )
        };
        timeline.edges.iter().map(edge).collect()
    }

    #[test]
    fn edges_say_who_let_whom_go_on() {
        for (name, script, want) in [
            ("spawn", "main spawn a; a exit", &["Spawn main a"][..]),
            (
                "message that is waited for",
                "main spawn a; main recv c; a send c; main got c",
                &["Spawn main a", "Message a main !"],
            ),
            (
                "message that lay there",
                "main spawn a; a send c; main got c",
                &["Spawn main a", "Message a main"],
            ),
            (
                "lock",
                "main spawn a; main take m; a want m; main release m; a take m",
                &["Spawn main a", "Lock main a !"],
            ),
            ("own lock", "main take m; main release m; main take m", &[]),
            (
                "wait group",
                "main spawn a; main add w; main wait w; a done w; main on",
                &["Spawn main a", "Wait a main !"],
            ),
            (
                "join",
                "main spawn a; main join a; a exit; main joined a",
                &["Spawn main a", "Join a main !"],
            ),
            (
                "join of one that is over",
                "main spawn a; a exit; main joined a",
                &["Spawn main a", "Join a main"],
            ),
            ("received from an earlier cell", "main got c", &[]),
            (
                "readers go on together when the writer is done",
                "main write l; a wantread l; b wantread l; main release l; a read l; b read l",
                &["Lock main thread 1 !", "Lock main thread 2 !"],
            ),
            (
                "a writer waits for the last reader, who is not the last to have come",
                "a read l; b read l; main wantwrite l; b release l; a release l; main write l",
                &["Lock thread 1 main !"],
            ),
            (
                "readers do not wait for each other",
                "a read l; a release l; b read l",
                &[],
            ),
            (
                "notified",
                "a await v; b await v; main notify v; a on",
                &["Notify main thread 1 !"],
            ),
            (
                "the last at the barrier",
                "a meet r; b meet r; main trip r; b on; a on",
                &["Barrier main thread 2 !", "Barrier main thread 1 !"],
            ),
            (
                "filled",
                "a lack o; main fill o; a on",
                &["Once main thread 1 !"],
            ),
            (
                "the first of several channels",
                "main make channel c; main select; a send c; a wake main; main on; main got c",
                &["Message thread 1 main !"],
            ),
        ] {
            assert_eq!(edges(script), want, "{name}");
        }
    }

    #[test]
    fn spans_follow_the_waits() {
        use State::{Blocked, Computing, Ready, Running, Sleeping};
        let lock = Blocked {
            reason: Reason::Lock,
            object: 2,
        };
        for (name, script, task, want) in [
            (
                "ready between wake and going on",
                "main take m; b want m; main release m; b take m",
                2,
                vec![
                    (20, Some(30), lock),
                    (30, Some(40), Ready),
                    (40, None, Running),
                ],
            ),
            (
                "made, started, done",
                "main spawn a; a start; main yield; a exit",
                2,
                vec![(10, Some(20), Ready), (20, Some(40), Running)],
            ),
            (
                "never started",
                "main spawn a; main end",
                2,
                vec![(10, None, Ready)],
            ),
            ("deadlock", "a take m; b want m", 3, vec![(20, None, lock)]),
            (
                "sleep",
                "main sleep; main on; main end",
                1,
                vec![
                    (0, Some(10), Running),
                    (10, Some(20), Sleeping),
                    (20, Some(30), Running),
                ],
            ),
            (
                "a green task lets others go first",
                "main go a; a start ^1; a yield ^1; @90 a resumed ^1; a exit ^1",
                2,
                vec![
                    (10, Some(20), Ready),
                    (20, Some(30), Running),
                    (30, Some(90), Ready),
                    (90, Some(100), Running),
                ],
            ),
            (
                "a thread that says when it was on again",
                "main yield; @50 main resumed; main end",
                1,
                vec![
                    (0, Some(10), Running),
                    (10, Some(50), Ready),
                    (50, Some(60), Running),
                ],
            ),
            (
                "a thread that does not say",
                "main yield; main sleep",
                1,
                vec![(0, Some(20), Running), (20, None, Sleeping)],
            ),
            (
                "off its core",
                "@0 main work; @100 main offcore =40; @120 main worked; main end",
                1,
                vec![
                    (0, Some(60), Computing),
                    (60, Some(100), Ready),
                    (100, Some(120), Computing),
                    (120, Some(130), Running),
                ],
            ),
        ] {
            let timeline = fold(&trace(script));
            let lane = timeline.lane(task).expect("has a lane");
            let spans: Vec<_> = lane
                .spans
                .iter()
                .map(|span| {
                    (
                        span.from.0 / 1000,
                        span.until.map(|until| until.0 / 1000),
                        span.state,
                    )
                })
                .collect();
            assert_eq!(spans, want, "{name}");
        }
    }

    #[test]
    fn lanes_are_named_and_ended() {
        let timeline = fold(&trace(
            "main spawn ada; main go _x; main spawn _y; main spawn _z; ada panic no flour; ada exit; _y exit; main end",
        ));
        let lanes: Vec<_> = timeline
            .lanes
            .iter()
            .map(|lane| {
                (
                    lane.name.as_str(),
                    lane.engine,
                    lane.parent,
                    lane.end.clone(),
                )
            })
            .collect();
        assert_eq!(
            lanes,
            [
                ("main", Engine::Thread, None, LaneEnd::Done),
                (
                    "ada",
                    Engine::Thread,
                    Some(1),
                    LaneEnd::Panicked("no flour".into())
                ),
                ("task 1", Engine::Green, Some(1), LaneEnd::Alive),
                ("thread 1", Engine::Thread, Some(1), LaneEnd::Done),
                ("thread 2", Engine::Thread, Some(1), LaneEnd::Alive),
            ]
        );
    }

    #[test]
    fn a_deadlock_marks_the_waits_and_ends_the_lanes() {
        use Deadlock::{AllAsleep, Ring};
        for (name, script, marks, ends, rings) in [
            (
                "a ring, told by one of its tasks",
                "main spawn a; main spawn b; a take m; b take n; a want n; b want m; \
                 b deadlock b =1; b deadlock a =1; b on; b cut; a on; a cut; a exit; b exit; main end",
                vec![("a", Ring), ("b", Ring)],
                vec!["Done", "Cut(Deadlock)", "Cut(Deadlock)"],
                vec![vec![2, 3]],
            ),
            (
                "all asleep, told by a thread that is no task of the learner's",
                "main spawn a; a recv c; main wait w; x deadlock main =0; x deadlock a =0; a on; a cut; a exit; main on; main cut; main end",
                vec![("main", AllAsleep), ("a", AllAsleep)],
                vec!["Cut(Deadlock)", "Cut(Deadlock)"],
                vec![],
            ),
            (
                "told late, by the clock of another core",
                "main take m; main want m; main on; main deadlock main =1; main cut",
                vec![("main", Ring)],
                vec!["Cut(Deadlock)"],
                vec![vec![1]],
            ),
            (
                "a wait that was let go on was not in vain",
                "main take m; a want m; main release m; a take m; main deadlock a =0",
                vec![],
                vec!["Alive", "Alive"],
                vec![],
            ),
            (
                "caught, and on it goes",
                "main recv c; x deadlock main =0; main on; main cut; main work; main worked; main end",
                vec![("main", AllAsleep)],
                vec!["Done"],
                vec![],
            ),
            (
                "two rings, one after the other",
                "a take m; a want m; a deadlock a =1; a cut; a exit; b take n; b want n; b deadlock b =1; b cut; b exit",
                vec![("thread 1", Ring), ("thread 2", Ring)],
                vec!["Alive", "Cut(Deadlock)", "Cut(Deadlock)"],
                vec![vec![2], vec![3]],
            ),
            (
                "the program returned",
                "main spawn a; a recv c; a cut =2; a exit; main cut =3; main end",
                vec![],
                vec!["Cut(Interrupt)", "Cut(Program)"],
                vec![],
            ),
        ] {
            let timeline = fold(&trace(script));
            let found: Vec<_> = timeline
                .lanes
                .iter()
                .flat_map(|lane| lane.spans.iter().map(move |span| (lane, span)))
                .filter_map(|(lane, span)| Some((lane.name.as_str(), span.deadlocked?)))
                .collect();
            assert_eq!(found, marks, "{name}");
            let found: Vec<_> = timeline
                .lanes
                .iter()
                .map(|lane| format!("{:?}", lane.end))
                .collect();
            assert_eq!(found, ends, "{name}");
            let found: Vec<_> = timeline.rings.into_iter().map(|ring| ring.tasks).collect();
            assert_eq!(found, rings, "{name}");
        }
    }

    #[test]
    fn a_task_of_an_earlier_cell_can_be_found_to_wait_in_vain() {
        let mut later = trace(
            "main spawn ada; ada recv orders; main deadlock ada =0; ada on; ada cut; ada exit",
        );
        later.events.retain(|event| {
            ![Kind::Spawn as u8, Kind::Start as u8, Kind::BlockBegin as u8].contains(&event.kind)
        });
        let timeline = fold(&later);
        let ada = timeline.lane(2).expect("went on here");
        assert_eq!(ada.spans[0].deadlocked, Some(Deadlock::AllAsleep));
        assert_eq!((ada.name.as_str(), ada.spans[0].from), ("ada", Nanos(0)));
    }

    #[test]
    fn workers_carry_one_task_after_the_other() {
        let timeline = fold(&trace(
            "main go a; main go b; a start ^1; a yield ^1; b start ^1; b recv c ^1; a resumed ^1; a work ^1; @200 a offcore =50 ^1; a worked ^1; \
             a hogged =9000 ^1; a exit ^1; main send c; b got c ^2; b exit ^2; main end",
        ));
        let carried: Vec<_> = timeline
            .workers
            .iter()
            .map(|lane| {
                let slice = |slice: &Slice| {
                    let until = slice.until.map(|until| until.0 / 1000);
                    (slice.task, slice.from.0 / 1000, until)
                };
                (
                    lane.worker,
                    lane.slices.iter().map(slice).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            carried,
            [
                (
                    1,
                    vec![(2, 30, Some(40)), (3, 50, Some(60)), (2, 70, Some(230))]
                ),
                (2, vec![(3, 250, Some(260))]),
            ]
        );
        let hogged = timeline.lanes[1]
            .spans
            .iter()
            .filter_map(|span| span.hogged);
        assert_eq!(hogged.collect::<Vec<_>>(), [Nanos(9_000_000)]);
    }

    #[test]
    fn objects_are_named_and_counted() {
        let timeline = fold(&trace(
            "main make lock till; main make channel _c; main make channel _d; main send _c; main send _c; main got _c; main take till; \
             main read shelf; a read shelf; main release shelf; a release shelf; a write shelf; main load loaves; main store loaves =7",
        ));
        let objects: Vec<_> = timeline
            .objects
            .iter()
            .map(|object| {
                (
                    object.name.as_str(),
                    object.named,
                    object
                        .counter
                        .iter()
                        .map(|change| change.1)
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            objects,
            [
                ("till", true, vec![1]),
                ("channel 1", false, vec![1, 2, 1]),
                ("channel 2", false, vec![]),
                ("shelf", true, vec![1, 2, 1, 0, 1]),
                ("loaves", true, vec![7]),
            ]
        );
    }

    #[test]
    fn a_thread_of_an_earlier_cell_gets_a_lane_when_it_goes_on() {
        let mut earlier =
            trace("main make channel orders; main spawn ada; ada recv orders; main end");
        let mut known = Known::default();
        known.learn(&fold(&earlier));
        earlier.events = trace("main make channel orders; main spawn ada; ada recv orders; main end; main send orders; ada got orders").events.split_off(earlier.events.len());
        assert!(known.has_task(2) && !known.has_task(3) && !known.has_task(MAIN_TASK));
        let timeline = fold_knowing(&earlier, &known);
        let ada = timeline.lane(2).expect("went on here");
        assert_eq!(ada.name, "ada");
        assert_eq!(
            ada.spans[0].state,
            State::Blocked {
                reason: Reason::Recv,
                object: 2
            }
        );
        assert_eq!(
            (ada.spans[0].from, ada.spans[0].woken_by),
            (Nanos(0), Some(MAIN_TASK))
        );
        assert_eq!(timeline.objects[0].name, "orders");
        assert_eq!(timeline.edges.len(), 1);
    }

    #[test]
    fn running_at_once_leaves_main_out_and_counts_a_core_once() {
        for (name, script, cpus, want) in [
            ("main alone", "main work; main worked", [0, 1], 0),
            (
                "two, cores unknown",
                "main spawn a; main spawn b; a work; b work; a exit; b exit",
                [u16::MAX; 2],
                2,
            ),
            (
                "two on two cores",
                "main spawn a; main spawn b; a work; b work; a exit; b exit",
                [0, 1],
                2,
            ),
            (
                "two on one core",
                "main spawn a; main spawn b; a work; b work; a exit; b exit",
                [0, 0],
                1,
            ),
            (
                "one after the other",
                "main spawn a; a work; a exit; main spawn b; b exit",
                [0, 1],
                1,
            ),
        ] {
            let mut trace = trace(script);
            for event in &mut trace.events {
                event.cpu = cpus[event.task as usize % 2];
            }
            assert_eq!(fold(&trace).max_running, want, "{name}");
        }
    }

    /// A run that could have been: three tasks, two locks, a read-write lock and a channel, and nobody does what he could not.
    fn a_run(random: &mut Random) -> String {
        #[derive(Clone, Copy, PartialEq)]
        enum Does {
            Runs,
            Waits,
            Then(&'static str),
        }
        let tasks = ["main", "a", "b", "c"];
        let mut does = [Does::Runs; 4];
        let mut script = String::from("main spawn a; main spawn b; main spawn c;");
        let mut say = |who: usize, what: &str| script += &format!("{} {what};", tasks[who]);
        let mut holders: [Option<usize>; 2] = [None; 2];
        let mut queues: [Vec<usize>; 3] = Default::default();
        let mut readers: Vec<usize> = Vec::new();
        let mut messages = 0;
        for _ in 0..80 {
            let who = random.below(4) as usize;
            match does[who] {
                Does::Waits => continue,
                Does::Then(what) => {
                    say(who, what);
                    does[who] = Does::Runs;
                    continue;
                }
                Does::Runs => {}
            }
            let lock = random.below(2) as usize;
            let (take, want, release) = [
                ("take m", "want m", "release m"),
                ("take n", "want n", "release n"),
            ][lock];
            match random.below(6) {
                0 | 1 => match holders[lock] {
                    Some(holder) if holder == who => {
                        say(who, release);
                        holders[lock] = None;
                        if !queues[lock].is_empty() {
                            let next = queues[lock].remove(0);
                            holders[lock] = Some(next);
                            does[next] = Does::Then(take);
                        }
                    }
                    None => {
                        say(who, take);
                        holders[lock] = Some(who);
                    }
                    Some(_) => {
                        say(who, want);
                        queues[lock].push(who);
                        does[who] = Does::Waits;
                    }
                },
                2 => {
                    say(who, "send q");
                    match queues[2].is_empty() {
                        true => messages += 1,
                        false => does[queues[2].remove(0)] = Does::Then("got q"),
                    }
                }
                3 if messages > 0 => {
                    say(who, "got q");
                    messages -= 1;
                }
                3 => {
                    say(who, "recv q");
                    queues[2].push(who);
                    does[who] = Does::Waits;
                }
                4 if readers.contains(&who) => {
                    say(who, "release shelf");
                    readers.retain(|reader| *reader != who);
                }
                4 if readers.is_empty() && random.below(3) == 0 => {
                    say(who, "write shelf");
                    say(who, "release shelf");
                }
                4 => {
                    say(who, "read shelf");
                    readers.push(who);
                }
                _ => say(who, "mark x"),
            }
        }
        for (who, does) in does.into_iter().enumerate() {
            if does == Does::Runs && random.below(2) == 0 {
                say(who, if who == 0 { "end" } else { "exit" });
            }
        }
        script
    }

    /// The same run as a reader sees it that has lost some of what each of `lossy` did between two moments.
    fn with_a_gap(whole: &Trace, lossy: &[u32], random: &mut Random) -> Trace {
        let events = &whole.events;
        let from = random.below(events.len() as u64) as usize;
        let until = from + random.below((events.len() - from) as u64) as usize;
        let mut kept: Vec<Event> = Vec::new();
        let mut lost: HashSet<u32> = HashSet::new();
        for (at, event) in events.iter().enumerate() {
            let begins_to_lose = (from..=until).contains(&at)
                && lossy.contains(&event.task)
                && (lost.contains(&event.task) || random.below(2) == 0);
            if !begins_to_lose {
                kept.push(*event);
            } else if lost.insert(event.task)
                && let Some(last) = kept.iter().rposition(|kept| kept.task == event.task)
            {
                let gap = Event {
                    ticks: kept[last].ticks,
                    task: event.task,
                    kind: Kind::Gap as u8,
                    ..Event::default()
                };
                kept.insert(last + 1, gap);
            }
        }
        Trace {
            events: kept,
            dropped: 1,
            gap: Some(crate::trace::Gap {
                from: events[from].ticks.saturating_sub(1),
                until: events[until].ticks,
            }),
            ..whole.clone()
        }
    }

    #[test]
    fn what_is_told_of_a_recording_with_a_gap_is_true() {
        let mut random = Random::new(23);
        let (mut unknown, mut told) = (0, 0);
        for _ in 0..600 {
            let script = a_run(&mut random);
            let whole = trace(&script);
            let lossy: Vec<u32> = (1..=4).filter(|_| random.below(2) == 0).collect();
            let part = with_a_gap(&whole, &lossy, &mut random);
            let (truth, seen) = (fold(&whole), fold(&part));
            // Both count from their first event.
            let shift = part.events[0].ticks - whole.events[0].ticks;
            let at = |nanos: Nanos| Nanos(nanos.0 + shift);
            for lane in &seen.lanes {
                let really = truth.lane(lane.task).expect("it did something");
                let state_at = |when: u64| {
                    let covers =
                        |span: &&Span| span.from.0 <= when && when < span.until(truth.end).0;
                    really.spans.iter().find(covers).map(|span| span.state)
                };
                for span in &lane.spans {
                    if span.state == State::Unknown {
                        unknown += 1;
                        continue;
                    }
                    for when in (at(span.from).0..at(span.until(seen.end)).0).step_by(5000) {
                        told += 1;
                        let state = state_at(when);
                        // That somebody let it go on may be missing, and then it waits until it says that it does not.
                        let is_true = state == Some(span.state)
                            || matches!(span.state, State::Blocked { .. })
                                && state == Some(State::Ready);
                        assert!(
                            is_true,
                            "{script}\n{}: {span:?}, really {state:?}",
                            lane.name
                        );
                    }
                }
                for hold in &lane.holds {
                    let covers = |other: &&Hold| {
                        other.object == hold.object
                            && other.from == at(hold.from)
                            && at(hold.until.unwrap_or(seen.end))
                                <= other.until.unwrap_or(truth.end)
                    };
                    assert!(
                        really.holds.iter().any(|other| covers(&other)),
                        "{script}\n{hold:?}"
                    );
                }
                assert!(
                    lane.end == LaneEnd::Unknown || lane.end == really.end,
                    "{script}\n{lane:?}"
                );
            }
            for edge in &seen.edges {
                let same = |other: &&Edge| {
                    let of = |edge: &Edge| (edge.kind, edge.from, edge.to, edge.object, edge.seq);
                    of(other) == of(edge)
                        && (other.left, other.reached) == (at(edge.left), at(edge.reached))
                };
                assert!(
                    truth.edges.iter().any(|other| same(&other)),
                    "{script}\n{edge:?}"
                );
            }
            for task in &seen.lanes {
                assert_eq!(seen.order(task.task, 1), None);
            }
        }
        assert!(
            unknown > 300 && told > 10_000,
            "{unknown} and {told}: the runs are too short"
        );
    }

    #[test]
    fn every_prefix_of_every_list_folds() {
        let mut random = Random::new(3);
        for case in 0..300 {
            let mut trace = trace("main mark x");
            trace.events.clear();
            trace.ticks_per_second = case % 3;
            for ticks in 0..60 {
                let mut small = || random.below(5) as u32;
                let (task, obj, seq) = (small(), small(), small());
                let aux = random.below(15) as u32;
                let kind = random.below(40) as u8;
                trace.events.push(Event {
                    ticks,
                    task,
                    obj,
                    seq,
                    aux,
                    kind,
                    site: 1,
                    cpu: (ticks % 3) as u16,
                    worker: random.below(3) as u8,
                    ..Event::default()
                });
            }
            while trace.events.pop().is_some() {
                let timeline = fold(&trace);
                for lane in &timeline.lanes {
                    for pair in lane.spans.windows(2) {
                        assert!(
                            pair[0].until.is_some_and(|until| until <= pair[1].from),
                            "spans overlap: {pair:?}"
                        );
                    }
                    for span in &lane.spans {
                        let waits = matches!(span.state, State::Blocked { .. });
                        assert!(waits || span.deadlocked.is_none(), "{span:?}");
                        assert!(!waits || span.worker.is_none(), "{span:?}");
                    }
                }
                for worker in &timeline.workers {
                    for pair in worker.slices.windows(2) {
                        assert!(
                            pair[0].until.is_some_and(|until| until <= pair[1].from),
                            "a worker carries two: {pair:?}"
                        );
                    }
                }
                assert!(timeline.rings.iter().all(|ring| !ring.tasks.is_empty()));
                for edge in &timeline.edges {
                    assert!(
                        edge.left <= edge.reached && timeline.lane(edge.to).is_some(),
                        "{edge:?}"
                    );
                }
            }
        }
    }
}
