//! The course: from `lessons/NN_topic.md`, which people write, to `notebooks/NN_topic.ipynb`, which learners open.
//!
//! A lesson is Markdown whose `rust` fences become cells. A fence may claim what its picture shows (`//@ shows: message ada main`), and the claim is
//! held against the outputs of every build. Knows nothing of the session or of sockets: who executes a notebook is given to [`build`].

mod body;
mod check;
mod exercise;
mod fact;
mod fence;
mod format;
mod nbgrader;
mod notebook;
mod parse;
mod proof;
mod prove;
mod starter;
mod testing;
mod verify;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

pub use check::{check, check_source};
pub use exercise::{Code, Exercise, HINTS, Prose, check_id, exercise_id};
pub use fact::Fact;
pub use nbgrader::build_for_nbgrader;
pub use notebook::{Neighbours, text_of, to_notebook};
pub use parse::{Cell, Ending, Lesson, Role, parse};
pub use proof::{Attempt, Proof, parse_proof};
pub use prove::{Runner, Wish, prove};
pub use starter::starter;
pub use testing::{News, Plan, test};
pub use verify::verify_facts;

/// Something wrong in a lesson or its notebook, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The lesson's file.
    pub file: PathBuf,
    /// Line in it, from 1.
    pub line: usize,
    /// What is wrong and what to do, in words.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.what)
    }
}

/// Reads every lesson of a folder, in the order of their numbers.
///
/// Files whose names do not begin with a digit, such as a README, are no lessons. `Err` holds the mistakes of all files, not only of the first.
pub fn list(folder: &Path) -> Result<Vec<Lesson>, Vec<Mistake>> {
    let unreadable = |path: &Path, err: std::io::Error| Mistake {
        file: path.to_owned(),
        line: 1,
        what: format!(
            "cannot be read ({err}); run this in the folder of the checkout, or name the folder of the lessons"
        ),
    };
    let entries = fs::read_dir(folder).map_err(|err| vec![unreadable(folder, err)])?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_lesson(path))
        .collect();
    paths.sort();

    let mut lessons: Vec<Lesson> = Vec::new();
    let mut mistakes = Vec::new();
    for path in paths {
        let parsed = fs::read_to_string(&path)
            .map_err(|err| vec![unreadable(&path, err)])
            .and_then(|text| parse(&path, &text));
        match parsed {
            Ok(lesson) => lessons.push(lesson),
            Err(found) => mistakes.extend(found),
        }
    }
    for pair in lessons
        .windows(2)
        .filter(|pair| pair[0].number == pair[1].number)
    {
        mistakes.push(Mistake {
            file: pair[1].path.clone(),
            line: 1,
            what: format!(
                "{} has number {:02} already; give one of the two another",
                pair[0].name, pair[0].number
            ),
        });
    }
    if mistakes.is_empty() {
        Ok(lessons)
    } else {
        Err(mistakes)
    }
}

/// How the file of a lesson's proofs ends, where the lesson's ends with `.md`.
const PROOF: &str = ".proof.md";

fn is_lesson(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.ends_with(".md")
        && !name.ends_with(PROOF)
        && name.starts_with(|first: char| first.is_ascii_digit())
}

/// Where the proofs of a lesson's exercises are.
pub fn proof_path(lesson: &Lesson) -> PathBuf {
    lesson
        .path
        .with_file_name(format!("{}{PROOF}", lesson.name))
}

/// Reads the proofs of a lesson's exercises. `Err` also when an exercise has none, or a proof no exercise.
pub fn proofs_of(lesson: &Lesson) -> Result<Vec<Proof>, Vec<Mistake>> {
    let path = proof_path(lesson);
    let mistake = |file: &Path, line: usize, what: String| Mistake {
        file: file.to_owned(),
        line,
        what,
    };
    let proofs = match fs::read_to_string(&path) {
        Ok(text) => parse_proof(&path, &text)?,
        Err(err) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let lacking = lesson.exercises.iter().map(|exercise| {
                mistake(
                    &lesson.path,
                    exercise.line,
                    format!("the exercise has no proof: {name} cannot be read ({err}); write right and wrong solutions of {} there", exercise.id),
                )
            });
            let lacking: Vec<Mistake> = lacking.collect();
            return if lacking.is_empty() {
                Ok(Vec::new())
            } else {
                Err(lacking)
            };
        }
    };
    let mut mistakes = Vec::new();
    for exercise in &lesson.exercises {
        if !proofs.iter().any(|proof| proof.id == exercise.id) {
            mistakes.push(mistake(
                &path,
                1,
                format!(
                    "no proof of {}; write `# {}`, and its solutions below",
                    exercise.id, exercise.id
                ),
            ));
        }
    }
    // An exercise that is not whole is told by itself, and its proof may be right.
    if lesson.gaps.is_empty() {
        for proof in &proofs {
            if !lesson
                .exercises
                .iter()
                .any(|exercise| exercise.id == proof.id)
            {
                mistakes.push(mistake(
                    &path,
                    proof.line,
                    format!(
                        "{} has no exercise {}; remove its proof, or mend its number",
                        lesson.name, proof.id
                    ),
                ));
            }
        }
    }
    if mistakes.is_empty() {
        Ok(proofs)
    } else {
        Err(mistakes)
    }
}

