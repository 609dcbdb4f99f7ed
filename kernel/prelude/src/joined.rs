//! What the tasks panicked with that a task has joined: `h.join().unwrap()` of one that panicked says `Any { .. }`, which is all that std shows of a payload.
//!
//! The payload stays as std's contract has it. What its words were is kept beside it, by who joined; the panic hook looks for it.

use std::any::Any;
use std::cell::RefCell;
use std::collections::VecDeque;

use crate::recorder::{self, Here};
use crate::task::message_of;
use crate::words;

/// How many are kept of one thread's tasks: the latest.
const MOST: usize = 16;
/// How many are told, where it is not clear which one is meant.
const MOST_TOLD: usize = 4;
/// What std shows of a payload.
const UNKNOWN: &str = "Any { .. }";

/// A task that panicked.
struct Failed {
    by: u32,
    task: u32,
    message: Box<str>,
    joined: Here,
}

thread_local! {
    /// By tasks of this thread. A green task stays on its worker.
    static FAILED: RefCell<VecDeque<Failed>> = const { RefCell::new(VecDeque::new()) };
}

/// The calling task joined `task` at `joined`, which had panicked with `payload`.
pub fn note(task: u32, payload: &(dyn Any + Send), joined: Here) {
    let failed = Failed {
        by: recorder::current_task(),
        task,
        message: message_of(payload).into(),
        joined,
    };
    // In a destructor of a thread-local there may be none left, and then nobody unwraps anything.
    let _ = FAILED.try_with(|known| {
        let mut known = known.borrow_mut();
        if known.len() == MOST {
            known.pop_front();
        }
        known.push_back(failed);
    });
}

/// A cell begins: what the evaluating task joined before is over.
pub fn forget() {
    let _ = FAILED.try_with(|known| known.borrow_mut().clear());
}

/// The message of the calling task's panic at `place`, with what the joined task had panicked with; `None` when it is about none.
///
/// Which one is meant: the one that was joined on the same line, or else the only one. Where that does not tell, all are told.
pub fn in_words(message: &str, place: Option<Here>) -> Option<String> {
    let before = message.strip_suffix(UNKNOWN)?;
    let me = recorder::current_task();
    let told = FAILED.try_with(|known| {
        // A panic in the middle of `note` is one for want of memory.
        let known = known.try_borrow().ok()?;
        let mine: Vec<&Failed> = known.iter().filter(|failed| failed.by == me).collect();
        let on_the_line = |failed: &&&Failed| {
            place.is_some_and(|place| {
                place.line() == failed.joined.line()
                    && recorder::build_of(place) == recorder::build_of(failed.joined)
                    && place.file() == failed.joined.file()
            })
        };
        let meant: Vec<&Failed> = match mine.iter().rev().find(on_the_line) {
            Some(one) => vec![one],
            None => mine,
        };
        let told: Vec<String> = meant
            .iter()
            .take(MOST_TOLD)
            .map(|failed| {
                let called = words::task(failed.task, "the task that was joined");
                format!("{called} panicked: {}", failed.message)
            })
            .collect();
        match (told.as_slice(), meant.len() - told.len()) {
            ([], _) => None,
            ([one], 0) => Some(one.clone()),
            (all, 0) => Some(format!("one of these: {}", all.join("; "))),
            (all, more) => Some(format!("one of these: {}; and {more} more", all.join("; "))),
        }
    });
    Some(format!("{before}{}", told.ok()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::Location;

    #[test]
    fn the_task_joined_on_the_panics_line_is_meant_and_else_all_are_told() {
        std::thread::spawn(|| {
            let unwrap = "called `Result::unwrap()` on an `Err` value: Any { .. }";
            let told = |place| in_words(unwrap, place).map(|text| words::plain(&text));
            assert_eq!(told(None), None, "nothing was joined");
            let first = Location::caller();
            note(7, &"burnt", first);
            let last = |text: &str| {
                let head = "called `Result::unwrap()` on an `Err` value: ";
                Some(format!("{head}{text}"))
            };
            let one = last("the task that was joined panicked: burnt");
            assert_eq!(told(None), one);
            let second = Location::caller();
            note(8, &String::from("cold"), second);
            assert_eq!(told(Some(first)), one);
            assert_eq!(
                told(Some(second)),
                last("the task that was joined panicked: cold")
            );
            assert_eq!(
                told(None),
                last(
                    "one of these: the task that was joined panicked: burnt; the task that was joined panicked: cold"
                )
            );
            assert_eq!(in_words("burnt", Some(first)), None, "another panic");
            for _ in 0..100 {
                note(9, &"late", second);
            }
            let many = told(None).expect("they are told");
            assert!(many.ends_with("; and 12 more"), "{many}");
            forget();
            assert_eq!(told(Some(second)), None);
        })
        .join()
        .expect("a thread of its own, whose list is empty");
    }
}
