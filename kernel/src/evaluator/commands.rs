//! The commands at a cell's head: which are ours, which evcxr's, and what a learner means by them. Pure.
//!
//! A command stands on a line of its own before the first line of Rust. Ours are taken out, and their lines left empty, so that the cell keeps its line
//! numbers; the rest goes to evcxr. evcxr's `:quit` ends the process that runs it, its `:env` changes that process and not the learner's, its `:clear`
//! forgets the prelude and its `:restart` keeps variables that are not there any more: these are ours too.

use super::syntax::{is_command, rust_begins_at};
use crate::cell::{Completion, MimeBundle};
use crate::course::{self, Ask, Mark};
use crate::picture::Form;
use crate::render::Axis;

/// A command of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show all commands.
    Help,
    /// Said by people who come from a terminal.
    Quit,
    /// Set a variable of the environment, of this worker and of those that follow it.
    Env(String, String),
    /// Forget everything that cells defined.
    Clear,
    /// A new process: variables are gone, functions and types are kept.
    Restart,
    /// What a panic tells besides its place.
    Backtrace(Backtrace),
    /// How many bytes one cell may print; `None`: as many as it likes. Without an argument only said.
    OutputLimit(Option<Option<u64>>),
    /// Whether warnings of the compiler are shown. Without an argument only said.
    Warnings(Option<bool>),
    /// Whether a copy of the process is left at the end of each cell. Without an argument only said.
    Snapshots(Option<bool>),
    /// Whether tools' answers and cells' libraries of earlier times are used. Without an argument only said.
    Fast(Option<bool>),
    /// Whether cells tell how long their steps took. Without an argument this one does.
    Timing(Option<bool>),
    /// Something of the course: a hint, a solution, the first text of an exercise, what is done.
    Course(Ask),
    /// What becomes of pictures.
    Timeline(Timeline),
}

/// What is to become of pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Timeline {
    /// Only say how they are shown.
    Say,
    /// How they are shown from now on.
    Form(Form),
    /// Whether they are shown while a cell runs.
    Live(bool),
    /// Write the last one to this file.
    Save(String),
    /// Tell what the last one shows.
    Explain,
}

/// What a panic tells besides its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backtrace {
    /// Nothing.
    #[default]
    Short,
    /// Who called whom.
    Full,
}

/// Our commands as `:help` shows them, by name.
const OURS: &[(&str, &str)] = &[
    (
        ":backtrace",
        "What a panic tells: its place (`:backtrace short`), or who called whom too (`:backtrace full`)",
    ),
    (
        ":clear",
        "Forget all variables, functions, types and dependencies; the prelude is there again",
    ),
    (
        ":env",
        "Set an environment variable for the cells from now on. e.g. :env OVEN=hot",
    ),
    (
        ":fast",
        "Whether a cell is compiled as the one before it was, or taken as it was compiled before; off: cargo builds each one. e.g. :fast off",
    ),
    (":help", "Show this table"),
    (
        ":hint",
        "The next hint for the exercise whose cell this is, or was run last; anywhere in its cell. Or for this one: :hint 07.1",
    ),
    (
        ":output_limit",
        "How many megabytes a cell may print, 10 at first; 0 for any number. e.g. :output_limit 50",
    ),
    (
        ":progress",
        "Which exercises of the course are done. `:progress reset` forgets that, for one lesson by `:progress reset 07`",
    ),
    (
        ":quit",
        "Says how to end the kernel, which is not a cell's business",
    ),
    (
        ":reset",
        "Puts an exercise's first text back into its cell, and runs that; anywhere in its cell",
    ),
    (
        ":restart",
        "A new process for the cells: variables are gone, functions, types and dependencies are kept",
    ),
    (
        ":snapshots",
        "Whether a copy of the process is left at the end of each cell, so that a cell that ends it costs no variable. e.g. :snapshots off",
    ),
    (
        ":solution",
        "A solution of the exercise whose cell this is, or was run last; anywhere in its cell",
    ),
    (
        ":timeline",
        "How pictures are shown from now on: by time (wall), by steps (steps), by what suits (auto), as words and a table (words), or not at all (off). e.g. :timeline steps",
    ),
    (
        ":timeline explain",
        "Tell in sentences what this cell's picture shows, or else the last one, the most important first",
    ),
    (
        ":timeline live",
        "Whether a cell that runs longer than half a second shows its picture meanwhile. e.g. :timeline live off",
    ),
    (
        ":timeline save",
        "Write this cell's picture, or else the last one, to a file: a trace for Perfetto (.json) or a drawing (.svg). e.g. :timeline save trace.json",
    ),
    (
        ":timing",
        "Tell how long each step of this cell took: analysing, compiling, linking, running, drawing. Of all cells from now on: :timing on",
    ),
    (
        ":warnings",
        "Whether the compiler's warnings of good cells are shown. e.g. :warnings off",
    ),
];

