//! The end of folding: what is still open, names for what has none, and the sums.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Fold;
use super::running::{running_at_once, workers};
use super::timeline::{Lane, LaneEnd, Nanos, State, Timeline, word_for};
use crate::format::{Engine, MAIN_TASK, ObjectKind};

impl Fold<'_> {
    pub(super) fn finish(mut self) -> Timeline {
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
        let parallelism = running_at_once(&lanes, self.now, MAIN_TASK);
        Timeline {
            max_running: parallelism.most,
            parallelism,
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
            contention: OnceLock::new(),
            critical_path: OnceLock::new(),
            object_places: self.object_position,
        }
    }
}
