//! The kernelspec: the folder that tells a Jupyter how our kernel is started and what it looks like.
//!
//! Written beside the place where it belongs and moved there when complete, so that no Jupyter ever lists half of it.
//! Rules: <https://jupyter-client.readthedocs.io/en/stable/kernels.html#kernel-specs>.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::system::System;
use super::trouble::Missing;

/// The kernel's name: the folder's, and what notebooks ask for.
pub const KERNEL_NAME: &str = "threadbook";

/// What JupyterLab calls the kernel.
pub const DISPLAY_NAME: &str = "Rust (Threadbook)";

/// The logos that JupyterLab shows in its launcher; the names are Jupyter's.
const LOGOS: [(&str, &[u8]); 3] = [
    ("logo-svg.svg", include_bytes!("../../assets/logo-svg.svg")),
    (
        "logo-32x32.png",
        include_bytes!("../../assets/logo-32x32.png"),
    ),
    (
        "logo-64x64.png",
        include_bytes!("../../assets/logo-64x64.png"),
    ),
];

/// For whom the kernel is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Every Jupyter of this user.
    User,
    /// The active Python environment, or else the one of `python3`.
    SysPrefix,
    /// The environment in this folder.
    Prefix(PathBuf),
}

impl Place {
    /// Gives the folder of Jupyter's data that is meant.
    ///
    /// # Errors
    /// When no environment is active and `python3` does not tell its own.
    pub fn data_dir(&self, system: &System) -> Result<PathBuf, Missing> {
        let prefix = match self {
            Self::User => return Ok(system.jupyter_data_dir.clone()),
            Self::Prefix(prefix) => prefix.clone(),
            Self::SysPrefix => match &system.python_prefix {
                Some(prefix) => prefix.clone(),
                None => system
                    .ask("python3", ["-c", "import sys; print(sys.prefix)"])
                    .map(PathBuf::from)
                    .map_err(|why| {
                        let what = format!(
                            "no Python environment is active, and `python3` tells none: {why}"
                        );
                        Missing::new(
                            what,
                            "activate the environment that is meant, or name it with --prefix DIR",
                        )
                    })?,
            },
        };
        Ok(prefix.join("share/jupyter"))
    }
}

/// What an installation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// The same kernelspec was there already.
    Already(PathBuf),
    /// It was written: for the first time, or over an older one.
    Written(PathBuf),
}

/// Gives the folder of our kernelspec below a folder of Jupyter's data.
pub fn folder_in(data_dir: &Path) -> PathBuf {
    data_dir.join("kernels").join(KERNEL_NAME)
}

/// Registers this binary as a kernel below that folder of Jupyter's data.
///
/// # Errors
/// When the folder cannot be written, or holds a kernel of that name that is not ours. Nothing has changed then.
pub fn install(system: &System, data_dir: &Path) -> anyhow::Result<Installed> {
    let folder = folder_in(data_dir);
    let wanted = files_of(&system.exe)?;
    if wanted
        .iter()
        .all(|(name, content)| fs::read(folder.join(name)).is_ok_and(|found| found == *content))
    {
        return Ok(Installed::Already(folder));
    }
    if folder.exists() && !is_ours(&folder) {
        bail!(
            "{} holds a kernel of the name `{KERNEL_NAME}` that is not ours; move it away and install again",
            folder.display()
        );
    }
    let cannot_write = || format!("cannot write the kernelspec into {}", folder.display());
    fs::create_dir_all(data_dir.join("kernels")).with_context(cannot_write)?;
    // Beside `kernels`, not inside: Jupyter would list a folder in there under whatever name it has.
    let beside = tempfile::Builder::new()
        .prefix(".threadbook-")
        .tempdir_in(data_dir)
        .with_context(cannot_write)?;
    let (new, old) = (beside.path().join("new"), beside.path().join("old"));
    fs::create_dir(&new).with_context(cannot_write)?;
    for (name, content) in wanted {
        fs::write(new.join(name), content).with_context(cannot_write)?;
    }
    swap_in(&new, &folder, &old).with_context(cannot_write)?;
    Ok(Installed::Written(folder))
}

/// Moves `new` to `folder`; what was there goes to `old`, and comes back if the second move fails.
fn swap_in(new: &Path, folder: &Path, old: &Path) -> io::Result<()> {
    let had_one = match fs::rename(folder, old) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    fs::rename(new, folder).inspect_err(|_| {
        if had_one {
            // The first failure is the one worth reporting.
            let _ = fs::rename(old, folder);
        }
    })
}

/// Removes our kernelspec from below that folder of Jupyter's data. `None`: none was there.
///
/// # Errors
/// When it cannot be removed, or is a kernel of that name that is not ours.
pub fn uninstall(data_dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    let folder = folder_in(data_dir);
    if !folder.exists() {
        return Ok(None);
    }
    if !is_ours(&folder) {
        bail!(
            "{} holds a kernel of the name `{KERNEL_NAME}` that is not ours; it stays as it is",
            folder.display()
        );
    }
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(Some(folder))
}

/// Says which binary the kernelspec in this folder starts. `None`: there is no kernelspec of ours.
pub fn registered_binary(folder: &Path) -> Option<PathBuf> {
    let spec: Value = serde_json::from_slice(&fs::read(folder.join("kernel.json")).ok()?).ok()?;
    spec.pointer("/metadata/threadbook")?;
    Some(PathBuf::from(spec.pointer("/argv/0")?.as_str()?))
}

