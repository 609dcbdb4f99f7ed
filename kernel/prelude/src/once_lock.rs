//! `OnceLock`, as std has it: a place for a value that is set once, by whoever comes first.
//!
//! The value lies in one of std's, whose contract it then has by itself; what is ours is who fills it, and who waits for that.

use std::fmt;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard};

use threadbook_timeline::format::{ObjectKind, Reason};

use crate::object::Object;
use crate::recorder::{self, Here};
use crate::rt::{self, Ended, Token, Wakeup};
use crate::wait::{Holder, Subject, Wait, Words};

/// A place for a value that is set once. Who comes first makes the value; who comes meanwhile waits for it; afterwards all share it without a lock.
///
/// The contract of [`std::sync::OnceLock`]; `new` is no `const fn`, since it records where it was called, so it cannot stand in a `static`. Looking at a
/// value that is there costs about 1 ns.
///
/// ```
/// # use threadbook_prelude::*;
/// let recipe = OnceLock::new().named("recipe");
/// scope(|s| {
///     for flour in ["rye", "spelt"] {
///         let recipe = &recipe;
///         s.spawn(move || {
///             let decided = recipe.get_or_init(|| flour); // by one of them
///             assert_eq!(recipe.get(), Some(decided));
///         });
///     }
/// });
/// ```
pub struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    filling: Filling,
}

/// Who fills it, and who waits, whatever the value is.
struct Filling {
    object: Object,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who makes the value at this moment, and since where.
    filler: Option<(u32, Here)>,
    waiting: Vec<Waiter>,
}

struct Waiter {
    token: Token,
    /// It would make the value itself, were it not for another that does.
    would_fill: bool,
}

impl Subject for Filling {
    fn object(&self) -> Option<&Object> {
        Some(&self.object)
    }

    fn holders(&self, _reason: Reason) -> Vec<Holder> {
        let filler = rt::lock(&self.state).filler;
        let holder = |(task, here)| Holder {
            task,
            since: Some(here),
        };
        filler.map(holder).into_iter().collect()
    }

    fn owners(&self, _reason: Reason) -> Vec<Holder> {
        Vec::new()
    }

    fn advice(&self, _reason: Reason, waiting: u32) -> Vec<Words> {
        let filler = rt::lock(&self.state).filler;
        match filler {
            None => vec!["; nobody ever set it, and nobody is left to".into()],
            Some((task, here)) if task == waiting => vec![
                ", which it fills itself since ".into(),
                Words::At(here),
                ": what makes the value must not ask for it".into(),
            ],
            Some((task, here)) => vec![
                ", which ".into(),
                Words::Task(task),
                " fills since ".into(),
                Words::At(here),
            ],
        }
    }
}

impl Filling {
    fn state(&self) -> MutexGuard<'_, State> {
        rt::lock(&self.state)
    }

    /// Waits for the next thing to happen to the value: that it is set, or for one that would fill it also that another failed to.
    fn await_news(&self, mut state: MutexGuard<'_, State>, would_fill: bool, here: Here) {
        let token = Token::new();
        state.waiting.push(Waiter {
            token: token.clone(),
            would_fill,
        });
        let line = state.waiting.len();
        let wait = Wait::begin(Reason::Once, self.object.id(), line, here).about(self);
        let ended = rt::block(&token, &wait, state, None);
        if ended == Ended::Cut {
            self.state().waiting.retain(|other| !other.token.is(&token));
        }
        wait.end();
        if ended == Ended::Cut {
            // Returns in a destructor of a task that unwinds: then the caller waits again, since it must give a reference to the value.
            rt::unwind();
        }
    }

    /// Lets those go on whom `news` concerns.
    fn tell(
        &self,
        state: &mut State,
        here: Here,
        concerns: impl Fn(&Waiter) -> bool,
    ) -> Vec<Wakeup> {
        let (told, others) = std::mem::take(&mut state.waiting)
            .into_iter()
            .partition(concerns);
        state.waiting = others;
        let told: Vec<Waiter> = told;
        told.iter()
            .filter(|waiter| waiter.token.claim())
            .map(|waiter| rt::wake(&waiter.token, self.object.id(), Some(here)))
            .collect()
    }
}

/// The right and the duty to fill. Dropped without the value having been set, as by a panic, it lets the next one try.
struct Turn<'a> {
    filling: &'a Filling,
    here: Here,
    is_set: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.filling.state();
        state.filler = None;
        let is_set = self.is_set;
        let wakeups = self
            .filling
            .tell(&mut state, self.here, |waiter| is_set || waiter.would_fill);
        drop(state);
        drop(wakeups);
    }
}

