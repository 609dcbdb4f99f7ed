//! A compiler's errors in the cell's own lines.
//!
//! rustc speaks of the file that evcxr generated. Here its spans are moved to the cell they came from, and the message is laid out by the library that
//! lays out rustc's own. What is said of code that the learner did not write is left out. Pure: text in, text out.

use super::scoped::bound;
use super::source_map::{Cell, SourceMap};
use super::syntax::{Part, parts};
use crate::cell::CellError;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use ra_ap_syntax::AstNode;
use ra_ap_syntax::ast::{self, HasName};
use serde_json::Value;
use std::ops::Range;
use std::sync::Arc;

/// One message of the compiler, as evcxr gives it.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// rustc's JSON for it; null when evcxr made it up.
    pub json: Value,
    /// The message, with evcxr's own names taken out.
    pub message: String,
    /// Such as `E0382`.
    pub code: Option<String>,
    /// What evcxr adds for its own restrictions.
    pub hint: Option<&'static str>,
    /// Where evcxr itself saw it in the cell: for the messages without JSON.
    pub spans: Vec<CellSpan>,
}

/// A place in the cell in lines and columns, both from 1; the end column is exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSpan {
    /// Line and column of the first character.
    pub start: (usize, usize),
    /// Line and column after the last character.
    pub end: (usize, usize),
    /// What is said there.
    pub label: String,
    /// Whether the message is about this place, rather than about one that explains it.
    pub is_primary: bool,
}

/// The error of a cell that does not compile.
///
/// `map` must be of the file that was compiled last, `generated`; `cell` is the cell that ran. `messages`: all that rustc said of it, as lines of JSON.
pub fn error(
    diagnostics: &[Diagnostic],
    messages: Option<&str>,
    map: &SourceMap,
    generated: &str,
    cell: &Arc<Cell>,
) -> CellError {
    let errors: Vec<Diagnostic> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.json["level"] != "warning")
        .map(|diagnostic| in_cell_lines(diagnostic, map, generated, cell))
        .collect();
    let Some(first) = errors.first() else {
        return of_code_around(messages.unwrap_or_default(), generated);
    };
    let evalue = match errors.len() {
        1 => first_line(&first.message),
        n => format!("{} (and {} more)", first_line(&first.message), n - 1),
    };
    CellError {
        ename: first.code.clone().unwrap_or_else(|| "Compile".into()),
        evalue,
        traceback: errors
            .iter()
            .map(|diagnostic| render(diagnostic, map, generated, cell))
            .collect(),
    }
}

/// The error of a cell in whose own code the compiler finds none, but in what evcxr puts around it: there a variable's type is written out, for one.
///
/// `messages` may be of an earlier file than `generated`: then they say nothing of this one.
fn of_code_around(messages: &str, generated: &str) -> CellError {
    let is_of_it = |message: &Value| {
        message["spans"][0]["text"][0]["text"]
            .as_str()
            .is_none_or(|line| generated.contains(line))
    };
    let said = messages
        .lines()
        .filter_map(|message| serde_json::from_str::<Value>(message).ok())
        .find(|message| message["level"] == "error" && is_of_it(message));
    let code = said.as_ref().and_then(|said| said["code"]["code"].as_str());
    let (evalue, help) = match said.as_ref().and_then(|said| said["message"].as_str()) {
        Some(why) => (
            format!(
                "the compiler refuses what the notebook puts around this cell to keep its variables: {}",
                clipped(why)
            ),
            "put the cell's code into braces, `{ … }`, and no variable is kept; or give the variables other types",
        ),
        None => (
            "the compiler makes nothing of this cell, and says nothing".into(),
            "an attribute for a whole file, such as `#![cfg(…)]`, would do that: leave it out",
        ),
    };
    CellError {
        ename: code.unwrap_or("Compile").into(),
        traceback: vec![
            format!("\x1b[1;31merror\x1b[0m: {evalue}"),
            format!("  help: {help}"),
        ],
        evalue,
    }
}

