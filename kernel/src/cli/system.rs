//! The machine as the commands see it: where programs are looked for, whose folders are whose, how a program is asked.
//!
//! Read from the environment once, in [`System::here`]; everything else is handed a value, so that tests can describe a machine that lacks things.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::trouble::Missing;

/// The machine.
#[derive(Debug, Clone)]
pub struct System {
    /// Where programs are looked for, as `PATH` has it.
    pub path: OsString,
    /// The learner's home.
    pub home: PathBuf,
    /// Our own folder for what must last, such as the private JupyterLab.
    pub data_dir: PathBuf,
    /// Where this user's Jupyter keeps its data, kernelspecs among it.
    pub jupyter_data_dir: PathBuf,
    /// Where this user's Jupyter keeps the connection files of running kernels.
    pub jupyter_runtime_dir: PathBuf,
    /// The active Python environment, when one is.
    pub python_prefix: Option<PathBuf>,
    /// This binary.
    pub exe: PathBuf,
    /// Whether we run as root, who needs no `sudo`.
    pub root: bool,
}

impl System {
    /// Reads the machine that we run on.
    ///
    /// # Errors
    /// When there is no home folder, or when the path of this binary cannot be told.
    pub fn here() -> anyhow::Result<Self> {
        let home = dirs::home_dir().ok_or_else(|| {
            Missing::new(
                "no home folder is known",
                "set HOME to a folder that is yours",
            )
        })?;
        let data = dirs::data_dir().ok_or_else(|| {
            Missing::new(
                "no folder for data is known",
                "set HOME to a folder that is yours",
            )
        })?;
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let jupyter_data_dir = jupyter_data_dir(
            &home,
            &data,
            variable("JUPYTER_DATA_DIR"),
            variable("JUPYTER_PLATFORM_DIRS"),
        );
        Ok(Self {
            path: variable("PATH").unwrap_or_default(),
            jupyter_runtime_dir: variable("JUPYTER_RUNTIME_DIR")
                .map_or_else(|| jupyter_data_dir.join("runtime"), PathBuf::from),
            jupyter_data_dir,
            data_dir: data.join("threadbook"),
            home,
            python_prefix: variable("VIRTUAL_ENV")
                .or_else(|| variable("CONDA_PREFIX"))
                .map(PathBuf::from),
            exe: std::env::current_exe()?,
            root: nix::unistd::geteuid().is_root(),
        })
    }

    /// Finds every program of that name, in the order of the search path.
    pub fn find_all(&self, program: &str) -> impl Iterator<Item = PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(move |folder| folder.join(program))
            .filter(|file| is_program(file))
    }

    /// Finds the first program of that name.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        self.find_all(program).next()
    }

    /// Makes a command that sees this machine's search path, and no terminal to ask questions on.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path).stdin(Stdio::null());
        command
    }

    /// Asks a program and waits for its answer: what it wrote to stdout, trimmed.
    ///
    /// # Errors
    /// Why there is no answer, in one line: it did not start, or it failed, with the last line that it wrote to stderr.
    pub fn ask<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, String> {
        answer_of(self.command(program).args(arguments).output())
    }

    /// Says how this binary is told to do something else, so that the line works where it is pasted: whoever started us by `cargo lab` has no
    /// `threadbook` on the search path.
    pub fn own_command(&self, words: &str) -> String {
        let same = |file: PathBuf| file.canonicalize().ok() == self.exe.canonicalize().ok();
        if self.find("threadbook").is_some_and(same) {
            return format!("threadbook {words}");
        }
        let exe = self.exe.display().to_string();
        if exe.contains(char::is_whitespace) {
            format!("'{exe}' {words}")
        } else {
            format!("{exe} {words}")
        }
    }

    /// Says the command that installs a package here, by the package manager that is at hand.
    pub fn install_command(&self, package: &Package) -> String {
        // A small Debian has no sudo, and a command that begins with it mends nothing there.
        let sudo = match (self.root, self.find("sudo")) {
            (true, _) => "",
            (false, Some(_)) => "sudo ",
            (false, None) => "as root: ",
        };
        for (manager, command, name) in [
            ("apt-get", "apt install", package.apt),
            ("dnf", "dnf install", package.dnf),
            ("pacman", "pacman -S", package.pacman),
            ("zypper", "zypper install", package.zypper),
            ("apk", "apk add", package.apk),
        ] {
            if self.find(manager).is_some() {
                return format!("{sudo}{command} {name}");
            }
        }
        package.otherwise.to_owned()
    }
}

/// What one piece is called by the package managers.
pub struct Package {
    /// Debian, Ubuntu.
    pub apt: &'static str,
    /// Fedora.
    pub dnf: &'static str,
    /// Arch.
    pub pacman: &'static str,
    /// openSUSE.
    pub zypper: &'static str,
    /// Alpine.
    pub apk: &'static str,
    /// What to do where none of these is.
    pub otherwise: &'static str,
}

/// Turns what a finished program left behind into its answer, or into one line that says why there is none.
pub fn answer_of(output: io::Result<std::process::Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("it does not start: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    match stderr.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => Err(line.to_owned()),
        None => Err(format!("it ended with {} and said nothing", output.status)),
    }
}

