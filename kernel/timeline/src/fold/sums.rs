//! What a timeline comes to: how long each task did what, and which locks were waited for.

use std::collections::HashMap;

use super::timeline::{Lane, Nanos, State, Timeline};
use crate::format::Reason;

/// How long a task did what. Together as long as it was seen, up to the last nanosecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// It ran, or computed.
    pub running: Nanos,
    /// It could have, and did not.
    pub ready: Nanos,
    /// It waited for something or somebody.
    pub blocked: Nanos,
    /// It waited for time to pass.
    pub sleeping: Nanos,
    /// Not known.
    pub unknown: Nanos,
}

impl Sums {
    /// All of them together.
    pub fn whole(&self) -> Nanos {
        let parts = [
            self.running,
            self.ready,
            self.blocked,
            self.sleeping,
            self.unknown,
        ];
        Nanos(parts.iter().fold(0, |sum, part| sum.saturating_add(part.0)))
    }

    /// Adds those of another task.
    pub fn add(&mut self, other: &Sums) {
        for (ours, theirs) in [
            (&mut self.running, other.running),
            (&mut self.ready, other.ready),
            (&mut self.blocked, other.blocked),
            (&mut self.sleeping, other.sleeping),
            (&mut self.unknown, other.unknown),
        ] {
            ours.0 = ours.0.saturating_add(theirs.0);
        }
    }
}

/// How much a lock was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contention {
    /// The lock: a mutex or a read-write lock.
    pub object: u32,
    /// How many waits there were.
    pub waits: usize,
    /// How long they were together.
    pub waited: Nanos,
    /// How long the longest was.
    pub longest: Nanos,
    /// Whose that was.
    pub longest_by: u32,
    /// How many waited at once, at most.
    pub most_at_once: usize,
}

impl Timeline {
    /// How long a task did what. Takes as long as it has spans.
    pub fn sums(&self, lane: &Lane) -> Sums {
        let mut sums = Sums::default();
        for span in &lane.spans {
            let sum = match span.state {
                State::Running | State::Computing => &mut sums.running,
                State::Ready => &mut sums.ready,
                State::Blocked { .. } => &mut sums.blocked,
                State::Sleeping => &mut sums.sleeping,
                State::Unknown => &mut sums.unknown,
            };
            sum.0 = sum.0.saturating_add(span.length(self.end).0);
        }
        sums
    }

    /// The locks that were waited for, the one with the longest waits first. Takes O(n log n) in the waits, the first time.
    pub fn contention(&self) -> &[Contention] {
        self.contention.get_or_init(|| self.contended())
    }

    fn contended(&self) -> Vec<Contention> {
        let mut by_lock: HashMap<u32, (Contention, Vec<(Nanos, bool)>)> = HashMap::new();
        for lane in &self.lanes {
            for span in &lane.spans {
                let State::Blocked {
                    reason: Reason::Lock | Reason::Read | Reason::Write,
                    object,
                } = span.state
                else {
                    continue;
                };
                let none = Contention {
                    object,
                    waits: 0,
                    waited: Nanos(0),
                    longest: Nanos(0),
                    longest_by: lane.task,
                    most_at_once: 0,
                };
                let (lock, changes) = by_lock.entry(object).or_insert((none, Vec::new()));
                let long = span.length(self.end);
                lock.waits += 1;
                lock.waited.0 = lock.waited.0.saturating_add(long.0);
                if long > lock.longest {
                    (lock.longest, lock.longest_by) = (long, lane.task);
                }
                changes.push((span.from, true));
                changes.push((span.until(self.end), false));
            }
        }
        let counted = |(mut lock, mut changes): (Contention, Vec<(Nanos, bool)>)| {
            // Who stops waiting does so before somebody else begins, as with an end and a beginning at one moment; a wait without length counts all the same.
            changes.sort_unstable();
            let (mut now, mut most) = (0_usize, 1);
            for (_, begins) in changes {
                now = if begins {
                    now + 1
                } else {
                    now.saturating_sub(1)
                };
                most = most.max(now);
            }
            lock.most_at_once = most;
            lock
        };
        let mut locks: Vec<Contention> = by_lock.into_values().map(counted).collect();
        locks.sort_unstable_by_key(|lock| (std::cmp::Reverse(lock.waited), lock.object));
        locks
    }
}
