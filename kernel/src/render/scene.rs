//! What stands where in a picture: shapes in the words of SVG, labels, and what to say where the mouse is. How that becomes HTML or a file of its own is
//! not decided here.
//!
//! There are two views of the same rows, by time and by steps; all that does not depend on the axis is in both at the same height. Places across are from
//! 0 to [`PLOT_PX`], places down in pixels.

mod edges;
mod groups;
mod lanes;
mod legend;
mod objects;
mod placed;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

pub use placed::Placed;

use threadbook_timeline::fold::{EdgeKind, Hold, Lane, Nanos, Object};

use super::axis::{Scale, duration, in_steps};
use super::rows::{Row, Rows};
use super::words::{Words, thousands};

/// How wide the plot is meant to be. Together with names and tail it fits into JupyterLab's pane in a window of 1,300 pixels, which is 868 wide.
pub const PLOT_PX: f64 = 700.0;
/// How wide the column of names is.
pub const NAMES_PX: f64 = 132.0;
/// How much room there is behind the plot, for how tasks ended.
pub const TAIL_PX: f64 = 26.0;
const _: () = assert!(NAMES_PX + PLOT_PX + TAIL_PX <= 868.0);
const TOP_PX: f64 = 22.0;
const LANE_PX: f64 = 22.0;
const OBJECT_PX: f64 = 18.0;
/// How wide a character of a small label is, about.
const LETTER_PX: f64 = 6.0;

/// A picture before it is HTML or SVG.
pub struct Scene {
    /// How high the plot is.
    pub height: f64,
    /// What stands before the rows.
    pub names: Vec<Label>,
    /// By time and by steps, or one of them.
    pub views: Vec<View>,
    /// What the marks mean, for those that occur.
    pub legend: Vec<Sample>,
}

/// How many arrows there are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Arrows {
    /// In the view.
    pub drawn: usize,
    /// As many as there would be, were there room for all.
    pub all: usize,
}

/// One view of the rows.
#[derive(Default)]
pub struct View {
    /// How many steps its axis counts; `None` where that is time.
    pub steps: Option<u64>,
    /// How many of the arrows are drawn.
    pub arrows: Arrows,
    /// Paths and circles.
    pub shapes: String,
    /// What stands in the plot.
    pub labels: Vec<Label>,
    /// What is said where the mouse is, the largest areas first.
    pub hovers: Vec<Hover>,
}

/// A few words at a place.
pub struct Label {
    /// How it is set: `""`, `r` (centred), `w` (on a bar), `o` (small).
    pub class: &'static str,
    /// Its left side, or its middle.
    pub x: f64,
    /// Its upper side.
    pub y: f64,
    /// How wide it may be, where something else stands behind it.
    pub room: Option<f64>,
    /// What it says.
    pub text: String,
}

/// What is said of an area.
pub struct Hover {
    /// From the left, from above, width, height.
    pub area: (f64, f64, f64, f64),
    /// What is said.
    pub text: String,
}

/// One entry of the legend.
pub struct Sample {
    /// A shape 18 wide, its middle at height 0.
    pub shape: String,
    /// What it means.
    pub words: &'static str,
}

/// How much of it there may be.
#[derive(Clone, Copy)]
pub struct Detail(pub usize);

/// So many bars are drawn also where there is room for fewer hover texts: one takes 30 bytes and a hover text 150, and what is drawn as one with its
/// neighbours looks like something that was not so.
const FEWEST_BARS: usize = 240;
/// The same of the locks that tasks had, of changes of objects, and of arrows.
const FEWEST_HOLDS: usize = 120;
const FEWEST_CHANGES: usize = 60;
const FEWEST_ARROWS: usize = 60;

impl Detail {
    /// How wide a part of the plot is, of as many as there may be.
    fn part_px(self) -> f64 {
        PLOT_PX / self.0.max(1) as f64
    }

    /// The same for locks that are held.
    fn hold_px(self) -> f64 {
        PLOT_PX / self.at_least(FEWEST_HOLDS).max(1) as f64
    }

    /// The same for changes of objects.
    fn change_px(self) -> f64 {
        PLOT_PX / self.at_least(FEWEST_CHANGES).max(1) as f64
    }

