//! A line that says what a `:dep` is waiting for: the crates that are compiled, updated in place.

use super::Events;
use crate::cell::{Event, JobId, MimeBundle};
use std::collections::BTreeSet;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often is looked what the compiler is at, and how long nothing is said: most `:dep`s are compiled already.
const PAUSE: Duration = Duration::from_millis(400);

/// Looks, from its making to its end, what the compilers below this process are at, and shows it.
#[derive(Debug)]
pub struct Progress {
    ended: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to look. Without a thread to be had, nothing is shown.
    pub fn begin(job: JobId, events: &Events) -> Progress {
        let (ended, end) = mpsc::channel();
        let events = Events::clone(events);
        let thread = std::thread::Builder::new()
            .name("compiling".into())
            .spawn(move || watch(job, &events, &end));
        Progress {
            ended,
            thread: thread.ok(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let _ = self.ended.send(());
        // Its last words belong before what the cell shows next.
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks at compilers panicked");
        }
    }
}

fn watch(job: JobId, events: &Events, end: &mpsc::Receiver<()>) {
    let began = Instant::now();
    let id = format!("threadbook-dep-{}-{job}", std::process::id());
    let mut seen = BTreeSet::new();
    let mut shown: Option<String> = None;
    loop {
        let over = end.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout);
        let now = if over {
            Vec::new()
        } else {
            crates_being_compiled()
        };
        seen.extend(now.iter().cloned());
        let line = line(&now, seen.len(), began.elapsed().as_secs(), over);
        let Some(line) = line.filter(|_| !over || shown.is_some()) else {
            if over {
                return;
            }
            continue;
        };
        if shown.as_ref() != Some(&line) {
            let bundle = MimeBundle::from_iter([("text/plain".to_owned(), line.clone().into())]);
            events(match shown {
                None => Event::Display {
                    job: Some(job),
                    bundle,
                    id: Some(id.clone()),
                },
                Some(_) => Event::Update {
                    job: Some(job),
                    id: id.clone(),
                    bundle,
                },
            });
            shown = Some(line);
        }
        if over {
            return;
        }
    }
}

/// What to say; `None` while there is nothing.
fn line(now: &[String], seen: usize, seconds: u64, over: bool) -> Option<String> {
    let crates = match seen {
        1 => "1 crate".to_owned(),
        n => format!("{n} crates"),
    };
    match (over, now) {
        (true, _) if seen > 0 => Some(format!("compiled {crates} in {seconds} s")),
        (true, _) => Some(format!("looked up in {seconds} s")),
        (false, []) if seen == 0 && seconds >= 2 => {
            Some(format!("looking up what `:dep` names, {seconds} s"))
        }
        (false, []) => None,
        (false, now) => Some(format!(
            "compiling {} ({crates} so far, {seconds} s)",
            now.join(", ")
        )),
    }
}

/// The crates that compilers below this process are at, but for cells and build scripts.
fn crates_being_compiled() -> Vec<String> {
    let processes = super::compilers::processes();
    let me = std::process::id();
    let parent = |pid: u32| {
        processes
            .iter()
            .find(|process| process.0 == pid)
            .map(|process| process.1)
    };
    let mut crates: Vec<String> = processes
        .iter()
        .filter(|(_, above, name)| {
            // The kernel runs cargo, cargo runs rustc.
            name == "rustc" && (*above == me || parent(*above) == Some(me))
        })
        .filter_map(|(pid, ..)| crate_name(&std::fs::read(format!("/proc/{pid}/cmdline")).ok()?))
        .filter(|name| name != "ctx" && !name.starts_with("build_script_") && name != "___")
        .collect();
    crates.sort_unstable();
    crates.dedup();
    crates
}

/// What stands behind `--crate-name` in a command line as `/proc` has it.
fn crate_name(cmdline: &[u8]) -> Option<String> {
    let mut words = cmdline.split(|&byte| byte == 0);
    words.find(|word| *word == b"--crate-name")?;
    Some(String::from_utf8_lossy(words.next()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_waited_for() {
        let two = ["serde".to_owned(), "syn".to_owned()];
        for (now, seen, seconds, over, want) in [
            (&[][..], 0, 1, false, None),
            (&[], 0, 3, false, Some("looking up what `:dep` names, 3 s")),
            (
                &two,
                5,
                8,
                false,
                Some("compiling serde, syn (5 crates so far, 8 s)"),
            ),
            (&[], 5, 9, false, None),
            (&[], 5, 9, true, Some("compiled 5 crates in 9 s")),
            (&[], 1, 2, true, Some("compiled 1 crate in 2 s")),
        ] {
            assert_eq!(line(now, seen, seconds, over).as_deref(), want);
        }
    }

    #[test]
    fn a_crates_name_is_found_in_the_command() {
        for (words, want) in [
            (
                &b"rustc\0--crate-name\0serde\0--edition=2021\0"[..],
                Some("serde"),
            ),
            (b"rustc\0-vV\0", None),
            (b"rustc\0--crate-name", None),
            (b"", None),
        ] {
            assert_eq!(crate_name(words).as_deref(), want);
        }
    }
}
