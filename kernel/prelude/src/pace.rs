//! Time as tasks spend it: sleeping, computing, letting others go first.

use std::panic::Location;
use std::time::Duration;

use threadbook_timeline::format::{Kind, Reason};

use crate::recorder;
use crate::rt::{self, Ended, Token};
use crate::wait::Wait;

/// How long a gap in the clock of a computing thread must be to say that it was off its core. An interrupt takes some 10 us; when a thread lost its core
/// to another, gaps of 4 ms were measured.
const OFF_CORE: Duration = Duration::from_micros(100);

/// How much time passes between two looks at the thread's processor time, which costs a system call.
const BETWEEN_LOOKS: Duration = Duration::from_micros(20);

/// Makes a `Duration` of `n` milliseconds.
///
/// ```
/// # use threadbook_prelude::*;
/// assert_eq!(ms(1500), Duration::from_secs_f64(1.5));
/// ```
pub const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Sleeps for `duration` at least, without using a core.
///
/// Blocks the calling thread, drawn as asleep. The contract of [`std::thread::sleep`].
///
/// ```
/// # use threadbook_prelude::*;
/// let before = Instant::now();
/// sleep(ms(2));
/// assert!(before.elapsed() >= ms(2));
/// ```
#[track_caller]
pub fn sleep(duration: Duration) {
    rt::point();
    let wait = Wait::begin(
        Reason::Sleep,
        0,
        micros(duration) as usize,
        Location::caller(),
    );
    let token = Token::new();
    let ended = match rt::now().checked_add(duration) {
        Some(until) => rt::block(&token, &wait, (), Some(until)),
        // Longer than the clock goes.
        None => rt::block(&token, &wait, (), None),
    };
    wait.end();
    if ended == Ended::Cut {
        rt::unwind();
    }
}

/// Computes until the calling thread has used `duration` of processor time.
///
/// Stands for real work in a demonstration: two threads that `work(ms(20))` take 20 ms on two cores and 40 ms on one, since each must have its 20 ms on a
/// core. The picture shows when a core was lost: a gap of more than 100 us in the clock. Exact to about 20 us.
///
/// ```
/// # use threadbook_prelude::*;
/// let before = Instant::now();
/// work(ms(3));
/// assert!(before.elapsed() >= ms(3));
/// ```
#[track_caller]
pub fn work(duration: Duration) {
    rt::point();
    let here = Location::caller();
    recorder::record(Kind::WorkBegin, 0, micros(duration), 0, Some(here));
    let rate = recorder::ticks_per_second();
    let gap = ticks_in(OFF_CORE, rate);
    let stretch = ticks_in(BETWEEN_LOOKS, rate);
    let end = processor_time() + duration;
    let mut last = recorder::ticks();
    while processor_time() < end {
        let look_at = last + stretch;
        loop {
            std::hint::spin_loop();
            let now = recorder::ticks();
            if now.wrapping_sub(last) > gap && now > last {
                let off = recorder::ticks_to_duration(now - last);
                recorder::record(Kind::OffCore, 0, micros(off), 0, Some(here));
            }
            last = now;
            if now >= look_at {
                break;
            }
        }
        rt::point();
    }
    recorder::record(Kind::WorkEnd, 0, 0, 0, Some(here));
}

/// Lets another go first: a green task the others of its worker that are ready, a thread another thread that waits for its core.
///
/// Does not wait for anything. The contract of [`std::thread::yield_now`], and of Go's `runtime.Gosched`.
///
/// ```
/// # use threadbook_prelude::*;
/// yield_now();
/// ```
#[track_caller]
pub fn yield_now() {
    let here = Location::caller();
    rt::point();
    // Asked here: the switch itself takes no longer than a few such calls.
    if recorder::recording() != 0 {
        recorder::record(Kind::Yield, 0, 0, 0, Some(here));
    }
    rt::yield_now();
    if recorder::recording() != 0 {
        recorder::record(Kind::Resumed, 0, 0, 0, Some(here));
    }
    rt::point();
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn ticks_in(duration: Duration, ticks_per_second: u64) -> u64 {
    (duration.as_nanos() * u128::from(ticks_per_second) / 1_000_000_000) as u64
}

/// Gives how long the calling thread has been on a core so far.
fn processor_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may fill.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0;
    assert!(
        !failed,
        "the system has no clock for a thread's processor time: work() cannot measure what it does here; use sleep()"
    );
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_uses_the_processor_time_that_was_asked_for() {
        for duration in [Duration::ZERO, Duration::from_micros(300), ms(5)] {
            let before = processor_time();
            work(duration);
            let used = processor_time() - before;
            assert!(
                used >= duration && used < duration + ms(5),
                "asked for {duration:?}, used {used:?}"
            );
        }
    }
}