/// A message's first line, which may hold a type of any length.
fn clipped(text: &str) -> String {
    const LONGEST: usize = 200;
    let line = first_line(text);
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The diagnostic with closures named by their lines in cells, in all that it says.
fn in_cell_lines(
    diagnostic: &Diagnostic,
    map: &SourceMap,
    generated: &str,
    cell: &Cell,
) -> Diagnostic {
    let is_of = !spans_of(&diagnostic.json, map, generated).is_empty();
    let say = |text: &mut String| *text = with_cell_lines(text, map, cell, is_of);
    let mut diagnostic = diagnostic.clone();
    say(&mut diagnostic.message);
    for span in &mut diagnostic.spans {
        say(&mut span.label);
    }
    fn say_all(json: &mut Value, say: &dyn Fn(&mut String)) {
        for of_text in ["message", "label"] {
            if let Some(Value::String(text)) = json.get_mut(of_text) {
                say(text);
            }
        }
        for list in ["spans", "children"] {
            let items = json.get_mut(list).and_then(Value::as_array_mut);
            items
                .into_iter()
                .flatten()
                .for_each(|item| say_all(item, say));
        }
    }
    say_all(&mut diagnostic.json, &say);
    diagnostic
}

/// The warnings that are about the cell itself, laid out briefly: each with its place and at most one line of help. `json` holds rustc's messages, one a
/// line; what it says of earlier cells was said when those ran.
pub fn warnings(json: &str, map: &SourceMap, generated: &str, cell: &Arc<Cell>) -> Vec<String> {
    let mut told = Vec::new();
    for message in json.lines() {
        let Ok(message) = serde_json::from_str::<Value>(message) else {
            continue;
        };
        let found = spans_of(&message, map, generated);
        let is_ours = found
            .iter()
            .any(|span| span.is_primary && span.cell.number == cell.number);
        if message["level"] != "warning" || !is_ours {
            continue;
        }
        let snippet = snippet_of(cell, &found);
        let title = message["message"].as_str().unwrap_or_default();
        let mut group = Group::with_title(Level::WARNING.primary_title(title)).element(snippet);
        let help = message["children"].as_array().into_iter().flatten();
        if let Some(help) = help
            .filter(|child| child["level"] == "help")
            .find_map(|child| child["message"].as_str())
        {
            group = group.element(Level::HELP.message(help.to_owned()));
        }
        told.push(Renderer::styled().render(&[group]).to_string());
    }
    told
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// What to do about a restriction that a notebook has and a program has not.
fn hint_for(diagnostic: &Diagnostic, cell: &Cell) -> Option<&'static str> {
    let code = diagnostic.code.as_deref();
    if let Some(hint) = diagnostic.hint {
        // evcxr says of each E0597 that variables of a notebook cannot be borrowed; of others rustc's own help is right.
        return (code != Some("E0597") || is_about_a_kept_variable(diagnostic, cell))
            .then_some(hint);
    }
    let is_never = code == Some("E0658") && diagnostic.message.contains("`!` type");
    is_never.then_some(
        "a variable of this cell has a type with `!` in it, such as the `JoinHandle<!>` of a closure that never ends; the notebook cannot keep it \
         for the next cell: let the closure end in a `()`, or put the cell's code into braces",
    )
}

/// Whether the variable that a message begins with is one that the cell's top level makes, and so the notebook keeps.
fn is_about_a_kept_variable(diagnostic: &Diagnostic, cell: &Cell) -> bool {
    let mut quoted = diagnostic.message.split('`');
    let Some(name) = quoted.nth(1) else {
        return false;
    };
    let parts = parts(&cell.text);
    let is_named = |pattern: ast::IdentPat| pattern.name().is_some_and(|made| made.text() == name);
    let kept = |part: &Part| bound(part).iter().any(|(made, _)| made == name);
    // Below the top level another variable may have the same name: then it is not clear which one is meant, and rustc's words stand alone.
    let is_made_below = |part: &Part| {
        let made = part.node.descendants().filter_map(ast::IdentPat::cast);
        let times = made.filter(|made| is_named(made.clone())).count();
        times > usize::from(kept(part))
    };
    parts.iter().any(kept) && !parts.iter().any(is_made_below)
}

/// The text with closures named by their lines in cells: rustc calls them by the generated file, `{closure@src/lib.rs:12:3: 12:9}`. `is_of`: whether that
/// file is the one that `map` is of; else a closure has no line.
fn with_cell_lines(text: &str, map: &SourceMap, cell: &Cell, is_of: bool) -> String {
    const FILE: &str = "src/lib.rs:";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let place = after.split_once('}').filter(|(place, _)| {
            let numbers = place.split_once(FILE).map(|(_, numbers)| numbers);
            numbers.is_some_and(|numbers| {
                let is_of_place = |c: char| c.is_ascii_digit() || c == ':' || c == ' ';
                !numbers.is_empty() && numbers.chars().all(is_of_place)
            })
        });
        let Some((place, after)) = place else {
            out.push_str(&rest[..=at]);
            rest = after;
            continue;
        };
        out.push_str(before);
        let line = place
            .split_once(FILE)
            .and_then(|(_, numbers)| numbers.split(':').next()?.parse().ok())
            .filter(|_| is_of)
            .and_then(|line| map.cell_of_line(line));
        match line {
            Some((made, line)) if made.number == cell.number => {
                out.push_str(&format!(" at line {line}"));
            }
            Some((made, line)) => out.push_str(&format!(" at cell [{}] line {line}", made.number)),
            None => {}
        }
        out.push('}');
        rest = after;
    }
    out + rest
}

