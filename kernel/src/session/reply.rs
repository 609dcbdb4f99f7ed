//! The contents of what the session says, one function each.
//!
//! Written as JSON rather than with the types of `jupyter-protocol`: `kernel_info_reply` lacks `supported_features` there, and its media types would read
//! a display's forms only to write them out again.

use serde_json::{Map, Value, json};

use super::cursor;
use super::fields;
use super::is_complete::Completeness;
use crate::cell::{CellError, Completion, MimeBundle, Outcome};
use crate::wire::frame::PROTOCOL_VERSION;

type Content = Map<String, Value>;

/// What the kernel says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The kernel's own version.
    pub kernel: String,
    /// The version of Rust that compiles cells, such as `1.95.0`.
    pub rust: String,
}

/// The type of the answer to a request.
pub fn type_for(request: &str) -> String {
    format!(
        "{}_reply",
        request.strip_suffix("_request").unwrap_or(request)
    )
}

pub fn ok(content: Value) -> Content {
    let mut content = fields(content);
    content.insert("status".to_owned(), json!("ok"));
    content
}

/// The answer to what cannot be done.
pub fn refused(why: &str) -> Content {
    fields(json!({"status": "error", "ename": "Request", "evalue": why, "traceback": [why]}))
}

pub fn status(execution_state: &str) -> Content {
    fields(json!({"execution_state": execution_state}))
}

pub fn kernel_info(versions: &Versions) -> Content {
    ok(json!({
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "threadbook",
        "implementation_version": versions.kernel,
        "language_info": {
            "name": "rust",
            "version": versions.rust,
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": format!("Threadbook {}, Rust {}: shows what your threads did, and whom they waited for", versions.kernel, versions.rust),
        "help_links": [
            {"text": "The Rust Programming Language", "url": "https://doc.rust-lang.org/book/"},
            {"text": "The standard library", "url": "https://doc.rust-lang.org/std/"},
        ],
        "debugger": false,
        "supported_features": ["kernel subshells"],
    }))
}

/// The answer to a cell that has come to its end, with what its expressions gave.
pub fn executed(
    execution_count: u32,
    error: Option<&CellError>,
    expressions: &Content,
    payload: &[Value],
) -> Content {
    let status = if error.is_some() { "error" } else { "ok" };
    let mut content = fields(
        json!({"status": status, "execution_count": execution_count, "user_expressions": expressions, "payload": payload}),
    );
    content.extend(error.map(self::error).unwrap_or_default());
    content
}

/// The answer to a cell that was given up.
pub fn aborted(execution_count: u32, why: &str) -> Content {
    fields(json!({
        "status": "aborted",
        "execution_count": execution_count,
        "ename": "Aborted",
        "evalue": why,
        "traceback": [],
        "user_expressions": {},
        "payload": [],
    }))
}

/// Shows something beside the notebook rather than in it.
pub fn page(bundle: &MimeBundle) -> Value {
    json!({"source": "page", "data": bundle, "start": 0})
}

/// Puts another text into the cell that was run. JupyterLab does, terminals offer it for the next input, and others do nothing.
pub fn replacement(text: &str) -> Value {
    json!({"source": "set_next_input", "text": text, "replace": true})
}

/// What one of `user_expressions` gave.
pub fn expression(outcome: Outcome) -> Value {
    Value::Object(match outcome.error {
        Some(error) => failed_expression(&error),
        None => ok(json!({"data": outcome.result.unwrap_or_default(), "metadata": {}})),
    })
}

fn failed_expression(error: &CellError) -> Content {
    let mut content = self::error(error);
    content.insert("status".to_owned(), json!("error"));
    content
}

/// The answer to a request of the Debug Adapter Protocol, in that protocol's form: there is no debugger.
pub fn no_debugger(seq: &Value, command: &Value) -> Content {
    let why = "this kernel has no debugger: the picture below a cell shows what its threads did";
    let mut content = refused(why);
    content.extend(fields(
        json!({"type": "response", "seq": 0, "request_seq": seq, "success": false, "command": command, "message": why}),
    ));
    content
}

pub fn error(error: &CellError) -> Content {
    fields(json!({"ename": error.ename, "evalue": error.evalue, "traceback": error.traceback}))
}

/// A display or a later version of one; `id` names it to later versions, and is not kept in the notebook's file.
pub fn display(bundle: MimeBundle, id: Option<String>) -> Content {
    let mut content = fields(json!({"metadata": {}, "transient": {}}));
    if let Some(id) = id {
        content.insert("transient".to_owned(), json!({"display_id": id}));
    }
    content.insert("data".to_owned(), Value::Object(bundle));
    content
}

pub fn result(execution_count: u32, bundle: MimeBundle) -> Content {
    let mut content = fields(json!({"execution_count": execution_count, "metadata": {}}));
    content.insert("data".to_owned(), Value::Object(bundle));
    content
}

/// Where an answer comes from, for whoever wonders why it knows so little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// rust-analyzer, which knows every type.
    Evaluator,
    /// The table of names, while the evaluator is busy.
    Names,
}

impl Origin {
    fn metadata(self) -> Map<String, Value> {
        match self {
            Origin::Evaluator => Map::new(),
            Origin::Names => fields(
                json!({"threadbook": {"from": "names", "because": "a cell runs, or the kernel still starts: types are known again afterwards"}}),
            ),
        }
    }
}

/// What could replace the text between two cursors.
pub fn completions(
    code: &str,
    start: usize,
    end: usize,
    matches: &[Completion],
    from: Origin,
) -> Content {
    let length = cursor::to_position(code, code.len());
    let (start, end) = (start.min(length), end.min(length));
    let texts: Vec<&str> = matches
        .iter()
        .map(|completion| completion.text.as_str())
        .collect();
    let typed: Vec<Value> = matches
        .iter()
        .map(|completion| json!({"start": start, "end": end, "text": completion.text, "type": completion.kind, "signature": completion.label}))
        .collect();
    let mut metadata = from.metadata();
    metadata.insert("_jupyter_types_experimental".to_owned(), typed.into());
    ok(json!({
        "matches": texts,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": metadata,
    }))
}

pub fn inspection(bundle: Option<MimeBundle>, from: Origin) -> Content {
    ok(
        json!({"found": bundle.is_some(), "data": bundle.unwrap_or_default(), "metadata": from.metadata()}),
    )
}

pub fn completeness(completeness: Completeness) -> Content {
    fields(match completeness {
        Completeness::Complete => json!({"status": "complete"}),
        Completeness::Incomplete { indent } => json!({"status": "incomplete", "indent": indent}),
        Completeness::Invalid => json!({"status": "invalid"}),
        Completeness::Unknown => json!({"status": "unknown"}),
    })
}

pub fn history(rows: &[Value]) -> Content {
    ok(json!({"history": rows}))
}
