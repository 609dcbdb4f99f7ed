//! A lesson's text, read into a value that cannot be wrong: front matter here, prose in [`super::body`], cells in [`super::fence`].
//!
//! Every mistake of a file is reported, not only the first.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::body::{self, line_of};
use super::exercise::{self, Exercise};
use super::{Fact, Mistake};

/// A lesson, whole and without mistakes.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// Where it was read.
    pub path: PathBuf,
    /// Its file's name without the ending, such as `07_channels`.
    pub name: String,
    /// Its number in the course.
    pub number: u32,
    /// What it says, in one line.
    pub title: String,
    /// How long it takes.
    pub minutes: u32,
    /// What the learner can do after it.
    pub goals: Vec<String>,
    /// What the learner should know before.
    pub prerequisites: Vec<String>,
    /// Prose and code, in order.
    pub cells: Vec<Cell>,
    /// Its exercises, in order: those of which nothing is missing.
    pub exercises: Vec<Exercise>,
    /// What its other exercises lack, each with its line. A notebook can be built all the same; `check` tells it.
    pub gaps: Vec<(usize, String)>,
    /// The exercises whose checks would need every schedule, such as `10.1`, and see many runs for now.
    pub needs_schedules: Vec<String>,
    /// Where its prose links to, each with its line.
    pub links: Vec<(usize, String)>,
    /// The texts of its headings.
    pub headings: Vec<String>,
    /// How many words its prose has, code not counted.
    pub words: usize,
    /// SHA-256 of the text, in hexadecimal, line ends made equal: a notebook keeps it to tell whether it is fresh.
    pub sha256: String,
}

/// A piece of a lesson: one cell of the notebook.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Line in the lesson where it begins; for code, the line of its fence.
    pub line: usize,
    /// Its text, without fence and claims.
    pub text: String,
    /// The heading that it stands under, `""` before the first.
    pub heading: String,
    /// What kind of cell.
    pub role: Role,
}

/// What a cell is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// Markdown.
    Prose,
    /// Rust that the kernel runs.
    Code {
        /// What its outputs must show.
        shows: Vec<Fact>,
        /// How it must end.
        ending: Ending,
    },
}

/// How a code cell must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Without an error.
    Good,
    /// With this error: a compiler's code or `Panic`.
    Red(String),
    /// Not executed when the course is built: red until the learner has solved the exercise.
    Unsolved,
    /// Not executed when the course is built: what it shows is the learner's own, such as `:progress`.
    Unrun,
}

