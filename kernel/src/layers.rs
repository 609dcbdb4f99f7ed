//! Who may know whom: the table in ARCHITECTURE.md, held against the source.

use std::fs;
use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .expect("the sources are there")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                below(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/src");
    let mut paths = Vec::new();
    below(&root, &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .expect("it lies below")
                .to_string_lossy()
                .replace('\\', "/");
            (name, fs::read_to_string(&path).expect("a source is text"))
        })
        // This file names them all.
        .filter(|(name, _)| name != "layers.rs")
        .collect()
}

fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

#[test]
fn one_file_names_evcxr_and_one_names_zeromq() {
    for (library, home) in [
        ("evcxr::", "evaluator/context.rs"),
        ("zeromq::", "wire/sockets.rs"),
    ] {
        let named: Vec<String> = sources()
            .into_iter()
            .filter(|(_, text)| code(text).any(|line| line.contains(library)))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(named, [home], "files that name {library}");
    }
}

#[test]
fn no_arrow_goes_up() {
    for (module, strangers) in [
        (
            "cell.rs",
            &[
                "session",
                "wire",
                "evaluator",
                "serve",
                "cli",
                "course",
                "render",
                "lessons",
            ][..],
        ),
        (
            "wire/",
            &[
                "session",
                "evaluator",
                "serve",
                "cli",
                "render",
                "lessons",
                "picture",
            ],
        ),
        (
            "session/",
            &[
                "evaluator",
                "serve",
                "cli",
                "course",
                "render",
                "lessons",
                "picture",
            ],
        ),
        (
            "course/",
            &[
                "session",
                "wire",
                "evaluator",
                "serve",
                "cli",
                "render",
                "lessons",
                "picture",
            ],
        ),
        (
            "evaluator/",
            &["session", "wire", "serve", "cli", "lessons"],
        ),
        (
            "render/",
            &[
                "session",
                "wire",
                "evaluator",
                "serve",
                "cli",
                "lessons",
                "cell",
            ],
        ),
        (
            "lessons/",
            &["session", "wire", "evaluator", "serve", "cli", "render"],
        ),
        (
            "run",
            &["session", "evaluator", "serve", "cli", "render", "lessons"],
        ),
    ] {
        for (name, text) in sources()
            .into_iter()
            .filter(|(name, _)| name.starts_with(module))
        {
            for stranger in strangers {
                let path = format!("crate::{stranger}");
                let found = code(&text).find(|line| {
                    line.split(&path)
                        .skip(1)
                        .any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
                });
                assert!(
                    found.is_none(),
                    "{name} must not know {stranger}: {}",
                    found.unwrap_or_default()
                );
            }
        }
    }
}
