//! Why a cell is red, in the learner's words: what happened, where, and what to do next.

use super::channel::{CellEnd, Death};
use super::copies::{self, Takeover};
use super::deadlock::{self, Report};
use super::marks::{FailedCheck, Overflow};
use super::outcome::Ran;
use super::output::Record;
use super::sources::Sources;
use super::words;
use crate::cell::CellError;
use crate::picture::Names;

const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";
const LOST: &str = "the variables of earlier cells are lost with the process; functions and types are kept: run the cells that make the variables again";

const KEPT: &str = "the variables of earlier cells are kept, as they were before this cell";

/// The error of a cell that was compiled and ran to its end, or `None` when it is a good one.
///
/// `cell` is its number, `names` what its picture calls tasks and objects.
pub fn of_a_cell_that_ran(
    ran: &Ran,
    sources: &Sources,
    cell: u32,
    names: &Names,
) -> Option<CellError> {
    let Ran { record, moved, .. } = ran;
    let end = record.end?;
    let reader = deadlock::Reader {
        task: &|task| names.task(task),
        object: &|object| names.object(object),
        place: &|build, line| sources.place(build, line),
        cell: Some(cell),
    };
    if ran.interrupted && end.panicked {
        return Some(of_an_interrupted_wait(
            record.interrupted.as_ref(),
            moved,
            &reader,
        ));
    }
    if record.asked_in_vain {
        return Some(of_an_unheard_question());
    }
    if end.panicked
        && let Some(check) = &record.failed_check
    {
        return Some(of_a_check(check, sources, names));
    }
    if !record.deadlocks.is_empty() {
        return Some(of_a_deadlock(record, moved, end, sources, names, &reader));
    }
    if end.panicked {
        let panic = record.panics.last();
        let message = panic.map_or("panicked", |panic| panic.message.as_str());
        let message = &in_words(message, names);
        let mut traceback = vec![format!("{RED}Panic{PLAIN}: {message}")];
        if let Some(place) = panic.and_then(|panic| sources.place(panic.build, panic.line)) {
            traceback.push(format!("  --> cell [{}] line {}", place.cell, place.line));
            traceback.push(format!("  | {}", place.text));
        }
        traceback.extend(lost_by_moving(moved));
        // Two at most unless the learner said `:backtrace full`, without which there are no frames.
        traceback.extend(record.frames.iter().map(|frame| format!("  in {frame}")));
        return Some(CellError {
            ename: "Panic".into(),
            evalue: first_line(message),
            traceback,
        });
    }
    if end.question_mark {
        let message = if record.last_error_line.is_empty() {
            "the `?` operator ended the cell".to_owned()
        } else {
            record.last_error_line.clone()
        };
        let traceback = vec![
            format!("{RED}Error{PLAIN}: {message}"),
            "  `?` ended the cell here: the rest of it did not run".into(),
        ];
        return Some(CellError {
            ename: "Error".into(),
            evalue: message,
            traceback,
        });
    }
    None
}

/// A message of the worker's, with what the picture calls tasks and objects.
fn in_words(message: &str, names: &Names) -> String {
    words::tell(message, &|task| names.task_in_words(task), &|object| {
        names.object(object)
    })
}

/// The error of a cell that wanted an answer where nobody can give one. What came of it (an empty line, a panic) is not worth telling.
fn of_an_unheard_question() -> CellError {
    error(
        "NoInput",
        "the cell reads from standard input, and nobody can be asked",
        "it found the end of its input; open the notebook in JupyterLab and run the cell there, or write the answer into the code",
    )
}

/// The error of a cell whose `check!` did not pass. It wins over a deadlock, which the check's words tell.
fn of_a_check(check: &FailedCheck, sources: &Sources, names: &Names) -> CellError {
    let message = in_words(&check.message, names);
    let mut traceback = vec![format!("{RED}CheckFailed{PLAIN}: {message}")];
    if let Some(place) = sources.place(check.build, check.line) {
        traceback.push(format!("  --> cell [{}] line {}", place.cell, place.line));
        traceback.push(format!("  | {}", place.text));
    }
    CellError {
        ename: "CheckFailed".into(),
        evalue: first_line(&message),
        traceback,
    }
}

