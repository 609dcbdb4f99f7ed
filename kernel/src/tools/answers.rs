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

/// Answers from the record, or has the real tool answer and records that. `None` when this is no such question.
pub(super) fn answer(place: &Place, tool: Tool, arguments: &[OsString]) -> Option<ExitCode> {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str())
        .collect::<Option<_>>()?;
    if !is_about_the_toolchain(tool, &words) {
        return None;
    }
    let mut question = Question::about(place, tool)?;
    let mut before = "";
    for word in &words {
        // A copy of the lock file, under another name each time.
        if before != "--lockfile-path" {
            question.add(&place.without_own(word.as_bytes()));
        }
        before = word;
    }
    let is_metadata = words.contains(&"metadata");
    if is_metadata {
        question.add(&place.without_own(&manifest_of(place, &words)?));
    }
    let kept = place.answers()?.join(question.name());
    let known = fs::read(&kept).ok();
    let known = known
        .as_deref()
        .and_then(|bytes| Answer::read(bytes, place));
    let answer = match known {
        Some(answer) => answer,
        None => {
            let mut real = super::command(place, tool, arguments)?;
            let output = real.stdin(Stdio::null()).output().ok()?;
            let answer = Answer {
                status: u8::try_from(output.status.code()?).ok()?,
                stdout: if is_metadata {
                    with_our_crates_alone(&output.stdout).unwrap_or(output.stdout)
                } else {
                    output.stdout
                },
                stderr: output.stderr,
            };
            // What fails may be mended, but for a stable cargo that is asked for what only a nightly one tells.
            if answer.status == 0 || words.contains(&"unstable-options") {
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
        Tool::Rustup => false,
    }
}

/// The text of the manifest that is asked about; `None` when its answer is not to be kept: it has dependencies that may change.
fn manifest_of(place: &Place, words: &[&str]) -> Option<Vec<u8>> {
    let named = words.iter().position(|word| *word == "--manifest-path");
    let path = match named {
        Some(at) => PathBuf::from(words.get(at + 1)?),
        None => std::env::current_dir().ok()?.join("Cargo.toml"),
    };
    let text = fs::read_to_string(&path).ok()?;
    (path.parent() == place.work() && depends_on_ours_alone(place, &text))
        .then(|| text.into_bytes())
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

/// `cargo metadata`'s answer on a cell with nothing but our crates, without the crates that those are made of: nothing of them can be seen from a cell, and
/// rust-analyzer would read all of `libc` at each start.
fn with_our_crates_alone(metadata: &[u8]) -> Option<Vec<u8>> {
    let mut metadata: Value = serde_json::from_slice(metadata).ok()?;
    let members = metadata["workspace_members"].as_array()?.clone();
    let packages = metadata["packages"].as_array_mut()?;
    packages.retain(|package| {
        let name = package["name"].as_str().unwrap_or_default();
        name.starts_with("threadbook-") || members.contains(&package["id"])
    });
    let left: Vec<Value> = packages
        .iter()
        .map(|package| package["id"].clone())
        .collect();
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
