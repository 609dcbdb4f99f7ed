//! One wait as the picture shows it: from the call that blocks to the moment the task runs on.

use threadbook_timeline::format::{Kind, Reason};

use crate::recorder::{self, Here};

/// A wait that was begun and must be ended.
#[must_use = "a wait that is not ended is drawn as one that never ended"]
pub struct Wait {
    reason: Reason,
    object: u32,
    here: Here,
}

impl Wait {
    /// Records that the calling task begins to wait. `queue`: how many wait in line, this task with them; for a sleep its microseconds.
    pub fn begin(reason: Reason, object: u32, queue: usize, here: Here) -> Wait {
        recorder::record(
            Kind::BlockBegin,
            object,
            u32::try_from(queue).unwrap_or(u32::MAX),
            reason as u32,
            Some(here),
        );
        Wait {
            reason,
            object,
            here,
        }
    }

    /// Records that the calling task runs on.
    pub fn end(self) {
        recorder::record(
            Kind::BlockEnd,
            self.object,
            0,
            self.reason as u32,
            Some(self.here),
        );
    }
}
