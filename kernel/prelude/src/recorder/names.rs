//! Names in the trace: each text is written once into the shared heap and known by its place there.
//!
//! A small table of this process remembers which texts are there already. It holds only ids; what they stand for is read back from the heap, so nothing
//! needs a lock, and a process that takes over from a dead one can go on with the table as it is.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use threadbook_timeline::format::{NAMES_BYTES, NameId};

use super::trace::Trace;

/// What a text is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It names a task, an object or a file.
    Name,
    /// Any other words of the learner: a mark, a region, a panic's message.
    Remark,
}

/// How long a name may be in bytes; the rest is cut off. A picture has no room for more.
const LONGEST: usize = 400;
/// How much of the heap remarks may fill: the last quarter is for names.
const FOR_REMARKS: usize = NAMES_BYTES / 4 * 3;
const SLOTS: usize = 8192;
/// How far from its own slot a name is looked for, and kept.
const REACH: usize = 16;

static KNOWN: [AtomicU32; SLOTS] = [const { AtomicU32::new(0) }; SLOTS];

/// Gives the id of `text`, written into the heap when it is not known; 0 when there is no room left.
pub fn intern(trace: &Trace, text: &str, purpose: Use) -> NameId {
    if !trace.is_read() {
        return 0;
    }
    let text = &text[..text.floor_char_boundary(LONGEST)];
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let start = hasher.finish() as usize;
    for step in 0..REACH {
        let slot = &KNOWN[start.wrapping_add(step) % SLOTS];
        let mut known = slot.load(Ordering::Acquire);
        if known == 0 {
            let new = write(trace, text, purpose);
            // Another thread may have filled the slot meanwhile, perhaps with the same text: then it stands twice in the heap, which harms nobody.
            match slot.compare_exchange(0, new, Ordering::Release, Ordering::Acquire) {
                Ok(_) => return new,
                Err(other) => known = other,
            }
            if !trace.name_is(known, text) {
                return new;
            }
        }
        if trace.name_is(known, text) {
            return known;
        }
    }
    write(trace, text, purpose)
}

fn write(trace: &Trace, text: &str, purpose: Use) -> NameId {
    let limit = if purpose == Use::Remark {
        FOR_REMARKS
    } else {
        NAMES_BYTES
    };
    let bytes = (size_of::<u32>() + text.len()).next_multiple_of(4);
    let claimed = trace
        .header()
        .names
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            let end = used as usize + bytes;
            (end <= limit).then_some(end as u32)
        });
    match claimed {
        Ok(offset) => {
            trace.put_name(offset as usize, text);
            offset + 1
        }
        Err(_) => 0,
    }
}
