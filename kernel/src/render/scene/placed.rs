//! An axis, and where on it everything is.
//!
//! A recording has some hundred thousand events, of which a picture shows a few hundred, and how few is only known once it is written: so all of them are
//! looked at once for each axis, and what can be told apart at best is kept. Drawing it with less detail then starts from that.

use super::*;
use crate::render::rows::{Counts, counts};

/// What of the timeline can be seen on an axis, and where.
pub struct Placed<'a> {
    pub(super) scale: &'a Scale,
    /// By lane that is a row: what it did.
    pub(super) bars: Vec<Vec<lanes::Bar>>,
    /// By lane that is a row: the locks that it had.
    pub(super) holds: Vec<Vec<lanes::Held<'a>>>,
    /// The critical path.
    pub(super) path: Vec<lanes::Stretch>,
    pub(super) edges: edges::Placed<'a>,
    pub(super) workers: Vec<objects::Worker<'a>>,
    pub(super) objects: objects::Objects<'a>,
    /// By group: how many of its tasks did what in each stretch.
    pub(super) counts: Vec<Counts>,
}

impl<'a> Placed<'a> {
    /// Finds the places of all that is seen with so much `detail` or less. Takes O(n) in all there is.
    pub fn new(words: &Words<'a>, rows: &Rows<'a>, scale: &'a Scale, detail: Detail) -> Placed<'a> {
        let timeline = words.timeline;
        let end = timeline.end;
        let x = |at| scale.place(at) * PLOT_PX;
        let high = rows.all.len();
        let bars = rows.lanes().map(|lane| lanes::bars(lane, end, x));
        let holds = rows.lanes();
        let holds = holds.map(|lane| lanes::holds(lane, end, x, high, detail));
        let workers = timeline.workers.iter().take(objects::MOST_WORKERS);
        let workers = workers.map(|lane| objects::Worker::new(words, lane, x, detail));
        let groups = rows.groups();
        Placed {
            scale,
            bars: bars.collect(),
            holds: holds.collect(),
            path: lanes::path(words, rows, x, detail),
            edges: edges::Placed::new(words, rows, x),
            workers: workers.collect(),
            objects: objects::Objects::new(words, x, detail),
            counts: groups
                .map(|group| counts(group, scale, end, groups::BINS))
                .collect(),
        }
    }
}