/// Jupyter's own rule: <https://jupyter.readthedocs.io/en/stable/use/jupyter-directories.html#data-files>.
fn jupyter_data_dir(
    home: &Path,
    data: &Path,
    named: Option<OsString>,
    platform_dirs: Option<OsString>,
) -> PathBuf {
    match named {
        Some(folder) => PathBuf::from(folder),
        None if cfg!(target_os = "macos") && platform_dirs.is_some_and(|value| value != "0") => {
            data.join("Jupyter")
        }
        None if cfg!(target_os = "macos") => home.join("Library/Jupyter"),
        None => data.join("jupyter"),
    }
}

fn is_program(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Machines for tests: a folder with exactly the programs that a test puts there.
#[cfg(test)]
pub mod fake {
    use std::fs;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::System;

    /// A machine with nothing on it. Lives in the folder, which is removed with it.
    pub struct Machine {
        /// Holds everything of this machine.
        pub folder: tempfile::TempDir,
        /// The machine as the commands see it.
        pub system: System,
    }

    impl Machine {
        /// Makes one without any program.
        pub fn bare() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| {
                let path = folder.path().join(name);
                fs::create_dir_all(&path).unwrap();
                path
            };
            let system = System {
                path: at("bin").into(),
                home: at("home"),
                data_dir: at("home/.local/share/threadbook"),
                jupyter_data_dir: folder.path().join("home/.local/share/jupyter"),
                jupyter_runtime_dir: folder.path().join("home/.local/share/jupyter/runtime"),
                python_prefix: None,
                exe: at("opt").join("threadbook"),
                root: false,
            };
            Self { folder, system }
        }

        /// Puts a program there: a shell script with this body.
        ///
        /// Another process writes the file: a descriptor of ours that is open for writing while another test forks makes the script "busy".
        pub fn program(self, name: &str, body: &str) -> Self {
            let file = self.folder.path().join("bin").join(name);
            let mut writer = Command::new("/bin/sh")
                .args(["-c", "cat > \"$0\" && chmod 755 \"$0\""])
                .arg(&file)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{body}\n").unwrap();
            assert!(writer.wait().unwrap().success(), "{name} is written");
            self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_the_order_of_the_path() {
        let machine = fake::Machine::bare().program("cc", "echo here");
        let mut system = machine.system.clone();
        let folder = machine.folder.path().join("bin");
        system.path =
            std::env::join_paths([Path::new("/nowhere"), Path::new("relative"), &folder]).unwrap();
        assert_eq!(system.find("cc"), Some(folder.join("cc")));
        assert_eq!(system.find("ld"), None);
        assert_eq!(system.find_all("cc").count(), 1);
    }

    #[test]
    fn an_answer_is_stdout_and_a_refusal_says_why_in_one_line() {
        let machine = fake::Machine::bare()
            .program("good", "echo '  rustc 1.95.0 '")
            .program("loud", "echo first >&2; echo 'last words' >&2; exit 3")
            .program("mute", "exit 3");
        let ask = |name: &str| {
            machine
                .system
                .ask(machine.folder.path().join("bin").join(name), ["-V"])
        };
        assert_eq!(ask("good"), Ok("rustc 1.95.0".to_owned()));
        assert_eq!(ask("loud"), Err("last words".to_owned()));
        assert_eq!(
            ask("mute"),
            Err("it ended with exit status: 3 and said nothing".to_owned())
        );
        assert!(ask("gone").unwrap_err().starts_with("it does not start: "));
    }

    #[test]
    fn the_command_that_mends_is_the_one_of_this_machine() {
        let package = Package {
            apt: "a",
            dnf: "d",
            pacman: "p",
            zypper: "z",
            apk: "k",
            otherwise: "by hand",
        };
        for (manager, user, want) in [
            ("apt-get", "sudo", "sudo apt install a"),
            ("apt-get", "root", "apt install a"),
            ("apt-get", "nobody", "as root: apt install a"),
            ("dnf", "sudo", "sudo dnf install d"),
            ("pacman", "sudo", "sudo pacman -S p"),
            ("zypper", "sudo", "sudo zypper install z"),
            ("apk", "root", "apk add k"),
            ("nix", "sudo", "by hand"),
        ] {
            let mut machine = fake::Machine::bare().program(manager, "exit 0");
            if user == "sudo" {
                machine = machine.program("sudo", "exit 0");
            }
            machine.system.root = user == "root";
            assert_eq!(machine.system.install_command(&package), want, "{manager}");
        }
    }

    #[test]
    fn our_own_commands_can_be_pasted() {
        let mut machine = fake::Machine::bare().program("threadbook", "exit 0");
        let exe = machine.system.exe.display().to_string();
        // Another binary of our name on the search path is not us.
        assert_eq!(machine.system.own_command("lab"), format!("{exe} lab"));
        machine.system.exe = machine.folder.path().join("bin/threadbook");
        assert_eq!(machine.system.own_command("lab"), "threadbook lab");
        machine.system.exe = "/home/ada/my clone/threadbook".into();
        assert_eq!(
            machine.system.own_command("lab"),
            "'/home/ada/my clone/threadbook' lab"
        );
    }

    #[test]
    fn jupyter_s_folder_is_the_named_one_or_the_platform_s() {
        let (home, data) = (Path::new("/h"), Path::new("/h/.local/share"));
        assert_eq!(
            jupyter_data_dir(home, data, Some("/j".into()), None),
            Path::new("/j")
        );
        let want = if cfg!(target_os = "macos") {
            "/h/Library/Jupyter"
        } else {
            "/h/.local/share/jupyter"
        };
        assert_eq!(jupyter_data_dir(home, data, None, None), Path::new(want));
    }
}
