//! The names that are known without asking evcxr: the prelude's, Rust's own, and those that the notebook's cells defined.
//!
//! evcxr has one context, and while it compiles or runs a cell it answers nobody. An editor does not wait that long: then what could stand at a cursor, and
//! what a name is, is answered from this table, in about a millisecond. It knows no types that are not written down: of `let t = channel();` it knows that
//! `t` has to do with what `channel` gives, and offers the methods of that.

mod read;
mod std_names;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use self::read::Reading;
use crate::cell::Completion;

/// How many names of the notebook are kept; then the table begins anew.
const KEPT: usize = 10_000;
/// How many completions are given at most.
const OFFERED: usize = 200;

/// What is known of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The name itself, without a macro's `!`.
    name: String,
    /// What it is, in the words that JupyterLab has icons for.
    kind: &'static str,
    /// How it is declared, on one line.
    label: String,
    /// Its documentation, as Markdown.
    doc: String,
    /// All of it, for one that a cell defined.
    source: String,
    /// The type that has it, when it is a method or an associated function.
    owner: Option<String>,
    /// The words from which its type can be guessed: those of its annotation, or of what it is made from.
    words: Vec<String>,
}

/// The table.
pub struct Names {
    sources: Vec<(&'static str, &'static str)>,
    prelude: Arc<OnceLock<Vec<Entry>>>,
    notebook: BTreeMap<String, Entry>,
    /// What the cell that runs would add.
    of_the_running_cell: Vec<Entry>,
}

impl Names {
    /// Makes the table of a notebook that has run nothing. `sources` are the prelude's files, by their names; they are read when they are first needed.
    pub fn new(sources: Vec<(&'static str, &'static str)>) -> Names {
        Names {
            sources,
            prelude: Arc::default(),
            notebook: BTreeMap::new(),
            of_the_running_cell: Vec::new(),
        }
    }

