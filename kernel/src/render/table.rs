//! All that hover texts hold, as rows: for keyboards, screen readers and those who want to search. And the whole picture as words, where no drawing is wanted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use threadbook_timeline::fold::{
    Edge, EdgeKind, Hold, Lane, Mark, Nanos, Region, Span, State, Timeline,
};

use super::Place;
use super::axis::duration;
use super::explain::explain;
use super::html::escaped;
use super::words::{Words, did};

/// What stands above the columns.
const HEADS: [&str; 5] = ["task", "did", "waited for", "let go by", "cell line"];

/// How much a kind of row says: when there are too many, those that say least are left out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Detail,
    Doing,
    Said,
    Wait,
    Task,
}

/// One thing that a task did, not yet in words: of many things few are told.
struct Item<'a> {
    lane: usize,
    at: Nanos,
    weight: Weight,
    what: What<'a>,
}

enum What<'a> {
    Task,
    Span(&'a Span),
    Hold(&'a Hold),
    Mark(&'a Mark),
    Region(&'a Region),
    Edge(&'a Edge),
}

/// A row as the columns are headed, the task first.
type Row = [String; 5];

/// At most `most` rows, lane by lane and in each by time, and how many are left out.
pub fn rows(words: &Words<'_>, lanes: &[&Lane], most: usize) -> (Vec<Row>, usize) {
    let mut items = items(words, lanes);
    let all = items.len();
    keep_the_heaviest(&mut items, most);
    items.sort_by_key(|item| {
        (
            item.lane,
            item.weight != Weight::Task,
            item.at,
            Reverse(item.weight),
        )
    });
    let left_out = all - items.len();
    let rows = items
        .iter()
        .map(|item| row(words, lanes[item.lane], &item.what));
    (rows.collect(), left_out)
}

fn items<'a>(words: &Words<'a>, lanes: &[&'a Lane]) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut places = HashMap::new();
    for (place, lane) in lanes.iter().enumerate() {
        places.insert(lane.task, place);
        let mut add = |at: Nanos, weight: Weight, what: What<'a>| {
            items.push(Item {
                lane: place,
                at,
                weight,
                what,
            });
        };
        add(lane.spawned, Weight::Task, What::Task);
        for span in &lane.spans {
            let weight = match span.state {
                State::Blocked { .. } => Weight::Wait,
                State::Unknown => Weight::Said,
                State::Sleeping | State::Computing => Weight::Doing,
                State::Ready | State::Running => Weight::Detail,
            };
            add(span.from, weight, What::Span(span));
        }
        for hold in &lane.holds {
            add(hold.from, Weight::Detail, What::Hold(hold));
        }
        for mark in &lane.marks {
            add(mark.at, Weight::Said, What::Mark(mark));
        }
        for region in &lane.regions {
            add(region.from, Weight::Said, What::Region(region));
        }
    }
    for edge in &words.timeline.edges {
        if let Some(&lane) = places.get(&edge.from) {
            items.push(Item {
                lane,
                at: edge.left,
                weight: Weight::Detail,
                what: What::Edge(edge),
            });
        }
    }
    items
}

fn row(words: &Words<'_>, lane: &Lane, what: &What<'_>) -> Row {
    let long = |from: Nanos, until: Option<Nanos>| {
        let until = until.unwrap_or(words.timeline.end);
        duration(Nanos(until.0.saturating_sub(from.0)))
    };
    let mut row = [
        lane.name.clone(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
    ];
    match what {
        What::Task => row[1] = of_the_task(words, lane),
        What::Span(span) => {
            let long = long(span.from, span.until);
            row[1] = match (span.state, span.deadlocked, span.until) {
                (State::Blocked { .. }, Some(_), _) => format!("waited {long}, in vain: deadlock"),
                (State::Blocked { .. }, None, None) => {
                    format!("waited {long}, and still did at the end")
                }
                (State::Blocked { .. }, None, Some(_)) => format!("waited {long}"),
                (State::Sleeping, ..) => format!("slept {long}"),
                (State::Computing, ..) => format!("computed for {long}"),
                (State::Unknown, ..) => format!("not kept: {long}"),
                (State::Ready, ..) => format!("could run, and did not for {long}"),
                (State::Running, ..) => format!("ran {long}"),
            };
            if let State::Blocked { reason, object } = span.state {
                row[2] = words.awaited(reason, object);
            }
            if let Some(by) = span.woken_by {
                row[3] = words.task(by).to_owned();
            }
            row[4] = bare(&words.place(span.site));
        }
        What::Hold(hold) => {
            row[1] = format!(
                "held {} for {}{}",
                words.object(hold.object),
                long(hold.from, hold.until),
                if hold.shared { ", to read" } else { "" }
            );
            row[4] = bare(&words.place(hold.site));
        }
        What::Mark(mark) => row[1] = format!("said: {}", mark.text),
        What::Region(region) => {
            row[1] = format!(
                "was in `{}` for {}",
                region.text,
                long(region.from, region.until)
            );
        }
        What::Edge(edge) => row[1] = did_for(words, edge),
    }
    row
}

fn of_the_task(words: &Words<'_>, lane: &Lane) -> String {
    let made = lane.parent.map_or(String::new(), |parent| {
        format!("made by {}; ", words.task(parent))
    });
    format!(
        "{made}{}; {}",
        did(&words.timeline.sums(lane)),
        words.end(lane)
    )
}

/// What a task did by which another one could go on.
fn did_for(words: &Words<'_>, edge: &Edge) -> String {
    let (to, object) = (words.task(edge.to), words.object(edge.object));
    match edge.kind {
        EdgeKind::Spawn => format!("made {to}"),
        EdgeKind::Message => format!("sent message {} on {object} to {to}", edge.seq),
        EdgeKind::Lock => format!("gave {object} back, and {to} got it"),
        EdgeKind::Wait => format!("was the last on {object}, and {to} went on"),
        EdgeKind::Join => format!("ended, and {to} had its result"),
        EdgeKind::Notify => format!("notified {object}, and {to} went on"),
        EdgeKind::Barrier => format!("was the last to come to {object}, and {to} went on"),
        EdgeKind::Once => format!("filled {object}, and {to} went on"),
    }
}

/// Leaves out those that say least, the last ones first. Half of what is left is for tasks when there are too many waits.
fn keep_the_heaviest(items: &mut Vec<Item<'_>>, most: usize) {
    let count =
        |items: &[Item<'_>], weight| items.iter().filter(|item| item.weight == weight).count();
    let waits = count(items, Weight::Wait)
        .min(most.saturating_sub(count(items, Weight::Task).min(most / 2)));
    let mut left = most - waits;
    let mut quota = BTreeMap::from([(Weight::Wait, waits)]);
    for weight in [Weight::Task, Weight::Said, Weight::Doing, Weight::Detail] {
        let kept = count(items, weight).min(left);
        quota.insert(weight, kept);
        left -= kept;
    }
    items.retain(|item| {
        let spare = quota.entry(item.weight).or_default();
        let stays = *spare > 0;
        *spare = spare.saturating_sub(1);
        stays
    });
}

fn bare(place: &str) -> String {
    place
        .trim_start_matches(" (")
        .trim_end_matches(')')
        .to_owned()
}

/// The table, folded unless `open`.
pub fn html(words: &Words<'_>, lanes: &[&Lane], most: usize, open: bool) -> String {
    let (rows, left_out) = rows(words, lanes, most);
    let mut html = format!(
        "<details{}><summary>as a table</summary><table><caption>What each task did, and what it waited for</caption><thead><tr>",
        if open { " open=\"\"" } else { "" }
    );
    for head in HEADS {
        _ = write!(html, "<th scope=\"col\">{head}</th>");
    }
    html += "</tr></thead><tbody>";
    for row in rows {
        let [task, rest @ ..] = &row;
        _ = write!(html, "<tr><th scope=\"row\">{}</th>", escaped(task));
        for cell in rest {
            _ = write!(html, "<td>{}</td>", escaped(cell));
        }
        html += "</tr>";
    }
    html += "</tbody></table>";
    if left_out > 0 {
        _ = write!(html, "<div>and {left_out} more rows</div>");
    }
    html + "</details>"
}

/// Longest a picture in words is told, in rows of its table.
const MOST_ROWS: usize = 120;

/// A timeline as words only: for `text/html` a sentence, the story and the table; for `text/plain` the same in lines.
pub fn in_words(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> (String, String) {
    let words = Words { timeline, place_of };
    let lanes: Vec<&Lane> = timeline.lanes.iter().collect();
    let label = words.label();
    let story = explain(timeline, place_of);
    let items: String = story
        .iter()
        .map(|sentence| format!("<li>{}</li>", escaped(sentence)))
        .collect();
    let html = format!(
        "<div><p>{}</p><ul>{items}</ul>{}</div>",
        escaped(&label),
        html(&words, &lanes, MOST_ROWS, true)
    );
    let mut text = format!("{label}\n\n{}\n\n", story.join("\n"));
    let (rows, left_out) = rows(&words, &lanes, MOST_ROWS);
    for row in rows {
        let [task, did, awaited, by, place] = &row;
        _ = write!(text, "{task} {did}");
        for (before, what) in [(" for ", awaited), ("; let go by ", by), ("; at ", place)] {
            if !what.is_empty() {
                _ = write!(text, "{before}{what}");
            }
        }
        text.push('\n');
    }
    if left_out > 0 {
        _ = writeln!(text, "and {left_out} more");
    }
    (html, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::script::trace;

    fn place_of(site: u16) -> Option<Place> {
        Some(Place {
            cell: 4,
            line: site.into(),
            text: String::new(),
        })
    }

    const BUSY: &str = "main spawn ada; main spawn grace; ada take till :3; grace want till :4; ada mark now; ada region oven; ada leave; @200 ada release till; \
        grace take till :4; grace send orders; main recv orders :9; main got orders; ada sleep :5; ada on; ada exit; grace release till; grace exit; main joined ada; main end";

    #[test]
    fn the_table_holds_what_hover_holds() {
        let timeline = fold(&trace(BUSY));
        insta::assert_snapshot!(in_words(&timeline, &place_of).1, @r"
        Timeline of 310 µs: main, ada, grace; the longest wait: grace waited 160 µs for lock `till` (cell 4 line 4); let go by ada.

        grace waited 160 µs for lock `till` (cell 4 line 4), held by ada since cell 4 line 3; ada's unlock let it go on.
        main waited 10 µs for a message on channel `orders` (cell 4 line 9).
        All of it took 310 µs; of 2 tasks besides main, at most 2 ran at once.

        main ran 300 µs, waited 10 µs; done
        main ran 230 µs
        main made ada
        main made grace
        main waited 10 µs for a message on channel `orders`; at cell 4 line 9
        main ran 70 µs
        ada made by main; ran 230 µs, ready 20 µs, slept 10 µs; done
        ada could run, and did not for 20 µs
        ada ran 220 µs; at cell 4 line 3
        ada held lock `till` for 170 µs; at cell 4 line 3
        ada said: now
        ada was in `oven` for 10 µs
        ada gave lock `till` back, and grace got it
        ada slept 10 µs; at cell 4 line 5
        ada ran 10 µs
        ada ended, and main had its result
        grace made by main; ran 80 µs, ready 30 µs, waited 160 µs; done
        grace could run, and did not for 20 µs
        grace waited 160 µs for lock `till`; let go by ada; at cell 4 line 4
        grace could run, and did not for 10 µs
        grace ran 80 µs; at cell 4 line 4
        grace held lock `till` for 70 µs; at cell 4 line 4
        grace sent message 1 on channel `orders` to main
        ");
    }

    #[test]
    fn of_too_many_rows_those_that_say_most_stay() {
        let timeline = fold(&trace(BUSY));
        let words = Words {
            timeline: &timeline,
            place_of: &place_of,
        };
        let lanes: Vec<&Lane> = timeline.lanes.iter().collect();
        let all = rows(&words, &lanes, 1000);
        assert_eq!(all.1, 0);
        for most in 0..all.0.len() {
            let (kept, left_out) = rows(&words, &lanes, most);
            assert_eq!((kept.len(), left_out), (most, all.0.len() - most), "{most}");
        }
        let (kept, _) = rows(&words, &lanes, 5);
        let waits = kept.iter().filter(|row| !row[2].is_empty());
        assert_eq!(waits.count(), 2, "{kept:#?}");
        assert!(kept[0][1].starts_with("ran "), "{kept:#?}");
    }

    #[test]
    fn names_in_the_table_are_text() {
        let timeline = fold(&trace("main spawn <b>&\"; <b>&\" exit; main end"));
        let (html, text) = in_words(&timeline, &|_| None);
        assert!(
            html.contains("&lt;b&gt;&amp;&quot;") && !html.contains("<b>"),
            "{html}"
        );
        assert!(text.contains("<b>&\""));
    }

    #[test]
    fn a_table_of_many_events_is_cheap_and_short() {
        let mut script = String::new();
        for task in 0..300 {
            script += &format!(
                "main spawn t{task}; t{task} take till; t{task} release till; t{task} exit;"
            );
        }
        let timeline = fold(&trace(&script));
        let (html, text) = in_words(&timeline, &place_of);
        assert!(html.len() < 40_000, "{}", html.len());
        assert!(text.lines().count() < 150);
    }
}
