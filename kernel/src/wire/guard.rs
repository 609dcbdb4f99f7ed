//! A doorkeeper before each socket: passes on what a peer sends, and hangs up when a frame claims to be longer than anything a notebook sends.
//!
//! The library makes room for a frame as soon as it has read its length, so that nine bytes of garbage, from anybody who can reach the port and with no
//! key, would end the kernel with `memory allocation of 7819749465237997494 bytes failed`. What the doorkeeper lets through goes to a socket of the
//! library in a private folder. Bytes from a kernel to its peers are not looked at. Costs one copy through a local socket.
//! Rules: <https://rfc.zeromq.org/spec/23/>, framing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

/// The longest frame that is let in: 512 MiB, far above what a notebook sends.
const LONGEST_FRAME: u64 = 512 << 20;
/// How much is passed on at a time.
const CHUNK: usize = 64 * 1024;
/// The length of ZMTP's greeting, which comes before the frames.
const GREETING: u64 = 64;

/// Where the kernel listens for peers.
#[derive(Debug)]
pub enum Door {
    /// A port.
    Tcp(std::net::TcpListener),
    /// A path.
    Ipc(std::os::unix::net::UnixListener),
}

/// Stands before the library's socket until the sender of `open` is dropped; who is inside then may finish. Gives the listener that the library is to serve, which lies in `folder`:
/// a private one, or anybody could go round the doorkeeper.
///
/// # Errors
/// When the socket cannot be had. To be called inside a tokio runtime.
pub fn guard(
    door: Door,
    folder: &Path,
    channel: &'static str,
    mut open: watch::Receiver<()>,
) -> io::Result<std::os::unix::net::UnixListener> {
    let inside = folder.join(channel);
    let listener = std::os::unix::net::UnixListener::bind(&inside)?;
    let room = Arc::new(Room { inside, channel });
    match door {
        Door::Tcp(door) => {
            door.set_nonblocking(true)?;
            let door = TcpListener::from_std(door)?;
            tokio::spawn(async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = door.accept() => accepted,
                        _ = open.changed() => return,
                    };
                    match accepted {
                        Ok((peer, _)) => {
                            // Small messages are to leave at once, as ZeroMQ itself has it.
                            let _ = peer.set_nodelay(true);
                            let (from, to) = peer.into_split();
                            tokio::spawn(Arc::clone(&room).escort(from, to));
                        }
                        Err(error) => room.unopened(&error).await,
                    }
                }
            });
        }
        Door::Ipc(door) => {
            door.set_nonblocking(true)?;
            let door = UnixListener::from_std(door)?;
            tokio::spawn(async move {
                loop {
                    let accepted = tokio::select! {
                        accepted = door.accept() => accepted,
                        _ = open.changed() => return,
                    };
                    match accepted {
                        Ok((peer, _)) => {
                            let (from, to) = peer.into_split();
                            tokio::spawn(Arc::clone(&room).escort(from, to));
                        }
                        Err(error) => room.unopened(&error).await,
                    }
                }
            });
        }
    }
    Ok(listener)
}

struct Room {
    inside: PathBuf,
    channel: &'static str,
}

