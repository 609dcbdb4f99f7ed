//! Threads that the picture shows: `spawn` and `join` as std has them.

use std::fmt;
use std::panic::Location;
use std::thread::{Result, Thread};

use crate::task::{self, Started};

/// Starts a thread that runs `f`.
///
/// Does not block. The thread goes on when its handle is dropped, and when the cell ends. It gets a lane from this call on: from here to where its line
/// begins is the time that the system took to start it, some 30 us.
///
/// The contract of [`std::thread::spawn`].
///
/// # Panics
/// When the system gives no further thread.
///
/// ```
/// # use threadbook_prelude::*;
/// let baker = spawn(|| 6 * 7);
/// assert_eq!(baker.join().unwrap(), 42);
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `f` and its result are `'static`.
    JoinHandle(unsafe { task::start(None, None, Location::caller(), f) })
}

/// Starts a thread that runs `f` and is called `name`: on its lane, in panics, and by [`std::thread::current`].
///
/// Otherwise as [`spawn`]. The contract of [`std::thread::Builder::name`] and `spawn`.
///
/// # Panics
/// When the system gives no further thread.
///
/// ```
/// # use threadbook_prelude::*;
/// let baker = spawn_named("ada", || std::thread::current().name().map(String::from));
/// assert_eq!(baker.join().unwrap().as_deref(), Some("ada"));
/// ```
#[track_caller]
pub fn spawn_named<F, T>(name: impl AsRef<str>, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `f` and its result are `'static`.
    JoinHandle(unsafe { task::start(Some(name.as_ref()), None, Location::caller(), f) })
}

/// The right to wait for a thread's end and to have its result. Dropping it lets the thread go on alone.
///
/// The contract of [`std::thread::JoinHandle`].
pub struct JoinHandle<T>(Started<T>);

impl<T> JoinHandle<T> {
    /// Waits for the thread's end and gives what it returned.
    ///
    /// Blocks the calling thread, drawn on its lane up to the other's end. Returns at once when that has ended already.
    ///
    /// # Errors
    /// When the thread panicked: what it panicked with.
    ///
    /// ```
    /// # use threadbook_prelude::*;
    /// assert_eq!(spawn(|| "bread").join().unwrap(), "bread");
    /// assert!(spawn(|| std::panic::resume_unwind(Box::new("burnt"))).join().is_err());
    /// ```
    #[track_caller]
    pub fn join(self) -> Result<T> {
        self.0.join(Location::caller())
    }

    /// Says whether the thread has come to its end, so that [`join`](Self::join) would not wait. Does not block.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Gives the thread: its name, its id, `unpark`.
    pub fn thread(&self) -> &Thread {
        self.0.thread()
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("thread", &self.thread().name())
            .field("finished", &self.is_finished())
            .finish()
    }
}
