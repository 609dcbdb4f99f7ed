//! What `threadbook lessons check` looks at, beyond what [`parse`](super::parse()) demands of one file: form, minutes, links, proofs, files that belong to
//! nothing, and whether the notebooks are those of the lessons. Executes nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exercise::{Code, check_id, exercise_id};
use super::format::unformatted;
use super::notebook::{Neighbours, source, to_notebook};
use super::parse::{Cell, Ending, Lesson, Role};
use super::proof::Proof;
use super::verify::verify_facts;
use super::{Mistake, list, proof_path, proofs_of};

/// The longest cell, in lines: more does not stay in view beside its picture.
const MOST_LINES: usize = 15;
/// The longest stub or check of an exercise.
const MOST_LINES_OF_EXERCISE: usize = 25;
/// How many words of prose are read in a minute, by someone who thinks along.
const WORDS_A_MINUTE: usize = 180;
/// Minutes for a cell that shows something: to run it and to read its picture.
const MINUTES_A_DEMO: usize = 1;
/// Minutes for an exercise.
const MINUTES_AN_EXERCISE: usize = 6;
/// How far the promised minutes may be from the estimate, which is rounded to as many.
const MINUTES_OFF: usize = 5;

/// Checks a folder of lessons and the folder of their notebooks. Starts `rustfmt` once for each lesson; executes nothing.
pub fn check(lessons: &Path, notebooks: &Path) -> Vec<Mistake> {
    let listed = match list(lessons) {
        Ok(lessons) => lessons,
        Err(mistakes) => return mistakes,
    };
    let mut mistakes: Vec<Mistake> = listed
        .iter()
        .flat_map(|lesson| check_source(lesson, &listed))
        .collect();
    for (place, lesson) in listed.iter().enumerate() {
        mistakes.extend(staleness(
            lesson,
            &Neighbours::of(&listed, place),
            &notebooks.join(format!("{}.ipynb", lesson.name)),
        ));
    }
    mistakes.extend(strays(&listed, lessons, notebooks));
    mistakes
}

/// Checks what one lesson and its proofs say, and nothing of its notebook. `lessons` are those that it may link to.
pub fn check_source(lesson: &Lesson, lessons: &[Lesson]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut report = |line: usize, what: String| {
        mistakes.push(Mistake {
            file: lesson.path.clone(),
            line,
            what,
        });
    };
    for cell in &lesson.cells {
        // A cell of commands is no Rust, and shows what is the learner's.
        if let Role::Code { shows, ending } = &cell.role
            && *ending != Ending::Unrun
        {
            form(cell, !shows.is_empty() || *ending != Ending::Good)
                .into_iter()
                .for_each(|(line, what)| report(line, what));
        }
    }
    for (line, what) in &lesson.gaps {
        report(*line, what.clone());
    }
    for (line, link) in &lesson.links {
        if let Some(what) = dead(link, lesson, lessons) {
            report(*line, what);
        }
    }
    if let Some(what) = wrong_minutes(lesson) {
        report(1, what);
    }
    let proofs = match proofs_of(lesson) {
        Ok(proofs) => proofs,
        Err(found) => {
            mistakes.extend(found);
            Vec::new()
        }
    };
    mistakes.extend(not_as_rustfmt(lesson, &proofs));
    mistakes.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    mistakes
}

/// What is wrong with the form of a code cell, each with its line.
fn form(cell: &Cell, proves_something: bool) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    let count = cell.text.lines().count();
    let of_exercise = exercise_id(&cell.text).is_some() || check_id(&cell.text).is_some();
    let most = if of_exercise {
        MOST_LINES_OF_EXERCISE
    } else {
        MOST_LINES
    };
    if count > most {
        wrong.push((cell.line, format!("the cell has {count} lines, and at most {most} stay in view; split it or shorten it")));
    }
    if !proves_something && !of_exercise && !only_defines(&cell.text) {
        wrong.push((cell.line, "the cell claims nothing; add what its picture shows, such as `//@ shows: message ada main`".to_owned()));
    }
    wrong
}

/// Whether a cell begins with a definition, or keeps a guess: it has no output of its own to claim anything about.
fn only_defines(code: &str) -> bool {
    ["fn ", "struct ", "enum ", "use ", "#[derive", "predict("]
        .iter()
        .any(|word| code.starts_with(word))
}

