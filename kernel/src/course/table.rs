//! What `:progress` shows: each lesson, with how many of its exercises are done. Pure.

use super::progress::Done;
use super::shelf::Shelved;
use super::words::markdown;
use crate::cell::MimeBundle;

/// One lesson of the table.
struct Row<'a> {
    lesson: &'a Shelved,
    done: usize,
    of: usize,
}

/// Shows which exercises are done, and which comes next. `trouble`: why nothing is known of what is done.
pub fn table(mut lessons: Vec<Shelved>, done: &Done, trouble: Option<&str>) -> MimeBundle {
    lessons.retain(|lesson| !lesson.card.exercises.is_empty());
    lessons
        .sort_by(|a, b| (a.card.number(), &a.card.lesson).cmp(&(b.card.number(), &b.card.lesson)));
    let is_done = |lesson: &str, number: &str| {
        done.get(lesson)
            .is_some_and(|exercises| exercises.contains_key(number))
    };
    let rows: Vec<Row> = lessons
        .iter()
        .map(|lesson| Row {
            lesson,
            done: lesson
                .card
                .exercises
                .iter()
                .filter(|exercise| is_done(&lesson.card.lesson, &exercise.number))
                .count(),
            of: lesson.card.exercises.len(),
        })
        .collect();
    let total = rows.iter().map(|row| row.of).sum::<usize>();
    let sum = match (total, rows.iter().map(|row| row.done).sum::<usize>()) {
        (0, _) => "There is no lesson with exercises here.".to_owned(),
        (total, sum) if total == sum => "All exercises are done.".to_owned(),
        (total, sum) => format!("{sum} of {total} exercises are done."),
    };
    let next = lessons.iter().find_map(|lesson| {
        let exercise = lesson
            .card
            .exercises
            .iter()
            .find(|exercise| !is_done(&lesson.card.lesson, &exercise.number))?;
        Some((lesson, exercise))
    });

    let mut text = String::new();
    let mut rich = String::from("| | lesson | minutes | exercises done |\n|---|---|---|---|\n");
    for row in &rows {
        let card = &row.lesson.card;
        let mark = if row.done == row.of { "✓" } else { " " };
        text += &format!(
            "{mark} {:>2}. {:<58} {:>3} min  {} of {}\n",
            card.number(),
            card.title,
            card.minutes,
            row.done,
            row.of
        );
        rich += &format!(
            "| {mark} | {}. {} | {} | {} of {} |\n",
            card.number(),
            linked(row.lesson),
            card.minutes,
            row.done,
            row.of
        );
    }
    text += &sum;
    rich += &format!("\n{sum}");
    if let Some((lesson, exercise)) = next {
        text += &format!(
            " Next: {}, {}, in lesson {}.",
            exercise.number,
            exercise.title,
            lesson.card.number()
        );
        rich += &format!(
            " Next: {}, {}, in {}.",
            exercise.number,
            markdown(&exercise.title),
            linked(lesson)
        );
    }
    if let Some(trouble) = trouble {
        text += &format!("\n{trouble}");
        rich += &format!("\n\n{}", markdown(trouble));
    }
    MimeBundle::from_iter([
        ("text/plain".to_owned(), text.into()),
        ("text/markdown".to_owned(), rich.into()),
    ])
}

/// A lesson's title, as a link where its notebook lies beside this one.
fn linked(lesson: &Shelved) -> String {
    let title = markdown(&lesson.card.title);
    match &lesson.file {
        Some(file) => format!("[{title}](<{file}>)"),
        None => title,
    }
}

#[cfg(test)]
mod tests {
    use super::super::card::tests::card;
    use super::*;

    fn shelved(lesson: &str, file: Option<&str>) -> Shelved {
        Shelved {
            card: card(lesson),
            file: file.map(str::to_owned),
        }
    }

    fn form<'a>(bundle: &'a MimeBundle, form: &str) -> &'a str {
        bundle[form].as_str().unwrap()
    }

    #[test]
    fn lessons_stand_in_order_with_what_is_done_and_what_comes_next() {
        let mut front = shelved("00_start", None);
        front.card.exercises.clear();
        let lessons = vec![
            shelved("08_buffers", None),
            front,
            shelved("07_a|b", Some("07 mine.ipynb")),
        ];
        let done = Done::from([(
            "08_buffers".to_owned(),
            [("08.1".to_owned(), 1)].into_iter().collect(),
        )]);
        let shown = table(lessons.clone(), &done, None);
        let text = form(&shown, "text/plain");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("   7. About a|b") && lines[0].ends_with("25 min  0 of 1"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("✓  8. ") && lines[1].ends_with("1 of 1"),
            "{text}"
        );
        assert_eq!(
            lines[2],
            "1 of 2 exercises are done. Next: 07.1, taking turns, in lesson 7."
        );
        let rich = form(&shown, "text/markdown");
        assert!(
            rich.contains("|   | 7. [About a\\|b](<07 mine.ipynb>) | 25 | 0 of 1 |"),
            "{rich}"
        );
        assert!(
            rich.contains("| ✓ | 8. About buffers | 25 | 1 of 1 |"),
            "{rich}"
        );

        let unknown = table(lessons, &Done::new(), Some("progress.json: it is no file"));
        assert!(form(&unknown, "text/plain").ends_with("\nprogress.json: it is no file"));
        let none = table(Vec::new(), &done, None);
        assert_eq!(
            form(&none, "text/plain"),
            "There is no lesson with exercises here."
        );
    }
}