fn is_ours(folder: &Path) -> bool {
    registered_binary(folder).is_some()
}

fn files_of(exe: &Path) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let exe = exe.to_str().with_context(|| {
        format!(
            "the path of this binary, {}, is not UTF-8, and a kernelspec can hold no other",
            exe.display()
        )
    })?;
    let mut spec = serde_json::to_vec_pretty(&kernel_json(exe))?;
    spec.push(b'\n');
    let logos = LOGOS
        .iter()
        .map(|(name, content)| (*name, content.to_vec()));
    Ok(std::iter::once(("kernel.json", spec))
        .chain(logos)
        .collect())
}

/// The kernelspec itself. `metadata.threadbook` is how we know our own again.
fn kernel_json(exe: &str) -> Value {
    json!({
        "argv": [exe, "kernel", "--connection-file", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "kernel_protocol_version": "5.5",
        "metadata": { "debugger": false, "threadbook": { "version": env!("CARGO_PKG_VERSION") } },
    })
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::*;

    fn names_in(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_kernelspec_starts_this_binary_and_interrupts_by_message() {
        assert_eq!(
            kernel_json("/opt/threadbook"),
            json!({
                "argv": ["/opt/threadbook", "kernel", "--connection-file", "{connection_file}"],
                "display_name": "Rust (Threadbook)",
                "language": "rust",
                "interrupt_mode": "message",
                "kernel_protocol_version": "5.5",
                "metadata": {"debugger": false, "threadbook": {"version": env!("CARGO_PKG_VERSION")}},
            })
        );
    }

    #[test]
    fn installing_twice_writes_once_and_another_binary_is_written_over() {
        let mut machine = Machine::bare();
        let data_dir = machine.system.jupyter_data_dir.clone();
        let folder = folder_in(&data_dir);
        assert_eq!(
            install(&machine.system, &data_dir).unwrap(),
            Installed::Written(folder.clone())
        );
        assert_eq!(
            names_in(&folder),
            [
                "kernel.json",
                "logo-32x32.png",
                "logo-64x64.png",
                "logo-svg.svg"
            ]
        );
        assert_eq!(registered_binary(&folder), Some(machine.system.exe.clone()));
        assert_eq!(
            install(&machine.system, &data_dir).unwrap(),
            Installed::Already(folder.clone())
        );

        machine.system.exe = "/elsewhere/threadbook".into();
        assert_eq!(
            install(&machine.system, &data_dir).unwrap(),
            Installed::Written(folder.clone())
        );
        assert_eq!(
            registered_binary(&folder),
            Some("/elsewhere/threadbook".into())
        );
        assert_eq!(names_in(&data_dir), ["kernels"], "nothing lies about");
        assert_eq!(names_in(&data_dir.join("kernels")), [KERNEL_NAME]);
    }

    #[test]
    fn only_our_own_kernelspec_is_removed_or_written_over() {
        let machine = Machine::bare();
        let data_dir = machine.system.jupyter_data_dir.clone();
        assert_eq!(uninstall(&data_dir).unwrap(), None);

        let folder = folder_in(&data_dir);
        fs::create_dir_all(&folder).unwrap();
        for foreign in ["{\"argv\": [\"/usr/bin/other\"]}", "not json"] {
            fs::write(folder.join("kernel.json"), foreign).unwrap();
            for error in [
                uninstall(&data_dir).unwrap_err(),
                install(&machine.system, &data_dir).unwrap_err(),
            ] {
                assert!(error.to_string().contains("not ours"), "{error}");
            }
            assert_eq!(
                fs::read_to_string(folder.join("kernel.json")).unwrap(),
                foreign
            );
        }

        fs::remove_dir_all(&folder).unwrap();
        install(&machine.system, &data_dir).unwrap();
        fs::create_dir_all(data_dir.join("kernels/python3")).unwrap();
        assert_eq!(uninstall(&data_dir).unwrap(), Some(folder));
        assert_eq!(names_in(&data_dir.join("kernels")), ["python3"]);
    }

    #[test]
    fn a_failed_swap_puts_the_old_one_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("kernel")).unwrap();
        assert!(swap_in(&at("missing"), &at("kernel"), &at("old")).is_err());
        assert_eq!(names_in(folder.path()), ["kernel"]);
    }

    #[test]
    fn each_selector_means_its_own_folder() {
        let mut machine = Machine::bare().program("python3", "echo /usr");
        let at = |place: &Place, machine: &Machine| place.data_dir(&machine.system).unwrap();
        assert_eq!(at(&Place::User, &machine), machine.system.jupyter_data_dir);
        assert_eq!(
            at(&Place::Prefix("/p".into()), &machine),
            Path::new("/p/share/jupyter")
        );
        assert_eq!(
            at(&Place::SysPrefix, &machine),
            Path::new("/usr/share/jupyter")
        );
        machine.system.python_prefix = Some("/venv".into());
        assert_eq!(
            at(&Place::SysPrefix, &machine),
            Path::new("/venv/share/jupyter")
        );
        let missing = Place::SysPrefix
            .data_dir(&Machine::bare().system)
            .unwrap_err();
        assert!(missing.mend.contains("--prefix DIR"), "{missing}");
    }
}
