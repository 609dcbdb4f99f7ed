//! Scripts of events and what they fold to.

mod any;
mod gaps;
mod sums;

use super::*;
use crate::format::{Engine, MAIN_TASK};
use crate::script::trace;

fn edges(script: &str) -> Vec<String> {
    let timeline = fold(&trace(script));
    let name = |task| timeline.lane(task).map_or("?", |lane| lane.name.as_str());
    let edge = |edge: &Edge| {
        format!(
            "{:?} {} {}{}",
            edge.kind,
            name(edge.from),
            name(edge.to),
            if edge.ended_wait { " !" } else { "" }
        )
    };
    timeline.edges.iter().map(edge).collect()
}

#[test]
fn edges_say_who_let_whom_go_on() {
    for (name, script, want) in [
        ("spawn", "main spawn a; a exit", &["Spawn main a"][..]),
        (
            "message that is waited for",
            "main spawn a; main recv c; a send c; main got c",
            &["Spawn main a", "Message a main !"],
        ),
        (
            "message that lay there",
            "main spawn a; a send c; main got c",
            &["Spawn main a", "Message a main"],
        ),
        (
            "lock",
            "main spawn a; main take m; a want m; main release m; a take m",
            &["Spawn main a", "Lock main a !"],
        ),
        ("own lock", "main take m; main release m; main take m", &[]),
        (
            "wait group",
            "main spawn a; main add w; main wait w; a done w; main on",
            &["Spawn main a", "Wait a main !"],
        ),
        (
            "join",
            "main spawn a; main join a; a exit; main joined a",
            &["Spawn main a", "Join a main !"],
        ),
        (
            "join of one that is over",
            "main spawn a; a exit; main joined a",
            &["Spawn main a", "Join a main"],
        ),
        ("received from an earlier cell", "main got c", &[]),
        (
            "readers go on together when the writer is done",
            "main write l; a wantread l; b wantread l; main release l; a read l; b read l",
            &["Lock main thread 1 !", "Lock main thread 2 !"],
        ),
        (
            "a writer waits for the last reader, who is not the last to have come",
            "a read l; b read l; main wantwrite l; b release l; a release l; main write l",
            &["Lock thread 1 main !"],
        ),
        (
            "readers do not wait for each other",
            "a read l; a release l; b read l",
            &[],
        ),
        (
            "notified",
            "a await v; b await v; main notify v; a on",
            &["Notify main thread 1 !"],
        ),
        (
            "the last at the barrier",
            "a meet r; b meet r; main trip r; b on; a on",
            &["Barrier main thread 2 !", "Barrier main thread 1 !"],
        ),
        (
            "filled",
            "a lack o; main fill o; a on",
            &["Once main thread 1 !"],
        ),
        (
            "the first of several channels",
            "main make channel c; main select; a send c; a wake main; main on; main got c",
            &["Message thread 1 main !"],
        ),
    ] {
        assert_eq!(edges(script), want, "{name}");
    }
}

#[test]
fn spans_follow_the_waits() {
    use State::{Blocked, Computing, Ready, Running, Sleeping};
    let lock = Blocked {
        reason: Reason::Lock,
        object: 2,
    };
    for (name, script, task, want) in [
        (
            "ready between wake and going on",
            "main take m; b want m; main release m; b take m",
            2,
            vec![
                (20, Some(30), lock),
                (30, Some(40), Ready),
                (40, None, Running),
            ],
        ),
        (
            "made, started, done",
            "main spawn a; a start; main yield; a exit",
            2,
            vec![(10, Some(20), Ready), (20, Some(40), Running)],
        ),
        (
            "never started",
            "main spawn a; main end",
            2,
            vec![(10, None, Ready)],
        ),
        ("deadlock", "a take m; b want m", 3, vec![(20, None, lock)]),
        (
            "sleep",
            "main sleep; main on; main end",
            1,
            vec![
                (0, Some(10), Running),
                (10, Some(20), Sleeping),
                (20, Some(30), Running),
            ],
        ),
        (
            "a green task lets others go first",
            "main go a; a start ^1; a yield ^1; @90 a resumed ^1; a exit ^1",
            2,
            vec![
                (10, Some(20), Ready),
                (20, Some(30), Running),
                (30, Some(90), Ready),
                (90, Some(100), Running),
            ],
        ),
        (
            "a thread that says when it was on again",
            "main yield; @50 main resumed; main end",
            1,
            vec![
                (0, Some(10), Running),
                (10, Some(50), Ready),
                (50, Some(60), Running),
            ],
        ),
        (
            "a thread that does not say",
            "main yield; main sleep",
            1,
            vec![(0, Some(20), Running), (20, None, Sleeping)],
        ),
        (
            "off its core",
            "@0 main work; @100 main offcore =40; @120 main worked; main end",
            1,
            vec![
                (0, Some(60), Computing),
                (60, Some(100), Ready),
                (100, Some(120), Computing),
                (120, Some(130), Running),
            ],
        ),
    ] {
        let timeline = fold(&trace(script));
        let lane = timeline.lane(task).expect("has a lane");
        let spans: Vec<_> = lane
            .spans
            .iter()
            .map(|span| {
                (
                    span.from.0 / 1000,
                    span.until.map(|until| until.0 / 1000),
                    span.state,
                )
            })
            .collect();
        assert_eq!(spans, want, "{name}");
    }
}

