//! The cells that ran in this session and in earlier ones, for `history_request`.
//!
//! What was read from disk is handed in, and what is to be written there is handed out as lines: nothing here touches a file.

use std::collections::{HashSet, VecDeque};

use serde_json::{Value, json};

use super::request::History as Query;
use crate::past::Line;

/// How many cells are kept, the latest.
const KEPT: usize = 10_000;

/// How many bytes of code and output are kept at most.
const KEPT_BYTES: usize = 32 << 20;

struct Entry {
    session: i64,
    execution_count: u32,
    code: String,
    /// The text form of the result, when there was one.
    output: Option<String>,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.code.len() + self.output.as_ref().map_or(0, String::len)
    }
}

/// The cells, oldest first.
pub struct History {
    session: i64,
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl History {
    /// Takes the cells of earlier sessions, oldest first; `session` is the number of this one.
    pub fn new(past: Vec<Line>, session: i64) -> History {
        let mut history = History {
            session,
            entries: VecDeque::new(),
            bytes: 0,
        };
        // Kernels that ran at the same time wrote in turns; a session is told as a whole.
        let mut past = past;
        past.sort_by_key(|line| line.session);
        for line in past {
            match (line.n, line.code, line.output) {
                (Some(n), Some(code), output) => history.push(line.session, n, code, output),
                (Some(n), None, Some(output)) => history.note(line.session, n, output),
                _ => {}
            }
        }
        history
    }

    /// Adds a cell that begins to run; gives the line to write for it.
    pub fn add(&mut self, execution_count: u32, code: String) -> Line {
        self.push(self.session, execution_count, code.clone(), None);
        Line {
            session: self.session,
            n: Some(execution_count),
            code: Some(code),
            output: None,
        }
    }

    /// Notes the result of a cell; gives the line to write for it.
    pub fn set_output(&mut self, execution_count: u32, output: String) -> Line {
        self.note(self.session, execution_count, output.clone());
        Line {
            session: self.session,
            n: Some(execution_count),
            code: None,
            output: Some(output),
        }
    }

    fn push(&mut self, session: i64, execution_count: u32, code: String, output: Option<String>) {
        let entry = Entry {
            session,
            execution_count,
            code,
            output,
        };
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.entries.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
        }
    }

    fn note(&mut self, session: i64, execution_count: u32, output: String) {
        let of_it = |entry: &&mut Entry| {
            (entry.session, entry.execution_count) == (session, execution_count)
        };
        if let Some(entry) = self.entries.iter_mut().rev().find(of_it) {
            self.bytes -= entry.bytes();
            entry.output = Some(output);
            self.bytes += entry.bytes();
        }
    }

    /// Answers a request with rows of session, number and code, or session, number and the pair of code and output.
    pub fn rows(&self, query: &Query) -> Vec<Value> {
        let (found, with_output): (Vec<&Entry>, bool) = match query {
            Query::Tail { n, output } => (last(self.entries.iter().collect(), *n), *output),
            Query::Range {
                session,
                start,
                stop,
                output,
            } => (
                self.within(self.session_of(*session), *start, *stop),
                *output,
            ),
            Query::Search {
                pattern,
                n,
                unique,
                output,
            } => {
                let pattern: Vec<char> = pattern.as_deref().unwrap_or("*").chars().collect();
                let mut found: Vec<&Entry> = self
                    .entries
                    .iter()
                    .filter(|entry| matches(&pattern, &entry.code))
                    .collect();
                if *unique {
                    // The latest of equal cells stays.
                    let mut seen = HashSet::new();
                    found.reverse();
                    found.retain(|entry| seen.insert(&entry.code));
                    found.reverse();
                }
                (last(found, *n), *output)
            }
        };
        let row = |entry: &Entry| match with_output {
            true => json!([
                entry.session,
                entry.execution_count,
                [entry.code, entry.output]
            ]),
            false => json!([entry.session, entry.execution_count, entry.code]),
        };
        found.into_iter().map(row).collect()
    }

    /// The session that a request means: 0 is this one, and a negative number counts back from it, over sessions that ran something.
    fn session_of(&self, number: i64) -> i64 {
        if number > 0 {
            return number;
        }
        let mut earlier: Vec<i64> = self
            .entries
            .iter()
            .map(|entry| entry.session)
            .filter(|&session| session < self.session)
            .collect();
        earlier.dedup();
        let back = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
        match back {
            0 => self.session,
            back => earlier.len().checked_sub(back).map_or(-1, |at| earlier[at]),
        }
    }

