//! Which rows a picture has: a lane for each task while there are few; with many, a row for each group of tasks that are alike, and lanes for `main` and
//! for the odd ones out.
//!
//! Alike are tasks whose names differ by digits only and that came to the same end: a hundred bakers that are done are one group, and the two that still
//! wait for the oven are not in it. Knows nothing of pixels.

use std::collections::{BTreeSet, HashMap};

use threadbook_timeline::fold::{Lane, LaneEnd, Nanos, Span, State, Sums, Timeline};
use threadbook_timeline::format::{Cause, MAIN_TASK, Reason};

use super::alike::{FEWEST, long_wait, odd_ones, stem};
use super::axis::Scale;
use super::looks::{COUNT, look};

/// With more tasks than that they are grouped.
const MOST_LANES: usize = 32;
/// How many of the odd ones out get a lane of their own.
const MOST_ODD: usize = 12;
/// How many groups get a row; what is in none of them is in the last one.
const MOST_GROUPS: usize = 12;
/// With more tasks than that a group is drawn as a heat map.
const CROWD: usize = 1000;

/// The rows of a picture, from top to bottom.
pub struct Rows<'a> {
    /// All of them.
    pub all: Vec<Row<'a>>,
    /// Whether there are so many tasks that groups are heat maps.
    pub is_crowd: bool,
    places: HashMap<u32, usize>,
}

/// One row.
pub enum Row<'a> {
    /// What one task did.
    Lane(&'a Lane),
    /// What many did that are alike.
    Group(Group<'a>),
}

/// Tasks that are alike.
pub struct Group<'a> {
    /// What their names have in common: `baker`.
    pub stem: String,
    /// How they ended, in a few words; empty where they ended in different ways.
    pub fate: String,
    /// The tasks.
    pub lanes: Vec<&'a Lane>,
    /// What they did together.
    pub sums: Sums,
    /// Which looks occur among their spans.
    pub looks: BTreeSet<usize>,
    /// The longest wait of one of them.
    pub longest: Option<(&'a Lane, &'a Span)>,
}

impl<'a> Rows<'a> {
    /// Chooses them. Takes O(n) in spans.
    pub fn of(timeline: &'a Timeline) -> Rows<'a> {
        let lanes = &timeline.lanes;
        let all = if lanes.len() <= MOST_LANES {
            lanes.iter().map(Row::Lane).collect()
        } else {
            grouped(timeline)
        };
        let mut places = HashMap::new();
        for (place, row) in all.iter().enumerate() {
            match row {
                Row::Lane(lane) => _ = places.insert(lane.task, place),
                Row::Group(group) => {
                    places.extend(group.lanes.iter().map(|lane| (lane.task, place)));
                }
            }
        }
        Rows {
            all,
            is_crowd: lanes.len() > CROWD,
            places,
        }
    }

    /// Which row a task is in.
    pub fn of_task(&self, task: u32) -> Option<usize> {
        self.places.get(&task).copied()
    }

    /// The tasks that have a lane of their own.
    pub fn lanes(&self) -> impl Iterator<Item = &'a Lane> {
        self.all.iter().filter_map(|row| match row {
            Row::Lane(lane) => Some(*lane),
            Row::Group(_) => None,
        })
    }

    /// The groups; none while each task has a lane.
    pub fn groups(&self) -> impl Iterator<Item = &Group<'a>> {
        self.all.iter().filter_map(|row| match row {
            Row::Group(group) => Some(group),
            Row::Lane(_) => None,
        })
    }
}

impl Group<'_> {
    /// What the group is called: `baker ×196`.
    pub fn name(&self) -> String {
        format!("{} ×{}", self.stem, self.lanes.len())
    }
}

/// By look and stretch of the axis: how many tasks of a group looked so, on the average over the stretch.
pub type Counts = [Vec<f64>; COUNT];

