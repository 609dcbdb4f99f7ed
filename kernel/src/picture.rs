//! From a trace to what a notebook shows of it: the picture in its three forms, with the learner's names and lines; and what commands ask of the last one.

mod save;

use crate::cell::{JobId, MimeBundle};
use crate::evaluator::CellLine;
pub use crate::render::task_in_words;
use crate::render::{self, Axis, Options, Place};
pub use save::SaveError;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use threadbook_timeline::fold::{Known, Object, Timeline, fold_knowing};
use threadbook_timeline::format::{Event, Kind};
use threadbook_timeline::trace::Trace;

/// The MIME type of the picture as data: lanes, edges, what ran beside what.
pub const TIMELINE_MIME: &str = "application/vnd.threadbook.timeline+json";

/// How pictures are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Drawn, by this axis.
    Drawn(Axis),
    /// As sentences and a table.
    Words,
    /// Not at all. What was recorded can be asked for all the same.
    Off,
}

impl Form {
    /// How a picture is drawn that is wanted all the same.
    fn options(self) -> Options {
        let axis = match self {
            Form::Drawn(axis) => axis,
            Form::Words | Form::Off => Axis::Auto,
        };
        Options { axis }
    }
}

/// The pictures of one notebook: a thread or a lock that lives on keeps its name.
#[derive(Debug)]
pub struct Pictures {
    /// Shared with who draws a cell that still runs; changed only when that is over.
    known: Arc<Known>,
    last: Option<Kept>,
    /// How they are shown.
    pub form: Form,
    /// Whether a cell that runs for long shows its picture meanwhile.
    pub live: bool,
}

impl Default for Pictures {
    fn default() -> Self {
        Pictures {
            known: Arc::default(),
            last: None,
            form: Form::Drawn(Axis::Auto),
            live: true,
        }
    }
}

/// What is kept of the last picture: commands of later cells ask for it.
#[derive(Debug, Clone)]
struct Kept {
    timeline: Arc<Timeline>,
    places: HashMap<u16, Place>,
    number: u32,
}

/// Which cell a picture is of.
#[derive(Debug, Clone, Copy)]
pub struct Of {
    /// Its ticket, which sets its picture apart from others on the page.
    pub job: JobId,
    /// The number that the notebook shows in brackets.
    pub number: u32,
    /// Whether it has statements, and so could do anything: one that only defines functions shows nothing, whatever threads of earlier cells did meanwhile.
    pub acts: bool,
    /// How long it had run, where its events do not say: it runs still, or its process died.
    pub ran: Option<Duration>,
}

/// What came of one trace.
#[derive(Debug, Default)]
pub struct Drawn {
    /// The picture, or `None` when there is nothing to see in it.
    pub picture: Option<MimeBundle>,
    /// What it calls tasks and objects.
    pub names: Names,
}

/// What a picture calls tasks and objects, so that an error says the same.
#[derive(Debug, Default)]
pub struct Names(Arc<Timeline>);

impl Names {
    /// The name of a task's lane.
    pub fn task(&self, task: u32) -> Option<String> {
        self.0.lane(task).map(|lane| lane.name.clone())
    }

    /// The same in a sentence: `ada`, or task 3.
    pub fn task_in_words(&self, task: u32) -> Option<String> {
        self.task(task).map(|name| task_in_words(&name))
    }

    /// What people call an object: lock `till`.
    pub fn object(&self, id: u32) -> Option<String> {
        self.0.object(id).map(Object::in_words)
    }
}

/// What a recording that goes on, of which `trace` is what was recorded so far, calls a task; all those that it knows.
///
/// `None` where one picture shows a part of it (of a check's twenty runs, one): there the numbers are others.
pub fn names_so_far(trace: &Trace, known: &Known) -> Option<HashMap<u32, String>> {
    let is_in_part = trace
        .events
        .iter()
        .any(|event| event.kind == Kind::ObserveBegin as u8);
    if is_in_part {
        return None;
    }
    let lanes = fold_knowing(trace, known).lanes;
    let names = lanes
        .iter()
        .map(|lane| (lane.task, task_in_words(&lane.name)));
    Some(names.collect())
}

/// Finds the line of a site.
pub type LineOfSite<'a> = &'a dyn Fn(u16) -> Option<CellLine>;

