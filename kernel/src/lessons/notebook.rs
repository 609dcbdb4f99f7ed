//! A lesson as a Jupyter notebook, nbformat 4.5, without outputs.
//!
//! Same lesson, same bytes: ids come from names and order, and keys are sorted as `nbformat` writes them, so that a rebuilt notebook differs only where
//! its lesson or its outputs do. Rules: <https://nbformat.readthedocs.io/en/latest/format_description.html>.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::parse::{Cell, Ending, Lesson, Role};
use crate::course::{Card, Exercise};

/// What stands in a lesson where the list of all lessons is to be.
const LIST: &str = "<!-- the lessons -->";

/// The lessons before and after one, as a learner meets them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Neighbours<'a> {
    /// The one before.
    pub previous: Option<&'a Lesson>,
    /// The one after.
    pub next: Option<&'a Lesson>,
    /// All lessons, for a front page that lists them.
    pub all: &'a [Lesson],
}

impl<'a> Neighbours<'a> {
    /// Those of the lesson at `place` in a list.
    pub fn of(lessons: &'a [Lesson], place: usize) -> Neighbours<'a> {
        Neighbours {
            previous: place.checked_sub(1).and_then(|before| lessons.get(before)),
            next: lessons.get(place + 1),
            all: lessons,
        }
    }
}

/// Makes the notebook of a lesson: a first cell with title, minutes and goals, the lesson's cells, and a last one with the way to its neighbours.
pub fn to_notebook(lesson: &Lesson, neighbours: &Neighbours<'_>) -> Value {
    let mut cells = vec![
        json!({"cell_type": "markdown", "id": id(lesson, 0, "start"), "metadata": {}, "source": lines(&opening(lesson))}),
    ];
    for cell in &lesson.cells {
        let id = id(lesson, cells.len(), &cell.heading);
        cells.push(match &cell.role {
            Role::Prose => {
                let text = cell.text.replace(LIST, &listed(neighbours.all));
                json!({"cell_type": "markdown", "id": id, "metadata": {}, "source": lines(&text)})
            }
            Role::Code { .. } => json!({
                "cell_type": "code",
                "execution_count": null,
                "id": id,
                "metadata": metadata(cell),
                "outputs": [],
                "source": lines(&cell.text),
            }),
        });
    }
    if let Some(way) = way(neighbours) {
        cells.push(json!({"cell_type": "markdown", "id": id(lesson, cells.len(), "way"), "metadata": {}, "source": lines(&way)}));
    }
    json!({
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Rust (Threadbook)", "language": "rust", "name": "threadbook"},
            "language_info": {"file_extension": ".rs", "mimetype": "text/rust", "name": "rust", "pygments_lexer": "rust"},
            "threadbook": about(lesson),
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    })
}

/// What the kernel knows the lesson by, and the digest of its source.
fn about(lesson: &Lesson) -> Value {
    let mut about = serde_json::to_value(card(lesson)).expect("a card is text and numbers");
    about["source_sha256"] = json!(lesson.sha256);
    about
}

/// What the kernel shows of a lesson when it is asked: `:hint`, `:solution`, `:reset`, `:progress`.
pub fn card(lesson: &Lesson) -> Card {
    // What stays in the prose is told apart by `ignore`, which nobody needs to read.
    let plain = |text: &str| text.replace("```rust,ignore", "```rust");
    let exercises = lesson.exercises.iter().map(|exercise| Exercise {
        number: exercise.id.clone(),
        title: exercise.title.clone(),
        start: exercise.stub.text.clone(),
        hints: exercise
            .hints
            .iter()
            .map(|hint| plain(&hint.text))
            .collect(),
        solution: Some(plain(&exercise.solution_text.text)),
    });
    Card {
        lesson: lesson.name.clone(),
        title: lesson.title.clone(),
        minutes: lesson.minutes,
        exercises: exercises.collect(),
    }
}

/// Writes a notebook as `nbformat` does: sorted keys, one space of indentation, a newline at the end.
pub fn text_of(notebook: &Value) -> String {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, style);
    sorted(notebook)
        .serialize(&mut writer)
        .expect("a Value has only text for keys, and memory takes every byte");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("serde_json writes UTF-8")
}

/// The text of a cell, in either of the two forms that nbformat allows: a string, or a list of lines.
pub fn source(text: &Value) -> String {
    match text {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        text => text.as_str().unwrap_or_default().to_owned(),
    }
}

