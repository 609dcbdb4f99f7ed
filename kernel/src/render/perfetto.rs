//! A timeline as a trace for Perfetto and Chrome: the JSON that their "Trace Event Format" document describes.
//!
//! One process, one thread per task. `X` slices for what a task did, which never overlap on one thread; `s` and `f` flows for what let what happen, each
//! end inside a slice, since a flow is drawn between slices; `i` for marks and for waits without length; `b` and `e` (async, which may overlap slices) for
//! locks held and regions; `C` counters for queues, holders and how many ran; `M` for names and their order. Times are microseconds with nanoseconds behind
//! the point. Pure but for the writer it is given.

use std::io::{self, Write};

use serde_json::{Value, json};
use threadbook_timeline::fold::{EdgeKind, Lane, Nanos, Object, Span, State, Timeline};
use threadbook_timeline::format::ObjectKind;

use super::Place;
use super::words::Words;

/// What each file of ours begins with.
pub const BEGINS_WITH: &str =
    "{\"otherData\":{\"program\":\"threadbook\"},\"displayTimeUnit\":\"ns\",\"traceEvents\":[";

/// The one process of the trace.
const PID: u32 = 1;

/// Writes all of it. Nothing is left out, so a full recording comes to some 100 MB: give a writer with a buffer.
///
/// # Errors
/// The writer's.
pub fn write(
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(BEGINS_WITH.as_bytes())?;
    let mut list = List {
        out,
        is_first: true,
    };
    let writer = Writer {
        words: Words { timeline, place_of },
    };
    writer.names(&mut list)?;
    for lane in &timeline.lanes {
        writer.lane(lane, &mut list)?;
    }
    writer.flows(&mut list)?;
    for object in &timeline.objects {
        writer.counter(object, &mut list)?;
    }
    writer.running(&mut list)?;
    list.out.write_all(b"\n]}\n")
}

/// The events so far, with commas between them.
struct List<'a> {
    out: &'a mut dyn Write,
    is_first: bool,
}

impl List<'_> {
    fn event(&mut self, event: &Value) -> io::Result<()> {
        let before: &[u8] = if std::mem::take(&mut self.is_first) {
            b"\n"
        } else {
            b",\n"
        };
        self.out.write_all(before)?;
        serde_json::to_writer(&mut *self.out, event).map_err(io::Error::from)
    }
}

struct Writer<'a> {
    words: Words<'a>,
}

