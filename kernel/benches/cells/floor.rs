//! The least that a cell can take: the text that evcxr made of it, compiled by one bare rustc.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The folder in which the kernel of this process compiles cells.
pub fn work_of(process: u32) -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache
        .or(home)
        .context("there is no cache folder")?
        .join("threadbook");
    let begin = format!("work-{process}-");
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries(&cache)
        .flat_map(|key| entries(&key.path()).collect::<Vec<_>>())
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .map(|entry| entry.path())
        .with_context(|| format!("there is no {begin}… below {}", cache.display()))
}

/// How long one rustc takes for the text of the last cell, as a library of the kind that cells are.
pub fn bare_rustc(work: &Path) -> anyhow::Result<Duration> {
    let deps = std::fs::read_dir(work.join("target"))?
        .flatten()
        .map(|entry| entry.path().join("debug/deps"))
        .find(|deps| deps.join("libthreadbook_prelude.so").exists())
        .context("the prelude's library is not there")?;
    let print = std::fs::read_dir(&deps)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libthreadbook_print-") && name.ends_with(".rlib")
        })
        .context("the library of the cells' macros is not there")?;
    let made = work.join("floor.so");
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(work)
        .args([
            "--crate-name",
            "ctx",
            "--edition=2024",
            "--crate-type",
            "cdylib",
            "src/lib.rs",
        ])
        .args(["-C", "prefer-dynamic", "-C", "strip=debuginfo", "-o"])
        .arg(&made)
        .arg(format!("-Ldependency={}", deps.display()))
        .arg(format!(
            "--extern=threadbook_prelude={}",
            deps.join("libthreadbook_prelude.so").display()
        ))
        .arg(format!("--extern=threadbook_print={}", print.display()))
        .stdin(Stdio::null());
    let began = Instant::now();
    let output = rustc.output()?;
    let took = began.elapsed();
    if !output.status.success()
        && !String::from_utf8_lossy(&output.stderr).contains("mismatched types")
    {
        bail!(
            "a bare rustc does not compile the cell: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let _ = std::fs::remove_file(made);
    Ok(took)
}
