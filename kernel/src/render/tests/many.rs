//! Many events, many tasks, any events: pictures stay small, and facts stay facts.

use super::*;
use threadbook_timeline::fold::State;
use threadbook_timeline::format::{Event, Kind};
use threadbook_timeline::script::Random;

#[test]
fn many_events_stay_small() {
    let mut script = String::new();
    for task in 0..8 {
        script += &format!("main spawn t{task};");
    }
    let mut random = Random::new(5);
    for _ in 0..250 {
        let (a, b) = (random.below(4), 4 + random.below(4));
        script += &format!(
            "t{a} take till :3; t{b} want till :4; t{a} send orders :5; t{b} got orders; t{a} release till; t{b} take till; t{b} release till;"
        );
    }
    let timeline = fold(&trace(&script));
    let place_of = |site: u16| {
        Some(Place {
            cell: 4,
            line: site.into(),
            text: "let mut till = till.lock().unwrap();".into(),
        })
    };
    let picture = draw(&timeline, &place_of, "many", &Options::default());
    assert!(
        picture.html.len() < MOST_HTML,
        "{} bytes",
        picture.html.len()
    );
    tags_of(&picture.html);
    assert_eq!(picture.json["edges"].as_array().map(Vec::len), Some(500));
    assert!(
        picture.json["edges_left_out"]
            .as_u64()
            .is_some_and(|left_out| left_out > 0)
    );
}

#[test]
fn many_tasks_are_groups_and_a_crowd_is_a_heat_map() {
    for (many, is_crowd) in [(200, false), (3000, true)] {
        let mut script: String = (0..many)
            .map(|task| format!("main spawn t{task}; t{task} start;"))
            .collect();
        script += "t7 panic no_flour; t7 exit; t9 recv orders :2;";
        for task in (0..many).filter(|task| ![7, 9].contains(task)) {
            script += &format!("t{task} exit;");
        }
        let picture = picture(&(script + "main end"));
        assert!(picture.html.len() < MOST_HTML, "{}", picture.html.len());
        let rest = words::thousands(many - 2);
        assert!(
            picture.text.contains(&format!("t ×{}", many - 2)),
            "{}",
            picture.text
        );
        for words in [
            format!("data-t=\"t ×{}\"", many - 2),
            "data-t=\"t7\"".into(),
            "title=\"t7: panicked: no_flour\"".into(),
            "title=\"t9: still waiting for a message on channel `orders`\"".into(),
            format!("<td>t</td><td>{rest}</td><td>done</td>"),
        ] {
            assert!(picture.html.contains(&words), "{words}");
        }
        assert_eq!(picture.html.contains("class=\"heat\""), is_crowd);
        assert_eq!(picture.html.contains("class=\"st\""), !is_crowd);
        tags_of(&picture.html);
        assert_eq!(
            picture.json["groups"],
            serde_json::json!([{"name": "t", "tasks": many - 2, "end": "done"}])
        );
        let listed = picture.json["lanes"].as_array().map_or(0, Vec::len) as u64;
        let left_out = picture.json["lanes_left_out"].as_u64().unwrap_or(0);
        assert_eq!(listed + left_out, many + 1);
        assert!(picture.json.to_string().len() < MOST_OF_ALL);
    }
}

#[test]
fn a_hundred_thousand_tasks_are_a_heat_map_in_a_small_picture() {
    let tasks = 100_000_u32;
    let mut all = trace("main mark x");
    let event = all.events[0];
    let mut ticks = event.ticks;
    let mut put = |task: u32, kind: Kind, obj: u32| {
        ticks += 500;
        all.events.push(Event {
            ticks,
            task,
            obj,
            kind: kind as u8,
            ..Event::default()
        });
    };
    for task in 2..2 + tasks {
        put(event.task, Kind::Spawn, task);
        put(task, Kind::Start, 0);
    }
    for task in 2..2 + tasks {
        put(task, Kind::Exit, 0);
    }
    let picture = draw(&fold(&all), &|_| None, "t", &Options::default());
    assert!(
        picture.html.len() < MOST_HTML,
        "{} bytes",
        picture.html.len()
    );
    assert!(picture.html.contains("class=\"heat\""));
    assert!(picture.text.contains("×100000"), "{}", picture.text);
    tags_of(&picture.html);
}