/// A cell's commands and the rest of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What the cell is in the course.
    pub mark: Option<Mark>,
    /// Ours, in order.
    pub ours: Vec<Command>,
    /// The cell without them.
    pub rest: String,
    /// Whether it names a dependency, which may take minutes to compile.
    pub has_dep: bool,
}

/// Takes our commands out of a cell.
///
/// # Errors
/// When one of them is given what it does not take: what it takes.
pub fn split(text: &str) -> Result<Split, String> {
    let mark = course::mark(text);
    let text = &without_questions(text, mark.is_some())?;
    let head = rust_begins_at(&text.rest);
    let mut split = Split {
        mark,
        ours: Vec::new(),
        rest: String::with_capacity(text.rest.len()),
        has_dep: false,
    };
    for line in text.rest[..head].split_inclusive('\n') {
        let command = if is_command(line) { line.trim() } else { "" };
        let (name, argument) = command
            .split_once(char::is_whitespace)
            .map_or((command, ""), |(name, argument)| (name, argument.trim()));
        split.has_dep |= name == ":dep";
        match parse(name, argument)? {
            Some(ours) => {
                split.ours.push(ours);
                if line.ends_with('\n') {
                    split.rest.push('\n');
                }
            }
            None => split.rest.push_str(line),
        }
    }
    split
        .ours
        .extend(text.asked.iter().cloned().map(Command::Course));
    split.rest.push_str(&text.rest[head..]);
    Ok(split)
}

struct Questions {
    asked: Vec<Ask>,
    rest: String,
}

/// Takes out what a cell asks of the course, and leaves the lines empty. In a cell of an exercise that may stand anywhere, else at the head.
fn without_questions(text: &str, anywhere: bool) -> Result<Questions, String> {
    let mut questions = Questions {
        asked: Vec::new(),
        rest: String::with_capacity(text.len()),
    };
    let mut in_head = true;
    for line in text.split_inclusive('\n') {
        in_head &= course::is_head(line);
        match course::ask(line) {
            _ if !in_head && !anywhere => questions.rest.push_str(line),
            // Below the head a line of Rust may begin with a colon: only what is right is taken for a command there.
            Err(_) if !in_head => questions.rest.push_str(line),
            Err(why) => return Err(why),
            Ok(None) => questions.rest.push_str(line),
            Ok(Some(ask)) => {
                questions.asked.push(ask);
                if line.ends_with('\n') {
                    questions.rest.push('\n');
                }
            }
        }
    }
    Ok(questions)
}

