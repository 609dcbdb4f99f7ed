//! The kernel's end of iopub: an XPUB socket that welcomes its subscribers, and that none of them can hold up.
//!
//! The library has a PUB socket, which cannot say who subscribed, and an XPUB socket, whose `send` waits for the slowest subscriber: one that never read
//! stopped all of them after 1,514 messages of 16 KiB. So this speaks ZMTP itself, which for a publisher is little: a greeting, `READY`, and subscriptions
//! that come in. Each subscriber has a queue of its own with a limit in bytes, and a task that writes it; publishing puts references into queues and never
//! waits. Of a subscriber that does not read, the messages beyond the limit are dropped, the long ones first, so that what says how a cell ended is the last to go.
//! Rules: <https://rfc.zeromq.org/spec/23/> (ZMTP 3.0, NULL) and <https://rfc.zeromq.org/spec/29/> (XPUB).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, watch};
use tokio::time;

use super::guard::Door;

/// How many bytes wait for one subscriber; then its long messages are dropped.
const QUEUED_BYTES: usize = 64 << 20;
/// Short messages, such as a status, are dropped only above this.
const QUEUED_BYTES_AT_MOST: usize = 72 << 20;
/// What counts as short, in bytes.
const SHORT: usize = 4 << 10;
/// The longest frame that a subscriber may send: a subscription, or a command.
const LONGEST_FRAME: u64 = 64 << 10;
/// How many subscriptions one peer may have.
const SUBSCRIPTIONS: usize = 1_000;
/// How many peers there may be at once.
const PEERS: usize = 1_000;
/// Longest time that a peer may take to introduce itself.
const HANDSHAKE: Duration = Duration::from_secs(30);

const GREETING_BYTES: usize = 64;
const MORE: u8 = 0b001;
const LONG: u8 = 0b010;
const COMMAND: u8 = 0b100;

/// Makes the message that greets a new subscription, as parts.
pub type Welcome = Arc<dyn Fn(&str) -> Vec<Bytes> + Send + Sync>;

/// The sending end. When the last clone is dropped, what is queued is still written, and the peers are let go.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    peers: Mutex<Vec<Arc<Peer>>>,
    welcome: Welcome,
}

struct Peer {
    queue: Mutex<Queue>,
    /// Told when there is something new in the queue, or it is closed.
    news: Notify,
}

#[derive(Default)]
struct Queue {
    subscriptions: Vec<Bytes>,
    /// Whole messages as they go over the wire.
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// How many were dropped since the last one that was not.
    dropped: u64,
    closed: bool,
}

impl Publisher {
    /// Serves `door` until `open` changes or its sender is dropped; whoever is connected then is served as long as the publisher lives. To be called
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// When the system refuses the listener.
    pub fn serve(
        door: Door,
        mut open: watch::Receiver<()>,
        welcome: Welcome,
    ) -> io::Result<Publisher> {
        let shared = Arc::new(Shared {
            peers: Mutex::default(),
            welcome,
        });
        // The tasks must not keep the publisher alive.
        let room = Arc::downgrade(&shared);
        let serve = move |accepted: io::Result<Stream>| {
            let room = room.clone();
            async move {
                match (accepted, room.upgrade()) {
                    (Ok((from, to)), Some(shared)) => shared.admit(from, to),
                    (Err(error), _) => {
                        // Mostly the process is out of descriptors, which passes when others hang up.
                        tracing::warn!("iopub: a connection was not taken: {error}");
                        time::sleep(Duration::from_millis(50)).await;
                    }
                    (_, None) => {}
                }
            }
        };
        match door {
            Door::Tcp(door) => {
                door.set_nonblocking(true)?;
                let door = TcpListener::from_std(door)?;
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            accepted = door.accept() => serve(accepted.map(|(peer, _)| {
                                // Small messages are to leave at once, as ZeroMQ itself has it.
                                let _ = peer.set_nodelay(true);
                                let (from, to) = peer.into_split();
                                (Box::new(from) as Reads, Box::new(to) as Writes)
                            })).await,
                            _ = open.changed() => return,
                        }
                    }
                });
            }
            Door::Ipc(door) => {
                door.set_nonblocking(true)?;
                let door = UnixListener::from_std(door)?;
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            accepted = door.accept() => serve(accepted.map(|(peer, _)| {
                                let (from, to) = peer.into_split();
                                (Box::new(from) as Reads, Box::new(to) as Writes)
                            })).await,
                            _ = open.changed() => return,
                        }
                    }
                });
            }
        }
        Ok(Publisher { shared })
    }

    /// Publishes a message to all that have subscribed to its first part. Never waits: costs one copy of the message, and a reference for each of them.
    pub fn send(&self, parts: &[Bytes]) {
        let Some(topic) = parts.first() else { return };
        let peers = self
            .shared
            .peers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if peers.is_empty() {
            return;
        }
        let message = framed(parts);
        for peer in peers.iter() {
            peer.offer(topic, &message);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for peer in self.peers.get_mut().unwrap_or_else(PoisonError::into_inner) {
            peer.close();
        }
    }
}

