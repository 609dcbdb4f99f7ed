//! What folding gives: lanes, spans, edges and objects.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::critical::Step;
use super::running::Parallelism;
use super::sums::Contention;
use crate::facts::Ended;
use crate::format::{Cause, Engine, MAIN_TASK, ObjectKind, Reason};

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
    /// How many of them ran at once on the average.
    pub parallelism: Parallelism,
    /// By lane: the tasks that were over before it began.
    pub(crate) before: Vec<Ended>,
    /// What is only worked out when somebody asks, and then kept: [`Timeline::contention`].
    pub(super) contention: OnceLock<Vec<Contention>>,
    /// As above: [`Timeline::critical_path`].
    pub(super) critical_path: OnceLock<Vec<Step>>,
    /// By task: the place of its lane. A recording may have a hundred thousand.
    pub(super) lane_places: HashMap<u32, usize>,
    /// By id: the place of the object.
    pub(super) object_places: HashMap<u32, usize>,
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

    /// How long it was, `end` being the end of the recording.
    pub fn length(&self, end: Nanos) -> Nanos {
        Nanos(self.until(end).0 - self.from.0)
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
