//! What is told about the copies of the learner's process: that one took over from a dead one, that there is none, and how the process ended.
//!
//! The marks come out of the learner's process, which can write what it likes: any text is read without fail.

use super::channel::Death;
use nix::sys::signal::Signal;
use serde_json::Value;

/// How many names are kept, and how many characters of one.
const MOST_NAMES: usize = 24;
const LONGEST_NAME: usize = 80;

/// A copy took over: what of the dead process is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Takeover {
    /// Tasks that were alive, and have a name.
    names: Vec<String>,
    /// How many there were besides.
    more_tasks: u64,
    /// Threads that the prelude did not start.
    threads: u64,
    /// Sockets and pipes.
    sockets: u64,
}

impl Takeover {
    /// Reads a mark; `None` when it is none of a takeover.
    pub fn parse(json: &str) -> Option<Takeover> {
        let mark: Value = serde_json::from_str(json).ok()?;
        if mark["mark"] != "takeover" {
            return None;
        }
        let number = |name: &str| mark[name].as_u64().unwrap_or(0);
        let names = mark["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<String> = names
            .iter()
            .take(MOST_NAMES)
            .filter_map(|name| Some(plain(name.as_str()?)))
            .collect();
        let untold = number("named").saturating_sub(names.len() as u64);
        Some(Takeover {
            names,
            more_tasks: untold.saturating_add(number("unnamed")),
            threads: number("threads"),
            sockets: number("sockets"),
        })
    }

    /// What is lost, as a sentence without an end; `None` when nothing is.
    pub fn lost(&self) -> Option<String> {
        let mut lost: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        match (self.more_tasks, lost.is_empty()) {
            (0, _) => {}
            (tasks, true) => lost.push(counted(tasks, "task", "tasks")),
            (tasks, false) => lost.push(format!("{} more", counted(tasks, "task", "tasks"))),
        }
        if self.threads > 0 {
            let threads = counted(self.threads, "thread", "threads");
            lost.push(format!("{threads} that the prelude did not start"));
        }
        if self.sockets > 0 {
            lost.push(counted(self.sockets, "socket or pipe", "sockets and pipes"));
        }
        let last = lost.pop()?;
        let all = if lost.is_empty() {
            last
        } else {
            format!("{} and {last}", lost.join(", "))
        };
        Some(format!(
            "what earlier cells had left running ended with the process: {all}"
        ))
    }
}

/// A copy was called to go on in the place of a dead process, and died before it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostCopy(Death);

impl LostCopy {
    /// The mark for a copy that died so.
    pub fn mark(death: Death) -> String {
        let (kind, number) = match death {
            Death::Exit(code) => ("exit", code),
            Death::Signal(signal) => ("signal", signal),
        };
        format!(r#"{{"mark":"lost copy","{kind}":{number}}}"#)
    }

    /// Reads a mark; `None` when it is none of this.
    pub fn parse(json: &str) -> Option<LostCopy> {
        let mark: Value = serde_json::from_str(json).ok()?;
        if mark["mark"] != "lost copy" {
            return None;
        }
        let number = |name: &str| i32::try_from(mark[name].as_i64()?).ok();
        let signal = number("signal").map(Death::Signal);
        Some(LostCopy(
            signal.or_else(|| number("exit").map(Death::Exit))?,
        ))
    }

    /// What happened, as a sentence without an end.
    pub fn told(self) -> String {
        // The copy ends itself by this signal, and so does a system that has no memory left: nobody could tell the two apart.
        let why = match self.0 {
            Death::Signal(libc::SIGKILL) => {
                ": no thread started in it within two seconds, or the machine ran out of memory"
            }
            _ => "",
        };
        format!(
            "a copy of the process that had them was to go on, and {} before it could{why}",
            how(self.0)
        )
    }
}

/// No copy of the process was left at the end of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSnapshot {
    bytes: u64,
    most: u64,
    why: Option<String>,
}

impl NoSnapshot {
    /// Reads a mark; `None` when it is none of this.
    pub fn parse(json: &str) -> Option<NoSnapshot> {
        let mark: Value = serde_json::from_str(json).ok()?;
        (mark["mark"] == "no snapshot").then(|| NoSnapshot {
            bytes: mark["bytes"].as_u64().unwrap_or(0),
            most: mark["most"].as_u64().unwrap_or(0),
            why: mark["why"].as_str().map(plain),
        })
    }

