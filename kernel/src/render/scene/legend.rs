//! What the marks mean, for those that occur; and how the marks look that the lanes end with.

use super::*;
use crate::render::looks::LOOKS;
use threadbook_timeline::fold::LaneEnd;
use threadbook_timeline::format::Cause;

/// A mark that needs no explanation.
pub const PLAIN: u8 = 0;
/// The task panicked.
pub const PANICKED: u8 = 1;
/// The task went on after the end.
pub const ALIVE: u8 = 2;
/// A deadlock ended the task.
pub const IN_DEADLOCK: u8 = 3;
/// Its program's end ended the task.
pub const CUT_OFF: u8 = 4;
/// The learner did.
pub const INTERRUPTED: u8 = 5;

/// What occurs in a picture.
#[derive(Default)]
pub struct Occurs {
    /// Looks of spans.
    pub looks: BTreeSet<usize>,
    /// Kinds of arrows.
    pub edges: BTreeSet<EdgeKind>,
    /// How lanes end.
    pub ends: BTreeSet<u8>,
    /// Whether there is a ring of waits.
    pub rings: bool,
    /// Whether the critical path is drawn.
    pub critical: bool,
    /// Whether there is a heat map.
    pub heat: bool,
}

impl Occurs {
    /// Adds what occurs in another view.
    pub fn add(&mut self, other: &Occurs) {
        self.looks.extend(&other.looks);
        self.edges.extend(&other.edges);
        self.ends.extend(&other.ends);
        self.rings |= other.rings;
        self.critical |= other.critical;
        self.heat |= other.heat;
    }

    /// The legend.
    pub fn samples(&self) -> Vec<Sample> {
        let looks = self.looks.iter().map(|look| {
            let (class, height, words) = LOOKS[*look];
            let shape = format!(
                "<path class=\"{class}\" d=\"M0 {:.1}h18v{height}h-18z\"/>",
                -height / 2.0
            );
            Sample { shape, words }
        });
        let edges = self.edges.iter().map(|kind| Sample {
            shape: format!(
                "<path class=\"e {}\" d=\"M0 0H18{}\"/>",
                class_of(*kind),
                head(18.0, 0.0)
            ),
            words: match kind {
                EdgeKind::Spawn => "made",
                EdgeKind::Message => "message",
                EdgeKind::Lock => "lock handed on",
                EdgeKind::Wait => "counter at zero",
                EdgeKind::Join => "ended, joined",
                EdgeKind::Notify => "notified",
                EdgeKind::Barrier => "last at the barrier",
                EdgeKind::Once => "filled",
            },
        });
        let ring = self.rings.then(|| Sample {
            shape: format!("<path class=\"ring\" d=\"M0 0H18{}\"/>", head(18.0, 0.0)),
            words: "waits for, in a ring",
        });
        let heat = self.heat.then(|| Sample {
            shape: (0..4)
                .map(|step| {
                    let (x, level) = (step * 5, 2 * step + 1);
                    format!("<path class=\"run h{level}\" d=\"M{x} -6h5v12h-5z\"/>")
                })
                .collect(),
            words: "few to all of the group",
        });
        let critical = self.critical.then(|| Sample {
            shape: "<path class=\"crit\" d=\"M0 0h18\"/>".into(),
            words: "critical path: what the end waited for",
        });
        let ends = self.ends.iter().filter_map(|end| {
            let (end, words) = match *end {
                PANICKED => (LaneEnd::Panicked(String::new()), "panicked"),
                ALIVE => (LaneEnd::Alive, "alive at the end"),
                IN_DEADLOCK => (LaneEnd::Cut(Cause::Deadlock), "ended by a deadlock"),
                CUT_OFF => (LaneEnd::Cut(Cause::Program), "cut off"),
                INTERRUPTED => (LaneEnd::Cut(Cause::Interrupt), "ended by the interrupt"),
                _ => return None,
            };
            Some(Sample {
                shape: end_mark(&end, 3.0, 0.0),
                words,
            })
        });
        looks
            .chain(heat)
            .chain(edges)
            .chain(ring)
            .chain(critical)
            .chain(ends)
            .collect()
    }
}

/// How a lane ends at a place.
pub fn end_mark(end: &LaneEnd, x: f64, y: f64) -> String {
    match end {
        LaneEnd::Done => format!(
            "<circle class=\"cap\" cx=\"{:.1}\" cy=\"{y:.0}\" r=\"3.5\"/>",
            x + 2.0
        ),
        LaneEnd::Panicked(_) => format!(
            "<path class=\"panic\" d=\"M{:.1} {:.1}l9 9m0-9l-9 9\"/>",
            x + 1.0,
            y - 4.5
        ),
        LaneEnd::Cut(Cause::Deadlock) => format!(
            "<path class=\"rag\" d=\"M{x:.1} {:.0}l4 3.5l-4 3.5l4 3.5l-4 3.5m7-10l6 6m0-6l-6 6\"/>",
            y - 7.0
        ),
        // Two blades that cross on the lane, and two rings to hold them by.
        LaneEnd::Cut(Cause::Program | Cause::Interrupt) => format!(
            "<path class=\"rag\" d=\"M{:.1} {:.1}l9 6m0-6l-9 6\"/><circle class=\"rag\" cx=\"{ring:.1}\" cy=\"{:.1}\" r=\"2\"/><circle class=\"rag\" cx=\"{ring:.1}\" cy=\"{:.1}\" r=\"2\"/>",
            x + 1.0,
            y - 3.0,
            y - 4.0,
            y + 4.0,
            ring = x + 11.5,
        ),
        // The bar that is drawn up to here says so.
        LaneEnd::Unknown => String::new(),
        LaneEnd::Alive => format!(
            "<path class=\"rag\" d=\"M{x:.1} {:.0}l4 3.5l-4 3.5l4 3.5l-4 3.5m8-7h2m3 0h2m3 0h2\"/>",
            y - 7.0
        ),
    }
}

/// The class of an arrow.
pub fn class_of(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Spawn => "spawn",
        EdgeKind::Message => "message",
        EdgeKind::Lock => "lck",
        EdgeKind::Wait | EdgeKind::Notify | EdgeKind::Barrier | EdgeKind::Once => "wg",
        EdgeKind::Join => "join",
    }
}
