//! Recording for the sake of an observation, and reading one's own trace.
//!
//! While a kernel records, an observation reads what is recorded anyway. Elsewhere (a cargo project, recording switched off) it lets a recording of its own
//! begin, in memory that nobody else reads where there is no trace, and ends it with the last observation that uses it. Switching takes a lock; recording
//! an event does not, and asks no more than it did.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use threadbook_timeline::observed::Observation;
use threadbook_timeline::trace::Trace as Read;

use super::trace::{self, Trace};
use crate::rt;

/// The recordings that this process begins by itself have numbers of their own: with this bit, which no kernel comes to.
const OUR_OWN: u32 = 1 << 31;

/// The recording of our own that is under way, and how many observations use it.
struct Own {
    number: u32,
    users: u32,
    begun: u32,
}

static OWN: Mutex<Own> = Mutex::new(Own {
    number: 0,
    users: 0,
    begun: 0,
});

/// Sees to it that something is recorded until [`end`], and gives the number of the recording.
///
/// # Panics
/// When there is no trace, and the system gives no memory for one.
pub fn begin() -> u32 {
    let mut own = rt::lock(&OWN);
    let trace = trace::current_or_private();
    let recording = trace.header().recording.load(Ordering::Relaxed);
    if recording != 0 && (recording != own.number || own.users == 0) {
        return recording;
    }
    if recording == 0 {
        own.begun = (own.begun + 1) % (OUR_OWN >> 2);
        // Not the half that a kernel recorded in last: it may be drawing it.
        let half = trace
            .last_kernels_half()
            .map_or(own.begun & 1, |half| half ^ 1);
        own.number = OUR_OWN | own.begun << 1 | half;
        own.users = 0;
        if let Some(memory) = trace.memory() {
            memory.begin(own.number);
        }
    }
    own.users += 1;
    own.number
}

/// Ends what [`begin`] began. A recording that is not our own goes on.
pub fn end(recording: u32) {
    let mut own = rt::lock(&OWN);
    if recording != own.number || own.users == 0 {
        return;
    }
    own.users -= 1;
    if own.users == 0 {
        // A kernel may have begun another one meanwhile.
        let now = &trace::current().header().recording;
        let _ = now.compare_exchange(recording, 0, Ordering::Release, Ordering::Relaxed);
    }
}

/// Gives the number of the recording that a kernel has under way; 0 when there is none.
pub fn kernels_recording() -> u32 {
    let recording = super::recording();
    if recording & OUR_OWN == 0 {
        recording
    } else {
        0
    }
}

/// Reads the observed part of a recording of this process. Empty when there is no trace.
pub fn read(recording: u32, observation: Observation) -> Read {
    let memory = trace::current().memory();
    memory.map_or_else(Read::default, |memory| {
        memory.read_part(recording, observation)
    })
}

/// Gives an observation its number.
pub fn number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    // Never 0, which means "all".
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1)
}

impl Trace {
    /// The half in which a kernel recorded last, by what stands at the head of each; `None` when none did.
    fn last_kernels_half(&self) -> Option<u32> {
        let labels = [0, 1].map(|half| self.first_label(half));
        let kernels = labels
            .into_iter()
            .filter(|label| *label != 0 && label & OUR_OWN == 0);
        kernels.max().map(|recording| recording & 1)
    }
}