/// Counts them. Takes O(n) in the group's spans.
pub fn counts(group: &Group<'_>, scale: &Scale, end: Nanos, bins: usize) -> Counts {
    let mut parts: Counts = std::array::from_fn(|_| vec![0.0; bins + 1]);
    let mut steps: Counts = std::array::from_fn(|_| vec![0.0; bins + 2]);
    for lane in &group.lanes {
        let mut known: Option<(Nanos, f64)> = None;
        for span in &lane.spans {
            let until = span.until(end);
            // A span mostly begins where the one before it ended.
            let from = match known {
                Some((at, place)) if at == span.from => place,
                _ => scale.place(span.from) * bins as f64,
            };
            let to = scale.place(until) * bins as f64;
            known = Some((until, to));
            let look = look(span);
            let (first, last) = ((from as usize).min(bins), (to as usize).min(bins));
            if first == last {
                parts[look][first] += to - from;
            } else {
                parts[look][first] += first as f64 + 1.0 - from;
                parts[look][last] += to - last as f64;
                steps[look][first + 1] += 1.0;
                steps[look][last] -= 1.0;
            }
        }
    }
    for (parts, steps) in parts.iter_mut().zip(&steps) {
        let mut whole = 0.0;
        for (part, step) in parts.iter_mut().zip(steps) {
            whole += step;
            *part += whole;
        }
        parts.truncate(bins);
    }
    parts
}

fn grouped(timeline: &Timeline) -> Vec<Row<'_>> {
    let mut places: HashMap<(String, Fate), usize> = HashMap::new();
    let mut groups: Vec<(String, Fate, Vec<&Lane>)> = Vec::new();
    let mut main = Vec::new();
    for lane in &timeline.lanes {
        if lane.task == MAIN_TASK {
            main.push(lane);
            continue;
        }
        let (stem, fate) = (stem(&lane.name), fate(lane));
        let place = *places.entry((stem, fate)).or_insert_with_key(|key| {
            groups.push((key.0.clone(), fate, Vec::new()));
            groups.len() - 1
        });
        groups[place].2.push(lane);
    }
    let odd = odd_ones_out(timeline, &groups);
    for (_, _, lanes) in &mut groups {
        lanes.retain(|lane| !odd.contains(&lane.task));
    }
    groups.retain(|(_, _, lanes)| !lanes.is_empty());
    // Those that are no group and for whom there is no lane become one, and so do the smallest groups where there are too many; in the order in which they were.
    let is_few = |group: &&(String, Fate, Vec<&Lane>)| group.2.len() < FEWEST;
    let few = groups.iter().filter(is_few).count();
    if few > 1 || groups.len() > MOST_GROUPS {
        let mut sizes: Vec<usize> = groups.iter().map(|group| group.2.len()).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let large = sizes
            .get(MOST_GROUPS - 2)
            .map_or(0, |size| *size)
            .max(FEWEST);
        let mut room = MOST_GROUPS - 1;
        let mut rest = Vec::new();
        groups.retain_mut(|(_, _, lanes)| {
            let stays = lanes.len() >= large && room > 0;
            if stays {
                room -= 1;
            } else {
                rest.append(lanes);
            }
            stays
        });
        groups.push(("others".into(), Fate::Several, rest));
    }
    let groups = groups.into_iter().map(|(stem, fate, lanes)| {
        Row::Group(group(timeline, stem, in_words(timeline, fate), lanes))
    });
    let odd = timeline
        .lanes
        .iter()
        .filter(|lane| odd.contains(&lane.task));
    main.into_iter()
        .map(Row::Lane)
        .chain(groups)
        .chain(odd.map(Row::Lane))
        .collect()
}

