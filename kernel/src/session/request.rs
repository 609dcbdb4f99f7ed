//! What a client can ask: the content of a request, parsed once into a type that cannot be wrong.
//!
//! The types are those of `jupyter-protocol` but for `execute_request` and `inspect_request`, where clients may leave out fields that it demands, and
//! `history_request`, whose fields have defaults in the specification.

use jupyter_protocol::messaging::{CommOpen, CompleteRequest, IsCompleteRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A request that we know, with what it asks.
#[derive(Debug)]
pub enum Request {
    KernelInfo,
    Execute(Execute),
    Complete(CompleteRequest),
    Inspect(Inspect),
    IsComplete(IsCompleteRequest),
    History(History),
    CommInfo,
    CommOpen(CommOpen),
    /// `comm_msg` and `comm_close`: both concern a comm that the kernel does not have.
    CommOther,
    Interrupt,
    Shutdown {
        restart: bool,
    },
    CreateSubshell,
    DeleteSubshell {
        subshell_id: String,
    },
    ListSubshells,
    /// A request of the Debug Adapter Protocol.
    Debug {
        seq: Value,
        command: Value,
    },
    Unknown,
}

/// Runs a cell.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Execute {
    pub code: String,
    #[serde(default)]
    pub silent: bool,
    #[serde(default = "yes")]
    pub store_history: bool,
    #[serde(default = "yes")]
    pub stop_on_error: bool,
    /// Whether the client answers questions. One that does not say so does not.
    #[serde(default)]
    pub allow_stdin: bool,
    /// What to evaluate after the cell, by the names under which the reply gives it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user_expressions: Map<String, Value>,
}

/// Asks what a name is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Inspect {
    pub code: String,
    pub cursor_pos: usize,
    /// 0: in short. Anything above: all that is known.
    #[serde(default)]
    pub detail_level: u64,
}

/// Asks for earlier cells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "hist_access_type", rename_all = "lowercase")]
pub enum History {
    Range {
        #[serde(default)]
        session: i64,
        #[serde(default)]
        start: i64,
        stop: Option<i64>,
        #[serde(default)]
        output: bool,
    },
    Tail {
        n: Option<usize>,
        #[serde(default)]
        output: bool,
    },
    Search {
        pattern: Option<String>,
        n: Option<usize>,
        #[serde(default)]
        unique: bool,
        #[serde(default)]
        output: bool,
    },
}

fn yes() -> bool {
    true
}

/// Reads a field that some clients send as `null` when they mean nothing.
fn null_is_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Request {
    /// Parses the content of a message; the error says what is wrong with it.
    pub fn parse(
        msg_type: &str,
        content: Map<String, Value>,
    ) -> Result<Request, serde_json::Error> {
        Ok(match msg_type {
            "kernel_info_request" => Request::KernelInfo,
            "execute_request" => Request::Execute(typed(content)?),
            "complete_request" => Request::Complete(typed(content)?),
            "inspect_request" => Request::Inspect(typed(content)?),
            "is_complete_request" => Request::IsComplete(typed(content)?),
            "history_request" => Request::History(typed(content)?),
            "comm_info_request" => Request::CommInfo,
            "comm_open" => Request::CommOpen(typed(content)?),
            "comm_msg" | "comm_close" => Request::CommOther,
            "interrupt_request" => Request::Interrupt,
            "shutdown_request" => Request::Shutdown {
                restart: content
                    .get("restart")
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
            },
            "create_subshell_request" => Request::CreateSubshell,
            "delete_subshell_request" => {
                #[derive(Deserialize)]
                struct Which {
                    subshell_id: String,
                }
                let Which { subshell_id } = typed(content)?;
                Request::DeleteSubshell { subshell_id }
            }
            "list_subshell_request" => Request::ListSubshells,
            "debug_request" => Request::Debug {
                seq: content.get("seq").cloned().unwrap_or_default(),
                command: content.get("command").cloned().unwrap_or_default(),
            },
            _ => Request::Unknown,
        })
    }
}

fn typed<T: DeserializeOwned>(content: Map<String, Value>) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::Object(content))
}
