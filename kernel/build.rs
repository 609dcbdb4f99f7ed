//! Packs into the binary what an installed kernel needs and no registry should be asked for: the prelude's sources with those of the few crates it
//! depends on, and the executed notebooks.
//!
//! The crates are found through `cargo metadata`, and their manifests written anew with paths between them: an unpacked crate must build without this
//! workspace, without the network, and must not be the same package as one that a learner names in `:dep`, or its rebuilding would pull the prelude
//! from under a running process.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const ROOT_CRATE: &str = "threadbook-prelude";
/// The macros of cells, which need nothing.
const MACROS: &str = "threadbook-print";

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for watched in [
        "Cargo.lock",
        "kernel/prelude/src",
        "kernel/prelude/Cargo.toml",
        "kernel/print/src",
        "kernel/print/Cargo.toml",
        "kernel/timeline/src",
        "kernel/timeline/Cargo.toml",
        "notebooks",
    ] {
        println!("cargo:rerun-if-changed={}", here.join(watched).display());
    }

    println!("cargo:rustc-env=THREADBOOK_RUST_VERSION={}", rust_version());

    let mut hasher = DefaultHasher::new();
    let mut prelude = String::from("pub const PRELUDE_FILES: &[(&str, &[u8])] = &[\n");
    for (name, content) in pack(&here) {
        (&name, &content).hash(&mut hasher);
        let path = match content {
            Content::File(path) => path,
            Content::Text(text) => {
                let path = out.join(name.replace('/', "_"));
                fs::write(&path, text).expect("OUT_DIR is writable");
                path
            }
        };
        writeln!(prelude, "({name:?}, include_bytes!({path:?})),").expect("a string grows");
    }
    writeln!(
        prelude,
        "];\npub const PRELUDE_HASH: &str = \"{:016x}\";",
        hasher.finish()
    )
    .expect("a string grows");
    fs::write(out.join("prelude_pack.rs"), prelude).expect("OUT_DIR is writable");

    let mut notebooks = String::from("pub const NOTEBOOKS: &[(&str, &[u8])] = &[\n");
    for path in files_below(&here.join("notebooks"))
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ipynb")
        })
    {
        let name = path
            .file_name()
            .expect("a file has a name")
            .to_string_lossy()
            .into_owned();
        writeln!(notebooks, "({name:?}, include_bytes!({path:?})),").expect("a string grows");
    }
    notebooks.push_str("];\n");
    fs::write(out.join("notebooks.rs"), notebooks).expect("OUT_DIR is writable");
}

/// The version of the compiler, such as `1.95.0`: what `kernel_info` tells of the language without asking a tool at every start.
fn rust_version() -> String {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let output = Command::new(rustc)
        .arg("-V")
        .output()
        .expect("it compiled this");
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .nth(1)
        .unwrap_or_default()
        .to_owned()
}

enum Content {
    File(PathBuf),
    Text(String),
}

impl Hash for Content {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Content::File(path) => fs::read(path).expect("it was listed just now").hash(state),
            Content::Text(text) => text.as_bytes().hash(state),
        }
    }
}

/// The files of the prelude and of every crate that it needs on this target, by their path in the pack.
fn pack(here: &Path) -> BTreeMap<String, Content> {
    let metadata = metadata(here);
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), package))
        .collect();
    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let member = |name: &str| {
        let mut packages = packages.iter();
        packages
            .find(|(_, package)| package["name"] == name)
            .map(|(id, _)| *id)
            .unwrap_or_else(|| panic!("{name} is a member"))
    };

    let mut files = BTreeMap::new();
    let mut wanted = vec![member(ROOT_CRATE), member(MACROS)];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = wanted.pop() {
        if !seen.insert(id) {
            continue;
        }
        let package = packages[id];
        // What it is built with, and what its build script is built with; not its tests.
        let of_kind = |wanted: &Value| -> Vec<&str> {
            let has = |dependency: &&Value| {
                list(&dependency["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"] == *wanted)
            };
            let dependencies = list(&nodes[id]["deps"]).iter().filter(has);
            dependencies
                .map(|dependency| text(&dependency["pkg"]))
                .collect()
        };
        let (normal, build) = (of_kind(&Value::Null), of_kind(&"build".into()));
        wanted.extend(normal.iter().chain(&build));
        let dependencies = [("dependencies", normal), ("build-dependencies", build)]
            .map(|(table, ids)| (table, ids.iter().map(|id| packages[id]).collect()));
        let name = text(&package["name"]);
        let folder = Path::new(text(&package["manifest_path"]))
            .parent()
            .expect("a manifest lies in a folder");
        files.insert(
            format!("{name}/Cargo.toml"),
            Content::Text(manifest(package, &dependencies, folder)),
        );
        for path in files_below(&folder.join("src"))
            .into_iter()
            .chain(build_script(package))
        {
            let inside = path
                .strip_prefix(folder)
                .expect("it lies below")
                .to_string_lossy()
                .replace('\\', "/");
            files.insert(format!("{name}/{inside}"), Content::File(path));
        }
    }
    files
}

