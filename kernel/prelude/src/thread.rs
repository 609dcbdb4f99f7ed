//! Threads that the picture shows: `spawn` and `join` as std has them.

use std::fmt;
use std::panic::Location;
use std::thread::{Result, Thread};

use threadbook_timeline::format::Engine;

use crate::rt;
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
    JoinHandle(unsafe { task::start(Engine::Thread, None, None, Location::caller(), f) })
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
    JoinHandle(unsafe {
        task::start(
            Engine::Thread,
            Some(name.as_ref()),
            None,
            Location::caller(),
            f,
        )
    })
}

/// Starts a green task that runs `f`: many of them share few threads, the workers, of which there are as many as cores.
///
/// Does not block. The task goes on when its handle is dropped, and when the cell ends. What waits in it waits as in a thread: a `recv`, a `lock`, a
/// `sleep` of this crate gives the worker to another task. What computes, or blocks by other means (a lock of std's, a read from a file), keeps the worker
/// from all others: call [`yield_now`](crate::yield_now) in long loops, or use [`spawn`]. Once started, a task stays on its worker. Its stack has 256 KiB.
///
/// Costs a fraction of a microsecond, where a thread costs some 30, and 4 KiB of memory while it waits.
///
/// Go's `go` statement, but that Go's scheduler also takes the thread from a goroutine that computes. In a cargo project that moves to std, use
/// [`std::thread::spawn`], or an async runtime.
///
/// # Panics
/// When there is no worker yet, and the system gives no thread for one.
///
/// ```
/// # use threadbook_prelude::*;
/// let (tx, rx) = channel();
/// for baker in 0..1000 {
///     let tx = tx.clone();
///     go(move || tx.send(baker).unwrap());
/// }
/// drop(tx);
/// assert_eq!(rx.iter().sum::<i32>(), 499_500);
/// ```
#[track_caller]
pub fn go<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `f` and its result are `'static`.
    JoinHandle(unsafe { task::start(Engine::Green, None, None, Location::caller(), f) })
}

/// Starts a green task that runs `f` and is called `name` on its lane and in reports. Otherwise as [`go`].
///
/// # Panics
/// When there is no worker yet, and the system gives no thread for one.
///
/// ```
/// # use threadbook_prelude::*;
/// assert_eq!(go_named("ada", || 6 * 7).join().unwrap(), 42);
/// ```
#[track_caller]
pub fn go_named<F, T>(name: impl AsRef<str>, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let name = Some(name.as_ref());
    // SAFETY: `f` and its result are `'static`.
    JoinHandle(unsafe { task::start(Engine::Green, name, None, Location::caller(), f) })
}

/// Sets how many workers run green tasks, for this cell only, and gives how many it were. 0 changes nothing.
///
/// With `workers(1)` all is one thread: the calling one runs the tasks itself, whenever it waits or yields, each until it waits, in the order in which they
/// became ready. So the same cell gives the same order every time. A task that still waits when such a cell ends goes on only while a later cell waits, and
/// never when the thread has ended.
/// Threads by [`spawn`] are threads all the same. In a green task it changes nothing, and nor does it while another thread runs the tasks.
///
/// Go's `runtime.GOMAXPROCS`, but that Go's main goroutine is one among the others.
///
/// ```standalone_crate
/// # use threadbook_prelude::*;
/// let before = workers(1);
/// let order = Arc::new(Mutex::new(Vec::new()));
/// let bakers: Vec<_> = ["ada", "grace"]
///     .map(|name| {
///         let order = order.clone();
///         go(move || {
///             order.lock().unwrap().push(format!("{name} kneads"));
///             yield_now();
///             order.lock().unwrap().push(format!("{name} bakes"));
///         })
///     })
///     .into();
/// bakers.into_iter().for_each(|baker| baker.join().unwrap());
/// assert_eq!(order.lock().unwrap().join(", "), "ada kneads, grace kneads, ada bakes, grace bakes");
/// workers(before);
/// ```
pub fn workers(n: usize) -> usize {
    rt::set_workers(n)
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
            .field("name", &self.0.thread_name())
            .field("finished", &self.is_finished())
            .finish()
    }
}
