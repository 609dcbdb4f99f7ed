//! One recording as it was read: its events in one order, and what their names and sites mean.
//!
//! Clocks of two cores may differ by more than a send and its receive are apart, so the order comes from the numbers that were issued under each object's
//! lock, and from ticks only where those say nothing. Knows nothing of lanes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::format::{Event, Kind, NameId, ObjectKind, Reason};

/// What one recording holds.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// All events: of one task in the order in which it did them, of several with every cause before its effect, else by ticks, which never go back here.
    pub events: Vec<Event>,
    /// The names that the events use; see [`Trace::name`].
    pub names: HashMap<NameId, Arc<str>>,
    /// The sites that the events use, from site 1; see [`Trace::site`].
    pub sites: Vec<SiteInfo>,
    /// How many ticks make one second; 0 when nothing was recorded yet.
    pub ticks_per_second: u64,
    /// How many events are not there any more.
    pub dropped: u64,
    /// Where they are missing; `None` when all are there.
    pub gap: Option<Gap>,
}

/// The time in which events are missing, in ticks. Before and after it all are there; in it those that some tasks did, and where one did more than that, a
/// [`Kind::Gap`] stands in their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// None is missing that happened before.
    pub from: u64,
    /// None is missing that happened after; `u64::MAX`: up to the end of the recording.
    pub until: u64,
}

/// A place in the learner's source, as the compiler saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteInfo {
    /// The `n` of the `libcode_n.so` that it lies in, or 0.
    pub build: u32,
    /// Line in that build's source, from 1; 0 for a site that was not whole when it was read.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The file as the compiler names it.
    pub file: Arc<str>,
}

impl Trace {
    /// Gives the text of a name, or `None` when the trace has no such name.
    pub fn name(&self, id: NameId) -> Option<&str> {
        self.names.get(&id).map(AsRef::as_ref)
    }

    /// Gives the site that an event names by `index`, or `None` for 0 and for a site that was not whole.
    pub fn site(&self, index: u16) -> Option<&SiteInfo> {
        let site = self.sites.get(usize::from(index).checked_sub(1)?)?;
        (site.line > 0).then_some(site)
    }
}

/// Merges the events of several tasks, each task's in its order, into one list.
///
/// Three things hold in the result as far as they can all hold: a task's events keep their order, a cause stands before its effect, and ticks do not go
/// back (an event that was seen "before" its cause is moved up to it). Events that wait for one another in a ring, which only a damaged trace has, are
/// let out by ticks. Takes O(n log n).
pub(crate) fn merged(tasks: &[Vec<Event>]) -> Vec<Event> {
    let causes = causes(tasks);
    let mut taken = vec![0_usize; tasks.len()];
    let mut done_at: HashMap<Place, u64> = HashMap::new();
    let mut waiting_for: HashMap<Place, Vec<usize>> = HashMap::new();
    let mut waiting: BTreeSet<(u64, usize)> = BTreeSet::new();
    let mut ready = BinaryHeap::new();
    let mut merged: Vec<Event> = Vec::with_capacity(tasks.iter().map(Vec::len).sum());
    let mut now = 0;
    let mut fresh: Vec<usize> = (0..tasks.len()).collect();
    loop {
        for task in fresh.drain(..) {
            let Some(event) = tasks[task].get(taken[task]) else {
                continue;
            };
            let causes = causes.get(&(task, taken[task])).into_iter().flatten();
            match causes
                .into_iter()
                .find(|cause| !done_at.contains_key(*cause))
            {
                Some(cause) => {
                    waiting_for.entry(*cause).or_default().push(task);
                    waiting.insert((event.ticks, task));
                }
                None => ready.push(Reverse((event.ticks.max(now), task))),
            }
        }
        let (ticks, task) = match ready.pop() {
            Some(Reverse(next)) => next,
            None => match waiting.pop_first() {
                Some((ticks, task)) => (ticks.max(now), task),
                None => return merged,
            },
        };
        now = ticks;
        let place = (task, taken[task]);
        merged.push(Event {
            ticks,
            ..tasks[task][taken[task]]
        });
        taken[task] += 1;
        done_at.insert(place, ticks);
        fresh.push(task);
        for waiter in waiting_for.remove(&place).unwrap_or_default() {
            let ticks = tasks[waiter]
                .get(taken[waiter])
                .map_or(0, |event| event.ticks);
            // One that a ring let out already is not there any more.
            if waiting.remove(&(ticks, waiter)) {
                fresh.push(waiter);
            }
        }
    }
}