impl Pictures {
    /// What earlier pictures called tasks and objects. To be dropped before the next one is drawn.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known)
    }

    /// Whether a task was there before the trace that is drawn next.
    pub fn know_task(&self, task: u32) -> bool {
        self.known.has_task(task)
    }

    /// Draws the trace of a cell that is over, and keeps it for commands. `is_due`: also when there is nothing to see, since a picture stands there already.
    pub fn draw(
        &mut self,
        trace: &Trace,
        line_of_site: LineOfSite<'_>,
        of: Of,
        is_due: bool,
    ) -> Drawn {
        let (timeline, places) = read(trace, &self.known, line_of_site, of.ran);
        Arc::make_mut(&mut self.known).learn(&timeline);
        let timeline = Arc::new(timeline);
        let is_worth = of.acts && timeline.worth_drawing() || is_due;
        let picture = is_worth
            .then(|| shown(&timeline, &places, of.job, self.form))
            .flatten()
            .map(|mut shown| {
                shown.bundle.insert(TIMELINE_MIME.to_owned(), shown.json);
                shown.bundle
            });
        if is_worth {
            self.last = Some(Kept {
                timeline: Arc::clone(&timeline),
                places,
                number: of.number,
            });
        }
        Drawn {
            picture,
            names: Names(timeline),
        }
    }

    /// What draws the cell that is about to run as long as it does.
    pub fn so_far(&self) -> SoFar {
        SoFar {
            known: Arc::clone(&self.known),
            form: self.form,
        }
    }

    /// What the last picture tells, a sentence each; `None` when there was none yet.
    pub fn explain(&self) -> Option<MimeBundle> {
        let Kept {
            timeline,
            places,
            number,
        } = self.last.as_ref()?;
        let story = render::explain(timeline, &|site| places.get(&site).cloned());
        let items: String = story
            .iter()
            .map(|sentence| format!("<li>{}</li>", render::escaped(sentence)))
            .collect();
        Some(MimeBundle::from_iter([
            (
                "text/html".to_owned(),
                format!("<div>cell {number}:<ul>{items}</ul></div>").into(),
            ),
            (
                "text/plain".to_owned(),
                format!("cell {number}:\n  {}", story.join("\n  ")).into(),
            ),
        ]))
    }

    /// Writes the last picture to file `name` in `folder`; gives what to say of that.
    ///
    /// # Errors
    /// When there was no picture yet, when a file of that name is there that is none of ours, and when it cannot be written.
    pub fn save(&self, name: &str, folder: &Path) -> Result<String, SaveError> {
        let kept = self.last.as_ref().ok_or(SaveError::NoPicture)?;
        let place_of = |site| kept.places.get(&site).cloned();
        let options = self.form.options();
        save::save(name, folder, &kept.timeline, &place_of, &options)?;
        Ok(format!("the picture of cell {} is in {name}", kept.number))
    }

    /// In words, how pictures are shown.
    pub fn said(&self) -> String {
        let form = match self.form {
            Form::Drawn(Axis::Auto) => "drawn by time, or by steps where time would show nothing",
            Form::Drawn(Axis::Wall) => "drawn by time",
            Form::Drawn(Axis::Steps) => "drawn by steps, one column for each event",
            Form::Words => "shown as words and a table",
            Form::Off => {
                "not shown; `:timeline explain` and `:timeline save` know them all the same"
            }
        };
        let live = match (self.form, self.live) {
            (Form::Off, _) => "",
            (_, true) => ", and while a cell runs longer than half a second",
            (_, false) => ", when the cell is over",
        };
        format!("pictures are {form}{live}")
    }
}

/// Draws a cell that still runs. Cheap to copy.
#[derive(Debug, Clone)]
pub struct SoFar {
    known: Arc<Known>,
    form: Form,
}

impl SoFar {
    /// Draws what a cell has done so far, with who waits now; `None` when there is nothing to see, or nothing wanted.
    pub fn draw(&self, trace: &Trace, line_of_site: LineOfSite<'_>, of: Of) -> Option<MimeBundle> {
        let (timeline, places) = read(trace, &self.known, line_of_site, of.ran);
        if !timeline.worth_drawing() {
            return None;
        }
        let waits = render::waits_now(&timeline, &|site| places.get(&site).cloned());
        let head = format!(
            "still running, after {:.1} s{}",
            of.ran.unwrap_or_default().as_secs_f64(),
            if waits.is_empty() { "" } else { "; now:" }
        );
        let mut bundle = shown(&timeline, &places, of.job, self.form)?.bundle;
        let text: String = std::iter::once(head.clone())
            .chain(waits.iter().map(|wait| format!("  {wait}")))
            .map(|line| line + "\n")
            .collect();
        let items: String = waits
            .iter()
            .map(|wait| format!("<li>{}</li>", render::escaped(wait)))
            .collect();
        let list = if items.is_empty() {
            items
        } else {
            format!("<ul>{items}</ul>")
        };
        prepend(&mut bundle, "text/plain", &format!("{text}\n"));
        prepend(
            &mut bundle,
            "text/html",
            &format!("<div>{head}{list}</div>"),
        );
        Some(bundle)
    }
}

