//! How many tests passed and how many failed, as their own tools say it at their end.

use std::ops::AddAssign;

/// Two counts. A part without tests of its own, such as a build, counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

impl Tally {
    pub const PASSED: Tally = Tally {
        passed: 1,
        failed: 0,
    };
    pub const FAILED: Tally = Tally {
        passed: 0,
        failed: 1,
    };

    /// Sums the `test result: ok. 3 passed; 0 failed; …` lines of `cargo test`.
    pub fn of_cargo(output: &str) -> Tally {
        let mut sum = Tally::default();
        for line in output.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                sum.passed += before(result, "passed");
                sum.failed += before(result, "failed");
            }
        }
        sum
    }

    /// Reads the last line of `pytest -q`: `1 failed, 12 passed, 1 error in 3.10s`.
    pub fn of_pytest(output: &str) -> Tally {
        let last = output
            .lines()
            .rev()
            .find(|line| {
                line.contains(" in ")
                    && line
                        .trim_end_matches([')', '=', ' '])
                        .ends_with(|c: char| c == 's' || c.is_ascii_digit())
            })
            .unwrap_or("");
        Tally {
            passed: before(last, "passed"),
            failed: before(last, "failed") + before(last, "error"),
        }
    }

    /// Reads the `# pass 3` and `# fail 0` lines at the end of node's TAP report.
    pub fn of_tap(output: &str) -> Tally {
        let count = |word: &str| {
            output
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix(word)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Tally {
            passed: count("# pass "),
            failed: count("# fail "),
        }
    }

    /// What the line of a part says when all is well: nothing for a part that has no tests to count.
    pub fn said(self) -> String {
        if self == Tally::PASSED {
            String::new()
        } else {
            format!("{} passed", self.passed)
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// The number that stands before a word which begins with `word`; 0 when there is none.
fn before(line: &str, word: &str) -> usize {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .windows(2)
        .find(|pair| pair[1].starts_with(word))
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_the_tools_print() {
        let tally = |passed, failed| Tally { passed, failed };
        for (name, got, want) in [
            (
                "cargo, several binaries",
                Tally::of_cargo(
                    "test a ... ok\ntest result: ok. 3 passed; 0 failed; 0 ignored\n\ntest result: FAILED. 4 passed; 2 failed; 0 ignored\n",
                ),
                tally(7, 2),
            ),
            (
                "cargo, text of a test",
                Tally::of_cargo("9 passed\n"),
                tally(0, 0),
            ),
            (
                "pytest, all well",
                Tally::of_pytest("...\n3 passed in 0.02s\n"),
                tally(3, 0),
            ),
            (
                "pytest, slow",
                Tally::of_pytest("3 passed, 2 warnings in 63.02s (0:01:03)\n"),
                tally(3, 0),
            ),
            (
                "pytest, failures and errors",
                Tally::of_pytest("FAILED x - 5 passed\n1 failed, 12 passed, 2 errors in 3.10s\n"),
                tally(12, 3),
            ),
            ("pytest, cut off", Tally::of_pytest("..."), tally(0, 0)),
            (
                "tap",
                Tally::of_tap("ok 1 - a\n# tests 3\n# pass 2\n# fail 1\n# duration_ms 3\n"),
                tally(2, 1),
            ),
        ] {
            assert_eq!(got, want, "{name}");
        }
    }
}
