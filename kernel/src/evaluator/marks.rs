//! The prelude's short marks, each a line of JSON: a panic, a check, a stack that was too small, the begin of a cell, a question. Pure.
//!
//! The learner's process may write anything: what makes no sense is `None`.

use serde_json::Value;

/// A panic as the prelude's hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// The name that the task was given.
    pub task: Option<String>,
    /// Its number in the recording.
    pub id: u32,
    /// Whether it is the thread that evaluates cells.
    pub is_main: bool,
    /// The task's cell, as the worker counts; 0 when it has none.
    pub cell: u64,
    /// Its message, in which words may stand that the picture has better ones for: see `words`.
    pub message: String,
    /// Which shared object it happened in, and at which line of the generated file.
    pub build: u32,
    /// Line in the generated file, from 1.
    pub line: u32,
}

impl Panic {
    /// Reads the mark; `None` when it is another one.
    pub fn parse(json: &str) -> Option<Panic> {
        let mark: Value = serde_json::from_str(json).ok()?;
        let number = |name: &str| {
            mark[name]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        (mark["mark"] == "panic").then(|| Panic {
            task: mark["task"].as_str().map(str::to_owned),
            id: number("id"),
            is_main: mark["main"].as_bool().unwrap_or(false),
            cell: mark["cell"].as_u64().unwrap_or(0),
            message: mark["message"].as_str().unwrap_or_default().to_owned(),
            build: number("build"),
            line: number("line"),
        })
    }
}

/// How a `check!` came out.
pub struct Check {
    /// What it said, when it did not pass.
    pub failure: Option<FailedCheck>,
    /// The run that is worth a picture.
    pub observation: Option<u32>,
}

/// A `check!` that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCheck {
    /// What was seen and what was wanted, with words as in a panic's.
    pub message: String,
    /// The shared object and the line that it stands in.
    pub build: u32,
    /// From 1.
    pub line: u32,
}

impl Check {
    /// Reads the mark; `None` when it is another one.
    pub fn parse(json: &str) -> Option<Check> {
        let mark: Value = serde_json::from_str(json).ok()?;
        if mark["mark"] != "check" {
            return None;
        }
        let number = |name: &str| {
            mark[name]
                .as_u64()
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        let failed = mark["ok"] == false;
        let failure = failed.then(|| FailedCheck {
            message: mark["message"].as_str().unwrap_or_default().to_owned(),
            build: number("build"),
            line: number("line"),
        });
        let observation = Some(number("observation")).filter(|&run| run != 0);
        Some(Check {
            failure,
            observation,
        })
    }
}

/// A stack that was too small, told by the signal handler that then ended the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// Whose it was.
    pub task: Option<String>,
    /// How large, for a green task; 0 for a thread.
    pub bytes: u64,
}

impl Overflow {
    /// Reads the mark; `None` when it is another one.
    pub fn parse(json: &str) -> Option<Overflow> {
        let mark: Value = serde_json::from_str(json).ok()?;
        (mark["mark"] == "overflow").then(|| Overflow {
            task: mark["task"].as_str().map(str::to_owned),
            bytes: mark["bytes"].as_u64().unwrap_or(0),
        })
    }
}

/// The number by which the worker knows the cell that it begins.
pub fn begun_cell(json: &str) -> Option<u64> {
    let mark: Value = serde_json::from_str(json).ok()?;
    (mark["mark"] == "begin").then(|| mark["cell"].as_u64())?
}

/// What a cell asks, and whether the answer is not to be shown.
pub fn question(json: &str) -> Option<(String, bool)> {
    let mark: Value = serde_json::from_str(json).ok()?;
    (mark["mark"] == "input").then(|| {
        let prompt = mark["prompt"].as_str().unwrap_or_default();
        (prompt.to_owned(), mark["password"] == true)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_are_no_panics_are_none() {
        for odd in ["", "{}", "[1]", r#"{"mark":"end"}"#] {
            assert_eq!(Panic::parse(odd), None, "{odd}");
            assert_eq!(Overflow::parse(odd), None, "{odd}");
            assert!(Check::parse(odd).is_none(), "{odd}");
        }
        assert_eq!(
            Overflow::parse(r#"{"mark":"overflow","task":"ada","bytes":262144}"#),
            Some(Overflow {
                task: Some("ada".into()),
                bytes: 262_144
            })
        );
        let failed = r#"{"mark":"check","ok":false,"message":"gave 1","build":7,"line":3}"#;
        assert_eq!(
            Check::parse(failed).and_then(|check| check.failure),
            Some(FailedCheck {
                message: "gave 1".into(),
                build: 7,
                line: 3
            })
        );
        let passed = Check::parse(r#"{"mark":"check","ok":true}"#);
        assert!(passed.is_some_and(|check| check.failure.is_none()));
        let panic = Panic::parse(
            r#"{"mark":"panic","task":"ada","id":9,"main":false,"cell":4,"message":"burnt","build":7,"line":12,"column":5}"#,
        );
        assert_eq!(
            panic,
            Some(Panic {
                task: Some("ada".into()),
                id: 9,
                is_main: false,
                cell: 4,
                message: "burnt".into(),
                build: 7,
                line: 12
            })
        );
    }
}