#[test]
fn lanes_are_named_and_ended() {
    let timeline = fold(&trace(
        "main spawn ada; main go _x; main spawn _y; main spawn _z; ada panic no flour; ada exit; _y exit; main end",
    ));
    let lanes: Vec<_> = timeline
        .lanes
        .iter()
        .map(|lane| {
            (
                lane.name.as_str(),
                lane.engine,
                lane.parent,
                lane.end.clone(),
            )
        })
        .collect();
    assert_eq!(
        lanes,
        [
            ("main", Engine::Thread, None, LaneEnd::Done),
            (
                "ada",
                Engine::Thread,
                Some(1),
                LaneEnd::Panicked("no flour".into())
            ),
            ("task 1", Engine::Green, Some(1), LaneEnd::Alive),
            ("thread 1", Engine::Thread, Some(1), LaneEnd::Done),
            ("thread 2", Engine::Thread, Some(1), LaneEnd::Alive),
        ]
    );
}

#[test]
fn a_deadlock_marks_the_waits_and_ends_the_lanes() {
    use Deadlock::{AllAsleep, Ring};
    for (name, script, marks, ends, rings) in [
        (
            "a ring, told by one of its tasks",
            "main spawn a; main spawn b; a take m; b take n; a want n; b want m; \
             b deadlock b =1; b deadlock a =1; b on; b cut; a on; a cut; a exit; b exit; main end",
            vec![("a", Ring), ("b", Ring)],
            vec!["Done", "Cut(Deadlock)", "Cut(Deadlock)"],
            vec![vec![2, 3]],
        ),
        (
            "all asleep, told by a thread that is no task of the learner's",
            "main spawn a; a recv c; main wait w; x deadlock main =0; x deadlock a =0; a on; a cut; a exit; main on; main cut; main end",
            vec![("main", AllAsleep), ("a", AllAsleep)],
            vec!["Cut(Deadlock)", "Cut(Deadlock)"],
            vec![],
        ),
        (
            "told late, by the clock of another core",
            "main take m; main want m; main on; main deadlock main =1; main cut",
            vec![("main", Ring)],
            vec!["Cut(Deadlock)"],
            vec![vec![1]],
        ),
        (
            "a wait that was let go on was not in vain",
            "main take m; a want m; main release m; a take m; main deadlock a =0",
            vec![],
            vec!["Alive", "Alive"],
            vec![],
        ),
        (
            "caught, and on it goes",
            "main recv c; x deadlock main =0; main on; main cut; main work; main worked; main end",
            vec![("main", AllAsleep)],
            vec!["Done"],
            vec![],
        ),
        (
            "two rings, one after the other",
            "a take m; a want m; a deadlock a =1; a cut; a exit; b take n; b want n; b deadlock b =1; b cut; b exit",
            vec![("thread 1", Ring), ("thread 2", Ring)],
            vec!["Alive", "Cut(Deadlock)", "Cut(Deadlock)"],
            vec![vec![2], vec![3]],
        ),
        (
            "the program returned",
            "main spawn a; a recv c; a cut =2; a exit; main cut =3; main end",
            vec![],
            vec!["Cut(Interrupt)", "Cut(Program)"],
            vec![],
        ),
    ] {
        let timeline = fold(&trace(script));
        let found: Vec<_> = timeline
            .lanes
            .iter()
            .flat_map(|lane| lane.spans.iter().map(move |span| (lane, span)))
            .filter_map(|(lane, span)| Some((lane.name.as_str(), span.deadlocked?)))
            .collect();
        assert_eq!(found, marks, "{name}");
        let found: Vec<_> = timeline
            .lanes
            .iter()
            .map(|lane| format!("{:?}", lane.end))
            .collect();
        assert_eq!(found, ends, "{name}");
        let found: Vec<_> = timeline.rings.into_iter().map(|ring| ring.tasks).collect();
        assert_eq!(found, rings, "{name}");
    }
}

#[test]
fn a_task_of_an_earlier_cell_can_be_found_to_wait_in_vain() {
    let mut later =
        trace("main spawn ada; ada recv orders; main deadlock ada =0; ada on; ada cut; ada exit");
    later.events.retain(|event| {
        ![Kind::Spawn as u8, Kind::Start as u8, Kind::BlockBegin as u8].contains(&event.kind)
    });
    let timeline = fold(&later);
    let ada = timeline.lane(2).expect("went on here");
    assert_eq!(ada.spans[0].deadlocked, Some(Deadlock::AllAsleep));
    assert_eq!((ada.name.as_str(), ada.spans[0].from), ("ada", Nanos(0)));
}