/// The error of a cell in which a deadlock was found. It wins over a panic: what was unwound by it panics often for want of a result.
fn of_a_deadlock(
    record: &Record,
    moved: &[String],
    end: CellEnd,
    sources: &Sources,
    names: &Names,
    reader: &deadlock::Reader<'_>,
) -> CellError {
    let mut headings = record.deadlocks.iter().map(|report| report.heading(reader));
    let first = headings.next().unwrap_or_default();
    let mut traceback = vec![format!("{RED}Deadlock{PLAIN}: {first}")];
    for (at, report) in record.deadlocks.iter().enumerate() {
        if at > 0 {
            traceback.push(format!("  then {}", headings.next().unwrap_or_default()));
        }
        traceback.extend(report.lines(reader));
    }
    if let Some(panic) = record.panics.last().filter(|_| end.panicked) {
        let place = sources
            .place(panic.build, panic.line)
            .map_or(String::new(), |place| {
                format!(" at cell [{}] line {}", place.cell, place.line)
            });
        traceback.push(format!(
            "  after that `main` panicked{place}: {}",
            first_line(&in_words(&panic.message, names))
        ));
    }
    let kept = match (end.panicked, end.question_mark) {
        (true, _) => "the cell ended there; the variables of earlier cells are kept",
        (_, true) => "the cell ended by `?`; the variables of earlier cells are kept",
        _ => "the cell itself went on to its end, and all variables are kept",
    };
    let next = record.deadlocks.first().map_or("", Report::next);
    traceback.push(format!("  {next}; {kept}"));
    traceback.extend(lost_by_moving(moved).filter(|_| end.panicked));
    CellError {
        ename: "Deadlock".into(),
        evalue: format!("deadlock: {first}"),
        traceback,
    }
}

/// The error of a cell that was interrupted in a call of the prelude's, and ended by itself.
fn of_an_interrupted_wait(
    report: Option<&Report>,
    moved: &[String],
    reader: &deadlock::Reader<'_>,
) -> CellError {
    let mut traceback = vec![format!("{RED}Interrupted{PLAIN}: interrupted")];
    traceback.extend(report.into_iter().flat_map(|report| report.lines(reader)));
    traceback.push(
        "  the tasks of this cell ended there; the variables of earlier cells are kept, and what they started goes on"
            .into(),
    );
    traceback.extend(lost_by_moving(moved));
    CellError {
        ename: "Interrupted".into(),
        evalue: "interrupted".into(),
        traceback,
    }
}

/// What a cell that did not come to its end had taken with it. evcxr keeps no value that a cell moves, wherever in the cell it does.
fn lost_by_moving(moved: &[String]) -> impl Iterator<Item = String> {
    let names: Vec<String> = moved.iter().map(|name| format!("`{name}`")).collect();
    let (verb, them) = if names.len() == 1 {
        ("is", "it")
    } else {
        ("are", "them")
    };
    let line = format!(
        "  this cell had moved or redefined {}, which {verb} lost with it: run the cell that makes {them} again",
        names.join(", ")
    );
    (!names.is_empty()).then_some(line).into_iter()
}

/// What is kept and lost when the process died.
fn after_death(record: &Record) -> String {
    match (
        record.takeover.as_ref().map(Takeover::lost),
        record.lost_copy,
    ) {
        (Some(None), _) => KEPT.into(),
        (Some(Some(lost)), _) => format!("{KEPT}; {lost}"),
        (None, None) => LOST.into(),
        (None, Some(copy)) => format!("{LOST}; {}", copy.told()),
    }
}

/// The error of a cell whose process died.
pub fn of_a_dead_worker(ran: &Ran) -> CellError {
    let record = &ran.record;
    let death = record.death;
    let next = &after_death(record);
    if ran.interrupted {
        return error(
            "Interrupted",
            "interrupted: the cell came to no call of the prelude's that could end it, so its process was ended",
            next,
        );
    }
    if let Some(out) = &record.out_of_memory {
        return error("OutOfMemory", &out.told(), next);
    }
    if let (Some(overflow), Some(Death::Signal(_))) = (&record.overflow, death) {
        return of_an_overflow(overflow, next);
    }
    match death {
        Some(Death::Exit(code)) => error(
            "Exit",
            &format!("the cell ended its process with exit status {code}"),
            next,
        ),
        Some(Death::Signal(signal)) => {
            let name = copies::signal_name(signal);
            let why = match signal {
                libc::SIGABRT => {
                    "it called abort, overflowed its stack, or panicked while it was panicking"
                }
                libc::SIGSEGV | libc::SIGBUS => {
                    "it touched memory that is not its own, or overflowed its stack"
                }
                libc::SIGKILL => "somebody ended it, or the machine ran out of memory",
                _ => "it did not handle that signal",
            };
            error(
                "Signal",
                &format!("the cell's process was ended by {name}: {why}"),
                next,
            )
        }
        None => error(
            "Signal",
            "the cell's process is gone, and nobody saw how",
            next,
        ),
    }
}

