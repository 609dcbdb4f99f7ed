//! One cell, from its text to its end: what is asked of it before it runs, and run whatever variables it makes.

use super::commands::{self, Command as Ours, Timeline};
use super::context::{Context, Failure};
use super::deadlock::{self, Report};
use super::first_cell::WARM_CELL;
use super::hints::Hint;
use super::live::Watched;
use super::outcome::{Extras, Ran};
use super::timing::{self, Began, Moments};
use super::{
    Running, can_be_seen, compiling, dropped, exercises, hints, scoped, syntax, untyped, verdict,
};
use crate::cell::{Event, JobId, MimeBundle, Outcome, StreamName};
use crate::picture::{Form, Of};
use crate::tools::Tools;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a cell that mentions `stdin` is told where `/proc` does not say who waits in a read.
const READS_ARE_NOT_SEEN: &str = "this system does not tell the kernel that a cell waits for input (/proc/<pid>/syscall cannot be read): \
    a plain `read_line` waits until it is interrupted; `input(\"…\")` and `password(\"…\")` ask\n";

impl Running {
    /// Runs a cell. `learner`: whether a person sent it, who can be asked, and not a program that runs notebooks.
    pub(super) fn execute(
        &mut self,
        job: JobId,
        number: u32,
        code: &str,
        learner: bool,
    ) -> Outcome {
        let clock = Began::now();
        if self.context.is_none()
            && let Err(error) = self.start_context()
        {
            return Outcome {
                error: Some(verdict::broken(&error.to_string())),
                ..Outcome::default()
            };
        }
        let split = match commands::split(code) {
            Ok(split) => split,
            Err(why) => {
                return Outcome {
                    error: Some(verdict::refused(&why)),
                    ..Outcome::default()
                };
            }
        };
        let mut extras = Extras {
            times: self.times,
            ..Extras::default()
        };
        self.set_up_worker();
        self.course.begin(split.mark.as_ref());
        // These are about the picture of this cell, when it draws one.
        let mut about_the_picture = Vec::new();
        for command in split.ours {
            if let Ours::Timeline(about @ (Timeline::Save(_) | Timeline::Explain)) = &command {
                about_the_picture.push(about.clone());
            }
            match self.command(command, &mut extras) {
                Ok(answer) => extras.answers.extend(answer),
                Err(error) => {
                    self.context = None;
                    return Outcome {
                        error: Some(verdict::broken(&error.to_string())),
                        ..Outcome::default()
                    };
                }
            }
        }
        // Commands alone have no steps.
        extras.times &= !split.rest.trim().is_empty() || extras.cell.is_some();
        if extras.times {
            Tools::want_timing(true);
        }
        // What an exercise begins with runs in the place of what it is to replace.
        let replaced = extras.cell.clone();
        let (code, rest) = match &replaced {
            Some(first) => (first.as_str(), first.as_str()),
            None => (code, split.rest.as_str()),
        };
        let hints: Vec<Hint> = hints::hints(rest)
            .into_iter()
            .filter(|hint| !self.hinted.contains(&hint.about))
            .collect();
        let cell = self.sources.begin(number, code);
        self.recording += 1;
        self.trace.begin(self.recording);
        self.interrupted.store(false, Ordering::SeqCst);
        self.naming.begin(self.recording, self.pictures.known());
        self.shared.begin(job);
        self.say_if_reads_are_not_seen(job, code);
        let variables = self.context.as_ref().map(Context::variables);
        let progress = split
            .has_dep
            .then(|| compiling::Progress::begin(job, &self.events));
        let code = rest;
        if self.pictures.live && self.pictures.form != Form::Off {
            self.live.arm(Watched {
                job,
                number,
                recording: self.recording,
                so_far: self.pictures.so_far(),
            });
        }
        let (mut result, mut ends) = match dropped::refusal(code) {
            Some(refusal) => (Err(Failure::Compile(vec![refusal])), BTreeSet::new()),
            None => self.run_whatever_it_keeps(code),
        };
        if matches!(result, Err(Failure::WorkerDied)) && !self.shared.has_begun() {
            // The process had ended between the cells, and evcxr noticed only now: this cell is not to blame.
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: "the learner's process had ended since the last cell: the variables of earlier cells are lost, functions and types are kept\n".into(),
            });
            self.worker_is_new = true;
            self.set_up_worker();
            self.shared.begin(job);
            (result, ends) = self.run_whatever_it_keeps(code);
        }
        drop(progress);
        let compiles = !matches!(result, Err(Failure::Compile(_)));
        for hint in hints
            .into_iter()
            .filter(|hint| compiles || hint.helps_errors())
        {
            extras.notes.push(hint.text);
            self.hinted.insert(hint.about);
        }
        self.worker_is_new |= matches!(result, Err(Failure::WorkerDied));
        if result.is_ok() && !ends.is_empty() {
            extras.notes.push(scoped::note(&ends));
        }
        self.sync();
        let drained = Instant::now();
        let mut record = self.shared.end();
        if record.takeover.is_some() && matches!(result, Err(Failure::Refused(_))) {
            // The supervisor made evcxr's call fail, so that evcxr keeps what the copy has.
            result = Err(Failure::WorkerDied);
        }
        self.note_copies(job, &record, result.is_ok());
        let interrupted = self.interrupted.swap(false, Ordering::SeqCst);
        // Of a check's twenty runs one is shown: the one that failed, or else the last.
        let trace = match record.observation {
            Some(run) => self.trace.read_observed(self.recording, run),
            None => self.trace.read(self.recording),
        };
        // Tasks of earlier cells may get stuck while this one runs: it is not to blame.
        let is_old = |report: &mut Report| report.tasks().all(|task| self.pictures.know_task(task));
        let late: Vec<Report> = record.deadlocks.extract_if(.., is_old).collect();
        let of = Of {
            job,
            number,
            acts: syntax::parts(code).iter().any(|part| !part.is_item()),
            // A process that died has no last event: what it did then lasted until its end.
            ran: record.death.and(record.began).map(|began| began.elapsed()),
        };
        let shown = self.live.end();
        self.naming.pause();
        let mut drawn =
            self.pictures
                .draw(&trace, &self.sources.lines_of(&trace), of, shown.is_some());
        if extras.times {
            let moments = Moments {
                steps: Tools::took(),
                began_to_run: record.began,
                had_run: record.ended,
                ran: timing::ran(&trace),
                drained: Some(drained),
                drawn: Some(Instant::now()),
            };
            Tools::want_timing(false);
            let account = timing::account(clock, &moments);
            let said = ("text/plain".to_owned(), account.into());
            extras.answers.push(MimeBundle::from_iter([said]));
        }
        self.naming.begin(0, self.pictures.known());
        if let Some(id) = shown
            && let Some(bundle) = drawn.picture.take()
        {
            let job = Some(job);
            (self.events)(Event::Update { job, id, bundle });
        }
        for about in about_the_picture {
            match self.about_the_picture(&about) {
                Ok(answer) => extras.answers.push(answer),
                Err(why) => extras.failed = Some(why),
            }
        }
        for report in late {
            let reader = deadlock::Reader {
                task: &|task| drawn.names.task(task),
                object: &|object| drawn.names.object(object),
                place: &|build, line| self.sources.place(build, line),
                cell: Some(number),
            };
            (self.events)(Event::Stream {
                job: Some(job),
                name: StreamName::Stderr,
                text: report.as_text(&reader),
            });
        }
        if let Err(Failure::Crashed(message)) = &result {
            self.after_a_crash(message, record.begun);
        }
        let left = self.context.as_ref().map(Context::variables);
        let moved = match (variables, left) {
            (Some(before), Some(after)) => before
                .into_iter()
                .filter(|name| !after.contains(name))
                .collect(),
            _ => Vec::new(),
        };
        let ran = Ran {
            record,
            interrupted,
            moved,
        };
        let mark = split.mark.as_ref().filter(|mark| mark.is_check);
        let judged = mark.map(|mark| exercises::Judged {
            number: &mark.number,
            text: code,
            learner,
        });
        self.outcome(job, result, &ran, &cell, drawn, extras, judged)
    }

    /// evcxr, or rust-analyzer in it, panicked over a cell. Before the cell ran evcxr has changed nothing that it keeps, and rust-analyzer mostly panics over
    /// that text alone: so another cell is tried, and only if it fails is the context dropped, with all variables.
    fn after_a_crash(&mut self, message: &str, has_run: bool) {
        let is_sound = !has_run && self.run(WARM_CELL).is_ok();
        self.sync();
        self.shared.end();
        tracing::error!(message, is_sound, "evcxr panicked");
        if !is_sound {
            self.context = None;
        }
    }

    /// A cell that reads standard input would wait without a question where the system does not tell that it does: says so before it runs, once.
    fn say_if_reads_are_not_seen(&mut self, job: JobId, code: &str) {
        let supervisor = self.supervisor();
        let is_seen = || supervisor.is_none_or(|supervisor| can_be_seen(supervisor.as_raw()));
        if let Some(note) = note_on_reads(job, code, is_seen, &mut self.hinted) {
            (self.events)(note);
        }
    }

    /// Runs a cell also when it makes variables that evcxr cannot keep; gives those that ended with it.
    fn run_whatever_it_keeps(
        &mut self,
        text: &str,
    ) -> (Result<MimeBundle, Failure>, BTreeSet<String>) {
        let statements = scoped::with_declarations_as_statements(text);
        let text = statements.as_deref().unwrap_or(text);
        let mut ends = BTreeSet::new();
        let mut code = text.to_owned();
        loop {
            // A cell of commands of ours alone has nothing left.
            let mut result = match code.trim() {
                "" => Ok(MimeBundle::default()),
                _ => self.run(&code),
            };
            let mut untyped = Vec::new();
            if matches!(result, Err(Failure::Refused(_))) {
                // The supervisor may have made evcxr's call fail, and then has said why.
                self.sync();
                untyped = self.shared.take_untyped();
                if let Some(variable) = untyped.first() {
                    result = Err(Failure::Refused(untyped::refusal(variable)));
                }
            }
            let refused: Vec<String> = match &result {
                Err(Failure::Refused(_)) if !untyped.is_empty() => untyped,
                Err(Failure::Refused(message)) => scoped::refused_variable(message)
                    .map(str::to_owned)
                    .into_iter()
                    .collect(),
                Err(Failure::Compile(errors)) => errors
                    .iter()
                    .filter_map(|error| scoped::refused_variable(&error.message))
                    .map(str::to_owned)
                    .chain(scoped::closures_at(&code, errors))
                    .chain(scoped::endless_at(&code, errors))
                    .collect(),
                _ => Vec::new(),
            };
            let before = ends.len();
            ends.extend(refused);
            // Each round adds a variable of the cell's, so it ends.
            if ends.len() == before || self.interrupted.load(Ordering::SeqCst) {
                return (result, ends);
            }
            match scoped::rewrite(text, &ends) {
                Some(rewritten) => code = rewritten,
                None => return (result, ends),
            }
        }
    }

    pub(super) fn run(&mut self, code: &str) -> Result<MimeBundle, Failure> {
        match &mut self.context {
            Some(context) => context.run(code),
            None => Err(Failure::Refused(
                "evcxr is not running: restart the kernel".into(),
            )),
        }
    }
}

/// What a cell is told that mentions standard input where a read of it is not seen; the first one of a kernel.
fn note_on_reads(
    job: JobId,
    code: &str,
    is_seen: impl FnOnce() -> bool,
    hinted: &mut BTreeSet<String>,
) -> Option<Event> {
    let is_due = code.contains("stdin") && !is_seen() && hinted.insert("reads are not seen".into());
    is_due.then(|| Event::Stream {
        job: Some(job),
        name: StreamName::Stderr,
        text: READS_ARE_NOT_SEEN.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_whose_reads_are_not_seen_is_told_so_once() {
        let mut hinted = BTreeSet::new();
        let reads = "std::io::stdin().read_line(&mut text);";
        let mut note = |code, is_seen: bool| note_on_reads(3, code, || is_seen, &mut hinted);
        assert!(note(reads, true).is_none(), "it will be asked");
        assert!(note("1 + 1", false).is_none(), "it reads nothing");
        let Some(Event::Stream { job, name, text }) = note(reads, false) else {
            panic!("no note");
        };
        assert_eq!((job, name), (Some(3), StreamName::Stderr));
        assert!(text.contains("input(") && text.ends_with('\n'), "{text}");
        assert!(note(reads, false).is_none(), "once");
    }
}
