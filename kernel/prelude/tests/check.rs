//! `check!`: what passes, what fails and in which words, what is refused, and what the kernel is told.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU32 as StdU32;

use threadbook_prelude::*;

/// Each second run of a check makes its thread the one that runs all green tasks: two checks at once would take them from each other.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Set in the process that plays the learner's.
const LEARNER: &str = "THREADBOOK_TEST_LEARNER";

fn bake(trays: u32) -> u32 {
    let bakers: Vec<_> = (1..=trays)
        .map(|tray| spawn_named(format!("baker {tray}"), move || tray))
        .collect();
    bakers.into_iter().map(|baker| baker.join().unwrap()).sum()
}

fn bake_one_by_one(trays: u32) -> u32 {
    (1..=trays)
        .map(|tray| {
            spawn_named(format!("baker {tray}"), move || tray)
                .join()
                .unwrap()
        })
        .sum()
}

fn sell_twice() -> u64 {
    let sold = Racy::new(0);
    let (first, second) = (bounded(0), bounded(0));
    scope(|s| {
        // The bad order, forced.
        s.spawn(|| {
            sold.read_then_write(|loaves| {
                first.0.send(()).unwrap();
                second.1.recv().unwrap();
                loaves + 1
            })
        });
        first.1.recv().unwrap();
        sold.read_then_write(|loaves| loaves + 1);
        second.0.send(()).unwrap();
    });
    sold.load(Ordering::Relaxed)
}

fn lock_twice() -> u32 {
    let till = Mutex::new(1).named("till");
    let first = till.lock().unwrap();
    let second = till.lock().unwrap();
    *first + *second
}

/// Each has a lock and waits for the other's.
fn embrace() -> u32 {
    let (till, shelf) = (Mutex::new(1).named("till"), Mutex::new(1).named("shelf"));
    let (ready, is_ready) = bounded(0);
    scope(|s| {
        s.spawn_named("ada", || {
            let mine = till.lock().unwrap();
            is_ready.recv().unwrap();
            *mine + *shelf.lock().unwrap()
        });
        s.spawn_named("grace", || {
            let mine = shelf.lock().unwrap();
            ready.send(()).unwrap();
            *mine + *till.lock().unwrap()
        });
    });
    2
}

fn failure(check: impl FnOnce()) -> CheckFailed {
    let payload = catch_unwind(AssertUnwindSafe(check)).expect_err("is red");
    let failure = payload.downcast_ref::<CheckFailed>();
    failure.expect("says why").clone()
}

#[test]
fn what_is_right_passes_and_runs_twenty_times() {
    let _turn = turn();
    let runs = StdU32::new(0);
    check!({ runs.fetch_add(1, Ordering::Relaxed); bake(3) } => 6,
        "three bakers": |f| f.tasks().len() == 3,
        "side by side": |f| f.concurrent("baker 1", "baker 3"),
        "each was awaited": |f| f.all_finished(),
    );
    assert_eq!(runs.into_inner(), 20);
}

#[test]
fn results_of_many_types_are_compared() {
    let _turn = turn();
    let name = String::from("ada");
    check!(name.clone() => "ada");
    check!(vec!["ada", "grace"] => ["ada", "grace"]);
    check!(Some(1.5) => Some(1.5));
    check!(bake(2) as usize => name.len());
    check!(_ = bake(1) => ());
    check!(bake(1).checked_sub(2) => None, "one": |f| f.tasks().len() == 1);
}

#[test]
fn what_is_wrong_is_said_in_words() {
    let _turn = turn();
    let runs = StdU32::new(0);
    for (name, failure, run, fact, want) in [
        (
            "result",
            failure(|| check!(bake(3) => 7, "three": |f| f.tasks().len() == 3)),
            1,
            None,
            "`bake(3)` gave 6, and 7 was wanted (run 1 of 20)",
        ),
        (
            "result of a later run",
            failure(|| check!(runs.fetch_add(1, Ordering::Relaxed) / 4 => 0)),
            5,
            None,
            "`runs.fetch_add(1, Ordering::Relaxed) / 4` gave 1, and 0 was wanted (run 5 of 20)",
        ),
        (
            "lost update",
            failure(|| check!(sell_twice() => 2)),
            1,
            None,
            "`sell_twice()` gave 1, and 2 was wanted (run 1 of 20)",
        ),
        (
            "fact",
            failure(|| {
                check!(bake_one_by_one(2) => 3,
                    "two bakers": |f| f.tasks().len() == 2,
                    "side by side": |f| f.concurrent("baker 1", "baker 2"),
                );
            }),
            1,
            Some("side by side"),
            "gave 3, as wanted, but this is not so: side by side; what was seen: baker 1 (finished), baker 2 (finished) (run 1 of 20)",
        ),
        (
            "fact without an answer",
            failure(|| check!(bake(1) => 1, "a lock": |f| f.only_lock().times() == 1)),
            1,
            Some("a lock"),
            "but this is not so: a lock; no lock was used; nothing that tasks share was used (run 1 of 20)",
        ),
        (
            "panic",
            failure(|| check!(vec![1][bake(0) as usize + 1] => 1)),
            1,
            None,
            "panicked, and 1 was wanted: index out of bounds: the len is 1 but the index is 1 (run 1 of 20)",
        ),
        (
            "deadlock of one",
            failure(|| check!(lock_twice() => 2)),
            1,
            None,
            "came to a deadlock: `what_is_wrong_is_said_in_words` waited for lock `till` (run 1 of 20)",
        ),
        (
            "deadlock of two",
            failure(|| check!(embrace() => 2)),
            1,
            None,
            "came to a deadlock: `ada` waited for lock `shelf`, `grace` waited for lock `till` (run 1 of 20)",
        ),
    ] {
        assert_eq!(
            (failure.run(), failure.fact()),
            (run, fact),
            "{name}: {failure}"
        );
        assert!(failure.to_string().ends_with(want), "{name}: {failure}");
    }
    // What unwound it is over: it can wait again, and be right.
    check!(bake(2) => 3);
}

