//! A scene as HTML: shapes in an inline SVG, words in attributes laid over it, and folded tables.
//!
//! JupyterLab's sanitizer takes `<svg>` and `<style>` out of a notebook that is not trusted, and leaves every word that stood inside `<text>` and
//! `<title>` behind, run together. So there is no word in the SVG: labels are `data-t` attributes that the style sheet turns into text, hover texts are
//! `title` attributes of empty elements over the shapes. Where the style sheet is gone, so are they, and `.u`, which it hides, appears: the drawing as an
//! image, in whose address no sanitizer looks for words, and the text form.
//!
//! The picture is as wide as its place, up to 960 pixels: the plot is stretched, names are not. The two views are one above the other, and a checkbox tells
//! the style sheet which of them is to be seen: no script, one stop of the Tab key, and Space, which JupyterLab does not take for itself.

use std::fmt::Write;

use threadbook_timeline::fold::{Lane, Nanos, State};

use super::axis::duration;
use super::rows::Rows;
use super::scene::{Hover, Label, NAMES_PX, PLOT_PX, Scene, TAIL_PX, View};
use super::table::Table;
use super::words::{LEFT_ALIVE, Words, did, thousands};

const STYLE: &str = include_str!("style.css");
const SHAPES: &str = include_str!("shapes.css");
/// Longest a text in an attribute or a table is, in bytes: names are the learner's.
const MOST_SAID: usize = 700;
/// Longest the text form is as a part of the HTML.
const MOST_TEXT: usize = 24_000;

/// So many of what a picture shows, the table has a row for one.
const ROW: usize = 3;

/// What an untrusted notebook shows above the image and the text form.
pub const UNTRUSTED: &str = "As an image and as text; once this notebook is trusted (File, Trust Notebook), the drawing says more where the mouse is.";

/// What stands around the drawing: the same however much of that there is.
pub struct Around {
    /// The text form, escaped.
    text: String,
    /// The drawing as the address of an image.
    image: String,
    label: String,
    footer: Vec<String>,
    end: Nanos,
    left_alive: Vec<String>,
    groups: String,
    table: Table,
}

impl Around {
    /// Finds the words. `text` is the text form, `image` the address of the drawing as an image, `detail` the most that there is of anything.
    pub fn new(
        words: &Words<'_>,
        rows: &Rows<'_>,
        text: &str,
        image: &str,
        detail: usize,
    ) -> Around {
        let lanes: Vec<&Lane> = rows.lanes().collect();
        Around {
            text: escaped(cut(text, MOST_TEXT)),
            // Nothing in such an address needs to be escaped.
            image: image.to_owned(),
            label: said(&words.label()),
            footer: words.footer(rows),
            end: words.timeline.end,
            left_alive: words.left_alive(),
            groups: groups_table(words, rows),
            table: Table::new(words, &lanes, detail / ROW),
        }
    }
}

