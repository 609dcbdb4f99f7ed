//! The lane of a task: what it did, what it held, its remarks and its end; and the critical path below.

use super::*;
use crate::render::looks::{COUNT, DEAD, HOLD, LOOKS, look, most};
use std::ops::Range;
use threadbook_timeline::fold::{LaneEnd, Span, State};
use threadbook_timeline::format::{Cause, Reason};

/// Spans narrower than this are drawn as one with their neighbours.
const NARROW_PX: f64 = 1.5;
/// A wait in vain is drawn at least as wide as that: the last one to join a deadlock waits for microseconds.
const DEADLOCK_PX: f64 = 9.0;
/// How many remarks and regions a lane shows.
const MOST_MARKS: usize = 20;

/// A stretch of a lane that looks alike.
struct Bar {
    look: usize,
    from: f64,
    until: f64,
    spans: Range<usize>,
}

impl<'a> Sheet<'a> {
    /// All rows, below the edges, which were drawn before.
    pub(super) fn rows(&mut self, path: &[Step], placed: &Placed<'_>) {
        let rows = self.rows;
        let mut narrow = NARROW_PX;
        let mut bars: Vec<Vec<Bar>>;
        let most = self.detail.0.max(2 * placed.spans.len());
        loop {
            bars = rows
                .lanes()
                .zip(&placed.spans)
                .map(|(lane, places)| bars_of(lane, places, narrow))
                .collect();
            if bars.iter().map(Vec::len).sum::<usize>() <= most || narrow > 100.0 {
                break;
            }
            narrow *= 1.5;
        }
        let edges = std::mem::take(&mut self.shapes);
        let mut bars = bars.into_iter().zip(&placed.holds);
        let mut counts = placed.counts.iter();
        let mut paths: BTreeMap<usize, String> = BTreeMap::new();
        let mut life = String::new();
        for (place, row) in rows.all.iter().enumerate() {
            match row {
                Row::Lane(lane) => {
                    if let Some((bars, holds)) = bars.next() {
                        self.lane(lane, &bars, holds, self.y(place), &mut paths, &mut life);
                    }
                }
                Row::Group(group) => {
                    if let Some(counts) = counts.next() {
                        self.group(group, counts, self.tops[place]);
                    }
                }
            }
        }
        let mut shapes = format!("<path class=\"life\" d=\"{life}\"/>");
        for (look, path) in paths {
            self.occurs.looks.insert(look);
            _ = write!(shapes, "<path class=\"{}\" d=\"{path}\"/>", LOOKS[look].0);
        }
        // Groups and ends lie above the bars, and edges above all.
        shapes += &std::mem::take(&mut self.shapes);
        self.shapes = shapes;
        self.critical_path(path);
        self.shapes += &edges;
    }

    fn lane(
        &mut self,
        lane: &'a Lane,
        bars: &[Bar],
        holds: &[(f64, f64)],
        y: f64,
        paths: &mut BTreeMap<usize, String>,
        life: &mut String,
    ) {
        let timeline = self.words.timeline;
        let parents = std::iter::successors(lane.parent, |parent| timeline.lane(*parent)?.parent);
        let depth = parents.take(6).count();
        let name = shortened(&lane.name, 17 - depth);
        self.name("", 4.0 + 9.0 * depth as f64, y - 8.0, name);
        let until = self.x(lane.ended.unwrap_or(self.end()));
        _ = write!(life, "M{:.1} {y:.0}H{until:.1}", self.x(lane.spawned));
        for bar in bars {
            let height = LOOKS[bar.look].1;
            rect(
                paths.entry(bar.look).or_default(),
                bar.from,
                y - height / 2.0,
                bar.until - bar.from,
                height,
            );
            self.bar_words(lane, bar, y);
        }
        let mut held: Option<(f64, f64)> = None;
        // As many as bars, for all lanes together.
        let nearest = (PLOT_PX * self.rows.all.len() as f64 / self.detail.0 as f64).max(0.5);
        let mut path = paths.remove(&HOLD).unwrap_or_default();
        for (hold, &(from, until)) in lane.holds.iter().zip(holds) {
            // A hold that is too short to be seen is drawn as a dot, and those that are nearer to each other than that, as one.
            let until = until.max(from + 0.7);
            match &mut held {
                Some(last) if from - last.1 < nearest && until - from < nearest => {
                    last.1 = until.max(last.1);
                    continue;
                }
                Some((since, until)) => rect(&mut path, *since, y + 6.0, *until - *since, 3.0),
                None => {}
            }
            held = Some((from, until));
            let area = (from, y + 5.0, until - from, 5.0);
            self.say(area, 0.5 * (until - from), Saying::Hold(lane, hold));
        }
        if let Some((since, until)) = held {
            rect(&mut path, since, y + 6.0, until - since, 3.0);
        }
        if !path.is_empty() {
            paths.insert(HOLD, path);
        }
        self.marks(lane, y);
        self.lane_end(lane, y, until);
    }

    /// What a bar says on hover, and, where there is room, in it.
    fn bar_words(&mut self, lane: &'a Lane, bar: &Bar, y: f64) {
        let spans = &lane.spans[bar.spans.clone()];
        let waits = |span: &Span| matches!(span.state, State::Blocked { .. });
        let (from, width) = (bar.from, bar.until - bar.from);
        // Waits are what the picture is for: when there is room for few hover texts, for theirs.
        let weight = width + if spans.iter().any(waits) { 1000.0 } else { 0.0 };
        let area = (from, y - 9.0, width, 15.0);
        self.say(area, weight, Saying::Spans(lane, bar.spans.clone()));
        if let [span] = spans
            && let State::Blocked { reason, object } = span.state
        {
            let timeline = self.words.timeline;
            let text = match reason {
                Reason::Join => format!("for {}", self.words.task(object)),
                Reason::Scope => "for its scope".into(),
                Reason::Select => "for the first of several".into(),
                _ => format!(
                    "for {}",
                    timeline.object(object).map_or("", |object| &object.name)
                ),
            };
            if width > LETTER_PX * text.chars().count() as f64 + 14.0 {
                self.label_within("w", from + 4.0, y - 6.0, width - 6.0, text);
            }
        }
    }

