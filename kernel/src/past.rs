//! The cells of earlier sessions, on disk: `<data>/threadbook/history.jsonl`, so that a console finds what was typed yesterday.
//!
//! One JSON object a line: `{"session":3}` when a kernel starts, `{"session":3,"n":1,"code":"1 + 1"}` when a cell begins, `{"session":3,"n":1,"output":"2"}`
//! when it has a value. Lines are only ever appended, each by one write under the file's lock, so kernels that run at the same time do not mix theirs; a file that
//! is longer than it may be is written anew with its later half when a kernel starts. Only its owner can read it. Whatever stands in it, and whatever the disk
//! does, costs the kernel nothing but its memory of the past: a line that makes no sense is skipped, and writing is done by a thread that nobody waits for.
//! `THREADBOOK_HISTORY=off` keeps nothing.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// When it is longer than this, the file is cut to its later half.
const LONGEST_FILE: u64 = 4 << 20;
/// Longer cells and outputs are not kept.
const LONGEST_TEXT: usize = 64 << 10;
/// Longest time that a start waits for another kernel to let go of the file.
const PATIENCE: Duration = Duration::from_millis(300);
/// How many lines wait for the disk; then further ones are forgotten.
const WAITING: usize = 1_000;
/// Longest time that the end of a kernel waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The number of the session: each start of a kernel has one.
    pub session: i64,
    /// The number of the cell; none where a session begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u32>,
    /// The cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The text of its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// What there was, and where to write what will be.
pub struct Past {
    /// The lines of earlier sessions, oldest first.
    pub lines: Vec<Line>,
    /// The number of this session: one more than the highest there was.
    pub session: i64,
    writer: Option<Writer>,
}

struct Writer {
    lines: mpsc::SyncSender<Line>,
    /// Gets its end when the thread has.
    ended: mpsc::Receiver<()>,
}

/// Where the file is: in the user's folder for data. `None` when there is none, or nothing is to be kept.
pub fn place() -> Option<PathBuf> {
    let wanted = std::env::var_os("THREADBOOK_HISTORY");
    if wanted.is_some_and(|wanted| wanted == "off" || wanted == "0") {
        return None;
    }
    Some(dirs::data_dir()?.join("threadbook/history.jsonl"))
}

impl Past {
    /// A kernel that knows of no past and keeps nothing.
    pub fn none() -> Past {
        Past {
            lines: Vec::new(),
            session: 1,
            writer: None,
        }
    }

    /// Reads the past, and begins a session in it. Never fails: what cannot be read is as if it were not there, with a line in the log.
    ///
    /// Blocks for the reading of 4 MiB at most, and 0.3 s when another kernel has the file. Starts a thread that writes.
    pub fn open(path: &Path) -> Past {
        match begin(path) {
            Ok((lines, session)) => Past {
                lines,
                session,
                writer: Writer::start(path.to_owned()),
            },
            Err(error) => {
                tracing::warn!(
                    "the history of earlier sessions is left alone: {}: {error}",
                    path.display()
                );
                Past::none()
            }
        }
    }

    /// Appends a line, without waiting for the disk. What is too long is not kept.
    pub fn write(&self, line: Line) {
        let length = line
            .code
            .as_ref()
            .or(line.output.as_ref())
            .map_or(0, String::len);
        if let Some(writer) = &self.writer
            && length <= LONGEST_TEXT
            && writer.lines.try_send(line).is_err()
        {
            tracing::warn!("a line of history was not written: the disk is too slow, or gone");
        }
    }
}

impl Drop for Past {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.lines);
            let _ = writer.ended.recv_timeout(LAST_LINES);
        }
    }
}

impl Writer {
    fn start(path: PathBuf) -> Option<Writer> {
        let (lines, to_write) = mpsc::sync_channel::<Line>(WAITING);
        let (alive, ended) = mpsc::channel::<()>();
        let started = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || {
                let _alive = alive;
                for line in to_write {
                    if let Err(error) = append(&path, &line) {
                        return tracing::warn!(
                            "no more history is written: {}: {error}",
                            path.display()
                        );
                    }
                }
            });
        started
            .inspect_err(|error| tracing::warn!("no history is written: {error}"))
            .ok()?;
        Some(Writer { lines, ended })
    }
}

/// Reads all lines and notes that a session begins, cutting the file if it is too long; gives the lines, and the session's number.
///
/// When another kernel keeps the lock, nothing is noted: the number may then be that of a kernel that starts at the same time.
fn begin(path: &Path) -> io::Result<(Vec<Line>, i64)> {
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let mut file = open(path)?;
    let mut is_ours = lock_soon(&file);
    if is_ours && !is_at(&file, path) {
        file = open(path)?;
        is_ours = lock_soon(&file);
    }
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST_FILE)))?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file)
        .take(LONGEST_FILE)
        .read_to_end(&mut bytes)?;
    let lines: Vec<Line> = bytes
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .filter(|line: &Line| line.session > 0 && line.session < i64::MAX)
        .collect();
    let session = lines.iter().map(|line| line.session).max().unwrap_or(0) + 1;
    let beginning = Line {
        session,
        n: None,
        code: None,
        output: None,
    };
    if is_ours && length > LONGEST_FILE {
        let kept = lines[lines.len() / 2..].iter().chain([&beginning]);
        rewrite(path, kept)?;
    } else if is_ours {
        append_to(&mut file, &beginning)?;
    }
    Ok((lines, session))
}

/// Opens the file, made private where it is new. A pipe, a device or a folder of its name is refused, and never waited for.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file")),
    }
}