/// Which task (by position), and which of its events.
type Place = (usize, usize);

/// Sorts events into tasks. Within a chunk nothing moves; chunks that carried the same task follow each other by ticks.
pub(crate) fn by_task(chunks: Vec<Vec<Event>>) -> Vec<Vec<Event>> {
    let mut position: HashMap<u32, usize> = HashMap::new();
    let mut tasks: Vec<Vec<Event>> = Vec::new();
    for chunk in chunks {
        let mut latest = 0;
        for event in chunk {
            // A thread that moves to a core whose clock is behind does not travel in time.
            latest = event.ticks.max(latest);
            let task = *position.entry(event.task).or_insert_with(|| {
                tasks.push(Vec::new());
                tasks.len() - 1
            });
            tasks[task].push(Event {
                ticks: latest,
                ..event
            });
        }
    }
    for task in &mut tasks {
        task.sort_by_key(|event| event.ticks);
    }
    tasks
}

/// For each event that others make possible, those others.
fn causes(tasks: &[Vec<Event>]) -> HashMap<Place, Vec<Place>> {
    let places = || {
        tasks.iter().enumerate().flat_map(|(task, events)| {
            events
                .iter()
                .enumerate()
                .map(move |(at, event)| (event, (task, at)))
        })
    };
    let mut enabling: HashMap<(Kind, u32, u32), Place> = HashMap::new();
    let mut releases: HashMap<u32, BTreeMap<u32, (Place, bool)>> = HashMap::new();
    let meetings = Meetings::of(tasks);
    for (event, place) in places() {
        let Some(kind) = Kind::from_number(event.kind.into()) else {
            continue;
        };
        let key = match kind {
            Kind::Sent => (kind, event.obj, event.seq),
            Kind::Spawn => (kind, event.obj, 0),
            Kind::Exit => (kind, event.task, 0),
            // A group counts its changes, and who finds it at zero, in one row.
            Kind::WgAdd | Kind::WgDone | Kind::Passed => (Kind::WgDone, event.obj, event.seq),
            Kind::Released => {
                let of_lock = releases.entry(event.obj).or_default();
                of_lock.entry(event.seq).or_insert((place, event.aux == 1));
                continue;
            }
            _ => continue,
        };
        enabling.entry(key).or_insert(place);
    }
    let one = |key| enabling.get(&key).copied().into_iter().collect();
    let causes_of = |event: &Event, place: Place| -> Vec<Place> {
        match Kind::from_number(event.kind.into()) {
            Some(Kind::Received) => one((Kind::Sent, event.obj, event.seq)),
            Some(Kind::Start) => one((Kind::Spawn, event.task, 0)),
            Some(Kind::Joined) => one((Kind::Exit, event.obj, 0)),
            Some(Kind::Acquired) => releases
                .get(&event.obj)
                .map_or(Vec::new(), |of_lock| releases_before(of_lock, event)),
            Some(Kind::WgAdd | Kind::WgDone | Kind::Passed) => {
                one((Kind::WgDone, event.obj, event.seq.wrapping_sub(1)))
            }
            Some(Kind::Tripped | Kind::BlockEnd) => meetings.before(place),
            _ => Vec::new(),
        }
    };
    places()
        .map(|(event, place)| {
            let mut causes = causes_of(event, place);
            causes.retain(|cause| *cause != place);
            (place, causes)
        })
        .filter(|(_, causes)| !causes.is_empty())
        .collect()
}

/// Who meets at which barriers, where that is no chance: as many tasks come to it as it is for, and so each of them in each round.
#[derive(Default)]
struct Meetings {
    /// By barrier and round (from 0).
    rounds: HashMap<(u32, usize), Round>,
    /// The round that an event ends: the coming of the last, the waits of the others.
    ends: HashMap<Place, (u32, usize)>,
}

#[derive(Default)]
struct Round {
    waited: Vec<Place>,
    last: Option<Place>,
}

