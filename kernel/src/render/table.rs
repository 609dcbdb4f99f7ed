//! All that hover texts hold, as rows: for keyboards, screen readers and those who want to search. And the whole picture as words, where no drawing is wanted.

use std::cmp::Reverse;
use std::collections::HashMap;
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

/// Rows, lane by lane and in each by time.
pub struct Table {
    rows: Vec<(Weight, Row)>,
    /// The places of the rows in the order in which they are handed out: of one kind the first ones stay.
    order: Vec<usize>,
    /// How many more there could be.
    left_out: usize,
}

impl Table {
    /// Those `most` rows that say most. Takes O(n) in all there is.
    pub fn new(words: &Words<'_>, lanes: &[&Lane], most: usize) -> Table {
        let mut counts = Counts::default();
        each(words, lanes, &mut |item| {
            counts[item.weight as usize] += 1;
        });
        let all: usize = counts.iter().sum();
        let mut quota = quota(&counts, most);
        let mut items = Vec::new();
        each(words, lanes, &mut |item| {
            if take_one(&mut quota, item.weight) {
                items.push(item);
            }
        });
        let mut sorted: Vec<usize> = (0..items.len()).collect();
        sorted.sort_by_key(|place| {
            let item = &items[*place];
            (
                item.lane,
                item.weight != Weight::Task,
                item.at,
                Reverse(item.weight),
            )
        });
        let rows = sorted.iter().map(|place| {
            let item = &items[*place];
            (item.weight, row(words, lanes[item.lane], &item.what))
        });
        let mut order = vec![0; items.len()];
        for (row, place) in sorted.iter().enumerate() {
            order[*place] = row;
        }
        Table {
            left_out: all - items.len(),
            rows: rows.collect(),
            order,
        }
    }

    /// At most so many of the rows, and how many are left out in all.
    fn most(&self, most: usize) -> (Vec<&Row>, usize) {
        let mut counts = Counts::default();
        for (weight, _) in &self.rows {
            counts[*weight as usize] += 1;
        }
        let mut quota = quota(&counts, most);
        let mut stays = vec![false; self.rows.len()];
        for &row in &self.order {
            stays[row] = take_one(&mut quota, self.rows[row].0);
        }
        let kept = self.rows.iter().zip(stays).filter(|(_, stays)| *stays);
        let rows: Vec<&Row> = kept.map(|((_, row), _)| row).collect();
        let left_out = self.left_out + self.rows.len() - rows.len();
        (rows, left_out)
    }

    /// At most so many rows of it as HTML, folded unless `open`.
    pub fn html(&self, most: usize, open: bool) -> String {
        let (rows, left_out) = self.most(most);
        let mut html = format!(
            "<details{}><summary>as a table</summary><table><caption>What each task did, and what it waited for</caption><thead><tr>",
            if open { " open=\"\"" } else { "" }
        );
        for head in HEADS {
            _ = write!(html, "<th scope=\"col\">{head}</th>");
        }
        html += "</tr></thead><tbody>";
        for [task, rest @ ..] in rows {
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
}

/// Hands out all that could be a row, lane by lane, then what tasks did for others.
fn each<'a>(words: &Words<'a>, lanes: &[&'a Lane], take: &mut dyn FnMut(Item<'a>)) {
    let mut places = HashMap::new();
    for (place, lane) in lanes.iter().enumerate() {
        places.insert(lane.task, place);
        let mut add = |at: Nanos, weight: Weight, what: What<'a>| {
            take(Item {
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
            take(Item {
                lane,
                at: edge.left,
                weight: Weight::Detail,
                what: What::Edge(edge),
            });
        }
    }
}

/// How many there are of each kind, by [`Weight`].
type Counts = [usize; Weight::Task as usize + 1];

/// How many of each kind stay, of `most` in all: those that say most, and of one kind the first ones. Half of it is for tasks when there are too many waits.
fn quota(counts: &Counts, most: usize) -> Counts {
    let count = |weight: Weight| counts[weight as usize];
    let waits = count(Weight::Wait).min(most.saturating_sub(count(Weight::Task).min(most / 2)));
    let mut left = most - waits;
    let mut quota = Counts::default();
    quota[Weight::Wait as usize] = waits;
    for weight in [Weight::Task, Weight::Said, Weight::Doing, Weight::Detail] {
        let kept = count(weight).min(left);
        quota[weight as usize] = kept;
        left -= kept;
    }
    quota
}

fn take_one(quota: &mut Counts, weight: Weight) -> bool {
    let left = &mut quota[weight as usize];
    let stays = *left > 0;
    *left = left.saturating_sub(1);
    stays
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

fn bare(place: &str) -> String {
    place
        .trim_start_matches(" (")
        .trim_end_matches(')')
        .to_owned()
}

/// Longest a picture in words is told, in rows of its table.
const MOST_ROWS: usize = 120;

/// A timeline as words only: for `text/html` a sentence, the story and the table; for `text/plain` the same in lines.
pub fn in_words(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> (String, String) {
    let words = Words { timeline, place_of };
    let lanes: Vec<&Lane> = timeline.lanes.iter().collect();
    let table = Table::new(&words, &lanes, MOST_ROWS);
    let label = words.label();
    let story = explain(timeline, place_of);
    let items: String = story
        .iter()
        .map(|sentence| format!("<li>{}</li>", escaped(sentence)))
        .collect();
    let html = format!(
        "<div><p>{}</p><ul>{items}</ul>{}</div>",
        escaped(&label),
        table.html(MOST_ROWS, true)
    );
    let mut text = format!("{label}\n\n{}\n\n", story.join("\n"));
    let (rows, left_out) = table.most(MOST_ROWS);
    for [task, did, awaited, by, place] in rows {
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
        let table = Table::new(&words, &lanes, 1000);
        let all = table.rows.len();
        assert_eq!(table.left_out, 0);
        for most in 0..all {
            let fewer = Table::new(&words, &lanes, most);
            assert_eq!((fewer.rows.len(), fewer.left_out), (most, all - most));
            // Less of it later is the same as less of it at once.
            for least in 0..=most {
                let at_once = Table::new(&words, &lanes, least);
                assert_eq!(fewer.most(least), at_once.most(least), "{most} {least}");
                assert_eq!(fewer.most(least), table.most(least), "{most} {least}");
            }
        }
        let (kept, _) = table.most(5);
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
