//! The shared memory that a kernel handed down, mapped into this process: the one place that turns its numbers into addresses.
//!
//! Without the variable `THREADBOOK_TRACE_FD` there is none, and nothing is recorded; unless something is observed, for which the process makes itself one.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, OnceLock, PoisonError};

use threadbook_timeline::format::{
    ChunkHeader, Claim, EVENTS_PER_CHUNK, Event, FIRST_FREE_ID, Header, KEPT_TURNS, MAGIC,
    MAX_SITES, NAMES_AT, NAMES_BYTES, NameId, RING_CHUNKS, SITES_AT, Site, Stage, TRACE_BYTES,
    VERSION, chunk_at, chunk_of_turn,
};
use threadbook_timeline::memory::Memory;

/// The variable that names the descriptor of the trace.
pub const TRACE_FD: &str = "THREADBOOK_TRACE_FD";

/// The trace of this process: the kernel's, or where there is none, a lone header in which recording is off.
#[derive(Clone, Copy)]
pub struct Trace {
    /// Stays mapped as long as the process lives. All of it is reached through atomics.
    base: *mut u8,
}

/// What stands in for a trace where the kernel gave none: ids come from here, and nothing else is ever written.
static NOWHERE: Header = Header {
    magic: AtomicU64::new(0),
    version: AtomicU32::new(0),
    recording: AtomicU32::new(0),
    ticks_per_second: AtomicU64::new(0),
    generation: AtomicU32::new(0),
    next_turn: [const { AtomicU64::new(0) }; 2],
    next_task: AtomicU32::new(FIRST_FREE_ID),
    next_object: AtomicU32::new(FIRST_FREE_ID),
    sites: AtomicU32::new(0),
    names: AtomicU32::new(0),
    dropped: [const { AtomicU64::new(0) }; 2],
    unplaced: [const { AtomicU64::new(0) }; 2],
    no_snapshots: AtomicU32::new(0),
};

static CURRENT: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LOOKED_FOR: OnceLock<()> = OnceLock::new();

/// Gives the trace of this process, attached at the first call.
#[inline(always)]
pub fn current() -> Trace {
    let base = CURRENT.load(Ordering::Acquire);
    if base.is_null() {
        return look_for_it();
    }
    Trace { base }
}

#[cold]
#[inline(never)]
fn look_for_it() -> Trace {
    LOOKED_FOR.get_or_init(|| {
        if let Some(fd) = std::env::var_os(TRACE_FD) {
            let attached = match fd.to_str().and_then(|fd| fd.parse().ok()) {
                Some(fd) => attach(fd),
                None => Err(format!("{TRACE_FD} is {fd:?}, which is no descriptor")),
            };
            if let Err(why) = attached {
                eprintln!("threadbook: nothing is recorded: {why}; restart the kernel, and if that does not help, install it again");
            }
        }
        let nowhere = std::ptr::from_ref(&NOWHERE).cast::<u8>().cast_mut();
        // Fails where a trace was attached, which is right.
        let _ = CURRENT.compare_exchange(std::ptr::null_mut(), nowhere, Ordering::Release, Ordering::Relaxed);
    });
    Trace {
        base: CURRENT.load(Ordering::Acquire),
    }
}

/// Maps the trace behind a descriptor and records into it from now on; `Err` says what is wrong with it.
pub fn attach(fd: RawFd) -> Result<(), String> {
    let trace = Trace::map(fd)?;
    let header = trace.header();
    header.next_task.fetch_max(FIRST_FREE_ID, Ordering::Relaxed);
    header
        .next_object
        .fetch_max(FIRST_FREE_ID, Ordering::Relaxed);
    header.generation.fetch_add(1, Ordering::Relaxed);
    super::publish_rate(&header.ticks_per_second);
    CURRENT.store(trace.base, Ordering::Release);
    Ok(())
}

