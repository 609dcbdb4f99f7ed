//! Which exercises are done: a small file in the user's folder for data, readable by its owner alone.
//!
//! Replaced as a whole, so that nobody ever reads half of it, and under a lock of its own, so that two kernels lose nothing of each other's. It is never in
//! the way: what cannot be read or written is an error with words, which costs no more than the line that tells it. `THREADBOOK_PROGRESS=off` keeps none.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Longest time that a kernel waits for another one to let go of the file.
const PATIENCE: Duration = Duration::from_secs(2);
/// A longer file is not ours.
const LONGEST_FILE: u64 = 1 << 20;
/// The form of the file.
const VERSION: u32 = 1;

/// The exercises that are done: by lesson and number, the second since 1970 in which each was done first.
pub type Done = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    done: Done,
}

/// Where progress is kept.
#[derive(Debug, Clone)]
pub struct Progress {
    path: PathBuf,
}

/// Where the file is: in the user's folder for data. `None` when there is none, or nothing is to be kept.
pub fn place() -> Option<PathBuf> {
    let wanted = std::env::var_os("THREADBOOK_PROGRESS");
    if wanted.is_some_and(|wanted| wanted == "off" || wanted == "0") {
        return None;
    }
    Some(dirs::data_dir()?.join("threadbook/progress.json"))
}

/// Whether an exercise is to be forgotten: its lesson, and its number.
pub type Forgets<'a> = dyn Fn(&str, &str) -> bool + 'a;

impl Progress {
    /// Keeps progress in this file; it need not be there.
    pub fn at(path: PathBuf) -> Progress {
        Progress { path }
    }

