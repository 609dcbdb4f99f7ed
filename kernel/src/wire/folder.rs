//! A folder for sockets that only we can look into: removed with its owner, and by the next one when its owner was killed.
//!
//! Which owner lives is told by a lock on a file in the folder, which the system lets go of whatever way a process ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = "threadbook-";
const LOCK: &str = ".lock";

/// The folder, of this process alone.
#[derive(Debug)]
pub struct PrivateFolder {
    folder: TempDir,
    /// Held as long as the process lives, whatever way it ends.
    _lock: File,
}

impl PrivateFolder {
    /// Makes the folder below the system's folder for temporary files, and removes those whose owners are gone. Other users cannot look inside.
    ///
    /// # Errors
    /// When there is no room, or no such folder.
    pub fn new() -> io::Result<PrivateFolder> {
        PrivateFolder::new_in(&std::env::temp_dir())
    }

    fn new_in(parent: &Path) -> io::Result<PrivateFolder> {
        sweep(parent);
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        // Locked before it has its name: whoever sweeps sees no lock yet, and leaves the folder alone, or sees it held.
        let early = folder.path().join(".making");
        let lock = File::create(&early)?;
        lock.lock()?;
        fs::rename(&early, folder.path().join(LOCK))?;
        Ok(PrivateFolder {
            folder,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders of this user whose lock nobody holds. What cannot be looked at is somebody else's affair.
fn sweep(parent: &Path) {
    let me = nix::unistd::geteuid().as_raw();
    for path in fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
    {
        let is_named_so = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let is_mine = || {
            fs::symlink_metadata(&path)
                .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == me)
        };
        if is_named_so
            && is_mine()
            && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
        {
            tracing::info!(folder = %path.display(), "removes the sockets of a process that is gone");
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_its_owner_or_with_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let (ended, alive) = (
            PrivateFolder::new_in(parent.path()).unwrap(),
            PrivateFolder::new_in(parent.path()).unwrap(),
        );
        assert_eq!(
            fs::metadata(alive.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        // As a process does that is killed: the lock goes, the folder stays.
        let killed = PrivateFolder::new_in(parent.path()).unwrap();
        let PrivateFolder { folder, _lock } = killed;
        let left = folder.keep();
        drop(_lock);
        // Not ours to judge: no lock, another name, a link, a file.
        let strange = ["threadbook-unlocked", "other"].map(|name| parent.path().join(name));
        strange
            .iter()
            .for_each(|path| fs::create_dir(path).unwrap());
        std::os::unix::fs::symlink(&left, parent.path().join("threadbook-link")).unwrap();
        fs::write(parent.path().join("threadbook-file"), "").unwrap();

        let path = ended.path().to_owned();
        drop(ended);
        assert!(!path.exists() && left.exists());
        let next = PrivateFolder::new_in(parent.path()).unwrap();
        assert!(!left.exists() && alive.path().exists() && next.path().exists());
        assert!(
            strange.iter().all(|path| path.exists())
                && parent.path().join("threadbook-file").exists()
        );
        assert!(PrivateFolder::new_in(Path::new("/nowhere")).is_err());
    }
}