/// Folds a trace that lasted until `ran` at least, with the names of earlier ones and the lines of its sites.
fn read(
    trace: &Trace,
    known: &Known,
    line_of_site: LineOfSite<'_>,
    ran: Option<Duration>,
) -> (Timeline, HashMap<u16, Place>) {
    let more = ran.and_then(|ran| goes_on_until(trace, ran));
    let mut timeline = match more {
        None => fold_knowing(trace, known),
        Some(event) => {
            let mut longer = trace.clone();
            longer.events.push(event);
            fold_knowing(&longer, known)
        }
    };
    let lines = lines(trace, line_of_site);
    name_by_let(&mut timeline, &|site| lines.get(&site).cloned());
    let place = |(site, CellLine { cell, line, text })| (site, Place { cell, line, text });
    (timeline, lines.into_iter().map(place).collect())
}

fn shown(
    timeline: &Timeline,
    places: &HashMap<u16, Place>,
    job: JobId,
    form: Form,
) -> Option<Shown> {
    let place_of = |site| places.get(&site).cloned();
    if form == Form::Off {
        return None;
    }
    let ((html, text), json) = match form {
        Form::Words => (
            render::in_words(timeline, &place_of),
            render::facts(timeline, &place_of, &form.options()),
        ),
        _ => {
            let id = format!("threadbook-{job}");
            let picture = render::draw(timeline, &place_of, &id, &form.options());
            ((picture.html, picture.text), picture.json)
        }
    };
    Some(Shown {
        bundle: MimeBundle::from_iter([
            ("text/html".to_owned(), html.into()),
            ("text/plain".to_owned(), text.into()),
        ]),
        json,
    })
}

/// A picture as it is shown, and as data.
struct Shown {
    bundle: MimeBundle,
    json: serde_json::Value,
}

fn prepend(bundle: &mut MimeBundle, mime: &str, head: &str) {
    if let Some(serde_json::Value::String(text)) = bundle.get_mut(mime) {
        text.insert_str(0, head);
    }
}

/// A moment `ran` after the first event, when the last one was before that: an event of nobody, by which only time goes on.
fn goes_on_until(trace: &Trace, ran: Duration) -> Option<Event> {
    let (first, last) = (trace.events.first()?, trace.events.last()?);
    let per_second = match trace.ticks_per_second {
        0 => 1_000_000_000,
        known => known,
    };
    let ticks = ran.as_nanos() * u128::from(per_second) / 1_000_000_000;
    let ticks = first
        .ticks
        .saturating_add(u64::try_from(ticks).unwrap_or(u64::MAX));
    (ticks > last.ticks).then(|| Event {
        ticks,
        kind: Kind::Mark as u8,
        cpu: u16::MAX,
        ..Event::default()
    })
}

/// The lines of all sites that a trace's events name, each looked up once.
fn lines(trace: &Trace, line_of_site: LineOfSite<'_>) -> HashMap<u16, CellLine> {
    let mut seen = vec![false; usize::from(u16::MAX) + 1];
    let mut lines = HashMap::new();
    for event in &trace.events {
        if !std::mem::replace(&mut seen[usize::from(event.site)], true)
            && let Some(line) = line_of_site(event.site)
        {
            lines.insert(event.site, line);
        }
    }
    lines
}

/// Gives objects without a name that of the variable they were made for: `let shelf = Arc::new(Mutex::new(0))` makes the lock `shelf`.
fn name_by_let(timeline: &mut Timeline, line_of_site: LineOfSite<'_>) {
    let mut times: HashMap<String, u32> = HashMap::new();
    let mut made_on: HashMap<(u32, u32), usize> = HashMap::new();
    let mut in_order: Vec<&mut Object> = timeline.objects.iter_mut().collect();
    in_order.sort_by_key(|object| object.id);
    for object in in_order {
        let Some(line) = object.made_at.and_then(line_of_site) else {
            continue;
        };
        let Some(names) = variables_of(&line.text) else {
            continue;
        };
        // The parts of a tuple are made from left to right.
        let at = made_on.entry((line.cell, line.line)).or_default();
        let name = &names[*at % names.len()];
        *at += 1;
        if object.named {
            continue;
        }
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        // A line in a loop makes many.
        object.name = match *time {
            1 => name.clone(),
            time => format!("{name} {time}"),
        };
        object.named = true;
    }
}

/// How the making of one of the prelude's objects begins.
const MAKERS: [&str; 11] = [
    "Atomic",
    "Barrier::",
    "Condvar::",
    "Mutex::",
    "OnceLock::",
    "Racy::",
    "RwLock::",
    "WaitGroup::",
    "channel(",
    "channel::<",
    "bounded",
];

/// Whether an expression plainly makes such an object, perhaps in an `Arc`.
fn makes_one(made: &str) -> bool {
    let made = made.trim_start();
    made.starts_with("Arc::new(") || MAKERS.iter().any(|maker| made.starts_with(maker))
}

