//! The course as a kernel knows it while a learner works: which exercise a cell is about, its hints and its solution, and what is done.
//!
//! A notebook that was built from a lesson carries its exercises in its metadata ([`Card`]), so those that travel in the binary and a teacher's own are read
//! in one way. Knows nothing of evcxr, of sockets, or of how lessons are written.

mod asked;
mod card;
mod progress;
mod shelf;
mod table;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

pub use asked::{Ask, Mark, ask, is_head, mark};
pub use card::{Card, Exercise};
pub use progress::Progress;
pub use shelf::Shelf;

use crate::cell::MimeBundle;
use progress::Done;

/// What the kernel remembers of the learner at work. Hints that were shown are forgotten with the kernel; what is done is kept.
#[derive(Debug)]
pub struct Course {
    shelf: Shelf,
    progress: Option<Progress>,
    /// The exercise whose cell, or whose check, ran last.
    last: Option<String>,
    tries: BTreeMap<String, Tries>,
    /// The learner was told that progress cannot be kept.
    warned: bool,
}

/// How far the learner is with an exercise.
#[derive(Debug, Default)]
struct Tries {
    /// So many hints were shown.
    hints: usize,
    /// Its cell has run.
    has_run: bool,
    /// Its cell has run since the last check that failed.
    is_new: bool,
    /// What the last check that failed said about hints; none has failed before there is something.
    told: Option<String>,
}

/// What comes of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What is shown.
    pub shown: MimeBundle,
    /// The text that the cell is to have from now on, and that runs in its place.
    pub cell: Option<String>,
}

impl From<MimeBundle> for Answer {
    fn from(shown: MimeBundle) -> Answer {
        Answer { shown, cell: None }
    }
}

impl Course {
    /// A course of these lessons. `progress`: where it is kept what is done; `None` keeps nothing.
    pub fn new(shelf: Shelf, progress: Option<Progress>) -> Course {
        Course {
            shelf,
            progress,
            last: None,
            tries: BTreeMap::new(),
            warned: false,
        }
    }

    /// The course of a kernel that has just started in its notebook's folder, with the lessons that travel in the binary.
    ///
    /// Jupyter's server says in `JPY_SESSION_NAME` which notebook it started the kernel for.
    pub fn here(embedded: &'static [(&'static str, &'static [u8])]) -> Course {
        let served = std::env::var_os("JPY_SESSION_NAME").map(PathBuf::from);
        let folder = std::env::current_dir().unwrap_or_default();
        Course::new(
            Shelf::new(served, folder, embedded),
            progress::place().map(Progress::at),
        )
    }

    /// Notes that a cell begins, and what it is in the course.
    pub fn begin(&mut self, mark: Option<&Mark>) {
        let Some(mark) = mark else { return };
        self.last = Some(mark.number.clone());
        if !mark.is_check {
            let tries = self.tries.entry(mark.number.clone()).or_default();
            (tries.has_run, tries.is_new) = (true, true);
        }
    }

    /// Answers a question. May block for two seconds, for the file of progress.
    pub fn answer(&mut self, ask: &Ask) -> Answer {
        let (number, verb) = match ask {
            Ask::Progress => return self.shown_progress(None).into(),
            Ask::Forget(which) => return self.forget(which.as_deref()).into(),
            Ask::Hint(number) => (number, "hint"),
            Ask::Solution(number) => (number, "solution"),
            Ask::Reset(number) => (number, "reset"),
        };
        let Some(number) = number.clone().or_else(|| self.last.clone()) else {
            return words::said(&format!(
                "no exercise has been run yet: run its cell, which begins with `// exercise: …`, or name it, as in `:{verb} 07.1`"
            ))
            .into();
        };
        let Some((_, exercise)) = self.shelf.exercise(&number) else {
            return words::said(&format!(
                "there is no exercise {number} here: it is in none of the course's lessons, nor in a notebook in this folder that `threadbook lessons build` made"
            ))
            .into();
        };
        let tries = self.tries.entry(number.clone()).or_default();
        match ask {
            Ask::Hint(_) if tries.hints < exercise.hints.len() => {
                tries.hints += 1;
                tries.told = None;
                words::hint(&exercise, tries.hints - 1).into()
            }
            Ask::Hint(_) => words::no_hint(&exercise).into(),
            Ask::Solution(_) => words::solution(&exercise).into(),
            _ => {
                self.last = Some(number);
                *tries = Tries {
                    has_run: true,
                    ..Tries::default()
                };
                Answer {
                    shown: words::first_text(&exercise),
                    cell: Some(exercise.start),
                }
            }
        }
    }

