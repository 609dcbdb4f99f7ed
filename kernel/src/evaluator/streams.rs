//! Text on its way to the notebook: whole characters, in few pieces, and each cell's in the order in which it was written. Pure: told what time it is.

use crate::cell::{Event, JobId, StreamName};
use std::time::{Duration, Instant};

/// Longest that text waits for more of it. 20 ms: below what the eye notices; a burst of 20,000 prints lasting 1.6 s leaves as 80 messages.
const DELAY: Duration = Duration::from_millis(20);
/// Text of this length does not wait.
const BYTES: usize = 16 * 1024;

/// Text that waits for more, and the ends of characters cut in two.
#[derive(Debug, Default)]
pub struct Streams {
    /// One for each cell at the most, so that tasks of several cells that print by turns leave no more messages than one alone.
    texts: Vec<Text>,
    cut: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Text {
    job: Option<JobId>,
    name: StreamName,
    text: String,
    deadline: Instant,
}

impl From<Text> for Event {
    fn from(text: Text) -> Event {
        Event::Stream {
            job: text.job,
            name: text.name,
            text: text.text,
        }
    }
}

impl Streams {
    /// How long nothing has to leave; `None`: nothing waits.
    pub fn patience(&self, now: Instant) -> Option<Duration> {
        let next = self.texts.iter().map(|text| text.deadline).min()?;
        Some(next.saturating_duration_since(now))
    }

    /// The whole characters among the bytes that came; one that is cut at the end waits for its rest.
    pub fn decode(&mut self, name: StreamName, bytes: &[u8]) -> String {
        decode(&mut self.cut[name as usize], bytes, false)
    }

    /// What is left of a character whose rest does not come.
    pub fn give_up_cut(&mut self, name: StreamName) -> String {
        decode(&mut self.cut[name as usize], b"", true)
    }

    /// Takes text of a cell's; gives what leaves now, for its other stream came in between, or for its length.
    pub fn push(
        &mut self,
        job: Option<JobId>,
        name: StreamName,
        text: &str,
        now: Instant,
    ) -> Vec<Event> {
        let mut leaves = Vec::new();
        if text.is_empty() {
            return leaves;
        }
        let of_other = |waiting: &mut Text| waiting.job == job && waiting.name != name;
        leaves.extend(self.texts.extract_if(.., of_other).map(Event::from));
        let at = self.texts.iter().position(|waiting| waiting.job == job);
        let at = at.unwrap_or_else(|| {
            self.texts.push(Text {
                job,
                name,
                text: String::new(),
                deadline: now + DELAY,
            });
            self.texts.len() - 1
        });
        self.texts[at].text.push_str(text);
        if self.texts[at].text.len() >= BYTES {
            leaves.push(self.texts.remove(at).into());
        }
        leaves
    }

    /// Gives what has waited long enough.
    pub fn due(&mut self, now: Instant) -> Vec<Event> {
        let is_due = |text: &mut Text| text.deadline <= now;
        self.texts.extract_if(.., is_due).map(Event::from).collect()
    }

    /// Gives all that waits.
    pub fn all(&mut self) -> Vec<Event> {
        self.texts.drain(..).map(Event::from).collect()
    }
}

/// Whole characters of `bytes`; a character that is cut at the end waits in `cut` for its rest, and bytes that are no UTF-8 become U+FFFD.
fn decode(cut: &mut Vec<u8>, bytes: &[u8], at_end: bool) -> String {
    cut.extend_from_slice(bytes);
    let mut text = String::with_capacity(cut.len());
    let mut rest = &cut[..];
    loop {
        match std::str::from_utf8(rest) {
            Ok(valid) => {
                text.push_str(valid);
                rest = b"";
                break;
            }
            Err(error) => {
                let (valid, bad) = rest.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                match error.error_len() {
                    None if !at_end => {
                        rest = bad;
                        break;
                    }
                    len => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        rest = &bad[len.unwrap_or(bad.len())..];
                    }
                }
            }
        }
    }
    *cut = rest.to_vec();
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use StreamName::{Stderr, Stdout};

    fn stream(job: JobId, name: StreamName, text: &str) -> Event {
        Event::Stream {
            job: Some(job),
            name,
            text: text.into(),
        }
    }

    #[test]
    fn cells_that_print_by_turns_leave_one_message_each() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        for turn in 0..100 {
            let later = now + Duration::from_micros(turn);
            assert!(streams.push(Some(1), Stdout, "old", later).is_empty());
            assert!(streams.push(Some(2), Stdout, "new", later).is_empty());
        }
        assert_eq!(streams.patience(now), Some(DELAY));
        assert!(streams.due(now + DELAY / 2).is_empty());
        let left = streams.due(now + DELAY);
        assert_eq!(
            left,
            [
                stream(1, Stdout, &"old".repeat(100)),
                stream(2, Stdout, &"new".repeat(100))
            ]
        );
        assert_eq!(streams.patience(now), None);
    }

    #[test]
    fn the_two_streams_of_a_cell_keep_their_order() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        assert!(streams.push(Some(1), Stdout, "a", now).is_empty());
        assert!(streams.push(Some(2), Stderr, "other", now).is_empty());
        assert_eq!(
            streams.push(Some(1), Stderr, "b", now),
            [stream(1, Stdout, "a")]
        );
        assert_eq!(
            streams.push(Some(1), Stdout, "c", now),
            [stream(1, Stderr, "b")]
        );
        assert_eq!(
            streams.all(),
            [stream(2, Stderr, "other"), stream(1, Stdout, "c")]
        );
    }

    #[test]
    fn long_text_does_not_wait_and_none_is_no_message() {
        let (mut streams, now) = (Streams::default(), Instant::now());
        assert!(streams.push(Some(1), Stdout, "", now).is_empty());
        assert!(streams.all().is_empty());
        let long = "x".repeat(BYTES);
        assert_eq!(
            streams.push(Some(1), Stdout, &long, now),
            [stream(1, Stdout, &long)]
        );
    }

    #[test]
    fn text_is_decoded_however_it_is_cut() {
        let bytes = "ofen: größe 炉 \u{1f35e}!".as_bytes();
        for at in 0..=bytes.len() {
            let mut cut = Vec::new();
            let text =
                decode(&mut cut, &bytes[..at], false) + &decode(&mut cut, &bytes[at..], false);
            assert_eq!(text.as_bytes(), bytes, "cut at {at}");
            assert!(cut.is_empty());
        }
        let mut cut = Vec::new();
        assert_eq!(decode(&mut cut, b"a\xffb\xe7", false), "a\u{fffd}b");
        assert_eq!(decode(&mut cut, b"", true), "\u{fffd}");
    }
}
