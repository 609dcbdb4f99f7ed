//! What is told of a recording of which some is missing, against the whole of it.

use std::collections::HashSet;

use crate::fold::{Edge, Hold, LaneEnd, Nanos, Span, State, fold};
use crate::format::{Event, Kind};
use crate::script::{Random, trace};
use crate::trace::Trace;

/// A run that could have been: three tasks, two locks, a read-write lock and a channel, and nobody does what he could not.
fn a_run(random: &mut Random) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum Does {
        Runs,
        Waits,
        Then(&'static str),
    }
    let tasks = ["main", "a", "b", "c"];
    let mut does = [Does::Runs; 4];
    let mut script = String::from("main spawn a; main spawn b; main spawn c;");
    let mut say = |who: usize, what: &str| script += &format!("{} {what};", tasks[who]);
    let mut holders: [Option<usize>; 2] = [None; 2];
    let mut queues: [Vec<usize>; 3] = Default::default();
    let mut readers: Vec<usize> = Vec::new();
    let mut messages = 0;
    for _ in 0..80 {
        let who = random.below(4) as usize;
        match does[who] {
            Does::Waits => continue,
            Does::Then(what) => {
                say(who, what);
                does[who] = Does::Runs;
                continue;
            }
            Does::Runs => {}
        }
        let lock = random.below(2) as usize;
        let (take, want, release) = [
            ("take m", "want m", "release m"),
            ("take n", "want n", "release n"),
        ][lock];
        match random.below(6) {
            0 | 1 => match holders[lock] {
                Some(holder) if holder == who => {
                    say(who, release);
                    holders[lock] = None;
                    if !queues[lock].is_empty() {
                        let next = queues[lock].remove(0);
                        holders[lock] = Some(next);
                        does[next] = Does::Then(take);
                    }
                }
                None => {
                    say(who, take);
                    holders[lock] = Some(who);
                }
                Some(_) => {
                    say(who, want);
                    queues[lock].push(who);
                    does[who] = Does::Waits;
                }
            },
            2 => {
                say(who, "send q");
                match queues[2].is_empty() {
                    true => messages += 1,
                    false => does[queues[2].remove(0)] = Does::Then("got q"),
                }
            }
            3 if messages > 0 => {
                say(who, "got q");
                messages -= 1;
            }
            3 => {
                say(who, "recv q");
                queues[2].push(who);
                does[who] = Does::Waits;
            }
            4 if readers.contains(&who) => {
                say(who, "release shelf");
                readers.retain(|reader| *reader != who);
            }
            4 if readers.is_empty() && random.below(3) == 0 => {
                say(who, "write shelf");
                say(who, "release shelf");
            }
            4 => {
                say(who, "read shelf");
                readers.push(who);
            }
            _ => say(who, "mark x"),
        }
    }
    for (who, does) in does.into_iter().enumerate() {
        if does == Does::Runs && random.below(2) == 0 {
            say(who, if who == 0 { "end" } else { "exit" });
        }
    }
    script
}

/// The same run as a reader sees it that has lost some of what each of `lossy` did between two moments.
fn with_a_gap(whole: &Trace, lossy: &[u32], random: &mut Random) -> Trace {
    let events = &whole.events;
    let from = random.below(events.len() as u64) as usize;
    let until = from + random.below((events.len() - from) as u64) as usize;
    let mut kept: Vec<Event> = Vec::new();
    let mut lost: HashSet<u32> = HashSet::new();
    for (at, event) in events.iter().enumerate() {
        let begins_to_lose = (from..=until).contains(&at)
            && lossy.contains(&event.task)
            && (lost.contains(&event.task) || random.below(2) == 0);
        if !begins_to_lose {
            kept.push(*event);
        } else if lost.insert(event.task)
            && let Some(last) = kept.iter().rposition(|kept| kept.task == event.task)
        {
            let gap = Event {
                ticks: kept[last].ticks,
                task: event.task,
                kind: Kind::Gap as u8,
                ..Event::default()
            };
            kept.insert(last + 1, gap);
        }
    }
    Trace {
        events: kept,
        dropped: 1,
        gap: Some(crate::trace::Gap {
            from: events[from].ticks.saturating_sub(1),
            until: events[until].ticks,
        }),
        ..whole.clone()
    }
}

#[test]
fn what_is_told_of_a_recording_with_a_gap_is_true() {
    let mut random = Random::new(23);
    let (mut unknown, mut told) = (0, 0);
    for _ in 0..600 {
        let script = a_run(&mut random);
        let whole = trace(&script);
        let lossy: Vec<u32> = (1..=4).filter(|_| random.below(2) == 0).collect();
        let part = with_a_gap(&whole, &lossy, &mut random);
        let (truth, seen) = (fold(&whole), fold(&part));
        // Both count from their first event.
        let shift = part.events[0].ticks - whole.events[0].ticks;
        let at = |nanos: Nanos| Nanos(nanos.0 + shift);
        for lane in &seen.lanes {
            let really = truth.lane(lane.task).expect("it did something");
            let state_at = |when: u64| {
                let covers = |span: &&Span| span.from.0 <= when && when < span.until(truth.end).0;
                really.spans.iter().find(covers).map(|span| span.state)
            };
            for span in &lane.spans {
                if span.state == State::Unknown {
                    unknown += 1;
                    continue;
                }
                for when in (at(span.from).0..at(span.until(seen.end)).0).step_by(5000) {
                    told += 1;
                    let state = state_at(when);
                    // That somebody let it go on may be missing, and then it waits until it says that it does not.
                    let is_true = state == Some(span.state)
                        || matches!(span.state, State::Blocked { .. })
                            && state == Some(State::Ready);
                    assert!(
                        is_true,
                        "{script}\n{}: {span:?}, really {state:?}",
                        lane.name
                    );
                }
            }
            for hold in &lane.holds {
                let covers = |other: &&Hold| {
                    other.object == hold.object
                        && other.from == at(hold.from)
                        && at(hold.until.unwrap_or(seen.end)) <= other.until.unwrap_or(truth.end)
                };
                assert!(
                    really.holds.iter().any(|other| covers(&other)),
                    "{script}\n{hold:?}"
                );
            }
            assert!(
                lane.end == LaneEnd::Unknown || lane.end == really.end,
                "{script}\n{lane:?}"
            );
        }
        for edge in &seen.edges {
            let same = |other: &&Edge| {
                let of = |edge: &Edge| (edge.kind, edge.from, edge.to, edge.object, edge.seq);
                of(other) == of(edge)
                    && (other.left, other.reached) == (at(edge.left), at(edge.reached))
            };
            assert!(
                truth.edges.iter().any(|other| same(&other)),
                "{script}\n{edge:?}"
            );
        }
        for task in &seen.lanes {
            assert_eq!(seen.order(task.task, 1), None);
        }
    }
    assert!(
        unknown > 300 && told > 10_000,
        "{unknown} and {told}: the runs are too short"
    );
}