    /// Gives what reads the prelude's files, so that a thread can do it before the first question: that takes some 100 ms.
    pub fn reader(&self) -> impl FnOnce() + Send + 'static {
        let (prelude, sources) = (Arc::clone(&self.prelude), self.sources.clone());
        move || {
            prelude.get_or_init(|| Reading::of_the_prelude(&sources));
        }
    }

    /// Notes what a cell defines that begins to run.
    pub fn begin(&mut self, code: &str) {
        self.of_the_running_cell = Reading::of_a_cell(code);
    }

    /// Keeps what the cell that ran defined, or forgets it: one that did not come to its end may have defined nothing.
    pub fn end(&mut self, kept: bool) {
        let new = std::mem::take(&mut self.of_the_running_cell);
        if !kept {
            return;
        }
        if self.notebook.len() + new.len() > KEPT {
            self.notebook.clear();
        }
        for entry in new {
            self.notebook.insert(key(&entry), entry);
        }
    }

    /// What could stand at byte `cursor` of a cell: the bytes to replace, and with what. Sorted: what the notebook defined first.
    pub fn complete(&self, code: &str, cursor: usize) -> (usize, usize, Vec<Completion>) {
        let (before, place) = Place::at(code, cursor);
        let prefix = &code[before..cursor];
        let here = Reading::of_a_cell(code);
        let mut seen = HashSet::new();
        let matches = self
            .candidates(&place, &here)
            .filter(|entry| entry.name.starts_with(prefix) && entry.name != prefix)
            .filter(|entry| seen.insert((entry.name.clone(), entry.kind)))
            .take(OFFERED)
            .map(|entry| Completion {
                text: match entry.kind {
                    "macro" => format!("{}!", entry.name),
                    _ => entry.name.clone(),
                },
                kind: entry.kind.to_owned(),
                label: entry.label.clone(),
            })
            .collect();
        (before, cursor, matches)
    }

    /// What the name at or before byte `cursor` is: its declaration and its documentation, in full when `whole`, as MIME types. `None` when it is not known.
    pub fn inspect(&self, code: &str, cursor: usize, whole: bool) -> Option<Map<String, Value>> {
        let end = cursor
            + code[cursor..]
                .find(|c| !is_of_a_name(c))
                .unwrap_or(code.len() - cursor);
        // After the parenthesis of a call the name is the one that is called.
        let end = code[..end].trim_end_matches(['(', '!', ' ']).len();
        let (before, place) = Place::at(code, end);
        let name = &code[before..end];
        if name.is_empty() {
            return None;
        }
        let here = Reading::of_a_cell(code);
        let entry = self
            .candidates(&place, &here)
            .find(|entry| entry.name == name)?;
        let doc = match whole {
            true => entry.doc.as_str(),
            false => entry.doc.split("\n\n").next().unwrap_or_default(),
        };
        let declared = match (whole, entry.source.is_empty()) {
            (true, false) => &entry.source,
            _ => &entry.label,
        };
        let plain = format!("{declared}\n\n{doc}").trim_end().to_owned();
        let markdown = format!("```rust\n{declared}\n```\n\n{doc}")
            .trim_end()
            .to_owned();
        match json!({"text/plain": plain, "text/markdown": markdown}) {
            Value::Object(bundle) => Some(bundle),
            _ => None,
        }
    }

    /// The text of the item or of the `let` by which a cell defined this name.
    pub fn source(&self, code: &str, cursor: usize) -> Option<&str> {
        let end = cursor
            + code[cursor..]
                .find(|c| !is_of_a_name(c))
                .unwrap_or(code.len() - cursor);
        let (before, place) = Place::at(code, end);
        let entry = self.notebook.get(&code[before..end])?;
        (place == Place::Free && !entry.source.is_empty()).then_some(entry.source.as_str())
    }

    fn prelude(&self) -> &[Entry] {
        self.prelude
            .get_or_init(|| Reading::of_the_prelude(&self.sources))
    }

    /// What can stand at a place, nearest first: the cell's own names, the notebook's, the prelude's, Rust's.
    fn candidates<'a>(
        &'a self,
        place: &Place,
        here: &'a [Entry],
    ) -> Box<dyn Iterator<Item = &'a Entry> + 'a> {
        let own = move || {
            here.iter()
                .rev()
                .chain(&self.of_the_running_cell)
                .chain(self.notebook.values())
        };
        match place {
            Place::Free => Box::new(
                own()
                    .chain(self.prelude())
                    .filter(|entry| entry.owner.is_none())
                    .chain(std_names::all()),
            ),
            Place::Nowhere => Box::new(std::iter::empty()),
            Place::InType(name) => {
                let name = name.clone();
                Box::new(
                    own()
                        .chain(self.prelude())
                        .filter(move |entry| entry.owner.as_ref() == Some(&name)),
                )
            }
            Place::AfterDot(receiver) => {
                let Some(known) =
                    own().find(|entry| entry.name == *receiver && entry.owner.is_none())
                else {
                    return Box::new(std::iter::empty());
                };
                let types = self.types_of(known);
                Box::new(own().chain(self.prelude()).filter(move |entry| {
                    entry
                        .owner
                        .as_ref()
                        .is_some_and(|owner| types.contains(owner))
                        && entry.kind == "method"
                }))
            }
        }
    }

    /// The types that a variable has to do with: those named where it is declared, and those that the functions called there give.
    fn types_of(&self, variable: &Entry) -> HashSet<String> {
        let mut types: HashSet<String> = variable.words.iter().cloned().collect();
        let functions = self.prelude().iter().chain(self.notebook.values());
        for function in functions.filter(|entry| entry.kind == "function" && entry.owner.is_none())
        {
            if variable.words.contains(&function.name) {
                types.extend(function.words.iter().cloned());
            }
        }
        types
    }
}

