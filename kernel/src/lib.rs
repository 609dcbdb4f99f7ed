//! Threadbook: a Jupyter kernel for learning concurrency in Rust.
//!
//! The map of these modules, and who may know whom, stands in ARCHITECTURE.md.

pub mod cell;
pub mod cli;
pub mod course;
pub mod evaluator;
#[cfg(test)]
mod layers;
pub mod lesson_board;
pub mod lessons;
pub mod parts;
pub mod past;
pub mod picture;
pub mod prelude_home;
pub mod render;
pub mod run;
pub mod serve;
pub mod session;
pub mod std_sources;
pub mod tools;
pub mod trace;
pub mod wire;
