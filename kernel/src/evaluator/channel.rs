//! The output channel: what the supervisor tells the kernel about the learner's process, in the order in which it happened.
//!
//! A pair of datagram sockets: a packet arrives whole or not at all, a full queue stops the writer (so that a learner's flood of output slows the
//! learner and not the kernel), and the kernel can put a [`Packet::Sync`] of its own behind everything that was sent before. Knows nothing of evcxr.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The most bytes of output that one packet carries. Far below the 208 KiB that Linux lets a datagram have.
const MAX_PAYLOAD: usize = 16 * 1024;

/// One thing that the supervisor, or the kernel itself, puts into the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// The worker is about to load the shared object at this path and to run the cell in it.
    Begin(String),
    /// Bytes of the worker's standard output, not necessarily whole characters.
    Stdout(Vec<u8>),
    /// Bytes of the worker's standard error.
    Stderr(Vec<u8>),
    /// A value to show: first its MIME type, then the content.
    Content(String, Vec<u8>),
    /// A line of JSON that the prelude wrote: a panic in some task, or a deadlock.
    Mark(String),
    /// The cell's code came to its end.
    End(CellEnd),
    /// The worker is dead.
    Died(Death),
    /// The kernel's own: everything before it has been seen when it arrives.
    Sync(u64),
}

/// How the evaluating thread left a cell, told by evcxr's marker lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CellEnd {
    /// By a panic that nothing caught.
    pub panicked: bool,
    /// By the `?` operator.
    pub question_mark: bool,
}

/// How a process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// It called `exit`.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
}

/// One end of the channel.
#[derive(Debug)]
pub struct Channel {
    socket: UnixDatagram,
}