impl Writer<'_> {
    fn names(&self, list: &mut List<'_>) -> io::Result<()> {
        list.event(
            &json!({"ph": "M", "name": "process_name", "pid": PID, "args": {"name": "cell"}}),
        )?;
        for (place, lane) in self.words.timeline.lanes.iter().enumerate() {
            list.event(&json!({"ph": "M", "name": "thread_name", "pid": PID, "tid": lane.task, "args": {"name": lane.name}}))?;
            list.event(&json!({"ph": "M", "name": "thread_sort_index", "pid": PID, "tid": lane.task, "args": {"sort_index": place}}))?;
        }
        Ok(())
    }

    fn lane(&self, lane: &Lane, list: &mut List<'_>) -> io::Result<()> {
        let end = self.words.timeline.end;
        let tid = lane.task;
        for span in &lane.spans {
            let (name, category) = self.name_of(span);
            let args = json!({"told": self.words.span(lane, span), "at": bare(&self.words.place(span.site))});
            let long = span.until(end).0 - span.from.0;
            list.event(&if long == 0 {
                json!({"ph": "i", "s": "t", "name": name, "cat": category, "pid": PID, "tid": tid, "ts": micros(span.from), "args": args})
            } else {
                json!({"ph": "X", "name": name, "cat": category, "pid": PID, "tid": tid, "ts": micros(span.from), "dur": micros(Nanos(long)), "args": args})
            })?;
        }
        for mark in &lane.marks {
            list.event(&json!({"ph": "i", "s": "t", "name": mark.text, "cat": "mark", "pid": PID, "tid": tid, "ts": micros(mark.at)}))?;
        }
        let stretches = lane.holds.iter().map(|hold| {
            let name = format!("{} holds {}", lane.name, self.words.object(hold.object));
            (hold.from, hold.until, name, "hold")
        });
        let regions = lane.regions.iter().map(|region| {
            let name = format!("{}: {}", lane.name, region.text);
            (region.from, region.until, name, "region")
        });
        for (number, (from, until, name, category)) in stretches.chain(regions).enumerate() {
            // Each stretch has an id of its own: two of one name may overlap.
            let id = format!("{tid}.{number}");
            for (phase, at) in [("b", from), ("e", until.unwrap_or(end).max(from))] {
                list.event(&json!({"ph": phase, "name": name, "cat": category, "id": id, "pid": PID, "tid": tid, "ts": micros(at)}))?;
            }
        }
        Ok(())
    }

    /// What a slice is called, and its category: few names, so that one colour means one thing.
    fn name_of(&self, span: &Span) -> (String, &'static str) {
        match span.state {
            State::Running => ("running".into(), "running"),
            State::Computing => ("computing".into(), "running"),
            State::Ready => ("ready".into(), "ready"),
            State::Sleeping => ("sleeping".into(), "sleeping"),
            State::Unknown => ("not kept".into(), "unknown"),
            State::Blocked { reason, object } => {
                let in_vain = if span.deadlocked.is_some() {
                    ", in vain"
                } else {
                    ""
                };
                let awaited = self.words.awaited(reason, object);
                (format!("waits for {awaited}{in_vain}"), "blocked")
            }
        }
    }

    fn flows(&self, list: &mut List<'_>) -> io::Result<()> {
        for (id, edge) in self.words.timeline.edges.iter().enumerate() {
            let slices = (
                self.inside(edge.from, edge.left),
                self.inside(edge.to, edge.reached),
            );
            // An end that lies in no slice could not be drawn: its task did nothing that took time.
            let (Some(left), Some(reached)) = slices else {
                continue;
            };
            let name = match edge.kind {
                EdgeKind::Spawn => "made",
                EdgeKind::Message => "message",
                EdgeKind::Lock => "unlock",
                EdgeKind::Wait => "done",
                EdgeKind::Join => "joined",
                EdgeKind::Notify => "notified",
                EdgeKind::Barrier => "last at the barrier",
                EdgeKind::Once => "filled",
            };
            let common = |phase: &str, task: u32, at: Nanos| json!({"ph": phase, "name": name, "cat": "flow", "id": id + 1, "pid": PID, "tid": task, "ts": micros(at)});
            list.event(&common("s", edge.from, left))?;
            let mut end = common("f", edge.to, reached.max(left));
            end["bp"] = "e".into();
            list.event(&end)?;
        }
        Ok(())
    }

    /// The moment of a task's slice that is nearest to `at`; at its last moment it is over already.
    fn inside(&self, task: u32, at: Nanos) -> Option<Nanos> {
        let lane = self.words.timeline.lane(task)?;
        let end = self.words.timeline.end;
        let after = lane.spans.partition_point(|span| span.from <= at);
        let long = |span: &&Span| span.until(end) > span.from;
        let span = lane.spans[..after].iter().rev().take(8).find(long)?;
        let last = Nanos(span.until(end).0 - 1);
        // Between two slices lies nothing that could be meant.
        (at.0 <= last.0 + 1).then_some(at.min(last))
    }

    fn counter(&self, object: &Object, list: &mut List<'_>) -> io::Result<()> {
        let what = match object.kind {
            ObjectKind::Channel => "queue",
            ObjectKind::Mutex => "held",
            ObjectKind::RwLock => "holders",
            ObjectKind::WaitGroup => "count",
            ObjectKind::Cell => "value",
            _ => return Ok(()),
        };
        let name = format!("{} {what}", object.in_words());
        for (at, value) in &object.counter {
            // Of a lock who has it is known: the number of a task, and no height.
            let value = match object.kind {
                ObjectKind::Mutex => u32::from(*value > 0),
                _ => *value,
            };
            list.event(&json!({"ph": "C", "name": name, "id": object.id, "pid": PID, "ts": micros(*at), "args": {what: value}}))?;
        }
        Ok(())
    }

    /// How many tasks ran, at each change.
    fn running(&self, list: &mut List<'_>) -> io::Result<()> {
        let end = self.words.timeline.end;
        let mut changes: Vec<(Nanos, i32)> = Vec::new();
        for span in self
            .words
            .timeline
            .lanes
            .iter()
            .flat_map(|lane| &lane.spans)
        {
            if matches!(span.state, State::Running | State::Computing)
                && span.until(end) > span.from
            {
                changes.extend([(span.from, 1), (span.until(end), -1)]);
            }
        }
        changes.sort_unstable();
        let mut running = 0;
        for at in changes.chunk_by(|a, b| a.0 == b.0) {
            running += at.iter().map(|change| change.1).sum::<i32>();
            list.event(&json!({"ph": "C", "name": "running", "pid": PID, "ts": micros(at[0].0), "args": {"tasks": running}}))?;
        }
        Ok(())
    }
}

