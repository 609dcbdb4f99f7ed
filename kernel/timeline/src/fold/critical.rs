//! The critical path: what the end had to wait for, from the end back to the beginning.
//!
//! Where a task waited, the path goes on with who let it go on, at that moment; where a task begins, with who made it. So each moment of the path lies in
//! one task, and whatever is not on the path could have taken longer without making the whole longer.

use super::timeline::{Lane, Nanos, Span, State, Timeline};
use crate::format::{MAIN_TASK, Reason};

/// A stretch of the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The task that the end waited for meanwhile.
    pub task: u32,
    /// Since when.
    pub from: Nanos,
    /// Until when.
    pub until: Nanos,
    /// What it did: a wait only when nobody is known who ended it.
    pub state: State,
}

impl Timeline {
    /// The critical path, by time and without holes from the first moment that is known to the last; it ends with `main`. Empty without lanes.
    ///
    /// Takes O(log n) for each of its steps, the first time.
    pub fn critical_path(&self) -> &[Step] {
        self.critical_path.get_or_init(|| self.path_to_the_end())
    }

    fn path_to_the_end(&self) -> Vec<Step> {
        let Some(mut lane) = self.lane(MAIN_TASK).or(self.lanes.first()) else {
            return Vec::new();
        };
        // From the end to the beginning.
        let mut path: Vec<Step> = Vec::new();
        let mut now = lane.ended.unwrap_or(self.end);
        // Two that woke each other at one moment, as clocks have it, must not send the path back and forth for ever.
        let mut jumps_at_once = 0;
        loop {
            let before = now;
            let may_jump = jumps_at_once < self.lanes.len();
            let at = lane.spans.partition_point(|span| span.from < now);
            let last = at.checked_sub(1).map(|at| &lane.spans[at]);
            // A wait without length says who ended it all the same.
            let short = lane.spans.get(at);
            let short = short.filter(|span| span.from == now && span.until == Some(now));
            let covers = last.filter(|span| span.until(self.end) >= now);
            let waits = [short, covers].into_iter().flatten();
            let ended_by = waits.filter(|_| may_jump).find_map(|span| {
                let (by, when) = self.ended_by(lane, span, now)?;
                Some((by, when, span.state))
            });
            if let Some((by, when, state)) = ended_by {
                extend(&mut path, lane, when, now, state);
                (lane, now) = (by, when);
            } else if let Some(span) = covers {
                extend(&mut path, lane, span.from, now, span.state);
                now = span.from;
            } else if let Some(span) = last {
                // Between two spans that were seen it ran.
                extend(&mut path, lane, span.until(self.end), now, State::Running);
                now = span.until(self.end);
            } else {
                let parent = lane.parent.and_then(|parent| self.lane(parent));
                let Some(parent) = parent.filter(|_| may_jump) else {
                    break;
                };
                let made = lane.spawned.min(now);
                extend(&mut path, lane, made, now, State::Running);
                (lane, now) = (parent, made);
            }
            jumps_at_once = if now < before { 0 } else { jumps_at_once + 1 };
        }
        path.reverse();
        path
    }

    /// Who ended a wait that ended at `now`, and when.
    fn ended_by(&self, lane: &Lane, span: &Span, now: Nanos) -> Option<(&Lane, Nanos)> {
        let State::Blocked { reason, object } = span.state else {
            return None;
        };
        let woken = span.woken_by.zip(span.woken_at).or_else(|| {
            // A join that nobody was seen to end did end with the task.
            let joined = self.lane(object).filter(|_| reason == Reason::Join)?;
            Some((joined.task, joined.ended?))
        });
        let (by, when) = woken.filter(|(by, when)| *by != lane.task && *when <= now)?;
        Some((self.lane(by)?, when))
    }
}

/// Adds what comes before the last step, as a part of that where it is the same.
fn extend(path: &mut Vec<Step>, lane: &Lane, from: Nanos, until: Nanos, state: State) {
    if from == until {
        return;
    }
    match path.last_mut() {
        Some(last) if last.task == lane.task && last.state == state && last.from == until => {
            last.from = from;
        }
        _ => path.push(Step {
            task: lane.task,
            from,
            until,
            state,
        }),
    }
}