impl Channel {
    /// Makes the two ends: the kernel's, which receives, and the supervisor's, which sends.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn pair() -> io::Result<(Channel, Channel)> {
        let (receiver, sender) = UnixDatagram::pair()?;
        Ok((Channel { socket: receiver }, Channel { socket: sender }))
    }

    /// Takes over an end that was inherited as a descriptor.
    ///
    /// # Safety
    /// `fd` must be an open socket that nothing else in this process owns.
    pub unsafe fn from_fd(fd: RawFd) -> Channel {
        // SAFETY: the caller says that the descriptor is open and that it is ours alone.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Channel { socket: fd.into() }
    }

    /// Puts a packet into the channel. Blocks while the queue is full. Output longer than a packet may be leaves as several.
    ///
    /// # Errors
    /// When the other end is gone.
    pub fn send(&self, packet: &Packet) -> io::Result<()> {
        match packet {
            Packet::Begin(path) => self.send_parts(b'B', path.as_bytes()),
            Packet::Stdout(bytes) => bytes
                .chunks(MAX_PAYLOAD)
                .try_for_each(|part| self.send_parts(b'O', part)),
            Packet::Stderr(bytes) => bytes
                .chunks(MAX_PAYLOAD)
                .try_for_each(|part| self.send_parts(b'E', part)),
            Packet::Content(mime, content) => {
                self.send_parts(b'C', mime.as_bytes())?;
                content
                    .chunks(MAX_PAYLOAD)
                    .try_for_each(|part| self.send_parts(b'c', part))?;
                self.send_parts(b'.', b"")
            }
            Packet::Mark(json) => self.send_parts(b'M', json.as_bytes()),
            Packet::End(end) => {
                self.send_parts(b'X', &[u8::from(end.panicked), u8::from(end.question_mark)])
            }
            Packet::Died(Death::Exit(code)) => self.send_parts(b'x', &code.to_le_bytes()),
            Packet::Died(Death::Signal(signal)) => self.send_parts(b's', &signal.to_le_bytes()),
            Packet::Sync(ticket) => self.send_parts(b'S', &ticket.to_le_bytes()),
        }
    }

    fn send_parts(&self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut packet = Vec::with_capacity(payload.len() + 1);
        packet.push(kind);
        packet.extend_from_slice(payload);
        loop {
            match self.socket.send(&packet) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The descriptor, to be inherited.
    pub fn raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Makes a second handle of this end.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn try_clone(&self) -> io::Result<Channel> {
        Ok(Channel {
            socket: self.socket.try_clone()?,
        })
    }
}

/// The receiving end, which puts the parts of a long content together again.
#[derive(Debug)]
pub struct Receiver {
    channel: Channel,
    content: Option<(String, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Receiver {
    /// Wraps the kernel's end.
    pub fn new(channel: Channel) -> Receiver {
        Receiver {
            channel,
            content: None,
            buffer: vec![0; MAX_PAYLOAD + 64],
        }
    }

    /// Takes the next packet. Blocks until there is one, or for at most `patience`, and then gives `None`.
    ///
    /// # Errors
    /// When the socket fails. A packet of unknown shape is passed over: the supervisor is ours, but a cell could find its descriptor.
    pub fn receive(&mut self, patience: Option<Duration>) -> io::Result<Option<Packet>> {
        self.channel.socket.set_read_timeout(patience)?;
        loop {
            let len = match self.channel.socket.recv(&mut self.buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let Some((kind, payload)) = self.buffer[..len].split_first() else {
                continue;
            };
            let text = || String::from_utf8_lossy(payload).into_owned();
            let number = || payload.try_into().map(i32::from_le_bytes);
            return Ok(Some(match kind {
                b'B' => Packet::Begin(text()),
                b'O' => Packet::Stdout(payload.to_vec()),
                b'E' => Packet::Stderr(payload.to_vec()),
                b'C' => {
                    self.content = Some((text(), Vec::new()));
                    continue;
                }
                b'c' => {
                    if let Some((_, content)) = &mut self.content {
                        content.extend_from_slice(payload);
                    }
                    continue;
                }
                b'.' => match self.content.take() {
                    Some((mime, content)) => Packet::Content(mime, content),
                    None => continue,
                },
                b'M' => Packet::Mark(text()),
                b'X' if payload.len() == 2 => Packet::End(CellEnd {
                    panicked: payload[0] == 1,
                    question_mark: payload[1] == 1,
                }),
                b'x' if number().is_ok() => Packet::Died(Death::Exit(number().unwrap_or_default())),
                b's' if number().is_ok() => {
                    Packet::Died(Death::Signal(number().unwrap_or_default()))
                }
                b'S' => match payload.try_into() {
                    Ok(ticket) => Packet::Sync(u64::from_le_bytes(ticket)),
                    Err(_) => continue,
                },
                _ => continue,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_arrive_as_they_were_sent() {
        let (receiver, sender) = Channel::pair().expect("two descriptors");
        let sent = [
            Packet::Begin("/somewhere/libcode_7.so".into()),
            Packet::Stdout(b"half a char \xc3".to_vec()),
            Packet::Stderr(b"oh".to_vec()),
            Packet::Content("text/plain".into(), vec![b'x'; 3 * MAX_PAYLOAD + 5]),
            Packet::Content("text/html".into(), Vec::new()),
            Packet::Mark(r#"{"mark":"panic"}"#.into()),
            Packet::End(CellEnd {
                panicked: true,
                question_mark: false,
            }),
            Packet::Died(Death::Signal(9)),
            Packet::Died(Death::Exit(3)),
            Packet::Sync(42),
        ];
        let writer = std::thread::spawn({
            let sent = sent.clone();
            move || {
                sent.iter()
                    .for_each(|packet| sender.send(packet).expect("the receiver is alive"));
            }
        });
        let mut receiver = Receiver::new(receiver);
        for want in &sent {
            assert_eq!(
                receiver
                    .receive(Some(Duration::from_secs(10)))
                    .expect("a socket")
                    .as_ref(),
                Some(want)
            );
        }
        writer.join().expect("the writer is done");
    }

    #[test]
    fn junk_in_the_channel_is_passed_over() {
        let (receiver, sender) = Channel::pair().expect("two descriptors");
        for junk in [&b""[..], b"?", b"X", b"x12", b"S1", b".", b"cabc"] {
            sender.socket.send(junk).expect("the receiver is alive");
        }
        sender
            .send(&Packet::Sync(1))
            .expect("the receiver is alive");
        let mut receiver = Receiver::new(receiver);
        assert_eq!(
            receiver
                .receive(Some(Duration::from_secs(10)))
                .expect("a socket"),
            Some(Packet::Sync(1))
        );
    }
}