impl Meetings {
    fn of(tasks: &[Vec<Event>]) -> Meetings {
        let mut meetings = Meetings::default();
        let mut sizes: HashMap<u32, u32> = HashMap::new();
        let mut come: HashMap<u32, u32> = HashMap::new();
        for (task, events) in tasks.iter().enumerate() {
            // How often this task came to each.
            let mut comings: HashMap<u32, usize> = HashMap::new();
            for (at, event) in events.iter().enumerate() {
                let place = (task, at);
                let barrier = event.obj;
                let waits = event.aux == Reason::Barrier as u32;
                match Kind::from_number(event.kind.into()) {
                    Some(Kind::NewObject) if event.aux == ObjectKind::Barrier as u32 => {
                        sizes.insert(barrier, event.seq.max(1));
                    }
                    Some(Kind::BlockEnd) if waits => {
                        let came = comings.get(&barrier).copied().unwrap_or(0);
                        if let Some(round) = came.checked_sub(1) {
                            meetings.ends.insert(place, (barrier, round));
                        }
                    }
                    Some(kind @ (Kind::Tripped | Kind::BlockBegin))
                        if waits || kind == Kind::Tripped =>
                    {
                        let round = comings.entry(barrier).or_default();
                        let meeting = meetings.rounds.entry((barrier, *round)).or_default();
                        if kind == Kind::BlockBegin {
                            meeting.waited.push(place);
                        } else if meeting.last.is_none() {
                            meeting.last = Some(place);
                            meetings.ends.insert(place, (barrier, *round));
                        }
                        *round += 1;
                    }
                    _ => {}
                }
            }
            for barrier in comings.into_keys() {
                *come.entry(barrier).or_default() += 1;
            }
        }
        meetings
            .rounds
            .retain(|(barrier, _), _| sizes.get(barrier) == come.get(barrier));
        meetings
    }

    /// What must have happened for this event: for the coming of the last that of all others, for the end of a wait the coming of the last.
    fn before(&self, place: Place) -> Vec<Place> {
        let round = self.ends.get(&place).and_then(|at| self.rounds.get(at));
        match round {
            Some(round) if round.last == Some(place) => round.waited.clone(),
            Some(round) => round.last.into_iter().collect(),
            None => Vec::new(),
        }
    }
}

/// How many of the readers before a writer are looked at: a trace that was scribbled on could ask for all of them again and again.
const MOST_READERS: usize = 64;

