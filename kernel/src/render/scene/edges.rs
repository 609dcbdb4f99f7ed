//! Arrows: what let what happen, and the rings of deadlocks.

use super::*;
use std::collections::hash_map::Entry;
use threadbook_timeline::fold::{Edge, State};

/// How many arrows are drawn.
const MOST_EDGES: usize = 150;
const MOST_RINGS: usize = 8;
/// Arrows of one kind between the same two lanes that end nearer to each other than this are drawn as one.
const NEAR_PX: f64 = 3.0;

/// The arrows that may be drawn.
pub struct Placed<'a> {
    /// How many there are in all.
    all: usize,
    shown: Vec<Arrow<'a>>,
    hidden: usize,
}

#[derive(Clone, Copy)]
struct Arrow<'a> {
    /// The row that it begins at.
    from: usize,
    to: usize,
    /// Where it ends.
    to_x: f64,
    edge: &'a Edge,
}

impl<'a> Placed<'a> {
    /// Finds those that are worth an arrow.
    pub fn new(words: &Words<'a>, rows: &Rows<'_>, x: impl Fn(Nanos) -> f64) -> Placed<'a> {
        let all = &words.timeline.edges;
        let mut shown = Vec::new();
        let mut hidden = 0;
        for edge in all {
            let (Some(from), Some(to)) = (rows.of_task(edge.from), rows.of_task(edge.to)) else {
                hidden += 1;
                continue;
            };
            let lanes = [from, to].map(|row| matches!(rows.all[row], Row::Lane(_)));
            if from == to {
                hidden += usize::from(!lanes[0]);
                continue;
            }
            // Between a group and a lane only what is worth a look.
            if lanes != [true; 2]
                && !(edge.ended_wait && lanes.contains(&true) && from > 0 && to > 0)
            {
                hidden += 1;
                continue;
            }
            shown.push(Arrow {
                from,
                to,
                to_x: x(edge.reached),
                edge,
            });
        }
        if all.len() > MOST_EDGES {
            hidden += one_at_each_place(&mut shown);
        }
        Placed {
            all: all.len(),
            shown,
            hidden,
        }
    }
}

/// Of those that fall on one place one, if possible one that ended a wait. Gives how many are left out.
fn one_at_each_place(arrows: &mut Vec<Arrow<'_>>) -> usize {
    let all = arrows.len();
    let mut seen: HashMap<(EdgeKind, usize, usize, i64), usize> = HashMap::new();
    let mut kept: Vec<Arrow<'_>> = Vec::new();
    for arrow in arrows.iter() {
        let place = (arrow.to_x / NEAR_PX) as i64;
        match seen.entry((arrow.edge.kind, arrow.from, arrow.to, place)) {
            Entry::Occupied(at) => {
                let other = &mut kept[*at.get()];
                if arrow.edge.ended_wait && !other.edge.ended_wait {
                    *other = *arrow;
                }
            }
            Entry::Vacant(free) => {
                free.insert(kept.len());
                kept.push(*arrow);
            }
        }
    }
    *arrows = kept;
    all - arrows.len()
}

impl Sheet<'_> {
    /// All arrows when there are few. Else of those that fall on one place one, and those that ended a wait or made a task before the others.
    pub(super) fn edges(&mut self, placed: &Placed<'_>) {
        let most = MOST_EDGES.min(self.detail.arrows());
        let (mut shown, mut hidden) = (placed.shown.clone(), placed.hidden);
        if placed.all > most {
            hidden += one_at_each_place(&mut shown);
        }
        if shown.len() > most {
            let tells = |edge: &Edge| edge.ended_wait || edge.kind == EdgeKind::Spawn;
            let (telling, rest): (Vec<_>, Vec<_>) =
                shown.iter().partition(|arrow| tells(arrow.edge));
            hidden += shown.len();
            let room = most.saturating_sub(telling.len());
            shown = evenly(&telling, most);
            shown.extend(evenly(&rest, room));
            hidden -= shown.len();
        }
        self.arrows = Arrows {
            drawn: shown.len(),
            all: shown.len() + hidden,
        };
        let mut paths: BTreeMap<EdgeKind, String> = BTreeMap::new();
        for Arrow {
            from,
            to,
            to_x,
            edge,
        } in shown
        {
            let (x, y) = (self.x(edge.left), self.y(from));
            // From rim to rim of the bars, so that the arrow's head lies on none of them.
            let down = if to > from { 1.0 } else { -1.0 };
            let (y, to_y) = (y + 7.0 * down, self.y(to) - 8.0 * down);
            _ = write!(
                paths.entry(edge.kind).or_default(),
                "M{x:.1} {y:.0}L{to_x:.1} {to_y:.0}{}",
                head(to_x - x, to_y - y)
            );
            let told = self.words.edge(edge);
            let area = (to_x - 4.0, to_y - 4.0, 8.0, 8.0);
            self.say(area, 700.0, Saying::Text(told));
        }
        for (kind, path) in paths {
            self.occurs.edges.insert(kind);
            let class = legend::class_of(kind);
            _ = write!(self.shapes, "<path class=\"e {class}\" d=\"{path}\"/>");
        }
    }

    /// Tasks that wait for each other: an arrow from each to the next, those downwards bent to one side and those upwards to the other, so that it looks
    /// like the ring that it is.
    pub(super) fn rings(&mut self) {
        let timeline = self.words.timeline;
        let mut path = String::new();
        for ring in timeline.rings.iter().take(MOST_RINGS) {
            let x = self.x(ring.at);
            for (place, &task) in ring.tasks.iter().enumerate() {
                let next = ring.tasks[(place + 1) % ring.tasks.len()];
                let (Some(from), Some(to)) = (self.rows.of_task(task), self.rows.of_task(next))
                else {
                    continue;
                };
                let (y, to_y) = (self.y(from), self.y(to));
                if from == to {
                    if task != next {
                        continue;
                    }
                    _ = write!(
                        path,
                        "M{x:.1} {:.0}c26 -8 26 20 2 12{}",
                        y - 6.0,
                        head(-24.0, -8.0)
                    );
                } else {
                    let side = if to > from { 1.0 } else { -1.0 };
                    let bend = side * (26.0 + 3.0 * from.abs_diff(to).min(8) as f64);
                    let (y, to_y) = (y + side, to_y - 3.0 * side);
                    let middle = f64::midpoint(y, to_y);
                    _ = write!(
                        path,
                        "M{x:.1} {y:.0}Q{:.1} {middle:.0} {x:.1} {to_y:.0}{}",
                        x + bend,
                        head(-bend, to_y - middle)
                    );
                }
                let waits = timeline.lane(task).and_then(|lane| {
                    lane.spans.iter().rev().find_map(|span| match span.state {
                        State::Blocked { reason, object } if span.deadlocked.is_some() => {
                            Some(self.words.awaited(reason, object))
                        }
                        _ => None,
                    })
                });
                let sentence = format!(
                    "{} waits for {}, and so for {}",
                    self.words.task(task),
                    waits.unwrap_or_default(),
                    if task == next {
                        "itself"
                    } else {
                        self.words.task(next)
                    }
                );
                let area = (x - 4.0, to_y - 4.0, 8.0, 8.0);
                self.say(area, 1900.0, Saying::Text(sentence));
            }
        }
        if !path.is_empty() {
            self.occurs.rings = true;
            _ = write!(self.shapes, "<path class=\"ring\" d=\"{path}\"/>");
        }
    }
}

/// At most so many of them, from everywhere in the list.
fn evenly<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let every = all.len().div_ceil(most.max(1)).max(1);
    all.iter().step_by(every).take(most).copied().collect()
}
