//! A deadlock, as the prelude reported it by a mark, and how it is told to the learner: who waits for what at which line, by the names of the picture.
//!
//! A mark comes out of the learner's process, which can write what it likes: any text is read without fail, and no more of it is kept than a report can
//! have. What names and lines are is asked of the caller.

use super::sources::CellLine;
use serde_json::Value;

/// How many sentences of a report are kept, how many words of a sentence, and how many characters of a word.
const MOST_SENTENCES: usize = 64;
const MOST_WORDS: usize = 64;
const LONGEST_WORD: usize = 400;
/// How many tasks a heading names.
const MOST_NAMED: usize = 4;

/// What the prelude told about tasks that wait in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// They wait for each other, each for the next. Else all tasks wait.
    ring: bool,
    /// How many tasks are in it; some may have no sentence.
    stuck: u64,
    /// One for each task.
    sentences: Vec<Vec<Word>>,
}

/// A piece of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Text(String),
    /// A task, and the name that the learner gave it.
    Task(u32, Option<String>),
    /// An object, and what the prelude calls it.
    Object(u32, String),
    /// A line of a generated file.
    Place(u32, u32),
}

/// What the reader of a report knows better than its writer.
pub struct Reader<'a> {
    /// The name of a task's lane.
    pub task: &'a dyn Fn(u32) -> Option<String>,
    /// What to call an object: lock `till`.
    pub object: &'a dyn Fn(u32) -> Option<String>,
    /// Where line `line` of file `build` stands.
    pub place: &'a dyn Fn(u32, u32) -> Option<CellLine>,
    /// The number of the cell whose lines need no number.
    pub cell: Option<u32>,
}

impl Report {
    /// Reads a mark; `None` when it is none of a deadlock.
    pub fn parse(json: &str) -> Option<Report> {
        Report::parse_as("deadlock", json)
    }

    /// Reads a mark of what the tasks of an interrupted cell waited for; `None` when it is none.
    pub fn parse_interrupt(json: &str) -> Option<Report> {
        Report::parse_as("interrupted", json)
    }

    fn parse_as(kind: &str, json: &str) -> Option<Report> {
        let mark: Value = serde_json::from_str(json).ok()?;
        if mark["mark"] != kind {
            return None;
        }
        let items = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let sentence = |sentence: &Value| -> Vec<Word> {
            let words = items(sentence).into_iter().take(MOST_WORDS);
            words.filter_map(|word| Word::parse(&word)).collect()
        };
        let sentences = items(&mark["sentences"]);
        let mut sentences: Vec<_> = sentences
            .iter()
            .take(MOST_SENTENCES)
            .map(sentence)
            .filter(|sentence| !sentence.is_empty())
            .collect();
        let ring = mark["ring"].as_bool().unwrap_or(false);
        if ring {
            // Who of a ring closed it is chance; who was made first is not.
            let first = (0..sentences.len()).min_by_key(|at| subject(&sentences[*at]));
            sentences.rotate_left(first.unwrap_or(0));
        }
        Some(Report {
            ring,
            stuck: mark["stuck"]
                .as_u64()
                .unwrap_or(0)
                .max(sentences.len() as u64),
            sentences,
        })
    }

    /// What happened, in one sentence without an end.
    pub fn heading(&self, reader: &Reader<'_>) -> String {
        let names: Vec<String> = self
            .sentences
            .iter()
            .filter_map(|sentence| {
                let task = sentence
                    .iter()
                    .find(|word| matches!(word, Word::Task(..)))?;
                Some(task.tell(reader))
            })
            .collect();
        let all_named = names.len() as u64 == self.stuck && names.len() <= MOST_NAMED;
        match (self.ring, names.as_slice()) {
            (true, [name]) if self.stuck == 1 => format!("{name} waits for itself"),
            (true, [a, b]) if self.stuck == 2 => format!("{a} and {b} wait for each other"),
            (true, [others @ .., last]) if all_named => format!(
                "{} and {last} wait for each other, in a ring",
                others.join(", ")
            ),
            (true, _) => format!("{} tasks wait for each other, in a ring", self.stuck),
            (false, [name]) if self.stuck == 1 => {
                format!("{name} waits, and no task is left that could wake it")
            }
            (false, _) => format!(
                "all {} tasks of the cell wait, and none is left that could wake another",
                self.stuck
            ),
        }
    }

