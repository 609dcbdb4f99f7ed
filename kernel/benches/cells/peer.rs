//! evcxr's own kernel, which this one is measured against.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The version that the figures in ARCHITECTURE.md are about.
const VERSION: &str = "0.22.0";

/// The peer below `target`, installed there if it is not yet: minutes.
pub fn installed(target: &Path) -> anyhow::Result<PathBuf> {
    let root = target.join("peer");
    let program = root.join("bin/evcxr_jupyter");
    if program.exists() {
        return Ok(program);
    }
    eprintln!(
        "installing evcxr_jupyter {VERSION} below {}: some minutes, once",
        root.display()
    );
    let status = Command::new("cargo")
        .args(["install", "--locked", "--version", VERSION, "--root"])
        .arg(&root)
        .arg("evcxr_jupyter")
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!(
            "cargo did not install evcxr_jupyter ({status}): `-- --peer PATH` takes one that is there, `-- --no-peer` does without"
        );
    }
    Ok(program)
}
