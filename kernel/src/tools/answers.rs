//! Answers of the real tools that do not change, recorded the first time that they are given.
//!
//! A question is what decides its answer: the tool (its file, size and time), the arguments, what the environment says to Rust's tools, cargo's settings
//! files, and for a manifest its text. Kept by the hash of all that, beside the prelude of the same compiler, so that another toolchain has others. Only
//! answers about the toolchain itself are kept, and of manifests those whose only dependencies are our own crates, which never change.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Tool;
use super::place::Place;
use crate::prelude_home::LIBRARY;

/// Answers from the record, or has the real tool answer and records that. `None` when this is no such question.
pub(super) fn answer(place: &Place, tool: Tool, arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str())
        .collect::<Option<_>>()?;
    if !is_about_the_toolchain(tool, &words) {
        return None;
    }
    let about = match words.contains(&"metadata") {
        true => Manifest::of(place, &words)?,
        false => Manifest::None,
    };
    let mut question = Question::about(place, tool)?;
    let mut before = "";
    for word in &words {
        // A copy of the lock file, under another name each time.
        if before != "--lockfile-path" {
            question.add(&place.without_own(word.as_bytes()));
        }
        before = word;
    }
    about.add_to(&mut question, place);
    let kept = place.answers()?.join(question.name());
    let known = fs::read(&kept).ok();
    let known = known
        .as_deref()
        .and_then(|bytes| Answer::read(bytes, place));
    let answer = match known {
        Some(answer) => answer,
        None => {
            let mut real = super::command(place, tool, &about.asked_of_the_real(place, &words))?;
            let output = real.stdin(Stdio::null()).output().ok()?;
            let answer = Answer {
                status: u8::try_from(output.status.code()?).ok()?,
                stdout: about.shortened(place, output.stdout),
                stderr: output.stderr,
            };
            // What fails may be mended, but for a stable cargo that is asked for what only a nightly one tells.
            if answer.status == 0 || words.contains(&"config") {
                keep(&kept, &answer.written(place));
            }
            answer
        }
    };
    // Who does not read to the end wants no more.
    let _ = std::io::stderr().write_all(&answer.stderr);
    let _ = std::io::stdout().write_all(&answer.stdout);
    Some(ExitCode::from(answer.status))
}

/// Whether the answer depends on the toolchain and its settings alone, or on a manifest besides.
fn is_about_the_toolchain(tool: Tool, words: &[&str]) -> bool {
    let has = |word: &str| {
        words
            .iter()
            .any(|given| *given == word || given.split('=').next() == Some(word))
    };
    match tool {
        Tool::Rustc => {
            matches!(words, ["-vV" | "-Vv" | "-V" | "--version"])
                || (has("--print")
                    && !has("--emit")
                    && !words.iter().any(|word| word.ends_with(".rs")))
        }
        Tool::Cargo => match words {
            ["--version" | "-V" | "-vV"] | ["locate-project", ..] | ["metadata", ..] => true,
            ["-Z", "unstable-options", "config", "get", ..] => true,
            ["rustc", ..] => has("--print"),
            _ => false,
        },
        Tool::Rustup | Tool::Linker => false,
    }
}

/// What `cargo metadata` is asked about.
enum Manifest {
    /// Something else is asked.
    None,
    /// A cell with nothing but our crates. Its text.
    Cell(Vec<u8>),
    /// std's sources as rust-analyzer is given them; where the toolchain's own are.
    Library(PathBuf),
}

/// What std is made of and rust-analyzer has to know: a `HashMap` is one of hashbrown's inside.
const INSIDE_STD: [&str; 2] = ["hashbrown", "cfg-if"];

impl Manifest {
    /// `None` when the answer is not to be kept: there are dependencies that may change.
    fn of(place: &Place, words: &[&str]) -> Option<Manifest> {
        let named = words.iter().position(|word| *word == "--manifest-path");
        let path = match named {
            Some(at) => PathBuf::from(words.get(at + 1)?),
            None => std::env::current_dir().ok()?.join("Cargo.toml"),
        };
        if path.parent() == Some(&place.library()) {
            return place.real_library().map(Manifest::Library);
        }
        let text = fs::read_to_string(&path).ok()?;
        let is_known = path.parent() == place.work() && depends_on_ours_alone(place, &text);
        is_known.then(|| Manifest::Cell(text.into_bytes()))
    }

