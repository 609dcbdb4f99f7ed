//! The learner's copies of the lessons: given once, brought up to date as long as nobody has changed them, never written over otherwise.
//!
//! `.threadbook.json` beside them remembers the digest of each copy as we wrote it. A copy that differs from its digest is the learner's;
//! executing a notebook changes it, and that is enough. Knows nothing of Jupyter but that copies want to be signed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::trouble::WrongUse;

/// A lesson's notebook as it ships: file name and content.
pub type Notebook = (&'static str, &'static [u8]);

const MANIFEST: &str = ".threadbook.json";

/// What happened to one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Copied {
    /// It was not there.
    New,
    /// It was an older one that nobody had changed.
    Updated,
    /// It was there, as it ships.
    Same,
    /// It is the learner's, and stays. `newer`: what ships has changed since it was copied.
    Kept {
        /// Whether there is something newer to restore.
        newer: bool,
    },
    /// It was asked back. The learner's own went to `backup`, if there was one.
    Restored {
        /// The learner's own, under its new name.
        backup: Option<PathBuf>,
    },
}

/// The folder of copies, with what is remembered of them.
#[derive(Debug)]
pub struct Copies {
    folder: PathBuf,
    remembered: BTreeMap<String, Remembered>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Remembered {
    sha256: String,
    signed: bool,
}

impl Copies {
    /// Opens the folder, and makes it when it is not there.
    ///
    /// A manifest that cannot be understood is taken for none: then every copy that is not as it ships counts as the learner's.
    ///
    /// # Errors
    /// When the folder cannot be made or the manifest cannot be read.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| {
            format!(
                "cannot make the folder {} for the lessons",
                folder.display()
            )
        })?;
        let manifest = folder.join(MANIFEST);
        let remembered = match fs::read(&manifest) {
            Ok(bytes) => read_manifest(&bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", manifest.display()));
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            remembered,
        })
    }

    /// Gives each lesson that is not there, and updates those that nobody has changed.
    ///
    /// # Errors
    /// When a copy cannot be read or written; those before it are done and remembered.
    pub fn bring_up_to_date(
        &mut self,
        notebooks: &[Notebook],
    ) -> anyhow::Result<Vec<(&'static str, Copied)>> {
        let mut report = Vec::new();
        for &(name, content) in notebooks {
            let shipped = digest_of(content);
            let there = self.digest_there(name)?;
            let remembered = self.remembered.get(name).map(|copy| copy.sha256.clone());
            let copied = match (there, remembered) {
                (None, _) => {
                    self.write(name, content, &shipped)?;
                    Copied::New
                }
                (Some(there), remembered) if there == shipped => {
                    // Remembered anew when the manifest was lost, or when we were ended between copy and manifest.
                    if remembered.as_ref() != Some(&shipped) {
                        self.remember(name, &shipped)?;
                    }
                    Copied::Same
                }
                (Some(there), Some(remembered)) if there == remembered => {
                    self.write(name, content, &shipped)?;
                    Copied::Updated
                }
                (Some(_), remembered) => Copied::Kept {
                    newer: remembered.is_some_and(|remembered| remembered != shipped),
                },
            };
            report.push((name, copied));
        }
        Ok(report)
    }

    /// Brings one lesson back to what ships. A copy that the learner has changed is kept as `NAME.bak-N.ipynb`.
    ///
    /// # Errors
    /// When the copy cannot be kept or written; the learner's own is then still there.
    pub fn restore(&mut self, notebook: Notebook) -> anyhow::Result<Copied> {
        let (name, content) = notebook;
        let shipped = digest_of(content);
        let backup = match self.digest_there(name)? {
            None => None,
            Some(there) if there == shipped => None,
            Some(there)
                if self
                    .remembered
                    .get(name)
                    .is_some_and(|copy| copy.sha256 == there) =>
            {
                None
            }
            Some(_) => Some(self.keep_under_another_name(name)?),
        };
        self.write(name, content, &shipped)?;
        Ok(Copied::Restored { backup })
    }

    /// The copies that are as we wrote them, and that Jupyter does not trust yet.
    ///
    /// # Errors
    /// When a copy cannot be read.
    pub fn unsigned(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut unsigned = Vec::new();
        for (name, copy) in &self.remembered {
            if !copy.signed
                && self
                    .digest_there(name)?
                    .is_some_and(|there| there == copy.sha256)
            {
                unsigned.push(self.folder.join(name));
            }
        }
        Ok(unsigned)
    }

    /// Remembers that Jupyter trusts these copies.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn remember_signed(&mut self, copies: &[PathBuf]) -> anyhow::Result<()> {
        for (name, copy) in &mut self.remembered {
            copy.signed |= copies.contains(&self.folder.join(name));
        }
        self.write_manifest()
    }

    fn digest_there(&self, name: &str) -> anyhow::Result<Option<String>> {
        let file = self.folder.join(name);
        match fs::read(&file) {
            Ok(content) => Ok(Some(digest_of(&content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Copies, rather than moves: until the shipped one takes its place, the learner's own stays under its own name as well.
    fn keep_under_another_name(&self, name: &str) -> anyhow::Result<PathBuf> {
        let file = self.folder.join(name);
        let stem = name.strip_suffix(".ipynb").unwrap_or(name);
        for number in 1.. {
            let backup = self.folder.join(format!("{stem}.bak-{number}.ipynb"));
            match File::create_new(&backup) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot write {}", backup.display()));
                }
                Ok(mut kept) => {
                    File::open(&file)
                        .and_then(|mut own| io::copy(&mut own, &mut kept))
                        .and_then(|_| kept.sync_all())
                        .with_context(|| {
                            format!("cannot keep {} as {}", file.display(), backup.display())
                        })?;
                    return Ok(backup);
                }
            }
        }
        unreachable!("the numbers do not end before the disk is full")
    }

    fn write(&mut self, name: &str, content: &[u8], digest: &str) -> anyhow::Result<()> {
        self.replace(name, content)?;
        self.remember(name, digest)
    }

    fn remember(&mut self, name: &str, digest: &str) -> anyhow::Result<()> {
        let copy = Remembered {
            sha256: digest.to_owned(),
            signed: false,
        };
        self.remembered.insert(name.to_owned(), copy);
        self.write_manifest()
    }

    fn write_manifest(&self) -> anyhow::Result<()> {
        let copies = self.remembered.iter().map(|(name, copy)| {
            (
                name.clone(),
                json!({"sha256": copy.sha256, "signed": copy.signed}),
            )
        });
        let manifest = json!({
            "what": "the lessons as Threadbook copied them here: one that still has its digest is brought up to date, any other is yours",
            "copies": copies.collect::<Map<_, _>>(),
        });
        let mut text = serde_json::to_vec_pretty(&manifest)?;
        text.push(b'\n');
        self.replace(MANIFEST, &text)
    }

    /// Writes beside and renames: a reader sees the old file or the new one, whatever ends us.
    fn replace(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let file = self.folder.join(name);
        let written = tempfile::Builder::new()
            .prefix(".threadbook-")
            // A temporary file is private to its owner; a lesson may be read by whoever may read the folder.
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(&self.folder)
            .and_then(|mut beside| {
                beside.write_all(content)?;
                beside.as_file().sync_all()?;
                beside.persist(&file).map_err(|error| error.error)
            });
        written
            .map(drop)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// Finds the lesson that a learner means by `01`, `concurrency`, `01_concurrency` or `01_concurrency.ipynb`.
///
/// # Errors
/// When none is meant; the message names those that there are.
pub fn named(notebooks: &[Notebook], wanted: &str) -> Result<Notebook, WrongUse> {
    let stem = |name: &'static str| name.strip_suffix(".ipynb").unwrap_or(name);
    let found = notebooks.iter().find(|(name, _)| {
        let stem = stem(name);
        let halves = stem
            .split_once('_')
            .is_some_and(|(number, topic)| wanted == number || wanted == topic);
        wanted == *name || wanted == stem || halves
    });
    found.copied().ok_or_else(|| {
        let names: Vec<_> = notebooks.iter().map(|(name, _)| stem(name)).collect();
        WrongUse(format!(
            "there is no lesson `{wanted}`; there are: {}",
            names.join(", ")
        ))
    })
}

fn read_manifest(bytes: &[u8]) -> BTreeMap<String, Remembered> {
    let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let copies = manifest
        .get("copies")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    copies
        .filter_map(|(name, copy)| {
            // A name with a slash would let a manifest reach out of its folder.
            let plain = Path::new(name)
                .file_name()
                .is_some_and(|file_name| file_name == name.as_str());
            let sha256 = copy.get("sha256")?.as_str()?.to_owned();
            let signed = copy.get("signed").and_then(Value::as_bool).unwrap_or(false);
            plain.then(|| (name.clone(), Remembered { sha256, signed }))
        })
        .collect()
}

fn digest_of(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "01_concurrency.ipynb";
    const OLD: Notebook = (NAME, b"old");
    const NEW: Notebook = (NAME, b"new");

    /// A learner's folder, and what happens in it: each step opens the folder anew, as each start of `lab` does.
    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }
        fn lab(&self, notebook: Notebook) -> Copied {
            let mut copies = Copies::open(self.0.path()).unwrap();
            copies.bring_up_to_date(&[notebook]).unwrap().remove(0).1
        }
        fn reset(&self, notebook: Notebook) -> Copied {
            Copies::open(self.0.path())
                .unwrap()
                .restore(notebook)
                .unwrap()
        }
        fn learner_writes(&self, content: &str) {
            fs::write(self.0.path().join(NAME), content).unwrap();
        }
        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap()
        }
    }

    #[test]
    fn a_copy_is_given_kept_or_updated() {
        // What was copied first, what the learner then wrote, what ships now, what is to happen, what is to be there.
        for (name, first, learner, ships, want, content) in [
            ("not there", None, None, OLD, Copied::New, "old"),
            ("nothing new", Some(OLD), None, OLD, Copied::Same, "old"),
            (
                "unchanged and older",
                Some(OLD),
                None,
                NEW,
                Copied::Updated,
                "new",
            ),
            (
                "changed",
                Some(OLD),
                Some("mine"),
                OLD,
                Copied::Kept { newer: false },
                "mine",
            ),
            (
                "changed and older",
                Some(OLD),
                Some("mine"),
                NEW,
                Copied::Kept { newer: true },
                "mine",
            ),
            (
                "there before us",
                None,
                Some("mine"),
                NEW,
                Copied::Kept { newer: false },
                "mine",
            ),
            (
                "there before us, as it ships",
                None,
                Some("new"),
                NEW,
                Copied::Same,
                "new",
            ),
        ] {
            let folder = Folder::new();
            if let Some(notebook) = first {
                folder.lab(notebook);
            }
            if let Some(content) = learner {
                folder.learner_writes(content);
            }
            assert_eq!(folder.lab(ships), want, "{name}");
            assert_eq!(folder.read(NAME), content, "{name}");
            // Once more changes nothing: what was kept stays kept, what was written is the same.
            let again = match want {
                Copied::Kept { .. } => want,
                _ => Copied::Same,
            };
            assert_eq!(folder.lab(ships), again, "{name}, again");
        }
    }

    #[test]
    fn a_deleted_copy_is_given_again() {
        let folder = Folder::new();
        folder.lab(OLD);
        fs::remove_file(folder.0.path().join(NAME)).unwrap();
        assert_eq!(folder.lab(NEW), Copied::New);
        assert_eq!(folder.read(NAME), "new");
    }

    #[test]
    fn reset_keeps_what_the_learner_changed_and_only_that() {
        let folder = Folder::new();
        assert_eq!(
            folder.reset(OLD),
            Copied::Restored { backup: None },
            "it was not there"
        );
        assert_eq!(
            folder.reset(NEW),
            Copied::Restored { backup: None },
            "nobody had changed it"
        );
        for (number, own) in [(1, "first try"), (2, "second try")] {
            folder.learner_writes(own);
            let backup = format!("01_concurrency.bak-{number}.ipynb");
            let want = Copied::Restored {
                backup: Some(folder.0.path().join(&backup)),
            };
            assert_eq!(folder.reset(NEW), want);
            assert_eq!(
                (folder.read(NAME).as_str(), folder.read(&backup).as_str()),
                ("new", own)
            );
        }
        assert_eq!(folder.lab(NEW), Copied::Same);
    }

    #[test]
    fn copies_are_signed_once_and_only_as_we_wrote_them() {
        let folder = Folder::new();
        let file = folder.0.path().join(NAME);
        let unsigned = || Copies::open(folder.0.path()).unwrap().unsigned().unwrap();
        folder.lab(OLD);
        assert_eq!(unsigned(), std::slice::from_ref(&file));
        Copies::open(folder.0.path())
            .unwrap()
            .remember_signed(std::slice::from_ref(&file))
            .unwrap();
        assert_eq!(unsigned(), [] as [PathBuf; 0]);
        folder.lab(NEW);
        assert_eq!(unsigned(), [file], "an updated copy is another text");
        folder.learner_writes("mine");
        assert_eq!(
            unsigned(),
            [] as [PathBuf; 0],
            "the learner's own is the learner's to trust"
        );
    }

    #[test]
    fn a_manifest_that_makes_no_sense_costs_the_learner_nothing() {
        for manifest in [
            "",
            "[]",
            "{\"copies\": 3}",
            "{\"copies\": {\"../x\": {\"sha256\": \"\"}}}",
            "{\"copies\": {\"01_concurrency.ipynb\": 1}}",
        ] {
            let folder = Folder::new();
            folder.learner_writes("mine");
            fs::write(folder.0.path().join(MANIFEST), manifest).unwrap();
            assert_eq!(folder.lab(NEW), Copied::Kept { newer: false }, "{manifest}");
            assert_eq!(folder.read(NAME), "mine");
            assert!(
                Copies::open(folder.0.path())
                    .unwrap()
                    .unsigned()
                    .unwrap()
                    .is_empty(),
                "{manifest}"
            );
        }
    }

    #[test]
    fn a_folder_that_cannot_be_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Copies::open(&file.join("lessons")).unwrap_err();
        assert!(
            error.to_string().contains("cannot make the folder"),
            "{error}"
        );
    }

    #[test]
    fn a_lesson_is_meant_by_number_topic_or_name() {
        let notebooks: [Notebook; 2] = [OLD, ("07_channels.ipynb", b"")];
        for wanted in ["07", "channels", "07_channels", "07_channels.ipynb"] {
            assert_eq!(
                named(&notebooks, wanted).unwrap().0,
                "07_channels.ipynb",
                "{wanted}"
            );
        }
        for wanted in ["", "7x", "chan", "02"] {
            let error = named(&notebooks, wanted).unwrap_err();
            assert_eq!(
                error.0,
                format!("there is no lesson `{wanted}`; there are: 01_concurrency, 07_channels")
            );
        }
    }
}