/// Those that deserve a lane of their own: first who ended as hardly anybody did, then who waited, or ran, far longer than the others of
/// its group: for whom the others wait.
fn odd_ones_out(timeline: &Timeline, groups: &[(String, Fate, Vec<&Lane>)]) -> BTreeSet<u32> {
    // Few that did not come to a good end, few that did, then by the longest wait.
    let mut candidates: Vec<(u8, Nanos, u32)> = Vec::new();
    for (_, fate, lanes) in groups {
        if lanes.len() < FEWEST {
            let rank = if *fate == Fate::Done { 1 } else { 2 };
            candidates.extend(lanes.iter().map(|lane| (rank, Nanos(0), lane.task)));
            continue;
        }
        let longest =
            |lane: &&Lane| longest_wait(timeline, lane).map_or(Nanos(0), |(long, _)| long);
        let ran = |lane: &&Lane| timeline.sums(lane).running;
        // A thread that the system lets wait in the midst of its work seems to run for longer than others, so that has to be much.
        let long_work = Nanos(timeline.end.0 / 10);
        for (lengths, long) in [
            (
                lanes.iter().map(longest).collect::<Vec<Nanos>>(),
                long_wait(timeline),
            ),
            (lanes.iter().map(ran).collect(), long_work),
        ] {
            let odd = odd_ones(&lengths, long).into_iter();
            candidates.extend(odd.map(|place| (0, lengths[place], lanes[place].task)));
        }
    }
    candidates.sort_by_key(|(rank, long, _)| (std::cmp::Reverse(*rank), std::cmp::Reverse(*long)));
    let odd = candidates.into_iter().take(MOST_ODD);
    odd.map(|(_, _, task)| task).collect()
}

fn longest_wait<'a>(timeline: &Timeline, lane: &'a Lane) -> Option<(Nanos, &'a Span)> {
    let waits = lane
        .spans
        .iter()
        .filter(|span| matches!(span.state, State::Blocked { .. }));
    waits
        .map(|span| (span.length(timeline.end), span))
        .max_by_key(|(long, _)| *long)
}

fn group<'a>(timeline: &Timeline, stem: String, fate: String, lanes: Vec<&'a Lane>) -> Group<'a> {
    let mut sums = Sums::default();
    let mut seen = [false; COUNT];
    let mut longest: Option<(Nanos, &Lane, &Span)> = None;
    for lane in &lanes {
        sums.add(&timeline.sums(lane));
        for span in &lane.spans {
            seen[look(span)] = true;
        }
        if let Some((long, span)) = longest_wait(timeline, lane)
            && longest.is_none_or(|(most, ..)| long > most)
        {
            longest = Some((long, lane, span));
        }
    }
    Group {
        stem,
        fate,
        lanes,
        sums,
        looks: (0..COUNT).filter(|look| seen[*look]).collect(),
        longest: longest.map(|(_, lane, span)| (lane, span)),
    }
}

/// How a task ended, as far as it sets it apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Done,
    Panicked,
    Deadlock,
    CutOff,
    Interrupted,
    Unknown,
    Waits(Reason, u32),
    Sleeps,
    NotBegun,
    Runs,
    Several,
}

fn fate(lane: &Lane) -> Fate {
    match lane.end {
        LaneEnd::Done => Fate::Done,
        LaneEnd::Panicked(_) => Fate::Panicked,
        LaneEnd::Cut(Cause::Deadlock) => Fate::Deadlock,
        LaneEnd::Cut(Cause::Program) => Fate::CutOff,
        LaneEnd::Cut(Cause::Interrupt) => Fate::Interrupted,
        LaneEnd::Unknown => Fate::Unknown,
        LaneEnd::Alive => match lane.spans.last().map(|span| span.state) {
            // Whom each waits for does not set it apart, or each would be a group.
            Some(State::Blocked {
                reason: Reason::Join | Reason::Scope | Reason::Select,
                ..
            }) => Fate::Waits(Reason::Join, 0),
            Some(State::Blocked { reason, object }) => Fate::Waits(reason, object),
            Some(State::Sleeping) => Fate::Sleeps,
            Some(State::Ready) if lane.started.is_none() => Fate::NotBegun,
            _ => Fate::Runs,
        },
    }
}

