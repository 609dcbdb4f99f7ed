//! The picture as a story: sentences, the most important first. Pure, and without a drawing.
//!
//! What went wrong comes first (deadlocks, panics, interrupts, tasks that are left behind), then the waits by how long they took, then how much ran at
//! once. Waits of one task at one line for one thing are told together, and so are those of tasks that are alike, the longest of them in full.

mod deadlocks;
mod ends;
#[cfg(test)]
mod tests;
mod waits;

use threadbook_timeline::fold::{Lane, Nanos, Span, State, Timeline};

use super::Place;
use super::axis::duration;
use super::many::{by_what_they_do, task_in_words};
use super::words::{Words, thousands};

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
    let since = |lane: &Lane| lane.spans.last().map_or(timeline.end, |span| span.from);
    waiting.sort_by_key(|lane| since(lane));
    let groups = by_what_they_do(waiting);
    let told = groups.iter().map(|lanes| {
        // The first of a group has waited longest.
        let long = duration(Nanos(timeline.end.0.saturating_sub(since(lanes[0]).0)));
        let does = words.does(lanes);
        let sentence = match lanes.as_slice() {
            [_] => format!("{does}; for {long} so far"),
            all => {
                let first = task_in_words(&all[0].name);
                format!("{does}; the longest for {long} so far: {first}")
            }
        };
        (sentence, lanes.len())
    });
    let mut told: Vec<(String, usize)> = told.collect();
    let more: usize = told.iter().skip(MOST_NOW).map(|(_, count)| count).sum();
    told.truncate(MOST_NOW);
    let mut told: Vec<String> = told.into_iter().map(|(sentence, _)| sentence).collect();
    if more > 0 {
        told.push(format!("and {} more wait", thousands(more as u64)));
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

/// The first so many of sentences, each with of how many tasks it tells, and of how many more there is nothing.
fn first_of(sentences: Vec<(String, usize)>, most: usize, more: &str) -> Vec<String> {
    let left_out: usize = sentences.iter().skip(most).map(|(_, count)| count).sum();
    let told = sentences
        .into_iter()
        .take(most)
        .map(|(sentence, _)| sentence);
    let mut told: Vec<String> = told.collect();
    if left_out > 0 {
        told.push(format!("{left_out} {more}."));
    }
    told
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
