//! The exercises of a lesson: under each `## Exercise K: title` a stub, a check, three hints and a solution.
//!
//! Pure. Whoever shows hints, brings a stub back or proves a check reads an exercise here, and nobody looks for its parts in the text again.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::body::line_of;
use super::fence::{self, becomes_cell};

/// How many hints an exercise has, each a step further than the one before.
pub const HINTS: usize = 3;

/// One exercise, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exercise {
    /// Lesson and number, such as `07.1`: what stands behind `// exercise:` and `// check:`.
    pub id: String,
    /// What its heading says behind the number.
    pub title: String,
    /// The heading's line in the lesson.
    pub line: usize,
    /// What the learner begins with: it compiles, and its check fails.
    pub stub: Code,
    /// The cell that checks the learner's work; it begins with `// check: 07.1`.
    pub check: Code,
    /// The hints as Markdown, in order, without their `<details>`.
    pub hints: Vec<Prose>,
    /// The solution's code.
    pub solution: Code,
    /// All that is folded under "Solution", as Markdown: the code, and what is said about it.
    pub solution_text: Prose,
}

/// Code with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// The line of its fence.
    pub line: usize,
    /// Its text, without the fence.
    pub text: String,
}

/// Markdown with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prose {
    /// Where its `<details>` stands.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// The id of an exercise cell, `07.1`, when `code` begins with `// exercise: 07.1`.
pub fn exercise_id(code: &str) -> Option<&str> {
    marked(code, "// exercise:")
}

/// The id of the exercise that `code` checks, `07.1`, when it begins with `// check: 07.1`.
pub fn check_id(code: &str) -> Option<&str> {
    marked(code, "// check:")
}

fn marked<'a>(code: &'a str, mark: &str) -> Option<&'a str> {
    let id = code.trim_start().lines().next()?.strip_prefix(mark)?.trim();
    is_id(id).then_some(id)
}

/// Whether a word names an exercise: two digits, a point, a number.
pub fn is_id(word: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    word.split_once('.')
        .is_some_and(|(lesson, number)| lesson.len() == 2 && digits(lesson) && digits(number))
}

/// What is wrong, each with its line.
pub type Gaps = Vec<(usize, String)>;

/// Reads the exercises of lesson `number`, whose body begins at byte `body_at`. What an exercise lacks is told, and such an exercise is left out.
pub fn read(text: &str, body_at: usize, number: u32) -> (Vec<Exercise>, Gaps) {
    let mut walk = Walk {
        text,
        depth: 0,
        heading: None,
        fold: None,
        fence: None,
        sections: Vec::new(),
        gaps: Vec::new(),
    };
    for (event, range) in
        Parser::new_ext(&text[body_at..], Options::ENABLE_TABLES).into_offset_iter()
    {
        walk.step(event, body_at + range.start..body_at + range.end);
    }
    let mut gaps = walk.gaps;
    let exercises = (1..)
        .zip(walk.sections)
        .filter_map(|(place, section)| section.finish(number, place, &mut gaps))
        .collect();
    gaps.sort();
    (exercises, gaps)
}

struct Walk<'a> {
    text: &'a str,
    /// How many lists, quotes, headings, … are open.
    depth: usize,
    /// The line and text of the heading that is being read.
    heading: Option<(usize, String)>,
    /// The `<details>` that is open: its line, its summary, where its content begins.
    fold: Option<(usize, String, usize)>,
    /// The fence that is being read: its line, its words, its code.
    fence: Option<(usize, String, String)>,
    /// A section for each exercise; the last one is open while `in_section`.
    sections: Vec<Section>,
    gaps: Gaps,
}

/// What stands under one heading; `closed` when another heading has followed.
#[derive(Default)]
struct Section {
    line: usize,
    heading: String,
    closed: bool,
    stubs: Vec<Code>,
    checks: Vec<Code>,
    folds: Vec<Fold>,
}

struct Fold {
    summary: String,
    prose: Prose,
    code: Vec<Code>,
}

