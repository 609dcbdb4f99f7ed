//! `threadbook run`: executes notebooks through the real kernel, as a client that has no window, and writes what the cells put out into the files.
//!
//! The kernel is the same binary, started in the notebook's folder and reached over sockets in a private folder. Knows nothing of evcxr.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};
use std::{env, process};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use jupyter_protocol::connection_info::{ConnectionInfo, Transport};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use tokio::time;
use uuid::Uuid;

use crate::wire::Channel;
use crate::wire::folder::PrivateFolder;
use crate::wire::frame::{Header, Message};
use crate::wire::sockets::{self, Inbox, Outbox};

mod session;

pub use session::{Session, usable_cores};

/// Longest time that the kernel may take to listen and to answer its first request.
const KERNEL_START: Duration = Duration::from_secs(30);
/// Longest time that the kernel may take to end before it is killed.
const KERNEL_END: Duration = Duration::from_secs(10);

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
    let mut kernel = Kernel::start(folder, &[]).await?;
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
    kernel.end().await;
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
    let ended = time::timeout(patience, kernel.execute(&code, &mut outputs)).await;
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

/// A kernel of our own. Its processes are gone when this is dropped.
struct Kernel {
    child: Child,
    outbox: Outbox,
    inbox: Inbox,
    /// Names us in the headers of requests.
    session: String,
    language_info: Option<Value>,
    /// Holds the connection file and the sockets; no other user can look inside.
    _folder: PrivateFolder,
}

impl Kernel {
    /// `environment` is added to ours.
    async fn start(notebook_folder: &Path, environment: &[(&str, &str)]) -> anyhow::Result<Kernel> {
        let folder = PrivateFolder::new()
            .context("cannot make a private folder for the kernel's sockets")?;
        // Files rather than ports: nobody else can take them between our choosing and the kernel's binding.
        let info = ConnectionInfo {
            ip: folder.path().join("socket").to_string_lossy().into_owned(),
            transport: Transport::IPC,
            shell_port: 1,
            iopub_port: 2,
            stdin_port: 3,
            control_port: 4,
            hb_port: 5,
            key: Uuid::new_v4().to_string(),
            signature_scheme: "hmac-sha256".to_owned(),
            kernel_name: Some("threadbook".to_owned()),
        };
        let connection_file = folder.path().join("kernel.json");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&connection_file)?;
        file.write_all(&serde_json::to_vec_pretty(&info)?)?;

        let mut child = Leader(Some(
            Command::new(env::current_exe()?)
                .arg("kernel")
                .arg("--connection-file")
                .arg(&connection_file)
                .current_dir(notebook_folder)
                // The kernel looks after us: when we are killed, it ends.
                .env("JPY_PARENT_PID", process::id().to_string())
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .process_group(0)
                .spawn()
                .context("cannot start the kernel")?,
        ));
        let connected = async {
            tokio::select! {
                connected = sockets::connect(&info, KERNEL_START) => Ok(connected?),
                status = child.exit() => bail!("the kernel ended at its start ({status}); its own message stands above"),
            }
        };
        let (outbox, inbox) = connected.await?;
        let child = child.0.take().context("the kernel is still ours")?;
        let mut kernel = Kernel {
            child,
            outbox,
            inbox,
            session: Uuid::new_v4().to_string(),
            language_info: None,
            _folder: folder,
        };
        time::timeout(KERNEL_START, kernel.greet())
            .await
            .with_context(|| format!("the kernel did not answer within {KERNEL_START:?}"))??;
        Ok(kernel)
    }

    /// Asks for the kernel's information until it is heard on iopub as well: a subscription takes effect a little after it was made.
    async fn greet(&mut self) -> anyhow::Result<()> {
        let mut heard = false;
        while !heard || self.language_info.is_none() {
            self.send(Channel::Shell, "kernel_info_request", json!({}))?;
            let again = time::sleep(Duration::from_millis(100));
            tokio::pin!(again);
            loop {
                tokio::select! {
                    received = self.receive() => match received? {
                        (Channel::Iopub, _) => heard = true,
                        (_, reply) => self.language_info = reply.content.get("language_info").cloned(),
                    },
                    () = &mut again => break,
                }
                if heard && self.language_info.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs a cell; gives the content of its reply once everything that it published has come too.
    async fn execute(
        &mut self,
        code: &str,
        outputs: &mut Outputs,
    ) -> anyhow::Result<Map<String, Value>> {
        let content = json!({"code": code, "silent": false, "store_history": true, "user_expressions": {}, "allow_stdin": false, "stop_on_error": true});
        let id = self.send(Channel::Shell, "execute_request", content)?;
        let mut reply = None;
        let mut idle = false;
        loop {
            let (channel, message) = self.receive().await?;
            if message
                .parent
                .as_ref()
                .is_none_or(|parent| parent.msg_id != id)
            {
                continue;
            }
            match (channel, message.header.msg_type.as_str()) {
                (Channel::Shell, "execute_reply") => reply = Some(message.content),
                (Channel::Iopub, "status") => {
                    idle = message
                        .content
                        .get("execution_state")
                        .is_some_and(|state| state == "idle");
                }
                (Channel::Iopub, msg_type) => outputs.add(msg_type, &message.content),
                _ => {}
            }
            if let Some(reply) = reply.take_if(|_| idle) {
                return Ok(reply);
            }
        }
    }

    fn send(&self, channel: Channel, msg_type: &str, content: Value) -> anyhow::Result<String> {
        let header = Header::new(msg_type, &self.session, SystemTime::now());
        let id = header.msg_id.clone();
        let Value::Object(content) = content else {
            bail!("the content of a {msg_type} must be an object")
        };
        let message = Message {
            identities: Vec::new(),
            header,
            parent: None,
            metadata: Map::new(),
            content,
            buffers: Vec::new(),
        };
        self.outbox.send(channel, message);
        Ok(id)
    }

    /// Waits for the next message; `Err` when the kernel ends instead.
    async fn receive(&mut self) -> anyhow::Result<(Channel, Message)> {
        let ended = exit_of(&mut self.child);
        tokio::select! {
            // What it said before its end counts.
            biased;
            received = self.inbox.recv() => received.context("the sockets have closed"),
            status = ended => bail!("the kernel ended ({status}); its own message stands above"),
        }
    }

    /// Asks the kernel to end, and kills it when it does not.
    async fn end(mut self) {
        let asked = self.send(
            Channel::Control,
            "shutdown_request",
            json!({"restart": false}),
        );
        if asked.is_err()
            || time::timeout(KERNEL_END, exit_of(&mut self.child))
                .await
                .is_err()
        {
            tracing::warn!("the kernel did not end within {KERNEL_END:?}, and was killed");
        }
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}

/// A kernel that we are not yet connected to; killed when dropped.
struct Leader(Option<Child>);

impl Leader {
    async fn exit(&mut self) -> String {
        match &mut self.0 {
            Some(child) => exit_of(child).await,
            None => "it was never started".to_owned(),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            kill(child);
        }
    }
}

/// Waits until a process has ended; says how.
async fn exit_of(child: &mut Child) -> String {
    let mut looks = time::interval(Duration::from_millis(20));
    loop {
        looks.tick().await;
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return status.to_string(),
            Err(error) => return error.to_string(),
        }
    }
}

/// Kills the kernel and what it started in its group.
fn kill(child: &mut Child) {
    // The group's number is that of its leader, and stays taken while one of its processes lives.
    if let Ok(leader) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
    if let Err(error) = child.wait() {
        tracing::warn!("cannot wait for the kernel's end: {error}");
    }
}