    fn marks(&mut self, lane: &Lane, y: f64) {
        for mark in lane.marks.iter().take(MOST_MARKS) {
            let x = self.x(mark.at);
            _ = write!(
                self.shapes,
                "<path class=\"cap\" d=\"M{x:.1} {:.0}l4 -6h-8z\"/>",
                y - 4.0
            );
            let told = format!("{}: {}", lane.name, mark.text);
            self.say((x - 4.0, y - 11.0, 8.0, 8.0), 900.0, Saying::Text(told));
        }
        for region in lane.regions.iter().take(MOST_MARKS) {
            let (from, until) = (
                self.x(region.from),
                self.x(region.until.unwrap_or(self.end())),
            );
            _ = write!(
                self.shapes,
                "<path class=\"rag\" d=\"M{from:.1} {:.0}v-3H{until:.1}v3\"/>",
                y - 6.0
            );
            let told = format!("{}: {}", lane.name, region.text);
            let area = (from, y - 11.0, until - from, 4.0);
            self.say(area, 800.0, Saying::Text(told));
        }
    }

    /// A dot: done. A cross: panicked. A ragged line: it goes on, nobody knows how, or, with a cross behind it, a deadlock ended it. Scissors: cut off.
    fn lane_end(&mut self, lane: &Lane, y: f64, x: f64) {
        let mark = legend::end_mark(&lane.end, x, y);
        self.shapes += &mark;
        self.occurs.ends.insert(match lane.end {
            LaneEnd::Panicked(_) => legend::PANICKED,
            LaneEnd::Cut(Cause::Deadlock) => legend::IN_DEADLOCK,
            LaneEnd::Cut(Cause::Program | Cause::Interrupt) => legend::CUT_OFF,
            LaneEnd::Alive => legend::ALIVE,
            // A dot at the end of a line says so itself, and so does the bar that is not known.
            LaneEnd::Done | LaneEnd::Unknown => legend::PLAIN,
        });
        let told = format!("{}: {}", lane.name, self.words.end(lane));
        let area = (x - 1.0, y - 7.0, 14.0, 14.0);
        self.say(area, 950.0, Saying::Text(told));
    }

    /// A thin line below what the end had to wait for.
    fn critical_path(&mut self, path: &[Step]) {
        // Of one task alone it would be a line below a line; and of a crowd most of it lies in groups.
        if path.iter().all(|step| step.task == path[0].task) || self.rows.is_crowd {
            return;
        }
        let mut line = String::new();
        let mut last: Option<(usize, f64)> = None;
        let finest = (PLOT_PX / self.detail.0 as f64).max(0.5);
        for step in path {
            let Some(row) = self.rows.of_task(step.task) else {
                continue;
            };
            if !matches!(self.rows.all[row], Row::Lane(_)) {
                last = None;
                continue;
            }
            let (from, until) = (self.x(step.from), self.x(step.until));
            match last {
                // What is too short to be seen goes on where the line is.
                Some((at, x)) if at == row && until - x < finest => continue,
                Some((at, x)) if at == row && from - x < finest => _ = write!(line, "H{until:.1}"),
                Some(_) if until - from < finest => continue,
                _ => {
                    let y = self.y(row) + 10.0;
                    _ = write!(line, "M{from:.1} {y:.0}H{until:.1}");
                }
            }
            last = Some((row, until));
        }
        if !line.is_empty() {
            self.occurs.critical = true;
            _ = write!(self.shapes, "<path class=\"crit\" d=\"{line}\"/>");
        }
    }
}

/// The bars of a lane; neighbours that are narrower than `narrow` become one, which looks like what fills most of it.
fn bars_of(lane: &Lane, places: &[(f64, f64)], narrow: f64) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut crowd: Option<(f64, f64, usize, [f64; COUNT])> = None;
    for (at, (span, &(from, until))) in lane.spans.iter().zip(places).enumerate() {
        let look = look(span);
        if let Some((since, last, first, share)) = &mut crowd {
            let merges = look != DEAD && until - from < narrow && from - *last < narrow;
            if merges {
                share[look] += until - from;
                *last = until;
                if until - *since >= narrow {
                    bars.push(Bar {
                        look: most(share),
                        from: *since,
                        until,
                        spans: *first..at + 1,
                    });
                    crowd = None;
                }
                continue;
            }
            bars.push(Bar {
                look: most(share),
                from: *since,
                until: last.max(*since + 0.7),
                spans: *first..at,
            });
            crowd = None;
        }
        if look == DEAD || until - from >= narrow {
            let from = if look == DEAD {
                from.min(until - DEADLOCK_PX).max(0.0)
            } else {
                from
            };
            bars.push(Bar {
                look,
                from,
                until,
                spans: at..at + 1,
            });
        } else {
            let mut share = [0.0; COUNT];
            // One without length counts where there is nothing else.
            share[look] = (until - from).max(1e-6);
            crowd = Some((from, until, at, share));
        }
    }
    if let Some((since, last, first, share)) = crowd {
        bars.push(Bar {
            look: most(&share),
            from: since,
            until: last.max(since + 1.0),
            spans: first..lane.spans.len(),
        });
    }
    bars
}
