//! What a cell that checks an exercise comes to: done, or red with the next hint.

use super::Running;
use super::output::Record;
use crate::cell::CellError;

/// A cell that checks an exercise.
pub struct Judged<'a> {
    /// The exercise's number.
    pub number: &'a str,
    /// The cell's text.
    pub text: &'a str,
    /// Whether a person sent it: what a program runs is nobody's progress.
    pub learner: bool,
}

/// Red for another reason than the solution.
const NOT_THE_SOLUTION: &[&str] = &["Interrupted", "NoInput", "Kernel", "OutOfMemory"];

impl Running {
    /// Notes how the check came out: gives the line that says so, or adds to the error what it says of hints.
    pub fn judge(
        &mut self,
        judged: &Judged<'_>,
        record: &Record,
        error: &mut Option<CellError>,
    ) -> Option<String> {
        match error {
            Some(error) if NOT_THE_SOLUTION.contains(&error.ename.as_str()) => {}
            Some(error) => {
                let is_unknown = error.ename == "E0425";
                let next = self.course.failed(judged.number, is_unknown);
                error.traceback.extend(next);
            }
            None if checks_something(judged.text, record) => {
                return Some(self.course.passed(judged.number, judged.learner));
            }
            None => {}
        }
        None
    }
}

/// Whether a cell that came to a good end has checked something: its `check!` ran, or there is none and it asserts, or proves something by being compiled.
fn checks_something(text: &str, record: &Record) -> bool {
    let code = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"));
    let code: String = code.collect();
    match code.contains("check!") {
        true => record.observation.is_some(),
        false => !code.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_did_not_run_checks_nothing() {
        let ran = Record {
            observation: Some(3),
            ..Record::default()
        };
        for (text, record, want) in [
            ("// check: 07.1\ncheck!(f() => 1);", &ran, true),
            (
                "// check: 07.1\ncheck!(f() => 1);",
                &Record::default(),
                false,
            ),
            (
                "// check: 07.1\nassert_eq!(f(), 1);",
                &Record::default(),
                true,
            ),
            (
                "// check: 07.1\n\n// check!(f() => 1);",
                &Record::default(),
                false,
            ),
        ] {
            assert_eq!(checks_something(text, record), want, "{text}");
        }
    }
}