    /// How many bars there may be.
    fn bars(self) -> usize {
        self.at_least(FEWEST_BARS)
    }

    /// How many arrows there may be.
    fn arrows(self) -> usize {
        self.at_least(FEWEST_ARROWS)
    }

    /// So many; fewer only where there is room for hardly anything.
    fn at_least(self, fewest: usize) -> usize {
        self.0.max(fewest.min(self.0 * fewest / 16))
    }
}

impl Scene {
    /// What is to be said below of the axes and of what is not drawn. `end` is how long it took.
    pub fn notes(&self, end: Nanos) -> Vec<String> {
        let long = duration(end);
        let steps = self.views.iter().find_map(|view| view.steps);
        let mut notes = vec![match (steps, self.views.len()) {
            (None, _) => format!("{long} in all"),
            (Some(count), 1) => format!("{}, not by time; {long} in all", in_steps(count)),
            (Some(count), _) => format!("{long} in all, or {}", in_steps(count)),
        }];
        let drawn = |view: &View| match view.arrows.drawn {
            0 => "none".to_owned(),
            drawn => thousands(drawn as u64),
        };
        let all = self.views.iter().map(|view| view.arrows.all).max();
        let is_less = |view: &View| view.arrows.drawn < view.arrows.all;
        if let Some(all) = all.filter(|_| self.views.iter().any(is_less)) {
            let all = thousands(all as u64);
            notes.push(match self.views.as_slice() {
                [one, other] if one.arrows != other.arrows => {
                    let (time, steps) = if one.steps.is_some() {
                        (other, one)
                    } else {
                        (one, other)
                    };
                    format!(
                        "of {all} arrows, {} are drawn by time and {} by steps",
                        drawn(time),
                        drawn(steps)
                    )
                }
                views => {
                    let drawn = views.first().map(drawn).unwrap_or_default();
                    let verb = if drawn == "1" || drawn == "none" {
                        "is"
                    } else {
                        "are"
                    };
                    format!("of {all} arrows, {drawn} {verb} drawn")
                }
            });
        }
        notes
    }
}

/// Lays out all of it, by one axis or by two.
pub fn scene<'a>(
    words: &'a Words<'a>,
    rows: &'a Rows<'a>,
    axes: &[Placed<'a>],
    detail: Detail,
) -> Scene {
    let mut legend = legend::Occurs::default();
    let mut scene = Scene {
        height: 0.0,
        names: Vec::new(),
        views: Vec::new(),
        legend: Vec::new(),
    };
    for axis in axes {
        let mut sheet = Sheet::new(words, rows, axis.scale, detail);
        sheet.grid();
        sheet.gap();
        sheet.edges(&axis.edges);
        sheet.rings();
        sheet.rows(axis);
        sheet.workers(&axis.workers);
        sheet.objects(&axis.objects);
        legend.add(&sheet.occurs);
        scene.height = sheet.bottom.ceil();
        let (names, view) = sheet.done();
        scene.names = names;
        scene.views.push(view);
    }
    scene.legend = legend.samples();
    scene
}

/// A view while it is drawn.
struct Sheet<'a> {
    words: &'a Words<'a>,
    rows: &'a Rows<'a>,
    scale: &'a Scale,
    detail: Detail,
    /// The upper side of each row.
    tops: Vec<f64>,
    shapes: String,
    names: Vec<Label>,
    labels: Vec<Label>,
    /// What could be said, and how much it matters.
    sayings: Vec<(f64, Area, Saying<'a>)>,
    occurs: legend::Occurs,
    arrows: Arrows,
    bottom: f64,
}

/// Left, upper side, width and height, in pixels.
type Area = (f64, f64, f64, f64);

/// What could be said of an area. Most of it is never said, since only so many hovers fit.
enum Saying<'a> {
    Spans(&'a Lane, std::ops::Range<usize>),
    Hold(&'a Lane, &'a Hold),
    Text(String),
}

