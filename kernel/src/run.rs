//! `threadbook run`: executes notebooks through the real kernel, as a client that has no window, and writes what the cells put out into the files.
//!
//! The kernel is the same binary, started in the notebook's folder (`client`). Knows nothing of evcxr.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use tokio::time;

pub mod client;
mod session;

use client::{Kernel, Program};
pub use session::{Session, usable_cores};

/// How notebooks are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest time that one cell may take.
    pub cell_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cell_timeout: Duration::from_secs(120),
        }
    }
}

/// Runs notebooks one after the other and writes their outputs into them; `Ok(false)` when a cell did what it should not, which was then said on stderr.
///
/// Stops at the first such cell; the outputs up to it are written. `Err` when there was no running at all: a file that is no notebook, a kernel that
/// does not start. No kernel process is left behind, whatever happens.
pub fn run_notebooks(paths: &[PathBuf], options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for path in paths {
        let mut notebook = read(path)?;
        let ran = runtime.block_on(run(path, &mut notebook, options));
        // Also after a failure: what the cells said is the best account of it.
        write(path, &notebook)?;
        if let Some(failure) = ran? {
            eprintln!("{}: {failure}", path.display());
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs one notebook; `Some` says which cell did what it should not.
async fn run(
    path: &Path,
    notebook: &mut Value,
    options: &Options,
) -> anyhow::Result<Option<String>> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let cells = notebook["cells"]
        .as_array_mut()
        .context("checked when it was read")?;

    let progress = ProgressBar::new(cells.len() as u64);
    progress.set_style(ProgressStyle::with_template(
        "{msg} {wide_bar} cell {pos} of {len}, {elapsed}",
    )?);
    progress.set_message(format!("{name}: starting the kernel"));
    progress.enable_steady_tick(Duration::from_millis(200));
    let mut kernel = Kernel::start(&Program::of_ours()?, folder, &[]).await?;
    progress.set_message(name);

    let mut failure = None;
    // Counted as people see them: by the number in brackets, which only code cells that are run have.
    let runs = |cell: &Value| cell["cell_type"] == "code" && !has_tag(cell, "skip-execution");
    let total = cells.iter().filter(|cell| runs(cell)).count();
    progress.set_length(total as u64);
    let mut updates = Vec::new();
    for (at, cell) in cells.iter_mut().filter(|cell| runs(cell)).enumerate() {
        progress.set_position(at as u64 + 1);
        if let Some(problem) =
            run_cell(&mut kernel, cell, options.cell_timeout, &mut updates).await?
        {
            failure = Some(format!("code cell {} of {total} {problem}", at + 1));
            break;
        }
    }
    bring_up_to_date(cells, &updates);
    remove_transient(cells);
    progress.finish_and_clear();
    let language_info = kernel.language_info.take();
    kernel.end(false).await;
    if let (Some(metadata), Some(language_info)) =
        (notebook["metadata"].as_object_mut(), language_info)
    {
        metadata.insert("language_info".to_owned(), language_info);
    }
    Ok(failure)
}

/// Runs one cell and puts into it what it gives, and later versions of displays behind `updates`; `Some` says in what way it is not as it should be.
async fn run_cell(
    kernel: &mut Kernel,
    cell: &mut Value,
    patience: Duration,
    updates: &mut Vec<Map<String, Value>>,
) -> anyhow::Result<Option<String>> {
    let code = joined(&cell["source"]);
    cell["outputs"] = json!([]);
    cell["execution_count"] = Value::Null;
    if code.trim().is_empty() {
        return Ok(None);
    }
    let mut outputs = Outputs::default();
    let executed = kernel.execute(&code, |msg_type, content| outputs.add(msg_type, content));
    let ended = time::timeout(patience, executed).await;
    let last_words = outputs.last_words();
    cell["outputs"] = Value::Array(outputs.list);
    updates.append(&mut outputs.updates);
    let reply = match ended {
        Ok(Ok(reply)) => reply,
        Ok(Err(error)) => {
            return Ok(Some(format!(
                "was not run to its end: {error:#}{last_words}"
            )));
        }
        Err(_) => {
            return Ok(Some(format!(
                "did not end within {patience:?}: let it do less, or give it more time{last_words}"
            )));
        }
    };
    cell["execution_count"] = reply["execution_count"].clone();
    let failed = reply["status"] != "ok";
    Ok(match (failed, has_tag(cell, "raises-exception")) {
        (false, false) | (true, true) => None,
        (false, true) => Some(
            "is tagged `raises-exception`, but did not fail: remove the tag, or mend the cell"
                .to_owned(),
        ),
        (true, false) => Some(format!("failed: {}", account_of(&reply))),
    })
}

/// What a failed cell's reply says, as plain text.
fn account_of(reply: &Map<String, Value>) -> String {
    let text = |field: &str| {
        reply
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let traceback = reply
        .get("traceback")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let lines: Vec<&str> = traceback.iter().filter_map(Value::as_str).collect();
    without_colours(
        format!(
            "{}: {}\n{}",
            text("ename"),
            text("evalue"),
            lines.join("\n")
        )
        .trim_end(),
    )
}

/// Drops terminal control sequences: `ESC [`, then anything up to a letter.
fn without_colours(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence
            .trim_start_matches(|c: char| !c.is_ascii_alphabetic())
            .get(1..)
            .unwrap_or_default();
    }
    plain + rest
}

fn has_tag(cell: &Value, tag: &str) -> bool {
    cell["metadata"]["tags"]
        .as_array()
        .is_some_and(|tags| tags.iter().any(|found| found == tag))
}

/// A notebook's text, which is a string or a list of lines.
fn joined(text: &Value) -> String {
    match text {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// A text as notebooks keep it: a list of lines with their ends, so that differences between versions can be read.
fn as_lines(text: &str) -> Value {
    text.split_inclusive('\n').collect()
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read(path).with_context(|| format!("cannot read the notebook {}", path.display()))?;
    let notebook: Value = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no notebook: it is not JSON", path.display()))?;
    if notebook["nbformat"] != 4 {
        bail!(
            "{} is no notebook of format 4 (its `nbformat` is {}): open and save it in JupyterLab",
            path.display(),
            notebook["nbformat"]
        );
    }
    let whole = notebook["cells"]
        .as_array()
        .is_some_and(|cells| cells.iter().all(Value::is_object));
    if !whole {
        bail!(
            "{} is no notebook: `cells` is not a list of cells",
            path.display()
        );
    }
    Ok(notebook)
}

/// Replaces a notebook by its new text at once: whoever reads it sees the old one or the new one.
fn write(path: &Path, notebook: &Value) -> anyhow::Result<()> {
    let failed = || format!("cannot write the notebook {}", path.display());
    // A link to a notebook stays a link.
    let path = fs::canonicalize(path).with_context(failed)?;
    let mut text = Vec::new();
    // One space, as Jupyter does.
    let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
    serde::Serialize::serialize(
        notebook,
        &mut serde_json::Serializer::with_formatter(&mut text, format),
    )?;
    text.push(b'\n');
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))
        .with_context(failed)?;
    file.write_all(&text).with_context(failed)?;
    file.as_file()
        .set_permissions(fs::metadata(&path)?.permissions())
        .with_context(failed)?;
    file.persist(&path).with_context(failed)?;
    Ok(())
}

/// The outputs of a cell, as a notebook keeps them.
#[derive(Default)]
struct Outputs {
    list: Vec<Value>,
    /// Text of the stream that is the last output, not yet cut into lines.
    stream: String,
    /// Whether the next output replaces all that there are.
    clear_next: bool,
    /// Later versions of displays, also of earlier cells': what [`bring_up_to_date`] takes.
    updates: Vec<Map<String, Value>>,
}

impl Outputs {
    /// Adds what a message shows; other messages are left alone.
    fn add(&mut self, msg_type: &str, content: &Map<String, Value>) {
        let field = |name: &str| content.get(name).cloned().unwrap_or_default();
        let object = |name: &str| content.get(name).cloned().unwrap_or_else(|| json!({}));
        let output = match msg_type {
            "clear_output" if field("wait") == true => {
                self.clear_next = true;
                return;
            }
            "clear_output" => return self.list.clear(),
            "stream" => json!({"name": field("name"), "output_type": "stream", "text": []}),
            "update_display_data" => {
                self.updates.push(content.clone());
                return;
            }
            // `transient` is taken out again when no later version can come any more.
            "display_data" => json!({
                "data": in_lines(object("data")), "metadata": object("metadata"), "output_type": msg_type, "transient": object("transient"),
            }),
            "execute_result" => json!({
                "data": in_lines(object("data")), "execution_count": field("execution_count"), "metadata": object("metadata"), "output_type": msg_type,
            }),
            "error" => {
                json!({"ename": field("ename"), "evalue": field("evalue"), "output_type": "error", "traceback": field("traceback")})
            }
            _ => return,
        };
        if std::mem::take(&mut self.clear_next) {
            self.list.clear();
        }
        let goes_on = msg_type == "stream"
            && self.list.last().is_some_and(|last| {
                last["output_type"] == "stream" && last["name"] == output["name"]
            });
        if !goes_on {
            self.list.push(output);
            self.stream.clear();
        }
        if msg_type == "stream"
            && let Some(last) = self.list.last_mut()
        {
            self.stream
                .push_str(field("text").as_str().unwrap_or_default());
            last["text"] = as_lines(&self.stream);
        }
    }

    /// The last lines that were printed, for the account of a cell that did not come to its end.
    fn last_words(&self) -> String {
        let printed = self
            .list
            .iter()
            .rev()
            .find(|output| output["output_type"] == "stream")
            .map(|output| joined(&output["text"]));
        let Some(printed) = printed else {
            return "\nit printed nothing".to_owned();
        };
        let lines: Vec<&str> = printed.lines().collect();
        format!(
            "\nthe last that it printed:\n{}",
            lines[lines.len().saturating_sub(5)..].join("\n")
        )
    }
}

/// Gives displays their later versions, in the order in which those came, wherever the displays are.
fn bring_up_to_date(cells: &mut [Value], updates: &[Map<String, Value>]) {
    for update in updates {
        let id = &update["transient"]["display_id"];
        for output in outputs_of(cells).filter(|output| output["transient"]["display_id"] == *id) {
            output["data"] = in_lines(update["data"].clone());
            output["metadata"] = update["metadata"].clone();
        }
    }
}

/// Takes out what a notebook's file does not keep.
fn remove_transient(cells: &mut [Value]) {
    for output in outputs_of(cells).filter_map(Value::as_object_mut) {
        output.remove("transient");
    }
}

fn outputs_of(cells: &mut [Value]) -> impl Iterator<Item = &mut Value> {
    cells
        .iter_mut()
        .filter_map(|cell| cell.get_mut("outputs")?.as_array_mut())
        .flatten()
}

/// A display's forms with texts as lists of lines; JSON stays as it is.
fn in_lines(mut data: Value) -> Value {
    for (_, form) in data.as_object_mut().into_iter().flatten() {
        if let Value::String(text) = form {
            *form = as_lines(text);
        }
    }
    data
}