/// Builds every notebook: parses, executes by `execute` (which runs the notebook at a path and leaves its outputs there), and holds each claim against
/// the outputs. `only` has names or numbers of lessons; all are built when it is empty.
///
/// A notebook takes the place of the old one only when it is right. Mistakes in lessons, and claims that do not hold, are the `Ok` value; `Err` means
/// that the disk or the execution failed, or that `only` names a lesson that there is not. Lessons after a failing one are built all the same.
pub fn build(
    lessons: &Path,
    notebooks: &Path,
    only: &[String],
    execute: &dyn Fn(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Mistake>> {
    let lessons = match list(lessons) {
        Ok(lessons) => lessons,
        Err(mistakes) => return Ok(mistakes),
    };
    fs::create_dir_all(notebooks)
        .with_context(|| format!("cannot make the folder {}", notebooks.display()))?;
    // Executed elsewhere: a kernel that dies half-way leaves the old notebook whole.
    let workshop = tempfile::tempdir()
        .context("cannot make a temporary folder to execute the notebooks in")?;
    let chosen = testing::chosen(&lessons, only)?;
    let mut mistakes = Vec::new();
    for (place, lesson) in lessons.iter().enumerate() {
        if !chosen.iter().any(|chosen| chosen.name == lesson.name) {
            continue;
        }
        let name = format!("{}.ipynb", lesson.name);
        let draft = workshop.path().join(&name);
        fs::write(
            &draft,
            text_of(&to_notebook(lesson, &Neighbours::of(&lessons, place))),
        )?;
        if let Err(err) = execute(&draft) {
            mistakes.push(Mistake {
                file: lesson.path.clone(),
                line: 1,
                what: format!("its notebook could not be executed: {err:#}"),
            });
            continue;
        }
        let executed = fs::read_to_string(&draft)
            .with_context(|| format!("executing {name} left no notebook behind"))?;
        let mut executed = serde_json::from_str(&executed)
            .with_context(|| format!("executing {name} left a notebook that is no JSON"))?;
        forget_the_clock(&mut executed);
        let broken = verify_facts(&lesson.path, &executed);
        if broken.is_empty() {
            replace(&notebooks.join(&name), &text_of(&executed))?;
        }
        mistakes.extend(broken);
    }
    Ok(mistakes)
}

/// Begins a lesson: writes a small one that passes, and its proof. `name` is `13_select`, or `select` for the next number. Gives the files.
///
/// # Errors
/// When the name is none for a lesson or its number is taken, when a lesson that is there has mistakes, or when a file cannot be written.
pub fn begin(folder: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let lessons = list(folder).map_err(|mistakes| {
        let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(
            "mend the lessons that are there first:\n{}",
            told.join("\n")
        )
    })?;
    let next = lessons
        .iter()
        .map(|lesson| lesson.number + 1)
        .max()
        .unwrap_or(1);
    let whole = if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("{next:02}_{name}")
    };
    let number = parse::number_of(&whole).with_context(|| {
        format!("`{name}` is no name for a lesson: write a topic in lower case, such as `select`, or with its number, `13_select`")
    })?;
    if let Some(taken) = lessons.iter().find(|lesson| lesson.number == number) {
        anyhow::bail!(
            "number {number:02} is that of {}; the next free one is {next:02}",
            taken.name
        );
    }
    let mut written = Vec::new();
    for (name, text) in starter(number, &whole[3..]) {
        let path = folder.join(name);
        let mut file = fs::File::create_new(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        std::io::Write::write_all(&mut file, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// Removes the wall-clock times that a client may write beside each cell: they say nothing to a learner, and no two builds would be alike.
fn forget_the_clock(notebook: &mut Value) {
    let cells = notebook.get_mut("cells").and_then(Value::as_array_mut);
    for cell in cells.into_iter().flatten() {
        if let Some(metadata) = cell.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("execution");
        }
    }
}

/// Writes beside the file and renames, so that nobody ever reads half a notebook.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("ipynb.new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{build, check, list};

    /// A lesson with one demo, claiming `claim`.
    fn lesson(title: &str, claim: &str) -> String {
        format!(
            "+++\ntitle = \"{title}\"\nminutes = 5\ngoals = [\"see\"]\n+++\nLook.\n\n```rust\n//@ shows: {claim}\nprintln!(\"warm\");\n```\n"
        )
    }

    fn folders(lessons: &[(&str, String)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("lessons")).unwrap();
        for (name, text) in lessons {
            fs::write(root.path().join("lessons").join(name), text).unwrap();
        }
        root
    }

    /// Stands in for a kernel on which every cell prints "warm".
    fn prints_warm(notebook: &Path) -> anyhow::Result<()> {
        let mut value: Value = serde_json::from_str(&fs::read_to_string(notebook)?)?;
        for cell in value["cells"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .filter(|cell| cell["cell_type"] == "code")
        {
            cell["execution_count"] = json!(1);
            cell["metadata"]["execution"] = json!({"shell.execute_reply": "2031-01-01T00:00:00Z"});
            cell["outputs"] =
                json!([{"output_type": "stream", "name": "stdout", "text": ["warm\n"]}]);
        }
        Ok(fs::write(notebook, value.to_string())?)
    }

    #[test]
    fn what_was_built_passes_the_check_until_its_lesson_changes() {
        let root = folders(&[
            ("01_first.md", lesson("First", "prints warm")),
            ("03_third.md", lesson("Third", "prints warm")),
            ("README.md", String::new()),
        ]);
        let (lessons, notebooks) = (root.path().join("lessons"), root.path().join("notebooks"));
        assert_eq!(build(&lessons, &notebooks, &[], &prints_warm).unwrap(), []);
        assert_eq!(check(&lessons, &notebooks), []);
        let first = fs::read_to_string(notebooks.join("01_first.ipynb")).unwrap();
        assert!(first.contains("(03_third.ipynb)"), "{first}");
        assert!(!first.contains("2031"), "{first}");

        fs::write(
            lessons.join("01_first.md"),
            lesson("First", "prints warm").replace("Look.", "Look here."),
        )
        .unwrap();
        let mistakes = check(&lessons, &notebooks);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].what.contains("older than its lesson"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn a_notebook_edited_by_hand_is_seen() {
        let root = folders(&[("01_first.md", lesson("First", "prints warm"))]);
        let (lessons, notebooks) = (root.path().join("lessons"), root.path().join("notebooks"));
        assert_eq!(build(&lessons, &notebooks, &[], &prints_warm).unwrap(), []);
        let path = notebooks.join("01_first.ipynb");
        fs::write(
            &path,
            fs::read_to_string(&path)
                .unwrap()
                .replace("Look.", "Do look."),
        )
        .unwrap();
        let mistakes = check(&lessons, &notebooks);
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].what.contains("edited by hand"), "{mistakes:?}");
    }

    #[test]
    fn a_claim_that_does_not_hold_leaves_the_old_notebook_and_builds_the_others() {
        let root = folders(&[
            ("01_first.md", lesson("First", "prints cold")),
            ("02_second.md", lesson("Second", "prints warm")),
        ]);
        let (lessons, notebooks) = (root.path().join("lessons"), root.path().join("notebooks"));
        fs::create_dir(&notebooks).unwrap();
        fs::write(notebooks.join("01_first.ipynb"), "old").unwrap();
        let mistakes = build(&lessons, &notebooks, &[], &prints_warm).unwrap();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert_eq!(
            (mistakes[0].file.clone(), mistakes[0].line),
            (lessons.join("01_first.md"), 8)
        );
        assert_eq!(
            fs::read_to_string(notebooks.join("01_first.ipynb")).unwrap(),
            "old"
        );
        assert!(notebooks.join("02_second.ipynb").exists());
    }

    #[test]
    fn an_execution_that_fails_is_named_with_its_lesson() {
        let root = folders(&[("01_first.md", lesson("First", "prints warm"))]);
        let mistakes = build(
            &root.path().join("lessons"),
            &root.path().join("notebooks"),
            &[],
            &|_| anyhow::bail!("the kernel died"),
        )
        .unwrap();
        assert!(
            mistakes[0]
                .to_string()
                .ends_with("01_first.md:1: its notebook could not be executed: the kernel died"),
            "{mistakes:?}"
        );
    }

    #[test]
    fn folders_with_mistakes() {
        for (name, files, want) in [
            (
                "same number",
                vec![
                    ("01_a.md", lesson("A", "prints x")),
                    ("01_b.md", lesson("B", "prints x")),
                ],
                "01_a has number 01 already",
            ),
            (
                "two bad files",
                vec![("01_a.md", "no".to_owned()), ("02_b.md", "no".to_owned())],
                "02_b.md:1: ",
            ),
        ] {
            let root = folders(&files);
            let mistakes: Vec<String> = list(&root.path().join("lessons"))
                .unwrap_err()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert!(mistakes.join("\n").contains(want), "{name}: {mistakes:?}");
        }
        let missing = list(Path::new("no such folder")).unwrap_err();
        assert!(
            missing[0]
                .to_string()
                .contains("no such folder:1: cannot be read"),
            "{missing:?}"
        );
    }
}
