//! From a trace to what a notebook shows of it: the picture in its three forms, with the learner's names and lines.

use crate::cell::{JobId, MimeBundle};
use crate::evaluator::CellLine;
use crate::render::{self, Place};
use threadbook_timeline::fold::fold;
use threadbook_timeline::trace::Trace;

/// The MIME type of the picture as data: lanes, edges, what ran beside what.
pub const TIMELINE_MIME: &str = "application/vnd.threadbook.timeline+json";

/// Draws a trace, or gives `None` when there is nothing to see in it.
pub fn of(trace: &Trace, line_of_site: &dyn Fn(u16) -> Option<CellLine>, job: JobId) -> Option<MimeBundle> {
    let timeline = fold(trace);
    if !timeline.worth_drawing() {
        return None;
    }
    let place_of = |site| line_of_site(site).map(|CellLine { cell, line, text }| Place { cell, line, text });
    let picture = render::draw(&timeline, &place_of, &format!("threadbook-{job}"));
    Some(MimeBundle::from_iter([
        ("text/html".to_owned(), picture.html.into()),
        ("text/plain".to_owned(), picture.text.into()),
        (TIMELINE_MIME.to_owned(), picture.json),
    ]))
}
