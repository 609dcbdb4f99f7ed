//! What a picture costs: folding and drawing, by size of the recording.
//!
//! `cargo bench --bench picture` prints a table: the median of seven runs in milliseconds of processor time, so that a busy machine says the same as a free
//! one, and how large the three forms came out. `cargo bench --bench picture -- 25,000` measures
//! only what has that in its name.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use threadbook::render::{Options, Place, draw};
use threadbook_timeline::fold::fold;
use threadbook_timeline::format::{Engine, Event, Kind, MAIN_TASK, ObjectKind, Reason};
use threadbook_timeline::trace::Trace;

/// Events by hand: what the recorder would have written, in order.
#[derive(Default)]
struct Recording {
    events: Vec<Event>,
    names: HashMap<u32, std::sync::Arc<str>>,
    ticks: u64,
}

impl Recording {
    fn event(&mut self, task: u32, kind: Kind, obj: u32, seq: u32, aux: u32) {
        self.ticks += 700;
        self.events.push(Event {
            ticks: self.ticks,
            task,
            obj,
            seq,
            aux,
            site: (kind as u16) + 1,
            cpu: (task % 2) as u16,
            kind: kind as u8,
            worker: u8::from(task != MAIN_TASK),
            ..Event::default()
        });
    }

    fn name(&mut self, text: &str) -> u32 {
        let id = self.names.len() as u32 + 1;
        self.names.insert(id, text.into());
        id
    }

    fn trace(self) -> Trace {
        Trace {
            events: self.events,
            names: self.names,
            ticks_per_second: 1_000_000_000,
            ..Trace::default()
        }
    }
}

/// Eight tasks that take a lock and pass messages, until there are so many events.
fn few_tasks(most: usize) -> Trace {
    let mut all = Recording::default();
    all.event(MAIN_TASK, Kind::CellBegin, 0, 0, 0);
    all.event(MAIN_TASK, Kind::NewObject, 2, 0, ObjectKind::Mutex as u32);
    all.event(MAIN_TASK, Kind::NewObject, 3, 9, ObjectKind::Channel as u32);
    for task in 2..10 {
        let name = all.name(&format!("baker {task}"));
        all.event(MAIN_TASK, Kind::NameTask, task, 0, name);
        all.event(MAIN_TASK, Kind::Spawn, task, 0, Engine::Green as u32);
        all.event(task, Kind::Start, 0, 0, 0);
    }
    let (mut taken, mut sent) = (0, 0);
    while all.events.len() < most {
        let (a, b) = (2 + taken % 8, 2 + (taken + 3) % 8);
        taken += 1;
        all.event(a, Kind::Acquired, 2, taken, 0);
        all.event(b, Kind::BlockBegin, 2, 0, Reason::Lock as u32);
        all.event(a, Kind::Released, 2, taken, 0);
        all.event(a, Kind::Wake, 2, 0, b);
        taken += 1;
        all.event(b, Kind::BlockEnd, 2, 0, Reason::Lock as u32);
        all.event(b, Kind::Acquired, 2, taken, 0);
        sent += 1;
        all.event(b, Kind::Sent, 3, sent, 1);
        all.event(b, Kind::Released, 2, taken, 0);
        all.event(a, Kind::Received, 3, sent, 0);
    }
    for task in 2..10 {
        all.event(task, Kind::Exit, 0, 0, 0);
    }
    all.event(MAIN_TASK, Kind::CellEnd, 0, 0, 0);
    all.trace()
}

/// So many green tasks, each of which waits for a message of `main`'s, and ends.
fn many_tasks(tasks: u32) -> Trace {
    let mut all = Recording::default();
    all.event(MAIN_TASK, Kind::CellBegin, 0, 0, 0);
    all.event(MAIN_TASK, Kind::NewObject, 2, 0, ObjectKind::Channel as u32);
    let first = 2;
    for task in first..first + tasks {
        all.event(MAIN_TASK, Kind::Spawn, task, 0, Engine::Green as u32);
        all.event(task, Kind::Start, 0, 0, 0);
        all.event(task, Kind::BlockBegin, 2, 0, Reason::Recv as u32);
    }
    for task in first..first + tasks {
        all.event(MAIN_TASK, Kind::Sent, 2, task, 0);
        all.event(MAIN_TASK, Kind::Wake, 2, 0, task);
        all.event(task, Kind::BlockEnd, 2, 0, Reason::Recv as u32);
        all.event(task, Kind::Received, 2, task, 0);
        all.event(task, Kind::Exit, 0, 0, 0);
    }
    all.event(MAIN_TASK, Kind::CellEnd, 0, 0, 0);
    all.trace()
}

fn main() {
    let place_of = |site: u16| {
        Some(Place {
            cell: 4,
            line: site.into(),
            text: "let mut till = till.lock().unwrap();".into(),
        })
    };
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "events", "fold ms", "draw ms", "html KB", "text KB", "json KB"
    );
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let recordings: [(&str, &dyn Fn() -> Trace); 5] = [
        ("8 tasks", &|| few_tasks(2_000)),
        ("8 tasks, 200,000 events", &|| few_tasks(200_000)),
        ("200 tasks", &|| many_tasks(200)),
        ("25,000 tasks", &|| many_tasks(25_000)),
        ("100,000 tasks", &|| many_tasks(100_000)),
    ];
    for (name, trace) in recordings {
        if wanted.as_ref().is_some_and(|part| !name.contains(part)) {
            continue;
        }
        let trace = trace();
        let mut folding = Vec::new();
        let mut drawing = Vec::new();
        let mut picture = None;
        for _ in 0..7 {
            let since = processor_time();
            let timeline = black_box(fold(&trace));
            folding.push(processor_time() - since);
            let since = processor_time();
            picture = Some(black_box(draw(
                &timeline,
                &place_of,
                "bench",
                &Options::default(),
            )));
            drawing.push(processor_time() - since);
        }
        let picture = picture.expect("drawn seven times");
        println!(
            "{name:<34} {:>9} {:>8.1} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
            trace.events.len(),
            median(&mut folding),
            median(&mut drawing),
            picture.html.len() as f64 / 1e3,
            picture.text.len() as f64 / 1e3,
            picture.json.to_string().len() as f64 / 1e3,
        );
    }
}

/// How long this thread has run so far.
fn processor_time() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is there to be written to, and nothing else is.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    assert_eq!(failed, 0, "the system has a clock for each thread");
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// In milliseconds.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
