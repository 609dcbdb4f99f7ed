//! Sentences about several tasks, or several waits, that are alike: so that what two hundred did is told once, and the longest of it by name.

use threadbook_timeline::fold::{Lane, Nanos, Span, State};
use threadbook_timeline::format::Reason;

use super::alike::{self, By, End, FEWEST, Waits};
use super::axis::duration;
use super::words::{Words, thousands};

/// How many lines tell of waits, at most.
const MOST_LINES: usize = 16;
/// With more lines than that, also waits for several things that are alike are told together.
const MANY_LINES: usize = 8;
/// Of how many tasks, or groups of them, that outlive their cell it is said what they do.
const MOST_ALIVE: usize = 8;

/// A lane's name in a sentence. One that is only a number stands without quotes.
pub fn task_in_words(name: &str) -> String {
    let is_number = ["task ", "thread "]
        .iter()
        .filter_map(|word| name.strip_prefix(word))
        .any(|number| number.parse::<u32>().is_ok());
    match is_number {
        true => name.to_owned(),
        false => format!("`{name}`"),
    }
}

/// So many tasks of one kind: ``24 tasks like `worker 1` ``.
pub fn tasks_like(count: usize, first: &Lane) -> String {
    format!(
        "{} tasks like {}",
        thousands(count as u64),
        task_in_words(&first.name)
    )
}

/// Several tasks by name, those that are alike by number: ``ada, 24 tasks like `worker 1` ``.
pub fn names<'a>(lanes: impl IntoIterator<Item = &'a Lane>) -> Vec<(String, usize)> {
    let groups = alike::tasks(lanes.into_iter().map(|lane| (lane, ())));
    let told = groups.iter().map(|group| match group.as_slice() {
        [one] => (one.name.clone(), 1),
        all => (tasks_like(all.len(), all[0]), all.len()),
    });
    told.collect()
}

/// What a task does at the end, as far as it sets it apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    Waits(Reason, u32),
    Sleeps,
    Computes,
    HasNotBegun,
    CouldGoOn,
    Runs,
}

fn doing(lane: &Lane) -> (Doing, Option<u16>) {
    let Some(span) = lane.spans.last() else {
        return (Doing::Runs, None);
    };
    let does = match span.state {
        // Whose scope it is, and which the first of several was, is not told.
        State::Blocked {
            reason: reason @ (Reason::Scope | Reason::Select | Reason::Sleep),
            ..
        } => Doing::Waits(reason, 0),
        State::Blocked { reason, object } => Doing::Waits(reason, object),
        State::Sleeping => Doing::Sleeps,
        State::Computing => Doing::Computes,
        State::Ready if lane.started.is_none() => Doing::HasNotBegun,
        State::Ready => return (Doing::CouldGoOn, None),
        State::Running | State::Unknown => return (Doing::Runs, None),
    };
    (does, span.site)
}

/// Those together that do the same thing at the same line.
pub fn by_what_they_do<'a>(lanes: impl IntoIterator<Item = &'a Lane>) -> Vec<Vec<&'a Lane>> {
    alike::tasks(lanes.into_iter().map(|lane| (lane, doing(lane))))
}

