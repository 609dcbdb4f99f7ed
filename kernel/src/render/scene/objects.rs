//! Thin lanes below those of the tasks: a queue's depth, a wait group's counter, a lock's holder; and for each worker whom it carries.

use super::*;
use crate::render::words::who_carries;
use threadbook_timeline::fold::{Slice, Timeline, WorkerLane};
use threadbook_timeline::format::ObjectKind;

/// Changes of an object nearer to each other than this are drawn as one.
const FINEST_STEP_PX: f64 = 3.0;
const MOST_OBJECTS: usize = 8;
pub const MOST_WORKERS: usize = 8;
/// How high the steps are.
const HIGH_PX: f64 = 13.0;

/// A worker's lane.
pub struct Worker<'a> {
    lane: &'a WorkerLane,
    slices: Vec<Placed<&'a Slice>>,
    /// What it did, in sum.
    told: String,
}

impl<'a> Worker<'a> {
    /// Finds the places of what can be seen of it.
    pub fn new(
        words: &Words<'_>,
        lane: &'a WorkerLane,
        x: impl Fn(Nanos) -> f64,
        detail: Detail,
    ) -> Worker<'a> {
        let end = words.timeline.end;
        let all = lane.slices.iter().map(|slice| Placed {
            from: x(slice.from),
            until: x(slice.until.unwrap_or(end)),
            what: slice,
        });
        Worker {
            lane,
            slices: seen(all, detail),
            told: words.worker(lane),
        }
    }
}

/// Something that goes from a place to another.
#[derive(Clone, Copy)]
struct Placed<T> {
    from: f64,
    until: f64,
    what: T,
}

/// What is too short to be seen is drawn as a line, and of those that fall on one place, one.
fn seen<'a>(
    slices: impl Iterator<Item = Placed<&'a Slice>>,
    detail: Detail,
) -> Vec<Placed<&'a Slice>> {
    let nearest = detail.part_px().max(0.5);
    let mut drawn_until = 0.0;
    let drawn = slices.filter(|slice| {
        let until = slice.until.max(slice.from + 0.7);
        let is_seen = until > drawn_until + nearest;
        if is_seen {
            drawn_until = until;
        }
        is_seen
    });
    drawn.collect()
}

/// An object's lane.
pub struct Counted<'a> {
    object: &'a Object,
    /// What it shows.
    steps: Vec<Placed<u32>>,
    /// What that comes to.
    told: String,
}

/// The objects that have a lane, and how many have none.
pub struct Objects<'a> {
    lanes: Vec<Counted<'a>>,
    more: usize,
}

