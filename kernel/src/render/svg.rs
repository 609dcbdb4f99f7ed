//! The picture as HTML: shapes in an inline SVG, words in attributes laid over it, and a folded table.
//!
//! JupyterLab's sanitizer takes `<svg>` and `<style>` out of a notebook that is not trusted, and leaves every word that stood inside `<text>` and
//! `<title>` behind, run together. So there is no word in the SVG: labels are `data-t` attributes that the style sheet turns into text, hover texts are
//! `title` attributes of empty elements over the shapes. Where the style sheet is gone, so are they, and `.u`, which it hides, appears: the text form.
//! One file because what stands where is one question. Knows nothing of what the sentences say.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

use threadbook_timeline::fold::{Edge, EdgeKind, Lane, LaneEnd, Nanos, Object, Span, State};
use threadbook_timeline::format::{Cause, ObjectKind, Reason};

use super::axis::{Scale, duration};
use super::standalone::{Hover, Label};
use super::words::{LEFT_ALIVE, Words};
use super::{left_out, shown_lanes, table};

pub const WIDTH_PX: f64 = 940.0;
const PLOT_PX: f64 = 140.0;
const PLOT_END_PX: f64 = WIDTH_PX - 28.0;
const TOP_PX: f64 = 22.0;
const LANE_PX: f64 = 22.0;
const OBJECT_PX: f64 = 18.0;
/// Spans narrower than this are drawn as one with their neighbours.
const NARROW_PX: f64 = 1.5;
/// Changes of an object nearer to each other than this are drawn as one.
const FINEST_STEP_PX: f64 = 3.0;
const MOST_OBJECTS: usize = 8;
const MOST_WORKERS: usize = 8;
const MOST_RINGS: usize = 8;
/// A wait in vain is drawn at least as wide as that: the last one to join a deadlock waits for microseconds.
const DEADLOCK_PX: f64 = 9.0;
const MOST_EDGES: usize = 150;

/// The looks that a span can have: class, height in pixels, what the legend calls it. Colours are Okabe and Ito's; the pattern says it too.
const LOOKS: [(&str, f64, &str); 10] = [
    ("run", 10.0, "running"),
    ("comp", 14.0, "computing"),
    ("ready", 6.0, "ready, not running"),
    ("lock", 12.0, "waiting for a lock"),
    ("chan", 12.0, "waiting on a channel"),
    ("wait", 12.0, "waiting for others"),
    ("sleep", 2.0, "sleeping"),
    ("hold", 3.0, "holding a lock"),
    ("dead", 14.0, "waiting in vain: deadlock"),
    ("gone", 8.0, "not kept"),
];
const HOLD: usize = 7;
const DEAD: usize = 8;

/// `max-width` because JupyterLab shrinks a wide `<svg>` to a narrow pane, and the words laid over it would stay where they were.
const STYLE: &str = "\
ID{color:var(--jp-ui-font-color1,var(--vscode-editor-foreground,#222));font:12px/1.4 var(--jp-ui-font-family,system-ui,sans-serif)}\
ID .d{position:relative;width:WIDTHpx;height:HEIGHTpx;overflow:hidden}ID .x{overflow-x:auto}ID svg{position:absolute;left:0;top:0;width:WIDTHpx;height:HEIGHTpx;max-width:none}\
ID .u{display:none}ID b{position:absolute;font-weight:400;white-space:pre;line-height:14px;pointer-events:none}ID b::before,ID p::before{content:attr(data-t)}\
ID b.r{transform:translateX(-50%);font-size:10px;opacity:.75}ID b.w{font-size:10px;padding:0 3px;border-radius:2px;line-height:11px;background:var(--jp-layout-color0,var(--vscode-editor-background,#fff))}\
ID b.o{font-size:10px;opacity:.8}ID i{position:absolute}ID i:hover{outline:1.5px solid currentColor}ID p{margin:2px 0;font-size:11px;opacity:.85}ID p.a{margin-left:14px}\
ID .run,ID .comp{fill:#009e73}ID .ready{fill:#f0e442;stroke:#7a7300;stroke-width:.8}ID .sleep{fill:#999}ID .hold{fill:#e69f00}\
ID .lock{fill:url(#PRE-lock);stroke:#d55e00}ID .chan{fill:url(#PRE-chan);stroke:#0072b2}ID .wait{fill:url(#PRE-wait);stroke:#cc79a7}\
ID .gone{fill:none;stroke:currentColor;stroke-width:.8;stroke-dasharray:2 3;opacity:.6}ID .miss{fill:currentColor;opacity:.07}ID .dead{fill:url(#PRE-dead);stroke:currentColor;stroke-width:.8}ID .ring{stroke:#d55e00;stroke-width:2;fill:none}\
ID .grid{stroke:currentColor;opacity:.12}ID .life{stroke:currentColor;opacity:.3}ID .cap{fill:currentColor}ID .rag{stroke:currentColor;fill:none;stroke-width:1.3}ID .panic{stroke:#d55e00;stroke-width:2.4;fill:none}\
ID .e{fill:none;stroke-width:1.2}ID .spawn{stroke:#888}ID .message{stroke:#0072b2;stroke-width:1.5}ID .lck{stroke:#d55e00;stroke-dasharray:5 3;stroke-width:1.5}ID .wg{stroke:#b0508a;stroke-dasharray:1.5 2.5;stroke-width:1.7}ID .join{stroke:#b0508a;stroke-dasharray:1.5 2.5;stroke-width:1.7}\
ID .depth{fill:#56b4e9;opacity:.75}ID .held{fill:#e69f00;opacity:.55;stroke:#e69f00}\
ID details{font-size:11px}ID td,ID th{text-align:left;padding:1px 8px}";