    fn add_to(&self, question: &mut Question, place: &Place) {
        match self {
            Manifest::None => {}
            Manifest::Cell(text) => question.add(&place.without_own(text)),
            Manifest::Library(real) => {
                for file in ["Cargo.toml", "Cargo.lock"] {
                    question.add_file(&real.join(file));
                }
            }
        }
    }

    /// The arguments, with the toolchain's own library in the place of ours.
    fn asked_of_the_real(&self, place: &Place, words: &[&str]) -> Vec<OsString> {
        let (ours, real) = match self {
            Manifest::Library(real) => (place.library(), real.as_path()),
            _ => return words.iter().map(OsString::from).collect(),
        };
        let (ours, real) = (ours.to_string_lossy(), real.to_string_lossy());
        let word = |word: &&str| OsString::from(word.replace(&*ours, &real));
        words.iter().map(word).collect()
    }

    /// The answer without the crates that nothing in a cell can name: rust-analyzer would read all of them at each start, `libc` above all.
    fn shortened(&self, place: &Place, metadata: Vec<u8>) -> Vec<u8> {
        match self {
            Manifest::None => metadata,
            Manifest::Cell(_) => {
                let is_seen = |name: &str| {
                    name == "ctx" || name.starts_with("threadbook-") || name.starts_with("evcxr_")
                };
                with_these_alone(&metadata, &is_seen).unwrap_or(metadata)
            }
            Manifest::Library(real) => {
                let is_seen = |name: &str| {
                    LIBRARY.contains(&name)
                        || INSIDE_STD.contains(&name)
                        || name.starts_with("rustc-std-workspace-")
                };
                let shortened = with_these_alone(&metadata, &is_seen).unwrap_or(metadata);
                let (ours, real) = (place.library(), real.to_string_lossy());
                match String::from_utf8(shortened) {
                    Ok(text) => text.replace(&*real, &ours.to_string_lossy()).into_bytes(),
                    Err(error) => error.into_bytes(),
                }
            }
        }
    }
}

/// Whether all dependencies of this manifest of evcxr's are our own crates.
pub(super) fn depends_on_ours_alone(place: &Place, manifest: &str) -> bool {
    let (Ok(manifest), Some(crates)) = (manifest.parse::<toml::Table>(), place.crates()) else {
        return false;
    };
    let known = ["package", "lib", "profile", "dependencies"];
    let is_ours = |dependency: &toml::Value| {
        let path = dependency.get("path").and_then(toml::Value::as_str);
        path.is_some_and(|path| Path::new(path).starts_with(crates))
    };
    manifest.keys().all(|key| known.contains(&key.as_str()))
        && manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .is_none_or(|all| all.values().all(is_ours))
}

/// `cargo metadata`'s answer with the packages of these names alone.
fn with_these_alone(metadata: &[u8], is_seen: &dyn Fn(&str) -> bool) -> Option<Vec<u8>> {
    let mut metadata: Value = serde_json::from_slice(metadata).ok()?;
    let packages = metadata["packages"].as_array_mut()?;
    packages.retain(|package| package["name"].as_str().is_some_and(is_seen));
    let left: Vec<Value> = packages
        .iter()
        .map(|package| package["id"].clone())
        .collect();
    for members in ["workspace_members", "workspace_default_members"] {
        if let Some(members) = metadata[members].as_array_mut() {
            members.retain(|id| left.contains(id));
        }
    }
    if let Some(nodes) = metadata["resolve"]["nodes"].as_array_mut() {
        nodes.retain(|node| left.contains(&node["id"]));
        for node in nodes {
            if let Some(dependencies) = node["dependencies"].as_array_mut() {
                dependencies.retain(|id| left.contains(id));
            }
            if let Some(dependencies) = node["deps"].as_array_mut() {
                dependencies.retain(|dependency| left.contains(&dependency["pkg"]));
            }
        }
    }
    serde_json::to_vec(&metadata).ok()
}

