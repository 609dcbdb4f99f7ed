//! The picture as a story: sentences, the most important first. Pure, and without a drawing.
//!
//! What went wrong comes first (deadlocks, panics, interrupts, tasks that are left behind), then the waits by how long they took, then how much ran at
//! once. Waits of one task at one line for one thing are told together, the longest of them in full.

use std::collections::HashMap;

use threadbook_timeline::fold::{
    Deadlock, Edge, Hold, Lane, LaneEnd, Nanos, Span, State, Timeline,
};
use threadbook_timeline::format::{Cause, MAIN_TASK, Reason};

use super::Place;
use super::axis::duration;
use super::words::Words;

/// Of how many kinds of waits it is told.
const MOST_WAITS: usize = 12;
/// Of how many deadlocks, and of how many tasks in one.
const MOST_IN_RINGS: usize = 8;
/// Of how many tasks that panicked, or that were cut off.
const MOST_ENDS: usize = 8;
/// Of how many waits a running cell tells.
const MOST_NOW: usize = 6;
/// Of how many locks it is told how much they were waited for.
const MOST_LOCKS: usize = 4;

/// Tells what a timeline shows, a sentence each, the most important first. Never empty.
///
/// Takes time in proportion to the timeline. The same timeline gives the same sentences.
pub fn explain(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> Vec<String> {
    let story = Story {
        words: Words { timeline, place_of },
    };
    let mut sentences = Vec::new();
    sentences.extend(story.deadlocks());
    sentences.extend(story.panics());
    sentences.extend(story.interrupted());
    sentences.extend(story.left_alive());
    let waits = story.waits();
    let nobody_waited = waits.is_empty() && sentences.is_empty();
    sentences.extend(waits);
    sentences.extend(story.contended_locks());
    sentences.extend(story.cut_off());
    if nobody_waited {
        sentences.push("Nobody waited for anybody.".into());
    }
    sentences.push(story.at_once());
    sentences.extend(story.words.missing().map(|missing| capital(&missing) + "."));
    sentences
}

/// Who waits at the end of what was recorded, a sentence each, the longest wait first: for a cell that still runs.
pub fn waits_now(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> Vec<String> {
    let words = Words { timeline, place_of };
    let open = |lane: &&Lane| {
        lane.ended.is_none()
            && lane.spans.last().is_some_and(|span| {
                span.until.is_none() && matches!(span.state, State::Blocked { .. })
            })
    };
    let mut waiting: Vec<&Lane> = timeline.lanes.iter().filter(open).collect();
    waiting.sort_by_key(|lane| lane.spans.last().map(|span| span.from));
    let told = waiting.iter().take(MOST_NOW).map(|lane| {
        let since = lane.spans.last().map_or(timeline.end, |span| span.from);
        let long = duration(Nanos(timeline.end.0.saturating_sub(since.0)));
        format!("{}; for {long} so far", words.does(lane))
    });
    let mut told: Vec<String> = told.collect();
    if waiting.len() > MOST_NOW {
        told.push(format!("and {} more wait", waiting.len() - MOST_NOW));
    }
    told
}

struct Story<'a> {
    words: Words<'a>,
}

/// The waits of one task, at one line, for one thing.
struct Waits<'a> {
    lane: &'a Lane,
    longest: &'a Span,
    times: usize,
    in_all: u64,
}

