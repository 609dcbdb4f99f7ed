//! The proof of a lesson's exercises, `NN_topic.proof.md`: solutions that their checks must let pass, and solutions that they must not.
//!
//! Never shown to learners. `# 07.1` begins the proof of an exercise; `## Right: …` and `## Wrong: …` hold one fence of Rust each, and a wrong one begins
//! with `//@ fails: words`, which must stand in what its check says.

use std::ops::Range;
use std::path::Path;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::Mistake;
use super::body::{line_of, unclosed};
use super::exercise::{Code, is_id};
use super::fence;

/// The fewest right solutions that a proof holds for an exercise, besides the one of the lesson.
const FEWEST_RIGHT: usize = 1;
/// The fewest wrong solutions.
const FEWEST_WRONG: usize = 3;
/// How the line begins that says what a wrong solution's check says.
const FAILS: &str = "//@ fails:";

/// What proves one exercise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// The exercise, such as `07.1`.
    pub id: String,
    /// The line of its heading.
    pub line: usize,
    /// Solutions that pass, each of another design than the lesson's.
    pub right: Vec<Attempt>,
    /// Solutions that compile and fail.
    pub wrong: Vec<Attempt>,
}

/// One solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// What it does, in the words of its heading.
    pub title: String,
    /// Its code.
    pub code: Code,
    /// What its check must say; `None` for a right one.
    pub fails: Option<String>,
}

/// Reads one file of proofs. `Err` holds every mistake, in order.
pub fn parse_proof(path: &Path, text: &str) -> Result<Vec<Proof>, Vec<Mistake>> {
    let text = text.replace("\r\n", "\n");
    let mut walk = Walk {
        text: &text,
        heading: None,
        fence: None,
        part: None,
        proofs: Vec::new(),
        mistakes: Vec::new(),
    };
    for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
        walk.step(event, &range);
    }
    walk.close_part();
    let Walk {
        proofs,
        mut mistakes,
        ..
    } = walk;
    too_few(&proofs, &mut mistakes);
    if mistakes.is_empty() {
        return Ok(proofs);
    }
    mistakes.sort();
    Err(mistakes
        .into_iter()
        .map(|(line, what)| Mistake {
            file: path.to_owned(),
            line,
            what,
        })
        .collect())
}

fn too_few(proofs: &[Proof], mistakes: &mut Vec<(usize, String)>) {
    for proof in proofs {
        for (kind, found, fewest) in [
            ("Right", proof.right.len(), FEWEST_RIGHT),
            ("Wrong", proof.wrong.len(), FEWEST_WRONG),
        ] {
            if found < fewest {
                mistakes.push((
                    proof.line,
                    format!(
                        "{} has {found} `## {kind}:` solutions, and needs {fewest} at least",
                        proof.id
                    ),
                ));
            }
        }
    }
}

/// A `## Right:` or `## Wrong:` that is being read.
struct Part {
    line: usize,
    right: bool,
    title: String,
    codes: usize,
}

struct Walk<'a> {
    text: &'a str,
    heading: Option<(HeadingLevel, usize, String)>,
    fence: Option<(Range<usize>, String, String)>,
    part: Option<Part>,
    proofs: Vec<Proof>,
    mistakes: Vec<(usize, String)>,
}