fn parse(name: &str, argument: &str) -> Result<Option<Command>, String> {
    Ok(Some(match (name, argument) {
        (":help", _) => Command::Help,
        (":quit" | ":exit" | ":q", _) => Command::Quit,
        (":clear", _) => Command::Clear,
        (":restart", _) => Command::Restart,
        (":env", _) => match argument.split_once('=') {
            Some((key, value)) if is_key(key.trim()) && !value.contains('\0') => {
                Command::Env(key.trim().to_owned(), value.trim().to_owned())
            }
            _ => return Err(":env takes a name and a value, as in `:env OVEN=hot`".into()),
        },
        (":backtrace", "full") => Command::Backtrace(Backtrace::Full),
        (":backtrace", "" | "short") => Command::Backtrace(Backtrace::Short),
        (":backtrace", _) => return Err(":backtrace takes `full` or `short`".into()),
        (":output_limit", "") => Command::OutputLimit(None),
        (":output_limit", megabytes) => match megabytes.trim_end_matches("MB").trim().parse() {
            Ok(0) => Command::OutputLimit(Some(None)),
            Ok(megabytes) if megabytes < 1 << 20 => {
                Command::OutputLimit(Some(Some(megabytes * 1_000_000)))
            }
            _ => {
                return Err(
                    ":output_limit takes a number of megabytes, as in `:output_limit 50`, or 0 for any number"
                        .into(),
                );
            }
        },
        (":fast", "") => Command::Fast(None),
        (":fast", "on") => Command::Fast(Some(true)),
        (":fast", "off") => Command::Fast(Some(false)),
        (":fast", _) => return Err(":fast takes `on` or `off`".into()),
        (":timing", "") => Command::Timing(None),
        (":timing", "on") => Command::Timing(Some(true)),
        (":timing", "off") => Command::Timing(Some(false)),
        (":timing", _) => {
            return Err(":timing takes `on` or `off`, or nothing for this cell alone".into());
        }
        (":snapshots", "") => Command::Snapshots(None),
        (":snapshots", "on") => Command::Snapshots(Some(true)),
        (":snapshots", "off") => Command::Snapshots(Some(false)),
        (":snapshots", _) => return Err(":snapshots takes `on` or `off`".into()),
        (":warnings", "") => Command::Warnings(None),
        (":warnings", "on") => Command::Warnings(Some(true)),
        (":warnings", "off") => Command::Warnings(Some(false)),
        (":warnings", _) => return Err(":warnings takes `on` or `off`".into()),
        (":timeline", _) => Command::Timeline(timeline(argument)?),
        _ => return Ok(None),
    }))
}

fn timeline(argument: &str) -> Result<Timeline, String> {
    let (word, more) = argument
        .split_once(char::is_whitespace)
        .map_or((argument, ""), |(word, more)| (word, more.trim()));
    Ok(match (word, more) {
        ("", "") => Timeline::Say,
        ("wall", "") => Timeline::Form(Form::Drawn(Axis::Wall)),
        ("steps", "") => Timeline::Form(Form::Drawn(Axis::Steps)),
        ("auto", "") => Timeline::Form(Form::Drawn(Axis::Auto)),
        ("words", "") => Timeline::Form(Form::Words),
        ("off", "") => Timeline::Form(Form::Off),
        ("explain", "") => Timeline::Explain,
        ("live", "on") => Timeline::Live(true),
        ("live", "off") => Timeline::Live(false),
        ("live", _) => return Err(":timeline live takes `on` or `off`".into()),
        ("save", name) if name.ends_with(".json") || name.ends_with(".svg") => {
            Timeline::Save(name.to_owned())
        }
        ("save", _) => return Err(
            ":timeline save takes the name of a file: one that ends in .json is written as a trace for Perfetto, one that ends in .svg as a drawing, as in `:timeline save trace.json`".into(),
        ),
        _ => return Err(format!(
            ":timeline takes one of {}; as in `:timeline steps`",
            TIMELINE_TAKES.map(|word| format!("`{word}`")).join(", ")
        )),
    })
}

/// What may stand behind `:timeline`.
const TIMELINE_TAKES: [&str; 9] = [
    "wall",
    "steps",
    "auto",
    "words",
    "off",
    "explain",
    "live on",
    "live off",
    "save trace.json",
];

/// What may stand behind the other commands of ours.
const ARGUMENTS: [(&str, &[&str]); 6] = [
    (":timeline", &TIMELINE_TAKES),
    (":backtrace", &["full", "short"]),
    (":fast", &["on", "off"]),
    (":snapshots", &["on", "off"]),
    (":timing", &["on", "off"]),
    (":warnings", &["on", "off"]),
];

