//! The contents of what the session says, one function each.
//!
//! Written as JSON rather than with the types of `jupyter-protocol`: `kernel_info_reply` lacks `supported_features` there, and its media types would read
//! a display's forms only to write them out again.

use serde_json::{Map, Value, json};

use super::cursor;
use super::fields;
use super::is_complete::Completeness;
use crate::cell::{CellError, Completion, MimeBundle};
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
        "supported_features": [],
    }))
}

/// The answer to a cell that has come to its end.
pub fn executed(execution_count: u32, error: Option<&CellError>) -> Content {
    let status = if error.is_some() { "error" } else { "ok" };
    let mut content = fields(
        json!({"status": status, "execution_count": execution_count, "user_expressions": {}, "payload": []}),
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

/// What could replace the text between two cursors.
pub fn completions(code: &str, start: usize, end: usize, matches: &[Completion]) -> Content {
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
    ok(json!({
        "matches": texts,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": {"_jupyter_types_experimental": typed},
    }))
}

pub fn inspection(bundle: Option<MimeBundle>) -> Content {
    ok(json!({"found": bundle.is_some(), "data": bundle.unwrap_or_default(), "metadata": {}}))
}

pub fn completeness(completeness: Completeness) -> Content {
    fields(match completeness {
        Completeness::Complete => json!({"status": "complete"}),
        Completeness::Incomplete { indent } => json!({"status": "incomplete", "indent": indent}),
        Completeness::Invalid => json!({"status": "invalid"}),
    })
}

pub fn history(rows: &[Value]) -> Content {
    ok(json!({"history": rows}))
}