#[test]
fn lines_of_the_drawing_have_at_most_80_columns() {
    let picture = picture(
        "main spawn a_name_that_is_far_too_long_for_any_label; main sleep; a_name_that_is_far_too_long_for_any_label panic x",
    );
    let lanes = picture.text.split("\n\n").next().expect("lanes come first");
    assert!(
        lanes.lines().all(|line| line.chars().count() <= 80),
        "{lanes}"
    );
}

#[test]
fn facts_hold_what_lessons_claim() {
    let facts = picture("main spawn ada; main go grace; main recv orders; ada send orders; ada exit; main got orders; main join grace; grace exit; main joined grace; main end").json;
    assert_eq!(
        facts,
        serde_json::json!({
            "version": 1,
            "lanes": [
                {"name": "main", "parent": null, "engine": "thread", "end": "done", "waits": [{"reason": "recv", "object": "orders"}, {"reason": "join", "object": "grace"}]},
                {"name": "ada", "parent": "main", "engine": "thread", "end": "done", "waits": []},
                {"name": "grace", "parent": "main", "engine": "green", "end": "done", "waits": []},
            ],
            "edges": [
                {"kind": "spawn", "from": "main", "to": "ada", "object": null},
                {"kind": "spawn", "from": "main", "to": "grace", "object": null},
                {"kind": "message", "from": "ada", "to": "main", "object": "orders"},
                {"kind": "join", "from": "grace", "to": "main", "object": null},
            ],
            "concurrent": [["ada", "grace"]],
            "max_running": 1,
            "dropped": 0,
            "axis": "wall",
        })
    );
}

#[test]
fn any_events_are_drawn_and_stay_small() {
    let mut random = Random::new(11);
    for case in 0..80 {
        let mut trace = trace("main mark x");
        let event = trace.events[0];
        // Few tasks or many, few events or many, and names that nobody would give.
        let tasks = [5, 40, 3000][case % 3];
        let events = [120, 4000][case % 2];
        for (id, name) in ["<script>alert(1)</script>", "&\"'<", "größer"]
            .iter()
            .enumerate()
        {
            let name = name.repeat(1 + case % 400);
            trace.names.insert(id as u32 + 1, name.as_str().into());
        }
        for ticks in 0..events {
            let mut small = |most: u64| random.below(most) as u32;
            trace.events.push(Event {
                ticks: ticks * 1000,
                task: small(tasks),
                obj: small([5, tasks][case % 2]),
                seq: small(5),
                aux: small(15),
                kind: small(40) as u8,
                site: small(9) as u16,
                worker: small(12) as u8,
                ..event
            });
        }
        let place_of = |site: u16| {
            Some(Place {
                cell: 4,
                line: site.into(),
                text: "if a < b && c > d { \"<script>\" }".into(),
            })
        };
        let timeline = fold(&trace);
        let picture = draw(&timeline, &place_of, "t", &Options::default());
        let svg = as_file(&timeline, &place_of, &Options::default());
        for html in [&picture.html, &svg] {
            tags_of(html);
            assert!(!html.contains("NaN") && !html.contains("<script"));
            for number in [":inf", "Minf", "hinf", " inf"] {
                assert!(!html.contains(number), "{number}");
            }
        }
        for (form, long) in [
            ("html", picture.html.len()),
            ("text", picture.text.len()),
            ("json", picture.json.to_string().len()),
        ] {
            assert!(long < MOST_OF_ALL, "case {case}: {form} has {long} bytes");
        }
    }
}

#[test]
fn nothing_recorded_draws_nothing_and_does_not_fail() {
    let picture = draw(&Timeline::default(), &|_| None, "t", &Options::default());
    tags_of(&picture.html);
    assert_eq!(picture.json["lanes"], serde_json::json!([]));
}

