//! The compilation of a cell by the very call of rustc that cargo made for the one before it.
//!
//! Between two cells nothing of a build changes but the source, unless the manifest does, a setting, or a crate of the learner's own. So the first build
//! is cargo's, and the call by which it compiled the cell is noted; the next ones make that call. What evcxr is told is what cargo would have told it. At
//! any doubt cargo builds.
//!
//! A source that was compiled before gives the library of that time: a copy, since a library that is loaded twice from one file is loaded once.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Tool;
use super::answers::{Question, depends_on_ours_alone, settings_files};
use super::cell_source::lean;
use super::kept::Kept;
use super::place::Place;
use super::timing;

/// evcxr's name for the crate of a cell.
const CRATE: &str = "ctx";
/// Where the compiler notes the call by which cargo has it compile the cell.
const NOTE: &str = "THREADBOOK_NOTE_CALL";
/// Where evcxr wants to read which library was made.
const LIBRARY: &str = "EVCXR_EXECUTION_SO_PATH";

/// rustc's messages of the last build of a cell that was not cargo's; not there when it was. In evcxr's folder.
pub const MESSAGES: &str = "messages-of-the-cell";

/// A call of the compiler.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Call {
    /// This process's own, when all of it is text.
    fn of_this_process(arguments: &[OsString]) -> Option<Call> {
        let text = |word: &OsStr| word.to_str().map(str::to_owned);
        let environment = std::env::vars_os().filter(|(name, _)| is_cargos(name));
        Some(Call {
            arguments: arguments
                .iter()
                .map(|word| text(word))
                .collect::<Option<_>>()?,
            environment: environment
                .map(|(name, value)| Some((text(&name)?, text(&value)?)))
                .collect::<Option<_>>()?,
        })
    }

    /// One that was noted, by this kernel or another one.
    fn read(note: &Path, place: &Place) -> Option<Call> {
        serde_json::from_slice(&place.with_own(&fs::read(note).ok()?)).ok()
    }

    /// The call, in the environment that this kernel was started with and what cargo said to the compiler by it.
    ///
    /// Of cargo's wishes two are not followed, since they cost a cell more than they give: what is kept for the next compilation of nearly the same text, of
    /// which there is none, and sixteen units of machine code, where a cell has work for two.
    fn again(&self, place: &Place) -> Option<Command> {
        let mut arguments = Vec::new();
        let mut words = self.arguments.iter().peekable();
        while let Some(word) = words.next() {
            let setting = words.peek().filter(|_| word == "-C");
            if setting.is_some_and(|setting| setting.starts_with("incremental=")) {
                words.next();
            } else if setting.is_some_and(|setting| setting.starts_with("codegen-units=")) {
                words.next();
                arguments.extend(["-C".into(), "codegen-units=2".into()]);
            } else {
                arguments.push(OsString::from(word));
            }
        }
        arguments.extend(timing::linker(place, &self.arguments));
        let mut command = super::command(place, Tool::Rustc, &arguments)?;
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.envs(environment).stdin(Stdio::null());
        Some(command)
    }

    fn has_prelude(&self) -> bool {
        let is_prelude = |word: &String| word.starts_with("threadbook_prelude=");
        self.arguments.iter().any(is_prelude)
    }

    fn out_folder(&self) -> Option<PathBuf> {
        let at = self.arguments.iter().position(|word| word == "--out-dir")?;
        self.arguments.get(at + 1).map(PathBuf::from)
    }
}

