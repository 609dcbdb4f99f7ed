//! How tasks ended, those that did not end well first, and how much ran at once.

use threadbook_timeline::fold::{LaneEnd, State};
use threadbook_timeline::format::Cause;

use super::super::axis::duration;
use super::{Story, first_of, listed};

/// Of how many tasks that panicked, or that were cut off.
const MOST_ENDS: usize = 8;

impl<'a> Story<'a> {
    pub(super) fn panics(&self) -> Vec<String> {
        let panicked = self
            .timeline()
            .lanes
            .iter()
            .filter_map(|lane| match &lane.end {
                LaneEnd::Panicked(message) => Some(format!("{} panicked: {message}.", lane.name)),
                _ => None,
            });
        first_of(panicked.collect(), MOST_ENDS, "more panicked")
    }

    pub(super) fn interrupted(&self) -> Vec<String> {
        let lanes = &self.timeline().lanes;
        let cut =
            lanes
                .iter()
                .filter(|lane| lane.end == LaneEnd::Cut(Cause::Interrupt))
                .map(|lane| {
                    let waited =
                        lane.spans.iter().rev().take(4).find(|span| {
                            matches!(span.state, State::Blocked { .. } | State::Sleeping)
                        });
                    match waited {
                        Some(span) if span.state == State::Sleeping => format!(
                            "{} slept{} until the interrupt ended it.",
                            lane.name,
                            self.words.place(span.site)
                        ),
                        Some(span) => {
                            format!(
                                "{}, until the interrupt ended it.",
                                self.wait_of(lane, span)
                            )
                        }
                        None => format!("The interrupt ended {}.", lane.name),
                    }
                });
        first_of(cut.collect(), MOST_ENDS, "more were ended by it")
    }

    pub(super) fn left_alive(&self) -> Vec<String> {
        let alive = self.words.left_alive();
        alive
            .iter()
            .map(|sentence| format!("Still alive when the cell ended: {sentence}."))
            .collect()
    }

    pub(super) fn cut_off(&self) -> Option<String> {
        let lanes = &self.timeline().lanes;
        let cut: Vec<&str> = lanes
            .iter()
            .filter(|lane| lane.end == LaneEnd::Cut(Cause::Program))
            .map(|lane| lane.name.as_str())
            .collect();
        match cut.as_slice() {
            [] => None,
            [one] => Some(format!("{one} was cut off when its program returned.")),
            names if names.len() <= MOST_ENDS => Some(format!(
                "{} were cut off when their program returned.",
                listed(names)
            )),
            names => Some(format!(
                "{} and {} more were cut off when their program returned.",
                names[..MOST_ENDS].join(", "),
                names.len() - MOST_ENDS
            )),
        }
    }

    pub(super) fn at_once(&self) -> String {
        let timeline = self.timeline();
        let long = duration(timeline.end);
        match timeline.lanes.len() {
            0 => "Nothing was recorded.".into(),
            1 => format!("All of it took {long}, in main alone."),
            lanes => {
                let others = match lanes {
                    2 => "one task".into(),
                    _ => format!("{} tasks", lanes - 1),
                };
                let at_most = match timeline.gap {
                    Some(_) => "as far as was seen, at most",
                    None => "at most",
                };
                let ran = match timeline.max_running {
                    0 => "none was seen to run".into(),
                    1 => format!("{at_most} one ran at once"),
                    many => format!("{at_most} {many} ran at once"),
                };
                format!("All of it took {long}; of {others} besides main, {ran}.")
            }
        }
    }
}
