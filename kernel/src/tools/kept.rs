//! Libraries of cells that were compiled before, by what they were compiled from.
//!
//! evcxr numbers the function that a cell becomes, so the same cell is another text each time: the number does not count here. The library that is taken
//! has the function under its old number, and a file beside it says which: see `function_in`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::answers::keep;

/// How many are kept.
const MOST: usize = 256;
/// How it ended: with a library, by a check, which makes none, or with errors.
const BUILT: &str = "built";
const CHECKED: &str = "checked";
const FAILED: &str = "failed";

/// What evcxr calls the function of a cell, before its number.
const FUNCTION: &str = "run_user_code_";

/// The place of one library.
pub(super) struct Kept {
    folder: PathBuf,
    name: String,
    /// The function's name in this text.
    function: String,
}

impl Kept {
    /// The place of what `source` gives in this state, below `folder`. `None` for a source of another form.
    pub(super) fn of(folder: &Path, command: &str, state: &str, source: &[u8]) -> Option<Kept> {
        let source = std::str::from_utf8(source).ok()?;
        let (function, unnumbered) = without_number(source)?;
        let text = with_imports_in_order(&unnumbered);
        let mut hash = Sha256::new();
        for part in [command, state, &text] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Some(Kept {
            folder: folder.to_owned(),
            name: hash
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            function,
        })
    }

    fn file(&self, extension: &str) -> PathBuf {
        self.folder.join(&self.name).with_extension(extension)
    }

    /// The library with the cell under this function's name. Two kernels that compile the same cell at once name it differently: what is said of one is not
    /// said of the other.
    fn library(&self, function: &str) -> PathBuf {
        self.folder
            .join(format!("{}-{function}", self.name))
            .with_extension("library")
    }

    /// Copies the library to `to`, if the compiler made one, and gives its messages of that time and whether it was content. `None`: it is not known.
    pub(super) fn take(&self, to: &Path) -> Option<(Vec<u8>, bool)> {
        let about = fs::read_to_string(self.file("about")).ok()?;
        let (function, how) = about.split_once(' ')?;
        let messages = fs::read(self.file("messages")).ok()?;
        if how == BUILT {
            let library = self.library(function);
            if function != self.function {
                fs::write(alias(to.parent()?.parent()?, &self.function), function).ok()?;
            }
            let _ = fs::remove_file(to);
            fs::copy(&library, to).ok()?;
        }
        // What is used stays longest.
        let used = fs::File::options().append(true).open(self.file("about"));
        let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
        Some((messages, how != FAILED))
    }

    /// Keeps a copy of a library, and what the compiler said; or what it said when it made none.
    pub(super) fn put(&self, library: Option<&Path>, messages: &[u8], done: bool) {
        let put = || {
            if self.file("about").exists() {
                return Ok(());
            }
            fs::create_dir_all(&self.folder)?;
            self.make_room()?;
            if let Some(library) = library {
                let partial = tempfile::NamedTempFile::new_in(&self.folder)?;
                fs::copy(library, partial.path())?;
                partial.persist(self.library(&self.function))?;
            }
            keep(&self.file("messages"), messages);
            // Last, since it says that the others are whole.
            let how = match (done, library) {
                (true, Some(_)) => BUILT,
                (true, None) => CHECKED,
                (false, _) => FAILED,
            };
            keep(
                &self.file("about"),
                format!("{} {how}", self.function).as_bytes(),
            );
            std::io::Result::Ok(())
        };
        // What is not kept is compiled again.
        let _ = put();
    }

    /// Removes those that were not used for longest where there are too many.
    fn make_room(&self) -> std::io::Result<()> {
        let mut all: Vec<_> = fs::read_dir(&self.folder)?
            .flatten()
            .filter(|entry| {
                entry
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "about")
            })
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        all.sort();
        for (_, path) in all.iter().take((all.len() + 1).saturating_sub(MOST)) {
            let function = fs::read_to_string(path).unwrap_or_default();
            let function = function.split(' ').next().unwrap_or_default();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let library = format!("{stem}-{function}.library");
            // Another kernel may have done so.
            let _ = fs::remove_file(path.with_file_name(library));
            for extension in ["about", "messages"] {
                let _ = fs::remove_file(path.with_extension(extension));
            }
        }
        Ok(())
    }
}

/// The function of a cell that evcxr generated, and the text without its number.
fn without_number(source: &str) -> Option<(String, String)> {
    let at = source.find(FUNCTION)?;
    let digits = source[at + FUNCTION.len()..]
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count();
    let function = &source[at..at + FUNCTION.len() + digits];
    (digits > 0).then(|| (function.to_owned(), source.replace(function, FUNCTION)))
}

