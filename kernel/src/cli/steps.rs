//! How a command says what it does and what it waits for: one line a step on stderr, with a spinner while a long one runs.
//!
//! Where stderr is no terminal, the same words come as plain lines: one when a step begins to wait, one when it is done.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often the spinner turns: slow enough to be calm, quick enough to show that the program lives.
const SPINNER_TURN: Duration = Duration::from_millis(100);

/// From here on a step says how long it took.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// The steps of one command.
#[derive(Debug)]
pub struct Steps {
    count: usize,
    begun: usize,
}

impl Steps {
    /// Begins a command of so many steps.
    pub fn new(count: usize) -> Self {
        Self { count, begun: 0 }
    }

    /// Begins the next step, and says what it looks at.
    pub fn begin(&mut self, what: &str) -> Step {
        self.begun += 1;
        let heading = format!("[{}/{}] {what}", self.begun, self.count);
        let spinner = ProgressBar::new_spinner();
        spinner.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg}")
                .expect("a template of our own, and valid"),
        );
        spinner.set_message(heading.clone());
        spinner.enable_steady_tick(SPINNER_TURN);
        Step {
            heading,
            spinner,
            since: Instant::now(),
            said: RefCell::default(),
        }
    }
}

/// One step, from its beginning to the line that says how it came out.
#[derive(Debug)]
pub struct Step {
    heading: String,
    spinner: ProgressBar,
    since: Instant,
    said: RefCell<String>,
}

impl Step {
    /// Says what is being waited for. A line of its own where no spinner can show it.
    pub fn waits_for(&self, what: &str) {
        self.show(what);
        if !std::io::stderr().is_terminal() && *self.said.borrow() != what {
            eprintln!("  {}: {what} …", self.heading);
            self.said.replace(what.to_owned());
        }
    }

    /// Shows how far a wait has come. Only beside a spinner: as lines these would be hundreds.
    pub fn show(&self, progress: &str) {
        self.spinner
            .set_message(format!("{}: {progress} …", self.heading));
    }

    /// Ends the step: what was found or done.
    pub fn done(self, outcome: &str) {
        self.end('✓', outcome);
    }

    /// Ends the step with something that the learner should know, but that stops nothing.
    pub fn done_but(self, warning: &str) {
        self.end('!', warning);
    }

    fn end(self, mark: char, outcome: &str) {
        self.spinner.finish_and_clear();
        let took = self.since.elapsed();
        let took = if took >= WORTH_TELLING {
            format!(" ({:.0} s)", took.as_secs_f64())
        } else {
            String::new()
        };
        eprintln!("{mark} {}: {outcome}{took}", self.heading);
    }
}

impl Drop for Step {
    /// A step that fails leaves no spinner behind under which the error would be printed.
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}