impl Walk<'_> {
    fn step(&mut self, event: Event<'_>, range: Range<usize>) {
        let line = |text| line_of(text, range.start);
        match event {
            Event::Start(tag) => {
                match tag {
                    Tag::Heading {
                        level: HeadingLevel::H2,
                        ..
                    } if self.depth == 0 => self.heading = Some((line(self.text), String::new())),
                    Tag::CodeBlock(CodeBlockKind::Fenced(info)) => {
                        self.fence = Some((line(self.text), info.to_string(), String::new()));
                    }
                    _ => {}
                }
                self.depth += 1;
            }
            Event::End(tag) => {
                self.depth -= 1;
                match tag {
                    TagEnd::Heading(_) => self.begin_section(),
                    TagEnd::CodeBlock => self.take_fence(),
                    _ => {}
                }
            }
            Event::Html(html) | Event::InlineHtml(html) => self.fold(&html, range.start),
            Event::Text(part) | Event::Code(part) => {
                if let Some((_, _, code)) = &mut self.fence {
                    code.push_str(&part);
                } else if let Some((_, heading)) = &mut self.heading {
                    heading.push_str(&part);
                }
            }
            _ => {}
        }
    }

    fn begin_section(&mut self) {
        let Some((line, heading)) = self.heading.take() else {
            return;
        };
        if let Some(section) = self.sections.last_mut() {
            section.closed = true;
        }
        if heading
            .split_whitespace()
            .next()
            .is_some_and(|word| word.trim_end_matches(':') == "Exercise")
        {
            self.sections.push(Section {
                line,
                heading,
                ..Section::default()
            });
        }
    }

    fn take_fence(&mut self) {
        let Some((line, info, code)) = self.fence.take() else {
            return;
        };
        let mut words = info.split(',').map(str::trim);
        let is_rust = words.next() == Some("rust");
        let unsolved = words.clone().any(|word| word == "no_run");
        let code = Code {
            line,
            text: fence::source(&code),
        };
        let section = self.sections.last_mut().filter(|section| !section.closed);
        let is_exercise = code.text.starts_with("// exercise");
        match section {
            Some(section) if self.fold.is_some() => {
                // Kept until the fold is closed.
                if is_rust && let Some(fold) = section.folds.last_mut() {
                    fold.code.push(code);
                }
            }
            Some(section) if unsolved => section.checks.push(code),
            Some(section) if becomes_cell(&info) && is_exercise => section.stubs.push(code),
            None if is_rust && (unsolved || is_exercise) => self.gaps.push((
                line,
                "this cell belongs to an exercise and stands under none; write a heading `## Exercise 1: title` above it".to_owned(),
            )),
            _ => {}
        }
    }

    fn fold(&mut self, html: &str, at: usize) {
        let mut marks: Vec<(usize, bool)> = html
            .match_indices("<details")
            .map(|(place, _)| (place, true))
            .chain(
                html.match_indices("</details>")
                    .map(|(place, _)| (place, false)),
            )
            .collect();
        marks.sort_unstable();
        for (place, opens) in marks {
            let Some(section) = self.sections.last_mut().filter(|section| !section.closed) else {
                continue;
            };
            if opens {
                let rest = &html[place..];
                let summary = rest
                    .split_once("<summary>")
                    .and_then(|(_, rest)| rest.split_once("</summary>"));
                let (summary, after) = summary
                    .map_or((String::new(), html.len()), |(text, rest)| {
                        (text.trim().to_owned(), html.len() - rest.len())
                    });
                let line = line_of(self.text, at + place);
                self.fold = Some((line, summary.clone(), at + after));
                section.folds.push(Fold {
                    summary,
                    prose: Prose {
                        line,
                        text: String::new(),
                    },
                    code: Vec::new(),
                });
            } else if let Some((_, _, begins)) = self.fold.take()
                && let Some(fold) = section.folds.last_mut()
            {
                fold.prose.text = self.text[begins..at + place].trim().to_owned();
            }
        }
    }
}

impl Section {
    /// The exercise, if it is whole. `place` is its place among the lesson's exercises, from 1.
    fn finish(mut self, lesson: u32, place: usize, gaps: &mut Gaps) -> Option<Exercise> {
        let before = gaps.len();
        let id = format!("{lesson:02}.{place}");
        let title = self.title(place, gaps);
        let stub = only(
            std::mem::take(&mut self.stubs),
            self.line,
            "stub",
            gaps,
            || format!("no stub; write a fence ```rust whose first line is `// exercise: {id}`"),
        );
        let check = only(
            std::mem::take(&mut self.checks),
            self.line,
            "check",
            gaps,
            || {
                format!(
                    "no check; write a fence ```rust,no_run whose first line is `// check: {id}`"
                )
            },
        );
        if let Some(stub) = &stub
            && exercise_id(&stub.text) != Some(&id)
        {
            gaps.push((
                stub.line,
                format!("the first line of this stub should be `// exercise: {id}`"),
            ));
        }
        if let Some(check) = &check {
            if check_id(&check.text) != Some(&id) {
                gaps.push((
                    check.line,
                    format!("the first line of this check should be `// check: {id}`"),
                ));
            }
            if !["check!(", "assert!(", "assert_eq!(", "assert_ne!("]
                .iter()
                .any(|call| check.text.contains(call))
            {
                gaps.push((
                    check.line,
                    "this check asks for nothing; call `check!` or `assert!` in it".to_owned(),
                ));
            }
            if let Some(stub) = &stub
                && stub.line > check.line
            {
                gaps.push((
                    check.line,
                    format!(
                        "the check stands before the stub of line {}; put it behind",
                        stub.line
                    ),
                ));
            }
        }
        let (hints, others): (Vec<Fold>, Vec<Fold>) = self
            .folds
            .into_iter()
            .partition(|fold| fold.summary.starts_with("Hint"));
        for (number, hint) in (1..).zip(&hints) {
            if hint.summary != format!("Hint {number}") {
                gaps.push((
                    hint.prose.line,
                    format!("`{}` should be `Hint {number}`", hint.summary),
                ));
            } else if hint.prose.text.is_empty() {
                gaps.push((hint.prose.line, format!("hint {number} says nothing")));
            }
        }
        if hints.len() != HINTS {
            gaps.push((
                hints.last().map_or(self.line, |hint| hint.prose.line),
                format!(
                    "the exercise has {} hints, and learners are promised {HINTS}; write each as `<details><summary>Hint 1</summary>`, an empty line, the hint, `</details>`",
                    hints.len()
                ),
            ));
        }
        let (code, prose) = solution(others, self.line, gaps)?;
        (gaps.len() == before).then_some(())?;
        Some(Exercise {
            id,
            title: title?,
            line: self.line,
            stub: stub?,
            check: check?,
            hints: hints.into_iter().map(|hint| hint.prose).collect(),
            solution: code,
            solution_text: prose,
        })
    }

