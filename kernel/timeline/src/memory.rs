//! A mapped trace: formatted and switched by the kernel, and read by it while the learner's process still writes.
//!
//! What stands there is hostile input: learners' code can write anywhere in its process. Every number is checked before it is used, every load is an
//! atomic one, and what does not make sense is left out. The one place of this crate with `unsafe`. Knows nothing of what events mean.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64, fence};

use crate::format::{
    CHUNK_BYTES, CHUNKS_PER_HALF, ChunkHeader, Claim, EVENTS_PER_CHUNK, Event, FIRST_CHUNKS,
    FIRST_FREE_ID, Header, KEPT_TURNS, Kind, MAGIC, MAX_SITES, NAMES_AT, NAMES_BYTES, NameId, Site,
    Stage, TRACE_BYTES, VERSION, chunk_at, site_at, turn_of_chunk,
};
use crate::observed::{Observation, part};
use crate::trace::{Gap, SiteInfo, Trace, by_task, merged};

/// Longest a name is read, in bytes. A panic message of a page says what it has to say.
const LONGEST_NAME: usize = 4096;

/// A trace in memory that this process shares with the learner's.
pub struct Memory {
    base: *mut u8,
}

// SAFETY: every access goes through atomics (see `word`, `header`, `site`), so any number of threads may use the same region at once.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("header", self.header())
            .finish_non_exhaustive()
    }
}

impl Memory {
    /// Takes a mapped region as a trace. `None` when it is shorter than [`TRACE_BYTES`], null, or not aligned as a page is.
    ///
    /// # Safety
    /// `base` must point to `len` bytes that stay mapped, readable and writable for as long as the value and every reference obtained from it live,
    /// and that all threads and processes change only by atomic operations (another process that does not is no undefined behaviour of this one).
    pub unsafe fn new(base: *mut u8, len: usize) -> Option<Memory> {
        let usable =
            !base.is_null() && len >= TRACE_BYTES && (base as usize).is_multiple_of(CHUNK_BYTES);
        usable.then_some(Memory { base })
    }

    /// The first page.
    pub fn header(&self) -> &Header {
        // SAFETY: `base` is page-aligned and at least `TRACE_BYTES` long (`new`); `Header` consists of atomics only, for which all bytes are valid.
        unsafe { &*self.base.cast::<Header>() }
    }

    /// Makes an empty trace of this region. The magic number is stored last, so that a recorder never sees half of it.
    pub fn format(&self) {
        let header = self.header();
        header.magic.store(0, Relaxed);
        header.recording.store(0, Relaxed);
        header.ticks_per_second.store(0, Relaxed);
        header.generation.store(0, Relaxed);
        header.next_task.store(FIRST_FREE_ID, Relaxed);
        header.next_object.store(FIRST_FREE_ID, Relaxed);
        header.sites.store(0, Relaxed);
        header.names.store(0, Relaxed);
        header.no_snapshots.store(0, Relaxed);
        for half in 0..2 {
            header.next_turn[half].store(0, Relaxed);
            header.dropped[half].store(0, Relaxed);
            header.unplaced[half].store(0, Relaxed);
        }
        header.version.store(VERSION, Relaxed);
        header.magic.store(MAGIC, Release);
    }

    /// Lets recording `recording` begin, from an empty half. The other half, with the recording before it, stays readable.
    ///
    /// # Panics
    /// When `recording` is 0, which means "off".
    pub fn begin(&self, recording: u32) {
        assert!(
            recording > 0,
            "recording 0 means that recording is off; call stop"
        );
        let header = self.header();
        let half = half_of(recording);
        header.next_turn[half].store(0, Relaxed);
        header.dropped[half].store(0, Relaxed);
        header.unplaced[half].store(0, Relaxed);
        header.recording.store(recording, Release);
    }

    /// Lets nothing be recorded from now on. What was recorded stays readable.
    pub fn stop(&self) {
        self.header().recording.store(0, Release);
    }

    /// Reads all that recording `recording` holds by now, also while it is being written.
    ///
    /// Never fails: what is not there, not whole, or makes no sense is left out. At most 516,000 events and 4 MB of names are copied.
    pub fn read(&self, recording: u32) -> Trace {
        self.read_some(recording, |tasks| tasks)
    }