/// Which code of a lesson and of its proofs is not as rustfmt writes it.
fn not_as_rustfmt(lesson: &Lesson, proofs: &[Proof]) -> Vec<Mistake> {
    let mut pieces: Vec<(PathBuf, usize, &str)> = Vec::new();
    for cell in &lesson.cells {
        if matches!(&cell.role, Role::Code { ending, .. } if *ending != Ending::Unrun) {
            pieces.push((lesson.path.clone(), cell.line, &cell.text));
        }
    }
    let solutions = lesson.exercises.iter().map(|exercise| &exercise.solution);
    pieces.extend(solutions.map(|Code { line, text }| (lesson.path.clone(), *line, text.as_str())));
    for attempt in proofs
        .iter()
        .flat_map(|proof| proof.right.iter().chain(&proof.wrong))
    {
        pieces.push((proof_path(lesson), attempt.code.line, &attempt.code.text));
    }
    let codes: Vec<&str> = pieces.iter().map(|(_, _, code)| *code).collect();
    let judged = unformatted(&codes).into_iter();
    pieces
        .into_iter()
        .zip(judged)
        .filter_map(|((file, line, _), what)| {
            Some(Mistake {
                file,
                line,
                what: what?,
            })
        })
        .collect()
}

/// Why the promised minutes are not those that a learner needs.
fn wrong_minutes(lesson: &Lesson) -> Option<String> {
    let demos = lesson.cells.iter().filter(|cell| is_demo(cell)).count();
    let exercises = lesson
        .cells
        .iter()
        .filter(|cell| exercise_id(&cell.text).is_some())
        .count();
    let minutes =
        lesson.words / WORDS_A_MINUTE + demos * MINUTES_A_DEMO + exercises * MINUTES_AN_EXERCISE;
    let rounded = (minutes + MINUTES_OFF / 2) / MINUTES_OFF * MINUTES_OFF;
    let promised = usize::try_from(lesson.minutes).unwrap_or(usize::MAX);
    (promised.abs_diff(rounded) > MINUTES_OFF).then(|| {
        format!(
            "the lesson promises {promised} minutes and takes about {rounded}: {} words, {demos} cells that show something, {exercises} exercises; \
             write `minutes = {rounded}`, or change the lesson",
            lesson.words
        )
    })
}

/// Whether a cell is run when the lesson is built, and is no exercise.
fn is_demo(cell: &Cell) -> bool {
    matches!(&cell.role, Role::Code { ending, .. } if !matches!(ending, Ending::Unsolved | Ending::Unrun))
        && exercise_id(&cell.text).is_none()
}

/// Files in either folder that belong to no lesson. Hidden ones are not looked at.
fn strays(lessons: &[Lesson], sources: &Path, notebooks: &Path) -> Vec<Mistake> {
    let mut known: HashSet<PathBuf> =
        HashSet::from([sources.join("README.md"), notebooks.join("README.md")]);
    for lesson in lessons {
        known.insert(sources.join(format!("{}.md", lesson.name)));
        known.insert(notebooks.join(format!("{}.ipynb", lesson.name)));
        if !lesson.exercises.is_empty() || !lesson.gaps.is_empty() {
            known.insert(proof_path(lesson));
        }
    }
    let mut folders = vec![sources, notebooks];
    folders.dedup();
    let found = folders
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    let mut strays: Vec<PathBuf> = found
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.') && !known.contains(path)
        })
        .collect();
    strays.sort();
    let told = strays.into_iter().map(|file| Mistake {
        file,
        line: 1,
        what: "belongs to no lesson; remove it, or name it after one: `07_topic.md`, `07_topic.proof.md`, `07_topic.ipynb`".to_owned(),
    });
    told.collect()
}

/// Why a link leads nowhere: a link to a file must name the notebook of a lesson that exists, and what stands behind `#` a heading in it.
fn dead(link: &str, from: &Lesson, lessons: &[Lesson]) -> Option<String> {
    if link.starts_with("https://") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let found = if file.is_empty() {
        Some(from)
    } else {
        lessons
            .iter()
            .find(|lesson| file.strip_suffix(".ipynb") == Some(lesson.name.as_str()))
    };
    let Some(lesson) = found else {
        return Some(format!(
            "`{link}` leads nowhere; link to a lesson as `07_channels.ipynb`, or to a page as `https://…`"
        ));
    };
    // JupyterLab's anchor of a heading is its text, with `-` for each blank.
    let anchors: Vec<String> = lesson
        .headings
        .iter()
        .map(|heading| heading.replace(' ', "-"))
        .collect();
    if anchor.is_empty() || anchors.iter().any(|known| known == anchor) {
        return None;
    }
    Some(format!(
        "`{link}` leads nowhere: {} has no such heading; its anchors are {}",
        lesson.name,
        anchors.join(", ")
    ))
}