    /// The tasks that are told about.
    pub fn tasks(&self) -> impl Iterator<Item = u32> + '_ {
        self.sentences
            .iter()
            .filter_map(|sentence| subject(sentence))
    }

    /// The whole report as text, for tasks that have outlived their cell: no cell is red by it.
    pub fn as_text(&self, reader: &Reader<'_>) -> String {
        let heading = if self.ring {
            self.heading(reader)
        } else {
            format!(
                "{} tasks wait, and none is left that could wake another",
                self.stuck
            )
        };
        format!(
            "deadlock among tasks of earlier cells: {heading}\n{}\n",
            self.lines(reader).join("\n")
        )
    }

    /// A line for each task, with the line of source where it waits below it, and how many more there are.
    pub fn lines(&self, reader: &Reader<'_>) -> Vec<String> {
        let mut lines = Vec::new();
        for sentence in &self.sentences {
            let told: String = sentence.iter().map(|word| word.tell(reader)).collect();
            lines.push(format!("  {told}"));
            let waits_at = sentence.iter().find_map(|word| match word {
                Word::Place(build, line) => (reader.place)(*build, *line),
                _ => None,
            });
            if let Some(place) = waits_at.filter(|place| !place.text.is_empty()) {
                lines.push(format!("    | {}", place.text));
            }
        }
        let more = self.stuck.saturating_sub(self.sentences.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines
    }

    /// What to do about it.
    pub fn next(&self) -> &'static str {
        match (self.ring, self.stuck) {
            (true, 1) => {
                "to mend it, let the task give back what it has (`drop`) before it waits for it again"
            }
            (true, _) => {
                "to mend it, let all of them take what they need in the same order, or give back what they have before they wait"
            }
            (false, _) => {
                "to mend it, see who should have done what is waited for, and let it be done by a task that does not wait itself"
            }
        }
    }
}

/// The task that a sentence is about.
fn subject(sentence: &[Word]) -> Option<u32> {
    sentence.iter().find_map(|word| match word {
        Word::Task(task, _) => Some(*task),
        _ => None,
    })
}

impl Word {
    fn parse(word: &Value) -> Option<Word> {
        let number = |name: &str| word[name].as_u64().and_then(|n| u32::try_from(n).ok());
        let name = || word["name"].as_str().map(shortened);
        if let Some(text) = word.as_str() {
            Some(Word::Text(shortened(text)))
        } else if let Some(task) = number("task") {
            Some(Word::Task(task, name()))
        } else if let Some(object) = number("object") {
            Some(Word::Object(object, name().unwrap_or_default()))
        } else {
            Some(Word::Place(number("build")?, number("line")?))
        }
    }

    fn tell(&self, reader: &Reader<'_>) -> String {
        match self {
            Word::Text(text) => text.clone(),
            Word::Task(task, named) => match ((reader.task)(*task), named) {
                // The picture's name, which is the same unless the task is too old to be in it. One that is only a number stands without quotes.
                (Some(lane), Some(_)) => format!("`{lane}`"),
                (Some(lane), None) => lane,
                (None, Some(name)) => format!("`{name}`"),
                (None, None) => "a task without a name".into(),
            },
            Word::Object(object, called) => (reader.object)(*object).unwrap_or_else(|| {
                // The place where it was made is one in a generated file, which the learner has never seen.
                let kind = called.split(" made at ").next().unwrap_or_default();
                if kind == called {
                    called.clone()
                } else {
                    format!("a {kind}")
                }
            }),
            Word::Place(build, line) => match (reader.place)(*build, *line) {
                Some(place) if Some(place.cell) == reader.cell => format!("line {}", place.line),
                Some(place) => format!("cell [{}] line {}", place.cell, place.line),
                None => "a place outside of the cells".into(),
            },
        }
    }
}

