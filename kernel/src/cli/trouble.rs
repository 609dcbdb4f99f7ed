//! What stops a command, in the two kinds that the exit code tells apart.
//!
//! A missing piece always carries what mends it: whoever reads the message is a learner on their first evening.

use std::fmt;

/// Something that the machine lacks. Ends a command with exit code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is not there, and how that was seen: one line.
    pub what: String,
    /// The command, or the one thing to do, that mends it.
    pub mend: String,
}

impl Missing {
    /// Makes one from its two halves.
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            mend: mend.into(),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  to mend it: {}", self.what, self.mend)
    }
}

impl std::error::Error for Missing {}

/// A command was asked for something that cannot be meant, such as a lesson that does not exist. Ends it with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongUse(pub String);

impl fmt::Display for WrongUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongUse {}
