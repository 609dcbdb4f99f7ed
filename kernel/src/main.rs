//! One binary for every part: the command line, the kernel, the supervisor and the learner's process.

use std::process::ExitCode;

// rust-analyzer makes millions of small things, at each start of a kernel: see ARCHITECTURE.md, decision 56.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Rust's tools are looked for here: see `threadbook::tools`.
    if let Some(tool) = threadbook::tools::called_as() {
        return threadbook::tools::main(tool);
    }
    // evcxr starts this same program as the learner's process, and as a wrapper around rustc. Both must be reached while there is one thread.
    if threadbook::evaluator::is_runtime_child() {
        let commands = threadbook::evaluator::supervisor::fork_worker();
        threadbook::evaluator::worker::serve(commands);
    }
    threadbook::evaluator::runtime_hook();
    threadbook::cli::main(&threadbook::parts::Program)
}