impl<'a> Story<'a> {
    fn timeline(&self) -> &'a Timeline {
        self.words.timeline
    }

    fn long(&self, span: &Span) -> u64 {
        span.until(self.timeline().end).0 - span.from.0
    }

    /// Rings first, then who waited although nobody was left.
    fn deadlocks(&self) -> Vec<String> {
        let mut told = Vec::new();
        let rings = &self.timeline().rings;
        for ring in rings.iter().take(MOST_IN_RINGS) {
            let names: Vec<&str> = ring
                .tasks
                .iter()
                .take(MOST_IN_RINGS)
                .map(|task| self.words.task(*task))
                .collect();
            told.push(match (names.as_slice(), ring.tasks.len()) {
                ([one], 1) => format!("Deadlock: {one} waited for itself."),
                (names, count) if count > names.len() => format!(
                    "Deadlock: {count} tasks waited for each other in a ring, {} among them.",
                    names.join(", ")
                ),
                ([a, b], _) => format!("Deadlock: {a} and {b} waited for each other."),
                (names, _) => format!(
                    "Deadlock: {} waited for each other, in a ring.",
                    listed(names)
                ),
            });
            let members = ring.tasks.iter().take(MOST_IN_RINGS);
            told.extend(members.filter_map(|task| {
                let lane = self.timeline().lane(*task)?;
                let span = in_vain(lane, Deadlock::Ring)?;
                Some(format!("{}.", self.wait_of(lane, span)))
            }));
        }
        if rings.len() > MOST_IN_RINGS {
            told.push(format!(
                "{} more rings of tasks waited like that.",
                rings.len() - MOST_IN_RINGS
            ));
        }
        let asleep: Vec<(&Lane, &Span)> = self
            .timeline()
            .lanes
            .iter()
            .filter_map(|lane| Some((lane, in_vain(lane, Deadlock::AllAsleep)?)))
            .collect();
        if !asleep.is_empty() {
            told.push("Deadlock: all tasks waited, and nobody was left who could have let one of them go on.".into());
        }
        for (lane, span) in asleep.iter().take(MOST_IN_RINGS) {
            told.push(format!("{}.", self.wait_of(lane, span)));
        }
        if asleep.len() > MOST_IN_RINGS {
            told.push(format!(
                "{} more waited like that.",
                asleep.len() - MOST_IN_RINGS
            ));
        }
        told
    }

    /// `ada waited 280 µs for lock `sugar` (cell 4 line 4), held by grace since cell 4 line 2`, without its end.
    fn wait_of(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked { reason, object } = span.state else {
            return self.words.span(lane, span);
        };
        format!(
            "{} waited {} for {}{}{}",
            lane.name,
            duration(Nanos(self.long(span))),
            self.words.awaited(reason, object),
            self.words.place(span.site),
            self.held_by(lane, span)
        )
    }

    /// `, held by cook since cell 4 line 5`, where another task had the lock when the wait began.
    fn held_by(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked {
            reason: Reason::Lock | Reason::Read | Reason::Write,
            object,
        } = span.state
        else {
            return String::new();
        };
        // By the clocks of two cores it may have been taken a little later than the wait for it began.
        let until = span.until(self.timeline().end);
        let holds = |hold: &&Hold| {
            hold.object == object
                && hold.from < until.max(Nanos(span.from.0 + 1))
                && hold.until.is_none_or(|given_back| given_back > span.from)
        };
        let holder = self
            .timeline()
            .lanes
            .iter()
            .flat_map(|other| {
                other
                    .holds
                    .iter()
                    .filter(holds)
                    .map(move |hold| (other, hold))
            })
            .min_by_key(|(other, hold)| (other.task == lane.task, hold.from));
        match holder {
            Some((other, hold)) => {
                let who = if other.task == lane.task {
                    "itself"
                } else {
                    &other.name
                };
                let place = self.words.place(hold.site);
                let since = place.trim_start_matches(" (").trim_end_matches(')');
                match since {
                    "" => format!(", held by {who}"),
                    _ => format!(", held by {who} since {since}"),
                }
            }
            None => String::new(),
        }
    }

    fn panics(&self) -> Vec<String> {
        let panicked = self
            .timeline()
            .lanes
            .iter()
            .filter_map(|lane| match &lane.end {
                LaneEnd::Panicked(message) => Some(format!("{} panicked: {message}.", lane.name)),
                _ => None,
            });
        first_of(panicked.collect(), MOST_ENDS, "more panicked")
    }

    fn interrupted(&self) -> Vec<String> {
        let lanes = &self.timeline().lanes;
        let cut =
            lanes
                .iter()
                .filter(|lane| lane.end == LaneEnd::Cut(Cause::Interrupt))
                .map(|lane| {
                    let waited =
                        lane.spans.iter().rev().take(4).find(|span| {
                            matches!(span.state, State::Blocked { .. } | State::Sleeping)
                        });
                    match waited {
                        Some(span) if span.state == State::Sleeping => format!(
                            "{} slept{} until the interrupt ended it.",
                            lane.name,
                            self.words.place(span.site)
                        ),
                        Some(span) => {
                            format!(
                                "{}, until the interrupt ended it.",
                                self.wait_of(lane, span)
                            )
                        }
                        None => format!("The interrupt ended {}.", lane.name),
                    }
                });
        first_of(cut.collect(), MOST_ENDS, "more were ended by it")
    }

    fn left_alive(&self) -> Vec<String> {
        let alive = self.words.left_alive();
        alive
            .iter()
            .map(|sentence| format!("Still alive when the cell ended: {sentence}."))
            .collect()
    }

    /// The waits by how long they took in all.
    fn waits(&self) -> Vec<String> {
        let is_over = self
            .timeline()
            .lane(MAIN_TASK)
            .is_some_and(|main| main.ended.is_some());
        let mut groups: Vec<Waits<'_>> = Vec::new();
        let mut places = HashMap::new();
        for lane in &self.timeline().lanes {
            for span in &lane.spans {
                let State::Blocked { reason, object } = span.state else {
                    continue;
                };
                // Those in vain, those that an interrupt ended, and those that go on, are told already.
                let is_told = span.deadlocked.is_some()
                    || (is_over && span.until.is_none())
                    || (lane.end == LaneEnd::Cut(Cause::Interrupt) && span.woken_by.is_none());
                if is_told {
                    continue;
                }
                let key = (lane.task, reason, object, span.site);
                let long = self.long(span);
                match places.get(&key) {
                    None => {
                        places.insert(key, groups.len());
                        groups.push(Waits {
                            lane,
                            longest: span,
                            times: 1,
                            in_all: long,
                        });
                    }
                    Some(&at) => {
                        let group = &mut groups[at];
                        group.times += 1;
                        group.in_all = group.in_all.saturating_add(long);
                        if long > self.long(group.longest) {
                            group.longest = span;
                        }
                    }
                }
            }
        }
        // Stable: of two that are equal, the lane that is drawn first.
        groups.sort_by_key(|group| std::cmp::Reverse(group.in_all));
        let told = groups.iter().take(MOST_WAITS).map(|group| self.told(group));
        let mut told: Vec<String> = told.collect();
        if groups.len() > MOST_WAITS {
            let rest = &groups[MOST_WAITS..];
            let times: usize = rest.iter().map(|group| group.times).sum();
            let in_all = rest
                .iter()
                .fold(0_u64, |sum, group| sum.saturating_add(group.in_all));
            told.push(format!(
                "{times} more waits took {} in all.",
                duration(Nanos(in_all))
            ));
        }
        told
    }

    fn told(&self, group: &Waits<'_>) -> String {
        let (lane, span) = (group.lane, group.longest);
        let how = self.how_it_ended(lane, span);
        if group.times == 1 {
            return format!("{}{how}.", self.wait_of(lane, span));
        }
        let State::Blocked { reason, object } = span.state else {
            return String::new();
        };
        format!(
            "{} waited {} times for {}{}, {} in all; the longest took {}{}{how}.",
            lane.name,
            group.times,
            self.words.awaited(reason, object),
            self.words.place(span.site),
            duration(Nanos(group.in_all)),
            duration(Nanos(self.long(span))),
            self.held_by(lane, span),
        )
    }

    /// `; cook's unlock let it go on`.
    fn how_it_ended(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked { reason, .. } = span.state else {
            return String::new();
        };
        let Some(by) = span.woken_by else {
            return match span.until {
                None => ", and still did at the end".into(),
                Some(_) => String::new(),
            };
        };
        let name = self.words.task(by);
        match reason {
            Reason::Lock | Reason::Read | Reason::Write => {
                format!("; {name}'s unlock let it go on")
            }
            Reason::Recv => match self.edge_of(lane, span, by) {
                Some(edge) if edge.seq > 0 => {
                    format!("; message {} of {name} let it go on", edge.seq)
                }
                Some(_) => format!("; a message of {name} let it go on"),
                None => format!("; {name} let it go on"),
            },
            Reason::Send => format!("; {name} made room, and so let it go on"),
            Reason::Wait => format!("; the last `done` came from {name}"),
            Reason::Join => String::new(),
            Reason::Scope => format!("; the last of them was {name}"),
            Reason::Notify => format!("; {name} notified it"),
            Reason::Barrier => format!("; the last to come was {name}"),
            Reason::Once => format!("; {name} filled it"),
            Reason::Select | Reason::Sleep => format!("; {name} let it go on"),
        }
    }

    /// The edge by which a wait was ended. They stand in the order of their ends.
    fn edge_of(&self, lane: &Lane, span: &Span, by: u32) -> Option<&'a Edge> {
        let woken = span.woken_at.or(span.until)?;
        let edges = &self.timeline().edges;
        let first = edges.partition_point(|edge| edge.reached < woken);
        edges[first..]
            .iter()
            .find(|edge| edge.to == lane.task)
            .filter(|edge| edge.from == by && edge.ended_wait)
    }

    /// Locks for which tasks waited more than once: how often and how long, and who had it longest.
    fn contended_locks(&self) -> Vec<String> {
        let mut waited: HashMap<u32, (usize, u64)> = HashMap::new();
        let mut had: HashMap<u32, HashMap<u32, u64>> = HashMap::new();
        for lane in &self.timeline().lanes {
            for span in &lane.spans {
                if let State::Blocked {
                    reason: Reason::Lock | Reason::Read | Reason::Write,
                    object,
                } = span.state
                {
                    let waits = waited.entry(object).or_default();
                    waits.0 += 1;
                    waits.1 = waits.1.saturating_add(self.long(span));
                }
            }
            for hold in &lane.holds {
                let until = hold.until.unwrap_or(self.timeline().end);
                let long = had
                    .entry(hold.object)
                    .or_default()
                    .entry(lane.task)
                    .or_default();
                *long = long.saturating_add(until.0.saturating_sub(hold.from.0));
            }
        }
        let mut locks: Vec<(u32, (usize, u64))> =
            waited.into_iter().filter(|lock| lock.1.0 > 1).collect();
        locks.sort_by_key(|lock| (std::cmp::Reverse(lock.1.1), lock.0));
        let told = locks
            .iter()
            .take(MOST_LOCKS)
            .map(|(lock, (times, in_all))| {
                let longest = had.get(lock).and_then(|had| {
                    had.iter()
                        .max_by_key(|(task, long)| (**long, std::cmp::Reverse(**task)))
                });
                let who = longest.map_or(String::new(), |(task, long)| {
                    format!(
                        "; {} had it longest, {} in all",
                        self.words.task(*task),
                        duration(Nanos(*long))
                    )
                });
                format!(
                    "{} was waited for {times} times, {} in all{who}.",
                    capital(&self.words.object(*lock)),
                    duration(Nanos(*in_all))
                )
            });
        told.collect()
    }

    fn cut_off(&self) -> Option<String> {
        let lanes = &self.timeline().lanes;
        let cut: Vec<&str> = lanes
            .iter()
            .filter(|lane| lane.end == LaneEnd::Cut(Cause::Program))
            .map(|lane| lane.name.as_str())
            .collect();
        match cut.as_slice() {
            [] => None,
            [one] => Some(format!("{one} was cut off when its program returned.")),
            names if names.len() <= MOST_ENDS => Some(format!(
                "{} were cut off when their program returned.",
                listed(names)
            )),
            names => Some(format!(
                "{} and {} more were cut off when their program returned.",
                names[..MOST_ENDS].join(", "),
                names.len() - MOST_ENDS
            )),
        }
    }

    fn at_once(&self) -> String {
        let timeline = self.timeline();
        let long = duration(timeline.end);
        match timeline.lanes.len() {
            0 => "Nothing was recorded.".into(),
            1 => format!("All of it took {long}, in main alone."),
            lanes => {
                let others = match lanes {
                    2 => "one task".into(),
                    _ => format!("{} tasks", lanes - 1),
                };
                let at_most = match timeline.gap {
                    Some(_) => "as far as was seen, at most",
                    None => "at most",
                };
                let ran = match timeline.max_running {
                    0 => "none was seen to run".into(),
                    1 => format!("{at_most} one ran at once"),
                    many => format!("{at_most} {many} ran at once"),
                };
                format!("All of it took {long}; of {others} besides main, {ran}.")
            }
        }
    }
}

