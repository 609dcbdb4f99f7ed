//! Who waits in vain, and for whom.

use threadbook_timeline::fold::{Deadlock, Hold, Lane, Nanos, Span, State};
use threadbook_timeline::format::Reason;

use super::super::alike;
use super::super::axis::duration;
use super::{Story, first_of, listed};

/// Of how many deadlocks, and of how many tasks in one.
const MOST_IN_RINGS: usize = 8;

impl<'a> Story<'a> {
    /// Rings first, then who waited although nobody was left.
    pub(super) fn deadlocks(&self) -> Vec<String> {
        let mut told = Vec::new();
        let rings = &self.timeline().rings;
        for ring in rings.iter().take(MOST_IN_RINGS) {
            let names: Vec<&str> = ring
                .tasks
                .iter()
                .take(MOST_IN_RINGS)
                .map(|task| self.words.task(*task))
                .collect();
            told.push(match (names.as_slice(), ring.tasks.len()) {
                ([one], 1) => format!("Deadlock: {one} waited for itself."),
                (names, count) if count > names.len() => format!(
                    "Deadlock: {count} tasks waited for each other in a ring, {} among them.",
                    names.join(", ")
                ),
                ([a, b], _) => format!("Deadlock: {a} and {b} waited for each other."),
                (names, _) => format!(
                    "Deadlock: {} waited for each other, in a ring.",
                    listed(names)
                ),
            });
            let members = ring.tasks.iter().take(MOST_IN_RINGS);
            told.extend(members.filter_map(|task| {
                let lane = self.timeline().lane(*task)?;
                let span = in_vain(lane, Deadlock::Ring)?;
                Some(format!("{}.", self.wait_of(lane, span)))
            }));
        }
        if rings.len() > MOST_IN_RINGS {
            told.push(format!(
                "{} more rings of tasks waited like that.",
                rings.len() - MOST_IN_RINGS
            ));
        }
        let is_asleep = |lane: &Lane| in_vain(lane, Deadlock::AllAsleep).is_some();
        if self.timeline().lanes.iter().any(is_asleep) {
            told.push("Deadlock: all tasks waited, and nobody was left who could have let one of them go on.".into());
        }
        let takes = |_: &Lane, span: &Span| span.deadlocked == Some(Deadlock::AllAsleep);
        let grouped = |things| {
            alike::groups(
                self.timeline(),
                alike::by_task(self.timeline(), takes),
                things,
            )
        };
        let mut groups = grouped(false);
        if groups.len() > MOST_IN_RINGS {
            groups = grouped(true);
        }
        let sentences = groups.iter().map(|waits| {
            let sentence = match waits.times {
                1 => format!("{}.", self.wait_of(waits.longest.0, waits.longest.1)),
                _ => format!("{}.", self.words.of_waits(waits)),
            };
            (sentence, waits.tasks)
        });
        told.extend(first_of(
            sentences.collect(),
            MOST_IN_RINGS,
            "more waited like that",
        ));
        told
    }

    /// `ada waited 280 µs for lock `sugar` (cell 4 line 4), held by grace since cell 4 line 2`, without its end.
    pub(super) fn wait_of(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked { reason, object } = span.state else {
            return self.words.span(lane, span);
        };
        format!(
            "{} waited {} for {}{}{}",
            lane.name,
            duration(Nanos(self.long(span))),
            self.words.awaited(reason, object),
            self.words.place(span.site),
            self.held_by(lane, span)
        )
    }

    /// `, held by cook since cell 4 line 5`, where another task had the lock when the wait began.
    pub(super) fn held_by(&self, lane: &Lane, span: &Span) -> String {
        let State::Blocked {
            reason: Reason::Lock | Reason::Read | Reason::Write,
            object,
        } = span.state
        else {
            return String::new();
        };
        // By the clocks of two cores it may have been taken a little later than the wait for it began.
        let until = span.until(self.timeline().end);
        let holds = |hold: &&Hold| {
            hold.object == object
                && hold.from < until.max(Nanos(span.from.0 + 1))
                && hold.until.is_none_or(|given_back| given_back > span.from)
        };
        let holder = self
            .timeline()
            .lanes
            .iter()
            .flat_map(|other| {
                other
                    .holds
                    .iter()
                    .filter(holds)
                    .map(move |hold| (other, hold))
            })
            .min_by_key(|(other, hold)| (other.task == lane.task, hold.from));
        match holder {
            Some((other, hold)) => {
                let who = if other.task == lane.task {
                    "itself"
                } else {
                    &other.name
                };
                let place = self.words.place(hold.site);
                let since = place.trim_start_matches(" (").trim_end_matches(')');
                match since {
                    "" => format!(", held by {who}"),
                    _ => format!(", held by {who} since {since}"),
                }
            }
            None => String::new(),
        }
    }
}

fn in_vain(lane: &Lane, how: Deadlock) -> Option<&Span> {
    let last = lane.spans.iter().rev();
    last.into_iter().find(|span| span.deadlocked == Some(how))
}
