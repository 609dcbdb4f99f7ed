//! Sums, waits for locks, and the critical path.

use crate::fold::{Nanos, State, Step, Sums, Timeline, fold};
use crate::format::Reason;
use crate::script::trace;

fn folded(script: &str) -> Timeline {
    fold(&trace(script))
}

#[test]
fn a_task_s_time_is_summed_by_what_it_did() {
    let timeline = folded(
        "main spawn a; a start; @100 a work; @200 a offcore =30; @220 a worked; a sleep; @300 a on; main take m; a want m; @400 main release m; @450 a take m; @500 a exit; main end",
    );
    let micros = |sums: Sums| {
        [
            sums.running,
            sums.ready,
            sums.blocked,
            sums.sleeping,
            sums.unknown,
        ]
        .map(|sum| sum.0 / 1000)
    };
    let a = timeline.lane(2).expect("has a lane");
    // Made at 10; 20 to 170, 200 to 230, 300 to 320 and 450 to 500 it ran.
    assert_eq!(micros(timeline.sums(a)), [250, 90, 80, 70, 0]);
    assert_eq!(timeline.sums(a).whole(), Nanos(490_000));
}

#[test]
fn locks_are_listed_by_how_long_they_were_waited_for() {
    let timeline = folded(
        "main spawn a; main spawn b; main take m; main take n; @100 a want m; @110 b want m; @200 main release m; @210 a take m; a release m; @300 b take m; \
         @310 a want n; @320 main release n; @330 a take n",
    );
    let told: Vec<_> = timeline
        .contention()
        .iter()
        .map(|lock| {
            let name = timeline
                .object(lock.object)
                .map_or("", |object| &object.name);
            (
                name.to_owned(),
                lock.waits,
                lock.waited.0 / 1000,
                lock.longest.0 / 1000,
                lock.longest_by,
                lock.most_at_once,
            )
        })
        .collect();
    // The lock goes from `main` to `a` at 200 and from `a` to `b` at 220.
    assert_eq!(
        told,
        [
            ("m".into(), 2, 210, 110, 3, 2),
            ("n".into(), 1, 10, 10, 2, 1)
        ]
    );
}

#[test]
fn the_average_of_those_that_ran_is_over_the_time_in_which_any_did() {
    let timeline = folded(
        "main spawn a; main spawn b; @100 a start; @100 b start; @200 a exit; @300 b exit; @1000 main end",
    );
    let running = timeline.parallelism;
    assert_eq!(
        (running.most, running.together, running.any),
        (2, Nanos(300_000), Nanos(200_000))
    );
    assert!((running.average() - 1.5).abs() < 1e-9);
    assert!(folded("main mark x").parallelism.average() < 1e-9);
}

/// The critical path as `task from-until`, in microseconds.
fn path(script: &str) -> Vec<String> {
    let timeline = folded(script);
    let told = |step: &Step| {
        let name = timeline.lane(step.task).map_or("", |lane| &lane.name);
        let state = match step.state {
            State::Running => "runs",
            State::Computing => "computes",
            State::Ready => "ready",
            State::Sleeping => "sleeps",
            State::Blocked {
                reason: Reason::Recv,
                ..
            } => "waits for a message",
            State::Blocked { .. } => "waits",
            State::Unknown => "?",
        };
        format!(
            "{name} {}-{} {state}",
            step.from.0 / 1000,
            step.until.0 / 1000
        )
    };
    timeline.critical_path().iter().map(told).collect()
}

#[test]
fn the_critical_path_goes_where_the_end_waited_for() {
    for (name, script, want) in [
        (
            "alone",
            "main mark x; @50 main end",
            &["main 0-50 runs"][..],
        ),
        (
            "a join, and the one that is joined sleeps",
            "main spawn a; a start; main join a; @100 a sleep; @200 a on; @250 a exit; @260 main joined a; @300 main end",
            &[
                "main 0-10 runs",
                "a 10-20 ready",
                "a 20-100 runs",
                "a 100-200 sleeps",
                "a 200-250 runs",
                "main 250-260 ready",
                "main 260-300 runs",
            ],
        ),
        (
            "the other one is not on it",
            "main spawn a; main spawn b; a start; b start; @50 b exit; main join a; @100 a exit; main joined a; main joined b; main end",
            &[
                "main 0-10 runs",
                "a 10-30 ready",
                "a 30-100 runs",
                "main 100-110 ready",
                "main 110-130 runs",
            ],
        ),
        (
            "a lock goes through a third one's hands",
            "main spawn a; main spawn b; a start; b start; a take m; b want m; main join b; @500 a release m; b take m; b exit; main joined b; main end",
            &[
                "main 0-10 runs",
                "a 10-30 ready",
                "a 30-500 runs",
                "b 500-510 ready",
                "b 510-520 runs",
                "main 520-530 ready",
                "main 530-540 runs",
            ],
        ),
        (
            "a wait that nobody ended",
            "main mark x; main recv c; @90 main mark y",
            &["main 0-20 runs", "main 20-90 waits for a message"],
        ),
    ] {
        assert_eq!(path(script), want, "{name}");
    }
}
