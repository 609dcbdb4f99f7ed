//! The picture as a file of its own: an SVG with its own style, light or dark as whoever looks at it likes it, words as text, and hover texts as titles.
//!
//! The shapes are those of the notebook's picture. Words stand in `<text>` here: no sanitizer takes the drawing from around them.

use std::fmt::Write;

use threadbook_timeline::fold::Timeline;

use super::svg::{Sheet, escaped};
use super::words::{LEFT_ALIVE, Words};
use super::{Options, Place, axis};

/// What each file of ours begins with.
pub const BEGINS_WITH: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" data-program=\"threadbook\"";

/// What a line below the picture holds, in characters of 11 pixels: 940 pixels of them.
const LINE: usize = 150;
const LINE_PX: f64 = 16.0;

/// In front of the notebook's style, whose colours follow JupyterLab.
const STYLE: &str = "ID{color:#222;background:#fff;font:12px/1.4 system-ui,sans-serif}ID .paper{fill:#fff}ID text{fill:currentColor;white-space:pre}\
ID .r{font-size:10px;text-anchor:middle;opacity:.75}ID .w,ID .o{font-size:10px}ID .o{opacity:.8}ID .p{font-size:11px}ID .box{fill:#fff;opacity:.85}ID .hover{fill:#000;fill-opacity:0}\
@media (prefers-color-scheme:dark){ID{color:#e0e0e0;background:#111}ID .paper,ID .box{fill:#111}}";

/// The words of a label, and where they stand.
#[derive(Debug, Clone)]
pub struct Label {
    /// As in the notebook's style sheet.
    pub class: &'static str,
    /// Left, or the middle for class `r`.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// What it says.
    pub text: String,
}

/// The words of a hover text, and over what they lie: left, top, width, height.
#[derive(Debug, Clone)]
pub struct Hover {
    /// Left, top, width, height.
    pub area: (f64, f64, f64, f64),
    /// Those that matter most are kept where there is room for few.
    pub weight: f64,
    /// What it says.
    pub text: String,
}

/// Draws a timeline as an SVG that stands for itself: XML, with all its hover texts.
///
/// Never fails. As large as the notebook's picture, or twice that.
pub fn standalone(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    options: &Options,
) -> String {
    let words = Words { timeline, place_of };
    let axis = axis::Scale::of(timeline, options.axis);
    let sheet = Sheet::drawn(&words, &axis, "file", 1000);
    svg(&sheet, &words, true)
}

/// A sheet as an SVG of its own, with or without hover texts and the lines below it.
pub fn svg(sheet: &Sheet<'_>, words: &Words<'_>, whole: bool) -> String {
    let id = &sheet.prefix;
    let mut below = Vec::new();
    if whole {
        below.extend(wrapped(&words.footer()));
        let alive = words.left_alive();
        if !alive.is_empty() {
            below.push(LEFT_ALIVE.to_owned());
        }
        for sentence in alive {
            below.extend(wrapped(&format!("  {sentence}")));
        }
    }
    let width = super::svg::WIDTH_PX;
    let drawn = sheet.bottom.ceil();
    let height = drawn + LINE_PX * below.len() as f64 + 4.0;
    let label = escaped(&words.label());
    let mut svg = format!(
        "{BEGINS_WITH} id=\"{id}\" role=\"img\" aria-label=\"{label}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"><style>{}{}</style>",
        sheet.style(),
        STYLE.replace("ID", &format!("#{id}")),
    );
    if whole {
        _ = write!(svg, "<title>{label}</title>");
    }
    _ = write!(
        svg,
        "{}<path class=\"paper\" d=\"M0 0H{width}V{height}H0z\"/>{}",
        sheet.patterns(),
        sheet.shapes
    );
    for Label { class, x, y, text } in &sheet.placed {
        if *class == "w" {
            let wide = 5.6 * text.chars().count() as f64 + 6.0;
            _ = write!(
                svg,
                "<rect class=\"box\" x=\"{x:.0}\" y=\"{y:.0}\" width=\"{wide:.0}\" height=\"11\" rx=\"2\"/>"
            );
        }
        // Letters stand on a line; the notebook's labels hang from their top.
        let (x, y) = match *class {
            "w" => (x + 3.0, y + 9.0),
            _ => (*x, y + 11.0),
        };
        let class = match *class {
            "" => String::new(),
            class => format!(" class=\"{class}\""),
        };
        _ = write!(
            svg,
            "<text{class} x=\"{x:.0}\" y=\"{y:.0}\">{}</text>",
            escaped(text)
        );
    }
    for (line, text) in below.iter().enumerate() {
        let y = drawn + LINE_PX * (line as f64 + 0.75);
        _ = write!(
            svg,
            "<text class=\"p\" x=\"4\" y=\"{y:.0}\">{}</text>",
            escaped(text)
        );
    }
    if whole {
        let mut hovers: Vec<&Hover> = sheet.areas.iter().collect();
        // A small one lies above a large one, where the mouse finds it.
        hovers.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        for Hover { area, text, .. } in hovers {
            let (x, y, width, height) = area;
            _ = write!(
                svg,
                "<rect class=\"hover\" x=\"{x:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{height:.0}\"><title>{}</title></rect>",
                width.max(1.0),
                escaped(text)
            );
        }
    }
    svg + "</svg>\n"
}