/// Writes a scene as HTML. `chosen` is the view that is seen first.
pub fn write(around: &Around, scene: &Scene, chosen: usize, id: &str, detail: usize) -> String {
    let prefix = prefix(id);
    let height = scene.height;
    let mut html = format!(
        "<div id=\"{prefix}\"><style>{}</style><div class=\"u\">{UNTRUSTED}<img alt=\"{}\" src=\"{}\"/><pre>{}</pre></div><div class=\"x\"><div class=\"d\" style=\"height:{height:.0}px\">",
        style(&format!("#{prefix}"), &prefix),
        around.label,
        around.image,
        around.text,
    );
    // Nobody sees a difference where one view is all there is.
    let classes = match scene.views.as_slice() {
        [_, _] => {
            let checked = if scene.views[chosen].steps.is_some() {
                " checked=\"\""
            } else {
                ""
            };
            _ = write!(
                html,
                "<input class=\"ax\" type=\"checkbox\" hidden=\"\"{checked} aria-label=\"count steps instead of time\" title=\"switch between time and steps\" data-w=\"⇄ by time\" data-s=\"⇄ by steps\"/>"
            );
            ["w", "s"]
        }
        _ => ["", ""],
    };
    let class_of = |view: &View| classes[usize::from(view.steps.is_some())];
    for name in &scene.names {
        _ = write!(
            html,
            "<b{} style=\"left:{:.0}px;top:{:.0}px\" data-t=\"{}\"></b>",
            class(name.class),
            name.x,
            name.y,
            said(&name.text)
        );
    }
    _ = write!(
        html,
        "<div class=\"p\"><svg role=\"img\" aria-label=\"{}\" width=\"{PLOT_PX}\" height=\"{height:.0}\" viewBox=\"0 0 {PLOT_PX} {height:.0}\" preserveAspectRatio=\"none\" xmlns=\"http://www.w3.org/2000/svg\">{}",
        around.label,
        patterns(&prefix),
    );
    for view in &scene.views {
        _ = write!(html, "<g{}>{}</g>", class(class_of(view)), view.shapes);
    }
    html += "</svg>";
    for view in &scene.views {
        _ = write!(html, "<div{}>", class(class_of(view)));
        for hover in &view.hovers {
            hover_html(&mut html, hover);
        }
        for label in &view.labels {
            label_html(&mut html, label);
        }
        html += "</div>";
    }
    html += "</div></div></div><div class=\"l\">";
    for sample in &scene.legend {
        _ = write!(
            html,
            "<span><svg viewBox=\"-1 -8 26 16\" aria-hidden=\"true\" xmlns=\"http://www.w3.org/2000/svg\">{}</svg><em data-t=\"{}\"></em></span>",
            sample.shape,
            escaped(sample.words)
        );
    }
    html += "</div>";
    for line in around.footer.iter().chain(&scene.notes(around.end)) {
        _ = write!(html, "<p data-t=\"{}\"></p>", said(line));
    }
    for (at, sentence) in around.left_alive.iter().enumerate() {
        if at == 0 {
            _ = write!(html, "<p data-t=\"{LEFT_ALIVE}\"></p>");
        }
        _ = write!(html, "<p class=\"a\" data-t=\"{}\"></p>", said(sentence));
    }
    html += &around.groups;
    html += &around.table.html(detail / ROW, false);
    html + "</div>"
}

/// What may stand in an `id` and in a selector.
fn prefix(id: &str) -> String {
    let id: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
        .collect();
    format!("tb-{id}")
}

/// The style sheet for what lies in `scope`.
fn style(scope: &str, prefix: &str) -> String {
    let sheet: String = STYLE.lines().collect();
    sheet
        .replace("SHAPES", &SHAPES.lines().collect::<String>())
        .replace("NAMES", &NAMES_PX.to_string())
        .replace("TAIL", &TAIL_PX.to_string())
        .replace("ID", scope)
        .replace("PRE", prefix)
}

/// The textures that go with the colours.
pub fn patterns(prefix: &str) -> String {
    let pattern = |name: &str, size: u8, turn: &str, inside: &str| {
        format!(
            "<pattern id=\"{prefix}-{name}\" width=\"{size}\" height=\"{size}\" patternUnits=\"userSpaceOnUse\"{turn}>{inside}</pattern>"
        )
    };
    format!(
        "<defs>{}{}{}{}</defs>",
        pattern(
            "lock",
            6,
            " patternTransform=\"rotate(45)\"",
            "<rect class=\"pk\" width=\"6\" height=\"6\" opacity=\".22\"/><rect class=\"pk\" width=\"2.4\" height=\"6\"/>"
        ),
        pattern(
            "chan",
            6,
            "",
            "<rect class=\"pm\" width=\"6\" height=\"6\" opacity=\".18\"/><circle class=\"pm\" cx=\"3\" cy=\"3\" r=\"1.5\"/>"
        ),
        pattern(
            "wait",
            5,
            "",
            "<rect class=\"pw\" width=\"5\" height=\"5\" opacity=\".25\"/><rect class=\"pw\" width=\"2\" height=\"5\"/>"
        ),
        pattern(
            "dead",
            7,
            "",
            "<rect width=\"7\" height=\"7\" fill=\"#000\"/><path d=\"M1.5 1.5l4 4m0-4l-4 4\" stroke=\"#fff\" stroke-width=\"1.1\"/>"
        ),
    )
}