/// Where a name stands.
#[derive(Debug, PartialEq)]
enum Place {
    /// It may be any that is in scope.
    Free,
    /// A field or a method of this variable.
    AfterDot(String),
    /// Something of this type: after `Type::`.
    InType(String),
    /// After something that this table knows nothing of.
    Nowhere,
}

impl Place {
    /// Where the name that ends at byte `end` begins, and what stands before it.
    fn at(code: &str, end: usize) -> (usize, Place) {
        let start_of = |end: usize| code[..end].trim_end_matches(is_of_a_name).len();
        let start = start_of(end);
        let before = &code[..start];
        let owner = |before: &str| {
            let name = &before[start_of(before.len())..];
            (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()))
                .then(|| name.to_owned())
        };
        let place = if before.ends_with("..") {
            Place::Free
        } else if let Some(before) = before.strip_suffix('.') {
            owner(before).map_or(Place::Nowhere, Place::AfterDot)
        } else if let Some(before) = before.strip_suffix("::") {
            owner(before).map_or(Place::Nowhere, Place::InType)
        } else {
            Place::Free
        };
        (start, place)
    }
}

fn is_of_a_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Two entries with one key are one: the later replaces the earlier.
fn key(entry: &Entry) -> String {
    match &entry.owner {
        Some(owner) => format!("{owner}::{}", entry.name),
        None => entry.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: &str = "/// Starts a thread.\n///\n/// Does not block.\npub fn spawn<F, T>(f: F) -> JoinHandle<T>\nwhere F: FnOnce() -> T { todo() }\n/// Hidden.\nfn hidden() {}\n\
        /// A thread's end.\npub struct JoinHandle<T>(T);\nimpl<T> JoinHandle<T> {\n    /// Waits for it.\n    pub fn join(self) -> Result<T> { x }\n    fn inner(&self) {}\n}";
    const CHANNEL: &str = "pub fn channel<T>() -> (Sender<T>, Receiver<T>) { x }\npub struct Sender<T>(T);\npub struct Receiver<T>(T);\n\
        impl<T> Sender<T> { /// Gives it away.\n pub fn send(&self, value: T) {} }\nimpl<T> Receiver<T> { pub fn recv(&self) -> T { x } }";
    const LIB: &str = "pub use channel::{Receiver, Sender, channel};\npub use thread::{JoinHandle, spawn};\npub use std::sync::Arc;";

    fn names() -> Names {
        let names = unread();
        names.reader()();
        assert!(names.prelude.get().is_some());
        names
    }

    fn unread() -> Names {
        let mut names = Names::new(vec![
            (
                "x/src/rt/task.rs",
                "/// Another one.\npub fn spawn() {}\npub fn spare() {}",
            ),
            ("x/src/thread.rs", THREAD),
            ("x/src/channel.rs", CHANNEL),
            ("x/src/lib.rs", LIB),
            (
                "x/src/rt/mod.rs",
                "/// Another one.\npub fn spawn() {}\npub fn spare() {}",
            ),
        ]);
        names.begin("/// Counts loaves.\nstruct Oven { loaves: u32 }\nimpl Oven { fn bake(&mut self) {} fn new() -> Oven { x } }\nlet (tx, rx) = channel::<u32>();\nlet mut oven = Oven::new();\nlet handle: JoinHandle<u32> = spawn(|| 1);\nfn äpfel(n: u32) -> u32 { n }");
        names.end(true);
        names
    }

    fn texts(names: &Names, code: &str) -> Vec<String> {
        let (start, end, matches) = names.complete(code, code.len());
        assert!(start <= end && end == code.len(), "{code}");
        matches.into_iter().map(|found| found.text).collect()
    }

    #[test]
    fn what_could_stand_there_is_offered() {
        let names = names();
        for (code, want) in [
            ("spaw", &["spawn"][..]),
            ("let é = ove", &["oven"]),
            ("O", &["Oven", "Ok", "Option"]),
            ("äp", &["äpfel"]),
            ("oven.", &["bake"]),
            ("handle.", &["join"]),
            ("tx.s", &["send"]),
            ("rx.", &["recv", "send"]),
            ("Oven::", &["bake", "new"]),
            ("JoinHandle::", &["join"]),
            ("unknown.", &[]),
            ("a.b().c", &[]),
            ("1.", &[]),
            ("0..o", &["oven"]),
            ("let here = 1; her", &["here"]),
            ("printl", &["println!"]),
            ("retur", &["return"]),
            ("hidd", &[]),
            ("spar", &[]),
            ("inne", &[]),
            ("Ar", &["Arc"]),
        ] {
            let mut found = texts(&names, code);
            found.sort();
            let mut want: Vec<&str> = want.to_vec();
            want.sort_unstable();
            assert_eq!(found, want, "{code}");
        }
    }

    #[test]
    fn a_name_is_explained_from_its_declaration() {
        let names = names();
        let plain = |code: &str, cursor: usize, whole| {
            names
                .inspect(code, cursor, whole)
                .map(|bundle| bundle["text/plain"].as_str().unwrap().to_owned())
        };
        assert_eq!(
            plain("spawn", 5, false).unwrap(),
            "pub fn spawn<F, T>(f: F) -> JoinHandle<T> where F: FnOnce() -> T\n\nStarts a thread."
        );
        assert_eq!(
            plain("spawn(|| 1)", 2, true).unwrap(),
            "pub fn spawn<F, T>(f: F) -> JoinHandle<T> where F: FnOnce() -> T\n\nStarts a thread.\n\nDoes not block."
        );
        assert_eq!(plain("spawn(", 6, false), plain("spawn", 5, false));
        assert_eq!(
            plain("oven", 1, false).unwrap(),
            "let mut oven = Oven::new();"
        );
        assert_eq!(
            plain("Oven", 4, false).unwrap(),
            "struct Oven\n\nCounts loaves."
        );
        assert!(
            plain("Oven", 4, true)
                .unwrap()
                .starts_with("struct Oven { loaves: u32 }")
        );
        assert_eq!(
            plain("tx.send", 7, false).unwrap(),
            "Sender: pub fn send(&self, value: T)\n\nGives it away."
        );
        for (code, cursor) in [("", 0), ("  ", 1), ("nobody", 3), ("(", 1), ("a.b", 3)] {
            assert_eq!(plain(code, cursor, false), None, "{code}");
        }
        assert_eq!(names.source("oven", 2), Some("let mut oven = Oven::new();"));
        assert_eq!(names.source("spawn", 2), None);
    }

    #[test]
    fn a_cell_that_fails_defines_nothing() {
        let mut names = names();
        names.begin("let cake = 1;");
        assert_eq!(texts(&names, "cak"), ["cake"], "while it runs");
        names.end(false);
        assert_eq!(texts(&names, "cak"), [""; 0]);
    }

    #[test]
    fn the_notebook_can_define_without_end() {
        let mut names = names();
        for n in 0..3 * KEPT {
            names.begin(&format!("let v{n} = 1;"));
            names.end(true);
        }
        assert!(names.notebook.len() <= KEPT);
        assert_eq!(texts(&names, &format!("v{}", 3 * KEPT - 2)), [""; 0]);
        assert!(texts(&names, "v2999").contains(&"v29999".to_owned()));
    }

    #[test]
    fn any_text_and_any_cursor_is_answered() {
        let names = names();
        for code in [
            "a.",
            "::",
            ".",
            "é.é",
            "let",
            "let (",
            "fn (",
            "\"",
            "struct",
            "impl",
            "🍞.🍞",
            "..",
            "x::y::",
            "((((",
            "let _ = |",
        ] {
            for cursor in (0..=code.len()).filter(|&at| code.is_char_boundary(at)) {
                let (start, end, _) = names.complete(code, cursor);
                assert!(code.is_char_boundary(start) && end == cursor, "{code}");
                names.inspect(code, cursor, true);
                names.source(code, cursor);
            }
        }
    }
}
