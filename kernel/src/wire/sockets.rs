//! The sockets: the kernel's five, and the client's four for a kernel that we start ourselves.
//!
//! The only file that names `zeromq`. Each socket belongs to one task, which alone touches it; messages come and go through queues. What cannot be read
//! or delivered is logged in one line and forgotten: no peer can stop a socket. Knows nothing of what a message means.

use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, thread};

use bytes::Bytes;
use jupyter_protocol::connection_info::{ConnectionInfo, Transport};
use tokio::sync::{mpsc, watch};
use zeromq::{
    DealerSocket, Listener, RepSocket, RouterSocket, Socket, SocketRecv, SocketSend, SubSocket,
    ZmqError, ZmqMessage,
};

use super::Channel;
use super::folder::PrivateFolder;
use super::frame::{Message, Signer};
use super::guard::{Door, guard};
use super::publisher::{Publisher, Welcome};

/// How many received messages wait for whoever reads them; then the sockets wait too.
const INBOX: usize = 256;
/// Longest time that a message waits for room in its peer's queue.
const PATIENCE: Duration = Duration::from_millis(100);

/// Why the sockets could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel cannot listen where the connection file says.
    #[error("cannot listen on {address} (the connection file's `{field}`): {source}")]
    Bind {
        /// Where.
        address: String,
        /// The field of the connection file that says so.
        field: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The client cannot reach the kernel.
    #[error("cannot connect to the kernel at {address}: {source}")]
    Connect {
        /// Where.
        address: String,
        /// What the library said.
        source: ZmqError,
    },
    /// The library refused a socket.
    #[error("cannot serve {channel}: {source}")]
    Adopt {
        /// Which.
        channel: &'static str,
        /// What the library said.
        source: ZmqError,
    },
    /// There is no place for the doorkeeper before a socket.
    #[error("cannot stand before {channel}: {source}")]
    Guard {
        /// Which.
        channel: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The heartbeat's thread could not be started.
    #[error("cannot start the heartbeat's thread: {source}")]
    Heartbeat {
        /// What the system said.
        source: io::Error,
    },
}

/// Messages that came, with the socket that they came from.
pub type Inbox = mpsc::Receiver<(Channel, Message)>;

/// The sending ends of the sockets. When it is dropped the sockets send what they have, and close.
pub struct Outbox {
    shell: mpsc::UnboundedSender<Message>,
    control: mpsc::UnboundedSender<Message>,
    stdin: mpsc::UnboundedSender<Message>,
    /// `None` on the client's side, which only listens there.
    iopub: Option<(Publisher, Signer)>,
    /// Where the sockets behind the doorkeepers lie; removed with this. `None` on the client's side.
    _folder: Option<PrivateFolder>,
    /// The doors are open as long as this is there.
    _open: Option<watch::Sender<()>>,
}

impl Outbox {
    /// Sends a message, without waiting.
    pub fn send(&self, channel: Channel, message: Message) {
        let queue = match channel {
            Channel::Shell => &self.shell,
            Channel::Control => &self.control,
            Channel::Stdin => &self.stdin,
            Channel::Iopub => match &self.iopub {
                Some((publisher, signer)) => return publisher.send(&message.encode(signer)),
                None => {
                    return tracing::error!(
                        "{}: nobody can send on iopub but the kernel",
                        message.header.msg_type
                    );
                }
            },
        };
        if let Err(refused) = queue.send(message) {
            tracing::error!(
                "{channel}: {} was not sent, since the socket's task has ended",
                refused.0.header.msg_type
            );
        }
    }
}

/// Opens the kernel's five sockets, all of them before it returns.
///
/// `welcome` makes the message that greets a new subscription to iopub. The heartbeat lives on a thread of its own, so that it beats whatever else the
/// kernel does. To be called inside a tokio runtime.
pub async fn listen(
    info: &ConnectionInfo,
    welcome: impl Fn(&str) -> Message + Send + Sync + 'static,
) -> Result<(Outbox, Inbox), SocketError> {
    let shell = Bound::open(info, "shell_port", info.shell_port)?;
    let control = Bound::open(info, "control_port", info.control_port)?;
    let stdin = Bound::open(info, "stdin_port", info.stdin_port)?;
    let iopub = Bound::open(info, "iopub_port", info.iopub_port)?;
    let heartbeat = Bound::open(info, "hb_port", info.hb_port)?;
    let folder = PrivateFolder::new().map_err(|source| SocketError::Guard {
        channel: "the sockets",
        source,
    })?;
    let (open, still_open) = watch::channel(());
    let inside = (folder.path(), &still_open);
    let beside = (folder.path().to_owned(), still_open.clone());
    thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || beat(heartbeat, &beside.0, &beside.1))
        .map_err(|source| SocketError::Heartbeat { source })?;

    let signer = Signer::new(&info.key);
    let (incoming, inbox) = mpsc::channel(INBOX);
    let welcome: Welcome = {
        let signer = signer.clone();
        Arc::new(move |topic| welcome(topic).encode(&signer))
    };
    let outbox = Outbox {
        shell: own_both(
            shell.adopt::<RouterSocket>(inside, "shell").await?,
            Channel::Shell,
            &signer,
            &incoming,
        ),
        control: own_both(
            control.adopt::<RouterSocket>(inside, "control").await?,
            Channel::Control,
            &signer,
            &incoming,
        ),
        stdin: own_both(
            stdin.adopt::<RouterSocket>(inside, "stdin").await?,
            Channel::Stdin,
            &signer,
            &incoming,
        ),
        iopub: Some((
            Publisher::serve(iopub.0, still_open.clone(), welcome).map_err(|source| {
                SocketError::Guard {
                    channel: "iopub",
                    source,
                }
            })?,
            signer.clone(),
        )),
        _folder: Some(folder),
        _open: Some(open),
    };
    Ok((outbox, inbox))
}