    /// Notes that the check of an exercise passed; gives the line that says so. `keeps`: whether a learner sees to it, whose progress it is.
    ///
    /// May block for two seconds, for the file.
    pub fn passed(&mut self, number: &str, keeps: bool) -> String {
        let tries = self.tries.entry(number.to_owned()).or_default();
        (tries.told, tries.is_new) = (None, false);
        let Some((lesson, _)) = self.shelf.exercise(number) else {
            return format!(
                "exercise {number} is done; it is not in your `:progress`, since no lesson here has it"
            );
        };
        let done = format!("exercise {number} is done");
        let Some(progress) = self.progress.as_ref().filter(|_| keeps) else {
            return done;
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        match progress.add(&lesson, number, now) {
            Ok(true) => format!("{done}; `:progress` shows what else there is"),
            Ok(false) => done,
            Err(_) if std::mem::replace(&mut self.warned, true) => done,
            Err(error) => format!("{done}, but that could not be kept: {error}"),
        }
    }

    /// Gives what the error of a failed check says about hints. The first failure offers the next hint by its command; one after a new try shows it.
    /// `is_unknown`: the error is about a name that the compiler does not know.
    pub fn failed(&mut self, number: &str, is_unknown: bool) -> Option<String> {
        let tries = self.tries.entry(number.to_owned()).or_default();
        if is_unknown && !tries.has_run {
            return Some(format!(
                "  next: the cell of exercise {number} has not run in this kernel yet: run it first"
            ));
        }
        let is_new = std::mem::take(&mut tries.is_new);
        let (_, exercise) = self.shelf.exercise(number)?;
        let text = match &tries.told {
            Some(told) if !is_new => told.clone(),
            Some(_) if tries.hints < exercise.hints.len() => {
                tries.hints += 1;
                words::hint_in_an_error(&exercise, tries.hints - 1)
            }
            _ => words::offer(&exercise, tries.hints)?,
        };
        tries.told = Some(text.clone());
        Some(text)
    }

    fn shown_progress(&mut self, before: Option<String>) -> MimeBundle {
        let read = match &self.progress {
            Some(progress) => progress.read().map_err(|error| error.to_string()),
            None => Err(
                "what is done is not kept: THREADBOOK_PROGRESS is off, or there is no folder for data"
                    .to_owned(),
            ),
        };
        let (done, trouble) = match read {
            Ok(done) => (done, None),
            Err(why) => (Done::new(), Some(why)),
        };
        let trouble = before.or(trouble);
        table::table(self.shelf.lessons(), &done, trouble.as_deref())
    }

    fn forget(&mut self, which: Option<&str>) -> MimeBundle {
        let Some(progress) = &self.progress else {
            return self.shown_progress(None);
        };
        let forgets = which.map(|which| {
            move |_: &str, number: &str| number == which || number.split('.').next() == Some(which)
        });
        let forgotten = match &forgets {
            Some(forgets) => progress.forget(Some(forgets)),
            None => progress.forget(None),
        };
        let said = match forgotten {
            Ok(1) => "1 exercise was forgotten".to_owned(),
            Ok(count) => format!("{count} exercises were forgotten"),
            Err(error) => error.to_string(),
        };
        self.shown_progress(Some(said))
    }
}

#[cfg(test)]
mod tests {
    use super::card::tests::{card, notebook};
    use super::*;

    fn course(folder: &std::path::Path) -> Course {
        let embedded: &'static [(&str, &[u8])] =
            vec![("", &*notebook(&card("07_channels")).leak())].leak();
        let progress = Progress::at(folder.join("progress.json"));
        Course::new(
            Shelf::new(None, folder.to_owned(), embedded),
            Some(progress),
        )
    }