/// Whether the notebook is what the lesson makes, executed, with every claim true.
fn staleness(lesson: &Lesson, neighbours: &Neighbours<'_>, path: &Path) -> Vec<Mistake> {
    let stale = |what: &str| {
        vec![Mistake {
            file: lesson.path.clone(),
            line: 1,
            what: format!("{} {what}; run `threadbook lessons build`", path.display()),
        }]
    };
    let Ok(text) = fs::read_to_string(path) else {
        return stale("is not there");
    };
    let Ok(have) = serde_json::from_str::<Value>(&text) else {
        return stale("is no JSON");
    };
    let want = to_notebook(lesson, neighbours);
    if have["metadata"]["threadbook"] != want["metadata"]["threadbook"] {
        return stale("is older than its lesson");
    }
    if parts(&have) != parts(&want) {
        return stale("was edited by hand, or is older than a lesson that it links to");
    }
    verify_facts(&lesson.path, &have)
}

/// What an execution leaves as it is: of each cell the id, the kind, the text, the tags and the claims.
fn parts(notebook: &Value) -> Vec<(&Value, &Value, String, &Value, &Value)> {
    let cells = notebook["cells"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let part = |cell| -> (&Value, &Value, String, &Value, &Value) {
        let cell: &Value = cell;
        (
            &cell["id"],
            &cell["cell_type"],
            source(&cell["source"]),
            &cell["metadata"]["tags"],
            &cell["metadata"]["threadbook"],
        )
    };
    cells.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::check;

    #[test]
    fn lessons_in_bad_form() {
        let long = format!("//@ shows: prints a\n{}", "bake();\n".repeat(16));
        for (name, body, want) in [
            ("too long", format!("```rust\n{long}```\n"), ":6: the cell has 16 lines"),
            ("claims nothing", "Prose.\n\n```rust\nbake();\n```\n".to_owned(), ":8: the cell claims nothing"),
            ("exercise", "```rust\n// exercise: 01.1\nfn bake() {}\n```\n".to_owned(), ":6: this cell belongs to an exercise and stands under none"),
            ("definition", "```rust\nfn bake() {}\n```\n".to_owned(), ""),
            ("unformatted", "```rust\nfn bake()  {}\n```\n".to_owned(), ":6: the cell is not as rustfmt writes it: `fn bake()  {}` should begin `fn bake() {}`"),
            ("blank line", "```rust\nfn bake() {\n    a();\n\n}\n```\n".to_owned(), ":6: the cell is not as rustfmt"),
            ("no Rust", "```rust\nfn bake( {\n```\n".to_owned(), ":6: rustfmt cannot read the cell: error"),
            ("dead link", "[b](02_b.ipynb)\n\n```rust\nfn a() {}\n```\n".to_owned(), ":6: `02_b.ipynb` leads nowhere"),
            ("good links", "## Two bakers\n\n[a](01_a.ipynb#Two-bakers), [b](#Two-bakers), [d](https://doc.rust-lang.org)\n\n```rust\nfn a() {}\n```\n".to_owned(), ""),
            ("dead anchor", "## Two bakers\n\n[b](#two-bakers)\n\n```rust\nfn a() {}\n```\n".to_owned(), ":8: `#two-bakers` leads nowhere: 01_a has no such heading; its anchors are Two-bakers"),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("01_a.md"), format!("+++\ntitle = \"A\"\nminutes = 5\ngoals = [\"b\"]\n+++\n{body}")).unwrap();
            let shown: Vec<String> = check(root.path(), root.path()).iter().map(ToString::to_string).collect();
            // The notebook is missing in every row; what else there is must be just the mistake meant.
            let (missing, rest): (Vec<&String>, Vec<&String>) = shown.iter().partition(|line| line.contains("01_a.ipynb is not there"));
            assert_eq!(missing.len(), 1, "{name}: {shown:?}");
            assert!(if want.is_empty() { rest.is_empty() } else { rest.len() == 1 && rest[0].contains(want) }, "{name}: {shown:?}");
        }
    }
}
