//! Thin lanes below those of the tasks: a queue's depth, a wait group's counter, a lock's holder; and for each worker whom it carries.

use super::*;
use crate::render::words::who_carries;
use threadbook_timeline::format::ObjectKind;

/// Changes of an object nearer to each other than this are drawn as one.
const FINEST_STEP_PX: f64 = 3.0;
const MOST_OBJECTS: usize = 8;
pub const MOST_WORKERS: usize = 8;
/// How high the steps are.
const HIGH_PX: f64 = 13.0;

impl Sheet<'_> {
    /// A lane per worker: whom it carries. Neighbours differ in shade, so that a change from one task to the next is seen.
    pub(super) fn workers(&mut self, placed: &[Vec<(f64, f64)>]) {
        self.bottom += 4.0;
        let workers = &self.words.timeline.workers;
        for (lane, placed) in workers.iter().zip(placed) {
            let (top, base) = (self.bottom, self.bottom + OBJECT_PX - 3.0);
            self.name(
                "o",
                4.0,
                top,
                format!("{} carries", who_carries(lane.worker)),
            );
            let mut paths = [String::new(), String::new()];
            let (mut drawn_until, mut named_until) = (0.0, 0.0);
            let mut drawn = 0;
            let nearest = (PLOT_PX / self.detail.0 as f64).max(0.5);
            for (slice, &(from, until)) in lane.slices.iter().zip(placed) {
                // What is too short to be seen is drawn as a line, and of those that fall on one place, one.
                let seen_until = until.max(from + 0.7);
                if seen_until > drawn_until + nearest {
                    drawn_until = seen_until;
                    let path = &mut paths[drawn % 2];
                    _ = write!(
                        path,
                        "M{from:.1} {base:.0}v-{HIGH_PX}H{drawn_until:.1}V{base:.0}z"
                    );
                    drawn += 1;
                }
                if until - from > 4.0 {
                    let told = self.words.slice(lane.worker, slice);
                    let area = (from, base - HIGH_PX, until - from, HIGH_PX);
                    self.say(area, until - from, Saying::Text(told));
                }
                let name = self.words.task(slice.task);
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
            let told = self.words.worker(lane);
            let area = (0.0, top, PLOT_PX, OBJECT_PX);
            self.say(area, 500.0, Saying::Text(told));
            self.bottom += OBJECT_PX;
        }
        if workers.len() > MOST_WORKERS {
            let more = workers.len() - MOST_WORKERS;
            self.name("o", 4.0, self.bottom, format!("{more} more workers"));
            self.bottom += OBJECT_PX;
        }
    }

    /// A lane per object that can be counted on; where there are many, for those on which most happened.
    pub(super) fn objects(&mut self) {
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
        let all = &self.words.timeline.objects;
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
        for object in objects {
            self.object(object);
        }
        if more > 0 {
            self.name("o", 4.0, self.bottom, format!("{more} more are left out"));
            self.bottom += OBJECT_PX;
        }
    }

    fn object(&mut self, object: &Object) {
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
        let mut path = String::new();
        let mut drawn_until = 0.0;
        for (from, until, value) in self.steps_of(object) {
            let height = if is_lock {
                f64::from(u8::from(value > 0)) * HIGH_PX
            } else {
                HIGH_PX * f64::from(value) / highest
            };
            if height > 0.0 {
                _ = write!(
                    path,
                    "M{from:.1} {base:.0}v-{height:.1}H{until:.1}V{base:.0}z"
                );
            }
            let text = match (is_lock, value) {
                (true, 0) => String::new(),
                (true, holder) => self.words.task(holder).to_owned(),
                (false, value) => value.to_string(),
            };
            let room = LETTER_PX * text.chars().count() as f64 + 4.0;
            if !text.is_empty() && until - from > room && from > drawn_until {
                self.label_within("o", from + 3.0, top + 1.0, until - from, text);
                drawn_until = from + room;
            }
        }
        let class = if is_lock { "held" } else { "depth" };
        _ = write!(
            self.shapes,
            "<path class=\"{class}\" d=\"{path}\"/><path class=\"grid\" d=\"M0 {base:.0}H{PLOT_PX}\"/>"
        );
        let told = self.words.counted(object);
        let area = (0.0, top, PLOT_PX, OBJECT_PX);
        self.say(area, 500.0, Saying::Text(told));
        self.bottom += OBJECT_PX;
    }

    /// What an object's lane shows: from, until, value. Where more changes than can be told apart, the highest value of each stretch of pixels; a lock
    /// that changes hands within a stretch shows as held there, and by whom it ends.
    fn steps_of(&self, object: &Object) -> Vec<(f64, f64, u32)> {
        let end = self.end();
        let mut steps: Vec<(f64, f64, u32)> = Vec::new();
        let finest = FINEST_STEP_PX.max(PLOT_PX / self.detail.0.max(1) as f64);
        for (index, (at, value)) in object.counter.iter().enumerate() {
            let mut next = object.counter.get(index + 1).map_or(end, |change| change.0);
            if let Some((from, until)) = self.words.timeline.gap
                && *at < until
            {
                // What it was until the next change is not known where a change may be missing.
                next = next.min(from);
                if next <= *at {
                    continue;
                }
            }
            let (from, until) = (self.x(*at), self.x(next));
            match steps.last_mut() {
                Some(last) if last.1 - last.0 < finest && until - from < finest => {
                    last.1 = until;
                    last.2 = match object.kind {
                        ObjectKind::Mutex if *value > 0 => *value,
                        _ => last.2.max(*value),
                    };
                }
                _ => steps.push((from, until, *value)),
            }
        }
        steps
    }
}
