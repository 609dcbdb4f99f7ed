//! `WaitGroup`: a counter to wait on until it is zero, as Go has it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex};

use threadbook_timeline::format::{Engine, Kind, ObjectKind, Reason};

use crate::hooks;
use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token};
use crate::task;
use crate::wait::{Subject, Wait, Words};

/// A counter of unfinished work: `add` before the work starts, `done` when it is done, `wait` until all of it is.
///
/// The contract of Go's `sync.WaitGroup`. A clone is one more handle on the same counter; unlike crossbeam's, clones do not count. `add` after `wait` is
/// legal and begins a new round.
///
/// ```
/// # use threadbook_prelude::*;
/// let ovens = WaitGroup::new().named("ovens");
/// for name in ["ada", "grace"] {
///     ovens.add(1);
///     let ovens = ovens.clone();
///     spawn_named(name, move || {
///         work(ms(1));
///         ovens.done();
///     });
/// }
/// ovens.wait();
/// assert_eq!(ovens.count(), 0);
/// ```
#[derive(Clone)]
pub struct WaitGroup(Arc<Inner>);

struct Inner {
    object: Object,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    count: usize,
    /// How often the counter was changed: the order of `add` and `done`.
    changes: u32,
    /// How many `done` there were, for the message when there are too many.
    done: usize,
    waiting: VecDeque<Token>,
}

impl Subject for Inner {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn advice(&self, _reason: Reason, _waiting: u32) -> Vec<Words> {
        let state = rt::lock(&self.state);
        let (count, done) = (state.count, state.done);
        vec![Words::Text(format!(
            "; its counter is {count}: add() counted {}, and done() came {}",
            count + done,
            times(done)
        ))]
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

impl WaitGroup {
    /// Makes a counter that is zero.
    #[track_caller]
    #[allow(
        clippy::new_without_default,
        reason = "`Default` is there, and has its own `track_caller`"
    )]
    pub fn new() -> WaitGroup {
        let object = Object::new(ObjectKind::WaitGroup, 0, Location::caller());
        WaitGroup(Arc::new(Inner {
            object,
            state: Mutex::default(),
        }))
    }

    /// Gives the group a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ovens = WaitGroup::new().named("ovens");
    /// # ovens.wait();
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> WaitGroup {
        self.0.object.named(name.as_ref());
        self
    }

    /// Raises the counter by `n`. Does not block.
    ///
    /// Call it before the work starts: a `wait` that comes between start and `add` finds zero and does not wait.
    #[track_caller]
    pub fn add(&self, n: usize) {
        rt::point();
        let mut state = rt::lock(&self.0.state);
        state.count += n;
        state.changes = state.changes.wrapping_add(1);
        self.tell(Kind::WgAdd, &state, Location::caller());
    }

    /// Lowers the counter by one; at zero all who wait go on. Does not block.
    ///
    /// # Panics
    /// When the counter is zero already: more was done than was added.
    #[track_caller]
    pub fn done(&self) {
        rt::point();
        self.lower(Location::caller());
    }

    /// Also called by a destructor, so there is no point in it at which a task could be ended.
    fn lower(&self, here: Here) {
        let Some(mut state) = rt::lock_unless_lost(&self.0.state) else {
            return;
        };
        state.done += 1;
        if state.count == 0 {
            let done = state.done;
            drop(state);
            self.below_zero(done, here);
            return;
        }
        state.count -= 1;
        state.changes = state.changes.wrapping_add(1);
        self.tell(Kind::WgDone, &state, here);
        let wakeups: Vec<_> = if state.count == 0 {
            let waiting = std::mem::take(&mut state.waiting);
            waiting
                .into_iter()
                .filter(Token::claim)
                .map(|token| rt::wake(&token, self.0.object.id(), Some(here)))
                .collect()
        } else {
            Vec::new()
        };
        drop(state);
        drop(wakeups);
    }

    #[cold]
    fn below_zero(&self, done: usize, here: Here) {
        // A second panic while one unwinds would end the process, and the first one says more.
        if !rt::unwinding() {
            let added = done - 1;
            let group = match self.0.object.name() {
                Some(name) => format!("wait group `{name}`"),
                None if hooks::in_a_kernel() => "this wait group".to_owned(),
                None => self.0.object.in_words(),
            };
            let message = format!(
                "{group} fell below zero: done() came {} and add() counted {added}. \
                 Call add(1) once for each done(), before the work starts",
                times(done)
            );
            hooks::panic_at(here, &message);
        }
    }