fn in_vain(lane: &Lane, how: Deadlock) -> Option<&Span> {
    let last = lane.spans.iter().rev();
    last.into_iter().find(|span| span.deadlocked == Some(how))
}

fn first_of(mut sentences: Vec<String>, most: usize, more: &str) -> Vec<String> {
    let left_out = sentences.len().saturating_sub(most);
    if left_out > 0 {
        sentences.truncate(most);
        sentences.push(format!("{left_out} {more}."));
    }
    sentences
}

/// `ada, grace and bob`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
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

    fn story(script: &str) -> String {
        explain(&fold(&trace(script)), &place_of).join("\n")
    }

    #[test]
    fn a_wait_for_a_lock_names_who_had_it_and_who_let_go() {
        let script = "main spawn cook; main spawn baker; cook take oven :5; baker want oven :7; @1850 cook release oven; cook exit; baker take oven; \
            baker release oven; baker exit; main joined cook; main joined baker; main end";
        insta::assert_snapshot!(story(script), @r"
        baker waited 1.8 ms for lock `oven` (cell 4 line 7), held by cook since cell 4 line 5; cook's unlock let it go on.
        All of it took 1.9 ms; of 2 tasks besides main, at most one ran at once.
        ");
    }

    #[test]
    fn each_kind_of_wait_says_how_it_ended() {
        let script = "main spawn ada; main add w =1; main wait w :3; @100 ada done w; main on; main recv orders :4; @200 ada send orders; main got orders; \
            ada send orders; ada full orders :5; @300 main got orders; ada on; main join ada :6; @400 ada exit; main joined ada; main end";
        insta::assert_snapshot!(story(script), @r"
        main waited 80 µs for a message on channel `orders` (cell 4 line 4); message 1 of ada let it go on.
        main waited 80 µs for ada to end (cell 4 line 6).
        main waited 70 µs for wait group `w` (cell 4 line 3); the last `done` came from ada.
        ada waited 70 µs for room in channel `orders` (cell 4 line 5); main made room, and so let it go on.
        All of it took 420 µs; of one task besides main, at most one ran at once.
        ");
    }

    #[test]
    fn waits_at_one_line_are_told_together_and_the_longest_in_full() {
        let mut script = "main spawn cook; main spawn baker;".to_owned();
        for round in 0..5 {
            let at = 1000 * (round + 1);
            script += &format!(
                "@{at} cook take oven :5; baker want oven :7; @{} cook release oven; baker take oven :7; baker release oven;",
                at + 100 * (round + 1)
            );
        }
        insta::assert_snapshot!(story(&(script + "cook exit; baker exit; main end")), @r"
        baker waited 5 times for lock `oven` (cell 4 line 7), 1.4 ms in all; the longest took 490 µs, held by cook since cell 4 line 5; cook's unlock let it go on.
        Lock `oven` was waited for 5 times, 1.4 ms in all; cook had it longest, 1.5 ms in all.
        All of it took 5.5 ms; of 2 tasks besides main, at most 2 ran at once.
        ");
    }

    #[test]
    fn a_deadlock_comes_first_as_a_ring() {
        let script = "main spawn ada; main spawn grace; ada take flour :2; grace take sugar :3; ada want sugar :4; @300 grace want flour :5; grace deadlock ada =1; \
            grace deadlock grace =1; ada on; ada cut; grace on; grace cut; grace release sugar; grace exit; ada release flour; ada exit; main joined ada; main end";
        insta::assert_snapshot!(story(script), @r"
        Deadlock: ada and grace waited for each other.
        ada waited 280 µs for lock `sugar` (cell 4 line 4), held by grace since cell 4 line 3.
        grace waited 50 µs for lock `flour` (cell 4 line 5), held by ada since cell 4 line 2.
        All of it took 420 µs; of 2 tasks besides main, at most 2 ran at once.
        ");
        insta::assert_snapshot!(story("main take till :2; main want till :3; main deadlock main =1; main on; main cut; main release till; main end"), @r"
        Deadlock: main waited for itself.
        main waited 20 µs for lock `till` (cell 4 line 3), held by itself since cell 4 line 2.
        All of it took 70 µs, in main alone.
        ");
        let asleep = "main spawn ada; ada recv orders :2; main wait bakers :3; x deadlock main =0; x deadlock ada =0; ada on; ada cut; ada exit; main on; main cut; main end";
        insta::assert_snapshot!(story(asleep), @r"
        Deadlock: all tasks waited, and nobody was left who could have let one of them go on.
        main waited 60 µs for wait group `bakers` (cell 4 line 3).
        ada waited 40 µs for a message on channel `orders` (cell 4 line 2).
        All of it took 110 µs; of one task besides main, at most one ran at once.
        ");
    }

    #[test]
    fn who_is_left_behind_panicked_or_was_cut_off_is_told() {
        let script = "main spawn ada; main spawn bob; main go eve; ada recv orders :3; bob panic no flour; bob exit; eve start ^1; eve cut =2 ^1; eve exit ^1; @300 main end";
        insta::assert_snapshot!(story(script), @r"
        bob panicked: no flour.
        Still alive when the cell ended: ada waits for a message on channel `orders` (cell 4 line 3); a sender of it is alive, and nobody has sent to it in this cell.
        eve was cut off when its program returned.
        All of it took 300 µs; of 3 tasks besides main, at most one ran at once.
        ");
        let interrupted = "main spawn ada; main recv orders :3; ada sleep :4; @3000000 main cut =3; main on; ada cut =3; ada on; ada exit; main end";
        insta::assert_snapshot!(story(interrupted), @r"
        main waited 3 s for a message on channel `orders` (cell 4 line 3), until the interrupt ended it.
        ada slept (cell 4 line 4) until the interrupt ended it.
        All of it took 3 s; of one task besides main, at most one ran at once.
        ");
    }

    #[test]
    fn nothing_to_tell_is_said() {
        insta::assert_snapshot!(story("main spawn ada; ada exit; main end"), @r"
        Nobody waited for anybody.
        All of it took 30 µs; of one task besides main, none was seen to run.
        ");
        assert_eq!(
            explain(&Timeline::default(), &|_| None),
            ["Nobody waited for anybody.", "Nothing was recorded."]
        );
    }

    #[test]
    fn many_waits_are_counted_and_not_listed() {
        let mut script = "main spawn cook;".to_owned();
        for baker in 0..40 {
            script += &format!(
                "main spawn b{baker}; cook take oven; b{baker} want oven :7; cook release oven; b{baker} take oven; b{baker} release oven;"
            );
        }
        let told = explain(&fold(&trace(&(script + "main end"))), &place_of);
        let more = told
            .iter()
            .position(|line| line.starts_with("28 more waits took"));
        assert_eq!(
            more,
            told.iter().position(|line| line.contains("more waits")),
            "{told:#?}"
        );
        assert!(more.is_some(), "{told:#?}");
        assert!(told.len() < 30, "{}", told.len());
    }

    #[test]
    fn who_waits_now_is_told_with_who_has_it() {
        let timeline = fold(&trace(
            "main spawn ada; ada take oven :5; main want oven :7; @9000 ada recv orders :8",
        ));
        insta::assert_snapshot!(waits_now(&timeline, &place_of).join("\n"), @r"
        main waits for lock `oven` (cell 4 line 7), which ada has (cell 4 line 5); for 9 ms so far
        ada waits for a message on channel `orders` (cell 4 line 8); a sender of it is alive, and nobody has sent to it in this cell; for 0 ns so far
        ");
        assert!(
            waits_now(
                &fold(&trace(
                    "main spawn ada; main join ada; ada exit; main joined ada; main end"
                )),
                &place_of
            )
            .is_empty()
        );
    }
}
