//! The picture as a file of its own: an SVG with its own style, light or dark as whoever looks at it likes it, words as text, and hover texts as titles.
//!
//! The shapes are those of the notebook's picture. Words stand in `<text>` here: no sanitizer takes the drawing from around them. Without hover texts it
//! also serves as an image.

use std::fmt::Write;

use threadbook_timeline::fold::Timeline;

use super::axis::{self, Scale};
use super::html::{patterns, said, style_of_shapes};
use super::rows::Rows;
use super::scene::{Detail, Label, NAMES_PX, PLOT_PX, Placed, Scene, TAIL_PX, scene};
use super::words::{LEFT_ALIVE, Words};
use super::{MOST_DETAIL, Options, Place, with_short_names};

/// What each file of ours begins with.
pub const BEGINS_WITH: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" data-program=\"threadbook\"";
/// How wide it is, in pixels.
pub const WIDTH_PX: f64 = NAMES_PX + PLOT_PX + TAIL_PX;

const LINE_PX: f64 = 15.0;
/// How many letters go into a line below the picture.
const LETTERS: usize = 140;
const STYLE: &str = "\
ID{--k:#d55e00;--m:#0072b2;--w:#cc79a7;--e:#b0508a;--g:#888;--r:#009e73;--h:#e69f00;--y:#7a7300;--paper:#fff;color:#222;font:12px system-ui,sans-serif}\
@media (prefers-color-scheme:dark){ID{--k:#f0813a;--m:#56b4e9;--w:#e08ec0;--e:#e08ec0;--g:#aaa;--r:#00b183;--y:#fff3a0;--paper:#111;color:#e0e0e0}}\
ID text{fill:currentColor;white-space:pre}ID .r,ID .w,ID .o,ID .f{font-size:10px}ID .r{text-anchor:middle;opacity:.75}ID .o{opacity:.85}\
ID .paper{fill:var(--paper)}ID text.w{paint-order:stroke;stroke:var(--paper);stroke-width:3px}ID .hover{fill:#000;fill-opacity:0}";

/// Draws a timeline as an SVG that stands for itself: XML, with its hover texts, by the axis that the options say.
///
/// Takes a few milliseconds. Never fails. A few ten thousand bytes.
pub fn standalone(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    options: &Options,
) -> String {
    let timeline = &*with_short_names(timeline);
    let words = Words { timeline, place_of };
    let rows = Rows::of(timeline);
    let steps = Scale::steps(timeline);
    let scale = if axis::steps_show_more(timeline, options.axis, &steps) {
        steps
    } else {
        Scale::wall(timeline)
    };
    let detail = Detail(MOST_DETAIL);
    let placed = [Placed::new(&words, &rows, &scale, detail)];
    let scene = scene(&words, &rows, &placed, detail);
    svg(&words, &rows, &scene, 0, true)
}

/// One view of a scene as an SVG of its own; `whole`: with hover texts, and with the lines below.
pub fn svg(words: &Words<'_>, rows: &Rows<'_>, scene: &Scene, view: usize, whole: bool) -> String {
    let id = "tb-file";
    let mut body = String::new();
    if let Some(view) = scene.views.get(view) {
        body += &view.shapes;
        for label in &view.labels {
            text(&mut body, label);
        }
        for hover in view.hovers.iter().filter(|_| whole) {
            let (x, y, width, height) = hover.area;
            _ = write!(
                body,
                "<rect class=\"hover\" x=\"{x:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{height:.0}\"><title>{}</title></rect>",
                width.max(4.0),
                said(&hover.text)
            );
        }
    }
    let mut names = String::new();
    for name in &scene.names {
        text(&mut names, name);
    }
    let mut below = String::new();
    let (mut x, mut y) = (4.0, scene.height + 16.0);
    for sample in &scene.legend {
        let width = 26.0 + 6.0 * sample.words.chars().count() as f64 + 12.0;
        if x + width > WIDTH_PX {
            (x, y) = (4.0, y + 17.0);
        }
        _ = write!(
            below,
            "<g transform=\"translate({x:.0} {y:.0})\">{}<text class=\"f\" x=\"24\" y=\"4\">{}</text></g>",
            sample.shape,
            said(sample.words)
        );
        x += width;
    }
    y += 8.0;
    let mut lines = Vec::new();
    if whole {
        lines = words.footer(rows);
        lines.extend(scene.notes(words.timeline.end));
        let alive = words.left_alive();
        if !alive.is_empty() {
            lines.push(LEFT_ALIVE.into());
            lines.extend(alive.iter().map(|sentence| format!("  {sentence}")));
        }
    }
    for line in lines.iter().flat_map(|line| wrapped(line)) {
        y += LINE_PX;
        _ = write!(
            below,
            "<text class=\"f\" x=\"4\" y=\"{y:.0}\">{}</text>",
            said(&line)
        );
    }
    let height = y + 10.0;
    // An image has its words beside it, in its `alt`.
    let label = if whole {
        said(&words.label())
    } else {
        String::new()
    };
    let (spoken, title) = if whole {
        (
            format!(" aria-label=\"{label}\""),
            format!("<title>{label}</title>"),
        )
    } else {
        (String::new(), String::new())
    };
    format!(
        "{BEGINS_WITH} id=\"{id}\" role=\"img\"{spoken} width=\"{WIDTH_PX}\" height=\"{height:.0}\" viewBox=\"0 0 {WIDTH_PX} {height:.0}\">{title}<style>{}{}</style>{}<path class=\"paper\" d=\"M0 0H{WIDTH_PX}V{height:.0}H0z\"/>{names}<g transform=\"translate({NAMES_PX} 0)\">{body}</g>{below}</svg>\n",
        STYLE.replace("ID", &format!("#{id}")),
        style_of_shapes(&format!("#{id}"), id),
        patterns(id),
    )
}

/// An SVG as the address of an image. Shorter than base64 would be, since most of an SVG may stand there as it is.
pub fn data_uri(svg: &str) -> String {
    let mut uri = String::from("data:image/svg+xml,");
    for byte in svg.trim_end().bytes() {
        match byte {
            // In text and attributes quotes are escaped, so these are the ones around attributes, and one kind serves as well as the other.
            b'"' => uri.push('\''),
            b'%' | b'#' | b'<' | b'>' | b'&' | b'\'' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                _ = write!(uri, "%{byte:02X}");
            }
            b' '..=b'~' => uri.push(char::from(byte)),
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

fn text(body: &mut String, label: &Label) {
    let class = match label.class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    // Letters stand on a line; the notebook's labels hang from their top.
    let (x, y) = match label.class {
        "w" => (label.x + 3.0, label.y + 9.0),
        _ => (label.x, label.y + 11.0),
    };
    _ = write!(
        body,
        "<text{class} x=\"{x:.0}\" y=\"{y:.0}\">{}</text>",
        said(&label.text)
    );
}

/// A long line in several, broken between words.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let last = lines.last_mut().expect("there is one");
        if last.chars().count() + word.chars().count() > LETTERS && !last.is_empty() {
            lines.push(word.to_owned());
        } else {
            last.push_str(word);
        }
    }
    lines
}