impl Words<'_> {
    /// All waits, a line each, those that are alike together: at most [`MOST_LINES`] and one that says how many more there are. In vain ones and long ones
    /// are not left out, nor are they moved: lane by lane, in each by time.
    pub fn all_waits(&self) -> Vec<String> {
        let timeline = self.timeline;
        let grouped =
            |things| alike::groups(timeline, alike::by_task(timeline, |_, _| true), things);
        let mut told = grouped(false);
        let lines_of = |waits: &Waits<'_>| if is_few(waits) { waits.times } else { 1 };
        if told.iter().map(lines_of).sum::<usize>() > MANY_LINES {
            told = grouped(true);
        }
        let mut by_weight: Vec<usize> = (0..told.len()).collect();
        by_weight.sort_by_key(|place| {
            let waits = &told[*place];
            let weight = (matches!(waits.end, End::InVain(_)), waits.in_all);
            (std::cmp::Reverse(weight), *place)
        });
        let (mut room, mut times, mut in_all) = (MOST_LINES, 0, 0_u64);
        let mut stays = vec![false; told.len()];
        for place in by_weight {
            let waits = &told[place];
            if lines_of(waits) <= room {
                room -= lines_of(waits);
                stays[place] = true;
            } else {
                room = 0;
                times += waits.times;
                in_all = in_all.saturating_add(waits.in_all.0);
            }
        }
        let mut lines = Vec::new();
        for (waits, _) in told.iter().zip(stays).filter(|(_, stays)| *stays) {
            if is_few(waits) {
                let lane = waits.lane;
                let spans = lane.spans.iter().filter(|span| waits.has(span));
                lines.extend(spans.map(|span| self.span(lane, span)));
            } else {
                lines.push(self.waits(waits));
            }
        }
        if times > 0 {
            let more = match times {
                1 => "1 more wait".into(),
                _ => format!("{} more waits", thousands(times as u64)),
            };
            lines.push(format!("and {more}, {} in all", duration(Nanos(in_all))));
        }
        lines
    }

    /// Several waits as one sentence.
    fn waits(&self, waits: &Waits<'_>) -> String {
        let span = waits.longest.1;
        let mut told = self.of_waits(waits);
        told += &match (waits.end, waits.by) {
            (End::InVain(true), _) => ", in vain: they waited for each other, in a ring".to_owned(),
            (End::InVain(false), _) => {
                ", in vain: nobody was left who could have ended that".to_owned()
            }
            (End::Open, _) => ", and still did at the end".into(),
            (End::Over, By::One(Some(by))) => format!(", let go by {}", self.task(by)),
            (End::Over, _) => String::new(),
        };
        told += &format!("; longest {}", duration(span.length(self.timeline.end)));
        told += &self.of_the_longest(waits);
        let by = span.woken_by.filter(|_| {
            (waits.end, waits.by) == (End::Over, By::Several) && waits.reason != Reason::Join
        });
        if let Some(by) = by {
            told += &format!(", let go by {}", self.task_quoted(by));
        }
        told
    }

    /// Who waited for what, and how long in all: ``24 tasks like `worker 1` each waited for lock `till` (cell 4 line 7), 3 ms in all``.
    pub fn of_waits(&self, waits: &Waits<'_>) -> String {
        let who = match waits.tasks {
            1 => waits.lane.name.clone(),
            count => tasks_like(count, waits.lane),
        };
        let what = self.awaited_of(waits);
        let place = self.place(waits.site);
        let in_all = duration(waits.in_all);
        let each = if waits.tasks > 1 { " each" } else { "" };
        // Who waits for the ends of several does so once for each.
        if waits.times == waits.tasks || (waits.tasks == 1 && waits.times == waits.objects) {
            format!("{who}{each} waited for {what}{place}, {in_all} in all")
        } else {
            let times = thousands(waits.times as u64);
            let in_sum = if waits.tasks > 1 { " in sum" } else { "" };
            format!("{who} waited {times} times{in_sum} for {what}{place}, {in_all} in all")
        }
    }

    /// Which of them waited longest, and for what, where that is not clear: ``: `worker 7` ``.
    pub fn of_the_longest(&self, waits: &Waits<'_>) -> String {
        let (lane, span) = waits.longest;
        let State::Blocked { reason, object } = span.state else {
            return String::new();
        };
        match (waits.tasks > 1, waits.objects > 1, reason) {
            (false, false, _) => String::new(),
            (true, false, _) => format!(": {}", task_in_words(&lane.name)),
            (false, true, Reason::Join) => format!(": {}", self.task_quoted(object)),
            (false, true, _) => format!(", for {}", self.awaited(reason, object)),
            (true, true, _) => format!(
                ": {}, for {}",
                task_in_words(&lane.name),
                self.awaited(reason, object)
            ),
        }
    }

    /// What waits are for that are told together: a thing, or one of several that are alike.
    fn awaited_of(&self, waits: &Waits<'_>) -> String {
        let (reason, object) = (waits.reason, waits.object);
        if waits.objects == 1 {
            return self.awaited(reason, object);
        }
        let count = thousands(waits.objects as u64);
        match (reason, self.timeline.lane(object)) {
            (Reason::Join, Some(lane)) => {
                format!("{} to end", tasks_like(waits.objects, lane))
            }
            _ => {
                let one = self.object(object);
                self.awaited_at(reason, &format!("one of {count} like {one}"), object)
            }
        }
    }

    fn task_quoted(&self, task: u32) -> String {
        match self.timeline.lane(task) {
            Some(lane) => task_in_words(&lane.name),
            None => self.task(task).to_owned(),
        }
    }

    /// What the tasks do that outlive their cell: a sentence each for the first few of them, one for those that do the same, then how many more there are.
    /// Mostly empty.
    pub fn left_alive(&self) -> Vec<String> {
        let groups = by_what_they_do(self.timeline.left_alive());
        let told = groups.iter().take(MOST_ALIVE);
        let mut sentences: Vec<String> = told.map(|lanes| self.does(lanes)).collect();
        let more: usize = groups.iter().skip(MOST_ALIVE).map(Vec::len).sum();
        if more > 0 {
            sentences.push(format!("and {} more", thousands(more as u64)));
        }
        sentences
    }

    /// What tasks do that are alive at the end and do the same, and what is known of who could end their wait.
    pub fn does(&self, lanes: &[&Lane]) -> String {
        let Some(lane) = lanes.first() else {
            return String::new();
        };
        let is_one = lanes.len() == 1;
        let name = match lanes {
            [one] => one.name.clone(),
            all => tasks_like(all.len(), lane),
        };
        let site = lane.spans.last().and_then(|span| span.site);
        let place = self.place(site);
        let verb = |one: &str, many: &str| {
            if is_one {
                one.to_owned()
            } else {
                many.to_owned()
            }
        };
        match doing(lane).0 {
            Doing::Waits(reason, _) => {
                let object = match lane.spans.last().map(|span: &Span| span.state) {
                    Some(State::Blocked { object, .. }) => object,
                    _ => 0,
                };
                let awaited = self.awaited(reason, object);
                let who = self.who_could_end(is_one.then_some(*lane), reason, object);
                let waits = verb("waits", "wait");
                format!("{name} {waits} for {awaited}{place}{who}")
            }
            Doing::Sleeps => format!("{name} {}{place}", verb("sleeps", "sleep")),
            Doing::Computes => format!("{name} {}{place}", verb("computes", "compute")),
            Doing::HasNotBegun => {
                format!("{name} {} not begun yet{place}", verb("has", "have"))
            }
            Doing::CouldGoOn => format!("{name} could go on"),
            Doing::Runs if lane.spans.is_empty() => {
                format!("{name} {} alive", verb("is", "are"))
            }
            Doing::Runs => format!("{name} {}", verb("runs", "run")),
        }
    }
}

/// Whether these are so few of one task that each has its line.
fn is_few(waits: &Waits<'_>) -> bool {
    waits.tasks == 1 && waits.objects == 1 && waits.times < FEWEST
}
