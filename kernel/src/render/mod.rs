//! A timeline as a picture: HTML with an inline SVG, plain text, and facts as JSON.
//!
//! Pure: the same timeline gives the same bytes. Knows nothing of Jupyter, of evcxr, or of how a line of a cell is found (`place_of` tells).

mod alike;
mod axis;
mod explain;
#[cfg(test)]
mod golden;
mod html;
mod json;
mod looks;
mod many;
pub mod perfetto;
mod rows;
mod scene;
mod short;
pub mod standalone;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod words;

use serde_json::Value;
use threadbook_timeline::fold::Timeline;

pub use explain::{explain, waits_now};
pub use html::escaped;
pub use many::task_in_words;
pub use standalone::standalone as as_file;
pub use table::in_words;

use axis::Scale;
use scene::{Detail, Placed};
use short::with_short_names;

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
    /// For `text/plain`: a drawing of at most 80 columns, then the waits as sentences.
    pub text: String,
    /// For `application/vnd.threadbook.timeline+json`: lanes, edges, and which tasks could overlap.
    pub json: Value,
}

/// Longest the HTML should be, in bytes: notebooks keep it, once per run cell. The half of that is typical.
const MOST_HTML: usize = 72_000;
/// How many spans, arrows, hover texts and table rows there are where all of that is much.
const MOST_DETAIL: usize = 320;
/// Longest the drawing as an image should be, in bytes: it is a part of the HTML.
const MOST_IMAGE: usize = 20_000;
/// As [`MOST_DETAIL`], for the image.
const MOST_IMAGE_DETAIL: usize = 160;
/// How few there are at least.
const LEAST_DETAIL: usize = 8;

/// What the learner may choose about pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What the horizontal axis counts.
    pub axis: Axis,
}

/// What the horizontal axis counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Axis {
    /// Time, or steps where most of what there is to see would be too narrow.
    #[default]
    Auto,
    /// Time.
    Wall,
    /// Steps: one column for each moment at which something happened.
    Steps,
}

/// Draws a timeline. `place_of` finds the line of a site, or `None` when it lies in no cell; `id` sets this picture's style apart from others on the page.
///
/// Takes a few milliseconds. Never fails: a timeline without lanes gives an empty picture.
pub fn draw(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    id: &str,
    options: &Options,
) -> Picture {
    let timeline = &*with_short_names(timeline);
    let words = words::Words { timeline, place_of };
    let rows = rows::Rows::of(timeline);
    let (wall, steps) = (Scale::wall(timeline), Scale::steps(timeline));
    let counts_steps = axis::steps_show_more(timeline, options.axis, &steps);
    let scale = if counts_steps { &steps } else { &wall };
    let text = text::draw(&words, &rows, scale);
    // Less detail until it fits: how much there is of everything is a matter of this one number.
    let mut detail = MOST_DETAIL;
    let axes = [&wall, &steps].map(|scale| Placed::new(&words, &rows, scale, Detail(detail)));
    let chosen = usize::from(counts_steps);
    let image = image(&words, &rows, &axes[chosen..=chosen]);
    let around = html::Around::new(&words, &rows, &text, &image, detail);
    let html = loop {
        let scene = scene::scene(&words, &rows, &axes, Detail(detail));
        let html = html::write(&around, &scene, chosen, id, detail);
        if html.len() < MOST_HTML || detail <= LEAST_DETAIL {
            break html;
        }
        // About as much less as it is too long, and not by so little that it takes many attempts.
        let fits = detail * MOST_HTML / html.len();
        detail = fits.min(detail * 4 / 5).max(LEAST_DETAIL);
    };
    Picture {
        html,
        text,
        json: json::facts(&words, &rows, scale),
    }
}

/// What a timeline is as data, without a drawing: as [`draw`] has it.
pub fn facts(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    options: &Options,
) -> Value {
    let timeline = &*with_short_names(timeline);
    let words = words::Words { timeline, place_of };
    let rows = rows::Rows::of(timeline);
    let steps = Scale::steps(timeline);
    if axis::steps_show_more(timeline, options.axis, &steps) {
        json::facts(&words, &rows, &steps)
    } else {
        json::facts(&words, &rows, &Scale::wall(timeline))
    }
}

/// The drawing as the address of an image: for notebooks that are not trusted. Without hover texts, and with less detail until it is short enough.
fn image<'a>(words: &'a words::Words<'a>, rows: &'a rows::Rows<'a>, axis: &[Placed<'a>]) -> String {
    let mut detail = MOST_IMAGE_DETAIL;
    loop {
        let scene = scene::scene(words, rows, axis, Detail(detail));
        let image = standalone::data_uri(&standalone::svg(words, rows, &scene, 0, false));
        if image.len() < MOST_IMAGE || detail <= LEAST_DETAIL {
            break image;
        }
        let fits = detail * MOST_IMAGE / image.len();
        detail = fits.min(detail * 4 / 5).max(LEAST_DETAIL);
    }
}
