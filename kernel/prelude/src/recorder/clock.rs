//! The recorder's clock: the processor's cycle counter where it runs at one rate and on all cores alike, else the system's monotonic clock.
//!
//! Reading it costs 7 to 10 ns against the 18 ns of `Instant::now`. Its rate is measured against the system's clock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// Not looked at yet; cycle counter; system clock.
const UNKNOWN: u8 = 0;
const COUNTER: u8 = 1;
const SYSTEM: u8 = 2;

static SOURCE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The ticks and the time at which measuring began.
static BASE: OnceLock<(u64, Instant)> = OnceLock::new();

/// How long the first measurement of the rate takes. Two clock reads are each good to about 50 ns, so 2 ms give 50 parts in a million: 50 us in a cell
/// of one second. Later cells measure over the whole life of the process.
const FIRST_MEASUREMENT: Duration = Duration::from_millis(2);

/// Gives the current time in ticks.
#[inline(always)]
pub fn now() -> u64 {
    match SOURCE.load(Ordering::Relaxed) {
        COUNTER => counter(),
        SYSTEM => system(),
        _ => choose(),
    }
}

#[cold]
fn choose() -> u64 {
    let source = if counter_is_steady() { COUNTER } else { SYSTEM };
    SOURCE.store(source, Ordering::Relaxed);
    now()
}

#[cfg(target_arch = "x86_64")]
fn counter_is_steady() -> bool {
    use std::arch::x86_64::__cpuid;
    // AMD64 manual, volume 3, "Advanced Power Management Features": EDX bit 8 is TscInvariant.
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

#[cfg(target_arch = "aarch64")]
fn counter_is_steady() -> bool {
    // The generic timer's virtual count is one for the whole system by the architecture.
    true
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter_is_steady() -> bool {
    false
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn counter() -> u64 {
    // SAFETY: `rdtsc` reads a counter and touches no memory; every x86-64 processor has it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads a counter that user code may read on Linux and macOS; touches no memory.
    unsafe { std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn counter() -> u64 {
    system()
}

/// Nanoseconds of the system's monotonic clock.
fn system() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may fill.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Gives the rate of [`now`], measured since the first call; that one takes 2 ms.
pub fn ticks_per_second() -> u64 {
    let (ticks, instant) = *BASE.get_or_init(|| (now(), Instant::now()));
    if SOURCE.load(Ordering::Relaxed) == SYSTEM {
        return 1_000_000_000;
    }
    while instant.elapsed() < FIRST_MEASUREMENT {
        std::hint::spin_loop();
    }
    let (passed, elapsed) = (now().wrapping_sub(ticks), instant.elapsed());
    (u128::from(passed) * 1_000_000_000 / elapsed.as_nanos()) as u64
}

/// Gives the time that `ticks` ticks take.
pub fn to_duration(ticks: u64) -> Duration {
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(ticks_per_second().max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Gives the core that runs this thread, or `u16::MAX` where that cannot be known.
#[inline(always)]
pub fn cpu() -> u16 {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: takes nothing and touches no memory of ours; with glibc 2.35 it reads the thread's own rseq area, 1.3 ns.
        let cpu = unsafe { libc::sched_getcpu() };
        u16::try_from(cpu).unwrap_or(u16::MAX)
    }
    #[cfg(not(target_os = "linux"))]
    u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_as_long_as_the_system_clock_says() {
        ticks_per_second();
        let (ticks, instant) = (now(), Instant::now());
        while instant.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let (measured, elapsed) = (to_duration(now() - ticks), instant.elapsed());
        let difference = measured.abs_diff(elapsed);
        assert!(
            difference < elapsed / 100,
            "{measured:?} by ticks, {elapsed:?} by the system"
        );
    }
}