    fn exercise() -> Option<Mark> {
        mark("// exercise: 07.1\n")
    }

    fn text(answer: &Answer) -> String {
        answer.shown["text/plain"].as_str().unwrap().to_owned()
    }

    #[test]
    fn hints_come_one_after_the_other_and_then_the_solution_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut course = course(folder.path());
        let hint = Ask::Hint(None);
        assert!(text(&course.answer(&hint)).contains("no exercise has been run"));
        course.begin(exercise().as_ref());
        for want in [
            "Look up",
            "Look down",
            "bounded(0)",
            "no more: `:solution`",
            "no more: `:solution`",
        ] {
            let said = text(&course.answer(&hint));
            assert!(said.contains(want), "{said}");
        }
        assert!(text(&course.answer(&Ask::Solution(None))).contains("solved()"));
        let reset = course.answer(&Ask::Reset(None));
        assert_eq!(
            reset.cell.as_deref(),
            Some("// exercise: 07.1\nfn turns() {}")
        );
        assert!(
            text(&course.answer(&hint)).contains("Look up"),
            "after a reset they begin anew"
        );
        let unknown = Ask::Hint(Some("99.1".into()));
        assert!(text(&course.answer(&unknown)).contains("no exercise 99.1"));
    }

    #[test]
    fn a_failed_check_offers_a_hint_and_shows_it_only_after_a_new_try() {
        let folder = tempfile::tempdir().unwrap();
        let mut course = course(folder.path());
        let fail = |course: &mut Course, tries_again: bool| {
            if tries_again {
                course.begin(exercise().as_ref());
            }
            course.failed("07.1", false).unwrap()
        };
        assert!(course.failed("07.1", true).unwrap().contains("has not run"));
        let first = fail(&mut course, true);
        assert!(first.contains("the first of three hints"), "{first}");
        assert_eq!(
            fail(&mut course, false),
            first,
            "run again, nothing was tried"
        );
        let second = fail(&mut course, true);
        assert_eq!(second, "  hint 1 of 3: Look up.");
        assert_eq!(fail(&mut course, false), second);
        assert!(text(&course.answer(&Ask::Hint(None))).contains("Look down"));
        assert!(
            fail(&mut course, true).contains("the last of three"),
            "the one that was asked for is still to be thought about"
        );
        assert!(fail(&mut course, true).contains("hint 3 of 3: Write"));
        assert!(fail(&mut course, true).contains("`:solution`"));
        assert_eq!(course.failed("99.1", false), None);
    }

    #[test]
    fn what_passed_is_kept_when_a_learner_sees_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut course = course(folder.path());
        let sum = |course: &mut Course| {
            let shown = text(&course.answer(&Ask::Progress));
            shown.lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(course.passed("07.1", false), "exercise 07.1 is done");
        assert!(sum(&mut course).starts_with("0 of 1"));
        assert!(course.passed("07.1", true).contains("`:progress`"));
        assert_eq!(course.passed("07.1", true), "exercise 07.1 is done");
        assert_eq!(sum(&mut course), "All exercises are done.");
        assert!(course.passed("99.1", true).contains("no lesson here"));
        for (which, want) in [(Some("08"), "0 exercises were"), (None, "1 exercise was")] {
            let ask = Ask::Forget(which.map(str::to_owned));
            assert!(text(&course.answer(&ask)).contains(want));
        }
        assert!(sum(&mut course).starts_with("0 of 1"));
    }

    #[test]
    fn a_file_that_cannot_be_kept_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("progress.json"), "not ours").unwrap();
        let mut course = course(folder.path());
        assert!(course.passed("07.1", true).contains("could not be kept: "));
        assert_eq!(course.passed("07.1", true), "exercise 07.1 is done");
        assert!(text(&course.answer(&Ask::Progress)).contains(":progress reset"));
        course.answer(&Ask::Forget(None));
        assert!(course.passed("07.1", true).contains("`:progress`"));
    }
}
