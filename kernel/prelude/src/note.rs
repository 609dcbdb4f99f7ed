//! What a program says about itself in the picture: marks at one moment, regions around several lines.

use std::marker::PhantomData;
use std::panic::Location;

use threadbook_timeline::format::Kind;

use crate::recorder::{self, Here};

/// Puts a remark on the calling thread's lane, here and now. Does not block; costs about 50 ns while recording.
///
/// ```
/// # use threadbook_prelude::*;
/// mark("the oven is hot");
/// ```
#[track_caller]
pub fn mark(text: impl AsRef<str>) {
    tell(Kind::Mark, text.as_ref(), Location::caller());
}

/// Names what the calling thread does from here until the guard is dropped. Does not block; costs about 50 ns while recording.
///
/// ```
/// # use threadbook_prelude::*;
/// {
///     let _kneading = region("kneading");
///     work(ms(1));
/// } // the region ends here
/// ```
#[track_caller]
pub fn region(text: impl AsRef<str>) -> Region {
    let here = Location::caller();
    tell(Kind::RegionBegin, text.as_ref(), here);
    Region {
        here,
        stays_in_its_thread: PhantomData,
    }
}

fn tell(kind: Kind, text: &str, here: Here) {
    // A text costs room in the trace for good, so it is written only when its event is.
    if recorder::recording() != 0 {
        recorder::record(kind, 0, 0, recorder::intern_remark(text), Some(here));
    }
}

/// Ends a region when it is dropped; made by [`region`].
#[must_use = "the region ends as soon as this is dropped: bind it to a name, as in `let _kneading = …`"]
#[derive(Debug)]
pub struct Region {
    here: Here,
    stays_in_its_thread: PhantomData<*const ()>,
}

impl Drop for Region {
    fn drop(&mut self) {
        recorder::record(Kind::RegionEnd, 0, 0, 0, Some(self.here));
    }
}
