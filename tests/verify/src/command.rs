//! One command of a part: its output goes into the part's log, and it has a deadline.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// All that the commands of one part said, in a file.
pub struct Log {
    path: PathBuf,
}

/// How a command ended, and what it said.
pub struct Said {
    pub status: ExitStatus,
    pub output: String,
}

impl Log {
    /// Makes the file anew. `Err` says which file and why.
    pub fn create(path: &Path) -> Result<Log, String> {
        File::create(path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(Log { path: path.into() })
    }

    /// Adds a line of our own.
    pub fn note(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.open()?, "{line}").map_err(|e| format!("cannot write the log: {e}"))
    }

    /// Runs a command to its end, whatever its status. `Err` when it could not start, or was not done at `deadline` and was ended.
    pub fn run(&mut self, command: &mut Command, deadline: Duration) -> Result<Said, String> {
        let shown = shown(command);
        self.note(&format!("$ {shown}"))?;
        let from = fs::metadata(&self.path).map_or(0, |meta| meta.len());
        let output = self.open()?;
        let errors = self.open()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("cannot start `{shown}`: {e}"))?;
        let status = wait(&mut child, deadline);
        let bytes = fs::read(&self.path).unwrap_or_default();
        let from = usize::try_from(from).unwrap_or(0).min(bytes.len());
        let output = String::from_utf8_lossy(&bytes[from..]).into_owned();
        match status {
            Some(status) => Ok(Said { status, output }),
            None => Err(format!(
                "`{shown}` was not done after {} s and was ended; its last line was: {}",
                deadline.as_secs(),
                output.lines().last().unwrap_or("(nothing)")
            )),
        }
    }

    /// Runs a command that must succeed, and gives what it said.
    pub fn must(&mut self, command: &mut Command, deadline: Duration) -> Result<String, String> {
        let said = self.run(command, deadline)?;
        if said.status.success() {
            Ok(said.output)
        } else {
            Err(format!("`{}` ended with {}", shown(command), said.status))
        }
    }

    fn open(&self) -> Result<File, String> {
        File::options()
            .append(true)
            .open(&self.path)
            .map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}

/// Waits for the end of a child; at the deadline ends it and all that it started, and gives `None`.
fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + deadline;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            // std has no wait with a deadline; a look every 20 ms costs nothing beside these commands.
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) | Err(_) => {
                // The children stay in our process group, so that Ctrl-C reaches them; so we end them by their parentage.
                for pid in descendants(child.id()) {
                    let _ = Command::new("sh")
                        .args(["-c", &format!("kill -KILL {pid}")])
                        .stderr(Stdio::null())
                        .status();
                }
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// The processes that `root` started, and those that they started, as `/proc` has them. Empty where there is no `/proc`.
fn descendants(root: u32) -> Vec<u32> {
    let pairs: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // "12 (name, which may hold blanks) S 1 …": the parent is the second word after the last bracket.
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
            Some((pid, parent.parse().ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            pairs
                .iter()
                .filter(|pair| pair.1 == parent)
                .map(|pair| pair.0),
        );
        at += 1;
    }
    found.remove(0);
    found
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> Log {
        let folder =
            std::env::temp_dir().join(format!("threadbook-verify-test-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Log::create(&folder.join(name)).unwrap()
    }

    fn shell(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn output_and_errors_of_each_command_are_kept_in_order() {
        let mut log = log("order");
        let long = Duration::from_secs(60);
        assert_eq!(
            log.must(&mut shell("echo one; echo two >&2"), long)
                .unwrap(),
            "one\ntwo\n"
        );
        let said = log.run(&mut shell("echo three; exit 3"), long).unwrap();
        assert_eq!(
            (said.output.as_str(), said.status.code()),
            ("three\n", Some(3))
        );
        let all = fs::read_to_string(&log.path).unwrap();
        assert_eq!(
            all.lines()
                .filter(|line| !line.starts_with('$'))
                .collect::<Vec<_>>(),
            ["one", "two", "three"]
        );
    }

    #[test]
    fn a_failing_command_is_named() {
        let what = log("named")
            .must(&mut shell("exit 3"), Duration::from_secs(60))
            .unwrap_err();
        assert!(
            what.contains("`sh -c exit 3` ended with exit status: 3"),
            "{what}"
        );
        let what = log("missing")
            .must(
                &mut Command::new("no-such-program"),
                Duration::from_secs(60),
            )
            .unwrap_err();
        assert!(what.contains("cannot start `no-such-program`"), "{what}");
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_all_that_it_started() {
        let mut log = log("hangs");
        // The inner sleep writes its pid before it becomes a sleep: it must be gone afterwards.
        let what = log
            .run(
                &mut shell("sh -c 'echo $$; exec sleep 1000'; echo unreached"),
                Duration::from_secs(1),
            )
            .err()
            .expect("a sleep of 1000 s is not done after 1 s");
        assert!(what.contains("was not done after 1 s"), "{what}");
        let all = fs::read_to_string(&log.path).unwrap();
        let pid: u32 = all
            .lines()
            // Behind it the outer shell may still say that the inner one was killed.
            .find_map(|line| line.parse().ok())
            .expect("the pid stands alone in a line");
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // Gone, or ended and not yet asked after by its new parent.
            if stat.is_empty() || stat.contains(") Z ") {
                break;
            }
            assert!(Instant::now() < until, "still there: {stat}");
            std::thread::yield_now();
        }
    }
}
