//! A trace of this process's own, as a kernel would hand one down.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use threadbook_prelude::recorder;
use threadbook_timeline::format::{Header, MAGIC, TRACE_BYTES, VERSION};

static HEADER: OnceLock<&'static Header> = OnceLock::new();

/// Attaches a trace whose memory has been touched, as it has after a notebook's first cells.
pub fn record_from_now_on() {
    // SAFETY: an anonymous file of the size of a trace, mapped whole; it stays mapped until the program ends. It begins with a header, all of it atomics.
    let (fd, base) = unsafe {
        let fd = libc::memfd_create(c"trace".as_ptr(), 0);
        assert_eq!(
            libc::ftruncate(fd, TRACE_BYTES as libc::off_t),
            0,
            "room for a trace"
        );
        let base = libc::mmap(
            std::ptr::null_mut(),
            TRACE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd,
            0,
        );
        assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
        (fd, base)
    };
    // SAFETY: the mapping begins with a header, all of it atomics.
    let header = unsafe { &*base.cast::<Header>() };
    header.magic.store(MAGIC, Ordering::Relaxed);
    header.version.store(VERSION, Ordering::Relaxed);
    recorder::attach(fd).expect("a trace that was just formatted");
    HEADER.set(header).expect("one trace for a process");
}

/// Begins a recording, if it is to be recorded.
pub fn next_recording() {
    let Some(header) = HEADER.get() else { return };
    let recording = header.recording.load(Ordering::Relaxed) + 1;
    header.next_turn[recording as usize & 1].store(0, Ordering::Relaxed);
    header.recording.store(recording, Ordering::Relaxed);
}

/// Sees that nothing was left out, which costs less than to record it.
pub fn check() {
    let Some(header) = HEADER.get() else { return };
    let dropped: u64 = header
        .dropped
        .iter()
        .map(|dropped| dropped.load(Ordering::Relaxed))
        .sum();
    assert_eq!(dropped, 0, "a batch has more events than a recording");
}