    /// How much recording `recording` holds by now, as a number that grows with each event: those in its chunks, and those that are not there any more.
    ///
    /// Looks at the heads of the chunks alone, at most 4,096 of them. Of a trace that was scribbled on it may be any number.
    pub fn count(&self, recording: u32) -> u64 {
        let header = self.header();
        let half = half_of(recording);
        let turns = header.next_turn[half].load(Acquire);
        let numbers = turns.min(CHUNKS_PER_HALF as u64) as usize;
        let in_chunks = (0..numbers).filter_map(|number| {
            self.turn(half, number, recording)?;
            let head = self.chunk_header(chunk_at(half, number)?);
            Some(u64::from(head.len.load(Relaxed)))
        });
        let there = in_chunks.fold(0_u64, u64::saturating_add);
        there.saturating_add(header.dropped[half].load(Relaxed))
    }

    /// Reads the observed part of recording `recording`, as [`read`](Self::read) reads all of it: the cost of what else is there is that of copying it.
    pub fn read_part(&self, recording: u32, observation: Observation) -> Trace {
        self.read_some(recording, |tasks| part(tasks, observation))
    }

    fn read_some(
        &self,
        recording: u32,
        choose: impl FnOnce(Vec<Vec<Event>>) -> Vec<Vec<Event>>,
    ) -> Trace {
        let header = self.header();
        let half = half_of(recording);
        let turns = header.next_turn[half].load(Acquire);
        let numbers = turns.min(CHUNKS_PER_HALF as u64) as usize;
        let mut found: Vec<(u64, usize)> = (0..numbers)
            .filter_map(|number| Some((self.turn(half, number, recording)?, number)))
            .collect();
        // The last ones first: of a thread that goes on meanwhile, what is seen ends somewhere, and nothing is left out before that.
        found.sort_unstable_by(|a, b| b.cmp(a));
        let mut chunks: Vec<Chunk> = found
            .into_iter()
            .filter_map(|(turn, number)| self.chunk(half, number, recording, turn))
            .collect();
        chunks.reverse();
        // Looked at after the chunks, so that none of them was claimed again without showing here.
        let turns = header.next_turn[half].load(Acquire);
        let dropped = header.dropped[half].load(Relaxed);
        let gap = (dropped > 0 || turns > CHUNKS_PER_HALF as u64).then(|| {
            mark_gaps(&mut chunks, recording);
            let to_the_end = header.unplaced[half].load(Relaxed) > 0;
            gap(&chunks, turns, to_the_end)
        });
        let tasks = choose(by_task(
            chunks.into_iter().map(|chunk| chunk.events).collect(),
        ));
        let mut names = Names {
            memory: self,
            known: HashMap::new(),
            left: NAMES_BYTES,
        };
        let mut last_site = 0;
        for event in tasks.iter().flatten() {
            last_site = last_site.max(usize::from(event.site));
            let names_something = matches!(
                Kind::from_number(event.kind.into()),
                Some(
                    Kind::NameTask
                        | Kind::NameObject
                        | Kind::Panic
                        | Kind::Mark
                        | Kind::RegionBegin
                )
            );
            if names_something {
                names.learn(event.aux);
            }
        }
        let sites = (1..=last_site.min(MAX_SITES))
            .map(|index| self.site(index, &mut names))
            .collect();
        Trace {
            names: names.known,
            sites,
            ticks_per_second: header.ticks_per_second.load(Relaxed),
            dropped,
            gap,
            events: merged(&tasks),
        }
    }

    fn chunk_header(&self, at: usize) -> &ChunkHeader {
        assert!(
            at.is_multiple_of(align_of::<ChunkHeader>())
                && at + size_of::<ChunkHeader>() <= TRACE_BYTES,
            "offset {at} is checked by its caller"
        );
        // SAFETY: within the region and aligned, as just asserted, and `base` is page-aligned; a header consists of atomics only.
        unsafe { &*self.base.add(at).cast::<ChunkHeader>() }
    }

    /// The turn by which a chunk was claimed; `None` when that was for another recording, or is being done.
    fn turn(&self, half: usize, number: usize, recording: u32) -> Option<u64> {
        let head = self.chunk_header(chunk_at(half, number)?);
        let claim = Claim::from_word(head.claim.load(Acquire))?;
        let is_there = claim.recording == recording && claim.stage != Stage::Emptied;
        is_there.then(|| turn_of_chunk(number, claim.round))
    }

