//! Where the lessons are that a kernel knows: the notebook it serves, those beside it, and those that travel in the binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::card::{Card, Exercise};

/// So many notebooks of a folder are looked into.
const MOST_NOTEBOOKS: usize = 100;
/// A longer one is no lesson.
const LONGEST_NOTEBOOK: u64 = 32 << 20;

/// A lesson that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelved {
    /// What it says of itself.
    pub card: Card,
    /// The name of its notebook in the kernel's folder, where it has one: a link can lead there.
    pub file: Option<String>,
}

/// All lessons that can be found.
#[derive(Debug)]
pub struct Shelf {
    /// The notebook that the kernel serves, where the server said so.
    served: Option<PathBuf>,
    /// Where the kernel runs: beside its notebook.
    folder: PathBuf,
    embedded: &'static [(&'static str, &'static [u8])],
    /// What was read of the embedded ones, once somebody asked.
    embedded_cards: Option<Vec<Card>>,
    /// What was read of a file, as long as it stays the same.
    read: BTreeMap<PathBuf, (Option<SystemTime>, u64, Option<Card>)>,
}

impl Shelf {
    /// The lessons of these places; none is read yet.
    pub fn new(
        served: Option<PathBuf>,
        folder: PathBuf,
        embedded: &'static [(&'static str, &'static [u8])],
    ) -> Shelf {
        Shelf {
            // A relative one is meant from the kernel's folder.
            served: served.map(|path| folder.join(path)),
            folder,
            embedded,
            embedded_cards: None,
            read: BTreeMap::new(),
        }
    }

    /// Gives each lesson once: as the served notebook has it, or else the first beside it, or else the binary. Ordered by that; blocks for the reading of
    /// what has changed since the last time.
    pub fn lessons(&mut self) -> Vec<Shelved> {
        let mut found: Vec<Shelved> = Vec::new();
        let mut add = |card: Card, file: Option<String>| {
            if found
                .iter()
                .all(|shelved| shelved.card.lesson != card.lesson)
            {
                found.push(Shelved { card, file });
            }
        };
        let beside = notebooks_in(&self.folder);
        for path in self.served.clone().into_iter().chain(beside) {
            if let Some(card) = self.card_of(&path) {
                let file = (path.parent() == Some(&self.folder))
                    .then(|| path.file_name()?.to_str().map(str::to_owned))
                    .flatten();
                add(card, file);
            }
        }
        let embedded = self.embedded;
        let cards = self.embedded_cards.get_or_insert_with(|| {
            embedded
                .iter()
                .filter_map(|(_, notebook)| Card::of_notebook(notebook))
                .collect()
        });
        cards.iter().cloned().for_each(|card| add(card, None));
        found
    }

    /// Finds an exercise, with the name of its lesson.
    pub fn exercise(&mut self, number: &str) -> Option<(String, Exercise)> {
        self.lessons().into_iter().find_map(|shelved| {
            let Card {
                lesson, exercises, ..
            } = shelved.card;
            exercises
                .into_iter()
                .find(|exercise| exercise.number == number)
                .map(|exercise| (lesson, exercise))
        })
    }

    fn card_of(&mut self, path: &Path) -> Option<Card> {
        let about = fs::metadata(path)
            .ok()
            .filter(|about| about.is_file() && about.len() <= LONGEST_NOTEBOOK)?;
        let (modified, length) = (about.modified().ok(), about.len());
        match self.read.get(path) {
            Some((then, long, card)) if (*then, *long) == (modified, length) => card.clone(),
            _ => {
                let card = fs::read(path)
                    .ok()
                    .and_then(|notebook| Card::of_notebook(&notebook));
                self.read
                    .insert(path.to_owned(), (modified, length, card.clone()));
                card
            }
        }
    }
}

/// The notebooks of a folder, by name.
fn notebooks_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "ipynb"))
        .collect();
    paths.sort();
    paths.truncate(MOST_NOTEBOOKS);
    paths
}

#[cfg(test)]
mod tests {
    use super::super::card::tests::{card, notebook};
    use super::*;

    /// What would travel in the binary.
    fn embedded(lessons: &[&str]) -> &'static [(&'static str, &'static [u8])] {
        let made: Vec<(&str, &[u8])> = lessons
            .iter()
            .map(|lesson| ("", &*notebook(&card(lesson)).leak()))
            .collect();
        made.leak()
    }

    #[test]
    fn the_served_notebook_wins_over_those_beside_it_and_those_over_the_binary() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, title: &str| {
            let mut card = card("07_channels");
            card.title = title.to_owned();
            card.exercises[0].title = title.to_owned();
            fs::write(folder.path().join(file), notebook(&card)).unwrap();
        };
        let shelf = |served: Option<&str>| {
            Shelf::new(
                served.map(PathBuf::from),
                folder.path().to_owned(),
                embedded(&["01_concurrency", "07_channels"]),
            )
        };
        let title = |served| {
            shelf(served)
                .exercise("07.1")
                .map(|(_, exercise)| exercise.title)
        };
        assert_eq!(
            title(None).as_deref(),
            Some("taking turns"),
            "the binary's alone"
        );
        write("07_channels.ipynb", "beside");
        write("mine.ipynb", "served");
        assert_eq!(title(None).as_deref(), Some("beside"));
        assert_eq!(title(Some("mine.ipynb")).as_deref(), Some("served"));
        assert_eq!(title(Some("gone.ipynb")).as_deref(), Some("beside"));

        let lessons: Vec<(String, Option<String>)> = shelf(Some("mine.ipynb"))
            .lessons()
            .into_iter()
            .map(|shelved| (shelved.card.lesson, shelved.file))
            .collect();
        assert_eq!(
            lessons,
            [
                ("07_channels".to_owned(), Some("mine.ipynb".to_owned())),
                ("01_concurrency".to_owned(), None)
            ]
        );
        assert_eq!(shelf(None).exercise("07.2"), None);
    }

    #[test]
    fn a_notebook_that_changes_is_read_again_and_what_is_none_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("20_mine.ipynb");
        fs::create_dir(folder.path().join("folder.ipynb")).unwrap();
        fs::write(folder.path().join("broken.ipynb"), "{").unwrap();
        let mut shelf = Shelf::new(None, folder.path().to_owned(), &[]);
        assert_eq!(shelf.lessons(), []);
        fs::write(&path, notebook(&card("20_mine"))).unwrap();
        assert!(shelf.exercise("20.1").is_some());
        fs::write(&path, notebook(&card("21_mine_now"))).unwrap();
        assert!(shelf.exercise("20.1").is_none() && shelf.exercise("21.1").is_some());
        let mut nowhere = Shelf::new(None, folder.path().join("none"), embedded(&["01_a"]));
        assert!(nowhere.exercise("01.1").is_some());
    }
}
