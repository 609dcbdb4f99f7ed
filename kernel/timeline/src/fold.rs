//! Events into lanes, spans, edges and objects: what happened, ready to be drawn or asked about.
//!
//! Total: any list of events folds, also one cut off anywhere, since a wait without an end is what a deadlock, a kill and a cell that still runs look
//! like. Pure: no clock, no randomness. Knows nothing of pixels. What each kind of event means stands here, in `Fold::event`; how it is done, by subject,
//! in the modules below.

mod critical;
mod finish;
mod gaps;
mod known;
mod objects;
mod running;
mod sums;
mod tasks;
#[cfg(test)]
mod tests;
mod timeline;
mod waits;

use std::collections::{HashMap, HashSet};

pub use critical::Step;
pub use known::Known;
pub use running::Parallelism;
pub(crate) use running::running_at_once;
pub use sums::{Contention, Sums};
pub use timeline::{
    Deadlock, Edge, EdgeKind, Hold, Lane, LaneEnd, Mark, Nanos, Object, Region, Ring, Slice, Span,
    State, Timeline, Use, WorkerLane, word_for,
};

use crate::facts::Ended;
use crate::format::{Cause, Event, Kind, ObjectKind, Reason};
use crate::trace::Trace;

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

    fn name_task(&mut self, event: &Event) {
        let name = self.text(event.aux);
        if let Some(&named) = self.position.get(&event.obj) {
            self.tasks[named].lane.name.clone_from(&name);
        }
        self.given_names.insert(event.obj, name);
    }

    fn text(&self, id: u32) -> String {
        self.trace.name(id).unwrap_or_default().to_owned()
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
