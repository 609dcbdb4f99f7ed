//! The hooks as the kernel sees them: a process with a trace and a pipe for marks. The test starts itself again as that process.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::sync::atomic::Ordering;

use threadbook_prelude::hooks::{threadbook_cell_begin, threadbook_cell_end};
use threadbook_prelude::{EvcxrDisplay, ms, spawn_named, work};
use threadbook_timeline::format::{
    ChunkHeader, Event, Header, Kind, MAGIC, MAIN_TASK, TRACE_BYTES, VERSION, chunk_at,
};

/// Set in the process that plays the learner's.
const LEARNER: &str = "THREADBOOK_TEST_LEARNER";

/// Two cells: the first panics on its own thread and on another; the second sets a hook of its own and prints without a new line.
fn two_cells() {
    threadbook_cell_begin(null_mut());
    let baker = spawn_named("ada \"the baker\"", || {
        panic!("burnt\n{}", "x".repeat(5000))
    });
    assert!(baker.join().is_err());
    assert!(std::panic::catch_unwind(|| panic!("in the cell")).is_err());
    threadbook_cell_end(null_mut());

    threadbook_cell_begin(null_mut());
    std::panic::set_hook(Box::new(|_| {}));
    assert!(std::panic::catch_unwind(|| panic!("silenced")).is_err());
    work(ms(1));
    5.evcxr_display();
    print!("no new line");
    threadbook_cell_end(null_mut());

    let mut store = 7;
    let store: *mut std::ffi::c_void = (&raw mut store).cast();
    assert_eq!(threadbook_cell_begin(store), store);
    assert!(std::panic::catch_unwind(|| panic!("heard again")).is_err());
    assert_eq!(threadbook_cell_end(store), store);
}

#[test]
fn marks_and_events_of_cells_reach_the_kernel() {
    if std::env::var_os(LEARNER).is_some() {
        two_cells();
        return;
    }
    // SAFETY: an anonymous file of the size of a trace, mapped whole and never unmapped; the descriptor is owned by nobody else.
    let (trace, base) = unsafe {
        let trace = OwnedFd::from_raw_fd(libc::memfd_create(c"trace".as_ptr(), 0));
        assert_eq!(
            libc::ftruncate(trace.as_raw_fd(), TRACE_BYTES as libc::off_t),
            0,
            "room for a trace"
        );
        let base = libc::mmap(
            null_mut(),
            TRACE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            trace.as_raw_fd(),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
        (trace, base as usize)
    };
    // SAFETY: the mapping begins with a header, all of it atomics.
    let header = unsafe { &*(base as *const Header) };
    header.magic.store(MAGIC, Ordering::Relaxed);
    header.version.store(VERSION, Ordering::Relaxed);
    header.recording.store(1, Ordering::Relaxed);
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors, which nobody else owns.
    let (mut reading, writing) = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0, "a pipe");
        (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    let learner = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "marks_and_events_of_cells_reach_the_kernel",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(LEARNER, "1")
        .env("THREADBOOK_TRACE_FD", trace.as_raw_fd().to_string())
        .env("THREADBOOK_MARK_FD", writing.as_raw_fd().to_string())
        .env("THREADBOOK_MARK_PREFIX", "\u{1e}secret ")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the learner's process");
    drop(writing);
    let mut marks = String::new();
    reading.read_to_string(&mut marks).expect("marks are text");
    let output = learner
        .wait_with_output()
        .expect("the learner's process ends");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{marks}\n{stdout}\n{stderr}");
    assert!(
        !stderr.contains("panicked at"),
        "the marks tell of panics, not stderr: {stderr}"
    );
    assert!(
        stdout.contains("no new line") && !stdout.contains("EVCXR"),
        "{stdout}"
    );

    let (begins, marks): (Vec<&str>, Vec<&str>) = marks
        .lines()
        .map(|mark| {
            mark.strip_prefix("\u{1e}secret ")
                .expect("a prefix before each mark")
        })
        .partition(|mark| mark.starts_with(r#"{"mark":"begin","cell":"#));
    assert_eq!(begins.len(), 3, "{begins:?}");
    assert!(marks.iter().all(|mark| mark.len() < 3500));
    let line = |mark: &str| {
        mark.contains(r#""build":0,"line":"#)
            && mark.contains(r#","column":"#)
            && mark.ends_with('}')
    };
    assert!(
        marks[0].starts_with(
            r#"{"mark":"panic","task":"ada \"the baker\"","id":2,"main":false,"cell":1,"message":"burnt\nxxx"#
        ) && line(marks[0]),
        "{}",
        marks[0]
    );
    assert!(
        marks[0].contains("xxx…\""),
        "the end of a long message is cut off: {}",
        marks[0]
    );
    assert!(
        marks[1].starts_with(
            r#"{"mark":"panic","task":"main","id":1,"main":true,"cell":1,"message":"in the cell","#
        ) && line(marks[1]),
        "{}",
        marks[1]
    );
    assert_eq!(marks[2], r#"{"mark":"end","panics":1}"#);
    assert_eq!(
        marks[3],
        r#"{"mark":"part","of":0,"last":true} {"kind":"value","cell":2,"data":{"text/plain":"5"}}"#
    );
    assert_eq!(
        marks[4], r#"{"mark":"end","panics":0}"#,
        "the learner's own hook was in place"
    );
    assert!(
        marks[5].contains(r#""message":"heard again""#),
        "the kernel's hook is back: {}",
        marks[5]
    );
    assert_eq!(marks[6], r#"{"mark":"end","panics":1}"#);
    assert_eq!(marks.len(), 7);

    assert_eq!(header.generation.load(Ordering::Relaxed), 1);
    assert!(header.ticks_per_second.load(Ordering::Relaxed) > 0);
    let chunk = base + chunk_at(1, 0).expect("the first chunk");
    // SAFETY: a chunk begins with its header, and `len` events behind it are whole: their writer is gone.
    let events: Vec<Event> = unsafe {
        let len = (*(chunk as *const ChunkHeader)).len.load(Ordering::Acquire) as usize;
        let first = (chunk + size_of::<ChunkHeader>()) as *const Event;
        (0..len).map(|at| *first.add(at)).collect()
    };
    let main: Vec<_> = events
        .iter()
        .filter(|event| event.task == MAIN_TASK)
        .filter_map(|event| Kind::from_number(event.kind.into()))
        .collect();
    assert_eq!(main[..2], [Kind::CellBegin, Kind::NameTask]);
    assert_eq!(main.iter().filter(|kind| **kind == Kind::Panic).count(), 2);
    assert_eq!(
        main.iter().filter(|kind| **kind == Kind::CellEnd).count(),
        3
    );
    assert_eq!(main.last(), Some(&Kind::CellEnd));
}