impl<T> OnceLock<T> {
    /// Makes an empty one.
    #[track_caller]
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "`Default` is there, and has its own `track_caller`"
    )]
    pub fn new() -> OnceLock<T> {
        OnceLock::with(std::sync::OnceLock::new(), Location::caller())
    }

    fn with(value: std::sync::OnceLock<T>, here: Here) -> OnceLock<T> {
        let filling = Filling {
            object: Object::new(ObjectKind::Once, 0, here),
            state: Mutex::default(),
        };
        OnceLock { value, filling }
    }

    /// Gives the place a name for the picture. The first name stays.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let recipe = OnceLock::<String>::new().named("recipe");
    /// # drop(recipe);
    /// ```
    pub fn named(self, name: impl AsRef<str>) -> OnceLock<T> {
        self.filling.object.named(name.as_ref());
        self
    }

    /// Gives the value, or `None` while there is none or it is being made. Does not block.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let recipe = OnceLock::new();
    /// assert_eq!(recipe.get(), None);
    /// recipe.set("rye").unwrap();
    /// assert_eq!(recipe.get(), Some(&"rye"));
    /// ```
    pub fn get(&self) -> Option<&T> {
        rt::point();
        self.value.get()
    }

    /// Gives the value to the one who owns the place, or `None` while there is none. Does not block: nobody else can have it.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let mut recipe = OnceLock::from(5);
    /// *recipe.get_mut().unwrap() += 1;
    /// assert_eq!(recipe.get(), Some(&6));
    /// ```
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut()
    }

    /// Waits until the value is there, and gives it.
    ///
    /// Blocks the calling thread until another one has set the value, drawn on its lane; does not make it. Returns at once when it is there already. The
    /// contract of [`std::sync::OnceLock::wait`].
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let recipe = OnceLock::new();
    /// scope(|s| {
    ///     s.spawn(|| recipe.set("rye").unwrap());
    ///     assert_eq!(recipe.wait(), &"rye");
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> &T {
        let here = Location::caller();
        rt::point();
        loop {
            if let Some(value) = self.value.get() {
                return value;
            }
            let state = self.filling.state();
            // Looked at again under the lock, under which it is set.
            if self.value.get().is_none() {
                self.filling.await_news(state, false, here);
            }
        }
    }

    /// Sets the value, if there is none yet.
    ///
    /// Blocks the calling thread while another one makes the value, drawn on its lane. The contract of [`std::sync::OnceLock::set`].
    ///
    /// # Errors
    /// When there is a value already; the new one is in the error.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let recipe = OnceLock::new();
    /// assert_eq!(recipe.set("rye"), Ok(()));
    /// assert_eq!(recipe.set("spelt"), Err("spelt"));
    /// ```
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        let make = || value.take().expect("made once, by the one call below");
        self.fill(Location::caller(), make);
        value.map_or(Ok(()), Err)
    }

    /// Gives the value, which `f` makes if there is none yet.
    ///
    /// Blocks the calling thread while another one makes the value, drawn on its lane. Of several that come at once one makes it, and the others' `f` are
    /// not called. An `f` that asks for the value it makes waits for itself: that is reported as a deadlock, and unwinds it.
    ///
    /// The contract of [`std::sync::OnceLock::get_or_init`].
    ///
    /// # Panics
    /// When `f` panics, with its panic. There is no value then, and the next one's `f` is tried.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let recipe = OnceLock::new();
    /// assert_eq!(recipe.get_or_init(|| "rye"), &"rye");
    /// assert_eq!(recipe.get_or_init(|| "spelt"), &"rye");
    /// ```
    #[track_caller]
    pub fn get_or_init<F>(&self, f: F) -> &T
    where
        F: FnOnce() -> T,
    {
        self.fill(Location::caller(), f)
    }

    #[inline]
    fn fill(&self, here: Here, make: impl FnOnce() -> T) -> &T {
        rt::point();
        match self.value.get() {
            Some(value) => value,
            None => self.fill_slowly(here, make),
        }
    }

    #[cold]
    fn fill_slowly(&self, here: Here, make: impl FnOnce() -> T) -> &T {
        loop {
            let mut state = self.filling.state();
            if let Some(value) = self.value.get() {
                return value;
            }
            if state.filler.is_some() {
                self.filling.await_news(state, true, here);
                continue;
            }
            state.filler = Some((recorder::current_task(), here));
            drop(state);
            let mut turn = Turn {
                filling: &self.filling,
                here,
                is_set: false,
            };
            let value = make();
            let state = self.filling.state();
            // Never waits and never finds a value: whoever sets it has the turn.
            let value = self.value.get_or_init(|| value);
            turn.is_set = true;
            drop(state);
            return value;
        }
    }

    /// Takes the place apart and gives the value, if there is one. Does not block: nobody else can have it.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// assert_eq!(OnceLock::from("rye").into_inner(), Some("rye"));
    /// assert_eq!(OnceLock::<u8>::new().into_inner(), None);
    /// ```
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out, if there is one, so that it can be set anew. Does not block: nobody else can have it.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// let mut recipe = OnceLock::from("rye");
    /// assert_eq!(recipe.take(), Some("rye"));
    /// assert_eq!(recipe.set("spelt"), Ok(()));
    /// ```
    pub fn take(&mut self) -> Option<T> {
        self.value.take()
    }
}

impl<T> Default for OnceLock<T> {
    #[track_caller]
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    #[track_caller]
    fn from(value: T) -> OnceLock<T> {
        OnceLock::with(value.into(), Location::caller())
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    /// Makes another place with a copy of the value, if there is one.
    #[track_caller]
    fn clone(&self) -> OnceLock<T> {
        OnceLock::with(self.value.clone(), Location::caller())
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    /// Shows the value, or `<uninit>`, as std does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
