//! The picture's facts as JSON, for tests and for lessons that check their own claims: no times, only what holds whenever it runs like this.

use serde_json::{Value, json};
use threadbook_timeline::fold::{EdgeKind, Lane, LaneEnd, State};
use threadbook_timeline::format::{Cause, Engine, MAIN_TASK, Reason};

use super::axis::Scale;
use super::rows::Rows;
use super::words::Words;

/// How many edges are listed; the others are counted.
const MOST_EDGES: usize = 500;
/// How many lanes are listed; the others are counted, and told by their groups.
const MOST_LANES: usize = 400;
/// How many waits are listed, of all lanes together; the others are counted.
const MOST_WAITS: usize = 1000;
/// Among how many lanes pairs are compared.
const MOST_PAIRED: usize = 64;

/// How long the lists may be, in bytes: a notebook keeps them, and names are the learner's.
const MOST_OF_LANES: usize = 48_000;
const MOST_OF_EDGES: usize = 40_000;
const MOST_OF_PAIRS: usize = 36_000;
const MOST_OF_OTHERS: usize = 8_000;

/// As many of a list as are not longer than `most` bytes, and how many are left out.
fn within(most: usize, mut list: Vec<Value>) -> (Vec<Value>, usize) {
    let mut long = 0;
    let fits = list.iter().position(|value| {
        long += value.to_string().len() + 1;
        long > most
    });
    let fits = fits.unwrap_or(list.len());
    let left_out = list.len() - fits;
    list.truncate(fits);
    (list, left_out)
}

/// Lists all of it.
pub fn facts(words: &Words<'_>, rows: &Rows<'_>, axis: &Scale) -> Value {
    let timeline = words.timeline;
    let (mut room_for_waits, mut waits_shown) = (MOST_WAITS, 0);
    let lanes: Vec<Value> = timeline
        .lanes
        .iter()
        .take(MOST_LANES)
        .map(|lane| {
            let waits = lane.spans.iter().filter_map(|span| match span.state {
                State::Blocked { reason, object } => {
                    let mut wait = json!({"reason": word(reason), "object": name(words, reason, object)});
                    if span.deadlocked.is_some() {
                        wait["deadlocked"] = true.into();
                    }
                    Some(wait)
                }
                State::Sleeping => Some(json!({"reason": "sleep", "object": null})),
                State::Running | State::Ready | State::Computing | State::Unknown => None,
            });
            let waits: Vec<Value> = waits.take(room_for_waits).collect();
            room_for_waits -= waits.len();
            waits_shown += waits.len();
            json!({
                "name": lane.name,
                "parent": lane.parent.map(|parent| words.task(parent)),
                "engine": match lane.engine { Engine::Thread => "thread", Engine::Green => "green" },
                "end": match lane.end {
                    LaneEnd::Done => "done",
                    LaneEnd::Alive => "alive",
                    LaneEnd::Unknown => "unknown",
                    LaneEnd::Panicked(_) => "panicked",
                    LaneEnd::Cut(Cause::Deadlock) => "deadlocked",
                    LaneEnd::Cut(Cause::Program) => "program",
                    LaneEnd::Cut(Cause::Interrupt) => "interrupted",
                },
                "waits": waits,
            })
        })
        .collect();
    let edges: Vec<Value> = timeline
        .edges
        .iter()
        .take(MOST_EDGES)
        .map(|edge| {
            let (kind, object) = match edge.kind {
                EdgeKind::Spawn => ("spawn", None),
                EdgeKind::Message => ("message", timeline.object(edge.object)),
                EdgeKind::Lock => ("lock", timeline.object(edge.object)),
                EdgeKind::Wait => ("wait", timeline.object(edge.object)),
                EdgeKind::Join => ("join", None),
                EdgeKind::Notify => ("notify", timeline.object(edge.object)),
                EdgeKind::Barrier => ("barrier", timeline.object(edge.object)),
                EdgeKind::Once => ("once", timeline.object(edge.object)),
            };
            json!({"kind": kind, "from": words.task(edge.from), "to": words.task(edge.to), "object": object.map(|object| &object.name)})
        })
        .collect();
    let others: Vec<_> = timeline
        .lanes
        .iter()
        .filter(|lane| lane.task != MAIN_TASK)
        .take(MOST_PAIRED)
        .collect();
    let mut concurrent = Vec::new();
    for (index, a) in others.iter().enumerate() {
        for b in others[index + 1..]
            .iter()
            .filter(|b| timeline.concurrent(a.task, b.task))
        {
            concurrent.push(json!([a.name, b.name]));
        }
    }
    let (lanes, lanes_left_out) = within(MOST_OF_LANES, lanes);
    let (edges, edges_left_out) = within(MOST_OF_EDGES, edges);
    let (concurrent, concurrent_left_out) = within(MOST_OF_PAIRS, concurrent);
    let mut facts = json!({
        "version": 1,
        "lanes": lanes,
        "edges": edges,
        "concurrent": concurrent,
        "max_running": timeline.max_running,
        "dropped": timeline.dropped,
        "axis": if axis.counts_steps() { "steps" } else { "wall" },
    });
    for (key, left_out) in [
        (
            "lanes_left_out",
            lanes_left_out + timeline.lanes.len().saturating_sub(MOST_LANES),
        ),
        (
            "edges_left_out",
            edges_left_out + timeline.edges.len().saturating_sub(MOST_EDGES),
        ),
        ("concurrent_left_out", concurrent_left_out),
    ] {
        if left_out > 0 {
            facts[key] = left_out.into();
        }
    }
    let waits = timeline.lanes.iter().flat_map(|lane| &lane.spans);
    let waits = waits.filter(|span| matches!(span.state, State::Blocked { .. } | State::Sleeping));
    let all_waits = waits.count();
    if all_waits > waits_shown {
        facts["waits_left_out"] = json!(all_waits - waits_shown);
    }
    let groups = rows
        .groups()
        .map(|group| json!({"name": group.stem, "tasks": group.lanes.len(), "end": group.fate}));
    let groups: Vec<Value> = groups.collect();
    if !groups.is_empty() {
        facts["groups"] = groups.into();
    }
    let contended: Vec<Value> = timeline
        .contention()
        .iter()
        .take(MOST_PAIRED)
        .map(|lock| {
            let name = timeline.object(lock.object).map(|object| &object.name);
            json!({"object": name, "waits": lock.waits})
        })
        .collect();
    if !contended.is_empty() {
        facts["contended"] = within(MOST_OF_OTHERS, contended).0.into();
    }
    // Few, or they would be counted and not listed.
    let alive: Vec<Value> = timeline
        .left_alive()
        .take(MOST_PAIRED)
        .map(|lane| left_alive(words, lane))
        .collect();
    if !alive.is_empty() {
        let (alive, _) = within(MOST_OF_OTHERS, alive);
        let left_out = timeline.left_alive().count() - alive.len();
        facts["left_alive"] = alive.into();
        if left_out > 0 {
            facts["left_alive_left_out"] = left_out.into();
        }
    }
    if !timeline.rings.is_empty() {
        let names = |tasks: &[u32]| -> Vec<&str> {
            let tasks = tasks.iter().take(MOST_PAIRED);
            tasks.map(|task| words.task(*task)).collect()
        };
        let rings = timeline.rings.iter().take(MOST_PAIRED);
        let rings = rings.map(|ring| json!(names(&ring.tasks))).collect();
        facts["rings"] = within(MOST_OF_OTHERS, rings).0.into();
    }
    facts
}

