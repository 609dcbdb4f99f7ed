//! One `rust` fence of a lesson: whether it becomes a cell, how the cell must end, and what it claims to show.
//!
//! | fence | becomes |
//! |---|---|
//! | `rust` | a cell that runs |
//! | `rust,compile_fail,E0373` | a cell that the compiler must refuse with that code |
//! | `rust,should_panic` | a cell that must panic |
//! | `rust,deadlock` | a cell that must come to a deadlock |
//! | `rust,no_run` | the check of an exercise: shipped, but not executed, since the exercise is not solved yet |
//! | `threadbook` | a cell of commands, such as `:progress`: shipped, but not executed, since what it shows is the learner's own |
//! | `rust,ignore`, `go`, `text`, … | stays in the prose |

use super::Fact;
use super::parse::{Ending, Role};

/// How a line begins that is for the pipeline, and not for the learner.
const DIRECTIVE: &str = "//@";

/// The language of a cell of commands.
const COMMANDS: &str = "threadbook";

/// Whether a fence with these words after its backticks becomes a cell.
pub fn becomes_cell(info: &str) -> bool {
    let mut words = info.split(',').map(str::trim);
    match words.next() {
        Some("rust") => words.all(|word| word != "ignore"),
        language => language == Some(COMMANDS),
    }
}

/// The code as the learner sees it, without claims.
pub fn source(code: &str) -> String {
    let lines: Vec<&str> = code.lines().filter(|line| !is_directive(line)).collect();
    lines.join("\n").trim().to_owned()
}

/// Reads a fence whose backticks stand in `line`, and adds what is wrong with it to `mistakes`.
pub fn read(line: usize, info: &str, code: &str, mistakes: &mut Vec<(usize, String)>) -> Role {
    let ending = ending(info).unwrap_or_else(|what| {
        mistakes.push((line, what));
        Ending::Good
    });
    let shows = claims(line, code, mistakes);
    let mut wrong = |what: &str| mistakes.push((line, what.to_owned()));
    if source(code).is_empty() {
        wrong("a cell without code; write some, or remove the fence");
    }
    if !shows.is_empty() {
        match &ending {
            Ending::Unsolved | Ending::Unrun => wrong(
                "this cell is not executed when the lesson is built, so what it shows cannot be checked; remove its claims",
            ),
            Ending::Red(code) if !matches!(code.as_str(), "Panic" | "Deadlock") => {
                wrong("the compiler refuses this cell, so it can show nothing; remove its claims");
            }
            Ending::Red(_) | Ending::Good => {}
        }
    }
    Role::Code { shows, ending }
}

fn claims(fence: usize, code: &str, mistakes: &mut Vec<(usize, String)>) -> Vec<Fact> {
    let mut shows = Vec::new();
    let mut code_began = false;
    for (line, text) in (fence + 1..).zip(code.lines()) {
        let Some(directive) = text.trim_start().strip_prefix(DIRECTIVE) else {
            code_began |= !text.trim().is_empty();
            continue;
        };
        if code_began {
            mistakes.push((
                line,
                "a claim after the first line of code; move it to the head of its fence".to_owned(),
            ));
        }
        match directive
            .trim_start()
            .strip_prefix("shows:")
            .map(Fact::parse)
        {
            Some(Ok(fact)) => shows.push(fact),
            Some(Err(what)) => mistakes.push((line, what)),
            None => mistakes.push((
                line,
                format!("`{DIRECTIVE}{directive}` is not known here; write `//@ shows: …`"),
            )),
        }
    }
    shows
}

fn ending(info: &str) -> Result<Ending, String> {
    let mut words = info.split(',').map(str::trim);
    let is_commands = words.next() == Some(COMMANDS);
    let attributes: Vec<&str> = words.collect();
    match attributes.as_slice() {
        [] if is_commands => Ok(Ending::Unrun),
        _ if is_commands => Err(format!("a cell of commands is written as ```{COMMANDS}, with nothing behind it")),
        [] => Ok(Ending::Good),
        ["should_panic"] => Ok(Ending::Red("Panic".to_owned())),
        ["deadlock"] => Ok(Ending::Red("Deadlock".to_owned())),
        ["no_run"] => Ok(Ending::Unsolved),
        ["compile_fail", code] if is_error_code(code) => Ok(Ending::Red((*code).to_owned())),
        ["compile_fail", ..] => {
            Err("compile_fail needs the one error that the compiler gives, such as ```rust,compile_fail,E0373".to_owned())
        }
        other => {
            let other = other.join(",");
            Err(format!("`{other}` is not known here; write compile_fail,E…, should_panic, deadlock, no_run or ignore"))
        }
    }
}

fn is_directive(line: &str) -> bool {
    line.trim_start().starts_with(DIRECTIVE)
}

fn is_error_code(word: &str) -> bool {
    word.len() == 5 && word.starts_with('E') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_that_end_badly_at_run_time_may_claim_something() {
        for (info, want, mistakes) in [
            ("rust,should_panic", Ending::Red("Panic".to_owned()), 0),
            ("rust,deadlock", Ending::Red("Deadlock".to_owned()), 0),
            (
                "rust,compile_fail,E0373",
                Ending::Red("E0373".to_owned()),
                1,
            ),
            ("rust,deadlock,no_run", Ending::Good, 1),
            ("threadbook", Ending::Unrun, 1),
            ("threadbook,no_run", Ending::Good, 1),
        ] {
            let mut found = Vec::new();
            let role = read(3, info, "//@ shows: deadlocked main\nrun();", &mut found);
            let Role::Code { ending, .. } = role else {
                panic!("{info} is no code")
            };
            assert_eq!((ending, found.len()), (want, mistakes), "{info}: {found:?}");
        }
    }
}