/// The releases that a lock's acquisition had to wait for: the last one by who had it alone, and for who wants it alone those of the readers since.
fn releases_before(of_lock: &BTreeMap<u32, (Place, bool)>, acquired: &Event) -> Vec<Place> {
    let before = of_lock.range(..acquired.seq).rev();
    if acquired.aux == 1 {
        let alone = before.take(MOST_READERS).find(|(_, (_, shared))| !shared);
        return alone.map(|(_, (place, _))| *place).into_iter().collect();
    }
    let mut causes = Vec::new();
    for (_, (place, shared)) in before.take(MOST_READERS) {
        causes.push(*place);
        if !shared {
            break;
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ticks: u64, task: u32, kind: Kind, obj: u32, seq: u32) -> Event {
        Event {
            ticks,
            task,
            obj,
            seq,
            kind: kind as u8,
            ..Event::default()
        }
    }

    #[test]
    fn a_cause_stands_before_its_effect_whatever_the_clocks_say() {
        use Kind::{Acquired, Exit, Joined, Mark, Received, Released, Sent, Spawn, Start};
        use Kind::{NewObject, Passed, Tripped, WgAdd, WgDone};
        let at_barrier = |ticks, task, kind| Event {
            aux: Reason::Barrier as u32,
            ..event(ticks, task, kind, 9, 0)
        };
        let barrier = |n| Event {
            aux: ObjectKind::Barrier as u32,
            ..event(0, 3, NewObject, 9, n)
        };
        let tasks = |events: &[Event]| {
            events
                .iter()
                .map(|event| (event.ticks, event.task))
                .collect::<Vec<_>>()
        };
        for (name, chunks, want) in [
            (
                "by ticks",
                vec![
                    vec![event(1, 1, Mark, 0, 0), event(5, 1, Mark, 0, 0)],
                    vec![event(3, 2, Mark, 0, 0)],
                ],
                vec![(1, 1), (3, 2), (5, 1)],
            ),
            (
                "message",
                vec![
                    vec![event(2, 1, Received, 9, 1)],
                    vec![event(4, 2, Sent, 9, 1)],
                ],
                vec![(4, 2), (4, 1)],
            ),
            (
                "lock",
                vec![
                    vec![event(2, 1, Acquired, 9, 2)],
                    vec![event(4, 2, Released, 9, 1)],
                ],
                vec![(4, 2), (4, 1)],
            ),
            (
                "spawn",
                vec![
                    vec![event(2, 2, Start, 0, 0)],
                    vec![event(4, 1, Spawn, 2, 0)],
                ],
                vec![(4, 1), (4, 2)],
            ),
            (
                "join",
                vec![
                    vec![event(2, 1, Joined, 2, 0), event(3, 1, Mark, 0, 0)],
                    vec![event(4, 2, Exit, 0, 0)],
                ],
                vec![(4, 2), (4, 1), (4, 1)],
            ),
            (
                "wait group",
                vec![
                    vec![event(1, 1, WgAdd, 9, 1), event(2, 1, Passed, 9, 3)],
                    vec![event(4, 2, WgDone, 9, 2)],
                ],
                vec![(1, 1), (4, 2), (4, 1)],
            ),
            (
                "barrier",
                vec![
                    vec![barrier(2)],
                    vec![
                        at_barrier(4, 1, Kind::BlockBegin),
                        at_barrier(5, 1, Kind::BlockEnd),
                        event(6, 1, Tripped, 9, 2),
                    ],
                    vec![
                        event(3, 2, Tripped, 9, 1),
                        at_barrier(8, 2, Kind::BlockBegin),
                        at_barrier(9, 2, Kind::BlockEnd),
                    ],
                ],
                vec![(0, 3), (4, 1), (4, 2), (5, 1), (8, 2), (8, 1), (9, 2)],
            ),
            (
                "barrier where it is chance who meets",
                vec![
                    vec![barrier(3)],
                    vec![at_barrier(4, 1, Kind::BlockBegin)],
                    vec![event(3, 2, Tripped, 9, 1)],
                ],
                vec![(0, 3), (3, 2), (4, 1)],
            ),
            (
                "clock steps back",
                vec![vec![event(7, 1, Mark, 1, 0), event(4, 1, Mark, 2, 0)]],
                vec![(7, 1), (7, 1)],
            ),
            (
                "ring",
                vec![
                    vec![event(1, 1, Received, 9, 1), event(2, 1, Sent, 8, 1)],
                    vec![event(3, 2, Received, 8, 1), event(4, 2, Sent, 9, 1)],
                ],
                vec![(1, 1), (2, 1), (3, 2), (4, 2)],
            ),
            (
                "own effect",
                vec![vec![event(1, 1, Joined, 1, 0), event(2, 1, Exit, 1, 0)]],
                vec![(1, 1), (2, 1)],
            ),
        ] {
            assert_eq!(tasks(&merged(&by_task(chunks))), want, "{name}");
        }
    }

    #[test]
    fn readers_overlap_and_a_writer_comes_behind_all_of_them() {
        let lock = |ticks, task, kind, seq, shared| Event {
            aux: u32::from(shared),
            ..event(ticks, task, kind, 9, seq)
        };
        use Kind::{Acquired, Released};
        // The first writer's clock is ahead, and so is that of the first reader; each acquisition's own order stays.
        let chunks = vec![
            vec![
                lock(1, 1, Acquired, 1, false),
                lock(6, 1, Released, 1, false),
            ],
            vec![lock(3, 2, Acquired, 2, true), lock(9, 2, Released, 2, true)],
            vec![lock(4, 3, Acquired, 3, true), lock(7, 3, Released, 3, true)],
            vec![lock(8, 4, Acquired, 4, false)],
        ];
        let order: Vec<_> = merged(&by_task(chunks))
            .iter()
            .map(|event| (event.ticks, event.task))
            .collect();
        assert_eq!(
            order,
            [(1, 1), (6, 1), (6, 2), (6, 3), (7, 3), (9, 2), (9, 4)]
        );
    }

    #[test]
    fn a_task_that_moved_between_threads_keeps_its_order() {
        let chunks = vec![
            vec![event(1, 3, Kind::Mark, 1, 0), event(9, 3, Kind::Mark, 3, 0)],
            vec![event(5, 3, Kind::Mark, 2, 0)],
        ];
        assert_eq!(
            merged(&by_task(chunks))
                .iter()
                .map(|event| event.obj)
                .collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }
}