/// Whether cargo sets this variable for the compiler. Those by which it shares cores with its compilers are of that run alone, as is its home.
fn is_cargos(name: &OsStr) -> bool {
    let of_that_run = ["CARGO_MAKEFLAGS", "CARGO_HOME"];
    let is_path = ["LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "OUT_DIR"]
        .iter()
        .any(|path| name == *path);
    let is_said = name.as_bytes().starts_with(b"CARGO");
    is_path || (is_said && !of_that_run.iter().any(|other| name == *other))
}

/// Notes by which call a cell is compiled, where cargo was started to find out. Called by the compiler.
pub(super) fn note_call(arguments: &[OsString]) {
    let Some(note) = std::env::var_os(NOTE) else {
        return;
    };
    let mut words = arguments.iter();
    let is_cell =
        words.any(|word| word == "--crate-name") && words.next().is_some_and(|name| name == CRATE);
    if !is_cell {
        return;
    }
    let Some(call) = Call::of_this_process(arguments) else {
        return;
    };
    if let Ok(text) = serde_json::to_vec(&call) {
        let _ = fs::write(&note, text);
    }
}

/// Where the call is noted: for every kernel where all crates are ours and compiled, else for this one, in whose folder cargo compiles the others.
fn note_of(place: &Place, command: &str, state: &str) -> Option<PathBuf> {
    let manifest = fs::read_to_string(place.work()?.join("Cargo.toml")).ok()?;
    let folder = if depends_on_ours_alone(place, &manifest) {
        place.answers()?
    } else {
        place.folder()
    };
    Some(folder.join(format!("{command}-{state}")))
}

/// Whether nothing but the source decides what a cell becomes: no macro of a crate that is not ours runs while it is compiled.
fn is_known_whole(place: &Place) -> bool {
    let manifest = place
        .work()
        .and_then(|work| fs::read_to_string(work.join("Cargo.toml")).ok());
    manifest.is_some_and(|manifest| depends_on_ours_alone(place, &manifest))
}

/// Whether the compiler's account of what it read (`ctx.d`) names the cell alone: no file by `include_str!`, no variable by `env!`.
fn reads_nothing_else(account: &str) -> bool {
    account.lines().filter(|line| !line.is_empty()).all(|line| {
        let read = line.split_once(": ").map_or("", |(_, read)| read.trim());
        !line.starts_with("# env-dep") && (read == "src/lib.rs" || line == "src/lib.rs:")
    })
}

/// Whether a source, by its words, asks for no file and no variable of the environment while it is compiled.
fn names_nothing_else(source: &[u8]) -> bool {
    let source = String::from_utf8_lossy(source);
    let calls = |name: &str| {
        source
            .split(name)
            .skip(1)
            .any(|rest| rest.trim_start().starts_with(['(', '[', '{']))
    };
    // `env!` is the end of `option_env!` too.
    let reads = ["include!", "include_str!", "include_bytes!", "env!"];
    !reads.iter().any(|name| calls(name)) && !source.contains("#[path")
}

/// What the compiler said, message by message.
fn read(messages: &[u8]) -> impl Iterator<Item = Value> {
    let lines = messages.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok())
}

/// Whether an error lies in a text, and not in what is around it.
fn is_about_the_cell(messages: &[u8]) -> bool {
    read(messages).any(|message| {
        let spans = message["spans"].as_array();
        message["level"] == "error" && spans.is_some_and(|spans| !spans.is_empty())
    })
}

/// Removes the messages of a build that was not cargo's: cargo's own count from now on.
pub(super) fn forget(place: &Place) {
    if let Some(work) = place.work() {
        let _ = fs::remove_file(work.join(MESSAGES));
    }
}

/// Whether an error is about a name that is not there, or is another thing than it should be.
fn asks_for_names(messages: &[u8]) -> bool {
    const ABOUT_NAMES: [&str; 10] = [
        "E0405", "E0412", "E0423", "E0424", "E0425", "E0433", "E0531", "E0532", "E0573", "E0574",
    ];
    read(messages).any(|message| {
        let code = message["code"]["code"].as_str();
        code.is_some_and(|code| ABOUT_NAMES.contains(&code))
    })
}

/// Makes the call for a cell's text, in its lean form where it has one. `shown`: whether all names in it are in its text.
fn compile(call: &Call, place: &Place, source: &[u8], shown: bool) -> Option<Output> {
    let text = place.work()?.join("src/lib.rs");
    let lean = match call.has_prelude() {
        true => lean(source, shown),
        false => None,
    };
    if let Some(lean) = &lean {
        fs::write(&text, lean).ok()?;
    }
    let output = call.again(place)?.output();
    if lean.is_some() {
        // As evcxr wrote it, for cargo, and for who looks.
        fs::write(&text, source).ok()?;
    }
    output.ok()
}

/// What came of a build.
pub(super) struct Built {
    pub(super) code: ExitCode,
    /// Who did it: `rustc`, `cargo`; `kept` for a library of an earlier time.
    pub(super) by: &'static str,
}