    fn within(&self, session: i64, start: i64, stop: Option<i64>) -> Vec<&Entry> {
        let inside = |entry: &&Entry| {
            let number = i64::from(entry.execution_count);
            entry.session == session && number >= start && stop.is_none_or(|stop| number < stop)
        };
        self.entries.iter().filter(inside).collect()
    }
}

fn last(mut entries: Vec<&Entry>, n: Option<usize>) -> Vec<&Entry> {
    let surplus = entries.len().saturating_sub(n.unwrap_or(usize::MAX));
    entries.drain(..surplus);
    entries
}

/// Whether a text fits a pattern in which `*` stands for any characters and `?` for one. Takes time in the product of both lengths at most.
fn matches(pattern: &[char], text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the latest `*` does not fit: one character further in the text.
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern
            .get(p)
            .is_some_and(|&wanted| wanted == '?' || wanted == text[t])
        {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_the_request_names() {
        let line = |session, n, code: &str, output: Option<&str>| Line {
            session,
            n: Some(n),
            code: Some(code.to_owned()).filter(|code| !code.is_empty()),
            output: output.map(str::to_owned),
        };
        // Two kernels at a time, a result that came later, and one whose cell is lost.
        let past = vec![
            line(2, 1, "old", None),
            line(3, 1, "other", None),
            line(2, 1, "", Some("7")),
            line(3, 9, "", Some("8")),
        ];
        let mut history = History::new(past, 5);
        for (number, code) in [(1, "let a = 1;"), (2, "a"), (3, "a + 1"), (4, "a")] {
            history.add(number, code.to_owned());
        }
        history.set_output(2, "1".to_owned());
        assert_eq!(history.bytes, "oldother7let a = 1;aa + 1a1".len());
        let cases = [
            (
                json!({"hist_access_type": "tail", "n": 2}),
                json!([[5, 3, "a + 1"], [5, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "tail", "n": 3, "output": true, "raw": true}),
                json!([
                    [5, 2, ["a", "1"]],
                    [5, 3, ["a + 1", null]],
                    [5, 4, ["a", null]]
                ]),
            ),
            (json!({"hist_access_type": "tail", "n": 0}), json!([])),
            (
                json!({"hist_access_type": "range", "session": 0, "start": 1, "stop": 3}),
                json!([[5, 1, "let a = 1;"], [5, 2, "a"]]),
            ),
            (
                json!({"hist_access_type": "range", "session": -1, "start": 1}),
                json!([[3, 1, "other"]]),
            ),
            (
                json!({"hist_access_type": "range", "session": -2, "start": 1, "output": true}),
                json!([[2, 1, ["old", "7"]]]),
            ),
            (
                json!({"hist_access_type": "range", "session": 3, "start": 1}),
                json!([[3, 1, "other"]]),
            ),
            (
                json!({"hist_access_type": "range", "session": -3, "start": 1}),
                json!([]),
            ),
            (
                json!({"hist_access_type": "range", "session": i64::MIN, "start": i64::MIN}),
                json!([]),
            ),
            (
                json!({"hist_access_type": "tail", "n": 6}),
                json!([
                    [2, 1, "old"],
                    [3, 1, "other"],
                    [5, 1, "let a = 1;"],
                    [5, 2, "a"],
                    [5, 3, "a + 1"],
                    [5, 4, "a"]
                ]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "o*"}),
                json!([[2, 1, "old"], [3, 1, "other"]]),
            ),
            (
                json!({"hist_access_type": "range", "start": 4}),
                json!([[5, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "a*"}),
                json!([[5, 2, "a"], [5, 3, "a + 1"], [5, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "a*", "unique": true}),
                json!([[5, 3, "a + 1"], [5, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "*?1*", "n": 1}),
                json!([[5, 3, "a + 1"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "b*"}),
                json!([]),
            ),
        ];
        for (query, want) in cases {
            let parsed: Query = serde_json::from_value(query.clone()).unwrap();
            assert_eq!(Value::Array(history.rows(&parsed)), want, "{query}");
        }
    }

    #[test]
    fn only_the_latest_cells_are_kept() {
        let mut history = History::new(Vec::new(), 1);
        for number in 1..=KEPT as u32 + 5 {
            history.add(number, String::new());
        }
        assert_eq!(history.entries.len(), KEPT);
        assert_eq!(history.entries[0].execution_count, 6);
        for number in 0..100 {
            history.add(number, "x".repeat(1 << 20));
            history.set_output(number, "y".repeat(1 << 10));
        }
        assert!(history.bytes <= KEPT_BYTES + (1 << 10) && history.entries.len() > 20);
    }
}
