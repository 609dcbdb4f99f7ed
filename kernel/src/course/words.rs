//! How the course says what it says: in Markdown, and in plain text for a terminal. Pure.

use super::card::Exercise;
use crate::cell::MimeBundle;

/// Text in both forms.
pub fn said(text: &str) -> MimeBundle {
    MimeBundle::from_iter([("text/plain".to_owned(), text.into())])
}

/// A hint, `at` from 0.
pub fn hint(exercise: &Exercise, at: usize) -> MimeBundle {
    let head = format!(
        "Hint {} of {} for exercise {}, {}",
        at + 1,
        exercise.hints.len(),
        exercise.number,
        exercise.title
    );
    let hint = exercise.hints[at].trim();
    let after = match exercise.hints.len() - at - 1 {
        0 => "This was the last one; `:solution` shows a solution.".to_owned(),
        _ => format!(
            "`:hint` again shows the {} one.",
            if at + 2 == exercise.hints.len() {
                "last"
            } else {
                "next"
            }
        ),
    };
    MimeBundle::from_iter([
        (
            "text/plain".to_owned(),
            format!("{head}\n\n{hint}\n\n{after}").into(),
        ),
        (
            "text/markdown".to_owned(),
            format!("**{}**\n\n{hint}\n\n*{after}*", markdown(&head)).into(),
        ),
    ])
}

/// What `:hint` says when there is none left, or never was one.
pub fn no_hint(exercise: &Exercise) -> MimeBundle {
    let number = &exercise.number;
    said(&match exercise.hints.len() {
        0 => format!("exercise {number} has no hints; `:solution` shows a solution"),
        1 => format!(
            "the one hint for exercise {number} is shown; there are no more: `:solution` shows a solution"
        ),
        count => format!(
            "all {} hints for exercise {number} are shown; there are no more: `:solution` shows a solution",
            in_words(count)
        ),
    })
}

/// A solution.
pub fn solution(exercise: &Exercise) -> MimeBundle {
    let head = format!(
        "A solution of exercise {}, {}",
        exercise.number, exercise.title
    );
    let Some(solution) = &exercise.solution else {
        return said(&format!(
            "the solution of exercise {} is not in this notebook: who gave it to you keeps it back",
            exercise.number
        ));
    };
    let solution = solution.trim();
    MimeBundle::from_iter([
        (
            "text/plain".to_owned(),
            format!("{head}\n\n{solution}").into(),
        ),
        (
            "text/markdown".to_owned(),
            format!("**{}**\n\n{solution}", markdown(&head)).into(),
        ),
    ])
}

/// The text that an exercise begins with, for who does not see it in the cell.
pub fn first_text(exercise: &Exercise) -> MimeBundle {
    let number = &exercise.number;
    let start = exercise.start.trim_end();
    MimeBundle::from_iter([
        (
            "text/plain".to_owned(),
            format!("exercise {number} is as it was at first:\n\n{start}").into(),
        ),
        (
            "text/markdown".to_owned(),
            format!(
                "Exercise {number} is as it was at first.\n\n<details><summary>If the cell does not show it, copy it from here</summary>\n\n{}\n\n</details>",
                fenced(start)
            )
            .into(),
        ),
    ])
}

/// What a check that failed says of the next hint, before it is shown. `shown`: so many are known already.
pub fn offer(exercise: &Exercise, shown: usize) -> Option<String> {
    let count = exercise.hints.len();
    let which = match (shown, count - shown.min(count)) {
        (_, 0) => return after_all_hints(exercise),
        (0, 1) => "the hint".to_owned(),
        (_, 1) => format!("the last of {} hints", in_words(count)),
        (0, _) => format!("the first of {} hints", in_words(count)),
        (shown, _) => format!("hint {} of {}", shown + 1, in_words(count)),
    };
    Some(format!(
        "  next: think of what the run shows, or write `:hint` into a cell for {which}"
    ))
}

/// The hint itself, as lines of an error.
pub fn hint_in_an_error(exercise: &Exercise, at: usize) -> String {
    let head = format!("  hint {} of {}: ", at + 1, exercise.hints.len());
    let hint = exercise.hints[at].trim().replace('\n', "\n    ");
    format!("{head}{hint}")
}

fn after_all_hints(exercise: &Exercise) -> Option<String> {
    let solution = exercise.solution.is_some();
    solution.then(|| {
        let hints = match exercise.hints.len() {
            0 => "",
            1 => "the hint is shown; ",
            _ => "all hints are shown; ",
        };
        format!("  next: {hints}`:solution` in a cell shows a solution")
    })
}

/// Text as Markdown shows it as it is, also in a table.
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(
            c,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#'
        ) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Rust in a fence that no line of it closes.
fn fenced(code: &str) -> String {
    let longest = code
        .lines()
        .map(|line| line.trim_start())
        .map(|line| line.len() - line.trim_start_matches('`').len())
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}rust\n{code}\n{fence}")
}

fn in_words(count: usize) -> String {
    match count {
        1 => "one".to_owned(),
        2 => "two".to_owned(),
        3 => "three".to_owned(),
        4 => "four".to_owned(),
        5 => "five".to_owned(),
        count => count.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::tests::card;
    use super::*;

    #[test]
    fn each_hint_says_what_comes_after_it() {
        let exercise = &card("07_channels").exercises[0];
        let text = |at| {
            hint(exercise, at)["text/plain"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            text(0),
            "Hint 1 of 3 for exercise 07.1, taking turns\n\nLook up.\n\n`:hint` again shows the next one."
        );
        assert!(text(1).ends_with("shows the last one."), "{}", text(1));
        assert!(text(2).ends_with("`:solution` shows a solution."));
        let none = no_hint(exercise);
        assert!(
            none["text/plain"]
                .as_str()
                .unwrap()
                .starts_with("all three hints")
        );
    }

    #[test]
    fn an_error_offers_what_is_not_known_yet() {
        let mut exercise = card("07_channels").exercises.remove(0);
        let offered = |exercise: &Exercise, shown| offer(exercise, shown).unwrap_or_default();
        for (shown, want) in [
            (0, "the first of three hints"),
            (1, "hint 2 of three"),
            (2, "the last of three hints"),
            (3, "all hints are shown; `:solution`"),
        ] {
            let text = offered(&exercise, shown);
            assert!(text.contains(want), "{text}");
        }
        exercise.hints.truncate(1);
        assert!(offered(&exercise, 0).contains("for the hint"));
        exercise.hints.clear();
        assert!(offered(&exercise, 0).contains("next: `:solution`"));
        exercise.solution = None;
        assert_eq!(offer(&exercise, 0), None);
        assert!(
            solution(&exercise)["text/plain"]
                .as_str()
                .unwrap()
                .contains("keeps it back")
        );
    }

    #[test]
    fn code_stays_in_its_fence_and_words_stay_words() {
        assert_eq!(fenced("a();"), "```rust\na();\n```");
        assert_eq!(fenced("/*\n````\n*/"), "`````rust\n/*\n````\n*/\n`````");
        assert_eq!(markdown("`a|b`*"), "\\`a\\|b\\`\\*");
    }
}