    /// Reads what is done; nothing, where there is no file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not as this version writes it.
    pub fn read(&self) -> io::Result<Done> {
        let opened = File::options()
            .read(true)
            // A pipe of this name is refused, and never waited for.
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(&self.path);
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Done::new()),
            opened => opened.map_err(|error| self.named(&error))?,
        };
        let about = file.metadata().map_err(|error| self.named(&error))?;
        let strange = |why: &str| {
            let path = self.path.display();
            io::Error::other(format!("{path}: {why}; `:progress reset` begins a new one"))
        };
        if !about.is_file() || about.len() > LONGEST_FILE {
            return Err(strange("it is no file of Threadbook's"));
        }
        let mut bytes = Vec::new();
        file.take(LONGEST_FILE)
            .read_to_end(&mut bytes)
            .map_err(|error| self.named(&error))?;
        match serde_json::from_slice(&bytes) {
            Ok(Content {
                version: VERSION,
                done,
            }) => Ok(done),
            Ok(_) => Err(strange("another version of Threadbook wrote it")),
            Err(_) => Err(strange("it is not as Threadbook writes it")),
        }
    }

    /// Notes that an exercise is done; whether it was not before. Blocks for two seconds at most, when another kernel has the file.
    ///
    /// # Errors
    /// When the file cannot be read or written; it is then as it was.
    pub fn add(&self, lesson: &str, number: &str, second: u64) -> io::Result<bool> {
        let _lock = self.lock()?;
        let mut done = self.read()?;
        let of_lesson = done.entry(lesson.to_owned()).or_default();
        if of_lesson.contains_key(number) {
            return Ok(false);
        }
        of_lesson.insert(number.to_owned(), second);
        self.replace(done)?;
        Ok(true)
    }

    /// Forgets the exercises for which `forgets(lesson, number)` holds, and gives how many those were. `None`: all, and also what cannot be read.
    ///
    /// # Errors
    /// As for [`add`](Progress::add).
    pub fn forget(&self, forgets: Option<&Forgets<'_>>) -> io::Result<usize> {
        let _lock = self.lock()?;
        let count = |done: &Done| done.values().map(BTreeMap::len).sum::<usize>();
        let Some(forgets) = forgets else {
            let before = self.read().as_ref().map_or(0, count);
            self.replace(Done::new())?;
            return Ok(before);
        };
        let mut done = self.read()?;
        let before = count(&done);
        for (lesson, exercises) in &mut done {
            exercises.retain(|number, _| !forgets(lesson, number));
        }
        done.retain(|_, exercises| !exercises.is_empty());
        let forgotten = before - count(&done);
        self.replace(done)?;
        Ok(forgotten)
    }

    /// Takes the lock, which is let go when it is dropped. A file of its own: the other one is replaced.
    fn lock(&self) -> io::Result<File> {
        let folder = self.folder();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| self.named(&error))?;
        let lock = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
            .open(self.path.with_extension("lock"))
            .map_err(|error| self.named(&error))?;
        let end = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < end => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(TryLockError::WouldBlock) => {
                    let held = io::Error::other("another kernel does not let go of it");
                    return Err(self.named(&held));
                }
                Err(TryLockError::Error(error)) => return Err(self.named(&error)),
            }
        }
    }

    fn replace(&self, done: Done) -> io::Result<()> {
        let content = Content {
            version: VERSION,
            done,
        };
        let mut bytes = serde_json::to_vec_pretty(&content)?;
        bytes.push(b'\n');
        // A temporary file is private to its owner.
        tempfile::NamedTempFile::new_in(self.folder())
            .and_then(|mut beside| {
                beside.write_all(&bytes)?;
                beside.as_file().sync_all()?;
                beside.persist(&self.path).map_err(|error| error.error)
            })
            .map(drop)
            .map_err(|error| self.named(&error))
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn new() -> (tempfile::TempDir, Progress) {
        let folder = tempfile::tempdir().unwrap();
        let progress = Progress::at(folder.path().join("new/threadbook/progress.json"));
        (folder, progress)
    }

    #[test]
    fn what_is_done_is_kept_once_and_privately() {
        let (_folder, progress) = new();
        assert_eq!(progress.read().unwrap(), Done::new());
        assert!(progress.add("07_channels", "07.1", 100).unwrap());
        assert!(!progress.add("07_channels", "07.1", 200).unwrap());
        assert!(progress.add("07_other", "07.1", 300).unwrap());
        let done = progress.read().unwrap();
        assert_eq!(
            done["07_channels"]["07.1"], 100,
            "the first time is the one that counts"
        );
        assert_eq!(done.len(), 2);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&progress.path), mode(progress.folder())),
            (0o600, 0o700)
        );
    }

    #[test]
    fn kernels_at_the_same_time_lose_nothing_of_each_others() {
        let (_folder, progress) = new();
        thread::scope(|scope| {
            for kernel in 0..8 {
                let progress = progress.clone();
                scope.spawn(move || {
                    for n in 0..10 {
                        assert!(
                            progress
                                .add("07_channels", &format!("{kernel}.{n}"), 1)
                                .unwrap()
                        );
                    }
                });
            }
        });
        assert_eq!(progress.read().unwrap()["07_channels"].len(), 80);
    }

    #[test]
    fn a_lesson_or_an_exercise_is_forgotten_alone() {
        let (_folder, progress) = new();
        for number in ["07.1", "07.2", "08.1"] {
            progress.add("lesson", number, 1).unwrap();
        }
        let forget = |start: &str| {
            let start = start.to_owned();
            progress
                .forget(Some(&move |_: &str, number: &str| {
                    number.starts_with(&start)
                }))
                .unwrap()
        };
        assert_eq!((forget("09."), forget("08.1"), forget("07.")), (0, 1, 2));
        assert_eq!(progress.read().unwrap(), Done::new());
        progress.add("lesson", "07.1", 1).unwrap();
        assert_eq!(progress.forget(None).unwrap(), 1);
    }

    #[test]
    fn what_cannot_be_read_is_told_left_alone_and_reset_only_on_demand() {
        let (_folder, progress) = new();
        fs::create_dir_all(progress.folder()).unwrap();
        for strange in ["", "{", "[]", "{\"version\": 2, \"done\": {}}", "\u{0}"] {
            fs::write(&progress.path, strange).unwrap();
            for error in [
                progress.read().unwrap_err(),
                progress.add("lesson", "07.1", 1).unwrap_err(),
            ] {
                let told = error.to_string();
                assert!(
                    told.contains(":progress reset") && !told.contains('\n'),
                    "{told}"
                );
            }
            assert_eq!(fs::read_to_string(&progress.path).unwrap(), strange);
            assert_eq!(progress.forget(None).unwrap(), 0);
            assert!(progress.add("lesson", "07.1", 1).unwrap());
        }
        fs::remove_file(&progress.path).unwrap();
        nix::unistd::mkfifo(&progress.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(progress.read().is_err(), "nobody waits for a pipe");
        let nowhere = Progress::at("/proc/none/progress.json".into());
        assert!(nowhere.add("lesson", "07.1", 1).is_err());
    }

    #[test]
    fn a_kernel_that_holds_the_lock_stops_nobody_for_long() {
        let (_folder, progress) = new();
        let held = progress.lock().unwrap();
        let error = progress.add("lesson", "07.1", 1).unwrap_err();
        assert!(error.to_string().contains("does not let go"), "{error}");
        drop(held);
        assert!(progress.add("lesson", "07.1", 1).unwrap());
    }
}
