//! How waits end: who lets whom go on, and which waits are in vain.

use super::timeline::{Deadlock, Edge, EdgeKind, Nanos, Ring, State};
use super::{Fold, Where};
use crate::facts::Ended;
use crate::format::{Event, Reason};

impl Fold<'_> {
    pub(super) fn wake(&mut self, woken: usize, by: u32) {
        let now = self.now;
        let task = &mut self.tasks[woken];
        if let Some(span) = &mut task.open
            && matches!(span.state, State::Blocked { .. } | State::Sleeping)
            && span.woken_by.is_none()
        {
            span.woken_by = Some(by);
            span.woken_at = Some(now);
            self.close(woken, now, None);
            self.change(woken, State::Ready, Where::default());
            self.tasks[woken].just_woken_by = Some(by);
        }
    }

    pub(super) fn go_on(&mut self, at: usize, event: &Event, place: Where) {
        self.change(at, State::Running, place);
        let Some(reason) = Reason::from_number(event.aux) else {
            return;
        };
        let by = self.tasks[at].just_woken_by;
        match reason {
            Reason::Wait => {
                if let Some(known) = self.groups.get(&event.obj) {
                    self.tasks[at].ended.join(known);
                }
                self.woken_edge(EdgeKind::Wait, by, at, event.obj);
            }
            Reason::Notify => self.woken_edge(EdgeKind::Notify, by, at, event.obj),
            Reason::Barrier => self.woken_edge(EdgeKind::Barrier, by, at, event.obj),
            Reason::Once => self.woken_edge(EdgeKind::Once, by, at, event.obj),
            Reason::Scope => {
                // Whoever this task made since the scope was opened, and who is over, is over for it.
                let first = self
                    .scopes
                    .get(&event.obj)
                    .copied()
                    .unwrap_or(self.tasks.len());
                let parent = Some(self.tasks[at].lane.task);
                // As many as a scope may reasonably have: a trace that was scribbled on could ask for all tasks again and again.
                let children = self.tasks[first..]
                    .iter()
                    .take(4096)
                    .filter(|child| child.lane.parent == parent && child.gone);
                for child in children.map(|child| child.lane.task).collect::<Vec<_>>() {
                    self.join(at, child);
                }
                if let Some(by) = by {
                    self.join(at, by);
                }
            }
            _ => {}
        }
    }

    /// Draws the edge of a wait that `by` ended, if anybody did.
    pub(super) fn woken_edge(&mut self, kind: EdgeKind, by: Option<u32>, at: usize, object: u32) {
        // Looked for only when there was a wake, which is then near the end.
        let spans = &self.tasks[at].lane.spans;
        if let Some(by) = by
            && let Some(left) = spans.iter().rev().find_map(|span| span.woken_at)
        {
            self.edge(kind, (by, left), at, object, 0);
        }
    }

    pub(super) fn join(&mut self, at: usize, child: u32) {
        let Some((left, known)) = self.exits.get(&child).cloned() else {
            return;
        };
        self.tasks[at].ended.join(&known);
        if self.joined.insert((child, self.tasks[at].lane.task)) {
            self.edge(EdgeKind::Join, (child, left), at, child, 0);
        }
    }

    pub(super) fn edge(
        &mut self,
        kind: EdgeKind,
        (from, left): (u32, Nanos),
        to: usize,
        object: u32,
        seq: u32,
    ) {
        let reached = self.now;
        let task = &mut self.tasks[to];
        let ended_wait = kind != EdgeKind::Spawn && task.just_woken_by == Some(from);
        if ended_wait {
            task.just_woken_by = None;
        }
        self.edges.push(Edge {
            kind,
            from,
            left,
            to: task.lane.task,
            reached,
            object,
            seq,
            ended_wait,
        });
    }

    /// What others may learn from what a task does by event `index`: also that it is over, when it did nothing more that counts.
    pub(super) fn published(&self, at: usize, index: usize) -> Ended {
        let task = &self.tasks[at];
        if self.last_acts.get(&task.lane.task) == Some(&index) {
            task.ended.with(at)
        } else {
            task.ended.clone()
        }
    }

    pub(super) fn deadlocked(&mut self, event: &Event) {
        let (task, object) = (event.aux, event.obj);
        let how = if event.seq == 1 {
            self.one_of_a_ring(event.task, task);
            Deadlock::Ring
        } else {
            Deadlock::AllAsleep
        };
        match self.position.get(&task) {
            Some(&at) => self.waits_in_vain(at, object, how),
            None => _ = self.early_deadlocks.insert(task, (object, how)),
        }
    }

    /// A ring is told task by task, in its order, and by one who does nothing else meanwhile.
    pub(super) fn one_of_a_ring(&mut self, teller: u32, task: u32) {
        match self.rings.last_mut() {
            Some(ring) if self.tells_ring == Some(teller) && ring.tasks.first() != Some(&task) => {
                ring.tasks.push(task);
            }
            _ => self.rings.push(Ring {
                at: self.now,
                tasks: vec![task],
            }),
        }
        self.tells_ring = Some(teller);
    }

    pub(super) fn waits_in_vain(&mut self, at: usize, awaited: u32, how: Deadlock) {
        let task = &mut self.tasks[at];
        // By the clock of another core it may have been cut already. What it did since is little: it only unwinds.
        let spans = task.lane.spans.iter_mut().rev().take(8);
        let mut waits = task.open.iter_mut().chain(spans).filter(|span| {
            span.woken_by.is_none()
                && matches!(span.state, State::Blocked { object, .. } if object == awaited)
        });
        if let Some(wait) = waits.next() {
            wait.deadlocked = Some(how);
        }
    }
}
