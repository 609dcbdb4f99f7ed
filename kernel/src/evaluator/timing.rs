//! What `:timing` tells: how long each step of a cell took. Pure.

use std::time::{Duration, Instant, SystemTime};

use threadbook_timeline::format::Kind;
use threadbook_timeline::trace::Trace;

use crate::tools::Step;

/// When a cell began, by the clock of this process and by the one that tools go by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    at: Instant,
    date: SystemTime,
}

impl Began {
    pub(super) fn now() -> Began {
        Began {
            at: Instant::now(),
            date: SystemTime::now(),
        }
    }

    /// How long after the cell's begin.
    fn after(&self, at: Option<Instant>) -> Option<Duration> {
        Some(at?.saturating_duration_since(self.at))
    }
}

/// The moments of a cell that are known when it is over.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// What tools told; empty where they do not tell.
    pub(super) steps: Vec<Step>,
    /// Its process was told to run it.
    pub(super) began_to_run: Option<Instant>,
    /// Its process had run it, and left a copy if it does.
    pub(super) had_run: Option<Instant>,
    /// From its first line to its last; `None` when that was not recorded.
    pub(super) ran: Option<Duration>,
    /// All that it printed had come.
    pub(super) drained: Option<Instant>,
    /// Its picture was drawn.
    pub(super) drawn: Option<Instant>,
}

/// From the begin of a cell's code to its end, as its process recorded that.
pub(super) fn ran(trace: &Trace) -> Option<Duration> {
    let at = |kind: Kind| {
        let mut found = trace.events.iter().filter(|event| event.kind == kind as u8);
        found.next().map(|event| event.ticks)
    };
    let ticks = at(Kind::CellEnd)?.checked_sub(at(Kind::CellBegin)?)?;
    (trace.ticks_per_second > 0)
        .then(|| Duration::from_secs_f64(ticks as f64 / trace.ticks_per_second as f64))
}

/// The account: a line for each step, in order, and what all took together.
pub(super) fn account(began: Began, moments: &Moments) -> String {
    let mut lines: Vec<(String, Duration)> = Vec::new();
    let mut last = Duration::ZERO;
    let after = |at: SystemTime| at.duration_since(began.date).unwrap_or_default();
    let links: Vec<&Step> = moments
        .steps
        .iter()
        .filter(|step| step.what == "link")
        .collect();
    for (number, step) in moments
        .steps
        .iter()
        .filter(|step| step.what != "link")
        .enumerate()
    {
        let begins = after(step.began());
        let before = match number {
            0 => "analyse: commands, parsing, the types of variables",
            _ => "evcxr, between two compilations",
        };
        lines.push((before.to_owned(), begins.saturating_sub(last)));
        let what = match (step.what.as_str(), step.by.as_str()) {
            ("build", "kept") => "compiled before: a copy of that library".to_owned(),
            ("check", "kept") => "checked before: what was said then".to_owned(),
            ("build", by) => format!("compile and link, by {by}"),
            (_, by) => format!("check, by {by}"),
        };
        lines.push((what, step.took()));
        let ends = begins + step.took();
        let within = links
            .iter()
            .filter(|link| (begins..=ends).contains(&after(link.began())));
        for link in within {
            lines.push((format!("  of that: link, by {}", link.by), link.took()));
        }
        last = ends;
    }
    if let Some(at) = began.after(moments.began_to_run) {
        let before = match moments.steps.is_empty() {
            true => "analyse and compile",
            false => "evcxr, until the cell runs",
        };
        lines.push((before.to_owned(), at.saturating_sub(last)));
        last = at;
        if let Some(at) = began.after(moments.had_run) {
            let whole = at.saturating_sub(last);
            let ran = moments.ran.unwrap_or(whole).min(whole);
            lines.push(("load and run".to_owned(), ran));
            lines.push((
                "copy of the process, and the way to it and back".to_owned(),
                whole - ran,
            ));
            last = at;
        }
    }
    for (what, at) in [
        ("the rest of what it printed", moments.drained),
        ("picture", moments.drawn),
    ] {
        if let Some(at) = began.after(at) {
            lines.push((what.to_owned(), at.saturating_sub(last)));
            last = at;
        }
    }
    let line = |(what, took): &(String, Duration)| {
        format!("{:>9.1} ms  {what}\n", took.as_secs_f64() * 1000.0)
    };
    let steps: String = lines.iter().map(line).collect();
    steps + &line(&("together".to_owned(), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(what: &str, by: &str, began: Began, after: u64, took: u64) -> Step {
        let date = began.date + Duration::from_millis(after);
        let date = date
            .duration_since(SystemTime::UNIX_EPOCH)
            .expect("after 1970");
        let told = serde_json::json!({
            "what": what, "by": by, "began": u64::try_from(date.as_micros()).expect("in range"), "took": took * 1000,
        });
        serde_json::from_value(told).expect("a step")
    }

    /// Numbers rounded: the two clocks of a begin are not read at once.
    fn lines(account: &str) -> Vec<(u32, String)> {
        let read = |line: &str| {
            let (number, what) = line.trim_start().split_once(" ms  ").expect("a step");
            (
                number.parse::<f64>().expect("a number").round() as u32,
                what.to_owned(),
            )
        };
        account.lines().map(read).collect()
    }

    #[test]
    fn each_step_has_its_line_and_all_add_up() {
        let began = Began::now();
        let at = |ms: u64| Some(began.at + Duration::from_millis(ms));
        let moments = Moments {
            steps: vec![
                step("build", "rustc", began, 10, 50),
                step("link", "cc", began, 90, 20),
                step("build", "rustc", began, 65, 50),
            ],
            began_to_run: at(120),
            had_run: at(130),
            ran: Some(Duration::from_millis(7)),
            drained: at(131),
            drawn: at(135),
        };
        let said = lines(&account(began, &moments));
        let want = [
            (10, "analyse: commands, parsing, the types of variables"),
            (50, "compile and link, by rustc"),
            (5, "evcxr, between two compilations"),
            (50, "compile and link, by rustc"),
            (20, "  of that: link, by cc"),
            (5, "evcxr, until the cell runs"),
            (7, "load and run"),
            (3, "copy of the process, and the way to it and back"),
            (1, "the rest of what it printed"),
            (4, "picture"),
            (135, "together"),
        ];
        let want: Vec<(u32, String)> = want.map(|(ms, what)| (ms, what.to_owned())).to_vec();
        assert_eq!(said, want);
    }

    #[test]
    fn a_cell_that_does_not_run_has_no_lines_for_that() {
        let began = Began::now();
        let at = |ms: u64| Some(began.at + Duration::from_millis(ms));
        let moments = Moments {
            drained: at(40),
            drawn: at(41),
            ..Moments::default()
        };
        let said = lines(&account(began, &moments));
        assert_eq!(said.len(), 3);
        assert_eq!(said.last(), Some(&(41, "together".to_owned())));
        let moments = Moments {
            began_to_run: at(30),
            had_run: at(35),
            ..moments
        };
        let said = lines(&account(began, &moments));
        assert_eq!(said[0], (30, "analyse and compile".to_owned()));
        assert_eq!(said[1], (5, "load and run".to_owned()));
    }
}
