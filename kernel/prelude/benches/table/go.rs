//! The Go program for the same works: `go/main.go`, built anew for each table.

use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Program {
    pub path: PathBuf,
    pub version: String,
}

/// Builds it with the given `go`.
///
/// # Errors
/// When there is no such program, or it cannot build this one.
pub fn build(go: &Path) -> Result<Program, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join("table.go");
    std::fs::write(&source, include_str!("go/main.go")).map_err(|why| why.to_string())?;
    let path = folder.join("table-go");
    let version = said(Command::new(go).arg("version"))?;
    said(
        Command::new(go)
            .arg("build")
            .arg("-o")
            .arg(&path)
            .arg(source)
            // The one that was named, and nothing from the network.
            .env("GOTOOLCHAIN", "local"),
    )?;
    let version = version.trim_start_matches("go version ").to_owned();
    Ok(Program { path, version })
}

fn said(program: &mut Command) -> Result<String, String> {
    let output = program.output().map_err(|why| {
        format!(
            "{}: {why}; name one with --go PATH",
            program.get_program().display()
        )
    })?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
