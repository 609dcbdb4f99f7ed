//! Stacks for green tasks: each with a guard page below it, cut from large pieces of memory, and used again.
//!
//! A mapping for each stack would end at 32,748 of them, since a guard page splits a mapping in two and Linux allows 65,530. Linux 6.13 can guard pages
//! inside a mapping, 0.3 us each; older systems get a mapping's protection changed, and a limit with words.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use corosensei::stack::{Stack, StackPointer};

use crate::rt::lock;

/// The size of a stack in bytes, the guard page included. Address space, not memory: a page comes into being when it is touched, and a parked task
/// touches one. A recursion of a thousand calls fits; so much of it would not into the 64 KiB that green threads often get.
pub const STACK_BYTES: usize = 256 * 1024;
/// How many stacks are mapped at once.
const PER_SLAB: usize = 64;
/// The most that can be guarded by a mapping's protection: each costs two of the 65,530 mappings that a process may have.
const MOST_BY_PROTECTION: usize = 30_000;
/// How many free stacks keep the memory that they touched.
const WARM: usize = 1024;

/// `MADV_GUARD_INSTALL` of Linux 6.13, which libc does not name yet.
#[cfg(target_os = "linux")]
const GUARD_INSTALL: libc::c_int = 102;

/// A stack that nobody uses, or that the coroutine uses that owns this.
pub struct GreenStack {
    /// The highest address: stacks grow down.
    base: NonZeroUsize,
}

// SAFETY: the lowest page of the `STACK_BYTES` below `base` is guarded (`slab`), and what lies above it is more than the smallest size.
unsafe impl Stack for GreenStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        // Stacks are cut from a mapping that begins above 0.
        NonZeroUsize::new(self.base.get() - STACK_BYTES).expect("a stack lies above address 0")
    }
}

static FREE: Mutex<Vec<GreenStack>> = Mutex::new(Vec::new());
static MADE: AtomicUsize = AtomicUsize::new(0);
static NO_GUARD_ADVICE: AtomicBool = AtomicBool::new(false);

/// Keeps others from taking and giving stacks.
pub fn hold() -> MutexGuard<'static, Vec<GreenStack>> {
    lock(&FREE)
}

/// Moves up to `count` stacks into `pool`; makes new ones when none are free.
///
/// # Errors
/// When the system gives no more memory or mappings.
pub fn take(pool: &mut Vec<GreenStack>, count: usize) -> io::Result<()> {
    let mut free = lock(&FREE);
    if free.is_empty() {
        slab(&mut free)?;
    }
    let from = free.len().saturating_sub(count);
    pool.extend(free.drain(from..));
    Ok(())
}

/// Gives stacks back for others to use. Those that are more than some give back their memory.
pub fn give(stacks: impl Iterator<Item = GreenStack>) {
    let mut free = lock(&FREE);
    for stack in stacks {
        if free.len() >= WARM {
            let usable = STACK_BYTES - page_bytes();
            // SAFETY: the part above the guard page of a stack that nobody uses. What it held is not needed any more.
            unsafe {
                libc::madvise(
                    (stack.base.get() - usable) as *mut libc::c_void,
                    usable,
                    libc::MADV_DONTNEED,
                );
            }
        }
        free.push(stack);
    }
}

/// Whether `address` lies in the guard page of some stack: a task needed more than it has. Takes no lock: for a signal handler.
pub fn is_guard(address: usize) -> bool {
    let count = SLABS_USED.load(Ordering::Acquire).min(MOST_SLABS);
    SLABS[..count].iter().any(|slab| {
        let begin = slab.load(Ordering::Acquire);
        begin != 0
            && (begin..begin + PER_SLAB * STACK_BYTES).contains(&address)
            && (address - begin) % STACK_BYTES < page_bytes()
    })
}

const MOST_SLABS: usize = 8192;
static SLABS: [AtomicUsize; MOST_SLABS] = [const { AtomicUsize::new(0) }; MOST_SLABS];
static SLABS_USED: AtomicUsize = AtomicUsize::new(0);

fn page_bytes() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    let known = PAGE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    // SAFETY: asks the system for a number.
    let asked = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = usize::try_from(asked).unwrap_or(4096);
    PAGE.store(page, Ordering::Relaxed);
    page
}

/// Maps memory for more stacks, guards them, and adds them to `free`.
fn slab(free: &mut Vec<GreenStack>) -> io::Result<()> {
    let by_protection = NO_GUARD_ADVICE.load(Ordering::Relaxed);
    if by_protection && MADE.load(Ordering::Relaxed) + PER_SLAB > MOST_BY_PROTECTION {
        return Err(io::Error::other(format!(
            "this system can guard the stacks of {MOST_BY_PROTECTION} tasks at a time (Linux 6.13 and later: of any number)"
        )));
    }
    let bytes = PER_SLAB * STACK_BYTES;
    // SAFETY: a new private mapping; no address is asked for.
    let begin = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if begin == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // A page of 2 MiB for a stack that touches 4 KiB would be 500 times what it needs. Where there is no such advice, nothing is lost.
    #[cfg(target_os = "linux")]
    // SAFETY: advice on memory that was just mapped.
    unsafe {
        libc::madvise(begin, bytes, libc::MADV_NOHUGEPAGE)
    };
    let begin_at = begin as usize;
    for number in 0..PER_SLAB {
        if let Err(why) = guard(begin_at + number * STACK_BYTES) {
            // SAFETY: unmaps what was mapped above, of which nothing is used yet.
            unsafe { libc::munmap(begin, bytes) };
            return Err(why);
        }
    }
    let slot = SLABS_USED.fetch_add(1, Ordering::AcqRel);
    if let Some(slot) = SLABS.get(slot) {
        slot.store(begin_at, Ordering::Release);
    }
    MADE.fetch_add(PER_SLAB, Ordering::Relaxed);
    let stack = |number| GreenStack {
        base: NonZeroUsize::new(begin_at + (number + 1) * STACK_BYTES)
            .expect("mapped above address 0"),
    };
    // The first to be taken is the one at the lowest address.
    free.extend((0..PER_SLAB).rev().map(stack));
    Ok(())
}

/// Makes the page at `address` one that may not be touched.
fn guard(address: usize) -> io::Result<()> {
    let (page, bytes) = (address as *mut libc::c_void, page_bytes());
    #[cfg(target_os = "linux")]
    if !NO_GUARD_ADVICE.load(Ordering::Relaxed) {
        // SAFETY: advice on a page of a mapping of this module's that nobody uses.
        if unsafe { libc::madvise(page, bytes, GUARD_INSTALL) } == 0 {
            return Ok(());
        }
        NO_GUARD_ADVICE.store(true, Ordering::Relaxed);
    }
    #[cfg(not(target_os = "linux"))]
    NO_GUARD_ADVICE.store(true, Ordering::Relaxed);
    // SAFETY: takes the rights from a page of a mapping of this module's that nobody uses.
    if unsafe { libc::mprotect(page, bytes, libc::PROT_NONE) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_guarded_below_and_usable_above() {
        let mut pool = Vec::new();
        take(&mut pool, 3).expect("memory for three stacks");
        assert_eq!(pool.len(), 3);
        for stack in &pool {
            let limit = stack.limit().get();
            assert!(is_guard(limit) && is_guard(limit + page_bytes() - 1));
            assert!(!is_guard(limit + page_bytes()) && !is_guard(stack.base().get() - 1));
            // SAFETY: the lowest byte above the guard page, of a stack that nobody uses.
            unsafe { std::ptr::write_volatile((limit + page_bytes()) as *mut u8, 7) };
        }
        give(pool.into_iter());
    }
}
