//! A lesson in the instructor's form of nbgrader: exercises are solution cells, checks are graded tests.
//!
//! What students get is made from it by `nbgrader generate_assignment`, which replaces what stands between `BEGIN SOLUTION` and `END SOLUTION`. That would
//! leave them an empty cell, where a lesson gives them a program to begin with. So the solution ends by opening a comment, inside of what is replaced: in the
//! instructor's form the first text is a comment, in the students' it is the program. Forms of metadata:
//! <https://nbgrader.readthedocs.io/en/stable/contributor_guide/metadata.html>.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::exercise::{Exercise, check_id, exercise_id};
use super::notebook::{Neighbours, source, text_of, to_notebook};
use super::parse::Lesson;
use super::{Mistake, list};

/// The version of nbgrader's metadata.
const SCHEMA: u32 = 3;
/// What a passed check is worth.
const POINTS: u32 = 1;
/// What nbgrader is told: how a stub is written in Rust, and how long a cell may take (a first cell waits for the kernel).
const CONFIG: &str = r#"# How nbgrader treats the lessons of Threadbook. Written by `threadbook lessons build --for nbgrader`.
c = get_config()  # noqa: F821

# Stands in the students' cells in the place of the solution; what the exercise begins with follows.
c.ClearSolutions.code_stub = {"rust": "// YOUR CODE HERE: change what follows"}

# Seconds. The first cell of all waits until the kernel is warm.
c.Execute.timeout = 300
c.Execute.startup_timeout = 300
"#;