#[test]
fn a_fact_that_nothing_can_make_false_is_refused() {
    let _turn = turn();
    for (name, check) in [
        (
            "nobody slept",
            &(|| check!(bake(1) => 1, "nobody slept": |f| f.slept() == 0)) as &dyn Fn(),
        ),
        ("true", &|| check!(bake(1) => 1, "all is well": |_| true)),
        ("of each, of which there is none", &|| {
            check!(bake(1) => 1, "each": |f| f.tasks().iter().all(TaskFacts::finished));
        }),
    ] {
        let payload = catch_unwind(AssertUnwindSafe(check)).expect_err(name);
        let words = payload.downcast_ref::<String>().expect(name);
        assert!(
            words.contains("is true also when nothing happens at all"),
            "{words}"
        );
    }
    // The same, together with what must be there.
    check!(bake(1) => 1, "it ends, and nobody slept": |f| f.all_finished() && f.slept() == 0);
}

fn checks_in_a_cell() {
    hooks::threadbook_cell_begin(std::ptr::null_mut());
    check!(bake(2) => 3, "two bakers": |f| f.tasks().len() == 2);
    let long = "x".repeat(10_000);
    let red = catch_unwind(AssertUnwindSafe(|| {
        check!((bake(1), long.clone()) => (1, String::new()));
    }));
    assert!(red.unwrap_err().is::<CheckFailed>());
    let red = catch_unwind(
        || check!(bake_one_by_one(2) => 3, "\"side by side\"": |f| f.concurrent("baker 1", "baker 9")),
    );
    assert!(red.is_err());
    hooks::threadbook_cell_end(std::ptr::null_mut());
}

#[test]
fn the_kernel_is_told_how_a_check_came_out() {
    let _turn = turn();
    if std::env::var_os(LEARNER).is_some() {
        checks_in_a_cell();
        return;
    }
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors, which nobody else owns.
    let (mut reading, writing) = unsafe {
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0, "a pipe");
        (File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    };
    let learner = Command::new(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "the_kernel_is_told_how_a_check_came_out",
            "--nocapture",
        ])
        .env(LEARNER, "1")
        .env("THREADBOOK_MARK_FD", writing.as_raw_fd().to_string())
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{marks}\n{stderr}");
    let mut marks: Vec<&str> = marks.lines().collect();
    assert_eq!(marks.remove(0), r#"{"mark":"begin","cell":1}"#);
    assert!(marks.iter().all(|mark| mark.len() < 3500), "{marks:#?}");
    for (at, begin, inside) in [
        (
            0,
            r#"{"mark":"check","ok":true,"call":"bake(2)","run":20,"of":20,"observation":20,"build":0,"line":"#,
            "",
        ),
        (
            1,
            r#"{"mark":"check","ok":false,"call":"(bake(1), long.clone())","run":1,"of":20,"observation":21,"why":"result","fact":null,"message":"gave (1, "#,
            r#"…, and (1, \"\") was wanted","build":0,"line":"#,
        ),
        (
            2,
            r#"{"mark":"panic","task":"main","id":1,"main":true,"cell":1,"message":"`(bake(1), long.clone())` gave"#,
            "(run 1 of 20)",
        ),
        (
            3,
            r#"{"mark":"check","ok":false,"call":"bake_one_by_one(2)","run":1,"of":20,"observation":22,"why":"fact","fact":"\"side by side\"","#,
            "no task called `baker 9` was seen; the tasks that were: `baker 1`, `baker 2`",
        ),
        (4, r#"{"mark":"panic","task":"main""#, ""),
        (5, r#"{"mark":"end","panics":2}"#, ""),
    ] {
        assert!(
            marks[at].starts_with(begin) && marks[at].contains(inside),
            "{at}: {}",
            marks[at]
        );
    }
    assert_eq!(marks.len(), 6, "{marks:#?}");
}