fn opening(lesson: &Lesson) -> String {
    let mut text = format!(
        "# {}\n\nAbout {} minutes.",
        numbered(lesson),
        lesson.minutes
    );
    if !lesson.prerequisites.is_empty() {
        text += &format!(" Before it: {}.", lesson.prerequisites.join(", "));
    }
    text += "\n\n**Afterwards you can**\n";
    for goal in &lesson.goals {
        text += &format!("\n- {goal}");
    }
    text
}

/// A lesson's title with its number. The front page, whose number is 0, has none.
fn numbered(lesson: &Lesson) -> String {
    match lesson.number {
        0 => lesson.title.clone(),
        number => format!("{number}. {}", lesson.title),
    }
}

/// The lessons behind the front page, as a table: title and link, minutes, the first thing that one can do afterwards.
fn listed(lessons: &[Lesson]) -> String {
    let mut table = String::from("| lesson | minutes | afterwards you can |\n|---|---|---|\n");
    for lesson in lessons.iter().filter(|lesson| lesson.number > 0) {
        table += &format!(
            "| [{}]({}.ipynb) | {} | {} |\n",
            numbered(lesson),
            lesson.name,
            lesson.minutes,
            lesson.goals.first().map_or("", String::as_str)
        );
    }
    table.trim_end().to_owned()
}

fn way(neighbours: &Neighbours<'_>) -> Option<String> {
    let link = |lesson: &Lesson| format!("[{}]({}.ipynb)", numbered(lesson), lesson.name);
    let previous = neighbours
        .previous
        .map(|lesson| format!("Previous lesson: {}", link(lesson)));
    let next = neighbours
        .next
        .map(|lesson| format!("Next lesson: {}", link(lesson)));
    let ways: Vec<String> = [previous, next].into_iter().flatten().collect();
    (!ways.is_empty()).then(|| format!("---\n\n{}", ways.join("  \n")))
}

/// Tags for those who execute, and under `threadbook` what the outputs must show. `line` is the cell's place in the lesson.
fn metadata(cell: &Cell) -> Value {
    let Role::Code { shows, ending } = &cell.role else {
        return json!({});
    };
    let mut ours = Map::new();
    ours.insert("line".to_owned(), json!(cell.line));
    if !shows.is_empty() {
        ours.insert(
            "shows".to_owned(),
            shows.iter().map(ToString::to_string).collect(),
        );
    }
    let tags = match ending {
        Ending::Good => json!([]),
        Ending::Red(error) => {
            ours.insert("expects".to_owned(), json!(error));
            json!(["raises-exception"])
        }
        // nbclient obeys the first tag. JupyterLab knows only the second: its Run All goes on past an exercise that is not solved yet.
        Ending::Unsolved => json!(["skip-execution", "raises-exception"]),
        Ending::Unrun => json!(["skip-execution"]),
    };
    json!({"tags": tags, "threadbook": ours})
}