    /// The chunk of turn `turn` with the whole ones of its events; `None` when it has none, or has been claimed again.
    fn chunk(&self, half: usize, number: usize, recording: u32, turn: u64) -> Option<Chunk> {
        let at = chunk_at(half, number)?;
        let head = self.chunk_header(at);
        let claim = Claim::from_word(head.claim.load(Acquire))?;
        let whole = head.len.load(Acquire) as usize;
        let events: Vec<Event> = (0..whole.min(EVENTS_PER_CHUNK))
            .map(|index| self.event(at + size_of::<ChunkHeader>() + index * size_of::<Event>()))
            // An event of a late thread, written into a chunk that has a new owner by now.
            .filter(|event| {
                event.recording == recording.to_le_bytes()[0]
                    && Kind::from_number(event.kind.into()).is_some_and(|kind| kind != Kind::Gap)
            })
            .collect();
        let chunk = Chunk {
            turn,
            is_first: number < FIRST_CHUNKS,
            thread: head.thread.load(Relaxed),
            nth: head.nth.load(Relaxed),
            since: head.since.load(Relaxed),
            is_full: claim.stage == Stage::Full,
            events,
        };
        // Claimed by another thread meanwhile? Who finds a store of that thread above finds its claim here: its own fence stands between those two.
        fence(Acquire);
        let is_same = self.turn(half, number, recording) == Some(turn);
        (is_same && !chunk.events.is_empty()).then_some(chunk)
    }

    fn event(&self, at: usize) -> Event {
        let mut bytes = [0; size_of::<Event>()];
        for (index, word) in bytes.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&self.word64(at + index * 8).load(Relaxed).to_ne_bytes());
        }
        let half_word = |from: usize| u16::from_ne_bytes([bytes[from], bytes[from + 1]]);
        let word = |from: usize| {
            u32::from_ne_bytes([
                bytes[from],
                bytes[from + 1],
                bytes[from + 2],
                bytes[from + 3],
            ])
        };
        Event {
            ticks: u64::from_ne_bytes(*bytes.first_chunk().expect("an event has 32 bytes")),
            task: word(8),
            obj: word(12),
            seq: word(16),
            aux: word(20),
            site: half_word(24),
            cpu: half_word(26),
            kind: bytes[28],
            recording: bytes[29],
            worker: bytes[30],
            reserved: 0,
        }
    }

    fn site(&self, index: usize, names: &mut Names<'_>) -> SiteInfo {
        let Some(at) = site_at(index) else {
            return SiteInfo::default();
        };
        // SAFETY: `site_at` gives offsets within the trace, aligned for a `Site`, which consists of atomics only.
        let site = unsafe { &*self.base.add(at).cast::<Site>() };
        if site.ready.load(Acquire) != 1 {
            return SiteInfo::default();
        }
        SiteInfo {
            build: site.build.load(Relaxed),
            line: site.line.load(Relaxed),
            column: site.column.load(Relaxed),
            file: names.learn(site.file.load(Relaxed)).unwrap_or_default(),
        }
    }

    /// A name from the heap, its length, and bytes of UTF-8, checked; `None` when there is none, or it is not whole yet.
    fn name(&self, id: NameId) -> Option<Arc<str>> {
        let offset = (id as usize).checked_sub(1)?;
        if !offset.is_multiple_of(4) || offset + 4 > NAMES_BYTES {
            return None;
        }
        let len = self.word32(NAMES_AT + offset).load(Acquire) as usize;
        if len == 0 || len > NAMES_BYTES - offset - 4 {
            return None;
        }
        let len = len.min(LONGEST_NAME);
        let mut bytes = Vec::with_capacity(len.next_multiple_of(4));
        while bytes.len() < len {
            let word = self
                .word32(NAMES_AT + offset + 4 + bytes.len())
                .load(Relaxed);
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.truncate(len);
        Some(String::from_utf8_lossy(&bytes).into())
    }

    fn word32(&self, at: usize) -> &AtomicU32 {
        assert!(
            at.is_multiple_of(4) && at + 4 <= TRACE_BYTES,
            "offset {at} is checked by its caller"
        );
        // SAFETY: within the region and aligned, as just asserted, and `base` is page-aligned.
        unsafe { &*self.base.add(at).cast::<AtomicU32>() }
    }

    fn word64(&self, at: usize) -> &AtomicU64 {
        assert!(
            at.is_multiple_of(8) && at + 8 <= TRACE_BYTES,
            "offset {at} is checked by its caller"
        );
        // SAFETY: within the region and aligned, as just asserted, and `base` is page-aligned.
        unsafe { &*self.base.add(at).cast::<AtomicU64>() }
    }
}