/// Reads one lesson. `Err` holds every mistake, in order.
pub fn parse(path: &Path, text: &str) -> Result<Lesson, Vec<Mistake>> {
    // A checkout that turns line ends around is the same lesson.
    let text = text.replace("\r\n", "\n");
    let mut reader = Reader {
        path,
        text: &text,
        mistakes: Vec::new(),
    };
    let lesson = reader.lesson();
    match lesson {
        Some(lesson) if reader.mistakes.is_empty() => Ok(lesson),
        _ => {
            reader.mistakes.sort_by_key(|mistake| mistake.line);
            Err(reader.mistakes)
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    title: Option<String>,
    minutes: Option<u32>,
    goals: Option<Vec<String>>,
    #[serde(default)]
    prerequisites: Vec<String>,
    #[serde(default)]
    needs_schedules: Vec<String>,
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push(Mistake {
            file: self.path.to_owned(),
            line,
            what: what.into(),
        });
    }

    fn lesson(&mut self) -> Option<Lesson> {
        let name = self
            .path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let number = number_of(&name);
        if number.is_none() {
            self.mistake(1, "the file's name must be two digits, `_` and a topic in lower case, such as `07_channels.md`");
        }
        let (front, body_at) = self.front_matter()?;
        let body::Body {
            cells,
            links,
            headings,
            words,
            mistakes,
        } = body::read(self.text, body_at);
        mistakes
            .into_iter()
            .for_each(|(line, what)| self.mistake(line, what));
        if !cells
            .iter()
            .any(|cell| matches!(cell.role, Role::Code { .. }))
        {
            self.mistake(
                line_of(self.text, body_at),
                "no cell to run; write one between ```rust and ```",
            );
        }
        let (exercises, gaps) = exercise::read(self.text, body_at, number.unwrap_or_default());
        let sha256 = Sha256::digest(self.text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Lesson {
            path: self.path.to_owned(),
            number: number?,
            name,
            title: front.title?,
            minutes: front.minutes?,
            goals: front.goals?,
            prerequisites: front.prerequisites,
            needs_schedules: front.needs_schedules,
            cells,
            exercises,
            gaps,
            links,
            headings,
            words,
            sha256,
        })
    }

    /// The front matter, and the offset at which the body begins.
    fn front_matter(&mut self) -> Option<(FrontMatter, usize)> {
        const MARK: &str = "+++\n";
        if !self.text.starts_with(MARK) {
            self.mistake(1, "no front matter; begin the file with a line `+++`, then title, minutes and goals, then another line `+++`");
            return None;
        }
        // From the end of the first mark's line, so that a front matter without any line is closed too.
        let Some(end) = self.text[MARK.len() - 1..]
            .find("\n+++\n")
            .map(|at| MARK.len() + at)
        else {
            self.mistake(
                1,
                "the front matter is not closed; write a line `+++` after it",
            );
            return None;
        };
        let front: FrontMatter = match toml::from_str(&self.text[MARK.len()..end]) {
            Ok(front) => front,
            Err(err) => {
                let line = line_of(
                    self.text,
                    MARK.len() + err.span().map_or(0, |span| span.start),
                );
                self.mistake(
                    line,
                    format!("front matter: {}", err.message().replace('\n', " ")),
                );
                FrontMatter {
                    title: Some(String::new()),
                    minutes: Some(1),
                    goals: Some(vec![String::new()]),
                    prerequisites: Vec::new(),
                    needs_schedules: Vec::new(),
                }
            }
        };
        if front.title.is_none() {
            self.mistake(1, "front matter: no title; add `title = \"…\"`, one line that says what the lesson shows");
        }
        if front.minutes.is_none_or(|minutes| minutes == 0) {
            self.mistake(
                1,
                "front matter: no minutes; add `minutes = 25`, the time that a learner needs",
            );
        }
        if front.goals.as_ref().is_none_or(Vec::is_empty) {
            self.mistake(
                1,
                "front matter: no goals; add `goals = [\"…\"]`, what the learner can do afterwards",
            );
        }
        Some((front, end + MARK.len()))
    }
}

/// `7` of `07_channels`, `None` when the name has another form.
pub fn number_of(name: &str) -> Option<u32> {
    let (digits, topic) = name.split_once('_')?;
    let topic_is_plain = !topic.is_empty()
        && topic
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    (digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()) && topic_is_plain)
        .then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Ending, Lesson, Role, parse};
    use crate::lessons::{Fact, Mistake};

    const FRONT: &str = "+++\ntitle = \"Ovens\"\nminutes = 5\ngoals = [\"bake\"]\n+++\n";

    fn read(body: &str) -> Result<Lesson, Vec<Mistake>> {
        parse(Path::new("lessons/07_ovens.md"), &format!("{FRONT}{body}"))
    }

    #[test]
    fn a_lesson_is_read_whole() {
        let lesson = read(
            "Before.\n\n## Two bakers\n\nProse\n\n```go\ngo bake()\n```\n\n```rust\n//@ shows: spawn main ada\n//@ shows: prints warm\n\nbake();\n```\n\
             ```rust,compile_fail,E0373\nspawn(|| n);\n```\n- a list\n\n```rust,ignore\nno cell\n```\n\n```rust,no_run\nassert!(true);\n```\n",
        )
        .unwrap();
        assert_eq!(
            (
                lesson.name.as_str(),
                lesson.number,
                lesson.title.as_str(),
                lesson.minutes
            ),
            ("07_ovens", 7, "Ovens", 5)
        );
        let got: Vec<(usize, &str, &Role)> = lesson
            .cells
            .iter()
            .map(|cell| (cell.line, cell.text.as_str(), &cell.role))
            .collect();
        let spawn = Fact::parse("spawn main ada").unwrap();
        let prints = Fact::parse("prints warm").unwrap();
        let code = |shows, ending| Role::Code { shows, ending };
        assert_eq!(
            got,
            [
                (6, "Before.", &Role::Prose),
                (
                    8,
                    "## Two bakers\n\nProse\n\n```go\ngo bake()\n```",
                    &Role::Prose
                ),
                (16, "bake();", &code(vec![spawn, prints], Ending::Good)),
                (
                    22,
                    "spawn(|| n);",
                    &code(vec![], Ending::Red("E0373".to_owned()))
                ),
                (25, "- a list\n\n```rust,ignore\nno cell\n```", &Role::Prose),
                (31, "assert!(true);", &code(vec![], Ending::Unsolved)),
            ]
        );
        assert_eq!(lesson.cells[2].heading, "Two bakers");
    }

    #[test]
    fn line_ends_do_not_change_a_lesson() {
        let unix = format!("{FRONT}```rust\nbake();\n```\n");
        let path = Path::new("07_ovens.md");
        assert_eq!(parse(path, &unix), parse(path, &unix.replace('\n', "\r\n")));
    }

    #[test]
    fn malformed_lessons_are_named_by_line() {
        let cell = "```rust\nbake();\n```\n";
        for (name, body, want) in [
            ("no cell", "Only prose.\n".to_owned(), "6: no cell to run"),
            (
                "unclosed fence",
                "a\n\n```rust\nbake();\n".to_owned(),
                "8: this fence is not closed",
            ),
            (
                "unclosed tilde fence",
                "~~~rust\nbake();\n".to_owned(),
                "6: this fence is not closed; write a line ~~~",
            ),
            (
                "no language",
                format!("{cell}```\nx\n```\n"),
                "9: a fence without a language",
            ),
            (
                "unknown attribute",
                "```rust,nightly\nbake();\n```\n".to_owned(),
                "6: `nightly` is not known",
            ),
            (
                "which error",
                "```rust,compile_fail\nbake();\n```\n".to_owned(),
                "6: compile_fail needs the one error",
            ),
            (
                "two attributes",
                "```rust,no_run,should_panic\nbake();\n```\n".to_owned(),
                "6: `no_run,should_panic` is not known",
            ),
            (
                "unknown claim",
                "```rust\n//@ shows: magic\nbake();\n```\n".to_owned(),
                "7: `magic` is no claim",
            ),
            (
                "unknown directive",
                "```rust\n//@ show: lane a\nbake();\n```\n".to_owned(),
                "7: `//@ show: lane a` is not known",
            ),
            (
                "late claim",
                "```rust\nbake();\n//@ shows: lane a\n```\n".to_owned(),
                "8: a claim after the first line",
            ),
            (
                "claim of an unsolved check",
                "```rust,no_run\n//@ shows: lane a\nbake();\n```\n".to_owned(),
                "6: this cell is not executed",
            ),
            (
                "claim of a refused cell",
                "```rust,compile_fail,E0373\n//@ shows: lane a\nbake();\n```\n".to_owned(),
                "6: the compiler refuses",
            ),
            (
                "empty cell",
                "```rust\n```\n".to_owned(),
                "6: a cell without code",
            ),
            (
                "cell in a list",
                "- a\n\n  ```rust\n  bake();\n  ```\n".to_owned(),
                "8: a cell inside a list",
            ),
            (
                "cell in details",
                format!("<details>\n\n{cell}\n</details>\n"),
                "8: a cell inside the <details> of line 6",
            ),
            (
                "open details",
                format!("{cell}<details>\n\nmore\n"),
                "9: <details> is not closed",
            ),
            (
                "closed twice",
                format!("{cell}</details>\n"),
                "9: </details> without",
            ),
        ] {
            let mistakes = read(&body).unwrap_err();
            let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            assert!(
                shown
                    .iter()
                    .any(|line| line.starts_with(&format!("lessons/07_ovens.md:{want}"))),
                "{name}: {shown:?}"
            );
        }
    }

    #[test]
    fn malformed_front_matter_is_named_by_line() {
        let cell = "```rust\nbake();\n```\n";
        for (name, path, front, want) in [
            ("none", "01_a.md", "", "1: no front matter"),
            (
                "not closed",
                "01_a.md",
                "+++\ntitle = \"a\"\n",
                "1: the front matter is not closed",
            ),
            (
                "empty",
                "01_a.md",
                "+++\n+++\n",
                "1: front matter: no title",
            ),
            (
                "no minutes",
                "01_a.md",
                "+++\ntitle = \"a\"\ngoals = [\"b\"]\n+++\n",
                "1: front matter: no minutes",
            ),
            (
                "no time",
                "01_a.md",
                "+++\ntitle = \"a\"\nminutes = 0\ngoals = [\"b\"]\n+++\n",
                "1: front matter: no minutes",
            ),
            (
                "no goals",
                "01_a.md",
                "+++\ntitle = \"a\"\nminutes = 1\ngoals = []\n+++\n",
                "1: front matter: no goals",
            ),
            (
                "bad TOML",
                "01_a.md",
                "+++\ntitle = \"a\"\nminutes = = 1\n+++\n",
                "3: front matter: ",
            ),
            (
                "wrong type",
                "01_a.md",
                "+++\ntitle = \"a\"\nminutes = \"long\"\n+++\n",
                "3: front matter: ",
            ),
            (
                "unknown key",
                "01_a.md",
                "+++\ntitle = \"a\"\nminuts = 1\n+++\n",
                "3: front matter: unknown field `minuts`",
            ),
            (
                "file name",
                "1-a.md",
                FRONT,
                "1: the file's name must be two digits",
            ),
            (
                "file name in capitals",
                "01_A.md",
                FRONT,
                "1: the file's name must be two digits",
            ),
        ] {
            let mistakes = parse(Path::new(path), &format!("{front}{cell}")).unwrap_err();
            let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            assert!(
                shown
                    .iter()
                    .any(|line| line.starts_with(&format!("{path}:{want}"))),
                "{name}: {shown:?}"
            );
        }
    }

    #[test]
    fn any_cut_lesson_gives_mistakes_or_a_lesson_never_a_panic() {
        let whole = format!(
            "{FRONT}## Ö\n\n<details>\n\n> ```rust\n> x\n> ```\n\n</details>\n\n~~~rust,no_run\n//@ shows: lane a\n\n~~~\n[a](b)\n"
        );
        for end in (0..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            for start in (0..end).filter(|start| whole.is_char_boundary(*start)) {
                if let Err(mistakes) = parse(Path::new("01_a.md"), &whole[start..end]) {
                    assert!(
                        mistakes
                            .iter()
                            .all(|mistake| mistake.line <= 30 && !mistake.what.is_empty())
                    );
                }
            }
        }
    }
}
