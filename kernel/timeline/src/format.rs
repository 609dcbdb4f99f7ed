//! The trace: what the recorder in the learner's process and the reader in the kernel agree on, and nothing else.
//!
//! One region of shared memory: a header, a table of sites, a heap of names, and two halves of chunks. A recording (one cell) uses one half, the next
//! recording the other, so that a thread that is late by a whole cell does not write over what is being drawn. Of a half, the first part keeps what was
//! recorded first, and the rest is a ring that keeps what was recorded last (see [`Claim`]). The format is plain numbers at fixed offsets; every word that
//! both sides touch is an atomic. Bump [`VERSION`] with any change. Knows nothing of how events are made, folded or drawn.

use std::sync::atomic::{AtomicU32, AtomicU64};

/// `"THRDBOOK"`, the first eight bytes of a trace.
pub const MAGIC: u64 = u64::from_le_bytes(*b"THRDBOOK");
/// The one version that reader and recorder of this source tree speak.
pub const VERSION: u32 = 4;

/// The size of a trace in bytes: reserved, not used, since the pages of a memfd come into being when they are touched.
pub const TRACE_BYTES: usize = CHUNKS_AT + 2 * CHUNKS_PER_HALF * CHUNK_BYTES;
/// Where the table of sites begins, in bytes.
pub const SITES_AT: usize = 4096;
/// How many sites fit; an event names its site by a 16-bit index, 0 meaning "not known".
pub const MAX_SITES: usize = 16 * 1024;
/// Where the heap of names begins, in bytes.
pub const NAMES_AT: usize = SITES_AT + MAX_SITES * size_of::<Site>();
/// The size of the heap of names, in bytes.
pub const NAMES_BYTES: usize = 4 << 20;
/// Where the first half of the chunks begins, in bytes.
pub const CHUNKS_AT: usize = NAMES_AT + NAMES_BYTES;
/// One chunk: a page, so that a thousand threads that record a little each cost 4 MB.
pub const CHUNK_BYTES: usize = 4096;
/// How many chunks one recording has: about 516,000 events.
pub const CHUNKS_PER_HALF: usize = 4096;
/// How many of them, from the first on, keep what was recorded first.
pub const FIRST_CHUNKS: usize = CHUNKS_PER_HALF / 2;
/// How many make up the ring, which keeps what was recorded last.
pub const RING_CHUNKS: usize = CHUNKS_PER_HALF - FIRST_CHUNKS;
/// For how many turns a chunk of the ring stays after its thread was done with it: so many of the last chunks are there for certain, about 129,000 events.
pub const KEPT_TURNS: u64 = RING_CHUNKS as u64 / 2;
/// How many events a chunk holds.
pub const EVENTS_PER_CHUNK: usize = (CHUNK_BYTES - size_of::<ChunkHeader>()) / size_of::<Event>();

/// The task that evaluates cells.
pub const MAIN_TASK: u32 = 1;
/// The first id that a recorder may give to a task or an object that it makes: those below are fixed.
pub const FIRST_FREE_ID: u32 = 2;

/// The first page of a trace.
///
/// A kernel writes `magic`, `version` and `recording`; the recorder everything else, always by adding: ids, names and sites outlive a cell and a
/// process that takes over from a dead one.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// The number of the recording under way, or 0 while recording is off. The low bit chooses the half.
    pub recording: AtomicU32,
    /// How many clock ticks (`Event::ticks`) make one second. Written by the recorder before its first event.
    pub ticks_per_second: AtomicU64,
    /// How often a process attached itself to this trace: 1 for the first worker.
    pub generation: AtomicU32,
    /// The next turn to claim a chunk, of each half: see [`chunk_of_turn`].
    pub next_turn: [AtomicU64; 2],
    /// The next task id.
    pub next_task: AtomicU32,
    /// The next object id.
    pub next_object: AtomicU32,
    /// How many sites have been claimed; site `i` (from 1) may be read when its `ready` is 1.
    pub sites: AtomicU32,
    /// How many bytes of the heap of names have been claimed.
    pub names: AtomicU32,
    /// Events of this recording that are not there any more, by half: those of chunks that were claimed again, and those that found no chunk.
    pub dropped: [AtomicU64; 2],
    /// How many of those found no chunk, since threads that are not done with theirs had all of them.
    pub unplaced: [AtomicU64; 2],
    /// 1 while the kernel wants no copies of the recording process at the ends of cells. Written by the kernel alone.
    pub no_snapshots: AtomicU32,
}