impl<'a> Sheet<'a> {
    fn new(
        words: &'a Words<'a>,
        rows: &'a Rows<'a>,
        scale: &'a Scale,
        detail: Detail,
    ) -> Sheet<'a> {
        let mut bottom = TOP_PX;
        let mut tops = Vec::with_capacity(rows.all.len());
        for row in &rows.all {
            tops.push(bottom);
            bottom += match row {
                Row::Lane(_) => LANE_PX,
                Row::Group(group) => groups::height(group, rows.is_crowd),
            };
        }
        Sheet {
            words,
            rows,
            scale,
            detail,
            tops,
            shapes: String::new(),
            names: Vec::new(),
            labels: Vec::new(),
            sayings: Vec::new(),
            occurs: legend::Occurs::default(),
            arrows: Arrows::default(),
            bottom,
        }
    }

    fn x(&self, at: Nanos) -> f64 {
        self.scale.place(at) * PLOT_PX
    }

    /// The end of the recording.
    fn end(&self) -> Nanos {
        self.words.timeline.end
    }

    /// The middle of a row.
    fn y(&self, row: usize) -> f64 {
        let height = match &self.rows.all[row] {
            Row::Lane(_) => LANE_PX,
            Row::Group(group) => groups::height(group, self.rows.is_crowd),
        };
        self.tops[row] + height / 2.0
    }

    fn label(&mut self, class: &'static str, x: f64, y: f64, text: impl Into<String>) {
        self.labels.push(Label {
            class,
            x,
            y,
            room: None,
            text: text.into(),
        });
    }

    /// A label that must not be wider than what it stands on.
    fn label_within(&mut self, class: &'static str, x: f64, y: f64, room: f64, text: String) {
        self.labels.push(Label {
            class,
            x,
            y,
            room: Some(room),
            text,
        });
    }

    fn name(&mut self, class: &'static str, x: f64, y: f64, text: impl Into<String>) {
        self.names.push(Label {
            class,
            x,
            y,
            room: None,
            text: text.into(),
        });
    }

    fn say(&mut self, area: (f64, f64, f64, f64), weight: f64, saying: Saying<'a>) {
        self.sayings.push((weight, area, saying));
    }

    fn grid(&mut self) {
        let bottom = self.bottom;
        let mut path = String::new();
        for (place, text) in self.scale.ticks() {
            let x = place * PLOT_PX;
            _ = write!(path, "M{x:.1} {:.0}V{bottom:.0}", TOP_PX - 4.0);
            self.label("r", x, 2.0, text);
        }
        _ = write!(self.shapes, "<path class=\"grid\" d=\"{path}\"/>");
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
        self.say((from, top, width, 6.0), 1500.0, Saying::Text(told));
        if width > 80.0 {
            self.label("o", from + 4.0, TOP_PX - 8.0, "not all was kept");
        }
    }

    /// The heaviest sayings stay; a small one lies above a large one, where the mouse finds it.
    fn done(mut self) -> (Vec<Label>, View) {
        let most = self.detail.0;
        let by_weight = |a: &(f64, _, _), b: &(f64, _, _)| b.0.total_cmp(&a.0);
        if self.sayings.len() > most {
            self.sayings.select_nth_unstable_by(most, by_weight);
            self.sayings.truncate(most);
        }
        let size = |area: &(f64, f64, f64, f64)| area.2 * area.3;
        self.sayings
            .sort_by(|a, b| size(&b.1).total_cmp(&size(&a.1)));
        let hovers = self.sayings.iter().map(|(_, area, saying)| Hover {
            area: *area,
            text: match saying {
                Saying::Spans(lane, spans) => self.words.spans(lane, &lane.spans[spans.clone()]),
                Saying::Hold(lane, hold) => self.words.hold(lane, hold),
                Saying::Text(text) => text.clone(),
            },
        });
        let view = View {
            steps: self.scale.count(),
            arrows: self.arrows,
            hovers: hovers.collect(),
            shapes: self.shapes,
            labels: self.labels,
        };
        (self.names, view)
    }
}

/// A rectangle as a part of a path.
fn rect(path: &mut String, x: f64, y: f64, width: f64, height: f64) {
    _ = write!(path, "M{x:.1} {y:.0}h{width:.1}v{height:.0}h-{width:.1}z");
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