/// What decides an answer, as a hash.
pub(super) struct Question(Sha256);

impl Question {
    /// Begins one with what all questions to a tool have in common.
    pub(super) fn about(place: &Place, tool: Tool) -> Option<Question> {
        let mut question = Question(Sha256::new());
        question.add(env!("CARGO_PKG_VERSION").as_bytes());
        for tool in [tool, Tool::Rustc] {
            let real = fs::canonicalize(place.real(tool)?).ok()?;
            question.add(real.as_os_str().as_bytes());
            question.add_file(&real);
        }
        for (name, value) in place.originals() {
            // Where the learner's own tools are says PATH; which of them is used, the real path above.
            if name != "PATH" {
                question.add(name.as_bytes());
                question.add(value.map_or(b"-", OsStrExt::as_bytes));
            }
        }
        let mut said: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| is_said_to_the_tools(name))
            .collect();
        said.sort();
        for (name, value) in said {
            question.add(name.as_bytes());
            question.add(&place.without_own(value.as_bytes()));
        }
        for settings in settings_files(place) {
            question.add_file(&settings);
        }
        Some(question)
    }

    /// A part, told apart from the next.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn add_file(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(file) => self
                .add(format!("{} {} {}", file.len(), file.mtime(), file.mtime_nsec()).as_bytes()),
            Err(_) => self.add(b"none"),
        }
    }

    /// The hash as a file's name.
    pub(super) fn name(self) -> String {
        self.0
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Whether a variable may change what cargo or rustc does. Those that this program itself sets are told by their originals.
fn is_said_to_the_tools(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ours = [
        &b"CARGO_HOME"[..],
        b"RUSTC",
        b"RUST_SRC_PATH",
        b"RUST_BACKTRACE",
    ];
    [&b"CARGO"[..], b"RUST", b"__CARGO", b"CC", b"LD_"]
        .iter()
        .any(|start| name.starts_with(start))
        && !ours.contains(&name)
}

/// Where cargo looks for settings of a build in evcxr's folder, but for the file that evcxr itself writes there.
pub(super) fn settings_files(place: &Place) -> Vec<PathBuf> {
    let home = place.originals().find(|(name, _)| *name == "CARGO_HOME");
    let home = match home.and_then(|(_, value)| value) {
        Some(home) => Some(PathBuf::from(home)),
        None => dirs::home_dir().map(|home| home.join(".cargo")),
    };
    let above = place
        .work()
        .into_iter()
        .flat_map(|work| work.ancestors().skip(1));
    above
        .map(|folder| folder.join(".cargo"))
        .chain(home)
        .flat_map(|folder| [folder.join("config.toml"), folder.join("config")])
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u8,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Answer {
    /// A line with the status and the length of what went to stderr, that, and what went to stdout.
    fn written(&self, place: &Place) -> Vec<u8> {
        let stderr = place.without_own(&self.stderr);
        let mut bytes = format!("{} {}\n", self.status, stderr.len()).into_bytes();
        bytes.extend(stderr);
        bytes.extend(place.without_own(&self.stdout));
        bytes
    }

    fn read(bytes: &[u8], place: &Place) -> Option<Answer> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (status, length) = std::str::from_utf8(&bytes[..end]).ok()?.split_once(' ')?;
        let rest = &bytes[end + 1..];
        let (stderr, stdout) = rest.split_at_checked(length.parse().ok()?)?;
        Some(Answer {
            status: status.parse().ok()?,
            stdout: place.with_own(stdout),
            stderr: place.with_own(stderr),
        })
    }
}

/// Writes a file at once or not at all: another kernel may read it meanwhile.
pub(super) fn keep(path: &Path, content: &[u8]) {
    let write = || {
        let folder = path.parent().ok_or(std::io::ErrorKind::NotFound)?;
        fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(content)?;
        file.persist(path).map_err(|error| error.error)?;
        std::io::Result::Ok(())
    };
    // What is not kept is asked again.
    let _ = write();
}
