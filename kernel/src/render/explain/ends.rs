//! How tasks ended, those that did not end well first, and how much ran at once.

use threadbook_timeline::fold::{Lane, LaneEnd, Span, State};
use threadbook_timeline::format::{Cause, Reason};

use super::super::alike;
use super::super::axis::duration;
use super::super::looks::look;
use super::super::many::{names, tasks_like};
use super::super::words::ended_by_the_interrupt;
use super::{Story, first_of, listed};

/// Of how many tasks that panicked, or that were cut off.
const MOST_ENDS: usize = 8;

impl<'a> Story<'a> {
    pub(super) fn panics(&self) -> Vec<String> {
        let panicked = self.timeline().lanes.iter();
        let panicked = panicked.filter_map(|lane| match &lane.end {
            LaneEnd::Panicked(message) => Some((lane, message.as_str())),
            _ => None,
        });
        let told = alike::tasks(panicked).into_iter().map(|lanes| {
            let LaneEnd::Panicked(message) = &lanes[0].end else {
                return (String::new(), lanes.len());
            };
            let sentence = match lanes.as_slice() {
                [one] => format!("{} panicked: {message}.", one.name),
                all => format!("{} panicked: {message}.", tasks_like(all.len(), all[0])),
            };
            (sentence, lanes.len())
        });
        first_of(told.collect(), MOST_ENDS, "more panicked")
    }

    pub(super) fn interrupted(&self) -> Vec<String> {
        let lanes = self.timeline().lanes.iter();
        let cut = lanes.filter(|lane| lane.end == LaneEnd::Cut(Cause::Interrupt));
        let with_waits = cut.map(|lane| {
            let what =
                ended_by_the_interrupt(lane).map(|span| (look(span), awaited(span), span.site));
            (lane, what)
        });
        let told = alike::tasks(with_waits).into_iter().map(|lanes| {
            let sentence = match lanes.as_slice() {
                [one] => self.was_interrupted(one),
                all => self.were_interrupted(all),
            };
            (sentence, lanes.len())
        });
        first_of(told.collect(), MOST_ENDS, "more were ended by it")
    }

    fn was_interrupted(&self, lane: &Lane) -> String {
        match ended_by_the_interrupt(lane) {
            Some(span) if span.state == State::Sleeping => format!(
                "{} slept{} until the interrupt ended it.",
                lane.name,
                self.words.place(span.site)
            ),
            Some(span) => {
                let wait = self.wait_of(lane, span);
                format!("{wait}, until the interrupt ended it.")
            }
            None => format!("The interrupt ended {}.", lane.name),
        }
    }

    fn were_interrupted(&self, lanes: &[&Lane]) -> String {
        let many = tasks_like(lanes.len(), lanes[0]);
        let Some(span) = ended_by_the_interrupt(lanes[0]) else {
            return format!("The interrupt ended {many}.");
        };
        let place = self.words.place(span.site);
        match span.state {
            State::Blocked { reason, object } => {
                let what = self.words.awaited(reason, object);
                format!("{many} waited for {what}{place}, until the interrupt ended it.")
            }
            _ => format!("{many} slept{place} until the interrupt ended it."),
        }
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
        let cut: Vec<(String, usize)> = names(
            lanes
                .iter()
                .filter(|lane| lane.end == LaneEnd::Cut(Cause::Program)),
        );
        let many: usize = cut.iter().map(|(_, count)| count).sum();
        let (was, its) = match many {
            0 => return None,
            1 => ("was", "its"),
            _ => ("were", "their"),
        };
        let told: Vec<&str> = cut.iter().map(|(name, _)| name.as_str()).collect();
        let who = if told.len() <= MOST_ENDS {
            listed(&told)
        } else {
            let more: usize = cut[MOST_ENDS..].iter().map(|(_, count)| count).sum();
            format!("{} and {more} more", told[..MOST_ENDS].join(", "))
        };
        Some(format!("{who} {was} cut off when {its} program returned."))
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

/// What a wait is for, as far as it sets it apart from others.
fn awaited(span: &Span) -> Option<(Reason, u32)> {
    match span.state {
        State::Blocked {
            reason: reason @ (Reason::Scope | Reason::Select | Reason::Sleep),
            ..
        } => Some((reason, 0)),
        State::Blocked { reason, object } => Some((reason, object)),
        _ => None,
    }
}