/// A chunk as it was read. None of the numbers may be trusted.
struct Chunk {
    turn: u64,
    is_first: bool,
    thread: u64,
    nth: u32,
    since: u64,
    is_full: bool,
    events: Vec<Event>,
}

/// Puts a [`Kind::Gap`] behind what a task did last before its thread's next chunk is missing. A task gets one only when it has done something since its
/// last, so there are never more of them than events.
fn mark_gaps(chunks: &mut [Chunk], recording: u32) {
    let place = |(at, chunk): (usize, &Chunk)| (chunk.thread, chunk.nth, at);
    let mut order: Vec<(u64, u32, usize)> = chunks.iter().enumerate().map(place).collect();
    order.sort_unstable();
    for of_thread in order.chunk_by(|a, b| a.0 == b.0) {
        let mut tasks = BTreeSet::new();
        let mut ticks = 0;
        for (place, &(_, nth, at)) in of_thread.iter().enumerate() {
            for event in &chunks[at].events {
                ticks = event.ticks.max(ticks);
                if event.kind == Kind::Exit as u8 {
                    tasks.remove(&event.task);
                } else {
                    tasks.insert(event.task);
                }
            }
            let is_followed = match of_thread.get(place + 1) {
                Some(&(_, next, _)) => next == nth.wrapping_add(1),
                // A thread that filled its chunk asked for another one, and where is that?
                None => !chunks[at].is_full,
            };
            if !is_followed {
                let gaps = std::mem::take(&mut tasks).into_iter().map(|task| Event {
                    ticks,
                    task,
                    kind: Kind::Gap as u8,
                    cpu: u16::MAX,
                    recording: recording.to_le_bytes()[0],
                    ..Event::default()
                });
                chunks[at].events.extend(gaps);
            }
        }
    }
}

/// When events may be missing. `turns`: how many have come.
fn gap(chunks: &[Chunk], turns: u64, to_the_end: bool) -> Gap {
    // The first chunks stay. Each was asked for before the first one that does not.
    let firsts = chunks.iter().filter(|chunk| chunk.is_first);
    let from = firsts.map(|chunk| chunk.since).max().unwrap_or(0);
    // A chunk was done with this many turns before it was claimed again, and those that were claimed later were filled after that. By their last events:
    // the first may be told late, for a time before.
    let lasts = chunks
        .iter()
        .filter(|chunk| !chunk.is_first && chunk.turn >= turns.saturating_sub(KEPT_TURNS));
    let until = lasts
        .filter_map(|chunk| chunk.events.iter().map(|event| event.ticks).max())
        .min()
        .filter(|_| !to_the_end)
        .unwrap_or(u64::MAX);
    Gap {
        from,
        until: until.max(from),
    }
}

/// Recordings alternate between the two halves.
fn half_of(recording: u32) -> usize {
    (recording & 1) as usize
}

/// The names read so far. Names may overlap in a heap that was scribbled on, so what is copied is bounded, not only each name.
struct Names<'a> {
    memory: &'a Memory,
    known: HashMap<NameId, Arc<str>>,
    left: usize,
}

