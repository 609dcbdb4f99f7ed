//! How long tools took for a cell, when somebody wants to know: written down by each, read by the kernel.
//!
//! ```text
//! <folder of links>/timing      there while tools are to tell
//! <folder of links>/took        what they told, a line of JSON each
//! <folder of links>/linker/cc   a link to this program, which rustc is told to link by
//! ```

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::place::{Place, Tools};

const WANTED: &str = "timing";
const TOOK: &str = "took";
const LINKER: &str = "linker/cc";

/// What a tool did for a cell.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Step {
    /// What: a command of cargo's (`build`, `check`), or `link`.
    pub what: String,
    /// Who did it: `rustc`, `cargo`, `cc`; `kept` where a library of an earlier time was taken.
    pub by: String,
    /// Microseconds since 1970.
    began: u64,
    /// Microseconds.
    took: u64,
}

impl Step {
    /// When it began.
    pub fn began(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.began)
    }

    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took)
    }
}

impl Tools {
    /// Has tools tell how long they take from now on, or no longer; forgets what they told. `false` where there is no folder of links: then nobody tells.
    pub fn want_timing(wanted: bool) -> bool {
        let Some(folder) = Tools::folder() else {
            return false;
        };
        let _ = fs::remove_file(folder.join(TOOK));
        if !wanted {
            let _ = fs::remove_file(folder.join(WANTED));
            return false;
        }
        let linker = folder.join(LINKER);
        if let (Some(above), Ok(program), false) =
            (linker.parent(), std::env::current_exe(), linker.exists())
        {
            // Without it the time for linking is part of the compiler's.
            let _ = fs::create_dir_all(above)
                .and_then(|()| std::os::unix::fs::symlink(program, &linker));
        }
        fs::write(folder.join(WANTED), "").is_ok()
    }

    /// What tools told since timing was wanted, in order. Lines that are not theirs are left out.
    pub fn took() -> Vec<Step> {
        let text = Tools::folder().and_then(|folder| fs::read_to_string(folder.join(TOOK)).ok());
        let lines = text.unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

/// Whether tools are to tell.
pub(super) fn is_wanted(place: &Place) -> bool {
    place.folder().join(WANTED).exists()
}

/// Does `work` and tells how long that took and who did it, unless nobody did.
pub(super) fn timed<T>(
    place: &Place,
    what: &str,
    by: impl FnOnce(&T) -> Option<&'static str>,
    work: impl FnOnce() -> T,
) -> T {
    if !is_wanted(place) {
        return work();
    }
    let began = SystemTime::now();
    let done = work();
    let Some(by) = by(&done) else {
        return done;
    };
    let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let since = |from| SystemTime::now().duration_since(from).unwrap_or_default();
    let step = Step {
        what: what.to_owned(),
        by: by.to_owned(),
        began: microseconds(began.duration_since(UNIX_EPOCH).unwrap_or_default()),
        took: microseconds(since(began)),
    };
    tell(place.folder(), &step);
    done
}

fn tell(folder: &Path, step: &Step) {
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join(TOOK));
    // What is not told is missing in an account of times, and nowhere else.
    if let (Ok(mut file), Ok(mut line)) = (file, serde_json::to_vec(step)) {
        line.push(b'\n');
        let _ = file.write_all(&line);
    }
}

/// What rustc is told in addition so that linking is timed, where it links by `cc` unless told otherwise.
pub(super) fn linker(place: &Place, arguments: &[String]) -> Vec<OsString> {
    let chosen = |word: &String| word.contains("linker=") || word.contains("link-self-contained");
    let link = place.folder().join(LINKER);
    if !cfg!(unix) || !is_wanted(place) || arguments.iter().any(chosen) || !link.exists() {
        return Vec::new();
    }
    let mut word = OsString::from("linker=");
    word.push(link);
    vec!["-C".into(), word]
}

/// Whether this process was called as the linker.
pub(super) fn is_linker(called_as: &Path) -> bool {
    called_as.ends_with(LINKER) && Place::is_set_up()
}

/// Links by the `cc` that is on PATH, and tells how long that took.
pub(super) fn link(arguments: &[OsString]) -> ExitCode {
    let run = || Command::new("cc").args(arguments).status();
    let status = match Place::read() {
        Ok(place) => timed(&place, "link", |_| Some("cc"), run),
        Err(_) => run(),
    };
    match status {
        Ok(status) => super::code_of(status),
        Err(why) => {
            eprintln!("threadbook: the linker cc did not start: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The path that this process was called by.
pub(super) fn called_by() -> Option<PathBuf> {
    std::env::args_os().next().map(PathBuf::from)
}
