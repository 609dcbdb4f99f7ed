//! The sentences below and behind the picture: who waited, for how long, for what, where, and who ended it.

use threadbook_timeline::fold::{
    Deadlock, Hold, Lane, LaneEnd, Nanos, Object, Ring, Span, State, Timeline, Use,
};
use threadbook_timeline::format::{Cause, MAIN_TASK, Reason};

use super::Place;
use super::axis::duration;

/// Of how many tasks that outlive their cell it is said what they do.
const MOST_ALIVE: usize = 8;
/// What stands above that.
pub const LEFT_ALIVE: &str = "still alive when the cell ended:";

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
        self.timeline
            .object(id)
            .map_or("something of an earlier cell".into(), Object::in_words)
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
            Reason::Read => format!("{}, to read", self.object(object)),
            Reason::Write => format!("{}, to write", self.object(object)),
            Reason::Notify => format!("{} to be notified", self.object(object)),
            Reason::Barrier => format!("the others at {}", self.object(object)),
            Reason::Select => "the first of several channels".into(),
            Reason::Once => format!("{} to be filled", self.object(object)),
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
            State::Running => format!("{name} ran {long}{}", on_worker(span)),
            State::Computing => format!("{name} computed for {long}{place}{}", on_worker(span)),
            State::Ready
                if lane.started.is_none_or(|started| span.from < started)
                    && span.from == lane.spawned =>
            {
                format!("{name} was made and could start; it did after {long}{place}")
            }
            State::Ready => format!("{name} could go on, and did after {long}"),
            State::Sleeping => format!("{name} slept {long}{place}"),
            State::Unknown => format!("what {name} did in these {long} was not kept"),
            State::Blocked { reason, object } => {
                let what = self.awaited(reason, object);
                match (span.until, span.woken_by) {
                    _ if span.deadlocked.is_some() => format!(
                        "{name} waited {long} for {what}{place}, in vain: {}",
                        self.in_vain(lane, span)
                    ),
                    (None, _) => {
                        format!("{name} waited {long} for {what}{place}, and still did at the end")
                    }
                    (_, Some(by)) => format!(
                        "{name} waited {long} for {what}{place}; let go by {}",
                        self.task(by)
                    ),
                    (_, None) if is_lost_after(lane, span) => format!(
                        "{name} waited at least {long} for {what}{place}; how that ended was not kept"
                    ),
                    (_, None) => format!("{name} waited {long} for {what}{place}"),
                }
            }
        }
    }

    /// Why a deadlocked wait was in vain.
    fn in_vain(&self, lane: &Lane, span: &Span) -> String {
        let rings = &self.timeline.rings;
        let of_this = |ring: &&Ring| {
            let wait = span.from..=span.until(self.timeline.end);
            ring.tasks.contains(&lane.task) && wait.contains(&ring.at)
        };
        let ring = rings.iter().find(of_this);
        match (span.deadlocked, ring.map(|ring| ring.tasks.as_slice())) {
            (Some(Deadlock::Ring), Some([_])) => "it waited for itself".into(),
            (Some(Deadlock::Ring), Some([a, b])) => {
                let other = if *a == lane.task { *b } else { *a };
                format!("it and {} waited for each other", self.task(other))
            }
            (Some(Deadlock::Ring), Some(tasks)) => format!(
                "it was one of {} tasks that waited for each other, in a ring",
                tasks.len()
            ),
            (Some(Deadlock::Ring), None) => "it was one of a ring of tasks that waited".into(),
            _ => "nobody was left who could have ended that".into(),
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
                State::Ready | State::Sleeping | State::Unknown => {}
            }
        }
        (Nanos(ran), Nanos(waited))
    }

    /// How a task ended.
    pub fn end(&self, lane: &Lane) -> String {
        match &lane.end {
            LaneEnd::Done => "done".into(),
            LaneEnd::Panicked(message) => format!("panicked: {message}"),
            LaneEnd::Cut(Cause::Deadlock) => "ended by the deadlock".into(),
            LaneEnd::Cut(Cause::Program) => "cut off when its program returned".into(),
            LaneEnd::Cut(Cause::Interrupt) => "cut off by the interrupt".into(),
            LaneEnd::Alive => match lane.spans.last().map(|span| span.state) {
                Some(State::Blocked { reason, object }) => {
                    format!("still waiting for {}", self.awaited(reason, object))
                }
                _ => "still alive".into(),
            },
            LaneEnd::Unknown => "how it went on was not kept".into(),
        }
    }

    /// What the tasks do that outlive their cell: a sentence each for the first few of them, then how many more there are. Mostly empty.
    pub fn left_alive(&self) -> Vec<String> {
        let mut sentences: Vec<String> = self
            .timeline
            .left_alive()
            .take(MOST_ALIVE)
            .map(|lane| self.does(lane))
            .collect();
        let more = self.timeline.left_alive().count() - sentences.len();
        if more > 0 {
            sentences.push(format!("and {more} more"));
        }
        sentences
    }

    /// What a task does that is alive at the end, and what is known of who could end its wait.
    pub fn does(&self, lane: &Lane) -> String {
        let name = &lane.name;
        let Some(span) = lane.spans.last() else {
            return format!("{name} is alive");
        };
        let place = self.place(span.site);
        match span.state {
            State::Blocked { reason, object } => {
                let awaited = self.awaited(reason, object);
                let who = self.who_could_end(lane, reason, object);
                format!("{name} waits for {awaited}{place}{who}")
            }
            State::Sleeping => format!("{name} sleeps{place}"),
            State::Computing => format!("{name} computes{place}"),
            State::Ready if lane.started.is_none() => format!("{name} has not begun yet{place}"),
            State::Ready => format!("{name} could go on"),
            State::Running | State::Unknown => format!("{name} runs"),
        }
    }

    /// Who could end a wait, as far as that was seen: `; a sender is alive, last used by main (cell 4 line 9)`.
    fn who_could_end(&self, lane: &Lane, reason: Reason, object: u32) -> String {
        let Some(thing) = self.timeline.object(object) else {
            return String::new();
        };
        let end_of_channel = |end: &str, used: &str, last: Option<Use>| {
            let last = last.filter(|last| self.timeline.gap.is_none_or(|gap| last.at >= gap.1));
            let by = match last {
                Some(last) if last.task == lane.task => {
                    format!("last used by itself{}", self.place(last.site))
                }
                Some(last) => {
                    let task = self.timeline.lane(last.task);
                    let over = match task.map(|task| &task.end) {
                        Some(LaneEnd::Alive | LaneEnd::Unknown) | None => "",
                        Some(_) if last.task == MAIN_TASK => "",
                        Some(_) => ", which has ended",
                    };
                    let (task, place) = (self.task(last.task), self.place(last.site));
                    format!("last used by {task}{over}{place}")
                }
                None if self.timeline.gap.is_some() => return format!("; a {end} of it is alive"),
                None => format!("and nobody has {used} in this cell"),
            };
            format!("; a {end} of it is alive, {by}")
        };
        match reason {
            Reason::Recv => end_of_channel("sender", "sent to it", thing.sent_by),
            Reason::Send => end_of_channel("receiver", "received from it", thing.received_by),
            Reason::Lock | Reason::Read | Reason::Write => {
                let mut holds = self.timeline.lanes.iter().flat_map(|lane| {
                    let open = |hold: &&Hold| hold.object == object && hold.until.is_none();
                    lane.holds.iter().filter(open).map(move |hold| (lane, hold))
                });
                // Of a lane that is not seen to its end nothing is known of what it gave back.
                let seen = |(lane, _): &(&Lane, &Hold)| lane.end != LaneEnd::Unknown;
                match holds.rfind(seen) {
                    Some((holder, hold)) if holder.task == lane.task => {
                        format!(", which it has itself{}", self.place(hold.site))
                    }
                    Some((holder, hold)) => {
                        format!(", which {} has{}", holder.name, self.place(hold.site))
                    }
                    None => String::new(),
                }
            }
            Reason::Wait if self.timeline.gap.is_none() => match thing.counter.last() {
                Some((_, count)) => format!("; its counter is {count}"),
                None => String::new(),
            },
            _ => String::new(),
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
        let waits = || {
            timeline
                .lanes
                .iter()
                .flat_map(|lane| lane.spans.iter().map(move |span| (lane, span)))
        };
        match waits()
            .filter(|(_, span)| span.deadlocked.is_some())
            .count()
        {
            0 => {}
            1 => label += "; a deadlock: one wait was in vain",
            many => label += &format!("; a deadlock: {many} waits were in vain"),
        }
        let longest = waits()
            .filter(|(_, span)| matches!(span.state, State::Blocked { .. }))
            .max_by_key(|(_, span)| span.until(timeline.end).0 - span.from.0);
        match longest {
            Some((lane, span)) => label + "; the longest wait: " + &self.span(lane, span) + ".",
            None => label + "; nobody waited for anybody.",
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
            let at_most = if self.timeline.gap.is_some() {
                "as far as was seen, at most"
            } else {
                "at most"
            };
            parts.push(format!(
                "{at_most} {} at once, main left out",
                self.timeline.max_running
            ));
        }
        parts.extend(self.missing());
        parts.join(" · ")
    }

    /// What was not kept, and when; `None` when all was.
    pub fn missing(&self) -> Option<String> {
        let (from, until) = self.timeline.gap?;
        let so_many = match self.timeline.dropped {
            1 => "1 event is".into(),
            many => format!("{} events are", thousands(many)),
        };
        let when = if until == self.timeline.end {
            format!("from {} on", duration(from))
        } else {
            format!("from {} to {}", duration(from), duration(until))
        };
        Some(format!(
            "more happened than there is room for: {so_many} missing here, {when}; the first and the last ones were kept"
        ))
    }
}

/// A number as people write it: 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Whether it is not known what the task did after this.
fn is_lost_after(lane: &Lane, span: &Span) -> bool {
    let next = lane.spans.partition_point(|other| other.from <= span.from);
    let next = lane.spans.get(next);
    next.is_some_and(|next| next.state == State::Unknown)
}

/// On which worker a green task ran, and whether it let no other one have it.
fn on_worker(span: &Span) -> String {
    let worker = span
        .worker
        .map_or(String::new(), |worker| format!(" on worker {worker}"));
    match span.hogged {
        None => worker,
        Some(long) => format!(
            "{worker}, and let no other task have that for {}",
            duration(long)
        ),
    }
}