/// Microseconds with nanoseconds behind the point: exact up to 100 days.
fn micros(at: Nanos) -> f64 {
    at.0 as f64 / 1000.0
}

fn bare(place: &str) -> &str {
    place.trim_start_matches(" (").trim_end_matches(')')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::format::Event;
    use threadbook_timeline::script::{Random, trace};

    fn events(timeline: &Timeline) -> Vec<Value> {
        let mut written = Vec::new();
        let place_of = |site: u16| {
            Some(Place {
                cell: 4,
                line: site.into(),
                text: "<b>".into(),
            })
        };
        write(timeline, &place_of, &mut written).expect("a Vec takes all");
        assert!(written.starts_with(BEGINS_WITH.as_bytes()));
        let mut read: Value = serde_json::from_slice(&written).expect("it is JSON");
        serde_json::from_value(read["traceEvents"].take()).expect("a list")
    }

    fn number(event: &Value, key: &str) -> f64 {
        event[key]
            .as_f64()
            .unwrap_or_else(|| panic!("`{key}` is a number in {event}"))
    }

    /// Holds a trace against the format's document: each phase has its fields, slices of a thread nest (here: do not overlap), flows come in pairs and
    /// each end lies inside a slice, async events come in pairs, times do not lie before 0.
    fn is_valid(events: &[Value]) {
        let mut slices: HashMap<u64, Vec<(f64, f64)>> = HashMap::new();
        let mut named = Vec::new();
        for event in events {
            let phase = event["ph"].as_str().expect("a phase");
            assert_eq!(event["pid"], PID, "{event}");
            assert!(event["name"].is_string(), "{event}");
            if phase != "M" {
                let ts = number(event, "ts");
                assert!(ts >= 0.0 && ts.is_finite(), "{event}");
            }
            let tid = || {
                event["tid"]
                    .as_u64()
                    .unwrap_or_else(|| panic!("a thread in {event}"))
            };
            match phase {
                "M" => match event["name"].as_str() {
                    Some("process_name") => assert!(event["args"]["name"].is_string()),
                    Some("thread_name") => {
                        assert!(event["args"]["name"].is_string());
                        named.push(tid());
                    }
                    Some("thread_sort_index") => assert!(event["args"]["sort_index"].is_u64()),
                    other => panic!("no such metadata: {other:?}"),
                },
                "X" => {
                    let (ts, dur) = (number(event, "ts"), number(event, "dur"));
                    assert!(dur > 0.0, "{event}");
                    slices.entry(tid()).or_default().push((ts, ts + dur));
                    assert!(event["cat"].is_string());
                }
                "i" => assert_eq!(event["s"], "t", "{event}"),
                "s" | "f" | "b" | "e" => {
                    assert!(!event["id"].is_null() && event["cat"].is_string());
                }
                "C" => {
                    let args = event["args"].as_object().expect("values");
                    assert!(
                        !args.is_empty() && args.values().all(Value::is_number),
                        "{event}"
                    );
                }
                other => panic!("no phase of ours: {other}"),
            }
        }
        for (tid, slices) in &mut slices {
            assert!(named.contains(tid), "thread {tid} has a name");
            slices.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
            for pair in slices.windows(2) {
                assert!(pair[0].1 <= pair[1].0 + 1e-6, "slices overlap: {pair:?}");
            }
        }
        let mut flows: HashMap<u64, Vec<&Value>> = HashMap::new();
        let mut asyncs: HashMap<(&str, &str), Vec<&Value>> = HashMap::new();
        for event in events {
            match event["ph"].as_str() {
                Some("s" | "f") => flows
                    .entry(event["id"].as_u64().expect("an id"))
                    .or_default()
                    .push(event),
                Some("b" | "e") => {
                    let key = (
                        event["cat"].as_str().expect("text"),
                        event["id"].as_str().expect("text"),
                    );
                    asyncs.entry(key).or_default().push(event);
                }
                _ => {}
            }
        }
        for pair in flows.values() {
            let [start, end] = pair.as_slice() else {
                panic!("a flow has two ends: {pair:?}")
            };
            assert_eq!(
                (&start["ph"], &end["ph"], &end["bp"]),
                (&"s".into(), &"f".into(), &"e".into())
            );
            assert_eq!((&start["name"], &start["cat"]), (&end["name"], &end["cat"]));
            assert!(number(start, "ts") <= number(end, "ts"), "{start} {end}");
            for end in [start, end] {
                let at = number(end, "ts");
                let of_thread = &slices[&end["tid"].as_u64().expect("a thread")];
                assert!(
                    of_thread
                        .iter()
                        .any(|(from, until)| *from <= at && at < *until),
                    "no slice encloses {end}"
                );
            }
        }
        for pair in asyncs.values() {
            let phases: Vec<_> = pair.iter().map(|event| event["ph"].as_str()).collect();
            assert_eq!(phases, [Some("b"), Some("e")]);
            assert!(number(pair[0], "ts") <= number(pair[1], "ts"));
        }
    }

    const BUSY: &str = "main spawn ada; main spawn grace; main make channel orders; ada take till :3; grace want till :4; main add w; main wait w; @200 ada release till; \
        grace take till; grace send orders; ada done w; main on; main got orders; grace mark now; grace region oven; grace leave; ada exit; main join grace; grace panic no flour; grace exit; main joined grace; main end";

    #[test]
    fn a_trace_has_slices_flows_names_and_counters() {
        let events = events(&fold(&trace(BUSY)));
        is_valid(&events);
        let of = |phase: &str| -> Vec<&Value> {
            events.iter().filter(|event| event["ph"] == phase).collect()
        };
        let names = |phase: &str| -> Vec<&str> {
            of(phase)
                .iter()
                .filter_map(|event| event["name"].as_str())
                .collect()
        };
        for (phase, wanted) in [
            ("X", "waits for lock `till`"),
            ("X", "ready"),
            ("C", "channel `orders` queue"),
            ("C", "lock `till` held"),
            ("C", "wait group `w` count"),
            ("C", "running"),
            ("b", "ada holds lock `till`"),
            ("b", "grace: oven"),
            ("i", "now"),
        ] {
            assert!(
                names(phase).contains(&wanted),
                "{phase} {wanted} is not in {:?}",
                names(phase)
            );
        }
        let flows = names("s");
        assert_eq!(
            flows,
            ["made", "made", "unlock", "done", "message", "joined"]
        );
        let threads: Vec<_> = events
            .iter()
            .filter(|event| event["name"] == "thread_name")
            .map(|event| &event["args"]["name"])
            .collect();
        assert_eq!(threads, ["main", "ada", "grace"]);
        let wait = events
            .iter()
            .find(|event| event["name"] == "waits for lock `till`")
            .expect("is there");
        assert_eq!((number(wait, "ts"), number(wait, "dur")), (50.0, 150.0));
        assert_eq!(wait["args"]["at"], "cell 4 line 4: `<b>`");
    }

    #[test]
    fn the_count_of_running_tasks_ends_at_none() {
        let events = events(&fold(&trace(BUSY)));
        let counts: Vec<i64> = events
            .iter()
            .filter(|event| event["name"] == "running")
            .filter_map(|event| event["args"]["tasks"].as_i64())
            .collect();
        assert!(
            counts.iter().all(|count| (0..=3).contains(count)),
            "{counts:?}"
        );
        assert_eq!(counts.last(), Some(&0));
        assert!(counts.contains(&2), "{counts:?}");
    }

    #[test]
    fn any_events_make_a_valid_trace() {
        let mut random = Random::new(23);
        for round in 0..200 {
            let mut trace = trace("main mark x");
            let event = trace.events[0];
            for ticks in 0..150 {
                let mut small = || random.below(5) as u32;
                trace.events.push(Event {
                    // Also several at one moment.
                    ticks: ticks / (1 + round % 3) * 7,
                    task: small(),
                    obj: small(),
                    seq: small(),
                    aux: random.below(15) as u32,
                    kind: random.below(40) as u8,
                    worker: random.below(3) as u8,
                    ..event
                });
            }
            is_valid(&events(&fold(&trace)));
        }
    }

    #[test]
    fn nothing_recorded_makes_a_trace_too() {
        is_valid(&events(&Timeline::default()));
    }
}
