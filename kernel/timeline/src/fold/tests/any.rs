//! What holds of any list of events, also of one that no recorder would write.

use crate::fold::{State, Timeline, fold};
use crate::format::Event;
use crate::script::{Random, trace};

/// The critical path goes from moment to moment without holes, and no sum is more than there was time for.
fn the_sums_hold(timeline: &Timeline) {
    let path = timeline.critical_path();
    for pair in path.windows(2) {
        assert_eq!(pair[0].until, pair[1].from, "{pair:?}");
    }
    for step in path {
        assert!(
            step.from < step.until && timeline.lane(step.task).is_some(),
            "{step:?}"
        );
    }
    for lane in &timeline.lanes {
        assert!(timeline.sums(lane).whole() <= timeline.end, "{lane:?}");
    }
    for lock in timeline.contention() {
        assert!(
            lock.longest <= lock.waited && lock.most_at_once <= lock.waits,
            "{lock:?}"
        );
        assert!(timeline.lane(lock.longest_by).is_some(), "{lock:?}");
    }
    let running = timeline.parallelism;
    assert!(running.any <= timeline.end, "{running:?}");
    assert!(running.average() <= running.most as f64, "{running:?}");
}

#[test]
fn every_prefix_of_every_list_folds() {
    let mut random = Random::new(3);
    for case in 0..300 {
        let mut trace = trace("main mark x");
        trace.events.clear();
        trace.ticks_per_second = case % 3;
        for ticks in 0..60 {
            let mut small = || random.below(5) as u32;
            let (task, obj, seq) = (small(), small(), small());
            let aux = random.below(15) as u32;
            let kind = random.below(42) as u8;
            trace.events.push(Event {
                ticks,
                task,
                obj,
                seq,
                aux,
                kind,
                site: 1,
                cpu: (ticks % 3) as u16,
                worker: random.below(3) as u8,
                ..Event::default()
            });
        }
        while trace.events.pop().is_some() {
            let timeline = fold(&trace);
            for lane in &timeline.lanes {
                for pair in lane.spans.windows(2) {
                    assert!(
                        pair[0].until.is_some_and(|until| until <= pair[1].from),
                        "spans overlap: {pair:?}"
                    );
                }
                for span in &lane.spans {
                    let waits = matches!(span.state, State::Blocked { .. });
                    assert!(waits || span.deadlocked.is_none(), "{span:?}");
                    assert!(!waits || span.worker.is_none(), "{span:?}");
                }
            }
            for worker in &timeline.workers {
                for pair in worker.slices.windows(2) {
                    assert!(
                        pair[0].until.is_some_and(|until| until <= pair[1].from),
                        "a worker carries two: {pair:?}"
                    );
                }
            }
            the_sums_hold(&timeline);
            assert!(timeline.rings.iter().all(|ring| !ring.tasks.is_empty()));
            for edge in &timeline.edges {
                assert!(
                    edge.left <= edge.reached && timeline.lane(edge.to).is_some(),
                    "{edge:?}"
                );
            }
        }
    }
}