impl Room {
    /// Carries bytes both ways until one side ends, or sends what nobody should.
    async fn escort(
        self: Arc<Self>,
        mut from_peer: impl AsyncRead + Unpin,
        mut to_peer: impl AsyncWrite + Unpin,
    ) {
        let inner = match UnixStream::connect::<&Path>(&self.inside).await {
            Ok(inner) => inner,
            Err(error) => {
                return tracing::warn!(channel = self.channel, %error, "a peer could not be let in");
            }
        };
        let (mut from_library, mut to_library) = inner.into_split();
        let inward = async {
            let mut watch = Watch::new();
            let mut chunk = vec![0; CHUNK];
            loop {
                let len = from_peer.read(&mut chunk).await?;
                if len == 0 {
                    return Ok(());
                }
                watch.pass(&chunk[..len]).map_err(|too_long| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("a frame claims to have {too_long} bytes"),
                    )
                })?;
                to_library.write_all(&chunk[..len]).await?;
            }
        };
        let outward = tokio::io::copy(&mut from_library, &mut to_peer);
        // Whichever ends first ends both: a peer that is gone wants no answer, and a library that hung up wants no more.
        let ended: io::Result<()> = tokio::select! {
            ended = inward => ended,
            ended = outward => ended.map(drop),
        };
        if let Err(error) = ended
            && error.kind() == io::ErrorKind::InvalidData
        {
            tracing::warn!(channel = self.channel, %error, "a peer was shown out");
        }
    }

    /// A connection that cannot be taken: mostly because the process is out of descriptors, which passes when others hang up.
    async fn unopened(&self, error: &io::Error) {
        tracing::warn!(channel = self.channel, %error, "a connection was not taken");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Follows the frames in a stream of bytes, however it is cut.
#[derive(Debug)]
struct Watch {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes are of no interest: the greeting, or a frame's body.
    Skip(u64),
    /// The next byte is a frame's flags.
    Flags,
    /// So many bytes of the length are still to come; what came so far.
    Length { missing: u8, len: u64 },
}

impl Watch {
    fn new() -> Watch {
        Watch {
            state: State::Skip(GREETING),
        }
    }

    /// Follows the next bytes. `Err`: the length of a frame that is too long.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), u64> {
        while let Some(&byte) = bytes.first() {
            self.state = match self.state {
                State::Skip(left) => {
                    let here = left.min(bytes.len() as u64);
                    bytes =
                        &bytes[usize::try_from(here).expect("it is at most a slice's length")..];
                    match left - here {
                        0 => State::Flags,
                        left => State::Skip(left),
                    }
                }
                State::Flags => {
                    bytes = &bytes[1..];
                    let is_long = byte & 0b10 != 0;
                    State::Length {
                        missing: if is_long { 8 } else { 1 },
                        len: 0,
                    }
                }
                State::Length { missing, len } => {
                    bytes = &bytes[1..];
                    let len = len << 8 | u64::from(byte);
                    match missing - 1 {
                        0 if len > LONGEST_FRAME => return Err(len),
                        0 if len == 0 => State::Flags,
                        0 => State::Skip(len),
                        missing => State::Length { missing, len },
                    }
                }
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0xff; 64];
        for frame in frames {
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn frames_are_followed_however_the_bytes_are_cut() {
        let long = [&[2_u8][..], &300_u64.to_be_bytes(), &[7; 300]].concat();
        let huge = [&[2_u8][..], &u64::MAX.to_be_bytes()].concat();
        let over = [&[3_u8][..], &(LONGEST_FRAME + 1).to_be_bytes()].concat();
        for (name, bytes, want) in [
            ("nothing", Vec::new(), Ok(())),
            ("a greeting", stream(&[]), Ok(())),
            (
                "short frames",
                stream(&[&[0, 2, 0xff, 0xff], &[1, 0], &[4, 1, 2]]),
                Ok(()),
            ),
            ("a long frame", stream(&[&long, &[0, 0]]), Ok(())),
            ("a huge frame", stream(&[&[0, 1, 9], &huge]), Err(u64::MAX)),
            (
                "a frame just too long",
                stream(&[&long, &over]),
                Err(LONGEST_FRAME + 1),
            ),
            ("huge only in the body", stream(&[&[0, 9], &huge]), Ok(())),
        ] {
            for cut in 1..=bytes.len().max(1) {
                let mut watch = Watch::new();
                let passed = bytes.chunks(cut).try_for_each(|chunk| watch.pass(chunk));
                assert_eq!(passed, want, "{name}, cut every {cut} bytes");
            }
        }
    }

    #[test]
    fn no_byte_makes_it_panic() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut watch = Watch::new();
            let bytes: Vec<u8> = (0..200)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    seed.to_le_bytes()[3]
                })
                .collect();
            if watch.pass(&bytes).is_ok() {
                assert!(!matches!(watch.state, State::Length { missing: 0, .. }));
            }
        }
    }
}