/// Gives the trace of this process; where there is none, one of its own from now on, which nobody else reads and in which recording is off.
pub fn current_or_private() -> Trace {
    let trace = current();
    if trace.is_read() {
        return trace;
    }
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let trace = current();
    if trace.is_read() {
        return trace;
    }
    let private = Trace::private()
        .unwrap_or_else(|why| panic!("there is no room to record what is observed: {why}"));
    // Ids stay unique: another thread may be taking one from the stand-in this moment, so those here begin far behind.
    let header = private.header();
    for (ours, before) in [
        (&header.next_task, &NOWHERE.next_task),
        (&header.next_object, &NOWHERE.next_object),
    ] {
        ours.store(before.load(Ordering::Relaxed) + APART, Ordering::Relaxed);
    }
    super::publish_rate(&header.ticks_per_second);
    // Fails where a kernel's trace was attached meanwhile, which is the better one.
    let nowhere = std::ptr::from_ref(&NOWHERE).cast::<u8>().cast_mut();
    let _ = CURRENT.compare_exchange(nowhere, private.base, Ordering::AcqRel, Ordering::Relaxed);
    current()
}

/// How far the ids of a private trace begin behind those that were given before it: more than are given in the time of an exchange.
const APART: u32 = 1 << 16;

impl Trace {
    /// Maps memory that this process alone has, as an empty trace. Reserved, not used: pages come into being when they are touched.
    fn private() -> std::io::Result<Trace> {
        // SAFETY: a new mapping of no file; no address is asked for.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                TRACE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let trace = Trace { base: base.cast() };
        if let Some(memory) = trace.memory() {
            memory.format();
        }
        Ok(trace)
    }

    /// The trace as its reader sees it; `None` where there is none.
    pub fn memory(&self) -> Option<Memory> {
        if !self.is_read() {
            return None;
        }
        // SAFETY: a whole trace is mapped up to `TRACE_BYTES`, as long as the process lives, and reached through atomics alone.
        unsafe { Memory::new(self.base, TRACE_BYTES) }
    }

    /// The recording that the first chunk of a half belongs to; 0 when none has used it.
    pub fn first_label(&self, half: usize) -> u32 {
        let Some(at) = chunk_at(half, 0).filter(|_| self.is_read()) else {
            return 0;
        };
        // SAFETY: a chunk begins with a header, page-aligned, all of it atomics.
        let header = unsafe { &*self.at(at).cast::<ChunkHeader>() };
        Claim::from_word(header.claim.load(Ordering::Acquire)).map_or(0, |claim| claim.recording)
    }