/// What stands below the drawing in the text form.
fn below(text: &str) -> &str {
    text.split_once("\n\n").expect("has a legend").1
}

#[test]
fn the_text_stays_short_however_many_tasks_do_the_same() {
    for (many, most_lines) in [(4, 16), (33, 16), (200, 16), (2000, 32)] {
        let mut script = String::from("main spawn cook; cook take oven :3;");
        for task in 1..=many {
            script += &format!("main spawn baker{task}; baker{task} start;");
        }
        for task in 1..=many {
            script += &format!("baker{task} want oven :7;");
        }
        script += "cook release oven; cook exit;";
        for task in 1..=many {
            script +=
                &format!("baker{task} take oven; baker{task} release oven; baker{task} exit;");
        }
        for task in 1..=many {
            script += &format!("main join baker{task} :9; main joined baker{task};");
        }
        let text = picture(&(script + "main end")).text;
        let lines = below(&text).lines().count();
        assert!(lines <= most_lines, "{lines} lines:\n{text}");
        let thousands = words::thousands(many);
        let told = format!(
            "\n  {thousands} tasks like `baker1` each waited for lock `oven` (cell 4 line 7), "
        );
        assert!(text.contains(&told), "{text}");
        assert!(
            text.contains(&format!(": `baker{many}`, let go by ")),
            "{text}"
        );
        assert_eq!(text.matches("waited for lock").count(), 1, "{text}");
    }
}