impl Names<'_> {
    fn learn(&mut self, id: NameId) -> Option<Arc<str>> {
        if let Some(name) = self.known.get(&id) {
            return Some(name.clone());
        }
        let name = self.memory.name(id)?;
        self.left = self.left.checked_sub(name.len())?;
        self.known.insert(id, name.clone());
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::format::{CHUNKS_AT, RING_CHUNKS, SITES_AT, chunk_of_turn};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    /// A private region: what a memfd is to two processes, zeroed memory is to one.
    struct Region {
        base: *mut u8,
        memory: Memory,
    }

    const LAYOUT: Layout = match Layout::from_size_align(TRACE_BYTES, CHUNK_BYTES) {
        Ok(layout) => layout,
        Err(_) => panic!("a whole number of pages"),
    };

    impl Region {
        fn new() -> Region {
            // SAFETY: the layout's size is not zero.
            let base = unsafe { alloc_zeroed(LAYOUT) };
            // SAFETY: just allocated, freed in `drop` after the last use.
            let memory = unsafe { Memory::new(base, TRACE_BYTES) }
                .expect("allocated with the alignment of a page");
            Region { base, memory }
        }

        fn put32(&self, at: usize, value: u32) {
            self.memory.word32(at).store(value, Relaxed);
        }

        /// Writes events as the recorder does: the chunk's owner, the events, then how many are whole.
        fn write(&self, recording: u32, events: &[Event]) {
            let half = half_of(recording);
            let turn = self.memory.header().next_turn[half].fetch_add(1, Relaxed);
            let thread = u32::try_from(turn).expect("few chunks");
            self.write_chunk(recording, turn, thread, 0, Stage::Filled, events);
        }

        /// Writes the `nth` chunk of the thread that began with turn `thread`.
        fn write_chunk(
            &self,
            recording: u32,
            turn: u64,
            thread: u32,
            nth: u32,
            stage: Stage,
            events: &[Event],
        ) {
            let (number, round) = chunk_of_turn(turn);
            let at = chunk_at(half_of(recording), number).expect("a turn is about a chunk");
            let claim = Claim {
                recording,
                round,
                stage,
            };
            let head = self.memory.chunk_header(at);
            head.claim.store(claim.to_word(), Relaxed);
            head.thread.store(thread.into(), Relaxed);
            head.nth.store(nth, Relaxed);
            let since = events.first().map_or(0, |event| event.ticks);
            head.since.store(since, Relaxed);
            for (index, event) in events.iter().enumerate() {
                let at = at + size_of::<ChunkHeader>() + index * size_of::<Event>();
                let words = [
                    event.ticks,
                    u64::from(event.task) | u64::from(event.obj) << 32,
                    u64::from(event.seq) | u64::from(event.aux) << 32,
                    u64::from(event.site)
                        | u64::from(event.cpu) << 16
                        | u64::from(event.kind) << 32
                        | u64::from(event.recording) << 40,
                ];
                for (word, value) in words.into_iter().enumerate() {
                    self.memory.word64(at + word * 8).store(value, Relaxed);
                }
            }
            head.len.store(events.len() as u32, Relaxed);
        }
    }

    impl Drop for Region {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { dealloc(self.base, LAYOUT) };
        }
    }

    fn event(recording: u32, ticks: u64, task: u32, kind: Kind) -> Event {
        Event {
            ticks,
            task,
            kind: kind as u8,
            recording: recording as u8,
            cpu: 1,
            site: 1,
            ..Event::default()
        }
    }

    #[test]
    fn regions_that_cannot_hold_a_trace_are_refused() {
        let region = Region::new();
        for (name, base, len) in [
            ("null", std::ptr::null_mut(), TRACE_BYTES),
            ("short", region.base, TRACE_BYTES - 1),
            ("askew", region.base.wrapping_add(8), TRACE_BYTES),
        ] {
            // SAFETY: none of the three is ever read.
            assert!(unsafe { Memory::new(base, len) }.is_none(), "{name}");
        }
    }

    #[test]
    fn two_recordings_are_read_apart() {
        let region = Region::new();
        let memory = &region.memory;
        memory.format();
        memory
            .header()
            .ticks_per_second
            .store(1_000_000_000, Relaxed);
        memory.begin(1);
        region.write(
            1,
            &[
                event(1, 10, 1, Kind::CellBegin),
                event(1, 30, 1, Kind::CellEnd),
            ],
        );
        // A late thread of another recording got hold of this chunk, and one event is of a kind of the future.
        region.write(
            1,
            &[
                event(1, 20, 2, Kind::Start),
                event(3, 21, 2, Kind::Start),
                Event {
                    kind: 200,
                    ..event(1, 22, 2, Kind::Exit)
                },
            ],
        );
        memory.begin(2);
        region.write(2, &[event(2, 40, 1, Kind::CellBegin)]);
        memory.stop();

        let kinds = |recording| {
            memory
                .read(recording)
                .events
                .iter()
                .map(|event| (event.ticks, event.kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(1),
            [
                (10, Kind::CellBegin as u8),
                (20, Kind::Start as u8),
                (30, Kind::CellEnd as u8)
            ]
        );
        assert_eq!(kinds(2), [(40, Kind::CellBegin as u8)]);
        assert_eq!(
            kinds(3),
            [],
            "recording 3 would use the half of 1, and has nothing in it"
        );
        assert_eq!(memory.header().recording.load(Relaxed), 0);
        memory.begin(3);
        assert_eq!(kinds(1), [], "its half was given to recording 3");
    }

    #[test]
    fn names_and_sites_are_read_when_whole() {
        let region = Region::new();
        let memory = &region.memory;
        memory.format();
        memory.begin(1);
        for (at, word) in [
            (0, 3),
            (4, u32::from_le_bytes(*b"ada\0")),
            (8, 0),
            (12, u32::MAX),
            (16, 2),
            (20, 0xffff),
        ] {
            region.put32(NAMES_AT + at, word);
        }
        for (field, word) in [1, 7, 4, 9, 1].into_iter().enumerate() {
            region.put32(SITES_AT + field * 4, word);
        }
        let name = |aux| Event {
            aux,
            ..event(1, 1, 1, Kind::NameTask)
        };
        region.write(
            1,
            &[0, 1, 2, 9, 13, 17, NAMES_BYTES as u32 + 1, u32::MAX].map(name),
        );
        let trace = memory.read(1);
        for (id, want) in [
            (0, None),
            (1, Some("ada")),
            (2, None),
            (9, None),
            (13, None),
            (17, Some("\u{fffd}\u{fffd}")),
            (u32::MAX, None),
        ] {
            assert_eq!(trace.name(id), want, "name {id}");
        }
        assert_eq!(
            trace.site(1),
            Some(&SiteInfo {
                build: 7,
                line: 4,
                column: 9,
                file: "ada".into()
            })
        );
        assert_eq!(trace.site(0), None);
        assert_eq!(trace.site(2), None);
    }

    #[test]
    fn what_was_claimed_again_is_told_as_a_gap() {
        let region = Region::new();
        let memory = &region.memory;
        memory.format();
        memory.begin(1);
        let event = |ticks, task, kind| event(1, ticks, task, kind);
        let (first, ring) = (FIRST_CHUNKS as u64, RING_CHUNKS as u64);
        let full = |task, from| -> Vec<Event> {
            (0..EVENTS_PER_CHUNK as u64)
                .map(|at| event(from + at, task, Kind::Yield))
                .collect()
        };
        // Thread 0 carries tasks 1 and 3, loses a chunk, and comes back; thread 1 keeps its one chunk; thread 2 loses what it did last.
        let mut both = full(1, 1000);
        both[3] = event(1003, 3, Kind::Start);
        both[5] = event(1005, 4, Kind::Exit);
        region.write_chunk(1, 0, 0, 0, Stage::Full, &both);
        region.write_chunk(1, 1, 1, 0, Stage::Filled, &[event(1500, 2, Kind::Mark)]);
        region.write_chunk(1, 2, 2, 0, Stage::Full, &full(5, 2000));
        region.write_chunk(1, first + ring + 7, 0, 2, Stage::Filled, &full(1, 9000));
        // As if this one was being claimed when the process was killed.
        region.write_chunk(1, first + 9, 3, 0, Stage::Emptied, &full(6, 9000));
        let header = memory.header();
        header.next_turn[1].store(first + ring + 8, Relaxed);
        header.dropped[1].store(1260, Relaxed);

        let trace = memory.read(1);
        let gaps: Vec<_> = trace
            .events
            .iter()
            .filter(|event| event.kind == Kind::Gap as u8)
            .map(|event| (event.task, event.ticks))
            .collect();
        let last = EVENTS_PER_CHUNK as u64 - 1;
        assert_eq!(gaps, [(1, 1000 + last), (3, 1000 + last), (5, 2000 + last)]);
        assert!(trace.events.iter().all(|event| event.task != 6));
        let gap = Gap {
            from: 2000,
            until: 9000 + last,
        };
        assert_eq!((trace.gap, trace.dropped), (Some(gap), 1260));
        let timeline = fold(&trace);
        let ends: Vec<_> = [1, 2, 3, 5]
            .map(|task| &timeline.lane(task).expect("did something").end)
            .into();
        use crate::fold::LaneEnd::{Alive, Unknown};
        assert_eq!(ends, [&Alive, &Alive, &Unknown, &Unknown]);

        header.unplaced[1].store(1, Relaxed);
        assert_eq!(
            memory.read(1).gap.map(|gap| gap.until),
            Some(u64::MAX),
            "what found no chunk may have happened at any time"
        );
    }

    #[test]
    fn any_bytes_are_read_and_folded_without_panic() {
        let region = Region::new();
        let mut random = crate::script::Random::new(7);
        let mut events_read = 0;
        for case in 0..14_000 {
            region.memory.format();
            region.memory.begin(1);
            let header = region.memory.header();
            header.ticks_per_second.store(
                [0, 1, 1_000_000_000, u64::MAX, random.next()][case % 5],
                Relaxed,
            );
            let turns = match case % 400 {
                0 => u64::MAX,
                1 => random.next(),
                _ => 1 + random.below(3),
            };
            header.next_turn[1].store(turns, Relaxed);
            if random.below(2) == 0 {
                header.dropped[1].store(random.next(), Relaxed);
                header.unplaced[1].store(random.below(2), Relaxed);
            }
            for number in 0..3 {
                let at = CHUNKS_AT + (CHUNKS_PER_HALF + number) * CHUNK_BYTES;
                for word in 0..CHUNK_BYTES / 8 {
                    region
                        .memory
                        .word64(at + word * 8)
                        .store(random.next(), Relaxed);
                }
                let head = region.memory.chunk_header(at);
                // Of this recording, at any stage, also one that there is not.
                let claim = 1 << 32 | random.below(2) << 3 | random.below(6);
                head.claim.store(claim, Relaxed);
                let few = |random: &mut crate::script::Random| match random.below(2) {
                    0 => random.below(64),
                    _ => u64::MAX,
                };
                head.len.store(few(&mut random) as u32, Relaxed);
                head.nth.store(random.below(3) as u32, Relaxed);
                head.thread.store(random.below(2), Relaxed);
                head.since.store(few(&mut random), Relaxed);
                for index in 0..EVENTS_PER_CHUNK {
                    // Mostly small numbers, so that events concern one another; wild ones are left between them.
                    let at = at + size_of::<ChunkHeader>() + index * size_of::<Event>();
                    if random.below(8) != 0 {
                        for word in 2..6 {
                            region.put32(at + word * 4, random.below(6) as u32);
                        }
                        region.put32(at + 4, 0);
                        region.put32(at + 24, random.below(4) as u32);
                    }
                    region.put32(at + 28, random.below(40) as u32 | 1 << 8);
                }
            }
            for _ in 0..64 {
                region.put32(
                    NAMES_AT + 4 * random.below(64) as usize,
                    random.next() as u32,
                );
                region.put32(
                    SITES_AT + 4 * random.below(64) as usize,
                    random.below(3) as u32,
                );
            }
            let trace = region.memory.read(1);
            let timeline = fold(&trace);
            let gaps = |event: &&Event| event.kind == Kind::Gap as u8;
            let missing = trace.events.iter().filter(gaps).count();
            assert!(trace.events.len() - missing <= 3 * EVENTS_PER_CHUNK);
            assert!(missing <= trace.events.len() / 2, "{missing} gaps");
            events_read += trace.events.len();
            // To make an object, to give a name, or to be told of by another is not seen on a lane.
            let unseen = [
                Kind::Deadlocked,
                Kind::NameTask,
                Kind::NewObject,
                Kind::NameObject,
                Kind::Gap,
            ]
            .map(|kind| kind as u8);
            let of_a_task = trace.events.iter().filter(|event| event.task != 0);
            let acting = of_a_task.clone().any(|event| !unseen.contains(&event.kind));
            let lanes = !timeline.lanes.is_empty();
            assert!(
                lanes || !acting,
                "case {case}: whatever does something has a lane"
            );
            assert!(
                !lanes || of_a_task.count() > 0,
                "case {case}: there is no task 0"
            );
        }
        assert!(
            events_read > 1_000_000,
            "{events_read} events were read: the test tries too little"
        );
    }
}