/// A span that was found in a cell.
struct Found {
    cell: Arc<Cell>,
    bytes: Range<usize>,
    label: String,
    is_primary: bool,
}

/// The lines of a cell that spans lie in, with each span underlined and its label beside it.
fn snippet_of<'a>(cell: &'a Cell, found: &'a [Found]) -> Snippet<'a, Annotation<'a>> {
    let of_cell = found.iter().filter(|span| span.cell.number == cell.number);
    let annotations = of_cell.map(|span| {
        let kind = if span.is_primary {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let annotation = kind.span(span.bytes.clone());
        if span.label.is_empty() {
            annotation
        } else {
            annotation.label(span.label.as_str())
        }
    });
    Snippet::source(cell.text.as_str())
        .path(format!("cell [{}]", cell.number))
        .annotations(annotations)
}

fn render(diagnostic: &Diagnostic, map: &SourceMap, generated: &str, cell: &Arc<Cell>) -> String {
    let mut found = spans_of(&diagnostic.json, map, generated);
    if found.is_empty() {
        found = diagnostic
            .spans
            .iter()
            .filter_map(|span| in_cell(span, cell))
            .collect();
    }
    let mut title = Level::ERROR.primary_title(diagnostic.message.as_str());
    if let Some(code) = &diagnostic.code {
        title = title.id(code.as_str());
    }
    let mut group = Group::with_title(title);
    // The cell of the primary span first; another cell, whose function is called wrongly, gets a part of its own.
    found.sort_by_key(|span| (!span.is_primary, span.cell.number));
    let mut cells: Vec<&Cell> = Vec::new();
    for span in &found {
        if cells.iter().all(|cell| cell.number != span.cell.number) {
            cells.push(&span.cell);
        }
    }
    for cell in cells {
        group = group.element(snippet_of(cell, &found));
    }
    let mut suggestions = Vec::new();
    for child in diagnostic.json["children"].as_array().into_iter().flatten() {
        let message = child["message"].as_str().unwrap_or_default();
        let is_help = child["level"] == "help";
        if message.contains("evcxr") || message.starts_with("for more information") {
            continue;
        }
        let spans = child["spans"].as_array().map_or(&[][..], Vec::as_slice);
        if spans.is_empty() {
            group = group.element(if is_help {
                Level::HELP.message(message.to_owned())
            } else {
                Level::NOTE.message(message.to_owned())
            });
            continue;
        }
        if let Some(suggestion) = suggestion(message, is_help, spans, map, generated) {
            suggestions.push(suggestion);
        }
    }
    if let Some(hint) = hint_for(diagnostic, cell) {
        group = group.element(Level::HELP.message(hint));
    }
    let mut report = vec![group];
    report.extend(suggestions);
    Renderer::styled().render(&report).to_string()
}