impl Walk<'_> {
    fn step(&mut self, event: Event<'_>, range: &Range<usize>) {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                self.heading = Some((level, line_of(self.text, range.start), String::new()));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) => {
                self.fence = Some((range.clone(), info.to_string(), String::new()));
            }
            Event::Text(part) | Event::Code(part) => {
                if let Some((_, _, code)) = &mut self.fence {
                    code.push_str(&part);
                } else if let Some((_, _, heading)) = &mut self.heading {
                    heading.push_str(&part);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                if let Some((level, line, text)) = self.heading.take() {
                    self.begin(level, line, text.trim());
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                if let Some((range, info, code)) = self.fence.take() {
                    self.take(&range, &info, &code);
                }
            }
            _ => {}
        }
    }

    fn mistake(&mut self, line: usize, what: impl Into<String>) {
        self.mistakes.push((line, what.into()));
    }

    fn begin(&mut self, level: HeadingLevel, line: usize, text: &str) {
        match level {
            HeadingLevel::H1 => {
                self.close_part();
                if !is_id(text) {
                    self.mistake(
                        line,
                        format!("`# {text}` should name an exercise, such as `# 07.1`"),
                    );
                }
                if let Some(first) = self.proofs.iter().find(|proof| proof.id == text) {
                    let first = first.line;
                    self.mistake(
                        line,
                        format!(
                            "{text} is proven from line {first} on already; put the two together"
                        ),
                    );
                }
                self.proofs.push(Proof {
                    id: text.to_owned(),
                    line,
                    ..Proof::default()
                });
            }
            HeadingLevel::H2 => {
                self.close_part();
                if self.proofs.is_empty() {
                    self.mistake(line, "no exercise was named before; write `# 07.1` above");
                }
                let (kind, title) = text.split_once(':').unwrap_or((text, ""));
                let title = title.trim();
                if !matches!(kind, "Right" | "Wrong") || title.is_empty() {
                    self.mistake(line, format!("`## {text}` should be `## Right: what it does` or `## Wrong: what it does`"));
                }
                self.part = Some(Part {
                    line,
                    right: kind == "Right",
                    title: title.to_owned(),
                    codes: 0,
                });
            }
            _ => {}
        }
    }

    fn close_part(&mut self) {
        if let Some(part) = self.part.take()
            && part.codes != 1
        {
            self.mistake(
                part.line,
                format!(
                    "`{}` has {} fences of Rust, and must have one",
                    part.title, part.codes
                ),
            );
        }
    }

    fn take(&mut self, range: &Range<usize>, info: &str, code: &str) {
        let line = line_of(self.text, range.start);
        if let Some(mark) = unclosed(self.text, range) {
            self.mistake(
                line,
                format!("this fence is not closed; write a line {mark} after its last line"),
            );
        }
        let mut words = info.split(',').map(str::trim);
        if words.next() != Some("rust") {
            return;
        }
        if words.next().is_some() {
            self.mistake(
                line,
                format!("`{info}` should be `rust`: every solution of a proof is run"),
            );
        }
        let Some(part) = &mut self.part else {
            self.mistake(
                line,
                "this solution stands under no `## Right: …` or `## Wrong: …`",
            );
            return;
        };
        part.codes += 1;
        let (right, title) = (part.right, part.title.clone());
        let fails = self.fails(line, right, code);
        let attempt = Attempt {
            title,
            code: Code {
                line,
                text: fence::source(code),
            },
            fails,
        };
        if attempt.code.text.is_empty() {
            self.mistake(line, "a solution without code");
        }
        if let Some(proof) = self.proofs.last_mut() {
            let list = if right {
                &mut proof.right
            } else {
                &mut proof.wrong
            };
            list.push(attempt);
        }
    }

    /// The words after `//@ fails:`, which a wrong solution has in its first line, and nothing else has.
    fn fails(&mut self, fence: usize, right: bool, code: &str) -> Option<String> {
        let mut fails = None;
        for (line, text) in (fence + 1..).zip(code.lines()) {
            let text = text.trim_start();
            if !text.starts_with("//@") {
                continue;
            }
            match text.strip_prefix(FAILS).map(str::trim) {
                _ if right => {
                    self.mistake(line, "a right solution fails by nothing; remove this line");
                }
                Some(words) if !words.is_empty() && line == fence + 1 => {
                    fails = Some(words.to_owned());
                }
                Some(_) => self.mistake(
                    line,
                    format!(
                        "write `{FAILS} words` as the first line, with words that its check says"
                    ),
                ),
                None => self.mistake(
                    line,
                    format!("`{text}` is not known here; write `{FAILS} words`"),
                ),
            }
        }
        if !right && fails.is_none() {
            self.mistake(fence, format!("a wrong solution must say what it fails by; begin it with `{FAILS} words`, the words of the fact that does not hold"));
        }
        fails
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Attempt, Proof, parse_proof};
    use crate::lessons::Mistake;

    const WHOLE: &str = "# 07.1\n\nProse.\n\n## Right: two channels\n\n```rust\nfn f() {}\n```\n\n## Wrong: one thread\n\n```rust\n//@ fails: two tasks\nfn f() { g() }\n```\n\
        ## Wrong: b\n\n```rust\n//@ fails: x\nfn b() {}\n```\n\n## Wrong: c\n\n```rust\n//@ fails: x\nfn c() {}\n```\n";

    fn read(text: &str) -> Result<Vec<Proof>, Vec<Mistake>> {
        parse_proof(Path::new("lessons/07_a.proof.md"), text)
    }

    #[test]
    fn a_proof_is_read_whole() {
        let proofs = read(WHOLE).unwrap();
        let [proof] = proofs.as_slice() else {
            panic!("{proofs:?}")
        };
        assert_eq!(
            (
                proof.id.as_str(),
                proof.line,
                proof.right.len(),
                proof.wrong.len()
            ),
            ("07.1", 1, 1, 3)
        );
        let Attempt { title, code, fails } = &proof.wrong[0];
        assert_eq!(
            (
                title.as_str(),
                code.line,
                code.text.as_str(),
                fails.as_deref()
            ),
            ("one thread", 13, "fn f() { g() }", Some("two tasks"))
        );
        assert_eq!(
            (proof.right[0].title.as_str(), &proof.right[0].fails),
            ("two channels", &None)
        );
        assert_eq!(read(&WHOLE.replace('\n', "\r\n")).unwrap(), proofs);
    }

    #[test]
    fn a_malformed_proof_is_named_by_line() {
        for (name, text, want) in [
            (
                "what exercise",
                WHOLE.replace("# 07.1", "# Seven"),
                "1: `# Seven` should name an exercise",
            ),
            (
                "no exercise",
                WHOLE.replace("# 07.1", ""),
                "5: no exercise was named",
            ),
            (
                "twice",
                format!("{WHOLE}\n{WHOLE}"),
                "31: 07.1 is proven from line 1 on already",
            ),
            (
                "neither",
                WHOLE.replace("## Right:", "## Maybe:"),
                "5: `## Maybe: two channels` should be",
            ),
            (
                "no title",
                WHOLE.replace("## Right: two channels", "## Right"),
                "5: `## Right` should be",
            ),
            (
                "no words",
                WHOLE.replace("//@ fails: two tasks\n", ""),
                "13: a wrong solution must say",
            ),
            (
                "empty words",
                WHOLE.replace("//@ fails: two tasks", "//@ fails:"),
                "14: write `//@ fails: words`",
            ),
            (
                "right that fails",
                WHOLE.replace("fn f() {}", "//@ fails: x\nfn f() {}"),
                "8: a right solution fails by nothing",
            ),
            (
                "other directive",
                WHOLE.replace("//@ fails: two", "//@ shows: two"),
                "14: `//@ shows: two tasks` is not known here",
            ),
            (
                "not run",
                WHOLE.replacen("```rust", "```rust,ignore", 1),
                "7: `rust,ignore` should be `rust`",
            ),
            (
                "no code",
                WHOLE.replacen("```rust\nfn f() {}\n```", "", 1),
                "5: `two channels` has 0 fences",
            ),
            (
                "two fences",
                WHOLE.replacen(
                    "```rust\nfn f() {}\n```",
                    "```rust\nfn f() {}\n```\n```rust\nfn g() {}\n```",
                    1,
                ),
                "5: `two channels` has 2 fences",
            ),
            (
                "unclosed",
                WHOLE.trim_end().trim_end_matches('`').to_owned(),
                "26: this fence is not closed",
            ),
            (
                "two wrong ones",
                WHOLE[..WHOLE.find("## Wrong: c").unwrap()].to_owned(),
                "1: 07.1 has 2 `## Wrong:` solutions, and needs 3",
            ),
            (
                "no right one",
                WHOLE
                    .replace("## Right:", "## Wrong:")
                    .replace("fn f() {}", "//@ fails: x\nfn f() {}"),
                "1: 07.1 has 0 `## Right:`",
            ),
        ] {
            let shown: Vec<String> = read(&text)
                .unwrap_err()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert!(
                shown
                    .iter()
                    .any(|line| line.starts_with(&format!("lessons/07_a.proof.md:{want}"))),
                "{name}: {shown:?}"
            );
        }
    }

    #[test]
    fn any_cut_proof_gives_mistakes_or_a_proof_never_a_panic() {
        for end in 0..=WHOLE.len() {
            for start in 0..end {
                if let Err(mistakes) = read(&WHOLE[start..end]) {
                    assert!(
                        mistakes
                            .iter()
                            .all(|mistake| mistake.line <= 31 && !mistake.what.is_empty())
                    );
                }
            }
        }
    }
}