/// What could stand at byte `cursor` when that is in a command: the byte where it begins, and what is ours. `None` outside of commands.
pub fn complete(text: &str, cursor: usize) -> Option<(usize, Vec<Completion>)> {
    let before = text.get(..cursor)?;
    let line_at = before.rfind('\n').map_or(0, |end| end + 1);
    if rust_begins_at(text) < cursor && rust_begins_at(text) <= line_at {
        return None;
    }
    let begins = line_at + before[line_at..].len() - before[line_at..].trim_start().len();
    let written = &before[begins..];
    if !written.starts_with(':') {
        return None;
    }
    let (begins, offered): (usize, Vec<&str>) = match written.split_once(char::is_whitespace) {
        None => {
            let names = OURS.iter().map(|ours| ours.0);
            (begins, names.filter(|name| !name.contains(' ')).collect())
        }
        Some((name, _)) => {
            let argument = written[name.len()..].trim_start();
            let (_, offered) = ARGUMENTS.iter().find(|known| known.0 == name)?;
            (begins + written.len() - argument.len(), offered.to_vec())
        }
    };
    let prefix = &before[begins..];
    let matches = offered.into_iter().filter(|word| word.starts_with(prefix));
    let completion = |word: &str| Completion {
        text: word.to_owned(),
        kind: "magic".to_owned(),
        label: word.to_owned(),
    };
    Some((begins, matches.map(completion).collect()))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && !key.contains(['\0', ' '])
}

/// The table of all commands. `evcxrs` is what evcxr says about its own: a line each, the name and then what it does.
pub fn help(evcxrs: &str) -> MimeBundle {
    let mut rows: Vec<(&str, &str)> = evcxrs
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter(|(name, _)| name.starts_with(':') && !name.starts_with(":internal"))
        .filter(|(name, _)| OURS.iter().all(|ours| ours.0 != *name))
        .map(|(name, what)| (name, what.trim()))
        .chain(OURS.iter().copied())
        .collect();
    rows.sort_unstable();
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let text: String = rows
        .iter()
        .map(|(name, what)| format!("{name:<23} {what}\n"))
        .collect();
    let html: String = rows
        .iter()
        .map(|(name, what)| {
            format!(
                "<tr><td><code>{}</code></td><td style=\"text-align: left\">{}</td></tr>",
                escape(name),
                escape(what)
            )
        })
        .collect();
    let head = "Commands stand at the head of a cell, each on a line of its own; a line that begins with ! goes to the shell.";
    MimeBundle::from_iter([
        ("text/plain".to_owned(), format!("{head}\n{text}").into()),
        (
            "text/html".to_owned(),
            format!("<p>{head}</p><table>{html}</table>").into(),
        ),
    ])
}