fn of_an_overflow(overflow: &Overflow, kept: &str) -> CellError {
    let task = overflow.task.as_deref().unwrap_or("a task without a name");
    let (stack, next) = match overflow.bytes {
        0 => ("its stack".to_owned(), String::new()),
        bytes => (
            format!("its stack of {} KiB", bytes / 1024),
            "; a thread by spawn() has 2 MiB, eight times as much as a green task".to_owned(),
        ),
    };
    error(
        "StackOverflow",
        &format!("`{task}` overflowed {stack}: it calls itself too deeply, or keeps large arrays"),
        &format!("let it call itself less deeply{next}; {kept}"),
    )
}

/// The error of a cell whose compilation was interrupted.
pub fn interrupted_compiler() -> CellError {
    error(
        "Interrupted",
        "interrupted while it was being compiled",
        "nothing ran, and nothing is lost",
    )
}

/// The error of a cell that evcxr refuses, or of a command that failed.
pub fn refused(message: &str) -> CellError {
    CellError {
        ename: "Refused".into(),
        evalue: first_line(message),
        traceback: vec![format!("{RED}Refused{PLAIN}: {message}")],
    }
}

/// The error of a cell when evcxr itself broke.
pub fn broken(message: &str) -> CellError {
    error(
        "Kernel",
        &format!("evcxr failed: {}", first_line(message)),
        "it is started anew with the next cell; the variables, functions and types of earlier cells are lost: run their cells again",
    )
}

/// The error of a cell over which evcxr broke before it ran, and after which it goes on.
pub fn stumbled(message: &str) -> CellError {
    error(
        "Kernel",
        &format!("evcxr failed: {}", first_line(message)),
        "nothing ran, and nothing of earlier cells is lost; it failed while it looked for the types of this cell's variables: write them, or divide the cell",
    )
}

/// The error of a cell in whose middle the kernel's own code broke.
pub fn gave_up(message: &str) -> CellError {
    error(
        "Kernel",
        &format!("the kernel failed: {}", first_line(message)),
        "a mistake of the kernel's and not of the cell's, which may have run; the variables of earlier cells are kept",
    )
}

fn error(ename: &str, evalue: &str, next: &str) -> CellError {
    CellError {
        ename: ename.into(),
        evalue: evalue.into(),
        traceback: vec![
            format!("{RED}{ename}{PLAIN}: {evalue}"),
            format!("  {next}"),
        ],
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluator::marks::Panic;

    #[test]
    fn a_deadlock_wins_over_all_that_came_of_it_and_says_what_is_kept() {
        let report = |ring, task| {
            let mark = format!(
                r#"{{"mark":"deadlock","ring":{ring},"stuck":1,"sentences":[[{{"task":2,"name":"{task}"}}," waits"]]}}"#
            );
            Report::parse(&mark).expect("a report")
        };
        let panic = Panic {
            task: Some("main".into()),
            id: 1,
            is_main: true,
            cell: 0,
            message: "called `unwrap`\non an `Err`".into(),
            build: 0,
            line: 0,
        };
        for (panicked, question_mark, kept) in [
            (true, false, "the cell ended there"),
            (false, true, "the cell ended by `?`"),
            (
                false,
                false,
                "went on to its end, and all variables are kept",
            ),
        ] {
            let record = Record {
                end: Some(CellEnd {
                    panicked,
                    question_mark,
                }),
                deadlocks: vec![report(true, "ada"), report(false, "grace")],
                panics: vec![panic.clone()],
                ..Record::default()
            };
            let (sources, names) = (Sources::default(), Names::default());
            let ran = Ran {
                record,
                moved: vec!["tx".into()],
                ..Ran::default()
            };
            let error = of_a_cell_that_ran(&ran, &sources, 3, &names).expect("it is red");
            assert_eq!(error.ename, "Deadlock");
            assert_eq!(error.evalue, "deadlock: `ada` waits for itself");
            let told = error.traceback.join("\n");
            assert!(told.contains(kept), "{told}");
            assert!(told.contains("then `grace` waits, and no task"), "{told}");
            let tells_panic = told.contains("after that `main` panicked: called `unwrap`\n");
            assert_eq!(tells_panic, panicked, "{told}");
            assert_eq!(told.contains("redefined `tx`"), panicked, "{told}");
        }
    }
}