/// Lines of at most so many characters, broken between words.
fn wrapped(text: &str) -> Vec<String> {
    let words = text.trim_start();
    let mut line = text[..text.len() - words.len()].to_owned();
    let mut lines: Vec<String> = Vec::new();
    let mut is_first = true;
    for word in words.split(' ') {
        if !is_first {
            if line.chars().count() + 1 + word.chars().count() > LINE {
                lines.push(std::mem::take(&mut line));
            } else {
                line.push(' ');
            }
        }
        is_first = false;
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Axis;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::format::Event;
    use threadbook_timeline::script::{Random, trace};

    fn place_of(site: u16) -> Option<Place> {
        Some(Place {
            cell: 4,
            line: site.into(),
            text: "let <a> = \"&b\";".into(),
        })
    }

    const BUSY: &str = "main spawn ada; main spawn grace; ada take till :3; grace want till :4; main add w; main wait w; @200 ada release till; \
        grace take till; grace send orders; ada done w; main on; main got orders; grace mark now; grace region oven; grace leave; grace panic no flour; main end";

    /// The texts of all elements of this name.
    fn texts(svg: &str, name: &str) -> Vec<String> {
        let read = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}\n{svg}"));
        let elements = read
            .descendants()
            .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)));
        elements
            .filter_map(|node| node.text().map(str::to_owned))
            .collect()
    }

    #[test]
    fn a_file_is_xml_with_words_titles_and_a_dark_side() {
        for axis in [Axis::Auto, Axis::Wall, Axis::Steps] {
            let svg = standalone(
                &fold(&trace(BUSY)),
                &place_of,
                &Options {
                    axis,
                    ..Options::default()
                },
            );
            assert!(svg.starts_with(BEGINS_WITH));
            assert!(svg.contains("prefers-color-scheme:dark"));
            let words = texts(&svg, "text");
            for word in ["main", "ada", "grace", "running", "till holder"] {
                assert!(words.iter().any(|text| text == word), "{word} in {words:?}");
            }
            let titles = texts(&svg, "title");
            let wait = "grace waited 160 µs for lock `till` (cell 4 line 4: `let <a> = \"&b\";`); let go by ada";
            assert!(titles.iter().any(|title| title == wait), "{titles:?}");
            assert!(
                words
                    .iter()
                    .any(|text| text.starts_with("still alive when")),
                "{words:?}"
            );
        }
    }

    #[test]
    fn any_name_and_any_events_are_xml() {
        for name in [
            "<script>alert(1)</script>",
            "a\"b'c&d",
            "\u{7}\u{0}bell",
            "]]>",
            "\u{fffe}\u{ffff}",
            "größer",
        ] {
            let svg = standalone(
                &fold(&trace(&BUSY.replace("ada", name))),
                &place_of,
                &Options::default(),
            );
            assert!(texts(&svg, "script").is_empty());
        }
        let mut random = Random::new(31);
        for _ in 0..60 {
            let mut trace = trace("main mark x");
            let event = trace.events[0];
            for ticks in 0..120 {
                let mut small = || random.below(5) as u32;
                trace.events.push(Event {
                    ticks: ticks * 1000,
                    task: small(),
                    obj: small(),
                    seq: small(),
                    aux: random.below(15) as u32,
                    kind: random.below(40) as u8,
                    worker: random.below(3) as u8,
                    ..event
                });
            }
            let svg = standalone(&fold(&trace), &place_of, &Options::default());
            texts(&svg, "text");
            assert!(!svg.contains("NaN"));
        }
        texts(
            &standalone(&Timeline::default(), &|_| None, &Options::default()),
            "text",
        );
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let text = "word ".repeat(100);
        let lines = wrapped(text.trim());
        assert!(
            lines.iter().all(|line| line.chars().count() <= LINE),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), text.trim());
        assert_eq!(wrapped("  two blanks"), ["  two blanks"]);
        assert_eq!(wrapped(&"x".repeat(400)).len(), 1, "a word is not broken");
    }
}
