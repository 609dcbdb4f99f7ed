//! The Python side of the machine: an interpreter that can make a private environment.

use std::fmt;
use std::path::PathBuf;

use super::system::{Package, System};
use super::trouble::Missing;

/// The oldest Python that our pinned requirements name versions for.
const OLDEST: (u32, u32) = (3, 9);

/// Asked of an interpreter: its version, and whether the modules are there that make an environment with pip in it.
///
/// Debian ships `venv` without `ensurepip`, so each is asked for by name. Runs on any Python 3, and on Python 2 as well.
const QUESTION: &str = "import sys
def there(name):
    try:
        __import__(name)
        return 1
    except ImportError:
        return 0
print('%d %d %d %d' % (sys.version_info[0], sys.version_info[1], there('venv'), there('ensurepip')))
";

const PYTHON: Package = Package {
    apt: "python3 python3-venv",
    dnf: "python3",
    pacman: "python",
    zypper: "python3",
    apk: "python3",
    otherwise: if cfg!(target_os = "macos") {
        "brew install python"
    } else {
        "install Python 3.9 or later from python.org"
    },
};

const PYTHON_VENV: Package = Package {
    apt: "python3-venv",
    dnf: "python3",
    pacman: "python",
    zypper: "python3",
    apk: "python3",
    otherwise: PYTHON.otherwise,
};

/// An interpreter, new enough, with `venv` and `ensurepip`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// Where it is.
    pub program: PathBuf,
    /// Its major and minor version.
    pub version: (u32, u32),
}

impl fmt::Display for Python {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version;
        write!(f, "Python {major}.{minor} ({})", self.program.display())
    }
}

impl Python {
    /// Finds the first interpreter on the search path that can make a private environment.
    ///
    /// # Errors
    /// When there is none. What is said is about the best one that was seen: first a wrong version is worth saying, then missing modules.
    pub fn find(system: &System) -> Result<Self, Missing> {
        let mut too_old = None;
        let mut without_modules = None;
        for program in ["python3", "python"]
            .into_iter()
            .flat_map(|name| system.find_all(name))
        {
            // What does not even answer, such as a version manager's stand-in for a Python that it lacks, is not a Python.
            let Some((version, venv, ensurepip)) = system
                .ask(&program, ["-c", QUESTION])
                .ok()
                .and_then(|answer| read_answer(&answer))
            else {
                continue;
            };
            let python = Self { program, version };
            if python.version < OLDEST {
                too_old.get_or_insert(python);
            } else if venv && ensurepip {
                return Ok(python);
            } else {
                without_modules.get_or_insert((python, if venv { "ensurepip" } else { "venv" }));
            }
        }
        Err(match (without_modules, too_old) {
            (Some((python, module)), _) => Missing::new(
                format!("{python} has no `{module}`, so it cannot make a private environment"),
                system.install_command(&PYTHON_VENV),
            ),
            (None, Some(python)) => Missing::new(
                format!("Python 3.9 or later is needed, this is {python}"),
                system.install_command(&PYTHON),
            ),
            (None, None) => Missing::new(
                "no Python 3.9 or later: no `python3` on the PATH works",
                system.install_command(&PYTHON),
            ),
        })
    }
}

/// Reads version, `venv` and `ensurepip` from what [`QUESTION`] prints.
fn read_answer(answer: &str) -> Option<((u32, u32), bool, bool)> {
    let numbers: Vec<u32> = answer
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    match numbers[..] {
        [major, minor, venv, ensurepip] => Some(((major, minor), venv == 1, ensurepip == 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::system::fake::Machine;
    use super::*;

    #[test]
    fn the_first_python_that_can_make_an_environment_is_taken() {
        let machine = Machine::bare()
            .program("python3", "echo '3 11 1 0'")
            .program("python", "echo '3 9 1 1'");
        let python = Python::find(&machine.system).unwrap();
        assert_eq!(python.version, (3, 9));
        assert!(python.program.ends_with("bin/python"));
    }

    #[test]
    fn without_one_the_message_is_about_the_best_that_was_seen() {
        for (name, machine, what, mend) in [
            (
                "none",
                Machine::bare(),
                "no `python3` on the PATH",
                "sudo apt install python3 python3-venv",
            ),
            (
                "a stand-in for none",
                Machine::bare().program("python3", "echo 'pyenv: not found' >&2; exit 127"),
                "no `python3` on the PATH",
                "sudo apt install python3 python3-venv",
            ),
            (
                "Debian without python3-venv",
                Machine::bare().program("python3", "echo '3 11 1 0'"),
                "has no `ensurepip`",
                "sudo apt install python3-venv",
            ),
            (
                "no venv at all",
                Machine::bare()
                    .program("python3", "echo '3 11 0 0'")
                    .program("python", "echo '2 7 0 0'"),
                "has no `venv`",
                "sudo apt install python3-venv",
            ),
            (
                "too old",
                Machine::bare().program("python3", "echo '3 8 1 1'"),
                "this is Python 3.8 (",
                "sudo apt install python3 python3-venv",
            ),
        ] {
            let missing = Python::find(
                &machine
                    .program("apt-get", "exit 0")
                    .program("sudo", "exit 0")
                    .system,
            )
            .unwrap_err();
            assert!(missing.what.contains(what), "{name}: {missing}");
            assert_eq!(missing.mend, mend, "{name}");
        }
    }

    #[test]
    fn an_answer_that_is_none_is_refused() {
        for answer in ["", "3", "3 11 1", "3 11 1 1 1", "3 11 yes no"] {
            assert_eq!(read_answer(answer), None, "{answer:?}");
        }
    }
}
