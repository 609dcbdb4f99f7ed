//! What is seen in a terminal while lessons are proven: a line for each kernel that is at work, and one that stays for each lesson that is done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::lessons::News;

/// The lines. Where there is no terminal, only those that stay are written.
#[derive(Debug, Default)]
pub struct Board {
    lines: MultiProgress,
    workers: Mutex<BTreeMap<usize, ProgressBar>>,
}

impl Board {
    /// Shows what there is to tell.
    pub fn hear(&self, news: &News<'_>) {
        match news {
            News::Doing {
                worker,
                lesson,
                place,
                what,
            } => {
                self.line(*worker)
                    .set_message(format!("{lesson} on {place}: {what}"));
            }
            News::Done {
                lesson,
                place,
                mistakes,
                took,
                ..
            } => {
                let how = match mistakes {
                    0 => "ok".to_owned(),
                    1 => "1 mistake".to_owned(),
                    more => format!("{more} mistakes"),
                };
                let line = format!(
                    "{lesson:<20} {place:<10} {how:<12} {:>6.1} s",
                    took.as_secs_f64()
                );
                self.lines.suspend(|| println!("{line}"));
            }
        }
    }

    fn line(&self, worker: usize) -> ProgressBar {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = workers.entry(worker).or_insert_with(|| {
            let line = self.lines.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                line.set_style(style);
            }
            line.enable_steady_tick(Duration::from_millis(200));
            line
        });
        made.clone()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // Errors of a terminal that has gone away concern nobody.
        let _ = self.lines.clear();
    }
}