    fn map(fd: RawFd) -> Result<Trace, String> {
        // SAFETY: a `stat` is plain numbers, for which zeros are a value.
        let mut status: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: `status` is a stat that the call may fill.
        if unsafe { libc::fstat(fd, &raw mut status) } != 0 {
            return Err(format!(
                "descriptor {fd} of the trace: {}",
                std::io::Error::last_os_error()
            ));
        }
        if (status.st_size as u64) < TRACE_BYTES as u64 {
            return Err(format!(
                "the trace has {} bytes, not {TRACE_BYTES}",
                status.st_size
            ));
        }
        // The programs that a cell starts have no use for it, and must not keep it alive.
        // SAFETY: sets a flag of a descriptor, which `fstat` just found open.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: a new shared mapping of an open file that is long enough; no address is asked for.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                TRACE_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(format!(
                "the trace cannot be mapped: {}",
                std::io::Error::last_os_error()
            ));
        }
        let trace = Trace { base: base.cast() };
        let (magic, version) = (
            trace.header().magic.load(Ordering::Relaxed),
            trace.header().version.load(Ordering::Relaxed),
        );
        if (magic, version) != (MAGIC, VERSION) {
            // SAFETY: unmaps what was mapped above, of which no reference is left.
            unsafe { libc::munmap(base, TRACE_BYTES) };
            return Err(match magic {
                MAGIC => format!(
                    "the trace has format {version}, and this prelude writes format {VERSION}"
                ),
                _ => "the descriptor holds no trace".to_string(),
            });
        }
        Ok(trace)
    }

    /// The first page.
    #[inline(always)]
    pub fn header(&self) -> &'static Header {
        // SAFETY: a trace begins with a header, page-aligned, all of it atomics; the stand-in is nothing but one.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Says whether this is a whole trace, which a kernel reads.
    pub fn is_read(&self) -> bool {
        !std::ptr::eq(self.header(), &NOWHERE)
    }

    /// Where the part of a whole trace begins that stands at an offset.
    fn at(&self, offset: usize) -> *mut u8 {
        assert!(
            self.is_read() && offset < TRACE_BYTES,
            "offset {offset} of a trace"
        );
        // SAFETY: a whole trace is mapped up to `TRACE_BYTES`.
        unsafe { self.base.add(offset) }
    }

    /// The entry of site `index`, from 1.
    pub fn site(&self, index: usize) -> &Site {
        assert!(
            (1..=MAX_SITES).contains(&index),
            "site {index} of {MAX_SITES}"
        );
        // SAFETY: inside the table, which is aligned for a site and all atomics.
        unsafe {
            &*self
                .at(SITES_AT + (index - 1) * size_of::<Site>())
                .cast::<Site>()
        }
    }

    /// Gives the caller a chunk of `recording` for itself alone, emptied; `None` when threads that are not done with theirs have all of them.
    ///
    /// `thread` is the turn by which the calling thread claimed its first chunk of this recording, `None` if this is it; `nth` says how many it claimed before.
    pub fn claim_chunk(&self, recording: u32, thread: Option<u64>, nth: u32) -> Option<Claimed> {
        let half = recording as usize & 1;
        let header = self.header();
        // Before the turn is taken, so that all that is recorded into chunks of later turns is later.
        let since = super::clock::now();
        // Each turn is about the next chunk of the ring; after so many, all have been looked at.
        for _ in 0..=RING_CHUNKS {
            let turn = header.next_turn[half].fetch_add(1, Ordering::Relaxed);
            let (number, round) = chunk_of_turn(turn);
            let chunk = self.at(chunk_at(half, number)?);
            // SAFETY: a chunk begins with a header, page-aligned, all of it atomics.
            let head = unsafe { &*chunk.cast::<ChunkHeader>() };
            // Acquire: what its last owner wrote when it was done stands there.
            let before = head.claim.load(Ordering::Acquire);
            let claim = Claim::from_word(before);
            let again = claim.is_some_and(|claim| claim.recording == recording);
            let free = match claim {
                // Those who are done with it keep it for a while: the last events are to be there.
                Some(claim) if again => {
                    matches!(claim.stage, Stage::Full | Stage::Left)
                        && turn.saturating_sub(head.done.load(Ordering::Relaxed)) >= KEPT_TURNS
                }
                // In the first round all are left over from an earlier recording. Later ones are not, except for a thread that is late by two of them.
                _ => round == 0,
            };
            if !free {
                continue;
            }
            let mine = |stage| {
                let claim = Claim {
                    recording,
                    round,
                    stage,
                };
                claim.to_word()
            };
            // Acquire, so that nothing of what follows is done to a chunk that another one has.
            if head
                .claim
                .compare_exchange(
                    before,
                    mine(Stage::Emptied),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_err()
            {
                continue;
            }
            // A reader that finds any of the stores below, or of an event later, finds the exchange as well when it looks at the claim again: its own
            // fence stands between.
            fence(Ordering::Release);
            if again {
                let lost = (head.len.load(Ordering::Relaxed) as usize).min(EVENTS_PER_CHUNK);
                header.dropped[half].fetch_add(lost as u64, Ordering::Relaxed);
            }
            let thread = thread.unwrap_or(turn);
            head.len.store(0, Ordering::Relaxed);
            head.nth.store(nth, Ordering::Relaxed);
            head.thread.store(thread, Ordering::Relaxed);
            head.since.store(since, Ordering::Relaxed);
            // Emptied before it is said to be filled: a reader that sees that sees no events of before.
            head.claim.store(mine(Stage::Filled), Ordering::Release);
            return Some(Claimed {
                chunk,
                claim: mine(Stage::Filled),
                thread,
            });
        }
        None
    }

    /// Lets others claim a chunk again, after a while: its thread is done with it.
    pub fn release_chunk(&self, chunk: *mut u8, claim: u64, stage: Stage) {
        let Some(known) = Claim::from_word(claim) else {
            return;
        };
        // SAFETY: a chunk that `claim_chunk` gave begins with a header, all of it atomics, and stays mapped.
        let head = unsafe { &*chunk.cast::<ChunkHeader>() };
        let turn = self.header().next_turn[known.recording as usize & 1].load(Ordering::Relaxed);
        head.done.store(turn, Ordering::Relaxed);
        let done = Claim { stage, ..known };
        // Release: who claims it sees all of it. Fails for a thread that is late by two recordings, whose chunk has a new owner by now.
        let _ = head.claim.compare_exchange(
            claim,
            done.to_word(),
            Ordering::Release,
            Ordering::Relaxed,
        );
    }

    fn name_words(&self, offset: usize, words: usize) -> &[AtomicU32] {
        assert!(
            offset.is_multiple_of(4) && offset + words * 4 <= NAMES_BYTES,
            "name at {offset}, {words} words"
        );
        // SAFETY: inside the heap of names, aligned, and only ever reached as these atomics.
        unsafe { std::slice::from_raw_parts(self.at(NAMES_AT + offset).cast::<AtomicU32>(), words) }
    }

    /// Writes a name at an offset of the heap that the caller claimed, a multiple of 4.
    pub fn put_name(&self, offset: usize, text: &str) {
        let words = self.name_words(offset, 1 + text.len().div_ceil(4));
        for (word, bytes) in words[1..].iter().zip(text.as_bytes().chunks(4)) {
            word.store(four(bytes), Ordering::Relaxed);
        }
        words[0].store((text.len() as u32).to_le(), Ordering::Release);
    }

    /// Says whether the name with this id is `text`.
    pub fn name_is(&self, id: NameId, text: &str) -> bool {
        let Some(offset) = (id as usize).checked_sub(1) else {
            return false;
        };
        let count = 1 + text.len().div_ceil(4);
        if !offset.is_multiple_of(4) || offset + count * 4 > NAMES_BYTES {
            return false;
        }
        let words = self.name_words(offset, count);
        u32::from_le(words[0].load(Ordering::Acquire)) as usize == text.len()
            && words[1..]
                .iter()
                .zip(text.as_bytes().chunks(4))
                .all(|(word, bytes)| word.load(Ordering::Relaxed) == four(bytes))
    }
}