/// Builds or checks the cell as cargo would. `None`: let cargo do it.
pub(super) fn build(place: &Place, arguments: &[OsString]) -> Option<Built> {
    let command = arguments.first()?.to_str()?;
    let work = place.work()?;
    if !matches!(command, "build" | "check") || std::env::current_dir().ok()? != work {
        return None;
    }
    // Whatever happens now, what the last build said is not what this one says.
    forget(place);
    let state = state_of(place, arguments)?;
    let note = note_of(place, command, &state)?;
    let Some(call) = Call::read(&note, place) else {
        let code = cargo(place, arguments, &note)?;
        return Some(Built { code, by: "cargo" });
    };
    let source = fs::read(work.join("src/lib.rs")).ok()?;
    let out = call.out_folder()?;
    let library = library_in(&out);
    let is_whole = is_known_whole(place);
    let kept = is_whole
        .then(|| Kept::of(&place.answers()?.join("cells"), command, &state, &source))
        .flatten();
    let known = kept.as_ref().and_then(|kept| kept.take(&library));
    let by = if known.is_some() { "kept" } else { "rustc" };
    let (messages, done) = match known {
        Some(known) => known,
        None => {
            let read = out.join(format!("{CRATE}.d"));
            let _ = fs::remove_file(&read);
            let mut output = compile(&call, place, &source, is_whole)?;
            if is_whole && asks_for_names(&output.stderr) {
                // What is similar to a name that is not there may be a variable that was left out.
                output = compile(&call, place, &source, false)?;
            }
            let done = match output.status.code() {
                Some(0) => true,
                Some(1) if is_about_the_cell(&output.stderr) => false,
                // The compiler itself failed or was ended, or a crate is not where it was: cargo says that better, or mends it.
                _ => return None,
            };
            // A check writes no account of what it read.
            let reads_no_more = match done && command == "build" {
                true => fs::read_to_string(&read).is_ok_and(|account| reads_nothing_else(&account)),
                false => names_nothing_else(&source),
            };
            if let Some(kept) = kept.as_ref().filter(|_| reads_no_more) {
                let made = (done && command == "build").then_some(library.as_path());
                kept.put(made, &output.stderr, done);
            }
            (output.stderr, done)
        }
    };
    let mut said = Vec::new();
    let mut plain = Vec::new();
    for line in messages
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice::<Value>(line) {
            Ok(message)
                if message["$message_type"] == "diagnostic"
                    || message.get("rendered").is_some() =>
            {
                said.push((line, message));
            }
            Ok(_) => {}
            Err(_) => plain.push(line),
        }
    }
    // A compiler that fails without saying why is cargo's to explain.
    if !done && said.is_empty() {
        return None;
    }
    let mut stdout = Vec::new();
    for (_, message) in &said {
        let line =
            json!({"reason": "compiler-message", "target": {"name": CRATE}, "message": message});
        stdout.extend(line.to_string().into_bytes());
        stdout.push(b'\n');
    }
    if command == "build" {
        let lines: Vec<&[u8]> = said.iter().map(|(line, _)| *line).collect();
        fs::write(work.join(MESSAGES), lines.join(&b'\n')).ok()?;
        if done {
            // Where cargo puts it: evcxr takes it from there.
            let shown = library.parent()?.parent()?.join(library.file_name()?);
            let _ = fs::remove_file(&shown);
            fs::rename(&library, &shown).ok()?;
            fs::write(std::env::var_os(LIBRARY)?, shown.as_os_str().as_bytes()).ok()?;
        }
    }
    let _ = std::io::stdout().write_all(&stdout);
    let mut stderr = std::io::stderr();
    for line in plain {
        let _ = stderr
            .write_all(line)
            .and_then(|()| stderr.write_all(b"\n"));
    }
    let code = if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    };
    Some(Built { code, by })
}

/// Lets cargo build, and the compiler note its call. The note is kept only when cargo is content: a build that failed may have had another reason.
fn cargo(place: &Place, arguments: &[OsString], note: &Path) -> Option<ExitCode> {
    let begun = place.folder().join("call");
    let mut cargo = super::command(place, Tool::Cargo, arguments)?;
    let status = cargo.env(NOTE, &begun).status().ok()?;
    if status.success()
        && let Ok(call) = fs::read(&begun)
    {
        super::answers::keep(note, &place.without_own(&call));
    }
    let _ = fs::remove_file(&begun);
    Some(super::code_of(status))
}

