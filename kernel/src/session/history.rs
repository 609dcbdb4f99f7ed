//! The cells that ran in this session, for `history_request`. Kept in memory only: a notebook keeps its own cells.

use std::collections::{HashSet, VecDeque};

use serde_json::{Value, json};

use super::request::History as Query;

/// How many cells are kept, the latest.
const KEPT: usize = 10_000;

/// The number that history gives to this session. Jupyter counts them over all starts of a kernel; one that forgets has only ever had one.
const THIS_SESSION: i64 = 1;

struct Entry {
    execution_count: u32,
    code: String,
    /// The text form of the result, when there was one.
    output: Option<String>,
}

/// The cells, oldest first.
#[derive(Default)]
pub struct History {
    entries: VecDeque<Entry>,
}

impl History {
    /// Adds a cell that begins to run.
    pub fn add(&mut self, execution_count: u32, code: String) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            execution_count,
            code,
            output: None,
        });
    }

    /// Notes the result of a cell.
    pub fn set_output(&mut self, execution_count: u32, output: String) {
        if let Some(entry) = self
            .entries
            .iter_mut()
            .rev()
            .find(|entry| entry.execution_count == execution_count)
        {
            entry.output = Some(output);
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
            } => {
                // 0 is this session, and a negative number counts back from it.
                let entries = if [0, THIS_SESSION].contains(session) {
                    self.within(*start, *stop)
                } else {
                    Vec::new()
                };
                (entries, *output)
            }
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
                THIS_SESSION,
                entry.execution_count,
                [entry.code, entry.output]
            ]),
            false => json!([THIS_SESSION, entry.execution_count, entry.code]),
        };
        found.into_iter().map(row).collect()
    }

    fn within(&self, start: i64, stop: Option<i64>) -> Vec<&Entry> {
        let inside = |entry: &&Entry| {
            let number = i64::from(entry.execution_count);
            number >= start && stop.is_none_or(|stop| number < stop)
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
        let mut history = History::default();
        for (number, code) in [(1, "let a = 1;"), (2, "a"), (3, "a + 1"), (4, "a")] {
            history.add(number, code.to_owned());
        }
        history.set_output(2, "1".to_owned());
        let cases = [
            (
                json!({"hist_access_type": "tail", "n": 2}),
                json!([[1, 3, "a + 1"], [1, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "tail", "n": 3, "output": true, "raw": true}),
                json!([
                    [1, 2, ["a", "1"]],
                    [1, 3, ["a + 1", null]],
                    [1, 4, ["a", null]]
                ]),
            ),
            (json!({"hist_access_type": "tail", "n": 0}), json!([])),
            (
                json!({"hist_access_type": "range", "session": 0, "start": 1, "stop": 3}),
                json!([[1, 1, "let a = 1;"], [1, 2, "a"]]),
            ),
            (
                json!({"hist_access_type": "range", "session": -1, "start": 1}),
                json!([]),
            ),
            (
                json!({"hist_access_type": "range", "start": 4}),
                json!([[1, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "a*"}),
                json!([[1, 2, "a"], [1, 3, "a + 1"], [1, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "a*", "unique": true}),
                json!([[1, 3, "a + 1"], [1, 4, "a"]]),
            ),
            (
                json!({"hist_access_type": "search", "pattern": "*?1*", "n": 1}),
                json!([[1, 3, "a + 1"]]),
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
        let mut history = History::default();
        (1..=KEPT as u32 + 5).for_each(|number| history.add(number, String::new()));
        assert_eq!(history.entries.len(), KEPT);
        assert_eq!(history.entries[0].execution_count, 6);
    }
}