/// Connects to a kernel as its client, and hears everything that it publishes. Waits until the kernel listens, at most `patience`.
pub async fn connect(
    info: &ConnectionInfo,
    patience: Duration,
) -> Result<(Outbox, Inbox), SocketError> {
    let signer = Signer::new(&info.key);
    let (incoming, inbox) = mpsc::channel(INBOX);
    // Iopub first: what the kernel says while the others connect is heard.
    let mut subscriber: SubSocket = connected(info, info.iopub_port, patience).await?;
    let address = address(info, info.iopub_port);
    subscriber
        .subscribe("")
        .await
        .map_err(|source| SocketError::Connect { address, source })?;
    own_subscriber(subscriber, signer.clone(), incoming.clone());
    let outbox = Outbox {
        shell: own_both(
            connected::<DealerSocket>(info, info.shell_port, patience).await?,
            Channel::Shell,
            &signer,
            &incoming,
        ),
        control: own_both(
            connected::<DealerSocket>(info, info.control_port, patience).await?,
            Channel::Control,
            &signer,
            &incoming,
        ),
        stdin: own_both(
            connected::<DealerSocket>(info, info.stdin_port, patience).await?,
            Channel::Stdin,
            &signer,
            &incoming,
        ),
        iopub: None,
        _folder: None,
        _open: None,
    };
    Ok((outbox, inbox))
}

async fn connected<S: Socket>(
    info: &ConnectionInfo,
    port: u16,
    patience: Duration,
) -> Result<S, SocketError> {
    let address = address(info, port);
    let mut options = zeromq::SocketOptions::default();
    options.connect_timeout(patience);
    let mut socket = S::with_options(options);
    match socket.connect(&address).await {
        Ok(()) => Ok(socket),
        Err(source) => Err(SocketError::Connect { address, source }),
    }
}

/// Writes an address as ZeroMQ does.
fn address(info: &ConnectionInfo, port: u16) -> String {
    match info.transport {
        Transport::TCP => format!("tcp://{}:{port}", info.ip),
        Transport::IPC => format!("ipc://{}-{port}", info.ip),
    }
}

/// A place that the kernel listens at already, and that no socket serves yet.
struct Bound(Door);

impl Bound {
    fn open(info: &ConnectionInfo, field: &'static str, port: u16) -> Result<Bound, SocketError> {
        let bound = match info.transport {
            Transport::TCP => {
                let ip = if info.ip == "*" { "0.0.0.0" } else { &info.ip };
                TcpListener::bind((ip, port)).map(Door::Tcp)
            }
            Transport::IPC => bind_path(&format!("{}-{port}", info.ip)).map(Door::Ipc),
        };
        bound.map(Bound).map_err(|source| SocketError::Bind {
            address: address(info, port),
            field,
            source,
        })
    }

