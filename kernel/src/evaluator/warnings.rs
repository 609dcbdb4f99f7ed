//! What the compiler warned of in a cell that compiled, which evcxr does not tell.
//!
//! cargo keeps rustc's messages of a build beside its fingerprint, to say them again when nothing is compiled anew. That file is of the last build, and is
//! gone when that had nothing to say: so the warnings cost no second compilation, only a look into a folder (40 us).

use crate::tools::MESSAGES;
use std::path::Path;
use std::time::SystemTime;

/// How many warnings of one cell are shown.
const MOST: usize = 5;

/// rustc's messages of the last build of a cell, as lines of JSON. `None`: it had none. `folder` is evcxr's.
pub fn of_the_last_build(folder: &Path) -> Option<String> {
    if let Ok(messages) = std::fs::read_to_string(folder.join(MESSAGES)) {
        return (!messages.is_empty()).then_some(messages);
    }
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let newest = entries(&folder.join("target"))
        .flat_map(|target| entries(&target.path().join("debug/.fingerprint")).collect::<Vec<_>>())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("ctx-"))
        // Another dependency is another fingerprint; the one that was used last is this cell's.
        .max_by_key(|entry| {
            let used = std::fs::metadata(entry.path().join("invoked.timestamp"));
            used.and_then(|used| used.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH)
        })?;
    std::fs::read_to_string(newest.path().join("output-lib-ctx")).ok()
}

/// The first few of a cell's warnings, and how many more there are.
pub fn brief(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST);
    warnings.truncate(MOST);
    match more {
        0 => {}
        1 => warnings.push("and 1 more warning".to_owned()),
        more => warnings.push(format!("and {more} more warnings")),
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_builds_messages_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(of_the_last_build(folder.path()), None);
        let prints = folder.path().join("target/some-target/debug/.fingerprint");
        let build = |name: &str, at: u64, output: Option<&str>| {
            let folder = prints.join(name);
            std::fs::create_dir_all(&folder).expect("a folder");
            let used = std::fs::File::create(folder.join("invoked.timestamp")).expect("a file");
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at);
            used.set_modified(time).expect("a time");
            if let Some(output) = output {
                std::fs::write(folder.join("output-lib-ctx"), output).expect("a file");
            }
        };
        build("ctx-1", 1_000, Some("old"));
        build("ctx-2", 2_000, Some("new"));
        build("serde-3", 3_000, Some("a crate's"));
        assert_eq!(of_the_last_build(folder.path()).as_deref(), Some("new"));
        build("ctx-3", 4_000, None);
        assert_eq!(of_the_last_build(folder.path()), None);
    }

    #[test]
    fn many_warnings_are_counted() {
        let some = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(brief(some(5)), some(5));
        assert_eq!(
            brief(some(6)).last().map(String::as_str),
            Some("and 1 more warning")
        );
        assert_eq!(
            brief(some(9)).last().map(String::as_str),
            Some("and 4 more warnings")
        );
    }
}
