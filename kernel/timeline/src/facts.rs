//! What can be said of a recording that holds on every schedule: which tasks could have overlapped, and which came one after the other.
//!
//! By what was seen to happen before what: a spawn, a message, a wait group at zero, a join, and the order within a task. Locks are left out: who gets
//! a lock first is chance, and so is who is the last at a barrier, or is there already when a condition variable is notified. Knows nothing of time.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::fold::{State, Timeline};
use crate::format::Reason;

/// For how many lanes of a recording the order is known. What is kept per event grows with it, and nobody looks at the thousandth lane.
pub(crate) const MOST_LANES: usize = 1024;

/// The lanes whose tasks are known to be over, as a set that is cheap to copy: a vector clock of which only "has it ended" is ever asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ended(Option<Arc<Vec<u64>>>);

impl Ended {
    fn contains(&self, lane: usize) -> bool {
        self.0
            .as_ref()
            .and_then(|words| words.get(lane / 64))
            .is_some_and(|word| word >> (lane % 64) & 1 == 1)
    }

    pub(crate) fn with(&self, lane: usize) -> Ended {
        if lane >= MOST_LANES {
            return self.clone();
        }
        let mut words = self.0.as_deref().cloned().unwrap_or_default();
        words.resize(words.len().max(lane / 64 + 1), 0);
        words[lane / 64] |= 1 << (lane % 64);
        Ended(Some(Arc::new(words)))
    }

    pub(crate) fn join(&mut self, other: &Ended) {
        let Some(theirs) = &other.0 else { return };
        let Some(ours) = &mut self.0 else {
            self.0 = Some(theirs.clone());
            return;
        };
        let news = theirs
            .iter()
            .enumerate()
            .any(|(at, word)| word & !ours.get(at).copied().unwrap_or(0) != 0);
        if news && !Arc::ptr_eq(ours, theirs) {
            let ours = Arc::make_mut(ours);
            ours.resize(ours.len().max(theirs.len()), 0);
            for (our, their) in ours.iter_mut().zip(theirs.iter()) {
                *our |= their;
            }
        }
    }

    /// The same set after the lanes were put in another order; `order` gives, by new place, the old one.
    pub(crate) fn reordered(&self, order: &[usize]) -> Ended {
        if self.0.is_none() || order.is_sorted() {
            return self.clone();
        }
        let lanes = order.iter().enumerate().take(MOST_LANES);
        lanes
            .filter(|(_, old)| self.contains(**old))
            .fold(Ended::default(), |set, (new, _)| set.with(new))
    }
}

impl Timeline {
    /// Tells which of two tasks was over before the other began: `Less` for `a`, `Greater` for `b`; `None` when neither was, so that they could overlap.
    /// `None` as well when events are missing: then it is not known.
    ///
    /// "Over" means: all that it did, apart from giving locks back and ending, happened before the other one's first step.
    pub fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        if self.gap.is_some() {
            return None;
        }
        let (a, b) = (self.place(a)?, self.place(b)?);
        match (self.before[b].contains(a), self.before[a].contains(b)) {
            (true, _) => Some(Ordering::Less),
            (_, true) => Some(Ordering::Greater),
            _ => None,
        }
    }

    /// Tells whether two tasks could have run at the same time, whatever the scheduler does. `false` also for tasks that are not known, and when events are
    /// missing: one of them may have ordered the two.
    pub fn concurrent(&self, a: u32, b: u32) -> bool {
        a != b
            && self.gap.is_none()
            && self.place(a).is_some()
            && self.place(b).is_some()
            && self.order(a, b).is_none()
    }

    /// Tells whether there is something to see: more than `main`, or `main` waited for something. A cell that only prints gets no picture.
    pub fn worth_drawing(&self) -> bool {
        let on_an_object = |state: State| matches!(state, State::Blocked { reason, object } if object != 0 || reason == Reason::Select);
        self.lanes.len() > 1
            || self
                .lanes
                .iter()
                .flat_map(|lane| &lane.spans)
                .any(|span| on_an_object(span.state))
    }

    fn place(&self, task: u32) -> Option<usize> {
        self.lanes
            .iter()
            .take(MOST_LANES)
            .position(|lane| lane.task == task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::script::trace;

    #[test]
    fn order_comes_from_what_happened_before_what() {
        for (name, script, want) in [
            (
                "two threads",
                "main spawn a; main spawn b; a exit; b exit",
                None,
            ),
            (
                "joined before",
                "main spawn a; a exit; main joined a; main spawn b; b exit",
                Some(Ordering::Less),
            ),
            (
                "over by chance",
                "main spawn a; a exit; main spawn b; b exit",
                None,
            ),
            (
                "one after the other by a lock",
                "main spawn a; a take m; a release m; a exit; main take m; main release m; main spawn b; b exit",
                None,
            ),
            (
                "its last act was a message",
                "main spawn a; a send c; a exit; main got c; main spawn b; b exit",
                Some(Ordering::Less),
            ),
            (
                "it went on after its message",
                "main spawn a; a send c; a mark more; a exit; main got c; main spawn b; b exit",
                None,
            ),
            (
                "wait group",
                "main spawn a; main add w; main wait w; a done w; a exit; main on; main spawn b; b exit",
                Some(Ordering::Less),
            ),
            (
                "wait group that was at zero already",
                "main spawn a; main add w; a done w; a exit; main pass w; main spawn b; b exit",
                Some(Ordering::Less),
            ),
            (
                "by way of another",
                "main spawn a; main spawn x; a exit; x joined a; x send c; main got c; main spawn b; b exit",
                Some(Ordering::Less),
            ),
            (
                "not over",
                "main spawn a; a start; main spawn b; b exit",
                None,
            ),
        ] {
            let timeline = fold(&trace(script));
            let task = |name: &str| {
                timeline
                    .lanes
                    .iter()
                    .find(|lane| lane.name == name)
                    .expect("has a lane")
                    .task
            };
            let (a, b) = (task("a"), task("b"));
            assert_eq!(timeline.order(a, b), want, "{name}");
            assert_eq!(
                timeline.order(b, a),
                want.map(Ordering::reverse),
                "{name}, the other way"
            );
            assert_eq!(timeline.concurrent(a, b), want.is_none(), "{name}");
            assert!(!timeline.concurrent(a, a), "{name}");
        }
    }

    #[test]
    fn only_what_shows_something_is_drawn() {
        for (script, want) in [
            ("main end", false),
            ("main sleep; main on; main end", false),
            ("main send c; main got c; main end", false),
            ("main work; main worked; main end", false),
            ("main recv c", true),
            ("main select", true),
            ("main spawn a; main end", true),
        ] {
            assert_eq!(fold(&trace(script)).worth_drawing(), want, "{script}");
        }
    }
}
