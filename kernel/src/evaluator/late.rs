//! What the tasks of cells that have ended still show: below which cell, how much of it, and that it is said to be late. Pure.

use super::budget::Budget;
use crate::cell::{JobId, MimeBundle};
use std::collections::VecDeque;

/// How many of the latest cells are known.
const MOST: usize = 256;

/// What stands above the late output of a cell.
const NOTE: &str = "after the end of this cell:";

/// The latest cells, oldest first.
#[derive(Debug, Default)]
pub struct Cells {
    /// By the numbers by which the worker counts them.
    numbers: VecDeque<(u64, JobId)>,
    /// Those of which something came after their end.
    late: VecDeque<Late>,
}

#[derive(Debug)]
struct Late {
    job: JobId,
    budget: Option<Budget>,
    told: bool,
}

impl Cells {
    /// The worker begins its cell `number`, for `job`.
    pub fn begin(&mut self, number: u64, job: JobId) {
        self.numbers.retain(|known| known.0 != number);
        if self.numbers.len() == MOST {
            self.numbers.pop_front();
        }
        self.numbers.push_back((number, job));
    }

    /// The job of the worker's cell `number`.
    pub fn job(&self, number: u64) -> Option<JobId> {
        let known = self.numbers.iter().find(|known| known.0 == number);
        known.map(|known| known.1)
    }

    /// The worker is dead: the next counts from the beginning.
    pub fn forget_numbers(&mut self) {
        self.numbers.clear();
    }

    /// Whether nobody has yet been told that output of this job is late; they are now.
    pub fn is_first_late(&mut self, job: JobId) -> bool {
        !std::mem::replace(&mut self.late(job).told, true)
    }

    /// What the job may show after its end: as much as any cell may (`limit`; `u64::MAX`: any number).
    pub fn late_budget(&mut self, job: JobId, limit: u64) -> &mut Budget {
        let new = || Budget::new((limit != u64::MAX).then_some(limit));
        self.late(job).budget.get_or_insert_with(new)
    }

    /// What is to be said of late output that was not shown.
    pub fn accounts(&mut self) -> Vec<(Option<JobId>, String)> {
        let account = |late: &mut Late| Some((Some(late.job), late.budget.as_mut()?.account()?));
        self.late.iter_mut().filter_map(account).collect()
    }

    fn late(&mut self, job: JobId) -> &mut Late {
        let at = self.late.iter().position(|late| late.job == job);
        let at = at.unwrap_or_else(|| {
            if self.late.len() == MOST {
                self.late.pop_front();
            }
            self.late.push_back(Late {
                job,
                budget: None,
                told: false,
            });
            self.late.len() - 1
        });
        &mut self.late[at]
    }
}

/// The line above late output, as something to show: the cell's last text may have ended in the middle of a line.
pub fn note() -> MimeBundle {
    MimeBundle::from_iter([("text/plain".to_owned(), NOTE.into())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_cells_are_known_by_the_workers_numbers() {
        let mut cells = Cells::default();
        assert_eq!(cells.job(1), None);
        for n in 0..1000 {
            cells.begin(n, n + 10);
        }
        assert_eq!((cells.job(999), cells.job(744)), (Some(1009), Some(754)));
        assert_eq!(cells.job(743), None, "too long ago");
        // A copy of the worker counts on from an earlier number.
        cells.begin(998, 2000);
        assert_eq!(cells.job(998), Some(2000));
        cells.forget_numbers();
        assert_eq!(cells.job(998), None);
    }

    #[test]
    fn that_output_is_late_is_said_once_and_it_has_a_budget_of_its_own() {
        let mut cells = Cells::default();
        assert!(cells.is_first_late(7) && !cells.is_first_late(7) && cells.is_first_late(8));
        assert_eq!(cells.late_budget(7, 4).take("abcdef"), "abcd");
        assert_eq!(cells.late_budget(8, u64::MAX).take("abcdef"), "abcdef");
        let accounts = cells.accounts();
        assert_eq!(accounts.len(), 1);
        assert!(accounts[0].0 == Some(7) && accounts[0].1.contains("2 bytes more"));
        assert!(cells.accounts().is_empty(), "once");
        for job in 100..2000 {
            assert!(cells.is_first_late(job));
        }
        assert_eq!(cells.late.len(), MOST);
    }
}