fn class(class: &str) -> String {
    if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    }
}

/// A place across as a part of the plot, which may be stretched.
fn percent(x: f64) -> String {
    let text = format!("{:.2}", x * 100.0 / PLOT_PX);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".into()
    } else {
        text.to_owned()
    }
}

fn label_html(html: &mut String, label: &Label) {
    let room = label.room.map_or(String::new(), |room| {
        format!(";max-width:{}%", percent(room))
    });
    _ = write!(
        html,
        "<b{} style=\"left:{}%;top:{:.0}px{room}\" data-t=\"{}\"></b>",
        class(label.class),
        percent(label.x),
        label.y,
        said(&label.text)
    );
}

fn hover_html(html: &mut String, hover: &Hover) {
    let (x, y, width, height) = hover.area;
    let (x, width) = if width < 4.0 {
        (x - (4.0 - width) / 2.0, 4.0)
    } else {
        (x, width)
    };
    // Most are as high as a bar, and so the style sheet says that.
    let height = if (height - 15.0).abs() < 0.5 {
        String::new()
    } else {
        format!(";height:{height:.0}px")
    };
    _ = write!(
        html,
        "<i style=\"left:{}%;top:{y:.0}px;width:{}%{height}\" title=\"{}\"></i>",
        percent(x),
        percent(width),
        said(&hover.text)
    );
}

/// A row for each group: what its row in the picture shows, in numbers.
fn groups_table(words: &Words<'_>, rows: &Rows<'_>) -> String {
    let mut groups = rows.groups().peekable();
    if groups.peek().is_none() {
        return String::new();
    }
    let mut html = String::from("<details open><summary>the groups</summary><table><tr>");
    for head in ["group", "tasks", "ended", "together", "longest wait"] {
        _ = write!(html, "<th>{head}</th>");
    }
    html += "</tr>";
    for group in groups {
        let longest = group.longest.map_or(String::new(), |(lane, span)| {
            let State::Blocked { reason, object } = span.state else {
                return String::new();
            };
            format!(
                "{}: {} for {}",
                lane.name,
                duration(span.length(words.timeline.end)),
                words.awaited(reason, object)
            )
        });
        let cells = [
            group.stem.clone(),
            thousands(group.lanes.len() as u64),
            group.fate.clone(),
            did(&group.sums),
            longest,
        ];
        html += "<tr>";
        for cell in cells {
            _ = write!(html, "<td>{}</td>", said(&cell));
        }
        html += "</tr>";
    }
    html + "</table></details>"
}

/// The beginning of a text, with a sign that there is more.
fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = text[..text.floor_char_boundary(most)]
        .rfind('\n')
        .unwrap_or(0);
    &text[..end]
}

/// A sentence for an attribute or a table, escaped, and not longer than a page can bear.
pub fn said(text: &str) -> String {
    let mut safe = escaped(text);
    if safe.len() > MOST_SAID {
        // Not within an escape.
        let most = safe.floor_char_boundary(MOST_SAID);
        let whole = match safe[..most].rfind('&') {
            Some(at) if !safe[at..most].contains(';') => at,
            _ => most,
        };
        safe.truncate(whole);
        safe.push('…');
    }
    safe
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

/// The part of the style sheet that is about shapes, for what lies in `scope`.
pub fn style_of_shapes(scope: &str, prefix: &str) -> String {
    let sheet: String = SHAPES.lines().collect();
    sheet.replace("ID", scope).replace("PRE", prefix)
}
