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

/// A stretch of a lane that looks alike, or of which not more can be seen.
#[derive(Clone)]
pub struct Bar {
    /// How wide each look is in it.
    share: [f32; COUNT],
    from: f64,
    until: f64,
    spans: Range<usize>,
}

/// Locks that a task had, one or several that cannot be told apart.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    from: f64,
    until: f64,
    first: &'a Hold,
    first_until: f64,
}

impl<'a> Sheet<'a> {
    /// All rows, below the edges, which were drawn before.
    pub(super) fn rows(&mut self, placed: &Placed<'a>) {
        let rows = self.rows;
        let mut narrow = NARROW_PX;
        let mut bars = placed.bars.clone();
        let most = self.detail.bars().max(2 * bars.len());
        while bars.iter().map(Vec::len).sum::<usize>() > most && narrow <= 100.0 {
            narrow *= 1.5;
            let finest = placed.bars.iter().cloned();
            bars = finest.map(|bars| merged(bars, narrow)).collect();
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
        self.critical_path(&placed.path);
        self.shapes += &edges;
    }

    fn lane(
        &mut self,
        lane: &'a Lane,
        bars: &[Bar],
        holds: &[Held<'a>],
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
            let look = most(&bar.share);
            let height = LOOKS[look].1;
            rect(
                paths.entry(look).or_default(),
                bar.from,
                y - height / 2.0,
                bar.until - bar.from,
                height,
            );
            self.bar_words(lane, bar, y);
        }
        let mut path = paths.remove(&HOLD).unwrap_or_default();
        for held in together(holds.iter().copied(), self.rows.all.len(), self.detail) {
            let (from, wide) = (held.from, held.first_until - held.from);
            rect(&mut path, from, y + 6.0, held.until - from, 3.0);
            let area = (from, y + 5.0, wide, 5.0);
            self.say(area, 0.5 * wide, Saying::Hold(lane, held.first));
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
            LaneEnd::Cut(Cause::Program) => legend::CUT_OFF,
            LaneEnd::Cut(Cause::Interrupt) => legend::INTERRUPTED,
            LaneEnd::Alive => legend::ALIVE,
            // A dot at the end of a line says so itself, and so does the bar that is not known.
            LaneEnd::Done | LaneEnd::Unknown => legend::PLAIN,
        });
        let told = format!("{}: {}", lane.name, self.words.end(lane));
        let area = (x - 1.0, y - 7.0, 14.0, 14.0);
        self.say(area, 950.0, Saying::Text(told));
    }

    /// A thin line below what the end had to wait for.
    fn critical_path(&mut self, path: &[Stretch]) {
        let mut line = String::new();
        for stretch in seen(path.iter().copied(), self.detail) {
            let Some(row) = stretch.row else {
                continue;
            };
            if !stretch.goes_on {
                let y = self.y(row) + 10.0;
                _ = write!(line, "M{:.1} {y:.0}", stretch.from);
            }
            _ = write!(line, "H{:.1}", stretch.until);
        }
        if !line.is_empty() {
            self.occurs.critical = true;
            _ = write!(self.shapes, "<path class=\"crit\" d=\"{line}\"/>");
        }
    }
}

/// A stretch of the critical path.
#[derive(Clone, Copy)]
pub struct Stretch {
    /// In which lane; `None`: in a group, where it is not drawn.
    row: Option<usize>,
    from: f64,
    until: f64,
    /// Whether the line before it goes on here.
    goes_on: bool,
}

/// Finds the places of the critical path.
pub fn path(
    words: &Words<'_>,
    rows: &Rows<'_>,
    x: impl Fn(Nanos) -> f64,
    detail: Detail,
) -> Vec<Stretch> {
    // Where events are missing, so may be those that would lead it elsewhere.
    let path = match words.timeline.gap {
        None => words.timeline.critical_path(),
        Some(_) => &[],
    };
    // Of one task alone it would be a line below a line; and of a crowd most of it lies in groups.
    if path.iter().all(|step| step.task == path[0].task) || rows.is_crowd {
        return Vec::new();
    }
    let stretches = path.iter().filter_map(|step| {
        let row = rows.of_task(step.task)?;
        Some(Stretch {
            row: matches!(rows.all[row], Row::Lane(_)).then_some(row),
            from: x(step.from),
            until: x(step.until),
            goes_on: false,
        })
    });
    seen(stretches, detail)
}