/// A stable id: lesson, ordinal and the words of its heading; at most 64 of the characters that nbformat allows.
fn id(lesson: &Lesson, ordinal: usize, heading: &str) -> String {
    let mut id = format!("{}-{ordinal:02}", lesson.name);
    for word in heading
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
    {
        if id.len() + 1 + word.len() > 64 {
            break;
        }
        id.push('-');
        id.push_str(&word.to_ascii_lowercase());
    }
    // Only a very long file name gets here with more; the ordinal is kept, since it is what tells cells apart.
    if id.len() > 64 {
        format!("{}-{ordinal:02}", &lesson.name[..60.min(lesson.name.len())])
    } else {
        id
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            keys.into_iter()
                .map(|key| (key.clone(), sorted(&map[key])))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::LIST;
    use super::{Neighbours, source, text_of, to_notebook};
    use crate::lessons::{Lesson, parse};

    fn lesson(name: &str) -> Lesson {
        let text = "+++\ntitle = \"Ovens\"\nminutes = 5\ngoals = [\"bake\", \"sell\"]\nprerequisites = [\"closures\"]\n+++\n## It's *hot* — très\n\nSee.\n\n\
            ```rust\n//@ shows: lane ada\nlet a = 1;\nbake(a);\n```\n```rust,compile_fail,E0373\nx\n```\n```rust,should_panic\ny\n```\n```rust,no_run\nz\n```\n";
        parse(Path::new(&format!("{name}.md")), text).unwrap()
    }

    #[test]
    fn cells_carry_their_tags_claims_and_lines() {
        let notebook = to_notebook(&lesson("02_ovens"), &Neighbours::default());
        let cells = notebook["cells"].as_array().unwrap();
        assert_eq!(
            source(&cells[0]["source"]),
            "# 2. Ovens\n\nAbout 5 minutes. Before it: closures.\n\n**Afterwards you can**\n\n- bake\n- sell"
        );
        assert_eq!(cells[2]["source"], json!(["let a = 1;\n", "bake(a);"]));
        let metadata: Vec<&Value> = cells[2..].iter().map(|cell| &cell["metadata"]).collect();
        assert_eq!(
            metadata,
            [
                &json!({"tags": [], "threadbook": {"line": 11, "shows": ["lane ada"]}}),
                &json!({"tags": ["raises-exception"], "threadbook": {"line": 16, "expects": "E0373"}}),
                &json!({"tags": ["raises-exception"], "threadbook": {"line": 19, "expects": "Panic"}}),
                &json!({"tags": ["skip-execution", "raises-exception"], "threadbook": {"line": 22}}),
            ]
        );
    }

    #[test]
    fn ids_are_stable_short_and_told_apart() {
        for name in ["02_ovens".to_owned(), format!("02_{}", "o".repeat(80))] {
            let notebook = to_notebook(&lesson(&name), &Neighbours::default());
            let ids: HashSet<&str> = notebook["cells"]
                .as_array()
                .unwrap()
                .iter()
                .map(|cell| cell["id"].as_str().unwrap())
                .collect();
            assert_eq!(ids.len(), notebook["cells"].as_array().unwrap().len());
            for id in ids {
                assert!(
                    id.len() <= 64
                        && id
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
                    "{id}"
                );
            }
            if name == "02_ovens" {
                assert_eq!(notebook["cells"][2]["id"], "02_ovens-02-it-s-hot-tr-s");
            }
        }
    }

    #[test]
    fn the_last_cell_links_to_the_neighbours_that_exist() {
        let lessons = [lesson("01_a"), lesson("02_b"), lesson("07_c")];
        for (place, want) in [
            (0, "---\n\nNext lesson: [2. Ovens](02_b.ipynb)"),
            (
                1,
                "---\n\nPrevious lesson: [1. Ovens](01_a.ipynb)  \nNext lesson: [7. Ovens](07_c.ipynb)",
            ),
            (2, "---\n\nPrevious lesson: [2. Ovens](02_b.ipynb)"),
        ] {
            let notebook = to_notebook(&lessons[place], &Neighbours::of(&lessons, place));
            assert_eq!(
                source(&notebook["cells"].as_array().unwrap().last().unwrap()["source"]),
                want
            );
        }
    }

    #[test]
    fn the_front_page_lists_the_lessons_behind_it() {
        let mut lessons = [lesson("00_start"), lesson("01_a"), lesson("02_b")];
        lessons[0].cells[0].text = format!("Read:\n\n{LIST}\n\nEnd.");
        let notebook = to_notebook(&lessons[0], &Neighbours::of(&lessons, 0));
        assert_eq!(
            source(&notebook["cells"][1]["source"]),
            "Read:\n\n| lesson | minutes | afterwards you can |\n|---|---|---|\n| [1. Ovens](01_a.ipynb) | 5 | bake |\n\
             | [2. Ovens](02_b.ipynb) | 5 | bake |\n\nEnd."
        );
        assert!(source(&notebook["cells"][0]["source"]).starts_with("# Ovens\n"));
    }

    #[test]
    fn text_is_written_as_nbformat_writes_it() {
        let value = json!({"b": [], "a": {"d": {}, "c": ["é\n", 1, null]}});
        assert_eq!(
            text_of(&value),
            "{\n \"a\": {\n  \"c\": [\n   \"é\\n\",\n   1,\n   null\n  ],\n  \"d\": {}\n },\n \"b\": []\n}\n"
        );
        let notebook = to_notebook(&lesson("02_ovens"), &Neighbours::default());
        assert_eq!(
            serde_json::from_str::<Value>(&text_of(&notebook)).unwrap(),
            notebook
        );
    }
}
