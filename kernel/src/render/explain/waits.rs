//! Who waited for what, how long, and who let it go on.

use std::collections::HashMap;

use threadbook_timeline::fold::{Edge, Lane, LaneEnd, Nanos, Span, State};
use threadbook_timeline::format::{Cause, MAIN_TASK, Reason};

use super::super::alike::{self, Waits};
use super::super::axis::duration;
use super::super::words::thousands;
use super::{Story, capital};

/// Of how many kinds of waits it is told.
const MOST_WAITS: usize = 12;
/// Of how many locks it is told how much they were waited for.
const MOST_LOCKS: usize = 4;

impl<'a> Story<'a> {
    /// The waits by how long they took in all, those together that are alike.
    pub(super) fn waits(&self) -> Vec<String> {
        let timeline = self.timeline();
        let is_over = timeline
            .lane(MAIN_TASK)
            .is_some_and(|main| main.ended.is_some());
        // Those in vain, those that an interrupt ended, and those that go on, are told already.
        let is_told = |lane: &Lane, span: &Span| {
            span.deadlocked.is_some()
                || (is_over && span.until.is_none())
                || (lane.end == LaneEnd::Cut(Cause::Interrupt) && span.woken_by.is_none())
        };
        let takes = |lane: &Lane, span: &Span| !is_told(lane, span);
        let grouped = |things| alike::groups(timeline, alike::by_task(timeline, takes), things);
        let mut groups = grouped(false);
        if groups.len() > MOST_WAITS {
            groups = grouped(true);
        }
        // Stable: of two that are equal, the lane that is drawn first.
        groups.sort_by_key(|group| std::cmp::Reverse(group.in_all));
        let told = groups.iter().take(MOST_WAITS).map(|group| self.told(group));
        let mut told: Vec<String> = told.collect();
        if groups.len() > MOST_WAITS {
            let rest = &groups[MOST_WAITS..];
            let times: usize = rest.iter().map(|group| group.times).sum();
            let in_all = rest
                .iter()
                .fold(0_u64, |sum, group| sum.saturating_add(group.in_all.0));
            told.push(format!(
                "{} more waits took {} in all.",
                thousands(times as u64),
                duration(Nanos(in_all))
            ));
        }
        told
    }

    fn told(&self, group: &Waits<'a>) -> String {
        let (lane, span) = group.longest;
        let how = self.how_it_ended(lane, span);
        if group.times == 1 {
            return format!("{}{how}.", self.wait_of(lane, span));
        }
        format!(
            "{}; the longest took {}{}{}{how}.",
            self.words.of_waits(group),
            duration(span.length(self.timeline().end)),
            self.words.of_the_longest(group),
            self.held_by(lane, span),
        )
    }

    /// `; cook's unlock let it go on`.
    fn how_it_ended(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked { reason, .. } = span.state else {
            return String::new();
        };
        let Some(by) = span.woken_by else {
            return match span.until {
                None => ", and still did at the end".into(),
                Some(_) => String::new(),
            };
        };
        let name = self.words.task(by);
        match reason {
            Reason::Lock | Reason::Read | Reason::Write => {
                format!("; {name}'s unlock let it go on")
            }
            Reason::Recv => match self.edge_of(lane, span, by) {
                Some(edge) if edge.seq > 0 => {
                    format!("; message {} of {name} let it go on", edge.seq)
                }
                Some(_) => format!("; a message of {name} let it go on"),
                None => format!("; {name} let it go on"),
            },
            Reason::Send => format!("; {name} made room, and so let it go on"),
            Reason::Wait => format!("; the last `done` came from {name}"),
            Reason::Join => String::new(),
            Reason::Scope => format!("; the last of them was {name}"),
            Reason::Notify => format!("; {name} notified it"),
            Reason::Barrier => format!("; the last to come was {name}"),
            Reason::Once => format!("; {name} filled it"),
            Reason::Select | Reason::Sleep => format!("; {name} let it go on"),
        }
    }

    /// The edge by which a wait was ended. They stand in the order of their ends.
    fn edge_of(&self, lane: &Lane, span: &Span, by: u32) -> Option<&'a Edge> {
        let woken = span.woken_at.or(span.until)?;
        let edges = &self.timeline().edges;
        let first = edges.partition_point(|edge| edge.reached < woken);
        edges[first..]
            .iter()
            .find(|edge| edge.to == lane.task)
            .filter(|edge| edge.from == by && edge.ended_wait)
    }

    /// Locks for which tasks waited more than once: how often and how long, and who had it longest.
    pub(super) fn contended_locks(&self) -> Vec<String> {
        let mut waited: HashMap<u32, (usize, u64)> = HashMap::new();
        let mut had: HashMap<u32, HashMap<u32, u64>> = HashMap::new();
        for lane in &self.timeline().lanes {
            for span in &lane.spans {
                if let State::Blocked {
                    reason: Reason::Lock | Reason::Read | Reason::Write,
                    object,
                } = span.state
                {
                    let waits = waited.entry(object).or_default();
                    waits.0 += 1;
                    waits.1 = waits.1.saturating_add(self.long(span));
                }
            }
            for hold in &lane.holds {
                let until = hold.until.unwrap_or(self.timeline().end);
                let long = had
                    .entry(hold.object)
                    .or_default()
                    .entry(lane.task)
                    .or_default();
                *long = long.saturating_add(until.0.saturating_sub(hold.from.0));
            }
        }
        let mut locks: Vec<(u32, (usize, u64))> =
            waited.into_iter().filter(|lock| lock.1.0 > 1).collect();
        locks.sort_by_key(|lock| (std::cmp::Reverse(lock.1.1), lock.0));
        let told = locks
            .iter()
            .take(MOST_LOCKS)
            .map(|(lock, (times, in_all))| {
                let longest = had.get(lock).and_then(|had| {
                    had.iter()
                        .max_by_key(|(task, long)| (**long, std::cmp::Reverse(**task)))
                });
                let who = longest.map_or(String::new(), |(task, long)| {
                    format!(
                        "; {} had it longest, {} in all",
                        self.words.task(*task),
                        duration(Nanos(*long))
                    )
                });
                format!(
                    "{} was waited for {times} times, {} in all{who}.",
                    capital(&self.words.object(*lock)),
                    duration(Nanos(*in_all))
                )
            });
        told.collect()
    }
}