#[test]
fn the_odd_one_out_is_told_by_name_also_where_it_is_in_no_lane() {
    let mut script = String::new();
    for task in 0..40 {
        script += &format!(
            "main spawn baker{task}; baker{task} recv orders :3; main send orders; baker{task} got orders;"
        );
    }
    script += "baker7 recv orders :3; @90000 main send orders; baker7 got orders;";
    for task in 0..40 {
        script += &format!("baker{task} exit;");
    }
    let text = picture(&(script + "main end")).text;
    insta::assert_snapshot!(below(&text), @r"
    # running   - ready   . not alive
    a group shows what most of its tasks do
    204 steps from one thing that happened to the next, not by time; 90 ms in all
      baker ×39: done; together ran 3.5 s, ready 780 µs, waited 390 µs
      39 tasks like `baker0` each waited for a message on channel `orders` (cell 4 line 3), 390 µs in all, let go by main; longest 10 µs: `baker0`
      baker7 waited 10 µs for a message on channel `orders` (cell 4 line 3); let go by main
      baker7 waited 88 ms for a message on channel `orders` (cell 4 line 3); let go by main
    ");
}

#[test]
fn waits_in_vain_and_long_ones_are_not_left_out() {
    let mut script = String::from("main spawn z; z take flour :2;");
    // No two names are alike.
    let names: Vec<String> = ('a'..='e')
        .flat_map(|a| ('s'..='z').map(move |b| format!("{a}{b}")))
        .collect();
    for (place, name) in names.iter().enumerate() {
        script += &format!(
            "main spawn {name}; {name} recv orders :{}; main send orders; {name} got orders;",
            place + 3
        );
    }
    script += "main recv news :99; @9000 z send news; main got news; z want flour :98; z deadlock z =1; z on; z cut; z exit; main end";
    let text = picture(&script).text;
    assert!(
        text.contains("\n  main waited 7.4 ms for a message on channel `news` (cell 4 line 99)"),
        "{text}"
    );
    assert!(text.contains("in vain: it waited for itself"), "{text}");
    assert!(
        text.contains("\n  and 26 more waits, 260 µs in all\n"),
        "{text}"
    );
}

#[test]
fn what_the_axis_of_steps_counts_is_said_and_is_the_same_in_all_forms() {
    let (_, trace) = golden::recordings()
        .into_iter()
        .find(|(name, _)| *name == "two_thousand")
        .expect("is one of them");
    let timeline = fold(&trace);
    let count = Scale::steps(&timeline).count().expect("counts steps");
    let steps = format!(
        "{} steps from one thing that happened to the next",
        words::thousands(count)
    );
    // All that is seen of the crowd are groups, in which there are no arrows.
    let arrows = format!(
        "of {} arrows, none is drawn",
        words::thousands(timeline.edges.len() as u64)
    );
    for axis in [Axis::Wall, Axis::Steps] {
        let options = Options { axis };
        let picture = draw(&timeline, &|_| None, "t", &options);
        let words = format!("data-t=\"159 ms in all, or {steps}\"");
        assert!(picture.html.contains(&words), "{words}");
        assert!(picture.html.contains(&arrows), "{arrows}");
        let by_steps = format!("\n{steps}, not by time; 159 ms in all\n");
        assert_eq!(picture.text.contains(&by_steps), axis == Axis::Steps);
        // The last number on the axis is the last round one before its end.
        let ticks: Vec<u64> = picture
            .html
            .split("data-t=\"")
            .filter_map(|rest| rest.split('"').next()?.replace(',', "").parse().ok())
            .filter(|tick| *tick > 99)
            .collect();
        let (step, last) = (ticks[0], *ticks.last().expect("has ticks"));
        assert!(last <= count && count - last < step, "{ticks:?} of {count}");
        assert!(picture.html.contains("data-t=\"0 steps\""));
        let file = as_file(&timeline, &|_| None, &options);
        let in_file = match axis {
            Axis::Steps => format!(">{steps}, not by time; 159 ms in all<"),
            _ => ">159 ms in all<".into(),
        };
        assert!(
            file.contains(&in_file) && file.contains(&arrows),
            "{in_file}"
        );
    }
}

#[test]
fn each_of_some_hundred_waits_has_its_bar_also_where_hovers_are_few() {
    let mut script = String::from("main spawn pong; pong recv there :3;");
    for round in 0..25 {
        script += &format!("@{} main send there :5;", 200 * (round + 1));
        script += &format!(
            "pong got there; main recv back :6; @{} pong send back :4; main got back; pong recv there :3;",
            200 * (round + 1) + 100
        );
    }
    let place_of = |site: u16| {
        Some(Place {
            cell: 4,
            line: site.into(),
            text: "for n in there { if back.send(n + 1).is_err() { break } }".repeat(3),
        })
    };
    let timeline = fold(&trace(&(script + "main end")));
    let waits = timeline.lanes.iter().flat_map(|lane| &lane.spans);
    let waits = waits
        .filter(|span| matches!(span.state, State::Blocked { .. }))
        .count();
    assert_eq!(waits, 51);
    let html = draw(&timeline, &place_of, "t", &Options::default()).html;
    // One path for each axis, with a rectangle for each wait; and one for the legend.
    let bars = html.split("<path class=\"chan\" d=\"").skip(1);
    let bars: Vec<usize> = bars
        .map(|path| {
            path.split('"')
                .next()
                .map_or(0, |path| path.matches('M').count())
        })
        .collect();
    assert_eq!(bars, [51, 51, 1]);
    assert!(html.len() < MOST_HTML, "{}", html.len());
}

#[test]
fn a_lock_that_changes_hands_changes_its_shade() {
    let html = picture(
        "main spawn ada; main spawn grace; ada take till; @100 ada release till; grace take till; @200 grace release till; ada take till; @300 ada release till; main end",
    )
    .html;
    let rectangles = |class: &str| {
        let (_, path) = html.split_once(class)?;
        Some(path.split('"').next()?.matches('M').count())
    };
    assert_eq!(rectangles("<path class=\"held\" d=\""), Some(2));
    assert_eq!(rectangles("<path class=\"held odd\" d=\""), Some(1));
    let queue = picture(
        "main make channel orders; main send orders; main send orders; main got orders; main end",
    )
    .html;
    for html in [&html, &queue] {
        assert!(
            !html.contains("class=\"\""),
            "a shape without a colour is black"
        );
    }
    assert_eq!(queue.matches("<path class=\"depth\"").count(), 2);
}