fn in_words(timeline: &Timeline, fate: Fate) -> String {
    match fate {
        Fate::Done => "done".into(),
        Fate::Panicked => "panicked".into(),
        Fate::Deadlock => "ended by the deadlock".into(),
        Fate::CutOff => "cut off".into(),
        Fate::Interrupted => "interrupted".into(),
        Fate::Unknown => "not kept to the end".into(),
        Fate::Waits(Reason::Join, 0) => "still wait for others".into(),
        Fate::Waits(_, object) => match timeline.object(object) {
            Some(object) => format!("still wait: {}", object.name),
            None => "still wait".into(),
        },
        Fate::Sleeps => "still sleep".into(),
        Fate::NotBegun => "not begun".into(),
        Fate::Runs => "alive".into(),
        Fate::Several => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::script::trace;

    /// The rows as `name: fate`.
    fn rows(script: &str) -> Vec<String> {
        let timeline = fold(&trace(script));
        let rows = Rows::of(&timeline);
        let words = |row: &Row<'_>| match row {
            Row::Lane(lane) => lane.name.clone(),
            Row::Group(group) => format!("{}: {}", group.name(), group.fate),
        };
        rows.all.iter().map(words).collect()
    }

    #[test]
    fn few_tasks_have_a_lane_each_and_many_are_grouped_by_name_and_end() {
        let few: String = (0..31).map(|n| format!("main spawn b{n};")).collect();
        assert_eq!(rows(&few).len(), 32);
        let mut many: String = (0..100)
            .map(|n| format!("main spawn baker{n}; baker{n} start;"))
            .collect();
        many += "baker7 panic no_flour; baker7 exit; baker9 recv orders;";
        for n in (0..100).filter(|n| ![7, 9].contains(n)) {
            many += &format!("baker{n} exit;");
        }
        for n in 0..20 {
            many += &format!("main spawn guest{n}; guest{n} recv orders;");
        }
        many += "main end";
        assert_eq!(
            rows(&many),
            [
                "main",
                "baker ×98: done",
                "guest ×20: still wait: orders",
                "baker7",
                "baker9",
            ]
        );
    }

    #[test]
    fn one_that_waits_far_longer_than_the_others_is_an_odd_one_out() {
        let mut script: String = (0..50).map(|n| format!("main spawn b{n};")).collect();
        script += "b3 recv orders; @900 main send orders; b3 got orders;";
        for n in 0..50 {
            script += &format!("b{n} exit;");
        }
        assert_eq!(rows(&(script + "main end")), ["main", "b ×49: done", "b3"]);
    }

    #[test]
    fn one_that_ran_far_longer_than_the_others_is_an_odd_one_out() {
        let mut script: String = (0..50).map(|n| format!("main spawn b{n};")).collect();
        for n in 0..50 {
            let long = if n == 20 { "@9000" } else { "" };
            script += &format!("b{n} take oven; {long} b{n} release oven; b{n} exit;");
        }
        assert_eq!(rows(&(script + "main end")), ["main", "b ×49: done", "b20"]);
    }

    #[test]
    fn tasks_of_which_no_two_are_alike_are_one_group_but_for_those_with_a_lane() {
        let names = ('a'..='e').flat_map(|a| ('s'..='z').map(move |b| format!("{a}{b}")));
        let script: String = names.map(|name| format!("main spawn {name};")).collect();
        let rows = rows(&script);
        assert_eq!(rows.len(), 1 + 1 + MOST_ODD, "{rows:?}");
        assert_eq!(rows[1], format!("others ×{}: ", 40 - MOST_ODD));
    }

    #[test]
    fn of_too_many_groups_the_smallest_become_one_and_nobody_is_lost() {
        let mut script = String::new();
        let names = "abcdefghijklmnopqrst";
        for (size, name) in names.chars().enumerate() {
            for n in 0..size + 4 {
                script += &format!("main spawn {name}{n};");
            }
        }
        let timeline = fold(&trace(&script));
        let rows = Rows::of(&timeline);
        assert_eq!(rows.groups().count(), MOST_GROUPS);
        let in_groups: usize = rows.groups().map(|group| group.lanes.len()).sum();
        assert_eq!(in_groups + rows.lanes().count(), timeline.lanes.len());
        assert_eq!(
            rows.groups().last().map(|group| group.stem.as_str()),
            Some("others")
        );
        assert!(
            timeline
                .lanes
                .iter()
                .all(|lane| rows.of_task(lane.task).is_some())
        );
    }
}
