//! The sentences below and behind the picture: who waited, for how long, for what, where, and who ended it.

use threadbook_timeline::fold::{Lane, LaneEnd, Nanos, Span, State, Timeline};
use threadbook_timeline::format::{ObjectKind, Reason};

use super::Place;
use super::axis::duration;

/// What the sentences need besides the span they speak of.
pub struct Words<'a> {
    pub timeline: &'a Timeline,
    pub place_of: &'a dyn Fn(u16) -> Option<Place>,
}

impl Words<'_> {
    /// The name of a task, also of one that has no lane.
    pub fn task(&self, task: u32) -> &str {
        self.timeline
            .lane(task)
            .map_or("a task of an earlier cell", |lane| &lane.name)
    }

    /// The name of an object as people say it: lock `till`, but plain channel 1, which is no name from the program.
    pub fn object(&self, id: u32) -> String {
        match self.timeline.object(id) {
            Some(object) if object.named => {
                let kind = match object.kind {
                    ObjectKind::Channel => "channel",
                    ObjectKind::Mutex => "lock",
                    ObjectKind::WaitGroup => "wait group",
                    ObjectKind::Cell => "cell",
                    ObjectKind::Scope => "scope",
                };
                format!("{kind} `{}`", object.name)
            }
            Some(object) => object.name.clone(),
            None => "something of an earlier cell".into(),
        }
    }

    /// What a wait is for: `lock till`, `a message on channel 1`, `ada to end`.
    pub fn awaited(&self, reason: Reason, object: u32) -> String {
        match reason {
            Reason::Send => format!("room in {}", self.object(object)),
            Reason::Recv => format!("a message on {}", self.object(object)),
            Reason::Lock | Reason::Wait => self.object(object),
            Reason::Join => format!("{} to end", self.task(object)),
            Reason::Sleep => "time to pass".into(),
            Reason::Scope => "the threads of its scope to end".into(),
        }
    }

    /// Where a span began: ` (cell 4 line 7: `oven.lock()`)`, or nothing.
    pub fn place(&self, site: Option<u16>) -> String {
        let Some(place) = site.and_then(self.place_of) else {
            return String::new();
        };
        let text = place.text.trim();
        let shown: String = text.chars().take(48).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        match text {
            "" => format!(" (cell {} line {})", place.cell, place.line),
            _ => format!(
                " (cell {} line {}: `{shown}{more}`)",
                place.cell, place.line
            ),
        }
    }

    /// One span as a sentence.
    pub fn span(&self, lane: &Lane, span: &Span) -> String {
        let long = duration(Nanos(span.until(self.timeline.end).0 - span.from.0));
        let (name, place) = (&lane.name, self.place(span.site));
        match span.state {
            State::Running => format!("{name} ran {long}"),
            State::Computing => format!("{name} computed for {long}{place}"),
            State::Ready
                if lane.started.is_none_or(|started| span.from < started)
                    && span.from == lane.spawned =>
            {
                format!("{name} was made and could start; it did after {long}{place}")
            }
            State::Ready => format!("{name} could go on, and did after {long}"),
            State::Sleeping => format!("{name} slept {long}{place}"),
            State::Blocked { reason, object } => {
                let what = self.awaited(reason, object);
                match (span.until, span.woken_by) {
                    (None, _) => {
                        format!("{name} waited {long} for {what}{place}, and still did at the end")
                    }
                    (_, Some(by)) => format!(
                        "{name} waited {long} for {what}{place}; let go by {}",
                        self.task(by)
                    ),
                    (_, None) => format!("{name} waited {long} for {what}{place}"),
                }
            }
        }
    }

    /// How long a task ran, and how long it waited (sleep and being ready are neither).
    pub fn sums(&self, lane: &Lane) -> (Nanos, Nanos) {
        let (mut ran, mut waited) = (0_u64, 0_u64);
        for span in &lane.spans {
            let long = span.until(self.timeline.end).0 - span.from.0;
            match span.state {
                State::Running | State::Computing => ran = ran.saturating_add(long),
                State::Blocked { .. } => waited = waited.saturating_add(long),
                State::Ready | State::Sleeping => {}
            }
        }
        (Nanos(ran), Nanos(waited))
    }

    /// How a task ended.
    pub fn end(&self, lane: &Lane) -> String {
        match &lane.end {
            LaneEnd::Done => "done".into(),
            LaneEnd::Panicked(message) => format!("panicked: {message}"),
            LaneEnd::Alive => match lane.spans.last().map(|span| span.state) {
                Some(State::Blocked { reason, object }) => {
                    format!("still waiting for {}", self.awaited(reason, object))
                }
                _ => "still alive".into(),
            },
        }
    }

    /// The whole picture in one sentence, for those who do not see it.
    pub fn label(&self) -> String {
        let timeline = self.timeline;
        let others: Vec<&str> = timeline
            .lanes
            .iter()
            .skip(1)
            .take(6)
            .map(|lane| lane.name.as_str())
            .collect();
        let more = timeline.lanes.len().saturating_sub(7);
        let mut label = format!("Timeline of {}: main", duration(timeline.end));
        if !others.is_empty() {
            label += &format!(", {}", others.join(", "));
        }
        if more > 0 {
            label += &format!(" and {more} more");
        }
        let waits = timeline
            .lanes
            .iter()
            .flat_map(|lane| lane.spans.iter().map(move |span| (lane, span)));
        let longest = waits
            .filter(|(_, span)| matches!(span.state, State::Blocked { .. }))
            .max_by_key(|(_, span)| span.until(timeline.end).0 - span.from.0);
        match longest {
            Some((lane, span)) => label + ". The longest wait: " + &self.span(lane, span) + ".",
            None => label + ". Nobody waited for anybody.",
        }
    }

    /// The last line below the picture.
    pub fn footer(&self) -> String {
        let lanes = self.timeline.lanes.iter().take(8).map(|lane| {
            let (ran, waited) = self.sums(lane);
            if waited.0 == 0 {
                format!("{} ran {}", lane.name, duration(ran))
            } else {
                format!(
                    "{} ran {}, waited {}",
                    lane.name,
                    duration(ran),
                    duration(waited)
                )
            }
        });
        let mut parts: Vec<String> = lanes.collect();
        if self.timeline.lanes.len() > 8 {
            parts.push(format!("{} more", self.timeline.lanes.len() - 8));
        }
        if self.timeline.lanes.len() > 1 {
            parts.push(format!(
                "at most {} at once, main left out",
                self.timeline.max_running
            ));
        }
        if self.timeline.dropped > 0 {
            parts.push(format!(
                "{} events found no room and are missing",
                self.timeline.dropped
            ));
        }
        parts.join(" · ")
    }
}
