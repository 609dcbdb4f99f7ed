//! `Barrier`, as std has it: a place at which threads wait until enough of them have come, again and again.

use std::fmt;
use std::panic::Location;
use std::sync::Mutex;

use threadbook_timeline::format::{Kind, ObjectKind, Reason};

use crate::object::Object;
use crate::recorder;
use crate::rt::{self, Ended, Token};
use crate::wait::{Subject, Wait, Words};

/// A place at which threads wait until `n` of them have come; then all go on, and the next round begins.
///
/// The contract of [`std::sync::Barrier`]; `new` is no `const fn`, since it records where it was called.
///
/// ```
/// # use threadbook_prelude::*;
/// use std::sync::atomic::AtomicUsize;
///
/// let (kneaded, all_kneaded) = (AtomicUsize::new(0), Barrier::new(3).named("all kneaded"));
/// scope(|s| {
///     for name in ["ada", "grace", "linus"] {
///         s.spawn_named(name, || {
///             kneaded.fetch_add(1, Ordering::Relaxed);
///             all_kneaded.wait();
///             assert_eq!(kneaded.load(Ordering::Relaxed), 3); // nobody bakes before that
///         });
///     }
/// });
/// ```
pub struct Barrier {
    object: Object,
    size: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often enough had come.
    rounds: u32,
    /// Who has come in this round.
    waiting: Vec<Token>,
}

impl Subject for Barrier {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn advice(&self, _reason: Reason, _waiting: u32) -> Vec<Words> {
        let state = rt::lock(&self.state);
        let (come, rounds, size) = (state.waiting.len(), state.rounds, self.size);
        drop(state);
        let have = if come == 1 { "has" } else { "have" };
        let round = match rounds {
            0 => String::new(),
            _ => format!(" in round {}", rounds.wrapping_add(1)),
        };
        vec![Words::Text(format!(
            "; {come} of {size} {have} come{round}, and nobody else is left to"
        ))]
    }
}

impl Barrier {
    /// Makes a barrier for `n` threads. One for 0 or 1 stops nobody.
    #[track_caller]
    #[must_use]
    pub fn new(n: usize) -> Barrier {
        Barrier {
            object: Object::new(
                ObjectKind::Barrier,
                u32::try_from(n).unwrap_or(u32::MAX),
                Location::caller(),
            ),
            size: n,
            state: Mutex::default(),
        }
    }

    /// Gives the barrier a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let all_kneaded = Barrier::new(1).named("all kneaded");
    /// # all_kneaded.wait();
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> Barrier {
        self.object.named(name.as_ref());
        self
    }

    /// Waits until as many threads as the barrier is for have come.
    ///
    /// Blocks the calling thread, drawn on its lane up to the coming of the last one, which does not wait and is the leader of that round. The contract
    /// of [`std::sync::Barrier::wait`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let start = Barrier::new(2);
    /// let leaders = scope(|s| {
    ///     let other = s.spawn(|| start.wait().is_leader());
    ///     [start.wait().is_leader(), other.join().unwrap()]
    /// });
    /// assert_ne!(leaders[0], leaders[1]); // one of them, no matter which
    /// ```
    #[track_caller]
    pub fn wait(&self) -> BarrierWaitResult {
        let here = Location::caller();
        rt::point();
        let object = self.object.id();
        let mut state = rt::lock(&self.state);
        if state.waiting.len() + 1 >= self.size {
            state.rounds = state.rounds.wrapping_add(1);
            recorder::record(Kind::Tripped, object, state.rounds, 0, Some(here));
            let come = std::mem::take(&mut state.waiting);
            let wakeups: Vec<_> = come
                .iter()
                // One that cannot be claimed had come, and is told to end at this moment.
                .filter(|token| token.claim())
                .map(|token| rt::wake(token, object, Some(here)))
                .collect();
            drop(state);
            drop(wakeups);
            return BarrierWaitResult(true);
        }
        let token = Token::new();
        state.waiting.push(token.clone());
        let line = state.waiting.len();
        let wait = Wait::begin(Reason::Barrier, object, line, here).about(self);
        let ended = rt::block(&token, &wait, state, None);
        if ended == Ended::Cut {
            // It counts no more: the others must not go on as if it had done its part.
            rt::lock(&self.state)
                .waiting
                .retain(|other| !other.is(&token));
        }
        wait.end();
        if ended == Ended::Cut {
            rt::unwind();
        }
        BarrierWaitResult(false)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").finish_non_exhaustive()
    }
}

/// Whether a thread was the last to come to a [`Barrier`]; given by [`Barrier::wait`].
///
/// The contract of [`std::sync::BarrierWaitResult`], which nobody but std can make.
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Says whether this thread is the leader of its round: one of them is, the last to come.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// assert!(Barrier::new(1).wait().is_leader());
    /// ```
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl fmt::Debug for BarrierWaitResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWaitResult")
            .field("is_leader", &self.is_leader())
            .finish()
    }
}
