//! What `threadbook lessons check` looks at, beyond what [`parse`](super::parse()) demands of one file: form, links, and whether the notebooks are those of
//! the lessons.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::notebook::{Neighbours, source, to_notebook};
use super::parse::{Cell, Ending, Lesson, Role};
use super::verify::verify_facts;
use super::{Mistake, list};

/// The longest cell, in lines: more does not stay in view beside its picture.
const MOST_LINES: usize = 15;
/// How an exercise cell begins, before its number.
const EXERCISE: &str = "// exercise: ";

/// Checks a folder of lessons and the folder of their notebooks. Starts `rustfmt` once for each cell; executes nothing.
pub fn check(lessons: &Path, notebooks: &Path) -> Vec<Mistake> {
    let lessons = match list(lessons) {
        Ok(lessons) => lessons,
        Err(mistakes) => return mistakes,
    };
    let mut mistakes = Vec::new();
    for (place, lesson) in lessons.iter().enumerate() {
        let mut report = |line: usize, what: String| {
            mistakes.push(Mistake {
                file: lesson.path.clone(),
                line,
                what,
            });
        };
        for cell in &lesson.cells {
            // A cell of commands is no Rust.
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
            if let Some(what) = dead(link, &lessons) {
                report(*line, what);
            }
        }
        mistakes.extend(staleness(
            lesson,
            &Neighbours::of(&lessons, place),
            &notebooks.join(format!("{}.ipynb", lesson.name)),
        ));
    }
    mistakes
}

/// What is wrong with the form of a code cell, each with its line.
fn form(cell: &Cell, proves_something: bool) -> Vec<(usize, String)> {
    let mut wrong = Vec::new();
    let count = cell.text.lines().count();
    if count > MOST_LINES {
        wrong.push((cell.line, format!("the cell has {count} lines, and at most {MOST_LINES} stay in view; split it or shorten it")));
    }
    if !proves_something && !cell.text.starts_with(EXERCISE) && !only_defines(&cell.text) {
        wrong.push((cell.line, "the cell claims nothing; add what its picture shows, such as `//@ shows: message ada main`".to_owned()));
    }
    if let Err(what) = formatted(&cell.text) {
        wrong.push((cell.line, what));
    }
    wrong
}

/// Whether a cell begins with a definition, or keeps a guess: it has no output of its own to claim anything about.
fn only_defines(code: &str) -> bool {
    ["fn ", "struct ", "enum ", "use ", "#[derive", "predict("]
        .iter()
        .any(|word| code.starts_with(word))
}

/// Holds a cell against `rustfmt`, as the body of a function: a cell is statements, which rustfmt takes only there.
fn formatted(code: &str) -> Result<(), String> {
    let indented: String = code
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("    {line}\n")
            }
        })
        .collect();
    let wrapped = format!("fn main() {{\n{indented}}}\n");
    let missing = |err: std::io::Error| {
        format!(
            "rustfmt could not be started ({err}); install it by `rustup component add rustfmt`"
        )
    };
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--quiet", "--emit", "stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    // A cell fits the pipe's buffer, and rustfmt reads all of it before it writes: no deadlock. It may die early, which its status tells.
    let _ = rustfmt
        .stdin
        .take()
        .expect("piped, three lines above")
        .write_all(wrapped.as_bytes());
    let output = rustfmt.wait_with_output().map_err(missing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "rustfmt cannot read the cell: {}",
            said.lines().next().unwrap_or("it gave no reason")
        ));
    }
    let want = String::from_utf8_lossy(&output.stdout);
    match wrapped
        .lines()
        .zip(want.lines())
        .skip(1)
        .find(|(have, want)| have != want)
    {
        Some((have, want)) => Err(format!(
            "the cell is not as rustfmt writes it: `{}` should begin `{}`",
            have.trim(),
            want.trim()
        )),
        None if want.lines().count() != wrapped.lines().count() => {
            Err("the cell has blank lines that rustfmt removes".to_owned())
        }
        None => Ok(()),
    }
}

/// Why a link leads nowhere: a link to a file must name the notebook of a lesson that exists.
fn dead(link: &str, lessons: &[Lesson]) -> Option<String> {
    if link.starts_with("https://") || link.starts_with('#') {
        return None;
    }
    let file = link.split('#').next().unwrap_or_default();
    if lessons
        .iter()
        .any(|lesson| file.strip_suffix(".ipynb") == Some(lesson.name.as_str()))
    {
        return None;
    }
    Some(format!(
        "`{link}` leads nowhere; link to a lesson as `07_channels.ipynb`, or to a page as `https://…`"
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
            ("good links", "[a](01_a.ipynb#x), [b](#c), [d](https://doc.rust-lang.org)\n\n```rust\nfn a() {}\n```\n".to_owned(), ""),
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
