//! The sentences below and behind the picture: who waited, for how long, for what, where, and who ended it.

use threadbook_timeline::fold::{
    Contention, Deadlock, Edge, EdgeKind, Hold, Lane, LaneEnd, Nanos, Object, Ring, Slice, Span,
    State, Sums, Timeline, Use, WorkerLane,
};
use threadbook_timeline::format::{Cause, MAIN_TASK, ObjectKind, Reason};

use super::Place;
use super::axis::duration;
use super::many::names;
use super::rows::{Group, Rows};

/// Of how many tasks the sums stand below the picture.
const MOST_SUMS: usize = 8;
/// Of how many locks.
const MOST_LOCKS: usize = 3;
/// How many stretches of the critical path are told.
const MOST_STRETCHES: usize = 6;
/// How many names of tasks, or of groups of them, the picture's label has.
const MOST_NAMES: usize = 6;
/// What stands above what is said of those that are alive.
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
        self.awaited_at(reason, &self.object(object), object)
    }

    /// The same where the thing is called otherwise.
    pub fn awaited_at(&self, reason: Reason, thing: &str, object: u32) -> String {
        match reason {
            Reason::Send => format!("room in {thing}"),
            Reason::Recv => format!("a message on {thing}"),
            Reason::Lock | Reason::Wait => thing.to_owned(),
            Reason::Join => format!("{} to end", self.task(object)),
            Reason::Sleep => "time to pass".into(),
            Reason::Scope => "the threads of its scope to end".into(),
            Reason::Read => format!("{thing}, to read"),
            Reason::Write => format!("{thing}, to write"),
            Reason::Notify => format!("{thing} to be notified"),
            Reason::Barrier => format!("the others at {thing}"),
            Reason::Select => "the first of several channels".into(),
            Reason::Once => format!("{thing} to be filled"),
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
        let is_interrupted =
            || ended_by_the_interrupt(lane).is_some_and(|last| last.from == span.from);
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
            State::Sleeping if is_interrupted() => {
                format!("{name} slept {long}{place}, until the interrupt ended it")
            }
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
                    (_, None) if is_interrupted() => {
                        format!(
                            "{name} waited {long} for {what}{place}, until the interrupt ended it"
                        )
                    }
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

    /// Several spans that are drawn as one, as a sentence; a single one as [`Words::span`] has it.
    pub fn spans(&self, lane: &Lane, spans: &[Span]) -> String {
        let (first, last) = match spans {
            [] => return lane.name.clone(),
            [one] => return self.span(lane, one),
            [first, .., last] => (first, last),
        };
        let end = self.timeline.end;
        let (mut sums, mut waits) = (Sums::default(), 0);
        let mut longest: Option<&Span> = None;
        for span in spans {
            let sum = match span.state {
                State::Running | State::Computing => &mut sums.running,
                State::Ready => &mut sums.ready,
                State::Sleeping => &mut sums.sleeping,
                State::Unknown => &mut sums.unknown,
                State::Blocked { .. } => {
                    waits += 1;
                    if longest.is_none_or(|most| span.length(end) > most.length(end)) {
                        longest = Some(span);
                    }
                    &mut sums.blocked
                }
            };
            sum.0 += span.length(end).0;
        }
        let whole = Nanos(last.until(end).0 - first.from.0);
        let mut told = format!("{} in these {}:", lane.name, duration(whole));
        let mut comma = " ";
        for (did, long) in [
            ("ran", sums.running),
            ("ready", sums.ready),
            ("slept", sums.sleeping),
        ] {
            if long.0 > 0 {
                told += &format!("{comma}{did} {}", duration(long));
                comma = ", ";
            }
        }
        match longest {
            Some(_) if waits == 1 => {
                told += &format!("{comma}waited {}", duration(sums.blocked));
            }
            Some(_) => {
                told += &format!("{comma}waited {waits} times, {}", duration(sums.blocked));
            }
            None => {}
        }
        if let Some(State::Blocked { reason, object }) = longest.map(|span| span.state) {
            let what = self.awaited(reason, object);
            told += &format!("{} for {what}", if waits > 1 { ", longest" } else { "" });
        }
        told
    }

    /// A stretch for which a task had a lock, as a sentence.
    pub fn hold(&self, lane: &Lane, hold: &Hold) -> String {
        let until = hold.until.unwrap_or(self.timeline.end).max(hold.from);
        format!(
            "{} held {} for {}{}{}",
            lane.name,
            self.object(hold.object),
            duration(Nanos(until.0 - hold.from.0)),
            if hold.shared { ", to read" } else { "" },
            self.place(hold.site)
        )
    }

    /// What let what happen, as a sentence.
    pub fn edge(&self, edge: &Edge) -> String {
        let (from, to) = (self.task(edge.from), self.task(edge.to));
        let object = self.object(edge.object);
        match edge.kind {
            EdgeKind::Spawn => format!("{from} made {to}"),
            EdgeKind::Message => format!("message {} on {object}: from {from} to {to}", edge.seq),
            EdgeKind::Lock => format!("{from} gave {object} back; {to} got it"),
            EdgeKind::Wait => format!("{from} was the last on {object}; {to} went on"),
            EdgeKind::Join => format!("{from} ended; {to} had its result"),
            EdgeKind::Notify => format!("{from} notified {object}; {to} went on"),
            EdgeKind::Barrier => format!("{from} was the last to come to {object}; {to} went on"),
            EdgeKind::Once => format!("{from} filled {object}; {to} went on"),
        }
    }

    /// Whom a worker carried for a stretch.
    pub fn slice(&self, worker: u8, slice: &Slice) -> String {
        let until = slice.until.unwrap_or(self.timeline.end).max(slice.from);
        format!(
            "worker {worker} carried {} for {}",
            self.task(slice.task),
            duration(Nanos(until.0 - slice.from.0))
        )
    }

    /// What a worker did, in sum.
    pub fn worker(&self, lane: &WorkerLane) -> String {
        let mut tasks: Vec<u32> = lane.slices.iter().map(|slice| slice.task).collect();
        let pairs = tasks.windows(2).filter(|pair| pair[0] != pair[1]);
        let changes = pairs.count();
        tasks.sort_unstable();
        tasks.dedup();
        let times = |count: usize, one: &str, many: &str| match count {
            1 => one.to_owned(),
            _ => format!("{} {many}", thousands(count as u64)),
        };
        format!(
            "worker {} carried {}, and changed from one to another {}",
            lane.worker,
            times(tasks.len(), "one task", "tasks"),
            times(changes, "once", "times")
        )
    }

    /// What the lane of an object shows, in sum.
    pub fn counted(&self, object: &Object) -> String {
        let most = object.counter.iter().map(|change| change.1).max();
        let most = most.unwrap_or(0);
        let name = object.in_words();
        match object.kind {
            ObjectKind::Channel => match most {
                0 => format!("no message ever lay in {name}"),
                1 => format!("at most one message lay in {name}"),
                _ => format!("at most {most} messages lay in {name}"),
            },
            ObjectKind::Mutex => {
                let contention = self.timeline.contention();
                let lock = contention.iter().find(|lock| lock.object == object.id);
                lock.map_or(format!("nobody waited for {name}"), |lock| {
                    self.contended(lock)
                })
            }
            ObjectKind::RwLock => format!("at most {most} had {name} at once"),
            ObjectKind::Cell => format!("the highest value of {name}: {most}"),
            _ => format!("the counter of {name} was at most {most}"),
        }
    }

    /// How much a lock was waited for.
    fn contended(&self, lock: &Contention) -> String {
        let times = match lock.waits {
            1 => "once".into(),
            2 => "twice".into(),
            many => format!("{} times", thousands(many as u64)),
        };
        let longest = if lock.waits == 1 {
            format!(", by {}", self.task(lock.longest_by))
        } else {
            format!(
                " in all, longest {} by {}",
                duration(lock.longest),
                self.task(lock.longest_by)
            )
        };
        let at_once = if lock.most_at_once > 1 {
            format!(", up to {} at once", lock.most_at_once)
        } else {
            String::new()
        };
        format!(
            "{} was waited for {times}, {}{longest}{at_once}",
            self.object(lock.object),
            duration(lock.waited)
        )
    }

    /// What the tasks of a group did, in sum: `done; ran 1.2 ms, waited 3 ms; longest wait 40 µs for a message on channel 1, by t7`.
    pub fn group(&self, group: &Group<'_>) -> String {
        let mut told = sums_of(group);
        if let Some((lane, span)) = group.longest
            && let State::Blocked { reason, object } = span.state
        {
            told += &format!(
                "; longest wait {} for {}, by {}",
                duration(span.length(self.timeline.end)),
                self.awaited(reason, object),
                lane.name
            );
        }
        told
    }

    /// What the end waited for, task by task: `main (10 µs), ada (1.2 ms), main (3 µs)`; `None` where that is one task alone.
    pub fn critical_path(&self) -> Option<String> {
        if self.timeline.gap.is_some() {
            return None;
        }
        let mut stretches: Vec<(u32, u64)> = Vec::new();
        for step in self.timeline.critical_path() {
            let long = step.until.0 - step.from.0;
            match stretches.last_mut() {
                Some((task, sum)) if *task == step.task => *sum += long,
                _ => stretches.push((step.task, long)),
            }
        }
        if stretches.len() < 2 {
            return None;
        }
        // The longest ones, in their order.
        let mut lengths: Vec<u64> = stretches.iter().map(|stretch| stretch.1).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let shortest = lengths.get(MOST_STRETCHES - 1).copied().unwrap_or(0);
        let told = stretches.iter().filter(|stretch| stretch.1 >= shortest);
        let told: Vec<String> = told
            .take(MOST_STRETCHES)
            .map(|(task, long)| format!("{} ({})", self.task(*task), duration(Nanos(*long))))
            .collect();
        let more = stretches.len() - told.len();
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {} shorter stretches", thousands(more as u64))
        };
        Some(format!("the end waited for: {}{more}", told.join(", ")))
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

    /// Who could end a wait, as far as that was seen: `; a sender is alive, last used by main (cell 4 line 9)`.
    /// `lane` is who waits; `None`: several do.
    pub fn who_could_end(&self, lane: Option<&Lane>, reason: Reason, object: u32) -> String {
        let Some(thing) = self.timeline.object(object) else {
            return String::new();
        };
        let end_of_channel = |end: &str, used: &str, last: Option<Use>| {
            let last = last.filter(|last| self.timeline.gap.is_none_or(|gap| last.at >= gap.1));
            let by = match last {
                Some(last) if lane.is_some_and(|lane| last.task == lane.task) => {
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
                    Some((holder, hold)) if lane.is_some_and(|lane| holder.task == lane.task) => {
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
        // Main is the first.
        let others = names(timeline.lanes.iter().skip(1));
        let mut label = format!("Timeline of {}: main", duration(timeline.end));
        for (name, _) in others.iter().take(MOST_NAMES) {
            label += &format!(", {name}");
        }
        let more: usize = others.iter().skip(MOST_NAMES).map(|(_, count)| count).sum();
        if more > 0 {
            label += &format!(" and {} more", thousands(more as u64));
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

    /// The lines below the picture: what each task came to, how many ran at once, which locks were waited for, what the end waited for, what is missing.
    pub fn footer(&self, rows: &Rows<'_>) -> Vec<String> {
        let timeline = self.timeline;
        let lanes: Vec<&Lane> = rows.lanes().collect();
        // What groups came to stands beside them.
        let most = if rows.groups().next().is_some() {
            MOST_SUMS / 4
        } else {
            MOST_SUMS
        };
        let mut parts: Vec<String> = lanes
            .iter()
            .take(most)
            .map(|lane| format!("{} {}", lane.name, did(&timeline.sums(lane))))
            .collect();
        if lanes.len() > most {
            parts.push(match lanes.len() - most {
                1 => "1 more task".into(),
                more => format!("{more} more tasks"),
            });
        }
        if timeline.lanes.len() > 1 {
            let at_most = if timeline.gap.is_some() {
                "as far as was seen, at most"
            } else {
                "at most"
            };
            let running = timeline.parallelism;
            let average = if running.most > 1 {
                format!(", {:.1} on the average", running.average())
            } else {
                String::new()
            };
            parts.push(format!(
                "{at_most} {} at once{average}, main left out",
                timeline.max_running
            ));
        }
        let mut lines = vec![parts.join(" · ")];
        let contention = timeline.contention();
        let locks: Vec<String> = contention
            .iter()
            .take(MOST_LOCKS)
            .map(|lock| self.contended(lock))
            .collect();
        if !locks.is_empty() {
            let more = match contention.len().saturating_sub(MOST_LOCKS) {
                0 => String::new(),
                more => format!(" · and {more} more locks"),
            };
            lines.push(locks.join(" · ") + &more);
        }
        lines.extend(self.critical_path());
        lines.extend(self.missing());
        lines
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

/// The same without the longest wait, for where waits are told by themselves.
pub fn sums_of(group: &Group<'_>) -> String {
    let separator = if group.fate.is_empty() { "" } else { "; " };
    format!("{}{separator}together {}", group.fate, did(&group.sums))
}

/// How long a task did what: `ran 1.2 ms, waited 3 ms`.
pub fn did(sums: &Sums) -> String {
    let mut told = format!("ran {}", duration(sums.running));
    for (did, long) in [
        ("ready", sums.ready),
        ("waited", sums.blocked),
        ("slept", sums.sleeping),
    ] {
        if long.0 > 0 {
            told += &format!(", {did} {}", duration(long));
        }
    }
    told
}

/// A number as people write it: 1,234,567.
pub fn thousands(number: u64) -> String {
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

/// The wait or the sleep that an interrupt ended; `None` where none did, or the task ran.
pub fn ended_by_the_interrupt(lane: &Lane) -> Option<&Span> {
    if lane.end != LaneEnd::Cut(Cause::Interrupt) {
        return None;
    }
    let waits = |span: &&Span| matches!(span.state, State::Blocked { .. } | State::Sleeping);
    let last = lane.spans.iter().rev().find(waits)?;
    // What comes after it is the way out, which is short. A task that ran on for long was not ended in its wait.
    let (Some(until), ended) = (last.until, lane.ended) else {
        return last.woken_by.is_none().then_some(last);
    };
    let way_out = ended.map_or(0, |ended| ended.0.saturating_sub(until.0));
    let is_short = way_out.saturating_mul(4) <= last.length(until).0;
    (is_short && last.woken_by.is_none()).then_some(last)
}

/// Whether it is not known what the task did after this.
fn is_lost_after(lane: &Lane, span: &Span) -> bool {
    let next = lane.spans.partition_point(|other| other.from <= span.from);
    let next = lane.spans.get(next);
    next.is_some_and(|next| next.state == State::Unknown)
}

/// On which worker a green task ran, and whether it let no other one have it.
fn on_worker(span: &Span) -> String {
    let worker = span.worker.map_or(String::new(), |worker| {
        format!(" on {}", who_carries(worker))
    });
    match span.hogged {
        None => worker,
        Some(long) => format!(
            "{worker}, and let no other task have that for {}",
            duration(long)
        ),
    }
}

/// What people call the thread that carries green tasks: a worker, or under `workers(1)` the cell's own.
pub fn who_carries(worker: u8) -> String {
    match worker {
        u8::MAX => "main".to_owned(),
        number => format!("worker {number}"),
    }
}