    fn title(&self, place: usize, gaps: &mut Gaps) -> Option<String> {
        let title = self
            .heading
            .strip_prefix(&format!("Exercise {place}:"))
            .map(str::trim)
            .filter(|title| !title.is_empty());
        if title.is_none() {
            gaps.push((
                self.line,
                format!("the heading `{}` should be `Exercise {place}: title`; exercises are numbered in order from 1", self.heading),
            ));
        }
        title.map(str::to_owned)
    }
}

/// The one of its kind; tells when there is none, or more than one.
fn only(
    mut found: Vec<Code>,
    heading: usize,
    kind: &str,
    gaps: &mut Gaps,
    none: impl Fn() -> String,
) -> Option<Code> {
    match found.as_slice() {
        [] => gaps.push((heading, none())),
        [first, second, ..] => gaps.push((
            second.line,
            format!(
                "a second {kind}; there is one in line {} already, and an exercise has one",
                first.line
            ),
        )),
        [_] => return found.pop(),
    }
    None
}

fn solution(folds: Vec<Fold>, heading: usize, gaps: &mut Gaps) -> Option<(Code, Prose)> {
    let mut solutions = folds
        .into_iter()
        .filter(|fold| fold.summary.starts_with("Solution"));
    let Some(mut solution) = solutions.next() else {
        gaps.push((
            heading,
            "no solution; write `<details><summary>Solution</summary>`, an empty line, a fence ```rust,ignore and `</details>`"
                .to_owned(),
        ));
        return None;
    };
    if let Some(second) = solutions.next() {
        gaps.push((
            second.prose.line,
            "a second solution; put it into the proof, as another `## Right:`".to_owned(),
        ));
    }
    match solution.code.as_slice() {
        [_] => Some((solution.code.remove(0), solution.prose)),
        [] => {
            gaps.push((
                solution.prose.line,
                "the solution has no code; write it between ```rust,ignore and ```".to_owned(),
            ));
            None
        }
        [_, second, ..] => {
            gaps.push((
                second.line,
                "a second fence of Rust in the solution; what a learner should take is one"
                    .to_owned(),
            ));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exercise, Gaps, check_id, exercise_id, read};

    const WHOLE: &str = "Prose.\n\n## Exercise 1: together\n\nDo it.\n\n```rust\n// exercise: 07.1\nfn f() {}\n```\n\nRun it.\n\n\
        ```rust,no_run\n// check: 07.1\ncheck!(f() => ());\n```\n\n<details><summary>Hint 1</summary>\n\nOne.\n\n</details>\n\
        <details><summary>Hint 2</summary>\n\nTwo `a`.\n\n```rust,ignore\na();\n```\n\n</details>\n<details><summary>Hint 3</summary>\n\nThree.\n\n</details>\n\
        <details><summary>Solution</summary>\n\nSo:\n\n```rust,ignore\nfn f() { g() }\n```\n\nAnd why.\n\n</details>\n";

    fn exercises(text: &str) -> (Vec<Exercise>, Gaps) {
        read(text, 0, 7)
    }

    #[test]
    fn an_exercise_is_read_whole() {
        let (found, gaps) = exercises(&format!(
            "{WHOLE}\n## What comes next\n\n<details><summary>Hint 1</summary>\n\nx\n\n</details>\n"
        ));
        assert_eq!(gaps, []);
        let [exercise] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            (exercise.id.as_str(), exercise.title.as_str(), exercise.line),
            ("07.1", "together", 3)
        );
        assert_eq!(
            (exercise.stub.line, exercise.stub.text.as_str()),
            (7, "// exercise: 07.1\nfn f() {}")
        );
        assert_eq!(
            (exercise.check.line, exercise.check.text.as_str()),
            (14, "// check: 07.1\ncheck!(f() => ());")
        );
        let hints: Vec<(usize, &str)> = exercise
            .hints
            .iter()
            .map(|hint| (hint.line, hint.text.as_str()))
            .collect();
        assert_eq!(
            hints,
            [
                (19, "One."),
                (24, "Two `a`.\n\n```rust,ignore\na();\n```"),
                (33, "Three.")
            ]
        );
        assert_eq!(
            (exercise.solution.line, exercise.solution.text.as_str()),
            (42, "fn f() { g() }")
        );
        assert_eq!(
            exercise.solution_text.text,
            "So:\n\n```rust,ignore\nfn f() { g() }\n```\n\nAnd why."
        );
    }

    #[test]
    fn two_exercises_are_told_apart() {
        let second = WHOLE
            .replace("Exercise 1", "Exercise 2")
            .replace("07.1", "07.2");
        let (found, gaps) = exercises(&format!("{WHOLE}\n{second}"));
        assert_eq!(gaps, []);
        let ids: Vec<&str> = found.iter().map(|exercise| exercise.id.as_str()).collect();
        assert_eq!(ids, ["07.1", "07.2"]);
    }

    #[test]
    fn what_is_missing_or_malformed_is_told_with_its_line() {
        let cut = |from: &str, to: &str| {
            let (start, end) = (WHOLE.find(from).unwrap(), WHOLE.find(to).unwrap());
            format!("{}{}", &WHOLE[..start], &WHOLE[end..])
        };
        for (name, text, line, want) in [
            ("no stub", cut("```rust\n//", "Run it."), 3, "no stub"),
            ("no check", cut("```rust,no_run", "<details><summary>Hint 1"), 3, "no check"),
            ("stub of another", WHOLE.replace("exercise: 07.1", "exercise: 06.1"), 7, "should be `// exercise: 07.1`"),
            ("check of another", WHOLE.replace("check: 07.1", "check: 07.2"), 14, "should be `// check: 07.1`"),
            ("check without a name", WHOLE.replace("// check: 07.1\n", ""), 14, "should be `// check: 07.1`"),
            ("check that asks nothing", WHOLE.replace("check!(f() => ())", "f()"), 14, "asks for nothing"),
            ("no third hint", cut("<details><summary>Hint 3", "<details><summary>Solution"), 24, "has 2 hints"),
            ("hints out of order", WHOLE.replace("Hint 2", "Hint 4"), 24, "`Hint 4` should be `Hint 2`"),
            ("an empty hint", WHOLE.replace("Three.\n\n", ""), 33, "hint 3 says nothing"),
            ("no solution", WHOLE.replace("<summary>Solution", "<summary>Answer"), 3, "no solution"),
            ("solution without code", WHOLE.replace("```rust,ignore\nfn f() { g() }\n```", "by yourself"), 38, "has no code"),
            ("number", WHOLE.replace("Exercise 1", "Exercise 2"), 3, "`Exercise 2: together` should be `Exercise 1: title`"),
            ("no title", WHOLE.replace(": together", ""), 3, "should be `Exercise 1: title`"),
            ("under no heading", WHOLE.replace("Exercise 1:", "An exercise:"), 7, "stands under none"),
            ("check before the stub", WHOLE.replace("rust\n// exercise", "x\n// exercise").replace("</details>\n<details><summary>Sol", "</details>\n\n```rust\n// exercise: 07.1\nfn f() {}\n```\n\n<details><summary>Sol"), 14, "before the stub of line 39"),
            ("two stubs", WHOLE.replace("Run it.", "```rust\n// exercise: 07.1\nfn f() {}\n```\n"), 12, "a second stub"),
        ] {
            let (found, gaps) = exercises(&text);
            assert!(gaps.iter().any(|(at, what)| *at == line && what.contains(want)), "{name}: {gaps:?}");
            assert_eq!(found, [], "{name}");
        }
    }

    #[test]
    fn cells_are_known_by_their_first_line() {
        for (code, exercise, check) in [
            ("// exercise: 07.1\nfn f() {}", Some("07.1"), None),
            ("\n// check: 12.34\nf();", None, Some("12.34")),
            ("fn f() {}\n// exercise: 07.1", None, None),
            ("// exercise: seven", None, None),
            ("// check: 7.1", None, None),
            ("", None, None),
        ] {
            assert_eq!(
                (exercise_id(code), check_id(code)),
                (exercise, check),
                "{code}"
            );
        }
    }
}
