//! The picture's facts as JSON, for tests and for lessons that check their own claims: no times, only what holds whenever it runs like this.

use serde_json::{Value, json};
use threadbook_timeline::fold::{EdgeKind, Lane, LaneEnd, State};
use threadbook_timeline::format::{Cause, Engine, MAIN_TASK, Reason};

use super::axis::Scale;
use super::words::Words;

/// How many edges are listed; the others are counted.
const MOST_EDGES: usize = 500;
/// Among how many lanes pairs are compared.
const MOST_PAIRED: usize = 64;

/// Lists all of it.
pub fn facts(words: &Words<'_>, axis: &Scale) -> Value {
    let timeline = words.timeline;
    let lanes: Vec<Value> = timeline
        .lanes
        .iter()
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
                "waits": waits.collect::<Vec<_>>(),
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
    let mut facts = json!({
        "version": 1,
        "lanes": lanes,
        "edges": edges,
        "concurrent": concurrent,
        "max_running": timeline.max_running,
        "dropped": timeline.dropped,
        "axis": if axis.counts_steps() { "steps" } else { "wall" },
    });
    if timeline.edges.len() > MOST_EDGES {
        facts["edges_left_out"] = json!(timeline.edges.len() - MOST_EDGES);
    }
    // Few, or they would be counted and not listed.
    let alive: Vec<Value> = timeline
        .left_alive()
        .take(MOST_PAIRED)
        .map(|lane| left_alive(words, lane))
        .collect();
    if !alive.is_empty() {
        facts["left_alive"] = alive.into();
    }
    if timeline.left_alive().nth(MOST_PAIRED).is_some() {
        facts["left_alive_left_out"] = json!(timeline.left_alive().count() - MOST_PAIRED);
    }
    if !timeline.rings.is_empty() {
        let names = |tasks: &[u32]| -> Vec<&str> {
            let tasks = tasks.iter().take(MOST_PAIRED);
            tasks.map(|task| words.task(*task)).collect()
        };
        let rings = timeline.rings.iter().take(MOST_PAIRED);
        facts["rings"] = rings.map(|ring| json!(names(&ring.tasks))).collect();
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
