//! Where events are missing: what is still known of a task, and of what others may have done meanwhile.

use super::timeline::{Nanos, State};
use super::{Fold, Where};
use crate::format::Kind;

impl Fold<'_> {
    /// What the task did from now on is missing. It may have ended its wait, given its locks back, left its regions, and come to its end.
    pub(super) fn loses_sight(&mut self, task: u32) {
        let Some(&at) = self.position.get(&task) else {
            return;
        };
        if self.tasks[at].gone {
            return;
        }
        self.change(at, State::Unknown, Where::default());
        let (now, task) = (self.now, &mut self.tasks[at]);
        task.just_woken_by = None;
        for hold in task
            .lane
            .holds
            .iter_mut()
            .filter(|hold| hold.until.is_none())
        {
            hold.until = Some(now);
        }
        for region in task.regions.drain(..) {
            task.lane.regions[region].until = Some(now);
        }
    }

    /// A task of which something may be missing does something.
    pub(super) fn is_seen_again(&mut self, at: usize, kind: Kind, place: Where) {
        let never_seen = self.never_seen(at) && kind != Kind::Start;
        if let Some(open) = &mut self.tasks[at].open {
            if never_seen {
                open.state = State::Unknown;
            }
            if open.state == State::Unknown {
                self.change(
                    at,
                    State::Running,
                    Where {
                        site: None,
                        ..place
                    },
                );
            }
        }
    }

    /// Whether the task was made before the gap's end, and nothing that it did is known: it may have begun all the same.
    pub(super) fn never_seen(&self, at: usize) -> bool {
        let lane = &self.tasks[at].lane;
        self.gap.is_some_and(|(_, until)| lane.spawned < until)
            && lane.started.is_none()
            && lane.spans.is_empty()
            && self.tasks[at]
                .open
                .as_ref()
                .is_some_and(|open| open.state == State::Ready)
    }

    /// Whether something that the reader has not seen may have happened between `since` and now.
    pub(super) fn is_unsure_since(&self, since: Nanos) -> bool {
        self.gap
            .is_some_and(|(from, until)| since < until && self.now > from)
    }
}