/// Draws all of it; `detail` bounds how many spans, hover texts and table rows there are.
pub fn draw(words: &Words<'_>, axis: &Scale, id: &str, text: &str, detail: usize) -> String {
    Sheet::drawn(words, axis, id, detail).html(text, detail)
}

/// A picture under way: what is drawn so far.
pub struct Sheet<'a> {
    words: &'a Words<'a>,
    axis: &'a Scale,
    pub prefix: String,
    lanes: &'a [Lane],
    row: HashMap<u32, usize>,
    objects: Vec<&'a Object>,
    pub shapes: String,
    labels: String,
    hovers: Vec<(f64, String)>,
    pub placed: Vec<Label>,
    pub areas: Vec<Hover>,
    looks: BTreeSet<usize>,
    edge_kinds: BTreeSet<EdgeKind>,
    has_rings: bool,
    arrows_left_out: usize,
    pub bottom: f64,
}

impl<'a> Sheet<'a> {
    /// A whole picture, not yet as HTML.
    pub fn drawn(words: &'a Words<'a>, axis: &'a Scale, id: &str, detail: usize) -> Sheet<'a> {
        let id: String = id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
            .collect();
        let mut sheet = Sheet::new(words, axis, format!("tb-{id}"));
        sheet.grid();
        sheet.gap();
        sheet.edges();
        sheet.rings();
        sheet.lanes(detail);
        sheet.objects();
        sheet.legend();
        sheet
    }

    fn new(words: &'a Words<'a>, axis: &'a Scale, prefix: String) -> Sheet<'a> {
        let lanes = shown_lanes(words.timeline);
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
        let objects: Vec<&Object> = words
            .timeline
            .objects
            .iter()
            .filter(counted)
            .take(MOST_OBJECTS)
            .collect();
        Sheet {
            words,
            axis,
            prefix,
            lanes,
            row: lanes
                .iter()
                .enumerate()
                .map(|(row, lane)| (lane.task, row))
                .collect(),
            bottom: TOP_PX + LANE_PX * lanes.len() as f64,
            objects,
            shapes: String::new(),
            labels: String::new(),
            hovers: Vec::new(),
            placed: Vec::new(),
            areas: Vec::new(),
            looks: BTreeSet::new(),
            edge_kinds: BTreeSet::new(),
            has_rings: false,
            arrows_left_out: 0,
        }
    }

    fn x(&self, at: Nanos) -> f64 {
        PLOT_PX + self.axis.place(at) * (PLOT_END_PX - PLOT_PX)
    }

    /// The middle of a lane.
    fn y(&self, row: usize) -> f64 {
        TOP_PX + LANE_PX * (row as f64 + 0.5)
    }

    fn label(&mut self, class: &'static str, x: f64, y: f64, text: &str) {
        self.placed.push(Label {
            class,
            x,
            y,
            text: text.to_owned(),
        });
        let class = if class.is_empty() {
            String::new()
        } else {
            format!(" class=\"{class}\"")
        };
        _ = write!(
            self.labels,
            "<b{class} style=\"left:{x:.0}px;top:{y:.0}px\" data-t=\"{}\"></b>",
            escaped(text)
        );
    }

    fn hover(&mut self, (x, y, width, height): (f64, f64, f64, f64), weight: f64, text: &str) {
        let (x, width) = if width < 4.0 {
            (x - (4.0 - width) / 2.0, 4.0)
        } else {
            (x, width)
        };
        self.areas.push(Hover {
            area: (x, y, width, height),
            weight,
            text: text.to_owned(),
        });
        let place = format!("left:{x:.0}px;top:{y:.0}px;width:{width:.0}px;height:{height:.0}px");
        self.hovers.push((
            weight,
            format!("<i style=\"{place}\" title=\"{}\"></i>", escaped(text)),
        ));
    }

    fn grid(&mut self) {
        let bottom = self.bottom;
        let mut path = String::new();
        for (place, text) in self.axis.ticks() {
            let x = PLOT_PX + place * (PLOT_END_PX - PLOT_PX);
            _ = write!(path, "M{x:.1} {:.0}V{bottom:.0}", TOP_PX - 4.0);
            self.label("r", x, 2.0, &text);
        }
        _ = write!(self.shapes, "<path class=\"grid\" d=\"{path}\"/>");
        if self.axis.counts_steps() {
            self.label("o", 0.0, 2.0, "steps, not time");
        }
    }

    /// A band over the time of which not all was kept.
    fn gap(&mut self) {
        let Some((from, until)) = self.words.timeline.gap else {
            return;
        };
        let (from, until) = (self.x(from), self.x(until));
        let (top, width) = (TOP_PX - 4.0, (until - from).max(1.0));
        let height = self.bottom - top;
        _ = write!(
            self.shapes,
            "<path class=\"miss\" d=\"M{from:.1} {top:.0}h{width:.1}v{height:.0}h-{width:.1}z\"/>"
        );
        let told = self.words.missing().unwrap_or_default();
        self.hover((from, top, width, 6.0), 1500.0, &told);
        if width > 80.0 {
            self.label("o", from + 4.0, TOP_PX - 8.0, "not all was kept");
        }
    }

    fn lanes(&mut self, detail: usize) {
        let lanes = self.lanes;
        let mut narrow = NARROW_PX;
        let drawn = loop {
            let drawn: Vec<Vec<(usize, f64, f64)>> =
                lanes.iter().map(|lane| self.bars(lane, narrow)).collect();
            if drawn.iter().map(Vec::len).sum::<usize>() <= detail.max(2 * lanes.len())
                || narrow > 100.0
            {
                break drawn;
            }
            narrow *= 1.5;
        };
        let mut paths: HashMap<usize, String> = HashMap::new();
        let mut life = String::new();
        for (row, (lane, bars)) in lanes.iter().zip(drawn).enumerate() {
            let y = self.y(row);
            let depth = std::iter::successors(lane.parent, |parent| {
                self.words.timeline.lane(*parent)?.parent
            })
            .take(6)
            .count() as f64;
            self.label(
                "",
                4.0 + 9.0 * depth,
                y - 8.0,
                &shortened(&lane.name, 17 - depth as usize),
            );
            let (from, until) = (
                self.x(lane.spawned),
                self.x(lane.ended.unwrap_or(self.words.timeline.end)),
            );
            _ = write!(life, "M{from:.1} {y:.0}H{until:.1}");
            for (look, from, until) in bars {
                let height = LOOKS[look].1;
                let path = paths.entry(look).or_default();
                _ = write!(
                    path,
                    "M{from:.1} {:.0}h{:.1}v{height:.0}h-{1:.1}z",
                    y - height / 2.0,
                    until - from
                );
            }
            let mut held_until = 0.0;
            for hold in &lane.holds {
                let (from, until) = (
                    self.x(hold.from),
                    self.x(hold.until.unwrap_or(self.words.timeline.end)),
                );
                // A hold that is too short to be seen is drawn as a dot, and of those that fall on one place, one.
                let until = until.max(from + 0.7);
                if until > held_until + 0.5 {
                    held_until = until;
                    let path = paths.entry(HOLD).or_default();
                    _ = write!(
                        path,
                        "M{from:.1} {:.0}h{:.1}v3h-{1:.1}z",
                        y + 7.0,
                        until - from
                    );
                    let long = duration(Nanos(
                        hold.until.unwrap_or(self.words.timeline.end).0 - hold.from.0,
                    ));
                    let told = format!(
                        "{} held {} for {long}{}{}",
                        lane.name,
                        self.words.object(hold.object),
                        if hold.shared { ", to read" } else { "" },
                        self.words.place(hold.site)
                    );
                    self.hover(
                        (from, y + 6.0, until - from, 5.0),
                        0.5 * (until - from),
                        &told,
                    );
                }
            }
            for span in &lane.spans {
                self.span_words(lane, span, y);
            }
            self.marks(lane, y);
            self.end(lane, y, until);
        }
        let mut shapes = format!("<path class=\"life\" d=\"{life}\"/>");
        for (look, (class, ..)) in LOOKS.iter().enumerate() {
            if let Some(path) = paths.get(&look) {
                self.looks.insert(look);
                _ = write!(shapes, "<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
        // Edges lie above the bars: they were drawn first, and are put last.
        let edges = std::mem::replace(&mut self.shapes, shapes);
        self.shapes += &edges;
        if let Some(more) = left_out(self.words.timeline) {
            self.bottom += 18.0;
            self.label(
                "o",
                4.0,
                self.bottom - 16.0,
                &format!("{more} more tasks are left out"),
            );
        }
    }

    /// The bars of a lane; neighbours that are narrower than `narrow` become one, which looks like what fills most of it.
    fn bars(&self, lane: &Lane, narrow: f64) -> Vec<(usize, f64, f64)> {
        let mut bars: Vec<(usize, f64, f64)> = Vec::new();
        let mut crowd: Option<(f64, [f64; LOOKS.len()])> = None;
        for span in &lane.spans {
            let (from, until) = (
                self.x(span.from),
                self.x(span.until(self.words.timeline.end)),
            );
            let look = look(span);
            match &mut crowd {
                None if look == DEAD => bars.push((look, from, until)),
                None if until - from >= narrow => bars.push((look, from, until)),
                None => {
                    let mut share = [0.0; LOOKS.len()];
                    share[look] = until - from;
                    crowd = Some((from, share));
                }
                Some((since, share)) => {
                    share[look] += until - from;
                    if look == DEAD {
                        bars.push((most(share), *since, from));
                        bars.push((look, from, until));
                        crowd = None;
                    } else if until - *since >= narrow {
                        bars.push((most(share), *since, until));
                        crowd = None;
                    }
                }
            }
        }
        if let Some((since, share)) = crowd {
            bars.push((most(&share), since, since + 1.0));
        }
        for (look, from, until) in &mut bars {
            if *look == DEAD {
                *from = from.min(*until - DEADLOCK_PX).max(PLOT_PX);
            }
        }
        bars
    }

    /// What a span says on hover, and, where there is room, in it.
    fn span_words(&mut self, lane: &Lane, span: &Span, y: f64) {
        let (from, until) = (
            self.x(span.from),
            self.x(span.until(self.words.timeline.end)),
        );
        let waits = matches!(span.state, State::Blocked { .. });
        if until - from < 0.4 && !waits {
            return;
        }
        // Waits are what the picture is for: when there is room for few hover texts, for theirs.
        let weight = (until - from) + if waits { 1000.0 } else { 0.0 };
        self.hover(
            (from, y - 9.0, until - from, 16.0),
            weight,
            &self.words.span(lane, span),
        );
        if let State::Blocked { reason, object } = span.state {
            let text = match reason {
                Reason::Join => format!("for {}", self.words.task(object)),
                Reason::Scope => "for its scope".into(),
                Reason::Select => "for the first of several".into(),
                _ => format!(
                    "for {}",
                    self.words
                        .timeline
                        .object(object)
                        .map_or("", |object| &object.name)
                ),
            };
            if until - from > 6.0 * text.chars().count() as f64 + 14.0 {
                self.label("w", from + 4.0, y - 6.0, &text);
            }
        }
    }

    fn marks(&mut self, lane: &Lane, y: f64) {
        for mark in lane.marks.iter().take(20) {
            let x = self.x(mark.at);
            _ = write!(
                self.shapes,
                "<path class=\"cap\" d=\"M{x:.1} {:.0}l4 -6h-8z\"/>",
                y - 4.0
            );
            self.hover(
                (x - 4.0, y - 11.0, 8.0, 8.0),
                900.0,
                &format!("{}: {}", lane.name, mark.text),
            );
        }
        for region in lane.regions.iter().take(20) {
            let (from, until) = (
                self.x(region.from),
                self.x(region.until.unwrap_or(self.words.timeline.end)),
            );
            _ = write!(
                self.shapes,
                "<path class=\"rag\" d=\"M{from:.1} {:.0}v-3H{until:.1}v3\"/>",
                y - 6.0
            );
            self.hover(
                (from, y - 11.0, until - from, 4.0),
                800.0,
                &format!("{}: {}", lane.name, region.text),
            );
        }
    }

    /// A dot: done. A cross: panicked. A ragged line: it goes on, nobody knows how, or, with a cross behind it, a deadlock ended it. Scissors: cut off.
    fn end(&mut self, lane: &Lane, y: f64, x: f64) {
        match lane.end {
            LaneEnd::Done => {
                _ = write!(
                    self.shapes,
                    "<circle class=\"cap\" cx=\"{:.1}\" cy=\"{y:.0}\" r=\"3.5\"/>",
                    x + 2.0
                );
            }
            LaneEnd::Panicked(_) => {
                _ = write!(
                    self.shapes,
                    "<path class=\"panic\" d=\"M{:.1} {:.0}l9 9m0-9l-9 9\"/>",
                    x + 1.0,
                    y - 4.5
                );
            }
            LaneEnd::Cut(Cause::Deadlock) => {
                _ = write!(
                    self.shapes,
                    "<path class=\"rag\" d=\"M{x:.1} {:.0}l4 3.5l-4 3.5l4 3.5l-4 3.5m7-10l6 6m0-6l-6 6\"/>",
                    y - 7.0
                );
            }
            LaneEnd::Cut(Cause::Program | Cause::Interrupt) => {
                // Two blades that cross on the lane, and two rings to hold them by.
                _ = write!(
                    self.shapes,
                    "<path class=\"rag\" d=\"M{:.1} {:.1}l9 6m0-6l-9 6\"/><circle class=\"rag\" cx=\"{:.1}\" cy=\"{2:.1}\" r=\"2\"/><circle class=\"rag\" cx=\"{2:.1}\" cy=\"{:.1}\" r=\"2\"/>",
                    x + 1.0,
                    y - 3.0,
                    x + 11.5,
                    y + 4.0,
                );
            }
            // The bar that is drawn up to here says so.
            LaneEnd::Unknown => {}
            LaneEnd::Alive => {
                _ = write!(
                    self.shapes,
                    "<path class=\"rag\" d=\"M{x:.1} {:.0}l4 3.5l-4 3.5l4 3.5l-4 3.5m8-7h2m3 0h2m3 0h2\"/>",
                    y - 7.0
                );
            }
        }
        self.hover(
            (x - 1.0, y - 7.0, 14.0, 14.0),
            950.0,
            &format!("{}: {}", lane.name, self.words.end(lane)),
        );
    }

    /// All edges when there are few, else those that ended a wait or made a task.
    fn edges(&mut self) {
        let all = &self.words.timeline.edges;
        let told = |edge: &&Edge| {
            all.len() <= MOST_EDGES || edge.ended_wait || edge.kind == EdgeKind::Spawn
        };
        let mut paths: HashMap<EdgeKind, String> = HashMap::new();
        let shown = all.iter().filter(told).count().min(MOST_EDGES);
        self.arrows_left_out = all.len() - shown;
        for edge in all.iter().filter(told).take(MOST_EDGES) {
            let (Some(&from), Some(&to)) = (self.row.get(&edge.from), self.row.get(&edge.to))
            else {
                continue;
            };
            if from == to {
                continue;
            }
            let (x, y, to_x) = (self.x(edge.left), self.y(from), self.x(edge.reached));
            // From rim to rim of the bars, so that the arrow's head lies on none of them.
            let down = if to > from { 1.0 } else { -1.0 };
            let (y, to_y) = (y + 7.0 * down, self.y(to) - 8.0 * down);
            _ = write!(
                paths.entry(edge.kind).or_default(),
                "M{x:.1} {y:.0}L{to_x:.1} {to_y:.0}{}",
                head(to_x - x, to_y - y)
            );
            self.edge_kinds.insert(edge.kind);
            let (from, to) = (self.words.task(edge.from), self.words.task(edge.to));
            let object = self.words.object(edge.object);
            let sentence = match edge.kind {
                EdgeKind::Spawn => format!("{from} made {to}"),
                EdgeKind::Message => {
                    format!("message {} on {object}: from {from} to {to}", edge.seq)
                }
                EdgeKind::Lock => format!("{from} gave {object} back; {to} got it"),
                EdgeKind::Wait => format!("{from} was the last on {object}; {to} went on"),
                EdgeKind::Join => format!("{from} ended; {to} had its result"),
                EdgeKind::Notify => format!("{from} notified {object}; {to} went on"),
                EdgeKind::Barrier => {
                    format!("{from} was the last to come to {object}; {to} went on")
                }
                EdgeKind::Once => format!("{from} filled {object}; {to} went on"),
            };
            self.hover((to_x - 4.0, to_y - 4.0, 8.0, 8.0), 700.0, &sentence);
        }
        for kind in self.edge_kinds.clone() {
            _ = write!(
                self.shapes,
                "<path class=\"e {}\" d=\"{}\"/>",
                class_of(kind),
                paths[&kind]
            );
        }
    }

    /// Tasks that wait for each other: an arrow from each to the next, those downwards bent to one side and those upwards to the other, so that it looks
    /// like the ring that it is.
    fn rings(&mut self) {
        let rings = &self.words.timeline.rings;
        let mut path = String::new();
        for ring in rings.iter().take(MOST_RINGS) {
            let x = self.x(ring.at);
            for (place, &task) in ring.tasks.iter().enumerate() {
                let next = ring.tasks[(place + 1) % ring.tasks.len()];
                let (Some(&from), Some(&to)) = (self.row.get(&task), self.row.get(&next)) else {
                    continue;
                };
                let (y, to_y) = (self.y(from), self.y(to));
                if from == to {
                    _ = write!(
                        path,
                        "M{x:.1} {:.0}c26 -8 26 20 2 12{}",
                        y - 6.0,
                        head(-24.0, -8.0)
                    );
                } else {
                    let side = if to > from { 1.0 } else { -1.0 };
                    let bend = side * (26.0 + 3.0 * from.abs_diff(to).min(8) as f64);
                    let (y, to_y) = (y + 1.0 * side, to_y - 3.0 * side);
                    let middle = f64::midpoint(y, to_y);
                    _ = write!(
                        path,
                        "M{x:.1} {y:.0}Q{:.1} {middle:.0} {x:.1} {to_y:.0}{}",
                        x + bend,
                        head(-bend, to_y - middle)
                    );
                }
                let waits = self.words.timeline.lane(task).and_then(|lane| {
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
                    if from == to {
                        "itself"
                    } else {
                        self.words.task(next)
                    }
                );
                self.hover((x - 4.0, to_y - 4.0, 8.0, 8.0), 1900.0, &sentence);
            }
        }
        if !path.is_empty() {
            self.has_rings = true;
            _ = write!(self.shapes, "<path class=\"ring\" d=\"{path}\"/>");
        }
    }

    /// A thin lane per object: a queue's depth, a wait group's counter, a lock's holder. And per worker: whom it carries.
    fn objects(&mut self) {
        self.bottom += 4.0;
        for lane in self.words.timeline.workers.iter().take(MOST_WORKERS) {
            let (top, base) = (self.bottom, self.bottom + OBJECT_PX - 3.0);
            self.label("o", 4.0, top, &format!("worker {} carries", lane.worker));
            let mut path = String::new();
            let (mut drawn_until, mut named_until) = (0.0, 0.0);
            for slice in &lane.slices {
                let until = slice.until.unwrap_or(self.words.timeline.end);
                let (from, until) = (self.x(slice.from), self.x(until));
                // What is too short to be seen is drawn as a line, and of those that fall on one place, one.
                if until.max(from + 0.7) > drawn_until + 0.5 {
                    drawn_until = until.max(from + 0.7);
                    _ = write!(path, "M{from:.1} {base:.0}v-13H{drawn_until:.1}v13z");
                }
                let name = self.words.task(slice.task).to_owned();
                let room = 6.0 * name.chars().count() as f64 + 4.0;
                if until - from > room && from > named_until {
                    self.label("o", from + 3.0, top + 1.0, &name);
                    named_until = from + room;
                }
            }
            _ = write!(
                self.shapes,
                "<path class=\"held\" d=\"{path}\"/><path class=\"grid\" d=\"M{PLOT_PX} {base:.0}H{PLOT_END_PX}\"/>"
            );
            self.bottom += OBJECT_PX;
        }
        for object in self.objects.clone() {
            let (top, base) = (self.bottom, self.bottom + OBJECT_PX - 3.0);
            let what = match object.kind {
                ObjectKind::Channel => "queue",
                ObjectKind::Mutex => "holder",
                ObjectKind::RwLock => "holders",
                ObjectKind::Cell => "value",
                _ => "count",
            };
            let name = shortened(&object.name, 14);
            self.label("o", 4.0, top, &format!("{name} {what}"));
            let highest = f64::from(
                object
                    .counter
                    .iter()
                    .map(|change| change.1)
                    .max()
                    .unwrap_or(0)
                    .max(1),
            );
            let mut path = String::new();
            let mut drawn_until = 0.0;
            for (from, until, value) in self.steps_of(object) {
                let height = if object.kind == ObjectKind::Mutex {
                    f64::from(u8::from(value > 0)) * 13.0
                } else {
                    13.0 * f64::from(value) / highest
                };
                if height > 0.0 {
                    _ = write!(
                        path,
                        "M{from:.1} {base:.0}v-{height:.1}H{until:.1}V{base:.0}z"
                    );
                }
                let text = if object.kind == ObjectKind::Mutex {
                    if value > 0 {
                        self.words.task(value).to_owned()
                    } else {
                        String::new()
                    }
                } else {
                    value.to_string()
                };
                let room = 6.0 * text.chars().count() as f64 + 4.0;
                if !text.is_empty() && until - from > room && from > drawn_until {
                    self.label("o", from + 3.0, top + 1.0, &text);
                    drawn_until = from + room;
                }
            }
            let class = if object.kind == ObjectKind::Mutex {
                "held"
            } else {
                "depth"
            };
            _ = write!(
                self.shapes,
                "<path class=\"{class}\" d=\"{path}\"/><path class=\"grid\" d=\"M{PLOT_PX} {base:.0}H{PLOT_END_PX}\"/>"
            );
            self.bottom += OBJECT_PX;
        }
    }

    /// What an object's lane shows: from, until, value. Where more changes than can be told apart, the highest value of each stretch of pixels; a lock
    /// that changes hands within a stretch shows as held there, and by whom it ends.
    fn steps_of(&self, object: &Object) -> Vec<(f64, f64, u32)> {
        let end = self.words.timeline.end;
        let mut steps: Vec<(f64, f64, u32)> = Vec::new();
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
                Some(last) if last.1 - last.0 < FINEST_STEP_PX && until - from < FINEST_STEP_PX => {
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

    /// What the marks mean, for those that occur.
    fn legend(&mut self) {
        let mut x = 4.0;
        let mut y = self.bottom + 14.0;
        let spans: Vec<(String, &str)> = self
            .looks
            .iter()
            .map(|look| {
                let (class, height, words) = LOOKS[*look];
                (
                    format!(
                        "<path class=\"{class}\" d=\"M0 {:.1}h18v{height}h-18z\"/>",
                        -height / 2.0
                    ),
                    words,
                )
            })
            .collect();
        let edges = self.edge_kinds.clone().into_iter().map(|kind| {
            let words = match kind {
                EdgeKind::Spawn => "made",
                EdgeKind::Message => "message",
                EdgeKind::Lock => "lock handed on",
                EdgeKind::Wait => "counter at zero",
                EdgeKind::Join => "ended, joined",
                EdgeKind::Notify => "notified",
                EdgeKind::Barrier => "last at the barrier",
                EdgeKind::Once => "filled",
            };
            (
                format!(
                    "<path class=\"e {}\" d=\"M0 0H18{}\"/>",
                    class_of(kind),
                    head(18.0, 0.0)
                ),
                words,
            )
        });
        let ring = self.has_rings.then(|| {
            let shape = format!("<path class=\"ring\" d=\"M0 0H18{}\"/>", head(18.0, 0.0));
            (shape, "waits for, in a ring")
        });
        for (shape, words) in spans.into_iter().chain(edges).chain(ring) {
            let width = 26.0 + 6.0 * words.len() as f64 + 12.0;
            if x + width > WIDTH_PX {
                (x, y) = (4.0, y + 17.0);
            }
            _ = write!(
                self.shapes,
                "<g transform=\"translate({x:.0} {y:.0})\">{shape}</g>"
            );
            self.label("o", x + 24.0, y - 7.0, words);
            x += width;
        }
        self.bottom = y + 10.0;
    }

    /// The style sheet of this picture alone.
    pub fn style(&self) -> String {
        // The lengths first: there is an `ID` in `WIDTH`.
        STYLE
            .replace("WIDTH", &WIDTH_PX.to_string())
            .replace("HEIGHT", &self.bottom.ceil().to_string())
            .replace("ID", &format!("#{}", self.prefix))
            .replace("PRE", &self.prefix)
    }

    /// The textures.
    pub fn patterns(&self) -> String {
        let prefix = &self.prefix;
        format!(
            "<defs><pattern id=\"{prefix}-lock\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"6\" height=\"6\" fill=\"#d55e00\" opacity=\".22\"/><rect width=\"2.4\" height=\"6\" fill=\"#d55e00\"/></pattern>\
             <pattern id=\"{prefix}-chan\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\"><rect width=\"6\" height=\"6\" fill=\"#0072b2\" opacity=\".18\"/><circle cx=\"3\" cy=\"3\" r=\"1.5\" fill=\"#0072b2\"/></pattern>\
             <pattern id=\"{prefix}-wait\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\"><rect width=\"5\" height=\"5\" fill=\"#cc79a7\" opacity=\".25\"/><rect width=\"2\" height=\"5\" fill=\"#cc79a7\"/></pattern>\
             <pattern id=\"{prefix}-dead\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\"><rect width=\"7\" height=\"7\" fill=\"#000\"/><path d=\"M1.5 1.5l4 4m0-4l-4 4\" stroke=\"#fff\" stroke-width=\"1.1\"/></pattern></defs>"
        )
    }

    fn html(mut self, text: &str, detail: usize) -> String {
        let height = self.bottom.ceil();
        let (style, patterns) = (self.style(), self.patterns());
        // The heaviest stay; a small one lies above a large one, where the mouse finds it.
        self.hovers.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.hovers.truncate(detail);
        let hovers: String = std::mem::take(&mut self.hovers)
            .into_iter()
            .map(|(_, hover)| hover)
            .collect();
        let prefix = &self.prefix;
        let mut footer = self.words.footer();
        if self.arrows_left_out > 0 {
            _ = write!(
                footer,
                " · {} more arrows are left out",
                self.arrows_left_out
            );
        }
        let mut alive = String::new();
        for (at, sentence) in self.words.left_alive().iter().enumerate() {
            if at == 0 {
                _ = write!(alive, "<p data-t=\"{LEFT_ALIVE}\"></p>");
            }
            _ = write!(
                alive,
                "<p class=\"a\" data-t=\"{}\"></p>",
                escaped(sentence)
            );
        }
        format!(
            "<div id=\"{prefix}\"><style>{style}</style>\
             <div class=\"u\">The drawing shows once this notebook is trusted (File, Trust Notebook). The same as text:<pre>{}</pre></div>\
             <div class=\"x\"><div class=\"d\"><svg role=\"img\" aria-label=\"{}\" width=\"{WIDTH_PX}\" height=\"{height}\" viewBox=\"0 0 {WIDTH_PX} {height}\" xmlns=\"http://www.w3.org/2000/svg\">{patterns}{}</svg>{hovers}{}</div></div>\
             <p data-t=\"{}\"></p>{alive}{}</div>",
            escaped(text),
            escaped(&self.words.label()),
            self.shapes,
            self.labels,
            escaped(&footer),
            table::html(
                self.words,
                &self.lanes.iter().collect::<Vec<_>>(),
                detail / 3,
                false
            ),
        )
    }
}

fn look(span: &Span) -> usize {
    match span.state {
        _ if span.deadlocked.is_some() => DEAD,
        State::Running => 0,
        State::Computing => 1,
        State::Ready => 2,
        State::Blocked { reason, .. } => match reason {
            Reason::Lock | Reason::Read | Reason::Write => 3,
            Reason::Send | Reason::Recv | Reason::Select => 4,
            _ => 5,
        },
        State::Sleeping => 6,
        State::Unknown => 9,
    }
}

fn most(share: &[f64; LOOKS.len()]) -> usize {
    (0..share.len())
        .max_by(|a, b| share[*a].total_cmp(&share[*b]))
        .unwrap_or(0)
}

fn class_of(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Spawn => "spawn",
        EdgeKind::Message => "message",
        EdgeKind::Lock => "lck",
        EdgeKind::Wait | EdgeKind::Notify | EdgeKind::Barrier | EdgeKind::Once => "wg",
        EdgeKind::Join => "join",
    }
}

/// The head of an arrow that goes by (`dx`, `dy`) and ends where the path stands.
fn head(dx: f64, dy: f64) -> String {
    let length = dx.hypot(dy).max(0.001);
    let (x, y) = (dx / length * 5.0, dy / length * 5.0);
    let (a, b) = ((-x - y * 0.6, -y + x * 0.6), (-x + y * 0.6, -y - x * 0.6));
    format!(
        "l{:.1} {:.1}m{:.1} {:.1}l{:.1} {:.1}",
        a.0, a.1, -a.0, -a.1, b.0, b.1
    )
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        name.to_owned()
    } else {
        name.chars().take(most - 1).chain(['…']).collect()
    }
}

/// Text as it may stand in an attribute or between tags. Control characters, which no XML may hold, become blanks.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\n' => safe.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