/// Up to four bytes as they stand in memory, with zeros behind.
fn four(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_ne_bytes(word)
}

/// A chunk that a thread has for itself.
pub struct Claimed {
    /// Where it begins.
    pub chunk: *mut u8,
    /// What stands in it as long as it is claimed.
    pub claim: u64,
    /// The turn by which the thread claimed its first chunk of the recording.
    pub thread: u64,
}

/// Writes event number `len` of a chunk and publishes it.
///
/// # Safety
/// `chunk` must come from [`Trace::claim_chunk`] for this thread, and `len` be below `EVENTS_PER_CHUNK`.
#[inline(always)]
pub unsafe fn put_event(chunk: *mut u8, len: usize, event: Event) {
    // SAFETY: an `Event` is 32 bytes without padding: 8 + 4 * 4 + 2 * 2 + 1 + 1 + 2.
    let words: [u64; 4] = unsafe { std::mem::transmute(event) };
    // SAFETY: event `len` lies inside the chunk, by the caller's promise, and is aligned to 32 bytes. Stored as atomics, since a thread that is late by
    // two recordings may still write to a chunk that has a new owner; the event's `recording` then tells.
    let place = unsafe {
        &*chunk
            .add(size_of::<ChunkHeader>() + len * size_of::<Event>())
            .cast::<[AtomicU64; 4]>()
    };
    for (place, word) in place.iter().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
    // SAFETY: a chunk begins with its header.
    let header = unsafe { &*chunk.cast::<ChunkHeader>() };
    header.len.store(len as u32 + 1, Ordering::Release);
}
