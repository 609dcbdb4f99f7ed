//! What a cell says about the course: which exercise it is or checks, and what it asks for. Pure.

/// What a line asks of the course. A number names an exercise; without one the last that was run is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The next hint.
    Hint(Option<String>),
    /// A solution.
    Solution(Option<String>),
    /// The text that the exercise begins with, back into the cell.
    Reset(Option<String>),
    /// Which exercises are done.
    Progress,
    /// Forget which exercises are done: all, those of a lesson (`07`), or one (`07.1`).
    Forget(Option<String>),
}

/// What a cell is in the course, by its first comment: `// exercise: 07.1` or `// check: 07.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The number of the exercise, as `number` writes it.
    pub number: String,
    /// Whether the cell checks it. Otherwise it holds the learner's solution.
    pub is_check: bool,
}

/// Reads an exercise's number, as lessons write it or shorter: `07.1` of `7.1`.
pub fn number(word: &str) -> Option<String> {
    let (lesson, exercise) = word.split_once('.')?;
    let is_short =
        |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_short(lesson) && is_short(exercise)).then(|| format!("{lesson:0>2}.{exercise}"))
}

/// Reads a cell's mark: a comment at its head, above which only commands, comments and blank lines may stand.
pub fn mark(text: &str) -> Option<Mark> {
    for line in text.lines().take_while(|line| is_head(line)) {
        let Some((word, rest)) = line
            .strip_prefix("//")
            .and_then(|comment| comment.split_once(':'))
        else {
            continue;
        };
        let is_check = match word.trim() {
            "exercise" => false,
            "check" => true,
            _ => continue,
        };
        let number = number(rest.split_whitespace().next()?)?;
        return Some(Mark { number, is_check });
    }
    None
}

/// Whether a line may stand above a cell's first line of Rust.
pub fn is_head(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with("//") || line.starts_with([':', '!', '%'])
}

/// Reads a line that asks something of the course: `:hint`, or `%hint` as IPython writes its commands.
///
/// # Errors
/// When the command is given what it does not take: what it takes.
pub fn ask(line: &str) -> Result<Option<Ask>, String> {
    let Some(command) = line.trim().strip_prefix([':', '%']) else {
        return Ok(None);
    };
    let (name, argument) = command
        .split_once(char::is_whitespace)
        .map_or((command, ""), |(name, argument)| (name, argument.trim()));
    let exercise = || match (argument, number(argument)) {
        ("", _) => Ok(None),
        (_, Some(number)) => Ok(Some(number)),
        _ => Err(format!(
            ":{name} takes the number of an exercise, as in `:{name} 07.1`, or nothing for the last that was run"
        )),
    };
    Ok(Some(match name {
        "hint" => Ask::Hint(exercise()?),
        "solution" => Ask::Solution(exercise()?),
        "reset" => Ask::Reset(exercise()?),
        "progress" => match argument.strip_prefix("reset").map(str::trim) {
            None if argument.is_empty() => Ask::Progress,
            Some("") => Ask::Forget(None),
            Some(which) if which.len() <= 2 && which.parse::<u8>().is_ok() => {
                Ask::Forget(Some(format!("{which:0>2}")))
            }
            Some(which) if number(which).is_some() => Ask::Forget(number(which)),
            _ => {
                return Err(
                    ":progress takes nothing, or `reset`, or `reset` with the number of a lesson or an exercise, as in `:progress reset 07.1`"
                        .into(),
                );
            }
        },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_says_at_its_head_which_exercise_it_is() {
        let exercise = |number: &str, is_check| {
            Some(Mark {
                number: number.to_owned(),
                is_check,
            })
        };
        for (cell, want) in [
            ("// exercise: 07.1\nfn f() {}", exercise("07.1", false)),
            ("// check: 07.2\ncheck!(f() => 1);", exercise("07.2", true)),
            (
                ":hint\n\n%reset\n// exercise:7.12 of mine\n",
                exercise("07.12", false),
            ),
            (
                "// a note: mine\n// exercise: 12.1",
                exercise("12.1", false),
            ),
            ("// exercise: one\nfn f() {}", None),
            ("// exercise:\nfn f() {}", None),
            ("fn f() {}\n// exercise: 07.1", None),
            ("let a = \"\n// exercise: 07.1\";", None),
            ("", None),
        ] {
            assert_eq!(mark(cell), want, "{cell}");
        }
    }

    #[test]
    fn a_line_asks_or_is_told_how_to() {
        for (line, want) in [
            (":hint", Some(Ask::Hint(None))),
            ("  %hint  ", Some(Ask::Hint(None))),
            (":solution 7.1", Some(Ask::Solution(Some("07.1".into())))),
            ("%reset", Some(Ask::Reset(None))),
            (":progress", Some(Ask::Progress)),
            (":progress reset", Some(Ask::Forget(None))),
            (":progress reset 7", Some(Ask::Forget(Some("07".into())))),
            (
                "%progress reset 07.1",
                Some(Ask::Forget(Some("07.1".into()))),
            ),
            (":hints", None),
            ("hint", None),
            ("::hint", None),
            (":vars", None),
            ("", None),
        ] {
            assert_eq!(ask(line), Ok(want), "{line}");
        }
        for line in [
            ":hint please",
            ":reset all",
            ":solution 1",
            ":progress show",
            ":progress reset me",
            ":progress reset -1",
        ] {
            let why = ask(line).expect_err(line);
            assert!(why.contains(line.split(' ').next().unwrap()), "{why}");
        }
    }
}
