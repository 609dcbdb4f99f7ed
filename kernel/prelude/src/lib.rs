//! Threads, channels and locks with the names and signatures that Rust's own have, which record what they do.
//!
//! Threadbook loads this crate before the first cell, as if by `use threadbook_prelude::*;`, and draws below each cell what its threads did. In a cargo
//! project the same program is plain Rust: nothing is recorded unless a kernel handed a trace down or something is observed, and everything works as without.
//!
//! ```
//! use threadbook_prelude::*;
//!
//! let (tx, rx) = channel();
//! let baker = spawn_named("ada", move || {
//!     for loaf in 1..=3 {
//!         tx.send(loaf).unwrap();
//!     }
//! });
//! baker.join().unwrap();
//! assert_eq!(rx.iter().sum::<i32>(), 6);
//! ```
//!
//! Layers, top down: the primitives (`channel`, `mutex`, `thread`, …) know `rt`, which blocks and wakes tasks, and `recorder`, which writes events into
//! shared memory in the format of `threadbook_timeline::format`. Nothing here draws. There is no macro with a name of std's: a glob `println!` would make
//! every cell fail. Those of cells come by another way, from the crate `threadbook-print`.

mod atomic;
mod barrier;
mod channel;
#[doc(hidden)]
pub mod check;
mod condvar;
mod display;
mod facts;
pub mod hooks;
mod input;
mod joined;
mod json;
mod mutex;
mod note;
mod object;
mod once_lock;
mod pace;
mod predict;
#[doc(hidden)]
pub mod print;
mod program;
mod progress;
mod racy;
mod raw_mutex;
#[doc(hidden)]
pub mod recorder;
mod rt;
mod rwlock;
mod scope;
#[doc(hidden)]
pub mod select_macro;
mod snapshot;
mod task;
mod thread;
#[doc(hidden)]
pub mod variable_store;
mod wait;
mod wait_group;
mod words;

pub use atomic::{AtomicBool, AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize};
pub use atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};
pub use barrier::{Barrier, BarrierWaitResult};
pub use channel::{IntoIter, Iter, Receiver, SendTimeoutError, Sender, TryIter};
pub use channel::{after, bounded, channel, never, tick};
pub use check::CheckFailed;
pub use condvar::{Condvar, WaitTimeoutResult};
pub use display::{DisplayHandle, EvcxrDisplay, clear_output, display, display_forms};
pub use display::{display_html, display_markdown, display_png, display_svg};
pub use facts::{CellFacts, ChannelFacts, Facts, LockFacts, Run, TaskFacts, WaitGroupFacts};
pub use facts::{facts, observe};
pub use input::{input, password};
pub use mutex::{Mutex, MutexGuard};
pub use note::{Region, mark, region};
pub use once_lock::OnceLock;
pub use pace::{ms, sleep, work, yield_now};
pub use predict::{predict, reveal};
pub use program::program;
pub use progress::{ProgressBar, ProgressIter, progress};
pub use racy::Racy;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use thread::{JoinHandle, go, go_named, spawn, spawn_named, workers};
pub use wait_group::{Done, WaitGroup};

pub use std::sync::Arc;
pub use std::sync::atomic::Ordering;
pub use std::time::{Duration, Instant};