    /// What it means to the learner, as a line of text.
    pub fn note(&self) -> String {
        let what = match &self.why {
            Some(why) => format!("no copy of this process could be made ({why})"),
            None => format!(
                "this process has {} of its own; above {} no copy of it is made at the end of a cell, since copying what a cell then writes to would take its time",
                size(self.bytes),
                size(self.most)
            ),
        };
        format!(
            "note: {what}. If a later cell ends the process, the variables are lost: functions and types are kept\n"
        )
    }
}

/// The process was ended because it took more memory than it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that it had.
    used: u64,
    /// Bytes that it may have.
    limit: u64,
}

impl OutOfMemory {
    /// Reads a mark; `None` when it is none of this.
    pub fn parse(json: &str) -> Option<OutOfMemory> {
        let mark: Value = serde_json::from_str(json).ok()?;
        (mark["mark"] == "memory").then(|| OutOfMemory {
            used: mark["used"].as_u64().unwrap_or(0),
            limit: mark["limit"].as_u64().unwrap_or(0),
        })
    }

    /// What happened, as a sentence without an end.
    pub fn told(&self) -> String {
        format!(
            "the cell's process was ended: it had {} of memory, and may have {}",
            size(self.used),
            size(self.limit)
        )
    }
}

/// How a process died: "exited with status 3".
pub fn how(death: Death) -> String {
    match death {
        Death::Exit(code) => format!("exited with status {code}"),
        Death::Signal(signal) => format!("was ended by {}", signal_name(signal)),
    }
}

/// What a signal is called.
pub fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |signal| signal.as_str().to_owned(),
    )
}

/// Text of the learner's, not for ever long, and without a terminal's commands.
fn plain(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(LONGEST_NAME).map(visible).collect()
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes >= 10 * 1024 * MIB {
        format!("{} GiB", bytes / (1024 * MIB))
    } else if bytes >= 1024 * MIB {
        format!("{:.1} GiB", bytes as f64 / (1024 * MIB) as f64)
    } else {
        format!("{} MiB", bytes / MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_and_counted() {
        for (mark, want) in [
            (r#"{"mark":"takeover","named":0,"tasks":[]}"#, None),
            (
                r#"{"mark":"takeover","named":1,"tasks":["ada"]}"#,
                Some("`ada`"),
            ),
            (
                r#"{"mark":"takeover","named":3,"unnamed":1,"tasks":["ada","grace"],"threads":1}"#,
                Some("`ada`, `grace`, 2 tasks more and 1 thread that the prelude did not start"),
            ),
            (
                r#"{"mark":"takeover","unnamed":1,"tasks":[],"sockets":2}"#,
                Some("1 task and 2 sockets and pipes"),
            ),
        ] {
            let lost = Takeover::parse(mark).expect("a takeover").lost();
            assert_eq!(lost.is_some(), want.is_some(), "{mark}");
            if let (Some(lost), Some(want)) = (lost, want) {
                assert!(lost.ends_with(&format!(": {want}")), "{lost}");
            }
        }
    }

    #[test]
    fn how_a_copy_was_lost_comes_through() {
        for (death, want) in [
            (Death::Exit(99), "exited with status 99 before it could"),
            (
                Death::Signal(libc::SIGKILL),
                "SIGKILL before it could: no thread",
            ),
        ] {
            let told = LostCopy::parse(&LostCopy::mark(death)).map(LostCopy::told);
            assert!(
                told.as_ref().is_some_and(|told| told.contains(want)),
                "{told:?}"
            );
        }
    }

    #[test]
    fn any_text_is_read_without_fail() {
        for junk in [
            "",
            "{",
            "[]",
            r#"{"mark":"takeover"}"#,
            r#"{"mark":"takeover","tasks":[1,null,"\u0007"],"named":-1,"unnamed":1e300}"#,
            r#"{"mark":"no snapshot","bytes":"many"}"#,
            r#"{"mark":"memory","used":18446744073709551615}"#,
            r#"{"mark":"lost copy"}"#,
            r#"{"mark":"lost copy","signal":18446744073709551615}"#,
        ] {
            let _ = Takeover::parse(junk).and_then(|takeover| takeover.lost());
            let _ = NoSnapshot::parse(junk).map(|none| none.note());
            let _ = OutOfMemory::parse(junk).map(|out| out.told());
            assert_eq!(LostCopy::parse(junk), None, "{junk}");
        }
        let bell = r#"{"mark":"takeover","tasks":["\u0007"],"named":1}"#;
        let lost = Takeover::parse(bell).and_then(|takeover| takeover.lost());
        assert!(lost.is_some_and(|lost| !lost.contains('\u{7}')));
    }
}
