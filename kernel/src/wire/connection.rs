//! The connection file: where the sockets are, and the key that signs every message.
//!
//! Read strictly, since a kernel that listens at the wrong place only ever looks like one that hangs: an error names the file, the field and what is
//! wrong with it, in one line.
//! Rules: <https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files>.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use jupyter_protocol::connection_info::{ConnectionInfo, Transport};
use serde_json::{Map, Value};

/// The fields that hold ports, in the order in which they are checked.
const PORTS: [&str; 5] = [
    "shell_port",
    "iopub_port",
    "stdin_port",
    "control_port",
    "hb_port",
];

/// Why a connection file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It could not be opened or read.
    #[error("connection file {}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not JSON.
    #[error("connection file {}: is not JSON: {source}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// It is JSON, but no object.
    #[error("connection file {}: is {found}, not a JSON object", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
    },
    /// One field is missing or wrong.
    #[error("connection file {}: field `{field}`: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a connection file.
///
/// Fields that it does not know are left alone, since clients add their own. Logs a warning when other users can read the key, or put another one there.
pub fn read(path: &Path) -> Result<ConnectionInfo, ConnectionError> {
    let unreadable = |source| ConnectionError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let text = fs::read(path).map_err(unreadable)?;
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o066 != 0 {
        tracing::warn!(
            "connection file {}: other users can read or change it (mode {:o}), and with it the key that signs messages; run `chmod 600` on it",
            path.display(),
            mode & 0o777
        );
    }
    let value = serde_json::from_slice(&text).map_err(|source| ConnectionError::NotJson {
        path: path.to_owned(),
        source,
    })?;
    let Value::Object(fields) = value else {
        return Err(ConnectionError::NotAnObject {
            path: path.to_owned(),
            found: kind_of(&value).to_owned(),
        });
    };
    parse(&fields).map_err(|(field, problem)| ConnectionError::Field {
        path: path.to_owned(),
        field,
        problem,
    })
}

/// A field's name, and what is wrong with it.
type Problem = (&'static str, String);

fn parse(fields: &Map<String, Value>) -> Result<ConnectionInfo, Problem> {
    let transport = match text(fields, "transport")? {
        "tcp" => Transport::TCP,
        "ipc" => Transport::IPC,
        other => return Err(("transport", format!("is {other:?}, not \"tcp\" or \"ipc\""))),
    };
    let ip = text(fields, "ip")?;
    if ip.is_empty() {
        return Err(("ip", "is empty".to_owned()));
    }
    let key = text(fields, "key")?;
    let scheme = text(fields, "signature_scheme")?;
    if scheme != "hmac-sha256" {
        return Err((
            "signature_scheme",
            format!("is {scheme:?}, and only \"hmac-sha256\" is supported"),
        ));
    }
    let mut ports = [0; 5];
    for (i, field) in PORTS.into_iter().enumerate() {
        ports[i] = port(fields, field)?;
        if let Some(same) = ports[..i].iter().position(|&earlier| earlier == ports[i]) {
            return Err((
                field,
                format!("is {}, which is also `{}`", ports[i], PORTS[same]),
            ));
        }
    }
    let [shell_port, iopub_port, stdin_port, control_port, hb_port] = ports;
    Ok(ConnectionInfo {
        ip: ip.to_owned(),
        transport,
        shell_port,
        iopub_port,
        stdin_port,
        control_port,
        hb_port,
        key: key.to_owned(),
        signature_scheme: scheme.to_owned(),
        kernel_name: fields
            .get("kernel_name")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}

fn text<'a>(fields: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Problem> {
    let value = fields.get(field).ok_or((field, "is missing".to_owned()))?;
    value
        .as_str()
        .ok_or_else(|| (field, format!("is {}, not a string", kind_of(value))))
}

fn port(fields: &Map<String, Value>, field: &'static str) -> Result<u16, Problem> {
    let value = fields.get(field).ok_or((field, "is missing".to_owned()))?;
    let number = value
        .as_u64()
        .and_then(|number| u16::try_from(number).ok())
        .filter(|&number| number != 0);
    number.ok_or_else(|| {
        let found = if value.is_number() {
            value.to_string()
        } else {
            kind_of(value).to_owned()
        };
        (
            field,
            format!("is {found}, not a port number from 1 to 65535"),
        )
    })
}

/// Names a value's type, never its content: it may be the key.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "shell_port": 5001, "iopub_port": 5002, "stdin_port": 5003, "control_port": 5004, "hb_port": 5005, "ip": "127.0.0.1",
            "key": "5d3e", "transport": "tcp", "signature_scheme": "hmac-sha256", "kernel_name": "threadbook", "jupyter_session": "x.ipynb",
        })
    }

    fn read_text(text: &str) -> Result<ConnectionInfo, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kernel.json");
        fs::write(&path, text).unwrap();
        read(&path).map_err(|error| {
            error
                .to_string()
                .replace(&*dir.path().to_string_lossy(), "")
        })
    }

    #[test]
    fn a_whole_file_is_read() {
        let info = read_text(&good().to_string()).unwrap();
        assert_eq!(
            (info.shell_url().as_str(), info.hb_port, info.key.as_str()),
            ("tcp://127.0.0.1:5001", 5005, "5d3e")
        );
        let mut unsigned = good();
        unsigned["key"] = json!("");
        assert_eq!(
            read_text(&unsigned.to_string()).unwrap().key,
            "",
            "an empty key means unsigned messages"
        );
    }

    #[test]
    fn a_bad_file_is_refused_in_one_line_that_names_the_field() {
        let cases = [
            ("shell_port", None, "is missing"),
            (
                "shell_port",
                Some(json!(0)),
                "is 0, not a port number from 1 to 65535",
            ),
            ("hb_port", Some(json!(65536)), "is 65536, not a port number"),
            ("iopub_port", Some(json!(-1)), "is -1, not a port number"),
            (
                "stdin_port",
                Some(json!("5003")),
                "is a string, not a port number",
            ),
            (
                "control_port",
                Some(json!(5001)),
                "is 5001, which is also `shell_port`",
            ),
            ("ip", None, "is missing"),
            ("ip", Some(json!("")), "is empty"),
            ("key", None, "is missing"),
            ("key", Some(json!(7)), "is a number, not a string"),
            (
                "transport",
                Some(json!("udp")),
                "is \"udp\", not \"tcp\" or \"ipc\"",
            ),
            (
                "signature_scheme",
                Some(json!("hmac-md5")),
                "is \"hmac-md5\", and only \"hmac-sha256\" is supported",
            ),
            ("signature_scheme", None, "is missing"),
        ];
        for (field, value, problem) in cases {
            let mut file = good();
            match value {
                Some(value) => file[field] = value,
                None => drop(file.as_object_mut().unwrap().remove(field)),
            }
            let error = read_text(&file.to_string()).unwrap_err();
            let want = format!("connection file /kernel.json: field `{field}`: {problem}");
            assert!(
                error.starts_with(&want) && !error.contains('\n'),
                "{error}\nwanted {want}"
            );
        }
        for (text, want) in [
            ("", "is not JSON"),
            ("{", "is not JSON"),
            ("[]", "is an array, not a JSON object"),
            ("\"5d3e\"", "is a string, not"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(
                error.contains(want) && !error.contains('\n'),
                "{text:?}: {error}"
            );
        }
        let missing = read(Path::new("/nowhere/kernel.json"))
            .unwrap_err()
            .to_string();
        assert!(
            missing.contains("/nowhere/kernel.json: cannot be read: No such file"),
            "{missing}"
        );
    }
}
