//! The copies of the worker that wait to go on in its place. The prelude makes one at the end of each cell; here they are kept, dropped and called.
//!
//! A copy lives as long as the supervisor has the other end of its socket. What a packet says is not trusted: a process is taken for a copy only if it is a
//! child of this one, which every copy becomes when the worker that forked it is dead.

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// One copy that waits.
#[derive(Debug)]
struct Waiting {
    pid: Pid,
    socket: UnixStream,
}

/// The copies of one worker.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// As the worker was at the end of the last cell that ended.
    last: Option<Waiting>,
    /// As it was at the end of a cell whose end has not been seen yet.
    announced: Option<Waiting>,
}

impl Snapshots {
    /// Takes what the worker has announced by now. Does not block.
    ///
    /// # Errors
    /// When the socket fails. A packet of another shape is passed over.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            let mut bytes = [0; 4];
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let mut control = nix::cmsg_space!([RawFd; 1]);
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
            let message =
                match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                    Ok(message) => message,
                    Err(Errno::EINTR) => continue,
                    Err(Errno::EAGAIN) => return Ok(()),
                    Err(error) => return Err(error.into()),
                };
            let len = message.bytes;
            let mut fds = Vec::new();
            for part in message.cmsgs().into_iter().flatten() {
                if let ControlMessageOwned::ScmRights(received) = part {
                    // SAFETY: the system has just opened these for this process, and nothing else knows them.
                    fds.extend(
                        received
                            .into_iter()
                            .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                    );
                }
            }
            if len == 0 {
                return Ok(());
            }
            if let (4, Some(fd)) = (len, fds.pop()) {
                self.announced = Some(Waiting {
                    pid: Pid::from_raw(i32::from_ne_bytes(bytes)),
                    socket: UnixStream::from(fd),
                });
            }
        }
    }

    /// A cell has ended: the copy that was made then is the one to go on from, and without one there is none. An older one would not have what evcxr now
    /// believes to be there.
    pub fn cell_ended(&mut self) {
        self.last = self.announced.take();
    }

    /// The worker is dead: tells its last copy to go on, and gives its process. `None` when there is none.
    pub fn call(&mut self) -> Option<Pid> {
        self.announced = None;
        let Waiting { pid, mut socket } = self.last.take()?;
        let alive = waitpid(pid, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive);
        // The worker could have left it full.
        let called = socket
            .set_nonblocking(true)
            .and_then(|()| socket.write_all(b"g"));
        (alive && called.is_ok()).then_some(pid)
    }
}