/// What `:quit` says.
pub const HOW_TO_QUIT: &str = "A cell does not end its kernel: close it by the menu, Kernel > Shut Down Kernel. `:clear` forgets what cells defined, `:restart` ends their process.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_out_and_lines_keep_their_numbers() {
        let cell = "// first\n:env OVEN = very hot\n:dep serde = \"1\"\n  :backtrace full\n\nlet a = 1;\n:help";
        assert_eq!(
            split(cell),
            Ok(Split {
                mark: None,
                ours: vec![
                    Command::Env("OVEN".into(), "very hot".into()),
                    Command::Backtrace(Backtrace::Full)
                ],
                rest: "// first\n\n:dep serde = \"1\"\n\n\nlet a = 1;\n:help".into(),
                has_dep: true
            })
        );
        let plain = "let a = 1;\n// :quit\n";
        assert_eq!(split(plain).map(|split| split.rest), Ok(plain.into()));
        assert_eq!(split(":quit").map(|split| split.rest), Ok(String::new()));
    }

    #[test]
    fn an_exercise_may_ask_on_any_line_and_other_cells_at_their_head() {
        let asked = |cell: &str| {
            let split = split(cell).expect(cell);
            let asked: Vec<Ask> = split
                .ours
                .into_iter()
                .filter_map(|command| match command {
                    Command::Course(ask) => Some(ask),
                    _ => None,
                })
                .collect();
            (asked, split.rest)
        };
        let exercise = "// exercise: 07.1\nfn f() {\n    :hint\n}\n%solution";
        assert_eq!(
            asked(exercise),
            (
                vec![Ask::Hint(None), Ask::Solution(None)],
                "// exercise: 07.1\nfn f() {\n\n}\n".to_owned()
            )
        );
        assert_eq!(
            asked("%hint\n:progress\nlet a = 1;\n:hint"),
            (
                vec![Ask::Hint(None), Ask::Progress],
                "\n\nlet a = 1;\n:hint".to_owned()
            )
        );
        let type_of_a_let = "// exercise: 07.1\nlet a\n:hint ::Type = 1;";
        assert_eq!(asked(type_of_a_let), (vec![], type_of_a_let.to_owned()));
        assert!(split("// exercise: 07.1\n:hint me").is_err());
        let check = split("// check: 07.2\ncheck!(f() => 1);").expect("good");
        assert!(check.mark.is_some_and(|mark| mark.is_check));
    }

    #[test]
    fn arguments_are_understood_or_explained() {
        for (cell, want) in [
            (
                ":output_limit 50",
                Command::OutputLimit(Some(Some(50_000_000))),
            ),
            (":output_limit 0", Command::OutputLimit(Some(None))),
            (":output_limit", Command::OutputLimit(None)),
            (":warnings off", Command::Warnings(Some(false))),
            (":fast off", Command::Fast(Some(false))),
            (":timing", Command::Timing(None)),
            (":timing on", Command::Timing(Some(true))),
            (":exit", Command::Quit),
            (":backtrace", Command::Backtrace(Backtrace::Short)),
            (":env A=", Command::Env("A".into(), String::new())),
            (":timeline", Command::Timeline(Timeline::Say)),
            (
                ":timeline steps",
                Command::Timeline(Timeline::Form(Form::Drawn(Axis::Steps))),
            ),
            (
                ":timeline  words ",
                Command::Timeline(Timeline::Form(Form::Words)),
            ),
            (
                ":timeline live off",
                Command::Timeline(Timeline::Live(false)),
            ),
            (
                ":timeline save my trace.json",
                Command::Timeline(Timeline::Save("my trace.json".into())),
            ),
            (":timeline explain", Command::Timeline(Timeline::Explain)),
        ] {
            assert_eq!(
                split(cell).map(|split| split.ours),
                Ok(vec![want]),
                "{cell}"
            );
        }
        for cell in [
            ":output_limit much",
            ":output_limit -1",
            ":warnings maybe",
            ":backtrace long",
            ":env",
            ":env =x",
            ":timeline up",
            ":timeline wall steps",
            ":timeline live",
            ":timeline live maybe",
            ":timeline save",
            ":timeline save picture.png",
            ":timeline explain it",
        ] {
            let why = split(cell).expect_err(cell);
            assert!(
                why.contains(cell.split(' ').next().unwrap_or_default()),
                "{why}"
            );
        }
    }

    #[test]
    fn commands_and_their_arguments_are_completed() {
        let complete_at_end = |text: &str| {
            let (begins, matches) = complete(text, text.len())?;
            let texts = matches.into_iter().map(|completion| completion.text);
            Some((begins, texts.collect::<Vec<_>>()))
        };
        let of = |begins, texts: &[&str]| {
            Some((
                begins,
                texts.iter().map(|text| (*text).to_owned()).collect(),
            ))
        };
        for (text, want) in [
            (":tim", of(0, &[":timeline", ":timing"])),
            (":timing ", of(8, &["on", "off"])),
            (":warnings off\n  :time", of(16, &[":timeline"])),
            (":timeline w", of(10, &["wall", "words"])),
            (":timeline live o", of(10, &["live on", "live off"])),
            (":timeline save other", of(10, &[])),
            (":warnings  o", of(11, &["on", "off"])),
            (":vars x", None),
            ("let a = 1;\n:tim", None),
            ("let a", None),
            ("", None),
        ] {
            assert_eq!(complete_at_end(text), want, "{text:?}");
        }
        assert_eq!(complete(":é", 2), None, "not on a character");
        // What is offered is also taken.
        for (name, arguments) in ARGUMENTS {
            for argument in arguments {
                assert!(
                    split(&format!("{name} {argument}")).is_ok(),
                    "{name} {argument}"
                );
            }
        }
    }

    #[test]
    fn help_is_one_table_of_both() {
        let table = help(
            ":dep              Add dependency. e.g. <x>\n:quit             Quit evaluation and exit\n:internal_debug   x\n",
        );
        let text = table["text/plain"].as_str().expect("text");
        assert!(text.contains(":dep") && text.contains("not a cell's business"));
        assert!(!text.contains("Quit evaluation") && !text.contains(":internal"));
        let names: Vec<&str> = text
            .lines()
            .skip(1)
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        assert!(
            table["text/html"]
                .as_str()
                .expect("html")
                .contains("e.g. &lt;x>")
        );
    }
}