fn suggestion(
    message: &str,
    is_help: bool,
    spans: &[Value],
    map: &SourceMap,
    generated: &str,
) -> Option<Group<'static>> {
    let level = if is_help { Level::HELP } else { Level::NOTE };
    let mut places = Vec::new();
    for span in spans {
        // One part of a suggestion without the others would be wrong advice.
        places.push((
            locate(span, map, generated)?,
            span["suggested_replacement"].as_str(),
        ));
    }
    let cell = Arc::clone(&places.first()?.0.0);
    if places
        .iter()
        .any(|((other, _), _)| other.number != cell.number)
    {
        return None;
    }
    let title = level.secondary_title(message.to_owned());
    Some(
        if places.iter().all(|(_, replacement)| replacement.is_some()) {
            let patches = places.into_iter().map(|((_, bytes), replacement)| {
                Patch::new(bytes, replacement.unwrap_or_default().to_owned())
            });
            title.element(
                Snippet::source(cell.text.clone())
                    .path(format!("cell [{}]", cell.number))
                    .patches(patches),
            )
        } else {
            let annotations = places
                .into_iter()
                .zip(spans)
                .map(|(((_, bytes), _), span)| {
                    let annotation = AnnotationKind::Primary.span(bytes);
                    match span["label"].as_str() {
                        Some(label) => annotation.label(label.to_owned()),
                        None => annotation,
                    }
                });
            title.element(
                Snippet::source(cell.text.clone())
                    .path(format!("cell [{}]", cell.number))
                    .annotations(annotations),
            )
        },
    )
}

fn spans_of(json: &Value, map: &SourceMap, generated: &str) -> Vec<Found> {
    let spans = json["spans"].as_array().into_iter().flatten();
    spans
        .filter_map(|span| {
            let (cell, bytes) = locate(span, map, generated)?;
            Some(Found {
                cell,
                bytes,
                label: span["label"].as_str().unwrap_or_default().to_owned(),
                is_primary: span["is_primary"].as_bool().unwrap_or(false),
            })
        })
        .collect()
}

/// Where a span of rustc's lies in a cell; inside of a macro: where the learner called it.
fn locate(span: &Value, map: &SourceMap, generated: &str) -> Option<(Arc<Cell>, Range<usize>)> {
    if !span["file_name"].as_str()?.ends_with("lib.rs") {
        return locate(
            span.get("expansion")
                .filter(|expansion| expansion.is_object())?
                .get("span")?,
            map,
            generated,
        );
    }
    let byte = |name: &str| {
        span[name]
            .as_u64()
            .and_then(|byte| usize::try_from(byte).ok())
    };
    let (start, end) = (byte("byte_start")?, byte("byte_end")?);
    // evcxr compiles more than once, and the message may be about an earlier file than the one that is left: then the text is another.
    let said = span["text"][0]["text"].as_str().unwrap_or_default();
    let line_start = generated.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    if generated
        .get(line_start..)?
        .lines()
        .next()
        .unwrap_or_default()
        != said
    {
        return None;
    }
    let (cell, from) = map.cell_of_byte(start)?;
    let (other, to) = map.cell_of_byte(end)?;
    (cell.number == other.number && from <= to && cell.text.get(from..to).is_some())
        .then(|| (Arc::clone(cell), from..to))
}

