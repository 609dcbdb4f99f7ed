//! The wire protocol: connection files, messages as bytes, and the sockets that carry them.
//!
//! Knows what a message looks like, never what it means. Nothing of ours is used here.

pub mod connection;
pub mod folder;
pub mod frame;
mod guard;
mod publisher;
pub mod sockets;

use std::fmt;

/// Which socket a message came from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Requests that may have to wait for the cell that runs.
    Shell,
    /// Requests that overtake it: interrupt, shutdown.
    Control,
    /// Questions of the kernel to the person at the notebook.
    Stdin,
    /// What everybody sees: status, streams, displays.
    Iopub,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Channel::Shell => "shell",
            Channel::Control => "control",
            Channel::Stdin => "stdin",
            Channel::Iopub => "iopub",
        })
    }
}