/// All that decides the call but the cell itself, as a name. `None` where a crate may change that is not ours to know.
fn state_of(place: &Place, arguments: &[OsString]) -> Option<String> {
    let work = place.work()?;
    let manifest = fs::read_to_string(work.join("Cargo.toml")).ok()?;
    if !depends_on_what_stays(place, &manifest) {
        return None;
    }
    let mut state = Question::about(place, Tool::Cargo)?;
    state.add(manifest.as_bytes());
    state.add(&fs::read(work.join(".cargo/config.toml")).unwrap_or_default());
    for settings in settings_files(place) {
        let text = fs::read_to_string(settings).unwrap_or_default();
        if ["paths", "patch", "include"]
            .iter()
            .any(|word| text.contains(word))
        {
            return None;
        }
        state.add(text.as_bytes());
    }
    for word in arguments {
        state.add(word.as_bytes());
    }
    for (name, value) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"EVCXR") {
            state.add(name.as_bytes());
            state.add(&place.without_own(value.as_bytes()));
        }
    }
    Some(state.name())
}

/// Whether no dependency is a folder that somebody may write to.
fn depends_on_what_stays(place: &Place, manifest: &str) -> bool {
    if depends_on_ours_alone(place, manifest) {
        return true;
    }
    let (Ok(manifest), Some(crates)) = (manifest.parse::<toml::Table>(), place.crates()) else {
        return false;
    };
    let stays = |dependency: &toml::Value| {
        let path = dependency.get("path").and_then(toml::Value::as_str);
        path.is_none_or(|path| Path::new(path).starts_with(crates))
    };
    let known = ["package", "lib", "profile", "dependencies"];
    manifest.keys().all(|key| known.contains(&key.as_str()))
        && manifest
            .get("dependencies")
            .and_then(toml::Value::as_table)
            .is_none_or(|all| all.values().all(stays))
}

fn library_in(out: &Path) -> PathBuf {
    let name = format!(
        "{}{CRATE}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    out.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_a_cell_reads_is_seen() {
        for (name, account, want) in [
            (
                "the cell alone",
                "/w/deps/libctx.so: src/lib.rs\n\n/w/deps/ctx.d: src/lib.rs\n\nsrc/lib.rs:\n",
                true,
            ),
            (
                "a file",
                "/w/deps/libctx.so: src/lib.rs /n/a.txt\n\nsrc/lib.rs:\n/n/a.txt:\n",
                false,
            ),
            (
                "a variable",
                "/w/deps/libctx.so: src/lib.rs\n\nsrc/lib.rs:\n\n# env-dep:OVEN=hot\n",
                false,
            ),
        ] {
            assert_eq!(reads_nothing_else(account), want, "{name}");
        }
        for (source, want) in [
            ("fn f() { x }", true),
            ("// by include_str! and env! alone", true),
            ("include_str!(\"a\")", false),
            ("include! {\"a\"}", false),
            ("option_env!(\"A\")", false),
            ("#[path = \"a.rs\"] mod a;", false),
        ] {
            assert_eq!(names_nothing_else(source.as_bytes()), want, "{source}");
        }
    }

    #[test]
    fn names_that_are_not_there_are_seen() {
        let error = |code: &str| format!("{{\"level\": \"error\", \"code\": {code}}}\n");
        let unknown = error(r#"{"code": "E0425", "explanation": null}"#);
        let other = error(r#"{"code": "E0308", "explanation": null}"#);
        assert!(asks_for_names((other.clone() + &unknown).as_bytes()));
        assert!(!asks_for_names((other + &error("null")).as_bytes()));
    }

    #[test]
    fn an_error_without_a_place_is_not_about_the_cell() {
        let message =
            |spans: &str, level: &str| format!("{{\"level\": \"{level}\", \"spans\": {spans}}}\n");
        assert!(is_about_the_cell(message("[{}]", "error").as_bytes()));
        assert!(!is_about_the_cell(message("[]", "error").as_bytes()));
        assert!(!is_about_the_cell(message("[{}]", "warning").as_bytes()));
        assert!(!is_about_the_cell(b"error: no file\n"));
    }
}
