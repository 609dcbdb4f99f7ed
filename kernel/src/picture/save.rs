//! The picture as a file: what kind by the name's end, and never over a file of somebody else's.

use crate::render::{self, Options, Place, perfetto, standalone};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use threadbook_timeline::fold::Timeline;

/// Why a picture was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// Nothing was drawn yet.
    #[error(
        "there is no picture yet: run a cell that starts threads or waits, then save its picture"
    )]
    NoPicture,
    /// Somebody else's file.
    #[error("{} is there already, and is no file that `:timeline save` wrote: take another name, or remove it", .0.display())]
    NotOurs(PathBuf),
    /// A system call.
    #[error("{} cannot be written: {source}", path.display())]
    System {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a timeline to `name` in `folder`: as a trace for Perfetto, or as a drawing when the name ends in `.svg`.
///
/// Into a new file that takes the place of an older one of ours at the end, so that there is never half a file.
pub fn save(
    name: &str,
    folder: &Path,
    timeline: &Timeline,
    place_of: &dyn Fn(u16) -> Option<Place>,
    options: &Options,
) -> Result<(), SaveError> {
    let path = folder.join(name);
    let system = |source| SaveError::System {
        path: path.clone(),
        source,
    };
    let is_drawing = name.ends_with(".svg");
    let begins_with = if is_drawing {
        standalone::BEGINS_WITH
    } else {
        perfetto::BEGINS_WITH
    };
    if !is_free_or_ours(&path, begins_with).map_err(system)? {
        return Err(SaveError::NotOurs(path));
    }
    let beside = path.parent().unwrap_or(folder);
    // As any new file: the user's mask takes away what others may not do.
    let mut new = tempfile::Builder::new()
        .prefix(".timeline-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(beside)
        .map_err(system)?;
    let mut out = BufWriter::new(new.as_file_mut());
    let written = if is_drawing {
        out.write_all(render::as_file(timeline, place_of, options).as_bytes())
    } else {
        perfetto::write(timeline, place_of, &mut out)
    };
    written.and_then(|()| out.flush()).map_err(system)?;
    drop(out);
    new.persist(&path)
        .map(drop)
        .map_err(|error| system(error.error))
}

/// Whether a path may be written: nothing is there, or a file that begins as ours do. Nothing else is opened: a pipe would make this wait.
fn is_free_or_ours(path: &Path, begins_with: &str) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(there) if !there.is_file() => Ok(false),
        Ok(_) => {
            let mut begin = Vec::new();
            File::open(path)?
                .take(begins_with.len() as u64)
                .read_to_end(&mut begin)?;
            Ok(begin == begins_with.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use threadbook_timeline::fold::fold;
    use threadbook_timeline::script::trace;

    fn save_in(folder: &Path, name: &str) -> Result<(), SaveError> {
        let timeline = fold(&trace("main spawn ada; ada exit; main end"));
        save(name, folder, &timeline, &|_| None, &Options::default())
    }

    #[test]
    fn files_of_ours_are_written_over_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["trace.json", "picture.svg", "two words.svg"] {
            save_in(folder.path(), name).expect("it is free");
            save_in(folder.path(), name).expect("it is ours");
            let mode = fs::metadata(folder.path().join(name))
                .expect("is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o600, 0o600);
        }
        for (name, text) in [
            ("their.json", "{\"otherData\":{}}"),
            ("empty.svg", ""),
            ("their.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\">"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            let why = save_in(folder.path(), name).expect_err(name).to_string();
            assert!(
                why.contains(name) && why.contains("take another name"),
                "{why}"
            );
            assert_eq!(fs::read_to_string(&path).expect("it is there"), text);
        }
        // A trace is not written over a drawing.
        fs::rename(
            folder.path().join("picture.svg"),
            folder.path().join("x.json"),
        )
        .expect("renamed");
        assert!(matches!(
            save_in(folder.path(), "x.json"),
            Err(SaveError::NotOurs(_))
        ));
        let names = fs::read_dir(folder.path()).expect("a folder").flatten();
        assert!(
            names
                .into_iter()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with('.')),
            "nothing is left behind"
        );
    }

    #[test]
    fn what_is_no_file_is_left_alone_and_errors_name_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("folder.svg")).expect("a folder");
        std::os::unix::fs::symlink("/dev/null", folder.path().join("link.json")).expect("a link");
        nix::unistd::mkfifo(
            &folder.path().join("pipe.json"),
            nix::sys::stat::Mode::S_IRWXU,
        )
        .expect("a pipe");
        for name in ["folder.svg", "link.json", "pipe.json"] {
            assert!(
                matches!(save_in(folder.path(), name), Err(SaveError::NotOurs(_))),
                "{name}"
            );
        }
        let why = save_in(folder.path(), "nowhere/x.svg").expect_err("there is no such folder");
        assert!(
            why.to_string()
                .contains("nowhere/x.svg cannot be written: "),
            "{why}"
        );
    }
}
