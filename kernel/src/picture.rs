//! From a trace to what a notebook shows of it: the picture in its three forms, with the learner's names and lines.

use crate::cell::{JobId, MimeBundle};
use crate::evaluator::CellLine;
use crate::render::{self, Options, Place};
use std::collections::HashMap;
use threadbook_timeline::fold::{Known, Object, Timeline, fold_knowing};
use threadbook_timeline::trace::Trace;

/// The MIME type of the picture as data: lanes, edges, what ran beside what.
pub const TIMELINE_MIME: &str = "application/vnd.threadbook.timeline+json";

/// The pictures of one notebook: a thread or a lock that lives on keeps its name.
#[derive(Debug, Default)]
pub struct Pictures {
    known: Known,
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
pub struct Names(Timeline);

impl Names {
    /// The name of a task's lane.
    pub fn task(&self, task: u32) -> Option<String> {
        self.0.lane(task).map(|lane| lane.name.clone())
    }

    /// What people call an object: lock `till`.
    pub fn object(&self, id: u32) -> Option<String> {
        self.0.object(id).map(Object::in_words)
    }
}

impl Pictures {
    /// Whether a task was there before the trace that is drawn next.
    pub fn know_task(&self, task: u32) -> bool {
        self.known.has_task(task)
    }

    /// Draws a trace.
    pub fn draw(
        &mut self,
        trace: &Trace,
        line_of_site: &dyn Fn(u16) -> Option<CellLine>,
        job: JobId,
    ) -> Drawn {
        let mut timeline = fold_knowing(trace, &self.known);
        name_by_let(&mut timeline, line_of_site);
        self.known.learn(&timeline);
        let picture = timeline.worth_drawing().then(|| {
            let place_of = |site| {
                line_of_site(site).map(|CellLine { cell, line, text }| Place { cell, line, text })
            };
            let picture = render::draw(
                &timeline,
                &place_of,
                &format!("threadbook-{job}"),
                &Options::default(),
            );
            MimeBundle::from_iter([
                ("text/html".to_owned(), picture.html.into()),
                ("text/plain".to_owned(), picture.text.into()),
                (TIMELINE_MIME.to_owned(), picture.json),
            ])
        });
        Drawn {
            picture,
            names: Names(timeline),
        }
    }
}

/// Gives objects without a name that of the variable they were made for: `let shelf = Arc::new(Mutex::new(0))` makes the lock `shelf`.
fn name_by_let(timeline: &mut Timeline, line_of_site: &dyn Fn(u16) -> Option<CellLine>) {
    let mut times: HashMap<String, u32> = HashMap::new();
    for object in timeline.objects.iter_mut().filter(|object| !object.named) {
        let Some(name) = object
            .made_at
            .and_then(line_of_site)
            .and_then(|line| variable_of(&line.text))
        else {
            continue;
        };
        let time = times.entry(name.clone()).or_default();
        *time += 1;
        // A line in a loop makes many.
        object.name = if *time == 1 {
            name
        } else {
            format!("{name} {time}")
        };
        object.named = true;
    }
}

/// The variable that a line makes one of the prelude's objects for. Only where the line says so plainly: a wrong name is worse than a number.
fn variable_of(line: &str) -> Option<String> {
    const MAKERS: [&str; 12] = [
        "Arc::new(",
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
    let rest = line.strip_prefix("let ")?;
    if rest.contains("let ") {
        // A second variable on the line would get the first one's name.
        return None;
    }
    let (pattern, made) = rest.split_once('=')?;
    if !MAKERS
        .iter()
        .any(|maker| made.trim_start().starts_with(maker))
    {
        return None;
    }
    let pattern = pattern.split(':').next()?.trim();
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let bare = |name: &str| name.trim().trim_start_matches("mut ").trim().to_owned();
    match pattern
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
    }
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
            assert_eq!(variable_of(line).as_deref(), want, "{line}");
        }
    }
}