/// The variables that a line makes the prelude's objects for, one for each object, in order. Only where the line says so plainly: a wrong name is worse than
/// a number.
fn variables_of(line: &str) -> Option<Vec<String>> {
    let rest = line.strip_prefix("let ")?;
    if rest.contains("let ") {
        // A second variable on the line would get the first one's name.
        return None;
    }
    let (pattern, made) = rest.split_once('=')?;
    let made = made.trim();
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let bare = |name: &str| name.trim().trim_start_matches("mut ").trim().to_owned();
    if let Some(values) = made.strip_prefix('(') {
        // A type between the two may have colons, and a pattern has none.
        let names = inside(pattern.trim().strip_prefix('(')?)?;
        let values = inside(values)?;
        if names.len() != values.len() {
            return None;
        }
        let mut makers = Vec::new();
        for (name, value) in names.iter().zip(values) {
            let objects: usize = MAKERS
                .iter()
                .map(|maker| value.matches(maker).count())
                .sum();
            match (objects, bare(name)) {
                (0, _) => {}
                (1, name) if makes_one(value) && is_name(&name) => makers.push(name),
                _ => return None,
            }
        }
        return (!makers.is_empty()).then_some(makers);
    }
    if !makes_one(made) {
        return None;
    }
    let pattern = pattern.split(':').next()?.trim();
    let name = match pattern
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
    {
        None => Some(bare(pattern)).filter(|name| is_name(name)),
        Some(pair) => {
            let (tx, rx) = pair.split_once(',')?;
            Some([bare(tx), bare(rx)])
                .filter(|ends| ends.iter().all(|end| is_name(end)))
                .map(|ends| ends.join("/"))
        }
    };
    Some(vec![name?])
}

/// What stands between the commas of a tuple, from behind its opening to its closing parenthesis; `None` where it does not end on the line, or has text or
/// generics in it, which commas may belong to.
fn inside(tuple: &str) -> Option<Vec<&str>> {
    let (mut depth, mut start, mut parts) = (0_u32, 0, Vec::new());
    for (at, c) in tuple.char_indices() {
        match c {
            '"' | '\'' | '<' | '|' => return None,
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                parts.push(&tuple[start..at]);
                parts.retain(|part| !part.trim().is_empty());
                return Some(parts);
            }
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(&tuple[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_by_the_variable_that_they_were_made_for() {
        for (line, want) in [
            ("let shelf = Arc::new(Mutex::new(0));", Some("shelf")),
            ("let mut till: Mutex<u32> = Mutex::new(0);", Some("till")),
            ("let (tx, rx) = channel::<u32>();", Some("tx/rx")),
            ("let (mut orders, done) = bounded(0);", Some("orders/done")),
            ("let ovens = WaitGroup::new();", Some("ovens")),
            ("let menu = RwLock::new(vec![]);", Some("menu")),
            ("let loaves = AtomicU64::new(0);", Some("loaves")),
            ("let a = Mutex::new(0); let b = Mutex::new(0);", None),
            ("let total = add(Mutex::new(0));", None),
            ("Mutex::new(0);", None),
            ("let _ = 1;", None),
            ("let Pair { a, b } = Mutex::pair();", None),
            ("let (a, (b, c)) = channel();", None),
            ("let", None),
        ] {
            let want = want.map(|name| vec![name.to_owned()]);
            assert_eq!(variables_of(line), want, "{line}");
        }
    }

    #[test]
    fn the_objects_of_a_tuple_are_named_by_its_pattern() {
        for (line, want) in [
            ("let (a, b) = (Mutex::new(1), Mutex::new(2));", "a b"),
            (
                "let (mut n, till, _) = (3, Arc::new(Mutex::new((1, 2))), f(1));",
                "till",
            ),
            (
                "let (a, b): (Mutex<u8>, Barrier) = (Mutex::new(1), Barrier::new(2),);",
                "a b",
            ),
            ("let (a, b) = (Mutex::new(1), Mutex::new(2), 3);", ""),
            ("let (a, b) = (Mutex::new(1), wrap(Mutex::new(2)));", ""),
            (
                "let (a, b) = (Mutex::new(Mutex::new(1)), Mutex::new(2));",
                "",
            ),
            ("let (a, (b, c)) = (Mutex::new(1), bounded(2));", ""),
            ("let (a, b) = (Mutex::new(\")\"), Mutex::new(2));", ""),
            ("let (a, b) = (Mutex::new(1),", ""),
            ("let pair = (Mutex::new(1), Mutex::new(2));", ""),
            ("let (a, b) = (1, 2);", ""),
        ] {
            let names = variables_of(line).unwrap_or_default();
            assert_eq!(names.join(" "), want, "{line}");
        }
    }
}