/// A task that outlives its cell: what it does, and at which line.
fn left_alive(words: &Words<'_>, lane: &Lane) -> Value {
    let span = lane.spans.last();
    let (does, waits_for) = match span.map(|span| span.state) {
        Some(State::Blocked { reason, object }) => (word(reason), name(words, reason, object)),
        Some(State::Sleeping) => ("sleep", None),
        Some(State::Computing) => ("work", None),
        Some(State::Ready) if lane.started.is_none() => ("not begun", None),
        _ => ("run", None),
    };
    // Where it began to run is not where it is.
    let place = span
        .filter(|_| does != "run")
        .and_then(|span| span.site)
        .and_then(words.place_of)
        .map(|place| json!({"cell": place.cell, "line": place.line}));
    json!({"task": lane.name, "does": does, "object": waits_for, "where": place})
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Send => "send",
        Reason::Recv => "recv",
        Reason::Lock => "lock",
        Reason::Wait => "wait",
        Reason::Join => "join",
        Reason::Sleep => "sleep",
        Reason::Scope => "scope",
        Reason::Read => "read",
        Reason::Write => "write",
        Reason::Notify => "notify",
        Reason::Barrier => "barrier",
        Reason::Select => "select",
        Reason::Once => "once",
    }
}

fn name<'a>(words: &Words<'a>, reason: Reason, object: u32) -> Option<&'a str> {
    match reason {
        Reason::Join => words.timeline.lane(object).map(|lane| lane.name.as_str()),
        Reason::Scope | Reason::Sleep | Reason::Select => None,
        Reason::Send
        | Reason::Recv
        | Reason::Lock
        | Reason::Wait
        | Reason::Read
        | Reason::Write
        | Reason::Notify
        | Reason::Barrier
        | Reason::Once => words
            .timeline
            .object(object)
            .map(|object| object.name.as_str()),
    }
}
