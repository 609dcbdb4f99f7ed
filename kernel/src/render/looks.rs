//! How a task looks by what it does: colour, texture and height, so that no two are told apart by hue alone.

use threadbook_timeline::fold::{Span, State};
use threadbook_timeline::format::Reason;

/// The looks that a span can have: class, height in pixels, what the legend calls it. Colours are Okabe and Ito's; the pattern says it too.
pub const LOOKS: [(&str, f64, &str); COUNT] = [
    ("run", 10.0, "running"),
    ("comp", 14.0, "computing"),
    ("ready", 6.0, "ready, not running"),
    ("lock", 12.0, "waiting for a lock"),
    ("chan", 12.0, "waiting on a channel"),
    ("wait", 12.0, "waiting for others"),
    ("sleep", 2.0, "sleeping"),
    ("hold", 3.0, "holding a lock"),
    ("dead", 14.0, "waiting in vain: deadlock"),
    ("gone", 8.0, "not kept"),
];
/// How many looks there are.
pub const COUNT: usize = 10;
/// Not a state of a task, but drawn below it.
pub const HOLD: usize = 7;
/// The one that is never merged with its neighbours.
pub const DEAD: usize = 8;

/// The look of a span.
pub fn look(span: &Span) -> usize {
    match span.state {
        _ if span.deadlocked.is_some() => DEAD,
        State::Running => 0,
        State::Computing => 1,
        State::Ready => 2,
        State::Blocked { reason, .. } => match reason {
            Reason::Lock | Reason::Read | Reason::Write => 3,
            Reason::Send | Reason::Recv | Reason::Select => 4,
            _ => 5,
        },
        State::Sleeping => 6,
        State::Unknown => 9,
    }
}

/// The look with the largest share.
pub fn most(share: &[f32; COUNT]) -> usize {
    (0..share.len())
        .max_by(|a, b| share[*a].total_cmp(&share[*b]))
        .unwrap_or(0)
}