/// The text with each run of imports sorted: evcxr writes them in another order in each process, and in any order they mean the same.
fn with_imports_in_order(source: &str) -> String {
    let mut lines: Vec<&str> = source.lines().collect();
    let is_import = |line: &&str| {
        line.starts_with("use ") && line.ends_with(';') && line.matches(';').count() == 1
    };
    for run in lines.chunk_by_mut(|one, other| is_import(one) && is_import(other)) {
        run.sort_unstable();
    }
    lines.join("\n")
}

fn alias(folder: &Path, function: &str) -> PathBuf {
    folder.join(format!("{function}.is"))
}

/// Under which name the library has a function that it does not have under its own: `None` when nothing says so. Told once.
pub fn function_in(library: &Path, function: &str) -> Option<String> {
    let alias = alias(library.parent()?, function);
    let own = fs::read_to_string(&alias).ok()?;
    let _ = fs::remove_file(alias);
    Some(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_its_own_makes_no_other_cell() {
        let five = "fn run_user_code_5(x) { 5 } // run_user_code_5";
        let (function, text) = without_number(five).expect("a cell");
        assert_eq!(function, "run_user_code_5");
        assert_eq!(
            without_number(&five.replace("code_5", "code_12")),
            Some(("run_user_code_12".into(), text.clone()))
        );
        assert_ne!(
            without_number(&five.replace("{ 5 }", "{ 6 }"))
                .expect("a cell")
                .1,
            text
        );
        for odd in ["", "fn main() {}", "run_user_code_x"] {
            assert_eq!(without_number(odd), None, "{odd}");
        }
    }

    #[test]
    fn imports_come_in_any_order() {
        let text =
            |first: &str, second: &str| format!("{first}\n{second}\nfn f() {{\nuse b;\n}}\nuse z;");
        let want = with_imports_in_order(&text("use a::b;", "use c;"));
        assert_eq!(with_imports_in_order(&text("use c;", "use a::b;")), want);
        assert_eq!(want, text("use a::b;", "use c;"));
        assert_ne!(
            with_imports_in_order("fn a() {}\nfn b() {}"),
            with_imports_in_order("fn b() {}\nfn a() {}")
        );
    }

    #[test]
    fn what_was_put_is_taken_and_the_oldest_goes() {
        let work = tempfile::tempdir().expect("a folder");
        let out = work.path().join("target/debug/deps");
        fs::create_dir_all(&out).expect("a folder");
        let library = out.join("libctx.so");
        let cell = |number: u32, text: u32| format!("fn run_user_code_{number}() {{ {text} }}");
        let kept = work.path().join("kept");
        let of = |state: &str, source: String| {
            Kept::of(&kept, "build", state, source.as_bytes()).expect("a cell")
        };
        for text in 0..MOST as u32 + 3 {
            fs::write(&library, text.to_string()).expect("a file");
            of("a", cell(text, text)).put(Some(&library), b"said", true);
        }
        let count = fs::read_dir(&kept).expect("a folder").count();
        assert_eq!(count, 3 * MOST);
        let said = |kept: Kept| {
            let (messages, done) = kept.take(&library)?;
            Some((String::from_utf8(messages).expect("text"), done))
        };
        let last = MOST as u32 + 2;
        assert_eq!(said(of("a", cell(900, last))), Some(("said".into(), true)));
        assert_eq!(
            fs::read_to_string(&library).expect("a file"),
            last.to_string()
        );
        let shown = work.path().join("target/debug/libcode_900.so");
        let first = format!("run_user_code_{last}");
        assert_eq!(
            function_in(&shown, "run_user_code_900"),
            Some(first.clone())
        );
        assert_eq!(function_in(&shown, &first), None);
        assert_eq!(said(of("b", cell(900, last))), None, "another state");
        assert_eq!(said(of("a", cell(900, 1_000))), None, "another source");
        assert_eq!(
            said(Kept::of(&kept, "check", "a", cell(900, last).as_bytes()).expect("a cell")),
            None
        );
        let gone = kept.join(format!("{}-{first}.library", of("a", cell(900, last)).name));
        fs::remove_file(gone).expect("it is there");
        assert_eq!(said(of("a", cell(900, last))), None, "its library is gone");
        of("a", "fn run_user_code_1() { no }".into()).put(None, b"an error", false);
        assert_eq!(
            said(of("a", "fn run_user_code_8() { no }".into())),
            Some(("an error".into(), false))
        );
    }
}
