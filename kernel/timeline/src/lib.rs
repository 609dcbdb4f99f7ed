//! The event format of Threadbook's recorder, how the kernel reads it, and the folding of events into lanes, spans and edges.
//!
//! Shared by the prelude, which writes events in the learner's process, and the kernel, which reads and draws them. Nothing here draws.

pub mod facts;
pub mod fold;
pub mod format;
pub mod memory;
pub mod observed;
pub mod script;
pub mod trace;
