//! How a work is timed within one process: the same for all implementations, and in `go/main.go`.

use std::time::{Duration, Instant};

use crate::trace;

/// A burst of what costs nanoseconds: in a cell its events are still in the cache of their core.
pub const BURST: usize = 2_000;
/// A batch between tasks or threads: long against their start, and no more events than a recording holds.
pub const MESSAGES: usize = 80_000;
pub const ROUND_TRIPS: usize = 20_000;
pub const LOCKS: usize = 100_000;
pub const TASKS: usize = 1_000;
pub const THREADS: usize = 50;
pub const YIELDS: usize = 100_000;
pub const PARKED: usize = 100_000;

/// How long a work is done before it is measured: threads start, memory is touched, the processor learns.
const WARM_UP: Duration = Duration::from_millis(20);
/// How long it is measured.
const MEASURED: Duration = Duration::from_millis(100);

/// Gives the nanoseconds of one of the `times` that `batch` does something: the median over as many batches as fit.
pub fn per_time(times: usize, mut batch: impl FnMut()) -> f64 {
    let mut took = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < WARM_UP + MEASURED || took.len() < 3 {
        trace::next_recording();
        let before = Instant::now();
        batch();
        let nanos = before.elapsed().as_nanos() as f64 / times as f64;
        if begin.elapsed() >= WARM_UP {
            took.push(nanos);
        }
    }
    trace::check();
    median(&mut took)
}

pub fn median(took: &mut [f64]) -> f64 {
    took.sort_by(f64::total_cmp);
    took[took.len() / 2]
}

/// How many bytes of memory this process has.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line in proc_pid_status(5)");
    let kib = line.trim().trim_end_matches(" kB").trim();
    kib.parse::<usize>().expect("a number of KiB") * 1024
}