/// What is too short to be seen goes on where the line is.
fn seen(all: impl Iterator<Item = Stretch>, detail: Detail) -> Vec<Stretch> {
    let finest = detail.part_px().max(0.5);
    let mut stretches: Vec<Stretch> = Vec::new();
    for mut stretch in all {
        let last = stretches.last().copied().filter(|last| last.row.is_some());
        let (is_short, is_same) = (
            stretch.until - stretch.from < finest,
            last.is_some_and(|last| last.row == stretch.row),
        );
        stretch.goes_on = false;
        match last {
            _ if stretch.row.is_none() => {}
            Some(last) if is_same && stretch.until - last.until < finest => continue,
            Some(last) if is_same && stretch.from - last.until < finest => stretch.goes_on = true,
            Some(_) if is_short => continue,
            _ => {}
        }
        if stretch.row.is_some() || last.is_some() {
            stretches.push(stretch);
        }
    }
    stretches
}

/// Finds the places of what a task did.
pub fn bars(lane: &Lane, end: Nanos, x: impl Fn(Nanos) -> f64) -> Vec<Bar> {
    let mut known: Option<(Nanos, f64)> = None;
    let spans = lane.spans.iter().enumerate().map(|(at, span)| {
        let moment = span.until(end);
        // A span mostly begins where the one before it ended.
        let from = match known {
            Some((moment, place)) if moment == span.from => place,
            _ => x(span.from),
        };
        let until = x(moment);
        known = Some((moment, until));
        let mut share = [0.0; COUNT];
        // One without length counts where there is nothing else.
        share[look(span)] = (until - from).max(1e-6) as f32;
        Bar {
            share,
            from,
            until,
            spans: at..at + 1,
        }
    });
    merged(spans, NARROW_PX)
}

/// Neighbours that are narrower than `narrow` become one, which looks like what fills most of it.
fn merged(all: impl IntoIterator<Item = Bar>, narrow: f64) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    let mut crowd: Option<Bar> = None;
    for mut bar in all {
        let is_dead = bar.share[DEAD] > 0.0;
        let is_narrow = !is_dead && bar.until - bar.from < narrow;
        if let Some(mut open) = crowd.take() {
            if is_narrow && bar.from - open.until < narrow {
                for (sum, part) in open.share.iter_mut().zip(bar.share) {
                    *sum += part;
                }
                open.until = bar.until;
                open.spans.end = bar.spans.end;
                if open.until - open.from >= narrow {
                    bars.push(open);
                } else {
                    crowd = Some(open);
                }
                continue;
            }
            open.until = open.until.max(open.from + 0.7);
            bars.push(open);
        }
        if is_dead {
            bar.from = bar.from.min(bar.until - DEADLOCK_PX).max(0.0);
        }
        if is_narrow {
            crowd = Some(bar);
        } else {
            bars.push(bar);
        }
    }
    if let Some(mut open) = crowd {
        open.until = open.until.max(open.from + 1.0);
        bars.push(open);
    }
    bars
}

/// Finds the places of the locks that a task had, in one of so many rows.
pub fn holds<'a>(
    lane: &'a Lane,
    end: Nanos,
    x: impl Fn(Nanos) -> f64,
    rows: usize,
    detail: Detail,
) -> Vec<Held<'a>> {
    let all = lane.holds.iter().map(|hold| {
        let from = x(hold.from);
        // One that is too short to be seen is drawn as a dot.
        let until = x(hold.until.unwrap_or(end)).max(from + 0.7);
        Held {
            from,
            until,
            first: hold,
            first_until: until,
        }
    });
    together(all, rows, detail)
}

/// Those that are nearer to each other than can be told apart, as one. As many as bars, for all lanes together.
fn together<'a>(all: impl Iterator<Item = Held<'a>>, rows: usize, detail: Detail) -> Vec<Held<'a>> {
    let nearest = (detail.hold_px() * rows as f64).max(0.5);
    let mut holds: Vec<Held<'a>> = Vec::new();
    for hold in all {
        match holds.last_mut() {
            Some(last) if hold.from - last.until < nearest && hold.until - hold.from < nearest => {
                last.until = hold.until.max(last.until);
            }
            _ => holds.push(hold),
        }
    }
    holds
}