fn manifest(package: &Value, dependencies: &[(&str, Vec<&Value>)], folder: &Path) -> String {
    let name = text(&package["name"]);
    let mut manifest = format!(
        "# Written by Threadbook's build: the sources of {name} {version}, to be built by path.\n[package]\nname = {name:?}\nversion = {version:?}\nedition = {edition:?}\n",
        version = text(&package["version"]),
        edition = text(&package["edition"]),
    );
    if let Some(script) = build_script(package) {
        let script = script
            .strip_prefix(folder)
            .expect("it lies below")
            .to_string_lossy()
            .into_owned();
        writeln!(manifest, "build = {script:?}").expect("a string grows");
    }
    if name == ROOT_CRATE {
        manifest.push_str("\n[lib]\ncrate-type = [\"lib\", \"dylib\"]\n");
    }
    // A feature that switches an optional crate on would name a crate that is not packed.
    manifest.push_str("\n[features]\n");
    let features = package["features"]
        .as_object()
        .expect("cargo metadata lists features");
    for (feature, enables) in features {
        let enables: Vec<&str> = list(enables)
            .iter()
            .map(text)
            .filter(|enabled| {
                !enabled.contains(':') && !enabled.contains('/') && features.contains_key(*enabled)
            })
            .collect();
        writeln!(manifest, "{feature} = {enables:?}").expect("a string grows");
    }
    for (table, packages) in dependencies {
        writeln!(manifest, "\n[{table}]").expect("a string grows");
        for dependency in packages {
            let name = text(&dependency["name"]);
            let declared = list(&package["dependencies"])
                .iter()
                .find(|declared| declared["name"] == name)
                .expect("resolved, so declared");
            let features: Vec<&str> = list(&declared["features"]).iter().map(text).collect();
            let default_features = declared["uses_default_features"].as_bool().unwrap_or(true);
            writeln!(manifest, "{name} = {{ path = \"../{name}\", default-features = {default_features}, features = {features:?} }}").expect("a string grows");
        }
    }
    // Not ours to mend, and not the learner's to read.
    manifest.push_str("\n[lints.rust]\nwarnings = \"allow\"\n");
    manifest
}

fn build_script(package: &Value) -> Option<PathBuf> {
    list(&package["targets"])
        .iter()
        .find(|target| {
            list(&target["kind"])
                .iter()
                .any(|kind| kind == "custom-build")
        })
        .map(|target| PathBuf::from(text(&target["src_path"])))
}

fn metadata(here: &Path) -> Value {
    let ask = |network: &[&str]| {
        Command::new(env::var_os("CARGO").expect("cargo sets it"))
            .current_dir(here)
            .args(["metadata", "--format-version", "1", "--filter-platform"])
            .arg(env::var("TARGET").expect("cargo sets it"))
            .args(network)
            .output()
            .expect("cargo runs, since it runs this")
    };
    // It wants every crate of the lock file, those for tests too, and a first build has fetched only what it compiles. So it may have to ask the
    // network, but does not where all is there.
    let mut output = ask(&["--offline"]);
    if !output.status.success() {
        output = ask(&[]);
    }
    assert!(
        output.status.success(),
        "`cargo metadata` failed, so the prelude's sources cannot be packed; with a network, `cargo fetch` brings what it wants:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