/// A place in the learner's source: what `#[track_caller]` gives, and in which shared object.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Site {
    /// 1 once the other fields are whole (stored with Release, loaded with Acquire).
    pub ready: AtomicU32,
    /// The number `n` in the `libcode_n.so` that the site's `Location` lies in, or 0 when it lies in no cell's library.
    pub build: AtomicU32,
    /// Line in the file that was compiled, from 1.
    pub line: AtomicU32,
    /// Column in that file in characters, from 1.
    pub column: AtomicU32,
    /// The file as the compiler names it, a [`NameId`].
    pub file: AtomicU32,
    /// Kept for later versions.
    pub reserved: [AtomicU32; 3],
}

/// The id of an interned name: its byte offset in the heap of names plus 1; 0 means none. A name is its length as a little-endian `u32`, then that many
/// bytes of UTF-8, then zeros up to a multiple of 4. The length is stored last (Release), so a length of 0 means "not yet whole".
pub type NameId = u32;

macro_rules! numbered {
    ($(#[$enum_doc:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$enum_doc])*
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant = $number,)+ }

        impl $name {
            /// Gives the variant of a number read from a trace, or `None` for a number of another version.
            pub fn from_number(number: u32) -> Option<$name> {
                match number { $($number => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

/// What stands at the head of a chunk.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct ChunkHeader {
    /// Whose it is: a [`Claim`] as a number. A reader skips a chunk of another recording.
    pub claim: AtomicU64,
    /// How many of its events are whole: stored with Release after the event, so that a reader sees all of them and a kill at any instant loses at most one.
    pub len: AtomicU32,
    /// Which chunk this is of those that its thread claimed in this recording, from 0: where numbers are left out, chunks are not there any more.
    pub nth: AtomicU32,
    /// The thread: the turn by which it claimed its first chunk of this recording.
    pub thread: AtomicU64,
    /// When the turn by which it was claimed had come, in ticks.
    pub since: AtomicU64,
    /// The turn that had come when its thread was done with it; says nothing before.
    pub done: AtomicU64,
}

/// Whose a chunk is.
///
/// A thread claims a chunk by exchanging this word, as a whole, for one that says so, and is the only one to write into it until it says that it is done.
/// Only then may the chunk be claimed again in the same recording; by the next recording but one of the same half it may in any case, and events that a
/// thread writes so late are told by their `recording`. No two claims of one chunk are alike, so an exchange that was prepared for one never hits another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The recording that the chunk belongs to.
    pub recording: u32,
    /// How often the ring has been gone round, below 2^29: a thread that does nothing but record needs weeks for that.
    pub round: u32,
    /// What may be done with it.
    pub stage: Stage,
}

numbered! {
    /// What may be done with a chunk.
    Stage {
        /// It is done with, being full: readable, and to be claimed again.
        Full = 0,
        /// It is being made empty, and is neither readable nor to be claimed.
        Emptied = 1,
        /// It is being filled: readable.
        Filled = 2,
        /// It is done with, since its thread has ended: as `Full`.
        Left = 3,
    }
}

impl Claim {
    /// As it stands in a chunk.
    pub fn to_word(self) -> u64 {
        u64::from(self.recording) << 32 | u64::from(self.round & ROUNDS) << 3 | self.stage as u64
    }

    /// What stands in a chunk; `None` for what no recorder writes.
    pub fn from_word(word: u64) -> Option<Claim> {
        Some(Claim {
            recording: (word >> 32) as u32,
            round: (word >> 3) as u32 & ROUNDS,
            stage: Stage::from_number((word & 7) as u32)?,
        })
    }
}

const ROUNDS: u32 = u32::MAX >> 3;

/// Which chunk of a half (by number) turn `turn` is about, and in which round of the ring.
pub fn chunk_of_turn(turn: u64) -> (usize, u32) {
    let (first, ring) = (FIRST_CHUNKS as u64, RING_CHUNKS as u64);
    match turn.checked_sub(first) {
        None => (turn as usize, 0),
        Some(past) => (
            (first + past % ring) as usize,
            (past / ring) as u32 & ROUNDS,
        ),
    }
}

/// The turn by which chunk `number` of a half was claimed in round `round` of the ring.
pub fn turn_of_chunk(number: usize, round: u32) -> u64 {
    if number < FIRST_CHUNKS {
        number as u64
    } else {
        number as u64 + u64::from(round) * RING_CHUNKS as u64
    }
}

/// One thing that happened: 32 bytes, two to a cache line.
///
/// What `obj`, `seq` and `aux` mean depends on `kind`, and stands with each [`Kind`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Event {
    /// When, in ticks of [`Header::ticks_per_second`]. Places an event on the axis; never decides an order between tasks.
    pub ticks: u64,
    /// The task that did it.
    pub task: u32,
    /// The object, or another task.
    pub obj: u32,
    /// A number issued under the object's lock: what gives the order between tasks.
    pub seq: u32,
    /// One more number.
    pub aux: u32,
    /// Index of the [`Site`], from 1; 0 when not known.
    pub site: u16,
    /// The core that it ran on, or `u16::MAX` where that cannot be known.
    pub cpu: u16,
    /// A [`Kind`] as a number; an unknown one is skipped by the reader.
    pub kind: u8,
    /// The low byte of the recording: an event that a late thread wrote into a chunk that has a new owner is told by it.
    pub recording: u8,
    /// The worker that carried the green task, from 1; `u8::MAX`: the cell's own thread, under `workers(1)`; 0: no green task did it.
    pub worker: u8,
    /// Kept for later versions; 0.
    pub reserved: u8,
}

numbered! {
    /// What happened.
    Kind {
        /// The cell began. Task is [`MAIN_TASK`].
        CellBegin = 1,
        /// The cell's own code came to its end (by a value, `?` or a panic). Task is [`MAIN_TASK`].
        CellEnd = 2,
        /// `task` made the task `obj`. `aux`: an [`Engine`].
        Spawn = 3,
        /// `task` began to run.
        Start = 4,
        /// `task` came to its end.
        Exit = 5,
        /// `task` panicked. `aux`: [`NameId`] of the message. An `Exit` follows.
        Panic = 6,
        /// Task `obj` is called `aux` (a [`NameId`]).
        NameTask = 7,
        /// `task` made the object `obj`. `aux`: an [`ObjectKind`]. `seq`: a channel's capacity (`u32::MAX`: unbounded), for how many a barrier is, else 0.
        /// `site`: where.
        NewObject = 8,
        /// Object `obj` is called `aux` (a [`NameId`]).
        NameObject = 9,
        /// `task` begins to wait. `aux`: a [`Reason`]. `obj`: the object, or the awaited task for [`Reason::Join`], or 0. `seq`: for [`Reason::Sleep`]
        /// the length in microseconds, else how many wait in the queue with it.
        BlockBegin = 10,
        /// `task` runs on after its last `BlockBegin`. `aux` and `obj` as there.
        BlockEnd = 11,
        /// `task` lets the blocked task `aux` go on, by what it did to `obj` (for a join: by its own end, `obj` being itself).
        Wake = 12,
        /// `task` sent message number `seq` (from 1) on channel `obj`. `aux`: how many are queued after it.
        Sent = 13,
        /// `task` received message number `seq` from channel `obj`. `aux`: how many are queued after it.
        Received = 14,
        /// Channel `obj` is closed by `task`: `aux` 0 when its last sender went, 1 when its last receiver went.
        Closed = 15,
        /// `task` has lock `obj`; `seq` counts its acquisitions from 1. `aux`: 1 when others may read with it, else 0.
        Acquired = 16,
        /// `task` gives lock `obj` back; `seq` and `aux` are those of its `Acquired`.
        Released = 17,
        /// The counter of wait group `obj` was raised; `aux`: its value after.
        WgAdd = 18,
        /// The counter of wait group `obj` was lowered; `aux`: its value after.
        WgDone = 19,
        /// `task` has the result of task `obj`.
        Joined = 20,
        /// `task` begins to compute (`work`). `seq`: the processor time asked for, in microseconds.
        WorkBegin = 21,
        /// `task` is done computing.
        WorkEnd = 22,
        /// `task` was off its core until now, for `seq` microseconds, seen by a gap in the clock while it computed.
        OffCore = 23,
        /// `task` let others go first (`yield_now`).
        Yield = 24,
        /// A remark of `task`. `aux`: [`NameId`].
        Mark = 25,
        /// `task` enters a region. `aux`: [`NameId`].
        RegionBegin = 26,
        /// `task` leaves its innermost region.
        RegionEnd = 27,
        /// `task` read `obj`. `aux`: the value's low 32 bits. `seq`: 1 when the `Store` that follows is the same step, else 0.
        Load = 28,
        /// `task` wrote `obj`. `aux`: the value's low 32 bits. `seq`: 1 when the `Load` before it was the same step, else 0.
        Store = 29,
        /// `task` found the counter of wait group `obj` at zero and went on: what came before each `WgDone` has happened.
        Passed = 30,
        /// `task` found that task `aux` waits for `obj` in vain. `seq`: 0 when all were asleep, 1 when it is one of a ring of tasks that wait for each other.
        Deadlocked = 31,
        /// `task` is ended from outside, and unwinds. `aux`: a [`Cause`].
        Cut = 32,
        /// `task` kept its worker for `seq` microseconds without letting another task run.
        Hogged = 33,
        /// `task` runs on after its last `Yield`.
        Resumed = 34,
        /// `task` begins to observe: what it and the tasks that it makes do until the next `ObserveEnd` with the same `seq` is recorded for itself.
        ObserveBegin = 35,
        /// `task` is done observing. `seq`: that of its `ObserveBegin`.
        ObserveEnd = 36,
        /// `task` notified condition variable `obj` and so let `aux` tasks go on.
        Notified = 37,
        /// `task` was the last to come to barrier `obj`; `seq` counts its rounds from 1. All who waited go on.
        Tripped = 38,
        /// What `task` did from here to its next event was recorded and is not there any more. Put in by the reader; no recorder writes it.
        Gap = 39,
        /// `task` found that nobody is at the other end of channel `obj`. `aux`: 0 when it would receive, 1 when it would send.
        Refused = 40,
    }
}

numbered! {
    /// Why a task waits.
    Reason {
        /// For room in a channel, or for a receiver to take the message.
        Send = 1,
        /// For a message.
        Recv = 2,
        /// For a `Mutex`.
        Lock = 3,
        /// For a `WaitGroup` to reach zero.
        Wait = 4,
        /// For another task to end.
        Join = 5,
        /// For time to pass.
        Sleep = 6,
        /// For the tasks of a `scope` to end.
        Scope = 7,
        /// For a `RwLock`, to read.
        Read = 8,
        /// For a `RwLock`, to write.
        Write = 9,
        /// For a `Condvar` to be notified.
        Notify = 10,
        /// For the others to come to a `Barrier`.
        Barrier = 11,
        /// For the first of several channels (`select!`). `obj` is 0.
        Select = 12,
        /// For another task to fill a `OnceLock`.
        Once = 13,
    }
}

numbered! {
    /// What an object is.
    ObjectKind {
        /// A channel.
        Channel = 1,
        /// A `Mutex`.
        Mutex = 2,
        /// A `WaitGroup`.
        WaitGroup = 3,
        /// A traced atomic or a `Racy`.
        Cell = 4,
        /// A `scope`.
        Scope = 5,
        /// A `RwLock`.
        RwLock = 6,
        /// A `Condvar`.
        Condvar = 7,
        /// A `Barrier`.
        Barrier = 8,
        /// A `OnceLock`.
        Once = 9,
    }
}

numbered! {
    /// Why a task is ended from outside.
    Cause {
        /// It was part of a deadlock, or of the cell that came to one.
        Deadlock = 1,
        /// The `program` that it belongs to returned.
        Program = 2,
        /// The learner interrupted the cell.
        Interrupt = 3,
    }
}

numbered! {
    /// What carries a task.
    Engine {
        /// A thread of the operating system.
        Thread = 1,
        /// A green task.
        Green = 2,
    }
}

/// Where chunk `number` of half `half` (0 or 1) begins, in bytes, or `None` past the end.
pub fn chunk_at(half: usize, number: usize) -> Option<usize> {
    (half < 2 && number < CHUNKS_PER_HALF)
        .then(|| CHUNKS_AT + (half * CHUNKS_PER_HALF + number) * CHUNK_BYTES)
}

/// Where site `index` (from 1) stands, in bytes, or `None` for 0 and past the end of the table.
pub fn site_at(index: usize) -> Option<usize> {
    (1..=MAX_SITES)
        .contains(&index)
        .then(|| SITES_AT + (index - 1) * size_of::<Site>())
}

const _: () = {
    assert!(size_of::<Event>() == 32);
    assert!(size_of::<ChunkHeader>() == 64);
    assert!(size_of::<Site>() == 32);
    assert!(size_of::<Header>() <= SITES_AT);
    assert!(CHUNKS_AT.is_multiple_of(CHUNK_BYTES));
    assert!(MAX_SITES <= u16::MAX as usize);
};