/// Waits a short while for the lock; whether it was had. It is let go when the file is closed.
fn lock_soon(file: &File) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return false,
        }
    }
}

/// Whether an open file is still the one of this path: another kernel may have put a new one there.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Puts a file with these lines in the place of the old one, which others may still have open: they look before they write.
fn rewrite<'a>(path: &Path, lines: impl Iterator<Item = &'a Line>) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    let bytes: Vec<u8> = lines.flat_map(written).collect();
    file.write_all(&bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Appends a line under the file's lock, waiting for it.
fn append(path: &Path, line: &Line) -> io::Result<()> {
    // A few times: another kernel may put a new file in its place between the opening and the lock.
    for _ in 0..10 {
        let mut file = open(path)?;
        file.lock()?;
        if is_at(&file, path) {
            return append_to(&mut file, line);
        }
    }
    Err(io::Error::other("others replace it all the time"))
}

fn append_to(file: &mut File, line: &Line) -> io::Result<()> {
    let mut bytes = written(line);
    // A kernel that was killed while it wrote leaves a torn line; it must not tear ours as well.
    if ends_torn(file)? {
        bytes.insert(0, b'\n');
    }
    file.write_all(&bytes)
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != *b"\n")
}

fn written(line: &Line) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("numbers and texts are always written");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn cell(session: i64, n: u32, code: &str) -> Line {
        Line {
            session,
            n: Some(n),
            code: Some(code.to_owned()),
            output: None,
        }
    }

    fn codes(past: &Past) -> Vec<String> {
        past.lines
            .iter()
            .filter_map(|line| line.code.clone())
            .collect()
    }

    #[test]
    fn a_later_session_finds_the_cells_of_the_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/threadbook/history.jsonl");
        for session in 1..=3 {
            let past = Past::open(&path);
            assert_eq!(past.session, session);
            assert_eq!(codes(&past).len(), usize::try_from(session).unwrap() - 1);
            past.write(cell(
                session,
                1,
                &format!("let é = {session};\nprintln!(\"\\n\");"),
            ));
        }
        assert_eq!(
            codes(&Past::open(&path))[1],
            "let é = 2;\nprintln!(\"\\n\");"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(path.parent().unwrap())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
    }

    #[test]
    fn kernels_at_the_same_time_do_not_mix_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        thread::scope(|scope| {
            for kernel in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    let past = Past::open(path);
                    for n in 0..50 {
                        past.write(cell(
                            past.session,
                            n,
                            &format!("{kernel}:{n} {}", "x".repeat(5_000)),
                        ));
                    }
                });
            }
        });
        let past = Past::open(&path);
        assert_eq!(past.session, 9, "each kernel had a session of its own");
        for kernel in 0..8 {
            let own: Vec<String> = codes(&past)
                .into_iter()
                .filter(|code| code.starts_with(&format!("{kernel}:")))
                .collect();
            assert_eq!(own.len(), 50, "kernel {kernel}");
        }
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let long = "x".repeat(60_000);
        let mut file = File::create(&path).unwrap();
        for n in 0..100 {
            file.write_all(&written(&cell(7, n, &format!("{n} {long}"))))
                .unwrap();
        }
        let past = Past::open(&path);
        assert_eq!(past.session, 8);
        let kept = codes(&past);
        assert!(
            kept.len() > 60 && kept[kept.len() - 1].starts_with("99 "),
            "the latest 4 MiB are read"
        );
        assert!(fs::metadata(&path).unwrap().len() < LONGEST_FILE);
        past.write(cell(8, 1, "after"));
        past.write(cell(8, 2, &"y".repeat(LONGEST_TEXT + 1)));
        drop(past);
        assert_eq!(codes(&Past::open(&path)).last().unwrap(), "after");
    }

    #[test]
    fn whatever_is_there_the_kernel_starts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let good = String::from_utf8(written(&cell(3, 1, "good"))).unwrap();
        for content in [
            Vec::new(),
            b"\xff\xfe\x00".repeat(1_000),
            b"{".repeat(100_000),
            b"[1,2]\nnull\n7\n{}\n{\"session\":\"x\"}\n{\"session\":1,\"n\":-1}\n".to_vec(),
            format!(
                "{{\"session\":{}}}\n{{\"session\":-5,\"code\":\"x\"}}\n",
                i64::MAX
            )
            .into_bytes(),
            format!("{good}{{\"session\":3,\"n\":2,\"co").into_bytes(),
        ] {
            fs::write(&path, &content).unwrap();
            let past = Past::open(&path);
            past.write(cell(past.session, 1, "new"));
            drop(past);
            assert_eq!(
                codes(&Past::open(&path)).last().map(String::as_str),
                Some("new"),
                "{}",
                String::from_utf8_lossy(&content[..content.len().min(80)])
            );
        }
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(Past::open(&path).session, 1, "nobody waits for a pipe");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(Past::open(&path).session, 1);
        let past = Past::open(Path::new("/proc/none/history.jsonl"));
        past.write(cell(1, 1, "x"));
        assert!(past.lines.is_empty());
    }

    #[test]
    fn a_kernel_that_holds_the_lock_stops_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        fs::write(&path, written(&cell(3, 1, "good"))).unwrap();
        let held = File::open(&path).unwrap();
        held.lock().unwrap();
        let began = Instant::now();
        let past = Past::open(&path);
        past.write(cell(past.session, 1, "x"));
        drop(past);
        assert!(began.elapsed() < Duration::from_secs(20));
        drop(held);
    }
}