type Reads = Box<dyn AsyncRead + Send + Unpin>;
type Writes = Box<dyn AsyncWrite + Send + Unpin>;
type Stream = (Reads, Writes);

impl Shared {
    /// Starts the task of a new peer.
    fn admit(self: Arc<Shared>, from: Reads, to: Writes) {
        let peer = Arc::new(Peer {
            queue: Mutex::default(),
            news: Notify::new(),
        });
        {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            if peers.len() >= PEERS {
                return tracing::warn!(
                    "iopub: {PEERS} peers are connected, so another one was turned away"
                );
            }
            peers.push(Arc::clone(&peer));
        }
        let (welcome, room) = (Arc::clone(&self.welcome), Arc::downgrade(&self));
        tokio::spawn(async move {
            match peer.serve(from, to, &welcome).await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!("iopub: a peer was shown out: {error}");
                }
                // It hung up, as everybody does in the end.
                _ => {}
            }
            if let Some(shared) = room.upgrade() {
                let mut peers = shared.peers.lock().unwrap_or_else(PoisonError::into_inner);
                peers.retain(|other| !Arc::ptr_eq(other, &peer));
            }
        });
    }
}

impl Peer {
    /// Queues a message when the peer wants it and has room for it.
    fn offer(&self, topic: &[u8], message: &Bytes) {
        let mut queue = self.lock();
        if !queue
            .subscriptions
            .iter()
            .any(|wanted| topic.starts_with(wanted))
        {
            return;
        }
        let limit = if message.len() <= SHORT {
            QUEUED_BYTES_AT_MOST
        } else {
            QUEUED_BYTES
        };
        if queue.bytes + message.len() > limit {
            if queue.dropped == 0 {
                tracing::warn!(
                    "iopub: a subscriber does not read, with {} bytes waiting for it: messages to it are dropped",
                    queue.bytes
                );
            }
            queue.dropped += 1;
            return;
        }
        if queue.dropped > 0 && message.len() > SHORT {
            tracing::warn!(
                "iopub: a subscriber reads again; {} messages to it were dropped",
                queue.dropped
            );
            queue.dropped = 0;
        }
        queue.bytes += message.len();
        queue.messages.push_back(message.clone());
        drop(queue);
        self.news.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Introduces itself, then reads subscriptions and writes messages until either side ends. `Ok` when the kernel did.
    async fn serve(&self, mut from: Reads, mut to: Writes, welcome: &Welcome) -> io::Result<()> {
        time::timeout(HANDSHAKE, handshake(&mut from, &mut to))
            .await
            .map_err(|_| bad("it did not introduce itself"))??;
        // Whichever ends first ends both: a peer that is gone wants no message, and after the last message nothing is read.
        tokio::select! {
            ended = self.read(&mut from, welcome) => ended,
            ended = self.write(&mut to) => ended,
        }
    }

    async fn read(&self, from: &mut Reads, welcome: &Welcome) -> io::Result<()> {
        loop {
            let (flags, body) = read_frame(from).await?;
            let (subscribes, topic) = match (flags & COMMAND != 0, &body[..]) {
                (false, [1, topic @ ..]) => (true, topic),
                (false, [0, topic @ ..]) => (false, topic),
                // ZMTP 3.1 has commands for it.
                (true, [9, rest @ ..]) if rest.starts_with(b"SUBSCRIBE") => (true, &rest[9..]),
                (true, [6, rest @ ..]) if rest.starts_with(b"CANCEL") => (false, &rest[6..]),
                // Other messages to a publisher go nowhere, says the specification.
                _ => continue,
            };
            self.subscribe(subscribes, topic, welcome)?;
        }
    }

    fn subscribe(&self, subscribes: bool, topic: &[u8], welcome: &Welcome) -> io::Result<()> {
        let mut queue = self.lock();
        if !subscribes {
            let known = queue.subscriptions.iter().position(|known| known == topic);
            known.map(|at| queue.subscriptions.swap_remove(at));
            return Ok(());
        }
        if queue.subscriptions.len() >= SUBSCRIPTIONS {
            return Err(bad("it has too many subscriptions"));
        }
        queue.subscriptions.push(Bytes::copy_from_slice(topic));
        drop(queue);
        // The words of the protocol are text; who subscribes to other bytes is not greeted.
        if let Ok(topic) = str::from_utf8(topic) {
            let parts = welcome(topic);
            if let Some(first) = parts.first() {
                self.offer(first, &framed(&parts));
            }
        }
        Ok(())
    }

    async fn write(&self, to: &mut Writes) -> io::Result<()> {
        loop {
            let next = {
                let mut queue = self.lock();
                let next = queue.messages.pop_front();
                if next.is_none() && queue.closed {
                    break;
                }
                next
            };
            match next {
                Some(message) => {
                    to.write_all(&message).await?;
                    // Freed only now: what the system has not taken is still ours to hold.
                    self.lock().bytes -= message.len();
                }
                None => self.news.notified().await,
            }
        }
        to.shutdown().await
    }
}

/// Exchanges greetings and `READY`.
async fn handshake(from: &mut Reads, to: &mut Writes) -> io::Result<()> {
    let mut greeting = [0; GREETING_BYTES];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    to.write_all(&greeting).await?;
    let mut theirs = [0; GREETING_BYTES];
    from.read_exact(&mut theirs).await?;
    if (theirs[0], theirs[9]) != (0xff, 0x7f) || theirs[10] < 3 {
        return Err(bad("it does not speak ZMTP 3"));
    }
    if theirs[12..32] != greeting[12..32] {
        return Err(bad("it wants another security mechanism than NULL"));
    }
    let property = |name: &str, value: &str| {
        let mut bytes = vec![u8::try_from(name.len()).expect("names are short")];
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(
            &u32::try_from(value.len())
                .expect("values are short")
                .to_be_bytes(),
        );
        bytes.extend_from_slice(value.as_bytes());
        bytes
    };
    let mut ready = b"\x05READY".to_vec();
    ready.extend(property("Socket-Type", "XPUB"));
    let mut frame = BytesMut::new();
    put_frame(&mut frame, COMMAND, &ready);
    to.write_all(&frame).await?;
    let (flags, body) = read_frame(from).await?;
    if flags & COMMAND == 0 || !body.starts_with(b"\x05READY") {
        return Err(bad("it did not say READY"));
    }
    // Their properties are names and values too; one of them is the kind of their socket.
    let is_subscriber = ["SUB", "XSUB"].iter().any(|kind| {
        let wanted = property("Socket-Type", kind);
        body.windows(wanted.len())
            .any(|found| found.eq_ignore_ascii_case(&wanted))
    });
    match is_subscriber {
        true => Ok(()),
        false => Err(bad("it is no subscriber")),
    }
}

/// Reads one frame: its flags and its body.
async fn read_frame(from: &mut Reads) -> io::Result<(u8, Vec<u8>)> {
    let flags = from.read_u8().await?;
    let length = match flags & LONG != 0 {
        true => from.read_u64().await?,
        false => u64::from(from.read_u8().await?),
    };
    if length > LONGEST_FRAME {
        return Err(bad(&format!("a frame claims to have {length} bytes")));
    }
    let mut body = vec![0; usize::try_from(length).expect("it is short")];
    from.read_exact(&mut body).await?;
    Ok((flags, body))
}

fn framed(parts: &[Bytes]) -> Bytes {
    let mut frames = BytesMut::with_capacity(parts.iter().map(|part| part.len() + 9).sum());
    for (at, part) in parts.iter().enumerate() {
        put_frame(
            &mut frames,
            if at + 1 < parts.len() { MORE } else { 0 },
            part,
        );
    }
    frames.freeze()
}

fn put_frame(frames: &mut BytesMut, flags: u8, body: &[u8]) {
    match u8::try_from(body.len()) {
        Ok(length) => frames.put_slice(&[flags, length]),
        Err(_) => {
            frames.put_u8(flags | LONG);
            frames.put_u64(body.len() as u64);
        }
    }
    frames.put_slice(body);
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::net::TcpStream;

    fn publisher() -> (Publisher, SocketAddr, watch::Sender<()>) {
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = door.local_addr().unwrap();
        let (open, still_open) = watch::channel(());
        let welcome: Welcome = Arc::new(|topic| {
            vec![
                Bytes::copy_from_slice(topic.as_bytes()),
                Bytes::from(format!("welcome to {topic:?}")),
            ]
        });
        (
            Publisher::serve(Door::Tcp(door), still_open, welcome).unwrap(),
            address,
            open,
        )
    }

    fn run<F: Future>(test: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            time::timeout(Duration::from_secs(60), test)
                .await
                .expect("it hangs")
        })
    }

    const READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB";

    fn greeting() -> Vec<u8> {
        let mut greeting = vec![0; 64];
        (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
        greeting[12..16].copy_from_slice(b"NULL");
        greeting
    }

    /// A subscriber that has been greeted and sends `frames`.
    async fn subscriber(address: SocketAddr, frames: &[u8]) -> TcpStream {
        let mut peer = TcpStream::connect(address).await.unwrap();
        peer.write_all(&greeting()).await.unwrap();
        peer.write_all(READY).await.unwrap();
        peer.write_all(frames).await.unwrap();
        let mut theirs = vec![0; 64 + 2 + 26];
        peer.read_exact(&mut theirs).await.unwrap();
        assert_eq!(
            &theirs[64..],
            b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04XPUB"
        );
        peer
    }

    /// The parts of the next message.
    async fn message(peer: &mut TcpStream) -> Vec<String> {
        let mut parts = Vec::new();
        loop {
            let flags = peer.read_u8().await.unwrap();
            let length = if flags & LONG != 0 {
                peer.read_u64().await.unwrap()
            } else {
                u64::from(peer.read_u8().await.unwrap())
            };
            let mut body = vec![0; length as usize];
            peer.read_exact(&mut body).await.unwrap();
            parts.push(String::from_utf8(body).unwrap());
            if flags & MORE == 0 {
                return parts;
            }
        }
    }

    fn parts(topic: &str, body: &str) -> Vec<Bytes> {
        vec![Bytes::from(topic.to_owned()), Bytes::from(body.to_owned())]
    }

    #[test]
    fn a_subscriber_is_welcomed_and_gets_what_it_subscribed_to() {
        run(async {
            let (publisher, address, open) = publisher();
            let mut all = subscriber(address, b"\x00\x01\x01").await;
            assert_eq!(message(&mut all).await, ["", "welcome to \"\""]);
            let mut some = subscriber(address, b"\x00\x02\x01a\x04\x0b\x09SUBSCRIBEb").await;
            assert_eq!(message(&mut some).await, ["a", "welcome to \"a\""]);
            assert_eq!(message(&mut some).await, ["b", "welcome to \"b\""]);
            let long = "x".repeat(300);
            for (topic, body) in [("ab", "1"), ("c", "2"), ("b", &long)] {
                publisher.send(&parts(topic, body));
            }
            for want in [["ab", "1"], ["c", "2"], ["b", &long]] {
                assert_eq!(message(&mut all).await, want);
            }
            for want in [["ab", "1"], ["b", &long]] {
                assert_eq!(message(&mut some).await, want);
            }
            // Taken back; the welcome of another subscription shows that it was read.
            some.write_all(b"\x00\x02\x00a\x00\x02\x01d").await.unwrap();
            assert_eq!(message(&mut some).await, ["d", "welcome to \"d\""]);
            publisher.send(&parts("a", "3"));
            publisher.send(&parts("d", "4"));
            assert_eq!(message(&mut some).await, ["d", "4"]);

            // The last messages are written after the publisher is gone, and then the peer is let go.
            assert_eq!(message(&mut all).await, ["a", "3"]);
            publisher.send(&parts("a", "last"));
            drop((publisher, open));
            assert_eq!(message(&mut all).await, ["d", "4"]);
            assert_eq!(message(&mut all).await, ["a", "last"]);
            assert_eq!(all.read(&mut [0]).await.unwrap(), 0);
            assert!(
                TcpStream::connect(address).await.is_err(),
                "the door is closed"
            );
        });
    }

    #[test]
    fn a_subscriber_that_never_reads_costs_the_others_nothing() {
        run(async {
            let (publisher, address, _open) = publisher();
            let _asleep = subscriber(address, b"\x00\x01\x01").await;
            let mut awake = subscriber(address, b"\x00\x01\x01").await;
            message(&mut awake).await;
            let body = "x".repeat(256 << 10);
            // Twice what one queue may hold.
            for n in 0..2 * QUEUED_BYTES / body.len() {
                publisher.send(&parts("t", &body));
                publisher.send(&parts("t", &n.to_string()));
                assert_eq!(message(&mut awake).await[1].len(), body.len());
                assert_eq!(message(&mut awake).await, ["t", &n.to_string()]);
            }
            let peers = publisher.shared.peers.lock().unwrap().clone();
            let queues: Vec<(usize, u64)> = peers
                .iter()
                .map(|peer| {
                    let queue = peer.lock();
                    (queue.bytes, queue.dropped)
                })
                .collect();
            let (bytes, dropped) = *queues.iter().max().unwrap();
            assert!(
                bytes <= QUEUED_BYTES && bytes > QUEUED_BYTES / 2,
                "{queues:?}"
            );
            assert!(dropped > 100, "{queues:?}");
            // The short ones came later than the long ones that were dropped, and are there.
            let last = peers
                .iter()
                .filter_map(|peer| peer.lock().messages.back().cloned())
                .next()
                .unwrap();
            assert_eq!(
                last,
                framed(&parts(
                    "t",
                    &(2 * QUEUED_BYTES / body.len() - 1).to_string()
                ))
            );
        });
    }

    #[test]
    fn strangers_are_shown_out_and_others_served() {
        run(async {
            let (publisher, address, _open) = publisher();
            let greeting = greeting();
            let mut old = greeting.clone();
            old[10] = 1;
            let mut curve = greeting.clone();
            curve[12..17].copy_from_slice(b"CURVE");
            let dealer = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER";
            let huge = [&[LONG][..], &u64::MAX.to_be_bytes()].concat();
            for (name, bytes) in [
                ("a browser", b"GET / HTTP/1.1\r\nHost: localhost:12345\r\nAccept: text/html, and whatever else there is\r\n\r\n".to_vec()),
                ("an old version", old),
                ("a secure one", curve),
                ("no READY", [&greeting[..], b"\x00\x01\x01"].concat()),
                ("a dealer", [&greeting[..], dealer].concat()),
                ("a huge frame", [&greeting[..], READY, &huge].concat()),
                ("a huge frame at once", [&greeting[..], &huge].concat()),
                ("too many subscriptions", [&greeting[..], READY, &b"\x00\x01\x01".repeat(SUBSCRIPTIONS + 1)].concat()),
            ] {
                let mut peer = TcpStream::connect(address).await.unwrap();
                let _ = peer.write_all(&bytes).await;
                // It hangs up, with or without a word.
                let mut rest = Vec::new();
                let _ = peer.read_to_end(&mut rest).await;
                assert!(rest.len() < 200 || name == "too many subscriptions", "{name}");
            }
            let mut good = subscriber(address, b"\x00\x01\x01").await;
            message(&mut good).await;
            publisher.send(&parts("t", "still here"));
            assert_eq!(message(&mut good).await, ["t", "still here"]);
            assert_eq!(
                publisher.shared.peers.lock().unwrap().len(),
                1,
                "the strangers are forgotten"
            );
        });
    }
}
