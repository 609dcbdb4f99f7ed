//! Whether code is written as `rustfmt` writes it: all pieces in one call, since to start it costs more than to format a cell.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is wrong with the form of each piece, in order; `None` where nothing is.
///
/// Starts `rustfmt` once; where a piece cannot be read, once more for each that is named.
pub fn unformatted(codes: &[&str]) -> Vec<Option<String>> {
    let Some(after) = all_at_once(codes) else {
        return codes.iter().map(|code| alone(code).err()).collect();
    };
    let judged = codes.iter().zip(after).map(|(code, after)| match after {
        Some(after) => differs(&wrapped(code), &after),
        None => alone(code).err(),
    });
    judged.collect()
}

/// The pieces as rustfmt leaves them, wrapped; a `None` among them is one that it cannot read. `None` when the call itself failed.
fn all_at_once(codes: &[&str]) -> Option<Vec<Option<String>>> {
    let folder = tempfile::tempdir().ok()?;
    let path = |at: usize| folder.path().join(format!("{at}.rs"));
    for (at, code) in codes.iter().enumerate() {
        fs::write(path(at), wrapped(code)).ok()?;
    }
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--quiet"]);
    rustfmt.args((0..codes.len()).map(path));
    let output = rustfmt.stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let named = |path: &Path| said.contains(&format!("{}:", path.display()));
    if !output.status.success() && !(0..codes.len()).any(|at| named(&path(at))) {
        return None;
    }
    let read = |at| {
        let path = path(at);
        (!named(&path)).then(|| fs::read_to_string(&path).ok())?
    };
    Some((0..codes.len()).map(read).collect())
}

/// Code as the body of a function: a cell is statements, which rustfmt takes only there.
fn wrapped(code: &str) -> String {
    let indented: String = code
        .lines()
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("    {line}\n")
            }
        })
        .collect();
    format!("fn main() {{\n{indented}}}\n")
}

fn alone(code: &str) -> Result<(), String> {
    let wrapped = wrapped(code);
    let missing = |err: std::io::Error| {
        format!(
            "rustfmt could not be started ({err}); install it by `rustup component add rustfmt`"
        )
    };
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--quiet", "--emit", "stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(missing)?;
    // A cell fits the pipe's buffer, and rustfmt reads all of it before it writes: no deadlock. It may die early, which its status tells.
    let _ = rustfmt
        .stdin
        .take()
        .expect("piped, three lines above")
        .write_all(wrapped.as_bytes());
    let output = rustfmt.wait_with_output().map_err(missing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "rustfmt cannot read the cell: {}",
            said.lines().next().unwrap_or("it gave no reason")
        ));
    }
    match differs(&wrapped, &String::from_utf8_lossy(&output.stdout)) {
        None => Ok(()),
        Some(what) => Err(what),
    }
}

/// What tells the two forms apart.
fn differs(have: &str, want: &str) -> Option<String> {
    let mut pairs = have.lines().zip(want.lines()).skip(1);
    match pairs.find(|(have, want)| have != want) {
        Some((have, want)) => Some(format!(
            "the cell is not as rustfmt writes it: `{}` should begin `{}`",
            have.trim(),
            want.trim()
        )),
        None if want.lines().count() != have.lines().count() => {
            Some("the cell has blank lines that rustfmt removes".to_owned())
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{alone, unformatted};

    #[test]
    fn pieces_are_judged_together_as_each_is_alone() {
        let codes = ["fn a() {}", "let a  = 1;", "fn b( {", "let c = 3;\nc"];
        let together = unformatted(&codes);
        let each: Vec<Option<String>> = codes.iter().map(|code| alone(code).err()).collect();
        assert_eq!(together, each);
        let wrong: Vec<bool> = together.iter().map(Option::is_some).collect();
        assert_eq!(wrong, [false, true, true, false], "{together:?}");
        assert_eq!(unformatted(&[]), []);
    }
}
