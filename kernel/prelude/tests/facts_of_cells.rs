//! Facts where a kernel's trace is there: about the cell so far, about the one before, and while recording is off. One test, since a process has one trace.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use threadbook_prelude::hooks::{threadbook_cell_begin, threadbook_cell_end};
use threadbook_prelude::*;
use threadbook_timeline::fold::fold;
use threadbook_timeline::format::TRACE_BYTES;
use threadbook_timeline::memory::Memory;

/// A trace as the kernel makes it, attached.
fn kernels_trace() -> Memory {
    // SAFETY: an anonymous file of the size of a trace, mapped whole and never unmapped; the descriptor is owned by nobody else.
    let (memory, file) = unsafe {
        let file = OwnedFd::from_raw_fd(libc::memfd_create(c"trace".as_ptr(), 0));
        let sized = libc::ftruncate(file.as_raw_fd(), TRACE_BYTES as libc::off_t);
        assert_eq!(sized, 0, "room for a trace");
        let (read_and_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let base = libc::mmap(
            null_mut(),
            TRACE_BYTES,
            read_and_write,
            shared,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
        let memory = Memory::new(base.cast(), TRACE_BYTES).expect("a whole mapping");
        (memory, file)
    };
    memory.format();
    recorder::attach(file.as_raw_fd()).expect("a trace that was just formatted");
    memory
}

fn fan(names: &[&str]) {
    let start = |name: &&str| spawn_named(name, || work(Duration::from_micros(50)));
    let bakers: Vec<_> = names.iter().map(start).collect();
    for baker in bakers {
        baker.join().unwrap();
    }
}

fn names(facts: &Facts) -> Vec<String> {
    let tasks = facts.tasks();
    tasks.iter().map(|task| task.name().to_owned()).collect()
}

#[test]
fn a_cell_its_parts_and_the_cell_before() {
    // Where there is nothing at all: recorded in memory of the process's own.
    let ((), facts_of_fan) = observe(|| fan(&["ada", "grace"]));
    assert!(facts_of_fan.concurrent("ada", "grace"));
    assert_eq!(names(&facts()), ["ada", "grace"]);

    let memory = kernels_trace();
    memory.begin(1);
    threadbook_cell_begin(null_mut());
    assert!(facts().tasks().is_empty(), "nothing happened yet");
    let shelf = Mutex::new(0).named("shelf");
    fan(&["ada"]);
    let (loaves, part) = observe(|| {
        *shelf.lock().unwrap() += 1;
        fan(&["grace", "barbara"]);
        3
    });
    assert_eq!((loaves, names(&part).len()), (3, 2));
    assert_eq!(part.only_lock().taken_by(), ["main"]);
    assert!(part.task("main").waited_for() == ["grace", "barbara"]);
    let cell = facts();
    assert_eq!(names(&cell), ["ada", "grace", "barbara"]);
    assert!(cell.order(&["ada", "grace"]) && cell.concurrent("grace", "barbara"));
    threadbook_cell_end(null_mut());

    // A cell that does nothing yet is asked about the one before.
    memory.begin(2);
    threadbook_cell_begin(null_mut());
    assert_eq!(names(&facts()), ["ada", "grace", "barbara"]);
    fan(&["alan"]);
    assert_eq!(names(&facts()), ["alan"]);
    check!(fan(&["alan", "kurt"]) => (), "two, side by side": |f| f.all_concurrent());
    threadbook_cell_end(null_mut());

    // Recording is off: what is observed is recorded all the same, beside the kernel's last recording.
    memory.stop();
    let before = memory.read(2).events;
    for _ in 0..3 {
        let ((), part) = observe(|| fan(&["ada", "grace"]));
        assert_eq!(names(&part), ["ada", "grace"]);
        assert_eq!(recorder::recording(), 0, "off again");
        assert_eq!(names(&facts()), ["ada", "grace"], "what was observed last");
    }
    assert_eq!(memory.read(2).events, before);
    assert_eq!(
        fold(&memory.read(2)).lanes.len(),
        42,
        "alan, 20 times two, main"
    );

    // What has no room is missing, and so there are no facts.
    memory.begin(3);
    threadbook_cell_begin(null_mut());
    let ((), part) = observe(|| {
        let cell = AtomicU64::new(0);
        for _ in 0..600_000 {
            cell.load(Ordering::Relaxed);
        }
    });
    let why = catch_unwind(AssertUnwindSafe(|| drop(part.tasks()))).expect_err("no facts");
    let why = why.downcast_ref::<String>().expect("in words");
    assert!(why.contains("too much happened to tell"), "{why}");
    threadbook_cell_end(null_mut());
    memory.begin(4);
    let ((), part) = observe(|| fan(&["ada"]));
    assert_eq!(names(&part), ["ada"], "there is room again");
}
