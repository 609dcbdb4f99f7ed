//! What a cell amounts to once it has ended: its value or its error, and all that is to be said of it.

use super::context::{Context, Failure};
use super::output::Record;
use super::{Running, copies, diagnostics, exercises, source_map, verdict, warnings};
use crate::cell::{Event, JobId, MimeBundle, Outcome, StreamName};
use crate::picture::Drawn;
use std::sync::Arc;

/// How a cell has run.
#[derive(Debug, Default)]
pub(super) struct Ran {
    /// What came out of its process.
    pub(super) record: Record,
    /// It was interrupted.
    pub(super) interrupted: bool,
    /// Variables of earlier cells that are not there any more.
    pub(super) moved: Vec<String>,
}

/// What a cell shows besides what it printed.
#[derive(Default)]
pub(super) struct Extras {
    /// The answers of commands.
    pub(super) answers: Vec<MimeBundle>,
    /// Hints, notes and warnings, each some lines.
    pub(super) notes: Vec<String>,
    /// The text that a command put in the place of the cell's.
    pub(super) cell: Option<String>,
    /// Whether it is to tell how long its steps took.
    pub(super) times: bool,
    /// What a command could not do, though the cell itself is good.
    pub(super) failed: Option<String>,
}

impl Running {
    /// Tells what a cell that ran should know of the copies of its process: that it runs in one, or that there is none, once.
    pub(super) fn note_copies(&mut self, job: JobId, record: &Record, ran: bool) {
        let say = |text| {
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text,
            });
        };
        if ran && let Some(takeover) = &record.takeover {
            let how = record.death.map_or("ended".into(), copies::how);
            let lost = takeover
                .lost()
                .map_or(String::new(), |lost| format!("; {lost}"));
            say(format!(
                "the process of the cells {how} before this one ran; a copy of it ran this cell, with all variables{lost}\n"
            ));
        }
        if let Some(none) = &record.no_snapshot
            && !self.told_no_snapshot
        {
            say(none.note());
        }
        if record.end.is_some() {
            self.told_no_snapshot = record.no_snapshot.is_some();
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "all that is known of a cell at its end, each thing used once"
    )]
    pub(super) fn outcome(
        &mut self,
        job: JobId,
        result: Result<MimeBundle, Failure>,
        ran: &Ran,
        cell: &Arc<source_map::Cell>,
        drawn: Drawn,
        mut extras: Extras,
        judged: Option<exercises::Judged<'_>>,
    ) -> Outcome {
        let Ran {
            record,
            interrupted,
            ..
        } = ran;
        let mut values = record.values.clone();
        let error = match &result {
            Ok(_) => verdict::of_a_cell_that_ran(ran, &self.sources, cell.number, &drawn.names),
            Err(Failure::Compile(_)) if *interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Refused(_)) if *interrupted => Some(verdict::interrupted_compiler()),
            Err(Failure::Compile(diagnostics)) => {
                let (generated, map) = self.generated();
                let messages = warnings::of_the_last_build(self.folder.path());
                Some(diagnostics::error(
                    diagnostics,
                    messages.as_deref(),
                    &map,
                    &generated,
                    cell,
                ))
            }
            Err(Failure::Refused(message)) => Some(verdict::refused(message)),
            Err(Failure::WorkerDied) => Some(verdict::of_a_dead_worker(ran)),
            Err(Failure::Crashed(message)) if self.context.is_some() => {
                Some(verdict::stumbled(message))
            }
            Err(Failure::Crashed(message)) => Some(verdict::broken(message)),
        };
        if let Ok(bundle) = result
            && !bundle.is_empty()
        {
            // Commands stand at the head of a cell, before its code.
            extras.answers.push(bundle);
        }
        values.splice(0..0, extras.answers);
        let mut error = match (error, extras.failed) {
            (None, Some(why)) => Some(verdict::refused(&why)),
            (error, why) => {
                extras.notes.extend(why);
                error
            }
        };
        if let Some(judged) = judged {
            let note = self.judge(&judged, record, &mut error);
            extras.notes.extend(note);
        }
        if error.is_none() && record.begun && self.shows_warnings {
            extras.notes.extend(self.warnings(cell));
        }
        let shown = if error.is_none() { values.pop() } else { None };
        for bundle in values {
            (self.events)(Event::Display {
                job: Some(job),
                bundle,
                id: None,
            });
        }
        if !extras.notes.is_empty() {
            let notes = extras.notes.join("\n");
            (self.events)(Event::Display {
                job: Some(job),
                bundle: MimeBundle::from_iter([("text/plain".to_owned(), notes.into())]),
                id: None,
            });
        }
        Outcome {
            picture: drawn.picture,
            result: shown,
            error,
            cell: extras.cell,
        }
    }

    /// What the compiler warned of in a cell that was compiled.
    fn warnings(&self, cell: &Arc<source_map::Cell>) -> Vec<String> {
        let Some(json) = warnings::of_the_last_build(self.folder.path()) else {
            return Vec::new();
        };
        let (generated, map) = self.generated();
        warnings::brief(diagnostics::warnings(&json, &map, &generated, cell))
    }

    /// The file that was compiled last, and what in it is of which cell.
    fn generated(&self) -> (String, source_map::SourceMap) {
        let generated = self.context.as_ref().map(Context::generated_source);
        let generated = generated.unwrap_or_default();
        let map = self.sources.map_of(&generated);
        (generated, map)
    }
}
