//! A timeline as a picture: HTML with an inline SVG, plain text, and facts as JSON.
//!
//! Pure: the same timeline gives the same bytes. Knows nothing of Jupyter, of evcxr, or of how a line of a cell is found (`place_of` tells).

mod axis;
mod json;
mod svg;
mod text;
mod words;

use serde_json::Value;
use threadbook_timeline::fold::{Lane, Timeline};

/// A line of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The number that the notebook shows in brackets.
    pub cell: u32,
    /// Line in that cell, from 1.
    pub line: u32,
    /// The line's text, or nothing when it is not known.
    pub text: String,
}

/// One timeline in three forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// For `text/html`: an inline SVG, and a folded table of all that its hover texts say.
    pub html: String,
    /// For `text/plain`: lines of at most 100 columns, then the waits as sentences.
    pub text: String,
    /// For `application/vnd.threadbook.timeline+json`: lanes, edges, and which tasks could overlap.
    pub json: Value,
}

/// Longest the HTML may be, in bytes: notebooks keep it, once per run cell.
const MOST_HTML: usize = 60_000;
/// How many lanes are drawn; with more tasks than that, one less, and a line that says how many are left out.
const MOST_LANES: usize = 40;

/// Draws a timeline. `place_of` finds the line of a site, or `None` when it lies in no cell; `id` sets this picture's style apart from others on the page.
///
/// Takes a few milliseconds. Never fails: a timeline without lanes gives an empty picture.
pub fn draw(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>, id: &str) -> Picture {
    let words = words::Words { timeline, place_of };
    let axis = axis::Axis::of(timeline);
    let text = text::draw(&words, &axis);
    // Less detail until it fits: how many spans, edges, hover texts and table rows there are is a matter of this one number.
    let mut detail = 400;
    let html = loop {
        let html = svg::draw(&words, &axis, id, &text, detail);
        if html.len() < MOST_HTML || detail < 10 {
            break html;
        }
        detail = detail * 3 / 4;
    };
    Picture {
        html,
        text,
        json: json::facts(&words, &axis),
    }
}

/// The lanes that are drawn.
fn shown_lanes(timeline: &Timeline) -> &[Lane] {
    let shown = if timeline.lanes.len() > MOST_LANES {
        MOST_LANES - 1
    } else {
        timeline.lanes.len()
    };
    &timeline.lanes[..shown]
}

/// How many lanes are not drawn, when some are not.
fn left_out(timeline: &Timeline) -> Option<usize> {
    let left_out = timeline.lanes.len() - shown_lanes(timeline).len();
    (left_out > 0).then_some(left_out)
}
