//! Places in the learner's source: each `Location` becomes an index into the trace's table of sites the first time it is seen.
//!
//! A `Location` lies in the library of the cell that was compiled, and libraries of cells are never unloaded: its address is its identity. Every cell is
//! `src/lib.rs` to the compiler, so the library tells which cell a line belongs to.

use std::ffi::{CStr, c_void};
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};

use threadbook_timeline::format::MAX_SITES;

use super::names::{self, Use};
use super::trace::Trace;

/// Twice as many slots as sites, so that a free one is never far.
const SLOTS: usize = 2 * MAX_SITES;
/// How far from its own slot a site is looked for, and kept.
const REACH: usize = 32;
/// An address takes the upper 48 bits of a slot, the index the lower 16: one word, so no slot is ever half written.
const INDEX_BITS: u32 = 16;

static KNOWN: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];

/// Gives the index of a place, or 0 when the table is full. About 2 ns for a place that was seen before.
#[inline]
pub fn intern(trace: &Trace, here: &Location<'_>) -> u16 {
    let address = std::ptr::from_ref(here).addr() as u64;
    let start = start_of(address);
    let slot = KNOWN[start].load(Ordering::Relaxed);
    if slot >> INDEX_BITS == address {
        return slot as u16;
    }
    intern_slowly(trace, here, address, start)
}

/// Locations are 24 bytes apart at the least; a multiplication spreads their addresses over the table.
fn start_of(address: u64) -> usize {
    ((address >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % SLOTS
}

#[cold]
#[inline(never)]
fn intern_slowly(trace: &Trace, here: &Location<'_>, address: u64, start: usize) -> u16 {
    for step in 0..REACH {
        let slot = &KNOWN[(start + step) % SLOTS];
        let known = slot.load(Ordering::Relaxed);
        if known >> INDEX_BITS == address {
            return known as u16;
        }
        if known == 0 {
            let index = write(trace, here);
            // When another thread was faster, this place has two indices that say the same.
            let _ = slot.compare_exchange(
                0,
                address << INDEX_BITS | u64::from(index),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            return index;
        }
    }
    0
}

fn write(trace: &Trace, here: &Location<'_>) -> u16 {
    let claimed = trace
        .header()
        .sites
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            ((used as usize) < MAX_SITES - 1).then_some(used + 1)
        });
    let Ok(before) = claimed else { return 0 };
    let index = before + 1;
    let site = trace.site(index as usize);
    site.build.store(build_of(here), Ordering::Relaxed);
    site.line.store(here.line(), Ordering::Relaxed);
    site.column.store(here.column(), Ordering::Relaxed);
    site.file.store(
        names::intern(trace, here.file(), Use::Name),
        Ordering::Relaxed,
    );
    site.ready.store(1, Ordering::Release);
    index as u16
}

/// Gives the number `n` of the `libcode_n.so` that a place lies in, or 0 when it lies in no cell's library.
pub fn build_of(here: &Location<'_>) -> u32 {
    let address: *const c_void = std::ptr::from_ref(here).cast();
    // SAFETY: a `Dl_info` is plain pointers, for which zeros are a value.
    let mut library: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: `dladdr` only compares the address with what is loaded, and fills `library`.
    let found = unsafe { libc::dladdr(address, &raw mut library) };
    if found == 0 || library.dli_fname.is_null() {
        return 0;
    }
    // SAFETY: `dladdr` gave a name that ends in a zero byte and lives as long as the library, which is never unloaded.
    let path = unsafe { CStr::from_ptr(library.dli_fname) };
    build_in(path.to_bytes())
}

/// Gives the `n` in a path that ends in `libcode_n.so` (`.dylib` on macOS), or 0.
fn build_in(path: &[u8]) -> u32 {
    let file = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
    let number = file
        .strip_prefix(b"libcode_")
        .and_then(|rest| rest.split(|&byte| byte == b'.').next());
    number
        .and_then(|digits| str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_read_from_the_name_of_the_library() {
        for (path, want) in [
            ("/work/target/debug/deps/libcode_7.so", 7),
            ("libcode_12.so", 12),
            ("/work/libcode_3.dylib", 3),
            ("/work/libcode_.so", 0),
            ("/work/libcode_x.so", 0),
            ("/work/libcode_99999999999.so", 0),
            ("/work/libcode_7.so/other.so", 0),
            ("/work/threadbook", 0),
            ("", 0),
        ] {
            assert_eq!(build_in(path.as_bytes()), want, "{path}");
        }
    }

    #[test]
    fn a_place_in_this_program_has_no_build() {
        assert_eq!(build_of(Location::caller()), 0);
    }
}