    /// Lets a socket of the library serve this place, behind a doorkeeper. `inside`: where that socket lies, and how long the door is open.
    async fn adopt<S: Socket>(
        self,
        (folder, open): (&Path, &watch::Receiver<()>),
        channel: &'static str,
    ) -> Result<S, SocketError> {
        let listener: Listener = guard(self.0, folder, channel, open.clone())
            .map_err(|source| SocketError::Guard { channel, source })?
            .into();
        let mut socket = S::new();
        match socket.bind_listener(listener).await {
            Ok(_) => Ok(socket),
            Err(source) => Err(SocketError::Adopt { channel, source }),
        }
    }
}

/// Listens at a path, also when a kernel that was killed left its socket there.
fn bind_path(path: &str) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(error),
        },
        bound => bound,
    }
}

/// Starts the task that owns a socket of both directions; gives the queue of what it is to send.
fn own_both<S>(
    mut socket: S,
    channel: Channel,
    signer: &Signer,
    incoming: &mpsc::Sender<(Channel, Message)>,
) -> mpsc::UnboundedSender<Message>
where
    S: SocketRecv + SocketSend + Send + 'static,
{
    let (queue, mut outgoing) = mpsc::unbounded_channel();
    let (signer, incoming) = (signer.clone(), incoming.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                received = socket.recv() => match read(channel, received, &signer) {
                    Some(message) => if incoming.send((channel, message)).await.is_err() { break },
                    None => tokio::task::yield_now().await,
                },
                message = outgoing.recv() => match message {
                    Some(message) => write(&mut socket, channel, message, &signer).await,
                    None => break,
                },
            }
        }
        // The receiver may be gone before the last replies are: those of a shutdown.
        while let Some(message) = outgoing.recv().await {
            write(&mut socket, channel, message, &signer).await;
        }
    });
    queue
}

/// Starts the task that owns the client's end of iopub.
fn own_subscriber(
    mut socket: SubSocket,
    signer: Signer,
    incoming: mpsc::Sender<(Channel, Message)>,
) {
    tokio::spawn(async move {
        loop {
            tokio::select! {
                received = socket.recv() => match read(Channel::Iopub, received, &signer) {
                    Some(message) => if incoming.send((Channel::Iopub, message)).await.is_err() { return },
                    None => tokio::task::yield_now().await,
                },
                () = incoming.closed() => return,
            }
        }
    });
}

fn read(
    channel: Channel,
    received: Result<ZmqMessage, ZmqError>,
    signer: &Signer,
) -> Option<Message> {
    let parts = match received {
        Ok(parts) => parts.into_vec(),
        Err(error) => {
            tracing::warn!("{channel}: a peer sent what is no message, and was dropped: {error}");
            return None;
        }
    };
    let peer = parts.first().map(name_of);
    match Message::decode(parts, signer) {
        Ok(message) => Some(message),
        Err(error) => {
            tracing::warn!(
                "{channel}: dropped a message from peer {}: {error}",
                peer.unwrap_or_default()
            );
            None
        }
    }
}

async fn write<S: SocketSend>(socket: &mut S, channel: Channel, message: Message, signer: &Signer) {
    let msg_type = message.header.msg_type.clone();
    let peer = message.identities.first().map(name_of).unwrap_or_default();
    let parts =
        ZmqMessage::try_from(message.encode(signer)).expect("a message has at least the delimiter");
    // The library waits when a hundred thousand messages wait for one peer: such a peer does not read, and the others are not to wait for it.
    match tokio::time::timeout(PATIENCE, socket.send(parts)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!("{channel}: {msg_type} did not reach peer {peer}: {error}");
        }
        Err(_) => tracing::warn!("{channel}: {msg_type} was dropped: peer {peer} does not read"),
    }
}

/// The first bytes of an identity, which may be any bytes at all, in a form fit for a log.
fn name_of(identity: &Bytes) -> String {
    identity[..identity.len().min(16)]
        .escape_ascii()
        .to_string()
}

/// Sends back whatever comes, for as long as the process lives.
fn beat(bound: Bound, folder: &Path, open: &watch::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!("no heartbeat: its runtime did not start: {error}"),
    };
    runtime.block_on(async {
        let mut socket: RepSocket = match bound.adopt((folder, open), "heartbeat").await {
            Ok(socket) => socket,
            Err(error) => return tracing::error!("no heartbeat: {error}"),
        };
        loop {
            match socket.recv().await {
                Ok(ping) => {
                    if let Err(error) = socket.send(ping).await {
                        tracing::warn!("heartbeat: a pong was not delivered: {error}");
                    }
                }
                Err(error) => {
                    tracing::warn!("heartbeat: a peer sent what is no ping: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }
    });
}