/// Text of the learner's as it may stand in a traceback: not for ever long, and without a terminal's commands.
fn shortened(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_WORD).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::script::Random;

    fn reader() -> Reader<'static> {
        Reader {
            task: &|task| match task {
                1 => Some("main".into()),
                5 => Some("ada".into()),
                6 => Some("thread 1".into()),
                _ => None,
            },
            object: &|object| (object == 7).then(|| "lock `till`".into()),
            place: &|build, line| {
                (build > 0).then(|| CellLine {
                    cell: build,
                    line,
                    text: format!("text of line {line}"),
                })
            },
            cell: Some(3),
        }
    }

    #[test]
    fn a_report_is_told_with_the_names_of_the_picture() {
        let mark = r#"{"mark":"deadlock","ring":true,"stuck":2,"sentences":[
            [{"task":5,"name":"ada"}," waits for ",{"object":7,"name":"lock made at src/lib.rs:9:1"}," at ",{"build":3,"line":9},", which ",{"task":6}," has since ",{"build":2,"line":4}],
            [{"task":6}," waits for ",{"object":8,"name":"lock made at src/lib.rs:9:1"}," at ",{"build":0,"line":1},", which ",{"task":9,"name":"old"}," has"]]}"#;
        let report = Report::parse(mark).expect("a report");
        assert_eq!(
            report.heading(&reader()),
            "`ada` and thread 1 wait for each other"
        );
        assert_eq!(
            report.lines(&reader()),
            [
                "  `ada` waits for lock `till` at line 9, which thread 1 has since cell [2] line 4",
                "    | text of line 9",
                "  thread 1 waits for a lock at a place outside of the cells, which `old` has",
            ]
        );
    }

    #[test]
    fn a_late_report_is_text() {
        let mark = r#"{"mark":"deadlock","ring":true,"stuck":2,"sentences":[[{"task":9,"name":"grace"}," waits"],[{"task":5,"name":"ada"}," waits"]]}"#;
        let report = Report::parse(mark).expect("a report");
        assert_eq!(report.tasks().collect::<Vec<_>>(), [5, 9]);
        assert_eq!(
            report.as_text(&reader()),
            "deadlock among tasks of earlier cells: `ada` and `grace` wait for each other\n  `ada` waits\n  `grace` waits\n"
        );
    }

    #[test]
    fn headings_say_how_many_there_are() {
        let task = |id: u32, name: &str| format!(r#"[{{"task":{id},"name":"{name}"}}," waits"]"#);
        let four: Vec<String> = (20..24).map(|id| task(id, &format!("t{id}"))).collect();
        for (ring, stuck, sentences, want) in [
            (true, 1, task(1, "main"), "`main` waits for itself"),
            (
                true,
                4,
                four.join(","),
                "`t20`, `t21`, `t22` and `t23` wait for each other, in a ring",
            ),
            (
                true,
                40,
                four.join(","),
                "40 tasks wait for each other, in a ring",
            ),
            (
                false,
                1,
                task(1, "main"),
                "`main` waits, and no task is left that could wake it",
            ),
            (
                false,
                3,
                task(1, "main"),
                "all 3 tasks of the cell wait, and none is left that could wake another",
            ),
            (
                false,
                0,
                String::new(),
                "all 0 tasks of the cell wait, and none is left that could wake another",
            ),
        ] {
            let mark = format!(
                r#"{{"mark":"deadlock","ring":{ring},"stuck":{stuck},"sentences":[{sentences}]}}"#
            );
            let report = Report::parse(&mark).expect("a report");
            assert_eq!(report.heading(&reader()), want);
        }
    }

    #[test]
    fn any_mark_is_read_and_what_is_kept_is_bounded() {
        for odd in ["", "{}", "[1]", r#"{"mark":"panic"}"#, r#"{"mark":3}"#] {
            assert_eq!(Report::parse(odd), None, "{odd}");
        }
        let words = r#""\u001b[31m",{"task":-1},{"task":4294967296},{"task":"x","name":3},{"object":1},{"build":1},null,[[]],"#;
        let long = format!(
            r#"{{"mark":"deadlock","stuck":"many","sentences":[{}["{}"]]}}"#,
            format!("[{}1],3,", words.repeat(50)).repeat(100),
            "x".repeat(5000)
        );
        let report = Report::parse(&long).expect("a report");
        assert!(report.sentences.len() <= MOST_SENTENCES);
        assert!(report.lines(&reader()).concat().len() < 50_000);
        assert!(!report.lines(&reader()).concat().contains('\u{1b}'));
        let whole = r#"{"mark":"deadlock","ring":true,"stuck":2,"sentences":[[{"task":5,"name":"ada"}," waits ",{"build":3,"line":9}]]}"#;
        let mut random = Random::new(9);
        for _ in 0..2000 {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = b"[]{},:\"019-xn"[random.below(13) as usize];
            }
            if let Some(report) = Report::parse(&String::from_utf8_lossy(&bytes)) {
                let _ = (report.heading(&reader()), report.lines(&reader()));
            }
        }
    }
}