fn in_cell(span: &CellSpan, cell: &Arc<Cell>) -> Option<Found> {
    let byte = |(line, column): (usize, usize)| {
        let start: usize = cell
            .text
            .split_inclusive('\n')
            .take(line.checked_sub(1)?)
            .map(str::len)
            .sum();
        let rest = cell.text.get(start..)?;
        Some(
            start
                + rest
                    .chars()
                    .take(column.checked_sub(1)?)
                    .take_while(|&c| c != '\n')
                    .map(char::len_utf8)
                    .sum::<usize>(),
        )
    };
    let (from, to) = (byte(span.start)?, byte(span.end)?);
    (from <= to).then(|| Found {
        cell: Arc::clone(cell),
        bytes: from..to,
        label: span.label.clone(),
        is_primary: span.is_primary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the learner sees, without colours.
    fn plain(text: &str) -> String {
        let mut out = String::new();
        let mut in_escape = false;
        for c in text.chars() {
            match c {
                '\x1b' => in_escape = true,
                'm' if in_escape => in_escape = false,
                _ if in_escape => {}
                c => out.push(c),
            }
        }
        out
    }

    fn span(generated: &str, text: &str, label: &str, extra: &Value) -> Value {
        let start = generated.find(text).expect("the text is in the file");
        let line_start = generated[..start].rfind('\n').map_or(0, |at| at + 1);
        let mut span = json!({
            "file_name": "src/lib.rs", "byte_start": start, "byte_end": start + text.len(), "is_primary": true, "label": label,
            "text": [{"text": generated[line_start..].lines().next()}],
        });
        span.as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        span
    }

    #[test]
    fn an_error_in_the_code_around_a_cell_has_the_compilers_reason() {
        let cell = Arc::new(Cell::new(4, "let deep = f();"));
        let map = SourceMap::new("", &[Arc::clone(&cell)]);
        let warning = Diagnostic {
            json: json!({ "level": "warning" }),
            message: "unused variable: `deep`".into(),
            code: None,
            hint: None,
            spans: Vec::new(),
        };
        let long = "overflow evaluating ".to_owned() + &"[é; ".repeat(1_000);
        let messages = format!(
            "{}\nnot JSON\n{}\n",
            json!({ "level": "warning", "message": "unused" }),
            json!({ "level": "error", "message": long, "code": { "code": "E0275" } })
        );
        let told = error(
            std::slice::from_ref(&warning),
            Some(&messages),
            &map,
            "",
            &cell,
        );
        assert_eq!(told.ename, "E0275");
        assert!(told.evalue.contains("around this cell") && told.evalue.ends_with('…'));
        assert!(told.evalue.chars().count() < 320 && told.traceback[1].contains("braces"));
        let told = error(&[warning], None, &map, "", &cell);
        assert_eq!(told.ename, "Compile");
        assert!(told.evalue.contains("says nothing") && told.traceback[1].contains("#![cfg"));
    }

    #[test]
    fn an_error_stands_at_the_cells_own_line_with_rustcs_help() {
        let cell = Arc::new(Cell::new(4, "let oven = 3;\nlet loaves: u32 = \"ten\";\n"));
        let generated =
            "#![allow(x)]\nfn run() {\nlet oven = 3;\nlet loaves: u32 = \"ten\";\nstore(oven); }";
        let map = SourceMap::new(generated, &[Arc::clone(&cell)]);
        let diagnostic = Diagnostic {
            json: json!({
                "level": "error",
                "spans": [span(generated, "\"ten\"", "expected `u32`, found `&str`", &json!({})), span(generated, "store(oven)", "internal", &json!({"is_primary": false}))],
                "children": [
                    {"level": "help", "message": "use a number", "spans": [span(generated, "\"ten\"", "", &json!({"suggested_replacement": "10"}))]},
                    {"level": "note", "message": "evcxr says", "spans": []},
                ],
            }),
            message: "mismatched types".into(),
            code: Some("E0308".into()),
            hint: None,
            spans: Vec::new(),
        };
        let error = error(&[diagnostic], None, &map, generated, &cell);
        assert_eq!(
            (error.ename.as_str(), error.evalue.as_str()),
            ("E0308", "mismatched types")
        );
        insta::assert_snapshot!(plain(&error.traceback[0]), @r#"
        error[E0308]: mismatched types
         --> cell [4]:2:19
          |
        2 | let loaves: u32 = "ten";
          |                   ^^^^^ expected `u32`, found `&str`
          |
        help: use a number
          |
        2 - let loaves: u32 = "ten";
        2 + let loaves: u32 = 10;
          |
        "#);
    }

    #[test]
    fn spans_of_another_file_or_none_never_point_into_the_cell() {
        let cell = Arc::new(Cell::new(1, "let é = 1;"));
        let map = SourceMap::new("fn run() {\nlet é = 1;\n}", &[Arc::clone(&cell)]);
        for odd in [
            json!(null),
            json!({"file_name": "src/lib.rs"}),
            json!({"file_name": "src/lib.rs", "byte_start": 12, "byte_end": 9_999_999_u64, "text": []}),
            json!({"file_name": "src/lib.rs", "byte_start": 16, "byte_end": 17, "text": [{"text": "let é = 1;"}]}),
            json!({"file_name": "other.rs", "byte_start": 1, "byte_end": 2, "expansion": null}),
        ] {
            assert!(
                locate(&odd, &map, "fn run() {\nlet é = 1;\n}").is_none(),
                "{odd}"
            );
        }
    }
}
