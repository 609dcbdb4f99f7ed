//! The compilers that evcxr starts: found, and ended when a cell is interrupted while it compiles.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ends the compilers that evcxr started: each cargo and rustc below this process, whichever of them started it; as long as `wanted` says so, which is asked
/// before each. evcxr then says that the compilation failed, and has changed nothing.
pub(super) fn kill_compilers(wanted: impl Fn() -> bool) {
    let all = processes();
    let mut known = vec![std::process::id()];
    let mut looked_at = 0;
    while let Some(parent) = known.get(looked_at).copied() {
        looked_at += 1;
        for (pid, _, _) in all
            .iter()
            .filter(|(_, other, name)| *other == parent && (name == "cargo" || name == "rustc"))
        {
            known.push(*pid);
            if !wanted() {
                return;
            }
            let _ = kill(
                Pid::from_raw(i32::try_from(*pid).unwrap_or(i32::MAX)),
                Signal::SIGKILL,
            );
        }
    }
}

/// Process, parent and name of all that can be seen. Only Linux has `/proc`; elsewhere an interrupt waits for the compiler.
pub(super) fn processes() -> Vec<(u32, u32, String)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            let parent = rest.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent, name.to_owned()))
        })
        .collect()
}
