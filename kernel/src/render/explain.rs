//! The picture as a story: sentences, the most important first. Pure, and without a drawing.
//!
//! What went wrong comes first (deadlocks, panics, interrupts, tasks that are left behind), then the waits by how long they took, then how much ran at
//! once. Waits of one task at one line for one thing are told together, the longest of them in full.

mod deadlocks;
mod ends;
#[cfg(test)]
mod tests;
mod waits;

use threadbook_timeline::fold::{Lane, Nanos, Span, State, Timeline};

use super::Place;
use super::axis::duration;
use super::words::Words;

/// Of how many waits a running cell tells.
const MOST_NOW: usize = 6;

/// Tells what a timeline shows, a sentence each, the most important first. Never empty.
///
/// Takes time in proportion to the timeline. The same timeline gives the same sentences.
pub fn explain(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> Vec<String> {
    let story = Story {
        words: Words { timeline, place_of },
    };
    let mut sentences = Vec::new();
    sentences.extend(story.deadlocks());
    sentences.extend(story.panics());
    sentences.extend(story.interrupted());
    sentences.extend(story.left_alive());
    let waits = story.waits();
    let nobody_waited = waits.is_empty() && sentences.is_empty();
    sentences.extend(waits);
    sentences.extend(story.contended_locks());
    sentences.extend(story.cut_off());
    if nobody_waited {
        sentences.push("Nobody waited for anybody.".into());
    }
    sentences.push(story.at_once());
    sentences.extend(story.words.missing().map(|missing| capital(&missing) + "."));
    sentences
}

/// Who waits at the end of what was recorded, a sentence each, the longest wait first: for a cell that still runs.
pub fn waits_now(timeline: &Timeline, place_of: &dyn Fn(u16) -> Option<Place>) -> Vec<String> {
    let words = Words { timeline, place_of };
    let open = |lane: &&Lane| {
        lane.ended.is_none()
            && lane.spans.last().is_some_and(|span| {
                span.until.is_none() && matches!(span.state, State::Blocked { .. })
            })
    };
    let mut waiting: Vec<&Lane> = timeline.lanes.iter().filter(open).collect();
    waiting.sort_by_key(|lane| lane.spans.last().map(|span| span.from));
    let told = waiting.iter().take(MOST_NOW).map(|lane| {
        let since = lane.spans.last().map_or(timeline.end, |span| span.from);
        let long = duration(Nanos(timeline.end.0.saturating_sub(since.0)));
        format!("{}; for {long} so far", words.does(lane))
    });
    let mut told: Vec<String> = told.collect();
    if waiting.len() > MOST_NOW {
        told.push(format!("and {} more wait", waiting.len() - MOST_NOW));
    }
    told
}

struct Story<'a> {
    words: Words<'a>,
}

impl<'a> Story<'a> {
    fn timeline(&self) -> &'a Timeline {
        self.words.timeline
    }

    fn long(&self, span: &Span) -> u64 {
        span.until(self.timeline().end).0 - span.from.0
    }
}

fn first_of(mut sentences: Vec<String>, most: usize, more: &str) -> Vec<String> {
    let left_out = sentences.len().saturating_sub(most);
    if left_out > 0 {
        sentences.truncate(most);
        sentences.push(format!("{left_out} {more}."));
    }
    sentences
}

/// `ada, grace and bob`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(chars).collect()
    })
}
