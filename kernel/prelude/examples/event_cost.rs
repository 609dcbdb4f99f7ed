//! Measures what recording costs: `cargo run --release -p threadbook-prelude --example event_cost`.
//!
//! Prints the best of several rounds for each operation, first with nothing attached, then with a trace that is off, then while recording.

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use threadbook_prelude::*;
use threadbook_timeline::format::{Header, Kind, MAGIC, TRACE_BYTES, VERSION};

const ROUNDS: u32 = 200;
/// A busy cell: its events are still in the cache of their core.
const TIMES: u32 = 2_000;

/// Gives the nanoseconds of one call of `f`, the best of the rounds.
fn cost(before_each_round: &dyn Fn(), mut f: impl FnMut()) -> f64 {
    let round = |_| {
        before_each_round();
        let start = Instant::now();
        for _ in 0..TIMES {
            f();
        }
        start.elapsed().as_nanos() as f64 / f64::from(TIMES)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn measure(title: &str, before_each_round: &dyn Fn()) {
    println!("{title}");
    let show = |name: &str, nanos: f64| println!("  {name:<44}{nanos:>9.1} ns");
    show(
        "one event",
        cost(before_each_round, || {
            recorder::record(Kind::Yield, black_box(7), 0, 0, None);
        }),
    );
    let here = std::panic::Location::caller();
    show(
        "one event with its site",
        cost(before_each_round, || {
            recorder::record(Kind::Yield, black_box(7), 0, 0, Some(here));
        }),
    );
    show(
        "the clock alone",
        cost(before_each_round, || _ = black_box(recorder::ticks())),
    );
    show(
        "the core's number alone",
        cost(before_each_round, || {
            // SAFETY: takes nothing and touches no memory of ours.
            _ = black_box(unsafe { libc::sched_getcpu() });
        }),
    );
    let till = Mutex::new(0);
    show(
        "Mutex: lock and unlock",
        cost(before_each_round, || *till.lock().unwrap() += 1),
    );
    let menu = RwLock::new(0);
    show(
        "RwLock: read and give back",
        cost(before_each_round, || _ = black_box(*menu.read().unwrap())),
    );
    show(
        "RwLock: write and give back",
        cost(before_each_round, || *menu.write().unwrap() += 1),
    );
    let filled = Condvar::new();
    show(
        "Condvar: notify nobody",
        cost(before_each_round, || filled.notify_one()),
    );
    let recipe = OnceLock::from(5);
    show(
        "OnceLock: get",
        cost(before_each_round, || _ = black_box(recipe.get())),
    );
    let till = std::sync::Mutex::new(0);
    show(
        "std's Mutex: lock and unlock",
        cost(before_each_round, || *black_box(&till).lock().unwrap() += 1),
    );
    let (tx, rx) = bounded(1);
    show(
        "channel: send and recv, no wait",
        cost(before_each_round, || {
            tx.send(1).unwrap();
            rx.recv().unwrap();
        }),
    );
    let ovens = WaitGroup::new();
    show(
        "WaitGroup: add and done",
        cost(before_each_round, || (ovens.add(1), ovens.done()).1),
    );
}

fn ping_pong(before: &dyn Fn()) {
    before();
    let (there, there_end) = bounded(0);
    let (back, back_end) = bounded(0);
    let echo = spawn(move || {
        there_end
            .iter()
            .for_each(|ball: u32| back.send(ball).unwrap());
    });
    let times = 5_000;
    let start = Instant::now();
    for ball in 0..times {
        there.send(ball).unwrap();
        back_end.recv().unwrap();
    }
    println!(
        "  {:<44}{:>9.1} ns",
        "ping-pong between two threads, rendezvous",
        start.elapsed().as_nanos() as f64 / f64::from(times)
    );
    drop(there);
    echo.join().unwrap();
}

fn main() {
    measure("nothing attached", &|| {});
    ping_pong(&|| {});
    // SAFETY: an anonymous file of the size of a trace, mapped whole; it stays mapped until the program ends.
    let (fd, header) = unsafe {
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
            libc::MAP_SHARED,
            fd,
            0,
        );
        assert_ne!(base, libc::MAP_FAILED, "a mapped trace");
        (fd, &*base.cast::<Header>())
    };
    header.magic.store(MAGIC, Ordering::Relaxed);
    header.version.store(VERSION, Ordering::Relaxed);
    recorder::attach(fd).expect("a trace that was just formatted");
    measure("attached, not recording", &|| {});
    let next_recording = || {
        let recording = header.recording.load(Ordering::Relaxed) + 1;
        header.next_turn[recording as usize & 1].store(0, Ordering::Relaxed);
        header.recording.store(recording, Ordering::Relaxed);
    };
    // Once through both halves, so that their pages are there.
    cost(&next_recording, || {
        (0..10).for_each(|_| recorder::record(Kind::Yield, 0, 0, 0, None));
    });
    measure("recording", &next_recording);
    ping_pong(&next_recording);
    println!("dropped: {:?}", header.dropped);
}
