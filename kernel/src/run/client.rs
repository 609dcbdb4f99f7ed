//! A kernel that a program of ours starts and talks to, over Jupyter's messaging protocol as any client does.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};
use std::{env, process};

use anyhow::{Context, bail};
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

/// Longest time that the kernel may take to listen and to answer its first request.
const KERNEL_START: Duration = Duration::from_secs(30);
/// Longest time that the kernel may take to end before it is killed.
const KERNEL_END: Duration = Duration::from_secs(10);
/// How often we look whether a kernel listens, or has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How a kernel is started and reached.
#[derive(Debug, Clone)]
pub struct Program {
    command: PathBuf,
    /// The connection file's path stands in the place of `{connection_file}`, as in a kernel spec.
    arguments: Vec<String>,
    transport: Transport,
}

impl Program {
    /// This program as a kernel, reached over sockets that are files: nobody else can take them between our choosing and the kernel's binding.
    ///
    /// # Errors
    /// When the system does not tell where this program is.
    pub fn of_ours() -> anyhow::Result<Program> {
        let arguments = ["kernel", "--connection-file", "{connection_file}"];
        Ok(Program {
            command: env::current_exe()?,
            arguments: arguments.map(str::to_owned).to_vec(),
            transport: Transport::IPC,
        })
    }

    /// Any kernel, by the `argv` of its kernel spec, reached over ports of the loopback interface as Jupyter does.
    pub fn of_spec(command: &Path, arguments: &[&str]) -> Program {
        Program {
            command: command.to_owned(),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            transport: Transport::TCP,
        }
    }

    fn connection(&self, folder: &Path) -> std::io::Result<ConnectionInfo> {
        let (ip, ports) = match self.transport {
            Transport::IPC => (
                folder.join("socket").to_string_lossy().into_owned(),
                [1, 2, 3, 4, 5],
            ),
            Transport::TCP => (Ipv4Addr::LOCALHOST.to_string(), free_ports()?),
        };
        Ok(ConnectionInfo {
            ip,
            transport: self.transport.clone(),
            shell_port: ports[0],
            iopub_port: ports[1],
            stdin_port: ports[2],
            control_port: ports[3],
            hb_port: ports[4],
            key: Uuid::new_v4().to_string(),
            signature_scheme: "hmac-sha256".to_owned(),
            kernel_name: Some("threadbook".to_owned()),
        })
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> std::io::Result<[u16; 5]> {
    let mut held = Vec::new();
    let mut ports = [0; 5];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A kernel of our own. Its processes are gone when this is dropped.
pub struct Kernel {
    child: Child,
    outbox: Outbox,
    inbox: Inbox,
    /// Names us in the headers of requests.
    session: String,
    pub(super) language_info: Option<Value>,
    /// From the start of the process to its first `kernel_info_reply`.
    ready_after: Duration,
    /// Holds the connection file and the sockets; no other user can look inside.
    _folder: PrivateFolder,
}

impl Kernel {
    /// Starts a kernel in a folder; returns when it has answered and is heard. `environment` is added to ours.
    ///
    /// # Errors
    /// When it does not start, ends, or does not answer within half a minute.
    pub async fn start(
        program: &Program,
        notebook_folder: &Path,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Kernel> {
        let folder = PrivateFolder::new()
            .context("cannot make a private folder for the kernel's sockets")?;
        let info = program
            .connection(folder.path())
            .context("cannot choose where the kernel shall listen")?;
        let connection_file = folder.path().join("kernel.json");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&connection_file)?;
        file.write_all(&serde_json::to_vec_pretty(&info)?)?;

        let file = connection_file.to_string_lossy();
        let arguments = program
            .arguments
            .iter()
            .map(|word| word.replace("{connection_file}", &file));
        let began = Instant::now();
        let mut child = Leader(Some(
            Command::new(&program.command)
                .args(arguments)
                .current_dir(notebook_folder)
                // The kernel looks after us: when we are killed, it ends.
                .env("JPY_PARENT_PID", process::id().to_string())
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .process_group(0)
                .spawn()
                .with_context(|| {
                    format!("cannot start the kernel {}", program.command.display())
                })?,
        ));
        let connected = async {
            tokio::select! {
                connected = connect(&info) => connected,
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
            ready_after: Duration::ZERO,
            _folder: folder,
        };
        time::timeout(KERNEL_START, kernel.greet(began))
            .await
            .with_context(|| format!("the kernel did not answer within {KERNEL_START:?}"))??;
        Ok(kernel)
    }

    /// The kernel's process, which leads its group.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// From the start of the process to its first `kernel_info_reply`.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Asks for the kernel's information until it is heard on iopub as well: a subscription takes effect a little after it was made.
    async fn greet(&mut self, began: Instant) -> anyhow::Result<()> {
        let mut heard = false;
        while !heard || self.language_info.is_none() {
            self.send(Channel::Shell, "kernel_info_request", json!({}))?;
            let again = time::sleep(Duration::from_millis(100));
            tokio::pin!(again);
            loop {
                tokio::select! {
                    received = self.receive() => match received? {
                        (Channel::Iopub, _) => heard = true,
                        (_, reply) => {
                            if self.language_info.is_none() {
                                self.ready_after = began.elapsed();
                            }
                            self.language_info = reply.content.get("language_info").cloned();
                        }
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

    /// Runs a cell; gives the content of its reply once everything that it published has come too, each with its type handed to `published`.
    ///
    /// # Errors
    /// When the kernel ends instead.
    pub async fn execute(
        &mut self,
        code: &str,
        mut published: impl FnMut(&str, &Map<String, Value>),
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
                (Channel::Iopub, msg_type) => published(msg_type, &message.content),
                _ => {}
            }
            if let Some(reply) = reply.take_if(|_| idle) {
                return Ok(reply);
            }
        }
    }

    /// Asks on the shell channel; gives the content of the reply.
    ///
    /// # Errors
    /// When the kernel ends instead, or `content` is no object.
    pub async fn ask(
        &mut self,
        msg_type: &str,
        content: Value,
    ) -> anyhow::Result<Map<String, Value>> {
        let id = self.send(Channel::Shell, msg_type, content)?;
        loop {
            let (channel, message) = self.receive().await?;
            let is_reply = message
                .parent
                .as_ref()
                .is_some_and(|parent| parent.msg_id == id);
            if channel == Channel::Shell && is_reply {
                return Ok(message.content);
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

    /// Asks the kernel to end, as for a restart or for good, and kills it when it does not within ten seconds.
    pub async fn end(mut self, restart: bool) {
        let asked = self.send(
            Channel::Control,
            "shutdown_request",
            json!({"restart": restart}),
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

async fn connect(info: &ConnectionInfo) -> anyhow::Result<(Outbox, Inbox)> {
    if info.transport == Transport::TCP {
        // One that tries to connect too early tries again after a while: we look more often.
        let all = [
            info.iopub_port,
            info.shell_port,
            info.control_port,
            info.stdin_port,
        ];
        let listens = async {
            for port in all {
                while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                    time::sleep(LOOK).await;
                }
            }
        };
        time::timeout(KERNEL_START, listens)
            .await
            .with_context(|| format!("the kernel did not listen within {KERNEL_START:?}"))?;
    }
    Ok(sockets::connect(info, KERNEL_START).await?)
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
    let mut looks = time::interval(LOOK);
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