/// Writes `OUT/source/NN_topic/NN_topic.ipynb` for each lesson that has an exercise, and `OUT/nbgrader_config.py` where there is none. Nothing is executed.
///
/// `only` has names or numbers of lessons; all are written when it is empty. Mistakes in lessons are the `Ok` value; the others are written all the same.
///
/// # Errors
/// When the disk fails, or `only` names a lesson that there is not.
pub fn build_for_nbgrader(
    lessons: &Path,
    only: &[String],
    out: &Path,
) -> anyhow::Result<Vec<Mistake>> {
    let lessons = match list(lessons) {
        Ok(lessons) => lessons,
        Err(mistakes) => return Ok(mistakes),
    };
    let chosen = super::testing::chosen(&lessons, only)?;
    let mut mistakes = Vec::new();
    for lesson in chosen
        .into_iter()
        .filter(|lesson| !lesson.exercises.is_empty())
    {
        match instructors(lesson, &lessons) {
            Ok(notebook) => {
                let folder = out.join("source").join(&lesson.name);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make the folder {}", folder.display()))?;
                let path = folder.join(format!("{}.ipynb", lesson.name));
                fs::write(&path, text_of(&notebook))
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    let config = out.join("nbgrader_config.py");
    // A teacher's own is not written over.
    if !config.exists() {
        fs::create_dir_all(out)
            .and_then(|()| fs::write(&config, CONFIG))
            .with_context(|| format!("cannot write {}", config.display()))?;
    }
    Ok(mistakes)
}

/// The instructor's form of one lesson.
fn instructors(lesson: &Lesson, all: &[Lesson]) -> Result<Value, Mistake> {
    let mut notebook = to_notebook(lesson, &Neighbours::default());
    let cells = notebook["cells"].as_array_mut().into_iter().flatten();
    for cell in cells {
        let text = source(&cell["source"]);
        let exercise = |id| lesson.exercises.iter().find(|exercise| exercise.id == id);
        if cell["cell_type"] == "markdown" {
            let text = linked_from_below(&without_solutions(&text), all);
            cell["source"] = json!(text);
        } else if let Some(exercise) = exercise_id(&text).and_then(exercise) {
            cell["source"] = json!(solved(exercise));
            cell["metadata"] = json!({"nbgrader": {
                "grade": false,
                "grade_id": grade_id("exercise", exercise),
                "locked": false,
                "schema_version": SCHEMA,
                "solution": true,
                "task": false,
            }});
        } else if let Some(exercise) = check_id(&text).and_then(exercise) {
            // Without the tags that say that it ships unexecuted: here it is what is executed.
            cell["metadata"] = json!({"nbgrader": {
                "grade": true,
                "grade_id": grade_id("check", exercise),
                "locked": true,
                "points": POINTS,
                "schema_version": SCHEMA,
                "solution": false,
                "task": false,
            }});
        }
    }
    let about = &mut notebook["metadata"]["threadbook"];
    for exercise in about["exercises"].as_array_mut().into_iter().flatten() {
        if let Some(exercise) = exercise.as_object_mut() {
            exercise.remove("solution");
        }
    }
    for exercise in &lesson.exercises {
        if let Some(what) = cannot_be_hidden(exercise, &notebook) {
            return Err(Mistake {
                file: lesson.path.clone(),
                line: exercise.line,
                what,
            });
        }
    }
    Ok(notebook)
}

/// The cell as the instructor has it: solved, with the first text in a comment that begins inside of what students do not get.
fn solved(exercise: &Exercise) -> String {
    let mark = format!("// exercise: {}", exercise.id);
    let start = exercise.stub.text.trim_start();
    let start = start.strip_prefix(&mark).unwrap_or(start).trim();
    let solution = exercise.solution.text.trim();
    let solution = solution.strip_prefix(&mark).unwrap_or(solution).trim();
    format!(
        "{mark}\n// ### BEGIN SOLUTION\n{solution}\n/* What students begin with:\n// ### END SOLUTION\n{start}\n// The end of exercise {}. */",
        exercise.id
    )
}

/// Why a student would see the solution, or the instructor's cell would not be Rust.
fn cannot_be_hidden(exercise: &Exercise, notebook: &Value) -> Option<String> {
    let id = &exercise.id;
    // Comments nest in Rust, so one that is closed does no harm.
    let count = |mark| exercise.stub.text.matches(mark).count();
    if count("/*") != count("*/") {
        return Some(format!(
            "the stub of {id} opens another number of comments than it closes, and stands in a comment in the instructor's form; write `//` comments"
        ));
    }
    let markdown = notebook["cells"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|cell| cell["cell_type"] == "markdown");
    let mut texts = markdown.map(|cell| source(&cell["source"]));
    texts
        .any(|text| text.contains(exercise.solution.text.trim()))
        .then(|| {
            format!("the solution of {id} stands in the text a second time, where students would read it; write it under `<summary>Solution</summary>` only")
        })
}

fn grade_id(what: &str, exercise: &Exercise) -> String {
    format!("{what}-{}", exercise.id.replace('.', "-"))
}

/// Prose without what is folded under "Solution".
fn without_solutions(text: &str) -> String {
    const END: &str = "</details>";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<details>") {
        let end = rest[start..]
            .find(END)
            .map_or(rest.len(), |end| start + end + END.len());
        let summary = rest[start..end]
            .trim_start_matches("<details>")
            .trim_start();
        let is_solution = summary.starts_with("<summary>Solution");
        kept.push_str(&rest[..if is_solution { start } else { end }]);
        rest = &rest[end..];
    }
    kept.push_str(rest);
    kept.trim_end().to_owned()
}

/// Links to other lessons, which lie in folders of their own here.
fn linked_from_below(text: &str, lessons: &[Lesson]) -> String {
    lessons.iter().fold(text.to_owned(), |text, lesson| {
        let name = &lesson.name;
        text.replace(
            &format!("]({name}.ipynb"),
            &format!("](../{name}/{name}.ipynb"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LESSON: &str = "+++\ntitle = \"Turns\"\nminutes = 5\ngoals = [\"see\"]\n+++\nAs in [one](01_one.ipynb).\n\n```rust\nbake();\n```\n\n## Exercise 1: turns\n\n\
        ```rust\n// exercise: 07.1\nfn f() {\n    /* here */\n}\n```\n\n```rust,no_run\n// check: 07.1\ncheck!(f() => ());\n```\n\n\
        <details><summary>Hint 1</summary>\n\nOne.\n\n</details>\n<details><summary>Hint 2</summary>\n\nTwo.\n\n</details>\n\
        <details><summary>Hint 3</summary>\n\nThree.\n\n</details>\n<details><summary>Solution</summary>\n\nSo:\n\n```rust,ignore\nfn f() { solved() }\n```\n\n</details>\n";

    fn built(lesson: &str) -> (tempfile::TempDir, Vec<Mistake>) {
        let root = tempfile::tempdir().unwrap();
        let lessons = root.path().join("lessons");
        fs::create_dir(&lessons).unwrap();
        fs::write(lessons.join("07_turns.md"), lesson).unwrap();
        let front =
            "+++\ntitle = \"One\"\nminutes = 5\ngoals = [\"see\"]\n+++\n```rust\nfn a() {}\n```\n";
        fs::write(lessons.join("01_one.md"), front).unwrap();
        let mistakes = build_for_nbgrader(&lessons, &[], &root.path().join("out")).unwrap();
        (root, mistakes)
    }

    #[test]
    fn an_exercise_is_a_solution_cell_and_its_check_a_graded_test() {
        let (root, mistakes) = built(LESSON);
        assert_eq!(mistakes, []);
        let out = root.path().join("out");
        assert!(!out.join("source/01_one").exists(), "it has no exercise");
        let text = fs::read_to_string(out.join("source/07_turns/07_turns.ipynb")).unwrap();
        let notebook: Value = serde_json::from_str(&text).unwrap();
        let graded: Vec<(String, &Value)> = notebook["cells"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|cell| !cell["metadata"]["nbgrader"].is_null())
            .map(|cell| (source(&cell["source"]), &cell["metadata"]))
            .collect();
        let metadata = |grade, id, locked, solution| json!({"grade": grade, "grade_id": id, "locked": locked, "schema_version": 3, "solution": solution, "task": false});
        let mut check = metadata(true, "check-07-1", true, false);
        check["points"] = json!(1);
        assert_eq!(
            graded,
            [
                (
                    "// exercise: 07.1\n// ### BEGIN SOLUTION\nfn f() { solved() }\n/* What students begin with:\n// ### END SOLUTION\nfn f() {\n    /* here */\n}\n\
                     // The end of exercise 07.1. */"
                        .to_owned(),
                    &json!({"nbgrader": metadata(false, "exercise-07-1", false, true)})
                ),
                (
                    "// check: 07.1\ncheck!(f() => ());".to_owned(),
                    &json!({"nbgrader": check})
                ),
            ]
        );
        assert_eq!(text.matches("solved()").count(), 1, "students never see it");
        assert!(text.contains("Three.") && text.contains("(../01_one/01_one.ipynb)"));
    }

    #[test]
    fn a_teachers_configuration_stays() {
        let (root, _) = built(LESSON);
        let config = root.path().join("out/nbgrader_config.py");
        assert!(
            fs::read_to_string(&config)
                .unwrap()
                .contains("ClearSolutions.code_stub")
        );
        fs::write(&config, "mine").unwrap();
        build_for_nbgrader(&root.path().join("lessons"), &[], &root.path().join("out")).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), "mine");
    }

    #[test]
    fn what_students_would_see_or_rust_would_refuse_is_refused() {
        for (lesson, want) in [
            (
                LESSON.replace("/* here */", "// /* here"),
                "opens another number of comments",
            ),
            (
                LESSON.replace("Three.", "Three: `fn f() { solved() }`."),
                "a second time",
            ),
        ] {
            let (root, mistakes) = built(&lesson);
            assert!(
                mistakes.len() == 1 && mistakes[0].line == 12 && mistakes[0].what.contains(want),
                "{mistakes:?}"
            );
            assert!(!root.path().join("out/source/07_turns").exists());
        }
    }
}