#[test]
fn workers_carry_one_task_after_the_other() {
    let timeline = fold(&trace(
        "main go a; main go b; a start ^1; a yield ^1; b start ^1; b recv c ^1; a resumed ^1; a work ^1; @200 a offcore =50 ^1; a worked ^1; \
         a hogged =9000 ^1; a exit ^1; main send c; b got c ^2; b exit ^2; main end",
    ));
    let carried: Vec<_> = timeline
        .workers
        .iter()
        .map(|lane| {
            let slice = |slice: &Slice| {
                let until = slice.until.map(|until| until.0 / 1000);
                (slice.task, slice.from.0 / 1000, until)
            };
            (
                lane.worker,
                lane.slices.iter().map(slice).collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        carried,
        [
            (
                1,
                vec![(2, 30, Some(40)), (3, 50, Some(60)), (2, 70, Some(230))]
            ),
            (2, vec![(3, 250, Some(260))]),
        ]
    );
    let hogged = timeline.lanes[1]
        .spans
        .iter()
        .filter_map(|span| span.hogged);
    assert_eq!(hogged.collect::<Vec<_>>(), [Nanos(9_000_000)]);
}

#[test]
fn who_kept_its_worker_by_computing_is_told_so_of_the_computation() {
    let timeline = fold(&trace(
        "main go a; a start ^1; @100 a work ^1; @9100 a worked ^1; a hogged =9000 ^1; a exit ^1; main end",
    ));
    let hogged = timeline.lanes[1]
        .spans
        .iter()
        .filter(|span| span.hogged.is_some());
    let hogged: Vec<State> = hogged.map(|span| span.state).collect();
    assert_eq!(hogged, [State::Computing]);
}

#[test]
fn objects_are_named_and_counted() {
    let timeline = fold(&trace(
        "main make lock till; main make channel _c; main make channel _d; main send _c; main send _c; main got _c; main take till; \
         main read shelf; a read shelf; main release shelf; a release shelf; a write shelf; main load loaves; main store loaves =7",
    ));
    let objects: Vec<_> = timeline
        .objects
        .iter()
        .map(|object| {
            (
                object.name.as_str(),
                object.named,
                object
                    .counter
                    .iter()
                    .map(|change| change.1)
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        objects,
        [
            ("till", true, vec![1]),
            ("channel 1", false, vec![1, 2, 1]),
            ("channel 2", false, vec![]),
            ("shelf", true, vec![1, 2, 1, 0, 1]),
            ("loaves", true, vec![7]),
        ]
    );
}

#[test]
fn a_thread_of_an_earlier_cell_gets_a_lane_when_it_goes_on() {
    let mut earlier = trace("main make channel orders; main spawn ada; ada recv orders; main end");
    let mut known = Known::default();
    known.learn(&fold(&earlier));
    earlier.events = trace("main make channel orders; main spawn ada; ada recv orders; main end; main send orders; ada got orders").events.split_off(earlier.events.len());
    assert!(known.has_task(2) && !known.has_task(3) && !known.has_task(MAIN_TASK));
    let timeline = fold_knowing(&earlier, &known);
    let ada = timeline.lane(2).expect("went on here");
    assert_eq!(ada.name, "ada");
    assert_eq!(
        ada.spans[0].state,
        State::Blocked {
            reason: Reason::Recv,
            object: 2
        }
    );
    assert_eq!(
        (ada.spans[0].from, ada.spans[0].woken_by),
        (Nanos(0), Some(MAIN_TASK))
    );
    assert_eq!(timeline.objects[0].name, "orders");
    assert_eq!(timeline.edges.len(), 1);
}

#[test]
fn running_at_once_leaves_main_out_and_counts_a_core_once() {
    for (name, script, cpus, want) in [
        ("main alone", "main work; main worked", [0, 1], 0),
        (
            "two, cores unknown",
            "main spawn a; main spawn b; a work; b work; a exit; b exit",
            [u16::MAX; 2],
            2,
        ),
        (
            "two on two cores",
            "main spawn a; main spawn b; a work; b work; a exit; b exit",
            [0, 1],
            2,
        ),
        (
            "two on one core",
            "main spawn a; main spawn b; a work; b work; a exit; b exit",
            [0, 0],
            1,
        ),
        (
            "one after the other",
            "main spawn a; a work; a exit; main spawn b; b exit",
            [0, 1],
            1,
        ),
    ] {
        let mut trace = trace(script);
        for event in &mut trace.events {
            event.cpu = cpus[event.task as usize % 2];
        }
        assert_eq!(fold(&trace).max_running, want, "{name}");
    }
}
