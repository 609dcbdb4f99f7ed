//! What is measured, and by which implementations.

use crate::{others, ours};

/// Does a work in a process of its own, and gives what one time of it took.
pub type Run = fn() -> f64;

/// One row of the table.
pub struct Work {
    pub name: &'static str,
    pub what: &'static str,
    pub goal: &'static str,
    pub unit: Unit,
    /// By the prelude; run while nothing is recorded.
    pub ours: Run,
    /// Whether it is also run while recording.
    pub recorded: bool,
    pub std: Option<Run>,
    pub crossbeam: Option<Run>,
    pub kanal: Option<Run>,
    pub tokio: Option<Run>,
    /// Whether the Go program does it, by the same name.
    pub go: bool,
    /// Whether deadlocks are told in it.
    pub tells: bool,
}

#[derive(Clone, Copy)]
pub enum Unit {
    Nanos,
    Bytes,
}

/// One column of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Ours,
    Recorded,
    Std,
    Crossbeam,
    Kanal,
    Tokio,
    Go,
}

impl By {
    pub const ALL: [By; 7] = [
        By::Ours,
        By::Recorded,
        By::Std,
        By::Crossbeam,
        By::Kanal,
        By::Tokio,
        By::Go,
    ];

    pub fn name(self) -> &'static str {
        match self {
            By::Ours => "ours",
            By::Recorded => "recorded",
            By::Std => "std",
            By::Crossbeam => "crossbeam",
            By::Kanal => "kanal",
            By::Tokio => "tokio",
            By::Go => "go",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            By::Ours => "prelude, recording off",
            By::Recorded => "prelude, recording",
            By::Go => "Go",
            _ => self.name(),
        }
    }
}

impl Work {
    /// How an implementation does it; `None` where it does not, or is another program.
    pub fn run(&self, by: By) -> Option<Box<dyn Fn() -> f64>> {
        let run = match by {
            By::Ours => Some(self.ours),
            By::Recorded => {
                let run = self.recorded.then_some(self.ours)?;
                return Some(Box::new(move || {
                    crate::trace::record_from_now_on();
                    run()
                }));
            }
            By::Std => self.std,
            By::Crossbeam => self.crossbeam,
            By::Kanal => self.kanal,
            By::Tokio => self.tokio,
            By::Go => None,
        };
        run.map(|run| Box::new(run) as Box<dyn Fn() -> f64>)
    }
}

const NONE: Work = Work {
    name: "",
    what: "",
    goal: "",
    unit: Unit::Nanos,
    ours: || 0.0,
    recorded: true,
    std: None,
    crossbeam: None,
    kanal: None,
    tokio: None,
    go: false,
    tells: false,
};

/// All rows, in their order. Channels and locks among green tasks stand beside what tokio's tasks and goroutines do, among threads beside the crates for threads.
pub const WORKS: &[Work] = &[
    Work {
        name: "event",
        what: "record one event",
        goal: "10 ns",
        ours: ours::event,
        ..NONE
    },
    Work {
        name: "mutex",
        what: "lock and unlock a free `Mutex`",
        goal: "1.2 times std; 40 ns recorded",
        ours: ours::mutex,
        std: Some(others::std_mutex),
        tokio: Some(others::tokio_mutex),
        go: true,
        ..NONE
    },
    Work {
        name: "mutex-4",
        what: "the same by four tasks at once, per lock",
        goal: "50 ns",
        ours: ours::mutex_4,
        tokio: Some(others::tokio_mutex_4),
        go: true,
        ..NONE
    },
    Work {
        name: "mutex-4-threads",
        what: "the same by four threads at once, per lock",
        goal: "50 ns",
        ours: ours::mutex_4_threads,
        std: Some(others::std_mutex_4),
        ..NONE
    },
    Work {
        name: "spawn",
        what: "`go` 1,000 tasks and wait for them, per task",
        goal: "Go; 150 ns",
        ours: ours::spawn_many,
        tokio: Some(others::tokio_spawn),
        go: true,
        ..NONE
    },
    Work {
        name: "spawn-one",
        what: "`go` one task and wait for it",
        goal: "Go",
        ours: ours::spawn_one,
        tokio: Some(others::tokio_spawn_one),
        go: true,
        ..NONE
    },
    Work {
        name: "spawn-thread",
        what: "spawn one thread and join it",
        goal: "",
        ours: ours::spawn_thread,
        std: Some(others::std_spawn),
        ..NONE
    },
    Work {
        name: "rendezvous",
        what: "rendezvous there and back between two tasks",
        goal: "Go; 150 ns",
        ours: ours::rendezvous,
        tokio: Some(others::tokio_rendezvous),
        go: true,
        ..NONE
    },
    Work {
        name: "rendezvous-1",
        what: "the same on one worker",
        goal: "Go; 150 ns",
        ours: ours::rendezvous_1,
        tokio: Some(others::tokio_rendezvous_1),
        go: true,
        ..NONE
    },
    Work {
        name: "rendezvous-threads",
        what: "rendezvous there and back between two threads",
        goal: "1.5 us",
        ours: ours::rendezvous_threads,
        std: Some(others::std_rendezvous),
        crossbeam: Some(others::crossbeam_rendezvous),
        kanal: Some(others::kanal_rendezvous),
        ..NONE
    },
    Work {
        name: "bounded",
        what: "`bounded(128)`, one task to one, per message",
        goal: "Go; 40 ns",
        ours: ours::bounded_1_1,
        tokio: Some(others::tokio_bounded),
        go: true,
        ..NONE
    },
    Work {
        name: "bounded-1",
        what: "the same on one worker",
        goal: "Go; 40 ns",
        ours: ours::bounded_1_1_one_worker,
        tokio: Some(others::tokio_bounded_1),
        go: true,
        ..NONE
    },
    Work {
        name: "bounded-threads",
        what: "`bounded(128)`, one thread to one, per message",
        goal: "",
        ours: ours::bounded_1_1_threads,
        std: Some(others::std_bounded),
        crossbeam: Some(others::crossbeam_bounded),
        kanal: Some(others::kanal_bounded),
        ..NONE
    },
    Work {
        name: "bounded-4x4",
        what: "`bounded(128)`, four tasks to four, per message",
        goal: "80 ns",
        ours: ours::bounded_4_4,
        go: true,
        ..NONE
    },
    Work {
        name: "bounded-4x4-threads",
        what: "`bounded(128)`, four threads to four, per message",
        goal: "80 ns",
        ours: ours::bounded_4_4_threads,
        crossbeam: Some(others::crossbeam_bounded_4),
        kanal: Some(others::kanal_bounded_4),
        ..NONE
    },
    Work {
        name: "switch",
        what: "`yield_now` between two tasks of one worker",
        goal: "30 ns",
        ours: ours::switch,
        tokio: Some(others::tokio_switch),
        go: true,
        ..NONE
    },
    Work {
        name: "parked",
        what: "memory of one waiting task, 100,000 of them",
        goal: "4.2 KiB",
        unit: Unit::Bytes,
        ours: ours::parked,
        recorded: false,
        tokio: Some(others::tokio_parked),
        go: true,
        ..NONE
    },
    Work {
        name: "deadlock",
        what: "from the last wait to the end of all, in a deadlock; median of 200",
        goal: "",
        ours: ours::deadlock_median,
        tells: true,
        ..NONE
    },
    Work {
        name: "deadlock-p99",
        what: "the same, 99th of 100",
        goal: "1 ms",
        ours: ours::deadlock_p99,
        tells: true,
        ..NONE
    },
];
