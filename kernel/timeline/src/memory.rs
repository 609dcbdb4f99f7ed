//! A mapped trace: formatted and switched by the kernel, and read by it while the learner's process still writes.
//!
//! What stands there is hostile input: learners' code can write anywhere in its process. Every number is checked before it is used, every load is an
//! atomic one, and what does not make sense is left out. The one place of this crate with `unsafe`. Knows nothing of what events mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use crate::format::{
    CHUNK_BYTES, CHUNKS_PER_HALF, ChunkHeader, EVENTS_PER_CHUNK, Event, FIRST_FREE_ID, Header,
    Kind, MAGIC, MAX_SITES, NAMES_AT, NAMES_BYTES, NameId, Site, TRACE_BYTES, VERSION, chunk_at,
    site_at,
};
use crate::observed::{Observation, part};
use crate::trace::{SiteInfo, Trace, by_task, merged};

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
            header.next_chunk[half].store(0, Relaxed);
            header.dropped[half].store(0, Relaxed);
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
        header.next_chunk[half].store(0, Relaxed);
        header.dropped[half].store(0, Relaxed);
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
        let claimed = header.next_chunk[half].load(Acquire) as usize;
        let chunks: Vec<Vec<Event>> = (0..claimed.min(CHUNKS_PER_HALF))
            .filter_map(|number| chunk_at(half, number))
            .map(|at| self.chunk(at, recording))
            .filter(|events| !events.is_empty())
            .collect();
        let tasks = choose(by_task(chunks));
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
            dropped: header.dropped[half].load(Relaxed),
            events: merged(&tasks),
        }
    }

    /// The whole events of one chunk, or nothing when it belongs to another recording.
    fn chunk(&self, at: usize, recording: u32) -> Vec<Event> {
        // `ChunkHeader` is two words: whose it is, and how many events are whole.
        if self.word32(at).load(Acquire) != recording {
            return Vec::new();
        }
        let whole = self.word32(at + 4).load(Acquire) as usize;
        (0..whole.min(EVENTS_PER_CHUNK))
            .map(|index| self.event(at + size_of::<ChunkHeader>() + index * size_of::<Event>()))
            // An event of a late thread, written into a chunk that has a new owner by now.
            .filter(|event| {
                event.recording == recording.to_le_bytes()[0]
                    && Kind::from_number(event.kind.into()).is_some()
            })
            .collect()
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
    use crate::format::{CHUNKS_AT, SITES_AT};
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
            let number = self.memory.header().next_chunk[half].fetch_add(1, Relaxed) as usize;
            let at = chunk_at(half, number).expect("tests fill few chunks");
            self.put32(at, recording);
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
            self.put32(at + 4, events.len() as u32);
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
    fn any_bytes_are_read_and_folded_without_panic() {
        let region = Region::new();
        let mut random = crate::script::Random::new(7);
        let mut events_read = 0;
        for case in 0..8000 {
            region.memory.format();
            region.memory.begin(1);
            let header = region.memory.header();
            header.ticks_per_second.store(
                [0, 1, 1_000_000_000, u64::MAX, random.next()][case % 5],
                Relaxed,
            );
            let next_chunk = if case % 400 == 0 {
                u32::MAX
            } else {
                1 + random.below(3) as u32
            };
            header.next_chunk[1].store(next_chunk, Relaxed);
            for number in 0..3 {
                let at = CHUNKS_AT + (CHUNKS_PER_HALF + number) * CHUNK_BYTES;
                for word in 0..CHUNK_BYTES / 8 {
                    region
                        .memory
                        .word64(at + word * 8)
                        .store(random.next(), Relaxed);
                }
                region.put32(at, 1);
                region.put32(
                    at + 4,
                    if random.below(2) == 0 {
                        random.below(64) as u32
                    } else {
                        u32::MAX
                    },
                );
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
                    region.put32(at + 28, random.below(31) as u32 | 1 << 8);
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
            assert!(trace.events.len() <= 3 * EVENTS_PER_CHUNK);
            events_read += trace.events.len();
            // To make an object, or to give a name, is not seen on a lane.
            let unseen = [Kind::NewObject, Kind::NameObject, Kind::NameTask].map(|kind| kind as u8);
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