impl<'a> Objects<'a> {
    /// Chooses those that can be counted on; where there are many, those on which most happened.
    pub fn new(words: &Words<'a>, x: impl Fn(Nanos) -> f64, detail: Detail) -> Objects<'a> {
        let counted = |object: &&Object| {
            !object.counter.is_empty()
                && matches!(
                    object.kind,
                    ObjectKind::Channel
                        | ObjectKind::Mutex
                        | ObjectKind::WaitGroup
                        | ObjectKind::RwLock
                        | ObjectKind::Cell
                )
        };
        let all = &words.timeline.objects;
        let mut objects: Vec<&Object> = all.iter().filter(counted).collect();
        let more = objects.len().saturating_sub(MOST_OBJECTS);
        if more > 0 {
            let mut changes: Vec<usize> =
                objects.iter().map(|object| object.counter.len()).collect();
            changes.sort_unstable_by(|a, b| b.cmp(a));
            let fewest = changes[MOST_OBJECTS - 1];
            objects.retain(|object| object.counter.len() >= fewest);
            objects.truncate(MOST_OBJECTS);
        }
        let finest = finest(detail, objects.len());
        let lanes = objects.into_iter().map(|object| Counted {
            object,
            steps: merged(object, steps_of(words.timeline, object, &x), finest),
            told: words.counted(object),
        });
        Objects {
            lanes: lanes.collect(),
            more,
        }
    }
}

/// What an object was: from, until, value.
fn steps_of(
    timeline: &Timeline,
    object: &Object,
    x: impl Fn(Nanos) -> f64,
) -> impl Iterator<Item = Placed<u32>> {
    let (end, gap) = (timeline.end, timeline.gap);
    let mut known: Option<(Nanos, f64)> = None;
    object
        .counter
        .iter()
        .enumerate()
        .filter_map(move |(index, &(at, value))| {
            let mut next = object.counter.get(index + 1).map_or(end, |change| change.0);
            if let Some((from, until)) = gap
                && at < until
            {
                // What it was until the next change is not known where a change may be missing.
                next = next.min(from);
                if next <= at {
                    return None;
                }
            }
            // A step mostly begins where the one before it ended.
            let from = match known {
                Some((moment, place)) if moment == at => place,
                _ => x(at),
            };
            let until = x(next);
            known = Some((next, until));
            Some(Placed {
                from,
                until,
                what: value,
            })
        })
}

/// How near to each other changes are that are drawn as one, with so many lanes of objects.
fn finest(detail: Detail, lanes: usize) -> f64 {
    FINEST_STEP_PX.max(detail.change_px() * (lanes as f64 / 4.0).max(1.0))
}

/// Where more changes than can be told apart, the highest value of each stretch of pixels; a lock that changes hands within a stretch shows as held there, and
/// by whom it ends.
fn merged(
    object: &Object,
    all: impl Iterator<Item = Placed<u32>>,
    finest: f64,
) -> Vec<Placed<u32>> {
    let mut steps: Vec<Placed<u32>> = Vec::new();
    for step in all {
        match steps.last_mut() {
            Some(last) if last.until - last.from < finest && step.until - step.from < finest => {
                last.until = step.until;
                last.what = match object.kind {
                    ObjectKind::Mutex if step.what > 0 => step.what,
                    _ => last.what.max(step.what),
                };
            }
            _ => steps.push(step),
        }
    }
    steps
}

impl Sheet<'_> {
    /// A lane per worker: whom it carries. Neighbours differ in shade, so that a change from one task to the next is seen.
    pub(super) fn workers(&mut self, workers: &[Worker<'_>]) {
        self.bottom += 4.0;
        for worker in workers {
            let number = worker.lane.worker;
            let (top, base) = (self.bottom, self.bottom + OBJECT_PX - 3.0);
            self.name("o", 4.0, top, format!("{} carries", who_carries(number)));
            let mut paths = [String::new(), String::new()];
            let mut named_until = 0.0;
            let slices = seen(worker.slices.iter().copied(), self.detail);
            for (at, slice) in slices.into_iter().enumerate() {
                let (from, until) = (slice.from, slice.until);
                _ = write!(
                    paths[at % 2],
                    "M{from:.1} {base:.0}v-{HIGH_PX}H{:.1}V{base:.0}z",
                    until.max(from + 0.7)
                );
                if until - from > 4.0 {
                    let told = self.words.slice(number, slice.what);
                    let area = (from, base - HIGH_PX, until - from, HIGH_PX);
                    self.say(area, until - from, Saying::Text(told));
                }
                let name = self.words.task(slice.what.task);
                let room = LETTER_PX * name.chars().count() as f64 + 4.0;
                if until - from > room && from > named_until {
                    self.label_within("o", from + 3.0, top + 1.0, until - from, name.to_owned());
                    named_until = from + room;
                }
            }
            let [even, odd] = paths;
            _ = write!(
                self.shapes,
                "<path class=\"held\" d=\"{even}\"/><path class=\"held odd\" d=\"{odd}\"/><path class=\"grid\" d=\"M0 {base:.0}H{PLOT_PX}\"/>"
            );
            let area = (0.0, top, PLOT_PX, OBJECT_PX);
            self.say(area, 500.0, Saying::Text(worker.told.clone()));
            self.bottom += OBJECT_PX;
        }
        let all = self.words.timeline.workers.len();
        if all > workers.len() {
            let more = all - workers.len();
            self.name("o", 4.0, self.bottom, format!("{more} more workers"));
            self.bottom += OBJECT_PX;
        }
    }

    /// A lane per object that can be counted on.
    pub(super) fn objects(&mut self, objects: &Objects<'_>) {
        let finest = finest(self.detail, objects.lanes.len());
        for lane in &objects.lanes {
            self.object(lane, finest);
        }
        if objects.more > 0 {
            let more = format!("{} more are left out", objects.more);
            self.name("o", 4.0, self.bottom, more);
            self.bottom += OBJECT_PX;
        }
    }

    fn object(&mut self, lane: &Counted<'_>, finest: f64) {
        let object = lane.object;
        let is_lock = object.kind == ObjectKind::Mutex;
        let (top, base) = (self.bottom, self.bottom + OBJECT_PX - 3.0);
        let what = match object.kind {
            ObjectKind::Channel => "queue",
            ObjectKind::Mutex => "holder",
            ObjectKind::RwLock => "holders",
            ObjectKind::Cell => "value",
            _ => "count",
        };
        let name = shortened(&object.name, 13);
        self.name("o", 4.0, top, format!("{name} {what}"));
        let highest = object.counter.iter().map(|change| change.1).max();
        let highest = f64::from(highest.unwrap_or(0).max(1));
        // Of a lock, neighbours differ in shade, so that it is seen where it changes hands.
        let mut paths = [String::new(), String::new()];
        let mut holders = 0;
        // What is so still is not said again.
        let mut said = String::new();
        let mut drawn_until = 0.0;
        for step in merged(object, lane.steps.iter().copied(), finest) {
            let (from, until, value) = (step.from, step.until, step.what);
            holders += usize::from(is_lock && value > 0);
            let height = if is_lock {
                f64::from(u8::from(value > 0)) * HIGH_PX
            } else {
                HIGH_PX * f64::from(value) / highest
            };
            if height > 0.0 {
                _ = write!(
                    paths[if is_lock { (holders + 1) % 2 } else { 0 }],
                    "M{from:.1} {base:.0}v-{height:.1}H{until:.1}V{base:.0}z"
                );
            }
            let text = match (object.kind, value) {
                // That a queue is empty, the line says that it has sunk to.
                (ObjectKind::Mutex | ObjectKind::Channel, 0) => String::new(),
                (ObjectKind::Mutex, holder) => self.words.task(holder).to_owned(),
                (_, value) => value.to_string(),
            };
            let room = LETTER_PX * text.chars().count() as f64 + 4.0;
            if text.is_empty() {
                said.clear();
            } else if text != said && until - from > room && from > drawn_until {
                said.clone_from(&text);
                self.label_within("o", from + 3.0, top + 1.0, until - from, text);
                drawn_until = from + room;
            }
        }
        let classes = if is_lock {
            ["held", "held odd"]
        } else {
            ["depth", ""]
        };
        for (path, class) in paths.iter().zip(classes) {
            if !path.is_empty() {
                _ = write!(self.shapes, "<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
        _ = write!(
            self.shapes,
            "<path class=\"grid\" d=\"M0 {base:.0}H{PLOT_PX}\"/>"
        );
        let area = (0.0, top, PLOT_PX, OBJECT_PX);
        self.say(area, 500.0, Saying::Text(lane.told.clone()));
        self.bottom += OBJECT_PX;
    }
}
