//! Pictures as HTML: well-formed, without a script, its words where no sanitizer spills them.

use super::*;

#[test]
fn html_is_well_formed_and_words_in_it_are_text() {
    for name in [
        "ada",
        "<script>alert(1)</script>",
        "a\"b'c&d",
        "\u{7}\u{0}bell",
        "a>b",
        "]]>",
        "größer",
    ] {
        let name = name.replace(' ', "_");
        let picture = picture(
            &BUSY
                .replace("ada", &name)
                .replace("no flour", "<b>no</b> flour"),
        );
        let tags = tags_of(&picture.html);
        assert!(tags.iter().any(|tag| tag == "svg"), "{name}");
        let known = [
            "div", "style", "pre", "svg", "defs", "pattern", "rect", "circle", "path", "g", "b",
            "i", "p", "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td",
            "input", "span", "em", "img",
        ];
        assert!(
            tags.iter().all(|tag| known.contains(&tag.as_str())),
            "{name}: {tags:?}"
        );
        assert!(
            !picture.html.chars().any(|c| c.is_control() && c != '\n'),
            "{name}"
        );
    }
}

#[test]
fn the_style_sheet_has_all_its_lengths_and_only_styles_this_picture() {
    let html = picture(BUSY).html;
    let style = &html[..html.find("</style>").expect("has a style sheet")];
    assert!(style.contains("#tb-t .p{position:absolute;left:132px;right:26px;"));
    for placeholder in ["NAMES", "TAIL", "SHAPES", "ID", "PRE"] {
        assert!(!style.contains(placeholder), "{placeholder}");
    }
    let rules = style.split_once("<style>").expect("has a style sheet").1;
    for rule in rules.split('}').filter(|rule| !rule.is_empty()) {
        let selectors = rule.split('{').next().expect("split gives one part");
        assert!(
            selectors
                .split(',')
                .all(|selector| selector.contains("#tb-t")),
            "{selectors}"
        );
    }
}

#[test]
fn both_axes_are_there_and_a_checkbox_without_script_chooses() {
    let long = BUSY.to_owned() + "; @900000 main end";
    for (script, axis, checked) in [
        (BUSY, Axis::Auto, false),
        (BUSY, Axis::Steps, true),
        (&long, Axis::Auto, true),
        (&long, Axis::Wall, false),
    ] {
        let options = Options { axis };
        let html = draw(&fold(&trace(script)), &|_| None, "t", &options).html;
        let is_checked = html.contains("type=\"checkbox\" hidden=\"\" checked=\"\"");
        assert_eq!(is_checked, checked, "{axis:?}");
        for view in [
            "<g class=\"w\">",
            "<g class=\"s\">",
            "<div class=\"w\">",
            "<div class=\"s\">",
        ] {
            assert_eq!(html.matches(view).count(), 1, "{view}");
        }
        assert!(!html.contains("<script") && !html.contains("onclick"));
    }
}

#[test]
fn what_locks_and_the_end_waited_for_stands_below() {
    let html = picture(
        "main spawn ada; main spawn grace; ada start; grace start; ada take till; grace want till; main join grace; @500 ada release till; grace take till; \
         @900 grace release till; grace exit; main joined grace; ada exit; main end",
    )
    .html;
    for words in [
        "data-t=\"lock `till` was waited for once, 440 µs, by grace\"",
        "data-t=\"the end waited for: main (10 µs), ada (490 µs), grace (410 µs), main (30 µs)",
        "grace ran 420 µs, ready 30 µs, waited 440 µs",
        "at most 2 at once",
        "data-t=\"critical path: what the end waited for\"",
    ] {
        assert!(html.contains(words), "{words}");
    }
}

#[test]
fn the_image_for_notebooks_that_are_not_trusted_is_the_drawing_without_its_hover_texts() {
    let long = BUSY.to_owned() + "; @900000 main end";
    for (script, by_time) in [(BUSY, true), (&long, false)] {
        let html = picture(script).html;
        let start = html.find("<img alt=\"").expect("has an image");
        let (tag, after) = html[start..].split_once("\"/>").expect("it ends");
        assert!(after.starts_with("<pre>"), "before the text form");
        let (_, address) = tag
            .split_once("src=\"data:image/svg+xml,")
            .expect("is an SVG");
        assert!(address.is_ascii() && !address.contains(['"', '<', '>', '#', '&']));
        let mut bytes = Vec::new();
        let mut rest = address.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'%' => {
                    let digits: String = rest.by_ref().take(2).map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                byte => byte,
            });
        }
        let svg = String::from_utf8(bytes).expect("text");
        roxmltree::Document::parse(&svg).expect("is XML");
        for words in ["ada", "grace", "till holder", "waiting for a lock"] {
            assert!(svg.contains(words), "{words}");
        }
        let has_times = [" µs</text>", " ms</text>"].map(|tick| svg.contains(tick));
        assert_eq!(
            has_times.contains(&true),
            by_time,
            "the axis that is seen first"
        );
        assert!(
            !svg.contains("<title>") && !svg.contains("grace waited"),
            "{svg}"
        );
    }
}

#[test]
fn data_without_a_drawing_are_those_of_the_drawing() {
    let long = BUSY.to_owned() + "; @900000 main end";
    for script in [BUSY, &long, RING, ""] {
        let timeline = fold(&trace(script));
        for axis in [Axis::Auto, Axis::Wall, Axis::Steps] {
            let options = Options { axis };
            assert_eq!(
                facts(&timeline, &|_| None, &options),
                draw(&timeline, &|_| None, "t", &options).json
            );
        }
    }
}

#[test]
fn what_a_sanitizer_leaves_of_the_drawing_has_no_words() {
    let html = picture(BUSY).html;
    let svg =
        &html[html.find("<svg").expect("has a drawing")..html.find("<p ").expect("has a footer")];
    let words: String = svg
        .split('<')
        .filter_map(|tag| tag.split_once('>'))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(
        words.trim(),
        "",
        "between tags, from the drawing to the footer"
    );
    assert!(html.contains("title=\"grace waited") && html.contains("data-t=\"grace\""));
}

#[test]
fn hover_texts_say_who_waited_for_what_where_and_by_whom_it_ended() {
    let place_of = |site: u16| {
        (site == 7).then(|| Place {
            cell: 4,
            line: 7,
            text: "  oven.lock()".into(),
        })
    };
    let html = draw(&fold(&trace("main spawn ada; main take oven; @100 ada want oven :7; @1900 main release oven; ada take oven")), &place_of, "t", &Options::default()).html;
    let want = "ada waited 1.8 ms for lock `oven` (cell 4 line 7: `oven.lock()`); let go by main";
    assert!(html.contains(want), "{html}");
}

#[test]
fn the_same_timeline_gives_the_same_bytes_and_no_id_gets_out_of_its_attribute() {
    let timeline = fold(&trace(BUSY));
    assert_eq!(
        draw(&timeline, &|_| None, "a", &Options::default()),
        draw(&timeline, &|_| None, "a", &Options::default())
    );
    assert!(
        draw(&timeline, &|_| None, "a\"><script>", &Options::default())
            .html
            .starts_with("<div id=\"tb-ascript\">")
    );
}
