//! One task's waits as a word: the number of the last one, how far it has come, and whether the census counts it.
//!
//! The protocol by which one of several wakes a task, and takes it out of the count before it can run. Alone in a file, and with its atomics from outside
//! (`super::atomics`), so that `tests/models.rs` can have this very text tried on every interleaving.

use super::atomics::{AtomicU64, Ordering};

/// Nobody let the task go on yet.
pub const WAITING: u64 = 0;
/// Somebody is about to let it go on, and nobody else may.
pub const CLAIMED: u64 = 1;
/// It may go on: it has what it waited for.
pub const WOKEN: u64 = 2;
/// It waited long enough and nobody may wake it.
pub const GAVE_UP: u64 = 3;
/// It is to go on without what it waited for.
pub const CUT: u64 = 4;
const PHASE: u64 = 0b0111;
/// The wait is counted by the census, and whoever lets the task go on takes it out again.
const COUNTED: u64 = 0b1000;
/// One more wait.
const NEXT: u64 = 0b1_0000;

/// The word.
pub struct Phases(AtomicU64);

impl Phases {
    /// Of a task that waits for nothing.
    pub fn new() -> Phases {
        Phases(AtomicU64::new(GAVE_UP))
    }

    /// Ends the last wait for good, when nobody is left who might let it go on: its task has ended, or is lost. The numbers go on, so no token of before is
    /// one of a later wait.
    pub fn rest(&self) {
        let wait = self.0.load(Ordering::Relaxed) & !(PHASE | COUNTED);
        // Relaxed: whoever begins the next wait has the task from the caller, by more than this.
        self.0.store(wait | GAVE_UP, Ordering::Relaxed);
    }

    /// Begins a wait of the calling task, and gives its number.
    #[inline]
    pub fn begin(&self) -> u64 {
        let wait = (self.0.load(Ordering::Relaxed) & !(PHASE | COUNTED)).wrapping_add(NEXT);
        // Relaxed: who finds the token found it under a lock that this task gave back later.
        self.0.store(wait | WAITING, Ordering::Relaxed);
        wait
    }

    /// The number of the last wait, if nobody let the task go on yet.
    pub fn waiting(&self) -> Option<u64> {
        let state = self.0.load(Ordering::Acquire);
        (state & PHASE == WAITING).then_some(state & !(PHASE | COUNTED))
    }

    /// Whether it is in this wait, and nobody let it go on yet.
    pub fn is_waiting(&self, wait: u64) -> bool {
        self.waiting() == Some(wait)
    }

    /// How the last wait ended: `WOKEN`, `GAVE_UP` or `CUT`; `None` while it goes on.
    #[inline]
    pub fn ended(&self) -> Option<u64> {
        // Acquire: what the waker gave is seen by who goes on.
        let phase = self.0.load(Ordering::Acquire) & PHASE;
        (phase > CLAIMED).then_some(phase)
    }

    /// Moves the wait from one phase to another; false when it is in another one, or over. Of several that try, one does.
    #[inline]
    pub fn step(&self, wait: u64, from: u64, to: u64) -> bool {
        // AcqRel: who claims sees what the task did before it queued, and who gave up tells nobody anything, but is seen to have.
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state & !COUNTED == wait | from).then_some((state & !PHASE) | to)
            })
            .is_ok()
    }

    /// Marks the wait as counted, unless it is over; says whether it did: then the caller enters the count. That may be a moment after it was taken out.
    pub fn count(&self, wait: u64) -> bool {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                let goes_on = state == wait | WAITING || state == wait | CLAIMED;
                goes_on.then_some(state | COUNTED)
            })
            .is_ok()
    }

    /// Lets the claimed task go on in `phase`, where such a wait is never counted: that of a green task, which is run by who is handed it afterwards.
    #[inline]
    pub fn release_uncounted(&self, wait: u64, phase: u64) {
        // Release: what the waker gave is seen by who goes on.
        self.0.store(wait | phase, Ordering::Release);
    }

    /// Lets the claimed task go on in `phase`, and before that takes it out of the count, by `wakes_up`, if it is there.
    pub fn release(&self, wait: u64, phase: u64, wakes_up: impl FnOnce()) {
        let mut state = self.0.load(Ordering::Relaxed);
        loop {
            if state & COUNTED != 0 {
                // Before it can run: while it is about to, whoever wakes it is awake. The flag stays until then, so nobody counts it again.
                wakes_up();
                self.0.store(wait | phase, Ordering::SeqCst);
                return;
            }
            // It may count itself this moment, and must not go on counted. Release: what the waker gave is seen by who goes on. SeqCst: see `set_host`.
            match self
                .0
                .compare_exchange(state, wait | phase, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}