    fn tell(&self, kind: Kind, state: &State, here: Here) {
        if recorder::recording() != 0 {
            let count = u32::try_from(state.count).unwrap_or(u32::MAX);
            recorder::record(kind, self.0.object.id(), state.changes, count, Some(here));
        }
    }

    /// Waits until the counter is zero.
    ///
    /// Blocks the calling thread, drawn on its lane from the call to the `done` that let it go on. Returns at once when the counter is zero already, which
    /// it is in a group to which nothing was ever added.
    #[track_caller]
    pub fn wait(&self) {
        rt::point();
        let mut state = rt::lock(&self.0.state);
        if state.count > 0 {
            let token = Token::new();
            state.waiting.push_back(token.clone());
            let wait = Wait::begin(
                Reason::Wait,
                self.0.object.id(),
                state.waiting.len(),
                Location::caller(),
            )
            .about(&*self.0);
            let ended = rt::block(&token, &wait, state, None);
            wait.end();
            if ended == Ended::Cut {
                rt::lock(&self.0.state)
                    .waiting
                    .retain(|other| !other.is(&token));
                rt::unwind();
            }
        } else {
            // Nothing to draw, but an order to know: what was done before each `done` has happened.
            state.changes = state.changes.wrapping_add(1);
            self.tell(Kind::Passed, &state, Location::caller());
        }
    }

    /// Gives the counter's value, which may have changed by the time you look at it. Does not block.
    pub fn count(&self) -> usize {
        rt::lock(&self.0.state).count
    }

    /// Adds one, starts a green task that runs `f`, as [`go`](crate::go) does, and calls `done` when it ends, by a panic too.
    ///
    /// The contract of Go 1.25's `WaitGroup.Go`.
    ///
    /// # Panics
    /// When there is no worker yet, and the system gives no thread for one.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ovens = WaitGroup::new();
    /// for _ in 0..3 {
    ///     ovens.go(|| work(ms(1)));
    /// }
    /// ovens.wait();
    /// ```
    #[track_caller]
    pub fn go<F>(&self, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.start(None, Location::caller(), f);
    }

    /// Does what [`go`](Self::go) does, and calls the task `name`.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ovens = WaitGroup::new();
    /// ovens.go_named("ada", || work(ms(1)));
    /// ovens.wait();
    /// ```
    #[track_caller]
    pub fn go_named<F>(&self, name: impl AsRef<str>, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.start(Some(name.as_ref()), Location::caller(), f);
    }

    #[track_caller]
    fn start<F>(&self, name: Option<&str>, here: Here, f: F)
    where
        F: FnOnce() + Send + 'static,
    {
        self.add(1);
        let done = Done {
            group: self.clone(),
            here,
        };
        let body = move || {
            let _done = done;
            f();
        };
        // SAFETY: the body owns all that it uses.
        drop(unsafe { task::start(Engine::Green, name, None, here, body) });
    }

    /// Gives a guard that calls [`done`](Self::done) when it is dropped: at the end of its block, by `return`, `?` or a panic.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let ovens = WaitGroup::new();
    /// ovens.add(1);
    /// let theirs = ovens.clone();
    /// spawn(move || {
    ///     let _done = theirs.defer_done();
    ///     std::panic::resume_unwind(Box::new("burnt"));
    /// });
    /// ovens.wait();
    /// ```
    #[track_caller]
    pub fn defer_done(&self) -> Done {
        Done {
            group: self.clone(),
            here: Location::caller(),
        }
    }
}

impl Default for WaitGroup {
    #[track_caller]
    fn default() -> WaitGroup {
        WaitGroup::new()
    }
}

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

/// Calls `done` on its [`WaitGroup`] when it is dropped; made by [`WaitGroup::defer_done`].
#[must_use = "`done` is called as soon as this is dropped: bind it to a name, as in `let _done = …`"]
pub struct Done {
    group: WaitGroup,
    here: Here,
}

impl Drop for Done {
    fn drop(&mut self) {
        self.group.lower(self.here);
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Done").field(&self.group).finish()
    }
}
