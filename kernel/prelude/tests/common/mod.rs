//! What the tests of the primitives share: a wait that never ends fails instead of hanging.

// Each test program is a crate of its own, and none needs all of it.
#![allow(dead_code, reason = "not each test program uses all of it")]

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest that any test may take.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Runs a test in a thread of its own, and fails when it does not come back.
#[track_caller]
pub fn in_time<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || done.send(test()).unwrap_or(()));
    match result.recv_timeout(DEADLINE) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("still waiting after {DEADLINE:?}"),
        Err(RecvTimeoutError::Disconnected) => {
            std::panic::resume_unwind(thread.join().expect_err("it sent nothing"))
        }
    }
}

/// Waits for something that another thread is about to do.
#[track_caller]
pub fn until(what: &str, happened: impl Fn() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < DEADLINE, "{what}: not after {DEADLINE:?}");
        threadbook_prelude::yield_now();
    }
}
